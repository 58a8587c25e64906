//! Refusals, each with its code: genuine signatures by real cosign with one modification, and trust
//! roots that do not match. Real cosign must refuse them too.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;
use sealgate_tests::sigstore::{self, Rekor, TimestampAuthority};
use serde_json::{Value, json};

use super::support::{ADA, attach, attach_to, bundle_of, sandbox, second_log, signed_file};
use crate::support::{TOOLS, Tool};

/// Genuine bundles by the same signer: of the image to verify, of another one, and of the same
/// image with an untrusted log and timestamp authority.
struct Genuine {
    one: Value,
    other: Value,
    unknown_log: Value,
    unknown_authority: Value,
    /// Untrusted timestamp authority.
    authority: TimestampAuthority,
    text: String,
}

const REPOSITORY: &str = "tests/keyless-refused";

/// Content of the image.
const TEXT: &str = "an image that is tampered with";

fn genuine() -> &'static Genuine {
    static GENUINE: OnceLock<Genuine> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let sandbox = sandbox();
        let rekor = second_log();
        let authority = TimestampAuthority::start("timestamps-unknown").expect("another authority");
        trust_both(&sandbox, rekor, &authority);
        let with = |part: &str, url: &str| {
            let mut services = sigstore::shared().signing_config_json();
            services[part][0]["url"] = json!(url);
            services
        };
        let usual = sigstore::shared().signing_config_json();
        let sign = |repository: &str, text: &str, services: Value| {
            sandbox.write("services.json", services.to_string());
            signed_image(&sandbox, repository, text)
        };
        Genuine {
            // The other image first, so that the inclusion proof of the first one is not empty.
            other: sign("other", "another image", usual.clone()),
            one: sign("one", TEXT, usual),
            unknown_log: sign("unknown-log", TEXT, with("rekorTlogUrls", &rekor.url)),
            unknown_authority: sign("unknown-tsa", TEXT, with("tsaUrls", &authority.url)),
            authority,
            text: TEXT.to_owned(),
        }
    })
}

/// Trusted root with an additional log and timestamp authority, without which cosign would not
/// sign.
fn trust_both(sandbox: &Sandbox, rekor: &Rekor, authority: &TimestampAuthority) {
    let [key, chain] = [("rekor.pub", &rekor.public_key), ("tsa.pem", &authority.chain)]
        .map(|(name, text)| sandbox.write(name, text).display().to_string());
    let mut arguments = sigstore::shared().trusted_root_arguments();
    let since = "start-time=2024-01-01T00:00:00Z";
    arguments.extend([
        format!("--rekor=url={},public-key={key},{since},origin=localhost", rekor.url),
        format!("--tsa=url={},certificate-chain={chain}", authority.url),
        format!("--out={}", sandbox.path("root.json").display()),
    ]);
    sandbox.cosign(&arguments).ok();
}

/// Bundle of an image signed by Ada with cosign.
fn signed_image(sandbox: &Sandbox, name: &str, text: &str) -> Value {
    let host = &registries::referrers().host;
    let repository = format!("{REPOSITORY}-{name}");
    let image = sealgate_tests::image::push(host, &repository, "v1", text).expect("an image");
    Tool::Cosign.sign_as(sandbox, ADA, "sign", &[&image.by_digest()]).ok();
    bundle_of(&image)
}

/// Modifications that cosign 3.1.3 accepts. It reads neither the kind nor the body of a Rekor v2
/// entry in the bundle, but builds its own from the signed content, which then is in the log; we
/// refuse a bundle that contradicts itself. And since such an entry has no time, it does not check
/// the validity period of the log's key; we compare it with the timestamp.
const COSIGN_ACCEPTS: &[&str] =
    &["the body of another log entry", "another kind of entry", "a log that has ended"];

type Change = fn(&mut Value, &Genuine);

