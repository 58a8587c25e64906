//! AdmissionReviews of a pod.

use sealgate_tests::image::Image;
use serde_json::{Value, json};

/// The length of the text of one environment variable.
const VARIABLE: usize = 1000;

/// A pod with a container of each image, by digest.
pub(super) fn of(images: &[&Image]) -> String {
    review(images, Vec::new())
}

/// A pod with one container, whose environment makes the review about `bytes` long.
pub(super) fn of_size(image: &Image, bytes: usize) -> String {
    let rest = bytes.saturating_sub(of(&[image]).len());
    let variable = |number| json!({ "name": format!("V{number}"), "value": "x".repeat(VARIABLE) });
    review(&[image], (0..rest / VARIABLE).map(variable).collect())
}

fn review(images: &[&Image], environment: Vec<Value>) -> String {
    let containers = images.iter().enumerate().map(|(number, image)| {
        json!({ "name": format!("c{number}"), "image": image.by_digest(), "env": environment })
    });
    let containers: Vec<Value> = containers.collect();
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "bench",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "name": "bench",
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": { "username": "bench" },
            "dryRun": false,
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": "bench", "namespace": "default", "labels": { "app": "bench" } },
                "spec": { "containers": containers },
            },
        },
    })
    .to_string()
}
