//! Genuine entries, changed: each is refused with its own code.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::super::*;
use super::workbench::{By, Generation, Owned, SIZE, Signed, TestLog, b64, pem, sha256};
use super::{V03, code};
use crate::certificate::tests::pki::{NOW, Pki, Signer as KeyOf};
use crate::digest::Algorithm;

/// An entry, its log, and what it is asked to be about.
struct Scene {
    log: TestLog,
    entry: LogEntry,
    signed: Signed,
    format: EntryFormat,
}

impl Scene {
    fn new(log: TestLog, signed: Signed, body: &Value) -> Self {
        let entry = log.entry(body);
        Self { log, entry, signed, format: V03 }
    }

    fn rekor1() -> Self {
        let signed = Signed::blob(By::Certificate, b"content");
        let body = signed.hashed_rekord_001(Algorithm::Sha256);
        Self::new(TestLog::rekor1(), signed, &body)
    }

    fn rekor2() -> Self {
        let signed = Signed::blob(By::Key, b"content");
        let body = signed.hashed_rekord_002();
        Self::new(TestLog::rekor2(), signed, &body)
    }

    fn envelope(body: impl Fn(&Signed) -> Value) -> Self {
        let signed = Signed::envelope(By::Certificate, b"{}");
        let body = body(&signed);
        let log = match body["apiVersion"] == "0.0.2" && body["kind"] != "intoto" {
            true => TestLog::rekor2(),
            false => TestLog::rekor1(),
        };
        Self::new(log, signed, &body)
    }

    fn code(&self) -> &'static str {
        let logs = [self.log.log.clone()];
        code(verify_entry(&self.entry, self.format, &logs, &self.signed.logged(), &[NOW]))
    }

    fn proof(&mut self) -> &mut InclusionProof {
        self.entry.proof.as_mut().unwrap()
    }

    /// The log takes another body under the names of the former one: all its proofs are genuine.
    fn log_body(&mut self, text: &str) {
        let body = text.as_bytes().to_vec();
        self.entry.proof = Some(self.log.proof(&body));
        self.entry.body = body;
        if self.entry.signed_entry_timestamp.is_some() {
            self.log.sign_entry(&mut self.entry);
        }
    }

    fn change_body(&mut self, change: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_slice(&self.entry.body).unwrap();
        change(&mut body);
        self.log_body(&body.to_string());
    }

    fn replace_body(&mut self, from: &str, to: &str) {
        let body = String::from_utf8(self.entry.body.clone()).unwrap();
        assert!(body.contains(from), "{from} is not in the body");
        self.log_body(&body.replacen(from, to, 1));
    }

    /// A checkpoint that the log has signed.
    fn checkpoint(&mut self, note: &str) {
        let line = self.log.line(note);
        self.proof().checkpoint = format!("{note}\n{line}");
    }

    fn note(&mut self) -> String {
        let checkpoint = self.proof().checkpoint.clone();
        format!("{}\n", checkpoint.split_once("\n\n").unwrap().0)
    }
}

type Row = (&'static str, fn() -> Scene, &'static str, fn(&mut Scene));

fn blob1() -> Scene {
    Scene::rekor1()
}
fn blob2() -> Scene {
    Scene::rekor2()
}
fn dsse1() -> Scene {
    Scene::envelope(Signed::dsse_001)
}
fn dsse2() -> Scene {
    Scene::envelope(Signed::dsse_002)
}
fn hashed_envelope() -> Scene {
    Scene::envelope(Signed::hashed_rekord_002)
}
fn intoto1() -> Scene {
    Scene::envelope(|signed| {
        let Owned::Envelope(envelope, _) = &signed.content else { panic!() };
        signed.intoto_001(&envelope.to_json())
    })
}
fn intoto2() -> Scene {
    Scene::envelope(Signed::intoto_002)
}

