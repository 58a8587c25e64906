//! The CMS signed data (RFC 5652) of a timestamp response (RFC 3161, section 2.4.2): its parts, and
//! the check of its signed attributes against its content. `signer` verifies the signature.

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Tag, TagNumber};

use super::fields::{Fields, algorithm, context, hash, malformed};
use crate::digest::{Algorithm, Digest};
use crate::reject::{Foreign, TimestampReject};

/// The maximum number of certificates in a token; genuine ones have up to four.
const MAX_CERTIFICATES: usize = 8;
const MAX_ATTRIBUTES: usize = 32;
const MAX_DIGEST_ALGORITHMS: usize = 8;
const MAX_REVOCATIONS: usize = 8;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");

/// A timestamp token, parsed but unverified.
pub(super) struct Token<'a> {
    /// The DER of the TSTInfo.
    pub(super) content: &'a [u8],
    /// The certificates, DER, in any order.
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) signer: SignerId<'a>,
    pub(super) hash: Algorithm,
    pub(super) signature_algorithm: ObjectIdentifier,
    pub(super) signature: &'a [u8],
    /// The signed attributes as they are signed: with the tag of a set.
    pub(super) signed: Vec<u8>,
    attributes: Vec<(ObjectIdentifier, AnyRef<'a>)>,
}

/// Identifier of the token's signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignerId<'a> {
    /// The DER of the issuer's name and of the serial number.
    IssuerAndSerial(&'a [u8], &'a [u8]),
    /// The key identifier.
    KeyId(&'a [u8]),
}

/// Proof that the signed attributes name the content. Made by [`Token::check_attributes`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttributesProof {
    _content_type: ContentTypeProof,
    _message_digest: MessageDigestProof,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ContentTypeProof;

#[derive(Clone, Debug, PartialEq, Eq)]
struct MessageDigestProof;

/// Proof that the signed attributes name the signing certificate. Made by
/// [`Token::check_signing_certificate`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SigningCertificateProof(());

impl<'a> Token<'a> {
    /// Reads a TimeStampResp that was granted.
    pub(super) fn parse(response: &'a [u8]) -> Result<Self, TimestampReject> {
        let mut response = Fields::of_bytes(response)?;
        check_status(response.sequence()?)?;
        if response.is_empty() {
            return Err(TimestampReject::Content(Foreign::new("no token")));
        }
        let mut content_info = response.sequence()?;
        response.finish()?;
        let kind = content_info.oid()?;
        if kind != SIGNED_DATA {
            return Err(TimestampReject::Content(Foreign::new(kind.to_string())));
        }
        let mut explicit = Fields::of(content_info.next()?, context(0))?;
        content_info.finish()?;
        let signed_data = explicit.sequence()?;
        explicit.finish()?;
        Self::of_signed_data(signed_data)
    }

    fn of_signed_data(mut fields: Fields<'a>) -> Result<Self, TimestampReject> {
        check_version(fields.next()?)?;
        fields.set()?.all(MAX_DIGEST_ALGORITHMS, "digest algorithms")?;
        let content = tst_info(fields.sequence()?)?;
        let certificates = match fields.optional(context(0))? {
            Some(bag) => Fields::of(bag, context(0))?.all(MAX_CERTIFICATES, "certificates")?,
            None => Vec::new(),
        };
        if let Some(revocations) = fields.optional(context(1))? {
            Fields::of(revocations, context(1))?.all(MAX_REVOCATIONS, "revocation lists")?;
        }
        let signers = fields.set()?.all(MAX_CERTIFICATES, "signers")?;
        fields.finish()?;
        let [signer] = signers.as_slice() else {
            return Err(TimestampReject::Signers(signers.len()));
        };
        Self::of_signer(Fields::of_bytes(signer)?, content, certificates)
    }

