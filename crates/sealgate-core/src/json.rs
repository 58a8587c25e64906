//! Strict JSON for foreign documents: ambiguous input, which two parsers could read differently, is
//! refused.
//!
//! Bounds size, depth and number of values; refuses a duplicate key in an object, and (by `Object`)
//! a key that a case-insensitive parser such as Go's takes for another one. Independent of any
//! format.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::foreign::Foreign;

/// The maximum nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;
/// The maximum number of values (of every kind) in a document.
pub const MAX_VALUES: usize = 250_000;
/// The maximum number of values in a document whose every list is short, such as a bundle: it is
/// read before any signature is verified, and values cost more than bytes.
pub(crate) const MAX_SHORT_VALUES: usize = 16_384;

/// Reason why a text is not accepted as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidJson {
    /// The text is longer than its bound.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More values than the document may have.
    #[error("more than {0} values")]
    TooMany(usize),
    /// A duplicate key in an object.
    #[error("the key {0:?} stands twice")]
    DuplicateKey(Foreign),
    /// A key that another parser would take for the known field `known`.
    #[error("the key {found:?} can be read as {known:?}")]
    AmbiguousKey {
        /// The key as written.
        found: Foreign,
        /// The field it can be taken for.
        known: &'static str,
    },
    /// A field is missing, or has a value of the wrong kind.
    #[error("{field}: want {want}")]
    Field {
        /// The field.
        field: &'static str,
        /// The expected value.
        want: &'static str,
    },
    /// A field is not standard base64 with padding ([`crate::base64`]).
    #[error("{0}: not standard base64")]
    Base64(&'static str),
    /// A list is longer than its bound.
    #[error("{field}: more than {limit} entries")]
    TooManyEntries {
        /// The list.
        field: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// Invalid JSON, or bytes after its end.
    #[error("not JSON: {0}")]
    Syntax(Foreign),
}

/// Parses one JSON value from at most `limit` bytes.
pub(crate) fn parse(bytes: &[u8], limit: usize) -> Result<Value, InvalidJson> {
    parse_values(bytes, limit, MAX_VALUES)
}

/// Parses one JSON value from at most `limit` bytes, with at most `values` values in it.
pub(crate) fn parse_values(
    bytes: &[u8],
    limit: usize,
    values: usize,
) -> Result<Value, InvalidJson> {
    if bytes.len() > limit {
        return Err(InvalidJson::TooLarge(limit));
    }
    let state = RefCell::new(State { values, left: values, refusal: None });
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { state: &state, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| {
        state.take().refusal.unwrap_or_else(|| InvalidJson::Syntax(Foreign::new(error.to_string())))
    })
}

/// The bytes that a field's text encodes, by the rules of [`crate::base64`].
pub(crate) fn base64(text: &str, field: &'static str) -> Result<Vec<u8>, InvalidJson> {
    crate::base64::decode(text).map_err(|_| InvalidJson::Base64(field))
}

/// An object whose fields are read by name.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    known: &'static [&'static str],
}

impl<'a> Object<'a> {
    /// Takes `value` for an object with the fields `known`; others are allowed, but none that
    /// differs from a known one only in case.
    pub(crate) fn new(
        value: &'a Value,
        field: &'static str,
        known: &'static [&'static str],
    ) -> Result<Self, InvalidJson> {
        let map = value.as_object().ok_or(InvalidJson::Field { field, want: "an object" })?;
        // Folded once: an outsider chooses the number of unknown keys.
        let folded: Vec<_> = known.iter().map(|known| (fold(known), *known)).collect();
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let key_folded = fold(key);
            if let Some((_, known)) = folded.iter().find(|(folded, _)| *folded == key_folded) {
                return Err(InvalidJson::AmbiguousKey { found: Foreign::new(key), known });
            }
        }
        Ok(Self { map, known })
    }

    /// The value of a field; `null` is the same as none.
    pub(crate) fn get(&self, name: &'static str) -> Option<&'a Value> {
        debug_assert!(self.known.contains(&name), "{name} is not among the known fields");
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The value of a field that has two spellings (`logIndex`, `log_index`), not both.
    pub(crate) fn either(
        &self,
        camel: &'static str,
        snake: &'static str,
    ) -> Result<Option<&'a Value>, InvalidJson> {
        match (self.get(camel), self.get(snake)) {
            (Some(_), Some(_)) => {
                Err(InvalidJson::AmbiguousKey { found: Foreign::new(snake), known: camel })
            }
            (camel, snake) => Ok(camel.or(snake)),
        }
    }
}

/// The text of `value`; the empty text if there is none.
pub(crate) fn text<'a>(
    value: Option<&'a Value>,
    field: &'static str,
) -> Result<&'a str, InvalidJson> {
    match value {
        None => Ok(""),
        Some(value) => value.as_str().ok_or(InvalidJson::Field { field, want: "a text" }),
    }
}

