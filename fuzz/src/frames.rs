//! Bytes as one message, and what becomes of it.
//!
//! The first byte chooses: `0` and `1` a request, `2` and `3` an answer; with
//! `1` and `3` the length before the message is set right, so that the fuzzer
//! need not find it out. Promises:
//!
//! - A message costs memory in proportion to the bytes that are there, not to
//!   the length they announce; exactly its own bytes are taken.
//! - What is read and written again is the same message.
//! - A request that is not refused reaches the service in checked types which
//!   keep what they promise, and comes through a second connection unchanged.
//! - An answer reaches the caller in checked types whose words are printable
//!   and limited, and comes through a second connection unchanged.

use std::rc::Rc;

use casemate_model::{Capabilities, Failure, Process, ProcessRef, Signal};
use casemate_wire::connection::multiplex;
use casemate_wire::frame::{self, FrameError, MAX_MESSAGE};
use casemate_wire::message::{Request, Response};
use casemate_wire::{CallError, Client, CopyIn, Create, Place, Room, Side, hello, serve};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::double::{Answers, Call, Double};
use crate::{memory, run};

/// Besides the message: a piece to read it into, the runtime.
const FLAT: usize = 256 << 10;
/// The worst of JSON: `[],` or `"",` become 24 bytes each, while a vector that
/// grows holds its double and its half.
const PER_BYTE: usize = 32;

/// The words of the wire's client are cut to this many characters.
const MAX_WORDS: usize = 4096;

pub fn check(data: &[u8]) {
    let Some((selector, bytes)) = data.split_first() else {
        return;
    };
    let bytes = if selector & 1 == 0 { bytes.to_vec() } else { framed(bytes) };
    if selector & 2 == 0 {
        if let Some(request) = read_and_write::<Request>(&bytes) {
            // What follows a request on its stream takes it back.
            run(check_request(&bytes[..message_length(&bytes)], &request));
        }
    } else if let Some(response) = read_and_write::<Response>(&bytes) {
        run(check_response(&bytes, response));
    }
}

fn message_length(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(0, |length| 4 + u32::from_le_bytes(*length) as usize)
}

/// The message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_le_bytes(), message].concat()
}

fn read_and_write<T>(bytes: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    memory::bounded(FLAT + PER_BYTE * bytes.len(), || {
        run(async {
            let mut rest = bytes;
            let read = frame::read::<T>(&mut rest).await;
            let announced = bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
            let (Some(length @ ..=MAX_MESSAGE), Ok(message)) = (announced, &read) else {
                refused_as_it_should_be(bytes, announced, &read.map(drop));
                return None;
            };
            assert_eq!(rest.len(), bytes.len() - 4 - length, "exactly one message was taken");
            let mut written = Vec::new();
            frame::write(&mut written, message).await.expect("what was read can be written");
            let again = frame::read::<T>(&mut &written[..]).await.expect("what was written can be read");
            assert_eq!(again, *message);
            read.ok()
        })
    })
}

fn refused_as_it_should_be(bytes: &[u8], announced: Option<usize>, read: &Result<(), FrameError>) {
    let expected = match announced {
        None => matches!(read, Err(FrameError::Io(_))),
        Some(length) if length > MAX_MESSAGE => matches!(read, Err(FrameError::TooLong { .. })),
        Some(length) if length > bytes.len() - 4 => matches!(read, Err(FrameError::Io(_))),
        Some(_) => matches!(read, Err(FrameError::Malformed(_))),
    };
    assert!(expected, "{announced:?} bytes announced, {} there: {read:?}", bytes.len());
}

/// A connection to a service that answers this.
fn served(answers: Answers) -> (Rc<Double>, DuplexStream) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let service = Rc::new(Double::new(answers));
    tokio::task::spawn_local(serve(Rc::clone(&service), far, std::future::pending::<()>()));
    (service, near)
}

