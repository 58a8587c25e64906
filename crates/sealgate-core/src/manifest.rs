//! OCI manifests, indexes and descriptors (image-spec 1.1) and the Docker v2 schema 2 forms,
//! as far as signing and verifying need them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::json::{self, InvalidJson, Object};
use crate::reject::Foreign;

/// The maximum size of a manifest in bytes (recommended by the distribution specification).
pub const MAX_MANIFEST: usize = 4 << 20;
/// The maximum number of layers in a manifest (cosign's bound).
pub const MAX_LAYERS: usize = 1000;
/// The maximum number of children of an index or a list of referrers.
pub const MAX_CHILDREN: usize = 10_000;

/// Media types, by their names in the specifications.
pub mod media_type {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// A Docker image manifest, version 2, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// An OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// The empty JSON object, for manifests without a configuration.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// A legacy cosign signature's payload.
    pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    /// A DSSE envelope (legacy cosign attestations).
    pub const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
    /// The prefix of the media type of every Sigstore bundle.
    pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
    /// A Sigstore bundle of version 0.3.
    pub const BUNDLE_V03: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
}

/// A descriptor: media type, length and digest of content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The length in bytes.
    pub size: u64,
    /// The digest of the content.
    pub digest: Digest,
    /// The artifact type of a manifest (image-spec 1.1).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact_type: Option<String>,
    /// Annotations.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        default,
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The platform of a child of an index, untouched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<serde_json::Value>,
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The media type in the manifest itself, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// Annotations.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        default,
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The subject of this manifest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<Descriptor>,
    /// The artifact type.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact_type: Option<String>,
}

/// An image index, a manifest list, or a referrers list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The media type in the index itself, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub media_type: Option<String>,
    /// The children.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        default,
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Reason why bytes are not accepted as a manifest or index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidManifest {
    /// Not well-formed JSON, ambiguous, or beyond a bound.
    #[error("malformed manifest: {0}")]
    Json(InvalidJson),
    /// A field is missing, or of the wrong kind.
    #[error("malformed manifest: {0}")]
    Shape(Foreign),
    /// Not schema version 2.
    #[error("unsupported manifest schema version {0}")]
    SchemaVersion(u64),
    /// The media type is not the expected one: an index for a manifest, the reverse, or an
    /// unsupported one.
    #[error("unsupported manifest media type {0:?}")]
    MediaType(Foreign),
    /// The document has another media type than the registry's response.
    #[error("the manifest says that it is {document:?}, the registry that it is {claimed:?}")]
    MediaTypeMismatch {
        /// The media type in the document.
        document: Foreign,
        /// The media type in the registry's response.
        claimed: Foreign,
    },
    /// An index that also has layers, or a manifest that also has children.
    #[error("the document can be read as an image manifest and as an index")]
    Ambiguous,
}

/// Reads an image manifest.
///
/// `claimed` is the media type in the registry's response (or a descriptor), without parameters; if
/// the document names one too, both must agree.
pub fn parse_manifest(bytes: &[u8], claimed: Option<&str>) -> Result<Manifest, InvalidManifest> {
    let value = document(bytes, claimed, is_manifest)?;
    if value.get("manifests").is_some_and(|children| !children.is_null()) {
        return Err(InvalidManifest::Ambiguous);
    }
    check_descriptors(&value, "layers", MAX_LAYERS)?;
    for single in ["config", "subject"] {
        if let Some(descriptor) = value.get(single).filter(|value| !value.is_null()) {
            Object::new(descriptor, single, DESCRIPTOR_KEYS).map_err(InvalidManifest::Json)?;
        }
    }
    Manifest::deserialize(value).map_err(shape)
}

/// Reads an image index, a manifest list, or a list of referrers.
///
/// `claimed` is as for [`parse_manifest`].
pub fn parse_index(bytes: &[u8], claimed: Option<&str>) -> Result<Index, InvalidManifest> {
    let value = document(bytes, claimed, is_index)?;
    if ["layers", "config"].iter().any(|key| value.get(key).is_some_and(|v| !v.is_null())) {
        return Err(InvalidManifest::Ambiguous);
    }
    check_descriptors(&value, "manifests", MAX_CHILDREN)?;
    Index::deserialize(value).map_err(shape)
}

const DOCUMENT_KEYS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
];

const DESCRIPTOR_KEYS: &[&str] =
    &["mediaType", "size", "digest", "artifactType", "annotations", "platform"];

/// Common parts of manifests and indexes: strict JSON, schema version 2, one media type.
fn document(
    bytes: &[u8],
    claimed: Option<&str>,
    wanted: fn(&str) -> bool,
) -> Result<Value, InvalidManifest> {
    let value = json::parse(bytes, MAX_MANIFEST).map_err(InvalidManifest::Json)?;
    let object = Object::new(&value, "manifest", DOCUMENT_KEYS).map_err(InvalidManifest::Json)?;
    match object.get("schemaVersion").and_then(Value::as_u64) {
        Some(2) => {}
        other => return Err(InvalidManifest::SchemaVersion(other.unwrap_or_default())),
    }
    let named = json::text(object.get("mediaType"), "mediaType").map_err(InvalidManifest::Json)?;
    let claimed = claimed.unwrap_or(named);
    if !named.is_empty() && named != claimed {
        return Err(InvalidManifest::MediaTypeMismatch {
            document: Foreign::new(named),
            claimed: Foreign::new(claimed),
        });
    }
    match claimed {
        "" => Ok(value),
        claimed if wanted(claimed) => Ok(value),
        other => Err(InvalidManifest::MediaType(Foreign::new(other))),
    }
}

fn check_descriptors(
    value: &Value,
    field: &'static str,
    limit: usize,
) -> Result<(), InvalidManifest> {
    let list = value.get(field).filter(|list| !list.is_null());
    for descriptor in json::list(list, field, limit).map_err(InvalidManifest::Json)? {
        Object::new(descriptor, field, DESCRIPTOR_KEYS).map_err(InvalidManifest::Json)?;
    }
    Ok(())
}

fn shape(error: serde_json::Error) -> InvalidManifest {
    InvalidManifest::Shape(Foreign::new(error.to_string()))
}

/// True if `media_type` is that of an image manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST)
}

/// Go writes an empty list or map as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// True if `media_type` is that of an index or a manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, media_type::OCI_INDEX | media_type::DOCKER_LIST)
}

#[cfg(test)]
mod tests;
