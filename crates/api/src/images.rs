//! `/images`, and `/auth`.

mod archive;
mod change;
mod credentials;
mod inspect;
mod list;
mod pull;

use std::sync::Arc;

use casemate_engine::Engine;
use casemate_image::{ParsePlatformError, ParseReferenceError, Platform, Reference};
use hyper::StatusCode;

pub(crate) use archive::{load, save};
pub(crate) use change::{prune, remove, tag, target};
pub(crate) use credentials::login;
pub(crate) use inspect::{history, inspect};
pub(crate) use list::{layers_size, list, row, summaries};
pub(crate) use pull::create;

use crate::error::ApiError;
use crate::request::Call;

/// Asks the store in a thread: it reads and writes files.
async fn blocking<T, E>(call: &Call, work: impl FnOnce(&Engine) -> Result<T, E> + Send + 'static) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Send + 'static,
    ApiError: From<E>,
{
    let engine = Arc::clone(call.daemon.engine());
    Ok(joined(tokio::task::spawn_blocking(move || work(&engine)).await)??)
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, ApiError> {
    result.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// What an image has to be for, if that was said.
pub(crate) fn platform(call: &Call) -> Result<Option<Platform>, ApiError> {
    let text = call.query.get("platform").filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|error: ParsePlatformError| ApiError::bad_request(error.to_string())))
        .transpose()
}

fn parse_reference(text: &str) -> Result<Reference, ApiError> {
    text.parse().map_err(|error: ParseReferenceError| ApiError::bad_request(error.to_string()))
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
