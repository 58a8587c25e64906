//! HTTP exchange: redirects, bounded bodies, idle timeouts, and classification of faults.
//!
//! Redirects are followed here rather than in the HTTP library, by stricter rules: at most five,
//! never from HTTPS to HTTP, and `Authorization` is sent only to the origin it was created for. The
//! text of a fault never holds a URL's query, which may be a signed URL.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{ClientBuilder, Method, Response, StatusCode};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::canonical_registry;
use sealgate_engine::budget::{ByteShare, Lease};
use sealgate_http::{Connections, client, fault, tls};
use tokio::time::Instant;
use url::Url;

use crate::credentials::Secret;
use crate::options::{ClientCertScope, Options};
use crate::reply::{MAX_QUOTED, Reply, RequestSecrets, printable};

const MAX_REDIRECTS: usize = 5;
/// Maximum size of an error body, in bytes; the rest is not read.
const MAX_ERROR_BODY: u64 = 64 << 10;
/// Smallest number of bytes that a body without an announced length is covered by.
const SMALLEST_STEP: usize = 16 << 10;

/// HTTP connections, shared by all credentials.
#[derive(Debug)]
pub(crate) struct Transport {
    connections: Connections,
    /// Connections that present a client certificate restricted to one registry.
    certified: Option<(String, Connections)>,
    idle: Duration,
}

/// Buffered response body and its share of the lease's bytes, given back when the last reference is
/// dropped.
#[derive(Default)]
struct BufferedBody {
    bytes: Vec<u8>,
    share: ByteShare,
    /// The bytes that the share covers.
    covered: usize,
}

/// HTTP request.
pub(crate) struct Request {
    /// Registry (host and port) on whose behalf the request is sent: itself, or its token endpoint.
    pub(crate) registry: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Secret in the body.
    pub(crate) body_secret: Option<Secret>,
    /// Maximum size of a successful response's body, in bytes.
    pub(crate) limit: u64,
    pub(crate) mode: BodyMode,
    pub(crate) deadline: Instant,
    /// The lease that the bytes of the response are drawn from.
    pub(crate) lease: Lease,
}

/// Handling of a successful response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyMode {
    /// Buffered, within the request's limit.
    Buffered,
    /// Left unread for streaming.
    Streamed,
}

/// Request body.
pub(crate) enum Body {
    Empty,
    Bytes(Bytes),
    /// Bytes sent at most once, to the requested URL only.
    Once(Bytes),
    /// Stream; can be sent once only.
    Stream(reqwest::Body),
    /// Body that has been sent and cannot be resent.
    Spent,
}

/// Host that a fault is about.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The requested registry.
    Registry(String),
    /// Another host that the registry led to: the target of a redirect, or a token endpoint.
    LedTo {
        registry: String,
        /// The host and its relation to the registry, for messages.
        text: String,
    },
}

/// Response with its body unread.
struct UnreadResponse {
    response: Response,
    url: Url,
    /// Host that answered, for messages.
    target: Target,
}

impl Target {
    /// Token endpoint of a registry.
    pub(crate) fn token_endpoint(registry: &str, url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let text = format!("{registry} (token endpoint {host})");
        Self::LedTo { registry: registry.to_owned(), text }
    }

    fn redirected(&self, place: &str) -> Self {
        let text = format!("{} (redirected from {})", printable(place), self.text());
        Self::LedTo { registry: self.registry().to_owned(), text }
    }

    /// The text that names the host.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Registry(text) | Self::LedTo { text, .. } => text,
        }
    }

    fn registry(&self) -> &str {
        match self {
            Self::Registry(registry) | Self::LedTo { registry, .. } => registry,
        }
    }

    /// Fault at this host.
    pub(crate) fn fault(&self, kind: FaultKind, detail: impl Into<String>) -> Fault {
        self.mark(Fault::new(kind, self.text(), detail))
    }

    /// Fault of a failed exchange with this host.
    fn exchange_fault(&self, error: reqwest::Error) -> Fault {
        let fault = fault::exchange_fault(self.text(), error, MAX_QUOTED);
        // A limit of this process is not about the host.
        if fault.kind == FaultKind::Busy { fault } else { self.mark(fault) }
    }

    /// Fault for a redirect that is not followed. It is about the place that it leads to, too.
    fn refused_redirect(&self, detail: impl Into<String>) -> Fault {
        let asked = Some(self.registry().to_owned());
        Fault { asked, ..Fault::new(FaultKind::Malformed, self.text(), detail) }
    }

    fn mark(&self, fault: Fault) -> Fault {
        match self {
            Self::Registry(_) => fault,
            Self::LedTo { registry, .. } => Fault { asked: Some(registry.clone()), ..fault },
        }
    }
}

