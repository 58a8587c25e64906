//! Signed certificate timestamps (SCTs, RFC 6962), embedded in a certificate or detached.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use der::Decode;
use der::asn1::{ObjectIdentifier, OctetStringRef};

use super::SctRequirement;
use super::chain::Chain;
use crate::json::{self, InvalidJson, Object};
use crate::key::{HashAlgorithm, KeyAlgorithm};
use crate::reject::{Document, Foreign, Reject};
use crate::trust::TransparencyLog;
use crate::x509::X509;

const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
const MAX_SCTS: usize = 16;
const MAX_DETACHED: usize = 16 << 10;
const LOG_ID: usize = 32;

/// Verified SCTs of a certificate. Made by [`verify`] only.
#[derive(Clone, Debug)]
pub(super) struct VerifiedScts {
    logs: usize,
}

/// Verified SCTs that satisfy an [`SctRequirement`]. Made by [`VerifiedScts::require`] only.
#[derive(Clone, Debug)]
pub(super) struct RequiredScts {
    verified: VerifiedScts,
}

/// A signed certificate timestamp (SCT), unverified.
struct Sct<'a> {
    log_id: &'a [u8],
    /// Milliseconds since 1970.
    timestamp: u64,
    extensions: &'a [u8],
    algorithm: (u8, u8),
    signature: &'a [u8],
}

impl VerifiedScts {
    /// Compares the number of logs with the requirement.
    ///
    /// # Errors
    /// An SCT is required, and no log of the trust root has signed one.
    pub(super) fn require(self, requirement: SctRequirement) -> Result<RequiredScts, Reject> {
        match (requirement, self.logs) {
            (SctRequirement::Required, 0) => Err(Reject::NoSct),
            (SctRequirement::Required | SctRequirement::NotRequired, _) => {
                Ok(RequiredScts { verified: self })
            }
        }
    }
}

impl RequiredScts {
    /// The number of CT logs that have signed an SCT, each counted once.
    pub(super) fn logs(&self) -> usize {
        self.verified.logs
    }
}

/// Verifies every SCT of a log in `logs`: those in the certificate, and `detached`, the JSON of
/// Fulcio's former response. SCTs of other logs, and those outside of their log's validity period,
/// are ignored; a wrong signature of a known log is a reject.
pub(super) fn verify(
    leaf: &X509,
    chain: &Chain,
    detached: Option<&[u8]>,
    logs: &[TransparencyLog],
) -> Result<VerifiedScts, Reject> {
    let mut signed = BTreeSet::new();
    if let Some(value) = leaf.extension(SCT_LIST) {
        let list =
            <&OctetStringRef>::from_der(value).map_err(|_| malformed("not an octet string"))?;
        let entry = precertificate(leaf, chain)?;
        for sct in list_of(list.as_bytes())? {
            signed.extend(check(&Sct::parse(sct)?, &entry, logs)?);
        }
    }
    if let Some(json) = detached {
        let detached = Detached::parse(json)?;
        let entry = [&[0, 0][..], &vector24(leaf.der())?].concat();
        signed.extend(check(&detached.sct(), &entry, logs)?);
    }
    Ok(VerifiedScts { logs: signed.len() })
}

/// The index in `logs` of the log that has signed; none if no known log has.
fn check(sct: &Sct<'_>, entry: &[u8], logs: &[TransparencyLog]) -> Result<Option<usize>, Reject> {
    let seconds = i64::try_from(sct.timestamp / 1000).unwrap_or(i64::MAX);
    let mut named = logs.iter().enumerate().filter(|(_, log)| log.is_named(sct.log_id)).peekable();
    if named.peek().is_none() {
        return Ok(None);
    }
    let message = sct.signed(entry)?;
    let mut outside = false;
    for (at, log) in named {
        let fits = sct
            .hash(log)
            .is_some_and(|hash| log.key.key.verify(&message, sct.signature, Some(hash)).is_ok());
        match (fits, log.validity.contains(seconds)) {
            (true, true) => return Ok(Some(at)),
            (true, false) => outside = true,
            (false, _) => {}
        }
    }
    if outside { Ok(None) } else { Err(Reject::WrongSct) }
}

/// `entry_type` and the signed part of a precertificate.
fn precertificate(leaf: &X509, chain: &Chain) -> Result<Vec<u8>, Reject> {
    let issuer = digest(&SHA256, chain.issuer_spki());
    let tbs = vector24(&leaf.tbs_without(SCT_LIST)?)?;
    Ok([&[0, 1][..], issuer.as_ref(), &tbs].concat())
}

fn vector24(bytes: &[u8]) -> Result<Vec<u8>, Reject> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length < 1 << 24);
    let [_, length @ ..] = length.ok_or_else(|| malformed("too long"))?.to_be_bytes();
    Ok([&length[..], bytes].concat())
}

