//! Answers in the forms that most handlers need.

use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use serde_json::Value;

use crate::body::Body;
use crate::error::ApiError;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(crate) type Reply = Result<Response<Body>, ApiError>;

pub(crate) fn json(value: &Value) -> Reply {
    json_with(StatusCode::OK, value)
}

pub(crate) fn json_with(status: StatusCode, value: &Value) -> Reply {
    let mut response = Response::new(format!("{value}\n").into_bytes().into());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", JSON);
    Ok(response)
}

pub(crate) fn no_content() -> Reply {
    empty(StatusCode::NO_CONTENT)
}

pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    Ok(response)
}

/// A stream of this type.
pub(crate) fn stream(content_type: &'static str, body: Body) -> Reply {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    Ok(response)
}
