use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::fault::FaultKind;
use sealgate_core::manifest::{Manifest, media_type};
use sealgate_core::reference::Identifier;
use sealgate_core::verify::{BlobSignature, TrustConfig};
use sealgate_engine::attach::{AttachRequest, attach_signature, payload};
use sealgate_engine::failure::Failure;
use sealgate_engine::legacy::MediaTypes;
use sealgate_engine::ports::RegistryRead;
use sealgate_engine::sign::{Formats, SignFailure, SignRequest, Upload, sign_image};
use sealgate_engine::sign_blob::sign_blob;
use sealgate_engine::verify::{Outcome, VerifyRequest, verify_image};
use sealgate_engine::verify_blob::{Blob, BlobFailure, verify_blob};
use sealgate_testkit::image;
use sealgate_testkit::key::{ALL, AbsentSigner, MismatchedSigner, TestKey};
use sealgate_testkit::ports::FrozenClock;
use sealgate_testkit::registry::{MemoryRegistry, Request};

use crate::{app, authority, fault};

const CLOCK: fn() -> FrozenClock = FrozenClock::default;

fn legacy() -> SignRequest {
    SignRequest { formats: Formats::Legacy, ..SignRequest::default() }
}

fn signatures(registry: &MemoryRegistry, digest: &Digest) -> Manifest {
    let tag = format!("sha256-{}.sig", digest.hex());
    let raw = registry.peek(&app(), &Identifier::Tag(tag)).unwrap();
    serde_json::from_slice(&raw.bytes).unwrap()
}

#[tokio::test]
async fn twenty_parallel_signers_leave_twenty_signatures() {
    for ignores_conditions in [false, true] {
        let registry = Arc::new(MemoryRegistry::new().ignoring_conditions(ignores_conditions));
        let digest = image::image(&registry, &app(), "twenty");
        let signers = (0..20).map(|_| {
            let (registry, at) = (registry.clone(), image::at(&app(), &digest));
            tokio::spawn(async move {
                let (key, request) = (
                    TestKey::p256(),
                    SignRequest { formats: Formats::Both, ..SignRequest::default() },
                );
                sign_image(&*registry, &at, &key, &CLOCK(), &request).await.unwrap();
                key
            })
        });
        let mut keys = Vec::new();
        for signer in signers.collect::<Vec<_>>() {
            keys.push(signer.await.unwrap());
        }
        let manifest = signatures(&registry, &digest);
        assert_eq!(manifest.layers.len(), 20, "conditions ignored: {ignores_conditions}");
        let keys = keys.iter().collect::<Vec<_>>();
        let request = VerifyRequest::new(authority(&keys));
        let report = verify_image(&*registry, &image::at(&app(), &digest), &request).await;
        let Outcome::Verified { signatures, rejected, .. } = report.outcome else { panic!() };
        assert_eq!((signatures.len(), rejected.len()), (40, 0));
    }
}

#[tokio::test]
async fn the_same_key_does_not_sign_the_same_twice_in_one_legacy_image() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "again");
    let (key, at) = (TestKey::p256(), image::at(&app(), &digest));
    let first = image::sign(&registry, &at, &key, Formats::Legacy).await;
    let second = image::sign(&registry, &at, &key, Formats::Legacy).await;
    assert!(!first.legacy.unwrap().existed);
    assert!(second.legacy.unwrap().existed);
    assert_eq!(signatures(&registry, &digest).layers.len(), 1);
    let annotations = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let request = SignRequest { annotations, ..legacy() };
    sign_image(&registry, &at, &key, &CLOCK(), &request).await.unwrap();
    assert_eq!(signatures(&registry, &digest).layers.len(), 2);
}

