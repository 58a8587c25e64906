//! The status of a policy or TrustRoot, and the task that writes it.
//!
//! Every replica writes, but only a status that differs from the present one, and only over the
//! resourceVersion that it has seen: of several replicas one succeeds; the others get a conflict and
//! see its status a moment later. So no leader is needed. The replica that wrote also publishes the
//! event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::Clock;
use sealgate_policy::cip::compile::Condition;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::index::{Metadata, Report};
use crate::cluster::within;

/// The wait before statuses are written again after one could not be.
const RETRY: Duration = Duration::from_secs(30);
/// The time before the same conditions are written again over those of another writer. Replicas may
/// differ (one reaches a mirror, another does not) and must not overwrite each other all day.
const REWRITE: Duration = Duration::from_secs(300);
/// The longest message in a condition, in characters.
const MAX_MESSAGE: usize = 1_000;

/// Writes statuses in its own task, always the newest reports.
pub(super) struct StatusWriter {
    reports: watch::Sender<Vec<Report>>,
}

struct Writer {
    api: Api<DynamicObject>,
    resource: ApiResource,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    history: History,
}

/// The status written last for each object.
#[derive(Default)]
struct History(BTreeMap<String, WrittenStatus>);

struct WrittenStatus {
    time: Instant,
    uid: String,
    generation: Option<i64>,
    conditions: Vec<Condition>,
}

/// The outcome of writing a status.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    /// Another replica was faster, or the object is gone.
    NotNeeded,
    Failed,
}

impl StatusWriter {
    /// Starts the task; it ends when the writer is dropped.
    pub(super) fn start(
        client: Client,
        resource: ApiResource,
        instance: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (reports, receiver) = watch::channel(Vec::new());
        let reporter = Reporter { controller: "sealgate".to_owned(), instance: Some(instance) };
        let recorder = Recorder::new(client.clone(), reporter);
        let api = Api::all_with(client, &resource);
        let history = History::default();
        tokio::spawn(Writer { api, resource, recorder, clock, history }.run(receiver));
        Self { reports }
    }

    /// Hands the newest reports to the task.
    pub(super) fn write(&mut self, reports: Vec<Report>) {
        self.reports.send_if_modified(|current| {
            let changed = *current != reports;
            *current = reports;
            changed
        });
    }
}

impl Writer {
    async fn run(mut self, mut reports: watch::Receiver<Vec<Report>>) {
        loop {
            let newest = reports.borrow_and_update().clone();
            let written = self.write_all(&newest).await;
            let changed = match written {
                true => reports.changed().await,
                false => match tokio::time::timeout(RETRY, reports.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => Ok(()),
                },
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Writes the statuses that differ. Returns whether none is left to write. A failure to write one
    /// is a failure to write the others, too.
    async fn write_all(&mut self, reports: &[Report]) -> bool {
        self.history.retain(reports);
        let mut all = true;
        for report in reports {
            let Some(status) = due_status(report, self.clock.now()) else { continue };
            if self.history.wrote_lately(report, Instant::now()) {
                all = false;
                continue;
            }
            match self.write(report, status).await {
                Outcome::Written => self.history.record(report, Instant::now()),
                Outcome::NotNeeded => {}
                Outcome::Failed => return false,
            }
        }
        all
    }

    async fn write(&self, report: &Report, status: Value) -> Outcome {
        let Metadata { name, resource_version, .. } = &report.metadata;
        let patch = json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": { "resourceVersion": resource_version },
            "status": status,
        });
        let target = format!("status of {} {name}", self.resource.kind);
        let parameters = PatchParams::default();
        let patch = Patch::Merge(&patch);
        let patched = self.api.patch_status(name, &parameters, &patch);
        match within(&target, patched).await {
            Ok(_) => {
                self.publish(report).await;
                Outcome::Written
            }
            // The watch brings what they wrote.
            Err(failure) if failure.is_conflict() => Outcome::NotNeeded,
            Err(failure) => {
                let fault = failure.fault(&target);
                tracing::warn!(%fault, "the status could not be written");
                if is_hopeless(&fault) { Outcome::NotNeeded } else { Outcome::Failed }
            }
        }
    }

    /// A Warning event for an object that has just become one that cannot be used.
    async fn publish(&self, report: &Report) {
        let Some(event) = due_event(report) else { return };
        let target = format!("event about {} {}", self.resource.kind, report.metadata.name);
        let reference = ObjectReference {
            api_version: Some(self.resource.api_version.clone()),
            kind: Some(self.resource.kind.clone()),
            name: Some(report.metadata.name.clone()),
            uid: Some(report.metadata.uid.clone()),
            ..Default::default()
        };
        if let Err(failure) = within(&target, self.recorder.publish(&event, &reference)).await {
            let fault = failure.fault(&target);
            tracing::warn!(%fault, "the event could not be written");
        }
    }
}

impl History {
    /// Returns whether the same conditions were written a short time ago; if they differ from the
    /// present ones, another writer has overwritten them.
    fn wrote_lately(&self, report: &Report, now: Instant) -> bool {
        self.0.get(&report.metadata.name).is_some_and(|last| {
            now.duration_since(last.time) < REWRITE
                && last.uid == report.metadata.uid
                && last.generation == report.metadata.generation
                && last.conditions == report.conditions
        })
    }

