//! Evidence as parsed and bounded, but unverified: signature, content, certificates, log entries
//! and timestamps.

use super::{
    Artifact, Authority, BlobSignature, Candidate, Chains, EvidenceFormat, SubjectRequirement,
    VerificationContext, all_digests, annotation,
};
use crate::bundle::{Bundle, Content, LogMaterial, OlderBundle, VerificationMaterial, Version};
use crate::certificate::{MAX_UNTRUSTED, Presented};
use crate::digest::Digest;
use crate::dsse::{Envelope, IN_TOTO};
use crate::evidence::{Evidence, LegacySignature, Origin};
use crate::log::EntryFormat;
use crate::reject::{Document, Foreign, Reject};
use crate::trust::MAX_CHAIN;
use crate::x509::{X509, pem};

/// Parsed evidence of one signature.
pub(super) struct ParsedEvidence<'a> {
    pub(super) format: EvidenceFormat,
    pub(super) origin: Option<&'a Origin>,
    entry_format: EntryFormat,
    content: ParsedContent<'a>,
    log: LogMaterial,
    certificates: Option<Certificates>,
}

/// Content of parsed evidence.
enum ParsedContent<'a> {
    /// A SimpleSigning payload and its signature.
    SimpleSigning { payload: &'a [u8], signature: Vec<u8> },
    /// An envelope with its signatures.
    Envelope(Envelope),
    /// A signature over an artifact, and the digest of it that a bundle gives.
    Message { signature: Vec<u8>, digest: Option<Digest> },
}

/// A signature with all that is verified of its signer, unverified.
pub(super) struct SignatureMaterial<'a> {
    pub(super) signature: &'a [u8],
    pub(super) content: SignedContent<'a>,
    pub(super) log: &'a LogMaterial,
    pub(super) entry_format: EntryFormat,
    pub(super) certificate: Option<Presented<'a>>,
}

/// Content that a signature must be over.
pub(super) enum SignedContent<'a> {
    /// A SimpleSigning payload.
    SimpleSigning(&'a [u8]),
    /// An envelope with an in-toto statement.
    Statement(StatementEnvelope<'a>),
    /// The artifact of the requirement.
    Artifact(BoundArtifact<'a>),
}

/// An envelope that holds an in-toto statement and one signature. Made by
/// [`StatementEnvelope::of`] only.
pub(super) struct StatementEnvelope<'a> {
    envelope: &'a Envelope,
    signature: &'a [u8],
}

/// An artifact whose digest is the one that the bundle gives, if it gives one. Made by
/// [`BoundArtifact::of`] only.
pub(super) struct BoundArtifact<'a> {
    artifact: Artifact<'a>,
}

/// A signer's certificate and intermediates, unverified.
struct Certificates {
    leaf: Vec<u8>,
    untrusted: Vec<Vec<u8>>,
    detached_sct: Option<Vec<u8>>,
}

impl<'a> ParsedEvidence<'a> {
    /// Parses evidence for an authority.
    pub(super) fn parse(
        candidate: Candidate<'a>,
        authority: &Authority,
        context: &VerificationContext<'_>,
    ) -> Result<Self, Reject> {
        let chains = context.requirements.chains();
        match candidate {
            Candidate::Stored(Evidence::Legacy(layer)) => Self::of_layer(layer, authority),
            Candidate::Stored(Evidence::Bundle(stored)) => {
                let bundle = Bundle::parse(&stored.json)?;
                let parsed = Self::of_bundle(bundle, authority, chains)?;
                Ok(Self { origin: Some(&stored.origin), ..parsed })
            }
            Candidate::Stored(Evidence::Unusable { reason, .. }) => Err(reason.clone()),
            Candidate::Blob(signature) => Self::of_blob(signature, authority, chains),
        }
    }

    fn of_layer(layer: &'a LegacySignature, authority: &Authority) -> Result<Self, Reject> {
        let note = |key: &str| layer.annotations.get(key).map(String::as_str).unwrap_or_default();
        let signature = note(annotation::SIGNATURE);
        if signature.is_empty() {
            return Err(Reject::MissingSignature(Document::Payload));
        }
        let signature = crate::base64::decode(signature).map_err(|_| Reject::Base64 {
            what: Document::Signature,
            field: annotation::SIGNATURE,
        })?;
        let (bundle, timestamp) = (note(annotation::BUNDLE), note(annotation::TIMESTAMP));
        Ok(Self {
            format: EvidenceFormat::Legacy,
            origin: Some(&layer.origin),
            entry_format: EntryFormat::Legacy,
            content: ParsedContent::SimpleSigning { payload: &layer.payload, signature },
            log: LogMaterial::of_annotations(bundle, timestamp)?,
            certificates: Certificates::beside(
                authority,
                note(annotation::CERTIFICATE),
                note(annotation::CHAIN),
            )?,
        })
    }

