//! The lines of decisions in the log.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::fixture::{gate, policy, review};

type Line = BTreeMap<&'static str, String>;

/// Keeps the lines of the target `decision`, with the thread that wrote them: each test has one of
/// its own, and its gate runs on it.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<(ThreadId, Line)>>>);

impl Listener {
    /// Listens to the whole process. Only so are lines never lost: what one thread alone listens
    /// to, another may switch off for all.
    fn everywhere() -> Self {
        let listener = Self::default();
        tracing::subscriber::set_global_default(listener.clone()).unwrap();
        tracing::callsite::rebuild_interest_cache();
        listener
    }

    fn lines(&self) -> Vec<Line> {
        let lines = self.0.lock().unwrap();
        let here = lines.iter().filter(|(thread, _)| *thread == std::thread::current().id());
        here.map(|(_, line)| line.clone()).collect()
    }
}

struct Reader<'a>(&'a mut Line);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "decision"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::new();
        event.record(&mut Reader(&mut line));
        self.0.lock().unwrap().push((std::thread::current().id(), line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A review of an UPDATE that changes nothing.
fn unchanged(image: &str) -> Value {
    let mut update = review(image);
    update["request"]["operation"] = json!("UPDATE");
    update["request"]["oldObject"] = update["request"]["object"].clone();
    update
}

#[tokio::test]
async fn every_decision_is_one_line_of_the_same_fields() {
    let listener = Listener::everywhere();
    let gate = gate(|key| vec![("signed.yaml", policy("signed", "**", key))]);
    // Before the folder is read.
    let early = gate.pod("/validate", "registry.test/good:v1").await;
    gate.ready().await;
    let digest = gate.push("good");
    gate.sign("good", &digest).await;
    let good = format!("registry.test/good@{digest}");
    let mut strange = review(&good);
    strange["request"]["kind"]["kind"] = json!("Widget");
    strange["request"]["object"]["kind"] = json!("Widget");
    let mut deleted = unchanged(&good);
    deleted["request"]["operation"] = json!("DELETE");
    for review in
        [review(&good), review("registry.test/none:v1"), unchanged(&good), deleted, strange]
    {
        gate.post("/mutate", json!({}).to_string()).await;
        gate.post("/validate", review.to_string()).await;
    }
    let lines = listener.lines();
    let told = |name: &str| lines.iter().map(|line| line[name].as_str()).collect::<Vec<_>>();
    let mut reasons = told("reason");
    reasons.retain(|reason| *reason != "malformed");
    let mut expected = vec!["pass", "not-pinned", "unchanged", "starts-nothing"];
    if early["allowed"] == false && told("reason")[0] == "not-ready" {
        expected.insert(0, "not-ready");
    } else {
        expected.insert(0, "not-pinned");
    }
    assert_eq!(reasons, expected);
    let names = lines[0].keys().collect::<Vec<_>>();
    for line in &lines {
        assert_eq!(line.keys().collect::<Vec<_>>(), names, "{line:?}");
        assert_eq!(line["allowed"] == "true", line["denial"].is_empty(), "{line:?}");
    }
    assert!(lines.iter().all(|line| line["reason"] == "malformed" || line["uid"] == "u-1"));
    assert_eq!(lines.last().unwrap()["denial"], "decoding request failed: unhandled kind: Widget");
}
