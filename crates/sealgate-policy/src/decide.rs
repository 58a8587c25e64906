//! Verdicts to a decision: is the object let in, and what is said.
//!
//! Enforce and warn never mix: what an enforcing rule says goes into the message, what a warning
//! rule says goes into the warnings, and no order of rules changes either. An image is let in
//! only when it was judged, by at least one rule or by the no-match policy, and no enforcing rule
//! has anything but a pass. An image without a digest is refused by the enforcing rules that are
//! about it and by nothing else: a rule in warn mode warns of it, as of everything.

use std::borrow::Cow;
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use serde::{Deserialize, Serialize};

use crate::facts::VerifiedFact;
use crate::judge::{Passed, PassedBy, Verdict};
use crate::rule::{Criterion, Mode};
use crate::select::NoMatch;

mod denial_text;

pub use self::denial_text::bounded as bounded_warnings;

/// What stands before every denial, as in policy-controller.
pub const VALIDATION_FAILED: &str = "validation failed: ";

/// The longest message, in bytes. The API server puts it into a status and an event.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// The longest warning, in bytes. The API server may cut one at 256, and clients put `Warning: `
/// before it. All of them together stay below the 4 KiB beyond which it cuts every one.
pub const MAX_WARNING: usize = 240;

/// The largest number of warnings in one answer.
pub const MAX_WARNINGS: usize = 16;

/// One image of an object, with what was found out about it.
#[derive(Clone, Debug)]
pub struct JudgedImage {
    /// `spec.containers[0].image`.
    pub path: String,
    /// The image as the object writes it.
    pub image: String,
    /// `repository@digest`, as judged; empty when it never got that far.
    pub subject: String,
    /// The consequence for the object when the image does not pass.
    pub effect: Effect,
    /// How far it got.
    pub outcome: Outcome,
}

/// The consequence for an object when one of its images does not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The object is refused.
    #[default]
    Refuses,
    /// The object is let in, and a warning says that the pods that it makes will be refused. For
    /// objects that run nothing themselves: each of their pods is judged when it is created.
    Warns,
    /// The same for an object that was named and not shown: the warning has policies, fields and
    /// codes, and neither images nor registries, which whoever asks may not know.
    WarnsOfUnseen,
}

/// How far an image got.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The text is no image reference.
    Unreadable {
        /// Why: `could not parse reference: …`.
        error: String,
    },
    /// There is no digest to judge: a tag that nobody pinned.
    NotPinned {
        /// Why it could not be pinned, where that was tried.
        cause: Option<Fault>,
        /// The rules that are about the image whatever its digest is
        /// ([`crate::select::PolicySet::select_unresolved`]), judged without one.
        rules: Vec<Ruled>,
    },
    /// A pod template's placeholder, which another component replaces before a pod is created. No
    /// enforcing rule is about it.
    Placeholder,
    /// The rules that apply, each with its verdict. Empty: no rule is about the image.
    Ruled(Vec<Ruled>),
}

/// The verdict of one rule.
#[derive(Clone, Debug)]
pub struct Ruled {
    /// The rule's criterion.
    pub criterion: Arc<Criterion>,
    /// The verdict.
    pub verdict: Verdict,
}

/// Whether the object is let in, and what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Let in or not.
    pub allowed: bool,
    /// The denial, beginning with [`VALIDATION_FAILED`]; empty when allowed.
    pub message: String,
    /// Warnings, one header line each.
    pub warnings: Vec<String>,
    /// The outcome of each image by each rule, for audit records, metrics and events. In the order
    /// of the images, then of the rules' names.
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
    /// Whether this alone refuses the object.
    pub denies: bool,
    /// The authorities that held.
    pub authorities: Vec<String>,
    /// Their signers: `subject (issuer)` of a certificate, or `key` and its fingerprint.
    #[serde(default)]
    pub signers: Vec<String>,
    /// The stable codes of the reasons, sorted, each once.
    pub codes: Vec<String>,
}

/// Decides on an object with these images. With no images there is nothing to refuse: whoever
/// calls has made sure that the object names none, or only such as were judged before.
pub fn decide(images: &[JudgedImage], no_match: NoMatch) -> Decision {
    let mut decided = Decided::default();
    for image in images {
        match &image.outcome {
            Outcome::Unreadable { error } => decided.unreadable(image, error),
            Outcome::Placeholder => decided.placeholder(image),
            Outcome::NotPinned { rules, .. } if rules.is_empty() => {
                decided.no_match(image, no_match);
            }
            Outcome::NotPinned { cause, rules } => {
                decided.not_pinned(image, cause.as_ref(), rules);
            }
            Outcome::Ruled(rules) if rules.is_empty() => decided.no_match(image, no_match),
            Outcome::Ruled(rules) => decided.ruled(image, rules),
        }
    }
    decided.finish()
}

#[derive(Default)]
struct Decided {
    denials: Vec<denial_text::Entry>,
    warnings: Vec<String>,
    images: Vec<ImageRecord>,
}

impl Decided {
    fn unreadable(&mut self, image: &JudgedImage, error: &str) {
        self.images.push(ImageRecord::of(image, "unreadable", true));
        self.refuse(image, denial_text::Entry::unreadable(image, error));
    }

    fn placeholder(&mut self, image: &JudgedImage) {
        self.images.push(ImageRecord::of(image, "placeholder", false));
        self.warnings.push(denial_text::placeholder(image));
    }