    fn of_signer(
        mut fields: Fields<'a>,
        content: &'a [u8],
        certificates: Vec<&'a [u8]>,
    ) -> Result<Self, TimestampReject> {
        check_version(fields.next()?)?;
        let signer = SignerId::of(fields.next()?)?;
        let hash = hash(fields.sequence()?)?;
        let attributes = fields.optional(context(0))?;
        let attributes = attributes.ok_or(TimestampReject::Attributes("there are none"))?;
        let signature_algorithm = algorithm(fields.sequence()?)?;
        let signature = fields.next::<&OctetStringRef>()?.as_bytes();
        fields.optional(context(1))?;
        fields.finish()?;
        Ok(Self {
            content,
            certificates,
            signer,
            hash,
            signature_algorithm,
            signature,
            signed: as_set(attributes)?,
            attributes: parse_attributes(attributes)?,
        })
    }

    /// Checks the signed attributes: content type TSTInfo, and the digest of the content.
    pub(super) fn check_attributes(&self) -> Result<AttributesProof, TimestampReject> {
        Ok(AttributesProof {
            _content_type: self.check_content_type()?,
            _message_digest: self.check_message_digest()?,
        })
    }

    fn check_content_type(&self) -> Result<ContentTypeProof, TimestampReject> {
        let wrong = TimestampReject::Attributes;
        let kind = self.attribute(CONTENT_TYPE).ok_or(wrong("no content type"))?;
        match kind.decode_as::<ObjectIdentifier>() {
            Ok(TST_INFO) => Ok(ContentTypeProof),
            Ok(_) | Err(_) => Err(wrong("of another content type")),
        }
    }

    fn check_message_digest(&self) -> Result<MessageDigestProof, TimestampReject> {
        let missing = TimestampReject::Attributes("no message digest");
        let digest = self.attribute(MESSAGE_DIGEST).ok_or(missing)?;
        let digest = digest.decode_as::<&OctetStringRef>().map_err(malformed)?;
        match hex::encode(digest.as_bytes()) == Digest::with(self.hash, self.content).hex() {
            true => Ok(MessageDigestProof),
            false => Err(TimestampReject::MessageDigest),
        }
    }

    /// Checks that the signed attributes name `certificate` (DER) as the signing certificate by its
    /// hash, in the form of RFC 5816 or the older one of RFC 3161, and in both if both are present.
    ///
    /// The older form uses SHA-1. It only selects one of the certificates whose key has made the
    /// signature and whose chain is verified.
    pub(super) fn check_signing_certificate(
        &self,
        certificate: &[u8],
    ) -> Result<SigningCertificateProof, TimestampReject> {
        let newer = self.attribute(SIGNING_CERTIFICATE_V2);
        let older = self.attribute(SIGNING_CERTIFICATE);
        if newer.is_none() && older.is_none() {
            return Err(TimestampReject::SigningCertificate("it names none"));
        }
        let mut names = Vec::new();
        if let Some(value) = newer {
            let mut id = first_id(value)?;
            let hash = id.optional(Tag::Sequence)?;
            let hash = hash.map(|value| hash_in(value)).transpose()?;
            let digest = Digest::with(hash.unwrap_or(Algorithm::Sha256), certificate);
            names.push(id.next::<&OctetStringRef>()?.as_bytes() == hash_bytes(&digest));
        }
        if let Some(value) = older {
            use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
            let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
            let named = first_id(value)?.next::<&OctetStringRef>()?.as_bytes();
            names.push(named == hash.as_ref());
        }
        match names.iter().all(|same| *same) {
            true => Ok(SigningCertificateProof(())),
            false => Err(TimestampReject::SigningCertificate("its hash is another one's")),
        }
    }

    fn attribute(&self, oid: ObjectIdentifier) -> Option<AnyRef<'a>> {
        self.attributes.iter().find(|(found, _)| *found == oid).map(|(_, value)| *value)
    }
}

