//! Registry whose requests take their permits from a lease.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Repository};

use crate::budget::Lease;
use crate::ports::{BlobStream, RawManifest, RegistryRead};

/// A registry whose every request waits for a permit of the lease, and holds it until it ends.
pub(super) struct LeasedRegistry {
    pub(super) registry: Arc<dyn RegistryRead>,
    pub(super) lease: Lease,
}

#[async_trait]
impl RegistryRead for LeasedRegistry {
    async fn resolve(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault> {
        let _permit = self.lease.request(repository.registry()).await?;
        self.registry.resolve(repository, what).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault> {
        let _permit = self.lease.request(repository.registry()).await?;
        self.registry.manifest(repository, what).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault> {
        let _permit = self.lease.request(repository.registry()).await?;
        self.registry.blob(repository, digest, limit).await
    }

    /// The permit covers the start of the stream only: the gate reads no streams.
    async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault> {
        let _permit = self.lease.request(repository.registry()).await?;
        self.registry.blob_stream(repository, digest).await
    }

    async fn referrers_by_api(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let _permit = self.lease.request(repository.registry()).await?;
        self.registry.referrers_by_api(repository, subject).await
    }

    async fn referrers_by_tag(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        let _permit = self.lease.request(repository.registry()).await?;
        self.registry.referrers_by_tag(repository, subject).await
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Fault> {
        let _permit = self.lease.request(repository.registry()).await?;
        self.registry.tags(repository).await
    }
}
