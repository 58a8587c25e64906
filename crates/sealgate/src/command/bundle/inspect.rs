//! `bundle inspect`: prints the content of a bundle, as text or as a document. The names of logs
//! and timestamp authorities come from the configured trust root; nothing is verified.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jiff::Timestamp;
use sealgate_core::bundle::{
    Bundle, Content, LogEntry, LogMaterial, OlderBundle, VerificationMaterial,
};
use sealgate_core::certificate::Unverified;
use sealgate_core::identity::Subject;
use sealgate_core::key::{PublicKey, SignatureAlgorithm};
use sealgate_core::log::{Body, Checkpoint, Logged, LoggedContent, Signer};
use sealgate_core::reject::Foreign;
use sealgate_core::statement::Statement;
use sealgate_core::timestamp::{self, TimestampOutcome, verify_timestamp};
use sealgate_core::trust::TrustRoot;
use serde_json::{Map, Value, json};

use super::MAX_FILE;
use crate::cli::files;
use crate::cli::root::offline_root;
use crate::command::public_key::key_fields;
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format};
use crate::session::Session;
use crate::terminal;

/// Show the contents of a bundle without verifying it
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// Sigstore bundle, or bundle of cosign 1 or 2
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// Trusted root, used to show the names of logs and authorities
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

pub(super) async fn run(args: InspectArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let bytes = files::read_or_stdin(&args.bundle, MAX_FILE)?;
    let root = offline_root(args.trusted_root.clone()).await?.root;
    let document = document(&bytes, &root)
        .map_err(|reason| CliError::new(format!("{}: {reason}", args.bundle.display())))?;
    match args.output {
        Format::Json => output::document(session, "bundle", document),
        Format::Text => {
            terminal::warn(
                "This command only inspects the contents of the bundle: nothing is verified.",
            );
            let mut text = String::new();
            lines(&document, 0, &mut text);
            session.print(terminal::clean(&text).as_bytes())
        }
    }
}

fn document(bytes: &[u8], root: &TrustRoot) -> Result<Value, sealgate_core::reject::Reject> {
    if let Some(older) = OlderBundle::recognise(bytes)? {
        return Ok(older_document(&older, root));
    }
    let bundle = Bundle::parse(bytes)?;
    let signature = signature(&bundle.content);
    Ok(json!({
        "mediaType": bundle.version.media_type(),
        "signer": signer(&bundle.material),
        "content": content(&bundle),
        "logEntries": entries(&bundle.log, &Expected::of(&bundle), root),
        "timestamps": timestamps(&bundle.log, signature, root),
    }))
}

fn older_document(older: &OlderBundle, root: &TrustRoot) -> Value {
    let chain = Unverified::of_pem(&older.certificate, 16).unwrap_or_default();
    let signer = match (chain.first(), PublicKey::from_pem(&older.certificate)) {
        (Some(leaf), _) => json!({ "kind": "certificate", "certificate": certificate(leaf) }),
        (None, Ok(key)) => json!({ "kind": "key", "key": key_fields(&key) }),
        (None, Err(_)) => json!({ "kind": "none" }),
    };
    let expected = Expected { content: None, signature: &older.signature, leaf: None };
    json!({
        "mediaType": "none: a bundle of cosign 1 or 2",
        "signer": signer,
        "content": { "kind": "message", "signature": STANDARD.encode(&older.signature) },
        "logEntries": entries(&older.log, &expected, root),
        "timestamps": timestamps(&older.log, &older.signature, root),
    })
}

fn signature(content: &Content) -> &[u8] {
    match content {
        Content::Message(message) => &message.signature,
        Content::Envelope(envelope) => envelope.signatures.first().map_or(&[], Vec::as_slice),
    }
}

fn signer(material: &VerificationMaterial) -> Value {
    match material {
        VerificationMaterial::PublicKey { hint } => {
            json!({ "kind": "key", "hint": Foreign::new(hint).to_string() })
        }
        VerificationMaterial::Certificate(der) => {
            json!({ "kind": "certificate", "certificate": certificate_of(der) })
        }
        VerificationMaterial::CertificateChain(chain) => json!({
            "kind": "certificateChain",
            "certificates": chain.iter().map(|der| certificate_of(der)).collect::<Vec<_>>(),
        }),
    }
}

fn certificate_of(der: &[u8]) -> Value {
    match Unverified::read(der) {
        Ok(found) => certificate(&found),
        Err(reason) => json!({ "error": reason.to_string() }),
    }
}

