//! One image and the criteria that apply to it: gathers the candidates, verifies each against
//! every requirement, and states the facts. The only place where evidence from a registry is
//! verified; `sign/verifier.rs` verifies signatures before they are stored.
//!
//! Each place is read once for all requirements. A place that cannot be read, in time or at all,
//! is a fault for each requirement whose signatures are looked for there. At the gate, each
//! verification waits for its turn, so that the evidence of one image delays no other's.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::evidence::{Evidence, Origin};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Repository;
use sealgate_core::reject::Reject;
use sealgate_core::verify::{
    ImageSignatureRequirement, Requirement, SubjectRequirement, Verified, verify,
};
use sealgate_policy::facts::{Candidates, Facts, VerifiedFact};
use sealgate_policy::image_state::PinnedImage;
use sealgate_policy::judge::{Verdict, judge};
use sealgate_policy::rule::{Criterion, RequirementId, SignatureRequirement};
use tokio::time::Instant;

use crate::budget::Lease;
use crate::gather::{Gathered, Gathering};
use crate::limits::Limits;
use crate::ports::RegistryRead;

/// An image, the criteria that it is judged by, and the bounds of the evaluation.
pub(crate) struct ImageEvaluation<'a> {
    pub(crate) image: &'a PinnedImage,
    pub(crate) criteria: &'a [Arc<Criterion>],
    pub(crate) limits: &'a Limits,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// A candidate with the result of its verification.
pub(crate) struct CheckedCandidate {
    pub(crate) origin: Origin,
    pub(crate) result: Result<Verified, Reject>,
}

/// A registry with the credentials for one place.
#[derive(Clone)]
pub(crate) struct Opened<R> {
    pub(crate) registry: R,
    /// The fault that kept the pull secrets from being read.
    pub(crate) secrets_fault: Option<Fault>,
}

/// A repository where signatures are looked for, and the secrets that open it.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    repository: Repository,
    tag_prefix: String,
    pull_secrets: Vec<String>,
    search: Search,
}

/// The signatures that are looked for in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Referrers and the legacy tag.
    All,
    /// Referrers.
    Referrers,
}

/// The turns and the time of an image's verifications.
struct Turns<'a> {
    lease: &'a Lease,
    limit: Duration,
    spent_micros: AtomicU64,
}

/// The places to read, and the requirements whose signatures are looked for there.
struct Plan {
    places: Vec<Place>,
    requirements: Vec<Planned>,
}

/// A requirement, with the indexes of its places.
struct Planned {
    id: RequirementId,
    requirement: Arc<SignatureRequirement>,
    places: Vec<usize>,
}

