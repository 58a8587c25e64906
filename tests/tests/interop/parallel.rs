//! Concurrent signing: no writer's signature is lost.

use std::process::Child;

use sealgate_tests::image::Image;
use sealgate_tests::programs::{Sandbox, sealgate};
use sealgate_tests::registries::{self, Registry};

use crate::support::{Format, Tool, stored};

const SIGNERS: usize = 20;

#[test]
fn twenty_bundles_on_docker_registry() {
    twenty_signers(registries::docker(), Format::Bundle);
}

#[test]
fn twenty_legacy_signatures_on_docker_registry() {
    twenty_signers(registries::docker(), Format::Legacy);
}

#[test]
fn twenty_bundles_where_there_is_a_referrers_api() {
    twenty_signers(registries::referrers(), Format::Bundle);
}

/// Twenty keys, twenty processes, one image.
fn twenty_signers(registry: &Registry, format: Format) {
    let sandbox = Sandbox::new();
    let image = registry.image(&format!("parallel-{format:?}").to_lowercase());
    let prefixes: Vec<String> = (0..SIGNERS).map(|number| format!("signer-{number}")).collect();
    for prefix in &prefixes {
        Tool::Sealgate.generate(&sandbox, prefix);
    }
    let children: Vec<Child> =
        prefixes.iter().map(|prefix| spawn(&sandbox, format, prefix, &image)).collect();
    for (child, prefix) in children.into_iter().zip(&prefixes) {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{prefix}: {stderr}");
    }
    assert_eq!(stored(&image, format), SIGNERS, "{format:?} on {}", registry.host);
    for prefix in &prefixes {
        Tool::Sealgate.verify(&sandbox, prefix, &image.by_digest(), &[]).ok();
    }
    Tool::Cosign.verify(&sandbox, &prefixes[0], &image.by_digest(), &[]).ok();
}

fn spawn(sandbox: &Sandbox, format: Format, prefix: &str, image: &Image) -> Child {
    let (key, reference) = (format!("{prefix}.key"), image.by_digest());
    let mut arguments = vec!["sign", "--key", &key, "-y"];
    arguments.extend(Tool::Sealgate.format_flags(sandbox, format));
    arguments.push(&reference);
    let mut command = sandbox.command(&sealgate(), &arguments);
    command.stdin(std::process::Stdio::null()).spawn().expect("a signer starts")
}
