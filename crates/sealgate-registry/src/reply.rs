//! An answer that has been read whole, and what its status means.
//!
//! A 404 is a definitive "there is none" only if a registry can have said it: with the
//! specification's error body, with an empty body, or in plain text. A 404 that is a web page
//! comes from something else (a captive portal, a load balancer, a wrong host name) and is a fault.

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

use crate::transport::Request;

/// Status, headers, and the bounded body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The registry that was asked, for messages.
    pub(crate) target: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where the answer came from, after redirects.
    pub(crate) url: Url,
    pub(crate) body: Bytes,
    /// The body still on the wire, where that was asked for and the answer is good.
    pub(crate) open: Option<reqwest::Response>,
    /// What the request told: hidden where the answer's words repeat it.
    pub(crate) told: Told,
}

/// The secrets of a request, which are taken apart only where an answer's words are shown.
pub(crate) struct Told {
    authorization: Option<HeaderValue>,
    confided: Option<Secret>,
}

/// `Docker-Content-Digest`.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The specification's error body.
#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

/// The error body of a token endpoint: OAuth2's (RFC 6749, 5.2), or Docker Hub's `details`.
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

impl Told {
    pub(crate) fn of(request: &Request) -> Self {
        let authorization = request.headers.get(AUTHORIZATION).cloned();
        Self { authorization, confided: request.confided.clone() }
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = self.confided.iter().cloned().collect();
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

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told(…)")
    }
}

impl Reply {
    /// A header's text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type without parameters, lower case.
    pub(crate) fn media_type(&self) -> Option<String> {
        let text = self.header(&CONTENT_TYPE)?;
        let text = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        (!text.is_empty()).then_some(text)
    }

    /// `Docker-Content-Digest`, where sent.
    pub(crate) fn digest(&self) -> Result<Option<Digest>, Fault> {
        match self.header(&CONTENT_DIGEST) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|e| {
                self.fault(FaultKind::Malformed, format!("Docker-Content-Digest: {e}"))
            }),
        }
    }

    /// The codes of the error body (`MANIFEST_UNKNOWN`), as many as a message needs.
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

    /// Whether this 404 means that there is no such thing; see the head of this file.
    ///
    /// # Errors
    /// The fault that the 404 is instead.
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
            let detail = "404 with a web page instead of a registry's answer: is this a registry?";
            return Err(self.fault(FaultKind::Malformed, detail));
        }
        Ok(true)
    }

    /// Whether the error body says that we were refused, whatever the status says: no word on what
    /// there is.
    pub(crate) fn refuses(&self) -> bool {
        let refusal =
            |code: &String| matches!(code.as_str(), "UNAUTHORIZED" | "DENIED" | "TOOMANYREQUESTS");
        self.codes().iter().any(refusal)
    }

    /// Whether the registry does not see the blobs of a manifest. docker-registry loses sight of
    /// one for a moment while somebody else uploads the same; blobs are there before their
    /// manifest is sent, so this passes.
    pub(crate) fn lost_sight(&self) -> bool {
        let unknown = |code: &String| code == "MANIFEST_BLOB_UNKNOWN";
        self.status == StatusCode::BAD_REQUEST && self.codes().iter().any(unknown)
    }

    /// A fault at this registry.
    pub(crate) fn fault(&self, kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault::new(kind, self.target.clone(), detail)
    }

    /// What a status that is not the wanted one means.
    pub(crate) fn refusal(&self) -> Fault {
        let codes = self.codes();
        let says = |code: &str| codes.iter().any(|c| c == code);
        let kind = match self.status.as_u16() {
            401 => FaultKind::Unauthorized,
            // 412: not by this registry's rules, such as a tag that may not be moved.
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
            400 if self.lost_sight() => FaultKind::ServerError,
            _ => FaultKind::Malformed,
        };
        let mut fault = self.fault(kind, self.sentence());
        fault.retry_after = retry_after(&self.headers);
        fault
    }

    /// `429 Too Many Requests: TOOMANYREQUESTS: slow down`.
    fn sentence(&self) -> String {
        let mut text = self.status.to_string();
        for error in self.errors().into_iter().take(3) {
            let said = [Some(error.code), error.message].into_iter().flatten();
            for words in said.filter(|words| !words.is_empty()) {
                text.push_str(": ");
                text.push_str(&self.words(&words));
            }
        }
        if let Some(wait) = self.header(&RETRY_AFTER) {
            text.push_str(&format!(" (Retry-After: {})", self.words(wait)));
        }
        text
    }

    /// The other side's words, fit to be shown.
    fn words(&self, text: &str) -> String {
        let hide = |text: String, secret: &Secret| secret.hide(&text);
        printable(&self.told.secrets().iter().fold(text.to_owned(), hide))
    }
}

const REGISTRY_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Of a stranger's words in a message, in characters.
pub(crate) const MAX_WORDS: usize = 200;

/// Text of a stranger for a terminal and a log: short, on one line, no control characters.
pub(crate) fn printable(text: &str) -> String {
    fault::printable(text, MAX_WORDS)
}
