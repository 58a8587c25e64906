use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn walk_value(group: &str, kind: &str, object: &Value) -> Result<PodContent, WalkError> {
    let raw = serde_json::value::to_raw_value(object).expect("JSON");
    walk(group, kind, &raw)
}

/// Pod spec with an image in each field that can hold one.
fn pod_spec() -> Value {
    json!({
        "initContainers": [{ "name": "i", "image": "init" }],
        "containers": [{ "name": "a", "image": "one" }, { "name": "b", "image": "two" }],
        "ephemeralContainers": [{ "name": "e", "image": "debug" }],
        "volumes": [{ "name": "x", "emptyDir": {} }, { "name": "v", "image": { "reference": "data" } }],
    })
}

fn wrapped(steps: &[&str], spec: Value) -> Value {
    steps.iter().rev().fold(spec, |inner, step| json!({ *step: inner }))
}

fn at<'a>(object: &'a Value, image: &ImageUse) -> Option<&'a str> {
    object.pointer(&image.pointer).and_then(Value::as_str)
}

#[test]
fn every_kind_is_walked_to_every_image() {
    let template = ["spec", "template", "spec"];
    let cron: &[&str] = &["spec", "jobTemplate", "spec", "template", "spec"];
    let kinds: [(&str, &str, &[&str]); 9] = [
        ("", "Pod", &["spec"]),
        ("", "PodTemplate", &["template", "spec"]),
        ("", "ReplicationController", &template),
        ("apps", "ReplicaSet", &template),
        ("apps", "Deployment", &template),
        ("apps", "StatefulSet", &template),
        ("apps", "DaemonSet", &template),
        ("batch", "Job", &template),
        ("batch", "CronJob", cron),
    ];
    for (group, kind, steps) in kinds {
        let object = wrapped(steps, pod_spec());
        let images = walk_value(group, kind, &object).expect(kind).images;
        let prefix = steps.join(".");
        let paths: Vec<&str> = images.iter().map(|image| image.path.as_str()).collect();
        let expected = [
            format!("{prefix}.initContainers[0].image"),
            format!("{prefix}.containers[0].image"),
            format!("{prefix}.containers[1].image"),
            format!("{prefix}.ephemeralContainers[0].image"),
            format!("{prefix}.volumes[1].image"),
        ];
        assert_eq!(paths, expected, "{kind}");
        for image in &images {
            assert_eq!(at(&object, image), Some(image.image.as_str()), "{kind} {}", image.pointer);
        }
    }
}

#[test]
fn a_kind_is_a_kind_of_its_own_group_only() {
    let object = wrapped(&["spec"], pod_spec());
    for (group, kind) in [("", "Rollout"), ("apps", "Pod"), ("", "Deployment"), ("x.io", "Pod")] {
        let error = walk_value(group, kind, &object).expect_err(kind);
        assert!(error.to_string().starts_with("unhandled kind: "), "{error}");
    }
}

#[test]
fn what_cannot_be_walked_is_an_error_and_never_an_empty_list() {
    let many: Vec<Value> = vec![json!({ "image": "a" }); MAX_IMAGES + 1];
    let secrets: Vec<Value> = vec![json!({ "name": "a" }); MAX_PULL_SECRETS + 1];
    let long = "a".repeat(MAX_IMAGE_TEXT + 1);
    let table = [
        json!(null),
        json!([]),
        json!({}),
        json!({ "spec": null }),
        json!({ "spec": [] }),
        json!({ "spec": "text" }),
        json!({ "spec": {} }),
        json!({ "spec": { "containers": [] } }),
        json!({ "spec": { "containers": null } }),
        json!({ "spec": { "containers": {} } }),
        json!({ "spec": { "containers": ["nginx"] } }),
        json!({ "spec": { "containers": [{ "image": 1 }] } }),
        json!({ "spec": { "containers": [{ "image": ["a"] }] } }),
        json!({ "spec": { "containers": many } }),
        json!({ "spec": { "containers": [{ "image": long }] } }),
        json!({ "spec": { "containers": [{ "image": "a" }], "imagePullSecrets": secrets } }),
    ];
    for object in table {
        let text = object.to_string();
        assert!(walk_value("", "Pod", &object).is_err(), "{}", text.get(..80).unwrap_or(&text));
    }
}

