//! Signed timestamps (RFC 3161, RFC 5816): when did this signature exist at the latest?
//!
//! In: a timestamp response, nothing in it believed; the timestamp authorities of the trust root;
//! the signature that it must be over. Out: [`TrustedTime`]. `token` reads the CMS around it
//! (RFC 5652), `tst` the statement inside, `signer` finds who signed it and whether an authority
//! stands for that certificate.

mod fields;
mod signer;
mod token;
mod tst;

use std::collections::BTreeSet;

use token::{AttributesProof, Token};
use tst::{ImprintProof, TstInfo};

use crate::digest::Digest;
use crate::reject::{Document, Reject};
use crate::requirement::ProofRequirement;
use crate::trust::{CertificateAuthority, TrustRoot};

/// The largest timestamp that is read, in bytes.
pub const MAX_TIMESTAMP: usize = 64 << 10;

/// A time that an authority of the trust root has signed. Made by [`verify_timestamp`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedTime {
    seconds: i64,
    authority: String,
    root: Digest,
    response: Vec<u8>,
    _imprint: ImprintProof,
    _attributes: AttributesProof,
}

/// What became of a timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stamped {
    /// The signature existed then.
    Trusted(TrustedTime),
    /// No authority of the trust root stands for its signer: it neither counts nor breaks the
    /// rest.
    UnknownAuthority,
}

/// What a timestamp says, for people; nothing in it believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The time, in seconds since 1970.
    pub seconds: i64,
    /// Whether it is over the signature that it was looked at for.
    pub is_about: bool,
}

/// Verified timestamps of one signature. Made by [`verify_timestamps`] only.
#[derive(Clone, Debug)]
pub struct TrustedTimes {
    times: Vec<TrustedTime>,
    unknown: usize,
}

/// Verified timestamps that satisfy a [`ProofRequirement`]. Made by [`TrustedTimes::require`] only.
#[derive(Clone, Debug)]
pub struct RequiredTimes {
    times: TrustedTimes,
}

impl TrustedTime {
    /// In whole seconds since 1970; a fraction is cut off.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
    /// The address of the authority, as the trust root gives it.
    pub fn authority(&self) -> &str {
        &self.authority
    }
    /// The TimeStampResp that says so, DER, as it was found: what surrounds the signed part in it
    /// nobody has signed.
    pub fn response(&self) -> &[u8] {
        &self.response
    }
}

impl TrustedTimes {
    /// One for each timestamp of a known authority.
    pub fn times(&self) -> &[TrustedTime] {
        &self.times
    }
    /// All times, in seconds since 1970.
    pub fn seconds(&self) -> Vec<i64> {
        self.times.iter().map(TrustedTime::seconds).collect()
    }
    /// How many timestamps no authority of the trust root stands for.
    pub fn unknown(&self) -> usize {
        self.unknown
    }
    /// How many different authorities have signed: what a threshold is compared with.
    /// Authorities are told apart by their roots.
    pub fn authorities(&self) -> usize {
        self.times.iter().map(|time| &time.root).collect::<BTreeSet<_>>().len()
    }
    /// Compares the number of authorities with the requirement.
    ///
    /// # Errors
    /// A timestamp is required, and no authority of the trust root has signed one.
    pub(crate) fn require(self, requirement: ProofRequirement) -> Result<RequiredTimes, Reject> {
        match requirement.is_required() && self.authorities() == 0 {
            true => Err(Reject::NoTimestamp),
            false => Ok(RequiredTimes { times: self }),
        }
    }
}

impl RequiredTimes {
    /// The verified timestamps.
    pub fn times(&self) -> &TrustedTimes {
        &self.times
    }
}

/// Verifies all timestamps of a signature, as [`verify_timestamp`] does. Without a trust root
/// there is no authority to verify them with, so that none counts.
///
/// # Errors
/// A timestamp is wrong in any way, even if another one would do.
pub(crate) fn verify_timestamps(
    responses: &[Vec<u8>],
    root: Option<&TrustRoot>,
    signature: &[u8],
) -> Result<TrustedTimes, Reject> {
    let mut found = TrustedTimes { times: Vec::new(), unknown: 0 };
    let Some(root) = root else { return Ok(found) };
    for response in responses {
        match verify_timestamp(response, &root.timestamp_authorities, signature)? {
            Stamped::Trusted(time) => found.times.push(time),
            Stamped::UnknownAuthority => found.unknown += 1,
        }
    }
    Ok(found)
}

/// Checks one timestamp: `response` is a DER TimeStampResp, `signature` the raw bytes that its
/// imprint must be of.
///
/// # Errors
/// Anything in it that is wrong; the code says what. An unknown signer is no error.
pub fn verify_timestamp(
    response: &[u8],
    authorities: &[CertificateAuthority],
    signature: &[u8],
) -> Result<Stamped, Reject> {
    if response.len() > MAX_TIMESTAMP {
        return Err(Reject::TooLarge { what: Document::Timestamp, limit: MAX_TIMESTAMP });
    }
    let token = Token::parse(response)?;
    let attributes = token.check_attributes()?;
    let info = TstInfo::parse(token.content)?;
    let imprint = info.imprint.check(signature)?;
    let Some(found) = signer::find(&token, info.seconds, authorities)? else {
        return Ok(Stamped::UnknownAuthority);
    };
    Ok(Stamped::Trusted(TrustedTime {
        seconds: info.seconds,
        authority: found.authority().uri.clone(),
        root: Digest::of(found.authority().root()),
        response: response.to_vec(),
        _imprint: imprint,
        _attributes: attributes,
    }))
}

/// What `response` says about `signature`. Nothing is verified.
///
/// # Errors
/// It is no timestamp response.
pub fn said(response: &[u8], signature: &[u8]) -> Result<Said, Reject> {
    if response.len() > MAX_TIMESTAMP {
        return Err(Reject::TooLarge { what: Document::Timestamp, limit: MAX_TIMESTAMP });
    }
    let info = TstInfo::parse(Token::parse(response)?.content)?;
    Ok(Said { seconds: info.seconds, is_about: info.imprint.matches(signature) })
}

#[cfg(test)]
pub(crate) mod tests;
