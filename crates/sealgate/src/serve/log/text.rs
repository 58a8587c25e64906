//! Text format of log lines: `TIME LEVEL TARGET: …`. A decision is one readable line of `key=value`
//! pairs, always with the same keys in the same order; other events have the format of `tracing`.
//!
//! The author of a pod controls text that is logged here. Such text is bounded, and cannot begin
//! another line or pair, or control a terminal. `--log-format json` has every value in full.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write as _};

use sealgate_engine::record::ImageRecord;
use sealgate_server::decisions::FIELDS;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Compact, Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use super::line::cut;

/// The tracing target of decisions.
const DECISION: &str = "decision";

/// The maximum length of a value, in bytes before escaping.
const MAX_VALUE: usize = 512;
/// The maximum number of images in a line.
const MAX_IMAGES: usize = 8;
/// The maximum length of an image, and of each text about it, in bytes.
const MAX_PART: usize = 160;
/// The maximum length of the list of images: each has its image, rule, codes and signers.
const MAX_LIST: usize = MAX_IMAGES * (4 * MAX_PART + 64);

/// The prefix of a digest, the number of its hexadecimal digits, and the number of those that
/// [`brief`] keeps.
const DIGEST: &str = "sha256:";
const HEX: usize = 64;
const BRIEF: usize = 12;

/// Formatter of log lines.
pub(super) struct Text(Format<Compact>);

impl Text {
    pub(super) fn new() -> Self {
        Self(Format::default().with_ansi(false).compact())
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target() != DECISION {
            return self.0.format_event(context, writer, event);
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} {DECISION}:", event.metadata().level())?;
        writeln!(writer, "{}", line(&fields.0))
    }
}

/// The fields of an event, as text.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

fn line(fields: &BTreeMap<&'static str, String>) -> String {
    let mut line = String::with_capacity(512);
    for key in FIELDS {
        let value = fields.get(key).map_or("", String::as_str);
        let value = match key {
            "images" => images(value),
            "denial" => brief(&denial(value)),
            "policies" => brief(value),
            _ => value.to_owned(),
        };
        line.push(' ');
        line.push_str(key);
        line.push('=');
        push(&mut line, &value, if key == "images" { MAX_LIST } else { MAX_VALUE });
    }
    line
}

/// Formats each image as `IMAGE: RULE, MODE, OUTCOME [CODES]`, those that deny the object first.
fn images(json: &str) -> String {
    let Ok(mut images) = serde_json::from_str::<Vec<ImageRecord>>(json) else {
        return json.to_owned();
    };
    images.sort_by_key(|image| !image.denies);
    let mut listed: Vec<String> = images.iter().take(MAX_IMAGES).map(image).collect();
    match images.len().saturating_sub(MAX_IMAGES) {
        0 => {}
        more => listed.push(format!("and {more} more")),
    }
    listed.join("; ")
}

fn image(record: &ImageRecord) -> String {
    let ImageRecord { image, rule, mode, outcome, codes, signers, .. } = record;
    let parts = [&**rule, &**mode, &**outcome].into_iter().filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(short).collect();
    let mut text = format!("{}: {}", short(image), parts.join(", "));
    if !codes.is_empty() {
        let _ = write!(text, " [{}]", short(&codes.join(", ")));
    }
    if !signers.is_empty() {
        let _ = write!(text, ", signed by {}", short(&brief(&signers.join(", "))));
    }
    text
}

/// Shortens the digests in a text. They are complete in `images`, where they identify the judged
/// image, and in the JSON format.
fn brief(text: &str) -> String {
    let mut parts = text.split(DIGEST);
    let mut brief = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        brief.push_str(DIGEST);
        let hex = part.len() - part.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        let kept = if hex == HEX { BRIEF } else { hex };
        brief.push_str(cut(part, kept));
        brief.push_str(part.get(hex..).unwrap_or_default());
    }
    brief
}

/// Returns the lines of a denial that policy-controller has, too: the policy, the field, the image
/// and the reason.
fn denial(text: &str) -> String {
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("  ")).collect();
    lines.join("; ")
}

