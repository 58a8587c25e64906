//! Tests of `generate-key-pair`, `import-key-pair` and `public-key`: files, passwords, prompts.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use snapbox::{assert_data_eq, str};

use crate::fixture::CliFixture;

#[test]
fn generates_a_matching_pair_of_files() {
    let fixture = CliFixture::new();
    let ended = fixture.run(&["generate-key-pair"]).code(0);
    assert_data_eq!(ended.out, str![""]);
    assert_data_eq!(
        ended.err,
        str![[r#"
Private key written to cosign.key
Public key written to cosign.pub

"#]]
    );
    let mode = |name| std::fs::metadata(fixture.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("cosign.key"), mode("cosign.pub")), (0o600, 0o644));
    assert!(
        fixture.read("cosign.key").starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    );
    let public = fixture.run(&["public-key", "--key", "cosign.key"]).code(0);
    assert_eq!(public.out, fixture.read("cosign.pub"));
}

#[test]
fn nothing_is_overwritten_without_confirmation() {
    let fixture = CliFixture::with_key();
    let before = fixture.read("cosign.key");
    let ended = fixture.run(&["generate-key-pair"]).code(1);
    assert_data_eq!(
        ended.err,
        str![[r#"
WARNING: File cosign.key already exists. Overwrite?
Are you sure you would like to continue? [y/N][..]
Error: user declined the prompt
  answer y to continue (in scripts: give another --output-key-prefix, or remove the files first)
error during command execution: user declined the prompt

"#]]
    );
    assert_eq!(fixture.read("cosign.key"), before);
    fixture.run_fed(&["generate-key-pair"], "perhaps\n").code(1);
    assert_eq!(fixture.read("cosign.key"), before);
    fixture.run_fed(&["generate-key-pair"], "y\n").code(0);
    assert_ne!(fixture.read("cosign.key"), before);
}

#[test]
fn a_public_key_alone_is_not_overwritten_either() {
    let fixture = CliFixture::new();
    fixture.write("cosign.pub", "somebody's");
    fixture.run(&["generate-key-pair"]).code(1);
    assert_eq!(fixture.read("cosign.pub"), "somebody's");
    assert!(!fixture.path("cosign.key").exists());
}

#[test]
fn a_public_key_is_not_overwritten_by_a_key_pair_in_a_cluster() {
    let fixture = CliFixture::new();
    fixture.write("cosign.pub", "somebody's");
    let ended = fixture.run(&["generate-key-pair", "k8s://default/key"]).code(1);
    assert!(ended.frame().0.contains("user declined the prompt"), "{}", ended.err);
    assert_eq!(fixture.read("cosign.pub"), "somebody's");
    fixture.run(&["generate-key-pair", "github://owner/repository"]).code(1);
}

#[test]
fn the_password_may_come_from_standard_input() {
    let fixture = CliFixture::new();
    let mut made = fixture.command(&["generate-key-pair"]);
    made.env_remove("COSIGN_PASSWORD").stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = made.spawn().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success(), "an empty password is a password");
    let opened =
        fixture.run_with(&["public-key", "--key", "cosign.key"], &[("COSIGN_PASSWORD", "")]);
    opened.code(0);
}

/// As in cosign: a missing password in a CI job does not create an unprotected key.
#[test]
fn a_missing_password_is_reported() {
    let fixture = CliFixture::with_key();
    for arguments in [
        &["generate-key-pair", "--output-key-prefix", "new"][..],
        &["public-key", "--key", "cosign.key"],
    ] {
        let output = fixture.command(arguments).env_remove("COSIGN_PASSWORD").output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("Error: inappropriate ioctl for device\n"), "{told}");
        assert!(told.contains("set COSIGN_PASSWORD"), "{told}");
    }
    assert!(!fixture.path("new.key").exists());
}

/// Command lines, and cosign's message about a missing key.
#[test]
fn a_missing_key_has_cosigns_message() {
    let fixture = CliFixture::with_key();
    for (words, told) in [
        ("public-key --key none.key", "reading key: open none.key: no such file or directory"),
        ("public-key --key env://NONE", "reading key: loading URL: env var $NONE not found"),
        (
            "verify --key none.pub x/y",
            "loading public key: open none.pub: no such file or directory",
        ),
        ("import-key-pair --key none.pem", "open none.pem: no such file or directory"),
        ("generate-key-pair --output-key-prefix no/x", "open no/x.key: no such file or directory"),
        (
            "sign-blob --key cosign.key --bundle b none",
            "signing none: getting payload: open none: no such file or directory",
        ),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        let ended = fixture.run(&words).code(1);
        assert_eq!(ended.frame().0, format!("Error: {told}"), "{words:?}");
    }
}

/// Without input on an open standard input, `--timeout` ends the wait.
#[test]
fn waiting_for_input_ends_with_the_timeout() {
    let fixture = CliFixture::with_key();
    let commands: [&[&str]; 3] = [
        &["public-key", "--key", "cosign.key", "-t", "300ms"],
        &["generate-key-pair", "--output-key-prefix", "new", "-t", "300ms"],
        &["generate-key-pair", "-t", "300ms"],
    ];
    for arguments in commands {
        let started = std::time::Instant::now();
        let mut command = fixture.command(arguments);
        command.env_remove("COSIGN_PASSWORD").stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let held = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(held);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("context deadline exceeded"), "{told}");
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{arguments:?}");
    }
    assert!(!fixture.path("new.key").exists());
}

