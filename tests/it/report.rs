//! The report in each of its formats: what it says of the recorded stores, what it never says, and that a page of it
//! works in a real browser.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::generate::{Spec, generate};
use support::{NOW, Output, Store, StoreBuilder, sys};

const FORMATS: [&str; 6] =
    ["--format=text", "--format=markdown", "--format=csv", "--format=html", "--format=prometheus", "--json"];

fn report(store: &Store, args: &[&str]) -> Output {
    store.run([&["report", "--now", NOW], args].concat())
}

#[test]
fn the_reports_of_the_recorded_stores() {
    for name in ["real-small", "real-gateway"] {
        let store = Store::recorded(name);
        for format in ["text", "markdown", "csv", "prometheus"] {
            let output = report(&store, &["--format", format]).ok();
            insta::assert_snapshot!(format!("{name}-{format}"), store.redact(&output.to_string()));
        }
    }
}

#[test]
fn it_reads_only() {
    let store = Store::recorded("real-gateway");
    let before = store.tree();
    for format in FORMATS {
        report(&store, &[format]).ok();
    }
    before.exact().assert_same(&store.tree().exact());
    store.run(["scan", "--format", "markdown"]).code(2);
}

#[test]
fn a_row_of_each_agent_adds_up_and_agrees_with_scan() {
    let store = Store::recorded("real-gateway");
    let (document, scan) = (report(&store, &["--json"]).ok().json(), store.scan(["--now", NOW]));
    let agents = document["agents"].as_array().unwrap();
    for field in ["bindings", "transcripts", "bytes", "live", "stale", "failed", "damaged", "fatal", "orphans"] {
        let sum: u64 = agents.iter().map(|row| row[field].as_u64().unwrap()).sum();
        assert_eq!(json!(sum), document["total"][field], "{field}");
    }
    assert_eq!(document["total"]["bindings"], scan["summary"]["bindings"]);
    assert_eq!(document["total"]["bytes"], scan["summary"]["bytes"]);
    assert_eq!(document["total"]["orphans"], scan["summary"]["orphans"]);
    let keys = |document: &Value| -> Vec<Value> {
        document["bindings"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect()
    };
    assert_eq!(keys(&document), keys(&scan));
    assert_eq!(document["startup"], scan["startup"]);
}

#[test]
fn since_tells_what_changed() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding("agent:main:telegram:direct:1", |one| one.idle("9d").age("10d"))
        .binding("agent:main:telegram:direct:2", |one| one.idle("1h").age("2h"))
        .build();
    store.gc(["--now", NOW]).ok();
    let since = |what: &str| report(&store, &["--since", what, "--json"]).ok().json()["since"].clone();
    let by_run = since("latest");
    assert_eq!(
        (&by_run["runs"], &by_run["totals"]["expire"], &by_run["bindingsThen"]),
        (&json!(1), &json!(1), &json!(2))
    );
    assert_eq!(since("3h")["begun"], json!(["agent:main:telegram:direct:2"]));
    assert_eq!(since("2026-11-22T22:00:00Z")["begun"], json!([]));
    assert_eq!(since("2026-11-22")["active"], 1);
    let text = report(&store, &["--since", "3h"]).ok();
    assert!(!text.stdout.contains("Then "), "nothing was noted before: {text}");
    let by_run = report(&store, &["--since", "latest"]).ok();
    assert!(by_run.stdout.contains("Then 2 bindings"), "{by_run}");
    report(&store, &["--since", "2027-01-01"]).code(2);
    report(&store, &["--since", "3h", "--format", "csv"]).code(2);
    report(&store, &["--since", "yesterday"]).code(2);
}

#[test]
fn growth_is_drawn_once_a_gc_noted_how_much_there_was() {
    let store = Store::recorded("real-gateway");
    let page = |now: &str| store.run(["report", "--format", "html", "--now", now]).ok().stdout;
    assert!(!page(NOW).contains("<h2>Growth</h2>"));
    store.gc(["--idle", "10m", "--now", "2026-11-22T23:30:00Z"]).ok();
    let later = (chrono::Utc::now() + chrono::TimeDelta::days(1)).to_rfc3339();
    let page = page(&later);
    assert!(page.contains("<h2>Growth</h2>") && page.contains(": 51 bindings and 809.74 KiB, then "), "{page}");
}

