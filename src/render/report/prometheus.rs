//! The report in Prometheus' text format, for the textfile collector of its node exporter.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::{PastRun, ReportDocument, can_be_read, groups};
use crate::decide::startup::Estimate;
use crate::model::names::FileKind;
use crate::model::problem::Severity;
use crate::render::escape::escape;

/// Every metric with its help, its type and its samples.
pub fn write(document: &ReportDocument) -> String {
    let mut out = Exposition(String::new());
    let preamble = &document.preamble;
    out.gauge("info", "Versions; always 1.");
    let openclaw = preamble.openclaw_version.as_deref().unwrap_or("unknown");
    out.sample("info", &[("version", &preamble.version), ("openclaw_version", openclaw)], 1);
    out.gauge("report_timestamp_seconds", "When the sessions were looked at.");
    out.sample("report_timestamp_seconds", &[], preamble.now.timestamp());
    out.gauge("gateway_alive", "Whether a gateway serves this state directory.");
    out.sample("gateway_alive", &[], u8::from(preamble.gateway.alive));
    out.gauge("unfinished_runs", "Runs that were cut off; the next gc finishes them.");
    out.sample("unfinished_runs", &[], preamble.unfinished.len());
    out.gauge("store_ok", "Whether the agent's store can be read, or has moved to SQLite.");
    let mut ok: BTreeMap<&str, bool> = BTreeMap::new();
    for store in &document.stores {
        *ok.entry(&store.agent).or_insert(true) &= can_be_read(store.state);
    }
    for (agent, ok) in ok {
        out.sample("store_ok", &[("agent", agent)], u8::from(ok));
    }
    out.gauge("bindings", "Bindings by what they are and what the next gc would do.");
    for ((agent, class, run, action), number) in groups(&document.bindings) {
        let labels = [("agent", agent), ("class", class.as_str()), ("run", run), ("action", action)];
        out.sample("bindings", &labels, number);
    }
    bytes(&mut out, document);
    databases(&mut out, document);
    out.gauge("transcripts", "Transcript files, bound or not.");
    out.gauge_of(document, "transcripts", |share| share.transcripts);
    out.gauge("oldest_binding_age_seconds", "Age of the oldest binding.");
    for share in &document.agents {
        if let Some(seconds) = share.oldest_seconds {
            out.sample("oldest_binding_age_seconds", &[("agent", &share.agent)], seconds);
        }
    }
    for (name, help, of) in [
        ("live", "Bindings in use.", (|share| share.live) as fn(&super::Share) -> u64),
        ("stale", "Bindings that the next gc takes because of their age, idleness or number.", |share| share.stale),
        ("failed", "Bindings whose last run failed, was aborted or was cut off.", |share| share.failed),
        ("orphans", "Transcripts that nothing refers to.", |share| share.orphans),
    ] {
        out.gauge(name, help);
        out.gauge_of(document, name, of);
    }
    out.gauge("damaged", "Bindings with a damaged, missing or empty transcript.");
    for share in &document.agents {
        for (severity, number) in [(Severity::Fatal, share.fatal), (Severity::High, share.damaged - share.fatal)] {
            out.sample("damaged", &[("agent", &share.agent), ("severity", severity.as_str())], number);
        }
    }
    startup(&mut out, document);
    last_runs(&mut out, &document.history);
    out.0
}

fn bytes(out: &mut Exposition, document: &ReportDocument) {
    let mut sizes: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for store in &document.stores {
        *sizes.entry((&store.agent, "store")).or_default() += store.bytes;
    }
    let mut seen = std::collections::BTreeSet::new();
    for one in document.bindings.iter().filter(|one| one.transcript.as_ref().is_some_and(|path| seen.insert(path))) {
        *sizes.entry((&one.agent, "transcript")).or_default() += one.bytes;
    }
    for file in &document.files {
        let of = if file.kind == FileKind::Orphan { "orphan" } else { "other" };
        *sizes.entry((&file.agent, of)).or_default() += file.bytes;
    }
    out.gauge("size_bytes", "Bytes in the sessions directories.");
    for ((agent, of), bytes) in sizes {
        out.sample("size_bytes", &[("agent", agent), ("of", of)], bytes);
    }
}

fn databases(out: &mut Exposition, document: &ReportDocument) {
    out.gauge("database_bytes", "Bytes of the agent's database, by what they hold; all: of the file and its log.");
    for (agent, database) in document.stores.iter().filter_map(|one| Some((&one.agent, one.database.as_ref()?))) {
        let census = &database.census;
        for (part, bytes) in [
            ("all", census.bytes),
            ("sessions", census.sessions),
            ("traces", census.traces),
            ("search", census.search),
            ("archives", census.archives),
            ("free", census.free),
        ] {
            out.sample("database_bytes", &[("agent", agent), ("part", part)], bytes);
        }
    }
}

fn startup(out: &mut Exposition, document: &ReportDocument) {
    let startup = &document.startup;
    let own = Estimate { model: startup.model, before: startup.before, after: startup.after };
    let estimates = || [(own, "yes"), (startup.other, "no")];
    out.gauge("resumable", "Bindings that a start resumes, now and after the next gc.");
    for (one, followed) in estimates() {
        for (when, load) in [("now", one.before), ("after_gc", one.after)] {
            let labels = [("model", one.model.as_str()), ("followed", followed), ("when", when)];
            out.sample("resumable", &labels, load.resumable);
        }
    }
    out.gauge("startup_worst_seconds", "How long resumed runs can hold lane=main at worst, now and after the next gc.");
    for (one, followed) in estimates() {
        for (when, load) in [("now", one.before), ("after_gc", one.after)] {
            let labels = [("model", one.model.as_str()), ("followed", followed), ("when", when)];
            out.sample("startup_worst_seconds", &labels, load.worst_seconds);
        }
    }
    out.gauge("deferred", "Bindings that the startup budget took out and nobody readmitted.");
    out.sample("deferred", &[], document.deferred);
}

/// The last run of each verb.
fn last_runs(out: &mut Exposition, history: &[PastRun]) {
    let last: BTreeMap<&str, &PastRun> = history.iter().map(|run| (run.command.as_str(), run)).collect();
    if last.is_empty() {
        return;
    }
    out.gauge("last_run_timestamp_seconds", "When the last run began.");
    for (command, run) in &last {
        out.sample("last_run_timestamp_seconds", &[("command", command)], run.started_at.timestamp());
    }
    out.gauge("last_run_duration_seconds", "How long the last run took.");
    for (command, run) in &last {
        if let Some(seconds) = run.seconds {
            out.sample("last_run_duration_seconds", &[("command", command)], seconds);
        }
    }
    out.gauge("last_run_problems", "What the last run could not do; 0 is success.");
    for (command, run) in &last {
        out.sample("last_run_problems", &[("command", command)], run.problems);
    }
}

struct Exposition(String);

impl Exposition {
    fn gauge(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP claw_sessions_{name} {help}\n# TYPE claw_sessions_{name} gauge");
    }

    fn gauge_of(&mut self, document: &ReportDocument, name: &str, of: fn(&super::Share) -> u64) {
        for share in &document.agents {
            self.sample(name, &[("agent", &share.agent)], of(share));
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", label_value(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "claw_sessions_{name}{labels} {value}");
    }
}

/// A longer label is cut: it is a name, and nobody's agent has a longer one.
const LONGEST: usize = 200;

fn label_value(text: &str) -> String {
    let text: String = escape(text).chars().take(LONGEST).collect();
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