    fn of_bundle(bundle: Bundle, authority: &Authority, chains: Chains) -> Result<Self, Reject> {
        Ok(Self {
            format: EvidenceFormat::Bundle,
            origin: None,
            entry_format: EntryFormat::Bundle(bundle.version),
            certificates: Certificates::of_bundle(&bundle, authority, chains)?,
            log: bundle.log,
            content: match bundle.content {
                Content::Envelope(envelope) => ParsedContent::Envelope(envelope),
                Content::Message(message) => {
                    let (signature, digest) = (message.signature, message.digest);
                    ParsedContent::Message { signature, digest }
                }
            },
        })
    }

    fn of_blob(
        signature: BlobSignature<'_>,
        authority: &Authority,
        chains: Chains,
    ) -> Result<Self, Reject> {
        match signature {
            BlobSignature::Detached(signature) => {
                let signature = undo_base64(signature);
                Ok(Self::of_message(signature, LogMaterial::default(), None))
            }
            BlobSignature::Parts(parts) => {
                let signature = undo_base64(parts.signature);
                let found = Certificates::beside(authority, parts.certificate, parts.chain)?;
                let certificates = found.map(|certificates| certificates.with_sct(parts.sct));
                Ok(Self::of_message(signature, parts.log.clone(), certificates))
            }
            BlobSignature::Bundle(json) => match OlderBundle::recognise(json)? {
                Some(older) => {
                    let certificates = Certificates::beside(authority, &older.certificate, "")?;
                    Ok(Self::of_message(older.signature, older.log, certificates))
                }
                None => Self::of_bundle(Bundle::parse(json)?, authority, chains),
            },
        }
    }

    fn of_message(
        signature: Vec<u8>,
        log: LogMaterial,
        certificates: Option<Certificates>,
    ) -> Self {
        let content = ParsedContent::Message { signature, digest: None };
        let (format, entry_format) = (EvidenceFormat::Legacy, EntryFormat::Legacy);
        Self { format, origin: None, entry_format, content, log, certificates }
    }

    /// The signature, over content of the kind that the requirement names.
    ///
    /// # Errors
    /// The content is of another kind, or an envelope holds no statement or not one signature.
    pub(super) fn material<'m>(
        &'m self,
        requirement: SubjectRequirement<'m>,
    ) -> Result<SignatureMaterial<'m>, Reject> {
        let (signature, content) = match (&self.content, requirement) {
            (
                ParsedContent::SimpleSigning { payload, signature },
                SubjectRequirement::ImageSignature(_),
            ) => (signature.as_slice(), SignedContent::SimpleSigning(payload)),
            (ParsedContent::SimpleSigning { .. }, _) => return Err(Reject::ImageSignature),
            (ParsedContent::Envelope(envelope), _) => {
                let statement = StatementEnvelope::of(envelope)?;
                (statement.signature, SignedContent::Statement(statement))
            }
            (ParsedContent::Message { signature, digest }, SubjectRequirement::Blob(artifact)) => {
                let bound = BoundArtifact::of(artifact, digest.as_ref())?;
                (signature.as_slice(), SignedContent::Artifact(bound))
            }
            (ParsedContent::Message { .. }, _) => return Err(Reject::NotAnEnvelope),
        };
        Ok(SignatureMaterial {
            signature,
            content,
            log: &self.log,
            entry_format: self.entry_format,
            certificate: self.certificates.as_ref().map(Certificates::presented),
        })
    }
}

impl SignedContent<'_> {
    /// Digests of the content by every algorithm that a log entry may name, as far as they can be
    /// computed. None for an envelope, which log entries name in other ways.
    pub(super) fn digests(&self) -> Vec<Digest> {
        match self {
            Self::SimpleSigning(payload) => all_digests(payload).to_vec(),
            Self::Artifact(artifact) => artifact.get().digests(),
            Self::Statement(_) => Vec::new(),
        }
    }

    pub(super) fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Statement(statement) => Some(statement.envelope),
            Self::SimpleSigning(_) | Self::Artifact(_) => None,
        }
    }
}

impl<'a> StatementEnvelope<'a> {
    /// Checks payload type and number of signatures.
    fn of(envelope: &'a Envelope) -> Result<Self, Reject> {
        match (envelope.payload_type.as_str(), envelope.signatures.as_slice()) {
            (IN_TOTO, [signature]) => Ok(Self { envelope, signature }),
            (IN_TOTO, []) => Err(Reject::MissingSignature(Document::Envelope)),
            (IN_TOTO, several) => Err(Reject::SeveralSignatures(several.len())),
            (other, _) => Err(Reject::EnvelopeType(Foreign::new(other))),
        }
    }

    pub(super) fn envelope(&self) -> &Envelope {
        self.envelope
    }
}

