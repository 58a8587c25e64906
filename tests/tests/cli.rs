//! Interface for scripts: exit codes, cosign's messages, JSON on standard output, environment
//! variables; and registry errors, which are never reported as an image without signatures.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use sealgate_tests::image::Image;
use sealgate_tests::programs::{Run, Sandbox, sealgate};
use sealgate_tests::proxy::{CountingProxy, FixedResponse};
use sealgate_tests::registries::{self, USER};

use crate::support::{FORMATS, Format, Tool, sandbox_with_key, stored, verified_digests};

fn signed(sandbox: &Sandbox, name: &str) -> Image {
    let image = registries::docker().image(name);
    Tool::Sealgate.sign(sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
    image
}

fn verify(sandbox: &Sandbox, reference: &str) -> Run {
    Tool::Sealgate.verify(sandbox, "cosign", reference, &[])
}

#[test]
fn exit_codes_are_cosigns() {
    let sandbox = sandbox_with_key();
    Tool::Sealgate.generate(&sandbox, "other");
    let image = signed(&sandbox, "exit-codes");
    verify(&sandbox, &image.by_tag()).exits(0);
    let unsigned = registries::docker().image("exit-codes-unsigned");
    verify(&sandbox, &unsigned.by_tag()).exits(10).says("Error: no signatures found");
    let missing = format!("{}:nowhere", image.name());
    verify(&sandbox, &missing).exits(11).says("Error: image tag not found");
    Tool::Sealgate
        .verify(&sandbox, "other", &image.by_tag(), &[])
        .exits(12)
        .says("Error: no matching signatures");
    sandbox.sealgate(&["verify", "--key", "nowhere.pub", &image.by_tag()]).exits(1);
    sandbox.sealgate(&["verify", "--no-such-flag"]).exits(1);
    sandbox.sealgate(&["no-such-verb"]).exits(1);
}

#[test]
fn failures_end_with_cosigns_closing_line() {
    let sandbox = sandbox_with_key();
    let unsigned = registries::docker().image("closing-line");
    let run = verify(&sandbox, &unsigned.by_tag()).exits(10);
    let last = run.stderr.lines().last();
    assert_eq!(last, Some("error during command execution: no signatures found"));
    assert_eq!(run.stdout, "", "a failure prints nothing on standard output");
}

#[test]
fn success_reads_as_cosigns() {
    let sandbox = sandbox_with_key();
    let image = signed(&sandbox, "reads-as-cosigns");
    let run = verify(&sandbox, &image.by_tag()).ok();
    let expected = format!(
        "\nVerification for {} --\nThe following checks were performed on each of these \
         signatures:\n  - The cosign claims were validated\n",
        image.by_tag()
    );
    let run = run.says(&expected);
    assert_eq!(verified_digests(&run), [image.digest.as_str()]);
    // Without a log check, no log check may be reported.
    run.says_no("were verified offline").says_no("were present in the transparency log");
}

#[test]
fn the_claim_line_is_left_out_when_claims_are_not_checked() {
    let sandbox = sandbox_with_key();
    let image = signed(&sandbox, "no-claims");
    let flags = ["--check-claims=false"];
    let run = Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &flags).ok();
    run.says_no("The cosign claims were validated");
}

#[test]
fn text_output_is_the_payload() {
    let sandbox = sandbox_with_key();
    let image = signed(&sandbox, "text-output");
    let flags = ["--output", "text"];
    let run = Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &flags).ok();
    assert!(run.stdout.contains(image.digest.trim_start_matches("sha256:")), "{}", run.report());
}

#[test]
fn several_images_have_an_outcome_each() {
    let sandbox = sandbox_with_key();
    let (one, two) = (signed(&sandbox, "several-one"), signed(&sandbox, "several-two"));
    let unsigned = registries::docker().image("several-unsigned");
    let all = [one.by_tag(), unsigned.by_tag(), two.by_tag()];
    let mut arguments = vec!["verify", "--key", "cosign.pub"];
    arguments.extend(all.iter().map(String::as_str));
    let run = sandbox.sealgate(&arguments);
    assert_ne!(run.code, 0, "{}", run.report());
    let run = run
        .says(&format!("Verification for {} --", one.by_tag()))
        .says(&format!("Verification for {} --", two.by_tag()))
        .says("no signatures found");
    assert!(run.stdout.contains(&one.digest) && run.stdout.contains(&two.digest));
}

#[test]
fn it_answers_to_the_name_cosign() {
    let sandbox = sandbox_with_key();
    let image = signed(&sandbox, "by-the-name-cosign");
    let link = sandbox.path("cosign");
    symlink(sealgate(), &link).unwrap();
    let reference = image.by_tag();
    sandbox.run(&link, &["verify", "--key", "cosign.pub", &reference], None).ok();
    let help = sandbox.run(&link, &["verify", "--help"], None).ok();
    assert!(help.stdout.contains("cosign verify"), "{}", help.report());
    // Flags from a script written for cosign.
    let flags = [
        "verify",
        "-key",
        "cosign.pub",
        "--insecure-ignore-tlog=true",
        "--private-infrastructure",
        "--offline",
        "--new-bundle-format=true",
        "--output=json",
        &reference,
    ];
    sandbox.run(&link, &flags, None).ok();
}

#[test]
fn flags_may_come_from_the_environment() {
    let key = sandbox_with_key();
    let image = signed(&key, "from-the-environment");
    let sandbox = Sandbox::new().with("COSIGN_KEY", key.path("cosign.pub").display().to_string());
    sandbox.sealgate(&["verify", &image.by_tag()]).ok();
}

