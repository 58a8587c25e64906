//! Decision for a whole object, made from the verdicts: allowed or denied, with message and
//! warnings.
//!
//! Enforce and warn are kept apart: failures of enforcing rules go into the message, failures of
//! warning rules into the warnings, and the order of rules changes neither. An image is admitted
//! only if it was judged, by at least one rule or by the no-match policy, and every enforcing rule
//! passes. An image without a digest is denied by the enforcing rules that apply to it and by
//! nothing else: a rule in mode warn only warns.

use std::borrow::Cow;
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use serde::{Deserialize, Serialize};

use crate::judge::{Passed, PassedBy, Verdict};
use crate::rule::{Criterion, Mode};
use crate::select::NoMatch;

mod denial_text;

pub use self::denial_text::bounded as bounded_warnings;

/// The prefix of every denial, as in policy-controller.
pub const VALIDATION_FAILED: &str = "validation failed: ";

/// The maximum length of a message, in bytes. The API server puts it into a status and an event.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// The maximum length of a warning, in bytes. The API server may truncate one at 256, and clients
/// prepend `Warning: `. All warnings together stay below 4 KiB, beyond which the API server
/// truncates each.
pub const MAX_WARNING: usize = 240;

/// The maximum number of warnings in one response.
pub const MAX_WARNINGS: usize = 16;

/// One image of an object, with its outcome.
#[derive(Clone, Debug)]
pub struct JudgedImage {
    /// `spec.containers[0].image`.
    pub path: String,
    /// The image as the object writes it.
    pub image: String,
    /// `repository@digest`, as judged; empty if it was not judged.
    pub subject: String,
    /// The consequence for the object if the image does not pass.
    pub effect: Effect,
    /// The outcome of the image's evaluation.
    pub outcome: Outcome,
}

/// The consequence for an object if one of its images does not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The object is denied.
    #[default]
    Refuses,
    /// The object is admitted, with a warning that its pods will be denied. For objects that run
    /// nothing themselves: each of their pods is judged when it is created.
    Warns,
    /// As `Warns`, for an object that the request names but does not contain: the warning has
    /// policies, fields and codes, but neither images nor registries, which the requesting user may
    /// not be permitted to read.
    #[serde(rename = "warnsOfUnseen")]
    WarnsWithoutImages,
}

/// The outcome of evaluating one image.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The text is not an image reference.
    Unreadable {
        /// The reason: `could not parse reference: …`.
        error: String,
    },
    /// There is no digest to judge: a tag that was not resolved.
    NotPinned {
        /// The reason why it could not be resolved, if that was attempted.
        cause: Option<Fault>,
        /// The rules that apply to the image whatever its digest is
        /// ([`crate::select::PolicySet::select_unresolved`]), judged without one.
        rules: Vec<RuleVerdict>,
    },
    /// A placeholder in a pod template, which another component replaces before a pod is created.
    /// No enforcing rule applies to it.
    Placeholder,
    /// The verdicts of the rules that apply. Empty if no rule applies to the image.
    Judged(Vec<RuleVerdict>),
}

/// The verdict of one rule.
#[derive(Clone, Debug)]
pub struct RuleVerdict {
    /// The rule's criterion.
    pub criterion: Arc<Criterion>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The decision for a whole object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The result: allowed or denied.
    pub allowed: bool,
    /// The denial, which begins with [`VALIDATION_FAILED`]; empty if allowed.
    pub message: String,
    /// Warnings, one header line each.
    pub warnings: Vec<String>,
    /// The outcome of each image by each rule, for decision records, metrics and events. Ordered by
    /// image, then by rule name.
    pub images: Vec<ImageRecord>,
}

