//! Webhook configurations while two controllers share them. Pure: an object in, an object out.
//!
//! policy-controller rewrites the webhook that has the name of its configuration whenever it
//! differs, and no other. So while it runs, the gate's webhook stands in the same configuration
//! under another name ([`Place::Aside`]): replacing the list of webhooks is one update, before which
//! the one decides and after which the other.

use serde_json::{Value, json};

use crate::install::{
    InstallOptions, MIGRATION_SERVICE, PART_OF, PART_OF_SEALGATE, SERVICE, is_path_of_gate,
};

/// Before the name of the gate's webhook while policy-controller may run.
const ASIDE: &str = "sealgate.";

/// Under which name and behind which Service the gate's webhook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// As `sealgate install` writes it.
    Installed,
    /// Beside policy-controller.
    Aside,
}

/// A webhook of a configuration of `sealgate install`, at `place`.
fn at(place: Place, webhook: &Value, bundle: &str) -> Value {
    let mut webhook = webhook.clone();
    webhook["clientConfig"]["caBundle"] = json!(crate::install::base64(bundle.as_bytes()));
    if place == Place::Aside {
        let name = format!("{ASIDE}{}", webhook["name"].as_str().unwrap_or_default());
        webhook["name"] = json!(name);
    }
    webhook["clientConfig"]["service"]["name"] = json!(place.service());
    webhook
}

impl Place {
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Installed => SERVICE,
            Self::Aside => MIGRATION_SERVICE,
        }
    }
}

/// `live` with the gate's webhooks of `document` and no other. Labels and annotations stay; owners
/// go: with them the configuration would be deleted without a word.
pub(super) fn with_gate_only(
    live: Option<Value>,
    document: &Value,
    place: Place,
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

/// `live` without the gate's webhooks and labels.
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

/// Whether the gate's webhook stands in `live` at `place`.
pub(super) fn has_gate(live: &Value, place: Place) -> bool {
    webhooks(live).filter(|webhook| is_of_gate(webhook)).any(|webhook| {
        let aside = webhook["name"].as_str().is_some_and(|name| name.starts_with(ASIDE));
        aside == (place == Place::Aside)
    })
}

/// Whether anybody else's webhook in `live` is called, and by which authority it is trusted: rules
/// and caBundle are what policy-controller fills in when it serves.
pub(super) fn has_serving_other(live: &Value) -> bool {
    others(live).any(|webhook| {
        let filled = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
        let trusted = webhook["clientConfig"]["caBundle"].as_str().is_some_and(|ca| !ca.is_empty());
        filled(&webhook["rules"]) && trusted
    })
}

/// The webhooks of others.
pub(super) fn others(live: &Value) -> impl Iterator<Item = &Value> {
    webhooks(live).filter(|webhook| !is_of_gate(webhook))
}

/// The Service, `(namespace, name)`, that a webhook calls.
pub(super) fn service(webhook: &Value) -> Option<(&str, &str)> {
    let service = &webhook["clientConfig"]["service"];
    Some((service["namespace"].as_str()?, service["name"].as_str()?))
}

/// Whether an object has the label of what `sealgate install` writes.
pub(super) fn is_labelled(object: &Value) -> bool {
    object["metadata"]["labels"][PART_OF] == PART_OF_SEALGATE
}

fn webhooks(configuration: &Value) -> impl Iterator<Item = &Value> {
    configuration["webhooks"].as_array().into_iter().flatten()
}

/// By its path, as [`crate::certificates`] tells which caBundle to keep.
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

    /// What policy-controller makes of its own configuration.
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
        assert!(has_serving_other(&live));
        let aside = with_gate_only(Some(live), &document(), Place::Aside, "PEM");
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
        assert!(has_gate(&aside, Place::Aside) && !has_gate(&aside, Place::Installed));
        assert!(!has_serving_other(&aside));
        let installed = with_gate_only(Some(aside), &document(), Place::Installed, "PEM");
        assert_eq!(installed["webhooks"][0]["name"], "policy.sigstore.dev");
        assert!(has_gate(&installed, Place::Installed) && !has_gate(&installed, Place::Aside));
    }

    #[test]
    fn the_way_back_leaves_the_other_alone() {
        let mut both = with_gate_only(Some(theirs()), &document(), Place::Aside, "PEM");
        let mut other = theirs()["webhooks"][0].clone();
        other["rules"] = json!([]);
        both["webhooks"].as_array_mut().expect("list").push(other);
        assert!(!has_serving_other(&both), "without rules nothing is judged");
        both["webhooks"][2]["rules"] = theirs()["webhooks"][0]["rules"].clone();
        assert!(has_serving_other(&both));
        let back = without_gate(&both);
        assert_eq!(back["webhooks"], theirs()["webhooks"]);
        assert!(!is_labelled(&back));
        assert_eq!(back["metadata"]["labels"]["team"], "red");
    }
}
