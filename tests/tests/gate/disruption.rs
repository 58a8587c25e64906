//! Tests in a separate cluster that would disturb others: failing replicas, certificate rotation,
//! and removal of the gate. They run in sequence.

use std::time::Duration;

use sealgate_tests::certificates;
use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::{CONFIGURATIONS, INCLUDE, Installation, NAMESPACE, install_yaml};
use sealgate_tests::image::Image;
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::{Run, Sandbox};
use sealgate_tests::registries;
use serde_json::{Value, json};

use super::{DENIED, pod_spec};
use crate::support::{Format, Tool, sandbox_with_key};

#[test]
fn the_life_of_a_gate() {
    let cluster = Cluster::start("disruption").unwrap();
    let gate = Installation::start("disruption", &cluster).unwrap();
    let scenario = DisruptionScenario::build(&cluster, &gate);
    one_replica_dies_and_comes_back(&scenario);
    all_replicas_die_and_nothing_gets_in(&scenario);
    certificates_are_changed_while_serving(&scenario);
    installing_again_changes_nothing(&scenario);
    uninstalling_leaves_nothing_stuck(&scenario);
}

/// Namespace with a policy, a signed image and an unsigned one.
struct DisruptionScenario<'a> {
    cluster: &'a Cluster,
    gate: &'a Installation<'a>,
    sandbox: Sandbox,
    signed: Image,
    unsigned: Image,
}

impl<'a> DisruptionScenario<'a> {
    fn build(cluster: &'a Cluster, gate: &'a Installation<'a>) -> Self {
        let sandbox = sandbox_with_key();
        let registry = registries::docker();
        let signed = registry.image("disruption/signed");
        Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &signed.by_digest(), &[]).ok();
        let unsigned = registry.image("disruption/unsigned");
        cluster.namespace("disruption", &[INCLUDE]);
        let scenario = Self { cluster, gate, sandbox, signed, unsigned };
        let policy = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": "disruption" },
            "spec": {
                "images": [{ "glob": format!("{}/**", registry.host) }],
                "authorities": [{ "key": { "data": scenario.sandbox.read("cosign.pub") } }],
            },
        });
        gate.apply_policy(&policy.to_string(), || {
            (0..4).all(|_| {
                scenario.run(&scenario.unsigned).stderr.contains("failed policy: disruption")
            })
        });
        scenario
    }

    /// Creates a Pod with this image as a dry run.
    fn run(&self, image: &Image) -> Run {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "app", "namespace": "disruption" },
            "spec": pod_spec(&image.by_tag()),
        });
        let arguments = ["create", "--dry-run=server", "-f", "-"];
        self.cluster.kubectl_with(&arguments, &pod.to_string())
    }

    /// Deployment of the signed image.
    fn deployment(&self, replicas: u32) -> Value {
        let labels = json!({ "app": "scaled" });
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "scaled", "namespace": "disruption" },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": pod_spec(&self.signed.by_tag()),
                },
            },
        })
    }

    /// Asserts that the signed image is admitted and the unsigned one is not.
    #[track_caller]
    fn is_guarded(&self) {
        self.run(&self.signed).ok();
        self.run(&self.unsigned).fails_with(DENIED);
    }
}

fn one_replica_dies_and_comes_back(scenario: &DisruptionScenario<'_>) {
    for number in 0..2 {
        scenario.gate.replicas(|replicas| replicas[number].kill());
        // The API server's client retries a connection that breaks during a call.
        let guarded = || scenario.run(&scenario.signed).code == 0;
        wait_until(Duration::from_secs(10), guarded).expect("the other replica serves");
        (0..4).for_each(|_| scenario.is_guarded());
        scenario.gate.replicas(|replicas| replicas[number].restart()).unwrap();
    }
    (0..4).for_each(|_| scenario.is_guarded());
}

fn all_replicas_die_and_nothing_gets_in(scenario: &DisruptionScenario<'_>) {
    let deployment = scenario.deployment(3);
    scenario.cluster.apply(&deployment.to_string()).ok();
    let pods = || {
        let get = ["get", "pods", "-n", "disruption", "-l", "app=scaled", "-o", "name"];
        scenario.cluster.kubectl(&get).ok().stdout.lines().count()
    };
    wait_until(Duration::from_secs(30), || pods() == 3).expect("three pods");
    scenario.gate.replicas(|replicas| replicas.iter_mut().for_each(|replica| replica.kill()));
    for image in [&scenario.signed, &scenario.unsigned] {
        scenario.run(image).fails_with("failed calling webhook");
    }
    its_own_pods_can_come_back(scenario);
    // Changes that start no pods still work: fewer replicas, also by the controller, and
    // finalizers.
    let scale = |to: &str| {
        scenario.cluster.kubectl(&["scale", "deployment/scaled", "-n", "disruption", to])
    };
    scale("--replicas=1").ok();
    wait_until(Duration::from_secs(30), || pods() == 1).expect("one pod is left");
    let pod = || {
        let get = ["get", "pods", "-n", "disruption", "-l", "app=scaled", "-o", "name"];
        scenario.cluster.kubectl(&get).ok().stdout.trim().to_owned()
    };
    let finalizers = |list: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{list}}}}}"#);
        scenario
            .cluster
            .kubectl(&["patch", &pod(), "-n", "disruption", "--type=merge", "-p", &patch])
            .ok();
    };
    finalizers(r#"["tests.sealgate.dev/held"]"#);
    finalizers("null");
    // Neither more replicas nor other pods are started.
    scale("--replicas=2").ok();
    let restart = ["rollout", "restart", "deployment/scaled", "-n", "disruption"];
    scenario.cluster.kubectl(&restart).fails_with("failed calling webhook");
    let label = ["label", &pod(), "-n", "disruption", "team=red"];
    scenario.cluster.kubectl(&label).fails_with("failed calling webhook");
    assert_eq!(pods(), 1, "nobody has judged more");
    scenario
        .gate
        .replicas(|replicas| replicas.iter_mut().try_for_each(|replica| replica.restart()))
        .unwrap();
    (0..4).for_each(|_| scenario.is_guarded());
}

