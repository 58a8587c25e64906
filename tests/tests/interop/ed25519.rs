//! Ed25519 in both variants of RFC 8032, compared with real cosign 3.1.3.
//!
//! Measured: cosign signs images, attestations, and logged blobs with Ed25519ph, and unlogged blobs
//! with pure Ed25519; it verifies pure Ed25519 only. It creates a bundle only without a trusted
//! root to check it with. So we sign with the pure variant, which it verifies, and verify both.

use sealgate_tests::programs::{Run, Sandbox};
use sealgate_tests::registries;
use sealgate_tests::sigstore;

use crate::support::{FORMATS, Format, Tool};

const PREHASH: &str = "ed25519-ph";
const PURE: &str = "ed25519";
/// No services and no trusted root.
const ALONE: [&str; 2] = ["--use-signing-config=false", "--tlog-upload=false"];

/// Key pairs `ed25519` and `other`, imported by cosign.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["ed25519", "other"] {
        let pem = format!("{name}.pem");
        sandbox.program("openssl", &["genpkey", "-algorithm", "ED25519", "-out", &pem]).ok();
        Tool::Cosign.import(&sandbox, &pem, name).ok();
    }
    sandbox.write("blob.txt", "a file\n");
    sandbox.write("predicate.json", "{}");
    sandbox
}

fn cosign(sandbox: &Sandbox, verb: &str, format: Format, more: &[&str]) -> Run {
    let mut arguments = vec![verb, "--key", "ed25519.key", "-y"];
    arguments.extend(ALONE);
    if format == Format::Legacy {
        arguments.push("--new-bundle-format=false");
    }
    arguments.extend(more);
    sandbox.cosign(&arguments)
}

/// Algorithm of the only verified signature.
#[track_caller]
fn algorithm(run: &Run) -> String {
    let report = run.json();
    let found = match report["images"].as_array() {
        Some(images) => &images[0]["signatures"][0]["signatureAlgorithm"],
        None => &report["signatureAlgorithm"],
    };
    found.as_str().unwrap_or_else(|| panic!("no algorithm:\n{}", run.report())).to_owned()
}

#[test]
fn images_that_cosign_signs_we_verify() {
    let sandbox = sandbox();
    for format in FORMATS {
        let image = registries::docker().image(&format!("ed25519-{format:?}").to_lowercase());
        cosign(&sandbox, "sign", format, &[&image.by_digest()]).ok();
        let json = ["-o", "sealgate-json"];
        let run = Tool::Sealgate.verify(&sandbox, "ed25519", &image.by_tag(), &json).ok();
        assert_eq!(algorithm(&run), PREHASH, "{format:?}");
        let run = Tool::Sealgate.verify(&sandbox, "ed25519", &image.by_tag(), &[]).ok();
        run.says("Signature algorithm: ed25519-ph");
        Tool::Sealgate.verify(&sandbox, "other", &image.by_tag(), &[]).exits(12);
        // cosign refuses its own signature. If this changes, the documentation must be updated.
        assert_ne!(Tool::Cosign.verify(&sandbox, "ed25519", &image.by_tag(), &[]).code, 0);
    }
}

#[test]
fn images_that_we_sign_cosign_verifies() {
    let sandbox = sandbox();
    for format in FORMATS {
        let image = registries::docker().image(&format!("ed25519-ours-{format:?}").to_lowercase());
        Tool::Sealgate.sign(&sandbox, format, "ed25519", &image.by_digest(), &[]).ok();
        Tool::Cosign.verify(&sandbox, "ed25519", &image.by_tag(), &[]).ok();
        let json = ["-o", "sealgate-json"];
        let run = Tool::Sealgate.verify(&sandbox, "ed25519", &image.by_tag(), &json).ok();
        assert_eq!(algorithm(&run), PURE, "{format:?}");
        assert_ne!(Tool::Cosign.verify(&sandbox, "other", &image.by_tag(), &[]).code, 0);
    }
}

#[test]
fn blobs_and_attestations_that_cosign_signs_we_verify() {
    let sandbox = sandbox();
    cosign(&sandbox, "sign-blob", Format::Bundle, &["--bundle=blob.json", "blob.txt"]).ok();
    let attest = ["--predicate=predicate.json", "--type=https://x.test/p", "--bundle=att.json"];
    cosign(&sandbox, "attest-blob", Format::Bundle, &[&attest[..], &["blob.txt"]].concat()).ok();
    for (bundle, used) in [("blob.json", PURE), ("att.json", PREHASH)] {
        let bundle = format!("--bundle={bundle}");
        let arguments = ["verify-blob", "--key=ed25519.pub", &bundle, "-o=json", "blob.txt"];
        let run = sandbox.sealgate(&arguments).ok();
        assert_eq!(algorithm(&run), used, "{bundle}");
        let wrong = ["verify-blob", "--key=other.pub", &bundle, "blob.txt"];
        sandbox.sealgate(&wrong).exits(1).says("[wrong-signature]");
    }
}

#[test]
fn blobs_that_we_sign_cosign_verifies() {
    let sandbox = sandbox();
    let sign = ["sign-blob", "--key=ed25519.key", "-y", "--bundle=blob.json", "blob.txt"];
    sandbox.sealgate(&sign).ok();
    let check = ["--key=ed25519.pub", "--bundle=blob.json", "blob.txt"];
    let verify = ["verify-blob", "--insecure-ignore-tlog"];
    sandbox.cosign(&[&verify[..], &check].concat()).ok().says("Verified OK");
    sandbox.sealgate(&[&["verify-blob"], &check[..]].concat()).ok().says("Verified OK");
}

/// Rekor v2 accepts Ed25519ph only, and records it.
#[test]
fn what_cosign_logs_we_verify_with_its_entry() {
    let sandbox = sandbox();
    let services = sigstore::shared();
    sandbox.write("root.json", services.trusted_root_json().to_string());
    sandbox.write("services.json", services.signing_config_json().to_string());
    let sign = ["sign-blob", "--key=ed25519.key", "-y", "--signing-config=services.json"];
    sandbox.cosign(&[&sign[..], &["--bundle=blob.json", "blob.txt"]].concat()).ok();
    let verify = ["verify-blob", "--trusted-root=root.json", "--bundle=blob.json"];
    let judge = |key: &str| {
        sandbox.sealgate(&[&verify[..], &["--key", key, "-o=json", "blob.txt"]].concat())
    };
    let run = judge("ed25519.pub").ok();
    assert_eq!(algorithm(&run), PREHASH);
    assert_eq!(run.json()["transparencyLog"], "verified");
    assert_ne!(judge("other.pub").code, 0);
    let shown = sandbox.sealgate(&["bundle", "inspect", "-o=json", "blob.json"]).ok().json();
    assert_eq!(shown["content"]["signatureAlgorithm"], PREHASH);
    assert_eq!(shown["logEntries"][0]["keyDetails"], "PKIX_ED25519_PH");

    // The same in a bundle attached to an image: its envelope is logged by the signed digest.
    let image = registries::docker().image("ed25519-logged");
    let sign = ["sign", "--key=ed25519.key", "-y", "--signing-config=services.json"];
    sandbox.cosign(&[&sign[..], &[&image.by_digest()]].concat()).ok();
    let json = ["--trusted-root=root.json", "-o", "sealgate-json"];
    let run = Tool::Sealgate.verify(&sandbox, "ed25519", &image.by_tag(), &json).ok();
    assert_eq!(algorithm(&run), PREHASH);
    let report = run.json();
    let signature = &report["images"][0]["signatures"][0];
    assert_eq!(signature["transparencyLog"], "verified", "{report}");
}
