//! Tests of `verify-blob` and `verify-bundle` with identities in certificates: bundles, older
//! bundles, and signatures with separate verification material.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::digest::Digest;
use sealgate_testkit::keyless::{
    CertificateIdentity, Certified, ISSUER, Proof, SUBJECT, TestSigstore, legacy_entry,
    legacy_timestamp, pem,
};
use snapbox::{assert_data_eq, str};

use crate::fixture::{CliFixture, CommandResult};

const BLOB: &str = "content";

/// A blob, a signer with a certificate, and the trusted root in `root.json`.
struct Scene {
    fixture: CliFixture,
    world: TestSigstore,
    by: Certified,
}

impl Scene {
    fn new() -> Self {
        let (fixture, world) = (CliFixture::new(), TestSigstore::default());
        let by = world.certified(&CertificateIdentity::default());
        fixture.write("blob", BLOB);
        fixture.write("other", "Content");
        fixture.write("root.json", &world.trust_root().to_json());
        Self { fixture, world, by }
    }

    fn bundle(proof: Proof) -> Self {
        let scene = Self::new();
        let bundle = scene.world.blob_bundle(&scene.by, BLOB.as_bytes(), proof);
        scene.fixture.write("b.json", &bundle.to_json());
        scene
    }

    /// Writes the signature to `s`, the certificate to `c.pem`, the timestamp to `t.json`, the
    /// older bundle to `old.json`.
    fn parts() -> Self {
        let scene = Self::new();
        let content = BLOB.as_bytes();
        let signature = scene.by.sign(content);
        let log = scene.world.prove(&scene.by, &signature, content, Proof::RekorV1AndTimestamp);
        let signature = STANDARD.encode(signature);
        scene.fixture.write("s", &signature);
        scene.fixture.write("c.pem", &scene.by.pem());
        scene.fixture.write("t.json", &legacy_timestamp(&log.timestamps[0]));
        let entry: serde_json::Value =
            serde_json::from_str(&legacy_entry(&log.entries[0])).unwrap();
        let cert = STANDARD.encode(scene.by.pem());
        let older =
            serde_json::json!({"base64Signature": signature, "cert": cert, "rekorBundle": entry});
        scene.fixture.write("old.json", &older.to_string());
        scene
    }

