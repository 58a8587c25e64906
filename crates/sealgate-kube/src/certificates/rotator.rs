//! Certificate rotation in a cluster: keeps the Secret and the caBundles current, and sends the
//! certificate to the server.
//!
//! One reconciliation reads everything and does what is due; it runs at the start, on every change
//! of the Secret or of a webhook configuration, and once a minute. Concurrent reconciliations of
//! two replicas are resolved by the Secret's resourceVersion: the later write is refused, and its
//! replica reconciles again.

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::Clock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::state::{Rotation, Stored, due, own_keys};
use super::{PUBLISH_DELAY, Serving};
use crate::cluster::{RequestError, within};
use crate::install::{
    CERTIFICATE_SECRET, POLICY_DEFAULTS_WEBHOOK, POLICY_VALIDATION_WEBHOOK, WORKLOAD_WEBHOOK,
    is_path_of_gate, service_names,
};

/// Interval between reconciliations without events.
const PERIOD: Duration = Duration::from_secs(60);
/// Delay after a failed reconciliation, doubled each time up to [`PERIOD`].
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// Number of attempts to write a webhook configuration while others write it.
const BUNDLE_ATTEMPTS: usize = 5;

/// Webhook configuration whose caBundle is kept current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookConfiguration {
    /// Name of a ValidatingWebhookConfiguration.
    Validating(String),
    /// Name of a MutatingWebhookConfiguration.
    Mutating(String),
}

/// Rotation of a cluster's certificates.
pub struct CertificateRotator {
    /// Client of the API server.
    pub client: Client,
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// DNS names and addresses in the serving certificate.
    pub names: Vec<String>,
    /// Webhook configurations whose caBundle is kept current.
    pub webhooks: Vec<WebhookConfiguration>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
}

/// Certificate that this replica serves, and CA bundle that it trusts.
#[derive(Default)]
struct ServedCertificate {
    stored: Option<Stored>,
}

/// The four webhook configurations written by `sealgate install`.
pub fn own_webhooks() -> Vec<WebhookConfiguration> {
    vec![
        WebhookConfiguration::Mutating(WORKLOAD_WEBHOOK.to_owned()),
        WebhookConfiguration::Validating(WORKLOAD_WEBHOOK.to_owned()),
        WebhookConfiguration::Mutating(POLICY_DEFAULTS_WEBHOOK.to_owned()),
        WebhookConfiguration::Validating(POLICY_VALIDATION_WEBHOOK.to_owned()),
    ]
}

