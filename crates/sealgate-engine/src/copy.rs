//! The use case behind `copy`: copies an image or index with everything that is attached to it, and
//! to that, in both formats. Digests do not change, so signatures stay valid and referrers stay
//! referrers. The tag is written last: it never names an incomplete image.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use moka::future::Cache;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Manifest, is_index};
use sealgate_core::reference::{Identifier, Reference, Repository};

use crate::attached::{Attached, Kind, Search};
use crate::content::Content;
use crate::failure::Failure;
use crate::index;
use crate::legacy::{self, Layer};
use crate::limits::Limits;
use crate::pin::{self, Pinned};
use crate::ports::{RawManifest, RegistryRead, RegistryWrite};

/// The settings of a copy.
#[derive(Clone, Debug, Default)]
pub struct CopyRequest {
    /// The kinds of attachments to copy (`--only`); all kinds by default.
    pub only: Option<BTreeSet<Kind>>,
    /// The one child of an index to copy, `os/architecture[/variant]`.
    pub platform: Option<String>,
    /// True if a tag that names another image at the target is moved. Signatures and attestations
    /// at the target are kept in any case.
    pub force: bool,
    /// Another repository with signatures at the source (`COSIGN_REPOSITORY`); both repositories
    /// are read. At the target everything is in one repository.
    pub signature_repository: Option<Repository>,
    /// The prefix of legacy tags.
    pub tag_prefix: String,
    /// Bounds.
    pub limits: Limits,
}

/// The result of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The image at the target, with its digest.
    pub image: Reference,
    /// The number of images: one, or an index and everything below it.
    pub images: usize,
    /// The number of signatures, attestations and other attachments.
    pub attachments: usize,
    /// The number of manifests that the target did not have.
    pub written: usize,
}

/// The largest number of referrers lists of the target that are kept.
const LISTED: u64 = 1024;

/// A copy between two repositories.
struct Transfer<'a> {
    source: &'a dyn RegistryRead,
    from: &'a Repository,
    target: &'a dyn RegistryWrite,
    to: &'a Repository,
    request: &'a CopyRequest,
    /// The referrers that the target lists, requested once for each digest.
    listed: Cache<Digest, Arc<HashSet<Digest>>>,
}

/// Copies `from` in `source` to `to` in `target`.
pub async fn copy_image(
    source: &dyn RegistryRead,
    from: &Reference,
    target: &dyn RegistryWrite,
    to: &Reference,
    request: &CopyRequest,
) -> Result<Copied, Failure> {
    let (there, here) = (to.repository(), from.repository());
    let listed = Cache::new(LISTED);
    let transfer = Transfer { source, from: here, target, to: there, request, listed };
    let pinned = transfer.wanted(from).await?;
    transfer.check_target(to, pinned.digest()).await?;
    let below = index::descendants(source, here, pinned.digest(), &request.limits).await?;
    let mut digests = below.into_iter().map(|c| c.descriptor.digest).collect::<Vec<_>>();
    // The deepest children come last; they are copied first, so that no index names a missing one.
    digests.reverse();
    digests.push(pinned.digest().clone());
    let mut written = transfer.images(&digests).await?;
    let attachments = transfer.all_attached(&digests).await?;
    written += transfer.attachments(&attachments).await?;
    transfer.tag(to, pinned.digest()).await?;
    Ok(Copied {
        image: to.pinned(pinned.digest().clone()),
        images: digests.len(),
        attachments: attachments.len(),
        written,
    })
}

