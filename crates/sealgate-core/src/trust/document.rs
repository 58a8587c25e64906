//! The trusted root document of Sigstore (protobuf-specs `TrustedRoot`, JSON form), versions 0.1
//! and 0.2: reading and writing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{
    CertificateAuthority, InvalidTrustRoot, LogKey, MAX_AUTHORITIES, MAX_CHAIN, MAX_LOGS, Part,
    Skipped, TransparencyLog, TrustRoot, Validity,
};
use crate::json::{self, InvalidJson, Object};
use crate::key::{HashAlgorithm, KeyAlgorithm, PublicKey};
use crate::reject::Foreign;
use crate::time::{self, Edge};
use crate::x509::X509;

/// The maximum size of a trusted root in bytes.
pub const MAX_TRUST_ROOT: usize = 1 << 20;

const V01: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
const MEDIA_TYPES: &[&str] = &[
    V01,
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

type Parsed<T> = Result<T, InvalidTrustRoot>;

pub(super) fn parse(bytes: &[u8]) -> Parsed<TrustRoot> {
    let value = json::parse(bytes, MAX_TRUST_ROOT)?;
    let known = &[
        "mediaType",
        "media_type",
        "tlogs",
        "certificateAuthorities",
        "certificate_authorities",
        "ctlogs",
        "timestampAuthorities",
        "timestamp_authorities",
    ];
    let object = Object::new(&value, "trusted root", known)?;
    let media_type = json::text(object.either("mediaType", "media_type")?, "mediaType")?;
    if !MEDIA_TYPES.contains(&media_type) {
        return Err(InvalidTrustRoot::MediaType(Foreign::new(media_type)));
    }
    let mut skipped = Vec::new();
    let certifying = object.either("certificateAuthorities", "certificate_authorities")?;
    let stamping = object.either("timestampAuthorities", "timestamp_authorities")?;
    Ok(TrustRoot {
        certificate_authorities: authorities(certifying, "certificateAuthorities")?,
        transparency_logs: logs(object.get("tlogs"), Part::TransparencyLog, &mut skipped)?,
        ct_logs: logs(object.get("ctlogs"), Part::CtLog, &mut skipped)?,
        timestamp_authorities: authorities(stamping, "timestampAuthorities")?,
        skipped,
    })
}

fn authorities(value: Option<&Value>, field: &'static str) -> Parsed<Vec<CertificateAuthority>> {
    json::list(value, field, MAX_AUTHORITIES)?.iter().map(authority).collect()
}

fn authority(value: &Value) -> Parsed<CertificateAuthority> {
    let known = &["uri", "certChain", "cert_chain", "validFor", "valid_for", "subject", "operator"];
    let object = Object::new(value, "authority", known)?;
    let uri = json::text(object.get("uri"), "uri")?;
    let window = validity(object.either("validFor", "valid_for")?)?;
    let chain = match object.either("certChain", "cert_chain")? {
        Some(chain) => {
            let chain = Object::new(chain, "certChain", &["certificates"])?;
            json::list(chain.get("certificates"), "certificates", MAX_CHAIN)?
        }
        None => &[],
    };
    let chain = chain.iter().map(raw_bytes).collect::<Result<_, _>>()?;
    CertificateAuthority::new(uri, chain, window)
}

fn raw_bytes(value: &Value) -> Result<Vec<u8>, InvalidJson> {
    let object = Object::new(value, "certificates", &["rawBytes", "raw_bytes"])?;
    json::bytes(object.either("rawBytes", "raw_bytes")?, "rawBytes")
}

fn validity(value: Option<&Value>) -> Parsed<Validity> {
    let Some(value) = value else { return Ok(Validity::default()) };
    let object = Object::new(value, "validFor", &["start", "end"])?;
    Ok(Validity {
        start: edge(object.get("start"), "validFor.start", Edge::Start)?,
        end: edge(object.get("end"), "validFor.end", Edge::End)?,
    })
}

fn edge(value: Option<&Value>, field: &'static str, edge: Edge) -> Parsed<Option<i64>> {
    let Some(value) = value else { return Ok(None) };
    let text = json::text(Some(value), field)?;
    let wrong = InvalidTrustRoot::Time { field, text: Foreign::new(text) };
    time::seconds(text, edge).map(Some).ok_or(wrong)
}

fn logs(
    value: Option<&Value>,
    part: Part,
    skipped: &mut Vec<Skipped>,
) -> Parsed<Vec<TransparencyLog>> {
    let field = match part {
        Part::TransparencyLog => "tlogs",
        Part::CtLog => "ctlogs",
    };
    let mut logs = Vec::new();
    for value in json::list(value, field, MAX_LOGS)? {
        match log(value, part)? {
            Ok(log) => logs.push(log),
            Err(reason) => skipped.push(reason),
        }
    }
    Ok(logs)
}

/// A log, or the reason why it cannot be used.
fn log(value: &Value, part: Part) -> Parsed<Result<TransparencyLog, Skipped>> {
    let known = &[
        "baseUrl",
        "base_url",
        "hashAlgorithm",
        "hash_algorithm",
        "publicKey",
        "public_key",
        "logId",
        "log_id",
        "checkpointKeyId",
        "checkpoint_key_id",
        "operator",
    ];
    let object = Object::new(value, "log", known)?;
    let url = json::text(object.either("baseUrl", "base_url")?, "baseUrl")?;
    let skip = |reason: String| {
        Ok(Err(Skipped { part, uri: Foreign::new(url), reason: Foreign::new(reason) }))
    };
    let hash = name(object.either("hashAlgorithm", "hash_algorithm")?);
    if !matches!(hash.as_str(), "SHA2_256" | "1") {
        return skip(format!("unsupported hash algorithm of the log: {hash}"));
    }
    let Some(key) = object.either("publicKey", "public_key")? else {
        return skip("it has no public key".to_owned());
    };
    let known = &["rawBytes", "raw_bytes", "keyDetails", "key_details", "validFor", "valid_for"];
    let key = Object::new(key, "publicKey", known)?;
    let window = validity(key.either("validFor", "valid_for")?)?;
    let details = name(key.either("keyDetails", "key_details")?);
    let Some(details) = KeyDetails::read(&details) else {
        return skip(format!("unsupported kind of key: {details}"));
    };
    if window.start.is_none() {
        return skip("its key has no begin of validity".to_owned());
    }
    let bytes = json::bytes(key.either("rawBytes", "raw_bytes")?, "rawBytes")?;
    let key = details.key(&bytes);
    let key = key.map_err(|error| InvalidTrustRoot::Key { uri: Foreign::new(url), error })?;
    let Some(key) = key else {
        return skip("the key is not of the kind that it is said to be".to_owned());
    };
    let id = log_id(object.either("logId", "log_id")?)?;
    Ok(Ok(TransparencyLog::new(url, key, id, window)))
}

fn log_id(value: Option<&Value>) -> Result<Option<Vec<u8>>, InvalidJson> {
    let Some(value) = value else { return Ok(None) };
    let object = Object::new(value, "logId", &["keyId", "key_id"])?;
    let id = json::bytes(object.either("keyId", "key_id")?, "keyId")?;
    Ok(Some(id).filter(|id| !id.is_empty()))
}

/// The name of an enum's value, or its number.
fn name(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "none".to_owned(),
    }
}

