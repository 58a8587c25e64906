//! Verification by certificate identity, flag by flag in comparison with real cosign: same exit
//! code, same standard output, and where cosign's messages are short, the same message. The
//! signatures are made by the testkit's Sigstore instance, so that parts can be missing, swapped or
//! given in files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_testkit::keyless::{
    CertificateIdentity, Certified, ISSUER, Legacy, Proof, RootUsage, SUBJECT, TestSigstore,
    legacy_entry, legacy_timestamp, pem,
};
use sealgate_tests::image::{self, Image, MANIFEST};
use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;
use serde_json::{Value, json};

use crate::keyless::support::attach_to;
use crate::support::Tool;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Expected identity.
const WHO: &str = "--certificate-identity=https://ci.example/acme/app \
                   --certificate-oidc-issuer=https://issuer.example";
const ISSUER_ONLY: &str = "--certificate-oidc-issuer=https://issuer.example";
const ROOT: &str = "--trusted-root=root.json";
/// Detached signature with all its material, except an authority.
const PARTS: &str = "--signature=s --certificate=c.pem --rfc3161-timestamp=t.json \
                     --timestamp-certificate-chain=tsa.pem --insecure-ignore-tlog";

const BELOW: &str = "--ca-intermediates=below.pem";
/// The same without the chain of the timestamp authority.
const STAMPED: &str = "--signature=s --certificate=c.pem --rfc3161-timestamp=t.json \
                       --ca-roots=ca.pem --insecure-ignore-tlog";

/// Expected relation of the two results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Verified,
    /// Both refuse, with different messages.
    Refused,
    /// Both refuse, with the same message.
    SameWords,
    /// Only sealgate verifies.
    OnlyWe,
    /// Only cosign verifies.
    OnlyCosign,
}
use Answer::{OnlyCosign, OnlyWe, Refused, SameWords, Verified};

