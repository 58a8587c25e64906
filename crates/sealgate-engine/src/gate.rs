//! The gate: an admission in, an answer out.
//!
//! `validate` walks the whole corridor: select, gather, verify, judge, decide, record. `mutate`
//! only pins. Both end before the API server would stop waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use moka::future::Cache;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Reference;
use sealgate_policy::decide::{Decision, JudgedImage, Outcome, Ruled, decide};
use sealgate_policy::judge::{Cause, Finding, Verdict, judge};
use sealgate_policy::rule::Rule;
use sealgate_policy::scope::Scope;
use sealgate_policy::select::{NoMatch, PolicySet};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::Instrument;

use crate::admit::{Admission, Answer, ImageUse, Standing};
use crate::cache::{CacheSettings, CacheStats, Landed, Reader, Subject, VerdictCache, Verdicts};
use crate::examine::{Examination, Opened, too_slow};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::pin;
use crate::ports::{AuditSink, Clock, RegistryAccess, SecretSource};
use crate::record::DecisionRecord;

/// The most images of one object that are under way at a time.
const CONCURRENT_IMAGES: usize = 8;
/// What the webhook's own timeout is when nobody says.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left of the timeout for the way back.
const RESERVE: Duration = Duration::from_secs(1);
/// How often somebody else's lost flight is followed by one of our own.
const FLIGHTS: usize = 3;
/// How long the reason why a tag could not be pinned is remembered, from mutation to validation.
const REMEMBER_UNPINNED: Duration = Duration::from_secs(60);

/// Where the gate reads, and whom it tells.
#[derive(Clone)]
pub struct GatePorts {
    /// Opens registries.
    pub registries: Arc<dyn RegistryAccess>,
    /// Pull secrets.
    pub secrets: Arc<dyn SecretSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Takes every decision.
    pub audit: Arc<dyn AuditSink>,
}

/// The gate. One for the life of a process; policies come with each call.
pub struct Gate {
    ports: GatePorts,
    limits: Limits,
    verdicts: VerdictCache,
    /// Why a tag could not be pinned a moment ago, by namespace and image.
    unpinned: Cache<(String, String), Fault>,
}

/// An image of an admission, as far as it can be seen without asking anybody.
enum Seen<'a> {
    Unreadable(String),
    Tag(Reference),
    Pinned(Pinned<'a>),
}

/// An image with a digest, and the rules that it must satisfy.
struct Pinned<'a> {
    /// All of them.
    rules: Vec<&'a Rule>,
    /// `repository@digest`
    text: String,
    /// What must be found out for those that ask for signatures; none if no rule does.
    subject: Option<Subject>,
}

/// One admission on its way through the gate.
struct Visit<'a> {
    gate: &'a Gate,
    admission: &'a Admission,
    deadline: Instant,
    /// The registry with the workload's own pull secrets, opened when it is first needed.
    own_registry: OnceCell<Opened>,
}

impl Gate {
    /// A gate with nothing in memory.
    pub fn new(ports: GatePorts, limits: Limits, cache: &CacheSettings) -> Self {
        let unpinned = Cache::builder().max_capacity(1000).time_to_live(REMEMBER_UNPINNED).build();
        Self { ports, limits, verdicts: VerdictCache::new(cache), unpinned }
    }

    /// How often the verdict cache helped.
    pub fn cache_stats(&self) -> CacheStats {
        self.verdicts.stats()
    }

    /// Is each image what the policies want? `timeout` is how long the API server waits; the
    /// answer comes a second earlier, and names the registry that was slow.
    pub async fn validate(
        &self,
        admission: &Admission,
        policies: &PolicySet,
        timeout: Option<Duration>,
    ) -> Answer {
        let began = Instant::now();
        let visit = Visit::new(self, admission, timeout);
        let span = tracing::debug_span!("validate", uid = %admission.uid);
        let judged = visit.judge_all(policies).instrument(span).await;
        let decision = decide(&judged, policies.no_match());
        let print = policies.fingerprint().to_string();
        let now = self.ports.clock.now();
        let record = DecisionRecord::new(admission, &decision, print, now, began.elapsed());
        self.ports.audit.record(record);
        answer(decision, policies)
    }

