use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn pod(image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "web", "namespace": "shop", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": image }], "serviceAccountName": "sa" },
    })
}

fn request(operation: &str, object: Value, old: Value) -> Value {
    json!({
        "uid": "u-1",
        "kind": { "group": "", "version": "v1", "kind": "Pod" },
        "resource": { "group": "", "version": "v1", "resource": "pods" },
        "name": "web",
        "namespace": "shop",
        "operation": operation,
        "userInfo": { "username": "jo", "groups": ["a"] },
        "object": object,
        "oldObject": old,
        "dryRun": false,
        "options": { "kind": "CreateOptions" },
    })
}

fn review_of(request: Value) -> Value {
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
}

fn parsed(request: Value) -> Result<Ask, Malformed> {
    parse(review_of(request).to_string().as_bytes()).map(|review| {
        assert_eq!(review.uid, "u-1");
        review.ask
    })
}

fn skipped(request: Value) -> Option<SkipReason> {
    match parsed(request).expect("is a review") {
        Ask::Skip(nothing, admission) => {
            assert_eq!((admission.user.as_str(), admission.workload.images.len()), ("jo", 0));
            assert_eq!(admission.workload.scope.namespace, "shop");
            Some(nothing)
        }
        Ask::Judge(_) | Ask::ScaledUp(_) => None,
    }
}

fn judged(request: Value) -> Admission {
    match parsed(request).expect("is a review") {
        Ask::Judge(admission) => *admission,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_create_asks_about_every_image_with_its_scope() {
    let mut create = request("CREATE", pod("nginx"), Value::Null);
    create["dryRun"] = json!(true);
    let admission = judged(create);
    assert_eq!(admission.uid, "u-1");
    assert_eq!(admission.user, "jo");
    assert!(admission.dry_run);
    assert_eq!(admission.workload.scope.service_account, "sa");
    assert_eq!(admission.workload.images[0].image, "nginx");
    assert_eq!(admission.workload.images[0].path, "spec.containers[0].image");
    let scope = admission.workload.scope;
    assert_eq!((scope.group.as_str(), scope.version.as_str()), ("", "v1"));
    assert_eq!((scope.resource.as_str(), scope.kind.as_str()), ("pods", "Pod"));
    assert_eq!((scope.namespace.as_str(), scope.name.as_str()), ("shop", "web"));
    assert_eq!(scope.labels.get("app").map(String::as_str), Some("web"));
    assert_eq!(scope.operation, "CREATE");
}

#[test]
fn namespace_and_name_come_from_the_request_where_the_object_has_none() {
    let mut object = pod("nginx");
    object["metadata"] = json!({ "generateName": "web-" });
    let scope = judged(request("CREATE", object.clone(), Value::Null)).workload.scope;
    assert_eq!((scope.namespace.as_str(), scope.name.as_str()), ("shop", "web"));
    let mut unnamed = request("CREATE", object, Value::Null);
    unnamed["name"] = json!("");
    assert_eq!(judged(unnamed).workload.scope.name, "web-");
}

/// Every kind that is judged lives in a namespace. With none, policies for `prod` would be silent.
#[test]
fn a_workload_without_a_namespace_is_malformed() {
    for nowhere in [json!(""), Value::Null] {
        let mut create = request("CREATE", pod("nginx"), Value::Null);
        create["namespace"] = nowhere.clone();
        assert_eq!(judged(create.clone()).workload.scope.namespace, "shop");
        create["object"]["metadata"]["namespace"] = nowhere;
        let malformed = parsed(create).expect_err("nowhere");
        assert_eq!(malformed.reason, MalformedReason::Missing("request.namespace"));
    }
}

#[test]
fn what_starts_nothing_is_not_asked_about() {
    let with = |operation, sub: &str, object, old| {
        let mut request = request(operation, object, old);
        request["subResource"] = json!(sub);
        request
    };
    let mut dying = pod("old");
    dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let table = [
        (with("DELETE", "", Value::Null, pod("a")), SkipReason::StartsNothing),
        (with("CONNECT", "exec", json!({}), Value::Null), SkipReason::StartsNothing),
        (with("UPDATE", "status", pod("b"), pod("a")), SkipReason::Subresource),
        (with("UPDATE", "scale", pod("b"), pod("a")), SkipReason::Subresource),
        (with("UPDATE", "", pod("b"), dying), SkipReason::BeingDeleted),
        (with("UPDATE", "", pod("a"), pod("a")), SkipReason::Unchanged),
        (with("UPDATE", "ephemeralcontainers", pod("a"), pod("a")), SkipReason::Unchanged),
    ];
    for (request, expected) in table {
        let text = request.to_string();
        assert_eq!(skipped(request), Some(expected), "{text}");
    }
}

#[test]
fn an_update_asks_about_changed_images_only() {
    let mut new = pod("a");
    new["spec"]["ephemeralContainers"] = json!([{ "name": "d", "image": "debug" }]);
    let mut update = request("UPDATE", new, pod("a"));
    update["subResource"] = json!("ephemeralcontainers");
    let images = judged(update).workload.images;
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].path, "spec.ephemeralContainers[0].image");
}

