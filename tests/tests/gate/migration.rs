//! Migration from real policy-controller, installed from its own manifests, to the gate and back;
//! and upgrades. Meanwhile two threads ask the API server every 50 ms whether an unsigned Pod would
//! be admitted (never: no gap in enforcement) and a signed one (always: no outage). The steps run
//! in sequence in one cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sealgate_tests::certificates::Authority;
use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::{CONFIGURATIONS, INCLUDE, NAMESPACE, install_yaml};
use sealgate_tests::image::Image;
use sealgate_tests::nodes::{Api, Nodes};
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::{Sandbox, of_policy_controller};
use sealgate_tests::registries;
use serde_json::{Value, json};

use super::pod_spec;
use crate::guide::{Step, steps, wait_until_it_is_so, with_shell};
use crate::support::{Format, Tool, sandbox_with_key};

const POLICY_CONTROLLER: &str = include_str!("../../../docs/guides/policy-controller.md");
const OPERATING: &str = include_str!("../../../docs/guides/operating.md");
const PATIENCE: Duration = Duration::from_secs(90);
const POLICIES: &str = "/apis/policy.sigstore.dev/v1beta1/clusterimagepolicies";
const SETTINGS: &str = "/api/v1/namespaces/cosign-system/configmaps/config-policy-controller";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/\
                          clusterimagepolicies.policy.sigstore.dev";
const DEPLOYMENT: &str =
    "/apis/apps/v1/namespaces/cosign-system/deployments/policy-controller-webhook";

#[test]
fn policy_controller_is_replaced_and_comes_back() {
    let cluster: &'static Cluster =
        Box::leak(Box::new(Cluster::start_with_nodes("migration").unwrap()));
    let nodes = Nodes::start("migration", cluster, NAMESPACE).unwrap();
    let site = MigrationScenario::build(cluster, &nodes);
    install_policy_controller(&site);
    namespaces_that_would_lose_their_webhook_are_named(&site);
    let kept = site.what_is_kept();
    let watch = Watch::start(&site);
    installing_over_it_is_refused(&site);
    let mut guide = steps(POLICY_CONTROLLER).into_iter();
    site.follow(POLICY_CONTROLLER, guide.by_ref().take(3));
    the_gate_has_its_place(&site);
    assert_eq!(watch.configurations_seen(), BTreeSet::from([1]), "one webhook at every moment");
    assert_eq!(site.what_is_kept(), kept);
    installing_again_keeps_what_is_the_users(&site);
    registries_without_public_tls_are_reached(&site);
    watch.assert_guarded();
    site.follow(POLICY_CONTROLLER, guide.by_ref().take(1));
    site.sandbox.sealgate(&["uninstall", "--yes"]).fails_with("is not finished");
    apply_policy_controller(&site);
    site.follow(POLICY_CONTROLLER, guide.by_ref().take(1));
    policy_controller_is_back(&site);
    watch.assert_guarded();
    assert_eq!(site.what_is_kept(), kept);
    assert!(guide.next().is_none(), "every command of the guide was run");
}

