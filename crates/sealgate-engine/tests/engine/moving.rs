use std::collections::BTreeSet;

use sealgate_core::digest::Digest;
use sealgate_core::fault::FaultKind;
use sealgate_core::manifest::media_type;
use sealgate_core::reference::{Identifier, Reference};
use sealgate_engine::attach::{AttachRequest, attach_signature};
use sealgate_engine::attached::Kind;
use sealgate_engine::clean::{CleanRequest, clean};
use sealgate_engine::copy::{CopyRequest, copy_image};
use sealgate_engine::download;
use sealgate_engine::failure::Failure;
use sealgate_engine::limits::Limits;
use sealgate_engine::ports::RegistryRead as _;
use sealgate_engine::save::save_image;
use sealgate_engine::sign::{Formats, SignFailure, SignRequest, sign_image};
use sealgate_engine::tree::tree;
use sealgate_engine::verify::{Outcome, VerifyRequest, verify_image};
use sealgate_testkit::image;
use sealgate_testkit::key::TestKey;
use sealgate_testkit::ports::FrozenClock;
use sealgate_testkit::registry::{LoggedRequest, MemoryRegistry, Request};

use crate::{app, authority};

struct Signed {
    registry: MemoryRegistry,
    key: TestKey,
    tag: sealgate_core::reference::Reference,
    request: VerifyRequest,
}

/// An index of two images, all signed in both formats, under a tag.
async fn signed() -> Signed {
    let registry = MemoryRegistry::new();
    let key = TestKey::p256();
    let (one, two) = (image::image(&registry, &app(), "1"), image::image(&registry, &app(), "2"));
    let index = image::index(&registry, &app(), &[(&one, "amd64"), (&two, "arm64")]);
    registry.put_tag(&app(), "v1", &index);
    for digest in [&one, &two, &index] {
        image::sign(&registry, &image::at(&app(), digest), &key, Formats::Both).await;
    }
    let request = VerifyRequest { recursive: true, ..VerifyRequest::new(authority(&[&key])) };
    let tag = image::reference("reg.example/acme/app:v1");
    Signed { registry, key, tag, request }
}

#[tokio::test]
async fn a_copy_has_everything_and_verifies() {
    let from = signed().await;
    let target = MemoryRegistry::new();
    let to = image::reference("other.example/mirror/app:v1");
    let request = CopyRequest::default();
    let copied = copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    assert_eq!((copied.images, copied.attachments, copied.written), (3, 6, 9));
    let report = verify_image(&target, &to, &from.request).await;
    assert!(report.is_verified(), "{report:?}");
    assert_eq!(target.count(Request::Mount), 0);
    target.take_count();
    let again = copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    assert_eq!(again.written, 0);
    assert_eq!(target.count(Request::PushBlob), 0);
}

#[tokio::test]
async fn within_one_registry_blobs_are_mounted() {
    let from = signed().await;
    let to = image::reference("reg.example/mirror/app:v1");
    let request = CopyRequest::default();
    copy_image(&from.registry, &from.tag, &from.registry, &to, &request).await.unwrap();
    assert!(from.registry.count(Request::Mount) > 0);
    assert_eq!(from.registry.count(Request::PushBlob), 0);
    assert!(verify_image(&from.registry, &to, &from.request).await.is_verified());
}

#[tokio::test]
async fn a_tag_that_names_something_else_is_only_moved_by_force() {
    let from = signed().await;
    let target = MemoryRegistry::new();
    let to = image::reference("other.example/mirror/app:v1");
    let standing = image::tagged(&target, &to, "mine");
    let request = CopyRequest::default();
    let failure = copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap_err();
    assert!(matches!(failure, Failure::Occupied { .. }));
    let at = Identifier::Tag("v1".to_owned());
    assert_eq!(target.peek(to.repository(), &at).unwrap().descriptor.digest, standing);
    let request = CopyRequest { force: true, ..request };
    copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    assert_ne!(target.peek(to.repository(), &at).unwrap().descriptor.digest, standing);
}

#[tokio::test]
async fn signatures_of_the_target_are_not_lost() {
    let from = signed().await;
    let target = MemoryRegistry::new();
    let to = image::reference("other.example/mirror/app:v1");
    let only = Some(BTreeSet::new());
    let bare = CopyRequest { only, ..CopyRequest::default() };
    copy_image(&from.registry, &from.tag, &target, &to, &bare).await.unwrap();
    let report = verify_image(&target, &to, &from.request).await;
    assert_eq!(report.outcome.code(), "no-signatures");
    let other = TestKey::p256();
    image::sign(&target, &to, &other, Formats::Legacy).await;
    let request = CopyRequest { force: true, ..CopyRequest::default() };
    copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    for key in [&from.key, &other] {
        let request = VerifyRequest::new(authority(&[key]));
        assert!(verify_image(&target, &to, &request).await.is_verified());
    }
}

