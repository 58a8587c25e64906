//! sign, verify, tree, triangulate, download, clean: one image.

use sealgate_registry::serve::Referrers;
use snapbox::{assert_data_eq, str};

use crate::stage::Stage;

#[test]
fn signs_a_tag_and_says_which_digest() {
    let stage = Stage::with_key();
    let digest = stage.image("app", "v1", "one");
    let image = stage.name("app:v1");
    let ended = stage.run(&["sign", "--key", "cosign.key", "-y", &image]).code(0);
    assert_data_eq!(ended.out, str![""]);
    let told = ended.err.replace(&stage.served.registry(), "REG").replace(digest.hex(), "HEX");
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
fn verifies_in_cosigns_words_and_claims_no_more() {
    let stage = Stage::with_key();
    let digest = stage.image("app", "v1", "one");
    let image = stage.name("app:v1");
    stage.run(&["sign", "--key", "cosign.key", "-a", "env=prod", &image]).code(0);
    let ended = stage.run(&["verify", "--key", "cosign.pub", "-a", "env=prod", &image]).code(0);
    let plain =
        |text: &str| text.replace(&stage.served.registry(), "REG").replace(digest.hex(), "HEX");
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
        stage.run(&["verify", "--key", "cosign.pub", "--check-claims=false", &image]).code(0);
    assert!(!loose.err.contains("claims were validated"), "{}", loose.err);
    assert!(loose.err.contains("claims were NOT compared"), "{}", loose.err);
}

#[test]
fn the_legacy_format_has_cosigns_json() {
    let stage = Stage::with_key();
    let digest = stage.image("app", "v1", "one");
    let image = stage.name("app:v1");
    stage.run(&["sign", "--key", "cosign.key", "--new-bundle-format=false", &image]).code(0);
    let ended = stage.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    let out = ended.out.replace(&stage.served.registry(), "REG").replace(digest.hex(), "HEX");
    assert_data_eq!(
        out,
        str![[r#"

[{"critical":{"identity":{"docker-reference":"REG/app"},"image":{"docker-manifest-digest":"sha256:HEX"},"type":"cosign container image signature"},"optional":null}]

"#]]
    );
    let tag = stage.run(&["triangulate", &image]).code(0).out;
    assert_eq!(tag.trim(), stage.name(&format!("app:sha256-{}.sig", digest.hex())));
}

#[test]
fn every_way_to_fail_has_its_code() {
    let stage = Stage::with_key();
    stage.run(&["generate-key-pair", "--output-key-prefix", "other"]).code(0);
    stage.image("app", "signed", "one");
    stage.image("app", "unsigned", "two");
    let (signed, unsigned) = (stage.name("app:signed"), stage.name("app:unsigned"));
    stage.run(&["sign", "--key", "cosign.key", "--format", "both", &signed]).code(0);
    let verify = |image: &str| stage.run(&["verify", "--key", "cosign.pub", image]);

    let none = verify(&unsigned).code(10);
    assert_eq!(
        none.frame(),
        ("Error: no signatures found", "error during command execution: no signatures found")
    );
    assert!(none.err.contains("what to do: sign this digest"), "{}", none.err);
    let gone = verify(&stage.name("app:gone")).code(11);
    assert!(gone.frame().0.starts_with("Error: image tag not found: "), "{}", gone.err);
    assert!(gone.err.contains("what to do: check the name and the tag"), "{}", gone.err);
    // `$DIGEST`, where nothing has set it.
    for verb in [&["verify", "--key", "cosign.pub"][..], &["sign", "--key", "cosign.key"]] {
        let empty = stage.run(&[verb, &[""]].concat()).code(1);
        assert!(empty.err.contains("the image is empty: is a variable"), "{}", empty.err);
    }

    let other = stage.run(&["verify", "--key", "other.pub", &signed]).code(12);
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

    let missing = stage.run(&["verify", "--key", "cosign.pub", "-a", "env=prod", &signed]).code(12);
    assert!(missing.frame().0.contains("missing or incorrect annotation"), "{}", missing.err);

    let nobody = verify("127.0.0.1:1/app:v1").code(1);
    assert!(nobody.frame().0.contains("(unreachable)"), "{}", nobody.err);
    assert!(!nobody.err.contains("no signatures found"), "{}", nobody.err);
    verify("UPPER/case").code(1);
}

#[test]
fn a_registry_without_referrers_will_do() {
    let stage = Stage::with(Referrers::Absent);
    stage.run(&["generate-key-pair"]).code(0);
    stage.image("app", "v1", "one");
    let image = stage.name("app:v1");
    stage.run(&["sign", "--key", "cosign.key", &image]).code(0);
    stage.run(&["sign", "--key", "cosign.key", "-a", "n=2", &image]).code(0);
    let ended = stage.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    assert_eq!(ended.json().as_array().unwrap().len(), 2);
}

#[test]
fn nothing_is_stored_without_upload() {
    let stage = Stage::with_key();
    let digest = stage.image("app", "v1", "one");
    let image = stage.name(&format!("app@{digest}"));
    let files = ["--bundle", "b.json", "--output-signature", "s", "--output-payload", "p"];
    let mut arguments = vec!["sign", "--key", "cosign.key", "--upload=false", "-o", "json"];
    arguments.extend(files);
    arguments.push(&image);
    let ended = stage.run(&arguments).code(0);
    assert_eq!(ended.json()["schema"], "sealgate.dev/sign/v1");
    assert_eq!(ended.json()["signed"][0]["digest"], digest.to_string());
    assert_data_eq!(ended.err, str![[""]]);
    assert!(stage.read("b.json").contains("verificationMaterial"));
    assert!(stage.read("p").contains(digest.hex()));
    stage.run(&["verify", "--key", "cosign.pub", &image]).code(10);

    stage.run(&["attach", "signature", "--payload", "b.json", &image]).code(0);
    stage.run(&["verify", "--key", "cosign.pub", &image]).code(0);
}

#[test]
fn a_signature_is_not_made_for_nothing() {
    let stage = Stage::with_key();
    let digest = stage.image("app", "v1", "one");
    let image = stage.name(&format!("app@{digest}"));
    let words = ["sign", "--key", "cosign.key", "--upload=false", &image];
    let ended = stage.run(&words).code(1);
    let told = "must enable upload to the OCI registry or specify a local --bundle path";
    assert!(ended.frame().0.contains(told), "{}", ended.err);
    // cosign ends well here; what it does not say is said.
    let ended = stage.run(&[&words[..], &["--format", "legacy"]].concat()).code(0);
    assert!(ended.err.contains("nothing was stored or written"), "{}", ended.err);
}

#[test]
fn each_image_of_a_call_has_a_bundle_file_of_its_own() {
    let stage = Stage::with_key();
    let digests = ["one", "two"].map(|tag| stage.image("app", tag, tag));
    let images = digests.clone().map(|digest| stage.name(&format!("app@{digest}")));
    let words = ["sign", "--key", "cosign.key", "--upload=false", "--bundle", "b.json"];
    stage.run(&[&words[..], &[&images[0], &images[1]]].concat()).code(0);
    for digest in digests {
        let name = format!("b.json-{}", digest.to_string().replace(':', "-"));
        assert!(stage.read(&name).contains("verificationMaterial"), "{name}");
    }
}

#[test]
fn a_signature_made_elsewhere_is_attached() {
    let stage = Stage::with_key();
    stage.image("app", "v1", "one");
    let image = stage.name("app:v1");
    let legacy = ["sign", "--key", "cosign.key", "--format", "legacy", "--upload=false"];
    let mut arguments = legacy.to_vec();
    arguments.extend(["--output-signature", "s", "--output-payload", "p", &image]);
    stage.run(&arguments).code(0);
    stage.run(&["attach", "signature", "--signature", "s", "--payload", "p", &image]).code(0);
    stage.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    let other = stage.image("app", "v2", "two");
    let other = stage.name(&format!("app@{other}"));
    stage.run(&["attach", "signature", "--signature", "s", "--payload", "p", &other]).code(1);
}

#[test]
fn an_index_is_signed_and_verified_with_its_children() {
    let stage = Stage::with_key();
    let (index, children) = stage.index("multi", "v1");
    let image = stage.name("multi:v1");
    stage.run(&["sign", "--key", "cosign.key", &image]).code(0);
    stage.run(&["verify", "--key", "cosign.pub", &image]).code(0);
    let ended = stage.run(&["verify", "--key", "cosign.pub", "--recursive", &image]).code(10);
    assert!(ended.err.contains(children[0].hex()), "{}", ended.err);

    stage.run(&["sign", "--key", "cosign.key", "-r", &image]).code(0);
    let arguments = ["verify", "--key", "cosign.pub", "-r", "-o", "sealgate-json", &image];
    let report = stage.run(&arguments).code(0).json();
    assert_eq!(report["schema"], "sealgate.dev/verify/v1");
    assert_eq!(report["verified"], true);
    assert_eq!(report["images"][0]["digest"], index.to_string());
    assert_eq!(report["images"][0]["children"].as_array().unwrap().len(), 2);
    assert_eq!(report["images"][0]["children"][1]["platform"], "linux/arm64");
}

#[test]
fn tree_download_and_clean() {
    let stage = Stage::with_key();
    let digest = stage.image("app", "v1", "one");
    let image = stage.name("app:v1");
    let bare = stage.run(&["tree", &image]).code(0);
    assert!(bare.out.contains("No Supply Chain Security Related Artifacts found"), "{}", bare.out);
    stage.run(&["download", "signature", &image]).code(10);
    stage.run(&["sign", "--key", "cosign.key", "--format", "both", &image]).code(0);

    let tree = stage.run(&["tree", &image]).code(0).out;
    let tag = format!("└── 🔐 Signatures for an image tag: {}", stage.name("app:sha256-"));
    assert!(tree.contains(&tag), "{tree}");
    let referrer = "└── 🔗 https://sigstore.dev/cosign/sign/v1 artifacts via OCI referrer: ";
    assert!(tree.contains(referrer), "{tree}");
    let document = stage.run(&["tree", "-o", "json", &image]).code(0).json();
    assert_eq!(document["image"]["descriptor"]["digest"], digest.to_string());
    assert_eq!(document["image"]["attached"].as_array().unwrap().len(), 2);
    assert_eq!(stage.run(&["download", "signature", &image]).code(0).out.lines().count(), 2);

    stage.run(&["clean", &image]).code(1);
    stage.run(&["clean", "--force", "--type", "referrer", &image]).code(0);
    assert_eq!(stage.run(&["download", "signature", &image]).code(0).out.lines().count(), 1);
    stage.run_fed(&["clean", &image], "y\n").code(0);
    stage.run(&["verify", "--key", "cosign.pub", &image]).code(10);
}

#[test]
fn json_is_asked_for_and_given_on_failure_too() {
    let stage = Stage::with_key();
    let image = stage.name("app:gone");
    let ended = stage.run(&["tree", "-o", "json", &image]).code(11);
    assert_eq!(ended.json()["schema"], "sealgate.dev/error/v1");
    assert_eq!(ended.json()["error"]["exitCode"], 11);
    let arguments = ["verify", "--key", "cosign.pub", "-o", "sealgate-json", &image];
    let report = stage.run(&arguments).code(11).json();
    assert_eq!(report["images"][0]["outcome"], "not-found");
    assert_eq!((&report["verified"], &report["exitCode"]), (&false.into(), &11.into()));
}
