//! `cargo xtask fuzz [SECONDS] [TARGET]`: runs each target in `fuzz/` for this time (one minute by
//! default). Fails at the first crashing input.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::{command, root, servers};

/// Default time per target, in seconds.
const SECONDS: u64 = 60;

/// Builds all targets, then runs each one (or those whose name contains TARGET).
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (seconds, filter) = read(arguments)?;
    let folder = root()?.join("fuzz");
    let targets = targets(&folder)?;
    let chosen: Vec<_> = targets.iter().filter(|name| name.contains(filter)).collect();
    if chosen.is_empty() {
        bail!("no fuzz target has {filter:?} in its name; known targets: {}", targets.join(", "));
    }
    let cargo_fuzz = servers::cargo_fuzz()?;
    command::run(fuzz(&cargo_fuzz, &folder).arg("build"))?;
    for target in &chosen {
        let corpora = corpora(&folder, target)?;
        let time = format!("-max_total_time={seconds}");
        let mut run = fuzz(&cargo_fuzz, &folder);
        run.args(["run", target.as_str()]).args(&corpora).args(["--", &time, "-verbosity=0"]);
        command::run(&mut run).with_context(|| format!("fuzzing {target}"))?;
        println!("{target}: clean for {seconds} s");
    }
    println!("{} fuzz targets ran clean", chosen.len());
    Ok(())
}

fn read(arguments: &[String]) -> anyhow::Result<(u64, &str)> {
    let (mut seconds, mut filter) = (SECONDS, "");
    for argument in arguments {
        match argument.parse() {
            Ok(number) => seconds = number,
            Err(_) => filter = argument,
        }
    }
    if arguments.len() > 2 {
        bail!("fuzz takes at most two arguments: SECONDS and TARGET");
    }
    Ok((seconds, filter))
}

/// cargo-fuzz uses flags of a nightly compiler; RUSTC_BOOTSTRAP makes the stable one accept them.
fn fuzz(cargo_fuzz: &Path, folder: &Path) -> Command {
    let mut command = Command::new(cargo_fuzz);
    command.current_dir(folder).env("RUSTC_BOOTSTRAP", "1").arg("fuzz");
    command
}

/// Names of the targets, one file each.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in folder.join("fuzz_targets").read_dir()? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The growing corpus first, then the committed seeds.
fn corpora(folder: &Path, target: &str) -> anyhow::Result<Vec<String>> {
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let seeds = match target {
        "timestamp" => folder.join("../crates/sealgate-core/tests/data/timestamps"),
        _ => folder.join("seeds").join(target),
    };
    let there = [corpus, seeds].into_iter().filter(|folder| folder.is_dir());
    Ok(there.map(|folder| folder.display().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_named_in_the_manifest() {
        let folder = root().unwrap().join("fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for target in targets(&folder).unwrap() {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        }
    }

    #[test]
    fn arguments_in_either_order() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(read(&[]).unwrap(), (60, ""));
        assert_eq!(read(&words(&["bundle", "5"])).unwrap(), (5, "bundle"));
        assert!(read(&words(&["a", "5", "b"])).is_err());
    }
}
