//! Every decision: one line in the log, with the same fields for yes and no, and the counters.

use std::sync::Arc;

use sealgate_engine::ports::AuditSink;
use sealgate_engine::record::{DecisionRecord, ImageRecord};
use sealgate_policy::scope::Scope;
use tracing::info;

use crate::http::Hook;
use crate::metrics::{Admitted, Metrics};

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
    fn record(&self, record: DecisionRecord) {
        let reason = reason(&record);
        let scope = Scope {
            resource: plural(&record.kind).to_owned(),
            operation: record.operation.clone(),
            ..Scope::default()
        };
        self.metrics.admitted(&Admitted {
            hook: Hook::Validate,
            scope: Some(&scope),
            allowed: record.allowed,
            reason,
        });
        for image in &record.images {
            self.metrics.image(outcome(image));
        }
        write(&record, reason);
    }
}

fn write(record: &DecisionRecord, reason: &str) {
    info!(
        target: "decision",
        uid = record.uid,
        user = record.user,
        operation = record.operation,
        api_version = record.api_version,
        kind = record.kind,
        namespace = record.namespace,
        name = record.name,
        dry_run = record.dry_run,
        allowed = record.allowed,
        reason,
        denial = record.message,
        warnings = record.warnings.len(),
        images = images(record),
        policies = record.policies,
        micros = record.micros,
        "decision"
    );
}

fn images(record: &DecisionRecord) -> String {
    // Records are plain text and lists: writing them does not fail.
    serde_json::to_string(&record.images).unwrap_or_default()
}

/// The outcome that decided: the first that denies, else the weakest that let in.
fn reason(record: &DecisionRecord) -> &'static str {
    let deciding = record.images.iter().find(|image| image.denies).or_else(|| {
        record.images.iter().find(|image| outcome(image) != "pass").or(record.images.first())
    });
    deciding.map_or("nothing", outcome)
}

/// The engine's word for an outcome, as a label: from a fixed list.
fn outcome(image: &ImageRecord) -> &'static str {
    const KNOWN: [&str; 6] = ["pass", "fail", "fault", "no-match", "not-pinned", "unreadable"];
    KNOWN.into_iter().find(|known| *known == image.outcome).unwrap_or("other")
}

fn plural(kind: &str) -> &'static str {
    match kind {
        "Pod" => "pods",
        "ReplicaSet" => "replicasets",
        "Deployment" => "deployments",
        "StatefulSet" => "statefulsets",
        "DaemonSet" => "daemonsets",
        "Job" => "jobs",
        "CronJob" => "cronjobs",
        "ReplicationController" => "replicationcontrollers",
        _ => "other",
    }
}
