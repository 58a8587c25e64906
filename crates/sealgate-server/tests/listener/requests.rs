//! Requests and their status codes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sealgate_server::listener::limits::Limits;

use crate::fixture::listener;

#[tokio::test]
async fn both_our_paths_and_policy_controllers_lead_to_the_hooks() {
    let listener = listener(Limits::default());
    for (path, hook) in [
        ("/validate", "validate"),
        ("/validations", "validate"),
        ("/mutate", "mutate"),
        ("/mutations?timeout=5s", "mutate"),
        ("/validate-policies", "validate-policies"),
        ("/validating", "validate-policies"),
        ("/default-policies", "default-policies"),
        ("/defaulting", "default-policies"),
        ("/resource-conversion", "convert-policies"),
    ] {
        let (status, text) = listener.post(path, "{}").await;
        assert_eq!((status, text.split(' ').next()), (200, Some(hook)), "{path}");
    }
}

#[tokio::test]
async fn requests_that_are_not_acceptable_have_their_status_code() {
    let listener = listener(Limits { body_bytes: 1000, ..Limits::default() });
    let client = listener.client();
    assert_eq!(listener.get("/validate").await.0, 405);
    assert_eq!(listener.get("/nothing").await.0, 404);
    assert_eq!(listener.post("/readyz", "").await.0, 405);
    let untyped = client.post(listener.url("/validate")).body("{}").send().await.unwrap();
    assert_eq!(untyped.status(), 415);
    assert_eq!(listener.post("/validate", "x".repeat(1000)).await.0, 200);
    assert_eq!(listener.post("/validate", "x".repeat(1001)).await.0, 413);
    let (status, _) = listener.post("/validate", "x".repeat(3 << 20)).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn all_bodies_in_total_are_bounded() {
    let listener = listener(Limits { body_bytes_total: 500, ..Limits::default() });
    assert_eq!(listener.post("/validate", "x".repeat(400)).await.0, 200);
    assert_eq!(listener.post("/validate", "x".repeat(501)).await.0, 503);
    assert_eq!(listener.post("/validate", "x".repeat(500)).await.0, 200, "the share comes back");
}

/// A review of a policy object can hold its body for long, which no review of a workload waits for.
#[tokio::test]
async fn bodies_of_policy_objects_have_a_budget_of_their_own() {
    let limits =
        Limits { body_bytes_total: 500, policy_body_bytes_total: 100, ..Limits::default() };
    let listener = listener(limits);
    assert_eq!(listener.post("/validate-policies", "x".repeat(100)).await.0, 200);
    for path in ["/validate-policies", "/default-policies", "/resource-conversion"] {
        assert_eq!(listener.post(path, "x".repeat(101)).await.0, 503);
    }
    assert_eq!(listener.post("/validate", "x".repeat(500)).await.0, 200);
}

/// A body is dropped once it is parsed: reviews under way hold no share of the budget.
#[tokio::test]
async fn reviews_under_way_hold_no_body() {
    let listener = listener(Limits { body_bytes_total: 500, ..Limits::default() });
    let sleeping = (0..20).map(|_| {
        let body = format!("sleep{}", "x".repeat(400));
        listener.post("/validate?timeout=2s", body)
    });
    let more = async {
        while listener.handler.naps.load(Ordering::Relaxed) < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        listener.post("/validate", "x".repeat(500)).await.0
    };
    let (sleeping, more) = tokio::join!(futures::future::join_all(sleeping), more);
    assert_eq!(more, 200);
    for answer in sleeping {
        assert_eq!(answer, (200, "denied: timeout".to_owned()));
    }
}

#[tokio::test]
async fn a_body_that_is_not_a_review_gets_the_handlers_response() {
    let listener = listener(Limits::default());
    assert_eq!(listener.post("/validate", "malformed").await, (400, "malformed".to_owned()));
    let answer = listener.post("/validate", "panic in parse").await;
    assert_eq!(answer, (500, "denied: internal".to_owned()));
}

/// Large bodies are parsed by other threads, with the same result.
#[tokio::test]
async fn a_large_body_is_parsed_as_a_small_one() {
    let listener = listener(Limits::default());
    let (status, text) = listener.post("/validate", "x".repeat(3 << 20)).await;
    assert_eq!((status, text.split(' ').nth(1)), (200, Some("3145728")));
}

#[tokio::test]
async fn a_panic_is_a_denial_and_the_server_goes_on() {
    let listener = listener(Limits::default());
    assert_eq!(listener.post("/validate", "panic").await, (200, "denied: internal".to_owned()));
    // Reading the review for the denial panics, too; the connection has other requests.
    assert_eq!(listener.post("/validate", "panic twice").await.0, 500);
    assert_eq!(listener.post("/validate", "{}").await.0, 200);
}

#[tokio::test]
async fn the_api_servers_timeout_is_respected() {
    let listener = listener(Limits::default());
    let start = std::time::Instant::now();
    let answer = listener.post("/validate?timeout=500ms", "sleep").await;
    assert_eq!(answer, (200, "denied: timeout".to_owned()));
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
    let (_, text) = listener.post("/validate?timeout=10s", "{}").await;
    let left: u64 = text.split(' ').next_back().unwrap().parse().unwrap();
    assert!((9500..=10_000).contains(&left), "{left}");
    let (_, text) = listener.post("/validate?timeout=1h", "{}").await;
    let left: u64 = text.split(' ').next_back().unwrap().parse().unwrap();
    assert!((9500..=10_000).contains(&left), "{left}");
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let listener = listener(Limits::default());
    assert_eq!(listener.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(listener.get("/readyz").await, (200, "ready: 2 policies\n".to_owned()));
    listener.handler.ready.store(false, Ordering::Relaxed);
    assert_eq!(listener.get("/readyz").await, (503, "not ready: no policies yet\n".to_owned()));
    assert_eq!(listener.get("/healthz").await.0, 200);
    assert_eq!(listener.get("/metrics").await, (200, "# EOF\n".to_owned()));
}
