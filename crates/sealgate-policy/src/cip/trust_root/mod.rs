//! `TrustRoot` of `policy.sigstore.dev`, v1alpha1: certificate authorities, logs and timestamp
//! authorities that policies name by the object's name.
//!
//! Types for the fields as written, and their parsing from JSON. `validate` checks them, `keys`
//! makes a trust root of `sigstoreKeys`. The other two forms are TUF repositories, which this crate
//! does not read.

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
/// The only version.
pub const API_VERSION: &str = "policy.sigstore.dev/v1alpha1";

/// The default of `targets`.
const DEFAULT_TARGETS: &str = "targets";
/// The default of `trustedRootTarget`.
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
    /// Certificate authorities.
    pub certificate_authorities: Vec<CertificateAuthority>,
    /// Transparency logs.
    pub t_logs: Vec<Log>,
    /// CT logs.
    pub ct_logs: Vec<Log>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<CertificateAuthority>,
}

/// An authority of `sigstoreKeys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CertificateAuthority {
    /// Its subject, informational.
    pub subject: DistinguishedName,
    /// Its URI, informational.
    pub uri: String,
    /// Its certificates, PEM.
    pub cert_chain: Bytes,
    /// Its validity period. (A Sealgate extension.)
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
    /// The hash algorithm of its tree.
    pub hash_algorithm: String,
    /// Its key, PEM.
    pub public_key: Bytes,
    /// The validity period of its key. (A Sealgate extension.)
    pub valid_for: Option<ValidFor>,
}

/// A validity period: both ends RFC 3339 and inclusive; an empty end is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidFor {
    /// The start.
    pub start: String,
    /// The end.
    pub end: String,
}

/// Bytes that the object encodes in base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl TrustRootObject {
    /// Parses an object as returned by the API server.
    pub fn from_json(object: &Value) -> Result<Self, Unreadable> {
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        if api_version != API_VERSION || kind != KIND {
            let found = line(&format!("{api_version} {kind}"));
            return Err(Unreadable::Version(found));
        }
        let (Metadata { name, generation }, spec) = parts::<Option<Spec>>(object)?;
        Ok(Self { name, generation, spec: spec.unwrap_or_default() })
    }

    /// Returns the validated spec, with defaults filled in.
    ///
    /// # Errors Returns the validation errors, as one line.
    pub fn checked(&self) -> Result<Spec, String> {
        let errors = validate::validate(self).filter(Level::Error);
        if !errors.is_empty() {
            return Err(format!("the trust root is not valid: {errors}").replace('\n', " "));
        }
        let mut spec = self.spec.clone();
        spec.set_defaults();
        Ok(spec)
    }

    /// Returns the fields that the defaulting webhook sets, as JSON patch `add` operations.
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
    /// Fills in the defaults.
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

/// Decodes standard base64, as Go reads `[]byte`: line breaks are ignored.
impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        base64::decode(text).map(Self).map_err(|_| serde::de::Error::custom("illegal base64 data"))
    }
}

/// Shows the length only: the field may contain a private key by mistake.
impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

#[cfg(test)]
mod tests;
