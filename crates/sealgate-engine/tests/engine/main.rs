//! The use cases against the stand-ins of the testkit.

mod gate;
mod gather;
mod moving;
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
