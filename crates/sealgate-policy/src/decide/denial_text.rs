//! Text of denials and warnings: policy-controller's lines first, then the candidates found, the
//! reason why each was rejected, and remedies. Foreign text is sanitised to a single line here, and
//! the length of the whole is bounded.
//!
//! A requester may name any host as a registry. Faults are therefore shown as
//! [`Fault::for_requester`] reduces them, in their text, code and remedy alike.

use std::collections::{BTreeMap, BTreeSet};

use sealgate_core::fault::{Fault, FaultKind};

use super::{
    Effect, JudgedImage, MAX_MESSAGE, MAX_WARNING, MAX_WARNINGS, RuleVerdict, VALIDATION_FAILED,
};
use crate::judge::{AuthorityReason, Cause, RejectedCandidate};
use crate::rule::Signers;

/// The maximum length of foreign text in a message, in characters.
const MAX_TEXT: usize = 600;
/// The maximum length of the beginning of a warning, in bytes, which leaves room for the reason.
const MAX_HEAD: usize = 72;
/// The maximum number of candidates listed individually.
const MAX_CANDIDATES: usize = 10;
/// The maximum number of codes in a warning.
const MAX_CODES: usize = 3;

/// One reason to deny an object. Entries that differ in their path only are merged.
pub(super) struct Entry {
    message: String,
    path: String,
    /// The second line: the image and the reason.
    details: String,
    /// The reason and the image, for a warning: one short line, the reason first.
    short: String,
    /// The reason without an image or a registry: the policy and the codes.
    brief: String,
    /// The lines that explain the reason, each indented.
    explanation: Vec<String>,
}

impl Entry {
    pub(super) fn unreadable(image: &JudgedImage, error: &str) -> Self {
        Self {
            message: clean(error),
            path: clean(&image.path),
            details: String::new(),
            short: clean(&image.image),
            brief: "an image is not a valid reference".to_owned(),
            explanation: vec![remedy_line(
                "write the image as registry/repository:tag or registry/repository@sha256:<digest>",
            )],
        }
    }

    /// Creates the entry of an image without a digest; `policies` are the enforcing ones that apply
    /// to it.
    pub(super) fn not_pinned(
        image: &JudgedImage,
        cause: Option<&Fault>,
        policies: &[&str],
    ) -> Self {
        let text = clean(&image.image);
        let cause = cause.map(Fault::for_requester);
        let mut explanation: Vec<String> = policies
            .iter()
            .map(|policy| format!("  policy {} requires an image digest", clean(policy)))
            .collect();
        match &cause {
            Some(fault) => explanation.extend([
                format!("  the tag could not be resolved to a digest: {}", fault_text(fault)),
                remedy_line(fault_remedy(fault)),
            ]),
            None => explanation.push(remedy_line(&format!(
                "write {text}@sha256:<digest>, or let the mutating webhook resolve the tag"
            ))),
        }
        Self {
            message: format!("invalid value: {text} must be an image digest"),
            path: clean(&image.path),
            details: String::new(),
            short: cause.as_ref().map_or_else(String::new, fault_text),
            brief: match &cause {
                Some(fault) => format!("an image has no digest [{}]", fault.kind.code()),
                None => "an image has no digest".to_owned(),
            },
            explanation,
        }
    }

    pub(super) fn no_match(image: &JudgedImage) -> Self {
        Self {
            message: "no matching policies".to_owned(),
            path: clean(&image.path),
            details: clean(&image.image),
            short: clean(&image.image),
            brief: "no matching policies".to_owned(),
            explanation: vec![remedy_line(
                "use an image that a ClusterImagePolicy applies to, or add a ClusterImagePolicy for this image",
            )],
        }
    }

    pub(super) fn failed(image: &JudgedImage, ruled: &RuleVerdict) -> Self {
        let reasons = &for_requester(ruled.verdict.reasons());
        let texts: Vec<String> =
            reasons.iter().map(|reason| clean(&reason.text(subject(image)))).collect();
        Self {
            message: format!("failed policy: {}", clean(&ruled.criterion.name)),
            path: clean(&image.path),
            details: format!("{} {}", clean(&image.image), texts.join(" ")),
            short: format!("{}: {}", short(reasons), clean(&image.image)),
            brief: format!("failed policy: {} [{}]", clean(&ruled.criterion.name), codes(reasons)),
            explanation: explanation(reasons),
        }
    }

    /// The entry as a warning: one line without the explanation, the image last, where the text is
    /// truncated.
    pub(super) fn warning(&self) -> String {
        let message = cut(self.message.clone(), MAX_HEAD, "...");
        match self.short.as_str() {
            "" => format!("{message}: {}", self.path),
            short => format!("{message}: {}: {short}", self.path),
        }
    }

    /// The entry as a warning about an object that the request does not contain.
    pub(super) fn brief_warning(&self) -> String {
        format!("{}: {}", self.brief, self.path)
    }
}