impl Transport {
    pub(crate) fn new(options: &Options) -> Result<Self, Fault> {
        let connections = |identity| {
            let settings = client::Settings {
                name: "registry client",
                tls: tls::Settings {
                    roots: &options.tls_roots,
                    identity,
                    server_name: options.server_name.as_deref(),
                    peer: "registry",
                },
                proxies: options.proxies,
                user_agent: &options.user_agent,
                connect: options.timeouts.connect,
            };
            // Redirects are followed by `open`, which decides which headers are kept.
            let more = |builder: ClientBuilder| {
                builder.redirect(reqwest::redirect::Policy::none()).http2_adaptive_window(true)
            };
            Connections::new(settings, options.destinations.clone(), more)
        };
        let (certified, everywhere) = match (options.identity.as_ref(), &options.identity_scope) {
            (Some(identity), ClientCertScope::Registry(name)) => {
                let name = canonical_registry(name).to_owned();
                (Some((name, connections(Some(identity))?)), None)
            }
            (identity, _) => (None, identity),
        };
        Ok(Self { connections: connections(everywhere)?, certified, idle: options.timeouts.idle })
    }

    /// Connections for a request to `url` on behalf of `registry`. Those with the client
    /// certificate are used only for requests to its own registry and its own address: another
    /// registry that names this one as its token endpoint, or redirects to it, would otherwise use
    /// our identity there.
    fn connections(&self, registry: &str, url: &Url) -> &Connections {
        let is = |name: &str, other: &str| canonical_registry(other) == name;
        match &self.certified {
            Some((name, certified)) if is(name, registry) && is(name, &authority(url)) => certified,
            _ => &self.connections,
        }
    }

