//! The four webhook configurations.

use serde_json::{Value, json};

use super::{
    Certificates, Deletion, Gate, INCLUDE_LABEL, InstallOptions, POLICY_DEFAULTS_WEBHOOK,
    POLICY_VALIDATION_WEBHOOK, SERVICE, WORKLOAD_WEBHOOK, base64, metadata,
};
use crate::{api, crd};

/// Where workloads are validated.
pub const DEFAULT_PATH_VALIDATE: &str = "/validate";
/// Where tags are replaced by digests.
pub const DEFAULT_PATH_MUTATE: &str = "/mutate";
/// Where policies are validated.
pub const DEFAULT_PATH_POLICY_VALIDATION: &str = "/validate-policies";
/// Where policies get their defaults.
pub const DEFAULT_PATH_POLICY_DEFAULTS: &str = "/default-policies";

/// The webhook that warns of what a scaled workload's pods will meet.
const SCALE_WEBHOOK: &str = "scale.policy.sigstore.dev";
/// Its longest timeout, in seconds.
const SCALE_TIMEOUT: u8 = 5;
/// All of the gate's paths.
const PATHS: [&str; 4] = [
    DEFAULT_PATH_VALIDATE,
    DEFAULT_PATH_MUTATE,
    DEFAULT_PATH_POLICY_VALIDATION,
    DEFAULT_PATH_POLICY_DEFAULTS,
];

/// The updates that the gate is asked about (CEL): all but those that it would let through unseen,
/// which leave the labels and the pod spec or pod template as they are and ask for no more replicas.
/// So a gate that is down keeps no controller from scaling down, and nobody from removing a
/// finalizer. API servers before 1.28 do not know conditions, and ask about every update.
const STARTS_OR_RELABELS_PODS: &str = "
    request.operation != 'UPDATE' || !has(object.spec) || !has(oldObject.spec)
    || (has(object.metadata.labels) ? object.metadata.labels : {})
        != (has(oldObject.metadata.labels) ? oldObject.metadata.labels : {})
    || (has(object.spec.template) && has(oldObject.spec.template)
        ? object.spec.template != oldObject.spec.template
            || (has(object.spec.replicas) ? object.spec.replicas : 1)
                > (has(oldObject.spec.replicas) ? oldObject.spec.replicas : 1)
        : (has(object.spec.jobTemplate) && has(oldObject.spec.jobTemplate)
            ? object.spec.jobTemplate != oldObject.spec.jobTemplate
            : object.spec != oldObject.spec))";
/// The scalings that the gate is asked about (CEL).
const MORE_REPLICAS: &str = "
    (has(object.spec.replicas) ? object.spec.replicas : 0)
        > (has(oldObject.spec.replicas) ? oldObject.spec.replicas : 0)";

/// The label with a namespace's name, which the API server sets and nobody can change.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
const MUTATING: &str = "MutatingWebhookConfiguration";

/// Whether the path or URL that a webhook calls is one that `sealgate install` writes.
/// policy-controller has other paths.
pub(crate) fn is_path_of_gate(called: &str) -> bool {
    PATHS.iter().any(|path| called.ends_with(path))
}

/// Policies first: a policy that is applied with the rest must already meet its webhook.
pub(super) fn documents(options: &InstallOptions) -> Vec<Value> {
    vec![
        policies(options, MUTATING, POLICY_DEFAULTS_WEBHOOK, DEFAULT_PATH_POLICY_DEFAULTS),
        policies(options, VALIDATING, POLICY_VALIDATION_WEBHOOK, DEFAULT_PATH_POLICY_VALIDATION),
        workloads(options, MUTATING, DEFAULT_PATH_MUTATE),
        workloads(options, VALIDATING, DEFAULT_PATH_VALIDATE),
    ]
}

pub(super) fn deletions() -> Vec<Deletion> {
    let validating = |name| {
        Deletion::cluster(api::ADMISSION, VALIDATING, "validatingwebhookconfigurations", name)
    };
    let mutating =
        |name| Deletion::cluster(api::ADMISSION, MUTATING, "mutatingwebhookconfigurations", name);
    vec![
        mutating(WORKLOAD_WEBHOOK),
        validating(WORKLOAD_WEBHOOK),
        mutating(POLICY_DEFAULTS_WEBHOOK),
        validating(POLICY_VALIDATION_WEBHOOK),
    ]
}

fn workloads(options: &InstallOptions, kind: &str, path: &str) -> Value {
    let mut workloads = webhook(options, WORKLOAD_WEBHOOK, path, workload_rules());
    workloads["matchConditions"] = condition("starts-or-relabels-pods", STARTS_OR_RELABELS_PODS);
    let mut webhooks = vec![workloads];
    if kind == VALIDATING {
        webhooks.push(scales(options));
    }
    let included = json!({ "key": INCLUDE_LABEL, "operator": "In", "values": ["true"] });
    for webhook in &mut webhooks {
        webhook["namespaceSelector"] =
            json!({ "matchExpressions": [included, not_own_namespace(options)] });
    }
    configuration(options, kind, WORKLOAD_WEBHOOK, webhooks)
}

