//! The four webhook configurations.

use serde_json::{Value, json};

use super::{
    Certificates, Deletion, Gate, INCLUDE_LABEL, InstallOptions, POLICY_DEFAULTS_WEBHOOK,
    POLICY_VALIDATION_WEBHOOK, SERVICE, WORKLOAD_WEBHOOK, base64, metadata,
};
use crate::{api, crd};

/// Path for validating workloads.
pub const DEFAULT_PATH_VALIDATE: &str = "/validate";
/// Path for replacing tags by digests.
pub const DEFAULT_PATH_MUTATE: &str = "/mutate";
/// Path for validating policies.
pub const DEFAULT_PATH_POLICY_VALIDATION: &str = "/validate-policies";
/// Path for defaulting policies.
pub const DEFAULT_PATH_POLICY_DEFAULTS: &str = "/default-policies";

/// Webhook that warns about the pods of a scaled workload.
const SCALE_WEBHOOK: &str = "scale.policy.sigstore.dev";
/// Its maximum timeout, in seconds.
const SCALE_TIMEOUT: u8 = 5;
/// All paths of the gate.
const PATHS: [&str; 4] = [
    DEFAULT_PATH_VALIDATE,
    DEFAULT_PATH_MUTATE,
    DEFAULT_PATH_POLICY_VALIDATION,
    DEFAULT_PATH_POLICY_DEFAULTS,
];

/// Match condition (CEL) for updates: all except those that the gate would admit unseen, which
/// leave the labels and the pod spec or pod template unchanged and do not add replicas. So a gate
/// that is down does not prevent controllers from scaling down or users from removing a finalizer.
/// API servers before 1.28 do not support conditions, and call the webhook for every update.
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
/// Match condition (CEL) for scaling.
const MORE_REPLICAS: &str = "
    (has(object.spec.replicas) ? object.spec.replicas : 0)
        > (has(oldObject.spec.replicas) ? oldObject.spec.replicas : 0)";

/// Label with a namespace's name, set by the API server and immutable.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
const MUTATING: &str = "MutatingWebhookConfiguration";

/// Returns whether the path or URL called by a webhook is one that `sealgate install` writes.
/// policy-controller uses other paths.
pub(crate) fn is_path_of_gate(called: &str) -> bool {
    PATHS.iter().any(|path| called.ends_with(path))
}

/// Policies first: a policy applied together with the rest must already be validated.
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

/// Webhook for an increase of replicas through the `scale` subresource; it only warns. A gate that
/// is down does not prevent scaling.
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

/// Namespace selector that excludes the gate's own namespace, whatever its labels: pods of a gate
/// that is down must be able to start without it.
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
