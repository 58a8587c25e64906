//! Registries whose requests are counted and timed, by registry, for the metrics.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::budget::Lease;
use sealgate_engine::ports::{BlobStream, PullSecret, RawManifest, RegistryAccess, RegistryRead};

use crate::metrics::Metrics;

/// Opens registries whose requests are counted.
pub struct Metered {
    access: Arc<dyn RegistryAccess>,
    metrics: Arc<Metrics>,
}

struct MeteredRegistry {
    registry: Arc<dyn RegistryRead>,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// Counts the requests of the registries that `access` opens.
    pub fn new(access: Arc<dyn RegistryAccess>, metrics: Arc<Metrics>) -> Self {
        Self { access, metrics }
    }
}

impl RegistryAccess for Metered {
    fn open(&self, secrets: &[PullSecret], lease: &Lease) -> Arc<dyn RegistryRead> {
        let registry = self.access.open(secrets, lease);
        Arc::new(MeteredRegistry { registry, metrics: Arc::clone(&self.metrics) })
    }
}

impl MeteredRegistry {
    async fn count<T>(
        &self,
        repository: &Repository,
        call: &'static str,
        request: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let start = Instant::now();
        let response = request.await;
        // A limit of the gate itself is not the registry's fault.
        let fault = response.as_ref().err().filter(|fault| fault.kind != FaultKind::Busy);
        let fault = fault.map(|fault| fault.kind.code());
        self.metrics.registry_call(repository.registry(), call, start.elapsed(), fault);
        response
    }
}

#[async_trait]
impl RegistryRead for MeteredRegistry {
    async fn resolve(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault> {
        self.count(repository, "resolve", self.registry.resolve(repository, what)).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault> {
        self.count(repository, "manifest", self.registry.manifest(repository, what)).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault> {
        self.count(repository, "blob", self.registry.blob(repository, digest, limit)).await
    }

    async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault> {
        self.count(repository, "blob", self.registry.blob_stream(repository, digest)).await
    }

    async fn referrers_by_api(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let request = self.registry.referrers_by_api(repository, subject);
        self.count(repository, "referrers", request).await
    }

    async fn referrers_by_tag(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        let request = self.registry.referrers_by_tag(repository, subject);
        self.count(repository, "referrers", request).await
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Fault> {
        self.count(repository, "tags", self.registry.tags(repository)).await
    }
}

#[cfg(test)]
mod tests {
    use sealgate_testkit::image;
    use sealgate_testkit::ports::OneRegistry;
    use sealgate_testkit::registry::{MemoryRegistry, Request};

    use super::*;

    #[tokio::test]
    async fn both_halves_of_the_referrers_are_requested_and_counted_once() {
        for (registry, requests) in
            [(MemoryRegistry::new(), 1), (MemoryRegistry::new().with_empty_lists(), 2)]
        {
            let registry = Arc::new(registry);
            let app = image::repository("reg.example/acme/app");
            let subject = Digest::of(b"subject");
            let entry = Descriptor {
                media_type: sealgate_core::manifest::media_type::OCI_MANIFEST.to_owned(),
                size: 2,
                digest: Digest::of(b"{}"),
                artifact_type: None,
                annotations: Default::default(),
                platform: None,
            };
            registry.list_referrer(&app, &subject, entry.clone());
            let metrics = Arc::new(Metrics::new());
            let access = Arc::new(OneRegistry::new(Arc::clone(&registry) as _));
            let metered =
                Metered::new(access, Arc::clone(&metrics)).open(&[], &Lease::standalone(1 << 20));
            assert_eq!(metered.referrers(&app, &subject).await.unwrap(), [entry]);
            let requested =
                registry.count(Request::Referrers) + registry.count(Request::ReferrersTag);
            assert_eq!(requested, requests);
            let line = format!(
                "sealgate_registry_calls_total{{registry=\"reg.example\",call=\"referrers\"}} \
                 {requests}"
            );
            let page = metrics.render();
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
    }
}
