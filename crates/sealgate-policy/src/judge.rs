//! Findings to a verdict: what holds of a rule's need, for one image.
//!
//! Three outcomes that never mix: it holds, it does not (known), it could not be found out.
//! `Any` holds when one part holds, even if another faults; otherwise a fault weighs more than a
//! failure, since the part that faulted might have held. `All` fails when one part fails, whatever
//! the others say; otherwise a fault weighs more than a pass. Empty lists are faults.

use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::identity::Identity;
use sealgate_core::verify::{Authority, Format};

use crate::rule::{Mode, Need, Rule, SignedBy, UndecidableReason};

/// What was found out about one authority and one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// At least one signature was verified. An empty list counts as a fault.
    Verified(Vec<VerifiedBy>),
    /// It is known that no signature counts.
    Rejected {
        /// cosign's line: `no signatures found`, `no matching signatures: …`.
        summary: String,
        /// Each candidate and why it does not count.
        candidates: Vec<RejectedCandidate>,
    },
    /// It could not be found out.
    Fault(Fault),
}

/// A signature that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBy {
    /// The fingerprint of the key.
    pub key: Digest,
    /// Whom the certificate names; `None` for a key of the policy.
    pub identity: Option<SignerIdentity>,
    /// Legacy layer or bundle.
    pub format: Format,
    /// Where it lay.
    pub origin: String,
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerIdentity {
    /// The names, joined by commas.
    pub subject: String,
    /// Who has authenticated the signer; empty where the certificate does not say.
    pub issuer: String,
}

/// A candidate that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedCandidate {
    /// Where it lay.
    pub origin: String,
    /// The stable one-word code.
    pub code: String,
    /// Why it does not count.
    pub text: String,
    /// What a person can do about it.
    pub remedy: String,
}

/// The verdict on one image by one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The need holds.
    Pass {
        /// The authorities that held, in the policy's order; never empty.
        authorities: Vec<Passed>,
    },
    /// The need is known not to hold.
    Fail {
        /// What each authority said.
        reasons: Vec<AuthorityReason>,
    },
    /// It could not be found out. Refused like a failure, but said to be a fault, and not to be
    /// remembered.
    Fault {
        /// What each authority said; at least one could not be found out.
        reasons: Vec<AuthorityReason>,
    },
}

/// An authority that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its name; empty for an exemption.
    pub authority: String,
    /// By what.
    pub by: PassedBy,
}

/// By what an authority held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedBy {
    /// By these signatures; never empty.
    Signatures(Vec<VerifiedBy>),
    /// By `static: {action: pass}`: nothing was verified.
    Static,
    /// By a policy that exempts: nothing was verified, and a warning is due.
    Exemption,
}

/// Why one authority did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityReason {
    /// Its name; empty when the whole policy is meant.
    pub authority: String,
    /// By what it wants signatures to be vouched for.
    pub kind: AuthorityKind,
    /// Why.
    pub cause: Cause,
}

/// By what an authority wants signatures to be vouched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorityKind {
    /// Keys, or nothing at all.
    #[default]
    Key,
    /// Identities in certificates.
    Keyless,
}

/// Why an authority did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No signature counts.
    Rejected {
        /// cosign's line.
        summary: String,
        /// Each candidate and why it does not count.
        candidates: Vec<RejectedCandidate>,
    },
    /// `static: {action: fail}`.
    Static {
        /// The author's text.
        message: String,
    },
    /// Looking for signatures ended in a fault.
    Fault(Fault),
    /// The policy asks for what cannot be decided now.
    Undecidable {
        /// What is lacking.
        condition: UndecidableReason,
        /// What was said about it.
        detail: String,
    },
    /// The authority has no keys, or no identities.
    NoKeys,
    /// The policy names nobody who could vouch for the image.
    NoAuthorities,
}

struct Weighed {
    stand: Stand,
    passed: Vec<Passed>,
    reasons: Vec<AuthorityReason>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    Pass,
    Fail,
    Fault,
}

