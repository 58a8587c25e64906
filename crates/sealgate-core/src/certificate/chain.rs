//! Verification of the chain from a certificate to an authority of the trust root, at every trusted
//! time.
//!
//! `webpki` builds paths and checks signatures, basic constraints, name constraints and unknown
//! critical extensions. Checked here: the usages of all certificates, the root itself, and the
//! validity period of the authority.
//!
//! Whoever makes evidence chooses the certificates in it. A key among them is used only after a
//! key of the trust root, or one that such a key has certified, has signed its certificate:
//! [`issued`] leaves out all others before paths are built, and `webpki` verifies a path from the
//! root downwards.

use der::asn1::ObjectIdentifier;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime,
};
use webpki::aws_lc_rs as algorithms;
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, VerifiedPath,
};

use crate::key::{KeyAlgorithm, PublicKey, work};
use crate::reject::{Foreign, Reject};
use crate::trust::{CertificateAuthority, MAX_CHAIN};
use crate::x509::{X509, bad};

/// The maximum number of untrusted intermediates: paths are built from them, so that their number
/// is a cost.
pub(crate) const MAX_UNTRUSTED: usize = 4;

/// The largest RSA key, in bits, of a certificate that comes with evidence: Fulcio certifies none
/// that is larger, and the cost of a verification grows with the square of the size.
const MAX_RSA_BITS: u16 = 4096;

/// SHA-2 only, no keys below RSA-2048.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    &Counted(algorithms::ECDSA_P256_SHA256),
    &Counted(algorithms::ECDSA_P256_SHA384),
    &Counted(algorithms::ECDSA_P256_SHA512),
    &Counted(algorithms::ECDSA_P384_SHA256),
    &Counted(algorithms::ECDSA_P384_SHA384),
    &Counted(algorithms::ECDSA_P384_SHA512),
    &Counted(algorithms::ECDSA_P521_SHA256),
    &Counted(algorithms::ECDSA_P521_SHA384),
    &Counted(algorithms::ECDSA_P521_SHA512),
    &Counted(algorithms::ED25519),
    &Counted(algorithms::RSA_PKCS1_2048_8192_SHA256),
    &Counted(algorithms::RSA_PKCS1_2048_8192_SHA384),
    &Counted(algorithms::RSA_PKCS1_2048_8192_SHA512),
];

/// An algorithm whose verifications are counted.
#[derive(Debug)]
struct Counted(&'static dyn SignatureVerificationAlgorithm);

/// Purpose that the leaf's extended key usage must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    CodeSigning,
    TimeStamping,
}

/// A verified chain from a leaf to an authority of the trust root, valid at all times that were
/// given. Made by [`verify`] only.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    path: PathProof,
    authority: String,
    _leaf: LeafProof,
}

/// Proof that a leaf is for the purpose and was valid at the times. Made by [`check_leaf`] only.
#[derive(Clone, Debug)]
struct LeafProof {
    _purpose: PurposeProof,
    _key_usage: KeyUsageProof,
    _validity: ValidityProof,
}

#[derive(Clone, Debug)]
struct PurposeProof;

#[derive(Clone, Debug)]
struct KeyUsageProof;

#[derive(Clone, Debug)]
struct ValidityProof;

/// Proof that the path to a root is valid at all times. Made by [`verify_paths`] only.
#[derive(Clone, Debug)]
struct PathProof {
    issuer_spki: Vec<u8>,
    _last: IssuersProof,
}

/// Proof that root and intermediates may issue, and that authority and root were valid at a time.
#[derive(Clone, Debug)]
struct IssuersProof {
    _usage: IssuerUsageProof,
    _validity: ValidityProof,
    _authority: AuthorityProof,
}

#[derive(Clone, Debug)]
struct IssuerUsageProof;

#[derive(Clone, Debug)]
struct AuthorityProof;

impl SignatureVerificationAlgorithm for Counted {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        work::count(public_key);
        self.0.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}

/// Any extended key usage (RFC 5280, section 4.2.1.12), for issuers only.
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

