//! Probe of a webhook's reachability from the API server: a dry-run creation of an object that the
//! webhook must admit.

use sealgate_core::fault::Fault;
use serde_json::json;

use super::configurations::Placement;
use super::objects::Objects;
use super::{Cluster, Progress};
use crate::crd::{GROUP, POLICY_VERSIONS};
use crate::{api, apply, install};

/// Number of consecutive successful probes required.
pub(super) const REQUIRED_SUCCESSES: usize = 8;
/// Name of the probe's webhook configuration, its label, and its policy.
const PROBE: &str = install::MIGRATION_PROBE;
const PROBE_LABEL: &str = "policy.sigstore.dev/sealgate-migration-probe";
/// Name of a Service that does not exist.
const NONEXISTENT_SERVICE: &str = "sealgate-migration-nowhere";

const VALIDATING: &str = "ValidatingWebhookConfiguration";

impl Cluster<'_> {
    /// Waits until the API server reaches the gate through the Service of `place` and trusts its
    /// certificate. The webhook for one labelled policy first calls a nonexistent Service, until
    /// the API server is seen to use it; then it calls the gate.
    pub(super) async fn wait_until_reached(
        &self,
        place: Placement,
        bundle: &str,
        say: Progress<'_>,
    ) -> Result<(), Fault> {
        let service = place.service();
        say(&format!("waiting until the API server reaches the gate through Service {service}"));
        self.probe(NONEXISTENT_SERVICE, bundle).await?;
        self.wait("the API server does not use a new webhook", async || {
            Ok(self.dry_run().await.is_err_and(|fault| fault.detail.contains(NONEXISTENT_SERVICE)))
        })
        .await?;
        self.probe(service, bundle).await?;
        let mut last = None;
        let mut times = 0;
        let waited = self
            .wait(&format!("the API server does not reach Service {service}"), async || {
                match self.dry_run().await {
                    Ok(()) => times += 1,
                    Err(fault) => (times, last) = (0, Some(fault)),
                }
                Ok(times >= REQUIRED_SUCCESSES)
            })
            .await;
        waited.map_err(|fault| match last {
            Some(last) => {
                let detail = format!("{} ({})", last.detail, fault.detail);
                Fault::new(fault.kind, fault.target, detail)
            }
            None => fault,
        })
    }

    async fn probe(&self, service: &str, bundle: &str) -> Result<(), Fault> {
        let configuration = json!({
            "apiVersion": api::ADMISSION,
            "kind": VALIDATING,
            "metadata": { "name": PROBE, "labels": { install::PART_OF: install::PART_OF_SEALGATE } },
            "webhooks": [{
                "name": "probe.policy.sigstore.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "objectSelector": { "matchLabels": { PROBE_LABEL: "true" } },
                "clientConfig": {
                    "caBundle": install::base64(bundle.as_bytes()),
                    "service": {
                        "namespace": self.namespace,
                        "name": service,
                        "path": install::DEFAULT_PATH_POLICY_VALIDATION,
                        "port": 443,
                    },
                },
                "rules": [{
                    "apiGroups": [GROUP],
                    "apiVersions": POLICY_VERSIONS,
                    "operations": ["CREATE"],
                    "resources": ["clusterimagepolicies"],
                    "scope": "Cluster",
                }],
            }],
        });
        apply::apply(self.client, &configuration).await.map(drop)
    }

    /// Creates a policy as a dry run: succeeds only if all webhooks for it respond.
    pub(super) async fn dry_run(&self) -> Result<(), Fault> {
        let version = format!("{GROUP}/{}", POLICY_VERSIONS[0]);
        let policies =
            Objects::of(self.client, &version, "ClusterImagePolicy", "clusterimagepolicies", None);
        let policy = json!({
            "apiVersion": version,
            "kind": "ClusterImagePolicy",
            "metadata": { "name": PROBE, "labels": { PROBE_LABEL: "true" } },
            "spec": {
                "images": [{ "glob": "sealgate.invalid/probe" }],
                "authorities": [{ "static": { "action": "pass" } }],
            },
        });
        policies.would_create(policy).await
    }

    pub(super) async fn remove_probe(&self) -> Result<(), Fault> {
        self.configurations(VALIDATING).delete(PROBE).await.map(drop)
    }
}
