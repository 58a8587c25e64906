//! The policies of a cluster, watched: ClusterImagePolicies, TrustRoots, the Secrets that they
//! name, and the ConfigMap `config-policy-controller` become one [`PolicyState`] that is always
//! current. TUF repositories of TrustRoots are read elsewhere, behind [`Roots`].
//!
//! ```text
//!   API server --watch--> index (objects) --resolver--> channel (policies in force)
//!        ^                                       |
//!        +------------ status, events <----------+
//! ```
//!
//! Nothing is dropped because of an error: a watch that breaks is taken up again and the last set
//! stays; a Secret that cannot be read keeps its last good key; a policy that cannot be compiled
//! becomes a rule that never holds. Only an object that the cluster reports as deleted is removed.

use std::sync::Arc;
use std::time::Duration;

use futures::future::ready;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use sealgate_engine::ports::Clock;
use sealgate_engine::resolve::Resolver;
use sealgate_engine::roots::Roots;
use sealgate_policy::assemble::{Assembly, PolicySource, PolicyState};
use sealgate_policy::select::NoMatch;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::cluster::{ClusterSecrets, TIMEOUT};
use crate::crd::{GROUP, POLICY_VERSIONS, ROOT_VERSION};
use crate::install::{CONFIG_MAP, PullSecretRights};

mod index;
mod status;

use index::Index;
use status::StatusWriter;

/// The interval at which the Secrets that policies name are read again without an event.
const RESYNC: Duration = Duration::from_secs(60);
/// The wait before looking again for custom resources that are not installed.
const NO_RESOURCE: Duration = Duration::from_secs(5);
/// The most events that are taken in before the policies are compiled again.
const BURST: usize = 1_000;

/// Watches a cluster's policies.
pub struct PolicyWatch {
    /// The API server.
    pub client: Client,
    /// The gate's own namespace, where `secretRef`s and the configuration are.
    pub namespace: String,
    /// The pod's name, as the reporter of status and events.
    pub instance: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The trust roots that policies name; receives the TrustRoot objects.
    pub roots: Arc<Roots>,
    /// `--no-match-policy`, which comes before the ConfigMap's entry.
    pub no_match: Option<NoMatch>,
}

/// A change that may change the policies in force.
enum Change {
    Policy(Box<watcher::Event<DynamicObject>>),
    TrustRoot(Box<watcher::Event<DynamicObject>>),
    /// A TrustRoot's repository was read in the background.
    RootRead,
    Config(Box<watcher::Event<ConfigMap>>),
    /// A Secret of this name was written or deleted.
    Secret(String),
    /// All Secrets must be read again.
    Resync,
}

/// The objects, and the contents of their dependencies.
struct Known {
    index: Index,
    resolver: Resolver,
    /// The warnings about the configuration that are in the log already.
    logged: Vec<String>,
}

impl PolicyWatch {
    /// Starts to watch. The task ends when all receivers are dropped. Errors are logged and tried
    /// again, with a growing wait. The state has no policies until everything was read once.
    pub fn start(self) -> watch::Receiver<PolicyState> {
        let waiting = "the cluster's policies have not been read yet";
        let waiting = PolicyState::waiting(PolicySource::Cluster, waiting);
        let (sender, receiver) = watch::channel(waiting);
        tokio::spawn(self.run(sender));
        receiver
    }

    async fn run(self, sender: watch::Sender<PolicyState>) {
        let served = tokio::select! {
            () = sender.closed() => return,
            served = self.served() => served,
        };
        let mut policy_writer = self.writer(&served.policies);
        let mut root_writer = self.writer(&trust_roots());
        let mut known = self.nothing_known();
        if !served.trust_roots {
            known.index.expect_no_trust_roots();
        }
        let mut changes = self.changes(&served.policies);
        loop {
            let first = tokio::select! {
                () = sender.closed() => return,
                Some(change) = changes.next() => change,
            };
            let burst = burst(first, &mut changes);
            let Some(((), applied)) = blocking(known, |known| known.apply(burst)).await else {
                return;
            };
            known = applied;
            if !known.index.is_complete() {
                continue;
            }
            let objects = known.index.objects(&self.namespace, self.no_match);
            known.resolver.fetch(&objects).await;
            let (namespace, no_match) = (self.namespace.clone(), self.no_match);
            let compile = move |known: &mut Known| known.compile(&namespace, no_match);
            let Some((assembly, compiled)) = blocking(known, compile).await else { return };
            known = compiled;
            log_new(&mut known.logged, &assembly.config_warnings);
            publish(&sender, &assembly);
            policy_writer.write(known.index.policy_reports(assembly.policies));
            root_writer.write(known.index.trust_root_reports(assembly.trust_roots));
        }
    }

