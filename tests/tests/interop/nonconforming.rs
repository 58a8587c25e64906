//! Registries that deviate from the specification: signatures of one tool are verified by the other
//! as far as it can, and sealgate always finds what was written.

use std::time::{Duration, Instant};

use sealgate_tests::http;
use sealgate_tests::image::{self, Image};
use sealgate_tests::programs::Run;
use sealgate_tests::proxy::{CountingProxy, Deviation};
use sealgate_tests::registries::{self, Registry};

use crate::support::{FORMATS, Format, TOOLS, Tool, sandbox_with_key, verified_digests};

/// Deviating registry, and whether cosign finds its own and our bundles there.
struct DeviatingRegistry {
    upstream: &'static Registry,
    deviation: Deviation,
    cosign_finds: [bool; 2],
    /// cosign writes the fallback tag only if `/referrers/` is not answered with 200.
    cosign_is_found: bool,
}

fn deviating_registries() -> Vec<DeviatingRegistry> {
    let new = |upstream, deviation, cosign_finds, cosign_is_found| DeviatingRegistry {
        upstream,
        deviation,
        cosign_finds,
        cosign_is_found,
    };
    vec![
        new(registries::docker(), Deviation::SendsOciSubject, [true, true], true),
        new(registries::no_referrers(), Deviation::SendsOciSubject, [true, true], true),
        new(registries::referrers(), Deviation::UntypedLists, [false, true], true),
        new(registries::docker(), Deviation::EmptyLists, [false, false], false),
        new(registries::referrers(), Deviation::EmptyLists, [false, false], false),
    ]
}

#[test]
fn signatures_on_nonconforming_registries_are_found() {
    let sandbox = sandbox_with_key();
    for (number, registry) in deviating_registries().into_iter().enumerate() {
        let proxy = CountingProxy::deviating(&registry.upstream.host, registry.deviation).unwrap();
        for (signer, format) in TOOLS.into_iter().flat_map(|tool| FORMATS.map(|f| (tool, f))) {
            let name = format!("registry-{number}-{signer:?}-{format:?}").to_lowercase();
            let image = registry.upstream.image(&name).at(&proxy.host);
            signer.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
            let what = format!("{:?} {number} {signer:?} {format:?}", registry.deviation);
            let bundle = format == Format::Bundle;
            let written = !bundle || signer == Tool::Sealgate || registry.cosign_is_found;
            let ours = Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]);
            assert_eq!(ours.code, if written { 0 } else { 10 }, "{what}\n{}", ours.report());
            if written {
                assert_eq!(verified_digests(&ours), [image.digest.as_str()], "{what}");
            }
            let finds = !bundle || registry.cosign_finds[usize::from(signer == Tool::Sealgate)];
            let peer = Tool::Cosign.verify(&sandbox, "cosign", &image.by_tag(), &[]);
            assert_eq!(peer.code == 0, finds, "{what}\n{}", peer.report());
        }
    }
}

#[test]
fn copies_to_nonconforming_registries_keep_their_signatures() {
    let sandbox = sandbox_with_key();
    let from = registries::referrers().image("registry-copied");
    for format in FORMATS {
        Tool::Sealgate.sign(&sandbox, format, "cosign", &from.by_digest(), &[]).ok();
    }
    sandbox.sealgate(&["save", "--dir", "saved", &from.by_tag()]).ok();
    for (number, registry) in deviating_registries().into_iter().enumerate() {
        let proxy = CountingProxy::deviating(&registry.upstream.host, registry.deviation).unwrap();
        let target = |name: &str| format!("{}/registry/{name}-{number}:v1", proxy.host);
        let (copied, loaded) = (target("copied"), target("loaded"));
        sandbox.sealgate(&["copy", &from.by_tag(), &copied]).ok();
        sandbox.sealgate(&["load", "--dir", "saved", &loaded]).ok();
        for target in [&copied, &loaded] {
            let run = sandbox.sealgate(&["download", "signature", target]).ok();
            assert_eq!(run.stdout.lines().count(), 2, "{:?} {target}", registry.deviation);
            let run = sandbox.sealgate(&["tree", target]).ok();
            assert!(run.stdout.contains("https://sigstore.dev/cosign/sign/v1"), "{}", run.report());
            sandbox.sealgate(&["clean", "--force", target]).ok();
            Tool::Sealgate.verify(&sandbox, "cosign", target, &[]).exits(10);
        }
    }
}

/// A copy interrupted before its referrers list was written is completed by the next one.
#[test]
fn a_second_copy_lists_what_the_first_did_not() {
    let sandbox = sandbox_with_key();
    let from = registries::referrers().image("registry-mended");
    Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &from.by_digest(), &[]).ok();
    let to = registries::no_referrers();
    let copy =
        Image { host: to.host.clone(), repository: "registry/mended".to_owned(), ..from.clone() };
    sandbox.sealgate(&["copy", &from.by_tag(), &copy.by_tag()]).ok();
    let list = format!("/v2/{}/manifests/{}", copy.repository, copy.digest_tag());
    assert_eq!(http::request("DELETE", &to.host, &list, &[], &[]).unwrap().status, 202);
    Tool::Sealgate.verify(&sandbox, "cosign", &copy.by_tag(), &[]).exits(10);
    sandbox.sealgate(&["copy", &from.by_tag(), &copy.by_tag()]).ok();
    for tool in TOOLS {
        tool.verify(&sandbox, "cosign", &copy.by_tag(), &[]).ok();
    }
}

