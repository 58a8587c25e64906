//! Keyless signatures by one tool, verified by the other: images on each kind of registry, an index
//! with its children, files; people and workflows.

use sealgate_tests::image::push_index;
use sealgate_tests::registries;

use super::support::{ADA, BOB, Signer, bundle_of, sandbox, signed_file};
use crate::support::{TOOLS, Tool, verified_digests};

#[test]
fn images_that_cosign_signs_we_verify() {
    let sandbox = sandbox();
    for registry in registries::all() {
        let image = registry.image("keyless-by-cosign");
        Tool::Cosign.sign_as(&sandbox, ADA, "sign", &[&image.by_digest()]).ok();
        let run = Tool::Sealgate.verify_as(&sandbox, ADA, "verify", &[&image.by_tag()]).ok();
        assert_eq!(verified_digests(&run), [image.digest.as_str()]);
        run.says("The cosign claims were validated")
            .says("Existence of the claims in the transparency log was verified offline")
            .says("The code-signing certificate was verified using trusted certificate authority certificates");
        Tool::Sealgate
            .verify_as(&sandbox, BOB, "verify", &[&image.by_tag()])
            .exits(12)
            .says("[wrong-identity]");
    }
}

#[test]
fn files_that_cosign_signs_we_verify() {
    let sandbox = sandbox();
    for who in [ADA, Signer::Workflow] {
        signed_file(&sandbox, who, "app.txt", "an artifact\n");
        let check = ["--bundle=app.txt.json", "app.txt"];
        for tool in TOOLS {
            tool.verify_as(&sandbox, who, "verify-blob", &check).ok().says("Verified OK");
        }
    }
}

#[test]
fn an_index_that_cosign_signs_we_verify_with_its_children() {
    let sandbox = sandbox();
    for (number, registry) in registries::all().into_iter().enumerate() {
        let repository = format!("tests/keyless-index-by-cosign-{number}");
        let (index, children) = push_index(&registry.host, &repository, "v1").unwrap();
        Tool::Cosign.sign_as(&sandbox, ADA, "sign", &[&index.by_digest()]).ok();
        // The signature of the index does not cover its children.
        let run = Tool::Sealgate.verify_as(&sandbox, ADA, "verify", &["-r", &index.by_tag()]);
        assert_ne!(run.code, 0, "{}", run.report());
        for child in &children {
            Tool::Cosign.sign_as(&sandbox, ADA, "sign", &[&child.by_digest()]).ok();
        }
        Tool::Sealgate.verify_as(&sandbox, ADA, "verify", &["-r", &index.by_tag()]).ok();
        bundle_of(&index);
    }
}

#[test]
fn expressions_and_several_identities() {
    let sandbox = sandbox();
    signed_file(&sandbox, ADA, "app.txt", "an artifact\n");
    let people = ADA.issuer();
    let verify = |flags: &[&str]| {
        let file = ["--bundle=app.txt.json", "app.txt"];
        Tool::Sealgate.verify_wanting(&sandbox, "verify-blob", &[flags, &file].concat())
    };
    let exact = ["--certificate-oidc-issuer", &people];
    let accepted: &[&[&str]] = &[
        &["--certificate-identity-regexp", r"^[a-z]+@example\.com$"],
        &["--certificate-identity-regexp", r"@example\.com$"],
        &["--certificate-identity", "bob@example.com", "--certificate-identity", "ada@example.com"],
        &["--certificate-identity-regexp", "^bob@", "--certificate-identity-regexp", "^ada@"],
    ];
    for identities in accepted {
        verify(&[*identities, &exact].concat()).ok();
    }
    verify(&[
        "--certificate-identity=ada@example.com",
        "--certificate-oidc-issuer-regexp=^http://127",
    ])
    .ok();
    let refused: &[&[&str]] = &[
        &["--certificate-identity-regexp", r"^[a-z]+@example\.org$"],
        &["--certificate-identity", "ada@example"],
        &["--certificate-identity", "ADA@example.com"],
    ];
    for identities in refused {
        verify(&[*identities, &exact].concat()).exits(1).says("[wrong-identity]");
    }
    // As in cosign: an identity or a pattern, not both.
    let both = ["--certificate-identity=ada@example.com", "--certificate-identity-regexp=^ada@"];
    verify(&[&both[..], &exact].concat()).exits(1).says("exactly one of: ");
    // An identity needs an issuer.
    verify(&["--certificate-identity=ada@example.com"])
        .exits(1)
        .says("--certificate-oidc-issuer or --certificate-oidc-issuer-regexp is required");
    verify(&exact)
        .exits(1)
        .says("--certificate-identity or --certificate-identity-regexp is required");
}

#[test]
fn claims_of_a_workflow() {
    let sandbox = sandbox();
    signed_file(&sandbox, Signer::Workflow, "app.txt", "an artifact\n");
    for (flag, right, wrong) in [
        ("name", "release", "Release"),
        ("ref", "refs/tags/v1.2.3", "refs/heads/main"),
        ("repository", "example/app", "example/app2"),
        ("sha", sealgate_tests::oidc::COMMIT, "0000000000000000000000000000000000000000"),
        ("trigger", "push", "pull_request_target"),
    ] {
        let check = |value: &str, tool: Tool| {
            let claim = format!("--certificate-github-workflow-{flag}={value}");
            let file = [claim.as_str(), "--bundle=app.txt.json", "app.txt"];
            tool.verify_as(&sandbox, Signer::Workflow, "verify-blob", &file)
        };
        for tool in TOOLS {
            check(right, tool).ok();
            assert_ne!(check(wrong, tool).code, 0, "{tool:?} {flag}");
        }
        check(wrong, Tool::Sealgate).exits(1).says("[wrong-claim]");
    }
}
