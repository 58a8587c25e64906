//! Compilation of a `ClusterImagePolicy` to a [`Rule`].
//!
//! A policy is never ignored. A part that is unavailable (a key, a field of a later version, an
//! invalid policy) becomes [`Need::Undecidable`], which never holds, so an enforcing policy denies
//! images that it cannot judge. policy-controller ignores such a policy, and its images may be
//! admitted by the remaining ones.
//!
//! An invalid pattern or `match` entry leaves open which images it selects. An enforcing policy
//! with an invalid part denies, so there the invalid part matches everything that it could select.
//! A policy in mode warn admits, and counts as a match that keeps the no-match policy from
//! applying; so there an invalid part matches nothing. Both choices are the strict ones.

use std::collections::BTreeMap;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher, Wanted};
use sealgate_core::key::{HashAlgorithm, PublicKey};
use sealgate_core::reference::Repository;
use sealgate_core::trust::{
    AuthorityObject, CertificateAuthority, InvalidTrustRoot, SigstoreKeys, TrustRoot,
};
use sealgate_core::verify::{Authority as Signers, KeyAuthority, TrustConfig};

use crate::cip::field_error::{FieldErrors, Level};
use crate::cip::patterns::Patterns;
use crate::cip::validate::{self, Context};
use crate::cip::{
    Authority, ClusterImagePolicy, GROUP, Identity, KIND, KeyRef, Keyless, LabelSelector, Match,
    SecretRef, Spec, bounds,
};
use crate::glob::{Glob, TagMatching};
use crate::object_match::{ObjectMatch, Operator, Requirement, Selector};
use crate::rule::{
    Formats, Mode, Need, Rule, RuleSource, SignatureRequirement, SignedBy, Source,
    UndecidableReason, When,
};

mod trust_config;

use trust_config::{ComposedRoots, Undecidable};
pub use trust_config::{RootLookup, RootRef};

/// The entry of a key pair's Secret that holds the public key.
const PUBLIC_ENTRY: &str = "cosign.pub";
/// The entries of the Secret that `generate-key-pair k8s://` makes, here and in cosign.
const KEY_PAIR_ENTRIES: [&str; 3] = [PUBLIC_ENTRY, "cosign.key", "cosign.password"];

/// Lookup of a Secret's content by reference, whose namespace is always filled in.
/// [`content_of_secret`] does the part that needs no cluster.
pub type SecretLookup<'a> = dyn Fn(&SecretRef) -> Result<SecretContent, Fault> + 'a;

/// Lookups of the objects that a policy refers to.
#[derive(Clone, Copy)]
pub struct Lookups<'a> {
    /// Keys and certificates.
    pub secrets: &'a SecretLookup<'a>,
    /// Trust roots.
    pub roots: &'a RootLookup<'a>,
}

/// The content of a Secret's single entry. Nothing in it is confidential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretContent {
    /// A public key.
    Key(PublicKey),
    /// The certificates of an authority.
    Certificates(CertificateAuthority),
}

/// A compiled policy, with its status conditions, errors and warnings.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The rule; present even if the policy is invalid.
    pub rule: Rule,
    /// For the status: `Ready`, `KeysInlined`, `TrustRootsInlined`, `PoliciesInlined`.
    pub conditions: Vec<Condition>,
    /// Validation errors; if there are any, the rule never holds.
    pub errors: FieldErrors,
    /// Warnings for the policy's author.
    pub warnings: FieldErrors,
    /// Patterns that no image can match: that part of the policy has no effect.
    pub impossible: FieldErrors,
}

/// A condition of a policy's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Ready`, `KeysInlined`, `TrustRootsInlined`, `PoliciesInlined`.
    pub kind: &'static str,
    /// True or False.
    pub holds: bool,
    /// A stable one-word reason; empty when it holds.
    pub reason: &'static str,
    /// A message for people; empty when it holds.
    pub message: String,
}

