//! Command lines that cannot be read, and commands that this version does not have.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli;
use crate::failure::{CliError, Outcome, exit};
use crate::terminal;

/// Commands of cosign that this version does not have yet.
const LATER: [&str; 11] = [
    "attest",
    "attest-blob",
    "debug",
    "dockerfile",
    "generate",
    "manifest",
    "piv-tool",
    "pkcs11-tool",
    "upload",
    "verify-attestation",
    "verify-blob-attestation",
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
    let details = rendered.lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
    let mut shown = CliError::new(&message);
    // What the first line has said need not be said twice.
    let says_more = |line: &&str| !line.contains("--help") && !message.ends_with(*line);
    for line in details.filter(|line| !line.starts_with("Usage:")).filter(says_more) {
        shown = shown.note(line);
    }
    let command = command(&rendered).unwrap_or_else(|| program.to_owned());
    terminal::show(shown.note(format!("see `{command} --help`")).render());
    ExitCode::from(exit::FAILED)
}

/// The command that the usage line is about: its words before the first flag or value.
fn command(rendered: &str) -> Option<String> {
    let usage = rendered.lines().find_map(|line| line.strip_prefix("Usage: "))?;
    let words = usage.split(' ').take_while(|word| !word.starts_with(['-', '[', '<']));
    let words: Vec<&str> = words.collect();
    (!words.is_empty()).then(|| words.join(" "))
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
    if LATER.contains(&word.as_str()) {
        let why =
            format!("it comes with a later version; see `{program} --help` for what is there");
        return Err(CliError::unsupported(&format!("the command {word:?}"), &why));
    }
    let error = CliError::new(format!("unknown command {word:?} for {program:?}"));
    let error = match meant(&word) {
        Some(name) => error.note(format!("did you mean `{program} {name}`?")),
        None => error,
    };
    Err(error.note(format!("see `{program} --help`")))
}

/// The command that differs least from `word`, if that is little.
fn meant(word: &str) -> Option<String> {
    let root = cli::command("sealgate");
    let names = root.get_subcommands().filter(|command| !command.is_hide_set());
    let names = names.map(|command| (distance(word, command.get_name()), command.get_name()));
    let (steps, name) = names.min()?;
    (steps <= 2 && steps * 2 <= word.chars().count()).then(|| name.to_owned())
}

/// How many characters must be added, taken away or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, from) in from.chars().take(64).enumerate() {
        let mut next = vec![done + 1];
        for (at, (to, above)) in to.iter().zip(row.windows(2)).enumerate() {
            let changed = above[0] + usize::from(from != *to);
            next.push(changed.min(above[1] + 1).min(next[at] + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood() {
        assert_eq!(meant("verfy").as_deref(), Some("verify"));
        assert_eq!(meant("sing").as_deref(), Some("sign"));
        assert_eq!(meant("generate-keypair").as_deref(), Some("generate-key-pair"));
        assert_eq!(meant("frobnicate"), None);
        assert_eq!(meant("x"), None);
        assert_eq!(meant(""), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }

    #[test]
    fn the_usage_line_names_the_command() {
        let text = "error: x\n\nUsage: sealgate attach signature [OPTIONS] <IMAGE>\n";
        assert_eq!(command(text).as_deref(), Some("sealgate attach signature"));
        assert_eq!(command("error: x"), None);
    }
}
