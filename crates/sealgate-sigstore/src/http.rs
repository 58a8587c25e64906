//! The one HTTP client for all of Sigstore's services: deadlines, bounded answers, retries,
//! faults with the service's own words.
//!
//! A service is believed to be the one at its address and nothing more: redirects stay at its
//! origin, answers have a size, and a token goes where it was meant to go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_http::fault::{chain, is_tls};
use sealgate_http::retry::{Budget, Pauses, retry_after};
use sealgate_http::tls;
use tokio::time::Instant;
use url::{Host, Url};

pub use sealgate_http::ClientIdentity;
pub(crate) use sealgate_http::fault::printable;

/// The largest JSON answer of a service, in bytes.
pub const MAX_JSON: usize = 4 << 20;

const MAX_REDIRECTS: usize = 5;
/// Of the body of an error; the rest is not read.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Of a stranger's words in a message, in characters.
const MAX_WORDS: usize = 400;
/// The largest token that is sent.
const MAX_TOKEN: usize = 16 << 10;

/// Everything that is decided before the first request.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose server certificates are good (`--timestamp-client-cacert`).
    pub trust: Trust,
    /// A client certificate (`--timestamp-client-cert`, `--timestamp-client-key`).
    pub identity: Option<ClientIdentity>,
    /// The name that a server certificate must carry instead of the host's
    /// (`--timestamp-server-name`).
    pub server_name: Option<String>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How often to ask again.
    pub retries: Retries,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Whether proxies are used.
    pub proxies: Proxies,
}

/// Whether proxies are used. Loopback addresses are never asked through one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxies {
    /// Those of `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
    #[default]
    Environment,
    /// None.
    Off,
}

/// Whose server certificates are good.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that the operating system trusts.
    #[default]
    System,
    /// Those that chain to these certificates (PEM), and no others.
    Only(Vec<u8>),
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, with its TLS handshake.
    pub connect: Duration,
    /// For one attempt from beginning to end, redirects and the body included. A log may take
    /// seconds to bring an entry into its tree.
    pub attempt: Duration,
    /// For one question, all attempts and the pauses between them included.
    pub question: Duration,
}

/// How often to ask again after a fault that may pass (no connection, 429, 5xx).
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Times to ask again after the first.
    pub max: usize,
    /// The first pause; it doubles, with jitter.
    pub first_pause: Duration,
    /// The longest pause, also where the service asks for more by `Retry-After`.
    pub longest_pause: Duration,
    /// How many retries the services of one client may cost in a row; each success gives a tenth
    /// of one back.
    pub budget: u32,
}

/// The connections and what is left of the budget for retries. Clones share both.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outside: reqwest::Client,
    loopback: reqwest::Client,
    timeouts: Timeouts,
    retries: Retries,
    budget: Budget,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    limit: usize,
    words: Words,
}

/// Whether a fault repeats what a service says about its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Repeated,
    Dropped,
}

/// What a service answered, read whole.
#[derive(Clone)]
pub struct Answer {
    /// The address that was asked, without its query: the target of faults.
    pub target: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: of a success within the request's limit, of a refusal its beginning.
    pub body: Bytes,
    /// What must not be repeated to people.
    secret: Option<HeaderValue>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            identity: None,
            server_name: None,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            user_agent: concat!("sealgate/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: Proxies::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            attempt: Duration::from_secs(30),
            question: Duration::from_secs(90),
        }
    }
}

impl Trust {
    /// The shared type knows more: no service is asked without a certificate that is good.
    fn shared(&self) -> sealgate_http::Trust {
        match self {
            Self::System => sealgate_http::Trust::System,
            Self::Only(pem) => sealgate_http::Trust::Only(pem.clone()),
        }
    }
}

impl Retries {
    fn pauses(&self, deadline: Instant) -> Pauses {
        Pauses::new(self.max, self.first_pause, self.longest_pause, deadline)
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: 4,
            first_pause: Duration::from_millis(300),
            longest_pause: Duration::from_secs(20),
            budget: 50,
        }
    }
}

