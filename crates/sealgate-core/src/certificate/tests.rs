//! Certificates of a small authority: what is believed, and what is refused with which code.

pub(crate) mod pki;

use pki::{ISSUER, NOW, Pki, SUBJECT, Signer, YEAR, around, ca_params, leaf_params, raw, utf8};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyUsagePurpose, NameConstraints, OtherNameValue, SanType,
};

use super::*;
use crate::identity::{Claim, Subject};
use crate::trust::{CertificateAuthority, Validity};

const TIMES: &[i64] = &[NOW + 10];

fn presented(leaf: &[u8]) -> Presented<'_> {
    Presented { leaf, untrusted: &[], detached_sct: None }
}

fn outcome(pki: &Pki, leaf: &[u8]) -> Result<CertifiedKey, &'static str> {
    certify(presented(leaf), &pki.trust_root(), TIMES, SctRequirement::Required)
        .map_err(|reject| reject.code())
}

fn at(pki: &Pki, leaf: &[u8], times: &[i64]) -> Option<&'static str> {
    let outcome = certify(presented(leaf), &pki.trust_root(), times, SctRequirement::Required);
    outcome.err().map(|reject| reject.code())
}

fn code(pki: &Pki, change: impl FnOnce(&mut CertificateParams)) -> Option<&'static str> {
    outcome(pki, &pki.changed_leaf(change).der).err()
}

#[test]
fn a_certificate_of_the_authority_is_believed() {
    let pki = Pki::new();
    let leaf = pki.leaf();
    let certified = outcome(&pki, &leaf.der).unwrap();
    assert_eq!(certified.key(), &leaf.key.public());
    assert_eq!(certified.identity().subjects, [Subject::Uri(SUBJECT.to_owned())]);
    assert_eq!(certified.identity().issuer.as_deref(), Some(ISSUER));
    assert_eq!((certified.not_before(), certified.not_after()), (NOW, NOW + 600));
    assert_eq!((certified.authority(), certified.ct_logs()), ("https://ca.example", 1));
}

#[test]
fn it_is_believed_at_every_trusted_time_or_not_at_all() {
    let pki = Pki::new();
    let leaf = pki.leaf().der;
    assert_eq!(at(&pki, &leaf, &[NOW, NOW + 600]), None);
    assert_eq!(at(&pki, &leaf, &[NOW, NOW + 601]), Some("certificate-time"));
    assert_eq!(at(&pki, &leaf, &[NOW - 1, NOW]), Some("certificate-time"));
    assert_eq!(at(&pki, &leaf, &[i64::MIN]), Some("certificate-time"));
    assert_eq!(at(&pki, &leaf, &[]), Some("no-trusted-time"));
}

#[test]
fn every_certificate_of_the_chain_is_looked_at_at_every_time() {
    let window = |params: &mut CertificateParams| pki::set_window(params, NOW - 5, NOW + 5);
    let long_lived =
        |params: &mut CertificateParams| pki::set_window(params, NOW - YEAR, NOW + YEAR);
    let mut short_root = Pki::new();
    let mut params = ca_params("root", BasicConstraints::Unconstrained);
    window(&mut params);
    short_root.root = pki::Ca::root(params);
    short_root.intermediate = short_root.root.below(short_root.intermediate.params.clone());
    let mut short_intermediate = Pki::new();
    let mut params = ca_params("intermediate", BasicConstraints::Constrained(0));
    window(&mut params);
    short_intermediate.intermediate = short_intermediate.root.below(params);
    for pki in [short_root, short_intermediate] {
        let leaf = pki.changed_leaf(long_lived).der;
        assert_eq!(at(&pki, &leaf, &[NOW - 5, NOW, NOW + 5]), None);
        assert_eq!(at(&pki, &leaf, &[NOW, NOW + 6]), Some("certificate-time"));
        assert_eq!(at(&pki, &leaf, &[NOW - 6, NOW]), Some("certificate-time"));
    }
}

