//! Output of a verification's context: requirements, trust root and time, and the proofs of each
//! signature.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use sealgate_core::certificate::CertifiedKey;
use sealgate_core::identity::{Claim, Identity, Subject};
use sealgate_core::key::{SignatureAlgorithm, SignatureScheme};
use sealgate_core::log::LogProof;
use sealgate_core::timestamp::TrustedTime;
use sealgate_core::verify::{Authority, Check, ProofRequirement, RootSource, Verified};
use sealgate_sigstore::root::RootOrigin as Origin;
use serde_json::{Map, Value, json};

use crate::cli::trust::VerificationSettings;

/// The claims that cosign shows.
const SHOWN_CLAIMS: [Claim; 5] = [
    Claim::GithubWorkflowTrigger,
    Claim::GithubWorkflowSha,
    Claim::GithubWorkflowName,
    Claim::GithubWorkflowRepository,
    Claim::GithubWorkflowRef,
];

/// The verified proofs of one signature, of an image or of a blob.
#[derive(Clone, Copy)]
pub(crate) struct SignatureProofs<'a> {
    algorithm: SignatureAlgorithm,
    certificate: Option<&'a CertifiedKey>,
    logs: &'a [LogProof],
    timestamps: &'a [TrustedTime],
    has_log_material: bool,
}

impl<'a> From<&'a Verified> for SignatureProofs<'a> {
    fn from(verified: &'a Verified) -> Self {
        Self {
            algorithm: verified.algorithm(),
            certificate: verified.certificate(),
            logs: verified.logs(),
            timestamps: verified.timestamps(),
            has_log_material: verified.has_log_material(),
        }
    }
}

impl SignatureProofs<'_> {
    /// Returns whether the signature algorithm is Ed25519ph.
    pub(crate) fn is_prehashed_ed25519(&self) -> bool {
        self.algorithm.scheme == SignatureScheme::Ed25519ph
    }
}

