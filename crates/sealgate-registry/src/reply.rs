//! Response that has been read completely, and the meaning of its status.
//!
//! A 404 means "not found" only if a registry can have sent it: with the specification's error
//! body, an empty body, or plain text. A 404 with a web page comes from something else (a captive
//! portal, a load balancer, a wrong host name) and is a fault.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_http::Secret;
use sealgate_http::fault;
use sealgate_http::retry::retry_after;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::transport::{Request, Target};

/// Status, headers and bounded body of a response.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Host that answered, for messages.
    pub(crate) target: Target,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// URL of the response, after redirects.
    pub(crate) url: Url,
    pub(crate) body: Bytes,
    /// Unread body of a successful response, when streaming was requested.
    pub(crate) open: Option<reqwest::Response>,
    /// Secrets of the request, redacted from the response's text in messages.
    pub(crate) request_secrets: RequestSecrets,
}

/// Secrets of a request; decoded only when text of the response is shown.
pub(crate) struct RequestSecrets {
    authorization: Option<HeaderValue>,
    body_secret: Option<Secret>,
}

/// `Docker-Content-Digest`.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Error body of the distribution specification.
#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

/// Error body of a token endpoint: OAuth 2.0 (RFC 6749 section 5.2), or Docker Hub's `details`.
#[derive(Deserialize)]
struct OAuthError {
    #[serde(default)]
    error: String,
    #[serde(alias = "details")]
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl RequestSecrets {
    pub(crate) fn of(request: &Request) -> Self {
        let authorization = request.headers.get(AUTHORIZATION).cloned();
        Self { authorization, body_secret: request.body_secret.clone() }
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = self.body_secret.iter().cloned().collect();
        let header = self.authorization.as_ref().and_then(|value| value.to_str().ok());
        let Some((scheme, value)) = header.and_then(|text| text.split_once(' ')) else {
            return secrets;
        };
        secrets.push(Secret::new(value));
        if scheme == "Basic" {
            let plain = Zeroizing::new(STANDARD.decode(value).unwrap_or_default());
            let text = std::str::from_utf8(&plain).unwrap_or_default();
            secrets.extend(text.split_once(':').map(|(_, password)| Secret::new(password)));
        }
        secrets
    }
}

impl fmt::Debug for RequestSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestSecrets(…)")
    }
}

impl Reply {
    /// Text of a header.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Media type without parameters, in lower case.
    pub(crate) fn media_type(&self) -> Option<String> {
        let text = self.header(&CONTENT_TYPE)?;
        let text = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        (!text.is_empty()).then_some(text)
    }