impl<'a> Sct<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Reject> {
        let mut reader = Tls(bytes);
        if reader.take(1)? != [0] {
            return Err(malformed("not version 1"));
        }
        let sct = Self {
            log_id: reader.take(LOG_ID)?,
            timestamp: reader.number(8)?,
            extensions: reader.vector16()?,
            algorithm: reader.algorithm()?,
            signature: reader.vector16()?,
        };
        reader.finish().map(|()| sct)
    }

    /// The bytes that the log has signed (RFC 6962, section 3.2).
    fn signed(&self, entry: &[u8]) -> Result<Vec<u8>, Reject> {
        const VERSION_AND_KIND: [u8; 2] = [0, 0];
        let length = u16::try_from(self.extensions.len()).map_err(|_| malformed("too long"))?;
        Ok([
            &VERSION_AND_KIND[..],
            &self.timestamp.to_be_bytes(),
            entry,
            &length.to_be_bytes(),
            self.extensions,
        ]
        .concat())
    }

    /// The hash of its signature, if it fits the kind of the log's key.
    fn hash(&self, log: &TransparencyLog) -> Option<HashAlgorithm> {
        let (hash, kind) = self.algorithm;
        let kind_fits = match log.key.key.algorithm() {
            KeyAlgorithm::Rsa { .. } => kind == 1,
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::EcdsaP521 => {
                kind == 3
            }
            KeyAlgorithm::Ed25519 => {
                return (hash == 8 && kind == 7).then_some(HashAlgorithm::Sha512);
            }
        };
        match (kind_fits, hash) {
            (true, 4) => Some(HashAlgorithm::Sha256),
            (true, 5) => Some(HashAlgorithm::Sha384),
            (true, 6) => Some(HashAlgorithm::Sha512),
            _ => None,
        }
    }
}

/// The JSON form: Fulcio's answer to `add-chain`, as `cosign verify --sct` reads it.
struct Detached {
    log_id: Vec<u8>,
    timestamp: u64,
    extensions: Vec<u8>,
    algorithm: (u8, u8),
    signature: Vec<u8>,
}

impl Detached {
    fn parse(json: &[u8]) -> Result<Self, Reject> {
        let refused = |error: InvalidJson| Reject::json(Document::Sct, error);
        let value = json::parse(json, MAX_DETACHED).map_err(refused)?;
        let known = &["sct_version", "id", "timestamp", "extensions", "signature"];
        let object = Object::new(&value, "sct", known).map_err(refused)?;
        let number = |name| json::int64(object.get(name), name).map_err(refused);
        let bytes = |name| json::bytes(object.get(name), name).map_err(refused);
        let log_id = bytes("id")?;
        if number("sct_version")? != 0 || log_id.len() != LOG_ID {
            return Err(malformed("not version 1"));
        }
        let timestamp = u64::try_from(number("timestamp")?);
        let signed = bytes("signature")?;
        let mut reader = Tls(&signed);
        let algorithm = reader.algorithm()?;
        let signature = reader.vector16()?.to_vec();
        reader.finish()?;
        Ok(Self {
            log_id,
            timestamp: timestamp.map_err(|_| malformed("a time before 1970"))?,
            extensions: bytes("extensions")?,
            algorithm,
            signature,
        })
    }

    fn sct(&self) -> Sct<'_> {
        Sct {
            log_id: &self.log_id,
            timestamp: self.timestamp,
            extensions: &self.extensions,
            algorithm: self.algorithm,
            signature: &self.signature,
        }
    }
}

/// The serialized SCTs of a list.
fn list_of(bytes: &[u8]) -> Result<Vec<&[u8]>, Reject> {
    let mut reader = Tls(bytes);
    let mut list = Tls(reader.vector16()?);
    reader.finish()?;
    let mut scts = Vec::new();
    while !list.0.is_empty() {
        if scts.len() >= MAX_SCTS {
            return Err(malformed("more timestamps than any real certificate has"));
        }
        scts.push(list.vector16()?);
    }
    Ok(scts)
}

/// A reader of TLS presentation language (RFC 8446, section 3).
struct Tls<'a>(&'a [u8]);

impl<'a> Tls<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Reject> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| malformed("cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, Reject> {
        let digits = self.take(bytes)?;
        Ok(digits.iter().fold(0, |number, digit| (number << 8) | u64::from(*digit)))
    }

    fn vector16(&mut self) -> Result<&'a [u8], Reject> {
        let length = self.number(2)?;
        self.take(usize::try_from(length).map_err(|_| malformed("cut short"))?)
    }

    fn algorithm(&mut self) -> Result<(u8, u8), Reject> {
        match self.take(2)? {
            [hash, kind] => Ok((*hash, *kind)),
            _ => Err(malformed("cut short")),
        }
    }

    fn finish(&self) -> Result<(), Reject> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("bytes after its end")) }
    }
}

fn malformed(detail: &str) -> Reject {
    Reject::Sct(Foreign::new(detail))
}
