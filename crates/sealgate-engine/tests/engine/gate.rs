use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::{Reference, Repository};
use sealgate_engine::admit::{Admission, Answer, Holder, ImageUse, UnchangedImages, Workload};
use sealgate_engine::cache::CacheSettings;
use sealgate_engine::gate::{Gate, GatePorts, GateSettings};
use sealgate_engine::ports::{PullSecret, SecretSource};
use sealgate_engine::record::DecisionRecord;
use sealgate_engine::sign::Formats as Written;
use sealgate_policy::glob::{Glob, TagMatching};
use sealgate_policy::object_match::{ObjectMatch, Operator, Requirement, Selector};
use sealgate_policy::rule::{
    Formats, Mode, Need, Rule, RuleSource, SignatureRequirement, SignedBy, Source,
    UndecidableReason, When,
};
use sealgate_policy::scope::Scope;
use sealgate_policy::select::{NoMatch, PolicySet};
use sealgate_testkit::image;
use sealgate_testkit::key::TestKey;
use sealgate_testkit::ports::{FrozenClock, MemorySecrets, OneRegistry, Recorder};
use sealgate_testkit::registry::{MemoryRegistry, Request};

use crate::{app, authority, fault};

pub(crate) struct GateFixture {
    pub(crate) registry: Arc<MemoryRegistry>,
    recorder: Arc<Recorder>,
    pub(crate) gate: Arc<Gate>,
}

pub(crate) fn fixture() -> GateFixture {
    gate_with(MemoryRegistry::new(), MemorySecrets::default(), &CacheSettings::default())
}

fn gate_with(
    registry: MemoryRegistry,
    secrets: impl SecretSource + 'static,
    cache: &CacheSettings,
) -> GateFixture {
    let registry = Arc::new(registry);
    let recorder = Arc::new(Recorder::default());
    let ports = GatePorts {
        registries: Arc::new(OneRegistry::new(registry.clone())),
        secrets: Arc::new(secrets),
        clock: Arc::new(FrozenClock::default()),
        audit: recorder.clone(),
    };
    let gate = Arc::new(Gate::new(
        ports,
        GateSettings { cache: cache.clone(), ..GateSettings::default() },
    ));
    GateFixture { registry, recorder, gate }
}

impl GateFixture {
    pub(crate) fn records(&self) -> Vec<DecisionRecord> {
        self.recorder.records()
    }

    pub(crate) async fn validate(&self, images: &[&str], policies: &PolicySet) -> Answer {
        self.gate.validate(&admission(images), policies, None).await
    }
}

pub(crate) fn admission(images: &[&str]) -> Admission {
    let images = images.iter().enumerate().map(|(n, image)| ImageUse {
        path: format!("spec.containers[{n}].image"),
        pointer: format!("/spec/containers/{n}/image"),
        image: (*image).to_owned(),
    });
    Admission {
        uid: "1".to_owned(),
        user: "alice".to_owned(),
        dry_run: false,
        workload: Workload {
            scope: Scope {
                namespace: "shop".to_owned(),
                service_account: "default".to_owned(),
                ..Scope::default()
            },
            images: images.collect(),
            ..Workload::default()
        },
    }
}

fn requirement(keys: &[&TestKey]) -> SignatureRequirement {
    SignatureRequirement::new(authority(keys).into(), Default::default())
}

fn signed_by(name: &str, keys: &[&TestKey]) -> SignedBy {
    SignedBy::new(name.to_owned(), requirement(keys), Formats::Both)
}

fn rule(name: &str, mode: Mode, need: Need) -> Rule {
    let when = When {
        images: vec![Glob::parse("reg.example/acme/**").unwrap()],
        tags: TagMatching::AsWritten,
        matches: Vec::new(),
    };
    Rule::new(name.to_owned(), RuleSource::default(), when, need, mode)
}

fn with_when(rule: Rule, change: impl FnOnce(When) -> When) -> Rule {
    let Rule { source, when, criterion } = rule;
    let (name, need) = (criterion.name.clone(), criterion.need.clone());
    Rule::new(name, source, change(when), need, criterion.mode)
}

fn policies(rules: Vec<Rule>) -> PolicySet {
    PolicySet::new(rules, NoMatch::Deny)
}

pub(crate) fn signed_policy(key: &TestKey) -> PolicySet {
    let need = Need::Any(vec![Need::Signed(signed_by("ours", &[key]))]);
    policies(vec![rule("signed", Mode::Enforce, need)])
}

fn at(repository: &Repository, digest: &sealgate_core::digest::Digest) -> String {
    image::at(repository, digest).to_string()
}

async fn signed_image(
    fixture: &GateFixture,
    text: &str,
    key: &TestKey,
    formats: Written,
) -> String {
    let digest = image::image(&fixture.registry, &app(), text);
    let reference = image::at(&app(), &digest);
    image::sign(&fixture.registry, &reference, key, formats).await;
    reference.to_string()
}

#[tokio::test]
async fn a_signed_image_takes_three_requests_cold_and_none_warm() {
    for formats in [Written::Bundle, Written::Legacy, Written::Both] {
        let (fixture, key) = (fixture(), TestKey::p256());
        let image = signed_image(&fixture, "signed", &key, formats).await;
        let policies = signed_policy(&key);
        let answer = fixture.validate(&[&image, &image], &policies).await;
        assert!(answer.allowed, "{}", answer.message);
        assert_eq!(fixture.registry.take_count(), 3, "{formats:?}");
        for _ in 0..5 {
            assert!(fixture.validate(&[&image], &policies).await.allowed);
        }
        assert_eq!(fixture.registry.take_count(), 0);
        assert_eq!(fixture.gate.cache_stats().hits, 5);
    }
}

#[tokio::test]
async fn unsigned_wrong_key_and_tampered_are_refused_with_reasons() {
    let (fixture, key, other) = (fixture(), TestKey::p256(), TestKey::p256());
    let policies = signed_policy(&key);
    let unsigned = at(&app(), &image::image(&fixture.registry, &app(), "unsigned"));
    let answer = fixture.validate(&[&unsigned], &policies).await;
    assert!(!answer.allowed);
    let start = "validation failed: failed policy: signed: spec.containers[0].image";
    assert!(answer.message.starts_with(start), "{}", answer.message);
    assert!(answer.message.contains("no signatures found"));
    let wrong = signed_image(&fixture, "wrong", &other, Written::Both).await;
    let answer = fixture.validate(&[&wrong], &policies).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("no matching signatures"), "{}", answer.message);
    let record = fixture.recorder.records().pop().unwrap();
    assert!(!record.allowed);
    assert_eq!(record.images[0].outcome, "fail");
    assert_eq!(record.images[0].codes, ["wrong-signature"]);
}

