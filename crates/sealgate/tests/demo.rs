//! `sealgate demo`, as a newcomer runs it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    // Whatever the developer's machine is set up for, the demo needs none of it.
    for variable in ["COSIGN_PASSWORD", "COSIGN_REPOSITORY", "KUBECONFIG", "DOCKER_CONFIG"] {
        command.env_remove(variable);
    }
    command
}

#[test]
fn everything_comes_as_announced_in_under_a_minute() {
    let start = Instant::now();
    let output = demo(&[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(!text.contains("UNEXPECTED"), "{text}");
    for (what, times) in [("ok  refused", 4), ("ok  admitted", 1), ("$ curl --cacert", 5)] {
        assert_eq!(text.matches(what).count(), times, "{what}\n{text}");
    }
    let denial = "admission webhook \"policy.sigstore.dev\" denied the request: validation failed: \
                  failed policy: signed-by-demo: spec.containers[0].image";
    assert_eq!(text.matches(denial).count(), 4, "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}
