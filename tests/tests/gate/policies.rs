//! Policies: key sources, combination of authorities, invalid policies, and edits that take effect
//! at once.

use std::time::Duration;

use serde_json::json;

use sealgate_tests::gate::{Gate, NAMESPACE};
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::Sandbox;

use super::{DENIED, Scenario};
use crate::support::{Format, TOOLS, Tool};

const POLICY_DENIED: &str = "admission webhook \"validating.clusterimagepolicy.sigstore.dev\" denied the request: \
     validation failed: ";

#[test]
fn an_edit_takes_effect_at_once() {
    let scenario = Scenario::new("gate-edit");
    Tool::Cosign.generate(&scenario.sandbox, "new");
    let image = scenario.signed_by("new", "app", Format::Bundle);
    scenario.run("before", &image.by_tag()).fails_with(DENIED);
    let both = [scenario.key_authority("cosign"), scenario.key_authority("new")];
    let policy = scenario.policy(&json!({ "authorities": both }));
    scenario.gate.apply_policy(&policy.to_string(), || {
        (0..4).all(|_| scenario.dry_run("app", &image.by_tag()).code == 0)
    });
    scenario.run("both-keys", &image.by_tag()).ok();
    // Without the new key again, a previously admitted image is refused.
    let policy = scenario.policy(&json!({ "authorities": [scenario.key_authority("cosign")] }));
    scenario.gate.apply_policy(&policy.to_string(), || {
        (0..4).all(|_| scenario.dry_run("app", &image.by_tag()).code != 0)
    });
    scenario.run("after", &image.by_tag()).fails_with(&scenario.denial("spec.containers[0].image"));
}

#[test]
fn a_policy_that_is_deleted_is_gone() {
    let scenario = Scenario::new("gate-deleted");
    let image = scenario.signed("app");
    scenario.run("app", &image.by_tag()).ok();
    scenario.cluster().kubectl(&["delete", "clusterimagepolicy", &scenario.name]).ok();
    sealgate_tests::process::wait_until(std::time::Duration::from_secs(20), || {
        (0..4)
            .all(|_| scenario.dry_run("x", &image.by_tag()).stderr.contains("no matching policies"))
    })
    .unwrap();
}

#[test]
fn any_authority_of_a_policy_will_do() {
    let scenario = Scenario::bare("gate-any");
    Tool::Sealgate.generate(&scenario.sandbox, "second");
    let authorities = [scenario.key_authority("cosign"), scenario.key_authority("second")];
    scenario.apply_strict(&scenario.policy(&json!({ "authorities": authorities })));
    for (prefix, format) in [("cosign", Format::Legacy), ("second", Format::Bundle)] {
        let image = scenario.signed_by(prefix, prefix, format);
        scenario.run(prefix, &image.by_tag()).ok();
    }
}

#[test]
fn all_policies_must_hold() {
    let scenario = Scenario::new("gate-all");
    Tool::Sealgate.generate(&scenario.sandbox, "second");
    let mut second = scenario.policy(&json!({ "authorities": [scenario.key_authority("second")] }));
    second["metadata"]["name"] = json!("gate-all-second");
    let image = scenario.signed("app");
    scenario.gate.apply_policy(&second.to_string(), || {
        let run = || scenario.dry_run("app", &image.by_tag());
        (0..4).all(|_| run().stderr.contains("failed policy: gate-all-second"))
    });
    scenario.run("one", &image.by_tag()).fails_with("failed policy: gate-all-second");
    let digest = image.by_digest();
    Tool::Sealgate.sign(&scenario.sandbox, Format::Bundle, "second", &digest, &[]).ok();
    scenario.run("two", &image.by_tag()).ok();
}

