//! Durations, in two grammars: ours, where a unit is required, and OpenClaw's, where a bare number has a unit that
//! depends on the setting (`openclaw-format.md` §7.1).

use chrono::TimeDelta;
use serde_json::Value;

/// A limit that can be switched off; `None` is off.
pub type Limit = Option<TimeDelta>;

/// Longer than any store is old, short enough that `now - limit` is always a date.
const LONGEST: TimeDelta = TimeDelta::days(365_000);

const UNITS: [(&str, TimeDelta); 5] = [
    ("w", TimeDelta::weeks(1)),
    ("d", TimeDelta::days(1)),
    ("h", TimeDelta::hours(1)),
    ("m", TimeDelta::minutes(1)),
    ("s", TimeDelta::seconds(1)),
];

/// A duration of an option or of the policy file: whole numbers, each with a unit, the larger unit first.
pub fn parse(text: &str) -> Result<TimeDelta, String> {
    parse_units(text).map_err(|problem| {
        format!("'{text}' {problem}: use a number with a unit, such as 90s, 30m, 24h, 7d, 2w or 1h30m")
    })
}

/// As [`parse`], or `off`.
pub fn parse_or_off(text: &str) -> Result<Limit, String> {
    match text {
        "off" => Ok(None),
        _ => parse(text).map(Some).map_err(|problem| problem + ", or 'off'"),
    }
}

fn parse_units(text: &str) -> Result<TimeDelta, &'static str> {
    const WRONG: &str = "is not a duration";
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = TimeDelta::zero();
    while !rest.is_empty() {
        let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
        let (name, after) = split_while(after, char::is_alphabetic);
        if digits.is_empty() {
            return Err(WRONG);
        }
        if name.is_empty() {
            return Err("has no unit");
        }
        // The iterator is not rewound, so a unit cannot come twice or after a smaller one.
        let (_, unit) = units.find(|(known, _)| *known == name).ok_or(WRONG)?;
        let count: i32 = digits.parse().map_err(|_| "is too long")?;
        total += *unit * count;
        rest = after;
    }
    match total {
        _ if text.is_empty() => Err(WRONG),
        total if total.is_zero() => Err("is zero"),
        total if total > LONGEST => Err("is too long"),
        total => Ok(total),
    }
}

/// A duration of `openclaw.json`: a number, or a string of one number with or without a unit, or a sequence such as
/// `1h30m` (`openclaw-format.md` §7.1). `default_unit` (`h`, `d`, …) is that of a bare number. What is longer than a
/// thousand years is cut to that.
pub fn parse_openclaw(value: &Value, default_unit: char) -> Option<TimeDelta> {
    let milliseconds = match value {
        Value::Number(number) => number.as_f64()? * unit_milliseconds(&default_unit.to_string())?,
        Value::String(text) => openclaw_text(&text.trim().to_lowercase(), default_unit)?,
        _ => return None,
    };
    from_milliseconds(milliseconds)
}

/// Hours of `openclaw.json`, such as `idleHours`; `None` when negative.
pub fn from_hours(hours: f64) -> Option<TimeDelta> {
    from_milliseconds(hours * 3_600_000.0)
}

fn from_milliseconds(milliseconds: f64) -> Option<TimeDelta> {
    (milliseconds >= 0.0).then(|| TimeDelta::milliseconds(milliseconds.round() as i64).min(LONGEST))
}

fn openclaw_text(text: &str, default_unit: char) -> Option<f64> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Some(decimal(text)? * unit_milliseconds(&default_unit.to_string())?);
    }
    let mut total = 0.0;
    let mut rest = text;
    loop {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_while(after, char::is_alphabetic);
        total += decimal(number)? * unit_milliseconds(unit)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
}

/// `12` or `1.5`; not `.5`, `5.`, `1.2.3`.
fn decimal(text: &str) -> Option<f64> {
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    (digits(whole) && digits(fraction)).then(|| text.parse().ok()).flatten()
}

