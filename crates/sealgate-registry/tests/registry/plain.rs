//! Plain HTTP registries, with an attacker on the network path.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use sealgate_engine::ports::{PullSecret, RegistryAccess, RegistryRead};
use sealgate_registry::credentials::{Credential, Keychain, Secret};
use sealgate_registry::{Client, InsecureRegistries, Options, TlsRoots};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::tls::Authority;
use super::*;

/// Port that accepts TLS and plain HTTP, with counts of the requests on each.
struct Port {
    address: SocketAddr,
    /// Number of TLS connections to reset before the handshake.
    resets: AtomicUsize,
    /// True to answer TLS handshakes with plain text.
    no_tls: AtomicBool,
    /// Response to requests over TLS, and to those over plain HTTP.
    over_tls: Mutex<Behaviour>,
    over_http: Mutex<Behaviour>,
    tls: Mutex<Vec<String>>,
    http: Mutex<Vec<String>>,
    /// TLS handshakes started.
    hellos: AtomicUsize,
    /// Registry without TLS that answers all connections instead.
    inside: Mutex<Option<SocketAddr>>,
}

#[derive(Clone)]
enum Behaviour {
    Manifest,
    /// The manifest, for requests with credentials; otherwise a challenge.
    Asks(String),
    /// Response of Go's servers to plain HTTP on a TLS port.
    WantsTls,
    Token,
}

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;

impl Behaviour {
    fn answer(&self, head: &str) -> String {
        let whole = |status: &str, header: &str, body: &str| {
            let length = body.len();
            let body = if head.starts_with("HEAD") { "" } else { body };
            format!(
                "HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            )
        };
        match self {
            Self::Asks(challenge) if authorization(head).is_none() => {
                whole("401 Unauthorized", &format!("WWW-Authenticate: {challenge}"), "")
            }
            Self::Manifest | Self::Asks(_) => {
                let kind = format!("Content-Type: {}", media_type::OCI_MANIFEST);
                whole("200 OK", &kind, MANIFEST)
            }
            Self::WantsTls => {
                let words = "Client sent an HTTP request to an HTTPS server.\n";
                whole("400 Bad Request", "Content-Type: text/plain", words)
            }
            Self::Token => {
                whole("200 OK", "Content-Type: application/json", r#"{"token":"bought"}"#)
            }
        }
    }
}

fn authorization(head: &str) -> Option<&str> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization").then_some(value.trim())
    })
}

/// Address of this machine that is not loopback, for which other rules hold. No packet is sent.
fn outside() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a network interface besides loopback");
    socket.local_addr().unwrap().ip()
}

impl Port {
    async fn open(authority: &Authority) -> Arc<Self> {
        let ip = outside();
        let (certificate, key) = authority.issue(&ip.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            resets: AtomicUsize::new(0),
            no_tls: AtomicBool::new(false),
            over_tls: Mutex::new(Behaviour::Manifest),
            over_http: Mutex::new(Behaviour::Manifest),
            tls: Mutex::default(),
            http: Mutex::default(),
            hellos: AtomicUsize::new(0),
            inside: Mutex::default(),
        });
        let own = port.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (port, acceptor) = (own.clone(), acceptor.clone());
                tokio::spawn(async move { port.serve(stream, acceptor).await });
            }
        });
        port
    }

    async fn serve(&self, stream: TcpStream, acceptor: TlsAcceptor) {
        let mut first = [0];
        if stream.peek(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        let is_tls = first[0] == 0x16;
        self.hellos.fetch_add(usize::from(is_tls), Ordering::SeqCst);
        let inside = *self.inside.lock().unwrap();
        if let Some(inside) = inside {
            let (mut outer, mut inner) = (stream, TcpStream::connect(inside).await.unwrap());
            let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            return;
        }
        if !is_tls {
            return self.say(stream, &self.over_http, &self.http).await;
        }
        let less = |left: usize| left.checked_sub(1);
        if self.resets.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            stream.set_zero_linger().unwrap();
            return;
        }
        if self.no_tls.load(Ordering::SeqCst) {
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            // Waits until the peer has read everything.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return;
        }
        if let Ok(stream) = acceptor.accept(stream).await {
            self.say(stream, &self.over_tls, &self.tls).await;
        }
    }

    async fn say(
        &self,
        mut stream: impl AsyncRead + AsyncWriteExt + Unpin,
        says: &Mutex<Behaviour>,
        log: &Mutex<Vec<String>>,
    ) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let answer = says.lock().unwrap().answer(&head);
        log.lock().unwrap().push(head);
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn repository(&self) -> Repository {
        Repository::parse(&format!("{}/a/b", self.address)).unwrap()
    }

    /// Requests with credentials, over TLS and over plain HTTP.
    fn with_credentials(&self) -> (usize, usize) {
        let count = |log: &Mutex<Vec<String>>| {
            log.lock().unwrap().iter().filter(|head| authorization(head).is_some()).count()
        };
        (count(&self.tls), count(&self.http))
    }

    fn asked(&self) -> (usize, usize) {
        (self.tls.lock().unwrap().len(), self.http.lock().unwrap().len())
    }

    fn clear(&self) {
        self.tls.lock().unwrap().clear();
        self.http.lock().unwrap().clear();
    }

    /// Client that may contact this registry over plain HTTP, with a password for it, and the list
    /// that allows it.
    fn client(&self, authority: &Authority) -> (Client, InsecureRegistries) {
        let ada = Credential::Password { username: "ada".into(), password: Secret::new("hunter2") };
        let options = Options {
            tls_roots: TlsRoots::Only(authority.pem()),
            keychain: Keychain::default().with_credential(&self.address.to_string(), ada),
            ..options()
        };
        let list = options.insecure.clone();
        list.set([self.address.to_string()]);
        (Client::new(options).unwrap(), list)
    }
}