/// Formats for people: the signers, the checks that were not made, and the verification context.
/// `made` are the checks that were made on all of `signatures`.
pub(crate) fn lines(
    settings: &VerificationSettings,
    signatures: &[SignatureProofs<'_>],
    made: &BTreeSet<Check>,
) -> String {
    let mut text = String::new();
    if !made.contains(&Check::Log) {
        let requirement = settings.requirements().log();
        let why = match (requirement, signatures.iter().any(|one| one.has_log_material)) {
            (ProofRequirement::Ignored, _) => ", as requested",
            (_, true) => " (log entries or timestamps that are present were not verified)",
            (_, false) => "",
        };
        let _ = writeln!(text, "A transparency log entry was not required{why}.");
    }
    let mut shown = BTreeSet::new();
    for identity in signatures.iter().filter_map(|one| one.certificate).map(CertifiedKey::identity)
    {
        let lines = identity_lines(identity);
        if shown.insert(lines.clone()) {
            text.push_str(&lines);
        }
    }
    // Only for Ed25519ph, the key does not determine the algorithm.
    if let Some(prehashed) = signatures.iter().find(|one| one.is_prehashed_ed25519()) {
        let algorithm = prehashed.algorithm;
        let _ = writeln!(text, "Signature algorithm: {algorithm} (Ed25519 over the SHA-512).");
    }
    if matches!(settings.authority, Authority::Identities(_))
        || settings.requirements().log().is_required()
    {
        let _ = writeln!(text, "Requirements: {}", settings.requirements());
        let _ = writeln!(text, "Trust root: {}", origin(settings));
    }
    if settings.past {
        let _ = writeln!(text, "Verified as of {}, NOT as of now: --at was given.", settings.now);
    }
    text
}

fn origin(settings: &VerificationSettings) -> String {
    let origin = settings.origin.describe(settings.now);
    match settings.replaced.as_slice() {
        [] => origin,
        files => {
            let files: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
            format!("{}, the rest from {origin}", files.join(", "))
        }
    }
}

/// Formats a signer's identity as cosign does.
pub(crate) fn identity_lines(identity: &Identity) -> String {
    let mut text = String::new();
    for subject in &identity.subjects {
        let _ = writeln!(text, "Certificate subject: {}", one_line(&subject.to_string()));
    }
    if let Some(issuer) = &identity.issuer {
        let _ = writeln!(text, "Certificate issuer URL: {}", one_line(issuer));
    }
    for claim in SHOWN_CLAIMS {
        if let Some(value) = identity.claims.get(&claim) {
            let _ = writeln!(text, "{}: {}", claim.title(), one_line(value));
        }
    }
    text
}

/// Replaces control characters, so that foreign text cannot begin another line.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// JSON fields of the verification context: requirements, trust root and time.
pub(crate) fn document(settings: &VerificationSettings) -> Map<String, Value> {
    let requirements = settings.requirements();
    let mut root = origin_document(&settings.origin);
    root.insert("description".to_owned(), origin(settings).into());
    let fingerprint = settings.root().map(|root| root.fingerprint().to_string());
    root.insert("fingerprint".to_owned(), fingerprint.into());
    root.insert(
        "configured".to_owned(),
        (settings.trust_config.source == RootSource::Configured).into(),
    );
    let fields = [
        (
            "requirements",
            json!({
                "transparencyLog": requirement(requirements.log()),
                "timestamp": requirement(requirements.timestamp()),
                "certificateLog": requirement(requirements.sct()),
            }),
        ),
        ("trustRoot", Value::Object(root)),
        ("time", settings.now.to_string().into()),
        ("pastTime", settings.past.into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn requirement(requirement: ProofRequirement) -> &'static str {
    match requirement {
        ProofRequirement::ByOverride => "required",
        ProofRequirement::ByCertificate => "required-by-certificate",
        ProofRequirement::ByTrustRoot => "required-by-trust-root",
        ProofRequirement::NotRequired => "not-asked",
        ProofRequirement::Ignored => "ignored",
    }
}

fn origin_document(origin: &Origin) -> Map<String, Value> {
    let fields = match origin {
        Origin::File(path) => json!({ "origin": "file", "file": path.display().to_string() }),
        Origin::Environment(files, below) => json!({
            "origin": "environment",
            "files": files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            "rest": below.as_ref().map(|below| origin_document(below)),
        }),
        Origin::Tuf { mirror, refreshed, expires } => json!({
            "origin": "tuf",
            "mirror": mirror,
            "refreshed": refreshed.map(|time| time.to_string()),
            "expires": expires.to_string(),
        }),
        Origin::Embedded { taken } => json!({ "origin": "embedded", "taken": taken.to_string() }),
    };
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// JSON fields of one signature's proofs.
pub(crate) fn proof_fields(proofs: SignatureProofs<'_>) -> Map<String, Value> {
    let transparency_log = match proofs.logs.is_empty() {
        true => "not-asked",
        false => "verified",
    };
    let fields = [
        ("signatureAlgorithm", proofs.algorithm.to_string().into()),
        ("transparencyLog", transparency_log.into()),
        ("hasLogMaterial", proofs.has_log_material.into()),
        ("certificate", proofs.certificate.map_or(Value::Null, certificate)),
        ("logs", proofs.logs.iter().map(log).collect()),
        ("timestamps", proofs.timestamps.iter().map(timestamp).collect()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn certificate(certificate: &CertifiedKey) -> Value {
    let Identity { subjects, issuer, claims } = certificate.identity();
    let claims =
        claims.iter().map(|(claim, value)| (claim.name().to_owned(), value.clone().into()));
    json!({
        "subjects": subjects.iter().map(Subject::to_string).collect::<Vec<_>>(),
        "issuer": issuer,
        "claims": claims.collect::<Map<String, Value>>(),
        "fingerprint": certificate.fingerprint(),
        "notBefore": time(certificate.not_before()),
        "notAfter": time(certificate.not_after()),
        "authority": certificate.authority(),
        "certificateLogs": certificate.ct_logs(),
    })
}

fn log(proof: &LogProof) -> Value {
    json!({
        "url": proof.base_url(),
        "logIndex": proof.log_index(),
        "integratedTime": proof.integrated_time().map(time),
    })
}

fn timestamp(stamp: &TrustedTime) -> Value {
    json!({ "authority": stamp.authority(), "time": time(stamp.seconds()) })
}

/// Formats a time as RFC 3339; a time outside its range stays a number.
fn time(seconds: i64) -> Value {
    Timestamp::from_second(seconds).map_or(seconds.into(), |time| time.to_string().into())
}

/// The name of a check.
pub(crate) fn check(check: Check) -> &'static str {
    match check {
        Check::Annotations => "annotations",
        Check::Claims => "claims",
        Check::KeySignature => "key-signature",
        Check::Certificate => "certificate",
        Check::Sct => "certificate-log",
        Check::Log => "transparency-log",
        Check::Timestamp => "timestamp",
    }
}

/// Adds the fields that cosign adds to `optional` for a legacy signature: the identity by its older
/// names, the log entry, the timestamp. Only verified values.
pub(crate) fn cosign_optional(proofs: SignatureProofs<'_>, optional: &mut Map<String, Value>) {
    let mut add = |name: &str, value: Value| optional.insert(name.to_owned(), value);
    if let Some(certificate) = proofs.certificate {
        let identity = certificate.identity();
        let subject = identity.subjects.first().map(Subject::to_string).unwrap_or_default();
        add("Subject", subject.into());
        if let Some(issuer) = &identity.issuer {
            add("Issuer", issuer.clone().into());
            add("1.3.6.1.4.1.57264.1.1", issuer.clone().into());
        }
        for claim in SHOWN_CLAIMS {
            if let Some(value) = identity.claims.get(&claim) {
                add(claim.name(), value.clone().into());
                add(&claim.oid().to_string(), value.clone().into());
            }
        }
    }
    if let Some(proof) = proofs.logs.first() {
        add("Bundle", legacy_entry(proof));
    }
    if let Some(stamp) = proofs.timestamps.first() {
        add("RFC3161Timestamp", json!({ "SignedRFC3161Timestamp": b64(stamp.response()) }));
    }
}

fn legacy_entry(proof: &LogProof) -> Value {
    json!({
        "SignedEntryTimestamp": proof.signed_entry_timestamp().map(b64),
        "Payload": {
            "body": b64(proof.body()),
            "integratedTime": proof.integrated_time(),
            "logIndex": proof.log_index(),
            "logID": hex(proof.log_id()),
        },
    })
}

fn b64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
