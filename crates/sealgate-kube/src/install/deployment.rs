//! Deployment of the gate, with its Services, PodDisruptionBudget and ConfigMap.

use sealgate_core::digest::Digest;
use serde_json::{Value, json};

use super::{
    ACCOUNT, Certificates, DEPLOYMENT, Deletion, DeploymentOptions, Gate, InstallOptions,
    PullSecretRights, SERVICE, metadata,
};
use crate::api;

const HTTPS_PORT: u16 = 8443;
const METRICS_PORT: u16 = 9090;
/// Mount path of the certificate files.
const TLS_FOLDER: &str = "/etc/sealgate/tls";
/// ConfigMap with the CA certificates of registries, its only entry, and its mount path.
const REGISTRY_CA: &str = "sealgate-registry-ca";
const REGISTRY_CA_FILE: &str = "ca.crt";
const REGISTRY_CA_FOLDER: &str = "/etc/sealgate/registry-ca";
/// Annotation on the pods, so that a changed bundle restarts them: the gate reads it at startup.
const REGISTRY_CA_DIGEST: &str = "policy.sigstore.dev/sealgate-registry-ca";

/// ConfigMap with the CA certificates of clients, its only entry, and its mount path. The gate
/// follows the file.
const CLIENT_CA: &str = "sealgate-client-ca";
const CLIENT_CA_FILE: &str = "ca.crt";
const CLIENT_CA_FOLDER: &str = "/etc/sealgate/client-ca";

pub(super) fn documents(options: &InstallOptions, gate: &DeploymentOptions) -> Vec<Value> {
    let mut documents = vec![service(options, SERVICE), disruption_budget(options)];
    documents.extend(gate.registries.ca_bundle.as_deref().map(|pem| registry_ca(options, pem)));
    documents.extend(gate.clients.as_ref().map(|clients| client_ca(options, &clients.ca)));
    documents.push(deployment(options, gate));
    documents
}

pub(super) fn deletions(namespace: &str) -> Vec<Deletion> {
    vec![
        Deletion::namespaced(api::APPS, "Deployment", "deployments", namespace, DEPLOYMENT),
        Deletion::namespaced(
            api::POLICY,
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            namespace,
            DEPLOYMENT,
        ),
        Deletion::namespaced("v1", "Service", "services", namespace, SERVICE),
        registry_ca_deletion(namespace),
        client_ca_deletion(namespace),
    ]
}

/// Objects that the pods no longer mount.
pub(super) fn retired(options: &InstallOptions) -> Vec<Deletion> {
    let (has_registry_ca, has_client_ca) = match &options.gate {
        Gate::Deployment(gate) => (gate.registries.ca_bundle.is_some(), gate.clients.is_some()),
        Gate::At(_) => (false, false),
    };
    let namespace = &options.namespace;
    let registry_ca = (!has_registry_ca).then(|| registry_ca_deletion(namespace));
    let client_ca = (!has_client_ca).then(|| client_ca_deletion(namespace));
    registry_ca.into_iter().chain(client_ca).collect()
}

fn registry_ca_deletion(namespace: &str) -> Deletion {
    Deletion::namespaced("v1", "ConfigMap", "configmaps", namespace, REGISTRY_CA)
}

fn client_ca_deletion(namespace: &str) -> Deletion {
    Deletion::namespaced("v1", "ConfigMap", "configmaps", namespace, CLIENT_CA)
}

fn selector() -> Value {
    json!({ "app.kubernetes.io/name": "sealgate", "control-plane": DEPLOYMENT })
}

fn registry_ca(options: &InstallOptions, pem: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(REGISTRY_CA, Some(&options.namespace)),
        "data": { REGISTRY_CA_FILE: pem },
    })
}

fn client_ca(options: &InstallOptions, pem: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(CLIENT_CA, Some(&options.namespace)),
        "data": { CLIENT_CA_FILE: pem },
    })
}

fn service(options: &InstallOptions, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, Some(&options.namespace)),
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
        "apiVersion": api::POLICY,
        "kind": "PodDisruptionBudget",
        "metadata": metadata(DEPLOYMENT, Some(&options.namespace)),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": selector() } },
    })
}

