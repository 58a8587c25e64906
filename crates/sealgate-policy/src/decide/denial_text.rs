//! The words of a denial: policy-controller's lines first, then what was found, why each
//! candidate was rejected, and what to do next. All foreign text is made one clean line here, and
//! the whole is bounded.

use std::collections::{BTreeMap, BTreeSet};

use sealgate_core::fault::{Fault, FaultKind};

use super::{
    Effect, JudgedImage, MAX_MESSAGE, MAX_WARNING, MAX_WARNINGS, Ruled, VALIDATION_FAILED,
};
use crate::judge::{AuthorityReason, Cause, RejectedCandidate};
use crate::rule::Signers;

/// The longest piece of foreign text in a message, in characters.
const MAX_TEXT: usize = 600;
/// The longest beginning of a warning, in bytes: behind it must be room for the reason.
const MAX_HEAD: usize = 72;
/// The largest number of candidates that are told one by one.
const MAX_CANDIDATES: usize = 10;
/// The largest number of codes in a warning.
const MAX_CODES: usize = 3;

/// One thing to refuse an object for. Entries that differ in their path only become one.
pub(super) struct Entry {
    message: String,
    path: String,
    /// The line below: the image and why.
    details: String,
    /// The reason and the image, for a warning: one short line, the reason first.
    short: String,
    /// The reason without an image or a registry: who is meant, and the codes.
    brief: String,
    /// More lines, each indented.
    page: Vec<String>,
}

impl Entry {
    pub(super) fn unreadable(image: &JudgedImage, error: &str) -> Self {
        Self {
            message: clean(error),
            path: clean(&image.path),
            details: String::new(),
            short: clean(&image.image),
            brief: "an image is no reference".to_owned(),
            page: vec![next("write the image as registry/repository:tag or @sha256:<digest>")],
        }
    }

    /// `policies` are the enforcing ones that are about the image.
    pub(super) fn not_pinned(
        image: &JudgedImage,
        cause: Option<&Fault>,
        policies: &[&str],
    ) -> Self {
        let text = clean(&image.image);
        let mut page: Vec<String> = policies
            .iter()
            .map(|policy| format!("  policy {} needs the digest of the image", clean(policy)))
            .collect();
        match cause {
            Some(fault) => page.extend([
                format!("  the tag was not resolved: {}", told(fault)),
                next(wait(fault)),
            ]),
            None => page.push(next(&format!(
                "write {text}@sha256:<digest>, or let the mutating webhook resolve the tag"
            ))),
        }
        Self {
            message: format!("invalid value: {text} must be an image digest"),
            path: clean(&image.path),
            details: String::new(),
            short: cause.map_or_else(String::new, told),
            brief: match cause {
                Some(fault) => format!("an image has no digest [{}]", fault.kind.code()),
                None => "an image has no digest".to_owned(),
            },
            page,
        }
    }

    pub(super) fn no_match(image: &JudgedImage) -> Self {
        Self {
            message: "no matching policies".to_owned(),
            path: clean(&image.path),
            details: clean(&image.image),
            short: clean(&image.image),
            brief: "no matching policies".to_owned(),
            page: vec![next(
                "use an image that a ClusterImagePolicy applies to, or have one written for this image",
            )],
        }
    }

    pub(super) fn failed(image: &JudgedImage, ruled: &Ruled) -> Self {
        let reasons = ruled.verdict.reasons();
        let texts: Vec<String> =
            reasons.iter().map(|reason| clean(&reason.text(subject(image)))).collect();
        Self {
            message: format!("failed policy: {}", clean(&ruled.criterion.name)),
            path: clean(&image.path),
            details: format!("{} {}", clean(&image.image), texts.join(" ")),
            short: format!("{}: {}", short(reasons), clean(&image.image)),
            brief: format!("failed policy: {} [{}]", clean(&ruled.criterion.name), codes(reasons)),
            page: page(reasons),
        }
    }

    /// The same as a warning: one line, without the page, the image last, for that is what is cut.
    pub(super) fn warning(&self) -> String {
        let message = cut(self.message.clone(), MAX_HEAD, "...");
        match self.short.as_str() {
            "" => format!("{message}: {}", self.path),
            short => format!("{message}: {}: {short}", self.path),
        }
    }

