//! Honest tenants: pods of signed images at a steady rate, some of images that the gate knows and
//! some of new ones.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::client::{Answer, Client, ClientCertificate, Version};
use super::latency::Latencies;
use super::reviews;
use crate::image::Image;
use crate::programs::Sandbox;
use crate::registries::Registry;

/// Images that one call of `sign` takes.
const A_CALL: usize = 50;

/// Reviews of each tenant in a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Of an image that was verified before.
    pub warm: f64,
    /// Of a new image.
    pub cold: f64,
}

/// Honest tenants, each in a namespace of its own.
pub struct HonestTenants {
    tenants: Vec<Tenant>,
    rates: Rates,
    cold: VecDeque<Image>,
}

struct Tenant {
    client: Client,
    namespace: String,
    warm: String,
}

/// Latencies of both kinds of reviews.
#[derive(Clone, Debug, Default)]
pub struct HonestFigures {
    /// Of images that were verified before.
    pub warm: Latencies,
    /// Of new images.
    pub cold: Latencies,
}

/// Kind of a review.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Temperature {
    Warm,
    Cold,
}

/// Forwards connections to a server, and each request after a delay.
pub struct DelayProxy {
    /// `localhost:PORT`: a name, so that its clients depend on their resolver.
    pub host: String,
    task: JoinHandle<()>,
}

/// Images `NAME-0` and so on, each with a bundle of the sandbox's `cosign.key`.
pub fn signed_images(
    sandbox: &Sandbox,
    registry: &Registry,
    name: &str,
    count: usize,
) -> Vec<Image> {
    let images: Vec<Image> = (0..count).map(|i| registry.image(&format!("{name}-{i}"))).collect();
    for some in images.chunks(A_CALL) {
        let mut words = vec!["sign".to_owned(), "--key".into(), "cosign.key".into(), "-y".into()];
        words.extend(some.iter().map(Image::by_digest));
        sandbox.sealgate(&words).ok();
    }
    images
}

/// Clients as of the API server: some with HTTP/1.1, some with HTTP/2.
pub fn clients(
    certificate: Option<&ClientCertificate>,
    port: u16,
    count: usize,
) -> anyhow::Result<Vec<Client>> {
    let versions = [Version::Http1, Version::Http2].into_iter().cycle().take(count);
    versions.map(|version| Client::presenting(certificate, port, version)).collect()
}

impl HonestTenants {
    /// Tenants, one for each client; each takes one of the images, which are signed, as the one that
    /// the gate knows.
    pub async fn new(
        clients: Vec<Client>,
        rates: Rates,
        images: Vec<Image>,
    ) -> anyhow::Result<Self> {
        let mut cold = VecDeque::from(images);
        let mut tenants = Vec::new();
        for (number, client) in clients.into_iter().enumerate() {
            let namespace = format!("team-{number}");
            let image = cold.pop_front().ok_or_else(|| anyhow::anyhow!("too few images"))?;
            let warm = reviews::pod(&namespace, [image.by_digest()]);
            let answer = client.validate(warm.clone()).await;
            anyhow::ensure!(answer == Answer::Admitted, "a signed image: {answer:?}");
            tenants.push(Tenant { client, namespace, warm });
        }
        Ok(Self { tenants, rates, cold })
    }

    /// Sends reviews until `end`, at the rates, whether or not earlier ones were answered.
    pub async fn run(&mut self, end: Instant) -> HonestFigures {
        let count = self.tenants.len() as f64;
        let mut warm =
            tokio::time::interval(Duration::from_secs_f64(1.0 / (self.rates.warm * count)));
        let mut cold =
            tokio::time::interval(Duration::from_secs_f64(1.0 / (self.rates.cold * count)));
        let mut turns = [0, 0];
        let mut under_way = JoinSet::new();
        while Instant::now() < end {
            let temperature = tokio::select! {
                _ = warm.tick() => Temperature::Warm,
                _ = cold.tick() => Temperature::Cold,
            };
            let turn = &mut turns[usize::from(temperature == Temperature::Cold)];
            let tenant = &self.tenants[*turn % self.tenants.len()];
            *turn += 1;
            let review = match temperature {
                Temperature::Warm => tenant.warm.clone(),
                Temperature::Cold => match self.cold.pop_front() {
                    Some(image) => reviews::pod(&tenant.namespace, [image.by_digest()]),
                    None => break,
                },
            };
            let client = tenant.client.clone();
            under_way.spawn(async move {
                let start = Instant::now();
                let answer = client.validate(review).await;
                (temperature, answer, start.elapsed())
            });
        }
        let mut figures = HonestFigures::default();
        while let Some(Ok((temperature, answer, time))) = under_way.join_next().await {
            match temperature {
                Temperature::Warm => figures.warm.push(answer, time),
                Temperature::Cold => figures.cold.push(answer, time),
            }
        }
        figures
    }
}

impl DelayProxy {
    /// Starts a proxy for `upstream` (`127.0.0.1:PORT`).
    pub async fn start(upstream: &str, delay: Duration) -> io::Result<Self> {
        Self::closing_idle(upstream, delay, Duration::MAX).await
    }

    /// Variant that closes connections on which there was no request for `idle`, so that clients
    /// connect anew.
    pub async fn closing_idle(upstream: &str, delay: Duration, idle: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = format!("localhost:{}", listener.local_addr()?.port());
        let upstream = upstream.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = upstream.clone();
                tokio::spawn(async move {
                    // Each side may close its connection at any time.
                    let Ok(server) = TcpStream::connect(upstream).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let requests = forward(from_client, to_server, delay, idle);
                    let responses = forward(from_server, to_client, Duration::ZERO, Duration::MAX);
                    let _ = tokio::join!(requests, responses);
                });
            }
        });
        Ok(Self { host, task })
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards bytes, each piece after `delay`, until the end of the stream or until nothing has come for
/// `idle`.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    idle: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = tokio::time::timeout(idle, from.read(&mut buffer)).await;
        let length = read.unwrap_or(Ok(0))?;
        if length == 0 {
            return to.shutdown().await;
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