/// Description, reject code, and modification.
const BUNDLES: &[(&str, &str, Change)] = &[
    ("no timestamp", "no-trusted-time", |b, _| {
        b["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = json!([]);
    }),
    ("the timestamp of another signature", "timestamp-imprint", |b, g| {
        take(b, &g.other, "/verificationMaterial/timestampVerificationData");
    }),
    ("a timestamp of an authority that nobody trusts", "no-trusted-time", |b, g| {
        *b = g.unknown_authority.clone();
    }),
    ("no log entry", "not-logged", |b, _| {
        b["verificationMaterial"]["tlogEntries"] = json!([]);
    }),
    ("the log entry of another signature", "log-other-signature", |b, g| {
        take(b, &g.other, "/verificationMaterial/tlogEntries");
    }),
    ("the entry of a log that nobody trusts", "not-logged", |b, g| {
        *b = g.unknown_log.clone();
    }),
    ("another certificate of the same signer", "log-other-signer", |b, g| {
        take(b, &g.other, "/verificationMaterial/certificate");
    }),
    ("another tree size in the checkpoint", "log-checkpoint-signature", |b, _| {
        edit_checkpoint(b, |lines| lines[1] = "999".to_owned());
    }),
    ("another root in the checkpoint", "log-checkpoint-signature", |b, _| {
        edit_checkpoint(b, |lines| lines[2] = "A".repeat(43) + "=");
    }),
    ("another origin in the checkpoint", "log-checkpoint-origin", |b, _| {
        edit_checkpoint(b, |lines| lines[0] = "elsewhere".to_owned());
    }),
    ("the checkpoint of another entry", "log-checkpoint-size", |b, g| {
        take(b, &g.other, &format!("{PROOF}/checkpoint"));
    }),
    ("no checkpoint", "log-no-checkpoint", |b, _| {
        b.pointer_mut(PROOF).unwrap().as_object_mut().unwrap().remove("checkpoint");
    }),
    ("no proof", "log-no-proof", |b, _| {
        let entry = &mut b["verificationMaterial"]["tlogEntries"][0];
        entry.as_object_mut().unwrap().remove("inclusionProof");
    }),
    ("another hash in the proof", "log-proof-root", |b, _| {
        let hashes = b.pointer_mut(&format!("{PROOF}/hashes")).unwrap();
        hashes[0] = json!("A".repeat(43) + "=");
    }),
    ("one hash too many", "log-proof-shape", |b, _| {
        let hashes = b.pointer_mut(&format!("{PROOF}/hashes")).unwrap();
        hashes.as_array_mut().unwrap().push(json!("A".repeat(43) + "="));
    }),
    ("another statement", "log-other-digest", |b, g| take(b, &g.other, "/dsseEnvelope/payload")),
    ("another signature", "timestamp-imprint", |b, g| {
        take(b, &g.other, "/dsseEnvelope/signatures");
    }),
    ("another image's bundle", "other-subject", |b, g| *b = g.other.clone()),
    ("another payload type", "envelope-type", |b, _| {
        b["dsseEnvelope"]["payloadType"] = json!("application/json");
    }),
    ("two signatures in the envelope", "several-signatures", |b, _| {
        let signatures = b["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        signatures.push(signatures[0].clone());
    }),
    ("no signature in the envelope", "missing-signature", |b, _| {
        b["dsseEnvelope"]["signatures"] = json!([]);
    }),
    ("a version that is none", "bundle-version", |b, _| {
        b["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.9+json");
    }),
    ("a public key's name for the certificate", "no-certificate", |b, _| {
        let material = b["verificationMaterial"].as_object_mut().unwrap();
        material.remove("certificate");
        material.insert("publicKey".to_owned(), json!({ "hint": "ada" }));
    }),
    ("a public key's name beside the certificate", "several-verification-materials", |b, _| {
        b["verificationMaterial"]["publicKey"] = json!({ "hint": "ada" });
    }),
    ("neither certificate nor key", "no-verification-material", |b, _| {
        b["verificationMaterial"].as_object_mut().unwrap().remove("certificate");
    }),
    ("no certificate where one is", "log-other-signer", |b, _| {
        b["verificationMaterial"]["certificate"]["rawBytes"] = json!("AAAA");
    }),
    ("the authority's certificate for the signer's", "log-other-signer", |b, _| {
        let root = sigstore::shared().trusted_root_json();
        let chain = &root["certificateAuthorities"][0]["certChain"];
        b["verificationMaterial"]["certificate"] = chain["certificates"][0].clone();
    }),
    ("the body of another log entry", "log-proof-root", |b, g| {
        take(b, &g.other, &format!("{ENTRY}/canonicalizedBody"));
    }),
    ("another index", "log-index", |b, _| b.pointer_mut(ENTRY).unwrap()["logIndex"] = json!("77")),
    ("another kind of entry", "log-other-kind", |b, _| {
        b.pointer_mut(ENTRY).unwrap()["kindVersion"]["kind"] = json!("dsse");
    }),
    ("another log's name", "not-logged", |b, _| {
        b.pointer_mut(ENTRY).unwrap()["logId"]["keyId"] = json!(STANDARD.encode([7; 32]));
    }),
    ("many log entries", "too-many", |b, _| {
        let entries = b["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap();
        *entries = vec![entries[0].clone(); 100];
    }),
    ("no signature under the checkpoint", "log-checkpoint-format", |b, _| {
        edit_checkpoint(b, |lines| lines.truncate(4));
    }),
    ("something else for a timestamp", "timestamp-malformed", |b, _| {
        let stamps = json!([{ "signedTimestamp": "AAAA" }]);
        b["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = stamps;
    }),
];

/// Modifications without effect.
const HARMLESS: &[(&str, Change)] = &[
    ("the entry of an unknown log beside the good one", |b, g| {
        let entry = g.unknown_log.pointer(ENTRY).unwrap().clone();
        b["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().insert(0, entry);
    }),
    ("the timestamp of an unknown authority beside the good one", |b, g| {
        let signature = b["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
        let stamp = g.authority.stamp(&STANDARD.decode(signature).unwrap()).unwrap();
        let stamp = json!({ "signedTimestamp": STANDARD.encode(stamp) });
        b.pointer_mut(STAMPS).unwrap().as_array_mut().unwrap().insert(0, stamp);
    }),
];

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const STAMPS: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";

const PROOF: &str = "/verificationMaterial/tlogEntries/0/inclusionProof";

/// Copies a part of one bundle into another.
fn take(bundle: &mut Value, from: &Value, part: &str) {
    let value = from.pointer(part).unwrap_or_else(|| panic!("no {part}")).clone();
    *bundle.pointer_mut(part).unwrap_or_else(|| panic!("no {part}")) = value;
}

fn edit_checkpoint(bundle: &mut Value, edit: impl FnOnce(&mut Vec<String>)) {
    let checkpoint = &mut bundle.pointer_mut(PROOF).unwrap()["checkpoint"]["envelope"];
    let mut lines: Vec<_> = checkpoint.as_str().unwrap().split('\n').map(str::to_owned).collect();
    edit(&mut lines);
    *checkpoint = json!(lines.join("\n"));
}

#[test]
fn changed_bundles_of_images() {
    let (sandbox, genuine) = (sandbox(), genuine());
    let registry = registries::referrers();
    let image = attach(registry, &format!("{REPOSITORY}-as-is"), &genuine.text, &genuine.one);
    for tool in TOOLS {
        tool.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]).ok();
    }
    for (number, (name, code, change)) in BUNDLES.iter().enumerate() {
        let mut bundle = genuine.one.clone();
        change(&mut bundle, genuine);
        assert_ne!(bundle, genuine.one, "{name}");
        let repository = format!("{REPOSITORY}-{number}");
        let image = attach(registry, &repository, &genuine.text, &bundle);
        let run = Tool::Sealgate.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]);
        assert_ne!(run.code, 0, "{name}:\n{}", run.report());
        assert!(run.stderr.contains(&format!("[{code}]")), "{name}: {code}\n{}", run.report());
        let run = Tool::Cosign.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]);
        let accepted = run.code == 0;
        assert_eq!(accepted, COSIGN_ACCEPTS.contains(name), "{name}\n{}", run.report());
    }
}

