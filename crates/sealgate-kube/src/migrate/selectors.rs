//! Comparison of the namespaces selected by policy-controller's webhooks and by the gate's.
//!
//! The gate's webhooks select namespaces by one fixed label. policy-controller's selector is
//! configurable (Helm's `webhook.namespaceSelector`, the Red Hat operator's label): replacing it
//! must not leave a namespace without a webhook.

use std::collections::BTreeMap;

use sealgate_core::fault::{Fault, FaultKind};
use serde_json::Value;

use super::Cluster;
use super::configurations;
use super::objects::Objects;
use crate::crd::GROUP;
use crate::install::{INCLUDE_LABEL, InstallOptions, WORKLOAD_WEBHOOK};

/// Maximum number of namespaces named in one message.
const MAX_NAMED: usize = 50;
/// Maximum length of a printed selector.
const MAX_PRINTED: usize = 300;
/// Paths of policy-controller's webhooks for policies; none of its workload webhooks uses them.
const POLICY_PATHS: [&str; 2] = ["/validating", "/defaulting"];

/// Namespaces and settings of policy-controller's webhooks that the gate's selector does not cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorComparison {
    /// Namespaces that would have no webhook: name, and the label's value if it is another one.
    unguarded: BTreeMap<String, Option<String>>,
    /// Descriptions of selectors that are not taken over.
    notes: Vec<String>,
}

/// Workload webhook of policy-controller.
struct ForeignWebhook<'a> {
    configuration: String,
    webhook: &'a Value,
}

impl SelectorComparison {
    /// Descriptions of selectors that are not taken over.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns whether every namespace that has a webhook now has one afterwards.
    pub fn is_guarded(&self) -> bool {
        self.unguarded.is_empty()
    }

    /// Commands that enable the gate for the namespaces, one per namespace.
    pub fn commands(&self) -> Vec<String> {
        let command = |(name, other): (&String, &Option<String>)| {
            let overwrite = if other.is_some() { " --overwrite" } else { "" };
            format!("kubectl label namespace {name} {INCLUDE_LABEL}=true{overwrite}")
        };
        let mut commands: Vec<String> =
            self.unguarded.iter().take(MAX_NAMED).map(command).collect();
        let left = self.unguarded.len().saturating_sub(MAX_NAMED);
        if left > 0 {
            commands.push(format!("and {left} more: run the command again to see them"));
        }
        commands
    }

    /// Conversion into a fault if any namespace would be left without a webhook.
    fn refused(&self) -> Result<(), Fault> {
        if self.is_guarded() {
            return Ok(());
        }
        let names: Vec<&str> = self.unguarded.keys().take(MAX_NAMED).map(String::as_str).collect();
        let left = self.unguarded.len() - names.len();
        let more = if left > 0 { format!(" and {left} more") } else { String::new() };
        let why = format!(
            "policy-controller checks {}{more}, the gate would not: label them with \
             {INCLUDE_LABEL}=true",
            names.join(", ")
        );
        Err(Fault::new(FaultKind::Config, "namespaces", why))
    }
}

impl Cluster<'_> {
    /// Compares the selectors of all workload webhooks of policy-controller with the gate's, over
    /// the existing namespaces.
    pub(super) async fn selected(
        &self,
        options: &InstallOptions,
    ) -> Result<SelectorComparison, Fault> {
        let mut found = Vec::new();
        for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
            for live in self.configurations(kind).list().await? {
                if self.calls_policy_controller(&live) {
                    found.push((kind, live));
                }
            }
        }
        let namespaces = Objects::of(self.client, "v1", "Namespace", "namespaces", None);
        let namespaces = namespaces.list().await?;
        let theirs: Vec<ForeignWebhook<'_>> = found
            .iter()
            .flat_map(|(kind, live)| {
                let name = live["metadata"]["name"].as_str().unwrap_or_default();
                workload_webhooks(live).map(move |webhook| ForeignWebhook {
                    configuration: format!("{kind} {name}"),
                    webhook,
                })
            })
            .collect();
        Ok(compare(&theirs, &selector_of_gate(options), &namespaces, self.namespace))
    }

    /// Refuses a takeover that would leave a namespace without a webhook.
    pub(super) async fn refuse_unguarded(&self, options: &InstallOptions) -> Result<(), Fault> {
        self.selected(options).await?.refused()
    }
}

fn workload_webhooks(live: &Value) -> impl Iterator<Item = &Value> {
    configurations::others(live).filter(|webhook| is_about_workloads(webhook))
}

/// Decided by its rules; if policy-controller has not filled them in, by its path.
fn is_about_workloads(webhook: &Value) -> bool {
    let rules = webhook["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap_or_default();
        return !POLICY_PATHS.iter().any(|of_policies| path.ends_with(of_policies));
    }
    let is_ours = |rule: &Value| {
        let groups = rule["apiGroups"].as_array().map(Vec::as_slice).unwrap_or_default();
        !groups.is_empty() && groups.iter().all(|group| group == GROUP)
    };
    !rules.iter().all(is_ours)
}

