//! TLS settings. The trusted roots are read when the first certificate arrives, so that a run
//! that speaks to loopback only does not pay for them.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sealgate_core::fault::{Fault, FaultKind};

use super::{Options, Trust};

/// The client side of TLS as `options` want it; HTTP/2 by ALPN.
pub(super) fn config(options: &Options) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = match &options.trust {
        Trust::System => None,
        Trust::Only(pem) => Some(certificates(pem)?),
    };
    let name = options.server_name.clone().map(server_name).transpose()?;
    let verifier = Verifier { roots, name, provider: provider.clone(), webpki: OnceLock::new() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(format!("TLS settings: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.certificates)?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|_| bad("the client key is no PEM private key"))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|e| bad(format!("client certificate: {e}")))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn server_name(name: String) -> Result<ServerName<'static>, Fault> {
    let text = format!("the server name {name:?} is neither a host name nor an address");
    ServerName::try_from(name).map_err(|_| bad(text))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        _ => Err(bad("no certificate in the PEM text given for the service")),
    }
}

fn bad(detail: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Config, "TLS of Sigstore's services", detail)
}

/// Verifies as webpki does, but for one name, and with roots that are read when they are needed.
#[derive(Debug)]
struct Verifier {
    /// `None`: those of the operating system.
    roots: Option<Vec<CertificateDer<'static>>>,
    name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
    webpki: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl Verifier {
    fn webpki(&self) -> Result<&Arc<WebPkiServerVerifier>, rustls::Error> {
        let made = self.webpki.get_or_init(|| {
            let mut store = RootCertStore::empty();
            match &self.roots {
                Some(own) => store.add_parsable_certificates(own.iter().cloned()),
                None => {
                    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)
                }
            };
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone())
                .build()
                .map_err(|e| format!("no usable trusted roots: {e}"))
        });
        made.as_ref().map_err(|e| rustls::Error::General(e.clone()))
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
        let name = self.name.as_ref().unwrap_or(server_name);
        self.webpki()?.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
