use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use sealgate_core::digest::Digest;
use sealgate_core::fault::FaultKind;
use sealgate_core::manifest::media_type;
use sealgate_core::reference::Identifier;
use sealgate_core::verify::EvidenceFormat;
use sealgate_engine::limits::{CONCURRENT_READS, Limits};
use sealgate_engine::sign::{Formats, SignRequest, sign_image};
use sealgate_engine::verify::{Outcome, VerifyRequest, verify_image, verify_images};
use sealgate_testkit::image;
use sealgate_testkit::key::{ALL, TestKey};
use sealgate_testkit::ports::FrozenClock;
use sealgate_testkit::registry::{MemoryRegistry, Request};

use crate::{app, authority, fault};

#[tokio::test]
async fn every_key_and_format_is_verified() {
    for algorithm in ALL {
        for (formats, count) in [(Formats::Bundle, 1), (Formats::Legacy, 1), (Formats::Both, 2)] {
            let registry = MemoryRegistry::new();
            let digest = image::image(&registry, &app(), "every");
            let key = TestKey::generate(algorithm);
            let at = image::at(&app(), &digest);
            image::sign(&registry, &at, &key, formats).await;
            let report =
                verify_image(&registry, &at, &VerifyRequest::new(authority(&[&key]))).await;
            let Outcome::Verified { signatures, rejected, .. } = &report.outcome else {
                panic!("{algorithm:?} {formats:?}: {:?}", report.outcome)
            };
            assert_eq!((signatures.len(), rejected.len()), (count, 0), "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn a_bundle_takes_three_requests_and_a_legacy_signature_three() {
    for formats in [Formats::Bundle, Formats::Legacy] {
        let registry = MemoryRegistry::new();
        let digest = image::image(&registry, &app(), "count");
        let key = TestKey::p256();
        let at = image::at(&app(), &digest);
        image::sign(&registry, &at, &key, formats).await;
        let report = verify_image(&registry, &at, &VerifyRequest::new(authority(&[&key]))).await;
        assert!(report.is_verified());
        assert!(registry.take_count() <= 4);
    }
}

#[tokio::test]
async fn missing_unsigned_wrong_and_unknown_are_four_outcomes() {
    let registry = MemoryRegistry::new();
    let (key, other) = (TestKey::p256(), TestKey::p256());
    let request = VerifyRequest::new(authority(&[&key]));
    let missing = image::reference("reg.example/acme/app:missing");
    let report = verify_image(&registry, &missing, &request).await;
    assert_eq!(report.outcome.code(), "not-found");
    let tag = image::reference("reg.example/acme/app:v1");
    let digest = image::tagged(&registry, &tag, "v1");
    let report = verify_image(&registry, &tag, &request).await;
    assert_eq!(report.outcome.code(), "no-signatures");
    assert_eq!(report.digest, Some(digest));
    image::sign(&registry, &tag, &other, Formats::Both).await;
    let report = verify_image(&registry, &tag, &request).await;
    assert_eq!(report.outcome.code(), "no-match");
    assert_eq!(report.outcome.rejected().len(), 2);
    registry.fail(Request::Referrers, "", 1, fault(FaultKind::Throttled));
    let report = verify_image(&registry, &tag, &request).await;
    assert_eq!(report.outcome.code(), "throttled");
    assert_eq!(report.outcome.rejected().len(), 1);
}

#[tokio::test]
async fn no_fault_is_ever_no_signatures() {
    let requests = [Request::Resolve, Request::Referrers, Request::Manifest, Request::Blob];
    for request in requests {
        for formats in [Formats::Bundle, Formats::Legacy] {
            let registry = MemoryRegistry::new();
            let tag = image::reference("reg.example/acme/app:v1");
            image::tagged(&registry, &tag, "v1");
            let key = TestKey::p256();
            image::sign(&registry, &tag, &key, formats).await;
            registry.fail(request, "", usize::MAX, fault(FaultKind::ServerError));
            let report =
                verify_image(&registry, &tag, &VerifyRequest::new(authority(&[&key]))).await;
            match &report.outcome {
                Outcome::Fault { fault, .. } => assert_eq!(fault.kind, FaultKind::ServerError),
                Outcome::Verified { .. } => assert_eq!(request, Request::Referrers),
                other => panic!("{request:?} {formats:?}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_fault_beside_a_valid_signature_is_reported_and_does_not_fail() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "beside");
    let key = TestKey::p256();
    let at = image::at(&app(), &digest);
    image::sign(&registry, &at, &key, Formats::Legacy).await;
    registry.fail(Request::Referrers, "", 1, fault(FaultKind::Denied));
    let report = verify_image(&registry, &at, &VerifyRequest::new(authority(&[&key]))).await;
    let Outcome::Verified { signatures, faults, .. } = report.outcome else { panic!() };
    assert_eq!(signatures[0].format(), EvidenceFormat::Legacy);
    assert_eq!(faults.len(), 1);
}

/// All signatures are fetched, concurrently but never more than the limit.
#[tokio::test]
async fn many_signatures_are_read_together_and_bounded() {
    const SIGNATURES: usize = CONCURRENT_READS + 4;
    for formats in [Formats::Bundle, Formats::Legacy] {
        let registry = MemoryRegistry::new();
        let digest = image::image(&registry, &app(), "together");
        let at = image::at(&app(), &digest);
        let key = TestKey::p256();
        for number in 0..SIGNATURES {
            // Each has its own payload.
            let annotations = [("number".to_owned(), number.to_string())].into();
            let request = SignRequest { formats, annotations, ..SignRequest::default() };
            sign_image(&registry, &at, &key, &FrozenClock::default(), &request).await.unwrap();
        }
        for request in [Request::Manifest, Request::Blob] {
            registry.delay(request, "", usize::MAX, Duration::from_millis(5));
        }
        for concurrent in [CONCURRENT_READS, Limits::default().concurrent] {
            registry.take_most_at_once();
            let limits = Limits { concurrent, ..Limits::default() };
            let request = VerifyRequest { limits, ..VerifyRequest::new(authority(&[&key])) };
            let report = verify_image(&registry, &at, &request).await;
            let Outcome::Verified { signatures, .. } = report.outcome else { panic!() };
            assert_eq!(signatures.len(), SIGNATURES);
            assert_eq!(registry.take_most_at_once(), concurrent, "{formats:?}");
        }
    }
}

#[tokio::test]
async fn recursive_requires_every_child_and_an_index_that_lists_itself_ends() {
    let registry = MemoryRegistry::new();
    let key = TestKey::p256();
    let (one, two) = (image::image(&registry, &app(), "1"), image::image(&registry, &app(), "2"));
    let index = image::index(&registry, &app(), &[(&one, "amd64"), (&two, "arm64"), (&one, "x")]);
    let at = image::at(&app(), &index);
    let request = VerifyRequest { recursive: true, ..VerifyRequest::new(authority(&[&key])) };
    image::sign(&registry, &at, &key, Formats::Bundle).await;
    image::sign(&registry, &image::at(&app(), &one), &key, Formats::Bundle).await;
    let report = verify_image(&registry, &at, &request).await;
    assert!(!report.is_verified());
    assert_eq!(report.children.len(), 2);
    assert_eq!(report.first_failure().unwrap().digest, Some(two.clone()));
    assert_eq!(report.children[1].platform.as_deref(), Some("linux/arm64"));
    image::sign(&registry, &image::at(&app(), &two), &key, Formats::Bundle).await;
    assert!(verify_image(&registry, &at, &request).await.is_verified());
}

/// A correct registry cannot hold such an index; one that returns wrong content for a digest can.
#[tokio::test]
async fn an_index_that_lists_itself_ends() {
    let registry = LyingRegistry::default();
    let digest = Digest::of(b"itself");
    let limits = Default::default();
    let below = sealgate_engine::index::descendants(&registry, &app(), &digest, &limits).await;
    assert_eq!(below.unwrap(), []);
    assert_eq!(registry.0.count(Request::Manifest), 1);
}

#[derive(Default)]
struct LyingRegistry(MemoryRegistry);

mod lying {
    use async_trait::async_trait;
    use bytes::Bytes;
    use sealgate_core::fault::Fault;
    use sealgate_core::manifest::Descriptor;
    use sealgate_core::reference::Repository;
    use sealgate_engine::ports::{BlobStream, RawManifest, RegistryRead};

    use super::*;

    #[async_trait]
    impl RegistryRead for LyingRegistry {
        async fn resolve(
            &self,
            repository: &Repository,
            what: &Identifier,
        ) -> Result<Option<Descriptor>, Fault> {
            self.0.resolve(repository, what).await
        }
        async fn manifest(
            &self,
            repository: &Repository,
            what: &Identifier,
        ) -> Result<Option<RawManifest>, Fault> {
            self.0.manifest(repository, what).await?;
            let digest = Digest::of(b"itself");
            let text = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","size":1,"digest":"{digest}"}}]}}"#,
                media_type::OCI_INDEX
            );
            let descriptor = Descriptor {
                media_type: media_type::OCI_INDEX.to_owned(),
                size: text.len() as u64,
                digest,
                artifact_type: None,
                annotations: Default::default(),
                platform: None,
            };
            Ok(Some(RawManifest { descriptor, bytes: Bytes::from(text) }))
        }
        async fn blob(
            &self,
            repository: &Repository,
            digest: &Digest,
            limit: u64,
        ) -> Result<Option<Bytes>, Fault> {
            self.0.blob(repository, digest, limit).await
        }
        async fn blob_stream(
            &self,
            repository: &Repository,
            digest: &Digest,
        ) -> Result<Option<BlobStream>, Fault> {
            self.0.blob_stream(repository, digest).await
        }
        async fn referrers_by_api(
            &self,
            repository: &Repository,
            subject: &Digest,
        ) -> Result<Option<Vec<Descriptor>>, Fault> {
            self.0.referrers_by_api(repository, subject).await
        }
        async fn referrers_by_tag(
            &self,
            repository: &Repository,
            subject: &Digest,
        ) -> Result<Vec<Descriptor>, Fault> {
            self.0.referrers_by_tag(repository, subject).await
        }
        async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Fault> {
            self.0.tags(repository).await
        }
    }
}

#[tokio::test]
async fn many_images_come_in_order_and_each_digest_is_verified_once() {
    let registry = MemoryRegistry::new();
    let key = TestKey::p256();
    let good = image::image(&registry, &app(), "good");
    let bad = image::image(&registry, &app(), "bad");
    image::sign(&registry, &image::at(&app(), &good), &key, Formats::Bundle).await;
    let images = (0..60).map(|n| image::at(&app(), if n % 3 == 0 { &bad } else { &good }));
    let request = VerifyRequest::new(authority(&[&key]));
    let reports = verify_images(&registry, stream::iter(images), &request);
    let reports = reports.collect::<Vec<_>>().await;
    for (n, report) in reports.iter().enumerate() {
        assert_eq!(report.is_verified(), n % 3 != 0, "{n}");
    }
    assert_eq!(registry.count(Request::Referrers), 2);
}

#[tokio::test]
async fn signatures_in_another_repository_are_found_and_bundles_beside_the_image_too() {
    let registry = MemoryRegistry::new();
    let key = TestKey::p256();
    let digest = image::image(&registry, &app(), "elsewhere");
    let at = image::at(&app(), &digest);
    let elsewhere = image::repository("reg.example/signatures");
    let request = SignRequest {
        formats: Formats::Legacy,
        signature_repository: Some(elsewhere.clone()),
        ..SignRequest::default()
    };
    sign_image(&registry, &at, &key, &FrozenClock::default(), &request).await.unwrap();
    image::sign(&registry, &at, &key, Formats::Bundle).await;
    let request = VerifyRequest {
        signature_repository: Some(elsewhere),
        ..VerifyRequest::new(authority(&[&key]))
    };
    let report = verify_image(&registry, &at, &request).await;
    let Outcome::Verified { signatures, .. } = report.outcome else { panic!() };
    assert_eq!(signatures.len(), 2);
}

#[tokio::test]
async fn a_tag_is_verified_for_what_it_points_to_now() {
    let registry = MemoryRegistry::new();
    let key = TestKey::p256();
    let tag = image::reference("reg.example/acme/app:v1");
    let good = image::tagged(&registry, &tag, "good");
    image::sign(&registry, &tag, &key, Formats::Both).await;
    let request = VerifyRequest::new(authority(&[&key]));
    assert_eq!(verify_image(&registry, &tag, &request).await.digest, Some(good));
    image::tagged(&registry, &tag, "evil");
    let report = verify_image(&registry, &tag, &request).await;
    assert_eq!(report.outcome.code(), "no-signatures");
}

#[tokio::test]
async fn a_missing_child_is_a_child_without_signatures() {
    let registry = MemoryRegistry::new();
    let key = TestKey::p256();
    let (one, two) = (image::image(&registry, &app(), "1"), image::image(&registry, &app(), "2"));
    let index = image::index(&registry, &app(), &[(&one, "amd64"), (&two, "arm64")]);
    let at = image::at(&app(), &index);
    image::sign(&registry, &at, &key, Formats::Bundle).await;
    image::sign(&registry, &image::at(&app(), &one), &key, Formats::Bundle).await;
    let gone = Identifier::Digest(two);
    sealgate_engine::ports::RegistryWrite::delete(&registry, &app(), &gone).await.unwrap();
    let request = VerifyRequest { recursive: true, ..VerifyRequest::new(authority(&[&key])) };
    let report = verify_image(&registry, &at, &request).await;
    assert_eq!(report.outcome.code(), "verified");
    assert_eq!(report.first_failure().unwrap().outcome.code(), "no-signatures");
}

#[tokio::test]
async fn an_endless_index_is_a_fault() {
    let registry = MemoryRegistry::new();
    let mut digest = image::image(&registry, &app(), "deep");
    for _ in 0..6 {
        digest = image::index(&registry, &app(), &[(&digest, "amd64")]);
    }
    let key = TestKey::p256();
    let request = VerifyRequest { recursive: true, ..VerifyRequest::new(authority(&[&key])) };
    let report = verify_image(&registry, &image::at(&app(), &digest), &request).await;
    assert_eq!(report.outcome.code(), "too-many");
    let few = sealgate_engine::limits::Limits { children: 2, ..Default::default() };
    let below = sealgate_engine::index::descendants(&registry, &app(), &digest, &few).await;
    assert_eq!(below.unwrap_err().code(), "too-many");
}