impl Purpose {
    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::CodeSigning => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3"),
            Self::TimeStamping => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8"),
        }
    }

    /// True if a certificate with these extended key usages may issue certificates for the
    /// purpose: it has no such extension, or one that names the purpose or any.
    fn allows_issuer(self, usages: &[ObjectIdentifier]) -> bool {
        usages.is_empty() || usages.iter().any(|usage| [self.oid(), ANY_USAGE].contains(usage))
    }

    /// The contents of the DER of [`Self::oid`].
    fn oid_bytes(self) -> &'static [u8] {
        match self {
            Self::CodeSigning => &[43, 6, 1, 5, 5, 7, 3, 3],
            Self::TimeStamping => &[43, 6, 1, 5, 5, 7, 3, 8],
        }
    }
}

/// The rule of [`Purpose::allows_issuer`], for the certificates of a path. The leaf must name the
/// purpose itself ([`check_purpose`]).
impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let allowed = [self.oid_bytes(), ANY_USAGE.as_bytes()].map(KeyPurposeId::new);
        let mut present = Vec::new();
        for usage in usages {
            let usage = usage?;
            if allowed.contains(&usage) {
                return Ok(());
            }
            present.push(usage.to_decoded_oid());
        }
        let required = KeyUsage::required_if_present(self.oid_bytes());
        match present.is_empty() {
            true => Ok(()),
            false => Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext {
                required,
                present,
            })),
        }
    }
}

impl Chain {
    /// The key of the leaf's issuer, as a SubjectPublicKeyInfo.
    pub(crate) fn issuer_spki(&self) -> &[u8] {
        &self.path.issuer_spki
    }

    /// The address of the authority.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

/// Verifies the chain from `leaf` to one of `authorities` at every one of `times` (seconds since
/// 1970). `untrusted` certificates may fill gaps between leaf and root.
pub(crate) fn verify(
    leaf: &X509,
    untrusted: &[Vec<u8>],
    authorities: &[CertificateAuthority],
    times: &[i64],
    purpose: Purpose,
) -> Result<Chain, Reject> {
    if times.is_empty() {
        return Err(Reject::NoTrustedTime);
    }
    if untrusted.len() > MAX_UNTRUSTED {
        return Err(bad(format!("more than {MAX_UNTRUSTED} intermediate certificates")));
    }
    let checked = check_leaf(leaf, times, purpose)?;
    let untrusted = distinct_certificates(leaf, untrusted);
    let mut outcome = Reject::UntrustedCertificate(Foreign::new("no authority that issued it"));
    for authority in authorities {
        match verify_paths(leaf, &untrusted, authority, times, purpose) {
            Ok(path) => {
                let authority = authority.uri.clone();
                return Ok(Chain { path, authority, _leaf: checked });
            }
            Err(Reject::UntrustedCertificate(_)) => {}
            // It came further than an unknown issuer: the better explanation.
            Err(reject) => outcome = reject,
        }
    }
    Err(outcome)
}

fn check_leaf(leaf: &X509, times: &[i64], purpose: Purpose) -> Result<LeafProof, Reject> {
    Ok(LeafProof {
        _purpose: check_purpose(leaf, purpose)?,
        _key_usage: check_key_usage(leaf)?,
        _validity: within(leaf, times)?,
    })
}

fn check_purpose(leaf: &X509, purpose: Purpose) -> Result<PurposeProof, Reject> {
    match leaf.extended_key_usage()?.contains(&purpose.oid()) {
        true => Ok(PurposeProof),
        false => Err(Reject::CertificateUsage(match purpose {
            Purpose::CodeSigning => "it is not for code signing",
            Purpose::TimeStamping => "it is not for time stamping",
        })),
    }
}

fn check_key_usage(leaf: &X509) -> Result<KeyUsageProof, Reject> {
    match leaf.key_usage()?.is_none_or(|usage| usage.digital_signature()) {
        true => Ok(KeyUsageProof),
        false => Err(Reject::CertificateUsage("its key is not for digital signatures")),
    }
}

fn within(certificate: &X509, times: &[i64]) -> Result<ValidityProof, Reject> {
    let (from, to) = certificate.window();
    match times.iter().find(|time| **time < from || to < **time) {
        None => Ok(ValidityProof),
        Some(at) => Err(Reject::CertificateTime { at: *at, from, to }),
    }
}

/// The certificates of `untrusted` that can be parsed, each once, without the leaf.
fn distinct_certificates(leaf: &X509, untrusted: &[Vec<u8>]) -> Vec<X509> {
    let mut found: Vec<X509> = Vec::new();
    for der in untrusted.iter().filter(|der| der.as_slice() != leaf.der()) {
        if !found.iter().any(|seen| seen.der() == der.as_slice()) {
            found.extend(X509::parse(der));
        }
    }
    found
}

/// The certificates of `untrusted` that `authority` has issued, directly or through another one of
/// them. Each is verified with the keys that its issuer's name stands for, and a key is used only
/// if its own certificate was verified: without a certificate that the authority has issued, the
/// cost is one verification, with the authority's key, for each certificate that bears its name.
/// Certificates of keys that are not accepted are left out.
fn issued<'u>(untrusted: &'u [X509], authority: &CertificateAuthority) -> Vec<&'u X509> {
    let is_new = |certificate: &&X509| {
        !authority.chain().iter().any(|own| own.as_slice() == certificate.der())
    };
    let mut unverified: Vec<&X509> = untrusted.iter().filter(is_new).collect();
    if unverified.is_empty() {
        return Vec::new();
    }
    let own: Vec<X509> = authority.chain().iter().flat_map(|der| X509::parse(der)).collect();
    let mut issuers: Vec<&X509> = own.iter().collect();
    let mut issued = Vec::new();
    while let Some(issuer) = issuers.pop() {
        let (signed, others): (Vec<_>, Vec<_>) =
            unverified.into_iter().partition(|certificate| has_signed(issuer, certificate));
        for certificate in signed.into_iter().filter(|found| accepted_key(found).is_ok()) {
            issued.push(certificate);
            issuers.push(certificate);
        }
        unverified = others;
    }
    issued
}

