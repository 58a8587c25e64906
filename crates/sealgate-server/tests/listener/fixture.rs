//! A listener with a scripted handler, and clients for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sealgate_kube::answer::ReviewResponse;
use sealgate_server::hook::Hook;
use sealgate_server::listener::body::BufferedBody;
use sealgate_server::listener::certificate::{CertificateSlot, ServerCertificate};
use sealgate_server::listener::client_certificates::ClientCertificates;
use sealgate_server::listener::limits::Limits;
use sealgate_server::server::{Running, ServerOptions, start};
use sealgate_server::webhook::review_handler::{HandlerFailure, ReviewHandler};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A handler that does what the body says.
pub(crate) struct ScriptedHandler {
    pub(crate) ready: AtomicBool,
    /// The number of "nap" requests that began.
    pub(crate) naps: AtomicUsize,
    /// The number of "block" requests that began.
    pub(crate) blocked: AtomicUsize,
    /// Ends the "block" requests.
    pub(crate) unblock: AtomicBool,
    /// The number of requests without an accepted client certificate.
    pub(crate) unauthenticated: AtomicUsize,
    /// The number of bodies that were parsed.
    pub(crate) parsed: AtomicUsize,
}

/// A body that was read.
pub(crate) struct ScriptedReview(Vec<u8>);

#[async_trait]
impl ReviewHandler for ScriptedHandler {
    type Review = ScriptedReview;

    fn parse(&self, _hook: Hook, body: BufferedBody) -> Result<ScriptedReview, ReviewResponse> {
        self.parsed.fetch_add(1, Ordering::Relaxed);
        match &body.bytes[..] {
            b"panic in parse" => panic!("as asked"),
            b"malformed" => Err(ReviewResponse {
                status: StatusCode::BAD_REQUEST,
                body: b"malformed".to_vec().into(),
            }),
            bytes => Ok(ScriptedReview(bytes.to_vec())),
        }
    }

    async fn answer(&self, hook: Hook, review: &ScriptedReview, end: Instant) -> ReviewResponse {
        let left = end.saturating_duration_since(Instant::now());
        let ScriptedReview(body) = review;
        match &body[..] {
            b"panic" | b"panic twice" => panic!("as asked"),
            b"block" => {
                self.blocked.fetch_add(1, Ordering::Relaxed);
                while !self.unblock.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            }
            b"nap" => {
                self.naps.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            body if body.starts_with(b"sleep") => {
                self.naps.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            _ => {}
        }
        let body = format!("{} {} {}", hook.name(), body.len(), left.as_millis()).into();
        ReviewResponse { status: StatusCode::OK, body }
    }

    fn deny(
        &self,
        _hook: Hook,
        review: Option<&ScriptedReview>,
        failure: HandlerFailure,
    ) -> ReviewResponse {
        let denial = format!("denied: {}", failure.code()).into();
        let Some(review) = review else {
            return ReviewResponse { status: failure.status(), body: denial };
        };
        assert_ne!(&review.0[..], b"panic twice", "as asked");
        ReviewResponse { status: StatusCode::OK, body: denial }
    }

    fn unauthenticated(&self, _hook: Hook) {
        self.unauthenticated.fetch_add(1, Ordering::Relaxed);
    }

    fn ready(&self) -> Result<String, String> {
        match self.ready.load(Ordering::Relaxed) {
            true => Ok("2 policies".to_owned()),
            false => Err("no policies yet".to_owned()),
        }
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

/// A certificate authority of the test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with this common name, for `usage`.
    pub(crate) fn client(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let leaf = params.signed_by(&key, &self.0).unwrap();
        ClientCertificate { certificate: leaf.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn issue(&self) -> ServerCertificate {
        let key = KeyPair::generate().unwrap();
        let params =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        ServerCertificate::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

/// A client certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A listener that serves a scripted handler.
pub(crate) struct ListenerFixture {
    pub(crate) handler: Arc<ScriptedHandler>,
    pub(crate) authority: Authority,
    pub(crate) slot: Arc<CertificateSlot>,
    pub(crate) running: Running,
}

pub(crate) fn listener(limits: Limits) -> ListenerFixture {
    listener_with(limits, None, None)
}

/// Variant with an address for metrics, and client certificates.
pub(crate) fn listener_with(
    limits: Limits,
    metrics_listen: Option<SocketAddr>,
    clients: Option<Arc<ClientCertificates>>,
) -> ListenerFixture {
    let authority = Authority::new();
    let slot = CertificateSlot::holding(authority.issue());
    let handler = Arc::new(ScriptedHandler {
        ready: AtomicBool::new(true),
        naps: AtomicUsize::new(0),
        blocked: AtomicUsize::new(0),
        unblock: AtomicBool::new(false),
        unauthenticated: AtomicUsize::new(0),
        parsed: AtomicUsize::new(0),
    });
    let options = ServerOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        metrics_listen,
        certificate: Arc::clone(&slot),
        clients,
        limits,
    };
    let running = start(Arc::clone(&handler), &options).unwrap();
    ListenerFixture { handler, authority, slot, running }
}

/// Waits until `/readyz` is 503: the gate drains.
pub(crate) async fn drains(client: &reqwest::Client, ready: &str) {
    loop {
        let answer = client.get(ready).send().await.expect("a gate that drains answers");
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl ListenerFixture {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running.address())
    }

    /// A client with this certificate.
    pub(crate) fn client_with(&self, client: &ClientCertificate) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let pem = format!("{}{}", client.certificate, client.key);
        let identity = reqwest::Identity::from_pem(pem.as_bytes()).unwrap();
        let builder = reqwest::Client::builder().tls_certs_only([authority]).identity(identity);
        builder.no_proxy().build().unwrap()
    }

    pub(crate) fn client(&self) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap()
    }

    /// POSTs to `path`, gives status and body.
    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> (u16, String) {
        self.post_with(&self.client(), path, body).await.unwrap()
    }

    /// Variant with another client.
    pub(crate) async fn post_with(
        &self,
        client: &reqwest::Client,
        path: &str,
        body: impl Into<String>,
    ) -> reqwest::Result<(u16, String)> {
        let request = client.post(self.url(path)).header("content-type", "application/json");
        let answer = request.body(body.into()).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client().get(self.url(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A bare TLS connection that agreed on `protocol`.
    pub(crate) async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        self.connect_with(protocol, None).await
    }

    /// Variant with a client certificate.
    pub(crate) async fn connect_with(
        &self,
        protocol: &[u8],
        client: Option<&ClientCertificate>,
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(client) => {
                let leaf = CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![leaf], key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.running.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}
