//! The gate: an admission in, an answer out.
//!
//! `validate` selects rules, gathers evidence, verifies, judges, decides and records. `mutate`
//! only pins. Both end before the API server would stop waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use moka::future::Cache;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Reference;
use sealgate_policy::decide::{Decision, Effect, JudgedImage, Outcome, Ruled, decide};
use sealgate_policy::judge::{Cause, Finding, Verdict, judge};
use sealgate_policy::rule::{Mode, Rule};
use sealgate_policy::scope::Scope;
use sealgate_policy::select::{NoMatch, PolicySet};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::Instrument;

use crate::admit::{Admission, Answer, Holder, ImageUse, UnchangedImages};
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
/// How long an answer may wait for what is only a warning.
const PATIENCE_FOR_WARNINGS: Duration = Duration::from_secs(3);
/// Texts in pod templates that stand for an image which another component writes before a pod is
/// created: `auto` for Istio's gateway injection. So does a blank, for OpenShift's image triggers.
const PLACEHOLDERS: [&str; 1] = ["auto"];

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
    /// Why a tag could not be pinned a moment ago, by who read and the image.
    unpinned: Cache<(Digest, String), Fault>,
}

/// An image of an admission with the rules that are about it, before any signature is looked for.
enum Seen<'a> {
    Unreadable(String),
    /// A placeholder that no enforcing rule is about.
    Placeholder,
    /// No digest, and why, where that was asked already.
    Tag {
        reference: Reference,
        rules: Vec<&'a Rule>,
        cause: Option<Fault>,
    },
    Pinned(Pinned<'a>),
}

/// An image, the consequence of what is found, and what is seen of it.
type Sight<'a, 'p> = (&'a ImageUse, Effect, Seen<'p>);

