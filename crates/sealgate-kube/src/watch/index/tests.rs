use kube::api::ObjectMeta;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::roots::RootResult;
use sealgate_policy::assemble::{Assembly, assemble};
use sealgate_policy::cip::SecretRef;
use sealgate_policy::cip::compile::{Lookups, RootRef, SecretContent};
use sealgate_policy::cip::patterns::Patterns;
use sealgate_policy::rule::{Need, UndecidableReason};
use serde_json::json;

use super::*;

/// A P-256 public key.
const PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

fn object(name: &str, spec: Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": name, "generation": 2, "uid": "u", "resourceVersion": "7" },
        "spec": spec,
    });
    serde_json::from_value(object).expect("an object")
}

fn static_pass(name: &str) -> DynamicObject {
    let authority = json!({ "static": { "action": "pass" } });
    object(name, json!({ "images": [{ "glob": "**" }], "authorities": [authority] }))
}

fn config(entries: &[(&str, &str)]) -> ConfigMap {
    let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    ConfigMap {
        metadata: ObjectMeta {
            name: Some("config-policy-controller".to_owned()),
            ..Default::default()
        },
        data: Some(entries.collect()),
        ..Default::default()
    }
}

fn listed(objects: Vec<DynamicObject>) -> Index {
    let mut index = Index::default();
    index.apply_policy(Event::Init);
    for object in objects {
        index.apply_policy(Event::InitApply(object));
    }
    index.apply_policy(Event::InitDone);
    index.apply_trust_root(Event::Init);
    index.apply_trust_root(Event::InitDone);
    index.apply_config(Event::Init);
    index.apply_config(Event::InitDone);
    index
}

fn no_secret(secret: &SecretRef) -> Result<SecretContent, Fault> {
    Err(Fault::new(FaultKind::Missing, "secret", format!("there is no {secret:?}")))
}

fn no_root(which: &RootRef) -> RootResult {
    Err(Fault::new(FaultKind::Missing, "trust root", format!("there is no {which:?}")))
}

fn assembled(index: &Index, roots: &dyn Fn(&RootRef) -> RootResult) -> (Assembly, Vec<Report>) {
    let lookups = Lookups { secrets: &no_secret, roots };
    let assembly = assemble(
        &index.objects("cosign-system", None),
        &lookups,
        &|_| Vec::new(),
        &mut Patterns::default(),
    );
    let reports = index.policy_reports(assembly.policies.clone());
    (assembly, reports)
}

fn names(index: &Index) -> Vec<String> {
    assembled(index, &no_root).0.set.rules().iter().map(|rule| rule.name().to_owned()).collect()
}

/// The reason why the only rule is undecidable.
fn lack(index: &Index) -> Option<UndecidableReason> {
    fn first(need: &Need) -> Option<UndecidableReason> {
        match need {
            Need::All(needs) | Need::Any(needs) => needs.iter().find_map(first),
            Need::Undecidable { condition, .. } => Some(*condition),
            _ => None,
        }
    }
    let (policies, reports) = assembled(index, &no_root);
    let lack = first(policies.set.rules()[0].need());
    let ready = reports[0].conditions.iter().find(|c| c.kind == "Ready").expect("Ready");
    assert_eq!(ready.holds, lack.is_none());
    assert_eq!(policies.problems.is_empty(), lack.is_none());
    lack
}

#[test]
fn nothing_is_in_force_before_everything_was_listed() {
    let mut index = Index::default();
    assert!(!index.is_complete());
    index.apply_policy(Event::Init);
    index.apply_policy(Event::InitApply(static_pass("a")));
    index.apply_config(Event::InitDone);
    assert!(!index.is_complete());
    index.apply_policy(Event::InitDone);
    assert!(!index.is_complete(), "the trust roots are missing");
    index.apply_trust_root(Event::InitDone);
    assert!(index.is_complete());
    assert_eq!(names(&index), ["a"]);
}

#[test]
fn a_pattern_that_no_image_can_match_is_a_problem_and_the_policy_goes_on() {
    let images = json!([{ "glob": "https://ghcr.io/**" }, { "glob": "ghcr.io/**" }]);
    let authorities = json!([{ "static": { "action": "pass" } }]);
    let index = listed(vec![object("p", json!({ "images": images, "authorities": authorities }))]);
    let (policies, reports) = assembled(&index, &no_root);
    assert!(reports[0].conditions.iter().all(|condition| condition.holds));
    let [problem] = policies.problems.as_slice() else { panic!("{:?}", policies.problems) };
    assert!(
        problem.starts_with("p: invalid value: https://ghcr.io/**: spec.images[0].glob "),
        "{problem}"
    );
}

#[test]
fn a_new_list_takes_effect_when_it_is_whole() {
    let mut index = listed(vec![static_pass("a"), static_pass("b")]);
    index.apply_policy(Event::Init);
    index.apply_policy(Event::InitApply(static_pass("b")));
    assert_eq!(names(&index), ["a", "b"], "half a list drops no policy");
    assert!(index.is_complete());
    index.apply_policy(Event::InitDone);
    assert_eq!(names(&index), ["b"]);
}

