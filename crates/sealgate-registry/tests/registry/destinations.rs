//! Addresses that the gate must not contact, at every hop; connections to many hosts; limits of the
//! process itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::RegistryRead;
use sealgate_registry::{Destinations, Network, Resolver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// HTTP server that gives each request the same response and keeps connections open.
struct Fixed {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Fixed {
    async fn start(at: Ipv4Addr, response: String) -> Self {
        let listener = TcpListener::bind((at, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (Arc::clone(&open), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (response, (open, requests)) = (response.clone(), counters.clone());
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    let mut bytes = [0; 4096];
                    while matches!(stream.read(&mut bytes).await, Ok(length) if length > 0) {
                        requests.fetch_add(1, Ordering::SeqCst);
                        if stream.write_all(response.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Client that may contact 127.0.0.1, but no other special address.
fn restricted(allowed: &[&str]) -> Client {
    let allowed: Vec<Network> = allowed.iter().map(|text| text.parse().unwrap()).collect();
    let resolver = Arc::new(Resolver::from_system());
    let destinations = Destinations::NotSpecial { resolver, allowed };
    Client::new(Options { destinations, ..options() }).unwrap()
}

async fn ask(client: &Client, registry: &str) -> Fault {
    let repository = Repository::parse(&format!("{registry}/a/b")).unwrap();
    client.manifest(&repository, &tag("v1")).await.unwrap_err()
}

const ONE: [&str; 1] = ["127.0.0.1/32"];

#[tokio::test]
async fn a_special_address_is_refused_by_address_and_by_name() {
    let secret = Fixed::start(Ipv4Addr::LOCALHOST, response("200 OK", "", "secret")).await;
    let port = secret.address.port();
    for host in ["127.0.0.1", "localhost"] {
        let fault = ask(&restricted(&[]), &format!("{host}:{port}")).await;
        assert_eq!(fault.kind, FaultKind::AddressNotAllowed, "{fault}");
        assert!(fault.detail.contains("127.0.0.1 is a loopback address"), "{fault}");
    }
    assert_eq!(secret.requests(), 0);
    // Allowed, its answer is read.
    let fault = ask(&restricted(&["127.0.0.0/8", "::1/128"]), &format!("localhost:{port}")).await;
    assert_eq!(fault.kind, FaultKind::Malformed, "{fault}");
}

#[tokio::test]
async fn a_redirect_or_token_endpoint_does_not_lead_to_a_special_address() {
    let secret = Fixed::start(Ipv4Addr::new(127, 0, 0, 2), response("200 OK", "", "secret")).await;
    let port = secret.address.port();
    let redirect = format!("location: http://127.0.0.2:{port}/v2/a/b/manifests/v1\r\n");
    let realm = format!("www-authenticate: Bearer realm=\"http://127.0.0.2:{port}/token\"\r\n");
    for answer in [response("307 Moved", &redirect, ""), response("401 No", &realm, "")] {
        let registry = Fixed::start(Ipv4Addr::LOCALHOST, answer).await;
        let name = registry.address.to_string();
        let fault = ask(&restricted(&ONE), &name).await;
        assert_eq!(fault.kind, FaultKind::AddressNotAllowed, "{fault}");
        assert_eq!(fault.asked.as_deref(), Some(name.as_str()), "{fault}");
        assert_eq!(registry.requests(), 1, "not retried");
        let shown = fault.for_requester().to_string();
        assert!(!shown.contains("127.0.0.2"), "{shown}");
    }
    assert_eq!(secret.requests(), 0);
}

/// The error text of a host that the registry led to never reaches the author of a pod.
#[tokio::test]
async fn only_the_named_registry_is_quoted() {
    let body = r#"{"errors":[{"code":"DENIED","message":"internal words"}]}"#;
    let other = Fixed::start(Ipv4Addr::new(127, 0, 0, 2), response("403 No", "", body)).await;
    let place = format!("http://{}/x", other.address);
    let redirect = format!("location: {place}\r\n");
    let realm = format!("www-authenticate: Bearer realm=\"{place}\"\r\n");
    for answer in [response("307 Moved", &redirect, ""), response("401 No", &realm, "")] {
        let registry = Fixed::start(Ipv4Addr::LOCALHOST, answer).await;
        let fault = ask(&client(), &registry.address.to_string()).await;
        assert!(fault.detail.contains("internal words"), "{fault}");
        let shown = fault.for_requester();
        assert_eq!((shown.kind, shown.status), (FaultKind::Denied, Some(403)));
        assert_eq!(shown.target, registry.address.to_string());
        let text = shown.to_string();
        assert!(!text.contains("internal") && !text.contains("127.0.0.2"), "{text}");
    }
    let named = Fixed::start(Ipv4Addr::LOCALHOST, response("403 No", "", body)).await;
    let fault = ask(&client(), &named.address.to_string()).await;
    assert_eq!(fault.for_requester(), fault);
}

#[tokio::test]
async fn a_refused_redirect_reads_as_no_answer() {
    for location in ["http://eve@10.0.0.1/", "ftp://10.0.0.1/", "http://[::bad"] {
        let answer = response("307 Moved", &format!("location: {location}\r\n"), "");
        let registry = Fixed::start(Ipv4Addr::LOCALHOST, answer).await;
        let fault = ask(&client(), &registry.address.to_string()).await;
        assert_eq!(fault.kind, FaultKind::Malformed, "{fault}");
        let shown = fault.for_requester().to_string();
        assert!(shown.contains("could not be reached") && !shown.contains("10.0.0.1"), "{shown}");
    }
}

/// Idle connections to hosts that pods name once must not use up the descriptors.
#[tokio::test]
async fn connections_to_many_hosts_are_bounded() {
    let missing = response("404 Not Found", "", r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
    let mut servers = Vec::new();
    for _ in 0..300 {
        servers.push(Fixed::start(Ipv4Addr::LOCALHOST, missing.clone()).await);
    }
    let client = client();
    for server in &servers {
        let repository = Repository::parse(&format!("{}/a/b", server.address)).unwrap();
        assert!(client.manifest(&repository, &tag("v1")).await.unwrap().is_none());
    }
    let open = || servers.iter().map(|one| one.open.load(Ordering::SeqCst)).sum::<usize>();
    // The servers see the end of a connection some time later.
    for _ in 0..100 {
        if open() <= 64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((1..=64).contains(&open()), "{} connections are open", open());
    // A host in use keeps its connection.
    let one = &servers[299];
    let before = one.requests();
    let repository = Repository::parse(&format!("{}/a/b", one.address)).unwrap();
    for _ in 0..5 {
        client.manifest(&repository, &tag("v1")).await.unwrap();
    }
    assert_eq!(one.requests(), before + 5);
    assert_eq!(one.open.load(Ordering::SeqCst), 1);
}

#[test]
fn loopback_networks_are_known() {
    let [v4, v6] = Destinations::LOOPBACK;
    assert!(v4.contains(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert!(v6.contains("::1".parse().unwrap()));
}