/// An object must not be made without a label and take it on when nobody looks at its images.
#[test]
fn new_labels_bring_the_images_that_stay_before_the_judge() {
    let mut new = pod("a");
    new["metadata"]["labels"] = json!({ "app": "web", "env": "prod" });
    let admission = judged(request("UPDATE", new.clone(), pod("a")));
    assert!(admission.workload.images.is_empty());
    let unchanged = admission.workload.unchanged.expect("the image stays");
    assert_eq!(unchanged.images[0].path, "spec.containers[0].image");
    assert_eq!(unchanged.labels.get("env"), None);
    assert_eq!(admission.workload.scope.labels.get("env").map(String::as_str), Some("prod"));
    let mut both = new.clone();
    both["spec"]["initContainers"] = json!([{ "name": "i", "image": "b" }]);
    let admission = judged(request("UPDATE", both, pod("a")));
    assert_eq!(
        (admission.workload.images.len(), admission.workload.unchanged.map(|s| s.images.len())),
        (1, Some(1))
    );
    let mut other = pod("b");
    other["metadata"]["labels"] = json!({});
    assert_eq!(judged(request("UPDATE", other, pod("a"))).workload.unchanged, None, "all are new");
    let mut dying = pod("a");
    dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(skipped(request("UPDATE", new, dying)), Some(SkipReason::BeingDeleted));
}

#[test]
fn fewer_replicas_do_not_excuse_another_image() {
    let deployment = |replicas: u32, image: &str| {
        json!({
            "kind": "Deployment",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "replicas": replicas, "template": { "spec": { "containers": [{ "image": image }] } } },
        })
    };
    let update = |new, old| {
        let mut request = request("UPDATE", new, old);
        request["kind"] = json!({ "group": "apps", "version": "v1", "kind": "Deployment" });
        request["resource"] =
            json!({ "group": "apps", "version": "v1", "resource": "deployments" });
        request
    };
    assert_eq!(
        skipped(update(deployment(1, "a"), deployment(5, "a"))),
        Some(SkipReason::Unchanged)
    );
    assert_eq!(judged(update(deployment(1, "b"), deployment(5, "a"))).workload.images.len(), 1);
}

/// A user may write a deletionTimestamp into a new object; only the stored one's counts.
#[test]
fn a_new_object_cannot_declare_itself_dying() {
    let mut object = pod("evil");
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(skipped(request("CREATE", object.clone(), Value::Null)), None);
    assert_eq!(skipped(request("UPDATE", object, pod("good"))), None);
}

#[test]
fn an_old_object_that_cannot_be_walked_excuses_nothing() {
    let admission = judged(request("UPDATE", pod("a"), json!({ "spec": {} })));
    assert_eq!(admission.workload.images.len(), 1);
}

#[test]
fn malformed_reviews() {
    let good = || request("CREATE", pod("a"), Value::Null);
    let change = |pointer: &str, value: Value| {
        let mut request = good();
        *request.pointer_mut(pointer).expect(pointer) = value;
        request
    };
    let table = [
        change("/operation", json!("PATCH")),
        change("/operation", json!("")),
        change("/operation", json!("create")),
        change("/object", Value::Null),
        change("/object", json!([])),
        change("/object/kind", json!("Deployment")),
        change("/object/metadata/namespace", json!("kube-system")),
        change("/object/metadata/labels", json!([])),
        change("/object/spec", json!({})),
        change("/kind", Value::Null),
        change("/kind/kind", json!("Rollout")),
        change("/kind/group", json!("argoproj.io")),
        change("/userInfo", json!("jo")),
        request("UPDATE", pod("a"), Value::Null),
    ];
    for request in table {
        let malformed = parsed(request.clone()).expect_err(&request.to_string());
        assert_eq!(malformed.uid.as_deref(), Some("u-1"), "{request}");
    }
}

