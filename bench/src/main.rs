//! `cargo xtask bench`: Sealgate and real cosign on the same images in the same run, and the gate
//! under load; two programs of Sealgate in turns, `--against PROGRAM`; or the gate beside hostile
//! tenants, `abuse`. Prints a table of figures and their ratios; `bench/README.md` keeps the last one.
//!
//! Figures are whole processes as a user runs them: start-up, network on loopback, exit.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

mod abuse;
mod gate;
mod images;
mod keyless;
mod measure;
mod startup;
mod table;
mod verify;

const USAGE: &str = "usage: [verify|keyless|gate] [--against PROGRAM], \
                     or abuse [--seconds N] [--only KIND]... [--client-ca]";

/// The command line, see [`USAGE`].
struct Arguments {
    part: Option<String>,
    abuse: abuse::Settings,
    /// Another program of Sealgate, which is measured beside this one in the place of cosign.
    against: Option<PathBuf>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut arguments = Self { part: None, abuse: abuse::Settings::default(), against: None };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--against" => {
                    let path = words.next().context("--against wants the path of a program")?;
                    arguments.against = Some(PathBuf::from(path));
                }
                "--seconds" => {
                    let number = words.next().context("--seconds wants a number")?;
                    arguments.abuse.seconds = number.parse().context("--seconds")?;
                }
                "--only" => {
                    arguments.abuse.only.push(words.next().context("--only wants a kind")?);
                }
                "--client-ca" => arguments.abuse.clients = abuse::Clients::Certified,
                "verify" | "keyless" | "gate" | "abuse" if arguments.part.is_none() => {
                    arguments.part = Some(word);
                }
                _ => bail!("{word:?}: {USAGE}"),
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
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == abuse::PART).is_some() {
        return abuse::hostile_tenants(&words.collect::<Vec<_>>());
    }
    let arguments = Arguments::read(words)?;
    if arguments.part.as_deref() == Some("abuse") {
        let rows = abuse::run(&arguments.abuse)?;
        table::print_head(["alone", "beside 50 hostile tenants", "goal"]);
        table::print(&rows);
        return Ok(());
    }
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