#[tokio::test]
async fn a_signature_of_another_image_under_our_tag_is_refused() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let digest = image::image(&fixture.registry, &app(), "good");
    let reference = image::at(&app(), &digest);
    let signed = image::sign(&fixture.registry, &reference, &key, Written::Legacy).await;
    let evil = image::image(&fixture.registry, &app(), "evil");
    let tag = format!("sha256-{}.sig", evil.hex());
    fixture.registry.put_tag(&app(), &tag, &signed.legacy.unwrap().manifest.unwrap());
    let answer = fixture.validate(&[&at(&app(), &evil)], &signed_policy(&key)).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("invalid or missing digest in claim"), "{}", answer.message);
}

#[tokio::test]
async fn a_hundred_concurrent_requests_gather_once() {
    let fixture = gate_with(
        MemoryRegistry::new().with_latency(Duration::from_millis(5)),
        MemorySecrets::default(),
        &CacheSettings::default(),
    );
    let key = TestKey::p256();
    let image = signed_image(&fixture, "hundred", &key, Written::Bundle).await;
    let policies = Arc::new(signed_policy(&key));
    let tasks = (0..100).map(|_| {
        let (gate, policies, image) = (fixture.gate.clone(), policies.clone(), image.clone());
        tokio::spawn(async move { gate.validate(&admission(&[&image]), &policies, None).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap().allowed);
    }
    assert_eq!(fixture.registry.take_count(), 3);
}

#[tokio::test]
async fn a_fault_denies_is_reported_and_is_not_cached() {
    for request in [Request::Referrers, Request::Manifest, Request::Blob] {
        let (fixture, key) = (fixture(), TestKey::p256());
        let image = signed_image(&fixture, "fault", &key, Written::Bundle).await;
        let policies = signed_policy(&key);
        fixture.registry.fail(request, "", usize::MAX, fault(FaultKind::Throttled));
        let answer = fixture.validate(&[&image], &policies).await;
        assert!(!answer.allowed);
        assert!(answer.message.contains("reg.example"), "{}", answer.message);
        assert!(!answer.message.contains("no signatures found"), "{}", answer.message);
        fixture.registry.clear_faults();
        assert!(fixture.validate(&[&image], &policies).await.allowed, "{request:?}");
    }
}

#[tokio::test]
async fn a_denial_is_cached_briefly_and_only_for_the_same_credentials() {
    // Long enough for the requests before it expires, on a slow machine, too.
    let cache = CacheSettings { refusal: Duration::from_secs(1), ..CacheSettings::default() };
    let fixture = gate_with(MemoryRegistry::new(), MemorySecrets::default(), &cache);
    let key = TestKey::p256();
    let digest = image::image(&fixture.registry, &app(), "late");
    let reference = image::at(&app(), &digest);
    let text = reference.to_string();
    let policies = signed_policy(&key);
    assert!(!fixture.validate(&[&text], &policies).await.allowed);
    let asked = fixture.registry.take_count();
    assert!(!fixture.validate(&[&text], &policies).await.allowed);
    assert_eq!(fixture.registry.take_count(), 0);
    let mut other = admission(&[&text]);
    other.workload.scope.namespace = "elsewhere".to_owned();
    assert!(!fixture.gate.validate(&other, &policies, None).await.allowed);
    assert_eq!(fixture.registry.take_count(), asked);
    image::sign(&fixture.registry, &reference, &key, Written::Bundle).await;
    let allowed = async {
        while !fixture.validate(&[&text], &policies).await.allowed {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), allowed).await.expect("forgotten");
}

#[tokio::test]
async fn a_caller_that_times_out_does_not_fail_the_others() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let image = signed_image(&fixture, "leader", &key, Written::Bundle).await;
    let policies = Arc::new(signed_policy(&key));
    fixture.registry.delay(Request::Referrers, "", 1, Duration::from_millis(400));
    let ask = |timeout| {
        let (gate, policies, image) = (fixture.gate.clone(), policies.clone(), image.clone());
        tokio::spawn(
            async move { gate.validate(&admission(&[&image]), &policies, Some(timeout)).await },
        )
    };
    // The deadline is half of such a short timeout.
    let leader = ask(Duration::from_millis(200));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let follower = ask(Duration::from_secs(10));
    let cancelled = ask(Duration::from_secs(10));
    tokio::time::sleep(Duration::from_millis(20)).await;
    cancelled.abort();
    let leader = leader.await.unwrap();
    assert!(!leader.allowed);
    assert!(leader.message.contains("reg.example"), "{}", leader.message);
    assert!(leader.message.contains("unreachable"), "{}", leader.message);
    assert!(follower.await.unwrap().allowed);
}

#[tokio::test]
async fn after_a_cancelled_caller_another_gathers() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let image = signed_image(&fixture, "abort", &key, Written::Bundle).await;
    let policies = Arc::new(signed_policy(&key));
    fixture.registry.delay(Request::Referrers, "", 1, Duration::from_secs(60));
    let ask = || {
        let (gate, policies, image) = (fixture.gate.clone(), policies.clone(), image.clone());
        tokio::spawn(async move { gate.validate(&admission(&[&image]), &policies, None).await })
    };
    let leader = ask();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let follower = ask();
    tokio::time::sleep(Duration::from_millis(20)).await;
    leader.abort();
    assert!(follower.await.unwrap().allowed);
}

#[tokio::test]
async fn the_deadline_names_the_registry_that_was_slow() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let slow = image::repository("slow.example/signatures");
    let source =
        Source { include_image_repository: false, repository: Some(slow), ..Source::default() };
    let far = SignatureRequirement { source: Some(source), ..requirement(&[&key]) };
    let far = SignedBy::new("far".to_owned(), far, Formats::Both);
    let near = signed_by("near", &[&key]);
    let image = signed_image(&fixture, "slow", &key, Written::Bundle).await;
    let long = Duration::from_secs(60);
    fixture.registry.delay(Request::Referrers, "slow.example", usize::MAX, long);
    fixture.registry.delay(Request::Manifest, "slow.example", usize::MAX, long);
    let both = Need::All(vec![Need::Signed(near.clone()), Need::Signed(far.clone())]);
    let both = policies(vec![rule("both", Mode::Enforce, both)]);
    let began = std::time::Instant::now();
    let timeout = Some(Duration::from_millis(600));
    let answer = fixture.gate.validate(&admission(&[&image]), &both, timeout).await;
    assert!(began.elapsed() < Duration::from_millis(1000));
    assert!(!answer.allowed);
    assert!(answer.message.contains("slow.example"), "{}", answer.message);
    // If one signature suffices, the slow repository is not waited for.
    let any = Need::Any(vec![Need::Signed(far), Need::Signed(near)]);
    let any = policies(vec![rule("any", Mode::Enforce, any)]);
    let answer = fixture.gate.validate(&admission(&[&image]), &any, timeout).await;
    assert!(answer.allowed, "{}", answer.message);
}