/// Appends a value, in quotes with escapes if it is empty, or has blanks, quotes, `=`, or control
/// or bidirectional characters.
fn push(line: &mut String, value: &str, limit: usize) {
    let bare = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    if !value.is_empty() && value.len() <= limit && value.chars().all(bare) {
        line.push_str(value);
        return;
    }
    let shown = cut(value, limit);
    line.push('"');
    for c in shown.chars() {
        match c {
            '"' | '\\' => {
                line.push('\\');
                line.push(c);
            }
            ' '..='~' => line.push(c),
            c if c.is_alphanumeric() => line.push(c),
            c => {
                let _ = write!(line, "{}", c.escape_unicode());
            }
        }
    }
    if shown.len() < value.len() {
        line.push_str("...");
    }
    line.push('"');
}

fn short(text: &str) -> String {
    match cut(text, MAX_PART) {
        all if all.len() == text.len() => text.to_owned(),
        part => format!("{part}..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    fn record(image: &str, outcome: &str, denies: bool) -> ImageRecord {
        ImageRecord {
            path: "spec.containers[0].image".to_owned(),
            image: image.to_owned(),
            subject: String::new(),
            rule: "signed-by-us".to_owned(),
            mode: "enforce".into(),
            outcome: outcome.to_owned().into(),
            denies,
            authorities: Vec::new(),
            signers: Vec::new(),
            codes: Vec::new(),
        }
    }

    #[test]
    fn a_decision_is_one_readable_line() {
        let good = ImageRecord {
            signers: vec!["me@example.com (https://accounts.example.com)".to_owned()],
            ..record("ghcr.io/acme/good:v1", "pass", false)
        };
        let bad = ImageRecord {
            codes: vec!["no-signatures".to_owned()],
            ..record("ghcr.io/acme/bad:v1", "fail", true)
        };
        let images = serde_json::to_string(&[good, bad]).unwrap();
        let text = line(&fields(&[
            ("message", "decision"),
            ("allowed", "false"),
            ("reason", "fail"),
            ("operation", "CREATE"),
            ("kind", "Pod"),
            ("namespace", "shop"),
            ("name", "app"),
            ("user", "system:serviceaccount:shop:ci"),
            ("images", &images),
            (
                "denial",
                "validation failed: failed policy: signed-by-us: spec.containers[1].image\nghcr.io/acme/bad:v1 no signatures found\n  what to do: sign it",
            ),
            ("warnings", "0"),
            ("dry_run", "false"),
            ("micros", "1500"),
            ("api_version", "v1"),
            ("uid", "u-1"),
        ]));
        assert_eq!(
            text,
            " allowed=false reason=fail operation=CREATE kind=Pod namespace=shop name=app \
             user=system:serviceaccount:shop:ci \
             images=\"ghcr.io/acme/bad:v1: signed-by-us, enforce, fail [no-signatures]; \
             ghcr.io/acme/good:v1: signed-by-us, enforce, pass, \
             signed by me@example.com (https://accounts.example.com)\" \
             denial=\"validation failed: failed policy: signed-by-us: spec.containers[1].image; \
             ghcr.io/acme/bad:v1 no signatures found\" \
             warnings=0 dry_run=false micros=1500 api_version=v1 uid=u-1 policies=\"\""
        );
    }

    #[test]
    fn digests_are_cut_where_they_only_repeat() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let text = brief(&format!("a@{digest}: no signatures; sha256:12 and {digest}"));
        assert_eq!(text, "a@sha256:0123456789ab: no signatures; sha256:12 and sha256:0123456789ab");
    }

    #[test]
    fn the_fields_are_the_same_for_every_decision() {
        let keys = |text: &str| -> Vec<String> {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, _)| key.to_owned()).collect()
        };
        assert_eq!(keys(&line(&fields(&[("allowed", "true")]))), FIELDS);
    }

    #[test]
    fn foreign_text_stays_in_its_value_and_its_bounds() {
        let evil =
            "x\" allowed=true\n2026-01-01 \u{1b}[31m\u{202e}\u{9b}".to_owned() + &"é".repeat(5000);
        let images = vec![record(&evil, &evil, true); 100];
        let images = serde_json::to_string(&images).unwrap();
        let mut fields: BTreeMap<&'static str, String> =
            FIELDS.into_iter().map(|key| (key, evil.clone())).collect();
        fields.insert("images", images);
        let text = line(&fields);
        assert!(!text.contains(['\n', '\u{1b}', '\u{202e}', '\u{9b}']), "{text}");
        assert!(text.contains("x\\\" allowed=true\\u{a}2026"), "{text}");
        assert!(text.contains("; and 92 more"), "{text}");
        assert!(text.len() < 48 << 10, "{}", text.len());
    }
}
