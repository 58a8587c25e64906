//! Docker credential helpers: `docker-credential-NAME get` and `store`, with JSON on standard input
//! and output.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Credential, Secret};
use crate::reply::printable;

/// Time limit of one helper call. Cloud helpers use the network.
const TIMEOUT: Duration = Duration::from_secs(15);
const MAX_OUTPUT: u64 = 256 << 10;

/// Credential helper program found in `PATH`.
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

/// Destination of a credential helper's error message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HelperErrors {
    /// Part of the fault, for a reader who configured the helper.
    #[default]
    InFault,
    /// Log only, for faults read by others: standard error is logged; standard output, which may
    /// hold a credential, is dropped.
    InLog,
}

/// Output of a helper process.
struct Output {
    status: ExitStatus,
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<Vec<u8>>,
}

impl Helper {
    /// Looks for `docker-credential-<name>` in `search` (a `PATH`).
    pub(super) fn find(name: &str, search: Option<&OsStr>) -> Result<Self, Fault> {
        let clean = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if name.is_empty() || !name.bytes().all(clean) {
            return Err(fault(name, "is not a valid credential helper name"));
        }
        let file = format!("docker-credential-{name}");
        std::env::split_paths(search.unwrap_or_default())
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&file))
            .find(|program| program.is_file())
            .map(|program| Self { name: name.to_owned(), program })
            .ok_or_else(|| fault(name, "is configured, but not found in PATH"))
    }

    /// Credential for `server`; `None` when the helper has none.
    pub(super) async fn get(
        &self,
        server: &str,
        words: HelperErrors,
    ) -> Result<Option<Credential>, Fault> {
        let output = self.run("get", server.as_bytes()).await?;
        if output.status.success() {
            return self.read(&output.stdout);
        }
        match words {
            _ if output.reports_none() => Ok(None),
            HelperErrors::InFault => Err(self.failed(&output, &[])),
            HelperErrors::InLog => {
                let (status, words) = (output.status, printable(&error_message_of(&output.stderr)));
                tracing::warn!(helper = self.name, %status, words, "a credential helper failed");
                Err(fault(&self.name, "failed; see the gate's log for its error message"))
            }
        }
    }

    /// Stores a user name and a password for `server` in the helper.
    pub(super) async fn store(
        &self,
        server: &str,
        username: &str,
        password: &Secret,
    ) -> Result<(), Fault> {
        let entry = serde_json::json!({
            "ServerURL": server, "Username": username, "Secret": password.reveal(),
        });
        let input = Zeroizing::new(entry.to_string());
        let output = self.run("store", input.as_bytes()).await?;
        if output.status.success() {
            return Ok(());
        }
        let pair = Zeroizing::new(format!("{username}:{}", password.reveal()));
        let secrets = [password.clone(), Secret::new(STANDARD.encode(pair.as_bytes()))];
        Err(self.failed(&output, &secrets))
    }

    async fn run(&self, action: &str, input: &[u8]) -> Result<Output, Fault> {
        let failed = |e: std::io::Error| fault(&self.name, &format!("cannot be run: {e}"));
        match tokio::time::timeout(TIMEOUT, self.exchange(action, input)).await {
            Ok(result) => result.map_err(failed),
            Err(_) => {
                let detail = format!("timed out after {} s", TIMEOUT.as_secs());
                Err(Fault::new(FaultKind::Timeout, target(&self.name), detail))
            }
        }
    }

    async fn exchange(&self, action: &str, input: &[u8]) -> std::io::Result<Output> {
        let mut child = tokio::process::Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // A helper that does not read its input may have closed it; its output still
                // counts.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Concurrently: a helper may block on either pipe.
        let ((), stdout, stderr) = tokio::try_join!(write, beginning(stdout), beginning(stderr))?;
        Ok(Output { status: child.wait().await?, stdout, stderr })
    }

    fn read(&self, stdout: &[u8]) -> Result<Option<Credential>, Fault> {
        let answer: Answer = serde_json::from_slice(stdout)
            .map_err(|_| fault(&self.name, "returned invalid JSON"))?;
        Ok(match answer.username.as_str() {
            _ if answer.secret.reveal().is_empty() => None,
            "<token>" => Some(Credential::Refresh(answer.secret)),
            "" => None,
            name => {
                Some(Credential::Password { username: name.to_owned(), password: answer.secret })
            }
        })
    }

    fn failed(&self, output: &Output, secrets: &[Secret]) -> Fault {
        let words =
            secrets.iter().fold(output.error_message(), |words, secret| secret.redact(&words));
        match printable(&words) {
            words if words.is_empty() => fault(&self.name, &format!("failed ({})", output.status)),
            words => fault(&self.name, &format!("failed ({}): {words}", output.status)),
        }
    }
}

impl Output {
    /// Returns whether the helper has no credential for this server. The protocol has no code for
    /// it, so known messages of Docker's and other helpers are matched.
    fn reports_none(&self) -> bool {
        let text = self.error_message().to_ascii_lowercase();
        // Messages of Docker's helpers about incomplete requests.
        let lacks = ["no credentials server url", "no credentials username"];
        let none = ["credentials not found", "no stored credential", "no credentials"];
        let says = |sentences: &[&str]| sentences.iter().any(|sentence| text.contains(sentence));
        says(&none) && !says(&lacks)
    }

    /// Error message of the helper: standard output, as the protocol says, otherwise standard
    /// error. A JSON response is never used as a message: it holds a secret.
    fn error_message(&self) -> String {
        let messages = [error_message_of(&self.stdout), error_message_of(&self.stderr)];
        messages.into_iter().find(|words| !words.is_empty()).unwrap_or_default()
    }
}

/// Error message in an output; empty for a JSON response.
fn error_message_of(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let is_answer = text.contains('{') || text.contains("Secret");
    if is_answer { String::new() } else { text.trim().to_owned() }
}

/// Reads at most `MAX_OUTPUT` bytes from a pipe, then closes it.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn target(name: &str) -> String {
    format!("credential helper {name:?}")
}

fn fault(name: &str, detail: &str) -> Fault {
    Fault::new(FaultKind::Config, target(name), detail)
}
