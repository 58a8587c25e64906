//! The gate's pods, and what stands around them.

use serde_json::{Value, json};

use super::{
    ACCOUNT, Certificates, DEPLOYMENT, Deletion, DeploymentOptions, InstallOptions,
    PullSecretRights, SERVICE, metadata,
};

/// The priority class: the gate must not be evicted before what waits for it.
const PRIORITY_CLASS: &str = "sealgate";
const HTTPS_PORT: u16 = 8443;
const METRICS_PORT: u16 = 9090;
/// Where the certificate files are mounted.
const TLS_FOLDER: &str = "/etc/sealgate/tls";
const SCHEDULING: &str = "scheduling.k8s.io/v1";

pub(super) fn documents(options: &InstallOptions, gate: &DeploymentOptions) -> Vec<Value> {
    vec![priority_class(), service(options), disruption_budget(options), deployment(options, gate)]
}

pub(super) fn deletions(namespace: &str) -> Vec<Deletion> {
    vec![
        Deletion::namespaced("apps/v1", "Deployment", "deployments", namespace, DEPLOYMENT),
        Deletion::namespaced(
            "policy/v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            namespace,
            DEPLOYMENT,
        ),
        Deletion::namespaced("v1", "Service", "services", namespace, SERVICE),
        Deletion::cluster(SCHEDULING, "PriorityClass", "priorityclasses", PRIORITY_CLASS),
    ]
}

fn selector() -> Value {
    json!({ "app.kubernetes.io/name": "sealgate", "control-plane": DEPLOYMENT })
}

fn priority_class() -> Value {
    json!({
        "apiVersion": SCHEDULING,
        "kind": "PriorityClass",
        "metadata": metadata(PRIORITY_CLASS, None),
        "value": 1_000_000_000,
        "description": "The admission gate: pods that it admits wait for it.",
    })
}

fn service(options: &InstallOptions) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(SERVICE, Some(&options.namespace)),
        "spec": {
            "selector": selector(),
            "ports": [
                { "name": "https", "port": 443, "targetPort": "https", "protocol": "TCP" },
                { "name": "metrics", "port": 9090, "targetPort": "metrics", "protocol": "TCP" },
            ],
        },
    })
}

fn disruption_budget(options: &InstallOptions) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(DEPLOYMENT, Some(&options.namespace)),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": selector() } },
    })
}

fn deployment(options: &InstallOptions, gate: &DeploymentOptions) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(DEPLOYMENT, Some(&options.namespace)),
        "spec": {
            "replicas": gate.replicas,
            "selector": { "matchLabels": selector() },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": {
                "metadata": { "labels": selector() },
                "spec": pod_spec(options, gate),
            },
        },
    })
}

fn pod_spec(options: &InstallOptions, gate: &DeploymentOptions) -> Value {
    let mut spec = json!({
        "serviceAccountName": ACCOUNT,
        "priorityClassName": PRIORITY_CLASS,
        "terminationGracePeriodSeconds": 60,
        "affinity": anti_affinity(),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container(options, gate)],
    });
    if let Certificates::Secret { name, .. } = &gate.certificates {
        spec["volumes"] = json!([{ "name": "tls", "secret": { "secretName": name } }]);
    }
    spec
}

fn anti_affinity() -> Value {
    let apart = json!({
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchLabels": selector() },
        },
    });
    json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [apart] } })
}

fn container(options: &InstallOptions, gate: &DeploymentOptions) -> Value {
    let mut container = json!({
        "name": "policy-controller-webhook",
        "image": gate.image,
        "args": arguments(options, gate),
        "env": environment(),
        "ports": [
            { "name": "https", "containerPort": HTTPS_PORT, "protocol": "TCP" },
            { "name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP" },
        ],
        "startupProbe": probe("/healthz", 2, 30),
        "livenessProbe": probe("/healthz", 10, 3),
        "readinessProbe": probe("/readyz", 5, 2),
        "resources": {
            "requests": { "cpu": "100m", "memory": "64Mi" },
            "limits": { "memory": "256Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    });
    if gate.certificates != Certificates::Own {
        let mount = json!({ "name": "tls", "mountPath": TLS_FOLDER, "readOnly": true });
        container["volumeMounts"] = json!([mount]);
    }
    container
}

/// The command line of the gate. `sealgate serve` must understand each of these.
pub(super) fn arguments(options: &InstallOptions, gate: &DeploymentOptions) -> Vec<String> {
    let mut arguments = vec![
        "serve".to_owned(),
        "--in-cluster".to_owned(),
        format!("--listen=0.0.0.0:{HTTPS_PORT}"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
        format!("--webhook-timeout={}s", options.timeout_seconds.clamp(1, 30)),
    ];
    arguments.push(match &options.pull_secrets {
        PullSecretRights::Cluster => "--pull-secrets=cluster".to_owned(),
        PullSecretRights::Namespaces(names) => format!("--pull-secrets={}", names.join(",")),
        PullSecretRights::Nowhere => "--pull-secrets=none".to_owned(),
    });
    if gate.certificates != Certificates::Own {
        arguments.push(format!("--tls-cert={TLS_FOLDER}/tls.crt"));
        arguments.push(format!("--tls-key={TLS_FOLDER}/tls.key"));
    }
    arguments
}

fn environment() -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    json!([field("SYSTEM_NAMESPACE", "metadata.namespace"), field("POD_NAME", "metadata.name")])
}

/// On the plain port: a certificate that is not there yet is a reason not to be ready, which
/// `/readyz` says itself, and never one to be killed.
fn probe(path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": "metrics" },
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}
