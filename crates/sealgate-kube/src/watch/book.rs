//! What is known of the policies, their keys, trust roots and the configuration, and what follows
//! from it. Pure: events in, compiled policies and reports out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use sealgate_core::fault::Fault;
use sealgate_engine::roots::{Objects, OwnRoot};
use sealgate_policy::cip::validate::Context;
use sealgate_policy::cip::{ClusterImagePolicy, GROUP, KIND, SecretRef};
use sealgate_policy::compile::{
    Compiled, Condition, Lookups, RootRef, SecretContent, compile, content_of_secret, unreadable,
};
use sealgate_policy::config::Config;
use sealgate_policy::select::PolicySet;
use sealgate_policy::trust_root::{self, Spec, TrustRootObject};
use serde_json::Value;

use super::Policies;

/// The place that rules of a cluster name as their origin.
const PLACE: &str = "cluster";

/// Something that happened.
pub(super) enum Change {
    Policy(Box<Event<DynamicObject>>),
    TrustRoot(Box<Event<DynamicObject>>),
    /// A trust root was read anew in the background.
    RootRead,
    Config(Box<Event<ConfigMap>>),
    /// A Secret of this name was written or deleted.
    Secret(String),
    /// All Secrets must be read again.
    Resync,
}

/// What is known.
pub(super) struct Book {
    namespace: String,
    policies: Listing<Entry<ClusterImagePolicy>>,
    trust_roots: Listing<Entry<Spec>>,
    config: Listing<BTreeMap<String, String>>,
    keys: BTreeMap<String, Key>,
    /// Warnings about the configuration that were logged already.
    said: Vec<String>,
}

/// Objects by name, and the new list that is being received in the meantime.
struct Listing<T> {
    known: BTreeMap<String, T>,
    incoming: Option<BTreeMap<String, T>>,
    complete: bool,
}

/// A policy or TrustRoot object.
#[derive(Clone)]
struct Entry<T> {
    object: Result<T, String>,
    about: About,
}

/// What a status writer must know of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) resource_version: Option<String>,
    pub(super) status: Value,
}

/// What should stand in an object's status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) about: About,
    pub(super) conditions: Vec<Condition>,
}

/// The key in a Secret, or the certificates.
struct Key {
    answer: Result<SecretContent, Fault>,
    outdated: bool,
}

impl Book {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            policies: Listing::new(),
            trust_roots: Listing::new(),
            config: Listing::new(),
            keys: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// Takes in a change.
    pub(super) fn take(&mut self, change: Change) {
        match change {
            Change::Policy(event) => self.policies.take(*event, policy_entry),
            Change::TrustRoot(event) => self.trust_roots.take(*event, trust_root_entry),
            Change::RootRead => {}
            Change::Config(event) => self.config.take(*event, config_entry),
            Change::Secret(name) => {
                if let Some(key) = self.keys.get_mut(&name) {
                    key.outdated = true;
                }
            }
            Change::Resync => self.keys.values_mut().for_each(|key| key.outdated = true),
        }
    }

    /// There is no such resource as TrustRoot yet: its list need not be waited for.
    pub(super) fn expect_no_trust_roots(&mut self) {
        self.trust_roots.complete = true;
    }

