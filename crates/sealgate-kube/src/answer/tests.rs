use sealgate_engine::admit::{ImageUse, Workload};
use sealgate_policy::decide::{MAX_WARNING, MAX_WARNINGS};

use super::*;
use crate::images::WalkError;

fn admission() -> Admission {
    let image = |index: usize| ImageUse {
        path: format!("spec.containers[{index}].image"),
        pointer: format!("/spec/containers/{index}/image"),
        image: format!("nginx:{index}"),
    };
    Admission {
        uid: "u-1".to_owned(),
        user: String::new(),
        dry_run: false,
        workload: Workload { images: vec![image(0), image(1)], ..Workload::default() },
    }
}

fn answer(allowed: bool, message: &str) -> Answer {
    plain(allowed, message.to_owned())
}

fn read(body: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(value["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(value["kind"], "AdmissionReview");
    value["response"].clone()
}

#[test]
fn an_admission_is_short() {
    let expected = json!({ "uid": "u-1", "allowed": true });
    assert_eq!(read(&allowed("u-1")), expected);
    assert_eq!(read(&validated("u-1", &answer(true, "not said"))), expected);
}

#[test]
fn a_denial_reads_like_policy_controllers() {
    let text = "failed policy: P: spec.containers[0].image\nnginx no signatures found";
    for message in [text.to_owned(), format!("{DENIAL_PREFIX}{text}")] {
        let response = read(&validated("u-1", &answer(false, &message)));
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["code"], 400);
        assert_eq!(response["status"]["reason"], "BadRequest");
        assert_eq!(response["status"]["status"], "Failure");
        assert_eq!(response["status"]["message"], format!("validation failed: {text}"));
    }
}

#[test]
fn a_denial_without_a_reason_is_still_a_denial() {
    let response = read(&validated("u-1", &answer(false, "")));
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["message"], "validation failed: no reason was given");
}

#[test]
fn a_denial_carries_no_terminal_sequences() {
    let response = read(&denied("u-1", "image\n\u{1b}[2Jevil\r\u{9b}m"));
    assert_eq!(response["status"]["message"], "validation failed: image\n [2Jevil  m");
}

#[test]
fn a_long_denial_is_cut_between_characters() {
    let response = read(&denied("u-1", &"é".repeat(MAX_MESSAGE)));
    let message = response["status"]["message"].as_str().expect("text");
    assert!(message.len() <= MAX_MESSAGE && message.len() > MAX_MESSAGE - 4);
}

#[test]
fn warnings_are_single_lines_without_control_characters() {
    let mut warned = answer(true, "");
    warned.warnings = vec!["first\nsecond\r\n\n".to_owned(), "bell\u{7}".to_owned()];
    warned.warnings.push("x".repeat(5_000));
    warned.warnings.extend((0..100).map(|number| format!("more {number:03} {}", "é".repeat(200))));
    let response = read(&validated("u-1", &warned));
    let warnings: Vec<&str> =
        response["warnings"].as_array().expect("list").iter().filter_map(Value::as_str).collect();
    assert_eq!(warnings.get(..2), Some(["first second", "bell"].as_slice()));
    assert_eq!(warnings.len(), MAX_WARNINGS);
    assert!(warnings.iter().all(|line| line.len() <= MAX_WARNING && !line.contains('\n')));
    // Beyond 4 KiB in all the API server cuts every one, and drops those that do not fit.
    assert!(warnings.iter().map(|line| line.len()).sum::<usize>() <= 4096, "{warnings:?}");
}

#[test]
fn annotation_keys_are_ones_the_api_server_takes() {
    let mut audited = answer(true, "");
    audited.audit = [("verdict", "ok"), ("a/b c", "x"), ("-.-", "dropped"), ("", "dropped")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let response = read(&validated("u-1", &audited));
    assert_eq!(response["auditAnnotations"], json!({ "verdict": "ok", "a-b-c": "x" }));
}

#[test]
fn a_pin_tests_before_it_replaces() {
    let mut pinned = answer(true, "");
    pinned.pins = vec![("/spec/containers/1/image".to_owned(), "nginx:1@sha256:ab".to_owned())];
    let response = read(&mutated(&admission(), &pinned));
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().expect("text")).expect("base64");
    let patch: Value = serde_json::from_slice(&patch).expect("JSON");
    let expected = json!([
        { "op": "test", "path": "/spec/containers/1/image", "value": "nginx:1" },
        { "op": "replace", "path": "/spec/containers/1/image", "value": "nginx:1@sha256:ab" },
    ]);
    assert_eq!(patch, expected);
}

#[test]
fn no_patch_without_pins_or_with_a_denial() {
    assert_eq!(read(&mutated(&admission(), &answer(true, ""))).get("patch"), None);
    let mut refused = answer(false, "no");
    refused.pins = vec![("/spec/containers/1/image".to_owned(), "x".to_owned())];
    assert_eq!(read(&mutated(&admission(), &refused)).get("patch"), None);
}

#[test]
fn a_pin_for_another_field_is_refused() {
    let mut pinned = answer(true, "");
    pinned.pins = vec![("/metadata/labels/x".to_owned(), "evil".to_owned())];
    assert_eq!(read(&mutated(&admission(), &pinned))["allowed"], false);
}

#[test]
fn a_malformed_review_is_denied_by_name_or_refused() {
    let reason = MalformedReason::Walk(WalkError::UnhandledKind("Rollout".to_owned()));
    let named = malformed(&Malformed { uid: Some("u-1".to_owned()), reason });
    assert_eq!(named.status, 200);
    let response = read(&named.body);
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["message"], "decoding request failed: unhandled kind: Rollout");
    let json = MalformedReason::Json("oh".to_owned());
    assert_eq!(malformed(&Malformed { uid: None, reason: json }).status, 400);
    assert_eq!(malformed(&Malformed { uid: None, reason: MalformedReason::TooLarge }).status, 413);
}
