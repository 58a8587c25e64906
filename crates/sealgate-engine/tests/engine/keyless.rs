//! The gate with keyless policies, from the policy's text to the response, with signatures of an
//! in-memory Sigstore.

use std::sync::Arc;

use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::Identifier;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::RootSource;
use sealgate_engine::attach::{AttachRequest, attach_signature};
use sealgate_engine::referrer;
use sealgate_engine::sign::Formats as Written;
use sealgate_policy::cip::ClusterImagePolicy;
use sealgate_policy::cip::compile::{Lookups, RootRef, compile};
use sealgate_policy::cip::patterns::Patterns;
use sealgate_policy::cip::validate::Context;
use sealgate_policy::select::{NoMatch, PolicySet};
use sealgate_testkit::image;
use sealgate_testkit::key::TestKey;
use sealgate_testkit::keyless::{CertificateIdentity, ISSUER, Proof, SUBJECT, TestSigstore};
use serde_json::{Value, json};

use crate::app;
use crate::gate::{GateFixture, fixture};

/// A gate, and the Sigstore that it trusts.
struct Scene {
    fixture: GateFixture,
    world: TestSigstore,
}

impl Scene {
    fn new() -> Self {
        Self { fixture: fixture(), world: TestSigstore::default() }
    }

    fn image(&self, text: &str) -> Digest {
        image::image(&self.fixture.registry, &app(), text)
    }

    /// An image with a bundle of `world`.
    async fn signed_in(
        &self,
        world: &TestSigstore,
        by: &CertificateIdentity,
        proof: Proof,
    ) -> String {
        let digest = self.image(&format!("{by:?} {proof:?}"));
        let bundle = world.image_bundle(&world.certified(by), &digest, proof).to_json();
        self.push(&digest, bundle).await;
        image::at(&app(), &digest).to_string()
    }

    async fn signed(&self, proof: Proof) -> String {
        self.signed_in(&self.world, &CertificateIdentity::default(), proof).await
    }

    async fn push(&self, digest: &Digest, bundle: String) {
        let registry = &*self.fixture.registry;
        let raw = registry.peek(&app(), &Identifier::Digest(digest.clone())).unwrap();
        let subject: Descriptor = raw.descriptor;
        let created = "2026-01-02T03:04:05Z".parse().unwrap();
        let predicate = "https://sigstore.dev/cosign/sign/v1";
        let manifest = referrer::manifest(bundle.as_bytes(), predicate, &subject, created);
        referrer::push(registry, &app(), Bytes::from(bundle), &manifest).await.unwrap();
    }

    async fn legacy(&self, proof: Proof) -> String {
        let digest = self.image(&format!("legacy {proof:?}"));
        let by = self.world.certified(&CertificateIdentity::default());
        let signature = self.world.legacy(&by, "reg.example/acme/app", &digest, proof);
        let note = |part: &str| {
            let mut notes = signature.annotations.iter();
            notes.find(|(name, _)| name.ends_with(part)).map(|(_, text)| text.clone())
        };
        let request = AttachRequest {
            payload: Some(signature.payload.clone()),
            signature: note("/signature").unwrap(),
            certificate: note("/certificate"),
            chain: note("/chain"),
            log_entry: note("/bundle"),
            ..AttachRequest::default()
        };
        let reference = image::at(&app(), &digest);
        attach_signature(&*self.fixture.registry, &reference, &request).await.unwrap();
        reference.to_string()
    }

    /// A policy with this authority; the gate's own root, and the TrustRoot `ours`, are of
    /// `world`.
    fn policy_in(&self, world: &TestSigstore, authorities: Value) -> PolicySet {
        let root = Arc::new(world.trust_root());
        let roots = |which: &RootRef| -> Result<(Arc<TrustRoot>, RootSource), Fault> {
            match which {
                RootRef::Named(name) if name != "ours" => {
                    let detail = format!("trustRootRef {name} not found");
                    Err(Fault::new(FaultKind::Missing, "TrustRoot", detail))
                }
                _ => Ok((root.clone(), RootSource::Configured)),
            }
        };
        let policy = ClusterImagePolicy::from_json(&json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": {"name": "keyless"},
            "spec": {"images": [{"glob": "reg.example/**"}], "authorities": authorities},
        }))
        .unwrap();
        let lookups =
            Lookups { secrets: &|_| unreachable!("no policy has secrets"), roots: &roots };
        let compiled =
            compile(&policy, "test", &Context::default(), &lookups, &mut Patterns::default());
        assert!(compiled.errors.is_empty(), "{}", compiled.errors);
        PolicySet::new(vec![compiled.rule], NoMatch::Deny)
    }

    fn policy(&self, authority: Value) -> PolicySet {
        self.policy_in(&self.world, json!([authority]))
    }

    async fn says(&self, image: &str, policies: &PolicySet) -> String {
        let answer = self.fixture.validate(&[image], policies).await;
        assert_eq!(answer.allowed, answer.message.is_empty());
        answer.message
    }
}