#[test]
fn edits_and_deletions_are_followed() {
    let mut index = listed(vec![static_pass("a")]);
    index.apply_policy(Event::Apply(static_pass("b")));
    assert_eq!(names(&index), ["a", "b"]);
    index.apply_policy(Event::Delete(static_pass("a")));
    assert_eq!(names(&index), ["b"]);
    let warn = json!({ "mode": "warn", "images": [{ "glob": "x/**" }] });
    let before = assembled(&index, &no_root).0.set.fingerprint().clone();
    index.apply_policy(Event::Apply(object("b", warn)));
    assert_ne!(*assembled(&index, &no_root).0.set.fingerprint(), before);
}

#[test]
fn a_policy_that_cannot_be_read_is_a_rule_that_never_holds() {
    let index = listed(vec![object("a", json!({ "imagez": [] }))]);
    assert_eq!(lack(&index), Some(UndecidableReason::Invalid));
    let index = listed(vec![object("a", json!("text"))]);
    assert_eq!(lack(&index), Some(UndecidableReason::Invalid));
}

#[test]
fn the_configuration_is_followed() {
    let mut index = listed(Vec::new());
    assert_eq!(assembled(&index, &no_root).0.set.no_match(), NoMatch::Deny);
    index.apply_config(Event::Apply(config(&[("no-match-policy", "warn")])));
    assert_eq!(assembled(&index, &no_root).0.set.no_match(), NoMatch::Warn);
    index.apply_config(Event::Apply(config(&[("no-match-policy", "?")])));
    assert_eq!(assembled(&index, &no_root).0.set.no_match(), NoMatch::Deny);
    index.apply_config(Event::Delete(config(&[])));
    assert_eq!(assembled(&index, &no_root).0.set.no_match(), NoMatch::Deny);
}

#[test]
fn an_object_of_a_list_may_lack_its_type() {
    let mut object = static_pass("a");
    object.types = None;
    assert_eq!(lack(&listed(vec![object])), None);
}

fn trust_root(name: &str, spec: Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": name, "generation": 4, "uid": "u", "resourceVersion": "9" },
        "spec": spec,
        "status": { "observedGeneration": 3 },
    });
    serde_json::from_value(object).expect("an object")
}

#[test]
fn trust_roots_are_handed_on_checked_and_reported() {
    use base64::Engine as _;
    let log = json!({
        "baseURL": "https://log",
        "hashAlgorithm": "sha-256",
        "publicKey": base64::engine::general_purpose::STANDARD.encode(PEM),
    });
    let good = trust_root("good", json!({ "sigstoreKeys": { "tLogs": [log] } }));
    let mut index = listed(Vec::new());
    index.apply_trust_root(Event::Apply(good));
    index.apply_trust_root(Event::Apply(trust_root("empty", json!({}))));
    index.apply_trust_root(Event::Apply(trust_root("unknown", json!({ "remotes": {} }))));
    let objects = index.objects("cosign-system", None).trust_root_specs();
    assert!(objects["good"].as_ref().is_ok_and(|spec| spec.sigstore_keys.is_some()));
    let why = |name: &str| objects[name].clone().expect_err("not valid");
    assert!(why("empty").contains("expected exactly one, got neither"), "{}", why("empty"));
    assert!(why("unknown").contains("unknown field"), "{}", why("unknown"));
    let condition = |name: &str| {
        let (kind, reason, message) = ("Ready", "", name.to_owned());
        vec![Condition { kind, holds: true, reason, message }]
    };
    let lookups = Lookups { secrets: &no_secret, roots: &no_root };
    let assembly = assemble(
        &index.objects("cosign-system", None),
        &lookups,
        &condition,
        &mut Patterns::default(),
    );
    let reports = index.trust_root_reports(assembly.trust_roots);
    assert_eq!(reports.len(), 3);
    assert_eq!(
        (reports[1].metadata.name.as_str(), reports[1].metadata.generation),
        ("good", Some(4))
    );
    assert_eq!(reports[1].conditions[0].message, "good");
    index.apply_trust_root(Event::Delete(trust_root("good", json!({}))));
    let objects = index.objects("cosign-system", None).trust_root_specs();
    assert!(!objects.contains_key("good"));
}

#[test]
fn policies_follow_their_trust_roots() {
    let identity = json!({ "issuer": "https://i", "subject": "s" });
    let keyless = json!({ "trustRootRef": "t", "identities": [identity] });
    let spec = json!({ "images": [{ "glob": "**" }], "authorities": [{ "keyless": keyless }] });
    let index = listed(vec![object("a", spec)]);
    let (policies, reports) = assembled(&index, &no_root);
    let inlined = reports[0].conditions.iter().find(|c| c.kind == "TrustRootsInlined");
    assert_eq!(inlined.map(|c| (c.holds, c.reason)), Some((false, "TrustRootUnavailable")));
    let before = policies.set.fingerprint().clone();
    let there =
        |_: &RootRef| Ok((Default::default(), sealgate_core::verify::RootSource::Configured));
    let (policies, _) = assembled(&index, &there);
    assert_ne!(*policies.set.fingerprint(), before, "it lacks something else now");
}

#[test]
fn a_cluster_without_the_resource_is_not_waited_for() {
    let mut index = Index::default();
    index.expect_no_trust_roots();
    index.apply_policy(Event::InitDone);
    index.apply_config(Event::InitDone);
    assert!(index.is_complete());
}