/// The reasons as they are shown to the author of the request.
fn for_requester(reasons: &[AuthorityReason]) -> Vec<AuthorityReason> {
    let shown = |reason: &AuthorityReason| {
        let mut reason = reason.clone();
        if let Cause::Fault(fault) = &mut reason.cause {
            *fault = fault.for_requester();
        }
        reason
    };
    reasons.iter().map(shown).collect()
}

/// A warning about an object that runs nothing itself.
pub(super) fn pods_will_be_denied(warning: &str) -> String {
    format!("pods will be denied: {warning}")
}

/// The image as written, if the request contains it.
fn image_name(image: &JudgedImage) -> String {
    match image.effect {
        Effect::Refuses | Effect::Warns => clean(&image.image),
        Effect::WarnsWithoutImages => "its image".to_owned(),
    }
}

/// The image as judged, or as written if it has no digest.
fn subject(image: &JudgedImage) -> &str {
    if image.subject.is_empty() { &image.image } else { &image.subject }
}

/// The warning about a placeholder.
pub(super) fn placeholder(image: &JudgedImage) -> String {
    let (path, image) = (clean(&image.path), image_name(image));
    format!(
        "placeholder image not verified: {path}: {image}: the pods are verified when they are created"
    )
}

/// The warning about an exemption.
pub(super) fn exemption(image: &JudgedImage, rule: &str) -> String {
    let head = cut(format!("exempted by policy: {}", clean(rule)), MAX_HEAD, "...");
    let (path, image) = (clean(&image.path), image_name(image));
    format!("{head}: {path}: not verified, the policy names no authorities: {image}")
}

/// Formats the whole denial. The first lines of every entry come before any explanation is
/// truncated.
pub(super) fn message(entries: Vec<Entry>) -> String {
    let entries = merge(entries);
    let heads: usize = entries.iter().map(|(head, _)| head.len() + 1).sum();
    let room = MAX_MESSAGE.saturating_sub(VALIDATION_FAILED.len() + heads);
    let share = room / entries.len().max(1);
    let mut text = VALIDATION_FAILED.to_owned();
    for (index, (head, explanation)) in entries.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(head);
        push_explanation(&mut text, explanation, share);
    }
    cut(text, MAX_MESSAGE, "\n(truncated; the decision record has the full result)")
}

/// The distinct warnings of a decision, sorted and bounded.
pub(super) fn sorted(warnings: Vec<String>) -> Vec<String> {
    let warnings: BTreeSet<String> = warnings.into_iter().collect();
    bounded(&warnings.into_iter().collect::<Vec<_>>())
}

/// Truncates warnings so that `kubectl` prints them whole, in their order: each one line of at most
/// [`MAX_WARNING`] bytes, at most [`MAX_WARNINGS`] of them.
pub fn bounded(warnings: &[String]) -> Vec<String> {
    let lines = warnings.iter().map(|warning| cut(one_line(warning), MAX_WARNING, "..."));
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    let count = lines.len();
    if count > MAX_WARNINGS {
        lines.truncate(MAX_WARNINGS - 1);
        lines.push(format!("and {} more warnings", count - lines.len()));
    }
    lines
}

/// Merges entries by message and details, as knative merges field errors: paths sorted and joined.
fn merge(entries: Vec<Entry>) -> Vec<(String, Vec<String>)> {
    let mut merged: BTreeMap<(String, String), (BTreeSet<String>, Vec<String>)> = BTreeMap::new();
    for Entry { message, path, details, explanation, .. } in entries {
        let slot = merged.entry((message, details)).or_default();
        slot.0.insert(path);
        if slot.1.is_empty() {
            slot.1 = explanation;
        }
    }
    let head = |message: String, details: String, paths: BTreeSet<String>| {
        let paths = paths.into_iter().collect::<Vec<_>>().join(", ");
        let joint = if details.is_empty() { "" } else { "\n" };
        format!("{message}: {paths}{joint}{details}")
    };
    merged
        .into_iter()
        .map(|((message, details), (paths, explanation))| {
            (head(message, details, paths), explanation)
        })
        .collect()
}

fn push_explanation(text: &mut String, explanation: &[String], share: usize) {
    let note = 40;
    let mut left = share;
    for (index, line) in explanation.iter().enumerate() {
        let last = index + 1 == explanation.len();
        if line.len() + 1 + if last { 0 } else { note } > left {
            let more = match explanation.len() - index {
                1 => "\n  (1 more line)".to_owned(),
                several => format!("\n  ({several} more lines)"),
            };
            if more.len() <= left {
                text.push_str(&more);
            }
            return;
        }
        left -= line.len() + 1;
        text.push('\n');
        text.push_str(line);
    }
}

