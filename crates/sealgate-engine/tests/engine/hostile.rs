//! Malicious registries: attacks on other tools that `docs/reference/advisories.md` describes.

use sealgate_core::bundle::Bundle;
use sealgate_core::digest::Digest;
use sealgate_core::dsse::{IN_TOTO, pae};
use sealgate_core::manifest::media_type;
use sealgate_core::reference::Reference;
use sealgate_engine::ports::Signer;
use sealgate_engine::sign::Formats as Written;
use sealgate_engine::verify::{Outcome, VerifyRequest, verify_image};
use sealgate_testkit::image;
use sealgate_testkit::key::TestKey;
use sealgate_testkit::registry::MemoryRegistry;
use serde_json::json;

use crate::gate::{admission, fixture, signed_policy};
use crate::{app, authority};

/// A manifest that refers to `subject`, with one layer.
fn refer(registry: &MemoryRegistry, subject: &Digest, artifact: &str, layer: &str, content: &[u8]) {
    let blob = registry.put_blob(&app(), content);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": artifact,
        "config": {"mediaType": media_type::OCI_EMPTY, "size": 2, "digest": Digest::of(b"{}")},
        "layers": [{"mediaType": layer, "size": content.len(), "digest": blob}],
        "subject": {"mediaType": media_type::OCI_MANIFEST, "size": 1, "digest": subject},
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
        },
    });
    registry.put_manifest(&app(), media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
}

/// A bundle of `statement` by `signer`, over exactly these bytes.
async fn bundle(statement: String, signer: &TestKey) -> String {
    let signature = signer.sign(&pae(IN_TOTO, statement.as_bytes())).await.unwrap();
    Bundle::of_statement(statement.into_bytes(), signature, signer.public_key()).to_json()
}

fn statement(digest: &Digest, predicate: &str) -> String {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.hex()}}],
        "predicateType": predicate,
        "predicate": {},
    });
    statement.to_string()
}

/// The existence of a referrer proves nothing, whatever its media type and artifact type.
#[tokio::test]
async fn an_unsigned_referrer_of_any_media_type_is_never_evidence() {
    let (fixture, ours, theirs) = (fixture(), TestKey::p256(), TestKey::p256());
    let digest = image::image(&fixture.registry, &app(), "hung with papers");
    let other = Digest::of(b"another image");
    let sign = "https://sigstore.dev/cosign/sign/v1";
    let papers = [
        bundle(statement(&digest, sign), &theirs).await,
        bundle(statement(&other, sign), &ours).await,
        bundle(statement(&digest, "https://slsa.dev/provenance/v1"), &ours).await,
        bundle(statement(&digest, "cosign.sigstore.dev/attestation/vuln/v1"), &ours).await,
        "{}".to_owned(),
        statement(&digest, sign),
    ];
    let types = [
        media_type::BUNDLE_V03,
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
        media_type::DSSE,
        media_type::SIMPLE_SIGNING,
        "application/vnd.in-toto+json",
        "application/spdx+json",
        "application/vnd.cncf.notary.signature",
        media_type::OCI_EMPTY,
    ];
    for paper in &papers {
        for kind in types {
            refer(&fixture.registry, &digest, kind, kind, paper.as_bytes());
            refer(&fixture.registry, &digest, media_type::BUNDLE_V03, kind, paper.as_bytes());
        }
    }
    let image = image::at(&app(), &digest);
    let policies = signed_policy(&ours);
    let answer = fixture.validate(&[&image.to_string()], &policies).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("failed policy: signed"), "{}", answer.message);
    let request = VerifyRequest::new(authority(&[&ours]));
    let report = verify_image(&*fixture.registry, &image, &request).await;
    assert!(!report.is_verified());
    assert!(matches!(report.outcome, Outcome::NoMatch { .. }), "{:?}", report.outcome);
    // None of these hides a signature.
    refer(
        &fixture.registry,
        &digest,
        "x/y",
        media_type::BUNDLE_V03,
        bundle(statement(&digest, sign), &ours).await.as_bytes(),
    );
    assert!(verify_image(&*fixture.registry, &image, &request).await.is_verified());
}

