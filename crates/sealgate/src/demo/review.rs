//! Admission requests for a Pod, as the API server sends them: first `/mutate`, then `/validate`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A client that calls the gate as the API server does.
pub(super) struct ApiServer {
    client: reqwest::Client,
    address: String,
    folder: PathBuf,
}

/// The gate's response about a Pod.
pub(super) struct ReviewResult {
    pub(super) allowed: bool,
    /// The denial, as `kubectl` shows it.
    pub(super) denial: String,
    /// The image after the mutating webhook.
    pub(super) image: String,
    /// A command that sends the same request.
    pub(super) command: String,
}

impl ApiServer {
    /// Trusts `ca` (PEM) only, as a webhook configuration's `caBundle` specifies.
    pub(super) fn new(address: String, ca: &str, folder: &Path) -> anyhow::Result<Self> {
        let ca = reqwest::Certificate::from_pem(ca.as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build()?;
        Ok(Self { client, address, folder: folder.to_owned() })
    }

    /// Sends the requests for creating a Pod with `image`. `name` is the name of the Pod and of the
    /// review file.
    pub(super) async fn create_pod(&self, name: &str, image: &str) -> anyhow::Result<ReviewResult> {
        let mutated = self.send("mutate", &review(name, image)).await?;
        let pinned = pinned(&mutated)?.unwrap_or_else(|| image.to_owned());
        let review = review(name, &pinned);
        let file = format!("{name}.json");
        std::fs::write(self.folder.join(&file), serde_json::to_vec_pretty(&review)?)?;
        let answer = match mutated["response"]["allowed"] == true {
            true => self.send("validate", &review).await?,
            false => mutated,
        };
        let message = answer["response"]["status"]["message"].as_str().unwrap_or_default();
        Ok(ReviewResult {
            allowed: answer["response"]["allowed"] == true,
            denial: format!(
                "admission webhook \"policy.sigstore.dev\" denied the request: {message}"
            ),
            image: pinned,
            command: format!(
                "curl --cacert gate-ca.pem -H 'Content-Type: application/json' -d @{file} \
                 https://{}/validate",
                self.address
            ),
        })
    }

    async fn send(&self, hook: &str, review: &Value) -> anyhow::Result<Value> {
        let url = format!("https://{}/{hook}?timeout=10s", self.address);
        let request = self.client.post(url).header("content-type", "application/json");
        let answer = request.body(review.to_string()).send().await?.text().await?;
        serde_json::from_str(&answer)
            .with_context(|| format!("unexpected response of the gate: {answer}"))
    }
}

/// Returns the image with which the mutating webhook replaces the original.
fn pinned(answer: &Value) -> anyhow::Result<Option<String>> {
    let Some(patch) = answer["response"]["patch"].as_str() else { return Ok(None) };
    let patch: Value = serde_json::from_slice(&STANDARD.decode(patch)?)?;
    let operations = patch.as_array().context("the patch is not a list")?;
    let replace = operations.iter().find(|operation| operation["op"] == "replace");
    Ok(replace.and_then(|operation| operation["value"].as_str()).map(str::to_owned))
}

fn review(name: &str, image: &str) -> Value {
    let pod = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let pods = json!({ "group": "", "version": "v1", "resource": "pods" });
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("demo-{name}"),
            "kind": pod,
            "resource": pods,
            "requestKind": pod,
            "requestResource": pods,
            "name": name,
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": { "username": "demo" },
            "dryRun": false,
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": name, "namespace": "default" },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            },
        },
    })
}
