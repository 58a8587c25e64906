//! in-toto statements, versions 0.1 and 1: subjects, predicate type and predicate.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::json::{self, InvalidJson, Object};
use crate::reject::{Document, Foreign, Reject};

/// The predicate type of a cosign image signature.
pub const IMAGE_SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// `_type` of a statement of version 1.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// `_type` of a statement of version 0.1.
pub const STATEMENT_V01: &str = "https://in-toto.io/Statement/v0.1";

/// The maximum number of subjects in a statement (sigstore-go's bound).
pub const MAX_SUBJECTS: usize = 1024;
/// The maximum number of digests of a subject (sigstore-go's bound).
pub const MAX_DIGESTS: usize = 32;

/// A statement, parsed but unverified.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The subjects; never empty.
    pub subjects: Vec<Subject>,
    /// The predicate type.
    pub predicate_type: String,
    /// The predicate; null where there is none.
    pub predicate: Value,
}

/// A subject of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its name, where it has one. Never compared.
    pub name: Option<String>,
    /// Its digests, `sha256` and the like to lower-case hexadecimal.
    pub digests: BTreeMap<String, String>,
    /// The signer's annotations of it.
    pub annotations: BTreeMap<String, Value>,
}

impl Statement {
    /// Reads a statement; one without subjects is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        let malformed = |error| Reject::json(Document::Statement, error);
        let value = json::parse(bytes, crate::dsse::MAX_ENVELOPE).map_err(malformed)?;
        let known = &["_type", "subject", "predicateType", "predicate_type", "predicate"];
        let object = Object::new(&value, "statement", known).map_err(malformed)?;
        check_type(json::text(object.get("_type"), "_type").map_err(malformed)?)?;
        let subjects = subjects(&object).map_err(malformed)?;
        if subjects.is_empty() {
            return Err(Reject::NoSubject);
        }
        let predicate_type = predicate_type(&object).map_err(malformed)?;
        let predicate = object.get("predicate").cloned().unwrap_or_default();
        Ok(Self { subjects, predicate_type, predicate })
    }
}

impl Subject {
    /// True if one of its digests is `digest`.
    pub fn has(&self, digest: &Digest) -> bool {
        self.digests.get(digest.algorithm().name()).is_some_and(|hex| hex == digest.hex())
    }
}

/// The statement of an image signature, as cosign writes it: no name, no reference, an empty
/// predicate, the user's annotations at the subject.
pub fn image_signature(digest: &Digest, annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let mut subject = Map::new();
    let digests = serde_json::json!({ digest.algorithm().name(): digest.hex() });
    subject.insert("digest".to_owned(), digests);
    if !annotations.is_empty() {
        subject.insert("annotations".to_owned(), serde_json::json!(annotations));
    }
    let statement = serde_json::json!({
        "_type": STATEMENT_V1,
        "subject": [subject],
        "predicateType": IMAGE_SIGNATURE_PREDICATE,
        "predicate": {},
    });
    statement.to_string().into_bytes()
}

fn check_type(found: &str) -> Result<(), Reject> {
    match found {
        STATEMENT_V1 | STATEMENT_V01 => Ok(()),
        other => Err(Reject::StatementType(Foreign::new(other))),
    }
}

fn predicate_type(object: &Object<'_>) -> Result<String, InvalidJson> {
    let value = object.either("predicateType", "predicate_type")?;
    match json::text(value, "predicateType")? {
        "" => Err(InvalidJson::Field { field: "predicateType", want: "a text" }),
        text => Ok(text.to_owned()),
    }
}

fn subjects(statement: &Object<'_>) -> Result<Vec<Subject>, InvalidJson> {
    let list = json::list(statement.get("subject"), "subject", MAX_SUBJECTS)?;
    list.iter().map(subject).collect()
}

fn subject(value: &Value) -> Result<Subject, InvalidJson> {
    let object = Object::new(value, "subject", &["name", "digest", "annotations"])?;
    let name = match json::text(object.get("name"), "name")? {
        "" => None,
        name => Some(name.to_owned()),
    };
    Ok(Subject { name, digests: digests(&object)?, annotations: annotations(&object)? })
}

