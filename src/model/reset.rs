//! OpenClaw's reset rule: when the next message would start a new session (`openclaw-format.md` §7.1, §12).

use std::collections::BTreeMap;

use chrono::{DateTime, Days, Duration, NaiveDateTime, Offset as _, TimeZone, Utc};

use super::key::Class;

/// One reset setting as written; a field that is absent inherits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetSetting {
    /// `mode`: daily or idle.
    pub mode: Option<ResetMode>,
    /// `atHour`, 0 to 23, the gateway's local time.
    pub at_hour: Option<u32>,
    /// `idleMinutes`, at least 1.
    pub idle_minutes: Option<u32>,
}

/// `session.reset.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetMode {
    /// A new session after the daily hour.
    Daily,
    /// A new session after some idle minutes.
    Idle,
}

/// `session.reset`, `resetByType`, `resetByChannel` and the legacy `idleMinutes` of `openclaw.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetRules {
    /// `session.reset`.
    pub base: Option<ResetSetting>,
    /// `session.resetByType`, by `direct`, `dm`, `group`, `thread`.
    pub by_type: BTreeMap<String, ResetSetting>,
    /// `session.resetByChannel`, by lower-case channel.
    pub by_channel: BTreeMap<String, ResetSetting>,
    /// `session.idleMinutes`, legacy.
    pub idle_minutes: Option<u32>,
}

/// What holds for one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetPolicy {
    /// The local hour of the daily reset, when there is one.
    pub daily_at_hour: Option<u32>,
    /// Idle minutes after which the session is stale, when limited.
    pub idle_minutes: Option<u32>,
}

impl ResetRules {
    /// Returns the kind of conversation that a class is for `session.resetByType`.
    pub const fn kind(class: Class) -> &'static str {
        match class {
            Class::Topic | Class::Thread => "thread",
            Class::Group | Class::Channel => "group",
            _ => "direct",
        }
    }

    /// The setting for a binding of this class and channel: the channel's own, else the type's over the base.
    pub fn resolve(&self, class: Class, channel: Option<&str>) -> ResetPolicy {
        let by_channel = channel.and_then(|name| self.by_channel.get(&name.to_lowercase()));
        let kind = Self::kind(class);
        let by_type = match by_channel {
            Some(_) => None,
            None => self.by_type.get(kind).or_else(|| (kind == "direct").then(|| self.by_type.get("dm")).flatten()),
        };
        let base = by_channel.or(self.base.as_ref());
        let legacy = if by_channel.is_some() { None } else { self.idle_minutes };
        let explicit = base.is_some() || !self.by_type.is_empty();
        let pick = |field: fn(&ResetSetting) -> Option<u32>| by_type.and_then(field).or_else(|| base.and_then(field));
        let mode = by_type
            .and_then(|s| s.mode)
            .or_else(|| base.and_then(|s| s.mode))
            .unwrap_or(if !explicit && legacy.is_some() { ResetMode::Idle } else { ResetMode::Daily });
        let idle = pick(|s| s.idle_minutes).or(legacy).map(|minutes| minutes.max(1));
        match mode {
            ResetMode::Daily => {
                let hour = pick(|s| s.at_hour).unwrap_or(4).min(23);
                ResetPolicy { daily_at_hour: Some(hour), idle_minutes: idle }
            }
            ResetMode::Idle => ResetPolicy { daily_at_hour: None, idle_minutes: Some(idle.unwrap_or(60)) },
        }
    }
}

impl ResetPolicy {
    /// Whether OpenClaw would start a new session at a message that arrives `now`. `zone` is the gateway's time zone.
    pub fn is_stale<Tz: TimeZone>(self, last_activity: DateTime<Utc>, now: DateTime<Utc>, zone: &Tz) -> bool {
        let daily = self.daily_at_hour.is_some_and(|hour| last_activity < last_boundary(now, hour, zone));
        let idle = self.idle_minutes.is_some_and(|minutes| now > last_activity + Duration::minutes(minutes.into()));
        daily || idle
    }
}

