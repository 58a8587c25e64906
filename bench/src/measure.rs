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

/// One run under GNU time, which knows the peak memory; processor time comes in hundredths.
fn once(sandbox: &Sandbox, (program, arguments): (&Path, &[String])) -> anyhow::Result<Figures> {
    let report = sandbox.path("time.txt");
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%U %S %M", "-o"]).arg(&report).arg(program).args(arguments);
    command.env("HOME", sandbox.path("")).env("DOCKER_CONFIG", sandbox.path(".docker"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output().context("/usr/bin/time did not start")?;
    let wall = start.elapsed().as_secs_f64() * 1e3;
    if !output.status.success() {
        bail!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let text = sandbox.read("time.txt");
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, system, kilobytes] = numbers[..] else { bail!("time said {text:?}") };
    Ok(Figures { wall, cpu: (user + system) * 1e3, memory: kilobytes / 1024.0 })
}

fn median(figures: Vec<Figures>) -> Figures {
    let of = |pick: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    // Processor time is too coarse for a median of single runs: its mean is the better figure.
    let cpu = figures.iter().map(|one| one.cpu).sum::<f64>() / figures.len() as f64;
    Figures { wall: of(|one| one.wall), cpu, memory: of(|one| one.memory) }
}
