//! Image signatures in both directions, in both formats, on each kind of registry.

use sealgate_tests::image::push_index;
use sealgate_tests::registries;

use crate::support::{FORMATS, Format, TOOLS, Tool, sandbox_with_key, stored, verified_digests};

#[test]
fn what_one_signs_the_other_verifies() {
    let sandbox = sandbox_with_key();
    for (number, registry) in registries::all().into_iter().enumerate() {
        for signer in TOOLS {
            for format in FORMATS {
                let image =
                    registry.image(&format!("both-ways-{signer:?}-{format:?}").to_lowercase());
                signer.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
                assert_eq!(stored(&image, format), 1, "{number} {signer:?} {format:?}");
                for verifier in TOOLS {
                    let run = verifier.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
                    assert_eq!(verified_digests(&run), [image.digest.as_str()]);
                    run.says("The cosign claims were validated")
                        .says("The signatures were verified against the specified public key");
                }
            }
        }
    }
}

#[test]
fn an_unsigned_image_has_no_signatures_for_either() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("unsigned");
        for tool in TOOLS {
            let run = tool.verify(&sandbox, "cosign", &image.by_tag(), &[]);
            run.exits(10).says("no signatures found");
        }
    }
}

#[test]
fn another_key_is_refused_by_both() {
    let sandbox = sandbox_with_key();
    Tool::Sealgate.generate(&sandbox, "other");
    for registry in registries::all() {
        for signer in TOOLS {
            for format in FORMATS {
                let image =
                    registry.image(&format!("wrong-key-{signer:?}-{format:?}").to_lowercase());
                signer.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
                Tool::Sealgate
                    .verify(&sandbox, "other", &image.by_tag(), &[])
                    .exits(12)
                    .says("no matching signatures");
                assert_ne!(Tool::Cosign.verify(&sandbox, "other", &image.by_tag(), &[]).code, 0);
            }
        }
    }
}

#[test]
fn annotations_are_signed_and_asked_for() {
    let sandbox = sandbox_with_key();
    for signer in TOOLS {
        for format in FORMATS {
            let name = format!("annotations-{signer:?}-{format:?}").to_lowercase();
            let image = registries::docker().image(&name);
            let annotations = ["-a", "team=red", "-a", "sign=a<b>&c"];
            signer.sign(&sandbox, format, "cosign", &image.by_digest(), &annotations).ok();
            for verifier in TOOLS {
                let run = verifier.verify(&sandbox, "cosign", &image.by_tag(), &annotations).ok();
                let run = run.says("The specified annotations were verified.");
                assert_eq!(run.json()[0]["optional"]["team"], "red", "{}", run.report());
                let wrong = ["-a", "team=blue"];
                let refused = verifier.verify(&sandbox, "cosign", &image.by_tag(), &wrong);
                assert_ne!(refused.code, 0, "{}", refused.report());
            }
            let wrong = ["-a", "team=blue"];
            Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &wrong).exits(12);
        }
    }
}

#[test]
fn each_of_several_signatures_counts() {
    let sandbox = sandbox_with_key();
    Tool::Cosign.generate(&sandbox, "second");
    Tool::Sealgate.generate(&sandbox, "nobody");
    for registry in registries::all() {
        for format in FORMATS {
            let image = registry.image(&format!("several-{format:?}").to_lowercase());
            Tool::Cosign.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
            Tool::Sealgate.sign(&sandbox, format, "second", &image.by_digest(), &[]).ok();
            assert_eq!(stored(&image, format), 2, "{} {format:?}", registry.host);
            for verifier in TOOLS {
                verifier.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
                verifier.verify(&sandbox, "second", &image.by_tag(), &[]).ok();
                assert_ne!(verifier.verify(&sandbox, "nobody", &image.by_tag(), &[]).code, 0);
            }
        }
    }
}

/// cosign reads one format only; sealgate reads both, in any order.
#[test]
fn the_two_formats_are_one_set() {
    let sandbox = sandbox_with_key();
    Tool::Cosign.generate(&sandbox, "second");
    let image = registries::docker().image("union");
    Tool::Cosign.sign(&sandbox, Format::Legacy, "cosign", &image.by_digest(), &[]).ok();
    Tool::Cosign.sign(&sandbox, Format::Bundle, "second", &image.by_digest(), &[]).ok();
    Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
    Tool::Sealgate.verify(&sandbox, "second", &image.by_tag(), &[]).ok();
}

