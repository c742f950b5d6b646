//! The calling side: one method for each request of the vocabulary.

mod files;

use casemate_model::{
    ErrorClass, Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize, chain,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Lost, OpenError, Opener, Room, Side, Stream, multiplex};
use crate::convert::InvalidMessage;
use crate::frame::{self, FrameError};
use crate::hello::{self, HelloError};
use crate::message::{Request, Response};
use crate::vocabulary::{
    ContainerProcess, Create, ExecStarted, GuestFacts, Reconfigured, Rewired, Sockets, Started, Stats,
};

/// Steps of a start that are looked at: an honest one has a dozen.
const MAX_SPANS: usize = 64;

/// The longest answer, in bytes, but for lists of processes and sockets: two texts of 4096
/// characters, or a start's steps, with all their characters escaped. An answer
/// that is begun and not ended costs no more than the window that it is in.
const MAX_ANSWER: usize = 256 << 10;

/// Speaks to a keeper or an agent. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    opener: Opener,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Refused(Failure),
    /// Nothing was asked.
    #[error("too much runs in this container at once")]
    Full,
    #[error("no answer")]
    Lost(#[source] Lost),
    #[error("no answer")]
    Frame(#[source] FrameError),
    #[error("invalid answer")]
    Invalid(#[source] InvalidMessage),
    #[error("an answer to another question")]
    Unexpected,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(failure) => failure,
            CallError::Full => Failure::new(ErrorClass::ResourceExhausted, chain(&error)),
            CallError::Lost(_) | CallError::Frame(FrameError::Io(_)) => {
                Failure::new(ErrorClass::Unavailable, chain(&error))
            }
            _ => Failure::new(ErrorClass::Protocol, chain(&error)),
        }
    }
}

