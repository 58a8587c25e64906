//! Keyless signatures by sealgate, verified by cosign: images on each kind of registry, an index
//! with one certificate for all its children, files; with tokens from a file, the environment, a
//! workflow runner, a browser and a device; and the state left behind when a service fails.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sealgate_tests::image::{Image, push_index};
use sealgate_tests::oidc::{self, SIGNED_IN};
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::proxy::{CountingProxy, FixedResponse};
use sealgate_tests::service::{Answer, Request, Service};
use sealgate_tests::{http, registries, sigstore};
use serde_json::{Value, json};

use super::support::{ADA, BOB, Signer, bundle_of, bundles_of, sandbox};
use crate::support::{TOOLS, Tool, verified_digests};

#[test]
fn images_that_we_sign_both_verify() {
    let sandbox = sandbox();
    for registry in registries::all() {
        let image = registry.image("keyless-by-us");
        let run = Tool::Sealgate.sign_as(&sandbox, ADA, "sign", &[&image.by_digest()]).ok();
        let token = sandbox.read("token");
        assert!(!run.report().contains(token.trim()), "the token is secret");
        let material = &bundle_of(&image)["verificationMaterial"];
        assert_eq!(material["tlogEntries"].as_array().map(Vec::len), Some(1));
        let stamps = &material["timestampVerificationData"]["rfc3161Timestamps"];
        assert_eq!(stamps.as_array().map(Vec::len), Some(1));
        for tool in TOOLS {
            let run = tool.verify_as(&sandbox, ADA, "verify", &[&image.by_tag()]).ok();
            assert_eq!(verified_digests(&run), [image.digest.as_str()]);
            let other = tool.verify_as(&sandbox, BOB, "verify", &[&image.by_tag()]);
            assert_ne!(other.code, 0, "{}", other.report());
        }
    }
}

#[test]
fn files_that_we_sign_both_verify() {
    let sandbox = sandbox();
    sandbox.write("app.txt", "an artifact\n");
    for who in [ADA, Signer::Workflow] {
        let sign = ["--bundle=app.json", "app.txt"];
        Tool::Sealgate.sign_as(&sandbox, who, "sign-blob", &sign).ok();
        for tool in TOOLS {
            tool.verify_as(&sandbox, who, "verify-blob", &sign).ok().says("Verified OK");
        }
    }
}

/// Signatures of several signers coexist, and each counts by itself.
#[test]
fn several_signers() {
    let sandbox = sandbox();
    for registry in registries::all() {
        let image = registry.image("keyless-several");
        Tool::Cosign.sign_as(&sandbox, ADA, "sign", &[&image.by_digest()]).ok();
        Tool::Sealgate.sign_as(&sandbox, BOB, "sign", &[&image.by_digest()]).ok();
        Tool::Sealgate.sign_as(&sandbox, Signer::Workflow, "sign", &[&image.by_digest()]).ok();
        assert_eq!(bundles_of(&image).len(), 3);
        for who in [ADA, BOB, Signer::Workflow] {
            for tool in TOOLS {
                tool.verify_as(&sandbox, who, "verify", &[&image.by_tag()]).ok();
            }
        }
    }
}

#[test]
fn one_certificate_for_an_index_and_all_below_it() {
    let sandbox = sandbox();
    for (number, registry) in registries::all().into_iter().enumerate() {
        let fulcio = counted_fulcio(&sandbox);
        let repository = format!("tests/keyless-index-by-us-{number}");
        let (index, children) = push_index(&registry.host, &repository, "v1").unwrap();
        Tool::Sealgate.sign_as(&sandbox, ADA, "sign", &["-r", &index.by_digest()]).ok();
        let asked = fulcio.take().into_iter().filter(|line| line.contains("signingCert"));
        assert_eq!(asked.count(), 1, "one certificate is asked for");
        let all: Vec<&Image> = std::iter::once(&index).chain(&children).collect();
        let certificates: Vec<_> = all.iter().map(|image| certificate(&bundle_of(image))).collect();
        assert!(certificates.iter().all(|one| *one == certificates[0]), "one certificate for all");
        for image in all {
            Tool::Cosign.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]).ok();
        }
        Tool::Sealgate.verify_as(&sandbox, ADA, "verify", &["-r", &index.by_tag()]).ok();
    }
}

