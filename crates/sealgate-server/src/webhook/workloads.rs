//! Reviews of workloads (Pod, Deployment, ...): read, decided by the engine, answered.

use std::time::Duration;

use sealgate_engine::admit::Admission;
use sealgate_kube::answer::{self, ReviewResponse};
use sealgate_kube::review::{Ask, Review, SkipReason, scaled_up};
use sealgate_policy::select::PolicySet;
use tokio::time::Instant;
use tracing::debug;

use super::handler::{WebhookHandler, denied};
use super::readiness::readiness;
use crate::decisions::SkippedReview;
use crate::hook::Hook;

/// The time that an answer waits for the workload that a `scale` names.
const WORKLOAD_TIMEOUT: Duration = Duration::from_secs(1);

impl WebhookHandler {
    /// Answers the review of a workload.
    pub(super) async fn workload(
        &self,
        hook: Hook,
        review: &Review,
        deadline: Instant,
    ) -> ReviewResponse {
        let scaled;
        let admission = match &review.ask {
            Ask::Judge(admission) => admission.as_ref(),
            Ask::ScaledUp(scale) => match self.scaled_workload(hook, scale).await {
                Some(admission) => {
                    scaled = admission;
                    &scaled
                }
                None => return self.skip(hook, SkipReason::Subresource, scale),
            },
            Ask::Skip(reason, request) => return self.skip(hook, *reason, request),
        };
        let policies = self.policies.borrow().set.clone();
        // Nothing new to judge: without policies only the warning about restarted pods is lost.
        let only_warns =
            admission.workload.images.is_empty() && admission.workload.unchanged.is_none();
        match policies {
            None if only_warns => self.skip(hook, SkipReason::Unchanged, admission),
            Some(policies) => {
                ReviewResponse::ok(self.evaluate(hook, admission, &policies, deadline).await)
            }
            None => self.not_ready(hook, admission),
        }
    }

    /// Allows a review that starts no new image.
    fn skip(&self, hook: Hook, reason: SkipReason, request: &Admission) -> ReviewResponse {
        self.decisions.skipped(&SkippedReview {
            hook,
            uid: &request.uid,
            request: Some(request),
            allowed: true,
            reason: reason.code(),
            denial: "",
        });
        ReviewResponse::ok(answer::allowed(&request.uid))
    }

    /// The admission of the workload that `scale` names. `None` if it cannot be read, or if policies
    /// are not loaded: the answer is a warning at most, and never a reason to deny.
    async fn scaled_workload(&self, hook: Hook, scale: &Admission) -> Option<Admission> {
        let source = self.workloads.as_ref().filter(|_| hook == Hook::Validate)?;
        self.policies.borrow().set.as_ref()?;
        let read =
            tokio::time::timeout(WORKLOAD_TIMEOUT, source.workload(&scale.workload.scope)).await;
        match read {
            Ok(Ok(object)) => scaled_up(scale, &object?),
            Ok(Err(fault)) => {
                debug!(%fault, "the scaled workload cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// Evaluates the images with the engine, and returns the AdmissionReview.
    async fn evaluate(
        &self,
        hook: Hook,
        admission: &Admission,
        policies: &PolicySet,
        deadline: Instant,
    ) -> Vec<u8> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Some(left.max(Duration::from_millis(1)));
        if hook == Hook::Mutate {
            let answered = self.gate.mutate(admission, timeout).await;
            self.decisions.mutated(admission, answered.allowed);
            return answer::mutated(admission, &answered);
        }
        // The engine hands the decision to its audit sink, which counts and logs it.
        let answered = self.gate.validate(admission, policies, timeout).await;
        answer::validated(&admission.uid, &answered)
    }

    /// Denies a review because policies are not loaded.
    fn not_ready(&self, hook: Hook, request: &Admission) -> ReviewResponse {
        let why = readiness(&self.policies.borrow()).err().unwrap_or_default();
        self.decisions.skipped(&SkippedReview {
            hook,
            uid: &request.uid,
            request: Some(request),
            allowed: false,
            reason: "not-ready",
            denial: &why,
        });
        denied(&request.uid, &format!("the gate is not ready: {why}"))
    }
}
