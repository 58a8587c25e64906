//! The gate beside fifty hostile tenants: honest reviews, health probes and memory with and without
//! them, side by side.
//!
//! Three processes: the gate, with the limits of a container; this one, with the honest tenants, the
//! proxy of their registry and the probes; and the hostile tenants, at a lower priority.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sealgate_tests::certificates::Authority;
use sealgate_tests::hostile::client::ClientCertificate;
use sealgate_tests::hostile::honest::{
    DelayProxy, HonestFigures, HonestTenants, Rates, clients, signed_images,
};
use sealgate_tests::hostile::latency::{Latencies, Probes, probe};
use sealgate_tests::hostile::names::SilentNameServer;
use sealgate_tests::hostile::process::{GateProcess, Options, Usage};
use sealgate_tests::image::Image;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;

mod attack;

use attack::{Attack, Attackers};
pub(crate) use attack::{PART, hostile_tenants};

use crate::gate::policy;
use crate::table::Row;

/// Settings of a run.
pub(crate) struct Settings {
    /// Duration of each phase.
    pub(crate) seconds: u64,
    /// Kinds of hostile tenants; all if empty.
    pub(crate) only: Vec<String>,
    /// Clients that the gate answers.
    pub(crate) clients: Clients,
}

/// Clients that the gate answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Anyone.
    Any,
    /// The API server, by its certificate (`--client-ca`).
    Certified,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seconds: 120, only: Vec::new(), clients: Clients::Any }
    }
}

/// Honest tenants and their reviews a second, each.
const TENANTS: usize = 5;
const RATES: Rates = Rates { warm: 20.0, cold: 2.0 };
/// Delay of the honest tenants' registry.
const DELAY: Duration = Duration::from_millis(20);
/// Rest after the attack.
const REST: Duration = Duration::from_secs(60);
/// Interval of looking at the process.
const SAMPLE: Duration = Duration::from_millis(500);

/// The figures of one phase.
struct Phase {
    honest: HonestFigures,
    https: Probes,
    http: Probes,
    /// At the end, with the peak of the phase.
    usage: Usage,
    /// The most at any moment.
    descriptors: usize,
    /// Share of one core that the gate used.
    cores: f64,
}

/// All rows.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<Vec<Row>> {
    let sandbox = sandbox();
    let images = images(&sandbox, settings.seconds);
    let name_server = SilentNameServer::start()
        .inspect_err(|error| eprintln!("names fail to resolve at once, not slowly: {error:#}"));
    let resolv_conf = name_server.as_ref().ok().map(SilentNameServer::resolv_conf).transpose()?;
    let mut options = Options { policies: 2, resolv_conf, ..Options::default() };
    let certificate = match settings.clients {
        Clients::Any => None,
        Clients::Certified => Some(client_certificate(&sandbox, &mut options)?),
    };
    let gate = GateProcess::start("abuse", &sandbox, &options)?;
    tokio::runtime::Runtime::new()?.block_on(measure(&gate, images, settings, certificate))
}

/// A folder with a key pair and two policies: one for every image, and one without keys for the
/// bundles of certificates.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.sealgate(&["generate-key-pair"]).ok();
    let key = sandbox.read("cosign.pub");
    sandbox.write("policies/signed.yaml", policy("signed", "**", &key));
    sandbox.write("policies/keyless.yaml", KEYLESS);
    sandbox
}

const KEYLESS: &str = "\
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: keyless
spec:
  images:
  - glob: \"**/large-bundles/**\"
  authorities:
  - keyless:
      url: https://fulcio.sigstore.dev
      identities:
      - issuer: https://accounts.google.com
        subject: nobody@example.com
";

/// Enough signed images that each cold review of two phases has a new one.
fn images(sandbox: &Sandbox, seconds: u64) -> Vec<Image> {
    let cold = RATES.cold * TENANTS as f64 * seconds as f64 * 2.0;
    signed_images(sandbox, registries::referrers(), "abuse", TENANTS + cold as usize + 20)
}

/// A CA whose certificates the gate accepts, and the API server's certificate.
fn client_certificate(
    sandbox: &Sandbox,
    options: &mut Options,
) -> anyhow::Result<ClientCertificate> {
    let authority = Authority::new("bench client ca")?;
    let file = sandbox.write("client-ca.pem", &authority.pem);
    options.arguments.extend([format!("--client-ca={}", file.display())]);
    Ok(ClientCertificate(authority.issue(&sandbox.path(""), "kube-apiserver")?))
}

