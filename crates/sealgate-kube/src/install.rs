//! Installation of the gate: the documents to apply, and the objects to delete.
//!
//! Pure: options in, JSON documents out, in the order of application. Names are policy-controller's
//! where users have them in scripts (`cosign-system`, `policy-controller-webhook`,
//! `policy.sigstore.dev`). No finalizers are written, so that nothing gets stuck when the gate is
//! removed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{api, crd};

mod deployment;
mod rights;
mod webhooks;

pub(crate) use webhooks::is_path_of_gate;
pub use webhooks::{
    DEFAULT_PATH_MUTATE, DEFAULT_PATH_POLICY_DEFAULTS, DEFAULT_PATH_POLICY_VALIDATION,
    DEFAULT_PATH_VALIDATE,
};

/// Default namespace, the same as policy-controller's.
pub const DEFAULT_NAMESPACE: &str = "cosign-system";
/// Name of the Deployment.
pub const DEPLOYMENT: &str = "policy-controller-webhook";
/// Name of the Service.
pub const SERVICE: &str = "webhook";
/// Name of the Service while policy-controller uses the other name (see [`crate::migrate`]).
pub const MIGRATION_SERVICE: &str = "sealgate";
/// Name of the webhook configuration with which a migration checks that the API server reaches the
/// gate.
pub(crate) const MIGRATION_PROBE: &str = "sealgate-migration-probe";
/// Name of the service account.
pub const ACCOUNT: &str = "policy-controller-webhook";
/// Name of the Secret with our own certificates.
pub const CERTIFICATE_SECRET: &str = "webhook-certs";
/// Name of the ConfigMap with `no-match-policy`.
pub const CONFIG_MAP: &str = "config-policy-controller";
/// Name of the webhook configurations for workloads, one validating and one mutating.
pub const WORKLOAD_WEBHOOK: &str = "policy.sigstore.dev";
/// Name of the validating webhook configuration for policies.
pub const POLICY_VALIDATION_WEBHOOK: &str = "validating.clusterimagepolicy.sigstore.dev";
/// Name of the mutating webhook configuration for policies.
pub const POLICY_DEFAULTS_WEBHOOK: &str = "defaulting.clusterimagepolicy.sigstore.dev";
/// Label of all objects written by `sealgate install`, except the CustomResourceDefinitions, and
/// its value.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
pub(crate) const PART_OF_SEALGATE: &str = "sealgate";
/// Label that enables enforcement for a namespace.
pub const INCLUDE_LABEL: &str = "policy.sigstore.dev/include";

/// Installation options.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// Namespace of the gate, from which `secretRef`s are read as well.
    pub namespace: String,
    /// Location of the gate.
    pub gate: Gate,
    /// CA trusted by the API server for the gate, PEM. `None` when the gate writes it itself
    /// ([`Certificates::Own`], or an external gate) or cert-manager injects it.
    pub ca_bundle: Option<Vec<u8>>,
    /// Timeout of the webhooks in seconds, 1 to 30.
    pub timeout_seconds: u8,
    /// Namespaces whose pull secrets the gate may read.
    pub pull_secrets: PullSecretRights,
}

/// Location of the gate.
#[derive(Clone, Debug)]
pub enum Gate {
    /// In the cluster.
    Deployment(DeploymentOptions),
    /// External, at `https://host:port` (no path): only CRDs, RBAC and webhook configurations are
    /// installed. For tests and for gates shared by several clusters.
    At(String),
}

/// Options of the gate's Deployment.
#[derive(Clone, Debug)]
pub struct DeploymentOptions {
    /// Container image.
    pub image: String,
    /// Number of replicas.
    pub replicas: u32,
    /// Source of the serving certificate.
    pub certificates: Certificates,
    /// Clients that may call the webhooks; `None`: any.
    pub clients: Option<ClientOptions>,
    /// Access to registries without public TLS.
    pub registries: RegistryOptions,
    /// Secrets (`kubernetes.io/dockerconfigjson`, in the gate's namespace) for pulling the gate's
    /// own image.
    pub image_pull_secrets: Vec<String>,
    /// Existing PriorityClass. None is created: any tenant could use it.
    pub priority_class: Option<String>,
}