/// The outcome of one image by one rule, or by none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// `spec.containers[0].image`
    pub path: String,
    /// The image as written.
    pub image: String,
    /// `repository@digest` as judged; empty without a digest.
    pub subject: String,
    /// The rule; empty where none applied.
    pub rule: String,
    /// `enforce` or `warn`; empty where no rule applied.
    pub mode: Cow<'static, str>,
    /// `pass`, `fail`, `fault`, `no-match`, `not-pinned`, `placeholder` or `unreadable`.
    pub outcome: Cow<'static, str>,
    /// Set if this outcome alone denies the object.
    pub denies: bool,
    /// The authorities that are satisfied.
    pub authorities: Vec<String>,
    /// Their signers: `subject (issuer)` of a certificate, or `key` and its fingerprint.
    #[serde(default)]
    pub signers: Vec<String>,
    /// The stable codes of the reasons, sorted, each once.
    pub codes: Vec<String>,
}

/// Decides on an object with these images. An object without images is allowed: the caller ensures
/// that it contains none, or only such as were judged before.
pub fn decide(images: &[JudgedImage], no_match: NoMatch) -> Decision {
    let mut builder = DecisionBuilder::default();
    for image in images {
        match &image.outcome {
            Outcome::Unreadable { error } => builder.unreadable(image, error),
            Outcome::Placeholder => builder.placeholder(image),
            Outcome::NotPinned { rules, .. } if rules.is_empty() => {
                builder.no_match(image, no_match);
            }
            Outcome::NotPinned { cause, rules } => {
                builder.not_pinned(image, cause.as_ref(), rules);
            }
            Outcome::Judged(rules) if rules.is_empty() => builder.no_match(image, no_match),
            Outcome::Judged(rules) => builder.ruled(image, rules),
        }
    }
    builder.finish()
}

#[derive(Default)]
struct DecisionBuilder {
    denials: Vec<denial_text::Entry>,
    warnings: Vec<String>,
    images: Vec<ImageRecord>,
}

impl DecisionBuilder {
    fn unreadable(&mut self, image: &JudgedImage, error: &str) {
        self.images.push(ImageRecord::of(image, "unreadable", true));
        self.deny(image, denial_text::Entry::unreadable(image, error));
    }

    fn placeholder(&mut self, image: &JudgedImage) {
        self.images.push(ImageRecord::of(image, "placeholder", false));
        self.warnings.push(denial_text::placeholder(image));
    }

    fn no_match(&mut self, image: &JudgedImage, no_match: NoMatch) {
        self.images.push(ImageRecord::of(image, "no-match", no_match == NoMatch::Deny));
        match no_match {
            NoMatch::Deny => self.deny(image, denial_text::Entry::no_match(image)),
            NoMatch::Warn => self.warn(image, &denial_text::Entry::no_match(image)),
            NoMatch::Allow => {}
        }
    }

    fn not_pinned(&mut self, image: &JudgedImage, cause: Option<&Fault>, rules: &[RuleVerdict]) {
        let mut enforcing = Vec::new();
        for ruled in by_name(rules) {
            self.images.push(ImageRecord::not_pinned(image, ruled));
            match (&ruled.verdict, ruled.criterion.mode) {
                (Verdict::Pass { authorities }, _) => self.passed(image, ruled, authorities),
                (_, Mode::Enforce) => enforcing.push(ruled.criterion.name.as_str()),
                (_, Mode::Warn) => self.warn(image, &denial_text::Entry::failed(image, ruled)),
            }
        }
        if !enforcing.is_empty() {
            self.deny(image, denial_text::Entry::not_pinned(image, cause, &enforcing));
        }
    }

    fn ruled(&mut self, image: &JudgedImage, rules: &[RuleVerdict]) {
        for ruled in by_name(rules) {
            self.images.push(ImageRecord::ruled(image, ruled));
            match (&ruled.verdict, ruled.criterion.mode) {
                (Verdict::Pass { authorities }, _) => self.passed(image, ruled, authorities),
                (_, Mode::Enforce) => self.deny(image, denial_text::Entry::failed(image, ruled)),
                (_, Mode::Warn) => self.warn(image, &denial_text::Entry::failed(image, ruled)),
            }
        }
    }

