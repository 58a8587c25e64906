use std::collections::BTreeMap;
use std::time::Duration;

use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::evidence::Evidence;
use sealgate_core::fault::FaultKind;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_engine::gather::{Gathered, Gathering};
use sealgate_engine::limits::Limits;
use sealgate_engine::ports::RegistryRead as _;
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
    entry_of(digest, media_type::OCI_EMPTY)
}

fn entry_of(digest: &Digest, artifact_type: &str) -> Descriptor {
    Descriptor {
        media_type: media_type::OCI_MANIFEST.to_owned(),
        size: 1,
        digest: digest.clone(),
        artifact_type: Some(artifact_type.to_owned()),
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
async fn an_entry_that_is_listed_twice_is_fetched_once() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "twice");
    let key = TestKey::p256();
    let signed = image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Bundle).await;
    let stored = signed.bundle.unwrap().stored.unwrap();
    registry.list_referrer(&app(), &digest, entry(stored.digest().unwrap()));
    let found = all(&registry, &digest, &Limits::default()).await;
    assert_eq!((found.evidence.len(), found.faults.len()), (1, 0));
}

/// A replicated registry may list content that is not available everywhere yet.
#[tokio::test]
async fn a_listed_but_missing_referrer_is_a_fault() {
    let types =
        [(media_type::BUNDLE_V03, 1), (media_type::OCI_EMPTY, 1), ("", 1), ("text/spdx", 0)];
    for (artifact_type, faults) in types {
        let registry = MemoryRegistry::new();
        let digest = image::image(&registry, &app(), "listed");
        registry.list_referrer(&app(), &digest, entry_of(&Digest::of(b"gone"), artifact_type));
        let found = all(&registry, &digest, &Limits::default()).await;
        assert!(found.evidence.is_empty());
        assert_eq!(found.faults.len(), faults, "{artifact_type:?}");
        assert!(found.faults.iter().all(|fault| fault.kind == FaultKind::Missing));
    }
    for layer in [media_type::BUNDLE_V03, media_type::SIMPLE_SIGNING] {
        let registry = MemoryRegistry::new();
        let digest = image::image(&registry, &app(), "listed");
        let manifest = referrer(&registry, &digest, &[(layer, 4, Digest::of(b"gone"))]);
        registry.list_referrer(&app(), &digest, entry(&manifest));
        let found = all(&registry, &digest, &Limits::default()).await;
        assert!(found.evidence.is_empty());
        let kinds: Vec<_> = found.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, [FaultKind::Missing], "{layer}");
    }
}

/// A listed bundle, or an entry without a type, that cannot be parsed is reported.
#[tokio::test]
async fn a_referrer_that_cannot_be_read_is_unusable() {
    for (artifact_type, told) in [(media_type::BUNDLE_V03, 1), ("", 1), ("text/spdx", 0)] {
        let registry = MemoryRegistry::new();
        let digest = image::image(&registry, &app(), "unreadable");
        let bytes = br#"{"schemaVersion":2,"layers":[],"layers":[]}"#;
        let manifest = registry.put_manifest(&app(), media_type::OCI_MANIFEST, bytes);
        registry.list_referrer(&app(), &digest, entry_of(&manifest, artifact_type));
        let found = all(&registry, &digest, &Limits::default()).await;
        assert_eq!((found.evidence.len(), found.faults.len()), (told, 0), "{artifact_type:?}");
        let unusable = |piece: &Evidence| matches!(piece, Evidence::Unusable { .. });
        assert!(found.evidence.iter().all(unusable));
    }
}

