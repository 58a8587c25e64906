//! `sealgate serve`: with a directory of policies and no cluster, or installed in a cluster by
//! `sealgate install`.
//!
//! In the cluster, only two things differ from a real installation, because nothing runs the
//! Deployment's pods: the gate's processes run here, with the permissions of its service account
//! only, and its Service is an ExternalName for a balancer on loopback. The API server calls it
//! through that Service, and trusts only the CA that the gate wrote into the webhook
//! configurations.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::certificates;
use crate::cluster::Cluster;
use crate::http::Response;
use crate::process::{Launch, Server, free_port, wait_until};
use crate::programs::{Sandbox, sealgate};
use crate::proxy::Balancer;
use crate::records::Records;

/// Namespace of the gate.
pub const NAMESPACE: &str = "cosign-system";
/// Label that enables enforcement for a namespace.
pub const INCLUDE: &str = "policy.sigstore.dev/include=true";
/// Service account of the gate.
const ACCOUNT: &str = "policy-controller-webhook";
/// Service of the gate.
const SERVICE: &str = "webhook";
/// The gate's four webhook configurations.
pub const CONFIGURATIONS: [(&str, &str); 4] = [
    ("mutatingwebhookconfiguration", "policy.sigstore.dev"),
    ("validatingwebhookconfiguration", "policy.sigstore.dev"),
    ("mutatingwebhookconfiguration", "defaulting.clusterimagepolicy.sigstore.dev"),
    ("validatingwebhookconfiguration", "validating.clusterimagepolicy.sigstore.dev"),
];

/// Gate process.
pub struct Gate {
    /// Listening port.
    pub port: u16,
    name: String,
    source: Source,
    setting: GateOptions,
    server: Server,
    /// Dropped after the server: then they are replayed.
    records: Records,
}

/// Options of a gate process, besides its policies.
#[derive(Clone, Debug, Default)]
pub struct GateOptions {
    /// Additional arguments of `sealgate serve`.
    pub arguments: Vec<String>,
    /// `http://HOST:PORT`: proxy for hosts other than loopback.
    pub proxy: Option<String>,
    /// Additional environment variables.
    pub environment: Vec<(&'static str, String)>,
}

/// Source of a gate's policies.
#[derive(Clone)]
enum Source {
    Folder(PathBuf),
    Cluster(PathBuf),
}

/// Gate in a cluster: two replicas behind a balancer.
pub struct Installation<'a> {
    /// Cluster.
    pub cluster: &'a Cluster,
    replicas: Mutex<Vec<Gate>>,
}

impl Gate {
    /// Starts a gate with a directory of policies.
    pub fn with_folder(name: &str, policies: &Path) -> anyhow::Result<Self> {
        Self::with_folder_and(name, policies, GateOptions::default())
    }

    /// Variant with custom options.
    pub fn with_folder_and(
        name: &str,
        policies: &Path,
        setting: GateOptions,
    ) -> anyhow::Result<Self> {
        Self::start(name, free_port()?, Source::Folder(policies.to_path_buf()), setting)
    }

    fn start(name: &str, port: u16, source: Source, setting: GateOptions) -> anyhow::Result<Self> {
        let mut launch = Launch::new(name, sealgate());
        let command = launch.command();
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        match &source {
            Source::Folder(folder) => command.arg("--policies").arg(folder).arg("--self-signed"),
            Source::Cluster(kubeconfig) => command.arg("--kubeconfig").arg(kubeconfig),
        };
        // Isolated from the developer's kubeconfig and registry credentials.
        command.env_remove("KUBECONFIG").env("HOME", "/nonexistent").env_remove("DOCKER_CONFIG");
        let records = Records::new()?;
        command.args(records.arguments());
        command.args(&setting.arguments).envs(setting.environment.iter().cloned());
        for variable in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            match &setting.proxy {
                Some(proxy) => command.env(variable, proxy),
                None => command.env_remove(variable),
            };
        }
        let server = launch.start(|| is_ready(port))?;
        Ok(Self { port, name: name.to_owned(), source, setting, server, records })
    }

    /// Kills the process, as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Restarts it on the same port.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.server.kill();
        *self = Self::start(&self.name, self.port, self.source.clone(), self.setting.clone())?;
        Ok(())
    }

    /// Its decision records.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Output of the process.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Sends an AdmissionReview for the creation of an object.
    pub fn review(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let kind = object["kind"].as_str().context("an object has a kind")?;
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": { "group": "", "version": "v1", "kind": kind },
                "resource": {
                    "group": "",
                    "version": "v1",
                    "resource": format!("{}s", kind.to_lowercase()),
                },
                "namespace": object["metadata"]["namespace"].as_str().unwrap_or("default"),
                "operation": "CREATE",
                "userInfo": { "username": "tests" },
                "object": object,
            },
        });
        let body = review.to_string();
        let answer = certificates::request(self.port, "POST", path, body.as_bytes())?;
        anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        Ok(serde_json::from_slice::<Value>(&answer.body)?["response"].clone())
    }

    /// `GET` request to the gate.
    pub fn get(&self, path: &str) -> anyhow::Result<Response> {
        certificates::request(self.port, "GET", path, &[])
    }
}

