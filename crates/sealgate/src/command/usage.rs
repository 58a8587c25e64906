//! The errors of command lines that cannot be parsed, and the commands that this version does not
//! have.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::cli;
use crate::failure::{CliError, Outcome, exit};
use crate::session::Session;
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

/// Commands below another that this version does not have yet.
const LATER_BELOW: [(&str, &str); 4] = [
    ("attach", "attestation"),
    ("attach", "sbom"),
    ("download", "attestation"),
    ("download", "sbom"),
];

/// Prints help, or the error of a command line: cosign's line first.
pub(crate) fn explain(error: &clap::Error, program: &str, arguments: &[OsString]) -> ExitCode {
    match error.kind() {
        // Help without a request goes to standard output as well, as in cosign.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Printing fails only where the reader has closed standard output.
            let _ = write!(std::io::stdout(), "{}", error.render());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            terminal::show(wrong(error, &Called::of(program, arguments)).render());
            ExitCode::from(exit::FAILED)
        }
    }
}

/// The command that a command line calls.
struct Called {
    command: Command,
    words: Vec<String>,
}

impl Called {
    fn of(program: &str, arguments: &[OsString]) -> Self {
        let mut called = Self { command: cli::command(program), words: vec![program.to_owned()] };
        for word in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
            if let Some(below) = called.command.find_subcommand(word).cloned() {
                called.words.push(below.get_name().to_owned());
                called.command = below;
            }
        }
        called
    }

    fn name(&self) -> String {
        self.words.join(" ")
    }

    /// The flag as cosign names it, `-t, --timeout`, from clap's `--timeout <DURATION>`.
    fn flag(&self, named: &str) -> String {
        let long = named.split([' ', '[', '=']).next().unwrap_or(named);
        let is_named =
            |arg: &&Arg| arg.get_long().is_some_and(|l| long.strip_prefix("--") == Some(l));
        match self.command.get_arguments().find(is_named).and_then(Arg::get_short) {
            Some(short) => format!("-{short}, {long}"),
            None => long.to_owned(),
        }
    }

    /// The missing arguments and flags, in cosign's words.
    fn missing(&self, names: &[String]) -> String {
        let missing = names.iter().filter(|name| name.starts_with('<')).count();
        if missing == 0 {
            let flags: Vec<_> = names.iter().map(|name| long_name(name)).collect();
            return format!("required flag(s) \"{}\" not set", flags.join("\", \""));
        }
        let positions = self.command.get_positionals();
        let (many, one): (Vec<_>, Vec<_>) = positions.partition(|arg| takes_many(arg));
        let wanted =
            (many.len() + one.iter().filter(|arg| arg.is_required_set()).count()).max(missing);
        let given = wanted - missing;
        match many.is_empty() {
            true => format!("accepts {wanted} arg(s), received {given}"),
            false => format!("requires at least {wanted} arg(s), only received {given}"),
        }
    }
}

fn takes_many(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.max_values() > 1)
        || matches!(arg.get_action(), ArgAction::Append)
}

/// The name of a flag: `dir` of `--dir <DIR>`.
fn long_name(named: &str) -> &str {
    let long = named.split([' ', '[', '=']).next().unwrap_or(named);
    long.trim_start_matches('-')
}

fn wrong(error: &clap::Error, called: &Called) -> CliError {
    if let (ErrorKind::InvalidSubcommand, Some(word)) =
        (error.kind(), context(error, ContextKind::InvalidSubcommand).pop())
    {
        return unknown_below(&word, called);
    }
    let message = message(error, called);
    let rendered = error.to_string();
    let details = rendered.lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
    // The first line is the message already.
    let says_more = |line: &&str| {
        let about_usage = line.starts_with("Usage:") || line.contains("--help");
        let guess = line.contains("a similar argument exists") || line.contains("as a value, use");
        !about_usage && !guess && !message.ends_with(*line)
    };
    let shown = details.filter(says_more).fold(CliError::new(&message), CliError::note);
    let shown = match reason(error) {
        Some(reason) if !message.contains(&reason) => shown.note(reason),
        _ => shown,
    };
    let shown = match meant_flag(error, called) {
        Some(flag) => shown.note(format!("did you mean `--{flag}`?")),
        None => shown,
    };
    shown.note(format!("see `{} --help`", called.name()))
}

