//! Every workload kind, every image field, and updates.

use serde_json::{Value, json};

use super::{DENIED, Scenario, pod_spec};

/// Every kind except Pod: API, plural, and path of its pod spec.
const KINDS: [(&str, &str, &str); 7] = [
    ("apps/v1", "ReplicaSet", "spec.template.spec"),
    ("apps/v1", "Deployment", "spec.template.spec"),
    ("apps/v1", "StatefulSet", "spec.template.spec"),
    ("apps/v1", "DaemonSet", "spec.template.spec"),
    ("batch/v1", "Job", "spec.template.spec"),
    ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ("v1", "ReplicationController", "spec.template.spec"),
];

fn workload(scenario: &Scenario, api: &str, kind: &str, image: &str) -> Value {
    let labels = json!({ "app": "app" });
    let mut template = json!({ "metadata": { "labels": labels }, "spec": pod_spec(image) });
    let spec = match kind {
        "CronJob" | "Job" => {
            template["spec"]["restartPolicy"] = json!("Never");
            json!({ "template": template })
        }
        "ReplicationController" => {
            json!({ "replicas": 0, "selector": labels, "template": template })
        }
        "DaemonSet" => json!({ "selector": { "matchLabels": labels }, "template": template }),
        _ => json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": template }),
    };
    let spec = match kind {
        "CronJob" => json!({ "schedule": "0 0 1 1 *", "jobTemplate": { "spec": spec } }),
        _ => spec,
    };
    let name = format!("app-{}", kind.to_lowercase());
    let metadata = json!({ "name": name, "namespace": scenario.name });
    json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec })
}

#[test]
fn every_kind_is_judged() {
    let scenario = Scenario::new("gate-kinds");
    let (signed, unsigned) = (scenario.signed("signed"), scenario.image("unsigned"));
    for (api, kind, path) in KINDS {
        let bad = workload(&scenario, api, kind, &unsigned.by_tag());
        let path = format!("{path}.containers[0].image");
        scenario.cluster().apply(&bad.to_string()).fails_with(&scenario.denial(&path));
        let good = workload(&scenario, api, kind, &signed.by_tag());
        scenario.cluster().apply(&good.to_string()).ok();
        let name = format!("app-{}", kind.to_lowercase());
        let stored = scenario.field(kind, &name, &format!(".{path}"));
        assert_eq!(stored, format!("{}@{}", signed.by_tag(), signed.digest), "{kind}");
    }
}

#[test]
fn init_containers_and_image_volumes_are_judged() {
    let scenario = Scenario::new("gate-places");
    let (signed, unsigned) = (scenario.signed("signed"), scenario.image("unsigned"));
    let mut pod = scenario.pod("app", &signed.by_tag());
    pod["spec"]["initContainers"] = json!([{ "name": "init", "image": unsigned.by_tag() }]);
    let denial = scenario.denial("spec.initContainers[0].image");
    scenario.cluster().apply(&pod.to_string()).fails_with(&denial);
    let mut pod = scenario.pod("app", &signed.by_tag());
    pod["spec"]["volumes"] =
        json!([{ "name": "data", "image": { "reference": unsigned.by_tag() } }]);
    let run = scenario.cluster().apply(&pod.to_string());
    run.fails_with(DENIED).says("spec.volumes[0].image");
}

#[test]
fn ephemeral_containers_are_judged() {
    let scenario = Scenario::new("gate-ephemeral");
    let (signed, unsigned) = (scenario.signed("signed"), scenario.image("unsigned"));
    scenario.run("app", &signed.by_tag()).ok();
    let debug = |image: &str| {
        let get = ["get", "pod", "app", "-n", &scenario.name, "-o", "json"];
        let mut pod = scenario.cluster().kubectl(&get).ok().json();
        pod["spec"]["ephemeralContainers"] =
            json!([{ "name": "debug", "image": image, "terminationMessagePolicy": "File" }]);
        let path = format!("/api/v1/namespaces/{}/pods/app/ephemeralcontainers", scenario.name);
        scenario.cluster().kubectl_with(&["replace", "--raw", &path, "-f", "-"], &pod.to_string())
    };
    let run = debug(&unsigned.by_tag());
    run.fails_with(&scenario.denial("spec.ephemeralContainers[0].image"));
    debug(&signed.by_tag()).ok();
}

#[test]
fn images_that_an_update_leaves_are_not_judged_again() {
    let scenario = Scenario::new("gate-update");
    let (signed, unsigned) = (scenario.signed("signed"), scenario.image("unsigned"));
    scenario.run("app", &signed.by_tag()).ok();
    // From now on, new uses of the image are refused.
    let fail = json!({ "authorities": [{ "static": { "action": "fail", "message": "closed" } }] });
    scenario.gate.apply_policy(&scenario.policy(&fail).to_string(), || {
        (0..4).all(|_| scenario.dry_run("other", &signed.by_digest()).stderr.contains("closed"))
    });
    let cluster = scenario.cluster();
    cluster.kubectl(&["label", "pod", "app", "-n", &scenario.name, "team=red"]).ok();
    let image = format!("app={}", unsigned.by_tag());
    let run = cluster.kubectl(&["set", "image", "pod/app", "-n", &scenario.name, &image]);
    run.fails_with(&scenario.denial("spec.containers[0].image"));
    cluster
        .kubectl(&["delete", "pod", "app", "-n", &scenario.name, "--grace-period=0", "--force"])
        .ok();
}