#[tokio::test]
async fn an_appended_layer_keeps_what_stood_in_the_configuration() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "config");
    let at = image::at(&app(), &digest);
    let request = SignRequest { record_creation_timestamp: true, ..legacy() };
    sign_image(&registry, &at, &TestKey::p256(), &CLOCK(), &request).await.unwrap();
    sign_image(&registry, &at, &TestKey::p256(), &CLOCK(), &legacy()).await.unwrap();
    let manifest = signatures(&registry, &digest);
    let (app, config) = (app(), &manifest.config.digest);
    let config = RegistryRead::blob(&registry, &app, config, 10_000).await.unwrap().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["created"], "2026-01-02T03:04:05Z");
    assert_eq!(config["history"][0]["created"], "2026-01-02T03:04:05Z");
    assert_eq!(config["history"][1]["created"], "0001-01-01T00:00:00Z");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn docker_media_types_and_identity_are_as_asked() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "docker");
    let request = SignRequest {
        media_types: MediaTypes::Docker,
        container_identity: Some("quay.io/other/name".to_owned()),
        ..legacy()
    };
    let at = image::at(&app(), &digest);
    let signed = sign_image(&registry, &at, &TestKey::p256(), &CLOCK(), &request).await.unwrap();
    let payload = signed[0].legacy.as_ref().unwrap().payload.clone();
    assert!(String::from_utf8(payload).unwrap().contains("quay.io/other/name"));
    let manifest = signatures(&registry, &digest);
    assert_eq!(manifest.media_type.as_deref(), Some(media_type::DOCKER_MANIFEST));
    assert_eq!(manifest.config.media_type, "application/vnd.docker.container.image.v1+json");
}

#[tokio::test]
async fn nothing_is_written_that_our_verifier_refuses() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "liar");
    let at = image::at(&app(), &digest);
    let before = registry.manifests(&app());
    let liar = MismatchedSigner { shown: TestKey::p256(), used: TestKey::p256() };
    for formats in [Formats::Bundle, Formats::Legacy, Formats::Both] {
        let request = SignRequest { formats, ..SignRequest::default() };
        let failure = sign_image(&registry, &at, &liar, &CLOCK(), &request).await.unwrap_err();
        assert!(matches!(failure, SignFailure::Failed(Failure::Rejected(_))), "{failure}");
        let absent = AbsentSigner(TestKey::p256());
        let failure = sign_image(&registry, &at, &absent, &CLOCK(), &request).await.unwrap_err();
        assert_eq!(failure.code(), "unreachable");
    }
    assert_eq!(registry.manifests(&app()), before);
    assert_eq!(registry.count(Request::PushBlob), 0);
}

#[tokio::test]
async fn without_upload_only_bytes_are_made() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "bytes");
    let request =
        SignRequest { upload: Upload::Nowhere, formats: Formats::Both, ..SignRequest::default() };
    let at = image::at(&app(), &digest);
    let key = TestKey::p256();
    let signed = sign_image(&registry, &at, &key, &CLOCK(), &request).await.unwrap();
    assert!(signed[0].bundle.as_ref().unwrap().stored.is_none());
    assert!(signed[0].legacy.as_ref().unwrap().stored.is_none());
    assert_eq!(registry.log().len(), 1);
}

#[tokio::test]
async fn recursive_signs_the_index_and_all_below() {
    let registry = MemoryRegistry::new();
    let (one, two) = (image::image(&registry, &app(), "1"), image::image(&registry, &app(), "2"));
    let inner = image::index(&registry, &app(), &[(&two, "arm64")]);
    let index = image::index(&registry, &app(), &[(&one, "amd64"), (&inner, "arm64")]);
    let request = SignRequest { recursive: true, ..SignRequest::default() };
    let (key, at) = (TestKey::p256(), image::at(&app(), &index));
    let signed = sign_image(&registry, &at, &key, &CLOCK(), &request).await.unwrap();
    let digests = signed.iter().map(|signed| signed.digest.clone()).collect::<Vec<_>>();
    assert_eq!(digests, [index, one, inner, two]);
    let request = VerifyRequest { recursive: true, ..VerifyRequest::new(authority(&[&key])) };
    assert!(verify_image(&registry, &at, &request).await.is_verified());
}