fn context(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// The reason why a value was refused.
fn reason(error: &clap::Error) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

fn message(error: &clap::Error, called: &Called) -> String {
    let named = context(error, ContextKind::InvalidArg);
    let first = named.first().map(String::as_str).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if first.starts_with("--") => format!("unknown flag: {first}"),
        ErrorKind::UnknownArgument if first.starts_with('-') => {
            let letter = first.trim_start_matches('-');
            format!("unknown shorthand flag: '{letter}' in {first}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => invalid(error, called, first),
        ErrorKind::MissingRequiredArgument => called.missing(&named),
        _ => {
            let rendered = error.to_string();
            let line = rendered.lines().next().unwrap_or("the command line cannot be read");
            line.trim_start_matches("error: ").to_owned()
        }
    }
}

fn invalid(error: &clap::Error, called: &Called, named: &str) -> String {
    let value = context(error, ContextKind::InvalidValue).pop().unwrap_or_default();
    match (named.starts_with('-'), reason(error)) {
        (true, None) if value.is_empty() => {
            format!("flag needs an argument: {}", called.flag(named))
        }
        (true, reason) => {
            let why = reason.map(|why| format!(": {why}")).unwrap_or_default();
            format!("invalid argument {value:?} for \"{}\" flag{why}", called.flag(named))
        }
        // Arguments with a parser are references.
        (false, Some(_)) => format!("could not parse reference: {value}"),
        (false, None) => format!("invalid argument {value:?} for {:?}", called.name()),
    }
}

/// The error of an unknown command; `help` is one of cosign's.
pub(crate) fn unknown(words: &[OsString], session: &mut Session) -> Outcome {
    let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let called = Called::of(session.program, words);
    if word == "help" {
        return session.print(called.command.clone().render_long_help().to_string());
    }
    if LATER.contains(&word.as_str()) {
        return Err(later(&word, &called));
    }
    Err(unknown_below(&word, &Called::of(session.program, &[])))
}

fn later(words: &str, called: &Called) -> CliError {
    let program = called.words.first().map(String::as_str).unwrap_or_default();
    let why = format!("it comes with a later version; see `{program} --help` for what is there");
    CliError::unsupported(&format!("the command {words:?}"), &why)
}

/// The error of an unknown subcommand of `called`.
fn unknown_below(word: &str, called: &Called) -> CliError {
    let above = called.words.get(1).map(String::as_str).unwrap_or_default();
    if LATER_BELOW.contains(&(above, word)) {
        return later(&format!("{above} {word}"), called);
    }
    let name = called.name();
    let error = CliError::new(format!("unknown command {word:?} for {name:?}"));
    let error = match meant(word, &called.command) {
        Some(meant) => error.note(format!("did you mean `{name} {meant}`?")),
        None => error,
    };
    error.note(format!("see `{name} --help`"))
}

/// The command that is most similar to `word`, if any is similar.
fn meant(word: &str, above: &Command) -> Option<String> {
    let names = above.get_subcommands().filter(|command| !command.is_hide_set());
    nearest(word, names.map(Command::get_name))
}

/// The flag that is most similar to the unknown one.
fn meant_flag(error: &clap::Error, called: &Called) -> Option<String> {
    let unknown = context(error, ContextKind::InvalidArg).pop()?;
    let word = unknown.strip_prefix("--").filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let flags = called.command.get_arguments().filter(|arg| !arg.is_hide_set());
    nearest(word, flags.filter_map(Arg::get_long))
}

fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let (steps, name) = names.map(|name| (distance(word, name), name)).min()?;
    (steps <= 2 && steps * 2 <= word.chars().count()).then(|| name.to_owned())
}

/// The edit distance: characters added, removed, changed, or swapped with the next one.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, one) in from.iter().enumerate() {
        let above = &rows[i];
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let changed = above[j] + usize::from(one != other);
            let mut steps = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *one == to[j - 1] && from[i - 1] == *other {
                steps = steps.min(rows[i - 1][j - 1] + 1);
            }
            row.push(steps);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let root = cli::command("sealgate");
        let meant = |word| meant(word, &root);
        assert_eq!(meant("verfy").as_deref(), Some("verify"));
        assert_eq!(meant("sing").as_deref(), Some("sign"));
        assert_eq!(meant("sgin").as_deref(), Some("sign"));
        assert_eq!(meant("generate-keypair").as_deref(), Some("generate-key-pair"));
        assert_eq!(meant("frobnicate"), None);
        assert_eq!(meant("x"), None);
        assert_eq!(meant(""), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
        assert_eq!((distance("ab", "ba"), distance("abc", "")), (1, 3));
    }

    #[test]
    fn the_command_that_is_called_is_found_behind_flags() {
        let name = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Called::of("cosign", &words).name()
        };
        assert_eq!(name(&["cosign", "-d", "attach", "signature", "x"]), "cosign attach signature");
        assert_eq!(name(&["cosign", "--nope"]), "cosign");
        assert_eq!(name(&[]), "cosign");
    }
}
