//! Log entries and timestamps of a bundle or a legacy signature, parsed with bounds and unverified.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::json::{self, InvalidJson, MAX_SHORT_VALUES, Object};
use crate::reject::{Document, Reject};

/// The maximum number of log entries in a bundle (sigstore-go's bound).
pub const MAX_LOG_ENTRIES: usize = 32;
/// The maximum number of timestamps in a bundle (sigstore-go's bound).
pub const MAX_TIMESTAMPS: usize = 32;
/// The longest path of an inclusion proof: a log cannot have more than 2^64 leaves.
const MAX_HASHES: usize = 64;
const MAX_BODY: usize = 1 << 20;
const MAX_TIMESTAMP: usize = 64 << 10;
/// The maximum size of all timestamps of a bundle, in bytes. The certificates in each are parsed
/// before they are known to be an authority's.
const MAX_TIMESTAMPS_SIZE: usize = 256 << 10;

/// Log entries and timestamps, unverified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogMaterial {
    /// Entries of transparency logs.
    pub entries: Vec<LogEntry>,
    /// RFC 3161 timestamp responses, DER.
    pub timestamps: Vec<Vec<u8>>,
}

/// An entry of a transparency log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// The index over all shards of the log.
    pub log_index: i64,
    /// The id of the log's key.
    pub log_id: Vec<u8>,
    /// The kind of entry.
    pub kind: String,
    /// The version of the kind.
    pub version: String,
    /// The time at which the log claims to have integrated the entry, in seconds since 1970; 0 if
    /// absent.
    pub integrated_time: i64,
    /// The signed entry timestamp (SET).
    pub signed_entry_timestamp: Option<Vec<u8>>,
    /// The inclusion proof.
    pub proof: Option<InclusionProof>,
    /// The entry as the log holds it.
    pub body: Vec<u8>,
}

/// An inclusion proof, unverified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InclusionProof {
    /// The index in the shard of the log.
    pub log_index: i64,
    /// The root hash.
    pub root_hash: Vec<u8>,
    /// The size of the tree.
    pub tree_size: i64,
    /// The hashes of the path.
    pub hashes: Vec<Vec<u8>>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

impl LogMaterial {
    /// True if there are no entries and no timestamps.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.timestamps.is_empty()
    }

    pub(super) fn read(material: &Object<'_>) -> Result<Self, Reject> {
        let entries = entries(material).map_err(|e| Reject::json(Document::LogEntry, e))?;
        let timestamps = timestamps(material).map_err(|e| Reject::json(Document::Timestamp, e))?;
        Ok(Self { entries, timestamps })
    }

    /// Parses cosign's annotations of a legacy signature: `{"SignedEntryTimestamp","Payload":{…}}`
    /// and `{"SignedRFC3161Timestamp"}`. An empty text is the same as none.
    pub fn of_annotations(entry: &str, timestamp: &str) -> Result<Self, Reject> {
        let mut material = Self::default();
        if !entry.is_empty() {
            let entry = annotated_entry(entry).map_err(|e| Reject::json(Document::LogEntry, e))?;
            material.entries.extend(entry);
        }
        if !timestamp.is_empty() {
            let timestamp = legacy_timestamp(timestamp);
            let timestamp = timestamp.map_err(|e| Reject::json(Document::Timestamp, e))?;
            material.timestamps.extend(timestamp);
        }
        Ok(material)
    }

    /// Writes the form that [`Self::of_annotations`] reads: the first entry that has a signed entry
    /// timestamp, and the first timestamp; empty where there is none.
    pub fn to_annotations(&self) -> (String, String) {
        let entry = self.entries.iter().find_map(LogEntry::to_annotation);
        let timestamp = self.timestamps.first();
        let timestamp =
            timestamp.map(|der| serde_json::json!({ "SignedRFC3161Timestamp": b64(der) }));
        (entry.unwrap_or_default(), timestamp.map(|value| value.to_string()).unwrap_or_default())
    }

    pub(super) fn to_value(&self) -> Map<String, Value> {
        let mut map = Map::new();
        if !self.entries.is_empty() {
            let entries = self.entries.iter().map(LogEntry::to_value).collect();
            map.insert("tlogEntries".to_owned(), Value::Array(entries));
        }
        if !self.timestamps.is_empty() {
            let signed = |der: &Vec<u8>| serde_json::json!({ "signedTimestamp": b64(der) });
            let timestamps: Vec<_> = self.timestamps.iter().map(signed).collect();
            let data = serde_json::json!({ "rfc3161Timestamps": timestamps });
            map.insert("timestampVerificationData".to_owned(), data);
        }
        map
    }
}

