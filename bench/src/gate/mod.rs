//! The gate under load, over HTTPS, on the same two cores that make the load.

use sealgate_tests::programs::{Sandbox, sealgate};
use sealgate_tests::proxy::CountingProxy;
use sealgate_tests::registries;

mod against;
mod cold;
mod growth;
mod review;
mod server;
mod warm;

pub(crate) use against::against;
use cold::Cold;
pub(crate) use server::policy;
use server::{Client, Gate};
use warm::Warm;

use crate::images::{several, signed};
use crate::table::Row;

/// Images that the gate is asked about for the first time.
const COLD: usize = 400;
/// Admissions at once.
const CONNECTIONS: usize = 32;
const WARM_SECONDS: u64 = 30;
/// The folder with the one policy of most rows.
const POLICIES: &str = "policies";

/// All rows about the gate.
pub(crate) fn run() -> anyhow::Result<Vec<Row>> {
    let sandbox = sandbox();
    let images = several(&sandbox, "cold", COLD);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut rows = vec![runtime.block_on(cold_requests(&sandbox))?];
    let gate = Gate::start(&sealgate(), &sandbox, POLICIES)?;
    let mut cold = Cold::default();
    runtime.block_on(async {
        let client = Client::new(&gate)?;
        client.ready(1).await?;
        cold.admit(&client, &images).await
    })?;
    rows.push(Row::alone("cold admissions, 32 at a time", cold.to_string(), "-"));
    let warm = Warm::admit(&sandbox, &gate, &images[0], WARM_SECONDS)?;
    let Warm { requests, rate, p50, p99 } = &warm;
    let what = "warm admissions, 32 connections";
    rows.push(Row::alone(what, format!("{rate:.0}/s"), "3000/s"));
    rows.push(Row::alone("warm admissions: p50, p99", format!("{p50}, {p99}"), "p99 50 ms"));
    let what = format!("the gate's memory after {requests} admissions");
    rows.push(Row::alone(&what, format!("{:.1} MiB", gate.memory()?), "60 MiB after 100,000"));
    drop(gate);
    rows.extend(runtime.block_on(growth::rows(&sandbox, &images))?);
    Ok(rows)
}

/// A folder with a key pair, and with a policy that asks for its signature on every image.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.sealgate(&["generate-key-pair"]).ok();
    let key = sandbox.read("cosign.pub");
    sandbox.write(&format!("{POLICIES}/signed.yaml"), policy("signed", "**", &key));
    sandbox
}

/// Registry requests of one cold admission of a bundle-signed image, by digest.
async fn cold_requests(sandbox: &Sandbox) -> anyhow::Result<Row> {
    let proxy = CountingProxy::start(&registries::referrers().host)?;
    let image = signed(sandbox, "bundle", "cold-requests");
    let gate = Gate::start(&sealgate(), sandbox, POLICIES)?;
    let client = Client::new(&gate)?;
    client.ready(1).await?;
    client.admit(&review::of(&[&image.at(&proxy.host)])).await?;
    Ok(Row::alone("cold admission: registry requests", proxy.take().len().to_string(), "3"))
}
