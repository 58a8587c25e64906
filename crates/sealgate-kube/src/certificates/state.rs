//! Stored certificates and the rotation that is due. Pure: the time is a parameter.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::Fault;
use serde::{Deserialize, Serialize};

use super::issue::{self, Authority, Leaf};
use super::{CA_RENEWAL, LEAF_RENEWAL, OVERLAP, Serving};

/// Keys in the Secret's data.
struct SecretKeys {
    ca_certificate: &'static str,
    ca_key: &'static str,
    previous_ca: &'static str,
    server_certificate: &'static str,
    server_key: &'static str,
    record: &'static str,
}

/// Our own key names: during a migration policy-controller keeps its certificate in the same
/// Secret.
const OWN: SecretKeys = SecretKeys {
    ca_certificate: "sealgate-ca-cert.pem",
    ca_key: "sealgate-ca-key.pem",
    previous_ca: "sealgate-previous-ca-cert.pem",
    server_certificate: "sealgate-server-cert.pem",
    server_key: "sealgate-server-key.pem",
    record: "sealgate-certificates.json",
};

/// Key names of earlier versions, shared with policy-controller.
const FORMER: SecretKeys = SecretKeys {
    ca_certificate: "ca-cert.pem",
    ca_key: "ca-key.pem",
    previous_ca: "previous-ca-cert.pem",
    server_certificate: "server-cert.pem",
    server_key: "server-key.pem",
    record: "sealgate.json",
};

/// State shared by all replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) authority: Authority,
    pub(super) previous: Option<Previous>,
    pub(super) leaf: Leaf,
}

/// CA that is no longer used, but still trusted for the overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) certificate: String,
    pub(super) drop_after: Timestamp,
}

/// Rotation that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// None.
    None,
    /// No usable state: create a CA and a leaf.
    Full,
    /// The CA expires soon: create a CA and a leaf, and trust the old CA for the overlap.
    Authority,
    /// The leaf expires soon or has other names.
    Leaf,
    /// The overlap of the old CA has ended.
    DropPrevious,
}

/// Record stored next to the PEM files: values that would otherwise need a certificate parser,
/// bound to the files by a digest, so that a replaced file is detected.
#[derive(Serialize, Deserialize)]
struct Record {
    digest: String,
    names: Vec<String>,
    authority_not_after: Timestamp,
    leaf_not_after: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drop_previous_after: Option<Timestamp>,
}

impl Stored {
    /// Creates a CA and a leaf. `trusted` is the CA that clients still use during the overlap.
    pub(super) fn new(
        names: &[String],
        now: Timestamp,
        trusted: Option<&str>,
    ) -> Result<Self, Fault> {
        let authority = issue::authority(now)?;
        let leaf = issue::leaf(&authority, names, now)?;
        let previous = trusted.map(|certificate| Previous {
            certificate: certificate.to_owned(),
            drop_after: now.saturating_add(OVERLAP).unwrap_or(now),
        });
        Ok(Self { authority, previous, leaf })
    }

    /// Parses a Secret's data; `None` if it is not complete and unchanged data of ours. Other keys
    /// are ignored.
    pub(super) fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Option<Self> {
        match data.contains_key(OWN.record) {
            true => Self::read(data, &OWN),
            false => Self::read(data, &FORMER),
        }
    }

    fn read(data: &BTreeMap<String, Vec<u8>>, keys: &SecretKeys) -> Option<Self> {
        let record: Record = serde_json::from_slice(data.get(keys.record)?).ok()?;
        if record.digest != keys.digest(data) {
            return None;
        }
        let text = |key: &str| String::from_utf8(data.get(key)?.clone()).ok();
        let previous = match record.drop_previous_after {
            Some(drop_after) => Some(Previous { certificate: text(keys.previous_ca)?, drop_after }),
            None => None,
        };
        let chain = data.get(keys.server_certificate)?.clone();
        let key = data.get(keys.server_key)?.clone();
        Some(Self {
            authority: Authority {
                certificate: text(keys.ca_certificate)?,
                key: text(keys.ca_key)?,
                not_after: record.authority_not_after,
            },
            previous,
            leaf: Leaf {
                serving: Serving { chain, key },
                names: record.names,
                not_after: record.leaf_not_after,
            },
        })
    }