impl Transfer<'_> {
    /// The image itself, or the child for the requested platform.
    async fn wanted(&self, from: &Reference) -> Result<Pinned, Failure> {
        let pinned = pin::resolve(self.source, from).await?;
        let Some(platform) = &self.request.platform else { return Ok(pinned) };
        if !is_index(&pinned.descriptor.media_type) {
            return Ok(pinned);
        }
        let limits = &self.request.limits;
        let children = index::children(self.source, self.from, pinned.digest(), limits).await?;
        let mut fitting = children.into_iter().filter(|child| {
            child.platform.as_ref().is_some_and(|found| {
                found == platform
                    || found
                        .strip_prefix(platform.as_str())
                        .is_some_and(|rest| rest.starts_with('/'))
            })
        });
        match (fitting.next(), fitting.next()) {
            (Some(child), None) => Ok(Pinned {
                reference: self.from.at(Identifier::Digest(child.descriptor.digest.clone())),
                descriptor: child.descriptor,
            }),
            (None, _) => {
                Err(Failure::Invalid(format!("no image for platform {platform} in {from}")))
            }
            _ => Err(Failure::Invalid(format!("several images for platform {platform} in {from}"))),
        }
    }

    async fn check_target(&self, to: &Reference, digest: &Digest) -> Result<(), Failure> {
        if let Some(asked) = to.digest()
            && asked != digest
        {
            let text = format!("the image is {digest}, it cannot be copied to {to}");
            return Err(Failure::Invalid(text));
        }
        let Some(tag) = to.tag().filter(|_| !self.request.force) else { return Ok(()) };
        let stored = self.target.resolve(self.to, &Identifier::Tag(tag.to_owned())).await?;
        match stored {
            Some(other) if other.digest != *digest => {
                Err(Failure::Occupied { at: Box::new(to.clone()), found: other.digest.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Copies images before the indexes that name them. Returns how many were not there.
    async fn images(&self, digests: &[Digest]) -> Result<usize, Failure> {
        let mut indexes = Vec::new();
        let mut written = 0;
        let mut manifests = stream::iter(digests.to_vec())
            .map(async |digest: Digest| self.missing(&digest).await)
            .buffered(self.request.limits.concurrent.max(1));
        while let Some(raw) = manifests.try_next().await? {
            match raw {
                Some(raw) if is_index(&raw.descriptor.media_type) => indexes.push(raw),
                Some(raw) => {
                    self.image(&raw).await?;
                    written += 1;
                }
                None => {}
            }
        }
        for raw in indexes {
            self.push(&raw).await?;
            written += 1;
        }
        Ok(written)
    }

    /// Copies a manifest that the target does not have.
    async fn missing(&self, digest: &Digest) -> Result<Option<RawManifest>, Failure> {
        let at = Identifier::Digest(digest.clone());
        if self.target.resolve(self.to, &at).await?.is_some() {
            return Ok(None);
        }
        let raw = self.source.manifest(self.from, &at).await?;
        raw.map(Some).ok_or_else(|| Failure::not_found(self.from.at(at)))
    }

    /// Copies an image manifest and its blobs.
    async fn image(&self, raw: &RawManifest) -> Result<(), Failure> {
        if let Content::Image(manifest) = Content::read(raw, self.from)? {
            let Manifest { config, layers, .. } = *manifest;
            let blobs = std::iter::once(config).chain(layers);
            self.blobs(self.from, blobs).await?;
        }
        self.push(raw).await
    }

    async fn blobs(
        &self,
        from: &Repository,
        blobs: impl Iterator<Item = Descriptor>,
    ) -> Result<(), Failure> {
        let mut seen = BTreeSet::new();
        let blobs = blobs.filter(|blob| seen.insert(blob.digest.clone())).collect::<Vec<_>>();
        stream::iter(blobs.into_iter().map(Ok))
            .try_for_each_concurrent(self.request.limits.concurrent.max(1), async |blob| {
                self.blob(from, &blob).await
            })
            .await
    }

    async fn blob(&self, from: &Repository, blob: &Descriptor) -> Result<(), Failure> {
        let same_registry = from.registry() == self.to.registry() && from != self.to;
        if same_registry && self.target.mount_blob(self.to, &blob.digest, from).await? {
            return Ok(());
        }
        let Some(content) = self.source.blob_stream(from, &blob.digest).await? else {
            // A non-distributable layer is not in the registry; its descriptor has the URLs.
            if blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign") {
                return Ok(());
            }
            let detail = format!("blob {} of {from} is missing", blob.digest);
            return Err(Fault::new(FaultKind::Missing, from.registry(), detail).into());
        };
        Ok(self.target.push_blob(self.to, blob, content).await?)
    }

    async fn push(&self, raw: &RawManifest) -> Result<(), Failure> {
        let at = Identifier::Digest(raw.descriptor.digest.clone());
        let media_type = &raw.descriptor.media_type;
        self.target.push_manifest(self.to, &at, media_type, raw.bytes.clone()).await?;
        Ok(())
    }

    async fn all_attached(&self, digests: &[Digest]) -> Result<Vec<Attached>, Failure> {
        let CopyRequest { signature_repository, tag_prefix, limits, only, .. } = self.request;
        let search = Search {
            registry: self.source,
            repository: self.from,
            elsewhere: signature_repository.as_ref(),
            tag_prefix,
            limits,
        };
        let wanted = |item: &Attached| only.as_ref().is_none_or(|kinds| kinds.contains(&item.kind));
        Ok(search.deep(digests, wanted).await?)
    }

    /// Copies the attachments of the image's own repository before those of the other one: both may
    /// be merged under one tag.
    async fn attachments(&self, items: &[Attached]) -> Result<usize, Failure> {
        let (beside, elsewhere): (Vec<_>, Vec<_>) =
            items.iter().partition(|item| item.repository == *self.from);
        let mut written = 0;
        for items in [beside, elsewhere] {
            for batch in items.chunks(self.request.limits.concurrent.max(1)) {
                let copies = batch.iter().map(|item| self.attachment(item));
                let copies = try_join_all(copies).await?;
                written += copies.into_iter().filter(|new| *new).count();
            }
        }
        Ok(written)
    }

    /// Copies an attachment. Returns whether anything was written.
    async fn attachment(&self, item: &Attached) -> Result<bool, Failure> {
        let at = item.identifier();
        let stored = self.target.resolve(self.to, &at).await?;
        let mergeable = matches!(item.kind, Kind::Signature | Kind::Attestation);
        let same = stored.as_ref().is_some_and(|there| there.digest == *item.digest());
        if same && (item.tag.is_some() || self.is_listed(item).await?) {
            return Ok(false);
        }
        match (&item.tag, stored) {
            // The target has other signatures of this image: with and without force, all are kept.
            (Some(tag), Some(_)) if mergeable => self.merge(item, tag).await,
            (Some(_), Some(there)) if !self.request.force => {
                let (at, found) = (Box::new(self.to.at(at)), there.digest.to_string());
                Err(Failure::Occupied { at, found })
            }
            (tag, _) => {
                let blobs = item.config.iter().chain(&item.layers).cloned();
                self.blobs(&item.repository, blobs).await?;
                self.push(&item.raw).await?;
                if let Some(tag) = tag {
                    self.tag_as(tag, &item.raw).await?;
                }
                Ok(true)
            }
        }
    }

    /// True if the target lists a referrer that it has. One that an interrupted copy left unlisted,
    /// or that the registry wrongly confirmed, is pushed again.
    async fn is_listed(&self, item: &Attached) -> Result<bool, Failure> {
        let subject = item.subject.clone();
        let ask = async {
            let listed = self.target.referrers(self.to, &item.subject).await?;
            Ok(Arc::new(listed.into_iter().map(|entry| entry.digest).collect()))
        };
        let listed = self.listed.try_get_with(subject, ask).await;
        let listed = listed.map_err(|fault: Arc<Fault>| Fault::clone(&fault))?;
        Ok(listed.contains(item.digest()))
    }

    /// Merges the layers with those of the target's manifest.
    async fn merge(&self, item: &Attached, tag: &str) -> Result<bool, Failure> {
        self.blobs(&item.repository, item.layers.iter().cloned()).await?;
        let layers = item.layers.iter().cloned();
        let layers = layers.map(|descriptor| Layer { descriptor, content: None });
        let layers = layers.collect::<Vec<_>>();
        let same = |there: &Descriptor, ours: &Layer| {
            there.digest == ours.descriptor.digest
                && there.annotations == ours.descriptor.annotations
        };
        let style = legacy::Style::default();
        let now = legacy::append(self.target, self.to, tag, &layers, &style, same).await?;
        Ok(now.added > 0)
    }

    async fn tag(&self, to: &Reference, digest: &Digest) -> Result<(), Failure> {
        let Some(tag) = to.tag() else { return Ok(()) };
        let at = Identifier::Digest(digest.clone());
        let raw = self.source.manifest(self.from, &at).await?;
        let raw = raw.ok_or_else(|| Failure::not_found(self.from.at(at)))?;
        self.tag_as(tag, &raw).await
    }

    async fn tag_as(&self, tag: &str, raw: &RawManifest) -> Result<(), Failure> {
        let at = Identifier::Tag(tag.to_owned());
        let media_type = &raw.descriptor.media_type;
        self.target.push_manifest(self.to, &at, media_type, raw.bytes.clone()).await?;
        Ok(())
    }
}
