//! Tests of `copy`, `save`, `load` and `login`.

use crate::fixture::CliFixture;

#[test]
fn a_copy_verifies() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let (from, to) = (fixture.name("app:v1"), fixture.name("mirror/app:v1"));
    fixture.run(&["sign", "--key", "cosign.key", "--format", "both", &from]).code(0);
    fixture.run(&["copy", &from, &to]).code(0);
    let ended = fixture.run(&["verify", "--key", "cosign.pub", &to]).code(0);
    assert_eq!(ended.json().as_array().unwrap().len(), 2);

    fixture.image("mirror/app", "v2", "something else");
    let taken = fixture.name("mirror/app:v2");
    fixture.run(&["copy", &from, &taken]).code(1);
    fixture.run(&["copy", "--force", &from, &taken]).code(0);
}

#[test]
fn a_saved_image_verifies_and_loads() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let (from, to) = (fixture.name("app:v1"), fixture.name("loaded:v1"));
    fixture.run(&["sign", "--key", "cosign.key", "--format", "both", &from]).code(0);
    fixture.run(&["save", "--dir", "folder", &from]).code(0);
    let local = ["verify", "--key", "cosign.pub", "--local-image", "folder"];
    let ended = fixture.run(&local).code(0);
    assert!(ended.err.contains("Verification for folder --"), "{}", ended.err);
    assert_eq!(ended.json().as_array().unwrap().len(), 2);
    fixture.run(&["load", "--dir", "folder", &to]).code(0);
    assert_eq!(
        fixture
            .run(&["verify", "--key", "cosign.pub", &to])
            .code(0)
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    fixture.run(&["load", "--dir", "nowhere", &to]).code(1);
}

#[test]
fn cosign_repository_moves_signatures() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let (image, elsewhere) = (fixture.name("app:v1"), fixture.name("signatures"));
    let variables = [("COSIGN_REPOSITORY", elsewhere.as_str())];
    let sign = ["sign", "--key", "cosign.key", "--format", "legacy", &image];
    fixture.run_with(&sign, &variables).code(0);
    let verify = ["verify", "--key", "cosign.pub", &image];
    fixture.run(&verify).code(10);
    fixture.run_with(&verify, &variables).code(0);
    let place = fixture.run_with(&["triangulate", &image], &variables).code(0).out;
    assert!(place.starts_with(&elsewhere), "{place}");
}

#[test]
fn login_keeps_the_password_where_docker_does() {
    let fixture = CliFixture::new();
    let login = ["login", "--username", "me", "--password-stdin", "registry.example"];
    let ended = fixture.run_fed(&login, "s3cret\n").code(0);
    assert!(ended.err.starts_with("logged in via "), "{}", ended.err);
    assert!(!ended.err.contains("s3cret"));
    let config: serde_json::Value =
        serde_json::from_str(&fixture.read(".docker/config.json")).unwrap();
    assert_eq!(config["auths"]["registry.example"]["auth"], "bWU6czNjcmV0");
    fixture.run(&["login", "registry.example"]).code(1);
}

#[test]
fn copy_save_and_tree_look_in_cosign_repository_too() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let (image, elsewhere) = (fixture.name("app:v1"), fixture.name("signatures"));
    let variables = [("COSIGN_REPOSITORY", elsewhere.as_str())];
    let sign = ["sign", "--key", "cosign.key", "--format", "legacy", &image];
    fixture.run_with(&sign, &variables).code(0);
    assert!(!fixture.run(&["tree", &image]).code(0).out.contains(&elsewhere));
    let tree = fixture.run_with(&["tree", &image], &variables).code(0).out;
    assert!(tree.contains(&elsewhere), "{tree}");

    let target = fixture.name("mirror/app:v1");
    fixture.run_with(&["copy", &image, &target], &variables).code(0);
    fixture.run(&["verify", "--key", "cosign.pub", &target]).code(0);
    fixture.run_with(&["save", "--dir", "folder", &image], &variables).code(0);
    fixture.run(&["verify", "--key", "cosign.pub", "--local-image", "folder"]).code(0);
}

