//! Tests of flags: Go's syntax, unsupported flags, program names, help.

use crate::fixture::CliFixture;

#[test]
fn unsupported_flags_are_rejected_by_name() {
    let fixture = CliFixture::with_key();
    let image = fixture.name("app:v1");
    for flag in ["--sk", "--attachment=sbom", "--payload=p", "--k8s-keychain"] {
        let ended = fixture.run(&["sign", "--key", "cosign.key", flag, &image]).code(1);
        let first = ended.frame().0;
        assert!(first.contains("is not supported in this version of sealgate"), "{flag}: {first}");
    }
    for (flag, why) in [
        ("--certificate-oidc-issuer=https://issuer.example", "cannot be used with --key"),
        ("--certificate-github-workflow-name=CI", "cannot be used with --key"),
        ("--ca-roots=roots.pem", "cannot be used with --key"),
        ("--certificate-identity=me", "exactly one of: key reference (--key) or certificate"),
        ("--trusted-root=root.json", "loading trusted root: root.json: "),
        ("--at=tomorrow", "\"tomorrow\" is no time"),
        ("--at=9000-01-01T00:00:00Z", "that time has not come yet"),
        ("--signature=s", "is not supported in this version of sealgate"),
        ("--experimental-oci11", "is not supported in this version of sealgate"),
    ] {
        let ended = fixture.run(&["verify", "--key", "cosign.pub", flag, &image]).code(1);
        let first = ended.frame().0;
        assert!(first.contains(why), "{flag}: {first}");
    }
}

#[test]
fn flags_that_request_the_default_are_accepted() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    fixture.write(
        "config.json",
        r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}"#,
    );
    let image = fixture.name("app:v1");
    let sign = [
        "sign",
        "-key",
        "cosign.key",
        "--tlog-upload=false",
        "--use-signing-config=false",
        "--signing-config",
        "config.json",
        "--new-bundle-format=true",
        "--yes",
        "--registry-referrers-mode=oci-1-1",
        "--allow-http-registry",
        &image,
    ];
    let ended = fixture.run(&sign).code(0);
    assert!(ended.err.starts_with("WARNING: the -key flag is deprecated"), "{}", ended.err);
    let verify = [
        "verify",
        "--key",
        "cosign.pub",
        "--insecure-ignore-tlog=true",
        "--private-infrastructure",
        "--rekor-url=https://rekor.example",
        "--offline",
        "--insecure-ignore-sct",
        "--new-bundle-format",
        "--max-workers",
        "3",
        "--signature-digest-algorithm",
        "sha256",
        &image,
    ];
    fixture.run(&verify).code(0);
    fixture
        .run(&["verify", "--key", "cosign.pub", "--signature-digest-algorithm", "sha512", &image])
        .code(12);
}

#[test]
fn flags_may_come_from_variables() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    let variables = [("COSIGN_KEY", "cosign.key"), ("COSIGN_YES", "true"), ("COSIGN_OUTPUT", "")];
    fixture.run_with(&["sign", &image], &variables).code(0);
    let variables = [("COSIGN_KEY", "cosign.key")];
    fixture.run_with(&["verify", "--key", "cosign.pub", &image], &variables).code(0);
    fixture
        .run_with(&["verify", "--key", "cosign.pub", &image], &[("COSIGN_RECURSIVE", "maybe")])
        .code(1);
}

#[test]
fn an_identity_is_needed() {
    let fixture = CliFixture::new();
    let ended = fixture.run(&["verify", "x/y"]).code(1);
    let line = "--certificate-identity or --certificate-identity-regexp is required for verification in keyless mode";
    assert_eq!(ended.frame().0, format!("Error: {line}"));
}

#[test]
fn unknown_words_and_flags() {
    let fixture = CliFixture::new();
    assert_eq!(fixture.run(&["verify", "--nope"]).code(1).frame().0, "Error: unknown flag: --nope");
    let ended = fixture.run(&["frobnicate"]).code(1);
    assert_eq!(ended.frame().0, "Error: unknown command \"frobnicate\" for \"sealgate\"");
    let ended = fixture.run(&["verfy", "x"]).code(1);
    assert!(ended.err.contains("did you mean `sealgate verify`?"), "{}", ended.err);
    let ended = fixture.run(&["sgin", "x"]).code(1);
    assert!(ended.err.contains("did you mean `sealgate sign`?"), "{}", ended.err);
    let ended = fixture.run(&["sign", "--ky", "k", "x"]).code(1);
    assert_eq!(ended.frame().0, "Error: unknown flag: --ky");
    assert!(ended.err.contains("did you mean `--key`?"), "{}", ended.err);
    let ended = fixture.run(&["verify", "--key", "k"]).code(1);
    assert!(ended.err.contains("see `sealgate verify --help`"), "{}", ended.err);
    let ended = fixture.run(&["attest", "--key", "k", "x/y"]).code(1);
    assert!(ended.frame().0.contains("\"attest\" is not supported"), "{}", ended.err);
}

