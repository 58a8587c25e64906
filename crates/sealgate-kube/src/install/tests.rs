use std::collections::BTreeSet;

use sealgate_policy::cip::ClusterImagePolicy;
use sealgate_policy::cip::trust_root::TrustRootObject;

use super::*;

fn elsewhere() -> InstallOptions {
    InstallOptions {
        gate: Gate::At("https://127.0.0.1:8443/".to_owned()),
        ca_bundle: Some(b"PEM".to_vec()),
        ..InstallOptions::default()
    }
}

fn identity(document: &Value) -> String {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let (kind, namespace) = (text("/kind"), text("/metadata/namespace"));
    format!("{kind} {namespace}/{}", text("/metadata/name"))
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

fn find(documents: &[Value], kind: &str, name: &str) -> Value {
    let found = of_kind(documents, kind).into_iter().find(|d| d["metadata"]["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// All (group, resource, verb) triples granted by a document.
fn grants(documents: &[Value]) -> Vec<(String, String, String)> {
    let mut grants = Vec::new();
    for role in documents.iter().filter(|d| d["kind"] == "ClusterRole" || d["kind"] == "Role") {
        for rule in role["rules"].as_array().into_iter().flatten() {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                for verb in rule["verbs"].as_array().into_iter().flatten() {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    grants.push((identity(role), text(resource), text(verb)));
                }
            }
        }
    }
    grants
}

#[test]
fn every_document_has_a_name_of_its_own() {
    for options in [InstallOptions::default(), elsewhere()] {
        let documents = documents(&options);
        let names: BTreeSet<String> = documents.iter().map(identity).collect();
        assert_eq!(names.len(), documents.len());
        assert!(names.iter().all(|name| !name.ends_with("/-")), "{names:?}");
    }
}

#[test]
fn yaml_holds_exactly_the_documents() {
    let documents = documents(&InstallOptions::default());
    let yaml = to_yaml(&documents).expect("YAML");
    let back: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("reads");
    assert_eq!(back, documents);
    // A label value must stay a string for every YAML parser, including YAML 1.1.
    assert!(yaml.contains("\"true\"") || yaml.contains("'true'"), "{yaml}");
}

#[test]
fn deletions_cover_what_was_installed_and_webhooks_go_first() {
    for mut options in [InstallOptions::default(), elsewhere()] {
        options.pull_secrets = PullSecretRights::Namespaces(vec!["a".to_owned(), "b".to_owned()]);
        let deletions = deletions(&options, true);
        let gone: BTreeSet<String> = deletions
            .iter()
            .map(|d| format!("{} {}/{}", d.kind, d.namespace.as_deref().unwrap_or("-"), d.name))
            .collect();
        for document in documents(&options) {
            assert!(gone.contains(&identity(&document)), "{} stays", identity(&document));
        }
        assert!(deletions.iter().take(4).all(|d| d.kind.ends_with("WebhookConfiguration")));
    }
    let kept = deletions(&InstallOptions::default(), false);
    assert!(kept.iter().all(|d| d.kind != "CustomResourceDefinition" && d.kind != "Namespace"));
}

#[test]
fn a_namespace_of_kubernetes_is_neither_made_nor_deleted() {
    for namespace in ["default", "kube-system", "kube-public"] {
        let options =
            InstallOptions { namespace: namespace.to_owned(), ..InstallOptions::default() };
        assert!(of_kind(&documents(&options), "Namespace").is_empty());
        assert!(deletions(&options, true).iter().all(|d| d.kind != "Namespace"));
    }
    assert_eq!(of_kind(&documents(&InstallOptions::default()), "Namespace").len(), 1);
}

#[test]
fn workload_webhooks_are_as_the_peers() {
    let documents = documents(&InstallOptions::default());
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        let configuration = find(&documents, kind, "policy.sigstore.dev");
        let webhook = &configuration["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["matchPolicy"], "Equivalent");
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["timeoutSeconds"], 10);
        let expected = json!({ "matchExpressions": [
            { "key": "policy.sigstore.dev/include", "operator": "In", "values": ["true"] },
            { "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["cosign-system"] },
        ] });
        assert_eq!(webhook["namespaceSelector"], expected);
        let resources: Vec<&str> = webhook["rules"]
            .as_array()
            .expect("list")
            .iter()
            .flat_map(|rule| rule["resources"].as_array().expect("list"))
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(
            resources,
            [
                "pods",
                "pods/ephemeralcontainers",
                "replicationcontrollers",
                "replicasets",
                "deployments",
                "statefulsets",
                "daemonsets",
                "jobs",
                "cronjobs",
            ]
        );
        assert_eq!(webhook["clientConfig"]["service"]["name"], SERVICE);
        let reinvoked = webhook.get("reinvocationPolicy").is_some();
        assert_eq!(reinvoked, kind.starts_with("Mutating"));
    }
}

/// A gate that is down must not prevent scaling, in particular scaling down.
#[test]
fn scaling_is_warned_of_and_never_refused_by_a_gate_that_is_down() {
    let documents = documents(&InstallOptions::default());
    let validating = find(&documents, "ValidatingWebhookConfiguration", "policy.sigstore.dev");
    let webhook = &validating["webhooks"][1];
    assert_eq!(
        (&webhook["name"], &webhook["failurePolicy"]),
        (&json!("scale.policy.sigstore.dev"), &json!("Ignore"),)
    );
    assert_eq!(webhook["timeoutSeconds"], 5);
    assert_eq!(webhook["namespaceSelector"], validating["webhooks"][0]["namespaceSelector"]);
    for rule in webhook["rules"].as_array().expect("list") {
        assert_eq!(rule["operations"], json!(["UPDATE"]));
        for resource in rule["resources"].as_array().expect("list") {
            assert!(resource.as_str().expect("text").ends_with("/scale"));
        }
    }
    let mutating = find(&documents, "MutatingWebhookConfiguration", "policy.sigstore.dev");
    assert_eq!(mutating["webhooks"].as_array().map(Vec::len), Some(1));
}

/// Policies must stay editable everywhere: their webhooks have no namespace selector.
#[test]
fn policy_webhooks_have_their_own_paths() {
    let documents = documents(&elsewhere());
    let url = |kind: &str, name: &str| {
        let configuration = find(&documents, kind, name);
        assert!(configuration["webhooks"][0]["clientConfig"].get("service").is_none());
        configuration["webhooks"][0]["clientConfig"]["url"].as_str().expect("url").to_owned()
    };
    let validating = "ValidatingWebhookConfiguration";
    let mutating = "MutatingWebhookConfiguration";
    assert_eq!(url(validating, WORKLOAD_WEBHOOK), "https://127.0.0.1:8443/validate");
    assert_eq!(url(mutating, WORKLOAD_WEBHOOK), "https://127.0.0.1:8443/mutate");
    assert_eq!(
        url(validating, POLICY_VALIDATION_WEBHOOK),
        "https://127.0.0.1:8443/validate-policies"
    );
    assert_eq!(url(mutating, POLICY_DEFAULTS_WEBHOOK), "https://127.0.0.1:8443/default-policies");
    let configuration = find(&documents, validating, WORKLOAD_WEBHOOK);
    assert_eq!(configuration["webhooks"][0]["clientConfig"]["caBundle"], "UEVN");
}

#[test]
fn rights_are_the_least() {
    let grants_of = |options: &InstallOptions| grants(&documents(options));
    let all = grants_of(&InstallOptions::default());
    let cluster_wide = |grants: &[(String, String, String)], resource: &str| {
        let mut verbs: Vec<String> = grants
            .iter()
            .filter(|(role, of, _)| role.starts_with("ClusterRole") && of == resource)
            .map(|(_, _, verb)| verb.clone())
            .collect();
        verbs.sort();
        verbs
    };
    assert!(
        all.iter().all(|(_, resource, verb)| resource != "*" && verb != "*" && verb != "delete")
    );
    assert_eq!(cluster_wide(&all, "secrets"), ["get"]);
    assert_eq!(cluster_wide(&all, "clusterimagepolicies/status"), ["patch"]);
    let nowhere =
        InstallOptions { pull_secrets: PullSecretRights::Nowhere, ..InstallOptions::default() };
    assert!(cluster_wide(&grants_of(&nowhere), "secrets").is_empty());
    assert!(cluster_wide(&grants_of(&elsewhere()), "validatingwebhookconfigurations").is_empty());
}

#[test]
fn somebody_elses_certificate_is_mounted_and_nothing_is_patched() {
    let certificates = Certificates::Secret {
        name: "tls".to_owned(),
        inject_ca_from: Some("cosign-system/webhook".to_owned()),
    };
    let deployment = DeploymentOptions { certificates, ..DeploymentOptions::default() };
    let options =
        InstallOptions { gate: Gate::Deployment(deployment), ..InstallOptions::default() };
    let documents = documents(&options);
    let pod = &find(&documents, "Deployment", DEPLOYMENT)["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "tls");
    let arguments = pod["containers"][0]["args"].to_string();
    assert!(arguments.contains("--tls-cert=/etc/sealgate/tls/tls.crt"), "{arguments}");
    let kept: Vec<_> = grants(&documents)
        .into_iter()
        .filter(|(_, resource, verb)| {
            resource.contains("webhookconfigurations")
                || (resource == "secrets" && verb == "create")
        })
        .collect();
    assert!(kept.is_empty(), "{kept:?}");
    let webhook = find(&documents, "MutatingWebhookConfiguration", WORKLOAD_WEBHOOK);
    let injected = &webhook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
    assert_eq!(injected, "cosign-system/webhook");
}

/// With a labelled namespace, the gate's own pods could otherwise not be recreated while it is
/// down.
#[test]
fn no_webhook_looks_at_the_gates_own_namespace() {
    let options = InstallOptions { namespace: "gate".to_owned(), ..InstallOptions::default() };
    for configuration in webhooks::documents(&options) {
        for webhook in configuration["webhooks"].as_array().expect("list") {
            let expressions = webhook["namespaceSelector"]["matchExpressions"].as_array();
            let own = json!({
                "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["gate"],
            });
            assert!(expressions.expect("list").contains(&own), "{webhook}");
        }
    }
}

/// User settings must not be overwritten by an upgrade.
#[test]
fn user_settings_are_not_installed() {
    for options in [InstallOptions::default(), elsewhere()] {
        let documents = documents(&options);
        assert!(of_kind(&documents, "ConfigMap").is_empty());
        assert!(of_kind(&documents, "Secret").is_empty());
        assert!(of_kind(&documents, "PriorityClass").is_empty());
    }
    let kept = deletions(&InstallOptions::default(), false);
    assert!(kept.iter().all(|d| d.name != CONFIG_MAP));
    assert!(deletions(&InstallOptions::default(), true).iter().any(|d| d.name == CONFIG_MAP));
}

#[test]
fn registries_and_secrets_of_the_gates_own_image() {
    let gate = DeploymentOptions {
        registries: RegistryOptions {
            ca_bundle: Some("PEM".to_owned()),
            insecure: vec!["a.corp:5000".to_owned()],
        },
        image_pull_secrets: vec!["pull".to_owned()],
        priority_class: Some("system-cluster-critical".to_owned()),
        ..DeploymentOptions::default()
    };
    let options = InstallOptions { gate: Gate::Deployment(gate), ..InstallOptions::default() };
    let documents = documents(&options);
    assert_eq!(of_kind(&documents, "ConfigMap")[0]["data"]["ca.crt"], "PEM");
    let template = &find(&documents, "Deployment", DEPLOYMENT)["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "pull" }]));
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["volumes"][0]["configMap"]["name"], "sealgate-registry-ca");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/etc/sealgate/registry-ca");
    let arguments = pod["containers"][0]["args"].to_string();
    assert!(arguments.contains("--registry-ca-bundle=/etc/sealgate/registry-ca/ca.crt"));
    assert!(arguments.contains("--insecure-registry=a.corp:5000"));
    assert!(template["metadata"]["annotations"].to_string().contains("sha256:"));
    let default = super::documents(&InstallOptions::default());
    let pod = &find(&default, "Deployment", DEPLOYMENT)["spec"]["template"]["spec"];
    for field in ["imagePullSecrets", "priorityClassName", "volumes"] {
        assert!(pod.get(field).is_none(), "{field}");
    }
    let goes = |options: &InstallOptions| {
        let deletions = retired(options);
        deletions.iter().any(|it| it.kind == "ConfigMap" && it.name == "sealgate-registry-ca")
    };
    assert!(!goes(&options));
    assert!(goes(&InstallOptions::default()), "a bundle that is not given any more");
    assert!(goes(&elsewhere()));
}

#[test]
fn clients_are_those_of_a_ca_in_a_config_map() {
    let clients =
        ClientOptions { ca: "PEM".to_owned(), names: vec!["a".to_owned(), "b".to_owned()] };
    let gate = DeploymentOptions { clients: Some(clients), ..DeploymentOptions::default() };
    let options = InstallOptions { gate: Gate::Deployment(gate), ..InstallOptions::default() };
    let documents = documents(&options);
    let config_map = of_kind(&documents, "ConfigMap")[0];
    assert_eq!(config_map["metadata"]["name"], "sealgate-client-ca");
    assert_eq!(config_map["data"]["ca.crt"], "PEM");
    let pod = &find(&documents, "Deployment", DEPLOYMENT)["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["configMap"]["name"], "sealgate-client-ca");
    let container = &pod["containers"][0];
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/sealgate/client-ca");
    let arguments = container["args"].as_array().expect("list");
    for argument in
        ["--client-ca=/etc/sealgate/client-ca/ca.crt", "--client-name=a", "--client-name=b"]
    {
        assert!(arguments.contains(&json!(argument)), "{argument}");
    }
    // Probes have no certificate.
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
    }
    let goes = |options: &InstallOptions| {
        retired(options).iter().any(|it| it.kind == "ConfigMap" && it.name == "sealgate-client-ca")
    };
    assert!(!goes(&options));
    assert!(goes(&InstallOptions::default()), "a CA that is not given any more");
}

/// Names are shared with policy-controller's objects, so a name alone does not justify a deletion.
#[test]
fn what_may_be_somebody_elses_is_deleted_by_its_label_only() {
    let options = InstallOptions::default();
    for deletion in deletions(&options, true).into_iter().chain(retired(&options)) {
        let anyones = ["Secret", "ConfigMap", "CustomResourceDefinition", "Namespace"];
        let ours = ["sealgate-registry-ca", "sealgate-client-ca"];
        let by_name = anyones.contains(&deletion.kind) && !ours.contains(&deletion.name.as_str());
        assert_eq!(deletion.owner == Owner::Anyone, by_name, "{deletion:?}");
    }
}

#[test]
fn both_policy_versions_have_one_schema() {
    let crd = crd::cluster_image_policies();
    let versions = crd["spec"]["versions"].as_array().expect("list");
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[0]["schema"], versions[1]["schema"]);
    assert_eq!(versions[0]["name"], "v1alpha1");
    assert_eq!(versions[0]["storage"], true);
    assert_eq!(versions[1]["storage"], false);
}

/// Value for each leaf of a schema.
fn sample(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("object") => match schema["properties"].as_object() {
            Some(fields) => fields.iter().map(|(k, v)| (k.clone(), sample(v))).collect(),
            None => json!({ "k": "v" }),
        },
        Some("array") => json!([sample(&schema["items"])]),
        Some("boolean") => json!(true),
        Some("integer") => json!(1),
        _ => json!("text"),
    }
}

/// A field missing from the schema would be pruned before the gate sees it, and its requirement
/// lost. So an object with every field of the schema must be read without loss, and the types must
/// have no further fields.
#[test]
fn the_schema_and_the_types_know_the_same_fields() {
    let crd = crd::cluster_image_policies();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut object = sample(schema);
    object["apiVersion"] = json!("policy.sigstore.dev/v1alpha1");
    object["kind"] = json!("ClusterImagePolicy");
    object["metadata"] = json!({ "name": "p" });
    let policy =
        ClusterImagePolicy::from_json(&object).expect("every field of the schema is known");
    let debug = format!("{:?}", policy.spec);
    let leaves = ["\"\"", "None", "[]", "{}"];
    for empty in leaves {
        assert!(!debug.contains(empty), "a field of the types is not in the schema: {debug}");
    }
}

/// Same for trust roots, whose types have bytes that are base64 in the object.
#[test]
fn the_schema_of_trust_roots_and_their_types_know_the_same_fields() {
    let crd = crd::trust_roots();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut object = sample(schema);
    object["apiVersion"] = json!("policy.sigstore.dev/v1alpha1");
    object["kind"] = json!("TrustRoot");
    object["metadata"] = json!({ "name": "t" });
    let root = TrustRootObject::from_json(&object).expect("every field of the schema is known");
    let debug = format!("{:?}", root.spec);
    for empty in ["\"\"", "None", "[]", "Bytes(0)"] {
        assert!(!debug.contains(empty), "a field of the types is not in the schema: {debug}");
    }
}

/// policy-controller loses a `ctlog` without a URL in this conversion, and with it the requirement
/// for a log.
#[test]
fn conversion_between_the_versions_loses_no_field() {
    let crd = crd::cluster_image_policies();
    assert_eq!(crd["spec"]["conversion"]["strategy"], "None");
    let schemas: Vec<&Value> = [0, 1]
        .map(|version| &crd["spec"]["versions"][version]["schema"]["openAPIV3Schema"])
        .to_vec();
    assert_eq!(schemas[0], schemas[1], "nothing is pruned by the other version");
    let mut object = sample(schemas[0]);
    object["kind"] = json!("ClusterImagePolicy");
    object["metadata"] = json!({ "name": "p" });
    for (from, to) in [("v1alpha1", "v1beta1"), ("v1beta1", "v1alpha1")] {
        object["apiVersion"] = json!(format!("policy.sigstore.dev/{from}"));
        let review = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "ConversionReview",
            "request": {
                "uid": "u",
                "desiredAPIVersion": format!("policy.sigstore.dev/{to}"),
                "objects": [object],
            },
        });
        let answer = crate::policies::converted(review.to_string().as_bytes()).expect("answered");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let mut converted = answer["response"]["convertedObjects"][0].clone();
        assert_eq!(converted["apiVersion"], format!("policy.sigstore.dev/{to}"));
        converted["apiVersion"] = object["apiVersion"].clone();
        assert_eq!(converted, object);
    }
}

#[test]
fn the_generated_crds_are_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/crds.yaml");
    let yaml = to_yaml(&crd::all()).expect("YAML");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"))
            .expect("folder");
        std::fs::write(path, &yaml).expect("writes");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == yaml, "config/crds.yaml is old: run the tests with UPDATE_DOCS=1");
}
