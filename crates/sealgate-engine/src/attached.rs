//! Everything that is attached to a digest, in both formats: what `tree`, `copy`, `save`,
//! `clean` and `download` walk over.

use std::collections::HashSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_core::manifest::{Descriptor, Manifest, is_index, media_type};
use sealgate_core::reference::{Identifier, Repository};

use crate::annotation;
use crate::limits::Limits;
use crate::ports::{RawManifest, Registry};
use crate::triangulate::{self, Attachment};

/// What a thing that is attached to an image is, by what it says of itself. For listing and
/// moving things only: nothing is believed because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A `.sig` image, or a bundle of an image signature.
    Signature,
    /// A `.att` image, or a bundle of any other statement.
    Attestation,
    /// A bill of materials.
    Sbom,
    /// A referrer of another maker.
    Other,
}

/// One manifest that is attached to a digest.
#[derive(Clone, Debug)]
pub struct Attached {
    /// What it is.
    pub kind: Kind,
    /// The legacy tag that it lies under; none for a referrer.
    pub tag: Option<String>,
    /// Its artifact type, or the media type of its configuration.
    pub artifact_type: String,
    /// The predicate type that a bundle's manifest names.
    pub predicate_type: Option<String>,
    /// The manifest.
    pub raw: RawManifest,
    /// Its layers.
    pub layers: Vec<Descriptor>,
    /// Its configuration, unless it is an index.
    pub config: Option<Descriptor>,
}

impl Attached {
    /// The digest of the manifest.
    pub fn digest(&self) -> &Digest {
        &self.raw.descriptor.digest
    }

    /// How to ask for it again: by tag where it has one.
    pub fn identifier(&self) -> Identifier {
        match &self.tag {
            Some(tag) => Identifier::Tag(tag.clone()),
            None => Identifier::Digest(self.digest().clone()),
        }
    }
}

/// Everything attached to `subject` in `repository`: legacy tags, then referrers, each once.
/// Fails if a source cannot be asked.
pub async fn find(
    registry: &dyn Registry,
    repository: &Repository,
    subject: &Digest,
    tag_prefix: &str,
    limits: &Limits,
) -> Result<Vec<Attached>, Fault> {
    let tags =
        Attachment::LEGACY.map(|what| legacy(registry, repository, subject, tag_prefix, what));
    let (tags, referrers) = futures::join!(
        futures::future::try_join_all(tags),
        referrers(registry, repository, subject, limits),
    );
    let mut found = tags?.into_iter().flatten().collect::<Vec<_>>();
    found.extend(referrers?);
    Ok(found)
}

async fn legacy(
    registry: &dyn Registry,
    repository: &Repository,
    subject: &Digest,
    tag_prefix: &str,
    what: Attachment,
) -> Result<Option<Attached>, Fault> {
    let tag = triangulate::tag(tag_prefix, subject, what);
    let raw = registry.manifest(repository, &Identifier::Tag(tag.clone())).await?;
    let kind = match what {
        Attachment::Signatures => Kind::Signature,
        Attachment::Attestations => Kind::Attestation,
        Attachment::Sbom => Kind::Sbom,
        Attachment::Referrers => Kind::Other,
    };
    Ok(raw.map(|raw| Attached { kind, tag: Some(tag), ..describe(raw) }))
}

async fn referrers(
    registry: &dyn Registry,
    repository: &Repository,
    subject: &Digest,
    limits: &Limits,
) -> Result<Vec<Attached>, Fault> {
    let listed = registry.referrers(repository, subject).await?;
    Limits::check_count(listed.len(), limits.referrers, repository.registry(), "referrers")?;
    let mut seen = HashSet::new();
    let digests = listed.into_iter().map(|entry| entry.digest);
    let digests = digests.filter(|digest| seen.insert(digest.clone())).collect::<Vec<_>>();
    let manifests = stream::iter(digests)
        .map(async |digest: Digest| {
            registry.manifest(repository, &Identifier::Digest(digest)).await
        })
        .buffered(limits.concurrent.max(1));
    let found = manifests.try_filter_map(async |raw| Ok(raw.map(describe)));
    found.try_collect().await
}

/// What a manifest says of itself.
fn describe(raw: RawManifest) -> Attached {
    let manifest = match is_index(&raw.descriptor.media_type) {
        true => None,
        false => serde_json::from_slice::<Manifest>(&raw.bytes).ok(),
    };
    let Some(manifest) = manifest else {
        let artifact_type = raw.descriptor.media_type.clone();
        let (kind, tag, predicate_type) = (Kind::Other, None, None);
        return Attached {
            kind,
            tag,
            artifact_type,
            predicate_type,
            raw,
            layers: Vec::new(),
            config: None,
        };
    };
    let predicate_type = manifest.annotations.get(annotation::BUNDLE_PREDICATE_TYPE).cloned();
    let declared = manifest.artifact_type.clone();
    let artifact_type = declared.unwrap_or_else(|| manifest.config.media_type.clone());
    Attached {
        kind: kind(&artifact_type, predicate_type.as_deref(), &manifest.layers),
        tag: None,
        artifact_type,
        predicate_type,
        raw,
        layers: manifest.layers,
        config: Some(manifest.config),
    }
}

fn kind(artifact_type: &str, predicate_type: Option<&str>, layers: &[Descriptor]) -> Kind {
    let any = |prefix: &str| layers.iter().any(|layer| layer.media_type.starts_with(prefix));
    if any(media_type::BUNDLE_PREFIX) {
        let signature = sealgate_core::verify::IMAGE_SIGNATURE_PREDICATE;
        return match predicate_type {
            Some(predicate) if predicate != signature => Kind::Attestation,
            _ => Kind::Signature,
        };
    }
    if any(media_type::SIMPLE_SIGNING) {
        return Kind::Signature;
    }
    if any(media_type::DSSE) {
        return Kind::Attestation;
    }
    let bill = ["spdx", "cyclonedx", "syft", "sbom"];
    match bill.iter().any(|word| artifact_type.contains(word) || any_contains(layers, word)) {
        true => Kind::Sbom,
        false => Kind::Other,
    }
}

fn any_contains(layers: &[Descriptor], word: &str) -> bool {
    layers.iter().any(|layer| layer.media_type.contains(word))
}