impl LogEntry {
    /// Parses a single entry in protobuf's JSON form, the response of Rekor v2.
    ///
    /// # Errors
    /// It is malformed, or larger than 4 MiB.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Reject> {
        json::parse_values(bytes, 4 * MAX_BODY, MAX_SHORT_VALUES)
            .and_then(|value| entry(&value))
            .map_err(|error| Reject::json(Document::LogEntry, error))
    }

    /// The entry in cosign's older form; none without a signed entry timestamp.
    pub(crate) fn to_annotation(&self) -> Option<String> {
        let set = self.signed_entry_timestamp.as_ref()?;
        let payload = serde_json::json!({
            "body": b64(&self.body),
            "integratedTime": self.integrated_time,
            "logIndex": self.log_index,
            "logID": hex::encode(&self.log_id),
        });
        let entry = serde_json::json!({ "SignedEntryTimestamp": b64(set), "Payload": payload });
        Some(entry.to_string())
    }

    fn to_value(&self) -> Value {
        let mut value = serde_json::json!({
            "logIndex": self.log_index.to_string(),
            "logId": { "keyId": b64(&self.log_id) },
            "kindVersion": { "kind": self.kind, "version": self.version },
            "integratedTime": self.integrated_time.to_string(),
            "canonicalizedBody": b64(&self.body),
        });
        if let Some(set) = &self.signed_entry_timestamp {
            value["inclusionPromise"] = serde_json::json!({ "signedEntryTimestamp": b64(set) });
        }
        if let Some(proof) = &self.proof {
            value["inclusionProof"] = proof.to_value();
        }
        value
    }
}

impl InclusionProof {
    fn to_value(&self) -> Value {
        let hashes: Vec<_> = self.hashes.iter().map(|hash| b64(hash)).collect();
        serde_json::json!({
            "logIndex": self.log_index.to_string(),
            "rootHash": b64(&self.root_hash),
            "treeSize": self.tree_size.to_string(),
            "hashes": hashes,
            "checkpoint": { "envelope": self.checkpoint },
        })
    }
}

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn entries(material: &Object<'_>) -> Result<Vec<LogEntry>, InvalidJson> {
    let list = material.either("tlogEntries", "tlog_entries")?;
    json::list(list, "tlogEntries", MAX_LOG_ENTRIES)?.iter().map(entry).collect()
}

fn entry(value: &Value) -> Result<LogEntry, InvalidJson> {
    let object = Object::new(
        value,
        "tlogEntries",
        &[
            "logIndex",
            "log_index",
            "logId",
            "log_id",
            "kindVersion",
            "kind_version",
            "integratedTime",
            "integrated_time",
            "inclusionPromise",
            "inclusion_promise",
            "inclusionProof",
            "inclusion_proof",
            "canonicalizedBody",
            "canonicalized_body",
        ],
    )?;
    let (kind, version) = kind_version(object.either("kindVersion", "kind_version")?)?;
    let body = object.either("canonicalizedBody", "canonicalized_body")?;
    let set = object.either("inclusionPromise", "inclusion_promise")?;
    let proof = object.either("inclusionProof", "inclusion_proof")?;
    let time = object.either("integratedTime", "integrated_time")?;
    Ok(LogEntry {
        log_index: json::int64(object.either("logIndex", "log_index")?, "logIndex")?,
        log_id: log_id(object.either("logId", "log_id")?)?,
        kind,
        version,
        integrated_time: json::int64(time, "integratedTime")?,
        signed_entry_timestamp: set.map(inclusion_promise).transpose()?,
        proof: proof.map(inclusion_proof).transpose()?,
        body: bounded(json::bytes(body, "canonicalizedBody")?, MAX_BODY)?,
    })
}

fn bounded(bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, InvalidJson> {
    if bytes.len() > limit { Err(InvalidJson::TooLarge(limit)) } else { Ok(bytes) }
}

fn kind_version(value: Option<&Value>) -> Result<(String, String), InvalidJson> {
    let Some(value) = value else { return Ok(Default::default()) };
    let object = Object::new(value, "kindVersion", &["kind", "version"])?;
    let kind = json::text(object.get("kind"), "kind")?;
    let version = json::text(object.get("version"), "version")?;
    Ok((kind.to_owned(), version.to_owned()))
}

fn log_id(value: Option<&Value>) -> Result<Vec<u8>, InvalidJson> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let object = Object::new(value, "logId", &["keyId", "key_id"])?;
    json::bytes(object.either("keyId", "key_id")?, "keyId")
}

fn inclusion_promise(value: &Value) -> Result<Vec<u8>, InvalidJson> {
    let known = &["signedEntryTimestamp", "signed_entry_timestamp"];
    let object = Object::new(value, "inclusionPromise", known)?;
    let set = object.either("signedEntryTimestamp", "signed_entry_timestamp")?;
    json::bytes(set, "signedEntryTimestamp")
}

