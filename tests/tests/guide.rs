//! docs/guides/key-pair.md, run: every ```bash block, in order, in one folder, against a real
//! registry and a cluster of its own. A ```text block right after says what must be printed: each
//! line, its parts around a `…`; and if it begins with `Error`, that the commands must fail.

use std::path::Path;
use std::time::Duration;

use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::Installation;
use sealgate_tests::image;
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::{Run, Sandbox, sealgate};
use sealgate_tests::registries;

const GUIDE: &str = include_str!("../../docs/guides/key-pair.md");

/// The stand-in for the reader's registry.
const REGISTRY: &str = "registry.example.com";

/// Commands, and what they print.
#[derive(Debug, Default)]
struct Step {
    commands: String,
    expected: Option<String>,
}

#[test]
fn the_guide_for_a_key_pair() {
    let registry = &registries::docker().host;
    for name in ["app", "unsigned"] {
        image::push(registry, &format!("team/{name}"), "v1.0.0", name).unwrap();
    }
    let cluster = Cluster::start("guide").unwrap();
    let sandbox = reader(&cluster);
    let mut gate = None;
    for step in steps(&GUIDE.replace(REGISTRY, registry)) {
        wait_until_it_is_so(&sandbox, &step);
        if step.commands.contains("sealgate install") {
            gate = Some(Installation::attach("guide", &cluster).unwrap());
        }
    }
    assert!(gate.is_some(), "the guide installs the gate");
}

/// A shell with `sealgate` and `kubectl`, and the cluster in it.
fn reader(cluster: &Cluster) -> Sandbox {
    let kubeconfig = cluster.kubeconfig.display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    std::os::unix::fs::symlink(sealgate(), sandbox.path("bin/sealgate")).unwrap();
    let path = format!("{}:{path}", sandbox.path("bin").display());
    sandbox.with("KUBECONFIG", kubeconfig).with("PATH", path)
}

/// A policy takes effect a moment after it was applied; a reader is slower than that.
fn wait_until_it_is_so(sandbox: &Sandbox, step: &Step) {
    let mut last = None;
    let as_told = || {
        let run = shell(sandbox, &step.commands);
        let is_so = is_as_told(&run, step.expected.as_deref());
        last = Some(run);
        is_so || !step.commands.starts_with("kubectl run")
    };
    let waited = wait_until(Duration::from_secs(20), as_told);
    let run = last.expect("it ran");
    assert!(
        waited.is_ok() && is_as_told(&run, step.expected.as_deref()),
        "{step:#?}\n{}",
        run.report()
    );
}

fn shell(sandbox: &Sandbox, commands: &str) -> Run {
    // The reader types every block into one shell: what it exports stays.
    let exports: Vec<_> = GUIDE.lines().filter(|line| line.starts_with("export ")).collect();
    let script = format!("set -euo pipefail\n{}\n{commands}", exports.join("\n"));
    sandbox.run(Path::new("bash"), &["-c", &script], None)
}

fn is_as_told(run: &Run, expected: Option<&str>) -> bool {
    let Some(expected) = expected else { return run.code == 0 };
    let printed = format!("{}\n{}", run.stderr, run.stdout);
    let fails = expected.starts_with("Error");
    (run.code != 0) == fails && expected.lines().all(|line| is_printed(line, &printed))
}

/// Whether one line has all the parts of `expected` in their order.
fn is_printed(expected: &str, printed: &str) -> bool {
    printed.lines().any(|line| {
        let mut rest = line;
        expected.split('…').all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    })
}

fn steps(guide: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in guide.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language, String::new())),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (Some((language, text)), Some(_)) => {
                let text = std::mem::take(text);
                match *language {
                    "bash" => steps.push(Step { commands: text, expected: None }),
                    "text" => steps.last_mut().expect("commands first").expected = Some(text),
                    _ => {}
                }
                open = None;
            }
            (None, None) => {}
        }
    }
    steps
}