#[test]
fn the_authority_counts_in_its_window_only() {
    let pki = Pki::new();
    let leaf = pki.leaf().der;
    let with = |validity: Validity| {
        let chain = pki.authority().chain().to_vec();
        let authority = CertificateAuthority::new("x", chain, validity).unwrap();
        let root = TrustRoot { certificate_authorities: vec![authority], ..pki.trust_root() };
        let outcome = certify(presented(&leaf), &root, &[NOW, NOW + 10], SctRequirement::Required);
        outcome.err().map(|reject| reject.code())
    };
    assert_eq!(with(Validity { start: Some(NOW), end: Some(NOW + 10) }), None);
    assert_eq!(with(Validity { start: Some(NOW + 1), end: None }), Some("authority-time"));
    assert_eq!(with(Validity { start: None, end: Some(NOW + 9) }), Some("authority-time"));
}

#[test]
fn another_authority_with_the_same_names_is_not_this_one() {
    let (pki, other) = (Pki::new(), Pki::new());
    assert_eq!(outcome(&pki, &other.leaf().der).err(), Some("untrusted-certificate"));
    let both = TrustRoot {
        certificate_authorities: vec![other.authority(), pki.authority()],
        ..pki.trust_root()
    };
    let leaf = pki.leaf().der;
    assert!(certify(presented(&leaf), &both, TIMES, SctRequirement::Required).is_ok());
    let none = TrustRoot { certificate_authorities: Vec::new(), ..pki.trust_root() };
    let reject = certify(presented(&leaf), &none, TIMES, SctRequirement::Required).unwrap_err();
    assert_eq!(reject.code(), "untrusted-certificate");
}

#[test]
fn intermediates_may_come_with_the_signature_but_roots_may_not() {
    let pki = Pki::new();
    let leaf = pki.leaf().der;
    let bare = CertificateAuthority::new("x", vec![pki.root.der.clone()], around(YEAR)).unwrap();
    let root = TrustRoot { certificate_authorities: vec![bare], ..pki.trust_root() };
    let with = |root: &TrustRoot, untrusted: &[Vec<u8>]| {
        let presented = Presented { untrusted, ..presented(&leaf) };
        certify(presented, root, TIMES, SctRequirement::Required).err().map(|reject| reject.code())
    };
    assert_eq!(with(&root, &[]), Some("untrusted-certificate"));
    assert_eq!(with(&root, std::slice::from_ref(&pki.intermediate.der)), None);
    let other_root = Pki::new().trust_root();
    let chain = [pki.intermediate.der.clone(), pki.root.der.clone()];
    assert_eq!(with(&other_root, &chain), Some("untrusted-certificate"));
    assert_eq!(with(&root, &vec![pki.intermediate.der.clone(); 5]), Some("bad-certificate"));
}

