//! Gate with a directory of policies and no cluster.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealgate_tests::certificates::Authority;
use sealgate_tests::gate::{Gate, GateOptions};
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::proxy::CountingProxy;
use sealgate_tests::registries::{self, USER};
use sealgate_tests::service::{Answer, Service, value};
use serde_json::{Value, json};

use super::pod_spec;
use crate::support::{Format, Tool, sandbox_with_key};

fn policy(name: &str, host: &str, key: &str) -> String {
    json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": name },
        "spec": {
            "images": [{ "glob": format!("{host}/**") }],
            "authorities": [{ "key": { "data": key } }],
        },
    })
    .to_string()
}

fn pod(image: &str) -> Value {
    let metadata = json!({ "name": "app", "namespace": "default" });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(image) })
}

/// Gate with one policy for all images of one registry.
fn gate(name: &str, sandbox: &Sandbox, host: &str) -> Gate {
    let key = sandbox.read("cosign.pub");
    sandbox.write("policies/policy.yaml", policy(name, host, &key));
    Gate::with_folder(name, &sandbox.path("policies")).unwrap()
}

#[test]
fn it_judges_without_a_cluster() {
    let sandbox = sandbox_with_key();
    let registry = registries::docker();
    let gate = gate("folder-judges", &sandbox, &registry.host);
    let image = registry.image("folder-signed");
    Tool::Cosign.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
    let answer = gate.review("/validate", &pod(&image.by_digest())).unwrap();
    assert_eq!(answer["allowed"], true, "{answer}");
    let unsigned = registry.image("folder-unsigned");
    let answer = gate.review("/validate", &pod(&unsigned.by_digest())).unwrap();
    assert_eq!(answer["allowed"], false, "{answer}");
    let said = answer["status"]["message"].as_str().unwrap();
    let line = "validation failed: failed policy: folder-judges: spec.containers[0].image";
    assert_eq!(said.lines().next(), Some(line), "{said}");
}

#[test]
fn the_folder_is_read_again_when_it_changes() {
    let sandbox = sandbox_with_key();
    Tool::Sealgate.generate(&sandbox, "second");
    let registry = registries::docker();
    let gate = gate("folder-changes", &sandbox, &registry.host);
    let image = registry.image("folder-changes");
    Tool::Sealgate.sign(&sandbox, Format::Bundle, "second", &image.by_digest(), &[]).ok();
    let allowed = || gate.review("/validate", &pod(&image.by_digest())).unwrap()["allowed"] == true;
    assert!(!allowed());
    let second = policy("folder-changes", &registry.host, &sandbox.read("second.pub"));
    sandbox.write("policies/policy.yaml", second);
    wait_until(Duration::from_secs(10), allowed).expect("the new policy is read");
    // An unreadable file must not disable enforcement.
    sandbox.write("policies/policy.yaml", "spec: [");
    let told = || gate.log().contains("a policy cannot be used");
    wait_until(Duration::from_secs(10), told).expect("the file is told of");
    let unsigned = registry.image("folder-changes-unsigned");
    let answer = gate.review("/validate", &pod(&unsigned.by_digest())).unwrap();
    assert_eq!(answer["allowed"], false, "{answer}");
}

/// Error output of a credential helper is for the operator only, and its standard output is never
/// shown.
#[test]
fn a_denial_does_not_contain_a_credential_helpers_output() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = sandbox_with_key();
    let registry = Service::bind().unwrap();
    let host = registry.host.clone();
    registry.answer_with(|_| Answer::unauthorized("Basic realm=\"x\""));
    let policy = policy("folder-helper", &host, &sandbox.read("cosign.pub"));
    sandbox.write("policies/policy.yaml", policy);
    let script = "#!/bin/sh\necho 'oops hunter2'; echo 'not logged in' >&2; exit 1\n";
    let path = sandbox.write("bin/docker-credential-tests", script);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("docker/config.json", json!({ "credsStore": "tests" }).to_string());
    let search = std::env::var("PATH").unwrap_or_default();
    let environment = vec![
        ("DOCKER_CONFIG", sandbox.path("docker").display().to_string()),
        ("PATH", format!("{}:{search}", sandbox.path("bin").display())),
    ];
    let setting = GateOptions { environment, ..GateOptions::default() };
    let gate = Gate::with_folder_and("folder-helper", &sandbox.path("policies"), setting).unwrap();
    let image = format!("{host}/app@sha256:{}", "a".repeat(64));
    let answer = gate.review("/validate", &pod(&image)).unwrap();
    assert_eq!(answer["allowed"], false, "{answer}");
    let said = answer.to_string();
    assert!(said.contains("credential helper"), "{said}");
    let log = gate.log();
    for text in [&said, &log] {
        assert!(!text.contains("oops") && !text.contains("hunter2"), "{text}");
    }
    assert!(!said.contains("not logged in"), "{said}");
    assert!(log.contains("not logged in"), "{log}");
}

