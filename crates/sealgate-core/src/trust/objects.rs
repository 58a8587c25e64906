//! The `sigstoreKeys` of a policy-controller TrustRoot object: PEM chains and PEM keys.

use serde::{Deserialize, Serialize};

use super::{
    CertificateAuthority, InvalidTrustRoot, LogKey, MAX_AUTHORITIES, MAX_CHAIN, MAX_LOGS, Part,
    Skipped, TransparencyLog, TrustRoot, Validity,
};
use crate::json::InvalidJson;
use crate::key::PublicKey;
use crate::reject::Foreign;
use crate::x509::{names_itself, pem};

/// `spec.sigstoreKeys`, with the base64 of the object's fields already taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigstoreKeys {
    /// Authorities that certify signers.
    pub certificate_authorities: Vec<AuthorityObject>,
    /// Transparency logs.
    pub t_logs: Vec<LogObject>,
    /// CT logs.
    pub ct_logs: Vec<LogObject>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<AuthorityObject>,
}

/// An authority of a TrustRoot object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityObject {
    /// Its address.
    pub uri: String,
    /// Its certificates, PEM; the root is the one that names itself as issuer, else the last.
    pub cert_chain: String,
    /// The validity period.
    #[serde(skip)]
    pub validity: Validity,
}

/// A log of a TrustRoot object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogObject {
    /// Its address.
    pub base_url: String,
    /// The hash of its tree, such as `sha-256`.
    pub hash_algorithm: String,
    /// Its key, PEM.
    pub public_key: String,
    /// The validity period of its key.
    #[serde(skip)]
    pub validity: Validity,
}

pub(super) fn trust_root(keys: &SigstoreKeys) -> Result<TrustRoot, InvalidTrustRoot> {
    let mut skipped = Vec::new();
    Ok(TrustRoot {
        certificate_authorities: authorities(
            &keys.certificate_authorities,
            "certificateAuthorities",
        )?,
        transparency_logs: logs(&keys.t_logs, Part::TransparencyLog, &mut skipped)?,
        ct_logs: logs(&keys.ct_logs, Part::CtLog, &mut skipped)?,
        timestamp_authorities: authorities(&keys.timestamp_authorities, "timestampAuthorities")?,
        skipped,
    })
}

fn authorities(
    objects: &[AuthorityObject],
    field: &'static str,
) -> Result<Vec<CertificateAuthority>, InvalidTrustRoot> {
    bounded(objects.len(), MAX_AUTHORITIES, field)?;
    objects.iter().map(authority).collect()
}

fn authority(object: &AuthorityObject) -> Result<CertificateAuthority, InvalidTrustRoot> {
    let bad = |detail| InvalidTrustRoot::Pem { what: "certChain", detail };
    let mut chain = pem::read(&object.cert_chain, MAX_CHAIN).map_err(bad)?;
    if chain.is_empty() {
        return Err(bad("no certificate in it"));
    }
    // A stable sort: some tools write the root first.
    chain.sort_by_key(|der| names_itself(der));
    CertificateAuthority::new(&object.uri, chain, object.validity)
}

fn logs(
    objects: &[LogObject],
    part: Part,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<TransparencyLog>, InvalidTrustRoot> {
    let field = match part {
        Part::TransparencyLog => "tLogs",
        Part::CtLog => "ctLogs",
    };
    bounded(objects.len(), MAX_LOGS, field)?;
    let mut logs = Vec::new();
    for object in objects {
        let uri = Foreign::new(&object.base_url);
        let hash = object.hash_algorithm.to_ascii_lowercase();
        if !matches!(hash.as_str(), "sha256" | "sha-256" | "") {
            let reason = format!("unsupported hash algorithm of the log: {hash}");
            skipped.push(Skipped { part, uri, reason: Foreign::new(reason) });
            continue;
        }
        let key = PublicKey::from_pem(&object.public_key)
            .map_err(|error| InvalidTrustRoot::Key { uri, error })?;
        let key = LogKey { key, hash: None };
        logs.push(TransparencyLog::new(&object.base_url, key, None, object.validity));
    }
    Ok(logs)
}

fn bounded(found: usize, limit: usize, field: &'static str) -> Result<(), InvalidTrustRoot> {
    if found > limit {
        return Err(InvalidJson::TooManyEntries { field, limit }.into());
    }
    Ok(())
}
