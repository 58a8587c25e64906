//! Tests of `sign-blob` and `verify-blob`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use snapbox::{assert_data_eq, str};

use crate::fixture::CliFixture;

#[test]
fn a_bundle_verifies_and_a_changed_blob_does_not() {
    let fixture = CliFixture::with_key();
    fixture.write("blob", "content");
    fixture.write("other", "Content");
    let signed =
        fixture.run(&["sign-blob", "--key", "cosign.key", "--bundle", "b.json", "blob"]).code(0);
    assert_data_eq!(signed.out, str![""]);
    assert_data_eq!(
        signed.err,
        str![[r#"
Wrote bundle to file b.json
No transparency log has this signature:
  to verify it with cosign, or with sealgate by a trust root that you have configured, add --insecure-ignore-tlog
  to have it logged, sign with --tlog-upload (the public log) or --signing-config FILE

"#]]
    );
    let verify =
        |blob| fixture.run(&["verify-blob", "--key", "cosign.pub", "--bundle", "b.json", blob]);
    assert_data_eq!(
        verify("blob").code(0).err,
        str![[r#"
Verified OK

"#]]
    );
    let bad = verify("other").code(1);
    assert!(bad.err.contains("[message-digest]"), "{}", bad.err);
    let digest = sealgate_core::digest::Digest::of(b"content").to_string();
    verify(&digest).code(0);
}

#[test]
fn a_bare_signature_goes_to_standard_output() {
    let fixture = CliFixture::with_key();
    fixture.write("blob", "content");
    let signature = fixture.run(&["sign-blob", "--key", "cosign.key", "blob"]).code(0).out;
    fixture.write("s", &signature);
    for given in ["s", signature.trim()] {
        fixture.run(&["verify-blob", "--key", "cosign.pub", "--signature", given, "blob"]).code(0);
    }
    let fed = ["verify-blob", "--key", "cosign.pub", "--signature", "s", "-"];
    fixture.run_fed(&fed, "content").code(0);
    fixture.run_fed(&fed, "contents").code(1);
    fixture.run(&["verify-blob", "--key", "cosign.pub", "blob"]).code(1);
}

/// cosign GHSA-fx35-mq7g-6g98.
#[test]
fn a_key_in_an_older_bundle_is_not_the_key_to_verify_with() {
    let fixture = CliFixture::with_key();
    fixture.write("blob", "content");
    let generate = ["generate-key-pair", "--output-key-prefix", "other"];
    fixture.run(&generate).code(0);
    let signed = fixture.run(&["sign-blob", "--key", "other.key", "blob"]).code(0).out;
    let older = serde_json::json!({
        "base64Signature": signed.trim(),
        "cert": STANDARD.encode(fixture.read("other.pub")),
    });
    fixture.write("older.json", &older.to_string());
    let verify = |by: &[&str]| {
        let flags = ["--insecure-ignore-tlog", "--bundle=older.json", "blob"];
        fixture.run(&[&["verify-blob"], by, &flags].concat())
    };
    let refused = verify(&["--key=cosign.pub"]).code(1);
    assert!(refused.err.contains("[wrong-signature]"), "{}", refused.err);
    let identity = ["--certificate-identity=a@b.example", "--certificate-oidc-issuer=https://i"];
    let refused = verify(&identity).code(1);
    assert!(!refused.err.contains("Verified OK"), "{}", refused.err);
    verify(&["--key=other.pub"]).code(0);
    // A flag does not change that.
    let both = verify(&["--key=cosign.pub", "--certificate=other.pub"]);
    assert_ne!(both.code, 0, "{}", both.err);
}

/// The output of `openssl dgst -sign ... | base64`.
#[test]
fn a_signature_with_line_breaks_verifies() {
    let fixture = CliFixture::with_key();
    fixture.write("blob", "content");
    let signature = fixture.run(&["sign-blob", "--key", "cosign.key", "blob"]).code(0).out;
    let (first, rest) = signature.trim().split_at(64);
    for broken in [format!("{first}\n{rest}\n"), format!("{first}\r\n{rest}\r\n")] {
        fixture.write("s", &broken);
        for given in ["s", broken.as_str()] {
            let verify = ["verify-blob", "--key", "cosign.pub", "--signature", given, "blob"];
            fixture.run(&verify).code(0);
        }
    }
    let blank = format!("{first} {rest}");
    let verify = ["verify-blob", "--key", "cosign.pub", "--signature", &blank, "blob"];
    fixture.run(&verify).code(1);
}

#[test]
fn the_old_bundle_is_written_and_read() {
    let fixture = CliFixture::with_key();
    fixture.write("blob", "content");
    let old = ["--new-bundle-format=false", "--tlog-upload=false", "--bundle", "old.json", "blob"];
    let mut arguments = vec!["sign-blob", "--key", "cosign.key"];
    arguments.extend(old);
    fixture.run(&arguments).code(0);
    assert!(fixture.read("old.json").starts_with("{\"base64Signature\":"));
    fixture.run(&["verify-blob", "--key", "cosign.pub", "--bundle", "old.json", "blob"]).code(0);
}
