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

use std::time::Duration;

use kube::Client;
use sealgate_core::fault::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::certificates::{bundle, own_keys};
use crate::install::{
    self, CERTIFICATE_SECRET, DEPLOYMENT, InstallOptions, MIGRATION_SERVICE, SERVICE,
};
use crate::{api, apply};

mod compiled;
mod configurations;
mod finalizers;
mod found;
mod objects;
mod preflight;
mod probe;
mod roots;
mod selectors;

use configurations::Place;
pub use finalizers::remove_finalizers;
pub use found::Found;
use objects::Objects;
pub use preflight::undecidable;
use probe::TIMES;
pub use selectors::Selected;

/// How often to look.
const LOOK: Duration = Duration::from_millis(250);
/// From a change of webhook configurations or Services to the next step that relies on it: every API
/// server and every node must have heard of it.
const SETTLE: Duration = Duration::from_secs(5);
/// What [`take_over`] does, in order, for people.
pub const STEPS: [&str; 9] = [
    "keep the CustomResourceDefinitions whatever Helm does, and let the API server convert policies",
    "start the gate beside policy-controller, behind the Service sealgate, and wait for its pods",
    "wait until the API server reaches the gate and trusts its certificate",
    "put the gate's webhooks in the place of policy-controller's, one update a configuration: from \
     here the gate enforces",
    "delete policy-controller's Deployment and the bindings of its account",
    "remove policy-controller's finalizers from policies and TrustRoots, so that they can be deleted",
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
    /// When to give up waiting.
    end: Instant,
}

impl<'a> Cluster<'a> {
    /// `patience`: for all waiting together.
    fn new(client: &'a Client, namespace: &'a str, patience: Duration) -> Self {
        Self { client, namespace, end: Instant::now() + patience }
    }
}

/// What of policy-controller there is in the gate's namespace.
///
/// # Errors
/// What the API server says; `Config` where policy-controller is in another namespace.
pub async fn find(client: &Client, namespace: &str) -> Result<Found, Fault> {
    Cluster::new(client, namespace, Duration::ZERO).find().await
}

/// What the gate's webhooks would not be called about, and policy-controller's are.
///
/// # Errors
/// What the API server says.
pub async fn selected(client: &Client, options: &InstallOptions) -> Result<Selected, Fault> {
    Cluster::new(client, &options.namespace, Duration::ZERO).selected(options).await
}

/// Policies that the gate would judge by another trust root than policy-controller does, because its
/// root is set by flags and they name none: name and reason.
///
/// # Errors
/// What the API server says.
pub async fn resting_on_its_root(client: &Client, namespace: &str) -> Result<Vec<String>, Fault> {
    Cluster::new(client, namespace, Duration::ZERO).resting_on_its_root().await
}

/// Installs the gate in the place of what [`find`] found. `patience`: how long to wait, in all, for
/// the gate's pods and for the API server to reach them.
///
/// # Errors
/// What the API server says; `Timeout` where pods do not get ready or are not reached. Whoever
/// enforced before the step that failed still does.
pub async fn take_over(
    client: &Client,
    options: &InstallOptions,
    patience: Duration,
    say: Say<'_>,
) -> Result<(), Fault> {
    let cluster = Cluster::new(client, &options.namespace, patience);
    let found = cluster.find().await?;
    cluster.refuse_unguarded(options).await?;
    keep_definitions(client).await?;
    cluster.start_beside(options, say).await?;
    let bundle = cluster.bundle().await?;
    cluster.wait_until_reached(Place::Aside, &bundle, say).await?;
    // A namespace may have been made since, and what is replaced tells no more what it selected.
    cluster.refuse_unguarded(options).await?;
    cluster.replace(options, Place::Aside, &bundle).await?;
    for (kind, name) in &found.others {
        cluster.configurations(kind).delete(name).await?;
    }
    say("the gate enforces (policy-controller still runs, and is asked no more)");
    sleep(SETTLE).await;
    cluster.stop_other(&found, say).await?;
    cluster.remove_finalizers(say).await?;
    cluster.apply(options, |document| document["kind"] == "Service").await?;
    cluster.wait_until_reached(Place::Installed, &bundle, say).await?;
    cluster.replace(options, Place::Installed, &bundle).await?;
    sleep(SETTLE).await;
    cluster.apply(options, |_| true).await?;
    cluster.services().delete(MIGRATION_SERVICE).await?;
    cluster.remove_probe().await?;
    apply::delete_retired(client, options).await?;
    say("policy-controller is replaced");
    Ok(())
}