fn deployment(options: &InstallOptions, gate: &DeploymentOptions) -> Value {
    json!({
        "apiVersion": api::APPS,
        "kind": "Deployment",
        "metadata": metadata(DEPLOYMENT, Some(&options.namespace)),
        "spec": {
            "replicas": gate.replicas,
            "selector": { "matchLabels": selector() },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": {
                "metadata": pod_metadata(gate),
                "spec": pod_spec(options, gate),
            },
        },
    })
}

fn pod_metadata(gate: &DeploymentOptions) -> Value {
    let mut metadata = json!({ "labels": selector() });
    if let Some(pem) = &gate.registries.ca_bundle {
        let digest = Digest::of(pem.as_bytes()).to_string();
        metadata["annotations"] = json!({ REGISTRY_CA_DIGEST: digest });
    }
    metadata
}

fn pod_spec(options: &InstallOptions, gate: &DeploymentOptions) -> Value {
    let mut spec = json!({
        "serviceAccountName": ACCOUNT,
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
    if let Some(class) = &gate.priority_class {
        spec["priorityClassName"] = json!(class);
    }
    if !gate.image_pull_secrets.is_empty() {
        let secrets = gate.image_pull_secrets.iter().map(|name| json!({ "name": name }));
        spec["imagePullSecrets"] = secrets.collect();
    }
    let volumes = mounts(gate);
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into_iter().map(|mount| mount.volume).collect();
    }
    spec
}

/// Volume of the pod, and its mount.
struct Mount {
    volume: Value,
    at: Value,
}

fn mounts(gate: &DeploymentOptions) -> Vec<Mount> {
    let mount = |name: &str, mut volume: Value, path: &str| {
        volume["name"] = json!(name);
        Mount { volume, at: json!({ "name": name, "mountPath": path, "readOnly": true }) }
    };
    let mut mounts = Vec::new();
    if let Certificates::Secret { name, .. } = &gate.certificates {
        mounts.push(mount("tls", json!({ "secret": { "secretName": name } }), TLS_FOLDER));
    }
    if gate.registries.ca_bundle.is_some() {
        let volume = json!({ "configMap": { "name": REGISTRY_CA } });
        mounts.push(mount("registry-ca", volume, REGISTRY_CA_FOLDER));
    }
    if gate.clients.is_some() {
        let volume = json!({ "configMap": { "name": CLIENT_CA } });
        mounts.push(mount("client-ca", volume, CLIENT_CA_FOLDER));
    }
    mounts
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
    let mounts = mounts(gate);
    if !mounts.is_empty() {
        container["volumeMounts"] = mounts.into_iter().map(|mount| mount.at).collect();
    }
    container
}

/// Arguments of the gate. `sealgate serve` must accept each of them.
pub(super) fn arguments(options: &InstallOptions, gate: &DeploymentOptions) -> Vec<String> {
    let mut arguments = vec![
        "serve".to_owned(),
        "--in-cluster".to_owned(),
        format!("--listen=0.0.0.0:{HTTPS_PORT}"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
        format!("--webhook-timeout={}s", options.timeout_seconds.clamp(1, 30)),
    ];
    arguments.push(match &options.pull_secrets {
        PullSecretRights::Cluster => "--pull-secrets=all".to_owned(),
        PullSecretRights::Namespaces(names) => format!("--pull-secrets={}", names.join(",")),
        PullSecretRights::Nowhere => "--pull-secrets=none".to_owned(),
    });
    if gate.certificates != Certificates::Own {
        arguments.push(format!("--tls-cert={TLS_FOLDER}/tls.crt"));
        arguments.push(format!("--tls-key={TLS_FOLDER}/tls.key"));
    }
    if let Some(clients) = &gate.clients {
        arguments.push(format!("--client-ca={CLIENT_CA_FOLDER}/{CLIENT_CA_FILE}"));
        arguments.extend(clients.names.iter().map(|name| format!("--client-name={name}")));
    }
    if gate.registries.ca_bundle.is_some() {
        arguments.push(format!("--registry-ca-bundle={REGISTRY_CA_FOLDER}/{REGISTRY_CA_FILE}"));
    }
    let insecure = gate.registries.insecure.iter();
    arguments.extend(insecure.map(|host| format!("--insecure-registry={host}")));
    arguments
}

fn environment() -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    json!([field("SYSTEM_NAMESPACE", "metadata.namespace"), field("POD_NAME", "metadata.name")])
}

/// Probe on the plain HTTP port: a missing certificate makes the gate unready, as reported by
/// `/readyz`, but must not get it killed.
fn probe(path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": "metrics" },
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}