#[test]
fn health_and_metrics_endpoints_respond() {
    let sandbox = sandbox_with_key();
    let gate = gate("folder-pages", &sandbox, "registry.example.com");
    for page in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(gate.get(page).unwrap().status, 200, "{page}");
    }
}

/// curl reports the stream reset instead of the response if it arrives before the body has been
/// sent.
#[test]
fn a_refusal_arrives_also_where_the_body_was_not_wanted() {
    let sandbox = sandbox_with_key();
    let gate = gate("folder-refusals", &sandbox, "registry.example.com");
    sandbox.write("body", vec![b' '; 3 << 20]);
    sandbox.write("too-large", vec![b' '; 9 << 20]);
    let (json, none) = ("Content-Type: application/json", "Content-Type:");
    for version in ["--http1.1", "--http2"] {
        for (method, path, kind, body, expected) in [
            ("POST", "/validate", none, "@body", "415"),
            ("POST", "/validate", json, "@too-large", "413"),
            ("POST", "/nowhere", json, "@body", "404"),
            ("POST", "/readyz", json, "@body", "405"),
            ("PUT", "/validate", json, "@body", "405"),
        ] {
            let url = format!("https://127.0.0.1:{}{path}", gate.port);
            let asked = ["-sSk", version, "-X", method, "-H", kind, "--data-binary", body, &url];
            let run = sandbox.program("curl", &[&asked[..], &["-w", "%{http_code}"]].concat());
            assert!(run.ok().stdout.ends_with(expected), "{version} {method} {path}: {expected}");
        }
    }
}

#[test]
fn a_cold_admission_takes_three_requests_at_most() {
    let sandbox = sandbox_with_key();
    for (number, registry) in [registries::docker(), registries::referrers()].iter().enumerate() {
        let proxy = CountingProxy::start(&registry.host).unwrap();
        let name = format!("folder-cold-{number}");
        let gate = gate(&name, &sandbox, &proxy.host);
        let image = |name: &str| {
            let image = registry.image(name);
            Tool::Cosign.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
            image.at(&proxy.host)
        };
        // The first request to a registry may probe its capabilities.
        let first = gate.review("/validate", &pod(&image("cold-first").by_digest())).unwrap();
        assert_eq!(first["allowed"], true, "{first}");
        proxy.take();
        let image = image("cold-second");
        let answer = gate.review("/validate", &pod(&image.by_digest())).unwrap();
        assert_eq!(answer["allowed"], true, "{answer}");
        let asked = proxy.take();
        assert!(asked.len() <= 3, "{} requests: {asked:#?}", asked.len());
        // A warm admission sends no requests.
        gate.review("/validate", &pod(&image.by_digest())).unwrap();
        assert_eq!(proxy.take(), Vec::<String>::new());
    }
}

/// The creator of a pod names the registry: the gate's own password is sent only to the registry it
/// is for.
#[test]
fn its_own_credentials_go_to_their_registry_only() {
    let (user, password) = USER;
    let sandbox = sandbox_with_key();
    let registry = registries::docker_with_password();
    let open = registries::docker().image("folder-own-credentials");
    let image = open.at(&registry.host);
    let login = ["login", &registry.host, "-u", user, "-p", password];
    sandbox.sealgate(&login).ok();
    sandbox.sealgate(&["copy", &open.by_tag(), &image.by_tag()]).ok();
    Tool::Cosign.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
    let service = Service::bind().unwrap();
    let (other, told) = (service.host.clone(), Arc::new(Mutex::new(Vec::new())));
    let heard = Arc::clone(&told);
    service.answer_with(move |request| {
        let authorization = value(&request.headers, "authorization").map(str::to_owned);
        heard.lock().unwrap().push(authorization);
        Answer::unauthorized("Basic realm=\"tell me\"")
    });
    let key = sandbox.read("cosign.pub");
    sandbox.write("policies/own.yaml", policy("own", &registry.host, &key));
    sandbox.write("policies/other.yaml", policy("other", &other, &key));
    let flag = |name: &str, host: &str, value: &str| format!("--registry-{name}={host}={value}");
    let own = [flag("username", &registry.host, user), flag("password", &registry.host, password)];
    let setting = GateOptions { arguments: own.to_vec(), ..GateOptions::default() };
    let gate = Gate::with_folder_and("folder-own-credentials", &sandbox.path("policies"), setting);
    let gate = gate.unwrap();
    let answer = gate.review("/validate", &pod(&image.by_digest())).unwrap();
    assert_eq!(answer["allowed"], true, "{answer}");
    let answer = gate.review("/validate", &pod(&image.at(&other).by_digest())).unwrap();
    assert_eq!(answer["allowed"], false, "{answer}");
    let told = told.lock().unwrap();
    assert!(!told.is_empty() && told.iter().all(Option::is_none), "{told:?}");

    let bare = [format!("--registry-username={user}"), format!("--registry-password={password}")];
    let serve = ["serve", "--policies", "policies", "--self-signed"].map(str::to_owned);
    let run = sandbox.sealgate(&[&serve[..], &bare].concat()).exits(1);
    run.says("--registry-username must name the registry that it is for").says_no(password);
}