impl<'a> Installation<'a> {
    /// Installs the gate and starts two replicas.
    pub fn start(name: &str, cluster: &'a Cluster) -> anyhow::Result<Self> {
        Self::start_with(name, cluster, &GateOptions::default())
    }

    /// Variant with custom options.
    pub fn start_with(
        name: &str,
        cluster: &'a Cluster,
        setting: &GateOptions,
    ) -> anyhow::Result<Self> {
        cluster.apply(&install_yaml()).ok();
        Self::attach_with(name, cluster, setting)
    }

    /// Starts two replicas of an installed gate.
    pub fn attach(name: &str, cluster: &'a Cluster) -> anyhow::Result<Self> {
        Self::attach_with(name, cluster, &GateOptions::default())
    }

    /// Variant with custom options.
    pub fn attach_with(
        name: &str,
        cluster: &'a Cluster,
        setting: &GateOptions,
    ) -> anyhow::Result<Self> {
        let ports = [free_port()?, free_port()?];
        let balancer = Balancer::start(ports.to_vec())?;
        point_service_at(cluster, balancer.port);
        let kubeconfig = cluster.kubeconfig_of(NAMESPACE, ACCOUNT);
        let replica = |number: usize| {
            let name = format!("{name}-gate-{number}");
            let source = Source::Cluster(kubeconfig.clone());
            Gate::start(&name, ports[number], source, setting.clone())
        };
        let replicas = Mutex::new(vec![replica(0)?, replica(1)?]);
        let installation = Self { cluster, replicas };
        installation.wait_for_webhooks()?;
        Ok(installation)
    }

    /// Runs `act` with exclusive access to the replicas.
    pub fn replicas<T>(&self, act: impl FnOnce(&mut Vec<Gate>) -> T) -> T {
        act(&mut self.replicas.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies a policy, and waits until every replica enforces it, as decided by `probe`.
    pub fn apply_policy(&self, policy: &str, probe: impl Fn() -> bool) {
        self.cluster.apply(policy).ok();
        wait_until(Duration::from_secs(20), probe).expect("the gate goes by the new policy");
    }

    /// Waits until the API server reaches the gate and trusts its certificate.
    fn wait_for_webhooks(&self) -> anyhow::Result<()> {
        let policy = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": "never-stored" },
            "spec": {
                "images": [{ "glob": "registry.example.com/**" }],
                "authorities": [{ "static": { "action": "pass" } }],
            },
        });
        let arguments = ["create", "--dry-run=server", "-f", "-"];
        let try_it = || self.cluster.kubectl_with(&arguments, &policy.to_string());
        wait_until(Duration::from_secs(30), || (0..4).all(|_| try_it().code == 0))
            .with_context(|| format!("the webhooks do not answer: {}", try_it().report()))
    }
}

/// Output of `sealgate install`.
pub fn install_yaml() -> String {
    Sandbox::new().sealgate(&["install", "--dry-run", "-o", "yaml"]).ok().stdout
}

/// Turns the gate's Service into an ExternalName for a loopback port.
fn point_service_at(cluster: &Cluster, port: u16) {
    cluster.kubectl(&["delete", "service", "-n", NAMESPACE, SERVICE]).ok();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": SERVICE, "namespace": NAMESPACE },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    });
    cluster.apply(&service.to_string()).ok();
    for (kind, name) in CONFIGURATIONS {
        let found = cluster.kubectl(&["get", kind, name, "-o", "json"]).ok().json();
        let count = found["webhooks"].as_array().map_or(0, Vec::len);
        let patch = (0..count).map(|number| {
            let path = format!("/webhooks/{number}/clientConfig/service/port");
            json!({ "op": "add", "path": path, "value": port })
        });
        let patch = Value::from_iter(patch).to_string();
        cluster.kubectl(&["patch", kind, name, "--type=json", "-p", &patch]).ok();
    }
}

fn is_ready(port: u16) -> bool {
    certificates::request(port, "GET", "/readyz", &[]).is_ok_and(|answer| answer.status == 200)
}
