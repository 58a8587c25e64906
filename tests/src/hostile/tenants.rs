//! Hostile tenants, each of one kind and in a namespace of its own.
//!
//! A tenant keeps a few reviews under way and pauses after each answer, so that the rate follows
//! the gate and the generator stays idle while the gate works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::{Answer, Client, ClientCertificate, Tally, Version};
use super::connections::{self, Stage};
use super::registry::{Behaviour, HostileRegistry};
use super::{names, policies, reviews};

/// Kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Images on registries that never answer.
    SilentRegistries,
    /// Signature layers that stop before their end.
    StalledLayers,
    /// Referrers that stop before their end.
    StalledManifests,
    /// Missing images, each on another host, whose connection stays open for reuse.
    DistinctHosts,
    /// Images on registries whose names do not resolve.
    UnresolvedNames,
    /// Reviews of 7 MiB whose image is on a registry that never answers.
    LargeReviews,
    /// Images in repositories that do not exist.
    MadeUpPaths,
    /// Policies that are costly to compile, posted to the policy webhook.
    CostlyPolicies,
    /// Signatures and bundles that are costly to verify.
    CostlyEvidence,
    /// Connections that stop at this stage.
    Connections(Stage, usize),
    /// As many reviews on one HTTP/2 connection as it may have streams.
    ManyStreams,
}

/// Gate under attack, and the registry that the images are on.
pub struct Targets {
    /// Port of the gate.
    pub port: u16,
    /// Certificate of the API server, through which tenants create their pods. Who reaches the port
    /// directly has none.
    certificate: Option<ClientCertificate>,
    /// Registry of the hostile images.
    pub registry: HostileRegistry,
    answers: Mutex<Tally>,
    count: AtomicU64,
}

/// Reviews of one tenant.
struct Load {
    /// Number under way at once.
    at_once: usize,
    /// Pause after an answer.
    pause: Duration,
}

/// Fifty tenants of all kinds.
pub const FIFTY: [(Kind, usize); 14] = [
    (Kind::SilentRegistries, 6),
    (Kind::StalledLayers, 5),
    (Kind::StalledManifests, 5),
    (Kind::DistinctHosts, 6),
    (Kind::UnresolvedNames, 5),
    (Kind::LargeReviews, 4),
    (Kind::MadeUpPaths, 4),
    (Kind::CostlyPolicies, 4),
    (Kind::CostlyEvidence, 4),
    (Kind::Connections(Stage::Idle, 300), 2),
    (Kind::Connections(Stage::Handshake, 150), 1),
    (Kind::Connections(Stage::Headers, 150), 1),
    (Kind::Connections(Stage::Body, 100), 1),
    (Kind::ManyStreams, 2),
];

/// The tenants of [`FIFTY`] whose kind has one of these names, see [`Kind::name`]; all if there are
/// no names.
pub fn fifty(names: &[String]) -> anyhow::Result<Vec<(Kind, usize)>> {
    for name in names {
        let known = FIFTY.iter().any(|(kind, _)| kind.name() == name);
        anyhow::ensure!(
            known,
            "{name:?} is not one of {}",
            FIFTY.map(|(kind, _)| kind.name()).join(", ")
        );
    }
    let chosen = |kind: Kind| names.is_empty() || names.iter().any(|name| name == kind.name());
    Ok(FIFTY.into_iter().filter(|(kind, _)| chosen(*kind)).collect())
}

/// Size of the largest review that the gate accepts, with some space for its other fields.
pub const LARGE_REVIEW: usize = (7 << 20) - 4096;
/// Streams of one HTTP/2 connection.
const STREAMS: usize = 250;
/// Hosts that are not those of [`Kind::DistinctHosts`], which have one for each image.
const HOSTS: u64 = 16;

static COSTLY_POLICIES: LazyLock<[String; 2]> =
    LazyLock::new(|| [policies::expressions(), policies::globs()]);

impl Targets {
    /// The gate on this port, and a new registry.
    pub async fn new(
        port: u16,
        certificate: Option<ClientCertificate>,
    ) -> anyhow::Result<Arc<Self>> {
        let registry = HostileRegistry::start().await?;
        Ok(Arc::new(Self {
            port,
            certificate,
            registry,
            answers: Mutex::default(),
            count: AtomicU64::new(0),
        }))
    }

    /// Answers of the gate to hostile reviews so far.
    pub fn answers(&self) -> Tally {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pod of so many new images.
    pub fn pod(&self, namespace: &str, behaviour: Behaviour, images: usize) -> String {
        self.pod_of(namespace, images, |number| {
            self.registry.image(behaviour, (number % HOSTS) as u32, number)
        })
    }

    /// Pod of so many new images, all on one host.
    pub fn pod_of_host(&self, namespace: &str, behaviour: Behaviour, images: usize) -> String {
        self.pod_of(namespace, images, |number| self.registry.image(behaviour, 0, number))
    }

    /// Pod of so many new images, each on a host of its own, where it is missing.
    pub fn pod_of_hosts(&self, namespace: &str, images: usize) -> String {
        self.pod_of(namespace, images, |number| {
            self.registry.image(Behaviour::Missing, HOSTS as u32 + number as u32, number)
        })
    }

    /// Pod of so many new images, each in a repository of its own that does not exist.
    pub fn pod_of_paths(&self, namespace: &str, images: usize) -> String {
        self.pod_of(namespace, images, |number| {
            self.registry.image_in_own_repository(Behaviour::Missing, 0, number)
        })
    }

    /// Pod of so many new images on registries whose names do not resolve.
    pub fn pod_of_names(&self, namespace: &str, images: usize) -> String {
        self.pod_of(namespace, images, names::image)
    }

    /// Pod of one image on a registry that never answers, in a review of about `bytes`.
    pub fn large_pod(&self, namespace: &str, bytes: usize) -> String {
        let number = self.next();
        let image = self.registry.image(Behaviour::Silent, (number % HOSTS) as u32, number);
        reviews::pod_of_size(namespace, &image, bytes)
    }

    /// Counts an answer to a hostile review.
    pub fn count(&self, answer: &Answer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).count(answer);
    }

