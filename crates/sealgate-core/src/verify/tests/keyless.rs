//! Signatures by certificate, and keys with a trust root: what verifies, what is asked for, and
//! (in a table) what is refused with which code.

mod mutations;
mod seeds;
mod work;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::workbench::{Key, evidence, origin, requirement, subject};
use super::*;
use crate::bundle::{Content, VerificationMaterial};
use crate::certificate::tests::pki::{ISSUER, NOW, SUBJECT, YEAR, around, leaf_params, set_window};
use crate::dsse::{IN_TOTO, pae};
use crate::identity::{IdentityMatcher, Pattern, Wanted};
use crate::key::tests::Ed25519;
use crate::log::tests::workbench::{self as logged, Owned, TestLog, b64, pem};
use crate::simple_signing::SimpleSigning;
use crate::trust::{CertificateAuthority, EmbeddedRoot, SharedRoot, TrustRoot};
use world::*;

#[test]
fn a_bundle_with_each_generation_of_logs_verifies() {
    let world = World::new();
    let verified = world.judge(&evidence(world.bundle().to_json()), &wanted()).unwrap();
    assert_eq!(verified.checks(), [Check::Claims, Check::Certificate, Check::Log, Check::Sct]);
    assert_eq!(verified.logs()[0].integrated_time(), Some(NOW));
    let identity = verified.certificate().unwrap().identity();
    assert_eq!(identity.issuer.as_deref(), Some(ISSUER));
    assert_eq!(verified.key(), &verified.certificate().unwrap().key().fingerprint());
    assert!(!verified.has_log_material());

    let verified = world.judge(&evidence(world.bundle2().to_json()), &wanted()).unwrap();
    assert_eq!(
        verified.checks(),
        [Check::Claims, Check::Certificate, Check::Log, Check::Timestamp, Check::Sct]
    );
    assert_eq!(verified.timestamps()[0].seconds(), NOW);
}

#[test]
fn a_legacy_signature_verifies_with_and_without_its_chain() {
    let world = World::new();
    let layer = world.legacy();
    let verified = world.judge(&Evidence::Legacy(layer.clone()), &wanted()).unwrap();
    assert_eq!(verified.format(), EvidenceFormat::Legacy);
    assert!(verified.checks().contains(&Check::Log));
    assert!(verified.checks().contains(&Check::Timestamp));
    let mut bare = layer.clone();
    bare.annotations.insert(annotation::CHAIN.to_owned(), String::new());
    assert!(world.judge(&Evidence::Legacy(bare), &wanted()).is_ok());
    // The chain may fill the gap to a root that the trust root has.
    let root = CertificateAuthority::new("x", vec![world.pki.root.der.clone()], around(YEAR));
    let root = TrustRoot { certificate_authorities: vec![root.unwrap()], ..world.root() };
    assert_eq!(code(judge(&root, &Evidence::Legacy(layer), &wanted())), "verified");
}

#[test]
fn the_identity_must_be_a_wanted_one() {
    let world = World::new();
    let bundle = evidence(world.bundle().to_json());
    for (issuer, subject) in [(ISSUER, "x"), ("x", SUBJECT), ("", ""), (SUBJECT, ISSUER)] {
        let authority = identities(issuer, subject);
        assert_eq!(code(world.judge(&bundle, &authority)), "wrong-identity");
    }
    let none = Authority::Identities(IdentityAuthority::default());
    assert_eq!(code(world.judge(&bundle, &none)), "no-identity");
    let pattern = IdentityMatcher {
        subject: Some(Wanted::Matching(Pattern::new("^https://ci.example/acme/[^/]+$").unwrap())),
        ..IdentityMatcher::default()
    };
    let pattern = Authority::Identities(IdentityAuthority { identities: vec![pattern] });
    assert_eq!(code(world.judge(&bundle, &pattern)), "verified");
}