#[test]
fn a_leaf_must_be_a_signers() {
    let pki = Pki::new();
    for (expected, change) in [
        ("certificate-usage", (|p| p.extended_key_usages.clear()) as fn(&mut CertificateParams)),
        ("certificate-usage", |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        ("certificate-usage", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        ("certificate-usage", |p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        ("certificate-usage", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        ("certificate-time", |p| pki::set_window(p, NOW + 11, NOW + 600)),
        ("no-subject-name", |p| p.subject_alt_names.clear()),
        ("bad-certificate", |p| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
            unknown.set_criticality(true);
            p.custom_extensions.push(unknown);
        }),
        ("bad-certificate", |p| p.custom_extensions.push(utf8(8, ISSUER))),
        ("bad-certificate", |p| p.custom_extensions[0] = raw(1, "https://other.example")),
        ("bad-certificate", |p| p.custom_extensions[1] = raw(8, ISSUER)),
        ("bad-certificate", |p| p.custom_extensions.push(raw(9, "not a UTF8String"))),
    ] {
        assert_eq!(code(&pki, change), Some(expected));
    }
    assert_eq!(code(&pki, |p| p.key_usages.clear()), None);
    assert_eq!(code(&pki, |p| p.is_ca = IsCa::ExplicitNoCa), None);
}

#[test]
fn a_self_signed_leaf_is_never_believed() {
    let pki = Pki::new();
    let key = Signer::generate();
    let leaf = leaf_params().self_signed(&key.pair).unwrap().der().to_vec();
    assert_eq!(outcome(&pki, &leaf).err(), Some("untrusted-certificate"));
    // Not even when the trust root has it for an authority.
    let own = CertificateAuthority::new("x", vec![leaf.clone()], around(YEAR)).unwrap();
    let root = TrustRoot { certificate_authorities: vec![own], ..TrustRoot::default() };
    assert!(certify(presented(&leaf), &root, TIMES, SctRequirement::NotRequired).is_err());
    // Nor an authority's own certificate.
    for ca in [&pki.root, &pki.intermediate] {
        assert!(outcome(&pki, &ca.der).is_err());
    }
}

/// A chain whose intermediate (and root) are made as `change` wants.
fn with_intermediate(change: impl FnOnce(&mut CertificateParams)) -> Option<&'static str> {
    let mut pki = Pki::new();
    let mut params = ca_params("intermediate", BasicConstraints::Constrained(0));
    change(&mut params);
    pki.intermediate = pki.root.below(params);
    outcome(&pki, &pki.leaf().der).err()
}

#[test]
fn intermediates_must_be_allowed_to_issue() {
    assert_eq!(with_intermediate(|_| {}), None);
    assert_eq!(with_intermediate(|p| p.is_ca = IsCa::NoCa), Some("certificate-usage"));
    let no_signing = |p: &mut CertificateParams| p.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(with_intermediate(no_signing), Some("certificate-usage"));
    let of_servers = |p: &mut CertificateParams| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(with_intermediate(of_servers), Some("certificate-usage"));
    let uris_excluded = |p: &mut CertificateParams| {
        p.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("acme.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    };
    // The constraint is about host names, of which the leaf has none.
    assert_eq!(with_intermediate(uris_excluded), None);
}

/// A chain whose root is made as `change` wants.
fn with_root(change: impl FnOnce(&mut CertificateParams)) -> Option<&'static str> {
    let mut pki = Pki::new();
    let mut params = ca_params("root", BasicConstraints::Unconstrained);
    change(&mut params);
    pki.root = pki::Ca::root(params);
    pki.intermediate = pki.root.below(pki.intermediate.params.clone());
    outcome(&pki, &pki.leaf().der).err()
}

/// As in Go's `crypto/x509`, by which cosign judges: the usages of a root limit its whole chain.
#[test]
fn the_root_is_judged_as_an_issuer() {
    type Change = fn(&mut CertificateParams);
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth, TimeStamping};
    let rows: [(&str, Option<&str>, Change); 10] = [
        ("no extension", None, |_| {}),
        ("this use", None, |p| p.extended_key_usages = vec![CodeSigning]),
        ("among others", None, |p| p.extended_key_usages = vec![ServerAuth, CodeSigning]),
        ("any use", None, |p| p.extended_key_usages = vec![Any]),
        ("servers", Some("certificate-usage"), |p| p.extended_key_usages = vec![ServerAuth]),
        ("others", Some("certificate-usage"), |p| {
            p.extended_key_usages = vec![ClientAuth, TimeStamping];
        }),
        ("no authority", Some("certificate-usage"), |p| p.is_ca = IsCa::ExplicitNoCa),
        ("no basic constraints", Some("certificate-usage"), |p| p.is_ca = IsCa::NoCa),
        ("no signatures", Some("certificate-usage"), |p| {
            p.key_usages = vec![KeyUsagePurpose::CrlSign];
        }),
        ("unknown and critical", Some("bad-certificate"), |p| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
            unknown.set_criticality(true);
            p.custom_extensions.push(unknown);
        }),
    ];
    for (what, want, change) in rows {
        assert_eq!(with_root(change), want, "{what}");
    }
    let any = |p: &mut CertificateParams| p.extended_key_usages = vec![Any];
    assert_eq!(with_intermediate(any), None);
    let others = |p: &mut CertificateParams| p.extended_key_usages = vec![TimeStamping];
    assert_eq!(with_intermediate(others), Some("certificate-usage"));
}

#[test]
fn name_constraints_hold() {
    let mut pki = Pki::new();
    let mut params = ca_params("intermediate", BasicConstraints::Constrained(0));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("acme.example".to_owned())],
        excluded_subtrees: vec![GeneralSubtree::Rfc822Name("evil.example".to_owned())],
    });
    pki.intermediate = pki.root.below(params);
    let named = |name: SanType| code(&pki, |p| p.subject_alt_names = vec![name]);
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    assert_eq!(named(dns("ci.acme.example")), None);
    assert_eq!(named(dns("acme.example.evil")), Some("bad-certificate"));
    // Constraints on mail addresses are not computed: refused, not passed over.
    let mail = SanType::Rfc822Name("dev@acme.example".try_into().unwrap());
    assert_eq!(named(mail), Some("bad-certificate"));
}

