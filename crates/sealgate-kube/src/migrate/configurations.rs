//! Webhook configurations shared by two controllers during a migration. Pure: objects in, objects
//! out.
//!
//! policy-controller rewrites the webhook that has the name of its configuration whenever it
//! differs, and no other. So while it runs, the gate's webhook is in the same configuration under
//! another name ([`Placement::Migration`]): replacing the list of webhooks is one atomic update,
//! which switches from one controller to the other.

use serde_json::{Value, json};

use crate::install::{
    InstallOptions, MIGRATION_SERVICE, PART_OF, PART_OF_SEALGATE, SERVICE, is_path_of_gate,
};

/// Prefix of the gate's webhook name while policy-controller may run.
const MIGRATION_PREFIX: &str = "sealgate.";

/// Webhook name and Service of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Names written by `sealgate install`.
    Installed,
    /// Names used next to policy-controller.
    Migration,
}

/// Webhook of an installed configuration, with the names of `place`.
fn at(place: Placement, webhook: &Value, bundle: &str) -> Value {
    let mut webhook = webhook.clone();
    webhook["clientConfig"]["caBundle"] = json!(crate::install::base64(bundle.as_bytes()));
    if place == Placement::Migration {
        let name = format!("{MIGRATION_PREFIX}{}", webhook["name"].as_str().unwrap_or_default());
        webhook["name"] = json!(name);
    }
    webhook["clientConfig"]["service"]["name"] = json!(place.service());
    webhook
}

impl Placement {
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Installed => SERVICE,
            Self::Migration => MIGRATION_SERVICE,
        }
    }
}

/// Returns `live` with the gate's webhooks of `document` only. Labels and annotations are kept;
/// owner references are removed: they could cause the configuration to be garbage-collected.
pub(super) fn with_gate_only(
    live: Option<Value>,
    document: &Value,
    place: Placement,
    bundle: &str,
) -> Value {
    let mut object = live.unwrap_or_else(|| document.clone());
    object["webhooks"] = webhooks(document).map(|webhook| at(place, webhook, bundle)).collect();
    for (label, value) in document["metadata"]["labels"].as_object().into_iter().flatten() {
        object["metadata"]["labels"][label] = value.clone();
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
        metadata.remove("managedFields");
    }
    object
}

