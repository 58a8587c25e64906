//! Whether the API server reaches a webhook is seen by asking it to judge an object that nobody
//! stores.

use sealgate_core::fault::Fault;
use serde_json::json;

use super::configurations::Place;
use super::objects::Objects;
use super::{Cluster, Say};
use crate::crd::{GROUP, POLICY_VERSIONS};
use crate::{api, apply, install};

/// How many times in a row the gate must be reached.
pub(super) const TIMES: usize = 8;
/// The webhook configuration that asks whether the gate is reached, its label, and its policy.
const PROBE: &str = install::MIGRATION_PROBE;
const PROBE_LABEL: &str = "policy.sigstore.dev/sealgate-migration-probe";
/// A Service that is not there.
const NOWHERE: &str = "sealgate-migration-nowhere";

const VALIDATING: &str = "ValidatingWebhookConfiguration";

impl Cluster<'_> {
    /// Waits until the API server reaches the gate by the Service of `place` and trusts its
    /// certificate: a webhook about one labelled policy is first made to call nobody, until the API
    /// server is seen to do so; then it is made to call the gate.
    pub(super) async fn wait_until_reached(
        &self,
        place: Place,
        bundle: &str,
        say: Say<'_>,
    ) -> Result<(), Fault> {
        let service = place.service();
        say(&format!("waiting until the API server reaches the gate by Service {service}"));
        self.probe(NOWHERE, bundle).await?;
        self.wait("the API server takes no new webhook", async || {
            Ok(self.ask().await.is_err_and(|fault| fault.detail.contains(NOWHERE)))
        })
        .await?;
        self.probe(service, bundle).await?;
        let mut last = None;
        let mut times = 0;
        let waited = self
            .wait(&format!("the API server does not reach Service {service}"), async || {
                match self.ask().await {
                    Ok(()) => times += 1,
                    Err(fault) => (times, last) = (0, Some(fault)),
                }
                Ok(times >= TIMES)
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

    /// Would a policy be stored? Only if all webhooks about it answer.
    pub(super) async fn ask(&self) -> Result<(), Fault> {
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
