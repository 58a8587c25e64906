//! Execution of docs/guides/: every ```bash block of a guide, in order, in one directory, against a
//! real registry, and a separate cluster or gate. A ```text block that follows gives the expected
//! output: each line, with `…` between its parts; if it begins with `Error`, the commands must
//! fail.

use std::path::Path;
use std::time::Duration;

use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::Installation;
use sealgate_tests::image;
use sealgate_tests::process::{Launch, Server, free_port, wait_until};
use sealgate_tests::programs::{Run, Sandbox, built, sealgate};
use sealgate_tests::registries;

const KEY_PAIR: &str = include_str!("../../docs/guides/key-pair.md");
const WITHOUT_CLUSTER: &str = include_str!("../../docs/guides/gate-without-cluster.md");

/// Stands for the reader's registry.
const REGISTRY: &str = "registry.example.com";

/// Address of the gate in the guide without a cluster.
const GATE: &str = "127.0.0.1:8443";

/// Commands and their expected output.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) commands: String,
    expected: Option<String>,
}

#[test]
fn the_guide_for_a_key_pair() {
    let registry = &registries::docker().host;
    for name in ["team/app", "team/unsigned", "tools/debug"] {
        image::push(registry, name, "v1.0.0", name).unwrap();
    }
    let cluster = Cluster::start("guide").unwrap();
    let sandbox = reader().with("KUBECONFIG", cluster.kubeconfig.display().to_string());
    let guide = KEY_PAIR.replace(REGISTRY, registry);
    let mut gate = None;
    for step in steps(&guide) {
        wait_until_it_is_so(&sandbox, &guide, &step);
        if step.commands.contains("sealgate install") {
            gate = Some(Installation::attach("guide", &cluster).unwrap());
        }
    }
    assert!(gate.is_some(), "the guide installs the gate");
}

#[test]
fn the_guide_for_a_gate_without_a_cluster() {
    // Not the other guide's registry, whose images have the same names.
    let registry = &registries::referrers().host;
    image::push(registry, "team/app", "v1.0.0", "app").unwrap();
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let guide = WITHOUT_CLUSTER.replace(REGISTRY, registry).replace(GATE, &address);
    let sandbox = reader();
    let mut gate = None;
    for step in steps(&guide) {
        wait_until_it_is_so(&sandbox, &guide, &step);
        if step.commands.contains("mkdir policies") {
            gate = Some(opened(&sandbox, &guide));
        }
    }
    assert!(gate.is_some(), "the guide opens the gate");
}

/// Server in the reader's other terminal.
fn opened(sandbox: &Sandbox, guide: &str) -> Server {
    let line = guide.lines().find(|line| line.starts_with("sealgate serve ")).expect("the gate");
    let mut launch = Launch::new("guide-gate", sealgate());
    launch.command().args(line.split(' ').skip(1)).current_dir(sandbox.path(""));
    launch.command().env("HOME", sandbox.path(""));
    launch.start(|| sandbox.path("gate-ca.pem").exists()).unwrap()
}

/// Shell with `sealgate` and the real `cosign`.
fn reader() -> Sandbox {
    with_shell(Sandbox::new())
}

/// Variant for an existing directory.
pub(crate) fn with_shell(sandbox: Sandbox) -> Sandbox {
    let path = std::env::var("PATH").unwrap_or_default();
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    std::os::unix::fs::symlink(sealgate(), sandbox.path("bin/sealgate")).unwrap();
    std::os::unix::fs::symlink(built("cosign"), sandbox.path("bin/cosign")).unwrap();
    let path = format!("{}:{path}", sandbox.path("bin").display());
    sandbox.with("PATH", path)
}

/// A policy takes effect shortly after it is applied; a reader is slower than that.
pub(crate) fn wait_until_it_is_so(sandbox: &Sandbox, guide: &str, step: &Step) {
    let mut last = None;
    let as_told = || {
        if last.is_some() && step.commands.starts_with("kubectl run") {
            // Pods admitted by an earlier policy would be in the way.
            shell(sandbox, guide, "kubectl delete pods --all -n shop --now");
        }
        let run = shell(sandbox, guide, &step.commands);
        let is_so = is_as_told(&run, step.expected.as_deref());
        last = Some(run);
        let again = ["kubectl run", "curl"].iter().any(|word| step.commands.starts_with(word));
        is_so || !again
    };
    let waited = wait_until(Duration::from_secs(20), as_told);
    let run = last.expect("it ran");
    assert!(
        waited.is_ok() && is_as_told(&run, step.expected.as_deref()),
        "{step:#?}\n{}",
        run.report()
    );
}

fn shell(sandbox: &Sandbox, guide: &str, commands: &str) -> Run {
    // The reader uses one shell for all blocks: exported variables persist.
    let exports: Vec<_> = guide.lines().filter(|line| line.starts_with("export ")).collect();
    let script = format!("set -euo pipefail\n{}\n{commands}", exports.join("\n"));
    sandbox.run(Path::new("bash"), &["-c", &script], None)
}

/// Returns whether exit code and output are as the guide says.
pub(crate) fn is_as_told(run: &Run, expected: Option<&str>) -> bool {
    let Some(expected) = expected else { return run.code == 0 };
    let printed = format!("{}\n{}", run.stderr, run.stdout);
    let fails = expected.starts_with("Error");
    (run.code != 0) == fails && expected.lines().all(|line| is_printed(line, &printed))
}

/// Returns whether one line has all parts of `expected` in order.
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

pub(crate) fn steps(guide: &str) -> Vec<Step> {
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