fn set(slot: &Mutex<Behaviour>, behaviour: Behaviour) {
    *slot.lock().unwrap() = behaviour;
}

/// An attacker present while plain HTTP was allowed must not decide where passwords go afterwards.
#[tokio::test]
async fn a_challenge_over_plain_http_does_not_outlive_it() {
    let authority = Authority::new();
    let (registry, hostile) = (Port::open(&authority).await, Port::open(&authority).await);
    set(&hostile.over_tls, Behaviour::Token);
    let realm = format!("Bearer realm=\"https://{}/token\"", hostile.address);
    set(&registry.over_http, Behaviour::Asks(realm));
    set(&registry.over_tls, Behaviour::Asks("Basic realm=x".to_owned()));
    registry.no_tls.store(true, Ordering::SeqCst);
    let list = InsecureRegistries::default();
    list.set([registry.address.to_string()]);
    let trust = TlsRoots::Only(authority.pem());
    let process =
        Client::new(Options { tls_roots: trust, insecure: list.clone(), ..options() }).unwrap();
    process.resolve(&registry.repository(), &tag("v1")).await.unwrap();
    assert!(hostile.asked().0 > 0, "it chose the token endpoint");

    list.set([]);
    registry.no_tls.store(false, Ordering::SeqCst);
    registry.clear();
    hostile.clear();
    let json = serde_json::json!({
        "auths": { registry.address.to_string(): { "username": "ada", "password": "hunter2" } },
    });
    let secret = PullSecret { docker_config_json: json.to_string().into_bytes() };
    let found = process.open(&[secret], &lease()).resolve(&registry.repository(), &tag("v1")).await;
    assert!(found.unwrap().is_some());
    assert_eq!(hostile.asked(), (0, 0));
    assert_eq!(registry.with_credentials(), (2, 0), "HEAD without a digest, then GET");
}

/// HTTPS is tried first each time: one broken connection must not expose the passwords from then
/// on.
#[tokio::test]
async fn a_connection_reset_does_not_downgrade_to_plain_http() {
    let authority = Authority::new();
    for answer in
        [Behaviour::WantsTls, Behaviour::Manifest, Behaviour::Asks("Basic realm=x".to_owned())]
    {
        let port = Port::open(&authority).await;
        set(&port.over_tls, Behaviour::Asks("Basic realm=x".to_owned()));
        set(&port.over_http, answer.clone());
        let (client, _) = port.client(&authority);
        let resolve = async || client.resolve(&port.repository(), &tag("v1")).await;
        port.resets.store(1, Ordering::SeqCst);
        assert!(resolve().await.unwrap().is_some());
        port.clear();
        for _ in 0..3 {
            assert!(resolve().await.unwrap().is_some());
        }
        assert!(port.with_credentials().0 >= 3);
        assert_eq!(port.asked().1, 0, "nothing over plain HTTP");
        // Once it has spoken TLS, it is never downgraded to plain HTTP.
        port.resets.store(usize::MAX, Ordering::SeqCst);
        assert!(resolve().await.is_err());
        assert_eq!(port.asked().1, 0);
    }
}

/// A port that answers TLS with plain text is contacted over plain HTTP, until it requires TLS.
#[tokio::test]
async fn a_registry_without_tls_is_remembered_until_it_has_tls() {
    let served = served(serve::Options::default()).await;
    let authority = Authority::new();
    let port = Port::open(&authority).await;
    *port.inside.lock().unwrap() = Some(served.addr());
    let (client, _) = port.client(&authority);
    let image = push_image(&client, &port.repository(), "v1").await;
    let hellos = port.hellos.swap(0, Ordering::SeqCst);
    assert_eq!(hellos, 1, "asked once whether it speaks TLS");
    assert_eq!(client.resolve(&port.repository(), &tag("v1")).await.unwrap(), Some(image));
    assert_eq!(port.hellos.load(Ordering::SeqCst), 0);
    // Now the same port has TLS.
    *port.inside.lock().unwrap() = None;
    served.stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    set(&port.over_http, Behaviour::WantsTls);
    for _ in 0..2 {
        let found = client.manifest(&port.repository(), &tag("v1")).await;
        assert!(found.unwrap().is_some());
    }
    assert_eq!(port.asked(), (2, 1));
}
