//! The documents of the files: read with `sealgate-policy`, and listed as the objects of a source.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealgate_policy::assemble::{Object, Objects, PolicySource};
use sealgate_policy::cip::field_error::Level;
use sealgate_policy::cip::read::{Document, documents};
use sealgate_policy::cip::trust_root;
use sealgate_policy::cip::validate::{Context, EmptyAuthorities, validate};
use sealgate_policy::select::NoMatch;

use super::definitions::Definitions;
use super::files::FileFormat;
use super::secrets::{SecretData, SecretName};

/// The ConfigMap with the gate's configuration.
const CONFIG_MAP: &str = "config-policy-controller";

/// The kinds of the group.
const OURS: [&str; 2] = ["ClusterImagePolicy", "TrustRoot"];

/// The prefix of their `apiVersion`.
const GROUP: &str = "policy.sigstore.dev/";

/// The format of policy files.
pub(super) fn format(system_namespace: &str) -> FileFormat<Vec<Document>> {
    let (for_parse, for_define) = (system_namespace.to_owned(), system_namespace.to_owned());
    FileFormat {
        parse: Box::new(move |text| parse(text, &for_parse)),
        define: Box::new(move |documents: &Vec<Document>| definitions(documents, &for_define)),
    }
}

/// Parses one file. A mistake in any policy makes the whole file unusable: what was meant cannot be
/// guessed. So does an empty text: a policy is removed by deleting its file, while a writer that was
/// interrupted leaves an empty one behind.
fn parse(text: &str, system_namespace: &str) -> Result<Vec<Document>, String> {
    let documents = documents(text).map_err(|error| error.to_string())?;
    if documents.is_empty() {
        return Err("it contains no documents (to remove its policies, delete the file)".to_owned());
    }
    // Whether authorities may be left out is configured in another file, so it is checked later.
    let context = Context {
        system_namespace: system_namespace.to_owned(),
        empty_authorities: EmptyAuthorities::Accepted,
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
                    "{kind} {name:?}: unknown apiVersion {api_version:?} (expected {})",
                    "policy.sigstore.dev/v1beta1 or policy.sigstore.dev/v1alpha1"
                ));
            }
            // So would one in the kind.
            Document::Other { api_version, kind, name } if api_version.starts_with(GROUP) => {
                let wanted = OURS.join(" or ");
                return Err(format!(
                    "{api_version} {name:?}: unknown kind {kind:?} (expected {wanted})"
                ));
            }
            _ => {}
        }
    }
    Ok(documents)
}

/// The definitions of a file.
fn definitions(documents: &[Document], system_namespace: &str) -> Definitions {
    let mut defined = Definitions::default();
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
                let list = match is_config(namespace, name, system_namespace) {
                    true => &mut defined.others,
                    false => &mut defined.unread,
                };
                (list, format!("ConfigMap {namespace}/{name}"))
            }
            Document::Other { api_version, kind, name } => {
                (&mut defined.unread, format!("{api_version} {kind} {name}"))
            }
            // No file with one is used.
            Document::Unreadable { .. } => continue,
        };
        list.insert(name);
    }
    defined
}

/// Returns whether a ConfigMap is the one with the gate's configuration.
fn is_config(namespace: &str, name: &str, system_namespace: &str) -> bool {
    name == CONFIG_MAP && (namespace.is_empty() || namespace == system_namespace)
}

/// The files that are in force, by name.
pub(super) trait Files<'a>:
    Iterator<Item = (&'a str, &'a Arc<Vec<Document>>)> + Clone
{
}

impl<'a, I: Iterator<Item = (&'a str, &'a Arc<Vec<Document>>)> + Clone> Files<'a> for I {}

/// The objects in `files`, each at the place of its file.
pub(super) fn objects<'a>(
    files: impl Files<'a>,
    system_namespace: &'a str,
    no_match: Option<NoMatch>,
) -> Objects<'a> {
    let (mut policies, mut trust_roots) = (Vec::new(), Vec::new());
    let mut config = BTreeMap::new();
    for (place, document) in each(files) {
        match document {
            Document::Policy(policy) => {
                policies.push(Object { name: &policy.name, place, content: Ok(&**policy) });
            }
            Document::TrustRoot(root) => {
                trust_roots.push(Object { name: &root.name, place, content: Ok(&**root) });
            }
            Document::ConfigMap { namespace, name, data }
                if is_config(namespace, name, system_namespace) =>
            {
                config.extend(data.clone());
            }
            _ => {}
        }
    }
    let source = PolicySource::Folder;
    Objects { source, system_namespace, config, no_match, policies, trust_roots }
}

/// The Secrets in `files`. One without a namespace is in the gate's.
pub(super) fn secrets<'a>(
    files: impl Files<'a>,
    system_namespace: &str,
) -> BTreeMap<SecretName, SecretData> {
    let secret = |document: &Document| {
        let Document::Secret(secret) = document else { return None };
        let namespace = match secret.namespace.as_str() {
            "" => system_namespace.to_owned(),
            namespace => namespace.to_owned(),
        };
        Some(((namespace, secret.name.clone()), secret.data.clone()))
    };
    each(files).filter_map(|(_, document)| secret(document)).collect()
}

/// Warnings about the objects in `files` that the gate does not read.
pub(super) fn unread<'a>(files: impl Files<'a>, system_namespace: &str) -> Vec<String> {
    let warning = |(file, document): (&str, &Document)| match document {
        Document::Other { api_version, kind, name } => {
            Some(format!("{file}: {api_version} {kind} {name} is not read by this gate"))
        }
        Document::ConfigMap { namespace, name, .. }
            if !is_config(namespace, name, system_namespace) =>
        {
            Some(format!("{file}: ConfigMap {namespace}/{name} is not read by this gate"))
        }
        _ => None,
    };
    each(files).filter_map(warning).collect()
}

