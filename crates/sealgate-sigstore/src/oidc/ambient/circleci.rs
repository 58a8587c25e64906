//! CircleCI: its command-line tool issues tokens for any audience; `CIRCLE_OIDC_TOKEN_V2` has the
//! audience configured by the organization.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::{AUDIENCE, checked};
use crate::oidc::claims::MAX_TOKEN;
use crate::oidc::token_environment::TokenEnvironment;
use sealgate_http::Secret;

const TOKEN: &str = "CIRCLE_OIDC_TOKEN_V2";
const PROGRAM: &str = "circleci";
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn is_available(environment: &TokenEnvironment) -> bool {
    environment.variable("CIRCLECI").is_some()
        && (environment.program(PROGRAM).is_some() || environment.variable(TOKEN).is_some())
}

pub(super) async fn token(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    if let Some(program) = environment.program(PROGRAM) {
        let late = |_| Fault::new(FaultKind::Timeout, PROGRAM, "returned no token within 30 s");
        let text = tokio::time::timeout(TIMEOUT, run(&program)).await.map_err(late)??;
        return checked(Some(Secret::new(text.trim())), PROGRAM);
    }
    let unset = || {
        let detail =
            format!("is not set, and the program {PROGRAM} was not found: not a CircleCI job");
        Fault::new(FaultKind::Config, TOKEN, detail)
    };
    checked(Some(Secret::new(environment.variable(TOKEN).ok_or_else(unset)?)), TOKEN)
}

/// Runs `circleci run oidc get`, which prints the token.
async fn run(program: &Path) -> Result<Zeroizing<String>, Fault> {
    let failed = |why: String| Fault::new(FaultKind::Config, PROGRAM, why);
    let broken = |error: std::io::Error| failed(format!("cannot be run: {error}"));
    let wanted = serde_json::json!({ "aud": AUDIENCE }).to_string();
    let mut child = tokio::process::Command::new(program)
        .args(["run", "oidc", "get", "--claims", &wanted])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let mut output = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_TOKEN as u64 + 2).read_to_end(&mut output).await.map_err(broken)?;
    }
    let status = child.wait().await.map_err(broken)?;
    if !status.success() {
        return Err(failed(format!("`{PROGRAM} run oidc get` failed: {status}")));
    }
    let text = std::str::from_utf8(&output);
    text.map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| failed("did not print a token".to_owned()))
}