    fn pod_of(&self, namespace: &str, images: usize, image: impl Fn(u64) -> String) -> String {
        reviews::pod(namespace, (0..images).map(|_| image(self.next())))
    }

    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends reviews until the task is dropped. `review` is called for each.
    async fn send(
        self: &Arc<Self>,
        client: Client,
        path: &'static str,
        load: Load,
        review: impl Fn(&Self, usize) -> String + Clone + Send + 'static,
    ) {
        let mut loops = JoinSet::new();
        for first in 0..load.at_once {
            let (targets, client, review) = (Arc::clone(self), client.clone(), review.clone());
            loops.spawn(async move {
                for turn in first.. {
                    let answer = client.post(path, review(&targets, turn)).await;
                    targets.count(&answer);
                    tokio::time::sleep(load.pause).await;
                }
            });
        }
        while loops.join_next().await.is_some() {}
    }
}

/// Tenants of these kinds, until the task is dropped; they begin within `ramp`.
pub async fn run(
    targets: Arc<Targets>,
    kinds: &[(Kind, usize)],
    ramp: Duration,
) -> anyhow::Result<()> {
    LazyLock::force(&COSTLY_POLICIES);
    let mut tenants = JoinSet::new();
    let all = kinds.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
    let total = kinds.iter().map(|(_, count)| count).sum::<usize>();
    for (number, kind) in all.enumerate() {
        tenants.spawn(tenant(Arc::clone(&targets), kind, number));
        tokio::time::sleep(ramp / total as u32).await;
    }
    while let Some(ended) = tenants.join_next().await {
        ended??;
    }
    Ok(())
}

async fn tenant(targets: Arc<Targets>, kind: Kind, number: usize) -> anyhow::Result<()> {
    if let Kind::Connections(stage, count) = kind {
        return connections::keep(targets.port, stage, count).await;
    }
    let certificate = targets.certificate.as_ref();
    let client = match kind {
        Kind::ManyStreams => Client::new(targets.port, Version::Http2),
        Kind::CostlyPolicies => Client::new(targets.port, Version::Http1),
        _ => Client::presenting(certificate, targets.port, Version::Http1),
    }?;
    let namespace = format!("hostile-{number}");
    let path = if kind == Kind::CostlyPolicies { "/validate-policies" } else { "/validate" };
    let load = kind.load();
    let review = move |targets: &Targets, turn: usize| kind.review(targets, &namespace, turn);
    targets.send(client, path, load, review).await;
    Ok(())
}

impl Kind {
    /// Name in commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::SilentRegistries => "silent-registries",
            Self::StalledLayers => "stalled-layers",
            Self::StalledManifests => "stalled-manifests",
            Self::DistinctHosts => "distinct-hosts",
            Self::UnresolvedNames => "unresolved-names",
            Self::LargeReviews => "large-reviews",
            Self::MadeUpPaths => "made-up-paths",
            Self::CostlyPolicies => "costly-policies",
            Self::CostlyEvidence => "costly-evidence",
            Self::Connections(..) => "connections",
            Self::ManyStreams => "many-streams",
        }
    }

    fn load(self) -> Load {
        let load = |at_once, millis| Load { at_once, pause: Duration::from_millis(millis) };
        match self {
            Self::SilentRegistries => load(4, 100),
            Self::StalledLayers | Self::StalledManifests => load(2, 200),
            Self::UnresolvedNames => load(16, 200),
            Self::LargeReviews => load(8, 1000),
            Self::DistinctHosts | Self::MadeUpPaths => load(2, 1000),
            Self::CostlyPolicies | Self::CostlyEvidence => load(2, 1000),
            Self::ManyStreams => load(STREAMS, 1000),
            Self::Connections(..) => load(0, 0),
        }
    }

    fn review(self, targets: &Targets, namespace: &str, turn: usize) -> String {
        let of = |behaviours: &[Behaviour], images| {
            targets.pod(namespace, behaviours[turn % behaviours.len()], images)
        };
        match self {
            Self::SilentRegistries => of(&[Behaviour::Silent], 8),
            Self::StalledLayers => of(&[Behaviour::StalledLayer, Behaviour::StalledLayers], 8),
            Self::StalledManifests => of(&[Behaviour::StalledManifests], 8),
            Self::DistinctHosts => targets.pod_of_hosts(namespace, 500),
            Self::UnresolvedNames => targets.pod_of_names(namespace, 70),
            Self::LargeReviews => targets.large_pod(namespace, LARGE_REVIEW),
            Self::MadeUpPaths => targets.pod_of_paths(namespace, 1000),
            Self::CostlyPolicies => COSTLY_POLICIES[turn % COSTLY_POLICIES.len()].clone(),
            Self::CostlyEvidence => of(
                &[Behaviour::ManySignatures, Behaviour::LargeSignatures, Behaviour::LargeBundles],
                8,
            ),
            Self::ManyStreams | Self::Connections(..) => of(&[Behaviour::Silent], 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fifty_tenants() {
        assert_eq!(FIFTY.iter().map(|(_, count)| count).sum::<usize>(), 50);
    }

    #[test]
    fn costly_policies_are_small() {
        let [expressions, globs] = &*COSTLY_POLICIES;
        assert!(expressions.len() < 256 << 10, "{}", expressions.len());
        assert!(globs.len() < 2 << 20, "{}", globs.len());
    }
}
