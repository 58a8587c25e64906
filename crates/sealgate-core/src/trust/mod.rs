//! Trust root: certificate authorities, transparency logs, CT logs and timestamp authorities, each
//! with its validity period.
//!
//! Parsed from a trusted root file (`document`) or from the `sigstoreKeys` of a TrustRoot object
//! (`objects`). The caller has decided to trust the text; it is still parsed with bounds. Its
//! source (file, TUF, cluster) and freshness are not known here.

mod document;
mod objects;
mod shared;

use aws_lc_rs::digest::{SHA256, digest};
use x509_cert::Certificate;
use x509_cert::der::Decode;

pub use document::MAX_TRUST_ROOT;
pub use objects::{AuthorityObject, LogObject, SigstoreKeys};
pub use shared::{EmbeddedRoot, SharedRoot};

use crate::digest::Digest;
use crate::json::InvalidJson;
use crate::key::{HashAlgorithm, InvalidKey, KeyAlgorithm, PublicKey};
use crate::reject::Foreign;
use crate::time;

/// The maximum number of authorities of one kind in a trust root.
pub const MAX_AUTHORITIES: usize = 64;
/// The maximum number of logs of one kind in a trust root.
pub const MAX_LOGS: usize = 64;
/// The maximum length of an authority's chain.
pub const MAX_CHAIN: usize = 8;

/// The trust root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustRoot {
    /// Authorities that certify signers (Fulcio).
    pub certificate_authorities: Vec<CertificateAuthority>,
    /// Transparency logs (Rekor).
    pub transparency_logs: Vec<TransparencyLog>,
    /// CT logs (RFC 6962).
    pub ct_logs: Vec<TransparencyLog>,
    /// Authorities that sign timestamps (RFC 3161). A chain may begin with the signing
    /// certificate itself.
    pub timestamp_authorities: Vec<CertificateAuthority>,
    /// Parts of the document that cannot be used, and so verify nothing.
    pub skipped: Vec<Skipped>,
}

/// A part of a trust root that is not used, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The kind of part.
    pub part: Part,
    /// Its address in the document.
    pub uri: Foreign,
    /// The reason.
    pub reason: Foreign,
}

/// The parts of a trust root that may be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A transparency log.
    TransparencyLog,
    /// A CT log.
    CtLog,
}

/// A validity period in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Validity {
    /// The first second; `None` for an open start.
    pub start: Option<i64>,
    /// The last second; `None` for an open end.
    pub end: Option<i64>,
}

/// A chain of certificates that ends in a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// Its URL, for display.
    pub uri: String,
    chain: Vec<Vec<u8>>,
    /// The validity period.
    pub validity: Validity,
}

/// A log and the key with which it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransparencyLog {
    /// Its address.
    pub base_url: String,
    /// The host name in its address, which is the origin of a Rekor v2 log's checkpoints.
    pub origin: String,
    /// Its key.
    pub key: LogKey,
    /// The validity period of the key.
    pub validity: Validity,
    log_id: Vec<u8>,
}

/// The key of a log, with the hash that its signatures are made over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The key.
    pub key: PublicKey,
    /// The hash; `None` is each that cosign has used with the key's algorithm.
    pub hash: Option<HashAlgorithm>,
}

/// Reason why a text is not accepted as a trust root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTrustRoot {
    /// Not JSON of the expected form.
    #[error("invalid trusted root: {0}")]
    Json(#[from] InvalidJson),
    /// Another kind of document, or an unsupported version.
    #[error("unsupported trusted root media type: {0:?}")]
    MediaType(Foreign),
    /// Not PEM of certificates or of a public key.
    #[error("invalid trusted root: {what}: {detail}")]
    Pem {
        /// The field.
        what: &'static str,
        /// The problem.
        detail: &'static str,
    },
    /// A certificate that cannot be read.
    #[error("invalid trusted root: certificate of {uri}: {detail}")]
    Certificate {
        /// The owner of the value.
        uri: Foreign,
        /// The error of the parser.
        detail: Foreign,
    },
    /// An authority without certificates, or with more than [`MAX_CHAIN`].
    #[error("invalid trusted root: {uri}: a chain of {found} certificates: want 1 to {MAX_CHAIN}")]
    Chain {
        /// The owner of the value.
        uri: Foreign,
        /// The number found.
        found: usize,
    },
    /// The key of a log that cannot be read.
    #[error("invalid trusted root: key of {uri}: {error}")]
    Key {
        /// The owner of the value.
        uri: Foreign,
        /// The problem.
        error: InvalidKey,
    },
    /// A time that is not RFC 3339.
    #[error("invalid trusted root: {field}: not a time: {text:?}")]
    Time {
        /// The field.
        field: &'static str,
        /// The value found.
        text: Foreign,
    },
}

impl TrustRoot {
    /// Reads a trusted root (`trusted_root.json`) of version 0.1 or 0.2, at most
    /// [`MAX_TRUST_ROOT`] bytes.
    ///
    /// A log whose kind of key is unknown, or whose key has no start of validity, is skipped and
    /// listed in [`TrustRoot::skipped`]; a document with a malformed part is refused.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidTrustRoot> {
        document::parse(json)
    }

    /// The trust root that the `sigstoreKeys` of a TrustRoot object describe.
    pub fn of_keys(keys: &SigstoreKeys) -> Result<Self, InvalidTrustRoot> {
        objects::trust_root(keys)
    }

    /// As a trusted root document, version 0.1. Skipped parts are not in it.
    pub fn to_json(&self) -> String {
        document::to_value(self).to_string()
    }

    /// Digest of the contents, for caches: two trust roots with the same fingerprint give the same
    /// results.
    pub fn fingerprint(&self) -> Digest {
        let hashes: Vec<_> = self.logs().map(|log| format!("{:?}", log.key.hash)).collect();
        // A log that cannot be used is still required.
        let skipped: Vec<_> = self.skipped.iter().map(|skipped| skipped.part).collect();
        Digest::of(format!("{}{hashes:?}{skipped:?}", self.to_json()).as_bytes())
    }

    /// True if it names a transparency log, even one that cannot be used.
    pub fn names_transparency_log(&self) -> bool {
        let skipped = |skipped: &Skipped| skipped.part == Part::TransparencyLog;
        !self.transparency_logs.is_empty() || self.skipped.iter().any(skipped)
    }

    fn logs(&self) -> impl Iterator<Item = &TransparencyLog> {
        self.transparency_logs.iter().chain(&self.ct_logs)
    }
}

