//! From policy-controller to the gate and back, with an enforcing webhook at every moment.
//!
//! ```text
//!   policy-controller  --install --replace-->  aside  -->  installed
//!   policy-controller  <--uninstall --hand-over--  aside  <--  installed
//! ```
//!
//! *Aside*, the gate stands behind a Service of its own, and its webhooks have names that
//! policy-controller does not touch (see `configurations`). Each change of hands is one update of one
//! webhook configuration, and is made only when the API server is seen to reach the side that takes
//! over. Every step finds out for itself what is there, so that a migration which was interrupted is
//! finished by running it again.
//!
//! CustomResourceDefinitions, policies, TrustRoots, Secrets and settings are never deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{Clock, SecretSource as _};
use sealgate_policy::cip::validate::Context;
use sealgate_policy::cip::{ClusterImagePolicy, SecretRef};
use sealgate_policy::compile::{Compiled, Lookups, RootRef, compile, content_of_secret};
use sealgate_policy::rule::Mode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::apply;
use crate::certificates::{bundle, own_keys};
use crate::cluster::ClusterSecrets;
use crate::crd::{GROUP, POLICY_VERSIONS};
use crate::install::{
    self, CERTIFICATE_SECRET, DEPLOYMENT, InstallOptions, MIGRATION_SERVICE, PullSecretRights,
    SERVICE,
};

mod configurations;
mod found;
mod objects;

use configurations::Place;
pub use found::Found;
use objects::Objects;

/// How long to wait for the gate's pods, and for the API server to reach them.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often to look.
const LOOK: Duration = Duration::from_millis(250);
/// From a change of webhook configurations or Services to the next step that relies on it: every API
/// server and every node must have heard of it.
const SETTLE: Duration = Duration::from_secs(5);
/// How many times in a row the gate must be reached.
const TIMES: usize = 8;
/// The webhook configuration that asks whether the gate is reached, its label, and its policy.
const PROBE: &str = install::MIGRATION_PROBE;
const PROBE_LABEL: &str = "policy.sigstore.dev/sealgate-migration-probe";
/// A Service that is not there.
const NOWHERE: &str = "sealgate-migration-nowhere";

/// What [`take_over`] does, in order, for people.
pub const STEPS: [&str; 8] = [
    "keep the CustomResourceDefinitions whatever Helm does, and let the API server convert policies",
    "start the gate beside policy-controller, behind the Service sealgate, and wait for its pods",
    "wait until the API server reaches the gate and trusts its certificate",
    "put the gate's webhooks in the place of policy-controller's, one update a configuration: from \
     here the gate enforces",
    "delete policy-controller's Deployment and the bindings of its account",
    "give the Service webhook to the gate, and wait until the API server reaches it",
    "call the gate by the Service webhook, under the names of an installation",
    "delete what only the migration needed; policies, TrustRoots, Secrets and \
     config-policy-controller are not touched",
];

/// Told of each step, for people.
pub type Say<'a> = &'a mut (dyn FnMut(&str) + Send);

/// What became of handing over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// The gate still enforces, aside: policy-controller can be installed now.
    Aside,
    /// policy-controller enforces, and the gate is gone.
    Done,
}

/// The cluster of a migration.
struct Cluster<'a> {
    client: &'a Client,
    namespace: &'a str,
}

/// What of policy-controller there is in the gate's namespace.
///
/// # Errors
/// What the API server says; `Config` where policy-controller is in another namespace.
pub async fn find(client: &Client, namespace: &str) -> Result<Found, Fault> {
    Cluster { client, namespace }.find().await
}

/// Enforcing policies that the gate cannot judge, and would refuse images by: name and reason.
///
/// # Errors
/// What the API server says.
pub async fn undecidable(
    client: &Client,
    namespace: &str,
    clock: Arc<dyn Clock>,
) -> Result<Vec<String>, Fault> {
    let policies = Objects::of(
        client,
        &format!("{GROUP}/{}", POLICY_VERSIONS[0]),
        "ClusterImagePolicy",
        "clusterimagepolicies",
        None,
    );
    let policies = match policies.list().await {
        Err(fault) if fault.kind == FaultKind::Missing => return Ok(Vec::new()),
        listed => listed?,
    };
    let secrets = ClusterSecrets::new(client.clone(), PullSecretRights::Nowhere, clock);
    let mut problems = Vec::new();
    for object in policies {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match ClusterImagePolicy::from_json(&with_type(object)) {
            Err(error) => problems.push(format!("{name}: {error}")),
            Ok(policy) => problems.extend(lacking(&policy, namespace, &secrets).await?),
        }
    }
    Ok(problems)
}