#[test]
fn both_formats_at_once() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("format-both");
        let arguments = ["--format", "both"];
        Tool::Sealgate
            .sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &arguments)
            .ok();
        assert_eq!(stored(&image, Format::Bundle), 1);
        assert_eq!(stored(&image, Format::Legacy), 1);
        Tool::Cosign.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
        let legacy = ["--new-bundle-format=false"];
        Tool::Cosign.verify(&sandbox, "cosign", &image.by_tag(), &legacy).ok();
    }
}

#[test]
fn an_index_and_all_its_children() {
    let sandbox = sandbox_with_key();
    for (number, registry) in registries::all().into_iter().enumerate() {
        for (signer, format) in [
            (Tool::Cosign, Format::Bundle),
            (Tool::Cosign, Format::Legacy),
            (Tool::Sealgate, Format::Bundle),
            (Tool::Sealgate, Format::Legacy),
        ] {
            let repository = format!("tests/index-{number}-{signer:?}-{format:?}").to_lowercase();
            let (index, children) = push_index(&registry.host, &repository, "v1").unwrap();
            let recursive = ["--recursive"];
            Tool::Sealgate.verify(&sandbox, "cosign", &index.by_tag(), &recursive).exits(10);
            signer.sign(&sandbox, format, "cosign", &index.by_digest(), &[]).ok();
            // The signature of the index does not cover its children.
            let run = Tool::Sealgate.verify(&sandbox, "cosign", &index.by_tag(), &recursive);
            assert_ne!(run.code, 0, "{}", run.report());
            signer.sign(&sandbox, format, "cosign", &index.by_digest(), &recursive).ok();
            Tool::Sealgate.verify(&sandbox, "cosign", &index.by_tag(), &recursive).ok();
            for child in &children {
                signer.other().verify(&sandbox, "cosign", &child.by_digest(), &[]).ok();
            }
        }
    }
}

#[test]
fn signing_a_tag_says_which_digest() {
    let sandbox = sandbox_with_key();
    let image = registries::docker().image("by-tag");
    Tool::Sealgate
        .sign(&sandbox, Format::Bundle, "cosign", &image.by_tag(), &[])
        .ok()
        .says("uses a tag, not a digest, to identify the image to sign")
        .says(&image.digest);
    Tool::Cosign.verify(&sandbox, "cosign", &image.by_digest(), &[]).ok();
}

#[test]
fn a_signature_of_another_image_is_refused() {
    let sandbox = sandbox_with_key();
    let registry = registries::docker();
    let (signed, victim) = (registry.image("lent"), registry.image("borrower"));
    Tool::Cosign.sign(&sandbox, Format::Legacy, "cosign", &signed.by_digest(), &[]).ok();
    lend_legacy_signature(&signed, &victim);
    Tool::Sealgate
        .verify(&sandbox, "cosign", &victim.by_tag(), &[])
        .exits(12)
        .says("no matching signatures");
}

/// Copies the legacy signature manifest of one image to another's tag.
fn lend_legacy_signature(from: &sealgate_tests::image::Image, to: &sealgate_tests::image::Image) {
    use sealgate_tests::image::{MANIFEST, get_blob, get_manifest, push_blob, put_manifest};
    let tag = format!("{}.sig", from.digest_tag());
    let manifest = get_manifest(&from.host, &from.repository, &tag).unwrap().unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    for blob in layers.chain([&manifest["config"]]) {
        let digest = blob["digest"].as_str().unwrap();
        let bytes = get_blob(&from.host, &from.repository, digest).unwrap();
        push_blob(&to.host, &to.repository, &bytes).unwrap();
    }
    let tag = format!("{}.sig", to.digest_tag());
    put_manifest(&to.host, &to.repository, &tag, MANIFEST, manifest.to_string().as_bytes())
        .unwrap();
}

#[test]
fn an_attestation_is_not_a_signature() {
    let sandbox = sandbox_with_key();
    sandbox.write("predicate.json", r#"{"said":"so"}"#);
    for format in FORMATS {
        let image = registries::docker().image(&format!("attested-{format:?}").to_lowercase());
        let mut attest = vec!["attest", "--key", "cosign.key", "-y", "--type", "https://x.test/p"];
        attest.extend(["--predicate", "predicate.json"]);
        attest.extend(Tool::Cosign.format_flags(&sandbox, format));
        let reference = image.by_digest();
        attest.push(&reference);
        sandbox.cosign(&attest).ok();
        let run = Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]);
        assert!([10, 12].contains(&run.code), "{}", run.report());
        let told = run.report().contains("the attached documents are not signatures of the image");
        assert_eq!(told, format == Format::Bundle, "{}", run.report());
    }
}