/// Upgrades, an unavailable gate, and recovery, as in the guide.
#[test]
fn the_guide_for_operating_the_gate() {
    let cluster: &'static Cluster =
        Box::leak(Box::new(Cluster::start_with_nodes("operating").unwrap()));
    let nodes = Nodes::start("operating", cluster, NAMESPACE).unwrap();
    let site = MigrationScenario::build(cluster, &nodes);
    cluster.namespace("shop", &[INCLUDE]);
    nothing_is_handed_over_where_no_gate_is(&site);
    an_older_installation_by_kubectl_is_upgraded(&site);
    // All namespaces have the label.
    site.sandbox.sealgate(&["install", "--image", "sealgate:test"]).ok();
    cluster.kubectl(&["label", "namespace", NAMESPACE, INCLUDE]).ok();
    let ready = |number: usize| {
        let is_so = || nodes.ready("app.kubernetes.io/name", "sealgate") == number;
        wait_until(PATIENCE, is_so).unwrap_or_else(|_| panic!("{number} pods of the gate"));
    };
    ready(2);
    let mut guide = steps(OPERATING).into_iter();
    site.follow(OPERATING, guide.by_ref().take(2));
    let refused = || site.would_run(&site.unsigned).0 == 400;
    wait_until(PATIENCE, refused).expect("the gate answers");
    let scale = |replicas: &str| {
        let deployment = "deployment/policy-controller-webhook";
        cluster.kubectl(&["scale", "-n", NAMESPACE, deployment, replicas]).ok();
    };
    scale("--replicas=0");
    ready(0);
    // A pod that is no longer listed may still be draining.
    let said = || site.would_run(&site.signed).1["message"].to_string();
    wait_until(PATIENCE, || said().contains("failed calling webhook"))
        .unwrap_or_else(|_| panic!("nobody answers: {}", said()));
    site.follow(OPERATING, guide.by_ref().take(3));
    assert_eq!(site.would_run(&site.unsigned).0, 201, "nobody judges any more");
    // Its pods are recreated, although its namespace has the label.
    scale("--replicas=2");
    ready(2);
    site.follow(OPERATING, guide.by_ref().take(1));
    wait_until(PATIENCE, refused).expect("the gate judges again");
    assert!(guide.next().is_none(), "every command of the guide was run");
}

/// Fails at once, and leaves nothing behind.
fn nothing_is_handed_over_where_no_gate_is(site: &MigrationScenario<'_>) {
    site.cluster.namespace(NAMESPACE, &[]);
    let words = ["uninstall", "--hand-over", "--yes", "--timeout", "30s"];
    site.sandbox.sealgate(&words).fails_with("the gate is not installed here");
    let service = format!("/api/v1/namespaces/{NAMESPACE}/services/sealgate");
    assert_eq!(site.api.get(&service).unwrap(), Value::Null);
}

/// Older installation with objects of older versions, and a flag that is no longer given. Fields
/// set by `kubectl apply` are removed; labels and annotations in its manifest are not.
fn an_older_installation_by_kubectl_is_upgraded(site: &MigrationScenario<'_>) {
    definitions_of_policy_controller_are_left(site);
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": { "name": "sealgate", "labels": { "app.kubernetes.io/part-of": "sealgate" } },
        "value": 1000,
    });
    site.cluster.apply(&class.to_string()).ok();
    let words = ["install", "--dry-run", "-o", "json", "--image", "sealgate:old"];
    let flags = ["--priority-class", "sealgate", "--image-pull-secret", "old-pull"];
    let bundle = ["--registry-ca-bundle", "registry-ca.pem"];
    site.sandbox.write("registry-ca.pem", Authority::new("tests registry ca").unwrap().pem);
    let words: Vec<&str> = words.into_iter().chain(flags).chain(bundle).collect();
    let mut old = site.sandbox.sealgate(&words).ok().json();
    for item in old["items"].as_array_mut().expect("a list") {
        if item["kind"] == "Deployment" {
            item["metadata"]["labels"]["team"] = json!("red");
            item["spec"]["template"]["metadata"]["annotations"] = json!({ "old": "yes" });
        }
    }
    site.cluster.apply(&old.to_string()).ok();
    let is_settled = |image: &str| {
        let live = site.api.get(DEPLOYMENT).unwrap();
        let is_new = live["spec"]["template"]["spec"]["containers"][0]["image"] == image;
        let count = |what: &str| live["status"][what].as_u64().unwrap_or_default();
        is_new
            && live["status"]["observedGeneration"] == live["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "availableReplicas"].map(count) == [2, 2, 2]
    };
    wait_until(PATIENCE, || is_settled("sealgate:old")).expect("the old gate runs");
    let conversion = || site.api.get(DEFINITION).unwrap()["spec"]["conversion"].clone();
    assert_eq!(conversion(), json!({ "strategy": "None" }), "kubectl takes it over");
    definitions_of_policy_controller_are_left(site);
    // The class is kept as long as the pods use it.
    let words = ["install", "--image", "sealgate:old", "--priority-class", "sealgate"];
    let words: Vec<&str> = words.into_iter().chain(bundle).collect();
    site.sandbox.sealgate(&words).ok().says_no("PriorityClass");
    assert_eq!(conversion(), json!({ "strategy": "None" }));
    wait_until(PATIENCE, || is_settled("sealgate:old")).expect("the old gate runs");
    let said = site.sandbox.sealgate(&["install", "--image", "sealgate:test"]).ok();
    said.says("deleted PriorityClass sealgate").says("deleted ConfigMap cosign-system/sealgate-");
    wait_until(PATIENCE, || is_settled("sealgate:test")).unwrap_or_else(|_| {
        panic!("the new gate runs: {:#}", site.api.get(DEPLOYMENT).unwrap()["status"])
    });
    let live = site.api.get(DEPLOYMENT).unwrap();
    let template = &live["spec"]["template"];
    assert!(template["spec"]["containers"][0].get("volumeMounts").is_none(), "{template:#}");
    for gone in ["priorityClassName", "imagePullSecrets", "volumes"] {
        assert!(template["spec"].get(gone).is_none(), "{template:#}");
    }
    assert!(template["metadata"].get("annotations").is_none(), "{template:#}");
    assert_eq!(live["metadata"]["labels"]["team"], "red");
    // kubectl can continue from there.
    let printed = ["install", "--dry-run", "--image", "sealgate:test"];
    let printed = site.sandbox.sealgate(&printed).ok().stdout;
    site.cluster.apply(&printed).ok().says_no("last-applied-configuration");
}

