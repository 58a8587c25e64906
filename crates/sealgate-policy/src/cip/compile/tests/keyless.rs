//! Tests of keyless authorities, logs and timestamps: their trust configs and required proofs, and
//! that no unavailable part is skipped.

use std::sync::{Arc, LazyLock};

use sealgate_core::identity::Wanted;
use sealgate_core::verify::{Authority as Signers, Override, ProofRequirements, RootSource};
use sealgate_testkit::keyless::TestSigstore;

use super::*;
use crate::testing::{compiled_with, no_secret};

const REKOR: &str = "https://rekor.example";

/// Three Sigstore instances, and roots with parts of them.
struct Worlds {
    own: TrustRoot,
    ours: TrustRoot,
    other: TrustRoot,
    chain: String,
}

static WORLDS: LazyLock<Worlds> = LazyLock::new(|| {
    let ours = TestSigstore::default();
    let chain = ours.chain_pem();
    let [own, other] =
        [TestSigstore::default(), TestSigstore::default()].map(|world| world.trust_root());
    Worlds { own, ours: ours.trust_root(), other, chain }
});

fn roots(which: &RootRef) -> Result<(Arc<TrustRoot>, RootSource), Fault> {
    let Worlds { own, ours, other, .. } = &*WORLDS;
    let none = TrustRoot::default;
    let logs = other.transparency_logs.clone();
    let clocks = other.timestamp_authorities.clone();
    let skipped = {
        let unknown = sealgate_core::trust::Skipped {
            part: sealgate_core::trust::Part::TransparencyLog,
            uri: sealgate_core::reject::Foreign::new("https://log.example"),
            reason: sealgate_core::reject::Foreign::new("unknown kind of key"),
        };
        TrustRoot { transparency_logs: Vec::new(), skipped: vec![unknown], ..ours.clone() }
    };
    let RootRef::Named(name) = which else {
        return Ok((Arc::new(own.clone()), RootSource::Embedded));
    };
    let root = match name.as_str() {
        "ours" => ours.clone(),
        "logs" => TrustRoot { transparency_logs: logs, ..none() },
        "clocks" => TrustRoot { timestamp_authorities: clocks, ..none() },
        "no-log" => TrustRoot { transparency_logs: Vec::new(), ..ours.clone() },
        "skipped-log" => skipped,
        "no-ct" => TrustRoot { ct_logs: Vec::new(), ..ours.clone() },
        "no-time" => TrustRoot {
            transparency_logs: Vec::new(),
            timestamp_authorities: Vec::new(),
            ..ours.clone()
        },
        name => return no_root(&RootRef::Named(name.to_owned())),
    };
    Ok((Arc::new(root), RootSource::Configured))
}

