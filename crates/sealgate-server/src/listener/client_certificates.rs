//! Client certificates: the callers that may have reviews answered.
//!
//! A certificate is optional in the handshake, because probes have none. One that is presented must
//! have been issued by the CA, for client authentication, and be within its validity. Then its name
//! decides.

use std::sync::Arc;

use arc_swap::ArcSwap;
use der::{Decode, Tag, Tagged};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The caller of a connection, by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Any caller: certificates are not requested.
    Unchecked,
    /// A caller with an accepted certificate.
    Authenticated,
    /// A caller without one.
    Unauthenticated,
}

/// The reasons why CA certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidClientCa {
    /// It is not PEM, or contains no certificate.
    #[error("no certificate in PEM form was found")]
    Pem,
    /// One of the certificates cannot be a trust anchor.
    #[error("a certificate cannot be used as a CA: {0}")]
    Anchor(rustls::Error),
    /// The TLS library refuses the certificates.
    #[error(transparent)]
    Verifier(#[from] VerifierBuilderError),
}

/// The client certificates that are accepted. The CA can be replaced while serving.
pub struct ClientCertificates {
    verifier: ArcSwap<Verifier>,
    names: Vec<String>,
}

struct Verifier(Arc<dyn ClientCertVerifier>);

impl ClientCertificates {
    /// Accepts certificates that a CA of `ca` (PEM) issued for one of `names`: the common name, or a
    /// DNS name of the subject alternative names. Without names, any certificate of the CA.
    pub fn new(ca: &[u8], names: Vec<String>) -> Result<Self, InvalidClientCa> {
        Ok(Self { verifier: ArcSwap::from_pointee(Verifier::new(ca)?), names })
    }

    /// Replaces the CA for new connections.
    pub fn set_ca(&self, ca: &[u8]) -> Result<(), InvalidClientCa> {
        self.verifier.store(Arc::new(Verifier::new(ca)?));
        Ok(())
    }

    /// The caller whose certificates, leaf first, were verified in the handshake.
    pub(super) fn caller(&self, certificates: Option<&[CertificateDer<'_>]>) -> Caller {
        match certificates.and_then(<[_]>::first) {
            Some(leaf) if self.names.is_empty() || has_name(leaf, &self.names) => {
                Caller::Authenticated
            }
            _ => Caller::Unauthenticated,
        }
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier.load().0)
    }
}

impl std::fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientCertificates(names {:?})", self.names)
    }
}

impl Verifier {
    fn new(ca: &[u8]) -> Result<Self, InvalidClientCa> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            let certificate = certificate.map_err(|_| InvalidClientCa::Pem)?;
            roots.add(certificate).map_err(InvalidClientCa::Anchor)?;
        }
        if roots.is_empty() {
            return Err(InvalidClientCa::Pem);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self(verifier.allow_unauthenticated().build()?))
    }
}

/// Delegates to the verifier for the current CA.
impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hint: a client that has a certificate presents it.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current().verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}

/// Returns whether the certificate has one of `names`. One that cannot be read has none.
fn has_name(certificate: &[u8], names: &[String]) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else { return false };
    let is_common_name = common_name(&certificate)
        .is_some_and(|common_name| names.iter().any(|name| name.as_bytes() == common_name));
    is_common_name || has_dns_name(&certificate, names)
}

/// The common name; `None` if there is not exactly one, because those who issue a certificate may
/// have looked at another one.
fn common_name(certificate: &Certificate) -> Option<&[u8]> {
    let mut all = certificate.tbs_certificate().subject().iter().filter(|it| it.oid == COMMON_NAME);
    let (only, None) = (all.next()?, all.next()) else { return None };
    matches!(only.value.tag(), Tag::Utf8String | Tag::PrintableString).then(|| only.value.value())
}

fn has_dns_name(certificate: &Certificate, names: &[String]) -> bool {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(found)))) = found else { return false };
    found.iter().any(|found| match found {
        GeneralName::DnsName(found) => {
            names.iter().any(|name| name.eq_ignore_ascii_case(found.as_str()))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn certificate(common_names: &[&str], dns_names: &[&str]) -> CertificateDer<'static> {
        let dns_names: Vec<String> = dns_names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(dns_names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_is_the_common_name_or_a_dns_name() {
        let accepted = names(&["apiserver", "api.example"]);
        for (common_names, dns_names, accepts) in [
            (&["apiserver"][..], &[][..], true),
            (&["other"], &["API.example"], true),
            (&["api.example"], &[], true),
            (&["Apiserver"], &[], false),
            (&["system:node:a"], &["node-a"], false),
            (&[], &[], false),
            (&["apiserver "], &["x.api.example", "*.example"], false),
        ] {
            let leaf = certificate(common_names, dns_names);
            assert_eq!(has_name(&leaf, &accepted), accepts, "{common_names:?} {dns_names:?}");
        }
        assert!(!has_name(b"no certificate", &accepted));
    }

    #[test]
    fn without_names_any_certificate_is_accepted_and_none_is_not() {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = [certificate(&["any"], &[])];
        let any = ClientCertificates::new(ca.pem().as_bytes(), Vec::new()).unwrap();
        assert_eq!(any.caller(Some(&leaf)), Caller::Authenticated);
        assert_eq!(any.caller(Some(&[])), Caller::Unauthenticated);
        assert_eq!(any.caller(None), Caller::Unauthenticated);
        let named = ClientCertificates::new(ca.pem().as_bytes(), names(&["one"])).unwrap();
        assert_eq!(named.caller(Some(&leaf)), Caller::Unauthenticated);
    }

    #[test]
    fn a_ca_that_cannot_be_used_is_refused() {
        for bad in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(ClientCertificates::new(bad.as_bytes(), Vec::new()).is_err(), "{bad}");
        }
    }
}
