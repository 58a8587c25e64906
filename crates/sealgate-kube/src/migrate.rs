//! Migration from policy-controller to the gate and back, with an enforcing webhook at all times.
//!
//! ```text
//!   policy-controller  --install --replace-->  migration names  -->  installed
//!   policy-controller  <--uninstall --hand-over--  migration names  <--  installed
//! ```
//!
//! With *migration names*, the gate has a Service of its own, and its webhooks have names that
//! policy-controller does not touch (see `configurations`). Each switch is one update of one webhook
//! configuration, made only after the API server has been seen to reach the controller that takes
//! over. Every step determines the current state itself, so an interrupted migration is completed by
//! running the command again.
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

use configurations::Placement;
pub use finalizers::remove_finalizers;
pub use found::Found;
use objects::Objects;
pub use preflight::undecidable;
use probe::REQUIRED_SUCCESSES;
pub use selectors::SelectorComparison;

/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Delay between a change of webhook configurations or Services and the next step that relies on
/// it, so that every API server and node has observed it.
const PROPAGATION_DELAY: Duration = Duration::from_secs(5);
/// Steps of [`take_over`], in order, for users.
pub const STEPS: [&str; 9] = [
    "protect the CustomResourceDefinitions from deletion by Helm, and let the API server convert \
     policies",
    "start the gate next to policy-controller, behind the Service sealgate, and wait for its pods",
    "wait until the API server reaches the gate and trusts its certificate",
    "replace policy-controller's webhooks with the gate's, one update per configuration: from here \
     the gate enforces",
    "delete policy-controller's Deployment and the bindings of its service account",
    "remove policy-controller's finalizers from policies and TrustRoots, so that they can be deleted",
    "point the Service webhook at the gate, and wait until the API server reaches it",
    "rename the gate's webhooks to those of an installation, calling it through the Service webhook",
    "delete the migration's own objects; policies, TrustRoots, Secrets and \
     config-policy-controller are not changed",
];

/// Receiver of progress messages.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Result of [`hand_over`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// The gate still enforces, under its migration names: policy-controller can be installed now.
    AwaitingPolicyController,
    /// policy-controller enforces, and the gate has been removed.
    Done,
}

/// Cluster of a migration.
struct Cluster<'a> {
    client: &'a Client,
    namespace: &'a str,
    /// Deadline of all waiting.
    end: Instant,
}

impl<'a> Cluster<'a> {
    /// `patience` is the total time limit for waiting.
    fn new(client: &'a Client, namespace: &'a str, patience: Duration) -> Self {
        Self { client, namespace, end: Instant::now() + patience }
    }
}

/// Parts of policy-controller in the gate's namespace.
///
/// # Errors
/// Faults of the API server; `Config` when policy-controller is in another namespace.
pub async fn find(client: &Client, namespace: &str) -> Result<Found, Fault> {
    Cluster::new(client, namespace, Duration::ZERO).find().await
}

/// Namespaces and objects for which policy-controller's webhooks are called, and the gate's would
/// not be.
///
/// # Errors
/// Faults of the API server.
pub async fn selected(
    client: &Client,
    options: &InstallOptions,
) -> Result<SelectorComparison, Fault> {
    Cluster::new(client, &options.namespace, Duration::ZERO).selected(options).await
}

/// Policies without a trust root of their own, for which the gate would use another one than
/// policy-controller does because its root is set by flags: name and reason.
///
/// # Errors
/// Faults of the API server.
pub async fn policies_using_its_root(
    client: &Client,
    namespace: &str,
) -> Result<Vec<String>, Fault> {
    Cluster::new(client, namespace, Duration::ZERO).policies_using_its_root().await
}

