use serde_json::{Value, json};

use super::*;
use crate::select::{NoMatch, PolicySet};
mod keyless;

use crate::testing::{KEY, OTHER_KEY, compiled, no_root, no_secret, pod, policy, requirement};

fn reason_codes(need: &Need) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    collect_reasons(need, &mut reasons);
    reasons.into_iter().map(|(reason, _)| reason.code()).collect()
}

fn spec(authority: Value) -> Value {
    json!({"images": [{"glob": "ghcr.io/**"}], "authorities": [authority]})
}

fn hash_of(signed: &SignedBy) -> Option<HashAlgorithm> {
    let sealgate_core::verify::Authority::Keys(keys) = &requirement(signed).by else {
        panic!("{signed:?}")
    };
    keys.hash
}

fn selects(compiled: &Compiled, image: &str, namespace: &str) -> bool {
    let set = PolicySet::new(vec![compiled.rule.clone()], NoMatch::Deny);
    !set.select(&image.parse().unwrap(), &pod(namespace)).is_empty()
}

#[test]
fn a_key_becomes_a_signature_that_is_needed() {
    let compiled = compiled(json!({
        "images": [{"glob": "ghcr.io/**"}],
        "authorities": [
            {"key": {"data": KEY}},
            {"name": "b", "key": {"data": OTHER_KEY, "hashAlgorithm": "sha512"},
                "signatureFormat": "bundle",
                "source": [{"oci": "ghcr.io/acme/sigs", "tagPrefix": "x-",
                    "signaturePullSecrets": [{"name": "pull"}]}]},
            {"name": "c", "static": {"action": "fail", "message": "no"}},
        ]
    }));
    assert!(compiled.errors.is_empty(), "{}", compiled.errors);
    assert!(compiled.conditions.iter().all(|condition| condition.holds));
    assert_eq!(compiled.rule.source.generation, Some(7));
    assert_eq!(compiled.rule.mode(), Mode::Enforce);
    let Need::Any(needs) = &compiled.rule.need() else { panic!("{:?}", compiled.rule.need()) };
    let [Need::Signed(first), Need::Signed(second), Need::Never { message, .. }] = needs.as_slice()
    else {
        panic!("{needs:?}")
    };
    assert_eq!((first.authority.as_str(), hash_of(first)), ("authority-0", None));
    assert_eq!(requirement(first).source, None);
    assert_eq!(hash_of(second), Some(HashAlgorithm::Sha512));
    assert_eq!(second.formats, Formats::Bundle);
    let source = requirement(second).source.as_ref().unwrap();
    assert_eq!(source.repository.as_ref().unwrap().to_string(), "ghcr.io/acme/sigs");
    assert_eq!(source.tag_prefix.as_deref(), Some("x-"));
    assert_eq!(source.pull_secrets, ["pull"]);
    assert_eq!(message, "no");
}

#[test]
fn every_code_is_in_the_reference() {
    let page = include_str!("../../../../../docs/reference/cluster-image-policy.md");
    for reason in UndecidableReason::ALL {
        assert!(page.contains(&format!("| `{}` |", reason.code())), "{}", reason.code());
    }
}

#[test]
fn unsupported_fields_are_undecidable_with_a_reason() {
    let key = json!({"data": KEY});
    for (authority, code) in [
        (
            json!({"key": key, "attestations": [{"name": "a", "predicateType": "https://t"}]}),
            "AttestationsUnsupported",
        ),
        (json!({"key": {"kms": "hashivault://k"}}), "KmsUnsupported"),
        (json!({"key": {"secretRef": {"name": "gone"}}}), "InliningKeysFailed"),
    ] {
        let compiled = compiled(spec(authority));
        assert_eq!(reason_codes(compiled.rule.need()), [code]);
        let ready = compiled.conditions.iter().find(|c| c.kind == "Ready").unwrap();
        assert!(!ready.holds);
        assert_eq!(ready.reason, code);
        assert!(compiled.rule.need().signed().is_empty());
    }
}

