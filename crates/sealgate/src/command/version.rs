//! `version`: prints the version in cosign's format, for scripts that parse it.

use clap::Args;
use serde_json::json;

use crate::cli::values::{BOOL, go_bool};
use crate::failure::Outcome;
use crate::session::Session;

/// The version of cosign whose formats, flags and texts the program follows.
const COSIGN: &str = "v3.1.3";

/// Print the version
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Print the version as JSON
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    json: Option<bool>,
}

pub(crate) fn run(args: VersionArgs, session: &mut Session) -> Outcome {
    let ours = concat!("v", env!("CARGO_PKG_VERSION"));
    // Scripts choose cosign's flags by this version; the program name distinguishes the two.
    let version = if session.program == "cosign" { COSIGN } else { ours };
    let platform = format!("{}/{}", std::env::consts::OS, architecture());
    let commit = option_env!("SEALGATE_COMMIT").unwrap_or("unknown");
    let date = option_env!("SEALGATE_BUILD_DATE").unwrap_or("unknown");
    if args.json == Some(true) {
        let document = json!({
            "schema": crate::output::schema("version"),
            "gitVersion": version,
            "gitCommit": commit,
            "gitTreeState": "unknown",
            "buildDate": date,
            "goVersion": "",
            "compiler": "rustc",
            "platform": platform,
            "name": "sealgate",
            "sealgateVersion": ours,
            "cosignVersion": COSIGN,
        });
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| crate::failure::CliError::new(error.to_string()))?;
        return session.line(text);
    }
    session.print(format!(
        "sealgate: signs and verifies container images, enforces policies in a Kubernetes cluster\n\n\
         GitVersion:    {version}\n\
         GitCommit:     {commit}\n\
         BuildDate:     {date}\n\
         Compiler:      rustc\n\
         Platform:      {platform}\n\
         Sealgate:      {ours}\n\
         Follows:       cosign {COSIGN}\n"
    ))
}

/// The processor architecture in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