impl CertificateRotator {
    /// Rotation for an installation by `sealgate install` in `namespace`.
    pub fn new(client: Client, namespace: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            secret: CERTIFICATE_SECRET.to_owned(),
            names: service_names(namespace),
            webhooks: own_webhooks(),
            clock,
        }
    }

    /// Starts the rotation. The channel holds `None` until there is a certificate; the task ends
    /// when all receivers are dropped. Errors are logged and retried with back-off.
    pub fn start(self) -> watch::Receiver<Option<Arc<Serving>>> {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(self.run(sender));
        receiver
    }

    async fn run(self, sender: watch::Sender<Option<Arc<Serving>>>) {
        let mut changes = self.changes();
        let mut served = ServedCertificate::default();
        let mut retry = FIRST_RETRY;
        loop {
            let wait = match self.reconcile(&mut served, &sender).await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    PERIOD
                }
                Err(fault) => {
                    match fault.kind {
                        FaultKind::Cancelled => tracing::debug!(%fault, "retrying"),
                        _ => tracing::warn!(%fault, "certificate rotation failed"),
                    }
                    retry = (retry * 2).min(PERIOD);
                    retry
                }
            };
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(wait) => {}
                Some(()) = changes.next() => {}
            }
        }
    }

    async fn reconcile(
        &self,
        served: &mut ServedCertificate,
        sender: &watch::Sender<Option<Arc<Serving>>>,
    ) -> Result<(), Fault> {
        let stored = self.reconcile_secret(served).await?;
        let trusted = self.update_bundles(&stored.bundle()).await;
        let showing = served.stored.as_ref().map(|stored| &stored.leaf);
        if showing != Some(&stored.leaf) {
            if showing.is_some_and(|leaf| leaf.not_after > self.clock.now()) {
                // The served certificate is still valid; the new one must be trusted first.
                trusted.clone()?;
                tokio::time::sleep(PUBLISH_DELAY).await;
            }
            tracing::info!(not_after = %stored.leaf.not_after, "serving a new certificate");
            sender.send_replace(Some(Arc::new(stored.leaf.serving.clone())));
        }
        served.stored = Some(stored);
        trusted
    }

    /// Reads the Secret, does what is due, and writes it back unless it has changed in the
    /// meantime.
    async fn reconcile_secret(&self, served: &ServedCertificate) -> Result<Stored, Fault> {
        let target = format!("secret {}/{}", self.namespace, self.secret);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = within(&target, api.get_opt(&self.secret)).await;
        let found = found.map_err(|failure| failure.fault(&target))?;
        let stored = found.as_ref().and_then(read_secret);
        let now = self.clock.now();
        let todo = due(stored.as_ref(), &self.names, now);
        let new = match (&stored, todo) {
            (Some(stored), Rotation::None) => return Ok(stored.clone()),
            (Some(stored), todo) => stored.renewed(todo, &self.names, now)?,
            (None, _) => Stored::new(&self.names, now, served.ca())?,
        };
        tracing::info!(secret = target, due = ?todo, "writing certificates");
        self.write(&api, &target, found, &new).await?;
        Ok(new)
    }

    async fn write(
        &self,
        api: &Api<Secret>,
        target: &str,
        found: Option<Secret>,
        new: &Stored,
    ) -> Result<(), Fault> {
        let data = new
            .to_data()
            .map_err(|error| Fault::new(FaultKind::Config, target, error.to_string()))?;
        let data = data.into_iter().map(|(key, value)| (key, ByteString(value)));
        let parameters = PostParams::default();
        let written = match found {
            Some(secret) => {
                // The resourceVersion is kept, so that a concurrent write is a conflict. Other keys
                // are kept: policy-controller may store its certificate there.
                let mut all = secret.data.clone().unwrap_or_default();
                all.retain(|key, _| !own_keys().contains(&key.as_str()));
                all.extend(data);
                let secret = Secret { data: Some(all), ..secret };
                within(target, api.replace(&self.secret, &parameters, &secret)).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.secret.clone()),
                    namespace: Some(self.namespace.clone()),
                    ..Default::default()
                };
                let secret = Secret { metadata, data: Some(data.collect()), ..Default::default() };
                within(target, api.create(&parameters, &secret)).await
            }
        };
        written.map(drop).map_err(|failure| match failure.is_conflict() {
            true => Fault::new(
                FaultKind::Cancelled,
                target,
                "another replica wrote it at the same time; reconciling again",
            ),
            false => failure.fault(target),
        })
    }

    /// Writes `bundle` into all configurations that differ. All are tried; the first fault is
    /// returned.
    async fn update_bundles(&self, bundle: &str) -> Result<(), Fault> {
        let mut result = Ok(());
        for webhook in &self.webhooks {
            let kept = match webhook {
                WebhookConfiguration::Validating(name) => {
                    self.update_bundle::<ValidatingWebhookConfiguration>(name, bundle).await
                }
                WebhookConfiguration::Mutating(name) => {
                    self.update_bundle::<MutatingWebhookConfiguration>(name, bundle).await
                }
            };
            result = result.and(kept);
        }
        result
    }

    async fn update_bundle<K: HasCaBundle>(&self, name: &str, bundle: &str) -> Result<(), Fault> {
        let target = format!("{} {name}", K::KIND);
        let api: Api<K> = Api::all(self.client.clone());
        let mut result = Ok(());
        for _ in 0..BUNDLE_ATTEMPTS {
            result = write_bundle(&api, name, &target, bundle).await;
            if !result.as_ref().is_err_and(RequestError::is_conflict) {
                break;
            }
        }
        result.map_err(|failure| failure.fault(&target))
    }

    /// Changes of the Secret and of the webhook configurations.
    fn changes(&self) -> SelectAll<BoxStream<'static, ()>> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut streams = vec![changes_of(secrets, &self.secret)];
        for webhook in &self.webhooks {
            streams.push(match webhook {
                WebhookConfiguration::Validating(name) => changes_of(
                    Api::<ValidatingWebhookConfiguration>::all(self.client.clone()),
                    name,
                ),
                WebhookConfiguration::Mutating(name) => {
                    changes_of(Api::<MutatingWebhookConfiguration>::all(self.client.clone()), name)
                }
            });
        }
        select_all(streams)
    }
}