/// Compiles `policy`, read from `place` (`cluster`, or a file). `patterns` keeps the expressions
/// that are compiled.
pub fn compile(
    policy: &ClusterImagePolicy,
    place: &str,
    context: &Context,
    lookups: &Lookups<'_>,
    patterns: &mut Patterns,
) -> Compiled {
    if let Err(excess) = validate::within_bounds(policy, patterns) {
        return excessive(policy, place, excess);
    }
    let findings = validate::validate_stored(policy, context, patterns);
    let errors = findings.filter(Level::Error);
    let mut spec = policy.spec.clone();
    spec.set_defaults();
    let mode = mode(&spec);
    let mut with = Compilation { context, lookups, patterns, composed: ComposedRoots::default() };
    let need = need(&spec, &mut with, &errors);
    let when = when(&spec, mode, &need);
    let conditions = conditions(&need);
    let rule = Rule::new(policy.name.clone(), rule_source(policy, place), when, need, mode);
    let impossible = validate::impossible_patterns(&policy.spec).via_field("spec");
    let mut warnings = findings.filter(Level::Warning);
    warnings.also(root_warnings(policy, lookups.roots));
    Compiled { rule, conditions, errors, warnings, impossible }
}

/// Compiles a policy that exceeds a bound: nothing in the part that does is looked at. Its rule
/// never holds, and applies to what a policy with invalid parts applies to.
fn excessive(policy: &ClusterImagePolicy, place: &str, errors: FieldErrors) -> Compiled {
    let mut spec = policy.spec.clone();
    bounds::reduce(&mut spec);
    spec.set_defaults();
    let mode = mode(&spec);
    let need = invalid(&errors);
    let when = when(&spec, mode, &need);
    let conditions = conditions(&need);
    let rule = Rule::new(policy.name.clone(), rule_source(policy, place), when, need, mode);
    let (warnings, impossible) = (FieldErrors::none(), FieldErrors::none());
    Compiled { rule, conditions, errors, warnings, impossible }
}

fn rule_source(policy: &ClusterImagePolicy, place: &str) -> RuleSource {
    RuleSource {
        api_version: policy.version.api_version().to_owned(),
        kind: KIND.to_owned(),
        generation: policy.generation,
        place: place.to_owned(),
    }
}

fn mode(spec: &Spec) -> Mode {
    if spec.mode == "warn" { Mode::Warn } else { Mode::Enforce }
}

/// Returns the warnings about `policy` that depend on the trust roots.
pub fn root_warnings(policy: &ClusterImagePolicy, roots: &RootLookup<'_>) -> FieldErrors {
    let mut warnings = FieldErrors::none();
    for (index, authority) in policy.spec.authorities.iter().enumerate() {
        if let Some(message) = trust_config::other_log(authority, roots) {
            let warning = FieldErrors::generic(message, ["ctlog.url"]);
            warnings.also(warning.via_field_index("authorities", index));
        }
    }
    warnings.via_field("spec").at(Level::Warning)
}

/// Compiles a policy that cannot be parsed: its rule denies every image, since the images that it
/// applies to are unknown. A caller that has an older version of the policy may keep that one.
pub fn unreadable(name: &str, place: &str, error: &str) -> Compiled {
    let need = Need::Undecidable {
        authority: String::new(),
        condition: UndecidableReason::Invalid,
        detail: format!("the policy cannot be read: {error}"),
    };
    let when =
        When { images: vec![Glob::any()], tags: TagMatching::AsWritten, matches: Vec::new() };
    let source = RuleSource {
        api_version: GROUP.to_owned(),
        kind: KIND.to_owned(),
        generation: None,
        place: place.to_owned(),
    };
    let conditions = conditions(&need);
    let rule = Rule::new(name.to_owned(), source, when, need, Mode::Enforce);
    let errors = FieldErrors::generic(error, ["spec"]);
    let (warnings, impossible) = (FieldErrors::none(), FieldErrors::none());
    Compiled { rule, conditions, errors, warnings, impossible }
}

