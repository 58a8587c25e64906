//! A `ClusterImagePolicy` to a [`Rule`].
//!
//! A policy never drops out. What cannot be had (a key, a field of a later version, a policy that
//! is not valid) becomes [`Need::Undecidable`], which never holds, so an enforcing policy refuses
//! what it cannot judge. In the peer such a policy vanishes, and its images are let in by
//! whatever else is there.
//!
//! A pattern or a `match` entry that is broken leaves open which images are meant. An enforcing
//! policy that is broken so refuses, so there a broken part matches everything it can be about.
//! A policy in mode warn lets in, and it counts as a match that silences the no-match policy; so
//! there a broken part matches nothing. Either way the doubt falls on the safe side.

use std::collections::BTreeMap;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher, Pattern, Wanted};
use sealgate_core::key::{HashAlgorithm, PublicKey};
use sealgate_core::reference::Repository;
use sealgate_core::trust::{
    AuthorityObject, CertificateAuthority, InvalidTrustRoot, SigstoreKeys, TrustRoot,
};
use sealgate_core::verify::{Authority as Signers, KeyAuthority, TrustConfig};

use crate::cip::field_error::{FieldErrors, Level};
use crate::cip::validate::{self, Context};
use crate::cip::{
    Authority, ClusterImagePolicy, GROUP, Identity, KIND, KeyRef, Keyless, LabelSelector, Match,
    SecretRef, Spec,
};
use crate::glob::{Glob, TagTrust};
use crate::object_match::{ObjectMatch, Operator, Requirement, Selector};
use crate::rule::{
    Formats, Mode, Need, Origin, Rule, SignatureRequirement, SignedBy, Source, UndecidableReason,
    When,
};

mod trust_config;

use trust_config::Lacking;
pub use trust_config::{RootLookup, RootRef};

/// The entry of a key pair's secret that holds the public key.
const PUBLIC_ENTRY: &str = "cosign.pub";
/// The entries of the secret that `generate-key-pair k8s://` makes, here and in cosign.
const KEY_PAIR_ENTRIES: [&str; 3] = [PUBLIC_ENTRY, "cosign.key", "cosign.password"];

/// How a policy's secrets are had: what is in a secret, whose namespace is always filled in.
/// [`content_of_secret`] does the part that needs no cluster.
pub type SecretLookup<'a> = dyn Fn(&SecretRef) -> Result<SecretContent, Fault> + 'a;

/// How everything is had that a policy names and does not hold itself.
#[derive(Clone, Copy)]
pub struct Lookups<'a> {
    /// Keys and certificates.
    pub secrets: &'a SecretLookup<'a>,
    /// Trust roots.
    pub roots: &'a RootLookup<'a>,
}

/// What the one entry of a secret is. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretContent {
    /// A public key.
    Key(PublicKey),
    /// The certificates of an authority.
    Certificates(CertificateAuthority),
}

/// A compiled policy, with what there is to say about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The rule; always there.
    pub rule: Rule,
    /// For the status: `Ready`, `KeysInlined`, `TrustRootsInlined`, `PoliciesInlined`.
    pub conditions: Vec<Condition>,
    /// What makes the policy not valid; then the rule never holds.
    pub errors: FieldErrors,
    /// What its author should know.
    pub warnings: FieldErrors,
    /// The patterns that no image can match: that part of the policy is off.
    pub impossible: FieldErrors,
}

/// A condition of a policy's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Ready`, `KeysInlined`, `TrustRootsInlined`, `PoliciesInlined`.
    pub kind: &'static str,
    /// True or False.
    pub holds: bool,
    /// One stable word; empty when it holds.
    pub reason: &'static str,
    /// For a person; empty when it holds.
    pub message: String,
}

/// Compiles `policy`, read at `place` (`cluster`, or a file).
pub fn compile(
    policy: &ClusterImagePolicy,
    place: &str,
    context: &Context,
    lookups: &Lookups<'_>,
) -> Compiled {
    let said = validate::validate_stored(policy, context);
    let errors = said.filter(Level::Error);
    let mut spec = policy.spec.clone();
    spec.set_defaults();
    let mode = if spec.mode == "warn" { Mode::Warn } else { Mode::Enforce };
    let need = need(&spec, context, lookups, &errors);
    let when = when(&spec, mode, &need);
    let origin = Origin {
        api_version: policy.version.api_version().to_owned(),
        kind: KIND.to_owned(),
        generation: policy.generation,
        place: place.to_owned(),
    };
    let conditions = conditions(&need);
    let rule = Rule::new(policy.name.clone(), origin, when, need, mode);
    let impossible = validate::impossible_patterns(&policy.spec).via_field("spec");
    let mut warnings = said.filter(Level::Warning);
    warnings.also(root_warnings(policy, lookups.roots));
    Compiled { rule, conditions, errors, warnings, impossible }
}

