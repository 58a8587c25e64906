//! Conversion between v1alpha1 and v1beta1, for the API server's conversion webhook.
//!
//! The versions have the same fields, so the object is not changed: no field can be lost, not even
//! one of a later version. (policy-controller drops `ctlog` without a URL, and with it the
//! requirement for a log.)

use serde_json::Value;

use super::{KIND, Version};

/// The reason why an object cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown version, got: {0}")]
pub struct UnknownVersion(pub String);

/// Converts the object to version `to`.
pub fn convert(mut object: Value, to: Version) -> Result<Value, UnknownVersion> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let from = Version::of(text("apiVersion"));
    if from.is_none() || text("kind") != KIND {
        let (version, kind) = (text("apiVersion"), text("kind"));
        return Err(UnknownVersion(format!("{version} {kind}").chars().take(200).collect()));
    }
    if let Some(version) = object.get_mut("apiVersion") {
        *version = Value::String(to.api_version().to_owned());
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn loses_nothing_there_and_back() {
        let object = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": {"name": "p", "annotations": {"a": "b"}, "uid": "1"},
            "spec": {
                "images": [{"glob": "**"}],
                "authorities": [{
                    "keyless": {"url": "https://f", "identities": [], "insecureIgnoreSCT": false},
                    "ctlog": {"trustRootRef": "only-a-ref"},
                    "rfc3161timestamp": {"trustRootRef": ""},
                    "unheardOf": [1, null]
                }],
                "match": [{"namespaces": ["a"]}]
            },
            "status": {"observedGeneration": 3}
        });
        let alpha = convert(object.clone(), Version::V1Alpha1).unwrap();
        assert_eq!(alpha["apiVersion"], "policy.sigstore.dev/v1alpha1");
        assert_eq!(alpha["spec"], object["spec"]);
        assert_eq!(convert(alpha, Version::V1Beta1).unwrap(), object);
    }

    #[test]
    fn refuses_what_is_no_policy_of_a_known_version() {
        for (version, kind) in
            [("policy.sigstore.dev/v1", KIND), ("v1", "Pod"), ("policy.sigstore.dev/v1beta1", "X")]
        {
            let object = json!({"apiVersion": version, "kind": kind});
            let error = convert(object, Version::V1Beta1).unwrap_err();
            assert_eq!(error.to_string(), format!("unknown version, got: {version} {kind}"));
        }
        assert!(convert(Value::Null, Version::V1Beta1).is_err());
    }
}
