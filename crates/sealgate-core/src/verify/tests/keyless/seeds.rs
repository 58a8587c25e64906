//! Seeds for the fuzz targets `verify`, `certificate` and `trust_root`: what a small Sigstore has
//! signed, and its trust root, which the targets know. Written anew with `UPDATE_SEEDS=1`.

use std::fs;
use std::path::PathBuf;

use super::world::World;

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn seeds_are_written_when_asked_for() {
    if std::env::var_os("UPDATE_SEEDS").is_none() {
        return;
    }
    let world = World::new();
    let root = world.root().to_json();
    fs::write(folder("keys").join("trusted_root.json"), &root).unwrap();
    fs::write(folder("trust_root").join("small"), &root).unwrap();
    fs::write(folder("verify").join("rekor-v1"), world.bundle().to_json()).unwrap();
    fs::write(folder("verify").join("rekor-v2"), world.bundle2().to_json()).unwrap();
    let leaf = world.pki.leaf().der;
    fs::write(folder("certificate").join("leaf"), leaf).unwrap();
}
