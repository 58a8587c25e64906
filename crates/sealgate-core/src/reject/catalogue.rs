//! Every reason with its code, its meaning and its remedy: what the documentation is made from.

use std::sync::LazyLock;

use super::Reject;

/// One row of the documentation of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The stable code, kebab-case.
    pub code: &'static str,
    /// The meaning, in one sentence.
    pub meaning: &'static str,
    /// The remedy, in one sentence.
    pub remedy: &'static str,
}

/// Declares reasons, and `ROWS`, the list of them in their order.
macro_rules! reasons {
    ($($name:ident: $code:literal, $meaning:literal, $remedy:literal;)*) => {
        $(static $name: Reason = Reason { code: $code, meaning: $meaning, remedy: $remedy };)*
        pub(super) static ROWS: &[&Reason] = &[$(&$name),*];
    };
}
pub(super) use reasons;

/// Every reason of every part, in the order of the documentation.
pub(super) static CATALOGUE: LazyLock<Vec<&'static Reason>> =
    LazyLock::new(|| [ROWS, super::log::ROWS, super::timestamp::ROWS].concat());

reasons! {
    NO_KEY: "no-key", "The authority has no public key, so no signature can be verified.",
        "Specify at least one public key.";
    UNSUPPORTED_HASH: "unsupported-hash",
        "The authority requires a hash algorithm that cannot be used with any of its keys.",
        "Specify the hash algorithm that the signer uses; it must be usable with the key.";
    WRONG_SIGNATURE: "wrong-signature",
        "The signature does not verify with any of the public keys: it was made with another key, or modified after signing.",
        "Compare the public key with the signer's (`sealgate public-key --key KEY` prints it), and sign again if the right key was used.";
    MISSING_SIGNATURE: "missing-signature", "There is no signature in the evidence.",
        "Sign again; the evidence is incomplete.";
    SEVERAL_SIGNATURES: "several-signatures",
        "The envelope in a bundle contains several signatures; exactly one is required.",
        "Create one bundle for each signature.";
    NEEDS_CONTENT: "needs-content",
        "The signature is over the whole content (Ed25519), or over a digest that was not computed.",
        "Pass the content itself, not its digest.";
    TOO_LARGE: "too-large", "A document or signature exceeds its size limit.",
        "Check its source; genuine signatures are a few kilobytes in size.";
    TOO_MANY: "too-many", "A list (of entries, timestamps, subjects, layers or values) exceeds its length limit.",
        "Check its source, and remove items that do not belong there.";
    CONTENT_DIGEST: "content-digest",
        "The content does not have the digest that the manifest states: it was modified in the registry or in transit.",
        "Do not trust this registry's content; push the signature again.";
    MEDIA_TYPE: "media-type", "The media type is not one of a signature or bundle.",
        "Sign again with a tool that writes cosign's formats.";
    MANIFEST: "bad-manifest", "The manifest of the signature is malformed.",
        "Sign again; another tool may have overwritten the signature.";
    NOT_JSON: "not-json", "A document is not valid JSON, or is followed by additional bytes.",
        "Sign again; the document is damaged.";
    TOO_DEEP: "too-deep", "A document is nested deeper than any genuine document.",
        "Check its source; this may be an attack.";
    DUPLICATE_KEY: "duplicate-key",
        "An object contains the same key twice, so parsers could interpret it differently.",
        "Check its source; no signing tool creates such a document.";
    AMBIGUOUS_KEY: "ambiguous-key",
        "A key differs from a known field only in case or spelling, so parsers could interpret it differently.",
        "Check its source; no signing tool creates such a document.";
    FIELD: "bad-field", "A field is missing, or its value has the wrong type.",
        "Sign again; the document is damaged or has an unknown format.";
    BASE64: "bad-base64", "A field is not standard base64 with padding (line breaks in it are ignored).",
        "Sign again; the field is damaged or uses another base64 alphabet.";
    PAYLOAD_KIND: "payload-kind", "The legacy payload is not of the type `cosign container image signature`.",
        "Sign with cosign or sealgate; other kinds of simple signing are not accepted.";
    UNKNOWN_CRITICAL: "unknown-critical",
        "The legacy payload has an unknown critical member, which must not be ignored.",
        "Sign again with a tool that writes cosign's format.";
    CLAIM_DIGEST: "claim-digest", "The legacy payload contains no digest, or a malformed one.",
        "Sign the image again, by its digest.";
    OTHER_DIGEST: "other-digest",
        "The signature is valid, but for another image: its payload contains another digest.",
        "Sign this digest; a signature cannot be moved from one image to another.";
    MISSING_ANNOTATION: "missing-annotation", "A required annotation is not in the signature.",
        "Sign again with the annotation: `-a key=value`.";
    WRONG_ANNOTATION: "wrong-annotation", "A required annotation has a different value in the signature.",
        "Sign again with the required value: `-a key=value`.";
    BUNDLE_VERSION: "bundle-version", "The bundle's media type is not one of versions 0.1, 0.2 and 0.3.",
        "Sign again with a bundle of version 0.3, or update sealgate.";
    NO_VERIFICATION_MATERIAL: "no-verification-material",
        "The bundle contains neither a public key hint nor a certificate.",
        "Sign again; the bundle is incomplete.";
    SEVERAL_VERIFICATION_MATERIALS: "several-verification-materials",
        "The bundle contains more than one of public key hint, certificate and certificate chain.",
        "Sign again; exactly one is allowed.";
    CERTIFICATE_IN_BUNDLE: "certificate-in-bundle",
        "The bundle was signed with a certificate, but verification uses a public key.",
        "Verify with the identity in the certificate, or sign with the key.";
    NO_CONTENT: "no-content", "The bundle contains neither a DSSE envelope nor a message signature.",
        "Sign again; the bundle is incomplete.";
    SEVERAL_CONTENTS: "several-contents", "The bundle contains both a DSSE envelope and a message signature.",
        "Sign again; exactly one is allowed.";
    NOT_AN_ENVELOPE: "not-an-envelope",
        "The bundle contains a message signature, which is for blobs; an image signature is a DSSE envelope.",
        "Sign the image with `sign`, not its manifest with `sign-blob`.";
    ENVELOPE_TYPE: "envelope-type", "The payload of the envelope is not an in-toto statement.",
        "Sign the image with `sign`; this envelope has another purpose.";
    STATEMENT_TYPE: "statement-type", "The statement is not an in-toto statement of version 0.1 or 1.",
        "Sign again with a tool that writes in-toto statements version 1.";
    NO_SUBJECT: "no-subject", "The statement has no subject, so it does not apply to any artifact.",
        "Sign the image again, by its digest.";
    OTHER_SUBJECT: "other-subject",
        "The signature is valid, but for another artifact: no subject of the statement has the digest.",
        "Sign this digest; a signature cannot be moved from one image to another.";
    NOT_A_SIGNATURE: "not-a-signature",
        "The bundle is an attestation (with another predicate type), not an image signature.",
        "Sign the image as well; an attestation is not accepted as a signature.";
    OTHER_PREDICATE_TYPE: "other-predicate-type",
        "The attestation is of another predicate type than the required one.",
        "Attest the image with the required predicate type.";
    IMAGE_SIGNATURE: "image-signature",
        "The evidence is a legacy image signature, not an attestation or a signature over a blob.",
        "Attest the image, or sign the blob.";
    MESSAGE_DIGEST: "message-digest", "The digest in the bundle is not the digest of the artifact.",
        "Check that the bundle belongs to the file.";
    MESSAGE_DIGEST_ALGORITHM: "message-digest-algorithm",
        "The bundle contains a digest with an algorithm other than SHA-256, SHA-384 or SHA-512.",
        "Sign again with SHA-256.";
    CERTIFICATE: "bad-certificate", "A certificate cannot be parsed, or has properties with which it must not be trusted.",
        "Sign again; if the certificate was issued by a private certificate authority, check how that authority issues certificates.";
    UNTRUSTED_CERTIFICATE: "untrusted-certificate",
        "The signer's certificate was not issued by a certificate authority of the trust root.",
        "Check that the trust root is that of the Sigstore instance the image was signed with.";
    CERTIFICATE_USAGE: "certificate-usage",
        "A certificate is not allowed for its use: the leaf is not for code signing, or an issuer is not a certificate authority.",
        "Sign with a certificate for code signing, as Fulcio issues it.";
    CERTIFICATE_TIME: "certificate-time",
        "A certificate in the chain was not valid at the trusted time of the signature.",
        "Sign again; the signature must be made within the few minutes in which a keyless certificate is valid.";
    AUTHORITY_TIME: "authority-time",
        "The trust root does not trust the authority at the time of the signature.",
        "Update the trust root, or sign again with an authority that it trusts now.";
    NO_TRUSTED_TIME: "no-trusted-time",
        "The certificate is valid for only a few minutes, and no trusted source states when the signature was made.",
        "Sign with a timestamp authority, or with a log that signs the integration time, and include it in the trust root.";
    NOT_LOGGED: "not-logged", "A transparency log entry is required, and the signature has none from a log of the trust root.",
        "Sign with a log of the trust root (with a key: `sign --key KEY --signing-config FILE`, or `--tlog-upload` for the public log), or use the trust root that contains the log.";
    NO_TIMESTAMP: "no-timestamp", "A signed timestamp is required, and there is none from a timestamp authority of the trust root.",
        "Sign with a timestamp authority of the trust root.";
    NO_SUBJECT_NAME: "no-subject-name", "The certificate has no subject alternative name, so it does not identify a signer.",
        "Sign with a certificate that Fulcio issued.";
    BAD_SCT: "bad-sct", "An SCT in the certificate cannot be parsed.",
        "Sign again; the certificate is damaged.";
    WRONG_SCT: "wrong-sct",
        "An SCT that names a CT log of the trust root does not have a valid signature of that log over this certificate.",
        "Check that the trust root is up to date, or sign again.";
    NO_SCT: "no-sct", "The certificate has no valid SCT from a CT log of the trust root.",
        "Use a trust root that contains the CT log to which the certificate authority publishes.";
    NO_IDENTITY: "no-identity", "The authority specifies no identity, so no signature can be verified.",
        "Specify at least one identity, with issuer and subject.";
    WRONG_IDENTITY: "wrong-identity", "The signature is valid, but was made with an identity other than the expected ones.",
        "Compare the subjects and the issuer in the certificate with the expected ones.";
    WRONG_CLAIM: "wrong-claim", "An extension of the certificate, such as the workflow name, does not have the expected value.",
        "Compare the extensions of the certificate with the expected values.";
    NO_CERTIFICATE: "no-certificate", "Verification uses an identity, but the signature has no certificate.",
        "Verify with the public key, or sign keyless.";
    NO_TRUST_ROOT: "no-trust-root", "Verification uses an identity, but there is no trust root.",
        "Specify a trust root, or run `initialize`.";
}

