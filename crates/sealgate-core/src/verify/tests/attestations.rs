//! Attestations: digest and predicate type of the statement in an envelope.

use serde_json::json;

use super::workbench::{Key, evidence, subject};
use super::*;

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

fn provenance(key: &Key) -> Evidence {
    key.statement_bundle(|statement| {
        statement["predicateType"] = PROVENANCE.into();
        statement["predicate"] = json!({ "buildDefinition": {} });
    })
}

fn attestation<'a>(
    evidence: impl Into<Candidate<'a>>,
    key: &Key,
    predicate_type: &str,
    digest: Digest,
) -> Result<Verified, Reject> {
    let authority = Authority::Keys(key.authority());
    let wanted = AttestationRequirement { digest, predicate_type: predicate_type.to_owned() };
    let subject = SubjectRequirement::Attestation(&wanted);
    let requirement = Requirement { authority: &authority, subject };
    verify(evidence, &requirement, &TrustConfig::default().context(&authority, 0))
}

#[test]
fn an_attestation_of_the_predicate_type_verifies() {
    let key = Key::generate();
    let found = provenance(&key);
    let verified = attestation(&found, &key, PROVENANCE, subject()).unwrap();
    assert_eq!(verified.checks(), [Check::Claims, Check::KeySignature]);
    assert_eq!(verified.predicate_type(), Some(PROVENANCE));
    assert_eq!(verified.claimed(), Some(&subject()));
    assert_eq!(verified.format(), EvidenceFormat::Bundle);
    let VerifiedContent::Statement(statement) = verified.content() else { panic!() };
    assert_eq!(statement.predicate, json!({ "buildDefinition": {} }));
    assert_eq!(Statement::parse(verified.payload()).as_ref(), Ok(statement));
    // The same bundle from a file.
    let Evidence::Bundle(stored) = &found else { panic!() };
    let verified = attestation(BlobSignature::Bundle(&stored.json), &key, PROVENANCE, subject());
    assert!(verified.unwrap().origin().is_none());
}

#[test]
fn any_subject_of_the_statement_is_enough() {
    let key = Key::generate();
    let two = key.statement_bundle(|statement| {
        statement["predicateType"] = PROVENANCE.into();
        statement["subject"] = json!([
            { "digest": { "sha256": "0".repeat(64) } },
            { "digest": { "sha256": subject().hex() } },
        ]);
    });
    assert!(attestation(&two, &key, PROVENANCE, subject()).is_ok());
}

#[test]
fn what_is_not_the_required_attestation_is_refused() {
    let key = Key::generate();
    let code = |evidence: &Evidence, predicate_type: &str, digest: Digest| {
        let outcome = attestation(evidence, &key, predicate_type, digest);
        outcome.err().map_or("verified", |reject| reject.code())
    };
    let good = provenance(&key);
    let other = Digest::of(b"another image");
    assert_eq!(code(&good, PROVENANCE, other), "other-subject");
    for wanted in ["", "https://slsa.dev/provenance/v0.2", "HTTPS://slsa.dev/provenance/v1"] {
        assert_eq!(code(&good, wanted, subject()), "other-predicate-type", "{wanted}");
    }
    let signature = key.bundle(&BTreeMap::new());
    assert_eq!(code(&signature, PROVENANCE, subject()), "other-predicate-type");
    assert_eq!(code(&key.legacy_evidence(), PROVENANCE, subject()), "image-signature");
    assert_eq!(code(&provenance(&Key::generate()), PROVENANCE, subject()), "wrong-signature");
    let message = Bundle::of_message(Digest::of(b"x"), key.sign(b"x"), &key.public);
    assert_eq!(code(&evidence(message.to_json()), PROVENANCE, subject()), "not-an-envelope");
    for (part, code_expected) in [("subject", "no-subject"), ("predicateType", "bad-field")] {
        let without = key.statement_bundle(|statement| statement[part] = Value::Null);
        assert_eq!(code(&without, PROVENANCE, subject()), code_expected, "{part}");
    }
}

#[test]
fn an_image_signature_is_no_signature_over_a_blob() {
    let key = Key::generate();
    let authority = Authority::Keys(key.authority());
    let layer = key.legacy_evidence();
    let subject = SubjectRequirement::Blob(Artifact::Content(b"image"));
    let requirement = Requirement { authority: &authority, subject };
    let outcome = verify(&layer, &requirement, &TrustConfig::default().context(&authority, 0));
    assert_eq!(outcome.unwrap_err().code(), "image-signature");
}
