//! The legacy image of a digest (`.sig`, `.att`): one manifest with a layer for each signature,
//! which is read, extended and replaced without losing the layers of another writer.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Manifest, is_index, media_type, parse_manifest};
use sealgate_core::reference::{Identifier, Repository};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::limits::Limits;
use crate::ports::{RawManifest, RegistryWrite};
use crate::write;

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The largest number of attempts. In each round one of the concurrent writers succeeds.
const ATTEMPTS: u32 = 100;
const LONGEST_PAUSE: Duration = Duration::from_millis(600);
/// The time between a write and its verification: longer than another writer takes between reading
/// and writing, on a registry without conditional writes.
const SETTLE: Duration = Duration::from_millis(200);
/// Go's zero time, in every configuration that cosign writes.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// The media types of manifests and configurations (`COSIGN_DOCKER_MEDIA_TYPES`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// Those of OCI.
    #[default]
    Oci,
    /// Those of Docker's version 2, schema 2.
    Docker,
}

impl MediaTypes {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        }
    }
}

/// A layer to append.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Its media type, size, digest and annotations.
    pub descriptor: Descriptor,
    /// Its bytes; none if the repository has them already.
    pub content: Option<Bytes>,
}

/// The form of the image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Style {
    /// The media types of a new manifest.
    pub media_types: MediaTypes,
    /// The creation time of the layers (`--record-creation-timestamp`); else Go's zero time.
    pub created: Option<Timestamp>,
}

/// The result of appending layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The manifest under the tag.
    pub manifest: Digest,
    /// The number of layers that the manifest did not have.
    pub added: usize,
}

/// The configuration of the image, with the fields in Go's order.
#[derive(Serialize)]
struct Config {
    architecture: Value,
    created: Value,
    history: Vec<Value>,
    os: Value,
    rootfs: RootFs,
    config: Value,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<Value>,
}

/// Appends the layers for which `covered` finds no equal in the image under `tag`. Reads the image
/// back, merges and retries until it has all of them.
pub(crate) async fn append(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    tag: &str,
    layers: &[Layer],
    style: &Style,
    covered: impl Fn(&Descriptor, &Layer) -> bool,
) -> Result<Appended, Failure> {
    for layer in layers {
        if let Some(content) = &layer.content {
            let media_type = &layer.descriptor.media_type;
            write::blob(registry, repository, media_type, content.clone()).await?;
        }
    }
    let mut added = 0;
    for attempt in 1..=ATTEMPTS {
        let at = Identifier::Tag(tag.to_owned());
        let current = registry.manifest(repository, &at).await?;
        let stored = current.as_ref().map(|raw| parse(raw, repository)).transpose()?;
        let stored_layers = stored.as_ref().map_or(&[][..], |manifest| &manifest.layers);
        let has = |layer: &&Layer| stored_layers.iter().any(|there| covered(there, layer));
        let missing = layers.iter().filter(|layer| !has(layer)).cloned().collect::<Vec<_>>();
        if let (true, Some(raw)) = (missing.is_empty(), &current) {
            return Ok(Appended { manifest: raw.descriptor.digest.clone(), added });
        }
        let expected = current.as_ref().map(|raw| &raw.descriptor.digest);
        let next = extended(registry, repository, stored, &missing, style).await?;
        let (media_type, bytes) = next;
        match registry.replace_manifest(repository, tag, expected, &media_type, bytes).await? {
            true => {
                added = added.max(missing.len());
                tokio::time::sleep(write::jittered(SETTLE)).await;
            }
            false => tokio::time::sleep(pause(attempt)).await,
        }
    }
    let detail = format!("{tag}: other writers were faster {ATTEMPTS} times");
    Err(Fault::new(FaultKind::TooMany, repository.registry(), detail).into())
}

fn pause(attempt: u32) -> Duration {
    write::jittered((Duration::from_millis(20) * attempt).min(LONGEST_PAUSE))
}

