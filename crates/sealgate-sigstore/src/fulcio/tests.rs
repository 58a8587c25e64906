use axum::response::Response;
use sealgate_testkit::key::{Algorithm, MismatchedSigner, TestKey};
use sealgate_testkit::keyless::{CertificateIdentity, Certified, TestSigstore, pem};
use serde_json::{Value, json};

use super::*;
use crate::http::fixture::{ReceivedRequest, Service, answer, client};

/// Signer that holds the private key of a certificate.
struct KeyHolder {
    certified: Certified,
    key: PublicKey,
}

impl KeyHolder {
    fn new(world: &TestSigstore) -> Self {
        let certified = world.certified(&CertificateIdentity::default());
        let key = certified.public_key();
        Self { certified, key }
    }
}

#[async_trait]
impl Signer for KeyHolder {
    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.certified.sign(message))
    }
}

fn token() -> IdentityToken {
    IdentityToken::new("eyJh.e30.c2ln")
}

async fn ask(service: &Service, signer: &dyn Signer) -> Result<Vec<Vec<u8>>, Fault> {
    Fulcio::new(&service.url, client()).unwrap().certify(signer, &token()).await
}

fn issued(form: &str, chain: &[String]) -> Response {
    let chain = json!({ "chain": { "certificates": chain } });
    answer(200, json!({ form: chain }).to_string())
}

/// Certificate signing request that was sent, after checking its signature with its own key.
fn request_in(seen: &ReceivedRequest) -> CertReq {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    let pem = STANDARD.decode(body["certificateSigningRequest"].as_str().unwrap()).unwrap();
    let (label, der) = der::pem::decode_vec(&pem).unwrap();
    assert_eq!(label, "CERTIFICATE REQUEST");
    let request = CertReq::from_der(&der).unwrap();
    let key = PublicKey::from_spki_der(&request.info.public_key.to_der().unwrap()).unwrap();
    let signature = request.signature.as_bytes().unwrap();
    key.verify(&request.info.to_der().unwrap(), signature, None).unwrap();
    request
}

#[tokio::test]
async fn a_key_is_certified_in_both_forms_of_the_answer() {
    let world = TestSigstore::default();
    for form in ["signedCertificateEmbeddedSct", "signedCertificateDetachedSct"] {
        let holder = KeyHolder::new(&world);
        let chain = vec![
            holder.certified.pem(),
            world
                .chain_pem()
                .split_inclusive("-----END CERTIFICATE-----\n")
                .next()
                .unwrap()
                .to_owned(),
        ];
        let service = Service::start(move |_, _| issued(form, &chain)).await;
        let got = ask(&service, &holder).await.unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0], holder.certified.der);
        let seen = &service.seen()[0];
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/api/v2/signingCert"));
        assert_eq!(seen.headers["authorization"], "Bearer eyJh.e30.c2ln");
        assert_eq!(seen.headers["content-type"], "application/json");
        let request = request_in(seen);
        assert_eq!(request.info.public_key.to_der().unwrap(), holder.key.spki_der());
    }
}

#[tokio::test]
async fn every_kind_of_key_proves_that_it_is_held() {
    for (algorithm, oid) in [
        (Algorithm::P256, "1.2.840.10045.4.3.2"),
        (Algorithm::P384, "1.2.840.10045.4.3.3"),
        (Algorithm::P521, "1.2.840.10045.4.3.4"),
        (Algorithm::Rsa2048, "1.2.840.113549.1.1.11"),
        (Algorithm::Ed25519, "1.3.101.112"),
    ] {
        let service = Service::start(|_, _| answer(400, "no")).await;
        let key = TestKey::generate(algorithm);
        ask(&service, &key).await.unwrap_err();
        let request = request_in(&service.seen()[0]);
        assert_eq!(request.algorithm.oid.to_string(), oid);
        assert_eq!(request.algorithm.parameters.is_some(), algorithm == Algorithm::Rsa2048);
    }
}

#[tokio::test]
async fn a_signer_with_another_key_is_refused_before_fulcio_is_called() {
    let service = Service::start(|_, _| answer(500, "")).await;
    let signer = MismatchedSigner { shown: TestKey::p256(), used: TestKey::p256() };
    let fault = ask(&service, &signer).await.unwrap_err();
    assert_eq!(fault.detail, "the signer's signature does not match its public key");
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_key_is_refused() {
    let world = TestSigstore::default();
    let other = KeyHolder::new(&world).certified.pem();
    let service = Service::start(move |_, _| {
        issued("signedCertificateEmbeddedSct", std::slice::from_ref(&other))
    })
    .await;
    let fault = ask(&service, &KeyHolder::new(&world)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Malformed);
    assert!(fault.detail.ends_with("the certificate is for another key"), "{fault}");
}

#[tokio::test]
async fn answers_that_are_no_chain_are_refused() {
    let world = TestSigstore::default();
    let holder = KeyHolder::new(&world);
    let good = holder.certified.pem();
    let embedded = |chain: &[&str]| json!({ "signedCertificateEmbeddedSct": { "chain": { "certificates": chain } } });
    let eleven = vec![good.as_str(); 11];
    let twice = format!("{good}{good}");
    let junk = pem("CERTIFICATE", b"junk");
    let both = json!({
        "signedCertificateEmbeddedSct": { "chain": { "certificates": [good] } },
        "signedCertificateDetachedSct": { "chain": { "certificates": [good] } },
    });
    for body in [
        "".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        both.to_string(),
        embedded(&[]).to_string(),
        embedded(&eleven).to_string(),
        embedded(&["no certificate"]).to_string(),
        embedded(&[&twice]).to_string(),
        embedded(&[&junk]).to_string(),
        embedded(&[&good, "no certificate"]).to_string(),
    ] {
        let text = body.clone();
        let service = Service::start(move |_, _| answer(200, body.clone())).await;
        let fault = ask(&service, &holder).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed, "{text}");
    }
}

#[tokio::test]
async fn refusals_have_fulcios_message_and_never_the_token() {
    let service = Service::start(|_, _| {
        let message = "There was an error processing the identity token eyJh.e30.c2ln";
        answer(401, json!({ "code": 16, "message": message, "details": [] }).to_string())
    })
    .await;
    let fault = ask(&service, &TestKey::p256()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthorized);
    assert_eq!(fault.target, format!("{}/api/v2/signingCert", service.url));
    assert!(fault.detail.ends_with("processing the identity token …"), "{fault}");
}
