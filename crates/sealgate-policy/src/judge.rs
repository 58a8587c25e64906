//! Facts to a verdict: whether the need of a rule holds for one image. A pure function of data.
//!
//! Three outcomes that never mix: it holds, it does not (known), it could not be found out.
//! `Any` holds when one part holds, even if another faults; otherwise a fault weighs more than a
//! failure, since the part that faulted might have held. `All` fails when one part fails, whatever
//! the others say; otherwise a fault weighs more than a pass. Empty lists are faults.

use sealgate_core::evidence::Origin;
use sealgate_core::fault::Fault;
use sealgate_core::verify::Format;

use crate::facts::{Candidates, Facts, VerifiedFact};
use crate::rule::{Criterion, Formats, Mode, Need, SignedBy, Signers, UndecidableReason};

/// The action for a signature in another format than the policy names.
const SIGN_IN_FORMAT: &str = "sign in the format that the policy names with `signatureFormat`";
/// The largest number of candidates in a cause.
const MAX_CANDIDATES: usize = 20;
/// The largest number of distinct reasons in a summary.
const MAX_REASONS: usize = 3;

/// A candidate that does not satisfy an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedCandidate {
    /// The location, as `repository@digest`.
    pub origin: String,
    /// The stable one-word code of the reason.
    pub code: String,
    /// The reason.
    pub text: String,
    /// The action that corrects it.
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
    Signatures(Vec<VerifiedFact>),
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
    /// The kind of its signers.
    pub signers: Signers,
    /// Why.
    pub cause: Cause,
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

/// Judges one image by a rule's criterion, from the facts about that image.
pub fn judge(criterion: &Criterion, facts: &Facts) -> Verdict {
    let Weighed { stand, passed, reasons } = weigh(&criterion.need, criterion.mode, facts);
    match stand {
        Stand::Pass if passed.is_empty() => Verdict::Fault { reasons: vec![nobody()] },
        Stand::Pass => Verdict::Pass { authorities: passed },
        Stand::Fail => Verdict::Fail { reasons },
        Stand::Fault => Verdict::Fault { reasons },
    }
}

fn weigh(need: &Need, mode: Mode, facts: &Facts) -> Weighed {
    match need {
        Need::All(needs) => all(needs.iter().map(|need| weigh(need, mode, facts))),
        Need::Any(needs) => any(needs.iter().map(|need| weigh(need, mode, facts))),
        Need::Signed(signed) => weigh_signed(signed, facts),
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

/// A verified candidate in an accepted format holds, whatever else there is. Otherwise a source
/// that could not be read weighs more than rejected candidates: there may be more.
fn weigh_signed(signed: &SignedBy, facts: &Facts) -> Weighed {
    let SignedBy { authority, signers, formats, requirement } = signed;
    let weighed = match (signers, facts.candidates(requirement.id())) {
        (Signers::NoKeys | Signers::NoIdentities, _) => {
            Weighed::not(Stand::Fault, authority, Cause::NoKeys)
        }
        (_, Err(fault)) => Weighed::not(Stand::Fault, authority, Cause::Fault(fault)),
        (_, Ok(candidates)) => {
            let verified: Vec<VerifiedFact> = candidates
                .verified()
                .iter()
                .filter(|fact| formats.allows(fact.format))
                .cloned()
                .collect();
            match candidates.faults().first() {
                _ if !verified.is_empty() => {
                    Weighed::pass(authority, PassedBy::Signatures(verified))
                }
                Some(fault) => Weighed::not(Stand::Fault, authority, Cause::Fault(fault.clone())),
                None => Weighed::not(Stand::Fail, authority, rejected(candidates, *formats)),
            }
        }
    };
    weighed.of_signers(*signers)
}

/// The cause where no candidate is accepted: cosign's summary, and each candidate with its reason.
fn rejected(candidates: &Candidates, formats: Formats) -> Cause {
    let other_format = candidates.verified().iter().filter(|fact| !formats.allows(fact.format));
    let mut reasons: Vec<String> = candidates
        .reasons()
        .map(str::to_owned)
        .chain(other_format.clone().map(|fact| not_accepted(fact.format)))
        .collect();
    reasons.sort();
    reasons.dedup();
    reasons.truncate(MAX_REASONS);
    let summary = match reasons.is_empty() {
        true => "no signatures found".to_owned(),
        false => format!("no matching signatures: {}", reasons.join("; ")),
    };
    let rejected = candidates.rejected().iter().map(|fact| RejectedCandidate {
        origin: place(&fact.origin),
        code: fact.code.clone(),
        text: fact.text.clone(),
        remedy: fact.remedy.clone(),
    });
    let other_format = other_format.map(|fact| RejectedCandidate {
        origin: place(&fact.origin),
        code: "other-format".to_owned(),
        text: not_accepted(fact.format),
        remedy: SIGN_IN_FORMAT.to_owned(),
    });
    let mut candidates: Vec<RejectedCandidate> = rejected.chain(other_format).collect();
    candidates.sort_by(|one, other| one.origin.cmp(&other.origin));
    candidates.truncate(MAX_CANDIDATES);
    Cause::Rejected { summary, candidates }
}

fn not_accepted(format: Format) -> String {
    let found = match format {
        Format::Legacy => "a legacy signature",
        Format::Bundle => "a bundle",
    };
    format!("{found} is good, but the policy asks for the other format")
}

fn place(origin: &Origin) -> String {
    match (&origin.manifest, &origin.layer) {
        (Some(digest), _) | (None, Some(digest)) => format!("{}@{digest}", origin.repository),
        (None, None) => origin.repository.clone(),
    }
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
    let (authority, signers) = (String::new(), Signers::Key);
    AuthorityReason { authority, signers, cause: Cause::NoAuthorities }
}

impl Weighed {
    fn pass(authority: &str, by: PassedBy) -> Self {
        let passed = vec![Passed { authority: authority.to_owned(), by }];
        Self { stand: Stand::Pass, passed, reasons: Vec::new() }
    }

    fn not(stand: Stand, authority: &str, cause: Cause) -> Self {
        let (authority, signers) = (authority.to_owned(), Signers::Key);
        let reasons = vec![AuthorityReason { authority, signers, cause }];
        Self { stand, passed: Vec::new(), reasons }
    }

    fn of_signers(mut self, signers: Signers) -> Self {
        self.reasons.iter_mut().for_each(|reason| reason.signers = signers);
        self
    }
}

impl Signers {
    /// policy-controller's word in denials: `key` or `keyless`.
    fn word(self) -> &'static str {
        match self {
            Self::Key | Self::NoKeys => "key",
            Self::Keyless | Self::NoIdentities => "keyless",
        }
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
        let (authority, signers) = (&self.authority, self.signers.word());
        let failed = |e: &dyn std::fmt::Display| {
            format!(
                "signature {signers} validation failed for authority {authority} for {image}: {e}"
            )
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
            Cause::NoKeys if self.signers == Signers::NoIdentities => {
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