#[test]
fn irrelevant_changes_do_not_matter() {
    let (sandbox, genuine) = (sandbox(), genuine());
    for (number, (name, change)) in HARMLESS.iter().enumerate() {
        let mut bundle = genuine.one.clone();
        change(&mut bundle, genuine);
        let repository = format!("{REPOSITORY}-harmless-{number}");
        let image = attach(registries::referrers(), &repository, &genuine.text, &bundle);
        let run = Tool::Sealgate.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]);
        assert_eq!(run.code, 0, "{name}:\n{}", run.report());
    }
}

/// One valid signature is sufficient, whatever else is attached; the others are reported.
#[test]
fn a_bad_bundle_beside_a_good_one() {
    let (sandbox, genuine) = (sandbox(), genuine());
    let repository = format!("{REPOSITORY}-beside");
    let mut bad = genuine.one.clone();
    bad["verificationMaterial"]["tlogEntries"] = json!([]);
    let image = attach(registries::referrers(), &repository, &genuine.text, &bad);
    attach_to(&image, &genuine.other);
    let verify = || Tool::Sealgate.verify_as(&sandbox, ADA, "verify", &[&image.by_digest()]);
    verify().exits(12).says("[not-logged]").says("[other-subject]");
    attach_to(&image, &genuine.one);
    verify().ok();
}

type FileChange = fn(&mut Value, &Value);

