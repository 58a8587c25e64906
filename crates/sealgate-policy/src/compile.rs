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
use sealgate_core::key::{HashAlgorithm, PublicKey};
use sealgate_core::reference::Repository;
use sealgate_core::verify::{Grounds, KeyAuthority};

use crate::cip::field_error::{FieldErrors, Level};
use crate::cip::validate::{self, Context};
use crate::cip::{
    Authority, ClusterImagePolicy, GROUP, KIND, KeyRef, LabelSelector, Match, SecretRef, Spec,
};
use crate::glob::{Glob, TagTrust};
use crate::object_match::{ObjectMatch, Operator, Requirement, Selector};
use crate::rule::{Formats, Lack, Mode, Need, Origin, Rule, SignedBy, Source, When};

/// How a policy's secrets are had: the keys of a secret, whose namespace is always filled in.
/// [`keys_of_secret`] does the part that needs no cluster.
pub type KeyLookup<'a> = dyn Fn(&SecretRef) -> Result<Vec<PublicKey>, Fault> + 'a;

/// A compiled policy, with what there is to say about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The rule; always there.
    pub rule: Rule,
    /// For the status: `Ready`, `KeysInlined`, `PoliciesInlined`.
    pub conditions: Vec<Condition>,
    /// What makes the policy not valid; then the rule never holds.
    pub errors: FieldErrors,
    /// What its author should know.
    pub warnings: FieldErrors,
}

/// A condition of a policy's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Ready`, `KeysInlined`, `PoliciesInlined`.
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
    keys: &KeyLookup<'_>,
) -> Compiled {
    let said = validate::validate(policy, context);
    let errors = said.filter(Level::Error);
    let mut spec = policy.spec.clone();
    spec.set_defaults();
    let mode = if spec.mode == "warn" { Mode::Warn } else { Mode::Enforce };
    let need = need(&spec, context, keys, &errors);
    let when = when(&spec, mode, &need);
    let origin = Origin {
        api_version: policy.version.api_version().to_owned(),
        kind: KIND.to_owned(),
        generation: policy.generation,
        place: place.to_owned(),
    };
    let conditions = conditions(&need);
    let rule = Rule::new(policy.name.clone(), origin, when, need, mode);
    Compiled { rule, conditions, errors, warnings: said.filter(Level::Warning) }
}