#[test]
fn a_wrong_password_has_cosigns_message() {
    let fixture = CliFixture::with_key();
    let arguments = ["public-key", "--key", "cosign.key"];
    let ended = fixture.run_with(&arguments, &[("COSIGN_PASSWORD", "guess")]).code(1);
    assert!(ended.frame().0.contains("decrypt: encrypted: decryption failed"), "{}", ended.err);
    assert!(ended.err.contains("COSIGN_PASSWORD"), "{}", ended.err);
    assert!(!ended.err.contains("guess"));
    let ended = fixture.run(&["public-key", "--key", "cosign.pub"]).code(1);
    assert!(ended.frame().0.contains("unsupported pem type: PUBLIC KEY"), "{}", ended.err);
    assert!(ended.err.contains("sign with the private one"), "{}", ended.err);
}

#[test]
fn keys_may_be_in_environment_variables() {
    let fixture = CliFixture::with_key();
    let (private, public) = (fixture.read("cosign.key"), fixture.read("cosign.pub"));
    let arguments = ["public-key", "--key", "env://MY_KEY"];
    assert_eq!(fixture.run_with(&arguments, &[("MY_KEY", &private)]).code(0).out, public);
    let ended = fixture.run(&arguments).code(1);
    assert!(ended.err.contains("env var $MY_KEY not found"), "{}", ended.err);
}

#[test]
fn imports_what_openssl_wrote() {
    let fixture = CliFixture::new();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../sealgate-keys/tests/data");
    for name in ["sec1-p384", "pkcs1-rsa2048", "pkcs8-ed25519"] {
        let file = format!("{data}/{name}.pem");
        fixture.run(&["import-key-pair", "--key", &file, "-o", name, "--yes"]).code(0);
        let key = format!("{name}.key");
        let public = fixture.run(&["public-key", "--key", &key]).code(0).out;
        assert_eq!(public, fixture.read(&format!("{name}.pub")));
    }
    // By digest, so that no request is sent before the key is opened.
    let image = fixture.name(&format!("app@sha256:{}", "0".repeat(64)));
    let ended = fixture.run(&["sign", "--key", &format!("{data}/sec1-p384.pem"), &image]).code(1);
    assert!(ended.err.contains("unsupported pem type: EC"), "{}", ended.err);
    assert!(ended.err.contains("sealgate import-key-pair"), "{}", ended.err);
}

#[test]
fn key_services_are_refused_by_name() {
    let fixture = CliFixture::new();
    for (key, name) in [
        ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "Google Cloud KMS"),
        ("hashivault://k", "HashiCorp Vault"),
        ("plugin://k", "key plugins (plugin://)"),
    ] {
        let ended = fixture.run(&["verify", "--key", key, "x/y"]).code(1);
        assert!(ended.err.contains(name), "{}", ended.err);
    }
}
