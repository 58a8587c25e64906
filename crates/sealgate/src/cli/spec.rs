//! The specifications of services in cosign's `create` verbs: `url=…,start-time=…` lists of keys
//! and values.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::failure::CliError;

/// A specification.
pub(crate) struct Spec {
    what: &'static str,
    values: BTreeMap<String, String>,
}

impl Spec {
    /// Reads a specification with all of the `required` keys. `what` is for messages. Unknown keys
    /// are refused; cosign ignores them, misspelled ones included.
    pub(crate) fn read(
        text: &str,
        what: &'static str,
        required: &[&str],
        optional: &[&str],
    ) -> Result<Self, CliError> {
        let mut values = BTreeMap::new();
        for pair in text.split(',') {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| bad(what, format!("invalid key-value pair: {pair}")))?;
            let key = key.trim();
            if !required.contains(&key) && !optional.contains(&key) {
                let known = [required, optional].concat().join(", ");
                return Err(
                    bad(what, format!("unknown key '{key}'")).note(format!("keys: {known}"))
                );
            }
            values.insert(key.to_owned(), value.trim().to_owned());
        }
        let missing = |key: &&&str| values.get(**key).is_none_or(String::is_empty);
        match required.iter().find(missing) {
            Some(key) => Err(bad(what, format!("missing or empty required key '{key}'"))),
            None => Ok(Self { what, values }),
        }
    }

    /// The value of a key; none if it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a required key.
    pub(crate) fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }

    /// The time of a key, if it is given.
    pub(crate) fn time(&self, key: &str) -> Result<Option<Timestamp>, CliError> {
        self.get(key).map(|text| time(text).map_err(|why| self.wrong(key, &why))).transpose()
    }

    /// The number of a key.
    pub(crate) fn number(&self, key: &str) -> Result<u32, CliError> {
        self.text(key).parse().map_err(|error| self.wrong(key, &error))
    }

    fn wrong(&self, key: &str, why: &dyn std::fmt::Display) -> CliError {
        bad(self.what, format!("parsing {key}: {why}"))
    }
}

fn bad(what: &str, why: String) -> CliError {
    CliError::new(format!("parsing {what} spec: {why}"))
}

/// Parses a time in RFC 3339.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no time, want something like 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Spec, CliError> {
        Spec::read(text, "rekor", &["url", "start-time"], &["end-time"])
    }

    #[test]
    fn keys_and_values_are_read() {
        let spec = read("url=https://r.example/?a=b, start-time = 2024-01-01T00:00:00Z").unwrap();
        assert_eq!(spec.text("url"), "https://r.example/?a=b");
        assert_eq!(spec.time("start-time").unwrap().unwrap().as_second(), 1_704_067_200);
        assert_eq!(spec.time("end-time").unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_in_cosigns_words() {
        let message = |text: &str| read(text).err().unwrap().message;
        assert_eq!(message("url"), "parsing rekor spec: invalid key-value pair: url");
        let missing = "parsing rekor spec: missing or empty required key 'start-time'";
        assert_eq!(message("url=x"), missing);
        assert_eq!(message("url=x,start-time="), missing);
        assert_eq!(message("ulr=x"), "parsing rekor spec: unknown key 'ulr'");
        let spec = read("url=x,start-time=yesterday").unwrap();
        assert!(spec.time("start-time").is_err());
    }
}
