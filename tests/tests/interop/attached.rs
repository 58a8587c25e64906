//! Artifacts attached to an image: found, shown, downloaded, copied, attached manually, and
//! removed.

use sealgate_tests::image;
use sealgate_tests::registries;

use crate::support::{FORMATS, Format, TOOLS, Tool, sandbox_with_key, stored};

#[test]
fn triangulate_says_what_cosign_says() {
    let sandbox = sandbox_with_key();
    let image = registries::docker().image("triangulate");
    let said = TOOLS.map(|tool| {
        tool.run(&sandbox, &["triangulate", &image.by_tag()]).ok().stdout.trim().to_owned()
    });
    assert_eq!(said[0], said[1]);
    assert_eq!(said[1], format!("{}:{}.sig", image.name(), image.digest_tag()));
}

#[test]
fn downloaded_signatures_are_what_cosign_downloads() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        for format in FORMATS {
            let image = registry.image(&format!("download-{format:?}").to_lowercase());
            Tool::Cosign.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
            let [theirs, ours] = TOOLS.map(|tool| {
                tool.run(&sandbox, &["download", "signature", &image.by_tag()]).ok().json()
            });
            match format {
                Format::Legacy => {
                    assert_eq!(ours["Base64Signature"], theirs["Base64Signature"]);
                    assert_eq!(ours["Payload"], theirs["Payload"]);
                }
                Format::Bundle => assert_eq!(ours, theirs),
            }
        }
    }
}

#[test]
fn a_tree_shows_attached_artifacts() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("tree");
        for format in FORMATS {
            Tool::Cosign.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
        }
        let run = sandbox.sealgate(&["tree", &image.by_tag()]).ok();
        for part in [&format!("{}.sig", image.digest_tag()), "https://sigstore.dev/cosign/sign/v1"]
        {
            assert!(run.stdout.contains(part), "no {part}:\n{}", run.report());
        }
    }
}

#[test]
fn a_copy_keeps_its_signatures() {
    let sandbox = sandbox_with_key();
    for from in registries::all() {
        for to in [registries::docker(), registries::referrers()] {
            let port = to.host.rsplit(':').next().unwrap_or_default();
            let image = from.image(&format!("copied-to-{port}"));
            for format in FORMATS {
                Tool::Sealgate.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
            }
            let port = from.host.rsplit(':').next().unwrap_or_default();
            let target = format!("{}/copies/from-{port}:v2", to.host);
            sandbox.sealgate(&["copy", &image.by_tag(), &target]).ok();
            let copy = image::Image {
                host: to.host.clone(),
                repository: format!("copies/from-{port}"),
                tag: "v2".to_owned(),
                digest: image.digest.clone(),
            };
            assert_eq!(FORMATS.map(|format| stored(&copy, format)), [1, 1], "{target}");
            for tool in TOOLS {
                tool.verify(&sandbox, "cosign", &target, &[]).ok();
            }
        }
    }
}

/// `cosign copy` leaves a tag `sha256-HEX` with the image itself, where a registry without the
/// referrers API stores the referrers list.
#[test]
fn what_cosign_copied_is_judged_and_signed() {
    let sandbox = sandbox_with_key();
    let registry = registries::docker();
    for format in FORMATS {
        let image = registry.image(&format!("copied-by-cosign-{format:?}").to_lowercase());
        let copy = image::Image { repository: format!("{}-copy", image.repository), ..image };
        let from = copy.by_tag().replace("-copy:", ":");
        sandbox.cosign(&["copy", &from, &copy.by_tag()]).ok();
        Tool::Sealgate.verify(&sandbox, "cosign", &copy.by_tag(), &[]).exits(10);
        Tool::Sealgate.sign(&sandbox, format, "cosign", &copy.by_digest(), &[]).ok();
        for tool in TOOLS {
            tool.verify(&sandbox, "cosign", &copy.by_tag(), &[]).ok();
        }
    }
}

#[test]
fn saved_and_loaded_with_signatures() {
    let sandbox = sandbox_with_key();
    for (number, registry) in registries::all().into_iter().enumerate() {
        let image = registry.image("saved");
        for format in FORMATS {
            Tool::Sealgate.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
        }
        let folder = format!("saved-{number}");
        sandbox.sealgate(&["save", "--dir", &folder, &image.by_tag()]).ok();
        let local = ["--local-image"];
        Tool::Sealgate.verify(&sandbox, "cosign", &folder, &local).ok();
        let target = format!("{}/loaded/image:v3", registry.host);
        sandbox.sealgate(&["load", "--dir", &folder, &target]).ok();
        for tool in TOOLS {
            tool.verify(&sandbox, "cosign", &target, &[]).ok();
        }
    }
}