/// A registry that answered must not be reported as "no answer".
#[tokio::test]
async fn a_fault_before_the_deadline_is_the_reason() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let image = signed_image(&fixture, "slow to fail", &key, Written::Legacy).await;
    let broken = fault(FaultKind::ServerError);
    fixture.registry.fail(Request::Referrers, "", usize::MAX, broken);
    fixture.registry.delay(Request::Manifest, "", usize::MAX, Duration::from_secs(60));
    let timeout = Some(Duration::from_secs(1));
    let answer = fixture.gate.validate(&admission(&[&image]), &signed_policy(&key), timeout).await;
    assert!(!answer.allowed);
    let code = format!("[{}]", FaultKind::ServerError.code());
    assert!(answer.message.contains(&code), "{}", answer.message);
    // Without any answer, the reason is the timeout.
    fixture.registry.clear_faults();
    fixture.registry.delay(Request::Referrers, "", usize::MAX, Duration::from_secs(60));
    let answer = fixture.gate.validate(&admission(&[&image]), &signed_policy(&key), timeout).await;
    assert!(answer.message.contains("[unreachable]"), "{}", answer.message);
}

/// An image at a slow registry must not use up the time of the images after it.
#[tokio::test]
async fn a_slow_registry_is_the_reason_of_its_own_images_only() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let mut images = Vec::new();
    for number in 0..30 {
        images
            .push(signed_image(&fixture, &format!("quick {number}"), &key, Written::Bundle).await);
    }
    let digest = image::image(&fixture.registry, &app(), "elsewhere");
    let slow = image::at(&image::repository("reg.example/acme/slow"), &digest).to_string();
    fixture.registry.delay(Request::Referrers, "acme/slow", usize::MAX, Duration::from_secs(60));
    images.push(slow);
    let images = images.iter().map(String::as_str).collect::<Vec<_>>();
    let timeout = Some(Duration::from_secs(2));
    let policies = signed_policy(&key);
    let answer = fixture.gate.validate(&admission(&images), &policies, timeout).await;
    assert!(!answer.allowed);
    assert_eq!(answer.message.matches("failed policy").count(), 1, "{}", answer.message);
    assert!(answer.message.contains("containers[30]"), "{}", answer.message);
}

#[tokio::test]
async fn several_rules_and_authorities_share_one_gathering() {
    let (fixture, key, other) = (fixture(), TestKey::p256(), TestKey::p256());
    let image = signed_image(&fixture, "share", &key, Written::Both).await;
    let any = Need::Any(vec![
        Need::Signed(signed_by("theirs", &[&other])),
        Need::Signed(signed_by("ours", &[&key])),
    ]);
    let all = Need::All(vec![Need::Signed(signed_by("again", &[&other, &key]))]);
    let rules = vec![rule("any", Mode::Enforce, any), rule("all", Mode::Enforce, all)];
    let answer = fixture.validate(&[&image], &policies(rules)).await;
    assert!(answer.allowed, "{}", answer.message);
    assert_eq!(fixture.registry.take_count(), 3);
}

#[tokio::test]
async fn the_format_that_a_policy_names_is_the_one_that_counts() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let bundle = signed_image(&fixture, "bundle", &key, Written::Bundle).await;
    let legacy = signed_image(&fixture, "legacy", &key, Written::Legacy).await;
    for (formats, good, bad) in
        [(Formats::Bundle, &bundle, &legacy), (Formats::Legacy, &legacy, &bundle)]
    {
        let need = Need::Signed(SignedBy { formats, ..signed_by("ours", &[&key]) });
        let policies = policies(vec![rule("format", Mode::Enforce, need)]);
        assert!(fixture.validate(&[good], &policies).await.allowed);
        let answer = fixture.validate(&[bad], &policies).await;
        assert!(!answer.allowed);
        assert!(answer.message.contains("the other format"), "{}", answer.message);
    }
}

#[tokio::test]
async fn a_warning_rule_warns_and_no_rule_denies() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let unsigned = at(&app(), &image::image(&fixture.registry, &app(), "warn"));
    let need = Need::Signed(signed_by("ours", &[&key]));
    let warn = policies(vec![rule("soft", Mode::Warn, need)]);
    let answer = fixture.validate(&[&unsigned], &warn).await;
    assert!(answer.allowed);
    assert!(answer.warnings[0].contains("failed policy: soft"), "{:?}", answer.warnings);
    let elsewhere = unsigned.replace("reg.example", "other.example");
    let answer = fixture.validate(&[&elsewhere], &warn).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("no matching policies"), "{}", answer.message);
}

/// A pod that is labelled later is judged by the rules for that label only.
#[tokio::test]
async fn unchanged_images_are_judged_by_the_rules_that_new_labels_select() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let signed = signed_image(&fixture, "signed", &key, Written::Bundle).await;
    let unsigned = at(&app(), &image::image(&fixture.registry, &app(), "unsigned"));
    let prod = Requirement {
        key: "env".to_owned(),
        operator: Operator::In,
        values: ["prod".to_owned()].into(),
    };
    let about = |name: &str, selector: Selector| {
        let rule = rule(name, Mode::Enforce, Need::Signed(signed_by("ours", &[&key])));
        let matches = vec![ObjectMatch { selector, ..ObjectMatch::default() }];
        with_when(rule, |when| When { matches, ..when })
    };
    let prod_only = PolicySet::new(vec![about("prod", Selector::new(vec![prod]))], NoMatch::Allow);
    let always = PolicySet::new(vec![about("all", Selector::default())], NoMatch::Deny);
    let relabel = |image: &str, before: &[&str], now: &[&str]| {
        let labels = |values: &[&str]| {
            values.iter().map(|value| ("env".to_owned(), (*value).to_owned())).collect()
        };
        let mut admission = admission(&[image]);
        let images = std::mem::take(&mut admission.workload.images);
        admission.workload.unchanged = Some(UnchangedImages { labels: labels(before), images });
        admission.workload.scope.labels = labels(now);
        admission
    };
    let ask = async |admission: Admission, policies| {
        fixture.gate.validate(&admission, policies, None).await
    };
    let answer = ask(relabel(&unsigned, &[], &["prod"]), &prod_only).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("failed policy: prod"), "{}", answer.message);
    assert!(ask(relabel(&signed, &[], &["prod"]), &prod_only).await.allowed);
    let tag = "reg.example/acme/app:v1";
    assert!(!ask(relabel(tag, &[], &["prod"]), &prod_only).await.allowed, "a tag is no content");
    // An image that was judged before is not judged again, whatever its current state.
    for (before, now) in [(&["prod"][..], &["test"][..]), (&[], &["test"]), (&["test"], &[])] {
        assert!(ask(relabel(&unsigned, before, now), &prod_only).await.allowed);
        assert!(ask(relabel(&unsigned, before, now), &always).await.allowed);
    }
    assert!(ask(relabel("no reference!", &[], &["prod"]), &prod_only).await.allowed);
    // Without the label, no policy applies to it, as if it were created so.
    let strict = PolicySet::new(prod_only.rules().to_vec(), NoMatch::Deny);
    for image in [&signed, &unsigned] {
        let answer = ask(relabel(image, &["prod"], &["test"]), &strict).await;
        assert!(!answer.allowed);
        assert!(answer.message.contains("no matching policies"), "{}", answer.message);
        assert!(ask(relabel(image, &[], &["test"]), &strict).await.allowed, "older than the gate");
    }
}

