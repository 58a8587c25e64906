//! Decisions: the one place where each is counted. Those of the validating webhook, and denials of
//! the mutating one, are logged as one line with the same fields (`tracing`, target `decision`).

use std::sync::Arc;

use sealgate_core::fault::Fault;
use sealgate_engine::admit::Admission;
use sealgate_engine::ports::AuditSink;
use sealgate_engine::record::{Decided, ImageRecord};
use sealgate_kube::policies::Reviewed;
use sealgate_policy::scope::Scope;
use tracing::{info, warn};

use crate::hook::Hook;
use crate::metrics::{AnsweredReview, Metrics};

/// The fields of a decision's line in the log, in the order in which a text log shows them.
pub const FIELDS: [&str; 15] = [
    "allowed",
    "reason",
    "operation",
    "kind",
    "namespace",
    "name",
    "user",
    "images",
    "denial",
    "warnings",
    "dry_run",
    "micros",
    "api_version",
    "uid",
    "policies",
];

/// The code of the faults of the gate's own budget, and the reason of the decisions they lead to.
const BUSY: &str = "busy";

/// Counts decisions and logs them.
pub struct Decisions {
    metrics: Arc<Metrics>,
}

/// A review that was answered without evaluating an image.
pub(crate) struct SkippedReview<'a> {
    pub(crate) hook: Hook,
    pub(crate) uid: &'a str,
    /// The request, if it could be read.
    pub(crate) request: Option<&'a Admission>,
    pub(crate) allowed: bool,
    /// A stable code.
    pub(crate) reason: &'static str,
    /// Empty when allowed.
    pub(crate) denial: &'a str,
}

/// The line of a decision.
struct Line<'a> {
    uid: &'a str,
    /// The request, if it could be read.
    request: Option<&'a Admission>,
    allowed: bool,
    reason: &'a str,
    denial: &'a str,
    warnings: usize,
    images: String,
    policies: &'a str,
    micros: u64,
}

impl Decisions {
    /// Counts in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }

    /// Records a review that was answered without evaluating an image. What the mutating webhook
    /// allows is not logged: the validating one decides about the same object.
    pub(crate) fn skipped(&self, review: &SkippedReview<'_>) {
        let SkippedReview { hook, uid, request, allowed, reason, denial } = *review;
        self.count(hook, request, allowed, reason);
        match hook {
            Hook::Validate => review.log(),
            _ if allowed => {}
            Hook::Mutate => review.log(),
            // The denial is a field and not the message: fields are escaped, and a client may have
            // written part of it.
            Hook::ValidatePolicies | Hook::DefaultPolicies | Hook::ConvertPolicies => {
                warn!(hook = hook.name(), uid, allowed, reason, denial, "review denied");
            }
        }
    }

    /// Records that the mutating webhook replaced tags by digests.
    pub(crate) fn mutated(&self, request: &Admission, allowed: bool) {
        self.count(Hook::Mutate, Some(request), allowed, "pinned");
    }

    /// Records the review of a ClusterImagePolicy or TrustRoot.
    pub(crate) fn policy_reviewed(&self, hook: Hook, review: &Reviewed) {
        let Reviewed { allowed, scope, dry_run, .. } = review;
        let reason = if *allowed { "answered" } else { "invalid" };
        let (scope, allowed, dry_run) = (Some(scope), *allowed, *dry_run);
        self.metrics.review(&AnsweredReview { hook, scope, allowed, dry_run, reason });
    }

    /// Records a conversion.
    pub(crate) fn converted(&self) {
        self.count(Hook::ConvertPolicies, None, true, "answered");
    }

    fn count(&self, hook: Hook, request: Option<&Admission>, allowed: bool, reason: &'static str) {
        let scope = request.map(|request| &request.workload.scope);
        let dry_run = request.is_some_and(|request| request.dry_run);
        self.metrics.review(&AnsweredReview { hook, scope, allowed, dry_run, reason });
    }
}

/// Decisions about images, by the engine.
impl AuditSink for Decisions {
    fn record(&self, decided: &Decided<'_>) {
        let (admission, decision) = (decided.admission, decided.decision);
        let reason = reason(&decision.images);
        self.metrics.review(&AnsweredReview {
            hook: Hook::Validate,
            scope: Some(&admission.workload.scope),
            allowed: decision.allowed,
            dry_run: admission.dry_run,
            reason,
        });
        for image in &decision.images {
            self.metrics.image(outcome(image));
        }
        Line::log_decision(decided, reason);
        log_causes(decided);
    }
}