#[test]
fn the_length_of_the_path_is_limited_by_root_and_intermediates() {
    let mut pki = Pki::new();
    let upper = pki.root.below(ca_params("upper", BasicConstraints::Constrained(0)));
    pki.intermediate = upper.below(ca_params("lower", BasicConstraints::Unconstrained));
    let chain =
        |pki: &Pki| vec![pki.intermediate.der.clone(), upper.der.clone(), pki.root.der.clone()];
    let authority = CertificateAuthority::new("x", chain(&pki), around(YEAR)).unwrap();
    let root = TrustRoot { certificate_authorities: vec![authority], ..pki.trust_root() };
    let leaf = pki.leaf().der;
    let reject = certify(presented(&leaf), &root, TIMES, SctRequirement::Required).unwrap_err();
    assert_eq!(reject.code(), "bad-certificate");

    let mut pki = Pki::new();
    pki.root = pki::Ca::root(ca_params("root", BasicConstraints::Constrained(0)));
    pki.intermediate = pki.root.below(pki.intermediate.params.clone());
    assert_eq!(outcome(&pki, &pki.leaf().der).err(), Some("bad-certificate"));
}

#[test]
fn the_root_must_be_allowed_to_issue() {
    for change in
        [(|p: &mut CertificateParams| p.is_ca = IsCa::NoCa) as fn(&mut CertificateParams), |p| {
            p.key_usages = vec![KeyUsagePurpose::DigitalSignature]
        }]
    {
        let mut pki = Pki::new();
        let mut params = ca_params("root", BasicConstraints::Unconstrained);
        change(&mut params);
        pki.root = pki::Ca::root(params);
        pki.intermediate = pki.root.below(pki.intermediate.params.clone());
        assert_eq!(outcome(&pki, &pki.leaf().der).err(), Some("certificate-usage"));
    }
}