/// As `helm uninstall` leaves them: with the conversion webhook filled in by policy-controller.
fn definitions_of_policy_controller_are_left(site: &MigrationScenario<'_>) {
    for file in ["300-clusterimagepolicy.yaml", "300-trustroot.yaml"] {
        let file = of_policy_controller("config").join(file).display().to_string();
        site.cluster.kubectl(&["apply", "-f", &file]).ok();
    }
    let filled = json!({ "spec": { "conversion": { "strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {
            "service": { "name": "webhook", "namespace": NAMESPACE, "path": "/resource-conversion" },
        },
    } } } });
    let filled = filled.to_string();
    for name in ["clusterimagepolicies", "trustroots"] {
        let name = format!("{name}.policy.sigstore.dev");
        let words = ["patch", "customresourcedefinition", &name, "--type=merge", "-p", &filled];
        site.cluster.kubectl(&words).ok();
    }
}

/// Cluster, its clients, and two images.
struct MigrationScenario<'a> {
    cluster: &'static Cluster,
    nodes: &'a Nodes,
    api: Api,
    /// Contains `cosign.key`, and sets `KUBECONFIG`.
    sandbox: Sandbox,
    signed: Image,
    unsigned: Image,
}

impl<'a> MigrationScenario<'a> {
    fn build(cluster: &'static Cluster, nodes: &'a Nodes) -> Self {
        let kubeconfig = cluster.kubeconfig.display().to_string();
        let sandbox = with_shell(sandbox_with_key()).with("KUBECONFIG", kubeconfig);
        let registry = registries::docker();
        let signed = registry.image("migration/signed");
        // Signatures that both controllers can verify.
        Tool::Sealgate.sign(&sandbox, Format::Legacy, "cosign", &signed.by_digest(), &[]).ok();
        let unsigned = registry.image("migration/unsigned");
        cluster.namespace("migration", &[INCLUDE]);
        Self { cluster, nodes, api: nodes.api.clone(), sandbox, signed, unsigned }
    }

    /// Runs steps of a guide.
    fn follow(&self, guide: &str, steps: impl Iterator<Item = Step>) {
        steps.for_each(|step| wait_until_it_is_so(&self.sandbox, guide, &step));
    }

