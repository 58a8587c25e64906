//! What of policy-controller is in a cluster, found by what its webhooks call: its own manifests and
//! the Helm chart use other names.

use std::collections::BTreeSet;

use sealgate_core::fault::{Fault, FaultKind};
use serde_json::Value;

use super::Cluster;
use super::configurations::{self, Place};
use super::objects::Objects;
use crate::api;
use crate::install::{
    POLICY_DEFAULTS_WEBHOOK, POLICY_VALIDATION_WEBHOOK, SERVICE, WORKLOAD_WEBHOOK,
};

/// The names of the configurations, the same for both.
const NAMES: [&str; 3] = [WORKLOAD_WEBHOOK, POLICY_DEFAULTS_WEBHOOK, POLICY_VALIDATION_WEBHOOK];

/// policy-controller in a cluster, or a migration that is not finished.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Configurations of its own names, kind and name, that call it.
    pub(super) others: Vec<(&'static str, String)>,
    /// Deployments, and ReplicaSets that none owns: kind, name, service account.
    pub(super) workloads: Vec<Workload>,
    /// Whether its Service has the name that the gate's gets.
    pub(super) has_service: bool,
    /// Configurations that call it, for people.
    pub(super) calls: Vec<String>,
    /// Whether the gate's webhooks stand under the names of a migration.
    pub(super) is_aside: bool,
}

/// What runs policy-controller's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) account: Option<String>,
}

impl Found {
    /// What there is, for people; empty where there is nothing of policy-controller.
    pub fn describe(&self) -> Vec<String> {
        let workloads = self.workloads.iter().map(|it| format!("{} {}", it.kind, it.name));
        let service = self.has_service.then(|| format!("Service {SERVICE}"));
        self.calls.iter().cloned().chain(workloads).chain(service).collect()
    }

    /// Whether there is anything of policy-controller.
    pub(super) fn has_other(&self) -> bool {
        !self.calls.is_empty() || !self.workloads.is_empty() || self.has_service
    }

    /// Whether there is neither policy-controller nor a migration that is not finished.
    pub fn is_nothing(&self) -> bool {
        !self.has_other() && !self.is_aside
    }

    /// Whether `sealgate uninstall --hand-over` or `install --replace` stopped half-way.
    pub fn is_unfinished(&self) -> bool {
        self.is_aside
    }
}

impl Cluster<'_> {
    /// What of policy-controller is here.
    pub(super) async fn find(&self) -> Result<Found, Fault> {
        let mut found = Found::default();
        let mut services = BTreeSet::new();
        for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
            for live in self.configurations(kind).list().await? {
                self.look_at(kind, &live, &mut found, &mut services)?;
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

    fn look_at(
        &self,
        kind: &'static str,
        live: &Value,
        found: &mut Found,
        services: &mut BTreeSet<String>,
    ) -> Result<(), Fault> {
        let name = live["metadata"]["name"].as_str().unwrap_or_default();
        let known = NAMES.contains(&name);
        found.is_aside |= known && configurations::has_gate(live, Place::Aside);
        let mut calls = false;
        for webhook in configurations::others(live) {
            let Some((namespace, service)) = configurations::service(webhook) else { continue };
            if known && namespace != self.namespace {
                let why = format!(
                    "calls Service {namespace}/{service}: policy-controller is in the namespace \
                     {namespace}; give --namespace {namespace}, from which secretRefs are read"
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

    /// Whether a webhook configuration is among those of [`Found::describe`].
    pub(super) fn calls_other(&self, live: &Value) -> bool {
        let known = live["metadata"]["name"].as_str().is_some_and(|name| NAMES.contains(&name));
        configurations::others(live).filter_map(configurations::service).any(
            |(namespace, service)| namespace == self.namespace && (known || service == SERVICE),
        )
    }

    /// What runs the pods that a Service's selector is about.
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

/// Whether a selector is about pods with these labels; an empty one is about none.
fn selects(selector: &Value, labels: &Value) -> bool {
    let Some(selector) = selector.as_object().filter(|selector| !selector.is_empty()) else {
        return false;
    };
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