/// Judges one image by `rule`. `find` is asked once for each [`SignedBy`] of the rule's need, in
/// order, and says what was found out about the image.
pub fn judge(rule: &Rule, find: &mut dyn FnMut(&SignedBy) -> Finding) -> Verdict {
    let Weighed { stand, passed, reasons } = weigh(&rule.need, rule.mode, find);
    match stand {
        Stand::Pass if passed.is_empty() => Verdict::Fault { reasons: vec![nobody()] },
        Stand::Pass => Verdict::Pass { authorities: passed },
        Stand::Fail => Verdict::Fail { reasons },
        Stand::Fault => Verdict::Fault { reasons },
    }
}

fn weigh(need: &Need, mode: Mode, find: &mut dyn FnMut(&SignedBy) -> Finding) -> Weighed {
    match need {
        Need::All(needs) => all(needs.iter().map(|need| weigh(need, mode, find))),
        Need::Any(needs) => any(needs.iter().map(|need| weigh(need, mode, find))),
        Need::Signed(signed) => weigh_signed(signed, find),
        Need::Always { authority } => Weighed::pass(authority, PassedBy::Static),
        Need::Never { authority, message } => {
            Weighed::not(Stand::Fail, authority, Cause::Static { message: message.clone() })
        }
        Need::Exempt if mode == Mode::Warn => Weighed::pass("", PassedBy::Exemption),
        Need::Exempt => Weighed::not(Stand::Fault, "", Cause::NoAuthorities),
        Need::Undecidable { authority, condition, detail } => {
            let cause = Cause::Undecidable { condition: *condition, detail: detail.clone() };
            Weighed::not(Stand::Fault, authority, cause)
        }
    }
}

fn weigh_signed(signed: &SignedBy, find: &mut dyn FnMut(&SignedBy) -> Finding) -> Weighed {
    let authority = signed.authority.as_str();
    let kind = AuthorityKind::of(&signed.by);
    if signed.by.is_empty() {
        return Weighed::not(Stand::Fault, authority, Cause::NoKeys).of_kind(kind);
    }
    let weighed = match find(signed) {
        Finding::Verified(by) if by.is_empty() => {
            let detail = "the verification named no signature";
            let fault = Fault::new(FaultKind::Malformed, format!("authority {authority}"), detail);
            Weighed::not(Stand::Fault, authority, Cause::Fault(fault))
        }
        Finding::Verified(by) => Weighed::pass(authority, PassedBy::Signatures(by)),
        Finding::Rejected { summary, candidates } => {
            Weighed::not(Stand::Fail, authority, Cause::Rejected { summary, candidates })
        }
        Finding::Fault(fault) => Weighed::not(Stand::Fault, authority, Cause::Fault(fault)),
    };
    weighed.of_kind(kind)
}

fn all(parts: impl Iterator<Item = Weighed>) -> Weighed {
    gather(parts, |stands| match stands {
        [] => Stand::Fault,
        _ if stands.contains(&Stand::Fail) => Stand::Fail,
        _ if stands.contains(&Stand::Fault) => Stand::Fault,
        _ => Stand::Pass,
    })
}

fn any(parts: impl Iterator<Item = Weighed>) -> Weighed {
    gather(parts, |stands| match stands {
        [] => Stand::Fault,
        _ if stands.contains(&Stand::Pass) => Stand::Pass,
        _ if stands.contains(&Stand::Fault) => Stand::Fault,
        _ => Stand::Fail,
    })
}

fn gather(parts: impl Iterator<Item = Weighed>, weigh: fn(&[Stand]) -> Stand) -> Weighed {
    let (mut stands, mut passed, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        stands.push(part.stand);
        if part.stand == Stand::Pass {
            passed.extend(part.passed);
        }
        reasons.extend(part.reasons);
    }
    if stands.is_empty() {
        reasons.push(nobody());
    }
    Weighed { stand: weigh(&stands), passed, reasons }
}

fn nobody() -> AuthorityReason {
    let (authority, kind) = (String::new(), AuthorityKind::Key);
    AuthorityReason { authority, kind, cause: Cause::NoAuthorities }
}

impl Weighed {
    fn pass(authority: &str, by: PassedBy) -> Self {
        let passed = vec![Passed { authority: authority.to_owned(), by }];
        Self { stand: Stand::Pass, passed, reasons: Vec::new() }
    }