/// Returns `live` without the gate's webhooks and labels.
pub(super) fn without_gate(live: &Value) -> Value {
    let mut object = live.clone();
    object["webhooks"] = webhooks(live).filter(|webhook| !is_of_gate(webhook)).cloned().collect();
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.retain(|_, value| value != PART_OF_SEALGATE);
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// Returns whether `live` contains the gate's webhook with the names of `place`.
pub(super) fn has_gate(live: &Value, place: Placement) -> bool {
    webhooks(live).filter(|webhook| is_of_gate(webhook)).any(|webhook| {
        let aside = webhook["name"].as_str().is_some_and(|name| name.starts_with(MIGRATION_PREFIX));
        aside == (place == Placement::Migration)
    })
}

/// Returns whether a webhook of another controller in `live` is active: policy-controller fills in
/// rules and caBundle when it serves.
pub(super) fn has_active_foreign_webhook(live: &Value) -> bool {
    others(live).any(|webhook| {
        let filled = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
        let trusted = webhook["clientConfig"]["caBundle"].as_str().is_some_and(|ca| !ca.is_empty());
        filled(&webhook["rules"]) && trusted
    })
}

/// Webhooks of other controllers.
pub(super) fn others(live: &Value) -> impl Iterator<Item = &Value> {
    webhooks(live).filter(|webhook| !is_of_gate(webhook))
}

/// Service, `(namespace, name)`, called by a webhook.
pub(super) fn service(webhook: &Value) -> Option<(&str, &str)> {
    let service = &webhook["clientConfig"]["service"];
    Some((service["namespace"].as_str()?, service["name"].as_str()?))
}

/// Returns whether an object has the label of objects written by `sealgate install`.
pub(super) fn is_labelled(object: &Value) -> bool {
    object["metadata"]["labels"][PART_OF] == PART_OF_SEALGATE
}

fn webhooks(configuration: &Value) -> impl Iterator<Item = &Value> {
    configuration["webhooks"].as_array().into_iter().flatten()
}

/// Decided by its path, as [`crate::certificates`] does for caBundle.
fn is_of_gate(webhook: &Value) -> bool {
    let config = &webhook["clientConfig"];
    let called = config["url"].as_str().or(config["service"]["path"].as_str()).unwrap_or_default();
    is_path_of_gate(called)
}

/// The four configurations of an installation.
pub(super) fn installed(options: &InstallOptions) -> Vec<Value> {
    let documents = crate::install::documents(options);
    let is_one = |document: &Value| {
        document["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration"))
    };
    documents.into_iter().filter(is_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        installed(&InstallOptions::default()).pop().expect("four of them")
    }

    /// Configuration as policy-controller writes it.
    fn theirs() -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": "policy.sigstore.dev",
                "resourceVersion": "7",
                "labels": { "team": "red" },
                "annotations": { "note": "kept" },
                "ownerReferences": [{ "kind": "Namespace" }],
            },
            "webhooks": [{
                "name": "policy.sigstore.dev",
                "clientConfig": {
                    "caBundle": "THEIRS",
                    "service": { "namespace": "cosign-system", "name": "webhook", "path": "/validations" },
                },
                "rules": [{ "resources": ["pods"] }],
            }],
        })
    }

    #[test]
    fn one_update_puts_the_gate_in_the_place_of_the_other() {
        let live = theirs();
        assert!(has_active_foreign_webhook(&live));
        let aside = with_gate_only(Some(live), &document(), Placement::Migration, "PEM");
        let names: Vec<&Value> = webhooks(&aside).map(|webhook| &webhook["name"]).collect();
        assert_eq!(names, ["sealgate.policy.sigstore.dev", "sealgate.scale.policy.sigstore.dev"]);
        let webhook = &aside["webhooks"][0];
        assert_eq!(webhook["name"], "sealgate.policy.sigstore.dev");
        assert_eq!(service(webhook), Some(("cosign-system", "sealgate")));
        assert_eq!(webhook["clientConfig"]["caBundle"], "UEVN");
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(aside["metadata"]["resourceVersion"], "7", "over the version that was read");
        assert_eq!(aside["metadata"]["annotations"]["note"], "kept");
        assert_eq!(aside["metadata"]["labels"]["team"], "red");
        assert!(is_labelled(&aside) && aside["metadata"].get("ownerReferences").is_none());
        assert!(has_gate(&aside, Placement::Migration) && !has_gate(&aside, Placement::Installed));
        assert!(!has_active_foreign_webhook(&aside));
        let installed = with_gate_only(Some(aside), &document(), Placement::Installed, "PEM");
        assert_eq!(installed["webhooks"][0]["name"], "policy.sigstore.dev");
        assert!(
            has_gate(&installed, Placement::Installed)
                && !has_gate(&installed, Placement::Migration)
        );
    }

    #[test]
    fn the_way_back_leaves_the_other_alone() {
        let mut both = with_gate_only(Some(theirs()), &document(), Placement::Migration, "PEM");
        let mut other = theirs()["webhooks"][0].clone();
        other["rules"] = json!([]);
        both["webhooks"].as_array_mut().expect("list").push(other);
        assert!(!has_active_foreign_webhook(&both), "without rules nothing is judged");
        both["webhooks"][2]["rules"] = theirs()["webhooks"][0]["rules"].clone();
        assert!(has_active_foreign_webhook(&both));
        let back = without_gate(&both);
        assert_eq!(back["webhooks"], theirs()["webhooks"]);
        assert!(!is_labelled(&back));
        assert_eq!(back["metadata"]["labels"]["team"], "red");
    }
}
