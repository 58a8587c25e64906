use super::*;
use crate::cip::field_error::Level;
use crate::cip::validate::{Context, validate};
use crate::testing::KEY;

/// The policies of the articles that people follow, with a real key where they abridge one.
const ARTICLES: &str = include_str!("articles.yaml");

fn articles() -> Vec<ClusterImagePolicy> {
    let lines: Vec<String> = KEY.lines().map(|line| format!("{line}\n          ")).collect();
    let yaml = ARTICLES.replace("KEY", lines.concat().trim_end());
    let policies = documents(&yaml).unwrap().into_iter().map(|document| match document {
        Document::Policy(policy) => *policy,
        other => panic!("{other:?}"),
    });
    policies.collect()
}

fn one(yaml: &str) -> Document {
    let mut documents = documents(yaml).unwrap();
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0)
}

fn unreadable(spec: &str) -> String {
    let yaml = format!(
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {{name: p}}\n{spec}\n"
    );
    match one(&yaml) {
        Document::Unreadable { name, error } => {
            assert_eq!(name, "p");
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_policy_of_the_articles_is_read_and_valid() {
    let policies = articles();
    let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "private-signed-images-cip",
            "signed-images-policy",
            "kms-signed-policy",
            "production-strict-policy",
            "dev-warn-policy",
            "keyless-policy",
            "multi-sig-policy",
            "attestation-policy",
            "allow-system-images",
            "key-rotation-policy",
        ]
    );
    for policy in &policies {
        let errors = validate(policy, &Context::default()).filter(Level::Error);
        assert!(errors.is_empty(), "{}: {errors}", policy.name);
    }
    let namespaces = policies[3].spec.r#match[0].namespaces.as_deref();
    assert_eq!(namespaces, Some(&["production".to_owned(), "critical-services".to_owned()][..]));
}

#[test]
fn unknown_fields_are_refused_at_every_depth() {
    for spec in [
        "spec: {images: [], autorities: []}",
        "spec: {images: [{glob: a, regex: b}]}",
        "spec: {authorities: [{key: {dat: x}}]}",
        "spec: {authorities: [{keyless: {insecureIgnoreTlog: true}}]}",
        "spec: {authorities: [{key: {secretref: {name: x}}}]}",
        "spec: {match: [{namespace: x}]}",
        "spec: {match: [{selector: {matchlabels: {}}}]}",
        "spec: {policy: {typ: cue}}",
        "spec: {}\nspecs: {}",
    ] {
        let error = unreadable(spec);
        assert!(error.starts_with("json: unknown field \""), "{spec}: {error}");
    }
}

#[test]
fn wrong_types_and_missing_parts_are_refused() {
    for (spec, text) in [
        ("spec: {images: null}", "invalid type: null"),
        ("spec: {mode: true}", "invalid type: boolean"),
        ("spec: {authorities: {key: x}}", "invalid type: map"),
        ("spec: {authorities: [{static: {action: 1}}]}", "invalid type: integer"),
        ("status: {}", "missing field `spec`"),
    ] {
        let error = unreadable(spec);
        assert!(error.contains(text), "{spec}: {error}");
    }
    let nameless =
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {}\nspec: {}";
    assert!(matches!(one(nameless), Document::Unreadable { .. }));
    let version = "apiVersion: policy.sigstore.dev/v2\nkind: ClusterImagePolicy\nmetadata: {name: x}\nspec: {}";
    assert!(matches!(one(version), Document::Unreadable { .. }));
}

#[test]
fn hostile_text_ends_in_an_error() {
    let bomb = format!(
        "a: &a [x,x,x,x,x,x,x,x,x]\n{}",
        (1..30)
            .map(|i| {
                let last = if i == 1 { "a".to_owned() } else { format!("a{}", i - 1) };
                format!("b{i}: &a{i} [{}]\n", vec![format!("*{last}"); 9].join(","))
            })
            .collect::<String>()
    );
    for yaml in [
        bomb,
        "[".repeat(10_000),
        "- ".repeat(10_000),
        "a: {b: 1, b: 2}".to_owned(),
        "a: b: c".to_owned(),
        "\u{0}".to_owned(),
        "x".repeat(MAX_YAML + 1),
        "a: 1\n---\n".repeat(MAX_DOCUMENTS + 2),
    ] {
        assert!(documents(&yaml).is_err(), "{:.40}", yaml);
    }
    assert_eq!(documents("").unwrap().len(), 0);
    assert_eq!(documents("---\n# nothing\n---\n").unwrap().len(), 0);
}

#[test]
fn other_objects_stand_beside_policies() {
    let yaml = "\
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: cosign-system}
data: {cosign.pub: aGVsbG8=}
---
apiVersion: v1
kind: Secret
metadata: {name: broken}
data: {a: aGVsbG8=, b: '***'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-policy-controller}
data: {no-match-policy: warn}
---
apiVersion: v1
kind: List
items:
- apiVersion: policy.sigstore.dev/v1alpha1
  kind: ClusterImagePolicy
  metadata: {name: in-a-list, creationTimestamp: null, labels: {a: b}}
  spec: {images: [{glob: '**'}]}
  status: {conditions: []}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: d}
";
    let documents = documents(yaml).unwrap();
    let [
        Document::Secret(secret),
        Document::Secret(broken),
        Document::ConfigMap { data, .. },
        Document::Policy(policy),
        Document::Other { kind, .. },
    ] = documents.as_slice()
    else {
        panic!("{documents:?}")
    };
    assert_eq!(secret.data["cosign.pub"], b"hello");
    assert!(!format!("{secret:?}").contains("hello"));
    assert!(broken.data.is_empty(), "half a secret could pass for a whole one");
    assert_eq!(data["no-match-policy"], "warn");
    assert_eq!(policy.name, "in-a-list");
    assert_eq!(kind, "Deployment");
}
