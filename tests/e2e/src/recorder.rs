//! Between a client and the daemon: passes all bytes on, and keeps them.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::http::{Head, status};

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    pub path: String,
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// What passed over one connection.
#[derive(Debug, Default)]
struct Passed {
    requests: Mutex<Vec<u8>>,
    answers: Mutex<Vec<u8>>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    socket: PathBuf,
    connections: Arc<Mutex<Vec<Arc<Passed>>>>,
    ended: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Drop for Recorder {
    /// Nothing listens any more when this returns.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

impl Recorder {
    /// Listens on `socket`, for the daemon that listens on `daemon`.
    pub fn start(daemon: &Path, socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        let connections: Arc<Mutex<Vec<Arc<Passed>>>> = Arc::default();
        let (daemon, all) = (daemon.to_owned(), Arc::clone(&connections));
        let ended: Arc<AtomicBool> = Arc::default();
        let over = Arc::clone(&ended);
        let listening = std::thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // Without a daemon a client's connection is closed.
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&daemon)) else {
                    return;
                };
                let passed = Arc::new(Passed::default());
                all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&passed));
                let reversed = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                let of = Arc::clone(&passed);
                std::thread::spawn(move || pass(client, server, &of.requests));
                std::thread::spawn(move || pass(reversed.0, reversed.1, &passed.answers));
            }
        });
        Self { socket: socket.to_owned(), connections, ended, listening: Some(listening) }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// All whose answers have come whole.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |side: &Mutex<Vec<u8>>| side.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connections.iter().flat_map(|passed| read(&bytes(&passed.requests), &bytes(&passed.answers))).collect()
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, kept: &Mutex<Vec<u8>>) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..length]);
        if to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Requests and answers in their order, up to where HTTP ends.
fn read(mut requests: &[u8], mut answers: &[u8]) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    while let Some((request, length)) = Head::parse(requests) {
        requests = &requests[length..];
        let mut words = request.line.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            panic!("{:?} is no request", request.line);
        };
        let has_body = request.length().is_some() || request.header("transfer-encoding").is_some();
        if has_body {
            let Some((_, length)) = request.body(requests) else {
                break;
            };
            requests = &requests[length..];
        }
        let Some((answer, length)) = Head::parse(answers) else {
            break;
        };
        answers = &answers[length..];
        let status = status(&answer.line);
        let leaves_http = request.header("upgrade").is_some() && matches!(status, 101 | 200);
        let without_body = method == "HEAD" || matches!(status, 101 | 204 | 304) || leaves_http;
        let body = match without_body {
            true => Vec::new(),
            false => match answer.body(answers) {
                Some((body, length)) => {
                    answers = &answers[length..];
                    body
                }
                None => break,
            },
        };
        let content_type = answer.header("content-type").map(str::to_owned);
        exchanges.push(Exchange { method, path, status, content_type, body });
        if leaves_http {
            break;
        }
    }
    exchanges
}
