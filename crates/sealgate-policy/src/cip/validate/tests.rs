use serde_json::{Value, json};

use super::*;
use crate::testing::{KEY, OTHER_KEY, policy};

fn messages(spec: Value, level: Level) -> String {
    validate(&policy(spec), &Context::default()).filter(level).to_string()
}

fn errors(spec: Value) -> String {
    messages(spec, Level::Error)
}

/// A valid spec with this authority.
fn with_authority(authority: Value) -> Value {
    json!({"images": [{"glob": "ghcr.io/**"}], "authorities": [authority]})
}

fn with_key(key: Value) -> Value {
    with_authority(json!({"key": key}))
}

fn with_identity(identity: Value) -> Value {
    with_authority(json!({"keyless": {"url": "https://f", "identities": [identity]}}))
}

fn with_source(source: Value) -> Value {
    with_authority(json!({"key": {"data": KEY}, "source": source}))
}

fn with_attestation(attestation: Value) -> Value {
    with_authority(json!({"key": {"data": KEY}, "attestations": [attestation]}))
}

fn with_match(entry: Value) -> Value {
    let mut spec = with_key(json!({"data": KEY}));
    spec["match"] = json!([entry]);
    spec
}

fn with_policy(policy: Value) -> Value {
    let mut spec = with_key(json!({"data": KEY}));
    spec["policy"] = policy;
    spec
}

#[track_caller]
fn table(rows: &[(Value, &str)]) {
    for (spec, text) in rows {
        assert_eq!(errors(spec.clone()), *text, "{spec}");
    }
}

