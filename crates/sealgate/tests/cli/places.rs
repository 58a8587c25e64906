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