    /// Sends the request, follows redirects and reads the response. `target` names the host in
    /// faults.
    pub(crate) async fn exchange(&self, target: Target, request: Request) -> Result<Reply, Fault> {
        let (limit, mode, deadline) = (request.limit, request.mode, request.deadline);
        let lease = request.lease.clone();
        let request_secrets = RequestSecrets::of(&request);
        let UnreadResponse { response, url, target } = self.open(target, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (mut body, mut open) = (Bytes::new(), None);
        match mode {
            _ if !status.is_success() => {
                body = self.read_error(&target, response, deadline, &lease).await?
            }
            BodyMode::Buffered => {
                body = self.read(&target, response, limit, deadline, &lease).await?;
            }
            BodyMode::Streamed => open = Some(response),
        }
        Ok(Reply { target, status, headers, url, body, open, request_secrets })
    }

    /// Sends the request and follows redirects, leaving the body unread.
    async fn open(&self, asked: Target, request: Request) -> Result<UnreadResponse, Fault> {
        let Request { registry, mut method, mut url, mut headers, body, deadline, .. } = request;
        let mut connections = self.connections(&registry, &url);
        let (origin, own) = (url.origin(), authority(&url));
        let mut target = asked.clone();
        let authorization = headers.remove(AUTHORIZATION);
        let (mut body, repeatable) = body.split();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = headers.clone();
            if let Some(value) = authorization.as_ref().filter(|_| url.origin() == origin) {
                headers.insert(AUTHORIZATION, value.clone());
            }
            let sent = body.take();
            let client = connections.client(target.text(), &url).await;
            let client = client.map_err(|fault| target.mark(fault))?;
            let response = send(&client, &target, &method, &url, headers, sent, deadline).await?;
            let Some(next) = redirect(&target, &url, &response)? else {
                return Ok(UnreadResponse { response, url, target });
            };
            if response.status() == StatusCode::SEE_OTHER && method != Method::HEAD {
                method = Method::GET;
            }
            body = match &repeatable {
                _ if method == Method::GET || method == Method::HEAD => None,
                Some(again) => again.clone().map(reqwest::Body::from),
                None => {
                    let detail = "redirected a request whose body can be sent only once";
                    return Err(target.fault(FaultKind::Malformed, detail));
                }
            };
            url = next;
            if authority(&url) != own {
                // The redirecting server chooses the target: no client certificate is presented.
                connections = &self.connections;
            }
            target = match authority(&url) {
                place if place == own => asked.clone(),
                place => asked.redirected(&place),
            };
        }
        Err(asked.fault(FaultKind::TooMany, format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Reads at most `limit` bytes. `Content-Length` is only used to refuse early.
    async fn read(
        &self,
        target: &Target,
        mut response: Response,
        limit: u64,
        deadline: Instant,
        lease: &Lease,
    ) -> Result<Bytes, Fault> {
        let large = || {
            target.fault(FaultKind::TooLarge, format!("the response is larger than {limit} bytes"))
        };
        let announced = response.content_length().unwrap_or(0);
        if announced > limit {
            return Err(large());
        }
        let mut held = BufferedBody::default();
        // All of an announced body before the first byte, so that bodies which are half read do
        // not wait for each other.
        held.cover(usize::try_from(announced).unwrap_or(usize::MAX), lease, target.registry())
            .await?;
        while let Some(piece) = self.next(target, &mut response, deadline).await? {
            if held.bytes.len() as u64 + piece.len() as u64 > limit {
                return Err(large());
            }
            held.take(&piece, lease, target.registry()).await?;
        }
        Ok(Bytes::from_owner(held))
    }

    /// Next chunk of a body, within the idle timeout and the deadline.
    pub(crate) async fn next(
        &self,
        target: &Target,
        response: &mut Response,
        deadline: Instant,
    ) -> Result<Option<Bytes>, Fault> {
        let idle = Instant::now() + self.idle;
        match tokio::time::timeout_at(idle.min(deadline), response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(target.exchange_fault(error)),
            Err(_) if deadline <= idle => Err(target.fault(FaultKind::Timeout, LATE)),
            Err(_) => {
                let detail = format!("no data received for {} s", self.idle.as_secs_f32());
                Err(target.fault(FaultKind::Timeout, detail))
            }
        }
    }

    /// Start of an error body; failing to read it is not an error. A body without memory for it is
    /// one: what it says can make a fault of a "not found".
    async fn read_error(
        &self,
        target: &Target,
        mut response: Response,
        deadline: Instant,
        lease: &Lease,
    ) -> Result<Bytes, Fault> {
        let deadline = deadline.min(Instant::now() + Duration::from_secs(5));
        let mut held = BufferedBody::default();
        while let Ok(Some(piece)) = self.next(target, &mut response, deadline).await {
            if held.bytes.len() as u64 + piece.len() as u64 > MAX_ERROR_BODY {
                break;
            }
            held.take(&piece, lease, target.registry()).await?;
        }
        Ok(Bytes::from_owner(held))
    }
}

impl BufferedBody {
    /// Appends a chunk when the lease covers it.
    async fn take(&mut self, piece: &[u8], lease: &Lease, registry: &str) -> Result<(), Fault> {
        let missing = (self.bytes.len() + piece.len()).saturating_sub(self.covered);
        if missing > 0 {
            // In few steps, however small the chunks are.
            self.cover(missing.max(self.covered).max(SMALLEST_STEP), lease, registry).await?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    async fn cover(&mut self, more: usize, lease: &Lease, registry: &str) -> Result<(), Fault> {
        if more > 0 {
            lease.grow(&mut self.share, more, registry).await?;
            self.covered += more;
            // Exactly what is covered: a buffer that grows by itself takes up to twice as much.
            self.bytes.reserve_exact(self.covered - self.bytes.len());
        }
        Ok(())
    }
}

impl AsRef<[u8]> for BufferedBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    /// Body for the first attempt and, if it can be resent, the one for the next.
    #[allow(clippy::option_option, reason = "repeatable at all? and if so, with which bytes?")]
    fn split(self) -> (Option<reqwest::Body>, Option<Option<Bytes>>) {
        match self {
            Self::Empty | Self::Spent => (None, Some(None)),
            Self::Bytes(bytes) => (Some(bytes.clone().into()), Some(Some(bytes))),
            Self::Once(bytes) => (Some(bytes.into()), None),
            Self::Stream(stream) => (Some(stream), None),
        }
    }
}

async fn send(
    client: &reqwest::Client,
    target: &Target,
    method: &Method,
    url: &Url,
    headers: HeaderMap,
    body: Option<reqwest::Body>,
    deadline: Instant,
) -> Result<Response, Fault> {
    let mut builder = client.request(method.clone(), url.clone()).headers(headers);
    if let Some(body) = body {
        builder = builder.body(body);
    }
    match tokio::time::timeout_at(deadline, builder.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(target.exchange_fault(error)),
        Err(_) => Err(target.fault(FaultKind::Timeout, LATE)),
    }
}

/// Target of a redirect, if the response is one that may be followed.
fn redirect(target: &Target, from: &Url, response: &Response) -> Result<Option<Url>, Fault> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let text = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let next = text
        .and_then(|text| from.join(text).ok())
        .ok_or_else(|| target.refused_redirect("a redirect without a usable Location"))?;
    check_hop(target, from, &next)?;
    Ok(Some(next))
}

/// Checks a redirect: never from HTTPS to HTTP, and never to another protocol.
pub(crate) fn check_hop(target: &Target, from: &Url, to: &Url) -> Result<(), Fault> {
    let refused = |why: &str| {
        let place = to.host_str().map(printable).unwrap_or_default();
        Err(target.refused_redirect(format!("redirected to {place} {why}; refused")))
    };
    match (from.scheme(), to.scheme()) {
        ("https", "http") => refused("over plain HTTP from HTTPS"),
        // The HTTP library would send a user name in the URL as credentials.
        _ if has_user(to) => refused("with a user name in the URL"),
        (_, "http" | "https") if to.host_str().is_some() => Ok(()),
        _ => refused("over a protocol other than HTTP"),
    }
}

/// Host and port of a URL, in the form used by references.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Returns whether a URL holds a user name or a password.
pub(crate) fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Detail of a timeout of a whole exchange.
pub(crate) const LATE: &str = "no complete response before the deadline";

/// Fault of a registry without a complete response before the deadline.
pub(crate) fn late(registry: &str) -> Fault {
    Fault::new(FaultKind::Timeout, registry, LATE)
}

/// Header value marked sensitive, so that logs do not show it.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Headers with a content type.
pub(crate) fn content_type(media_type: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).ok()?);
    Some(headers)
}
