//! Check of the harness: real cosign signs and verifies on its servers, without sealgate.

use sealgate_tests::registries;

use super::support::{ADA, BOB, Signer, bundle_of, sandbox, signed_file};
use crate::support::Tool;

#[test]
fn cosign_signs_and_verifies_an_image() {
    let sandbox = sandbox();
    for registry in registries::all() {
        let image = registry.image("keyless-harness");
        Tool::Cosign.sign_as(&sandbox, ADA, "sign", &[&image.by_digest()]).ok();
        // Including the SCT, as no flag ignores it.
        Tool::Cosign.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]).ok();
        let other = Tool::Cosign.verify_as(&sandbox, BOB, "verify", &[&image.by_digest()]);
        assert_ne!(other.code, 0, "{}", other.report());
        let material = &bundle_of(&image)["verificationMaterial"];
        assert_eq!(material["tlogEntries"].as_array().map(Vec::len), Some(1));
        assert!(material["timestampVerificationData"]["rfc3161Timestamps"][0].is_object());
    }
}

#[test]
fn cosign_signs_and_verifies_a_file_of_a_workflow() {
    let sandbox = sandbox();
    signed_file(&sandbox, Signer::Workflow, "app.txt", "an artifact\n");
    let claim = "--certificate-github-workflow-repository=example/app";
    let check = [claim, "--bundle=app.txt.json", "app.txt"];
    Tool::Cosign.verify_as(&sandbox, Signer::Workflow, "verify-blob", &check).ok();
    // The CT log is required: without it nothing verifies.
    let mut root: serde_json::Value = serde_json::from_str(&sandbox.read("root.json")).unwrap();
    root["ctlogs"] = serde_json::json!([]);
    sandbox.write("root.json", root.to_string());
    let run = Tool::Cosign.verify_as(&sandbox, Signer::Workflow, "verify-blob", &check);
    assert_ne!(run.code, 0, "{}", run.report());
}
