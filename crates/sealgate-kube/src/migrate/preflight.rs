//! Before the gate takes over: the policies that it would refuse images by because it cannot judge
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{Clock, SecretSource as _};
use sealgate_policy::cip::validate::Context;
use sealgate_policy::cip::{ClusterImagePolicy, SecretRef};
use sealgate_policy::compile::{Compiled, Lookups, RootRef, compile, content_of_secret};
use sealgate_policy::rule::Mode;
use serde_json::{Value, json};

use super::objects::Objects;
use crate::cluster::ClusterSecrets;
use crate::crd::{GROUP, POLICY_VERSIONS};
use crate::install::PullSecretRights;

/// Enforcing policies that the gate cannot judge, and would refuse images by: name and reason.
///
/// # Errors
/// What the API server says.
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
    let mut problems = Vec::new();
    for object in policies {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match ClusterImagePolicy::from_json(&with_type(object)) {
            Err(error) => problems.push(format!("{name}: {error}")),
            Ok(policy) => problems.extend(lacking(&policy, namespace, &secrets).await?),
        }
    }
    Ok(problems)
}

pub(super) fn with_type(mut object: Value) -> Value {
    object["apiVersion"] = json!(format!("{GROUP}/{}", POLICY_VERSIONS[0]));
    object["kind"] = json!("ClusterImagePolicy");
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// What of an enforcing policy cannot be judged. Trust roots are not looked at: the gate reads them.
async fn lacking(
    policy: &ClusterImagePolicy,
    namespace: &str,
    secrets: &ClusterSecrets,
) -> Result<Vec<String>, Fault> {
    let mut contents = BTreeMap::new();
    for authority in &policy.spec.authorities {
        let ca = authority.keyless.as_ref().and_then(|keyless| keyless.ca_cert.as_ref());
        for key in [authority.key.as_ref(), ca].into_iter().flatten() {
            let Some(secret) = &key.secret_ref else { continue };
            let data = secrets.secret(namespace, &secret.name).await?;
            contents.insert(secret.name.clone(), content_of_secret(&secret.name, data.as_ref()));
        }
    }
    let lookup = |secret: &SecretRef| match contents.get(&secret.name) {
        Some(content) => content.clone(),
        None => content_of_secret(&secret.name, None),
    };
    let roots = |_: &RootRef| Err(Fault::new(FaultKind::Config, "trust root", "not looked at"));
    let context =
        Context { system_namespace: namespace.to_owned(), empty_authorities: Default::default() };
    let lookups = Lookups { secrets: &lookup, roots: &roots };
    let Compiled { rule, conditions, .. } = compile(policy, "cluster", &context, &lookups);
    if rule.mode == Mode::Warn {
        return Ok(Vec::new());
    }
    let bad = conditions.iter().filter(|condition| {
        !condition.holds && !["Ready", "TrustRootsInlined"].contains(&condition.kind)
    });
    Ok(bad.map(|c| format!("{}: {}: {}", policy.name, c.reason, c.message)).collect())
}
