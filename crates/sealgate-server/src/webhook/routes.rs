//! The routes: paths, methods, content types, bodies, deadlines and panics, and the status codes for
//! requests that are not acceptable. Reviews are answered by a [`ReviewHandler`].

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use sealgate_kube::answer::ReviewResponse;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error};

use super::review_handler::{HandlerFailure, ReviewHandler};
use crate::hook::Hook;
use crate::listener::activity::Activity;
use crate::listener::body::{self, BodyBudget, BodyError, BufferedBody};
use crate::listener::client_certificates::Caller;
use crate::listener::deadline::Deadline;
use crate::listener::limits::Limits;
use crate::listener::phase::Phase;
use crate::listener::request_limit::RequestSlot;
use crate::listener::service::HttpService;

/// The paths that one listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paths {
    /// All paths.
    All,
    /// Webhooks, health and readiness.
    Webhooks,
    /// Metrics, health and readiness.
    Metrics,
}

/// The routes of one listener.
pub(crate) struct Routes<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) paths: Paths,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bodies: Arc<BodyBudgets>,
    pub(crate) parsers: Arc<Semaphore>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// The memory for bodies. Reviews of policy objects take none from those of workloads, because they
/// hold their bodies for longer.
pub(crate) struct BodyBudgets {
    workloads: BodyBudget,
    policy_objects: BodyBudget,
}

/// The circumstances of one review.
struct ReviewContext<'a> {
    hook: Hook,
    deadline: Deadline,
    activity: &'a Activity,
    slot: RequestSlot<'a>,
}

/// The bytes of a body that is parsed by the thread that received it, which takes about a
/// millisecond; larger ones are parsed by a few threads that nothing else waits for.
const PARSED_AT_ONCE: usize = 256 << 10;
/// The number of those threads.
pub(crate) const PARSERS: usize = 2;

const UNAUTHENTICATED: &str =
    "reviews are answered only for clients with a certificate that --client-ca accepts\n";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

#[async_trait]
impl<H: ReviewHandler> HttpService for Routes<H> {
    /// Answers one request, whatever happens.
    async fn answer(
        &self,
        request: Request<Incoming>,
        activity: &Arc<Activity>,
    ) -> Response<Full<Bytes>> {
        let start = Instant::now();
        let slot = activity.begin(start);
        match Hook::at(request.uri().path()) {
            Some(hook) if self.paths != Paths::Metrics => {
                let deadline = Deadline::new(start, request.uri().query(), &self.limits);
                let context = ReviewContext { hook, deadline, activity, slot };
                self.review(&context, request).await
            }
            _ => {
                let response = self.page(&request);
                body::discard(request.into_body(), &self.limits, &slot).await;
                response
            }
        }
    }
}

impl<H: ReviewHandler> Routes<H> {
    /// Answers a request that is not about a review.
    fn page(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" | "/livez" => read_only(request, || text(StatusCode::OK, "ok\n")),
            "/readyz" => read_only(request, || self.readiness()),
            "/metrics" if self.paths != Paths::Webhooks => {
                read_only(request, || typed(StatusCode::OK, OPEN_METRICS, self.handler.metrics()))
            }
            _ => text(StatusCode::NOT_FOUND, "no such path\n"),
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        if *self.phase.borrow() != Phase::Serving {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the gate is shutting down\n");
        }
        match self.handler.ready() {
            Ok(note) => text(StatusCode::OK, format!("ready: {note}\n")),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        }
    }

