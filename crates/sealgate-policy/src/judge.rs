//! Verdict of a rule's need for one image, from the facts. A pure function of data.
//!
//! Three results are kept apart: the need holds (pass), it is known not to hold (fail), or the
//! answer could not be determined (fault). `Any` passes if one part passes, even if another faults;
//! otherwise a fault takes precedence over a failure, since the part that faulted might have
//! passed. `All` fails if one part fails, whatever the others give; otherwise a fault takes
//! precedence over a pass. Empty lists are faults.

use std::sync::Arc;

use sealgate_core::evidence::Origin;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::verify::EvidenceFormat;

use crate::facts::{Candidates, Facts, VerifiedFact};
use crate::rule::{Criterion, Formats, Mode, Need, SignedBy, Signers, UndecidableReason};

/// The remedy for a signature in another format than the policy names.
const SIGN_IN_FORMAT: &str = "sign in the format that the policy names with `signatureFormat`";
/// The maximum number of candidates in a cause.
const MAX_CANDIDATES: usize = 20;
/// The maximum number of distinct reasons in a summary.
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
        /// The authorities that are satisfied, in the policy's order; never empty.
        authorities: Vec<Passed>,
    },
    /// The need is known not to hold.
    Fail {
        /// The cause for each authority.
        reasons: Vec<AuthorityReason>,
    },
    /// The answer could not be determined. Denied like a failure, but reported as a fault, and not
    /// cached.
    Fault {
        /// The cause for each authority; at least one is a fault.
        reasons: Vec<AuthorityReason>,
    },
}

/// An authority that is satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its name; empty for an exemption.
    pub authority: String,
    /// The evidence, or the policy's decision.
    pub by: PassedBy,
}

/// The evidence or decision that satisfies an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedBy {
    /// Verified signatures; never empty.
    Signatures(Vec<Arc<VerifiedFact>>),
    /// `static: {action: pass}`: nothing was verified.
    Static,
    /// A policy that exempts its images: nothing was verified, and a warning is required.
    Exemption,
}

/// The reason why one authority is not satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityReason {
    /// Its name; empty if the reason is about the whole policy.
    pub authority: String,
    /// The kind of its signers.
    pub signers: Signers,
    /// The cause.
    pub cause: Cause,
}

/// The cause why an authority is not satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No signature is accepted.
    Rejected {
        /// cosign's summary line.
        summary: String,
        /// Each candidate, with the reason why it is rejected.
        candidates: Vec<RejectedCandidate>,
    },
    /// `static: {action: fail}`.
    Static {
        /// The author's text.
        message: String,
    },
    /// Fetching signatures ended in a fault.
    Fault(Fault),
    /// The policy requires a check that cannot be evaluated.
    Undecidable {
        /// The reason.
        condition: UndecidableReason,
        /// Details for people.
        detail: String,
    },
    /// The authority has no keys, or no identities.
    NoKeys,
    /// The policy names no authorities.
    NoAuthorities,
}

struct Evaluation {
    status: Status,
    passed: Vec<Passed>,
    reasons: Vec<AuthorityReason>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Pass,
    Fail,
    Fault,
}

/// Judges one image by a rule's criterion, from the facts about that image.
pub fn judge(criterion: &Criterion, facts: &Facts) -> Verdict {
    let Evaluation { status, passed, reasons } = evaluate(&criterion.need, criterion.mode, facts);
    match status {
        Status::Pass if passed.is_empty() => Verdict::Fault { reasons: vec![no_authorities()] },
        Status::Pass => Verdict::Pass { authorities: passed },
        Status::Fail => Verdict::Fail { reasons },
        Status::Fault => Verdict::Fault { reasons },
    }
}

fn evaluate(need: &Need, mode: Mode, facts: &Facts) -> Evaluation {
    match need {
        Need::All(needs) => all(needs.iter().map(|need| evaluate(need, mode, facts))),
        Need::Any(needs) => any(needs.iter().map(|need| evaluate(need, mode, facts))),
        Need::Signed(signed) => evaluate_signed(signed, facts),
        Need::Always { authority } => Evaluation::pass(authority, PassedBy::Static),
        Need::Never { authority, message } => Evaluation::unsatisfied(
            Status::Fail,
            authority,
            Cause::Static { message: message.clone() },
        ),
        Need::Exempt if mode == Mode::Warn => Evaluation::pass("", PassedBy::Exemption),
        Need::Exempt => Evaluation::unsatisfied(Status::Fault, "", Cause::NoAuthorities),
        Need::Undecidable { authority, condition, detail } => {
            let cause = Cause::Undecidable { condition: *condition, detail: detail.clone() };
            Evaluation::unsatisfied(Status::Fault, authority, cause)
        }
    }
}

