//! A TrustRoot in the folder, as a TUF repository in the object: read in the background, and from
//! then on the policies that name it hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sealgate_core::reference::Identifier;
use sealgate_engine::ports::Clock as _;
use sealgate_engine::referrer;
use sealgate_testkit::keyless::{CertificateIdentity, ISSUER, Proof, SUBJECT, TestSigstore};
use sealgate_testkit::ports::FrozenClock;
use sealgate_testkit::tuf::{TufRepository, archive};
use serde_json::json;

use crate::fixture::{GateFixture, TIMEOUT, gate};

fn policy() -> String {
    let identity = json!({ "issuer": ISSUER, "subject": SUBJECT });
    let keyless = json!({ "trustRootRef": "ours", "identities": [identity] });
    json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "keyless" },
        "spec": {
            "images": [{ "glob": "registry.test/**" }],
            "authorities": [{ "keyless": keyless }],
        },
    })
    .to_string()
}

/// The root of a world, in a TUF repository; `anchor` is what it begins with, if not its own.
fn trust_root(world: &TestSigstore, anchor: Option<Vec<u8>>) -> String {
    let now = FrozenClock::default().now();
    let repository =
        TufRepository::new(now).with("trusted_root.json", world.trust_root().to_json());
    let root = anchor.unwrap_or_else(|| repository.root(1));
    json!({
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": "ours" },
        "spec": { "repository": {
            "root": STANDARD.encode(root),
            "mirrorFS": STANDARD.encode(archive(&repository.files(), "repository/")),
        } },
    })
    .to_string()
}

/// Asks until the denial of the image fits.
async fn until_denial(gate: &GateFixture, digest: &sealgate_core::digest::Digest, text: &str) {
    let start = std::time::Instant::now();
    loop {
        let denial = gate.denial("app", digest).await;
        if denial.contains(text) && denial.is_empty() == text.is_empty() {
            return;
        }
        assert!(start.elapsed() < TIMEOUT, "still: {denial}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_repository_in_the_folder_is_read_and_taken_away_again() {
    let world = TestSigstore::default();
    let gate = gate(|_| vec![("policy.json", policy())]);
    gate.ready().await;
    let digest = gate.push("app");
    let bundle = world.image_bundle(
        &world.certified(&CertificateIdentity::default()),
        &digest,
        Proof::RekorV2,
    );
    let repository = gate.repository("app");
    let image = gate.registry.peek(&repository, &Identifier::Digest(digest.clone())).unwrap();
    let (bundle, now) = (bundle.to_json(), FrozenClock::default().now());
    let predicate = "https://sigstore.dev/cosign/sign/v1";
    let manifest = referrer::manifest(bundle.as_bytes(), predicate, &image.descriptor, now);
    let pushed = referrer::push(&*gate.registry, &repository, Bytes::from(bundle), &manifest);
    pushed.await.unwrap();

    until_denial(&gate, &digest, "trustRootRef ours not found (TrustRootUnavailable)").await;
    gate.file("root.json", Some(&trust_root(&world, None)));
    until_denial(&gate, &digest, "").await;
    gate.until("/readyz", |status, text| status == 200 && !text.contains("problems")).await;
    // The root of another deployment, and one that its own anchor does not verify.
    gate.file("root.json", Some(&trust_root(&TestSigstore::default(), None)));
    until_denial(&gate, &digest, "signature keyless validation failed").await;
    let anchor = TufRepository::new(now).root(1);
    gate.file("root.json", Some(&trust_root(&world, Some(anchor))));
    until_denial(&gate, &digest, "cannot be evaluated: TrustRoot ours: ").await;
    gate.until("/readyz", |_, text| text.contains("TrustRoot ours: RefreshFailed")).await;
    gate.file("root.json", Some(&trust_root(&world, None)));
    until_denial(&gate, &digest, "").await;
    gate.file("root.json", None);
    until_denial(&gate, &digest, "trustRootRef ours not found").await;
}
