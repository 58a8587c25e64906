//! TSTInfo (RFC 3161, section 2.4.2): message imprint and time of a timestamp.

use der::asn1::{AnyRef, IntRef, OctetStringRef};
use der::{DateTime, Tag};

use super::fields::{Fields, context, hash};
use crate::digest::{Algorithm, Digest};
use crate::reject::{Foreign, TimestampReject};

const MAX_EXTENSIONS: usize = 32;
/// The maximum number of fractional digits of a second.
const MAX_FRACTION: usize = 12;

/// The contents of a timestamp.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TstInfo {
    pub(super) imprint: Imprint,
    /// Whole seconds since 1970.
    pub(super) seconds: i64,
}

/// The message imprint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Imprint {
    hash: Algorithm,
    hex: String,
}

impl TstInfo {
    pub(super) fn parse(der: &[u8]) -> Result<Self, TimestampReject> {
        let mut fields = Fields::of_bytes(der)?;
        if fields.next::<u64>()? != 1 {
            return Err(TimestampReject::Version);
        }
        fields.oid()?; // the authority's policy
        let mut imprint = fields.sequence()?;
        let hash = hash(imprint.sequence()?)?;
        let hex = hex::encode(imprint.next::<&OctetStringRef>()?.as_bytes());
        imprint.finish()?;
        serial_number(&mut fields)?;
        let seconds = fields.optional(Tag::GeneralizedTime)?;
        let seconds = seconds.ok_or_else(|| TimestampReject::Time(Foreign::new("none")))?;
        let seconds = generalized_time(seconds.value())?;
        fields.optional(Tag::Sequence)?; // accuracy
        fields.optional_of::<bool>()?; // ordering
        fields.optional(Tag::Integer)?; // nonce: whoever asked has compared it
        fields.optional(context(0))?; // the authority's name: its certificate has it
        if let Some(extensions) = fields.optional(context(1))? {
            refuse_critical(Fields::of(extensions, context(1))?)?;
        }
        fields.finish()?;
        Ok(Self { imprint: Imprint { hash, hex }, seconds })
    }
}

/// Proof that a message imprint is the hash of the signature. Made by [`Imprint::check`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImprintProof(());

impl Imprint {
    /// Compares the imprint with the hash of `bytes`.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<ImprintProof, TimestampReject> {
        match self.matches(bytes) {
            true => Ok(ImprintProof(())),
            false => Err(TimestampReject::Imprint),
        }
    }

    /// True if it is the hash of `bytes`.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        Digest::with(self.hash, bytes).hex() == self.hex
    }
}

/// Parses a required number that has no effect; some authorities write negative ones.
fn serial_number(fields: &mut Fields<'_>) -> Result<(), TimestampReject> {
    fields.next::<IntRef<'_>>().map(|_| ())
}

/// Refuses critical extensions: none is supported.
fn refuse_critical(extensions: Fields<'_>) -> Result<(), TimestampReject> {
    for extension in extensions.all(MAX_EXTENSIONS, "extensions")? {
        let mut fields = Fields::of_bytes(extension)?;
        let oid = fields.oid()?;
        if fields.optional_of::<bool>()? == Some(true) {
            return Err(TimestampReject::CriticalExtension(Foreign::new(oid.to_string())));
        }
        fields.next::<AnyRef<'_>>()?;
        fields.finish()?;
    }
    Ok(())
}

/// `YYYYMMDDhhmmss[.f…]Z`: UTC, seconds always there, no leap second (RFC 3161, section 2.4.2).
fn generalized_time(bytes: &[u8]) -> Result<i64, TimestampReject> {
    let wrong = || TimestampReject::Time(Foreign::new(String::from_utf8_lossy(bytes)));
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('Z'));
    let text = text.ok_or_else(wrong)?;
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let usable = |text: &str| digits(text) && (1..=MAX_FRACTION).contains(&text.len());
    if clock.len() != 14 || !digits(clock) || !fraction.is_none_or(usable) {
        return Err(wrong());
    }
    let year = clock.get(..4).and_then(|year| year.parse().ok()).ok_or_else(wrong)?;
    let part = |at: usize| clock.get(at..at + 2).and_then(|part| part.parse::<u8>().ok());
    let (Some(month), Some(day), Some(hour), Some(minute), Some(second)) =
        (part(4), part(6), part(8), part(10), part(12))
    else {
        return Err(wrong());
    };
    let time = DateTime::new(year, month, day, hour, minute, second).map_err(|_| wrong())?;
    i64::try_from(time.unix_duration().as_secs()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_as_rfc_3161_writes_them() {
        for (text, seconds) in [
            ("19700101000000Z", Some(0)),
            ("20261121023538Z", Some(1_795_228_538)),
            ("20240229235959.999999999Z", Some(1_709_251_199)),
            ("20240229235959.5Z", Some(1_709_251_199)),
            ("20230229000000Z", None),
            ("19691231235959Z", None),
            ("20240101000060Z", None),
            ("20240101240000Z", None),
            ("20240101000000", None),
            ("20240101000000.Z", None),
            ("20240101000000,5Z", None),
            ("20240101000000.0000000000001Z", None),
            ("20240101000000+0100", None),
            ("202401010000Z", None),
            ("240101000000Z", None),
            ("2024010100000\u{661}Z", None),
            ("+0240101000000Z", None),
            ("Z", None),
            ("", None),
        ] {
            assert_eq!(generalized_time(text.as_bytes()).ok(), seconds, "{text}");
        }
        assert!(generalized_time(b"2024010100000\xffZ").is_err());
    }
}
