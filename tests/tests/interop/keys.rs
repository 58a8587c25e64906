//! Keys of every kind, made by one program and used by the other.
//!
//! What cosign 3.1.3 itself cannot do (measured here): it signs with P-384 by SHA-384 and with
//! P-521 by SHA-512 but verifies both by SHA-256, so it refuses its own signatures; with Ed25519 it
//! signs by one variant and verifies by the other (`ed25519` has the details), and refuses to write a
//! bundle that it can check. Where cosign cannot verify, we verify.

use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;

use crate::support::{FORMATS, Format, TOOLS, Tool, sandbox_with_key};

/// What a kind of key can do in cosign.
struct Kind {
    name: &'static str,
    /// `openssl genpkey` arguments.
    generate: &'static [&'static str],
    /// Formats in which cosign signs images so that anybody can verify.
    cosign_signs: &'static [Format],
    /// Whether cosign verifies images signed with it.
    cosign_verifies: bool,
}

const RSA: [&str; 3] = ["-algorithm", "RSA", "-pkeyopt"];
const EC: [&str; 3] = ["-algorithm", "EC", "-pkeyopt"];

const KINDS: &[Kind] = &[
    Kind {
        name: "rsa-2048",
        generate: &[RSA[0], RSA[1], RSA[2], "rsa_keygen_bits:2048"],
        cosign_signs: &FORMATS,
        cosign_verifies: true,
    },
    Kind {
        name: "rsa-3072",
        generate: &[RSA[0], RSA[1], RSA[2], "rsa_keygen_bits:3072"],
        cosign_signs: &FORMATS,
        cosign_verifies: true,
    },
    Kind {
        name: "rsa-4096",
        generate: &[RSA[0], RSA[1], RSA[2], "rsa_keygen_bits:4096"],
        cosign_signs: &FORMATS,
        cosign_verifies: true,
    },
    Kind {
        name: "p-256",
        generate: &[EC[0], EC[1], EC[2], "ec_paramgen_curve:P-256"],
        cosign_signs: &FORMATS,
        cosign_verifies: true,
    },
    Kind {
        name: "p-384",
        generate: &[EC[0], EC[1], EC[2], "ec_paramgen_curve:P-384"],
        cosign_signs: &FORMATS,
        cosign_verifies: false,
    },
    Kind {
        name: "p-521",
        generate: &[EC[0], EC[1], EC[2], "ec_paramgen_curve:P-521"],
        cosign_signs: &FORMATS,
        cosign_verifies: false,
    },
    Kind {
        name: "ed25519",
        generate: &["-algorithm", "ED25519"],
        cosign_signs: &[Format::Legacy],
        cosign_verifies: true,
    },
];

impl Kind {
    /// Writes `NAME.pem`, PKCS#8.
    fn make(&self, sandbox: &Sandbox) -> String {
        let pem = format!("{}.pem", self.name);
        let mut arguments = vec!["genpkey", "-out", &pem];
        arguments.extend(self.generate);
        sandbox.program("openssl", &arguments).ok();
        pem
    }
}

#[test]
fn imported_by_cosign_used_by_both() {
    let sandbox = Sandbox::new();
    for kind in KINDS {
        let pem = kind.make(&sandbox);
        Tool::Cosign.import(&sandbox, &pem, kind.name).ok();
        sign_and_verify(&sandbox, kind, "by-cosign");
    }
}

#[test]
fn imported_by_sealgate_used_by_both() {
    let sandbox = Sandbox::new();
    for kind in KINDS {
        let pem = kind.make(&sandbox);
        Tool::Sealgate.import(&sandbox, &pem, kind.name).ok();
        sign_and_verify(&sandbox, kind, "by-sealgate");
    }
}

fn sign_and_verify(sandbox: &Sandbox, kind: &Kind, who: &str) {
    for format in FORMATS {
        let name = format!("key-{who}-{}-{format:?}", kind.name).to_lowercase();
        let image = registries::docker().image_with(&name, "cosign", "signed by cosign");
        if kind.cosign_signs.contains(&format) {
            Tool::Cosign.sign(sandbox, format, kind.name, &image.by_digest(), &[]).ok();
            Tool::Sealgate.verify(sandbox, kind.name, &image.by_digest(), &[]).ok();
        }
        let image = registries::docker().image_with(&name, "sealgate", "signed by sealgate");
        Tool::Sealgate.sign(sandbox, format, kind.name, &image.by_digest(), &[]).ok();
        Tool::Sealgate.verify(sandbox, kind.name, &image.by_digest(), &[]).ok();
        if kind.cosign_verifies {
            Tool::Cosign.verify(sandbox, kind.name, &image.by_digest(), &[]).ok();
        }
    }
}

