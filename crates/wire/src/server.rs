//! The answering side: turns streams into calls of a [`Service`].

mod files;

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connection::{Incoming, Lost, Side, Stream, multiplex};
use crate::convert;
use crate::files::Files;
use crate::frame;
use crate::hello::{self, HelloError};
use crate::message::{Request, Response};
use crate::vocabulary::{
    ContainerProcess, Create, ExecStarted, GuestFacts, Reconfigured, Rewired, Sockets, Started, Stats,
};

/// What a keeper and an agent can be asked.
///
/// Calls come from untrusted clients (for an agent: from its keeper) in any
/// order and side by side; the implementer answers a call that does not fit
/// its state with a failure. Dropping the future of a call gives the call up.
#[expect(async_fn_in_trait, reason = "single-threaded by design: no bound on the futures is wanted")]
pub trait Service: Files + 'static {
    type Stdin: AsyncWrite + Unpin;
    type Output: AsyncRead + Unpin;
    type Queries: AsyncRead + AsyncWrite + Unpin;

    /// Prepares a container. Once in the life of a service.
    async fn create(&self, create: Create) -> Result<(), Failure>;
    /// Starts its init; returns when the command has been executed.
    async fn start(&self) -> Result<Started, Failure>;
    /// Starts another process; returns when its command has been executed.
    async fn exec(&self, process: Process) -> Result<ExecStarted, Failure>;
    async fn signal(&self, process: ProcessRef, signal: Signal) -> Result<(), Failure>;
    async fn resize(&self, process: ProcessRef, size: TerminalSize) -> Result<(), Failure>;
    /// Returns when the process has ended, at once if it has.
    async fn wait(&self, process: ProcessRef) -> Result<Exited, Failure>;
    /// Signals the init, kills it after `timeout_ms`, returns when it ended.
    async fn stop(&self, signal: Signal, timeout_ms: Option<u64>) -> Result<(), Failure> {
        self.signal(ProcessRef::Init, signal).await?;
        if let Some(timeout_ms) = timeout_ms {
            let ended = self.wait(ProcessRef::Init);
            if let Ok(ended) = tokio::time::timeout(Duration::from_millis(timeout_ms), ended).await {
                return ended.map(drop);
            }
            self.signal(ProcessRef::Init, Signal::KILL).await?;
        }
        self.wait(ProcessRef::Init).await.map(drop)
    }
    /// Stops everything in the container until [`Self::unpause`]; returns when
    /// it stands still.
    async fn pause(&self) -> Result<(), Failure>;
    async fn unpause(&self) -> Result<(), Failure>;
    /// Sets other limits; what is absent is not limited any more.
    async fn update(&self, limits: Limits) -> Result<(), Failure>;
    /// Gives the running container these links, ports and names instead of those
    /// it had; its network namespace stays as it is.
    async fn rewire(&self, rewired: Rewired) -> Result<(), Failure>;
    /// The same of an agent, whose VM has the cards that it has.
    async fn reconfigure(&self, reconfigured: Reconfigured) -> Result<(), Failure>;
    /// Where queries to the embedded resolver are read from, and answers written
    /// to: see [`DnsMessage`](crate::DnsMessage).
    async fn resolve(&self) -> Result<Self::Queries, Failure>;
    async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure>;
    /// Those of the network that the container is in, whoever made them.
    async fn sockets(&self) -> Result<Sockets, Failure>;
    async fn stats(&self) -> Result<Stats, Failure>;
    async fn facts(&self) -> Result<GuestFacts, Failure>;
    /// Kills what runs, removes what is left, and ends the service.
    async fn shutdown(&self) -> Result<(), Failure>;
    /// Where to write a process's input; shutting it down is end of file, and
    /// so is dropping an exec's.
    async fn stdin(&self, process: ProcessRef) -> Result<Self::Stdin, Failure>;
    /// Where to read a process's output.
    async fn output(&self, process: ProcessRef, stream: OutputStream) -> Result<Self::Output, Failure>;
}

/// Answers one connection until it ends, and says how it did. Calls under way
/// are given up with the connection. When `closing` is done, no more calls are
/// taken and the connection is closed after the last answer. Runs on the
/// current `LocalSet`.
pub async fn serve<S, T>(service: Rc<S>, mut io: T, closing: impl Future) -> Result<Lost, HelloError>
where
    S: Service,
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    hello::exchange(&mut io).await?;
    let (_, incoming) = multiplex(io, Side::Answerer);
    Ok(answer_all(service, incoming, closing).await)
}

async fn answer_all<S: Service>(service: Rc<S>, mut incoming: Incoming, closing: impl Future) -> Lost {
    let mut calls = tokio::task::JoinSet::new();
    let mut closing = pin!(closing);
    loop {
        tokio::select! {
            stream = incoming.next() => match stream {
                Some(stream) => drop(calls.spawn_local(answer(Rc::clone(&service), stream))),
                None => return incoming.lost().await,
            },
            Some(_) = calls.join_next() => {}
            _ = &mut closing => break,
        }
    }
    let lost = tokio::select! {
        lost = incoming.lost() => Some(lost),
        () = async { while calls.join_next().await.is_some() {} } => None,
    };
    match lost {
        Some(lost) => lost,
        None => incoming.close().await,
    }
}

