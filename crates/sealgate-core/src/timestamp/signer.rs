//! The signer of a timestamp: the certificate that its signer identifier names, among those in the
//! token and in the trust root, if its key has made the signature and its chain ends in an
//! authority at the time of the timestamp. The order of certificates has no effect.

use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode};
use x509_cert::Certificate;

use super::token::{SignerId, SigningCertificateProof, Token};
use crate::certificate::{Chain, Purpose, verify_chain};
use crate::digest::Algorithm;
use crate::key::{HashAlgorithm, KeyAlgorithm, PublicKey};
use crate::reject::{Foreign, Reject, TimestampReject};
use crate::trust::CertificateAuthority;
use crate::x509::X509;

const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");

/// A verified signer of a token, and the authority that its chain ends in. Made by [`find`] only.
#[derive(Clone, Debug)]
pub(super) struct TokenSigner<'t> {
    authority: &'t CertificateAuthority,
    _signature: TokenSignatureProof,
    _signing_certificate: SigningCertificateProof,
    _chain: Chain,
    _usage: UsageProof,
}

/// Proof that the key of the certificate has signed the token.
#[derive(Clone, Debug)]
struct TokenSignatureProof;

/// Proof that the certificate is for time stamping only.
#[derive(Clone, Debug)]
struct UsageProof;

impl<'t> TokenSigner<'t> {
    /// The authority that its chain ends in.
    pub(super) fn authority(&self) -> &'t CertificateAuthority {
        self.authority
    }
}

/// Finds the token's signer, whose certificate an authority issued and which was valid at `time`;
/// none if no authority knows the signer.
///
/// # Errors
/// An authority knows the signer, and something is wrong.
pub(super) fn find<'t>(
    token: &Token<'_>,
    time: i64,
    authorities: &'t [CertificateAuthority],
) -> Result<Option<TokenSigner<'t>>, TimestampReject> {
    let bag = parsed_bag(token);
    let issuing: Vec<_> = bag
        .iter()
        .filter(|certificate| matches!(certificate.certifies(), Ok(Some(_))))
        .map(|certificate| certificate.der().to_vec())
        .filter(|der| !authorities.iter().any(|authority| authority.chain().contains(der)))
        .collect();
    let mut outcome = None;
    for authority in authorities {
        for candidate in candidates(token, &bag, authority)? {
            match verify_signer(authority, &candidate, token, &issuing, time) {
                Ok(Some(signer)) => return Ok(Some(signer)),
                Ok(None) => {}
                Err(reject) => outcome = Some(graver(outcome, reject)),
            }
        }
    }
    outcome.map_or(Ok(None), Err)
}

/// The more informative of two reasons: an error of the named certificate rather than that another
/// certificate is not the named one. Independent of the order of certificates.
fn graver(former: Option<TimestampReject>, reject: TimestampReject) -> TimestampReject {
    match former {
        Some(former) if !matches!(former, TimestampReject::SigningCertificate(_)) => former,
        _ => reject,
    }
}

/// The certificates of the token, each once. Certificates that cannot be parsed are left out.
fn parsed_bag(token: &Token<'_>) -> Vec<X509> {
    let mut bag: Vec<X509> = Vec::new();
    for der in &token.certificates {
        if !bag.iter().any(|seen| seen.der() == *der) {
            bag.extend(X509::parse(der));
        }
    }
    bag
}

/// The certificates that the signer identifier can mean. An authority whose chain begins with a
/// signing certificate knows no other signer.
fn candidates(
    token: &Token<'_>,
    bag: &[X509],
    authority: &CertificateAuthority,
) -> Result<Vec<X509>, TimestampReject> {
    let own = authority.chain().first().map(|der| X509::parse(der)).transpose();
    let own = own.map_err(|reject| chain_reject(&reject))?;
    let pinned = own.filter(|own| matches!(own.certifies(), Ok(None)));
    let mut candidates = match pinned {
        Some(pinned) => vec![pinned],
        None => bag.to_vec(),
    };
    candidates.retain(|certificate| is_named(&token.signer, certificate));
    Ok(candidates)
}

fn is_named(id: &SignerId<'_>, certificate: &X509) -> bool {
    match id {
        SignerId::IssuerAndSerial(issuer, serial) => Certificate::from_der(certificate.der())
            .is_ok_and(|certificate| {
                let certificate = certificate.tbs_certificate();
                certificate.issuer().to_der().is_ok_and(|der| der == *issuer)
                    && certificate.serial_number().to_der().is_ok_and(|der| der == *serial)
            }),
        SignerId::KeyId(id) => certificate
            .extension(SUBJECT_KEY_ID)
            .and_then(|value| <&OctetStringRef>::from_der(value).ok())
            .is_some_and(|value| value.as_bytes() == *id),
    }
}

