//! `cargo xtask bench`: Sealgate and real cosign on the same images in the same run, and the gate
//! under load. Prints a table of figures and their ratios; `bench/README.md` keeps the last one.
//!
//! Figures are whole processes as a user runs them: start-up, network on loopback, exit.

use std::process::ExitCode;

mod gate;
mod keyless;
mod measure;
mod verify;

/// One line of the result: what was measured, ours, the peer's.
#[derive(Clone)]
pub(crate) struct Row {
    what: String,
    ours: String,
    peer: String,
    ratio: String,
}

impl Row {
    /// A figure of which less is better, beside the peer's: the ratio says how many times less.
    pub(crate) fn against(what: &str, unit: &str, ours: f64, peer: f64) -> Self {
        let ratio = if ours > 0.0 { format!("{:.1} x less", peer / ours) } else { "-".to_owned() };
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.1} {unit}"),
            peer: format!("{peer:.1} {unit}"),
            ratio,
        }
    }

    /// A figure for many of something beside our own for one: the ratio says how many times more.
    pub(crate) fn grown(what: &str, unit: &str, many: f64, one: f64) -> Self {
        let ratio = if one > 0.0 { format!("{:.1} x more", many / one) } else { "-".to_owned() };
        Self {
            what: what.to_owned(),
            ours: format!("{many:.1} {unit}"),
            peer: format!("(ours, one: {one:.1} {unit})"),
            ratio,
        }
    }

    /// A figure with no peer in this run; `goal` is the one it was built to meet.
    pub(crate) fn alone(what: &str, ours: String, goal: &str) -> Self {
        Self { what: what.to_owned(), ours, peer: format!("(goal: {goal})"), ratio: String::new() }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(rows) => {
            print(&rows);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<Vec<Row>> {
    let only = std::env::args().nth(1);
    let wants = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut rows = Vec::new();
    if wants("verify") {
        rows.extend(verify::run()?);
    }
    if wants("keyless") {
        rows.extend(keyless::run()?);
    }
    if wants("gate") {
        rows.extend(gate::run()?);
    }
    Ok(rows)
}

fn print(rows: &[Row]) {
    println!("| measured | sealgate | cosign 3.1.3 | ratio |\n|---|---|---|---|");
    for Row { what, ours, peer, ratio } in rows {
        println!("| {what} | {ours} | {peer} | {ratio} |");
    }
}
