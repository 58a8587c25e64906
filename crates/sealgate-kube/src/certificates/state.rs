//! What is stored, and what is due. Pure: data and the time in, data out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::Fault;
use serde::{Deserialize, Serialize};

use super::issue::{self, Authority, Leaf};
use super::{CA_RENEWAL, LEAF_RENEWAL, OVERLAP, Serving};

const CA_CERTIFICATE: &str = "ca-cert.pem";
const CA_KEY: &str = "ca-key.pem";
const PREVIOUS_CA: &str = "previous-ca-cert.pem";
const SERVER_CERTIFICATE: &str = "server-cert.pem";
const SERVER_KEY: &str = "server-key.pem";
const RECORD: &str = "sealgate.json";

/// Everything that the replicas share. The names of the keys are policy-controller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) authority: Authority,
    pub(super) previous: Option<Previous>,
    pub(super) leaf: Leaf,
}

/// A CA that is no longer used, but still trusted for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) certificate: String,
    pub(super) drop_after: Timestamp,
}

/// What has to be done to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// There is nothing, or nothing that can be used: make everything.
    Everything,
    /// The CA is old: make everything, and trust the old CA for a while.
    Authority,
    /// The serving certificate is old or has other names.
    Leaf,
    /// The old CA was trusted long enough.
    DropPrevious,
}

/// Beside the PEM files: what only a certificate parser could tell from them, bound to them by a
/// digest, so that a file that somebody exchanged is noticed.
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
    /// All new. `trusted` is the CA that clients may still expect, for the overlap.
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

    /// Reads a Secret's data; `None` if it is not what we wrote, whole and unchanged.
    pub(super) fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Option<Self> {
        let record: Record = serde_json::from_slice(data.get(RECORD)?).ok()?;
        if record.digest != digest(data) {
            return None;
        }
        let text = |key: &str| String::from_utf8(data.get(key)?.clone()).ok();
        let previous = match record.drop_previous_after {
            Some(drop_after) => Some(Previous { certificate: text(PREVIOUS_CA)?, drop_after }),
            None => None,
        };
        let chain = data.get(SERVER_CERTIFICATE)?.clone();
        let key = data.get(SERVER_KEY)?.clone();
        Some(Self {
            authority: Authority {
                certificate: text(CA_CERTIFICATE)?,
                key: text(CA_KEY)?,
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

    /// The data of the Secret.
    pub(super) fn to_data(&self) -> Result<BTreeMap<String, Vec<u8>>, serde_json::Error> {
        let mut data = BTreeMap::from([
            (CA_CERTIFICATE.to_owned(), self.authority.certificate.clone().into_bytes()),
            (CA_KEY.to_owned(), self.authority.key.clone().into_bytes()),
            (SERVER_CERTIFICATE.to_owned(), self.leaf.serving.chain.clone()),
            (SERVER_KEY.to_owned(), self.leaf.serving.key.clone()),
        ]);
        if let Some(previous) = &self.previous {
            data.insert(PREVIOUS_CA.to_owned(), previous.certificate.clone().into_bytes());
        }
        let record = Record {
            digest: digest(&data),
            names: self.leaf.names.clone(),
            authority_not_after: self.authority.not_after,
            leaf_not_after: self.leaf.not_after,
            drop_previous_after: self.previous.as_ref().map(|previous| previous.drop_after),
        };
        data.insert(RECORD.to_owned(), serde_json::to_vec(&record)?);
        Ok(data)
    }

    /// What caBundle must be: the CA in use, and the one before as long as it is trusted.
    pub(super) fn bundle(&self) -> String {
        let previous = self.previous.as_ref().map(|previous| previous.certificate.as_str());
        [self.authority.certificate.as_str()].into_iter().chain(previous).collect()
    }

    /// What `due` makes of this.
    pub(super) fn renewed(
        &self,
        due: Due,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, Fault> {
        match due {
            Due::Nothing => Ok(self.clone()),
            Due::Everything => Self::new(names, now, None),
            Due::Authority => Self::new(names, now, Some(&self.authority.certificate)),
            Due::Leaf => {
                Ok(Self { leaf: issue::leaf(&self.authority, names, now)?, ..self.clone() })
            }
            Due::DropPrevious => Ok(Self { previous: None, ..self.clone() }),
        }
    }
}

/// What has to be done to `stored` for a gate with these `names`.
pub(super) fn due(stored: Option<&Stored>, names: &[String], now: Timestamp) -> Due {
    let Some(stored) = stored else { return Due::Everything };
    let left = |until: Timestamp| until.duration_since(now);
    if left(stored.authority.not_after) < CA_RENEWAL {
        return Due::Authority;
    }
    if stored.leaf.names != names || left(stored.leaf.not_after) < LEAF_RENEWAL {
        return Due::Leaf;
    }
    match &stored.previous {
        Some(previous) if previous.drop_after <= now => Due::DropPrevious,
        _ => Due::Nothing,
    }
}

/// SHA-256 over all files but the record, each with its name and length.
fn digest(data: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hasher = Digest::hasher(Algorithm::Sha256);
    for key in [CA_CERTIFICATE, CA_KEY, PREVIOUS_CA, SERVER_CERTIFICATE, SERVER_KEY] {
        if let Some(content) = data.get(key) {
            hasher.update(key.as_bytes());
            hasher.update(&(content.len() as u64).to_be_bytes());
            hasher.update(content);
        }
    }
    hasher.finish().to_string()
}

#[cfg(test)]
mod tests;