async fn measure(
    gate: &GateProcess,
    images: Vec<Image>,
    settings: &Settings,
    certificate: Option<ClientCertificate>,
) -> anyhow::Result<Vec<Row>> {
    let duration = Duration::from_secs(settings.seconds);
    let proxy = DelayProxy::start(&registries::referrers().host, DELAY).await?;
    let images = images.iter().map(|image| image.at(&proxy.host)).collect();
    let clients = clients(certificate.as_ref(), gate.port, TENANTS)?;
    let mut honest = HonestTenants::new(clients, RATES, images).await?;
    let alone = phase(gate, &mut honest, duration).await?;
    let attackers = Attackers::start(gate.port, settings, certificate.as_ref())?;
    let beside = phase(gate, &mut honest, duration).await?;
    let attack = attackers.end().await?;
    tokio::time::sleep(REST).await;
    Ok(rows(&alone, &beside, &attack, &gate.usage()?))
}

async fn phase(
    gate: &GateProcess,
    honest: &mut HonestTenants,
    duration: Duration,
) -> anyhow::Result<Phase> {
    gate.reset_peak()?;
    let before = gate.usage()?;
    let start = Instant::now();
    let end = start + duration;
    let https = format!("https://127.0.0.1:{}/healthz", gate.port);
    let http = format!("http://127.0.0.1:{}/healthz", gate.metrics_port);
    let (https, http) = (tokio::spawn(probe(https, end)), tokio::spawn(probe(http, end)));
    let watch = async {
        let mut most = 0;
        while Instant::now() < end {
            most = most.max(gate.usage()?.descriptors);
            tokio::time::sleep(SAMPLE).await;
        }
        anyhow::Ok(most)
    };
    let (honest, descriptors) = tokio::join!(honest.run(end), watch);
    let (usage, time) = (gate.usage()?, start.elapsed());
    let processor = usage.processor.saturating_sub(before.processor);
    Ok(Phase {
        honest,
        https: https.await.context("probes")??,
        http: http.await.context("probes")??,
        usage,
        descriptors: descriptors?,
        cores: processor.as_secs_f64() / time.as_secs_f64(),
    })
}

fn rows(alone: &Phase, beside: &Phase, attack: &Attack, later: &Usage) -> Vec<Row> {
    let pair = |what: &str, figure: &dyn Fn(&Phase) -> String, goal: &str| {
        Row::beside(what, figure(alone), figure(beside), goal)
    };
    let growth = (later.memory / alone.usage.memory - 1.0) * 100.0;
    let mut rows = latency_rows(alone, beside);
    rows.extend([
        pair("/healthz over HTTPS", &|phase| probes(&phase.https), "none missed"),
        pair("/healthz on the metrics port", &|phase| probes(&phase.http), "none missed"),
        pair("memory: peak", &|phase| format!("{:.1} MiB", phase.usage.peak), "< 128 MiB"),
        pair("memory: at the end", &|phase| format!("{:.1} MiB", phase.usage.memory), ""),
        Row::beside(
            "memory: a minute later",
            String::new(),
            format!("{:.1} MiB ({growth:+.0} %)", later.memory),
            "within 20 %",
        ),
        pair("open descriptors: most", &|phase| phase.descriptors.to_string(), ""),
        Row::beside(
            "open descriptors: a minute later",
            String::new(),
            later.descriptors.to_string(),
            "",
        ),
        pair("processor of the gate", &|phase| format!("{:.2} cores", phase.cores), ""),
        Row::beside(
            "processor of the generator",
            String::new(),
            format!("{:.2} cores", attack.cores),
            "",
        ),
        Row::beside("hostile reviews answered", String::new(), attack.answers.clone(), ""),
    ]);
    rows
}

/// Latencies and refusals of warm and cold reviews.
fn latency_rows(alone: &Phase, beside: &Phase) -> Vec<Row> {
    let [alone, beside] = [&alone.honest, &beside.honest];
    let kinds = [
        ("honest warm reviews", [&alone.warm, &beside.warm], "p99 < 50 ms"),
        ("honest cold reviews", [&alone.cold, &beside.cold], "p99 < 2 s"),
    ];
    let rows = kinds.into_iter().flat_map(|(what, [alone, beside], goal)| {
        let pair = |figure: &str, show: &dyn Fn(&Latencies) -> String, goal: &str| {
            Row::beside(&format!("{what}: {figure}"), show(alone), show(beside), goal)
        };
        let times = |all: &Latencies| {
            let times = [all.quantile(0.5), all.quantile(0.99), all.max()];
            times.map(|time| format!("{:.1} ms", time.as_secs_f64() * 1e3)).join(", ")
        };
        let refused = |all: &Latencies| {
            let codes = all.refused_by_code().to_string();
            let total = format!("{} of {}", all.refused.len(), all.count());
            if codes.is_empty() { total } else { format!("{total} ({codes})") }
        };
        [pair("p50, p99, max", &times, goal), pair("refused", &refused, "none")]
    });
    rows.collect()
}

fn probes(probes: &Probes) -> String {
    let Probes { count, missed, max } = probes;
    format!("{missed} of {count} missed, max {:.1} ms", max.as_secs_f64() * 1e3)
}
