//! Slow, stalled and idle clients.

use std::time::{Duration, Instant};

use sealgate_server::listener::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::fixture::listener;

const TIMEOUT: Duration = Duration::from_secs(10);

fn short() -> Limits {
    Limits {
        handshake: Duration::from_millis(300),
        headers: Duration::from_millis(300),
        body: Duration::from_millis(300),
        idle: Duration::from_millis(800),
        ..Limits::default()
    }
}

/// Waits until the other side closes; returns what was received before.
async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut bytes));
    let _ = read.await.expect("the connection must be closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_aborted() {
    let listener = listener(short());
    let mut stream = TcpStream::connect(listener.running.address()).await.unwrap();
    assert_eq!(until_closed(&mut stream).await, "");
}

#[tokio::test]
async fn headers_that_do_not_end_are_aborted() {
    let listener = listener(Limits { idle: Duration::from_secs(60), ..short() });
    let start = Instant::now();
    let mut stream = listener.connect(b"http/1.1").await;
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let drip = async {
        write.write_all(b"POST /validate HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        while write.write_all(b"A: b\r\n").await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = drip => {}
        _ = until_closed(&mut read) => {}
    }
    assert!(start.elapsed() < TIMEOUT);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered_and_aborted() {
    let listener = listener(short());
    let mut stream = listener.connect(b"http/1.1").await;
    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 1000\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with("HTTP/1.1 408"));
}

/// Most of several large bodies uses up the budget of all bodies, and then nothing arrives.
#[tokio::test]
async fn stalled_bodies_are_aborted_for_new_ones() {
    let listener = listener(Limits { body_bytes_total: 1000, ..Limits::default() });
    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 500\r\n\r\n";
    let mut stalled = Vec::new();
    for length in [499, 499, 2] {
        let mut stream = listener.connect(b"http/1.1").await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all("x".repeat(length).as_bytes()).await.unwrap();
        stalled.push(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(listener.post("/validate", "x".repeat(100)).await.0, 200);
    assert!(until_closed(&mut stalled[0]).await.starts_with("HTTP/1.1 503"));
    // The second one left enough of the budget.
    stalled[1].write_all(b"x").await.unwrap();
    let mut answer = [0; 12];
    stalled[1].read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn an_idle_connection_of_either_protocol_is_closed() {
    let listener = listener(short());
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut stream = listener.connect(protocol).await;
        until_closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_pause_between_requests_does_not_count_as_slow() {
    let listener = listener(Limits { idle: Duration::from_secs(60), ..short() });
    let mut stream = listener.connect(b"http/1.1").await;
    let mut buffer = [0; 512];
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..length].starts_with(b"HTTP/1.1 200"));
        // Longer than headers may take: the next request has not begun.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A client can open as many idle connections as there are slots.
#[tokio::test]
async fn idle_and_slow_connections_are_evicted_for_active_ones() {
    let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 1000\r\n\r\nhalf";
    let whole = head.replace("1000", "4");
    let listener = listener(Limits { connections: 4, ..Limits::default() });
    let mut kept = listener.connect(b"http/1.1").await;
    let ask = async |kept: &mut TlsStream<TcpStream>| {
        let mut answer = [0; 12];
        kept.write_all(whole.as_bytes()).await.unwrap();
        kept.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut rest = [0; 512];
        assert!(kept.read(&mut rest).await.unwrap() > 0);
    };
    ask(&mut kept).await;
    let mut idle = Vec::new();
    let start = Instant::now();
    for _ in 0..4 {
        let raw = TcpStream::connect(listener.running.address()).await.unwrap();
        let silent = listener.connect(b"h2").await;
        let mut slow = listener.connect(b"http/1.1").await;
        slow.write_all(head.as_bytes()).await.unwrap();
        idle.push((raw, silent, slow));
        assert_eq!(listener.get("/healthz").await.0, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // A connection with a request before is not evicted for those without any.
    ask(&mut kept).await;
}

#[tokio::test]
async fn a_connection_is_not_evicted_while_its_request_is_answered() {
    let listener = listener(Limits { connections: 2, ..Limits::default() });
    let (first, second, third) =
        tokio::join!(listener.post("/validate", "nap"), listener.post("/validate", "nap"), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            listener.post("/validate", "later").await
        });
    assert_eq!([first.0, second.0, third.0], [200; 3]);
}