fn identity(issuer: &str, subject: &str) -> Value {
    json!({"issuer": issuer, "subject": subject})
}

fn keyless(identities: Value) -> Value {
    json!({"keyless": {"identities": identities}})
}

fn wanted() -> Value {
    keyless(json!([identity(ISSUER, SUBJECT)]))
}

/// `wanted`, with more fields of the authority.
fn wanted_with(fields: Value) -> Value {
    let mut authority = wanted();
    for (name, value) in fields.as_object().into_iter().flatten() {
        authority[name] = value.clone();
    }
    authority
}

#[tokio::test]
async fn a_matching_identity_is_admitted_in_every_form() {
    let scene = Scene::new();
    let mut images = vec![scene.legacy(Proof::RekorV1).await];
    for proof in [Proof::RekorV1, Proof::RekorV1AndTimestamp, Proof::RekorV2] {
        images.push(scene.signed(proof).await);
    }
    let pattern = |issuer: &str, subject: &str| {
        keyless(json!([{"issuerRegExp": issuer, "subjectRegExp": subject}]))
    };
    for authority in [
        wanted(),
        keyless(json!([identity("https://other", "x"), identity(ISSUER, SUBJECT)])),
        pattern(r"^https://issuer\.example$", "^https://ci\\.example/.*$"),
        pattern("issuer", "acme"),
        wanted_with(json!({"ctlog": {}})),
        json!({"keyless": {"identities": [identity(ISSUER, SUBJECT)], "trustRootRef": "ours"},
            "ctlog": {"trustRootRef": "ours"}}),
    ] {
        let policies = scene.policy(authority.clone());
        for image in &images {
            assert_eq!(scene.says(image, &policies).await, "", "{authority}");
        }
    }
}

#[tokio::test]
async fn other_signers_are_denied_with_policy_controllers_messages() {
    let scene = Scene::new();
    let policies = scene.policy(wanted());
    let named = |subject: &str, issuer: &str| CertificateIdentity {
        subject: subject.to_owned(),
        issuer: issuer.to_owned(),
        ..CertificateIdentity::default()
    };
    let other = TestSigstore::default();
    let (key, digest) = (TestKey::p256(), scene.image("by key"));
    let by_key = image::at(&app(), &digest);
    image::sign(&scene.fixture.registry, &by_key, &key, Written::Both).await;
    let unsigned = image::at(&app(), &scene.image("unsigned")).to_string();
    let wrong_identity = "none of the expected identities matched";
    let rows = [
        (unsigned, "no signatures found"),
        (
            scene.signed_in(&scene.world, &named("x@evil.example", ISSUER), Proof::RekorV1).await,
            wrong_identity,
        ),
        (
            scene
                .signed_in(&scene.world, &named(SUBJECT, "https://evil.example"), Proof::RekorV1)
                .await,
            wrong_identity,
        ),
        (
            scene.signed_in(&other, &CertificateIdentity::default(), Proof::RekorV2).await,
            "no matching signatures: ",
        ),
        (scene.signed(Proof::None).await, "signature not found in transparency log"),
        (scene.signed(Proof::Timestamp).await, "signature not found in transparency log"),
        (by_key.to_string(), "no matching signatures: "),
    ];
    for (image, text) in rows {
        let message = scene.says(&image, &policies).await;
        let head = format!(
            "validation failed: failed policy: keyless: spec.containers[0].image\n{image} \
             signature keyless validation failed for authority authority-0 for {image}: "
        );
        assert!(message.starts_with(&head), "{image}: {message}");
        assert!(message.lines().nth(1).unwrap().contains(text), "{text}: {message}");
    }
}

/// The table of required proofs in the reference.
#[tokio::test]
async fn logs_and_timestamps_are_required_as_the_policy_says() {
    let scene = Scene::new();
    let (log, stamp) = (json!({"ctlog": {}}), json!({"rfc3161timestamp": {}}));
    let both = json!({"ctlog": {}, "rfc3161timestamp": {}});
    let rows = [
        (json!({}), [true, true, true, false, false]),
        (log, [true, true, true, false, false]),
        (stamp, [false, true, true, true, false]),
        (both, [false, true, true, false, false]),
    ];
    let proofs =
        [Proof::RekorV1, Proof::RekorV1AndTimestamp, Proof::RekorV2, Proof::Timestamp, Proof::None];
    for (fields, expected) in rows {
        let policies = scene.policy(wanted_with(fields.clone()));
        for (proof, expected) in proofs.into_iter().zip(expected) {
            let image = scene.signed(proof).await;
            let message = scene.says(&image, &policies).await;
            assert_eq!(message.is_empty(), expected, "{fields} {proof:?}: {message}");
        }
    }
}

