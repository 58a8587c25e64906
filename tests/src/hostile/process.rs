//! Gate process with the limits of a container, and its use of memory and descriptors.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::certificates;
use crate::http;
use crate::process::{Launch, Server, free_port, wait_until};
use crate::programs::{Sandbox, sealgate};

/// Soft limit of descriptors that many container runtimes set, and a hard limit.
const DESCRIPTORS: &str = "--nofile=1024:4096";

/// Options of a [`GateProcess`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of policies in the folder, which must be loaded before the gate is used.
    pub policies: usize,
    /// Content of `/etc/resolv.conf` for the process alone.
    pub resolv_conf: Option<String>,
    /// Additional arguments of `sealgate serve`.
    pub arguments: Vec<String>,
}

/// Gate with the policies in the folder `policies` of a sandbox.
pub struct GateProcess {
    /// Port for HTTPS.
    pub port: u16,
    /// Port for metrics and health over plain HTTP.
    pub metrics_port: u16,
    pid: u32,
    server: Server,
}

/// Memory in MiB, open descriptors and processor time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory.
    pub memory: f64,
    /// Highest resident memory since [`GateProcess::reset_peak`].
    pub peak: f64,
    /// The part of both that is pages of the program's file: several times more in a debug build.
    pub program: f64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Processor time since the start.
    pub processor: Duration,
}

impl GateProcess {
    /// Starts a gate and waits until it is ready.
    pub fn start(name: &str, sandbox: &Sandbox, options: &Options) -> anyhow::Result<Self> {
        let (port, metrics_port) = (free_port()?, free_port()?);
        let pid_file = sandbox.path(&format!("{name}.pid"));
        let mut launch =
            Launch::new(name, if options.resolv_conf.is_some() { "unshare" } else { "sh" });
        let command = launch.command();
        let mut script = r#"echo $$ > "$1"; shift; exec "$@""#.to_owned();
        if let Some(content) = &options.resolv_conf {
            let file = sandbox.write(&format!("{name}.resolv.conf"), content);
            script = format!("mount --bind {} /etc/resolv.conf && {script}", file.display());
            command.args(["--mount", "sh"]);
        }
        command.args(["-ec", &script, "sh"]).arg(&pid_file);
        command.args(["prlimit", DESCRIPTORS]).arg(sealgate());
        command.args(["serve", "--self-signed", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--metrics-listen", &format!("127.0.0.1:{metrics_port}")]);
        command.arg("--policies").arg(sandbox.path("policies")).args(&options.arguments);
        command.env("HOME", sandbox.path("")).env_remove("KUBECONFIG").env_remove("DOCKER_CONFIG");
        for variable in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "RUST_LOG"] {
            command.env_remove(variable);
        }
        let ready = format!("ready: {} polic", options.policies);
        let server = launch.start(|| {
            let answer = certificates::request(port, "GET", "/readyz", &[]);
            answer.is_ok_and(|answer| answer.text().starts_with(&ready))
        })?;
        Ok(Self { port, metrics_port, pid: read_pid(&pid_file)?, server })
    }

    /// Use at this moment.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let mebibytes = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("status")?;
            let kilobytes: f64 = line.split_whitespace().nth(1).context("status")?.parse()?;
            Ok(kilobytes / 1024.0)
        };
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid))?.count();
        Ok(Usage {
            memory: mebibytes("VmRSS:")?,
            peak: mebibytes("VmHWM:")?,
            program: mebibytes("RssFile:")?,
            descriptors,
            processor: processor(self.pid)?,
        })
    }

    /// Forgets the peak of the memory so far.
    pub fn reset_peak(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.pid), "5")?)
    }

    /// Waits until the memory without the program's file is at most `mebibytes`; returns the last
    /// figure.
    pub fn allocated_below(&self, mebibytes: f64, limit: Duration) -> anyhow::Result<f64> {
        let memory = || self.usage().map_or(f64::MAX, |usage| usage.memory - usage.program);
        // The caller judges the figure.
        let _ = wait_until(limit, || memory() <= mebibytes);
        Ok(memory())
    }

    /// Metrics, as text.
    pub fn metrics(&self) -> anyhow::Result<String> {
        let host = format!("127.0.0.1:{}", self.metrics_port);
        Ok(http::get(&host, "/metrics", "*/*")?.text())
    }

    /// Output of the process.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// Raises this process's own limit of descriptors, for generators of many connections.
pub fn raise_descriptor_limit() -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, "--nofile=16384"]).status()?;
    anyhow::ensure!(status.success(), "prlimit: {status}");
    Ok(())
}

/// Processor time of a process; the system counts hundredths of a second.
pub fn processor(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in parentheses, may have blanks.
    let fields = stat.rsplit_once(')').context("stat")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: Vec<u64> = ticks.collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

fn read_pid(file: &PathBuf) -> anyhow::Result<u32> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    text.trim().parse().with_context(|| format!("{}: {text:?}", file.display()))
}
