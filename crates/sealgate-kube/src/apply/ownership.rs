//! Field ownership in `managedFields`. Pure.
//!
//! Server-side apply removes an unset field only when no other manager owns it. Fields set by
//! `kubectl apply` belong to kubectl, so an installation applied with kubectl would keep fields of
//! its old version forever.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

/// Field manager of `kubectl apply` without `--server-side`.
const KUBECTL: &str = "kubectl-client-side-apply";
/// Labels, annotations (including kubectl's last applied configuration) and owner references: what
/// users add there in their own manifest is theirs.
const METADATA: &str = "f:metadata";

/// Moves the fields of `kubectl apply` into the entry of `manager`; `None` when there is nothing to
/// take over.
pub(super) fn taken_over(
    entries: &[ManagedFieldsEntry],
    manager: &str,
) -> Option<Vec<ManagedFieldsEntry>> {
    let mut entries = entries.to_vec();
    let ours = entries.iter().position(|entry| is_of(entry, manager, "Apply"));
    let mut ours = match ours {
        Some(index) => entries.remove(index),
        None => ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some("Apply".to_owned()),
            fields_v1: Some(FieldsV1(Value::Object(Map::new()))),
            ..entries.iter().find(|entry| is_of(entry, KUBECTL, "Update"))?.clone()
        },
    };
    let fields = ours.fields_v1.as_mut()?;
    let mut taken = false;
    for entry in entries.iter_mut().filter(|entry| is_of(entry, KUBECTL, "Update")) {
        // Fields of another API version may have other names.
        if entry.api_version != ours.api_version {
            continue;
        }
        let Some(FieldsV1(Value::Object(theirs))) = &mut entry.fields_v1 else { continue };
        let kept = theirs.remove(METADATA);
        taken |= !theirs.is_empty();
        unite(&mut fields.0, Value::Object(std::mem::take(theirs)));
        theirs.extend(kept.map(|kept| (METADATA.to_owned(), kept)));
    }
    let owns = |entry: &ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_none_or(|fields| fields.0 != Value::Object(Map::new()))
    };
    entries.retain(owns);
    entries.push(ours);
    taken.then_some(entries)
}

fn is_of(entry: &ManagedFieldsEntry, manager: &str, operation: &str) -> bool {
    entry.manager.as_deref() == Some(manager)
        && entry.operation.as_deref() == Some(operation)
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

/// Union of two field sets: each is an object of fields, with the nested set as value.
fn unite(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (field, inner) in from {
                unite(into.entry(field).or_insert_with(|| Value::Object(Map::new())), inner);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            api_version: Some("apps/v1".to_owned()),
            fields_type: Some("FieldsV1".to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    fn of_kubectl() -> ManagedFieldsEntry {
        let fields = json!({
            "f:metadata": { "f:labels": { "f:team": {} }, "f:annotations": { ".": {} } },
            "f:spec": {
                "f:replicas": {},
                "f:template": { "f:spec": { "f:priorityClassName": {}, "f:volumes": {
                    "k:{\"name\":\"tls\"}": { ".": {}, "f:name": {} },
                } } },
            },
        });
        entry(KUBECTL, "Update", fields)
    }

    #[test]
    fn the_fields_of_kubectl_join_ours() {
        let ours = entry(
            "sealgate-install",
            "Apply",
            json!({ "f:spec": { "f:replicas": {}, "f:template": { "f:spec": { "f:volumes": {
                "k:{\"name\":\"registry-ca\"}": { ".": {} },
            } } } } }),
        );
        let scaled = entry("kubectl", "Update", json!({ "f:spec": { "f:paused": {} } }));
        let entries = [of_kubectl(), scaled.clone(), ours];
        let taken = taken_over(&entries, "sealgate-install").expect("there is something");
        let left = json!({
            "f:metadata": { "f:labels": { "f:team": {} }, "f:annotations": { ".": {} } },
        });
        let united = json!({ "f:spec": {
            "f:replicas": {},
            "f:template": { "f:spec": { "f:priorityClassName": {}, "f:volumes": {
                "k:{\"name\":\"tls\"}": { ".": {}, "f:name": {} },
                "k:{\"name\":\"registry-ca\"}": { ".": {} },
            } } },
        } });
        assert_eq!(
            taken,
            [entry(KUBECTL, "Update", left), scaled, entry("sealgate-install", "Apply", united)]
        );
        assert_eq!(taken_over(&taken, "sealgate-install"), None, "and only once");
    }

    #[test]
    fn ours_begins_with_them_where_there_is_none() {
        let taken = taken_over(&[of_kubectl()], "sealgate-install").expect("there is something");
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[1].manager.as_deref(), Some("sealgate-install"));
        assert_eq!(taken[1].operation.as_deref(), Some("Apply"));
        let fields = &taken[1].fields_v1.as_ref().expect("fields").0;
        assert!(fields.get("f:metadata").is_none());
        assert!(fields["f:spec"]["f:template"]["f:spec"].get("f:priorityClassName").is_some());
    }

    #[test]
    fn nothing_of_others_is_taken() {
        let mut status = of_kubectl();
        status.subresource = Some("status".to_owned());
        let edited = entry("kubectl-edit", "Update", json!({ "f:spec": {} }));
        let applied = entry(KUBECTL, "Apply", json!({ "f:spec": {} }));
        assert_eq!(taken_over(&[status, edited, applied], "sealgate-install"), None);
        assert_eq!(taken_over(&[], "sealgate-install"), None);
        let ours = entry("sealgate-install", "Apply", json!({}));
        let other = ManagedFieldsEntry { api_version: Some("apps/v2".to_owned()), ..of_kubectl() };
        assert_eq!(taken_over(&[ours, other], "sealgate-install"), None, "another version");
    }
}
