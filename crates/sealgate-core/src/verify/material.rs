//! What lies beside a signature, read and bounded, but not believed: certificates, and what a log
//! entry must be about.

use super::vouch::Beside;
use super::{Authority, Chains};
use crate::bundle::{Bundle, VerificationMaterial, Version};
use crate::certificate::{MAX_UNTRUSTED, Presented, X509, pem};
use crate::dsse::{Envelope, IN_TOTO};
use crate::log::{Form, LoggedContent};
use crate::reject::{Document, Foreign, Reject};
use crate::trust::MAX_CHAIN;

/// A signer's certificate, and others that may lead to a root.
pub(super) struct Certificates {
    leaf: Vec<u8>,
    untrusted: Vec<Vec<u8>>,
    detached_sct: Option<Vec<u8>>,
}

impl Certificates {
    fn new(leaf: Vec<u8>, untrusted: Vec<Vec<u8>>) -> Self {
        Self { leaf, untrusted, detached_sct: None }
    }

    /// With a certificate log's promise that was given beside them.
    pub(super) fn with_sct(self, json: Option<&[u8]>) -> Self {
        Self { detached_sct: json.map(<[u8]>::to_vec), ..self }
    }

    pub(super) fn presented(&self) -> Presented<'_> {
        Presented {
            leaf: &self.leaf,
            untrusted: &self.untrusted,
            detached_sct: self.detached_sct.as_deref(),
        }
    }

    /// What cosign puts into annotations. The chain may hold its root, which is left out: roots
    /// come from the trust root only.
    pub(super) fn of_pem(certificate: &str, chain: &str) -> Result<Option<Self>, Reject> {
        if certificate.is_empty() {
            return Ok(None);
        }
        let mut leaf = of_pem(certificate, 1)?;
        let leaf = leaf.pop().ok_or(Reject::NoCertificate)?;
        let mut untrusted = of_pem(chain, MAX_CHAIN)?;
        untrusted.retain(|der| !X509::parse(der).is_ok_and(|parsed| parsed.is_self_issued()));
        if untrusted.len() > MAX_UNTRUSTED {
            let field = "chain";
            return Err(Reject::TooMany { what: Document::Chain, field, limit: MAX_UNTRUSTED });
        }
        Ok(Some(Self::new(leaf, untrusted)))
    }

    /// The certificates of a bundle; none where it is of a key and keys are asked for. A bundle
    /// of the other kind than the authority says that somebody else signed it.
    pub(super) fn of_bundle(
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
        for der in untrusted {
            if X509::parse(der)?.is_self_issued() {
                let why = "a bundle must not hold a root certificate";
                return Err(Reject::Certificate(Foreign::new(why)));
            }
        }
        Ok(Self::new(leaf.clone(), untrusted.to_vec()))
    }
}

fn of_pem(text: &str, limit: usize) -> Result<Vec<Vec<u8>>, Reject> {
    pem::read(text, limit).map_err(|why| Reject::Certificate(Foreign::new(why)))
}

/// What lies in a bundle beside its envelope.
pub(super) fn beside_envelope<'a>(
    bundle: &'a Bundle,
    envelope: &'a Envelope,
    certificates: Option<&'a Certificates>,
) -> Result<Beside<'a>, Reject> {
    let signature = match envelope.signatures.as_slice() {
        [signature] => signature,
        [] => return Err(Reject::MissingSignature(Document::Envelope)),
        several => return Err(Reject::SeveralSignatures(several.len())),
    };
    Ok(Beside {
        signature,
        content: LoggedContent::Envelope { envelope, text: None },
        log: &bundle.log,
        form: Form::Bundle(bundle.version),
        certificate: certificates.map(Certificates::presented),
    })
}

pub(super) fn require_statement(envelope: &Envelope) -> Result<(), Reject> {
    if envelope.payload_type == IN_TOTO {
        return Ok(());
    }
    Err(Reject::EnvelopeType(Foreign::new(&envelope.payload_type)))
}
