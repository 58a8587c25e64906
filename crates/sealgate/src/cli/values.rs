//! The values of flags as Go's flag packages read them: booleans, durations, key=value lists.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::failure::CliError;

/// The value name that marks a Go boolean: `--flag`, `--flag=true`, `--flag=false`.
pub(crate) const BOOL: &str = "true|false";

/// A boolean in any spelling of Go's `strconv.ParseBool`.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A Go duration, `1h2m3.5s`, of at most a year.
pub(crate) fn go_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("time: invalid duration {text:?}, want something like 3m0s");
    let bare = || format!("time: missing unit in duration {text:?}, want something like {text}s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bare)?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        total += number * seconds(unit).ok_or_else(bad)?;
        rest = after;
    }
    const YEAR: f64 = 366.0 * 86_400.0;
    if total > YEAR {
        return Err("longer than a year".to_owned());
    }
    Duration::try_from_secs_f64(total).map_err(|_| bad())
}

fn seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// `key=value` pairs; the last one with a key wins, as in cosign.
pub(crate) fn annotations(pairs: &[String]) -> Result<BTreeMap<String, String>, String> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("unable to parse annotation: {pair}")),
        })
        .collect()
}

/// A number of bytes as go-humanize reads it: `128MiB`, `1MB`, `4096`.
pub(crate) fn byte_size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size, want something like 1MiB");
    let text_now = text.trim();
    let end = text_now.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_now.len());
    let (number, unit) = text_now.split_at(end);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "ki" | "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" | "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" | "gib" => 1 << 30,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).filter(|size| *size > 0).ok_or_else(bad)
}

/// Refuses the first flag that was given.
pub(crate) fn refuse_given(flags: &[(&str, bool)], why: &str) -> Result<(), CliError> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(CliError::unsupported(flag, why)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_durations() {
        for (text, millis) in
            [("3m0s", 180_000), ("1h", 3_600_000), ("1.5s", 1500), ("250ms", 250), ("0", 0)]
        {
            assert_eq!(go_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "3", "m", "3x", "-1s", "1s2", "1e9h", "99999999h"] {
            assert!(go_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, size) in
            [("4096", 4096), ("1MiB", 1 << 20), ("2 MB", 2_000_000), ("1Gi", 1 << 30)]
        {
            assert_eq!(byte_size(text), Ok(size), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1XB", "0", "99999999999999999999GiB"] {
            assert!(byte_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_go_booleans() {
        assert_eq!(go_bool("T"), Ok(true));
        assert_eq!(go_bool("0"), Ok(false));
        assert!(go_bool("yes").is_err());
    }

    #[test]
    fn reads_annotations() {
        let pairs = ["a=1".to_owned(), "b=x=y".to_owned(), "a=2".to_owned()];
        let read = annotations(&pairs).unwrap();
        assert_eq!(read["a"], "2");
        assert_eq!(read["b"], "x=y");
        assert!(annotations(&["novalue".to_owned()]).is_err());
    }
}