#[test]
fn a_policy_field_is_required_in_addition_to_the_authorities() {
    let mut spec = spec(json!({"key": {"data": KEY}}));
    spec["policy"] = json!({"type": "cue", "data": "x"});
    let compiled = compiled(spec);
    assert!(matches!(&compiled.rule.need(), Need::All(needs) if needs.len() == 2));
    assert_eq!(reason_codes(compiled.rule.need()), ["PolicyUnsupported"]);
    let inlined = compiled.conditions.iter().find(|c| c.kind == "PoliciesInlined").unwrap();
    assert!(!inlined.holds);
}

#[test]
fn secrets_have_policy_controllers_messages() {
    let data = |entries: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
        entries.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect()
    };
    let text =
        |data: Option<&BTreeMap<String, Vec<u8>>>| content_of_secret("s", data).unwrap_err().detail;
    let found = content_of_secret("s", Some(&data(&[("cosign.pub", KEY)]))).unwrap();
    assert_eq!(found, SecretContent::Key(PublicKey::from_pem(KEY).unwrap()));
    assert_eq!(text(None), "secret \"s\" not found");
    assert_eq!(text(Some(&data(&[]))), "secret \"s\" contains no data");
    assert_eq!(
        text(Some(&data(&[("a", KEY), ("b", KEY)]))),
        "secret \"s\" contains multiple data entries, only one is supported"
    );
    let private = text(Some(&data(&[("a", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0")])));
    assert_eq!(
        private,
        "secret \"s\" contains an invalid public key: not a PEM encoded public key: no END line"
    );
}

/// The secret that `generate-key-pair k8s://` makes, here and in cosign.
#[test]
fn the_secret_of_a_key_pair_holds_its_public_key() {
    let read = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec()));
        content_of_secret("s", Some(&entries.collect())).map_err(|fault| fault.detail)
    };
    let (public, private) = (("cosign.pub", KEY), ("cosign.key", "-----BEGIN PRIVATE"));
    let password = ("cosign.password", "p");
    let key = SecretContent::Key(PublicKey::from_pem(KEY).unwrap());
    assert_eq!(read(&[private, password, public]), Ok(key.clone()));
    assert_eq!(read(&[private, public]), Ok(key));
    let several = "secret \"s\" contains multiple data entries, only one is supported";
    for entries in
        [&[public, ("other.pub", KEY)][..], &[private, password], &[private, password, ("a", KEY)]]
    {
        assert_eq!(read(entries), Err(several.to_owned()), "{entries:?}");
    }
    let bad = read(&[private, password, ("cosign.pub", "no key")]).unwrap_err();
    assert!(bad.ends_with("invalid public key: not a PEM encoded public key: no BEGIN line"));
}

#[test]
fn secrets_are_looked_up_in_the_gates_namespace() {
    let policy = policy(spec(json!({"key": {"secretRef": {"name": "s"}}})));
    let secrets = |secret: &SecretRef| {
        assert_eq!((secret.name.as_str(), secret.namespace.as_str()), ("s", "cosign-system"));
        Ok(SecretContent::Key(PublicKey::from_pem(KEY).unwrap()))
    };
    let lookups = Lookups { secrets: &secrets, roots: &no_root };
    let found = compile(&policy, "", &Context::default(), &lookups, &mut Patterns::default());
    assert_eq!(found.rule.need().signed().len(), 1);
}

#[test]
fn no_authorities_exempt_in_mode_warn_only() {
    let exempt = compiled(json!({"images": [{"glob": "k8s.gcr.io/**"}], "mode": "warn"}));
    assert!(matches!(exempt.rule.need(), Need::Exempt));
    assert!(!exempt.warnings.is_empty());
    let enforced = compiled(json!({"images": [{"glob": "k8s.gcr.io/**"}]}));
    assert_eq!(enforced.errors.to_string(), "missing field(s): spec.authorities");
    assert_eq!(reason_codes(enforced.rule.need()), ["Invalid"]);
    let context =
        Context { empty_authorities: validate::EmptyAuthorities::Accepted, ..Context::default() };
    let taken = policy(json!({"images": [{"glob": "**"}]}));
    let lookups = Lookups { secrets: &no_secret, roots: &no_root };
    let taken = compile(&taken, "", &context, &lookups, &mut Patterns::default());
    assert!(taken.errors.is_empty());
    assert!(!taken.conditions.iter().any(|c| c.kind == "Ready" && c.holds));
    let facts = crate::testing::facts(taken.rule.need(), |_| crate::testing::verified());
    let verdict = crate::judge::judge(&taken.rule.criterion, &facts);
    assert_eq!(verdict.code(), "fault");
}

#[test]
fn an_invalid_pattern_denies_everything_or_matches_nothing() {
    let pass = json!([{"static": {"action": "pass"}}]);
    let broken = |mode: &str| {
        compiled(json!({"images": [{"glob": "["}], "authorities": pass, "mode": mode}))
    };
    let enforced = broken("enforce");
    assert_eq!(reason_codes(enforced.rule.need()), ["Invalid"]);
    assert!(selects(&enforced, "quay.io/any/thing", "x"));
    assert!(!selects(&broken("warn"), "quay.io/any/thing", "x"));
    assert_eq!(broken("Warn").rule.mode(), Mode::Enforce);
    let half = compiled(json!({
        "images": [{"glob": "["}, {"glob": "ghcr.io/**"}], "authorities": pass, "mode": "warn"}));
    assert!(selects(&half, "ghcr.io/a/b", "x"));
    assert!(!selects(&half, "quay.io/a/b", "x"));
}

/// A stored policy may have been accepted by an older version or by policy-controller: its other
/// patterns stay in effect.
#[test]
fn an_impossible_pattern_does_not_affect_the_others() {
    let both = compiled(json!({
        "images": [{"glob": "https://quay.io/**"}, {"glob": "ghcr.io/**"}],
        "authorities": [{"key": {"data": KEY}}]}));
    assert!(both.errors.is_empty(), "{}", both.errors);
    assert_eq!(reason_codes(both.rule.need()), [] as [&str; 0]);
    assert!(both.impossible.to_string().contains("spec.images[0].glob"), "{}", both.impossible);
    assert!(selects(&both, "ghcr.io/a/b", "x") && !selects(&both, "quay.io/a/b", "x"));
}

#[test]
fn an_invalid_match_denies_everywhere_or_matches_nothing() {
    let with = |mode: &str, entries: Value| {
        compiled(json!({"images": [{"glob": "**"}], "mode": mode, "match": entries,
            "authorities": [{"static": {"action": "pass"}}]}))
    };
    let broken = json!({"resource": "pods", "selector": {"matchExpressions": [{"key": "k"}]}});
    let good = json!({"namespaces": ["a"]});
    assert!(selects(&with("enforce", json!([broken, good])), "x", "other"));
    assert!(!selects(&with("warn", json!([broken])), "x", "other"));
    assert!(selects(&with("warn", json!([broken, good])), "x", "a"));
    assert!(!selects(&with("warn", json!([broken, good])), "x", "other"));
}

#[test]
fn an_unreadable_policy_denies_every_image() {
    let compiled = unreadable("p", "a.yaml", "json: unknown field \"x\"");
    assert!(selects(&compiled, "any/thing", "any"));
    assert_eq!(compiled.rule.mode(), Mode::Enforce);
    assert_eq!(reason_codes(compiled.rule.need()), ["Invalid"]);
}

#[test]
fn unsigned_passes_do_not_trust_a_tag_beside_a_digest() {
    let digest = "a".repeat(64);
    let image = format!("ghcr.io/acme/app:v1@sha256:{digest}");
    let with = |mode: &str, authority: Value| {
        let glob = json!([{"glob": "ghcr.io/acme/app:v1"}]);
        compiled(json!({"images": glob, "authorities": [authority], "mode": mode}))
    };
    let key = json!({"key": {"data": KEY}});
    assert!(selects(&with("enforce", key.clone()), &image, ""));
    assert!(!selects(&with("warn", key), &image, ""));
    assert!(!selects(&with("enforce", json!({"static": {"action": "pass"}})), &image, ""));
    assert!(selects(&with("enforce", json!({"static": {"action": "fail"}})), &image, ""));
}

#[test]
fn matches_select_objects() {
    let object = |entry: Value| {
        compiled(json!({"images": [{"glob": "**"}], "match": [entry],
            "authorities": [{"key": {"data": KEY}}]}))
    };
    let mut deployment = pod("prod");
    "apps".clone_into(&mut deployment.group);
    "deployments".clone_into(&mut deployment.resource);
    deployment.labels = [("app".to_owned(), "web".to_owned())].into();
    let applies =
        |entry: Value| object(entry).rule.when.applies(&"nginx".parse().unwrap(), &deployment);
    let deployments =
        |selector: Value| json!({"resource": "deployments", "version": "v1", "selector": selector});
    for (entry, expected) in [
        (json!({}), true),
        (json!({"group": "apps", "version": "v1", "resource": "deployments"}), true),
        (json!({"version": "*", "resource": "deployments"}), true),
        (json!({"group": "apps", "version": "v1"}), true),
        (json!({"group": "batch", "version": "v1"}), false),
        (json!({"group": "apps", "version": "v1beta1", "resource": "deployments"}), false),
        (json!({"version": "v1", "resource": "pods"}), false),
        (json!({"namespaces": ["prod"]}), true),
        (json!({"namespaces": ["pro", "prod2", "dev"]}), false),
        (json!({"namespaces": ["prod"], "resource": "pods", "version": "v1"}), false),
        (deployments(json!({"matchLabels": {"app": "web"}})), true),
        (deployments(json!({"matchLabels": {"app": "web", "x": "y"}})), false),
        (
            deployments(
                json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]}),
            ),
            true,
        ),
        (
            deployments(
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
            ),
            false,
        ),
        (
            deployments(
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "web"]}]}),
            ),
            true,
        ),
        (deployments(json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]})), true),
        (
            deployments(json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})),
            false,
        ),
        (deployments(json!({})), true),
    ] {
        assert_eq!(applies(entry.clone()), expected, "{entry}");
    }
}

