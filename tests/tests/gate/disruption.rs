//! A cluster of its own, for what would disturb others: replicas that die, certificates that
//! change, and the gate's removal. One after the other, in one life of one cluster.

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
    let town = Town::build(&cluster, &gate);
    one_replica_dies_and_comes_back(&town);
    all_replicas_die_and_nothing_gets_in(&town);
    certificates_are_changed_while_serving(&town);
    installing_again_changes_nothing(&town);
    uninstalling_leaves_nothing_stuck(&town);
}

/// A namespace, a policy, an image that is signed and one that is not.
struct Town<'a> {
    cluster: &'a Cluster,
    gate: &'a Installation<'a>,
    sandbox: Sandbox,
    signed: Image,
    unsigned: Image,
}

impl<'a> Town<'a> {
    fn build(cluster: &'a Cluster, gate: &'a Installation<'a>) -> Self {
        let sandbox = sandbox_with_key();
        let registry = registries::docker();
        let signed = registry.image("disruption/signed");
        Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &signed.by_digest(), &[]).ok();
        let unsigned = registry.image("disruption/unsigned");
        cluster.namespace("town", &[INCLUDE]);
        let town = Self { cluster, gate, sandbox, signed, unsigned };
        let policy = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": "town" },
            "spec": {
                "images": [{ "glob": format!("{}/**", registry.host) }],
                "authorities": [{ "key": { "data": town.sandbox.read("cosign.pub") } }],
            },
        });
        gate.apply_policy(&policy.to_string(), || {
            (0..4).all(|_| town.run(&town.unsigned).stderr.contains("failed policy: town"))
        });
        town
    }

    /// Would a Pod with this image get in?
    fn run(&self, image: &Image) -> Run {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "app", "namespace": "town" },
            "spec": pod_spec(&image.by_tag()),
        });
        let arguments = ["create", "--dry-run=server", "-f", "-"];
        self.cluster.kubectl_with(&arguments, &pod.to_string())
    }

    /// A Deployment of the signed image.
    fn deployment(&self, replicas: u32) -> Value {
        let labels = json!({ "app": "scaled" });
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "scaled", "namespace": "town" },
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

    /// The signed one gets in, the other does not.
    #[track_caller]
    fn is_guarded(&self) {
        self.run(&self.signed).ok();
        self.run(&self.unsigned).fails_with(DENIED);
    }
}

fn one_replica_dies_and_comes_back(town: &Town<'_>) {
    for number in 0..2 {
        town.gate.replicas(|replicas| replicas[number].kill());
        // A connection that dies under a call is tried again by the client of the API server.
        let guarded = || town.run(&town.signed).code == 0;
        wait_until(Duration::from_secs(10), guarded).expect("the other replica serves");
        (0..4).for_each(|_| town.is_guarded());
        town.gate.replicas(|replicas| replicas[number].restart()).unwrap();
    }
    (0..4).for_each(|_| town.is_guarded());
}

fn all_replicas_die_and_nothing_gets_in(town: &Town<'_>) {
    let deployment = town.deployment(3);
    town.cluster.apply(&deployment.to_string()).ok();
    let pods = || {
        let get = ["get", "pods", "-n", "town", "-l", "app=scaled", "-o", "name"];
        town.cluster.kubectl(&get).ok().stdout.lines().count()
    };
    wait_until(Duration::from_secs(30), || pods() == 3).expect("three pods");
    town.gate.replicas(|replicas| replicas.iter_mut().for_each(|replica| replica.kill()));
    for image in [&town.signed, &town.unsigned] {
        town.run(image).fails_with("failed calling webhook");
    }
    its_own_pods_can_come_back(town);
    // What starts nothing goes on: fewer replicas, by the controller too, and finalizers.
    let scale = |to: &str| town.cluster.kubectl(&["scale", "deployment/scaled", "-n", "town", to]);
    scale("--replicas=1").ok();
    wait_until(Duration::from_secs(30), || pods() == 1).expect("one pod is left");
    let pod = || {
        let get = ["get", "pods", "-n", "town", "-l", "app=scaled", "-o", "name"];
        town.cluster.kubectl(&get).ok().stdout.trim().to_owned()
    };
    let finalizers = |list: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{list}}}}}"#);
        town.cluster.kubectl(&["patch", &pod(), "-n", "town", "--type=merge", "-p", &patch]).ok();
    };
    finalizers(r#"["tests.sealgate.dev/held"]"#);
    finalizers("null");
    // More pods are not started, nor others.
    scale("--replicas=2").ok();
    let restart = ["rollout", "restart", "deployment/scaled", "-n", "town"];
    town.cluster.kubectl(&restart).fails_with("failed calling webhook");
    let label = ["label", &pod(), "-n", "town", "team=red"];
    town.cluster.kubectl(&label).fails_with("failed calling webhook");
    assert_eq!(pods(), 1, "nobody has judged more");
    town.gate
        .replicas(|replicas| replicas.iter_mut().try_for_each(|replica| replica.restart()))
        .unwrap();
    (0..4).for_each(|_| town.is_guarded());
}

