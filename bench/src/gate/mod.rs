//! The gate under load, over HTTPS, on the same two cores that make the load.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use sealgate_tests::image::Image;
use sealgate_tests::process::{free_port, wait_until};
use sealgate_tests::programs::{Sandbox, sealgate};
use sealgate_tests::proxy::CountingProxy;
use sealgate_tests::registries;

use crate::Row;

const COLD: usize = 400;
const CONNECTIONS: usize = 32;
const WARM_SECONDS: u64 = 30;
/// As many policies as a large cluster has, and how many a file of the folder may hold.
const POLICIES: usize = 5000;
const POLICIES_A_FILE: usize = 1000;
/// Warm admissions one after the other, enough for the hundredths of a second that the system counts.
const ADMISSIONS: usize = 2000;

/// A gate that runs; dropping it kills it.
struct Gate {
    child: Child,
    port: u16,
}

/// All rows about the gate.
pub(crate) fn run() -> anyhow::Result<Vec<Row>> {
    let sandbox = Sandbox::new();
    sandbox.sealgate(&["generate-key-pair"]).ok();
    let images = signed(&sandbox)?;
    let gate = Gate::start(&sandbox)?;
    let mut rows = vec![cold_requests(&sandbox)?];
    let runtime = tokio::runtime::Runtime::new()?;
    rows.push(runtime.block_on(cold(&gate, &images))?);
    rows.extend(warm(&sandbox, &gate, &images[0])?);
    drop(gate);
    rows.extend(policies(&sandbox, &images[0])?);
    Ok(rows)
}

/// The cost of a gate with some policies.
struct Cost {
    /// Processor time until it is ready, milliseconds.
    start: f64,
    /// Resident memory when it is ready, MiB.
    memory: f64,
    /// Processor time of one warm admission, microseconds.
    admission: f64,
}

/// Many policies of which one is about the image, beside that one alone, in the same run.
fn policies(sandbox: &Sandbox, image: &Image) -> anyhow::Result<Vec<Row>> {
    let one = Cost::of(sandbox, 1, image)?;
    let many = Cost::of(sandbox, POLICIES, image)?;
    let what = |part: &str| format!("{POLICIES} policies, one of which applies: {part}");
    Ok(vec![
        Row::grown(&what("processor until ready"), "ms", many.start, one.start),
        Row::grown(&what("memory"), "MiB", many.memory, one.memory),
        Row::grown(&what("warm admission, processor"), "µs", many.admission, one.admission),
    ])
}

impl Cost {
    fn of(sandbox: &Sandbox, count: usize, image: &Image) -> anyhow::Result<Self> {
        let (key, folder) = (sandbox.read("cosign.pub"), format!("policies-{count}"));
        sandbox.write(&format!("{folder}/0.yaml"), policy("signed", "**", &key));
        let others: Vec<usize> = (1..count).collect();
        for (number, some) in others.chunks(POLICIES_A_FILE).enumerate() {
            let some = some.iter().map(|other| {
                policy(&format!("other-{other}"), &format!("registry.test/team-{other}/**"), &key)
            });
            let text = some.collect::<Vec<_>>().join("---\n");
            sandbox.write(&format!("{folder}/{}.yaml", number + 1), text);
        }
        let gate = Gate::with(sandbox, &folder)?;
        let runtime = tokio::runtime::Runtime::new()?;
        let client = client()?;
        runtime.block_on(gate.ready(&client, count))?;
        let (start, memory) = (gate.processor()?, gate.memory()?);
        runtime.block_on(admit(&client, &gate.url(), image))?;
        let before = gate.processor()?;
        runtime.block_on(async {
            for _ in 0..ADMISSIONS {
                admit(&client, &gate.url(), image).await?;
            }
            anyhow::Ok(())
        })?;
        let admission = (gate.processor()? - before) * 1e3 / ADMISSIONS as f64;
        Ok(Self { start, memory, admission })
    }
}

fn signed(sandbox: &Sandbox) -> anyhow::Result<Vec<Image>> {
    let registry = registries::referrers();
    let images: Vec<Image> = (0..COLD).map(|i| registry.image(&format!("cold-{i}"))).collect();
    for some in images.chunks(50) {
        let mut words = vec!["sign".to_owned(), "--key".into(), "cosign.key".into(), "-y".into()];
        words.extend(some.iter().map(Image::by_digest));
        sandbox.sealgate(&words).ok();
    }
    Ok(images)
}

impl Gate {
    fn start(sandbox: &Sandbox) -> anyhow::Result<Self> {
        let key = sandbox.read("cosign.pub");
        sandbox.write("policies/signed.yaml", policy("signed", "**", &key));
        let gate = Self::with(sandbox, "policies")?;
        // The first look at the folder comes right after the gate listens.
        std::thread::sleep(Duration::from_millis(500));
        Ok(gate)
    }