#[test]
fn fingerprints_cover_everything_that_affects_a_verdict() {
    let print = |spec: Value| compiled(spec).rule.fingerprint().clone();
    let base = spec(json!({"key": {"data": KEY}}));
    assert_eq!(
        print(base.clone()),
        print(spec(
            json!({"name": "authority-0", "key": {"data": KEY, "hashAlgorithm": "sha256"}})
        ))
    );
    let mut others = vec![
        spec(json!({"key": {"data": OTHER_KEY}})),
        spec(json!({"key": {"data": KEY, "hashAlgorithm": "sha384"}})),
        spec(json!({"name": "x", "key": {"data": KEY}})),
        spec(json!({"key": {"data": KEY}, "signatureFormat": "legacy"})),
        spec(json!({"key": {"data": KEY}, "source": [{"oci": "ghcr.io/a/b"}]})),
        spec(json!({"key": {"data": KEY}, "source": [{"oci": "ghcr.io/a/c"}]})),
        spec(json!({"key": {"data": KEY}, "source": [{"tagPrefix": "b"}]})),
        spec(json!({"key": {"data": KEY}, "source": [{"tagPrefix": "c"}]})),
        spec(json!({"key": {"data": KEY}, "source": [{"signaturePullSecrets": [{"name": "a"}]}]})),
        spec(json!({"key": {"data": KEY}, "source": [{"signaturePullSecrets": [{"name": "b"}]}]})),
        spec(json!({"key": {"data": KEY}, "source": [{}]})),
        spec(json!({"static": {"action": "pass"}})),
        spec(json!({"static": {"action": "fail"}})),
        spec(json!({"key": {"kms": "hashivault://k"}})),
    ];
    for (field, value) in [
        ("mode", json!("warn")),
        ("images", json!([{"glob": "ghcr.io/*"}])),
        ("match", json!([{"namespaces": ["a"]}])),
        ("match", json!([{"namespaces": ["b"]}])),
        ("policy", json!({"type": "cue", "data": "x"})),
    ] {
        let mut other = base.clone();
        other[field] = value;
        others.push(other);
    }
    let count = others.len() + 1;
    let mut prints: Vec<_> = others.into_iter().chain([base]).map(print).collect();
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), count);
}
