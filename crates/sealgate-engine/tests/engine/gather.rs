use std::collections::BTreeMap;

use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::evidence::Evidence;
use sealgate_core::fault::FaultKind;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_engine::gather::{Gathered, Gathering};
use sealgate_engine::limits::Limits;
use sealgate_engine::sign::Formats;
use sealgate_testkit::image;
use sealgate_testkit::key::TestKey;
use sealgate_testkit::registry::{MemoryRegistry, Request};
use serde_json::json;

use crate::{app, fault};

async fn all(registry: &MemoryRegistry, subject: &Digest, limits: &Limits) -> Gathered {
    Gathering::new(registry, &app(), subject, "", limits).all().await
}

fn entry(digest: &Digest) -> Descriptor {
    Descriptor {
        media_type: media_type::OCI_MANIFEST.to_owned(),
        size: 1,
        digest: digest.clone(),
        artifact_type: Some("application/vnd.oci.empty.v1+json".to_owned()),
        annotations: BTreeMap::new(),
        platform: None,
    }
}

/// A manifest with these layers that refers to `subject`.
fn referrer(
    registry: &MemoryRegistry,
    subject: &Digest,
    layers: &[(&str, usize, Digest)],
) -> Digest {
    let layers = layers.iter().map(|(media_type, size, digest)| {
        json!({"mediaType": media_type, "size": size, "digest": digest})
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": media_type::OCI_EMPTY, "size": 2, "digest": Digest::of(b"{}")},
        "layers": layers.collect::<Vec<_>>(),
        "subject": {"mediaType": media_type::OCI_MANIFEST, "size": 1, "digest": subject},
    });
    registry.put_manifest(&app(), media_type::OCI_MANIFEST, manifest.to_string().as_bytes())
}

#[tokio::test]
async fn the_union_of_both_formats_with_one_fetch_of_each() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "union");
    let key = TestKey::p256();
    image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Both).await;
    let found = all(&registry, &digest, &Limits::default()).await;
    assert!(found.faults.is_empty());
    assert_eq!(found.evidence.len(), 2);
    assert!(matches!(found.evidence[0], Evidence::Bundle(_)));
    assert!(matches!(found.evidence[1], Evidence::Legacy(_)));
    // referrers, bundle manifest, bundle; .sig manifest, payload
    assert_eq!(registry.take_count(), 5);
}

#[tokio::test]
async fn a_list_that_names_one_twice_and_what_is_gone_is_read_once() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "twice");
    let key = TestKey::p256();
    let signed = image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Bundle).await;
    let stored = signed.bundle.unwrap().stored.unwrap();
    registry.list_referrer(&app(), &digest, entry(stored.digest().unwrap()));
    registry.list_referrer(&app(), &digest, entry(&Digest::of(b"gone")));
    let found = all(&registry, &digest, &Limits::default()).await;
    assert_eq!((found.evidence.len(), found.faults.len()), (1, 0));
}

#[tokio::test]
async fn many_signatures_of_one_payload_are_one_fetch_and_all_evidence() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "many");
    for _ in 0..3 {
        let key = TestKey::p256();
        image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Legacy).await;
    }
    let found = all(&registry, &digest, &Limits::default()).await;
    assert_eq!(found.evidence.len(), 3);
    assert_eq!(registry.count(Request::Blob), 1);
}

#[tokio::test]
async fn every_fault_of_every_request_is_kept() {
    for request in [Request::Referrers, Request::Manifest, Request::Blob] {
        for kind in [FaultKind::Throttled, FaultKind::Denied, FaultKind::Unreachable] {
            let registry = MemoryRegistry::new();
            let digest = image::image(&registry, &app(), "fault");
            let key = TestKey::p256();
            image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Both).await;
            registry.fail(request, "", usize::MAX, fault(kind));
            let found = all(&registry, &digest, &Limits::default()).await;
            assert!(found.faults.iter().any(|fault| fault.kind == kind), "{request:?} {kind:?}");
        }
    }
}

