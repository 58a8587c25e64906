//! `ClusterImagePolicy` of `policy.sigstore.dev`: v1alpha1 and v1beta1, which have the same fields,
//! so there is one set of types.
//!
//! Types for the fields as written. `read` parses them from YAML and JSON, `defaults` fills in
//! defaults, `bounds` and `validate` check them, `convert` converts between the versions; `crate::cip::compile`
//! makes rules of them.

use serde::Deserialize;

pub mod bounds;
pub mod compile;
pub mod convert;
pub mod defaults;
pub mod field_error;
mod lint;
pub mod patterns;
pub mod read;
pub mod trust_root;
pub mod validate;

/// The API group.
pub const GROUP: &str = "policy.sigstore.dev";
/// The kind.
pub const KIND: &str = "ClusterImagePolicy";

/// A policy as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterImagePolicy {
    /// The version it was written in.
    pub version: Version,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `spec`.
    pub spec: Spec,
}

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// `policy.sigstore.dev/v1alpha1`
    V1Alpha1,
    /// `policy.sigstore.dev/v1beta1`
    V1Beta1,
}

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// Image patterns; at least one must match.
    pub images: Vec<ImagePattern>,
    /// Authorities; at least one must be satisfied.
    pub authorities: Vec<Authority>,
    /// A CUE or Rego policy over the verified results.
    pub policy: Option<Policy>,
    /// `enforce` or `warn`.
    pub mode: String,
    /// Selectors of objects; at least one must match; empty means every object.
    pub r#match: Vec<Match>,
}

/// `spec.images[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImagePattern {
    /// The pattern, see [`crate::glob`].
    pub glob: String,
}

/// `spec.authorities[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authority {
    /// `authority-<index>` unless named.
    pub name: String,
    /// A public key.
    pub key: Option<KeyRef>,
    /// Identities in certificates.
    pub keyless: Option<Keyless>,
    /// A fixed decision without evidence.
    pub r#static: Option<Static>,
    /// The location of signatures; at most one.
    pub source: Vec<SourceRef>,
    /// The required transparency log.
    pub ctlog: Option<TransparencyLog>,
    /// Required attestations.
    pub attestations: Vec<Attestation>,
    /// The required timestamp authority.
    pub rfc3161timestamp: Option<Timestamp>,
    /// `legacy`, `bundle`, or empty for both.
    #[serde(rename = "signatureFormat")]
    pub signature_format: String,
}

/// A key: exactly one of `secretRef`, `data`, `kms`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct KeyRef {
    /// A secret with one data entry.
    pub secret_ref: Option<SecretRef>,
    /// PEM.
    pub data: String,
    /// A KMS reference.
    pub kms: String,
    /// `sha224`, `sha256`, `sha384`, `sha512`.
    pub hash_algorithm: String,
}

/// A secret's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretRef {
    /// The name.
    pub name: String,
    /// The gate's own namespace, or empty.
    pub namespace: String,
}

/// Identities in certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Keyless {
    /// Fulcio's URL.
    pub url: Option<String>,
    /// Identities; at least one must match.
    pub identities: Vec<Identity>,
    /// A certificate authority's certificate.
    #[serde(rename = "ca-cert")]
    pub ca_cert: Option<KeyRef>,
    /// A TrustRoot's name.
    pub trust_root_ref: String,
    /// Accept certificates without an SCT.
    #[serde(rename = "insecureIgnoreSCT")]
    pub insecure_ignore_sct: Option<bool>,
}

/// An issuer and a subject, each as exact text or regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Identity {
    /// The issuer.
    pub issuer: String,
    /// The subject.
    pub subject: String,
    /// The issuer, as a regular expression.
    pub issuer_reg_exp: String,
    /// The subject, as a regular expression.
    pub subject_reg_exp: String,
}

/// A fixed decision without evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Static {
    /// `pass` or `fail`.
    pub action: String,
    /// The message of a denial.
    pub message: String,
}

/// The location of signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SourceRef {
    /// A repository.
    pub oci: String,
    /// Secrets in the workload's namespace.
    pub signature_pull_secrets: Vec<LocalRef>,
    /// The prefix of the signature's tag.
    pub tag_prefix: Option<String>,
}

/// A name in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalRef {
    /// The name.
    pub name: String,
}

/// `ctlog`: a transparency log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TransparencyLog {
    /// Rekor's URL.
    pub url: Option<String>,
    /// A TrustRoot's name.
    pub trust_root_ref: String,
}

/// `rfc3161timestamp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Timestamp {
    /// A TrustRoot's name.
    pub trust_root_ref: String,
}

/// A required attestation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Attestation {
    /// Its name in the policy.
    pub name: String,
    /// Its predicate type.
    pub predicate_type: String,
    /// A CUE or Rego policy over it.
    pub policy: Option<Policy>,
}

/// A CUE or Rego policy: exactly one of `data`, `remote`, `configMapRef`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// `cue` or `rego`.
    pub r#type: String,
    /// The source.
    pub data: String,
    /// The URL of the source.
    pub remote: Option<Remote>,
    /// The ConfigMap entry with the source.
    pub config_map_ref: Option<ConfigMapRef>,
    /// Give the policy the image's configuration.
    pub fetch_config_file: Option<bool>,
    /// Give the policy the object's spec.
    pub include_spec: Option<bool>,
    /// Give the policy the object's metadata.
    pub include_object_meta: Option<bool>,
    /// Give the policy the object's kind and version.
    pub include_type_meta: Option<bool>,
}

/// A document to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remote {
    /// `https://…`
    pub url: String,
    /// Its SHA-256 in hexadecimal.
    pub sha256sum: String,
}

/// An entry of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigMapRef {
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
}

/// `spec.match[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource.
    pub resource: String,
    /// Selector of the object's labels.
    pub selector: Option<LabelSelector>,
    /// Exact names of namespaces. (A Sealgate extension.)
    pub namespaces: Option<Vec<String>>,
}

/// Kubernetes' label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels and their values.
    pub match_labels: std::collections::BTreeMap<String, String>,
    /// Requirements.
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    /// The values, for `In` and `NotIn`.
    pub values: Vec<String>,
}

impl Version {
    /// The `apiVersion` of an object.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "policy.sigstore.dev/v1alpha1",
            Self::V1Beta1 => "policy.sigstore.dev/v1beta1",
        }
    }

    /// The version with this `apiVersion`.
    pub fn of(api_version: &str) -> Option<Self> {
        [Self::V1Alpha1, Self::V1Beta1].into_iter().find(|v| v.api_version() == api_version)
    }
}

impl Spec {
    /// Returns whether the policy admits images without naming an authority: mode warn and no
    /// authorities.
    pub(crate) fn is_exemption(&self) -> bool {
        self.mode == "warn" && self.authorities.is_empty()
    }
}
