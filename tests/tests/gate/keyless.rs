//! Keyless policies and TrustRoot objects on a real API server, with images signed by real cosign
//! on real Fulcio, Rekor v2 and timestamp authority.
//!
//! The gate has no network access to Sigstore: every service URL in its trust roots, and the proxy
//! for other hosts, point to a tripwire that records requests. Only the signer knows the real
//! services.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::{Gate, GateOptions, Installation};
use sealgate_tests::image::Image;
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::proxy::FixedResponse;
use sealgate_tests::registries;
use sealgate_tests::sigstore;

use super::{Scenario, pod_spec};
use crate::keyless::support::{self, ADA, BOB, Signer};
use crate::support::{Format, Tool};

const PATIENCE: Duration = Duration::from_secs(30);

/// Server that records requests of the gate.
fn tripwire() -> &'static FixedResponse {
    static WIRE: OnceLock<FixedResponse> = OnceLock::new();
    WIRE.get_or_init(|| FixedResponse::start("503 Service Unavailable", "", "").expect("a wire"))
}

/// Trusted root of the harness, with all URLs replaced by the tripwire's.
fn offline_root() -> Value {
    let mut root = sigstore::shared().trusted_root_json();
    for (list, field) in [
        ("certificateAuthorities", "uri"),
        ("tlogs", "baseUrl"),
        ("ctlogs", "baseUrl"),
        ("timestampAuthorities", "uri"),
    ] {
        for part in root[list].as_array_mut().expect("a list") {
            part[field] = json!(tripwire_address());
        }
    }
    root
}

/// A host name, because a checkpoint names its log by the host.
fn tripwire_address() -> String {
    tripwire().host.replace("127.0.0.1", "http://localhost")
}

fn setting(sandbox: &Sandbox) -> GateOptions {
    let root = sandbox.write("cut-root.json", offline_root().to_string());
    GateOptions {
        arguments: vec!["--trusted-root".to_owned(), root.display().to_string()],
        proxy: Some(format!("http://{}", tripwire().host)),
        ..GateOptions::default()
    }
}

