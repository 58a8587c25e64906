//! Conversion of `sigstoreKeys` to a trust root.

use sealgate_core::trust::{
    AuthorityObject, InvalidTrustRoot, LogObject, SigstoreKeys, TrustRoot, Validity,
};

use super::{Bytes, CertificateAuthority, Keys, Log, ValidFor};

impl Keys {
    /// The trust root of these keys and certificates.
    ///
    /// # Errors Fails on any part that cannot be parsed: one invalid part makes the whole object
    /// unusable.
    pub fn trust_root(&self) -> Result<TrustRoot, InvalidTrustRoot> {
        let authorities = |all: &[CertificateAuthority]| {
            all.iter().map(authority).collect::<Result<Vec<_>, InvalidTrustRoot>>()
        };
        let logs = |all: &[Log]| all.iter().map(log).collect::<Result<Vec<_>, InvalidTrustRoot>>();
        TrustRoot::of_keys(&SigstoreKeys {
            certificate_authorities: authorities(&self.certificate_authorities)?,
            t_logs: logs(&self.t_logs)?,
            ct_logs: logs(&self.ct_logs)?,
            timestamp_authorities: authorities(&self.timestamp_authorities)?,
        })
    }
}

impl ValidFor {
    pub(super) fn validity(&self) -> Result<Validity, InvalidTrustRoot> {
        Validity::of_times(&self.start, &self.end)
    }
}

fn authority(authority: &CertificateAuthority) -> Result<AuthorityObject, InvalidTrustRoot> {
    Ok(AuthorityObject {
        uri: authority.uri.clone(),
        cert_chain: pem(&authority.cert_chain, "certChain")?,
        validity: validity(authority.valid_for.as_ref())?,
    })
}

fn log(log: &Log) -> Result<LogObject, InvalidTrustRoot> {
    Ok(LogObject {
        base_url: log.base_url.clone(),
        hash_algorithm: log.hash_algorithm.clone(),
        public_key: pem(&log.public_key, "publicKey")?,
        validity: validity(log.valid_for.as_ref())?,
    })
}

fn validity(valid_for: Option<&ValidFor>) -> Result<Validity, InvalidTrustRoot> {
    valid_for.map_or(Ok(Validity::default()), ValidFor::validity)
}

fn pem(bytes: &Bytes, what: &'static str) -> Result<String, InvalidTrustRoot> {
    let text = std::str::from_utf8(&bytes.0);
    text.map(str::to_owned).map_err(|_| InvalidTrustRoot::Pem { what, detail: "not text" })
}