/// Entry, promise, proof, checkpoint.
const PROOFS: &[Row] = &[
    ("the index was changed", blob1, "log-promise", |s| s.entry.log_index += 1),
    ("the time was changed", blob1, "log-promise", |s| s.entry.integrated_time -= 1),
    ("no time", blob1, "log-promise", |s| s.entry.integrated_time = 0),
    ("a time before 1970", blob1, "log-number", |s| s.entry.integrated_time = -1),
    ("a time that JSON would round", blob1, "log-number", |s| s.entry.integrated_time = 1 << 53),
    ("an index that JSON would round", blob1, "log-number", |s| s.entry.log_index = i64::MAX),
    ("a negative index", blob1, "log-number", |s| s.entry.log_index = -5),
    ("an empty promise", blob1, "log-promise", |s| {
        s.entry.signed_entry_timestamp = Some(Vec::new())
    }),
    ("a promise of another log", blob1, "log-promise", |s| {
        TestLog::rekor1().sign_entry(&mut s.entry);
    }),
    ("a promise of another body", blob1, "log-promise", |s| {
        let body = std::mem::replace(&mut s.entry.body, b"{}".to_vec());
        s.log.sign_entry(&mut s.entry);
        s.entry.body = body;
    }),
    ("a promise beside a Rekor v2 entry that is wrong", blob2, "log-promise", |s| {
        s.entry.signed_entry_timestamp = Some(vec![1; 64]);
    }),
    ("no promise where the format needs one", blob1, "log-no-promise", |s| {
        s.format = EntryFormat::Bundle(Version::V01);
        s.entry.signed_entry_timestamp = None;
    }),
    ("no proof", blob2, "log-no-proof", |s| s.entry.proof = None),
    ("no checkpoint", blob2, "log-no-checkpoint", |s| s.proof().checkpoint.clear()),
    ("the body was changed after it was logged", blob2, "log-proof-root", |s| {
        s.entry.body.push(b'\n');
    }),
    ("a hash was changed", blob1, "log-proof-root", |s| s.proof().hashes[0][31] ^= 1),
    ("hashes in another order", blob1, "log-proof-root", |s| s.proof().hashes.reverse()),
    ("another index of the same path length", blob1, "log-proof-root", |s| {
        s.proof().log_index -= 1;
    }),
    ("another root", blob1, "log-proof-root", |s| s.proof().root_hash[0] ^= 1),
    ("a short root", blob1, "log-proof-root", |s| s.proof().root_hash.truncate(31)),
    ("a hash too few", blob1, "log-proof-shape", |s| drop(s.proof().hashes.pop())),
    ("a hash too many", blob1, "log-proof-shape", |s| s.proof().hashes.push(vec![0; 32])),
    ("a short hash", blob1, "log-proof-shape", |s| s.proof().hashes[1].truncate(31)),
    ("an index outside of the tree", blob1, "log-proof-shape", |s| {
        s.proof().log_index = i64::try_from(SIZE).unwrap();
    }),
    ("an empty tree", blob1, "log-proof-shape", |s| s.proof().tree_size = 0),
    ("a negative index in the proof", blob1, "log-number", |s| s.proof().log_index = -1),
    ("a negative tree size", blob1, "log-number", |s| s.proof().tree_size = -1),
    ("two indices in Rekor v2", blob2, "log-index", |s| s.entry.log_index += 1),
    ("a checkpoint without signatures", blob2, "log-checkpoint-format", |s| {
        let note = s.note();
        s.proof().checkpoint = format!("{note}\n");
    }),
    ("a checkpoint that was edited", blob2, "log-checkpoint-signature", |s| {
        let edited = s.proof().checkpoint.replacen("\n11\n", "\n12\n", 1);
        s.proof().checkpoint = edited;
    }),
    (
        "a checkpoint with an extension that was not signed",
        blob2,
        "log-checkpoint-signature",
        |s| {
            let edited = s.proof().checkpoint.replacen("\n\n", "\nmore\n\n", 1);
            s.proof().checkpoint = edited;
        },
    ),
    ("a checkpoint that another key has signed", blob2, "log-checkpoint-signature", |s| {
        let root = s.proof().root_hash.clone();
        s.proof().checkpoint = TestLog::rekor2().checkpoint(SIZE, &root);
    }),
    ("the log's signature under another name", blob1, "log-checkpoint-signature", |s| {
        let edited = s.proof().checkpoint.replace("\u{2014} rekor.example", "\u{2014} rekor.evil");
        s.proof().checkpoint = edited;
    }),
    ("the log's signature with another hint", blob1, "log-checkpoint-signature", |s| {
        let note = s.note();
        let signature = [&[0, 0, 0, 0], s.log.sign(note.as_bytes()).as_slice()].concat();
        s.proof().checkpoint = format!("{note}\n\u{2014} rekor.example {}\n", b64(signature));
    }),
    ("the log's key for another origin", blob2, "log-checkpoint-origin", |s| {
        let note = s.note().replacen("log2025.example", "other.example", 1);
        s.checkpoint(&note);
    }),
    ("a Rekor v1 origin without a tree", blob1, "log-checkpoint-origin", |s| {
        let note = s.note().replacen(" - 2605736670972794746", " - main", 1);
        s.checkpoint(&note);
    }),
    ("a Rekor v1 origin for a Rekor v2 entry", blob2, "log-checkpoint-origin", |s| {
        let note = s.note().replacen("log2025.example", "log2025.example - 7", 1);
        s.checkpoint(&note);
    }),
    ("a genuine checkpoint of another root", blob2, "log-checkpoint-root", |s| {
        let checkpoint = s.log.checkpoint(SIZE, &[7; 32]);
        s.proof().checkpoint = checkpoint;
    }),
    ("a genuine checkpoint of another size", blob2, "log-checkpoint-size", |s| {
        let root = s.proof().root_hash.clone();
        let checkpoint = s.log.checkpoint(SIZE + 1, &root);
        s.proof().checkpoint = checkpoint;
    }),
];

