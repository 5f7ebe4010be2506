//! The report as one page that stands alone: charts as inline SVG, a table of all bindings, nothing from elsewhere.

use std::collections::BTreeMap;

use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};
use indicatif::HumanBytes;

use super::{PastRun, ReportDocument, Share};
use crate::decide::facts::Elapsed;
use crate::decide::startup::{Load, Startup};
use crate::decide::verdict::Action;
use crate::render::escape::escape;
use crate::render::json::BindingDocument;
use crate::render::startup::words;
use crate::render::text::{coarse, cut_off, totals, worth_saying};
use crate::render::words::{Layout, count, thousands};

/// The page.
///
/// # Errors
///
/// When the template cannot be filled.
pub fn write(document: &ReportDocument, layout: &Layout) -> anyhow::Result<String> {
    let page = Page {
        state_dir: shown(&document.preamble.state_dir),
        version: shown(document.preamble.openclaw_version.as_deref().unwrap_or("of unknown version")),
        gateway: if document.preamble.gateway.alive { "alive" } else { "not running" },
        now: document.preamble.now.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        unfinished: cut_off(&document.preamble.unfinished, layout).map(|sentence| shown(&sentence)),
        warnings: document.preamble.warnings.iter().map(|warning| shown(warning)).collect(),
        broken: worth_saying(&document.stores)
            .filter_map(|store| {
                Some(format!("{} {}: {}", store.state.as_str(), shown(&store.path), shown(store.problem.as_ref()?)))
            })
            .collect(),
        agents: document
            .agents
            .iter()
            .map(PageRow::of)
            .chain([PageRow { name: "total".to_owned(), ..PageRow::of(&document.total) }])
            .collect(),
        tiles: tiles(document),
        bars: bars(document),
        lanes: lanes(&document.startup),
        growth: growth(document),
        planned: totals(&document.planned),
        deferred: document.deferred,
        past: document.history.iter().rev().take(20).map(PastPoint::of).collect(),
        next: document
            .next
            .iter()
            .map(|advice| (format!("{}{}", advice.command, shown(&layout.same_place)), shown(&advice.why)))
            .collect(),
        rows: rows(&document.bindings)?,
        bindings: document.bindings.len(),
    };
    Ok(page.render()?)
}

/// Text of a store: control characters are shown, and what is too long is cut.
fn shown(text: &str) -> String {
    let text = escape(text);
    if text.chars().count() <= LONGEST {
        text.into_owned()
    } else {
        text.chars().take(LONGEST).chain(['…']).collect()
    }
}

/// A longer word says nothing to a reader.
const LONGEST: usize = 300;

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    state_dir: String,
    version: String,
    gateway: &'static str,
    now: String,
    unfinished: Option<String>,
    warnings: Vec<String>,
    broken: Vec<String>,
    agents: Vec<PageRow>,
    tiles: Vec<Tile>,
    bars: Vec<Bars>,
    lanes: Lanes,
    growth: Option<Growth>,
    planned: String,
    deferred: usize,
    past: Vec<PastPoint>,
    next: Vec<(String, String)>,
    /// JSON for the table.
    rows: String,
    bindings: usize,
}

/// A figure that is seen first.
struct Tile {
    what: &'static str,
    value: String,
    tone: &'static str,
}

fn tiles(document: &ReportDocument) -> Vec<Tile> {
    let tone = |bad: bool| if bad { "bad" } else { "" };
    let total = &document.total;
    let worst = document.startup.before.worst_seconds;
    vec![
        Tile { what: "bindings", value: thousands(total.bindings), tone: "" },
        Tile { what: "size", value: HumanBytes(total.bytes).to_string(), tone: "" },
        Tile { what: "stale", value: thousands(total.stale), tone: if total.stale > 0 { "warn" } else { "" } },
        Tile { what: "failed", value: thousands(total.failed), tone: if total.failed > 0 { "warn" } else { "" } },
        Tile { what: "damaged", value: thousands(total.damaged), tone: tone(total.damaged > 0) },
        Tile { what: "orphans", value: thousands(total.orphans), tone: "" },
        Tile { what: "next start at worst", value: format!("{} s", thousands(worst)), tone: "" },
    ]
}

/// A row of the table of agents.
struct PageRow {
    name: String,
    cells: Vec<String>,
}

impl PageRow {
    fn of(share: &Share) -> Self {
        let oldest = share.oldest_seconds.map_or_else(|| "–".to_owned(), |seconds| coarse(TimeDelta::seconds(seconds)));
        let cells = vec![
            thousands(share.bindings),
            thousands(share.transcripts),
            oldest,
            HumanBytes(share.bytes).to_string(),
            thousands(share.live),
            thousands(share.stale),
            thousands(share.failed),
            thousands(share.damaged),
            thousands(share.orphans),
        ];
        Self { name: shown(&share.agent), cells }
    }
}

