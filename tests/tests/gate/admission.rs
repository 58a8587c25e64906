//! Admission decisions and their messages.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_tests::gate::INCLUDE;
use sealgate_tests::image::{self, Image};
use sealgate_tests::process::wait_until;
use sealgate_tests::registries::{self, USER};
use serde_json::{Value, json};

use super::{DENIED, Scenario};
use crate::support::{FORMATS, Format, TOOLS, Tool};

#[test]
fn a_signed_image_is_admitted_and_pinned() {
    let scenario = Scenario::new("gate-signed");
    for (number, tool) in TOOLS.into_iter().enumerate() {
        for format in FORMATS {
            let image = scenario.image(&format!("app-{number}-{format:?}").to_lowercase());
            tool.sign(&scenario.sandbox, format, "cosign", &image.by_digest(), &[]).ok();
            let pod = format!("app-{number}-{format:?}").to_lowercase();
            scenario.run(&pod, &image.by_tag()).ok();
            let stored = scenario.field("pod", &pod, ".spec.containers[0].image");
            assert_eq!(stored, format!("{}@{}", image.by_tag(), image.digest));
        }
    }
}

#[test]
fn an_unsigned_image_is_refused_with_a_reason() {
    let scenario = Scenario::new("gate-unsigned");
    let image = scenario.image("app");
    for reference in [image.by_tag(), image.by_digest()] {
        let run = scenario.run("app", &reference);
        run.fails_with(&scenario.denial("spec.containers[0].image")).says("no signatures found");
    }
}

#[test]
fn a_wrong_key_is_refused() {
    let scenario = Scenario::new("gate-wrong-key");
    Tool::Cosign.generate(&scenario.sandbox, "other");
    for format in FORMATS {
        let image = scenario.signed_by("other", &format!("app-{format:?}").to_lowercase(), format);
        let run = scenario.run("app", &image.by_tag());
        run.fails_with(&scenario.denial("spec.containers[0].image"));
    }
}

#[test]
fn a_tag_that_moved_is_refused() {
    let scenario = Scenario::new("gate-tag-moved");
    let signed = scenario.signed("app");
    scenario.run("before", &signed.by_tag()).ok();
    let name = signed.repository.trim_start_matches("tests/");
    let moved = registries::docker().image_with(name, "v1", "something else");
    assert_eq!(moved.by_tag(), signed.by_tag());
    let run = scenario.run("after", &signed.by_tag());
    run.fails_with(&scenario.denial("spec.containers[0].image"));
    // The signed digest is still admitted.
    scenario.run("by-digest", &signed.by_digest()).ok();
}

#[test]
fn a_tampered_signature_is_refused() {
    let scenario = Scenario::new("gate-tampered");
    let (signed, victim) = (scenario.signed("app"), scenario.image("victim"));
    for change in [Change::Nothing, Change::Subject] {
        lend_bundle(&signed, &victim, change);
        let run = scenario.run("victim", &victim.by_digest());
        run.fails_with(&scenario.denial("spec.containers[0].image"));
    }
    // The forged manifests do not affect the signed image.
    scenario.run("app", &signed.by_digest()).ok();
}

#[derive(Clone, Copy)]
enum Change {
    /// The unmodified bundle, for another image.
    Nothing,
    /// The payload's digest replaced by the other image's; the signature unchanged.
    Subject,
}

/// Adds the bundle of one image as a referrer of another.
fn lend_bundle(from: &Image, to: &Image, change: Change) {
    let get = |at: &str| image::get_manifest(&from.host, &from.repository, at).unwrap().unwrap();
    let index = get(&from.digest_tag());
    let mut manifest = get(index["manifests"][0]["digest"].as_str().unwrap());
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let mut bundle = image::get_blob(&from.host, &from.repository, layer).unwrap();
    if let Change::Subject = change {
        bundle = with_subject(&bundle, &from.digest, &to.digest);
    }
    image::push_blob(&to.host, &to.repository, &bundle).unwrap();
    image::push_blob(&to.host, &to.repository, b"{}").unwrap();
    let media_type = manifest["layers"][0]["mediaType"].as_str().unwrap().to_owned();
    manifest["layers"] = json!([image::descriptor(&media_type, &bundle)]);
    manifest["subject"]["digest"] = json!(to.digest);
    let bytes = manifest.to_string().into_bytes();
    let put = |at: &str, media_type: &str, bytes: &[u8]| {
        image::put_manifest(&to.host, &to.repository, at, media_type, bytes).unwrap()
    };
    put(&image::sha256(&bytes), image::MANIFEST, &bytes);
    let entry = image::descriptor(image::MANIFEST, &bytes);
    let index = json!({ "schemaVersion": 2, "mediaType": image::INDEX, "manifests": [entry] });
    put(&to.digest_tag(), image::INDEX, index.to_string().as_bytes());
}

fn with_subject(bundle: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(bundle).unwrap();
    let payload = &mut bundle["dsseEnvelope"]["payload"];
    let text = String::from_utf8(STANDARD.decode(payload.as_str().unwrap()).unwrap()).unwrap();
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    assert!(text.contains(&hex(old)));
    *payload = json!(STANDARD.encode(text.replace(&hex(old), &hex(new))));
    bundle.to_string().into_bytes()
}

