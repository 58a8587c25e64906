//! Gate on a real API server with two replicas, and standalone with a directory.

use std::sync::OnceLock;

use sealgate_tests::cluster::{self, Cluster};
use sealgate_tests::gate::{INCLUDE, Installation};
use sealgate_tests::image::Image;
use sealgate_tests::programs::{Run, Sandbox};
use sealgate_tests::registries;
use serde_json::{Value, json};

use crate::support::{Format, Tool, sandbox_with_key};

mod abuse;
mod admission;
mod clients;
mod controllers;
mod disruption;
mod folder;
mod keyless;
mod migration;
mod policies;
mod workloads;

/// Prefix of every denial.
const DENIED: &str = "admission webhook \"policy.sigstore.dev\" denied the request: \
                      validation failed: ";

/// Gate in the shared cluster.
fn installed() -> &'static Installation<'static> {
    static GATE: OnceLock<Installation<'static>> = OnceLock::new();
    GATE.get_or_init(|| Installation::start("shared", cluster::shared()).expect("the gate"))
}

/// Enforced namespace, a repository for one test, and a policy for it.
struct Scenario {
    gate: &'static Installation<'static>,
    /// Name of the namespace, the policy and the repository.
    name: String,
    /// Contains `cosign.key` and `cosign.pub`.
    sandbox: Sandbox,
}

impl Scenario {
    /// Scenario without a policy.
    fn bare(name: &str) -> Self {
        Self::bare_at(installed(), name)
    }

    /// Variant for another gate.
    fn bare_at(gate: &'static Installation<'static>, name: &str) -> Self {
        let scenario = Self { gate, name: name.to_owned(), sandbox: sandbox_with_key() };
        scenario.cluster().namespace(name, &[INCLUDE]);
        scenario
    }

    /// Scenario in a namespace without the label.
    fn outside(name: &str) -> Self {
        Self::outside_at(installed(), name)
    }

    /// Variant for another gate.
    fn outside_at(gate: &'static Installation<'static>, name: &str) -> Self {
        let scenario = Self { gate, name: name.to_owned(), sandbox: sandbox_with_key() };
        scenario.cluster().namespace(name, &[]);
        scenario
    }

    /// Scenario with a policy: images of this test must be signed by `cosign.key`.
    fn new(name: &str) -> Self {
        let scenario = Self::bare(name);
        let policy = scenario.policy(&json!({ "authorities": [scenario.key_authority("cosign")] }));
        scenario.apply_strict(&policy);
        scenario
    }

    fn cluster(&self) -> &'static Cluster {
        self.gate.cluster
    }

    /// Unsigned image of this test.
    fn image(&self, name: &str) -> Image {
        registries::docker().image(&format!("{}/{name}", self.name))
    }

    /// Image of this test, signed with `PREFIX.key`.
    fn signed_by(&self, prefix: &str, name: &str, format: Format) -> Image {
        let image = self.image(name);
        Tool::Sealgate.sign(&self.sandbox, format, prefix, &image.by_digest(), &[]).ok();
        image
    }

    fn signed(&self, name: &str) -> Image {
        self.signed_by("cosign", name, Format::Bundle)
    }

    fn key_authority(&self, prefix: &str) -> Value {
        json!({ "key": { "data": self.sandbox.read(&format!("{prefix}.pub")) } })
    }

    /// Policy for the images of this test, with these spec fields.
    fn policy(&self, spec: &Value) -> Value {
        let glob = format!("{}/tests/{}/**", registries::docker().host, self.name);
        let mut policy = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": self.name },
            "spec": { "images": [{ "glob": glob }] },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            policy["spec"][field] = value.clone();
        }
        policy
    }

    /// Applies a policy that refuses unsigned images, and waits until it is enforced.
    fn apply_strict(&self, policy: &Value) {
        let unsigned = self.image("probe");
        let reason = format!("{DENIED}failed policy: {}", self.name);
        self.gate.apply_policy(&policy.to_string(), || {
            (0..4).all(|_| self.dry_run("probe", &unsigned.by_digest()).stderr.contains(&reason))
        });
    }

    /// Creates a Pod.
    fn run(&self, pod: &str, image: &str) -> Run {
        self.cluster().kubectl_with(&["create", "-f", "-"], &self.pod(pod, image).to_string())
    }

    /// Creates a Pod as a dry run.
    fn dry_run(&self, pod: &str, image: &str) -> Run {
        let arguments = ["create", "--dry-run=server", "-f", "-"];
        self.cluster().kubectl_with(&arguments, &self.pod(pod, image).to_string())
    }

    /// Pod in this namespace.
    fn pod(&self, name: &str, image: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": self.name },
            "spec": pod_spec(image),
        })
    }

    /// Field of an object in this namespace, by JSON path.
    fn field(&self, kind: &str, name: &str, path: &str) -> String {
        let path = format!("jsonpath={{{path}}}");
        self.cluster().kubectl(&["get", kind, name, "-n", &self.name, "-o", &path]).ok().stdout
    }

    /// First line of a denial by this test's policy.
    fn denial(&self, path: &str) -> String {
        format!("{DENIED}failed policy: {}: {path}\n", self.name)
    }
}

fn pod_spec(image: &str) -> Value {
    json!({ "containers": [{ "name": "app", "image": image }] })
}
