//! Preflight check of a takeover: policies that the gate cannot evaluate and would therefore refuse
//! images for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Client;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{Clock, SecretSource as _};
use sealgate_policy::cip::compile::{
    Compiled, Lookups, RootRef, SecretContent, compile, content_of_secret, undecidable_reasons,
};
use sealgate_policy::cip::patterns::Patterns;
use sealgate_policy::cip::validate::Context;
use sealgate_policy::cip::{ClusterImagePolicy, SecretRef};
use sealgate_policy::depends::{Dependency, dependencies};
use sealgate_policy::rule::{Mode, UndecidableReason};
use serde_json::{Value, json};

use super::objects::Objects;
use crate::cluster::ClusterSecrets;
use crate::crd::{GROUP, POLICY_VERSIONS, ROOT_VERSION};
use crate::install::PullSecretRights;

/// Enforcing policies that the gate cannot evaluate, and for which it would refuse images: name and
/// reason.
///
/// # Errors
/// Faults of the API server.
pub async fn undecidable(
    client: &Client,
    namespace: &str,
    clock: Arc<dyn Clock>,
) -> Result<Vec<String>, Fault> {
    let policies = Objects::of(
        client,
        &format!("{GROUP}/{}", POLICY_VERSIONS[0]),
        "ClusterImagePolicy",
        "clusterimagepolicies",
        None,
    );
    let policies = match policies.list().await {
        Err(fault) if fault.kind == FaultKind::Missing => return Ok(Vec::new()),
        listed => listed?,
    };
    let secrets = ClusterSecrets::new(client.clone(), PullSecretRights::Nowhere, clock);
    let roots = names_of_trust_roots(client).await?;
    let mut problems = Vec::new();
    for object in policies {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match ClusterImagePolicy::from_json(&with_type(object)) {
            Err(error) => problems.push(format!("{name}: {error}")),
            Ok(policy) => {
                let contents = contents_of_secrets(&policy, namespace, &secrets).await?;
                problems.extend(lacking(&policy, namespace, &contents, &roots));
            }
        }
    }
    Ok(problems)
}

async fn names_of_trust_roots(client: &Client) -> Result<BTreeSet<String>, Fault> {
    let version = format!("{GROUP}/{}", ROOT_VERSION);
    let roots = match Objects::of(client, &version, "TrustRoot", "trustroots", None).list().await {
        Err(fault) if fault.kind == FaultKind::Missing => Vec::new(),
        listed => listed?,
    };
    let name = |root: &Value| root["metadata"]["name"].as_str().map(str::to_owned);
    Ok(roots.iter().filter_map(name).collect())
}

pub(super) fn with_type(mut object: Value) -> Value {
    object["apiVersion"] = json!(format!("{GROUP}/{}", POLICY_VERSIONS[0]));
    object["kind"] = json!("ClusterImagePolicy");
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// Content of the secrets named by a policy.
type Contents = BTreeMap<String, Result<SecretContent, Fault>>;

async fn contents_of_secrets(
    policy: &ClusterImagePolicy,
    namespace: &str,
    secrets: &ClusterSecrets,
) -> Result<Contents, Fault> {
    let mut contents = Contents::new();
    for dependency in dependencies(policy, namespace) {
        let Dependency::Secret(name) = dependency else { continue };
        let data = secrets.secret(namespace, name).await?;
        contents.insert(name.to_owned(), content_of_secret(name, data.as_ref()));
    }
    Ok(contents)
}

/// Parts of an enforcing policy that cannot be evaluated. Trust roots are only checked for
/// existence: the gate reads their content itself.
fn lacking(
    policy: &ClusterImagePolicy,
    namespace: &str,
    contents: &Contents,
    trust_roots: &BTreeSet<String>,
) -> Vec<String> {
    let lookup = |secret: &SecretRef| match contents.get(&secret.name) {
        Some(content) => content.clone(),
        None => content_of_secret(&secret.name, None),
    };
    let roots = |_: &RootRef| Err(Fault::new(FaultKind::Config, "trust root", "not read"));
    let context =
        Context { system_namespace: namespace.to_owned(), empty_authorities: Default::default() };
    let lookups = Lookups { secrets: &lookup, roots: &roots };
    let Compiled { rule, .. } =
        compile(policy, "cluster", &context, &lookups, &mut Patterns::default());
    if rule.mode() == Mode::Warn {
        return Vec::new();
    }
    let name = &policy.name;
    let reasons = undecidable_reasons(rule.need())
        .into_iter()
        .filter(|(reason, _)| *reason != UndecidableReason::TrustRoot)
        .map(|(reason, detail)| format!("{name}: {}: {detail}", reason.code()));
    let missing = dependencies(policy, namespace).into_iter().filter_map(|dependency| {
        let Dependency::TrustRoot(root) = dependency else { return None };
        let code = UndecidableReason::TrustRoot.code();
        (!trust_roots.contains(root)).then(|| format!("{name}: {code}: TrustRoot {root} not found"))
    });
    reasons.chain(missing).collect()
}

#[cfg(test)]
mod tests;