async fn check_request(bytes: &[u8], request: &Request) {
    let (service, mut near) = served(Answers::default());
    hello::exchange(&mut near).await.expect("both speak the same version");
    let (opener, _incoming) = multiplex(near, Side::Caller);
    let mut stream = opener.open(Room::Control).await.expect("a first stream");
    stream.write_all(bytes).await.expect("room in the window");
    let response: Response = frame::read(&mut stream).await.expect("every readable request is answered");
    let mut calls = service.calls();
    if let [Call::Stdin(_), Call::Wait(_)] = &calls[..] {
        // An input is open as long as its process runs.
        calls.pop();
    }
    let [call] = &calls[..] else {
        assert!(calls.is_empty(), "one request, one call");
        assert!(
            matches!(&response, Response::Failed { class, .. } if class == "invalid-argument"),
            "{request:?} was refused with {response:?}"
        );
        return;
    };
    assert!(!matches!(response, Response::Failed { .. }), "{response:?}");
    keeps_its_promises(call);

    let (service, near) = served(Answers::default());
    let client = Client::connect(near).await.expect("both speak the same version");
    ask(&client, call).await.expect("the service refuses nothing");
    assert!(service.calls().starts_with(&calls), "the same call came through");
}

fn keeps_its_promises(call: &Call) {
    match call {
        Call::Create(create) | Call::OpenFiles(create) => {
            let Create { container, place } = &**create;
            process_keeps_its_promises(&container.init);
            assert_eq!(container.id.as_str().len(), 64);
            assert!(!container.hostname.contains('\0'));
            let paths = container.masked_paths.iter().chain(&container.readonly_paths).chain([&container.domainname]);
            let devices = container.devices.iter().flat_map(|device| [&device.host_path, &device.path]);
            let paths = paths.chain(devices).chain(container.tmpfs.iter().map(|tmpfs| &tmpfs.path));
            assert!(paths.into_iter().all(|path| !path.contains('\0')));
            if let Place::Guest(guest) = place {
                for extent in &guest.layers {
                    assert!(extent.offset % 512 == 0 && extent.length % 512 == 0 && extent.length > 0);
                    assert!(extent.offset.checked_add(extent.length).is_some());
                }
            }
        }
        Call::Exec(process) => process_keeps_its_promises(process),
        Call::StatPath(path) | Call::CopyOut(path) | Call::CopyIn(CopyIn { path, .. }) => {
            assert!(!path.contains('\0'));
        }
        Call::Signal(_, signal) | Call::Stop(signal, _) => assert!((1..=64).contains(&signal.number())),
        _ => {}
    }
}

fn process_keeps_its_promises(process: &Process) {
    assert!(!process.args.is_empty());
    assert!(process.args.iter().chain(&process.env).chain([&process.cwd]).all(|text| !text.contains('\0')));
    assert!(process.additional_groups.iter().all(|group| !group.contains('\0')));
    assert!((-1000..=1000).contains(&process.oom_score_adj));
    assert_eq!(process.capabilities.bits() & !Capabilities::ALL.bits(), 0);
    if let Some(seccomp) = &process.seccomp {
        assert!(seccomp.program.len() % 8 == 0 && seccomp.program.len() <= 4096 * 8);
    }
}

/// Calls what `call` says. A stream that comes back is dropped.
pub async fn ask(client: &Client, call: &Call) -> Result<(), CallError> {
    match call {
        Call::Create(create) => client.create(create).await,
        Call::Start => client.start().await.map(drop),
        Call::Exec(process) => client.exec(process).await.map(drop),
        Call::Signal(process, signal) => client.signal(process, *signal).await,
        Call::Resize(process, size) => client.resize(process, *size).await,
        Call::Wait(process) => client.wait(process).await.map(drop),
        Call::Stop(signal, timeout_ms) => client.stop(*signal, *timeout_ms).await,
        Call::Pause => client.pause().await,
        Call::Unpause => client.unpause().await,
        Call::Update(limits) => client.update(limits).await,
        Call::Rewire(rewired) => client.rewire(rewired).await,
        Call::Reconfigure(reconfigured) => client.reconfigure(reconfigured).await,
        Call::Resolve => client.resolve().await.map(drop),
        Call::Processes => client.processes().await.map(drop),
        Call::Sockets => client.sockets().await.map(drop),
        Call::Stats => client.stats().await.map(drop),
        Call::Facts => client.facts().await.map(drop),
        Call::Shutdown => client.shutdown().await,
        Call::Stdin(process) => client.stdin(process).await.map(drop),
        Call::Output(process, stream) => client.output(process, *stream).await.map(drop),
        Call::OpenFiles(create) => client.open_files(create).await,
        Call::StatPath(path) => client.stat_path(path).await.map(drop),
        Call::CopyOut(path) => client.copy_out(path).await.map(drop),
        Call::CopyIn(copy) => client.copy_in(copy).await.map(drop),
        Call::StreamFiles(what) => client.stream_files(*what).await.map(drop),
    }
}