/// The rule of a policy that cannot even be read: it refuses every image, since nobody knows
/// which ones it is about. A caller that has an older version of the policy may keep that one.
pub fn unreadable(name: &str, place: &str, error: &str) -> Compiled {
    let need = Need::Undecidable {
        authority: String::new(),
        condition: Lack::Invalid,
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
    Compiled { rule, conditions, errors, warnings: FieldErrors::none() }
}

/// The key in the data of secret `name`. `None`: there is no such secret.
pub fn keys_of_secret(
    name: &str,
    data: Option<&BTreeMap<String, Vec<u8>>>,
) -> Result<Vec<PublicKey>, Fault> {
    let fault = |kind, what: String| {
        Err(Fault::new(kind, format!("secret {name}"), format!("secret {name:?} {what}")))
    };
    let Some(data) = data else {
        return fault(FaultKind::Missing, "not found".to_owned());
    };
    let mut values = data.values();
    let (Some(value), None) = (values.next(), values.next()) else {
        let what = match data.len() {
            0 => "contains no data",
            _ => "contains multiple data entries, only one is supported",
        };
        return fault(FaultKind::Config, what.to_owned());
    };
    // The error of an invalid key may repeat what it read; that stays here.
    match std::str::from_utf8(value).ok().map(PublicKey::from_pem) {
        Some(Ok(key)) => Ok(vec![key]),
        _ => fault(FaultKind::Config, "contains an invalid public key".to_owned()),
    }
}

fn need(spec: &Spec, context: &Context, keys: &KeyLookup<'_>, errors: &FieldErrors) -> Need {
    let authorities = if spec.is_exemption() {
        Need::Exempt
    } else {
        Need::Any(spec.authorities.iter().map(|a| authority(a, context, keys)).collect())
    };
    let mut needs = vec![authorities];
    if spec.policy.is_some() {
        let detail = "the field `policy` (CUE, Rego) is not supported yet";
        needs.push(lacking("", Lack::Policy, detail));
    }
    if errors.is_empty() && spec.authorities.is_empty() && !spec.is_exemption() {
        needs.push(lacking("", Lack::Invalid, "the policy names no authorities"));
    }
    if !errors.is_empty() {
        let detail = format!("the policy is not valid: {errors}").replace('\n', " ");
        needs.push(lacking("", Lack::Invalid, &detail));
    }
    match needs.len() {
        1 => needs.swap_remove(0),
        _ => Need::All(needs),
    }
}

fn lacking(authority: &str, condition: Lack, detail: &str) -> Need {
    Need::Undecidable { authority: authority.to_owned(), condition, detail: detail.to_owned() }
}

fn authority(authority: &Authority, context: &Context, keys: &KeyLookup<'_>) -> Need {
    let name = authority.name.as_str();
    if let Some((lack, detail)) = not_yet(authority) {
        return lacking(name, lack, detail);
    }
    match (&authority.key, &authority.r#static) {
        (Some(key), None) => signed(authority, key, context, keys),
        (None, Some(decision)) if decision.action == "pass" => {
            Need::Always { authority: name.to_owned() }
        }
        (None, Some(decision)) if decision.action == "fail" => {
            Need::Never { authority: name.to_owned(), message: decision.message.clone() }
        }
        _ => lacking(name, Lack::Invalid, "the authority is not valid"),
    }
}

/// What an authority asks for that this version does not check. To leave the demand out would
/// admit what its author refuses.
pub(crate) fn not_yet(authority: &Authority) -> Option<(Lack, &'static str)> {
    if authority.keyless.is_some() {
        Some((Lack::Keyless, "keyless authorities are not supported yet"))
    } else if !authority.attestations.is_empty() {
        Some((Lack::Attestations, "attestations are not supported yet"))
    } else if authority.ctlog.is_some() {
        Some((Lack::TransparencyLog, "proofs of a transparency log (ctlog) are not supported yet"))
    } else if authority.rfc3161timestamp.is_some() {
        Some((Lack::Timestamp, "signed timestamps (rfc3161timestamp) are not supported yet"))
    } else {
        let kms = authority.key.as_ref().is_some_and(|key| !key.kms.is_empty());
        kms.then_some((Lack::Kms, "keys in a KMS are not supported yet"))
    }
}

fn signed(authority: &Authority, key: &KeyRef, context: &Context, keys: &KeyLookup<'_>) -> Need {
    let name = authority.name.as_str();
    let found = match public_keys(key, context, keys) {
        Ok(keys) if keys.is_empty() => Err("no public key there".to_owned()),
        Ok(keys) => Ok(keys),
        Err(why) => Err(why),
    };
    let keys = match found {
        Ok(keys) => keys,
        Err(why) => return lacking(name, Lack::Key, &why),
    };
    let (Ok(source), Some(formats)) = (source(authority), formats(&authority.signature_format))
    else {
        return lacking(name, Lack::Invalid, "the authority is not valid");
    };
    let hash = match validate::hash_algorithm(&key.hash_algorithm) {
        // The default, which the defaulting webhook writes into every policy, so that it cannot
        // be told from a wish. cosign itself signs with the hash that fits the key.
        Some(HashAlgorithm::Sha256) => None,
        Some(other) => Some(other),
        None => return lacking(name, Lack::Invalid, "the hash algorithm is unknown"),
    };
    let by = KeyAuthority { keys, hash }.into();
    let grounds = Grounds::default();
    Need::Signed(SignedBy { authority: name.to_owned(), by, grounds, source, formats })
}

fn public_keys(
    key: &KeyRef,
    context: &Context,
    keys: &KeyLookup<'_>,
) -> Result<Vec<PublicKey>, String> {
    match (&key.secret_ref, key.data.as_str()) {
        (None, "") => Err("the authority names no key".to_owned()),
        (None, pem) => match PublicKey::from_pem(pem) {
            Ok(key) => Ok(vec![key]),
            Err(_) => Err("key.data is not a PEM encoded public key that we accept".to_owned()),
        },
        (Some(secret), "") => {
            if !secret.namespace.is_empty() && secret.namespace != context.system_namespace {
                return Err("the secret is in another namespace than the gate".to_owned());
            }
            let namespace = context.system_namespace.clone();
            let secret = SecretRef { name: secret.name.clone(), namespace };
            keys(&secret).map_err(|fault| fault.detail)
        }
        (Some(_), _) => Err("the authority names several keys".to_owned()),
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
    Ok(Some(Source { repository, tag_prefix, pull_secrets }))
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
    let mut lacks = Vec::new();
    collect_lacks(need, &mut lacks);
    let keys = |lack: &Lack| matches!(lack, Lack::Key | Lack::Kms);
    let policies = |lack: &Lack| matches!(lack, Lack::Policy);
    vec![
        condition("KeysInlined", lacks.iter().filter(|(lack, _)| keys(lack))),
        condition("PoliciesInlined", lacks.iter().filter(|(lack, _)| policies(lack))),
        condition("Ready", lacks.iter()),
    ]
}

fn condition<'a>(kind: &'static str, lacks: impl Iterator<Item = &'a (Lack, String)>) -> Condition {
    let lacks: Vec<_> = lacks.collect();
    let reason = lacks.first().map_or("", |(lack, _)| lack.code());
    let message: Vec<&str> = lacks.iter().map(|(_, message)| message.as_str()).collect();
    Condition { kind, holds: lacks.is_empty(), reason, message: message.join("; ") }
}

fn collect_lacks(need: &Need, lacks: &mut Vec<(Lack, String)>) {
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
