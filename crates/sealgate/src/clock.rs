//! Clocks of the process.

use jiff::Timestamp;
use sealgate_engine::ports::Clock;

use crate::failure::CliError;

/// The system clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The time that is written into created artifacts: `SOURCE_DATE_EPOCH` if set (reproducible
/// builds), else the current time. Never used for verification.
pub(crate) struct BuildClock(Timestamp);

impl BuildClock {
    /// Reads the variable.
    pub(crate) fn from_env() -> Result<Self, CliError> {
        match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) if !text.is_empty() => text
                .parse()
                .ok()
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .map(Self)
                .ok_or_else(|| CliError::new(format!("invalid SOURCE_DATE_EPOCH: {text:?}"))),
            _ => Ok(Self(Timestamp::now())),
        }
    }
}

impl Clock for BuildClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}