#[test]
fn a_field_that_is_there_twice_is_an_error() {
    let text = r#"{"spec":{"containers":[{"image":"good"}],"containers":[{"image":"bad"}]}}"#;
    let raw: &RawValue = serde_json::from_str(text).expect("JSON");
    assert!(matches!(walk("", "Pod", raw), Err(WalkError::Json(_))));
    let text = r#"{"spec":{"containers":[{"image":"a"}]},"spec":{"containers":[{"image":"b"}]}}"#;
    let raw: &RawValue = serde_json::from_str(text).expect("JSON");
    assert!(matches!(walk("", "Pod", raw), Err(WalkError::Json(_))));
}

#[test]
fn a_container_without_an_image_is_asked_about_with_an_empty_text() {
    let pod = json!({ "spec": { "containers": [{ "name": "a" }] } });
    let images = walk_value("", "Pod", &pod).expect("walks").images;
    assert_eq!(images[0].image, "");
}

#[test]
fn only_a_template_may_leave_an_image_volume_empty() {
    let spec = json!({ "containers": [{ "image": "a" }], "volumes": [{ "image": {} }] });
    let pod = walk_value("", "Pod", &wrapped(&["spec"], spec.clone())).expect("walks");
    assert_eq!(pod.images.len(), 2);
    let job = walk_value("batch", "Job", &wrapped(&["spec", "template", "spec"], spec));
    assert_eq!(job.expect("walks").images.len(), 1);
}

#[test]
fn accounts_and_pull_secrets() {
    let spec = |account: Value| {
        json!({ "spec": {
            "containers": [{ "image": "a" }],
            "serviceAccountName": account,
            "serviceAccount": "old",
            "imagePullSecrets": [{ "name": "x" }, { "name": "" }, {}, { "name": "y" }, { "name": "x" }],
        } })
    };
    let workload = walk_value("", "Pod", &spec(json!("builder"))).expect("walks");
    assert_eq!(workload.service_account, "builder");
    assert_eq!(workload.pull_secrets, ["x", "y"]);
    assert_eq!(walk_value("", "Pod", &spec(json!(null))).expect("walks").service_account, "old");
    let bare = json!({ "spec": { "containers": [{ "image": "a" }] } });
    assert_eq!(walk_value("", "Pod", &bare).expect("walks").service_account, "default");
}

#[test]
fn an_image_is_unchanged_where_its_text_stood_in_the_same_sort_of_field() {
    let image = |pointer: &str, text: &str| ImageUse {
        path: String::new(),
        pointer: pointer.to_owned(),
        image: text.to_owned(),
    };
    let old = [
        image("/spec/containers/0/image", "a@1"),
        image("/spec/containers/1/image", "tag:1"),
        image("/spec/volumes/0/image/reference", "v@1"),
    ];
    let left = |pointer: &str, text: &str| {
        let (new, unchanged) = changed(vec![image(pointer, text)], &old);
        assert_eq!(new.len() + unchanged.len(), 1);
        new.len()
    };
    assert_eq!(left("/spec/containers/0/image", "a@1"), 0);
    assert_eq!(left("/spec/initContainers/3/image", "a@1"), 0, "moved");
    assert_eq!(left("/spec/containers/0/image", "b@1"), 1);
    assert_eq!(left("/spec/containers/0/image", "v@1"), 1, "a volume's content was not run before");
    assert_eq!(left("/spec/volumes/1/image/reference", "v@1"), 0);
    assert_eq!(left("/spec/volumes/1/image/reference", "a@1"), 1);
    assert_eq!(left("/spec/containers/1/image", "tag:1"), 0);
    assert_eq!(
        left("/spec/containers/0/image", "tag:1"),
        1,
        "another container pulls the tag anew"
    );
    assert_eq!(left("/spec/ephemeralContainers/0/image", "tag:1"), 1, "so does a new one");
}

/// Arbitrary JSON with field names of pod specs.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "spec",
        "template",
        "jobTemplate",
        "containers",
        "initContainers",
        "volumes",
        "image",
        "reference",
        "imagePullSecrets",
        "name",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..4).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_makes_it_panic_or_find_what_is_not_there(object in any_json()) {
        for (group, kind) in [("", "Pod"), ("apps", "Deployment"), ("batch", "CronJob")] {
            if let Ok(workload) = walk_value(group, kind, &object) {
                prop_assert!(!workload.images.is_empty());
                for image in &workload.images {
                    let found = object.pointer(&image.pointer);
                    prop_assert_eq!(found.and_then(Value::as_str).unwrap_or_default(), &image.image);
                }
            }
        }
    }
}