/// A chart of horizontal bars.
struct Bars {
    id: &'static str,
    title: &'static str,
    /// The chart in words.
    alt: String,
    height: usize,
    rows: Vec<ChartBar>,
}

struct ChartBar {
    label: String,
    text: String,
    /// Of the longest bar, per cent.
    percent: f64,
    /// Where its line begins.
    y: usize,
}

/// Height of a bar with its gap, in units of the drawing.
const LINE: usize = 22;

fn chart(id: &'static str, title: &'static str, values: Vec<(String, u64)>, show: fn(u64) -> String) -> Bars {
    let most = values.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    let alt = values.iter().map(|(label, value)| format!("{label}: {}", show(*value))).collect::<Vec<_>>().join(", ");
    let rows: Vec<ChartBar> = values
        .into_iter()
        .enumerate()
        .map(|(at, (label, value))| ChartBar {
            label,
            text: show(value),
            percent: value as f64 * 100.0 / most as f64,
            y: at * LINE,
        })
        .collect();
    Bars { id, title, alt, height: rows.len().max(1) * LINE, rows }
}

fn bars(document: &ReportDocument) -> Vec<Bars> {
    let bindings = &document.bindings;
    let by = |of: &dyn Fn(&BindingDocument) -> (&'static str, u64)| -> Vec<(String, u64)> {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for one in bindings {
            let (label, weight) = of(one);
            *sums.entry(label).or_default() += weight;
        }
        let mut sums: Vec<(String, u64)> = sums.into_iter().map(|(label, sum)| (label.to_owned(), sum)).collect();
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
        sums
    };
    let number: fn(u64) -> String = thousands;
    let size: fn(u64) -> String = |bytes| HumanBytes(bytes).to_string();
    vec![
        chart("age", "Age", histogram(bindings.iter().map(|one| one.age)), number),
        chart("idle", "Idle", histogram(bindings.iter().map(|one| one.idle)), number),
        chart("bytes", "Bytes by class", by(&|one| (one.class.as_str(), one.bytes + one.entry_bytes)), size),
        chart("run", "Last run", by(&|one| (one.run.as_str(), 1)), number),
        chart("integrity", "Integrity", by(&|one| (one.integrity.as_str(), 1)), number),
        chart("action", "The next gc", by(&|one| (one.action.as_str(), 1)), number),
    ]
}

/// The classes of a histogram: up to so many seconds, and the name.
const SPANS: [(i64, &str); 7] = [
    (3_600, "under 1 h"),
    (6 * 3_600, "1 h to 6 h"),
    (86_400, "6 h to 1 d"),
    (3 * 86_400, "1 d to 3 d"),
    (7 * 86_400, "3 d to 7 d"),
    (28 * 86_400, "1 w to 4 w"),
    (i64::MAX, "over 4 w"),
];

fn histogram(spans: impl Iterator<Item = Option<Elapsed>>) -> Vec<(String, u64)> {
    let mut counts = [0; SPANS.len()];
    let mut unknown = 0;
    for span in spans {
        match span.and_then(|span| SPANS.iter().position(|(limit, _)| span.seconds < *limit)) {
            Some(at) => counts[at] += 1,
            None => unknown += 1,
        }
    }
    let known = SPANS.iter().zip(counts).map(|((_, name), count)| ((*name).to_owned(), count));
    known.chain((unknown > 0).then(|| ("not known".to_owned(), unknown))).collect()
}

/// Which slots of `lane=main` stay busy how long after a start.
struct Lanes {
    model: &'static str,
    slots: u32,
    timeout: u64,
    /// The end of the time axis.
    until: String,
    drawn: Vec<Lane>,
    over: Option<(u64, u64)>,
}

struct Lane {
    when: &'static str,
    worst: String,
    resumable: u64,
    alt: String,
    height: usize,
    slots: Vec<Slot>,
}

struct Slot {
    y: usize,
    /// Per cent of the time axis.
    percent: f64,
    /// How long, in words.
    busy: String,
}

/// So many slots are drawn; more look the same.
const DRAWN: u64 = 16;

