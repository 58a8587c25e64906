//! A command as a whole process, several times: wall time, processor time, peak memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use sealgate_tests::programs::Sandbox;

/// The medians of several runs of one command.
pub(crate) struct Figures {
    /// Wall time, milliseconds.
    pub(crate) wall: f64,
    /// User and system time, milliseconds.
    pub(crate) cpu: f64,
    /// Largest resident set, MiB.
    pub(crate) memory: f64,
}

/// Two commands in turns, so that a busy moment of the machine meets both.
pub(crate) fn paired(
    sandbox: &Sandbox,
    runs: usize,
    ours: (&Path, &[String]),
    peer: (&Path, &[String]),
) -> anyhow::Result<(Figures, Figures)> {
    let mut figures = (Vec::new(), Vec::new());
    // The first round warms the page cache and the registry; it does not count.
    for round in 0..=runs {
        let (a, b) = (once(sandbox, ours)?, once(sandbox, peer)?);
        if round > 0 {
            figures.0.push(a);
            figures.1.push(b);
        }
    }
    Ok((median(figures.0), median(figures.1)))
}

/// The clock sees the bare process. GNU time, which knows processor time and peak memory, sees a
/// second run, for it would cost a start of its own.
fn once(sandbox: &Sandbox, (program, arguments): (&Path, &[String])) -> anyhow::Result<Figures> {
    let mut bare = command(sandbox, program);
    bare.args(arguments);
    let start = Instant::now();
    finish(bare)?;
    let wall = start.elapsed().as_secs_f64() * 1e3;
    let (cpu, memory) = resources(sandbox, program, arguments)?;
    Ok(Figures { wall, cpu, memory })
}

/// Processor time of one run in milliseconds, and peak memory in MiB. The former comes in
/// hundredths of a second, so that ten runs are added up for it.
fn resources(
    sandbox: &Sandbox,
    program: &Path,
    arguments: &[String],
) -> anyhow::Result<(f64, f64)> {
    const TURNS: u32 = 10;
    let report = sandbox.path("time.txt");
    let mut timed = command(sandbox, Path::new("/usr/bin/time"));
    timed.args(["-f", "%U %S %M", "-o"]).arg(&report);
    let turns = format!("i=0; while [ $i -lt {TURNS} ]; do \"$@\" || exit 1; i=$((i+1)); done");
    timed.args(["sh", "-c", &turns, "turns"]).arg(program).args(arguments);
    finish(timed)?;
    let text = sandbox.read("time.txt");
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, system, kilobytes] = numbers[..] else { bail!("time said {text:?}") };
    Ok(((user + system) * 1e3 / f64::from(TURNS), kilobytes / 1024.0))
}

fn command(sandbox: &Sandbox, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", sandbox.path("")).env("DOCKER_CONFIG", sandbox.path(".docker"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn finish(mut command: Command) -> anyhow::Result<()> {
    let output =
        command.output().with_context(|| format!("{:?} did not start", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn median(figures: Vec<Figures>) -> Figures {
    let of = |pick: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures { wall: of(|one| one.wall), cpu: of(|one| one.cpu), memory: of(|one| one.memory) }
}