fn certificate(bundle: &Value) -> String {
    let certificate = &bundle["verificationMaterial"]["certificate"]["rawBytes"];
    certificate.as_str().expect("a certificate").to_owned()
}

/// Puts a proxy for Fulcio into the signing configuration.
fn counted_fulcio(sandbox: &Sandbox) -> CountingProxy {
    let sigstore = sigstore::shared();
    let proxy = CountingProxy::start(host(&sigstore.fulcio.url)).expect("a proxy");
    let mut services = sigstore.signing_config_json();
    services["caUrls"][0]["url"] = json!(format!("http://{}", proxy.host));
    sandbox.write("services.json", services.to_string());
    proxy
}

fn host(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// A key signature is also logged and timestamped if services are configured.
#[test]
fn a_key_signature_with_a_log_and_a_timestamp() {
    let sandbox = sandbox();
    Tool::Sealgate.generate(&sandbox, "cosign");
    let services = ["--signing-config=services.json", "--trusted-root=root.json"];
    for signer in TOOLS {
        let image = registries::docker().image(&format!("keyed-{signer:?}").to_lowercase());
        let reference = image.by_digest();
        let sign = [&["sign", "-y", "--key", "cosign.key"][..], &services, &[&reference]].concat();
        signer.run(&sandbox, &sign).ok();
        let material = &bundle_of(&image)["verificationMaterial"];
        assert!(material["publicKey"].is_object());
        assert_eq!(material["tlogEntries"].as_array().map(Vec::len), Some(1));
        for tool in TOOLS {
            let verify = ["--key=cosign.pub", "--use-signed-timestamps", &reference];
            tool.verify_wanting(&sandbox, "verify", &verify).ok();
        }
    }
}

/// A given trust root requires a log entry, also for key signatures.
#[test]
fn a_key_signature_without_a_log() {
    let sandbox = sandbox();
    Tool::Sealgate.generate(&sandbox, "cosign");
    let image = registries::docker().image("keyed-unlogged");
    let reference = image.by_digest();
    let signed = sandbox.sealgate(&["sign", "-y", "--key", "cosign.key", &reference]);
    signed.ok().says("No transparency log has this signature").says("--insecure-ignore-tlog");
    // The message also holds for real cosign.
    let cosign = |more: &[&str]| {
        let arguments = [&["--key=cosign.pub"], more, &[reference.as_str()]].concat();
        Tool::Cosign.verify_wanting(&sandbox, "verify", &arguments)
    };
    cosign(&[]).fails_with("not enough verified log entries from transparency log");
    cosign(&["--insecure-ignore-tlog"]).ok();
    let verify = |more: &[&str]| {
        let arguments = [&["--key=cosign.pub"], more, &[reference.as_str()]].concat();
        Tool::Sealgate.verify_wanting(&sandbox, "verify", &arguments)
    };
    verify(&[]).exits(12).says("[not-logged]").says("verify with --insecure-ignore-tlog");
    verify(&["--insecure-ignore-tlog"]).ok();
    verify(&["--insecure-ignore-tlog", "--use-signed-timestamps"]).exits(12).says("[no-timestamp]");
}

#[test]
fn tokens_from_the_environment() {
    let issuer = &sigstore::shared().issuer;
    let signs = |variables: &[(&str, String)], who: Signer| {
        let sandbox = sandbox();
        sandbox.write("app.txt", "an artifact\n");
        let sandbox = variables.iter().fold(sandbox, |s, (name, value)| s.with(name, value));
        sandbox.sealgate(&sign_without_token(&[])).ok();
        let check = ["--bundle=app.json", "app.txt"];
        Tool::Cosign.verify_as(&sandbox, who, "verify-blob", &check).ok();
    };
    signs(&[("SIGSTORE_ID_TOKEN", issuer.token("ada@example.com"))], ADA);
    let runner = json!({ "value": issuer.workflow_token() }).to_string();
    let runner =
        FixedResponse::start("200 OK", "Content-Type: application/json\r\n", &runner).unwrap();
    let url = format!("http://{}/token?api-version=2", runner.host);
    let variables = [
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "the runner's own secret".to_owned()),
    ];
    signs(&variables, Signer::Workflow);
    assert_eq!(runner.take(), ["GET /token?api-version=2&audience=sigstore"]);
}