    fn would_run(&self, image: &Image) -> (u16, Value) {
        would_run(&self.api, &image.by_digest())
    }

    /// Policies, TrustRoots, secrets and settings.
    fn what_is_kept(&self) -> Vec<Value> {
        let specs = |path: &str| {
            let list = self.api.get(path).unwrap();
            let items = list["items"].as_array().expect("a list").clone();
            let one = |item: &Value| {
                json!([item["metadata"]["name"], item["metadata"]["uid"], item["spec"]])
            };
            let stays = |item: &&Value| item["metadata"]["name"] != "going";
            items.iter().filter(stays).map(one).collect::<Value>()
        };
        let secret =
            self.api.get("/api/v1/namespaces/cosign-system/secrets/migration-key").unwrap();
        vec![
            specs(POLICIES),
            specs("/apis/policy.sigstore.dev/v1alpha1/trustroots"),
            secret["data"].clone(),
            self.api.get(SETTINGS).unwrap()["data"].clone(),
        ]
    }

    fn configuration(&self, kind: &str, name: &str) -> Value {
        self.api.get(&format!("/apis/admissionregistration.k8s.io/v1/{kind}s/{name}")).unwrap()
    }
}

fn would_run(api: &Api, image: &str) -> (u16, Value) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app", "namespace": "migration" },
        "spec": pod_spec(image),
    });
    api.ask("POST", "/api/v1/namespaces/migration/pods?dryRun=All", &pod)
        .expect("the API server answers")
}

/// Background requests that check enforcement.
struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    asked: Arc<AtomicUsize>,
    wrong: Arc<Mutex<Vec<String>>>,
    /// Observed numbers of workload webhooks with rules in the validating configuration.
    seen: Arc<Mutex<BTreeSet<usize>>>,
}

impl Watch {
    fn start(site: &MigrationScenario<'_>) -> Self {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let wrong = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::<Mutex<BTreeSet<usize>>>::default();
        let ask = |image: String, right: fn(u16, &Value) -> bool| {
            let (api, stop, asked) = (site.api.clone(), Arc::clone(&stop), Arc::clone(&asked));
            let wrong = Arc::clone(&wrong);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let (status, body) = would_run(&api, &image);
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !right(status, &body) {
                        let text = format!("{image}: {status} {}", body["message"]);
                        wrong.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            })
        };
        let refused = |status: u16, body: &Value| {
            let said = body["message"].as_str().unwrap_or_default();
            (400..500).contains(&status) && said.contains("denied the request: validation failed")
        };
        let mut threads = vec![
            ask(site.unsigned.by_digest(), refused),
            ask(site.signed.by_digest(), |status, _| status == 201),
        ];
        let (api, stopped, counted) = (site.api.clone(), Arc::clone(&stop), Arc::clone(&seen));
        threads.push(std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let count = enforcing(&api);
                counted.lock().unwrap_or_else(PoisonError::into_inner).insert(count);
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
        Self { stop, threads, asked, wrong, seen }
    }

