//! The documents of all files to one set of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealgate_core::fault::Fault;
use sealgate_engine::roots::{Objects, Roots};
use sealgate_policy::cip::SecretRef;
use sealgate_policy::cip::field_error::Level;
use sealgate_policy::cip::read::{Document, documents};
use sealgate_policy::cip::validate::{Context, EmptyAuthorities, validate};
use sealgate_policy::compile::{
    Compiled, Condition, Lookups, SecretContent, compile, content_of_secret,
};
use sealgate_policy::config::Config;
use sealgate_policy::select::{NoMatch, PolicySet};
use sealgate_policy::trust_root;

use super::Defined;
use super::secrets::{Name, SecretData};

/// The ConfigMap with the gate's settings.
const CONFIG_MAP: &str = "config-policy-controller";

/// The kinds that are this gate's own.
const OURS: [&str; 2] = ["ClusterImagePolicy", "TrustRoot"];

/// What their `apiVersion` begins with.
const GROUP: &str = "policy.sigstore.dev/";

/// What a folder says, taken together.
pub(super) struct Assembled {
    pub(super) set: PolicySet,
    pub(super) empty_authorities: EmptyAuthorities,
    pub(super) insecure_registries: Vec<String>,
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
            Document::TrustRoot(root) => {
                let errors = trust_root::validate::validate(root).filter(Level::Error);
                if !errors.is_empty() {
                    return Err(format!("{}: {}", root.name, errors.messages().join("; ")));
                }
            }
            // A slip in the version would let in what the policy was written against.
            Document::Other { api_version, kind, name } if OURS.contains(&kind.as_str()) => {
                return Err(format!(
                    "{kind} {name:?}: unknown apiVersion {api_version:?} (want {})",
                    "policy.sigstore.dev/v1beta1 or policy.sigstore.dev/v1alpha1"
                ));
            }
            // So would one in the kind.
            Document::Other { api_version, kind, name } if api_version.starts_with(GROUP) => {
                let wanted = OURS.join(" or ");
                return Err(format!(
                    "{api_version} {name:?}: unknown kind {kind:?} (want {wanted})"
                ));
            }
            _ => {}
        }
    }
    Ok(documents)
}

/// What a file defines, for telling two definitions of one thing, and a file that became another.
pub(super) fn defined(documents: &[Document], system_namespace: &str) -> Defined {
    let mut defined = Defined::default();
    for document in documents {
        let (list, name) = match document {
            Document::Policy(policy) => {
                (&mut defined.policies, format!("ClusterImagePolicy {}", policy.name))
            }
            Document::TrustRoot(root) => (&mut defined.roots, format!("TrustRoot {}", root.name)),
            Document::Secret(secret) => {
                (&mut defined.others, format!("Secret {}/{}", secret.namespace, secret.name))
            }
            Document::ConfigMap { namespace, name, .. } => {
                let list = match is_settings(namespace, name, system_namespace) {
                    true => &mut defined.others,
                    false => &mut defined.unread,
                };
                (list, format!("ConfigMap {namespace}/{name}"))
            }
            Document::Other { api_version, kind, name } => {
                (&mut defined.unread, format!("{api_version} {kind} {name}"))
            }
            // No file with one is taken over.
            Document::Unreadable { .. } => continue,
        };
        list.insert(name);
    }
    defined
}

/// Whether a ConfigMap is the one with the gate's settings.
fn is_settings(namespace: &str, name: &str, system_namespace: &str) -> bool {
    name == CONFIG_MAP && (namespace.is_empty() || namespace == system_namespace)
}

