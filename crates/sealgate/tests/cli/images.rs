//! Tests of `sign`, `verify`, `tree`, `triangulate`, `download` and `clean` with one image.

use sealgate_registry::serve::Referrers;
use snapbox::{assert_data_eq, str};

use crate::fixture::CliFixture;

#[test]
fn signs_a_tag_and_reports_the_digest() {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    let ended = fixture.run(&["sign", "--key", "cosign.key", "-y", &image]).code(0);
    assert_data_eq!(ended.out, str![""]);
    let told = ended.err.replace(&fixture.served.registry(), "REG").replace(digest.hex(), "HEX");
    assert_data_eq!(
        told,
        str![[r#"
WARNING: Image reference REG/app:v1 uses a tag, not a digest, to identify the image to sign.
    This can lead you to sign a different image than the intended one. Please use a
    digest (example.com/ubuntu@sha256:abc123...) rather than tag
    (example.com/ubuntu:latest) for the input to cosign. The ability to refer to
    images by tag will be removed in a future release.

Pushing signature to: REG/app
Signed REG/app@sha256:HEX
  stored as REG/app@sha256:[..]
No transparency log has this signature:
  to verify it with cosign, or with sealgate by a trust root that you have configured, add --insecure-ignore-tlog
  to have it logged, sign with --tlog-upload (the public log) or --signing-config FILE

"#]]
    );
}

#[test]
fn verify_prints_cosigns_lines_for_checks_that_were_made() {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    fixture.run(&["sign", "--key", "cosign.key", "-a", "env=prod", &image]).code(0);
    let ended = fixture.run(&["verify", "--key", "cosign.pub", "-a", "env=prod", &image]).code(0);
    let plain =
        |text: &str| text.replace(&fixture.served.registry(), "REG").replace(digest.hex(), "HEX");
    assert_data_eq!(
        plain(&ended.err),
        str![[r#"

Verification for REG/app:v1 --
The following checks were performed on each of these signatures:
  - The specified annotations were verified.
  - The cosign claims were validated
  - The signatures were verified against the specified public key
A transparency log entry was not required.

"#]]
    );
    assert_data_eq!(
        plain(&ended.out),
        str![[r#"

[{"critical":{"identity":{"docker-reference":"REG/app:v1"},"image":{"docker-manifest-digest":"sha256:HEX"},"type":"https://sigstore.dev/cosign/sign/v1"},"optional":{"env":"prod"}}]

"#]]
    );
    let loose =
        fixture.run(&["verify", "--key", "cosign.pub", "--check-claims=false", &image]).code(0);
    assert!(!loose.err.contains("claims were validated"), "{}", loose.err);
    assert!(loose.err.contains("claims were NOT compared"), "{}", loose.err);
}

#[test]
fn the_legacy_format_has_cosigns_json() {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    fixture.run(&["sign", "--key", "cosign.key", "--new-bundle-format=false", &image]).code(0);
    let ended = fixture.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    let out = ended.out.replace(&fixture.served.registry(), "REG").replace(digest.hex(), "HEX");
    assert_data_eq!(
        out,
        str![[r#"

[{"critical":{"identity":{"docker-reference":"REG/app"},"image":{"docker-manifest-digest":"sha256:HEX"},"type":"cosign container image signature"},"optional":null}]

"#]]
    );
    let tag = fixture.run(&["triangulate", &image]).code(0).out;
    assert_eq!(tag.trim(), fixture.name(&format!("app:sha256-{}.sig", digest.hex())));
}

#[test]
fn every_kind_of_failure_has_its_exit_code() {
    let fixture = CliFixture::with_key();
    fixture.run(&["generate-key-pair", "--output-key-prefix", "other"]).code(0);
    fixture.image("app", "signed", "one");
    fixture.image("app", "unsigned", "two");
    let (signed, unsigned) = (fixture.name("app:signed"), fixture.name("app:unsigned"));
    fixture.run(&["sign", "--key", "cosign.key", "--format", "both", &signed]).code(0);
    let verify = |image: &str| fixture.run(&["verify", "--key", "cosign.pub", image]);

    let none = verify(&unsigned).code(10);
    assert_eq!(
        none.frame(),
        ("Error: no signatures found", "error during command execution: no signatures found")
    );
    assert!(none.err.contains("what to do: sign this digest"), "{}", none.err);
    let gone = verify(&fixture.name("app:gone")).code(11);
    assert!(gone.frame().0.starts_with("Error: image tag not found: "), "{}", gone.err);
    assert!(gone.err.contains("what to do: check the name and the tag"), "{}", gone.err);
    // As with an unset `$DIGEST` in a shell.
    for verb in [&["verify", "--key", "cosign.pub"][..], &["sign", "--key", "cosign.key"]] {
        let empty = fixture.run(&[verb, &[""]].concat()).code(1);
        assert!(empty.err.contains("the image name is empty"), "{}", empty.err);
    }

    let other = fixture.run(&["verify", "--key", "other.pub", &signed]).code(12);
    let line = "no matching signatures: invalid signature when validating ASN.1 encoded signature";
    assert_eq!(
        other.frame(),
        (
            format!("Error: {line}").as_str(),
            format!("error during command execution: {line}").as_str()
        )
    );
    assert_eq!(other.err.matches("[wrong-signature]").count(), 2, "{}", other.err);
    assert!(other.err.contains("what to do: Compare the public key"), "{}", other.err);
    assert!(other.err.contains("`sealgate public-key --key KEY`"), "{}", other.err);

    let missing =
        fixture.run(&["verify", "--key", "cosign.pub", "-a", "env=prod", &signed]).code(12);
    assert!(missing.frame().0.contains("missing or incorrect annotation"), "{}", missing.err);

    let nobody = verify("127.0.0.1:1/app:v1").code(1);
    assert!(nobody.frame().0.contains("(unreachable)"), "{}", nobody.err);
    assert!(!nobody.err.contains("no signatures found"), "{}", nobody.err);
    verify("UPPER/case").code(1);
}

#[test]
fn a_registry_without_the_referrers_api_works() {
    let fixture = CliFixture::with(Referrers::Absent);
    fixture.run(&["generate-key-pair"]).code(0);
    fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    fixture.run(&["sign", "--key", "cosign.key", &image]).code(0);
    fixture.run(&["sign", "--key", "cosign.key", "-a", "n=2", &image]).code(0);
    let ended = fixture.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    assert_eq!(ended.json().as_array().unwrap().len(), 2);
}

#[test]
fn nothing_is_stored_without_upload() {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one");
    let image = fixture.name(&format!("app@{digest}"));
    let files = ["--bundle", "b.json", "--output-signature", "s", "--output-payload", "p"];
    let mut arguments = vec!["sign", "--key", "cosign.key", "--upload=false", "-o", "json"];
    arguments.extend(files);
    arguments.push(&image);
    let ended = fixture.run(&arguments).code(0);
    assert_eq!(ended.json()["schema"], "sealgate.dev/sign/v1");
    assert_eq!(ended.json()["signed"][0]["digest"], digest.to_string());
    assert_data_eq!(ended.err, str![[""]]);
    assert!(fixture.read("b.json").contains("verificationMaterial"));
    assert!(fixture.read("p").contains(digest.hex()));
    fixture.run(&["verify", "--key", "cosign.pub", &image]).code(10);

    fixture.run(&["attach", "signature", "--payload", "b.json", &image]).code(0);
    fixture.run(&["verify", "--key", "cosign.pub", &image]).code(0);
}

#[test]
fn a_signature_without_a_destination_is_not_made() {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one");
    let image = fixture.name(&format!("app@{digest}"));
    let words = ["sign", "--key", "cosign.key", "--upload=false", &image];
    let ended = fixture.run(&words).code(1);
    let told = "must enable upload to the OCI registry or specify a local --bundle path";
    assert!(ended.frame().0.contains(told), "{}", ended.err);
    // cosign succeeds here without a message; the warning is ours.
    let ended = fixture.run(&[&words[..], &["--format", "legacy"]].concat()).code(0);
    assert!(ended.err.contains("nothing was stored or written"), "{}", ended.err);
}

#[test]
fn each_image_of_a_call_has_a_bundle_file_of_its_own() {
    let fixture = CliFixture::with_key();
    let digests = ["one", "two"].map(|tag| fixture.image("app", tag, tag));
    let images = digests.clone().map(|digest| fixture.name(&format!("app@{digest}")));
    let words = ["sign", "--key", "cosign.key", "--upload=false", "--bundle", "b.json"];
    fixture.run(&[&words[..], &[&images[0], &images[1]]].concat()).code(0);
    for digest in digests {
        let name = format!("b.json-{}", digest.to_string().replace(':', "-"));
        assert!(fixture.read(&name).contains("verificationMaterial"), "{name}");
    }
}

#[test]
fn a_signature_made_elsewhere_is_attached() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    let legacy = ["sign", "--key", "cosign.key", "--format", "legacy", "--upload=false"];
    let mut arguments = legacy.to_vec();
    arguments.extend(["--output-signature", "s", "--output-payload", "p", &image]);
    fixture.run(&arguments).code(0);
    fixture.run(&["attach", "signature", "--signature", "s", "--payload", "p", &image]).code(0);
    fixture.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    let other = fixture.image("app", "v2", "two");
    let other = fixture.name(&format!("app@{other}"));
    fixture.run(&["attach", "signature", "--signature", "s", "--payload", "p", &other]).code(1);
}

#[test]
fn an_index_is_signed_and_verified_with_its_children() {
    let fixture = CliFixture::with_key();
    let (index, children) = fixture.index("multi", "v1");
    let image = fixture.name("multi:v1");
    fixture.run(&["sign", "--key", "cosign.key", &image]).code(0);
    fixture.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    let ended = fixture.run(&["verify", "--key", "cosign.pub", "--recursive", &image]).code(10);
    assert!(ended.err.contains(children[0].hex()), "{}", ended.err);

    fixture.run(&["sign", "--key", "cosign.key", "-r", &image]).code(0);
    let arguments = ["verify", "--key", "cosign.pub", "-r", "-o", "sealgate-json", &image];
    let report = fixture.run(&arguments).code(0).json();
    assert_eq!(report["schema"], "sealgate.dev/verify/v1");
    assert_eq!(report["verified"], true);
    assert_eq!(report["images"][0]["digest"], index.to_string());
    assert_eq!(report["images"][0]["children"].as_array().unwrap().len(), 2);
    assert_eq!(report["images"][0]["children"][1]["platform"], "linux/arm64");
}

#[test]
fn tree_download_and_clean() {
    let fixture = CliFixture::with_key();
    let digest = fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    let bare = fixture.run(&["tree", &image]).code(0);
    assert!(bare.out.contains("No Supply Chain Security Related Artifacts found"), "{}", bare.out);
    fixture.run(&["download", "signature", &image]).code(10);
    fixture.run(&["sign", "--key", "cosign.key", "--format", "both", &image]).code(0);

    let tree = fixture.run(&["tree", &image]).code(0).out;
    let tag = format!("└── 🔐 Signatures for an image tag: {}", fixture.name("app:sha256-"));
    assert!(tree.contains(&tag), "{tree}");
    let referrer = "└── 🔗 https://sigstore.dev/cosign/sign/v1 artifacts via OCI referrer: ";
    assert!(tree.contains(referrer), "{tree}");
    let document = fixture.run(&["tree", "-o", "json", &image]).code(0).json();
    assert_eq!(document["image"]["descriptor"]["digest"], digest.to_string());
    assert_eq!(document["image"]["attached"].as_array().unwrap().len(), 2);
    assert_eq!(fixture.run(&["download", "signature", &image]).code(0).out.lines().count(), 2);

    fixture.run(&["clean", &image]).code(1);
    fixture.run(&["clean", "--force", "--type", "referrer", &image]).code(0);
    assert_eq!(fixture.run(&["download", "signature", &image]).code(0).out.lines().count(), 1);
    fixture.run_fed(&["clean", &image], "y\n").code(0);
    fixture.run(&["verify", "--key", "cosign.pub", &image]).code(10);
}

#[test]
fn requested_json_is_printed_on_failure_too() {
    let fixture = CliFixture::with_key();
    let image = fixture.name("app:gone");
    let ended = fixture.run(&["tree", "-o", "json", &image]).code(11);
    assert_eq!(ended.json()["schema"], "sealgate.dev/error/v1");
    assert_eq!(ended.json()["error"]["exitCode"], 11);
    let arguments = ["verify", "--key", "cosign.pub", "-o", "sealgate-json", &image];
    let report = fixture.run(&arguments).code(11).json();
    assert_eq!(report["images"][0]["outcome"], "not-found");
    assert_eq!((&report["verified"], &report["exitCode"]), (&false.into(), &11.into()));
}