fn lanes(startup: &Startup) -> Lanes {
    let longest = startup.before.worst_seconds.max(startup.after.worst_seconds).max(1);
    let lane = |when: &'static str, load: Load| {
        let slots = u64::from(startup.slots.max(1));
        // Slots fill in turn: the first ones run one more.
        let runs = |slot: u64| load.resumable / slots + u64::from(slot < load.resumable % slots);
        let busy = |runs: u64| match runs {
            0 => "free".to_owned(),
            runs => format!("{runs} × {} s", startup.timeout_seconds),
        };
        let drawn: Vec<Slot> = (0..slots.min(DRAWN))
            .map(|slot| Slot {
                y: slot as usize * LINE,
                percent: runs(slot).saturating_mul(startup.timeout_seconds) as f64 * 100.0 / longest as f64,
                busy: busy(runs(slot)),
            })
            .collect();
        let worst = format!("{} s", thousands(load.worst_seconds));
        let alt = format!("{when}: {} resumed runs keep {} slots busy for up to {worst}", load.resumable, slots);
        Lane { when, worst, resumable: load.resumable, alt, height: drawn.len() * LINE, slots: drawn }
    };
    Lanes {
        model: words(startup.model),
        slots: startup.slots,
        timeout: startup.timeout_seconds,
        until: format!("{} s", thousands(startup.before.worst_seconds.max(startup.after.worst_seconds))),
        drawn: vec![lane("as it is", startup.before), lane("after gc", startup.after)],
        over: startup.budget.filter(|budget| budget.over > 0).map(|budget| (budget.max_resumes, budget.over)),
    }
}

/// Size over time, as past runs noted it.
struct Growth {
    /// `x,y …` in a drawing of 1000 by 200.
    bytes: String,
    bindings: String,
    from: String,
    to: String,
    most_bytes: String,
    most_bindings: String,
    alt: String,
}

/// How much there was at a time.
struct Point {
    at: DateTime<Utc>,
    bindings: u64,
    bytes: u64,
}

fn growth(document: &ReportDocument) -> Option<Growth> {
    let noted = document
        .history
        .iter()
        .filter_map(|run| Some(Point { at: run.started_at, bindings: run.bindings?, bytes: run.bytes? }));
    let summary = &document.summary;
    let now = Point { at: document.preamble.now, bindings: summary.bindings as u64, bytes: summary.bytes };
    let mut points: Vec<Point> = noted.filter(|point| point.at < now.at).collect();
    points.push(now);
    points.sort_by_key(|point| point.at);
    let [first, .., last] = points.as_slice() else { return None };
    let day = |point: &Point| point.at.format("%Y-%m-%d %H:%M").to_string();
    let much = |point: &Point| format!("{} and {}", count(point.bindings as usize, "binding"), HumanBytes(point.bytes));
    let most = |of: fn(&Point) -> u64| points.iter().map(of).max().unwrap_or(0);
    Some(Growth {
        bytes: line(&points, |point| point.bytes),
        bindings: line(&points, |point| point.bindings),
        from: day(first),
        to: day(last),
        most_bytes: HumanBytes(most(|point| point.bytes)).to_string(),
        most_bindings: thousands(most(|point| point.bindings)),
        alt: format!("From {} to {}: {}, then {}", day(first), day(last), much(first), much(last)),
    })
}

/// The corners of a line in a drawing of 1000 by 200.
fn line(points: &[Point], of: fn(&Point) -> u64) -> String {
    let [first, .., last] = points else { return String::new() };
    let seconds = |point: &Point| (point.at - first.at).num_milliseconds() as f64 / 1000.0;
    let length = seconds(last).max(0.001);
    let most = points.iter().map(of).max().unwrap_or(0).max(1);
    let corner = |point: &Point| {
        let (x, y) = (seconds(point) * 1000.0 / length, 200.0 - of(point) as f64 * 190.0 / most as f64);
        format!("{x:.1},{y:.1}")
    };
    points.iter().map(corner).collect::<Vec<_>>().join(" ")
}

struct PastPoint {
    when: String,
    command: String,
    did: String,
    problems: usize,
}

impl PastPoint {
    fn of(run: &PastRun) -> Self {
        Self {
            when: run.started_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
            command: shown(&run.command),
            did: run.did(),
            problems: run.problems,
        }
    }
}

/// The bindings as rows of a JSON table, safe inside of a script element.
fn rows(bindings: &[BindingDocument]) -> anyhow::Result<String> {
    let seconds = |elapsed: Option<Elapsed>| elapsed.map(|elapsed| elapsed.seconds);
    let row = |one: &BindingDocument| {
        let reasons: Vec<&str> = one.reasons.iter().map(|reason| reason.as_str()).collect();
        let what: Vec<&str> = one.reasons.iter().map(|reason| reason.describe()).collect();
        serde_json::json!([
            shown(&one.agent),
            shown(&one.key),
            one.class.as_str(),
            seconds(one.idle),
            seconds(one.age),
            one.error.as_ref().map_or_else(
                || one.run.as_str().to_owned(),
                |error| format!("{} {}", one.run.as_str(), error.kind.as_str())
            ),
            one.integrity.as_str(),
            one.bytes + one.entry_bytes,
            one.action.as_str(),
            reasons.join(" "),
            if one.action == Action::Keep { String::new() } else { what.join("; ") },
        ])
    };
    let rows: Vec<serde_json::Value> = bindings.iter().map(row).collect();
    let text = serde_json::to_string(&rows)?;
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}
