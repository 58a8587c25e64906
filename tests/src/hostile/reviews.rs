//! AdmissionReviews of a pod.

use serde_json::{Value, json};

/// Length of one environment variable's value.
const VARIABLE: usize = 1000;

/// Creation of a pod in `namespace`, with one container for each image.
pub fn pod(namespace: &str, images: impl IntoIterator<Item = String>) -> String {
    review(namespace, images, &[])
}

/// Variant whose environment variables make the review about `bytes` long.
pub fn pod_of_size(namespace: &str, image: &str, bytes: usize) -> String {
    let rest = bytes.saturating_sub(pod(namespace, [image.to_owned()]).len());
    let variable =
        |number| json!({ "name": format!("V{number:05}"), "value": "x".repeat(VARIABLE) });
    let length = variable(0).to_string().len() + ",".len();
    let environment: Vec<Value> = (0..rest / length).map(variable).collect();
    review(namespace, [image.to_owned()], &environment)
}

fn review(
    namespace: &str,
    images: impl IntoIterator<Item = String>,
    environment: &[Value],
) -> String {
    let containers = images.into_iter().enumerate().map(|(number, image)| {
        json!({ "name": format!("c{number}"), "image": image, "env": environment })
    });
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app", "namespace": namespace, "labels": { "app": "app" } },
        "spec": { "containers": containers.collect::<Vec<_>>() },
    });
    creation(["", "v1", "Pod", "pods"], namespace, &object)
}

/// Creation of an object of this group, version, kind and resource.
pub fn creation(
    [group, version, kind, resource]: [&str; 4],
    namespace: &str,
    object: &Value,
) -> String {
    let kind = json!({ "group": group, "version": version, "kind": kind });
    let resource = json!({ "group": group, "version": version, "resource": resource });
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": object["metadata"]["name"],
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "tests" },
            "dryRun": false,
            "object": object,
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_as_long_as_asked_for() {
        for bytes in [5_000, 7 << 20] {
            let length = pod_of_size("default", "example.com/app", bytes).len();
            assert!((bytes - 1_100..=bytes).contains(&length), "{length}");
        }
    }
}