    fn configurations_seen(&self) -> BTreeSet<usize> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[track_caller]
    fn assert_guarded(&self) {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(wrong.is_empty(), "{} of {:?}: {wrong:#?}", wrong.len(), self.asked);
        assert!(self.asked.load(Ordering::Relaxed) > 100, "{:?}", self.asked);
        assert!(!self.configurations_seen().contains(&0));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Number of enforcing webhooks with rules for workloads, over all validating configurations.
fn enforcing(api: &Api) -> usize {
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let list = api.get(path).unwrap_or_default();
    let configurations = list["items"].as_array().into_iter().flatten();
    let webhooks = configurations.flat_map(|it| it["webhooks"].as_array().into_iter().flatten());
    webhooks
        .filter(|it| it["failurePolicy"] == "Fail" && it["rules"].to_string().contains("\"pods\""))
        .count()
}

/// Installs policy-controller from its own manifests, with policies, a key in a Secret, a TrustRoot
/// and settings.
fn install_policy_controller(site: &MigrationScenario<'_>) {
    apply_policy_controller(site);
    let serves = || {
        let filled = |(kind, name): &(&str, &str)| {
            site.configuration(kind, name)["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        };
        CONFIGURATIONS.iter().all(filled)
    };
    wait_until(PATIENCE, serves).expect("policy-controller fills in its webhooks");
    let public = site.sandbox.read("cosign.pub");
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "migration-key", "namespace": NAMESPACE },
        "stringData": { "cosign.pub": public },
    });
    site.cluster.apply(&secret.to_string()).ok();
    let settings = json!({ "data": { "no-match-policy": "warn" } }).to_string();
    let patch =
        ["patch", "configmap", "config-policy-controller", "-n", NAMESPACE, "-p", &settings];
    site.cluster.kubectl(&patch).ok();
    let root = of_policy_controller("trustroots/valid-sigstore-keys.yaml").display().to_string();
    // The API server may still use the previous certificate for a moment.
    let applied = || site.cluster.kubectl(&["apply", "-f", &root]).code == 0;
    wait_until(PATIENCE, applied).expect("policy-controller takes a TrustRoot");
    let host = &registries::docker().host;
    for (name, key) in [
        ("going", json!({ "data": public })),
        ("by-secret", json!({ "secretRef": { "name": "migration-key" } })),
        ("by-data", json!({ "data": public })),
    ] {
        let policy = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": name, "annotations": { "owner": "team red" } },
            "spec": {
                "images": [{ "glob": format!("{host}/tests/migration/**") }],
                "authorities": [{ "name": "key", "key": key }],
            },
        });
        let applied = || site.cluster.apply(&policy.to_string()).code == 0;
        wait_until(PATIENCE, applied).expect("policy-controller takes policies");
    }
    let has_finalizer = || {
        let going = site.api.get(&format!("{POLICIES}/going")).unwrap();
        let finalizers = &going["metadata"]["finalizers"];
        finalizers.to_string().contains("clusterimagepolicies.policy.sigstore.dev")
    };
    wait_until(PATIENCE, has_finalizer).expect("policy-controller puts its finalizer");
    let guarded = || {
        let (status, body) = site.would_run(&site.unsigned);
        status == 400
            && body["message"].to_string().contains("by-secret")
            && site.would_run(&site.signed).0 == 201
    };
    wait_until(PATIENCE, guarded).unwrap_or_else(|_| {
        panic!("{:?} {:?}", site.would_run(&site.unsigned), site.would_run(&site.signed))
    });
}

fn apply_policy_controller(site: &MigrationScenario<'_>) {
    let config = of_policy_controller("config");
    site.cluster.kubectl(&["apply", "-k", &config.display().to_string()]).ok();
    let deployment = config.join("webhook.yaml").display().to_string();
    site.cluster.kubectl(&["apply", "-f", &deployment]).ok();
    let running = || site.nodes.ready("role", "webhook") == 1;
    wait_until(PATIENCE, running).expect("policy-controller runs");
}

fn installing_over_it_is_refused(site: &MigrationScenario<'_>) {
    let before = site.configuration(CONFIGURATIONS[1].0, CONFIGURATIONS[1].1);
    let run = site.sandbox.sealgate(&["install", "--image", "sealgate:test"]);
    run.fails_with("policy-controller is installed here")
        .says("Deployment webhook")
        .says("sealgate install --replace");
    assert_eq!(site.configuration(CONFIGURATIONS[1].0, CONFIGURATIONS[1].1), before);
    assert_eq!(site.nodes.ready("app.kubernetes.io/name", "sealgate"), 0);
}