#[test]
fn what_has_no_uid_cannot_be_answered() {
    let mut nameless = request("CREATE", pod("a"), Value::Null);
    nameless["uid"] = json!("");
    let mut old = review_of(request("CREATE", pod("a"), Value::Null));
    old["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        "\u{feff}{}".to_owned(),
        deep,
        review_of(Value::Null).to_string(),
        review_of(nameless).to_string(),
        old.to_string(),
    ];
    for body in bodies {
        let malformed = parse(body.as_bytes()).expect_err("no review");
        assert_eq!(malformed.uid, None);
    }
    assert!(parse(&[0xff, 0xfe]).is_err());
}

#[test]
fn depth_that_is_passed_over_costs_nothing() {
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let body = review_of(request("CREATE", pod("a"), Value::Null)).to_string();
    let body = body.replace("\"CreateOptions\"", &deep);
    assert!(matches!(parse(body.as_bytes()).expect("reads").ask, Ask::Judge(_)));
}

#[test]
fn a_body_over_the_bound_is_not_read() {
    let body = vec![b' '; MAX_BODY + 1];
    assert_eq!(parse(&body).expect_err("too large").reason, MalformedReason::TooLarge);
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_are_never_a_review(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(parse(&body).is_err());
    }

    /// One field of a good CREATE is replaced by something else: it is refused, or the image is asked
    /// about (or what stands in the image field now); it never needs no answer.
    #[test]
    fn no_damage_to_a_create_lets_its_image_through(
        at in prop::sample::select(vec![
            "/uid", "/kind", "/kind/kind", "/resource", "/resource/resource", "/namespace", "/object",
            "/object/kind", "/object/metadata", "/object/metadata/labels", "/object/spec",
            "/object/spec/containers", "/object/spec/containers/0", "/object/spec/containers/0/image",
            "/oldObject", "/dryRun", "/userInfo",
        ]),
        value in prop_oneof![
            Just(Value::Null), Just(json!({})), Just(json!([])), Just(json!("")), Just(json!(0)),
            Just(json!("DELETE")), Just(json!(["x"])), Just(json!({ "image": "x" })),
        ],
    ) {
        let mut request = request("CREATE", pod("evil"), Value::Null);
        *request.pointer_mut(at).expect("is there") = value;
        if let Ok(review) = parse(review_of(request).to_string().as_bytes()) {
            match review.ask {
                Ask::Judge(admission) => prop_assert!(!admission.workload.images.is_empty()),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

fn deployment(image: &str, spec: Value) -> Value {
    let template = json!({ "spec": { "containers": [{ "name": "c", "image": image }] } });
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "replicas": 1, "template": template },
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

fn of_kind(kind: &str, mut request: Value) -> Value {
    request["kind"] = json!({ "group": "apps", "version": "v1", "kind": kind });
    let resource = format!("{}s", kind.to_lowercase());
    request["resource"] = json!({ "group": "apps", "version": "v1", "resource": resource });
    for object in ["object", "oldObject"] {
        if request[object].is_object() {
            request[object]["kind"] = json!(kind);
        }
    }
    request
}

/// Portieris 0.14.3 let a pod in that claimed an owner. Here a claim changes nothing for a Pod,
/// and for a template only that its tags are resolved and not replaced.
#[test]
fn a_controlling_owner_is_believed_of_templates_only() {
    let owned = |kind: &str, owners: Value| {
        let mut object = if kind == "Pod" { pod("a") } else { deployment("a", json!({})) };
        object["metadata"]["ownerReferences"] = owners;
        let request = request("CREATE", object, Value::Null);
        let request = if kind == "Pod" { request } else { of_kind(kind, request) };
        let admission = judged(request);
        assert_eq!(admission.workload.images.len(), 1, "{kind}");
        admission.workload.holder
    };
    let controller = json!([{ "kind": "Rollout", "name": "r", "uid": "1", "controller": true }]);
    let other = json!([{ "kind": "Rollout", "name": "r", "uid": "1", "controller": false }]);
    let unsaid = json!([{ "kind": "Rollout", "name": "r", "uid": "1" }]);
    for kind in ["ReplicaSet", "Deployment", "StatefulSet"] {
        assert_eq!(owned(kind, controller.clone()), Holder::ControlledTemplate, "{kind}");
        for owners in [&other, &unsaid, &json!([]), &Value::Null] {
            assert_eq!(owned(kind, owners.clone()), Holder::Template, "{kind} {owners}");
        }
    }
    for owners in [controller, other, Value::Null] {
        assert_eq!(owned("Pod", owners), Holder::Pod);
    }
}

#[test]
fn an_update_that_makes_new_pods_is_asked_about() {
    let other_template = json!({ "template": { "metadata": { "annotations": { "restartedAt": "now" } },
            "spec": { "containers": [{ "name": "c", "image": "a" }] } } });
    let update =
        |kind: &str, new: Value| of_kind(kind, request("UPDATE", new, deployment("a", json!({}))));
    for (kind, new) in [
        ("Deployment", deployment("a", other_template.clone())),
        ("Deployment", deployment("a", json!({ "replicas": 3 }))),
        ("StatefulSet", deployment("a", other_template.clone())),
        ("DaemonSet", deployment("a", other_template.clone())),
        ("ReplicaSet", deployment("a", json!({ "replicas": 2 }))),
    ] {
        let admission = judged(update(kind, new));
        assert!(
            admission.workload.images.is_empty() && admission.workload.unchanged.is_none(),
            "{kind}"
        );
        assert_eq!(admission.workload.restarted.len(), 1, "{kind}");
    }
    for (kind, new) in [
        ("Deployment", deployment("a", json!({ "replicas": 0 }))),
        ("Deployment", deployment("a", json!({ "paused": true }))),
        ("ReplicaSet", deployment("a", other_template)),
    ] {
        assert_eq!(skipped(update(kind, new)), Some(SkipReason::Unchanged), "{kind}");
    }
    // Its controller made this change, and reads no warning.
    let mut owned = deployment("a", json!({ "replicas": 2 }));
    owned["metadata"]["ownerReferences"] = json!([{ "controller": true }]);
    assert_eq!(skipped(update("ReplicaSet", owned)), Some(SkipReason::Unchanged));
    // An image that is new is judged as ever, beside it.
    let admission = judged(update("Deployment", deployment("b", json!({ "replicas": 3 }))));
    assert_eq!((admission.workload.images.len(), admission.workload.restarted.len()), (1, 0));
}

#[test]
fn a_scale_up_asks_about_the_workload_that_it_names() {
    let scale = |from: i64, to: i64| {
        let object = |replicas: i64| {
            json!({ "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": { "name": "web", "namespace": "shop" },
                "spec": { "replicas": replicas } })
        };
        let mut request = request("UPDATE", object(to), object(from));
        request["kind"] = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
        request["resource"] =
            json!({ "group": "apps", "version": "v1", "resource": "deployments" });
        request["subResource"] = json!("scale");
        request
    };
    assert_eq!(skipped(scale(3, 1)), Some(SkipReason::Subresource));
    assert_eq!(skipped(scale(3, 3)), Some(SkipReason::Subresource));
    let Ok(Ask::ScaledUp(about)) = parsed(scale(1, 3)) else { panic!("more replicas") };
    assert!(about.workload.images.is_empty() && about.workload.restarted.is_empty());
    let mut workload = deployment("nginx", json!({}));
    workload["metadata"]["labels"] = json!({ "env": "prod" });
    let admission = scaled_up(&about, workload.to_string().as_bytes()).expect("holds a template");
    assert!(admission.workload.images.is_empty() && admission.workload.unchanged.is_none());
    assert_eq!(admission.workload.restarted[0].image, "nginx");
    assert_eq!(admission.workload.scope.kind, "Deployment");
    assert_eq!(admission.workload.scope.labels["env"], "prod");
    assert_eq!((admission.workload.holder, admission.uid.as_str()), (Holder::NamedTemplate, "u-1"));
    workload["metadata"]["ownerReferences"] = json!([{ "controller": true }]);
    for unread in [workload.to_string(), "{}".to_owned(), "?".to_owned()] {
        assert!(scaled_up(&about, unread.as_bytes()).is_none(), "{unread}");
    }
}

#[test]
fn the_size_of_a_workload_grows_with_its_strings() {
    let size = |object: Value| {
        let body = review_of(request("CREATE", object, Value::Null)).to_string();
        let review = parse(body.as_bytes()).expect("is a review");
        review.ask.admission().workload.approximate_size()
    };
    let small = size(pod("reg.example/app:v1"));
    assert!((200..4000).contains(&small), "{small}");
    let image = "x".repeat(1000);
    assert!(size(pod(&format!("reg.example/app:v1{image}"))) >= small + 1000);
    let mut labelled = pod("reg.example/app:v1");
    labelled["metadata"]["labels"]["long"] = json!("x".repeat(100_000));
    // The labels are those of the object and of its pod.
    assert!(size(labelled) >= small + 200_000);
}
