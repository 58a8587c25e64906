//! The documents of all files to one set of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealgate_core::fault::Fault;
use sealgate_core::key::PublicKey;
use sealgate_policy::cip::SecretRef;
use sealgate_policy::cip::field_error::Level;
use sealgate_policy::cip::read::{Document, documents};
use sealgate_policy::cip::validate::{Context, EmptyAuthorities, validate};
use sealgate_policy::compile::{Compiled, compile, keys_of_secret};
use sealgate_policy::config::Config;
use sealgate_policy::select::{NoMatch, PolicySet};

use super::secrets::{Name, SecretData};

/// The ConfigMap with the gate's settings.
const CONFIG_MAP: &str = "config-policy-controller";

/// What a folder says, taken together.
pub(super) struct Assembled {
    pub(super) set: PolicySet,
    pub(super) empty_authorities: EmptyAuthorities,
    /// Policies that refuse because they cannot be decided, and what is said about them.
    pub(super) problems: Vec<String>,
    /// What their authors should know.
    pub(super) warnings: Vec<String>,
    pub(super) secrets: BTreeMap<Name, SecretData>,
}

/// Reads one file. A file with a mistake in any policy is no good as a whole: what was meant cannot
/// be guessed. So is one that is empty: a policy is removed by deleting its file, while an empty
/// file is what a writer leaves behind that was cut short.
pub(super) fn read(text: &str, system_namespace: &str) -> Result<Vec<Document>, String> {
    let documents = documents(text).map_err(|error| error.to_string())?;
    if documents.is_empty() {
        return Err("no documents in it (delete the file to remove its policies)".to_owned());
    }
    // Whether authorities may be left out is settled in another file, so it is checked later.
    let context = Context {
        system_namespace: system_namespace.to_owned(),
        empty_authorities: EmptyAuthorities::Taken,
    };
    for document in &documents {
        match document {
            Document::Unreadable { name, error } => return Err(format!("{name}: {error}")),
            Document::Policy(policy) => {
                let errors = validate(policy, &context).filter(Level::Error);
                if !errors.is_empty() {
                    return Err(format!("{}: {}", policy.name, errors.messages().join("; ")));
                }
            }
            _ => {}
        }
    }
    Ok(documents)
}

/// What a file defines, for telling two definitions of one thing.
pub(super) fn names(documents: &[Document]) -> Vec<String> {
    let name = |document: &Document| match document {
        Document::Policy(policy) => Some(format!("ClusterImagePolicy {}", policy.name)),
        Document::Secret(secret) => Some(format!("Secret {}/{}", secret.namespace, secret.name)),
        Document::ConfigMap { namespace, name, .. } => {
            Some(format!("ConfigMap {namespace}/{name}"))
        }
        Document::Unreadable { .. } | Document::Other { .. } => None,
    };
    documents.iter().filter_map(name).collect()
}

/// Compiles everything. `no_match` comes before what the ConfigMap says.
pub(super) fn assemble<'a>(
    files: impl Iterator<Item = (&'a str, &'a Arc<Vec<Document>>)> + Clone,
    system_namespace: &str,
    no_match: Option<NoMatch>,
) -> Assembled {
    let documents = || files.clone().flat_map(|(file, all)| all.iter().map(move |one| (file, one)));
    let (config, mut warnings) = config(documents().map(|(_, one)| one), system_namespace);
    let secrets = secrets(documents().map(|(_, one)| one), system_namespace);
    let keys = |wanted: &SecretRef| keys(&secrets, wanted);
    let context = Context {
        system_namespace: system_namespace.to_owned(),
        empty_authorities: config.empty_authorities,
    };
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for (file, document) in documents() {
        match document {
            Document::Policy(policy) => {
                let Compiled { rule, conditions, warnings: said, .. } =
                    compile(policy, file, &context, &keys);
                let about = |text: &str| format!("{file}: {}: {text}", policy.name);
                let lacking = conditions.iter().filter(|c| !c.holds && c.kind != "Ready");
                problems.extend(lacking.map(|c| about(&format!("{}: {}", c.reason, c.message))));
                warnings.extend(said.messages().iter().map(|text| about(text)));
                rules.push(rule);
            }
            Document::Other { api_version, kind, name } => {
                warnings.push(format!("{file}: {api_version} {kind} {name} is not looked at"));
            }
            _ => {}
        }
    }
    let set = PolicySet::new(rules, no_match.unwrap_or(config.no_match));
    crate::cluster::warn_of_insecure(&config.insecure_registries);
    let empty_authorities = config.empty_authorities;
    Assembled { set, empty_authorities, problems, warnings, secrets }
}

fn config<'a>(
    documents: impl Iterator<Item = &'a Document>,
    system_namespace: &str,
) -> (Config, Vec<String>) {
    let mut data = BTreeMap::new();
    for document in documents {
        if let Document::ConfigMap { namespace, name, data: entries } = document
            && name == CONFIG_MAP
            && (namespace.is_empty() || namespace == system_namespace)
        {
            data.extend(entries.clone());
        }
    }
    Config::read(&data)
}

fn secrets<'a>(
    documents: impl Iterator<Item = &'a Document>,
    system_namespace: &str,
) -> BTreeMap<Name, SecretData> {
    let secret = |document: &Document| match document {
        Document::Secret(secret) => {
            let namespace = match secret.namespace.as_str() {
                "" => system_namespace.to_owned(),
                namespace => namespace.to_owned(),
            };
            Some(((namespace, secret.name.clone()), secret.data.clone()))
        }
        _ => None,
    };
    documents.filter_map(secret).collect()
}

fn keys(secrets: &BTreeMap<Name, SecretData>, wanted: &SecretRef) -> Result<Vec<PublicKey>, Fault> {
    let name = (wanted.namespace.clone(), wanted.name.clone());
    keys_of_secret(&wanted.name, secrets.get(&name))
}
