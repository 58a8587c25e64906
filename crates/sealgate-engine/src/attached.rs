//! The manifests that are attached to a digest, in both formats, as `tree`, `copy`, `save` and
//! `clean` list them. Attachments may have attachments of their own (the signature of an
//! attestation); [`Search::deep`] finds those, too.

use std::collections::HashSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Manifest, is_index, media_type};
use sealgate_core::reference::{Identifier, Repository};

use crate::annotation;
use crate::limits::Limits;
use crate::ports::{RawManifest, RegistryRead};
use crate::triangulate::{self, Attachment};

/// The kind of an attachment, as its manifest declares it. It is unverified, and serves to list and
/// copy attachments only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A `.sig` image, or a bundle of an image signature.
    Signature,
    /// A `.att` image, or a bundle of any other statement.
    Attestation,
    /// A bill of materials.
    Sbom,
    /// A referrer of another tool.
    Other,
}

/// One manifest that is attached to a digest.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its kind.
    pub kind: Kind,
    /// Its repository.
    pub repository: Repository,
    /// The digest that it is attached to.
    pub subject: Digest,
    /// Its legacy tag; none for a referrer.
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

    /// The identifier to request it by: its tag where it has one.
    pub fn identifier(&self) -> Identifier {
        match &self.tag {
            Some(tag) => Identifier::Tag(tag.clone()),
            None => Identifier::Digest(self.digest().clone()),
        }
    }
}

/// The largest number of attachments of all images of one call.
const MAX_FOUND: usize = 20_000;

/// The settings of a search for attachments.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    /// The registry.
    pub registry: &'a dyn RegistryRead,
    /// The image's own repository.
    pub repository: &'a Repository,
    /// Another repository with signatures (`COSIGN_REPOSITORY`), which is searched, too.
    pub elsewhere: Option<&'a Repository>,
    /// The prefix of legacy tags.
    pub tag_prefix: &'a str,
    /// Bounds.
    pub limits: &'a Limits,
}

impl Search<'_> {
    /// The attachments of `subject`: legacy tags, then referrers, first in the image's repository,
    /// then in the other one; each manifest once. Fails if a source cannot be read.
    pub(crate) async fn find(&self, subject: &Digest) -> Result<Vec<Attached>, Fault> {
        let beside = self.find_in(self.repository, subject);
        let Some(elsewhere) = self.elsewhere.filter(|place| *place != self.repository) else {
            return beside.await;
        };
        let (mut found, more) = futures::try_join!(beside, self.find_in(elsewhere, subject))?;
        found.extend(more);
        let mut seen = HashSet::new();
        found.retain(|item| seen.insert((item.tag.clone(), item.digest().clone())));
        Ok(found)
    }

    /// The attachments of `subjects`, their attachments, and so on, level by level; each manifest
    /// once. Attachments that `wanted` rejects are left out, with everything attached to them.
    pub(crate) async fn deep(
        &self,
        subjects: &[Digest],
        wanted: impl Fn(&Attached) -> bool + Send,
    ) -> Result<Vec<Attached>, Fault> {
        let mut seen: HashSet<Digest> = subjects.iter().cloned().collect();
        let mut level = subjects.to_vec();
        let mut found: Vec<Attached> = Vec::new();
        for _ in 0..=self.limits.depth {
            let mut more = stream::iter(std::mem::take(&mut level))
                .map(async |subject: Digest| self.find(&subject).await)
                .buffered(self.limits.concurrent.max(1))
                .try_concat()
                .await?;
            more.retain(&wanted);
            let digests = more.iter().map(|item| item.digest().clone());
            level = digests.filter(|digest| seen.insert(digest.clone())).collect();
            found.extend(more);
            let host = self.repository.registry();
            Limits::check_count(found.len(), MAX_FOUND, host, "attachments of one image")?;
            if level.is_empty() {
                return Ok(found);
            }
        }
        let detail = format!("attachments are nested more than {} levels deep", self.limits.depth);
        Err(Fault::new(FaultKind::TooMany, self.repository.registry(), detail))
    }

    async fn find_in(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Attached>, Fault> {
        let tags = Attachment::LEGACY.map(|what| self.legacy(repository, subject, what));
        let (tags, referrers) = futures::join!(
            futures::future::try_join_all(tags),
            self.referrers(repository, subject),
        );
        let mut found = tags?.into_iter().flatten().collect::<Vec<_>>();
        found.extend(referrers?);
        Ok(found)
    }

    async fn legacy(
        &self,
        repository: &Repository,
        subject: &Digest,
        what: Attachment,
    ) -> Result<Option<Attached>, Fault> {
        let tag = triangulate::tag(self.tag_prefix, subject, what);
        let raw = self.registry.manifest(repository, &Identifier::Tag(tag.clone())).await?;
        let kind = match what {
            Attachment::Signatures => Kind::Signature,
            Attachment::Attestations => Kind::Attestation,
            Attachment::Sbom => Kind::Sbom,
            Attachment::Referrers => Kind::Other,
        };
        let described = raw.map(|raw| describe(repository, subject, raw));
        Ok(described.map(|item| Attached { kind, tag: Some(tag), ..item }))
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Attached>, Fault> {
        let listed = self.registry.referrers(repository, subject).await?;
        let host = repository.registry();
        Limits::check_count(listed.len(), self.limits.referrers, host, "referrers")?;
        let mut seen = HashSet::new();
        let digests = listed.into_iter().map(|entry| entry.digest);
        let digests = digests.filter(|digest| seen.insert(digest.clone())).collect::<Vec<_>>();
        let manifests = stream::iter(digests)
            .map(async |digest: Digest| {
                self.registry.manifest(repository, &Identifier::Digest(digest)).await
            })
            .buffered(self.limits.concurrent.max(1));
        let found = manifests
            .try_filter_map(async |raw| Ok(raw.map(|raw| describe(repository, subject, raw))));
        found.try_collect().await
    }
}

/// An attachment as its manifest declares it. The manifest is read by serde alone, as `copy` reads
/// images, because it is unverified. One that cannot be read is shown by its media type.
fn describe(repository: &Repository, subject: &Digest, raw: RawManifest) -> Attached {
    let (repository, subject) = (repository.clone(), subject.clone());
    let manifest = match is_index(&raw.descriptor.media_type) {
        true => None,
        false => serde_json::from_slice::<Manifest>(&raw.bytes).ok(),
    };
    let Some(manifest) = manifest else {
        let artifact_type = raw.descriptor.media_type.clone();
        let (kind, tag, predicate_type) = (Kind::Other, None, None);
        return Attached {
            kind,
            repository,
            subject,
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
        repository,
        subject,
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