/// Replaces the installation that [`find`] found with the gate. `patience` is the total time limit
/// for waiting for the gate's pods and for the API server to reach them.
///
/// # Errors
/// Faults of the API server; `Timeout` when pods do not become ready or cannot be reached. The
/// controller that enforced before the failed step still enforces.
pub async fn take_over(
    client: &Client,
    options: &InstallOptions,
    patience: Duration,
    say: Progress<'_>,
) -> Result<(), Fault> {
    let cluster = Cluster::new(client, &options.namespace, patience);
    let found = cluster.find().await?;
    cluster.refuse_unguarded(options).await?;
    keep_definitions(client).await?;
    cluster.start_next_to(options, say).await?;
    let bundle = cluster.bundle().await?;
    cluster.wait_until_reached(Placement::Migration, &bundle, say).await?;
    // A namespace may have been created since, and once replaced, the webhooks no longer show what
    // they selected.
    cluster.refuse_unguarded(options).await?;
    cluster.replace(options, Placement::Migration, &bundle).await?;
    for (kind, name) in &found.others {
        cluster.configurations(kind).delete(name).await?;
    }
    say("the gate enforces (policy-controller still runs, but is no longer called)");
    sleep(PROPAGATION_DELAY).await;
    cluster.stop_policy_controller(&found, say).await?;
    cluster.remove_finalizers(say).await?;
    cluster.apply(options, |document| document["kind"] == "Service").await?;
    cluster.wait_until_reached(Placement::Installed, &bundle, say).await?;
    cluster.replace(options, Placement::Installed, &bundle).await?;
    sleep(PROPAGATION_DELAY).await;
    cluster.apply(options, |_| true).await?;
    cluster.services().delete(MIGRATION_SERVICE).await?;
    cluster.remove_probe().await?;
    apply::delete_retired(client, options).await?;
    say("policy-controller has been replaced");
    Ok(())
}

/// Hands over to policy-controller: the first call moves the gate to its migration names, so that
/// policy-controller can be installed under its own; a later call waits until policy-controller
/// enforces, and removes the gate.
///
/// # Errors
/// Same as [`take_over`]; `Config` when no gate is installed.
pub async fn hand_over(
    client: &Client,
    options: &InstallOptions,
    patience: Duration,
    say: Progress<'_>,
) -> Result<HandOver, Fault> {
    let cluster = Cluster::new(client, &options.namespace, patience);
    let found = cluster.find().await?;
    if !found.has_migration_names {
        cluster.require_gate().await?;
        cluster.use_migration_names(options, say).await?;
        return Ok(HandOver::AwaitingPolicyController);
    }
    if !found.has_policy_controller() {
        cluster.free_names(say).await?;
        return Ok(HandOver::AwaitingPolicyController);
    }
    cluster.wait_until_policy_controller_enforces(options, say).await?;
    for document in configurations::installed(options) {
        let (kind, name) = kind_and_name(&document);
        let without = |live: Option<Value>| {
            live.as_ref().map(configurations::without_gate).unwrap_or_default()
        };
        cluster.configurations(kind).update(name, without).await?;
    }
    say("policy-controller enforces");
    sleep(PROPAGATION_DELAY).await;
    cluster.remove_gate(options).await?;
    say("the gate has been removed");
    Ok(HandOver::Done)
}