#[test]
fn what_cosign_saves_is_loaded_and_the_other_way_round() {
    let sandbox = sandbox_with_key();
    for saver in TOOLS {
        let image = registries::docker().image(&format!("saved-by-{saver:?}").to_lowercase());
        Tool::Cosign.sign(&sandbox, Format::Legacy, "cosign", &image.by_digest(), &[]).ok();
        let folder = format!("saved-{saver:?}");
        saver.run(&sandbox, &["save", "--dir", &folder, &image.by_tag()]).ok();
        Tool::Sealgate.verify(&sandbox, "cosign", &folder, &["--local-image"]).ok();
        let target = format!("{}/loaded-by/{}:v1", image.host, format!("{saver:?}").to_lowercase());
        saver.other().run(&sandbox, &["load", "--dir", &folder, &target]).ok();
        for tool in TOOLS {
            tool.verify(&sandbox, "cosign", &target, &[]).ok();
        }
    }
}

#[test]
fn a_signature_made_elsewhere_is_attached() {
    let sandbox = sandbox_with_key();
    for attacher in TOOLS {
        let image = registries::docker().image(&format!("attached-{attacher:?}").to_lowercase());
        let payload = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{}"}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
            image.name(),
            image.digest
        );
        sandbox.write("payload.json", payload);
        let mut sign = vec!["sign-blob", "--key", "cosign.key", "-y"];
        sign.extend(Tool::Cosign.format_flags(&sandbox, Format::Legacy));
        sign.extend(["--output-signature=payload.sig", "payload.json"]);
        sandbox.cosign(&sign).ok();
        let reference = image.by_digest();
        let attach = [
            "attach",
            "signature",
            "--signature=payload.sig",
            "--payload=payload.json",
            &reference,
        ];
        attacher.run(&sandbox, &attach).ok();
        assert_eq!(stored(&image, Format::Legacy), 1, "{attacher:?}");
        for tool in TOOLS {
            tool.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
        }
    }
}

/// `openssl dgst -sign ... | base64` breaks lines, and cosign attaches the text unchanged.
#[test]
fn a_signature_with_line_breaks_verifies_wherever_cosign_verifies_it() {
    let sandbox = sandbox_with_key();
    for breaks in ["\n", "\r\n"] {
        for attacher in TOOLS {
            let name = format!("breaks-{attacher:?}-{}", breaks.len()).to_lowercase();
            let image = registries::docker().image(&name);
            let payload = sandbox.cosign(&["generate", &image.by_digest()]).ok().stdout;
            sandbox.write("payload.json", payload);
            let sign = ["sign-blob", "--key=cosign.key", "-y", "--new-bundle-format=false"];
            let signature = sandbox.sealgate(&[&sign[..], &["payload.json"]].concat()).ok().stdout;
            let (first, rest) = signature.trim().split_at(60);
            let broken = format!("{first}{breaks}{rest}{breaks}");
            sandbox.write("broken.sig", &broken);
            let reference = image.by_digest();
            let attach = ["--signature=broken.sig", "--payload=payload.json", &reference];
            attacher.run(&sandbox, &[&["attach", "signature"], &attach[..]].concat()).ok();
            for tool in TOOLS {
                tool.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
            }
            let folder = format!("saved-{name}");
            sandbox.sealgate(&["save", "--dir", &folder, &image.by_tag()]).ok();
            Tool::Sealgate.verify(&sandbox, "cosign", &folder, &["--local-image"]).ok();
            // The same text as a signature of the file.
            for given in ["broken.sig", broken.as_str()] {
                let check = ["--key=cosign.pub", "--signature", given, "payload.json"];
                let cosign = ["verify-blob", "--insecure-ignore-tlog"];
                sandbox.cosign(&[&cosign[..], &check].concat()).ok();
                sandbox.sealgate(&[&["verify-blob"], &check[..]].concat()).ok();
            }
        }
    }
}

#[test]
fn clean_removes_the_signatures_and_not_the_image() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("cleaned");
        for format in FORMATS {
            Tool::Cosign.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
        }
        sandbox.sealgate(&["clean", "--force", &image.by_tag()]).ok();
        assert_eq!(FORMATS.map(|format| stored(&image, format)), [0, 0], "{}", registry.host);
        Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]).exits(10);
    }
}

#[test]
fn signatures_may_live_in_another_repository() {
    for (writer, format) in TOOLS.into_iter().flat_map(|tool| FORMATS.map(|format| (tool, format)))
    {
        // cosign 3 ignores COSIGN_REPOSITORY for bundles.
        if (writer, format) == (Tool::Cosign, Format::Bundle) {
            continue;
        }
        let registry = registries::docker();
        let elsewhere = format!("{}/elsewhere/signatures", registry.host);
        let key = sandbox_with_key();
        let sandbox = sealgate_tests::programs::Sandbox::new().with("COSIGN_REPOSITORY", elsewhere);
        for name in ["cosign.key", "cosign.pub"] {
            sandbox.write(name, key.read(name));
        }
        let image = registry.image(&format!("elsewhere-{writer:?}-{format:?}").to_lowercase());
        writer.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
        assert_eq!(stored(&image, format), 0, "{writer:?} {format:?}");
        Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
        Tool::Sealgate.verify(&key, "cosign", &image.by_tag(), &[]).exits(10);
    }
}
