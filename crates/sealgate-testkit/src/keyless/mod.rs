//! Sigstore instance in memory: a certificate authority with a CT log, Rekor v1 and v2 logs, a
//! timestamp authority, their trust root, and signatures made with them. Everything happens at one
//! time, [`TestSigstore::now`].

mod authority;
mod log;
mod timestamp;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey};
use sealgate_core::bundle::{
    Bundle, Content, LogEntry, LogMaterial, MessageSignature, VerificationMaterial, Version,
};
use sealgate_core::digest::Digest;
use sealgate_core::dsse::{Envelope, IN_TOTO, pae};
use sealgate_core::identity::{Claim, IdentityAuthority, IdentityMatcher, Wanted};
use sealgate_core::key::PublicKey;
use sealgate_core::simple_signing::SimpleSigning;
use sealgate_core::statement::image_signature;
use sealgate_core::trust::{TrustRoot, Validity};
use sealgate_core::verify::{Authority, annotation};
use serde_json::json;

use authority::Certifier;
use log::Log;
use timestamp::TimestampAuthority;

/// Default time, in seconds since 1970.
pub const NOW: i64 = 1_700_000_000;
/// Default subject of certificates.
pub const SUBJECT: &str = "https://ci.example/acme/app";
/// Default OIDC issuer of certificates.
pub const ISSUER: &str = "https://issuer.example";

/// GitHub workflow claims shown by cosign.
pub const WORKFLOW_CLAIMS: [Claim; 5] = [
    Claim::GithubWorkflowTrigger,
    Claim::GithubWorkflowSha,
    Claim::GithubWorkflowName,
    Claim::GithubWorkflowRepository,
    Claim::GithubWorkflowRef,
];

/// Sigstore instance.
pub struct TestSigstore {
    /// Time of all operations, in seconds since 1970.
    pub now: i64,
    certifier: Certifier,
    rekor1: Log,
    rekor2: Log,
    tsa: TimestampAuthority,
}

/// Identity in a certificate.
#[derive(Clone, Debug)]
pub struct CertificateIdentity {
    /// E-mail address, or else the URI of a workload.
    pub subject: String,
    /// OIDC issuer.
    pub issuer: String,
    /// Further claims that Fulcio would include.
    pub claims: BTreeMap<Claim, String>,
}

/// Key, and its certificate, valid for ten minutes from [`TestSigstore::now`].
pub struct Certified {
    pair: KeyPair,
    /// Certificate.
    pub der: Vec<u8>,
}

/// Extended key usage of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootUsage {
    /// TLS servers.
    Servers,
    /// Code signing.
    CodeSigning,
    /// Time stamping.
    TimeStamping,
    /// Any use.
    Any,
}

/// Verification material of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Entry of a Rekor v1 log.
    RekorV1,
    /// Entry of a Rekor v1 log, and a timestamp.
    RekorV1AndTimestamp,
    /// Entry of a Rekor v2 log, and a timestamp.
    RekorV2,
    /// Timestamp only.
    Timestamp,
    /// None.
    None,
}

