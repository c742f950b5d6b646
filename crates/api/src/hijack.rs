//! Connections that leave HTTP behind: attach and exec.
//!
//! After the answer both sides send raw bytes. A process without a terminal has
//! two outputs on the one connection, told apart by an 8-byte header before
//! each piece (moby `stdcopy`): the stream's number, three zeros, the length in
//! big-endian order.

use std::io;
use std::time::Duration;

use casemate_engine::daemon::Streams;
use casemate_model::DetachKeys;
use hyper::Response;
use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::body::Body;
use crate::error::ApiError;
use crate::hangup::Gone;
use crate::request::{Call, Version};

/// What is read at once of an output or of the client's input.
const CHUNK: usize = 32 << 10;

const HEADER: usize = 8;

/// How long a client may take to leave when all has been said.
const LINGER: Duration = Duration::from_secs(5);

/// A client's connection after HTTP.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// Pieces of output have headers, unless there is a terminal.
    pub(crate) framed: bool,
    pub(crate) gone: Gone,
}

pub(crate) type Reader = Box<dyn AsyncRead + Unpin>;
pub(crate) type Writer = Box<dyn AsyncWrite + Unpin>;

/// Who asked for a connection, and with which head HTTP ends on it.
pub(crate) struct Hijack {
    pub(crate) head: Vec<u8>,
    pub(crate) taker: oneshot::Sender<Connection>,
}

/// Which of a process's streams a client wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// The client's end of input is the process's. Where it is not, it ends
    /// the session (moby `stream/attach.go`).
    pub(crate) stdin_once: bool,
}

/// Takes the connection when the returned answer is sent: with status 101 if
/// the client asks for an upgrade, with 200 in the form before 1.21.
pub(crate) fn upgrade(call: &Call, terminal: bool) -> (Response<Body>, oneshot::Receiver<Connection>) {
    let media_type = content_type(call.version, terminal);
    let media_type = media_type.to_str().unwrap_or_default();
    let head = match call.request.headers().contains_key("upgrade") {
        true => format!(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: {media_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        ),
        false => format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n"),
    };
    take(call, head)
}

/// Takes the connection; `head` is what the client gets instead of the answer.
pub(crate) fn take(call: &Call, head: String) -> (Response<Body>, oneshot::Receiver<Connection>) {
    let (taker, connection) = oneshot::channel();
    call.hijack.replace(Some(Hijack { head: head.into_bytes(), taker }));
    (Response::new(Body::Empty), connection)
}

/// Since 1.42 the type tells whether pieces have headers.
pub(crate) fn content_type(version: Version, terminal: bool) -> HeaderValue {
    match version >= Version(1, 42) && !terminal {
        true => HeaderValue::from_static("application/vnd.docker.multiplexed-stream"),
        false => HeaderValue::from_static("application/vnd.docker.raw-stream"),
    }
}

/// A piece of output in the form the client expects.
pub(crate) fn framed(stderr: bool, bytes: &[u8], terminal: bool) -> Vec<u8> {
    if terminal {
        return bytes.to_vec();
    }
    let mut piece = Vec::with_capacity(HEADER + bytes.len());
    piece.extend_from_slice(&[if stderr { 2 } else { 1 }, 0, 0, 0]);
    piece.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    piece.extend_from_slice(bytes);
    piece
}

/// Docker's own if absent.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<DetachKeys, ApiError> {
    let Some(text) = text else {
        return Ok(DetachKeys::default());
    };
    text.parse().map_err(|error: casemate_model::InvalidDetachKeys| ApiError::bad_request(error.to_string()))
}

/// How a client and a process parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parted {
    /// The outputs came to their end.
    Ended,
    /// The client left, by its keys or by going away.
    Left,
}