fn sign_without_token<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "sign-blob",
        "-y",
        "--trusted-root=root.json",
        "--signing-config=services.json",
        "--bundle=app.json",
    ];
    [&common[..], more, &["app.txt"]].concat()
}

#[test]
fn a_login_by_a_device() {
    let sandbox = sandbox();
    sandbox.write("app.txt", "an artifact\n");
    let device = ["--fulcio-auth-flow=device", "--oidc-disable-ambient-providers"];
    sandbox.sealgate(&sign_without_token(&device)).ok().says("ABCD-EFGH");
    let check = ["--bundle=app.json", "app.txt"];
    Tool::Cosign.verify_as(&sandbox, Signer::Person(SIGNED_IN), "verify-blob", &check).ok();
}

/// The browser is a script that records the page; the test acts as the user.
#[test]
fn a_login_by_a_browser() {
    let sandbox = sandbox();
    sandbox.write("app.txt", "an artifact\n");
    let browser = sandbox
        .write("bin/xdg-open", "#!/bin/sh\nprintf %s \"$1\" >page.new && mv page.new page\n");
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", sandbox.path("bin").display());
    let sandbox = sandbox.with("PATH", path).with("DISPLAY", ":0");
    let page = sandbox.path("page");
    let person = std::thread::spawn(move || {
        wait_until(Duration::from_secs(30), || page.is_file()).expect("a page is opened");
        let page = std::fs::read_to_string(&page).unwrap();
        let back = visit(&page);
        visit(back.header("location").expect("the issuer leads back"))
    });
    let browser = ["--fulcio-auth-flow=normal", "--oidc-disable-ambient-providers"];
    sandbox.sealgate(&sign_without_token(&browser)).ok();
    assert_eq!(person.join().unwrap().status, 200, "the browser is told that all is well");
    let check = ["--bundle=app.json", "app.txt"];
    Tool::Cosign.verify_as(&sandbox, Signer::Person(SIGNED_IN), "verify-blob", &check).ok();
}

fn visit(page: &str) -> http::Response {
    let (host, path) = host(page).split_once('/').expect("a page has a path");
    http::get(host, &format!("/{path}"), "text/html").expect("the page")
}

#[test]
fn tokens_that_fulcio_does_not_take() {
    let sandbox = sandbox();
    sandbox.write("app.txt", "an artifact\n");
    let issuer = &sigstore::shared().issuer;
    let person = oidc::person(&issuer.people(), "ada@example.com");
    let with = |claim: &str, value: Value| {
        let mut claims = person.clone();
        claims[claim] = value;
        issuer.sign(claims)
    };
    let tokens = [
        ("expired", with("exp", json!(1_700_000_000))),
        ("for somebody else", with("aud", json!("another-service"))),
        ("of an issuer that nobody knows", with("iss", json!("http://127.0.0.1:1/people"))),
        ("of an address that was not checked", with("email_verified", json!(false))),
        ("changed", issuer.token("ada@example.com") + "AAAA"),
    ];
    for (name, token) in tokens {
        sandbox.write("token", &token);
        let run = sandbox.sealgate(&sign_without_token(&["--identity-token=token"]));
        assert_ne!(run.code, 0, "{name}:\n{}", run.report());
        assert!(!sandbox.path("app.json").exists(), "{name}: nothing is written");
        assert!(!run.report().contains(&token), "{name}: the token is secret\n{}", run.report());
    }
}

/// Nothing is left half-written; a signature that could not be logged is reported, kept, and
/// completed later.
#[test]
fn services_that_do_not_answer() {
    let sandbox = sandbox();
    let registry = registries::docker();
    let sick = FixedResponse::start("503 Service Unavailable", "", "").unwrap();
    for part in ["caUrls", "tsaUrls", "rekorTlogUrls"] {
        let mut services = sigstore::shared().signing_config_json();
        services[part][0]["url"] = json!(format!("http://{}", sick.host));
        sandbox.write("services.json", services.to_string());
        let image = registry.image(&format!("keyless-without-{part}").to_lowercase());
        let run = Tool::Sealgate.sign_as(&sandbox, ADA, "sign", &[&image.by_digest()]);
        assert_ne!(run.code, 0, "{part}:\n{}", run.report());
        assert!(run.stderr.contains(&sick.host), "{part}: says who\n{}", run.report());
        assert!(!sick.take().is_empty(), "{part} was asked");
        assert_eq!(bundles_of(&image).len(), 0, "{part}");
    }
}

