//! The growth of the cost of an admission: with policies, containers, signatures and the review's size.
//!
//! Each row is a ratio between two gates, or two kinds of admission at one gate, of the same run.
//! Admissions come one after the other, so that their processor time is the gate's alone.

use std::time::{Duration, Instant};

use sealgate_tests::image::Image;
use sealgate_tests::programs::{Sandbox, sealgate};

use super::{Client, Gate, POLICIES, policy, review};
use crate::images::{copied, with_signatures};
use crate::table::Row;

/// As many policies as a large cluster has, and how many a file of the folder may hold.
const MANY_POLICIES: usize = 5000;
const POLICIES_A_FILE: usize = 1000;
/// A file younger than this may still be in the writing, so that the gate waits.
const SETTLE: Duration = Duration::from_millis(300);
/// Containers of a large pod, and such pods.
const CONTAINERS: usize = 20;
const LARGE_PODS: usize = 10;
/// Signatures of one image, and copies of it: each is cold once.
const SIGNATURES: usize = 200;
const COPIES: usize = 10;
/// A review as most are, and a large one.
const REVIEW: usize = 5_000;
const LARGE_REVIEW: usize = 1_000_000;
/// The system counts hundredths of a second: this much processor time has 2 % of error.
const WARM_PROCESSOR: f64 = 500.0;

/// All rows. `images` have one signature each.
pub(super) async fn rows(sandbox: &Sandbox, images: &[Image]) -> anyhow::Result<Vec<Row>> {
    let mut rows = policies(sandbox, &images[0]).await?;
    rows.extend(containers(sandbox, images).await?);
    rows.extend(signatures(sandbox, images).await?);
    rows.extend(review_size(sandbox, &images[0]).await?);
    Ok(rows)
}

/// The cost of a gate with some policies.
struct Cost {
    /// From its start until it is ready, milliseconds.
    start: f64,
    /// Processor time of that, milliseconds.
    processor: f64,
    /// Resident memory when it is ready, MiB.
    memory: f64,
    /// Processor time of one warm admission, microseconds.
    admission: f64,
}

/// Many policies of which one is about the image, beside that one alone.
async fn policies(sandbox: &Sandbox, image: &Image) -> anyhow::Result<Vec<Row>> {
    let one = Cost::of(sandbox, 1, image).await?;
    let many = Cost::of(sandbox, MANY_POLICIES, image).await?;
    let row = |what: &str, unit, many, one| {
        let what = format!("{MANY_POLICIES} policies, one of which applies: {what}");
        Row::grown(&what, unit, many, ("one", one))
    };
    Ok(vec![
        row("wall until ready", "ms", many.start, one.start),
        row("processor until ready", "ms", many.processor, one.processor),
        row("memory", "MiB", many.memory, one.memory),
        row("warm admission, processor", "µs", many.admission, one.admission),
    ])
}

impl Cost {
    async fn of(sandbox: &Sandbox, count: usize, image: &Image) -> anyhow::Result<Self> {
        let folder = format!("policies-{count}");
        write_policies(sandbox, &folder, count, image);
        tokio::time::sleep(SETTLE).await;
        let gate = Gate::start(&sealgate(), sandbox, &folder)?;
        let client = Client::new(&gate)?;
        let start = client.ready(count).await?.as_secs_f64() * 1e3;
        let (processor, memory) = (gate.processor()?, gate.memory()?);
        let admission = warm(&client, &gate, &review::of(&[image])).await?;
        Ok(Self { start, processor, memory, admission })
    }
}

/// One policy about every image, and others about repositories of the same registry.
fn write_policies(sandbox: &Sandbox, folder: &str, count: usize, image: &Image) {
    let key = sandbox.read("cosign.pub");
    sandbox.write(&format!("{folder}/0.yaml"), policy("signed", "**", &key));
    let others: Vec<usize> = (1..count).collect();
    for (number, some) in others.chunks(POLICIES_A_FILE).enumerate() {
        let some = some.iter().map(|other| {
            let glob = format!("{}/team-{other}/**", image.host);
            policy(&format!("other-{other}"), &glob, &key)
        });
        let text = some.collect::<Vec<_>>().join("---\n");
        sandbox.write(&format!("{folder}/{}.yaml", number + 1), text);
    }
}

