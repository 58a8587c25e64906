//! Everything a cluster needs to have the gate, as documents, and everything to delete to be rid of it.
//!
//! Border: pure. Options in, JSON documents out, in the order in which to apply them. Names are
//! policy-controller's where people have them in scripts (`cosign-system`,
//! `policy-controller-webhook`, `policy.sigstore.dev`). No finalizer is ever written, so that nothing
//! can be stuck when the gate is gone.

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

/// The namespace that policy-controller uses, and so ours.
pub const DEFAULT_NAMESPACE: &str = "cosign-system";
/// The Deployment.
pub const DEPLOYMENT: &str = "policy-controller-webhook";
/// The Service before it.
pub const SERVICE: &str = "webhook";
/// The Service before it while policy-controller has the other one (see [`crate::migrate`]).
pub const MIGRATION_SERVICE: &str = "sealgate";
/// The webhook configuration by which a migration asks whether the API server reaches the gate.
pub(crate) const MIGRATION_PROBE: &str = "sealgate-migration-probe";
/// The service account.
pub const ACCOUNT: &str = "policy-controller-webhook";
/// The Secret with our own certificates.
pub const CERTIFICATE_SECRET: &str = "webhook-certs";
/// The ConfigMap with `no-match-policy`.
pub const CONFIG_MAP: &str = "config-policy-controller";
/// The webhook configurations for workloads, one validating and one mutating.
pub const WORKLOAD_WEBHOOK: &str = "policy.sigstore.dev";
/// The validating webhook configuration for policies.
pub const POLICY_VALIDATION_WEBHOOK: &str = "validating.clusterimagepolicy.sigstore.dev";
/// The mutating webhook configuration for policies.
pub const POLICY_DEFAULTS_WEBHOOK: &str = "defaulting.clusterimagepolicy.sigstore.dev";
/// The label of everything that `sealgate install` writes, but the custom resources, and its value.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
pub(crate) const PART_OF_SEALGATE: &str = "sealgate";
/// The label that puts a namespace behind the gate.
pub const INCLUDE_LABEL: &str = "policy.sigstore.dev/include";

/// What is installed, and how.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// The namespace of the gate, also the one that `secretRef`s are read from.
    pub namespace: String,
    /// Where the gate runs.
    pub gate: Gate,
    /// The CA that the API server trusts for the gate, as PEM. `None` where the gate writes it
    /// itself ([`Certificates::Own`], or a gate elsewhere) or cert-manager injects it.
    pub ca_bundle: Option<Vec<u8>>,
    /// The webhooks' timeout in seconds, 1 to 30.
    pub timeout_seconds: u8,
    /// Whose pull secrets the gate may read.
    pub pull_secrets: PullSecretRights,
}

/// Where the gate runs.
#[derive(Clone, Debug)]
pub enum Gate {
    /// In the cluster.
    Deployment(DeploymentOptions),
    /// Elsewhere, at `https://host:port` (no path): only CRDs, rights and webhook configurations
    /// are installed. For tests and for gates shared by clusters.
    At(String),
}

/// The gate's own pods.
#[derive(Clone, Debug)]
pub struct DeploymentOptions {
    /// The container image.
    pub image: String,
    /// How many pods.
    pub replicas: u32,
    /// Where the serving certificate comes from.
    pub certificates: Certificates,
    /// How registries without public TLS are reached.
    pub registries: RegistryOptions,
    /// The Secrets (`kubernetes.io/dockerconfigjson`, in the gate's namespace) that the nodes pull
    /// the gate's own image with.
    pub image_pull_secrets: Vec<String>,
    /// A PriorityClass that exists. None is made: any tenant could use it.
    pub priority_class: Option<String>,
}

/// How the gate reaches registries without public TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// CA certificates (PEM) that are trusted beside the system's.
    pub ca_bundle: Option<String>,
    /// `HOST[:PORT]` of registries that may be asked over plain HTTP.
    pub insecure: Vec<String>,
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// The gate makes its own, in the Secret [`CERTIFICATE_SECRET`], and keeps caBundle current.
    Own,
    /// cert-manager (or somebody else) keeps a `kubernetes.io/tls` Secret.
    Secret {
        /// The Secret's name.
        name: String,
        /// The cert-manager Certificate `namespace/name` whose CA it injects into the webhook
        /// configurations.
        inject_ca_from: Option<String>,
    },
}

/// Which `imagePullSecrets` and service accounts the gate may read, to pull as the workload would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullSecretRights {
    /// Of every namespace.
    Cluster,
    /// Of these namespaces only: a Role in each. Workloads elsewhere are looked up without.
    Namespaces(Vec<String>),
    /// Of none: the gate pulls with its own credentials only.
    Nowhere,
}

/// Whose object is deleted: most names of ours are policy-controller's, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One that `sealgate install` wrote, by its label [`PART_OF`].
    Sealgate,
    /// Any of that name.
    Anyone,
}

/// One object to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Whose object it must be.
    pub owner: Owner,
    /// `admissionregistration.k8s.io/v1`.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The plural resource.
    pub resource: &'static str,
    /// The namespace; `None` for what has none.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl Default for InstallOptions {
    /// The default Deployment in `cosign-system`.
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
            registries: RegistryOptions::default(),
            image_pull_secrets: Vec::new(),
            priority_class: None,
        }
    }
}

impl InstallOptions {
    /// Whether the gate keeps a certificate Secret and the caBundles, and needs the rights to.
    fn own_certificates(&self) -> bool {
        match &self.gate {
            Gate::Deployment(options) => options.certificates == Certificates::Own,
            Gate::At(_) => self.ca_bundle.is_none(),
        }
    }
}

/// The DNS names of the gate's Services in `namespace`; the first is the one API servers use.
pub(crate) fn service_names(namespace: &str) -> Vec<String> {
    let names = |service: &str| {
        let of = |suffix: &str| format!("{service}.{namespace}{suffix}");
        [of(".svc"), of(".svc.cluster.local"), of(""), service.to_owned()]
    };
    names(SERVICE).into_iter().chain(names(MIGRATION_SERVICE)).collect()
}

/// All documents, in the order in which to apply them. Nothing in them is the user's to change: the
/// ConfigMap [`CONFIG_MAP`] is not among them, so that applying them again keeps its entries.
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
/// None of our own documents has any; a value that YAML cannot hold.
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

/// What to delete, in order: webhooks first, so that nothing is refused by a gate that is gone. Only
/// if `with_policies`: the settings in [`CONFIG_MAP`], the custom resources, with them all policies,
/// and at last the namespace, with the keys in it (never one of Kubernetes' own namespaces).
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

/// What versions before installed and this one does not, and what options ask for that are not given
/// any more: deleted after an upgrade.
pub fn retired(options: &InstallOptions) -> Vec<Deletion> {
    let mut deletions = rights::retired(options);
    deletions.extend(deployment::retired(options));
    deletions.push(retired_priority_class());
    deletions
}

/// Objects of a migration that broke off before it changed anything.
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

/// A PriorityClass that every tenant could use.
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

/// Kubernetes' own namespaces are neither made nor deleted.
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
