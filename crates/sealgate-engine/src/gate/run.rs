//! One admission under way: resolves the tags of its images and gathers the facts about them, with
//! the pull secrets of its workload, until its deadline, and with a lease of the gate's budget for
//! all that memory does not have.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::StreamExt;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Reference;
use sealgate_policy::facts::Facts;
use sealgate_policy::image_state::{
    ImageState, PinnedImage, Resolution, ResolvedTags, new_images, relabelled_images,
    restarted_images, tags_of_new_images, tags_of_relabelled_images, tags_of_restarted_images,
    tags_to_pin,
};
use sealgate_policy::rule::Criterion;
use sealgate_policy::select::PolicySet;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::leased_registry::LeasedRegistry;
use super::{Gate, GatePorts, RESERVE};
use crate::admit::{ImageUse, Workload};
use crate::budget::Lease;
use crate::cache::{CredentialsKey, GatherResult, GatheringKey};
use crate::concurrent;
use crate::evaluate::{ImageEvaluation, Opened, too_slow};
use crate::failure::Failure;
use crate::pin::{self, Pinned};
use crate::ports::RegistryRead;
use crate::record::EvaluatedImage;

/// The time between two looks for the lease that another image of the object may take.
const LEASE_LOOK: Duration = Duration::from_millis(200);
/// The most images of one object that are under way at a time.
const CONCURRENT_IMAGES: usize = 8;
/// The largest number of gatherings that one caller takes part in.
const ATTEMPTS: usize = 3;

/// The lease of an admission, taken when the first of its images needs more than memory.
pub(super) struct AdmissionLease<'a> {
    gate: &'a Gate,
    workload: &'a Workload,
    deadline: Instant,
    lease: OnceCell<Result<Lease, Fault>>,
}

/// One admission under way.
pub(super) struct AdmissionRun<'a> {
    gate: &'a Gate,
    workload: &'a Workload,
    lease: &'a AdmissionLease<'a>,
    deadline: Instant,
    /// The registry with the workload's own pull secrets, opened when it is first needed.
    own_registry: OnceCell<Opened<Arc<dyn RegistryRead>>>,
}

impl<'a> AdmissionLease<'a> {
    pub(super) fn new(gate: &'a Gate, workload: &'a Workload, deadline: Instant) -> Self {
        Self { gate, workload, deadline, lease: OnceCell::new() }
    }

    async fn get(&self) -> Result<&Lease, Fault> {
        let Self { gate, workload, deadline, lease } = self;
        let begin = || {
            let size = workload.approximate_size();
            gate.budget.begin(&workload.scope.namespace, size, *deadline)
        };
        lease.get_or_init(begin).await.as_ref().map_err(Fault::clone)
    }

    /// Waits until the lease is revoked, if there is one by then.
    async fn revoked(&self) -> Fault {
        loop {
            if let Some(Ok(lease)) = self.lease.get() {
                return lease.revoked().await;
            }
            tokio::time::sleep(LEASE_LOOK).await;
        }
    }

    /// The result of `work`, which is given up when the lease is revoked.
    async fn during<'s, T, Work: Future<Output = T>>(
        &'s self,
        work: impl FnOnce(&'s Lease) -> Work,
    ) -> Result<T, Fault> {
        let lease = self.get().await?;
        tokio::select! {
            biased;
            done = work(lease) => Ok(done),
            fault = lease.revoked() => Err(fault),
        }
    }
}

impl<'a> AdmissionRun<'a> {
    pub(super) fn new(gate: &'a Gate, lease: &'a AdmissionLease<'a>, deadline: Instant) -> Self {
        let workload = lease.workload;
        Self { gate, workload, lease, deadline, own_registry: OnceCell::new() }
    }

    /// The images that must pass, with the facts about them.
    pub(super) async fn new_images(&self, policies: &PolicySet) -> Vec<EvaluatedImage> {
        let workload = self.workload;
        let (new, relabelled) = tokio::join!(
            self.resolved(tags_of_new_images(workload, policies)),
            self.resolved(tags_of_relabelled_images(workload, policies)),
        );
        let mut states = new_images(workload, policies, &new);
        states.extend(relabelled_images(workload, policies, &relabelled));
        self.evaluate(states).await
    }