#[test]
fn every_flag_of_verify_blob_means_what_it_means_to_cosign() {
    let sandbox = blobs();
    let cases: &[(&[&str], Answer)] = &[
        (&[WHO, ROOT, "--bundle=rekor1.json blob"], Verified),
        (&[WHO, ROOT, "--bundle=rekor2.json blob"], Verified),
        (&[WHO, ROOT, "--bundle=rekor2.json --use-signed-timestamps blob"], Verified),
        (&[WHO, ROOT, "--bundle=rekor1.json --use-signed-timestamps blob"], Refused),
        (&[WHO, ROOT, "--bundle=rekor1.json other"], Refused),
        (&[WHO, ROOT, "--bundle=stamped.json blob"], Refused),
        (&[WHO, ROOT, "--bundle=bare.json --insecure-ignore-tlog blob"], Refused),
        // A verified timestamp counts, whether or not it was required.
        (&[WHO, ROOT, "--bundle=stamped.json --insecure-ignore-tlog blob"], OnlyWe),
        (
            &[
                WHO,
                ROOT,
                "--bundle=stamped.json --insecure-ignore-tlog --use-signed-timestamps blob",
            ],
            Verified,
        ),
        (&[WHO, ROOT, "--certificate-github-workflow-name=CI --bundle=rekor1.json blob"], Refused),
        (
            &["--certificate-identity-regexp=acme", ISSUER_ONLY, ROOT, "--bundle=rekor1.json blob"],
            Verified,
        ),
        (
            &[
                "--certificate-identity-regexp=^acme",
                ISSUER_ONLY,
                ROOT,
                "--bundle=rekor1.json blob",
            ],
            Refused,
        ),
        (
            &["--certificate-identity-regexp=(", ISSUER_ONLY, ROOT, "--bundle=rekor1.json blob"],
            Refused,
        ),
        (
            &[WHO, "--certificate-identity-regexp=acme", ROOT, "--bundle=rekor1.json blob"],
            SameWords,
        ),
        (
            &[WHO, "--certificate-oidc-issuer-regexp=nobody", ROOT, "--bundle=rekor1.json blob"],
            Refused,
        ),
        (&[WHO, "--key=cosign.pub", ROOT, "--bundle=rekor1.json blob"], SameWords),
        (&[ROOT, "--bundle=rekor1.json blob"], SameWords),
        (&[ISSUER_ONLY, ROOT, "--bundle=rekor1.json blob"], SameWords),
        (&["--certificate-identity=a", ROOT, "--bundle=rekor1.json blob"], SameWords),
        (&[WHO, ROOT, "blob"], SameWords),
        (&[WHO, ROOT, "--bundle=rekor1.json --certificate=c.pem blob"], SameWords),
        (&[WHO, ROOT, "--bundle=rekor1.json --signature=s blob"], SameWords),
        (&[WHO, ROOT, "--bundle=rekor1.json --sct=t.json blob"], SameWords),
        (&[WHO, ROOT, "--bundle=chain.json --allow-certificate-chain blob"], Verified),
        (&[WHO, ROOT, "--bundle=chain.json blob"], Refused),
        (&[WHO, ROOT, "--bundle=root-in-chain.json --allow-certificate-chain blob"], Refused),
        (&[WHO, "--certificate=c.pem blob"], SameWords),
        (&[WHO, "--bundle=older.json blob"], Verified),
        (&[WHO, "--bundle=older.json other"], Refused),
        (&[WHO, "--bundle=older.json --certificate=c.pem blob"], Verified),
        (&[WHO, "--bundle=older.json --certificate=other-signer.pem blob"], SameWords),
        (&[WHO, "--bundle=nameless.json blob"], SameWords),
        (&[WHO, "--bundle=nameless.json --certificate=c.pem blob"], Verified),
        (&[WHO, "--bundle=unlogged.json --insecure-ignore-tlog blob"], Refused),
        (&[WHO, PARTS, "--certificate-chain=ca.pem blob"], Verified),
        (&[WHO, PARTS, "--ca-roots=ca.pem blob"], Verified),
        (&[WHO, PARTS, "--ca-roots=top.pem --ca-intermediates=below.pem blob"], Verified),
        (&[WHO, PARTS, "--ca-roots=top.pem blob"], Refused),
        (&[WHO, PARTS, "--certificate-chain=ca.pem --ca-roots=top.pem blob"], SameWords),
        // A root is an issuer too: its extended key usage limits its chain.
        (&[WHO, PARTS, BELOW, "--ca-roots=top-CodeSigning.pem blob"], Verified),
        (&[WHO, PARTS, BELOW, "--ca-roots=top-Any.pem blob"], Verified),
        (&[WHO, PARTS, BELOW, "--ca-roots=top-Servers.pem blob"], Refused),
        (&[WHO, PARTS, BELOW, "--ca-roots=top-TimeStamping.pem blob"], Refused),
        (&[WHO, PARTS, "--certificate-chain=ca-Servers.pem blob"], Refused),
        (&[WHO, STAMPED, "--timestamp-certificate-chain=tsa-TimeStamping.pem blob"], Verified),
        (&[WHO, STAMPED, "--timestamp-certificate-chain=tsa-Any.pem blob"], Verified),
        // cosign looks at the usages below the root of a timestamp authority only.
        (&[WHO, STAMPED, "--timestamp-certificate-chain=tsa-Servers.pem blob"], OnlyCosign),
        (&[WHO, STAMPED, "--timestamp-certificate-chain=tsa-CodeSigning.pem blob"], OnlyCosign),
        // Intermediates without a root would be ignored silently.
        (&[WHO, PARTS, "--ca-intermediates=below.pem blob"], OnlyCosign),
        (
            &[
                WHO,
                "--signature=s --certificate=c.pem --insecure-ignore-tlog --rfc3161-timestamp=t.json blob",
            ],
            SameWords,
        ),
        (
            &[
                WHO,
                "--signature=s --certificate=c.pem --insecure-ignore-tlog --use-signed-timestamps blob",
            ],
            SameWords,
        ),
    ];
    for (words, answer) in cases {
        let line = format!("verify-blob {}", words.join(" "));
        let arguments: Vec<&str> = line.split_ascii_whitespace().collect();
        compare(&sandbox, &arguments, *answer);
    }
}

fn compare(sandbox: &Sandbox, arguments: &[&str], answer: Answer) {
    let theirs = Tool::Cosign.run(sandbox, arguments);
    let ours = Tool::Sealgate.run(sandbox, arguments);
    let (them, us) = match answer {
        Verified => (0, 0),
        Refused | SameWords => (1, 1),
        OnlyWe => (1, 0),
        OnlyCosign => (0, 1),
    };
    let report = || format!("{}\n{}", theirs.report(), ours.report());
    assert_eq!((theirs.code, ours.code), (them, us), "{}", report());
    let line =
        |text: &str| text.lines().find(|line| line.starts_with("Error: ")).map(str::to_owned);
    if answer == SameWords {
        assert_eq!(line(&theirs.stderr), line(&ours.stderr), "{}", report());
    }
    assert_eq!(theirs.stdout, ours.stdout, "{}", report());
}