fn keyless(fields: Value) -> Value {
    let mut keyless = json!({"identities": [{"issuer": "https://i", "subjectRegExp": "^s$"}]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        keyless[name] = value.clone();
    }
    keyless
}

/// The names in the root's parts and the proofs that are required; or the reason why it is
/// undecidable.
fn summary(authority: Value) -> String {
    let compiled = compiled_with(spec(authority), &roots);
    assert!(compiled.errors.is_empty(), "{}", compiled.errors);
    let needs = compiled.rule.need().signed();
    let [signed] = needs.as_slice() else {
        let inlined = compiled.conditions.iter().find(|c| c.kind == "TrustRootsInlined").unwrap();
        let ready = compiled.conditions.iter().find(|c| c.kind == "Ready").unwrap();
        assert_eq!(reason_codes(compiled.rule.need()), ["TrustRootUnavailable"]);
        assert!(!ready.holds && !inlined.holds);
        return inlined.message.trim_start_matches("authority authority-0: ").to_owned();
    };
    let root = requirement(signed).trust_config.root.as_ref().expect("a root");
    let requirements = requirement(signed).trust_config.requirements(&requirement(signed).by);
    format!("{} asks {}", parts(root), asked(requirements))
}

fn parts(root: &TrustRoot) -> String {
    let Worlds { own, ours, other, .. } = &*WORLDS;
    let all = [("own", own), ("ours", ours), ("other", other)];
    macro_rules! whose {
        ($part:ident) => {{
            let same = |(_, world): &&(&str, &TrustRoot)| world.$part == root.$part;
            let none = if root.$part.is_empty() { "none" } else { "mixed" };
            all.iter().find(same).map_or(none, |(name, _)| *name)
        }};
    }
    let (ca, ct) = (whose!(certificate_authorities), whose!(ct_logs));
    format!(
        "ca={ca} ct={ct} log={} tsa={}",
        whose!(transparency_logs),
        whose!(timestamp_authorities)
    )
}

fn asked(requirements: ProofRequirements) -> String {
    let asked = [
        ("log", requirements.log().is_required()),
        ("timestamp", requirements.timestamp().is_required()),
        ("sct", requirements.sct().is_required()),
    ];
    let names: Vec<&str> = asked.iter().filter_map(|(name, is)| is.then_some(*name)).collect();
    names.join("+")
}

#[test]
fn a_root_is_composed_of_the_named_roots() {
    let named = |name: &str| json!({"trustRootRef": name});
    let rows = [
        // The gate's own root, or another one, as a whole.
        (json!({"keyless": keyless(json!({}))}), "ca=own ct=own log=own tsa=own asks log+sct"),
        (
            json!({"keyless": keyless(named("ours"))}),
            "ca=ours ct=ours log=ours tsa=ours asks log+sct",
        ),
        (
            json!({"keyless": keyless(json!({"insecureIgnoreSCT": true}))}),
            "ca=own ct=own log=own tsa=own asks log",
        ),
        (
            json!({"keyless": keyless(json!({"insecureIgnoreSCT": true, "trustRootRef": "no-ct"}))}),
            "ca=ours ct=none log=ours tsa=ours asks log",
        ),
        // Logs and timestamp authorities of other roots.
        (
            json!({"keyless": keyless(named("ours")), "ctlog": named("logs")}),
            "ca=ours ct=ours log=other tsa=ours asks log+sct",
        ),
        (
            json!({"keyless": keyless(named("ours")), "rfc3161timestamp": named("clocks")}),
            "ca=ours ct=ours log=ours tsa=other asks timestamp+sct",
        ),
        (
            json!({"keyless": keyless(named("ours")), "ctlog": named("logs"),
                "rfc3161timestamp": named("clocks")}),
            "ca=ours ct=ours log=other tsa=other asks log+timestamp+sct",
        ),
        // Without a reference: the authority's own root first, then the gate's.
        (
            json!({"keyless": keyless(named("ours")), "ctlog": {"url": REKOR}}),
            "ca=ours ct=ours log=ours tsa=ours asks log+sct",
        ),
        (
            json!({"keyless": keyless(named("no-log")), "ctlog": {"url": format!("{REKOR}/")}}),
            "ca=ours ct=ours log=own tsa=ours asks log+sct",
        ),
        (
            json!({"keyless": keyless(named("no-time")), "ctlog": {}, "rfc3161timestamp": {}}),
            "ca=ours ct=ours log=own tsa=own asks log+timestamp+sct",
        ),
        // No log in the root: its timestamp authorities give the time.
        (
            json!({"keyless": keyless(named("no-log"))}),
            "ca=ours ct=ours log=none tsa=ours asks timestamp+sct",
        ),
        // A named TrustRoot decides, whatever URL is given with it.
        (
            json!({"keyless": keyless(named("ours")),
                "ctlog": {"url": "http://rekor.elsewhere.example", "trustRootRef": "logs"}}),
            "ca=ours ct=ours log=other tsa=ours asks log+sct",
        ),
        (
            json!({"key": {"data": KEY},
                "ctlog": {"url": "http://rekor.elsewhere.example", "trustRootRef": "ours"}}),
            "ca=none ct=none log=ours tsa=ours asks log",
        ),
        // Keys.
        (json!({"key": {"data": KEY}}), "ca=own ct=own log=own tsa=own asks "),
        (
            json!({"key": {"data": KEY}, "ctlog": {"url": REKOR}}),
            "ca=none ct=none log=own tsa=own asks log",
        ),
        (
            json!({"key": {"data": KEY}, "ctlog": named("ours")}),
            "ca=none ct=none log=ours tsa=ours asks log",
        ),
        (
            json!({"key": {"data": KEY}, "rfc3161timestamp": named("clocks")}),
            "ca=none ct=none log=own tsa=other asks timestamp",
        ),
        (
            json!({"key": {"data": KEY}, "ctlog": named("logs"), "rfc3161timestamp": named("ours")}),
            "ca=none ct=none log=other tsa=ours asks log+timestamp",
        ),
    ];
    for (authority, expected) in rows {
        assert_eq!(summary(authority.clone()), expected, "{authority}");
    }
}

#[test]
fn an_unavailable_part_is_never_skipped() {
    let named = |name: &str| json!({"trustRootRef": name});
    let key = json!({"data": KEY});
    let url = "https://rekor.elsewhere.example";
    let rows = [
        (json!({"keyless": keyless(named("gone"))}), "trustRootRef gone not found".to_owned()),
        (
            json!({"keyless": keyless(json!({})), "ctlog": named("gone")}),
            "trustRootRef gone not found".to_owned(),
        ),
        (
            json!({"keyless": keyless(json!({})), "rfc3161timestamp": named("gone")}),
            "trustRootRef gone not found".to_owned(),
        ),
        (json!({"key": key, "ctlog": named("gone")}), "trustRootRef gone not found".to_owned()),
        (
            json!({"key": key, "rfc3161timestamp": named("gone")}),
            "trustRootRef gone not found".to_owned(),
        ),
        (
            json!({"keyless": keyless(named("logs"))}),
            "TrustRoot logs has no certificate authority".to_owned(),
        ),
        (
            json!({"keyless": keyless(named("no-ct"))}),
            "TrustRoot no-ct has no usable certificate log (ctLogs)".to_owned(),
        ),
        (
            json!({"keyless": keyless(named("no-time"))}),
            "TrustRoot no-time has no usable transparency log, and no timestamp authority either"
                .to_owned(),
        ),
        // An unusable log does not make the log optional.
        (
            json!({"keyless": keyless(named("skipped-log"))}),
            "TrustRoot skipped-log has no usable transparency log, and no timestamp authority either"
                .to_owned(),
        ),
        (
            json!({"key": key, "ctlog": named("skipped-log")}),
            "TrustRoot skipped-log has no usable transparency log".to_owned(),
        ),
        (
            json!({"key": key, "ctlog": named("clocks")}),
            "TrustRoot clocks has no usable transparency log".to_owned(),
        ),
        (
            json!({"key": key, "rfc3161timestamp": named("logs")}),
            "TrustRoot logs has no timestamp authority".to_owned(),
        ),
        (
            json!({"key": key, "ctlog": {"url": url}}),
            format!("the gate's own trust root has no usable transparency log {url}"),
        ),
        (
            json!({"key": key, "ctlog": {"url": url, "trustRootRef": "clocks"}}),
            "TrustRoot clocks has no usable transparency log".to_owned(),
        ),
        (
            json!({"keyless": keyless(named("ours")), "ctlog": {"url": url}}),
            format!("TrustRoot ours has no usable transparency log {url}"),
        ),
    ];
    for (authority, expected) in rows {
        assert_eq!(summary(authority.clone()), expected, "{authority}");
    }
}

#[test]
fn a_key_alone_needs_no_root_and_everything_else_does() {
    let key = json!({"data": KEY});
    let alone = compiled(spec(json!({"key": key})));
    let signed = alone.rule.need().signed();
    assert_eq!(
        (
            &requirement(signed[0]).trust_config.root,
            requirement(signed[0]).trust_config.overrides.log
        ),
        (&None, Override::Ignored)
    );
    for authority in [
        json!({"key": key, "ctlog": {}}),
        json!({"key": key, "ctlog": {"url": REKOR}}),
        json!({"key": key, "rfc3161timestamp": {}}),
        json!({"keyless": keyless(json!({}))}),
        json!({"keyless": keyless(json!({"insecureIgnoreSCT": true}))}),
    ] {
        let compiled = compiled(spec(authority.clone()));
        assert_eq!(reason_codes(compiled.rule.need()), ["TrustRootUnavailable"], "{authority}");
    }
}

/// A thousand policies share one root.
#[test]
fn an_unchanged_root_is_shared() {
    let own = Arc::new(WORLDS.own.clone());
    let roots = |_: &RootRef| Ok((Arc::clone(&own), RootSource::Embedded));
    for authority in [json!({"key": {"data": KEY}}), json!({"keyless": keyless(json!({}))})] {
        let compiled = compiled_with(spec(authority), &roots);
        let signed = compiled.rule.need().signed();
        let root = requirement(signed[0]).trust_config.root.as_ref().unwrap();
        assert!(Arc::ptr_eq(root.parsed(), &own));
    }
}

#[test]
fn a_certificate_of_the_policy_replaces_the_authorities_of_the_root() {
    let chain = &WORLDS.chain;
    let own = |ca: Value| json!({"keyless": keyless(json!({"ca-cert": ca}))});
    let expected = "ca=mixed ct=own log=own tsa=own asks log+sct";
    assert_eq!(summary(own(json!({"data": chain}))), expected);
    let compiled = compiled_with(spec(own(json!({"data": chain}))), &roots);
    let signed = compiled.rule.need().signed();
    let [authority] = requirement(signed[0])
        .trust_config
        .root
        .as_ref()
        .unwrap()
        .certificate_authorities
        .as_slice()
    else {
        panic!("one authority")
    };
    assert_eq!(authority.chain(), WORLDS.ours.certificate_authorities[0].chain());
    let policy = policy(spec(own(json!({"secretRef": {"name": "ca"}}))));
    let with = |secrets: &SecretLookup<'_>| {
        let lookups = Lookups { secrets, roots: &roots };
        compile(&policy, "", &Context::default(), &lookups, &mut Patterns::default())
    };
    let data = |pem: &str| [("ca.pem".to_owned(), pem.as_bytes().to_vec())].into();
    let found = with(&|_| content_of_secret("ca", Some(&data(chain))));
    assert_eq!(found.rule.need().signed(), signed);
    for secrets in [
        &no_secret as &SecretLookup<'_>,
        &|_: &SecretRef| content_of_secret("ca", Some(&data(KEY))),
        &|_: &SecretRef| content_of_secret("ca", Some(&data("junk"))),
    ] {
        assert_eq!(reason_codes(with(secrets).rule.need()), ["InliningKeysFailed"]);
    }
    let kms = compiled_with(spec(own(json!({"kms": "hashivault://k"}))), &roots);
    assert_eq!(reason_codes(kms.rule.need()), ["KmsUnsupported"]);
}

