//! Every decision: one line in the log, with the same fields for yes and no, and the counters.

use std::sync::Arc;

use sealgate_engine::admit::Admission;
use sealgate_engine::ports::AuditSink;
use sealgate_engine::record::{Decided, ImageRecord};
use sealgate_policy::scope::Scope;
use tracing::info;

use crate::http::Hook;
use crate::metrics::{Admitted, Metrics};

/// The fields of a decision's line in the log, in the order in which a person reads them: what is
/// looked for first comes first.
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

/// Writes decisions to the log (`tracing`, target `decision`) and counts them.
pub struct DecisionLog {
    metrics: Arc<Metrics>,
}

impl DecisionLog {
    /// Counts in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl AuditSink for DecisionLog {
    fn record(&self, decided: &Decided<'_>) {
        let (admission, decision) = (decided.admission, decided.decision);
        let reason = reason(&decision.images);
        self.metrics.admitted(&Admitted {
            hook: Hook::Validate,
            scope: Some(&admission.workload.scope),
            allowed: decision.allowed,
            dry_run: admission.dry_run,
            reason,
        });
        for image in &decision.images {
            self.metrics.image(outcome(image));
        }
        Line::of_decision(decided, reason);
    }
}

/// The line of a decision.
struct Line<'a> {
    uid: &'a str,
    user: &'a str,
    operation: &'a str,
    api_version: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    dry_run: bool,
    allowed: bool,
    reason: &'a str,
    denial: &'a str,
    warnings: usize,
    images: String,
    policies: &'a str,
    micros: u64,
}

/// A decision that was taken without judging an image: what was asked, as far as it is known.
pub(crate) struct Unjudged<'a> {
    pub(crate) uid: &'a str,
    pub(crate) about: Option<&'a Admission>,
    pub(crate) allowed: bool,
    /// A stable code.
    pub(crate) reason: &'a str,
    /// Empty when allowed.
    pub(crate) denial: &'a str,
}

impl Unjudged<'_> {
    /// Writes the line; the counters are the caller's.
    pub(crate) fn write(&self) {
        let nothing = Scope::default();
        let scope = self.about.map_or(&nothing, |about| &about.workload.scope);
        Line {
            uid: self.uid,
            user: self.about.map_or("", |about| &about.user),
            operation: &scope.operation,
            api_version: &scope.api_version(),
            kind: &scope.kind,
            namespace: &scope.namespace,
            name: &scope.name,
            dry_run: self.about.is_some_and(|about| about.dry_run),
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
    /// Writes the line of a decision.
    fn of_decision(decided: &Decided<'_>, reason: &str) {
        let (admission, decision) = (decided.admission, decided.decision);
        let scope = &admission.workload.scope;
        Line {
            uid: &admission.uid,
            user: &admission.user,
            operation: &scope.operation,
            api_version: &scope.api_version(),
            kind: &scope.kind,
            namespace: &scope.namespace,
            name: &scope.name,
            dry_run: admission.dry_run,
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

    /// The one place where decisions are written: whatever was decided, the fields are those of
    /// [`FIELDS`].
    fn write(&self) {
        info!(
            target: "decision",
            uid = self.uid,
            user = self.user,
            operation = self.operation,
            api_version = self.api_version,
            kind = self.kind,
            namespace = self.namespace,
            name = self.name,
            dry_run = self.dry_run,
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

/// The outcome that decided: the first that denies, else the weakest that admits.
fn reason(images: &[ImageRecord]) -> &'static str {
    let deciding = images
        .iter()
        .find(|image| image.denies)
        .or_else(|| images.iter().find(|image| outcome(image) != "pass").or(images.first()));
    deciding.map_or("nothing", outcome)
}

/// The engine's word for an outcome, as a label: from a fixed list.
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

    /// Keeps the names of the fields of what is logged.
    #[derive(Clone, Default)]
    struct Names(Arc<Mutex<BTreeSet<&'static str>>>);

    impl Subscriber for Names {
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
    fn a_line_has_the_fields_that_are_promised() {
        let names = Names::default();
        tracing::subscriber::with_default(names.clone(), || {
            let unjudged =
                Unjudged { uid: "u", about: None, allowed: false, reason: "r", denial: "d" };
            unjudged.write();
        });
        let promised = FIELDS.into_iter().chain(["message"]).collect();
        assert_eq!(*names.0.lock().unwrap(), promised);
    }
}