async fn answer<S: Service>(service: Rc<S>, mut stream: Stream) {
    let request = match frame::read(&mut stream).await {
        Ok(request) => request,
        Err(error) => {
            tracing::warn!(error = casemate_model::chain(&error), "request dropped");
            return;
        }
    };
    // The caller's end of a stream is the only thing that can make a call
    // without an end (`wait`) stop waiting.
    let response = match request {
        Request::Stdin { process } => return answer_stdin(&*service, process.into(), stream).await,
        Request::Output { process, stream: which } => {
            return answer_output(&*service, process.into(), which.into(), stream).await;
        }
        Request::Resolve => return answer_resolve(&*service, stream).await,
        Request::Files(request) => return files::answer(&*service, request, stream).await,
        request => {
            let mut end = [0; 1];
            tokio::select! {
                response = call(&*service, request) => response,
                _ = stream.read(&mut end) => return,
            }
        }
    };
    respond(&mut stream, response).await;
    let _ = stream.shutdown().await;
}

async fn respond(stream: &mut Stream, response: Result<Response, Failure>) -> bool {
    let succeeded = response.is_ok();
    let response = response.unwrap_or_else(convert::failed);
    frame::write(stream, &response).await.is_ok() && succeeded
}

async fn answer_stdin<S: Service>(service: &S, process: Result<ProcessRef, Failure>, mut stream: Stream) {
    let opened = match process {
        Ok(process) => service.stdin(process.clone()).await.map(|stdin| (process, stdin)),
        Err(failure) => Err(failure),
    };
    let (process, mut stdin) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            respond(&mut stream, Err(failure)).await;
            let _ = stream.shutdown().await;
            return;
        }
    };
    if !respond(&mut stream, Ok(Response::Done)).await {
        return;
    }
    // Neither must wait for a process that does not read: a writer that has
    // gone, and the end of the process itself.
    let given_up = stream.given_up();
    let copied = tokio::select! {
        biased;
        () = given_up => return,
        copied = tokio::io::copy(&mut stream, &mut stdin) => copied,
        _ = service.wait(process) => return,
    };
    // After an error, which is the process closing its input, the stream is
    // dropped as it is: so its writer is told, as with any broken pipe. And a
    // writer that went away has not ended its input; dropping that does what it
    // means for this process.
    if copied.is_ok() {
        let _ = stdin.shutdown().await;
        let _ = stream.shutdown().await;
    }
}

async fn answer_output<S: Service>(
    service: &S,
    process: Result<ProcessRef, Failure>,
    which: OutputStream,
    mut stream: Stream,
) {
    let opened = match process {
        Ok(process) => service.output(process, which).await,
        Err(failure) => Err(failure),
    };
    match opened {
        Ok(mut output) => {
            if respond(&mut stream, Ok(Response::Done)).await {
                let (mut reader, mut writer) = tokio::io::split(stream);
                let mut end = [0; 1];
                // A reader that went away must not leave this waiting for
                // output that may never come.
                tokio::select! {
                    _ = tokio::io::copy(&mut output, &mut writer) => {}
                    _ = reader.read(&mut end) => {}
                }
                let _ = writer.shutdown().await;
            }
        }
        Err(failure) => {
            respond(&mut stream, Err(failure)).await;
            let _ = stream.shutdown().await;
        }
    }
}

async fn answer_resolve<S: Service>(service: &S, mut stream: Stream) {
    match service.resolve().await {
        Ok(mut queries) => {
            if respond(&mut stream, Ok(Response::Done)).await {
                // Ends with the caller, who alone has enough of it.
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut queries).await;
            }
        }
        Err(failure) => {
            respond(&mut stream, Err(failure)).await;
            let _ = stream.shutdown().await;
        }
    }
}

async fn call<S: Service>(service: &S, request: Request) -> Result<Response, Failure> {
    Ok(match request {
        Request::Create(create) => {
            service.create((*create).try_into()?).await?;
            Response::Done
        }
        Request::OpenFiles(create) => {
            service.open_files((*create).try_into()?).await?;
            Response::Done
        }
        Request::Start => service.start().await?.into(),
        Request::Exec(process) => service.exec((*process).try_into()?).await?.into(),
        Request::Signal { process, signal } => {
            service.signal(Result::from(process)?, convert::signal(signal)?).await?;
            Response::Done
        }
        Request::Resize { process, rows, columns } => {
            service.resize(Result::from(process)?, TerminalSize { rows, columns }).await?;
            Response::Done
        }
        Request::Wait { process } => service.wait(Result::from(process)?).await?.into(),
        Request::Stop { signal, timeout_ms } => {
            service.stop(convert::signal(signal)?, timeout_ms).await?;
            Response::Done
        }
        Request::Pause => {
            service.pause().await?;
            Response::Done
        }
        Request::Unpause => {
            service.unpause().await?;
            Response::Done
        }
        Request::Update(limits) => {
            service.update((*limits).try_into()?).await?;
            Response::Done
        }
        Request::Rewire(rewired) => {
            service.rewire((*rewired).try_into()?).await?;
            Response::Done
        }
        Request::Reconfigure(reconfigured) => {
            service.reconfigure((*reconfigured).try_into()?).await?;
            Response::Done
        }
        Request::Processes => Response::Processes(service.processes().await?.into_iter().map(Into::into).collect()),
        Request::Sockets => service.sockets().await?.into(),
        Request::Stats => service.stats().await?.into(),
        Request::Facts => service.facts().await?.into(),
        Request::Shutdown => {
            service.shutdown().await?;
            Response::Done
        }
        Request::Stdin { .. } | Request::Output { .. } | Request::Resolve | Request::Files(_) => {
            unreachable!("requests with a raw stream are answered by their own functions")
        }
    })
}

#[cfg(test)]
mod tests;
