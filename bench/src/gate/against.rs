//! Two programs in turns, each behind the same policy and with the same images.

use std::path::{Path, PathBuf};

use sealgate_tests::image::Image;
use sealgate_tests::programs::Sandbox;
use tokio::runtime::Runtime;

use super::{COLD, Client, Cold, Gate, POLICIES, Warm, sandbox};
use crate::images::several;
use crate::measure::{copies, interquartile_mean};
use crate::table::{Better, Row};

/// Turns of each program, how long one of warm admissions takes, and how many images the cold ones of
/// one program have before those of the other.
const TURNS: usize = 9;
const WARM_SECONDS: u64 = 4;
const COLD_AT_A_TIME: usize = 50;

/// The figures of both programs, one a turn.
#[derive(Default)]
struct Turns {
    /// Admissions a second.
    rate: [Vec<f64>; 2],
    /// Processor time of one admission, microseconds.
    processor: [Vec<f64>; 2],
}

/// This program and an old one.
pub(crate) fn against(old: &Path) -> anyhow::Result<Vec<Row>> {
    let sandbox = sandbox();
    let images = several(&sandbox, "against", COLD);
    let programs = copies(&sandbox, old)?;
    let runtime = Runtime::new()?;
    let warm = warm(&sandbox, &runtime, &programs, &images)?;
    let cold = cold(&sandbox, &runtime, &programs, &images)?;
    let rows =
        [warm.rows("warm admissions, 32 connections"), cold.rows("cold admissions, 32 at a time")];
    Ok(rows.concat())
}

fn warm(
    sandbox: &Sandbox,
    runtime: &Runtime,
    programs: &[PathBuf; 2],
    images: &[Image],
) -> anyhow::Result<Turns> {
    let mut turns = Turns::default();
    let gates = gates(sandbox, runtime, programs)?;
    for turn in 0..TURNS {
        for which in order(turn) {
            let gate = &gates[which];
            let before = gate.processor()?;
            let load = Warm::admit(sandbox, gate, &images[0], WARM_SECONDS)?;
            let cost = gate.processor()? - before;
            turns.push(which, load.rate, cost * 1e3 / load.requests as f64);
        }
    }
    Ok(turns)
}

/// New gates each turn, since to the old ones the images are no longer cold.
fn cold(
    sandbox: &Sandbox,
    runtime: &Runtime,
    programs: &[PathBuf; 2],
    images: &[Image],
) -> anyhow::Result<Turns> {
    let mut turns = Turns::default();
    for turn in 0..TURNS {
        let gates = gates(sandbox, runtime, programs)?;
        let clients = [Client::new(&gates[0])?, Client::new(&gates[1])?];
        let before = [gates[0].processor()?, gates[1].processor()?];
        let mut cold = [Cold::default(), Cold::default()];
        for (number, some) in images.chunks(COLD_AT_A_TIME).enumerate() {
            for which in order(turn + number) {
                runtime.block_on(cold[which].admit(&clients[which], some))?;
            }
        }
        for which in 0..2 {
            let cost = gates[which].processor()? - before[which];
            turns.push(which, cold[which].rate(), cost * 1e3 / images.len() as f64);
        }
    }
    Ok(turns)
}

fn gates(
    sandbox: &Sandbox,
    runtime: &Runtime,
    [new, old]: &[PathBuf; 2],
) -> anyhow::Result<[Gate; 2]> {
    let start = |program: &Path| -> anyhow::Result<Gate> {
        let gate = Gate::start(program, sandbox, POLICIES)?;
        runtime.block_on(async { Client::new(&gate)?.ready(1).await })?;
        Ok(gate)
    };
    Ok([start(new)?, start(old)?])
}

/// The program that comes first is another one from turn to turn.
fn order(turn: usize) -> [usize; 2] {
    if turn.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

impl Turns {
    fn push(&mut self, which: usize, rate: f64, processor: f64) {
        self.rate[which].push(rate);
        self.processor[which].push(processor);
    }

    fn rows(&self, what: &str) -> Vec<Row> {
        let mean = |figures: &[Vec<f64>; 2]| {
            [0, 1].map(|which| interquartile_mean(figures[which].iter().copied()))
        };
        let processor = format!("{what}: processor of one");
        vec![
            Row::compared(what, "/s", Better::More, mean(&self.rate)),
            Row::compared(&processor, "µs", Better::Less, mean(&self.processor)),
        ]
    }
}
