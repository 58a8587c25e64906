//! RFC 3161 timestamps, with the authority of the seeds: no input gives another time than theirs.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealgate_core::timestamp::{TimestampOutcome, verify_timestamp};
use sealgate_core::trust::{CertificateAuthority, Validity};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../../crates/sealgate-core/tests/data/timestamps/", $name))
    };
}

const SIGNATURE: &[u8] = b"a signature";

static AUTHORITIES: LazyLock<[CertificateAuthority; 2]> = LazyLock::new(|| {
    let authority = |chain: [&[u8]; 3]| {
        let chain = chain.map(<[u8]>::to_vec).to_vec();
        CertificateAuthority::new("https://tsa.example", chain, Validity::default()).unwrap()
    };
    let (inter, root) = (data!("inter.der"), data!("root.der"));
    [authority([data!("ec.der"), inter, root]), authority([data!("rsa.der"), inter, root])]
});

/// The times of the seeds, the only ones that the authority has ever signed.
static TIMES: LazyLock<Vec<i64>> = LazyLock::new(|| {
    [&data!("ecdsa-sha256.tsr")[..], data!("ecdsa-sha384.tsr"), data!("rsa-sha512.tsr")]
        .map(|seed| match verify_timestamp(seed, &*AUTHORITIES, SIGNATURE) {
            Ok(TimestampOutcome::Trusted(time)) => time.seconds(),
            other => panic!("a seed that is not trusted: {other:?}"),
        })
        .to_vec()
});

fuzz_target!(|bytes: &[u8]| {
    match verify_timestamp(bytes, &*AUTHORITIES, SIGNATURE) {
        Ok(TimestampOutcome::Trusted(time)) => assert!(TIMES.contains(&time.seconds())),
        Ok(TimestampOutcome::UnknownAuthority) | Err(_) => {}
    }
});