fn digests(subject: &Object<'_>) -> Result<BTreeMap<String, String>, InvalidJson> {
    let want = InvalidJson::Field { field: "digest", want: "an object of texts" };
    let object = subject.get("digest").and_then(Value::as_object).ok_or(want.clone())?;
    if object.len() > MAX_DIGESTS {
        return Err(InvalidJson::TooManyEntries { field: "digest", limit: MAX_DIGESTS });
    }
    let entry = |(name, hex): (&String, &Value)| {
        hex.as_str().map(|hex| (name.clone(), hex.to_owned())).ok_or(want.clone())
    };
    object.iter().map(entry).collect()
}

fn annotations(subject: &Object<'_>) -> Result<BTreeMap<String, Value>, InvalidJson> {
    let Some(value) = subject.get("annotations") else { return Ok(BTreeMap::new()) };
    let want = InvalidJson::Field { field: "annotations", want: "an object" };
    let object = value.as_object().ok_or(want)?;
    Ok(object.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: &str) -> &'static str {
        Statement::parse(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn writes_what_cosign_writes() {
        let digest = Digest::of(b"image");
        let annotations = BTreeMap::from([("who".to_owned(), "me".to_owned())]);
        let plain: Value = serde_json::from_slice(&image_signature(&digest, &annotations)).unwrap();
        let want = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest.hex()}, "annotations": {"who": "me"}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        });
        assert_eq!(plain, want);
        let bare = image_signature(&digest, &BTreeMap::new());
        assert!(!String::from_utf8(bare).unwrap().contains("annotations"));
    }

    #[test]
    fn reads_both_versions() {
        for version in [STATEMENT_V1, STATEMENT_V01] {
            let text = format!(
                r#"{{"_type":"{version}","subject":[{{"name":"n","digest":{{"sha256":"ab"}}}}],
                    "predicateType":"p","predicate":{{"x":[1]}},"extra":1}}"#
            );
            let statement = Statement::parse(text.as_bytes()).unwrap();
            assert_eq!(statement.subjects[0].name.as_deref(), Some("n"));
            assert_eq!(statement.predicate["x"][0], 1);
        }
    }

    #[test]
    fn refuses_with_the_right_code() {
        let head = r#""_type":"https://in-toto.io/Statement/v1","predicateType":"p""#;
        assert_eq!(code("[]"), "bad-field");
        assert_eq!(code("{}"), "statement-type");
        assert_eq!(code(r#"{"_type":"https://in-toto.io/Statement/v2"}"#), "statement-type");
        assert_eq!(code(&format!("{{{head}}}")), "no-subject");
        assert_eq!(code(&format!(r#"{{{head},"subject":[]}}"#)), "no-subject");
        assert_eq!(code(&format!(r#"{{{head},"subject":null}}"#)), "no-subject");
        assert_eq!(code(&format!(r#"{{{head},"subject":[{{"name":"x"}}]}}"#)), "bad-field");
        assert_eq!(
            code(&format!(r#"{{{head},"subject":[{{"digest":{{"sha256":1}}}}]}}"#)),
            "bad-field"
        );
        assert_eq!(code(&format!(r#"{{{head},"Subject":[]}}"#)), "ambiguous-key");
        assert_eq!(code(&format!(r#"{{{head},"_type":"x"}}"#)), "duplicate-key");
        let many = vec!["1"; MAX_SUBJECTS + 1].join(",");
        assert_eq!(code(&format!(r#"{{{head},"subject":[{many}]}}"#)), "too-many");
        let digests: Vec<_> = (0..=MAX_DIGESTS).map(|i| format!("\"d{i}\":\"\"")).collect();
        let subject = format!(r#"{{"digest":{{{}}}}}"#, digests.join(","));
        assert_eq!(code(&format!(r#"{{{head},"subject":[{subject}]}}"#)), "too-many");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Statement::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(image: Vec<u8>, annotations: BTreeMap<String, String>) {
            let digest = Digest::of(&image);
            let statement = Statement::parse(&image_signature(&digest, &annotations)).unwrap();
            prop_assert!(statement.subjects[0].has(&digest));
            prop_assert_eq!(statement.predicate_type.as_str(), IMAGE_SIGNATURE_PREDICATE);
            for (key, value) in &annotations {
                prop_assert_eq!(&statement.subjects[0].annotations[key], value);
            }
        }
    }
}