fn certificate(found: &Unverified) -> Value {
    let identity = found.identity();
    let subjects: Vec<_> = identity.subjects.iter().map(subject).collect();
    let claims: Map<String, Value> = identity
        .claims
        .iter()
        .map(|(claim, value)| (claim.name().to_owned(), json!(Foreign::new(value).to_string())))
        .collect();
    json!({
        "identity": subjects,
        "oidcIssuer": identity.issuer.as_ref().map(|text| Foreign::new(text).to_string()),
        "claims": claims,
        "notBefore": time(found.not_before()),
        "notAfter": time(found.not_after()),
        "subject": found.subject().to_string(),
        "issuedBy": found.issuer().to_string(),
        "serialNumber": found.serial(),
        "key": key_fields(found.key()),
        "fingerprint": found.fingerprint(),
    })
}

fn subject(subject: &Subject) -> Value {
    let kind = match subject {
        Subject::Email(_) => "email",
        Subject::Uri(_) => "uri",
        Subject::Dns(_) => "dns",
        Subject::Ip(_) => "ip",
        Subject::Other(_) => "other",
    };
    json!({ kind: Foreign::new(subject.to_string()).to_string() })
}

fn content(bundle: &Bundle) -> Value {
    let encoded = STANDARD.encode(signature(&bundle.content));
    let algorithm = algorithm(bundle).map(|algorithm| algorithm.to_string());
    match &bundle.content {
        Content::Message(message) => json!({
            "kind": "message",
            "digest": message.digest,
            "signature": encoded,
            "signatureAlgorithm": algorithm,
        }),
        Content::Envelope(envelope) => json!({
            "kind": "envelope",
            "payloadType": Foreign::new(&envelope.payload_type).to_string(),
            "statement": statement(&envelope.payload),
            "signature": encoded,
            "signatureAlgorithm": algorithm,
        }),
    }
}

/// The algorithm with which the signature verifies with a key in the bundle, its certificate or a
/// log entry; none where it verifies with none, or where the content is needed.
fn algorithm(bundle: &Bundle) -> Option<SignatureAlgorithm> {
    let leaf = Expected::of(bundle).leaf.and_then(|der| Unverified::read(der).ok());
    let certified = leaf.map(|leaf| leaf.key().clone());
    let logged = bundle.log.entries.iter().filter_map(|entry| {
        let body = Body::parse(&entry.body).ok()?;
        body.signer_key()
    });
    certified.into_iter().chain(logged).find_map(|key| {
        let signature = signature(&bundle.content);
        let scheme = match &bundle.content {
            Content::Envelope(envelope) => key.scheme_of(&envelope.pae(), signature, None),
            Content::Message(message) => {
                key.scheme_of_digests(message.digest.as_slice(), signature, None)
            }
        };
        Some(SignatureAlgorithm { key: key.algorithm(), scheme: scheme.ok()? })
    })
}

fn statement(payload: &[u8]) -> Value {
    let statement = match Statement::parse(payload) {
        Ok(statement) => statement,
        Err(reason) => return json!({ "error": reason.to_string() }),
    };
    let subjects: Vec<_> = statement
        .subjects
        .iter()
        .map(|subject| {
            json!({
                "name": subject.name,
                "digests": subject.digests,
                "annotations": subject.annotations,
            })
        })
        .collect();
    json!({
        "predicateType": statement.predicate_type,
        "subjects": subjects,
        "predicate": statement.predicate,
    })
}

/// The signed content and the signer that log entries should have.
struct Expected<'a> {
    content: Option<&'a Content>,
    signature: &'a [u8],
    leaf: Option<&'a [u8]>,
}

impl<'a> Expected<'a> {
    fn of(bundle: &'a Bundle) -> Self {
        let leaf = match &bundle.material {
            VerificationMaterial::PublicKey { .. } => None,
            VerificationMaterial::Certificate(der) => Some(der.as_slice()),
            VerificationMaterial::CertificateChain(chain) => chain.first().map(Vec::as_slice),
        };
        Self { content: Some(&bundle.content), signature: signature(&bundle.content), leaf }
    }

    /// True if a log entry is of this signature; none where the key is not in the bundle.
    fn is_in(&self, body: &Body) -> Option<bool> {
        let (signer, signature) = (Signer::Certificate(self.leaf?), self.signature);
        let digests: Vec<_>;
        let content = match self.content? {
            Content::Envelope(envelope) => LoggedContent::Envelope { envelope, text: None },
            Content::Message(message) => {
                digests = message.digest.iter().cloned().collect();
                LoggedContent::Message(&digests)
            }
        };
        Some(body.names(&Logged { signature, signer, content }).is_ok())
    }
}

fn entries(log: &LogMaterial, expected: &Expected<'_>, root: &TrustRoot) -> Value {
    log.entries.iter().map(|entry| log_entry(entry, expected, root)).collect()
}