/// The supported kinds of keys: key type and hash. (PSS, LMS, Ed25519ph and ML-DSA keys are not
/// supported.)
#[derive(Clone, Copy)]
struct KeyDetails {
    name: &'static str,
    number: &'static str,
    kind: Kind,
    hash: HashAlgorithm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exactly(KeyAlgorithm),
    Rsa,
    /// Not a SubjectPublicKeyInfo but the RSAPublicKey alone.
    Pkcs1,
}

const fn details(
    name: &'static str,
    number: &'static str,
    kind: Kind,
    hash: HashAlgorithm,
) -> KeyDetails {
    KeyDetails { name, number, kind, hash }
}

const KEY_DETAILS: &[KeyDetails] = {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519};
    use Kind::{Exactly, Pkcs1, Rsa};
    &[
        details("PKIX_ECDSA_P256_SHA_256", "5", Exactly(EcdsaP256), Sha256),
        details("PKIX_ECDSA_P384_SHA_384", "12", Exactly(EcdsaP384), Sha384),
        details("PKIX_ECDSA_P384_SHA_256", "19", Exactly(EcdsaP384), Sha256),
        details("PKIX_ECDSA_P521_SHA_512", "13", Exactly(EcdsaP521), Sha512),
        details("PKIX_ECDSA_P521_SHA_256", "20", Exactly(EcdsaP521), Sha256),
        details("PKIX_ED25519", "7", Exactly(Ed25519), Sha512),
        details("PKIX_RSA_PKCS1V15_2048_SHA256", "9", Rsa, Sha256),
        details("PKIX_RSA_PKCS1V15_3072_SHA256", "10", Rsa, Sha256),
        details("PKIX_RSA_PKCS1V15_4096_SHA256", "11", Rsa, Sha256),
        details("PKIX_RSA_PKCS1V5", "3", Rsa, Sha256),
        details("PKCS1_RSA_PKCS1V5", "1", Pkcs1, Sha256),
    ]
};