/// Verifies `candidate` as the token's signer, issued by `authority`. None if the authority does
/// not know it, which is no error: another candidate may have the same name.
///
/// Building chains is expensive, and an attacker chooses the certificates in the token: a chain is
/// built only for the certificate that the signed attributes name by its hash.
fn verify_signer<'t>(
    authority: &'t CertificateAuthority,
    candidate: &X509,
    token: &Token<'_>,
    issuing: &[Vec<u8>],
    time: i64,
) -> Result<Option<TokenSigner<'t>>, TimestampReject> {
    let signed = check_signature(candidate, token);
    let named = match token.check_signing_certificate(candidate.der()) {
        Ok(proof) => proof,
        // Another's certificate, or the signer's under another's name.
        Err(reject) => return signed.map_or(Ok(None), |_| Err(reject)),
    };
    let one = std::slice::from_ref(authority);
    let chain = match verify_chain(candidate, issuing, one, &[time], Purpose::TimeStamping) {
        Ok(chain) => chain,
        Err(Reject::UntrustedCertificate(_)) => return Ok(None),
        Err(reject) => return Err(chain_reject(&reject)),
    };
    Ok(Some(TokenSigner {
        authority,
        _usage: check_usage(candidate)?,
        _signature: signed?,
        _signing_certificate: named,
        _chain: chain,
    }))
}

/// Checks that time stamping is the only extended key usage, in a critical extension (RFC 3161,
/// section 2.3).
fn check_usage(certificate: &X509) -> Result<UsageProof, TimestampReject> {
    let uses = certificate.extended_key_usage().map_err(|reject| chain_reject(&reject))?;
    if uses.len() != 1 {
        return Err(TimestampReject::Usage("it is for other uses too"));
    }
    let mut extensions = certificate.extensions().iter();
    match extensions.any(|found| found.extn_id == EXTENDED_KEY_USAGE && found.critical) {
        true => Ok(UsageProof),
        false => Err(TimestampReject::Usage("its extended key usage is not critical")),
    }
}

fn check_signature(
    certificate: &X509,
    token: &Token<'_>,
) -> Result<TokenSignatureProof, TimestampReject> {
    let key = certificate.public_key().map_err(|reject| chain_reject(&reject))?;
    let hash = signature_hash(token, &key)?;
    let verified = key.verify(&token.signed, token.signature, Some(hash));
    verified.map(|()| TokenSignatureProof).map_err(|_| TimestampReject::Signature)
}

/// The hash of the signature, which must be that of the message digest; the algorithm must fit
/// the key.
fn signature_hash(token: &Token<'_>, key: &PublicKey) -> Result<HashAlgorithm, TimestampReject> {
    let (algorithm, named) = match token.signature_algorithm.to_string().as_str() {
        "1.2.840.10045.4.3.2" => (Family::Ecdsa, Some(Algorithm::Sha256)),
        "1.2.840.10045.4.3.3" => (Family::Ecdsa, Some(Algorithm::Sha384)),
        "1.2.840.10045.4.3.4" => (Family::Ecdsa, Some(Algorithm::Sha512)),
        "1.2.840.113549.1.1.1" => (Family::Rsa, None),
        "1.2.840.113549.1.1.11" => (Family::Rsa, Some(Algorithm::Sha256)),
        "1.2.840.113549.1.1.12" => (Family::Rsa, Some(Algorithm::Sha384)),
        "1.2.840.113549.1.1.13" => (Family::Rsa, Some(Algorithm::Sha512)),
        "1.3.101.112" => (Family::Ed25519, None),
        other => return Err(TimestampReject::Algorithm(Foreign::new(other))),
    };
    let fits = algorithm == Family::of(key) && named.is_none_or(|named| named == token.hash);
    if !fits {
        let oid = token.signature_algorithm.to_string();
        return Err(TimestampReject::Algorithm(Foreign::new(oid)));
    }
    Ok(match token.hash {
        Algorithm::Sha256 => HashAlgorithm::Sha256,
        Algorithm::Sha384 => HashAlgorithm::Sha384,
        Algorithm::Sha512 => HashAlgorithm::Sha512,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Ecdsa,
    Rsa,
    Ed25519,
}

impl Family {
    fn of(key: &PublicKey) -> Self {
        match key.algorithm() {
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::EcdsaP521 => {
                Self::Ecdsa
            }
            KeyAlgorithm::Rsa { .. } => Self::Rsa,
            KeyAlgorithm::Ed25519 => Self::Ed25519,
        }
    }
}

/// Maps the reject of a chain to that of a timestamp.
fn chain_reject(reject: &Reject) -> TimestampReject {
    match reject {
        Reject::CertificateTime { at, .. } => TimestampReject::Expired(*at),
        Reject::AuthorityTime { at, .. } => TimestampReject::Window(*at),
        Reject::CertificateUsage(why) => TimestampReject::Usage(why),
        other => TimestampReject::Chain(Foreign::new(other.to_string())),
    }
}
