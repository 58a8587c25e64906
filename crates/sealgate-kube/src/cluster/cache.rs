//! A small memory of pull secrets and service accounts: half a minute, a bounded number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sealgate_engine::ports::{Clock, PullSecret};

/// How long an answer is remembered; also "there is no such secret".
const LIFETIME: SignedDuration = SignedDuration::from_secs(30);
/// How many answers of each sort are remembered.
const CAPACITY: usize = 1_000;
/// A larger secret is not remembered: who may write secrets must not fill our memory with them.
const MAX_SECRET: usize = 16 << 10;

/// What was read a moment ago.
pub(super) struct Cache {
    clock: Arc<dyn Clock>,
    secrets: Mutex<Memory<Option<PullSecret>>>,
    accounts: Mutex<Memory<Vec<String>>>,
}

type Memory<T> = HashMap<(String, String), (Timestamp, T)>;

impl Cache {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, secrets: Mutex::default(), accounts: Mutex::default() }
    }

    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<Option<PullSecret>> {
        recall(&self.secrets, self.clock.now(), namespace, name)
    }

    pub(super) fn keep_secret(&self, namespace: &str, name: &str, secret: Option<PullSecret>) {
        let size = secret.as_ref().map_or(0, |secret| secret.docker_config_json.len());
        if size <= MAX_SECRET {
            keep(&self.secrets, self.clock.now(), namespace, name, secret);
        }
    }

    pub(super) fn account(&self, namespace: &str, name: &str) -> Option<Vec<String>> {
        recall(&self.accounts, self.clock.now(), namespace, name)
    }

    pub(super) fn keep_account(&self, namespace: &str, name: &str, secrets: Vec<String>) {
        keep(&self.accounts, self.clock.now(), namespace, name, secrets);
    }
}

fn recall<T: Clone>(
    memory: &Mutex<Memory<T>>,
    now: Timestamp,
    namespace: &str,
    name: &str,
) -> Option<T> {
    let memory = lock(memory);
    let (read_at, value) = memory.get(&(namespace.to_owned(), name.to_owned()))?;
    is_fresh(*read_at, now).then(|| value.clone())
}

fn keep<T>(memory: &Mutex<Memory<T>>, now: Timestamp, namespace: &str, name: &str, value: T) {
    let mut memory = lock(memory);
    if memory.len() >= CAPACITY {
        memory.retain(|_, (read_at, _)| is_fresh(*read_at, now));
    }
    if memory.len() >= CAPACITY {
        memory.clear();
    }
    memory.insert((namespace.to_owned(), name.to_owned()), (now, value));
}

/// A clock that was set back makes an answer old, not young for ever.
fn is_fresh(read_at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(read_at);
    !age.is_negative() && age < LIFETIME
}

fn lock<T>(memory: &Mutex<Memory<T>>) -> MutexGuard<'_, Memory<T>> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_for_half_a_minute_and_not_in_the_past() {
        let memory: Mutex<Memory<u8>> = Mutex::default();
        let at = |second| Timestamp::from_second(second).expect("in range");
        keep(&memory, at(100), "ns", "a", 1);
        assert_eq!(recall(&memory, at(129), "ns", "a"), Some(1));
        assert_eq!(recall(&memory, at(130), "ns", "a"), None);
        assert_eq!(recall(&memory, at(99), "ns", "a"), None);
        assert_eq!(recall(&memory, at(100), "other", "a"), None);
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
        let memory: Mutex<Memory<u8>> = Mutex::default();
        let now = Timestamp::UNIX_EPOCH;
        for index in 0..3 * CAPACITY {
            keep(&memory, now, "ns", &index.to_string(), 0);
        }
        assert!(lock(&memory).len() <= CAPACITY);
    }
}
