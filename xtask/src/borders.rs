//! The allowed dependencies: `core <- policy <- engine <- {registry, keys, sigstore, kube} <- {server, sealgate}`.
//!
//! Adapters never know each other, and the pure crates know nothing that does I/O, keeps time or
//! rolls dice. What `cargo metadata` says is compared with the tables below.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{command, cycles};

/// Each crate and the crates of the workspace that it may name as a dependency.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("sealgate-core", &[]),
    ("sealgate-policy", &["sealgate-core"]),
    ("sealgate-engine", &["sealgate-core", "sealgate-policy"]),
    ("sealgate-http", &["sealgate-core"]),
    ("sealgate-registry", &["sealgate-core", "sealgate-engine", "sealgate-http"]),
    ("sealgate-keys", &["sealgate-core", "sealgate-engine"]),
    ("sealgate-sigstore", &["sealgate-core", "sealgate-engine", "sealgate-http"]),
    ("sealgate-kube", &["sealgate-core", "sealgate-policy", "sealgate-engine"]),
    (
        "sealgate-server",
        &[
            "sealgate-core",
            "sealgate-policy",
            "sealgate-engine",
            "sealgate-registry",
            "sealgate-keys",
            "sealgate-kube",
            "sealgate-sigstore",
        ],
    ),
    (
        "sealgate",
        &[
            "sealgate-core",
            "sealgate-policy",
            "sealgate-engine",
            "sealgate-registry",
            "sealgate-keys",
            "sealgate-kube",
            "sealgate-sigstore",
            "sealgate-server",
        ],
    ),
    ("sealgate-testkit", &["sealgate-core", "sealgate-policy", "sealgate-engine"]),
    ("sealgate-bench", &["sealgate-core", "sealgate-tests"]),
    // Thousands of expressions go to Go and to our parser: no time for a process each.
    ("sealgate-tests", &["sealgate-core"]),
    ("xtask", &[]),
];

/// Tests may use the stand-ins; nothing else of the workspace joins through a test's back door.
const TESTS_MAY_KNOW: &[&str] = &["sealgate-testkit"];

/// No I/O, no clock, no environment, no randomness: the same input gives the same answer.
const PURE: &[&str] = &["sealgate-core", "sealgate-policy"];

/// Crates that a pure crate must not depend on.
const IMPURE: &[&str] = &[
    "async-trait",
    "axum",
    "futures",
    "hyper",
    "jiff",
    "kube",
    "rand",
    "reqwest",
    "tokio",
    "tracing",
];

/// `cargo xtask borders`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if let Some(first) = arguments.first() {
        bail!("borders takes no arguments, got {first}");
    }
    let mut crossings = crossings(&metadata()?)?;
    crossings.extend(cycles::found()?);
    if !crossings.is_empty() {
        bail!("borders crossed:\n  {}", crossings.join("\n  "));
    }
    println!("borders: no forbidden dependency, no import cycle");
    Ok(())
}

fn metadata() -> anyhow::Result<Value> {
    let mut cargo = command::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(crate::root()?);
    serde_json::from_str(&command::output(&mut cargo)?).context("cargo metadata")
}

/// Every dependency that is not allowed, one sentence each.
fn crossings(metadata: &Value) -> anyhow::Result<Vec<String>> {
    let allowed: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    let packages = metadata["packages"].as_array().context("no packages in the metadata")?;
    let mut crossings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let Some(may_know) = allowed.get(name) else {
            crossings.push(format!("{name} is not in the table of xtask/src/borders.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            crossings.extend(crossing(name, may_know, dependency));
        }
    }
    Ok(crossings)
}

fn crossing(name: &str, may_know: &[&str], dependency: &Value) -> Option<String> {
    let other = dependency["name"].as_str()?;
    let is_test = dependency["kind"] == "dev";
    let is_ours = MAY_KNOW.iter().any(|(ours, _)| *ours == other);
    if is_ours && !may_know.contains(&other) && !(is_test && TESTS_MAY_KNOW.contains(&other)) {
        return Some(format!("{name} must not know {other}"));
    }
    if !is_test && PURE.contains(&name) && IMPURE.contains(&other) {
        return Some(format!("{name} is pure and must not know {other}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(name: &str, dependency: &str, kind: Option<&str>) -> Vec<String> {
        let dependencies = json!([{ "name": dependency, "kind": kind }]);
        crossings(&json!({ "packages": [{ "name": name, "dependencies": dependencies }] })).unwrap()
    }

    #[test]
    fn nobody_crosses_a_border() {
        assert_eq!(crossings(&metadata().unwrap()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_crossing_is_seen() {
        assert_eq!(found("sealgate-core", "sealgate-policy", None).len(), 1);
        assert_eq!(found("sealgate-keys", "sealgate-registry", None).len(), 1);
        assert_eq!(found("sealgate-keys", "sealgate-registry", Some("dev")).len(), 1);
        assert_eq!(found("sealgate-policy", "tokio", None).len(), 1);
        assert_eq!(found("sealgate-novelty", "serde", None).len(), 1);
    }

    #[test]
    fn what_is_allowed_is_no_crossing() {
        assert!(found("sealgate-policy", "sealgate-core", None).is_empty());
        assert!(found("sealgate-server", "sealgate-testkit", Some("dev")).is_empty());
        assert!(found("sealgate-engine", "tokio", None).is_empty());
    }
}
