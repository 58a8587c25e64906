//! Makes signed evidence, and signed evidence that somebody has tampered with.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::dsse::{IN_TOTO, pae};
use crate::evidence::{BundleBytes, Evidence, LegacySignature, Origin};
use crate::key::PublicKey;
use crate::key::tests::ec_spki;
use crate::reject::Reject;
use crate::simple_signing::SimpleSigning;
use crate::statement::image_signature;
use crate::verify::{
    Artifact, Authority, BlobSignature, ClaimComparison, ImageSignatureRequirement, KeyAuthority,
    Requirement, SubjectRequirement, TrustConfig, VerificationContext, Verified, annotation,
    verify,
};

/// Verifies an image signature.
pub(super) fn verify_image_with(
    evidence: &Evidence,
    authority: &Authority,
    requirement: &ImageSignatureRequirement,
    context: &VerificationContext<'_>,
) -> Result<Verified, Reject> {
    let subject = SubjectRequirement::ImageSignature(requirement);
    verify(evidence, &Requirement { authority, subject }, context)
}

/// Verifies an image signature by keys, without a trust root.
pub(super) fn verify_image(
    evidence: &Evidence,
    authority: &KeyAuthority,
    requirement: &ImageSignatureRequirement,
) -> Result<Verified, Reject> {
    let authority = Authority::Keys(authority.clone());
    verify_image_with(
        evidence,
        &authority,
        requirement,
        &TrustConfig::default().context(&authority, 0),
    )
}

/// Verifies a signature over a blob.
pub(super) fn verify_blob_with(
    evidence: BlobSignature<'_>,
    authority: &Authority,
    artifact: Artifact<'_>,
    context: &VerificationContext<'_>,
) -> Result<Verified, Reject> {
    let subject = SubjectRequirement::Blob(artifact);
    verify(evidence, &Requirement { authority, subject }, context)
}

/// Verifies a signature over a blob by keys, without a trust root.
pub(super) fn verify_blob(
    evidence: BlobSignature<'_>,
    authority: &KeyAuthority,
    artifact: Artifact<'_>,
) -> Result<Verified, Reject> {
    let authority = Authority::Keys(authority.clone());
    verify_blob_with(evidence, &authority, artifact, &TrustConfig::default().context(&authority, 0))
}

pub(super) struct Key {
    pair: EcdsaKeyPair,
    pub(super) public: PublicKey,
}

pub(super) fn subject() -> Digest {
    Digest::of(b"image")
}

pub(super) fn requirement() -> ImageSignatureRequirement {
    ImageSignatureRequirement {
        digest: subject(),
        annotations: BTreeMap::new(),
        claims: ClaimComparison::Checked,
    }
}

pub(super) fn origin() -> Origin {
    Origin { repository: "reg.example/app".to_owned(), manifest: None, layer: None }
}

pub(super) fn evidence(json: impl Into<Vec<u8>>) -> Evidence {
    Evidence::Bundle(BundleBytes { origin: origin(), json: json.into().into() })
}

impl Key {
    pub(super) fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = ec_spki("1.2.840.10045.3.1.7", pair.public_key().as_ref());
        Self { pair, public: PublicKey::from_spki_der(&spki).unwrap() }
    }

    pub(super) fn authority(&self) -> KeyAuthority {
        KeyAuthority { keys: vec![self.public.clone()], hash: None }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    pub(super) fn legacy(&self, annotations: &BTreeMap<String, String>) -> LegacySignature {
        let payload = SimpleSigning::new("reg.example/app", subject(), annotations);
        self.layer(payload.to_json().as_bytes())
    }

    fn layer(&self, payload: &[u8]) -> LegacySignature {
        let signature = STANDARD.encode(self.sign(payload));
        LegacySignature {
            origin: origin(),
            payload: payload.to_vec().into(),
            annotations: BTreeMap::from([(annotation::SIGNATURE.to_owned(), signature)]),
        }
    }

    pub(super) fn legacy_evidence(&self) -> Evidence {
        Evidence::Legacy(self.legacy(&BTreeMap::new()))
    }

    /// A genuine signature over another payload.
    pub(super) fn signed_payload(&self, payload: &[u8]) -> Evidence {
        Evidence::Legacy(self.layer(payload))
    }

    /// A genuine signature over the usual payload with a text replaced before it was signed.
    pub(super) fn replaced_payload(&self, from: &str, to: &str) -> Evidence {
        let payload = SimpleSigning::new("reg.example/app", subject(), &BTreeMap::new()).to_json();
        let changed = payload.replacen(from, to, 1);
        assert_ne!(payload, changed, "{from} is not in the payload");
        self.signed_payload(changed.as_bytes())
    }

    /// A layer that was changed after it was signed.
    pub(super) fn changed_legacy(&self, change: impl FnOnce(&mut LegacySignature)) -> Evidence {
        let mut layer = self.legacy(&BTreeMap::new());
        change(&mut layer);
        Evidence::Legacy(layer)
    }

    pub(super) fn statement(&self) -> Value {
        serde_json::from_slice(&image_signature(&subject(), &BTreeMap::new())).unwrap()
    }

    pub(super) fn bundle(&self, annotations: &BTreeMap<String, String>) -> Evidence {
        evidence(self.bundle_of(&image_signature(&subject(), annotations)))
    }

    pub(super) fn bundle_json(&self) -> Vec<u8> {
        self.bundle_of(self.statement().to_string().as_bytes()).into_bytes()
    }

    /// The bundle of a genuine signature over any statement.
    pub(super) fn bundle_of(&self, statement: &[u8]) -> String {
        let signature = self.sign(&pae(IN_TOTO, statement));
        Bundle::of_statement(statement.to_vec(), signature, &self.public).to_json()
    }

    /// A genuine signature over a statement that was changed before it was signed.
    pub(super) fn statement_bundle(&self, change: impl FnOnce(&mut Value)) -> Evidence {
        let mut statement = self.statement();
        change(&mut statement);
        evidence(self.bundle_of(statement.to_string().as_bytes()))
    }

    /// A genuine signature over the statement's text with something replaced in it.
    pub(super) fn replaced_statement(&self, from: &str, to: &str) -> Evidence {
        let statement = self.statement().to_string();
        let changed = statement.replacen(from, to, 1);
        assert_ne!(statement, changed, "{from} is not in the statement");
        evidence(self.bundle_of(changed.as_bytes()))
    }

    /// A bundle that was changed after it was signed.
    pub(super) fn changed_bundle(&self, change: impl FnOnce(&mut Value)) -> Evidence {
        let mut bundle: Value = serde_json::from_slice(&self.bundle_json()).unwrap();
        change(&mut bundle);
        evidence(bundle.to_string())
    }

    /// The bundle's text with something replaced in it after it was signed.
    pub(super) fn replaced_bundle(&self, from: &str, to: &str) -> Evidence {
        let bundle = String::from_utf8(self.bundle_json()).unwrap();
        let changed = bundle.replacen(from, to, 1);
        assert_ne!(bundle, changed, "{from} is not in the bundle");
        evidence(changed)
    }
}