#[test]
fn a_folder_can_contain_one_image_only() {
    let fixture = CliFixture::with_key();
    let first = fixture.image("app", "v1", "one");
    let second = fixture.image("other", "v1", "two");
    let (app, other) = (fixture.name("app:v1"), fixture.name("other:v1"));
    fixture.run(&["save", "--dir", "folder", &app]).code(0);
    let refused = fixture.run(&["save", "--dir", "folder", &other]).code(1);
    assert!(refused.frame().0.contains("folder already holds another image"), "{}", refused.err);
    assert!(refused.err.contains(first.hex()) && refused.err.contains(second.hex()));
    assert!(refused.err.contains("a folder of its own"), "{}", refused.err);

    // Signatures that were added since are copied to the existing image.
    fixture.run(&["sign", "--key", "cosign.key", &app]).code(0);
    fixture.run(&["verify", "--key", "cosign.pub", "--local-image", "folder"]).code(10);
    fixture.run(&["save", "--dir", "folder", &app]).code(0);
    fixture.run(&["verify", "--key", "cosign.pub", "--local-image", "folder"]).code(0);
    let loaded = fixture.run(&["load", "--dir", "folder", "-o", "json", &fixture.name("back:v1")]);
    assert_eq!(loaded.code(0).json()["loaded"]["digest"], first.to_string());
}

/// Each folder has its own outcome, and the document is complete.
#[test]
fn an_invalid_folder_does_not_hide_the_others() {
    let fixture = CliFixture::with_key();
    fixture.image("app", "v1", "one");
    let image = fixture.name("app:v1");
    fixture.run(&["sign", "--key", "cosign.key", &image]).code(0);
    fixture.run(&["save", "--dir", "folder", &image]).code(0);
    let verify = ["verify", "--key", "cosign.pub", "-o", "sealgate-json"];
    let ended = fixture.run(&[&verify[..], &["--local-image", "none", "folder"]].concat()).code(1);
    let (document, err) = (ended.json(), &ended.err);
    assert_eq!(document["images"][0]["outcome"], "missing");
    assert_eq!(document["images"][1]["outcome"], "verified");
    assert_eq!((&document["verified"], &document["exitCode"]), (&false.into(), &1.into()));
    assert!(err.contains("a folder that `sealgate save` wrote"), "{err}");

    // The name of the folder is shown, not its internal repository name.
    fixture.run(&["generate-key-pair", "--output-key-prefix", "other"]).code(0);
    let ended = fixture.run(&["verify", "--key", "other.pub", "--local-image", "folder"]).code(12);
    assert!(ended.err.contains("\n  folder@sha256:"), "{}", ended.err);
}

#[test]
fn an_error_before_the_first_image_is_a_document_too() {
    let fixture = CliFixture::with_key();
    let verify = ["verify", "-o", "sealgate-json", &fixture.name("app:v1")].map(str::to_owned);
    for flags in [&["--key=none.pub"][..], &["--key=cosign.pub", "--registry-cacert=none.pem"]] {
        let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
        let ended = fixture.run(&[&verify[..], flags].concat()).code(1);
        assert_eq!(ended.json()["schema"], "sealgate.dev/error/v1", "{flags:?}");
    }
}

#[test]
fn a_copy_over_another_image_is_rejected_with_cosigns_message() {
    let fixture = CliFixture::new();
    let found = fixture.image("app", "v1", "one");
    fixture.image("other", "v1", "two");
    let (app, other) = (fixture.name("app:v1"), fixture.name("other:v1"));
    let ended = fixture.run(&["copy", &other, &app]).code(1);
    let told = format!("Error: image \"{app}\" already exists. Use `-f` to overwrite");
    assert_eq!(ended.frame().0, told);
    assert!(ended.err.contains(found.hex()), "{}", ended.err);
}