/// Explains all reasons: the findings, then the remedies.
fn explanation(reasons: &[AuthorityReason]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    for reason in reasons {
        lines.extend(findings(reason));
        for remedy in remedies_of(reason) {
            if !remedy.is_empty() && !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
    }
    lines.extend(remedies.iter().map(|remedy| remedy_line(remedy)));
    lines
}

/// The reason in short, for a warning.
fn short(reasons: &[AuthorityReason]) -> String {
    let one = |reason: &AuthorityReason| match &reason.cause {
        Cause::Rejected { summary, candidates } if candidates.is_empty() => clean(summary),
        Cause::Rejected { summary, .. } => {
            format!("[{}] {}", codes(std::slice::from_ref(reason)), clean(summary))
        }
        Cause::Fault(fault) => format!("could not verify: {}", fault_text(fault)),
        _ => clean(&reason.text("")),
    };
    match reasons {
        [only] => one(only),
        several => {
            let each = several.iter().map(|r| format!("{}: {}", clean(&r.authority), one(r)));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The first codes of the reasons.
fn codes(reasons: &[AuthorityReason]) -> String {
    let codes: BTreeSet<String> = reasons.iter().flat_map(AuthorityReason::codes).collect();
    codes.iter().take(MAX_CODES).map(|code| clean(code)).collect::<Vec<_>>().join(", ")
}

fn findings(reason: &AuthorityReason) -> Vec<String> {
    let target = match reason.authority.as_str() {
        "" => "the policy".to_owned(),
        name => format!("authority {}", clean(name)),
    };
    match &reason.cause {
        Cause::Rejected { candidates, .. } => rejected(&target, candidates),
        Cause::Fault(fault) => vec![
            format!("  {target}: could not verify: {}", fault_text(fault)),
            "  the verification did not complete, so this is not a result about the image"
                .to_owned(),
        ],
        Cause::Undecidable { condition, detail, .. } => {
            vec![format!("  {target}: [{}] {}", condition.code(), clean(detail))]
        }
        Cause::Static { .. } => {
            vec![format!("  {target}: the policy denies every image that it applies to")]
        }
        Cause::NoKeys => vec![format!("  {target}: has no keys or identities")],
        Cause::NoAuthorities => vec![format!("  {target}: names no authorities")],
    }
}

fn rejected(target: &str, candidates: &[RejectedCandidate]) -> Vec<String> {
    if candidates.is_empty() {
        return vec![format!("  {target}: no signatures or bundles found")];
    }
    let count = candidates.len();
    let noun = if count == 1 { "candidate" } else { "candidates" };
    let mut lines = vec![format!("  {target}: {count} {noun} found, none valid:")];
    for RejectedCandidate { origin, code, text, .. } in candidates.iter().take(MAX_CANDIDATES) {
        lines.push(format!("    [{}] {}: {}", clean(code), clean(origin), clean(text)));
    }
    if count > MAX_CANDIDATES {
        lines.push(format!("    and {} more", count - MAX_CANDIDATES));
    }
    lines
}

fn remedies_of(reason: &AuthorityReason) -> Vec<String> {
    match &reason.cause {
        Cause::Rejected { candidates, .. } if candidates.is_empty() => {
            let command = match reason.signers {
                Signers::Key | Signers::NoKeys => "sealgate sign --key KEY IMAGE@DIGEST",
                Signers::Keyless | Signers::NoIdentities => "sealgate sign IMAGE@DIGEST",
            };
            vec![format!("sign the image: {command}")]
        }
        Cause::Rejected { candidates, .. } => {
            candidates.iter().take(MAX_CANDIDATES).map(|c| clean(&c.remedy)).collect()
        }
        Cause::Fault(fault) => vec![fault_remedy(fault).to_owned()],
        Cause::Undecidable { condition, .. } => vec![condition.remedy().to_owned()],
        Cause::Static { .. } => vec!["use an image that the policy allows".to_owned()],
        Cause::NoKeys | Cause::NoAuthorities => {
            vec!["add an authority with a key or an identity to the policy".to_owned()]
        }
    }
}

fn fault_remedy(fault: &Fault) -> &'static str {
    match fault.kind {
        kind if kind.is_transient() => {
            "try again; if the error persists, check the registry named above"
        }
        FaultKind::Missing => {
            "push the missing content named above, or correct its name; a retry alone will not help"
        }
        FaultKind::Unauthorized | FaultKind::Denied => {
            "give the pod or its service account an imagePullSecret that may read this repository, \
             or correct the existing one"
        }
        _ => "see the error above; a retry alone will not help",
    }
}

fn remedy_line(remedy: &str) -> String {
    format!("  what to do: {remedy}")
}

fn fault_text(fault: &Fault) -> String {
    format!("[{}] {}: {}", fault.kind.code(), clean(&fault.target), clean(&fault.detail))
}

/// Sanitises foreign text to one bounded line: no control characters, no bidirectional overrides.
fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    let mut line: String = text.chars().take(MAX_TEXT).map(harmless).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        line.push('…');
    }
    line.trim_end().to_owned()
}

/// Joins the lines of `text`, without control characters: the API server drops a warning that
/// contains one.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Truncates text to at most `limit` bytes, with `note` at its end.
fn cut(mut text: String, limit: usize, note: &str) -> String {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit.saturating_sub(note.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(note);
    text
}
