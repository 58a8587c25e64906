//! The entries of the ConfigMap `config-policy-controller`, as policy-controller reads them.

use std::collections::BTreeMap;

use sealgate_core::reference::parse_registry;

use crate::cip::validate::EmptyAuthorities;
use crate::select::NoMatch;

/// The gate's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `no-match-policy`: `deny` (the default, also for an unknown value), `warn`, `allow`.
    pub no_match: NoMatch,
    /// `fail-on-empty-authorities`.
    pub empty_authorities: EmptyAuthorities,
    /// `insecure-registries`: `HOST[:PORT]` of registries that may be accessed over plain HTTP,
    /// separated by commas or white space.
    pub insecure_registries: Vec<String>,
}

/// The maximum number of insecure registries.
pub const MAX_INSECURE_REGISTRIES: usize = 256;

impl Config {
    /// Parses the entries. Invalid entries are ignored, which is always the stricter choice, and
    /// reported as warnings in the second value.
    pub fn read(data: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let (mut config, mut warnings) = (Self::default(), Vec::new());
        for (key, value) in data {
            let value = value.trim();
            let accepted = match key.as_str() {
                "no-match-policy" => no_match(value).map(|it| config.no_match = it),
                "fail-on-empty-authorities" => {
                    empty_authorities(value).map(|it| config.empty_authorities = it)
                }
                // Bundles are always fetched from the referrers, and always verified.
                "enable-oci11" => boolean(value).map(drop),
                "insecure-registries" => {
                    let (hosts, wrong) = hosts(value);
                    config.insecure_registries = hosts;
                    warnings.extend(wrong);
                    Some(())
                }
                // The ConfigMap of policy-controller's chart documents itself in this entry.
                "_example" => Some(()),
                _ => {
                    warnings.push(format!("config-policy-controller: unknown entry {key}"));
                    Some(())
                }
            };
            if accepted.is_none() {
                warnings.push(format!(
                    "config-policy-controller: {key}: unknown value {value:?}; the default is used"
                ));
            }
        }
        (config, warnings)
    }
}

fn no_match(value: &str) -> Option<NoMatch> {
    [NoMatch::Deny, NoMatch::Warn, NoMatch::Allow].into_iter().find(|it| it.name() == value)
}

fn empty_authorities(value: &str) -> Option<EmptyAuthorities> {
    boolean(value).map(|fail| match fail {
        true => EmptyAuthorities::Refused,
        false => EmptyAuthorities::Accepted,
    })
}

/// Parses a boolean as Go's `strconv.ParseBool`.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Parses a list of hosts, and returns warnings about invalid ones, which are ignored.
fn hosts(value: &str) -> (Vec<String>, Vec<String>) {
    let (mut hosts, mut wrong) = (Vec::new(), Vec::new());
    for part in value.split(|c: char| c == ',' || c.is_whitespace()).filter(|it| !it.is_empty()) {
        match parse_registry(part) {
            _ if hosts.len() >= MAX_INSECURE_REGISTRIES => {
                wrong.push(insecure(&format!("more than {MAX_INSECURE_REGISTRIES} registries")));
                break;
            }
            Ok(host) => hosts.push(host),
            Err(_) => wrong.push(insecure(&format!(
                "{part:?} is not HOST or HOST:PORT (without scheme, path or pattern); ignored"
            ))),
        }
    }
    (hosts, wrong)
}

fn insecure(what: &str) -> String {
    format!("config-policy-controller: insecure-registries: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&str, &str)]) -> (Config, Vec<String>) {
        let owned = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::read(&owned.collect())
    }

    #[test]
    fn unknown_values_deny() {
        for value in ["", "deny", "Allow", "ALLOW", "nonsense"] {
            assert_eq!(read(&[("no-match-policy", value)]).0.no_match, NoMatch::Deny, "{value}");
        }
        assert_eq!(read(&[]), (Config::default(), Vec::new()));
        assert_eq!(read(&[("no-match-policy", "warn")]).0.no_match, NoMatch::Warn);
        assert_eq!(read(&[("no-match-policy", " allow\n")]).0.no_match, NoMatch::Allow);
    }

    #[test]
    fn invalid_entries_are_reported() {
        let (config, warnings) =
            read(&[("fail-on-empty-authorities", "nope"), ("no-match-policy", "x"), ("new", "")]);
        assert_eq!(config, Config::default());
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        let (config, warnings) = read(&[
            ("fail-on-empty-authorities", "false"),
            ("insecure-registries", "A.local:5000, b"),
            ("enable-oci11", "true"),
        ]);
        assert_eq!(config.empty_authorities, EmptyAuthorities::Accepted);
        assert_eq!(config.insecure_registries, ["a.local:5000", "b"]);
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn only_hosts_can_be_insecure_registries() {
        let text = "http://a.local https://b b/team *.corp a.local:0 a.local:70000 a..b [::1 \
                    good.corp:5000\n[fd00::1]:5000 10.0.0.1";
        let (config, warnings) = read(&[("insecure-registries", text)]);
        assert_eq!(config.insecure_registries, ["good.corp:5000", "[fd00::1]:5000", "10.0.0.1"]);
        assert_eq!(warnings.len(), 8, "{warnings:#?}");
        let many: String = (0..300).map(|n| format!("r{n}.corp ")).collect();
        let (config, warnings) = read(&[("insecure-registries", &many)]);
        assert_eq!(config.insecure_registries.len(), MAX_INSECURE_REGISTRIES);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}