impl Client {
    /// Greets the other side and starts to multiplex, on the current `LocalSet`.
    pub async fn connect<T>(mut io: T) -> Result<Self, HelloError>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        hello::exchange(&mut io).await?;
        let (opener, _) = multiplex(io, Side::Caller);
        Ok(Self { opener })
    }

    /// Waits for the connection's end.
    pub async fn lost(&self) -> Lost {
        self.opener.lost().await
    }

    pub async fn create(&self, create: &Create) -> Result<(), CallError> {
        self.done(Request::Create(Box::new(create.into()))).await
    }

    pub async fn start(&self) -> Result<Started, CallError> {
        match self.call(Request::Start).await? {
            Response::Started { pid, timeline } => {
                Ok(Started { pid, timeline: timeline.into_iter().take(MAX_SPANS).map(Into::into).collect() })
            }
            _ => Err(CallError::Unexpected),
        }
    }

    pub async fn exec(&self, process: &Process) -> Result<ExecStarted, CallError> {
        self.call(Request::Exec(Box::new(process.into()))).await?.try_into()
    }

    pub async fn signal(&self, process: &ProcessRef, signal: Signal) -> Result<(), CallError> {
        self.done(Request::Signal { process: process.into(), signal: signal.number() }).await
    }

    pub async fn resize(&self, process: &ProcessRef, size: TerminalSize) -> Result<(), CallError> {
        self.done(Request::Resize { process: process.into(), rows: size.rows, columns: size.columns }).await
    }

    pub async fn wait(&self, process: &ProcessRef) -> Result<Exited, CallError> {
        self.call(Request::Wait { process: process.into() }).await?.try_into()
    }

    /// Returns when the container has been asked to stop, and killed if it did
    /// not within `timeout_ms`.
    pub async fn stop(&self, signal: Signal, timeout_ms: Option<u64>) -> Result<(), CallError> {
        self.done(Request::Stop { signal: signal.number(), timeout_ms }).await
    }

    /// Returns when nothing in the container runs any more.
    pub async fn pause(&self) -> Result<(), CallError> {
        self.done(Request::Pause).await
    }

    pub async fn unpause(&self) -> Result<(), CallError> {
        self.done(Request::Unpause).await
    }

    /// Holds the running container to these limits instead of those before.
    pub async fn update(&self, limits: &Limits) -> Result<(), CallError> {
        self.done(Request::Update(Box::new(limits.into()))).await
    }

    /// Has the running container have these links, ports and names instead of
    /// those before.
    pub async fn rewire(&self, rewired: &Rewired) -> Result<(), CallError> {
        self.done(Request::Rewire(Box::new(rewired.into()))).await
    }

    /// Has an agent's network cards be this instead of what they were.
    pub async fn reconfigure(&self, reconfigured: &Reconfigured) -> Result<(), CallError> {
        self.done(Request::Reconfigure(Box::new(reconfigured.into()))).await
    }

    /// Has an agent take what is sent to the embedded resolver. The stream is of
    /// [`DnsMessage`](crate::DnsMessage)s: queries come, and answers are to go.
    pub async fn resolve(&self) -> Result<Stream, CallError> {
        self.raw(Request::Resolve).await
    }

    pub async fn processes(&self) -> Result<Vec<ContainerProcess>, CallError> {
        match self.call(Request::Processes).await? {
            Response::Processes(processes) => Ok(processes.into_iter().map(Into::into).collect()),
            _ => Err(CallError::Unexpected),
        }
    }

    pub async fn sockets(&self) -> Result<Sockets, CallError> {
        self.call(Request::Sockets).await?.try_into()
    }

    pub async fn stats(&self) -> Result<Stats, CallError> {
        self.call(Request::Stats).await?.try_into()
    }

    pub async fn facts(&self) -> Result<GuestFacts, CallError> {
        self.call(Request::Facts).await?.try_into()
    }

    pub async fn shutdown(&self) -> Result<(), CallError> {
        self.done(Request::Shutdown).await
    }

    /// The stream to write the process's input to; its shutdown is end of file.
    pub async fn stdin(&self, process: &ProcessRef) -> Result<Stream, CallError> {
        self.raw(Request::Stdin { process: process.into() }).await
    }

    /// The stream to read the process's output from, until end of file.
    pub async fn output(&self, process: &ProcessRef, stream: OutputStream) -> Result<Stream, CallError> {
        self.raw(Request::Output { process: process.into(), stream: stream.into() }).await
    }

    async fn open(&self, request: &Request) -> Result<Stream, CallError> {
        self.opener.open(room(request)).await.map_err(|error| match error {
            OpenError::Full => CallError::Full,
            OpenError::Lost(lost) => CallError::Lost(lost),
        })
    }

    async fn done(&self, request: Request) -> Result<(), CallError> {
        match self.call(request).await? {
            Response::Done => Ok(()),
            _ => Err(CallError::Unexpected),
        }
    }

    async fn call(&self, request: Request) -> Result<Response, CallError> {
        ask(&mut self.open(&request).await?, &request).await
    }

    async fn raw(&self, request: Request) -> Result<Stream, CallError> {
        let mut stream = self.open(&request).await?;
        match ask(&mut stream, &request).await? {
            Response::Done => Ok(stream),
            _ => Err(CallError::Unexpected),
        }
    }
}

/// What a request's stream is for.
fn room(request: &Request) -> Room {
    match request {
        Request::Exec(_) | Request::Wait { .. } | Request::Stdin { .. } | Request::Output { .. } => Room::Process,
        Request::Resolve => Room::Resolver,
        Request::Files(_) => Room::Files,
        Request::Create(_)
        | Request::OpenFiles(_)
        | Request::Start
        | Request::Signal { .. }
        | Request::Resize { .. }
        | Request::Stop { .. }
        | Request::Pause
        | Request::Unpause
        | Request::Update(_)
        | Request::Rewire(_)
        | Request::Reconfigure(_)
        | Request::Processes
        | Request::Sockets
        | Request::Stats
        | Request::Facts
        | Request::Shutdown => Room::Control,
    }
}

async fn ask(stream: &mut Stream, request: &Request) -> Result<Response, CallError> {
    frame::write(stream, request).await.map_err(CallError::Frame)?;
    let longest = match request {
        Request::Processes | Request::Sockets | Request::Stats => frame::MAX_MESSAGE,
        _ => MAX_ANSWER,
    };
    refused(frame::read_up_to(stream, longest).await.map_err(CallError::Frame)?)
}

/// A refusal is an error.
pub(crate) fn refused(response: Response) -> Result<Response, CallError> {
    match response {
        Response::Failed { class, message, hint } => {
            Err(CallError::Refused(crate::convert::failure(&class, message, hint)))
        }
        response => Ok(response),
    }
}
