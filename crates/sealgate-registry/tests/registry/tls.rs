//! TLS: trusted certificates, client certificates, and no silent fallback to plain HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sealgate_core::fault::FaultKind;
use sealgate_engine::ports::RegistryRead;
use sealgate_registry::serve::{self, Failure, Rule, Served};
use sealgate_registry::{Client, ClientCertScope, ClientIdentity, Options, PlainHttp, TlsRoots};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.0.as_ref().pem().into_bytes()
    }

    /// Issues a certificate for `name`, with its key.
    pub(crate) fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// TLS-terminating proxy in front of a registry.
async fn tls_proxy(served: &Served, authority: &Authority, name: &str, ask: bool) -> SocketAddr {
    let (certificate, key) = authority.issue(name);
    tls_proxy_with(served, authority, certificate.der().clone(), &key, ask).await
}

async fn tls_proxy_with(
    served: &Served,
    authority: &Authority,
    certificate: rustls_pki_types::CertificateDer<'static>,
    key: &KeyPair,
    ask: bool,
) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.as_ref().der().clone()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let builder = match ask {
        true => builder.with_client_cert_verifier(clients.build().unwrap()),
        false => builder.with_no_client_auth(),
    };
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    tls_proxy_of(served, builder.with_single_cert(vec![certificate], key).unwrap()).await
}

