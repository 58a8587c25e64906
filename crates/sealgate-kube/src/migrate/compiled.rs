//! Policies compiled by policy-controller.
//!
//! Its webhook evaluates the ConfigMap `config-image-policies`, which its reconciler fills with one
//! entry per policy after its webhooks respond; when a key cannot be loaded it removes the entry.
//! An image that matches a policy without an entry is evaluated by the others, or by none.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::finalizers::finalizer;
use super::objects::Objects;
use super::{Cluster, POLL_INTERVAL, Progress, REQUIRED_SUCCESSES};
use crate::crd::{GROUP, POLICY_VERSIONS};

/// ConfigMap read by policy-controller's webhook.
const CONFIG_MAP: &str = "config-image-policies";
/// Maximum number of policies named in a message.
const MAX_NAMED: usize = 20;

impl Cluster<'_> {
    /// Waits until policy-controller has compiled every enforcing policy.
    pub(super) async fn wait_until_compiled(&self, say: Progress<'_>) -> Result<(), Fault> {
        say("waiting until policy-controller has compiled its policies");
        let version = format!("{GROUP}/{}", POLICY_VERSIONS[0]);
        let (kind, plural) = ("ClusterImagePolicy", "clusterimagepolicies");
        let policies = Objects::of(self.client, &version, kind, plural, None);
        let maps = Objects::of(self.client, "v1", "ConfigMap", "configmaps", Some(self.namespace));
        let start = Instant::now();
        let mut times = 0;
        loop {
            let compiled = maps.get(CONFIG_MAP).await?.unwrap_or_default();
            let missing = not_compiled(&policies.list().await?, &compiled["data"]);
            times = if missing.is_empty() { times + 1 } else { 0 };
            if times >= REQUIRED_SUCCESSES {
                return Ok(());
            }
            if Instant::now() > self.end {
                return Err(compilation_timeout(&missing, start.elapsed()));
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Enforcing policies that policy-controller has not reconciled or that have no entry. An entry
/// alone may be outdated: a policy is reconciled only once it has the finalizer.
fn not_compiled(policies: &[Value], entries: &Value) -> Vec<String> {
    let finalizer = finalizer("clusterimagepolicies");
    let is_missing = |policy: &&Value| {
        let metadata = &policy["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let finalizers = metadata["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let seen = finalizers.iter().any(|it| *it == finalizer);
        let enforces = policy["spec"]["mode"] != "warn" && metadata["deletionTimestamp"].is_null();
        enforces && !(seen && entries.get(name).is_some())
    };
    let missing = policies.iter().filter(is_missing);
    missing.map(|it| it["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn compilation_timeout(missing: &[String], waited: Duration) -> Fault {
    let named = missing.get(..MAX_NAMED).unwrap_or(missing).join(", ");
    let more = match missing.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        left => format!(" and {left} more"),
    };
    let why = format!(
        "policy-controller has not compiled {named}{more} after {} s: see their status, and \
         its log; the gate still enforces",
        waited.as_secs()
    );
    Fault::new(FaultKind::Timeout, format!("ConfigMap {CONFIG_MAP}"), why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_enforcing_policy_needs_its_finalizer_and_its_entry() {
        let finalizers = json!([finalizer("clusterimagepolicies")]);
        let policy = |name: &str, finalizers: &Value, mode: &str| json!({ "metadata": { "name": name, "finalizers": finalizers }, "spec": { "mode": mode } });
        let mut going = policy("going", &finalizers, "enforce");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let policies = [
            policy("done", &finalizers, "enforce"),
            policy("stale", &json!([]), "enforce"),
            policy("bad-key", &finalizers, ""),
            policy("warns", &json!([]), "warn"),
            going,
        ];
        let entries = json!({ "done": "{}", "stale": "{}", "_example": "x" });
        assert_eq!(not_compiled(&policies, &entries), ["stale", "bad-key"]);
        assert_eq!(not_compiled(&policies, &Value::Null), ["done", "stale", "bad-key"]);
        let many: Vec<String> = (0..MAX_NAMED + 2).map(|number| format!("p{number}")).collect();
        let fault = compilation_timeout(&many, Duration::from_secs(9));
        assert!(fault.detail.contains("p19 and 2 more"), "{}", fault.detail);
    }
}
