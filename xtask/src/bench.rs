//! `cargo xtask bench [verify|keyless|gate] [--against PROGRAM]`: release builds, side by side with
//! real cosign, or with another program of Sealgate; and `cargo xtask bench abuse`: the gate beside
//! hostile tenants. See `bench/`.

use anyhow::Context as _;

use crate::{command, root, servers};

/// Builds in release, then runs `sealgate-bench` on that build.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments = with_absolute_path(arguments)?;
    servers::install()?;
    let build = ["build", "--release", "--package", "sealgate", "--package", "sealgate-bench"];
    command::run(command::cargo().args(build))?;
    let release = root()?.join("target/release");
    let mut bench = std::process::Command::new(release.join("sealgate-bench"));
    bench.args(arguments).env("SEALGATE_BIN", release.join("sealgate"));
    command::run(&mut bench)
}

/// The bench runs programs in folders of its own. Looked at before minutes of building, too.
fn with_absolute_path(arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let mut arguments = arguments.to_vec();
    if let Some(at) = arguments.iter().position(|argument| argument == "--against") {
        let path = arguments.get_mut(at + 1).context("--against wants the path of a program")?;
        let absolute =
            std::fs::canonicalize(&*path).with_context(|| format!("--against {path}"))?;
        *path = absolute.to_str().context("--against: the path is not UTF-8")?.to_owned();
    }
    Ok(arguments)
}