    /// Replaces each tag by `registry/repository:tag@sha256:…`, whatever the policies say, as
    /// policy-controller does. What cannot be pinned is left, and the validating webhook says why.
    pub async fn mutate(
        &self,
        admission: &Admission,
        _policies: &PolicySet,
        timeout: Option<Duration>,
    ) -> Answer {
        let visit = Visit::new(self, admission, timeout);
        let span = tracing::debug_span!("mutate", uid = %admission.uid);
        let pins = visit.pins().instrument(span).await;
        let (warnings, audit) = (Vec::new(), BTreeMap::new());
        Answer { allowed: true, message: String::new(), warnings, audit, pins }
    }
}

impl<'a> Visit<'a> {
    fn new(gate: &'a Gate, admission: &'a Admission, timeout: Option<Duration>) -> Self {
        let deadline = Instant::now() + allowance(timeout);
        Self { gate, admission, deadline, own_registry: OnceCell::new() }
    }

    async fn judge_all(&self, policies: &PolicySet) -> Vec<JudgedImage> {
        let (uses, seen): (Vec<_>, Vec<_>) = self.see_all(policies).into_iter().unzip();
        let verdicts = self.verdicts(&seen).await;
        let mut judged = Vec::with_capacity(seen.len());
        for (image, seen) in uses.into_iter().zip(seen) {
            judged.push(self.judged(image, seen, &verdicts).await);
        }
        judged
    }