/// Go parses `Manifests` as `manifests`, and the last one takes effect: a runtime could start an
/// image that our parsing of the same bytes does not show.
#[tokio::test]
async fn an_ambiguous_index_is_rejected() {
    let (registry, key) = (MemoryRegistry::new(), TestKey::p256());
    let child = |name: &str| {
        let digest = image::image(&registry, &app(), name);
        json!([{"mediaType": media_type::OCI_MANIFEST, "size": 1, "digest": digest}])
    };
    let index = |second: &str| {
        let (shown, hidden) = (child("shown"), child("hidden"));
        let text = format!(r#"{{"schemaVersion":2,"manifests":{shown},"{second}":{hidden}}}"#);
        let digest = registry.put_manifest(&app(), media_type::OCI_INDEX, text.as_bytes());
        image::at(&app(), &digest)
    };
    let request = VerifyRequest { recursive: true, ..VerifyRequest::new(authority(&[&key])) };
    let outcome = async |at: Reference| verify_image(&registry, &at, &request).await.outcome;
    let ambiguous = outcome(index("Manifests")).await;
    assert_eq!(ambiguous.code(), "malformed", "{ambiguous:?}");
    assert_eq!(outcome(index("others")).await.code(), "no-signatures");
}

/// A registry may resolve a tag to another digest on each request: the digest that is written into
/// the object is the one that is verified.
#[tokio::test]
async fn one_digest_for_the_verifier_and_another_for_the_mutation_is_refused() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let tag: Reference = image::reference("reg.example/acme/app:v1");
    let good = image::tagged(&fixture.registry, &tag, "good");
    image::sign(&fixture.registry, &tag, &key, Written::Both).await;
    let bad = image::image(&fixture.registry, &app(), "bad");
    let policies = signed_policy(&key);
    let move_to = |digest| fixture.registry.put_tag(&app(), "v1", digest);
    let pin = async || {
        let text = "reg.example/acme/app:v1";
        let answer = fixture.gate.mutate(&admission(&[text]), None).await;
        answer.pins.into_iter().map(|(_, text)| text).collect::<String>()
    };
    // Warm: a verdict for the tag would be cached by now, if there were one.
    let pinned = pin().await;
    assert!(fixture.validate(&[&pinned], &policies).await.allowed);
    move_to(&bad);
    let pinned = pin().await;
    assert_eq!(pinned, format!("{tag}@{bad}"));
    move_to(&good);
    assert!(!fixture.validate(&[&pinned], &policies).await.allowed);
    let pinned = pin().await;
    move_to(&bad);
    assert_eq!(pinned, format!("{tag}@{good}"));
    assert!(fixture.validate(&[&pinned], &policies).await.allowed);
    assert!(!fixture.validate(&["reg.example/acme/app:v1"], &policies).await.allowed);
}

/// A pass says that content is signed, so it is valid for every namespace. A fault or "not found"
/// with one namespace's Secrets is not used for another.
#[tokio::test]
async fn a_pass_is_shared_between_namespaces_and_a_denial_is_not() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let digest = image::image(&fixture.registry, &app(), "shared");
    let image = image::at(&app(), &digest);
    let policies = signed_policy(&key);
    let of = |namespace: &str| {
        let mut admission = admission(&[&image.to_string()]);
        admission.workload.scope.namespace = namespace.to_owned();
        admission
    };
    let ask =
        async |namespace| fixture.gate.validate(&of(namespace), &policies, None).await.allowed;
    assert!(!ask("one").await);
    image::sign(&fixture.registry, &image, &key, Written::Bundle).await;
    assert!(ask("two").await, "the refusal of another namespace is not ours");
    fixture.registry.take_count();
    assert!(ask("three").await);
    assert_eq!(fixture.registry.take_count(), 0, "the pass of another namespace is");
}
