//! What can be asked of the gate over HTTP, and the codes for what cannot.
//!
//! Here: paths, methods, content types, bounds, time, panics. What a review means is [`crate::door`].

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use crate::body::{self, Together};
use crate::deadline::Deadline;
use crate::limits::Limits;
use crate::pulse::Pulse;
use crate::tls::Phase;

/// One of the webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Are the images of this object good?
    Validate,
    /// Replace tags by tags with digests.
    Mutate,
    /// Is this policy object well written?
    ValidatePolicies,
    /// Fill in a policy object's defaults.
    DefaultPolicies,
    /// Write policy objects in another version of the API.
    ConvertPolicies,
}

/// What stands behind the routes. The gate is one; tests make others.
#[async_trait]
pub trait Door: Send + Sync {
    /// Answers a review. The API server stops waiting at `end`; a little before, the answer is a
    /// refusal, whatever this says later.
    async fn answer(&self, hook: Hook, body: &Bytes, end: Instant) -> Reply;
    /// A denial of the review in `body`, for when answering failed.
    fn refuse(&self, hook: Hook, body: &Bytes, why: Refusal) -> Reply;
    /// Whether policies are loaded and compiled; if not, why.
    fn ready(&self) -> Result<String, String>;
    /// The metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// Why a review is denied without having been judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A bug of ours.
    Panicked,
    /// The time was over.
    Late,
}

/// An answer to a review.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200, or 400 and 413 for what is no review.
    pub status: StatusCode,
    /// With 200, an AdmissionReview in JSON; otherwise text.
    pub body: Bytes,
}

/// What one listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Everything.
    All,
    /// Webhooks, health and readiness.
    Webhooks,
    /// Metrics, health and readiness.
    Metrics,
}

/// The routes of one listener.
pub(crate) struct Routes {
    door: Arc<dyn Door>,
    offer: Offer,
    limits: Arc<Limits>,
    together: Arc<Together>,
    phase: watch::Receiver<Phase>,
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

impl Hook {
    /// The hook at `path`: our names, and those that policy-controller's webhooks are registered with.
    pub fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/validate" | "/validations" => Self::Validate,
            "/mutate" | "/mutations" => Self::Mutate,
            "/validate-policies" | "/validating" => Self::ValidatePolicies,
            "/default-policies" | "/defaulting" => Self::DefaultPolicies,
            "/resource-conversion" => Self::ConvertPolicies,
            _ => return None,
        })
    }

    /// Whether its reviews are of workloads: its answers are decisions about images.
    pub(crate) fn is_about_workloads(self) -> bool {
        matches!(self, Self::Validate | Self::Mutate)
    }

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Mutate => "mutate",
            Self::ValidatePolicies => "validate-policies",
            Self::DefaultPolicies => "default-policies",
            Self::ConvertPolicies => "convert-policies",
        }
    }
}

impl Refusal {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Panicked => "internal",
            Self::Late => "timeout",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Panicked => {
                "sealgate failed while judging this request, so it is denied; its log says more"
            }
            Self::Late => "no judgement within the time that the API server gives, so it is denied",
        })
    }
}

impl Routes {
    pub(crate) fn new(
        door: Arc<dyn Door>,
        offer: Offer,
        limits: Arc<Limits>,
        together: Arc<Together>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self { door, offer, limits, together, phase }
    }

    /// Answers one request, whatever happens.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        pulse: &Pulse,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match (path, Hook::at(path)) {
            (_, Some(hook)) if self.offer != Offer::Metrics => {
                self.review(hook, request, pulse).await
            }
            _ => {
                let response = self.page(&request);
                body::discard(request.into_body(), &self.limits).await;
                response
            }
        }
    }

    /// Answers whatever is no review.
    fn page(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" | "/livez" => read_only(request, || text(StatusCode::OK, "ok\n")),
            "/readyz" => read_only(request, || self.readiness()),
            "/metrics" if self.offer != Offer::Webhooks => {
                read_only(request, || typed(StatusCode::OK, OPEN_METRICS, self.door.metrics()))
            }
            _ => text(StatusCode::NOT_FOUND, "no such path\n"),
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        if *self.phase.borrow() != Phase::Serving {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the gate is shutting down\n");
        }
        match self.door.ready() {
            Ok(note) => text(StatusCode::OK, format!("ready: {note}\n")),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        }
    }

    async fn review(
        &self,
        hook: Hook,
        request: Request<Incoming>,
        pulse: &Pulse,
    ) -> Response<Full<Bytes>> {
        let deadline = Deadline::new(Instant::now(), request.uri().query(), &self.limits);
        if let Some(refused) = unacceptable(&request) {
            body::discard(request.into_body(), &self.limits).await;
            return refused;
        }
        match body::read(request.into_body(), &self.limits, &self.together).await {
            Ok(held) => {
                let _judged = pulse.came_whole();
                reply(self.judge(hook, &held.bytes, deadline).await)
            }
            Err(error) => {
                let mut response = text(error.status(), format!("{error}\n"));
                if error == body::BodyError::Busy {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                response
            }
        }
    }

    /// The door's answer; a denial if it panics or does not come.
    async fn judge(&self, hook: Hook, body: &Bytes, deadline: Deadline) -> Reply {
        let answer = AssertUnwindSafe(self.door.answer(hook, body, deadline.api_server));
        let refusal = match timeout_at(deadline.ours, answer.catch_unwind()).await {
            Ok(Ok(reply)) => return reply,
            Ok(Err(panic)) => {
                panicked(hook, &*panic);
                Refusal::Panicked
            }
            Err(_) => Refusal::Late,
        };
        self.refuse(hook, body, refusal)
    }

    /// The door's denial. It reads the review again: what made that panic does so twice, and an
    /// unanswered panic would take along whoever else is on this connection.
    fn refuse(&self, hook: Hook, body: &Bytes, why: Refusal) -> Reply {
        let refuse = AssertUnwindSafe(|| self.door.refuse(hook, body, why));
        std::panic::catch_unwind(refuse).unwrap_or_else(|panic| {
            panicked(hook, &*panic);
            Reply { status: StatusCode::INTERNAL_SERVER_ERROR, body: why.to_string().into() }
        })
    }
}

fn panicked(hook: Hook, panic: &(dyn std::any::Any + Send)) {
    error!(hook = hook.name(), panic = panic_text(panic), "a handler panicked");
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// The answer to what cannot be a review by its method or its headers.
fn unacceptable(request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    if request.method() != Method::POST {
        return Some(not_allowed("POST"));
    }
    let unsupported = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    (!is_json(request.headers()))
        .then(|| text(unsupported, "the Content-Type must be application/json\n"))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(JSON))
}

fn read_only(
    request: &Request<Incoming>,
    answer: impl FnOnce() -> Response<Full<Bytes>>,
) -> Response<Full<Bytes>> {
    match *request.method() {
        Method::GET | Method::HEAD => answer(),
        _ => not_allowed("GET, HEAD"),
    }
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn reply(reply: Reply) -> Response<Full<Bytes>> {
    let kind = if reply.status == StatusCode::OK { JSON } else { TEXT };
    typed(reply.status, kind, reply.body)
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, TEXT, text)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