    fn record(&mut self, report: &Report, now: Instant) {
        let Metadata { name, uid, generation, .. } = report.metadata.clone();
        let written =
            WrittenStatus { time: now, uid, generation, conditions: report.conditions.clone() };
        self.0.insert(name, written);
    }

    fn retain(&mut self, reports: &[Report]) {
        let there: BTreeSet<&str> = reports.iter().map(|r| r.metadata.name.as_str()).collect();
        self.0.retain(|name, _| there.contains(name.as_str()));
    }
}

/// Returns whether trying again is useless: the object is gone.
fn is_hopeless(fault: &Fault) -> bool {
    fault.kind == FaultKind::Missing
}

/// The status to write, if it differs from the present one.
fn due_status(report: &Report, now: Timestamp) -> Option<Value> {
    let present = &report.metadata.status;
    let same_generation =
        present.get("observedGeneration").and_then(Value::as_i64) == report.metadata.generation;
    let same = same_generation
        && present_conditions(present).count() == report.conditions.len()
        && report.conditions.iter().all(|condition| is_present(present, condition));
    if same {
        return None;
    }
    let conditions: Vec<Value> =
        report.conditions.iter().map(|condition| written(present, condition, now)).collect();
    Some(json!({ "observedGeneration": report.metadata.generation, "conditions": conditions }))
}

/// The event to publish: Ready does not hold, and did hold or for another reason before.
fn due_event(report: &Report) -> Option<Event> {
    let ready = report.conditions.iter().find(|condition| condition.kind == "Ready")?;
    if ready.holds || is_present(&report.metadata.status, ready) {
        return None;
    }
    Some(Event {
        type_: EventType::Warning,
        reason: ready.reason.to_owned(),
        note: Some(message(ready)),
        action: "Compile".to_owned(),
        secondary: None,
    })
}

fn present_conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status.get("conditions").and_then(Value::as_array).into_iter().flatten()
}

fn present<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    present_conditions(status).find(|condition| text(condition, "type") == kind)
}

fn is_present(status: &Value, condition: &Condition) -> bool {
    present(status, condition.kind).is_some_and(|present| {
        text(present, "status") == truth(condition)
            && text(present, "reason") == condition.reason
            && text(present, "message") == message(condition)
    })
}

/// The time of the last transition stays where the truth stays.
fn written(status: &Value, condition: &Condition, now: Timestamp) -> Value {
    let since = present(status, condition.kind)
        .filter(|present| text(present, "status") == truth(condition))
        .map(|present| text(present, "lastTransitionTime").to_owned())
        .filter(|since| !since.is_empty())
        .unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let mut written = json!({
        "type": condition.kind,
        "status": truth(condition),
        "lastTransitionTime": since,
    });
    if !condition.reason.is_empty() {
        written["reason"] = json!(condition.reason);
    }
    let message = message(condition);
    if !message.is_empty() {
        written["message"] = json!(message);
    }
    written
}

fn truth(condition: &Condition) -> &'static str {
    if condition.holds { "True" } else { "False" }
}

/// One line, bounded: events hold at most 1 KiB.
fn message(condition: &Condition) -> String {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    condition.message.chars().take(MAX_MESSAGE).map(line).collect()
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