#[test]
fn a_certificate_needs_a_trust_root_and_a_key_a_keys_bundle() {
    let world = World::new();
    let bundle = evidence(world.bundle().to_json());
    let outcome = verify_image_with(
        &bundle,
        &wanted(),
        &requirement(),
        &TrustConfig::default().context(&wanted(), 0),
    );
    assert_eq!(code(outcome), "no-trust-root");
    let key = Authority::Keys(Key::generate().authority());
    assert_eq!(code(world.judge(&bundle, &key)), "certificate-in-bundle");
}

#[test]
fn what_is_ignored_is_not_asked_for_but_what_is_there_must_be_right() {
    let world = World::new();
    let (unlogged, _) = world.unlogged(&world.pki.leaf(), &statement());
    let ignored = Overrides { log: Override::Ignored, ..Overrides::default() };
    let with = |bundle: &Bundle, overrides| {
        code(judge_with_overrides(&world.root(), &evidence(bundle.to_json()), &wanted(), overrides))
    };
    // No time is known: the certificate must be valid now.
    assert_eq!(with(&unlogged, ignored), "verified");
    let expired = world.pki.changed_leaf(|params| set_window(params, NOW, NOW + 19));
    let (expired, _) = world.unlogged(&expired, &statement());
    assert_eq!(with(&expired, ignored), "certificate-time");
    // A timestamp says when, so that now does not matter.
    let mut stamped = expired.clone();
    let signature = envelope(&mut stamped).signatures[0].clone();
    stamped.log.timestamps = vec![world.stamp(&signature)];
    assert_eq!(with(&stamped, ignored), "verified");
    let mut wrong = world.bundle();
    entry(&mut wrong).signed_entry_timestamp = Some(vec![0; 70]);
    assert_eq!(with(&wrong, ignored), "log-promise");
    let stamps = Overrides { timestamp: Override::Required, ..Overrides::default() };
    assert_eq!(with(&world.bundle(), stamps), "no-timestamp");
    assert_eq!(with(&world.bundle2(), stamps), "verified");
    let bare = world.pki.issue(leaf_params(), |_, _| Vec::new());
    let bare = world.bundle_of(&bare, &statement());
    assert_eq!(
        with(&bare, Overrides { sct: Override::Ignored, ..Overrides::default() }),
        "verified"
    );
}

/// A key's bundle, with a log entry if `log` is there.
fn keys_bundle(key: &Key, log: Option<&TestLog>) -> Bundle {
    let mut bundle = Bundle::parse(&key.bundle_json()).unwrap();
    let envelope = envelope(&mut bundle).clone();
    let told = logged::Signed {
        signature: envelope.signatures[0].clone(),
        key: key.public.clone(),
        certificate: None,
        content: Owned::Envelope(envelope, None),
    };
    bundle.log.entries =
        log.iter().map(|log| log.entry(&told.hashed_rekord_001(Algorithm::Sha256))).collect();
    bundle
}