/// Namespace selector of the gate's enforcing webhook.
fn selector_of_gate(options: &InstallOptions) -> Value {
    let webhooks = configurations::installed(options).into_iter().filter(|document| {
        document["kind"] == "ValidatingWebhookConfiguration"
            && document["metadata"]["name"] == WORKLOAD_WEBHOOK
    });
    webhooks
        .map(|document| document["webhooks"][0]["namespaceSelector"].clone())
        .next()
        .unwrap_or_default()
}

fn compare(
    theirs: &[ForeignWebhook<'_>],
    ours: &Value,
    namespaces: &[Value],
    own: &str,
) -> SelectorComparison {
    let mut selected = SelectorComparison::default();
    for namespace in namespaces {
        let labels = &namespace["metadata"]["labels"];
        let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
        // An unknown operator counts as selected by theirs and not selected by ours.
        let judged = theirs
            .iter()
            .any(|it| matches(&it.webhook["namespaceSelector"], labels).unwrap_or(true));
        if !judged || matches(ours, labels).unwrap_or(false) {
            continue;
        }
        if name == own {
            selected.notes.push(format!(
                "namespace {own} is currently checked, but not by the gate: its own namespace is \
                 excluded, so that its pods can start"
            ));
            continue;
        }
        let label = labels[INCLUDE_LABEL].as_str().map(str::to_owned);
        selected.unguarded.insert(name.to_owned(), label);
    }
    for it in theirs {
        selected.notes.extend(notes(it));
    }
    selected.notes.dedup();
    selected
}

/// Settings of a webhook that the gate's does not have.
fn notes(theirs: &ForeignWebhook<'_>) -> Vec<String> {
    let ForeignWebhook { configuration, webhook } = theirs;
    let mut notes = Vec::new();
    if !requires_include(&webhook["namespaceSelector"]) {
        notes.push(format!(
            "{configuration} selects namespaces by {}, the gate by the label {INCLUDE_LABEL}=true \
             only: label namespaces created from now on",
            printed(&webhook["namespaceSelector"])
        ));
    }
    let selects_objects = |selector: &Value| {
        ["matchLabels", "matchExpressions"].iter().any(|key| is_filled(&selector[key]))
    };
    if selects_objects(&webhook["objectSelector"]) {
        notes.push(format!(
            "{configuration} has the objectSelector {}, the gate's webhook has none: it checks \
             all objects in the namespaces it is called for",
            printed(&webhook["objectSelector"])
        ));
    }
    if is_filled(&webhook["matchConditions"]) {
        notes.push(format!(
            "{configuration} has the matchConditions {}, the gate's webhook has none: it checks \
             all objects in the namespaces it is called for",
            printed(&webhook["matchConditions"])
        ));
    }
    notes
}

/// Returns whether only namespaces with the gate's label are selected.
fn requires_include(selector: &Value) -> bool {
    let by_label = selector["matchLabels"][INCLUDE_LABEL] == "true";
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    by_label
        || expressions.any(|it| {
            it["key"] == INCLUDE_LABEL
                && it["operator"] == "In"
                && it["values"] == serde_json::json!(["true"])
        })
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => false,
    }
}