    /// The images of the new pods that the object makes, with the facts about them.
    pub(super) async fn restarted_images(&self, policies: &PolicySet) -> Vec<EvaluatedImage> {
        if self.workload.restarted.is_empty() {
            return Vec::new();
        }
        let tags = tags_of_restarted_images(self.workload, policies);
        let resolved = self.resolved(tags).await;
        self.evaluate(restarted_images(self.workload, policies, &resolved)).await
    }

    /// JSON pointers and the text to write there, for each tag that can be resolved.
    pub(super) async fn pins(&self) -> Vec<(String, String)> {
        let resolved: HashMap<&str, _> =
            self.resolve(tags_to_pin(self.workload), self.deadline).await.into_iter().collect();
        let pin = |image: &ImageUse| match resolved.get(image.image.as_str()) {
            Some(Ok(reference)) => Some((image.pointer.clone(), reference.to_string())),
            _ => None,
        };
        self.workload.images.iter().filter_map(pin).collect()
    }

    async fn resolved(&self, tags: Vec<&ImageUse>) -> ResolvedTags {
        // Half of the time: the rest is for the images that are not slow to resolve.
        let now = Instant::now();
        let half = now + self.deadline.saturating_duration_since(now) / 2;
        let mut resolved = ResolvedTags::default();
        for (text, result) in self.resolve(tags, half).await {
            resolved.insert(text, result);
        }
        resolved
    }

