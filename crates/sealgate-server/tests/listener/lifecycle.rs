//! Replacement of the certificate, and the orderly end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sealgate_server::listener::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{drains, listener};

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_old_ones_go_on() {
    let listener = listener(Limits::default());
    let old = listener.connect(b"http/1.1").await;
    let old_leaf = old.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let next = listener.authority.issue();
    let next_leaf = next.leaf().to_vec();
    listener.slot.set(next);
    let new = listener.connect(b"http/1.1").await;
    assert_eq!(new.get_ref().1.peer_certificates().unwrap()[0].to_vec(), next_leaf);
    assert_ne!(old_leaf, next_leaf);
    let mut old = old;
    old.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_certificate_has_its_expiry() {
    let listener = listener(Limits::default());
    // rcgen's default certificates end with the year 4095.
    assert_eq!(listener.slot.current().unwrap().not_after().to_string(), "4096-01-01T00:00:00Z");
}

#[tokio::test]
async fn stopping_finishes_running_requests_and_accepts_no_new_ones() {
    let listener = listener(Limits { lame_duck: Duration::from_millis(200), ..Limits::default() });
    let address = listener.running.address();
    let client = listener.client();
    let url = listener.url("/validate");
    let ready = listener.url("/readyz");
    let running = tokio::spawn(
        client.post(url).header("content-type", "application/json").body("nap").send(),
    );
    while listener.handler.naps.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stop = tokio::spawn(listener.running.stop());
    drains(&client, &ready).await;
    assert_eq!(running.await.unwrap().unwrap().status(), 200);
    stop.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// The API server calls a webhook over HTTP/1.1 and does not retry: a connection that ends during a
/// call is a failed admission. So the response before the end announces it.
#[tokio::test]
async fn a_gate_that_drains_announces_the_end_of_the_connection() {
    let listener = listener(Limits { lame_duck: Duration::from_millis(500), ..Limits::default() });
    let mut kept = listener.connect(b"http/1.1").await;
    let ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    kept.write_all(ask).await.unwrap();
    let mut first = vec![0; 1024];
    let read = kept.read(&mut first).await.unwrap();
    let first = String::from_utf8_lossy(&first[..read]).to_lowercase();
    assert!(first.starts_with("http/1.1 200") && !first.contains("connection: close"), "{first}");
    let (client, ready) = (listener.client(), listener.url("/readyz"));
    let stop = tokio::spawn(listener.running.stop());
    drains(&client, &ready).await;
    kept.write_all(ask).await.unwrap();
    let mut last = String::new();
    // To the end of the connection, which comes with the answer and not with the gate's.
    let read = tokio::time::timeout(Duration::from_millis(300), kept.read_to_string(&mut last));
    read.await.expect("the connection ends").unwrap();
    let last = last.to_lowercase();
    assert!(last.starts_with("http/1.1 200") && last.contains("connection: close"), "{last}");
    stop.await.unwrap();
}