#[test]
fn a_key_needs_its_log_entry_where_a_configured_trust_root_names_a_log() {
    let (world, key) = (World::new(), Key::generate());
    let authority = Authority::Keys(key.authority());
    let with = |bundle: &Bundle, root: &TrustRoot, source, setting| {
        let root = &SharedRoot::from(root.clone());
        let overrides = Overrides { log: setting, ..Overrides::default() };
        let requirements = ProofRequirements::decide(overrides, &authority, Some(root), source);
        let trust = VerificationContext { root: Some(root), requirements, now: NOW };
        let evidence = evidence(bundle.to_json());
        code(verify_image_with(&evidence, &authority, &requirement(), &trust))
    };
    let (root, bare) = (world.root(), keys_bundle(&key, None));
    let (configured, embedded) = (RootSource::Configured, RootSource::Embedded);
    assert_eq!(with(&bare, &root, configured, Override::Unset), "not-logged");
    assert_eq!(with(&bare, &root, embedded, Override::Unset), "verified");
    assert_eq!(with(&bare, &root, embedded, Override::Required), "not-logged");
    assert_eq!(with(&bare, &root, configured, Override::Ignored), "verified");
    let unnamed = TrustRoot { transparency_logs: Vec::new(), ..root.clone() };
    assert_eq!(with(&bare, &unnamed, configured, Override::Unset), "verified");
    for log in [&world.rekor1, &world.rekor2] {
        let logged = keys_bundle(&key, Some(log));
        assert_eq!(with(&logged, &root, configured, Override::Unset), "verified");
        // Present and wrong is a reject, even where none was needed.
        let mut wrong = logged.clone();
        entry(&mut wrong).body =
            keys_bundle(&Key::generate(), Some(log)).log.entries[0].body.clone();
        for (source, setting) in [(embedded, Override::Unset), (configured, Override::Ignored)] {
            assert!(with(&wrong, &root, source, setting).starts_with("log-"));
        }
        // Of an unknown log it neither counts nor breaks the rest.
        assert_eq!(with(&wrong, &unnamed, configured, Override::Unset), "verified");
        let other = keys_bundle(&Key::generate(), Some(log));
        let mut moved = logged.clone();
        moved.log = other.log;
        assert_eq!(with(&moved, &root, embedded, Override::Unset), "log-other-signature");
    }
    // A log that the trust root names and that cannot be used is still asked for.
    let mut skipped = unnamed;
    let reason = crate::reject::Foreign::new("unsupported");
    let part = crate::trust::Part::TransparencyLog;
    skipped.skipped.push(crate::trust::Skipped { part, uri: reason.clone(), reason });
    assert_eq!(with(&bare, &skipped, configured, Override::Unset), "not-logged");
}

/// Legacy layer, envelope and blob, signed by an Ed25519 key in the given variant.
fn ed25519_signed(key: &Ed25519, prehash: bool) -> (LegacySignature, Bundle, Bundle) {
    let sign = |message: &[u8]| match prehash {
        true => key.sign_prehashed(message, None),
        false => key.sign(message),
    };
    let payload = SimpleSigning::new("reg.example/app", subject(), &BTreeMap::new()).to_json();
    let annotations = [(annotation::SIGNATURE.to_owned(), b64(sign(payload.as_bytes())))].into();
    let layer = LegacySignature { origin: origin(), payload: payload.into(), annotations };
    let signature = sign(&pae(IN_TOTO, &statement()));
    let bundle = Bundle::of_statement(statement(), signature, &key.public);
    let digest = Digest::with(Algorithm::Sha512, b"blob");
    (layer, bundle, Bundle::of_message(digest, sign(b"blob"), &key.public))
}

#[test]
fn ed25519_verifies_in_both_variants_and_says_which() {
    let key = Ed25519::new([7; 32]);
    let by_key = KeyAuthority { keys: vec![key.public.clone()], hash: None };
    for (prehash, name) in [(false, "ed25519"), (true, "ed25519-ph")] {
        let (layer, bundle, blob) = ed25519_signed(&key, prehash);
        for evidence in [Evidence::Legacy(layer), evidence(bundle.to_json())] {
            let verified = verify_image(&evidence, &by_key, &requirement()).unwrap();
            assert_eq!(verified.algorithm().to_string(), name);
        }
        let json = blob.to_json();
        let judge = |artifact: Artifact<'_>| {
            verify_blob(BlobSignature::Bundle(json.as_bytes()), &by_key, artifact)
                .map(|verified| verified.algorithm().to_string())
        };
        assert_eq!(judge(Artifact::Content(b"blob")).as_deref(), Ok(name));
        assert_eq!(judge(Artifact::Content(b"other")), Err(Reject::MessageDigest));
        // The digest is enough for the prehash.
        let by_digest = judge(Artifact::Digests(&[Digest::with(Algorithm::Sha512, b"blob")]));
        match prehash {
            true => assert_eq!(by_digest.as_deref(), Ok(name)),
            false => assert_eq!(by_digest, Err(Reject::NeedsContent)),
        }
    }
}

