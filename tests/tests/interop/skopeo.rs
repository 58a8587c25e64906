//! Verification of our legacy signatures by skopeo's library and policy.json.

use sealgate_tests::image::Image;
use sealgate_tests::programs::{Run, Sandbox, built};
use sealgate_tests::registries;
use serde_json::json;

use crate::support::{Format, Tool, sandbox_with_key};

/// Copies an image into a directory, if the policy allows it.
fn copy(sandbox: &Sandbox, image: &Image, to: &str) -> Run {
    let requirement = json!([{
        "type": "sigstoreSigned",
        "keyPath": sandbox.path("cosign.pub"),
        "signedIdentity": { "type": "matchRepository" },
    }]);
    let policy = json!({
        "default": [{ "type": "reject" }],
        "transports": { "docker": { image.host.as_str(): requirement } },
    });
    sandbox.write("policy.json", policy.to_string());
    let attachments = format!("docker:\n  {}:\n    use-sigstore-attachments: true\n", image.host);
    sandbox.write("registries.d/tests.yaml", attachments);
    let (from, to) = (format!("docker://{}", image.by_tag()), format!("dir:{to}"));
    let arguments = ["--policy=policy.json", "--registries.d=registries.d", &from, &to];
    sandbox.run(&built("skopeo"), &arguments, None)
}

#[test]
fn the_signed_image_is_copied_and_the_others_are_not() {
    let sandbox = sandbox_with_key();
    Tool::Sealgate.generate(&sandbox, "other");
    for registry in registries::all() {
        let signed = registry.image("skopeo-signed");
        Tool::Sealgate.sign(&sandbox, Format::Legacy, "cosign", &signed.by_digest(), &[]).ok();
        copy(&sandbox, &signed, "signed").ok();
        let unsigned = registry.image("skopeo-unsigned");
        copy(&sandbox, &unsigned, "unsigned").fails_with("signature was required");
        let wrong = registry.image("skopeo-wrong-key");
        Tool::Sealgate.sign(&sandbox, Format::Legacy, "other", &wrong.by_digest(), &[]).ok();
        assert_ne!(copy(&sandbox, &wrong, "wrong").code, 0);
    }
}