#[test]
fn a_check_is_one_line_and_an_exit_code() {
    let store = Store::recorded("real-gateway");
    let bad = report(&store, &["--check", "--max-damaged", "0", "--max-bytes", "1GB"]).code(1);
    assert_eq!(
        bad.stdout,
        "SESSIONS WARNING: damaged 2 is more than 0 | damaged=2;0;;0 bytes=829170B;1000000000;;0 broken-stores=0;0;;0 unfinished-runs=0;0;;0\n"
    );
    let good = report(&store, &["--check", "--max-worst-seconds", "1560"]).ok();
    assert_eq!(
        good.stdout,
        "SESSIONS OK: 51 bindings of 3 agents | worst-seconds=1560s;1560;;0 broken-stores=0;0;;0 unfinished-runs=0;0;;0\n"
    );
    assert_eq!(
        report(&store, &["--check", "--max-worst-seconds", "1559", "--json"]).code(1).json()["checks"][0]["exceeded"],
        true
    );
    report(&store, &["--check"]).code(2);
    report(&store, &["--check", "--max-damaged", "9", "--format", "csv"]).code(2);
    store.write("agents/main/sessions/sessions.json", "[");
    let broken = report(&store, &["--check", "--max-damaged", "9"]).code(1);
    assert!(broken.stdout.starts_with("SESSIONS WARNING: 1 store cannot be read | "), "{broken}");
    report(&store, &["--max-damaged", "1"]).code(2);
    report(&store, &["--check", "--max-bytes", "lots"]).code(2);
}

#[test]
fn a_file_is_replaced_at_once_and_as_private_as_it_should_be() {
    let store = Store::recorded("real-small");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (format, expected) in [("--format=html", 0o600), ("--format=prometheus", 0o644), ("--json", 0o600)] {
        let path = store.root().join(format!("report{format}"));
        let out = path.to_str().unwrap();
        assert_eq!(report(&store, &[format, "-o", out]).ok().stdout, "");
        assert_eq!(mode(&path), expected, "{format}");
        let first = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        report(&store, &[format, "-o", out]).ok();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (first, 0o640), "{format}");
    }
    let text = report(&store, &["-o", store.root().join("report.txt").to_str().unwrap(), "--color", "always"]).ok();
    assert_eq!(text.stdout, "");
    assert!(!fs::read_to_string(store.root().join("report.txt")).unwrap().contains('\u{1b}'));
    report(&store, &["-o", "/nowhere/report"]).code(3);
    // OpenClaw's own files are nobody's report.
    let before = store.tree();
    for name in ["agents/main/sessions/sessions.json", "agents/main/sessions/new.csv", "openclaw.json"] {
        report(&store, &["--format", "csv", "-o", store.path(name).to_str().unwrap()]).code(2);
    }
    before.exact().assert_same(&store.tree().exact());
    report(&store, &["-o", store.root().to_str().unwrap()]).code(3);
    let left: Vec<_> = fs::read_dir(store.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

/// Keys and agents that try everything.
fn hostile() -> (Store, Vec<String>) {
    let keys: Vec<String> = vec![
        "agent:main:telegram:direct:\u{1b}[31mred".to_owned(),
        "agent:main:telegram:direct:\u{202e}evil".to_owned(),
        "agent:main:telegram:direct:</script><script>alert(1)</script>".to_owned(),
        "agent:main:telegram:direct:\"quoted\",'single',`tick`|bar".to_owned(),
        "agent:main:telegram:direct:two\nlines".to_owned(),
        "=HYPERLINK(\"http://evil\")".to_owned(),
        format!("agent:main:telegram:direct:{}", "x".repeat(65_536)),
        "agent:ma\"in\\\n:telegram:direct:9".to_owned(),
    ];
    let mut builder = StoreBuilder::new().agent("main");
    for (at, key) in keys.iter().enumerate() {
        builder = builder.binding(key, |one| {
            one.idle("9d")
                .session_id(&format!("s-{at}"))
                .field("label", "PLANTED <b>label</b>")
                .error("PLANTED error text: sk-secret")
        });
    }
    let store = builder.build();
    for file in store.tree().files().into_iter().filter(|name| name.ends_with(".jsonl")) {
        let mut text = String::from_utf8(store.read(&file)).unwrap();
        text.push_str("{\"type\":\"message\",\"id\":\"zz\",\"parentId\":null,\"timestamp\":\"2026-11-01T00:00:00.000Z\",\"message\":{\"role\":\"user\",\"content\":\"PLANTED sentence\"}}\n");
        store.write(&file, text);
    }
    (store, keys)
}

#[test]
fn what_stores_hold_is_escaped_in_every_format_and_no_text_of_people_is_told() {
    let (store, keys) = hostile();
    for format in FORMATS {
        let text = report(&store, &[format]).ok().stdout;
        assert!(!text.contains("PLANTED"), "{format} tells what people wrote");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{format} lets control characters through");
        assert!(text.len() < 1 << 20, "{format}: {} bytes", text.len());
    }
    let html = report(&store, &["--format", "html"]).ok().stdout;
    assert_eq!(html.matches("<script").count(), 2, "only the page's own scripts");
    assert_eq!(html.matches("</script>").count(), 2);
    let csv = report(&store, &["--format", "csv"]).ok().stdout;
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let found: Vec<String> = rows.records().map(|row| row.unwrap()[1].to_owned()).collect();
    assert_eq!(found.len(), keys.len());
    assert!(found.iter().any(|key| key.starts_with("'=HYPERLINK")));
    assert!(csv.lines().count() == keys.len() + 1, "no cell has a line break");
    let markdown = report(&store, &["--format", "markdown"]).ok().stdout;
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    for line in markdown.lines().filter(|line| line.starts_with("| `")) {
        assert_eq!(bars(line), 6, "{line}");
    }
    for line in report(&store, &["--format", "prometheus"]).ok().stdout.lines() {
        assert!(line.starts_with("# ") || line.starts_with("claw_sessions_"), "{line}");
    }
}

/// What the page answers in a real browser, to questions asked by a script at its end; `None` without a browser.
fn ask(store: &Store, page: &str, script: &str) -> Option<Value> {
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| sys::has(name))?;
    let path = store.root().join("asked.html");
    let ask = format!(
        "<script>addEventListener('load', () => {{ const out = document.createElement('pre'); out.id = 'out'; out.textContent = JSON.stringify((() => {{ {script} }})()); document.body.append(out); }});</script></body>"
    );
    fs::write(&path, page.replace("</body>", &ask)).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", store.root().join("browser").display()))
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("file://{}", path.display()))
        .env("HOME", store.root())
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!log.contains("CONSOLE"), "{log}");
    let answer = dom.split("<pre id=\"out\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let answer = answer
        .unwrap_or_else(|| panic!("no answer: {log}"))
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    Some(serde_json::from_str(&answer).unwrap())
}

