//! Registries that lie: what other tools let in, told of in `docs/reference/advisories.md`.

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

use crate::gate::{admission, house, signed_policy};
use crate::{app, authority};

/// A manifest about `subject` with one layer.
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

/// A referrer proves nothing by being there, whatever it and its list say that it is.
#[tokio::test]
async fn an_unsigned_referrer_of_any_media_type_is_never_evidence() {
    let (house, ours, theirs) = (house(), TestKey::p256(), TestKey::p256());
    let digest = image::image(&house.registry, &app(), "hung with papers");
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
            refer(&house.registry, &digest, kind, kind, paper.as_bytes());
            refer(&house.registry, &digest, media_type::BUNDLE_V03, kind, paper.as_bytes());
        }
    }
    let image = image::at(&app(), &digest);
    let policies = signed_policy(&ours);
    let answer = house.validate(&[&image.to_string()], &policies).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("failed policy: signed"), "{}", answer.message);
    let request = VerifyRequest::new(authority(&[&ours]));
    let report = verify_image(&*house.registry, &image, &request).await;
    assert!(!report.is_verified());
    assert!(matches!(report.outcome, Outcome::NoMatch { .. }), "{:?}", report.outcome);
    // All of that does not hide a signature either.
    refer(
        &house.registry,
        &digest,
        "x/y",
        media_type::BUNDLE_V03,
        bundle(statement(&digest, sign), &ours).await.as_bytes(),
    );
    assert!(verify_image(&*house.registry, &image, &request).await.is_verified());
}

/// Go reads `Manifests` as `manifests`, and the last one counts: a runtime could start what our
/// reading of the same bytes does not show.
#[tokio::test]
async fn an_index_that_others_read_otherwise_is_not_read() {
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

/// A registry may answer each question about a tag with another digest: what is written into the
/// object is what is verified, and what is verified is what is written.
#[tokio::test]
async fn one_digest_for_the_verifier_and_another_for_the_mutation_is_refused() {
    let (house, key) = (house(), TestKey::p256());
    let tag: Reference = image::reference("reg.example/acme/app:v1");
    let good = image::tagged(&house.registry, &tag, "good");
    image::sign(&house.registry, &tag, &key, Written::Both).await;
    let bad = image::image(&house.registry, &app(), "bad");
    let policies = signed_policy(&key);
    let move_to = |digest| house.registry.put_tag(&app(), "v1", digest);
    let pin = async || {
        let text = "reg.example/acme/app:v1";
        let answer = house.gate.mutate(&admission(&[text]), None).await;
        answer.pins.into_iter().map(|(_, text)| text).collect::<String>()
    };
    // Warm: a verdict for the tag would now be remembered, if there were such a thing.
    let pinned = pin().await;
    assert!(house.validate(&[&pinned], &policies).await.allowed);
    move_to(&bad);
    let pinned = pin().await;
    assert_eq!(pinned, format!("{tag}@{bad}"));
    move_to(&good);
    assert!(!house.validate(&[&pinned], &policies).await.allowed);
    let pinned = pin().await;
    move_to(&bad);
    assert_eq!(pinned, format!("{tag}@{good}"));
    assert!(house.validate(&[&pinned], &policies).await.allowed);
    assert!(!house.validate(&["reg.example/acme/app:v1"], &policies).await.allowed);
}

/// A pass says that content is signed, whoever asked; it is good for every namespace. What was
/// not found out, or not found, with one namespace's secrets is nobody else's answer.
#[tokio::test]
async fn a_pass_is_everybodys_and_a_refusal_is_not() {
    let (house, key) = (house(), TestKey::p256());
    let digest = image::image(&house.registry, &app(), "shared");
    let image = image::at(&app(), &digest);
    let policies = signed_policy(&key);
    let of = |namespace: &str| {
        let mut admission = admission(&[&image.to_string()]);
        admission.workload.scope.namespace = namespace.to_owned();
        admission
    };
    let ask = async |namespace| house.gate.validate(&of(namespace), &policies, None).await.allowed;
    assert!(!ask("one").await);
    image::sign(&house.registry, &image, &key, Written::Bundle).await;
    assert!(ask("two").await, "the refusal of another namespace is not ours");
    house.registry.take_count();
    assert!(ask("three").await);
    assert_eq!(house.registry.take_count(), 0, "the pass of another namespace is");
}
