//! The serving certificate, and the slot in which it is replaced while connections are served.
//!
//! Its source (self-signed, files, a Secret of the cluster) is not known here.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The reasons why a certificate cannot be served. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCertificate {
    /// The chain is no PEM, or holds no certificate.
    #[error("no certificate in PEM form was found")]
    Chain,
    /// The key is no PEM, or of a kind that cannot be used.
    #[error("no private key in PEM form (PKCS#8, SEC1 or PKCS#1) was found")]
    Key,
    /// Certificate and key do not belong together, or the key cannot be used.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(rustls::Error),
    /// The first certificate of the chain cannot be read.
    #[error("the certificate's validity cannot be read")]
    Validity,
}

/// A chain with its key and the end of its validity.
#[derive(Clone)]
pub struct ServerCertificate {
    pair: Arc<CertifiedKey>,
    not_after: Timestamp,
}

/// The slot from which a listener takes its certificate at every handshake. Empty at first: until
/// it is filled, handshakes fail.
#[derive(Default)]
pub struct CertificateSlot {
    pair: ArcSwapOption<ServerCertificate>,
}

impl ServerCertificate {
    /// Parses the PEM text of a chain (leaf first) and of its key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, InvalidCertificate> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| InvalidCertificate::Chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| InvalidCertificate::Key)?;
        Self::from_der(chain, key)
    }

    /// Parses the DER of a chain (leaf first) and of its key.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, InvalidCertificate> {
        let leaf = chain.first().ok_or(InvalidCertificate::Chain)?;
        let not_after = not_after(leaf).ok_or(InvalidCertificate::Validity)?;
        let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(InvalidCertificate::Pair)?;
        Ok(Self { pair: Arc::new(pair), not_after })
    }

    /// The end of the leaf's validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The DER of the leaf.
    pub fn leaf(&self) -> &[u8] {
        self.pair.cert.first().map(AsRef::as_ref).unwrap_or_default()
    }
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerCertificate(until {})", self.not_after)
    }
}

impl CertificateSlot {
    /// An empty slot.
    pub fn empty() -> Arc<Self> {
        Arc::default()
    }

    /// A slot that holds `certificate`.
    pub fn holding(certificate: ServerCertificate) -> Arc<Self> {
        let slot = Self::empty();
        slot.set(certificate);
        slot
    }

    /// Sets the certificate for new connections.
    pub fn set(&self, certificate: ServerCertificate) {
        self.pair.store(Some(Arc::new(certificate)));
    }

    /// The present certificate.
    pub fn current(&self) -> Option<Arc<ServerCertificate>> {
        self.pair.load_full()
    }
}

impl std::fmt::Debug for CertificateSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateSlot({:?})", self.current())
    }
}

impl ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair.load().as_ref().map(|certificate| Arc::clone(&certificate.pair))
    }
}

/// `Certificate.tbsCertificate.validity.notAfter` (RFC 5280, section 4.1).
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let mut outer = SliceReader::new(certificate).ok()?;
    let mut certificate = SliceReader::new(content(&mut outer, Tag::Sequence)?).ok()?;
    let mut tbs = SliceReader::new(content(&mut certificate, Tag::Sequence)?).ok()?;
    let version = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    if Tag::peek(&tbs).ok()? == version {
        content(&mut tbs, version)?;
    }
    content(&mut tbs, Tag::Integer)?;
    content(&mut tbs, Tag::Sequence)?;
    content(&mut tbs, Tag::Sequence)?;
    let mut validity = SliceReader::new(content(&mut tbs, Tag::Sequence)?).ok()?;
    skip(&mut validity)?;
    let seconds = match Tag::peek(&validity).ok()? {
        Tag::UtcTime => der::asn1::UtcTime::decode(&mut validity).ok()?.to_unix_duration(),
        _ => der::asn1::GeneralizedTime::decode(&mut validity).ok()?.to_unix_duration(),
    };
    Timestamp::from_second(i64::try_from(seconds.as_secs()).ok()?).ok()
}

/// The content of the next element, which must have `tag`.
fn content<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> Option<&'a [u8]> {
    let header = Header::decode(reader).ok()?;
    if header.tag() != tag {
        return None;
    }
    reader.read_slice(header.length()).ok()
}

fn skip(reader: &mut SliceReader<'_>) -> Option<()> {
    let header = Header::decode(reader).ok()?;
    reader.read_slice(header.length()).ok().map(drop)
}
