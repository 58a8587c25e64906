//! Routing of requests.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::Value;

use super::failure::Failure;
use super::{LoggedRequest, State};

/// Maximum size of a manifest, in bytes.
const MANIFEST_BYTES: usize = 4 << 20;

/// Endpoint named by a path.
pub(super) enum Target {
    Root,
    Token,
    Manifest(String, String),
    Blob(String, String),
    Uploads(String),
    Upload(String, String),
    Tags(String),
    Referrers(String, String),
    Nothing,
}

/// Received request with its body.
pub(super) struct IncomingRequest {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl IncomingRequest {
    /// First value of a query parameter.
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub(super) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// Entry point of every request.
pub(super) async fn handle(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    request: Request<Body>,
) -> Response<Body> {
    let method = request.method().clone();
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|v| v.to_str().ok()).map(str::to_owned);
    state.log_request(LoggedRequest {
        method: method.to_string(),
        path: path.clone(),
        authorization,
    });
    delay(&state).await;
    let failure = state.failure_for(method.as_str(), &path);
    if let Some(Failure::Delayed(wait)) = &failure {
        tokio::time::sleep(*wait).await;
    }
    if let Some(answer) = failure.as_ref().and_then(|t| t.replacement(&path)) {
        return answer;
    }
    let mut answer = match read(&state, request).await {
        Ok(asked) => state.answer(&asked),
        Err(refused) => refused,
    };
    let version = HeaderValue::from_static("registry/2.0");
    answer.headers_mut().insert("docker-distribution-api-version", version);
    match failure {
        Some(failure) => failure.alter(answer).await,
        None => answer,
    }
}

/// Waits up to the configured latency; the delay depends on the request's number.
async fn delay(state: &State) {
    let most = state.options.latency;
    if !most.is_zero() {
        let number = state.requests.load(std::sync::atomic::Ordering::Relaxed);
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        tokio::time::sleep(most.mul_f64(spread as f64 / 255.0)).await;
    }
}

async fn read(state: &State, request: Request<Body>) -> Result<IncomingRequest, Response<Body>> {
    let (head, body) = request.into_parts();
    let target = Target::of(head.uri.path());
    let limit = match target {
        Target::Manifest(..) => MANIFEST_BYTES,
        _ => state.options.blob_bytes,
    };
    let body = axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| error(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "too large"))?;
    let query = head.uri.query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Ok(IncomingRequest { method: head.method, target, query, headers: head.headers, body })
}

impl Target {
    fn of(path: &str) -> Self {
        if path == "/token" {
            return Self::Token;
        }
        let Some(rest) = path.strip_prefix("/v2") else { return Self::Nothing };
        if rest.is_empty() || rest == "/" {
            return Self::Root;
        }
        let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        let name = |parts: &[&str]| parts.join("/");
        match parts.as_slice() {
            [n @ .., "blobs", "uploads", ""] | [n @ .., "blobs", "uploads"] if !n.is_empty() => {
                Self::Uploads(name(n))
            }
            [n @ .., "blobs", "uploads", id] if !n.is_empty() => {
                Self::Upload(name(n), (*id).to_owned())
            }
            [n @ .., "blobs", digest] if !n.is_empty() => Self::Blob(name(n), (*digest).to_owned()),
            [n @ .., "manifests", reference] if !n.is_empty() => {
                Self::Manifest(name(n), (*reference).to_owned())
            }
            [n @ .., "referrers", digest] if !n.is_empty() => {
                Self::Referrers(name(n), (*digest).to_owned())
            }
            [n @ .., "tags", "list"] if !n.is_empty() => Self::Tags(name(n)),
            _ => Self::Nothing,
        }
    }

    fn repository(&self) -> Option<&str> {
        match self {
            Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
            Self::Root | Self::Token | Self::Nothing => None,
        }
    }
}

impl State {
    fn answer(&self, asked: &IncomingRequest) -> Response<Body> {
        if let Target::Token = asked.target {
            return self.give_token(&asked.method, &asked.query, &asked.headers, &asked.body);
        }
        let repository = asked.target.repository();
        if let Some(refused) = self.refusal(&asked.method, repository, &asked.headers) {
            return refused;
        }
        match &asked.target {
            Target::Root => json(StatusCode::OK, &serde_json::json!({})),
            Target::Manifest(name, reference) => self.manifest(asked, name, reference),
            Target::Blob(name, digest) => self.blob(asked, name, digest),
            Target::Uploads(name) => self.begin_upload(asked, name),
            Target::Upload(name, id) => self.upload(asked, name, id),
            Target::Tags(name) => self.tag_list(asked, name),
            Target::Referrers(name, digest) => self.referrers_list(asked, name, digest),
            Target::Token | Target::Nothing => not_found_page(),
        }
    }
}

/// Response of a router to an unknown path; docker-registry sends it for the referrers API.
pub(super) fn not_found_page() -> Response<Body> {
    let mut answer = Response::new(Body::from("404 page not found\n"));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, text);
    answer
}

/// Response with the specification's error body.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    json(status, &body)
}

pub(super) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// Response without a body, with these headers.
pub(super) fn empty(status: StatusCode, headers: &[(&'static str, &str)]) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(*name, value);
        }
    }
    answer
}
