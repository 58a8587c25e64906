//! `cargo xtask test`: every check and every test, locally and in `.ci/run`.
//!
//! A failing step does not prevent the next ones; any failure fails the task. The tests come last,
//! so that their summary is printed last.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::{command, servers};

/// Selection of tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    /// Only tests that need no server. All others need one and fail without it: a security test is
    /// never skipped automatically.
    quick: bool,
    /// Only tests whose name contains this; lints are skipped then.
    filter: Option<String>,
}

/// Sum of the test runner's `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// `cargo xtask test [--quick] [FILTER]`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let selection = parse(arguments)?;
    let mut failures = Vec::new();
    if selection.filter.is_none() {
        failures.extend(lints().iter_mut().filter_map(failure));
        if !selection.quick {
            failures.extend(denied().err().map(|error| format!("{error:#}")));
        }
    }
    if !selection.quick {
        servers::install()?;
    }
    failures.extend(failure(command::cargo().args(["build", "--workspace"])));
    let (tally, all_good) = tests(&selection)?;
    if !failures.is_empty() {
        println!("failed checks:\n  {}", failures.join("\n  "));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if !all_good || !failures.is_empty() {
        bail!("some checks or tests failed");
    }
    Ok(())
}

fn parse(arguments: &[String]) -> anyhow::Result<Selection> {
    let mut selection = Selection::default();
    for argument in arguments {
        match argument.as_str() {
            "--quick" => selection.quick = true,
            flag if flag.starts_with('-') => bail!("unknown flag {flag}"),
            filter if selection.filter.is_none() => selection.filter = Some(filter.to_owned()),
            other => bail!("only one FILTER is allowed, found another: {other}"),
        }
    }
    Ok(selection)
}

fn lints() -> [Command; 2] {
    let cargo = |words: &[&str]| {
        let mut cargo = command::cargo();
        cargo.args(words);
        cargo
    };
    [
        cargo(&["fmt", "--all", "--check"]),
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ]
}

/// Licences, bans and sources. Advisories come from a git repository, which may be unreachable from
/// a test machine: `cargo deny check advisories`.
fn denied() -> anyhow::Result<()> {
    let mut deny = Command::new(servers::cargo_deny()?);
    command::run(deny.args(["check", "licenses", "bans", "sources"]))
}

/// Runs a step; returns its error, if any.
fn failure(step: &mut Command) -> Option<String> {
    command::run(step).err().map(|error| format!("{error:#}"))
}

fn tests(selection: &Selection) -> anyhow::Result<(Tally, bool)> {
    let mut cargo = command::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if selection.quick {
        cargo.args(["--exclude", "sealgate-tests"]);
    }
    cargo.arg("--");
    if !selection.quick {
        // These tests need the servers that have been installed above.
        cargo.arg("--include-ignored");
    }
    cargo.args(&selection.filter);
    command::announce(&cargo);
    count(&mut cargo)
}

/// Runs the tests, passes their output on, and adds up their results.
fn count(cargo: &mut Command) -> anyhow::Result<(Tally, bool)> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cargo test did not start")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}")?;
        tally.add(&line);
    }
    Ok((tally, child.wait()?.success()))
}

impl Tally {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split([' ', ';']).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out");
        tally.add("test result: FAILED. 1 passed; 2 failed; 0 ignored");
        tally.add("running 7 passed");
        assert_eq!(tally, Tally { passed: 13, failed: 2 });
    }

    #[test]
    fn arguments_are_read() {
        let parse = |words: &[&str]| {
            parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        let gate = Selection { quick: false, filter: Some("gate".to_owned()) };
        assert_eq!(parse(&["gate"]).unwrap(), gate);
        assert!(parse(&["--quick"]).unwrap().quick);
        assert!(parse(&["--quik"]).is_err());
        assert!(parse(&["one", "two"]).is_err());
    }
}
