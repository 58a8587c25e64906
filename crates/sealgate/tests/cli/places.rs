//! copy, save, load, login: from one place to another.

use crate::stage::Stage;

#[test]
fn a_copy_verifies() {
    let stage = Stage::with_key();
    stage.image("app", "v1", "one");
    let (from, to) = (stage.name("app:v1"), stage.name("mirror/app:v1"));
    stage.run(&["sign", "--key", "cosign.key", "--format", "both", &from]).code(0);
    stage.run(&["copy", &from, &to]).code(0);
    let ended = stage.run(&["verify", "--key", "cosign.pub", &to]).code(0);
    assert_eq!(ended.json().as_array().unwrap().len(), 2);

    stage.image("mirror/app", "v2", "something else");
    let taken = stage.name("mirror/app:v2");
    stage.run(&["copy", &from, &taken]).code(1);
    stage.run(&["copy", "--force", &from, &taken]).code(0);
}

#[test]
fn a_saved_image_verifies_and_loads() {
    let stage = Stage::with_key();
    stage.image("app", "v1", "one");
    let (from, to) = (stage.name("app:v1"), stage.name("loaded:v1"));
    stage.run(&["sign", "--key", "cosign.key", "--format", "both", &from]).code(0);
    stage.run(&["save", "--dir", "folder", &from]).code(0);
    let local = ["verify", "--key", "cosign.pub", "--local-image", "folder"];
    let ended = stage.run(&local).code(0);
    assert!(ended.err.contains("Verification for folder --"), "{}", ended.err);
    assert_eq!(ended.json().as_array().unwrap().len(), 2);
    stage.run(&["load", "--dir", "folder", &to]).code(0);
    assert_eq!(
        stage.run(&["verify", "--key", "cosign.pub", &to]).code(0).json().as_array().unwrap().len(),
        2
    );
    stage.run(&["load", "--dir", "nowhere", &to]).code(1);
}

#[test]
fn cosign_repository_moves_signatures() {
    let stage = Stage::with_key();
    stage.image("app", "v1", "one");
    let (image, elsewhere) = (stage.name("app:v1"), stage.name("signatures"));
    let variables = [("COSIGN_REPOSITORY", elsewhere.as_str())];
    let sign = ["sign", "--key", "cosign.key", "--format", "legacy", &image];
    stage.run_with(&sign, &variables).code(0);
    let verify = ["verify", "--key", "cosign.pub", &image];
    stage.run(&verify).code(10);
    stage.run_with(&verify, &variables).code(0);
    let place = stage.run_with(&["triangulate", &image], &variables).code(0).out;
    assert!(place.starts_with(&elsewhere), "{place}");
}

#[test]
fn login_keeps_the_password_where_docker_does() {
    let stage = Stage::new();
    let login = ["login", "--username", "me", "--password-stdin", "registry.example"];
    let ended = stage.run_fed(&login, "s3cret\n").code(0);
    assert!(ended.err.starts_with("logged in via "), "{}", ended.err);
    assert!(!ended.err.contains("s3cret"));
    let config: serde_json::Value =
        serde_json::from_str(&stage.read(".docker/config.json")).unwrap();
    assert_eq!(config["auths"]["registry.example"]["auth"], "bWU6czNjcmV0");
    stage.run(&["login", "registry.example"]).code(1);
}

#[test]
fn copy_save_and_tree_look_in_cosign_repository_too() {
    let stage = Stage::with_key();
    stage.image("app", "v1", "one");
    let (image, elsewhere) = (stage.name("app:v1"), stage.name("signatures"));
    let variables = [("COSIGN_REPOSITORY", elsewhere.as_str())];
    let sign = ["sign", "--key", "cosign.key", "--format", "legacy", &image];
    stage.run_with(&sign, &variables).code(0);
    assert!(!stage.run(&["tree", &image]).code(0).out.contains(&elsewhere));
    let tree = stage.run_with(&["tree", &image], &variables).code(0).out;
    assert!(tree.contains(&elsewhere), "{tree}");

    let target = stage.name("mirror/app:v1");
    stage.run_with(&["copy", &image, &target], &variables).code(0);
    stage.run(&["verify", "--key", "cosign.pub", &target]).code(0);
    stage.run_with(&["save", "--dir", "folder", &image], &variables).code(0);
    stage.run(&["verify", "--key", "cosign.pub", "--local-image", "folder"]).code(0);
}

