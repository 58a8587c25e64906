//! `initialize`: a private mirror in a folder, chosen and refused; many processes at once.

use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use sealgate_testkit::tuf::TufRepository;
use serde_json::json;

use crate::stage::Stage;

const ROOT: &[u8] = include_bytes!("../../../sealgate-core/tests/data/trusted_root.json");

/// A mirror in `mirror/`, its first root in `1.root.json`.
fn publish(stage: &Stage, repository: &TufRepository) {
    repository.write(&stage.path("mirror"));
    std::fs::write(stage.path("1.root.json"), repository.root(1)).unwrap();
}

fn repository() -> TufRepository {
    TufRepository::new(Timestamp::now()).with("trusted_root.json", ROOT)
}

/// Where the copy of the mirror is.
fn copy(stage: &Stage) -> std::path::PathBuf {
    let mirror = stage.path("mirror").display().to_string();
    stage.path(".sigstore/root").join(mirror.replace('/', "-").to_lowercase())
}

const CHOOSE: [&str; 5] = ["initialize", "--mirror", "mirror", "--root", "1.root.json"];

#[test]
fn a_mirror_is_chosen_and_shown() {
    let stage = Stage::new();
    publish(&stage, &repository());
    let ended = stage.run(&CHOOSE).code(0);
    let status = ended.out.strip_prefix("Root status: \n").unwrap();
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    let mirror = stage.path("mirror").display().to_string();
    assert_eq!(status["remote"], mirror.as_str());
    assert_eq!(status["targets"], json!(["trusted_root.json"]));
    assert_eq!(status["metadata"]["timestamp.json"]["version"], 1);
    assert_eq!(status["metadata"]["timestamp.json"]["error"], "");
    let remote: serde_json::Value =
        serde_json::from_str(&stage.read(".sigstore/root/remote.json")).unwrap();
    assert_eq!(remote, json!({ "mirror": mirror }));
    assert_eq!(std::fs::read(copy(&stage).join("targets/trusted_root.json")).unwrap(), ROOT);

    // Again, from the root that is kept now; as a document; in another folder.
    let again = ["initialize", "--mirror", "mirror", "-o", "json"];
    let document = stage.run(&again).code(0).json();
    assert_eq!(document["schema"], "sealgate.dev/initialize/v1");
    assert_eq!(document["trustRoot"]["transparencyLogs"], 2);
    assert_eq!(document["metadata"][0]["role"], "root");
    let elsewhere = stage.path("elsewhere");
    stage.run_with(&CHOOSE, &[("TUF_ROOT", elsewhere.to_str().unwrap())]).code(0);
    assert!(elsewhere.join("remote.json").exists());
}

#[test]
fn the_checksum_of_the_root_counts() {
    let stage = Stage::new();
    let repository = repository();
    publish(&stage, &repository);
    let digest = |algorithm, bytes: &[u8]| hex::encode(aws_lc_rs::digest::digest(algorithm, bytes));
    let good = digest(&aws_lc_rs::digest::SHA256, &repository.root(1));
    let long = digest(&aws_lc_rs::digest::SHA512, &repository.root(1));
    let with = |checksum: &str| stage.run(&[&CHOOSE[..], &["--root-checksum", checksum]].concat());
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
fn what_is_refused_is_said_with_what_to_do() {
    let stage = Stage::new();
    let mut changed = repository();
    changed.version = 3;
    publish(&stage, &changed);
    stage.run(&CHOOSE).code(0);
    changed.version = 2;
    publish(&stage, &changed);
    let ended = stage.run(&CHOOSE).code(1);
    assert_eq!(
        ended.frame().0,
        "Error: getting trusted root from TUF: mirror: rollback: timestamp is at version 3, the \
         repository offers version 2"
    );
    assert!(ended.err.contains("remove its copy from the cache"), "{}", ended.err);

    let other = Stage::new();
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
    let stage = Stage::new();
    let ended = stage.run(&["initialize", "--staging", "--mirror", "mirror"]).code(1);
    assert_eq!(ended.frame().0, "Error: --staging goes with neither --mirror nor --root");
    stage.run(&["initialize", "--root-checksum", "00"]).code(1);
    let plain = ["initialize", "--mirror", "mirror", "--root", "http://127.0.0.1:9/root.json"];
    let ended = stage.run(&plain).code(1);
    assert_eq!(ended.frame().0, "Error: http://127.0.0.1:9/root.json: a root without a checksum");
}

#[test]
fn a_root_that_cannot_be_used_is_named() {
    let stage = Stage::new();
    for (name, text) in [("key.pub", "-----BEGIN PUBLIC KEY-----\n"), ("empty.json", "{}")] {
        stage.write(name, text);
        // Nothing answers there: the fault is found before.
        let mirror = "http://127.0.0.1:9";
        let ended = stage.run(&["initialize", "--mirror", mirror, "--root", name]).code(1);
        let first = ended.frame().0;
        assert!(first.starts_with(&format!("Error: --root {name}: malformed")), "{}", ended.err);
        assert!(!ended.err.contains(mirror), "{}", ended.err);
    }
}

#[test]
fn many_processes_at_once_leave_a_whole_copy() {
    let stage = Stage::new();
    let mut repository = repository();
    publish(&stage, &repository);
    stage.run(&CHOOSE).code(0);
    repository.rotate();
    repository.version = 2;
    publish(&stage, &repository);
    let start = |_| {
        let mut command = stage.command(&["initialize", "--mirror", "mirror"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..8).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let copy = copy(&stage);
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
    stage.run(&["initialize", "--mirror", "mirror"]).code(0);
}
