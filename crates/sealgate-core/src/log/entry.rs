//! The body of a log entry, `{apiVersion, kind, spec}`: strict reading of the kinds that Rekor
//! has for signatures, and the comparison with what was signed.
//!
//! Does not prove that a log has the entry.

use serde_json::Value;

use super::checkpoint::Dialect;
use super::{Logged, LoggedContent, Signer};
use crate::digest::{Algorithm, Digest};
use crate::dsse::Envelope;
use crate::json::{self, InvalidJson, Object};
use crate::key::PublicKey;
use crate::reject::{Document, Foreign, LogReject, Reject};
use crate::x509::{X509, pem};

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 1 << 20;
/// The maximum number of values in a body; genuine ones have some dozens.
const MAX_VALUES: usize = 1024;
const MAX_SIGNATURES: usize = 32;

/// The body of an entry, parsed but unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    kind: Kind,
    signer: SignerInBody,
    /// The algorithm, which entries of Rekor v2 name; the empty text where one does not.
    key_details: Option<String>,
    /// Absent in `intoto` 0.0.1 alone, which names its envelope's digest instead.
    signature: Option<Vec<u8>>,
    content: ContentInBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    HashedRekord001,
    HashedRekord002,
    Dsse001,
    Dsse002,
    Intoto001,
    Intoto002,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SignerInBody {
    /// A SubjectPublicKeyInfo, DER.
    Key(Vec<u8>),
    /// A certificate, DER.
    Certificate(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ContentInBody {
    /// The digest of the bytes that are signed.
    Signed(Digest),
    /// The digest of an envelope's payload, and its type where the entry gives it.
    Payload { digest: Digest, payload_type: Option<String> },
    /// The digest of an envelope's JSON text, and of its payload where the entry gives it.
    EnvelopeText { text: Digest, payload: Option<Digest> },
}

/// Proof that an entry names a signature, its signer and its content. Made by [`Body::names`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryProof {
    _signature: NamedSignature,
    _signer: NamedSigner,
    _content: NamedContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedSignature;

#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedSigner;

#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedContent;

/// The reason why a body cannot be read.
enum Unreadable {
    Json(InvalidJson),
    Log(LogReject),
}

impl From<InvalidJson> for Unreadable {
    fn from(error: InvalidJson) -> Self {
        Self::Json(error)
    }
}

impl From<LogReject> for Unreadable {
    fn from(reject: LogReject) -> Self {
        Self::Log(reject)
    }
}

impl Kind {
    fn of(kind: &str, version: &str) -> Result<Self, LogReject> {
        Ok(match (kind, version) {
            ("hashedrekord", "0.0.1") => Self::HashedRekord001,
            ("hashedrekord", "0.0.2") => Self::HashedRekord002,
            ("dsse", "0.0.1") => Self::Dsse001,
            ("dsse", "0.0.2") => Self::Dsse002,
            ("intoto", "0.0.1") => Self::Intoto001,
            ("intoto", "0.0.2") => Self::Intoto002,
            _ => return Err(LogReject::Kind(Foreign::new(format!("{kind} {version}")))),
        })
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::HashedRekord001 => ("hashedrekord", "0.0.1"),
            Self::HashedRekord002 => ("hashedrekord", "0.0.2"),
            Self::Dsse001 => ("dsse", "0.0.1"),
            Self::Dsse002 => ("dsse", "0.0.2"),
            Self::Intoto001 => ("intoto", "0.0.1"),
            Self::Intoto002 => ("intoto", "0.0.2"),
        }
    }
}

impl Body {
    /// Reads a body of the kinds `hashedrekord` 0.0.1 and 0.0.2, `dsse` 0.0.1 and 0.0.2,
    /// `intoto` 0.0.1 and 0.0.2, at most 1 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        Self::read(bytes).map_err(|error| match error {
            Unreadable::Json(error) => Reject::json(Document::LogEntry, error),
            Unreadable::Log(reject) => reject.into(),
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let value = json::parse_values(bytes, MAX_BODY, MAX_VALUES)?;
        let object = Object::new(&value, "body", &["apiVersion", "kind", "spec"])?;
        let kind = json::text(object.get("kind"), "kind")?;
        let version = json::text(object.get("apiVersion"), "apiVersion")?;
        let kind = Kind::of(kind, version)?;
        let spec = required(&object, "spec")?;
        match kind {
            Kind::HashedRekord001 => hashed_rekord_001(spec),
            Kind::HashedRekord002 => hashed_rekord_002(spec),
            Kind::Dsse001 => dsse_001(spec),
            Kind::Dsse002 => dsse_002(spec),
            Kind::Intoto001 => intoto_001(spec),
            Kind::Intoto002 => intoto_002(spec),
        }
    }

    /// The kind, as bundles name it.
    pub fn kind(&self) -> &'static str {
        self.kind.names().0
    }

    /// The version of the kind, as bundles name it.
    pub fn version(&self) -> &'static str {
        self.kind.names().1
    }

    /// The signature algorithm that the entry names, as protobuf-specs names it
    /// (`PKIX_ED25519_PH`); none in entries of Rekor v1, which have no place for it.
    pub fn key_details(&self) -> Option<&str> {
        self.key_details.as_deref()
    }

    /// The key of the signer that it names, where that can be read.
    pub fn signer_key(&self) -> Option<PublicKey> {
        match &self.signer {
            SignerInBody::Key(spki) => PublicKey::from_spki_der(spki).ok(),
            SignerInBody::Certificate(der) => X509::parse(der).ok()?.public_key().ok(),
        }
    }

    /// The kind of log that has such entries.
    pub(super) fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::HashedRekord002 | Kind::Dsse002 => Dialect::Rekor2,
            Kind::HashedRekord001 | Kind::Dsse001 | Kind::Intoto001 | Kind::Intoto002 => {
                Dialect::Rekor1
            }
        }
    }

    /// Compares signature, signer and content with those of the entry. Does not prove that a log
    /// holds the entry.
    ///
    /// # Errors
    /// The entry names another signature, signer or content.
    pub fn names(&self, logged: &Logged<'_>) -> Result<EntryProof, Reject> {
        Ok(EntryProof {
            _signature: self.names_signature(logged.signature)?,
            _signer: self.names_signer(logged.signer)?,
            _content: self.names_content(logged)?,
        })
    }

    fn names_signature(&self, signature: &[u8]) -> Result<NamedSignature, LogReject> {
        match &self.signature {
            Some(named) if named != signature => Err(LogReject::OtherSignature),
            Some(_) | None => Ok(NamedSignature),
        }
    }

    fn names_signer(&self, signer: Signer<'_>) -> Result<NamedSigner, LogReject> {
        let same_signer = match (&self.signer, signer) {
            (SignerInBody::Key(spki), Signer::Key(key)) => spki == key.spki_der(),
            (SignerInBody::Certificate(der), Signer::Certificate(want)) => der == want,
            _ => false,
        };
        if same_signer { Ok(NamedSigner) } else { Err(LogReject::OtherSigner) }
    }

    fn names_content(&self, logged: &Logged<'_>) -> Result<NamedContent, Reject> {
        match &logged.content {
            LoggedContent::Message(digests) => self.names_message(digests),
            LoggedContent::Envelope { envelope, text } => {
                Ok(self.names_envelope(envelope, *text, logged.signature)?)
            }
        }
    }

    fn names_message(&self, digests: &[Digest]) -> Result<NamedContent, Reject> {
        let ContentInBody::Signed(named) = &self.content else {
            return Err(self.kind_of_content().into());
        };
        let same_algorithm = |digest: &&Digest| digest.algorithm() == named.algorithm();
        match digests.iter().find(same_algorithm) {
            None => Err(Reject::NeedsContent),
            Some(digest) if digest == named => Ok(NamedContent),
            Some(_) => Err(LogReject::OtherDigest.into()),
        }
    }

    fn names_envelope(
        &self,
        envelope: &Envelope,
        text: Option<&[u8]>,
        signature: &[u8],
    ) -> Result<NamedContent, LogReject> {
        // The signature is compared above; here it must also be the envelope's only one.
        match envelope.signatures.as_slice() {
            [only] if only == signature => {}
            [_] => return Err(LogReject::OtherSignature),
            several => return Err(LogReject::Signatures(several.len())),
        }
        let same = match &self.content {
            ContentInBody::Signed(digest) => digest.matches(&envelope.pae()),
            ContentInBody::Payload { digest, payload_type } => {
                check_payload_type(payload_type.as_deref(), envelope)?;
                digest.matches(&envelope.payload)
            }
            ContentInBody::EnvelopeText { text: digest, payload } => {
                payload.as_ref().is_none_or(|payload| payload.matches(&envelope.payload))
                    && is_text_of(digest, envelope, text)
            }
        };
        if same { Ok(NamedContent) } else { Err(LogReject::OtherDigest) }
    }

    fn kind_of_content(&self) -> LogReject {
        let (kind, version) = self.kind.names();
        LogReject::KindOfContent(Foreign::new(format!("{kind} {version}")))
    }
}

