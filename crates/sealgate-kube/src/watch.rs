//! The policies of a cluster, watched: ClusterImagePolicies, TrustRoots, the Secrets that they
//! name, and the ConfigMap `config-policy-controller` become one compiled set that is always
//! current. TUF repositories of TrustRoots are read elsewhere, behind [`Roots`].
//!
//! ```text
//!   API server --watch--> book (what is known) --compile--> channel (what is in force)
//!        ^                                             |
//!        +---------------- status, events <------------+
//! ```
//!
//! Nothing is ever dropped because of an error: a watch that breaks is taken up again and the last
//! set stays; a Secret that cannot be read keeps its last good key; a policy that cannot be compiled
//! becomes a rule that never holds. Only what the cluster says is gone is gone.

use std::sync::Arc;
use std::time::Duration;

use futures::future::ready;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use sealgate_engine::ports::{Clock, SecretSource};
use sealgate_engine::roots::Roots;
use sealgate_policy::cip::validate::Context;
use sealgate_policy::config::Config;
use sealgate_policy::select::PolicySet;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::cluster::{ClusterSecrets, TIMEOUT};
use crate::crd::{GROUP, POLICY_VERSIONS, ROOT_VERSION};
use crate::install::{CONFIG_MAP, PullSecretRights};

mod book;
mod status;

use book::{Book, Change};
use status::StatusWriter;

/// How often the Secrets that policies name are read again, even if no watch said so.
const RESYNC: Duration = Duration::from_secs(60);
/// How long to wait for the custom resources to be installed before looking again.
const NO_RESOURCE: Duration = Duration::from_secs(5);
/// How many Secrets are read at once.
const TOGETHER: usize = 8;
/// How many events are taken in before the policies are compiled again.
const BURST: usize = 1_000;

/// What is in force.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The rules.
    pub set: Arc<PolicySet>,
    /// The gate's configuration, for what is not in the rules.
    pub config: Config,
    /// What the policy webhook validates new policies with.
    pub context: Context,
    /// What cannot be used as it is written, for people: each policy that is not ready, and why (such
    /// a policy is in the set as a rule that never holds), and each pattern that no image can match.
    pub problems: Vec<String>,
}

/// `None` until everything was read once: the gate is not ready before.
pub type PolicyFeed = watch::Receiver<Option<Arc<Policies>>>;

/// Watches a cluster's policies.
pub struct PolicyWatch {
    /// The API server.
    pub client: Client,
    /// The gate's own namespace, where `secretRef`s and the configuration are.
    pub namespace: String,
    /// Who writes status and events: the pod's name.
    pub instance: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The trust roots that policies name; told of the TrustRoot objects.
    pub roots: Arc<Roots>,
}

impl PolicyWatch {
    /// Starts to watch. The task ends when all receivers are dropped. Errors are logged and tried
    /// again, with a growing wait.
    pub fn start(self) -> PolicyFeed {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(self.run(sender));
        receiver
    }

    async fn run(self, sender: watch::Sender<Option<Arc<Policies>>>) {
        let served = tokio::select! {
            () = sender.closed() => return,
            served = self.served() => served,
        };
        let no_secrets = PullSecretRights::Nowhere;
        let secrets = ClusterSecrets::new(self.client.clone(), no_secrets, Arc::clone(&self.clock));
        let mut policy_writer = self.writer(&served.policies);
        let mut root_writer = self.writer(&trust_roots());
        let mut book = Book::new(&self.namespace);
        if !served.trust_roots {
            book.expect_no_trust_roots();
        }
        let mut changes = self.changes(&served.policies);
        loop {
            tokio::select! {
                () = sender.closed() => return,
                Some(change) = changes.next() => book.take(change),
            }
            take_what_waits(&mut changes, &mut book);
            if !book.is_complete() {
                continue;
            }
            read_secrets(&secrets, &self.namespace, &mut book).await;
            self.roots.set(&book.trust_roots());
            let (policies, reports) = book.compile(&|which| self.roots.get(which));
            publish(&sender, policies);
            policy_writer.write(reports);
            root_writer.write(book.root_reports(|name| self.roots.conditions(name)));
        }
    }

    fn writer(&self, resource: &ApiResource) -> StatusWriter {
        let (client, resource) = (self.client.clone(), resource.clone());
        StatusWriter::start(client, resource, self.instance.clone(), Arc::clone(&self.clock))
    }

