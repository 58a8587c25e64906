//! One exchange over the wire: redirects, bounded bodies, idle time-outs, and the names of faults.
//!
//! Redirects are followed here and not in the HTTP library, because the rules are ours: five at
//! most, never from HTTPS to HTTP, and `Authorization` goes to the origin that it was made for
//! and to nobody else. The text of a fault never holds a URL's query (it may be a signed link).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{ClientBuilder, Method, Response, StatusCode};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::canonical_registry;
use sealgate_http::client;
use sealgate_http::fault;
use sealgate_http::tls;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use crate::credentials::Secret;
use crate::options::{Options, Recipients};
use crate::reply::{MAX_WORDS, Reply, Told, printable};

const MAX_REDIRECTS: usize = 5;
/// Of the body of an error; the rest is not read.
const MAX_ERROR_BODY: u64 = 64 << 10;

/// The connections. Shared by everybody, whatever their credentials.
#[derive(Debug)]
pub(crate) struct Wire {
    connections: reqwest::Client,
    /// The connections on which a client certificate is shown, where it is for one registry only.
    certified: Option<(String, reqwest::Client)>,
    idle: Duration,
    /// What is left of the bytes that all answers may take together.
    together: Arc<Semaphore>,
}

/// An answer's body, and its share of the memory for answers, which it gives back when the last
/// reader lets go of it.
#[derive(Default)]
struct Held {
    bytes: BytesMut,
    share: Option<OwnedSemaphorePermit>,
}

/// One request.
pub(crate) struct Request {
    /// The registry (host and port) that the question is for: itself, or its token endpoint.
    pub(crate) registry: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// A secret in the body.
    pub(crate) confided: Option<Secret>,
    /// At most so many bytes of a good answer.
    pub(crate) limit: u64,
    pub(crate) take: Take,
    pub(crate) deadline: Instant,
}

/// How a good answer's body is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Read whole, within the request's limit.
    Whole,
    /// Left on the wire, to be streamed.
    Open,
}

/// What is sent.
pub(crate) enum Body {
    Empty,
    Bytes(Bytes),
    /// Bytes that are sent once only: they are for the address that was asked.
    Once(Bytes),
    /// Can be sent once only.
    Stream(reqwest::Body),
    /// A body that has been sent and cannot be sent again.
    Spent,
}

/// An answer of which only the head has been read.
struct Opened<'a> {
    response: Response,
    url: Url,
    /// The host that answered, for messages.
    target: Cow<'a, str>,
}

impl Wire {
    pub(crate) fn new(options: &Options) -> Result<Self, Fault> {
        let connections = |identity| {
            let settings = client::Settings {
                name: "registry client",
                tls: tls::Settings {
                    trust: &options.trust,
                    identity,
                    server_name: options.server_name.as_deref(),
                    peer: "registry",
                },
                proxies: options.proxies,
                user_agent: &options.user_agent,
                connect: options.timeouts.connect,
            };
            // Redirects are followed by `open`, which decides what goes along.
            let none = reqwest::redirect::Policy::none();
            client::client(settings, |builder: ClientBuilder| {
                builder.redirect(none).http2_adaptive_window(true)
            })
        };
        let (certified, everywhere) = match (options.identity.as_ref(), &options.identity_for) {
            (Some(identity), Recipients::Registry(name)) => {
                let name = canonical_registry(name).to_owned();
                (Some((name, connections(Some(identity))?)), None)
            }
            (identity, _) => (None, identity),
        };
        Ok(Self {
            connections: connections(everywhere)?,
            certified,
            idle: options.timeouts.idle,
            together: Arc::new(Semaphore::new(options.limits.bytes_together)),
        })
    }

    /// The connections for an address that is asked for the sake of `registry`. Those with the
    /// client certificate are for questions to its registry only, and for no address but its own:
    /// another registry that names this one as its token endpoint, or redirects there, would have
    /// it answer in our name.
    fn connections(&self, registry: &str, url: &Url) -> &reqwest::Client {
        let is = |name: &str, other: &str| canonical_registry(other) == name;
        match &self.certified {
            Some((name, certified)) if is(name, registry) && is(name, &authority(url)) => certified,
            _ => &self.connections,
        }
    }

    /// Asks, follows redirects, reads the whole answer. `target` names the registry in faults.
    pub(crate) async fn exchange(&self, target: &str, request: Request) -> Result<Reply, Fault> {
        let (limit, take, deadline) = (request.limit, request.take, request.deadline);
        let told = Told::of(&request);
        let Opened { response, url, target } = self.open(target, request).await?;
        let target = target.as_ref();
        let (status, headers) = (response.status(), response.headers().clone());
        let (mut body, mut open) = (Bytes::new(), None);
        match take {
            _ if !status.is_success() => body = self.read_error(response, deadline).await,
            Take::Whole => body = self.read(target, response, limit, deadline).await?,
            Take::Open => open = Some(response),
        }
        Ok(Reply { target: target.to_owned(), status, headers, url, body, open, told })
    }