/// Even when somebody has labelled its namespace; a neighbour with the label is refused.
fn its_own_pods_can_come_back(town: &Town<'_>) {
    town.cluster.kubectl(&["label", "namespace", NAMESPACE, INCLUDE]).ok();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "gate", "namespace": NAMESPACE },
        "spec": pod_spec(&town.unsigned.by_tag()),
    });
    for operation in ["create", "replace"] {
        let arguments = [operation, "-f", "-"];
        town.cluster.kubectl_with(&arguments, &pod.to_string()).ok();
    }
    town.cluster.kubectl(&["delete", "pod", "gate", "-n", NAMESPACE, "--force"]).ok();
    town.run(&town.signed).fails_with("failed calling webhook");
    let label = INCLUDE.split('=').next().unwrap();
    town.cluster.kubectl(&["label", "namespace", NAMESPACE, &format!("{label}-")]).ok();
}

fn certificates_are_changed_while_serving(town: &Town<'_>) {
    let ports = town.gate.replicas(|replicas| [replicas[0].port, replicas[1].port]);
    let shown = || ports.map(|port| certificates::shown_by(port).unwrap());
    let before = shown();
    let secret = ["delete", "secret", "webhook-certs", "-n", NAMESPACE];
    town.cluster.kubectl(&secret).ok();
    // All the while, the API server believes what it is shown.
    let changed = || {
        town.is_guarded();
        let now = shown();
        now[0] != before[0] && now[1] != before[1]
    };
    wait_until(Duration::from_secs(90), changed).expect("both replicas show new certificates");
    (0..10).for_each(|_| town.is_guarded());
    // And a replica that starts now shows the same CA's.
    town.gate.replicas(|replicas| replicas[0].restart()).unwrap();
    (0..10).for_each(|_| town.is_guarded());
}

fn installing_again_changes_nothing(town: &Town<'_>) {
    let policies = ["get", "clusterimagepolicies", "-o", "name"];
    let before = town.cluster.kubectl(&policies).ok().stdout;
    let webhooks: Vec<&str> = vec!["apply", "--dry-run=server", "-f", "-"];
    town.cluster.kubectl_with(&webhooks, &install_yaml()).ok();
    assert_eq!(town.cluster.kubectl(&policies).ok().stdout, before);
    town.is_guarded();
}

fn uninstalling_leaves_nothing_stuck(town: &Town<'_>) {
    town.gate.replicas(|replicas| replicas.iter_mut().for_each(|replica| replica.kill()));
    let kubeconfig = town.cluster.kubeconfig.display().to_string();
    let sandbox = Sandbox::new().with("KUBECONFIG", kubeconfig);
    sandbox.sealgate(&["uninstall", "--yes"]).ok();
    for (kind, name) in CONFIGURATIONS {
        town.cluster.kubectl(&["get", kind, name]).fails_with("not found");
    }
    // Nobody judges any more, and nobody is asked who is not there.
    town.run(&town.unsigned).ok();
    let gone = || town.cluster.kubectl(&["get", "deployment", "-n", NAMESPACE, "-o", "name"]);
    wait_until(Duration::from_secs(30), || gone().stdout.is_empty())
        .expect("no Deployment is left");
    // Policies can still be deleted.
    let delete = ["delete", "clusterimagepolicies", "--all", "--timeout=20s"];
    let run = town.cluster.kubectl(&delete);
    let crd_is_gone = run.stderr.contains("doesn't have a resource type");
    assert!(run.code == 0 || crd_is_gone, "{}", run.report());
    town.cluster.kubectl(&["delete", "namespace", "town", "--timeout=60s"]).ok();
    sandbox.sealgate(&["uninstall", "--yes", "--with-policies"]).ok();
    let left = ["get", "customresourcedefinitions", "-o", "name"];
    let definitions = || town.cluster.kubectl(&left).ok().stdout;
    let gone = || !definitions().contains("policy.sigstore.dev");
    wait_until(Duration::from_secs(30), gone).expect("no definition is left");
    let namespace = || town.cluster.kubectl(&["get", "namespace", NAMESPACE]).code != 0;
    wait_until(Duration::from_secs(60), namespace).expect("the gate's namespace is gone");
}