#[tokio::test]
async fn one_platform_of_an_index_can_be_copied() {
    let from = signed().await;
    let target = MemoryRegistry::new();
    let to = image::reference("other.example/mirror/app:arm");
    let platform =
        |text: &str| CopyRequest { platform: Some(text.to_owned()), ..CopyRequest::default() };
    let request = platform("linux/arm64");
    let copied = copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    assert_eq!(copied.images, 1);
    assert!(verify_image(&target, &to, &from.request).await.is_verified());
    let request = platform("linux/s390x");
    let failure = copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap_err();
    assert_eq!(failure.code(), "invalid");
}

#[tokio::test]
async fn a_saved_image_keeps_its_attachments() {
    let from = signed().await;
    let layout = MemoryRegistry::new();
    let request = CopyRequest::default();
    save_image(&from.registry, &from.tag, &layout, &request).await.unwrap();
    assert!(verify_image(&layout, &from.tag, &from.request).await.is_verified());
}

/// An attestation, its signature, and the signature of that one.
async fn attested() -> (MemoryRegistry, TestKey, Reference, [Digest; 3]) {
    let (registry, key) = (MemoryRegistry::new(), TestKey::p256());
    let app = image::reference("reg.example/acme/app:v1");
    let image = image::tagged(&registry, &app, "app");
    let statement = referrer_of(&registry, &app, &image);
    image::sign(&registry, &image::at(app.repository(), &statement), &key, Formats::Bundle).await;
    let signature =
        registry.referrers(app.repository(), &statement).await.unwrap().remove(0).digest;
    image::sign(&registry, &image::at(app.repository(), &signature), &key, Formats::Legacy).await;
    (registry, key, app, [image, statement, signature])
}

/// An SBOM that refers to `subject`.
fn referrer_of(registry: &MemoryRegistry, image: &Reference, subject: &Digest) -> Digest {
    let (at, repository) = (Identifier::Digest(subject.clone()), image.repository());
    let subject = registry.peek(repository, &at).unwrap().descriptor;
    let content = registry.put_blob(repository, b"{}");
    let part = serde_json::json!({"mediaType": "text/spdx+json", "size": 2, "digest": content});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": part, "layers": [part], "subject": subject,
    });
    let bytes = manifest.to_string();
    let digest = registry.put_manifest(repository, media_type::OCI_MANIFEST, bytes.as_bytes());
    let entry = registry.peek(repository, &Identifier::Digest(digest.clone())).unwrap().descriptor;
    registry.list_referrer(repository, &subject.digest, entry);
    digest
}

#[tokio::test]
async fn attachments_of_attachments_are_copied_and_shown() {
    let (registry, key, from, [_, statement, signature]) = attested().await;
    let target = MemoryRegistry::new();
    let to = image::reference("other.example/mirror/app:v1");
    let request = CopyRequest::default();
    let copied = copy_image(&registry, &from, &target, &to, &request).await.unwrap();
    assert_eq!((copied.images, copied.attachments, copied.written), (1, 3, 4));
    let request = VerifyRequest::new(authority(&[&key]));
    for digest in [&statement, &signature] {
        let attachment = image::at(to.repository(), digest);
        assert!(verify_image(&target, &attachment, &request).await.is_verified(), "{attachment}");
    }
    let tree = tree(&target, &to, None, "", &Limits::default()).await.unwrap();
    let [bill] = tree.branches.as_slice() else { panic!("{tree:?}") };
    let [first] = bill.branches.as_slice() else { panic!("{tree:?}") };
    assert_eq!((bill.kind, first.kind), (Kind::Sbom, Kind::Signature));
    assert_eq!((first.branches.len(), first.branches[0].branches.len()), (1, 0));
}

#[tokio::test]
async fn an_omitted_attachment_is_omitted_with_its_own_attachments() {
    let (registry, _, from, _) = attested().await;
    let target = MemoryRegistry::new();
    let to = image::reference("other.example/mirror/app:v1");
    let only = Some([Kind::Signature].into());
    let request = CopyRequest { only, ..CopyRequest::default() };
    let copied = copy_image(&registry, &from, &target, &to, &request).await.unwrap();
    assert_eq!((copied.attachments, copied.written), (0, 1));
}

