//! Small ports: a fixed clock, secrets in memory, a recording decision sink.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use sealgate_core::fault::Fault;
use sealgate_engine::budget::Lease;
use sealgate_engine::ports::{
    AuditSink, Clock, PullSecret, RegistryAccess, RegistryRead, SecretSource,
};
use sealgate_engine::record::{Decided, DecisionRecord};

/// Clock with a fixed time.
#[derive(Clone, Copy, Debug)]
pub struct FrozenClock(pub Timestamp);

impl Default for FrozenClock {
    fn default() -> Self {
        Self("2026-01-02T03:04:05Z".parse().unwrap())
    }
}

impl Clock for FrozenClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Access that returns the same registry for all credentials, and counts how often it was opened.
pub struct OneRegistry {
    registry: Arc<dyn RegistryRead>,
    opened: Mutex<Vec<usize>>,
}

impl OneRegistry {
    /// Always opens `registry`.
    pub fn new(registry: Arc<dyn RegistryRead>) -> Self {
        Self { registry, opened: Mutex::default() }
    }

    /// Number of pull secrets of each call of `open`.
    pub fn opened(&self) -> Vec<usize> {
        self.opened.lock().unwrap().clone()
    }
}

impl RegistryAccess for OneRegistry {
    fn open(&self, secrets: &[PullSecret], _: &Lease) -> Arc<dyn RegistryRead> {
        self.opened.lock().unwrap().push(secrets.len());
        self.registry.clone()
    }
}

/// Secrets by `namespace/name`; pull secrets are those named by a pod.
#[derive(Default)]
pub struct MemorySecrets {
    /// Data of each secret.
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Fault returned by every call.
    pub fault: Option<Fault>,
}

#[async_trait]
impl SecretSource for MemorySecrets {
    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Fault> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(self.secrets.get(&format!("{namespace}/{name}")).cloned()),
        }
    }

    async fn pull_secrets(
        &self,
        namespace: &str,
        _service_account: &str,
        names: &[String],
    ) -> Result<Vec<PullSecret>, Fault> {
        let mut found = Vec::new();
        for name in names {
            let secret = self.secret(namespace, name).await?;
            found.extend(
                secret
                    .into_iter()
                    .flat_map(|data| data.into_values())
                    .map(|docker_config_json| PullSecret { docker_config_json }),
            );
        }
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(found),
        }
    }
}

/// Keeps every decision. Each is replayed from its record at once: every test that decides anything
/// tests the replay, too.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<DecisionRecord>>);

impl Recorder {
    /// All decisions so far.
    pub fn records(&self) -> Vec<DecisionRecord> {
        self.0.lock().unwrap().clone()
    }
}

impl AuditSink for Recorder {
    fn record(&self, decided: &Decided<'_>) {
        let record = DecisionRecord::from(decided);
        let json = serde_json::to_string(&record).unwrap();
        let read: DecisionRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(read, record, "what is written is read");
        assert_eq!(read.replay().unwrap().differences, [], "replayed from the record");
        let replayed = read.replay_with(decided.policies).unwrap();
        assert_eq!(replayed.differences, [], "replayed by the policies in force: {json}");
        self.0.lock().unwrap().push(record);
    }
}
