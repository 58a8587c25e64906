//! Every reason with its code, its meaning and its remedy: what the documentation is made from.

use std::sync::LazyLock;

use super::Reject;

/// One row of the documentation of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The stable code, kebab-case.
    pub code: &'static str,
    /// What it means, in one sentence.
    pub meaning: &'static str,
    /// What a person can do about it, in one sentence.
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
    NO_KEY: "no-key", "The authority has no public key, so nothing can be verified.",
        "Give at least one public key.";
    UNSUPPORTED_HASH: "unsupported-hash",
        "The authority insists on a hash that none of its keys can be used with.",
        "Name the hash algorithm that the signer uses, and that fits the key.";
    WRONG_SIGNATURE: "wrong-signature",
        "The signature does not verify with any of the public keys: signed by another key, or changed since.",
        "Compare the public key with the signer's (`sealgate public-key --key KEY` prints it), and sign again if the right key was used.";
    MISSING_SIGNATURE: "missing-signature", "There is no signature in the evidence.",
        "Sign again; the evidence is incomplete.";
    SEVERAL_SIGNATURES: "several-signatures",
        "A bundle's envelope holds several signatures where exactly one must be.",
        "Write one bundle for each signature.";
    NEEDS_CONTENT: "needs-content",
        "The signature is over the whole content (Ed25519) or needs a digest that was not computed.",
        "Give the content itself, not its digest.";
    TOO_LARGE: "too-large", "A document or signature is larger than its bound.",
        "Check where it comes from; real signatures are a few kilobytes.";
    TOO_MANY: "too-many", "A list (entries, timestamps, subjects, layers, values) is longer than its bound.",
        "Check where it comes from; remove what does not belong there.";
    CONTENT_DIGEST: "content-digest",
        "The bytes do not have the digest that their manifest gives: changed in the registry or on the way.",
        "Do not trust this registry's content; push the signature again.";
    MEDIA_TYPE: "media-type", "The media type is not that of a signature or bundle.",
        "Sign again with a tool that writes cosign's formats.";
    MANIFEST: "bad-manifest", "The manifest that should hold a signature has not the form that it must have.",
        "Sign again; another tool may have overwritten the signature.";
    NOT_JSON: "not-json", "A document is not JSON, or has bytes after its end.",
        "Sign again; the document is damaged.";
    TOO_DEEP: "too-deep", "A document nests deeper than any real one.",
        "Check where it comes from; it looks like an attack.";
    DUPLICATE_KEY: "duplicate-key",
        "A key stands twice in one object, so that two readers could read two things.",
        "Check where it comes from; no signing tool writes this.";
    AMBIGUOUS_KEY: "ambiguous-key",
        "A key differs from a known field only in case or spelling, so that two readers could read two things.",
        "Check where it comes from; no signing tool writes this.";
    FIELD: "bad-field", "A field is missing, or has a value of the wrong kind.",
        "Sign again; the document is damaged or of an unknown format.";
    BASE64: "bad-base64", "A field is not standard base64 with padding (line breaks in it are ignored).",
        "Sign again; the field is damaged or in another alphabet.";
    PAYLOAD_KIND: "payload-kind", "The legacy payload is not of the type `cosign container image signature`.",
        "Sign with cosign or sealgate; other kinds of simple signing are not accepted.";
    UNKNOWN_CRITICAL: "unknown-critical",
        "The legacy payload has a critical member that is not known, and must therefore not be passed over.",
        "Sign again with a tool that writes cosign's format.";
    CLAIM_DIGEST: "claim-digest", "The legacy payload names no digest, or not a well-formed one.",
        "Sign the image again, by its digest.";
    OTHER_DIGEST: "other-digest",
        "The signature is genuine, but for another image: its payload names another digest.",
        "Sign this digest; a signature cannot be moved from one image to another.";
    MISSING_ANNOTATION: "missing-annotation", "A required annotation is not in the signature.",
        "Sign again with the annotation: `-a key=value`.";
    WRONG_ANNOTATION: "wrong-annotation", "A required annotation has another value in the signature.",
        "Sign again with the required value: `-a key=value`.";
    BUNDLE_VERSION: "bundle-version", "The bundle's media type is not one of versions 0.1, 0.2 and 0.3.",
        "Sign again with a bundle of version 0.3, or update sealgate.";
    NO_VERIFICATION_MATERIAL: "no-verification-material",
        "The bundle names neither a public key nor a certificate.",
        "Sign again; the bundle is incomplete.";
    SEVERAL_VERIFICATION_MATERIALS: "several-verification-materials",
        "The bundle names more than one of public key, certificate and certificate chain.",
        "Sign again; exactly one may be there.";
    CERTIFICATE_IN_BUNDLE: "certificate-in-bundle",
        "The bundle was signed with a certificate, but verification is by public key.",
        "Verify it by the certificate's identity, or sign with the key.";
    NO_CONTENT: "no-content", "The bundle holds neither a DSSE envelope nor a message signature.",
        "Sign again; the bundle is incomplete.";
    SEVERAL_CONTENTS: "several-contents", "The bundle holds both a DSSE envelope and a message signature.",
        "Sign again; exactly one may be there.";
    NOT_AN_ENVELOPE: "not-an-envelope",
        "The bundle holds a message signature, as for a blob; an image signature is a DSSE envelope.",
        "Sign the image with `sign`, not its manifest with `sign-blob`.";
    ENVELOPE_TYPE: "envelope-type", "The envelope's payload is not an in-toto statement.",
        "Sign the image with `sign`; this envelope is something else.";
    STATEMENT_TYPE: "statement-type", "The statement is not in-toto version 0.1 or 1.",
        "Sign again with a tool that writes in-toto statements version 1.";
    NO_SUBJECT: "no-subject", "The statement has no subject, so it is about nothing.",
        "Sign the image again, by its digest.";
    OTHER_SUBJECT: "other-subject",
        "The signature is genuine, but for something else: no subject of the statement has the digest.",
        "Sign this digest; a signature cannot be moved from one image to another.";
    NOT_A_SIGNATURE: "not-a-signature",
        "The bundle is an attestation (of another predicate type), not an image signature.",
        "Sign the image too; an attestation alone does not count as a signature.";
    OTHER_PREDICATE_TYPE: "other-predicate-type",
        "The attestation is of another predicate type than the required one.",
        "Attest the image with the required predicate type.";
    IMAGE_SIGNATURE: "image-signature",
        "The evidence is a legacy image signature, not an attestation or a signature over a blob.",
        "Attest the image, or sign the blob.";
    MESSAGE_DIGEST: "message-digest", "The bundle names another digest of its content than the artifact has.",
        "Check that bundle and file belong together.";
    MESSAGE_DIGEST_ALGORITHM: "message-digest-algorithm",
        "The bundle names a digest by an algorithm that is not SHA-256, SHA-384 or SHA-512.",
        "Sign again with SHA-256.";
    CERTIFICATE: "bad-certificate", "A certificate cannot be read, or has a form that must not be believed.",
        "Sign again; if it is a private authority's certificate, check how it is made.";
    UNTRUSTED_CERTIFICATE: "untrusted-certificate",
        "No certificate authority of the trust root has issued the signer's certificate.",
        "Check that the trust root is that of the Sigstore instance the image was signed with.";
    CERTIFICATE_USAGE: "certificate-usage",
        "A certificate is used for what it is not for: not code signing, or not issuing certificates.",
        "Sign with a certificate for code signing, as Fulcio issues it.";
    CERTIFICATE_TIME: "certificate-time",
        "A certificate of the chain was not valid when, by a trusted time, the signature was made.",
        "Sign again, within the few minutes that a keyless certificate is valid.";
    AUTHORITY_TIME: "authority-time",
        "The trust root does not trust the authority at the time of the signature.",
        "Update the trust root, or sign again with an authority that it trusts now.";
    NO_TRUSTED_TIME: "no-trusted-time",
        "The certificate is valid for minutes only, and nothing trusted says when the signature was made.",
        "Sign with a timestamp authority or a log that promises a time, and have both in the trust root.";
    NOT_LOGGED: "not-logged", "A transparency log's proof is required, and no log of the trust root has the signature.",
        "Sign with a log of the trust root (with a key: `sign --key KEY --signing-config FILE`, or `--tlog-upload` for the public one), or use the trust root that names the log.";
    NO_TIMESTAMP: "no-timestamp", "A signed timestamp is required, and none is by an authority of the trust root.",
        "Sign with a timestamp authority that the trust root names.";
    NO_SUBJECT_NAME: "no-subject-name", "The certificate has no subject alternative name, so it names no signer.",
        "Sign with a certificate that Fulcio issued.";
    BAD_SCT: "bad-sct", "The timestamp of a certificate log cannot be read.",
        "Sign again; the certificate is damaged.";
    WRONG_SCT: "wrong-sct",
        "The timestamp of a known certificate log has a signature that is not that log's over this certificate.",
        "Check that the trust root is current; sign again.";
    NO_SCT: "no-sct", "No certificate log of the trust root has promised to publish the certificate.",
        "Use a trust root that names the CT log to which the certificate authority writes.";
    NO_IDENTITY: "no-identity", "The authority wants no identity, so nothing can be verified.",
        "Give at least one identity, by issuer and subject.";
    WRONG_IDENTITY: "wrong-identity", "The signature is genuine, but somebody else's than is wanted.",
        "Compare the subjects and the issuer with those that are asked for.";
    WRONG_CLAIM: "wrong-claim", "The certificate lacks a wanted value of an extension, such as the workflow's name.",
        "Compare the certificate's extensions with those that are asked for.";
    NO_CERTIFICATE: "no-certificate", "Verification is by identity, but the signature comes without a certificate.",
        "Verify it by its public key, or sign keyless.";
    NO_TRUST_ROOT: "no-trust-root", "Verification is by identity, but there is no trust root.",
        "Give a trust root, or initialize one.";
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