/// A writer of the tag can give a wrong descriptor for one signature, but hides no other by it.
#[tokio::test]
async fn a_wrong_descriptor_does_not_affect_other_signatures() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "described");
    let payload = registry.put_blob(&app(), b"good");
    let layers = [
        (media_type::SIMPLE_SIGNING, 7, Digest::of(b"missing")),
        (media_type::SIMPLE_SIGNING, 3, payload.clone()),
        ("text/plain", 4, payload.clone()),
        (media_type::SIMPLE_SIGNING, 4, payload),
    ];
    let manifest = referrer(&registry, &digest, &layers);
    registry.list_referrer(&app(), &digest, entry(&manifest));
    let found = all(&registry, &digest, &Limits::default()).await;
    let usable = |piece: &&Evidence| matches!(piece, Evidence::Legacy(_));
    assert_eq!((found.evidence.len(), found.evidence.iter().filter(usable).count()), (3, 1));
    assert_eq!(found.faults.len(), 1);
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
async fn other_content_is_skipped_or_unusable() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "odd");
    let blob = registry.put_blob(&app(), b"{}");
    let bundle = media_type::BUNDLE_V03;
    referrer(&registry, &digest, &[("text/spdx", 2, blob.clone())]);
    referrer(&registry, &digest, &[(bundle, 2, blob.clone()), (bundle, 2, blob.clone())]);
    referrer(&registry, &digest, &[(bundle, 3, blob.clone())]);
    referrer(&registry, &digest, &[(bundle, 1, blob)]);
    let found = all(&registry, &digest, &Limits::default()).await;
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    assert_eq!(found.evidence.len(), 3);
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
async fn gathering_stops_as_soon_as_the_evidence_is_enough() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "first");
    let key = TestKey::p256();
    image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Both).await;
    let (app, limits) = (app(), Limits::default());
    let gathering = Gathering::new(&registry, &app, &digest, "", &limits);
    let mut shown = Vec::new();
    let take = |piece| {
        shown.push(piece);
        std::future::ready(true)
    };
    let mut faults = Vec::new();
    gathering.bundles_first(&mut faults, take).await;
    assert!(matches!(shown[..], [Evidence::Bundle(_)]));
    assert_eq!(registry.take_count(), 3);
    let gathering = Gathering::new(&registry, &app, &digest, "", &limits);
    let mut shown = Vec::new();
    let take = |piece| {
        shown.push(piece);
        std::future::ready(false)
    };
    gathering.bundles_first(&mut faults, take).await;
    assert!(matches!(shown[..], [Evidence::Bundle(_), Evidence::Legacy(_)]));
    assert_eq!(faults, []);
}

/// `sha512-<128 digits>.sig` is longer than a tag may be: a request for it could only fail.
#[tokio::test]
async fn a_long_digest_has_no_legacy_tag() {
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

/// Gathers as the gate does, until there are `enough` pieces.
async fn until(registry: &MemoryRegistry, subject: &Digest, enough: usize) -> Gathered {
    let (app, limits) = (app(), Limits::default());
    let gathering = Gathering::new(registry, &app, subject, "", &limits);
    let mut found = Gathered::default();
    let mut faults = Vec::new();
    let take = |piece| {
        found.evidence.push(piece);
        std::future::ready(found.evidence.len() >= enough)
    };
    gathering.bundles_first(&mut faults, take).await;
    Gathered { faults, ..found }
}

/// With an empty list from the API, the fallback tag is the last request of the gate, and `verify`
/// queries it, too.
#[tokio::test]
async fn an_empty_list_leads_to_the_fallback_tag() {
    for (formats, at_the_gate) in [
        // referrers, `.sig` tag, fallback tag, bundle manifest, bundle
        (Formats::Bundle, 5),
        // referrers, `.sig` manifest, payload
        (Formats::Legacy, 3),
    ] {
        let registry = MemoryRegistry::new().with_empty_lists();
        let digest = image::image(&registry, &app(), "nobody");
        let key = TestKey::p256();
        image::sign(&registry, &image::at(&app(), &digest), &key, formats).await;
        let found = until(&registry, &digest, 1).await;
        assert_eq!((found.evidence.len(), found.faults.len()), (1, 0), "{formats:?}");
        assert_eq!(registry.take_count(), at_the_gate, "{formats:?}");
        let found = all(&registry, &digest, &Limits::default()).await;
        assert_eq!((found.evidence.len(), found.faults.len()), (1, 0), "{formats:?}");
    }
}

#[tokio::test]
async fn a_fallback_tag_that_cannot_be_read_is_a_fault() {
    let registry = MemoryRegistry::new().with_empty_lists();
    let digest = image::image(&registry, &app(), "nobody");
    registry.fail(Request::ReferrersTag, "", 2, fault(FaultKind::Throttled));
    for found in
        [until(&registry, &digest, 1).await, all(&registry, &digest, &Limits::default()).await]
    {
        let kinds: Vec<_> = found.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, [FaultKind::Throttled]);
    }
}