/// What the author of `policy` should know about it beside these trust roots.
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

/// The rule of a policy that cannot even be read: it refuses every image, since nobody knows
/// which ones it is about. A caller that has an older version of the policy may keep that one.
pub fn unreadable(name: &str, place: &str, error: &str) -> Compiled {
    let need = Need::Undecidable {
        authority: String::new(),
        condition: UndecidableReason::Invalid,
        detail: format!("the policy cannot be read: {error}"),
    };
    let when = When { images: vec![Glob::any()], tags: TagTrust::AsWritten, matches: Vec::new() };
    let origin = Origin {
        api_version: GROUP.to_owned(),
        kind: KIND.to_owned(),
        generation: None,
        place: place.to_owned(),
    };
    let conditions = conditions(&need);
    let rule = Rule::new(name.to_owned(), origin, when, need, Mode::Enforce);
    let errors = FieldErrors::generic(error, ["spec"]);
    let (warnings, impossible) = (FieldErrors::none(), FieldErrors::none());
    Compiled { rule, conditions, errors, warnings, impossible }
}

/// What is in the data of secret `name`: a public key, or an authority's certificates, in its one
/// entry or in the `cosign.pub` of a key pair. `None`: there is no such secret.
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
        // The words of the error repeat nothing that could be secret.
        (Err(error), Err(_)) => Err(unusable(&format!("contains an invalid public key: {error}"))),
    }
}