/// True if `issuer` may sign certificates, and its key has signed `certificate`, which names it.
fn has_signed(issuer: &X509, certificate: &X509) -> bool {
    if !certificate.names_issuer(issuer) || !matches!(issuer.certifies(), Ok(Some(_))) {
        return false;
    }
    let (Ok(key), Ok(signed)) = (issuer.key_parts(), certificate.signed_parts()) else {
        return false;
    };
    let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
        algorithm.signature_alg_id().as_ref() == signed.algorithm
            && algorithm.public_key_alg_id().as_ref() == key.algorithm
    };
    ALGORITHMS.iter().find(fits).is_some_and(|algorithm| {
        algorithm.verify_signature(key.key, signed.message, signed.signature).is_ok()
    })
}

/// The key of a certificate that came with evidence, of an accepted kind and size.
pub(crate) fn accepted_key(certificate: &X509) -> Result<PublicKey, Reject> {
    let key = certificate.public_key()?;
    match key.algorithm() {
        KeyAlgorithm::Rsa { bits } if bits > MAX_RSA_BITS => {
            Err(bad(format!("RSA key of {bits} bits: want at most {MAX_RSA_BITS}")))
        }
        _ => Ok(key),
    }
}

fn verify_paths(
    leaf: &X509,
    untrusted: &[X509],
    authority: &CertificateAuthority,
    times: &[i64],
    purpose: Purpose,
) -> Result<PathProof, Reject> {
    let root = CertificateDer::from(authority.root());
    let anchor = [webpki::anchor_from_trusted_cert(&root).map_err(|error| rejected(&error))?];
    let issued = issued(untrusted, authority);
    let own = authority.intermediates().iter().map(Vec::as_slice);
    let pool: Vec<_> = own
        .chain(issued.iter().map(|certificate| certificate.der()))
        .filter(|der| *der != leaf.der() && *der != authority.root())
        .take(MAX_CHAIN + MAX_UNTRUSTED)
        .map(CertificateDer::from)
        .collect();
    let der = CertificateDer::from(leaf.der());
    let end_entity = EndEntityCert::try_from(&der).map_err(|error| rejected(&error))?;
    let trusted = X509::parse(authority.root())?;
    let mut proof: Option<PathProof> = None;
    for time in distinct(times) {
        let path = end_entity
            .verify_for_usage(ALGORITHMS, &anchor, &pool, unix_time(time)?, purpose, None, None)
            .map_err(|error| rejected(&error))?;
        let path = Path { issuing: issuing(&path)?, root: &trusted, authority, purpose };
        let checked = path.check(time)?;
        let issuer = path.issuing.first().unwrap_or(&trusted).spki()?;
        if proof.is_some_and(|former| former.issuer_spki != issuer) {
            return Err(bad("several issuers with different keys"));
        }
        proof = Some(PathProof { issuer_spki: issuer, _last: checked });
        // All that depends on the time is whether each certificate is valid.
        if path.holds_at(times) {
            break;
        }
    }
    proof.ok_or(Reject::NoTrustedTime)
}

