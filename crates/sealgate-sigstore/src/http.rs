//! HTTP client of all Sigstore services: deadlines, bounded responses, retries, and faults with the
//! service's own error text.
//!
//! The client checks only that the service is the one at its URL: redirects stay at its origin,
//! responses are bounded, and a token is sent only to the service it was meant for.

mod options;
pub(crate) mod request;
mod response;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::AUTHORIZATION;
use reqwest::{Response, StatusCode};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_http::client;
use sealgate_http::fault;
use sealgate_http::retry::Budget;
use sealgate_http::tls;
use tokio::time::Instant;
use url::Url;

pub use options::{Options, Retries, Timeouts, TlsRoots};
pub(crate) use request::{Request, below, service_url};
pub(crate) use response::ServiceResponse;
pub(crate) use sealgate_http::fault::printable;
pub use sealgate_http::{ClientIdentity, Proxies};

use request::{ErrorText, name_of};

const MAX_REDIRECTS: usize = 5;
/// Maximum size of an error body, in bytes; the rest is not read.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Longest quotation of untrusted text in a message, in characters.
const MAX_QUOTED: usize = 400;

/// Connections and the remaining retry budget. Clones share both.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: reqwest::Client,
    timeouts: Timeouts,
    retries: Retries,
    budget: Budget,
}

impl Client {
    /// Creates a client; opens no connection.
    ///
    /// # Errors
    /// An error if the options cannot be used: invalid PEM, or a key that does not match its
    /// certificate.
    pub fn new(options: &Options) -> Result<Self, Fault> {
        let settings = client::Settings {
            name: "HTTP client",
            tls: tls::Settings {
                roots: &options.tls_roots.shared(),
                identity: options.identity.as_ref(),
                server_name: options.server_name.as_deref(),
                peer: "service",
            },
            proxies: options.proxies,
            user_agent: &options.user_agent,
            connect: options.timeouts.connect,
        };
        let redirect = reqwest::redirect::Policy::custom(follow);
        let connections = client::client(settings, |builder| builder.redirect(redirect))?;
        Ok(Self(Arc::new(Inner {
            connections,
            timeouts: options.timeouts,
            retries: options.retries,
            budget: Budget::new(options.retries.budget),
        })))
    }

    /// Sends the request, retrying on transient faults. The response may be a refusal (4xx), which
    /// [`ServiceResponse::success`] turns into a fault.
    ///
    /// # Errors
    /// No response, persistent 429 or 5xx, or a body larger than the request's limit.
    pub(crate) async fn send(&self, request: Request) -> Result<ServiceResponse, Fault> {
        let deadline = Instant::now() + self.0.timeouts.total;
        let mut pauses = self.0.retries.pauses(deadline);
        loop {
            match self.attempt(&request, deadline).await {
                Ok(answer) => {
                    self.0.budget.refund();
                    return Ok(answer);
                }
                Err(fault) => pauses.before_next(fault, &self.0.budget).await?,
            }
        }
    }

    /// One attempt. Transient failures and oversized bodies are errors.
    async fn attempt(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<ServiceResponse, Fault> {
        let target = name_of(&request.url);
        let deadline = deadline.min(Instant::now() + self.0.timeouts.attempt);
        let late = |_| Fault::new(FaultKind::Timeout, &target, "no complete response in time");
        let sent = self
            .0
            .connections
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send();
        let sent = tokio::time::timeout_at(deadline, sent).await.map_err(late)?;
        let response = sent.map_err(|error| exchange_fault(&target, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = if status.is_success() {
            let whole = whole(&target, response, request.limit);
            tokio::time::timeout_at(deadline, whole).await.map_err(late)??
        } else if request.error_text == ErrorText::Hidden {
            Bytes::new()
        } else {
            let deadline = deadline.min(Instant::now() + Duration::from_secs(5));
            beginning(response, deadline).await
        };
        let secret = request.headers.get(AUTHORIZATION).cloned();
        let answer = ServiceResponse { target, status, headers, body, secret };
        let passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        if passing { Err(answer.fault()) } else { Ok(answer) }
    }
}

/// Follows redirects within the origin only.
fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first().map(Url::origin);
    if first != Some(attempt.url().origin()) {
        let place = attempt.url().host_str().unwrap_or_default().to_owned();
        return attempt.error(format!("redirected to another origin, {place}; refused"));
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    attempt.follow()
}

/// Reads at most `limit` bytes. `Content-Length` is only used to refuse early.
async fn whole(target: &str, mut response: Response, limit: usize) -> Result<Bytes, Fault> {
    let large = || {
        let detail = format!("the response is larger than {limit} bytes");
        Fault::new(FaultKind::TooLarge, target, detail)
    };
    if response.content_length().unwrap_or(0) > limit as u64 {
        return Err(large());
    }
    let mut all = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(|error| exchange_fault(target, error))? {
        if all.len() + piece.len() > limit {
            return Err(large());
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// Start of an error body; failing to read it is not an error.
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

fn exchange_fault(target: &str, error: reqwest::Error) -> Fault {
    fault::exchange_fault(target, error, MAX_QUOTED)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