#[test]
fn a_key_may_be_in_a_secret() {
    let scenario = Scenario::bare("gate-secret-ref");
    let public = scenario.sandbox.read("cosign.pub");
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "gate-secret-ref", "namespace": NAMESPACE },
        "stringData": { "cosign.pub": public },
    });
    scenario.cluster().apply(&secret.to_string()).ok();
    let authority = json!({ "key": { "secretRef": { "name": "gate-secret-ref" } } });
    scenario.apply_strict(&scenario.policy(&json!({ "authorities": [authority] })));
    scenario.run("app", &scenario.signed("app").by_tag()).ok();
}

/// The secret created by `generate-key-pair k8s://` has `cosign.pub` next to the private key.
#[test]
fn the_secret_of_a_key_pair_is_the_key_whichever_program_made_it() {
    for tool in TOOLS {
        let name = format!("gate-key-pair-{tool:?}").to_lowercase();
        let scenario = Scenario::bare(&name);
        let reference = format!("k8s://{NAMESPACE}/{name}");
        let kubeconfig = scenario.cluster().kubeconfig.display().to_string();
        let sandbox = Sandbox::new().with("KUBECONFIG", kubeconfig);
        tool.run(&sandbox, &["generate-key-pair", &reference]).ok();
        let authority = json!({ "key": { "secretRef": { "name": name } } });
        scenario.apply_strict(&scenario.policy(&json!({ "authorities": [authority] })));
        let (image, other) = (scenario.image("app"), scenario.signed("other"));
        sandbox.sealgate(&["sign", "--key", &reference, "-y", &image.by_digest()]).ok();
        scenario.run("app", &image.by_tag()).ok();
        scenario
            .run("other", &other.by_tag())
            .fails_with(&scenario.denial("spec.containers[0].image"));
    }
}

#[test]
fn a_policy_whose_secret_is_missing_refuses() {
    let scenario = Scenario::bare("gate-no-secret");
    let authority = json!({ "key": { "secretRef": { "name": "gate-nowhere" } } });
    scenario.apply_strict(&scenario.policy(&json!({ "authorities": [authority] })));
    let image = scenario.signed("app");
    scenario.run("app", &image.by_tag()).fails_with("failed policy: gate-no-secret");
}

#[test]
fn the_older_version_means_the_same() {
    let scenario = Scenario::bare("gate-v1alpha1");
    let mut policy = scenario.policy(&json!({ "authorities": [scenario.key_authority("cosign")] }));
    policy["apiVersion"] = json!("policy.sigstore.dev/v1alpha1");
    scenario.apply_strict(&policy);
    scenario.run("app", &scenario.signed("app").by_tag()).ok();
}

/// In the form of a published article: `match: - namespaces: [...]`.
#[test]
fn a_policy_may_be_for_some_namespaces_only() {
    let scenario = Scenario::bare("gate-for-namespace");
    let spec = json!({
        "authorities": [scenario.key_authority("cosign")],
        "match": [{ "namespaces": [scenario.name] }],
    });
    scenario.apply_strict(&scenario.policy(&spec));
    scenario.run("app", &scenario.signed("app").by_tag()).ok();
    let other = Scenario::bare("gate-other-namespace");
    let unsigned = scenario.image("unsigned");
    let run = other.run("app", &unsigned.by_tag());
    run.fails_with(&format!("{DENIED}no matching policies"));
}

#[test]
fn static_authorities_say_yes_and_no() {
    let scenario = Scenario::bare("gate-static");
    let image = scenario.image("app");
    let fail = json!({ "authorities": [{ "static": { "action": "fail", "message": "never" } }] });
    scenario.apply_strict(&scenario.policy(&fail));
    scenario.run("app", &image.by_tag()).fails_with("disallowed by static policy: never");
    let pass = json!({ "authorities": [{ "static": { "action": "pass" } }] });
    scenario.gate.apply_policy(&scenario.policy(&pass).to_string(), || {
        (0..4).all(|_| scenario.dry_run("app", &image.by_tag()).code == 0)
    });
    scenario.run("app", &image.by_tag()).ok();
}

