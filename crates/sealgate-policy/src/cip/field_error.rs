//! Field errors in the format of knative's webhooks, which policy-controller uses: `<message>:
//! <path>[, <path>…]`, then details on their own line. Equal errors are merged and their paths
//! sorted; several errors are sorted and joined by line breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Errors and warnings about fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(Vec<FieldError>);

/// One error or warning about one or several fields.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldError {
    level: Level,
    message: String,
    details: String,
    paths: Vec<String>,
}

/// The severity of a [`FieldErrors`] entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The object is rejected.
    Error,
    /// The object is accepted with a warning.
    Warning,
}

/// The most entries that are shown, and the most fields of one entry: the object is as long as its
/// author likes.
const MAX_SHOWN: usize = 100;

/// The prefix of a message about an invalid value.
const INVALID: &str = "invalid value: ";

impl FieldErrors {
    /// No errors and no warnings.
    pub fn none() -> Self {
        Self::default()
    }

    /// `<message>: <path>…`.
    pub(crate) fn generic<const N: usize>(message: impl Into<String>, paths: [&str; N]) -> Self {
        Self(vec![FieldError {
            level: Level::Error,
            message: message.into(),
            details: String::new(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }])
    }

    /// `missing field(s): …`.
    pub fn missing<const N: usize>(paths: [&str; N]) -> Self {
        Self::generic("missing field(s)", paths)
    }

    /// `must not set the field(s): …`.
    pub(crate) fn disallowed<const N: usize>(paths: [&str; N]) -> Self {
        Self::generic("must not set the field(s)", paths)
    }

    /// `invalid value: <value>: <path>`.
    pub fn invalid(value: &str, path: &str) -> Self {
        Self::generic(format!("{INVALID}{value}"), [path])
    }

    /// `expected exactly one, got neither: …`.
    pub(crate) fn missing_one_of<const N: usize>(paths: [&str; N]) -> Self {
        Self::generic("expected exactly one, got neither", paths)
    }

    /// `expected exactly one, got both: …`.
    pub(crate) fn multiple_one_of<const N: usize>(paths: [&str; N]) -> Self {
        Self::generic("expected exactly one, got both", paths)
    }

    /// The same with details on the next line.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        let details = details.into();
        self.0.iter_mut().for_each(|error| error.details.clone_from(&details));
        self
    }

    /// The same at another level.
    pub fn at(mut self, level: Level) -> Self {
        self.0.iter_mut().for_each(|error| error.level = level);
        self
    }

    /// Appends the entries of `other`.
    pub fn also(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The same below `field`.
    pub(crate) fn via_field(self, field: &str) -> Self {
        self.via(field)
    }

    /// The same below `field[index]`.
    pub(crate) fn via_field_index(self, field: &str, index: usize) -> Self {
        self.via(&format!("{field}[{index}]"))
    }

    fn via(mut self, prefix: &str) -> Self {
        for path in self.0.iter_mut().flat_map(|error| error.paths.iter_mut()) {
            let joint = if path.is_empty() || path.starts_with('[') { "" } else { "." };
            *path = format!("{prefix}{joint}{path}");
        }
        self
    }

    /// Returns whether there are neither errors nor warnings.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries of this level.
    pub fn filter(&self, level: Level) -> Self {
        Self(self.0.iter().filter(|error| error.level == level).cloned().collect())
    }

    /// Returns each entry, merged and sorted, in the format described above; after the first
    /// [`MAX_SHOWN`], their number.
    pub fn messages(&self) -> Vec<String> {
        let merged = self.merged();
        let left = merged.len().saturating_sub(MAX_SHOWN);
        let shown = merged.into_iter().take(MAX_SHOWN);
        let shown = shown.map(|((message, details, _), paths)| one(message, details, paths));
        shown.chain((left > 0).then(|| format!("and {left} more"))).collect()
    }

    /// Returns the warnings, one line each: the reason, the fields, and the value. A value that
    /// causes a warning is accepted, so no line calls it invalid.
    pub fn warnings(&self) -> Vec<String> {
        let merged = self.merged().into_iter().filter(|((.., level), _)| *level == Level::Warning);
        let shown = merged.take(MAX_SHOWN);
        shown.map(|((message, details, _), paths)| warning(message, details, paths)).collect()
    }

    fn merged(&self) -> BTreeMap<(&str, &str, Level), BTreeSet<&str>> {
        let mut merged: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
        for FieldError { level, message, details, paths } in &self.0 {
            let entry = merged.entry((message.as_str(), details.as_str(), *level)).or_default();
            entry.extend(paths.iter().map(String::as_str));
        }
        merged
    }
}

fn warning(message: &str, details: &str, paths: BTreeSet<&str>) -> String {
    match (details, message.strip_prefix(INVALID)) {
        ("", _) => one(message, "", paths),
        (details, Some(value)) => format!("{}: {value}", one(details, "", paths)),
        (details, None) => format!("{}: {message}", one(details, "", paths)),
    }
}

fn one(message: &str, details: &str, paths: BTreeSet<&str>) -> String {
    let left = paths.len().saturating_sub(MAX_SHOWN);
    let mut paths = paths.into_iter().take(MAX_SHOWN).collect::<Vec<_>>().join(", ");
    if left > 0 {
        paths.push_str(&format!(" and {left} more"));
    }
    match details {
        "" => format!("{message}: {paths}"),
        details => format!("{message}: {paths}\n{details}"),
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_equal_errors_and_sorts_the_rest() {
        let mut errors = FieldErrors::missing(["name"]).via_field_index("b", 1);
        errors.also(FieldErrors::invalid("x", "mode").details("unsupported mode"));
        errors.also(FieldErrors::missing(["name"]).via_field_index("b", 0));
        errors.also(FieldErrors::missing(["name"]).via_field_index("b", 1));
        let text = errors.via_field("spec").to_string();
        assert_eq!(
            text,
            "invalid value: x: spec.mode\nunsupported mode\nmissing field(s): spec.b[0].name, spec.b[1].name"
        );
    }

    #[test]
    fn a_warning_is_one_line_with_its_reason_first() {
        let mut errors = FieldErrors::invalid("ghcr.io/*", "glob").details("matches nothing");
        errors.also(FieldErrors::generic("matches every object", [""]));
        errors = errors.at(Level::Warning).via_field_index("images", 0);
        errors.also(FieldErrors::missing(["name"]));
        assert_eq!(
            errors.warnings(),
            ["matches nothing: images[0].glob: ghcr.io/*", "matches every object: images[0]"]
        );
    }

    #[test]
    fn keeps_the_levels_apart() {
        let mut errors = FieldErrors::missing(["a"]);
        errors.also(FieldErrors::missing(["b"]).at(Level::Warning));
        assert_eq!(errors.filter(Level::Error).to_string(), "missing field(s): a");
        assert_eq!(errors.filter(Level::Warning).to_string(), "missing field(s): b");
        assert_eq!(errors.messages(), ["missing field(s): a", "missing field(s): b"]);
    }
}