#[tokio::test]
async fn attachments_nested_too_deeply_are_a_fault() {
    let (registry, _, from, [image, ..]) = attested().await;
    let mut subject = image;
    for _ in 0..6 {
        subject = referrer_of(&registry, &from, &subject);
    }
    let failure = tree(&registry, &from, None, "", &Limits::default()).await.unwrap_err();
    assert_eq!(failure.code(), FaultKind::TooMany.code());
}

/// `COSIGN_REPOSITORY`: legacy signatures of both places join under one tag.
#[tokio::test]
async fn signatures_elsewhere_are_copied_shown_and_cleaned() {
    let from = signed().await;
    let elsewhere = image::repository("reg.example/signatures");
    let other = TestKey::p256();
    let away = sealgate_engine::sign::SignRequest {
        formats: Formats::Both,
        signature_repository: Some(elsewhere.clone()),
        ..Default::default()
    };
    let clock = sealgate_testkit::ports::FrozenClock::default();
    let sign = sealgate_engine::sign::sign_image;
    sign(&from.registry, &from.tag, &other, &clock, &away).await.unwrap();
    let place = Some(elsewhere.clone());

    let limits = Limits::default();
    let shown = tree(&from.registry, &from.tag, place.as_ref(), "", &limits);
    assert_eq!(shown.await.unwrap().branches.len(), 4);
    let target = MemoryRegistry::new();
    let to = image::reference("other.example/mirror/app:v1");
    let request = CopyRequest { signature_repository: place.clone(), ..CopyRequest::default() };
    copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    for key in [&from.key, &other] {
        let request = VerifyRequest::new(authority(&[key]));
        let Outcome::Verified { signatures, .. } =
            verify_image(&target, &to, &request).await.outcome
        else {
            panic!("not verified");
        };
        assert_eq!(signatures.len(), 2);
    }

    let request = CleanRequest {
        kinds: [Kind::Signature].into(),
        signature_repository: place.clone(),
        tag_prefix: String::new(),
        limits: Limits::default(),
    };
    assert_eq!(clean(&from.registry, &from.tag, &request).await.unwrap().len(), 3);
    let request = VerifyRequest { signature_repository: place, ..from.request };
    let report = verify_image(&from.registry, &from.tag, &request).await;
    assert_eq!(report.outcome.code(), "no-signatures");
}

