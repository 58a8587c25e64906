//! The legacy SimpleSigning payload (containers-signature(5)), as cosign writes and reads it.
//!
//! Keys are read without regard to case, as Go does (old payloads have
//! `Docker-manifest-digest`). Stricter than cosign: `critical.type` must be cosign's, a digest
//! must be there, and an unknown member of `critical` is refused, as the format requires.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::json::{self, InvalidJson};
use crate::reject::{Document, Foreign, Reject};

/// `critical.type` of a cosign signature.
pub const COSIGN_TYPE: &str = "cosign container image signature";

/// The maximum size of a payload in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// A payload, parsed but unverified.
#[derive(Clone, Debug, PartialEq)]
pub struct SimpleSigning {
    /// The repository that was signed, without a tag. Never compared.
    pub docker_reference: String,
    /// The digest that was signed.
    pub digest: Digest,
    /// The signer's annotations; those of cosign are strings.
    pub optional: BTreeMap<String, Value>,
}

impl SimpleSigning {
    /// The payload for `digest`, with the user's annotations.
    pub fn new(
        docker_reference: impl Into<String>,
        digest: Digest,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        let text = |(key, value): (&String, &String)| (key.clone(), value.as_str().into());
        let optional = annotations.iter().map(text).collect();
        Self { docker_reference: docker_reference.into(), digest, optional }
    }

    /// Reads a payload.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        let value = json::parse(bytes, MAX_PAYLOAD).map_err(malformed)?;
        let payload = Folded::new(&value, "payload")?;
        let critical = Folded::new(payload.want("critical")?, "critical")?;
        critical.only(&["identity", "image", "type"])?;
        let kind = critical.text("type")?;
        if kind != COSIGN_TYPE {
            return Err(Reject::PayloadKind(Foreign::new(kind)));
        }
        let image = Folded::new(critical.want("image")?, "image")?;
        image.only(&["docker-manifest-digest"])?;
        Ok(Self {
            docker_reference: docker_reference(&critical)?,
            digest: digest(&image)?,
            optional: optional(&payload)?,
        })
    }

    /// The payload byte for byte as Go's `json.Marshal` writes it: compact, sorted annotations,
    /// `null` for none, `<`, `>`, `&`, U+2028 and U+2029 escaped.
    pub fn to_json(&self) -> String {
        let optional = match self.optional.is_empty() {
            true => "null".to_owned(),
            false => go_json(&serde_json::json!(self.optional)),
        };
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":{}}},"image":{{"docker-manifest-digest":{}}},"type":{}}},"optional":{optional}}}"#,
            go_json(&self.docker_reference.as_str().into()),
            go_json(&self.digest.to_string().into()),
            go_json(&COSIGN_TYPE.into()),
        )
    }
}

