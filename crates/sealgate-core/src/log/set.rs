//! Signed entry timestamp of Rekor v1: the log's signature over the canonical JSON (RFC 8785) of
//! the entry, its time, its index and the log's id.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::bundle::LogEntry;
use crate::reject::LogReject;
use crate::trust::TransparencyLog;

/// The largest integer that canonical JSON can hold (2^53 - 1): larger ones would be rounded,
/// so that two entries had one signature.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// A verified signed entry timestamp. Made by [`verify`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignedEntryTimestamp {
    integrated_time: i64,
    signature: Vec<u8>,
}

impl SignedEntryTimestamp {
    /// The time that the log has signed.
    pub(super) fn integrated_time(&self) -> i64 {
        self.integrated_time
    }
    /// The log's signature.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Verifies the signed entry timestamp `set` of `entry` with the log's key.
pub(super) fn verify(
    set: &[u8],
    entry: &LogEntry,
    log: &TransparencyLog,
) -> Result<SignedEntryTimestamp, LogReject> {
    let message = signed_bytes(entry)?;
    let verified =
        log.key.verify(message.as_bytes(), set).map_err(|_| LogReject::SignedEntryTimestamp);
    let (integrated_time, signature) = (entry.integrated_time, set.to_vec());
    verified.map(|()| SignedEntryTimestamp { integrated_time, signature })
}

/// The canonical JSON that is signed. Base64 and hexadecimal need no escapes.
pub(super) fn signed_bytes(entry: &LogEntry) -> Result<String, LogReject> {
    let in_range = |number: i64, name| match number {
        0..=MAX_INTEGER => Ok(number),
        _ => Err(LogReject::Number(name)),
    };
    Ok(format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(&entry.body),
        in_range(entry.integrated_time, "integratedTime")?,
        hex::encode(&entry.log_id),
        in_range(entry.log_index, "logIndex")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_text_is_canonical() {
        let entry = LogEntry {
            log_index: 7,
            integrated_time: 1_700_000_000,
            log_id: vec![0xab, 0x01],
            body: b"{}".to_vec(),
            ..LogEntry::default()
        };
        let want = r#"{"body":"e30=","integratedTime":1700000000,"logID":"ab01","logIndex":7}"#;
        assert_eq!(signed_bytes(&entry).unwrap(), want);
    }

    #[test]
    fn refuses_numbers_that_canonical_json_cannot_hold() {
        let entry = |log_index, integrated_time| LogEntry {
            log_index,
            integrated_time,
            ..LogEntry::default()
        };
        assert!(signed_bytes(&entry(MAX_INTEGER, MAX_INTEGER)).is_ok());
        for (index, time, name) in [
            (-1, 0, "logIndex"),
            (MAX_INTEGER + 1, 0, "logIndex"),
            (0, i64::MIN, "integratedTime"),
            (0, i64::MAX, "integratedTime"),
        ] {
            assert_eq!(signed_bytes(&entry(index, time)), Err(LogReject::Number(name)));
        }
    }
}
