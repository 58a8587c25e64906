//! Discovery of policy-controller in a cluster by the Services its webhooks call: its own manifests
//! and the Helm chart use different names.

use std::collections::BTreeSet;

use sealgate_core::fault::{Fault, FaultKind};
use serde_json::Value;

use super::Cluster;
use super::configurations::{self, Placement};
use super::objects::Objects;
use crate::api;
use crate::install::{
    POLICY_DEFAULTS_WEBHOOK, POLICY_VALIDATION_WEBHOOK, SERVICE, WORKLOAD_WEBHOOK,
};

/// Names of the webhook configurations, the same for both controllers.
const NAMES: [&str; 3] = [WORKLOAD_WEBHOOK, POLICY_DEFAULTS_WEBHOOK, POLICY_VALIDATION_WEBHOOK];

/// policy-controller in a cluster, or an unfinished migration.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Kind and name of configurations with its own names that call it.
    pub(super) others: Vec<(&'static str, String)>,
    /// Kind, name and service account of Deployments, and of ReplicaSets without owner.
    pub(super) workloads: Vec<Workload>,
    /// True if its Service has the name that the gate's will get.
    pub(super) has_service: bool,
    /// Descriptions of the configurations that call it.
    pub(super) calls: Vec<String>,
    /// True if the gate's webhooks have their migration names.
    pub(super) has_migration_names: bool,
}

/// Workload that runs policy-controller's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) account: Option<String>,
}

impl Found {
    /// Description for users; empty without policy-controller.
    pub fn describe(&self) -> Vec<String> {
        let workloads = self.workloads.iter().map(|it| format!("{} {}", it.kind, it.name));
        let service = self.has_service.then(|| format!("Service {SERVICE}"));
        self.calls.iter().cloned().chain(workloads).chain(service).collect()
    }

    /// Returns whether anything of policy-controller exists.
    pub(super) fn has_policy_controller(&self) -> bool {
        !self.calls.is_empty() || !self.workloads.is_empty() || self.has_service
    }

    /// Returns whether there is neither policy-controller nor an unfinished migration.
    pub fn is_empty(&self) -> bool {
        !self.has_policy_controller() && !self.has_migration_names
    }

    /// Returns whether `sealgate uninstall --hand-over` or `install --replace` was interrupted.
    pub fn is_unfinished(&self) -> bool {
        self.has_migration_names
    }
}

impl Cluster<'_> {
    /// Looks for policy-controller in this namespace.
    pub(super) async fn find(&self) -> Result<Found, Fault> {
        let mut found = Found::default();
        let mut services = BTreeSet::new();
        for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
            for live in self.configurations(kind).list().await? {
                self.inspect(kind, &live, &mut found, &mut services)?;
            }
        }
        let service = self.services().get(SERVICE).await?;
        found.has_service = service.is_some_and(|it| !configurations::is_labelled(&it));
        if found.has_service {
            services.insert(SERVICE.to_owned());
        }
        for name in services {
            let Some(service) = self.services().get(&name).await? else { continue };
            if !configurations::is_labelled(&service) {
                found.workloads.extend(self.behind(&service["spec"]["selector"]).await?);
            }
        }
        found.workloads.dedup();
        Ok(found)
    }

    fn inspect(
        &self,
        kind: &'static str,
        live: &Value,
        found: &mut Found,
        services: &mut BTreeSet<String>,
    ) -> Result<(), Fault> {
        let name = live["metadata"]["name"].as_str().unwrap_or_default();
        let known = NAMES.contains(&name);
        found.has_migration_names |= known && configurations::has_gate(live, Placement::Migration);
        let mut calls = false;
        for webhook in configurations::others(live) {
            let Some((namespace, service)) = configurations::service(webhook) else { continue };
            if known && namespace != self.namespace {
                let why = format!(
                    "calls Service {namespace}/{service}: policy-controller is in the namespace \
                     {namespace}; pass --namespace {namespace}, from which secretRefs are read"
                );
                return Err(Fault::new(FaultKind::Config, format!("{kind} {name}"), why));
            }
            if namespace == self.namespace && (known || service == SERVICE) {
                services.insert(service.to_owned());
                calls = true;
            }
        }
        if calls {
            found.calls.push(format!("{kind} {name}"));
            if !known {
                found.others.push((kind, name.to_owned()));
            }
        }
        Ok(())
    }

    /// Returns whether a webhook configuration is among those of [`Found::describe`].
    pub(super) fn calls_policy_controller(&self, live: &Value) -> bool {
        let known = live["metadata"]["name"].as_str().is_some_and(|name| NAMES.contains(&name));
        configurations::others(live).filter_map(configurations::service).any(
            |(namespace, service)| namespace == self.namespace && (known || service == SERVICE),
        )
    }

    /// Workloads that run the pods selected by a Service.
    async fn behind(&self, selector: &Value) -> Result<Vec<Workload>, Fault> {
        let mut workloads = Vec::new();
        for kind in ["Deployment", "ReplicaSet"] {
            for object in self.apps(kind).list().await? {
                let owned =
                    object["metadata"]["ownerReferences"].as_array().is_some_and(|o| !o.is_empty());
                let template = &object["spec"]["template"];
                if !owned && selects(selector, &template["metadata"]["labels"]) {
                    let text = |value: &Value| value.as_str().map(str::to_owned);
                    let name = text(&object["metadata"]["name"]).unwrap_or_default();
                    let account = text(&template["spec"]["serviceAccountName"]);
                    workloads.push(Workload { kind, name, account });
                }
            }
        }
        Ok(workloads)
    }

    pub(super) fn services(&self) -> Objects {
        Objects::of(self.client, "v1", "Service", "services", Some(self.namespace))
    }

    pub(super) fn apps(&self, kind: &str) -> Objects {
        let plural = format!("{}s", kind.to_lowercase());
        Objects::of(self.client, api::APPS, kind, &plural, Some(self.namespace))
    }

    pub(super) fn configurations(&self, kind: &str) -> Objects {
        let plural = format!("{}s", kind.to_lowercase());
        Objects::of(self.client, api::ADMISSION, kind, &plural, None)
    }
}

/// Returns whether a selector matches pods with these labels; an empty one matches none.
fn selects(selector: &Value, labels: &Value) -> bool {
    let Some(selector) = selector.as_object().filter(|selector| !selector.is_empty()) else {
        return false;
    };
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