/// Holds even when its namespace has the label; another namespace with the label is refused.
fn its_own_pods_can_come_back(scenario: &DisruptionScenario<'_>) {
    scenario.cluster.kubectl(&["label", "namespace", NAMESPACE, INCLUDE]).ok();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "gate", "namespace": NAMESPACE },
        "spec": pod_spec(&scenario.unsigned.by_tag()),
    });
    for operation in ["create", "replace"] {
        let arguments = [operation, "-f", "-"];
        scenario.cluster.kubectl_with(&arguments, &pod.to_string()).ok();
    }
    scenario.cluster.kubectl(&["delete", "pod", "gate", "-n", NAMESPACE, "--force"]).ok();
    scenario.run(&scenario.signed).fails_with("failed calling webhook");
    let label = INCLUDE.split('=').next().unwrap();
    scenario.cluster.kubectl(&["label", "namespace", NAMESPACE, &format!("{label}-")]).ok();
}

fn certificates_are_changed_while_serving(scenario: &DisruptionScenario<'_>) {
    let ports = scenario.gate.replicas(|replicas| [replicas[0].port, replicas[1].port]);
    let shown = || ports.map(|port| certificates::shown_by(port).unwrap());
    let before = shown();
    let secret = ["delete", "secret", "webhook-certs", "-n", NAMESPACE];
    scenario.cluster.kubectl(&secret).ok();
    // Meanwhile, the API server trusts every served certificate.
    let changed = || {
        scenario.is_guarded();
        let now = shown();
        now[0] != before[0] && now[1] != before[1]
    };
    wait_until(Duration::from_secs(90), changed).expect("both replicas show new certificates");
    (0..10).for_each(|_| scenario.is_guarded());
    // A restarted replica serves a certificate from the same CA.
    scenario.gate.replicas(|replicas| replicas[0].restart()).unwrap();
    (0..10).for_each(|_| scenario.is_guarded());
}

fn installing_again_changes_nothing(scenario: &DisruptionScenario<'_>) {
    let policies = ["get", "clusterimagepolicies", "-o", "name"];
    let before = scenario.cluster.kubectl(&policies).ok().stdout;
    let webhooks: Vec<&str> = vec!["apply", "--dry-run=server", "-f", "-"];
    scenario.cluster.kubectl_with(&webhooks, &install_yaml()).ok();
    assert_eq!(scenario.cluster.kubectl(&policies).ok().stdout, before);
    scenario.is_guarded();
}

fn uninstalling_leaves_nothing_stuck(scenario: &DisruptionScenario<'_>) {
    scenario.gate.replicas(|replicas| replicas.iter_mut().for_each(|replica| replica.kill()));
    let kubeconfig = scenario.cluster.kubeconfig.display().to_string();
    let sandbox = Sandbox::new().with("KUBECONFIG", kubeconfig);
    sandbox.sealgate(&["uninstall", "--yes"]).ok();
    for (kind, name) in CONFIGURATIONS {
        scenario.cluster.kubectl(&["get", kind, name]).fails_with("not found");
    }
    // Nothing is checked any more, and no missing webhook is called.
    scenario.run(&scenario.unsigned).ok();
    let gone = || scenario.cluster.kubectl(&["get", "deployment", "-n", NAMESPACE, "-o", "name"]);
    wait_until(Duration::from_secs(30), || gone().stdout.is_empty())
        .expect("no Deployment is left");
    // Policies can still be deleted.
    let delete = ["delete", "clusterimagepolicies", "--all", "--timeout=20s"];
    let run = scenario.cluster.kubectl(&delete);
    let crd_is_gone = run.stderr.contains("doesn't have a resource type");
    assert!(run.code == 0 || crd_is_gone, "{}", run.report());
    scenario.cluster.kubectl(&["delete", "namespace", "disruption", "--timeout=60s"]).ok();
    sandbox.sealgate(&["uninstall", "--yes", "--with-policies"]).ok();
    let left = ["get", "customresourcedefinitions", "-o", "name"];
    let definitions = || scenario.cluster.kubectl(&left).ok().stdout;
    let gone = || !definitions().contains("policy.sigstore.dev");
    wait_until(Duration::from_secs(30), gone).expect("no definition is left");
    let namespace = || scenario.cluster.kubectl(&["get", "namespace", NAMESPACE]).code != 0;
    wait_until(Duration::from_secs(60), namespace).expect("the gate's namespace is gone");
}
