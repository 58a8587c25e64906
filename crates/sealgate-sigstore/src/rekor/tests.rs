use axum::response::Response;
use sealgate_core::dsse::{Envelope, IN_TOTO, pae};
use sealgate_engine::ports::SignatureLog;
use sealgate_testkit::key::{Algorithm, TestKey};
use sealgate_testkit::keyless::{CertificateIdentity, Certified, Proof, TestSigstore};
use serde_json::{Value, json};

use super::*;
use crate::http::fixture::{Service, answer, client, with};

fn message(by: &Certified) -> LogSubmission {
    LogSubmission {
        signature: by.sign(b"message"),
        content: SubmittedContent::Message(Digest::of(b"message")),
        verifier: SubmittedVerifier::Certificate(by.der.clone()),
    }
}

fn envelope(sign: impl Fn(&[u8]) -> Vec<u8>, verifier: SubmittedVerifier) -> LogSubmission {
    let signature = sign(&pae(IN_TOTO, b"{}"));
    let envelope = Envelope {
        payload_type: IN_TOTO.to_owned(),
        payload: b"{}".to_vec(),
        signatures: vec![signature.clone()],
    };
    LogSubmission { signature, content: SubmittedContent::Envelope(envelope), verifier }
}

/// Entry as Rekor v1 returns it.
fn written(entry: &LogEntry) -> String {
    let proof = entry.proof.as_ref().map(|proof| {
        json!({
            "checkpoint": proof.checkpoint,
            "hashes": proof.hashes.iter().map(hex::encode).collect::<Vec<_>>(),
            "logIndex": proof.log_index,
            "rootHash": hex::encode(&proof.root_hash),
            "treeSize": proof.tree_size,
        })
    });
    let verification = json!({
        "inclusionProof": proof,
        "signedEntryTimestamp": entry.signed_entry_timestamp.as_deref().map(b64),
    });
    json!({ "108e9186e8c5677a": {
        "body": b64(&entry.body),
        "integratedTime": entry.integrated_time,
        "logID": hex::encode(&entry.log_id),
        "logIndex": entry.log_index,
        "verification": verification,
        "attestation": {},
    } })
    .to_string()
}

/// Entry as Rekor v2 returns it.
fn written_2(entry: &LogEntry) -> String {
    let proof = entry.proof.as_ref().unwrap();
    json!({
        "logIndex": entry.log_index.to_string(),
        "logId": { "keyId": b64(&entry.log_id) },
        "kindVersion": { "kind": "hashedrekord", "version": "0.0.2" },
        "integratedTime": "0",
        "inclusionPromise": null,
        "inclusionProof": {
            "logIndex": proof.log_index.to_string(),
            "rootHash": b64(&proof.root_hash),
            "treeSize": proof.tree_size.to_string(),
            "hashes": proof.hashes.iter().map(|hash| b64(hash)).collect::<Vec<_>>(),
            "checkpoint": { "envelope": proof.checkpoint },
        },
        "canonicalizedBody": b64(&entry.body),
    })
    .to_string()
}

fn entry_of(
    world: &TestSigstore,
    by: &Certified,
    submission: &LogSubmission,
    proof: Proof,
) -> LogEntry {
    let message = match &submission.content {
        SubmittedContent::Message(_) => b"message".to_vec(),
        SubmittedContent::Envelope(envelope) => envelope.pae(),
    };
    world.prove(by, &submission.signature, &message, proof).entries.remove(0)
}

async fn v1(service: &Service, submission: &LogSubmission) -> Result<LogEntry, Fault> {
    RekorV1::new(&service.url, client()).unwrap().upload(submission).await
}

async fn v2(service: &Service, submission: &LogSubmission) -> Result<LogEntry, Fault> {
    RekorV2::new(&service.url, client()).unwrap().upload(submission).await
}

fn sent(service: &Service) -> Value {
    serde_json::from_slice(&service.seen()[0].body).unwrap()
}