    fn not(stand: Stand, authority: &str, cause: Cause) -> Self {
        let (authority, kind) = (authority.to_owned(), AuthorityKind::Key);
        let reasons = vec![AuthorityReason { authority, kind, cause }];
        Self { stand, passed: Vec::new(), reasons }
    }

    fn of_kind(mut self, kind: AuthorityKind) -> Self {
        self.reasons.iter_mut().for_each(|reason| reason.kind = kind);
        self
    }
}

impl AuthorityKind {
    fn of(by: &Authority) -> Self {
        match by {
            Authority::Keys(_) => Self::Key,
            Authority::Identities(_) => Self::Keyless,
        }
    }

    /// policy-controller's word in denials: `key` or `keyless`.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Keyless => "keyless",
        }
    }
}

impl SignerIdentity {
    /// What a certificate says.
    pub fn of(identity: &Identity) -> Self {
        let subjects: Vec<String> = identity.subjects.iter().map(ToString::to_string).collect();
        let issuer = identity.issuer.clone().unwrap_or_default();
        Self { subject: subjects.join(", "), issuer }
    }
}

impl VerifiedBy {
    /// Who signed, as one bounded line for records: `subject (issuer)`, or the key's fingerprint.
    pub fn signer(&self) -> String {
        const MAX_SIGNER: usize = 512;
        let text = match &self.identity {
            Some(SignerIdentity { subject, issuer }) => format!("{subject} ({issuer})"),
            None => format!("key {}", self.key),
        };
        let line = |c: char| if c.is_control() { ' ' } else { c };
        text.chars().take(MAX_SIGNER).map(line).collect()
    }
}

impl Verdict {
    /// `pass`, `fail` or `fault`: for metrics and audit records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Fail { .. } => "fail",
            Self::Fault { .. } => "fault",
        }
    }

    /// Why it does not hold; empty for a pass.
    pub fn reasons(&self) -> &[AuthorityReason] {
        match self {
            Self::Pass { .. } => &[],
            Self::Fail { reasons } | Self::Fault { reasons } => reasons,
        }
    }
}

impl AuthorityReason {
    /// policy-controller's text for the cause. `image` is `repository@digest`.
    pub fn text(&self, image: &str) -> String {
        let (authority, kind) = (&self.authority, self.kind.name());
        let failed = |e: &dyn std::fmt::Display| {
            format!("signature {kind} validation failed for authority {authority} for {image}: {e}")
        };
        match &self.cause {
            Cause::Rejected { summary, .. } => failed(summary),
            Cause::Fault(fault) => failed(fault),
            Cause::Static { message } => format!("disallowed by static policy: {message}"),
            Cause::Undecidable { condition, detail } if authority.is_empty() => {
                format!("the policy cannot be decided: {detail} ({})", condition.code())
            }
            Cause::Undecidable { condition, detail } => {
                format!("authority {authority} cannot be decided: {detail} ({})", condition.code())
            }
            Cause::NoKeys if self.kind == AuthorityKind::Keyless => {
                format!("there are no identities for authority {authority}")
            }
            Cause::NoKeys => format!("there are no public keys for authority {authority}"),
            Cause::NoAuthorities => "the policy names no authorities".to_owned(),
        }
    }

    /// The stable codes of the cause: of each rejected candidate, of the fault, of the condition.
    pub fn codes(&self) -> Vec<String> {
        match &self.cause {
            Cause::Rejected { candidates, .. } if candidates.is_empty() => {
                vec!["no-signatures".to_owned()]
            }
            Cause::Rejected { candidates, .. } => {
                candidates.iter().map(|candidate| candidate.code.clone()).collect()
            }
            Cause::Static { .. } => vec!["static-fail".to_owned()],
            Cause::Fault(fault) => vec![fault.kind.code().to_owned()],
            Cause::Undecidable { condition, .. } => vec![condition.code().to_owned()],
            Cause::NoKeys => vec!["no-keys".to_owned()],
            Cause::NoAuthorities => vec!["no-authorities".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests;
