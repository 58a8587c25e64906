//! Bounds on the work that hostile evidence costs: the number of signature verifications, and the
//! keys that they are made with. Whoever can push to a registry chooses all of a bundle.

use super::super::workbench::evidence;
use super::super::*;
use super::world::*;
use crate::bundle::{Content, MAX_LOG_ENTRIES, MAX_TIMESTAMPS, VerificationMaterial, Version};
use crate::certificate::tests::pki::{Ca, Leaf, NOW, Signer, YEAR, around, ca_params};
use crate::certificate::{Presented, SctRequirement, certify};
use crate::key::work::{self, Work};
use crate::log::tests::workbench::b64;
use crate::timestamp::tests::workbench::{
    SHA256, Stamp, Tsa, essv2, hash_bytes, identifier, issuer_and_serial, leaf_params, tlv,
};
use crate::trust::{CertificateAuthority, TrustRoot};
use rcgen::{
    BasicConstraints, PKCS_RSA_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm as Signing,
};

/// The encoding of a P-384 key, in bytes: the largest key of the trust roots here.
const P384: usize = 120;

/// An RSA public key of a size, whose private key nobody has.
struct RsaKey(Vec<u8>);

impl RsaKey {
    fn of_bits(bits: usize) -> Self {
        let modulus = [&[0][..], &vec![0xff; bits / 8]].concat();
        Self(tlv(0x30, &[&tlv(2, &[&modulus]), &tlv(2, &[&[0x7f, 0xff, 0xff, 0xff]])]))
    }
}

impl PublicKeyData for RsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static Signing {
        &PKCS_RSA_SHA256
    }
}

/// A certificate authority with the name of another one.
fn look_alike(name: &str) -> Ca {
    Ca::root(ca_params(name, BasicConstraints::Unconstrained))
}

/// Certificates of authorities that name the authority `name` as their issuer.
fn look_alikes(name: &str, count: u8) -> Vec<Vec<u8>> {
    let forger = look_alike(name);
    let certificates = (0..count).map(|number| {
        let mut params = ca_params("look-alike", BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(vec![number + 1]));
        forger.sign(&params, &Signer::generate().pair)
    });
    certificates.collect()
}

/// A trust root whose timestamp authority has no signing certificate in it.
fn bare_tsa(world: &World) -> TrustRoot {
    let chain = vec![world.tsa.root.der.clone()];
    let authority = CertificateAuthority::new("https://tsa.example", chain, around(YEAR)).unwrap();
    TrustRoot { timestamp_authorities: vec![authority], ..world.root() }
}

/// A timestamp over `signature` whose certificates bear the names of a trusted authority, and whose
/// signer has an RSA key of so many bits.
fn forged_stamp(signature: &[u8], name: &str, bits: usize, issuers: u8) -> Vec<u8> {
    let forger = look_alike(name);
    let leaf = forger.sign(&leaf_params(), &RsaKey::of_bits(bits));
    let tsa = Tsa::new();
    let stamp = Stamp {
        imprint: (SHA256, hash_bytes(Algorithm::Sha256, signature)),
        certificates: [vec![leaf.clone()], look_alikes(name, issuers)].concat(),
        signer: issuer_and_serial(&leaf),
        signing_certificate: vec![essv2(&leaf)],
        signature_algorithm: identifier("1.2.840.113549.1.1.11"),
        signature: Some(vec![1; bits / 8]),
        ..tsa.stamp()
    };
    stamp.der(&tsa.key)
}

/// The outcome of a bundle, and its work.
fn worked(root: &TrustRoot, json: &str) -> (&'static str, Work) {
    let evidence = evidence(json);
    let (outcome, work) = work::of(|| judge(root, &evidence, &wanted()));
    (code(outcome), work)
}

fn signature_of(bundle: &Bundle) -> Vec<u8> {
    match &bundle.content {
        Content::Envelope(envelope) => envelope.signatures[0].clone(),
        Content::Message(message) => message.signature.clone(),
    }
}

#[test]
fn a_genuine_bundle_is_a_few_verifications() {
    let world = World::new();
    for (bundle, most) in [(world.bundle(), 6), (world.bundle2(), 8)] {
        let (code, work) = worked(&world.root(), &bundle.to_json());
        assert_eq!(code, "verified");
        assert!(work.signatures <= most, "{work:?}");
    }
}

#[test]
fn forged_timestamps_are_never_verified_with_their_own_keys() {
    let world = World::new();
    let root = bare_tsa(&world);
    let genuine = worked(&root, &world.bundle().to_json()).1.signatures;
    for (bits, count, want) in [
        (2048, 8, "verified"),
        (8192, 8, "verified"),
        (16_384, 8, "verified"),
        (8192, MAX_TIMESTAMPS, "too-many"),
    ] {
        let mut bundle = world.bundle();
        let signature = signature_of(&bundle);
        let forged = |_| forged_stamp(&signature, "tsa root", bits, 4);
        bundle.log.timestamps = (0..count).map(forged).collect();
        let (code, work) = worked(&root, &bundle.to_json());
        assert_eq!(code, want, "{bits} {count}");
        assert!(work.largest_key <= P384, "{bits} {count}: {work:?}");
        // The authority's key, on the signer's certificate and each look-alike.
        assert!(work.signatures <= genuine + 9 * 5, "{bits} {count}: {work:?}");
    }
    // The same one is verified once, and none where the signing certificate is in the trust root.
    for (root, most) in [(&root, 5), (&world.root(), 0)] {
        let mut bundle = world.bundle();
        let stamp = forged_stamp(&signature_of(&bundle), "tsa root", 8192, 4);
        bundle.log.timestamps = vec![stamp; MAX_TIMESTAMPS];
        let (code, work) = worked(root, &bundle.to_json());
        assert_eq!(code, "verified");
        assert!(work.signatures <= genuine + most, "{work:?}");
    }
}