#[test]
fn warn_mode_warns_and_admits() {
    let scenario = Scenario::bare("gate-warn");
    let authorities = [scenario.key_authority("cosign")];
    let policy = scenario.policy(&json!({ "mode": "warn", "authorities": authorities }));
    let unsigned = scenario.image("app");
    let warning = "Warning: failed policy: gate-warn: spec.containers[0].image";
    scenario.gate.apply_policy(&policy.to_string(), || {
        (0..4).all(|_| scenario.dry_run("app", &unsigned.by_tag()).stderr.contains(warning))
    });
    let reason = format!("{warning}: no signatures found: ");
    let warned = scenario.run("app", &unsigned.by_tag()).ok().says(&reason);
    let line = warned.stderr.lines().find(|line| line.starts_with(warning)).unwrap();
    assert!(line.len() <= 256, "{line}");
    let signed = scenario.signed("signed");
    scenario.run("signed", &signed.by_tag()).ok().says_no("Warning");
}

#[test]
fn a_namespace_without_the_label_is_left_alone() {
    let scenario = Scenario::new("gate-labelled");
    let cluster = scenario.cluster();
    cluster.namespace("gate-unlabelled", &[]);
    let image = scenario.image("app");
    let mut pod = scenario.pod("app", &image.by_tag());
    pod["metadata"]["namespace"] = json!("gate-unlabelled");
    cluster.apply(&pod.to_string()).ok();
    let path = "jsonpath={.spec.containers[0].image}";
    let stored = cluster.kubectl(&["get", "pod", "app", "-n", "gate-unlabelled", "-o", path]).ok();
    assert_eq!(stored.stdout, image.by_tag());
    // A later label does not affect running Pods; the next Pod is checked.
    cluster.kubectl(&["label", "namespace", "gate-unlabelled", INCLUDE]).ok();
    pod["metadata"]["name"] = json!("later");
    cluster.apply(&pod.to_string()).fails_with(DENIED);
}

#[test]
fn an_image_that_no_policy_names_is_refused() {
    let scenario = Scenario::new("gate-no-match");
    let image = registries::docker().image("gate-nobodys/app");
    let run = scenario.run("app", &image.by_tag());
    run.fails_with(&format!("{DENIED}no matching policies: spec.containers[0].image\n"));
}

#[test]
fn an_image_that_is_not_there_is_a_reason_of_its_own() {
    let scenario = Scenario::new("gate-missing");
    let image = scenario.image("app");
    let run = scenario.run("app", &format!("{}:nowhere", image.name()));
    run.fails_with(DENIED).says_no("no signatures found");
}

#[test]
fn a_registry_that_is_down_is_named() {
    let scenario = Scenario::bare("gate-down");
    let host = format!("127.0.0.1:{}", sealgate_tests::process::free_port().unwrap());
    let mut policy = scenario.policy(&json!({ "authorities": [scenario.key_authority("cosign")] }));
    policy["spec"]["images"] = json!([{ "glob": format!("{host}/**") }]);
    let reference = format!("{host}/app@sha256:{}", "0".repeat(64));
    scenario.gate.apply_policy(&policy.to_string(), || {
        (0..4).all(|_| {
            scenario.dry_run("app", &reference).stderr.contains("failed policy: gate-down")
        })
    });
    let run = scenario.run("app", &reference);
    run.fails_with(&host).says_no("no signatures found");
}

/// A tag at an unreachable registry, with the policies that match it.
#[test]
fn a_tag_that_cannot_be_resolved_is_refused_by_an_enforcing_policy_only() {
    let scenario = Scenario::bare("gate-unresolved");
    let host = format!("127.0.0.1:{}", sealgate_tests::process::free_port().unwrap());
    let policy = |name: &str, mode: &str, authority: &Value| {
        let name = format!("gate-unresolved-{name}");
        json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": name },
            "spec": {
                "images": [{ "glob": format!("{host}/{name}/**") }],
                "mode": mode,
                "authorities": [authority],
            },
        })
    };
    let (key, pass) = (scenario.key_authority("cosign"), json!({ "static": { "action": "pass" } }));
    for (name, mode, authority) in
        [("warn", "warn", &key), ("pass", "enforce", &pass), ("enforce", "enforce", &key)]
    {
        scenario.cluster().apply(&policy(name, mode, authority).to_string()).ok();
    }
    let image = |name: &str| format!("{host}/gate-unresolved-{name}/app:v1");
    let refused = format!("{DENIED}invalid value: {} must be an image digest", image("enforce"));
    wait_until(Duration::from_secs(30), || {
        let known = || scenario.dry_run("app", &image("enforce")).stderr.contains(&refused);
        (0..4).all(|_| known() && scenario.dry_run("app", &image("pass")).code == 0)
    })
    .expect("the policies are in force");
    scenario.run("enforce", &image("enforce")).fails_with(&host).says("gate-unresolved-enforce");
    let warning = "Warning: failed policy: gate-unresolved-warn: spec.containers[0].image";
    scenario.run("warn", &image("warn")).ok().says(warning);
    scenario.run("pass", &image("pass")).ok().says_no("Warning");
    assert_eq!(scenario.field("pod", "warn", ".spec.containers[0].image"), image("warn"));
}