#[test]
fn a_signature_that_was_not_logged_is_completed_later() {
    let sandbox = sandbox();
    let image = registries::docker().image("keyless-resumed");
    let (log, is_well) = limited_proxy(&sigstore::shared().rekor.url);
    let mut services = sigstore::shared().signing_config_json();
    services["rekorTlogUrls"][0]["url"] = json!(format!("http://{log}"));
    sandbox.write("services.json", services.to_string());
    let run = Tool::Sealgate.sign_as(&sandbox, ADA, "sign", &[&image.by_digest()]);
    let run = run.fails_with("to continue: ");
    assert_eq!(bundles_of(&image).len(), 0);
    // Without a token: the signer is already certified.
    let command = to_go_on(&run.stderr);
    sandbox.sealgate(&command).fails_with("503");
    is_well.store(1, Ordering::Relaxed);
    sandbox.sealgate(&command).ok();
    for tool in TOOLS {
        tool.verify_as(&sandbox, ADA, "verify", &[&image.by_tag()]).ok();
    }
}

/// An index is signed completely or not at all, and existing signatures are not created again.
#[test]
fn an_index_that_a_log_takes_in_part() {
    let sandbox = sandbox();
    for (number, registry) in registries::all().into_iter().enumerate() {
        let repository = format!("tests/keyless-index-in-part-{number}");
        let (index, children) = push_index(&registry.host, &repository, "v1").unwrap();
        let (log, is_well) = limited_proxy(&sigstore::shared().rekor.url);
        // Two of three entries, and then no more.
        is_well.store(2, Ordering::Relaxed);
        let mut services = sigstore::shared().signing_config_json();
        services["rekorTlogUrls"][0]["url"] = json!(format!("http://{log}"));
        sandbox.write("services.json", services.to_string());
        let sign = ["-r", &index.by_digest()];
        let run = Tool::Sealgate.sign_as(&sandbox, ADA, "sign", &sign);
        let run = run.fails_with("to continue: ");
        let all: Vec<&Image> = std::iter::once(&index).chain(&children).collect();
        assert!(all.iter().all(|image| bundles_of(image).is_empty()), "nothing is stored");
        is_well.store(1, Ordering::Relaxed);
        sandbox.sealgate(&to_go_on(&run.stderr)).ok();
        let certificates: Vec<_> = all.iter().map(|image| certificate(&bundle_of(image))).collect();
        assert!(certificates.iter().all(|one| *one == certificates[0]), "one certificate for all");
        for image in all {
            Tool::Cosign.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]).ok();
        }
    }
}

/// Arguments of the command that a failure suggests.
fn to_go_on(stderr: &str) -> Vec<&str> {
    let command = stderr.lines().find_map(|line| line.split_once("to continue: "));
    let mut words: Vec<&str> = command.expect("a command").1.split(' ').skip(1).collect();
    words.push("--trusted-root=root.json");
    words
}

/// Proxy for a service that answers only the set number of requests.
fn limited_proxy(upstream: &str) -> (String, Arc<AtomicUsize>) {
    let service = Service::bind().expect("a port");
    let address = service.host.clone();
    let upstream = host(upstream).to_owned();
    let is_well = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&is_well);
    service.answer_with(move |request| {
        let less = |left: usize| left.checked_sub(1);
        let (status, body) = match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => ("201 Created", pass_on(&upstream, request)),
            Err(_) => ("503 Service Unavailable", Vec::new()),
        };
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Answer { status, headers, body }
    });
    (address, is_well)
}

fn pass_on(upstream: &str, request: &Request) -> Vec<u8> {
    let json = [("Content-Type", "application/json"), ("Accept", "application/json")];
    let answer = http::request(&request.method, upstream, &request.path, &json, &request.body);
    let answer = answer.expect("an answer of the service");
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.body
}