/// Updates the CustomResourceDefinitions to this version, whoever owned them: a Helm release that
/// owned them must not delete them together with all policies, and the API server converts by
/// itself from now on. policy-controller had filled in the conversion webhook: an apply alone
/// leaves its address, which the API server refuses.
///
/// # Errors
/// Faults of the API server.
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
    /// Starts the gate without sharing any name with the running installation.
    async fn start_next_to(
        &self,
        options: &InstallOptions,
        say: Progress<'_>,
    ) -> Result<(), Fault> {
        self.free_deployment_name("Deployment", say).await?;
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
        say("waiting for the gate's pods next to policy-controller");
        self.wait_for_rollout().await
    }

    /// Frees the Deployment's name; its pods keep running, owned by the ReplicaSet.
    async fn free_deployment_name(&self, kind: &str, say: Progress<'_>) -> Result<(), Fault> {
        let live = self.apps(kind).get(DEPLOYMENT).await?;
        if live.is_none_or(|live| configurations::is_labelled(&live)) {
            return Ok(());
        }
        say("deleting policy-controller's Deployment, keeping its pods");
        self.free(kind).await
    }

    async fn free(&self, kind: &str) -> Result<(), Fault> {
        self.apps(kind).orphan(DEPLOYMENT).await?;
        self.wait(&format!("{kind} {DEPLOYMENT} still exists"), async || {
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

    /// Stops the previous installation: its pods, and the permissions of its service account. Its
    /// remaining objects have no effect.
    async fn stop_policy_controller(&self, found: &Found, say: Progress<'_>) -> Result<(), Fault> {
        let mut accounts = Vec::new();
        for workload in &found.workloads {
            // The Deployment may have been orphaned since: then its ReplicaSet runs the pods.
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

    /// Returns whether a binding that is not ours grants permissions to these accounts and to no
    /// others.
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

    /// Replaces all webhooks in each configuration with the gate's.
    async fn replace(
        &self,
        options: &InstallOptions,
        place: Placement,
        bundle: &str,
    ) -> Result<(), Fault> {
        for document in configurations::installed(options) {
            let (kind, name) = kind_and_name(&document);
            let with_gate = |live| configurations::with_gate_only(live, &document, place, bundle);
            self.configurations(kind).update(name, with_gate).await?;
        }
        Ok(())
    }

    /// CA of the gate's certificates.
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

    /// Checks that the gate is installed, before anything is changed.
    async fn require_gate(&self) -> Result<(), Fault> {
        let live = self.apps("Deployment").get(DEPLOYMENT).await?;
        if live.as_ref().is_some_and(configurations::is_labelled) {
            return Ok(());
        }
        let target = format!("Deployment {}/{DEPLOYMENT}", self.namespace);
        let detail = "the gate is not installed here: nothing to hand over";
        Err(Fault::new(FaultKind::Config, target, detail))
    }

    async fn use_migration_names(
        &self,
        options: &InstallOptions,
        say: Progress<'_>,
    ) -> Result<(), Fault> {
        self.apply_migration_service(options).await?;
        let bundle = self.bundle().await?;
        self.wait_until_reached(Placement::Migration, &bundle, say).await?;
        self.replace(options, Placement::Migration, &bundle).await?;
        self.remove_probe().await?;
        sleep(PROPAGATION_DELAY).await;
        self.free_names(say).await
    }

    /// Frees the names of the Service and Deployment that are shared with policy-controller; the
    /// gate's pods keep running.
    async fn free_names(&self, say: Progress<'_>) -> Result<(), Fault> {
        let is_ours =
            |object: Option<Value>| object.as_ref().is_some_and(configurations::is_labelled);
        if is_ours(self.services().get(SERVICE).await?) {
            self.services().delete(SERVICE).await?;
        }
        if is_ours(self.apps("Deployment").get(DEPLOYMENT).await?) {
            self.free("Deployment").await?;
        }
        say(&format!("the gate enforces through Service {MIGRATION_SERVICE}"));
        Ok(())
    }

    async fn wait_until_policy_controller_enforces(
        &self,
        options: &InstallOptions,
        say: Progress<'_>,
    ) -> Result<(), Fault> {
        say("waiting until policy-controller serves");
        let documents = configurations::installed(options);
        let mut times = 0;
        self.wait("policy-controller does not serve", async || {
            let mut serves = true;
            for document in &documents {
                let (kind, name) = kind_and_name(document);
                let live = self.configurations(kind).get(name).await?;
                serves &= live.as_ref().is_some_and(configurations::has_active_foreign_webhook);
            }
            // Its own policy webhook is among those that must respond.
            times = if serves && self.dry_run().await.is_ok() { times + 1 } else { 0 };
            Ok(times >= REQUIRED_SUCCESSES)
        })
        .await?;
        self.wait_until_compiled(say).await
    }

    /// Removes everything of the gate whose name policy-controller does not use.
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
                    "still not done after {waited} s; fix the cause and run the same command again, \
                     or allow more time with --timeout"
                );
                return Err(Fault::new(FaultKind::Timeout, what, detail));
            }
            sleep(POLL_INTERVAL).await;
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