/// The one entry, or the public half of a key pair as `generate-key-pair k8s://` stores it.
fn entry_of_secret(data: &BTreeMap<String, Vec<u8>>) -> Result<&Vec<u8>, &'static str> {
    let is_of_a_pair = data.keys().all(|name| KEY_PAIR_ENTRIES.contains(&name.as_str()));
    if let (Some(public), true) = (data.get(PUBLIC_ENTRY), is_of_a_pair) {
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

/// The authority whose certificates these are.
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

fn need(spec: &Spec, context: &Context, lookups: &Lookups<'_>, errors: &FieldErrors) -> Need {
    let authorities = if spec.is_exemption() {
        Need::Exempt
    } else {
        Need::Any(spec.authorities.iter().map(|a| authority(a, context, lookups)).collect())
    };
    let mut needs = vec![authorities];
    if spec.policy.is_some() {
        let detail = "the field `policy` (CUE, Rego) is not supported yet";
        needs.push(lacking("", UndecidableReason::Policy, detail));
    }
    if errors.is_empty() && spec.authorities.is_empty() && !spec.is_exemption() {
        needs.push(lacking("", UndecidableReason::Invalid, "the policy names no authorities"));
    }
    if !errors.is_empty() {
        let detail = format!("the policy is not valid: {errors}").replace('\n', " ");
        needs.push(lacking("", UndecidableReason::Invalid, &detail));
    }
    match needs.len() {
        1 => needs.swap_remove(0),
        _ => Need::All(needs),
    }
}

fn lacking(authority: &str, condition: UndecidableReason, detail: &str) -> Need {
    Need::Undecidable { authority: authority.to_owned(), condition, detail: detail.to_owned() }
}

fn authority(authority: &Authority, context: &Context, lookups: &Lookups<'_>) -> Need {
    let name = authority.name.as_str();
    if let Some((lack, detail)) = not_yet(authority) {
        return lacking(name, lack, detail);
    }
    let signed = match (&authority.key, &authority.keyless, &authority.r#static) {
        (Some(key), None, None) => by_key(authority, key, context, lookups),
        (None, Some(keyless), None) => by_identities(authority, keyless, context, lookups),
        (None, None, Some(decision)) if decision.action == "pass" => {
            return Need::Always { authority: name.to_owned() };
        }
        (None, None, Some(decision)) if decision.action == "fail" => {
            let message = decision.message.clone();
            return Need::Never { authority: name.to_owned(), message };
        }
        _ => Err(Lacking::invalid("the authority is not valid")),
    };
    signed.unwrap_or_else(|Lacking { lack, detail }| lacking(name, lack, &detail))
}

/// What an authority asks for that this version does not check. To leave the requirement out would
/// admit what its author refuses.
pub(crate) fn not_yet(authority: &Authority) -> Option<(UndecidableReason, &'static str)> {
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
    context: &Context,
    lookups: &Lookups<'_>,
) -> Result<Need, Lacking> {
    let keys = vec![public_key(key, context, lookups)?];
    let hash = match validate::hash_algorithm(&key.hash_algorithm) {
        // The default, which the defaulting webhook writes into every policy, so that it cannot
        // be told from a setting. cosign itself signs with the hash that fits the key.
        Some(HashAlgorithm::Sha256) => None,
        Some(other) => Some(other),
        None => return Err(Lacking::invalid("the hash algorithm is unknown")),
    };
    let trust_config = trust_config::of_key(authority, lookups.roots)?;
    signed(authority, KeyAuthority { keys, hash }.into(), trust_config)
}

fn by_identities(
    authority: &Authority,
    keyless: &Keyless,
    context: &Context,
    lookups: &Lookups<'_>,
) -> Result<Need, Lacking> {
    let identities = keyless.identities.iter().map(identity).collect::<Option<Vec<_>>>();
    let identities = identities.filter(|identities| !identities.is_empty());
    let Some(identities) = identities else {
        return Err(Lacking::invalid("the identities are not valid"));
    };
    let ca = match &keyless.ca_cert {
        Some(certificate) => Some(ca_certificate(certificate, context, lookups)?),
        None => None,
    };
    let trust_config = trust_config::of_keyless(authority, keyless, ca, lookups.roots)?;
    signed(authority, Signers::Identities(IdentityAuthority { identities }), trust_config)
}

fn signed(authority: &Authority, by: Signers, trust_config: TrustConfig) -> Result<Need, Lacking> {
    let (Ok(source), Some(formats)) = (source(authority), formats(&authority.signature_format))
    else {
        return Err(Lacking::invalid("the authority is not valid"));
    };
    let requirement =
        SignatureRequirement { source, ..SignatureRequirement::new(by, trust_config) };
    Ok(Need::Signed(SignedBy::new(authority.name.clone(), requirement, formats)))
}

/// Both issuer and subject must be asked for, each in exactly one way.
fn identity(identity: &Identity) -> Option<IdentityMatcher> {
    let wanted = |text: &String, pattern: &String| match (text.is_empty(), pattern.is_empty()) {
        (false, true) => Some(Wanted::Exactly(text.clone())),
        (true, false) => Pattern::new(pattern).ok().map(Wanted::Matching),
        _ => None,
    };
    Some(IdentityMatcher {
        issuer: Some(wanted(&identity.issuer, &identity.issuer_reg_exp)?),
        subject: Some(wanted(&identity.subject, &identity.subject_reg_exp)?),
        claims: BTreeMap::new(),
    })
}

fn public_key(
    key: &KeyRef,
    context: &Context,
    lookups: &Lookups<'_>,
) -> Result<PublicKey, Lacking> {
    match referred(key, context, lookups)? {
        Referred::Pem(pem) => {
            PublicKey::from_pem(pem).map_err(|error| Lacking::key(format!("key.data: {error}")))
        }
        Referred::Secret(_, SecretContent::Key(key)) => Ok(key),
        Referred::Secret(name, SecretContent::Certificates(_)) => {
            let what = "contains an invalid public key: it is a certificate";
            Err(Lacking::key(format!("secret {name:?} {what}")))
        }
    }
}

fn ca_certificate(
    certificate: &KeyRef,
    context: &Context,
    lookups: &Lookups<'_>,
) -> Result<CertificateAuthority, Lacking> {
    match referred(certificate, context, lookups)? {
        Referred::Pem(pem) => certificate_authority(pem)
            .map_err(|error| Lacking::key(format!("ca-cert.data: {error}"))),
        Referred::Secret(_, SecretContent::Certificates(authority)) => Ok(authority),
        Referred::Secret(name, SecretContent::Key(_)) => {
            Err(Lacking::key(format!("secret {name:?} contains no certificate")))
        }
    }
}

/// What a reference leads to.
enum Referred<'a> {
    Pem(&'a str),
    Secret(&'a str, SecretContent),
}

fn referred<'a>(
    key: &'a KeyRef,
    context: &Context,
    lookups: &Lookups<'_>,
) -> Result<Referred<'a>, Lacking> {
    match (&key.secret_ref, key.data.as_str()) {
        (None, "") => Err(Lacking::key("the authority names no key")),
        (None, pem) => Ok(Referred::Pem(pem)),
        (Some(secret), "") => {
            if !secret.namespace.is_empty() && secret.namespace != context.system_namespace {
                return Err(Lacking::key("the secret is in another namespace than the gate"));
            }
            let (name, namespace) = (secret.name.clone(), context.system_namespace.clone());
            let content = (lookups.secrets)(&SecretRef { name, namespace });
            let content = content.map_err(|fault| Lacking::key(fault.detail))?;
            Ok(Referred::Secret(&secret.name, content))
        }
        (Some(_), _) => Err(Lacking::key("the authority names several keys")),
    }
}