impl Validity {
    /// From two RFC 3339 times; an empty one leaves that end open.
    pub fn of_times(start: &str, end: &str) -> Result<Self, InvalidTrustRoot> {
        let read = |text: &str, field, edge| match text {
            "" => Ok(None),
            text => time::seconds(text, edge)
                .map(Some)
                .ok_or(InvalidTrustRoot::Time { field, text: Foreign::new(text) }),
        };
        let start = read(start, "start", time::Edge::Start)?;
        Ok(Self { start, end: read(end, "end", time::Edge::End)? })
    }

    /// True if `time` (seconds since 1970) is within the period, both ends included.
    pub fn contains(&self, time: i64) -> bool {
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time <= end)
    }
}

impl CertificateAuthority {
    /// An authority from the DER of its certificates: signing or issuing certificate first, root
    /// last. Each is parsed; the chain is not verified here, and an invalid one verifies nothing.
    pub fn new(
        uri: impl Into<String>,
        chain: Vec<Vec<u8>>,
        validity: Validity,
    ) -> Result<Self, InvalidTrustRoot> {
        let uri = uri.into();
        if chain.is_empty() || chain.len() > MAX_CHAIN {
            return Err(InvalidTrustRoot::Chain { uri: Foreign::new(uri), found: chain.len() });
        }
        for der in &chain {
            Certificate::from_der(der).map_err(|error| InvalidTrustRoot::Certificate {
                uri: Foreign::new(&uri),
                detail: Foreign::new(error.to_string()),
            })?;
        }
        Ok(Self { uri, chain, validity })
    }

    /// All its certificates, DER, the root last. Never empty.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The root, DER.
    pub fn root(&self) -> &[u8] {
        self.chain.last().map_or(&[], Vec::as_slice)
    }

    /// All but the root, DER.
    pub fn intermediates(&self) -> &[Vec<u8>] {
        self.chain.split_last().map_or(&[], |(_, others)| others)
    }
}

impl TransparencyLog {
    /// A log. Without an id it has that of Rekor v1 and RFC 6962: the SHA-256 of its key.
    pub fn new(
        base_url: impl Into<String>,
        key: LogKey,
        log_id: Option<Vec<u8>>,
        validity: Validity,
    ) -> Self {
        let base_url = base_url.into();
        let origin = host_name(&base_url).to_owned();
        let log_id = log_id.unwrap_or_else(|| key.id());
        Self { base_url, origin, key, validity, log_id }
    }

    /// The id in its document.
    pub fn log_id(&self) -> &[u8] {
        &self.log_id
    }

    /// True if `id` in an entry, SCT or checkpoint names this log: the id of the trust root, the
    /// hash of its key, or its id in signed notes. The last two bind the key, so that no other log
    /// can have them.
    pub fn is_named(&self, id: &[u8]) -> bool {
        !id.is_empty() && (self.log_id == id || self.key.id() == id || self.note_id() == id)
    }

    /// The four-byte key ids that signature lines of signed notes may have: hints for the
    /// signatures to try.
    pub(crate) fn checkpoint_key_ids(&self) -> Vec<[u8; 4]> {
        let ids = [self.log_id.clone(), self.key.id(), self.note_id()];
        let mut ids: Vec<_> = ids.iter().filter_map(|id| id.first_chunk::<4>().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn note_id(&self) -> Vec<u8> {
        self.key.note_id(&self.origin)
    }
}

impl LogKey {
    /// Verifies a signature of the log.
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), crate::key::SignatureMismatch> {
        self.key.verify(message, signature, self.hash)
    }

    /// The hash whose first four bytes name the key in the checkpoints of a log that calls itself
    /// `origin`: of name, algorithm and key for Ed25519 and RSA; ECDSA keys are named by the hash
    /// of the key alone.
    pub fn note_id(&self, origin: &str) -> Vec<u8> {
        const ED25519_KEY: usize = 32;
        let spki = self.key.spki_der();
        let raw = spki.len().checked_sub(ED25519_KEY).and_then(|at| spki.get(at..));
        let named = match (self.key.algorithm(), raw) {
            (KeyAlgorithm::Ed25519, Some(raw)) => [origin.as_bytes(), b"\n\x01", raw].concat(),
            (KeyAlgorithm::Rsa { .. }, _) => {
                [origin.as_bytes(), b"\n\xffPKIX-RSA-PKCS#1v1.5", spki].concat()
            }
            _ => return self.id(),
        };
        digest(&SHA256, &named).as_ref().to_vec()
    }

    /// The key id of Rekor v1 and RFC 6962: the hash of the key.
    pub fn id(&self) -> Vec<u8> {
        digest(&SHA256, self.key.spki_der()).as_ref().to_vec()
    }
}

/// The host name in an address, without port and credentials; brackets of an IPv6 address are
/// taken off.
fn host_name(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return address;
    }
    host.split_once(':').map_or(host, |(host, _)| host)
}

#[cfg(test)]
mod tests;