    /// Asks and follows redirects; the body is still on the wire.
    async fn open<'a>(&self, asked: &'a str, request: Request) -> Result<Opened<'a>, Fault> {
        let Request { registry, mut method, mut url, mut headers, body, deadline, .. } = request;
        let mut client = self.connections(&registry, &url);
        let (origin, own) = (url.origin(), authority(&url));
        let mut target = Cow::Borrowed(asked);
        let authorization = headers.remove(AUTHORIZATION);
        let (mut body, repeatable) = body.split();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = headers.clone();
            if let Some(value) = authorization.as_ref().filter(|_| url.origin() == origin) {
                headers.insert(AUTHORIZATION, value.clone());
            }
            let sent = body.take();
            let response = send(client, &target, &method, &url, headers, sent, deadline).await?;
            let Some(next) = redirect(&target, &url, &response)? else {
                return Ok(Opened { response, url, target });
            };
            if response.status() == StatusCode::SEE_OTHER && method != Method::HEAD {
                method = Method::GET;
            }
            body = match &repeatable {
                _ if method == Method::GET || method == Method::HEAD => None,
                Some(again) => again.clone().map(reqwest::Body::from),
                None => {
                    let detail = "a redirect of a request whose body is sent once only";
                    return Err(fault(&target, FaultKind::Malformed, detail));
                }
            };
            url = next;
            if authority(&url) != own {
                // Whoever is there chooses where it goes on: not with our certificate.
                client = &self.connections;
            }
            target = match authority(&url) {
                place if place == own => Cow::Borrowed(asked),
                place => Cow::Owned(format!("{} (redirected from {asked})", printable(&place))),
            };
        }
        Err(fault(asked, FaultKind::TooMany, format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Reads at most `limit` bytes. What `Content-Length` says is used to refuse early only.
    async fn read(
        &self,
        target: &str,
        mut response: Response,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Fault> {
        let large = || {
            fault(target, FaultKind::TooLarge, format!("the answer is larger than {limit} bytes"))
        };
        let said = response.content_length().unwrap_or(0);
        if said > limit {
            return Err(large());
        }
        let mut held = Held::default();
        while let Some(piece) = self.next(target, &mut response, deadline).await? {
            if held.bytes.len() as u64 + piece.len() as u64 > limit {
                return Err(large());
            }
            held.take(&piece, &self.together).ok_or_else(|| {
                let detail = "too many bytes of answers at once; ask again later";
                fault(target, FaultKind::TooMany, detail)
            })?;
        }
        Ok(Bytes::from_owner(held))
    }

    /// The next piece of a body, within the idle time-out and the deadline.
    pub(crate) async fn next(
        &self,
        target: &str,
        response: &mut Response,
        deadline: Instant,
    ) -> Result<Option<Bytes>, Fault> {
        let idle = Instant::now() + self.idle;
        match tokio::time::timeout_at(idle.min(deadline), response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(broken(target, error)),
            Err(_) if deadline <= idle => Err(late(target)),
            Err(_) => {
                let detail = format!("no more bytes for {} s", self.idle.as_secs_f32());
                Err(fault(target, FaultKind::Timeout, detail))
            }
        }
    }

    /// As much of an error's body as helps; its loss is no error of its own.
    async fn read_error(&self, mut response: Response, deadline: Instant) -> Bytes {
        let deadline = deadline.min(Instant::now() + Duration::from_secs(5));
        let mut all = BytesMut::new();
        while let Ok(Some(piece)) = self.next("", &mut response, deadline).await {
            if all.len() as u64 + piece.len() as u64 > MAX_ERROR_BODY {
                break;
            }
            all.extend_from_slice(&piece);
        }
        all.freeze()
    }
}

impl Held {
    /// Takes a piece, and memory for it as it comes, not as somebody announces it; `None` where
    /// there is none left.
    fn take(&mut self, piece: &[u8], together: &Arc<Semaphore>) -> Option<()> {
        let length = u32::try_from(piece.len()).ok()?;
        let share = Arc::clone(together).try_acquire_many_owned(length).ok()?;
        match &mut self.share {
            Some(held) => held.merge(share),
            none => *none = Some(share),
        }
        self.bytes.extend_from_slice(piece);
        Some(())
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    /// The body for the first sending, and, if it can be sent again, the one for the next.
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
    target: &str,
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
        Ok(Err(error)) => Err(broken(target, error)),
        Err(_) => Err(late(target)),
    }
}

/// Where `response` sends us, if it does and we go there.
fn redirect(target: &str, from: &Url, response: &Response) -> Result<Option<Url>, Fault> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let text = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let next = text.and_then(|text| from.join(text).ok()).ok_or_else(|| {
        fault(target, FaultKind::Malformed, "a redirect without a usable Location")
    })?;
    check_hop(target, from, &next)?;
    Ok(Some(next))
}

/// Whether we go from one address to the other: never to less safety, never to other protocols.
pub(crate) fn check_hop(target: &str, from: &Url, to: &Url) -> Result<(), Fault> {
    let refused = |why: &str| {
        let place = to.host_str().map(printable).unwrap_or_default();
        Err(fault(target, FaultKind::Malformed, format!("sent to {place} {why}; refused")))
    };
    match (from.scheme(), to.scheme()) {
        ("https", "http") => refused("over plain HTTP from HTTPS"),
        // The HTTP library would make a header of them: who we are is nobody else's to say.
        _ if has_user(to) => refused("under a user's name"),
        (_, "http" | "https") if to.host_str().is_some() => Ok(()),
        _ => refused("by a protocol that is not HTTP"),
    }
}

/// Host and port of an address, as a reference names them.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether there is a user name or a password in an address.
pub(crate) fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn fault(target: &str, kind: FaultKind, detail: impl Into<String>) -> Fault {
    Fault::new(kind, target, detail)
}

pub(crate) fn late(target: &str) -> Fault {
    fault(target, FaultKind::Timeout, "no complete answer before the deadline")
}

fn broken(target: &str, error: reqwest::Error) -> Fault {
    fault::broken(target, error, MAX_WORDS)
}

/// A header value that logs do not show.
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