#[tokio::test]
async fn an_undecidable_policy_denies_without_requests() {
    let fixture = fixture();
    let unsigned = at(&app(), &image::image(&fixture.registry, &app(), "undecided"));
    for need in [
        Need::Undecidable {
            authority: "keyless".to_owned(),
            condition: UndecidableReason::Attestations,
            detail: "not yet".to_owned(),
        },
        Need::All(Vec::new()),
        Need::Any(Vec::new()),
        Need::Exempt,
        Need::Never { authority: "no".to_owned(), message: "never".to_owned() },
        Need::Signed(signed_by("nobody", &[])),
    ] {
        let policies = policies(vec![rule("odd", Mode::Enforce, need)]);
        let answer = fixture.validate(&[&unsigned], &policies).await;
        assert!(!answer.allowed, "{policies:?}");
    }
    let need = Need::Always { authority: "yes".to_owned() };
    fixture.registry.take_count();
    let policies = policies(vec![rule("yes", Mode::Enforce, need)]);
    assert!(fixture.validate(&[&unsigned], &policies).await.allowed);
    assert_eq!(fixture.registry.take_count(), 0);
}

#[tokio::test]
async fn a_tag_is_pinned_to_what_is_then_verified() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let tag: Reference = image::reference("reg.example/acme/app:v1");
    let digest = image::tagged(&fixture.registry, &tag, "v1");
    image::sign(&fixture.registry, &tag, &key, Written::Bundle).await;
    let policies = signed_policy(&key);
    let text = "reg.example/acme/app:v1";
    let pinned = fixture.gate.mutate(&admission(&[text, text]), None).await;
    let image = format!("reg.example/acme/app:v1@{digest}");
    assert_eq!(
        pinned.pins,
        [
            ("/spec/containers/0/image".to_owned(), image.clone()),
            ("/spec/containers/1/image".to_owned(), image.clone())
        ]
    );
    assert_eq!(fixture.registry.take_count(), 1);
    assert!(fixture.validate(&[&image], &policies).await.allowed);
    // The tag moves on; what was pinned stays what it was, and the new content is refused.
    image::tagged(&fixture.registry, &tag, "evil");
    assert!(fixture.validate(&[&image], &policies).await.allowed);
    let pinned = fixture.gate.mutate(&admission(&[text]), None).await;
    assert!(!fixture.validate(&[&pinned.pins[0].1], &policies).await.allowed);
}

#[tokio::test]
async fn docker_hub_names_are_written_out() {
    let fixture = fixture();
    let tag = image::reference("nginx");
    let digest = image::tagged(&fixture.registry, &tag, "nginx");
    let pinned = fixture.gate.mutate(&admission(&["nginx"]), None).await;
    assert_eq!(pinned.pins[0].1, format!("index.docker.io/library/nginx:latest@{digest}"));
}

#[tokio::test]
async fn a_tag_that_could_not_be_pinned_is_refused_with_the_reason() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let policies = signed_policy(&key);
    let text = "reg.example/acme/app:v1";
    image::tagged(&fixture.registry, &image::reference(text), "v1");
    fixture.registry.fail(Request::Resolve, "", 1, fault(FaultKind::Throttled));
    let pinned = fixture.gate.mutate(&admission(&[text]), None).await;
    assert!(pinned.allowed && pinned.pins.is_empty());
    let answer = fixture.validate(&[text], &policies).await;
    assert!(!answer.allowed);
    let line = format!("invalid value: {text} must be an image digest: spec.containers[0].image");
    assert!(answer.message.contains(&line), "{}", answer.message);
    assert!(answer.message.contains("throttled"), "{}", answer.message);
    let answer = fixture.validate(&["reg.example/acme/app:missing"], &policies).await;
    assert!(answer.message.contains("image tag not found"), "{}", answer.message);
    let answer = fixture.validate(&["in@valid"], &policies).await;
    assert!(answer.message.contains("could not parse reference: in@valid"), "{}", answer.message);
}

fn with_holder(mut admission: Admission, holder: Holder) -> Admission {
    admission.workload.holder = holder;
    admission
}

fn in_template(images: &[&str], holder: Holder) -> Admission {
    with_holder(admission(images), holder)
}

/// A ReplicaSet whose template differs from its Deployment's makes the controller create another
/// ReplicaSet, indefinitely: kubernetes#57167.
#[tokio::test]
async fn a_template_that_a_controller_compares_is_not_pinned_and_its_tag_is_resolved() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let policies = signed_policy(&key);
    let text = "reg.example/acme/app:v1";
    let tag: Reference = image::reference(text);
    image::tagged(&fixture.registry, &tag, "v1");
    let owned = in_template(&[text], Holder::ControlledTemplate);
    let validate = async || fixture.gate.validate(&owned, &policies, None).await;
    assert!(fixture.gate.mutate(&owned, None).await.pins.is_empty());
    assert_eq!(fixture.registry.take_count(), 0, "no request without a pin");
    let answer = validate().await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("no signatures found"), "{}", answer.message);
    // Another image, since a denial is cached.
    image::tagged(&fixture.registry, &tag, "v2");
    image::sign(&fixture.registry, &tag, &key, Written::Bundle).await;
    assert!(validate().await.allowed);
    image::tagged(&fixture.registry, &tag, "evil");
    assert!(!validate().await.allowed, "the tag moved on");
    let missing = in_template(&["reg.example/acme/app:none"], Holder::ControlledTemplate);
    let answer = fixture.gate.validate(&missing, &policies, None).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("must be an image digest"), "{}", answer.message);
    assert!(answer.message.contains("image tag not found"), "{}", answer.message);
    // A Pod must be pinned, whatever its owner; so must a template that no controller compares.
    for holder in [Holder::Pod, Holder::Template] {
        let unpinned = in_template(&[text], holder);
        assert_eq!(fixture.gate.mutate(&unpinned, None).await.pins.len(), 1);
        let answer = fixture.gate.validate(&unpinned, &policies, None).await;
        assert!(answer.message.contains("must be an image digest"), "{}", answer.message);
    }
}