#[test]
fn identities_are_compiled_each_in_one_form() {
    let identities = json!([
        {"issuer": "https://i", "subject": "s"},
        {"issuerRegExp": "^https://i$", "subjectRegExp": "^s.*$"},
    ]);
    let compiled = compiled_with(
        spec(json!({"keyless": {"identities": identities}, "signatureFormat": "bundle",
            "source": [{"oci": "ghcr.io/acme/sigs"}]})),
        &roots,
    );
    let signed = compiled.rule.need().signed();
    assert_eq!(signed[0].formats, Formats::Bundle);
    assert!(requirement(signed[0]).source.is_some());
    let Signers::Identities(authority) = &requirement(signed[0]).by else { panic!("identities") };
    let [first, second] = authority.identities.as_slice() else { panic!("two") };
    assert_eq!(first.subject, Some(Wanted::Exactly("s".to_owned())));
    assert!(matches!(&second.issuer, Some(Wanted::Matching(p)) if p.as_str() == "^https://i$"));
    // An identity with a subject or an issuer only would match many signers: it never compiles,
    // even if it was stored.
    for identities in [
        json!([]),
        json!([{"issuer": "i"}]),
        json!([{"subject": "s"}]),
        json!([{"issuer": "i", "subject": "s"}, {}]),
        json!([{"issuer": "i", "issuerRegExp": "i", "subject": "s"}]),
        json!([{"issuer": "i", "subjectRegExp": "("}]),
    ] {
        let compiled = compiled_with(spec(json!({"keyless": {"identities": identities}})), &roots);
        assert!(!compiled.errors.is_empty(), "{identities}");
        assert!(compiled.rule.need().signed().is_empty(), "{identities}");
    }
}

