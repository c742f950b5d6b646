//! A registry that serves what a test gives it, in the way that a test wants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::SampleImage;
use crate::hash::digest_of;

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a client begins with that expects TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// A request's first line and its headers, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// `bytes=5-`: 5.
    pub(super) fn range(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.and_then(|range| range.strip_suffix('-')?.parse().ok()).unwrap_or(0)
    }
}

#[derive(Clone)]
pub(super) enum Body {
    Whole(Vec<u8>),
    /// Fewer bytes than the header says.
    Cut {
        bytes: Vec<u8>,
        of: usize,
    },
    /// Again and again, in chunks, as long as anyone reads.
    Endless(Vec<u8>),
    /// These bytes, and then nothing; the connection stays.
    Stall {
        bytes: Vec<u8>,
        of: usize,
    },
    /// No answer at all.
    Silence,
}

#[derive(Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

impl Reply {
    pub(super) fn new(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(super) fn ok(bytes: &[u8]) -> Self {
        Self::new(200, Body::Whole(bytes.to_vec()))
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, Body::Whole(value.to_string().into_bytes())).with("Content-Type", "application/json")
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"errors": [{"code": code, "message": message, "detail": {}}]}))
    }

    pub(super) fn redirect(to: impl Into<String>) -> Self {
        Self::new(307, Body::Whole(Vec::new())).with("Location", to)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Hook = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

#[derive(Default)]
struct World {
    /// By `<repository>/<tag or digest>`.
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    asked: Vec<Asked>,
}

pub(super) struct Server {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl Server {
    /// Must be called within a runtime, which it ends with. The hook answers
    /// what it wants to, and the rest is as a registry should be.
    pub(super) async fn start(hook: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World::default()));
        let (hook, served): (Arc<Hook>, _) = (Arc::new(hook), Arc::clone(&world));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&hook), Arc::clone(&served)));
            }
        });
        Self { address, world }
    }

    pub(super) fn registry(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    pub(super) fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let mut world = self.world.lock().unwrap();
        for reference in [tag.to_owned(), digest_of(bytes).to_string()] {
            world.manifests.insert(format!("{repository}/{reference}"), (media_type.to_owned(), bytes.to_vec()));
        }
    }

    pub(super) fn put_blob(&self, bytes: &[u8]) {
        self.world.lock().unwrap().blobs.insert(digest_of(bytes).to_string(), bytes.to_vec());
    }

    pub(super) fn put(&self, repository: &str, tag: &str, image: &SampleImage) {
        self.put_manifest(repository, tag, MANIFEST, &image.manifest());
        self.put_blob(&image.config);
        image.layers.iter().for_each(|(_, stored)| self.put_blob(stored));
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.world.lock().unwrap().asked.clone()
    }

    /// Requests for this blob.
    pub(super) fn asked_for(&self, blob: &[u8]) -> Vec<Asked> {
        let digest = digest_of(blob).to_string();
        self.asked().into_iter().filter(|asked| asked.path.ends_with(&digest)).collect()
    }
}

async fn serve(mut stream: TcpStream, hook: Arc<Hook>, world: Arc<Mutex<World>>) {
    let Some(asked) = read_request(&mut stream).await else {
        return;
    };
    world.lock().unwrap().asked.push(asked.clone());
    let reply = hook(&asked).unwrap_or_else(|| usual(&world.lock().unwrap(), &asked));
    // The client may be gone: then it has seen enough.
    let _ = answer(&mut stream, &asked, reply).await;
}

async fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if bytes[0] == TLS_HANDSHAKE {
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
            return None;
        }
    };
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> =
        lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Asked { method, path, headers, body: String::from_utf8(body).ok()? })
}

/// What a registry should answer.
fn usual(world: &World, asked: &Asked) -> Reply {
    let path = asked.path.split('?').next().and_then(|path| path.strip_prefix("/v2/")).unwrap_or_default();
    if path.is_empty() {
        return Reply::ok(b"{}");
    }
    if let Some((repository, reference)) = path.split_once("/manifests/") {
        return match world.manifests.get(&format!("{repository}/{reference}")) {
            Some((media_type, bytes)) => Reply::ok(bytes)
                .with("Content-Type", media_type.clone())
                .with("Docker-Content-Digest", digest_of(bytes).to_string()),
            None => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        };
    }
    let blob = path.split_once("/blobs/").and_then(|(_, digest)| world.blobs.get(digest));
    match (blob, asked.range()) {
        (None, _) => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        (Some(bytes), 0) => Reply::ok(bytes),
        (Some(bytes), from) => partial(bytes, from),
    }
}

/// The rest of a blob.
pub(super) fn partial(bytes: &[u8], from: usize) -> Reply {
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    Reply::new(206, Body::Whole(bytes[from..].to_vec())).with("Content-Range", range)
}

async fn answer(stream: &mut TcpStream, asked: &Asked, reply: Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match &reply.body {
        Body::Whole(bytes) => head.push_str(&format!("Content-Length: {}\r\n\r\n", bytes.len())),
        Body::Cut { of, .. } | Body::Stall { of, .. } => head.push_str(&format!("Content-Length: {of}\r\n\r\n")),
        Body::Endless(_) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        Body::Silence => return std::future::pending().await,
    }
    stream.write_all(head.as_bytes()).await?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    match reply.body {
        Body::Whole(bytes) | Body::Cut { bytes, .. } => stream.write_all(&bytes).await,
        Body::Stall { bytes, .. } => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
        Body::Endless(bytes) => loop {
            stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
            stream.write_all(&bytes).await?;
            stream.write_all(b"\r\n").await?;
        },
        Body::Silence => Ok(()),
    }
}