#[test]
fn generated_by_one_used_by_the_other() {
    for maker in TOOLS {
        let sandbox = Sandbox::new();
        maker.generate(&sandbox, "made");
        for format in FORMATS {
            let image =
                registries::docker().image(&format!("made-{maker:?}-{format:?}").to_lowercase());
            maker.other().sign(&sandbox, format, "made", &image.by_digest(), &[]).ok();
            maker.verify(&sandbox, "made", &image.by_digest(), &[]).ok();
        }
    }
}

#[test]
fn older_encodings_of_private_keys_are_imported() {
    let sandbox = Sandbox::new();
    let rsa = KINDS[0].make(&sandbox);
    sandbox.program("openssl", &["rsa", "-in", &rsa, "-traditional", "-out", "pkcs1.pem"]).ok();
    let ec = KINDS[3].make(&sandbox);
    sandbox.program("openssl", &["ec", "-in", &ec, "-out", "sec1.pem"]).ok();
    for name in ["pkcs1", "sec1"] {
        Tool::Sealgate.import(&sandbox, &format!("{name}.pem"), name).ok();
        let image = registries::docker().image(&format!("encoding-{name}"));
        Tool::Sealgate.sign(&sandbox, Format::Bundle, name, &image.by_digest(), &[]).ok();
        Tool::Cosign.verify(&sandbox, name, &image.by_digest(), &[]).ok();
    }
}

/// A public key as editors and `openssl -text` leave it is the same key for both programs.
#[test]
fn text_around_a_public_key_does_not_matter() {
    let sandbox = sandbox_with_key();
    let key = sandbox.read("cosign.pub");
    let text = sandbox.program("openssl", &["pkey", "-pubin", "-in", "cosign.pub", "-text"]).ok();
    let image = registries::docker().image("key-with-text");
    Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
    for (name, spelling) in [
        ("text", text.stdout),
        ("comment", format!("# our key\n\n{key}\nended\n")),
        ("blanks", key.replace('\n', "  \n")),
        ("blank-line", key.replacen('\n', "\n\n", 1)),
    ] {
        sandbox.write(&format!("{name}.pub"), spelling);
        for tool in TOOLS {
            tool.verify(&sandbox, name, &image.by_tag(), &[]).ok();
        }
    }
    // cosign takes the first of two; nobody could tell which is meant.
    sandbox.write("two.pub", format!("{key}{key}"));
    Tool::Cosign.verify(&sandbox, "two", &image.by_tag(), &[]).ok();
    let run = Tool::Sealgate.verify(&sandbox, "two", &image.by_tag(), &[]).exits(1);
    run.says("several public keys, one after the other: want exactly one");
}

#[test]
fn the_public_half_is_the_same() {
    let sandbox = sandbox_with_key();
    let public = sandbox.read("cosign.pub");
    for tool in TOOLS {
        let run = tool.run(&sandbox, &["public-key", "--key", "cosign.key"]).ok();
        assert_eq!(run.stdout.trim(), public.trim(), "{tool:?}");
    }
}

#[test]
fn a_key_may_come_from_the_environment() {
    let sandbox = sandbox_with_key();
    let (private, public) = (sandbox.read("cosign.key"), sandbox.read("cosign.pub"));
    let sandbox = Sandbox::new().with("PRIVATE", private).with("PUBLIC", public);
    let image = registries::docker().image("env-key");
    let reference = image.by_digest();
    sandbox.sealgate(&["sign", "--key", "env://PRIVATE", "-y", &reference]).ok();
    sandbox.sealgate(&["verify", "--key", "env://PUBLIC", &reference]).ok();
    sandbox.cosign(&["verify", "--key", "env://PUBLIC", "--insecure-ignore-tlog", &reference]).ok();
}

#[test]
fn a_wrong_password_opens_nothing() {
    let sandbox = sandbox_with_key();
    let key = sandbox.read("cosign.key");
    let sandbox = Sandbox::new().with("COSIGN_PASSWORD", "battery staple");
    sandbox.write("cosign.key", key);
    let image = registries::docker().image("wrong-password");
    let run = Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]);
    assert_ne!(run.code, 0, "{}", run.report());
    assert!(!run.stderr.contains("battery staple"), "the password is shown:\n{}", run.report());
    assert_eq!(crate::support::stored(&image, Format::Bundle), 0);
}
