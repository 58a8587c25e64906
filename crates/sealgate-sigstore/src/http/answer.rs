//! What a service answered, and the fault that it is where it is no success.

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_http::fault::printable;
use sealgate_http::retry::retry_after;

use super::MAX_WORDS;

/// What a service answered, read whole.
#[derive(Clone)]
pub(crate) struct Answer {
    /// The address that was asked, without its query: the target of faults.
    pub(crate) target: String,
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body: of a success within the request's limit, of a refusal its beginning.
    pub(crate) body: Bytes,
    /// What must not be repeated to people.
    pub(super) secret: Option<HeaderValue>,
}

impl std::fmt::Debug for Answer {
    /// Without headers and body: there may be secrets in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} of {}, {} bytes)", self.status, self.target, self.body.len())
    }
}

impl Answer {
    /// The answer if it is a success (2xx).
    ///
    /// # Errors
    /// The fault that a refusal is, with the service's own words.
    pub(crate) fn success(self) -> Result<Self, Fault> {
        if self.status.is_success() { Ok(self) } else { Err(self.fault()) }
    }

    /// The fault that this answer is, whatever its status.
    pub(crate) fn fault(&self) -> Fault {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => FaultKind::Unauthorized,
            StatusCode::FORBIDDEN => FaultKind::Denied,
            StatusCode::NOT_FOUND | StatusCode::GONE => FaultKind::Missing,
            StatusCode::TOO_MANY_REQUESTS => FaultKind::Throttled,
            status if status.is_server_error() => FaultKind::ServerError,
            status if status.is_client_error() => FaultKind::Denied,
            _ => FaultKind::Malformed,
        };
        let words = self.words();
        let colon = if words.is_empty() { "" } else { ": " };
        let detail = format!("answered {}{colon}{words}", self.status);
        let retry_after = retry_after(&self.headers);
        Fault { retry_after, ..Fault::new(kind, &self.target, detail) }
    }

    /// A fault about what stands in this answer.
    pub(crate) fn malformed(&self, why: impl std::fmt::Display) -> Fault {
        let why = printable(&why.to_string(), MAX_WORDS);
        Fault::new(FaultKind::Malformed, &self.target, format!("unusable answer: {why}"))
    }

    /// A fault about what the service refuses in a good answer.
    pub(crate) fn refused(&self, why: impl std::fmt::Display) -> Fault {
        Fault::new(FaultKind::Denied, &self.target, printable(&why.to_string(), MAX_WORDS))
    }

    /// What the service says about its refusal, without the token that we sent.
    fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let said = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => ["message", "error_description", "error"]
                .iter()
                .find_map(|name| value.get(name)?.as_str().map(str::to_owned))
                .unwrap_or_else(|| text.into_owned()),
            Err(_) => text.into_owned(),
        };
        let secret = self.secret.as_ref().and_then(|value| value.to_str().ok());
        let said = match secret.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) if !token.is_empty() => said.replace(token, "…"),
            _ => said,
        };
        printable(said.trim(), MAX_WORDS)
    }
}