/// Hands over to policy-controller: the first call moves the gate aside, so that policy-controller
/// can be installed under its names; a call after that waits until it enforces, and removes the gate.
///
/// # Errors
/// As [`take_over`]; `Config` where no gate is installed.
pub async fn hand_over(
    client: &Client,
    options: &InstallOptions,
    patience: Duration,
    say: Say<'_>,
) -> Result<HandOver, Fault> {
    let cluster = Cluster::new(client, &options.namespace, patience);
    let found = cluster.find().await?;
    if !found.is_aside {
        cluster.must_have_gate().await?;
        cluster.step_aside(options, say).await?;
        return Ok(HandOver::Aside);
    }
    if !found.has_other() {
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

/// Makes the CustomResourceDefinitions this version's, whoever they were of: a Helm release that held
/// them must not take them along, and with them all policies; and the API server converts by itself
/// from now on. policy-controller filled in the conversion webhook: applying alone leaves its
/// address, and the API server refuses that.
///
/// # Errors
/// What the API server says.
pub async fn keep_definitions(client: &Client) -> Result<(), Fault> {
    let (kind, plural) = ("CustomResourceDefinition", "customresourcedefinitions");
    let definitions = Objects::of(client, api::EXTENSIONS, kind, plural, None);
    for document in crate::crd::all() {
        let (_, name) = kind_and_name(&document);
        if definitions.get(name).await?.is_some() {
            let patch = json!({
                "metadata": { "annotations": document["metadata"]["annotations"] },
                "spec": { "conversion": { "strategy": "None", "webhook": null } },
            });
            definitions.merge(name, &patch).await?;
        }
        apply::apply(client, &document).await?;
    }
    Ok(())
}

impl Cluster<'_> {
    /// Starts the gate with no name in common with what runs.
    async fn start_beside(&self, options: &InstallOptions, say: Say<'_>) -> Result<(), Fault> {
        self.make_room("Deployment", say).await?;
        let budgets = Objects::of(
            self.client,
            api::POLICY,
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
            let bindings = Objects::of(self.client, api::RBAC, kind, plural, namespace);
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

    /// Before anything is changed.
    async fn must_have_gate(&self) -> Result<(), Fault> {
        let live = self.apps("Deployment").get(DEPLOYMENT).await?;
        if live.as_ref().is_some_and(configurations::is_labelled) {
            return Ok(());
        }
        let target = format!("Deployment {}/{DEPLOYMENT}", self.namespace);
        let detail = "the gate is not installed here: there is nothing to hand over";
        Err(Fault::new(FaultKind::Config, target, detail))
    }

    async fn step_aside(&self, options: &InstallOptions, say: Say<'_>) -> Result<(), Fault> {
        self.apply_migration_service(options).await?;
        let bundle = self.bundle().await?;
        self.wait_until_reached(Place::Aside, &bundle, say).await?;
        self.replace(options, Place::Aside, &bundle).await?;
        self.remove_probe().await?;
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
        .await?;
        self.wait_until_compiled(say).await
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
        let start = Instant::now();
        while !is_so().await? {
            if Instant::now() > self.end {
                let waited = start.elapsed().as_secs();
                let detail = format!(
                    "still not so after {waited} s; mend the cause and run the same command again, \
                     or allow more time with --timeout"
                );
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
    let data = secret["data"].as_object()?;
    let decode = |value: &Value| sealgate_core::base64::decode(value.as_str()?).ok();
    bundle(&data.iter().filter_map(|(key, value)| Some((key.clone(), decode(value)?))).collect())
}