/// What the tags among some images point to, by the image's text.
type Resolved<'a> = HashMap<&'a str, Result<Reference, Fault>>;

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
        let work = async { tokio::join!(visit.judge_all(policies), visit.foresee(policies)) };
        let (mut judged, foreseen) = work.instrument(span).await;
        judged.extend(foreseen);
        let decision = decide(&judged, policies.no_match());
        let print = policies.fingerprint().to_string();
        let now = self.ports.clock.now();
        let record = DecisionRecord::new(admission, &decision, print, now, began.elapsed());
        self.ports.audit.record(record);
        answer(decision, policies)
    }

    /// Replaces each tag by `registry/repository:tag@sha256:…`, whatever the policies say, as
    /// policy-controller does, but in no object that a controller compares with its own template.
    /// What cannot be pinned is left, and the validating webhook says why.
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
        Self::until(gate, admission, Instant::now() + allowance(timeout))
    }

    fn until(gate: &'a Gate, admission: &'a Admission, deadline: Instant) -> Self {
        Self { gate, admission, deadline, own_registry: OnceCell::new() }
    }

    async fn judge_all(&self, policies: &PolicySet) -> Vec<JudgedImage> {
        let Admission { images, unchanged, scope, holder, .. } = self.admission;
        let resolved = match holder {
            Holder::ControlledTemplate => self.resolve(images).await,
            Holder::Pod | Holder::Template | Holder::NamedTemplate => Resolved::new(),
        };
        let mut seen: Vec<Sight<'_, '_>> =
            images.iter().map(|image| self.see(image, scope, &resolved, policies)).collect();
        if let Some(unchanged) = unchanged {
            seen.extend(self.see_unchanged(unchanged, policies).await);
        }
        self.judge(seen).await
    }

    /// The images whose object makes new pods of them: what those pods will meet. An answer does
    /// not wait long for a warning.
    async fn foresee(&self, policies: &PolicySet) -> Vec<JudgedImage> {
        let Admission { restarted, scope, holder, .. } = self.admission;
        if restarted.is_empty() {
            return Vec::new();
        }
        let soon = self.deadline.min(Instant::now() + PATIENCE_FOR_WARNINGS);
        let visit = Self::until(self.gate, self.admission, soon);
        // A tag that nobody asks about needs no digest.
        let is_asked_about = |image: &&ImageUse| {
            let reference = image.image.parse::<Reference>();
            reference.is_ok_and(|it| !asking(&rules_about(&it, scope, policies)).is_empty())
        };
        let resolved = visit.resolve(restarted.iter().filter(is_asked_about)).await;
        let effect = match holder {
            Holder::NamedTemplate => Effect::WarnsOfUnseen,
            Holder::Pod | Holder::Template | Holder::ControlledTemplate => Effect::Warns,
        };
        let see = |image| {
            let (image, _, seen) = visit.see(image, scope, &resolved, policies);
            (image, effect, seen)
        };
        visit.judge(restarted.iter().map(see).collect()).await
    }

    async fn judge(&self, seen: Vec<Sight<'_, '_>>) -> Vec<JudgedImage> {
        let verdicts = self.verdicts(seen.iter().map(|(_, _, seen)| seen)).await;
        let mut judged = Vec::with_capacity(seen.len());
        for (image, effect, seen) in seen {
            judged.push(self.judged(image, effect, seen, &verdicts).await);
        }
        judged
    }

    /// A new image. `resolved` has the tags that are judged by what they point to.
    fn see<'p>(
        &self,
        image: &'a ImageUse,
        scope: &Scope,
        resolved: &Resolved<'_>,
        policies: &'p PolicySet,
    ) -> Sight<'a, 'p> {
        let reference = match image.image.parse::<Reference>() {
            Ok(reference) if self.is_placeholder(image) => {
                return (image, Effect::Refuses, see_placeholder(reference, scope, policies));
            }
            Ok(reference) => reference,
            Err(_) if self.is_placeholder(image) => {
                return (image, Effect::Refuses, Seen::Placeholder);
            }
            Err(error) => {
                // No rule is about it, and no pod can run it.
                let effect = match self.admission.holder {
                    Holder::Pod => Effect::Refuses,
                    Holder::Template | Holder::ControlledTemplate | Holder::NamedTemplate => {
                        Effect::Warns
                    }
                };
                return (image, effect, Seen::Unreadable(error.to_string()));
            }
        };
        let seen = match resolved.get(image.image.as_str()) {
            Some(Ok(pinned)) => {
                let seen = under(pinned.clone(), None, scope, policies);
                match self.unbound(&seen, pinned, policies) {
                    Some(fault) => under(reference, Some(fault), scope, policies),
                    None => seen,
                }
            }
            Some(Err(fault)) => under(reference, Some(fault.clone()), scope, policies),
            None => under(reference, None, scope, policies),
        };
        (image, Effect::Refuses, seen)
    }

    /// A rule that asks for a signature of the template's images and is not about its pods. With a
    /// digest the pods are bound to what it judged; the tag may point to something else by then.
    fn unbound(&self, seen: &Seen<'_>, pinned: &Reference, policies: &PolicySet) -> Option<Fault> {
        if self.admission.holder != Holder::ControlledTemplate {
            return None;
        }
        let Admission { scope, pod_labels, .. } = self.admission;
        let of_pods = policies.select(pinned, &scope.of_pod(pod_labels.clone()));
        let is_about_pods = |rule: &Rule| of_pods.iter().any(|other| std::ptr::eq(*other, rule));
        let mut asking = asking(seen.rules()).into_iter();
        let rule = asking.find(|rule| rule.mode == Mode::Enforce && !is_about_pods(rule))?;
        let detail = format!(
            "this policy is about {} and not about their pods, which only a digest binds to what \
             it judged",
            scope.resource
        );
        Some(Fault::new(FaultKind::Config, format!("policy {}", rule.name), detail))
    }

    /// The images that have not changed, if their object's new labels bring them under rules that
    /// were not about them before, or take away the last one where an image without a rule is
    /// refused: else a rule for `env: dev` would let in every other label. One that cannot be
    /// read has been let in by nobody: no rule names it. In a template, what a tag points to now
    /// is judged.
    async fn see_unchanged<'p>(
        &self,
        unchanged: &'a UnchangedImages,
        policies: &'p PolicySet,
    ) -> Vec<Sight<'a, 'p>> {
        let now = &self.admission.scope;
        let before = Scope { labels: unchanged.labels.clone(), ..now.clone() };
        let mut concerned = Vec::new();
        for image in &unchanged.images {
            let Ok(reference) = image.image.parse::<Reference>() else { continue };
            if !newly_ruled(&reference, [&before, now], policies).is_empty()
                || is_deserted(&reference, [&before, now], policies)
            {
                concerned.push((image, reference));
            }
        }
        let resolved = match self.admission.holder {
            Holder::Pod => Resolved::new(),
            Holder::Template | Holder::ControlledTemplate | Holder::NamedTemplate => {
                self.resolve(concerned.iter().map(|(image, _)| *image)).await
            }
        };
        let see = |(image, reference): (&'a ImageUse, Reference)| {
            let tag = resolved.get(image.image.as_str());
            let reference = match tag {
                Some(Ok(pinned)) => pinned.clone(),
                _ => reference,
            };
            let rules = newly_ruled(&reference, [&before, now], policies);
            let deserted = is_deserted(&reference, [&before, now], policies);
            let cause = tag.and_then(|tag| tag.as_ref().err().cloned());
            let seen = with_rules(reference, rules, cause);
            (deserted || !seen.rules().is_empty()).then_some((image, Effect::Refuses, seen))
        };
        concerned.into_iter().filter_map(see).collect()
    }

    /// The verdicts on each distinct content: known ones first, the others found out together.
    async fn verdicts<'s, 'p: 's>(
        &self,
        seen: impl Iterator<Item = &'s Seen<'p>>,
    ) -> HashMap<Subject, Verdicts> {
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
        effect: Effect,
        seen: Seen<'_>,
        verdicts: &HashMap<Subject, Verdicts>,
    ) -> JudgedImage {
        let (subject, outcome) = match seen {
            Seen::Unreadable(error) => (String::new(), Outcome::Unreadable { error }),
            Seen::Placeholder => (String::new(), Outcome::Placeholder),
            Seen::Tag { reference, rules, cause } => {
                (String::new(), self.not_pinned(&reference, &rules, cause).await)
            }
            Seen::Pinned(Pinned { rules, text, subject }) => {
                let found = subject.and_then(|subject| verdicts.get(&subject));
                (text, Outcome::Ruled(ruled(&rules, found)))
            }
        };
        let (path, image) = (image.path.clone(), image.image.clone());
        JudgedImage { path, image, subject, effect, outcome }
    }

    /// An image without a digest: rules that ask for signatures fault, the others hold or not.
    async fn not_pinned(&self, tag: &Reference, rules: &[&Rule], cause: Option<Fault>) -> Outcome {
        let cause = match cause {
            // Nobody needs to know.
            None if asking(rules).is_empty() => None,
            None => self.why_not_pinned(tag).await,
            Some(cause) => Some(cause),
        };
        let fault = cause.clone().unwrap_or_else(|| {
            let detail = "the tag was not replaced by a digest before the object was validated";
            Fault::new(FaultKind::Missing, tag.original(), detail)
        });
        let judged =
            |rule: &&Rule| Ruled::new(rule, judge(rule, &mut |_| Finding::Fault(fault.clone())));
        Outcome::NotPinned { cause, rules: rules.iter().map(judged).collect() }
    }

    /// What was said when the tag should have been pinned; asked again if nobody remembers.
    async fn why_not_pinned(&self, tag: &Reference) -> Option<Fault> {
        match self.gate.unpinned.get(&self.unpinned_key(tag)).await {
            Some(fault) => Some(fault),
            None => self.pin(tag).await.err(),
        }
    }

    fn unpinned_key(&self, tag: &Reference) -> (Digest, String) {
        (self.reader().print(), tag.original().to_owned())
    }

    /// JSON pointers and what to write there, for each tag that can be pinned.
    async fn pins(&self) -> Vec<(String, String)> {
        let images = &self.admission.images;
        let resolved = match self.admission.holder {
            Holder::ControlledTemplate | Holder::NamedTemplate => return Vec::new(),
            Holder::Pod | Holder::Template => self.resolve(images).await,
        };
        let pin = |image: &ImageUse| match resolved.get(image.image.as_str()) {
            Some(Ok(reference)) => Some((image.pointer.clone(), reference.to_string())),
            _ => None,
        };
        images.iter().filter_map(pin).collect()
    }

    /// Asks for the digest of each tag among `images`, each text once. A template's placeholder is
    /// no tag.
    async fn resolve<'i>(&self, images: impl IntoIterator<Item = &'i ImageUse>) -> Resolved<'i> {
        let mut tags: HashMap<&str, Reference> = HashMap::new();
        for image in images {
            if let Ok(tag) = image.image.parse::<Reference>()
                && tag.digest().is_none()
                && !self.is_placeholder(image)
            {
                tags.insert(&image.image, tag);
            }
        }
        // Collected first: a closure inside the stream would not be general enough for `Send`.
        let work = tags.into_iter().map(|(text, tag)| async move { (text, self.pin(&tag).await) });
        let resolved = stream::iter(work.collect::<Vec<_>>()).buffer_unordered(CONCURRENT_IMAGES);
        resolved.collect().await
    }

    fn is_placeholder(&self, image: &ImageUse) -> bool {
        let text = image.image.as_str();
        let is_open = PLACEHOLDERS.contains(&text) || text.trim().is_empty();
        is_open && self.admission.holder != Holder::Pod
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

/// A placeholder, which is never looked up: nothing is there, or somebody else's.
fn see_placeholder<'p>(reference: Reference, scope: &Scope, policies: &'p PolicySet) -> Seen<'p> {
    let rules = policies.select_unresolved(&reference, scope);
    if !rules.iter().any(|rule| rule.mode == Mode::Enforce) {
        return Seen::Placeholder;
    }
    let detail = "a placeholder, which another component replaces before a pod is created";
    let cause = Some(Fault::new(FaultKind::Missing, reference.original(), detail));
    Seen::Tag { reference, rules, cause }
}

