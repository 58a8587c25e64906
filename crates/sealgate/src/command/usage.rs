//! Command lines that cannot be read, and commands that this version does not have.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::{CliError, Outcome, exit};
use crate::terminal;

/// Commands of cosign that this version does not have yet.
const LATER: [&str; 13] = [
    "attest",
    "attest-blob",
    "bundle",
    "debug",
    "dockerfile",
    "generate",
    "manifest",
    "piv-tool",
    "pkcs11-tool",
    "signing-config",
    "trusted-root",
    "upload",
    "verify-attestation",
];

/// Shows help, or says what is wrong with a command line: cosign's line first.
pub(crate) fn explain(error: &clap::Error, program: &str) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // Printing help can only fail where nobody reads it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let message = message(error);
    let rendered = error.to_string();
    let details = rendered.lines().skip(1).map(str::trim_end).filter(|line| !line.is_empty());
    let mut shown = CliError::new(&message);
    for line in details.filter(|line| !line.starts_with("Usage:") && !line.contains("--help")) {
        shown = shown.note(line.trim_start());
    }
    terminal::show(shown.note(format!("see `{program} --help`")).render());
    ExitCode::from(exit::FAILED)
}

fn message(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let flag = context(ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with("--") => format!("unknown flag: {flag}"),
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            format!("unknown shorthand flag: {flag}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let why = std::error::Error::source(error).map(|why| format!(": {why}"));
            format!("invalid argument {value:?} for {flag:?} flag{}", why.unwrap_or_default())
        }
        ErrorKind::MissingRequiredArgument => format!("required argument(s) missing: {flag}"),
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or("the command line cannot be read");
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

/// A word that is no command of ours.
pub(crate) fn unknown(words: &[OsString], program: &str) -> Outcome {
    let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if word == "verify-blob-attestation" || LATER.contains(&word.as_str()) {
        let why = "it comes with a later version; signing and verifying with keys works now";
        return Err(CliError::unsupported(&format!("the command {word:?}"), why));
    }
    Err(CliError::new(format!("unknown command {word:?} for {program:?}"))
        .note(format!("see `{program} --help`")))
}
