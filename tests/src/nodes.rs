//! Node emulation for the pods of the gate and of policy-controller: runs them as local processes,
//! reports their readiness to the API server, and forwards the traffic of their Services.
//!
//! The API server calls webhooks at the Service's address, which is on loopback here
//! ([`Cluster::start_with_nodes`]). A connection goes to a pod that the Service selects at that
//! time; an open one stays where it is, as with kube-proxy.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::certificates;
use crate::cluster::Cluster;
use crate::http;
use crate::process::{Launch, Server, free_port, listens};
use crate::programs::{built, sealgate};
use crate::proxy::join;
use crate::records::Records;

/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Termination grace period of a pod.
const GRACE: Duration = Duration::from_secs(20);

/// API server as administrator, over plain HTTP: `kubectl proxy`.
#[derive(Clone)]
pub struct Api {
    host: String,
    _server: Arc<Mutex<Server>>,
}

/// Nodes of one namespace.
pub struct Nodes {
    /// API server.
    pub api: Api,
    /// Running pods, by uid.
    pods: Arc<Mutex<BTreeMap<String, Pod>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Running pod.
struct Pod {
    labels: Value,
    port: u16,
    is_ready: bool,
    server: Server,
    /// Those of a gate; dropped after the server: then they are replayed.
    _records: Option<Records>,
}

/// State shared by the threads.
#[derive(Clone)]
struct Shared {
    api: Api,
    namespace: String,
    pods: Arc<Mutex<BTreeMap<String, Pod>>>,
    stop: Arc<AtomicBool>,
}

impl Api {
    /// Starts a proxy for a cluster.
    pub fn start(name: &str, cluster: &Cluster) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut launch = Launch::new(&format!("{name}-kubectl-proxy"), "kubectl");
        launch.command().arg("--kubeconfig").arg(&cluster.kubeconfig);
        launch.command().args(["proxy", &format!("--port={port}")]);
        let server = launch.start(|| listens(port))?;
        Ok(Self { host: format!("127.0.0.1:{port}"), _server: Arc::new(Mutex::new(server)) })
    }

    /// Status and body of a response.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let json = [("Content-Type", "application/json")];
        let answer = http::request(method, &self.host, path, &json, &body)?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }

    /// Object; `null` if it does not exist.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.ask("GET", path, &Value::Null)?;
        Ok(if status == 200 { body } else { Value::Null })
    }

    fn items(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.get(path)?;
        Ok(list["items"].as_array().with_context(|| format!("{path}: no list"))?.clone())
    }
}

impl Nodes {
    /// Starts the nodes for the pods of `namespace`.
    pub fn start(
        name: &'static str,
        cluster: &'static Cluster,
        namespace: &str,
    ) -> anyhow::Result<Self> {
        let shared = Shared {
            api: Api::start(name, cluster)?,
            namespace: namespace.to_owned(),
            pods: Arc::default(),
            stop: Arc::default(),
        };
        let (kubelet, proxy) = (shared.clone(), shared.clone());
        let threads = vec![
            std::thread::spawn(move || run_pods(name, cluster, &kubelet)),
            std::thread::spawn(move || carry(&proxy)),
        ];
        let Shared { api, pods, stop, .. } = shared;
        Ok(Self { api, pods, stop, threads })
    }

    /// Output of the ready pods with a name (`app.kubernetes.io/name`).
    pub fn log(&self, name: &str) -> String {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = pods.values().filter(|pod| pod.is_ready);
        ready
            .filter(|pod| pod.labels["app.kubernetes.io/name"] == name)
            .map(|pod| pod.server.log())
            .collect()
    }

    /// Number of ready pods with this label.
    pub fn ready(&self, key: &str, value: &str) -> usize {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.values().filter(|pod| pod.is_ready && pod.labels[key] == value).count()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Kubelet: starts and stops pods.
fn run_pods(name: &str, cluster: &Cluster, shared: &Shared) {
    let path = format!("/api/v1/namespaces/{}/pods", shared.namespace);
    while !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(POLL_INTERVAL);
        // A failed request is repeated in the next round.
        let Ok(wanted) = shared.api.items(&path) else { continue };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let uids: Vec<String> = wanted.iter().map(|pod| text(&pod["metadata"]["uid"])).collect();
        let mut pods = shared.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = pods.keys().filter(|uid| !uids.contains(uid)).cloned().collect();
        gone.iter().filter_map(|uid| pods.remove(uid)).for_each(stop);
        for (uid, pod) in uids.into_iter().zip(&wanted) {
            match pods.get_mut(&uid) {
                None => {
                    let started = start(name, cluster, shared, pod);
                    pods.insert(uid, started.unwrap_or_else(|error| panic!("a pod: {error:#}")));
                }
                Some(running) if !running.is_ready && serves(running) => {
                    let path = format!("{path}/{}", text(&pod["metadata"]["name"]));
                    running.is_ready = tell_ready(&shared.api, &path).unwrap_or_default();
                }
                Some(_) => {}
            }
        }
    }
}

/// Terminates a pod's process, and kills it after the grace period.
fn stop(mut pod: Pod) {
    pod.server.terminate();
    std::thread::spawn(move || {
        std::thread::sleep(GRACE);
        pod.server.kill();
    });
}

/// Process of a pod.
fn start(name: &str, cluster: &Cluster, shared: &Shared, pod: &Value) -> anyhow::Result<Pod> {
    let spec = &pod["spec"];
    let account = spec["serviceAccountName"].as_str().context("an account")?;
    let kubeconfig = cluster.kubeconfig_of(&shared.namespace, account);
    let pod_name = pod["metadata"]["name"].as_str().context("a name")?;
    let labels = pod["metadata"]["labels"].clone();
    let is_gate = labels["app.kubernetes.io/name"] == "sealgate";
    // policy-controller ignores --secure-port.
    let port = if is_gate { free_port()? } else { 8443 };
    let program = if is_gate { sealgate() } else { built("policy-controller") };
    let mut launch = Launch::new(&format!("{name}-{pod_name}"), program);
    let command = launch.command();
    command.env_remove("KUBECONFIG").env("HOME", cluster.sandbox().path(""));
    command.env_remove("DOCKER_CONFIG");
    command.env("SYSTEM_NAMESPACE", &shared.namespace).env("POD_NAME", pod_name);
    for variable in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
        command.env_remove(variable);
    }
    let records = if is_gate { Some(Records::new()?) } else { None };
    match is_gate {
        true => {
            let mounts = mounts(cluster, shared, spec)?;
            for word in spec["containers"][0]["args"].as_array().context("arguments")? {
                let mut word = word.as_str().context("an argument")?.to_owned();
                for (path, folder) in &mounts {
                    word = word.replace(path, &folder.display().to_string());
                }
                let flag = word.split('=').next().unwrap_or_default();
                command.arg(match flag {
                    "--in-cluster" => format!("--kubeconfig={}", kubeconfig.display()),
                    "--listen" => format!("--listen=127.0.0.1:{port}"),
                    "--metrics-listen" => format!("--metrics-listen=127.0.0.1:{}", free_port()?),
                    _ => word,
                });
            }
        }
        false => {
            command.arg("--disable-tuf");
            command.env("KUBECONFIG", &kubeconfig).env("CONFIG_LOGGING_NAME", "config-logging");
            command.env("METRICS_DOMAIN", "sigstore.dev/policy").env("WEBHOOK_NAME", "webhook");
            command.env("KUBERNETES_MIN_VERSION", "1.21.0");
            command.env("METRICS_PROMETHEUS_PORT", free_port()?.to_string());
        }
    }
    if let Some(records) = &records {
        launch.command().args(records.arguments());
    }
    let server = launch.start(|| true)?;
    Ok(Pod { labels, port, is_ready: false, server, _records: records })
}