/// Returns the content of the Secret `name`: a public key, or a certificate authority's
/// certificates, in its single entry or in the `cosign.pub` of a key pair. `None` as data means
/// that there is no such Secret.
pub fn content_of_secret(
    name: &str,
    data: Option<&BTreeMap<String, Vec<u8>>>,
) -> Result<SecretContent, Fault> {
    let Some(data) = data else {
        return Err(secret_fault(FaultKind::Missing, name, "not found"));
    };
    let unusable = |what: &str| secret_fault(FaultKind::Config, name, what);
    let value = entry_of_secret(data).map_err(unusable)?;
    let pem = std::str::from_utf8(value);
    let pem = pem.map_err(|_| unusable("contains an invalid public key: not text"))?;
    match (PublicKey::from_pem(pem), certificate_authority(pem)) {
        (Ok(key), _) => Ok(SecretContent::Key(key)),
        (_, Ok(authority)) => Ok(SecretContent::Certificates(authority)),
        // The error's message repeats nothing that could be confidential.
        (Err(error), Err(_)) => Err(unusable(&format!("contains an invalid public key: {error}"))),
    }
}

/// The single entry, or the public key of a key pair as `generate-key-pair k8s://` stores it.
fn entry_of_secret(data: &BTreeMap<String, Vec<u8>>) -> Result<&Vec<u8>, &'static str> {
    let is_key_pair = data.keys().all(|name| KEY_PAIR_ENTRIES.contains(&name.as_str()));
    if let (Some(public), true) = (data.get(PUBLIC_ENTRY), is_key_pair) {
        return Ok(public);
    }
    let mut values = data.values();
    match (values.next(), values.next()) {
        (None, _) => Err("contains no data"),
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err("contains multiple data entries, only one is supported"),
    }
}

fn secret_fault(kind: FaultKind, name: &str, what: &str) -> Fault {
    Fault::new(kind, format!("secret {name}"), format!("secret {name:?} {what}"))
}

/// Parses a certificate authority from its certificates.
pub(crate) fn certificate_authority(pem: &str) -> Result<CertificateAuthority, InvalidTrustRoot> {
    let authority = AuthorityObject {
        uri: "ca-cert".to_owned(),
        cert_chain: pem.to_owned(),
        ..AuthorityObject::default()
    };
    let certificate_authorities = vec![authority];
    let keys = SigstoreKeys { certificate_authorities, ..SigstoreKeys::default() };
    let empty = InvalidTrustRoot::Pem { what: "certChain", detail: "no certificate in it" };
    TrustRoot::of_keys(&keys)?.certificate_authorities.pop().ok_or(empty)
}

/// The inputs of the compilation of authorities, and what those of one policy share.
struct Compilation<'a> {
    context: &'a Context,
    lookups: &'a Lookups<'a>,
    patterns: &'a mut Patterns,
    composed: ComposedRoots,
}

fn need(spec: &Spec, with: &mut Compilation<'_>, errors: &FieldErrors) -> Need {
    let authorities = if spec.is_exemption() {
        Need::Exempt
    } else {
        Need::Any(spec.authorities.iter().map(|a| authority(a, with)).collect())
    };
    let mut needs = vec![authorities];
    if spec.policy.is_some() {
        let detail = "the field `policy` (CUE, Rego) is not supported yet";
        needs.push(undecidable("", UndecidableReason::Policy, detail));
    }
    if errors.is_empty() && spec.authorities.is_empty() && !spec.is_exemption() {
        needs.push(undecidable("", UndecidableReason::Invalid, "the policy names no authorities"));
    }
    if !errors.is_empty() {
        needs.push(invalid(errors));
    }
    match needs.len() {
        1 => needs.swap_remove(0),
        _ => Need::All(needs),
    }
}

fn invalid(errors: &FieldErrors) -> Need {
    let detail = format!("the policy is not valid: {errors}").replace('\n', " ");
    undecidable("", UndecidableReason::Invalid, &detail)
}

fn undecidable(authority: &str, condition: UndecidableReason, detail: &str) -> Need {
    Need::Undecidable { authority: authority.to_owned(), condition, detail: detail.to_owned() }
}

