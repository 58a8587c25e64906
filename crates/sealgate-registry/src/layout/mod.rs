//! OCI image layout directory (image-spec 1.1) as a registry: `oci-layout`, `index.json`, `blobs/`.
//!
//! A layout holds one repository, so repository names in requests are ignored. Tags are the entries
//! of `index.json` with `org.opencontainers.image.ref.name`. Directories written by `cosign save`
//! have [`kind`] annotations instead; there the tags `sha256-<hex>.sig` and `.att` of the saved
//! image are found by kind. Referrers are found by reading every manifest in `blobs/`, as in
//! cosign, because `save` does not list them.
//!
//! The directory is untrusted: sizes are bounded, digests are checked, and paths are built from
//! parsed digests only, so that no name in a file can lead out of the directory.

mod disk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use sealgate_core::digest::{Digest, Hasher};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Index};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::budget::Lease;
use sealgate_engine::ports::{
    BlobStream, PullSecret, RawManifest, RegistryAccess, RegistryRead, RegistryWrite,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::options::Limits;
use disk::Disk;

/// Annotation that `cosign save` puts on entries of `index.json`, and its values.
pub mod kind {
    /// Key of the annotation.
    pub const ANNOTATION: &str = "kind";
    /// Saved image.
    pub const IMAGE: &str = "dev.cosignproject.cosign/image";
    /// Saved index of a multi-platform image.
    pub const IMAGE_INDEX: &str = "dev.cosignproject.cosign/imageIndex";
    /// Legacy signatures of the saved image.
    pub const SIGNATURES: &str = "dev.cosignproject.cosign/sigs";
    /// Legacy attestations of the saved image.
    pub const ATTESTATIONS: &str = "dev.cosignproject.cosign/atts";
}

/// Annotation that holds a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// OCI image layout. Cheap to clone. A lock file serializes writers of several processes.
#[derive(Clone, Debug)]
pub struct Layout {
    disk: Arc<Disk>,
}

impl Layout {
    /// Opens an existing layout.
    ///
    /// # Errors
    /// `Missing` when the directory is not a layout, `Malformed` when its version is not supported.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Fault> {
        Self::open_with(root, Limits::default())
    }

    /// Variant of [`Self::open`] with custom limits.
    ///
    /// # Errors
    /// Same as [`Self::open`].
    pub fn open_with(root: impl Into<PathBuf>, limits: Limits) -> Result<Self, Fault> {
        let disk = Disk::new(root.into(), limits);
        disk.check()?;
        Ok(Self { disk: Arc::new(disk) })
    }

    /// Opens a layout, creating an empty one if there is none.
    ///
    /// # Errors
    /// `Config` when the directory cannot be written; same as [`Self::open`] when it holds
    /// something else.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, Fault> {
        let disk = Disk::new(root.into(), Limits::default());
        disk.create()?;
        disk.check()?;
        Ok(Self { disk: Arc::new(disk) })
    }

    /// Root directory.
    pub fn root(&self) -> &Path {
        self.disk.root()
    }

    /// `index.json`.
    ///
    /// # Errors
    /// `Malformed` or `TooLarge` when it is not a valid index within the limits.
    pub async fn index(&self) -> Result<Index, Fault> {
        self.run(|disk| disk.index()).await
    }

    /// Image of the layout: the entry marked by `cosign save`, otherwise the only entry. Its
    /// manifest is present with the entry's digest; its layers are not checked.
    ///
    /// # Errors
    /// `Missing` when there is none, `TooMany` when it is ambiguous, `Malformed` or
    /// `DigestMismatch` when the manifest does not match its entry; same as [`Self::index`].
    pub async fn image(&self) -> Result<Descriptor, Fault> {
        let entry = self.named_image().await?;
        let found = entry.clone();
        self.run(move |disk| disk.check_entry(&found)).await?;
        Ok(entry)
    }

    async fn named_image(&self) -> Result<Descriptor, Fault> {
        let entries = self.index().await?.manifests;
        let marked = |kind: &str| {
            let has =
                |d: &&Descriptor| d.annotations.get(kind::ANNOTATION).is_some_and(|k| k == kind);
            entries.iter().filter(has).cloned().collect::<Vec<_>>()
        };
        let kinds = [marked(kind::IMAGE_INDEX), marked(kind::IMAGE)];
        let mut found = kinds.into_iter().find(|found| !found.is_empty()).unwrap_or(entries);
        found.dedup_by(|one, other| one.digest == other.digest);
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(self.disk.fault(FaultKind::Missing, "index.json names no image")),
            _ => Err(self.disk.fault(FaultKind::TooMany, "index.json names several images")),
        }
    }

    /// Adds an entry to `index.json`, replacing one with the same digest and `kind`.
    ///
    /// # Errors
    /// `Config` when the directory cannot be written; same as [`Self::index`].
    pub async fn add_entry(&self, entry: Descriptor) -> Result<(), Fault> {
        self.run(move |disk| disk.add_entry(entry)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let disk = self.disk.clone();
        let done = tokio::task::spawn_blocking(move || work(&disk)).await;
        done.unwrap_or_else(|_| Err(self.disk.fault(FaultKind::Cancelled, "stopped")))
    }
}