    /// The images that are new, and the standing ones that rules are newly about.
    fn see_all<'p>(&self, policies: &'p PolicySet) -> Vec<(&'a ImageUse, Seen<'p>)> {
        let Admission { images, standing, scope, .. } = self.admission;
        let new = images.iter().map(|image| (image, see(image, scope, policies)));
        let Some(Standing { labels, images }) = standing else { return new.collect() };
        let before = Scope { labels: labels.clone(), ..scope.clone() };
        let standing = images.iter().filter_map(|image| {
            see_standing(image, [&before, scope], policies).map(|seen| (image, seen))
        });
        new.chain(standing).collect()
    }

    /// The verdicts on each distinct content: known ones first, the others found out together.
    async fn verdicts(&self, seen: &[Seen<'_>]) -> HashMap<Subject, Verdicts> {
        let mut known = HashMap::new();
        let mut unknown: HashMap<&Subject, Vec<&Rule>> = HashMap::new();
        for image in seen {
            let Seen::Pinned(Pinned { rules, subject: Some(subject), .. }) = image else {
                continue;
            };
            if known.contains_key(subject) || unknown.contains_key(subject) {
                continue;
            }
            match self.gate.verdicts.pass(subject).await {
                Some(verdicts) => {
                    known.insert(subject.clone(), verdicts);
                }
                None => {
                    unknown.insert(subject, asking(rules));
                }
            }
        }
        // Collected first, as in `pins`. One slow registry holds one place, not all that come after.
        let work = unknown.iter().map(|(subject, rules)| self.find_out(subject, rules));
        let mut found = stream::iter(work.collect::<Vec<_>>()).buffer_unordered(CONCURRENT_IMAGES);
        while let Some((subject, verdicts)) = found.next().await {
            known.insert(subject, verdicts);
        }
        known
    }

    async fn find_out(&self, subject: &Subject, rules: &[&Rule]) -> (Subject, Verdicts) {
        // The leader of a flight may have a later deadline than we have.
        let grace = self.deadline + RESERVE / 4;
        let asked = tokio::time::timeout_at(grace, self.ask(subject, rules)).await;
        let verdicts = asked.unwrap_or_else(|_| {
            let fault = too_slow(subject.repository.registry());
            let verdict = |rule: &&Rule| judge(rule, &mut |_| Finding::Fault(fault.clone()));
            rules.iter().map(verdict).collect()
        });
        (subject.clone(), verdicts)
    }

    async fn ask(&self, subject: &Subject, rules: &[&Rule]) -> Verdicts {
        let mut flights = 0;
        loop {
            let examination = Examination {
                repository: &subject.repository,
                digest: &subject.digest,
                rules,
                limits: &self.gate.limits,
                deadline: self.deadline,
                now: self.gate.ports.clock.now().as_second(),
            };
            let find_out = examination.verdicts(|more| self.open(more));
            let cache = &self.gate.verdicts;
            flights += 1;
            match cache.get(subject.clone(), &self.reader(), find_out).await {
                Landed::Known(verdicts) | Landed::Faulted(verdicts) => return verdicts,
                // Their time was up; we still have time of our own. Other faults are ours, too:
                // a registry that refuses one is not asked once more for each of a hundred.
                Landed::OthersFault(verdicts) => {
                    let too_late = Instant::now() >= self.deadline || flights >= FLIGHTS;
                    if too_late || !verdicts.iter().any(timed_out) {
                        return verdicts;
                    }
                }
            }
        }
    }

    fn reader(&self) -> Reader {
        Reader {
            namespace: self.admission.scope.namespace.clone(),
            service_account: self.admission.service_account.clone(),
            pull_secrets: self.admission.pull_secrets.clone(),
        }
    }

    /// A registry with the pull secrets of the pod, and `more` of its namespace.
    async fn open(&self, more: Vec<String>) -> Opened {
        match more.is_empty() {
            true => self.own_registry.get_or_init(|| self.open_with(Vec::new())).await.clone(),
            false => self.open_with(more).await,
        }
    }

    async fn open_with(&self, more: Vec<String>) -> Opened {
        let Admission { scope, service_account, pull_secrets, .. } = self.admission;
        let names = [pull_secrets.as_slice(), &more].concat();
        let GatePorts { secrets, registries, .. } = &self.gate.ports;
        let asked = secrets.pull_secrets(&scope.namespace, service_account, &names);
        // Half of the time: what is public can then still be read.
        let now = Instant::now();
        let patience = now + self.deadline.saturating_duration_since(now) / 2;
        let asked = tokio::time::timeout_at(patience, asked).await;
        match asked.unwrap_or_else(|_| Err(no_secrets(&scope.namespace))) {
            Ok(secrets) => (registries.open(&secrets), None),
            // Public signatures can be read without; if none is found, this is why.
            Err(fault) => (registries.open(&[]), Some(fault)),
        }
    }

    async fn judged(
        &self,
        image: &ImageUse,
        seen: Seen<'_>,
        verdicts: &HashMap<Subject, Verdicts>,
    ) -> JudgedImage {
        let (subject, outcome) = match seen {
            Seen::Unreadable(error) => (String::new(), Outcome::Unreadable { error }),
            Seen::Tag(tag) => {
                (String::new(), Outcome::NotPinned { cause: self.why_not_pinned(&tag).await })
            }
            Seen::Pinned(Pinned { rules, text, subject }) => {
                let found = subject.and_then(|subject| verdicts.get(&subject));
                (text, Outcome::Ruled(ruled(&rules, found)))
            }
        };
        JudgedImage { path: image.path.clone(), image: image.image.clone(), subject, outcome }
    }

    /// What was said when the tag should have been pinned; asked again if nobody remembers.
    async fn why_not_pinned(&self, tag: &Reference) -> Option<Fault> {
        match self.gate.unpinned.get(&self.unpinned_key(tag)).await {
            Some(fault) => Some(fault),
            None => self.pin(tag).await.err(),
        }
    }

    fn unpinned_key(&self, tag: &Reference) -> (String, String) {
        (self.admission.scope.namespace.clone(), tag.original().to_owned())
    }

    /// JSON pointers and what to write there, for each tag that can be pinned.
    async fn pins(&self) -> Vec<(String, String)> {
        let images = &self.admission.images;
        let mut tags: HashMap<&str, Reference> = HashMap::new();
        for image in images {
            if let Ok(tag) = image.image.parse::<Reference>()
                && tag.digest().is_none()
            {
                tags.insert(&image.image, tag);
            }
        }
        // Collected first: a closure inside the stream would not be general enough for `Send`.
        let work = tags.into_iter().map(|(text, tag)| async move { (text, self.pin(&tag).await) });
        let pinned = stream::iter(work.collect::<Vec<_>>()).buffer_unordered(CONCURRENT_IMAGES);
        let pinned = pinned.collect::<HashMap<_, _>>().await;
        let pin = |image: &ImageUse| match pinned.get(image.image.as_str()) {
            Some(Ok(reference)) => Some((image.pointer.clone(), reference.to_string())),
            _ => None,
        };
        images.iter().filter_map(pin).collect()
    }

    /// The tag with the digest that it points to now. A fault is remembered for the denial.
    async fn pin(&self, tag: &Reference) -> Result<Reference, Fault> {
        let (registry, secrets_fault) = self.open(Vec::new()).await;
        let found = tokio::time::timeout_at(self.deadline, pin::resolve(&*registry, tag)).await;
        let found = match found {
            Ok(pinned) => pinned.map_err(|failure| not_pinned(tag, failure)),
            Err(_) => Err(too_slow(tag.repository().registry())),
        };
        let found = found.map_err(|fault| secrets_fault.unwrap_or(fault));
        let key = self.unpinned_key(tag);
        match found {
            Ok(pinned) => {
                self.gate.unpinned.invalidate(&key).await;
                Ok(pinned.reference)
            }
            Err(fault) => {
                tracing::warn!(image = tag.original(), %fault, "tag not pinned");
                self.gate.unpinned.insert(key, fault.clone()).await;
                Err(fault)
            }
        }
    }
}