/// The characters stand for themselves nowhere but inside of texts, so that replacing them in
/// the whole document is right.
fn go_json(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

fn docker_reference(critical: &Folded<'_>) -> Result<String, Reject> {
    let Some(identity) = critical.get("identity")? else { return Ok(String::new()) };
    let identity = Folded::new(identity, "identity")?;
    identity.only(&["docker-reference"])?;
    Ok(identity.text("docker-reference")?.to_owned())
}

fn digest(image: &Folded<'_>) -> Result<Digest, Reject> {
    let text = image.text("docker-manifest-digest")?;
    text.parse().map_err(|_| Reject::ClaimDigest(Foreign::new(text)))
}

fn optional(payload: &Folded<'_>) -> Result<BTreeMap<String, Value>, Reject> {
    let Some(optional) = payload.get("optional")? else { return Ok(BTreeMap::new()) };
    let want = InvalidJson::Field { field: "optional", want: "an object" };
    let optional = optional.as_object().ok_or(want).map_err(malformed)?;
    Ok(optional.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn malformed(error: InvalidJson) -> Reject {
    Reject::json(Document::Payload, error)
}

/// An object whose keys are compared as Go compares them; two that are the same to Go are refused.
struct Folded<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Folded<'a> {
    fn new(value: &'a Value, field: &'static str) -> Result<Self, Reject> {
        let want = InvalidJson::Field { field, want: "an object" };
        Ok(Self { map: value.as_object().ok_or(want).map_err(malformed)? })
    }

    fn get(&self, name: &'static str) -> Result<Option<&'a Value>, Reject> {
        let mut found = self.map.iter().filter(|(key, _)| json::fold(key) == name);
        let first = found.next();
        match found.next() {
            None => Ok(first.map(|(_, value)| value).filter(|value| !value.is_null())),
            Some((key, _)) => {
                let found = Foreign::new(key);
                Err(malformed(InvalidJson::AmbiguousKey { found, known: name }))
            }
        }
    }

    fn want(&self, name: &'static str) -> Result<&'a Value, Reject> {
        let want = InvalidJson::Field { field: name, want: "an object" };
        self.get(name)?.ok_or(malformed(want))
    }

    fn text(&self, name: &'static str) -> Result<&'a str, Reject> {
        json::text(self.get(name)?, name).map_err(malformed)
    }

    fn only(&self, known: &[&str]) -> Result<(), Reject> {
        match self.map.keys().find(|key| !known.contains(&json::fold(key).as_str())) {
            Some(unknown) => Err(Reject::UnknownCritical(Foreign::new(unknown))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn code(text: &str) -> &'static str {
        SimpleSigning::parse(text.as_bytes()).unwrap_err().code()
    }

    fn payload(annotations: &[(&str, &str)]) -> SimpleSigning {
        let annotations =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        SimpleSigning::new(
            "reg.example/app",
            format!("sha256:{HEX}").parse().unwrap(),
            &annotations,
        )
    }

    #[test]
    fn writes_what_go_writes() {
        let head = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"reg.example/app"}},"image":{{"docker-manifest-digest":"sha256:{HEX}"}},"type":"cosign container image signature"}},"optional":"#
        );
        assert_eq!(payload(&[]).to_json(), format!("{head}null}}"));
        assert_eq!(
            payload(&[("b", "<&>\u{2028}\n\u{1}é\"\\/"), ("B", "1")]).to_json(),
            format!(r#"{head}{{"B":"1","b":"\u003c\u0026\u003e\u2028\n\u0001é\"\\/"}}}}"#)
        );
    }

    #[test]
    fn reads_keys_in_any_case() {
        let text = format!(
            r#"{{"Critical":{{"Identity":{{"Docker-reference":""}},"Image":{{"Docker-manifest-digest":"sha256:{HEX}"}},"Type":"{COSIGN_TYPE}"}},"Optional":{{"a":1}}}}"#
        );
        let payload = SimpleSigning::parse(text.as_bytes()).unwrap();
        assert_eq!(payload.digest.hex(), HEX);
        assert_eq!(payload.optional["a"], 1);
    }

    #[test]
    fn refuses_with_the_right_code() {
        let good = payload(&[]).to_json();
        let with = |from: &str, to: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            code(&text)
        };
        assert_eq!(code(""), "not-json");
        assert_eq!(code("{}"), "bad-field");
        assert_eq!(with("cosign container", "atomic container"), "payload-kind");
        assert_eq!(with(r#""type":"#, r#""typo":"#), "unknown-critical");
        assert_eq!(with(r#""docker-manifest-digest":"#, r#""other-digest":"#), "unknown-critical");
        assert_eq!(with(&format!("sha256:{HEX}"), ""), "claim-digest");
        assert_eq!(with("sha256:", "sha1:"), "claim-digest");
        assert_eq!(with(HEX, &HEX.to_uppercase()), "claim-digest");
        assert_eq!(with(r#""type":"#, r#""Type":"x","type":"#), "ambiguous-key");
        assert_eq!(with(r#""type":"#, r#""type":"x","type":"#), "duplicate-key");
        assert_eq!(with("null", "[]"), "bad-field");
        assert_eq!(with("null}", "null}{}"), "not-json");
        assert_eq!(with("null", &"[".repeat(100)), "too-deep");
        assert_eq!(code(&" ".repeat(MAX_PAYLOAD + 1)), "too-large");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = SimpleSigning::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(
            reference: String,
            image: Vec<u8>,
            annotations: BTreeMap<String, String>,
        ) {
            let payload = SimpleSigning::new(reference, Digest::of(&image), &annotations);
            prop_assert_eq!(SimpleSigning::parse(payload.to_json().as_bytes()), Ok(payload));
        }
    }
}