    /// With a folder of policies, not necessarily ready.
    fn with(sandbox: &Sandbox, policies: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(sealgate());
        command.args(["serve", "--self-signed", "--listen", &listen, "--policies"]);
        command.arg(sandbox.path(policies));
        let log = fs::File::create(sandbox.path("gate.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let gate = Self { child: command.spawn().context("the gate did not start")?, port };
        wait_until(Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(gate)
    }

    /// Waits until it goes by so many policies.
    async fn ready(&self, client: &reqwest::Client, policies: usize) -> anyhow::Result<()> {
        let url = format!("https://127.0.0.1:{}/readyz", self.port);
        let start = Instant::now();
        loop {
            let answer = client.get(&url).send().await?;
            let said = answer.text().await?;
            if said.starts_with(&format!("ready: {policies} polic")) {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("the gate says {said:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Processor time so far, milliseconds; the system counts hundredths of a second.
    fn processor(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program, in parentheses, may have blanks.
        let fields = stat.rsplit_once(')').context("stat")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        let ticks: Vec<f64> = ticks.collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() * 10.0)
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/validate?timeout=10s", self.port)
    }

    /// Resident memory, MiB.
    fn memory(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("VmRSS")?.parse()?;
        Ok(kilobytes / 1024.0)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Registry requests of one cold admission of a bundle-signed image, by digest.
fn cold_requests(sandbox: &Sandbox) -> anyhow::Result<Row> {
    let proxy = CountingProxy::start(&registries::referrers().host)?;
    let image = registries::referrers().image("cold-requests");
    let words = ["sign", "--key", "cosign.key", "-y", &image.by_digest()];
    sandbox.sealgate(&words).ok();
    let gate = Gate::start(sandbox)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let client = client()?;
    runtime.block_on(admit(&client, &gate.url(), &image.at(&proxy.host)))?;
    Ok(Row::alone("cold admission: registry requests", proxy.take().len().to_string(), "3"))
}

async fn cold(gate: &Gate, images: &[Image]) -> anyhow::Result<Row> {
    let client = client()?;
    let url = gate.url();
    let start = Instant::now();
    let mut times: Vec<f64> = futures::stream::iter(images)
        .map(|image| {
            let (client, url) = (&client, &url);
            async move {
                let start = Instant::now();
                admit(client, url, image).await.map(|()| start.elapsed().as_secs_f64() * 1e3)
            }
        })
        .buffer_unordered(CONNECTIONS)
        .collect::<Vec<anyhow::Result<f64>>>()
        .await
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    let rate = images.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let text = format!("{rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99));
    Ok(Row::alone("cold admissions, 32 at a time", text, "-"))
}

fn client() -> anyhow::Result<reqwest::Client> {
    // The load generator measures speed, not trust: the gate's certificate is its own.
    Ok(reqwest::Client::builder().tls_danger_accept_invalid_certs(true).http1_only().build()?)
}

async fn admit(client: &reqwest::Client, url: &str, image: &Image) -> anyhow::Result<()> {
    let request = client.post(url).header("Content-Type", "application/json").body(review(image));
    let answer: serde_json::Value = serde_json::from_str(&request.send().await?.text().await?)?;
    if answer["response"]["allowed"] != true {
        bail!("a signed image was refused: {answer}");
    }
    Ok(())
}

/// The same admission again and again, by wrk.
fn warm(sandbox: &Sandbox, gate: &Gate, image: &Image) -> anyhow::Result<Vec<Row>> {
    let body = sandbox.write("review.json", review(image));
    let script = sandbox.write(
        "post.lua",
        format!(
            "local file = io.open({:?}, 'r')\nwrk.method = 'POST'\nwrk.body = file:read('*a')\n\
             wrk.headers['Content-Type'] = 'application/json'\n",
            body.display().to_string()
        ),
    );
    let output = Command::new("wrk")
        .args(["-t", "1", "-c", &CONNECTIONS.to_string(), "--latency", "-s"])
        .arg(script)
        .args(["-d", &WARM_SECONDS.to_string(), &gate.url()])
        .output()
        .context("wrk did not start")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("wrk said:\n{text}");
    }
    let field = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("?").to_owned()
    };
    let total = text.lines().find(|line| line.contains("requests in")).unwrap_or_default();
    let total = total.split_whitespace().next().unwrap_or("?");
    Ok(vec![
        Row::alone(
            "warm admissions, 32 connections",
            format!("{}/s", field("Requests/sec:")),
            "3000/s",
        ),
        Row::alone(
            "warm admissions: p50, p99",
            format!("{}, {}", field("50%"), field("99%")),
            "p99 50 ms",
        ),
        Row::alone(
            &format!("the gate's memory after {total} admissions"),
            format!("{:.1} MiB", gate.memory()?),
            "60 MiB after 100,000",
        ),
    ])
}

fn policy(name: &str, glob: &str, key: &str) -> String {
    let key: String = key.lines().map(|line| format!("          {line}\n")).collect();
    format!(
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  \
         name: {name}\nspec:\n  images:\n  - glob: \"{glob}\"\n  authorities:\n  - key:\n      \
         data: |\n{key}"
    )
}

fn review(image: &Image) -> String {
    serde_json::json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "bench",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "name": "bench",
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": { "username": "bench" },
            "dryRun": false,
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": "bench", "namespace": "default", "labels": { "app": "bench" } },
                "spec": { "containers": [{ "name": "app", "image": image.by_digest() }] },
            },
        },
    })
    .to_string()
}
