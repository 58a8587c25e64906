//! Tests of signing with services, without the services: prompts, rejected flags, unfinished
//! signatures; and of documents for private deployments. (The end-to-end tests use real services.)

use std::os::unix::fs::PermissionsExt as _;

use sealgate_core::bundle::{Bundle, VerificationMaterial, Version};
use sealgate_testkit::keyless::{CertificateIdentity, ISSUER, Proof, SUBJECT, TestSigstore};
use snapbox::{assert_data_eq, str};

use crate::documents::is_described;
use crate::fixture::CliFixture;

/// A fixture with a key and an image; the image's name, and the address of a server that is not a
/// log and returns an error.
fn scene() -> (CliFixture, String, String) {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let (image, log) = (fixture.name("app:v1"), format!("http://{}", fixture.served.registry()));
    (fixture, image, log)
}

const DECLINED: &str = "user declined the prompt";

#[test]
fn publication_is_announced_and_confirmed() {
    let (fixture, image, log) = scene();
    let sign = ["sign", "--key", "cosign.key", "--rekor-url", &log, &image];
    let ended = fixture.run(&sign).code(1);
    assert!(
        ended.err.contains(&format!("To be published to {log}, permanently:")),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("  the digest and the signature of "), "{}", ended.err);
    assert!(ended.frame().0.ends_with(DECLINED), "{}", ended.err);
    assert!(fixture.run_fed(&sign, "n\n").code(1).err.contains(DECLINED));
    // Confirmed: the upload is attempted, and fails.
    let told = fixture.run_fed(&sign, "y\n").code(1);
    assert!(told.err.contains("uploading to the transparency log"), "{}", told.err);
    let yes = [&sign[..], &["-y"]].concat();
    assert!(!fixture.run(&yes).code(1).err.contains("[y/N]"));
}

