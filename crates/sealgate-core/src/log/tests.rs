//! Genuine entries of every kind are proven; what is not is `mutations`' matter.

mod mutations;
mod seeds;
pub(crate) mod tree;
pub(crate) mod workbench;

use proptest::prelude::*;
use workbench::{By, GLOBAL_INDEX, INDEX, Owned, Signed, TestLog, b64};

use super::*;
use crate::certificate::tests::pki::{NOW, YEAR};
use crate::digest::Algorithm;
use crate::trust::{TrustRoot, Validity};

const V03: EntryFormat = EntryFormat::Bundle(Version::V03);

fn root(logs: &[TransparencyLog]) -> SharedRoot {
    TrustRoot { transparency_logs: logs.to_vec(), ..TrustRoot::default() }.into()
}

fn proof(judged: Result<EntryOutcome, Reject>) -> LogProof {
    match judged {
        Ok(EntryOutcome::Proven(proof)) => proof,
        other => panic!("{other:?}"),
    }
}

fn code(judged: Result<EntryOutcome, Reject>) -> &'static str {
    match judged {
        Ok(EntryOutcome::Proven(_)) => "proven",
        Ok(EntryOutcome::UnknownLog { .. }) => "unknown-log",
        Err(reject) => reject.code(),
    }
}

#[test]
fn every_kind_is_proven_for_its_key_and_for_its_certificate() {
    let (one, two) = (TestLog::rekor1(), TestLog::rekor2());
    for by in [By::Key, By::Certificate] {
        let blob = Signed::blob(by, b"content");
        let envelope = Signed::envelope(by, b"{}");
        let Owned::Envelope(written, _) = &envelope.content else { panic!() };
        let old = format!(
            r#"{{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{{"keyid":"","sig":"{}"}}]}}"#,
            b64(&envelope.signature)
        );
        for (log, signed, body) in [
            (&one, &blob, blob.hashed_rekord_001(Algorithm::Sha256)),
            (&one, &blob, blob.hashed_rekord_001(Algorithm::Sha384)),
            (&one, &blob, blob.hashed_rekord_001(Algorithm::Sha512)),
            (&one, &envelope, envelope.hashed_rekord_001(Algorithm::Sha256)),
            (&one, &envelope, envelope.dsse_001()),
            (&one, &envelope, envelope.intoto_001(&old)),
            (&one, &envelope, envelope.intoto_001(&old.replace(r#""keyid":"","#, ""))),
            (&one, &envelope, envelope.intoto_001(&written.to_json())),
            (&one, &envelope, envelope.intoto_002()),
            (&two, &blob, blob.hashed_rekord_002()),
            (&two, &envelope, envelope.hashed_rekord_002()),
            (&two, &envelope, envelope.dsse_002()),
        ] {
            let logs = [two.log.clone(), one.log.clone()];
            let judged = verify_entry(&log.entry(&body), V03, &logs, &signed.logged(), &[NOW]);
            let proof = proof(judged);
            assert_eq!(proof.log_id(), log.log.log_id());
            assert_eq!(proof.base_url(), log.log.base_url);
            let wanted = match std::ptr::eq(log, &one) {
                true => (Some(NOW), GLOBAL_INDEX),
                false => (None, INDEX),
            };
            assert_eq!((proof.integrated_time(), proof.log_index()), wanted, "{body}");
        }
    }
}

#[test]
fn each_form_has_what_it_needs() {
    let log = TestLog::rekor1();
    let signed = Signed::blob(By::Key, b"content");
    let entry = log.entry(&signed.hashed_rekord_001(Algorithm::Sha256));
    let logs = [log.log.clone()];
    let code = |format, change: &dyn Fn(&mut LogEntry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        code(verify_entry(&entry, format, &logs, &signed.logged(), &[NOW]))
    };
    let (v01, v02) = (EntryFormat::Bundle(Version::V01), EntryFormat::Bundle(Version::V02));
    let no_promise: &dyn Fn(&mut LogEntry) = &|entry| entry.signed_entry_timestamp = None;
    let no_proof: &dyn Fn(&mut LogEntry) = &|entry| entry.proof = None;
    let no_checkpoint: &dyn Fn(&mut LogEntry) =
        &|entry| entry.proof.as_mut().unwrap().checkpoint.clear();
    let neither: &dyn Fn(&mut LogEntry) = &|entry| {
        entry.signed_entry_timestamp = None;
        entry.proof = None;
    };
    let unnamed: &dyn Fn(&mut LogEntry) = &|entry| {
        entry.kind.clear();
        entry.version.clear();
    };
    for (format, promise, proof, checkpoint, nothing, kindless) in [
        (EntryFormat::Legacy, "log-no-promise", "proven", "proven", "log-no-promise", "proven"),
        (v01, "log-no-promise", "proven", "proven", "log-no-promise", "log-other-kind"),
        (v02, "proven", "log-no-proof", "log-no-checkpoint", "log-no-proof", "log-other-kind"),
        (V03, "proven", "log-no-proof", "log-no-checkpoint", "log-no-proof", "log-other-kind"),
    ] {
        let found = [no_promise, no_proof, no_checkpoint, neither, unnamed];
        let found = found.map(|change| code(format, change));
        assert_eq!(found, [promise, proof, checkpoint, nothing, kindless], "{format:?}");
    }
}

#[test]
fn an_integrated_time_counts_only_with_its_promise() {
    let log = TestLog::rekor1();
    let signed = Signed::blob(By::Certificate, b"content");
    let mut entry = log.entry(&signed.hashed_rekord_001(Algorithm::Sha256));
    entry.signed_entry_timestamp = None;
    let logs = [log.log.clone()];
    let found = proof(verify_entry(&entry, V03, &logs, &signed.logged(), &[NOW]));
    assert_eq!((found.integrated_time(), found.log_index()), (None, INDEX));
}

#[test]
fn the_log_counts_in_its_window_only() {
    let (one, two) = (TestLog::rekor1(), TestLog::rekor2());
    let signed = Signed::blob(By::Key, b"content");
    let in_window = |log: &TestLog, start: Option<i64>, end: Option<i64>, times: &[i64]| {
        let body = match log.generation {
            workbench::Generation::Rekor1 => signed.hashed_rekord_001(Algorithm::Sha256),
            workbench::Generation::Rekor2 => signed.hashed_rekord_002(),
        };
        let mut known = log.log.clone();
        known.validity = Validity { start, end };
        code(verify_entry(&log.entry(&body), V03, &[known], &signed.logged(), times))
    };
    // The integrated time decides where there is one, else each timestamp.
    assert_eq!(in_window(&one, Some(NOW), Some(NOW), &[NOW + YEAR]), "proven");
    assert_eq!(in_window(&one, Some(NOW + 1), None, &[]), "log-window");
    assert_eq!(in_window(&one, None, Some(NOW - 1), &[]), "log-window");
    assert_eq!(in_window(&two, Some(NOW), Some(NOW + 9), &[NOW, NOW + 9]), "proven");
    assert_eq!(in_window(&two, Some(NOW), Some(NOW + 9), &[NOW, NOW + 10]), "log-window");
    assert_eq!(in_window(&two, Some(NOW), None, &[NOW - 1]), "log-window");
    assert_eq!(in_window(&two, Some(NOW), None, &[]), "proven");
    assert_eq!(in_window(&two, None, Some(NOW), &[]), "log-no-time");
}

#[test]
fn a_key_that_stands_twice_may_count_in_either_window() {
    let log = TestLog::rekor1();
    let signed = Signed::blob(By::Key, b"content");
    let entry = log.entry(&signed.hashed_rekord_001(Algorithm::Sha256));
    let with = |start| {
        let mut known = log.log.clone();
        known.validity = Validity { start: Some(start), end: None };
        known
    };
    let logs = [with(NOW + 1), with(NOW)];
    assert_eq!(code(verify_entry(&entry, V03, &logs, &signed.logged(), &[])), "proven");
}

#[test]
fn entries_of_unknown_logs_neither_count_nor_break_the_rest() {
    let (known, unknown) = (TestLog::rekor1(), TestLog::rekor2());
    let signed = Signed::blob(By::Key, b"content");
    let good = known.entry(&signed.hashed_rekord_001(Algorithm::Sha256));
    let mut foreign = unknown.entry(&signed.hashed_rekord_002());
    foreign.body = b"not even JSON".to_vec();
    let logs = [known.log.clone()];
    let all = [foreign.clone(), good.clone(), foreign.clone()];
    let proofs = verify_entries(&all, V03, Some(&root(&logs)), &signed.logged(), &[]).unwrap();
    assert_eq!((proofs.logs(), proofs.unknown(), proofs.proofs().len()), (1, 2, 1));
    let none = verify_entries(&[foreign], V03, Some(&root(&logs)), &signed.logged(), &[]).unwrap();
    assert_eq!((none.logs(), none.unknown()), (0, 1));
    let nameless = LogEntry { log_id: Vec::new(), ..good };
    assert_eq!(code(verify_entry(&nameless, V03, &logs, &signed.logged(), &[])), "unknown-log");
}

#[test]
fn two_entries_of_one_log_count_once() {
    let (one, two) = (TestLog::rekor1(), TestLog::rekor2());
    let signed = Signed::blob(By::Key, b"content");
    let first = one.entry(&signed.hashed_rekord_001(Algorithm::Sha256));
    let mut again = first.clone();
    again.log_index += 1;
    one.sign_entry(&mut again);
    let other = two.entry(&signed.hashed_rekord_002());
    let mut alias = one.log.clone();
    alias.base_url = "https://alias.example".to_owned();
    let logs = [one.log.clone(), alias, two.log.clone()];
    let count = |entries: &[LogEntry]| {
        verify_entries(entries, V03, Some(&root(&logs)), &signed.logged(), &[NOW]).unwrap().logs()
    };
    assert_eq!(count(&[first.clone(), first.clone()]), 1);
    assert_eq!(count(&[first.clone(), again]), 1);
    assert_eq!(count(&[first, other.clone(), other]), 2);
}

#[test]
fn an_entry_that_is_wrong_is_a_reject_even_beside_a_good_one() {
    let log = TestLog::rekor1();
    let signed = Signed::blob(By::Key, b"content");
    let good = log.entry(&signed.hashed_rekord_001(Algorithm::Sha256));
    let mut wrong = good.clone();
    wrong.log_index += 1;
    let logs = [log.log.clone()];
    let reject =
        verify_entries(&[good, wrong], V03, Some(&root(&logs)), &signed.logged(), &[]).unwrap_err();
    assert_eq!(reject.code(), "log-promise");
}

#[test]
fn cosigned_checkpoints_are_accepted_wherever_the_logs_own_line_stands() {
    let (log, witness) = (TestLog::rekor2(), TestLog::rekor2());
    let signed = Signed::blob(By::Key, b"content");
    let entry = log.entry(&signed.hashed_rekord_002());
    let checkpoint = entry.proof.as_ref().unwrap().checkpoint.clone();
    let (note, own) = checkpoint.split_once("\n\n").unwrap();
    let note = format!("{note}\n");
    let other = witness.line(&note).replace("log2025.example", "witness.example");
    let with = |lines: String| {
        let mut entry = entry.clone();
        entry.proof.as_mut().unwrap().checkpoint = format!("{note}\n{lines}");
        code(verify_entry(&entry, V03, std::slice::from_ref(&log.log), &signed.logged(), &[NOW]))
    };
    assert_eq!(with(format!("{other}{own}")), "proven");
    assert_eq!(with(format!("{own}{other}{own}")), "proven");
    assert_eq!(with(other.clone()), "log-checkpoint-signature");
    // A witness's line under the log's name, or with the log's hint, is still not the log's.
    assert_eq!(with(witness.line(&note)), "log-checkpoint-signature");
}

#[test]
fn a_log_may_be_named_otherwise_than_its_address_if_its_id_binds_that_name() {
    use rcgen::{KeyPair, PKCS_ED25519};
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut log = TestLog::new(pair, "http://127.0.0.1:3003", workbench::Generation::Rekor2);
    let id = workbench::note_id("localhost", &log.pair);
    let own = TransparencyLog::new(
        "http://127.0.0.1:3003",
        log.log.key.clone(),
        Some(id.clone()),
        log.log.validity,
    );
    let signed = Signed::blob(By::Key, b"content");
    let mut entry = log.entry(&signed.hashed_rekord_002());
    entry.log_id = id.clone();
    // Signed as `localhost`, with the hint of that name.
    log.log = TransparencyLog::new("http://localhost", own.key.clone(), Some(id), own.validity);
    let proof = entry.proof.as_mut().unwrap();
    proof.checkpoint = log.checkpoint(workbench::SIZE, &proof.root_hash);
    let logs = [own.clone()];
    assert_eq!(code(verify_entry(&entry, V03, &logs, &signed.logged(), &[NOW])), "proven");
    let plain = TransparencyLog::new("http://127.0.0.1:3003", own.key, None, own.validity);
    entry.log_id = plain.log_id().to_vec();
    let judged = verify_entry(&entry, V03, &[plain], &signed.logged(), &[NOW]);
    assert_eq!(code(judged), "log-checkpoint-origin");
}

proptest! {
    #[test]
    fn random_bodies_never_panic(body: Vec<u8>) {
        let _ = Body::parse(&body);
    }

    #[test]
    fn random_entries_never_panic_and_are_never_proven(
        log_index: i64,
        integrated_time: i64,
        signed_entry_timestamp: Option<Vec<u8>>,
        proof_index: i64,
        tree_size: i64,
        hashes in prop::collection::vec(prop::collection::vec(any::<u8>(), 30..34), 0..5),
        checkpoint in "[\\PC\n]{0,80}",
    ) {
        let log = TestLog::rekor1();
        let signed = Signed::blob(By::Key, b"content");
        let mut entry = log.entry(&signed.hashed_rekord_001(Algorithm::Sha256));
        entry.log_index = log_index;
        entry.integrated_time = integrated_time;
        entry.signed_entry_timestamp = signed_entry_timestamp;
        entry.proof = Some(InclusionProof {
            log_index: proof_index, root_hash: vec![0; 32], tree_size, hashes, checkpoint,
        });
        for format in [EntryFormat::Legacy, V03] {
            let judged = verify_entry(&entry, format, std::slice::from_ref(&log.log), &signed.logged(), &[]);
            prop_assert!(judged.is_err());
        }
    }
}
