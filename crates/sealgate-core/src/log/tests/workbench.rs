//! Real logs, small: their trees, promises, checkpoints and entries of every kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _, SigningKey};
use serde_json::{Value, json};

use super::super::*;
use super::tree::Tree;
use crate::certificate::tests::pki::{NOW, Pki, Signer as KeyOf, YEAR, around};
use crate::digest::Algorithm;
use crate::dsse::IN_TOTO;
use crate::trust::LogKey;

pub(crate) const INDEX: i64 = 5;
/// Rekor v1 counts over all its shards.
pub(crate) const GLOBAL_INDEX: i64 = 1_000_005;
pub(crate) const SIZE: u64 = 11;

/// The algorithm of the keys here, as entries of Rekor v2 name it.
const P256: &str = "PKIX_ECDSA_P256_SHA_256";

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}

/// A log of one of both generations.
pub(crate) struct TestLog {
    pub(crate) pair: KeyPair,
    pub(crate) log: TransparencyLog,
    pub(crate) generation: Generation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    Rekor1,
    Rekor2,
}

impl TestLog {
    pub(crate) fn rekor1() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self::new(pair, "https://rekor.example", Generation::Rekor1)
    }

    pub(crate) fn rekor2() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self::new(pair, "https://log2025.example", Generation::Rekor2)
    }

    pub(crate) fn new(pair: KeyPair, url: &str, generation: Generation) -> Self {
        let public = PublicKey::from_spki_der(&pair.subject_public_key_info()).unwrap();
        let key = LogKey { key: public, hash: None };
        let log = TransparencyLog::new(url, key, None, around(YEAR));
        let log = match generation {
            Generation::Rekor1 => log,
            Generation::Rekor2 => {
                let id = note_id(&log.origin, &pair);
                TransparencyLog::new(url, log.key, Some(id), log.validity)
            }
        };
        Self { pair, log, generation }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        SigningKey::sign(&self.pair, message).unwrap()
    }

    pub(crate) fn origin(&self) -> String {
        match self.generation {
            Generation::Rekor1 => format!("{} - 2605736670972794746", self.log.origin),
            Generation::Rekor2 => self.log.origin.clone(),
        }
    }

    /// The hint and the name that its signature lines carry.
    pub(crate) fn line(&self, note: &str) -> String {
        let hint = self.log.log_id().first_chunk::<4>().unwrap();
        let signature = [hint.as_slice(), &self.sign(note.as_bytes())].concat();
        format!("\u{2014} {} {}\n", self.log.origin, b64(signature))
    }

    pub(crate) fn checkpoint(&self, size: u64, root: &[u8]) -> String {
        let note = format!("{}\n{size}\n{}\n", self.origin(), b64(root));
        format!("{note}\n{}", self.line(&note))
    }

    /// The entry with this body, among others.
    pub(crate) fn entry(&self, body: &Value) -> LogEntry {
        let body = body.to_string().into_bytes();
        let parsed = Body::parse(&body).ok();
        let named = parsed.as_ref().map_or(("", ""), |body| (body.kind(), body.version()));
        let mut entry = LogEntry {
            log_index: INDEX,
            log_id: self.log.log_id().to_vec(),
            kind: named.0.to_owned(),
            version: named.1.to_owned(),
            proof: Some(self.proof(&body)),
            body,
            ..LogEntry::default()
        };
        if self.generation == Generation::Rekor1 {
            entry.log_index = GLOBAL_INDEX;
            entry.integrated_time = NOW;
            self.sign_entry(&mut entry);
        }
        entry
    }

    pub(crate) fn sign_entry(&self, entry: &mut LogEntry) {
        let message = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            b64(&entry.body),
            entry.integrated_time,
            hex::encode(&entry.log_id),
            entry.log_index,
        );
        entry.signed_entry_timestamp = Some(self.sign(message.as_bytes()));
    }

    pub(crate) fn proof(&self, body: &[u8]) -> InclusionProof {
        let index = u64::try_from(INDEX).unwrap();
        let entries = (0..SIZE).map(|at| match at == index {
            true => body.to_vec(),
            false => format!("entry {at}").into_bytes(),
        });
        let tree = Tree::new(entries);
        InclusionProof {
            log_index: INDEX,
            root_hash: tree.root().to_vec(),
            tree_size: i64::try_from(SIZE).unwrap(),
            hashes: tree.path(index).iter().map(|hash| hash.to_vec()).collect(),
            checkpoint: self.checkpoint(SIZE, &tree.root()),
        }
    }
}

pub(crate) fn note_id(name: &str, pair: &KeyPair) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA256, digest};
    let named = [name.as_bytes(), b"\n\x01", pair.der_bytes()].concat();
    digest(&SHA256, &named).as_ref().to_vec()
}

/// Something that was signed, with all that a verifier knows of it.
pub(crate) struct Signed {
    pub(crate) signature: Vec<u8>,
    pub(crate) key: PublicKey,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) content: Owned,
}

pub(crate) enum Owned {
    Message(Vec<Digest>),
    Envelope(Envelope, Option<Vec<u8>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Key,
    Certificate,
}

impl Signed {
    pub(crate) fn blob(by: By, content: &[u8]) -> Self {
        Self::new(by, content, |_| {
            let algorithms = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
            Owned::Message(algorithms.map(|algorithm| Digest::with(algorithm, content)).to_vec())
        })
    }

