//! policy-controller's finalizers on policies and TrustRoots.
//!
//! policy-controller adds one to each object and removes it on deletion. Once it no longer runs,
//! such an object, and its CustomResourceDefinition, could never be deleted. Other finalizers
//! belong to others and are kept. A policy-controller that is installed again adds its own again.

use kube::Client;
use sealgate_core::fault::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::objects::{Objects, PatchResult};
use super::{Cluster, PROPAGATION_DELAY, Progress};
use crate::crd::{GROUP, POLICY_VERSIONS, ROOT_VERSION};

/// Kind, plural, version; the finalizer is the plural in our group.
const KINDS: [(&str, &str, &str); 2] = [
    ("ClusterImagePolicy", "clusterimagepolicies", POLICY_VERSIONS[0]),
    ("TrustRoot", "trustroots", ROOT_VERSION),
];
/// Number of attempts to change an object while others write it.
const ATTEMPTS: usize = 10;
/// Maximum number of objects named in a message.
const MAX_NAMED: usize = 20;

/// Result for all objects.
#[derive(Debug, Default)]
struct Removed {
    count: usize,
    failed: Vec<Fault>,
}

/// Removes policy-controller's finalizers from all policies and TrustRoots; policy-controller must
/// no longer run. Returns the objects that keep theirs, with reasons.
///
/// # Errors
/// Faults of the API server when listing them.
pub async fn remove_finalizers(client: &Client) -> Result<Vec<String>, Fault> {
    Ok(described(&remove_once(client).await?.failed))
}

impl Cluster<'_> {
    /// Repeats [`remove_finalizers`] until policy-controller, whose pods may still be terminating,
    /// no longer adds them.
    pub(super) async fn remove_finalizers(&self, say: Progress<'_>) -> Result<(), Fault> {
        let mut failed = Vec::new();
        self.wait("policy-controller keeps adding its finalizers", async || {
            let removed = remove_once(self.client).await?;
            failed = removed.failed;
            if removed.count > 0 {
                sleep(PROPAGATION_DELAY).await;
            }
            Ok(removed.count == 0)
        })
        .await?;
        for object in described(&failed) {
            say(&format!(
                "policy-controller's finalizer could not be removed, remove it manually: {object}"
            ));
        }
        Ok(())
    }
}

async fn remove_once(client: &Client) -> Result<Removed, Fault> {
    let mut removed = Removed::default();
    for (kind, plural, version) in KINDS {
        let objects = Objects::of(client, &format!("{GROUP}/{version}"), kind, plural, None);
        let finalizer = finalizer(plural);
        let listed = match objects.list().await {
            // The definition has been deleted, or never existed.
            Err(fault) if fault.kind == FaultKind::Missing => continue,
            listed => listed?,
        };
        for object in listed {
            match remove(&objects, object, &finalizer).await {
                Ok(done) => removed.count += usize::from(done),
                Err(fault) => removed.failed.push(fault),
            }
        }
    }
    Ok(removed)
}

/// Returns whether the finalizer was present and has been removed.
async fn remove(objects: &Objects, object: Value, finalizer: &str) -> Result<bool, Fault> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut live = Some(object);
    for _ in 0..ATTEMPTS {
        let Some(patch) = live.as_ref().and_then(|live| without(live, finalizer)) else {
            return Ok(false);
        };
        match objects.merge_unchanged(&name, &patch).await? {
            PatchResult::Done => return Ok(true),
            PatchResult::Gone => return Ok(false),
            PatchResult::Conflict => live = objects.get(&name).await?,
        }
    }
    Err(Fault::new(
        FaultKind::Cancelled,
        objects.describe(&name),
        "the object is being changed by others",
    ))
}

/// Patch that removes a finalizer from the version that was read; `None` when it is absent.
fn without(live: &Value, finalizer: &str) -> Option<Value> {
    let mut finalizers = live["metadata"]["finalizers"].as_array()?.clone();
    let before = finalizers.len();
    finalizers.retain(|it| it != finalizer);
    let version = &live["metadata"]["resourceVersion"];
    (finalizers.len() < before)
        .then(|| json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } }))
}

pub(super) fn finalizer(plural: &str) -> String {
    format!("{plural}.{GROUP}")
}

fn described(failed: &[Fault]) -> Vec<String> {
    let mut all: Vec<String> = failed.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let left = failed.len().saturating_sub(MAX_NAMED);
    if left > 0 {
        all.push(format!("and {left} more"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_finalizer_goes_and_only_from_the_version_that_was_read() {
        let ours = finalizer("clusterimagepolicies");
        assert_eq!(ours, "clusterimagepolicies.policy.sigstore.dev");
        let live = |finalizers: Value| json!({ "metadata": { "resourceVersion": "7", "finalizers": finalizers } });
        assert_eq!(
            without(&live(json!(["a.example/x", ours, "trustroots.policy.sigstore.dev"])), &ours),
            Some(live(json!(["a.example/x", "trustroots.policy.sigstore.dev"])))
        );
        assert_eq!(without(&live(json!([ours])), &ours), Some(live(json!([]))));
        assert_eq!(without(&live(json!(["a.example/x"])), &ours), None);
        assert_eq!(without(&json!({ "metadata": {} }), &ours), None);
    }
}
