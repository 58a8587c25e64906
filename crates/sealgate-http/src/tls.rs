//! TLS client configuration. The trusted roots are loaded when the first server certificate
//! arrives, so that a run that contacts loopback hosts only does not pay for them.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use sealgate_core::fault::{Fault, FaultKind};
use x509_cert::Version;
use x509_cert::der::{Decode as _, Encode as _};

/// TLS roots trusted for server certificates.
#[derive(Clone, Debug, Default)]
pub enum TlsRoots {
    /// The operating system's roots.
    #[default]
    System,
    /// These certificates (PEM) only.
    Only(Vec<u8>),
    /// These certificates (PEM) and the operating system's roots.
    SystemAnd(Vec<u8>),
    /// Any certificate: anyone on the network path can read the credentials. Signatures of images
    /// are still verified.
    DangerousAnyCertificate,
}

/// Client certificate and its private key.
#[derive(Clone)]
pub struct ClientIdentity {
    /// Certificate chain, PEM, leaf first.
    pub certificates: Vec<u8>,
    /// Private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: zeroize::Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(…)")
    }
}

/// TLS settings of one client.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// TLS roots trusted for server certificates.
    pub roots: &'a TlsRoots,
    /// Client certificate.
    pub identity: Option<&'a ClientIdentity>,
    /// Name that a server certificate must carry instead of the host's.
    pub server_name: Option<&'a str>,
    /// Kind of server in messages: `registry`.
    pub peer: &'static str,
}

/// Client configuration for `settings`; HTTP/2 by ALPN.
///
/// # Errors
/// [`FaultKind::Config`] when PEM is invalid or holds no certificate, a key does not match its
/// certificate, or the server name is invalid.
pub fn config(settings: Settings<'_>) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier {
        roots: settings.roots()?,
        name: settings.server_name.map(|name| settings.name(name)).transpose()?,
        provider: provider.clone(),
        webpki: OnceLock::new(),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| settings.bad(format!("TLS settings: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match settings.identity {
        Some(identity) => settings.with_identity(builder, identity)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

impl Settings<'_> {
    fn with_identity(
        &self,
        builder: Builder,
        identity: &ClientIdentity,
    ) -> Result<ClientConfig, Fault> {
        let peer = self.peer;
        let chain = self.certificates(&identity.certificates)?;
        let key = PrivateKeyDer::from_pem_slice(&identity.key)
            .map_err(|_| self.bad(format!("the {peer} client key is no PEM private key")))?;
        let unusable = |e: rustls::Error| self.bad(format!("{peer} client certificate: {e}"));
        let key = builder.crypto_provider().key_provider.load_private_key(key).map_err(unusable)?;
        let certified = CertifiedKey::new(chain, key);
        keys_match(&certified).map_err(unusable)?;
        Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
    }

    fn name(&self, name: &str) -> Result<ServerName<'static>, Fault> {
        let peer = self.peer;
        let text = format!("{peer} server name {name:?} is neither a host name nor an address");
        ServerName::try_from(name.to_owned()).map_err(|_| self.bad(text))
    }

    fn roots(&self) -> Result<Roots, Fault> {
        Ok(match self.roots {
            TlsRoots::System => Roots::System,
            TlsRoots::Only(pem) => Roots::Only(self.authorities(pem)?),
            TlsRoots::SystemAnd(pem) => Roots::SystemAnd(self.authorities(pem)?),
            TlsRoots::DangerousAnyCertificate => Roots::DangerousAnyCertificate,
        })
    }

    /// Trusted certificates. Unparsable ones are skipped, as for the operating system's roots; if
    /// none parses, nothing would be trusted, which is an error.
    fn authorities(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let list = self.certificates(pem)?;
        match list.iter().any(|one| webpki::anchor_from_trusted_cert(one).is_ok()) {
            true => Ok(list),
            false => Err(self.bad(format!("no valid certificate given for the {}", self.peer))),
        }
    }

    fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match list {
            Ok(list) if !list.is_empty() => Ok(list),
            _ => {
                Err(self.bad(format!("no certificate in the PEM text given for the {}", self.peer)))
            }
        }
    }

    fn bad(&self, detail: String) -> Fault {
        Fault::new(FaultKind::Config, format!("{} TLS", self.peer), detail)
    }
}

