//! What is stored, and what is due. Pure: data and the time in, data out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::Fault;
use serde::{Deserialize, Serialize};

use super::issue::{self, Authority, Leaf};
use super::{CA_RENEWAL, LEAF_RENEWAL, OVERLAP, Serving};

/// The keys of a Secret's data.
struct Layout {
    ca_certificate: &'static str,
    ca_key: &'static str,
    previous_ca: &'static str,
    server_certificate: &'static str,
    server_key: &'static str,
    record: &'static str,
}

/// Names of our own: during a migration policy-controller keeps its certificate in the same Secret.
const OWN: Layout = Layout {
    ca_certificate: "sealgate-ca-cert.pem",
    ca_key: "sealgate-ca-key.pem",
    previous_ca: "sealgate-previous-ca-cert.pem",
    server_certificate: "sealgate-server-cert.pem",
    server_key: "sealgate-server-key.pem",
    record: "sealgate-certificates.json",
};

/// What versions before wrote, under policy-controller's names.
const FORMER: Layout = Layout {
    ca_certificate: "ca-cert.pem",
    ca_key: "ca-key.pem",
    previous_ca: "previous-ca-cert.pem",
    server_certificate: "server-cert.pem",
    server_key: "server-key.pem",
    record: "sealgate.json",
};

/// Everything that the replicas share.
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

    /// Reads a Secret's data; `None` if it is not what we wrote, whole and unchanged. What others
    /// keep there is not looked at.
    pub(super) fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Option<Self> {
        match data.contains_key(OWN.record) {
            true => Self::read(data, &OWN),
            false => Self::read(data, &FORMER),
        }
    }

    fn read(data: &BTreeMap<String, Vec<u8>>, layout: &Layout) -> Option<Self> {
        let record: Record = serde_json::from_slice(data.get(layout.record)?).ok()?;
        if record.digest != layout.digest(data) {
            return None;
        }
        let text = |key: &str| String::from_utf8(data.get(key)?.clone()).ok();
        let previous = match record.drop_previous_after {
            Some(drop_after) => {
                Some(Previous { certificate: text(layout.previous_ca)?, drop_after })
            }
            None => None,
        };
        let chain = data.get(layout.server_certificate)?.clone();
        let key = data.get(layout.server_key)?.clone();
        Some(Self {
            authority: Authority {
                certificate: text(layout.ca_certificate)?,
                key: text(layout.ca_key)?,
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

    /// What of the Secret's data is ours.
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

/// What caBundle must be by a Secret's data; `None` while there is no certificate of the gate.
pub(crate) fn bundle(data: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    data.contains_key(OWN.record).then(|| Stored::read(data, &OWN))?.map(|stored| stored.bundle())
}

/// The keys of a Secret's data that are ours.
pub(crate) fn own_keys() -> [&'static str; 6] {
    let [certificate, key, previous, server_certificate, server_key] = OWN.files();
    [certificate, key, previous, server_certificate, server_key, OWN.record]
}

impl Layout {
    fn files(&self) -> [&'static str; 5] {
        let Self { ca_certificate, ca_key, previous_ca, server_certificate, server_key, .. } = self;
        [ca_certificate, ca_key, previous_ca, server_certificate, server_key]
    }

    /// SHA-256 over all files but the record, each with its name and length.
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
