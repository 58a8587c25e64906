//! `cargo xtask bench [verify|keyless|gate]`: release builds, side by side with real cosign; see `bench/`.

use crate::{command, root, servers};

/// Builds in release, then runs `sealgate-bench` on that build.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    servers::install()?;
    let build = ["build", "--release", "--package", "sealgate", "--package", "sealgate-bench"];
    command::run(command::cargo().args(build))?;
    let release = root()?.join("target/release");
    let mut bench = std::process::Command::new(release.join("sealgate-bench"));
    bench.args(arguments).env("SEALGATE_BIN", release.join("sealgate"));
    command::run(&mut bench)
}