fn unit_milliseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    })
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// The short form: `24h`, `1h30m`, `5d`. Below two days in hours, since `36h` says more than `1d12h`.
pub fn display(duration: TimeDelta) -> String {
    if duration < TimeDelta::zero() {
        return format!("-{}", display(-duration));
    }
    let seconds = duration.num_seconds();
    if seconds == 0 {
        let milliseconds = duration.num_milliseconds();
        return if milliseconds == 0 { "0s".to_owned() } else { format!("{milliseconds}ms") };
    }
    let days = if seconds < 2 * 86_400 { 0 } else { seconds / 86_400 };
    let hours = seconds / 3_600 - days * 24;
    let parts = [(days, 'd'), (hours, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let shown = parts.iter().filter(|(count, _)| *count > 0);
    shown.fold(String::new(), |text, (count, unit)| text + &format!("{count}{unit}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[track_caller]
    fn seconds(text: &str, expected: i64) {
        assert_eq!(parse(text), Ok(TimeDelta::seconds(expected)), "{text}");
    }

    #[test]
    fn every_unit_and_a_sequence_of_them_is_read() {
        seconds("90s", 90);
        seconds("30m", 1_800);
        seconds("24h", 86_400);
        seconds("7d", 604_800);
        seconds("2w", 1_209_600);
        seconds("1h30m", 5_400);
        seconds("1w2d3h4m5s", 788_645);
        seconds("0h5m", 300);
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_what_is_accepted() {
        for text in
            ["", "5", "h", "-5h", "+5h", "1.5h", "5x", "5H", "5h 30m", " 5h", "30m1h", "1h1h", "1h30", "5ms", "5µ"]
        {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains("24h") && problem.starts_with(&format!("'{text}'")), "{problem}");
        }
        assert!(parse("5").unwrap_err().contains("has no unit"));
        assert!(parse("0h").unwrap_err().contains("is zero"));
        for text in ["99999999999d", "2147483647w", "365001d"] {
            assert!(parse(text).unwrap_err().contains("is too long"), "{text}");
        }
    }

    #[test]
    fn off_is_accepted_only_where_a_limit_can_be_off() {
        assert_eq!(parse_or_off("off"), Ok(None));
        assert_eq!(parse_or_off("1d"), Ok(Some(TimeDelta::days(1))));
        assert!(parse_or_off("OFF").unwrap_err().ends_with("or 'off'"));
        assert!(parse("off").is_err());
    }

    #[track_caller]
    fn openclaw(value: &Value, expected: Option<i64>) {
        let parsed = parse_openclaw(value, 'd').map(|duration| duration.num_milliseconds());
        assert_eq!(parsed, expected, "{value}");
    }

    #[test]
    fn openclaws_bare_numbers_take_the_settings_unit() {
        openclaw(&json!(30), Some(30 * 86_400_000));
        openclaw(&json!("30"), Some(30 * 86_400_000));
        openclaw(&json!(0.5), Some(43_200_000));
        openclaw(&json!(0), Some(0));
        assert_eq!(parse_openclaw(&json!("24"), 'h'), Some(TimeDelta::hours(24)));
    }

    #[test]
    fn openclaws_strings_are_trimmed_caseless_and_may_be_sequences() {
        openclaw(&json!(" 24H "), Some(86_400_000));
        openclaw(&json!("1.5h"), Some(5_400_000));
        openclaw(&json!("250ms"), Some(250));
        openclaw(&json!("1h30m"), Some(5_400_000));
        openclaw(&json!("0.4ms"), Some(0));
    }

    #[test]
    fn openclaws_wrong_durations_are_none() {
        for value in [
            json!(""),
            json!("h"),
            json!("-1h"),
            json!("1h30"),
            json!("1h 30m"),
            json!("1w"),
            json!(".5h"),
            json!("5.h"),
            json!("1.2.3h"),
            json!(-1),
            json!(true),
            json!(null),
            json!([]),
            json!("1e3"),
            json!("."),
        ] {
            openclaw(&value, None);
        }
    }

    #[test]
    fn a_huge_duration_of_openclaw_is_cut_and_stays_usable() {
        assert_eq!(parse_openclaw(&json!(1e300), 'd'), Some(LONGEST));
        assert_eq!(from_hours(f64::MAX), Some(LONGEST));
        let now = chrono::DateTime::UNIX_EPOCH;
        assert!(now.checked_sub_signed(LONGEST).is_some());
    }

    #[test]
    fn the_short_form_is_exact_and_reads_back() {
        for (given, shown) in [
            ("24h", "24h"),
            ("1d", "24h"),
            ("36h", "36h"),
            ("5d", "5d"),
            ("2w", "14d"),
            ("49h", "2d1h"),
            ("1h30m", "1h30m"),
            ("90s", "1m30s"),
            ("3600s", "1h"),
        ] {
            assert_eq!(display(parse(given).unwrap()), shown);
            assert_eq!(parse(shown), parse(given));
        }
        assert_eq!(display(TimeDelta::milliseconds(250)), "250ms");
        assert_eq!(display(TimeDelta::zero()), "0s");
        assert_eq!(display(TimeDelta::minutes(-5)), "-5m");
    }
}
