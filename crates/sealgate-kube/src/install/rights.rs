//! Service account and its RBAC permissions: the minimum that the gate needs.

use serde_json::{Value, json};

use super::{
    ACCOUNT, CERTIFICATE_SECRET, Deletion, InstallOptions, POLICY_DEFAULTS_WEBHOOK,
    POLICY_VALIDATION_WEBHOOK, PullSecretRights, WORKLOAD_WEBHOOK, metadata,
};
use crate::{api, crd};

const WEBHOOKS: &str = "admissionregistration.k8s.io";
/// Roles and bindings. Not policy-controller's names: the role of a binding is immutable, and while
/// both are installed each keeps its own permissions.
const ROLE: &str = "sealgate";
/// Role for pull secrets.
const PULL_ROLE: &str = "sealgate-pull-secrets";
/// Names in earlier versions.
const FORMER_ROLES: [&str; 2] = [ACCOUNT, "policy-controller-webhook-pull-secrets"];
/// Namespace of events about cluster-scoped objects.
const EVENTS_NAMESPACE: &str = "default";

pub(super) fn documents(options: &InstallOptions) -> Vec<Value> {
    let here = Some(options.namespace.as_str());
    let mut documents = vec![json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(ACCOUNT, here),
    })];
    documents.extend(grant(options, ROLE, None, cluster_rules(options)));
    documents.extend(grant(options, ROLE, here, own_rules(options)));
    documents.extend(grant(options, ROLE, Some(EVENTS_NAMESPACE), event_rules()));
    for namespace in pull_namespaces(options) {
        documents.extend(grant(options, PULL_ROLE, namespace, pull_rules()));
    }
    documents
}

pub(super) fn deletions(options: &InstallOptions) -> Vec<Deletion> {
    let here = Some(options.namespace.as_str());
    let mut deletions = Vec::new();
    for namespace in [None, here, Some(EVENTS_NAMESPACE)] {
        deletions.extend(ungrant(ROLE, namespace));
    }
    for namespace in pull_namespaces(options) {
        deletions.extend(ungrant(PULL_ROLE, namespace));
    }
    deletions.extend(retired(options));
    deletions.push(Deletion::namespaced(
        "v1",
        "ServiceAccount",
        "serviceaccounts",
        &options.namespace,
        ACCOUNT,
    ));
    deletions
}

/// RBAC objects of earlier versions under other names.
pub(super) fn retired(options: &InstallOptions) -> Vec<Deletion> {
    let [role, pull_role] = FORMER_ROLES;
    let here = Some(options.namespace.as_str());
    let mut deletions = Vec::new();
    for namespace in [None, here, Some(EVENTS_NAMESPACE)] {
        deletions.extend(ungrant(role, namespace));
    }
    for namespace in pull_namespaces(options) {
        deletions.extend(ungrant(pull_role, namespace));
    }
    deletions
}

/// Namespaces with the pull secret role; `None` stands for the whole cluster.
fn pull_namespaces(options: &InstallOptions) -> Vec<Option<&str>> {
    match &options.pull_secrets {
        PullSecretRights::Cluster => vec![None],
        PullSecretRights::Namespaces(names) => names.iter().map(|n| Some(n.as_str())).collect(),
        PullSecretRights::Nowhere => Vec::new(),
    }
}

fn cluster_rules(options: &InstallOptions) -> Vec<Value> {
    let mut rules = vec![
        rule(crd::GROUP, &["clusterimagepolicies", "trustroots"], &["get", "list", "watch"]),
        rule(crd::GROUP, &["clusterimagepolicies/status", "trustroots/status"], &["patch"]),
        // Targets of the `scale` subresource, whose requests do not contain the object.
        rule("apps", &["deployments", "replicasets", "statefulsets"], &["get"]),
        rule("", &["replicationcontrollers"], &["get"]),
    ];
    if options.own_certificates() {
        let verbs = ["get", "list", "watch", "patch"];
        rules.push(named(
            rule(WEBHOOKS, &["validatingwebhookconfigurations"], &verbs),
            &[WORKLOAD_WEBHOOK, POLICY_VALIDATION_WEBHOOK],
        ));
        rules.push(named(
            rule(WEBHOOKS, &["mutatingwebhookconfigurations"], &verbs),
            &[WORKLOAD_WEBHOOK, POLICY_DEFAULTS_WEBHOOK],
        ));
    }
    rules
}

/// Permissions in its own namespace: read the keys and settings named by policies, maintain its
/// certificates.
fn own_rules(options: &InstallOptions) -> Vec<Value> {
    let mut rules = vec![rule("", &["secrets", "configmaps"], &["get", "list", "watch"])];
    if options.own_certificates() {
        rules.push(rule("", &["secrets"], &["create"]));
        rules.push(named(rule("", &["secrets"], &["update"]), &[CERTIFICATE_SECRET]));
    }
    rules
}

fn event_rules() -> Vec<Value> {
    vec![rule("events.k8s.io", &["events"], &["create", "patch"])]
}

fn pull_rules() -> Vec<Value> {
    vec![rule("", &["secrets", "serviceaccounts"], &["get"])]
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

fn named(mut rule: Value, names: &[&str]) -> Value {
    rule["resourceNames"] = json!(names);
    rule
}

/// Role and its binding to the service account, in a namespace or cluster-wide.
fn grant(
    options: &InstallOptions,
    name: &str,
    namespace: Option<&str>,
    rules: Vec<Value>,
) -> [Value; 2] {
    let (role, binding) = kinds(namespace);
    [
        json!({
            "apiVersion": api::RBAC,
            "kind": role,
            "metadata": metadata(name, namespace),
            "rules": rules,
        }),
        json!({
            "apiVersion": api::RBAC,
            "kind": binding,
            "metadata": metadata(name, namespace),
            "roleRef": { "apiGroup": api::RBAC_GROUP, "kind": role, "name": name },
            "subjects": [{
                "kind": "ServiceAccount",
                "name": ACCOUNT,
                "namespace": options.namespace,
            }],
        }),
    ]
}

fn ungrant(name: &str, namespace: Option<&str>) -> [Deletion; 2] {
    match namespace {
        Some(namespace) => [
            Deletion::namespaced(api::RBAC, "RoleBinding", "rolebindings", namespace, name),
            Deletion::namespaced(api::RBAC, "Role", "roles", namespace, name),
        ],
        None => [
            Deletion::cluster(api::RBAC, "ClusterRoleBinding", "clusterrolebindings", name),
            Deletion::cluster(api::RBAC, "ClusterRole", "clusterroles", name),
        ],
    }
}

fn kinds(namespace: Option<&str>) -> (&'static str, &'static str) {
    match namespace {
        Some(_) => ("Role", "RoleBinding"),
        None => ("ClusterRole", "ClusterRoleBinding"),
    }
}
