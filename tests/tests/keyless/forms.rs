//! Further forms of keyless signatures by real cosign: other algorithms, the legacy format, files.
//!
//! Legacy signatures with a log entry need Rekor v1, which is not available here: recorded ones are
//! verified in `sealgate-core`. Those made here have a timestamp instead.

use sealgate_tests::image::get_manifest;
use sealgate_tests::{registries, sigstore};

use super::support::{ADA, BOB, sandbox};
use crate::support::{TOOLS, Tool};

const ALGORITHMS: [&str; 6] = [
    "ecdsa-sha2-256-nistp256",
    "ecdsa-sha2-384-nistp384",
    "ecdsa-sha2-512-nistp521",
    "rsa-sign-pkcs1-2048-sha256",
    "rsa-sign-pkcs1-3072-sha256",
    "rsa-sign-pkcs1-4096-sha256",
];

#[test]
fn every_algorithm_that_cosign_signs_with() {
    let sandbox = sandbox();
    sandbox.write("app.txt", "an artifact\n");
    for algorithm in ALGORITHMS {
        let algorithm = format!("--signing-algorithm={algorithm}");
        let file = ["--bundle=app.json", "app.txt"];
        let sign = [&[algorithm.as_str()][..], &file].concat();
        Tool::Cosign.sign_as(&sandbox, ADA, "sign-blob", &sign).ok();
        for tool in TOOLS {
            let run = tool.verify_as(&sandbox, ADA, "verify-blob", &file);
            assert_eq!(run.code, 0, "{algorithm}\n{}", run.report());
        }
    }
}

#[test]
fn legacy_signatures_with_a_timestamp() {
    let sandbox = sandbox();
    let sigstore = sigstore::shared();
    let fulcio = format!("--fulcio-url={}", sigstore.fulcio.url);
    let authority = format!("--timestamp-server-url={}", sigstore.authority.url);
    sandbox.write("ctfe.pub", &sigstore.ct_log.public_key);
    sandbox.write("fulcio.pem", &sigstore.fulcio.chain);
    let key = sandbox.path("ctfe.pub").display().to_string();
    let roots = sandbox.path("fulcio.pem").display().to_string();
    let sandbox =
        sandbox.with("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", key).with("SIGSTORE_ROOT_FILE", roots);
    for registry in registries::all() {
        let image = registry.image("keyless-legacy");
        let reference = image.by_digest();
        sandbox.write("token", sigstore.token(ADA.identity()));
        let sign = [
            "sign",
            "-y",
            "--new-bundle-format=false",
            "--use-signing-config=false",
            "--tlog-upload=false",
            "--identity-token=token",
            &fulcio,
            &authority,
            &reference,
        ];
        sandbox.cosign(&sign).ok();
        let tag = format!("{}.sig", image.digest_tag());
        let manifest = get_manifest(&image.host, &image.repository, &tag).unwrap();
        assert!(manifest.is_some(), "a legacy signature");
        let verify = |who, more: &[&str]| {
            let arguments = [more, &[reference.as_str()]].concat();
            Tool::Sealgate.verify_as(&sandbox, who, "verify", &arguments)
        };
        verify(ADA, &["--insecure-ignore-tlog"]).ok();
        verify(ADA, &["--insecure-ignore-tlog", "--use-signed-timestamps"]).ok();
        verify(ADA, &[]).exits(12).says("[not-logged]");
        verify(BOB, &["--insecure-ignore-tlog"]).exits(12).says("[wrong-identity]");
    }
}

/// No network access: the proof is stored with the signature.
#[test]
fn files_are_verified_without_a_network() {
    let sandbox = sandbox();
    super::support::signed_file(&sandbox, ADA, "app.txt", "an artifact\n");
    let program = sealgate_tests::programs::sealgate().display().to_string();
    let issuer = ADA.issuer();
    let verify = |root: &[&str], who: &str| {
        let command = [
            "-rn",
            &program,
            "verify-blob",
            "--bundle=app.txt.json",
            "--certificate-identity",
            who,
            "--certificate-oidc-issuer",
            &issuer,
            "app.txt",
        ];
        sandbox.program("unshare", &[&command[..], root].concat())
    };
    let root = ["--trusted-root=root.json"];
    verify(&root, "ada@example.com").ok().says("Verified OK");
    verify(&root, "bob@example.com").exits(1).says("[wrong-identity]");
    // The embedded root of the public services does not contain ours.
    verify(&[], "ada@example.com").exits(1).says_no("Verified OK");
}
