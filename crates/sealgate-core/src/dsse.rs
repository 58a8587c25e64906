//! DSSE envelopes (Dead Simple Signing Envelope, protocol 1.0.0): a payload, its type, and
//! signatures over both. Parses and serialises; verifies nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::json::{self, InvalidJson, Object};
use crate::reject::{Document, Reject};

/// The payload type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The largest envelope that is read, in bytes.
pub const MAX_ENVELOPE: usize = 32 << 20;

const MAX_SIGNATURES: usize = 32;

/// An envelope, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The media type of the payload.
    pub payload_type: String,
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The signatures, each over [`pae`]. Key ids are unchecked hints and not kept.
    pub signatures: Vec<Vec<u8>>,
}

/// The bytes that are signed: `DSSEv1 <length> <type> <length> <payload>`.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Reads an envelope. The payload and the signatures are standard base64 with padding.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        json::parse(bytes, MAX_ENVELOPE)
            .and_then(|value| Self::from_value(&value))
            .map_err(|error| Reject::json(Document::Envelope, error))
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, InvalidJson> {
        let object = Object::new(
            value,
            "dsseEnvelope",
            &["payload", "payloadType", "payload_type", "signatures"],
        )?;
        let payload = object.get("payload");
        if payload.is_none() {
            return Err(InvalidJson::Field { field: "payload", want: "base64" });
        }
        let payload_type = object.either("payloadType", "payload_type")?;
        let signatures = json::list(object.get("signatures"), "signatures", MAX_SIGNATURES)?;
        Ok(Self {
            payload_type: json::text(payload_type, "payloadType")?.to_owned(),
            payload: json::bytes(payload, "payload")?,
            signatures: signatures.iter().map(signature).collect::<Result<_, _>>()?,
        })
    }

    /// The bytes that its signatures are over.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// The envelope as cosign writes it, with no key ids.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    pub(crate) fn to_value(&self) -> Value {
        let signatures: Vec<_> = self
            .signatures
            .iter()
            .map(|signature| serde_json::json!({ "sig": STANDARD.encode(signature) }))
            .collect();
        serde_json::json!({
            "payload": STANDARD.encode(&self.payload),
            "payloadType": self.payload_type,
            "signatures": signatures,
        })
    }
}

fn signature(value: &Value) -> Result<Vec<u8>, InvalidJson> {
    let object = Object::new(value, "signatures", &["sig", "keyid"])?;
    json::text(object.get("keyid"), "keyid")?;
    json::bytes(object.get("sig"), "sig")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pae_is_that_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn reads_both_orders_and_key_ids() {
        let old =
            br#"{"payloadType":"t","payload":"aGk=","signatures":[{"keyid":"","sig":"c2ln"}]}"#;
        let new = br#"{"payload":"aGk=","payloadType":"t","signatures":[{"sig":"c2ln"}]}"#;
        let envelope = Envelope::parse(old).unwrap();
        assert_eq!(Envelope::parse(new), Ok(envelope.clone()));
        assert_eq!(envelope.to_json().as_bytes(), new);
    }

    #[test]
    fn refuses_with_the_right_code() {
        for (text, code) in [
            (r#"{"payloadType":"t","signatures":[]}"#, "bad-field"),
            (r#"{"payload":"a_-=","payloadType":"t","signatures":[]}"#, "bad-base64"),
            (r#"{"payload":"","payload":"","payloadType":"t"}"#, "duplicate-key"),
            (r#"{"payload":"","Payload":"","payloadType":"t"}"#, "ambiguous-key"),
            (r#"{"payload":"","payloadType":"t","payload_type":"u"}"#, "ambiguous-key"),
            (r#"{"payload":"","payloadType":"t","signatures":{}}"#, "bad-field"),
            (r#"{"payload":"","payloadType":"t"}}"#, "not-json"),
        ] {
            assert_eq!(Envelope::parse(text.as_bytes()).unwrap_err().code(), code, "{text}");
        }
        let many = vec!["{}"; 33].join(",");
        let many = format!(r#"{{"payload":"","signatures":[{many}]}}"#);
        assert_eq!(Envelope::parse(many.as_bytes()).unwrap_err().code(), "too-many");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Envelope::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(
            payload_type: String,
            payload: Vec<u8>,
            signatures in prop::collection::vec(any::<Vec<u8>>(), 0..3),
        ) {
            let envelope = Envelope { payload_type, payload, signatures };
            prop_assert_eq!(Envelope::parse(envelope.to_json().as_bytes()), Ok(envelope));
        }
    }
}