fn authority(authority: &Authority, with: &mut Compilation<'_>) -> Need {
    let name = authority.name.as_str();
    if let Some((reason, detail)) = unsupported(authority) {
        return undecidable(name, reason, detail);
    }
    let signed = match (&authority.key, &authority.keyless, &authority.r#static) {
        (Some(key), None, None) => by_key(authority, key, with),
        (None, Some(keyless), None) => by_identities(authority, keyless, with),
        (None, None, Some(decision)) if decision.action == "pass" => {
            return Need::Always { authority: name.to_owned() };
        }
        (None, None, Some(decision)) if decision.action == "fail" => {
            let message = decision.message.clone();
            return Need::Never { authority: name.to_owned(), message };
        }
        _ => Err(Undecidable::invalid("the authority is not valid")),
    };
    signed.unwrap_or_else(|Undecidable { reason, detail }| undecidable(name, reason, &detail))
}

/// Returns the first part of an authority that this version does not support. Ignoring it would
/// admit images that the policy's author wants denied.
pub(crate) fn unsupported(authority: &Authority) -> Option<(UndecidableReason, &'static str)> {
    if !authority.attestations.is_empty() {
        return Some((UndecidableReason::Attestations, "attestations are not supported yet"));
    }
    let ca = authority.keyless.as_ref().and_then(|keyless| keyless.ca_cert.as_ref());
    let kms = [authority.key.as_ref(), ca].into_iter().flatten().any(|key| !key.kms.is_empty());
    kms.then_some((UndecidableReason::Kms, "keys in a KMS are not supported yet"))
}

fn by_key(
    authority: &Authority,
    key: &KeyRef,
    with: &mut Compilation<'_>,
) -> Result<Need, Undecidable> {
    let keys = vec![public_key(key, with)?];
    let hash = match validate::hash_algorithm(&key.hash_algorithm) {
        // The default, which the defaulting webhook writes into every policy, so that it cannot
        // be told from a setting. cosign itself signs with the hash that fits the key.
        Some(HashAlgorithm::Sha256) => None,
        Some(other) => Some(other),
        None => return Err(Undecidable::invalid("the hash algorithm is unknown")),
    };
    let trust_config = trust_config::of_key(authority, with.lookups.roots, &mut with.composed)?;
    signed(authority, KeyAuthority { keys, hash }.into(), trust_config)
}

fn by_identities(
    authority: &Authority,
    keyless: &Keyless,
    with: &mut Compilation<'_>,
) -> Result<Need, Undecidable> {
    let identities = keyless.identities.iter().map(|one| identity(one, with.patterns));
    let identities = identities.collect::<Option<Vec<_>>>();
    let identities = identities.filter(|identities| !identities.is_empty());
    let Some(identities) = identities else {
        return Err(Undecidable::invalid("the identities are not valid"));
    };
    let ca = match &keyless.ca_cert {
        Some(certificate) => Some(ca_certificate(certificate, with)?),
        None => None,
    };
    let trust_config =
        trust_config::of_keyless(authority, keyless, ca, with.lookups.roots, &mut with.composed)?;
    signed(authority, Signers::Identities(IdentityAuthority { identities }), trust_config)
}

fn signed(
    authority: &Authority,
    by: Signers,
    trust_config: TrustConfig,
) -> Result<Need, Undecidable> {
    let (Ok(source), Some(formats)) = (source(authority), formats(&authority.signature_format))
    else {
        return Err(Undecidable::invalid("the authority is not valid"));
    };
    let requirement =
        SignatureRequirement { source, ..SignatureRequirement::new(by, trust_config) };
    Ok(Need::Signed(SignedBy::new(authority.name.clone(), requirement, formats)))
}

/// Compiles an identity: issuer and subject are both required, each in exactly one form.
fn identity(identity: &Identity, patterns: &mut Patterns) -> Option<IdentityMatcher> {
    let mut wanted = |text: &String, pattern: &String| match (text.is_empty(), pattern.is_empty()) {
        (false, true) => Some(Wanted::Exactly(text.clone())),
        (true, false) => patterns.get(pattern).ok().map(Wanted::Matching),
        _ => None,
    };
    Some(IdentityMatcher {
        issuer: Some(wanted(&identity.issuer, &identity.issuer_reg_exp)?),
        subject: Some(wanted(&identity.subject, &identity.subject_reg_exp)?),
        claims: BTreeMap::new(),
    })
}

