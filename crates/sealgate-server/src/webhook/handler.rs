//! The gate's handler of reviews. It decides only what the engine cannot: whether there is an image
//! to evaluate, and whether there are policies to evaluate it by. Without policies it denies.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use sealgate_engine::admit::Admission;
use sealgate_engine::gate::Gate;
use sealgate_engine::ports::WorkloadSource;
use sealgate_engine::roots::Roots;
use sealgate_kube::answer::{self, ReviewResponse};
use sealgate_kube::review::{self, MAX_BODY, Malformed, Review};
use sealgate_policy::assemble::PolicyState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::policy_objects::PolicyReviews;
use super::readiness::readiness;
use super::review_handler::{HandlerFailure, ReviewHandler};
use crate::decisions::{Decisions, SkippedReview};
use crate::hook::Hook;
use crate::listener::body::BufferedBody;
use crate::listener::certificate::CertificateSlot;
use crate::metrics::Metrics;

/// The handler of reviews.
pub struct WebhookHandler {
    /// The engine, which decides.
    pub gate: Arc<Gate>,
    /// The policies in force.
    pub policies: watch::Receiver<PolicyState>,
    /// The workloads that a `scale` names; `None` without a cluster.
    pub workloads: Option<Arc<dyn WorkloadSource>>,
    /// The trust roots that policies name.
    pub roots: Arc<Roots>,
    /// The gate's namespace, whose Secrets a policy may name.
    pub system_namespace: String,
    /// The serving certificate; without one the gate is not ready.
    pub certificate: Arc<CertificateSlot>,
    /// The reviews of policy objects under way.
    pub policy_reviews: PolicyReviews,
    /// The log and the counters of decisions.
    pub decisions: Arc<Decisions>,
    /// The other metrics.
    pub metrics: Arc<Metrics>,
}

/// A review that the gate has read.
pub struct GateReview {
    /// The moment at which its body was complete.
    start: Instant,
    content: ReviewContent,
}

/// The content of a review.
enum ReviewContent {
    Workload(Review),
    /// A policy object, a trust root or a conversion, which is parsed where it is answered.
    PolicyObjects(BufferedBody),
}

#[async_trait]
impl ReviewHandler for WebhookHandler {
    type Review = GateReview;

    fn parse(&self, hook: Hook, body: BufferedBody) -> Result<GateReview, ReviewResponse> {
        let start = Instant::now();
        let content = match hook {
            Hook::Validate | Hook::Mutate => match review::parse(&body.bytes) {
                Ok(review) => ReviewContent::Workload(review),
                Err(malformed) => {
                    let response = self.malformed(hook, &malformed);
                    self.metrics.answered(hook, start.elapsed());
                    return Err(response);
                }
            },
            Hook::ValidatePolicies | Hook::DefaultPolicies | Hook::ConvertPolicies => {
                ReviewContent::PolicyObjects(body)
            }
        };
        Ok(GateReview { start, content })
    }

    async fn answer(&self, hook: Hook, review: &GateReview, deadline: Instant) -> ReviewResponse {
        let response = match (&review.content, hook) {
            (ReviewContent::Workload(review), _) => self.workload(hook, review, deadline).await,
            (ReviewContent::PolicyObjects(body), _) => {
                self.policy_object(hook, body.bytes.clone(), deadline).await
            }
        };
        self.metrics.answered(hook, review.start.elapsed());
        response
    }

    fn deny(
        &self,
        hook: Hook,
        review: Option<&GateReview>,
        failure: HandlerFailure,
    ) -> ReviewResponse {
        if failure == HandlerFailure::Panicked {
            self.metrics.panics.inc();
        }
        let uid = review.and_then(GateReview::uid);
        let denial = failure.to_string();
        self.decisions.skipped(&SkippedReview {
            hook,
            uid: uid.as_deref().unwrap_or_default(),
            request: review.and_then(GateReview::request),
            allowed: false,
            reason: failure.code(),
            denial: &denial,
        });
        match uid {
            Some(uid) => denied(&uid, &denial),
            None => ReviewResponse { status: failure.status(), body: denial.into() },
        }
    }

    fn unauthenticated(&self, hook: Hook) {
        self.metrics.unauthenticated(hook);
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
        metrics.budget(&self.gate.budget_stats());
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

impl GateReview {
    /// The uid, to be echoed in the response.
    fn uid(&self) -> Option<Cow<'_, str>> {
        match &self.content {
            ReviewContent::Workload(review) => Some(Cow::Borrowed(&review.uid)),
            ReviewContent::PolicyObjects(body) => review::uid(&body.bytes).map(Cow::Owned),
        }
    }

    /// The request about a workload.
    fn request(&self) -> Option<&Admission> {
        match &self.content {
            ReviewContent::Workload(review) => Some(review.ask.admission()),
            ReviewContent::PolicyObjects(_) => None,
        }
    }
}

impl WebhookHandler {
    /// Refuses a review that cannot be read.
    pub(super) fn malformed(&self, hook: Hook, malformed: &Malformed) -> ReviewResponse {
        self.decisions.skipped(&SkippedReview {
            hook,
            uid: malformed.uid.as_deref().unwrap_or_default(),
            request: None,
            allowed: false,
            reason: "malformed",
            denial: &malformed.to_string(),
        });
        answer::malformed(malformed)
    }
}

/// The response that denies the review `uid`.
pub(super) fn denied(uid: &str, message: &str) -> ReviewResponse {
    ReviewResponse::ok(answer::denied(uid, message))
}

/// The limit of the listener is the limit of the codec.
const _: () = assert!(MAX_BODY == crate::listener::limits::BODY_BYTES);