/// Genuinely logged entries of something else, or of no format that is supported.
const BODIES: &[Row] = &[
    ("another kind in the bundle", blob1, "log-other-kind", |s| s.entry.kind = "dsse".to_owned()),
    ("another version in the bundle", blob1, "log-other-kind", |s| {
        s.entry.version = "0.0.2".to_owned();
    }),
    ("a wrong kind beside a legacy signature", blob1, "log-other-kind", |s| {
        s.format = EntryFormat::Legacy;
        s.entry.kind = "dsse".to_owned();
    }),
    ("a kind that we do not read", blob1, "log-kind", |s| {
        s.change_body(|body| body["kind"] = "rfc3161".into());
    }),
    ("a version that we do not read", blob1, "log-kind", |s| {
        s.change_body(|body| body["apiVersion"] = "0.0.3".into());
    }),
    ("no JSON", blob1, "not-json", |s| s.log_body("{")),
    ("bytes after its end", blob1, "not-json", |s| s.replace_body("{", "{}{")),
    ("a key that stands twice", blob1, "duplicate-key", |s| {
        s.replace_body(r#""kind":"#, r#""kind":"dsse","kind":"#);
    }),
    ("a signature that stands twice", blob1, "duplicate-key", |s| {
        s.replace_body(r#""signature":{"#, r#""signature":{},"signature":{"#);
    }),
    ("a key in another case", blob1, "ambiguous-key", |s| {
        s.replace_body(r#""spec":"#, r#""Spec":{},"spec":"#);
    }),
    ("no spec", blob1, "bad-field", |s| s.change_body(|body| body["spec"] = Value::Null)),
    ("no hash", blob1, "bad-field", |s| {
        s.change_body(|body| body["spec"]["data"] = json!({}));
    }),
    ("a signature that is not base64", blob1, "bad-base64", |s| {
        s.change_body(|body| body["spec"]["signature"]["content"] = "!".into());
    }),
    ("an upper-case hash", blob1, "log-digest", |s| {
        s.change_body(|body| {
            let hash = &mut body["spec"]["data"]["hash"]["value"];
            *hash = hash.as_str().unwrap().to_uppercase().into();
        });
    }),
    ("an unknown hash algorithm", blob1, "log-digest", |s| {
        s.change_body(|body| body["spec"]["data"]["hash"]["algorithm"] = "sha1".into());
    }),
    ("an unknown hash algorithm in Rekor v2", blob2, "log-digest", |s| {
        s.change_body(|body| {
            body["spec"]["hashedRekordV002"]["data"]["algorithm"] = "SHA1".into();
        });
    }),
    ("a short digest in Rekor v2", blob2, "log-digest", |s| {
        s.change_body(|body| {
            body["spec"]["hashedRekordV002"]["data"]["digest"] = b64([0; 31]).into();
        });
    }),
    ("another signature", blob1, "log-other-signature", |s| {
        s.change_body(|body| body["spec"]["signature"]["content"] = b64(b"other").into());
    }),
    ("no signature", blob1, "log-other-signature", |s| {
        s.change_body(|body| body["spec"]["signature"]["content"] = Value::Null);
    }),
    ("the entry of another signature over the same bytes", blob2, "log-other-signature", |s| {
        let body = Signed::blob(By::Key, b"content").hashed_rekord_002();
        s.log_body(&body.to_string());
    }),
    ("another signature in Rekor v2", blob2, "log-other-signature", |s| {
        s.change_body(|body| {
            body["spec"]["hashedRekordV002"]["signature"]["content"] = b64(b"other").into();
        });
    }),
    ("another certificate", blob1, "log-other-signer", |s| {
        let other = b64(pem("CERTIFICATE", &Pki::new().leaf().der));
        s.change_body(|body| body["spec"]["signature"]["publicKey"]["content"] = other.into());
    }),
    ("the key of the certificate instead of it", blob1, "log-other-signer", |s| {
        let key = b64(s.signed.key.to_pem());
        s.change_body(|body| body["spec"]["signature"]["publicKey"]["content"] = key.into());
    }),
    ("another key", blob2, "log-other-signer", |s| {
        let other = b64(KeyOf::generate().public().spki_der());
        s.change_body(|body| {
            body["spec"]["hashedRekordV002"]["signature"]["verifier"]["publicKey"]["rawBytes"] =
                other.into();
        });
    }),
    ("a key labelled as a certificate", blob2, "log-other-signer", |s| {
        s.replace_body(r#""publicKey""#, r#""x509Certificate""#);
    }),
    ("a key and a certificate", blob2, "log-signer", |s| {
        s.replace_body(r#""publicKey""#, r#""x509Certificate":{"rawBytes":"AA=="},"publicKey""#);
    }),
    ("neither a key nor a certificate", blob1, "log-signer", |s| {
        let other = b64(pem("PRIVATE KEY", b"x"));
        s.change_body(|body| body["spec"]["signature"]["publicKey"]["content"] = other.into());
    }),
    ("a signer that is no PEM", blob1, "log-signer", |s| {
        s.change_body(|body| body["spec"]["signature"]["publicKey"]["content"] = "AA==".into());
    }),
    ("two certificates", blob1, "log-signer", |s| {
        let twice = b64(s.signed.pem().repeat(2));
        s.change_body(|body| body["spec"]["signature"]["publicKey"]["content"] = twice.into());
    }),
    ("another digest", blob1, "log-other-digest", |s| {
        s.change_body(|body| body["spec"]["data"]["hash"] = sha256(b"other"));
    }),
    ("another digest in Rekor v2", blob2, "log-other-digest", |s| {
        s.change_body(|body| {
            body["spec"]["hashedRekordV002"]["data"]["digest"] = b64([7; 32]).into();
        });
    }),
    ("a digest by an algorithm that is not at hand", blob1, "needs-content", |s| {
        let body = s.signed.hashed_rekord_001(Algorithm::Sha512);
        let Owned::Message(digests) = &mut s.signed.content else { panic!() };
        digests.truncate(1);
        s.log_body(&body.to_string());
    }),
    ("an envelope's entry beside a message", dsse1, "log-kind-of-content", |s| {
        s.signed.content = Owned::Message(vec![Digest::of(b"{}")]);
    }),
    (
        "the digest of the payload, not of what is signed",
        hashed_envelope,
        "log-other-digest",
        |s| {
            let digest = b64(hex::decode(Digest::of(b"{}").hex()).unwrap());
            s.change_body(|body| {
                body["spec"]["hashedRekordV002"]["data"]["digest"] = digest.into()
            });
        },
    ),
    ("another payload", dsse1, "log-other-digest", |s| {
        s.change_body(|body| body["spec"]["payloadHash"] = sha256(b"other"));
    }),
    ("another payload in Rekor v2", dsse2, "log-other-digest", |s| {
        s.change_body(|body| {
            body["spec"]["dsseV002"]["payloadHash"]["digest"] = b64([7; 32]).into();
        });
    }),
    ("another signature of an envelope", dsse1, "log-other-signature", |s| {
        s.change_body(|body| body["spec"]["signatures"][0]["signature"] = b64(b"other").into());
    }),
    ("another certificate of an envelope", dsse1, "log-other-signer", |s| {
        let other = b64(pem("CERTIFICATE", &Pki::new().leaf().der));
        s.change_body(|body| body["spec"]["signatures"][0]["verifier"] = other.into());
    }),
    ("a malformed hash of the envelope", dsse1, "log-digest", |s| {
        s.change_body(|body| body["spec"]["envelopeHash"]["value"] = "00".into());
    }),
    ("no signature of an envelope", dsse1, "log-signatures", |s| {
        s.change_body(|body| body["spec"]["signatures"] = json!([]));
    }),
    ("several signatures of an envelope", dsse2, "log-signatures", |s| {
        s.change_body(|body| {
            let signatures = body["spec"]["dsseV002"]["signatures"].as_array_mut().unwrap();
            signatures.push(signatures[0].clone());
        });
    }),
    ("endless signatures of an envelope", dsse1, "too-many", |s| {
        s.change_body(|body| body["spec"]["signatures"] = vec![json!({}); 33].into());
    }),
    ("an envelope with a second signature", dsse1, "log-signatures", |s| {
        let Owned::Envelope(envelope, _) = &mut s.signed.content else { panic!() };
        envelope.signatures.push(b"other".to_vec());
    }),
    (
        "an envelope whose signature is not the one that was verified",
        dsse1,
        "log-other-signature",
        |s| {
            let Owned::Envelope(envelope, _) = &mut s.signed.content else { panic!() };
            envelope.signatures = vec![b"other".to_vec()];
        },
    ),
    ("the text of another envelope", intoto1, "log-other-digest", |s| {
        s.change_body(|body| body["spec"]["content"]["hash"] = sha256(b"other"));
    }),
    ("a found text that is another envelope", intoto1, "log-other-digest", |s| {
        let other = br#"{"payload":"","payloadType":"","signatures":[]}"#.to_vec();
        s.change_body(|body| {
            body["spec"]["content"]["hash"] =
                sha256(br#"{"payload":"","payloadType":"","signatures":[]}"#);
        });
        let Owned::Envelope(_, text) = &mut s.signed.content else { panic!() };
        *text = Some(other);
    }),
    ("another payload of an in-toto 0.0.1 entry", intoto1, "log-other-digest", |s| {
        s.change_body(|body| body["spec"]["content"]["payloadHash"] = sha256(b"other"));
    }),
    ("another certificate of an in-toto 0.0.1 entry", intoto1, "log-other-signer", |s| {
        let other = b64(pem("CERTIFICATE", &Pki::new().leaf().der));
        s.change_body(|body| body["spec"]["publicKey"] = other.into());
    }),
    ("another payload of an in-toto entry", intoto2, "log-other-digest", |s| {
        s.change_body(|body| body["spec"]["content"]["payloadHash"] = sha256(b"other"));
    }),
    ("another payload type", intoto2, "log-payload-type", |s| {
        s.change_body(|body| {
            body["spec"]["content"]["envelope"]["payloadType"] = "text/plain".into();
        });
    }),
    ("another signature of an in-toto entry", intoto2, "log-other-signature", |s| {
        s.change_body(|body| {
            body["spec"]["content"]["envelope"]["signatures"][0]["sig"] = b64(b64(b"x")).into();
        });
    }),
    ("a signature that is encoded once", intoto2, "bad-base64", |s| {
        let once = b64(&s.signed.signature);
        s.change_body(|body| {
            body["spec"]["content"]["envelope"]["signatures"][0]["sig"] = once.into();
        });
    }),
];

#[test]
fn every_change_is_refused_with_its_code() {
    for (what, scene, want, change) in PROOFS.iter().chain(BODIES) {
        let mut scene = scene();
        assert_eq!(scene.code(), "proven", "before: {what}");
        change(&mut scene);
        assert_eq!(scene.code(), *want, "{what}");
    }
}

/// The signature of a Rekor v1 promise must not be taken for the same bytes by another key.
#[test]
fn a_log_with_the_same_name_and_another_key_is_another_log() {
    let mut scene = Scene::rekor1();
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let other = TestLog::new(pair, "https://rekor.example", Generation::Rekor1);
    scene.log.log = other.log.clone();
    assert_eq!(scene.code(), "unknown-log");
    scene.entry.log_id = other.log.log_id().to_vec();
    assert_eq!(scene.code(), "log-promise");
}

#[test]
fn the_text_of_an_envelope_that_was_found_counts_in_any_form() {
    let mut scene = intoto1();
    let Owned::Envelope(envelope, text) = &mut scene.signed.content else { panic!() };
    let spaced = envelope.to_json().replace("\":", "\": ");
    *text = Some(spaced.clone().into_bytes());
    scene.change_body(|body| {
        body["spec"]["content"]["hash"] = sha256(spaced.as_bytes());
        body["spec"]["content"]["payloadHash"] = Value::Null;
    });
    assert_eq!(scene.code(), "proven");
}
