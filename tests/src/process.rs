//! Servers as child processes: on a free loopback port, with a log, ready before use, and stopped
//! when the test process ends for any reason.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Runs a server until standard input closes: when the test process drops it or dies, even by
/// SIGKILL. The server (a job, and so a process group of its own) is then killed. A line of input
/// is a signal for the server. If the server ends by itself, so does its guard.
const GUARD: &str = r#"
set -m
("$@" </dev/null; kill -TERM $$) & job=$!
while read -r signal; do kill -"$signal" -- -$job; done
kill -KILL -- -$job
wait
"#;

/// Running server; killed when dropped.
pub struct Server {
    guard: Child,
    log: PathBuf,
}

/// Launch configuration of a server.
pub struct Launch {
    name: String,
    command: Command,
}

impl Launch {
    /// Runs `program` under the guard; `name` is used for the log file.
    pub fn new(name: &str, program: impl AsRef<Path>) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", GUARD, "guard"]).arg(program.as_ref());
        Self { name: name.to_owned(), command }
    }

    /// Command, for adding arguments and environment variables.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts the server, and waits until `ready` returns true.
    pub fn start(mut self, ready: impl Fn() -> bool) -> anyhow::Result<Server> {
        let log = log_folder()?.join(format!("{}.log", self.name));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let errors = file.try_clone()?;
        let guard = self
            .command
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        let mut server = Server { guard, log };
        let mut ended = false;
        let done = || {
            ended = matches!(server.guard.try_wait(), Ok(Some(_)));
            ended || ready()
        };
        let waited = wait_until(Duration::from_secs(60), done);
        if ended || waited.is_err() {
            let what = if ended { "ended" } else { "is not ready" };
            bail!("{} {what}; its log ends:\n{}", self.name, server.log_end());
        }
        Ok(server)
    }
}

impl Server {
    /// Output of the server so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Last lines of the output.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks the server to terminate (SIGTERM), as a node does.
    pub fn terminate(&mut self) {
        if let Some(stdin) = &mut self.guard.stdin {
            // If the guard has ended, so has the server.
            let _ = stdin.write_all(b"TERM\n");
        }
    }

    /// Kills the server (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Polls until `is_so` returns true.
pub fn wait_until(limit: Duration, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > limit {
            bail!("still not so after {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Returns whether a process listens on a loopback port.
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Unused loopback port.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Log directory: `target/tests-logs`.
fn log_folder() -> anyhow::Result<PathBuf> {
    let folder = target_folder()?.join("tests-logs");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// `target`, the parent of the debug build's directory that the tests belong to.
pub fn target_folder() -> anyhow::Result<PathBuf> {
    let profile = crate::programs::profile_folder()?;
    Ok(profile.parent().context("a profile folder has a parent")?.to_path_buf())
}