/// An entry of Rekor v2 names the algorithm; it must be the one that the signature verified by.
#[test]
fn a_log_entry_must_name_the_algorithm_of_the_signature() {
    let (world, key) = (World::new(), Ed25519::new([7; 32]));
    let authority = Authority::Keys(KeyAuthority { keys: vec![key.public.clone()], hash: None });
    for prehash in [false, true] {
        let mut bundle = ed25519_signed(&key, prehash).1;
        let envelope = envelope(&mut bundle).clone();
        let told = logged::Signed {
            signature: envelope.signatures[0].clone(),
            key: key.public.clone(),
            certificate: None,
            content: Owned::Envelope(envelope, None),
        };
        for (details, expected) in [
            ("PKIX_ED25519_PH", if prehash { "verified" } else { "log-other-algorithm" }),
            ("PKIX_ED25519", if prehash { "log-other-algorithm" } else { "verified" }),
            ("PKIX_ECDSA_P256_SHA_256", "log-other-algorithm"),
            ("", "log-other-algorithm"),
        ] {
            let body = told.hashed_rekord_002_by(details, Algorithm::Sha512);
            bundle.log.entries = vec![world.rekor2.entry(&body)];
            let found = code(world.judge(&evidence(bundle.to_json()), &authority));
            assert_eq!(found, expected, "{prehash} {details}");
        }
    }
    // The same for certificates, whose entries come before the signature.
    let (mut bundle, told) = world.unlogged(&world.pki.leaf(), &statement());
    bundle.log.timestamps = vec![world.stamp(&told.signature)];
    for (details, expected) in [
        ("PKIX_ECDSA_P256_SHA_256", "verified"),
        ("PKIX_ECDSA_P384_SHA_256", "log-other-algorithm"),
    ] {
        let body = told.hashed_rekord_002_by(details, Algorithm::Sha256);
        bundle.log.entries = vec![world.rekor2.entry(&body)];
        assert_eq!(world.code(&bundle), expected, "{details}");
    }
}

#[test]
fn a_chain_in_a_new_bundle_counts_where_it_is_allowed() {
    let world = World::new();
    let mut bundle = world.bundle();
    let VerificationMaterial::Certificate(leaf) = bundle.material.clone() else { panic!() };
    let top = CertificateAuthority::new("x", vec![world.pki.root.der.clone()], around(YEAR));
    let root = TrustRoot { certificate_authorities: vec![top.unwrap()], ..world.root() };
    let with = |bundle: &Bundle, chains| {
        let overrides = Overrides { chains, ..Overrides::default() };
        code(judge_with_overrides(&root, &evidence(bundle.to_json()), &wanted(), overrides))
    };
    let chain = |more: &[&Vec<u8>]| {
        let all = [&[&leaf], more].concat().into_iter().cloned().collect();
        VerificationMaterial::CertificateChain(all)
    };
    assert_eq!(with(&bundle, Chains::Allowed), "untrusted-certificate");
    bundle.material = chain(&[&world.pki.intermediate.der]);
    assert_eq!(with(&bundle, Chains::Allowed), "verified");
    assert_eq!(with(&bundle, Chains::ByVersion), "bad-certificate");
    bundle.material = chain(&[]);
    assert_eq!(with(&bundle, Chains::Allowed), "untrusted-certificate");
    bundle.material = chain(&[&world.pki.intermediate.der, &world.pki.root.der]);
    assert_eq!(with(&bundle, Chains::Allowed), "bad-certificate");
}