impl std::fmt::Debug for Request {
    /// Without headers and body: there may be secrets in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {}, {} bytes)", self.method, name_of(&self.url), self.body.len())
    }
}

impl std::fmt::Debug for Answer {
    /// Without headers and body: there may be secrets in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} of {}, {} bytes)", self.status, self.target, self.body.len())
    }
}

/// The address of a service: HTTPS, or HTTP where it says so; no user, no fragment.
///
/// # Errors
/// A [`FaultKind::Config`] that says what is wrong with it.
pub fn service_url(text: &str) -> Result<Url, Fault> {
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
pub fn below(service: &Url, path: &str) -> Url {
    let mut url = service.clone();
    let start = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{start}/{}", path.trim_start_matches('/')));
    url
}

impl Request {
    /// Asks for what is at `url`.
    pub fn get(url: Url) -> Self {
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
    pub fn post(url: Url, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut request = Self { method: Method::POST, body: body.into(), ..Self::get(url) };
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
    }

    /// What kind of answer is wanted.
    #[must_use]
    pub fn accept(self, media_type: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(media_type))
    }

    /// Takes a good answer of at most so many bytes; [`MAX_JSON`] unless said.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Drops the words of a refusal. For addresses that come from somebody who may read the fault
    /// and may not be meant to read what stands there.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        self.words = Words::Dropped;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds `Authorization: Bearer <token>`.
    ///
    /// # Errors
    /// The token is longer than 16 KiB, or has characters that no header may have.
    pub fn bearer(self, token: &str) -> Result<Self, Fault> {
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

impl Client {
    /// Prepares connections; opens none.
    ///
    /// # Errors
    /// The options cannot be used: PEM that is none, a key that does not fit its certificate.
    pub fn new(options: &Options) -> Result<Self, Fault> {
        let tls = tls::config(tls::Settings {
            trust: &options.trust.shared(),
            identity: options.identity.as_ref(),
            server_name: options.server_name.as_deref(),
            peer: "service",
        })?;
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::custom(follow))
                .retry(reqwest::retry::never())
                .referer(false)
                .user_agent(options.user_agent.clone())
                .connect_timeout(options.timeouts.connect)
                .tcp_nodelay(true)
        };
        let bad = |e: reqwest::Error| {
            Fault::new(FaultKind::Config, "HTTP client", chain(&e.without_url(), MAX_WORDS))
        };
        let outside = match options.proxies {
            Proxies::Environment => builder(),
            Proxies::Off => builder().no_proxy(),
        };
        Ok(Self(Arc::new(Inner {
            outside: outside.build().map_err(bad)?,
            loopback: builder().no_proxy().build().map_err(bad)?,
            timeouts: options.timeouts,
            retries: options.retries,
            budget: Budget::new(options.retries.budget),
        })))
    }

    /// Asks, and asks again after faults that may pass. The answer may be a refusal (4xx):
    /// [`Answer::success`] makes a fault of that.
    ///
    /// # Errors
    /// No answer, no end of 429 or 5xx, or more bytes than the request's limit.
    pub async fn send(&self, request: Request) -> Result<Answer, Fault> {
        let deadline = Instant::now() + self.0.timeouts.question;
        let mut pauses = self.0.retries.pauses(deadline);
        loop {
            match self.attempt(&request, deadline).await {
                Ok(answer) => {
                    self.0.budget.give();
                    return Ok(answer);
                }
                Err(fault) => pauses.before_next(fault, &self.0.budget).await?,
            }
        }
    }

    /// One attempt. What may pass is an error here, and so is what is too large.
    async fn attempt(&self, request: &Request, deadline: Instant) -> Result<Answer, Fault> {
        let target = name_of(&request.url);
        let deadline = deadline.min(Instant::now() + self.0.timeouts.attempt);
        let late = |_| Fault::new(FaultKind::Timeout, &target, "no complete answer in time");
        let loopback = request.url.host().is_some_and(is_loopback);
        let client = if loopback { &self.0.loopback } else { &self.0.outside };
        let sent = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send();
        let sent = tokio::time::timeout_at(deadline, sent).await.map_err(late)?;
        let response = sent.map_err(|error| broken(&target, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = if status.is_success() {
            let whole = whole(&target, response, request.limit);
            tokio::time::timeout_at(deadline, whole).await.map_err(late)??
        } else if request.words == Words::Dropped {
            Bytes::new()
        } else {
            let deadline = deadline.min(Instant::now() + Duration::from_secs(5));
            beginning(response, deadline).await
        };
        let secret = request.headers.get(AUTHORIZATION).cloned();
        let answer = Answer { target, status, headers, body, secret };
        let passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        if passing { Err(answer.fault()) } else { Ok(answer) }
    }
}

impl Answer {
    /// The answer if it is a success (2xx).
    ///
    /// # Errors
    /// The fault that a refusal is, with the service's own words.
    pub fn success(self) -> Result<Self, Fault> {
        if self.status.is_success() { Ok(self) } else { Err(self.fault()) }
    }

    /// The fault that this answer is, whatever its status.
    pub fn fault(&self) -> Fault {
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
    pub fn malformed(&self, why: impl std::fmt::Display) -> Fault {
        let why = printable(&why.to_string(), MAX_WORDS);
        Fault::new(FaultKind::Malformed, &self.target, format!("unusable answer: {why}"))
    }

    /// A fault about what the service refuses in a good answer.
    pub fn refused(&self, why: impl std::fmt::Display) -> Fault {
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

/// Redirects stay at the origin that was asked.
fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first().map(Url::origin);
    if first != Some(attempt.url().origin()) {
        let place = attempt.url().host_str().unwrap_or_default().to_owned();
        return attempt.error(format!("sent to another origin, {place}; refused"));
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    attempt.follow()
}

/// Reads at most `limit` bytes. What `Content-Length` says is used to refuse early only.
async fn whole(target: &str, mut response: Response, limit: usize) -> Result<Bytes, Fault> {
    let large = || {
        let detail = format!("the answer is larger than {limit} bytes");
        Fault::new(FaultKind::TooLarge, target, detail)
    };
    if response.content_length().unwrap_or(0) > limit as u64 {
        return Err(large());
    }
    let mut all = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(|error| broken(target, error))? {
        if all.len() + piece.len() > limit {
            return Err(large());
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// As much of an error's body as helps; its loss is no error of its own.
async fn beginning(mut response: Response, deadline: Instant) -> Bytes {
    let mut all = BytesMut::new();
    while let Ok(Ok(Some(piece))) = tokio::time::timeout_at(deadline, response.chunk()).await {
        let left = MAX_ERROR_BODY - all.len();
        all.extend_from_slice(&piece[..piece.len().min(left)]);
        if all.len() == MAX_ERROR_BODY {
            break;
        }
    }
    all.freeze()
}

/// The name of an address in messages: no user, no query (either may hold a secret).
fn name_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    }
    printable(url.as_str(), MAX_WORDS)
}

fn is_loopback(host: Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => IpAddr::V4(address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(address).is_loopback(),
    }
}

/// The fault behind a failed exchange.
fn broken(target: &str, error: reqwest::Error) -> Fault {
    let error = error.without_url();
    let kind = if is_tls(&error) {
        FaultKind::Tls
    } else if error.is_redirect() {
        FaultKind::Malformed
    } else if error.is_timeout() {
        FaultKind::Timeout
    } else if error.is_builder() {
        FaultKind::Config
    } else {
        FaultKind::Unreachable
    };
    Fault::new(kind, target, chain(&error, MAX_WORDS))
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
