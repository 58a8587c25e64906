//! CircleCI: its program issues tokens for any audience; `CIRCLE_OIDC_TOKEN_V2` is for the audience
//! that the organization has chosen.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::{AUDIENCE, checked};
use crate::oidc::claims::MAX_TOKEN;
use crate::oidc::surroundings::Surroundings;
use sealgate_http::Secret;

const TOKEN: &str = "CIRCLE_OIDC_TOKEN_V2";
const PROGRAM: &str = "circleci";
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn is_there(surroundings: &Surroundings) -> bool {
    surroundings.variable("CIRCLECI").is_some()
        && (surroundings.program(PROGRAM).is_some() || surroundings.variable(TOKEN).is_some())
}

pub(super) async fn token(surroundings: &Surroundings) -> Result<Secret, Fault> {
    if let Some(program) = surroundings.program(PROGRAM) {
        let late = |_| Fault::new(FaultKind::Timeout, PROGRAM, "gave no token within 30 s");
        let text = tokio::time::timeout(PATIENCE, run(&program)).await.map_err(late)??;
        return checked(Some(Secret::new(text.trim())), PROGRAM);
    }
    let unset = || {
        let detail = format!("is not set, and there is no program {PROGRAM}: no job of CircleCI's");
        Fault::new(FaultKind::Config, TOKEN, detail)
    };
    checked(Some(Secret::new(surroundings.variable(TOKEN).ok_or_else(unset)?)), TOKEN)
}

/// `circleci run oidc get`, which prints the token.
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
        .map_err(|_| failed("printed something that is no token".to_owned()))
}