    /// The policies in a version that the API server serves; waits until there is one.
    async fn served(&self) -> Served {
        loop {
            let mut found = Vec::new();
            for version in POLICY_VERSIONS {
                let name = format!("{GROUP}/{version}");
                let served = self.client.list_api_group_resources(&name);
                match tokio::time::timeout(TIMEOUT, served).await {
                    Ok(Ok(list)) => {
                        found.extend(list.resources.into_iter().map(|r| (r.name, version)));
                    }
                    Ok(Err(error)) => tracing::warn!(%error, version, "no {PLURAL} yet"),
                    Err(_) => tracing::warn!(version, "no answer from the API server"),
                }
            }
            let policies = found.iter().find(|(name, _)| name == PLURAL);
            if let Some((_, version)) = policies {
                let trust_roots = found.iter().any(|(name, _)| name == ROOTS);
                if !trust_roots {
                    tracing::warn!("no {ROOTS} are served: policies that name one cannot hold");
                }
                return Served { policies: policies_in(version), trust_roots };
            }
            tokio::time::sleep(NO_RESOURCE).await;
        }
    }

    /// Everything that may change what is in force.
    fn changes(&self, resource: &ApiResource) -> BoxStream<'static, Change> {
        let policies: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let policies = events(policies, watcher::Config::default(), "policies")
            .map(|event| Change::Policy(Box::new(event)));
        let roots: Api<DynamicObject> = Api::all_with(self.client.clone(), &trust_roots());
        let roots = events(roots, watcher::Config::default(), "trust roots")
            .map(|event| Change::TrustRoot(Box::new(event)));
        let read = futures::stream::unfold(self.roots.changes(), |mut changes| async move {
            changes.changed().await.ok().map(|()| (Change::RootRead, changes))
        });
        let config: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let config =
            events(config, only, "configuration").map(|event| Change::Config(Box::new(event)));
        let secrets: Api<PartialObjectMeta<Secret>> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let secrets = events(secrets, watcher::Config::default(), "secrets")
            .filter_map(|event| ready(secret_change(event)));
        let mut clock = interval_at(Instant::now() + RESYNC, RESYNC);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let resync = futures::stream::poll_fn(move |context| {
            clock.poll_tick(context).map(|_| Some(Change::Resync))
        });
        futures::stream::select_all([
            policies.boxed(),
            roots.boxed(),
            read.boxed(),
            config.boxed(),
            secrets.boxed(),
            resync.boxed(),
        ])
        .boxed()
    }
}

const PLURAL: &str = "clusterimagepolicies";
const ROOTS: &str = "trustroots";

/// What the API server has.
struct Served {
    policies: ApiResource,
    /// Whether it knows TrustRoots, too.
    trust_roots: bool,
}

fn policies_in(version: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, version, sealgate_policy::cip::KIND);
    ApiResource::from_gvk_with_plural(&kind, PLURAL)
}

fn trust_roots() -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, ROOT_VERSION, sealgate_policy::trust_root::KIND);
    ApiResource::from_gvk_with_plural(&kind, ROOTS)
}

/// The events of a watch that is taken up again for ever.
fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    what: &'static str,
) -> impl futures::Stream<Item = watcher::Event<K>> + Send + 'static
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config)
        .default_backoff()
        .inspect_err(move |error| tracing::warn!(%error, "watching {what} was interrupted"))
        .filter_map(|event| ready(event.ok()))
}

fn secret_change(event: watcher::Event<PartialObjectMeta<Secret>>) -> Option<Change> {
    match event {
        watcher::Event::Apply(secret) | watcher::Event::Delete(secret) => {
            Some(Change::Secret(secret.metadata.name?))
        }
        watcher::Event::InitDone => Some(Change::Resync),
        watcher::Event::Init | watcher::Event::InitApply(_) => None,
    }
}

/// Many events come at once, above all at the start; one compilation serves them all.
fn take_what_waits(changes: &mut BoxStream<'static, Change>, book: &mut Book) {
    for _ in 0..BURST {
        match changes.next().now_or_never() {
            Some(Some(change)) => book.take(change),
            _ => return,
        }
    }
}

async fn read_secrets(secrets: &ClusterSecrets, namespace: &str, book: &mut Book) {
    let names = book.secrets_to_read();
    let answers: Vec<_> = futures::stream::iter(names)
        .map(|name| async move {
            let answer = secrets.secret(namespace, &name).await;
            (name, answer)
        })
        .buffer_unordered(TOGETHER)
        .collect()
        .await;
    for (name, answer) in answers {
        book.take_secret(name, answer);
    }
}

fn publish(sender: &watch::Sender<Option<Arc<Policies>>>, policies: Policies) {
    sender.send_if_modified(|current| {
        let same = current.as_ref().is_some_and(|current| {
            current.set.fingerprint() == policies.set.fingerprint()
                && current.config == policies.config
                && current.context == policies.context
                && current.problems == policies.problems
        });
        if !same {
            tracing::info!(rules = policies.set.rules().len(), "policies are in force");
            *current = Some(Arc::new(policies));
        }
        !same
    });
}
