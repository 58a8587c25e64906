//! `cargo xtask bench`: Sealgate and real cosign on the same images in the same run, and the gate
//! under load; or two programs of Sealgate in turns, `--against PROGRAM`. Prints a table of figures and
//! their ratios; `bench/README.md` keeps the last one.
//!
//! Figures are whole processes as a user runs them: start-up, network on loopback, exit.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

mod gate;
mod images;
mod keyless;
mod measure;
mod startup;
mod table;
mod verify;

/// The command line: `[verify|keyless|gate] [--against PROGRAM]`.
struct Arguments {
    part: Option<String>,
    /// Another program of Sealgate, which is measured beside this one in the place of cosign.
    against: Option<PathBuf>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut arguments = Self { part: None, against: None };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--against" => {
                    let path = words.next().context("--against wants the path of a program")?;
                    arguments.against = Some(PathBuf::from(path));
                }
                "verify" | "keyless" | "gate" if arguments.part.is_none() => {
                    arguments.part = Some(word);
                }
                _ => bail!("{word:?}: usage: [verify|keyless|gate] [--against PROGRAM]"),
            }
        }
        Ok(arguments)
    }

    fn wants(&self, part: &str) -> bool {
        self.part.as_deref().is_none_or(|only| only == part)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    match &arguments.against {
        Some(_) if arguments.part.as_deref() == Some("keyless") => {
            bail!("--against measures verify and gate")
        }
        Some(old) => {
            table::print_head(["new", "old", "ratio (above 1: better)"]);
            if arguments.wants("verify") {
                table::print(&verify::against(old)?);
            }
            if arguments.wants("gate") {
                table::print(&gate::against(old)?);
            }
        }
        None => {
            table::print_head(["sealgate", "cosign 3.1.3", "ratio"]);
            if arguments.wants("verify") {
                table::print(&verify::run()?);
            }
            if arguments.wants("keyless") {
                table::print(&keyless::run()?);
            }
            if arguments.wants("gate") {
                table::print(&gate::run()?);
            }
        }
    }
    Ok(())
}