#[tokio::test]
async fn a_missing_image_and_a_fault_are_different() {
    let registry = MemoryRegistry::new();
    let tag = image::reference("reg.example/acme/app:none");
    let key = TestKey::p256();
    let sign = async || {
        let request = SignRequest::default();
        sign_image(&registry, &tag, &key, &CLOCK(), &request).await.unwrap_err()
    };
    let missing = sign().await;
    assert_eq!(missing.to_string(), "image tag not found: reg.example/acme/app:none");
    registry.fail(Request::Resolve, "", 1, fault(FaultKind::Unauthorized));
    assert_eq!(sign().await.code(), "unauthorized");
}

#[tokio::test]
async fn blobs_are_signed_and_verified_by_every_key() {
    for algorithm in ALL {
        let key = TestKey::generate(algorithm);
        let signed = sign_blob(b"content", &key).await.unwrap();
        let authority = authority(&[&key]).into();
        let bundle = BlobSignature::Bundle(signed.bundle.as_bytes());
        let detached = BlobSignature::Detached(signed.signature.as_bytes());
        let verify = |blob: Blob<'_>, evidence: BlobSignature<'_>| {
            verify_blob(blob, evidence, &authority, &TrustConfig::default().context(&authority, 0))
        };
        for evidence in [bundle, detached] {
            verify(Blob::Stream(&mut &b"content"[..]), evidence).unwrap();
            verify(Blob::File(&mut Cursor::new(b"content")), evidence).unwrap();
            for failure in [
                verify(Blob::Stream(&mut &b"other"[..]), evidence),
                verify(Blob::File(&mut Cursor::new(b"other")), evidence),
                verify(Blob::Digest(Digest::of(b"other")), evidence),
            ] {
                assert!(matches!(failure, Err(BlobFailure::Rejected(_))), "{algorithm:?}");
            }
        }
    }
    let liar = MismatchedSigner { shown: TestKey::p256(), used: TestKey::p256() };
    let failure = sign_blob(b"content", &liar).await;
    assert!(matches!(failure, Err(SignFailure::Failed(Failure::Rejected(_)))));
}

#[tokio::test]
async fn a_blob_that_cannot_be_read_is_not_rejected() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    for algorithm in ALL {
        let key = TestKey::generate(algorithm);
        let signed = sign_blob(b"content", &key).await.unwrap();
        let evidence = BlobSignature::Bundle(signed.bundle.as_bytes());
        let (authority, trust) = (authority(&[&key]).into(), TrustConfig::default());
        let context = trust.context(&authority, 0);
        let failure = verify_blob(Blob::Stream(&mut Broken), evidence, &authority, &context);
        assert!(matches!(failure, Err(BlobFailure::Read(_))), "{algorithm:?}");
    }
}

#[tokio::test]
async fn an_attached_signature_verifies_and_one_about_another_image_is_refused() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "attach");
    let at = image::at(&app(), &digest);
    let key = TestKey::p256();
    let payload = payload(&app(), &digest);
    let signature = sealgate_engine::ports::Signer::sign(&key, &payload).await.unwrap();
    use base64::Engine;
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let request = AttachRequest { signature: format!("{signature}\n"), ..AttachRequest::default() };
    let attached = attach_signature(&registry, &at, &request).await.unwrap();
    assert_eq!(attached.appended.added, 1);
    let report = verify_image(&registry, &at, &VerifyRequest::new(authority(&[&key]))).await;
    assert!(report.is_verified());
    let again = attach_signature(&registry, &at, &request).await.unwrap();
    assert_eq!(again.appended.added, 0);
    let other = sealgate_engine::attach::payload(&app(), &Digest::of(b"other"));
    let request = AttachRequest { payload: Some(other), ..request };
    let failure = attach_signature(&registry, &at, &request).await.unwrap_err();
    assert!(matches!(failure, Failure::Rejected(_)));
}
