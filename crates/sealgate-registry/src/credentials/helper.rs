//! `docker-credential-NAME get`: the server's name on standard input, JSON on standard output.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Credential, Secret};

/// Cloud helpers go over the network themselves.
const TIMEOUT: Duration = Duration::from_secs(15);
const MAX_OUTPUT: u64 = 256 << 10;

/// A helper program that was found.
pub(super) struct Helper {
    name: String,
    program: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: Secret,
}

impl Helper {
    /// Looks for `docker-credential-<name>` in `search` (a `PATH`).
    pub(super) fn find(name: &str, search: Option<&OsStr>) -> Result<Self, Fault> {
        let clean = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if name.is_empty() || !name.bytes().all(clean) {
            return Err(fault(name, "is no name of a credential helper"));
        }
        let file = format!("docker-credential-{name}");
        std::env::split_paths(search.unwrap_or_default())
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&file))
            .find(|program| program.is_file())
            .map(|program| Self { name: name.to_owned(), program })
            .ok_or_else(|| fault(name, "is configured, but not found in PATH"))
    }

    /// Asks for the credentials of `server`; `None` where the helper has none.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>, Fault> {
        match tokio::time::timeout(TIMEOUT, self.run(server)).await {
            Ok(result) => result,
            Err(_) => {
                let detail = format!("gave no answer within {} s", TIMEOUT.as_secs());
                Err(Fault::new(FaultKind::Timeout, target(&self.name), detail))
            }
        }
    }

    async fn run(&self, server: &str) -> Result<Option<Credential>, Fault> {
        let failed = |e: std::io::Error| fault(&self.name, &format!("cannot be run: {e}"));
        let mut child = tokio::process::Command::new(&self.program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input may have closed it: its answer counts.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut output = Zeroizing::new(Vec::new());
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT).read_to_end(&mut output).await.map_err(failed)?;
        }
        let status = child.wait().await.map_err(failed)?;
        self.read(status.success(), &output)
    }

    fn read(&self, success: bool, output: &[u8]) -> Result<Option<Credential>, Fault> {
        if !success {
            let text = String::from_utf8_lossy(output);
            // The helpers' protocol has no code for it, only this sentence.
            if text.contains("credentials not found") || text.contains("no credentials") {
                return Ok(None);
            }
            return Err(fault(&self.name, "failed"));
        }
        let answer: Answer = serde_json::from_slice(output)
            .map_err(|_| fault(&self.name, "answered with something that is not its JSON"))?;
        Ok(match answer.username.as_str() {
            _ if answer.secret.reveal().is_empty() => None,
            "<token>" => Some(Credential::Refresh(answer.secret)),
            "" => None,
            name => {
                Some(Credential::Password { username: name.to_owned(), password: answer.secret })
            }
        })
    }
}

fn target(name: &str) -> String {
    format!("credential helper {name:?}")
}

fn fault(name: &str, detail: &str) -> Fault {
    Fault::new(FaultKind::Config, target(name), detail)
}
