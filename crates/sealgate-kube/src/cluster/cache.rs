//! Cache of pull secrets and service accounts: half a minute, a bounded number of entries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sealgate_engine::ports::{Clock, PullSecret};

/// Lifetime of an entry, including negative ones.
const LIFETIME: SignedDuration = SignedDuration::from_secs(30);
/// Maximum number of entries of each kind.
const CAPACITY: usize = 1_000;
/// Larger secrets are not cached: users who can write secrets must not fill our memory.
const MAX_SECRET: usize = 16 << 10;

/// Recently read objects.
pub(super) struct Cache {
    clock: Arc<dyn Clock>,
    secrets: Mutex<Entries<Option<PullSecret>>>,
    accounts: Mutex<Entries<Vec<String>>>,
}

type Entries<T> = HashMap<(String, String), (Timestamp, T)>;

impl Cache {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, secrets: Mutex::default(), accounts: Mutex::default() }
    }

    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<Option<PullSecret>> {
        lookup(&self.secrets, self.clock.now(), namespace, name)
    }

    pub(super) fn keep_secret(&self, namespace: &str, name: &str, secret: Option<PullSecret>) {
        let size = secret.as_ref().map_or(0, |secret| secret.docker_config_json.len());
        if size <= MAX_SECRET {
            keep(&self.secrets, self.clock.now(), namespace, name, secret);
        }
    }

    pub(super) fn account(&self, namespace: &str, name: &str) -> Option<Vec<String>> {
        lookup(&self.accounts, self.clock.now(), namespace, name)
    }

    pub(super) fn keep_account(&self, namespace: &str, name: &str, secrets: Vec<String>) {
        keep(&self.accounts, self.clock.now(), namespace, name, secrets);
    }
}

fn lookup<T: Clone>(
    entries: &Mutex<Entries<T>>,
    now: Timestamp,
    namespace: &str,
    name: &str,
) -> Option<T> {
    let entries = lock(entries);
    let (read_at, value) = entries.get(&(namespace.to_owned(), name.to_owned()))?;
    is_fresh(*read_at, now).then(|| value.clone())
}

fn keep<T>(entries: &Mutex<Entries<T>>, now: Timestamp, namespace: &str, name: &str, value: T) {
    let mut entries = lock(entries);
    if entries.len() >= CAPACITY {
        entries.retain(|_, (read_at, _)| is_fresh(*read_at, now));
    }
    if entries.len() >= CAPACITY {
        entries.clear();
    }
    entries.insert((namespace.to_owned(), name.to_owned()), (now, value));
}

/// Returns whether an entry is fresh. A clock that was set back makes it stale, rather than fresh
/// forever.
fn is_fresh(read_at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(read_at);
    !age.is_negative() && age < LIFETIME
}

fn lock<T>(entries: &Mutex<Entries<T>>) -> MutexGuard<'_, Entries<T>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_for_half_a_minute_and_not_in_the_past() {
        let entries: Mutex<Entries<u8>> = Mutex::default();
        let at = |second| Timestamp::from_second(second).expect("in range");
        keep(&entries, at(100), "ns", "a", 1);
        assert_eq!(lookup(&entries, at(129), "ns", "a"), Some(1));
        assert_eq!(lookup(&entries, at(130), "ns", "a"), None);
        assert_eq!(lookup(&entries, at(99), "ns", "a"), None);
        assert_eq!(lookup(&entries, at(100), "other", "a"), None);
    }

    #[test]
    fn a_large_secret_is_not_remembered() {
        struct Frozen;
        impl Clock for Frozen {
            fn now(&self) -> Timestamp {
                Timestamp::UNIX_EPOCH
            }
        }
        let cache = Cache::new(Arc::new(Frozen));
        let secret = |size| Some(PullSecret { docker_config_json: vec![b' '; size] });
        cache.keep_secret("ns", "small", secret(MAX_SECRET));
        cache.keep_secret("ns", "large", secret(MAX_SECRET + 1));
        assert!(cache.secret("ns", "small").is_some());
        assert!(cache.secret("ns", "large").is_none());
    }

    #[test]
    fn it_is_bounded() {
        let entries: Mutex<Entries<u8>> = Mutex::default();
        let now = Timestamp::UNIX_EPOCH;
        for index in 0..3 * CAPACITY {
            keep(&entries, now, "ns", &index.to_string(), 0);
        }
        assert!(lock(&entries).len() <= CAPACITY);
    }
}
