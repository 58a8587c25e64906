//! Tests of `sealgate demo`, run as a new user does.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    // The demo must not depend on the developer's settings.
    for variable in ["COSIGN_PASSWORD", "COSIGN_REPOSITORY", "KUBECONFIG", "DOCKER_CONFIG"] {
        command.env_remove(variable);
    }
    command
}

#[test]
fn every_result_is_as_expected_in_under_a_minute() {
    let start = Instant::now();
    let output = demo(&[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(!text.contains("UNEXPECTED"), "{text}");
    for (what, times) in [("ok  denied", 4), ("ok  admitted", 1), ("$ curl --cacert", 5)] {
        assert_eq!(text.matches(what).count(), times, "{what}\n{text}");
    }
    let denial = "admission webhook \"policy.sigstore.dev\" denied the request: validation failed: \
                  failed policy: signed-by-demo: spec.containers[0].image";
    assert_eq!(text.matches(denial).count(), 4, "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

/// The instructions at the end are correct: commands can be repeated, and no files remain.
#[test]
fn with_keep_commands_can_be_repeated_until_it_is_stopped() {
    let mut kept = demo(&["--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(kept.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    for line in lines {
        let line = line.unwrap().trim_start().to_owned();
        let last = line.starts_with("Press Ctrl-C to stop both");
        printed.push(line);
        if last {
            break;
        }
    }
    let command = |start: &str| {
        let commands = printed.iter().filter_map(|line| line.strip_prefix("$ "));
        commands.filter_map(|line| line.strip_prefix(start)).next_back().unwrap().to_owned()
    };
    let folder = command("cd ");
    for verb in ["verify", "tree"] {
        let arguments = command(&format!("sealgate {verb} "));
        let mut again = Command::new(env!("CARGO_BIN_EXE_sealgate"));
        again.arg(verb).args(arguments.split(' ')).current_dir(&folder);
        let output = again.output().unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let ended = Command::new("kill").args(["-TERM", &kept.id().to_string()]).status().unwrap();
    assert!(ended.success() && kept.wait().unwrap().success());
    assert!(!Path::new(&folder).exists(), "{folder} is still there");
}