    fn no_match(&mut self, image: &JudgedImage, no_match: NoMatch) {
        self.images.push(ImageRecord::of(image, "no-match", no_match == NoMatch::Deny));
        match no_match {
            NoMatch::Deny => self.refuse(image, denial_text::Entry::no_match(image)),
            NoMatch::Warn => self.warn(image, &denial_text::Entry::no_match(image)),
            NoMatch::Allow => {}
        }
    }

    fn not_pinned(&mut self, image: &JudgedImage, cause: Option<&Fault>, rules: &[Ruled]) {
        let mut enforcing = Vec::new();
        for ruled in in_order(rules) {
            self.images.push(ImageRecord::not_pinned(image, ruled));
            match (&ruled.verdict, ruled.criterion.mode) {
                (Verdict::Pass { authorities }, _) => self.passed(image, ruled, authorities),
                (_, Mode::Enforce) => enforcing.push(ruled.criterion.name.as_str()),
                (_, Mode::Warn) => self.warn(image, &denial_text::Entry::failed(image, ruled)),
            }
        }
        if !enforcing.is_empty() {
            self.refuse(image, denial_text::Entry::not_pinned(image, cause, &enforcing));
        }
    }

    fn ruled(&mut self, image: &JudgedImage, rules: &[Ruled]) {
        for ruled in in_order(rules) {
            self.images.push(ImageRecord::ruled(image, ruled));
            match (&ruled.verdict, ruled.criterion.mode) {
                (Verdict::Pass { authorities }, _) => self.passed(image, ruled, authorities),
                (_, Mode::Enforce) => self.refuse(image, denial_text::Entry::failed(image, ruled)),
                (_, Mode::Warn) => self.warn(image, &denial_text::Entry::failed(image, ruled)),
            }
        }
    }

    /// An exemption lets in, and says so.
    fn passed(&mut self, image: &JudgedImage, ruled: &Ruled, authorities: &[Passed]) {
        if authorities.iter().any(|passed| passed.by == PassedBy::Exemption) {
            self.warnings.push(denial_text::exemption(image, &ruled.criterion.name));
        }
    }

    fn refuse(&mut self, image: &JudgedImage, entry: denial_text::Entry) {
        match image.effect {
            Effect::Refuses => self.denials.push(entry),
            Effect::Warns => {
                self.warnings.push(denial_text::pods_will_be_refused(&entry.warning()))
            }
            Effect::WarnsOfUnseen => {
                self.warnings.push(denial_text::pods_will_be_refused(&entry.brief_warning()));
            }
        }
    }

    fn warn(&mut self, image: &JudgedImage, entry: &denial_text::Entry) {
        self.warnings.push(match image.effect {
            Effect::Refuses | Effect::Warns => entry.warning(),
            Effect::WarnsOfUnseen => entry.brief_warning(),
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

impl Ruled {
    /// By name, then by fingerprint: two rules may have one name.
    fn key(&self) -> (&str, &Digest) {
        (&self.criterion.name, &self.criterion.fingerprint)
    }
}

/// In the order of their names.
fn in_order(rules: &[Ruled]) -> Vec<&Ruled> {
    let mut rules: Vec<&Ruled> = rules.iter().collect();
    rules.sort_by(|a, b| a.key().cmp(&b.key()));
    rules
}

impl ImageRecord {
    fn of(image: &JudgedImage, outcome: &'static str, refuses: bool) -> Self {
        Self {
            path: image.path.clone(),
            image: image.image.clone(),
            subject: image.subject.clone(),
            rule: String::new(),
            mode: "".into(),
            outcome: outcome.into(),
            denies: refuses && image.effect == Effect::Refuses,
            authorities: Vec::new(),
            signers: Vec::new(),
            codes: Vec::new(),
        }
    }

    /// A rule's word on an image without a digest.
    fn not_pinned(image: &JudgedImage, ruled: &Ruled) -> Self {
        let fact = Self::ruled(image, ruled);
        match ruled.verdict {
            Verdict::Pass { .. } => fact,
            Verdict::Fail { .. } | Verdict::Fault { .. } => {
                Self { outcome: "not-pinned".into(), ..fact }
            }
        }
    }

    fn ruled(image: &JudgedImage, ruled: &Ruled) -> Self {
        let passed = match &ruled.verdict {
            Verdict::Pass { authorities } => authorities.as_slice(),
            _ => &[],
        };
        let mut codes: Vec<String> =
            ruled.verdict.reasons().iter().flat_map(|reason| reason.codes()).collect();
        codes.sort();
        codes.dedup();
        let held = matches!(ruled.verdict, Verdict::Pass { .. });
        Self {
            rule: ruled.criterion.name.clone(),
            mode: ruled.criterion.mode.name().into(),
            authorities: passed.iter().map(|passed| passed.authority.clone()).collect(),
            signers: signers(passed),
            codes,
            ..Self::of(image, ruled.verdict.code(), !held && ruled.criterion.mode == Mode::Enforce)
        }
    }
}

/// Who has signed for these authorities, each once.
fn signers(passed: &[Passed]) -> Vec<String> {
    let signatures = passed.iter().flat_map(|passed| match &passed.by {
        PassedBy::Signatures(signatures) => signatures.as_slice(),
        PassedBy::Static | PassedBy::Exemption => &[],
    });
    let mut signers: Vec<String> = signatures.map(VerifiedFact::signer).collect();
    signers.sort();
    signers.dedup();
    signers
}

#[cfg(test)]
mod tests;