impl ImageEvaluation<'_> {
    /// Evaluates until every criterion holds or everything was read: the facts. `open` is called
    /// once for each place, with the names of its pull secrets. A place that is not read by
    /// `deadline` is a fault. Verifications wait for their turn by `lease`.
    pub(crate) async fn evaluate_until_decided<R, Open>(
        &self,
        lease: &Lease,
        deadline: Instant,
        open: impl Fn(Vec<String>) -> Open + Sync,
    ) -> Facts
    where
        R: Deref<Target = dyn RegistryRead> + Send + Sync,
        Open: Future<Output = Opened<R>> + Send,
    {
        let plan = Plan::new(self.image, self.criteria);
        // The searches run concurrently in one task; the lock is never held across an await.
        let facts = Mutex::new(plan.no_facts());
        let turns =
            Turns { lease, limit: self.limits.verification, spent_micros: AtomicU64::new(0) };
        let mut searches = (0..plan.places.len())
            .map(async |place| {
                (place, self.search(&plan, place, deadline, &turns, &open, &facts).await)
            })
            .collect::<FuturesUnordered<_>>();
        let mut read = BTreeSet::new();
        while let Some((place, decided)) = searches.next().await {
            if decided {
                break;
            }
            read.insert(place);
        }
        drop(searches);
        let mut facts = facts.into_inner().unwrap_or_else(PoisonError::into_inner);
        for planned in &plan.requirements {
            if !planned.places.iter().all(|place| read.contains(place)) {
                facts.set_incomplete(&planned.id);
            }
        }
        facts
    }

    /// Evaluates everything: the facts, and the candidates themselves. The candidates are in the
    /// order of their lists, each once, though it be found in several places.
    pub(crate) async fn evaluate_all(
        &self,
        registry: &dyn RegistryRead,
    ) -> (Facts, Vec<CheckedCandidate>) {
        let plan = Plan::new(self.image, self.criteria);
        let read = plan.places.iter().map(|place| self.read(registry, place));
        let gathered: Vec<Gathered> = futures::future::join_all(read).await;
        let (mut facts, mut candidates) = (plan.no_facts(), Vec::new());
        for planned in &plan.requirements {
            let places = planned.places.iter().filter_map(|place| gathered.get(*place));
            let gathered = Gathered::distinct(places);
            for fault in gathered.faults {
                facts.candidates_mut(&planned.id).push_fault(fault.clone());
            }
            for evidence in gathered.evidence {
                let result = self.verify(evidence, &planned.requirement);
                record(facts.candidates_mut(&planned.id), evidence, &result);
                candidates.push(CheckedCandidate { origin: evidence.origin().clone(), result });
            }
        }
        (facts, candidates)
    }

    async fn read(&self, registry: &dyn RegistryRead, place: &Place) -> Gathered {
        let gathering = self.gathering(registry, place);
        match place.search {
            Search::All => gathering.all().await,
            Search::Referrers => gathering.bundles().await,
        }
    }

    fn gathering<'r>(&'r self, registry: &'r dyn RegistryRead, place: &'r Place) -> Gathering<'r> {
        let Place { repository, tag_prefix, .. } = place;
        Gathering::new(registry, repository, &self.image.digest, tag_prefix, self.limits)
    }

    /// Reads one place; true as soon as every criterion holds.
    async fn search<R, Open>(
        &self,
        plan: &Plan,
        place: usize,
        deadline: Instant,
        turns: &Turns<'_>,
        open: impl Fn(Vec<String>) -> Open + Sync,
        facts: &Mutex<Facts>,
    ) -> bool
    where
        R: Deref<Target = dyn RegistryRead> + Send + Sync,
        Open: Future<Output = Opened<R>> + Send,
    {
        let Some(location) = plan.places.get(place) else { return false };
        let (decided, mut faults, mut secrets_fault) = (AtomicBool::new(false), Vec::new(), None);
        let work = async {
            let opened = open(location.pull_secrets.clone()).await;
            secrets_fault = opened.secrets_fault;
            let look = |evidence: Evidence| {
                let decided = &decided;
                let evidence = Arc::new(evidence);
                async move {
                    let enough = self.look(&evidence, plan, place, turns, facts).await;
                    decided.store(enough, Ordering::Relaxed);
                    enough
                }
            };
            let gathering = self.gathering(&*opened.registry, location).with_lease(turns.lease);
            match location.search {
                Search::All => gathering.bundles_first(&mut faults, look).await,
                Search::Referrers => gathering.referrers_only(&mut faults, look).await,
            }
        };
        // A fault from before the deadline says more than the deadline itself.
        let in_time = tokio::time::timeout_at(deadline, work).await.is_ok();
        faults.extend(secrets_fault);
        if !in_time {
            faults.push(too_slow(location.repository.registry()));
        }
        let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
        for planned in plan.looking_in(place) {
            faults
                .iter()
                .for_each(|fault| facts.candidates_mut(&planned.id).push_fault(fault.clone()));
        }
        decided.into_inner()
    }

    /// Verifies one candidate against every requirement whose signatures are looked for in `place`;
    /// true if every criterion holds then.
    async fn look(
        &self,
        evidence: &Arc<Evidence>,
        plan: &Plan,
        place: usize,
        turns: &Turns<'_>,
        facts: &Mutex<Facts>,
    ) -> bool {
        let mut verified = false;
        for planned in plan.looking_in(place) {
            let result = turns.take(evidence.size(), self.verification(evidence, planned)).await;
            let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            let candidates = facts.candidates_mut(&planned.id);
            match result {
                Ok(result) => {
                    verified |= result.is_ok();
                    record(candidates, evidence, &result);
                }
                Err(fault) => candidates.push_fault(fault),
            }
        }
        if verified {
            let facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
            if all_hold(self.criteria, &facts) {
                return true;
            }
        }
        // Whoever waits for this thread goes first.
        tokio::task::yield_now().await;
        false
    }

    /// The verification of one candidate against one requirement, for another thread.
    fn verification(
        &self,
        evidence: &Arc<Evidence>,
        planned: &Planned,
    ) -> impl FnOnce() -> Result<Verified, Reject> + Send + use<> {
        let (evidence, requirement) = (Arc::clone(evidence), Arc::clone(&planned.requirement));
        let (digest, now) = (self.image.digest.clone(), self.now);
        move || verify_signature(&evidence, &requirement, &digest, now)
    }

    fn verify(
        &self,
        evidence: &Evidence,
        requirement: &SignatureRequirement,
    ) -> Result<Verified, Reject> {
        verify_signature(evidence, requirement, &self.image.digest, self.now)
    }
}

