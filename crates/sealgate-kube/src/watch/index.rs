//! The objects of a cluster that policies are made of, kept current by watch events. Pure: events
//! in; objects, and the reports about them, out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use sealgate_policy::assemble::{Object, ObjectStatus, Objects, PolicySource};
use sealgate_policy::cip::compile::Condition;
use sealgate_policy::cip::trust_root::{self, TrustRootObject};
use sealgate_policy::cip::{ClusterImagePolicy, GROUP, KIND};
use sealgate_policy::select::NoMatch;
use serde_json::Value;

/// The place that rules of a cluster name as their origin.
const PLACE: &str = "cluster";

/// The objects, by name.
#[derive(Default)]
pub(super) struct Index {
    policies: Store<Entry<ClusterImagePolicy>>,
    trust_roots: Store<Entry<TrustRootObject>>,
    config: Store<BTreeMap<String, String>>,
}

/// Objects of one kind by name, and the list that replaces them once it is complete.
struct Store<T> {
    objects: BTreeMap<String, T>,
    incoming: Option<BTreeMap<String, T>>,
    listed: bool,
}

/// A policy or TrustRoot object.
#[derive(Clone)]
struct Entry<T> {
    /// The object, or why it cannot be read.
    content: Result<T, String>,
    metadata: Metadata,
}

/// The metadata and the present status of an object, for its status writer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) resource_version: Option<String>,
    pub(super) status: Value,
}

/// The conditions to write into an object's status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) metadata: Metadata,
    pub(super) conditions: Vec<Condition>,
}

impl Index {
    /// Takes in an event of the ClusterImagePolicies.
    pub(super) fn apply_policy(&mut self, event: Event<DynamicObject>) {
        self.policies.apply(event, policy_entry);
    }

    /// Takes in an event of the TrustRoots.
    pub(super) fn apply_trust_root(&mut self, event: Event<DynamicObject>) {
        self.trust_roots.apply(event, trust_root_entry);
    }

    /// Takes in an event of the ConfigMap.
    pub(super) fn apply_config(&mut self, event: Event<ConfigMap>) {
        self.config.apply(event, config_entry);
    }

    /// Counts the TrustRoots as listed: the API server does not serve the resource.
    pub(super) fn expect_no_trust_roots(&mut self) {
        self.trust_roots.listed = true;
    }

    /// Returns whether policies, trust roots and configuration were listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.policies.listed && self.trust_roots.listed && self.config.listed
    }

    /// The objects as they are now.
    pub(super) fn objects<'a>(
        &'a self,
        system_namespace: &'a str,
        no_match: Option<NoMatch>,
    ) -> Objects<'a> {
        Objects {
            source: PolicySource::Cluster,
            system_namespace,
            config: self.config.objects.values().next().cloned().unwrap_or_default(),
            no_match,
            policies: self.policies.objects.values().map(Entry::object).collect(),
            trust_roots: self.trust_roots.objects.values().map(Entry::object).collect(),
        }
    }

    /// The reports about the policies, whose statuses these are.
    pub(super) fn policy_reports(&self, statuses: Vec<ObjectStatus>) -> Vec<Report> {
        reports(self.policies.objects.values().map(|entry| &entry.metadata), statuses)
    }

    /// The reports about the TrustRoots, whose statuses these are.
    pub(super) fn trust_root_reports(&self, statuses: Vec<ObjectStatus>) -> Vec<Report> {
        reports(self.trust_roots.objects.values().map(|entry| &entry.metadata), statuses)
    }
}

/// Joins each status with the metadata of its object. Both are in the order of the index.
fn reports<'a>(
    metadata: impl Iterator<Item = &'a Metadata>,
    statuses: Vec<ObjectStatus>,
) -> Vec<Report> {
    metadata
        .zip(statuses)
        .map(|(metadata, ObjectStatus { conditions, .. })| Report {
            metadata: metadata.clone(),
            conditions,
        })
        .collect()
}

impl<T> Entry<T> {
    fn object(&self) -> Object<'_, T> {
        let content = self.content.as_ref().map_err(String::as_str);
        Object { name: &self.metadata.name, place: PLACE, content }
    }
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), incoming: None, listed: false }
    }
}

impl<T> Store<T> {
    /// Takes in an event. A new list replaces the old one when it is complete, never before.
    fn apply<K>(&mut self, event: Event<K>, read: fn(K) -> Option<(String, T)>) {
        match event {
            Event::Init => self.incoming = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let incoming = self.incoming.get_or_insert_default();
                incoming.extend(read(object));
            }
            Event::InitDone => {
                self.objects = self.incoming.take().unwrap_or_default();
                self.listed = true;
            }
            Event::Apply(object) => self.objects.extend(read(object)),
            Event::Delete(object) => {
                if let Some((name, _)) = read(object) {
                    self.objects.remove(&name);
                }
            }
        }
    }
}

/// An object without a name does not exist in a cluster.
fn policy_entry(object: DynamicObject) -> Option<(String, Entry<ClusterImagePolicy>)> {
    entry(object, KIND, |value| {
        ClusterImagePolicy::from_json(value).map_err(|error| error.to_string())
    })
}

fn trust_root_entry(object: DynamicObject) -> Option<(String, Entry<TrustRootObject>)> {
    entry(object, trust_root::KIND, |value| {
        TrustRootObject::from_json(value).map_err(|error| error.to_string())
    })
}

fn entry<T>(
    mut object: DynamicObject,
    kind: &str,
    read: impl Fn(&Value) -> Result<T, String>,
) -> Option<(String, Entry<T>)> {
    object.metadata.managed_fields = None;
    let name = object.metadata.name.clone()?;
    let metadata = Metadata {
        name: name.clone(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation,
        resource_version: object.metadata.resource_version.clone(),
        status: object.data.get("status").cloned().unwrap_or_default(),
    };
    let version = object.types.as_ref().map(|types| types.api_version.clone());
    let content = serde_json::to_value(&object)
        .map_err(|error| error.to_string())
        .and_then(|value| read(&with_type(value, version, kind)));
    Some((name, Entry { content, metadata }))
}

/// Objects of a list may come without their type.
fn with_type(mut object: Value, version: Option<String>, kind: &str) -> Value {
    if let Some(fields) = object.as_object_mut() {
        let version = version.unwrap_or_else(|| format!("{GROUP}/v1alpha1"));
        fields.insert("apiVersion".to_owned(), Value::String(version));
        fields.insert("kind".to_owned(), Value::String(kind.to_owned()));
    }
    object
}

fn config_entry(config: ConfigMap) -> Option<(String, BTreeMap<String, String>)> {
    Some((config.metadata.name?, config.data.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