#[test]
fn fingerprints_cover_identities_roots_and_overrides() {
    let print =
        |authority: Value| compiled_with(spec(authority), &roots).rule.fingerprint().clone();
    let one = |issuer: &str, subject: &str| json!({"keyless": {"identities": [{"issuer": issuer, "subject": subject}]}});
    let mut all = vec![
        print(one("i", "s")),
        print(one("is", "")),
        print(one("s", "i")),
        print(json!({"keyless": {"identities": [{"issuer": "i", "subjectRegExp": "s"}]}})),
        print(json!({"keyless": {"identities": [
            {"issuer": "i", "subject": "s"}, {"issuer": "i", "subject": "t"}]}})),
    ];
    for authority in [
        json!({"keyless": keyless(json!({"trustRootRef": "ours"}))}),
        json!({"keyless": keyless(json!({"insecureIgnoreSCT": true}))}),
        json!({"keyless": keyless(json!({}))}),
        json!({"keyless": keyless(json!({})), "ctlog": {"trustRootRef": "logs"}}),
        json!({"keyless": keyless(json!({})), "rfc3161timestamp": {}}),
        json!({"keyless": keyless(json!({})), "rfc3161timestamp": {}, "ctlog": {}}),
        json!({"key": {"data": KEY}}),
        json!({"key": {"data": KEY}, "ctlog": {}}),
        json!({"key": {"data": KEY}, "rfc3161timestamp": {}}),
    ] {
        all.push(print(authority));
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

/// Each authority may need a trust root of its own: equal ones are shared, and those of one policy
/// are bounded.
#[test]
fn composed_trust_roots_are_shared_and_bounded() {
    let Worlds { ours, .. } = &*WORLDS;
    let logs = ours.transparency_logs.iter().cycle().take(600).cloned().collect();
    let large = Arc::new(TrustRoot { transparency_logs: logs, ..ours.clone() });
    let large_root = |_: &RootRef| Ok((Arc::clone(&large), RootSource::Configured));
    let spec = |same: bool| {
        let authority = |number: usize| {
            let number = if same { 0 } else { number };
            let ca = TestSigstore::default().chain_pem();
            let ca = if number == 0 { WORLDS.chain.clone() } else { ca };
            let identities = [json!({"issuer": "i", "subject": "s"})];
            json!({"keyless": {"ca-cert": {"data": ca}, "identities": identities}})
        };
        let authorities: Vec<_> = (0..16).map(authority).collect();
        json!({"images": [{"glob": "**"}], "authorities": authorities})
    };
    let reasons = |same| undecidable_reasons(compiled_with(spec(same), &large_root).rule.need());
    assert_eq!(reasons(true), []);
    let refused = reasons(false);
    assert!((1..8).contains(&refused.len()), "{refused:?}");
    for (reason, message) in refused {
        assert_eq!(reason, UndecidableReason::TrustRoot);
        assert!(message.contains("trust roots of the policy's authorities exceed"), "{message}");
    }
}