    fn nothing_known(&self) -> Known {
        let no_secrets = PullSecretRights::Nowhere;
        let secrets = ClusterSecrets::new(self.client.clone(), no_secrets, Arc::clone(&self.clock));
        let resolver = Resolver::new(Arc::new(secrets), Arc::clone(&self.roots));
        Known { index: Index::default(), resolver, logged: Vec::new() }
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
                    Err(_) => tracing::warn!(version, "no response from the API server"),
                }
            }
            let policies = found.iter().find(|(name, _)| name == PLURAL);
            if let Some((_, version)) = policies {
                let trust_roots = found.iter().any(|(name, _)| name == ROOTS);
                if !trust_roots {
                    tracing::warn!(
                        "the API server serves no {ROOTS}: policies that name one cannot pass"
                    );
                }
                return Served { policies: policies_in(version), trust_roots };
            }
            tokio::time::sleep(NO_RESOURCE).await;
        }
    }

    /// The changes that may change the policies in force.
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

/// The resources that the API server serves.
struct Served {
    policies: ApiResource,
    /// True if TrustRoots are served, too.
    trust_roots: bool,
}

fn policies_in(version: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, version, sealgate_policy::cip::KIND);
    ApiResource::from_gvk_with_plural(&kind, PLURAL)
}

fn trust_roots() -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, ROOT_VERSION, sealgate_policy::cip::trust_root::KIND);
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
fn burst(first: Change, changes: &mut BoxStream<'static, Change>) -> Vec<Change> {
    let more = std::iter::from_fn(|| changes.next().now_or_never().flatten());
    std::iter::once(first).chain(more.take(BURST)).collect()
}

/// Runs `work`, which parses or compiles objects of other people, apart from the threads that
/// answer reviews. `None` if it panicked, which is a bug: then nothing is watched any more, and the
/// receiver learns that the sender is gone.
async fn blocking<T: Send + 'static>(
    mut known: Known,
    work: impl FnOnce(&mut Known) -> T + Send + 'static,
) -> Option<(T, Known)> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut known);
        (result, known)
    });
    match done.await {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::error!(%error, "compiling the cluster's policies failed");
            None
        }
    }
}

impl Known {
    fn compile(&mut self, namespace: &str, no_match: Option<NoMatch>) -> Assembly {
        let Self { index, resolver, .. } = self;
        resolver.compile(&index.objects(namespace, no_match))
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.apply_one(change);
        }
    }

    fn apply_one(&mut self, change: Change) {
        match change {
            Change::Policy(event) => self.index.apply_policy(*event),
            Change::TrustRoot(event) => self.index.apply_trust_root(*event),
            Change::RootRead => {}
            Change::Config(event) => self.index.apply_config(*event),
            Change::Secret(name) => self.resolver.secret_changed(&name),
            Change::Resync => self.resolver.all_secrets_changed(),
        }
    }
}

/// Logs the warnings that are not in the log yet.
fn log_new(logged: &mut Vec<String>, warnings: &[String]) {
    for warning in warnings.iter().filter(|warning| !logged.contains(warning)) {
        tracing::warn!("{warning}");
    }
    *logged = warnings.to_vec();
}

/// Publishes what `assembly` says, unless it is what was published last.
fn publish(sender: &watch::Sender<PolicyState>, assembly: &Assembly) {
    let Assembly { set, config, problems, .. } = assembly;
    sender.send_if_modified(|current| {
        let same =
            current.set.as_ref().is_some_and(|current| current.fingerprint() == set.fingerprint())
                && current.config == *config
                && current.problems == *problems;
        if !same {
            tracing::info!(rules = set.rules().len(), "policies are in force");
            *current = PolicyState {
                set: Some(Arc::clone(set)),
                config: config.clone(),
                problems: problems.clone(),
                source: PolicySource::Cluster,
            };
        }
        !same
    });
}