impl Reject {
    pub(super) fn reason(&self) -> &'static Reason {
        match self {
            Self::NoKey => &NO_KEY,
            Self::UnsupportedHash => &UNSUPPORTED_HASH,
            Self::WrongSignature => &WRONG_SIGNATURE,
            Self::MissingSignature(_) => &MISSING_SIGNATURE,
            Self::SeveralSignatures(_) => &SEVERAL_SIGNATURES,
            Self::NeedsContent => &NEEDS_CONTENT,
            Self::TooLarge { .. } => &TOO_LARGE,
            Self::TooMany { .. } => &TOO_MANY,
            Self::ContentDigest(_) => &CONTENT_DIGEST,
            Self::MediaType(_) => &MEDIA_TYPE,
            Self::Manifest(_) => &MANIFEST,
            Self::NotJson { .. } => &NOT_JSON,
            Self::TooDeep(_) => &TOO_DEEP,
            Self::DuplicateKey { .. } => &DUPLICATE_KEY,
            Self::AmbiguousKey { .. } => &AMBIGUOUS_KEY,
            Self::Field { .. } => &FIELD,
            Self::Base64 { .. } => &BASE64,
            Self::PayloadKind(_) => &PAYLOAD_KIND,
            Self::UnknownCritical(_) => &UNKNOWN_CRITICAL,
            Self::ClaimDigest(_) => &CLAIM_DIGEST,
            Self::OtherDigest { .. } => &OTHER_DIGEST,
            Self::MissingAnnotation(_) => &MISSING_ANNOTATION,
            Self::WrongAnnotation { .. } => &WRONG_ANNOTATION,
            Self::BundleVersion(_) => &BUNDLE_VERSION,
            Self::NoVerificationMaterial => &NO_VERIFICATION_MATERIAL,
            Self::SeveralVerificationMaterials => &SEVERAL_VERIFICATION_MATERIALS,
            Self::CertificateInBundle => &CERTIFICATE_IN_BUNDLE,
            Self::NoContent => &NO_CONTENT,
            Self::SeveralContents => &SEVERAL_CONTENTS,
            Self::NotAnEnvelope => &NOT_AN_ENVELOPE,
            Self::EnvelopeType(_) => &ENVELOPE_TYPE,
            Self::StatementType(_) => &STATEMENT_TYPE,
            Self::NoSubject => &NO_SUBJECT,
            Self::OtherSubject => &OTHER_SUBJECT,
            Self::NotASignature { .. } => &NOT_A_SIGNATURE,
            Self::OtherPredicateType { .. } => &OTHER_PREDICATE_TYPE,
            Self::ImageSignature => &IMAGE_SIGNATURE,
            Self::MessageDigest => &MESSAGE_DIGEST,
            Self::MessageDigestAlgorithm(_) => &MESSAGE_DIGEST_ALGORITHM,
            Self::Log(reject) => reject.reason(),
            Self::TimeProof(reject) => reject.reason(),
            Self::Certificate(_) => &CERTIFICATE,
            Self::UntrustedCertificate(_) => &UNTRUSTED_CERTIFICATE,
            Self::CertificateUsage(_) => &CERTIFICATE_USAGE,
            Self::CertificateTime { .. } => &CERTIFICATE_TIME,
            Self::AuthorityTime { .. } => &AUTHORITY_TIME,
            Self::NoTrustedTime => &NO_TRUSTED_TIME,
            Self::NotLogged => &NOT_LOGGED,
            Self::NoTimestamp => &NO_TIMESTAMP,
            Self::NoSubjectName => &NO_SUBJECT_NAME,
            Self::Sct(_) => &BAD_SCT,
            Self::WrongSct => &WRONG_SCT,
            Self::NoSct => &NO_SCT,
            Self::NoIdentity => &NO_IDENTITY,
            Self::WrongIdentity { .. } => &WRONG_IDENTITY,
            Self::WrongClaim { .. } => &WRONG_CLAIM,
            Self::NoCertificate => &NO_CERTIFICATE,
            Self::NoTrustRoot => &NO_TRUST_ROOT,
        }
    }
}
