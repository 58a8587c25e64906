//! Bounds of policies: each field at its limit and beyond.

use serde_json::{Value, json};

use super::*;
use crate::cip::field_error::Level;
use crate::cip::validate::{Context, validate};
use crate::rule::{Mode, Need};
use crate::testing::{KEY, compiled, policy};

fn excess(spec: Value) -> String {
    check(&policy(spec)).err().map(|error| error.to_string()).unwrap_or_default()
}

fn many(count: usize, one: Value) -> Value {
    json!(vec![one; count])
}

fn text(length: usize) -> String {
    "a".repeat(length)
}

fn with_authority(authority: Value) -> Value {
    json!({"images": [{"glob": "**"}], "authorities": [authority]})
}

fn with_match(entry: Value) -> Value {
    json!({"images": [{"glob": "**"}], "match": [entry]})
}

/// A spec with a field of this length.
type Sized = fn(usize) -> Value;

#[test]
fn each_list_and_text_is_bounded_and_the_error_names_the_field() {
    let lists: &[(usize, &str, Sized)] = &[
        (MAX_IMAGES, "images", |n| json!({"images": many(n, json!({"glob": "**"}))})),
        (
            MAX_AUTHORITIES,
            "authorities",
            |n| json!({"authorities": many(n, json!({"static": {"action": "fail"}}))}),
        ),
        (MAX_IDENTITIES, "authorities[0].keyless.identities", |n| {
            with_authority(json!({"keyless": {"identities": many(n, json!({"issuer": "i"}))}}))
        }),
        (MAX_ATTESTATIONS, "authorities[0].attestations", |n| {
            with_authority(json!({"attestations": many(n, json!({"name": "n"}))}))
        }),
        (MAX_SOURCES, "authorities[0].source", |n| {
            with_authority(json!({"source": many(n, json!({"oci": "r"}))}))
        }),
        (MAX_PULL_SECRETS, "authorities[0].source[0].signaturePullSecrets", |n| {
            let secrets = many(n, json!({"name": "s"}));
            with_authority(json!({"source": [{"signaturePullSecrets": secrets}]}))
        }),
        (
            MAX_MATCHES,
            "match",
            |n| json!({"images": [{"glob": "**"}], "match": many(n, json!({"resource": "pods"}))}),
        ),
        (MAX_NAMESPACES, "match[0].namespaces", |n| {
            with_match(json!({"namespaces": many(n, json!("n"))}))
        }),
        (MAX_REQUIREMENTS, "match[0].selector.matchExpressions", |n| {
            let one = json!({"key": "k", "operator": "Exists"});
            with_match(json!({"selector": {"matchExpressions": many(n, one)}}))
        }),
        (MAX_REQUIREMENTS, "match[0].selector.matchLabels", |n| {
            let labels: std::collections::BTreeMap<_, _> =
                (0..n).map(|number| (format!("l{number}"), "v")).collect();
            with_match(json!({"selector": {"matchLabels": labels}}))
        }),
        (MAX_VALUES, "match[0].selector.matchExpressions[0].values", |n| {
            let one = json!({"key": "k", "operator": "In", "values": many(n, json!("v"))});
            with_match(json!({"selector": {"matchExpressions": [one]}}))
        }),
    ];
    let texts: &[(usize, &str, Sized)] = &[
        (MAX_TEXT, "images[0].glob", |n| json!({"images": [{"glob": text(n)}]})),
        (MAX_NAME, "mode", |n| json!({"mode": text(n)})),
        (MAX_NAME, "authorities[0].name", |n| with_authority(json!({"name": text(n)}))),
        (MAX_KEY, "authorities[0].key.data", |n| with_authority(json!({"key": {"data": text(n)}}))),
        (MAX_TEXT, "authorities[0].key.kms", |n| with_authority(json!({"key": {"kms": text(n)}}))),
        (MAX_NAME, "authorities[0].key.secretRef.name", |n| {
            with_authority(json!({"key": {"secretRef": {"name": text(n)}}}))
        }),
        (MAX_CERTIFICATES, "authorities[0].keyless.ca-cert.data", |n| {
            with_authority(json!({"keyless": {"ca-cert": {"data": text(n)}}}))
        }),
        (MAX_TEXT, "authorities[0].keyless.identities[0].issuer", |n| {
            with_authority(json!({"keyless": {"identities": [{"issuer": text(n)}]}}))
        }),
        (MAX_TEXT, "authorities[0].static.message", |n| {
            with_authority(json!({"static": {"message": text(n)}}))
        }),
        (MAX_TEXT, "authorities[0].ctlog.url", |n| {
            with_authority(json!({"ctlog": {"url": text(n)}}))
        }),
        (MAX_NAME, "authorities[0].source[0].oci", |n| {
            with_authority(json!({"source": [{"oci": text(n)}]}))
        }),
        (MAX_POLICY, "authorities[0].attestations[0].policy.data", |n| {
            with_authority(json!({"attestations": [{"policy": {"data": text(n)}}]}))
        }),
        (MAX_POLICY, "policy.data", |n| json!({"policy": {"data": text(n)}})),
        (MAX_NAME, "match[0].resource", |n| with_match(json!({"resource": text(n)}))),
        (MAX_NAME, "match[0].namespaces[0]", |n| with_match(json!({"namespaces": [text(n)]}))),
    ];
    for (most, path, spec) in lists {
        assert_eq!(excess(spec(*most)), "", "{path}");
        assert_eq!(excess(spec(most + 1)), format!("more than {most} entries: spec.{path}"));
    }
    for (most, path, spec) in texts {
        assert_eq!(excess(spec(*most)), "", "{path}");
        assert_eq!(excess(spec(most + 1)), format!("longer than {most} bytes: spec.{path}"));
    }
}

