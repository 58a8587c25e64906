use super::*;
use crate::cip::field_error::Level;
use crate::cip::validate::{Context, validate};
use crate::testing::KEY;

/// Policies from published tutorials, with a real key where they abridge one.
const ARTICLES: &str = include_str!("articles.yaml");

fn tutorial_policies() -> Vec<ClusterImagePolicy> {
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
fn policies_from_tutorials_parse_and_are_valid() {
    let policies = tutorial_policies();
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
        ("spec: {images: [null]}", "invalid type: null, expected an object: spec.images[0]"),
        ("spec: {match: [null]}", "invalid type: null, expected an object: spec.match[0]"),
        ("spec: {authorities: [{key: PEM}]}", ", expected an object: spec.authorities[0].key"),
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

/// Errors name the field, and in a text its line and column.
#[test]
fn errors_name_the_field_and_its_position() {
    for (spec, ends) in [
        (
            "spec:\n  images:\n  - glob: a\n  - glob: 7\n",
            ": spec.images[1].glob (line 7, column 11)",
        ),
        ("spec:\n  images: x\n", ": spec.images (line 5, column 11)"),
        ("spec:\n  mode:\n    a: b\n", ": spec.mode (line 6, column 5)"),
        (
            "spec:\n  match:\n  - selector:\n      matchLabels:\n        a: null\n",
            ": spec.match[0].selector.matchLabels.a (line 8, column 12)",
        ),
        (
            "spec:\n  authorities:\n  - name: a\n  - key:\n      dat: x\n",
            ": spec.authorities[1].key.dat (line 8, column 12)",
        ),
        ("spec:\n  autorities: []\n", ": spec.autorities (line 5, column 15)"),
        ("status: {}\n", "missing field `spec` (line 1, column 1)"),
    ] {
        let error = unreadable(spec);
        assert!(error.ends_with(ends), "{spec}{error}");
    }
    // An object of the API server has no lines; in a list, the item is named.
    let object = serde_json::json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": {"name": "p"},
        "spec": {"images": [{"glob": 7}]},
    });
    let error = ClusterImagePolicy::from_json(&object).unwrap_err().to_string();
    assert_eq!(error, "invalid type: integer `7`, expected a string: spec.images[0].glob");
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod"}, object]});
    let text = serde_json::to_string_pretty(&list).unwrap();
    let line = text.lines().position(|line| line.contains("\"glob\"")).unwrap() + 1;
    let column = text.lines().find_map(|line| line.find("7")).unwrap() + 1;
    let found = documents(&format!("---\napiVersion: v1\nkind: Pod\n---\n{text}")).unwrap();
    let Some(Document::Unreadable { error, .. }) = found.last() else { panic!("{found:?}") };
    let ends = format!(": spec.images[0].glob (line {}, column {column})", line + 4);
    assert!(error.to_string().ends_with(&ends), "{error}, not {ends}");
    // The YAML nodes are internal names; the name is the author's.
    let escape = unreadable("spec: {\"a\\e[31m\": 1}");
    assert!(!escape.contains('\u{1b}'), "{escape:?}");
}

/// A field that is left empty is null, which an API server removes.
#[test]
fn a_null_field_is_left_out() {
    let header = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\n";
    let empty = format!(
        "{header}metadata:\n  name: p\n  labels:\n  annotations:\nspec:\n  images:\n  - glob: a\n  match:\n  mode:\n  policy:\n  \
         authorities:\n  - name:\n    key:\n      data: x\n      kms:\n      secretRef:\n    keyless:\n    static:\n    source:\n    \
         ctlog:\n    attestations:\n    rfc3161timestamp:\n    signatureFormat:\nstatus:\n"
    );
    let short = format!(
        "{header}metadata: {{name: p}}\nspec:\n  images:\n  - glob: a\n  authorities:\n  - key: {{data: x}}\n"
    );
    let read = |yaml: &str| match one(yaml) {
        Document::Policy(policy) => *policy,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&empty), read(&short));
    for list in ["spec:\n  authorities:\n  -\n", "spec:\n  images: [null]\n"] {
        assert!(unreadable(list).contains("invalid type: null"), "{list}");
    }
    let root = |lists: &str| {
        format!(
            "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {{name: r}}\nspec:\n  sigstoreKeys:\n{lists}"
        )
    };
    let read = |yaml: &str| match one(yaml) {
        Document::TrustRoot(root) => *root,
        other => panic!("{other:?}"),
    };
    let empty = root(
        "    certificateAuthorities:\n    tLogs:\n    - baseURL: x\n      hashAlgorithm:\n      publicKey:\n    ctLogs:\n    timestampAuthorities:\n",
    );
    assert_eq!(read(&empty), read(&root("    tLogs:\n    - baseURL: x\n")));
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
    let anchors: String = (0..300).map(|n| format!("a{n}: &a{n} x\n")).collect();
    let merges: String =
        (1..300).map(|n| format!("m{n}: &m{n}\n  <<: *m{}\n  k{n}: x\n", n - 1)).collect();
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 150].join(","));
    let header =
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p}\n";
    let identities = vec!["{issuer: i, subjectRegExp: s}"; 1_000].join(",");
    let copies = (1..256).map(|_| "  - keyless: {identities: *i}\n").collect::<String>();
    let copied = format!(
        "{header}spec:\n  images: [{{glob: a}}]\n  authorities:\n  - keyless: {{identities: &i [{identities}]}}\n{copies}"
    );
    for yaml in [
        bomb,
        anchors,
        format!("m0: &m0 {{k: x}}\n{merges}"),
        long,
        copied,
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
fn other_objects_may_accompany_policies() {
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