/// Maximum number of faults of one decision that are logged.
const MAX_CAUSES: usize = 16;

/// Logs the faults that kept signatures from being read: the answer to the request does not have
/// their details, because its author may have chosen the registry. A tag that was not resolved is
/// logged where that is tried.
fn log_causes(decided: &Decided<'_>) {
    if !decided.decision.images.iter().any(|image| outcome(image) == "fault") {
        return;
    }
    let mut logged: Vec<(&str, &Fault)> = Vec::new();
    let images = decided.images.iter().filter_map(|image| Some((image, image.facts.as_ref()?)));
    for (image, facts) in images {
        for fault in facts.faults() {
            let cause = (image.state.image.as_str(), fault);
            if logged.len() < MAX_CAUSES && !logged.contains(&cause) {
                warn!(uid = decided.admission.uid, image = cause.0, %fault, "signatures not read");
                logged.push(cause);
            }
        }
    }
}

impl SkippedReview<'_> {
    /// Logs the line of the review.
    fn log(&self) {
        Line {
            uid: self.uid,
            request: self.request,
            allowed: self.allowed,
            reason: self.reason,
            denial: self.denial,
            warnings: 0,
            images: "[]".to_owned(),
            policies: "",
            micros: 0,
        }
        .write();
    }
}

impl Line<'_> {
    /// Logs the line of a decision.
    fn log_decision(decided: &Decided<'_>, reason: &str) {
        let (admission, decision) = (decided.admission, decided.decision);
        Line {
            uid: &admission.uid,
            request: Some(admission),
            allowed: decision.allowed,
            reason,
            denial: &decision.message,
            warnings: decision.warnings.len(),
            images: images(&decision.images),
            policies: &decided.policies.fingerprint().to_string(),
            micros: u64::try_from(decided.took.as_micros()).unwrap_or(u64::MAX),
        }
        .write();
    }

    /// Writes the line: whatever the decision, the fields are those of [`FIELDS`].
    fn write(&self) {
        let unknown = Scope::default();
        let scope = self.request.map_or(&unknown, |request| &request.workload.scope);
        info!(
            target: "decision",
            uid = self.uid,
            user = self.request.map_or("", |request| &request.user),
            operation = scope.operation,
            api_version = scope.api_version(),
            kind = scope.kind,
            namespace = scope.namespace,
            name = scope.name,
            dry_run = self.request.is_some_and(|request| request.dry_run),
            allowed = self.allowed,
            reason = self.reason,
            denial = self.denial,
            warnings = self.warnings,
            images = self.images,
            policies = self.policies,
            micros = self.micros,
            "decision"
        );
    }
}

fn images(images: &[ImageRecord]) -> String {
    // Records are plain text and lists: writing them does not fail.
    serde_json::to_string(images).unwrap_or_default()
}

/// The outcome that decided: the first that denies, else the first that is no `pass`.
fn reason(images: &[ImageRecord]) -> &'static str {
    let deciding = images
        .iter()
        .find(|image| image.denies)
        .or_else(|| images.iter().find(|image| outcome(image) != "pass").or(images.first()));
    deciding.map_or("nothing", |image| match image.codes.iter().any(|code| *code == BUSY) {
        true if matches!(outcome(image), "fault" | "not-pinned") => BUSY,
        _ => outcome(image),
    })
}

/// The outcome of an image as a label, from a fixed list.
fn outcome(image: &ImageRecord) -> &'static str {
    const KNOWN: [&str; 7] =
        ["pass", "fail", "fault", "no-match", "not-pinned", "placeholder", "unreadable"];
    KNOWN.into_iter().find(|known| *known == image.outcome).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// A subscriber that collects the names of the fields of decisions.
    #[derive(Clone, Default)]
    struct FieldNames(Arc<Mutex<BTreeSet<&'static str>>>);

    impl Subscriber for FieldNames {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "decision"
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let names = event.metadata().fields().iter().map(|field| field.name());
            self.0.lock().unwrap().extend(names);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_line_has_the_documented_fields() {
        let names = FieldNames::default();
        tracing::subscriber::with_default(names.clone(), || {
            Decisions::new(Arc::default()).skipped(&SkippedReview {
                hook: Hook::Validate,
                uid: "u",
                request: None,
                allowed: false,
                reason: "r",
                denial: "d",
            });
        });
        let documented = FIELDS.into_iter().chain(["message"]).collect();
        assert_eq!(*names.0.lock().unwrap(), documented);
    }
}