#[test]
fn a_policy_that_cannot_be_is_refused_in_policy_controllers_words() {
    let scenario = Scenario::bare("gate-invalid");
    let key = scenario.key_authority("cosign");
    let cases = [
        (json!({ "images": [], "authorities": [key] }), "missing field(s): spec.images"),
        (json!({ "images": [{ "glob": "[" }], "authorities": [key] }), "glob is invalid"),
        (
            json!({ "images": [{ "glob": "https://ghcr.io/acme/**" }], "authorities": [key] }),
            "no image can match it: an image name has no scheme; write ghcr.io/acme/**",
        ),
        (json!({ "authorities": [] }), "missing field(s): spec.authorities"),
        (
            json!({ "authorities": [{ "name": "x" }] }),
            "expected exactly one, got neither: spec.authorities[0].key, \
             spec.authorities[0].keyless, spec.authorities[0].static",
        ),
        (
            json!({ "authorities": [{ "key": { "data": "no key" } }] }),
            "invalid value: no key: spec.authorities[0].key.data\n\
             not a PEM encoded public key: no BEGIN line",
        ),
        (json!({ "authorities": [{ "static": { "action": "garbage" } }] }), "unsupported action"),
        (
            json!({ "authorities": [key], "mode": "garbage" }),
            "invalid value: garbage: spec.mode\nunsupported mode",
        ),
    ];
    for (spec, text) in cases {
        let policy = scenario.policy(&spec);
        let run = scenario.cluster().apply(&policy.to_string());
        run.fails_with(POLICY_DENIED).says(text);
    }
}

/// Features of later versions lead to a refusal with a message until then, and are never ignored.
#[test]
fn what_cannot_be_judged_yet_refuses() {
    let scenario = Scenario::bare("gate-later");
    let mut authority = scenario.key_authority("cosign");
    authority["attestations"] =
        json!([{ "name": "built", "predicateType": "https://slsa.dev/provenance/v1" }]);
    scenario.apply_strict(&scenario.policy(&json!({ "authorities": [authority] })));
    let image = scenario.signed("app");
    scenario.run("app", &image.by_tag()).fails_with("failed policy: gate-later");
    let path = "jsonpath={.status.conditions}";
    let get = ["get", "clusterimagepolicy", &scenario.name, "-o", path];
    let conditions = || scenario.cluster().kubectl(&get).ok().stdout;
    sealgate_tests::process::wait_until(std::time::Duration::from_secs(20), || {
        conditions().contains("False")
    })
    .unwrap_or_else(|_| panic!("no condition says so: {}", conditions()));
}