/// Blob, its signatures in every form, and the files named by flags. Environment variables provide
/// the keys that cosign would otherwise fetch.
fn blobs() -> Sandbox {
    let sandbox = Sandbox::new()
        .with("SIGSTORE_ROOT_FILE", "ca.pem")
        .with("SIGSTORE_REKOR_PUBLIC_KEY", "rekor.pem")
        .with("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "ctlog.pem")
        .with("SIGSTORE_TSA_CERTIFICATE_FILE", "tsa.pem");
    let world = TestSigstore::default();
    let by = world.certified(&CertificateIdentity::default());
    write_root(&sandbox, &world);
    sandbox.write("blob", "content");
    sandbox.write("other", "Content");
    for (name, proof) in [
        ("rekor1.json", Proof::RekorV1),
        ("rekor2.json", Proof::RekorV2),
        ("stamped.json", Proof::Timestamp),
        ("bare.json", Proof::None),
    ] {
        sandbox.write(name, world.blob_bundle(&by, b"content", proof).to_json());
    }
    write_restricted(&sandbox, &world);
    write_chains(&sandbox, &world, &by);
    write_parts(&sandbox, &world, &by);
    sandbox
}

fn write_root(sandbox: &Sandbox, world: &TestSigstore) {
    let root = world.trust_root();
    sandbox.write("root.json", root.to_json());
    let chain =
        |chain: &[Vec<u8>]| -> String { chain.iter().map(|der| pem("CERTIFICATE", der)).collect() };
    let ca = root.certificate_authorities[0].chain();
    sandbox.write("ca.pem", chain(ca));
    sandbox.write("below.pem", chain(&ca[..1]));
    sandbox.write("top.pem", chain(&ca[1..]));
    sandbox.write("tsa.pem", chain(root.timestamp_authorities[0].chain()));
    sandbox.write("rekor.pem", pem("PUBLIC KEY", root.transparency_logs[0].key.key.spki_der()));
    sandbox.write("ctlog.pem", pem("PUBLIC KEY", root.ct_logs[0].key.key.spki_der()));
}

/// Chains below roots with an extended key usage.
fn write_restricted(sandbox: &Sandbox, world: &TestSigstore) {
    use RootUsage::{Any, CodeSigning, Servers, TimeStamping};
    for usage in [Servers, CodeSigning, TimeStamping, Any] {
        let [ca, tsa] = world.restricted_chains_pem(usage);
        let (_, top) = ca.split_at(ca.rfind("-----BEGIN").unwrap());
        sandbox.write(&format!("top-{usage:?}.pem"), top);
        sandbox.write(&format!("ca-{usage:?}.pem"), ca);
        sandbox.write(&format!("tsa-{usage:?}.pem"), tsa);
    }
}

/// Version 0.3 bundles with a certificate chain, which that version does not allow.
fn write_chains(sandbox: &Sandbox, world: &TestSigstore, by: &Certified) {
    let root = world.trust_root();
    let above = root.certificate_authorities[0].chain();
    let bundle = world.blob_bundle(by, b"content", Proof::RekorV1).to_json();
    for (name, above) in [("chain.json", &above[..1]), ("root-in-chain.json", above)] {
        let mut bundle: Value = serde_json::from_str(&bundle).unwrap();
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        let leaf = material.remove("certificate").unwrap();
        let above = above.iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) }));
        let chain: Vec<Value> = [leaf].into_iter().chain(above).collect();
        material.insert("x509CertificateChain".to_owned(), json!({ "certificates": chain }));
        sandbox.write(name, bundle.to_string());
    }
}

