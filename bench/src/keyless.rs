//! Keyless bundles: what one costs in process, offline.
//!
//! The bundles are those that the fuzz targets begin with: certificate chain on P-384 with a
//! certificate log's promise, a log entry with promise, proof and checkpoint, and (Rekor v2) a
//! signed timestamp.

use std::fs;
use std::sync::Arc;

use anyhow::Context as _;
use sealgate_core::digest::Digest;
use sealgate_core::evidence::{BundleBytes, Evidence, Origin};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher};
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{
    Authority, Claims, Grounds, Question, RootSource, Wishes, verify_image_with,
};

use crate::Row;

const RUNS: u32 = 1000;
/// Within the validity of the seeds.
const NOW: i64 = 1_700_000_020;
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds");

/// All rows about bundles with certificates.
pub(crate) fn run() -> anyhow::Result<Vec<Row>> {
    let root = TrustRoot::parse(&fs::read(format!("{SEEDS}/keys/trusted_root.json"))?)?;
    let (root, source) = (Some(Arc::new(root)), RootSource::Configured);
    let grounds = Grounds { root, source, wishes: Wishes::default() };
    ["rekor-v1", "rekor-v2"].into_iter().map(|name| in_process(name, &grounds)).collect()
}

/// From the bytes of a bundle to `Verified`, nothing kept from one to the next.
fn in_process(name: &str, grounds: &Grounds) -> anyhow::Result<Row> {
    let json = fs::read(format!("{SEEDS}/verify/{name}"))?;
    let origin = Origin { repository: "bench".to_owned(), manifest: None, layer: None };
    let evidence = Evidence::Bundle(BundleBytes { origin, json });
    let identities = vec![IdentityMatcher::default()];
    let authority = Authority::Identities(IdentityAuthority { identities });
    let question = Question {
        subject: Digest::of(b"whatever it is about"),
        annotations: Default::default(),
        claims: Claims::Ignored,
    };
    let before = processor_time()?;
    for _ in 0..RUNS {
        verify_image_with(&evidence, &authority, &question, &grounds.trust(&authority, NOW))?;
    }
    let each = (processor_time()? - before) / f64::from(RUNS);
    let what = format!("keyless bundle ({name}) in process: processor");
    Ok(Row::alone(&what, format!("{each:.2} ms"), "1 ms"))
}

/// Of this thread, in milliseconds.
fn processor_time() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("an empty schedstat")?;
    Ok(nanoseconds.parse::<f64>()? / 1e6)
}