    /// The same about an object that was not shown.
    pub(super) fn brief_warning(&self) -> String {
        format!("{}: {}", self.brief, self.path)
    }
}

/// A warning about an object that runs nothing itself.
pub(super) fn pods_will_be_refused(warning: &str) -> String {
    format!("pods will be refused: {warning}")
}

/// The image as its author wrote it, where whoever asks has shown it.
fn shown(image: &JudgedImage) -> String {
    match image.effect {
        Effect::Refuses | Effect::Warns => clean(&image.image),
        Effect::WarnsOfUnseen => "its image".to_owned(),
    }
}

/// The image as judged, or as written where no digest was found.
fn subject(image: &JudgedImage) -> &str {
    if image.subject.is_empty() { &image.image } else { &image.subject }
}

/// The warning about a placeholder.
pub(super) fn placeholder(image: &JudgedImage) -> String {
    let (path, image) = (clean(&image.path), shown(image));
    format!("placeholder image not verified: {path}: {image}: its pods are verified when created")
}

/// The warning that an exemption owes.
pub(super) fn exemption(image: &JudgedImage, rule: &str) -> String {
    let head = cut(format!("exempted by policy: {}", clean(rule)), MAX_HEAD, "...");
    let (path, image) = (clean(&image.path), shown(image));
    format!("{head}: {path}: not verified, the policy names no authorities: {image}")
}

/// The whole denial. Every entry's first lines come before any page is cut.
pub(super) fn message(entries: Vec<Entry>) -> String {
    let entries = merge(entries);
    let heads: usize = entries.iter().map(|(head, _)| head.len() + 1).sum();
    let room = MAX_MESSAGE.saturating_sub(VALIDATION_FAILED.len() + heads);
    let share = room / entries.len().max(1);
    let mut text = VALIDATION_FAILED.to_owned();
    for (index, (head, page)) in entries.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(head);
        push_page(&mut text, page, share);
    }
    cut(text, MAX_MESSAGE, "\n(cut here; the audit record has everything)")
}

/// The warnings of a decision: sorted, each once.
pub(super) fn sorted(warnings: Vec<String>) -> Vec<String> {
    let warnings: BTreeSet<String> = warnings.into_iter().collect();
    bounded(&warnings.into_iter().collect::<Vec<_>>())
}

/// Warnings as `kubectl` prints them whole, in their order: each one line of at most
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

/// Entries by message and details, as knative merges field errors: paths sorted and joined.
fn merge(entries: Vec<Entry>) -> Vec<(String, Vec<String>)> {
    let mut merged: BTreeMap<(String, String), (BTreeSet<String>, Vec<String>)> = BTreeMap::new();
    for Entry { message, path, details, page, .. } in entries {
        let slot = merged.entry((message, details)).or_default();
        slot.0.insert(path);
        if slot.1.is_empty() {
            slot.1 = page;
        }
    }
    let head = |message: String, details: String, paths: BTreeSet<String>| {
        let paths = paths.into_iter().collect::<Vec<_>>().join(", ");
        let joint = if details.is_empty() { "" } else { "\n" };
        format!("{message}: {paths}{joint}{details}")
    };
    merged
        .into_iter()
        .map(|((message, details), (paths, page))| (head(message, details, paths), page))
        .collect()
}