#[tokio::test]
async fn without_an_enforcing_rule_a_registry_that_is_down_denies_nothing_and_is_not_asked() {
    let (fixture, key) = (fixture(), TestKey::p256());
    fixture.registry.fail(Request::Resolve, "", usize::MAX, fault(FaultKind::Unreachable));
    let text = "reg.example/acme/app:v1";
    let signed = || Need::Signed(signed_by("ours", &[&key]));
    let set = |mode, need| PolicySet::new(vec![rule("p", mode, need)], NoMatch::Deny);
    let warn = fixture.validate(&[text], &set(Mode::Warn, signed())).await;
    assert!(warn.allowed, "{}", warn.message);
    assert!(warn.warnings[0].starts_with("failed policy: p: "), "{:?}", warn.warnings);
    fixture.registry.take_count();
    let pass = set(Mode::Enforce, Need::Always { authority: "a".to_owned() });
    let open = PolicySet::new(Vec::new(), NoMatch::Allow);
    for policies in [&pass, &open] {
        let answer = fixture.validate(&[text], policies).await;
        assert!(answer.allowed && answer.warnings.is_empty(), "{}", answer.message);
    }
    assert_eq!(fixture.registry.take_count(), 0);
    assert!(!fixture.validate(&[text], &set(Mode::Enforce, signed())).await.allowed);
    assert!(!fixture.validate(&[text], &PolicySet::new(Vec::new(), NoMatch::Deny)).await.allowed);
}

/// Istio's gateways write `auto`, OpenShift's image triggers a blank; another component replaces
/// the image in the pod.
#[tokio::test]
async fn a_placeholder_in_a_template_is_a_warning_unless_an_enforcing_rule_applies() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let elsewhere = signed_policy(&key);
    let table = [
        ("auto", "placeholder image not verified: spec.containers[0].image: auto"),
        (" ", "placeholder image not verified: spec.containers[0].image: "),
        ("", "placeholder image not verified: spec.containers[0].image: "),
        ("$(IMAGE)", "pods will be denied: "),
    ];
    for (text, said) in table {
        for holder in [Holder::Template, Holder::ControlledTemplate] {
            let object = in_template(&[text], holder);
            assert!(fixture.gate.mutate(&object, None).await.pins.is_empty());
            let answer = fixture.gate.validate(&object, &elsewhere, None).await;
            assert!(answer.allowed, "{text:?}: {}", answer.message);
            assert!(answer.warnings[0].starts_with(said), "{text:?}: {:?}", answer.warnings);
        }
        assert_eq!(fixture.registry.take_count(), 0, "{text:?}: no request");
        assert!(!fixture.validate(&[text], &elsewhere).await.allowed, "{text:?} in a pod");
        fixture.registry.take_count();
    }
    let everywhere = |mode| {
        let rule = rule("all", mode, Need::Signed(signed_by("ours", &[&key])));
        let rule = with_when(rule, |when| When { images: vec![Glob::any()], ..when });
        PolicySet::new(vec![rule], NoMatch::Deny)
    };
    let object = in_template(&["auto"], Holder::Template);
    let refused = fixture.gate.validate(&object, &everywhere(Mode::Enforce), None).await;
    assert!(!refused.allowed);
    assert!(refused.message.contains("policy all requires an image digest"), "{}", refused.message);
    assert!(refused.message.contains("a placeholder"), "{}", refused.message);
    assert!(fixture.gate.validate(&object, &everywhere(Mode::Warn), None).await.allowed);
    assert_eq!(fixture.registry.take_count(), 0);
}

#[tokio::test]
async fn a_restart_is_let_in_and_told_what_its_pods_will_meet() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let policies = signed_policy(&key);
    let signed = signed_image(&fixture, "signed", &key, Written::Bundle).await;
    let tag = "reg.example/acme/app:v1";
    image::tagged(&fixture.registry, &image::reference(tag), "unsigned");
    let restart = async |image: &str, policies: &PolicySet| {
        let mut admission = in_template(&[image], Holder::Template);
        admission.workload.restarted = std::mem::take(&mut admission.workload.images);
        fixture.gate.validate(&admission, policies, None).await
    };
    let quiet = restart(&signed, &policies).await;
    assert!(quiet.allowed && quiet.warnings.is_empty(), "{:?}", quiet.warnings);
    let warned = restart(tag, &policies).await;
    assert!(warned.allowed, "{}", warned.message);
    let line = "pods will be denied: failed policy: signed: spec.containers[0].image: ";
    assert!(warned.warnings[0].starts_with(line), "{:?}", warned.warnings);
    assert!(fixture.records().iter().all(|record| record.allowed));
    let unruled = restart(tag, &PolicySet::new(Vec::new(), NoMatch::Deny)).await;
    assert!(unruled.warnings[0].starts_with("pods will be denied: no matching policies"));
    // A slow registry delays the response briefly, and does not affect other images.
    image::tagged(&fixture.registry, &image::reference("reg.example/acme/app:slow"), "slow");
    fixture.registry.delay(Request::Resolve, "slow", usize::MAX, Duration::from_secs(60));
    let mut two = in_template(&[tag, "reg.example/acme/app:slow"], Holder::Template);
    two.workload.restarted = std::mem::take(&mut two.workload.images);
    let started = std::time::Instant::now();
    let slow = fixture.gate.validate(&two, &policies, None).await;
    assert!(slow.allowed && started.elapsed() < Duration::from_secs(6));
    let told = |text: &str| slow.warnings.iter().any(|warning| warning.contains(text));
    assert!(told("containers[0].image: no signatures found"), "{:?}", slow.warnings);
    assert!(told("containers[1].image: [unreachable] reg.example"), "{:?}", slow.warnings);
    // Images without requirements are not fetched.
    fixture.registry.take_count();
    assert!(restart(tag, &PolicySet::new(Vec::new(), NoMatch::Deny)).await.allowed);
    assert_eq!(fixture.registry.take_count(), 0);
}

/// Any client of the gate may name a workload in any namespace.
#[tokio::test]
async fn of_an_object_that_is_only_named_no_image_is_told() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let names = ["reg.example/acme/secret-project:v1", "other.example/hr/payroll:v1", "bad@secret"];
    image::tagged(&fixture.registry, &image::reference(names[0]), "unsigned");
    for no_match in [NoMatch::Deny, NoMatch::Warn] {
        for mode in [Mode::Enforce, Mode::Warn] {
            let need = Need::Signed(signed_by("ours", &[&key]));
            let policies = PolicySet::new(vec![rule("p", mode, need)], no_match);
            let mut named = in_template(&names, Holder::NamedTemplate);
            named.workload.restarted = std::mem::take(&mut named.workload.images);
            let answer = fixture.gate.validate(&named, &policies, None).await;
            assert!(answer.allowed);
            assert_eq!(answer.warnings.len(), 3, "{:?}", answer.warnings);
            let said = answer.warnings.join("\n");
            for hidden in ["secret", "payroll", "reg.example", "other.example"] {
                assert!(!said.contains(hidden), "{said}");
            }
            assert!(said.contains("failed policy: p [no-signatures]: spec.containers[0].image"));
            assert!(said.contains("no matching policies: spec.containers[1].image"), "{said}");
        }
    }
}

