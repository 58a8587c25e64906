//! Tests of `verify` with identities in certificates: an in-memory Sigstore, with its trusted root
//! in a file.

use sealgate_core::digest::Digest;
use sealgate_core::identity::Claim;
use sealgate_core::trust::TrustRoot;
use sealgate_testkit::keyless::{CertificateIdentity, ISSUER, Proof, SUBJECT, TestSigstore};
use snapbox::{assert_data_eq, str};

use crate::fixture::{CliFixture, CommandResult};

/// An image, a Sigstore, and its trusted root in `root.json`.
struct Scene {
    fixture: CliFixture,
    world: TestSigstore,
    digest: Digest,
    image: String,
}

const WANTED: [&str; 6] = [
    "--certificate-identity",
    SUBJECT,
    "--certificate-oidc-issuer",
    ISSUER,
    "--trusted-root",
    "root.json",
];

impl Scene {
    fn new() -> Self {
        let (fixture, world) = (CliFixture::new(), TestSigstore::default());
        let digest = fixture.image("app", "v1", "one");
        let image = fixture.name("app:v1");
        fixture.write("root.json", &world.trust_root().to_json());
        Self { fixture, world, digest, image }
    }

    fn signed(proof: Proof) -> Self {
        let scene = Self::new();
        scene.sign(&CertificateIdentity::default(), proof);
        scene
    }

    fn sign(&self, named: &CertificateIdentity, proof: Proof) {
        let by = self.world.certified(named);
        let bundle = self.world.image_bundle(&by, &self.digest, proof).to_json();
        self.fixture.attach_bundle("app", &self.digest, &bundle);
    }

    /// Runs `verify` with these arguments before those of [`WANTED`].
    fn verify(&self, arguments: &[&str]) -> CommandResult {
        self.verify_by(&[arguments, &WANTED].concat())
    }

    fn verify_by(&self, arguments: &[&str]) -> CommandResult {
        self.fixture.run(&[&["verify"], arguments, &[&self.image]].concat())
    }