/// A verified candidate in an accepted format passes, whatever else was found. Otherwise a source
/// that could not be read takes precedence over rejected candidates: it may hold more.
fn evaluate_signed(signed: &SignedBy, facts: &Facts) -> Evaluation {
    let SignedBy { authority, signers, formats, requirement } = signed;
    let evaluation = match (signers, facts.candidates(requirement.id())) {
        (Signers::NoKeys | Signers::NoIdentities, _) => {
            Evaluation::unsatisfied(Status::Fault, authority, Cause::NoKeys)
        }
        (_, Err(fault)) => Evaluation::unsatisfied(Status::Fault, authority, Cause::Fault(fault)),
        (_, Ok(candidates)) => {
            let verified: Vec<Arc<VerifiedFact>> = candidates
                .verified()
                .iter()
                .filter(|fact| formats.allows(fact.format))
                .cloned()
                .collect();
            match candidates.faults().first() {
                _ if !verified.is_empty() => {
                    Evaluation::pass(authority, PassedBy::Signatures(verified))
                }
                Some(fault) => {
                    Evaluation::unsatisfied(Status::Fault, authority, Cause::Fault(fault.clone()))
                }
                None if candidates.is_incomplete() => {
                    let target = format!("requirement {}", requirement.id());
                    let fault = Fault::new(FaultKind::Missing, target, "not all sources were read");
                    Evaluation::unsatisfied(Status::Fault, authority, Cause::Fault(fault))
                }
                None => {
                    Evaluation::unsatisfied(Status::Fail, authority, rejected(candidates, *formats))
                }
            }
        }
    };
    evaluation.with_signers(*signers)
}

/// The cause if no candidate is accepted: cosign's summary, and each candidate with its reason.
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

fn not_accepted(format: EvidenceFormat) -> String {
    let found = match format {
        EvidenceFormat::Legacy => "a legacy signature",
        EvidenceFormat::Bundle => "a bundle",
    };
    format!("{found} is valid, but the policy requires the other format")
}

fn place(origin: &Origin) -> String {
    match (&origin.manifest, &origin.layer) {
        (Some(digest), _) | (None, Some(digest)) => format!("{}@{digest}", origin.repository),
        (None, None) => origin.repository.clone(),
    }
}

fn all(parts: impl Iterator<Item = Evaluation>) -> Evaluation {
    combine(parts, |statuses| match statuses {
        [] => Status::Fault,
        _ if statuses.contains(&Status::Fail) => Status::Fail,
        _ if statuses.contains(&Status::Fault) => Status::Fault,
        _ => Status::Pass,
    })
}

fn any(parts: impl Iterator<Item = Evaluation>) -> Evaluation {
    combine(parts, |statuses| match statuses {
        [] => Status::Fault,
        _ if statuses.contains(&Status::Pass) => Status::Pass,
        _ if statuses.contains(&Status::Fault) => Status::Fault,
        _ => Status::Fail,
    })
}

fn combine(
    parts: impl Iterator<Item = Evaluation>,
    combined: fn(&[Status]) -> Status,
) -> Evaluation {
    let (mut statuses, mut passed, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        statuses.push(part.status);
        if part.status == Status::Pass {
            passed.extend(part.passed);
        }
        reasons.extend(part.reasons);
    }
    if statuses.is_empty() {
        reasons.push(no_authorities());
    }
    Evaluation { status: combined(&statuses), passed, reasons }
}

fn no_authorities() -> AuthorityReason {
    let (authority, signers) = (String::new(), Signers::Key);
    AuthorityReason { authority, signers, cause: Cause::NoAuthorities }
}

impl Evaluation {
    fn pass(authority: &str, by: PassedBy) -> Self {
        let passed = vec![Passed { authority: authority.to_owned(), by }];
        Self { status: Status::Pass, passed, reasons: Vec::new() }
    }

    fn unsatisfied(status: Status, authority: &str, cause: Cause) -> Self {
        let (authority, signers) = (authority.to_owned(), Signers::Key);
        let reasons = vec![AuthorityReason { authority, signers, cause }];
        Self { status, passed: Vec::new(), reasons }
    }

    fn with_signers(mut self, signers: Signers) -> Self {
        self.reasons.iter_mut().for_each(|reason| reason.signers = signers);
        self
    }
}

impl Signers {
    /// The name that policy-controller uses in denials: `key` or `keyless`.
    fn word(self) -> &'static str {
        match self {
            Self::Key | Self::NoKeys => "key",
            Self::Keyless | Self::NoIdentities => "keyless",
        }
    }
}

impl Verdict {
    /// `pass`, `fail` or `fault`, for metrics and decision records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Fail { .. } => "fail",
            Self::Fault { .. } => "fault",
        }
    }

    /// The reasons; empty for a pass.
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
                format!("the policy cannot be evaluated: {detail} ({})", condition.code())
            }
            Cause::Undecidable { condition, detail } => {
                format!(
                    "authority {authority} cannot be evaluated: {detail} ({})",
                    condition.code()
                )
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
