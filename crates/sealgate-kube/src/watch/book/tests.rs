use kube::api::ObjectMeta;
use sealgate_core::fault::FaultKind;
use sealgate_policy::rule::{Need, UndecidableReason};
use sealgate_policy::select::NoMatch;
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

fn with_secret(name: &str) -> DynamicObject {
    let key = json!({ "secretRef": { "name": "cosign-pub" } });
    object(name, json!({ "images": [{ "glob": "**" }], "authorities": [{ "key": key }] }))
}

fn static_pass(name: &str) -> DynamicObject {
    let authority = json!({ "static": { "action": "pass" } });
    object(name, json!({ "images": [{ "glob": "**" }], "authorities": [authority] }))
}

fn policy(event: Event<DynamicObject>) -> Change {
    Change::Policy(Box::new(event))
}

fn root(event: Event<DynamicObject>) -> Change {
    Change::TrustRoot(Box::new(event))
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

fn listed(objects: Vec<DynamicObject>) -> Book {
    let mut book = Book::new("cosign-system");
    book.take(policy(Event::Init));
    for object in objects {
        book.take(policy(Event::InitApply(object)));
    }
    book.take(policy(Event::InitDone));
    book.take(root(Event::Init));
    book.take(root(Event::InitDone));
    book.take(Change::Config(Box::new(Event::Init)));
    book.take(Change::Config(Box::new(Event::InitDone)));
    book
}

fn no_root(which: &RootRef) -> OwnRoot {
    Err(Fault::new(FaultKind::Missing, "trust root", format!("there is no {which:?}")))
}

fn names(book: &mut Book) -> Vec<String> {
    book.compile(&no_root).0.set.rules().iter().map(|rule| rule.name().to_owned()).collect()
}

fn key_data(pem: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    Some([("cosign.pub".to_owned(), pem.as_bytes().to_vec())].into())
}

/// What the only rule lacks.
fn lack(book: &mut Book) -> Option<UndecidableReason> {
    fn first(need: &Need) -> Option<UndecidableReason> {
        match need {
            Need::All(needs) | Need::Any(needs) => needs.iter().find_map(first),
            Need::Undecidable { condition, .. } => Some(*condition),
            _ => None,
        }
    }
    let (policies, reports) = book.compile(&no_root);
    let lack = first(policies.set.rules()[0].need());
    let ready = reports[0].conditions.iter().find(|c| c.kind == "Ready").expect("Ready");
    assert_eq!(ready.holds, lack.is_none());
    assert_eq!(policies.problems.is_empty(), lack.is_none());
    lack
}

#[test]
fn nothing_is_in_force_before_everything_was_listed() {
    let mut book = Book::new("cosign-system");
    assert!(!book.is_complete());
    book.take(policy(Event::Init));
    book.take(policy(Event::InitApply(static_pass("a"))));
    book.take(Change::Config(Box::new(Event::InitDone)));
    assert!(!book.is_complete());
    book.take(policy(Event::InitDone));
    assert!(!book.is_complete(), "the trust roots are missing");
    book.take(root(Event::InitDone));
    assert!(book.is_complete());
    assert_eq!(names(&mut book), ["a"]);
}

#[test]
fn a_pattern_that_no_image_can_match_is_a_problem_and_the_policy_goes_on() {
    let images = json!([{ "glob": "https://ghcr.io/**" }, { "glob": "ghcr.io/**" }]);
    let authorities = json!([{ "static": { "action": "pass" } }]);
    let mut book =
        listed(vec![object("p", json!({ "images": images, "authorities": authorities }))]);
    let (policies, reports) = book.compile(&no_root);
    assert!(reports[0].conditions.iter().all(|condition| condition.holds));
    let [problem] = policies.problems.as_slice() else { panic!("{:?}", policies.problems) };
    assert!(
        problem.starts_with("p: invalid value: https://ghcr.io/**: spec.images[0].glob "),
        "{problem}"
    );
}

#[test]
fn a_new_list_takes_effect_when_it_is_whole() {
    let mut book = listed(vec![static_pass("a"), static_pass("b")]);
    book.take(policy(Event::Init));
    book.take(policy(Event::InitApply(static_pass("b"))));
    assert_eq!(names(&mut book), ["a", "b"], "half a list drops no policy");
    assert!(book.is_complete());
    book.take(policy(Event::InitDone));
    assert_eq!(names(&mut book), ["b"]);
}

#[test]
fn edits_and_deletions_are_followed() {
    let mut book = listed(vec![static_pass("a")]);
    book.take(policy(Event::Apply(static_pass("b"))));
    assert_eq!(names(&mut book), ["a", "b"]);
    book.take(policy(Event::Delete(static_pass("a"))));
    assert_eq!(names(&mut book), ["b"]);
    let warn = json!({ "mode": "warn", "images": [{ "glob": "x/**" }] });
    let before = book.compile(&no_root).0.set.fingerprint().clone();
    book.take(policy(Event::Apply(object("b", warn))));
    assert_ne!(*book.compile(&no_root).0.set.fingerprint(), before);
}

#[test]
fn a_policy_that_cannot_be_read_is_a_rule_that_never_holds() {
    let mut book = listed(vec![object("a", json!({ "imagez": [] }))]);
    assert_eq!(lack(&mut book), Some(UndecidableReason::Invalid));
    let mut book = listed(vec![object("a", json!("text"))]);
    assert_eq!(lack(&mut book), Some(UndecidableReason::Invalid));
}

#[test]
fn a_secret_is_read_when_a_policy_names_it_and_when_it_changes() {
    let mut book = listed(vec![with_secret("a")]);
    assert_eq!(book.secrets_to_read(), ["cosign-pub"]);
    assert_eq!(lack(&mut book), Some(UndecidableReason::Key), "not read yet");
    book.take_secret("cosign-pub".to_owned(), Ok(key_data(PEM)));
    assert_eq!(lack(&mut book), None);
    assert!(book.secrets_to_read().is_empty());
    book.take(Change::Secret("other".to_owned()));
    assert!(book.secrets_to_read().is_empty());
    book.take(Change::Secret("cosign-pub".to_owned()));
    assert_eq!(book.secrets_to_read(), ["cosign-pub"]);
    assert_eq!(lack(&mut book), None, "the old key until the new one is read");
}

#[test]
fn a_key_goes_only_when_the_cluster_says_so() {
    let mut book = listed(vec![with_secret("a")]);
    let read = |book: &mut Book, answer| {
        book.secrets_to_read();
        book.take_secret("cosign-pub".to_owned(), answer);
        lack(book)
    };
    let fault = || Fault::new(FaultKind::Timeout, "secret", "no answer");
    assert_eq!(read(&mut book, Err(fault())), Some(UndecidableReason::Key), "never read");
    assert_eq!(read(&mut book, Ok(key_data(PEM))), None);
    assert_eq!(read(&mut book, Err(fault())), None, "the last good one stays");
    assert_eq!(read(&mut book, Ok(None)), Some(UndecidableReason::Key), "deleted");
    assert_eq!(read(&mut book, Ok(key_data(PEM))), None);
    assert_eq!(read(&mut book, Ok(key_data("junk"))), Some(UndecidableReason::Key), "overwritten");
    assert_eq!(
        read(&mut book, Err(fault())),
        Some(UndecidableReason::Key),
        "and a fault brings nothing back"
    );
}

#[test]
fn keys_that_nobody_names_are_forgotten() {
    let mut book = listed(vec![with_secret("a")]);
    book.secrets_to_read();
    book.take_secret("cosign-pub".to_owned(), Ok(key_data(PEM)));
    book.take(policy(Event::Delete(with_secret("a"))));
    assert!(book.secrets_to_read().is_empty());
    assert!(book.keys.is_empty());
}

#[test]
fn the_configuration_is_followed() {
    let mut book = listed(Vec::new());
    assert_eq!(book.compile(&no_root).0.set.no_match(), NoMatch::Deny);
    book.take(Change::Config(Box::new(Event::Apply(config(&[("no-match-policy", "warn")])))));
    assert_eq!(book.compile(&no_root).0.set.no_match(), NoMatch::Warn);
    book.take(Change::Config(Box::new(Event::Apply(config(&[("no-match-policy", "?")])))));
    assert_eq!(book.compile(&no_root).0.set.no_match(), NoMatch::Deny);
    book.take(Change::Config(Box::new(Event::Delete(config(&[])))));
    assert_eq!(book.compile(&no_root).0.set.no_match(), NoMatch::Deny);
}

#[test]
fn an_object_of_a_list_may_lack_its_type() {
    let mut object = static_pass("a");
    object.types = None;
    assert_eq!(lack(&mut listed(vec![object])), None);
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
    let mut book = listed(Vec::new());
    book.take(root(Event::Apply(good)));
    book.take(root(Event::Apply(trust_root("empty", json!({})))));
    book.take(root(Event::Apply(trust_root("unknown", json!({ "remotes": {} })))));
    let objects = book.trust_roots();
    assert!(objects["good"].as_ref().is_ok_and(|spec| spec.sigstore_keys.is_some()));
    let why = |name: &str| objects[name].clone().expect_err("not valid");
    assert!(why("empty").contains("expected exactly one, got neither"), "{}", why("empty"));
    assert!(why("unknown").contains("unknown field"), "{}", why("unknown"));
    let condition = |name: &str| {
        let (kind, reason, message) = ("Ready", "", name.to_owned());
        vec![Condition { kind, holds: true, reason, message }]
    };
    let reports = book.root_reports(condition);
    assert_eq!(reports.len(), 3);
    assert_eq!((reports[1].about.name.as_str(), reports[1].about.generation), ("good", Some(4)));
    assert_eq!(reports[1].conditions[0].message, "good");
    book.take(root(Event::Delete(trust_root("good", json!({})))));
    assert!(!book.trust_roots().contains_key("good"));
}

#[test]
fn policies_follow_their_trust_roots() {
    let identity = json!({ "issuer": "https://i", "subject": "s" });
    let keyless = json!({ "trustRootRef": "t", "identities": [identity] });
    let spec = json!({ "images": [{ "glob": "**" }], "authorities": [{ "keyless": keyless }] });
    let mut book = listed(vec![object("a", spec)]);
    let (policies, reports) = book.compile(&no_root);
    let inlined = reports[0].conditions.iter().find(|c| c.kind == "TrustRootsInlined");
    assert_eq!(inlined.map(|c| (c.holds, c.reason)), Some((false, "TrustRootUnavailable")));
    let before = policies.set.fingerprint().clone();
    let there =
        |_: &RootRef| Ok((Default::default(), sealgate_core::verify::RootSource::Configured));
    let (policies, _) = book.compile(&there);
    assert_ne!(*policies.set.fingerprint(), before, "it lacks something else now");
}

#[test]
fn a_cluster_without_the_resource_is_not_waited_for() {
    let mut book = Book::new("cosign-system");
    book.expect_no_trust_roots();
    book.take(policy(Event::InitDone));
    book.take(Change::Config(Box::new(Event::InitDone)));
    assert!(book.is_complete());
}

#[test]
fn a_secret_may_hold_the_certificates_of_an_authority() {
    let ca = json!({ "secretRef": { "name": "ca" } });
    let keyless = json!({ "ca-cert": ca, "identities": [{ "issuer": "i", "subject": "s" }] });
    let spec = json!({ "images": [{ "glob": "**" }], "authorities": [{ "keyless": keyless }] });
    let mut book = listed(vec![object("a", spec)]);
    assert_eq!(book.secrets_to_read(), ["ca"]);
}
