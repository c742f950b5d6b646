//! From method and path to a handler.

use std::cell::RefCell;
use std::rc::Rc;

use casemate_engine::Daemon;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response};

use crate::body::Body;
use crate::error::ApiError;
use crate::hijack::Hijack;
use crate::query::Query;
use crate::reply::Reply;
use crate::request::{Call, Version};
use crate::server::HostFacts;
use crate::{API_VERSION, MIN_API_VERSION, containers, exec, images, networks, out_of_scope, own, system, upload};

const SERVER: HeaderValue = HeaderValue::from_static(concat!("Casemate/", env!("CARGO_PKG_VERSION"), " (linux)"));

/// What all requests of a connection share.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) daemon: Rc<Daemon>,
    pub(crate) facts: Rc<HostFacts>,
    pub(crate) hijack: Rc<RefCell<Option<Hijack>>>,
}

pub(crate) async fn answer(served: Served, request: Request<Incoming>) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let described = format!("{} {}", request.method(), request.uri());
    let mut response = match dispatch(served, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(request = described, status = error.status.as_u16(), error = error.message, "refused");
            error.response()
        }
    };
    if head {
        *response.body_mut() = Body::Empty;
    }
    let headers = response.headers_mut();
    headers.insert("server", SERVER);
    headers.insert("api-version", HeaderValue::from_static(API_VERSION));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    response
}

async fn dispatch(served: Served, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let segments: Vec<String> = path
        .split('/')
        .skip(1)
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (version, segments) = match segments.split_first() {
        Some((first, rest)) => match first.strip_prefix('v').and_then(Version::parse) {
            Some(version) => (version, rest),
            None => (newest(), &segments[..]),
        },
        None => (newest(), &segments[..]),
    };
    check(version)?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let method = request.method().clone();
    let Served { daemon, facts, hijack } = served;
    let call = Call { daemon, facts, hijack, query, version, request };
    route(&method, segments, call).await
}

async fn route(method: &Method, segments: &[&str], call: Call) -> Reply {
    match (method.as_str(), segments) {
        ("GET" | "HEAD", ["_ping"]) => system::ping(),
        ("GET", ["version"]) => system::version(&call.facts),
        ("GET", ["info"]) => system::info(&call).await,
        ("GET", ["events"]) => system::events(&call),
        ("GET", ["system", "df"]) => system::df(&call).await,
        ("POST", ["auth"]) => images::login(call).await,

        ("GET", ["containers", "json"]) => containers::list(&call).await,
        ("POST", ["containers", "create"]) => containers::create(call).await,
        ("POST", ["commit"]) => containers::commit(call).await,
        ("POST", ["containers", "prune"]) => containers::prune(&call).await,
        ("GET", ["containers", id, "json"]) => containers::inspect(&call, id).await,
        ("GET", ["containers", id, "top"]) => containers::top(&call, id).await,
        ("GET", ["containers", id, "logs"]) => containers::logs(&call, id).await,
        ("GET", ["containers", id, "stats"]) => containers::stats(&call, id),
        ("POST", ["containers", id, "start"]) => containers::start(&call, id).await,
        ("POST", ["containers", id, "stop"]) => containers::stop(&call, id).await,
        ("POST", ["containers", id, "restart"]) => containers::restart(&call, id).await,
        ("POST", ["containers", id, "kill"]) => containers::kill(&call, id).await,
        ("POST", ["containers", id, "pause"]) => containers::pause(&call, id).await,
        ("POST", ["containers", id, "unpause"]) => containers::unpause(&call, id).await,
        ("POST", ["containers", id, "update"]) => containers::update(call, id).await,
        ("POST", ["containers", id, "rename"]) => containers::rename(&call, id).await,
        ("POST", ["containers", id, "resize"]) => containers::resize(&call, id).await,
        ("POST", ["containers", id, "wait"]) => containers::wait(&call, id),
        ("HEAD", ["containers", id, "archive"]) => containers::stat(&call, id).await,
        ("GET", ["containers", id, "archive"]) => containers::copy_out(&call, id).await,
        ("PUT", ["containers", id, "archive"]) => containers::copy_in(call, id).await,
        ("GET", ["containers", id, "changes"]) => containers::changes(&call, id).await,
        ("GET", ["containers", id, "export"]) => containers::export(&call, id).await,
        ("POST", ["containers", id, "attach"]) => containers::attach(call, id).await,
        ("GET", ["containers", id, "attach", "ws"]) => containers::attach_websocket(call, id).await,
        ("POST", ["containers", id, "exec"]) => exec::create(call, id).await,
        ("DELETE", ["containers", id]) => containers::remove(&call, id).await,

        ("GET", ["networks"]) => networks::list(&call),
        ("POST", ["networks", "create"]) => networks::create(call).await,
        ("POST", ["networks", "prune"]) => networks::prune(&call).await,
        ("GET", ["networks", name]) => networks::inspect(&call, name),
        ("DELETE", ["networks", name]) => networks::remove(&call, name).await,
        ("POST", ["networks", name, "connect"]) => networks::connect(call, name).await,
        ("POST", ["networks", name, "disconnect"]) => networks::disconnect(call, name).await,

        ("GET", ["casemate", "firewall"]) => own::firewall(&call).await,
        ("GET", ["casemate", "ports"]) => own::ports(&call).await,

        ("POST", ["exec", id, "start"]) => exec::start(call, id).await,
        ("POST", ["exec", id, "resize"]) => exec::resize(&call, id).await,
        ("GET", ["exec", id, "json"]) => exec::inspect(&call, id),

        ("GET", ["images", "json"]) => images::list(&call).await,
        ("GET", ["images", "get"]) => images::save(&call, call.query.all("names")).await,
        ("POST", ["images", "create"]) => images::create(call).await,
        ("POST", ["images", "load"]) => images::load(call).await,
        ("POST", ["images", "prune"]) => images::prune(&call).await,
        ("POST", ["images", name @ .., "tag"]) if !name.is_empty() => images::tag(&call, &name.join("/")).await,
        ("GET", ["images", name @ .., "get"]) if !name.is_empty() => images::save(&call, vec![name.join("/")]).await,
        ("GET", ["images", name @ .., "history"]) if !name.is_empty() => images::history(&call, &name.join("/")).await,
        ("GET", ["images", name @ .., "json"]) if !name.is_empty() => images::inspect(&call, &name.join("/")).await,
        ("DELETE", ["images", name @ ..]) if !name.is_empty() => images::remove(&call, &name.join("/")).await,

        _ => {
            // A client that is still writing would not see the answer.
            upload::discard(call.request.into_body()).await;
            out_of_scope::answer(method, segments)
        }
    }
}

fn newest() -> Version {
    match Version::parse(API_VERSION) {
        Some(version) => version,
        None => unreachable!("a constant of that form"),
    }
}

/// In dockerd's words (moby `middleware/version.go`).
fn check(version: Version) -> Result<(), ApiError> {
    let Version(major, minor) = version;
    let min = Version::parse(MIN_API_VERSION);
    if min.is_some_and(|min| version < min) {
        return Err(ApiError::bad_request(format!(
            "client version {major}.{minor} is too old. Minimum supported API version is {MIN_API_VERSION}, \
             please upgrade your client to a newer version"
        )));
    }
    if version > newest() {
        return Err(ApiError::bad_request(format!(
            "client version {major}.{minor} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    Ok(())
}