/// Pods with many containers, each with an image of its own, beside pods with one.
async fn containers(sandbox: &Sandbox, images: &[Image]) -> anyhow::Result<Vec<Row>> {
    let gate = Gate::start(&sealgate(), sandbox, POLICIES)?;
    let client = Client::new(&gate)?;
    client.ready(1).await?;
    let (large, single) = images.split_at(CONTAINERS * LARGE_PODS);
    let pods = |images: &[Image], containers| -> Vec<String> {
        let pods = images.chunks(containers);
        pods.map(|images| review::of(&images.iter().collect::<Vec<_>>())).collect()
    };
    let (large, single) = (pods(large, CONTAINERS), pods(single, 1));
    let many = cold(&client, &gate, &large).await?;
    let one = cold(&client, &gate, &single).await?;
    let mut rows = cold_rows(&format!("pod of {CONTAINERS} images"), many, one);
    let (many, one) =
        (warm(&client, &gate, &large[0]).await?, warm(&client, &gate, &single[0]).await?);
    let what = format!("pod of {CONTAINERS} images, warm admission: processor");
    rows.push(Row::grown(&what, "µs", many, ("one", one)));
    Ok(rows)
}

/// An image with many signatures of which one is asked for, beside images with that one alone.
async fn signatures(sandbox: &Sandbox, images: &[Image]) -> anyhow::Result<Vec<Row>> {
    let image = with_signatures(sandbox, "gate-signatures", SIGNATURES);
    let copy = |number: usize| {
        let repository = format!("tests/gate-signatures-{number}");
        copied(sandbox, &image, Image { repository, ..image.clone() })
    };
    let copies: Vec<Image> = (0..COPIES).map(copy).collect();
    let gate = Gate::start(&sealgate(), sandbox, POLICIES)?;
    let client = Client::new(&gate)?;
    client.ready(1).await?;
    let reviews = |images: &[Image]| -> Vec<String> {
        images.iter().map(|image| review::of(&[image])).collect()
    };
    let many = cold(&client, &gate, &reviews(&copies)).await?;
    let one = cold(&client, &gate, &reviews(images)).await?;
    Ok(cold_rows(&format!("image with {SIGNATURES} signatures"), many, one))
}

/// A large object beside a small one.
async fn review_size(sandbox: &Sandbox, image: &Image) -> anyhow::Result<Vec<Row>> {
    let gate = Gate::start(&sealgate(), sandbox, POLICIES)?;
    let client = Client::new(&gate)?;
    client.ready(1).await?;
    let many = warm(&client, &gate, &review::of_size(image, LARGE_REVIEW)).await?;
    let one = warm(&client, &gate, &review::of_size(image, REVIEW)).await?;
    let what = format!("review of {} kB, warm admission: processor", LARGE_REVIEW / 1000);
    let small = format!("{} kB", REVIEW / 1000);
    Ok(vec![Row::grown(&what, "µs", many, (&small, one))])
}

/// Wall and processor time of one admission that is cold, milliseconds.
struct ColdCost {
    wall: f64,
    processor: f64,
}

fn cold_rows(what: &str, many: ColdCost, one: ColdCost) -> Vec<Row> {
    let row = |figure: &str, many, one| {
        Row::grown(&format!("{what}, cold admission: {figure}"), "ms", many, ("one", one))
    };
    vec![row("wall", many.wall, one.wall), row("processor", many.processor, one.processor)]
}

async fn cold(client: &Client<'_>, gate: &Gate, reviews: &[String]) -> anyhow::Result<ColdCost> {
    let (start, before) = (Instant::now(), gate.processor()?);
    for review in reviews {
        client.admit(review).await?;
    }
    let (wall, processor) = (start.elapsed().as_secs_f64() * 1e3, gate.processor()? - before);
    let count = reviews.len() as f64;
    Ok(ColdCost { wall: wall / count, processor: processor / count })
}

/// Processor time of one warm admission, microseconds.
async fn warm(client: &Client<'_>, gate: &Gate, review: &str) -> anyhow::Result<f64> {
    client.admit(review).await?;
    let before = gate.processor()?;
    let mut admissions = 0;
    loop {
        for _ in 0..100 {
            client.admit(review).await?;
        }
        admissions += 100;
        let processor = gate.processor()? - before;
        if processor >= WARM_PROCESSOR {
            return Ok(processor * 1e3 / f64::from(admissions));
        }
    }
}
