//! `cargo xtask`: entry point of all development tasks.
//!
//! This file holds the table of tasks; each task is a file of its own. To add one, write its
//! `pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()>` and add it to [`TASKS`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

mod bench;
mod borders;
mod command;
mod cycles;
mod fuzz;
mod servers;
mod test;

/// Development task.
struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        arguments: "[--quick] [FILTER]",
        about: "runs all checks and tests; --quick: only those that need no server",
        run: test::run,
    },
    Task {
        name: "install",
        arguments: "",
        about: "installs the servers and clients used by the tests",
        run: servers::run,
    },
    Task {
        name: "borders",
        arguments: "",
        about: "dependencies between crates, and import cycles between the modules of a crate",
        run: borders::run,
    },
    Task {
        name: "bench",
        arguments: "[PART] [--against PROGRAM]",
        about: "verify, keyless, gate: beside real cosign or an older sealgate, in release builds; \
                abuse: the gate beside hostile tenants",
        run: bench::run,
    },
    Task {
        name: "fuzz",
        arguments: "[SECONDS] [TARGET]",
        about: "fuzzes each parser of untrusted input, one minute each",
        run: fuzz::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        usage();
        return Ok(ExitCode::from(2));
    };
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        usage();
        return Ok(ExitCode::from(if name == "help" || name == "--help" { 0 } else { 2 }));
    };
    (task.run)(rest)?;
    Ok(ExitCode::SUCCESS)
}

fn usage() {
    eprintln!("usage: cargo xtask TASK\n");
    for task in TASKS {
        eprintln!("  {:32} {}", format!("{} {}", task.name, task.arguments), task.about);
    }
}

/// Root directory of the workspace.
fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).context("xtask has no parent folder")
}
