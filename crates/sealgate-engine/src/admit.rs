//! The gate: an admission in, an answer out; and the types of both.
//!
//! `validate` walks the whole corridor: select, gather, verify, judge, decide, record. `mutate`
//! only pins. Both end before the API server would stop waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use moka::future::Cache;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Reference;
use sealgate_policy::decide::{Decision, JudgedImage, Outcome, Ruled, decide};
use sealgate_policy::judge::{Finding, Verdict, judge};
use sealgate_policy::rule::Rule;
use sealgate_policy::scope::Scope;
use sealgate_policy::select::PolicySet;
use tokio::time::Instant;

use crate::cache::{CacheSettings, CacheStats, Landed, Reader, Subject, VerdictCache, Verdicts};
use crate::examine::{Examination, Opened, too_slow};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::pin;
use crate::ports::{AuditSink, Clock, RegistryAccess, SecretSource};
use crate::record::DecisionRecord;

/// A request to run images: the pure form of an AdmissionReview.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The review's uid.
    pub uid: String,
    /// What object, in which namespace, with which labels.
    pub scope: Scope,
    /// Who asks.
    pub user: String,
    /// Whether the API server only pretends (`dryRun`).
    pub dry_run: bool,
    /// The service account of the pod (template).
    pub service_account: String,
    /// `imagePullSecrets` of the pod (template).
    pub pull_secrets: Vec<String>,
    /// The images to judge; those that an UPDATE leaves unchanged are not in here.
    pub images: Vec<ImageUse>,
}

/// One image in one field of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// `spec.containers[0].image`, `spec.template.spec.volumes[1].image`, …
    pub path: String,
    /// The JSON pointer of the same field, for a patch.
    pub pointer: String,
    /// The text in the field.
    pub image: String,
}

/// What is said to the API server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Let in or not.
    pub allowed: bool,
    /// The text of the denial (empty when allowed), first line as policy-controller's.
    pub message: String,
    /// Warnings, one line each.
    pub warnings: Vec<String>,
    /// Audit annotations.
    pub audit: BTreeMap<String, String>,
    /// Images to replace: JSON pointer to new text. (mutating webhook)
    pub pins: Vec<(String, String)>,
}

/// The most images of one object that are under way at a time.
const CONCURRENT_IMAGES: usize = 16;
/// What the webhook's own timeout is when nobody says.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left of the timeout for the way back.
const RESERVE: Duration = Duration::from_secs(1);
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
    Pinned { reference: Reference, rules: Vec<&'a Rule> },
}

