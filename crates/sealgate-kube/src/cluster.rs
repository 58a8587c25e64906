//! Access to one API server: configuration, classification of errors, secrets and service accounts.
//!
//! Implements [`SecretSource`] and [`WorkloadSource`]. Secret data is returned and never logged; a
//! missing secret is `None`, a forbidden one a [`Fault`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{Clock, PullSecret, SecretSource, WorkloadSource};
use sealgate_policy::scope::Scope;

use crate::install::PullSecretRights;

mod cache;

use cache::Cache;

/// Time limit of one API request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of all pull secrets of one pod together, in bytes; usually a few kilobytes.
const MAX_PULL_SECRETS: usize = 1 << 20;

/// Connection options.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// Kubeconfig file; `None` for `$KUBECONFIG`, `~/.kube/config` or else the pod's service
    /// account.
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig; `None` for the current one.
    pub context: Option<String>,
    /// True to use only the pod's service account.
    pub in_cluster: bool,
}

/// Content of the secret created by `generate-key-pair k8s://NAMESPACE/NAME`.
pub struct KeySecret {
    /// `cosign.key`: encrypted private key, PEM.
    pub private_key: Vec<u8>,
    /// `cosign.pub`: public key, PEM.
    pub public_key: Vec<u8>,
    /// `cosign.password`.
    pub password: Vec<u8>,
}

/// Secrets and service accounts of a cluster. Pull secrets are cached for half a minute.
pub struct ClusterSecrets {
    client: Client,
    rights: PullSecretRights,
    cache: Cache,
}

/// Client for the API server.
///
/// # Errors
/// [`FaultKind::Config`] without a usable configuration. No request is sent.
pub async fn connect(connect: &Connect) -> Result<Client, Fault> {
    let mut config = configuration(connect).await?;
    if config.proxy_url.as_ref().is_some_and(is_of_environment) {
        // The proxy is for external hosts; the API server is contacted directly.
        config.proxy_url = None;
    }
    Client::try_from(config).map_err(|error| fault("kubeconfig", &error))
}

/// Returns whether the proxy comes from the environment rather than the kubeconfig.
fn is_of_environment(proxy: &http::Uri) -> bool {
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];
    let values = names.into_iter().filter_map(|name| std::env::var(name).ok());
    values.filter_map(|value| value.parse::<http::Uri>().ok()).any(|value| value == *proxy)
}

async fn configuration(connect: &Connect) -> Result<Config, Fault> {
    let config_fault = |what: &str, error: &dyn std::fmt::Display| {
        Fault::new(FaultKind::Config, what, error.to_string())
    };
    if connect.in_cluster {
        return Config::incluster()
            .map_err(|error| config_fault("in-cluster configuration", &error));
    }
    let options = KubeConfigOptions { context: connect.context.clone(), ..Default::default() };
    match (&connect.kubeconfig, &connect.context) {
        (Some(path), _) => {
            let target = path.display().to_string();
            let kubeconfig =
                Kubeconfig::read_from(path).map_err(|error| config_fault(&target, &error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| config_fault(&target, &error))
        }
        (None, Some(_)) => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| config_fault("kubeconfig", &error)),
        (None, None) => Config::infer().await.map_err(|error| config_fault("kubeconfig", &error)),
    }
}

/// Creates the immutable Secret of a key pair, as cosign does.
///
/// # Errors
/// [`FaultKind::Config`] when the Secret exists: it is never overwritten.
pub async fn create_key_secret(
    client: &Client,
    namespace: &str,
    name: &str,
    key: KeySecret,
) -> Result<(), Fault> {
    let data = [
        ("cosign.key", key.private_key),
        ("cosign.pub", key.public_key),
        ("cosign.password", key.password),
    ];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..Default::default()
        },
        type_: Some("Opaque".to_owned()),
        immutable: Some(true),
        data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value))).into()),
        ..Default::default()
    };
    let target = secret_target(namespace, name);
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match within(&target, api.create(&PostParams::default(), &secret)).await {
        Err(RequestError::Api(kube::Error::Api(status))) if status.is_already_exists() => {
            Err(Fault::new(FaultKind::Config, target, "the secret already exists"))
        }
        other => other.map(drop).map_err(|failure| failure.fault(&target)),
    }
}