/// Empty fields, and values of a wrong type: a directory accepts exactly what the API server and
/// the policy webhook accept.
#[test]
fn a_folder_takes_what_the_api_server_takes() {
    let scenario = Scenario::bare("gate-one-reader");
    let key = scenario.sandbox.read("cosign.pub").replace('\n', "\\n");
    let policy = |spec: &str| {
        let spec = spec.replace("KEY", &format!("key: {{data: \"{key}\"}}"));
        format!(
            "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\n\
             metadata: {{name: gate-one-reader}}\nspec:\n{spec}"
        )
    };
    let root = |spec: &str| {
        format!(
            "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\n\
             metadata: {{name: gate-one-reader}}\nspec:\n{spec}"
        )
    };
    let images = "  images: [{glob: 'one-reader.test/**'}]\n";
    let log = format!(
        "    tLogs:\n    - baseURL: https://rekor.test\n      hashAlgorithm: sha-256\n      publicKey: {}\n",
        base64_of(&scenario.sandbox.read("cosign.pub"))
    );
    let with = |fields: &str| policy(&format!("{images}  authorities:\n  - KEY\n{fields}"));
    let (taken, refused) = (true, false);
    let rows = [
        (with(""), taken),
        (with("  match:\n  mode:\n  policy:\n"), taken),
        (with("    name:\n    source:\n    attestations:\n    keyless:\n    static:\n"), taken),
        (with("    ctlog:\n    rfc3161timestamp:\n    signatureFormat:\n"), taken),
        (with("  match:\n  - resource: pods\n    version: v1\n    selector:\n"), taken),
        (with("  match:\n  - namespaces:\n"), taken),
        (
            policy(&format!(
                "{images}  authorities:\n  - keyless: {{url: 'https://f.test', identities: }}\n"
            )),
            refused,
        ),
        (policy(&format!("{images}  authorities:\n")), refused),
        (policy("  images:\n  authorities:\n  - KEY\n"), refused),
        (policy("  images: [null]\n  authorities:\n  - KEY\n"), refused),
        (policy("  images: [{glob: }]\n  authorities:\n  - KEY\n"), refused),
        (policy("  images: [{glob: 7}]\n  authorities:\n  - KEY\n"), refused),
        (policy("  images: {glob: a}\n  authorities:\n  - KEY\n"), refused),
        (with("  mode: true\n"), refused),
        (with("  mode: [enforce]\n"), refused),
        (with("    signatureFormat: 3\n"), refused),
        (with("  match: [null]\n"), refused),
        (
            with("  match:\n  - {resource: pods, version: v1, selector: {matchLabels: {a: 1}}}\n"),
            refused,
        ),
        (
            root(&format!(
                "  remote:\n  repository:\n  sigstoreKeys:\n    certificateAuthorities:\n    ctLogs:\n    timestampAuthorities:\n{log}"
            )),
            taken,
        ),
        (root(&format!("  sigstoreKeys:\n{log}      validFor:\n")), taken),
        (root("  sigstoreKeys:\n    tLogs:\n"), refused),
        (root("  sigstoreKeys:\n"), refused),
        (root("  sigstoreKeys:\n    tLogs: [null]\n"), refused),
        (root("  sigstoreKeys:\n    tLogs: {}\n"), refused),
    ];
    let folder = Sandbox::new();
    let always = scenario.policy(&json!({ "authorities": [scenario.key_authority("cosign")] }));
    folder.write("policies/always.yaml", always.to_string().replace("gate-one-reader", "always"));
    let gate = Gate::with_folder("one-reader", &folder.path("policies")).unwrap();
    let ready = || {
        let page = gate.get("/readyz").map(|page| page.body).unwrap_or_default();
        String::from_utf8_lossy(&page).into_owned()
    };
    let refuses = || ready().contains("probe.yaml: ") && !ready().contains("being written");
    // A marker policy in the same file shows when the file has been loaded.
    let marker = always.to_string().replace("gate-one-reader", "marker");
    let patience = Duration::from_secs(10);
    let enforces = |count: &str| {
        let taken =
            || ready().starts_with(&format!("ready: {count}")) && !ready().contains("problems");
        wait_until(patience, taken)
    };
    enforces("1 policy").expect("the gate is ready");
    for (object, expected) in rows {
        let run = scenario.cluster().apply(&object);
        assert_eq!(run.code == 0, expected, "{object}\n{}", run.report());
        let kind = if object.contains("TrustRoot") { "trustroot" } else { "clusterimagepolicy" };
        scenario.cluster().kubectl(&["delete", kind, "gate-one-reader", "--ignore-not-found"]).ok();
        folder.write("policies/probe.yaml", format!("{object}\n---\n{marker}\n"));
        if expected {
            let count = if kind == "trustroot" { "2 policies" } else { "3 policies" };
            enforces(count).unwrap_or_else(|_| panic!("{object}\n{}", ready()));
        } else {
            wait_until(patience, refuses).unwrap_or_else(|_| panic!("{object}\n{}", ready()));
        }
        std::fs::remove_file(folder.path("policies/probe.yaml")).expect("the file is there");
        enforces("1 policy").unwrap_or_else(|_| panic!("the file is gone: {}", ready()));
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