fn with_type(mut object: Value) -> Value {
    object["apiVersion"] = json!(format!("{GROUP}/{}", POLICY_VERSIONS[0]));
    object["kind"] = json!("ClusterImagePolicy");
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// What of an enforcing policy cannot be judged. Trust roots are not looked at: the gate reads them.
async fn lacking(
    policy: &ClusterImagePolicy,
    namespace: &str,
    secrets: &ClusterSecrets,
) -> Result<Vec<String>, Fault> {
    let mut contents = BTreeMap::new();
    for authority in &policy.spec.authorities {
        let ca = authority.keyless.as_ref().and_then(|keyless| keyless.ca_cert.as_ref());
        for key in [authority.key.as_ref(), ca].into_iter().flatten() {
            let Some(secret) = &key.secret_ref else { continue };
            let data = secrets.secret(namespace, &secret.name).await?;
            contents.insert(secret.name.clone(), content_of_secret(&secret.name, data.as_ref()));
        }
    }
    let lookup = |secret: &SecretRef| match contents.get(&secret.name) {
        Some(content) => content.clone(),
        None => content_of_secret(&secret.name, None),
    };
    let roots = |_: &RootRef| Err(Fault::new(FaultKind::Config, "trust root", "not looked at"));
    let context =
        Context { system_namespace: namespace.to_owned(), empty_authorities: Default::default() };
    let lookups = Lookups { secrets: &lookup, roots: &roots };
    let Compiled { rule, conditions, .. } = compile(policy, "cluster", &context, &lookups);
    if rule.mode == Mode::Warn {
        return Ok(Vec::new());
    }
    let bad = conditions.iter().filter(|condition| {
        !condition.holds && !["Ready", "TrustRootsInlined"].contains(&condition.kind)
    });
    Ok(bad.map(|c| format!("{}: {}: {}", policy.name, c.reason, c.message)).collect())
}

/// Installs the gate in the place of what [`find`] found.
///
/// # Errors
/// What the API server says; `Timeout` where pods do not get ready or are not reached. Whoever
/// enforced before the step that failed still does.
pub async fn take_over(
    client: &Client,
    options: &InstallOptions,
    say: Say<'_>,
) -> Result<(), Fault> {
    let cluster = Cluster { client, namespace: &options.namespace };
    let found = cluster.find().await?;
    cluster.keep_definitions().await?;
    cluster.start_beside(options, say).await?;
    let bundle = cluster.bundle().await?;
    cluster.wait_until_reached(Place::Aside, &bundle, say).await?;
    cluster.replace(options, Place::Aside, &bundle).await?;
    for (kind, name) in &found.others {
        cluster.configurations(kind).delete(name).await?;
    }
    say("the gate enforces (policy-controller still runs, and is asked no more)");
    sleep(SETTLE).await;
    cluster.stop_other(&found, say).await?;
    cluster.apply(options, |document| document["kind"] == "Service").await?;
    cluster.wait_until_reached(Place::Installed, &bundle, say).await?;
    cluster.replace(options, Place::Installed, &bundle).await?;
    sleep(SETTLE).await;
    cluster.apply(options, |_| true).await?;
    cluster.services().delete(MIGRATION_SERVICE).await?;
    cluster.configurations(VALIDATING).delete(PROBE).await?;
    for deletion in install::retired(options) {
        apply::delete(client, &deletion).await?;
    }
    say("policy-controller is replaced");
    Ok(())
}

/// Hands over to policy-controller: the first call moves the gate aside, so that policy-controller
/// can be installed under its names; a call after that waits until it enforces, and removes the gate.
///
/// # Errors
/// As [`take_over`].
pub async fn hand_over(
    client: &Client,
    options: &InstallOptions,
    say: Say<'_>,
) -> Result<HandOver, Fault> {
    let cluster = Cluster { client, namespace: &options.namespace };
    let found = cluster.find().await?;
    if !found.is_aside {
        cluster.step_aside(options, say).await?;
        return Ok(HandOver::Aside);
    }
    if found.describe().is_empty() {
        cluster.free_names(say).await?;
        return Ok(HandOver::Aside);
    }
    cluster.wait_until_other_enforces(options, say).await?;
    for document in configurations::installed(options) {
        let (kind, name) = kind_and_name(&document);
        let without = |live: Option<Value>| {
            live.as_ref().map(configurations::without_gate).unwrap_or_default()
        };
        cluster.configurations(kind).update(name, without).await?;
    }
    say("policy-controller enforces");
    sleep(SETTLE).await;
    cluster.remove_gate(options).await?;
    say("the gate is removed");
    Ok(HandOver::Done)
}

const VALIDATING: &str = "ValidatingWebhookConfiguration";

impl Cluster<'_> {
    /// A Helm release that held the definitions must not take them along, and with them all policies;
    /// and the API server converts by itself from now on.
    async fn keep_definitions(&self) -> Result<(), Fault> {
        let definitions = self.definitions();
        for document in crate::crd::all() {
            let (_, name) = kind_and_name(&document);
            if definitions.get(name).await?.is_some() {
                let patch = json!({
                    "metadata": { "annotations": document["metadata"]["annotations"] },
                    "spec": { "conversion": { "strategy": "None", "webhook": null } },
                });
                definitions.merge(name, &patch).await?;
            }
            apply::apply(self.client, &document).await?;
        }
        Ok(())
    }

    fn definitions(&self) -> Objects {
        let (kind, plural) = ("CustomResourceDefinition", "customresourcedefinitions");
        Objects::of(self.client, "apiextensions.k8s.io/v1", kind, plural, None)
    }

    /// Starts the gate with no name in common with what runs.
    async fn start_beside(&self, options: &InstallOptions, say: Say<'_>) -> Result<(), Fault> {
        self.make_room("Deployment", say).await?;
        let budgets = Objects::of(
            self.client,
            "policy/v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            Some(self.namespace),
        );
        if budgets.get(DEPLOYMENT).await?.is_some_and(|it| !configurations::is_labelled(&it)) {
            budgets.delete(DEPLOYMENT).await?;
        }
        let waits = |kind: &Value| {
            *kind != "Service" && !kind.as_str().unwrap_or_default().ends_with("Configuration")
        };
        self.apply(options, |document| waits(&document["kind"])).await?;
        self.apply_migration_service(options).await?;
        say("waiting for the gate's pods beside policy-controller");
        self.wait_for_rollout().await
    }

    /// Its pods go on, and the ReplicaSet keeps them; only the name is free.
    async fn make_room(&self, kind: &str, say: Say<'_>) -> Result<(), Fault> {
        let live = self.apps(kind).get(DEPLOYMENT).await?;
        if live.is_none_or(|live| configurations::is_labelled(&live)) {
            return Ok(());
        }
        say("deleting policy-controller's Deployment and leaving its pods");
        self.free(kind).await
    }

    async fn free(&self, kind: &str) -> Result<(), Fault> {
        self.apps(kind).orphan(DEPLOYMENT).await?;
        self.wait(&format!("{kind} {DEPLOYMENT} is not gone"), async || {
            Ok(self.apps(kind).get(DEPLOYMENT).await?.is_none())
        })
        .await
    }

    async fn apply(
        &self,
        options: &InstallOptions,
        which: impl Fn(&Value) -> bool,
    ) -> Result<(), Fault> {
        for document in install::documents(options).iter().filter(|document| which(document)) {
            apply::apply(self.client, document).await?;
        }
        Ok(())
    }

    async fn apply_migration_service(&self, options: &InstallOptions) -> Result<(), Fault> {
        for mut document in install::documents(options) {
            if document["kind"] == "Service" {
                document["metadata"]["name"] = json!(MIGRATION_SERVICE);
                apply::apply(self.client, &document).await?;
            }
        }
        Ok(())
    }

    async fn wait_for_rollout(&self) -> Result<(), Fault> {
        self.wait("the gate's pods are not ready", async || {
            Ok(self
                .apps("Deployment")
                .get(DEPLOYMENT)
                .await?
                .is_some_and(|live| is_rolled_out(&live)))
        })
        .await
    }

    /// Stops what ran before: its pods, and the rights of its account. What is left of it is inert.
    async fn stop_other(&self, found: &Found, say: Say<'_>) -> Result<(), Fault> {
        let mut accounts = Vec::new();
        for workload in &found.workloads {
            // The Deployment may have been orphaned since: then its ReplicaSet is what runs the pods.
            accounts.extend(workload.account.clone());
        }
        for workload in &self.find().await?.workloads {
            if self.apps(workload.kind).delete(&workload.name).await? {
                say(&format!("deleted {} {}", workload.kind, workload.name));
            }
            accounts.extend(workload.account.clone());
        }
        for (kind, plural, namespace) in [
            ("ClusterRoleBinding", "clusterrolebindings", None),
            ("RoleBinding", "rolebindings", Some(self.namespace)),
        ] {
            let api = "rbac.authorization.k8s.io/v1";
            let bindings = Objects::of(self.client, api, kind, plural, namespace);
            for binding in bindings.list().await? {
                let name = binding["metadata"]["name"].as_str().unwrap_or_default();
                if self.binds_only(&binding, &accounts) && bindings.delete(name).await? {
                    say(&format!("deleted {kind} {name}"));
                }
            }
        }
        Ok(())
    }

    /// Whether a binding that is not ours gives rights to these accounts and nobody else.
    fn binds_only(&self, binding: &Value, accounts: &[String]) -> bool {
        let subjects = binding["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_one = |subject: &Value| {
            let name = subject["name"].as_str().unwrap_or_default();
            subject["kind"] == "ServiceAccount"
                && subject["namespace"] == self.namespace
                && accounts.iter().any(|account| account == name)
        };
        !configurations::is_labelled(binding) && !subjects.is_empty() && subjects.iter().all(is_one)
    }

    /// Puts the gate's webhook into each configuration, in the place of all others.
    async fn replace(
        &self,
        options: &InstallOptions,
        place: Place,
        bundle: &str,
    ) -> Result<(), Fault> {
        for document in configurations::installed(options) {
            let (kind, name) = kind_and_name(&document);
            let with_gate = |live| configurations::with_gate_only(live, &document, place, bundle);
            self.configurations(kind).update(name, with_gate).await?;
        }
        Ok(())
    }

    /// The CA of the gate's certificates.
    async fn bundle(&self) -> Result<String, Fault> {
        let secrets = self.secrets();
        let mut bundle = None;
        self.wait("the gate has no certificate yet", async || {
            bundle = secrets.get(CERTIFICATE_SECRET).await?.and_then(|secret| bundle_of(&secret));
            Ok(bundle.is_some())
        })
        .await?;
        bundle.ok_or_else(|| Fault::new(FaultKind::Missing, CERTIFICATE_SECRET, "no certificate"))
    }

    fn secrets(&self) -> Objects {
        Objects::of(self.client, "v1", "Secret", "secrets", Some(self.namespace))
    }

    /// Waits until the API server reaches the gate by the Service of `place` and trusts its
    /// certificate: a webhook about one labelled policy is first made to call nobody, until the API
    /// server is seen to do so; then it is made to call the gate.
    async fn wait_until_reached(
        &self,
        place: Place,
        bundle: &str,
        say: Say<'_>,
    ) -> Result<(), Fault> {
        let service = place.service();
        say(&format!("waiting until the API server reaches the gate by Service {service}"));
        self.probe(NOWHERE, bundle).await?;
        self.wait("the API server takes no new webhook", async || {
            Ok(self.ask().await.is_err_and(|fault| fault.detail.contains(NOWHERE)))
        })
        .await?;
        self.probe(service, bundle).await?;
        let mut last = None;
        let mut times = 0;
        let waited = self
            .wait(&format!("the API server does not reach Service {service}"), async || {
                match self.ask().await {
                    Ok(()) => times += 1,
                    Err(fault) => (times, last) = (0, Some(fault)),
                }
                Ok(times >= TIMES)
            })
            .await;
        waited.map_err(|fault| match last {
            Some(last) => Fault::new(fault.kind, fault.target, last.detail),
            None => fault,
        })
    }

    async fn probe(&self, service: &str, bundle: &str) -> Result<(), Fault> {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": VALIDATING,
            "metadata": { "name": PROBE, "labels": { install::PART_OF: install::PART_OF_SEALGATE } },
            "webhooks": [{
                "name": "probe.policy.sigstore.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "objectSelector": { "matchLabels": { PROBE_LABEL: "true" } },
                "clientConfig": {
                    "caBundle": install::base64(bundle.as_bytes()),
                    "service": {
                        "namespace": self.namespace,
                        "name": service,
                        "path": install::DEFAULT_PATH_POLICY_VALIDATION,
                        "port": 443,
                    },
                },
                "rules": [{
                    "apiGroups": [GROUP],
                    "apiVersions": POLICY_VERSIONS,
                    "operations": ["CREATE"],
                    "resources": ["clusterimagepolicies"],
                    "scope": "Cluster",
                }],
            }],
        });
        apply::apply(self.client, &configuration).await.map(drop)
    }

    /// Would a policy be stored? Only if all webhooks about it answer.
    async fn ask(&self) -> Result<(), Fault> {
        let version = format!("{GROUP}/{}", POLICY_VERSIONS[0]);
        let policies =
            Objects::of(self.client, &version, "ClusterImagePolicy", "clusterimagepolicies", None);
        let policy = json!({
            "apiVersion": version,
            "kind": "ClusterImagePolicy",
            "metadata": { "name": PROBE, "labels": { PROBE_LABEL: "true" } },
            "spec": {
                "images": [{ "glob": "sealgate.invalid/probe" }],
                "authorities": [{ "static": { "action": "pass" } }],
            },
        });
        policies.would_create(policy).await
    }

    async fn step_aside(&self, options: &InstallOptions, say: Say<'_>) -> Result<(), Fault> {
        self.apply_migration_service(options).await?;
        let bundle = self.bundle().await?;
        self.wait_until_reached(Place::Aside, &bundle, say).await?;
        self.replace(options, Place::Aside, &bundle).await?;
        self.configurations(VALIDATING).delete(PROBE).await?;
        sleep(SETTLE).await;
        self.free_names(say).await
    }

    /// Frees the names that policy-controller's Service and Deployment have, too; the gate's pods go on.
    async fn free_names(&self, say: Say<'_>) -> Result<(), Fault> {
        let is_ours =
            |object: Option<Value>| object.as_ref().is_some_and(configurations::is_labelled);
        if is_ours(self.services().get(SERVICE).await?) {
            self.services().delete(SERVICE).await?;
        }
        if is_ours(self.apps("Deployment").get(DEPLOYMENT).await?) {
            self.free("Deployment").await?;
        }
        say(&format!("the gate enforces aside, by Service {MIGRATION_SERVICE}"));
        Ok(())
    }

    async fn wait_until_other_enforces(
        &self,
        options: &InstallOptions,
        say: Say<'_>,
    ) -> Result<(), Fault> {
        say("waiting until policy-controller serves");
        let documents = configurations::installed(options);
        let mut times = 0;
        self.wait("policy-controller does not serve", async || {
            let mut serves = true;
            for document in &documents {
                let (kind, name) = kind_and_name(document);
                let live = self.configurations(kind).get(name).await?;
                serves &= live.as_ref().is_some_and(configurations::has_serving_other);
            }
            // Its own webhook about policies is among those that must answer.
            times = if serves && self.ask().await.is_ok() { times + 1 } else { 0 };
            Ok(times >= TIMES)
        })
        .await
    }

    /// Everything of the gate that policy-controller does not have, too.
    async fn remove_gate(&self, options: &InstallOptions) -> Result<(), Fault> {
        self.services().delete(MIGRATION_SERVICE).await?;
        for object in self.apps("ReplicaSet").list().await? {
            let labels = &object["spec"]["template"]["metadata"]["labels"];
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if labels["app.kubernetes.io/name"] == "sealgate" {
                self.apps("ReplicaSet").delete(name).await?;
            }
        }
        let kept = ["ServiceAccount", "Secret", "Service", "Deployment"];
        for deletion in install::deletions(options, false) {
            if !kept.contains(&deletion.kind) && !deletion.kind.ends_with("WebhookConfiguration") {
                apply::delete(self.client, &deletion).await?;
            }
        }
        let keys: serde_json::Map<_, _> =
            own_keys().iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
        self.secrets().merge(CERTIFICATE_SECRET, &json!({ "data": keys })).await
    }

    async fn wait(
        &self,
        what: &str,
        mut is_so: impl AsyncFnMut() -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let end = Instant::now() + PATIENCE;
        while !is_so().await? {
            if Instant::now() > end {
                let detail = format!("still not so after {} s", PATIENCE.as_secs());
                return Err(Fault::new(FaultKind::Timeout, what, detail));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn kind_and_name(document: &Value) -> (&str, &str) {
    (
        document["kind"].as_str().unwrap_or_default(),
        document["metadata"]["name"].as_str().unwrap_or_default(),
    )
}

fn is_rolled_out(deployment: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let (status, wanted) = (&deployment["status"], number(&deployment["spec"]["replicas"]));
    let observed =
        number(&status["observedGeneration"]) >= number(&deployment["metadata"]["generation"]);
    let all = |what: &str| number(&status[what]) >= wanted;
    observed && wanted > 0 && all("updatedReplicas") && all("availableReplicas")
}

fn bundle_of(secret: &Value) -> Option<String> {
    use base64::Engine as _;
    let data = secret["data"].as_object()?;
    let decode =
        |value: &Value| base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok();
    bundle(&data.iter().filter_map(|(key, value)| Some((key.clone(), decode(value)?))).collect())
}
