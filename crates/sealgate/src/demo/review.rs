//! A Pod, put to the gate as an API server does it: first `/mutate`, then `/validate`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The gate, as the API server sees it.
pub(super) struct ApiServer {
    client: reqwest::Client,
    address: String,
    folder: PathBuf,
}

/// What the gate said about a Pod.
pub(super) struct Said {
    pub(super) allowed: bool,
    /// The denial, as `kubectl` shows it.
    pub(super) denial: String,
    /// The image after the mutating webhook.
    pub(super) image: String,
    /// The same question by hand.
    pub(super) command: String,
}

impl ApiServer {
    /// Trusts `ca` (PEM) and nothing else, as a webhook configuration's `caBundle` says.
    pub(super) fn new(address: String, ca: &str, folder: &Path) -> anyhow::Result<Self> {
        let ca = reqwest::Certificate::from_pem(ca.as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build()?;
        Ok(Self { client, address, folder: folder.to_owned() })
    }

    /// Asks whether a Pod with `image` may be created. `name` is the Pod's, and the review file's.
    pub(super) async fn create_pod(&self, name: &str, image: &str) -> anyhow::Result<Said> {
        let mutated = self.ask("mutate", &review(name, image)).await?;
        let pinned = pinned(&mutated)?.unwrap_or_else(|| image.to_owned());
        let review = review(name, &pinned);
        let file = format!("{name}.json");
        std::fs::write(self.folder.join(&file), serde_json::to_vec_pretty(&review)?)?;
        let answer = match mutated["response"]["allowed"] == true {
            true => self.ask("validate", &review).await?,
            false => mutated,
        };
        let message = answer["response"]["status"]["message"].as_str().unwrap_or_default();
        Ok(Said {
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

    async fn ask(&self, hook: &str, review: &Value) -> anyhow::Result<Value> {
        let url = format!("https://{}/{hook}?timeout=10s", self.address);
        let request = self.client.post(url).header("content-type", "application/json");
        let answer = request.body(review.to_string()).send().await?.text().await?;
        serde_json::from_str(&answer).with_context(|| format!("the gate said: {answer}"))
    }
}

/// The image text that the mutating webhook wants instead.
fn pinned(answer: &Value) -> anyhow::Result<Option<String>> {
    let Some(patch) = answer["response"]["patch"].as_str() else { return Ok(None) };
    let patch: Value = serde_json::from_slice(&STANDARD.decode(patch)?)?;
    let operations = patch.as_array().context("the patch is no list")?;
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