    /// Data of the Secret that is ours.
    pub(super) fn to_data(&self) -> Result<BTreeMap<String, Vec<u8>>, serde_json::Error> {
        let mut data = BTreeMap::from([
            (OWN.ca_certificate.to_owned(), self.authority.certificate.clone().into_bytes()),
            (OWN.ca_key.to_owned(), self.authority.key.clone().into_bytes()),
            (OWN.server_certificate.to_owned(), self.leaf.serving.chain.clone()),
            (OWN.server_key.to_owned(), self.leaf.serving.key.clone()),
        ]);
        if let Some(previous) = &self.previous {
            data.insert(OWN.previous_ca.to_owned(), previous.certificate.clone().into_bytes());
        }
        let record = Record {
            digest: OWN.digest(&data),
            names: self.leaf.names.clone(),
            authority_not_after: self.authority.not_after,
            leaf_not_after: self.leaf.not_after,
            drop_previous_after: self.previous.as_ref().map(|previous| previous.drop_after),
        };
        data.insert(OWN.record.to_owned(), serde_json::to_vec(&record)?);
        Ok(data)
    }

    /// Value of caBundle: the current CA, and the previous one while it is trusted.
    pub(super) fn bundle(&self) -> String {
        let previous = self.previous.as_ref().map(|previous| previous.certificate.as_str());
        [self.authority.certificate.as_str()].into_iter().chain(previous).collect()
    }

    /// State after the rotation `due`.
    pub(super) fn renewed(
        &self,
        due: Rotation,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, Fault> {
        match due {
            Rotation::None => Ok(self.clone()),
            Rotation::Full => Self::new(names, now, None),
            Rotation::Authority => Self::new(names, now, Some(&self.authority.certificate)),
            Rotation::Leaf => {
                Ok(Self { leaf: issue::leaf(&self.authority, names, now)?, ..self.clone() })
            }
            Rotation::DropPrevious => Ok(Self { previous: None, ..self.clone() }),
        }
    }
}

/// Rotation that is due for `stored`, for a gate with these `names`.
pub(super) fn due(stored: Option<&Stored>, names: &[String], now: Timestamp) -> Rotation {
    let Some(stored) = stored else { return Rotation::Full };
    let left = |until: Timestamp| until.duration_since(now);
    if left(stored.authority.not_after) < CA_RENEWAL {
        return Rotation::Authority;
    }
    if stored.leaf.names != names || left(stored.leaf.not_after) < LEAF_RENEWAL {
        return Rotation::Leaf;
    }
    match &stored.previous {
        Some(previous) if previous.drop_after <= now => Rotation::DropPrevious,
        _ => Rotation::None,
    }
}

/// Value of caBundle for a Secret's data; `None` while the gate has no certificate.
pub(crate) fn bundle(data: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    data.contains_key(OWN.record).then(|| Stored::read(data, &OWN))?.map(|stored| stored.bundle())
}

/// Our keys in a Secret's data.
pub(crate) fn own_keys() -> [&'static str; 6] {
    let [certificate, key, previous, server_certificate, server_key] = OWN.files();
    [certificate, key, previous, server_certificate, server_key, OWN.record]
}

impl SecretKeys {
    fn files(&self) -> [&'static str; 5] {
        let Self { ca_certificate, ca_key, previous_ca, server_certificate, server_key, .. } = self;
        [ca_certificate, ca_key, previous_ca, server_certificate, server_key]
    }

    /// SHA-256 over all files except the record, each with its name and length.
    fn digest(&self, data: &BTreeMap<String, Vec<u8>>) -> String {
        let mut hasher = Digest::hasher(Algorithm::Sha256);
        for key in self.files() {
            if let Some(content) = data.get(key) {
                hasher.update(key.as_bytes());
                hasher.update(&(content.len() as u64).to_be_bytes());
                hasher.update(content);
            }
        }
        hasher.finish().to_string()
    }
}

#[cfg(test)]
mod tests;
