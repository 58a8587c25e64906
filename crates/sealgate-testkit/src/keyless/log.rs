//! Transparency logs (Rekor v1 and v2). Each entry is the only one of its tree.

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _, SigningKey};
use sealgate_core::bundle::{InclusionProof, LogEntry};
use sealgate_core::digest::Digest;
use sealgate_core::dsse::{IN_TOTO, pae};
use sealgate_core::trust::{LogKey, TransparencyLog, Validity};
use serde_json::{Value, json};

use super::{Certified, Signed, b64, public};

/// Log, and its entry in the trust root.
pub(super) struct Log {
    pair: KeyPair,
    pub(super) known: TransparencyLog,
    generation: Generation,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Generation {
    Rekor1,
    Rekor2,
}

impl Log {
    pub(super) fn rekor1(window: Validity) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let key = LogKey { key: public(&pair), hash: None };
        let known = TransparencyLog::new("https://rekor.example", key, None, window);
        Self { pair, known, generation: Generation::Rekor1 }
    }

    /// The log ID is that of signed notes: name, line break, key type, key.
    pub(super) fn rekor2(window: Validity) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let key = LogKey { key: public(&pair), hash: None };
        let named = [b"log2025.example\n\x01", pair.der_bytes()].concat();
        let id = digest(&SHA256, &named).as_ref().to_vec();
        let known = TransparencyLog::new("https://log2025.example", key, Some(id), window);
        Self { pair, known, generation: Generation::Rekor2 }
    }

    pub(super) fn entry(&self, body: &Value, now: i64) -> LogEntry {
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let bytes = body.to_string().into_bytes();
        let mut entry = LogEntry {
            log_id: self.known.log_id().to_vec(),
            kind: text("kind"),
            version: text("apiVersion"),
            proof: Some(self.proof(&bytes)),
            body: bytes,
            ..LogEntry::default()
        };
        if self.generation == Generation::Rekor1 {
            // Rekor v1 counts over all its shards.
            entry.log_index = 1_000_000;
            entry.integrated_time = now;
            entry.signed_entry_timestamp = Some(self.signed_entry_timestamp(&entry));
        }
        entry
    }

    fn signed_entry_timestamp(&self, entry: &LogEntry) -> Vec<u8> {
        let message = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            b64(&entry.body),
            entry.integrated_time,
            hex::encode(&entry.log_id),
            entry.log_index,
        );
        self.sign(message.as_bytes())
    }

    fn proof(&self, body: &[u8]) -> InclusionProof {
        let root = digest(&SHA256, &[&[0], body].concat());
        let name = &self.known.origin;
        let origin = match self.generation {
            Generation::Rekor1 => format!("{name} - 2605736670972794746"),
            Generation::Rekor2 => name.clone(),
        };
        let note = format!("{origin}\n1\n{}\n", b64(root));
        let hint = self.known.log_id().first_chunk::<4>().unwrap();
        let line = b64([hint.as_slice(), &self.sign(note.as_bytes())].concat());
        InclusionProof {
            log_index: 0,
            root_hash: root.as_ref().to_vec(),
            tree_size: 1,
            hashes: Vec::new(),
            checkpoint: format!("{note}\n\u{2014} {name} {line}\n"),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        SigningKey::sign(&self.pair, message).unwrap()
    }
}

/// Entry body of Rekor v1: `hashedrekord`, or `dsse` for an envelope.
pub(super) fn body_of_rekor1(by: &Certified, signature: &[u8], signed: Signed<'_>) -> Value {
    let hash = |bytes: &[u8]| json!({ "algorithm": "sha256", "value": Digest::of(bytes).hex() });
    match signed {
        Signed::Message(message) => {
            json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
                "data": { "hash": hash(message) },
                "signature": {
                    "content": b64(signature),
                    "publicKey": { "content": b64(by.pem()) },
                },
            }})
        }
        Signed::Statement(statement) => {
            let envelope = json!({
                "payload": b64(statement),
                "payloadType": IN_TOTO,
                "signatures": [{ "sig": b64(signature) }],
            });
            json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": {
                "envelopeHash": hash(envelope.to_string().as_bytes()),
                "payloadHash": hash(statement),
                "signatures": [{ "signature": b64(signature), "verifier": b64(by.pem()) }],
            }})
        }
    }
}

/// Entry body of Rekor v2; for an envelope, its pre-authentication encoding is the message.
pub(super) fn body_of_rekor2(by: &Certified, signature: &[u8], signed: Signed<'_>) -> Value {
    let message = match signed {
        Signed::Message(message) => message.to_vec(),
        Signed::Statement(statement) => pae(IN_TOTO, statement),
    };
    json!({ "apiVersion": "0.0.2", "kind": "hashedrekord", "spec": { "hashedRekordV002": {
        "data": { "algorithm": "SHA2_256", "digest": b64(digest(&SHA256, &message)) },
        "signature": {
            "content": b64(signature),
            "verifier": {
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "x509Certificate": { "rawBytes": b64(&by.der) },
            },
        },
    }}})
}
