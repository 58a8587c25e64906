//! Kubernetes control plane, started once for all tests: etcd, the API server with RBAC, and the
//! controller manager that creates Pods from Deployments. There is no kubelet: an admitted Pod is
//! stored, but nothing runs.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::certificates::{Authority, ServerFiles};
use crate::http;
use crate::process::{Launch, Server, free_port, wait_until};
use crate::programs::{Run, Sandbox, built};

const ADMIN_TOKEN: &str = "tests-admin-token";
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,\
    daemonset-controller,job-controller,cronjob-controller,namespace-controller,\
    serviceaccount-controller,garbage-collector-controller";

/// Control plane.
pub struct Cluster {
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    /// CA of the API server, PEM.
    pub ca: String,
    /// Kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    sandbox: Sandbox,
    // Kept alive as long as the cluster.
    _servers: Mutex<Vec<Server>>,
}

/// Cluster shared by this test process.
pub fn shared() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start("shared").expect("the Kubernetes control plane"))
}

impl Cluster {
    /// Separate cluster, for tests that would disturb others. `name` is part of the log file names.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        Self::start_with(name, "10.96.0.0/16", None)
    }

    /// Separate cluster whose API server presents a client certificate to admission webhooks.
    pub fn start_presenting(name: &str, client: &ServerFiles) -> anyhow::Result<Self> {
        Self::start_with(name, "10.96.0.0/16", Some(client))
    }

    /// Separate cluster whose Services have loopback addresses, so that [`crate::nodes`] can serve
    /// them.
    pub fn start_with_nodes(name: &str) -> anyhow::Result<Self> {
        Self::start_with(name, "127.96.0.0/16", None)
    }

    fn start_with(
        name: &str,
        services: &str,
        client: Option<&ServerFiles>,
    ) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new();
        let folder = sandbox.path("");
        let authority = Authority::new("tests kubernetes ca")?;
        let port = free_port()?;
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig =
            sandbox.write("admin.kubeconfig", kubeconfig(&url, &authority.pem, ADMIN_TOKEN));
        let (etcd, etcd_url) = start_etcd(name, &folder)?;
        let tls = authority.issue(&folder, "kube-apiserver")?;
        let mut servers = vec![etcd];
        let mut flags = vec![format!("--service-cluster-ip-range={services}")];
        flags.extend(client.map(|client| admission_flag(&sandbox, client)));
        servers.push(start_api_server(name, &sandbox, &etcd_url, port, &tls, &flags)?);
        servers.push(start_controllers(name, &folder, &kubeconfig)?);
        let cluster =
            Self { url, ca: authority.pem, kubeconfig, sandbox, _servers: Mutex::new(servers) };
        wait_until(Duration::from_secs(30), || cluster.has_default_account("default"))
            .context("the service account controller makes no account")?;
        Ok(cluster)
    }

    /// Directory with the cluster's own files.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Runs `kubectl` as administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Run {
        self.kubectl_with(arguments, "")
    }

    /// Variant with standard input (`-f -`).
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Run {
        let kubeconfig = self.kubeconfig.display().to_string();
        let all: Vec<&str> =
            ["--kubeconfig", &kubeconfig].iter().chain(arguments.iter()).copied().collect();
        self.sandbox.run(Path::new("kubectl"), &all, Some(input.as_bytes()))
    }

    /// Applies YAML or JSON.
    pub fn apply(&self, objects: &str) -> Run {
        self.kubectl_with(&["apply", "-f", "-"], objects)
    }

    /// Creates a namespace with labels (`KEY=VALUE`).
    pub fn namespace(&self, name: &str, labels: &[&str]) {
        self.kubectl(&["create", "namespace", name]).ok();
        for label in labels {
            self.kubectl(&["label", "namespace", name, label]).ok();
        }
        wait_until(Duration::from_secs(30), || self.has_default_account(name))
            .expect("a namespace gets its default service account");
    }

    fn has_default_account(&self, namespace: &str) -> bool {
        self.kubectl(&["get", "serviceaccount", "default", "-n", namespace]).code == 0
    }

    /// Writes a kubeconfig for a service account, with only its own permissions.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.kubectl(&["create", "token", "-n", namespace, account]).ok().stdout;
        let content = kubeconfig(&self.url, &self.ca, token.trim());
        self.sandbox.write(&format!("{namespace}.{account}.kubeconfig"), content)
    }
}

