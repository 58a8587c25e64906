//! More requests, or more busy connections, than there are slots.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::join_all;
use sealgate_server::listener::limits::Limits;

use crate::fixture::{ListenerFixture, listener};

/// Waits until so many reviews are being evaluated.
async fn evaluating(listener: &ListenerFixture, reviews: usize) {
    while listener.handler.naps.load(Ordering::Relaxed) < reviews {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The time of a review that is sent now and evaluated at once.
async fn answered(listener: &ListenerFixture) -> Duration {
    let start = Instant::now();
    let (status, text) = listener.post("/validate", "new").await;
    assert_eq!((status, text.starts_with("validate 3")), (200, true), "{text}");
    start.elapsed()
}

#[tokio::test]
async fn the_longest_running_review_is_given_up_beyond_the_limit() {
    let listener = listener(Limits { requests: 2, ..Limits::default() });
    let second = async {
        evaluating(&listener, 1).await;
        listener.post("/validate?timeout=2s", "sleep").await
    };
    let new = async {
        evaluating(&listener, 2).await;
        answered(&listener).await
    };
    let first = listener.post("/validate", "sleep");
    let (first, second, new) = tokio::join!(first, second, new);
    assert_eq!(first, (200, "denied: busy".to_owned()));
    assert_eq!(second, (200, "denied: timeout".to_owned()));
    assert!(new < Duration::from_secs(1), "{new:?}");
}

/// C4 of the field report: as many busy connections as there are slots.
#[tokio::test]
async fn busy_connections_do_not_shut_out_a_new_one() {
    let listener = listener(Limits { connections: 16, ..Limits::default() });
    let busy = (0..16).map(|_| listener.post("/validate?timeout=4s", "sleep"));
    let new = async {
        evaluating(&listener, 16).await;
        answered(&listener).await
    };
    let (busy, new) = tokio::join!(join_all(busy), new);
    assert!(new < Duration::from_secs(1), "{new:?}");
    let given_up = busy.iter().filter(|(_, text)| text == "denied: busy").count();
    assert!((1..=3).contains(&given_up), "{given_up}");
    assert!(busy.iter().all(|(status, _)| *status == 200), "{busy:?}");
}

/// Connections that stay silent, one after the other, do not make a new one wait for the time of each.
#[tokio::test]
async fn silent_connections_do_not_hold_up_a_new_one() {
    let listener = listener(Limits { connections: 16, ..Limits::default() });
    let clients: Vec<_> = (0..16).map(|_| listener.client()).collect();
    for client in &clients {
        listener.post_with(client, "/validate", "{}").await.unwrap();
    }
    let address = listener.running.address();
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let took = answered(&listener).await;
    // Four of them have a slot at a time.
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

/// Connections that are never idle, of a caller that asks for pages or has small reviews answered.
#[tokio::test]
async fn connections_that_ask_all_the_time_do_not_shut_out_a_new_one() {
    for (method, path) in [("GET", "/healthz"), ("GET", "/none"), ("POST", "/validate")] {
        let listener = listener(Limits { connections: 16, ..Limits::default() });
        let flood = async {
            join_all((0..16).map(|_| async {
                let client = listener.client();
                loop {
                    let request = match method {
                        "GET" => client.get(listener.url(path)),
                        _ => client
                            .post(listener.url(path))
                            .header("Content-Type", "application/json")
                            .body("{}"),
                    };
                    let _ = request.send().await;
                }
            }))
            .await;
        };
        let new = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            answered(&listener).await
        };
        tokio::select! {
            _ = flood => {}
            took = new => assert!(took < Duration::from_secs(2), "{path}: {took:?}"),
        }
    }
}

/// An HTTP/2 connection is given up with all of its requests.
#[tokio::test]
async fn one_connection_with_many_requests_is_given_up_as_a_whole() {
    let listener = listener(Limits { connections: 1, ..Limits::default() });
    let client = listener.client();
    let ask = |body: &'static str| {
        let url = listener.url("/validate?timeout=4s");
        let request = client.post(url).header("content-type", "application/json").body(body);
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    ask("connect").await;
    let new = async {
        evaluating(&listener, 8).await;
        answered(&listener).await
    };
    let (busy, new) = tokio::join!(join_all((0..8).map(|_| ask("sleep"))), new);
    assert_eq!(busy, ["denied: busy"; 8]);
    assert!(new < Duration::from_secs(1), "{new:?}");
}
