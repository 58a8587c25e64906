//! Health on the address for metrics, while every thread that answers reviews is blocked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sealgate_server::listener::limits::Limits;
use tokio::runtime::Builder;

use crate::fixture::listener_with;

/// GETs `path` over plain HTTP, without a runtime.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn health_is_answered_while_every_worker_is_blocked() {
    let gate = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clients = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let listener = {
        let _runtime = gate.enter();
        listener_with(Limits::default(), metrics, None)
    };
    let (address, url) = (listener.running.metrics_address().unwrap(), listener.url("/healthz"));
    let is_blocked = || {
        let health = async { listener.client().get(&url).send().await };
        let health = clients
            .block_on(async { tokio::time::timeout(Duration::from_millis(300), health).await });
        health.is_err()
    };
    while !is_blocked() {
        let request = listener.client().post(listener.url("/validate"));
        let request = request.header("content-type", "application/json").body("block");
        clients.spawn(request.send());
    }
    assert!(listener.handler.blocked.load(Ordering::Relaxed) > 0);
    // The best of several: other processes use the machine as well.
    let best = (0..10).map(|_| {
        let start = Instant::now();
        let answer = get(address, "/healthz");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        assert!(get(address, "/metrics").contains("# EOF"));
        start.elapsed()
    });
    let best = best.min().unwrap();
    assert!(is_blocked());
    assert!(best < Duration::from_millis(100), "{best:?}");
    listener.handler.unblock.store(true, Ordering::Relaxed);
    gate.block_on(listener.running.stop());
    assert!(TcpStream::connect(address).is_err(), "the thread has ended");
}

#[test]
fn a_server_that_is_dropped_ends_its_thread() {
    let gate = Builder::new_current_thread().enable_all().build().unwrap();
    let listener = gate.block_on(async {
        listener_with(Limits::default(), Some("127.0.0.1:0".parse().unwrap()), None)
    });
    let address = listener.running.metrics_address().unwrap();
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
    drop(listener);
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
}