#[tokio::test]
async fn too_many_is_a_fault_and_too_large_is_unusable() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "bounds");
    let key = TestKey::p256();
    image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Both).await;
    let few = Limits { referrers: 0, signatures: 0, ..Limits::default() };
    let found = all(&registry, &digest, &few).await;
    let kinds = found.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>();
    assert_eq!(kinds, [FaultKind::TooMany, FaultKind::TooMany]);
    let small = Limits { blob: 10, ..Limits::default() };
    let found = all(&registry, &digest, &small).await;
    assert!(found.faults.is_empty());
    assert_eq!(found.evidence.len(), 2);
    for piece in found.evidence {
        let Evidence::Unusable { reason, .. } = piece else { panic!("{piece:?}") };
        assert_eq!(reason.code(), "too-large");
    }
    let little = Limits { evidence: 100, ..Limits::default() };
    let found = all(&registry, &digest, &little).await;
    assert!(found.faults.iter().all(|fault| fault.kind == FaultKind::TooLarge));
    assert_eq!(found.faults.len(), 2);
}

#[tokio::test]
async fn what_is_no_signature_is_passed_over_or_said_to_be_unusable() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "odd");
    let blob = registry.put_blob(&app(), b"{}");
    let bundle = media_type::BUNDLE_V03;
    referrer(&registry, &digest, &[("text/spdx", 2, blob.clone())]);
    referrer(&registry, &digest, &[(bundle, 2, blob.clone()), (bundle, 2, blob.clone())]);
    referrer(&registry, &digest, &[(bundle, 3, blob.clone())]);
    referrer(&registry, &digest, &[(bundle, 1, blob)]);
    referrer(&registry, &digest, &[(bundle, 7, Digest::of(b"missing"))]);
    let found = all(&registry, &digest, &Limits::default()).await;
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    assert_eq!(found.evidence.len(), 4);
    assert!(found.evidence.iter().all(|piece| matches!(piece, Evidence::Unusable { .. })));
}

#[tokio::test]
async fn legacy_signatures_are_found_as_referrers_too() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "oci11");
    let payload = registry.put_blob(&app(), b"{\"critical\":{}}");
    let layers = [(media_type::SIMPLE_SIGNING, 15, payload.clone()), ("text/plain", 15, payload)];
    referrer(&registry, &digest, &layers);
    let found = all(&registry, &digest, &Limits::default()).await;
    assert!(matches!(found.evidence[0], Evidence::Legacy(_)));
}

#[tokio::test]
async fn the_first_that_is_enough_ends_the_search() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "first");
    let key = TestKey::p256();
    image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Both).await;
    let (app, limits) = (app(), Limits::default());
    let gathering = Gathering::new(&registry, &app, &digest, "", &limits);
    let mut shown = Vec::new();
    let take = |piece| {
        shown.push(piece);
        true
    };
    let mut faults = Vec::new();
    gathering.bundles_first(&mut faults, take).await;
    assert!(matches!(shown[..], [Evidence::Bundle(_)]));
    assert_eq!(registry.take_count(), 3);
    let gathering = Gathering::new(&registry, &app, &digest, "", &limits);
    let mut shown = Vec::new();
    let take = |piece| {
        shown.push(piece);
        false
    };
    gathering.bundles_first(&mut faults, take).await;
    assert!(matches!(shown[..], [Evidence::Bundle(_), Evidence::Legacy(_)]));
    assert_eq!(faults, []);
}

/// `sha512-<128 digits>.sig` is longer than a tag may be: asking for it could only fail.
#[tokio::test]
async fn a_long_digest_has_no_legacy_tag_to_ask_for() {
    let registry = MemoryRegistry::new();
    let digest = Digest::with(Algorithm::Sha512, b"image");
    let found = all(&registry, &digest, &Limits::default()).await;
    assert_eq!((found.evidence.len(), found.faults.len()), (0, 0));
    assert_eq!((registry.count(Request::Manifest), registry.count(Request::Referrers)), (0, 1));
}

#[tokio::test]
async fn a_signature_tag_that_holds_an_index_is_unusable() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "index");
    let index = image::index(&registry, &app(), &[]);
    registry.put_tag(&app(), &format!("sha256-{}.sig", digest.hex()), &index);
    let found = all(&registry, &digest, &Limits::default()).await;
    assert!(matches!(found.evidence[..], [Evidence::Unusable { .. }]));
}