/// The last daily reset before `now`. An hour that a DST change skips is taken as much later as the
/// change is long, one that comes twice at its first coming: as JavaScript's `Date.setHours` does.
fn last_boundary<Tz: TimeZone>(now: DateTime<Utc>, hour: u32, zone: &Tz) -> DateTime<Utc> {
    let local = now.with_timezone(zone);
    let today = local.date_naive();
    let offset = |utc: NaiveDateTime| zone.offset_from_utc_datetime(&utc).fix();
    let at = |date: chrono::NaiveDate| {
        let naive = date.and_hms_opt(hour, 0, 0)?;
        // A day earlier, taken for UTC, lies before the change in every zone. Asked by UTC only: how a zone answers for
        // a local time that comes twice differs from zone to zone.
        let before = offset(naive - Duration::days(1));
        let first = naive - before;
        let later = naive - offset(first);
        let changed = offset(first) != before && offset(later) == offset(first);
        Some(if changed { later } else { first }.and_utc())
    };
    let boundary = at(today).unwrap_or(now);
    if boundary <= now {
        return boundary;
    }
    today.checked_sub_days(Days::new(1)).and_then(at).unwrap_or(boundary)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use chrono_tz::Europe::Berlin;
    use chrono_tz::Tz;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    fn daily(hour: u32) -> ResetPolicy {
        ResetPolicy { daily_at_hour: Some(hour), idle_minutes: None }
    }

    fn setting(mode: ResetMode, hour: Option<u32>, idle: Option<u32>) -> ResetSetting {
        ResetSetting { mode: Some(mode), at_hour: hour, idle_minutes: idle }
    }

    #[test]
    fn a_session_is_stale_once_the_daily_hour_has_passed_since_its_last_activity() {
        let zone = Tz::UTC;
        let active = utc("2026-11-22T22:00:00Z");
        assert!(!daily(4).is_stale(active, utc("2026-11-23T03:59:59Z"), &zone));
        assert!(daily(4).is_stale(active, utc("2026-11-23T04:00:00Z"), &zone));
        assert!(!daily(4).is_stale(utc("2026-11-23T04:00:00Z"), utc("2026-11-24T03:00:00Z"), &zone));
    }

    #[test]
    fn the_hour_is_local() {
        // 4:00 in Berlin is 3:00 UTC in winter and 2:00 UTC in summer.
        assert!(daily(4).is_stale(utc("2026-11-23T02:59:00Z"), utc("2026-11-23T03:00:00Z"), &Berlin));
        assert!(!daily(4).is_stale(utc("2026-07-01T02:00:00Z"), utc("2026-07-01T12:00:00Z"), &Berlin));
        assert!(daily(4).is_stale(utc("2026-07-01T01:59:00Z"), utc("2026-07-01T02:00:00Z"), &Berlin));
    }

    #[test]
    fn an_hour_that_a_clock_change_skips_or_repeats_is_met_once() {
        // 2026-03-29: 2:00 becomes 3:00 (1:00 UTC). 2026-10-25: 3:00 becomes 2:00 (1:00 UTC).
        assert!(daily(2).is_stale(utc("2026-03-29T00:59:00Z"), utc("2026-03-29T01:00:00Z"), &Berlin));
        assert!(daily(2).is_stale(utc("2026-10-24T23:59:00Z"), utc("2026-10-25T00:00:00Z"), &Berlin));
        assert!(!daily(2).is_stale(utc("2026-10-25T00:30:00Z"), utc("2026-10-25T01:30:00Z"), &Berlin));
    }

    #[test]
    fn an_idle_limit_counts_from_the_last_activity() {
        let idle = ResetPolicy { daily_at_hour: None, idle_minutes: Some(60) };
        let active = utc("2026-11-22T22:00:00Z");
        assert!(!idle.is_stale(active, utc("2026-11-22T23:00:00Z"), &Tz::UTC));
        assert!(idle.is_stale(active, utc("2026-11-22T23:00:01Z"), &Tz::UTC));
    }

    #[test]
    fn without_configuration_it_is_daily_at_four() {
        assert_eq!(ResetRules::default().resolve(Class::Direct, None), daily(4));
    }

    #[test]
    fn the_legacy_idle_minutes_alone_mean_idle_mode() {
        let rules = ResetRules { idle_minutes: Some(30), ..ResetRules::default() };
        let idle = |minutes| ResetPolicy { daily_at_hour: None, idle_minutes: Some(minutes) };
        assert_eq!(rules.resolve(Class::Direct, None), idle(30));
        let with_base = ResetRules { base: Some(setting(ResetMode::Daily, Some(5), None)), ..rules };
        assert_eq!(
            with_base.resolve(Class::Direct, None),
            ResetPolicy { daily_at_hour: Some(5), idle_minutes: Some(30) }
        );
    }

    #[test]
    fn a_type_overrides_the_base_and_a_channel_overrides_both() {
        let rules = ResetRules {
            base: Some(setting(ResetMode::Daily, Some(6), None)),
            by_type: BTreeMap::from([
                ("group".to_owned(), setting(ResetMode::Idle, None, Some(120))),
                ("dm".to_owned(), setting(ResetMode::Idle, None, None)),
            ]),
            by_channel: BTreeMap::from([("slack".to_owned(), setting(ResetMode::Idle, None, Some(5)))]),
            idle_minutes: None,
        };
        let idle = |minutes| ResetPolicy { daily_at_hour: None, idle_minutes: Some(minutes) };
        assert_eq!(rules.resolve(Class::Thread, None), daily(6));
        assert_eq!(rules.resolve(Class::Channel, None), idle(120));
        assert_eq!(rules.resolve(Class::Direct, None), idle(60));
        assert_eq!(rules.resolve(Class::Group, Some("Slack")), idle(5));
    }
}
