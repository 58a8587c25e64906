//! Seeds for the fuzz targets `checkpoint`, `log_body` and `log_entry`: genuine entries of two
//! small logs, whose keys the targets know. Written anew with `UPDATE_SEEDS=1`.

use std::fs;
use std::path::PathBuf;

use super::super::*;
use super::workbench::{By, Owned, Signed, TestLog};
use crate::bundle::{Bundle, Content, LogMaterial, MessageSignature, VerificationMaterial};
use crate::digest::Algorithm;

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn bundle(signed: &Signed, entry: LogEntry) -> String {
    let content = match &signed.content {
        Owned::Envelope(envelope, _) => Content::Envelope(envelope.clone()),
        Owned::Message(_) => {
            let signature = signed.signature.clone();
            Content::Message(MessageSignature { digest: None, signature })
        }
    };
    Bundle {
        version: Version::V03,
        material: VerificationMaterial::PublicKey { hint: String::new() },
        log: LogMaterial { entries: vec![entry], timestamps: Vec::new() },
        content,
    }
    .to_json()
}

#[test]
fn seeds_are_written_when_asked_for() {
    if std::env::var_os("UPDATE_SEEDS").is_none() {
        return;
    }
    let (one, two) = (TestLog::rekor1(), TestLog::rekor2());
    for (name, log) in [("rekor1.der", &one), ("rekor2.der", &two)] {
        fs::write(folder("keys").join(name), log.log.key.key.spki_der()).unwrap();
    }
    let blob = Signed::blob(By::Certificate, b"content");
    let envelope = Signed::envelope(By::Key, b"{}");
    for (name, log, signed, body) in [
        ("hashedrekord-001", &one, &blob, blob.hashed_rekord_001(Algorithm::Sha256)),
        ("hashedrekord-002", &two, &blob, blob.hashed_rekord_002()),
        ("dsse-001", &one, &envelope, envelope.dsse_001()),
        ("dsse-002", &two, &envelope, envelope.dsse_002()),
        ("intoto-001", &one, &envelope, envelope.intoto_001("text")),
        ("intoto-002", &one, &envelope, envelope.intoto_002()),
    ] {
        let entry = log.entry(&body);
        let checkpoint = &entry.proof.as_ref().unwrap().checkpoint;
        fs::write(folder("checkpoint").join(name), checkpoint).unwrap();
        fs::write(folder("log_body").join(name), &entry.body).unwrap();
        fs::write(folder("log_entry").join(name), bundle(signed, entry)).unwrap();
    }
}