#[test]
fn all_kinds_of_names_and_claims_are_read() {
    let pki = Pki::new();
    let names = vec![
        SanType::Rfc822Name("dev@acme.example".try_into().unwrap()),
        SanType::DnsName("ci.acme.example".try_into().unwrap()),
        SanType::IpAddress([192, 0, 2, 1].into()),
        SanType::OtherName((
            vec![1, 3, 6, 1, 4, 1, 57264, 1, 7],
            OtherNameValue::Utf8String("user!acme".to_owned()),
        )),
        SanType::OtherName((vec![1, 2, 3], OtherNameValue::Utf8String("unknown".to_owned()))),
    ];
    let leaf = pki.changed_leaf(|params| {
        params.subject_alt_names = names;
        params.custom_extensions.extend([
            raw(2, "push"),
            raw(6, "refs/heads/main"),
            utf8(22, "public"),
        ]);
    });
    let identity = outcome(&pki, &leaf.der).unwrap().identity().clone();
    assert_eq!(
        identity.subjects.iter().map(Subject::to_string).collect::<Vec<_>>(),
        ["dev@acme.example", "ci.acme.example", "192.0.2.1", "user!acme"]
    );
    assert_eq!(
        identity.claims.iter().map(|(claim, text)| (*claim, text.as_str())).collect::<Vec<_>>(),
        [
            (Claim::GithubWorkflowTrigger, "push"),
            (Claim::GithubWorkflowRef, "refs/heads/main"),
            (Claim::SourceRepositoryVisibilityAtSigning, "public"),
        ]
    );
    for number in [1, 8] {
        let extension = if number == 1 { raw(1, ISSUER) } else { utf8(8, ISSUER) };
        let leaf = pki.changed_leaf(|params| params.custom_extensions = vec![extension]);
        let certified = outcome(&pki, &leaf.der).unwrap();
        assert_eq!(certified.identity().issuer.as_deref(), Some(ISSUER));
    }
    let leaf = pki.changed_leaf(|params| params.custom_extensions.clear());
    assert_eq!(outcome(&pki, &leaf.der).unwrap().identity().issuer, None);
}

fn scts(pki: &Pki, scts: impl FnOnce(&Pki, &[u8]) -> Vec<Vec<u8>>) -> Result<usize, &'static str> {
    let leaf = pki.issue(leaf_params(), scts);
    outcome(pki, &leaf.der).map(|certified| certified.ct_logs())
}

#[test]
fn embedded_timestamps_count_once_for_each_known_log() {
    let pki = Pki::new();
    let unknown_log = Signer::generate();
    pki::assert_cut_as_tested(&pki.issue(leaf_params(), |_, _| Vec::new()).der);
    let one = |pki: &Pki, cert: &[u8]| pki.embedded_sct(&pki.ct, cert, NOW);
    assert_eq!(scts(&pki, |pki, cert| vec![one(pki, cert)]), Ok(1));
    assert_eq!(scts(&pki, |pki, cert| vec![one(pki, cert), one(pki, cert)]), Ok(1));
    assert_eq!(scts(&pki, |_, _| Vec::new()), Err("no-sct"));
    let unknown = |pki: &Pki, cert: &[u8]| pki.embedded_sct(&unknown_log, cert, NOW);
    assert_eq!(scts(&pki, |pki, cert| vec![unknown(pki, cert)]), Err("no-sct"));
    assert_eq!(scts(&pki, |pki, cert| vec![unknown(pki, cert), one(pki, cert)]), Ok(1));
    let late = |pki: &Pki, cert: &[u8]| pki.embedded_sct(&pki.ct, cert, NOW + YEAR + 1);
    assert_eq!(scts(&pki, |pki, cert| vec![late(pki, cert)]), Err("no-sct"));
}

#[test]
fn a_wrong_timestamp_of_a_known_log_is_a_reject_even_beside_a_good_one() {
    let pki = Pki::new();
    let good = |pki: &Pki, cert: &[u8]| pki.embedded_sct(&pki.ct, cert, NOW);
    let changed = |pki: &Pki, cert: &[u8]| {
        let mut sct = good(pki, cert);
        sct[40] ^= 1;
        sct
    };
    assert_eq!(scts(&pki, |pki, cert| vec![changed(pki, cert)]), Err("wrong-sct"));
    assert_eq!(scts(&pki, |pki, cert| vec![good(pki, cert), changed(pki, cert)]), Err("wrong-sct"));
    // One that is good for another certificate, or of another issuer.
    let other = pki.issue(leaf_params(), |_, _| Vec::new()).der;
    assert_eq!(scts(&pki, |pki, _| vec![good(pki, &other)]), Err("wrong-sct"));
    let elsewhere = Pki::new();
    let foreign = |pki: &Pki, cert: &[u8]| elsewhere.embedded_sct(&pki.ct, cert, NOW);
    assert_eq!(scts(&pki, |pki, cert| vec![foreign(pki, cert)]), Err("wrong-sct"));
    // Where none is required, a wrong one is a reject all the same.
    let leaf = pki.issue(leaf_params(), |pki, cert| vec![changed(pki, cert)]).der;
    let reject = certify(presented(&leaf), &pki.trust_root(), TIMES, SctRequirement::NotRequired);
    assert_eq!(reject.unwrap_err().code(), "wrong-sct");
    let bare = pki.issue(leaf_params(), |_, _| Vec::new()).der;
    assert!(
        certify(presented(&bare), &pki.trust_root(), TIMES, SctRequirement::NotRequired).is_ok()
    );
}

