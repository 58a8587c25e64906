//! Controllers behind the gate: each compares the objects it created with its own template, and
//! creates another one if they differ (kubernetes#57167). Created objects are admitted unchanged.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::{GateOptions, INCLUDE, Installation};
use sealgate_tests::image::Image;
use sealgate_tests::process::wait_until;
use serde_json::{Value, json};

use super::{DENIED, Scenario, pod_spec};

/// Long enough for an endless loop to create dozens of objects.
const SETTLED: Duration = Duration::from_secs(4);

/// Enforcement of the namespace's images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No policy matches the images, which is a warning; nothing is signed.
    NoPolicy,
    /// The policy only warns; nothing is signed.
    Warn,
    /// The policy is enforced; everything is signed.
    Enforce,
}

/// Order of the Deployment's creation and the namespace's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enrolled {
    Before,
    After,
}

/// Change after which the Deployment controller creates a ReplicaSet.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    Restart,
    SetEnv,
    TemplateLabel,
    OneOfTwoImages,
    ApplyWithAnotherVariable,
    ReplicaSetDeleted,
}

const TRIGGERS: [Trigger; 6] = [
    Trigger::Restart,
    Trigger::SetEnv,
    Trigger::TemplateLabel,
    Trigger::OneOfTwoImages,
    Trigger::ApplyWithAnotherVariable,
    Trigger::ReplicaSetDeleted,
];

impl Trigger {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Namespace with two images by tag, and a policy for them.
struct ControllerScenario {
    scenario: Scenario,
    mode: Mode,
    images: [Image; 2],
    unsigned: Image,
}

impl ControllerScenario {
    /// Creates the namespace without the label.
    fn build(name: &str, mode: Mode) -> Self {
        let scenario = match mode {
            Mode::NoPolicy => Scenario::outside_at(without_policies(), name),
            Mode::Warn | Mode::Enforce => Scenario::outside(name),
        };
        let images = match mode {
            Mode::NoPolicy | Mode::Warn => [scenario.image("one"), scenario.image("two")],
            Mode::Enforce => [scenario.signed("one"), scenario.signed("two")],
        };
        let unsigned = scenario.image("unsigned");
        if mode != Mode::NoPolicy {
            let authorities = [scenario.key_authority("cosign")];
            let word = format!("{mode:?}").to_lowercase();
            let policy = scenario.policy(&json!({ "mode": word, "authorities": authorities }));
            scenario.cluster().apply(&policy.to_string()).ok();
        }
        Self { scenario, mode, images, unsigned }
    }

    fn cluster(&self) -> &'static Cluster {
        self.scenario.cluster()
    }