/// Istio's gateways and OpenShift's image triggers: another component sets the image.
#[test]
fn a_placeholder_in_a_template_is_a_warning_and_in_a_pod_a_denial() {
    let scenario = Scenario::new("gate-placeholder");
    for (number, (kind, image)) in
        [("Deployment", "auto"), ("StatefulSet", "auto"), ("Deployment", " ")].iter().enumerate()
    {
        let name = format!("gateway-{number}");
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": { "name": name, "namespace": scenario.name },
            "spec": {
                "replicas": 0,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": super::pod_spec(image),
                },
            },
        });
        let run = scenario.cluster().apply(&object.to_string()).ok();
        run.says("Warning: placeholder image not verified: spec.template.spec.containers[0].image");
        let stored = scenario.field(kind, &name, ".spec.template.spec.containers[0].image");
        assert_eq!(stored.trim(), image.trim(), "{kind}");
    }
    scenario.run("pod", "auto").fails_with(DENIED);
}

/// A Deployment is admitted and its Pods are not, with a policy that matches Pods only.
#[test]
fn a_deployment_tells_of_the_pods_that_were_refused() {
    let scenario = Scenario::bare("gate-failed-create");
    let spec = json!({
        "authorities": [scenario.key_authority("cosign")],
        "match": [{ "version": "v1", "resource": "pods" }],
    });
    scenario.apply_strict(&scenario.policy(&spec));
    // Deployments and ReplicaSets need a policy of their own: no match is a denial.
    let pass = json!({
        "authorities": [{ "static": { "action": "pass" } }],
        "match": [
            { "group": "apps", "version": "v1", "resource": "deployments" },
            { "group": "apps", "version": "v1", "resource": "replicasets" },
        ],
    });
    let mut others = scenario.policy(&pass);
    others["metadata"]["name"] = json!("gate-failed-create-others");
    let image = scenario.image("app");
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "app", "namespace": scenario.name },
        "spec": {
            "selector": { "matchLabels": { "app": "app" } },
            "template": {
                "metadata": { "labels": { "app": "app" } },
                "spec": super::pod_spec(&image.by_digest()),
            },
        },
    });
    let create = ["create", "--dry-run=server", "-f", "-"];
    scenario.gate.apply_policy(&others.to_string(), || {
        let try_it = || scenario.cluster().kubectl_with(&create, &deployment.to_string()).code == 0;
        (0..4).all(|_| try_it())
    });
    scenario.cluster().apply(&deployment.to_string()).ok();
    let arguments =
        ["get", "events", "-n", &scenario.name, "-o", "jsonpath={.items[*]['reason','message']}"];
    let events = || scenario.cluster().kubectl(&arguments).ok().stdout;
    wait_until(Duration::from_secs(60), || events().contains("FailedCreate")).unwrap();
    let said = events();
    assert!(said.contains("failed policy: gate-failed-create: spec.containers[0].image"), "{said}");
}

#[test]
fn a_pull_secret_of_the_pod_is_used() {
    let scenario = Scenario::bare("gate-pull-secret");
    let (user, password) = USER;
    let registry = registries::docker_with_password();
    let open = scenario.image("app");
    let image = open.at(&registry.host);
    let login = ["login", &registry.host, "-u", user, "-p", password];
    scenario.sandbox.sealgate(&login).ok();
    scenario.sandbox.sealgate(&["copy", &open.by_tag(), &image.by_tag()]).ok();
    Tool::Cosign.sign(&scenario.sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
    let mut policy = scenario.policy(&json!({ "authorities": [scenario.key_authority("cosign")] }));
    policy["spec"]["images"] = json!([{ "glob": format!("{}/**", registry.host) }]);
    let denied = format!("{DENIED}failed policy: {}", scenario.name);
    scenario.gate.apply_policy(&policy.to_string(), || {
        (0..4).all(|_| scenario.dry_run("app", &image.by_digest()).stderr.contains(&denied))
    });
    let run = scenario.run("app", &image.by_digest());
    run.fails_with(&denied).says_no("no signatures found");
    let server = format!("--docker-server={}", registry.host);
    let (name, secret) =
        (format!("--docker-username={user}"), format!("--docker-password={password}"));
    let create = ["create", "secret", "docker-registry", "pull", "-n", &scenario.name];
    let arguments: Vec<&str> =
        create.into_iter().chain([server.as_str(), name.as_str(), secret.as_str()]).collect();
    scenario.cluster().kubectl(&arguments).ok();
    let mut pod = scenario.pod("app", &image.by_tag());
    pod["spec"]["imagePullSecrets"] = json!([{ "name": "pull" }]);
    scenario.cluster().apply(&pod.to_string()).ok();
}
