//! `TrustRoot` of `policy.sigstore.dev`, v1alpha1: certificate authorities, logs and timestamp
//! authorities that policies name by the object's name.
//!
//! Here are the fields as written, and how they are read from JSON. `validate` says what is wrong,
//! `keys` makes a trust root of `sigstoreKeys`. The other two forms are TUF repositories, which
//! this crate does not read.

use sealgate_core::base64;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::cip::defaults::DefaultField;
use crate::cip::field_error::Level;
use crate::cip::read::{Metadata, Unreadable, line, parts, text};

mod keys;
pub mod validate;

/// The kind.
pub const KIND: &str = "TrustRoot";
/// The one version.
pub const API_VERSION: &str = "policy.sigstore.dev/v1alpha1";

/// The folder of targets where none is named.
const DEFAULT_TARGETS: &str = "targets";
/// The target to read where none is named.
const DEFAULT_TRUSTED_ROOT: &str = "trusted_root.json";

/// A trust root as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRootObject {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `spec`.
    pub spec: Spec,
}

/// `spec`: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// A TUF repository on the network.
    pub remote: Option<Remote>,
    /// A TUF repository in this object.
    pub repository: Option<Repository>,
    /// Keys and certificates, written out.
    pub sigstore_keys: Option<Keys>,
}

/// `spec.remote`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Remote {
    /// Its `root.json`.
    pub root: Bytes,
    /// Its address.
    pub mirror: String,
    /// Its folder of targets.
    pub targets: String,
    /// The target to read.
    pub trusted_root_target: String,
}

/// `spec.repository`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Repository {
    /// Its `root.json`.
    pub root: Bytes,
    /// A gzipped tar of it.
    #[serde(rename = "mirrorFS")]
    pub mirror_fs: Bytes,
    /// Its folder of targets.
    pub targets: String,
    /// The target to read.
    pub trusted_root_target: String,
}

/// `spec.sigstoreKeys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Keys {
    /// Authorities that certify signers.
    pub certificate_authorities: Vec<CertificateAuthority>,
    /// Logs of signatures.
    pub t_logs: Vec<Log>,
    /// Logs of certificates.
    pub ct_logs: Vec<Log>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<CertificateAuthority>,
}

/// An authority of `sigstoreKeys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CertificateAuthority {
    /// Its name, for people.
    pub subject: DistinguishedName,
    /// Its address, for people.
    pub uri: String,
    /// Its certificates, PEM.
    pub cert_chain: Bytes,
    /// When it counts. (An extension of ours.)
    pub valid_for: Option<ValidFor>,
}

/// The name of an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DistinguishedName {
    /// The organization.
    pub organization: String,
    /// The common name.
    pub common_name: String,
}

/// A log of `sigstoreKeys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Log {
    /// Its address.
    #[serde(rename = "baseURL")]
    pub base_url: String,
    /// The hash of its tree.
    pub hash_algorithm: String,
    /// Its key, PEM.
    pub public_key: Bytes,
    /// When its key counts. (An extension of ours.)
    pub valid_for: Option<ValidFor>,
}

/// A time in which something counts, both ends RFC 3339 and included; an empty end is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidFor {
    /// The first second.
    pub start: String,
    /// The last second.
    pub end: String,
}

/// Bytes that the object has in base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl TrustRootObject {
    /// A trust root from an object as the API server gives it.
    pub fn from_json(object: &Value) -> Result<Self, Unreadable> {
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        if api_version != API_VERSION || kind != KIND {
            let found = line(&format!("{api_version} {kind}"));
            return Err(Unreadable::Version(found));
        }
        let (Metadata { name, generation }, spec) = parts::<Option<Spec>>(object)?;
        Ok(Self { name, generation, spec: spec.unwrap_or_default() })
    }

    /// The spec with its defaults, ready to be used.
    ///
    /// # Errors
    /// What is not valid in it, as one line.
    pub fn checked(&self) -> Result<Spec, String> {
        let errors = validate::validate(self).filter(Level::Error);
        if !errors.is_empty() {
            return Err(format!("the trust root is not valid: {errors}").replace('\n', " "));
        }
        let mut spec = self.spec.clone();
        spec.set_defaults();
        Ok(spec)
    }

    /// The fields that the defaulting webhook sets, as JSON patch `add` operations.
    pub fn default_fields(&self) -> Vec<DefaultField> {
        let mut fields = Vec::new();
        let parts = [
            ("remote", self.spec.remote.as_ref().map(|r| (&r.targets, &r.trusted_root_target))),
            (
                "repository",
                self.spec.repository.as_ref().map(|r| (&r.targets, &r.trusted_root_target)),
            ),
        ];
        for (part, written) in parts {
            let Some((targets, target)) = written else { continue };
            for (name, value, default) in [
                ("targets", targets, DEFAULT_TARGETS),
                ("trustedRootTarget", target, DEFAULT_TRUSTED_ROOT),
            ] {
                if value.is_empty() {
                    let pointer = format!("/spec/{part}/{name}");
                    fields.push(DefaultField { pointer, value: json!(default) });
                }
            }
        }
        fields
    }
}

impl Spec {
    /// Fills in what is left out.
    pub(crate) fn set_defaults(&mut self) {
        let fill = |value: &mut String, default: &str| {
            if value.is_empty() {
                default.clone_into(value);
            }
        };
        if let Some(remote) = &mut self.remote {
            fill(&mut remote.targets, DEFAULT_TARGETS);
            fill(&mut remote.trusted_root_target, DEFAULT_TRUSTED_ROOT);
        }
        if let Some(repository) = &mut self.repository {
            fill(&mut repository.targets, DEFAULT_TARGETS);
            fill(&mut repository.trusted_root_target, DEFAULT_TRUSTED_ROOT);
        }
    }
}

/// Standard base64, as Go writes and reads `[]byte`: line breaks in it do not matter.
impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        base64::decode(text).map(Self).map_err(|_| serde::de::Error::custom("illegal base64 data"))
    }
}

/// How many, not which: somebody may have put a private key where it does not belong.
impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

#[cfg(test)]
mod tests;