#[test]
fn without_log_entries_and_timestamps_an_embedded_trust_root_is_not_parsed() {
    static PARSED: AtomicBool = AtomicBool::new(false);
    static ROOT: EmbeddedRoot = EmbeddedRoot::new("", || {
        PARSED.store(true, Ordering::Relaxed);
        Arc::default()
    });
    let (world, key) = (World::new(), Key::generate());
    let authority = Authority::Keys(key.authority());
    let (root, source) = (Some(SharedRoot::Embedded(&ROOT)), RootSource::Embedded);
    let trust_config = TrustConfig { root, source, overrides: Overrides::default() };
    let judge = |bundle: &Bundle| {
        let (evidence, context) = (evidence(bundle.to_json()), trust_config.context(&authority, 0));
        code(verify_image_with(&evidence, &authority, &requirement(), &context))
    };
    assert_eq!(judge(&keys_bundle(&key, None)), "verified");
    assert_ne!(judge(&keys_bundle(&Key::generate(), None)), "verified");
    assert!(!PARSED.load(Ordering::Relaxed));
    assert_eq!(judge(&keys_bundle(&key, Some(&world.rekor1))), "verified");
    assert!(PARSED.load(Ordering::Relaxed));
}

#[test]
fn what_was_decided_is_told() {
    let root = SharedRoot::from(World::new().root());
    let decide = |overrides, authority: &Authority| {
        ProofRequirements::decide(overrides, authority, Some(&root), RootSource::Configured)
            .to_string()
    };
    let key = Authority::Keys(Key::generate().authority());
    assert_eq!(
        decide(Overrides::default(), &key),
        "transparency log entry: required, because the trust root names a log; \
         signed timestamp: not required; SCT: not required"
    );
    let ignored =
        Overrides { log: Override::Ignored, timestamp: Override::Required, ..Overrides::default() };
    assert_eq!(
        decide(ignored, &wanted()),
        "transparency log entry: not required, as requested; signed timestamp: required; \
         SCT: required for certificates"
    );
    let none = TrustConfig::default().context(&key, 0).requirements;
    assert!(none.log() == ProofRequirement::NotRequired && !none.log().is_required());
}

#[test]
fn blobs_verify_by_certificate_in_every_form() {
    let world = World::new();
    let content = b"content";
    let root = SharedRoot::from(world.root());
    let judge = |json: &str, artifact: Artifact<'_>, authority: &Authority| {
        let overrides = Overrides::default();
        let requirements =
            ProofRequirements::decide(overrides, authority, Some(&root), RootSource::Configured);
        let trust = VerificationContext { root: Some(&root), requirements, now: NOW };
        verify_blob_with(BlobSignature::Bundle(json.as_bytes()), authority, artifact, &trust)
            .map_err(|reject| reject.code())
    };
    let bundle = world.blob(content);
    let json = bundle.to_json();
    let digests = [Digest::of(content)];
    for artifact in [Artifact::Content(content), Artifact::Digests(&digests)] {
        let verified = judge(&json, artifact, &wanted()).unwrap();
        assert_eq!(verified.checks(), [Check::Certificate, Check::Log, Check::Sct]);
    }
    assert_eq!(judge(&json, Artifact::Content(b"other"), &wanted()).unwrap_err(), "message-digest");
    let other_identity = identities(ISSUER, "somebody else");
    assert_eq!(
        judge(&json, Artifact::Content(content), &other_identity).unwrap_err(),
        "wrong-identity"
    );

    let VerificationMaterial::Certificate(leaf) = &bundle.material else { panic!() };
    let Content::Message(message) = &bundle.content else { panic!() };
    let older = json!({
        "base64Signature": b64(&message.signature),
        "cert": b64(pem("CERTIFICATE", leaf)),
        "rekorBundle": serde_json::from_str::<Value>(&annotated(&bundle.log.entries[0])).unwrap(),
    });
    assert!(judge(&older.to_string(), Artifact::Content(content), &wanted()).is_ok());
    let other = judge(&older.to_string(), Artifact::Content(b"other"), &wanted());
    assert_eq!(other.unwrap_err(), "log-other-digest");
    assert_eq!(
        judge(
            &bundle.to_json().replace("\"tlogEntries\"", "\"x\""),
            Artifact::Content(content),
            &wanted()
        )
        .unwrap_err(),
        "not-logged"
    );
    assert_eq!(wanted().blob_digests().map(|digests| digests.len()), Some(3));
}

