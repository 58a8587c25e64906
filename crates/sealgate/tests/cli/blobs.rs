//! sign-blob and verify-blob.

use snapbox::{assert_data_eq, str};

use crate::stage::Stage;

#[test]
fn a_bundle_verifies_and_a_changed_blob_does_not() {
    let stage = Stage::with_key();
    stage.write("blob", "content");
    stage.write("other", "Content");
    let signed =
        stage.run(&["sign-blob", "--key", "cosign.key", "--bundle", "b.json", "blob"]).code(0);
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
        |blob| stage.run(&["verify-blob", "--key", "cosign.pub", "--bundle", "b.json", blob]);
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
    let stage = Stage::with_key();
    stage.write("blob", "content");
    let signature = stage.run(&["sign-blob", "--key", "cosign.key", "blob"]).code(0).out;
    stage.write("s", &signature);
    for given in ["s", signature.trim()] {
        stage.run(&["verify-blob", "--key", "cosign.pub", "--signature", given, "blob"]).code(0);
    }
    let fed = ["verify-blob", "--key", "cosign.pub", "--signature", "s", "-"];
    stage.run_fed(&fed, "content").code(0);
    stage.run_fed(&fed, "contents").code(1);
    stage.run(&["verify-blob", "--key", "cosign.pub", "blob"]).code(1);
}

#[test]
fn the_old_bundle_is_written_and_read() {
    let stage = Stage::with_key();
    stage.write("blob", "content");
    let old = ["--new-bundle-format=false", "--tlog-upload=false", "--bundle", "old.json", "blob"];
    let mut arguments = vec!["sign-blob", "--key", "cosign.key"];
    arguments.extend(old);
    stage.run(&arguments).code(0);
    assert!(stage.read("old.json").starts_with("{\"base64Signature\":"));
    stage.run(&["verify-blob", "--key", "cosign.pub", "--bundle", "old.json", "blob"]).code(0);
}
