use std::collections::BTreeMap;

use async_trait::async_trait;
use sealgate_engine::ports::PullSecret;

use super::*;

struct OneSecret(BTreeMap<String, Vec<u8>>);

#[async_trait]
impl SecretSource for OneSecret {
    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Fault> {
        Ok((namespace == "ns" && name == "key").then(|| self.0.clone()))
    }

    async fn pull_secrets(
        &self,
        _namespace: &str,
        _service_account: &str,
        _names: &[String],
    ) -> Result<Vec<PullSecret>, Fault> {
        Ok(Vec::new())
    }
}

/// Nothing here suspends, so one poll is sufficient.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn parses_references() {
    let file = |text: &str| KeyReference::File(PathBuf::from(text));
    assert_eq!(KeyReference::parse("cosign.key").unwrap(), file("cosign.key"));
    assert_eq!(KeyReference::parse("file:///a/b").unwrap(), file("/a/b"));
    assert_eq!(
        KeyReference::parse("env://MY_KEY").unwrap(),
        KeyReference::Environment("MY_KEY".to_owned())
    );
    let secret = KeyReference::Kubernetes { namespace: "ns".to_owned(), secret: "key".to_owned() };
    assert_eq!(KeyReference::parse("k8s://ns/key").unwrap(), secret);
    assert_eq!(secret.to_string(), "k8s://ns/key");
}

#[test]
fn refuses_what_it_cannot_honour() {
    for text in [
        "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "awskms:///alias/x",
        "azurekms://v/k",
        "hashivault://k",
        "openbao://k",
        "pkcs11:token=x",
        "gitlab://o/p",
        "myplugin://k",
    ] {
        let fault = KeyReference::parse(text).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unsupported, "{text}");
        assert!(fault.detail.contains("not supported by this version"), "{fault}");
    }
    for text in ["", "env://", "env://A=B", "k8s://ns", "k8s:///x", "k8s://a/b/c"] {
        assert_eq!(KeyReference::parse(text).unwrap_err().kind, FaultKind::Config, "{text}");
    }
}

#[test]
fn reads_files_and_bounds_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cosign.key");
    std::fs::write(&path, "text").unwrap();
    let found = now(KeyReference::File(path.clone()).private(None)).unwrap();
    assert_eq!(*found.pem, "text");

    std::fs::write(&path, vec![b'x'; MAX_KEY_BYTES as usize + 1]).unwrap();
    let fault = now(KeyReference::File(path).private(None)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);

    let missing = KeyReference::File(folder.path().join("none"));
    assert_eq!(now(missing.private(None)).unwrap_err().kind, FaultKind::Config);
}

#[test]
fn a_private_key_is_no_public_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cosign.key");
    std::fs::write(&path, include_str!("../../tests/data/cosign-p256.key")).unwrap();
    let fault = now(KeyReference::File(path).public(None)).unwrap_err();
    assert!(fault.detail.contains("public-key"), "{fault}");
    assert!(!fault.to_string().contains("eyJ"), "it shows the key: {fault}");
}

#[test]
fn missing_variables_say_their_name() {
    let fault = now(KeyReference::parse("env://SEALGATE_NOT_SET").unwrap().public(None));
    assert!(fault.unwrap_err().detail.contains("$SEALGATE_NOT_SET"));
}

#[test]
fn reads_kubernetes_secrets() {
    let data = [
        ("cosign.key", include_str!("../../tests/data/cosign-p256.key")),
        ("cosign.pub", include_str!("../../tests/data/cosign-p256.pub")),
        ("cosign.password", "sealgate-test"),
    ];
    let data = data.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let secrets = OneSecret(BTreeMap::from(data));
    let reference = KeyReference::parse("k8s://ns/key").unwrap();

    let found = now(reference.private(Some(&secrets))).unwrap();
    let pair = crate::KeyPair::from_encrypted_pem(&found.pem, &found.password.unwrap()).unwrap();
    assert_eq!(&now(reference.public(Some(&secrets))).unwrap(), pair.public());

    let other = KeyReference::parse("k8s://ns/other").unwrap();
    assert_eq!(now(other.public(Some(&secrets))).unwrap_err().kind, FaultKind::Missing);
    assert_eq!(now(reference.public(None)).unwrap_err().kind, FaultKind::Config);
}

#[test]
fn a_url_is_shown_without_secrets() {
    for (url, shown) in [
        (
            "https://ada:hunter2@keys.example:8443/k.pub?sig=abc#x",
            "https://keys.example:8443/k.pub",
        ),
        ("https://ada@b:hunter2@keys.example", "https://keys.example"),
        ("http://keys.example?sig=a/b@c", "http://keys.example"),
        ("https://keys.example/a@b.pub", "https://keys.example/a@b.pub"),
    ] {
        let reference = KeyReference::parse(url).unwrap();
        assert_eq!(reference.to_string(), shown);
        assert_eq!(now(reference.private(None)).unwrap_err().target, shown);
        assert_eq!(now(reference.public(None)).unwrap_err().target, shown);
    }
}
