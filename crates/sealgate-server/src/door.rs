//! A review's bytes to an answer's bytes: the codec before and behind the gate.
//!
//! Nothing is decided here but what the gate cannot decide: whether there is something to judge and
//! whether there are policies to judge by. Where there are none, the answer is no.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use sealgate_engine::admit::{Admission, Gate};
use sealgate_engine::ports::WorkloadSource;
use sealgate_engine::roots::Roots;
use sealgate_kube::answer;
use sealgate_kube::policies::{self, Reviewed, Validation};
use sealgate_kube::review::{Ask, MAX_BODY, Malformed, Nothing, parse, scaled_up};
use sealgate_policy::assemble::{PolicySource, PolicyState};
use sealgate_policy::cip::validate::Context;
use sealgate_policy::compile::RootRef;
use sealgate_policy::select::PolicySet;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::audit::Unjudged;
use crate::certificate::CertificateSlot;
use crate::http::{Door, Hook, Refusal, Reply};
use crate::metrics::{Admitted, Metrics};
use crate::policies::readiness;

/// How long an answer waits for the workload that a `scale` names.
const WORKLOAD_PATIENCE: Duration = Duration::from_secs(1);

/// The door of the gate.
pub struct GateDoor {
    /// Judges.
    pub gate: Arc<Gate>,
    /// The policies in force.
    pub policies: watch::Receiver<PolicyState>,
    /// Workloads that a `scale` names; none without a cluster.
    pub workloads: Option<Arc<dyn WorkloadSource>>,
    /// The trust roots that they name.
    pub roots: Arc<Roots>,
    /// The namespace whose secrets a policy may name.
    pub system_namespace: String,
    /// What is shown to the API server; without one the gate is not ready.
    pub certificate: Arc<CertificateSlot>,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
}

#[async_trait]
impl Door for GateDoor {
    async fn answer(&self, hook: Hook, body: &Bytes, end: Instant) -> Reply {
        let start = Instant::now();
        let reply = match hook {
            Hook::Validate | Hook::Mutate => self.workload(hook, body, end).await,
            Hook::ValidatePolicies => self.policy(hook, self.validated_policy(body)),
            Hook::DefaultPolicies => self.policy(hook, policies::defaulted(body)),
            Hook::ConvertPolicies => self.conversion(hook, body),
        };
        self.metrics.answered(hook, start.elapsed());
        reply
    }

    fn refuse(&self, hook: Hook, body: &Bytes, why: Refusal) -> Reply {
        if why == Refusal::Panicked {
            self.metrics.panics.inc();
        }
        let (uid, about) = match parse(body) {
            Ok(review) => {
                let (Ask::Judge(about) | Ask::ScaledUp(about) | Ask::Nothing(_, about)) =
                    review.ask;
                (Some(review.uid), Some(about))
            }
            Err(malformed) => (malformed.uid, None),
        };
        let reason = why.code();
        let (about, denied) = (about.as_deref(), why.to_string());
        let uid_text = uid.as_deref().unwrap_or_default();
        if hook.is_about_workloads() {
            Unjudged { uid: uid_text, about, allowed: false, reason, denial: &denied }.write();
        } else {
            warn!(hook = hook.name(), uid, allowed = false, reason, "{why}");
        }
        self.count(hook, about, false, reason);
        match uid {
            Some(uid) => denial(&uid, &why.to_string()),
            None => {
                Reply { status: StatusCode::INTERNAL_SERVER_ERROR, body: why.to_string().into() }
            }
        }
    }

    fn ready(&self) -> Result<String, String> {
        if self.certificate.current().is_none() {
            return Err("there is no serving certificate yet".to_owned());
        }
        readiness(&self.policies.borrow())
    }

    fn metrics(&self) -> String {
        let metrics = &self.metrics;
        let stats = self.gate.cache_stats();
        metrics.cache(stats.hits, stats.misses, stats.entries);
        if let Some(certificate) = self.certificate.current() {
            metrics.certificate_expiry.set(certificate.not_after().as_second() as f64);
        }
        let state = self.policies.borrow();
        let rules = state.set.as_ref().map_or(0, |set| set.rules().len());
        metrics.policies.set(i64::try_from(rules).unwrap_or(i64::MAX));
        metrics.policy_problems.set(i64::try_from(state.problems.len()).unwrap_or(i64::MAX));
        metrics.ready.set(i64::from(state.set.is_some()));
        drop(state);
        metrics.render()
    }
}

impl GateDoor {
    async fn workload(&self, hook: Hook, body: &Bytes, end: Instant) -> Reply {
        let review = match parse(body) {
            Ok(review) => review,
            Err(malformed) => return self.malformed(hook, &malformed),
        };
        let admission = match review.ask {
            Ask::Judge(admission) => admission,
            Ask::ScaledUp(about) => match self.scaled(hook, &about).await {
                Some(admission) => Box::new(admission),
                None => return self.nothing(hook, Nothing::Subresource, &about),
            },
            Ask::Nothing(why, about) => return self.nothing(hook, why, &about),
        };
        let policies = self.policies.borrow().set.clone();
        let is_only_told =
            admission.workload.images.is_empty() && admission.workload.unchanged.is_none();
        match policies {
            None if is_only_told => self.nothing(hook, Nothing::Unchanged, &admission),
            Some(policies) => ok(self.judge(hook, &admission, &policies, end).await),
            None => self.not_ready(hook, &admission),
        }
    }

