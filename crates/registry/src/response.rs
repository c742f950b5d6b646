//! What answers mean that are no success.

use hyper::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::challenge::challenges;
use crate::error::{ErrorCode, Refusal, RegistryError, printable};
use crate::transport::Answer;

/// Bytes of an error's text; what is shown of it is less.
const MAX_ERROR: usize = 64 << 10;

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
    /// Docker Hub's own form.
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The answer if it is a success, and otherwise the error that it stands for
/// (distribution's `HandleErrorResponse`).
pub(crate) async fn succeeded(answer: Answer) -> Result<Answer, RegistryError> {
    let status = answer.head.status;
    if status.is_success() {
        return Ok(answer);
    }
    if !status.is_client_error() {
        return Err(RegistryError::Status { status: status.to_string() });
    }
    let of_bearer = challenges(&answer.head.headers).into_iter().filter(|challenge| challenge.scheme == "bearer");
    for challenge in of_bearer {
        let code = match challenge.parameter("error") {
            Some("invalid_token") => ErrorCode::Unauthorized,
            Some("insufficient_scope") => ErrorCode::Denied,
            _ => continue,
        };
        return Err(refused(code, challenge.parameter("error_description").unwrap_or_default()));
    }
    let content_type = answer.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let body = answer.body.all(MAX_ERROR).await?;
    let text = || String::from_utf8_lossy(&body);
    if !matches!(content_type.as_str(), "application/json" | "application/vnd.api+json") {
        return Err(by_status(status.as_u16(), &text()));
    }
    match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { details: Some(details), .. }) if !details.is_empty() => Err(by_status(status.as_u16(), &details)),
        Ok(Errors { errors, .. }) if !errors.is_empty() => {
            Err(refused(ErrorCode::from_name(&errors[0].code), &errors[0].message))
        }
        _ if status == hyper::StatusCode::UNAUTHORIZED => Err(refused(ErrorCode::Unauthorized, "")),
        other => {
            let problem = other.err().map_or_else(|| "no errors found in response body".to_owned(), |e| e.to_string());
            Err(RegistryError::Body { status: status.as_u16(), problem, body: printable(&text()) })
        }
    }
}

fn refused(code: ErrorCode, message: &str) -> RegistryError {
    let message = if message.is_empty() { code.message().to_owned() } else { printable(message) };
    RegistryError::Refused { refusal: Refusal { code, message } }
}

fn by_status(status: u16, text: &str) -> RegistryError {
    let code = match status {
        401 => ErrorCode::Unauthorized,
        403 => ErrorCode::Denied,
        429 => ErrorCode::TooManyRequests,
        _ => ErrorCode::Unknown,
    };
    RegistryError::Refused { refusal: Refusal { code, message: printable(text.trim()) } }
}