    /// The references with the digests that the tags resolve to now.
    async fn resolve<'i>(
        &self,
        tags: Vec<&'i ImageUse>,
        deadline: Instant,
    ) -> Vec<(&'i str, Result<Reference, Fault>)> {
        // By their places: a closure over borrowed texts would not be general enough for `Send`.
        let parsed = tags.iter().map(|image| image.image.parse::<Reference>().ok()).enumerate();
        let parsed = parsed.filter_map(|(place, tag)| Some((place, tag?))).collect();
        let pin = |(place, tag): (usize, Reference)| async move {
            (place, self.pin(&tag, deadline).await)
        };
        let resolved: Vec<_> =
            concurrent::unordered(parsed, CONCURRENT_IMAGES, pin).collect().await;
        let named =
            |(place, result)| tags.get(place).map(|tag: &&ImageUse| (tag.image.as_str(), result));
        resolved.into_iter().filter_map(named).collect()
    }

    /// The images with the facts about them, and the faults that kept tags from being resolved. One
    /// slow registry delays neither the facts about the images of others nor their tags.
    async fn evaluate(&self, mut states: Vec<ImageState>) -> Vec<EvaluatedImage> {
        let keys: Vec<Option<GatheringKey>> = states.iter().map(gathering_key).collect();
        let (known, causes) = tokio::join!(self.facts_about(&states, &keys), self.causes(&states));
        for (state, found) in states.iter_mut().zip(causes) {
            if let Resolution::Tag { cause: cause @ None } = &mut state.resolution {
                *cause = found;
            }
        }
        let evaluated = |(state, key): (ImageState, Option<GatheringKey>)| EvaluatedImage {
            state,
            facts: key.and_then(|key| known.get(&key).cloned()),
        };
        states.into_iter().zip(keys).map(evaluated).collect()
    }

    /// The facts about each distinct image: those in memory first, the others gathered together.
    async fn facts_about(
        &self,
        states: &[ImageState],
        keys: &[Option<GatheringKey>],
    ) -> HashMap<GatheringKey, Arc<Facts>> {
        let mut known: HashMap<GatheringKey, Arc<Facts>> = HashMap::new();
        let mut unknown: HashMap<GatheringKey, Vec<Arc<Criterion>>> = HashMap::new();
        for (state, key) in states.iter().zip(keys) {
            let Some(key) = key else { continue };
            if known.contains_key(key) || unknown.contains_key(key) {
                continue;
            }
            let criteria: Vec<_> = state.criteria_with_facts().cloned().collect();
            match self.gate.facts.passing(&key.image, &criteria).await {
                Some(facts) => drop(known.insert(key.clone(), Arc::new(facts))),
                None => drop(unknown.insert(key.clone(), criteria)),
            }
        }
        // One slow registry holds one place, not all that come after.
        let facts = |(key, criteria): (GatheringKey, Vec<_>)| async move {
            let facts = self.facts(&key, &criteria).await;
            (key, facts)
        };
        let unknown = unknown.into_iter().collect();
        let found = concurrent::unordered(unknown, CONCURRENT_IMAGES, facts);
        let mut found = std::pin::pin!(found);
        while let Some((key, facts)) = found.next().await {
            known.insert(key, facts);
        }
        known
    }

    /// For each image, the fault that kept its tag from being resolved, where a rule requires
    /// signatures.
    async fn causes(&self, states: &[ImageState]) -> Vec<Option<Fault>> {
        let is_unknown = |state: &ImageState| {
            matches!(state.resolution, Resolution::Tag { cause: None })
                && state.criteria_with_facts().next().is_some()
        };
        if !states.iter().any(is_unknown) {
            return vec![None; states.len()];
        }
        let tag = |state: &ImageState| {
            is_unknown(state).then(|| state.image.parse::<Reference>().ok()).flatten()
        };
        let cause = |tag: Option<Reference>| async move { self.why_not_pinned(&tag?).await };
        let tags = states.iter().map(tag).collect();
        concurrent::ordered(tags, CONCURRENT_IMAGES, cause).collect().await
    }

    async fn facts(&self, key: &GatheringKey, criteria: &[Arc<Criterion>]) -> Arc<Facts> {
        // The caller that gathers may have a later deadline than this one.
        let grace = self.deadline + RESERVE / 4;
        let gathered = tokio::time::timeout_at(grace, self.gather(key, criteria)).await;
        gathered.unwrap_or_else(|_| {
            Arc::new(Facts::unavailable(too_slow(key.image.repository.registry())))
        })
    }

    async fn gather(&self, key: &GatheringKey, criteria: &[Arc<Criterion>]) -> Arc<Facts> {
        let mut attempts = 0;
        loop {
            let evaluation = ImageEvaluation {
                image: &key.image,
                criteria,
                limits: &self.gate.limits,
                now: self.gate.ports.clock.now().as_second(),
            };
            // Only the caller that gathers needs a lease: the others wait for its facts.
            let gather = self.lease.during(|lease| {
                evaluation.evaluate_until_decided(lease, self.deadline, |secrets| {
                    self.open(lease, secrets)
                })
            });
            let gather = async { gather.await.unwrap_or_else(Facts::unavailable) };
            attempts += 1;
            let credentials = self.credentials_key();
            let gathered = self.gate.facts.get(key.clone(), &credentials, criteria, gather);
            let gathered = tokio::select! {
                biased;
                gathered = gathered => gathered,
                // While another caller gathers, too: the lease ends with this admission only.
                busy = self.lease.revoked() => return Arc::new(Facts::unavailable(busy)),
            };
            match gathered {
                GatherResult::Final(facts) | GatherResult::OwnFault(facts) => return facts,
                // The other caller ran out of time, or of its share, and this one has not. Any other
                // fault would be the same for this caller, so the registry is not contacted again.
                GatherResult::OthersFault(facts) => {
                    let too_late = Instant::now() >= self.deadline || attempts >= ATTEMPTS;
                    let others = |kind| matches!(kind, FaultKind::Timeout | FaultKind::Busy);
                    if too_late || !facts.faults().any(|fault| others(fault.kind)) {
                        return facts;
                    }
                }
            }
        }
    }

    /// The fault that the mutating webhook met; asked again if it is not in memory.
    async fn why_not_pinned(&self, tag: &Reference) -> Option<Fault> {
        match self.gate.unpinned.get(&self.unpinned_key(tag)).await {
            Some(fault) => Some(fault),
            None => self.pin(tag, self.deadline).await.err(),
        }
    }

    fn unpinned_key(&self, tag: &Reference) -> (Digest, String) {
        (self.credentials_key().fingerprint(), tag.original().to_owned())
    }

    /// The tag with the digest that it resolves to now. A fault is kept for the denial.
    async fn pin(&self, tag: &Reference, deadline: Instant) -> Result<Reference, Fault> {
        let resolve = self.lease.during(|lease| self.resolve_tag(lease, tag));
        let found = match tokio::time::timeout_at(deadline, resolve).await {
            Ok(found) => found.flatten(),
            Err(_) => Err(too_slow(tag.repository().registry())),
        };
        let key = self.unpinned_key(tag);
        match found {
            Ok(pinned) => {
                self.gate.unpinned.invalidate(&key).await;
                Ok(pinned.reference)
            }
            Err(fault) => {
                tracing::warn!(image = tag.original(), %fault, "tag not resolved");
                self.gate.unpinned.insert(key, fault.clone()).await;
                Err(fault)
            }
        }
    }

    async fn resolve_tag(&self, lease: &Lease, tag: &Reference) -> Result<Pinned, Fault> {
        let Opened { registry, secrets_fault } = self.open(lease, Vec::new()).await;
        let found = pin::resolve(&*registry, tag).await;
        let fault = |failure| secrets_fault.unwrap_or_else(|| not_pinned(tag, failure));
        found.map_err(fault)
    }

    fn credentials_key(&self) -> CredentialsKey<'_> {
        CredentialsKey {
            namespace: &self.workload.scope.namespace,
            service_account: &self.workload.scope.service_account,
            pull_secrets: &self.workload.pull_secrets,
        }
    }

    /// A registry with the pull secrets of the pod, and `more` of its namespace.
    async fn open(&self, lease: &Lease, more: Vec<String>) -> Opened<Arc<dyn RegistryRead>> {
        match more.is_empty() {
            true => {
                let open = || self.open_with(lease, Vec::new());
                self.own_registry.get_or_init(open).await.clone()
            }
            false => self.open_with(lease, more).await,
        }
    }

    async fn open_with(&self, lease: &Lease, more: Vec<String>) -> Opened<Arc<dyn RegistryRead>> {
        let Workload { scope, pull_secrets, .. } = self.workload;
        let names = [pull_secrets.as_slice(), &more].concat();
        let GatePorts { secrets, registries, .. } = &self.gate.ports;
        let asked = secrets.pull_secrets(&scope.namespace, &scope.service_account, &names);
        // Half of the time: public images can then still be read.
        let now = Instant::now();
        let half = now + self.deadline.saturating_duration_since(now) / 2;
        let asked = tokio::time::timeout_at(half, asked).await;
        let (secrets, secrets_fault) =
            match asked.unwrap_or_else(|_| Err(no_secrets(&scope.namespace))) {
                Ok(secrets) => (secrets, None),
                // Public signatures can be read without; if none is found, this is why.
                Err(fault) => (Vec::new(), Some(fault)),
            };
        let registry = registries.open(&secrets, lease);
        let registry = Arc::new(LeasedRegistry { registry, lease: lease.clone() });
        Opened { registry, secrets_fault }
    }
}

/// The gathering that an image needs; none where no rule requires signatures of a digest.
fn gathering_key(state: &ImageState) -> Option<GatheringKey> {
    let image: &PinnedImage = state.pinned()?;
    let criteria: Arc<[Digest]> =
        state.criteria_with_facts().map(|criterion| criterion.fingerprint.clone()).collect();
    (!criteria.is_empty()).then(|| GatheringKey { image: image.clone(), criteria })
}

/// Names the API server as the one that was slow, not the registry, which was not asked yet.
fn no_secrets(namespace: &str) -> Fault {
    let target = format!("pull secrets in {namespace}");
    Fault::new(FaultKind::Timeout, target, "the API server gave no answer in time")
}

fn not_pinned(tag: &Reference, failure: Failure) -> Fault {
    match failure {
        Failure::Fault(fault) => fault,
        other => Fault::new(FaultKind::Missing, tag.repository().registry(), other.to_string()),
    }
}