fn push_page(text: &mut String, page: &[String], share: usize) {
    let note = 40;
    let mut left = share;
    for (index, line) in page.iter().enumerate() {
        let last = index + 1 == page.len();
        if line.len() + 1 + if last { 0 } else { note } > left {
            let more = match page.len() - index {
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

/// What was found and what to do, for every reason.
fn page(reasons: &[AuthorityReason]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    for reason in reasons {
        lines.extend(found(reason));
        for remedy in to_do(reason) {
            if !remedy.is_empty() && !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
    }
    lines.extend(remedies.iter().map(|remedy| next(remedy)));
    lines
}

/// Why, in the few words that a warning has room for.
fn short(reasons: &[AuthorityReason]) -> String {
    let one = |reason: &AuthorityReason| match &reason.cause {
        Cause::Rejected { summary, candidates } if candidates.is_empty() => clean(summary),
        Cause::Rejected { summary, .. } => {
            format!("[{}] {}", codes(std::slice::from_ref(reason)), clean(summary))
        }
        Cause::Fault(fault) => format!("could not find out: {}", told(fault)),
        _ => clean(&reason.text("")),
    };
    match reasons {
        [only] => one(only),
        several => {
            let told = several.iter().map(|r| format!("{}: {}", clean(&r.authority), one(r)));
            told.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The first codes of the reasons.
fn codes(reasons: &[AuthorityReason]) -> String {
    let codes: BTreeSet<String> = reasons.iter().flat_map(AuthorityReason::codes).collect();
    codes.iter().take(MAX_CODES).map(|code| clean(code)).collect::<Vec<_>>().join(", ")
}

fn found(reason: &AuthorityReason) -> Vec<String> {
    let who = match reason.authority.as_str() {
        "" => "the policy".to_owned(),
        name => format!("authority {}", clean(name)),
    };
    match &reason.cause {
        Cause::Rejected { candidates, .. } => rejected(&who, candidates),
        Cause::Fault(fault) => vec![
            format!("  {who}: could not find out: {}", told(fault)),
            "  this says nothing about the image itself".to_owned(),
        ],
        Cause::Undecidable { condition, detail, .. } => {
            vec![format!("  {who}: [{}] {}", condition.code(), clean(detail))]
        }
        Cause::Static { .. } => vec![format!("  {who}: the policy refuses every such image")],
        Cause::NoKeys => vec![format!("  {who}: has neither keys nor identities")],
        Cause::NoAuthorities => vec![format!("  {who}: nobody is named who could vouch")],
    }
}

fn rejected(who: &str, candidates: &[RejectedCandidate]) -> Vec<String> {
    if candidates.is_empty() {
        return vec![format!("  {who}: looked for signatures and bundles, found none")];
    }
    let count = candidates.len();
    let noun = if count == 1 { "candidate" } else { "candidates" };
    let mut lines = vec![format!("  {who}: {count} {noun} found, none valid:")];
    for RejectedCandidate { origin, code, text, .. } in candidates.iter().take(MAX_CANDIDATES) {
        lines.push(format!("    [{}] {}: {}", clean(code), clean(origin), clean(text)));
    }
    if count > MAX_CANDIDATES {
        lines.push(format!("    and {} more", count - MAX_CANDIDATES));
    }
    lines
}

fn to_do(reason: &AuthorityReason) -> Vec<String> {
    match &reason.cause {
        Cause::Rejected { candidates, .. } if candidates.is_empty() => {
            let how = match reason.signers {
                Signers::Key | Signers::NoKeys => "sealgate sign --key KEY IMAGE@DIGEST",
                Signers::Keyless | Signers::NoIdentities => "sealgate sign IMAGE@DIGEST",
            };
            vec![format!("sign the image: {how}")]
        }
        Cause::Rejected { candidates, .. } => {
            candidates.iter().take(MAX_CANDIDATES).map(|c| clean(&c.remedy)).collect()
        }
        Cause::Fault(fault) => vec![wait(fault).to_owned()],
        Cause::Undecidable { condition, .. } => vec![condition.remedy().to_owned()],
        Cause::Static { .. } => vec!["use an image that the policy allows".to_owned()],
        Cause::NoKeys | Cause::NoAuthorities => {
            vec!["name an authority with a key or an identity in the policy".to_owned()]
        }
    }
}

fn wait(fault: &Fault) -> &'static str {
    match fault.kind {
        kind if kind.is_transient() => "try again; if it stays, look at the registry named above",
        FaultKind::Missing => {
            "push what is named above as missing, or correct its name; trying again will not help \
             by itself"
        }
        FaultKind::Unauthorized | FaultKind::Denied => {
            "give the pod or its service account an imagePullSecret that may read this repository, \
             or correct the one it has"
        }
        FaultKind::Tls => {
            "serve the registry with a certificate that the gate trusts (`--registry-ca-bundle` \
             adds certificate authorities); trying again will not help by itself"
        }
        _ => "see what is named above; trying again will not help by itself",
    }
}

fn next(remedy: &str) -> String {
    format!("  what to do: {remedy}")
}

fn told(fault: &Fault) -> String {
    format!("[{}] {}: {}", fault.kind.code(), clean(&fault.target), clean(&fault.detail))
}

/// Foreign text as one bounded line: no control characters, nothing that turns the direction.
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

/// The lines of `text` as one, without control characters: the API server drops a warning that has
/// one.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// At most `limit` bytes; what is longer ends in `note`.
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
