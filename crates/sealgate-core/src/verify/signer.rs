//! The signer: timestamps, log entries, certificate, identity and signature.
//!
//! [`verify`] makes every check in the same order: the timestamps, the log entries (whose times
//! count only where the log has signed them), the certificate at all those times, its identity,
//! the signature, and the algorithm that log entries name. With keys the signature comes first,
//! because it tells which of several keys has signed.

use super::material::SignatureMaterial;
use super::signature::{self, AuthorizedKeys, SignatureProof};
use super::{Authority, Check, KeyAuthority, VerificationContext};
use crate::certificate::certify;
use crate::identity::IdentityAuthority;
use crate::log::{self, AlgorithmProof, Logged, LoggedContent, RequiredLog, Signer};
use crate::reject::Reject;
use crate::timestamp::{RequiredTimes, verify_timestamps};

/// Proof that a signer of the authority has made a signature, with every proof that is required
/// beside it. Made by [`verify`] only.
#[derive(Clone, Debug)]
pub(super) struct SignerProof {
    signature: SignatureProof,
    algorithm: AlgorithmProof,
    log: RequiredLog,
    times: RequiredTimes,
    log_material: LogMaterialUse,
}

/// Use that was made of log entries and timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogMaterialUse {
    /// All were verified, or there were none.
    Verified,
    /// There were some, and no trust root to verify them with.
    Skipped,
}

/// Times at which a signature is known to have existed.
struct SigningTimes(Vec<i64>);

impl SignerProof {
    pub(super) fn signature(&self) -> &SignatureProof {
        &self.signature
    }
    pub(super) fn algorithm(&self) -> &AlgorithmProof {
        &self.algorithm
    }
    pub(super) fn log(&self) -> &RequiredLog {
        &self.log
    }
    pub(super) fn times(&self) -> &RequiredTimes {
        &self.times
    }
    pub(super) fn log_material(&self) -> LogMaterialUse {
        self.log_material
    }

    /// The checks of the signer that were made.
    pub(super) fn checks(&self) -> Vec<Check> {
        let certificate = self.signature.certificate();
        let made = [
            (Check::KeySignature, certificate.is_none()),
            (Check::Certificate, certificate.is_some()),
            (Check::Log, self.log.proofs().logs() > 0),
            (Check::Timestamp, self.times.times().authorities() > 0),
            (Check::Sct, certificate.is_some_and(|certificate| certificate.ct_logs() > 0)),
        ];
        made.into_iter().filter_map(|(check, made)| made.then_some(check)).collect()
    }
}

/// Makes every check of the signer.
pub(super) fn verify(
    material: &SignatureMaterial<'_>,
    authority: &Authority,
    context: &VerificationContext<'_>,
) -> Result<SignerProof, Reject> {
    match authority {
        Authority::Keys(keys) => by_keys(material, keys, context),
        Authority::Identities(identities) => by_identities(material, identities, context),
    }
}

fn by_keys(
    material: &SignatureMaterial<'_>,
    keys: &KeyAuthority,
    context: &VerificationContext<'_>,
) -> Result<SignerProof, Reject> {
    let signature = signature::verify(material, AuthorizedKeys::of_authority(keys))?;
    let times = verify_times(material, context)?;
    let log = verify_log(material, context, Signer::Key(signature.key()), &times)?;
    let algorithm = log.check_algorithm(signature.algorithm())?;
    let log_material = match context.root {
        None if !material.log.is_empty() => LogMaterialUse::Skipped,
        None | Some(_) => LogMaterialUse::Verified,
    };
    Ok(SignerProof { signature, algorithm, log, times, log_material })
}

fn by_identities(
    material: &SignatureMaterial<'_>,
    identities: &IdentityAuthority,
    context: &VerificationContext<'_>,
) -> Result<SignerProof, Reject> {
    if identities.identities.is_empty() {
        return Err(Reject::NoIdentity);
    }
    let presented = material.certificate.ok_or(Reject::NoCertificate)?;
    let root = context.root.ok_or(Reject::NoTrustRoot)?;
    let times = verify_times(material, context)?;
    let log = verify_log(material, context, Signer::Certificate(presented.leaf), &times)?;
    let SigningTimes(at) = SigningTimes::of(&times, &log, context);
    let certified = certify(presented, root, &at, context.requirements.sct_requirement())?;
    let keys = AuthorizedKeys::of_certificate(certified, identities)?;
    let signature = signature::verify(material, keys)?;
    let algorithm = log.check_algorithm(signature.algorithm())?;
    let log_material = LogMaterialUse::Verified;
    Ok(SignerProof { signature, algorithm, log, times, log_material })
}

impl SigningTimes {
    /// The times of timestamps and log entries; without any, the time of verification where
    /// neither is required.
    fn of(times: &RequiredTimes, log: &RequiredLog, context: &VerificationContext<'_>) -> Self {
        let signed = [times.times().seconds(), log.integrated_times()].concat();
        match signed.is_empty() && context.requirements.trusts_now() {
            true => Self(vec![context.now]),
            false => Self(signed),
        }
    }
}

fn verify_times(
    material: &SignatureMaterial<'_>,
    context: &VerificationContext<'_>,
) -> Result<RequiredTimes, Reject> {
    let responses = &material.log.timestamps;
    verify_timestamps(responses, context.root, material.signature)?
        .require(context.requirements.timestamp())
}

fn verify_log(
    material: &SignatureMaterial<'_>,
    context: &VerificationContext<'_>,
    signer: Signer<'_>,
    times: &RequiredTimes,
) -> Result<RequiredLog, Reject> {
    let digests = match context.root.is_some() && !material.log.entries.is_empty() {
        true => material.content.digests(),
        false => Vec::new(),
    };
    let content = match material.content.envelope() {
        Some(envelope) => LoggedContent::Envelope { envelope, text: None },
        None => LoggedContent::Message(&digests),
    };
    let logged = Logged { signature: material.signature, signer, content };
    // Without a signed time, an entry that is here was made until now.
    let mut at = times.times().seconds();
    if at.is_empty() {
        at.push(context.now);
    }
    log::verify_entries(&material.log.entries, material.entry_format, context.root, &logged, &at)?
        .require(context.requirements.log())
}