/// cosign GHSA-fx35-mq7g-6g98: a public key in the place of the certificate was taken for the key to
/// verify with, before the key that was given, and instead of a certificate of the wanted identity.
#[test]
fn a_key_that_comes_with_a_signature_never_takes_the_place_of_the_given_one() {
    let (world, ours, other) = (World::new(), Key::generate(), Key::generate());
    let (root, content) = (SharedRoot::from(world.root()), b"content");
    // All of it is genuine, but by the other key: signature, key, and the entry in a known log.
    let signature = other.sign(content);
    let public = other.public.to_pem();
    let told = logged::Signed {
        signature: signature.clone(),
        key: other.public.clone(),
        certificate: None,
        content: Owned::Message(all_digests(content).to_vec()),
    };
    let entry = annotated(&world.rekor1.entry(&told.hashed_rekord_001(Algorithm::Sha256)));
    let log = LogMaterial::of_annotations(&entry, "").unwrap();
    let older = json!({
        "base64Signature": b64(&signature),
        "cert": b64(&public),
        "rekorBundle": serde_json::from_str::<Value>(&entry).unwrap(),
    });
    let older = older.to_string();
    let parts =
        Parts { signature: &signature, certificate: &public, chain: "", log: &log, sct: None };
    let blob = |evidence, authority: &Authority| {
        let overrides = Overrides::default();
        let requirements =
            ProofRequirements::decide(overrides, authority, Some(&root), RootSource::Configured);
        let trust = VerificationContext { root: Some(&root), requirements, now: NOW };
        verify_blob_with(evidence, authority, Artifact::Content(content), &trust)
            .map_or_else(|reject| reject.code(), |_| "verified")
    };
    let by_key = |key: &Key| Authority::Keys(key.authority());
    for evidence in [BlobSignature::Bundle(older.as_bytes()), BlobSignature::Parts(parts)] {
        assert_eq!(blob(evidence, &by_key(&ours)), "wrong-signature");
        assert_eq!(blob(evidence, &wanted()), "bad-certificate");
        assert_eq!(blob(evidence, &by_key(&other)), "verified");
    }

    // The same beside an image: a legacy layer with the other key as its certificate.
    let layer = other.changed_legacy(|layer| {
        layer.annotations.insert(annotation::CERTIFICATE.to_owned(), public.clone());
    });
    let ignored = Overrides { log: Override::Ignored, ..Overrides::default() };
    let image =
        |authority: &Authority| code(judge_with_overrides(&root, &layer, authority, ignored));
    assert_eq!(image(&by_key(&ours)), "wrong-signature");
    assert_eq!(image(&wanted()), "bad-certificate");
    assert_eq!(image(&by_key(&other)), "verified");
}