    /// Labels the namespace, and waits until its pods are checked.
    fn enrol(&self) {
        let name = &self.scenario.name;
        self.cluster().kubectl(&["label", "namespace", name, INCLUDE]).ok();
        let judged = match self.mode {
            Mode::NoPolicy => "no matching policies".to_owned(),
            Mode::Warn | Mode::Enforce => format!("failed policy: {name}"),
        };
        wait_until(Duration::from_secs(30), || {
            (0..4).all(|_| {
                self.scenario.dry_run("probe", &self.unsigned.by_digest()).stderr.contains(&judged)
            })
        })
        .expect("the namespace is behind the gate");
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let all = [arguments, &["-n", &self.scenario.name]].concat();
        self.cluster().kubectl(&all).ok().stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Objects of a kind with this `app` label.
    fn list(&self, kind: &str, app: &str) -> Vec<Value> {
        let found = self.json(&["get", kind, "-l", &format!("app={app}")]);
        found["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until each `app` has its number of objects of a kind, and then checks that no more are
    /// created.
    fn settle(&self, kind: &str, counts: &[(String, usize)]) {
        let found = || -> Vec<(String, usize)> {
            let all = self.json(&["get", kind]);
            let all = all["items"].as_array().cloned().unwrap_or_default();
            let is_of = |it: &&Value, app: &str| it["metadata"]["labels"]["app"] == app;
            let count = |app: &str| all.iter().filter(|it| is_of(it, app)).count();
            counts.iter().map(|(app, _)| (app.clone(), count(app))).collect()
        };
        let all_there = || found().iter().zip(counts).all(|(now, wanted)| now.1 >= wanted.1);
        wait_until(Duration::from_secs(30), all_there)
            .unwrap_or_else(|_| panic!("{kind} ({:?}): {:?} of {counts:?}", self.mode, found()));
        let start = Instant::now();
        while start.elapsed() < SETTLED {
            assert_eq!(found(), counts, "{kind} ({:?})", self.mode);
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn settles(&self, kind: &str, app: &str, count: usize) {
        self.settle(kind, &[(app.to_owned(), count)]);
    }

    fn template(&self, app: &str, image: &str) -> Value {
        let mut spec = pod_spec(image);
        // No kubelet makes the node of the DaemonSets ready.
        spec["tolerations"] = json!([{ "operator": "Exists" }]);
        spec["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "second", "image": self.images[1].by_tag() }));
        json!({ "metadata": { "labels": { "app": app } }, "spec": spec })
    }

    /// Controller object with both images by tag.
    fn object(&self, api: &str, kind: &str, app: &str, spec: &Value) -> Value {
        let mut object = json!({
            "apiVersion": api,
            "kind": kind,
            "metadata": { "name": app, "namespace": self.scenario.name, "labels": { "app": app } },
            "spec": {
                "selector": { "matchLabels": { "app": app } },
                "template": self.template(app, &self.images[0].by_tag()),
            },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        object
    }

    fn deployment(&self, app: &str) -> Value {
        self.object("apps/v1", "Deployment", app, &json!({ "replicas": 1 }))
    }

    fn pull(&self, trigger: Trigger, app: &str) {
        let deployment = format!("deployment/{app}");
        match trigger {
            Trigger::Restart => drop(self.kubectl(&["rollout", "restart", &deployment])),
            Trigger::SetEnv => drop(self.kubectl(&["set", "env", &deployment, "A=1"])),
            Trigger::TemplateLabel => {
                let patch = json!({ "spec": { "template": { "metadata": {
                    "labels": { "app": app, "team": "red" } } } } });
                self.kubectl(&["patch", "deployment", app, "-p", &patch.to_string()]);
            }
            Trigger::OneOfTwoImages => {
                let image = format!("app={}", self.images[1].by_tag());
                self.kubectl(&["set", "image", &deployment, &image]);
            }
            Trigger::ApplyWithAnotherVariable => {
                let mut object = self.deployment(app);
                object["spec"]["template"]["spec"]["containers"][0]["env"] =
                    json!([{ "name": "A", "value": "1" }]);
                self.cluster().apply(&object.to_string()).ok();
            }
            Trigger::ReplicaSetDeleted => {
                let name = self.list("replicasets", app)[0]["metadata"]["name"].clone();
                self.kubectl(&["delete", "replicaset", name.as_str().unwrap()]);
            }
        }
    }

    /// Asserts that the Deployment controller found the ReplicaSet with its template at the first
    /// attempt.
    fn assert_template_is_found(&self, app: &str) {
        let deployment = self.json(&["get", "deployment", app]);
        assert_eq!(deployment["status"]["collisionCount"], Value::Null, "{app}");
        let wanted = images_of(&deployment["spec"]["template"]);
        let sets = self.list("replicasets", app);
        let current: Vec<_> =
            sets.iter().filter(|set| images_of(&set["spec"]["template"]) == wanted).collect();
        assert!(!current.is_empty(), "{app}: {wanted:?}");
    }

    fn assert_a_pod_is_pinned(&self, app: &str) {
        let is_pinned = |pod: &Value| {
            let images = images_of(&json!({ "spec": pod["spec"] }));
            images.iter().all(|image| image.contains("@sha256:"))
        };
        wait_until(Duration::from_secs(30), || self.list("pods", app).iter().any(is_pinned))
            .unwrap_or_else(|_| panic!("{app} has no pinned pod"));
    }

    /// Asserts that every pod uses digests.
    fn assert_pods_are_pinned(&self, app: &str) {
        wait_until(Duration::from_secs(30), || !self.list("pods", app).is_empty())
            .unwrap_or_else(|_| panic!("{app} has no pod"));
        for pod in self.list("pods", app) {
            for image in images_of(&json!({ "spec": pod["spec"] })) {
                assert!(image.contains("@sha256:"), "{app}: {image}");
            }
        }
    }
}

/// Gate in a separate cluster without any matching policy.
fn without_policies() -> &'static Installation<'static> {
    static GATE: OnceLock<Installation<'static>> = OnceLock::new();
    GATE.get_or_init(|| {
        let cluster = Box::leak(Box::new(Cluster::start("no-policy").expect("a control plane")));
        let arguments = ["--no-match-policy", "warn"].map(str::to_owned).to_vec();
        let setting = GateOptions { arguments, ..GateOptions::default() };
        Installation::start_with("no-policy", cluster, &setting).expect("the gate")
    })
}

fn images_of(template: &Value) -> Vec<String> {
    let containers = template["spec"]["containers"].as_array().cloned().unwrap_or_default();
    containers.iter().map(|it| it["image"].as_str().unwrap_or_default().to_owned()).collect()
}

fn every_trigger_makes_one_replica_set(name: &str, mode: Mode, enrolled: Enrolled) {
    let scenario = ControllerScenario::build(name, mode);
    if enrolled == Enrolled::After {
        scenario.enrol();
    }
    for trigger in TRIGGERS {
        scenario.cluster().apply(&scenario.deployment(&trigger.name()).to_string()).ok();
    }
    for trigger in TRIGGERS {
        let app = trigger.name();
        wait_until(Duration::from_secs(30), || scenario.list("replicasets", &app).len() == 1)
            .expect(&app);
    }
    if enrolled == Enrolled::Before {
        scenario.enrol();
    }
    for trigger in TRIGGERS {
        scenario.pull(trigger, &trigger.name());
    }
    // One ReplicaSet for each template.
    let templates = |trigger| if matches!(trigger, Trigger::ReplicaSetDeleted) { 1 } else { 2 };
    let counts = TRIGGERS.map(|trigger| (trigger.name(), templates(trigger)));
    scenario.settle("replicasets", &counts);
    for trigger in TRIGGERS {
        scenario.assert_template_is_found(&trigger.name());
        match enrolled {
            Enrolled::After => scenario.assert_pods_are_pinned(&trigger.name()),
            // Pods from before the label stay unchanged.
            Enrolled::Before => scenario.assert_a_pod_is_pinned(&trigger.name()),
        }
    }
}

#[test]
fn a_deployment_of_before_the_label_in_warn_mode() {
    every_trigger_makes_one_replica_set("loop-warn-before", Mode::Warn, Enrolled::Before);
}

#[test]
fn a_deployment_of_before_the_label_without_a_policy() {
    every_trigger_makes_one_replica_set("loop-none-before", Mode::NoPolicy, Enrolled::Before);
}

#[test]
fn a_deployment_of_before_the_label_in_enforce_mode() {
    every_trigger_makes_one_replica_set("loop-enforce-before", Mode::Enforce, Enrolled::Before);
}

#[test]
fn a_deployment_of_after_the_label_in_warn_mode() {
    every_trigger_makes_one_replica_set("loop-warn-after", Mode::Warn, Enrolled::After);
}

#[test]
fn a_deployment_of_after_the_label_in_enforce_mode() {
    every_trigger_makes_one_replica_set("loop-enforce-after", Mode::Enforce, Enrolled::After);
}

/// Unsigned image from before the label: the ReplicaSet of a restart is refused once, not endlessly
/// under other names, and the user who restarts gets a warning.
#[test]
fn an_unsigned_deployment_of_before_the_label_is_refused_and_reported() {
    let scenario = Scenario::outside("loop-unsigned");
    let scenario = ControllerScenario {
        mode: Mode::Enforce,
        unsigned: scenario.image("unsigned"),
        images: [scenario.image("one"), scenario.image("two")],
        scenario,
    };
    let authorities = [scenario.scenario.key_authority("cosign")];
    let policy = scenario.scenario.policy(&json!({ "authorities": authorities }));
    scenario.cluster().apply(&policy.to_string()).ok();
    scenario.cluster().apply(&scenario.deployment("app").to_string()).ok();
    scenario.settles("replicasets", "app", 1);
    scenario.enrol();
    let name = &scenario.scenario.name;
    let run = scenario.cluster().kubectl(&["rollout", "restart", "deployment/app", "-n", name]);
    let warning = format!(
        "Warning: pods will be denied: failed policy: {name}: \
                           spec.template.spec.containers[0].image"
    );
    run.ok().says(&warning);
    scenario.settles("replicasets", "app", 1);
    let scale = |replicas: &str| {
        scenario.cluster().kubectl(&["scale", "deployment/app", replicas, "-n", name]).ok()
    };
    // The scale request names the Deployment without its content: the warning shows no image.
    scale("--replicas=3").says(&format!(
        "Warning: pods will be denied: failed policy: {name} [no-signatures]: \
         spec.template.spec.containers[0].image"
    ));
    scale("--replicas=1").says_no("Warning");
    let deployment = scenario.json(&["get", "deployment", "app"]);
    assert_eq!(deployment["status"]["collisionCount"], Value::Null);
    let conditions = deployment["status"]["conditions"].to_string();
    assert!(conditions.contains(&format!("failed policy: {name}")), "{conditions}");
}

/// Owner like Argo Rollouts: a custom resource whose controller creates ReplicaSets, and another
/// one whenever none has its template.
#[test]
fn an_owner_of_another_kind_finds_its_template_again() {
    let scenario = ControllerScenario::build("loop-rollout", Mode::Enforce);
    scenario.enrol();
    scenario.cluster().apply(&rollout_definition().to_string()).ok();
    let rollout = json!({
        "apiVersion": "tests.sealgate.dev/v1",
        "kind": "Rollout",
        "metadata": { "name": "app", "namespace": scenario.scenario.name },
        "spec": { "template": scenario.template("app", &scenario.images[0].by_tag()) },
    });
    wait_until(Duration::from_secs(30), || {
        scenario.cluster().apply(&rollout.to_string()).code == 0
    })
    .expect("a Rollout");
    let rollout = scenario.json(&["get", "rollouts.tests.sealgate.dev", "app"]);
    for round in 0..5 {
        reconcile(&scenario, &rollout, round);
    }
    let sets = scenario.list("replicasets", "app");
    assert_eq!(sets.len(), 1, "the controller found its own");
    assert_eq!(images_of(&sets[0]["spec"]["template"])[0], scenario.images[0].by_tag());
    scenario.assert_pods_are_pinned("app");
    // A claimed owner reference grants nothing: the image of the tag is checked, and so is each
    // pod.
    let claims = |kind: &str, image: &str| {
        let mut set = scenario.object("apps/v1", "ReplicaSet", "claims", &json!({ "replicas": 1 }));
        if kind == "Pod" {
            set = scenario.scenario.pod("claims", image);
        } else {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        }
        set["metadata"]["ownerReferences"] = json!([owner("claimed", "made-up")]);
        scenario.cluster().kubectl_with(&["create", "-f", "-"], &set.to_string())
    };
    for kind in ["Pod", "ReplicaSet"] {
        claims(kind, &scenario.unsigned.by_tag()).fails_with(DENIED);
    }
}

fn owner(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "tests.sealgate.dev/v1",
        "kind": "Rollout",
        "name": name,
        "uid": uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// One reconciliation of a controller that compares templates.
fn reconcile(scenario: &ControllerScenario, rollout: &Value, round: usize) {
    let wanted = images_of(&rollout["spec"]["template"]);
    let sets = scenario.list("replicasets", "app");
    if sets.iter().any(|set| images_of(&set["spec"]["template"]) == wanted) {
        return;
    }
    let mut set = scenario.object("apps/v1", "ReplicaSet", "app", &json!({ "replicas": 1 }));
    set["metadata"]["name"] = json!(format!("app-{round}"));
    let uid = rollout["metadata"]["uid"].as_str().unwrap();
    set["metadata"]["ownerReferences"] = json!([owner("app", uid)]);
    scenario.cluster().kubectl_with(&["create", "-f", "-"], &set.to_string()).ok();
}

fn rollout_definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "rollouts.tests.sealgate.dev" },
        "spec": {
            "group": "tests.sealgate.dev",
            "names": { "kind": "Rollout", "plural": "rollouts", "singular": "rollout" },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    })
}

/// Controllers that keep their templates as revisions.
#[test]
fn stateful_sets_and_daemon_sets_of_before_and_after_the_label() {
    let scenario = ControllerScenario::build("loop-revisions", Mode::Enforce);
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "loop-node" } });
    scenario.cluster().apply(&node.to_string()).ok();
    let make = |when: &str| {
        let stateful = json!({ "replicas": 1, "serviceName": "none" });
        for (kind, spec) in [("StatefulSet", &stateful), ("DaemonSet", &json!({}))] {
            let app = format!("{}-{when}", kind.to_lowercase());
            scenario
                .cluster()
                .apply(&scenario.object("apps/v1", kind, &app, spec).to_string())
                .ok();
            wait_until(Duration::from_secs(30), || !scenario.list("pods", &app).is_empty())
                .expect(&app);
        }
    };
    make("before");
    scenario.enrol();
    make("after");
    let apps = ["statefulset-before", "statefulset-after", "daemonset-before", "daemonset-after"];
    let kind_of = |app: &'static str| app.split('-').next().unwrap();
    for app in apps {
        scenario.kubectl(&["rollout", "restart", &format!("{}/{app}", kind_of(app))]);
    }
    scenario.settle("controllerrevisions", &apps.map(|app| (app.to_owned(), 2)));
    for app in apps {
        let kind = kind_of(app);
        let object = scenario.json(&["get", kind, app]);
        let collisions = &object["status"]["collisionCount"];
        assert!(collisions.is_null() || *collisions == 0, "{app}: {collisions}");
    }
    for app in ["statefulset-after", "daemonset-after"] {
        scenario.assert_pods_are_pinned(app);
    }
    scenario.cluster().kubectl(&["delete", "node", "loop-node"]).ok();
}

/// A CronJob from before the label creates one Job per minute, each with the CronJob's template; a
/// Job from before the label is not changed.
#[test]
fn jobs_and_cron_jobs_of_before_and_after_the_label() {
    let scenario = ControllerScenario::build("loop-jobs", Mode::Enforce);
    let spec = |app: &str| {
        let mut template = scenario.template(app, &scenario.images[0].by_tag());
        template["spec"]["restartPolicy"] = json!("Never");
        json!({ "template": template })
    };
    let job = |app: &str| {
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": app, "namespace": scenario.scenario.name, "labels": { "app": app } },
            "spec": spec(app),
        })
    };
    let cron_job = |app: &str| {
        json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": { "name": app, "namespace": scenario.scenario.name },
            "spec": {
                "schedule": "* * * * *",
                "jobTemplate": { "metadata": { "labels": { "app": app } }, "spec": spec(app) },
            },
        })
    };
    for object in [job("job-before"), cron_job("cron-before")] {
        scenario.cluster().apply(&object.to_string()).ok();
    }
    scenario.enrol();
    for object in [job("job-after"), cron_job("cron-after")] {
        scenario.cluster().apply(&object.to_string()).ok();
    }
    for app in ["cron-before", "cron-after"] {
        wait_until(Duration::from_secs(90), || !scenario.list("jobs", app).is_empty()).expect(app);
    }
    std::thread::sleep(SETTLED);
    for app in ["cron-before", "cron-after"] {
        let minutes: Vec<Value> = scenario.list("jobs", app);
        let mut scheduled: Vec<String> = minutes
            .iter()
            .map(|job| {
                job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
                    .to_string()
            })
            .collect();
        scheduled.dedup();
        assert_eq!(scheduled.len(), minutes.len(), "{app}: one Job a minute");
        let cron = scenario.json(&["get", "cronjob", app]);
        let template = &cron["spec"]["jobTemplate"]["spec"]["template"];
        for job in &minutes {
            assert_eq!(images_of(&job["spec"]["template"]), images_of(template), "{app}");
        }
        scenario.assert_pods_are_pinned(app);
        scenario.kubectl(&["delete", "cronjob", app]);
    }
    for app in ["job-before", "job-after"] {
        assert_eq!(scenario.list("pods", app).len(), 1, "{app}");
    }
    scenario.assert_pods_are_pinned("job-after");
}
