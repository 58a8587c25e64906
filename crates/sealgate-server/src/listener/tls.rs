//! TLS 1.2 and 1.3, and the HTTP version that the handshake agrees on.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use super::certificate::CertificateSlot;
use super::client_certificates::ClientCertificates;

/// The HTTP version of a connection, as agreed on in the handshake (ALPN). It is not guessed from
/// the first bytes: guessing has no time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(super) fn of_alpn(agreed: Option<&[u8]>) -> Self {
        if agreed == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }
}

/// An acceptor that takes the certificate from `slot` at each handshake, and requests a client
/// certificate if there are `clients`.
pub(crate) fn acceptor(
    slot: Arc<CertificateSlot>,
    clients: Option<Arc<ClientCertificates>>,
) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let mut config = match clients {
        None => config.with_no_client_auth().with_cert_resolver(slot),
        Some(clients) => {
            let mut config = config.with_client_cert_verifier(clients).with_cert_resolver(slot);
            // A resumed session would not have its certificate verified again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