    /// Whether policies, trust roots and configuration were listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.policies.complete && self.trust_roots.complete && self.config.complete
    }

    /// The TrustRoot objects.
    pub(super) fn trust_roots(&self) -> Objects {
        let all = self.trust_roots.known.iter();
        all.map(|(name, entry)| (name.clone(), entry.object.clone())).collect()
    }

    /// What there is to report about each TrustRoot object.
    pub(super) fn root_reports(&self, conditions: impl Fn(&str) -> Vec<Condition>) -> Vec<Report> {
        let all = self.trust_roots.known.iter();
        all.map(|(name, entry)| Report { about: entry.about.clone(), conditions: conditions(name) })
            .collect()
    }

    /// The Secrets that policies name and that were not read, or have changed since. Those that no
    /// policy names any more are forgotten.
    pub(super) fn secrets_to_read(&mut self) -> Vec<String> {
        let named: BTreeSet<&str> = self
            .policies
            .known
            .values()
            .filter_map(|entry| entry.object.as_ref().ok())
            .flat_map(|policy| &policy.spec.authorities)
            .flat_map(|authority| {
                let ca = authority.keyless.as_ref().and_then(|keyless| keyless.ca_cert.as_ref());
                [authority.key.as_ref(), ca]
            })
            .filter_map(|key| key?.secret_ref.as_ref())
            .map(|secret| secret.name.as_str())
            .filter(|name| !name.is_empty())
            .collect();
        self.keys.retain(|name, _| named.contains(name.as_str()));
        let current = |name: &str| self.keys.get(name).is_some_and(|key| !key.outdated);
        named.into_iter().filter(|name| !current(name)).map(str::to_owned).collect()
    }

    /// Takes in what reading a Secret gave. A Secret that is not there or holds no key has no key;
    /// one that could not be read keeps the key it had.
    pub(super) fn take_secret(
        &mut self,
        name: String,
        answer: Result<Option<BTreeMap<String, Vec<u8>>>, Fault>,
    ) {
        let answer = match answer {
            Ok(data) => content_of_secret(&name, data.as_ref()),
            Err(fault) => match self.keys.remove(&name) {
                Some(Key { answer: Ok(content), .. }) => {
                    tracing::warn!(%fault, "keeping the key that was read before");
                    Ok(content)
                }
                _ => Err(fault),
            },
        };
        // What could not be read is tried again at the next resync.
        self.keys.insert(name, Key { answer, outdated: false });
    }

    /// The policies in force by these trust roots, and what there is to report about each.
    pub(super) fn compile(
        &mut self,
        roots: &dyn Fn(&RootRef) -> OwnRoot,
    ) -> (Policies, Vec<Report>) {
        let config = self.read_config();
        let context = Context {
            system_namespace: self.namespace.clone(),
            empty_authorities: config.empty_authorities,
        };
        let secrets = |secret: &SecretRef| self.key(secret);
        let lookups = Lookups { secrets: &secrets, roots };
        let mut rules = Vec::with_capacity(self.policies.known.len());
        let mut reports = Vec::with_capacity(self.policies.known.len());
        let mut impossible_patterns = Vec::new();
        for entry in self.policies.known.values() {
            let name = &entry.about.name;
            let Compiled { rule, conditions, impossible, .. } = match &entry.object {
                Ok(policy) => compile(policy, PLACE, &context, &lookups),
                Err(error) => unreadable(name, PLACE, error),
            };
            let told = impossible.messages().into_iter();
            impossible_patterns.extend(told.map(|m| format!("{name}: {m}").replace('\n', " ")));
            rules.push(rule);
            reports.push(Report { about: entry.about.clone(), conditions });
        }
        let set = Arc::new(PolicySet::new(rules, config.no_match));
        let not_ready = reports.iter().filter_map(Report::problem);
        let problems = not_ready.chain(impossible_patterns).collect();
        (Policies { set, config, context, problems }, reports)
    }

    fn key(&self, secret: &SecretRef) -> Result<SecretContent, Fault> {
        match self.keys.get(&secret.name) {
            Some(key) => key.answer.clone(),
            None => content_of_secret(&secret.name, None),
        }
    }

    fn read_config(&mut self) -> Config {
        let data = self.config.known.values().next().cloned().unwrap_or_default();
        let (config, warnings) = Config::read(&data);
        for warning in warnings.iter().filter(|warning| !self.said.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.said = warnings;
        config
    }
}

impl Report {
    fn problem(&self) -> Option<String> {
        let ready = self.conditions.iter().find(|condition| condition.kind == "Ready")?;
        (!ready.holds).then(|| format!("{}: {}", self.about.name, ready.message))
    }
}

impl<T: Clone> Listing<T> {
    fn new() -> Self {
        Self { known: BTreeMap::new(), incoming: None, complete: false }
    }

    /// A new list takes the place of the old one when it is whole, never before.
    fn take<K>(&mut self, event: Event<K>, read: fn(K) -> Option<(String, T)>) {
        match event {
            Event::Init => self.incoming = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let incoming = self.incoming.get_or_insert_default();
                incoming.extend(read(object));
            }
            Event::InitDone => {
                self.known = self.incoming.take().unwrap_or_default();
                self.complete = true;
            }
            Event::Apply(object) => self.known.extend(read(object)),
            Event::Delete(object) => {
                if let Some((name, _)) = read(object) {
                    self.known.remove(&name);
                }
            }
        }
    }
}

/// Reads a policy object. An object without a name does not exist in a cluster.
fn policy_entry(object: DynamicObject) -> Option<(String, Entry<ClusterImagePolicy>)> {
    entry(object, KIND, |value| {
        ClusterImagePolicy::from_json(value).map_err(|error| error.to_string())
    })
}

fn trust_root_entry(object: DynamicObject) -> Option<(String, Entry<Spec>)> {
    entry(object, trust_root::KIND, |value| {
        let object = TrustRootObject::from_json(value).map_err(|error| error.to_string())?;
        object.checked()
    })
}

fn entry<T>(
    mut object: DynamicObject,
    kind: &str,
    read: impl Fn(&Value) -> Result<T, String>,
) -> Option<(String, Entry<T>)> {
    object.metadata.managed_fields = None;
    let name = object.metadata.name.clone()?;
    let about = About {
        name: name.clone(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation,
        resource_version: object.metadata.resource_version.clone(),
        status: object.data.get("status").cloned().unwrap_or_default(),
    };
    let version = object.types.as_ref().map(|types| types.api_version.clone());
    let object = serde_json::to_value(&object)
        .map_err(|error| error.to_string())
        .and_then(|value| read(&with_type(value, version, kind)));
    Some((name, Entry { object, about }))
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