/// A second configuration that calls policy-controller for namespaces with another label, as the
/// Red Hat operator writes it.
fn namespaces_that_would_lose_their_webhook_are_named(site: &MigrationScenario<'_>) {
    let (kind, name) = ("validatingwebhookconfiguration", "policy.rhtas.com");
    let theirs = site.configuration(CONFIGURATIONS[1].0, CONFIGURATIONS[1].1);
    let mut webhook = theirs["webhooks"][0].clone();
    webhook["name"] = json!(name);
    webhook["namespaceSelector"] = json!({
        "matchExpressions": [
            { "key": "policy.rhtas.com/include", "operator": "In", "values": ["true"] },
        ],
    });
    webhook["objectSelector"] = json!({ "matchLabels": { "judge": "me" } });
    let other = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": [webhook],
    });
    site.cluster.namespace("red-hat", &["policy.rhtas.com/include=true"]);
    site.cluster.apply(&other.to_string()).ok();
    let before = site.configuration(kind, name);
    let words = ["install", "--replace", "--image", "sealgate:test"];
    let dry: Vec<&str> = words.iter().chain(&["--dry-run"]).copied().collect();
    let command = "kubectl label namespace red-hat policy.sigstore.dev/include=true";
    site.sandbox
        .sealgate(&dry)
        .ok()
        .says(&format!("namespace without the gate's label: {command}"))
        .says("policy.rhtas.com selects namespaces by")
        .says("has the objectSelector")
        .says_no("label namespace migration");
    site.sandbox
        .sealgate(&words)
        .fails_with("namespaces that policy-controller checks")
        .says(command);
    assert_eq!(site.configuration(kind, name), before, "nothing was changed");
    assert_eq!(site.nodes.ready("app.kubernetes.io/name", "sealgate"), 0);
    let command: Vec<&str> = command.split(' ').skip(1).collect();
    site.cluster.kubectl(&command).ok();
    site.sandbox.sealgate(&dry).ok().says_no("namespace without the gate's label");
    site.cluster.kubectl(&["delete", kind, name]).ok();
    site.cluster.kubectl(&["delete", "namespace", "red-hat", "--wait=false"]).ok();
}

fn the_gate_has_its_place(site: &MigrationScenario<'_>) {
    assert_eq!(site.nodes.ready("app.kubernetes.io/name", "sealgate"), 2);
    assert_eq!(site.nodes.ready("role", "webhook"), 0, "policy-controller is gone");
    for (kind, name) in CONFIGURATIONS {
        let configuration = site.configuration(kind, name);
        let webhooks = configuration["webhooks"].as_array().cloned().unwrap_or_default();
        let names: Vec<&Value> = webhooks.iter().map(|webhook| &webhook["name"]).collect();
        match (kind, name) {
            ("validatingwebhookconfiguration", "policy.sigstore.dev") => {
                assert_eq!(names, [name, "scale.policy.sigstore.dev"]);
            }
            _ => assert_eq!(names, [name]),
        }
        assert_eq!(configuration["webhooks"][0]["clientConfig"]["service"]["name"], "webhook");
        assert!(configuration["metadata"].get("ownerReferences").is_none());
    }
    let said = site.would_run(&site.unsigned).1["message"].to_string();
    assert!(said.contains("no signatures found"), "the gate's own words: {said}");
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/\
               clusterimagepolicies.policy.sigstore.dev";
    let crd = site.api.get(crd).unwrap();
    assert_eq!(crd["spec"]["conversion"]["strategy"], "None");
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    // The remaining service account has no permissions left.
    let can = ["auth", "can-i", "list", "secrets", "-n", NAMESPACE, "--as"];
    let account = format!("system:serviceaccount:{NAMESPACE}:webhook");
    let can: Vec<&str> = can.into_iter().chain([account.as_str()]).collect();
    assert_eq!(site.cluster.kubectl(&can).stdout.trim(), "no");
    let service = format!("/api/v1/namespaces/{NAMESPACE}/services/sealgate");
    let probe = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/\
                 sealgate-migration-probe";
    for path in [service.as_str(), probe] {
        assert_eq!(site.api.get(path).unwrap(), Value::Null, "{path} is left");
    }
    // No controller would remove them when an object is deleted.
    for path in [POLICIES, "/apis/policy.sigstore.dev/v1alpha1/trustroots"] {
        let list = site.api.get(path).unwrap();
        let items = list["items"].as_array().expect("a list");
        assert!(!items.is_empty(), "{path}");
        for item in items {
            let finalizers = &item["metadata"]["finalizers"];
            let is_free = finalizers.is_null() || *finalizers == json!([]);
            assert!(is_free, "{}: {finalizers}", item["metadata"]["name"]);
        }
    }
    inherited_policies_can_be_deleted(site);
    // A second run has nothing left to do.
    site.sandbox.sealgate(&["install", "--replace", "--image", "sealgate:test"]).ok();
}