fn allowance(timeout: Option<Duration>) -> Duration {
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    timeout.saturating_sub(RESERVE).max(timeout / 2)
}

fn see<'a>(image: &ImageUse, scope: &Scope, policies: &'a PolicySet) -> Seen<'a> {
    let reference = match image.image.parse::<Reference>() {
        Ok(reference) => reference,
        Err(error) => return Seen::Unreadable(error.to_string()),
    };
    let rules = policies.select(&reference, scope);
    under(reference, rules)
}

/// An image that has not changed, if its object's new labels bring it under rules that were not
/// about it before, or take away the last one where an image without a rule is refused: else a
/// rule for `env: dev` would open the door to every other label. One that cannot be read has been
/// let in by nobody: no rule names it.
fn see_standing<'a>(
    image: &ImageUse,
    [before, now]: [&Scope; 2],
    policies: &'a PolicySet,
) -> Option<Seen<'a>> {
    let reference = image.image.parse::<Reference>().ok()?;
    let known = policies.select(&reference, before);
    let mut rules = policies.select(&reference, now);
    let deserted = rules.is_empty() && !known.is_empty() && policies.no_match() == NoMatch::Deny;
    rules.retain(|rule| !known.iter().any(|known| std::ptr::eq(*known, *rule)));
    (deserted || !rules.is_empty()).then(|| under(reference, rules))
}

fn under(reference: Reference, rules: Vec<&Rule>) -> Seen<'_> {
    let Some(digest) = reference.digest() else { return Seen::Tag(reference) };
    let text = format!("{}@{digest}", reference.repository());
    let prints = asking(&rules).into_iter().map(|rule| rule.fingerprint.clone());
    let prints = prints.collect::<Arc<[_]>>();
    let subject = (!prints.is_empty()).then(|| Subject {
        repository: reference.repository().clone(),
        digest: digest.clone(),
        rules: prints,
    });
    Seen::Pinned(Pinned { rules, text, subject })
}

/// The rules that ask for signatures; the others are judged without asking anybody.
fn asking<'a>(rules: &[&'a Rule]) -> Vec<&'a Rule> {
    rules.iter().copied().filter(|rule| !rule.need.signed().is_empty()).collect()
}

/// Each rule with its verdict. `found` are those of the rules that ask for signatures.
fn ruled(rules: &[&Rule], found: Option<&Verdicts>) -> Vec<Ruled> {
    let mut found = found.into_iter().flat_map(|verdicts| verdicts.iter());
    let verdict = |rule: &&Rule| {
        let known = match rule.need.signed().is_empty() {
            true => None,
            false => found.next().cloned(),
        };
        // Where nobody was asked, no signature was found: a fault, should the need ask for one.
        let unasked = Fault::new(FaultKind::Missing, &rule.name, "nothing was looked for");
        let verdict =
            known.unwrap_or_else(|| judge(rule, &mut |_| Finding::Fault(unasked.clone())));
        Ruled::new(rule, verdict)
    };
    rules.iter().map(verdict).collect()
}

fn timed_out(verdict: &Verdict) -> bool {
    let late = |cause: &Cause| matches!(cause, Cause::Fault(f) if f.kind == FaultKind::Timeout);
    verdict.reasons().iter().any(|reason| late(&reason.cause))
}

/// Names who was slow: not the registry, which was not asked yet.
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

fn answer(decision: Decision, policies: &PolicySet) -> Answer {
    let outcome = if decision.allowed { "allow" } else { "deny" };
    let audit =
        [("decision", outcome.to_owned()), ("policies", policies.fingerprint().to_string())];
    let Decision { allowed, message, warnings, .. } = decision;
    let audit = audit.map(|(name, text)| (name.to_owned(), text)).into();
    Answer { allowed, message, warnings, audit, pins: Vec::new() }
}