#[test]
fn malformed_lists_of_timestamps_are_refused() {
    let pki = Pki::new();
    let with = |extension: CustomExtension| {
        let mut params = leaf_params();
        params.custom_extensions.push(extension);
        outcome(&pki, &pki.issue(params, |_, _| Vec::new()).der).err()
    };
    let many: Vec<u8> = (0..17).flat_map(|_| pki::vector16(&[0; 47])).collect();
    for list in [
        vec![],
        vec![0, 1],
        vec![0, 1, 0, 0],
        vec![0, 2, 0, 9],
        pki::vector16(&pki::vector16(&[1; 60])),
        pki::vector16(&pki::vector16(&[0; 48])),
        pki::vector16(&many),
    ] {
        assert_eq!(with(pki::sct_extension(&list)), Some("bad-sct"), "{list:?}");
    }
    let not_octets = CustomExtension::from_oid_content(pki::SCT_LIST, vec![5, 0]);
    assert_eq!(with(not_octets), Some("bad-sct"));
    assert_eq!(with(pki::sct_extension(&[0, 0])), Some("no-sct"));
}

#[test]
fn a_timestamp_beside_the_certificate_counts_too() {
    let pki = Pki::new();
    let bare = pki.issue(leaf_params(), |_, _| Vec::new()).der;
    let with = |sct: &str| {
        let presented = Presented { detached_sct: Some(sct.as_bytes()), ..presented(&bare) };
        let outcome = certify(presented, &pki.trust_root(), TIMES, SctRequirement::Required);
        outcome.map(|certified| certified.ct_logs()).map_err(|reject| reject.code())
    };
    let good = pki.detached_sct(&pki.ct, &bare, NOW);
    assert_eq!(with(&good), Ok(1));
    assert_eq!(with(&pki.detached_sct(&Signer::generate(), &bare, NOW)), Err("no-sct"));
    assert_eq!(with(&pki.detached_sct(&pki.ct, &pki.leaf().der, NOW)), Err("wrong-sct"));
    assert_eq!(with(&good.replace("\"sct_version\":0", "\"sct_version\":1")), Err("bad-sct"));
    assert_eq!(with("{}"), Err("bad-sct"));
    assert_eq!(with("x"), Err("not-json"));
}

#[test]
fn what_is_not_a_certificate_is_refused() {
    let pki = Pki::new();
    let leaf = pki.leaf().der;
    let trailing = [&leaf[..], &[0]].concat();
    let large = vec![0x30; crate::x509::MAX_CERTIFICATE + 1];
    for bytes in [&[][..], b"x", &leaf[..leaf.len() - 1], &trailing, &large] {
        assert_eq!(outcome(&pki, bytes).err(), Some("bad-certificate"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever byte changes: never a panic, and never believed.
    #[test]
    fn a_changed_certificate_is_never_believed(at: prop::sample::Index, change in 1..=255u8) {
        let pki = Pki::new();
        let mut leaf = pki.leaf().der;
        let at = at.index(leaf.len());
        leaf[at] ^= change;
        prop_assert!(outcome(&pki, &leaf).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let pki = TrustRoot::default();
        let _ = certify(presented(&bytes), &pki, TIMES, SctRequirement::NotRequired);
    }
}