const QUESTIONS: &str = r#"
    const table = document.getElementById("bindings"), shown = () => document.getElementById("shown").textContent;
    const cells = at => [...table.tBodies[0].rows].map(row => row.cells[at].textContent);
    const click = at => table.tHead.rows[0].cells[at].querySelector("button").click();
    const type = text => { const box = document.getElementById("search"); box.value = text; box.dispatchEvent(new Event("input")); };
    const first = { rows: table.tBodies[0].rows.length, shown: shown(), sort: table.tHead.rows[0].cells[3].getAttribute("aria-sort") };
    click(1); const up = cells(1); click(1); const down = cells(1);
    click(7); const largest = cells(7)[0]; click(7); const smallest = cells(7)[0];
    type("direct"); const direct = [shown(), cells(1).every(key => key.includes("direct"))];
    type("");
    const select = document.querySelector("select[aria-label='Action']"); select.value = "=expire"; select.dispatchEvent(new Event("change"));
    const expire = [shown(), cells(8).every(action => action === "expire")];
    document.getElementById("reset").click(); const reset = shown();
    const more = document.getElementById("more"); if (!more.hidden) more.click();
    const wide = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
    const named = [...document.querySelectorAll("svg[role=img]")].every(svg => svg.getAttribute("aria-label").length > 5);
    return { first, up, down, largest, smallest, direct, expire, reset, after: table.tBodies[0].rows.length, wide, named };
"#;

#[test]
fn the_page_sorts_and_filters_in_a_browser_without_a_word_on_its_console() {
    let store = Store::recorded("real-gateway");
    let page = report(&store, &["--format", "html", "--idle", "10m"]).ok().stdout;
    let Some(answer) = ask(&store, &page, QUESTIONS) else { return sys::skip("no Chromium") };
    assert_eq!(answer["first"], json!({"rows": 51, "shown": "51 of 51", "sort": "descending"}));
    let keys = |name: &str| -> Vec<String> { serde_json::from_value(answer[name].clone()).unwrap() };
    let (up, mut down) = (keys("up"), keys("down"));
    assert!(up.is_sorted());
    down.reverse();
    assert_eq!(up, down);
    assert_eq!((&answer["largest"], &answer["smallest"]), (&json!("229.1 KiB"), &json!("148 B")));
    assert_eq!(answer["direct"][1], true);
    assert_eq!(answer["expire"], json!(["38 of 51", true]));
    assert_eq!(answer["reset"], "51 of 51");
    assert_eq!((&answer["wide"], &answer["named"]), (&json!(true), &json!(true)));
}

#[test]
fn ten_thousand_bindings_open_and_hostile_keys_do_nothing() {
    let large = Store::empty();
    generate(&large.state_dir(), &Spec::size(10_000, 300, 300, 3, 1), NOW.parse().unwrap());
    let page = report(&large, &["--format", "html"]).ok().stdout;
    let Some(answer) = ask(&large, &page, QUESTIONS) else { return sys::skip("no Chromium") };
    assert_eq!(answer["first"]["rows"], 200, "the rest waits for a click");
    assert_eq!(answer["after"], 400);
    assert_eq!(answer["reset"], answer["first"]["shown"]);

    let (store, keys) = hostile();
    let page = report(&store, &["--format", "html"]).ok().stdout;
    let answer = ask(&store, &page, QUESTIONS).unwrap();
    assert_eq!(answer["first"]["rows"], keys.len());
    assert!(answer["up"].to_string().contains("</script><script>alert(1)"), "shown as text");
}
