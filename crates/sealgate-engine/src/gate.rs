//! The admission webhooks' use case: an admission in, an answer out.
//!
//! `validate` selects rules, resolves tags, gathers facts, judges, decides and records. `mutate`
//! only replaces tags by digests. Both end before the API server stops waiting.

mod leased_registry;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_policy::decide::{Decision, decide};
use sealgate_policy::select::PolicySet;
use tokio::time::Instant;
use tracing::Instrument;

use crate::admit::{Admission, Answer};
use crate::budget::{Budget, BudgetLimits, PoolStats};
use crate::cache::{CacheSettings, CacheStats, FactCache};
use crate::limits::Limits;
use crate::ports::{AuditSink, Clock, RegistryAccess, SecretSource};
use crate::record::{Decided, EvaluatedImage};
use run::{AdmissionLease, AdmissionRun};

/// The time that a decision takes at most, where the request does not say: the API server's
/// default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The part of the timeout that is reserved for sending the answer.
const RESERVE: Duration = Duration::from_secs(1);
/// The time to live of the fault that kept a tag from being resolved, from mutation to validation.
const UNPINNED_TTL: Duration = Duration::from_secs(60);
/// The time that an answer waits at most for what is only a warning.
const WARNING_TIMEOUT: Duration = Duration::from_secs(3);

/// The ports of the gate.
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

/// The settings of the gate.
#[derive(Clone, Debug, Default)]
pub struct GateSettings {
    /// Limits for one image.
    pub limits: Limits,
    /// The fact cache.
    pub cache: CacheSettings,
    /// Limits for all evaluations under way.
    pub budget: BudgetLimits,
}

/// The gate. One for the life of a process; policies come with each call.
pub struct Gate {
    ports: GatePorts,
    limits: Limits,
    budget: Budget,
    facts: FactCache,
    /// The fault that kept a tag from being resolved, by the credentials and the image's text.
    unpinned: Cache<(Digest, String), Fault>,
}

impl Gate {
    /// A gate with empty caches, of whose budget nothing is used.
    pub fn new(ports: GatePorts, settings: GateSettings) -> Self {
        let GateSettings { limits, cache, budget } = settings;
        let unpinned = Cache::builder().max_capacity(1000).time_to_live(UNPINNED_TTL).build();
        let (budget, facts) = (Budget::new(&budget), FactCache::new(&cache));
        Self { ports, limits, budget, facts, unpinned }
    }

    /// The use of the budget.
    pub fn budget_stats(&self) -> Vec<PoolStats> {
        self.budget.stats()
    }

    /// The counters of the fact cache.
    pub fn cache_stats(&self) -> CacheStats {
        self.facts.stats()
    }

    /// Decides whether the policies admit the workload. `timeout` is the time that the API server
    /// waits; the answer comes a second earlier, and names the registry that was slow.
    pub async fn validate(
        &self,
        admission: &Admission,
        policies: &PolicySet,
        timeout: Option<Duration>,
    ) -> Answer {
        let began = Instant::now();
        let deadline = began + time_for_decision(timeout);
        let lease = AdmissionLease::new(self, &admission.workload, deadline);
        let run = AdmissionRun::new(self, &lease, deadline);
        let run_for_warnings =
            AdmissionRun::new(self, &lease, deadline.min(began + WARNING_TIMEOUT));
        let span = tracing::debug_span!("validate", uid = %admission.uid);
        let work = async {
            tokio::join!(run.new_images(policies), run_for_warnings.restarted_images(policies))
        };
        let (mut evaluated, restarted) = work.instrument(span).await;
        evaluated.extend(restarted);
        let judged: Vec<_> = evaluated.iter().map(EvaluatedImage::judge).collect();
        let decision = decide(&judged, policies.no_match());
        self.ports.audit.record(&Decided {
            admission,
            images: &evaluated,
            decision: &decision,
            policies,
            time: self.ports.clock.now(),
            took: began.elapsed(),
        });
        answer(decision, policies)
    }

    /// Replaces each tag by `registry/repository:tag@sha256:…`, whatever the policies say, as
    /// policy-controller does, but in no object that a controller compares with its own template.
    /// A tag that cannot be resolved stays, and the validating webhook says why.
    pub async fn mutate(&self, admission: &Admission, timeout: Option<Duration>) -> Answer {
        let deadline = Instant::now() + time_for_decision(timeout);
        let lease = AdmissionLease::new(self, &admission.workload, deadline);
        let run = AdmissionRun::new(self, &lease, deadline);
        let span = tracing::debug_span!("mutate", uid = %admission.uid);
        let pins = run.pins().instrument(span).await;
        let (warnings, audit) = (Vec::new(), BTreeMap::new());
        Answer { allowed: true, message: String::new(), warnings, audit, pins }
    }
}

fn time_for_decision(timeout: Option<Duration>) -> Duration {
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    timeout.saturating_sub(RESERVE).max(timeout / 2)
}

fn answer(decision: Decision, policies: &PolicySet) -> Answer {
    let outcome = if decision.allowed { "allow" } else { "deny" };
    let audit =
        [("decision", outcome.to_owned()), ("policies", policies.fingerprint().to_string())];
    let Decision { allowed, message, warnings, .. } = decision;
    let audit = audit.map(|(name, text)| (name.to_owned(), text)).into();
    Answer { allowed, message, warnings, audit, pins: Vec::new() }
}