/// Signed content.
#[derive(Clone, Copy)]
enum Signed<'a> {
    Message(&'a [u8]),
    /// Statement in a DSSE envelope.
    Statement(&'a [u8]),
}

/// Legacy signature of an image.
pub struct Legacy {
    /// Layer.
    pub payload: Vec<u8>,
    /// Annotations of the layer.
    pub annotations: BTreeMap<String, String>,
}

impl Default for CertificateIdentity {
    fn default() -> Self {
        let (subject, issuer) = (SUBJECT.to_owned(), ISSUER.to_owned());
        Self { subject, issuer, claims: BTreeMap::new() }
    }
}

impl CertificateIdentity {
    /// Policy authority that accepts this identity only.
    pub fn authority(&self) -> Authority {
        let exactly = |text: &str| Some(Wanted::Exactly(text.to_owned()));
        let matcher = IdentityMatcher {
            issuer: exactly(&self.issuer),
            subject: exactly(&self.subject),
            claims: self.claims.clone(),
        };
        Authority::Identities(IdentityAuthority { identities: vec![matcher] })
    }
}

impl Default for TestSigstore {
    fn default() -> Self {
        Self::at(NOW)
    }
}

impl TestSigstore {
    /// Instance at this time.
    pub fn at(now: i64) -> Self {
        let window = Self::window(now);
        Self {
            now,
            certifier: Certifier::new(window),
            rekor1: Log::rekor1(window),
            rekor2: Log::rekor2(window),
            tsa: TimestampAuthority::new(window),
        }
    }

    /// Validity from one year before to one year after.
    fn window(now: i64) -> Validity {
        const YEAR: i64 = 365 * 86_400;
        Validity { start: Some(now - YEAR), end: Some(now + YEAR) }
    }

    /// Trust root of this instance.
    pub fn trust_root(&self) -> TrustRoot {
        TrustRoot {
            certificate_authorities: vec![self.certifier.authority()],
            transparency_logs: vec![self.rekor1.known.clone(), self.rekor2.known.clone()],
            ct_logs: vec![self.certifier.ct_log()],
            timestamp_authorities: vec![self.tsa.authority()],
            skipped: Vec::new(),
        }
    }

    /// Chains of the certificate authority and of the timestamp authority, PEM, below roots that are
    /// restricted to a use.
    pub fn restricted_chains_pem(&self, usage: RootUsage) -> [String; 2] {
        let chains = [self.certifier.restricted_chain(usage), self.tsa.restricted_chain(usage)];
        chains.map(|chain| chain.iter().map(|der| pem("CERTIFICATE", der)).collect())
    }

    /// Certificate chain of the certificate authority, PEM: intermediate first, root last.
    pub fn chain_pem(&self) -> String {
        self.certifier.authority().chain().iter().map(|der| pem("CERTIFICATE", der)).collect()
    }

    /// New key with a certificate.
    pub fn certified(&self, named: &CertificateIdentity) -> Certified {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let der = self.certifier.issue(named, &pair, self.now);
        Certified { pair, der }
    }

    /// Bundle of an image signature.
    pub fn image_bundle(&self, by: &Certified, subject: &Digest, proof: Proof) -> Bundle {
        self.statement_bundle(by, &image_signature(subject, &BTreeMap::new()), proof)
    }

    /// Bundle of any statement.
    pub fn statement_bundle(&self, by: &Certified, statement: &[u8], proof: Proof) -> Bundle {
        let signed = pae(IN_TOTO, statement);
        let signature = by.sign(&signed);
        let envelope = Envelope {
            payload_type: IN_TOTO.to_owned(),
            payload: statement.to_vec(),
            signatures: vec![signature.clone()],
        };
        Bundle {
            version: Version::V03,
            material: VerificationMaterial::Certificate(by.der.clone()),
            log: self.material(by, &signature, Signed::Statement(statement), proof),
            content: Content::Envelope(envelope),
        }
    }

    /// Bundle of a blob signature.
    pub fn blob_bundle(&self, by: &Certified, content: &[u8], proof: Proof) -> Bundle {
        let signature = by.sign(content);
        let digest = Some(Digest::of(content));
        Bundle {
            version: Version::V03,
            material: VerificationMaterial::Certificate(by.der.clone()),
            log: self.prove(by, &signature, content, proof),
            content: Content::Message(MessageSignature { digest, signature }),
        }
    }

    /// Legacy signature of an image.
    pub fn legacy(&self, by: &Certified, name: &str, subject: &Digest, proof: Proof) -> Legacy {
        let payload = SimpleSigning::new(name, subject.clone(), &BTreeMap::new()).to_json();
        let signature = by.sign(payload.as_bytes());
        let log = self.prove(by, &signature, payload.as_bytes(), proof);
        let mut annotations = BTreeMap::from([
            (annotation::SIGNATURE.to_owned(), b64(&signature)),
            (annotation::CERTIFICATE.to_owned(), by.pem()),
            (annotation::CHAIN.to_owned(), self.chain_pem()),
        ]);
        if let Some(entry) = log.entries.first() {
            annotations.insert(annotation::BUNDLE.to_owned(), legacy_entry(entry));
        }
        if let Some(response) = log.timestamps.first() {
            annotations.insert(annotation::TIMESTAMP.to_owned(), legacy_timestamp(response));
        }
        Legacy { payload: payload.into_bytes(), annotations }
    }

    /// Verification material for `signature` over `message`.
    pub fn prove(
        &self,
        by: &Certified,
        signature: &[u8],
        message: &[u8],
        proof: Proof,
    ) -> LogMaterial {
        self.material(by, signature, Signed::Message(message), proof)
    }

    fn material(
        &self,
        by: &Certified,
        signature: &[u8],
        signed: Signed<'_>,
        proof: Proof,
    ) -> LogMaterial {
        let entry = match proof {
            Proof::RekorV1 | Proof::RekorV1AndTimestamp => {
                Some(self.rekor1.entry(&log::body_of_rekor1(by, signature, signed), self.now))
            }
            Proof::RekorV2 => {
                Some(self.rekor2.entry(&log::body_of_rekor2(by, signature, signed), self.now))
            }
            Proof::Timestamp | Proof::None => None,
        };
        let stamp = match proof {
            Proof::RekorV1AndTimestamp | Proof::RekorV2 | Proof::Timestamp => {
                Some(self.tsa.timestamp(signature, self.now))
            }
            Proof::RekorV1 | Proof::None => None,
        };
        LogMaterial {
            entries: entry.into_iter().collect(),
            timestamps: stamp.into_iter().collect(),
        }
    }
}

impl Certified {
    /// Signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        SigningKey::sign(&self.pair, message).unwrap()
    }

    /// Public key.
    pub fn public_key(&self) -> PublicKey {
        public(&self.pair)
    }

    /// Certificate, PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }
}