fn printed(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_PRINTED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Returns whether a label selector matches these labels, by the rules of Kubernetes: a missing or
/// empty one matches everything. `None` for an unknown operator.
fn matches(selector: &Value, labels: &Value) -> Option<bool> {
    let mut all = true;
    for (key, wanted) in selector["matchLabels"].as_object().into_iter().flatten() {
        all &= labels.get(key) == Some(wanted);
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let label = labels.get(expression["key"].as_str()?);
        let is_listed = || {
            let values = expression["values"].as_array()?;
            Some(label.is_some_and(|label| values.contains(label)))
        };
        all &= match expression["operator"].as_str()? {
            "In" => is_listed()?,
            "NotIn" => !is_listed()?,
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            _ => return None,
        };
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(name: &str, labels: &[(&str, &str)]) -> Value {
        let mut labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        labels.insert("kubernetes.io/metadata.name", name);
        json!({ "metadata": { "name": name, "labels": labels } })
    }

    #[test]
    fn selectors_mean_what_they_mean_to_the_api_server() {
        let by = |key: &str, operator: &str, values: &[&str]| {
            let mut one = json!({ "key": key, "operator": operator });
            if !values.is_empty() {
                one["values"] = json!(values);
            }
            json!({ "matchExpressions": [one] })
        };
        let labels = json!({ "a": "1", "b": "2" });
        for (selector, wanted) in [
            (Value::Null, Some(true)),
            (json!({}), Some(true)),
            (json!({ "matchLabels": { "a": "1" } }), Some(true)),
            (json!({ "matchLabels": { "a": "1", "b": "1" } }), Some(false)),
            (json!({ "matchLabels": { "c": "1" } }), Some(false)),
            (by("a", "In", &["0", "1"]), Some(true)),
            (by("a", "In", &["0"]), Some(false)),
            (by("c", "In", &["0"]), Some(false)),
            (by("a", "NotIn", &["1"]), Some(false)),
            (by("a", "NotIn", &["0"]), Some(true)),
            (by("c", "NotIn", &["0"]), Some(true)),
            (by("a", "Exists", &[]), Some(true)),
            (by("c", "Exists", &[]), Some(false)),
            (by("a", "DoesNotExist", &[]), Some(false)),
            (by("c", "DoesNotExist", &[]), Some(true)),
            (by("a", "Gt", &["0"]), None),
            (by("a", "In", &[]), None),
            (json!({ "matchExpressions": [{ "operator": "Exists" }] }), None),
        ] {
            assert_eq!(matches(&selector, &labels), wanted, "{selector}");
        }
        let mut both = by("c", "DoesNotExist", &[]);
        both["matchLabels"] = json!({ "a": "0" });
        assert_eq!(matches(&both, &labels), Some(false), "all of it must hold");
        assert_eq!(
            matches(&by("a", "NotIn", &["1"]), &Value::Null),
            Some(true),
            "no labels at all"
        );
    }

    #[test]
    fn a_namespace_that_only_the_other_is_called_about_is_named() {
        let ours = selector_of_gate(&InstallOptions::default());
        let namespaces = [
            namespace("included", &[(INCLUDE_LABEL, "true")]),
            namespace("red", &[("policy.rhtas.com/include", "true")]),
            namespace("not", &[(INCLUDE_LABEL, "false")]),
            namespace("plain", &[]),
            namespace("out", &[("policy.sigstore.dev/exclude", "true")]),
            namespace("cosign-system", &[]),
        ];
        let asked = |selector: Value| {
            let webhook = json!({ "namespaceSelector": selector });
            let theirs = [ForeignWebhook { configuration: "C x".to_owned(), webhook: &webhook }];
            compare(&theirs, &ours, &namespaces, "cosign-system")
        };
        let by = |key: &str, operator: &str, values: Value| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let names =
            |selected: &SelectorComparison| selected.unguarded.keys().cloned().collect::<Vec<_>>();

        let same = asked(by(INCLUDE_LABEL, "In", json!(["true"])));
        assert_eq!((same.is_guarded(), same.notes()), (true, &[][..]));

        let red = asked(by("policy.rhtas.com/include", "In", json!(["true"])));
        assert_eq!(names(&red), ["red"]);
        assert_eq!(
            red.commands(),
            ["kubectl label namespace red policy.sigstore.dev/include=true"]
        );
        assert!(red.notes()[0].contains("policy.rhtas.com/include"), "{:?}", red.notes());
        assert!(red.refused().unwrap_err().detail.contains("red"));

        let but = asked(by("policy.sigstore.dev/exclude", "NotIn", json!(["true"])));
        assert_eq!(names(&but), ["not", "plain", "red"]);
        assert!(but.commands()[0].ends_with("include=true --overwrite"), "{:?}", but.commands());
        assert!(but.notes()[0].contains("namespace cosign-system"), "{:?}", but.notes());

        let unknown = asked(by("a", "Gt", json!(["1"])));
        assert_eq!(names(&unknown), ["not", "out", "plain", "red"], "in doubt it is called");
        assert_eq!(names(&asked(Value::Null)), ["not", "out", "plain", "red"]);
    }

    #[test]
    fn only_webhooks_about_workloads_count() {
        let rules = |group: &str| json!({ "rules": [{ "apiGroups": [group] }] });
        let path = |path: &str| json!({ "clientConfig": { "service": { "path": path } } });
        for (webhook, wanted) in [
            (rules(""), true),
            (rules("apps"), true),
            (rules("*"), true),
            (rules(GROUP), false),
            (path("/validations"), true),
            (path("/mutations"), true),
            (path("/validating"), false),
            (path("/defaulting"), false),
        ] {
            assert_eq!(is_about_workloads(&webhook), wanted, "{webhook}");
        }
    }

    #[test]
    fn selectors_that_narrow_their_webhook_are_reported() {
        let webhook = json!({
            "namespaceSelector": { "matchLabels": { INCLUDE_LABEL: "true" } },
            "objectSelector": { "matchLabels": { "judge": "me" } },
            "matchConditions": [{ "name": "not-system", "expression": "true" }],
        });
        let told = notes(&ForeignWebhook { configuration: "C x".to_owned(), webhook: &webhook });
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("judge") && told[1].contains("not-system"), "{told:?}");
        assert!(printed(&json!("é".repeat(1000))).chars().count() <= MAX_PRINTED + 1);
    }

    #[test]
    fn commands_are_bounded() {
        let unguarded = (0..MAX_NAMED + 3).map(|number| (format!("n{number}"), None)).collect();
        let many = SelectorComparison { unguarded, notes: Vec::new() };
        assert_eq!(many.commands().len(), MAX_NAMED + 1);
        assert_eq!(many.commands()[MAX_NAMED], "and 3 more: run the command again to see them");
        assert!(many.refused().unwrap_err().detail.contains("and 3 more"));
    }
}
