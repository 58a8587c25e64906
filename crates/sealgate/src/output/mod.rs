//! Machine-readable output of commands. Every Sealgate document names its schema,
//! `sealgate.dev/<kind>/v<n>`; the schemas are documented in `docs/reference/output.md`.

pub(crate) mod report;
pub(crate) mod settings;
pub(crate) mod verification;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::failure::{CliError, Outcome};
use crate::session::{Errors, Session};
use crate::terminal;

/// `--output` of commands whose default is text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document on standard output.
    Json,
}

impl Format {
    /// Returns the format of errors for this output format.
    pub(crate) fn errors(self) -> Errors {
        match self {
            Self::Text => Errors::Text,
            Self::Json => Errors::Document,
        }
    }
}

/// `-o` of commands that report what they did.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputFlag {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

impl OutputFlag {
    /// Sets the format of errors, and returns the output format.
    pub(crate) fn begin(self, session: &mut Session) -> Format {
        session.errors = self.output.errors();
        self.output
    }
}

/// Reports the result: a line for people on standard error, or a document on standard output.
pub(crate) fn report_result(
    session: &mut Session,
    format: Format,
    what: &str,
    fields: Value,
    line: impl FnOnce() -> String,
) -> Outcome {
    match format {
        Format::Json => document(session, what, fields),
        Format::Text => {
            terminal::say(line());
            Ok(())
        }
    }
}

/// Writes `fields` as one line, with the schema first.
pub(crate) fn document(session: &mut Session, what: &str, fields: Value) -> Outcome {
    session.line(with_schema(what, &fields))
}

fn with_schema(what: &str, fields: &Value) -> String {
    let text = escape_controls(&fields.to_string());
    match text.strip_prefix('{') {
        Some("}") | None => format!("{{\"schema\":\"{}\"}}", schema(what)),
        Some(rest) => format!("{{\"schema\":\"{}\",{rest}", schema(what)),
    }
}

/// Formats a count: `1 image`, `2 images`.
pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        several => format!("{several} {what}s"),
    }
}

/// Returns the name of a schema.
pub(crate) fn schema(what: &str) -> String {
    format!("sealgate.dev/{what}/v1")
}

/// Writes an error as a document, if JSON output was requested.
pub(crate) fn error_document(session: &mut Session, error: &CliError) -> Outcome {
    let CliError { message, notes, code, .. } = error;
    let fields = json!({ "message": message, "details": notes, "exitCode": code });
    document(session, "error", json!({ "error": fields }))
}

/// Escapes characters that JSON allows in texts and that can control a terminal or are invisible:
/// DEL, C1 controls, and bidirectional controls.
pub(crate) fn escape_controls(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => text.push(other),
        }
    }
    text
}

/// Formats JSON as Go does: characters that could end a script element are escaped. Safe on whole
/// documents, since these characters occur in texts only.
pub(crate) fn go_json(value: &Value) -> String {
    let plain = escape_controls(&value.to_string());
    let mut text = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_comes_first() {
        assert_eq!(with_schema("x", &json!({"a": 1})), r#"{"schema":"sealgate.dev/x/v1","a":1}"#);
        assert_eq!(with_schema("x", &json!({})), r#"{"schema":"sealgate.dev/x/v1"}"#);
    }

    #[test]
    fn foreign_text_cannot_control_the_terminal() {
        let value = json!({ "k\u{9b}2J": "a\u{1b}[2J\n\u{7f}\u{202e}gpj\u{2069}é 世" });
        for text in [escape_controls(&value.to_string()), go_json(&value), with_schema("x", &value)]
        {
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text}");
            assert!(text.contains("\\u009b2J") && text.contains("é 世"), "{text}");
            let again: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(again["k\u{9b}2J"], value["k\u{9b}2J"]);
        }
    }

    #[test]
    fn escapes_as_go_does() {
        assert_eq!(go_json(&json!({"a": "<b>&"})), r#"{"a":"\u003cb\u003e\u0026"}"#);
    }
}
