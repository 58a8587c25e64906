//! Fulcio client: a short-lived certificate for a new key and the identity in an OIDC token.
//!
//! Possession of the key is proved by a certificate signing request (PKCS #10), which needs nothing
//! from the token; the token is sent to Fulcio unparsed. The returned certificate must be for our
//! key; `sealgate-core` verifies everything else about it.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{Any, AnyRef, BitString, Null, ObjectIdentifier};
use der::pem::LineEnding;
use der::{Decode, Encode};
use sealgate_core::certificate::pem;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::{HashAlgorithm, KeyAlgorithm, PublicKey};
use sealgate_engine::ports::{CertificateIssuer, IdentityToken, Signer};
use serde::Deserialize;
use url::Url;
use x509_cert::Certificate;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::http::{self, Client, Request, ServiceResponse};

const MAX_CHAIN: usize = 10;
/// Maximum size of one certificate in PEM, in bytes.
const MAX_CERTIFICATE: usize = 64 << 10;

/// Fulcio instance, API version 2.
#[derive(Clone, Debug)]
pub struct Fulcio {
    url: Url,
    client: Client,
}

/// Certificate response with one of two fields: the SCT is embedded in the certificate, or detached
/// (and missing when Fulcio has no CT log). A bundle has no field for a detached SCT.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    #[serde(default)]
    signed_certificate_embedded_sct: Option<WithChain>,
    #[serde(default)]
    signed_certificate_detached_sct: Option<WithChain>,
}

#[derive(Deserialize)]
struct WithChain {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

impl Fulcio {
    /// Client for the Fulcio instance at `url`, such as `https://fulcio.sigstore.dev`.
    ///
    /// # Errors
    /// An error if the URL is not a valid service URL.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }

    /// Certificate signing request, signed by the key to be certified.
    async fn request(&self, signer: &dyn Signer) -> Result<String, Fault> {
        let own = |error: der::Error| {
            let detail =
                format!("cannot create a certificate signing request for this key: {error}");
            Fault::new(FaultKind::Config, self.url.as_str(), detail)
        };
        let key = signer.public_key();
        let info = CertReqInfo {
            version: Version::V1,
            // Fulcio takes the subject from the token.
            subject: Name::default(),
            public_key: SubjectPublicKeyInfoOwned::from_der(key.spki_der()).map_err(own)?,
            attributes: Default::default(),
        };
        let signed = info.to_der().map_err(own)?;
        let signature = signer.sign(&signed).await?;
        let Some(algorithm) = signature_algorithm(key, &signed, &signature) else {
            let detail = "the signer's signature does not match its public key";
            return Err(Fault::new(FaultKind::Config, self.url.as_str(), detail));
        };
        let request =
            CertReq { info, algorithm, signature: BitString::from_bytes(&signature).map_err(own)? };
        let der = request.to_der().map_err(own)?;
        der::pem::encode_string("CERTIFICATE REQUEST", LineEnding::LF, &der)
            .map_err(|error| own(error.into()))
    }
}

#[async_trait]
impl CertificateIssuer for Fulcio {
    async fn certify(
        &self,
        signer: &dyn Signer,
        token: &IdentityToken,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let request = STANDARD.encode(self.request(signer).await?);
        let body = serde_json::json!({ "certificateSigningRequest": request }).to_string();
        let url = http::below(&self.url, "api/v2/signingCert");
        let request = Request::post(url, "application/json", body)
            .accept("application/json")
            .bearer(token.secret())?;
        let answer = self.client.send(request).await?.success()?;
        let chain = chain(&answer)?;
        check_key(&answer, &chain, signer.public_key())?;
        Ok(chain)
    }
}

/// Algorithm of the signature over `signed`; `None` if the signature does not match the key.
fn signature_algorithm(
    key: &PublicKey,
    signed: &[u8],
    signature: &[u8],
) -> Option<AlgorithmIdentifierOwned> {
    const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
    const ECDSA_SHA384: &str = "1.2.840.10045.4.3.3";
    const ECDSA_SHA512: &str = "1.2.840.10045.4.3.4";
    const RSA_SHA256: &str = "1.2.840.113549.1.1.11";
    const ED25519: &str = "1.3.101.112";
    let (oid, parameters) = match (key.algorithm(), key.hash_of(signed, signature)) {
        (KeyAlgorithm::Ed25519, _) => {
            key.verify(signed, signature, None).ok()?;
            (ED25519, None)
        }
        (KeyAlgorithm::Rsa { .. }, Some(HashAlgorithm::Sha256)) => (RSA_SHA256, Some(Null)),
        (KeyAlgorithm::Rsa { .. }, _) => return None,
        (_, Some(HashAlgorithm::Sha256)) => (ECDSA_SHA256, None),
        (_, Some(HashAlgorithm::Sha384)) => (ECDSA_SHA384, None),
        (_, Some(HashAlgorithm::Sha512)) => (ECDSA_SHA512, None),
        (_, Some(HashAlgorithm::Sha224) | None) => return None,
    };
    Some(AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new_unwrap(oid),
        parameters: parameters.map(|null| Any::from(AnyRef::from(null))),
    })
}

/// Certificates of the response, DER, leaf first.
fn chain(answer: &ServiceResponse) -> Result<Vec<Vec<u8>>, Fault> {
    let issued: Issued = serde_json::from_slice(&answer.body).map_err(|e| answer.malformed(e))?;
    let issued =
        match (issued.signed_certificate_embedded_sct, issued.signed_certificate_detached_sct) {
            (Some(issued), None) | (None, Some(issued)) => issued,
            _ => return Err(answer.malformed("expected one certificate chain")),
        };
    let certificates = issued.chain.certificates;
    if certificates.is_empty() || certificates.len() > MAX_CHAIN {
        let detail = format!("a chain of {} certificates", certificates.len());
        return Err(answer.malformed(detail));
    }
    certificates.iter().map(|text| certificate(answer, text)).collect()
}

fn certificate(answer: &ServiceResponse, text: &str) -> Result<Vec<u8>, Fault> {
    if text.len() > MAX_CERTIFICATE {
        return Err(answer.malformed("a certificate of more than 64 KiB"));
    }
    let found = pem::read(text, 1).ok().and_then(|mut found| found.pop());
    found.ok_or_else(|| answer.malformed("expected exactly one PEM certificate"))
}

/// Checks that the leaf is for our key; otherwise our signatures could not be verified with it.
fn check_key(answer: &ServiceResponse, chain: &[Vec<u8>], key: &PublicKey) -> Result<(), Fault> {
    let leaf = chain.first().ok_or_else(|| answer.malformed("no certificate"))?;
    let leaf = Certificate::from_der(leaf).map_err(|error| answer.malformed(error))?;
    let spki = leaf.tbs_certificate().subject_public_key_info().to_der();
    if spki.map_err(|error| answer.malformed(error))? != key.spki_der() {
        return Err(answer.malformed("the certificate is for another key"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
