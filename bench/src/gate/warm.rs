//! The same admission again and again, by wrk.

use std::process::Command;

use anyhow::{Context as _, bail};
use sealgate_tests::image::Image;
use sealgate_tests::programs::Sandbox;

use super::{CONNECTIONS, Gate, review};

/// The output of wrk.
pub(super) struct Warm {
    pub(super) requests: u64,
    /// Admissions a second.
    pub(super) rate: f64,
    /// Latencies as wrk writes them: `806.00us`.
    pub(super) p50: String,
    pub(super) p99: String,
}

impl Warm {
    /// Admits a pod of `image` for so many seconds.
    pub(super) fn admit(
        sandbox: &Sandbox,
        gate: &Gate,
        image: &Image,
        seconds: u64,
    ) -> anyhow::Result<Self> {
        let body = sandbox.write("review.json", review::of(&[image]));
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
            .args(["-d", &seconds.to_string(), &gate.url("/validate?timeout=10s")])
            .output()
            .context("wrk did not start")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            bail!("wrk said:\n{text}");
        }
        Self::read(&text).with_context(|| format!("wrk said:\n{text}"))
    }

    fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
            line.split_whitespace().nth(1)
        };
        let total = text.lines().find(|line| line.contains("requests in"))?;
        Some(Self {
            requests: total.split_whitespace().next()?.parse().ok()?,
            rate: field("Requests/sec:")?.parse().ok()?,
            p50: field("50%")?.to_owned(),
            p99: field("99%")?.to_owned(),
        })
    }
}