/// ConfigMaps mounted by a pod, as directories: mount path and directory.
fn mounts(
    cluster: &Cluster,
    shared: &Shared,
    spec: &Value,
) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut mounts = Vec::new();
    for mount in spec["containers"][0]["volumeMounts"].as_array().into_iter().flatten() {
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        let volume = volumes.into_iter().find(|volume| volume["name"] == mount["name"]);
        let Some(name) = volume.and_then(|volume| volume["configMap"]["name"].as_str()) else {
            continue;
        };
        let path = format!("/api/v1/namespaces/{}/configmaps/{name}", shared.namespace);
        let map = shared.api.get(&path)?;
        for (file, content) in map["data"].as_object().context("data")? {
            let content = content.as_str().unwrap_or_default();
            cluster.sandbox().write(&format!("mounts/{name}/{file}"), content);
        }
        let at = mount["mountPath"].as_str().context("a mount path")?.to_owned();
        mounts.push((at, cluster.sandbox().path(&format!("mounts/{name}"))));
    }
    Ok(mounts)
}

fn serves(pod: &Pod) -> bool {
    if pod.labels["app.kubernetes.io/name"] == "sealgate" {
        let ready = certificates::request(pod.port, "GET", "/readyz", &[]);
        return ready.is_ok_and(|answer| answer.status == 200);
    }
    certificates::shown_by(pod.port).is_ok()
}

fn tell_ready(api: &Api, path: &str) -> anyhow::Result<bool> {
    let mut pod = api.get(path)?;
    pod["status"] = json!({
        "phase": "Running",
        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    });
    let (status, _) = api.ask("PUT", &format!("{path}/status"), &pod)?;
    Ok(status == 200)
}

/// kube-proxy: forwards connections.
fn carry(shared: &Shared) {
    let path = format!("/api/v1/namespaces/{}/services", shared.namespace);
    let selectors: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
    let mut listening = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(POLL_INTERVAL);
        let Ok(services) = shared.api.items(&path) else { continue };
        let mut now = BTreeMap::new();
        for service in &services {
            let Some(address) = service["spec"]["clusterIP"].as_str() else { continue };
            if !address.starts_with("127.") {
                continue;
            }
            now.insert(address.to_owned(), service["spec"]["selector"].clone());
            if !listening.iter().any(|known| known == address) {
                let listener = TcpListener::bind((address, 443)).expect("the Service's address");
                listening.push(address.to_owned());
                let (address, selectors) = (address.to_owned(), Arc::clone(&selectors));
                let pods = Arc::clone(&shared.pods);
                std::thread::spawn(move || {
                    for (turn, client) in listener.incoming().flatten().enumerate() {
                        let selectors = selectors.lock().unwrap_or_else(PoisonError::into_inner);
                        let Some(selector) = selectors.get(&address).cloned() else { continue };
                        drop(selectors);
                        if let Some(server) = endpoint(&pods, &selector, turn) {
                            join(client, server);
                        }
                    }
                });
            }
        }
        *selectors.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// Connection to one of the ready pods selected by a Service.
fn endpoint(
    pods: &Mutex<BTreeMap<String, Pod>>,
    selector: &Value,
    turn: usize,
) -> Option<TcpStream> {
    let selector = selector.as_object().filter(|selector| !selector.is_empty())?;
    let ports: Vec<u16> = {
        let pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
        let selected = pods.values().filter(|pod| {
            pod.is_ready && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        });
        selected.map(|pod| pod.port).collect()
    };
    let port = ports.get(turn % ports.len().max(1))?;
    TcpStream::connect(("127.0.0.1", *port)).ok()
}
