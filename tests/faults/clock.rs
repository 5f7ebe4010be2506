//! Time: a clock that is wrong takes nothing, a value that is no time is no age, and the daily reset comes at its local
//! hour, also on the days on which that hour is skipped or comes twice.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;

use crate::ledger;
use support::openclaw::Fate;
use support::{NOW, Store, StoreBuilder, verdict};

const PART: &str = "time";
const STORE: &str = "agents/main/sessions/sessions.json";
const ODD: &str = "agent:main:hook:1";
const STALE: &str = "agent:main:telegram:direct:1";
const FRESH: &str = "agent:main:telegram:direct:2";

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn two(at: &str) -> StoreBuilder {
    StoreBuilder::at(at)
        .agent("main")
        .binding(STALE, |one| one.idle("9d").session_id("one"))
        .binding(FRESH, |one| one.idle("1h").session_id("two"))
}

/// A dry run and a scan say the same of every key.
fn agreed(store: &Store, keys: &[&str], args: &[&str]) -> Vec<String> {
    let scan = store.scan(args);
    let dry = store.gc([&["-n"], args].concat());
    assert!(matches!(dry.code, Some(0 | 4)), "{dry}");
    let dry = dry.json();
    let said = keys.iter().map(|key| {
        let said = verdict(&scan, key);
        assert_eq!(said, verdict(&dry, key), "{key}: scan and gc -n");
        said
    });
    said.collect()
}

#[test]
fn what_is_no_time_is_no_age() {
    let faults = [
        "0",
        "-0",
        "-1",
        "-1795386600000",
        "1",
        "1795386600",
        "2147483647",
        "2147483648",
        "4294967296",
        "2147483648000",
        "4294967296000",
        "253402300799000",
        "8640000000000001",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551616",
        "1e300",
        "-1e300",
        "1e999",
        "1e-300",
        "\"1795386600000\"",
        "[]",
        "{}",
        "true",
    ];
    ledger::each(PART, "values that are no time", &faults, |value| {
        let store = two(NOW).binding(ODD, |one| one.field("updatedAt", 424_242).fate(Fate::Fresh)).build_in_memory();
        let text = String::from_utf8(store.read(STORE)).unwrap();
        store.write(STORE, text.replace("424242", value));
        let before = store.tree().contents();
        let args = ["--idle", "1d", "--max-age", "1d", "--now", NOW];
        let said = agreed(&store, &[ODD, STALE, FRESH], &args);
        assert_eq!(said, ["keep age-unknown", "expire max-age", "keep within-limits"], "{value}");
        store.gc(args).ok();
        assert!(String::from_utf8(store.read(STORE)).unwrap().contains(ODD), "{value}: it is gone");
        store.restore_latest().ok();
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{value}\n{diff}");
    });
}

#[test]
fn a_clock_that_is_years_off_takes_nothing() {
    let ahead = [
        "2028-02-29T12:00:00Z",
        "2031-11-22T22:30:00Z",
        "2038-01-19T03:14:07Z",
        "2038-01-19T03:14:08Z",
        "2106-02-07T06:28:16Z",
        "2262-04-11T23:47:17Z",
        "9999-12-31T23:59:59Z",
    ];
    let back = [
        "2025-11-22T22:30:00Z",
        "2024-02-29T12:00:00Z",
        "2000-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1901-12-13T20:45:51Z",
        "1677-09-21T00:12:43Z",
        "0001-01-01T00:00:00Z",
    ];
    let faults: Vec<_> = ahead.iter().map(|now| (*now, 4)).chain(back.iter().map(|now| (*now, 0))).collect();
    ledger::each(PART, "clocks that are years off", &faults, |&(now, code)| {
        let store = two(NOW).orphan("three", "9d").build_in_memory();
        let before = store.tree().contents();
        agreed(&store, &[STALE, FRESH], &["--now", now]);
        let output = store.run(["gc", "--now", now]).code(code);
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{now}\n{diff}\n{output}");
    });
}

#[test]
fn a_modification_time_is_no_age() {
    let faults = [-2_208_988_800, -1, 0, 1, 2_147_483_647, 2_147_483_648, 4_294_967_296, 9_000_000_000];
    ledger::each(PART, "modification times", &faults, |&seconds| {
        let store = two(NOW).build_in_memory();
        for file in store.tree().files() {
            store.set_mtime(file, DateTime::from_timestamp(seconds, 0).unwrap());
        }
        let before = store.tree().contents();
        let args = ["--idle", "1d", "--now", NOW];
        assert_eq!(agreed(&store, &[STALE, FRESH], &args), ["expire idle", "keep within-limits"], "{seconds}");
        store.gc(args).ok();
        store.restore_latest().ok();
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{seconds}\n{diff}");
    });
}