/// The creator of a pod must not learn from the denial which hosts and ports the gate can reach. The
/// log says why.
#[test]
fn registries_that_give_no_answer_are_told_alike() {
    let sandbox = sandbox_with_key();
    let closed = format!("127.0.0.1:{}", sealgate_tests::process::free_port().unwrap());
    // Connections are accepted by the kernel, and no request is read.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = Authority::new("tests unknown ca").unwrap();
    let files = authority.issue(&sandbox.path(""), "registry").unwrap();
    let unknown_ca = registries::docker_with_tls("folder-unknown-ca", &files).unwrap();
    let plain = registries::docker_without_tls("folder-plain-http").unwrap();
    let registries = [
        (closed, "(unreachable)"),
        (silent.local_addr().unwrap().to_string(), "(timeout)"),
        (unknown_ca.host.clone(), "(tls)"),
        (plain.host.clone(), "(tls)"),
        ("169.254.169.254".to_owned(), "(address-not-allowed)"),
    ];
    let key = sandbox.read("cosign.pub");
    for (number, (host, _)) in registries.iter().enumerate() {
        let policy = policy(&format!("alike-{number}"), host, &key);
        sandbox.write(&format!("policies/{number}.yaml"), policy);
    }
    let gate = Gate::with_folder("folder-alike", &sandbox.path("policies")).unwrap();
    let denial = |image: &str, number: usize, host: &str| {
        let answer = gate.review("/validate?timeout=4s", &pod(image)).unwrap();
        assert_eq!(answer["allowed"], false, "{answer}");
        let message = answer["status"]["message"].as_str().unwrap();
        message.replace(host, "HOST").replace(&format!("alike-{number}"), "alike")
    };
    let digest = format!("sha256:{}", "0".repeat(64));
    let denials = registries.iter().enumerate().map(|(number, (host, _))| {
        let by_digest = denial(&format!("{host}/team/app@{digest}"), number, host);
        (by_digest, denial(&format!("{host}/team/app:v1"), number, host))
    });
    let denials: Vec<(String, String)> = denials.collect();
    for (by_digest, by_tag) in &denials {
        let sentence = "[unreachable] HOST: could not be reached; the gate's log has the cause";
        assert!(by_digest.contains(sentence), "{by_digest}");
        assert_eq!((by_digest, by_tag), (&denials[0].0, &denials[0].1));
    }
    let log = gate.log();
    for (host, cause) in &registries {
        let logged = |line: &str| line.contains(host.as_str()) && line.contains(cause);
        assert!(log.lines().any(logged), "{host} {cause}\n{log}");
    }
}

/// Every gate of these tests replays its records when it ends (`records.rs`). Here, with other
/// policies, and with a registry that counts its requests.
#[test]
fn a_decision_is_replayed_by_other_policies_without_a_network() {
    let sandbox = sandbox_with_key();
    Tool::Sealgate.generate(&sandbox, "second");
    let registry = registries::docker();
    let proxy = CountingProxy::start(&registry.host).unwrap();
    let gate = gate("folder-replay", &sandbox, &proxy.host);
    let image = registry.image("folder-replay");
    Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
    let image = image.at(&proxy.host).by_digest();
    let answer = gate.review("/validate", &pod(&image)).unwrap();
    assert_eq!(answer["allowed"], true, "{answer}");
    wait_until(Duration::from_secs(5), || gate.records().count() == 1).unwrap();
    let records = gate.records().path().display().to_string();
    proxy.take();
    let prints = |arguments: &[&str], code, texts: &[&str]| {
        let run = sandbox.sealgate(arguments).exits(code);
        for text in texts {
            assert!(run.stdout.contains(text), "{text}: {}", run.report());
        }
    };
    let same = ["admitted", "same decision as recorded"];
    prints(&["replay", &records], 0, &same);
    let policies = sandbox.path("policies").display().to_string();
    let by_policies = ["replay", "--policies", &policies, &records];
    prints(&by_policies, 0, &same);
    // The other key never signed, and nobody is asked whether it has by now.
    let second = policy("folder-replay", &proxy.host, &sandbox.read("second.pub"));
    sandbox.write("policies/policy.yaml", second);
    let different = [
        "recorded admitted, now denied",
        "the requirement was not verified",
        "policy folder-replay",
    ];
    prints(&by_policies, 14, &different);
    let json = ["replay", "--output", "json", "--policies", &policies, &records];
    let report = sandbox.sealgate(&json).exits(14);
    let document: Value = serde_json::from_str(report.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(document["schema"], "sealgate.dev/replay/v1");
    assert_eq!(
        (&document["same"], &document["replayed"]["allowed"]),
        (&json!(false), &json!(false))
    );
}