/// Images that are the same content and must satisfy the same rules.
type Group<'a> = (Subject, Vec<&'a Rule>);

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
        let deadline = began + allowance(timeout);
        let seen = admission.images.iter().map(|image| see(image, &admission.scope, policies));
        let seen = seen.collect::<Vec<_>>();
        let verdicts = self.all_verdicts(&seen, admission, deadline).await;
        let mut judged = Vec::with_capacity(seen.len());
        for (image, seen) in admission.images.iter().zip(seen) {
            judged.push(self.judged(image, seen, &verdicts, admission, deadline).await);
        }
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
        policies: &PolicySet,
        timeout: Option<Duration>,
    ) -> Answer {
        let deadline = Instant::now() + allowance(timeout);
        let mut tags: HashMap<&str, Reference> = HashMap::new();
        for image in &admission.images {
            if let Seen::Tag(reference) = see(image, &admission.scope, policies) {
                tags.insert(&image.image, reference);
            }
        }
        // Collected first: a closure inside the stream would not be general enough for `Send`.
        let work: Vec<_> = tags
            .into_iter()
            .map(|(text, tag)| async move { (text, self.pin(&tag, admission, deadline).await) })
            .collect();
        let pinned = stream::iter(work)
            .buffer_unordered(CONCURRENT_IMAGES)
            .collect::<HashMap<_, _>>()
            .await;
        let pins =
            admission.images.iter().filter_map(|image| match pinned.get(image.image.as_str()) {
                Some(Ok(reference)) => Some((image.pointer.clone(), reference.to_string())),
                _ => None,
            });
        Answer {
            allowed: true,
            message: String::new(),
            warnings: Vec::new(),
            audit: BTreeMap::new(),
            pins: pins.collect(),
        }
    }

    /// The tag with the digest that it points to now. A fault is remembered for the denial.
    async fn pin(
        &self,
        tag: &Reference,
        admission: &Admission,
        deadline: Instant,
    ) -> Result<Reference, Fault> {
        let work = async {
            let (registry, secrets_fault) = self.open(admission, Vec::new()).await;
            let pinned = pin::resolve(&*registry, tag).await;
            pinned.map_err(|failure| secrets_fault.unwrap_or_else(|| not_pinned(tag, failure)))
        };
        let found = match tokio::time::timeout_at(deadline, work).await {
            Ok(found) => found,
            Err(_) => Err(too_slow(tag.repository().registry())),
        };
        let key = (admission.scope.namespace.clone(), tag.original().to_owned());
        match found {
            Ok(pinned) => {
                self.unpinned.invalidate(&key).await;
                Ok(pinned.reference)
            }
            Err(fault) => {
                tracing::warn!(image = tag.original(), %fault, "tag not pinned");
                self.unpinned.insert(key, fault.clone()).await;
                Err(fault)
            }
        }
    }

    /// A registry with the pull secrets of the pod, and `more` of its namespace.
    async fn open(&self, admission: &Admission, more: Vec<String>) -> Opened {
        let mut names = admission.pull_secrets.clone();
        names.extend(more);
        let Admission { scope, service_account, .. } = admission;
        let found = self.ports.secrets.pull_secrets(&scope.namespace, service_account, &names);
        match found.await {
            Ok(secrets) => (self.ports.registries.open(&secrets), None),
            // Public signatures can be read without; if none is found, this is why.
            Err(fault) => (self.ports.registries.open(&[]), Some(fault)),
        }
    }

    /// The verdicts on each distinct content: known ones first, the others found out together.
    async fn all_verdicts(
        &self,
        seen: &[Seen<'_>],
        admission: &Admission,
        deadline: Instant,
    ) -> HashMap<Subject, Verdicts> {
        let mut known = HashMap::new();
        let mut unknown: Vec<Group<'_>> = Vec::new();
        for image in seen {
            let Seen::Pinned { reference, rules } = image else { continue };
            let Some(subject) = subject(reference, rules) else { continue };
            if known.contains_key(&subject) || unknown.iter().any(|(other, _)| *other == subject) {
                continue;
            }
            match without_signatures(rules) {
                Some(verdicts) => {
                    known.insert(subject, verdicts);
                }
                None => match self.verdicts.pass(&subject).await {
                    Some(verdicts) => {
                        known.insert(subject, verdicts);
                    }
                    None => unknown.push((subject, rules.clone())),
                },
            }
        }
        for batch in unknown.chunks(CONCURRENT_IMAGES) {
            let found = batch.iter().map(|group| self.find_out(group, admission, deadline));
            known.extend(join_all(found).await);
        }
        known
    }

    async fn find_out(
        &self,
        (subject, rules): &Group<'_>,
        admission: &Admission,
        deadline: Instant,
    ) -> (Subject, Verdicts) {
        let asked = self.ask(subject, rules, admission, deadline);
        // The leader of a flight may have a later deadline than we have.
        let grace = deadline + RESERVE / 4;
        let verdicts = match tokio::time::timeout_at(grace, asked).await {
            Ok(verdicts) => verdicts,
            Err(_) => {
                let fault = too_slow(subject.repository.registry());
                let verdict = |rule: &&Rule| judge(rule, &mut |_| Finding::Fault(fault.clone()));
                rules.iter().map(verdict).collect()
            }
        };
        (subject.clone(), verdicts)
    }

    async fn ask(
        &self,
        subject: &Subject,
        rules: &[&Rule],
        admission: &Admission,
        deadline: Instant,
    ) -> Verdicts {
        loop {
            let examination = Examination {
                repository: &subject.repository,
                digest: &subject.digest,
                rules,
                limits: &self.limits,
                deadline,
            };
            let reader = Reader {
                namespace: admission.scope.namespace.clone(),
                service_account: admission.service_account.clone(),
                pull_secrets: admission.pull_secrets.clone(),
            };
            let find_out = examination.verdicts(|more| self.open(admission, more));
            match self.verdicts.get(subject.clone(), reader, find_out).await {
                Landed::Known(verdicts) | Landed::Faulted(verdicts) => return verdicts,
                // Their time was up, or their luck bad: we still have time of our own.
                Landed::OthersFault(verdicts) if Instant::now() >= deadline => return verdicts,
                Landed::OthersFault(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn judged(
        &self,
        image: &ImageUse,
        seen: Seen<'_>,
        verdicts: &HashMap<Subject, Verdicts>,
        admission: &Admission,
        deadline: Instant,
    ) -> JudgedImage {
        let (subject, outcome) = match seen {
            Seen::Unreadable(error) => (String::new(), Outcome::Unreadable { error }),
            Seen::Tag(tag) => {
                let cause = self.why_not_pinned(&tag, admission, deadline).await;
                (String::new(), Outcome::NotPinned { cause })
            }
            Seen::Pinned { reference, rules } => {
                let key = subject(&reference, &rules);
                let found = key.as_ref().and_then(|key| verdicts.get(key));
                let text = key.map(|key| format!("{}@{}", key.repository, key.digest));
                (text.unwrap_or_default(), Outcome::Ruled(ruled(&rules, found)))
            }
        };
        JudgedImage { path: image.path.clone(), image: image.image.clone(), subject, outcome }
    }

    /// What was said when the tag should have been pinned; asked again if nobody remembers.
    async fn why_not_pinned(
        &self,
        tag: &Reference,
        admission: &Admission,
        deadline: Instant,
    ) -> Option<Fault> {
        let key = (admission.scope.namespace.clone(), tag.original().to_owned());
        match self.unpinned.get(&key).await {
            Some(fault) => Some(fault),
            None => self.pin(tag, admission, deadline).await.err(),
        }
    }
}

fn allowance(timeout: Option<Duration>) -> Duration {
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    timeout.saturating_sub(RESERVE).max(timeout / 2)
}

fn see<'a>(image: &ImageUse, scope: &Scope, policies: &'a PolicySet) -> Seen<'a> {
    match image.image.parse::<Reference>() {
        Err(error) => Seen::Unreadable(error.to_string()),
        Ok(reference) if reference.digest().is_none() => Seen::Tag(reference),
        Ok(reference) => {
            let rules = policies.select(&reference, scope);
            Seen::Pinned { reference, rules }
        }
    }
}

fn subject(reference: &Reference, rules: &[&Rule]) -> Option<Subject> {
    let rules = rules.iter().map(|rule| rule.fingerprint.clone());
    Some(Subject {
        repository: reference.repository().clone(),
        digest: reference.digest()?.clone(),
        rules: rules.collect(),
    })
}

/// The verdicts of rules that need no signature: nobody has to be asked.
fn without_signatures(rules: &[&Rule]) -> Option<Verdicts> {
    if rules.iter().any(|rule| !rule.need.signed().is_empty()) {
        return None;
    }
    let nobody = |target: &str| Fault::new(FaultKind::Missing, target, "nothing was looked for");
    let verdict = |rule: &&Rule| judge(rule, &mut |s| Finding::Fault(nobody(&s.authority)));
    Some(rules.iter().map(verdict).collect())
}

/// Each rule with its verdict. One that has none, which cannot be, is a fault.
fn ruled(rules: &[&Rule], verdicts: Option<&Verdicts>) -> Vec<Ruled> {
    let lost = |rule: &Rule| {
        let fault = Fault::new(FaultKind::Cancelled, &rule.name, "the verdict was lost");
        judge(rule, &mut |_| Finding::Fault(fault.clone()))
    };
    let verdict = |number: usize, rule: &Rule| -> Verdict {
        let known = verdicts.and_then(|verdicts| verdicts.get(number));
        known.cloned().unwrap_or_else(|| lost(rule))
    };
    rules.iter().enumerate().map(|(n, rule)| Ruled::new(rule, verdict(n, rule))).collect()
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