fn inclusion_proof(value: &Value) -> Result<InclusionProof, InvalidJson> {
    let object = Object::new(
        value,
        "inclusionProof",
        &[
            "logIndex",
            "log_index",
            "rootHash",
            "root_hash",
            "treeSize",
            "tree_size",
            "hashes",
            "checkpoint",
        ],
    )?;
    let hashes = json::list(object.get("hashes"), "hashes", MAX_HASHES)?;
    Ok(InclusionProof {
        log_index: json::int64(object.either("logIndex", "log_index")?, "logIndex")?,
        root_hash: json::bytes(object.either("rootHash", "root_hash")?, "rootHash")?,
        tree_size: json::int64(object.either("treeSize", "tree_size")?, "treeSize")?,
        hashes: hashes
            .iter()
            .map(|hash| json::bytes(Some(hash), "hashes"))
            .collect::<Result<_, _>>()?,
        checkpoint: checkpoint(object.get("checkpoint"))?,
    })
}

fn checkpoint(value: Option<&Value>) -> Result<String, InvalidJson> {
    let Some(value) = value else { return Ok(String::new()) };
    let object = Object::new(value, "checkpoint", &["envelope"])?;
    Ok(json::text(object.get("envelope"), "envelope")?.to_owned())
}

fn timestamps(material: &Object<'_>) -> Result<Vec<Vec<u8>>, InvalidJson> {
    let data = material.either("timestampVerificationData", "timestamp_verification_data")?;
    let Some(data) = data else { return Ok(Vec::new()) };
    let known = &["rfc3161Timestamps", "rfc3161_timestamps"];
    let data = Object::new(data, "timestampVerificationData", known)?;
    let list = data.either("rfc3161Timestamps", "rfc3161_timestamps")?;
    let list = json::list(list, "rfc3161Timestamps", MAX_TIMESTAMPS)?;
    let mut left = MAX_TIMESTAMPS_SIZE;
    let mut timestamps = Vec::new();
    for value in list {
        let timestamp = timestamp(value)?;
        let too_large = InvalidJson::TooLarge(MAX_TIMESTAMPS_SIZE);
        left = left.checked_sub(timestamp.len()).ok_or(too_large)?;
        timestamps.push(timestamp);
    }
    Ok(timestamps)
}

fn timestamp(value: &Value) -> Result<Vec<u8>, InvalidJson> {
    let known = &["signedTimestamp", "signed_timestamp"];
    let object = Object::new(value, "rfc3161Timestamps", known)?;
    let signed = object.either("signedTimestamp", "signed_timestamp")?;
    bounded(json::bytes(signed, "signedTimestamp")?, MAX_TIMESTAMP)
}

/// `null` is what Go writes for an entry that is not there.
fn annotated_entry(text: &str) -> Result<Option<LogEntry>, InvalidJson> {
    let value = json::parse_values(text.as_bytes(), 2 * MAX_BODY, MAX_SHORT_VALUES)?;
    if value.is_null() { Ok(None) } else { legacy_entry(&value).map(Some) }
}

pub(super) fn legacy_entry(value: &Value) -> Result<LogEntry, InvalidJson> {
    let object = Object::new(value, "bundle", &["SignedEntryTimestamp", "Payload"])?;
    let payload = object.get("Payload");
    let payload = payload.ok_or(InvalidJson::Field { field: "Payload", want: "an object" })?;
    let known = &["body", "integratedTime", "logIndex", "logID"];
    let payload = Object::new(payload, "Payload", known)?;
    let id = json::text(payload.get("logID"), "logID")?;
    let id = hex::decode(id).map_err(|_| InvalidJson::Field { field: "logID", want: "hex" })?;
    let set = json::bytes(object.get("SignedEntryTimestamp"), "SignedEntryTimestamp")?;
    Ok(LogEntry {
        log_index: json::int64(payload.get("logIndex"), "logIndex")?,
        log_id: id,
        integrated_time: json::int64(payload.get("integratedTime"), "integratedTime")?,
        signed_entry_timestamp: Some(set),
        body: bounded(json::bytes(payload.get("body"), "body")?, MAX_BODY)?,
        ..LogEntry::default()
    })
}

fn legacy_timestamp(text: &str) -> Result<Option<Vec<u8>>, InvalidJson> {
    let value = json::parse_values(text.as_bytes(), 2 * MAX_TIMESTAMP, MAX_SHORT_VALUES)?;
    if value.is_null() {
        return Ok(None);
    }
    let object = Object::new(&value, "rfc3161timestamp", &["SignedRFC3161Timestamp"])?;
    let signed = json::bytes(object.get("SignedRFC3161Timestamp"), "SignedRFC3161Timestamp")?;
    bounded(signed, MAX_TIMESTAMP).map(Some)
}