/// A digest in a Deployment guarantees the content of its pods, if a policy applies to Deployments
/// only. A claimed owner must not change that.
#[tokio::test]
async fn a_rule_about_templates_alone_asks_a_controlled_one_for_a_digest() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let text = "reg.example/acme/app:v1";
    let tag: Reference = image::reference(text);
    image::tagged(&fixture.registry, &tag, "v1");
    image::sign(&fixture.registry, &tag, &key, Written::Bundle).await;
    let about = |resource: &str, selector: Selector| ObjectMatch {
        resource: Some(resource.to_owned()),
        selector,
        ..ObjectMatch::default()
    };
    let web = || {
        Selector::new(vec![Requirement {
            key: "app".to_owned(),
            operator: Operator::In,
            values: ["web".to_owned()].into(),
        }])
    };
    let judged = async |matches: Vec<ObjectMatch>, pod_label: &str| {
        let rule = rule("p", Mode::Enforce, Need::Signed(signed_by("ours", &[&key])));
        let rule = with_when(rule, |when| When { matches, ..when });
        let mut owned = in_template(&[text], Holder::ControlledTemplate);
        owned.workload.scope.resource = "replicasets".to_owned();
        owned.workload.pod_labels = [("app".to_owned(), pod_label.to_owned())].into();
        let policies = PolicySet::new(vec![rule], NoMatch::Allow);
        fixture.gate.validate(&owned, &policies, None).await
    };
    let both = vec![about("replicasets", Selector::default()), about("pods", Selector::default())];
    assert!(judged(Vec::new(), "web").await.allowed);
    assert!(judged(both, "web").await.allowed);
    let by_label = || vec![about("replicasets", Selector::default()), about("pods", web())];
    assert!(judged(by_label(), "web").await.allowed);
    for (matches, label) in
        [(vec![about("replicasets", Selector::default())], "web"), (by_label(), "other")]
    {
        let answer = judged(matches, label).await;
        assert!(!answer.allowed);
        assert!(answer.message.contains("must be an image digest"), "{}", answer.message);
        assert!(answer.message.contains("applies to replicasets and not to their pods"));
    }
}

#[tokio::test]
async fn secrets_that_cannot_be_read_are_the_reason_only_if_nothing_is_found() {
    let secrets =
        MemorySecrets { fault: Some(fault(FaultKind::Denied)), ..MemorySecrets::default() };
    let fixture = gate_with(MemoryRegistry::new(), secrets, &CacheSettings::default());
    let key = TestKey::p256();
    let image = signed_image(&fixture, "public", &key, Written::Bundle).await;
    assert!(fixture.validate(&[&image], &signed_policy(&key)).await.allowed);
    let unsigned = at(&app(), &image::image(&fixture.registry, &app(), "private"));
    let answer = fixture.validate(&[&unsigned], &signed_policy(&key)).await;
    assert!(answer.message.contains("denied"), "{}", answer.message);
}

/// An API server that does not respond to requests for Secrets.
struct Stuck;

#[async_trait]
impl SecretSource for Stuck {
    async fn secret(&self, _: &str, _: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, Fault> {
        std::future::pending().await
    }

    async fn pull_secrets(&self, _: &str, _: &str, _: &[String]) -> Result<Vec<PullSecret>, Fault> {
        std::future::pending().await
    }
}

/// Public images are admitted without Secrets, and the reason names the API server, not the
/// registry.
#[tokio::test]
async fn secrets_that_do_not_come_take_half_of_the_time_and_are_the_reason() {
    let (fixture, key) =
        (gate_with(MemoryRegistry::new(), Stuck, &CacheSettings::default()), TestKey::p256());
    let policies = signed_policy(&key);
    let timeout = Some(Duration::from_secs(2));
    let validate =
        async |image: &str| fixture.gate.validate(&admission(&[image]), &policies, timeout).await;
    let public = signed_image(&fixture, "public", &key, Written::Bundle).await;
    let answer = validate(&public).await;
    assert!(answer.allowed, "{}", answer.message);
    let unsigned = at(&app(), &image::image(&fixture.registry, &app(), "private"));
    for image in [unsigned.as_str(), "reg.example/acme/app:none"] {
        let answer = validate(image).await;
        let reason = "[timeout] pull secrets in shop";
        assert!(!answer.allowed && answer.message.contains(reason), "{}", answer.message);
    }
    fixture.registry.delay(Request::Referrers, "", usize::MAX, Duration::from_secs(60));
    let answer = validate(&unsigned).await;
    assert!(answer.message.contains("[timeout] pull secrets in shop"), "{}", answer.message);
}

#[tokio::test]
async fn a_changed_policy_gathers_again() {
    let (fixture, key, other) = (fixture(), TestKey::p256(), TestKey::p256());
    let image = signed_image(&fixture, "changed", &key, Written::Bundle).await;
    assert!(fixture.validate(&[&image], &signed_policy(&key)).await.allowed);
    assert!(!fixture.validate(&[&image], &signed_policy(&other)).await.allowed);
    assert!(fixture.validate(&[&image], &signed_policy(&key)).await.allowed);
}

#[tokio::test]
async fn records_have_the_same_fields_for_both_answers() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let good = signed_image(&fixture, "record", &key, Written::Bundle).await;
    let bad = at(&app(), &image::image(&fixture.registry, &app(), "bad"));
    fixture.validate(&[&good], &signed_policy(&key)).await;
    fixture.validate(&[&bad], &signed_policy(&key)).await;
    let records = fixture.recorder.records();
    let fields = records.iter().map(|record| {
        let value = serde_json::to_value(record).unwrap();
        let names = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        (names(&value), names(&value["images"][0]))
    });
    let fields = fields.collect::<Vec<_>>();
    assert_eq!(fields[0], fields[1]);
    assert_eq!((records[0].allowed, records[1].allowed), (true, false));
    assert_eq!(records[0].schema, "sealgate.dev/decision/v1");
    assert_eq!(records[0].images[0].authorities, ["ours"]);
}

