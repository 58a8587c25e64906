//! Times of a trusted root: RFC 3339 to whole seconds since 1970.

/// End of a validity period, which decides how a fraction of a second is rounded: a period in whole
/// seconds never contains a second that the written one does not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
}

/// Seconds since 1970 of a text such as `2022-12-31T23:59:59.999Z` or `…+01:00`.
pub(crate) fn seconds(text: &str, edge: Edge) -> Option<i64> {
    let (date_time, rest) = (text.get(..19)?, text.get(19..)?);
    let bytes = date_time.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, want)| bytes.get(*at) != Some(want)) {
        return None;
    }
    let field = |from: usize, to: usize| digits(date_time.get(from..to)?);
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let in_range = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = split_fraction(rest)?;
    let carry = i64::from(fraction && edge == Edge::Start);
    let local = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(local - offset(zone)? + carry)
}

/// Reads a fraction of a second: true if it is not zero, and the remaining text.
fn split_fraction(rest: &str) -> Option<(bool, &str)> {
    let Some(fraction) = rest.strip_prefix('.') else { return Some((false, rest)) };
    let end = fraction.bytes().position(|b| !b.is_ascii_digit())?;
    let (digits, zone) = fraction.split_at_checked(end)?;
    let usable = (1..=9).contains(&digits.len());
    usable.then(|| (digits.bytes().any(|b| b != b'0'), zone))
}

fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, clock) = match zone.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    if clock.len() != 5 || hours.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &str) -> Option<i64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, in the Gregorian calendar continued backwards.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let of_months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    // 719_162 days lie between 0001-01-01 and 1970-01-01.
    before * 365 + leap_days + of_months + day - 1 - 719_162
}

/// As RFC 3339, UTC. Times before year 1 or after 9999 are cut to that.
pub(crate) fn text(seconds: i64) -> String {
    const FIRST: i64 = -62_135_596_800;
    const LAST: i64 = 253_402_300_799;
    let seconds = seconds.clamp(FIRST, LAST);
    let (mut rest, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // From an estimate that is never too late, on to the year and the month.
    let mut year = (1970 + rest.div_euclid(366)).min(1970 + rest.div_euclid(365)).max(1);
    while days(year + 1, 1, 1) <= rest {
        year += 1;
    }
    rest -= days(year, 1, 1);
    let mut month = 1;
    while rest >= days_of(year, month) {
        rest -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", rest + 1)
}