/// Joins a client to a process until one of them leaves. `started` tells when
/// the process is there to be written to, `over` when those who ask are told
/// how it ended: the client asks as soon as the connection's end has come.
pub(crate) async fn join(
    connection: Connection,
    streams: &mut Streams,
    wanted: Wanted,
    keys: &DetachKeys,
    started: impl Future<Output = bool>,
    over: impl Future<Output = ()>,
) -> Parted {
    let terminal = streams.stderr.is_none();
    let Connection { reader, mut writer, framed, gone } = connection;
    let (client, process) = (streams.client.clone(), streams.process.clone());
    let input = async {
        let stdin = match wanted.stdin && started.await {
            // It may take no input (any more).
            true => client.stdin(&process).await.ok(),
            false => None,
        };
        let left = match stdin {
            Some(stdin) => copy_input(reader, stdin, terminal.then_some(keys), wanted.stdin_once && !terminal).await,
            None => ignore_input(reader).await,
        };
        if left == Input::Over {
            gone.await;
        }
    };
    let output = async {
        let parted = copy_outputs(streams, &mut writer, wanted, framed && !terminal).await;
        if parted == Parted::Ended {
            over.await;
        }
        parted
    };
    tokio::pin!(input);
    let parted = tokio::select! {
        parted = output => parted,
        () = &mut input => Parted::Left,
    };
    let _ = writer.shutdown().await;
    if parted == Parted::Ended {
        // A socket that is closed on what it has not read resets the connection,
        // and the client may not see the end of the output.
        let _ = tokio::time::timeout(LINGER, input).await;
    }
    parted
}

/// What there is no more input for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// The client has nothing more to say. It may still listen.
    Over,
    /// It leaves the process alone.
    Left,
}

async fn ignore_input(mut reader: Reader) -> Input {
    let mut ignored = [0; 1024];
    loop {
        match reader.read(&mut ignored).await {
            Ok(0) => return Input::Over,
            Ok(_) => {}
            Err(_) => return Input::Left,
        }
    }
}

async fn copy_input(
    mut reader: Reader,
    mut stdin: impl AsyncWrite + Unpin,
    keys: Option<&DetachKeys>,
    once: bool,
) -> Input {
    let mut chunk = vec![0; CHUNK];
    let mut matcher = keys.map(DetachKeys::matcher);
    loop {
        let length = match reader.read(&mut chunk).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(_) => return Input::Left,
        };
        let written = match &mut matcher {
            Some(matcher) => match matcher.pass(&chunk[..length]) {
                Some(bytes) => stdin.write_all(&bytes).await,
                None => return Input::Left,
            },
            None => stdin.write_all(&chunk[..length]).await,
        };
        if written.is_err() {
            // It reads no more; what it writes is still of interest.
            return ignore_input(reader).await;
        }
    }
    let _ = stdin.shutdown().await;
    if once { Input::Over } else { Input::Left }
}

async fn copy_outputs(streams: &mut Streams, writer: &mut Writer, wanted: Wanted, headers: bool) -> Parted {
    let Streams { stdout, stderr, .. } = streams;
    let (mut first, mut second) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut out_open, mut err_open) = (true, stderr.is_some());
    while out_open || err_open {
        let (is_stderr, read) = tokio::select! {
            read = stdout.read(&mut first), if out_open => (false, read),
            read = read_opt(stderr.as_mut(), &mut second), if err_open => (true, read),
        };
        let length = read.unwrap_or(0);
        match (length, is_stderr) {
            (0, false) => out_open = false,
            (0, true) => err_open = false,
            _ => {}
        }
        let (bytes, is_wanted) =
            if is_stderr { (&second[..length], wanted.stderr) } else { (&first[..length], wanted.stdout) };
        if length == 0 || !is_wanted {
            continue;
        }
        if writer.write_all(&framed(is_stderr, bytes, !headers)).await.is_err() || writer.flush().await.is_err() {
            return Parted::Left;
        }
    }
    Parted::Ended
}

async fn read_opt(stream: Option<&mut (impl AsyncRead + Unpin)>, chunk: &mut [u8]) -> io::Result<usize> {
    match stream {
        Some(stream) => stream.read(chunk).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_say_which_stream_and_how_long() {
        assert_eq!(framed(false, b"hi", false), *b"\x01\0\0\0\0\0\0\x02hi");
        assert_eq!(framed(true, b"", false), *b"\x02\0\0\0\0\0\0\0");
        assert_eq!(framed(false, b"hi", true), *b"hi");
    }
}