/// Compiles everything. `no_match` comes before what the ConfigMap says; `roots` is told of the
/// TrustRoots.
pub(super) fn assemble<'a>(
    files: impl Iterator<Item = (&'a str, &'a Arc<Vec<Document>>)> + Clone,
    system_namespace: &str,
    no_match: Option<NoMatch>,
    roots: &Arc<Roots>,
) -> Assembled {
    let documents = || files.clone().flat_map(|(file, all)| all.iter().map(move |one| (file, one)));
    let (config, mut warnings) = config(documents().map(|(_, one)| one), system_namespace);
    let secrets = secrets(documents().map(|(_, one)| one), system_namespace);
    let secret = |wanted: &SecretRef| content(&secrets, wanted);
    roots.set(&trust_roots(documents().map(|(_, one)| one)));
    let lookups = Lookups { secrets: &secret, roots: &|which| roots.get(which) };
    let context = Context {
        system_namespace: system_namespace.to_owned(),
        empty_authorities: config.empty_authorities,
    };
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for (file, document) in documents() {
        match document {
            Document::Policy(policy) => {
                let Compiled { rule, conditions, errors, warnings: said, .. } =
                    compile(policy, file, &context, &lookups);
                let about = |text: &str| format!("{file}: {}: {text}", policy.name);
                let lacking = conditions.iter().filter(|c| !c.holds && c.kind != "Ready");
                problems.extend(lacking.map(|c| about(&format!("{}: {}", c.reason, c.message))));
                // What only the configuration of another file makes an error.
                problems.extend(errors.messages().iter().map(|text| about(text)));
                warnings.extend(said.warnings().iter().map(|text| about(text)));
                rules.push(rule);
            }
            Document::TrustRoot(root) => {
                let about = |text: &str| format!("{file}: TrustRoot {}: {text}", root.name);
                let conditions = roots.conditions(&root.name);
                let bad = conditions.iter().filter(|condition| is_bad(condition));
                problems.extend(bad.map(|c| about(&format!("{}: {}", c.reason, c.message))));
                let said = trust_root::validate::validate(root);
                warnings.extend(said.warnings().iter().map(|text| about(text)));
            }
            Document::Other { api_version, kind, name } => {
                warnings.push(format!("{file}: {api_version} {kind} {name} is not looked at"));
            }
            Document::ConfigMap { namespace, name, .. }
                if !is_settings(namespace, name, system_namespace) =>
            {
                warnings.push(format!("{file}: ConfigMap {namespace}/{name} is not looked at"));
            }
            _ => {}
        }
    }
    let set = PolicySet::new(rules, no_match.unwrap_or(config.no_match));
    let Config { empty_authorities, insecure_registries, .. } = config;
    Assembled { set, empty_authorities, insecure_registries, problems, warnings, secrets }
}

/// Not ready, or ready by a root that is not current.
fn is_bad(condition: &Condition) -> bool {
    condition.holds == (condition.kind == "Stale")
}

fn trust_roots<'a>(documents: impl Iterator<Item = &'a Document>) -> Objects {
    let root = |document: &Document| match document {
        Document::TrustRoot(root) => Some((root.name.clone(), root.checked())),
        _ => None,
    };
    documents.filter_map(root).collect()
}

fn config<'a>(
    documents: impl Iterator<Item = &'a Document>,
    system_namespace: &str,
) -> (Config, Vec<String>) {
    let mut data = BTreeMap::new();
    for document in documents {
        if let Document::ConfigMap { namespace, name, data: entries } = document
            && is_settings(namespace, name, system_namespace)
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

fn content(
    secrets: &BTreeMap<Name, SecretData>,
    wanted: &SecretRef,
) -> Result<SecretContent, Fault> {
    let name = (wanted.namespace.clone(), wanted.name.clone());
    content_of_secret(&wanted.name, secrets.get(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_kinds_are_never_passed_over_for_a_slip() {
        let read = |text: &str| read(text, "cosign-system").map(|all| all.len());
        for kind in OURS {
            for version in ["", "apiVersion: v1\n", "apiVersion: policy.sigstor.dev/v1beta1\n"] {
                let text = format!("{version}kind: {kind}\nmetadata: {{name: x}}\n");
                let error = read(&text).unwrap_err();
                assert!(error.contains("unknown apiVersion"), "{error}");
            }
        }
        assert_eq!(read("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n"), Ok(1));
        for kind in ["", "ClusterImagePolicyy", "clusterimagepolicy"] {
            let text = format!("apiVersion: policy.sigstore.dev/v1beta1\nkind: {kind:?}\n");
            let error = read(&text).unwrap_err();
            assert!(error.contains("unknown kind"), "{error}");
        }
    }

    #[test]
    fn what_is_no_object_is_a_problem() {
        for text in [
            "404: Not Found",
            "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>\n",
            "<html>\n<body>502</body>\n</html>",
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n",
            "{}",
            "[]",
            "plain text",
            "42",
            "null",
            "",
            "# all commented out\n",
            "../policies/strict.yaml",
            "message: Not Found\n",
            "spec:\n  images: []\n",
            "kind: Pod\nmetadata: {name: x}\n",
            "apiVersion: v1\nmetadata: {name: x}\n",
            "apiVersion: v1\nkind: List\n",
            "apiVersion: v1\nkind: List\nitems: {}\n",
            "apiVersion: v1\nkind: List\nitems: [{}]\n",
            "apiVersion: v1\nkind: List\nitems: [text]\n",
            "apiVersion: 1\nkind: 2\n",
        ] {
            assert!(read(text, "cosign-system").is_err(), "{text}");
            // Nor is it beside a policy.
            let beside = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\n---\n{text}");
            let nothing = text.is_empty() || text == "null" || text.starts_with('#');
            assert_eq!(read(&beside, "cosign-system").is_err(), !nothing, "{text}");
        }
        let error = read("kind: A\napiVersion: b/v1\n---\n404: Not Found\n", "x").unwrap_err();
        assert_eq!(error, "document 2: not a Kubernetes object: apiVersion or kind is missing");
    }
}
