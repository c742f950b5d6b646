//! A request as handlers get it.

use std::cell::RefCell;
use std::rc::Rc;

use casemate_engine::Daemon;
use casemate_engine::daemon::Entry;
use http_body_util::{BodyExt, Limited};
use hyper::Request;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::hijack::Hijack;
use crate::query::Query;
use crate::server::HostFacts;

/// What a client may send as JSON: a create request with a seccomp profile has
/// some tens of kilobytes.
const MAX_JSON: usize = 4 << 20;

pub(crate) struct Call {
    pub(crate) daemon: Rc<Daemon>,
    pub(crate) facts: Rc<HostFacts>,
    /// Where a handler that wants the connection itself says so.
    pub(crate) hijack: Rc<RefCell<Option<Hijack>>>,
    pub(crate) query: Query,
    pub(crate) version: Version,
    pub(crate) request: Request<Incoming>,
}

/// Of the API: 1.24 to 1.50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl Call {
    pub(crate) fn container(&self, name: &str) -> Result<Rc<Entry>, ApiError> {
        Ok(self.daemon.find(name)?)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// The body, which must be there.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        match self.optional_json().await? {
            Some(value) => Ok(value),
            None => Err(ApiError::bad_request("invalid JSON: got EOF while reading request body")),
        }
    }

    pub(crate) async fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ApiError> {
        let limited = Limited::new(self.request.body_mut(), MAX_JSON);
        let bytes = match limited.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return Err(ApiError::bad_request(format!("cannot read the request's body: {error}"))),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let media_type = self.header("content-type").unwrap_or_default();
        if media_type.split(';').next().unwrap_or_default().trim() != "application/json" {
            return Err(ApiError::bad_request(format!(
                "unsupported Content-Type header ({media_type}): must be 'application/json'"
            )));
        }
        read_json(&bytes).map(Some)
    }
}

/// An object, as all bodies are: a list would be taken for its fields in their
/// order.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(ApiError::bad_request("invalid JSON: the body is not an object"));
    }
    let mut values = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(&mut values);
    let value = value.map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}")))?;
    match values.end() {
        Ok(()) => Ok(value),
        Err(_) => Err(ApiError::bad_request("unexpected content after JSON")),
    }
}