    fn nothing(&self, hook: Hook, why: Nothing, about: &Admission) -> Reply {
        self.count(hook, Some(about), true, why.code());
        // The mutating webhook decides nothing; the validating one is asked next.
        if hook == Hook::Validate {
            unjudged(about, true, why.code(), "");
        }
        ok(answer::allowed(&about.uid))
    }

    /// What a `scale` asks about the workload that it scales. `None` where that cannot be read, or
    /// policies are not loaded: the answer is a warning at most, and never worth a refusal.
    async fn scaled(&self, hook: Hook, about: &Admission) -> Option<Admission> {
        let source = self.workloads.as_ref().filter(|_| hook == Hook::Validate)?;
        self.policies.borrow().set.as_ref()?;
        let read =
            tokio::time::timeout(WORKLOAD_PATIENCE, source.workload(&about.workload.scope)).await;
        match read {
            Ok(Ok(object)) => scaled_up(about, &object?),
            Ok(Err(fault)) => {
                debug!(%fault, "the scaled workload is not known");
                None
            }
            Err(_) => None,
        }
    }

    async fn judge(
        &self,
        hook: Hook,
        admission: &Admission,
        policies: &PolicySet,
        end: Instant,
    ) -> Vec<u8> {
        let timeout =
            Some(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        if hook == Hook::Mutate {
            let answered = self.gate.mutate(admission, policies, timeout).await;
            self.count(hook, Some(admission), answered.allowed, "pinned");
            return answer::mutated(admission, &answered);
        }
        // Counted and logged by the gate's audit sink.
        let answered = self.gate.validate(admission, policies, timeout).await;
        answer::validated(&admission.uid, &answered)
    }

    fn not_ready(&self, hook: Hook, admission: &Admission) -> Reply {
        let why = readiness(&self.policies.borrow()).err().unwrap_or_default();
        unjudged(admission, false, "not-ready", &why);
        self.count(hook, Some(admission), false, "not-ready");
        denial(&admission.uid, &format!("the gate is not ready: {why}"))
    }

    fn policy(&self, hook: Hook, answer: Result<Reviewed, Malformed>) -> Reply {
        match answer {
            Ok(Reviewed { body, allowed, scope, dry_run }) => {
                let reason = if allowed { "answered" } else { "invalid" };
                let scope = Some(&scope);
                self.metrics.admitted(&Admitted { hook, scope, allowed, dry_run, reason });
                ok(body)
            }
            Err(malformed) => self.malformed(hook, &malformed),
        }
    }

    fn conversion(&self, hook: Hook, body: &Bytes) -> Reply {
        match policies::converted(body) {
            Ok(body) => {
                self.count(hook, None, true, "answered");
                ok(body)
            }
            Err(reason) => self.malformed(hook, &Malformed { uid: None, reason }),
        }
    }

    fn malformed(&self, hook: Hook, malformed: &Malformed) -> Reply {
        let uid = malformed.uid.as_deref().unwrap_or_default();
        // A text field, not the message: what a stranger wrote is escaped there.
        let (what, reason) = (malformed.to_string(), "malformed");
        if hook.is_about_workloads() {
            let about = None;
            Unjudged { uid, about, allowed: false, reason, denial: &what }.write();
        } else {
            warn!(hook = hook.name(), uid, allowed = false, reason, what, "review refused");
        }
        self.count(hook, None, false, "malformed");
        let refusal = answer::malformed(malformed);
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        Reply { status, body: refusal.body.into() }
    }

    fn validated_policy(&self, body: &[u8]) -> Result<Reviewed, Malformed> {
        let source = self.policies.borrow().source;
        if source == PolicySource::Folder {
            warn!("a policy object of a cluster was reviewed: this gate reads a folder");
        }
        let (context, roots) = (self.context(), |which: &RootRef| self.roots.get(which));
        policies::validated(body, &Validation { context: &context, roots: &roots, source })
    }

    fn context(&self) -> Context {
        Context {
            system_namespace: self.system_namespace.clone(),
            empty_authorities: self.policies.borrow().config.empty_authorities,
        }
    }

    /// `about` is what was asked, as far as it is known.
    fn count(&self, hook: Hook, about: Option<&Admission>, allowed: bool, reason: &'static str) {
        let (scope, dry_run) =
            (about.map(|about| &about.workload.scope), about.is_some_and(|about| about.dry_run));
        self.metrics.admitted(&Admitted { hook, scope, allowed, dry_run, reason });
    }
}

fn unjudged(about: &Admission, allowed: bool, reason: &str, denial: &str) {
    Unjudged { uid: &about.uid, about: Some(about), allowed, reason, denial }.write();
}

fn ok(body: Vec<u8>) -> Reply {
    Reply { status: StatusCode::OK, body: body.into() }
}

fn denial(uid: &str, message: &str) -> Reply {
    ok(answer::denied(uid, message))
}

/// The listener's bound on a body is the codec's.
const _: () = assert!(MAX_BODY == crate::limits::BODY_BYTES);
