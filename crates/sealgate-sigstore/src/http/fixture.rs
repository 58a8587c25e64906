//! Loopback HTTP service for tests: responses come from a closure, and requests are recorded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use super::{Client, Options, Proxies, Retries, Timeouts};

/// Recorded request.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Running service; ends with the test's runtime.
pub(crate) struct Service {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<ReceivedRequest>>>,
}

type RespondFn = Arc<dyn Fn(usize, &ReceivedRequest) -> Response + Send + Sync>;

impl Service {
    /// Starts a service. `answer` gets the number of the request, from 0, and the request.
    pub(crate) async fn start(
        answer: impl Fn(usize, &ReceivedRequest) -> Response + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state: (RespondFn, Arc<Mutex<Vec<ReceivedRequest>>>) = (Arc::new(answer), seen.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handle).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<ReceivedRequest> {
        self.seen.lock().unwrap().clone()
    }
}

async fn handle(
    State((answer, all)): State<(RespondFn, Arc<Mutex<Vec<ReceivedRequest>>>)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let seen = ReceivedRequest {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body: to_bytes(body, 64 << 20).await.unwrap(),
    };
    let number = {
        let mut all = all.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    answer(number, &seen)
}

/// Response with this status and body.
pub(crate) fn answer(status: u16, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).body(body.into()).unwrap()
}

/// Response with an additional header.
pub(crate) fn with(mut answer: Response, name: &'static str, value: &str) -> Response {
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}

/// Client with short pauses and timeouts.
pub(crate) fn client() -> Client {
    Client::new(&options()).unwrap()
}

/// Options of [`client`].
pub(crate) fn options() -> Options {
    Options {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(5),
            total: Duration::from_secs(20),
        },
        retries: Retries {
            max: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_secs(2),
            budget: 50,
        },
        proxies: Proxies::Off,
        ..Options::default()
    }
}