impl ServedCertificate {
    fn ca(&self) -> Option<&str> {
        self.stored.as_ref().map(|stored| stored.authority.certificate.as_str())
    }
}

/// Writes `bundle` where it differs, on top of the version that was read.
async fn write_bundle<K: HasCaBundle>(
    api: &Api<K>,
    name: &str,
    target: &str,
    bundle: &str,
) -> Result<(), RequestError> {
    let Some(found) = within(target, api.get_opt(name)).await? else {
        return Ok(());
    };
    let outdated = found.webhooks_without(bundle.as_bytes());
    if outdated.is_empty() {
        return Ok(());
    }
    let patch = Patch::Strategic(bundle_patch(found.meta(), &outdated, bundle));
    within(target, api.patch(name, &PatchParams::default(), &patch)).await?;
    tracing::info!(configuration = target, "updated caBundle");
    Ok(())
}

/// Webhook configuration with caBundles.
trait HasCaBundle:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    const KIND: &'static str;
    /// Names of the gate's webhooks in it whose caBundle differs from `bundle`.
    fn webhooks_without(&self, bundle: &[u8]) -> Vec<String>;
}

impl HasCaBundle for ValidatingWebhookConfiguration {
    const KIND: &'static str = "ValidatingWebhookConfiguration";

    fn webhooks_without(&self, bundle: &[u8]) -> Vec<String> {
        let webhooks = self.webhooks.iter().flatten();
        outdated(webhooks.map(|w| (&w.name, &w.client_config)), bundle)
    }
}

impl HasCaBundle for MutatingWebhookConfiguration {
    const KIND: &'static str = "MutatingWebhookConfiguration";

    fn webhooks_without(&self, bundle: &[u8]) -> Vec<String> {
        let webhooks = self.webhooks.iter().flatten();
        outdated(webhooks.map(|w| (&w.name, &w.client_config)), bundle)
    }
}

fn outdated<'a>(
    webhooks: impl Iterator<Item = (&'a String, &'a WebhookClientConfig)>,
    bundle: &[u8],
) -> Vec<String> {
    let differs = |config: &WebhookClientConfig| {
        config.ca_bundle.as_ref().is_none_or(|current| current.0 != bundle)
    };
    webhooks
        .filter(|(_, config)| is_of_gate(config) && differs(config))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Returns whether a webhook calls the gate. While policy-controller serves, it maintains the
/// caBundle of its own webhooks.
fn is_of_gate(config: &WebhookClientConfig) -> bool {
    let of_service = config.service.as_ref().and_then(|service| service.path.as_deref());
    let called = config.url.as_deref().or(of_service).unwrap_or_default();
    is_path_of_gate(called)
}

/// Strategic merge patch: webhooks are merged by name, so that only caBundle changes.
fn bundle_patch(metadata: &ObjectMeta, webhooks: &[String], bundle: &str) -> Value {
    let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
    let webhooks: Vec<Value> = webhooks
        .iter()
        .map(|name| json!({ "name": name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    json!({ "metadata": { "resourceVersion": metadata.resource_version }, "webhooks": webhooks })
}

fn read_secret(secret: &Secret) -> Option<Stored> {
    let data = secret.data.as_ref()?;
    let data = data.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect();
    Stored::from_data(&data)
}

fn changes_of<K>(api: Api<K>, name: &str) -> BoxStream<'static, ()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, watcher::Config::default().fields(&format!("metadata.name={name}")))
        .default_backoff()
        .inspect_err(|error| tracing::debug!(%error, "watch interrupted"))
        .filter_map(|event| ready(event.ok().filter(is_change).map(drop)))
        .boxed()
}

fn is_change<K>(event: &watcher::Event<K>) -> bool {
    matches!(event, watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone)
}