async fn tls_proxy_of(served: &Served, config: ServerConfig) -> SocketAddr {
    let (acceptor, inside) = (TlsAcceptor::from(Arc::new(config)), served.addr());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((outer, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outer) = acceptor.accept(outer).await else { return };
                let mut inner = TcpStream::connect(inside).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    addr
}

async fn ask(addr: SocketAddr, change: impl FnOnce(&mut Options)) -> Result<bool, FaultKind> {
    let mut options = options();
    change(&mut options);
    let repository = Repository::parse(&format!("{addr}/a/b")).unwrap();
    let found = Client::new(options).unwrap().resolve(&repository, &tag("v1")).await;
    found.map(|d| d.is_some()).map_err(|fault| fault.kind)
}

async fn with_image() -> Served {
    let served = served(serve::Options::default()).await;
    push_image(&client(), &repository(&served, "a/b"), "v1").await;
    served
}

#[tokio::test]
async fn only_trusted_certificates_are_good() {
    let (served, authority) = (with_image().await, Authority::new());
    let addr = tls_proxy(&served, &authority, "127.0.0.1", false).await;
    let other = Authority::new().pem();
    served.clear_log();
    assert_eq!(ask(addr, |_| {}).await, Err(FaultKind::Tls));
    for trust in [TlsRoots::System, TlsRoots::Only(other.clone()), TlsRoots::SystemAnd(other)] {
        let found = ask(addr, |o| {
            o.tls_roots = trust.clone();
            o.plain_http = PlainHttp::Anywhere;
        });
        assert_eq!(found.await, Err(FaultKind::Tls), "{trust:?}");
    }
    assert_eq!(served.log(), []);
    for trust in [
        TlsRoots::Only(authority.pem()),
        TlsRoots::SystemAnd(authority.pem()),
        TlsRoots::DangerousAnyCertificate,
    ] {
        assert_eq!(ask(addr, |o| o.tls_roots = trust.clone()).await, Ok(true), "{trust:?}");
    }
}

#[tokio::test]
async fn the_name_must_be_the_hosts_or_the_one_that_was_given() {
    let (served, authority) = (with_image().await, Authority::new());
    let addr = tls_proxy(&served, &authority, "registry.internal", false).await;
    let named = async |name: Option<&str>| {
        let name = name.map(str::to_owned);
        ask(addr, |o| {
            o.tls_roots = TlsRoots::Only(authority.pem());
            o.server_name = name;
        })
        .await
    };
    assert_eq!(named(None).await, Err(FaultKind::Tls));
    assert_eq!(named(Some("other.internal")).await, Err(FaultKind::Tls));
    assert_eq!(named(Some("registry.internal")).await, Ok(true));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (served, authority) = (with_image().await, Authority::new());
    let addr = tls_proxy(&served, &authority, "127.0.0.1", true).await;
    let trust = TlsRoots::Only(authority.pem());
    assert!(ask(addr, |o| o.tls_roots = trust.clone()).await.is_err());
    let shown = async |issuer: &Authority| {
        let (certificate, key) = issuer.issue("client");
        let identity = ClientIdentity {
            certificates: certificate.pem().into_bytes(),
            key: zeroize::Zeroizing::new(key.serialize_pem().into_bytes()),
        };
        ask(addr, |o| {
            o.tls_roots = trust.clone();
            o.identity = Some(identity);
        })
        .await
    };
    assert!(shown(&Authority::new()).await.is_err());
    assert_eq!(shown(&authority).await, Ok(true));
}

/// No other server gets the client certificate, not even the target of a redirect.
#[tokio::test]
async fn a_client_certificate_for_one_registry_is_shown_to_no_other() {
    let (served, authority) = (with_image().await, Authority::new());
    let own = tls_proxy(&served, &authority, "127.0.0.1", true).await;
    let other = tls_proxy(&served, &authority, "127.0.0.1", true).await;
    let (certificate, key) = authority.issue("client");
    let shown_to = async |registry: SocketAddr, asked: SocketAddr| {
        let identity = ClientIdentity {
            certificates: certificate.pem().into_bytes(),
            key: zeroize::Zeroizing::new(key.serialize_pem().into_bytes()),
        };
        ask(asked, |o| {
            o.tls_roots = TlsRoots::Only(authority.pem());
            o.identity = Some(identity);
            o.identity_scope = ClientCertScope::Registry(registry.to_string());
        })
        .await
    };
    assert_eq!(shown_to(own, own).await, Ok(true));
    assert!(shown_to(own, other).await.is_err());
    let redirect = Failure::Redirect(format!("https://{own}/v2/a/b/manifests/v1"));
    served.inject(Rule::times("/manifests/", 1, redirect));
    assert_eq!(shown_to(own, own).await, Ok(true));
    let redirect = Failure::Redirect(format!("https://{other}/v2/a/b/manifests/v1"));
    served.inject(Rule::times("/manifests/", 1, redirect));
    assert!(shown_to(own, own).await.is_err());
}

fn identity(authority: &Authority) -> ClientIdentity {
    let (certificate, key) = authority.issue("client");
    ClientIdentity {
        certificates: certificate.pem().into_bytes(),
        key: zeroize::Zeroizing::new(key.serialize_pem().into_bytes()),
    }
}

/// The registry named in a pod must not obtain responses with our identity: neither by redirecting
/// to the registry that knows our certificate, nor by naming it as its token endpoint, nor by using
/// a token obtained there.
#[tokio::test]
async fn another_registry_cannot_use_our_client_certificate() {
    let says = |status, header, body: &str| Failure::Respond {
        status,
        media_type: "application/json",
        header,
        body: body.to_owned(),
    };
    let (internal, hostile) = (with_image().await, served(serve::Options::default()).await);
    let authority = Authority::new();
    let own = tls_proxy(&internal, &authority, "127.0.0.1", true).await;
    let other = tls_proxy(&hostile, &authority, "127.0.0.1", false).await;
    let client = || {
        Client::new(Options {
            tls_roots: TlsRoots::Only(authority.pem()),
            identity: Some(identity(&authority)),
            identity_scope: ClientCertScope::Registry(own.to_string()),
            ..options()
        })
        .unwrap()
    };
    let at = |registry: SocketAddr| Repository::parse(&format!("{registry}/a/b")).unwrap();
    let redirect = Failure::Redirect(format!("https://{own}/v2/a/b/manifests/v1"));
    hostile.inject(Rule::always("/manifests/", redirect));
    internal.clear_log();
    assert!(client().manifest(&at(other), &tag("v1")).await.is_err());
    assert_eq!(internal.log(), []);

    let realm = format!("Bearer realm=\"https://{own}/token\",service=\"internal\"");
    let unauthorized = || says(401, Some(("www-authenticate", realm.clone())), "");
    internal.inject(Rule::always("/token", says(200, None, r#"{"token":"of-internal"}"#)));
    hostile.recover();
    hostile.inject(Rule::always("/v2/", unauthorized()));
    hostile.clear_log();
    let both = client();
    assert!(both.resolve(&at(other), &tag("v1")).await.is_err());
    assert_eq!(internal.log(), []);
    // A token obtained for the registry's own challenge is used for its requests only.
    internal.inject(Rule::times("/v2/", 1, unauthorized()));
    assert!(both.resolve(&at(own), &tag("v1")).await.unwrap().is_some());
    assert_eq!(internal.count("GET", "/token"), 1, "its own token endpoint knows us");
    assert!(both.resolve(&at(other), &tag("v1")).await.is_err());
    assert!(hostile.log().iter().all(|e| e.authorization.is_none()), "{:?}", hostile.log());
}

/// The redirecting server would choose the return path.
#[tokio::test]
async fn a_redirect_that_comes_back_does_not_bring_our_certificate() {
    let (internal, storage) = (with_image().await, served(serve::Options::default()).await);
    let authority = Authority::new();
    let own = tls_proxy(&internal, &authority, "127.0.0.1", true).await;
    let there = tls_proxy(&storage, &authority, "127.0.0.1", false).await;
    let away = Failure::Redirect(format!("https://{there}/v2/a/b/manifests/v1"));
    internal.inject(Rule::times("/manifests/", 1, away));
    let back = Failure::Redirect(format!("https://{own}/v2/a/b/manifests/v1"));
    storage.inject(Rule::always("/manifests/", back));
    internal.clear_log();
    let found = ask(own, |o| {
        o.tls_roots = TlsRoots::Only(authority.pem());
        o.identity = Some(identity(&authority));
        o.identity_scope = ClientCertScope::Registry(own.to_string());
        o.retries.max = 0;
    });
    assert!(found.await.is_err());
    assert_eq!(internal.log().len(), 1);
}

#[test]
fn unusable_certificates_are_a_fault_of_the_configuration() {
    let config = |change: fn(&mut Options)| {
        let mut options = options();
        change(&mut options);
        Client::new(options).unwrap_err().kind
    };
    assert_eq!(config(|o| o.tls_roots = TlsRoots::Only(b"no pem".to_vec())), FaultKind::Config);
    assert_eq!(config(|o| o.server_name = Some("not a name!".to_owned())), FaultKind::Config);
    let broken =
        || ClientIdentity { certificates: b"x".to_vec(), key: zeroize::Zeroizing::new(vec![1]) };
    let mut options = options();
    options.identity = Some(broken());
    assert_eq!(Client::new(options).unwrap_err().kind, FaultKind::Config);
}

/// As `openssl req -x509` issues it, and many registry guides say: self-signed CA certificate.
#[tokio::test]
async fn a_self_signed_certificate_is_good_where_it_was_given() {
    let served = with_image().await;
    let nobody = Authority::new();
    for (name, end, expected) in [
        ("127.0.0.1", 2100, Ok(true)),
        ("other.internal", 2100, Err(FaultKind::Tls)),
        ("127.0.0.1", 2021, Err(FaultKind::Tls)),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(end, 1, 1);
        let own = params.self_signed(&key).unwrap();
        let addr = tls_proxy_with(&served, &nobody, own.der().clone(), &key, false).await;
        let pem = own.pem().into_bytes();
        for trust in [TlsRoots::Only(pem.clone()), TlsRoots::SystemAnd(pem)] {
            let found = ask(addr, |o| o.tls_roots = trust.clone()).await;
            assert_eq!(found, expected, "{name} until {end}");
        }
        for trust in [TlsRoots::System, TlsRoots::Only(nobody.pem())] {
            assert_eq!(ask(addr, |o| o.tls_roots = trust).await, Err(FaultKind::Tls));
        }
    }
}

/// X.509 version 1 certificate, as `openssl x509 -req` issues it without extensions; expires in
/// 2126.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBMzCB2wIUCNpxGUbx5h+uaR4IgDK80tMLYo0wCgYIKoZIzj0EAwIwHDEaMBgG
A1UEAwwRcmVnaXN0cnkuaW50ZXJuYWwwIBcNMjYxMTI5MDAxNTQ1WhgPMjEyNjEx
MDUwMDE1NDVaMBwxGjAYBgNVBAMMEXJlZ2lzdHJ5LmludGVybmFsMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAETHzBse4hw8f1BEGeueVknaxTk7ocPKBePIQhG8C9
zDdYVZEVJB9i8NdtTZUUMwSlGJySL8f8VhPFlP6HGK6qqjAKBggqhkjOPQQDAgNH
ADBEAiBvAlDVMGrPhFWmFGVvFdP+AhTPTq1BcF9BOm/XK97V9QIgS831kM2N9kok
jdCMgTjKxz64U4UbbTR1JakxcGYKXW0=
-----END CERTIFICATE-----
";
const VERSION_1_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2Db+ySnDvILGo/V3
qI47MphOkuiFDg4eB1JREBJvuQqhRANCAARMfMGx7iHDx/UEQZ655WSdrFOTuhw8
oF48hCEbwL3MN1hVkRUkH2Lw121NlRQzBKUYnJIvx/xWE8WU/ocYrqqq
-----END PRIVATE KEY-----
";

/// Proxy that presents the version 1 certificate, and accepts only that client certificate.
async fn version_1_proxy(
    served: &Served,
    version: &'static rustls::SupportedProtocolVersion,
    signs: &str,
    ask: bool,
) -> SocketAddr {
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(signs.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let own = CertifiedKey::new(vec![version_1()], key);
    let clients = Arc::new(OnlyVersion1 { provider: provider.clone(), mandatory: ask });
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    tls_proxy_of(served, config).await
}

fn version_1() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap()
}

/// `RequireAnyClientCert` of Go's TLS server, for one certificate.
#[derive(Debug)]
struct OnlyVersion1 {
    provider: Arc<rustls::crypto::CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for OnlyVersion1 {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match *end_entity == version_1() {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        _cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check(message, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check(message, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl OnlyVersion1 {
    fn check(
        &self,
        message: &[u8],
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = KeyPair::from_pem(VERSION_1_KEY).unwrap();
        let key = rcgen::PublicKeyData::subject_public_key_info(&key).into();
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
    }
}

/// As in Go: accepted for handshake signatures, never as an issuer or for a host name.
#[tokio::test]
async fn certificates_of_version_1_are_taken_where_go_takes_them() {
    let served = with_image().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let addr = version_1_proxy(&served, version, VERSION_1_KEY, false).await;
        let found = ask(addr, |o| o.tls_roots = TlsRoots::DangerousAnyCertificate).await;
        assert_eq!(found, Ok(true), "{version:?}");
        let pem = || VERSION_1.as_bytes().to_vec();
        for trust in [TlsRoots::System, TlsRoots::Only(pem()), TlsRoots::SystemAnd(pem())] {
            let found = ask(addr, |o| {
                o.tls_roots = trust.clone();
                o.server_name = Some("registry.internal".to_owned());
            });
            assert_eq!(found.await, Err(FaultKind::Tls), "{version:?} {trust:?}");
        }
        // Handshake signatures are verified all the same.
        let other = KeyPair::generate().unwrap().serialize_pem();
        let addr = version_1_proxy(&served, version, &other, false).await;
        let found = ask(addr, |o| o.tls_roots = TlsRoots::DangerousAnyCertificate).await;
        assert_eq!(found, Err(FaultKind::Tls), "{version:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_of_version_1_is_shown() {
    let served = with_image().await;
    let identity = |key: &str| ClientIdentity {
        certificates: VERSION_1.as_bytes().to_vec(),
        key: zeroize::Zeroizing::new(key.as_bytes().to_vec()),
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let addr = version_1_proxy(&served, version, VERSION_1_KEY, true).await;
        let none = ask(addr, |o| o.tls_roots = TlsRoots::DangerousAnyCertificate).await;
        assert!(none.is_err(), "{version:?}");
        let found = ask(addr, |o| {
            o.tls_roots = TlsRoots::DangerousAnyCertificate;
            o.identity = Some(identity(VERSION_1_KEY));
        });
        assert_eq!(found.await, Ok(true), "{version:?}");
    }
    let mut options = options();
    options.identity = Some(identity(&KeyPair::generate().unwrap().serialize_pem()));
    assert_eq!(Client::new(options).unwrap_err().kind, FaultKind::Config);
}
