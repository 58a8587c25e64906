//! A service on loopback for tests: it answers what a closure says, and remembers what it was
//! asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use super::{Client, Options, Proxies, Retries, Timeouts};

/// What the service was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A running service; it ends with the test's runtime.
pub(crate) struct Service {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Answering = Arc<dyn Fn(usize, &Seen) -> Response + Send + Sync>;

impl Service {
    /// Starts a service. `answer` gets the number of the request, from 0, and the request.
    pub(crate) async fn start(
        answer: impl Fn(usize, &Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state: (Answering, Arc<Mutex<Vec<Seen>>>) = (Arc::new(answer), seen.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handle).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn handle(
    State((answer, all)): State<(Answering, Arc<Mutex<Vec<Seen>>>)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let seen = Seen {
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

/// An answer with this status and body.
pub(crate) fn answer(status: u16, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).body(body.into()).unwrap()
}

/// An answer with a header more.
pub(crate) fn with(mut answer: Response, name: &'static str, value: &str) -> Response {
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}

/// A client that loses no time.
pub(crate) fn client() -> Client {
    Client::new(&options()).unwrap()
}

/// The options of [`client`].
pub(crate) fn options() -> Options {
    Options {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(5),
            question: Duration::from_secs(20),
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
