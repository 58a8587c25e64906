//! A gate on a temporary folder, and requests to it as the API server sends them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Repository;
use sealgate_engine::gate::{Gate, GatePorts, GateSettings};
use sealgate_engine::ports::Signer;
use sealgate_engine::roots::Roots;
use sealgate_engine::sign::{SignRequest, sign_image};
use sealgate_server::decisions::Decisions;
use sealgate_server::folder::{FolderOptions, follow};
use sealgate_server::listener::certificate::{CertificateSlot, ServerCertificate};
use sealgate_server::listener::limits::Limits;
use sealgate_server::metered::Metered;
use sealgate_server::metrics::Metrics;
use sealgate_server::roots::TufRoots;
use sealgate_server::server::{Running, ServerOptions, start};
use sealgate_server::webhook::handler::WebhookHandler;
use sealgate_server::webhook::policy_objects::PolicyReviews;
use sealgate_testkit::image;
use sealgate_testkit::key::TestKey;
use sealgate_testkit::ports::{FrozenClock, OneRegistry};
use sealgate_testkit::registry::MemoryRegistry;
use serde_json::{Value, json};

/// The time to wait for an event: long, for a machine that is busy.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct GateFixture {
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) key: TestKey,
    folder: tempfile::TempDir,
    running: Running,
    client: reqwest::Client,
}

/// A gate on a folder with these files.
pub(crate) fn gate(files: impl FnOnce(&TestKey) -> Vec<(&'static str, String)>) -> GateFixture {
    gate_with(files, PolicyReviews::default(), Limits::default())
}

/// A gate on a folder with these files, which reviews policy objects within these bounds, and with
/// these limits of its listener.
pub(crate) fn gate_with(
    files: impl FnOnce(&TestKey) -> Vec<(&'static str, String)>,
    policy_reviews: PolicyReviews,
    limits: Limits,
) -> GateFixture {
    let key = TestKey::p256();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files(&key) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let registry = Arc::new(MemoryRegistry::new());
    let (running, ca) = open(&registry, folder.path().to_owned(), policy_reviews, limits);
    let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
    GateFixture { registry, key, folder, running, client }
}

fn open(
    registry: &Arc<MemoryRegistry>,
    path: PathBuf,
    policy_reviews: PolicyReviews,
    limits: Limits,
) -> (Running, String) {
    let metrics = Arc::new(Metrics::new());
    let options = FolderOptions {
        interval: Duration::from_millis(50),
        settle: Duration::ZERO,
        ..FolderOptions::new(path)
    };
    let roots = roots();
    let (policies, secrets) = follow(options, Arc::clone(&roots), Arc::clone(&metrics));
    let access = OneRegistry::new(Arc::clone(registry) as _);
    let decisions = Arc::new(Decisions::new(Arc::clone(&metrics)));
    let ports = GatePorts {
        registries: Arc::new(Metered::new(Arc::new(access), Arc::clone(&metrics))),
        secrets,
        clock: Arc::new(FrozenClock::default()),
        audit: Arc::clone(&decisions) as _,
    };
    let gate = Gate::new(ports, GateSettings::default());
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (pem, key) = (cert.pem(), signing_key.serialize_pem());
    let certificate = ServerCertificate::from_pem(pem.as_bytes(), key.as_bytes()).unwrap();
    let slot = CertificateSlot::holding(certificate);
    let options = ServerOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        metrics_listen: None,
        certificate: Arc::clone(&slot),
        clients: None,
        limits,
    };
    let handler = WebhookHandler {
        gate: Arc::new(gate),
        policies,
        workloads: None,
        roots,
        system_namespace: "cosign-system".to_owned(),
        certificate: slot,
        policy_reviews,
        decisions,
        metrics,
    };
    (start(Arc::new(handler), &options).unwrap(), pem)
}

/// No root of its own, and the usual TUF client.
fn roots() -> Arc<Roots> {
    let none = Fault::new(FaultKind::Missing, "trust root", "this gate has none");
    let clock = Arc::new(FrozenClock::default());
    Roots::new(Err(none), Arc::new(TufRoots), clock)
}

impl GateFixture {
    /// Pushes an image as `name:v1`; its digest.
    pub(crate) fn push(&self, name: &str) -> Digest {
        let reference = image::reference(&format!("registry.test/{name}:v1"));
        image::tagged(&self.registry, &reference, name)
    }

    /// Signs with the gate's key.
    pub(crate) async fn sign(&self, name: &str, digest: &Digest) {
        let image = image::at(&self.repository(name), digest);
        let (clock, request) = (FrozenClock::default(), SignRequest::default());
        let signer: &dyn Signer = &self.key;
        sign_image(&*self.registry, &image, signer, &clock, &request).await.unwrap();
    }

    pub(crate) fn repository(&self, name: &str) -> Repository {
        image::repository(&format!("registry.test/{name}"))
    }

    /// Writes, or with `None` deletes, a file of the folder.
    pub(crate) fn file(&self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => std::fs::write(self.path(name), text).unwrap(),
            None => std::fs::remove_file(self.path(name)).unwrap(),
        }
    }

    /// The path of a file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn ready(&self) -> &Self {
        self.until("/readyz", |status, _| status == 200).await;
        self
    }

    /// Asks until `good`; gives the last text.
    pub(crate) async fn until(&self, path: &str, good: impl Fn(u16, &str) -> bool) -> String {
        let start = std::time::Instant::now();
        loop {
            let (status, text) = self.get(path).await;
            if good(status, &text) {
                return text;
            }
            assert!(start.elapsed() < TIMEOUT, "{path} still says {status} {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("https://{}{path}", self.running.address());
        let answer = self.client.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> (u16, String) {
        let url = format!("https://{}{path}", self.running.address());
        let request = self.client.post(url).header("content-type", "application/json");
        let answer = request.body(body.into()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Asks about a Pod; gives the `response`.
    pub(crate) async fn pod(&self, path: &str, image: &str) -> Value {
        let (status, text) = self.post(path, review(image).to_string()).await;
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        answer["response"].clone()
    }

    /// The denial of a Pod with `name@digest`; empty if it is admitted.
    pub(crate) async fn denial(&self, name: &str, digest: &Digest) -> String {
        let image = format!("registry.test/{name}@{digest}");
        let response = self.pod("/validate", &image).await;
        match response["allowed"] == true {
            true => String::new(),
            false => response["status"]["message"].as_str().unwrap().to_owned(),
        }
    }
}

/// A policy about `registry.test/GLOB`, signed by `key`.
pub(crate) fn policy(name: &str, glob: &str, key: &TestKey) -> String {
    let key: String = key.public_key().to_pem().lines().map(|l| format!("        {l}\n")).collect();
    format!(
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  \
         name: {name}\nspec:\n  images:\n  - glob: registry.test/{glob}\n  authorities:\n  \
         - key:\n      data: |\n{key}"
    )
}

pub(crate) fn review(image: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": { "username": "test" },
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": "p", "namespace": "default" },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            },
        },
    })
}
