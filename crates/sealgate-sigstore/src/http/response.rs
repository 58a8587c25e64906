//! Response of a service, and its conversion into a fault.

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_http::fault::printable;
use sealgate_http::retry::retry_after;

use super::MAX_QUOTED;

/// Response of a service, read completely.
#[derive(Clone)]
pub(crate) struct ServiceResponse {
    /// Request URL without its query: the target of faults.
    pub(crate) target: String,
    /// Status.
    pub(crate) status: StatusCode,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body: of a success, within the request's limit; of a refusal, its start.
    pub(crate) body: Bytes,
    /// Secret of the request, redacted from messages.
    pub(super) secret: Option<HeaderValue>,
}

impl std::fmt::Debug for ServiceResponse {
    /// Omits headers and body, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceResponse({} of {}, {} bytes)", self.status, self.target, self.body.len())
    }
}

impl ServiceResponse {
    /// Returns the response if it is a success (2xx).
    ///
    /// # Errors
    /// The fault for a refusal, with the service's own error text.
    pub(crate) fn success(self) -> Result<Self, Fault> {
        if self.status.is_success() { Ok(self) } else { Err(self.fault()) }
    }

    /// Fault for this response, whatever its status.
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
        let words = self.error_message();
        let colon = if words.is_empty() { "" } else { ": " };
        let detail = format!("answered {}{colon}{words}", self.status);
        let retry_after = retry_after(&self.headers);
        Fault { retry_after, ..Fault::new(kind, &self.target, detail) }
    }

    /// Fault about the content of this response.
    pub(crate) fn malformed(&self, why: impl std::fmt::Display) -> Fault {
        let why = printable(&why.to_string(), MAX_QUOTED);
        Fault::new(FaultKind::Malformed, &self.target, format!("unusable response: {why}"))
    }

    /// Fault about a refusal inside a successful response.
    pub(crate) fn refused(&self, why: impl std::fmt::Display) -> Fault {
        Fault::new(FaultKind::Denied, &self.target, printable(&why.to_string(), MAX_QUOTED))
    }

    /// Error text of the service, with the sent token redacted.
    fn error_message(&self) -> String {
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
        printable(said.trim(), MAX_QUOTED)
    }
}
