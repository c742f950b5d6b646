//! HTTP/1.1 as the tests need it: one request on a Unix socket, and the reading
//! of answers from the bytes that passed over a connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::deadline::PATIENCE;

/// The head of a request or of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// `GET /path HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub line: String,
    /// Names in small letters.
    headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The head at the beginning of the bytes, and how long it is.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let line = lines.next()?.to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some((Self { line, headers }, end + 4))
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }

    pub fn length(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }

    /// The body at the beginning of these bytes and its length there; `None`
    /// for one that is not whole. Without a length it ends with the connection.
    pub fn body(&self, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        if self.is_chunked() {
            return chunks(bytes);
        }
        let length = self.length().unwrap_or(bytes.len());
        Some((bytes.get(..length)?.to_vec(), length))
    }
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let end = at + bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        let from = end + 2;
        body.extend_from_slice(bytes.get(from..from + size)?);
        at = from + size + 2;
        if size == 0 {
            return (at <= bytes.len()).then_some((body, at));
        }
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Of an error, or of nothing.
    pub fn message(&self) -> String {
        match self.body.is_empty() {
            true => String::new(),
            false => self.json()["message"].as_str().expect("an error has a message").to_owned(),
        }
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.head.line, String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub fn says(self, message: &str) -> Self {
        assert!(self.message().contains(message), "{message:?} is not in {:?}", self.message());
        self
    }
}

/// The status in an answer's first line.
pub fn status(line: &str) -> u16 {
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line:?} has no status"))
}

/// Sends one request whose body, if there is one, is of this type.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n").into_bytes();
    if let Some((media_type, body)) = body {
        bytes.extend(format!("Content-Type: {media_type}\r\nContent-Length: {}\r\n", body.len()).bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body.map_or(&[][..], |(_, body)| body));
    stream.write_all(&bytes).expect("a daemon that reads");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    read.unwrap_or_else(|error| panic!("{method} {path}: {error} after {:?}", String::from_utf8_lossy(&answer)));
    let (head, length) = Head::parse(&answer).unwrap_or_else(|| panic!("{method} {path}: no answer"));
    let (body, _) = head.body(&answer[length..]).unwrap_or_else(|| panic!("{method} {path}: half an answer"));
    Answer { status: status(&head.line), head, body }
}

/// The same with JSON, or with nothing.
pub fn request_json(socket: &Path, method: &str, path: &str, json: Option<&Value>) -> Answer {
    let json = json.map(|value| value.to_string().into_bytes());
    request(socket, method, path, json.as_deref().map(|json| ("application/json", json)))
}
