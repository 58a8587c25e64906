//! Tests of the callback listener with unrelated requests.

use std::time::Duration;

use sealgate_core::fault::FaultKind;
use tokio::net::TcpStream;

use super::fixture::{TestEnvironment, Variables};
use super::issuer::{Defect, Issuer, TestBrowser, User};
use crate::oidc::{Flow, TokenRequest};

async fn request(issuer: &Issuer, redirect: Option<&str>) -> TokenRequest {
    TokenRequest {
        issuer: issuer.url(),
        flow: Some(Flow::Normal),
        redirect_url: redirect.map(str::to_owned),
        ..TokenRequest::default()
    }
}

#[tokio::test]
async fn unrelated_requests_are_rejected_and_the_login_continues() {
    let get = |query: &str| format!("GET /auth/callback?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    let unrelated = [
        (get("state=other&code=evil"), "400 Bad Request"),
        (get("state=STATEx&code=evil"), "400 Bad Request"),
        (get("state=&code=evil"), "400 Bad Request"),
        (get("code=evil"), "400 Bad Request"),
        (get("error=access_denied"), "400 Bad Request"),
        (get("state=STATE&state=STATE&code=evil"), "400 Bad Request"),
        (get("state=STATE&code=evil&code=evil"), "400 Bad Request"),
        (get("state=STATE&code=evil").replace("GET", "POST"), "405 Method Not Allowed"),
        (get("state=STATE&code=evil").replace("GET", "HEAD"), "405 Method Not Allowed"),
        (get("state=STATE&code=evil").replace("/callback", "/callback/"), "404 Not Found"),
        (get("state=STATE&code=evil").replace("HTTP/1.1", "HTTP/1.1 x"), "400 Bad Request"),
        (get("state=STATE&code=evil").replace(" HTTP/1.1", ""), "400 Bad Request"),
        ("GET /favicon.ico HTTP/1.1\r\n\r\n".to_owned(), "404 Not Found"),
        ("\r\n\r\n".to_owned(), "400 Bad Request"),
        (get(&format!("state=STATE&code=evil&x={}", "x".repeat(20 << 10))), ""),
    ];
    let (requests, expected): (Vec<String>, Vec<&str>) = unrelated.into_iter().unzip();
    let issuer = Issuer::start(Defect::Nothing).await;
    let mut env = TestEnvironment::new(Variables::new());
    let visits = TestBrowser::of(User::Late(requests.clone()));
    env.environment.browser = visits.clone();
    env.ask(&request(&issuer, None).await).await.unwrap();
    assert_eq!(issuer.asked("/realm/token").len(), 1);
    assert_ne!(issuer.asked("/realm/token")[0]["code"], "evil");
    let answers = visits.answers.lock().unwrap().clone();
    for ((request, expected), answer) in requests.iter().zip(&expected).zip(&answers) {
        let status = answer.lines().next().unwrap_or_default();
        let wanted = if expected.is_empty() { "" } else { &format!("HTTP/1.1 {expected}") };
        assert_eq!(status, wanted, "{request}");
        assert!(!answer.contains("evil"), "{answer}");
    }
}

#[tokio::test]
async fn a_page_shows_nothing_and_runs_nothing() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let mut env = TestEnvironment::new(Variables::new());
    let visits = TestBrowser::of(User::Willing);
    env.environment.browser = visits.clone();
    env.ask(&request(&issuer, None).await).await.unwrap();
    let page = visits.first_answer().await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    for header in ["default-src 'none'", "no-store", "no-referrer", "Connection: close"] {
        assert!(page.contains(header), "{page}");
    }
    assert!(!page.contains("c0de"), "{page}");
}

#[tokio::test]
async fn silent_connections_do_not_delay_the_login() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let mut env = TestEnvironment::new(Variables::new());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let visits = TestBrowser::of(User::Absent);
    env.environment.browser = visits.clone();
    env.environment.login_deadline = Duration::from_secs(4);
    let redirect = format!("http://127.0.0.1:{port}/here?x=1");
    let request = request(&issuer, Some(&redirect)).await;
    let silent_then_person = async {
        let mut silent = Vec::new();
        while visits.page.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..20 {
            silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        let page = visits.page.lock().unwrap().clone().unwrap();
        let browser = TestBrowser::of(User::Willing);
        crate::oidc::Browser::open(&*browser, &page).await.unwrap();
        // Keeps the silent connections open to the end.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        obtained = env.ask(&request) => drop(obtained.unwrap()),
        () = silent_then_person => unreachable!("the silent ones stay"),
    }
    assert_eq!(issuer.asked("/realm/token")[0]["redirect_uri"], redirect);
}

#[tokio::test]
async fn the_callback_listens_on_loopback() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let env = TestEnvironment::new(Variables::new());
    for redirect in [
        "http://0.0.0.0:0/cb",
        "http://192.0.2.1:0/cb",
        "http://example.com/cb",
        "https://localhost:0/cb",
        "http://localhost:0/cb#x",
        "urn:ietf:wg:oauth:2.0:oob",
        "cb",
    ] {
        let request = request(&issuer, Some(redirect)).await;
        let error = env.ask(&request).await.unwrap_err();
        assert_eq!(error.fault().kind, FaultKind::Config, "{redirect}");
        assert!(error.to_string().contains("--oidc-redirect-url: "), "{error}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_fault() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect = format!("http://localhost:{}/cb", held.local_addr().unwrap().port());
    let env = TestEnvironment::new(Variables::new());
    let error = env.ask(&request(&issuer, Some(&redirect)).await).await.unwrap_err();
    assert!(error.to_string().contains("starting redirect listener"), "{error}");
}
