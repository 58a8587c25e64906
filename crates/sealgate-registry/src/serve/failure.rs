//! Failure injection: misbehaviour seen at real registries.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::route::error;
use super::{State, locked};

/// Rule that injects a failure into matching requests.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Method; `None` matches every method.
    pub method: Option<String>,
    /// Substring of path and query.
    pub part: String,
    /// Number of requests; `usize::MAX` for all.
    pub times: usize,
    /// Injected failure.
    pub failure: Failure,
}

/// Failure of a registry.
#[derive(Clone, Debug)]
pub enum Failure {
    /// 429, with `Retry-After` in seconds.
    Throttled(u64),
    /// This status, with the specification's error body.
    Status(u16),
    /// This status, with a web page as the body.
    WebPage(u16),
    /// This status, media type, additional header (`WWW-Authenticate` or `Link`) and body.
    Respond {
        /// Status.
        status: u16,
        /// `Content-Type`.
        media_type: &'static str,
        /// Name and value of another header.
        header: Option<(&'static str, String)>,
        /// Body.
        body: String,
    },
    /// Correct response after a delay.
    Delayed(Duration),
    /// Correct response with one byte changed.
    CorruptBody,
    /// Correct response without its length and digest headers.
    WithoutHeaders,
    /// Successful status and an endless body.
    EndlessBody,
    /// Correct response, one byte per pause.
    Slow(Duration),
    /// 307 to this URL.
    Redirect(String),
    /// Endless referrers list (10 entries per page).
    EndlessPages,
}

impl Rule {
    /// `failure` for every request with `part` in path or query.
    pub fn always(part: &str, failure: Failure) -> Self {
        Self { method: None, part: part.to_owned(), times: usize::MAX, failure }
    }

    /// `failure` for the next `times` such requests.
    pub fn times(part: &str, times: usize, failure: Failure) -> Self {
        Self { times, ..Self::always(part, failure) }
    }

    /// Same rule for one method only.
    pub fn only(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        let method_fits = self.method.as_deref().is_none_or(|m| m == method);
        self.times > 0 && method_fits && path.contains(&self.part)
    }
}

impl State {
    /// Failure for a request; counts down the rule.
    pub(super) fn failure_for(&self, method: &str, path: &str) -> Option<Failure> {
        let mut rules = locked(&self.rules);
        let rule = rules.iter_mut().find(|rule| rule.fits(method, path))?;
        if rule.times != usize::MAX {
            rule.times -= 1;
        }
        Some(rule.failure.clone())
    }
}

impl Failure {
    /// Response that replaces the correct one without touching the store.
    pub(super) fn replacement(&self, path: &str) -> Option<Response<Body>> {
        let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT);
        match self {
            Self::Throttled(seconds) => {
                let mut answer =
                    error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slow down");
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
                Some(answer)
            }
            Self::Status(code) => Some(error(status(*code), "UNKNOWN", "injected failure")),
            Self::WebPage(code) => {
                let mut answer = Response::new(Body::from("<html><body>Welcome</body></html>"));
                *answer.status_mut() = status(*code);
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                answer.headers_mut().insert(header::CONTENT_TYPE, html);
                Some(answer)
            }
            Self::Respond { status: code, media_type, header: more, body } => {
                let mut answer = Response::new(Body::from(body.clone()));
                *answer.status_mut() = status(*code);
                let media_type = HeaderValue::from_static(media_type);
                answer.headers_mut().insert(header::CONTENT_TYPE, media_type);
                if let Some((name, value)) = more
                    && let Ok(value) = HeaderValue::from_str(value)
                {
                    answer.headers_mut().insert(*name, value);
                }
                Some(answer)
            }
            Self::EndlessBody => {
                let piece = Bytes::from(vec![b' '; 64 << 10]);
                let body = stream::repeat(piece).map(Ok::<_, std::io::Error>);
                Some(Response::new(Body::from_stream(body)))
            }
            Self::Redirect(to) => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
                answer.headers_mut().insert(header::LOCATION, to);
                Some(answer)
            }
            Self::EndlessPages => Some(super::manifests::endless_page(path)),
            Self::Delayed(_) | Self::CorruptBody | Self::WithoutHeaders | Self::Slow(_) => None,
        }
    }

    /// Alters the correct response.
    pub(super) async fn alter(&self, answer: Response<Body>) -> Response<Body> {
        let (mut head, body) = answer.into_parts();
        match self {
            Self::CorruptBody => {
                let bytes = whole(body).await;
                let mut bytes = bytes.to_vec();
                if let Some(last) = bytes.iter_mut().rev().find(|b| b.is_ascii_alphanumeric()) {
                    *last = if *last == b'0' { b'1' } else { b'0' };
                }
                Response::from_parts(head, Body::from(bytes))
            }
            Self::WithoutHeaders => {
                head.headers.remove("docker-content-digest");
                head.headers.remove(header::CONTENT_LENGTH);
                let bytes = whole(body).await;
                let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>(bytes)]));
                Response::from_parts(head, body)
            }
            Self::Slow(pause) => {
                let (bytes, pause) = (whole(body).await, *pause);
                let body = stream::iter(bytes.to_vec()).then(move |byte| async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, std::io::Error>(Bytes::copy_from_slice(&[byte]))
                });
                Response::from_parts(head, Body::from_stream(body))
            }
            _ => Response::from_parts(head, body),
        }
    }
}

async fn whole(body: Body) -> Bytes {
    axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default()
}
