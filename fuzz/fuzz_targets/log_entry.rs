//! Whole log entries of known logs: promises, proofs, checkpoints, and what they are about. None
//! is about what is asked for here, so that none is ever proven.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealgate_core::bundle::{Bundle, LogEntry, LogMaterial, Version};
use sealgate_core::digest::Digest;
use sealgate_core::key::PublicKey;
use sealgate_core::log::{EntryFormat, EntryOutcome, Logged, LoggedContent, Signer, verify_entry};
use sealgate_core::trust::{LogKey, TransparencyLog, Validity};

static LOGS: LazyLock<[TransparencyLog; 2]> = LazyLock::new(|| {
    let log = |url: &str, spki: &[u8]| {
        let key = LogKey { key: PublicKey::from_spki_der(spki).unwrap(), hash: None };
        TransparencyLog::new(url, key, None, Validity::default())
    };
    [
        log("https://rekor.example", include_bytes!("../seeds/keys/rekor1.der")),
        log("https://log2025.example", include_bytes!("../seeds/keys/rekor2.der")),
    ]
});

fn check(entry: &LogEntry) {
    let digests = [Digest::of(b"something else")];
    let logged = Logged {
        signature: b"another signature",
        signer: Signer::Key(&LOGS[0].key.key),
        content: LoggedContent::Message(&digests),
    };
    for format in
        [EntryFormat::Legacy, EntryFormat::Bundle(Version::V01), EntryFormat::Bundle(Version::V03)]
    {
        for id in [entry.log_id.as_slice(), LOGS[0].log_id(), LOGS[1].log_id()] {
            let entry = LogEntry { log_id: id.to_vec(), ..entry.clone() };
            let judged = verify_entry(&entry, format, &*LOGS, &logged, &[1_700_000_000]);
            assert!(!matches!(judged, Ok(EntryOutcome::Proven(_))));
        }
    }
}

fuzz_target!(|text: &str| {
    if let Ok(bundle) = Bundle::parse(text.as_bytes()) {
        bundle.log.entries.iter().for_each(check);
    }
    if let Ok(material) = LogMaterial::of_annotations(text, "") {
        material.entries.iter().for_each(check);
    }
});