/// The registry's own error message, at once, as in cosign's `sign`.
#[test]
fn an_immutable_tag_is_refused_at_once() {
    let sandbox = sandbox_with_key();
    Tool::Sealgate.generate(&sandbox, "second");
    for (number, upstream) in
        [registries::docker(), registries::no_referrers()].into_iter().enumerate()
    {
        let proxy = CountingProxy::deviating(&upstream.host, Deviation::ImmutableTags).unwrap();
        for format in FORMATS {
            let name = format!("immutable-{number}-{format:?}").to_lowercase();
            let image = upstream.image(&name).at(&proxy.host);
            // The first push creates the tag, the second would move it.
            Tool::Sealgate.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
            for tool in TOOLS {
                refused(|| tool.sign(&sandbox, format, "second", &image.by_digest(), &[]));
                tool.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
            }
        }
        let image = upstream.image(&format!("immutable-{number}-legacy")).at(&proxy.host);
        sandbox.write("other.sig", "MTIz");
        let attach = ["attach", "signature", "--signature", "other.sig", &image.by_tag()];
        refused(|| sandbox.sealgate(&attach));
        refused(|| sandbox.sealgate(&["clean", "--force", &image.by_tag()]));

        // A copy whose signatures would be merged into the target's existing `.sig` tag.
        let source = upstream.image(&format!("immutable-{number}-legacy"));
        let other = Image { repository: format!("registry/source-{number}"), ..source };
        sandbox.sealgate(&["copy", &image.at(&upstream.host).by_tag(), &other.by_tag()]).ok();
        Tool::Sealgate.sign(&sandbox, Format::Legacy, "second", &other.by_digest(), &[]).ok();
        refused(|| sandbox.sealgate(&["copy", "--force", &other.by_tag(), &image.by_tag()]));
        let folder = format!("source-{number}");
        sandbox.sealgate(&["save", "--dir", &folder, &other.by_tag()]).ok();
        refused(|| sandbox.sealgate(&["load", "--dir", &folder, &image.by_tag()]));
    }
}

#[track_caller]
fn refused(run: impl FnOnce() -> Run) {
    let start = Instant::now();
    run().fails_with("the tag is immutable");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// Manifests that cannot be copied are not signed either. cosign does not sign schema 1.
#[test]
fn what_is_no_image_is_not_signed() {
    let sandbox = sandbox_with_key();
    let registry = registries::no_referrers();
    let schema_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for (number, (media_type, body, says)) in [
        (schema_1, r#"{"schemaVersion":1,"name":"x","fsLayers":[],"history":[]}"#, "schema 1"),
        (image::MANIFEST, "<html>", "not a manifest"),
        (image::MANIFEST, r#"{"schemaVersion":2,"manifests":[]}"#, "its content does not match"),
        (image::MANIFEST, r#"{"schemaVersion":2}"#, "not an image manifest"),
    ]
    .into_iter()
    .enumerate()
    {
        let repository = format!("registry/no-image-{number}");
        let put =
            image::put_manifest(&registry.host, &repository, "v1", media_type, body.as_bytes());
        let name = format!("{}/{repository}", registry.host);
        let (tag, digest) = (format!("{name}:v1"), format!("{name}@{}", put.unwrap()));
        for image in [&tag, &digest] {
            for format in FORMATS {
                Tool::Sealgate.sign(&sandbox, format, "cosign", image, &[]).fails_with(says);
            }
            sandbox.sealgate(&["tree", image]).fails_with(says);
            let folder = format!("saved-{number}-{}", usize::from(image == &tag));
            sandbox.sealgate(&["save", "--dir", &folder, image]).fails_with(says);
            let target = format!("{}/registry/no-image-{number}-copy:v1", registry.host);
            sandbox.sealgate(&["copy", image, &target]).fails_with(says);
        }
        // For a tag, verify reads the type of the manifest; for a digest it does not. There is no
        // signature in either case.
        let by_digest = Tool::Sealgate.verify(&sandbox, "cosign", &digest, &[]);
        by_digest.exits(10).says("no signatures found");
        let by_tag = Tool::Sealgate.verify(&sandbox, "cosign", &tag, &[]);
        match media_type == schema_1 {
            true => by_tag.exits(1).says(says).says_no("no signatures found"),
            false => by_tag.exits(10).says("no signatures found"),
        };
        // cosign gives the second answer in all cases.
        for image in [&tag, &digest] {
            Tool::Cosign.verify(&sandbox, "cosign", image, &[]).exits(10);
        }
        if media_type == schema_1 {
            for format in FORMATS {
                let run = Tool::Cosign.sign(&sandbox, format, "cosign", &digest, &[]);
                assert_ne!(run.code, 0, "{}", run.report());
            }
        }
    }
}

/// A signature covers the bytes of a manifest, not its stored type: it is valid whatever type a
/// registry reports later.
#[test]
fn a_signature_is_about_the_bytes_of_a_manifest() {
    let sandbox = sandbox_with_key();
    let registry = registries::no_referrers();
    for (tool, format) in TOOLS.into_iter().flat_map(|tool| FORMATS.map(|f| (tool, f))) {
        let repository = format!("registry/typed-{tool:?}-{format:?}").to_lowercase();
        let body =
            format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"a":"{repository}"}}}}"#);
        let put = |media_type| {
            let body = body.as_bytes();
            image::put_manifest(&registry.host, &repository, "v1", media_type, body).unwrap()
        };
        let name = format!("{}/{repository}", registry.host);
        let digest = format!("{name}@{}", put(image::INDEX));
        tool.sign(&sandbox, format, "cosign", &digest, &[]).ok();
        put(image::MANIFEST);
        for image in [&digest, &format!("{name}:v1")] {
            for verifier in TOOLS {
                verifier.verify(&sandbox, "cosign", image, &[]).ok();
            }
        }
    }
}