#[tokio::test]
async fn a_tree_shows_attachments_and_their_subjects() {
    let from = signed().await;
    let tree = tree(&from.registry, &from.tag, None, "", &Limits::default()).await.unwrap();
    assert_eq!(tree.children.len(), 2);
    let kinds = tree.branches.iter().map(|branch| branch.kind).collect::<Vec<_>>();
    assert_eq!(kinds, [Kind::Signature, Kind::Signature]);
    assert!(tree.branches[0].location.tag().unwrap().ends_with(".sig"));
    assert_eq!(tree.branches[1].artifact_type, "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert!(tree.branches[1].size() > 500);
    assert_eq!(tree.children[1].platform.as_deref(), Some("linux/arm64"));
}

#[tokio::test]
async fn clean_removes_what_was_named() {
    let from = signed().await;
    let request = |kinds: &[Kind]| CleanRequest {
        kinds: kinds.iter().copied().collect(),
        signature_repository: None,
        tag_prefix: String::new(),
        limits: Limits::default(),
    };
    let none = clean(&from.registry, &from.tag, &request(&[Kind::Attestation])).await.unwrap();
    assert_eq!(none.len(), 0);
    let removed = clean(&from.registry, &from.tag, &request(&[Kind::Signature])).await.unwrap();
    assert_eq!(removed.len(), 2);
    let report = verify_image(&from.registry, &from.tag, &from.request).await;
    assert_eq!(report.outcome.code(), "no-signatures");
}

#[tokio::test]
async fn downloaded_lines_are_cosigns() {
    let from = signed().await;
    let limits = Limits::default();
    let found = download::signatures(&from.registry, &from.tag, None, "", &limits).await.unwrap();
    assert_eq!(found.lines.len(), 2);
    assert!(found.lines[0].contains("dsseEnvelope"));
    let line: serde_json::Value = serde_json::from_str(&found.lines[1]).unwrap();
    assert!(line["Base64Signature"].is_string());
    assert!(line["Payload"].is_string());
    assert!(line["Cert"].is_null() && line["Chain"].is_null() && line["Bundle"].is_null());
}

/// All commands share one parser: an image that cannot be listed, copied or saved is not signed,
/// and every command gives the same reason.
#[tokio::test]
async fn an_unsupported_manifest_is_rejected_by_every_command() {
    for (media_type, bytes) in [
        (media_type::OCI_MANIFEST, "<html>"),
        (media_type::OCI_MANIFEST, r#"{"schemaVersion":2}"#),
        (media_type::OCI_MANIFEST, r#"{"schemaVersion":2,"manifests":[]}"#),
        (media_type::OCI_INDEX, r#"{"schemaVersion":2,"config":{},"layers":[]}"#),
        (media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#),
        (
            "application/vnd.docker.distribution.manifest.v1+json",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
        ),
    ] {
        let registry = MemoryRegistry::new();
        let digest = registry.put_manifest(&app(), media_type, bytes.as_bytes());
        registry.put_tag(&app(), "odd", &digest);
        let from = image::reference("reg.example/acme/app:odd");
        let to = image::reference("other.example/mirror/app:v1");
        let (key, clock) = (TestKey::p256(), FrozenClock::default());
        let target = MemoryRegistry::new();
        let copy = CopyRequest::default();
        let attach = AttachRequest { signature: "MTIz".to_owned(), ..AttachRequest::default() };
        let signed = sign_image(&registry, &from, &key, &clock, &SignRequest::default()).await;
        let Err(SignFailure::Failed(unsigned)) = signed else { panic!("{bytes}: {signed:?}") };
        let said = [
            Some(unsigned),
            attach_signature(&registry, &from, &attach).await.err(),
            tree(&registry, &from, None, "", &Limits::default()).await.err(),
            copy_image(&registry, &from, &target, &to, &copy).await.err(),
            save_image(&registry, &from, &target, &copy).await.err(),
        ];
        let said = said.map(|failure| failure.map(|f| f.to_string()).unwrap_or_default());
        assert!(said[0].contains("not an image"), "{bytes}: {said:?}");
        assert!(said.iter().all(|words| *words == said[0]), "{bytes}: {said:#?}");
        assert_eq!(registry.count(Request::PushManifest), 0);
    }
}

/// The signature is over a digest, so `verify` does not fetch the manifest. (For a tag, the
/// registry client sees the media type, and rejects schema 1.)
#[tokio::test]
async fn an_unsupported_manifest_has_no_signature_but_an_existing_one_verifies() {
    let key = TestKey::p256();
    let request = VerifyRequest::new(authority(&[&key]));
    for (media_type, bytes) in [
        (media_type::OCI_MANIFEST, "<html>"),
        (media_type::OCI_INDEX, r#"{"schemaVersion":2,"config":{},"layers":[]}"#),
        (
            "application/vnd.docker.distribution.manifest.v1+json",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
        ),
    ] {
        let registry = MemoryRegistry::new();
        let digest = registry.put_manifest(&app(), media_type, bytes.as_bytes());
        let report = verify_image(&registry, &image::at(&app(), &digest), &request).await;
        assert_eq!(report.outcome.code(), "no-signatures", "{bytes}");
        let asked = registry.log();
        let manifest = |it: &LoggedRequest| {
            matches!(it.request, Request::Manifest | Request::Resolve)
                && it.what.ends_with(&digest.to_string())
        };
        assert!(!asked.iter().any(manifest), "{bytes}: {asked:?}");
    }
    let registry = MemoryRegistry::new();
    let bytes = br#"{"schemaVersion":2,"manifests":[]}"#;
    let digest = registry.put_manifest(&app(), media_type::OCI_INDEX, bytes);
    let at = image::at(&app(), &digest);
    image::sign(&registry, &at, &key, Formats::Both).await;
    assert_eq!(registry.put_manifest(&app(), media_type::OCI_MANIFEST, bytes), digest);
    assert!(verify_image(&registry, &at, &request).await.is_verified());
    // `--recursive` fetches the manifest to find its children.
    let request = VerifyRequest { recursive: true, ..request };
    let report = verify_image(&registry, &at, &request).await;
    assert_eq!(report.outcome.code(), "malformed", "{report:?}");
}

/// A referrer left by an interrupted copy is listed by the next one.
#[tokio::test]
async fn an_unlisted_referrer_is_pushed_again() {
    let from = signed().await;
    let to = image::reference("other.example/mirror/app:v1");
    let request = CopyRequest::default();
    let target = MemoryRegistry::new();
    copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    target.forget_lists(to.repository());
    target.take_count();
    let again = copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    assert_eq!(again.written, 3);
    assert_eq!(target.count(Request::Referrers), 3, "each list is read once");
    let third = copy_image(&from.registry, &from.tag, &target, &to, &request).await.unwrap();
    assert_eq!(third.written, 0);
}