#[test]
fn blobs_verify_by_the_parts_of_a_signature() {
    let world = World::new();
    let root = SharedRoot::from(world.root());
    let content = b"content";
    let leaf = world.pki.issue(leaf_params(), |_, _| Vec::new());
    let signature = leaf.key.sign(content);
    let digests = Owned::Message(all_digests(content).to_vec());
    let told = World::told(&leaf, &signature, digests);
    let entry = world.rekor1.entry(&told.hashed_rekord_001(Algorithm::Sha256));
    let stamp = json!({ "SignedRFC3161Timestamp": b64(world.stamp(&signature)) }).to_string();
    let log = LogMaterial::of_annotations(&annotated(&entry), &stamp).unwrap();
    let sct = world.pki.detached_sct(&world.pki.ct, &leaf.der, NOW);
    let (certificate, none) = (pem("CERTIFICATE", &leaf.der), LogMaterial::default());
    let parts = Parts {
        signature: &signature,
        certificate: &certificate,
        chain: "",
        log: &log,
        sct: Some(sct.as_bytes()),
    };
    let judge = |parts: Parts<'_>, artifact: &[u8]| {
        let requirements = ProofRequirements::decide(
            Overrides::default(),
            &wanted(),
            Some(&root),
            RootSource::Configured,
        );
        let trust = VerificationContext { root: Some(&root), requirements, now: NOW };
        let evidence = BlobSignature::Parts(parts);
        verify_blob_with(evidence, &wanted(), Artifact::Content(artifact), &trust)
            .map_err(|reject| reject.code())
    };
    let verified = judge(parts, content).unwrap();
    let made = [Check::Certificate, Check::Log, Check::Timestamp, Check::Sct];
    assert_eq!(verified.checks(), made);
    assert_eq!(verified.certificate().unwrap().der(), leaf.der);
    assert_eq!(verified.logs()[0].body(), entry.body);
    assert_eq!(
        verified.logs()[0].signed_entry_timestamp(),
        entry.signed_entry_timestamp.as_deref()
    );
    assert_eq!(verified.timestamps()[0].response(), log.timestamps[0]);

    let code = |parts, artifact| judge(parts, artifact).unwrap_err();
    assert_eq!(code(parts, b"other"), "log-other-digest");
    assert_eq!(code(Parts { sct: None, ..parts }, content), "no-sct");
    let others = world.pki.detached_sct(&world.pki.ct, &world.pki.leaf().der, NOW);
    assert_eq!(code(Parts { sct: Some(others.as_bytes()), ..parts }, content), "wrong-sct");
    assert_eq!(code(Parts { certificate: "", ..parts }, content), "no-certificate");
    assert_eq!(code(Parts { log: &none, ..parts }, content), "not-logged");
    let swapped = pem("CERTIFICATE", &world.pki.leaf().der);
    let swapped = Parts { certificate: &swapped, sct: None, ..parts };
    assert_eq!(judge(swapped, content).unwrap_err(), "log-other-signer");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever byte of the bundle's text changes: never a panic, and if it still verifies,
    /// then exactly the same was signed by the same.
    #[test]
    fn a_changed_bundle_verifies_only_the_same_statement(at: prop::sample::Index, byte: u8) {
        let world = World::new();
        for bundle in [world.bundle(), world.bundle2()] {
            let mut json = bundle.to_json().into_bytes();
            let at = at.index(json.len());
            json[at] = byte;
            if let Ok(verified) = world.judge(&evidence(json), &wanted()) {
                prop_assert_eq!(verified.payload(), statement());
            }
        }
    }
}

#[test]
fn an_attestation_by_a_certificate_needs_every_proof() {
    let world = World::new();
    let mut statement: Value = serde_json::from_slice(&statement()).unwrap();
    statement["predicateType"] = "https://slsa.dev/provenance/v1".into();
    let good = world.bundle_of(&world.pki.leaf(), statement.to_string().as_bytes());
    let required = AttestationRequirement {
        digest: subject(),
        predicate_type: "https://slsa.dev/provenance/v1".to_owned(),
    };
    let root = world.root();
    let with = |bundle: &Bundle, authority: &Authority| {
        let subject = SubjectRequirement::Attestation(&required);
        let requirement = Requirement { authority, subject };
        let trust_config = TrustConfig {
            root: Some(root.clone().into()),
            source: RootSource::Configured,
            overrides: Overrides::default(),
        };
        let evidence = evidence(bundle.to_json());
        code(verify(&evidence, &requirement, &trust_config.context(authority, NOW)))
    };
    assert_eq!(with(&good, &wanted()), "verified");
    assert_eq!(with(&good, &identities(ISSUER, "x")), "wrong-identity");
    assert_eq!(with(&world.bundle(), &wanted()), "other-predicate-type");
    let mut unlogged = good.clone();
    unlogged.log.entries.clear();
    assert_eq!(with(&unlogged, &wanted()), "not-logged");
    let mut changed = good;
    envelope(&mut changed).payload.push(b' ');
    assert_eq!(with(&changed, &wanted()), "log-other-digest");
}