/// Command lines, and the first line of cosign's error.
#[test]
fn unreadable_input_has_cosigns_message() {
    let fixture = CliFixture::new();
    for (words, told) in [
        ("verify", "requires at least 1 arg(s), only received 0"),
        ("sign --key k", "requires at least 1 arg(s), only received 0"),
        ("sign-blob", "requires at least 1 arg(s), only received 0"),
        ("tree", "accepts 1 arg(s), received 0"),
        ("copy x/y", "accepts 2 arg(s), received 1"),
        ("save x/y", "required flag(s) \"dir\" not set"),
        ("verify x/y --key", "flag needs an argument: --key"),
        ("verify x/y --timeout", "flag needs an argument: -t, --timeout"),
        ("sign -Z x/y", "unknown shorthand flag: 'Z' in -Z"),
        ("copy x/y x/Y:v1", "could not parse reference: x/Y:v1"),
        ("completion tcsh", "invalid argument \"tcsh\" for \"sealgate completion\""),
        (
            "sign -r=maybe x/y",
            "invalid argument \"maybe\" for \"-r, --recursive\" flag: strconv.ParseBool: parsing \
             \"maybe\": invalid syntax",
        ),
        (
            "sign -t 5 x/y",
            "invalid argument \"5\" for \"-t, --timeout\" flag: time: missing unit in duration \
             \"5\", want something like 5s",
        ),
        ("attach frob", "unknown command \"frob\" for \"sealgate attach\""),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        let ended = fixture.run(&words).code(1);
        assert_eq!(ended.frame().0, format!("Error: {told}"), "{words:?}");
        let see = format!("see `sealgate {}", words[0]);
        assert!(ended.err.contains(&see), "{words:?}: {}", ended.err);
    }
    let ended = fixture.run(&["download", "sbom", "x/y"]).code(1);
    assert!(ended.frame().0.contains("\"download sbom\" is not supported"), "{}", ended.err);
}

#[test]
fn help_is_on_standard_output() {
    let fixture = CliFixture::new();
    let asked = fixture.run(&["sign", "--help"]).code(0);
    let named = fixture.run(&["help", "sign"]).code(0);
    assert_eq!(named.out, asked.out);
    for words in [&[][..], &["help"], &["attach"]] {
        let ended = fixture.run(words).code(0);
        assert!(ended.out.contains("Usage: sealgate "), "{words:?}: {}", ended.out);
        assert_eq!(ended.err, "", "{words:?}");
    }
}

#[test]
fn an_invalid_reference_is_shown_with_the_reason() {
    let fixture = CliFixture::with_key();
    for verb in [["sign", "cosign.key"], ["verify", "cosign.pub"]] {
        let ended = fixture.run(&[verb[0], "--key", verb[1], "x.example/App:v1"]).code(1);
        let first = ended.frame().0;
        let told = "parsing reference: could not parse reference: x.example/App:v1";
        assert!(first.ends_with(told), "{first}");
        assert!(ended.err.contains("\n  repository can only contain"), "{}", ended.err);
    }
}

#[test]
fn called_as_cosign_it_uses_that_name() {
    let fixture = CliFixture::new();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sealgate"), fixture.path("cosign")).unwrap();
    let run = |arguments: &[&str]| {
        std::process::Command::new(fixture.path("cosign")).args(arguments).output().unwrap()
    };
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Usage: cosign "), "{help}");
    let unknown = String::from_utf8(run(&["frobnicate"]).stderr).unwrap();
    assert!(unknown.contains("for \"cosign\""), "{unknown}");
    let version: serde_json::Value =
        serde_json::from_slice(&run(&["version", "--json"]).stdout).unwrap();
    assert_eq!(version["gitVersion"], version["cosignVersion"], "scripts choose flags by it");
    assert_eq!(version["name"], "sealgate");
    assert_eq!(version["sealgateVersion"], concat!("v", env!("CARGO_PKG_VERSION")));
    let script = String::from_utf8(run(&["completion", "bash"]).stdout).unwrap();
    assert!(script.contains("_cosign"), "{}", &script[..200]);
}

#[test]
fn version_env_completion_man() {
    let fixture = CliFixture::new();
    let version = fixture.run(&["version", "--json"]).code(0).json();
    assert_eq!(version["gitVersion"], concat!("v", env!("CARGO_PKG_VERSION")));
    assert!(fixture.run(&["version"]).code(0).out.contains("GitVersion: "));

    let secret = [("COSIGN_REGISTRY_TOKEN", "t0ken")];
    let env = fixture.run_with(&["env"], &secret).code(0).out;
    assert!(env.contains("COSIGN_PASSWORD=******\n"), "{env}");
    assert!(env.contains("COSIGN_REGISTRY_TOKEN=******\n"), "{env}");
    let shown = fixture.run_with(&["env", "--show-sensitive-values"], &secret).code(0).out;
    assert!(shown.contains("COSIGN_REGISTRY_TOKEN=t0ken\n"), "{shown}");

    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(fixture.run(&["completion", shell]).code(0).out.contains("verify-blob"), "{shell}");
    }
    assert!(fixture.run(&["man"]).code(0).out.contains(".TH sealgate 1"));
    fixture.run(&["man", "--dir", "man"]).code(0);
    assert!(fixture.read("man/sealgate-verify.1").contains("insecure"), "flags are in the page");
}

