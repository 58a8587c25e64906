//! TLS settings. The trusted roots are read when the first certificate arrives, so that a run
//! that speaks to loopback only does not pay for them.

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

/// Whose server certificates are good.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that the operating system trusts.
    #[default]
    System,
    /// Those that chain to these certificates (PEM), and no others.
    Only(Vec<u8>),
    /// Those that chain to these certificates (PEM) or to one that the operating system trusts.
    SystemAnd(Vec<u8>),
    /// Any certificate at all: whoever sits on the network path can read the credentials.
    /// Signatures are verified none the less.
    DangerousAnyCertificate,
}

/// A client certificate and its key.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate chain, PEM, leaf first.
    pub certificates: Vec<u8>,
    /// The private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: zeroize::Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(…)")
    }
}

/// What decides over a client's TLS.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Whose server certificates are good.
    pub trust: &'a Trust,
    /// A client certificate.
    pub identity: Option<&'a ClientIdentity>,
    /// The name that a server certificate must carry instead of the host's.
    pub server_name: Option<&'a str>,
    /// Whom it is for, in the words of a message: `registry`.
    pub peer: &'static str,
}

/// The client side of TLS as `settings` want it; HTTP/2 by ALPN.
///
/// # Errors
/// A [`FaultKind::Config`]: PEM that is none or holds no certificate, a key that does not fit its certificate, a name that
/// is none.
pub fn config(settings: Settings<'_>) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier {
        trust: settings.roots()?,
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
        Ok(match self.trust {
            Trust::System => Roots::System,
            Trust::Only(pem) => Roots::Only(self.authorities(pem)?),
            Trust::SystemAnd(pem) => Roots::SystemAnd(self.authorities(pem)?),
            Trust::DangerousAnyCertificate => Roots::DangerousAnyCertificate,
        })
    }

    /// Certificates to trust. One among them that cannot be read is passed over, as one of the
    /// system's is; if all are, nothing would be trusted, and that is said now.
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

/// [`Trust`], its PEM parsed.
#[derive(Debug)]
enum Roots {
    System,
    Only(Vec<CertificateDer<'static>>),
    SystemAnd(Vec<CertificateDer<'static>>),
    DangerousAnyCertificate,
}

impl Roots {
    /// Whether this very certificate was given to us.
    fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Only(own) | Self::SystemAnd(own) => own.iter().any(|one| one == certificate),
            Self::System | Self::DangerousAnyCertificate => false,
        }
    }
}

/// The key of a certificate of version 1 or 2, as `openssl x509 -req` without extensions makes them;
/// none for any other. webpki reads version 3 only. Go takes the older ones where nothing of version 3
/// is needed: to sign a handshake. They name no host and cannot be an authority, so they are good as
/// a server's only where any certificate is, and never as an issuer.
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

/// Whether the private key is the one of the certificate, of whatever version.
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

/// A certificate that signs itself and says that it is an authority, as `openssl req -x509` makes
/// them for registries: webpki refuses it as a server's, Go and OpenSSL take it where it is among
/// the roots. It says so after it has looked at the time and before it looks at the name.
fn is_ca_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(inner)) = error else {
        return false;
    };
    matches!(inner.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[derive(Debug)]
struct Verifier {
    trust: Roots,
    name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
    webpki: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl Verifier {
    /// The verifier over the trusted roots, made on first use.
    fn webpki(&self) -> Result<&Arc<WebPkiServerVerifier>, rustls::Error> {
        let made = self.webpki.get_or_init(|| {
            let roots = Arc::new(self.roots());
            WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
                .build()
                .map_err(|e| format!("no usable trusted roots: {e}"))
        });
        made.as_ref().map_err(|e| rustls::Error::General(e.clone()))
    }

    fn roots(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        if matches!(self.trust, Roots::System | Roots::SystemAnd(_)) {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Roots::Only(own) | Roots::SystemAnd(own) = &self.trust {
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
        if let Roots::DangerousAnyCertificate = self.trust {
            return Ok(ServerCertVerified::assertion());
        }
        let name = self.name.as_ref().unwrap_or(server_name);
        match self.webpki()?.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(error) if is_ca_as_server(&error) && self.trust.holds(end_entity) => {
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

/// What rustls has for TLS 1.3 only: in TLS 1.2 a scheme leaves open which curve the key is on.
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