impl<'a> SignerId<'a> {
    fn of(value: AnyRef<'a>) -> Result<Self, TimestampReject> {
        use der::Tagged as _;
        let key_id = Tag::ContextSpecific { constructed: false, number: TagNumber(0) };
        if value.tag() == key_id {
            return Ok(Self::KeyId(value.value()));
        }
        let mut fields = Fields::of(value, Tag::Sequence)?;
        let (issuer, serial) = (fields.bytes()?, fields.bytes()?);
        fields.finish()?;
        Ok(Self::IssuerAndSerial(issuer, serial))
    }
}

/// `granted` or `grantedWithMods`: in both the token is whole (RFC 3161, section 2.4.2).
fn check_status(mut status: Fields<'_>) -> Result<(), TimestampReject> {
    match status.next::<u64>()? {
        0 | 1 => Ok(()),
        refused => Err(TimestampReject::Status(refused)),
    }
}

/// The versions that CMS has had; they decide nothing that is not in the structure itself.
fn check_version(version: u8) -> Result<(), TimestampReject> {
    if version <= 5 {
        return Ok(());
    }
    Err(TimestampReject::Content(Foreign::new(format!("CMS version {version}"))))
}

/// The octets of the encapsulated TSTInfo.
fn tst_info(mut fields: Fields<'_>) -> Result<&[u8], TimestampReject> {
    let kind = fields.oid()?;
    if kind != TST_INFO {
        return Err(TimestampReject::Content(Foreign::new(kind.to_string())));
    }
    if fields.is_empty() {
        return Err(TimestampReject::Content(Foreign::new("detached")));
    }
    let mut explicit = Fields::of(fields.next()?, context(0))?;
    fields.finish()?;
    let content = explicit.next::<&OctetStringRef>()?;
    explicit.finish()?;
    Ok(content.as_bytes())
}

/// Encodes the attributes as the set that is signed (RFC 5652, section 5.4), rather than the field
/// with its context tag.
fn as_set(attributes: AnyRef<'_>) -> Result<Vec<u8>, TimestampReject> {
    use der::Encode as _;
    let set = AnyRef::new(Tag::Set, attributes.value()).map_err(malformed)?;
    set.to_der().map_err(malformed)
}

/// Each attribute has one value and stands once.
fn parse_attributes(
    attributes: AnyRef<'_>,
) -> Result<Vec<(ObjectIdentifier, AnyRef<'_>)>, TimestampReject> {
    let mut parsed: Vec<(ObjectIdentifier, AnyRef<'_>)> = Vec::new();
    for attribute in Fields::of(attributes, context(0))?.all(MAX_ATTRIBUTES, "attributes")? {
        let mut fields = Fields::of_bytes(attribute)?;
        let oid = fields.oid()?;
        let values = fields.set()?.all(MAX_ATTRIBUTES, "values of an attribute")?;
        fields.finish()?;
        let [value] = values.as_slice() else {
            return Err(TimestampReject::Attributes("one has not exactly one value"));
        };
        if parsed.iter().any(|(seen, _)| *seen == oid) {
            return Err(TimestampReject::Attributes("one stands twice"));
        }
        parsed.push((oid, AnyRef::from_der(value).map_err(malformed)?));
    }
    Ok(parsed)
}

/// The first ESSCertID or ESSCertIDv2 of a signing-certificate attribute: the signer's (RFC
/// 5035, section 3).
fn first_id(attribute: AnyRef<'_>) -> Result<Fields<'_>, TimestampReject> {
    let mut ids = Fields::of(attribute, Tag::Sequence)?.sequence()?;
    if ids.is_empty() {
        return Err(TimestampReject::SigningCertificate("it names none"));
    }
    ids.sequence()
}

fn hash_in(identifier: AnyRef<'_>) -> Result<Algorithm, TimestampReject> {
    hash(Fields::of(identifier, Tag::Sequence)?)
}

fn hash_bytes(digest: &Digest) -> Vec<u8> {
    hex::decode(digest.hex()).unwrap_or_default()
}
