//! Timestamp authorities (RFC 3161, over HTTP by its section 3.4).
//!
//! The whole answer is returned. Here it must be granted and must be the answer to our request
//! (nonce and imprint); its signature and its chain are verified by `sealgate-core`.

use async_trait::async_trait;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::timestamp::MAX_TIMESTAMP;
use sealgate_engine::ports::TimestampAuthority;
use url::Url;

use crate::http::{self, Answer, Client, Request};

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const EXPLICIT: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

/// A timestamp authority.
#[derive(Clone, Debug)]
pub struct Tsa {
    url: Url,
    client: Client,
}

/// What we ask for, and know the answer by.
struct Question {
    /// SHA-256 of the signature.
    imprint: Vec<u8>,
    nonce: [u8; 16],
}

/// The fields of a sequence, one after the other.
struct Fields<'a>(SliceReader<'a>);

impl Tsa {
    /// The authority whose requests go to `url` itself,
    /// `https://timestamp.sigstore.dev/api/v1/timestamp` for instance.
    ///
    /// # Errors
    /// The URL is none of a service.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }
}

#[async_trait]
impl TimestampAuthority for Tsa {
    fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn timestamp(&self, signature: &[u8]) -> Result<Vec<u8>, Fault> {
        let question = Question::about(signature);
        let der = question.to_der().map_err(|error| {
            Fault::new(FaultKind::Config, self.url.as_str(), format!("timestamp query: {error}"))
        })?;
        let request = Request::post(self.url.clone(), "application/timestamp-query", der)
            .accept("application/timestamp-reply")
            .limit(MAX_TIMESTAMP);
        let answer = self.client.send(request).await?.success()?;
        question.check(&answer)?;
        Ok(answer.body.to_vec())
    }
}

impl Question {
    fn about(signature: &[u8]) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signature);
        Self { imprint: hash.as_ref().to_vec(), nonce: rand::random() }
    }

    /// A TimeStampReq: version 1, the imprint, the nonce, and the certificates are wanted.
    fn to_der(&self) -> der::Result<Vec<u8>> {
        let hash = sequence(&[SHA256.to_der()?, der::asn1::Null.to_der()?])?;
        let imprint = sequence(&[hash, OctetStringRef::new(&self.imprint)?.to_der()?])?;
        let nonce = UintRef::new(&self.nonce)?.to_der()?;
        sequence(&[1u8.to_der()?, imprint, nonce, true.to_der()?])
    }

    /// Whether an answer grants what we asked for.
    fn check(&self, answer: &Answer) -> Result<(), Fault> {
        let malformed = |error: der::Error| answer.malformed(error);
        let whole = AnyRef::from_der(&answer.body).map_err(malformed)?;
        let mut response = Fields::of(whole, Tag::Sequence).map_err(malformed)?;
        let status = response.sequence().map_err(malformed)?;
        check_granted(answer, status)?;
        if response.is_empty() {
            return Err(answer.malformed("granted, but there is no timestamp"));
        }
        let info = statement(response).map_err(malformed)?;
        let info = Fields::of(AnyRef::from_der(&info).map_err(malformed)?, Tag::Sequence);
        let (imprint, nonce) = info.and_then(imprint_and_nonce).map_err(malformed)?;
        if nonce.as_deref() != Some(UintRef::new(&self.nonce).map_err(malformed)?.as_bytes()) {
            return Err(answer.malformed("a timestamp with another nonce than ours: an old one?"));
        }
        if imprint != self.imprint {
            return Err(answer.malformed("a timestamp of something else than our signature"));
        }
        Ok(())
    }
}

impl<'a> Fields<'a> {
    fn of(value: AnyRef<'a>, tag: Tag) -> der::Result<Self> {
        value.tag().assert_eq(tag)?;
        SliceReader::new(value.value()).map(Self)
    }

    fn next<T: Decode<'a, Error = der::Error>>(&mut self) -> der::Result<T> {
        T::decode(&mut self.0)
    }

    fn sequence(&mut self) -> der::Result<Self> {
        Self::of(self.next()?, Tag::Sequence)
    }

    fn explicit(&mut self) -> der::Result<Self> {
        Self::of(self.next()?, EXPLICIT)
    }

    fn is_empty(&self) -> bool {
        self.0.is_finished()
    }
}

fn sequence(fields: &[Vec<u8>]) -> der::Result<Vec<u8>> {
    AnyRef::new(Tag::Sequence, &fields.concat())?.to_der()
}

/// The PKIStatusInfo must say `granted` (0), or `grantedWithMods` (1).
fn check_granted(answer: &Answer, mut status: Fields<'_>) -> Result<(), Fault> {
    let code: u8 = status.next().map_err(|error| answer.malformed(error))?;
    if code <= 1 {
        return Ok(());
    }
    let mut said = vec![format!("the timestamp was not granted: status {code}")];
    while let (false, Ok(field)) = (status.is_empty(), status.next::<AnyRef<'_>>()) {
        if let Ok(mut texts) = Fields::of(field, Tag::Sequence) {
            while let (false, Ok(text)) = (texts.is_empty(), texts.next::<String>()) {
                said.push(text);
            }
        } else if let Ok(failure) = field.decode_as::<BitStringRef<'_>>() {
            said.extend(failures(&failure).map(str::to_owned));
        }
    }
    Err(answer.refused(said.join(": ")))
}

/// PKIFailureInfo (RFC 3161, section 2.4.2).
fn failures(info: &BitStringRef<'_>) -> impl Iterator<Item = &'static str> {
    const NAMES: [(usize, &str); 8] = [
        (0, "badAlg"),
        (2, "badRequest"),
        (5, "badDataFormat"),
        (14, "timeNotAvailable"),
        (15, "unacceptedPolicy"),
        (16, "unacceptedExtension"),
        (17, "addInfoNotAvailable"),
        (25, "systemFailure"),
    ];
    let set: Vec<bool> = info.bits().take(32).collect();
    NAMES.into_iter().filter(move |(bit, _)| set.get(*bit) == Some(&true)).map(|(_, name)| name)
}

/// The TSTInfo in the timestamp token after the status.
fn statement(mut response: Fields<'_>) -> der::Result<Vec<u8>> {
    let mut content = response.sequence()?;
    content.next::<ObjectIdentifier>()?;
    let mut signed = content.explicit()?.sequence()?;
    signed.next::<u8>()?; // version
    signed.next::<AnyRef<'_>>()?; // digest algorithms
    let mut encapsulated = signed.sequence()?;
    encapsulated.next::<ObjectIdentifier>()?;
    Ok(encapsulated.explicit()?.next::<&OctetStringRef>()?.as_bytes().to_vec())
}

/// What a TSTInfo is about: the hash, and the nonce where it has one.
fn imprint_and_nonce(mut info: Fields<'_>) -> der::Result<(Vec<u8>, Option<Vec<u8>>)> {
    info.next::<u8>()?; // version
    info.next::<ObjectIdentifier>()?; // policy
    let mut imprint = info.sequence()?;
    imprint.next::<AnyRef<'_>>()?; // hash algorithm
    let imprint = imprint.next::<&OctetStringRef>()?.as_bytes().to_vec();
    info.next::<AnyRef<'_>>()?; // serial number
    info.next::<AnyRef<'_>>()?; // time
    while !info.is_empty() {
        let field: AnyRef<'_> = info.next()?;
        if field.tag() == Tag::Integer {
            let nonce = field.decode_as::<UintRef<'_>>()?;
            return Ok((imprint, Some(nonce.as_bytes().to_vec())));
        }
    }
    Ok((imprint, None))
}

#[cfg(test)]
mod tests;