/// An image with the rules that are about it. `cause` is why it has no digest, where that is known.
fn under<'p>(
    reference: Reference,
    cause: Option<Fault>,
    scope: &Scope,
    policies: &'p PolicySet,
) -> Seen<'p> {
    let rules = rules_about(&reference, scope, policies);
    with_rules(reference, rules, cause)
}

fn rules_about<'p>(reference: &Reference, scope: &Scope, policies: &'p PolicySet) -> Vec<&'p Rule> {
    match reference.digest() {
        Some(_) => policies.select(reference, scope),
        None => policies.select_unresolved(reference, scope),
    }
}

/// The rules that are about an image now and were not before.
fn newly_ruled<'p>(
    reference: &Reference,
    [before, now]: [&Scope; 2],
    policies: &'p PolicySet,
) -> Vec<&'p Rule> {
    let known = rules_about(reference, before, policies);
    let mut rules = rules_about(reference, now, policies);
    rules.retain(|rule| !known.iter().any(|known| std::ptr::eq(*known, *rule)));
    rules
}

/// Whether the last rule is no longer about an image, and such an image is refused.
fn is_deserted(reference: &Reference, [before, now]: [&Scope; 2], policies: &PolicySet) -> bool {
    policies.no_match() == NoMatch::Deny
        && rules_about(reference, now, policies).is_empty()
        && !rules_about(reference, before, policies).is_empty()
}

fn with_rules(reference: Reference, rules: Vec<&Rule>, cause: Option<Fault>) -> Seen<'_> {
    let Some(digest) = reference.digest() else { return Seen::Tag { reference, rules, cause } };
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

impl<'a> Seen<'a> {
    fn rules(&self) -> &[&'a Rule] {
        match self {
            Self::Unreadable(_) | Self::Placeholder => &[],
            Self::Tag { rules, .. } | Self::Pinned(Pinned { rules, .. }) => rules,
        }
    }
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
