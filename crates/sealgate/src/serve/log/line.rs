//! A finished line of the log: printable and bounded, whatever its target, fields and spans.
//!
//! Clients of the gate and registries write parts of what is logged. Every line passes through
//! [`finished`], so that no field can begin another line, control a terminal, or hide characters.

use serde_json::{Map, Value};

use super::Format;

/// The maximum length of a text line, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// The maximum length of a JSON line, in bytes.
const MAX_JSON: usize = 256 << 10;
/// The lengths that the texts of a JSON line are cut to, one after the other, until it fits.
const CUTS: [usize; 4] = [16 << 10, 4 << 10, 512, 64];
/// The field that a JSON line has if texts in it were cut.
const CUT: &str = "cut";

/// The line that is written for `bytes`, an event as it was formatted.
pub(super) fn finished(format: Format, bytes: Vec<u8>) -> Box<[u8]> {
    let line = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let mut finished = match format {
        Format::Text => text(line),
        Format::Json => json(line),
    };
    finished.push('\n');
    finished.into_bytes().into()
}

fn text(line: &str) -> String {
    let kept = cut(line, MAX_TEXT);
    let mut text = escaped(kept, |c, text| text.extend(c.escape_unicode()));
    if text.len() > MAX_TEXT {
        text.truncate(cut(&text, MAX_TEXT).len());
    } else if kept.len() == line.len() {
        return text;
    }
    text.push_str(&format!("... (cut: {} bytes)", line.len()));
    text
}

fn json(line: &str) -> String {
    let text = json_escaped(line);
    if text.len() <= MAX_JSON {
        return text;
    }
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return too_long(&text) };
    for limit in CUTS {
        let mut fields: Map<String, Value> = cut_fields(&fields, limit);
        fields.insert(CUT.to_owned(), true.into());
        let text = json_escaped(&Value::Object(fields).to_string());
        if text.len() <= MAX_JSON {
            return text;
        }
    }
    too_long(&text)
}

/// The line in place of one that does not fit even with its texts cut.
fn too_long(line: &str) -> String {
    let fields = serde_json::json!({
        "level": "WARN",
        "message": "a log line was left out because it is too long",
        "bytes": line.len(),
    });
    fields.to_string()
}

fn cut_fields(fields: &Map<String, Value>, limit: usize) -> Map<String, Value> {
    fields.iter().map(|(name, value)| (name.clone(), cut_value(value, limit))).collect()
}

fn cut_value(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(text) if text.len() > limit => {
            format!("{}... (cut: {} bytes)", cut(text, limit), text.len()).into()
        }
        Value::Array(list) => list.iter().map(|value| cut_value(value, limit)).collect(),
        Value::Object(fields) => Value::Object(cut_fields(fields, limit)),
        other => other.clone(),
    }
}

/// Escapes what JSON allows in texts and is not printable. Outside of texts there is no such
/// character.
fn json_escaped(line: &str) -> String {
    escaped(line, |c, text| {
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn escaped(line: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut text = String::with_capacity(line.len() + 1);
    for c in line.chars() {
        match is_printable(c) {
            true => text.push(c),
            false => escape(c, &mut text),
        }
    }
    text
}

/// False for control, bidirectional and invisible characters, line separators, and marks that
/// combine with the character before them.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if c.is_ascii() => false,
        c => c.escape_debug().len() == 1,
    }
}

/// Returns at most `limit` bytes of `text`.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "a\nb\r\t\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}\u{e0041}\u{301}";

    fn line(format: Format, text: &str) -> String {
        let line = String::from_utf8(finished(format, text.as_bytes().to_vec()).into()).unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }

    #[test]
    fn text_has_no_unprintable_character() {
        let text = line(Format::Text, &format!("{HOSTILE} é 世 \"\\'\n"));
        assert!(text.chars().all(is_printable), "{text}");
        assert!(text.starts_with("a\\u{a}b\\u{d}\\u{9}\\u{1b}[31m\\u{7f}\\u{9b}2J"), "{text}");
        assert!(text.ends_with(" é 世 \"\\'"), "{text}");
        assert_eq!(line(Format::Text, "plain"), "plain");
    }

    #[test]
    fn json_has_no_unprintable_character_and_means_the_same() {
        let value = serde_json::json!({ HOSTILE: { "x": [HOSTILE, "é 世"] } });
        let text = line(Format::Json, &value.to_string());
        assert!(text.chars().all(is_printable), "{text}");
        assert!(text.contains("\\u009b") && text.contains("\\u202e"), "{text}");
        assert!(text.contains("\\udb40\\udc41") && text.contains("é 世"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn long_lines_are_cut_and_say_so() {
        let long = line(Format::Text, &"é\u{202e}".repeat(100_000));
        assert!(long.len() < MAX_TEXT + 64, "{}", long.len());
        assert!(long.ends_with("... (cut: 500000 bytes)"), "{}", &long[long.len() - 40..]);
        for (texts, length) in [(1, 1 << 20), (40, 30_000), (400, 3_000), (1_500, 600)] {
            let texts: Vec<_> = (0..texts).map(|_| "\u{202e}".repeat(length / 3)).collect();
            let value = serde_json::json!({ "allowed": true, "images": texts, "uid": "u" });
            let text = line(Format::Json, &value.to_string());
            assert!(text.len() <= MAX_JSON, "{}", text.len());
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&value["allowed"], &value["uid"]), (&true.into(), &"u".into()));
            assert_eq!(value[CUT], true);
            assert!(value["images"][0].as_str().unwrap().contains("... (cut: "));
        }
        let endless = serde_json::json!({ "x": vec![0; 200_000] }).to_string();
        let value: Value = serde_json::from_str(&line(Format::Json, &endless)).unwrap();
        assert_eq!(value["bytes"], endless.len());
    }
}
