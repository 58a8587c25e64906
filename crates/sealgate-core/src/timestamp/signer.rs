//! The signer of a timestamp: the certificate that its signer identifier and its signed attributes
//! name, among those in the token and in the trust root, if its chain ends in an authority at the
//! time of the timestamp and its key has made the signature. The order of certificates has no
//! effect.
//!
//! Whoever makes a token chooses its certificates. Names and hashes are compared first, then the
//! chain is verified from the root downwards, and only then the key of the token is used.

use der::Decode;
use der::asn1::{ObjectIdentifier, OctetStringRef};

use super::token::{SignerId, SigningCertificateProof, Token};
use crate::certificate::{Chain, Purpose, accepted_key, verify_chain};
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

/// Certificates of a token, parsed once for all authorities.
struct Bag {
    /// The certificates that the signer identifier and the signed attributes name.
    signing: Vec<(X509, SigningCertificateProof)>,
    /// The reason why none is named, if the signer identifier alone names some.
    unnamed: Option<TimestampReject>,
    /// The certificates that may issue others.
    issuing: Vec<Vec<u8>>,
}

/// A certificate that may be the signer's, and the proof that the signed attributes name it.
struct Candidate<'c> {
    certificate: &'c X509,
    named: SigningCertificateProof,
}

/// Finds the token's signer, whose certificate an authority issued and which was valid at `time`;
/// none if no authority knows the signer.
///
/// # Errors
/// An authority knows the signer, and something is wrong; or the token's own certificates are not
/// those that its signed attributes name.
pub(super) fn find<'t>(
    token: &Token<'_>,
    time: i64,
    authorities: &'t [CertificateAuthority],
) -> Result<Option<TokenSigner<'t>>, TimestampReject> {
    let bag = Bag::of(token, authorities);
    let mut outcome = None;
    for authority in authorities {
        match find_by(token, &bag, authority, time) {
            Ok(Some(signer)) => return Ok(Some(signer)),
            Ok(None) => {}
            Err(reject) => outcome = Some(graver(outcome, reject)),
        }
    }
    outcome.or(bag.unnamed).map_or(Ok(None), Err)
}

/// The more informative of two reasons: an error of the named certificate rather than that another
/// certificate is not the named one. Independent of the order of certificates.
fn graver(former: Option<TimestampReject>, reject: TimestampReject) -> TimestampReject {
    match former {
        Some(former) if !matches!(former, TimestampReject::SigningCertificate(_)) => former,
        _ => reject,
    }
}

impl Bag {
    /// Reads the certificates of the token, each once. Those that cannot be parsed are left out.
    fn of(token: &Token<'_>, authorities: &[CertificateAuthority]) -> Self {
        let mut certificates: Vec<X509> = Vec::new();
        for der in &token.certificates {
            if !certificates.iter().any(|seen| seen.der() == *der) {
                certificates.extend(X509::parse(der));
            }
        }
        let trusted =
            |der: &[u8]| authorities.iter().any(|own| own.chain().iter().any(|own| own == der));
        let issuing = certificates
            .iter()
            .filter(|certificate| matches!(certificate.certifies(), Ok(Some(_))))
            .filter(|certificate| !trusted(certificate.der()))
            .map(|certificate| certificate.der().to_vec())
            .collect();
        let (mut signing, mut unnamed) = (Vec::new(), None);
        certificates.retain(|certificate| is_named(&token.signer, certificate));
        for certificate in certificates {
            match token.check_signing_certificate(certificate.der()) {
                Ok(proof) => signing.push((certificate, proof)),
                Err(reject) => unnamed = Some(reject),
            }
        }
        let unnamed = unnamed.filter(|_| signing.is_empty());
        Self { signing, unnamed, issuing }
    }
}

/// Finds the signer among those that `authority` can have issued. An authority whose chain begins
/// with a signing certificate knows no other signer.
fn find_by<'t>(
    token: &Token<'_>,
    bag: &Bag,
    authority: &'t CertificateAuthority,
    time: i64,
) -> Result<Option<TokenSigner<'t>>, TimestampReject> {
    let own = authority.chain().first().map(|der| X509::parse(der)).transpose();
    let own = own.map_err(|reject| chain_reject(&reject))?;
    if let Some(pinned) = own.filter(|own| matches!(own.certifies(), Ok(None))) {
        return by_pinned(token, &pinned, bag, authority, time);
    }
    let mut outcome = None;
    for (certificate, proof) in &bag.signing {
        let candidate = Candidate { certificate, named: proof.clone() };
        match verify_signer(authority, candidate, token, &bag.issuing, time) {
            Ok(Some(signer)) => return Ok(Some(signer)),
            Ok(None) => {}
            Err(reject) => outcome = Some(graver(outcome, reject)),
        }
    }
    outcome.map_or(Ok(None), Err)
}

/// Verifies the signing certificate of the trust root as the token's signer.
fn by_pinned<'t>(
    token: &Token<'_>,
    pinned: &X509,
    bag: &Bag,
    authority: &'t CertificateAuthority,
    time: i64,
) -> Result<Option<TokenSigner<'t>>, TimestampReject> {
    if !is_named(&token.signer, pinned) {
        return Ok(None);
    }
    match token.check_signing_certificate(pinned.der()) {
        Ok(named) => {
            let candidate = Candidate { certificate: pinned, named };
            verify_signer(authority, candidate, token, &bag.issuing, time)
        }
        // Another's certificate, or the signer's under another's name.
        Err(reject) => check_signature(pinned, token, authority).map_or(Ok(None), |_| Err(reject)),
    }
}

fn is_named(id: &SignerId<'_>, certificate: &X509) -> bool {
    match id {
        SignerId::IssuerAndSerial(issuer, serial) => certificate
            .issuer_and_serial()
            .is_ok_and(|(found, number)| found == *issuer && number == *serial),
        SignerId::KeyId(id) => certificate
            .extension(SUBJECT_KEY_ID)
            .and_then(|value| <&OctetStringRef>::from_der(value).ok())
            .is_some_and(|value| value.as_bytes() == *id),
    }
}

/// Verifies `candidate` as the token's signer, issued by `authority`. None if the authority does
/// not know it, which is no error: another authority may.
fn verify_signer<'t>(
    authority: &'t CertificateAuthority,
    candidate: Candidate<'_>,
    token: &Token<'_>,
    issuing: &[Vec<u8>],
    time: i64,
) -> Result<Option<TokenSigner<'t>>, TimestampReject> {
    let Candidate { certificate, named } = candidate;
    let one = std::slice::from_ref(authority);
    let chain = match verify_chain(certificate, issuing, one, &[time], Purpose::TimeStamping) {
        Ok(chain) => chain,
        Err(Reject::UntrustedCertificate(_)) => return Ok(None),
        Err(reject) => return Err(chain_reject(&reject)),
    };
    Ok(Some(TokenSigner {
        authority,
        _usage: check_usage(certificate)?,
        _signature: check_signature(certificate, token, authority)?,
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

/// Verifies the token's signature with the key of a certificate that `authority` has issued.
fn check_signature(
    certificate: &X509,
    token: &Token<'_>,
    authority: &CertificateAuthority,
) -> Result<TokenSignatureProof, TimestampReject> {
    let is_own = authority.chain().iter().any(|own| own == certificate.der());
    let key = if is_own { certificate.public_key() } else { accepted_key(certificate) };
    let key = key.map_err(|reject| chain_reject(&reject))?;
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