impl ClusterSecrets {
    /// Secrets read with `client`; pull secrets only within `rights`.
    pub fn new(client: Client, rights: PullSecretRights, clock: Arc<dyn Clock>) -> Self {
        Self { client, rights, cache: Cache::new(clock) }
    }

    fn may_read(&self, namespace: &str) -> bool {
        match &self.rights {
            PullSecretRights::Cluster => true,
            PullSecretRights::Namespaces(names) => names.iter().any(|name| name == namespace),
            PullSecretRights::Nowhere => false,
        }
    }

    /// Names of a service account's pull secrets; empty when the account does not exist.
    async fn account_secrets(&self, namespace: &str, name: &str) -> Result<Vec<String>, Fault> {
        if let Some(names) = self.cache.account(namespace, name) {
            return Ok(names);
        }
        if !is_name(namespace) || !is_name(name) {
            return Ok(Vec::new());
        }
        let target = format!("service account {namespace}/{name}");
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let account =
            within(&target, api.get_opt(name)).await.map_err(|failure| failure.fault(&target))?;
        let names: Vec<String> = account
            .and_then(|account| account.image_pull_secrets)
            .unwrap_or_default()
            .into_iter()
            .map(|reference| reference.name)
            .filter(|name| !name.is_empty())
            .collect();
        self.cache.keep_account(namespace, name, names.clone());
        Ok(names)
    }

    async fn pull_secret(&self, namespace: &str, name: &str) -> Result<Option<PullSecret>, Fault> {
        if let Some(secret) = self.cache.secret(namespace, name) {
            return Ok(secret);
        }
        let data = self.secret(namespace, name).await?;
        let secret = data.and_then(docker_config);
        self.cache.keep_secret(namespace, name, secret.clone());
        Ok(secret)
    }
}

#[async_trait]
impl SecretSource for ClusterSecrets {
    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Fault> {
        if !is_name(namespace) || !is_name(name) {
            return Ok(None);
        }
        let target = secret_target(namespace, name);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret =
            within(&target, api.get_opt(name)).await.map_err(|failure| failure.fault(&target))?;
        let data = |secret: Secret| secret.data.unwrap_or_default();
        Ok(secret.map(|secret| data(secret).into_iter().map(|(k, v)| (k, v.0)).collect()))
    }