#[test]
fn sums_over_a_policy_are_bounded() {
    let repeated = |count: usize, authority: Value| json!({"authorities": many(count, authority)});
    let identities = json!({"keyless": {"identities": many(1_000, json!({"issuer": "i"}))}});
    let attestations = json!({"attestations": many(64, json!({"name": "n"}))});
    let certificate = json!({"keyless": {"ca-cert": {"data": text(MAX_CERTIFICATES)}}});
    let namespaces = json!({"namespaces": many(1_000, json!("n"))});
    let matches = |count: usize| json!({"match": many(count, namespaces.clone())});
    for (limit, over, message) in [
        (
            repeated(2, identities.clone()),
            repeated(3, identities),
            "the policy has more than 2000 identities: spec.authorities[2].keyless.identities",
        ),
        (
            repeated(4, attestations.clone()),
            repeated(5, attestations),
            "the policy has more than 256 attestations: spec.authorities[4].attestations",
        ),
        (
            repeated(16, certificate.clone()),
            repeated(17, certificate),
            "the policy has more than 1048576 bytes of certificates and policies: \
             spec.authorities[16].keyless.ca-cert.data",
        ),
        (
            matches(10),
            matches(11),
            "the policy has more than 10000 namespaces, labels and values: \
             spec.match[10].namespaces",
        ),
    ] {
        assert_eq!(excess(limit), "", "{message}");
        assert_eq!(excess(over), message);
    }
}

#[test]
fn an_excess_is_the_only_error() {
    let mut spec = json!({"images": many(40_000, json!({"glob": "["})), "mode": "nonsense"});
    spec["authorities"] = json!([{"key": {"data": "no key"}}]);
    let errors = validate(&policy(spec), &Context::default()).filter(Level::Error);
    assert_eq!(errors.to_string(), "more than 1000 entries: spec.images");
}

/// A policy that exceeds a bound never holds. It applies to its images, and where those exceed the
/// bound to every image if it enforces, to none if it only warns.
#[test]
fn a_stored_policy_that_exceeds_a_bound_never_holds() {
    let key = json!([{"key": {"data": KEY}}]);
    let (few, lots) = (json!([{"glob": "ghcr.io/acme/*"}]), many(1_001, json!({"glob": "**"})));
    let pods = many(257, json!({"resource": "pods"}));
    let keys = many(257, key[0].clone());
    for (spec, mode, path, images, matches) in [
        (
            json!({"images": few, "authorities": keys}),
            Mode::Enforce,
            "spec.authorities",
            vec!["ghcr.io/acme/*"],
            0,
        ),
        (json!({"images": lots, "authorities": key}), Mode::Enforce, "spec.images", vec!["**"], 0),
        (
            json!({"images": few, "authorities": key, "match": pods}),
            Mode::Enforce,
            "spec.match",
            vec!["ghcr.io/acme/*"],
            0,
        ),
        (json!({"images": lots, "mode": "warn"}), Mode::Warn, "spec.images", vec![], 0),
        (
            json!({"images": few, "mode": "warn", "match": pods}),
            Mode::Warn,
            "spec.match",
            vec![],
            0,
        ),
    ] {
        let compiled = compiled(spec);
        assert!(compiled.errors.to_string().ends_with(path), "{}", compiled.errors);
        let ready = compiled.conditions.iter().find(|it| it.kind == "Ready").unwrap();
        assert!(!ready.holds && ready.message.contains(path), "{ready:?}");
        let rule = compiled.rule;
        assert!(matches!(rule.need(), Need::Undecidable { .. }), "{path}");
        assert_eq!(rule.mode(), mode);
        let selected: Vec<_> = rule.when.images.iter().map(|glob| glob.text()).collect();
        assert_eq!(selected, images, "{path}");
        assert_eq!(rule.when.matches.len(), matches, "{path}");
    }
}

