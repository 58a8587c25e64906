//! The one HTTP client for all of Sigstore's services: deadlines, bounded answers, retries,
//! faults with the service's own words.
//!
//! A service is believed to be the one at its address and nothing more: redirects stay at its
//! origin, answers have a size, and a token goes where it was meant to go.

mod answer;
mod options;
pub(crate) mod request;

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

pub(crate) use answer::Answer;
pub use options::{Options, Retries, Timeouts, Trust};
pub(crate) use request::{Request, below, service_url};
pub(crate) use sealgate_http::fault::printable;
pub use sealgate_http::{ClientIdentity, Proxies};

use request::{Words, name_of};

const MAX_REDIRECTS: usize = 5;
/// Of the body of an error; the rest is not read.
const MAX_ERROR_BODY: usize = 64 << 10;
/// Of a stranger's words in a message, in characters.
const MAX_WORDS: usize = 400;

/// The connections and what is left of the budget for retries. Clones share both.
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
    /// Prepares connections; opens none.
    ///
    /// # Errors
    /// The options cannot be used: PEM that is none, a key that does not fit its certificate.
    pub fn new(options: &Options) -> Result<Self, Fault> {
        let settings = client::Settings {
            name: "HTTP client",
            tls: tls::Settings {
                trust: &options.trust.shared(),
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

    /// Asks, and asks again after faults that may pass. The answer may be a refusal (4xx):
    /// [`Answer::success`] makes a fault of that.
    ///
    /// # Errors
    /// No answer, no end of 429 or 5xx, or more bytes than the request's limit.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, Fault> {
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
        let sent = self
            .0
            .connections
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

fn broken(target: &str, error: reqwest::Error) -> Fault {
    fault::broken(target, error, MAX_WORDS)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
