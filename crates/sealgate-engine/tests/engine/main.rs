//! Tests of the use cases with the in-memory adapters of the testkit.

mod gate;
mod gather;
mod hostile;
mod keyless;
mod moving;
mod publishing;
mod signing;
mod verifying;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_core::reference::Repository;
use sealgate_core::verify::KeyAuthority;
use sealgate_engine::ports::Signer;
use sealgate_testkit::key::TestKey;

fn app() -> Repository {
    sealgate_testkit::image::repository("reg.example/acme/app")
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "reg.example", "as the test wants it")
}

fn authority(keys: &[&TestKey]) -> KeyAuthority {
    let keys = keys.iter().map(|key| PublicKey::clone(key.public_key())).collect();
    KeyAuthority { keys, hash: None }
}

/// A server runs use cases on any of its threads.
#[test]
fn every_use_case_can_move_between_threads() {
    use sealgate_engine::{clean, copy, download, tree, verify};
    fn send<T: Send>(_: impl FnOnce() -> T) {}
    let image = sealgate_testkit::image::reference("reg.example/acme/app:v1");
    let registry = sealgate_testkit::registry::MemoryRegistry::new();
    let limits = Default::default();
    let request = verify::VerifyRequest::new(authority(&[]));
    send(|| verify::verify_image(&registry, &image, &request));
    send(|| verify::verify_images(&registry, futures::stream::empty(), &request));
    send(|| tree::tree(&registry, &image, None, "", &limits));
    send(|| download::signatures(&registry, &image, None, "", &limits));
    let request = copy::CopyRequest::default();
    send(|| copy::copy_image(&registry, &image, &registry, &image, &request));
    let request = clean::CleanRequest {
        kinds: Default::default(),
        signature_repository: None,
        tag_prefix: String::new(),
        limits: limits.clone(),
    };
    send(|| clean::clean(&registry, &image, &request));
}