#[tokio::test]
async fn rules_without_requirements_do_not_prevent_caching() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let image = signed_image(&fixture, "mixed", &key, Written::Both).await;
    let later = Need::Undecidable {
        authority: "keyless".to_owned(),
        condition: UndecidableReason::Attestations,
        detail: "not yet".to_owned(),
    };
    let need = Need::Signed(signed_by("ours", &[&key]));
    let rules = vec![rule("later", Mode::Warn, later), rule("now", Mode::Enforce, need)];
    let policies = policies(rules);
    for requests in [3, 0] {
        let answer = fixture.validate(&[&image], &policies).await;
        assert!(answer.allowed, "{}", answer.message);
        assert_eq!(answer.warnings.len(), 1);
        assert_eq!(fixture.registry.take_count(), requests);
    }
}

#[tokio::test]
async fn a_hundred_requests_query_a_failing_registry_once() {
    let registry = MemoryRegistry::new().with_latency(Duration::from_millis(30));
    let fixture = gate_with(registry, MemorySecrets::default(), &CacheSettings::default());
    let key = TestKey::p256();
    let image = signed_image(&fixture, "stampede", &key, Written::Bundle).await;
    fixture.registry.fail(Request::Referrers, "", usize::MAX, fault(FaultKind::ServerError));
    let policies = Arc::new(signed_policy(&key));
    let tasks = (0..100).map(|_| {
        let (gate, policies, image) = (fixture.gate.clone(), policies.clone(), image.clone());
        tokio::spawn(async move { gate.validate(&admission(&[&image]), &policies, None).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(!task.await.unwrap().allowed);
    }
    assert_eq!(fixture.registry.count(Request::Referrers), 1);
}

#[tokio::test]
async fn the_secrets_of_a_pod_are_read_once_for_all_its_images() {
    let registry = Arc::new(MemoryRegistry::new());
    let access = Arc::new(OneRegistry::new(registry.clone()));
    let mut secrets = MemorySecrets::default();
    let config = [(".dockerconfigjson".to_owned(), b"{}".to_vec())];
    secrets.secrets.insert("shop/pull".to_owned(), config.into());
    let ports = GatePorts {
        registries: access.clone(),
        secrets: Arc::new(secrets),
        clock: Arc::new(FrozenClock::default()),
        audit: Arc::new(Recorder::default()),
    };
    let gate = Gate::new(ports, GateSettings::default());
    let key = TestKey::p256();
    let images = (0..20).map(|n| at(&app(), &image::image(&registry, &app(), &n.to_string())));
    let images = images.collect::<Vec<_>>();
    let images = images.iter().map(String::as_str).collect::<Vec<_>>();
    let mut admission = admission(&images);
    admission.workload.pull_secrets = vec!["pull".to_owned()];
    assert!(!gate.validate(&admission, &signed_policy(&key), None).await.allowed);
    assert_eq!(access.opened(), [1]);
}

#[tokio::test]
async fn uncached_denials_are_still_gathered_once_concurrently() {
    let cache = CacheSettings { refusal: Duration::ZERO, ..CacheSettings::default() };
    let registry = MemoryRegistry::new().with_latency(Duration::from_millis(20));
    let fixture = gate_with(registry, MemorySecrets::default(), &cache);
    let key = TestKey::p256();
    let digest = image::image(&fixture.registry, &app(), "unkept");
    let reference = image::at(&app(), &digest);
    let (image, policies) = (reference.to_string(), Arc::new(signed_policy(&key)));
    let tasks = (0..50).map(|_| {
        let (gate, policies, image) = (fixture.gate.clone(), policies.clone(), image.clone());
        tokio::spawn(async move { gate.validate(&admission(&[&image]), &policies, None).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(!task.await.unwrap().allowed);
    }
    assert_eq!(fixture.registry.count(Request::Referrers), 1);
    image::sign(&fixture.registry, &reference, &key, Written::Bundle).await;
    assert!(fixture.validate(&[&image], &policies).await.allowed);
}

mod whatever_fails {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Trouble {
        request: Request,
        kind: FaultKind,
        times: usize,
    }

    fn trouble() -> impl Strategy<Value = Trouble> {
        let requests = [Request::Referrers, Request::Manifest, Request::Blob];
        let request = prop::sample::select(requests.to_vec());
        let kind = prop::sample::select(FaultKind::ALL);
        (request, kind, 1..4usize).prop_map(|(request, kind, times)| Trouble {
            request,
            kind,
            times,
        })
    }

    fn written() -> impl Strategy<Value = Option<Written>> {
        prop::option::of(prop::sample::select(vec![
            Written::Bundle,
            Written::Legacy,
            Written::Both,
        ]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Only an image that is signed by the right key is admitted, and a signed image is never
        /// reported as having no signatures because of a fault.
        #[test]
        fn nothing_unsigned_is_let_in(
            ours in written(),
            theirs in written(),
            troubles in prop::collection::vec(trouble(), 0..4),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (fixture, key, other) = (fixture(), TestKey::p256(), TestKey::p256());
                let digest = image::image(&fixture.registry, &app(), "whatever");
                let reference = image::at(&app(), &digest);
                for (key, formats) in [(&key, ours), (&other, theirs)] {
                    if let Some(formats) = formats {
                        image::sign(&fixture.registry, &reference, key, formats).await;
                    }
                }
                for Trouble { request, kind, times } in &troubles {
                    fixture.registry.fail(*request, "", *times, fault(*kind));
                }
                let policies = signed_policy(&key);
                let image = reference.to_string();
                let answer = fixture.validate(&[&image], &policies).await;
                let signed = ours.is_some();
                prop_assert!(signed || !answer.allowed);
                let oversized = troubles.iter().any(|t| t.kind == FaultKind::TooLarge);
                if signed && !answer.allowed && !oversized {
                    prop_assert!(!answer.message.contains("no signatures"), "{}", answer.message);
                }
                fixture.registry.clear_faults();
                if !oversized {
                    let answer = fixture.validate(&[&image], &policies).await;
                    prop_assert_eq!(answer.allowed, signed, "{}", answer.message);
                }
                Ok(())
            })?;
        }
    }
}

/// An update of a template with a label, a container that stays and one that is new.
fn template_of_app(new: &[(usize, &str)]) -> Admission {
    let mut template = in_template(&[], Holder::Template);
    template.workload.images = new.iter().map(|(at, image)| container(*at, image)).collect();
    template
}

fn container(at: usize, image: &str) -> ImageUse {
    ImageUse {
        path: format!("spec.template.spec.containers[{at}].image"),
        pointer: format!("/spec/template/spec/containers/{at}/image"),
        image: image.to_owned(),
    }
}

async fn signed_tag(fixture: &GateFixture, key: &TestKey) -> &'static str {
    let text = "reg.example/acme/app:v1";
    let tag = image::reference(text);
    image::tagged(&fixture.registry, &tag, "v1");
    image::sign(&fixture.registry, &tag, key, Written::Bundle).await;
    text
}

/// The digest of a tag that is in use does not stand for the same tag in a new container, which
/// nothing binds to that digest.
#[tokio::test]
async fn a_new_tag_is_not_admitted_by_the_digest_of_an_unchanged_one() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let text = signed_tag(&fixture, &key).await;
    let rule = rule("p", Mode::Enforce, Need::Signed(signed_by("ours", &[&key])));
    let selector = Selector::new(vec![Requirement {
        key: "env".to_owned(),
        operator: Operator::In,
        values: ["prod".to_owned()].into(),
    }]);
    let of_deployments = ObjectMatch {
        resource: Some("deployments".to_owned()),
        selector,
        ..ObjectMatch::default()
    };
    let rule = with_when(rule, |when| When { matches: vec![of_deployments], ..when });
    let policies = PolicySet::new(vec![rule], NoMatch::Allow);
    let mut template = template_of_app(&[(1, text)]);
    template.workload.scope.resource = "deployments".to_owned();
    template.workload.scope.labels = [("env".to_owned(), "prod".to_owned())].into();
    assert!(!fixture.gate.validate(&template, &policies, None).await.allowed);
    template.workload.unchanged =
        Some(UnchangedImages { labels: BTreeMap::new(), images: vec![container(0, text)] });
    let answer = fixture.gate.validate(&template, &policies, None).await;
    assert!(!answer.allowed);
    assert!(answer.message.contains("must be an image digest"), "{}", answer.message);
    // Nor does the label alone bring a tag under a rule that nothing binds its pods to.
    template.workload.images.clear();
    for holder in [Holder::Template, Holder::ControlledTemplate] {
        let template = with_holder(template.clone(), holder);
        let answer = fixture.gate.validate(&template, &policies, None).await;
        assert!(!answer.allowed, "{holder:?}");
        assert!(answer.message.contains("and not to their pods"), "{}", answer.message);
    }
}

/// The recorder replays each decision by the policies in force.
#[tokio::test]
async fn a_new_tag_beside_the_same_restarted_one_is_replayed() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let text = signed_tag(&fixture, &key).await;
    let mut template = template_of_app(&[(1, text)]);
    template.workload.restarted = vec![container(0, text)];
    let answer = fixture.gate.validate(&template, &signed_policy(&key), None).await;
    assert!(!answer.allowed, "the new one has no digest");
}

#[tokio::test]
async fn a_slow_tag_of_a_warning_takes_no_time_of_an_enforced_image() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let image = signed_image(&fixture, "quick", &key, Written::Bundle).await;
    fixture.registry.delay(Request::Resolve, "acme/slow", usize::MAX, Duration::from_secs(60));
    let rule = |name, mode, glob: &str| {
        let images = vec![Glob::parse(glob).unwrap()];
        let rule = rule(name, mode, Need::Signed(signed_by("ours", &[&key])));
        with_when(rule, |when| When { images, ..when })
    };
    let policies = policies(vec![
        rule("warn", Mode::Warn, "reg.example/acme/slow"),
        rule("enforce", Mode::Enforce, "reg.example/acme/app"),
    ]);
    let both = admission(&[&image, "reg.example/acme/slow:v1"]);
    let answer = fixture.gate.validate(&both, &policies, Some(Duration::from_secs(2))).await;
    assert!(answer.allowed, "{}", answer.message);
    assert_eq!(answer.warnings.len(), 1);
}

/// Sources that were not read, because a criterion held before, say nothing about others.
#[tokio::test]
async fn an_early_stop_is_replayed_as_unknown_and_not_as_unsigned() {
    let (fixture, a, b) = (fixture(), TestKey::p256(), TestKey::p256());
    let digest = image::image(&fixture.registry, &app(), "both");
    let reference = image::at(&app(), &digest);
    image::sign(&fixture.registry, &reference, &a, Written::Bundle).await;
    image::sign(&fixture.registry, &reference, &b, Written::Legacy).await;
    let signed = |name, key| Need::Signed(signed_by(name, &[key]));
    let either = rule("any", Mode::Enforce, Need::Any(vec![signed("a", &a), signed("b", &b)]));
    assert!(fixture.validate(&[&reference.to_string()], &policies(vec![either])).await.allowed);
    let record = fixture.records().pop().unwrap();
    let only_b = policies(vec![rule("b", Mode::Enforce, signed("b", &b))]);
    let replay = record.replay_with(&only_b).unwrap();
    assert_eq!(replay.decision.images[0].outcome, "fault", "{}", replay.decision.message);
    let only_a = policies(vec![rule("a", Mode::Enforce, signed("a", &a))]);
    assert!(record.replay_with(&only_a).unwrap().decision.allowed);
    // The legacy tag was not read.
    let legacy = SignedBy::new("a".to_owned(), requirement(&[&a]), Formats::Legacy);
    let legacy = policies(vec![rule("legacy", Mode::Enforce, Need::Signed(legacy))]);
    let replay = record.replay_with(&legacy).unwrap();
    assert_eq!(replay.decision.images[0].outcome, "fault", "{}", replay.decision.message);
}

/// Criteria and facts that images share are in a record once.
#[tokio::test]
async fn a_record_of_many_containers_of_one_image_is_small() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let digest = image::image(&fixture.registry, &app(), "many");
    let reference = image::at(&app(), &digest);
    for _ in 0..20 {
        image::sign(&fixture.registry, &reference, &TestKey::p256(), Written::Bundle).await;
    }
    let size = async |count: usize| {
        let text = reference.to_string();
        let images: Vec<&str> = std::iter::repeat_n(text.as_str(), count).collect();
        assert!(!fixture.validate(&images, &signed_policy(&key)).await.allowed);
        serde_json::to_vec(&fixture.records().pop().unwrap()).unwrap().len()
    };
    let one = size(1).await;
    assert!(size(100).await < one + 100 * 2000, "{one}");
}

#[tokio::test]
async fn a_slow_tag_without_a_rule_takes_no_time_of_a_controlled_template() {
    let (fixture, key) = (fixture(), TestKey::p256());
    let text = signed_tag(&fixture, &key).await;
    fixture.registry.delay(Request::Resolve, "other/slow", usize::MAX, Duration::from_secs(60));
    let rule = rule("p", Mode::Enforce, Need::Signed(signed_by("ours", &[&key])));
    let policies = PolicySet::new(vec![rule], NoMatch::Allow);
    let owned = in_template(&[text, "reg.example/other/slow:v1"], Holder::ControlledTemplate);
    let answer = fixture.gate.validate(&owned, &policies, Some(Duration::from_secs(2))).await;
    assert!(answer.allowed, "{}", answer.message);
}