fn always(
    status: u16,
    body: String,
) -> impl Fn(usize, &crate::http::fixture::ReceivedRequest) -> Response {
    move |_, _| answer(status, body.clone())
}

#[tokio::test]
async fn v1_takes_a_message() {
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    let submission = message(&by);
    let entry = entry_of(&world, &by, &submission, Proof::RekorV1);
    let service = Service::start(always(201, written(&entry))).await;
    let got = v1(&service, &submission).await.unwrap();
    assert_eq!(got, entry);
    let seen = &service.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/api/v1/log/entries"));
    let sent = sent(&service);
    assert_eq!((&sent["kind"], &sent["apiVersion"]), (&json!("hashedrekord"), &json!("0.0.1")));
    let hash = json!({ "algorithm": "sha256", "value": Digest::of(b"message").hex() });
    assert_eq!(sent["spec"]["data"]["hash"], hash);
    let signature = json!({
        "content": b64(&submission.signature),
        "publicKey": { "content": b64(by.pem().as_bytes()) },
    });
    assert_eq!(sent["spec"]["signature"], signature);
}

#[tokio::test]
async fn v1_returns_the_entry_at_an_index() {
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    let entry = entry_of(&world, &by, &message(&by), Proof::RekorV1);
    let service = Service::start(always(200, written(&entry))).await;
    let log = RekorV1::new(&service.url, client()).unwrap();
    assert_eq!(log.entry_at(1_000_000).await.unwrap(), entry);
    let seen = &service.seen()[0];
    let asked = (seen.method.as_str(), seen.path.as_str());
    assert_eq!(asked, ("GET", "/api/v1/log/entries?logIndex=1000000"));
    let none = Service::start(always(404, "{}".to_owned())).await;
    assert!(RekorV1::new(&none.url, client()).unwrap().entry_at(1).await.is_err());
}

#[tokio::test]
async fn v1_takes_an_envelope() {
    let world = TestSigstore::default();
    let key = TestKey::generate(Algorithm::Ed25519);
    let public = sealgate_engine::ports::Signer::public_key(&key).clone();
    let verifier = SubmittedVerifier::Key(public.clone());
    let submission = envelope(|message| key.signature(message), verifier);
    let body = json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": { "algorithm": "sha256", "value": Digest::of(b"x").hex() },
            "payloadHash": { "algorithm": "sha256", "value": Digest::of(b"{}").hex() },
            "signatures": [{
                "signature": b64(&submission.signature),
                "verifier": b64(public.to_pem().as_bytes()),
            }],
        },
    });
    let by = world.certified(&CertificateIdentity::default());
    let mut entry = entry_of(&world, &by, &message(&by), Proof::RekorV1);
    entry.body = body.to_string().into_bytes();
    let service = Service::start(always(201, written(&entry))).await;
    let got = v1(&service, &submission).await.unwrap();
    assert_eq!((got.kind.as_str(), got.version.as_str()), ("dsse", "0.0.1"));
    let sent = sent(&service);
    assert_eq!(sent["kind"], "dsse");
    let content = &sent["spec"]["proposedContent"];
    let SubmittedContent::Envelope(envelope) = &submission.content else { unreachable!() };
    assert_eq!(content["envelope"], envelope.to_json());
    assert_eq!(content["verifiers"], json!([b64(public.to_pem().as_bytes())]));
}

#[tokio::test]
async fn v1_returns_the_existing_entry() {
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    let submission = message(&by);
    let entry = entry_of(&world, &by, &submission, Proof::RekorV1);
    let body = written(&entry);
    let service = Service::start(move |_, seen| match seen.method.as_str() {
        "POST" => with(answer(409, "{}"), "location", "/api/v1/log/entries/108e"),
        _ => answer(200, body.clone()),
    })
    .await;
    assert_eq!(v1(&service, &submission).await.unwrap(), entry);
    assert_eq!(service.seen()[1].path, "/api/v1/log/entries/108e");
}