/// Verifies one candidate against one requirement.
fn verify_signature(
    evidence: &Evidence,
    requirement: &SignatureRequirement,
    digest: &Digest,
    now: i64,
) -> Result<Verified, Reject> {
    let SignatureRequirement { by, trust_config, annotations, claims, .. } = requirement;
    let wanted = ImageSignatureRequirement {
        digest: digest.clone(),
        annotations: annotations.clone(),
        claims: *claims,
    };
    let subject = SubjectRequirement::ImageSignature(&wanted);
    let requirement = Requirement { authority: by, subject };
    verify(evidence, &requirement, &trust_config.context(by, now))
}

/// States what the verification of a candidate found.
fn record(candidates: &mut Candidates, evidence: &Evidence, result: &Result<Verified, Reject>) {
    let origin = evidence.origin().clone();
    match result {
        Ok(verified) => candidates.push_verified(VerifiedFact::new(origin, verified)),
        Err(reason) => candidates.push_rejected(origin, reason),
    }
}

impl Turns<'_> {
    /// Waits for the turn to verify evidence of `size` bytes, and does.
    ///
    /// # Errors
    /// `Busy` if the turn does not come, or if the image has had its time.
    async fn take<T: Send + 'static>(
        &self,
        size: usize,
        verify: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        if Duration::from_micros(self.spent_micros.load(Ordering::Relaxed)) >= self.limit {
            let limit = self.limit.as_secs_f32();
            let detail = format!("verifying the signatures of one image takes more than {limit} s");
            return Err(Fault::new(FaultKind::Busy, "the gate is busy", detail));
        }
        let timed = move || {
            let start = Instant::now();
            (verify(), u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
        };
        let (result, micros) = self.lease.verify(size, timed).await?;
        self.spent_micros.fetch_add(micros, Ordering::Relaxed);
        Ok(result)
    }
}

impl Plan {
    fn new(image: &PinnedImage, criteria: &[Arc<Criterion>]) -> Self {
        let mut plan = Self { places: Vec::new(), requirements: Vec::new() };
        for signed in criteria.iter().flat_map(|criterion| criterion.need.signed()) {
            let id = signed.requirement.id();
            let Some(requirement) = signed.requirement.requirement() else { continue };
            if plan.requirements.iter().any(|planned| planned.id == *id) {
                continue;
            }
            let places = Place::of(requirement, image);
            let places = places.into_iter().map(|place| plan.place(place)).collect();
            let planned = Planned { id: id.clone(), requirement: requirement.clone(), places };
            plan.requirements.push(planned);
        }
        plan
    }

    /// The index of `place`.
    fn place(&mut self, place: Place) -> usize {
        let known = self.places.iter().position(|known| *known == place);
        known.unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }

    /// No candidates for any requirement.
    fn no_facts(&self) -> Facts {
        let mut facts = Facts::default();
        for planned in &self.requirements {
            facts.insert(planned.id.clone(), Arc::default());
        }
        facts
    }

    fn looking_in(&self, place: usize) -> impl Iterator<Item = &Planned> {
        self.requirements.iter().filter(move |planned| planned.places.contains(&place))
    }
}

impl Place {
    fn of(requirement: &SignatureRequirement, image: &PinnedImage) -> Vec<Self> {
        let source = requirement.source.clone().unwrap_or_default();
        let tag_prefix = source.tag_prefix.unwrap_or_default();
        let pull_secrets = source.pull_secrets;
        let place = |repository, search| Self {
            repository,
            tag_prefix: tag_prefix.clone(),
            pull_secrets: pull_secrets.clone(),
            search,
        };
        let beside = || image.repository.clone();
        match source.repository.filter(|repository| *repository != image.repository) {
            None => vec![place(beside(), Search::All)],
            Some(elsewhere) if source.include_image_repository => {
                vec![place(elsewhere, Search::All), place(beside(), Search::Referrers)]
            }
            Some(elsewhere) => vec![place(elsewhere, Search::All)],
        }
    }
}

/// True if every criterion holds.
pub(crate) fn all_hold(criteria: &[Arc<Criterion>], facts: &Facts) -> bool {
    criteria.iter().all(|criterion| matches!(judge(criterion, facts), Verdict::Pass { .. }))
}

/// The fault of a registry that was too slow.
pub(crate) fn too_slow(registry: &str) -> Fault {
    Fault::new(FaultKind::Timeout, registry, "no answer before the webhook's deadline")
}