    /// `Docker-Content-Digest`, if sent.
    pub(crate) fn digest(&self) -> Result<Option<Digest>, Fault> {
        match self.header(&CONTENT_DIGEST) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|e| {
                self.fault(FaultKind::Malformed, format!("Docker-Content-Digest: {e}"))
            }),
        }
    }

    /// Error codes in the body (`MANIFEST_UNKNOWN`), as many as a message needs.
    pub(crate) fn codes(&self) -> Vec<String> {
        self.errors().into_iter().map(|e| e.code).collect()
    }

    fn errors(&self) -> Vec<ErrorItem> {
        let parsed = serde_json::from_slice::<Errors>(&self.body);
        let errors = parsed.map(|e| e.errors).unwrap_or_default();
        if errors.is_empty() {
            return self.oauth_error().into_iter().collect();
        }
        errors.into_iter().take(8).collect()
    }

    fn oauth_error(&self) -> Option<ErrorItem> {
        let OAuthError { error: code, error_description: message } =
            serde_json::from_slice(&self.body).ok()?;
        let said = !code.is_empty() || message.as_ref().is_some_and(|m| !m.is_empty());
        said.then_some(ErrorItem { code, message })
    }

    /// Returns whether this 404 means "not found"; see the module documentation.
    ///
    /// # Errors
    /// The fault for a 404 that does not come from a registry.
    pub(crate) fn is_absent(&self) -> Result<bool, Fault> {
        if self.status != StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let codes = self.codes();
        if self.refuses() {
            return Err(self.refusal());
        }
        let page = self.media_type().is_some_and(|t| t == "text/html");
        if page && codes.is_empty() && !self.headers.contains_key(REGISTRY_VERSION) {
            let detail =
                "404 with a web page instead of a registry's response: is this a registry?";
            return Err(self.fault(FaultKind::Malformed, detail));
        }
        Ok(true)
    }

    /// Returns whether the error body reports a denial, whatever the status; such a response says
    /// nothing about what exists.
    pub(crate) fn refuses(&self) -> bool {
        let refusal =
            |code: &String| matches!(code.as_str(), "UNAUTHORIZED" | "DENIED" | "TOOMANYREQUESTS");
        self.codes().iter().any(refusal)
    }

    /// Returns whether the registry cannot find the blobs of a manifest. docker-registry briefly
    /// loses a blob while another client uploads the same one; blobs are pushed before their
    /// manifest, so this is transient.
    pub(crate) fn lost_blobs(&self) -> bool {
        let unknown = |code: &String| code == "MANIFEST_BLOB_UNKNOWN";
        self.status == StatusCode::BAD_REQUEST && self.codes().iter().any(unknown)
    }

    /// Fault at the host that answered.
    pub(crate) fn fault(&self, kind: FaultKind, detail: impl Into<String>) -> Fault {
        self.target.fault(kind, detail)
    }

    /// Fault for an unexpected status.
    pub(crate) fn refusal(&self) -> Fault {
        let codes = self.codes();
        let says = |code: &str| codes.iter().any(|c| c == code);
        let kind = match self.status.as_u16() {
            401 => FaultKind::Unauthorized,
            // 412: forbidden by a rule of the registry, such as tag immutability.
            403 | 412 => FaultKind::Denied,
            429 => FaultKind::Throttled,
            _ if says("TOOMANYREQUESTS") => FaultKind::Throttled,
            _ if says("UNAUTHORIZED") => FaultKind::Unauthorized,
            _ if says("DENIED") => FaultKind::Denied,
            408 | 504 => FaultKind::Timeout,
            413 => FaultKind::TooLarge,
            404 => FaultKind::Missing,
            405 => FaultKind::Unsupported,
            500..=599 => FaultKind::ServerError,
            400 if self.lost_blobs() => FaultKind::ServerError,
            _ => FaultKind::Malformed,
        };
        let mut fault = self.fault(kind, self.summary());
        fault.retry_after = retry_after(&self.headers);
        fault.status = Some(self.status.as_u16());
        fault
    }

    /// Status and error in one line: `429 Too Many Requests: TOOMANYREQUESTS: slow down`.
    fn summary(&self) -> String {
        let mut text = self.status.to_string();
        for error in self.errors().into_iter().take(3) {
            let said = [Some(error.code), error.message].into_iter().flatten();
            for words in said.filter(|words| !words.is_empty()) {
                text.push_str(": ");
                text.push_str(&self.redacted(&words));
            }
        }
        if let Some(wait) = self.header(&RETRY_AFTER) {
            text.push_str(&format!(" (Retry-After: {})", self.redacted(wait)));
        }
        text
    }

    /// Text of the response, made safe for messages.
    fn redacted(&self, text: &str) -> String {
        let hide = |text: String, secret: &Secret| secret.redact(&text);
        printable(&self.request_secrets.secrets().iter().fold(text.to_owned(), hide))
    }
}

const REGISTRY_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Longest quotation of untrusted text in a message, in characters.
pub(crate) const MAX_QUOTED: usize = 200;

/// Untrusted text made safe for terminals and logs: short, one line, no control characters.
pub(crate) fn printable(text: &str) -> String {
    fault::printable(text, MAX_QUOTED)
}