/// The bytes that `value` holds as base64; none if there is none.
pub(crate) fn bytes(value: Option<&Value>, field: &'static str) -> Result<Vec<u8>, InvalidJson> {
    base64(text(value, field)?, field)
}

/// The entries of a list; none if there is none.
pub(crate) fn list<'a>(
    value: Option<&'a Value>,
    field: &'static str,
    limit: usize,
) -> Result<&'a [Value], InvalidJson> {
    let Some(value) = value else { return Ok(&[]) };
    let list = value.as_array().ok_or(InvalidJson::Field { field, want: "a list" })?;
    if list.len() > limit {
        return Err(InvalidJson::TooManyEntries { field, limit });
    }
    Ok(list)
}

/// A whole number of at most 63 bits, as a number or (as protobuf writes it) as a text.
pub(crate) fn int64(value: Option<&Value>, field: &'static str) -> Result<i64, InvalidJson> {
    let wrong = InvalidJson::Field { field, want: "a whole number" };
    match value {
        None => Ok(0),
        Some(Value::Number(number)) => number.as_i64().ok_or(wrong),
        Some(Value::String(digits)) if is_plain_integer(digits) => {
            digits.parse().map_err(|_| wrong)
        }
        Some(_) => Err(wrong),
    }
}

fn is_plain_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A key as Go's `encoding/json` compares it: without case, the long s and the Kelvin sign
/// being letters of the alphabet.
pub(crate) fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

#[derive(Default)]
struct State {
    /// The maximum number of values.
    values: usize,
    /// The number of values that may still follow.
    left: usize,
    refusal: Option<InvalidJson>,
}

#[derive(Clone, Copy)]
struct Strict<'s> {
    state: &'s RefCell<State>,
    depth: usize,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(&self, refusal: InvalidJson) -> E {
        let error = E::custom(&refusal);
        self.state.borrow_mut().refusal = Some(refusal);
        error
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.refuse(InvalidJson::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        let (values, left) = (state.values, state.left.checked_sub(1));
        state.left = left.unwrap_or_default();
        drop(state);
        left.map(|_| ()).ok_or_else(|| self.refuse(InvalidJson::TooMany(values)))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if map.contains_key(&key) {
                return Err(self.refuse(InvalidJson::DuplicateKey(Foreign::new(key))));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> InvalidJson {
        parse(text.as_bytes(), 1 << 20).unwrap_err()
    }

    #[test]
    fn reads_what_serde_json_reads() {
        let text = r#"{"a":[1,-2,3.5,null,true,"x\u00e9"],"b":{"c":{}}}"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes(), 1 << 20), Ok(plain));
    }

    #[test]
    fn refuses_what_is_ambiguous_or_unbounded() {
        assert_eq!(refusal(r#"{"a":1,"a":1}"#), InvalidJson::DuplicateKey(Foreign::new("a")));
        assert_eq!(
            refusal(r#"[{"b":{"\u0061":1,"a":1}}]"#),
            InvalidJson::DuplicateKey(Foreign::new("a"))
        );
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert_eq!(refusal(&deep), InvalidJson::TooDeep);
        assert_eq!(refusal(&"[".repeat(100_000)), InvalidJson::TooDeep);
        let wide = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert_eq!(refusal(&wide), InvalidJson::TooMany(MAX_VALUES));
        assert_eq!(parse(b"[1,2,3]", 6), Err(InvalidJson::TooLarge(6)));
        for text in ["", "{} {}", "{}x", "\u{feff}{}", "{'a':1}", "[1,]", "nan", "1e999"] {
            assert!(matches!(refusal(text), InvalidJson::Syntax(_)), "{text}");
        }
        assert!(parse(b"\"\xff\"", 100).is_err());
    }

    #[test]
    fn refuses_keys_that_go_would_take_for_a_known_field() {
        for key in ["Digest", "DIGEST", "dige\u{17f}t"] {
            let value = serde_json::json!({ key: 1 });
            let known = &["digest"];
            let error = Object::new(&value, "x", known).err();
            assert!(matches!(error, Some(InvalidJson::AmbiguousKey { .. })), "{key}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(base64("aGk=", "x"), Ok(b"hi".to_vec()));
        assert_eq!(base64("aG\r\nk=\n", "x"), Ok(b"hi".to_vec()));
        for text in ["aGk", "aGl=", "aG k=", "aGk= ", "a_-=", "aGk==", "="] {
            assert_eq!(base64(text, "x"), Err(InvalidJson::Base64("x")), "{text}");
        }
    }

    #[test]
    fn integers_stay_within_64_bits() {
        let number = |text: &str| int64(Some(&parse(text.as_bytes(), 100).unwrap()), "x");
        assert_eq!(number("\"9223372036854775807\""), Ok(i64::MAX));
        assert_eq!(number("-5"), Ok(-5));
        for text in ["9223372036854775808", "1.5", "\"+1\"", "\"1e3\"", "\"\"", "\"-\"", "[]"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