fn issuing(path: &VerifiedPath<'_>) -> Result<Vec<X509>, Reject> {
    path.intermediate_certificates().map(|certificate| X509::parse(&certificate.der())).collect()
}

/// A path that `webpki` has found: all but the leaf.
struct Path<'a> {
    issuing: Vec<X509>,
    root: &'a X509,
    authority: &'a CertificateAuthority,
    purpose: Purpose,
}

impl Path<'_> {
    /// Makes the checks that `webpki` does not make.
    fn check(&self, time: i64) -> Result<IssuersProof, Reject> {
        Ok(IssuersProof {
            _usage: self.check_usage()?,
            _validity: within(self.root, &[time])?,
            _authority: self.check_authority(time)?,
        })
    }

    /// Checks that all certificates may issue. The root is an issuer like the others: as in Go, it
    /// limits the purposes of the whole path, and must have no critical extension that nobody has
    /// evaluated.
    fn check_usage(&self) -> Result<IssuerUsageProof, Reject> {
        let Some(longest) = self.root.certifies()? else {
            return Err(Reject::CertificateUsage("the root may not issue certificates"));
        };
        if !self.purpose.allows_issuer(&self.root.extended_key_usage()?) {
            return Err(Reject::CertificateUsage("the root is not for this use"));
        }
        if let Some(unknown) = self.root.unknown_critical_extension() {
            return Err(bad(format!("the root has an unknown critical extension {unknown}")));
        }
        let counted = self.issuing.iter().filter(|issuing| !issuing.is_self_issued()).count();
        if longest.is_some_and(|longest| counted > usize::from(longest)) {
            return Err(bad("the path is longer than the root allows"));
        }
        for certificate in &self.issuing {
            if certificate.certifies()?.is_none() {
                return Err(Reject::CertificateUsage("an intermediate may not issue certificates"));
            }
        }
        Ok(IssuerUsageProof)
    }

    fn check_authority(&self, time: i64) -> Result<AuthorityProof, Reject> {
        let validity = self.authority.validity;
        match validity.contains(time) {
            true => Ok(AuthorityProof),
            false => {
                Err(Reject::AuthorityTime { at: time, from: validity.start, to: validity.end })
            }
        }
    }

    /// True if the path is valid at all these times.
    fn holds_at(&self, times: &[i64]) -> bool {
        let holds = |certificate: &X509| within(certificate, times).is_ok();
        times.iter().all(|time| self.authority.validity.contains(*time))
            && holds(self.root)
            && self.issuing.iter().all(holds)
    }
}

fn distinct(times: &[i64]) -> Vec<i64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.dedup();
    times
}

fn unix_time(seconds: i64) -> Result<UnixTime, Reject> {
    let seconds = u64::try_from(seconds).map_err(|_| Reject::NoTrustedTime)?;
    Ok(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
}

fn rejected(error: &Error) -> Reject {
    let seconds = |time: &UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match error {
        Error::CertExpired { time, not_after } => {
            Reject::CertificateTime { at: seconds(time), from: 0, to: seconds(not_after) }
        }
        Error::CertNotValidYet { time, not_before } => {
            Reject::CertificateTime { at: seconds(time), from: seconds(not_before), to: i64::MAX }
        }
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => {
            Reject::UntrustedCertificate(Foreign::new("no authority that issued it"))
        }
        Error::RequiredEkuNotFoundContext(_) => {
            Reject::CertificateUsage("an issuer is not for this use")
        }
        Error::CaUsedAsEndEntity => {
            Reject::CertificateUsage("it is an authority's, not a signer's")
        }
        Error::EndEntityUsedAsCa => {
            Reject::CertificateUsage("an intermediate may not issue certificates")
        }
        other => bad(format!("{other:?}")),
    }
}