/// Log entry in the form of cosign's annotations.
pub fn legacy_entry(entry: &LogEntry) -> String {
    json!({
        "SignedEntryTimestamp": entry.signed_entry_timestamp.as_ref().map(b64),
        "Payload": {
            "body": b64(&entry.body),
            "integratedTime": entry.integrated_time,
            "logIndex": entry.log_index,
            "logID": hex::encode(&entry.log_id),
        },
    })
    .to_string()
}

/// Timestamp in the form of cosign's annotations and files.
pub fn legacy_timestamp(response: &[u8]) -> String {
    json!({ "SignedRFC3161Timestamp": b64(response) }).to_string()
}

/// DER as PEM.
pub fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn public(pair: &KeyPair) -> PublicKey {
    PublicKey::from_spki_der(&pair.subject_public_key_info()).unwrap()
}

#[cfg(test)]
mod tests {
    use sealgate_core::evidence::{BundleBytes, Evidence, Origin};
    use sealgate_core::verify::{
        Artifact, BlobSignature, ClaimComparison, ImageSignatureRequirement, Override, Overrides,
        Requirement, RootSource, SubjectRequirement, TrustConfig, verify,
    };

    use super::*;

    /// Everything made here passes the verifier, so that a refusal in another test is meaningful.
    #[test]
    fn everything_verifies() {
        let world = TestSigstore::default();
        let named = CertificateIdentity::default();
        let by = world.certified(&named);
        let subject = Digest::of(b"image");
        let stamped = Overrides { log: Override::Ignored, ..Overrides::default() };
        for (proof, overrides) in [
            (Proof::RekorV1, Overrides::default()),
            (Proof::RekorV1AndTimestamp, Overrides::default()),
            (Proof::RekorV2, Overrides::default()),
            (Proof::Timestamp, stamped),
            (Proof::None, stamped),
        ] {
            let (root, source) = (world.trust_root().into(), RootSource::Configured);
            let trust_config = TrustConfig { root: Some(root), source, overrides };
            let authority = named.authority();
            let trust = trust_config.context(&authority, world.now + 1);
            let blob = world.blob_bundle(&by, b"blob", proof).to_json();
            let blob = BlobSignature::Bundle(blob.as_bytes());
            let artifact = SubjectRequirement::Blob(Artifact::Content(b"blob"));
            verify(blob, &Requirement { authority: &authority, subject: artifact }, &trust)
                .unwrap();
            let origin = Origin { repository: "r/app".to_owned(), manifest: None, layer: None };
            let json = world.image_bundle(&by, &subject, proof).to_json().into_bytes();
            let mut pieces =
                vec![Evidence::Bundle(BundleBytes { origin: origin.clone(), json: json.into() })];
            if proof != Proof::RekorV2 {
                let Legacy { payload, annotations } = world.legacy(&by, "r/app", &subject, proof);
                pieces.push(Evidence::Legacy(sealgate_core::evidence::LegacySignature {
                    origin,
                    payload: payload.into(),
                    annotations,
                }));
            }
            let (annotations, claims) = (BTreeMap::new(), ClaimComparison::Checked);
            let digest = subject.clone();
            let wanted = ImageSignatureRequirement { digest, annotations, claims };
            let image = SubjectRequirement::ImageSignature(&wanted);
            let requirement = Requirement { authority: &authority, subject: image };
            for piece in &pieces {
                verify(piece, &requirement, &trust).unwrap();
            }
        }
    }
}