/// A client whose one request is answered with these bytes.
async fn answered(bytes: &[u8]) -> Client {
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let bytes = bytes.to_vec();
    tokio::task::spawn_local(async move {
        hello::exchange(&mut far).await.expect("both speak the same version");
        let (_opener, mut incoming) = multiplex(far, Side::Answerer);
        let mut stream = incoming.next().await.expect("a request");
        let _: Request = frame::read(&mut stream).await.expect("a client writes readable requests");
        stream.write_all(&bytes).await.expect("room in the window");
        stream.shutdown().await.expect("an open connection");
        incoming.lost().await;
    });
    Client::connect(near).await.expect("both speak the same version")
}

/// What a caller makes of an answer, as the answers of a service to give the
/// same again.
async fn understood(client: &Client, response: &Response) -> Result<Answers, CallError> {
    let mut answers = Answers::default();
    match response {
        Response::Done | Response::Failed { .. } => client.signal(&ProcessRef::Init, Signal::TERM).await?,
        Response::Started { .. } => answers.started = client.start().await?,
        Response::Exec { .. } => {
            let process = crate::connection::process();
            answers.exec = client.exec(&process).await?;
        }
        Response::Exited { .. } => answers.exited = Some(client.wait(&ProcessRef::Init).await?),
        Response::Processes(_) => answers.processes = client.processes().await?,
        Response::Sockets { .. } => answers.sockets = client.sockets().await?,
        Response::Stats { .. } => answers.stats = client.stats().await?,
        Response::Facts { .. } => answers.facts = client.facts().await?,
        Response::PathStat { .. } => answers.stat = client.stat_path("/link").await?,
    }
    Ok(answers)
}

async fn check_response(bytes: &[u8], response: Response) {
    let client = answered(bytes).await;
    let answers = match understood(&client, &response).await {
        Ok(answers) => answers,
        Err(CallError::Refused(failure)) => Answers { refusal: Some(failure), ..Answers::default() },
        Err(error) => {
            assert!(matches!(error, CallError::Invalid(_)), "{response:?} became {error:?}");
            return;
        }
    };
    let words = words(&answers);
    for text in &words {
        assert!(text.chars().count() <= MAX_WORDS, "{} characters", text.chars().count());
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?} could move a cursor");
    }

    let (_service, near) = served(answers.clone());
    let client = Client::connect(near).await.expect("both speak the same version");
    let again = match understood(&client, &response).await {
        Ok(answers) => answers,
        Err(CallError::Refused(failure)) => Answers { refusal: Some(failure), ..Answers::default() },
        Err(error) => panic!("{answers:?} became {error:?}"),
    };
    assert_eq!(format!("{again:?}"), format!("{answers:?}"), "the same answer came through");
}

/// All the text that the other side chose.
fn words(answers: &Answers) -> Vec<&str> {
    // The name of a file is what it is: it is asked for again.
    let Answers { refusal, started, exec: _, exited, processes, sockets, stats, facts, stat: _, output: _ } = answers;
    let mut words = vec![facts.kernel_release.as_str(), &facts.boot_id];
    if let Some(Failure { class: _, message, hint }) = refusal {
        words.push(message);
        words.extend(hint.as_deref());
    }
    words.extend(started.timeline.iter().map(|span| span.name.as_str()));
    words.extend(exited.iter().filter_map(|exited| exited.reason.as_deref()));
    words.extend(stats.memory.detail.iter().map(|(name, _)| name.as_str()));
    words.extend(processes.iter().map(|process| process.command.as_str()));
    words.extend(sockets.sockets.iter().filter_map(|socket| Some(socket.owner.as_ref()?.name.as_str())));
    words
}