#[test]
fn valid_policies_have_no_errors() {
    let identity = json!({"issuer": "https://i", "subjectRegExp": "^.*@example\\.com$"});
    table(&[
        (with_key(json!({"data": KEY})), ""),
        (with_key(json!({"data": OTHER_KEY, "hashAlgorithm": " SHA512 "})), ""),
        (with_key(json!({"secretRef": {"name": "s", "namespace": "cosign-system"}})), ""),
        (with_key(json!({"kms": "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k"})), ""),
        (with_identity(identity), ""),
        (with_authority(json!({"static": {"action": "fail", "message": "no"}})), ""),
        (with_source(json!([{"oci": "ghcr.io/acme/sigs", "tagPrefix": "x-"}])), ""),
        (
            with_match(json!({"group": "apps", "version": "v1", "resource": "deployments",
            "selector": {"matchLabels": {"a/b": "c"},
                "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}})),
            "",
        ),
        (with_match(json!({"resource": "replicationcontrollers", "version": "v1"})), ""),
        (with_match(json!({"namespaces": ["production", "kube-system"]})), ""),
        (with_policy(json!({"type": "rego", "data": "x", "includeSpec": true})), ""),
        (json!({"images": [{"glob": "*"}], "mode": "warn"}), ""),
    ]);
}

#[test]
fn images_and_globs() {
    let globs = |globs: Value| {
        let mut spec = with_key(json!({"data": KEY}));
        spec["images"] = globs;
        spec
    };
    table(&[
        (globs(json!([])), "missing field(s): spec.images"),
        (globs(json!([{}])), "missing field(s): spec.images[0].glob"),
        (
            globs(json!([{"glob": ""}, {"glob": "a"}, {"glob": ""}])),
            "missing field(s): spec.images[0].glob, spec.images[2].glob",
        ),
        (
            globs(json!([{"glob": "["}])),
            "invalid value: [: spec.images[0].glob\nglob is invalid: syntax error in pattern",
        ),
        (
            globs(json!([{"glob": "$FOO*"}])),
            "invalid value: $FOO*: spec.images[0].glob\nglob is invalid: invalid glob \"$FOO*\"",
        ),
        (
            globs(json!([{"glob": "https://ghcr.io/acme/**"}])),
            "invalid value: https://ghcr.io/acme/**: spec.images[0].glob\nglob is invalid: no image can match it: an image name has no scheme; write ghcr.io/acme/**",
        ),
        (json!({"images": [{"glob": "**"}]}), "missing field(s): spec.authorities"),
        (json!({}), "missing field(s): spec.authorities, spec.images"),
    ]);
}

#[test]
fn one_kind_of_authority() {
    let paths = "spec.authorities[0].key, spec.authorities[0].keyless, spec.authorities[0].static";
    let neither = format!("expected exactly one, got neither: {paths}");
    let both = format!("expected exactly one, got both: {paths}");
    table(&[
        (with_authority(json!({})), &neither),
        (with_authority(json!({"name": "x", "ctlog": {}})), &neither),
        (with_authority(json!({"key": {}, "static": {}})), &both),
        (with_authority(json!({"key": {}, "keyless": {}})), &both),
        (
            with_authority(json!({"key": {"data": KEY}, "signatureFormat": "new"})),
            "invalid value: new: spec.authorities[0].signatureFormat\nunsupported signature format, want legacy or bundle",
        ),
    ]);
}

/// Keys that a policy may contain by mistake, and the messages.
const REFUSED_KEYS: [(&str, &str); 6] = [
    (
        "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDe6gTc14oNWolg0b5wJMLWAe2F
g+Tv9078xzPzRgsgvlHIwDbJ5Jnqmbo6zTN8MHknHOO5GOMBdyhLk0qu1lGMMtOK
gDVdH6fKBHrD7Eo+rrR5UKoTVR7rWeD8fi6KSweWqQWVjlP+TTR24m0sqA+9j04l
4M0hFogNTeYsNfuBLQIDAQAB
-----END PUBLIC KEY-----",
        "RSA key of 1024 bits: want 2048 to 8192",
    ),
    (
        "-----BEGIN PUBLIC KEY-----
ME4wEAYHKoZIzj0CAQYFK4EEACEDOgAEOuf7w3WWOfNi62Dbc88e3AmcT4O7/2vr
8l7xZ0EDLtARMgcANCuzPUxclR0QER4ZmVveLG/4+h8=
-----END PUBLIC KEY-----",
        "unsupported public key algorithm: curve P-224 (1.3.132.0.33): want ECDSA on P-256, P-384 or \
         P-521, Ed25519, or RSA",
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE+va6yekwkt15KsQ77wAKsp/DAGeurtlh
b+lh1evXbztvsnagdubPYo9MKByZiIolGTpEouf/CRUN9m+cT8NdHw==
-----END PUBLIC KEY-----",
        "unsupported public key algorithm: curve secp256k1 (1.3.132.0.10): want ECDSA on P-256, P-384 \
         or P-521, Ed25519, or RSA",
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEAzCl2jhPeGnHDNEyC2utdvLDRTXImbcpl00ukgfVRbCo=
-----END PUBLIC KEY-----",
        "unsupported public key algorithm: X25519 (1.3.101.110): want ECDSA on P-256, P-384 or P-521, \
         Ed25519, or RSA",
    ),
    (
        "-----BEGIN CERTIFICATE-----
MIIBbDCCAROgAwIBAgIUViOM07YHsN2+kJ8OcbUBh34V85wwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----",
        "not a PEM encoded public key: it is a certificate, want PUBLIC KEY",
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEE11nBaJfy8CUmmyooPnb0LeM+CUT
-----END PUBLIC KEY-----",
        "not a PKIX public key: ASN.1 DER message is incomplete",
    ),
];

#[test]
fn a_rejected_key_has_a_reason() {
    let at = "spec.authorities[0].key.data";
    for (key, why) in REFUSED_KEYS {
        let found = errors(with_key(json!({"data": key})));
        let begin = format!("invalid value: {key}: {at}\n{why}");
        assert!(found.starts_with(&begin), "{found}\n\n{begin}");
    }
    let two = format!("{KEY}{KEY}");
    let why =
        "not a PEM encoded public key: several public keys, one after the other: want exactly one";
    let found = errors(with_key(json!({"data": two})));
    assert_eq!(found, format!("invalid value: {two}: {at}\n{why}"));
}

/// Text that editors and OpenSSL leave around a key.
#[test]
fn text_around_a_key_does_not_matter() {
    for key in [
        format!("# the key of our builds\n\n{KEY}\n"),
        KEY.replace('\n', "  \n"),
        KEY.replacen('\n', "\n\n", 1),
        format!("Public-Key: (256 bit)\npub:\n    04:13:5d\nASN1 OID: prime256v1\n{KEY}"),
        format!("{KEY}Public-Key: (256 bit)\n"),
    ] {
        assert_eq!(errors(with_key(json!({"data": key}))), "", "{key}");
    }
}

#[test]
fn keys() {
    let at = "spec.authorities[0].key";
    let paths = format!("{at}.data, {at}.kms, {at}.secretref");
    table(&[
        (with_key(json!({})), &format!("expected exactly one, got neither: {paths}")),
        (
            with_key(json!({"data": KEY, "secretRef": {"name": "s"}})),
            &format!("expected exactly one, got both: {paths}"),
        ),
        (
            with_key(json!({"data": "---some key data----"})),
            &format!(
                "invalid value: ---some key data----: {at}.data\n\
                 not a PEM encoded public key: no BEGIN line"
            ),
        ),
        (
            with_key(json!({"data": "-----BEGIN PRIVATE KEY-----\nsecret"})),
            &format!(
                "invalid value: (a private key, not shown): {at}.data\n\
                 not a PEM encoded public key: no END line"
            ),
        ),
        (
            with_key(json!({"data": KEY, "hashAlgorithm": "shaINVALID"})),
            &format!("invalid value: shaINVALID: {at}.hashAlgorithm"),
        ),
        (
            with_key(json!({"secretRef": {"name": "s", "namespace": "other"}})),
            &format!(
                "invalid value: other: {at}.secretref.namespace\nsecretref.namespace is invalid. If set, it should use the same namespace where the policy-controller was deployed"
            ),
        ),
        (with_key(json!({"secretRef": {}})), &format!("missing field(s): {at}.secretref.name")),
    ]);
}

#[test]
fn key_management_services() {
    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let arn = format!("arn:aws:kms:us-east-2:111122223333:key/{ID}");
    let good = [
        format!("awskms:///{arn}"),
        format!("awskms://localhost:4566/{arn}"),
        "awskms:///arn:aws:kms:us-east-2:111122223333:alias/name".to_owned(),
        "azurekms://vault.vault.azure.net/key".to_owned(),
        "hashivault://key".to_owned(),
    ];
    for kms in good {
        assert_eq!(errors(with_key(json!({"kms": kms}))), "", "{kms}");
    }
    let prefix = "malformed KMS format, should be prefixed by any of the supported providers: [awskms:// azurekms:// hashivault:// gcpkms://]";
    let form =
        "kms key should be in the format awskms://[ENDPOINT]/[ID/ALIAS/ARN] (endpoint optional)";
    let bad = [
        ("openbao://key".to_owned(), prefix),
        (
            "awskms://x".to_owned(),
            "malformed AWS KMS format 'awskms://$ENDPOINT/$KEYID', should be conformant with KMS standard documented here: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id",
        ),
        ("awskms://localhost:4566/nothing".to_owned(), form),
        (format!("awskms://alias/{arn}"), form),
        (
            format!("awskms://localhost:::4566/{arn}"),
            "malformed endpoint: address localhost:::4566: too many colons in address",
        ),
        (
            format!("awskms://localhost/{arn}"),
            "malformed endpoint: address localhost: missing port in address",
        ),
        (format!("awskms:///{ID}"), "failed to parse either key or alias arn: arn: invalid prefix"),
        (
            "awskms:///alias/name".to_owned(),
            "failed to parse either key or alias arn: arn: invalid prefix",
        ),
    ];
    for (kms, details) in bad {
        let text = format!("invalid value: {kms}: spec.authorities[0].key.kms\n{details}");
        assert_eq!(errors(with_key(json!({"kms": kms}))), text);
    }
}

#[test]
fn keyless_identities() {
    let at = "spec.authorities[0].keyless";
    let who = format!("{at}.identities[0]");
    table(&[
        (with_authority(json!({"keyless": {}})), &format!("missing field(s): {at}.identities")),
        (
            with_authority(
                json!({"keyless": {"url": "https://f", "ca-cert": {"secretRef": {"name": "c"}}, "identities": [{"issuer": "i", "subject": "s"}]}}),
            ),
            &format!("expected exactly one, got both: {at}.ca-cert, {at}.url"),
        ),
        (
            with_identity(json!({})),
            &format!(
                "missing field(s): {who}.issuer, {who}.issuerRegExp, {who}.subject, {who}.subjectRegExp"
            ),
        ),
        (
            with_identity(json!({"subject": "s"})),
            &format!("missing field(s): {who}.issuer, {who}.issuerRegExp"),
        ),
        (
            with_identity(json!({"issuer": "i", "issuerRegExp": "^i$", "subject": "s"})),
            &format!("expected exactly one, got both: {who}.issuer, {who}.issuerRegExp"),
        ),
        (
            with_identity(json!({"issuerRegExp": "****", "subject": "s"})),
            &format!(
                "invalid value: ****: {who}.issuerRegExp\nregex is invalid: error parsing regexp: missing argument to repetition operator: `*`"
            ),
        ),
        (
            with_identity(json!({"issuer": "i", "subjectRegExp": "(a"})),
            &format!(
                "invalid value: (a: {who}.subjectRegExp\nregex is invalid: error parsing regexp: missing closing ): `(a`"
            ),
        ),
        // Go does not support these, though the library that compiles expressions does.
        (
            with_identity(json!({"issuer": "i", "subjectRegExp": "a\\u{62}"})),
            &format!(
                "invalid value: a\\u{{62}}: {who}.subjectRegExp\nregex is invalid: error parsing regexp: invalid escape sequence: `\\u`"
            ),
        ),
    ]);
    assert_eq!(
        errors(with_authority(
            json!({"keyless": {"ca-cert": {"data": KEY}, "identities": [{"issuer": "i", "subject": "s"}]}})
        )),
        format!(
            "invalid value: {KEY}: {at}.ca-cert.data\n\
             invalid trusted root: certChain: a block that is not a certificate"
        )
    );
    assert_eq!(
        errors(with_authority(
            json!({"keyless": {"ca-cert": {}, "identities": [{"issuer": "i", "subject": "s"}]}})
        )),
        format!(
            "expected exactly one, got neither: {at}.ca-cert.data, {at}.ca-cert.kms, {at}.ca-cert.secretref"
        )
    );
}

#[test]
fn static_decisions() {
    let at = "spec.authorities[0]";
    table(&[
        (with_authority(json!({"static": {}})), &format!("missing field(s): {at}.static.action")),
        (
            with_authority(json!({"static": {"action": "garbage"}})),
            &format!("invalid value: garbage: {at}.static.action\nunsupported action"),
        ),
        (
            with_authority(json!({
                "static": {"action": "pass"},
                "attestations": [{"name": "a", "predicateType": "https://t"}],
                "source": [{}],
                "ctlog": {},
                "rfc3161timestamp": {},
            })),
            &format!(
                "expected exactly one, got both: {at}.attestations, {at}.ctlog, {at}.rfc3161timestamp, {at}.source, {at}.static"
            ),
        ),
    ]);
}

#[test]
fn signature_sources() {
    let at = "spec.authorities[0].source";
    table(&[
        (
            with_source(json!([{}, {}])),
            &format!("invalid value: source: {at}\nonly single source is supported"),
        ),
        (
            with_source(json!([{"oci": "repo/*"}])),
            &format!(
                "invalid value: repo/*: {at}[0].oci\nrepository can only contain the characters `abcdefghijklmnopqrstuvwxyz0123456789_-./`: repo/*"
            ),
        ),
        (
            with_source(json!([{"oci": "re@gistry/reponame"}])),
            &format!(
                "invalid value: re@gistry/reponame: {at}[0].oci\nregistries must be valid RFC 3986 URI authorities: re@gistry/reponame"
            ),
        ),
        (
            with_source(json!([{"oci": "ghcr.io/a/b", "signaturePullSecrets": [{}]}])),
            &format!("missing field(s): {at}[0].signaturePullSecrets[0].name"),
        ),
        (
            with_source(json!([{"tagPrefix": "a/b"}])),
            &format!("invalid value: a/b: {at}[0].tagPrefix\ncannot be the beginning of a tag"),
        ),
    ]);
}

#[test]
fn attestations_and_policies() {
    let at = "spec.authorities[0].attestations";
    let attested = |policy: Value| {
        with_attestation(json!({"name": "a", "predicateType": "https://t", "policy": policy}))
    };
    table(&[
        (with_attestation(json!({})), &format!("missing field(s): {at}.name, {at}.predicateType")),
        (
            attested(json!({"type": "not-cue", "data": "x"})),
            &format!(
                "invalid value: not-cue: {at}.policy.type\nonly [cue,rego] are supported at the moment"
            ),
        ),
        (
            attested(json!({"type": "cue"})),
            &format!(
                "missing field(s): {at}.policy.configMapRef, {at}.policy.data, {at}.policy.remote"
            ),
        ),
        (
            attested(
                json!({"type": "cue", "data": "x", "includeSpec": true, "fetchConfigFile": false}),
            ),
            &format!(
                "must not set the field(s): {at}.policy.fetchConfigFile, {at}.policy.includeSpec"
            ),
        ),
        (
            attested(json!({"type": "cue", "remote": {"url": "http://example.com"}})),
            &format!(
                "invalid value: http://example.com: {at}.policy.remote.url\nurl valid is invalid. host and https scheme are expected\nmissing field(s): {at}.policy.remote.sha256sum"
            ),
        ),
        (
            attested(json!({"type": "cue", "configMapRef": {"namespace": "any"}})),
            &format!(
                "missing field(s): {at}.policy.configMapRef.key, {at}.policy.configMapRef.name"
            ),
        ),
        // policy-controller leaves `.policy` out of the path here.
        (
            with_policy(
                json!({"type": "x", "data": "d", "remote": {"url": "https://h", "sha256sum": "s"}}),
            ),
            "expected exactly one, got both: spec.configMapRef, spec.data, spec.remote\ninvalid value: x: spec.type\nonly [cue,rego] are supported at the moment",
        ),
    ]);
}

#[test]
fn modes_and_matches() {
    let mut garbage = with_key(json!({"data": KEY}));
    garbage["mode"] = json!("garbage");
    table(&[
        (garbage, "invalid value: garbage: spec.mode\nunsupported mode"),
        (
            with_match(json!({"resource": "myobject"})),
            "invalid value: myobject: spec.match[0].resource\nunsupported resource name",
        ),
        (
            with_match(json!({"selector": {"matchLabels": {"a": "b"}}})),
            "invalid value: : spec.match[0].selector\nselector requires a resource type to match the labels",
        ),
        (with_match(json!({"namespaces": []})), "missing field(s): spec.match[0].namespaces"),
        (
            with_match(json!({"namespaces": ["ok", "dev-*"]})),
            "invalid value: dev-*: spec.match[0].namespaces[1]\nwant the exact name of a namespace",
        ),
        (
            with_match(
                json!({"resource": "pods", "version": "v1", "selector": {"matchExpressions": [{"key": "k", "operator": "Near"}]}}),
            ),
            "invalid value: Near: spec.match[0].selector.matchExpressions[0].operator\nwant In, NotIn, Exists or DoesNotExist",
        ),
    ]);
}

#[test]
fn empty_authorities_are_accepted_if_configured() {
    let context = Context { empty_authorities: EmptyAuthorities::Accepted, ..Context::default() };
    let policy = policy(json!({"images": [{"glob": "**"}]}));
    assert!(validate(&policy, &context).filter(Level::Error).is_empty());
}

#[test]
fn warnings_are_not_errors() {
    let rows = [
        (
            with_attestation(json!({"name": "a", "predicateType": "spdx"})),
            "invalid value: spdx: spec.authorities[0].attestations.predicateType\ndeprecated value, please use RFC 3986 conformant values",
        ),
        (with_identity(json!({"issuer": "i", "subjectRegExp": ".*@acme.com"})), "not anchored"),
        (with_identity(json!({"issuerRegExp": "^a|b$", "subject": "s"})), "not anchored"),
        (
            with_match(json!({"group": "apps", "version": "v1"})),
            "without resource the entry matches every resource",
        ),
        (
            with_authority(json!({"key": {"kms": "hashivault://k"}})),
            "keys in a KMS are not supported yet: the authority cannot be satisfied: spec.authorities[0]",
        ),
        (
            with_authority(json!({"keyless": {"insecureIgnoreSCT": true,
                "identities": [{"issuer": "i", "subject": "s"}]}})),
            "publication in a CT log: spec.authorities[0].keyless.insecureIgnoreSCT",
        ),
        (
            with_policy(json!({"type": "cue", "data": "x"})),
            "the policy cannot be satisfied: spec.policy",
        ),
        (with_match(json!({})), "an empty entry matches every object: spec.match[0]"),
        (json!({"images": [{"glob": "*"}], "mode": "warn"}), "exempts its images"),
        (
            json!({"images": [{"glob": "ghcr.io/a:v1"}], "mode": "warn"}),
            "a tag does not identify content",
        ),
    ];
    for (spec, text) in rows {
        assert_eq!(errors(spec.clone()), "", "{spec}");
        let warnings = messages(spec.clone(), Level::Warning);
        assert!(warnings.contains(text), "{spec}: {warnings}");
    }
    assert_eq!(messages(with_key(json!({"data": KEY})), Level::Warning), "");
    let anchored = json!({"issuerRegExp": "^(a|b)$", "subject": "s"});
    assert_eq!(messages(with_identity(anchored), Level::Warning), "");
}

#[test]
fn a_denial_begins_as_policy_controllers() {
    let errors = validate(&policy(json!({"images": [], "mode": "warn"})), &Context::default());
    assert_eq!(denial(&errors), "validation failed: missing field(s): spec.images");
}
