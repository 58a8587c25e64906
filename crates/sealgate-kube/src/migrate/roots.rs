//! Policies that use the trust root set by policy-controller's flags.
//!
//! A policy without `trustRootRef` uses the root that policy-controller was started with. The gate
//! has the public-good root built in, so such a policy would trust other authorities afterwards.

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_policy::cip::{Authority, ClusterImagePolicy};
use serde_json::Value;

use super::Cluster;
use super::objects::Objects;
use super::preflight::with_type;
use crate::crd::{GROUP, POLICY_VERSIONS};

/// Default mirror of policy-controller.
const PUBLIC_MIRROR: &str = "https://tuf-repo-cdn.sigstore.dev";
/// Flags that select another root.
const FLAGS: [&str; 3] = ["disable-tuf", "tuf-mirror", "tuf-root"];
/// Environment variables that replace parts of the root.
const VARIABLES: [&str; 3] =
    ["SIGSTORE_ROOT_FILE", "SIGSTORE_REKOR_PUBLIC_KEY", "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE"];

impl Cluster<'_> {
    /// Policies without a `trustRootRef`, if policy-controller has a root of its own: the settings
    /// that select it, and the policies.
    pub(super) async fn policies_using_its_root(&self) -> Result<Vec<String>, Fault> {
        let mut flags = Vec::new();
        for workload in &self.find().await?.workloads {
            let live = self.apps(workload.kind).get(&workload.name).await?.unwrap_or_default();
            let described = format!("{} {}", workload.kind, workload.name);
            let said = own_root(&live["spec"]["template"]["spec"]);
            flags.extend(said.into_iter().map(|flag| format!("{described} has {flag}")));
        }
        if flags.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.policies_without_root_ref().await?;
        let problem = |name: String| {
            format!(
                "{name}: has no trustRootRef, and {}: the gate would use the public-good \
                 root; create a TrustRoot and reference it in the policy",
                flags.join(", ")
            )
        };
        Ok(names.into_iter().map(problem).collect())
    }

    async fn policies_without_root_ref(&self) -> Result<Vec<String>, Fault> {
        let version = format!("{GROUP}/{}", POLICY_VERSIONS[0]);
        let policies =
            Objects::of(self.client, &version, "ClusterImagePolicy", "clusterimagepolicies", None);
        let listed = match policies.list().await {
            Err(fault) if fault.kind == FaultKind::Missing => return Ok(Vec::new()),
            listed => listed?,
        };
        // Unreadable policies are reported by `undecidable`.
        let read =
            listed.into_iter().filter_map(|it| ClusterImagePolicy::from_json(&with_type(it)).ok());
        let rests = |policy: &ClusterImagePolicy| policy.spec.authorities.iter().any(has_no_ref);
        Ok(read.filter(rests).map(|policy| policy.name).collect())
    }
}

/// Returns whether an authority's certificates or log depend on the default root.
fn has_no_ref(authority: &Authority) -> bool {
    let of_log = authority.ctlog.as_ref().is_some_and(|log| log.trust_root_ref.is_empty());
    match &authority.keyless {
        Some(keyless) => keyless.trust_root_ref.is_empty(),
        None => of_log,
    }
}

/// Settings of a pod that give policy-controller another root than the public-good one.
fn own_root(pod: &Value) -> Vec<String> {
    let mut said = Vec::new();
    for container in pod["containers"].as_array().into_iter().flatten() {
        let words: Vec<&str> = ["command", "args"]
            .iter()
            .flat_map(|key| container[key].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let next = words.iter().skip(1).map(|word| Some(*word)).chain([None]);
        said.extend(words.iter().zip(next).filter_map(|(word, next)| flag(word, next)));
        let variables = container["env"].as_array().into_iter().flatten();
        let names = variables.filter_map(|variable| variable["name"].as_str());
        said.extend(names.filter(|name| VARIABLES.contains(name)).map(str::to_owned));
    }
    said
}

/// Flag in an argument, in any of Go's spellings, if its value selects another root.
fn flag(word: &str, next: Option<&str>) -> Option<String> {
    let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let (name, value) = match bare.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (bare, None),
    };
    let name = FLAGS.into_iter().find(|flag| *flag == name)?;
    let is_other = match name {
        "disable-tuf" => !matches!(value, Some("false" | "FALSE" | "False" | "f" | "F" | "0")),
        "tuf-mirror" => {
            let mirror = value.or(next).unwrap_or_default().trim_end_matches('/');
            !mirror.is_empty() && mirror != PUBLIC_MIRROR
        }
        _ => !value.or(next).unwrap_or_default().is_empty(),
    };
    is_other.then(|| format!("--{name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_that_give_another_root() {
        for (args, wanted) in [
            (json!([]), &[][..]),
            (json!(["--policy-resync-period", "10h"]), &[]),
            (json!(["--disable-tuf"]), &["--disable-tuf"]),
            (json!(["-disable-tuf=true"]), &["--disable-tuf"]),
            (json!(["--disable-tuf=false"]), &[]),
            (json!(["--tuf-mirror", "http://tuf.svc"]), &["--tuf-mirror"]),
            (json!(["-tuf-mirror=http://tuf.svc"]), &["--tuf-mirror"]),
            (json!(["--tuf-mirror", PUBLIC_MIRROR]), &[]),
            (json!(["--tuf-mirror="]), &[]),
            (json!(["--tuf-mirror", PUBLIC_MIRROR, "--tuf-root", "/r.json"]), &["--tuf-root"]),
        ] {
            let pod = json!({ "containers": [{ "args": args }] });
            assert_eq!(own_root(&pod), wanted, "{args}");
            let pod = json!({ "containers": [{ "name": "x" }, { "command": args }] });
            assert_eq!(own_root(&pod), wanted, "{args}");
        }
        let env = json!([{ "name": "HOME" }, { "name": "SIGSTORE_ROOT_FILE", "value": "/r" }]);
        assert_eq!(own_root(&json!({ "containers": [{ "env": env }] })), ["SIGSTORE_ROOT_FILE"]);
    }

    #[test]
    fn policies_that_name_no_root() {
        for (authority, wanted) in [
            (json!({ "key": { "data": "k" } }), false),
            (json!({ "key": { "data": "k" }, "ctlog": { "url": "https://log.invalid" } }), true),
            (json!({ "key": { "data": "k" }, "ctlog": { "trustRootRef": "r" } }), false),
            (json!({ "keyless": { "url": "https://ca.invalid" } }), true),
            (json!({ "keyless": { "trustRootRef": "r" } }), false),
            (
                json!({ "keyless": { "trustRootRef": "r" }, "ctlog": { "url": "https://l.invalid" } }),
                false,
            ),
            (json!({ "static": { "action": "pass" } }), false),
        ] {
            let mut authority = authority;
            if authority["keyless"].is_object() {
                authority["keyless"]["identities"] = json!([{ "issuer": "i", "subject": "s" }]);
            }
            let policy = json!({
                "metadata": { "name": "p" },
                "spec": { "images": [{ "glob": "**" }], "authorities": [authority] },
            });
            let policy = ClusterImagePolicy::from_json(&with_type(policy)).expect("a policy");
            assert_eq!(policy.spec.authorities.iter().any(has_no_ref), wanted, "{authority}");
        }
    }
}
