//! HTTP requests and service URLs.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_http::fault::printable;
use url::Url;

use super::MAX_QUOTED;

/// Maximum size of a JSON response, in bytes.
pub(crate) const MAX_JSON: usize = 4 << 20;
/// Maximum size of a token, in bytes.
pub(super) const MAX_TOKEN: usize = 16 << 10;

/// HTTP request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) limit: usize,
    pub(super) error_text: ErrorText,
}

/// Use of the service's error text in faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorText {
    Shown,
    Hidden,
}

impl std::fmt::Debug for Request {
    /// Omits headers and body, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {}, {} bytes)", self.method, name_of(&self.url), self.body.len())
    }
}

impl Request {
    /// GET request.
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            limit: MAX_JSON,
            error_text: ErrorText::Shown,
        }
    }

    /// POST request. It may be retried, so it must be idempotent.
    pub(crate) fn post(url: Url, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut request = Self { method: Method::POST, body: body.into(), ..Self::get(url) };
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
    }

    /// Sets the `Accept` header.
    #[must_use]
    pub(crate) fn accept(self, media_type: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(media_type))
    }

    /// Sets the maximum size of a successful response; [`MAX_JSON`] by default.
    #[must_use]
    pub(crate) fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Omits the service's error text from faults. For URLs chosen by a user who can read the fault
    /// but may not be allowed to read what the URL returns.
    #[must_use]
    pub(crate) fn without_error_text(mut self) -> Self {
        self.error_text = ErrorText::Hidden;
        self
    }

    /// Adds a header.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds `Authorization: Bearer <token>`.
    ///
    /// # Errors
    /// An error if the token is longer than 16 KiB, or has characters not allowed in a header.
    pub(crate) fn bearer(self, token: &str) -> Result<Self, Fault> {
        let bad = |why| Fault::new(FaultKind::Config, name_of(&self.url), why);
        if token.len() > MAX_TOKEN {
            return Err(bad("the identity token is longer than 16 KiB"));
        }
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| {
            bad("the identity token is not a valid token: does it contain line breaks?")
        })?;
        value.set_sensitive(true);
        Ok(self.header(AUTHORIZATION, value))
    }
}

/// Parses a service URL: HTTPS or HTTP, without user name and fragment.
///
/// # Errors
/// [`FaultKind::Config`] with the reason.
pub(crate) fn service_url(text: &str) -> Result<Url, Fault> {
    let bad = |why: &str| Fault::new(FaultKind::Config, printable(text, MAX_QUOTED), why);
    let url = Url::parse(text).map_err(|e| bad(&format!("not a URL: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new(
            FaultKind::Config,
            name_of(&url),
            "a URL must not contain a user name",
        ));
    }
    match (url.scheme(), url.host_str()) {
        ("https" | "http", Some(_)) if url.fragment().is_none() => Ok(url),
        ("https" | "http", Some(_)) => Err(bad("a service URL must not have a fragment")),
        _ => Err(bad("want the URL of a service: https://…, or http://… without encryption")),
    }
}

/// URL of `path` below a service URL, which may or may not end in a slash.
pub(crate) fn below(service: &Url, path: &str) -> Url {
    let mut url = service.clone();
    let start = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{start}/{}", path.trim_start_matches('/')));
    url
}

/// URL as shown in messages: without user name and query, either of which may hold a secret.
pub(super) fn name_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    }
    printable(url.as_str(), MAX_QUOTED)
}