fn public_key(key: &KeyRef, with: &Compilation<'_>) -> Result<PublicKey, Undecidable> {
    match key_material(key, with)? {
        KeyMaterial::Pem(pem) => {
            PublicKey::from_pem(pem).map_err(|error| Undecidable::key(format!("key.data: {error}")))
        }
        KeyMaterial::Secret(_, SecretContent::Key(key)) => Ok(key),
        KeyMaterial::Secret(name, SecretContent::Certificates(_)) => {
            let what = "contains an invalid public key: it is a certificate";
            Err(Undecidable::key(format!("secret {name:?} {what}")))
        }
    }
}

fn ca_certificate(
    certificate: &KeyRef,
    with: &Compilation<'_>,
) -> Result<CertificateAuthority, Undecidable> {
    match key_material(certificate, with)? {
        KeyMaterial::Pem(pem) => certificate_authority(pem)
            .map_err(|error| Undecidable::key(format!("ca-cert.data: {error}"))),
        KeyMaterial::Secret(_, SecretContent::Certificates(authority)) => Ok(authority),
        KeyMaterial::Secret(name, SecretContent::Key(_)) => {
            Err(Undecidable::key(format!("secret {name:?} contains no certificate")))
        }
    }
}

/// The key material that a reference resolves to.
enum KeyMaterial<'a> {
    Pem(&'a str),
    Secret(&'a str, SecretContent),
}

fn key_material<'a>(
    key: &'a KeyRef,
    with: &Compilation<'_>,
) -> Result<KeyMaterial<'a>, Undecidable> {
    let Compilation { context, lookups, .. } = with;
    match (&key.secret_ref, key.data.as_str()) {
        (None, "") => Err(Undecidable::key("the authority names no key")),
        (None, pem) => Ok(KeyMaterial::Pem(pem)),
        (Some(secret), "") => {
            if !secret.namespace.is_empty() && secret.namespace != context.system_namespace {
                return Err(Undecidable::key("the secret is in another namespace than the gate"));
            }
            let (name, namespace) = (secret.name.clone(), context.system_namespace.clone());
            let content = (lookups.secrets)(&SecretRef { name, namespace });
            let content = content.map_err(|fault| Undecidable::key(fault.detail))?;
            Ok(KeyMaterial::Secret(&secret.name, content))
        }
        (Some(_), _) => Err(Undecidable::key("the authority names several keys")),
    }
}

impl Undecidable {
    fn invalid(detail: &str) -> Self {
        Self { reason: UndecidableReason::Invalid, detail: detail.to_owned() }
    }

    fn key(detail: impl Into<String>) -> Self {
        Self { reason: UndecidableReason::Key, detail: detail.into() }
    }
}

fn source(authority: &Authority) -> Result<Option<Source>, ()> {
    let [source] = authority.source.as_slice() else {
        return if authority.source.is_empty() { Ok(None) } else { Err(()) };
    };
    let repository = match source.oci.as_str() {
        "" => None,
        oci => Some(Repository::parse(oci).map_err(|_| ())?),
    };
    let pull_secrets = source.signature_pull_secrets.iter().map(|s| s.name.clone()).collect();
    let tag_prefix = source.tag_prefix.clone().filter(|prefix| !prefix.is_empty());
    Ok(Some(Source { repository, include_image_repository: false, tag_prefix, pull_secrets }))
}

fn formats(name: &str) -> Option<Formats> {
    [Formats::Both, Formats::Legacy, Formats::Bundle].into_iter().find(|f| f.name() == name)
}