/// A policy with policy-controller's finalizer.
fn inherited_policies_can_be_deleted(site: &MigrationScenario<'_>) {
    let delete = ["delete", "clusterimagepolicy", "going", "--timeout=30s"];
    site.cluster.kubectl(&delete).ok();
    assert_eq!(site.api.get(&format!("{POLICIES}/going")).unwrap(), Value::Null);
}

/// Upgrade with `install`, both direct and as printed and applied.
fn installing_again_keeps_what_is_the_users(site: &MigrationScenario<'_>) {
    let in_gate = ["-n", NAMESPACE];
    let kubectl = |words: &[&str]| {
        let all: Vec<&str> = words.iter().chain(&in_gate).copied().collect();
        site.cluster.kubectl(&all).ok();
    };
    let deployment = "deployment/policy-controller-webhook";
    kubectl(&["scale", deployment, "--replicas=3"]);
    kubectl(&["label", deployment, "team=red"]);
    kubectl(&["annotate", deployment, "note=kept"]);
    let (kind, name) = CONFIGURATIONS[1];
    kubectl(&["annotate", kind, name, "note=kept"]);
    kubectl(&["label", "namespace", NAMESPACE, "team=red"]);
    let path =
        format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/policy-controller-webhook");
    let bundles = || {
        CONFIGURATIONS.map(|(kind, name)| {
            site.configuration(kind, name)["webhooks"][0]["clientConfig"]["caBundle"].clone()
        })
    };
    let (kept, ca) = (site.what_is_kept(), bundles());
    assert!(ca.iter().all(Value::is_string));
    site.sandbox.sealgate(&["install", "--image", "sealgate:test"]).ok();
    let live = site.api.get(&path).unwrap();
    assert_eq!(live["spec"]["replicas"], 3, "without --replicas they stay as they are");
    let printed = ["install", "--dry-run", "--image", "sealgate:test", "--replicas", "3"];
    let printed = site.sandbox.sealgate(&printed).ok().stdout;
    for _ in 0..2 {
        site.cluster.apply(&printed).ok();
    }
    // Also for settings that were applied rather than edited.
    let settings = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "config-policy-controller", "namespace": NAMESPACE },
        "data": site.api.get(SETTINGS).unwrap()["data"],
    });
    site.cluster.apply(&settings.to_string()).ok();
    site.cluster.apply(&printed).ok();
    // Otherwise policy-controller's own manifest, which has no settings, would remove them.
    let applied = "kubectl.kubernetes.io/last-applied-configuration-";
    kubectl(&["annotate", "configmap", "config-policy-controller", applied]);
    assert_eq!(site.what_is_kept(), kept);
    assert_eq!(bundles(), ca);
    let live = site.api.get(&path).unwrap();
    assert_eq!(live["metadata"]["labels"]["team"], "red");
    assert_eq!(live["metadata"]["annotations"]["note"], "kept");
    let configuration = site.configuration(kind, name);
    assert_eq!(configuration["metadata"]["annotations"]["note"], "kept");
    assert!(!install_yaml().contains("kind: ConfigMap"));
}