    fn run(&self, command: &str, arguments: &[&str]) -> CommandResult {
        let wanted = ["--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER];
        self.fixture.run(&[&[command], &wanted[..], arguments].concat())
    }

    /// Runs the command with the trusted root.
    fn verify(&self, arguments: &[&str]) -> CommandResult {
        self.run("verify-blob", &[&["--trusted-root", "root.json"], arguments].concat())
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], why: &str) {
        let ended = self.verify(arguments).code(1);
        assert!(ended.err.contains(why), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn a_bundle_verifies_by_file_and_by_digest() {
    let scene = Scene::bundle(Proof::RekorV2);
    let ended = scene.verify(&["--bundle=b.json", "blob"]).code(0);
    assert_data_eq!(
        ended.err,
        str![[r#"
Verified OK
Certificate subject: https://ci.example/acme/app
Certificate issuer URL: https://issuer.example
Requirements: transparency log entry: required for certificates; signed timestamp: not required; SCT: required for certificates
Trust root: root.json

"#]]
    );
    let digest = Digest::of(BLOB.as_bytes()).to_string();
    scene.verify(&["--bundle=b.json", &digest]).code(0);
    scene.refused(&["--bundle=b.json", "other"], "[message-digest]");
    let ended = scene.verify(&["--bundle=b.json", "-o", "json", "blob"]).code(0);
    let document = ended.json();
    assert_eq!(document["schema"], "sealgate.dev/verify-blob/v1");
    assert_eq!(document["verified"], true);
    assert_eq!(document["certificate"]["subjects"][0], SUBJECT);
    assert_eq!(document["logs"][0]["url"], "https://log2025.example");
    assert_eq!(document["transparencyLog"], "verified");
    assert_eq!(document["trustRoot"]["origin"], "file");
    let wrong = ["verify-blob", "--certificate-identity=x", "--certificate-oidc-issuer", ISSUER];
    let rest = ["--trusted-root=root.json", "--bundle=b.json", "blob"];
    let ended = scene.fixture.run(&[&wrong[..], &rest].concat()).code(1);
    assert!(ended.frame().0.starts_with("Error: none of the expected identities matched"));
}

#[test]
fn material_in_a_bundle_is_not_replaced_by_flags() {
    let scene = Scene::bundle(Proof::RekorV1);
    for (flag, why) in [
        (
            "--certificate=c.pem",
            "certificate must be in bundle and may not be provided using --certificate",
        ),
        ("--signature=s", "signature may not be provided using --signature"),
        ("--sct=sct.json", "SCT may not be provided using --sct"),
        (
            "--rfc3161-timestamp=t.json",
            "RFC3161 timestamp may not be provided using --rfc3161-timestamp",
        ),
    ] {
        let why = format!("Error: unsupported: {why} when using --new-bundle-format\n");
        scene.refused(&[flag, "--bundle=b.json", "blob"], &why);
    }
    let nothing = scene.verify(&["blob"]).code(1);
    assert!(
        nothing.frame().0.starts_with("Error: provide a key with --key or --sk, a certificate")
    );
}

#[test]
fn an_older_bundle_contains_its_certificate_and_log_entry() {
    let scene = Scene::parts();
    scene.verify(&["--bundle=old.json", "blob"]).code(0);
    scene.verify(&["--bundle=old.json", "--certificate=c.pem", "blob"]).code(0);
    scene.refused(&["--bundle=old.json", "other"], "[log-other-digest]");
    let other = scene.world.certified(&CertificateIdentity::default());
    scene.fixture.write("c.pem", &other.pem());
    scene.refused(
        &["--bundle=old.json", "--certificate=c.pem", "blob"],
        "the cert passed in does not match the cert in the provided bundle",
    );
}

#[test]
fn a_detached_signature_verifies_with_the_given_material() {
    let scene = Scene::parts();
    let parts = ["--signature=s", "--cert=c.pem", "blob"];
    scene.refused(&parts, "[not-logged]");
    let stamp = ["--insecure-ignore-tlog", "--rfc3161-timestamp=t.json"];
    let stamped = [&stamp[..], &["--use-signed-timestamps"], &parts].concat();
    scene.verify(&stamped).code(0);
    scene.refused(&[&stamp[..], &parts].concat(), "you must also specify --use-signed-timestamps");
    scene.refused(
        &[&["--insecure-ignore-tlog", "--use-signed-timestamps"], &parts[..]].concat(),
        "you must also specify --rfc3161-timestamp-path",
    );
    // base64 of PEM, as cosign's --output-certificate writes it.
    scene.fixture.write("c.pem", &STANDARD.encode(scene.by.pem()));
    scene.verify(&stamped).code(0);
    scene.fixture.write("c.pem", "nothing");
    scene.refused(&stamped, "c.pem: no certs found in pem file");
    scene.refused(&["--signature=s", "--bundle=old.json", "other"], "[log-other-digest]");
}

#[test]
fn certificate_authorities_may_be_given_as_files() {
    let scene = Scene::parts();
    let root = scene.world.trust_root();
    let chain = |chain: &[Vec<u8>]| chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let ca = root.certificate_authorities[0].chain();
    let all: String = chain(ca);
    let (below, top): (String, String) = (chain(&ca[..1]), chain(&ca[1..]));
    let tsa: String = chain(root.timestamp_authorities[0].chain());
    for (name, text) in
        [("ca.pem", &all), ("below.pem", &below), ("top.pem", &top), ("tsa.pem", &tsa)]
    {
        scene.fixture.write(name, text);
    }
    let other_chain = TestSigstore::default().chain_pem();
    scene.fixture.write("other-chain.pem", &other_chain);
    let with = |authorities: &[&str]| {
        let rest = [
            "--insecure-ignore-tlog",
            "--insecure-ignore-sct",
            "--timestamp-certificate-chain=tsa.pem",
            "--rfc3161-timestamp=t.json",
            "--signature=s",
            "--certificate=c.pem",
            "blob",
        ];
        scene.run("verify-blob", &[authorities, &rest].concat())
    };
    let ended = with(&["--certificate-chain=ca.pem"]).code(0);
    assert!(ended.err.contains("Trust root: ca.pem, tsa.pem, the rest from the public-good root"));
    with(&["--ca-roots=top.pem", "--ca-intermediates=below.pem"]).code(0);
    with(&["--ca-roots=top.pem"]).code(1);
    let ended = with(&["--certificate-chain=other-chain.pem"]).code(1);
    assert!(ended.err.contains("[untrusted-certificate]"), "{}", ended.err);
    // A root in the file of intermediates is not trusted, even beside one that names it as its
    // issuer.
    let end = other_chain.find("-----END CERTIFICATE-----\n").unwrap();
    scene.fixture.write(
        "other-certificate.pem",
        &format!("{}-----END CERTIFICATE-----\n", &other_chain[..end]),
    );
    let ended = with(&["--ca-roots=other-certificate.pem", "--ca-intermediates=ca.pem"]).code(1);
    assert!(ended.err.contains("[untrusted-certificate]"), "{}", ended.err);
    with(&["--ca-roots=below.pem", "--ca-intermediates=other-chain.pem"]).code(0);
    with(&["--ca-roots=top.pem", "--certificate-chain=ca.pem"]).code(1);
    with(&["--ca-roots=top.pem", "--trusted-root=root.json"]).code(1);
}

#[test]
fn the_conformance_suites_command_verifies() {
    let scene = Scene::bundle(Proof::RekorV1);
    let digest = Digest::of(BLOB.as_bytes()).to_string();
    let with = |artifact: &str| {
        scene.run("verify-bundle", &["--bundle=b.json", "--trusted-root=root.json", artifact])
    };
    with("blob").code(0);
    with(&digest).code(0);
    with("other").code(1);
    assert!(!scene.fixture.run(&["--help"]).code(0).out.contains("verify-bundle"));
}