    /// Adds the warning of an exemption.
    fn passed(&mut self, image: &JudgedImage, ruled: &RuleVerdict, authorities: &[Passed]) {
        if authorities.iter().any(|passed| passed.by == PassedBy::Exemption) {
            self.warnings.push(denial_text::exemption(image, &ruled.criterion.name));
        }
    }

    fn deny(&mut self, image: &JudgedImage, entry: denial_text::Entry) {
        match image.effect {
            Effect::Refuses => self.denials.push(entry),
            Effect::Warns => self.warnings.push(denial_text::pods_will_be_denied(&entry.warning())),
            Effect::WarnsWithoutImages => {
                self.warnings.push(denial_text::pods_will_be_denied(&entry.brief_warning()));
            }
        }
    }

    fn warn(&mut self, image: &JudgedImage, entry: &denial_text::Entry) {
        self.warnings.push(match image.effect {
            Effect::Refuses | Effect::Warns => entry.warning(),
            Effect::WarnsWithoutImages => entry.brief_warning(),
        });
    }

    fn finish(self) -> Decision {
        let allowed = self.denials.is_empty();
        let message = if allowed { String::new() } else { denial_text::message(self.denials) };
        Decision {
            allowed,
            message,
            warnings: denial_text::sorted(self.warnings),
            images: self.images,
        }
    }
}

impl RuleVerdict {
    /// The sort key: name, then fingerprint, since two rules may have the same name.
    fn key(&self) -> (&str, &Digest) {
        (&self.criterion.name, &self.criterion.fingerprint)
    }
}

/// Returns the verdicts ordered by rule name.
fn by_name(rules: &[RuleVerdict]) -> Vec<&RuleVerdict> {
    let mut rules: Vec<&RuleVerdict> = rules.iter().collect();
    rules.sort_by(|a, b| a.key().cmp(&b.key()));
    rules
}

impl ImageRecord {
    fn of(image: &JudgedImage, outcome: &'static str, denies: bool) -> Self {
        Self {
            path: image.path.clone(),
            image: image.image.clone(),
            subject: image.subject.clone(),
            rule: String::new(),
            mode: "".into(),
            outcome: outcome.into(),
            denies: denies && image.effect == Effect::Refuses,
            authorities: Vec::new(),
            signers: Vec::new(),
            codes: Vec::new(),
        }
    }

    /// The record of a rule's verdict on an image without a digest.
    fn not_pinned(image: &JudgedImage, ruled: &RuleVerdict) -> Self {
        let record = Self::ruled(image, ruled);
        match ruled.verdict {
            Verdict::Pass { .. } => record,
            Verdict::Fail { .. } | Verdict::Fault { .. } => {
                Self { outcome: "not-pinned".into(), ..record }
            }
        }
    }

    fn ruled(image: &JudgedImage, ruled: &RuleVerdict) -> Self {
        let passed = match &ruled.verdict {
            Verdict::Pass { authorities } => authorities.as_slice(),
            _ => &[],
        };
        let mut codes: Vec<String> =
            ruled.verdict.reasons().iter().flat_map(|reason| reason.codes()).collect();
        codes.sort();
        codes.dedup();
        let passes = matches!(ruled.verdict, Verdict::Pass { .. });
        Self {
            rule: ruled.criterion.name.clone(),
            mode: ruled.criterion.mode.name().into(),
            authorities: passed.iter().map(|passed| passed.authority.clone()).collect(),
            signers: signers(passed),
            codes,
            ..Self::of(
                image,
                ruled.verdict.code(),
                !passes && ruled.criterion.mode == Mode::Enforce,
            )
        }
    }
}

/// Returns the distinct signers that satisfied these authorities.
fn signers(passed: &[Passed]) -> Vec<String> {
    let signatures = passed.iter().flat_map(|passed| match &passed.by {
        PassedBy::Signatures(signatures) => signatures.as_slice(),
        PassedBy::Static | PassedBy::Exemption => &[],
    });
    let mut signers: Vec<String> = signatures.map(|fact| fact.signer()).collect();
    signers.sort();
    signers.dedup();
    signers
}

#[cfg(test)]
mod tests;