fn check_payload_type(named: Option<&str>, envelope: &Envelope) -> Result<(), LogReject> {
    match named {
        Some(named) if named != envelope.payload_type => {
            Err(LogReject::OtherPayloadType(Foreign::new(named)))
        }
        _ => Ok(()),
    }
}

/// True if `digest` is that of the envelope's JSON: the text that was found (if it is this
/// envelope), or one of the forms that cosign has written.
fn is_text_of(digest: &Digest, envelope: &Envelope, text: Option<&[u8]>) -> bool {
    let found = text.filter(|text| Envelope::parse(text).as_ref() == Ok(envelope));
    found.is_some_and(|text| digest.matches(text))
        || cosign_texts(envelope).iter().any(|text| digest.matches(text.as_bytes()))
}

/// The envelope as cosign 1 and 2 write it (with and without an empty key id), and as 3 does.
fn cosign_texts(envelope: &Envelope) -> [String; 3] {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let with = |key_id: &str| {
        let signatures: Vec<_> = envelope
            .signatures
            .iter()
            .map(|signature| format!(r#"{{{key_id}"sig":"{}"}}"#, STANDARD.encode(signature)))
            .collect();
        format!(
            r#"{{"payloadType":{},"payload":"{}","signatures":[{}]}}"#,
            Value::from(envelope.payload_type.as_str()),
            STANDARD.encode(&envelope.payload),
            signatures.join(","),
        )
    };
    [with(r#""keyid":"","#), with(""), envelope.to_json()]
}

fn hashed_rekord_001(spec: &Value) -> Result<Body, Unreadable> {
    let spec = Object::new(spec, "spec", &["data", "signature"])?;
    let data = Object::new(required(&spec, "data")?, "data", &["hash"])?;
    let signature = required(&spec, "signature")?;
    let signature = Object::new(signature, "signature", &["content", "publicKey"])?;
    let key = Object::new(required(&signature, "publicKey")?, "publicKey", &["content"])?;
    Ok(Body {
        kind: Kind::HashedRekord001,
        key_details: None,
        signer: pem_signer(&json::bytes(key.get("content"), "content")?)?,
        signature: Some(json::bytes(signature.get("content"), "content")?),
        content: ContentInBody::Signed(hash(required(&data, "hash")?, "hash")?),
    })
}

fn hashed_rekord_002(spec: &Value) -> Result<Body, Unreadable> {
    let spec = Object::new(spec, "spec", &["hashedRekordV002"])?;
    let entry = required(&spec, "hashedRekordV002")?;
    let entry = Object::new(entry, "hashedRekordV002", &["data", "signature"])?;
    let signature = signature_002(required(&entry, "signature")?)?;
    let digest = hash_output(required(&entry, "data")?, "data")?;
    Ok(signature.body(Kind::HashedRekord002, ContentInBody::Signed(digest)))
}

fn dsse_001(spec: &Value) -> Result<Body, Unreadable> {
    let known = &["envelopeHash", "payloadHash", "signatures"];
    let spec = Object::new(spec, "spec", known)?;
    let signature = only_signature(&spec)?;
    let signature = Object::new(signature, "signatures", &["signature", "verifier"])?;
    // The hash over the JSON that was sent cannot be computed from another JSON of the same
    // envelope; payload and signature say all. It must be well-formed.
    hash(required(&spec, "envelopeHash")?, "envelopeHash")?;
    let digest = hash(required(&spec, "payloadHash")?, "payloadHash")?;
    Ok(Body {
        kind: Kind::Dsse001,
        key_details: None,
        signer: pem_signer(&json::bytes(signature.get("verifier"), "verifier")?)?,
        signature: Some(json::bytes(signature.get("signature"), "signature")?),
        content: ContentInBody::Payload { digest, payload_type: None },
    })
}

fn dsse_002(spec: &Value) -> Result<Body, Unreadable> {
    let spec = Object::new(spec, "spec", &["dsseV002"])?;
    let entry = required(&spec, "dsseV002")?;
    let entry = Object::new(entry, "dsseV002", &["payloadHash", "signatures"])?;
    let signature = signature_002(only_signature(&entry)?)?;
    let digest = hash_output(required(&entry, "payloadHash")?, "payloadHash")?;
    Ok(signature.body(Kind::Dsse002, ContentInBody::Payload { digest, payload_type: None }))
}

fn intoto_001(spec: &Value) -> Result<Body, Unreadable> {
    let spec = Object::new(spec, "spec", &["content", "publicKey"])?;
    let content = required(&spec, "content")?;
    let content = Object::new(content, "content", &["hash", "payloadHash", "envelope"])?;
    let text = hash(required(&content, "hash")?, "hash")?;
    let payload = content.get("payloadHash").map(|value| hash(value, "payloadHash")).transpose()?;
    Ok(Body {
        kind: Kind::Intoto001,
        key_details: None,
        signer: pem_signer(&json::bytes(spec.get("publicKey"), "publicKey")?)?,
        signature: None,
        content: ContentInBody::EnvelopeText { text, payload },
    })
}

fn intoto_002(spec: &Value) -> Result<Body, Unreadable> {
    let spec = Object::new(spec, "spec", &["content"])?;
    let content = required(&spec, "content")?;
    let content = Object::new(content, "content", &["hash", "payloadHash", "envelope"])?;
    let known = &["payloadType", "payload", "signatures"];
    let envelope = Object::new(required(&content, "envelope")?, "envelope", known)?;
    let known = &["publicKey", "sig", "keyid"];
    let signature = Object::new(only_signature(&envelope)?, "signatures", known)?;
    hash(required(&content, "hash")?, "hash")?;
    let digest = hash(required(&content, "payloadHash")?, "payloadHash")?;
    let payload_type = Some(json::text(envelope.get("payloadType"), "payloadType")?.to_owned());
    Ok(Body {
        kind: Kind::Intoto002,
        key_details: None,
        signer: pem_signer(&json::bytes(signature.get("publicKey"), "publicKey")?)?,
        signature: Some(twice_encoded(signature.get("sig"))?),
        content: ContentInBody::Payload { digest, payload_type },
    })
}

/// Rekor keeps the signature of `intoto` 0.0.2 as base64 of the envelope's own base64.
fn twice_encoded(value: Option<&Value>) -> Result<Vec<u8>, InvalidJson> {
    let inner = String::from_utf8(json::bytes(value, "sig")?);
    json::base64(&inner.map_err(|_| InvalidJson::Base64("sig"))?, "sig")
}

/// A signature as entries of Rekor v2 hold it.
struct Signature002 {
    signer: SignerInBody,
    key_details: String,
    content: Vec<u8>,
}

impl Signature002 {
    fn body(self, kind: Kind, content: ContentInBody) -> Body {
        let (key_details, signature) = (Some(self.key_details), Some(self.content));
        Body { kind, signer: self.signer, key_details, signature, content }
    }
}

/// `{content, verifier: {keyDetails, publicKey | x509Certificate: {rawBytes}}}`.
fn signature_002(value: &Value) -> Result<Signature002, Unreadable> {
    let object = Object::new(value, "signature", &["content", "verifier"])?;
    let known = &["keyDetails", "publicKey", "x509Certificate"];
    let verifier = Object::new(required(&object, "verifier")?, "verifier", known)?;
    let raw = |value| {
        let der = Object::new(value, "rawBytes", &["rawBytes"])?;
        json::bytes(der.get("rawBytes"), "rawBytes")
    };
    let signer = match (verifier.get("publicKey"), verifier.get("x509Certificate")) {
        (Some(key), None) => SignerInBody::Key(raw(key)?),
        (None, Some(certificate)) => SignerInBody::Certificate(raw(certificate)?),
        _ => return Err(unreadable_signer("want exactly one of both").into()),
    };
    let key_details = json::text(verifier.get("keyDetails"), "keyDetails")?.to_owned();
    let content = json::bytes(object.get("content"), "content")?;
    Ok(Signature002 { signer, key_details, content })
}

fn only_signature<'a>(object: &Object<'a>) -> Result<&'a Value, Unreadable> {
    match json::list(object.get("signatures"), "signatures", MAX_SIGNATURES)? {
        [only] => Ok(only),
        others => Err(LogReject::Signatures(others.len()).into()),
    }
}

/// `{algorithm: "sha256", value: <hex>}`.
fn hash(value: &Value, field: &'static str) -> Result<Digest, Unreadable> {
    let object = Object::new(value, field, &["algorithm", "value"])?;
    let algorithm = json::text(object.get("algorithm"), "algorithm")?;
    let hex = json::text(object.get("value"), "value")?;
    format!("{algorithm}:{hex}").parse().map_err(|_| LogReject::Digest(field).into())
}

/// `{algorithm: "SHA2_256", digest: <base64>}`.
fn hash_output(value: &Value, field: &'static str) -> Result<Digest, Unreadable> {
    let object = Object::new(value, field, &["algorithm", "digest"])?;
    let algorithm = match json::text(object.get("algorithm"), "algorithm")? {
        "SHA2_256" => Algorithm::Sha256,
        "SHA2_384" => Algorithm::Sha384,
        "SHA2_512" => Algorithm::Sha512,
        _ => return Err(LogReject::Digest(field).into()),
    };
    let hex = hex::encode(json::bytes(object.get("digest"), "digest")?);
    format!("{}:{hex}", algorithm.name()).parse().map_err(|_| LogReject::Digest(field).into())
}

/// One PEM block, a public key or a certificate.
fn pem_signer(text: &[u8]) -> Result<SignerInBody, LogReject> {
    let text = std::str::from_utf8(text).map_err(|_| unreadable_signer("not text"))?;
    if text.contains(pem::BEGIN) {
        let mut blocks = pem::read(text, 1).map_err(unreadable_signer)?;
        let der = blocks.pop().ok_or_else(|| unreadable_signer("not one block of PEM"))?;
        return Ok(SignerInBody::Certificate(der));
    }
    let key = PublicKey::from_pem(text).map_err(|error| unreadable_signer(&error.to_string()))?;
    Ok(SignerInBody::Key(key.spki_der().to_vec()))
}

fn unreadable_signer(why: &str) -> LogReject {
    LogReject::Signer(Foreign::new(why))
}

fn required<'a>(object: &Object<'a>, field: &'static str) -> Result<&'a Value, InvalidJson> {
    object.get(field).ok_or(InvalidJson::Field { field, want: "a value" })
}