#[test]
fn private_keys_are_private_and_not_overwritten() {
    let sandbox = sandbox_with_key();
    let mode = |name| std::fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("cosign.key"), 0o600);
    let before = sandbox.read("cosign.key");
    assert!(before.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"));
    let run = sandbox.run(&sealgate(), &["generate-key-pair"], Some(b"n\n"));
    assert_eq!(sandbox.read("cosign.key"), before, "{}", run.report());
    assert!(run.stderr.contains("already exists"), "{}", run.report());
}

#[test]
fn help_and_version() {
    let sandbox = Sandbox::new();
    assert!(sandbox.sealgate(&["version", "--json"]).ok().json().is_object());
    sandbox.sealgate(&["env"]).ok();
    sandbox.sealgate(&["--help"]).ok();
    for shell in ["bash", "zsh", "fish"] {
        let run = sandbox.sealgate(&["completion", shell]).ok();
        assert!(run.stdout.contains("sealgate"), "{shell}");
    }
}

// === failing registries ===

/// Runs `verify` against a registry that answers every request with one status.
fn against(status: &str, headers: &str) -> Run {
    let canned = FixedResponse::start(status, headers, r#"{"errors":[{"code":"X"}]}"#).unwrap();
    let reference = format!("{}/tests/app@sha256:{}", canned.host, "0".repeat(64));
    verify(&sandbox_with_key(), &reference)
}

#[test]
fn an_error_of_the_registry_is_not_an_image_without_signatures() {
    for (status, headers, code) in [
        ("429 Too Many Requests", "Retry-After: 600\r\n", "throttled"),
        ("500 Internal Server Error", "", "server-error"),
        ("503 Service Unavailable", "", "server-error"),
        ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "unauthorized"),
        ("403 Forbidden", "", "denied"),
    ] {
        let run = against(status, headers).exits(1).says_no("no signatures found");
        assert!(run.stderr.contains(code), "{status} should be {code}:\n{}", run.report());
    }
}

#[test]
fn a_listing_that_fails_is_not_an_empty_listing() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("listing-fails");
        Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
        for status in ["429 Too Many Requests", "500 Internal Server Error", "403 Forbidden"] {
            let words = ["/referrers/", "/manifests/sha256-"];
            let proxy = CountingProxy::refusing(&registry.host, &words, status).unwrap();
            let run = verify(&sandbox, &image.at(&proxy.host).by_digest());
            run.exits(1).says_no("no signatures found");
        }
    }
}

#[test]
fn a_signature_that_cannot_be_fetched_is_not_a_missing_one() {
    let sandbox = sandbox_with_key();
    for format in FORMATS {
        let image = registries::docker().image(&format!("blob-fails-{format:?}").to_lowercase());
        Tool::Sealgate.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
        let status = "502 Bad Gateway";
        let proxy = CountingProxy::refusing(&image.host, &["/blobs/"], status).unwrap();
        let run = verify(&sandbox, &image.at(&proxy.host).by_digest());
        run.exits(1).says_no("no signatures found");
    }
}

#[test]
fn a_silent_registry_is_a_time_out() {
    let silent = FixedResponse::silent().unwrap();
    let reference = format!("{}/tests/app@sha256:{}", silent.host, "0".repeat(64));
    let sandbox = sandbox_with_key();
    let flags = ["--timeout", "3s"];
    let run = Tool::Sealgate.verify(&sandbox, "cosign", &reference, &flags);
    run.exits(1).says_no("no signatures found");
}

#[test]
fn an_unreachable_registry() {
    let port = sealgate_tests::process::free_port().unwrap();
    let reference = format!("127.0.0.1:{port}/tests/app:v1");
    let run = verify(&sandbox_with_key(), &reference).exits(1);
    run.says("unreachable").says_no("no signatures found");
}

// === registry credentials ===

#[test]
fn a_password_by_login_by_flags_and_by_configuration() {
    let sandbox = sandbox_with_key();
    let registry = registries::docker_with_password();
    let image = push_with_password(&registry.host);
    let (user, password) = USER;
    let reference = image.by_digest();
    verify(&sandbox, &reference).exits(1).says_no("no signatures found");
    let flags = ["--registry-username", user, "--registry-password", password];
    Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &reference, &flags).ok();
    Tool::Sealgate.verify(&sandbox, "cosign", &reference, &flags).ok();
    let wrong = ["--registry-username", user, "--registry-password", "not-it"];
    let run = Tool::Sealgate.verify(&sandbox, "cosign", &reference, &wrong).exits(1);
    assert!(!run.stderr.contains("not-it"), "a password is shown:\n{}", run.report());

    let login = ["login", &registry.host, "-u", user, "--password-stdin"];
    sandbox.run(&sealgate(), &login, Some(password.as_bytes())).ok();
    verify(&sandbox, &reference).ok();
    // cosign reads the file that we wrote.
    Tool::Cosign.verify(&sandbox, "cosign", &reference, &[]).ok();
}

/// The harness's own push function does not support authentication.
fn push_with_password(host: &str) -> Image {
    let open = registries::docker().image("behind-a-password");
    let sandbox = Sandbox::new();
    let (user, password) = USER;
    let login = ["login", host, "-u", user, "-p", password];
    sandbox.sealgate(&login).ok();
    let target = open.at(host);
    sandbox.sealgate(&["copy", &open.by_tag(), &target.by_tag()]).ok();
    target
}

#[test]
fn upload_false_uploads_nothing() {
    let sandbox = sandbox_with_key();
    for format in FORMATS {
        let image = registries::docker().image(&format!("upload-false-{format:?}").to_lowercase());
        let flags = ["--upload=false", "--bundle=kept.json"];
        Tool::Sealgate.sign(&sandbox, format, "cosign", &image.by_digest(), &flags).ok();
        assert_eq!(FORMATS.map(|format| stored(&image, format)), [0, 0]);
    }
}
