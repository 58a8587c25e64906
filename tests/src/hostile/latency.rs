//! Latencies of requests and probes.

use std::time::{Duration, Instant};

use super::client::{Answer, Tally};

/// Latencies of admitted reviews, and the refused ones.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    times: Vec<Duration>,
    /// Reviews of signed images that were not admitted.
    pub refused: Vec<Answer>,
}

/// Health probes like a kubelet's: each on a new connection, with a time limit.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// Number of probes.
    pub count: usize,
    /// Probes without a 200 in time.
    pub missed: usize,
    /// Slowest response.
    pub max: Duration,
}

/// Interval of the probes.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// Time limit of a probe.
pub const PROBE_LIMIT: Duration = Duration::from_secs(1);

impl Latencies {
    /// Adds an answer. The time of a refused review counts as well: a refusal must not look fast.
    pub fn push(&mut self, answer: Answer, time: Duration) {
        self.times.push(time);
        if answer != Answer::Admitted {
            self.refused.push(answer);
        }
    }

    /// Adds those of another measurement.
    pub fn append(&mut self, mut other: Self) {
        self.times.append(&mut other.times);
        self.refused.append(&mut other.refused);
    }

    /// Refused reviews by code.
    pub fn refused_by_code(&self) -> Tally {
        let mut tally = Tally::default();
        self.refused.iter().for_each(|answer| tally.count(answer));
        tally
    }

    /// Number of reviews.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Latency that this share of the reviews does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
    }

    /// Highest latency.
    pub fn max(&self) -> Duration {
        self.quantile(1.0)
    }
}

/// Probes `url` (`…/healthz`) until `end`.
pub async fn probe(url: String, end: Instant) -> anyhow::Result<Probes> {
    let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy();
    let http = http.pool_max_idle_per_host(0).timeout(PROBE_LIMIT).build()?;
    let mut probes = Probes::default();
    let mut interval = tokio::time::interval(PROBE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while Instant::now() < end {
        interval.tick().await;
        let start = Instant::now();
        let response = http.get(&url).send().await;
        probes.count += 1;
        probes.missed += usize::from(!response.is_ok_and(|it| it.status() == 200));
        probes.max = probes.max.max(start.elapsed());
    }
    Ok(probes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let mut latencies = Latencies::default();
        for millis in (1..=100).rev() {
            latencies.push(Answer::Admitted, Duration::from_millis(millis));
        }
        assert_eq!(latencies.quantile(0.5), Duration::from_millis(51));
        assert_eq!(latencies.quantile(0.99), Duration::from_millis(100));
        assert_eq!(latencies.max(), Duration::from_millis(100));
        assert_eq!(Latencies::default().max(), Duration::ZERO);
    }
}