#[tokio::test]
async fn v1_looks_for_the_existing_entry_only_at_the_log() {
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    let submission = message(&by);
    let elsewhere = Service::start(|_, _| answer(200, "{}")).await;
    for place in [Some(elsewhere.url.clone()), Some("http://".to_owned()), None] {
        let service = Service::start(move |_, _| match &place {
            Some(place) => with(answer(409, "{}"), "location", place),
            None => answer(409, "{}"),
        })
        .await;
        let fault = v1(&service, &submission).await.unwrap_err();
        assert!(fault.detail.contains("did not return its location"), "{fault}");
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn entries_about_something_else_are_refused() {
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    let (submission, other) = (message(&by), message(&by));
    let entry = entry_of(&world, &by, &other, Proof::RekorV1);
    let service = Service::start(always(201, written(&entry))).await;
    let fault = v1(&service, &submission).await.unwrap_err();
    assert!(fault.detail.contains("does not match the submission"), "{fault}");
    let entry = entry_of(&world, &by, &other, Proof::RekorV2);
    let service = Service::start(always(201, written_2(&entry))).await;
    let fault = v2(&service, &submission).await.unwrap_err();
    assert!(fault.detail.contains("does not match the submission"), "{fault}");
    assert_eq!(fault.kind, FaultKind::Malformed);
}

#[tokio::test]
async fn v2_takes_messages_and_envelopes_alike() {
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    let certificate = SubmittedVerifier::Certificate(by.der.clone());
    let enveloped = envelope(|message| by.sign(message), certificate);
    for (submission, digest) in
        [(message(&by), Digest::of(b"message")), (enveloped, Digest::of(&pae(IN_TOTO, b"{}")))]
    {
        let entry = entry_of(&world, &by, &submission, Proof::RekorV2);
        let service = Service::start(always(201, written_2(&entry))).await;
        assert_eq!(v2(&service, &submission).await.unwrap(), entry);
        assert_eq!(service.seen()[0].path, "/api/v2/log/entries");
        let verifier = json!({
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "x509Certificate": { "rawBytes": b64(&by.der) },
        });
        let want = json!({ "hashedRekordRequestV002": {
            "digest": b64(&hex::decode(digest.hex()).unwrap()),
            "signature": { "content": b64(&submission.signature), "verifier": verifier },
        } });
        assert_eq!(sent(&service), want);
    }
}

#[tokio::test]
async fn v2_names_every_kind_of_key() {
    for (algorithm, name) in [
        (Algorithm::P256, "PKIX_ECDSA_P256_SHA_256"),
        (Algorithm::P384, "PKIX_ECDSA_P384_SHA_384"),
        (Algorithm::P521, "PKIX_ECDSA_P521_SHA_512"),
        (Algorithm::Rsa2048, "PKIX_RSA_PKCS1V15_2048_SHA256"),
    ] {
        let service = Service::start(|_, _| answer(400, "")).await;
        let key = TestKey::generate(algorithm);
        let public = sealgate_engine::ports::Signer::public_key(&key).clone();
        let verifier = SubmittedVerifier::Key(public.clone());
        let submission = envelope(|message| key.signature(message), verifier);
        v2(&service, &submission).await.unwrap_err();
        let sent = sent(&service);
        let verifier = &sent["hashedRekordRequestV002"]["signature"]["verifier"];
        assert_eq!(verifier["keyDetails"], name);
        assert_eq!(verifier["publicKey"]["rawBytes"], b64(public.spki_der()));
    }
}

#[tokio::test]
async fn v2_says_what_to_do_about_its_refusals() {
    let refused = |status, key: TestKey, digest| async move {
        let message = json!({ "code": 3, "message": "invalid hashedrekord request" });
        let service = Service::start(always(status, message.to_string())).await;
        let public = sealgate_engine::ports::Signer::public_key(&key).clone();
        let submission = LogSubmission {
            signature: key.signature(b"message"),
            content: SubmittedContent::Message(digest),
            verifier: SubmittedVerifier::Key(public),
        };
        let fault = v2(&service, &submission).await.unwrap_err();
        assert_eq!(service.seen().len(), 1);
        fault.detail
    };
    let sha256 = Digest::of(b"message");
    let said = "answered 400 Bad Request: invalid hashedrekord request";
    assert_eq!(refused(400, TestKey::p256(), sha256.clone()).await, said);
    let p384 = refused(400, TestKey::generate(Algorithm::P384), sha256.clone()).await;
    assert!(p384.starts_with(said) && p384.ends_with("sign with a P-256 key"), "{p384}");
    let twice = refused(409, TestKey::p256(), sha256).await;
    assert!(twice.ends_with("its proof is returned only once: sign again"), "{twice}");
}

#[tokio::test]
async fn v2_does_not_send_signatures_that_do_not_fit() {
    let service = Service::start(|_, _| answer(500, "")).await;
    let (key, other) = (TestKey::p256(), TestKey::p256());
    let public = sealgate_engine::ports::Signer::public_key(&key).clone();
    let verifier = SubmittedVerifier::Key(public);
    let submission = envelope(|message| other.signature(message), verifier);
    let fault = v2(&service, &submission).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Config);
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn ed25519_is_refused_before_anything_is_sent() {
    let service = Service::start(|_, _| answer(500, "")).await;
    let key = TestKey::generate(Algorithm::Ed25519);
    let public = sealgate_engine::ports::Signer::public_key(&key).clone();
    let verifier = SubmittedVerifier::Key(public);
    let enveloped = envelope(|message| key.signature(message), verifier.clone());
    let content = SubmittedContent::Message(Digest::of(b"message"));
    let message = LogSubmission { signature: key.signature(b"message"), content, verifier };
    for fault in [
        v1(&service, &message).await.unwrap_err(),
        v2(&service, &message).await.unwrap_err(),
        v2(&service, &enveloped).await.unwrap_err(),
    ] {
        assert_eq!(fault.kind, FaultKind::Unsupported, "{fault}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn broken_answers_are_faults() {
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    let submission = message(&by);
    let good = written(&entry_of(&world, &by, &submission, Proof::RekorV1));
    let value: Value = serde_json::from_str(&good).unwrap();
    let changed = |pointer: &str, to: Value| {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap() = to;
        value.to_string()
    };
    let proof = "/108e9186e8c5677a/verification/inclusionProof";
    for body in [
        "".to_owned(),
        "{}".to_owned(),
        format!("{{\"a\":{0},\"b\":{0}}}", value["108e9186e8c5677a"]),
        changed("/108e9186e8c5677a/body", json!("!")),
        changed("/108e9186e8c5677a/body", json!(b64(b"{}"))),
        changed("/108e9186e8c5677a/logID", json!("xyz")),
        changed("/108e9186e8c5677a/logIndex", json!("5")),
        changed(&format!("{proof}/rootHash"), json!("0")),
        changed(&format!("{proof}/hashes"), json!(vec!["00"; 65])),
    ] {
        let text = body.clone();
        let service = Service::start(always(201, body)).await;
        let fault = v1(&service, &submission).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed, "{text}");
    }
    for body in ["", "{}", "[]", r#"{"canonicalizedBody":"!"}"#] {
        let service = Service::start(always(201, body.to_owned())).await;
        let fault = v2(&service, &submission).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed, "{body}");
    }
    let large = vec![b' '; crate::http::request::MAX_JSON + 1];
    let service = Service::start(move |_, _| answer(201, large.clone())).await;
    assert_eq!(v1(&service, &submission).await.unwrap_err().kind, FaultKind::TooLarge);
    assert_eq!(v2(&service, &submission).await.unwrap_err().kind, FaultKind::TooLarge);
}
