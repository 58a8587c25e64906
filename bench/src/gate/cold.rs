//! Admissions of images that the gate has not been asked about before.

use std::fmt;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use sealgate_tests::image::Image;

use super::{CONNECTIONS, Client, review};

/// Cold admissions, [`CONNECTIONS`] at a time.
#[derive(Default)]
pub(super) struct Cold {
    elapsed: Duration,
    /// Of each admission, milliseconds.
    times: Vec<f64>,
}

impl Cold {
    /// Admits a pod of each image.
    pub(super) async fn admit(
        &mut self,
        client: &Client<'_>,
        images: &[Image],
    ) -> anyhow::Result<()> {
        let reviews: Vec<String> = images.iter().map(|image| review::of(&[image])).collect();
        let start = Instant::now();
        let timed = |review: String| async move {
            let start = Instant::now();
            client.admit(&review).await?;
            anyhow::Ok(start.elapsed().as_secs_f64() * 1e3)
        };
        let mut admissions =
            futures::stream::iter(reviews).map(timed).buffer_unordered(CONNECTIONS);
        while let Some(time) = admissions.next().await {
            self.times.push(time?);
        }
        self.elapsed += start.elapsed();
        Ok(())
    }

    /// Admissions a second.
    pub(super) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }
}

impl fmt::Display for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        write!(f, "{:.0}/s, p50 {:.1} ms, p99 {:.1} ms", self.rate(), at(0.5), at(0.99))
    }
}
