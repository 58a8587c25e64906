use std::time::Instant as Clock;

use axum::body::Body;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::fixture::{Service, answer, client, options, with};
use super::request::MAX_TOKEN;
use super::*;

fn get(url: &str) -> Request {
    Request::get(service_url(url).unwrap())
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let service = Service::start(|number, _| match number {
        0 => answer(500, "oh"),
        1 => answer(503, ""),
        2 => answer(429, ""),
        _ => answer(200, "fine"),
    })
    .await;
    let got = client().send(get(&service.url)).await.unwrap();
    assert_eq!(got.body, "fine");
    assert_eq!(service.seen().len(), 4);
}

#[tokio::test]
async fn persistent_failures_are_faults_with_the_services_message() {
    let service =
        Service::start(|_, _| answer(500, r#"{"code":500,"message":"tree\nis ill"}"#)).await;
    let fault = client().send(get(&service.url)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::ServerError);
    assert_eq!(fault.target, format!("{}/", service.url));
    assert_eq!(fault.detail, "answered 500 Internal Server Error: tree is ill");
    assert_eq!(service.seen().len(), 4);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let service = Service::start(|number, _| match number {
        0 => with(answer(429, ""), "retry-after", "1"),
        _ => answer(200, ""),
    })
    .await;
    let start = Clock::now();
    client().send(get(&service.url)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn long_retry_after_is_not_waited_for() {
    let service = Service::start(|_, _| with(answer(429, ""), "retry-after", "3600")).await;
    let fault = client().send(get(&service.url)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Throttled);
    assert_eq!(fault.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(service.seen().len(), 1);
}

#[tokio::test]
async fn the_budget_ends_what_never_succeeds() {
    let service = Service::start(|_, _| answer(502, "")).await;
    let mut options = options();
    options.retries.budget = 2;
    let client = Client::new(&options).unwrap();
    let fault = client.send(get(&service.url)).await.unwrap_err();
    assert!(fault.detail.ends_with("too many recent failures)"), "{fault}");
    assert_eq!(service.seen().len(), 3);
}

#[tokio::test]
async fn refusals_are_not_repeated_and_have_their_kinds() {
    for (status, kind) in [
        (400, FaultKind::Denied),
        (401, FaultKind::Unauthorized),
        (403, FaultKind::Denied),
        (404, FaultKind::Missing),
        (304, FaultKind::Malformed),
    ] {
        let service = Service::start(move |_, _| answer(status, "")).await;
        let got = client().send(get(&service.url)).await.unwrap();
        assert_eq!(got.success().unwrap_err().kind, kind, "{status}");
        assert_eq!(service.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_token_comes_back_in_no_message() {
    let service = Service::start(|_, seen| {
        let said = seen.headers[AUTHORIZATION].to_str().unwrap().to_owned();
        answer(400, format!(r#"{{"message":"what is {said}?"}}"#))
    })
    .await;
    let request = get(&service.url).bearer("eyJhbGciOiJub25lIn0.e30.sig").unwrap();
    assert!(!format!("{request:?}").contains("eyJ"));
    let got = client().send(request).await.unwrap();
    assert!(!format!("{got:?}").contains("Bearer eyJ"), "{got:?}");
    let fault = got.success().unwrap_err();
    assert_eq!(fault.detail, "answered 400 Bad Request: what is Bearer …?");
}

#[test]
fn a_token_that_is_none_is_not_sent() {
    let request = || get("https://fulcio.example");
    assert_eq!(request().bearer("a\nb: c").unwrap_err().kind, FaultKind::Config);
    assert!(request().bearer(&"a".repeat(MAX_TOKEN + 1)).is_err());
    assert!(request().bearer(&"a".repeat(MAX_TOKEN)).is_ok());
}

#[tokio::test]
async fn too_large_answers_are_not_taken() {
    let chunks = || Body::from_stream(futures::stream::repeat_with(|| Ok::<_, String>("x")));
    let service = Service::start(move |_, seen| match seen.path.as_str() {
        "/said" => answer(200, "x".repeat(101)),
        "/fits" => answer(200, "x".repeat(100)),
        _ => answer(200, chunks()),
    })
    .await;
    let send = |path: &str| {
        let request = get(&format!("{}{path}", service.url)).limit(100);
        async move { client().send(request).await }
    };
    assert_eq!(send("/fits").await.unwrap().body.len(), 100);
    assert_eq!(send("/said").await.unwrap_err().kind, FaultKind::TooLarge);
    assert_eq!(send("/endless").await.unwrap_err().kind, FaultKind::TooLarge);
}

#[tokio::test]
async fn an_endless_refusal_ends() {
    let chunks = || Body::from_stream(futures::stream::repeat_with(|| Ok::<_, String>("no ")));
    let service = Service::start(move |_, _| answer(403, chunks())).await;
    let got = client().send(get(&service.url)).await.unwrap();
    assert_eq!(got.body.len(), MAX_ERROR_BODY);
    assert!(got.fault().detail.chars().count() < MAX_QUOTED + 40);
}

#[tokio::test]
async fn redirects_stay_at_the_origin() {
    let other = Service::start(|_, _| answer(200, "stolen")).await;
    let away = other.url.clone();
    let service = Service::start(move |_, seen| match seen.path.as_str() {
        "/near" => with(answer(307, ""), "location", "/there"),
        "/far" => with(answer(307, ""), "location", &away),
        "/round" => with(answer(307, ""), "location", "/round"),
        _ => answer(200, seen.body.clone()),
    })
    .await;
    let send = |path: &str| {
        let url = service_url(&format!("{}{path}", service.url)).unwrap();
        let request = Request::post(url, "text/plain", "hello").bearer("secret").unwrap();
        async move { client().send(request).await }
    };
    assert_eq!(send("/near").await.unwrap().body, "hello");
    let fault = send("/far").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Malformed);
    assert!(fault.detail.contains("another origin"), "{fault}");
    assert!(other.seen().is_empty());
    assert!(send("/round").await.unwrap_err().detail.contains("redirects"));
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut options = options();
    options.timeouts.attempt = Duration::from_millis(50);
    options.retries.max = 1;
    let fault = Client::new(&options).unwrap().send(get(&url)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Timeout);
    drop(listener);
    let fault = Client::new(&options).unwrap().send(get(&url)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
}

#[test]
fn addresses_of_services() {
    for url in ["https://a.example", "http://127.0.0.1:3000/x/", "https://a.example/t?tenant=1"] {
        assert_eq!(service_url(url).map(|url| url.scheme().len() > 3), Ok(true), "{url}");
    }
    for url in
        ["", "a.example", "ftp://a.example", "file:///etc/passwd", "https://a.example/#f", "https:"]
    {
        assert_eq!(service_url(url).unwrap_err().kind, FaultKind::Config, "{url}");
    }
    let fault = service_url("https://me:hunter2@a.example/").unwrap_err();
    assert!(!fault.to_string().contains("hunter2"), "{fault}");
    let joined = |base: &str| below(&service_url(base).unwrap(), "api/v1").to_string();
    assert_eq!(joined("https://a.example"), "https://a.example/api/v1");
    assert_eq!(joined("https://a.example/rekor/"), "https://a.example/rekor/api/v1");
}

/// TLS server named `tsa.example` that requires client certificates from its own CA.
struct TlsServer {
    url: String,
    authority: String,
    client: ClientIdentity,
}

async fn tls_server() -> TlsServer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = issue("tsa.example");
    let (own, own_key) = issue("client.example");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::Pkcs8(server_key.serialize_der().into()),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    let key = own_key.serialize_pem().into_bytes().into();
    let client = ClientIdentity { certificates: own.pem().into_bytes(), key };
    TlsServer { url, authority: authority.pem(), client }
}

#[tokio::test]
async fn a_server_with_its_own_authority_wants_a_client_certificate() {
    let server = tls_server().await;
    let good = Options {
        tls_roots: TlsRoots::Only(server.authority.clone().into_bytes()),
        identity: Some(server.client.clone()),
        server_name: Some("tsa.example".to_owned()),
        ..options()
    };
    let send = |options: Options| {
        let request = get(&server.url);
        async move { Client::new(&options).unwrap().send(request).await }
    };
    assert_eq!(send(good.clone()).await.unwrap().body, "ok");
    let unknown = Options { tls_roots: TlsRoots::System, ..good.clone() };
    let fault = send(unknown).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
    let misnamed = Options { server_name: None, ..good.clone() };
    let fault = send(misnamed).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
    let anonymous = Options { identity: None, ..good.clone() };
    assert!(send(anonymous).await.is_err());
    assert!(!format!("{good:?}").contains("PRIVATE KEY"));
}

#[test]
fn options_that_cannot_be_used_are_refused() {
    let fault = |options: Options| Client::new(&options).unwrap_err();
    let trust = TlsRoots::Only(b"no certificate".to_vec());
    assert_eq!(fault(Options { tls_roots: trust, ..options() }).kind, FaultKind::Config);
    let server_name = Some("not a name".to_owned());
    assert_eq!(fault(Options { server_name, ..options() }).kind, FaultKind::Config);
    let identity = ClientIdentity { certificates: Vec::new(), key: Vec::new().into() };
    assert_eq!(fault(Options { identity: Some(identity), ..options() }).kind, FaultKind::Config);
}