/// Many signatures by others, some of which never arrive, do not delay those that do.
#[tokio::test]
async fn a_slow_signature_does_not_hold_back_the_others() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "slow");
    let key = TestKey::p256();
    let image = image::at(&app(), &digest);
    for _ in 0..30 {
        image::sign(&registry, &image, &key, Formats::Bundle).await;
    }
    let listed = registry.referrers(&app(), &digest).await.unwrap();
    let never = Duration::from_secs(3600);
    for entry in listed.iter().take(Limits::default().concurrent - 1) {
        registry.delay(Request::Manifest, &entry.digest.to_string(), 1, never);
    }
    let others = 30 - (Limits::default().concurrent - 1);
    let work = until(&registry, &digest, others);
    let found = tokio::time::timeout(Duration::from_secs(20), work).await.unwrap();
    assert_eq!((found.evidence.len(), found.faults.len()), (others, 0));
}

/// `verify` reports evidence in the order of the list, whatever the order of arrival.
#[tokio::test]
async fn evidence_keeps_the_order_of_the_list() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "order");
    let key = TestKey::p256();
    for _ in 0..12 {
        image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Bundle).await;
    }
    let listed = registry.referrers(&app(), &digest).await.unwrap();
    let first = listed[0].digest.to_string();
    registry.delay(Request::Manifest, &first, 1, Duration::from_millis(100));
    let found = all(&registry, &digest, &Limits::default()).await;
    let order = found.evidence.iter().map(|piece| piece.origin().manifest.clone().unwrap());
    let want = listed.iter().map(|entry| entry.digest.clone());
    assert_eq!(order.collect::<Vec<_>>(), want.collect::<Vec<_>>());
}

/// Of many signatures, no further ones are fetched once one is enough.
#[tokio::test]
async fn the_gate_stops_at_the_first_valid_signature() {
    let registry = MemoryRegistry::new();
    let digest = image::image(&registry, &app(), "many bundles");
    let key = TestKey::p256();
    for _ in 0..100 {
        image::sign(&registry, &image::at(&app(), &digest), &key, Formats::Bundle).await;
    }
    let at_once = Limits::default().concurrent;
    assert_eq!(until(&registry, &digest, 1).await.evidence.len(), 1);
    let asked = registry.take_count();
    assert!(asked <= 1 + 4 * at_once, "{asked} requests");

    let digest = image::image(&registry, &app(), "many layers");
    let layers: Vec<_> = (0..100_u8).map(|n| registry.put_blob(&app(), &[n])).collect();
    let layers: Vec<_> =
        layers.into_iter().map(|layer| (media_type::SIMPLE_SIGNING, 1, layer)).collect();
    let manifest = referrer(&registry, &Digest::of(b"something else"), &layers);
    let tag = format!("{}.sig", digest.to_string().replace(':', "-"));
    registry.put_tag(&app(), &tag, &manifest);
    assert_eq!(until(&registry, &digest, 1).await.evidence.len(), 1);
    let asked = registry.take_count();
    assert!(asked <= 2 + 2 * at_once, "{asked} requests");
    let found = all(&registry, &digest, &Limits::default()).await;
    let payloads = found.evidence.iter().map(|piece| match piece {
        Evidence::Legacy(signature) => signature.payload.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(payloads.collect::<Vec<_>>(), (0..100_u8).map(|n| vec![n]).collect::<Vec<_>>());
}
