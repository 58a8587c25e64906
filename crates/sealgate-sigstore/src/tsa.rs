//! Timestamp authority client (RFC 3161, over HTTP by section 3.4).
//!
//! The whole response is returned. It is checked here for status and for matching the request
//! (nonce and message imprint); `sealgate-core` verifies its signature and certificate chain.

use async_trait::async_trait;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::timestamp::MAX_TIMESTAMP;
use sealgate_engine::ports::TimestampAuthority;
use url::Url;

use crate::http::{self, Client, Request, ServiceResponse};

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const EXPLICIT: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

/// Timestamp authority.
#[derive(Clone, Debug)]
pub struct Tsa {
    url: Url,
    client: Client,
}

/// Timestamp request.
struct TimestampRequest {
    /// SHA-256 of the signature.
    imprint: Vec<u8>,
    nonce: [u8; 16],
}

/// Fields of a DER sequence.
struct Fields<'a>(SliceReader<'a>);

impl Tsa {
    /// Client for the authority that receives requests at `url` itself, such as
    /// `https://timestamp.sigstore.dev/api/v1/timestamp`.
    ///
    /// # Errors
    /// An error if the URL is not a valid service URL.
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
        let question = TimestampRequest::about(signature);
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

impl TimestampRequest {
    fn about(signature: &[u8]) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signature);
        Self { imprint: hash.as_ref().to_vec(), nonce: rand::random() }
    }

    /// DER of a TimeStampReq: version 1, message imprint, nonce, certificates requested.
    fn to_der(&self) -> der::Result<Vec<u8>> {
        let hash = sequence(&[SHA256.to_der()?, der::asn1::Null.to_der()?])?;
        let imprint = sequence(&[hash, OctetStringRef::new(&self.imprint)?.to_der()?])?;
        let nonce = UintRef::new(&self.nonce)?.to_der()?;
        sequence(&[1u8.to_der()?, imprint, nonce, true.to_der()?])
    }

    /// Checks that the response grants the request.
    fn check(&self, answer: &ServiceResponse) -> Result<(), Fault> {
        let malformed = |error: der::Error| answer.malformed(error);
        let whole = AnyRef::from_der(&answer.body).map_err(malformed)?;
        let mut response = Fields::of(whole, Tag::Sequence).map_err(malformed)?;
        let status = response.sequence().map_err(malformed)?;
        check_granted(answer, status)?;
        if response.is_empty() {
            return Err(answer.malformed("granted, but without a timestamp"));
        }
        let info = statement(response).map_err(malformed)?;
        let info = Fields::of(AnyRef::from_der(&info).map_err(malformed)?, Tag::Sequence);
        let (imprint, nonce) = info.and_then(imprint_and_nonce).map_err(malformed)?;
        if nonce.as_deref() != Some(UintRef::new(&self.nonce).map_err(malformed)?.as_bytes()) {
            return Err(
                answer.malformed("the timestamp's nonce differs from the request's: a replay?")
            );
        }
        if imprint != self.imprint {
            return Err(answer.malformed("the timestamp is for other data than our signature"));
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

/// Checks that the PKIStatusInfo is `granted` (0) or `grantedWithMods` (1).
fn check_granted(answer: &ServiceResponse, mut status: Fields<'_>) -> Result<(), Fault> {
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

/// Names of PKIFailureInfo bits (RFC 3161 section 2.4.2).
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

/// TSTInfo in the timestamp token after the status.
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

/// Hashed message of a TSTInfo, and its nonce if present.
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