/// [`TlsRoots`] with parsed PEM.
#[derive(Debug)]
enum Roots {
    System,
    Only(Vec<CertificateDer<'static>>),
    SystemAnd(Vec<CertificateDer<'static>>),
    DangerousAnyCertificate,
}

impl Roots {
    /// Returns whether this exact certificate was configured.
    fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Only(own) | Self::SystemAnd(own) => own.iter().any(|one| one == certificate),
            Self::System | Self::DangerousAnyCertificate => false,
        }
    }
}

/// Public key of an X.509 version 1 or 2 certificate, as `openssl x509 -req` issues without
/// extensions; `None` for version 3. webpki parses version 3 only. Go accepts older versions for
/// handshake signatures, which need nothing of version 3. Such a certificate names no host and
/// cannot be a CA, so as a server certificate it is accepted only where any certificate is, and
/// never as an issuer.
fn key_before_version_3(
    certificate: &CertificateDer<'_>,
) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let parsed = certificate.tbs_certificate();
    let key = match parsed.version() {
        Version::V1 | Version::V2 => parsed.subject_public_key_info().to_der().ok()?,
        Version::V3 => return None,
    };
    Some(SubjectPublicKeyInfoDer::from(key))
}

/// Checks that the private key belongs to the certificate, of any X.509 version.
fn keys_match(certified: &CertifiedKey) -> Result<(), rustls::Error> {
    let leaf = certified.end_entity_cert()?;
    match (key_before_version_3(leaf), certified.key.public_key()) {
        (Some(in_leaf), Some(key)) if in_leaf != key => {
            Err(rustls::InconsistentKeys::KeyMismatch.into())
        }
        (Some(_), _) => Ok(()),
        (None, _) => match certified.keys_match() {
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
            other => other,
        },
    }
}

/// A self-signed CA certificate used as a server certificate, as `openssl req -x509` issues for
/// registries: webpki refuses it, Go and OpenSSL accept it if it is one of the roots. webpki
/// reports this error after checking validity times and before checking the name.
fn is_ca_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(inner)) = error else {
        return false;
    };
    matches!(inner.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[derive(Debug)]
struct Verifier {
    roots: Roots,
    name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
    webpki: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl Verifier {
    /// Verifier for the trusted roots, built on first use.
    fn webpki(&self) -> Result<&Arc<WebPkiServerVerifier>, rustls::Error> {
        let made = self.webpki.get_or_init(|| {
            let roots = Arc::new(self.root_store());
            WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
                .build()
                .map_err(|e| format!("no usable trusted roots: {e}"))
        });
        made.as_ref().map_err(|e| rustls::Error::General(e.clone()))
    }

    fn root_store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        if matches!(self.roots, Roots::System | Roots::SystemAnd(_)) {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Roots::Only(own) | Roots::SystemAnd(own) = &self.roots {
            store.add_parsable_certificates(own.iter().cloned());
        }
        store
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Roots::DangerousAnyCertificate = self.roots {
            return Ok(ServerCertVerified::assertion());
        }
        let name = self.name.as_ref().unwrap_or(server_name);
        match self.webpki()?.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(error) if is_ca_as_server(&error) && self.roots.contains(end_entity) => {
                let certificate = rustls::server::ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&certificate, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match key_before_version_3(cert) {
            Some(key) => verify_tls12_signature_with_raw_key(message, &key, dss, algorithms),
            None => rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match key_before_version_3(cert) {
            Some(key) => {
                rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
            }
            None => rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Counterpart of the function that rustls has for TLS 1.3 only: in TLS 1.2 a signature scheme does
/// not fix the curve of the key.
fn verify_tls12_signature_with_raw_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    dss: &DigitallySignedStruct,
    supported: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let bad = |error| rustls::Error::InvalidCertificate(error);
    let key = webpki::RawPublicKeyEntity::try_from(key)
        .map_err(|_| bad(rustls::CertificateError::BadEncoding))?;
    let offered = supported.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme);
    let verifies = offered
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|algorithm| key.verify_signature(*algorithm, message, dss.signature()).is_ok());
    match verifies {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(bad(rustls::CertificateError::BadSignature)),
    }
}