/// Clients that may call the webhooks, by their certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// CA certificates (PEM) that issue the client certificates.
    pub ca: String,
    /// Names of which a client certificate must have one; empty: any certificate of the CA.
    pub names: Vec<String>,
}

/// Access to registries without public TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// CA certificates (PEM) trusted in addition to the system's.
    pub ca_bundle: Option<String>,
    /// `HOST[:PORT]` of registries that may be contacted over plain HTTP.
    pub insecure: Vec<String>,
}

/// Source of the serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Issued by the gate itself, stored in the Secret [`CERTIFICATE_SECRET`]; the gate keeps
    /// caBundle current.
    Own,
    /// A `kubernetes.io/tls` Secret maintained by cert-manager or others.
    Secret {
        /// Name of the Secret.
        name: String,
        /// cert-manager Certificate `namespace/name` whose CA is injected into the webhook
        /// configurations.
        inject_ca_from: Option<String>,
    },
}

/// Namespaces whose `imagePullSecrets` and service accounts the gate may read, to pull as the
/// workload would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullSecretRights {
    /// All namespaces.
    Cluster,
    /// These namespaces only, with a Role in each. Elsewhere, the gate pulls without them.
    Namespaces(Vec<String>),
    /// None: the gate pulls with its own credentials only.
    Nowhere,
}

/// Required owner of an object to delete: many names are shared with policy-controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `sealgate install`, by the label [`PART_OF`].
    Sealgate,
    /// Any owner.
    Anyone,
}

/// Object to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Required owner.
    pub owner: Owner,
    /// API version, such as `admissionregistration.k8s.io/v1`.
    pub api_version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural resource name.
    pub resource: &'static str,
    /// Namespace; `None` for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl Default for InstallOptions {
    /// Default Deployment in `cosign-system`.
    fn default() -> Self {
        Self {
            namespace: DEFAULT_NAMESPACE.to_owned(),
            gate: Gate::Deployment(DeploymentOptions::default()),
            ca_bundle: None,
            timeout_seconds: 10,
            pull_secrets: PullSecretRights::Cluster,
        }
    }
}

impl Default for DeploymentOptions {
    /// Two replicas with their own certificates, image `sealgate:VERSION`.
    fn default() -> Self {
        Self {
            image: concat!("sealgate:", env!("CARGO_PKG_VERSION")).to_owned(),
            replicas: 2,
            certificates: Certificates::Own,
            clients: None,
            registries: RegistryOptions::default(),
            image_pull_secrets: Vec::new(),
            priority_class: None,
        }
    }
}

impl InstallOptions {
    /// Returns whether the gate maintains a certificate Secret and the caBundles, and needs the
    /// permissions for it.
    fn own_certificates(&self) -> bool {
        match &self.gate {
            Gate::Deployment(options) => options.certificates == Certificates::Own,
            Gate::At(_) => self.ca_bundle.is_none(),
        }
    }
}

/// DNS names of the gate's Services in `namespace`; the first is the one used by API servers.
pub(crate) fn service_names(namespace: &str) -> Vec<String> {
    let names = |service: &str| {
        let of = |suffix: &str| format!("{service}.{namespace}{suffix}");
        [of(".svc"), of(".svc.cluster.local"), of(""), service.to_owned()]
    };
    names(SERVICE).into_iter().chain(names(MIGRATION_SERVICE)).collect()
}

/// All documents, in the order of application. None holds user settings: the ConfigMap
/// [`CONFIG_MAP`] is not among them, so that applying them again keeps its entries.
pub fn documents(options: &InstallOptions) -> Vec<Value> {
    let mut documents = Vec::new();
    if is_ours(&options.namespace) {
        documents.push(namespace(options));
    }
    documents.extend(crd::all());
    documents.extend(rights::documents(options));
    if let Gate::Deployment(gate) = &options.gate {
        documents.extend(deployment::documents(options, gate));
    }
    documents.extend(webhooks::documents(options));
    documents
}

