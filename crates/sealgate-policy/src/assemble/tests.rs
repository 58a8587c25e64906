use serde_json::{Value, json};

use super::*;
use crate::testing::{no_root, no_secret, policy};

fn trust_root(spec: Value) -> TrustRootObject {
    TrustRootObject::from_json(&json!({
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": "r" },
        "spec": spec,
    }))
    .unwrap()
}

fn by_secret() -> ClusterImagePolicy {
    let key = json!({ "secretRef": { "name": "team" } });
    policy(json!({ "images": [{ "glob": "**" }], "authorities": [{ "key": key }] }))
}

fn without_authorities() -> ClusterImagePolicy {
    policy(json!({ "images": [{ "glob": "**" }] }))
}

fn objects<'a>(source: PolicySource, policies: &[&'a ClusterImagePolicy]) -> Objects<'a> {
    let place = match source {
        PolicySource::Cluster => "cluster",
        PolicySource::Folder => "a.yaml",
    };
    let object =
        |policy: &&'a ClusterImagePolicy| Object { name: "p", place, content: Ok(*policy) };
    Objects {
        source,
        system_namespace: "cosign-system",
        config: BTreeMap::new(),
        no_match: None,
        policies: policies.iter().map(object).collect(),
        trust_roots: Vec::new(),
    }
}

fn assembled(objects: &Objects<'_>) -> Assembly {
    let lookups = Lookups { secrets: &no_secret, roots: &no_root };
    let (kind, reason) = ("Ready", "Pending");
    let pending = Condition { kind, holds: false, reason, message: "not read yet".to_owned() };
    assemble(objects, &lookups, &|_| vec![pending.clone()], &mut Patterns::default())
}

/// Both sources give the same rules and conditions; only the lines for people differ.
#[test]
fn an_undecidable_policy_is_a_problem_of_its_source() {
    let policy = by_secret();
    let cluster = assembled(&objects(PolicySource::Cluster, &[&policy]));
    let folder = assembled(&objects(PolicySource::Folder, &[&policy]));
    assert_eq!(cluster.policies, folder.policies);
    assert_eq!((cluster.set.rules().len(), folder.set.rules().len()), (1, 1));
    assert_eq!(cluster.problems, ["p: authority authority-0: secret \"team\" not found"]);
    let line = "a.yaml: p: InliningKeysFailed: authority authority-0: secret \"team\" not found";
    assert_eq!(folder.problems, [line]);
}

#[test]
fn an_unreadable_object_keeps_its_rule_and_its_status() {
    let mut objects = objects(PolicySource::Cluster, &[]);
    objects.policies.push(Object { name: "p", place: "cluster", content: Err("bad field") });
    let Assembly { set, policies, problems, .. } = assembled(&objects);
    assert_eq!((set.rules().len(), policies.len()), (1, 1));
    assert_eq!(problems, ["p: the policy cannot be read: bad field"]);
}

#[test]
fn the_configuration_decides_about_empty_authorities_and_no_match() {
    let policy = without_authorities();
    let mut objects = objects(PolicySource::Folder, &[&policy]);
    let before = assembled(&objects);
    assert!(before.problems[0].starts_with("a.yaml: p: missing field(s): spec.authorities"));
    assert_eq!(before.set.no_match(), NoMatch::Deny);
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    objects.config = [
        entry("fail-on-empty-authorities", "false"),
        entry("no-match-policy", "warn"),
        entry("unknown", ""),
    ]
    .into();
    let after = assembled(&objects);
    assert_eq!(after.problems, Vec::<String>::new());
    assert_eq!(after.set.no_match(), NoMatch::Warn);
    assert_eq!(after.config_warnings, ["config-policy-controller: unknown entry unknown"]);
    objects.no_match = Some(NoMatch::Allow);
    assert_eq!(assembled(&objects).set.no_match(), NoMatch::Allow);
}

#[test]
fn trust_roots_have_a_status_in_a_cluster_and_are_problems_in_a_folder() {
    let root = trust_root(json!({}));
    for (source, problems) in [
        (PolicySource::Cluster, &[][..]),
        (PolicySource::Folder, &["r.yaml: TrustRoot r: Pending: not read yet"][..]),
    ] {
        let mut objects = objects(source, &[]);
        objects.trust_roots.push(Object { name: "r", place: "r.yaml", content: Ok(&root) });
        let assembly = assembled(&objects);
        assert_eq!(assembly.trust_roots[0].conditions[0].reason, "Pending");
        assert_eq!(assembly.problems, problems);
        let specs = objects.trust_root_specs();
        assert!(specs["r"].as_ref().is_err_and(|why| why.contains("expected exactly one")));
    }
}