    pub(crate) fn envelope(by: By, payload: &[u8]) -> Self {
        Self::new(by, &crate::dsse::pae(IN_TOTO, payload), |signature| {
            let envelope = Envelope {
                payload_type: IN_TOTO.to_owned(),
                payload: payload.to_vec(),
                signatures: vec![signature.to_vec()],
            };
            Owned::Envelope(envelope, None)
        })
    }

    fn new(by: By, message: &[u8], content: impl FnOnce(&[u8]) -> Owned) -> Self {
        let (key, certificate) = match by {
            By::Key => (KeyOf::generate(), None),
            By::Certificate => {
                let leaf = Pki::new().leaf();
                (leaf.key, Some(leaf.der))
            }
        };
        let signature = key.sign(message);
        let content = content(&signature);
        Self { signature, key: key.public(), certificate, content }
    }

    pub(crate) fn logged(&self) -> Logged<'_> {
        Logged {
            signature: &self.signature,
            signer: match &self.certificate {
                Some(der) => Signer::Certificate(der),
                None => Signer::Key(&self.key),
            },
            content: match &self.content {
                Owned::Message(digests) => LoggedContent::Message(digests),
                Owned::Envelope(envelope, text) => {
                    LoggedContent::Envelope { envelope, text: text.as_deref() }
                }
            },
        }
    }

    pub(crate) fn pem(&self) -> String {
        match &self.certificate {
            Some(der) => pem("CERTIFICATE", der),
            None => pem("PUBLIC KEY", self.key.spki_der()),
        }
    }

    fn verifier_002(&self, details: &str) -> Value {
        let (name, der) = match &self.certificate {
            Some(der) => ("x509Certificate", der.as_slice()),
            None => ("publicKey", self.key.spki_der()),
        };
        json!({ "keyDetails": details, name: { "rawBytes": b64(der) } })
    }

    fn envelope_ref(&self) -> &Envelope {
        match &self.content {
            Owned::Envelope(envelope, _) => envelope,
            Owned::Message(_) => panic!("no envelope"),
        }
    }

    /// The digest of what is signed.
    fn digest(&self, algorithm: Algorithm) -> Digest {
        match &self.content {
            Owned::Envelope(envelope, _) => Digest::with(algorithm, &envelope.pae()),
            Owned::Message(digests) => {
                digests.iter().find(|digest| digest.algorithm() == algorithm).unwrap().clone()
            }
        }
    }

    pub(crate) fn hashed_rekord_001(&self, algorithm: Algorithm) -> Value {
        let digest = self.digest(algorithm);
        json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": { "hash": { "algorithm": algorithm.name(), "value": digest.hex() } },
            "signature": {
                "content": b64(&self.signature),
                "publicKey": { "content": b64(self.pem()) },
            },
        }})
    }

    pub(crate) fn hashed_rekord_002(&self) -> Value {
        self.hashed_rekord_002_by(P256, Algorithm::Sha256)
    }

    /// The same by another signature algorithm.
    pub(crate) fn hashed_rekord_002_by(&self, details: &str, algorithm: Algorithm) -> Value {
        let digest = hex::decode(self.digest(algorithm).hex()).unwrap();
        let verifier = self.verifier_002(details);
        let name = algorithm.name().replace("sha", "SHA2_");
        json!({ "apiVersion": "0.0.2", "kind": "hashedrekord", "spec": { "hashedRekordV002": {
            "data": { "algorithm": name, "digest": b64(digest) },
            "signature": { "content": b64(&self.signature), "verifier": verifier },
        }}})
    }

    fn payload_hash(&self) -> Value {
        sha256(&self.envelope_ref().payload)
    }

    pub(crate) fn dsse_001(&self) -> Value {
        json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "envelopeHash": sha256(b"as it was sent"),
            "payloadHash": self.payload_hash(),
            "signatures": [{ "signature": b64(&self.signature), "verifier": b64(self.pem()) }],
        }})
    }

    pub(crate) fn dsse_002(&self) -> Value {
        let payload = Digest::of(&self.envelope_ref().payload);
        let digest = b64(hex::decode(payload.hex()).unwrap());
        json!({ "apiVersion": "0.0.2", "kind": "dsse", "spec": { "dsseV002": {
            "payloadHash": { "algorithm": "SHA2_256", "digest": digest },
            "signatures": [{ "content": b64(&self.signature), "verifier": self.verifier_002(P256) }],
        }}})
    }

    pub(crate) fn intoto_001(&self, text: &str) -> Value {
        json!({ "apiVersion": "0.0.1", "kind": "intoto", "spec": {
            "content": { "hash": sha256(text.as_bytes()), "payloadHash": self.payload_hash() },
            "publicKey": b64(self.pem()),
        }})
    }

    pub(crate) fn intoto_002(&self) -> Value {
        let signature = json!({
            "publicKey": b64(self.pem()),
            "sig": b64(b64(&self.signature)),
        });
        json!({ "apiVersion": "0.0.2", "kind": "intoto", "spec": { "content": {
            "envelope": { "payloadType": IN_TOTO, "signatures": [signature] },
            "hash": sha256(b"as it was sent"),
            "payloadHash": self.payload_hash(),
        }}})
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Value {
    json!({ "algorithm": "sha256", "value": Digest::of(bytes).hex() })
}
