//! Client certificates: whose reviews are answered, and whose connections have slots.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use sealgate_server::listener::client_certificates::ClientCertificates;
use sealgate_server::listener::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::fixture::{Authority, ClientCertificate, ListenerFixture, listener_with};

const API_SERVER: &str = "kube-apiserver";

struct Fixture {
    listener: ListenerFixture,
    ca: Authority,
    accepted: Arc<ClientCertificates>,
    api_server: ClientCertificate,
}

/// A listener for the certificates of a CA with the API server's name.
fn fixture(limits: Limits) -> Fixture {
    let ca = Authority::new();
    let names = vec![API_SERVER.to_owned()];
    let accepted = Arc::new(ClientCertificates::new(ca.pem().as_bytes(), names).unwrap());
    let listener = listener_with(limits, None, Some(Arc::clone(&accepted)));
    let api_server = ca.client(API_SERVER, ClientAuth);
    Fixture { listener, ca, accepted, api_server }
}

/// Sends a request on an open connection, and reads the response.
async fn ask(connection: &mut TlsStream<TcpStream>) -> String {
    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\n\r\n{}";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    loop {
        let mut bytes = [0; 512];
        let length = connection.read(&mut bytes).await.unwrap();
        answer.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        let end = answer.split_once("\r\n\r\n");
        let length_of_body = answer.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length == 0
            || end.is_some_and(|(_, body)| length_of_body == Some(&body.len().to_string()))
        {
            return answer;
        }
    }
}

#[tokio::test]
async fn reviews_are_answered_for_accepted_certificates_only() {
    let Fixture { listener, ca, api_server, .. } = fixture(Limits::default());
    let certified = listener.client_with(&api_server);
    let (status, text) = listener.post_with(&certified, "/validate", "{}").await.unwrap();
    assert_eq!((status, text.starts_with("validate 2")), (200, true), "{text}");
    let kubelet = listener.client_with(&ca.client("system:node:a", ClientAuth));
    for client in [&listener.client(), &kubelet] {
        for path in ["/validate", "/mutate", "/validate-policies", "/resource-conversion"] {
            let body = "x".repeat(1 << 20);
            let (status, text) = listener.post_with(client, path, body).await.unwrap();
            assert_eq!(status, 403);
            assert!(text.contains("--client-ca"), "{text}");
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(client.get(listener.url(path)).send().await.unwrap().status(), 200);
        }
    }
    assert_eq!(listener.handler.unauthenticated.load(Ordering::Relaxed), 8);
    assert_eq!(listener.handler.parsed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_ends_the_handshake() {
    let Fixture { listener, ca, .. } = fixture(Limits::default());
    let of_another_ca = Authority::new().client(API_SERVER, ClientAuth);
    let for_servers = ca.client(API_SERVER, ServerAuth);
    for client in [of_another_ca, for_servers] {
        let client = listener.client_with(&client);
        assert!(listener.post_with(&client, "/validate", "{}").await.is_err());
    }
    assert_eq!(listener.handler.parsed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_new_ca_is_for_new_connections() {
    let Fixture { listener, accepted, api_server, .. } = fixture(Limits::default());
    let mut kept = listener.connect_with(b"http/1.1", Some(&api_server)).await;
    assert!(ask(&mut kept).await.starts_with("HTTP/1.1 200"));
    let new_ca = Authority::new();
    assert!(accepted.set_ca(b"not PEM").is_err());
    accepted.set_ca(new_ca.pem().as_bytes()).unwrap();
    let old = listener.client_with(&api_server);
    assert!(listener.post_with(&old, "/validate", "{}").await.is_err());
    let new = listener.client_with(&new_ca.client(API_SERVER, ClientAuth));
    assert_eq!(listener.post_with(&new, "/validate", "{}").await.unwrap().0, 200);
    assert!(ask(&mut kept).await.starts_with("HTTP/1.1 200"), "it stays open");
}

/// C4 of the field report: other callers do not take the slots of the API server.
#[tokio::test]
async fn callers_without_a_certificate_get_a_quarter_of_the_slots() {
    let Fixture { listener, api_server, .. } =
        fixture(Limits { connections: 8, ..Limits::default() });
    let mut kept = Vec::new();
    for _ in 0..6 {
        let mut connection = listener.connect_with(b"http/1.1", Some(&api_server)).await;
        assert!(ask(&mut connection).await.starts_with("HTTP/1.1 200"));
        kept.push(connection);
    }
    let mut others = Vec::new();
    for _ in 0..20 {
        let mut other = listener.connect(b"http/1.1").await;
        assert!(ask(&mut other).await.starts_with("HTTP/1.1 403"));
        others.push(other);
        others.push(listener.connect(b"h2").await);
    }
    for connection in &mut kept {
        assert!(ask(connection).await.starts_with("HTTP/1.1 200"), "none was evicted");
    }
    assert_eq!(listener.get("/healthz").await.0, 200);
}

/// An API server that opens many connections at once does not lose any.
#[tokio::test]
async fn many_new_connections_at_once_are_all_served() {
    let Fixture { listener, api_server, .. } =
        fixture(Limits { connections: 8, ..Limits::default() });
    let posts = (0..30).map(|_| {
        let client = listener.client_with(&api_server);
        let listener = &listener;
        async move { listener.post_with(&client, "/validate", "{}").await.unwrap() }
    });
    for (status, text) in join_all(posts).await {
        assert_eq!((status, text.starts_with("validate 2")), (200, true), "{text}");
    }
}

/// With all of its own slots busy, the API server is served as well.
#[tokio::test]
async fn the_longest_running_request_is_given_up_for_a_new_one() {
    let Fixture { listener, api_server, .. } =
        fixture(Limits { connections: 8, ..Limits::default() });
    let url = "/validate?timeout=4s";
    let post = |body: &'static str| {
        let client = listener.client_with(&api_server);
        let listener = &listener;
        async move { listener.post_with(&client, url, body).await.unwrap() }
    };
    let new = async {
        while listener.handler.naps.load(Ordering::Relaxed) < 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let start = Instant::now();
        (post("new").await.0, start.elapsed())
    };
    let (busy, (status, took)) = tokio::join!(join_all((0..6).map(|_| post("sleep"))), new);
    assert_eq!(status, 200);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(busy.iter().any(|(_, text)| text == "denied: busy"), "{busy:?}");
}
