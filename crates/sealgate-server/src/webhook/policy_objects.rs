//! Reviews of ClusterImagePolicies and TrustRoots: validation, defaults, conversion.
//!
//! Whoever may post to the webhook decides how much work an object is, so the work is done apart
//! from the threads that answer reviews of workloads, a few at a time; the others wait, and are
//! denied when too many wait or when the time is over.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use sealgate_engine::roots::Roots;
use sealgate_kube::answer::ReviewResponse;
use sealgate_kube::policies::{self, Reviewed, Validation};
use sealgate_kube::review::{Malformed, MalformedReason, uid};
use sealgate_policy::assemble::PolicySource;
use sealgate_policy::cip::compile::RootRef;
use sealgate_policy::cip::validate::Context;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::handler::{WebhookHandler, denied};
use crate::decisions::SkippedReview;
use crate::hook::Hook;

/// The most reviews of policy objects that are worked on at once.
const AT_ONCE: usize = 1;
/// The most reviews that wait for that.
const WAITING: usize = 32;

/// The denial of a review that did not get its turn.
const BUSY: &str = "the gate is validating too many policies at once; try again";

/// Bounds the reviews of policy objects under way.
pub struct PolicyReviews {
    /// Held while a review waits and while it is worked on.
    places: Arc<Semaphore>,
    /// Held while a review is worked on.
    turns: Arc<Semaphore>,
}

/// The right to work on a review; given back when the work ends, even if its client has gone.
struct Turn {
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

/// The result of a review of a policy object.
enum Worked {
    Reviewed(Box<Result<Reviewed, Malformed>>),
    Converted(Result<Vec<u8>, MalformedReason>),
}

impl Default for PolicyReviews {
    fn default() -> Self {
        Self::new(AT_ONCE, WAITING)
    }
}

impl PolicyReviews {
    /// At most `at_once` reviews are worked on at once, while at most `waiting` wait.
    pub fn new(at_once: usize, waiting: usize) -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        Self { places: permits(at_once + waiting), turns: permits(at_once) }
    }

    /// Waits for a turn. `None` if too many wait already, or at half of the time until `deadline`:
    /// the work needs the rest.
    async fn turn(&self, deadline: Instant) -> Option<Turn> {
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / 2;
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let turn = timeout_at(until, Arc::clone(&self.turns).acquire_owned()).await.ok()?.ok()?;
        Some(Turn { _place: place, _turn: turn })
    }
}

impl WebhookHandler {
    /// Answers the review of a policy object.
    pub(super) async fn policy_object(
        &self,
        hook: Hook,
        body: Bytes,
        deadline: Instant,
    ) -> ReviewResponse {
        let Some(turn) = self.policy_reviews.turn(deadline).await else {
            return self.busy(hook, &body);
        };
        let work = self.work(hook, body.clone());
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work();
            drop(turn);
            worked
        });
        match worked.await {
            Ok(Worked::Reviewed(review)) => self.policy_reviewed(hook, *review),
            Ok(Worked::Converted(converted)) => self.policies_converted(converted),
            Err(error) => match error.try_into_panic() {
                // As if it had happened here: it is counted, and the review is denied.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => self.busy(hook, &body),
            },
        }
    }

    /// The work on a review, with all that it needs.
    fn work(&self, hook: Hook, body: Bytes) -> Box<dyn FnOnce() -> Worked + Send> {
        match hook {
            Hook::ConvertPolicies => {
                Box::new(move || Worked::Converted(policies::converted(&body)))
            }
            Hook::DefaultPolicies => {
                Box::new(move || Worked::Reviewed(policies::defaulted(&body).into()))
            }
            Hook::ValidatePolicies | Hook::Validate | Hook::Mutate => {
                let (context, source) = self.policy_context();
                let roots = Arc::clone(&self.roots);
                Box::new(move || {
                    Worked::Reviewed(validated(&body, &context, source, &roots).into())
                })
            }
        }
    }

    fn policy_context(&self) -> (Context, PolicySource) {
        let (source, empty_authorities) = {
            let state = self.policies.borrow();
            (state.source, state.config.empty_authorities)
        };
        if source == PolicySource::Folder {
            warn!(
                "a policy object of the cluster was reviewed; it has no effect, because this gate reads \
                 its policies from a folder"
            );
        }
        (Context { system_namespace: self.system_namespace.clone(), empty_authorities }, source)
    }

    fn policy_reviewed(&self, hook: Hook, review: Result<Reviewed, Malformed>) -> ReviewResponse {
        match review {
            Ok(review) => {
                self.decisions.policy_reviewed(hook, &review);
                ReviewResponse::ok(review.body)
            }
            Err(malformed) => self.malformed(hook, &malformed),
        }
    }

    fn policies_converted(&self, converted: Result<Vec<u8>, MalformedReason>) -> ReviewResponse {
        match converted {
            Ok(body) => {
                self.decisions.converted();
                ReviewResponse::ok(body)
            }
            Err(reason) => self.malformed(Hook::ConvertPolicies, &Malformed { uid: None, reason }),
        }
    }

    /// Denies a review that did not get its turn. A conversion has no denial: HTTP 503.
    fn busy(&self, hook: Hook, body: &Bytes) -> ReviewResponse {
        let uid = uid(body);
        self.decisions.skipped(&SkippedReview {
            hook,
            uid: uid.as_deref().unwrap_or_default(),
            request: None,
            allowed: false,
            reason: "busy",
            denial: BUSY,
        });
        match uid {
            Some(uid) => denied(&uid, BUSY),
            None => ReviewResponse { status: StatusCode::SERVICE_UNAVAILABLE, body: BUSY.into() },
        }
    }
}

fn validated(
    body: &Bytes,
    context: &Context,
    source: PolicySource,
    roots: &Roots,
) -> Result<Reviewed, Malformed> {
    let roots = |which: &RootRef| roots.get(which);
    policies::validated(body, &Validation { context, roots: &roots, source })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn few_reviews_are_worked_on_and_few_wait() {
        let reviews = Arc::new(PolicyReviews::new(2, WAITING));
        let deadline = || Instant::now() + Duration::from_secs(2);
        let turns = [reviews.turn(deadline()).await, reviews.turn(deadline()).await];
        assert!(turns.iter().all(Option::is_some));
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let (reviews, deadline) = (Arc::clone(&reviews), deadline());
                tokio::spawn(async move { reviews.turn(deadline).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        let start = Instant::now();
        // One too many is denied at once, the others when half of their time is over.
        assert!(reviews.turn(deadline()).await.is_none());
        assert!(start.elapsed() < Duration::from_millis(500));
        for task in waiting {
            assert!(!task.await.unwrap());
        }
        assert!(start.elapsed() >= Duration::from_millis(800));
        // Whoever waits gets the turn that is given back.
        let (again, deadline) = (Arc::clone(&reviews), deadline());
        let waiting = tokio::spawn(async move { again.turn(deadline).await.is_some() });
        tokio::task::yield_now().await;
        drop(turns);
        assert!(waiting.await.unwrap());
    }
}