fn each<'a>(files: impl Files<'a>) -> impl Iterator<Item = (&'a str, &'a Document)> {
    files.flat_map(|(file, documents)| documents.iter().map(move |document| (file, document)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::folder::files::Folder;
    use crate::folder::scan::Bounds;

    #[test]
    fn our_kinds_are_never_passed_over_for_a_slip() {
        let parse = |text: &str| parse(text, "cosign-system").map(|all| all.len());
        for kind in OURS {
            for version in ["", "apiVersion: v1\n", "apiVersion: policy.sigstor.dev/v1beta1\n"] {
                let text = format!("{version}kind: {kind}\nmetadata: {{name: x}}\n");
                let error = parse(&text).unwrap_err();
                assert!(error.contains("unknown apiVersion"), "{error}");
            }
        }
        assert_eq!(parse("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n"), Ok(1));
        for kind in ["", "ClusterImagePolicyy", "clusterimagepolicy"] {
            let text = format!("apiVersion: policy.sigstore.dev/v1beta1\nkind: {kind:?}\n");
            let error = parse(&text).unwrap_err();
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
            assert!(parse(text, "cosign-system").is_err(), "{text}");
            // Nor is it beside a policy.
            let beside = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\n---\n{text}");
            let nothing = text.is_empty() || text == "null" || text.starts_with('#');
            assert_eq!(parse(&beside, "cosign-system").is_err(), !nothing, "{text}");
        }
        let error = parse("kind: A\napiVersion: b/v1\n---\n404: Not Found\n", "x").unwrap_err();
        assert_eq!(error, "document 2: not a Kubernetes object: apiVersion or kind is missing");
    }

    const POLICY: &str = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: \
        {name: NAME}\nspec:\n  images: [{glob: \"**\"}]\n  authorities: [{static: {action: fail}}]\n";
    const CONFIG_MAP_TEXT: &str =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {a: b}\n";
    const SECRET: &str =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME}\nstringData: {a: b}\n";
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\n";

    fn stream(documents: &[(&str, &str)]) -> String {
        let texts = documents.iter().map(|(text, name)| text.replace("NAME", name));
        texts.collect::<Vec<_>>().join("---\n")
    }

    /// Documents of a file: their text, and the name in it.
    type Documents<'a> = &'a [(&'a str, &'a str)];

    /// A table of changes of a file: allowed, or the last good version stays.
    #[test]
    fn policies_that_became_something_else_stay() {
        let settings = (CONFIG_MAP_TEXT, "config-policy-controller");
        let table: &[(Documents<'_>, Documents<'_>, bool)] = &[
            // Became something else.
            (&[(POLICY, "a")], &[(CONFIG_MAP_TEXT, "a")], false),
            (&[(POLICY, "a")], &[settings], false),
            (&[(POLICY, "a")], &[(SECRET, "a")], false),
            (&[(POLICY, "a")], &[(POD, "a")], false),
            (&[(POLICY, "a")], &[(SECRET, "a"), (CONFIG_MAP_TEXT, "a")], false),
            (&[(POLICY, "a"), (SECRET, "k")], &[(SECRET, "k")], false),
            (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a"), (POD, "b")], false),
            (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a"), (CONFIG_MAP_TEXT, "b")], false),
            (&[(SECRET, "k")], &[(CONFIG_MAP_TEXT, "k")], false),
            (&[settings], &[(CONFIG_MAP_TEXT, "other")], false),
            // Changed on purpose.
            (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a")], true),
            (&[(POLICY, "a"), (POLICY, "b")], &[(POLICY, "a"), (POLICY, "c")], true),
            (&[(POLICY, "a")], &[(POLICY, "b")], true),
            (&[(POLICY, "a")], &[(POLICY, "b"), (SECRET, "k")], true),
            (&[(POLICY, "a")], &[(POLICY, "a"), (POD, "x")], true),
            (&[(POLICY, "a"), (POLICY, "b"), (POD, "x")], &[(POLICY, "a"), (POD, "x")], true),
            (&[(CONFIG_MAP_TEXT, "x")], &[(POD, "x")], true),
            (&[(POD, "x")], &[(POLICY, "a")], true),
        ];
        for (before, after, wanted) in table {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("a.yaml");
            let bounds = Bounds { settle: Duration::ZERO, ..Bounds::default() };
            let mut folder = Folder::new(place.path(), format("cosign-system"), bounds);
            let case = format!("{before:?} to {after:?}");
            fs::write(&path, stream(before)).unwrap();
            folder.refresh(SystemTime::now());
            assert_eq!(folder.problems(), [], "{case}");
            let good = |folder: &Folder<_>| folder.good().map(|(_, all)| Arc::clone(all)).next();
            let first = good(&folder).expect("a version");
            fs::write(&path, stream(after)).unwrap();
            folder.refresh(SystemTime::now());
            let problems = folder.problems();
            assert_eq!(problems.is_empty(), *wanted, "{case}: {problems:?}");
            let kept = Arc::ptr_eq(&first, &good(&folder).expect("a version"));
            assert_eq!(kept, !wanted, "{case}");
            // Deleting the file is how to remove it.
            fs::remove_file(&path).unwrap();
            folder.refresh(SystemTime::now());
            assert_eq!((folder.problems(), good(&folder).is_none()), (Vec::new(), true), "{case}");
        }
    }
}
