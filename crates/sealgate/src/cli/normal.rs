//! The differences between Go's flags and clap's: single-dash long flags, booleans with an optional
//! value, and a `COSIGN_<FLAG>` variable for every flag.

use std::cell::LazyCell;
use std::ffi::OsString;

use clap::{Arg, Command};

use super::values::BOOL;

/// Commands whose flags have no variables, because the names have another meaning
/// (`COSIGN_PASSWORD` is the password of the key, not of the registry).
const WITHOUT_VARIABLES: [&str; 9] =
    ["login", "serve", "demo", "install", "uninstall", "completion", "man", "version", "env"];

/// Adapts the flags of a command to Go's behaviour.
pub(crate) fn adapt(command: Command) -> Command {
    let variables = !WITHOUT_VARIABLES.contains(&command.get_name());
    command
        .args_override_self(true)
        .mut_args(|arg| if variables { with_variable(levelled(arg)) } else { levelled(arg) })
        .mut_subcommands(adapt)
}

fn levelled(arg: Arg) -> Arg {
    if arg.is_positional() {
        // clap puts it under the heading of the flags that were declared before it.
        return arg.help_heading(None::<&str>);
    }
    let named = arg.get_value_names().is_some_and(|names| names.iter().any(|n| n == BOOL));
    if !named {
        return arg;
    }
    arg.num_args(0..=1).require_equals(true).default_missing_value("true")
}

/// Reads the flag's value from its variable, if that is not empty and the flag is not given.
fn with_variable(arg: Arg) -> Arg {
    let Some(long) = arg.get_long() else { return arg };
    let name = variable(long);
    match std::env::var_os(&name) {
        Some(value) if !value.is_empty() => arg.env(name).hide_env(true),
        _ => arg,
    }
}

/// The variable of a flag: `COSIGN_REGISTRY_TOKEN` for `registry-token`.
pub(crate) fn variable(flag: &str) -> String {
    format!("COSIGN_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// The arguments with `-key x` replaced by `--key x`, and a warning for each. The `whole` command
/// line is built only if an argument has the old form.
pub(crate) fn arguments(
    whole: impl FnOnce() -> Command,
    arguments: impl Iterator<Item = OsString>,
) -> (Vec<OsString>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut literal = false;
    let whole = LazyCell::new(whole);
    let rewritten = arguments
        .enumerate()
        .map(|(position, argument)| {
            literal |= argument == "--";
            let text = argument.to_str().filter(|_| position > 0 && !literal);
            match text.and_then(|text| modern(text, &whole)) {
                Some((modern, warning)) => {
                    warnings.push(warning);
                    modern.into()
                }
                None => argument,
            }
        })
        .collect();
    (rewritten, warnings)
}

/// The current form of an argument in the old form, with cosign's warning.
fn modern(
    text: &str,
    whole: &LazyCell<Command, impl FnOnce() -> Command>,
) -> Option<(String, String)> {
    if let Some(short) = text.strip_prefix("--").filter(|rest| rest.chars().count() == 1) {
        let modern = format!("-{short}");
        let warning = format!(
            "the flag {text} is deprecated and will be removed in a future release. Please use \
             the flag {modern}."
        );
        return Some((modern, warning));
    }
    let rest = text.strip_prefix('-').filter(|rest| rest.len() > 1 && !rest.starts_with('-'))?;
    let name = rest.split('=').next().unwrap_or(rest);
    let (modern, kind) = match name {
        "version" => ("version".to_owned(), "subcommand"),
        name if has_long_flag(whole, name) => (format!("-{text}"), "flag"),
        _ => return None,
    };
    let warning = format!(
        "the {text} flag is deprecated and will be removed in a future release. Please use the \
         {modern} {kind} instead."
    );
    Some((modern, warning))
}

/// True if the command, or a subcommand, has a flag of this long name.
fn has_long_flag(command: &Command, name: &str) -> bool {
    let is_named = |arg: &Arg| {
        arg.get_long() == Some(name)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    };
    command.get_arguments().any(is_named)
        || command.get_subcommands().any(|sub| has_long_flag(sub, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("sealgate").subcommand(
            Command::new("sign")
                .arg(Arg::new("key").long("key"))
                .arg(Arg::new("yes").long("yes").short('y').value_name(BOOL)),
        )
    }

    fn rewrite(given: &[&str]) -> (Vec<OsString>, Vec<String>) {
        arguments(command, given.iter().map(OsString::from))
    }

    #[test]
    fn single_dash_flags_are_rewritten_with_a_warning() {
        let (now, warnings) = rewrite(&["sealgate", "sign", "-key", "k", "-key=k", "-y", "img"]);
        assert_eq!(now, ["sealgate", "sign", "--key", "k", "--key=k", "-y", "img"]);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].starts_with("the -key flag is deprecated"), "{warnings:?}");
    }

    #[test]
    fn short_flags_with_two_dashes_and_version() {
        assert_eq!(rewrite(&["x", "--y"]).0, ["x", "-y"]);
        assert_eq!(rewrite(&["x", "-version"]).0, ["x", "version"]);
    }

    #[test]
    fn values_and_what_follows_two_dashes_are_left_alone() {
        let given = ["x", "-", "-abc", "--", "-key"];
        let (now, warnings) = rewrite(&given);
        assert_eq!(now, given);
        assert!(warnings.is_empty());
    }

    #[test]
    fn booleans_take_an_optional_value() {
        let parse = |arguments: &[&str]| {
            let matches = adapt(command()).try_get_matches_from(arguments).unwrap();
            let sign = matches.subcommand_matches("sign").unwrap();
            sign.get_one::<String>("yes").cloned()
        };
        assert_eq!(parse(&["x", "sign", "--yes"]).as_deref(), Some("true"));
        assert_eq!(parse(&["x", "sign", "-y=false"]).as_deref(), Some("false"));
        assert_eq!(parse(&["x", "sign", "--yes=false", "--yes"]).as_deref(), Some("true"));
        assert_eq!(parse(&["x", "sign"]), None);
    }

    #[test]
    fn names_variables_as_cosign_does() {
        assert_eq!(variable("registry-token"), "COSIGN_REGISTRY_TOKEN");
    }
}
