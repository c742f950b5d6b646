//! Errors as clients see them: Docker's statuses and `{"message": …}`.

use casemate_model::{Classify, ErrorClass, Failure, chain};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::body::Body;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(match self.status {
            // Without a body, as HTTP has it.
            StatusCode::NOT_MODIFIED => Body::Empty,
            _ => format!("{}\n", json!({ "message": self.message })).into_bytes().into(),
        });
        *response.status_mut() = self.status;
        response.headers_mut().insert("content-type", crate::reply::JSON);
        response
    }
}

/// The one table from class to status (moby `httpstatus`).
pub(crate) fn status(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::InvalidArgument | ErrorClass::CommandNotFound | ErrorClass::CommandNotExecutable => {
            StatusCode::BAD_REQUEST
        }
        ErrorClass::NotFound => StatusCode::NOT_FOUND,
        ErrorClass::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorClass::Forbidden => StatusCode::FORBIDDEN,
        ErrorClass::Conflict => StatusCode::CONFLICT,
        ErrorClass::NotModified => StatusCode::NOT_MODIFIED,
        ErrorClass::Unavailable
        | ErrorClass::ResourceExhausted
        | ErrorClass::Timeout
        | ErrorClass::Protocol
        | ErrorClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error with its next step, if it knows one.
pub(crate) fn of(error: &dyn Classify, text: String) -> ApiError {
    let message = match error.hint() {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    };
    ApiError::new(status(error.class()), message)
}

macro_rules! from_classified {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                of(&error, chain(&error))
            }
        })*
    };
}

from_classified! {
    Failure,
    casemate_engine::CommitError,
    casemate_engine::networks::ConnectError,
    casemate_engine::networks::NetworkError,
    casemate_engine::CreateError,
    casemate_engine::EngineError,
    casemate_engine::ExecError,
    casemate_engine::FindError,
    casemate_engine::PauseError,
    casemate_engine::RemoveError,
    casemate_engine::RemoveImageError,
    casemate_engine::RenameError,
    casemate_engine::StartError,
    casemate_engine::UpdateError,
    casemate_image::ImportError,
    casemate_image::LoadError,
    casemate_image::PullError,
    casemate_image::RecordsError,
    casemate_image::RemoveError,
    casemate_image::ResolveError,
    casemate_image::SaveError,
    casemate_image::TagError,
    casemate_registry::RegistryError,
}
