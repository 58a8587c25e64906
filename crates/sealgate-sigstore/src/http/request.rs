//! One request, and the address of a service that it goes to.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_http::fault::printable;
use url::Url;

use super::MAX_WORDS;

/// The largest JSON answer of a service, in bytes.
pub(crate) const MAX_JSON: usize = 4 << 20;
/// The largest token that is sent.
pub(super) const MAX_TOKEN: usize = 16 << 10;

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) limit: usize,
    pub(super) words: Words,
}

/// Whether a fault repeats what a service says about its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    Repeated,
    Dropped,
}

impl std::fmt::Debug for Request {
    /// Without headers and body: there may be secrets in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {}, {} bytes)", self.method, name_of(&self.url), self.body.len())
    }
}

impl Request {
    /// Asks for what is at `url`.
    pub(crate) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            limit: MAX_JSON,
            words: Words::Repeated,
        }
    }

    /// Sends `body`. It may be sent again, so it must do no harm twice.
    pub(crate) fn post(url: Url, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut request = Self { method: Method::POST, body: body.into(), ..Self::get(url) };
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
    }

    /// What kind of answer is wanted.
    #[must_use]
    pub(crate) fn accept(self, media_type: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(media_type))
    }

    /// Takes a good answer of at most so many bytes; [`MAX_JSON`] unless said.
    #[must_use]
    pub(crate) fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Drops the words of a refusal. For addresses that come from somebody who may read the fault
    /// and may not be meant to read what stands there.
    #[must_use]
    pub(crate) fn without_words(mut self) -> Self {
        self.words = Words::Dropped;
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
    /// The token is longer than 16 KiB, or has characters that no header may have.
    pub(crate) fn bearer(self, token: &str) -> Result<Self, Fault> {
        let bad = |why| Fault::new(FaultKind::Config, name_of(&self.url), why);
        if token.len() > MAX_TOKEN {
            return Err(bad("the identity token is longer than 16 KiB"));
        }
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| bad("the identity token is no token: line breaks?"))?;
        value.set_sensitive(true);
        Ok(self.header(AUTHORIZATION, value))
    }
}

/// The address of a service: HTTPS, or HTTP where it says so; no user, no fragment.
///
/// # Errors
/// A [`FaultKind::Config`] that says what is wrong with it.
pub(crate) fn service_url(text: &str) -> Result<Url, Fault> {
    let bad = |why: &str| Fault::new(FaultKind::Config, printable(text, MAX_WORDS), why);
    let url = Url::parse(text).map_err(|e| bad(&format!("not a URL: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new(FaultKind::Config, name_of(&url), "a URL with a user name"));
    }
    match (url.scheme(), url.host_str()) {
        ("https" | "http", Some(_)) if url.fragment().is_none() => Ok(url),
        ("https" | "http", Some(_)) => Err(bad("a service's URL has no fragment")),
        _ => Err(bad("want the URL of a service: https://…, or http://… without encryption")),
    }
}

/// `path` below the service's address, whether or not that ends in a slash.
pub(crate) fn below(service: &Url, path: &str) -> Url {
    let mut url = service.clone();
    let start = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{start}/{}", path.trim_start_matches('/')));
    url
}

/// The name of an address in messages: no user, no query (either may hold a secret).
pub(super) fn name_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    }
    printable(url.as_str(), MAX_WORDS)
}
