//! Tests of `initialize`: a private mirror in a folder, rejected roots, and concurrent processes.

use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use sealgate_testkit::tuf::TufRepository;
use serde_json::json;

use crate::fixture::CliFixture;

const ROOT: &[u8] = include_bytes!("../../../sealgate-core/tests/data/trusted_root.json");

/// Publishes a mirror in `mirror/`, with its first root in `1.root.json`.
fn publish(fixture: &CliFixture, repository: &TufRepository) {
    repository.write(&fixture.path("mirror"));
    std::fs::write(fixture.path("1.root.json"), repository.root(1)).unwrap();
}

fn repository() -> TufRepository {
    TufRepository::new(Timestamp::now()).with("trusted_root.json", ROOT)
}

/// The path of the local copy of the mirror.
fn copy(fixture: &CliFixture) -> std::path::PathBuf {
    let mirror = fixture.path("mirror").display().to_string();
    fixture.path(".sigstore/root").join(mirror.replace('/', "-").to_lowercase())
}

const CHOOSE: [&str; 5] = ["initialize", "--mirror", "mirror", "--root", "1.root.json"];

#[test]
fn a_mirror_is_chosen_and_shown() {
    let fixture = CliFixture::new();
    publish(&fixture, &repository());
    let ended = fixture.run(&CHOOSE).code(0);
    let status = ended.out.strip_prefix("Root status: \n").unwrap();
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    let mirror = fixture.path("mirror").display().to_string();
    assert_eq!(status["remote"], mirror.as_str());
    assert_eq!(status["targets"], json!(["trusted_root.json"]));
    assert_eq!(status["metadata"]["timestamp.json"]["version"], 1);
    assert_eq!(status["metadata"]["timestamp.json"]["error"], "");
    let remote: serde_json::Value =
        serde_json::from_str(&fixture.read(".sigstore/root/remote.json")).unwrap();
    assert_eq!(remote, json!({ "mirror": mirror }));
    assert_eq!(std::fs::read(copy(&fixture).join("targets/trusted_root.json")).unwrap(), ROOT);

    // Repeated, with the stored root; as a document; in another folder.
    let again = ["initialize", "--mirror", "mirror", "-o", "json"];
    let document = fixture.run(&again).code(0).json();
    assert_eq!(document["schema"], "sealgate.dev/initialize/v1");
    assert_eq!(document["trustRoot"]["transparencyLogs"], 2);
    assert_eq!(document["metadata"][0]["role"], "root");
    let elsewhere = fixture.path("elsewhere");
    fixture.run_with(&CHOOSE, &[("TUF_ROOT", elsewhere.to_str().unwrap())]).code(0);
    assert!(elsewhere.join("remote.json").exists());
}

#[test]
fn the_checksum_of_the_root_is_verified() {
    let fixture = CliFixture::new();
    let repository = repository();
    publish(&fixture, &repository);
    let digest = |algorithm, bytes: &[u8]| hex::encode(aws_lc_rs::digest::digest(algorithm, bytes));
    let good = digest(&aws_lc_rs::digest::SHA256, &repository.root(1));
    let long = digest(&aws_lc_rs::digest::SHA512, &repository.root(1));
    let with =
        |checksum: &str| fixture.run(&[&CHOOSE[..], &["--root-checksum", checksum]].concat());
    with(&good).code(0);
    with(&good.to_uppercase()).code(0);
    with(&format!("sha512:{long}")).code(0);
    let other = "0".repeat(64);
    let ended = with(&other).code(1);
    assert_eq!(
        ended.frame().0,
        format!("Error: incorrect checksum for file 1.root.json: expected {other} but got {good}")
    );
    let ended = with("md5:00").code(1);
    assert_eq!(ended.frame().0, "Error: unsupported checksum algorithm: md5");
    assert!(with("00").code(1).err.contains("wrong checksum input format: 00"));
}

#[test]
fn a_rejected_root_is_reported_with_a_remedy() {
    let fixture = CliFixture::new();
    let mut changed = repository();
    changed.version = 3;
    publish(&fixture, &changed);
    fixture.run(&CHOOSE).code(0);
    changed.version = 2;
    publish(&fixture, &changed);
    let ended = fixture.run(&CHOOSE).code(1);
    assert_eq!(
        ended.frame().0,
        "Error: getting trusted root from TUF: mirror: rollback: timestamp is at version 3, the \
         repository offers version 2"
    );
    assert!(ended.err.contains("remove its copy from the cache"), "{}", ended.err);

    let other = CliFixture::new();
    publish(&other, &repository());
    std::fs::write(other.path("1.root.json"), repository().root(1)).unwrap();
    let ended = other.run(&CHOOSE).code(1);
    assert!(ended.err.contains("required valid signatures"), "{}", ended.err);
    let none = other.run(&["initialize", "--mirror", "nowhere", "-o", "json"]).code(1);
    assert_eq!(none.json()["schema"], "sealgate.dev/error/v1");
    assert!(!other.path(".sigstore/root/remote.json").exists());

    let old = Timestamp::now() - SignedDuration::from_hours(9 * 24);
    publish(&other, &TufRepository::new(old).with("trusted_root.json", ROOT));
    let ended = other.run(&CHOOSE).code(1);
    assert!(ended.err.contains("root metadata expired at"), "{}", ended.err);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let fixture = CliFixture::new();
    let ended = fixture.run(&["initialize", "--staging", "--mirror", "mirror"]).code(1);
    assert_eq!(ended.frame().0, "Error: --staging goes with neither --mirror nor --root");
    fixture.run(&["initialize", "--root-checksum", "00"]).code(1);
    let plain = ["initialize", "--mirror", "mirror", "--root", "http://127.0.0.1:9/root.json"];
    let ended = fixture.run(&plain).code(1);
    assert_eq!(ended.frame().0, "Error: http://127.0.0.1:9/root.json: a root without a checksum");
}

#[test]
fn a_root_that_cannot_be_used_is_named() {
    let fixture = CliFixture::new();
    for (name, text) in [("key.pub", "-----BEGIN PUBLIC KEY-----\n"), ("empty.json", "{}")] {
        fixture.write(name, text);
        // No server listens there: the error occurs before any request.
        let mirror = "http://127.0.0.1:9";
        let ended = fixture.run(&["initialize", "--mirror", mirror, "--root", name]).code(1);
        let first = ended.frame().0;
        assert!(first.starts_with(&format!("Error: --root {name}: malformed")), "{}", ended.err);
        assert!(!ended.err.contains(mirror), "{}", ended.err);
    }
}

#[test]
fn many_processes_at_once_leave_a_whole_copy() {
    let fixture = CliFixture::new();
    let mut repository = repository();
    publish(&fixture, &repository);
    fixture.run(&CHOOSE).code(0);
    repository.rotate();
    repository.version = 2;
    publish(&fixture, &repository);
    let start = |_| {
        let mut command = fixture.command(&["initialize", "--mirror", "mirror"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..8).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let copy = copy(&fixture);
    let names = std::fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    let whole = [
        ".lock",
        ".refresh.lock",
        "root.json",
        "root_history",
        "snapshot.json",
        "targets",
        "targets.json",
        "timestamp.json",
    ];
    assert_eq!(names, whole);
    assert_eq!(std::fs::read(copy.join("root.json")).unwrap(), repository.root(2));
    fixture.run(&["initialize", "--mirror", "mirror"]).code(0);
}