fn when(spec: &Spec, mode: Mode, need: &Need) -> When {
    let or_any = |glob: Option<Glob>| glob.or_else(|| (mode == Mode::Enforce).then(Glob::any));
    let mut images: Vec<Glob> =
        spec.images.iter().filter_map(|image| or_any(Glob::parse(&image.glob).ok())).collect();
    if spec.images.is_empty() {
        images.extend(or_any(None));
    }
    let unsigned = mode == Mode::Warn || need.can_hold_unsigned();
    let tags = if unsigned { TagMatching::OnlyWithoutDigest } else { TagMatching::AsWritten };
    let entries: Vec<Option<ObjectMatch>> = spec.r#match.iter().map(object).collect();
    let all_invalid = entries.iter().all(Option::is_none);
    let any_invalid = entries.iter().any(Option::is_none);
    let matches = match mode {
        Mode::Enforce if any_invalid => Vec::new(),
        Mode::Warn if any_invalid && all_invalid => {
            images.clear();
            Vec::new()
        }
        _ => entries.into_iter().flatten().collect(),
    };
    When { images, tags, matches }
}

/// Compiles an entry of `match`; `None` if it is invalid.
fn object(entry: &Match) -> Option<ObjectMatch> {
    if !validate::match_errors(entry).is_empty() {
        return None;
    }
    let some = |text: &String| (!text.is_empty() && text != "*").then(|| text.clone());
    Some(ObjectMatch {
        namespaces: entry.namespaces.clone().unwrap_or_default(),
        group: some(&entry.group),
        version: some(&entry.version),
        resource: some(&entry.resource),
        selector: entry.selector.as_ref().map_or(Some(Selector::default()), selector)?,
    })
}

fn selector(selector: &LabelSelector) -> Option<Selector> {
    let labels = selector.match_labels.iter().map(|(key, value)| Requirement {
        key: key.clone(),
        operator: Operator::In,
        values: [value.clone()].into(),
    });
    let mut requirements: Vec<Requirement> = labels.collect();
    for expression in &selector.match_expressions {
        requirements.push(Requirement {
            key: expression.key.clone(),
            operator: operator(&expression.operator)?,
            values: expression.values.iter().cloned().collect(),
        });
    }
    Some(Selector::new(requirements))
}

fn operator(name: &str) -> Option<Operator> {
    match name {
        "In" => Some(Operator::In),
        "NotIn" => Some(Operator::NotIn),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        _ => None,
    }
}

fn conditions(need: &Need) -> Vec<Condition> {
    let reasons = undecidable_reasons(need);
    let keys = |reason: &UndecidableReason| {
        matches!(reason, UndecidableReason::Key | UndecidableReason::Kms)
    };
    let roots = |reason: &UndecidableReason| matches!(reason, UndecidableReason::TrustRoot);
    let policies = |reason: &UndecidableReason| matches!(reason, UndecidableReason::Policy);
    vec![
        condition("KeysInlined", reasons.iter().filter(|(reason, _)| keys(reason))),
        condition("TrustRootsInlined", reasons.iter().filter(|(reason, _)| roots(reason))),
        condition("PoliciesInlined", reasons.iter().filter(|(reason, _)| policies(reason))),
        condition("Ready", reasons.iter()),
    ]
}

fn condition<'a>(
    kind: &'static str,
    reasons: impl Iterator<Item = &'a (UndecidableReason, String)>,
) -> Condition {
    let reasons: Vec<_> = reasons.collect();
    let reason = reasons.first().map_or("", |(reason, _)| reason.code());
    let message: Vec<&str> = reasons.iter().map(|(_, message)| message.as_str()).collect();
    Condition { kind, holds: reasons.is_empty(), reason, message: message.join("; ") }
}

/// Returns every reason why `need` is undecidable, each with a message.
pub fn undecidable_reasons(need: &Need) -> Vec<(UndecidableReason, String)> {
    let mut reasons = Vec::new();
    collect_reasons(need, &mut reasons);
    reasons
}

fn collect_reasons(need: &Need, reasons: &mut Vec<(UndecidableReason, String)>) {
    match need {
        Need::All(needs) | Need::Any(needs) => {
            needs.iter().for_each(|need| collect_reasons(need, reasons));
        }
        Need::Undecidable { authority, condition, detail } => {
            let who = if authority.is_empty() { "" } else { "authority " };
            let joint = if authority.is_empty() { "" } else { ": " };
            reasons.push((*condition, format!("{who}{authority}{joint}{detail}")));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
