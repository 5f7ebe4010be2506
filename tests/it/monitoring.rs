//! `docs/monitoring`: the metrics are well formed, the rules do what their tests say, and no page, rule or dashboard
//! names a metric that is not there. Where promtool is absent, what needs it is skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{NOW, Output, Store, sys};

const STORES: [&str; 2] = ["real-small", "real-gateway"];
const PREFIX: &str = "claw_sessions_";

fn docs() -> PathBuf {
    support::repository("docs/monitoring")
}

fn page(name: &str) -> String {
    fs::read_to_string(docs().join(name)).unwrap()
}

/// What a gateway's host exports, a past run included.
fn metrics(name: &str) -> String {
    let store = Store::recorded(name);
    drop(store.run(["gc", "-q", "--now", NOW]).ok());
    store.run(["report", "--format", "prometheus", "--now", NOW]).ok().stdout
}

/// Each metric of both recorded stores, with its labels.
fn printed() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for text in STORES.map(metrics) {
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, labels) = sample.split_once(['{', ' ']).unwrap();
            let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
            let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            found.entry(name.to_owned()).or_default().extend(names);
        }
    }
    found
}

/// Every name in a text that begins as a metric does.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(PREFIX)).map(str::to_owned).collect()
}

/// The rows of the table of metrics: name, then labels.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let ticked = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let page = page("README.md");
    let rows = page.lines().filter(|line| line.starts_with("| `claw_sessions_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (ticked(cells[1]).pop_first().unwrap(), ticked(cells[2]))
    })
    .collect()
}

/// promtool with these arguments, in the directory of the rules. False where there is no promtool.
#[must_use]
fn promtool(args: &[&str], input: &str) -> bool {
    if !sys::has("promtool") {
        sys::skip(&format!("promtool {}: there is no promtool", args.join(" ")));
        return false;
    }
    let mut command = Command::new("promtool");
    command.args(args).current_dir(docs()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "promtool {}\n{said}{input}", args.join(" "));
    true
}

#[test]
fn promtool_takes_the_metrics_of_both_recorded_stores() {
    for name in STORES {
        if !promtool(&["check", "metrics"], &metrics(name)) {
            return;
        }
    }
}

#[test]
fn an_ordinary_user_reports_into_a_directory_of_somebody_else_and_all_may_read_it() {
    let store = Store::recorded("real-small");
    if sys::is_root() {
        sys::give(&store.home(), sys::NOBODY);
    }
    // /tmp is as a textfile directory should be: of root, writable for others, sticky.
    let file = store.root().with_extension("prom");
    for _ in 0..2 {
        let Some(mut command) = store.ordinary(["report", "--format", "prometheus", "--now", NOW]) else {
            return sys::skip("a report of an ordinary user: there is no setpriv");
        };
        let written = Output::of(command.arg("-o").arg(&file));
        let text = fs::read_to_string(&file);
        let mode = fs::metadata(&file).map(|meta| meta.permissions().mode() & 0o7777);
        drop(written.ok());
        assert!(text.unwrap().starts_with("# HELP claw_sessions_info "));
        assert_eq!(mode.unwrap(), 0o644);
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn promtool_takes_the_rules() {
    let _ = promtool(&["check", "rules", "alerts.yml", "recording.yml"], "");
}

#[test]
fn alerts_fire_when_they_should_and_recording_rules_add_up() {
    let _ = promtool(&["test", "rules", "alerts.test.yml", "recording.test.yml"], "");
}

#[test]
fn the_table_has_every_metric_with_its_labels_and_no_other() {
    let (table, printed) = (table(), printed());
    assert!(printed.len() > 10, "{printed:#?}");
    assert_eq!(table, printed);
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_are_printed() {
    let printed: BTreeSet<String> = printed().into_keys().collect();
    for file in ["alerts.yml", "alerts.test.yml", "recording.yml", "recording.test.yml", "dashboard.json"] {
        let named = named(&page(file));
        assert!(!named.is_empty(), "{file}");
        let unknown: Vec<_> = named.difference(&printed).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_page_lists_every_alert() {
    let page = page("README.md");
    let rules = self::page("alerts.yml");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        assert!(page.contains(&format!("| `{alert}` |")), "{alert}");
    }
}

#[test]
fn the_dashboard_asks_the_chosen_data_source_for_the_chosen_hosts() {
    let dashboard: Value = serde_json::from_str(&page("dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "agent"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel:#}");
            assert!(target["expr"].as_str().unwrap().contains("instance=~\"$instance\""), "{panel:#}");
        }
    }
}
