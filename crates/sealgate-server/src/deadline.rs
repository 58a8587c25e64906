//! How long an admission may take: what the API server says in `?timeout=10s`, less a margin, so
//! that our answer, not its time-out, is what the user reads.

use std::time::Duration;

/// What Kubernetes gives a webhook that says nothing else.
const DEFAULT: Duration = Duration::from_secs(10);

/// The time for one admission from the query of its URL; never longer than `longest`.
///
/// A `timeout` that cannot be read counts as Kubernetes' default of ten seconds.
pub(crate) fn from_query(query: Option<&str>, longest: Duration) -> Duration {
    let given = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("timeout="))
        .and_then(go_duration)
        .unwrap_or(DEFAULT);
    let margin = (given / 5).min(Duration::from_secs(1));
    given.saturating_sub(margin).min(longest)
}

/// A duration as Go prints it: `10s`, `1m30s`, `500ms`, `1.5s`.
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

    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn keeps_a_margin_under_the_servers_own_time() {
        assert_eq!(from_query(Some("timeout=10s"), LONGEST), Duration::from_secs(9));
        assert_eq!(from_query(Some("a=b&timeout=1s"), LONGEST), Duration::from_millis(800));
        assert_eq!(from_query(Some("timeout=1m30s"), LONGEST), LONGEST);
        assert_eq!(from_query(None, LONGEST), Duration::from_secs(9));
    }

    #[test]
    fn reads_what_go_prints_and_nothing_else() {
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(go_duration("500ms"), Some(Duration::from_millis(500)));
        for bad in ["", "10", "s", "-1s", "1x", "0s", "1e9s", "..s", "99999999999999999999h"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
        assert_eq!(from_query(Some("timeout=never"), LONGEST), Duration::from_secs(9));
    }
}