/// Access without credentials.
impl RegistryAccess for Layout {
    fn open(&self, _: &[PullSecret], _: &Lease) -> Arc<dyn RegistryRead> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl RegistryRead for Layout {
    async fn resolve(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault> {
        Ok(self.manifest(repository, what).await?.map(|manifest| manifest.descriptor))
    }

    async fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault> {
        let (repository, what) = (repository.clone(), what.clone());
        self.run(move |disk| disk.manifest(&repository, &what)).await
    }

    async fn blob(
        &self,
        _: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault> {
        let digest = digest.clone();
        self.run(move |disk| disk.blob(&digest, limit)).await
    }

    async fn blob_stream(
        &self,
        _: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault> {
        let wanted = digest.clone();
        let Some(file) = self.run(move |disk| disk.open_blob(&wanted)).await? else {
            return Ok(None);
        };
        let reading = BlobReader {
            disk: self.disk.clone(),
            file: tokio::fs::File::from_std(file),
            hasher: Some(Digest::hasher(digest.algorithm())),
            digest: digest.clone(),
        };
        Ok(Some(Box::pin(stream::try_unfold(reading, BlobReader::step))))
    }

    async fn referrers_by_api(
        &self,
        _: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let subject = subject.clone();
        self.run(move |disk| disk.referrers(&subject).map(Some)).await
    }

    /// Always empty: a layout has no fallback tags, and [`Self::referrers_by_api`] reads every
    /// manifest.
    async fn referrers_by_tag(&self, _: &Repository, _: &Digest) -> Result<Vec<Descriptor>, Fault> {
        Ok(Vec::new())
    }

    async fn tags(&self, _: &Repository) -> Result<Vec<String>, Fault> {
        let index = self.index().await?;
        let mut tags: Vec<String> =
            index.manifests.iter().filter_map(|d| d.annotations.get(REF_NAME).cloned()).collect();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }
}

#[async_trait]
impl RegistryWrite for Layout {
    async fn push_blob(
        &self,
        _: &Repository,
        descriptor: &Descriptor,
        mut content: BlobStream,
    ) -> Result<(), Fault> {
        let digest = descriptor.digest.clone();
        if self.run(move |disk| disk.open_blob(&digest)).await?.is_some() {
            return Ok(());
        }
        let beside = self.run(|disk| disk.temporary()).await?;
        let mut file = tokio::fs::File::from_std(beside.file()?);
        let mut hasher = Digest::hasher(descriptor.digest.algorithm());
        let mut size = 0_u64;
        while let Some(piece) = content.try_next().await? {
            hasher.update(&piece);
            size = size.saturating_add(piece.len() as u64);
            if size > descriptor.size {
                break;
            }
            file.write_all(&piece).await.map_err(|e| self.disk.io(&e))?;
        }
        file.flush().await.map_err(|e| self.disk.io(&e))?;
        if size != descriptor.size || hasher.finish() != descriptor.digest {
            let detail = format!("the blob to write does not match {}", descriptor.digest);
            return Err(self.disk.fault(FaultKind::DigestMismatch, detail));
        }
        let digest = descriptor.digest.clone();
        self.run(move |disk| disk.keep(beside, &digest)).await
    }

    async fn mount_blob(
        &self,
        _: &Repository,
        digest: &Digest,
        _: &Repository,
    ) -> Result<bool, Fault> {
        let digest = digest.clone();
        Ok(self.run(move |disk| disk.open_blob(&digest)).await?.is_some())
    }

    async fn push_manifest(
        &self,
        _: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Fault> {
        let (at, media_type) = (at.clone(), media_type.to_owned());
        self.run(move |disk| disk.push_manifest(&at, &media_type, &bytes)).await
    }

    async fn replace_manifest(
        &self,
        repository: &Repository,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, Fault> {
        let (repository, tag) = (repository.clone(), tag.to_owned());
        let (expected, media_type) = (expected.cloned(), media_type.to_owned());
        self.run(move |disk| {
            disk.replace(&repository, &tag, expected.as_ref(), &media_type, &bytes)
        })
        .await
    }

    async fn delete(&self, _: &Repository, what: &Identifier) -> Result<bool, Fault> {
        let what = what.clone();
        self.run(move |disk| disk.delete(&what)).await
    }
}

/// Blob being read from a file.
struct BlobReader {
    disk: Arc<Disk>,
    file: tokio::fs::File,
    hasher: Option<Hasher>,
    digest: Digest,
}

impl BlobReader {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        let Some(hasher) = self.hasher.as_mut() else { return Ok(None) };
        let mut piece = Vec::with_capacity(128 << 10);
        self.file.read_buf(&mut piece).await.map_err(|e| self.disk.io(&e))?;
        if !piece.is_empty() {
            hasher.update(&piece);
            return Ok(Some((Bytes::from(piece), self)));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(digest) if digest == self.digest => Ok(None),
            _ => Err(self.disk.mismatch(&self.digest)),
        }
    }
}

#[cfg(test)]
mod tests;