fn write_parts(sandbox: &Sandbox, world: &TestSigstore, by: &Certified) {
    let signature = by.sign(b"content");
    let log = world.prove(by, &signature, b"content", Proof::RekorV1AndTimestamp);
    let text = STANDARD.encode(&signature);
    let cert = STANDARD.encode(by.pem());
    let entry: Value = serde_json::from_str(&legacy_entry(&log.entries[0])).unwrap();
    sandbox.write("s", &text);
    sandbox.write("c.pem", by.pem());
    sandbox.write("other-signer.pem", world.certified(&CertificateIdentity::default()).pem());
    sandbox.write("t.json", legacy_timestamp(&log.timestamps[0]));
    let older = json!({ "base64Signature": text, "cert": cert, "rekorBundle": entry });
    sandbox.write("older.json", older.to_string());
    let nameless = json!({ "base64Signature": text, "rekorBundle": entry });
    sandbox.write("nameless.json", nameless.to_string());
    let unlogged = json!({ "base64Signature": text, "cert": cert });
    sandbox.write("unlogged.json", unlogged.to_string());
}

#[test]
fn verify_prints_what_cosign_prints() {
    let sandbox = Sandbox::new();
    let world = TestSigstore::default();
    write_root(&sandbox, &world);
    let mut named = CertificateIdentity::default();
    for claim in sealgate_testkit::keyless::WORKFLOW_CLAIMS {
        named.claims.insert(claim, claim.name().to_owned());
    }
    let by = world.certified(&named);
    let registry = registries::referrers();
    for (name, proof) in [("bundle1", Proof::RekorV1), ("bundle2", Proof::RekorV2)] {
        let image = registry.image(&format!("identities-{name}"));
        let subject = image.digest.parse().unwrap();
        let bundle = world.image_bundle(&by, &subject, proof).to_json();
        attach_to(&image, &serde_json::from_str(&bundle).unwrap());
        compare_image(&sandbox, &image, 1);
    }
    for (name, proof) in [("legacy1", Proof::RekorV1), ("legacy2", Proof::RekorV1AndTimestamp)] {
        let image = registry.image(&format!("identities-{name}"));
        let subject = image.digest.parse().unwrap();
        let name = format!("{}/{}", image.host, image.repository);
        attach_legacy(&image, &world.legacy(&by, &name, &subject, proof));
        compare_image(&sandbox, &image, 12);
    }
}

fn compare_image(sandbox: &Sandbox, image: &Image, cosigns_refusal: i32) {
    let reference = image.by_tag();
    let verify = |tool: Tool, identity: &str, output: &str| {
        let who = ["verify", ROOT, "--certificate-identity", identity, ISSUER_ONLY];
        tool.run(sandbox, &[&who[..], &["-o", output, &reference]].concat())
    };
    let json = |tool| verify(tool, SUBJECT, "json").ok().json();
    assert_eq!(json(Tool::Cosign), json(Tool::Sealgate));
    let text = |tool| verify(tool, SUBJECT, "text").ok().stdout;
    assert_eq!(text(Tool::Cosign), text(Tool::Sealgate));
    // Every check reported by cosign is reported by sealgate as well.
    let ours = verify(Tool::Sealgate, SUBJECT, "json").ok();
    let checks = verify(Tool::Cosign, SUBJECT, "text").ok().stderr;
    for line in checks.lines().filter(|line| line.starts_with("  - ")) {
        assert!(ours.stderr.contains(line), "{line}: {}", ours.report());
    }
    verify(Tool::Cosign, "somebody else", "json").exits(cosigns_refusal);
    let refused = verify(Tool::Sealgate, "somebody else", "json").exits(12);
    let sentence = format!(
        "none of the expected identities matched what was in the certificate, got subjects \
         [{SUBJECT}] with issuer {ISSUER}"
    );
    refused.says(&format!("Error: no matching signatures: {sentence}"));
}

/// Attaches the only legacy signature of an image.
fn attach_legacy(image: &Image, legacy: &Legacy) {
    let (host, repository) = (&image.host, &image.repository);
    image::push_blob(host, repository, &legacy.payload).expect("pushing a payload");
    image::push_blob(host, repository, b"{}").expect("pushing a configuration");
    let mut layer = image::descriptor(PAYLOAD, &legacy.payload);
    layer["annotations"] = json!(legacy.annotations);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": image::descriptor(CONFIG, b"{}"),
        "layers": [layer],
    });
    let manifest = manifest.to_string().into_bytes();
    let tag = format!("{}.sig", image.digest_tag());
    image::put_manifest(host, repository, &tag, MANIFEST, &manifest).expect("attaching");
}