/// A registry with a private CA, and one without TLS whose address is not loopback.
fn registries_without_public_tls_are_reached(site: &MigrationScenario<'_>) {
    let folder = site.sandbox.path("");
    let authority = Authority::new("tests registry ca").unwrap();
    let files = authority.issue(&folder, "registry").unwrap();
    site.sandbox.write("registry-ca.pem", &authority.pem);
    let with_tls = registries::docker_with_tls("migration-registry-tls", &files).unwrap();
    let plain = registries::docker_without_tls("migration-registry-plain").unwrap();
    let copy = |host: &str, flags: &[&str]| {
        let image = site.signed.at(host);
        let (from, to) = (site.signed.by_digest(), format!("{}:v1", image.name()));
        let words = ["copy", from.as_str(), to.as_str()];
        site.sandbox.sealgate(&words.iter().chain(flags).copied().collect::<Vec<_>>()).ok();
        image
    };
    let in_tls = copy(&with_tls.host, &["--allow-insecure-registry"]);
    let in_plain = copy(&plain.host, &["--allow-http-registry"]);
    let policy = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "other-registries" },
        "spec": {
            "images": [{ "glob": format!("{}/**", with_tls.host) }, { "glob": format!("{}/**", plain.host) }],
            "authorities": [{ "key": { "secretRef": { "name": "migration-key" } } }],
        },
    });
    site.cluster.apply(&policy.to_string()).ok();
    let says = |image: &Image, text: &str| {
        let (status, body) = site.would_run(image);
        status == 400 && body["message"].to_string().contains(text)
    };
    let unreachable = || says(&in_tls, "other-registries") && says(&in_plain, "other-registries");
    wait_until(PATIENCE, unreachable).expect("neither registry is trusted");
    let words = [
        "install",
        "--image",
        "sealgate:test",
        "--registry-ca-bundle",
        "registry-ca.pem",
        "--image-pull-secret",
        "gate-pull",
    ];
    site.sandbox.sealgate(&words).ok();
    let admitted = |image: &Image| site.would_run(image).0 == 201;
    wait_until(PATIENCE, || (0..6).all(|_| admitted(&in_tls)))
        .unwrap_or_else(|_| panic!("{:?}", site.would_run(&in_tls)));
    assert!(says(&in_plain, "other-registries"), "{:?}", site.would_run(&in_plain));
    // The list of insecure registries is reloaded.
    let set = |value: Value| {
        let patch = json!({ "data": { "insecure-registries": value } }).to_string();
        let map = "config-policy-controller";
        let words = ["patch", "configmap", map, "-n", NAMESPACE, "--type=merge", "-p", &patch];
        site.cluster.kubectl(&words).ok();
    };
    set(json!(plain.host));
    wait_until(PATIENCE, || (0..6).all(|_| admitted(&in_plain)))
        .unwrap_or_else(|_| panic!("{:?}", site.would_run(&in_plain)));
    assert!(site.nodes.log("sealgate").contains("insecure registries"));
    set(Value::Null);
    site.cluster.kubectl(&["delete", "clusterimagepolicy", "other-registries"]).ok();
}

fn policy_controller_is_back(site: &MigrationScenario<'_>) {
    let gone = || site.nodes.ready("app.kubernetes.io/name", "sealgate") == 0;
    wait_until(PATIENCE, gone).expect("the gate's pods are gone");
    assert_eq!(enforcing(&site.api), 1);
    let said = site.would_run(&site.unsigned).1["message"].to_string();
    assert!(said.contains("validation failed"), "{said}");
    assert_eq!(site.would_run(&site.signed).0, 201);
    let certificates = format!("/api/v1/namespaces/{NAMESPACE}/secrets/webhook-certs");
    let left = site.api.get(&certificates).unwrap()["data"].to_string();
    assert!(left.contains("server-cert.pem") && !left.contains("sealgate"), "{left}");
}