#[test]
fn output_file_takes_standard_output() {
    let fixture = CliFixture::new();
    let ended = fixture.run(&["version", "--output-file", "out"]).code(0);
    assert_eq!(ended.out, "");
    assert!(fixture.read("out").contains("GitVersion: "));
}

#[test]
fn a_timeout_is_respected() {
    let fixture = CliFixture::with_key();
    let started = std::time::Instant::now();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/app:v1", held.local_addr().unwrap());
    let arguments = ["verify", "--key", "cosign.pub", "-t", "300ms", &image];
    let ended = fixture.run(&arguments).code(1);
    assert!(ended.frame().0.contains("context deadline exceeded"), "{}", ended.err);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn install_prints_what_kubectl_applies() {
    let fixture = CliFixture::new();
    let yaml = fixture.run(&["install", "--dry-run", "-o", "yaml"]).code(0).out;
    for part in ["kind: CustomResourceDefinition", "policy.sigstore.dev/include", "cosign-system"] {
        assert!(yaml.contains(part), "{part}");
    }
    let named = fixture.run(&["install", "--dry-run", "--image", "reg.example/gate:1"]).code(0);
    assert!(named.out.contains("image: reg.example/gate:1"), "{}", named.out);
    assert_eq!(named.err, "");
    let list = fixture.run(&["install", "--dry-run", "-o", "json"]).code(0);
    assert!(list.err.contains("name one that your cluster can pull with --image"), "{}", list.err);
    let list = list.json();
    assert_eq!(list["kind"], "List");
    fixture.run(&["install", "--dry-run", "--gate-url", "https://gate:8443"]).code(1);
    let plan = fixture.run(&["uninstall", "--dry-run"]).code(0).err;
    let first = plan.lines().next().unwrap();
    assert!(first.contains("WebhookConfiguration"), "webhooks go first: {plan}");
}

/// An unusable TLS file is named, and one without a certificate is never treated as not given.
#[test]
fn an_unusable_tls_file_is_named() {
    let fixture = CliFixture::with_key();
    let image = fixture.name("app:v1");
    let pem = |label: &str| format!("-----BEGIN {label}-----\nMTIz\n-----END {label}-----\n");
    fixture.write("empty.pem", "");
    fixture.write("text.pem", "404: Not Found\n");
    fixture.write("junk.pem", &pem("CERTIFICATE"));
    fixture.write("key.pem", &pem("PRIVATE KEY"));
    fixture.write("app.txt", "x");
    fixture.write("policy.yaml", "");
    let verify = ["verify", "--key", "cosign.pub", &image];
    let url = "--timestamp-server-url=http://127.0.0.1:1/";
    let stamp = ["sign-blob", "--key", "cosign.key", "-y", "--bundle=b.json", url, "app.txt"];
    let serve = ["serve", "--self-signed", "--listen=127.0.0.1:0", "--policies=."];
    for file in ["missing.pem", "empty.pem", "text.pem", "junk.pem", "key.pem"] {
        for (command, flag) in [
            (&verify[..], "--registry-cacert"),
            (&serve, "--registry-cacert"),
            (&serve, "--registry-ca-bundle"),
            (&["install"], "--registry-ca-bundle"),
            (&serve, "--client-ca"),
            (&["install"], "--client-ca"),
            (&stamp, "--timestamp-client-cacert"),
        ] {
            let ended = fixture.run(&[command, &[flag, file]].concat()).code(1);
            assert!(ended.err.contains(file), "{flag}: {}", ended.err);
        }
        for (flag, other) in [
            ("--registry-client-cert", "--registry-client-key"),
            ("--timestamp-client-cert", "--timestamp-client-key"),
        ] {
            let command = if flag.starts_with("--registry") { &verify[..] } else { &stamp };
            let ended = fixture.run(&[command, &[flag, file, other, file]].concat()).code(1);
            assert!(ended.err.contains(file), "{flag}: {}", ended.err);
        }
    }
}

/// The error about an unreachable timestamp authority does not mention a registry.
#[test]
fn a_service_that_fails_has_the_remedy_of_a_service() {
    let fixture = CliFixture::with_key();
    fixture.write("app.txt", "x");
    let url = "--timestamp-server-url=http://127.0.0.1:1/";
    let stamp = ["sign-blob", "--key", "cosign.key", "-y", "--bundle=b.json", url, "app.txt"];
    let ended = fixture.run(&stamp).code(1);
    assert!(ended.err.contains("(unreachable)"), "{}", ended.err);
    assert!(ended.err.contains("check the service's address"), "{}", ended.err);
    assert!(!ended.err.contains("registry"), "{}", ended.err);
}