fn log_entry(entry: &LogEntry, expected: &Expected<'_>, root: &TrustRoot) -> Value {
    let known = root.transparency_logs.iter().find(|log| log.is_named(&entry.log_id));
    let body = Body::parse(&entry.body);
    let kind = body.as_ref().map(|body| format!("{} {}", body.kind(), body.version()));
    let proof = entry.proof.as_ref().map(|proof| {
        let checkpoint = Checkpoint::parse(&proof.checkpoint);
        json!({
            "logIndex": proof.log_index,
            "treeSize": proof.tree_size,
            "rootHash": hex(&proof.root_hash),
            "hashes": proof.hashes.len(),
            "checkpointOrigin": checkpoint.map(|note| Foreign::new(note.origin).to_string()).ok(),
        })
    });
    let details = body.as_ref().ok().and_then(|body| body.key_details());
    json!({
        "keyDetails": details.map(|name| Foreign::new(name).to_string()),
        "kind": kind.unwrap_or_else(|reason| format!("unreadable: {reason}")),
        "log": known.map_or("not in the trust root", |log| log.base_url.as_str()),
        "logId": hex(&entry.log_id),
        "logIndex": entry.log_index,
        "integratedTime": (entry.integrated_time != 0).then(|| time(entry.integrated_time)),
        "inclusionPromise": entry.signed_entry_timestamp.is_some(),
        "inclusionProof": proof,
        "isAboutThisSignature": body.ok().and_then(|body| expected.is_in(&body)),
    })
}

fn timestamps(log: &LogMaterial, signature: &[u8], root: &TrustRoot) -> Value {
    log.timestamps.iter().map(|response| timestamp_of(response, signature, root)).collect()
}

fn timestamp_of(response: &[u8], signature: &[u8], root: &TrustRoot) -> Value {
    let said = match timestamp::read_unverified(response, signature) {
        Ok(said) => said,
        Err(reason) => return json!({ "error": reason.to_string() }),
    };
    let authority = match verify_timestamp(response, &root.timestamp_authorities, signature) {
        Ok(TimestampOutcome::Trusted(time)) => time.authority().to_owned(),
        _ => "not in the trust root".to_owned(),
    };
    json!({
        "time": time(said.seconds),
        "authority": authority,
        "isAboutThisSignature": said.is_over_signature,
    })
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fields that come first in text output; the others follow by name.
const ORDER: [&str; 20] = [
    "mediaType",
    "signer",
    "content",
    "logEntries",
    "timestamps",
    "kind",
    "certificate",
    "identity",
    "oidcIssuer",
    "claims",
    "notBefore",
    "notAfter",
    "log",
    "logIndex",
    "integratedTime",
    "time",
    "authority",
    "payloadType",
    "digest",
    "statement",
];

/// A document as lines: nested values are indented, empty ones left out.
fn lines(value: &Value, depth: usize, text: &mut String) {
    let Value::Object(fields) = value else { return };
    let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| (rank(name), name.as_str()));
    for (name, value) in fields {
        line(&words(name), value, depth, text);
    }
}

fn line(name: &str, value: &Value, depth: usize, text: &mut String) {
    let (indent, name) = ("  ".repeat(depth), &one_line(name));
    let mut say = |value: &str| text.push_str(&format!("{indent}{name}: {}\n", one_line(value)));
    match value {
        Value::Null => {}
        Value::String(value) if value.is_empty() => {}
        Value::String(value) => say(value),
        Value::Bool(value) => say(if *value { "yes" } else { "no" }),
        Value::Number(value) => say(&value.to_string()),
        Value::Array(items) if items.is_empty() => say("none"),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                line(&format!("{} {}", one(name), at + 1), item, depth, text);
            }
        }
        Value::Object(fields) if fields.is_empty() => {}
        Value::Object(_) => {
            text.push_str(&format!("{indent}{name}:\n"));
            lines(value, depth + 1, text);
        }
    }
}

/// Text of the bundle without control characters, so that it cannot forge lines of the output.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// The singular of a field name.
fn one(name: &str) -> &str {
    match name {
        "log entries" => "log entry",
        other => other.strip_suffix('s').unwrap_or(other),
    }
}

/// The words of a field name: `is about this signature` for `isAboutThisSignature`.
fn words(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_plain {
        return name.to_owned();
    }
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_lines_for_people() {
        let document = json!({
            "logEntries": [{ "logIndex": 3, "inclusionPromise": false, "integratedTime": null }],
            "timestamps": [],
        });
        let mut text = String::new();
        lines(&document, 0, &mut text);
        assert_eq!(
            text,
            "log entry 1:\n  log index: 3\n  inclusion promise: no\ntimestamps: none\n"
        );
    }

    #[test]
    fn a_bundle_writes_no_lines_of_ours() {
        let document = json!({
            "predicate": { "a": "b\nlog: https://log.example", "c\ntime: d": ["e\r\nf", { "g": 1 }] },
        });
        let mut text = String::new();
        lines(&document, 0, &mut text);
        assert!(!text.contains("\nlog:") && !text.contains("\ntime:"), "{text}");
        assert_eq!(text.lines().count(), 5, "{text}");
    }
}
