//! Verification of signed timestamps (RFC 3161, RFC 5816): the time at which a signature existed.
//!
//! Input: an unverified timestamp response; the timestamp authorities of the trust root; the
//! signature that it must be over. Output: [`TrustedTime`]. `token` reads the CMS signed data (RFC
//! 5652), `tst` the TSTInfo in it, and `signer` verifies the signer and its chain.

mod fields;
mod signer;
mod token;
mod tst;

use std::collections::{BTreeMap, BTreeSet};

use token::{AttributesProof, Token};
use tst::{ImprintProof, TstInfo};

use crate::digest::Digest;
use crate::reject::{Document, Reject};
use crate::requirement::ProofRequirement;
use crate::trust::{CertificateAuthority, SharedRoot};

/// The maximum size of a timestamp in bytes.
pub const MAX_TIMESTAMP: usize = 64 << 10;

/// The maximum number of timestamps of one signature that no authority of the trust root has
/// signed: each can cost several verifications before it is known that its certificates only bear
/// an authority's name.
const MAX_UNKNOWN: usize = 8;

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

/// Outcome of the verification of a timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampOutcome {
    /// The signature existed then.
    Trusted(TrustedTime),
    /// No authority of the trust root issued its signer's certificate: the timestamp is ignored.
    UnknownAuthority,
}

/// Contents of a timestamp, unverified, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedTimestamp {
    /// The time, in seconds since 1970.
    pub seconds: i64,
    /// True if it is over the signature.
    pub is_over_signature: bool,
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
    /// The time in whole seconds since 1970, rounded down.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
    /// The address of the authority, as the trust root gives it.
    pub fn authority(&self) -> &str {
        &self.authority
    }
    /// The TimeStampResp (DER) as found; parts of it around the signed data are unsigned.
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
    /// The number of timestamps whose signer no authority of the trust root issued.
    pub fn unknown(&self) -> usize {
        self.unknown
    }
    /// The number of different authorities that have signed, for comparison with a threshold.
    /// Authorities are identified by their roots.
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
/// A timestamp is wrong in any way, even if another one would do, or there are more than
/// [`MAX_UNKNOWN`] of unknown authorities. The same timestamp is verified once.
pub(crate) fn verify_timestamps(
    responses: &[Vec<u8>],
    root: Option<&SharedRoot>,
    signature: &[u8],
) -> Result<TrustedTimes, Reject> {
    let mut found = TrustedTimes { times: Vec::new(), unknown: 0 };
    let Some(root) = root else { return Ok(found) };
    let mut outcomes: BTreeMap<&[u8], TimestampOutcome> = BTreeMap::new();
    for response in responses {
        if !outcomes.contains_key(response.as_slice()) {
            let outcome = verify_timestamp(response, &root.timestamp_authorities, signature)?;
            outcomes.insert(response, outcome);
            check_unknown(&outcomes)?;
        }
        match outcomes.get(response.as_slice()) {
            Some(TimestampOutcome::Trusted(time)) => found.times.push(time.clone()),
            Some(TimestampOutcome::UnknownAuthority) | None => found.unknown += 1,
        }
    }
    Ok(found)
}

fn check_unknown(outcomes: &BTreeMap<&[u8], TimestampOutcome>) -> Result<(), Reject> {
    let unknown = |outcome: &&TimestampOutcome| **outcome == TimestampOutcome::UnknownAuthority;
    if outcomes.values().filter(unknown).count() <= MAX_UNKNOWN {
        return Ok(());
    }
    let field = "timestamps of unknown authorities";
    Err(Reject::TooMany { what: Document::Timestamp, field, limit: MAX_UNKNOWN })
}

/// Verifies one timestamp: `response` is a DER TimeStampResp, `signature` the raw bytes that its
/// message imprint must be the hash of.
///
/// # Errors
/// Anything in it that is wrong; the code says what. An unknown signer is no error.
pub fn verify_timestamp(
    response: &[u8],
    authorities: &[CertificateAuthority],
    signature: &[u8],
) -> Result<TimestampOutcome, Reject> {
    if response.len() > MAX_TIMESTAMP {
        return Err(Reject::TooLarge { what: Document::Timestamp, limit: MAX_TIMESTAMP });
    }
    let token = Token::parse(response)?;
    let attributes = token.check_attributes()?;
    let info = TstInfo::parse(token.content)?;
    let imprint = info.imprint.check(signature)?;
    let Some(found) = signer::find(&token, info.seconds, authorities)? else {
        return Ok(TimestampOutcome::UnknownAuthority);
    };
    Ok(TimestampOutcome::Trusted(TrustedTime {
        seconds: info.seconds,
        authority: found.authority().uri.clone(),
        root: Digest::of(found.authority().root()),
        response: response.to_vec(),
        _imprint: imprint,
        _attributes: attributes,
    }))
}

/// Reads a timestamp response without verifying it.
///
/// # Errors
/// It is not a timestamp response.
pub fn read_unverified(response: &[u8], signature: &[u8]) -> Result<UnverifiedTimestamp, Reject> {
    if response.len() > MAX_TIMESTAMP {
        return Err(Reject::TooLarge { what: Document::Timestamp, limit: MAX_TIMESTAMP });
    }
    let info = TstInfo::parse(Token::parse(response)?.content)?;
    Ok(UnverifiedTimestamp {
        seconds: info.seconds,
        is_over_signature: info.imprint.matches(signature),
    })
}

#[cfg(test)]
pub(crate) mod tests;
