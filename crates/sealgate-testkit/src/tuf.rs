//! TUF repository for tests: four roles with their own keys, signed metadata, and targets. Tests
//! introduce defects by changing fields or files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use sealgate_engine::ports::Signer as _;
use serde_json::{Value, json};

use crate::key::{Algorithm, TestKey};

/// Files of a repository, by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Repository and its signing keys.
pub struct TufRepository {
    /// Keys of the newest root, and of the other roles (`timestamp`, `snapshot`, `targets`).
    pub keys: BTreeMap<&'static str, Vec<TestKey>>,
    /// Number of keys that must sign a root.
    pub root_threshold: usize,
    /// Expiry of each role's metadata.
    pub expires: BTreeMap<&'static str, Timestamp>,
    /// Version of timestamp, snapshot and targets.
    pub version: u64,
    /// True to use consistent snapshots: names with versions and hashes.
    pub consistent: bool,
    /// Targets.
    pub targets: Files,
    roots: Vec<Vec<u8>>,
}

const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

impl TufRepository {
    /// Repository valid for a week from `now`: three root keys with a threshold of two; ECDSA keys
    /// for root and targets, Ed25519 keys for the other roles.
    pub fn new(now: Timestamp) -> Self {
        let one = |algorithm| vec![TestKey::generate(algorithm)];
        let keys = BTreeMap::from([
            ("root", root_keys()),
            ("timestamp", one(Algorithm::Ed25519)),
            ("snapshot", one(Algorithm::Ed25519)),
            ("targets", one(Algorithm::P256)),
        ]);
        let week = now + SignedDuration::from_hours(7 * 24);
        let mut repository = Self {
            keys,
            root_threshold: 2,
            expires: ROLES.iter().map(|role| (*role, week)).collect(),
            version: 1,
            consistent: true,
            targets: Files::new(),
            roots: Vec::new(),
        };
        repository.add_root(&[]);
        repository
    }

    /// Adds a target.
    pub fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.targets.insert(name.to_owned(), bytes.into());
        self
    }

    /// Root of a version, starting with 1.
    pub fn root(&self, version: usize) -> Vec<u8> {
        self.roots[version - 1].clone()
    }

    /// Adds a root with new keys, also signed by the old ones.
    pub fn rotate(&mut self) {
        let old = self.keys.insert("root", root_keys()).unwrap();
        self.add_root(&old);
    }

    /// Adds a root with new keys, not signed by the old ones.
    pub fn rotate_without_old_keys(&mut self) {
        self.keys.insert("root", root_keys());
        self.add_root(&[]);
    }

    /// Adds a root with the same keys, after a change of fields.
    pub fn renew_root(&mut self) {
        self.add_root(&[]);
    }

    /// All files, as served by a mirror.
    pub fn files(&self) -> Files {
        let mut files = Files::new();
        for (at, root) in self.roots.iter().enumerate() {
            files.insert(format!("{}.root.json", at + 1), root.clone());
        }
        let described = self.targets.iter().map(|(name, bytes)| (name.clone(), pin(bytes)));
        let described: serde_json::Map<_, _> = described.collect();
        let targets = self.sign("targets", json!({ "targets": described }));
        let meta = json!({ "targets.json": { "version": self.version } });
        let snapshot = self.sign("snapshot", json!({ "meta": meta }));
        let mut meta = pin(&snapshot);
        meta["version"] = self.version.into();
        let timestamp = self.sign("timestamp", json!({ "meta": { "snapshot.json": meta } }));
        let versioned = |name: &str| match self.consistent {
            true => format!("{}.{name}", self.version),
            false => name.to_owned(),
        };
        files.insert("timestamp.json".to_owned(), timestamp);
        files.insert(versioned("snapshot.json"), snapshot);
        files.insert(versioned("targets.json"), targets);
        for (name, bytes) in &self.targets {
            let hash = if self.consistent { format!("{}.", sha256(bytes)) } else { String::new() };
            files.insert(format!("targets/{hash}{name}"), bytes.clone());
        }
        files
    }

    /// Writes [`Self::files`] into a directory, overwriting existing files.
    pub fn write(&self, folder: &Path) {
        write(&self.files(), folder);
    }

    fn add_root(&mut self, others: &[TestKey]) {
        let mut keys = serde_json::Map::new();
        let mut roles = serde_json::Map::new();
        for role in ROLES {
            let ids: Vec<_> = self.keys[role].iter().map(id).collect();
            let threshold = if role == "root" { self.root_threshold } else { 1 };
            roles.insert(role.to_owned(), json!({ "keyids": ids, "threshold": threshold }));
            keys.extend(self.keys[role].iter().map(|key| (id(key), described(key))));
        }
        let version = self.roots.len() as u64 + 1;
        let signed = json!({
            "_type": "root",
            "spec_version": "1.0.31",
            "version": version,
            "expires": self.expires["root"].strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "consistent_snapshot": self.consistent,
            "keys": keys,
            "roles": roles,
        });
        let signers = self.keys["root"].iter().chain(others).collect::<Vec<_>>();
        let root = envelope(&signed, &signers);
        self.roots.push(root);
    }

    fn sign(&self, role: &str, mut signed: Value) -> Vec<u8> {
        signed["_type"] = role.into();
        signed["spec_version"] = "1.0.31".into();
        signed["version"] = self.version.into();
        signed["expires"] = self.expires[role].strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        envelope(&signed, &self.keys[role].iter().collect::<Vec<_>>())
    }
}

fn root_keys() -> Vec<TestKey> {
    (0..3).map(|_| TestKey::generate(Algorithm::P256)).collect()
}

/// Writes files into a directory, overwriting existing ones.
pub fn write(files: &Files, folder: &Path) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Gzipped tar archive of files, with `prefix` before each name; names are written unchanged.
pub fn archive(files: &Files, prefix: &str) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    for (name, bytes) in files {
        let name = format!("{prefix}{name}");
        if name.len() > 100 {
            // GNU format for long names: an entry that precedes the actual one.
            entry(&mut archive, tar::EntryType::GNULongName, "././@LongLink", name.as_bytes());
        }
        entry(&mut archive, tar::EntryType::Regular, &name[..name.len().min(100)], bytes);
    }
    let mut gzip = archive.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

/// Entry with this exact name; the `tar` crate itself would refuse names that lead outside.
fn entry(archive: &mut tar::Builder<impl Write>, kind: tar::EntryType, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, bytes).unwrap();
}

fn envelope(signed: &Value, signers: &[&TestKey]) -> Vec<u8> {
    let bytes = canonical(signed);
    let signature =
        |key: &&TestKey| json!({ "keyid": id(key), "sig": hex::encode(key.signature(&bytes)) });
    let signatures: Vec<_> = signers.iter().map(signature).collect();
    json!({ "signed": signed, "signatures": signatures }).to_string().into_bytes()
}

/// Canonical JSON of TUF: sorted keys, no white space, line breaks unescaped.
fn canonical(value: &Value) -> Vec<u8> {
    value.to_string().replace("\\n", "\n").into_bytes()
}

fn id(key: &TestKey) -> String {
    sha256(&canonical(&described(key)))
}

fn described(key: &TestKey) -> Value {
    let spki = key.public_key().spki_der();
    if spki.len() == 44 {
        let raw = hex::encode(&spki[12..]);
        return json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": raw } });
    }
    let pem = key.public_key().to_pem();
    json!({ "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": { "public": pem } })
}

fn pin(bytes: &[u8]) -> Value {
    json!({ "length": bytes.len(), "hashes": { "sha256": sha256(bytes) } })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}
