//! What must not verify, each with its own code: genuine signatures of real cosign, changed in one
//! thing, and trust roots that do not trust. Real cosign must refuse them too.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;
use sealgate_tests::sigstore::{self, Rekor, TimestampAuthority};
use serde_json::{Value, json};

use super::support::{ADA, attach, bundle_of, sandbox, second_log, signed_file};
use crate::support::{TOOLS, Tool};

/// Genuine bundles by the same signer: of the image that is to be verified, of another one, and of
/// the same with a log and with a timestamp authority that nobody trusts.
struct Genuine {
    one: Value,
    other: Value,
    unknown_log: Value,
    unknown_authority: Value,
    text: String,
}

const REPOSITORY: &str = "tests/keyless-refused";

/// What is in the image.
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
            // The other one first: then the proof of the one is never empty.
            other: sign("other", "another image", usual.clone()),
            one: sign("one", TEXT, usual),
            unknown_log: sign("unknown-log", TEXT, with("rekorTlogUrls", &rekor.url)),
            unknown_authority: sign("unknown-tsa", TEXT, with("tsaUrls", &authority.url)),
            text: TEXT.to_owned(),
        }
    })
}

/// A trusted root with one more log and one more timestamp authority: cosign signs with no others.
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

/// The bundle of an image that Ada signs with cosign.
fn signed_image(sandbox: &Sandbox, name: &str, text: &str) -> Value {
    let host = &registries::referrers().host;
    let repository = format!("{REPOSITORY}-{name}");
    let image = sealgate_tests::image::push(host, &repository, "v1", text).expect("an image");
    Tool::Cosign.sign_as(sandbox, ADA, "sign", &[&image.by_digest()]).ok();
    bundle_of(&image)
}

type Change = fn(&mut Value, &Genuine);

/// What is changed, the code, and the change.
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
];

const PROOF: &str = "/verificationMaterial/tlogEntries/0/inclusionProof";

/// Puts a part of one bundle into another.
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
        assert_ne!(run.code, 0, "cosign accepts: {name}\n{}", run.report());
    }
}

type RootRow = (&'static str, &'static str, fn(&mut Value));

/// What is changed in the trusted root, the code, and the change.
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
        // A key of the right kind, under the log's id.
        let other = KeyPair::generate().unwrap().subject_public_key_info();
        root["ctlogs"][0]["publicKey"]["rawBytes"] = json!(STANDARD.encode(other));
    }),
];

/// An entry of Rekor v2 has no time of its own, and cosign 3.1.3 does not look at the log's window
/// then; we compare the window with the timestamp.
const COSIGN_ACCEPTS: &[&str] = &["a log that has ended"];

/// Of a log it is the key that ends.
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