    async fn review(
        &self,
        context: &ReviewContext<'_>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let (limits, slot) = (&self.limits, &context.slot);
        if context.activity.caller() == Caller::Unauthenticated {
            debug!(hook = context.hook.name(), "request without an accepted client certificate");
            self.handler.unauthenticated(context.hook);
            body::discard(request.into_body(), limits, slot).await;
            return text(StatusCode::FORBIDDEN, UNAUTHENTICATED);
        }
        if let Some(refused) = unacceptable(&request) {
            body::discard(request.into_body(), limits, slot).await;
            return refused;
        }
        let budget = self.bodies.of(context.hook);
        match body::read(request.into_body(), limits, budget, slot).await {
            Ok(body) => {
                let _received = context.activity.request_received();
                http_response(match self.parse(context, body).await {
                    Ok(review) => self.evaluate(context, &review).await,
                    Err(response) => response,
                })
            }
            Err(error) => {
                let mut response = text(error.status(), format!("{error}\n"));
                if error == BodyError::Busy {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                response
            }
        }
    }

    /// Parses a body, and releases its share of the budget.
    async fn parse(
        &self,
        context: &ReviewContext<'_>,
        body: BufferedBody,
    ) -> Result<H::Review, ReviewResponse> {
        let hook = context.hook;
        if body.bytes.len() <= PARSED_AT_ONCE {
            return self.parse_now(hook, body);
        }
        match context.within_time(self.parse_on_thread(hook, body)).await {
            Ok(parsed) => parsed,
            Err(failure) => Err(self.deny(hook, None, failure)),
        }
    }

    async fn parse_on_thread(
        &self,
        hook: Hook,
        body: BufferedBody,
    ) -> Result<H::Review, ReviewResponse> {
        let permit = Arc::clone(&self.parsers).acquire_owned().await;
        let routes = self.clone();
        let parsed = spawn_blocking(move || {
            // Held to the end of the work, also if nobody waits for it any more.
            let _permit = permit;
            routes.parse_now(hook, body)
        });
        // The task catches panics, and is never cancelled.
        parsed.await.unwrap_or_else(|_| Err(self.deny(hook, None, HandlerFailure::Panicked)))
    }

    fn parse_now(&self, hook: Hook, body: BufferedBody) -> Result<H::Review, ReviewResponse> {
        let parse = AssertUnwindSafe(|| self.handler.parse(hook, body));
        std::panic::catch_unwind(parse).unwrap_or_else(|panic| {
            log_panic(hook, &*panic);
            Err(self.deny(hook, None, HandlerFailure::Panicked))
        })
    }

    /// The handler's answer; a denial if it panics, does not return in time, or is given up.
    async fn evaluate(&self, context: &ReviewContext<'_>, review: &H::Review) -> ReviewResponse {
        let ReviewContext { hook, deadline, .. } = *context;
        let answer = AssertUnwindSafe(self.handler.answer(hook, review, deadline.api_server));
        let failure = match context.within_time(answer.catch_unwind()).await {
            Ok(Ok(response)) => return response,
            Ok(Err(panic)) => {
                log_panic(hook, &*panic);
                HandlerFailure::Panicked
            }
            Err(failure) => failure,
        };
        self.deny(hook, Some(review), failure)
    }

    /// The handler's denial. A panic here would end the other requests of the connection.
    fn deny(
        &self,
        hook: Hook,
        review: Option<&H::Review>,
        failure: HandlerFailure,
    ) -> ReviewResponse {
        let deny = AssertUnwindSafe(|| self.handler.deny(hook, review, failure));
        std::panic::catch_unwind(deny).unwrap_or_else(|panic| {
            log_panic(hook, &*panic);
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ReviewResponse { status, body: failure.to_string().into() }
        })
    }
}

impl BodyBudgets {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            workloads: BodyBudget::new(limits.body_bytes_total),
            policy_objects: BodyBudget::new(limits.policy_body_bytes_total),
        }
    }

    fn of(&self, hook: Hook) -> &BodyBudget {
        match hook {
            Hook::Validate | Hook::Mutate => &self.workloads,
            Hook::ValidatePolicies | Hook::DefaultPolicies | Hook::ConvertPolicies => {
                &self.policy_objects
            }
        }
    }
}

impl ReviewContext<'_> {
    /// The result of `work`, unless the deadline passes or the request is given up before.
    async fn within_time<T>(&self, work: impl Future<Output = T>) -> Result<T, HandlerFailure> {
        tokio::select! {
            biased;
            done = timeout_at(self.deadline.gate, work) => {
                done.map_err(|_| HandlerFailure::TimedOut)
            }
            () = self.slot.given_up() => Err(HandlerFailure::Busy),
        }
    }
}

impl<H> Clone for Routes<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            paths: self.paths,
            limits: Arc::clone(&self.limits),
            bodies: Arc::clone(&self.bodies),
            parsers: Arc::clone(&self.parsers),
            phase: self.phase.clone(),
        }
    }
}

fn log_panic(hook: Hook, panic: &(dyn std::any::Any + Send)) {
    error!(hook = hook.name(), panic = panic_text(panic), "a handler panicked");
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// The response to a request that is no review by its method or its headers.
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

fn http_response(response: ReviewResponse) -> Response<Full<Bytes>> {
    let kind = if response.status == StatusCode::OK { JSON } else { TEXT };
    typed(response.status, kind, response.body)
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