fn parse(raw: &RawManifest, repository: &Repository) -> Result<Manifest, Failure> {
    let malformed = |detail: String| Failure::malformed(repository.registry(), detail);
    if is_index(&raw.descriptor.media_type) {
        return Err(malformed("the signature tag holds an index, not an image".to_owned()));
    }
    parse_manifest(&raw.bytes, Some(&raw.descriptor.media_type))
        .map_err(|error| malformed(error.to_string()))
}

/// The media type and the bytes of the manifest with `missing` appended. Its configuration is
/// stored.
async fn extended(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    stored: Option<Manifest>,
    missing: &[Layer],
    style: &Style,
) -> Result<(String, Bytes), Failure> {
    let known = match &stored {
        Some(manifest) => old_config(registry, repository, manifest).await?,
        None => None,
    };
    let mut manifest = stored.unwrap_or_else(|| empty(style.media_types));
    let config = config(known.as_ref(), &manifest.layers, missing, style);
    manifest.layers.extend(missing.iter().map(|layer| layer.descriptor.clone()));
    let most = Limits::default().signatures;
    Limits::check_count(manifest.layers.len(), most, repository.registry(), "signature layers")?;
    let config = write::json(&config)?;
    let media_type = manifest.config.media_type.clone();
    manifest.config = write::describe(&media_type, &config);
    write::blob(registry, repository, &media_type, config).await?;
    let media_type = manifest.media_type.clone();
    let media_type = media_type.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
    Ok((media_type, write::json(&manifest)?))
}

fn empty(media_types: MediaTypes) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media_types.manifest().to_owned()),
        config: write::describe(media_types.config(), b""),
        layers: Vec::new(),
        annotations: Default::default(),
        subject: None,
        artifact_type: None,
    }
}

/// The stored configuration; none if it cannot be read, and a new one is written.
async fn old_config(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Option<Value>, Failure> {
    let Descriptor { digest, size, .. } = &manifest.config;
    if *size > Limits::default().blob {
        return Ok(None);
    }
    let bytes = registry.blob(repository, digest, *size).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn config(known: Option<&Value>, stored: &[Descriptor], new: &[Layer], style: &Style) -> Config {
    let created = style.created.map_or_else(|| ZERO_TIME.to_owned(), |time| time.to_string());
    let field = |name: &str, default: Value| {
        known.and_then(|config| config.get(name)).cloned().unwrap_or(default)
    };
    let list = |value: Option<&Value>, default: Vec<Value>| match value {
        Some(Value::Array(items)) if items.len() == stored.len() => items.clone(),
        _ => default,
    };
    let history = known.and_then(|config| config.get("history"));
    let blank = stored.iter().map(|_| json!({"created": ZERO_TIME})).collect();
    let mut history = list(history, blank);
    let diff_ids = known.and_then(|config| config.pointer("/rootfs/diff_ids"));
    let digests = stored.iter().map(|layer| json!(layer.digest)).collect();
    let mut diff_ids = list(diff_ids, digests);
    for layer in new {
        history.push(json!({"created": created}));
        diff_ids.push(json!(layer.descriptor.digest));
    }
    let first =
        if style.created.is_some() { json!(created) } else { field("created", json!(created)) };
    Config {
        architecture: field("architecture", json!("")),
        created: first,
        history,
        os: field("os", json!("")),
        rootfs: RootFs { kind: "layers", diff_ids },
        config: field("config", json!({})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_layer_has_the_configuration_that_cosign_writes() {
        let descriptor = write::describe(media_type::SIMPLE_SIGNING, b"payload");
        let layer = Layer { descriptor, content: None };
        let bytes = write::json(&config(None, &[], &[layer], &Style::default())).unwrap();
        assert_eq!(bytes.len(), 233);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.starts_with(
            r#"{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"}],"os":"","rootfs":{"type":"layers","diff_ids":["sha256:"#
        ));
        assert!(text.ends_with(r#""]},"config":{}}"#));
    }

    #[test]
    fn a_pause_grows_and_stays_bounded() {
        assert!(pause(1) <= Duration::from_millis(20));
        assert!(pause(90) <= LONGEST_PAUSE);
        assert!(pause(90) >= LONGEST_PAUSE / 2);
    }
}
