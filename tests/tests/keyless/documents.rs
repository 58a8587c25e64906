//! Documents written by both tools: trusted roots, signing configurations, bundles.

use sealgate_tests::programs::Sandbox;
use sealgate_tests::sigstore;
use serde_json::{Value, json};

use super::support::{ADA, sandbox, signed_file};
use crate::support::{TOOLS, Tool};

/// Runs a verb that writes `--out`, and reads the result.
fn written(tool: Tool, sandbox: &Sandbox, arguments: &[String]) -> Value {
    let out = format!("--out={}", sandbox.path("out.json").display());
    let arguments: Vec<&str> = arguments.iter().chain([&out]).map(String::as_str).collect();
    tool.run(sandbox, &arguments).ok();
    serde_json::from_str(&sandbox.read("out.json")).expect("a document")
}

#[test]
fn trusted_roots_and_signing_configurations_are_cosigns() {
    let sandbox = Sandbox::new();
    let sigstore = sigstore::shared();
    for arguments in [sigstore.trusted_root_arguments(), sigstore.signing_config_arguments()] {
        let [cosigns, ours] = TOOLS.map(|tool| written(tool, &sandbox, &arguments));
        assert_eq!(ours, cosigns, "{arguments:?}");
    }
}

#[test]
fn with_our_documents_cosign_signs_and_verifies() {
    let sandbox = sandbox();
    let sigstore = sigstore::shared();
    for (arguments, file) in [
        (sigstore.trusted_root_arguments(), "root.json"),
        (sigstore.signing_config_arguments(), "services.json"),
    ] {
        let document = written(Tool::Sealgate, &sandbox, &arguments);
        sandbox.write(file, document.to_string());
    }
    signed_file(&sandbox, ADA, "app.txt", "an artifact\n");
    for tool in TOOLS {
        let check = ["--bundle=app.txt.json", "app.txt"];
        tool.verify_as(&sandbox, ADA, "verify-blob", &check).ok();
    }
}

#[test]
fn a_person_sees_what_is_in_a_bundle() {
    let sandbox = sandbox();
    let bundle = signed_file(&sandbox, ADA, "app.txt", "an artifact\n");
    let inspect = ["bundle", "inspect", "--trusted-root=root.json", "app.txt.json"];
    let text = sandbox.sealgate(&inspect).ok().stdout;
    let kind = &bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"];
    assert_eq!(kind["kind"], "hashedrekord");
    for part in ["ada@example.com", &ADA.issuer(), "hashedrekord", "localhost"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    sandbox.sealgate(&[&inspect[..], &["-o", "json"]].concat()).ok().json();
}

/// Same commands as in the conformance suite.
#[test]
fn bundles_of_the_conformance_suite() {
    let sandbox = sandbox();
    sandbox.write("app.txt", "an artifact\n");
    let token = sigstore::shared().token(ADA.identity());
    let sign = [
        "sign-bundle",
        "--identity-token",
        &token,
        "--bundle=app.json",
        "--trusted-root=root.json",
        "--signing-config=services.json",
        "app.txt",
    ];
    sandbox.sealgate(&sign).ok();
    Tool::Cosign.verify_as(&sandbox, ADA, "verify-blob", &["--bundle=app.json", "app.txt"]).ok();
    let verify = |tool: Tool, name: &str, artifact: &str| {
        signed_file(&sandbox, ADA, "other.txt", "another artifact\n");
        let bundle = format!("--bundle={name}");
        tool.verify_as(&sandbox, ADA, "verify-bundle", &[&bundle, artifact])
    };
    verify(Tool::Sealgate, "app.json", "app.txt").ok();
    verify(Tool::Sealgate, "other.txt.json", "other.txt").ok();
    let digest = sealgate_tests::image::sha256(b"an artifact\n");
    verify(Tool::Sealgate, "app.json", &digest).ok();
    assert_ne!(verify(Tool::Sealgate, "other.txt.json", "app.txt").code, 0);
}

/// Two logs, as a signing configuration may require: both are listed, and each is sufficient.
#[test]
fn every_log_that_is_asked_for() {
    let sandbox = sandbox();
    let second = super::support::second_log();
    let sigstore = sigstore::shared();
    let key = sandbox.write("second.pub", &second.public_key).display().to_string();
    let mut arguments = sigstore.trusted_root_arguments();
    let since = "start-time=2024-01-01T00:00:00Z";
    arguments.push(format!("--rekor=url={},public-key={key},{since},origin=localhost", second.url));
    let both = written(Tool::Sealgate, &sandbox, &arguments);
    // cosign's order varies.
    let sorted = |mut root: Value| {
        let logs = root["tlogs"].as_array_mut().expect("logs");
        logs.sort_by_key(|log| log["logId"]["keyId"].to_string());
        root
    };
    let cosigns = written(Tool::Cosign, &sandbox, &arguments);
    assert_eq!(sorted(both.clone()), sorted(cosigns));
    sandbox.write("root.json", both.to_string());
    let mut services = sigstore.signing_config_json();
    let mut other = services["rekorTlogUrls"][0].clone();
    other["url"] = json!(second.url);
    other["operator"] = json!("somebody else");
    services["rekorTlogUrls"].as_array_mut().unwrap().push(other);
    services["rekorTlogConfig"] = json!({ "selector": "ALL" });
    sandbox.write("services.json", services.to_string());
    sandbox.write("app.txt", "an artifact\n");
    let file = ["--bundle=app.json", "app.txt"];
    Tool::Sealgate.sign_as(&sandbox, ADA, "sign-blob", &file).ok();
    let bundle: Value = serde_json::from_str(&sandbox.read("app.json")).unwrap();
    let entries = bundle["verificationMaterial"]["tlogEntries"].as_array().map(Vec::len);
    assert_eq!(entries, Some(2));
    for log in 0..2 {
        let mut one = both.clone();
        one["tlogs"].as_array_mut().unwrap().remove(log);
        for root in [&both, &one] {
            sandbox.write("root.json", root.to_string());
            Tool::Sealgate.verify_as(&sandbox, ADA, "verify-blob", &file).ok();
        }
    }
    sandbox.write("root.json", both.to_string());
    Tool::Cosign.verify_as(&sandbox, ADA, "verify-blob", &file).ok();
}
