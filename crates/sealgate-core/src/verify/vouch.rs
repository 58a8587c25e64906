//! Who signed, and what vouches for it: time, certificate and log.
//!
//! [`Vouched`] is the proof, and the only way to one is [`vouch`], which makes every check in
//! the same order: the signed times, the log entries (whose own times count only when the log has
//! signed them), the certificate at all those times, whether its identity is wanted, and last the
//! signature itself, by the algorithm that log entries name. A key needs no time; there the signature comes first, because it tells
//! which of several keys has signed.

use super::signature::BySigner;
use super::{Authority, Check, KeyAuthority, VerificationContext};
use crate::bundle::LogMaterial;
use crate::certificate::{CertifiedKey, Presented, certify};
use crate::identity::IdentityAuthority;
use crate::key::{PublicKey, SignatureAlgorithm};
use crate::log::{self, Form, LogProofs, Logged, LoggedContent, Signer};
use crate::reject::Reject;
use crate::timestamp::{TrustedTimes, verify_timestamps};

/// What lies beside a signature; nothing in it believed.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) signature: &'a [u8],
    pub(super) content: LoggedContent<'a>,
    pub(super) log: &'a LogMaterial,
    pub(super) form: Form,
    pub(super) certificate: Option<Presented<'a>>,
}

/// That somebody whom the authority wants has signed, and everything that was asked for vouches
/// for it.
pub(super) struct Vouched {
    key: PublicKey,
    algorithm: SignatureAlgorithm,
    certificate: Option<CertifiedKey>,
    logs: LogProofs,
    times: TrustedTimes,
    /// Log entries and timestamps were there, and nothing was there to judge them by.
    unread: bool,
}

/// What a [`Vouched`] says.
#[derive(Clone, Debug)]
pub(super) struct Vouchers {
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) certificate: Option<CertifiedKey>,
    pub(super) logs: LogProofs,
    pub(super) times: TrustedTimes,
    pub(super) unread: bool,
}

impl Vouched {
    /// The key, and what vouches for it.
    pub(super) fn into_parts(self) -> (PublicKey, Vouchers) {
        let Self { key, algorithm, certificate, logs, times, unread } = self;
        (key, Vouchers { algorithm, certificate, logs, times, unread })
    }
}

impl Vouchers {
    /// The checks that were made, as far as they are not about the claim.
    pub(super) fn checks(&self) -> Vec<Check> {
        let made = [
            (Check::KeySignature, self.certificate.is_none()),
            (Check::Certificate, self.certificate.is_some()),
            (Check::Log, self.logs.logs() > 0),
            (Check::Timestamp, self.times.authorities() > 0),
            (Check::CertificateLog, self.certificate.as_ref().is_some_and(|c| c.ct_logs() > 0)),
        ];
        made.into_iter().filter_map(|(check, made)| made.then_some(check)).collect()
    }
}

/// Makes every check but that of the claim. `signed` checks the signature with the keys it is
/// given.
pub(super) fn vouch<S: BySigner>(
    beside: Beside<'_>,
    authority: &Authority,
    trust: &VerificationContext<'_>,
    signed: impl FnOnce(&KeyAuthority) -> Result<S, Reject>,
) -> Result<(S, Vouched), Reject> {
    match authority {
        Authority::Keys(keys) => by_keys(beside, keys, trust, signed),
        Authority::Identities(identities) => by_identities(beside, identities, trust, signed),
    }
}

fn by_keys<S: BySigner>(
    beside: Beside<'_>,
    keys: &KeyAuthority,
    trust: &VerificationContext<'_>,
    signed: impl FnOnce(&KeyAuthority) -> Result<S, Reject>,
) -> Result<(S, Vouched), Reject> {
    let signed = signed(keys)?;
    let key = signed.key().clone();
    let times = times(&beside, trust)?;
    let logs = logs(&beside, trust, Signer::Key(&key), &times)?;
    let algorithm = signed.algorithm();
    logs.check_algorithm(algorithm)?;
    let unread = trust.root.is_none() && !beside.log.is_empty();
    Ok((signed, Vouched { key, algorithm, certificate: None, logs, times, unread }))
}

fn by_identities<S: BySigner>(
    beside: Beside<'_>,
    identities: &IdentityAuthority,
    trust: &VerificationContext<'_>,
    signed: impl FnOnce(&KeyAuthority) -> Result<S, Reject>,
) -> Result<(S, Vouched), Reject> {
    if identities.identities.is_empty() {
        return Err(Reject::NoIdentity);
    }
    let presented = beside.certificate.ok_or(Reject::NoCertificate)?;
    let root = trust.root.ok_or(Reject::NoTrustRoot)?;
    let times = times(&beside, trust)?;
    let logs = logs(&beside, trust, Signer::Certificate(presented.leaf), &times)?;
    let mut at: Vec<i64> = times.seconds();
    at.extend(logs.integrated_times());
    if at.is_empty() && trust.requirements.trusts_now() {
        at.push(trust.now);
    }
    let certified = certify(presented, root, &at, trust.requirements.sct_requirement())?;
    certified.identity().check(identities)?;
    let key = certified.key().clone();
    let signed = signed(&KeyAuthority { keys: vec![key.clone()], hash: None })?;
    let algorithm = signed.algorithm();
    logs.check_algorithm(algorithm)?;
    let certificate = Some(certified);
    Ok((signed, Vouched { key, algorithm, certificate, logs, times, unread: false }))
}

fn times(beside: &Beside<'_>, trust: &VerificationContext<'_>) -> Result<TrustedTimes, Reject> {
    let times = match trust.root {
        None => TrustedTimes::default(),
        Some(root) => verify_timestamps(
            &beside.log.timestamps,
            &root.timestamp_authorities,
            beside.signature,
        )?,
    };
    if trust.requirements.timestamp().is_required() && times.authorities() == 0 {
        return Err(Reject::NoTimestamp);
    }
    Ok(times)
}

fn logs(
    beside: &Beside<'_>,
    trust: &VerificationContext<'_>,
    signer: Signer<'_>,
    times: &TrustedTimes,
) -> Result<LogProofs, Reject> {
    let logged = Logged { signature: beside.signature, signer, content: beside.content };
    // Without any signed time, an entry that is here was made until now.
    let mut at = times.seconds();
    if at.is_empty() {
        at.push(trust.now);
    }
    let proofs = match trust.root {
        None => LogProofs::default(),
        Some(root) => log::verify_entries(
            &beside.log.entries,
            beside.form,
            &root.transparency_logs,
            &logged,
            &at,
        )?,
    };
    if trust.requirements.log().is_required() && proofs.logs() == 0 {
        return Err(Reject::NotLogged);
    }
    Ok(proofs)
}
