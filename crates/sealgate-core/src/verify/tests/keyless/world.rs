//! A small Sigstore: authority, certificate log, logs of both generations, timestamps; what it
//! signs, and how that is judged.

use rcgen::{PKCS_ECDSA_P256_SHA256, SerialNumber};
use serde_json::json;

use super::super::workbench::{evidence, origin, requirement, subject};
use super::super::*;
use crate::bundle::{Content, LogEntry, MessageSignature, VerificationMaterial, Version};
use crate::certificate::tests::pki::{ISSUER, Leaf, NOW, Pki, SUBJECT};
use crate::dsse::{Envelope, IN_TOTO, pae};
use crate::identity::{IdentityMatcher, Wanted};
use crate::log::tests::workbench::{self as logged, Owned, TestLog, b64, pem};
use crate::simple_signing::SimpleSigning;
use crate::statement::image_signature;
use crate::timestamp::tests::workbench::{SHA256, Tsa, hash_bytes};
use crate::trust::{SharedRoot, TrustRoot};

/// A Sigstore of our own.
pub(super) struct World {
    pub(super) pki: Pki,
    pub(super) rekor1: TestLog,
    pub(super) rekor2: TestLog,
    pub(super) tsa: Tsa,
}

pub(super) fn identities(issuer: &str, subject: &str) -> Authority {
    let exactly = |text: &str| Some(Wanted::Exactly(text.to_owned()));
    let matcher = IdentityMatcher {
        issuer: exactly(issuer),
        subject: exactly(subject),
        claims: BTreeMap::new(),
    };
    Authority::Identities(IdentityAuthority { identities: vec![matcher] })
}

pub(super) fn wanted() -> Authority {
    identities(ISSUER, SUBJECT)
}

pub(super) fn statement() -> Vec<u8> {
    image_signature(&subject(), &BTreeMap::new())
}

impl World {
    pub(super) fn new() -> Self {
        let (rekor1, rekor2) = (TestLog::rekor1(), TestLog::rekor2());
        Self { pki: Pki::new(), rekor1, rekor2, tsa: Tsa::new() }
    }

    pub(super) fn root(&self) -> TrustRoot {
        TrustRoot {
            transparency_logs: vec![self.rekor1.log.clone(), self.rekor2.log.clone()],
            timestamp_authorities: vec![self.tsa.pinned()],
            ..self.pki.trust_root()
        }
    }

    pub(super) fn stamp(&self, signature: &[u8]) -> Vec<u8> {
        stamp(&self.tsa, signature)
    }

    /// The submission of a signature to the logs.
    pub(super) fn told(leaf: &Leaf, signature: &[u8], content: Owned) -> logged::Signed {
        logged::Signed {
            signature: signature.to_vec(),
            key: leaf.key.public(),
            certificate: Some(leaf.der.clone()),
            content,
        }
    }

    /// An image's bundle with a Rekor v1 entry.
    pub(super) fn bundle(&self) -> Bundle {
        self.bundle_of(&self.pki.leaf(), &statement())
    }

    pub(super) fn bundle_of(&self, leaf: &Leaf, statement: &[u8]) -> Bundle {
        let (mut bundle, told) = self.unlogged(leaf, statement);
        bundle.log.entries = vec![self.rekor1.entry(&told.dsse_001())];
        bundle
    }

    /// An image's bundle with a Rekor v2 entry and a timestamp.
    pub(super) fn bundle2(&self) -> Bundle {
        let (mut bundle, told) = self.unlogged(&self.pki.leaf(), &statement());
        bundle.log.entries = vec![self.rekor2.entry(&told.hashed_rekord_002())];
        bundle.log.timestamps = vec![self.stamp(&told.signature)];
        bundle
    }

    pub(super) fn unlogged(&self, leaf: &Leaf, statement: &[u8]) -> (Bundle, logged::Signed) {
        let signature = leaf.key.sign(&pae(IN_TOTO, statement));
        let envelope = Envelope {
            payload_type: IN_TOTO.to_owned(),
            payload: statement.to_vec(),
            signatures: vec![signature.clone()],
        };
        let told = Self::told(leaf, &signature, Owned::Envelope(envelope.clone(), None));
        let bundle = Bundle {
            version: Version::V03,
            material: VerificationMaterial::Certificate(leaf.der.clone()),
            log: LogMaterial::default(),
            content: Content::Envelope(envelope),
        };
        (bundle, told)
    }

