//! The harness itself: real cosign, which knows nothing of us, signs and verifies on its servers.

use sealgate_tests::oidc::WORKFLOW;
use sealgate_tests::programs::{Run, Sandbox};
use sealgate_tests::{registries, sigstore};

const ADA: &str = "ada@example.com";

fn sign(sandbox: &Sandbox, token: &str, more: &[&str]) -> Run {
    let sigstore = sigstore::shared();
    let [root, config] = [sigstore.trusted_root(), sigstore.signing_config()];
    let root = format!("--trusted-root={}", root.display());
    let config = format!("--signing-config={}", config.display());
    let mut arguments = vec![more[0], "-y", &root, &config, "--identity-token", token];
    arguments.extend(&more[1..]);
    sandbox.cosign(&arguments)
}

fn verify(sandbox: &Sandbox, issuer: &str, identity: &str, more: &[&str]) -> Run {
    let root = format!("--trusted-root={}", sigstore::shared().trusted_root().display());
    let mut arguments = vec![more[0], &root];
    arguments.extend(["--certificate-oidc-issuer", issuer, "--certificate-identity", identity]);
    arguments.extend(&more[1..]);
    sandbox.cosign(&arguments)
}

#[test]
fn cosign_signs_and_verifies_an_image() {
    let sandbox = Sandbox::new();
    let sigstore = sigstore::shared();
    let people = sigstore.issuer.people();
    for registry in registries::all() {
        let image = registry.image("keyless-harness");
        sign(&sandbox, &sigstore.token(ADA), &["sign", &image.by_digest()]).ok();
        // With the certificate log's promise, as nothing says to ignore it.
        verify(&sandbox, &people, ADA, &["verify", &image.by_digest()]).ok();
        let other = verify(&sandbox, &people, "bob@example.com", &["verify", &image.by_digest()]);
        assert_ne!(other.code, 0, "{}", other.report());
    }
}

#[test]
fn cosign_signs_and_verifies_a_file_of_a_workflow() {
    let sandbox = Sandbox::new();
    let issuer = &sigstore::shared().issuer;
    sandbox.write("app.txt", "an artifact\n");
    let token = issuer.workflow_token();
    sign(&sandbox, &token, &["sign-blob", "--bundle=app.json", "app.txt"]).ok();
    let check = ["verify-blob", "--bundle=app.json", "app.txt"];
    verify(&sandbox, &issuer.workflows(), WORKFLOW, &check).ok();
    let claim = "--certificate-github-workflow-repository=example/app";
    let check = ["verify-blob", claim, "--bundle=app.json", "app.txt"];
    verify(&sandbox, &issuer.workflows(), WORKFLOW, &check).ok();
}
