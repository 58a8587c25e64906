//! A gate that runs, and a client that asks it.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sealgate_tests::hostile::process::processor;
use sealgate_tests::process::{free_port, wait_until};
use sealgate_tests::programs::Sandbox;

/// A gate on a folder of policies; dropping it kills it.
pub(super) struct Gate {
    child: Child,
    port: u16,
    started: Instant,
}

/// A client with connections of its own.
pub(super) struct Client<'g> {
    gate: &'g Gate,
    http: reqwest::Client,
    url: String,
}

impl Gate {
    /// Starts one that listens and is not necessarily ready, see [`Client::ready`].
    pub(super) fn start(program: &Path, sandbox: &Sandbox, policies: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(program);
        command.args(["serve", "--self-signed", "--listen", &listen, "--policies"]);
        command.arg(sandbox.path(policies));
        let log = fs::File::create(sandbox.path(&format!("gate-{port}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let child = command.spawn().context("the gate did not start")?;
        let gate = Self { child, port, started };
        wait_until(Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(gate)
    }

    /// Processor time so far, milliseconds; the system counts hundredths of a second.
    pub(super) fn processor(&self) -> anyhow::Result<f64> {
        Ok(processor(self.child.id())?.as_secs_f64() * 1e3)
    }

    /// Resident memory, MiB.
    pub(super) fn memory(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("VmRSS")?.parse()?;
        Ok(kilobytes / 1024.0)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'g> Client<'g> {
    pub(super) fn new(gate: &'g Gate) -> anyhow::Result<Self> {
        // The load generator measures speed, not trust: the gate's certificate is its own.
        let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).http1_only();
        Ok(Self { gate, http: http.build()?, url: gate.url("/validate?timeout=10s") })
    }

    /// Waits until the gate enforces so many policies; gives how long that was from its start.
    pub(super) async fn ready(&self, policies: usize) -> anyhow::Result<Duration> {
        let url = self.gate.url("/readyz");
        loop {
            let answer = self.http.get(&url).send().await?;
            let said = answer.text().await?;
            let elapsed = self.gate.started.elapsed();
            if said.starts_with(&format!("ready: {policies} polic")) {
                return Ok(elapsed);
            }
            if elapsed > Duration::from_secs(60) {
                bail!("the gate says {said:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a review of signed images, which must be admitted.
    pub(super) async fn admit(&self, review: &str) -> anyhow::Result<()> {
        let request = self.http.post(&self.url).header("Content-Type", "application/json");
        let answer = request.body(review.to_owned()).send().await?.text().await?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        if answer["response"]["allowed"] != true {
            bail!("a signed image was refused: {answer}");
        }
        Ok(())
    }
}

/// A policy that asks for a signature of `key` on the images of `glob`.
pub(crate) fn policy(name: &str, glob: &str, key: &str) -> String {
    let key: String = key.lines().map(|line| format!("          {line}\n")).collect();
    format!(
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  \
         name: {name}\nspec:\n  images:\n  - glob: \"{glob}\"\n  authorities:\n  - key:\n      \
         data: |\n{key}"
    )
}
