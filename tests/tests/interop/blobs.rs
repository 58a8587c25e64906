//! Blob signatures, as bundles and detached, in both directions.

use sealgate_tests::programs::{Run, Sandbox};

use crate::support::{Format, TOOLS, Tool, sandbox_with_key};

fn sign(tool: Tool, sandbox: &Sandbox, format: Format, prefix: &str) -> Run {
    let key = format!("{prefix}.key");
    let mut arguments = vec!["sign-blob", "--key", &key, "-y"];
    arguments.extend(tool.format_flags(sandbox, format));
    arguments.push(match format {
        Format::Bundle => "--bundle=blob.bundle",
        Format::Legacy => "--output-signature=blob.sig",
    });
    arguments.push("blob.txt");
    tool.run(sandbox, &arguments)
}

fn verify(tool: Tool, sandbox: &Sandbox, format: Format, prefix: &str) -> Run {
    let key = format!("{prefix}.pub");
    let mut arguments = vec!["verify-blob", "--key", &key];
    if tool == Tool::Cosign {
        arguments.push("--insecure-ignore-tlog");
    }
    arguments.push(match format {
        Format::Bundle => "--bundle=blob.bundle",
        Format::Legacy => "--signature=blob.sig",
    });
    arguments.push("blob.txt");
    tool.run(sandbox, &arguments)
}

#[test]
fn what_one_signs_the_other_verifies() {
    let sandbox = sandbox_with_key();
    sandbox.write("blob.txt", "a file that is signed\n");
    for signer in TOOLS {
        for format in [Format::Bundle, Format::Legacy] {
            sign(signer, &sandbox, format, "cosign").ok();
            for verifier in TOOLS {
                verify(verifier, &sandbox, format, "cosign").ok().says("Verified OK");
            }
        }
    }
}

#[test]
fn a_changed_file_is_refused() {
    let sandbox = sandbox_with_key();
    for format in [Format::Bundle, Format::Legacy] {
        sandbox.write("blob.txt", "before\n");
        sign(Tool::Cosign, &sandbox, format, "cosign").ok();
        sandbox.write("blob.txt", "after\n");
        verify(Tool::Sealgate, &sandbox, format, "cosign").exits(1).says_no("Verified OK");
    }
}

#[test]
fn another_key_is_refused() {
    let sandbox = sandbox_with_key();
    Tool::Cosign.generate(&sandbox, "other");
    sandbox.write("blob.txt", "a file\n");
    for format in [Format::Bundle, Format::Legacy] {
        sign(Tool::Cosign, &sandbox, format, "cosign").ok();
        verify(Tool::Sealgate, &sandbox, format, "other").exits(1).says_no("Verified OK");
    }
}

#[test]
fn ed25519_detached() {
    let sandbox = Sandbox::new();
    sandbox.write("blob.txt", "a file\n");
    let genpkey = ["genpkey", "-algorithm", "ED25519", "-out", "ed25519.pem"];
    sandbox.program("openssl", &genpkey).ok();
    Tool::Cosign.import(&sandbox, "ed25519.pem", "ed25519").ok();
    for signer in TOOLS {
        sign(signer, &sandbox, Format::Legacy, "ed25519").ok();
        for verifier in TOOLS {
            verify(verifier, &sandbox, Format::Legacy, "ed25519").ok();
        }
    }
}