/// A number as the documentation writes it: `10,000`.
fn written(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn the_limits_are_documented() {
    use crate::cip::patterns::{MAX_POLICY_COST, MAX_TOTAL_COST};
    use crate::cip::trust_root::validate::{MAX_KEYS_IN_TOTAL, MAX_MIRROR, MAX_ROOT};
    use sealgate_core::identity::MAX_PATTERN_COST;
    let page = include_str!("../../../../../docs/reference/cluster-image-policy.md");
    let n = written;
    let costs = [MAX_PATTERN_COST / 1024, MAX_POLICY_COST >> 20, MAX_TOTAL_COST >> 20];
    let [one, policy, all] = costs;
    for row in [
        format!("| `images` | {} entries |", n(MAX_IMAGES)),
        format!("| `images[].glob` | {} bytes |", n(MAX_GLOB)),
        format!("| `authorities` | {} entries |", n(MAX_AUTHORITIES)),
        format!(
            "| `authorities[].keyless.identities` | {} entries, and {} in the policy |",
            n(MAX_IDENTITIES),
            n(MAX_IDENTITIES_IN_TOTAL)
        ),
        format!("| `issuer`, `subject` | {} bytes |", n(MAX_TEXT)),
        format!(
            "| `issuerRegExp`, `subjectRegExp` | {} bytes, {one} KiB when compiled; the different expressions of a policy {policy} MiB in total, those of all policies {all} MiB |",
            n(MAX_PATTERN)
        ),
        format!("| `authorities[].key.data` | {} bytes |", n(MAX_KEY)),
        format!("| `authorities[].keyless.ca-cert.data` | {} bytes |", n(MAX_CERTIFICATES)),
        format!(
            "| `authorities[].attestations` | {} entries, and {} in the policy |",
            n(MAX_ATTESTATIONS),
            n(MAX_ATTESTATIONS_IN_TOTAL)
        ),
        format!("signaturePullSecrets` | {} entries |", n(MAX_PULL_SECRETS)),
        format!("| `data` of a CUE or Rego policy | {} bytes |", n(MAX_POLICY)),
        format!("policies together | {} bytes |", n(MAX_DATA_IN_TOTAL)),
        format!("| `match` | {} entries |", n(MAX_MATCHES)),
        format!("| `match[].namespaces` | {} entries |", n(MAX_NAMESPACES)),
        format!("matchExpressions` | {} entries each |", n(MAX_REQUIREMENTS)),
        format!("matchExpressions[].values` | {} entries |", n(MAX_VALUES)),
        format!("values in `match` together | {} |", n(MAX_MATCHES_IN_TOTAL)),
        format!("`trustRootRef` | {} bytes |", n(MAX_NAME)),
        format!("`static.message` | {} bytes |", n(MAX_TEXT)),
        format!("| `certChain` | {} bytes, 8 certificates |", n(MAX_CERTIFICATES)),
        format!("| `publicKey` | {} bytes |", n(MAX_KEY)),
        format!("`sigstoreKeys` together | {} bytes |", n(MAX_KEYS_IN_TOTAL)),
        format!("| `root` | {} bytes |", n(MAX_ROOT)),
        format!("| `mirrorFS` | {} bytes, 32 MiB unpacked |", n(MAX_MIRROR)),
    ] {
        assert!(page.contains(&row), "{row}");
    }
}