fn condition(name: &str, expression: &str) -> Value {
    let expression = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    json!([{ "name": name, "expression": expression }])
}

/// More replicas, by the `scale` subresource: only ever a warning. A gate that is down keeps nobody
/// from scaling, least of all down.
fn scales(options: &InstallOptions) -> Value {
    let apps = ["deployments/scale", "replicasets/scale", "statefulsets/scale"];
    let rules = [("", &["replicationcontrollers/scale"][..]), ("apps", &apps)];
    let rules = rules.map(|(group, resources)| rule(group, &["v1"], resources, "Namespaced"));
    let mut webhook = webhook(options, SCALE_WEBHOOK, DEFAULT_PATH_VALIDATE, rules.to_vec());
    for rule in webhook["rules"].as_array_mut().into_iter().flatten() {
        rule["operations"] = json!(["UPDATE"]);
    }
    webhook["matchConditions"] = condition("more-replicas", MORE_REPLICAS);
    webhook["failurePolicy"] = json!("Ignore");
    webhook["timeoutSeconds"] = json!(options.timeout_seconds.clamp(1, SCALE_TIMEOUT));
    webhook
}

fn policies(options: &InstallOptions, kind: &str, name: &str, path: &str) -> Value {
    let rules = vec![
        rule(crd::GROUP, &crd::POLICY_VERSIONS, &["clusterimagepolicies"], "Cluster"),
        rule(crd::GROUP, &[crd::ROOT_VERSION], &["trustroots"], "Cluster"),
    ];
    let mut webhook = webhook(options, name, path, rules);
    webhook["namespaceSelector"] = json!({ "matchExpressions": [not_own_namespace(options)] });
    configuration(options, kind, name, vec![webhook])
}

/// Excludes the gate's own namespace, whatever its labels are: pods of a gate that is down must be
/// able to start, and no gate is there to admit them.
fn not_own_namespace(options: &InstallOptions) -> Value {
    json!({ "key": NAMESPACE_NAME, "operator": "NotIn", "values": [options.namespace] })
}

fn workload_rules() -> Vec<Value> {
    let core = ["pods", "pods/ephemeralcontainers", "replicationcontrollers"];
    let apps = ["replicasets", "deployments", "statefulsets", "daemonsets"];
    vec![
        rule("", &["v1"], &core, "Namespaced"),
        rule("apps", &["v1"], &apps, "Namespaced"),
        rule("batch", &["v1"], &["jobs", "cronjobs"], "Namespaced"),
    ]
}

fn rule(group: &str, versions: &[&str], resources: &[&str], scope: &str) -> Value {
    json!({
        "apiGroups": [group],
        "apiVersions": versions,
        "operations": ["CREATE", "UPDATE"],
        "resources": resources,
        "scope": scope,
    })
}

fn webhook(options: &InstallOptions, name: &str, path: &str, rules: Vec<Value>) -> Value {
    json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config(options, path),
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": options.timeout_seconds.clamp(1, 30),
        "rules": rules,
    })
}

fn configuration(
    options: &InstallOptions,
    kind: &str,
    name: &str,
    mut webhooks: Vec<Value>,
) -> Value {
    if kind == MUTATING {
        for webhook in &mut webhooks {
            webhook["reinvocationPolicy"] = json!("IfNeeded");
        }
    }
    let mut metadata = metadata(name, None);
    if let Some(certificate) = inject_ca_from(options) {
        metadata["annotations"] = json!({ "cert-manager.io/inject-ca-from": certificate });
    }
    json!({ "apiVersion": api::ADMISSION, "kind": kind, "metadata": metadata, "webhooks": webhooks })
}

fn client_config(options: &InstallOptions, path: &str) -> Value {
    let mut config = match &options.gate {
        Gate::Deployment(_) => json!({
            "service": { "namespace": options.namespace, "name": SERVICE, "path": path, "port": 443 },
        }),
        Gate::At(url) => json!({ "url": format!("{}{path}", url.trim_end_matches('/')) }),
    };
    if let Some(bundle) = &options.ca_bundle {
        config["caBundle"] = json!(base64(bundle));
    }
    config
}

fn inject_ca_from(options: &InstallOptions) -> Option<&String> {
    match &options.gate {
        Gate::Deployment(gate) => match &gate.certificates {
            Certificates::Secret { inject_ca_from, .. } => inject_ca_from.as_ref(),
            Certificates::Own => None,
        },
        Gate::At(_) => None,
    }
}
