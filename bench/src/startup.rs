//! The start of the process, which every command pays, and what `verify` takes beyond it.

use std::path::Path;

use sealgate_tests::programs::{Sandbox, built, sealgate};

use crate::measure::{Figures, in_turns};
use crate::table::Row;

const RUNS: usize = 21;

/// `version` and `verify` of both programs in turns. `ours` and `peers` are the arguments of `verify`.
pub(crate) fn rows(
    sandbox: &Sandbox,
    ours: &[String],
    peers: &[String],
) -> anyhow::Result<Vec<Row>> {
    let version = ["version".to_owned()];
    let (sealgate, cosign) = (sealgate(), built("cosign"));
    let commands: [(&Path, &[String]); 4] =
        [(&sealgate, &version), (&sealgate, ours), (&cosign, &version), (&cosign, peers)];
    let [start, whole, peers_start, peers_whole] = in_turns(sandbox, RUNS, commands)?;
    let beyond =
        |of: fn(&Figures) -> f64| (of(&whole) - of(&start), of(&peers_whole) - of(&peers_start));
    let (wall, cpu) = (beyond(|it| it.wall), beyond(|it| it.cpu));
    Ok(vec![
        Row::against("version: wall", "ms", start.wall, peers_start.wall),
        Row::against("version: processor", "ms", start.cpu, peers_start.cpu),
        Row::against("verify one bundle minus version: wall", "ms", wall.0, wall.1),
        Row::against("verify one bundle minus version: processor", "ms", cpu.0, cpu.1),
    ])
}
