//! Number of requests to a registry.

use std::time::Duration;

use sealgate_tests::proxy::CountingProxy;
use sealgate_tests::registries;

use crate::support::{FORMATS, Format, Tool, sandbox_with_key};

/// The tag, the referrers, the legacy tag, the bundle's manifest, the bundle. Without a referrers
/// API, detecting that and reading the fallback tag take two requests.
#[test]
fn verifying_a_bundle_takes_five_requests_at_most() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("requests-verify");
        Tool::Cosign.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
        let proxy = CountingProxy::start(&registry.host).unwrap();
        let image = image.at(&proxy.host);
        let detour = usize::from(!registry.has_referrers);
        for (reference, most) in [(image.by_tag(), 5 + detour), (image.by_digest(), 4 + detour)] {
            Tool::Sealgate.verify(&sandbox, "cosign", &reference, &[]).ok();
            let asked = proxy.take();
            assert!(asked.len() <= most, "{} requests: {asked:#?}", asked.len());
            Tool::Cosign.verify(&sandbox, "cosign", &reference, &[]).ok();
            let peer = proxy.take();
            assert!(asked.len() < peer.len(), "cosign asks {}: {peer:#?}", peer.len());
        }
    }
}

/// The sixth request to a registry without the referrers API is only sent for the first image.
#[test]
fn registry_capabilities_are_probed_once() {
    let sandbox = sandbox_with_key();
    for registry in [registries::docker(), registries::no_referrers()] {
        let proxy = CountingProxy::start(&registry.host).unwrap();
        let image = |name: &str| {
            let image = registry.image(name);
            Tool::Cosign.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
            image.at(&proxy.host).by_tag()
        };
        let images = [image("asked-once-1"), image("asked-once-2"), image("asked-once-3")];
        let mut verify = vec!["verify", "--key", "cosign.pub", "--max-workers", "1"];
        verify.extend(images.iter().map(String::as_str));
        sandbox.sealgate(&verify).ok();
        let asked = proxy.take();
        assert_eq!(asked.len(), 6 + 5 + 5, "{asked:#?}");
    }
}

#[test]
fn nothing_is_fetched_twice() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("requests-twice");
        for format in FORMATS {
            Tool::Cosign.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
        }
        let proxy = CountingProxy::start(&registry.host).unwrap();
        let reference = image.at(&proxy.host).by_tag();
        Tool::Sealgate.verify(&sandbox, "cosign", &reference, &[]).ok();
        let mut asked = proxy.take();
        let all = asked.clone();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), all.len(), "{all:#?}");
    }
}

/// The tag, the referrers, the fallback tag (the list is missing or empty), the legacy tag, the
/// payload.
#[test]
fn verifying_a_legacy_signature_takes_five_requests_at_most() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("requests-legacy");
        Tool::Cosign.sign(&sandbox, Format::Legacy, "cosign", &image.by_digest(), &[]).ok();
        let proxy = CountingProxy::start(&registry.host).unwrap();
        let image = image.at(&proxy.host);
        for (reference, most) in [(image.by_tag(), 5), (image.by_digest(), 4)] {
            Tool::Sealgate.verify(&sandbox, "cosign", &reference, &[]).ok();
            let asked = proxy.take();
            assert!(asked.len() <= most, "{} requests: {asked:#?}", asked.len());
            Tool::Cosign.verify(&sandbox, "cosign", &reference, &[]).ok();
            let peer = proxy.take();
            assert!(asked.len() <= peer.len(), "cosign asks {}: {peer:#?}", peer.len());
        }
    }
}

/// Signatures of one image are fetched concurrently, at most 32 at a time.
#[test]
fn many_signatures_are_read_together_and_bounded() {
    const AT_ONCE: usize = 32;
    let sandbox = sandbox_with_key();
    let registry = registries::referrers();
    let image = registry.image("requests-many");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..AT_ONCE / 4 + 1 {
                    let image = image.by_digest();
                    Tool::Sealgate.sign(&sandbox, Format::Bundle, "cosign", &image, &[]).ok();
                }
            });
        }
    });
    let proxy = CountingProxy::slow(&registry.host, Duration::from_millis(500)).unwrap();
    let image = image.at(&proxy.host).by_digest();
    Tool::Sealgate.verify(&sandbox, "cosign", &image, &[]).ok();
    assert_eq!(proxy.take_most_at_once(), AT_ONCE, "verify");
    sandbox.sealgate(&["download", "signature", &image]).ok();
    assert_eq!(proxy.take_most_at_once(), AT_ONCE, "download");
}