#[test]
fn a_leap_day_is_a_day() {
    let faults = [("2028-03-01T00:00:00Z", "1d"), ("2028-03-01T00:00:00Z", "2d"), ("2028-02-29T23:59:59Z", "1d")];
    ledger::each(PART, "leap days", &faults, |&(now, idle)| {
        let store = StoreBuilder::at(now).agent("main").binding(STALE, |one| one.idle(idle)).build_in_memory();
        assert_eq!(agreed(&store, &[STALE], &["--idle", idle, "--now", now]), ["expire idle"]);
        let longer = format!("{idle}1s");
        assert_eq!(agreed(&store, &[STALE], &["--idle", &longer, "--now", now]), ["keep within-limits"]);
    });
}

/// The last minute up to `now` at which a local day reached this hour, found by looking at the clock.
fn last_reset(now: DateTime<Utc>, hour: u32, zone: Tz) -> DateTime<Utc> {
    let shows = |at: DateTime<Utc>| at.with_timezone(&zone);
    let begins = |at: &DateTime<Utc>| {
        let (before, is) = (shows(*at - TimeDelta::minutes(1)), shows(*at));
        is.hour() >= hour && (before.hour() < hour || before.date_naive() != is.date_naive())
    };
    (0..49 * 60).map(|minutes| now - TimeDelta::minutes(minutes)).find(begins).unwrap()
}

#[test]
fn the_daily_reset_comes_at_its_local_hour_through_every_change_of_the_clock() {
    if !Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
        return ledger::skip(PART, "the daily reset", "no time zones are installed");
    }
    // The day, its zone, and the hour of the reset: an hour that is skipped, one that comes twice, and no change.
    let mut faults = Vec::new();
    for (zone, day, hour) in [
        ("Europe/Berlin", "2027-03-28", 4),
        ("Europe/Berlin", "2027-03-28", 2),
        ("Europe/Berlin", "2026-10-25", 4),
        ("Europe/Berlin", "2026-10-25", 2),
        ("America/New_York", "2027-03-14", 2),
        ("America/New_York", "2026-11-01", 1),
        ("Australia/Lord_Howe", "2026-10-04", 2),
        ("Australia/Lord_Howe", "2027-04-04", 2),
        ("Pacific/Apia", "2021-04-04", 4),
        ("Pacific/Kiritimati", "2026-11-22", 4),
        ("Asia/Kathmandu", "2028-02-29", 4),
    ] {
        faults.extend([-1, 0, 24].map(|hours| (zone, day, hour, hours)));
    }
    ledger::each(PART, "the daily reset", &faults, |&(name, day, hour, hours)| {
        let zone: Tz = name.parse().unwrap();
        let noon = utc(&format!("{day}T12:00:00Z")).naive_utc().and_local_timezone(zone).unwrap().with_timezone(&Utc);
        let reset = last_reset(noon + TimeDelta::hours(hours), hour, zone);
        // Just before the reset and at it, seen at the reset, a moment before it, and an hour later.
        for now in [reset - TimeDelta::seconds(1), reset, reset + TimeDelta::hours(1)] {
            let last = last_reset(now, hour, zone);
            for active in [reset - TimeDelta::hours(2), reset - TimeDelta::minutes(20), reset] {
                if active > now {
                    continue;
                }
                let now = now.to_rfc3339();
                let idle = format!("{}s", (utc(&now) - active).num_seconds());
                let store = StoreBuilder::at(&now)
                    .config(&format!(r#"{{"session": {{"reset": {{"mode": "daily", "atHour": {hour}}}}}}}"#))
                    .agent("main")
                    .binding(STALE, |one| one.idle(&idle))
                    .build_in_memory();
                let args = ["scan", "--json", "--grace", "1s", "--now", &now];
                let said = verdict(&store.run_env(args, &[("TZ", name)]).ok().json(), STALE);
                let stale = active < last;
                let told = format!("{name}, {hour}:00, active {active}, now {now}");
                assert_eq!(said == "expire reset-stale", stale, "{told}: {said}");
            }
        }
    });
}