/// A key that an authority has certified is of an accepted size, or in the trust root.
#[test]
fn large_keys_are_used_only_if_the_trust_root_has_them() {
    let world = World::new();
    let bundle = world.bundle();
    let signature = signature_of(&bundle);
    let leaf = world.tsa.intermediate.sign(&leaf_params(), &RsaKey::of_bits(8192));
    let stamp = Stamp {
        imprint: (SHA256, hash_bytes(Algorithm::Sha256, &signature)),
        certificates: vec![leaf.clone()],
        signer: issuer_and_serial(&leaf),
        signing_certificate: vec![essv2(&leaf)],
        signature_algorithm: identifier("1.2.840.113549.1.1.11"),
        signature: Some(vec![1; 1024]),
        ..world.tsa.stamp()
    };
    let stamp = stamp.der(&world.tsa.key);
    let own = [&world.tsa.intermediate.der, &world.tsa.root.der].map(Vec::clone).to_vec();
    let pinned = [vec![leaf], own.clone()].concat();
    for (chain, want, is_used) in
        [(own, "timestamp-chain", false), (pinned, "timestamp-signature", true)]
    {
        let authority = CertificateAuthority::new("x", chain, around(YEAR)).unwrap();
        let root = TrustRoot { timestamp_authorities: vec![authority], ..world.root() };
        let mut bundle = bundle.clone();
        bundle.log.timestamps = vec![stamp.clone()];
        let (code, work) = worked(&root, &bundle.to_json());
        assert_eq!((code, work.largest_key > 1024), (want, is_used), "{work:?}");
    }
    let key = RsaKey::of_bits(8192);
    let leaf = world.pki.intermediate.sign(&crate::certificate::tests::pki::leaf_params(), &key);
    let bundle = logged_by(&world, &leaf);
    let (code, work) = worked(&world.root(), &bundle.to_json());
    assert_eq!(code, "no-sct");
    assert!(work.largest_key <= P384, "{work:?}");
    let root = world.root();
    let presented = Presented { leaf: &leaf, untrusted: &[], detached_sct: None };
    let certify = || certify(presented, &root, &[NOW], SctRequirement::NotRequired);
    let (certified, work) = work::of(certify);
    assert_eq!(certified.unwrap_err().code(), "bad-certificate");
    assert!(work.largest_key <= P384, "{work:?}");
}

#[test]
fn certificates_that_bear_an_authoritys_name_cost_one_verification_each() {
    let world = World::new();
    let chain = vec![world.pki.root.der.clone()];
    let authority = CertificateAuthority::new("x", chain, around(YEAR)).unwrap();
    let root = TrustRoot { certificate_authorities: vec![authority], ..world.root() };
    let params = crate::certificate::tests::pki::leaf_params();
    let leaf = look_alike("root").sign(&params, &RsaKey::of_bits(8192));
    for (count, want) in [(4, "untrusted-certificate"), (5, "bad-certificate"), (255, "too-many")] {
        let mut bundle = logged_by(&world, &leaf);
        let mut chain = look_alikes("root", count);
        chain.insert(0, leaf.clone());
        bundle.version = Version::V02;
        bundle.material = VerificationMaterial::CertificateChain(chain);
        let (code, work) = worked(&root, &bundle.to_json());
        assert_eq!(code, want, "{count}");
        assert!(work.signatures <= 2 + 1 + 4, "{count}: {work:?}");
        assert!(work.largest_key <= P384, "{count}: {work:?}");
    }
}

#[test]
fn a_checkpoint_with_many_lines_of_the_log_costs_few_verifications() {
    let world = World::new();
    let mut bundle = world.bundle();
    let proof = entry(&mut bundle).proof.as_mut().unwrap();
    let (signed, line) = proof.checkpoint.split_once("\n\n").unwrap();
    let line = line.trim_end().to_owned();
    let (name, signature) = line.rsplit_once(' ').unwrap();
    let signature = crate::base64::decode(signature).unwrap();
    let forged = (0..60_u8).map(|number| {
        let mut signature = signature.clone();
        *signature.last_mut().unwrap() ^= number + 1;
        format!("{name} {}\n", b64(signature))
    });
    proof.checkpoint = format!("{signed}\n\n{}", forged.collect::<String>());
    let (code, work) = worked(&world.root(), &bundle.to_json());
    assert_eq!(code, "log-checkpoint-signature");
    assert!(work.signatures <= 6, "{work:?}");
}

#[test]
fn one_entry_many_times_is_named_once() {
    let world = World::new();
    let mut bundle = world.bundle();
    let one = bundle.log.entries[0].clone();
    bundle.log.entries = vec![one; MAX_LOG_ENTRIES];
    let (code, work) = worked(&world.root(), &bundle.to_json());
    assert_eq!(code, "verified");
    // Promise and checkpoint of each.
    assert!(work.signatures <= 2 * MAX_LOG_ENTRIES + 4, "{work:?}");
}

/// A bundle of the certificate, which a log of the trust root has.
fn logged_by(world: &World, certificate: &[u8]) -> Bundle {
    let leaf = Leaf { key: Signer::generate(), der: certificate.to_vec() };
    let (mut bundle, told) = world.unlogged(&leaf, &statement());
    bundle.log.entries = vec![world.rekor1.entry(&told.dsse_001())];
    bundle
}