    async fn pull_secrets(
        &self,
        namespace: &str,
        service_account: &str,
        names: &[String],
    ) -> Result<Vec<PullSecret>, Fault> {
        if !self.may_read(namespace) {
            return Ok(Vec::new());
        }
        let mut all = names.to_vec();
        if !service_account.is_empty() {
            for name in self.account_secrets(namespace, service_account).await? {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        let (mut secrets, mut left) = (Vec::new(), MAX_PULL_SECRETS);
        for name in &all {
            let Some(secret) = self.pull_secret(namespace, name).await? else { continue };
            left = left.checked_sub(secret.docker_config_json.len()).ok_or_else(|| {
                let detail = format!("more than {MAX_PULL_SECRETS} bytes in total");
                Fault::new(FaultKind::TooLarge, format!("pull secrets in {namespace}"), detail)
            })?;
            secrets.push(secret);
        }
        Ok(secrets)
    }
}

/// Workloads of a cluster with a `scale` subresource.
pub struct ClusterWorkloads(pub Client);

#[async_trait]
impl WorkloadSource for ClusterWorkloads {
    async fn workload(&self, scope: &Scope) -> Result<Option<Bytes>, Fault> {
        let Some(path) = workload_path(scope) else { return Ok(None) };
        let target = format!("{} {}/{}", scope.resource, scope.namespace, scope.name);
        let invalid =
            |error: http::Error| Fault::new(FaultKind::Config, &target, error.to_string());
        let request = http::Request::get(path).body(Vec::new()).map_err(invalid)?;
        match within(&target, self.0.request_text(request)).await {
            Ok(text) => Ok(Some(text.into())),
            Err(RequestError::Api(kube::Error::Api(status))) if status.is_not_found() => Ok(None),
            Err(failure) => Err(failure.fault(&target)),
        }
    }
}

/// API path of a scalable workload; `None` for other kinds and invalid names.
fn workload_path(scope: &Scope) -> Option<String> {
    let Scope { group, resource, namespace, name, .. } = scope;
    let api = match (group.as_str(), resource.as_str()) {
        ("apps", "deployments" | "replicasets" | "statefulsets") => "/apis/apps/v1",
        ("", "replicationcontrollers") => "/api/v1",
        _ => return None,
    };
    let named = is_name(namespace) && is_name(name);
    named.then(|| format!("{api}/namespaces/{namespace}/{resource}/{name}"))
}

/// Registry credentials in a secret of type `kubernetes.io/dockerconfigjson` or `…/dockercfg`.
fn docker_config(mut data: BTreeMap<String, Vec<u8>>) -> Option<PullSecret> {
    data.remove(".dockerconfigjson")
        .or_else(|| data.remove(".dockercfg"))
        .map(|docker_config_json| PullSecret { docker_config_json })
}

/// Failed API request.
pub(crate) enum RequestError {
    /// Error returned by the client.
    Api(kube::Error),
    /// No response in time.
    Timeout,
}

impl RequestError {
    pub(crate) fn fault(&self, target: &str) -> Fault {
        match self {
            Self::Api(error) => fault(target, error),
            Self::Timeout => Fault::new(
                FaultKind::Timeout,
                target,
                format!("the API server timed out after {} s", TIMEOUT.as_secs()),
            ),
        }
    }

    /// Returns whether the object was created or changed concurrently.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Api(kube::Error::Api(status)) => {
                status.is_conflict() || status.is_already_exists()
            }
            _ => false,
        }
    }
}

/// Runs an API request with the time limit [`TIMEOUT`].
pub(crate) async fn within<T>(
    target: &str,
    question: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(TIMEOUT, question).await {
        Ok(answer) => answer.map_err(RequestError::Api),
        Err(_) => {
            tracing::debug!(target_object = target, "no response from the API server");
            Err(RequestError::Timeout)
        }
    }
}

/// Returns whether the text is a valid object name (RFC 1123). The client puts names into the URL
/// path unescaped, and names of pull secrets come from pod specs: `../../other/secrets/theirs` must
/// not be requested. No object has such a name.
fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(|b| inner(*b)))
            && bytes.iter().all(|b| inner(*b) || *b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn secret_target(namespace: &str, name: &str) -> String {
    format!("secret {namespace}/{name}")
}

/// Classification of an error of the API server or of the connection to it.
pub fn fault(target: &str, error: &kube::Error) -> Fault {
    let (kind, detail) = match error {
        kube::Error::Api(status) => (status_kind(status.code), status.message.clone()),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => {
            (FaultKind::Unreachable, chain(error))
        }
        kube::Error::RustlsTls(_) => (FaultKind::Tls, chain(error)),
        kube::Error::Auth(_) => (FaultKind::Unauthorized, chain(error)),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
            (FaultKind::Malformed, "the API server's response cannot be parsed".to_owned())
        }
        _ => (FaultKind::Config, chain(error)),
    };
    Fault::new(kind, target, crate::images::cut(&detail))
}

fn status_kind(code: u16) -> FaultKind {
    match code {
        401 => FaultKind::Unauthorized,
        403 => FaultKind::Denied,
        404 => FaultKind::Missing,
        408 | 504 => FaultKind::Timeout,
        429 => FaultKind::Throttled,
        500.. => FaultKind::ServerError,
        _ => FaultKind::Config,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