impl KeyDetails {
    fn read(text: &str) -> Option<&'static Self> {
        KEY_DETAILS.iter().find(|details| details.name == text || details.number == text)
    }

    /// The key, if it is of this kind.
    fn key(&self, bytes: &[u8]) -> Result<Option<LogKey>, crate::key::InvalidKey> {
        let key = match self.kind {
            Kind::Pkcs1 => PublicKey::from_pkcs1_der(bytes)?,
            _ => PublicKey::from_spki_der(bytes)?,
        };
        let fits = match self.kind {
            Kind::Exactly(algorithm) => key.algorithm() == algorithm,
            Kind::Rsa | Kind::Pkcs1 => matches!(key.algorithm(), KeyAlgorithm::Rsa { .. }),
        };
        Ok(fits.then_some(LogKey { key, hash: Some(self.hash) }))
    }

    fn of(key: &LogKey) -> &'static str {
        let fits = |details: &&KeyDetails| match details.kind {
            Kind::Exactly(algorithm) => {
                algorithm == key.key.algorithm() && key.hash.is_none_or(|hash| hash == details.hash)
            }
            Kind::Rsa | Kind::Pkcs1 => false,
        };
        match key.key.algorithm() {
            KeyAlgorithm::Rsa { bits: ..=2048 } => "PKIX_RSA_PKCS1V15_2048_SHA256",
            KeyAlgorithm::Rsa { bits: ..=3072 } => "PKIX_RSA_PKCS1V15_3072_SHA256",
            KeyAlgorithm::Rsa { .. } => "PKIX_RSA_PKCS1V15_4096_SHA256",
            _ => KEY_DETAILS.iter().find(fits).map_or("PKIX_ED25519", |details| details.name),
        }
    }
}

pub(super) fn to_value(root: &TrustRoot) -> Value {
    let logs = |logs: &[TransparencyLog]| logs.iter().map(log_value).collect::<Vec<_>>();
    let authorities =
        |list: &[CertificateAuthority]| list.iter().map(authority_value).collect::<Vec<_>>();
    let lists = [
        ("tlogs", logs(&root.transparency_logs)),
        ("certificateAuthorities", authorities(&root.certificate_authorities)),
        ("ctlogs", logs(&root.ct_logs)),
        ("timestampAuthorities", authorities(&root.timestamp_authorities)),
    ];
    let mut document = serde_json::Map::from_iter([("mediaType".to_owned(), json!(V01))]);
    let there = lists.into_iter().filter(|(_, list)| !list.is_empty());
    document.extend(there.map(|(name, list)| (name.to_owned(), Value::Array(list))));
    Value::Object(document)
}

fn log_value(log: &TransparencyLog) -> Value {
    // Readers refuse a key without a begin, so that "always" is written as 1970.
    let window = Validity { start: log.validity.start.or(Some(0)), ..log.validity };
    json!({
        "baseUrl": log.base_url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": STANDARD.encode(log.key.key.spki_der()),
            "keyDetails": KeyDetails::of(&log.key),
            "validFor": validity_value(window),
        },
        "logId": { "keyId": STANDARD.encode(log.log_id()) },
    })
}

fn authority_value(authority: &CertificateAuthority) -> Value {
    let raw = |der: &Vec<u8>| json!({ "rawBytes": STANDARD.encode(der) });
    let chain: Vec<_> = authority.chain().iter().map(raw).collect();
    json!({
        "subject": subject(authority.root()),
        "uri": authority.uri,
        "certChain": { "certificates": chain },
        "validFor": validity_value(authority.validity),
    })
}

/// The root's name, as far as the document has a field for it. For display; never compared.
fn subject(root: &[u8]) -> Value {
    let name = X509::parse(root).map(|root| root.organization_and_common_name());
    let (organization, common_name) = name.unwrap_or_default();
    let fields = [("organization", organization), ("commonName", common_name)];
    let there = fields.into_iter().filter(|(_, text)| !text.is_empty());
    there.map(|(name, text)| (name.to_owned(), Value::String(text))).collect()
}

fn validity_value(window: Validity) -> Value {
    let mut value = serde_json::Map::new();
    for (name, edge) in [("start", window.start), ("end", window.end)] {
        if let Some(seconds) = edge {
            value.insert(name.to_owned(), time::text(seconds).into());
        }
    }
    Value::Object(value)
}