#[test]
fn a_folder_holds_one_image_and_says_so() {
    let stage = Stage::with_key();
    let first = stage.image("app", "v1", "one");
    let second = stage.image("other", "v1", "two");
    let (app, other) = (stage.name("app:v1"), stage.name("other:v1"));
    stage.run(&["save", "--dir", "folder", &app]).code(0);
    let refused = stage.run(&["save", "--dir", "folder", &other]).code(1);
    assert!(refused.frame().0.contains("folder already holds another image"), "{}", refused.err);
    assert!(refused.err.contains(first.hex()) && refused.err.contains(second.hex()));
    assert!(refused.err.contains("a folder of its own"), "{}", refused.err);

    // What was signed since is added to the image that is there.
    stage.run(&["sign", "--key", "cosign.key", &app]).code(0);
    stage.run(&["verify", "--key", "cosign.pub", "--local-image", "folder"]).code(10);
    stage.run(&["save", "--dir", "folder", &app]).code(0);
    stage.run(&["verify", "--key", "cosign.pub", "--local-image", "folder"]).code(0);
    let loaded = stage.run(&["load", "--dir", "folder", "-o", "json", &stage.name("back:v1")]);
    assert_eq!(loaded.code(0).json()["loaded"]["digest"], first.to_string());
}

/// Each folder has an outcome of its own, and the document is whole.
#[test]
fn a_folder_that_is_none_does_not_hide_the_others() {
    let stage = Stage::with_key();
    stage.image("app", "v1", "one");
    let image = stage.name("app:v1");
    stage.run(&["sign", "--key", "cosign.key", &image]).code(0);
    stage.run(&["save", "--dir", "folder", &image]).code(0);
    let verify = ["verify", "--key", "cosign.pub", "-o", "sealgate-json"];
    let ended = stage.run(&[&verify[..], &["--local-image", "none", "folder"]].concat()).code(1);
    let (document, err) = (ended.json(), &ended.err);
    assert_eq!(document["images"][0]["outcome"], "missing");
    assert_eq!(document["images"][1]["outcome"], "verified");
    assert_eq!((&document["verified"], &document["exitCode"]), (&false.into(), &1.into()));
    assert!(err.contains("a folder that `sealgate save` wrote"), "{err}");

    // Of the folder, not of what it is called inside.
    stage.run(&["generate-key-pair", "--output-key-prefix", "other"]).code(0);
    let ended = stage.run(&["verify", "--key", "other.pub", "--local-image", "folder"]).code(12);
    assert!(ended.err.contains("\n  folder@sha256:"), "{}", ended.err);
}

#[test]
fn what_fails_before_the_first_image_is_a_document_too() {
    let stage = Stage::with_key();
    let verify = ["verify", "-o", "sealgate-json", &stage.name("app:v1")].map(str::to_owned);
    for flags in [&["--key=none.pub"][..], &["--key=cosign.pub", "--registry-cacert=none.pem"]] {
        let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
        let ended = stage.run(&[&verify[..], flags].concat()).code(1);
        assert_eq!(ended.json()["schema"], "sealgate.dev/error/v1", "{flags:?}");
    }
}

#[test]
fn a_copy_over_another_image_is_refused_in_cosigns_words() {
    let stage = Stage::new();
    let found = stage.image("app", "v1", "one");
    stage.image("other", "v1", "two");
    let (app, other) = (stage.name("app:v1"), stage.name("other:v1"));
    let ended = stage.run(&["copy", &other, &app]).code(1);
    let told = format!("Error: image \"{app}\" already exists. Use `-f` to overwrite");
    assert_eq!(ended.frame().0, told);
    assert!(ended.err.contains(found.hex()), "{}", ended.err);
}
