//! A command as a whole process, several times: wall time, processor time, peak memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use sealgate_tests::programs::{Sandbox, sealgate};

/// The interquartile means of several runs of one command: a busy moment of the machine falls out
/// of them, and they are finer than a median of figures that come in steps.
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
    let [ours, peer] = in_turns(sandbox, runs, [ours, peer])?;
    Ok((ours, peer))
}

/// Copies of this program and an old one, written one after the other. How a program lies in the page
/// cache depends on how and when its file was written, and makes a sixth of the time of its start.
pub(crate) fn copies(sandbox: &Sandbox, old: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let copy = |name: &str, program: &Path| -> anyhow::Result<PathBuf> {
        let bytes = fs::read(program).with_context(|| program.display().to_string())?;
        let path = sandbox.write(name, bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    };
    Ok([copy("new/sealgate", &sealgate())?, copy("old/sealgate", old)?])
}

/// Several commands in turns.
pub(crate) fn in_turns<const N: usize>(
    sandbox: &Sandbox,
    runs: usize,
    commands: [(&Path, &[String]); N],
) -> anyhow::Result<[Figures; N]> {
    let mut figures = [const { Vec::new() }; N];
    // The first round warms the page cache and the registry; it does not count.
    for round in 0..=runs {
        for (command, figures) in commands.iter().zip(&mut figures) {
            let figure = once(sandbox, *command)?;
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    Ok(figures.map(|figures| Figures {
        wall: interquartile_mean(figures.iter().map(|one| one.wall)),
        cpu: interquartile_mean(figures.iter().map(|one| one.cpu)),
        memory: interquartile_mean(figures.iter().map(|one| one.memory)),
    }))
}

/// The mean of the values without the lowest and the highest quarter of them.
pub(crate) fn interquartile_mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let quarter = values.len() / 4;
    let middle = &values[quarter..values.len() - quarter];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// The clock sees the bare process. bash, which knows processor time, and GNU time, which knows peak
/// memory, see other runs, for they would cost starts of their own.
fn once(sandbox: &Sandbox, (program, arguments): (&Path, &[String])) -> anyhow::Result<Figures> {
    let mut bare = command(sandbox, program);
    bare.args(arguments);
    let start = Instant::now();
    finish(bare)?;
    let wall = start.elapsed().as_secs_f64() * 1e3;
    let (cpu, memory) = resources(sandbox, program, arguments)?;
    Ok(Figures { wall, cpu, memory })
}

/// Ten runs one after the other. bash tells their processor time in thousandths of a second, GNU time
/// only in hundredths.
const TEN_TURNS: &str = r#"
TIMEFORMAT='%U %S'
turns='i=0; while [ $i -lt 10 ]; do "$@" || exit 1; i=$((i+1)); done'
report=$1; shift
{ time sh -c "$turns" turns "$@" 2>&3; } 3>&2 2>"$report"
"#;

/// Processor time of one run in milliseconds, and peak memory in MiB.
fn resources(
    sandbox: &Sandbox,
    program: &Path,
    arguments: &[String],
) -> anyhow::Result<(f64, f64)> {
    let mut timed = command(sandbox, Path::new("/usr/bin/time"));
    timed.args(["-f", "%M", "-o"]).arg(sandbox.path("memory.txt"));
    timed.args(["bash", "-c", TEN_TURNS, "turns"]).arg(sandbox.path("time.txt"));
    timed.arg(program).args(arguments);
    finish(timed)?;
    let [user, system] = numbers(sandbox, "time.txt")?;
    let [kilobytes] = numbers(sandbox, "memory.txt")?;
    Ok(((user + system) * 1e3 / 10.0, kilobytes / 1024.0))
}

fn numbers<const N: usize>(sandbox: &Sandbox, file: &str) -> anyhow::Result<[f64; N]> {
    let text = sandbox.read(file);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().map_err(|_| anyhow!("{file} says {text:?}"))
}

fn command(sandbox: &Sandbox, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", sandbox.path("")).env("DOCKER_CONFIG", sandbox.path(".docker"));
    // The decimal point of bash's figures.
    command.env("LC_ALL", "C");
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