/// Gate with its own trust root, in a separate cluster.
fn gate() -> &'static Installation<'static> {
    static GATE: OnceLock<(Installation<'static>, Sandbox)> = OnceLock::new();
    let (gate, _) = GATE.get_or_init(|| {
        let sandbox = Sandbox::new();
        let cluster = Box::leak(Box::new(Cluster::start("keyless").expect("a control plane")));
        let gate = Installation::start_with("keyless", cluster, &setting(&sandbox));
        (gate.expect("the gate"), sandbox)
    });
    gate
}

impl Scenario {
    fn keyless(name: &str) -> Self {
        Self::bare_at(gate(), name)
    }

    /// Image signed by `who` with real cosign.
    fn signed_as(&self, who: Signer, name: &str) -> Image {
        let image = self.image(name);
        Tool::Cosign.sign_as(&support::sandbox(), who, "sign", &[&image.by_digest()]).ok();
        image
    }

    /// Applies an object, and waits until all replicas admit an image.
    #[track_caller]
    fn admits_with(&self, object: &Value, image: &Image) {
        self.cluster().apply(&object.to_string()).ok();
        let ask = || self.dry_run("probe", &image.by_digest());
        let admitted = || (0..4).all(|_| ask().code == 0);
        wait_until(PATIENCE, admitted).unwrap_or_else(|_| panic!("{}", ask().report()));
    }

    /// Waits until all replicas refuse an image with `text`.
    #[track_caller]
    fn refuses(&self, image: &Image, text: &str) {
        let ask = || self.dry_run("probe", &image.by_digest());
        let refused = || (0..4).all(|_| ask().stderr.contains(text));
        wait_until(PATIENCE, refused).unwrap_or_else(|_| panic!("{text}\n{}", ask().report()));
    }

    /// Conditions of an object, `Ready=False TrustRootUnavailable …; …`.
    fn conditions(&self, kind: &str, name: &str) -> String {
        let path =
            "jsonpath={range .status.conditions[*]}{.type}={.status} {.reason} {.message};{end}";
        self.cluster().kubectl(&["get", kind, name, "-o", path]).ok().stdout
    }

    #[track_caller]
    fn until_condition(&self, kind: &str, name: &str, text: &str) {
        let says = || self.conditions(kind, name).contains(text);
        let seen = wait_until(PATIENCE, says);
        seen.unwrap_or_else(|_| panic!("{text}\n{}", self.conditions(kind, name)));
    }
}

fn identity(who: Signer) -> Value {
    json!({ "issuer": who.issuer(), "subject": who.identity() })
}

fn keyless(who: Signer, fields: &Value) -> Value {
    let mut keyless = json!({ "identities": [identity(who)] });
    for (name, value) in fields.as_object().into_iter().flatten() {
        keyless[name] = value.clone();
    }
    json!({ "keyless": keyless })
}

/// Keys of the harness's services as a TrustRoot object.
fn trust_root(name: &str) -> Value {
    let sigstore = sigstore::shared();
    let log = |key: &str| {
        json!({
            "baseURL": tripwire_address(),
            "hashAlgorithm": "sha-256",
            "publicKey": STANDARD.encode(key),
        })
    };
    let authority = |chain: &str| {
        json!({
            "subject": { "organization": "tests", "commonName": "tests" },
            "uri": tripwire_address(),
            "certChain": STANDARD.encode(chain),
        })
    };
    json!({
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": name },
        "spec": {
            "sigstoreKeys": {
                "certificateAuthorities": [authority(&sigstore.fulcio.chain)],
                "tLogs": [log(&sigstore.rekor.public_key)],
                "ctLogs": [log(&sigstore.ct_log.public_key)],
                "timestampAuthorities": [authority(&sigstore.authority.chain)],
            },
        },
    })
}

#[track_caller]
fn nobody_was_asked() {
    assert_eq!(tripwire().take(), Vec::<String>::new(), "the gate has asked a Sigstore service");
}

#[test]
fn a_policy_without_a_trust_root_uses_the_gates_own() {
    let scenario = Scenario::keyless("keyless-own-root");
    scenario.apply_strict(&scenario.policy(&json!({ "authorities": [keyless(ADA, &json!({}))] })));
    let image = scenario.signed_as(ADA, "app");
    scenario.run("app", &image.by_tag()).ok();
    let denied = |name: &str, image: &Image| {
        let run = scenario.run(name, &image.by_digest());
        let (denial, image) = (scenario.denial("spec.containers[0].image"), image.by_digest());
        run.fails_with(&denial).says(&format!(
            "signature keyless validation failed for authority authority-0 for {image}: "
        ))
    };
    denied("unsigned", &scenario.image("unsigned")).says("no signatures found");
    let text = "none of the expected identities matched";
    denied("other-person", &scenario.signed_as(BOB, "other-person")).says(text);
    denied("other-issuer", &scenario.signed_as(Signer::Workflow, "other-issuer")).says(text);
    denied("key", &scenario.signed_by("cosign", "key", Format::Bundle))
        .says("no matching signatures");
    nobody_was_asked();
}

#[test]
fn any_number_of_identities_and_expressions() {
    let scenario = Scenario::keyless("keyless-identities");
    let pattern =
        json!({ "issuerRegExp": "^http://.*$", "subjectRegExp": "^https://github\\.com/.*$" });
    let mut authority = keyless(ADA, &json!({}));
    authority["keyless"]["identities"] = json!([identity(ADA), pattern]);
    scenario.apply_strict(&scenario.policy(&json!({ "authorities": [authority] })));
    for (name, who) in [("person", ADA), ("workflow", Signer::Workflow)] {
        scenario.run(name, &scenario.signed_as(who, name).by_tag()).ok();
    }
    let image = scenario.signed_as(BOB, "bob");
    scenario.run("bob", &image.by_tag()).fails_with("none of the expected identities matched");
    nobody_was_asked();
}

#[test]
fn a_trust_root_object_decides_and_may_be_edited() {
    let scenario = Scenario::keyless("keyless-object");
    let name = scenario.name.as_str();
    let policy = scenario
        .policy(&json!({ "authorities": [keyless(ADA, &json!({ "trustRootRef": name }))] }));
    scenario.cluster().apply(&policy.to_string()).ok();
    let image = scenario.signed_as(ADA, "app");
    // A missing TrustRoot is a fault with a condition, never a skipped check.
    let missing = format!("trustRootRef {name} not found");
    scenario.refuses(
        &image,
        &format!("authority-0 cannot be evaluated: {missing} (TrustRootUnavailable)"),
    );
    scenario.until_condition(
        "clusterimagepolicy",
        name,
        &format!("Ready=False TrustRootUnavailable authority authority-0: {missing}"),
    );
    let root = trust_root(name);
    scenario.admits_with(&root, &image);
    scenario.until_condition("clusterimagepolicy", name, "Ready=True");
    scenario.until_condition("trustroot", name, "Ready=True");
    scenario.run("app", &image.by_tag()).ok();
    let unsigned = scenario.image("unsigned");
    scenario.run("unsigned", &unsigned.by_tag()).fails_with("no signatures found");
    let other = scenario.signed_as(BOB, "other-person");
    scenario.run("bob", &other.by_tag()).fails_with("none of the expected identities matched");
    // The CT log's key is used for its transparency log: a previously admitted image is refused.
    let mut edited = root.clone();
    let keys = &mut edited["spec"]["sigstoreKeys"];
    keys["tLogs"] = keys["ctLogs"].clone();
    scenario.cluster().apply(&edited.to_string()).ok();
    scenario.refuses(&image, "signature keyless validation failed");
    scenario.admits_with(&root, &image);
    // Only keys valid at the time of signing are accepted.
    keys_with_window(&mut edited, &root, &json!({ "end": "2024-01-01T00:00:00Z" }));
    scenario.cluster().apply(&edited.to_string()).ok();
    scenario.refuses(&image, "signature keyless validation failed");
    keys_with_window(&mut edited, &root, &json!({ "start": "2024-01-01T00:00:00Z" }));
    scenario.admits_with(&edited, &image);
    scenario.cluster().kubectl(&["delete", "trustroot", name]).ok();
    scenario.refuses(&image, &missing);
    nobody_was_asked();
}

/// `root` with another validity period for its log's key.
fn keys_with_window(edited: &mut Value, root: &Value, window: &Value) {
    *edited = root.clone();
    edited["spec"]["sigstoreKeys"]["tLogs"][0]["validFor"] = window.clone();
}

#[test]
fn logs_and_timestamps_are_asked_for_by_their_own_roots() {
    let scenario = Scenario::keyless("keyless-proofs");
    let name = scenario.name.as_str();
    scenario.cluster().apply(&trust_root(name).to_string()).ok();
    let image = scenario.signed_as(ADA, "app");
    let reference = json!({ "trustRootRef": name });
    let with = |fields: &Value| {
        let mut authority = keyless(ADA, &json!({}));
        for (field, value) in fields.as_object().into_iter().flatten() {
            authority[field] = value.clone();
        }
        scenario.policy(&json!({ "authorities": [authority] }))
    };
    for fields in [
        json!({ "ctlog": reference, "rfc3161timestamp": reference }),
        json!({ "ctlog": { "url": tripwire_address() } }),
        json!({ "signatureFormat": "bundle", "rfc3161timestamp": {} }),
    ] {
        scenario.admits_with(&with(&fields), &image);
        scenario.refuses(&scenario.image("unsigned"), "no signatures found");
    }
    // policy-controller's own example of policy and TrustRoot: the TrustRoot decides.
    let other = json!({ "ctlog": { "url": "https://rekor.example.com", "trustRootRef": name } });
    let warned = scenario.cluster().apply(&with(&other).to_string()).ok();
    warned.says(&format!(
        "https://rekor.example.com is not a log of TrustRoot {name}; its logs are trusted instead"
    ));
    scenario.admits_with(&with(&other), &image);
    scenario.refuses(&scenario.image("unsigned"), "no signatures found");
    let elsewhere = json!({ "ctlog": { "url": "https://rekor.example.com" } });
    scenario.cluster().apply(&with(&elsewhere).to_string()).ok();
    let text = "has no usable transparency log https://rekor.example.com (TrustRootUnavailable)";
    scenario.refuses(&image, text);
    // A key signature that must be logged and is not; the same key without that requirement.
    let by_key = scenario.signed_by("cosign", "by-key", Format::Bundle);
    let mut authority = scenario.key_authority("cosign");
    let policy = scenario.policy(&json!({ "authorities": [authority] }));
    scenario.admits_with(&policy, &by_key);
    authority["ctlog"] = reference;
    let policy = scenario.policy(&json!({ "authorities": [authority] }));
    scenario.cluster().apply(&policy.to_string()).ok();
    scenario.refuses(&by_key, "signature not found in transparency log");
    nobody_was_asked();
}

/// Its mirror is empty: images of policies that reference it are refused, and no others. It is the
/// only reason for which the gate contacts another server.
#[test]
fn an_unreadable_remote_admits_nothing() {
    let scenario = Scenario::keyless("keyless-remote");
    let name = scenario.name.as_str();
    let mirror = FixedResponse::start("404 Not Found", "", "").expect("a mirror");
    let tuf_root = include_str!("../../../crates/sealgate-sigstore/data/root.json");
    let address = format!("http://{}", mirror.host);
    let object = json!({
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": name },
        "spec": { "remote": { "mirror": address, "root": STANDARD.encode(tuf_root) } },
    });
    scenario.cluster().apply(&object.to_string()).ok();
    scenario.until_condition("trustroot", name, "Ready=False RefreshFailed");
    let asked = mirror.take();
    assert!(asked.iter().any(|request| request.ends_with(".root.json")), "{asked:?}");
    let target = ["get", "trustroot", name, "-o", "jsonpath={.spec.remote.trustedRootTarget}"];
    assert_eq!(scenario.cluster().kubectl(&target).ok().stdout, "trusted_root.json");
    let named = keyless(ADA, &json!({ "trustRootRef": name }));
    let policy = scenario.policy(&json!({ "authorities": [named] }));
    scenario.cluster().apply(&policy.to_string()).ok();
    let image = scenario.signed_as(ADA, "app");
    scenario.refuses(&image, &format!("authority-0 cannot be evaluated: TrustRoot {name}: "));
    // Another authority of the same policy is not affected.
    let policy = scenario.policy(&json!({ "authorities": [named, keyless(ADA, &json!({}))] }));
    scenario.admits_with(&policy, &image);
    nobody_was_asked();
}

#[test]
fn trust_roots_that_cannot_be_are_refused_in_policy_controllers_words() {
    let scenario = Scenario::keyless("keyless-invalid");
    let good = trust_root("keyless-invalid");
    let mut no_uri = good.clone();
    let authority = &mut no_uri["spec"]["sigstoreKeys"]["certificateAuthorities"][0];
    authority.as_object_mut().unwrap().remove("uri");
    let mut no_key = good.clone();
    no_key["spec"]["sigstoreKeys"]["tLogs"][0]["publicKey"] = json!(STANDARD.encode("no key"));
    let mut two = good.clone();
    two["spec"]["remote"] = json!({ "mirror": "https://tuf.example.com" });
    let mut unknown = good;
    unknown["spec"]["sigstoreKeys"]["tLogs"][0]["unheardOf"] = json!("x");
    for (object, text) in [
        (no_uri, "missing field(s): spec.sigstoreKeys.certificateAuthorities[0].uri"),
        (no_key, "invalid value: not a public key: spec.sigstoreKeys.tLogs[0].publicKey"),
        (two, "expected exactly one, got both: spec.remote, spec.repository, spec.sigstoreKeys"),
    ] {
        let run = scenario.cluster().apply(&object.to_string());
        run.fails_with("denied the request: validation failed: ").says(text);
    }
    let arguments = ["create", "--validate=strict", "-f", "-"];
    let run = scenario.cluster().kubectl_with(&arguments, &unknown.to_string());
    run.fails_with("unheardOf");
}

/// policy-controller's conversion loses a `ctlog` without a URL.
#[test]
fn a_policy_keeps_every_field_from_one_version_to_the_other() {
    let scenario = Scenario::keyless("keyless-versions");
    let mut authority = keyless(
        ADA,
        &json!({
            "url": "https://fulcio.example.com",
            "trustRootRef": "t",
            "insecureIgnoreSCT": true,
        }),
    );
    authority["name"] = json!("one");
    authority["ctlog"] = json!({ "trustRootRef": "t" });
    authority["rfc3161timestamp"] = json!({ "trustRootRef": "t" });
    authority["signatureFormat"] = json!("bundle");
    let policy = scenario.policy(&json!({ "authorities": [authority], "mode": "enforce" }));
    scenario.cluster().apply(&policy.to_string()).ok();
    for version in ["v1alpha1", "v1beta1"] {
        let resource = format!("clusterimagepolicies.{version}.policy.sigstore.dev");
        let get = ["get", &resource, &scenario.name, "-o", "json"];
        let stored = scenario.cluster().kubectl(&get).ok().json();
        assert_eq!(stored["apiVersion"], format!("policy.sigstore.dev/{version}"));
        assert_eq!(stored["spec"], policy["spec"], "{version}");
    }
}

#[test]
fn a_folder_may_hold_trust_roots() {
    let (sandbox, host) = (Sandbox::new(), &registries::docker().host);
    let image = registries::docker().image("keyless-folder");
    Tool::Cosign.sign_as(&support::sandbox(), ADA, "sign", &[&image.by_digest()]).ok();
    let authority = keyless(ADA, &json!({ "trustRootRef": "ours" }));
    let policy = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "keyless-folder" },
        "spec": { "images": [{ "glob": format!("{host}/**") }], "authorities": [authority] },
    });
    sandbox.write("policies/policy.json", policy.to_string());
    // Its own root is the embedded one, which does not contain our Fulcio.
    let proxy = Some(format!("http://{}", tripwire().host));
    let setting = GateOptions { proxy, ..GateOptions::default() };
    let folder = sandbox.path("policies");
    let gate = Gate::with_folder_and("keyless-folder", &folder, setting).unwrap();
    let ask = || {
        let metadata = json!({ "name": "app", "namespace": "default" });
        let spec = pod_spec(&image.by_digest());
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        gate.review("/validate", &pod).unwrap()
    };
    let message =
        |answer: &Value| answer["status"]["message"].as_str().unwrap_or_default().to_owned();
    let refusal = message(&ask());
    assert!(refusal.contains("trustRootRef ours not found (TrustRootUnavailable)"), "{refusal}");
    sandbox.write("policies/root.json", trust_root("ours").to_string());
    wait_until(PATIENCE, || ask()["allowed"] == true)
        .unwrap_or_else(|_| panic!("{}\n{}", message(&ask()), gate.log()));
    std::fs::remove_file(sandbox.path("policies/root.json")).unwrap();
    wait_until(PATIENCE, || ask()["allowed"] == false).unwrap();
    nobody_was_asked();
}