    /// A blob's bundle with a Rekor v1 entry.
    pub(super) fn blob(&self, content: &[u8]) -> Bundle {
        let leaf = self.pki.leaf();
        let signature = leaf.key.sign(content);
        let digests = Owned::Message(all_digests(content).to_vec());
        let told = Self::told(&leaf, &signature, digests);
        let digest = Some(Digest::of(content));
        let entries = vec![self.rekor1.entry(&told.hashed_rekord_001(Algorithm::Sha256))];
        Bundle {
            version: Version::V03,
            material: VerificationMaterial::Certificate(leaf.der),
            log: LogMaterial { entries, timestamps: Vec::new() },
            content: Content::Message(MessageSignature { digest, signature }),
        }
    }

    /// A legacy signature with certificate, chain, log entry and timestamp.
    pub(super) fn legacy(&self) -> LegacySignature {
        let leaf = self.pki.leaf();
        let payload = SimpleSigning::new("reg.example/app", subject(), &BTreeMap::new()).to_json();
        let signature = leaf.key.sign(payload.as_bytes());
        let digests = Owned::Message(all_digests(payload.as_bytes()).to_vec());
        let told = Self::told(&leaf, &signature, digests);
        let entry = self.rekor1.entry(&told.hashed_rekord_001(Algorithm::Sha256));
        let chain = [&self.pki.intermediate.der, &self.pki.root.der];
        let chain: String = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let stamp = json!({ "SignedRFC3161Timestamp": b64(self.stamp(&signature)) });
        let notes = [
            (annotation::SIGNATURE, b64(&signature)),
            (annotation::CERTIFICATE, pem("CERTIFICATE", &leaf.der)),
            (annotation::CHAIN, chain),
            (annotation::BUNDLE, annotated(&entry)),
            (annotation::TIMESTAMP, stamp.to_string()),
        ];
        let annotations = notes.map(|(key, value)| (key.to_owned(), value)).into();
        LegacySignature { origin: origin(), payload: payload.into(), annotations }
    }

    pub(super) fn judge(
        &self,
        evidence: &Evidence,
        authority: &Authority,
    ) -> Result<Verified, Reject> {
        judge(&self.root(), evidence, authority)
    }

    pub(super) fn code(&self, bundle: &Bundle) -> &'static str {
        code(self.judge(&evidence(bundle.to_json()), &wanted()))
    }
}

pub(super) fn stamp(tsa: &Tsa, signature: &[u8]) -> Vec<u8> {
    let mut stamp = tsa.stamp();
    stamp.imprint = (SHA256, hash_bytes(Algorithm::Sha256, signature));
    stamp.der(&tsa.key)
}

/// A timestamp of an authority that the trust root does not have.
pub(super) fn unknown_authority_stamp(signature: &[u8]) -> Vec<u8> {
    let tsa = Tsa::with(&PKCS_ECDSA_P256_SHA256, |params| {
        params.serial_number = Some(SerialNumber::from(vec![3; 16]));
    });
    stamp(&tsa, signature)
}

pub(super) fn annotated(entry: &LogEntry) -> String {
    json!({
        "SignedEntryTimestamp": b64(entry.signed_entry_timestamp.as_ref().unwrap()),
        "Payload": {
            "body": b64(&entry.body),
            "integratedTime": entry.integrated_time,
            "logIndex": entry.log_index,
            "logID": hex::encode(&entry.log_id),
        },
    })
    .to_string()
}

pub(super) fn judge(
    root: &TrustRoot,
    evidence: &Evidence,
    authority: &Authority,
) -> Result<Verified, Reject> {
    judge_with_overrides(root, evidence, authority, Overrides::default())
}

pub(super) fn judge_with_overrides(
    root: &TrustRoot,
    evidence: &Evidence,
    authority: &Authority,
    overrides: Overrides,
) -> Result<Verified, Reject> {
    let root = &SharedRoot::from(root.clone());
    let requirements =
        ProofRequirements::decide(overrides, authority, Some(root), RootSource::Configured);
    let trust = VerificationContext { root: Some(root), requirements, now: NOW + 20 };
    verify_image_with(evidence, authority, &requirement(), &trust)
}

pub(super) fn code(outcome: Result<Verified, Reject>) -> &'static str {
    outcome.map_or_else(|reject| reject.code(), |_| "verified")
}

pub(super) fn entry(bundle: &mut Bundle) -> &mut LogEntry {
    &mut bundle.log.entries[0]
}

pub(super) fn envelope(bundle: &mut Bundle) -> &mut Envelope {
    match &mut bundle.content {
        Content::Envelope(envelope) => envelope,
        Content::Message(_) => panic!("no envelope"),
    }
}