/// Documents as a YAML stream.
///
/// # Errors
/// An error if a value cannot be represented in YAML, which does not occur in our own documents.
pub fn to_yaml(documents: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(document)?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// Objects to delete, in order: webhooks first, so that no request is refused because the gate is
/// gone. Only with `with_policies`: the settings in [`CONFIG_MAP`], the CustomResourceDefinitions
/// and with them all policies, and finally the namespace with the keys in it (never a system
/// namespace of Kubernetes).
pub fn deletions(options: &InstallOptions, with_policies: bool) -> Vec<Deletion> {
    let mut deletions = webhooks::deletions();
    if matches!(options.gate, Gate::Deployment(_)) {
        deletions.extend(deployment::deletions(&options.namespace));
    }
    deletions.extend(rights::deletions(options));
    deletions.push(retired_priority_class());
    deletions.extend(left_by_a_migration(&options.namespace));
    let core = |kind, resource, name: &str| {
        Deletion::namespaced("v1", kind, resource, &options.namespace, name).of_anyone()
    };
    deletions.push(core("Secret", "secrets", CERTIFICATE_SECRET));
    if with_policies {
        deletions.push(core("ConfigMap", "configmaps", CONFIG_MAP));
        for plural in ["clusterimagepolicies", "trustroots"] {
            deletions.push(
                Deletion::cluster(
                    api::EXTENSIONS,
                    "CustomResourceDefinition",
                    "customresourcedefinitions",
                    &format!("{plural}.{}", crd::GROUP),
                )
                .of_anyone(),
            );
        }
    }
    if with_policies && is_ours(&options.namespace) {
        let namespace = Deletion::cluster("v1", "Namespace", "namespaces", &options.namespace);
        deletions.push(namespace.of_anyone());
    }
    deletions
}

/// Objects that earlier versions installed and this one does not, and objects of options that are
/// no longer given: deleted after an upgrade.
pub fn retired(options: &InstallOptions) -> Vec<Deletion> {
    let mut deletions = rights::retired(options);
    deletions.extend(deployment::retired(options));
    deletions.push(retired_priority_class());
    deletions
}

/// Objects of a migration that was interrupted before it changed anything.
fn left_by_a_migration(namespace: &str) -> [Deletion; 2] {
    [
        Deletion::cluster(
            api::ADMISSION,
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            MIGRATION_PROBE,
        ),
        Deletion::namespaced("v1", "Service", "services", namespace, MIGRATION_SERVICE),
    ]
}

/// PriorityClass of earlier versions, which every tenant could use.
fn retired_priority_class() -> Deletion {
    Deletion::cluster("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "sealgate")
}

impl Deletion {
    fn cluster(
        api_version: &'static str,
        kind: &'static str,
        resource: &'static str,
        name: &str,
    ) -> Self {
        let owner = Owner::Sealgate;
        Self { owner, api_version, kind, resource, namespace: None, name: name.to_owned() }
    }

    fn namespaced(
        api_version: &'static str,
        kind: &'static str,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Self {
        let namespace = Some(namespace.to_owned());
        Self { namespace, ..Self::cluster(api_version, kind, resource, name) }
    }

    fn of_anyone(self) -> Self {
        Self { owner: Owner::Anyone, ..self }
    }
}

/// Kubernetes' system namespaces are neither created nor deleted.
fn is_ours(namespace: &str) -> bool {
    namespace != "default" && !namespace.starts_with("kube-")
}

fn namespace(options: &InstallOptions) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": options.namespace,
            "labels": { PART_OF: PART_OF_SEALGATE },
        },
    })
}

fn metadata(name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {
            "app.kubernetes.io/name": "sealgate",
            PART_OF: PART_OF_SEALGATE,
        },
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests;