/// The same for files: the bundle to modify, and that of another file.
const FILES: &[(&str, &str, FileChange)] = &[
    ("the bundle of another file", "message-digest", |b, other| *b = other.clone()),
    ("another digest", "message-digest", |b, other| {
        take(b, other, "/messageSignature/messageDigest");
    }),
    ("another signature", "timestamp-imprint", |b, other| {
        take(b, other, "/messageSignature/signature");
    }),
    ("signature and digest of another file", "message-digest", |b, other| {
        take(b, other, "/messageSignature");
    }),
    ("the proofs of another file", "timestamp-imprint", |b, other| {
        take(b, other, "/verificationMaterial");
    }),
    ("no content", "no-content", |b, _| {
        b.as_object_mut().unwrap().remove("messageSignature");
    }),
    ("a digest that is none", "bad-field", |b, _| {
        b["messageSignature"]["messageDigest"]["digest"] = json!("AAAA");
    }),
];

#[test]
fn changed_bundles_of_files() {
    let sandbox = sandbox();
    let other = signed_file(&sandbox, ADA, "other.txt", "another artifact\n");
    let genuine = signed_file(&sandbox, ADA, "app.txt", "an artifact\n");
    let check = ["--bundle=app.txt.json", "app.txt"];
    for (name, code, change) in FILES {
        let mut bundle = genuine.clone();
        change(&mut bundle, &other);
        assert_ne!(bundle, genuine, "{name}");
        sandbox.write("app.txt.json", bundle.to_string());
        let run = Tool::Sealgate.verify_as(&sandbox, ADA, "verify-blob", &check);
        assert_eq!(run.code, 1, "{name}:\n{}", run.report());
        assert!(run.stderr.contains(&format!("[{code}]")), "{name}: {code}\n{}", run.report());
        let run = Tool::Cosign.verify_as(&sandbox, ADA, "verify-blob", &check);
        assert_ne!(run.code, 0, "cosign accepts: {name}\n{}", run.report());
    }
}

type RootRow = (&'static str, &'static str, fn(&mut Value));

/// Description, reject code, and modification of the trusted root.
const ROOTS: &[RootRow] = &[
    ("an authority that has ended", "authority-time", |root| {
        end(&mut root["certificateAuthorities"][0]);
    }),
    ("no authority", "untrusted-certificate", |root| root["certificateAuthorities"] = json!([])),
    ("a timestamp authority that has ended", "timestamp-window", |root| {
        end(&mut root["timestampAuthorities"][0]);
    }),
    ("no timestamp authority", "no-trusted-time", |root| root["timestampAuthorities"] = json!([])),
    ("a log that has ended", "log-window", |root| end_log(&mut root["tlogs"][0])),
    ("no log", "not-logged", |root| root["tlogs"] = json!([])),
    ("another log's key for the log", "log-checkpoint-signature", |root| {
        let other = root["ctlogs"][0]["publicKey"].clone();
        root["tlogs"][0]["publicKey"] = other;
    }),
    ("a certificate log that has ended", "no-sct", |root| end_log(&mut root["ctlogs"][0])),
    ("no certificate log", "no-sct", |root| root["ctlogs"] = json!([])),
    ("another key for the certificate log", "wrong-sct", |root| {
        // A key of the right type under the log's ID.
        let other = KeyPair::generate().unwrap().subject_public_key_info();
        root["ctlogs"][0]["publicKey"]["rawBytes"] = json!(STANDARD.encode(other));
    }),
];

/// Ends the validity of a log's key.
fn end_log(log: &mut Value) {
    end(&mut log["publicKey"]);
}

fn end(service: &mut Value) {
    service["validFor"]["end"] = json!("2025-01-01T00:00:00Z");
}

#[test]
fn trusted_roots_that_do_not_trust() {
    let sandbox = sandbox();
    signed_file(&sandbox, ADA, "app.txt", "an artifact\n");
    let check = ["--bundle=app.txt.json", "app.txt"];
    for tool in TOOLS {
        tool.verify_as(&sandbox, ADA, "verify-blob", &check).ok();
    }
    for (name, code, change) in ROOTS {
        let mut root = sigstore::shared().trusted_root_json();
        change(&mut root);
        sandbox.write("root.json", root.to_string());
        let run = Tool::Sealgate.verify_as(&sandbox, ADA, "verify-blob", &check);
        assert_eq!(run.code, 1, "{name}:\n{}", run.report());
        assert!(run.stderr.contains(&format!("[{code}]")), "{name}: {code}\n{}", run.report());
        let run = Tool::Cosign.verify_as(&sandbox, ADA, "verify-blob", &check);
        let accepted = run.code == 0;
        assert_eq!(accepted, COSIGN_ACCEPTS.contains(name), "{name}\n{}", run.report());
    }
}