    fn plain(&self, text: &str) -> String {
        text.replace(&self.fixture.served.registry(), "REG").replace(self.digest.hex(), "HEX")
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: &str) {
        let ended = self.verify(arguments).code(12);
        assert!(ended.err.contains(&format!("[{code}]")), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn a_bundle_verifies_by_identity_and_shows_the_signer() {
    let scene = Scene::signed(Proof::RekorV1);
    let ended = scene.verify(&[]).code(0);
    assert_data_eq!(
        scene.plain(&ended.err),
        str![[r#"

Verification for REG/app:v1 --
The following checks were performed on each of these signatures:
  - The cosign claims were validated
  - Existence of the claims in the transparency log was verified offline
  - The code-signing certificate was verified using trusted certificate authority certificates
  - The signed certificate timestamp (SCT) of the certificate was verified
Certificate subject: https://ci.example/acme/app
Certificate issuer URL: https://issuer.example
Requirements: transparency log entry: required for certificates; signed timestamp: not required; SCT: required for certificates
Trust root: root.json

"#]]
    );
    assert_data_eq!(
        scene.plain(&ended.out),
        str![[r#"

[{"critical":{"identity":{"docker-reference":"REG/app:v1"},"image":{"docker-manifest-digest":"sha256:HEX"},"type":"https://sigstore.dev/cosign/sign/v1"},"optional":{}}]

"#]]
    );
}

#[test]
fn each_proof_is_claimed_only_where_it_was_checked() {
    let stamped = "  - The time of the signatures was verified by signed timestamps";
    let logged = "  - Existence of the claims in the transparency log was verified offline";
    for proof in [Proof::RekorV1AndTimestamp, Proof::RekorV2] {
        let scene = Scene::signed(proof);
        let ended = scene.verify(&["--use-signed-timestamps"]).code(0);
        assert!(ended.err.contains(stamped) && ended.err.contains(logged), "{}", ended.err);
    }
    let scene = Scene::signed(Proof::Timestamp);
    scene.refused(&[], "not-logged");
    let ended = scene.verify(&["--insecure-ignore-tlog"]).code(0);
    let warning = "WARNING: Skipping tlog verification is an insecure practice that lacks transparency and auditability verification for the signature.";
    assert!(ended.err.starts_with(warning), "{}", ended.err);
    assert!(ended.err.contains(stamped) && !ended.err.contains(logged), "{}", ended.err);
    assert!(ended.err.contains("A transparency log entry was not required, as requested."));
    let quiet = scene.verify(&["--private-infrastructure"]).code(0);
    assert!(!quiet.err.contains("WARNING"), "{}", quiet.err);
    Scene::signed(Proof::RekorV1).refused(&["--use-signed-timestamps"], "no-timestamp");
    // One signature has a timestamp and one does not: not listed as checked for each.
    let both = Scene::signed(Proof::RekorV1);
    both.sign(&CertificateIdentity::default(), Proof::RekorV2);
    let ended = both.verify(&[]).code(0);
    assert!(!ended.err.contains(stamped) && ended.err.contains(logged), "{}", ended.err);
}

#[test]
fn a_legacy_signature_has_cosigns_json() {
    let scene = Scene::new();
    let mut named = CertificateIdentity::default();
    named.claims.insert(Claim::GithubWorkflowTrigger, "push".to_owned());
    named.claims.insert(Claim::GithubWorkflowName, "CI".to_owned());
    let by = scene.world.certified(&named);
    let name = scene.fixture.name("app");
    let legacy = scene.world.legacy(&by, &name, &scene.digest, Proof::RekorV1AndTimestamp);
    scene.fixture.attach_legacy("app", &scene.digest, &legacy);
    let ended = scene.verify(&["--certificate-github-workflow-name=CI"]).code(0);
    assert!(ended.err.contains("GitHub Workflow Trigger: push\nGitHub Workflow Name: CI\n"));
    let optional = &ended.json()[0]["optional"];
    assert_eq!(optional["Subject"], SUBJECT);
    for (field, value) in [
        ("Issuer", ISSUER),
        ("1.3.6.1.4.1.57264.1.1", ISSUER),
        ("githubWorkflowTrigger", "push"),
        ("1.3.6.1.4.1.57264.1.2", "push"),
        ("githubWorkflowName", "CI"),
        ("1.3.6.1.4.1.57264.1.4", "CI"),
    ] {
        assert_eq!(optional[field], value, "{field}");
    }
    let annotation = |key: &str| -> serde_json::Value {
        serde_json::from_str(&legacy.annotations[key]).unwrap()
    };
    assert_eq!(optional["Bundle"], annotation("dev.sigstore.cosign/bundle"));
    assert_eq!(optional["RFC3161Timestamp"], annotation("dev.sigstore.cosign/rfc3161timestamp"));
    scene.refused(&["--certificate-github-workflow-ref=main"], "wrong-claim");
    // A key has no identity to compare.
    let key = scene.fixture.run(&["generate-key-pair"]).code(0);
    drop(key);
    scene.verify_by(&["--key", "cosign.pub"]).code(12);
}

#[test]
fn a_signature_by_another_identity_is_rejected_with_cosigns_message() {
    let scene = Scene::signed(Proof::RekorV1);
    let other = |flag: &str, value: &str| {
        let place = WANTED.iter().position(|word| *word == flag).unwrap();
        let mut arguments = WANTED;
        arguments[place + 1] = value;
        scene.verify_by(&arguments).code(12)
    };
    let ended = other("--certificate-identity", "https://ci.example/acme/ap");
    let sentence = "none of the expected identities matched what was in the certificate, got subjects [https://ci.example/acme/app] with issuer https://issuer.example";
    assert_eq!(ended.frame().0, format!("Error: no matching signatures: {sentence}"));
    assert!(ended.err.contains("[wrong-identity]\n  what to do: "), "{}", ended.err);
    other("--certificate-oidc-issuer", "https://issuer.example/");
}

#[test]
fn identities_may_be_several_or_expressions() {
    let scene = Scene::signed(Proof::RekorV1);
    let by = |flags: &[&str]| {
        let rest = ["--certificate-oidc-issuer", ISSUER, "--trusted-root", "root.json"];
        scene.verify_by(&[flags, &rest].concat())
    };
    by(&["--certificate-identity=a@b", "--certificate-identity", SUBJECT]).code(0);
    by(&["--certificate-identity=a@b", "--certificate-identity=c@d"]).code(12);
    let exact = by(&["--cert-identity-regexp", "^https://ci[.]example/acme/[a-z]+$"]).code(0);
    assert!(!exact.err.contains("WARNING"), "{}", exact.err);
    let loose = by(&["--certificate-identity-regexp", "acme"]).code(0);
    assert!(
        loose.err.starts_with("WARNING: the subject expression \"acme\" is not anchored"),
        "{}",
        loose.err
    );
    by(&["--certificate-identity-regexp", "^acme"]).code(12);
    let bad = by(&["--certificate-identity-regexp", "("]).code(1);
    assert!(bad.frame().0.starts_with("Error: malformed subject in identity: ( : error parsing"));
}

#[test]
fn missing_requirements_have_cosigns_messages() {
    let scene = Scene::new();
    let message = |arguments: &[&str]| {
        let ended = scene.verify_by(arguments).code(1);
        ended.frame().0.trim_start_matches("Error: ").to_owned()
    };
    assert_eq!(
        message(&["--certificate-oidc-issuer", ISSUER]),
        "--certificate-identity or --certificate-identity-regexp is required for verification in keyless mode"
    );
    assert_eq!(
        message(&["--certificate-identity", SUBJECT]),
        "--certificate-oidc-issuer or --certificate-oidc-issuer-regexp is required for verification in keyless mode"
    );
    let both = ["--certificate-identity=a", "--certificate-identity-regexp=a"];
    assert!(message(&both).starts_with("exactly one of: key reference (--key) or certificate"));
    assert_eq!(
        message(&["--certificate-identity=a", "--key=k"]),
        "exactly one of: key reference (--key) or certificate identity (--certificate-identity or --certificate-identity-regexp), must be provided. To determine which to use, inspect the bundle's 'verificationMaterial' field: if 'publicKey' is present, use key reference; if 'certificate' or 'x509CertificateChain' is present, use certificate identity"
    );
    scene.fixture.write("root.json", "{}");
    let ended = scene.verify(&[]).code(1);
    assert!(ended.frame().0.contains("loading trusted root: root.json: "), "{}", ended.err);
}

#[test]
fn the_result_depends_on_the_trust_root() {
    let scene = Scene::signed(Proof::RekorV1);
    let with = |change: fn(&mut TrustRoot)| {
        let mut root = scene.world.trust_root();
        change(&mut root);
        scene.fixture.write("root.json", &root.to_json());
    };
    with(|root| root.ct_logs.clear());
    scene.refused(&[], "no-sct");
    scene.verify(&["--insecure-ignore-sct"]).code(0);
    with(|root| root.transparency_logs.clear());
    scene.refused(&[], "not-logged");
    with(|root| *root = TestSigstore::default().trust_root());
    scene.refused(&[], "not-logged");
    scene
        .refused(&["--insecure-ignore-tlog", "--at=2023-11-14T22:14:00Z"], "untrusted-certificate");
    // Without a file, the embedded root is used, which contains none of these services.
    let rest = &WANTED[..4];
    let ended = scene.verify_by(rest).code(12);
    assert!(ended.err.contains("[not-logged]"), "{}", ended.err);
}

#[test]
fn verification_at_a_past_time_is_reported() {
    let scene = Scene::signed(Proof::None);
    let ignored = "--insecure-ignore-tlog";
    scene.refused(&[ignored], "certificate-time");
    let ended = scene.verify(&[ignored, "--at=2023-11-14T22:14:00Z"]).code(0);
    let warning = "WARNING: verifying as of 2023-11-14T22:14:00Z (--at), not as of now: for investigations only\n";
    assert!(ended.err.contains(warning), "{}", ended.err);
    let line = "Verified as of 2023-11-14T22:14:00Z, NOT as of now: --at was given.\n";
    assert!(ended.err.ends_with(line), "{}", ended.err);
    scene.refused(&[ignored, "--at=2023-11-14T23:14:00Z"], "certificate-time");
    let report = scene.verify(&[ignored, "--at=2023-11-14T22:14:00Z", "-o", "sealgate-json"]);
    let report = report.code(0).json();
    assert_eq!(report["pastTime"], true);
    assert_eq!(report["time"], "2023-11-14T22:14:00Z");
}

#[test]
fn the_report_holds_certificate_log_and_trust_root() {
    let scene = Scene::signed(Proof::RekorV2);
    let report = scene.verify(&["-o", "sealgate-json"]).code(0).json();
    assert_eq!(report["schema"], "sealgate.dev/verify/v1");
    assert_eq!(
        report["requirements"],
        serde_json::json!({
            "transparencyLog": "required-by-certificate",
            "timestamp": "not-asked",
            "certificateLog": "required-by-certificate",
        })
    );
    let root = &report["trustRoot"];
    assert_eq!(root["origin"], "file");
    assert_eq!(root["configured"], true);
    let parsed = TrustRoot::parse(scene.fixture.read("root.json").as_bytes()).unwrap();
    assert_eq!(root["fingerprint"], parsed.fingerprint().to_string());
    assert_eq!(report["pastTime"], false);
    let signature = &report["images"][0]["signatures"][0];
    assert_eq!(signature["transparencyLog"], "verified");
    assert_eq!(signature["logs"][0]["url"], "https://log2025.example");
    assert_eq!(signature["logs"][0]["integratedTime"], serde_json::Value::Null);
    assert_eq!(signature["timestamps"][0]["time"], "2023-11-14T22:13:20Z");
    let certificate = &signature["certificate"];
    assert_eq!(certificate["subjects"], serde_json::json!([SUBJECT]));
    assert_eq!(certificate["issuer"], ISSUER);
    assert_eq!(certificate["notBefore"], "2023-11-14T22:13:20Z");
    assert_eq!(certificate["notAfter"], "2023-11-14T22:23:20Z");
    assert_eq!(certificate["certificateLogs"], 1);
    assert!(certificate["fingerprint"].as_str().unwrap().starts_with("sha256:"));
    let checks = serde_json::json!([
        "claims",
        "certificate",
        "transparency-log",
        "timestamp",
        "certificate-log"
    ]);
    assert_eq!(signature["checks"], checks);
}

#[test]
fn a_key_with_a_configured_trust_root_needs_its_log_entry() {
    let scene = Scene::new();
    scene.fixture.run(&["generate-key-pair"]).code(0);
    scene.fixture.run(&["sign", "--key", "cosign.key", &scene.image]).code(0);
    let key = ["--key", "cosign.pub", "--trusted-root", "root.json"];
    let with = |more: &[&str]| scene.verify_by(&[&key, more].concat());
    let ended = with(&[]).code(12);
    assert!(ended.err.contains("[not-logged]"), "{}", ended.err);
    let ended = with(&["--insecure-ignore-tlog"]).code(0);
    assert!(ended.err.contains("A transparency log entry was not required, as requested."));
    // The embedded root was not configured, so the key alone is sufficient unless a log is
    // required.
    scene.verify_by(&["--key", "cosign.pub"]).code(0);
    scene.verify_by(&["--key", "cosign.pub", "--insecure-ignore-tlog=false"]).code(12);
    let report = scene.verify_by(&["--key", "cosign.pub", "-o", "sealgate-json"]).code(0).json();
    assert_eq!(report["trustRoot"]["origin"], "embedded");
    assert_eq!(report["requirements"]["transparencyLog"], "not-asked");
    assert_eq!(report["images"][0]["signatures"][0]["transparencyLog"], "not-asked");
}

#[test]
fn every_descendant_of_an_index_is_verified_and_a_list_has_an_outcome_each() {
    let (fixture, world) = (CliFixture::new(), TestSigstore::default());
    fixture.write("root.json", &world.trust_root().to_json());
    let (index, children) = fixture.index("multi", "v1");
    let sign = |named: &CertificateIdentity, image: &Digest| {
        let bundle = world.image_bundle(&world.certified(named), image, Proof::RekorV2).to_json();
        fixture.attach_bundle("multi", image, &bundle);
    };
    let verify = |more: &[&str]| {
        let image = fixture.name("multi:v1");
        fixture
            .run(&[&["verify", "-r", "-o", "sealgate-json"], &WANTED[..], more, &[&image]].concat())
    };
    sign(&CertificateIdentity::default(), &index);
    sign(&CertificateIdentity::default(), &children[0]);
    let other_signer = CertificateIdentity {
        subject: "eve@example.com".to_owned(),
        ..CertificateIdentity::default()
    };
    sign(&other_signer, &children[1]);
    let report = verify(&[]).code(12).json();
    let below = &report["images"][0]["children"];
    assert_eq!((&below[0]["verified"], &below[1]["verified"]), (&true.into(), &false.into()));
    assert_eq!(below[1]["rejected"][0]["code"], "wrong-identity");
    let report = verify(&["--certificate-identity=eve@example.com"]).code(0).json();
    let subject = &report["images"][0]["children"][1]["signatures"][0]["certificate"]["subjects"];
    assert_eq!(subject[0], "eve@example.com");
    assert_eq!(report["verified"], true);
}

#[test]
fn a_saved_image_verifies_without_its_registry() {
    let scene = Scene::signed(Proof::RekorV2);
    scene.fixture.run(&["save", "--dir", "saved", &scene.image]).code(0);
    let local = |more: &[&str]| {
        let folder = ["--local-image", "saved"];
        scene.fixture.run(&[&["verify"], &WANTED[..], more, &folder].concat())
    };
    let ended = local(&[]).code(0);
    assert!(
        ended.err.contains("Certificate subject: https://ci.example/acme/app"),
        "{}",
        ended.err
    );
    local(&["--use-signed-timestamps", "--offline"]).code(0);
    local(&["--certificate-github-workflow-name=CI"]).code(12);
}
