//! The deadline of an admission: the timeout that the API server gives in `?timeout=10s`, and a
//! margin before it at which the gate denies whatever happened, so that the user reads the gate's
//! denial and not the API server's timeout.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::Limits;

/// The deadlines of one admission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// The moment at which the API server stops waiting.
    pub(crate) api_server: Instant,
    /// The moment at which the gate denies without a decision.
    pub(crate) gate: Instant,
}

impl Deadline {
    /// Reads the query of the request's URL, for a request received at `now`.
    ///
    /// A `timeout` that is missing, longer or cannot be parsed counts as
    /// [`Limits::webhook_timeout`].
    pub(crate) fn new(now: Instant, query: Option<&str>, limits: &Limits) -> Self {
        let given = query
            .unwrap_or_default()
            .split('&')
            .find_map(|pair| pair.strip_prefix("timeout="))
            .and_then(go_duration)
            .unwrap_or(limits.webhook_timeout)
            .min(limits.webhook_timeout);
        let margin = (given / 8).min(Duration::from_millis(500));
        Self { api_server: now + given, gate: now + given.saturating_sub(margin) }
    }
}

/// Parses a duration as Go prints it: `10s`, `1m30s`, `500ms`, `1.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = number.parse::<f64>().ok()? * seconds_of(unit)?;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = tail;
    }
    (!total.is_zero()).then_some(total)
}

fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: Option<&str>) -> (u128, u128) {
        let now = Instant::now();
        let deadline = Deadline::new(now, query, &Limits::default());
        let after = |moment: Instant| (moment - now).as_millis();
        (after(deadline.api_server), after(deadline.gate))
    }

    #[test]
    fn keeps_a_margin_before_the_api_servers_timeout() {
        assert_eq!(of(Some("timeout=10s")), (10_000, 9_500));
        assert_eq!(of(Some("a=b&timeout=1s")), (1_000, 875));
        assert_eq!(of(Some("timeout=1h30s")), (10_000, 9_500));
        assert_eq!(of(None), (10_000, 9_500));
    }

    #[test]
    fn reads_what_go_prints_and_nothing_else() {
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(go_duration("500ms"), Some(Duration::from_millis(500)));
        for bad in ["", "10", "s", "-1s", "1x", "0s", "1e9s", "..s", "99999999999999999999h"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
        assert_eq!(of(Some("timeout=never")), (10_000, 9_500));
    }
}
