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
