//! What goes wrong with real registries, on demand.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::route::error;
use super::{State, locked};

/// Which requests get which trouble, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The method, or every one.
    pub method: Option<String>,
    /// A part of path and query.
    pub part: String,
    /// How many requests; `usize::MAX` for all.
    pub times: usize,
    /// What happens to them.
    pub trouble: Trouble,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// 429, with `Retry-After` in seconds.
    Throttled(u64),
    /// This status, with the specification's error body.
    Status(u16),
    /// This status with a web page.
    WebPage(u16),
    /// This status, with this media type, this `WWW-Authenticate` or `Link`, and this body.
    Says {
        /// The status.
        status: u16,
        /// `Content-Type`.
        media_type: &'static str,
        /// Another header's name and value.
        header: Option<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// The right answer, so much later.
    Late(Duration),
    /// The right answer with one byte changed.
    WrongBytes,
    /// The right answer without its length and digest headers.
    Taciturn,
    /// A good status and a body without end.
    Endless,
    /// The right answer, one byte per pause.
    Slow(Duration),
    /// 307 to this URL.
    Redirect(String),
    /// A list of referrers (10 entries a page) without end.
    EndlessPages,
}

impl Rule {
    /// `trouble` for every request whose path or query holds `part`.
    pub fn always(part: &str, trouble: Trouble) -> Self {
        Self { method: None, part: part.to_owned(), times: usize::MAX, trouble }
    }

    /// `trouble` for the next `times` such requests.
    pub fn times(part: &str, times: usize, trouble: Trouble) -> Self {
        Self { times, ..Self::always(part, trouble) }
    }

    /// The same for one method only.
    pub fn only(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        let method_fits = self.method.as_deref().is_none_or(|m| m == method);
        self.times > 0 && method_fits && path.contains(&self.part)
    }
}

impl State {
    /// The trouble of a request, counted down.
    pub(super) fn trouble_for(&self, method: &str, path: &str) -> Option<Trouble> {
        let mut rules = locked(&self.rules);
        let rule = rules.iter_mut().find(|rule| rule.fits(method, path))?;
        if rule.times != usize::MAX {
            rule.times -= 1;
        }
        Some(rule.trouble.clone())
    }
}

impl Trouble {
    /// An answer that needs no look at the store.
    pub(super) fn instead(&self, path: &str) -> Option<Response<Body>> {
        let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT);
        match self {
            Self::Throttled(seconds) => {
                let mut answer =
                    error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slow down");
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
                Some(answer)
            }
            Self::Status(code) => Some(error(status(*code), "UNKNOWN", "as told")),
            Self::WebPage(code) => {
                let mut answer = Response::new(Body::from("<html><body>Welcome</body></html>"));
                *answer.status_mut() = status(*code);
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                answer.headers_mut().insert(header::CONTENT_TYPE, html);
                Some(answer)
            }
            Self::Says { status: code, media_type, header: more, body } => {
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
            Self::Endless => {
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
            Self::Late(_) | Self::WrongBytes | Self::Taciturn | Self::Slow(_) => None,
        }
    }

    /// Spoils the right answer.
    pub(super) async fn spoil(&self, answer: Response<Body>) -> Response<Body> {
        let (mut head, body) = answer.into_parts();
        match self {
            Self::WrongBytes => {
                let bytes = whole(body).await;
                let mut bytes = bytes.to_vec();
                if let Some(last) = bytes.iter_mut().rev().find(|b| b.is_ascii_alphanumeric()) {
                    *last = if *last == b'0' { b'1' } else { b'0' };
                }
                Response::from_parts(head, Body::from(bytes))
            }
            Self::Taciturn => {
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