/// Kubeconfig as JSON, which is valid YAML.
fn kubeconfig(url: &str, ca: &str, token: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{
            "name": "tests",
            "cluster": { "server": url, "certificate-authority-data": ca },
        }],
        "users": [{ "name": "tests", "user": { "token": token } }],
        "contexts": [{ "name": "tests", "context": { "cluster": "tests", "user": "tests" } }],
    })
    .to_string()
}

/// The flag with which the API server presents `client` to all admission webhooks.
fn admission_flag(sandbox: &Sandbox, client: &ServerFiles) -> String {
    let user = json!({ "client-certificate": client.certificate, "client-key": client.key });
    let webhooks = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "users": [{ "name": "*", "user": user }],
    });
    let webhooks = sandbox.write("webhooks.kubeconfig", webhooks.to_string());
    let plugin = |name: &str| {
        json!({
            "name": name,
            "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "WebhookAdmissionConfiguration",
                "kubeConfigFile": webhooks,
            },
        })
    };
    let admission = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [plugin("MutatingAdmissionWebhook"), plugin("ValidatingAdmissionWebhook")],
    });
    let admission = sandbox.write("admission.json", admission.to_string());
    flag("admission-control-config-file", &admission)
}

fn start_etcd(name: &str, folder: &Path) -> anyhow::Result<(Server, String)> {
    let client = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{client}");
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let mut launch = Launch::new(&format!("{name}-etcd"), "etcd");
    launch
        .command()
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"]);
    let server =
        launch.start(|| http::get(&client, "/health", "*/*").is_ok_and(|a| a.status == 200))?;
    Ok((server, url))
}

fn start_api_server(
    name: &str,
    sandbox: &Sandbox,
    etcd: &str,
    port: u16,
    tls: &ServerFiles,
    flags: &[String],
) -> anyhow::Result<Server> {
    let tokens = sandbox.write("tokens.csv", format!("{ADMIN_TOKEN},admin,1,system:masters\n"));
    let accounts = sandbox.path("service-accounts.key");
    let genrsa = ["genrsa", "-out", "service-accounts.key", "2048"];
    sandbox.program("openssl", &genrsa).ok();
    let mut launch = Launch::new(&format!("{name}-kube-apiserver"), built("kubernetes"));
    launch
        .command()
        .arg("kube-apiserver")
        .args(["--etcd-servers", etcd, "--secure-port", &port.to_string()])
        .args(["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"])
        .arg("--cert-dir")
        .arg(sandbox.path("apiserver"))
        .arg(flag("tls-cert-file", &tls.certificate))
        .arg(flag("tls-private-key-file", &tls.key))
        .arg(flag("service-account-key-file", &accounts))
        .arg(flag("service-account-signing-key-file", &accounts))
        .args(["--service-account-issuer", "https://kubernetes.default.svc"])
        .arg(flag("token-auth-file", &tokens))
        .args(["--authorization-mode", "RBAC"])
        .args(flags)
        .args(["--disable-admission-plugins", "ServiceAccount"]);
    let ready = ["--kubeconfig", "admin.kubeconfig", "get", "--raw", "/readyz"];
    launch.start(|| sandbox.program("kubectl", &ready).code == 0)
}

fn start_controllers(name: &str, folder: &Path, kubeconfig: &Path) -> anyhow::Result<Server> {
    let port = free_port()?;
    let mut launch = Launch::new(&format!("{name}-kube-controller-manager"), built("kubernetes"));
    launch
        .command()
        .arg("kube-controller-manager")
        .arg(flag("kubeconfig", kubeconfig))
        .arg(flag("authentication-kubeconfig", kubeconfig))
        .arg(flag("authorization-kubeconfig", kubeconfig))
        .args(["--leader-elect=false", &format!("--controllers={CONTROLLERS}")])
        .args(["--bind-address=127.0.0.1", &format!("--secure-port={port}")])
        .arg(flag("cert-dir", &folder.join("controllers")));
    launch.start(|| crate::process::listens(port))
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