impl<'a> BoundArtifact<'a> {
    /// Compares the artifact with the digest that a bundle gives of it. That digest is unsigned,
    /// but a wrong one shows that bundle and artifact do not belong together.
    fn of(artifact: Artifact<'a>, named: Option<&Digest>) -> Result<Self, Reject> {
        let Some(named) = named else { return Ok(Self { artifact }) };
        let found = match artifact {
            Artifact::Content(bytes) => Some(Digest::with(named.algorithm(), bytes)),
            Artifact::Digests(digests) => {
                digests.iter().find(|digest| digest.algorithm() == named.algorithm()).cloned()
            }
        };
        match found {
            None => Err(Reject::NeedsContent),
            Some(digest) if digest == *named => Ok(Self { artifact }),
            Some(_) => Err(Reject::MessageDigest),
        }
    }

    pub(super) fn get(&self) -> Artifact<'a> {
        self.artifact
    }
}

/// Decodes base64 as cosign does: bytes that are no base64 are the signature itself.
fn undo_base64(signature: &[u8]) -> Vec<u8> {
    crate::base64::decode(signature).unwrap_or_else(|_| signature.to_vec())
}

impl Certificates {
    fn new(leaf: Vec<u8>, untrusted: Vec<Vec<u8>>) -> Self {
        Self { leaf, untrusted, detached_sct: None }
    }

    /// Adds a detached SCT.
    fn with_sct(self, json: Option<&[u8]>) -> Self {
        Self { detached_sct: json.map(<[u8]>::to_vec), ..self }
    }

    fn presented(&self) -> Presented<'_> {
        Presented {
            leaf: &self.leaf,
            untrusted: &self.untrusted,
            detached_sct: self.detached_sct.as_deref(),
        }
    }

    /// Certificate and chain beside a signature, PEM. None for a key authority: the key decides, as
    /// with cosign.
    fn beside(
        authority: &Authority,
        certificate: &str,
        chain: &str,
    ) -> Result<Option<Self>, Reject> {
        match authority {
            Authority::Keys(_) => Ok(None),
            Authority::Identities(_) => Self::of_pem(certificate, chain),
        }
    }

    /// Certificate and chain in the PEM of cosign's annotations. Roots in the chain are left out:
    /// roots come from the trust root only.
    fn of_pem(certificate: &str, chain: &str) -> Result<Option<Self>, Reject> {
        if certificate.is_empty() {
            return Ok(None);
        }
        let mut leaf = read_pem(certificate, 1)?;
        let leaf = leaf.pop().ok_or(Reject::NoCertificate)?;
        let mut untrusted = read_pem(chain, MAX_CHAIN)?;
        untrusted.retain(|der| !X509::parse(der).is_ok_and(|parsed| parsed.is_self_issued()));
        if untrusted.len() > MAX_UNTRUSTED {
            let field = "chain";
            return Err(Reject::TooMany { what: Document::Chain, field, limit: MAX_UNTRUSTED });
        }
        Ok(Some(Self::new(leaf, untrusted)))
    }

    /// The certificates of a bundle; none for a key authority.
    ///
    /// # Errors
    /// The bundle names a public key where the authority names identities, or the reverse.
    fn of_bundle(
        bundle: &Bundle,
        authority: &Authority,
        chains: Chains,
    ) -> Result<Option<Self>, Reject> {
        match (authority, &bundle.material) {
            (Authority::Keys(_), VerificationMaterial::PublicKey { .. }) => Ok(None),
            (Authority::Keys(_), _) => Err(Reject::CertificateInBundle),
            (Authority::Identities(_), VerificationMaterial::PublicKey { .. }) => {
                Err(Reject::NoCertificate)
            }
            (Authority::Identities(_), VerificationMaterial::Certificate(leaf)) => {
                Ok(Some(Self::new(leaf.clone(), Vec::new())))
            }
            (Authority::Identities(_), VerificationMaterial::CertificateChain(chain)) => {
                Self::of_chain(bundle.version, chain, chains).map(Some)
            }
        }
    }

    fn of_chain(version: Version, chain: &[Vec<u8>], chains: Chains) -> Result<Self, Reject> {
        let (leaf, untrusted) = chain.split_first().ok_or(Reject::NoCertificate)?;
        if version == Version::V03 && chains == Chains::ByVersion {
            let why = "a bundle of version 0.3 holds a single certificate, not a chain";
            return Err(Reject::Certificate(Foreign::new(why)));
        }
        if untrusted.len() > MAX_UNTRUSTED {
            let why = format!("more than {MAX_UNTRUSTED} intermediate certificates");
            return Err(Reject::Certificate(Foreign::new(why)));
        }
        for der in untrusted {
            if X509::parse(der)?.is_self_issued() {
                let why = "a bundle must not hold a root certificate";
                return Err(Reject::Certificate(Foreign::new(why)));
            }
        }
        Ok(Self::new(leaf.clone(), untrusted.to_vec()))
    }
}

fn read_pem(text: &str, limit: usize) -> Result<Vec<Vec<u8>>, Reject> {
    pem::read(text, limit).map_err(|why| Reject::Certificate(Foreign::new(why)))
}