impl Lacking {
    fn invalid(detail: &str) -> Self {
        Self { lack: UndecidableReason::Invalid, detail: detail.to_owned() }
    }

    fn key(detail: impl Into<String>) -> Self {
        Self { lack: UndecidableReason::Key, detail: detail.into() }
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
    Ok(Some(Source { repository, also_beside: false, tag_prefix, pull_secrets }))
}

fn formats(name: &str) -> Option<Formats> {
    [Formats::Both, Formats::Legacy, Formats::Bundle].into_iter().find(|f| f.name() == name)
}

fn when(spec: &Spec, mode: Mode, need: &Need) -> When {
    let broken = |glob: Option<Glob>| glob.or_else(|| (mode == Mode::Enforce).then(Glob::any));
    let mut images: Vec<Glob> =
        spec.images.iter().filter_map(|image| broken(Glob::parse(&image.glob).ok())).collect();
    if spec.images.is_empty() {
        images.extend(broken(None));
    }
    let unsigned = mode == Mode::Warn || need.can_hold_unsigned();
    let tags = if unsigned { TagTrust::OnlyWithoutDigest } else { TagTrust::AsWritten };
    let entries: Vec<Option<ObjectMatch>> = spec.r#match.iter().map(object).collect();
    let all_broken = entries.iter().all(Option::is_none);
    let any_broken = entries.iter().any(Option::is_none);
    let matches = match mode {
        Mode::Enforce if any_broken => Vec::new(),
        Mode::Warn if any_broken && all_broken => {
            images.clear();
            Vec::new()
        }
        _ => entries.into_iter().flatten().collect(),
    };
    When { images, tags, matches }
}

/// An entry of `match`, unless it is not valid.
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
    let lacks = lacks(need);
    let keys =
        |lack: &UndecidableReason| matches!(lack, UndecidableReason::Key | UndecidableReason::Kms);
    let roots = |lack: &UndecidableReason| matches!(lack, UndecidableReason::TrustRoot);
    let policies = |lack: &UndecidableReason| matches!(lack, UndecidableReason::Policy);
    vec![
        condition("KeysInlined", lacks.iter().filter(|(lack, _)| keys(lack))),
        condition("TrustRootsInlined", lacks.iter().filter(|(lack, _)| roots(lack))),
        condition("PoliciesInlined", lacks.iter().filter(|(lack, _)| policies(lack))),
        condition("Ready", lacks.iter()),
    ]
}

fn condition<'a>(
    kind: &'static str,
    lacks: impl Iterator<Item = &'a (UndecidableReason, String)>,
) -> Condition {
    let lacks: Vec<_> = lacks.collect();
    let reason = lacks.first().map_or("", |(lack, _)| lack.code());
    let message: Vec<&str> = lacks.iter().map(|(_, message)| message.as_str()).collect();
    Condition { kind, holds: lacks.is_empty(), reason, message: message.join("; ") }
}

/// All that keeps `need` from being judged, each with words for people.
pub fn lacks(need: &Need) -> Vec<(UndecidableReason, String)> {
    let mut lacks = Vec::new();
    collect_lacks(need, &mut lacks);
    lacks
}

fn collect_lacks(need: &Need, lacks: &mut Vec<(UndecidableReason, String)>) {
    match need {
        Need::All(needs) | Need::Any(needs) => {
            needs.iter().for_each(|need| collect_lacks(need, lacks));
        }
        Need::Undecidable { authority, condition, detail } => {
            let who = if authority.is_empty() { "" } else { "authority " };
            let joint = if authority.is_empty() { "" } else { ": " };
            lacks.push((*condition, format!("{who}{authority}{joint}{detail}")));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