/// By default, a signature by a key is not uploaded to a log, but verification requires a log
/// entry.
#[test]
fn signing_without_a_log_shows_how_to_verify() {
    let (fixture, image, _) = scene();
    fixture.write("blob", "content");
    let root = ["trusted-root", "create", "--with-default-services", "--out", "root.json"];
    fixture.run(&root).code(0);
    let told = "No transparency log has this signature:\n";
    let sign = ["sign", "--key", "cosign.key"];
    let blob = ["sign-blob", "--key", "cosign.key", "--bundle", "b.json", "blob"];
    for signed in [fixture.run(&[&sign[..], &[&image]].concat()), fixture.run(&blob)] {
        assert!(signed.code(0).err.contains(told));
    }
    let json = fixture.run(&[&sign[..], &["-o", "json", &image]].concat()).code(0);
    assert_eq!(json.err, "");
    for verb in [
        &["verify", "--key", "cosign.pub", &image][..],
        &["verify-blob", "--key", "cosign.pub", "--bundle", "b.json", "blob"],
    ] {
        let configured = [("COSIGN_TRUSTED_ROOT", "root.json")];
        let refused = fixture.run_with(verb, &configured);
        assert_ne!(refused.code, 0);
        assert!(refused.err.contains("[not-logged]"), "{}", refused.err);
        assert!(refused.err.contains("verify with --insecure-ignore-tlog"), "{}", refused.err);
        let ignoring = [verb, &["--insecure-ignore-tlog"]].concat();
        fixture.run_with(&ignoring, &configured).code(0);
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (fixture, image, log) = scene();
    fixture.write("bad.txt", "junk");
    fixture.write("blob", "content");
    let sign = ["sign", "-y", "--key", "cosign.key", "--timestamp-server-url", &log];
    let flags = ["--timestamp-client-cacert", "bad.txt"];
    let ended = fixture.run(&[&sign[..], &flags, &[&image]].concat()).code(1);
    assert!(ended.err.contains("given: --timestamp-client-cacert bad.txt"), "{}", ended.err);
    let verify = ["verify-blob", "--key", "cosign.pub", "--bundle", "bad.txt", "blob"];
    assert!(fixture.run(&verify).code(1).err.contains("\n  bundle: bad.txt\n"));
    let tls = ["--tls-cert", "bad.txt", "--tls-key", "cosign.key", "--listen", "127.0.0.1:0"];
    let ended = fixture.run(&[&["serve", "--policies", "."][..], &tls].concat()).code(1);
    let first = ended.frame().0;
    assert!(first.starts_with("Error: --tls-cert bad.txt, --tls-key cosign.key: "), "{first}");
}

#[test]
fn a_log_that_refuses_leaves_a_file_and_nothing_in_the_registry() {
    let (fixture, image, log) = scene();
    let ended = fixture.run(&["sign", "-y", "--key", "cosign.key", "--rekor-url", &log, &image]);
    let err = ended.code(1).err;
    assert!(err.contains("\n  nothing was stored\n"), "{err}");
    let kept = err.split_once("is kept in ").unwrap().1.lines().next().unwrap();
    assert!(err.contains(&format!("to continue: sealgate sign --resume {kept}\n")), "{err}");
    assert!(err.contains("there is no hurry: a key does not expire"), "{err}");
    let mode = std::fs::metadata(fixture.path(kept)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fixture.run(&["verify", "--key", "cosign.pub", &image]).code(10);

    let again = fixture.run(&["sign", "--resume", kept]).code(1);
    let first = again.frame().0;
    assert!(first.starts_with(&format!("Error: finishing {kept}: error signing bundle: ")));
    let both = fixture.run(&["sign", "--resume", kept, &image]).code(1);
    assert!(both.frame().0.ends_with("--resume takes the images and the signatures from its file"));
    fixture.run(&["sign-blob", "--resume", kept, kept]).code(1);
    let text = fixture.read(kept);
    fixture.write("bad.json", &text.replace("apiVersion", "version"));
    let ended = fixture.run(&["sign", "--resume", "bad.json"]).code(1);
    assert!(
        ended.frame().0.contains("it does not state the API version of the log"),
        "{}",
        ended.err
    );
}

#[test]
fn a_blob_that_is_not_logged_is_kept_beside_its_bundle() {
    let (fixture, _, log) = scene();
    fixture.write("blob", "content");
    let sign = ["sign-blob", "-y", "--key", "cosign.key", "--rekor-url", &log];
    let ended = fixture.run(&[&sign[..], &["--bundle", "b.json", "blob"]].concat()).code(1);
    assert!(ended.err.contains("is kept in b.json.unfinished.json\n"), "{}", ended.err);
    assert!(!fixture.path("b.json").exists());
    let resume = ["sign-blob", "--resume", "b.json.unfinished.json"];
    fixture.write("other", "other content");
    let other = fixture.run(&[&resume[..], &["other"]].concat()).code(1);
    assert!(other.frame().0.contains("[message-digest]"), "{}", other.err);
    let images = fixture.run(&["sign", "--resume", "b.json.unfinished.json"]).code(1);
    assert!(images.frame().0.contains("was made for a file"), "{}", images.err);
}

#[test]
fn conflicting_flags_are_rejected_before_any_request() {
    let fixture = CliFixture::new();
    let conflicts: [(&[&str], &str); 5] = [
        (
            &["--signing-config=s.json", "--rekor-url=https://r.example"],
            "cannot specify service URLs and use signing config",
        ),
        (&["--use-signing-config", "--timestamp-server-url=https://t.example"], "cannot specify"),
        (&["--certificate=c.pem"], "--certificate needs --key"),
        (&["--certificate-chain=c.pem", "--key=k"], "no leaf certificate found or provided"),
        (&["--issue-certificate", "--certificate=c", "--key=k"], "cannot be used together"),
    ];
    for (flags, why) in conflicts {
        let ended = fixture.run(&[&["sign"], flags, &["nowhere.invalid/x:y"]].concat()).code(1);
        assert!(ended.frame().0.contains(why), "{flags:?}: {}", ended.err);
    }
}

#[test]
fn a_private_deployment_does_not_use_public_services() {
    let (fixture, image, log) = scene();
    let ended = fixture.run(&["sign", "--fulcio-url", &log, &image]).code(1);
    assert_data_eq!(
        ended.err.replace(&fixture.served.registry(), "REG"),
        str![[r#"
Error: signing [REG/app:v1]: --rekor-url is not given
  other services for this signature are private, so no public service is used
  give --rekor-url URL, or --tlog-upload=false for no log
error during command execution: signing [REG/app:v1]: --rekor-url is not given

"#]]
    );
}

#[test]
fn a_certificate_goes_into_the_signature_if_it_is_the_keys() {
    let (fixture, image, _) = scene();
    let other = TestSigstore::default().certified(&CertificateIdentity::default());
    fixture.write("cert.pem", &other.pem());
    let sign = ["sign", "--key", "cosign.key", "--certificate", "cert.pem", &image];
    let ended = fixture.run(&sign).code(1);
    let line = "public key in certificate does not match the provided public key";
    assert!(ended.frame().0.ends_with(line), "{}", ended.err);
    fixture.write("cert.pem", "-----BEGIN NOTHING-----\n");
    assert!(fixture.run(&sign).code(1).frame().0.contains("parse x509 certificate"));
}

#[test]
fn a_signing_configuration_is_created() {
    let fixture = CliFixture::new();
    let empty = fixture.run(&["signing-config", "create"]).code(0);
    assert_data_eq!(
        empty.out.clone(),
        str![[r#"
{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}

"#]]
    );
    let log =
        "--rekor=url=https://r.example,api-version=2,start-time=2024-01-01T00:00:00Z,operator=o";
    let refused = fixture.run(&["signing-config", "create", log]).code(1);
    let line = "Error: --rekor-config must be provided when --rekor is specified";
    assert_eq!(refused.frame().0, line);
    let create = ["signing-config", "create", log, "--rekor-config=ANY", "--out=s.json"];
    assert_eq!(fixture.run(&create).code(0).out, "");
    assert_data_eq!(
        fixture.read("s.json"),
        str![[
            r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogUrls":[{"url":"https://r.example","majorApiVersion":2,"validFor":{"start":"2024-01-01T00:00:00Z"},"operator":"o"}],"rekorTlogConfig":{"selector":"ANY"},"tsaConfig":{}}"#
        ]]
    );
    let base = ["signing-config", "create", "--base-config=s.json", "--no-default-rekor"];
    assert_eq!(fixture.run(&base).code(0).out, empty.out);
}

#[test]
fn a_created_trusted_root_is_used() {
    let (fixture, image, _) = scene();
    let log = "--rekor=url=https://r.example,public-key=cosign.pub,start-time=2024-01-01T00:00:00Z";
    fixture.run(&["trusted-root", "create", log, "--out", "root.json"]).code(0);
    fixture.run(&["sign", "--key", "cosign.key", &image]).code(0);
    // It names a log, so a log entry is required.
    let verify = ["verify", "--key", "cosign.pub", "--trusted-root", "root.json", &image];
    assert!(fixture.run(&verify).code(12).err.contains("[not-logged]"));
    for (spec, why) in [
        ("--rekor=url=https://r.example", "missing or empty required key 'public-key'"),
        ("--rekor=url=r,public-key=none,start-time=2024-01-01T00:00:00Z", "none: "),
        ("--tsa=url=t,certificate-chain=cosign.pub", "cosign.pub: "),
        ("--fulcio=url=t,certificate-chain=cosign.pub,start=1", "unknown key 'start'"),
    ] {
        let ended = fixture.run(&["trusted-root", "create", spec]).code(1);
        assert!(ended.frame().0.contains(why), "{spec}: {}", ended.err);
    }
}

#[test]
fn everything_in_a_bundle_is_shown() {
    let (fixture, world) = (CliFixture::new(), TestSigstore::default());
    let by = world.certified(&CertificateIdentity::default());
    fixture.write("root.json", &world.trust_root().to_json());
    fixture
        .write("b.json", &world.blob_bundle(&by, b"content", Proof::RekorV1AndTimestamp).to_json());
    let inspect = ["bundle", "inspect", "b.json", "--trusted-root", "root.json"];
    let text = fixture.run(&inspect).code(0).out;
    for line in [
        "    identity 1:\n      uri: https://ci.example/acme/app\n",
        "    oidc issuer: https://issuer.example\n",
        "log entry 1:\n  kind: hashedrekord 0.0.1\n  log: https://rekor.example\n  log index: 1000000\n  integrated time: 2023-11-14T22:13:20Z\n",
        "  is about this signature: yes\n",
        "timestamp 1:\n  time: 2023-11-14T22:13:20Z\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let shown = fixture.run(&[&inspect[..], &["-o", "json"]].concat()).code(0).json();
    is_described("bundle", &shown);
    assert_eq!(shown["signer"]["certificate"]["oidcIssuer"], ISSUER);
    assert_eq!(shown["signer"]["certificate"]["identity"][0]["uri"], SUBJECT);
    fixture.write("bad.json", "{}");
    fixture.run(&["bundle", "inspect", "bad.json"]).code(1);
}

#[test]
fn an_older_bundle_is_upgraded() {
    let (fixture, world) = (CliFixture::new(), TestSigstore::default());
    let by = world.certified(&CertificateIdentity::default());
    fixture.write("root.json", &world.trust_root().to_json());
    fixture.write("blob", "content");
    let bundle = world.blob_bundle(&by, b"content", Proof::RekorV1);
    let material = VerificationMaterial::CertificateChain(vec![by.der.clone()]);
    let older = Bundle { version: Version::V02, material, ..bundle };
    fixture.write("older.json", &older.to_json());
    fixture.run(&["bundle", "upgrade", "older.json", "--out", "new.json"]).code(0);
    let upgraded = Bundle::parse(fixture.read("new.json").as_bytes()).unwrap();
    assert_eq!(upgraded.version, Version::V03);
    assert_eq!(upgraded.material, VerificationMaterial::Certificate(by.der.clone()));
    let identity = ["--certificate-identity", SUBJECT, "--certificate-oidc-issuer", ISSUER];
    let verify = ["verify-blob", "--bundle", "new.json", "--trusted-root", "root.json", "blob"];
    fixture.run(&[&verify[..], &identity].concat()).code(0);
    // Without its proof, and for an unknown log: the URL is still shown.
    let mut unproven = Bundle { version: Version::V01, ..older };
    unproven.log.entries[0].proof = None;
    fixture.write("older.json", &unproven.to_json());
    let ended = fixture.run(&["bundle", "upgrade", "older.json"]).code(1);
    assert!(ended.err.contains("give its address with --rekor-url"), "{}", ended.err);
}

#[test]
fn a_bundle_is_made_of_parts() {
    let fixture = CliFixture::with_key();
    fixture.write("blob", "content");
    let older = ["--new-bundle-format=false", "--bundle", "older.json"];
    let sign = ["sign-blob", "--key", "cosign.key", "--output-signature", "sig", "blob"];
    fixture.run(&[&sign[..], &older].concat()).code(0);
    for parts in [["--bundle", "older.json"], ["--signature", "sig"]] {
        let create = ["bundle", "create", "--artifact", "blob", "--key", "cosign.pub"];
        fixture.run(&[&create[..], &parts, &["--out", "new.json"]].concat()).code(0);
        let verify = ["verify-blob", "--key", "cosign.pub", "--bundle", "new.json", "blob"];
        fixture.run(&verify).code(0);
    }
    let nobody = ["bundle", "create", "--artifact", "blob", "--signature", "sig"];
    assert!(fixture.run(&nobody).code(1).frame().0.contains("nothing says who signed"));
}
