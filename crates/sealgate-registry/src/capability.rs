//! Support for the referrers API, remembered for the repositories of all registries.

use std::sync::OnceLock;
use std::time::Duration;

/// Support for the referrers API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// The API exists.
    Api,
    /// The API exists, and a pushed referrer was seen in its list, served with the specification's
    /// media type.
    ApiLists,
    /// No API; the fallback tag is used.
    FallbackTag,
}

/// Remembered support. Registries and paths come from untrusted workloads, so all entries together
/// are bounded in bytes; a forgotten one costs a request.
pub(crate) struct Capabilities {
    keep: Duration,
    /// Created for the first entry.
    entries: OnceLock<moka::future::Cache<Key, Capability>>,
}

/// Registry, and a path or a path prefix with a trailing slash, separated by a space.
type Key = Box<str>;

/// Maximum size of all entries together, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Approximate size of an entry besides its key, in bytes.
const ENTRY: usize = 160;

impl Capabilities {
    /// Remembers each entry for `keep`.
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep, entries: OnceLock::new() }
    }

    /// Remembered support at `path`. Hosts may route paths to different registries, so a result for
    /// other repositories is kept per first path segment.
    pub(crate) async fn of(&self, registry: &str, path: &str) -> Option<Capability> {
        let entries = self.entries.get()?;
        match entries.get(&key(registry, &path_prefix(path))).await {
            Some(known) => Some(known),
            None => entries.get(&key(registry, path)).await,
        }
    }

    /// Records support at `path` and at all repositories with the same first segment.
    pub(crate) async fn remember(&self, registry: &str, path: &str, what: Capability) {
        self.insert(key(registry, &path_prefix(path)), what).await;
    }

    /// Records support at `path` only: a made-up repository name in a workload must not hide the
    /// API for existing repositories.
    pub(crate) async fn remember_here(&self, registry: &str, path: &str, what: Capability) {
        self.insert(key(registry, path), what).await;
    }

    async fn insert(&self, key: Key, what: Capability) {
        let entries = self.entries.get_or_init(|| {
            moka::future::Cache::builder()
                .weigher(|key: &Key, _| u32::try_from(key.len() + ENTRY).unwrap_or(u32::MAX))
                .max_capacity(MAX_BYTES)
                .time_to_live(self.keep)
                .build()
        });
        entries.insert(key, what).await;
    }
}

fn key(registry: &str, path: &str) -> Key {
    format!("{registry} {path}").into_boxed_str()
}

/// First segment of a path with a trailing slash, so that it equals no repository name.
fn path_prefix(path: &str) -> String {
    format!("{}/", path.split('/').next().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn support_is_remembered_per_first_segment_or_path() {
        let known = Capabilities::new(Duration::from_secs(60));
        assert_eq!(known.of("reg.io", "a/b").await, None);
        known.remember("reg.io", "a/b", Capability::Api).await;
        known.remember_here("reg.io", "c/d", Capability::FallbackTag).await;
        for (registry, path, support) in [
            ("reg.io", "a/b", Some(Capability::Api)),
            ("reg.io", "a/x", Some(Capability::Api)),
            ("reg.io", "c/d", Some(Capability::FallbackTag)),
            ("reg.io", "c/x", None),
            ("other.io", "a/b", None),
        ] {
            assert_eq!(known.of(registry, path).await, support, "{registry} {path}");
        }
    }

    #[tokio::test]
    async fn support_is_forgotten_after_its_time() {
        let known = Capabilities::new(Duration::from_millis(20));
        known.remember("reg.io", "a/b", Capability::Api).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert_eq!(known.of("reg.io", "a/b").await, None);
    }

    #[tokio::test]
    async fn made_up_paths_do_not_fill_the_memory() {
        let known = Capabilities::new(Duration::from_secs(600));
        for host in 0..540 {
            for path in 0..1000 {
                let (host, path) = (format!("reg{host}.io"), format!("{path}/{}", "x".repeat(200)));
                known.remember_here(&host, &path, Capability::FallbackTag).await;
            }
        }
        let entries = known.entries.get().unwrap();
        entries.run_pending_tasks().await;
        assert!(entries.weighted_size() <= MAX_BYTES, "{}", entries.weighted_size());
        assert!(entries.entry_count() <= MAX_BYTES / 360, "{}", entries.entry_count());
    }
}