#[tokio::test]
async fn a_statement_of_another_type_is_not_a_signature() {
    let scene = Scene::new();
    let digest = scene.image("attested only");
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "", "digest": {"sha256": digest.hex()}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    });
    let by = scene.world.certified(&CertificateIdentity::default());
    let bundle =
        scene.world.statement_bundle(&by, statement.to_string().as_bytes(), Proof::RekorV2);
    scene.push(&digest, bundle.to_json()).await;
    let image = image::at(&app(), &digest).to_string();
    let message = scene.says(&image, &scene.policy(wanted())).await;
    assert!(message.contains("no signatures found"), "{message}");
}

#[tokio::test]
async fn the_format_that_the_policy_names_counts() {
    let scene = Scene::new();
    let (bundle, legacy) = (scene.signed(Proof::RekorV1).await, scene.legacy(Proof::RekorV1).await);
    for (format, good, bad) in [("bundle", &bundle, &legacy), ("legacy", &legacy, &bundle)] {
        let policies = scene.policy(wanted_with(json!({"signatureFormat": format})));
        assert_eq!(scene.says(good, &policies).await, "", "{format}");
        let message = scene.says(bad, &policies).await;
        assert!(message.contains("requires the other format"), "{message}");
    }
}

#[tokio::test]
async fn a_ca_of_the_policy_replaces_those_of_the_root() {
    let scene = Scene::new();
    let image = scene.signed(Proof::RekorV1).await;
    let with_ca = |chain: String| {
        let identities = json!([identity(ISSUER, SUBJECT)]);
        scene.policy(json!({"keyless": {"ca-cert": {"data": chain}, "identities": identities}}))
    };
    assert_eq!(scene.says(&image, &with_ca(scene.world.chain_pem())).await, "");
    let other = with_ca(TestSigstore::default().chain_pem());
    assert!(scene.says(&image, &other).await.contains("signature keyless validation failed"));
}

#[tokio::test]
async fn a_missing_root_is_a_fault_and_not_a_skipped_check() {
    let scene = Scene::new();
    let image = scene.signed(Proof::RekorV1AndTimestamp).await;
    scene.fixture.registry.take_count();
    let gone = json!({"trustRootRef": "gone"});
    let mut named = wanted();
    named["keyless"]["trustRootRef"] = json!("gone");
    for authority in [
        named.clone(),
        wanted_with(json!({"ctlog": gone})),
        wanted_with(json!({"rfc3161timestamp": gone})),
        wanted_with(json!({"ctlog": {"url": "https://rekor.elsewhere.example"}})),
    ] {
        let message = scene.says(&image, &scene.policy(authority.clone())).await;
        let text = "authority authority-0 cannot be evaluated: ";
        assert!(message.contains(text), "{authority}: {message}");
        assert!(message.contains("[TrustRootUnavailable]"), "{message}");
    }
    assert_eq!(scene.fixture.registry.take_count(), 0, "nothing to look for");
    // Another authority of the same policy is still evaluated.
    let policies = scene.policy_in(&scene.world, json!([named, wanted()]));
    assert_eq!(scene.says(&image, &policies).await, "");
}

/// The cache key covers the trust root.
#[tokio::test]
async fn a_changed_root_is_verified_again() {
    let scene = Scene::new();
    let image = scene.signed(Proof::RekorV2).await;
    let (before, after) =
        (scene.policy(wanted()), scene.policy_in(&TestSigstore::default(), json!([wanted()])));
    assert_ne!(before.fingerprint(), after.fingerprint());
    for _ in 0..2 {
        assert_eq!(scene.says(&image, &before).await, "");
        assert!(scene.says(&image, &after).await.contains("no matching signatures"));
    }
}

/// A key requires no log unless the policy does; then the log must be known.
#[tokio::test]
async fn keys_need_a_log_where_the_policy_says_so() {
    let scene = Scene::new();
    let (key, digest) = (TestKey::p256(), scene.image("by key"));
    let reference = image::at(&app(), &digest);
    image::sign(&scene.fixture.registry, &reference, &key, Written::Both).await;
    let image = reference.to_string();
    let by_key = |fields: Value| {
        let mut authority =
            json!({"key": {"data": sealgate_engine::ports::Signer::public_key(&key).to_pem()}});
        for (name, value) in fields.as_object().into_iter().flatten() {
            authority[name] = value.clone();
        }
        scene.policy(authority)
    };
    assert_eq!(scene.says(&image, &by_key(json!({}))).await, "");
    for (fields, text) in [
        (json!({"ctlog": {}}), "signature not found in transparency log"),
        (json!({"rfc3161timestamp": {"trustRootRef": "ours"}}), "timestamp"),
    ] {
        let message = scene.says(&image, &by_key(fields)).await;
        let line = message.lines().nth(1).unwrap();
        assert!(
            line.contains("signature key validation failed") && line.contains(text),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_record_names_the_signer() {
    let scene = Scene::new();
    let image = scene.signed(Proof::RekorV1).await;
    assert_eq!(scene.says(&image, &scene.policy(wanted())).await, "");
    let records = scene.fixture.records();
    assert_eq!(records[0].images[0].signers, [format!("{SUBJECT} ({ISSUER})")]);
    assert_eq!(records[0].images[0].authorities, ["authority-0"]);
}
