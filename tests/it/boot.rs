//! Before the gateway starts: the deadline and what it leaves, the startup budget and readmission, and that nothing on
//! the host is a reason not to start.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::lessons::STORE;
use support::{LiveProcess, NOW, Output, Store, StoreBuilder, binding, keys, sys, verdict};

const BOOT: [&str; 5] = ["gc", "--boot", "--json", "--now", NOW];
const PROGRAM: &str = "agent:main:hook:build";
const PEERS: [&str; 5] = ["1", "2", "3", "4", "5"];

fn peer(name: &str) -> String {
    format!("agent:main:telegram:direct:{name}")
}

/// Five conversations, idle for one to five hours, a cron run and a group; none is stale.
fn lively() -> Store {
    let mut builder = StoreBuilder::new().agent("main");
    for hours in PEERS {
        builder =
            builder.binding(&peer(hours), |one| one.idle(&format!("{hours}h")).session_id(&format!("peer-{hours}")));
    }
    builder
        .binding(PROGRAM, |one| one.idle("30m"))
        .binding("agent:main:telegram:group:-1", |one| one.idle("6h"))
        .config(r#"{session: {reset: {mode: "idle", idleMinutes: 100000}}}"#)
        .build()
}

/// Runs with every read of these files delayed by so many microseconds.
fn slow(store: &Store, args: &[&str], files: &[String], delay: u64, log: &Path) -> Output {
    let inject = format!("inject=read:delay_enter={delay}");
    let mut options: Vec<OsString> =
        ["-f", "-y", "-s", "0", "-e", "trace=read", "-e", &inject, "-o"].map(OsString::from).to_vec();
    options.push(log.into());
    for file in files {
        options.extend(["-P".into(), store.path(file).into()]);
    }
    Output::of(&mut store.under("strace", options, args))
}

fn transcripts(store: &Store) -> Vec<String> {
    let files = store.tree().files();
    files.into_iter().filter(|name| name.starts_with("agents/") && name.ends_with(".jsonl")).collect()
}

fn late(document: &Value) -> Vec<String> {
    document["late"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_deadline_leaves_unread_is_named_kept_and_read_first_at_the_next_start() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let store = Store::recorded("real-small");
    // What changed a moment ago is not remembered from one run to the next.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let files = transcripts(&store);
    let log = store.root().join("reads");
    let boot = [&BOOT[..], &["--jobs", "1", "--deadline", "4s", "--failed", "any"]].concat();
    let first = slow(&store, &boot, &files, 500_000, &log).ok().json();
    let left = late(&first);
    assert!(left.len() > 20, "{left:?}");
    let unread = |document: &Value| -> Vec<String> {
        let bindings = document["bindings"].as_array().unwrap();
        let unread = bindings.iter().filter(|one| one["integrity"] == "not-checked");
        unread.map(|one| one["transcript"].as_str().unwrap().to_owned()).collect()
    };
    assert!(unread(&first).iter().all(|path| left.contains(path)));
    for one in first["bindings"].as_array().unwrap().iter().filter(|one| one["integrity"] == "not-checked") {
        assert_eq!(one["action"], "keep", "{one}");
    }
    let archived = first["files"].as_array().unwrap().iter().filter(|file| file["action"] == "archive");
    assert_eq!(archived.count(), 0, "what was not read may refer to any orphan");

    let second = slow(&store, &boot, &files, 500_000, &log).ok().json();
    let text = std::fs::read_to_string(&log).unwrap();
    let read: Vec<&String> = files.iter().filter(|file| text.contains(file.as_str())).collect();
    let begun = |file: &String| {
        first["late"].to_string().contains(&format!("{file}\",\"why\":\"the time was over before it was read to"))
    };
    assert!(!read.is_empty());
    for file in read {
        assert!(left.contains(file) && !begun(file), "{file} was read although others were left");
    }
    assert!(late(&second).len() < left.len());

    let third = store.run(BOOT).ok().json();
    assert_eq!(late(&third), [""; 0]);
    assert_eq!(unread(&third), [""; 0]);
}

#[test]
fn what_is_stale_by_its_entry_goes_without_being_read() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let store = StoreBuilder::new()
        .agent("main")
        .binding(&peer("1"), |one| one.idle("9d").session_id("stale"))
        .binding(&peer("2"), |one| one.idle("2h").session_id("young"))
        .binding(&peer("3"), |one| one.idle("9d").session_id("timeless").without("updatedAt"))
        .build();
    let log = store.root().join("reads");
    let boot = [&BOOT[..], &["--jobs", "1", "--deadline", "4s", "--idle", "1d"]].concat();
    let done = slow(&store, &boot, &transcripts(&store), 3_200_000, &log).ok().json();
    assert_eq!(late(&done).len(), 2, "{done:#}");
    assert_eq!(verdict(&done, &peer("1")), "expire idle");
    assert_eq!(verdict(&done, &peer("2")), "keep not-checked");
    assert_eq!(verdict(&done, &peer("3")), "keep age-unknown");
    store.restore_latest().ok();
    assert_eq!(store.sessions("main").as_object().unwrap().len(), 3);
}

#[test]
fn a_disk_that_does_not_answer_does_not_keep_the_gateway_from_starting() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let store = Store::recorded("real-small");
    let before = store.tree();
    let boot = ["gc", "--boot", "--now", NOW, "--deadline", "1s"];
    let log = store.root().join("reads");
    let hung = slow(&store, &boot, &transcripts(&store)[..1], 4_000_000, &log).ok();
    assert!(hung.stderr.contains("did not answer") && hung.stderr.contains("nothing is left half done"), "{hung}");
    before.contents().assert_same(&store.tree().contents());
}

#[test]
fn a_deadline_without_boot_is_told_by_the_exit_code() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let store = Store::recorded("real-small");
    let log = store.root().join("reads");
    let gc = ["gc", "--now", NOW, "--deadline", "1s", "--jobs", "1"];
    let cut = slow(&store, &gc, &transcripts(&store), 250_000, &log).code(3);
    assert!(cut.stdout.contains("not in time") && cut.stdout.contains("more (-v names them)"), "{cut}");
    store.run(["gc", "--deadline", "0s"]).code(2);
    store.run(["gc", "--deadline", "20"]).code(2);
}

#[test]
fn the_budget_defers_a_programs_sessions_first_then_the_longest_idle() {
    let store = lively();
    let scan = store.scan(["--max-resumes", "3", "--now", NOW]);
    let mut deferred = keys(&scan, "defer");
    deferred.sort();
    assert_eq!(deferred, [PROGRAM, &peer("3"), &peer("4"), &peer("5")]);
    assert_eq!(verdict(&scan, &peer("5")), "defer over-budget");
    assert_eq!(verdict(&scan, "agent:main:telegram:group:-1"), "keep protected-class", "it counts, and stays");
    assert_eq!(scan["startup"]["after"]["resumable"], 3);
    assert_eq!(scan["startup"]["budget"], json!({"maxResumes": 3, "over": 0}));
    let explained = store.run(["explain", &peer("4"), "--max-resumes", "3", "--now", NOW]).ok();
    assert!(
        explained.stdout.contains("over-budget") && explained.stdout.contains("limit 3 (--max-resumes)"),
        "{explained}"
    );

    store.write("claw-sessions.toml", "max-resumes = 3\n");
    assert_eq!(keys(&store.scan(["--now", NOW]), "defer").len(), 4, "from the policy file");
    assert_eq!(keys(&store.scan(["--max-resumes", "9", "--now", NOW]), "defer"), [""; 0], "a flag is stronger");
}

#[test]
fn a_budget_that_cannot_be_met_is_said() {
    let store = lively();
    let scan = store.run(["scan", "--max-resumes", "0", "--now", NOW]).ok();
    assert!(scan.stdout.contains("The budget of 0 cannot be met: 1 more"), "{scan}");
    let document = store.scan(["--max-resumes", "0", "--now", NOW]);
    assert_eq!(document["startup"]["budget"], json!({"maxResumes": 0, "over": 1}));
}

#[test]
fn by_the_model_of_later_releases_only_what_they_run_again_counts() {
    let cut_off = |one: support::build::Binding| one.interrupted().idle("30m").field("status", "running");
    let store = StoreBuilder::new()
        .agent("main")
        .binding(&peer("1"), cut_off)
        .binding(&peer("2"), cut_off)
        .binding(&peer("3"), |one| one.idle("2h"))
        .config(r#"{meta: {lastTouchedVersion: "2026.6.11"}, session: {reset: {mode: "idle", idleMinutes: 100000}}}"#)
        .build();
    let scan = store.scan(["--max-resumes", "1", "--now", NOW]);
    assert_eq!(scan["startup"]["model"], "interrupted-only");
    assert_eq!(scan["startup"]["before"]["resumable"], 2);
    assert_eq!(scan["startup"]["other"]["before"]["resumable"], 3);
    assert_eq!(keys(&scan, "defer").len(), 1);
}

#[test]
fn deferred_sessions_come_back_two_by_two_the_youngest_first() {
    let store = lively();
    let (mut before, bindings) = (store.tree(), store.sessions("main"));
    let boot = store.run([&BOOT[..], &["--max-resumes", "2"]].concat()).ok();
    assert!(boot.stderr.contains("5 deferred"), "{boot}");
    assert_eq!(keys(&store.scan(["--now", NOW]), "keep").len(), 2);
    let next = |args: &[&str]| store.run([&["restore", "--deferred"], args, &["--json"]].concat()).ok().json();
    let bound = |document: &Value| -> Vec<String> {
        let mut keys = support::bound(document);
        keys.sort_by_key(|key| key == PROGRAM);
        keys
    };
    let first = next(&["--next", "2"]);
    assert_eq!((bound(&first), &first["stillDeferred"]), (vec![peer("2"), PROGRAM.to_owned()], &json!(3)));
    assert_eq!(bound(&next(&["--next", "1"])), [peer("3")]);
    let text = store.run(["restore", "--deferred"]).ok();
    assert!(text.stdout.contains("Readmitted: 2 bindings"), "{text}");
    assert_eq!(store.sessions("main"), bindings, "each is there as it was, wherever in the file");
    let mut after = store.tree();
    for tree in [&mut before, &mut after] {
        tree.0.remove(Path::new(STORE));
    }
    before.contents().assert_same(&after.contents());
    let none = store.run(["restore", "--deferred", "--next", "2"]).ok();
    assert!(none.stdout.contains("Nothing is deferred"), "{none}");
    store.run(["restore", "--next", "2"]).code(2);
    store.run(["restore", "--deferred", "--next", "0"]).code(2);
    store.run(["restore", "--deferred", "latest"]).code(2);
}

#[test]
fn a_key_that_was_bound_anew_is_never_readmitted() {
    let store = lively();
    store.run([&BOOT[..], &["--max-resumes", "5", "--protect", "hook"]].concat()).ok();
    assert!(store.sessions("main").get(peer("5")).is_none());
    let mut now = store.sessions("main");
    now[peer("5")] = json!({"sessionId": "anew", "updatedAt": 1_795_384_740_000_u64});
    store.write(STORE, serde_json::to_vec_pretty(&now).unwrap());
    let text = store.read(STORE);
    let restored = store.run(["restore", "--deferred", "--json"]).ok().json();
    assert_eq!(restored["superseded"], json!([peer("5")]));
    assert_eq!(support::bound(&restored), [peer("4")]);
    assert_eq!(store.sessions("main")[peer("5")]["sessionId"], "anew");
    assert!(store.read(STORE).len() >= text.len());
    // Not even when the new one is gone: the old one would be a surprise by then.
    now.as_object_mut().unwrap().remove(&peer("5"));
    store.write(STORE, serde_json::to_vec_pretty(&now).unwrap());
    let again = store.run(["restore", "--deferred", "--json"]).ok().json();
    assert_eq!((&again["bindings"], &again["stillDeferred"]), (&json!([]), &json!(0)));
    let named = store.run(["restore", &peer("5"), "--json"]).ok().json();
    assert_eq!(support::bound(&named), [peer("5")], "by name it comes back");
}

#[test]
fn beside_a_gateway_readmission_keeps_to_the_lock_or_is_refused() {
    for (version, code) in [("2026.3.11", 0), ("2026.6.11", 4)] {
        let cut_off = |one: support::build::Binding| one.interrupted().idle("30m").field("status", "running");
        let store = StoreBuilder::new()
            .agent("main")
            .binding(&peer("1"), cut_off)
            .binding(&peer("2"), cut_off)
            .config(&format!(r#"{{meta: {{lastTouchedVersion: "{version}"}}}}"#))
            .build();
        store.run([&BOOT[..], &["--max-resumes", "1"]].concat()).ok();
        assert_eq!(store.sessions("main").as_object().unwrap().len(), 1);
        let gateway = LiveProcess::spawn();
        store.gateway_lock(gateway.pid(), gateway.starttime());
        store.run(["restore", "--deferred", "--next", "1"]).code(code);
        assert_eq!(store.sessions("main").as_object().unwrap().len(), if code == 0 { 2 } else { 1 });
        if code != 0 {
            store.run(["restore", "--deferred", "--online"]).ok();
            store.run(["restore", "--deferred"]).ok();
        }
    }
}

#[test]
fn nothing_on_the_host_is_a_reason_not_to_start() {
    let line = |output: Output, words: &str| {
        assert_eq!(output.code, Some(0), "{output}");
        assert!(output.stderr.lines().count() == 1 && output.stderr.contains(words), "{words}: {output}");
    };
    let boot = ["gc", "--boot", "--now", NOW];
    let store = lively();
    line(store.run_bare(["gc", "--boot", "--state-dir", "/nowhere/at/all"], &[]), "no state directory");
    line(store.run([&boot[..], &["--agent", "nobody"]].concat()), "nobody");
    store.write("claw-sessions.toml", "idel = \"1h\"\n");
    line(store.run(boot), "idel");
    store.remove("claw-sessions.toml");
    line(store.run([&boot[..], &["--config", "/nowhere.toml"]].concat()), "/nowhere.toml");

    store.run(["gc", "--idle", "270m", "--now", NOW]).ok();
    let lock = File::options().write(true).open(store.path("claw-sessions/lock")).unwrap();
    lock.lock().unwrap();
    line(store.run(boot), "another claw-sessions");
    drop(lock);

    let held = LiveProcess::spawn();
    store.write(format!("{STORE}.lock"), held.lock());
    let busy = store.run([&boot[..], &["--idle", "1h"]].concat());
    line(busy, "is held by pid");
    store.remove(format!("{STORE}.lock"));

    // A dry run leaves no trace, not even of its failure.
    let before = store.tree();
    line(store.run([&boot[..], &["-n", "--agent", "nobody"]].concat()), "nobody");
    before.exact().assert_same(&store.tree().exact());

    // A wrong command line is the one thing that is not forgiven.
    store.run(["gc", "--boot", "--deadline", "soon"]).code(2);
    store.run(["gc", "--boot", "--plan", "x"]).code(2);
}

#[test]
fn a_failed_start_is_noted_where_runs_are_listed_and_once() {
    let store = lively();
    store.write(STORE, "[]");
    for _ in 0..3 {
        store.run(BOOT).ok();
    }
    let runs = store.run(["runs", "--json"]).ok().json();
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!(store.read("claw-sessions/history.jsonl").split(|&byte| byte == b'\n').count(), 2, "one line");
    assert!(runs[0]["problems"][0].as_str().unwrap().contains("not-an-object"), "{runs:#?}");
    assert_eq!((&runs[0]["restorable"], &runs[0]["bindings"]), (&json!(false), &json!(0)));
    let text = store.run(["runs"]).ok();
    assert!(text.stdout.contains("could not do all") && text.stdout.contains("not-an-object"), "{text}");

    // A start that did something says in the same run what it could not do.
    let store = StoreBuilder::new()
        .agent("main")
        .binding(&peer("1"), |one| one.idle("9d"))
        .agent("desk")
        .binding("agent:desk:telegram:direct:1", |one| one.idle("9d"))
        .build();
    store.write("agents/desk/sessions/sessions.json", "[]");
    let done = store.run(BOOT).ok().json();
    let runs = store.run(["runs", "--json"]).ok().json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    assert_eq!(runs["runs"][0]["id"], done["run"]);
    assert_eq!(runs["runs"][0]["bindings"], 1);
    assert!(runs["runs"][0]["problems"][0].as_str().unwrap().contains("desk"), "{runs:#}");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_left_and_told() {
    let store = lively();
    let Some(mut command) = store.ordinary(["gc", "--boot", "--idle", "1h", "--now", NOW]) else {
        return sys::skip("no ordinary user: no setpriv");
    };
    store.make_read_only();
    let before = store.tree();
    let output = Output::of(&mut command);
    let after = store.tree();
    store.make_writable();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("the gateway starts as it is"), "{output}");
    before.exact().assert_same(&after.exact());
}

#[test]
fn the_estimate_names_both_models_the_agents_and_what_costs_most() {
    let store = Store::recorded("real-gateway");
    let scan = store.scan(["--now", NOW]);
    let startup = &scan["startup"];
    assert_eq!((&startup["model"], &startup["other"]["model"]), (&json!("all-bindings"), &json!("interrupted-only")));
    assert_eq!(startup["slots"], 4);
    let agents = startup["agents"].as_array().unwrap();
    let sum: u64 = agents.iter().map(|one| one["before"]["resumable"].as_u64().unwrap()).sum();
    assert_eq!(json!(sum), startup["before"]["resumable"]);
    let costliest = startup["costliest"].as_array().unwrap();
    assert_eq!(costliest.len(), 10);
    let worst = binding(&scan, costliest[0]["key"].as_str().unwrap());
    assert_eq!((&worst["run"], &worst["integrity"]), (&costliest[0]["run"], &costliest[0]["integrity"]));
}

#[test]
fn the_history_does_not_grow_without_bound() {
    let store = StoreBuilder::new().agent("main").binding(&peer("1"), |one| one.idle("9d")).build();
    store.gc(["--now", NOW]).ok();
    let line = store.read("claw-sessions/history.jsonl");
    store.write("claw-sessions/history.jsonl", line.repeat((1 << 20) / line.len() + 1));
    store.restore_latest().ok();
    let history = String::from_utf8(store.read("claw-sessions/history.jsonl")).unwrap();
    assert!(history.len() < (1 << 20) * 6 / 10, "{} bytes", history.len());
    assert!(history.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert!(history.lines().last().unwrap().contains("\"restore\""));
}

/// A run whose stores were rewritten and whose files did not follow, as a deadline or a kill leaves it.
fn cut_off(store: &Store, change: impl FnOnce(&mut Value)) -> String {
    let run = store.run([&BOOT[..], &["--max-resumes", "2"]].concat()).ok().json()["run"].as_str().unwrap().to_owned();
    let mut manifest = store.manifest(&run);
    manifest["state"] = json!("unfinished");
    for step in manifest["steps"].as_array_mut().unwrap() {
        let from = Path::new(step["path"].as_str().unwrap()).to_owned();
        let archived =
            store.path(format!("claw-sessions/runs/{run}")).join(step["change"]["archive"]["to"].as_str().unwrap());
        std::fs::rename(archived, from).unwrap();
        step["state"] = json!("planned");
    }
    change(&mut manifest);
    store.set_manifest(&run, manifest);
    run
}

#[test]
fn nothing_is_restored_of_a_run_that_cannot_be_finished_and_nothing_of_it_is_lost() {
    let store = lively();
    let before = store.sessions("main");
    let run = cut_off(&store, |_| ());
    let text = store.read(STORE);
    // A store that cannot be read may refer to any of its files: they stay, and the run stays unfinished.
    store.write(STORE, &text[..text.len() - 20]);
    let refused = store.run(["restore", &run]).code(4);
    assert!(refused.stdout.contains("Nothing was restored.\n"), "{refused}");
    assert!(refused.stdout.contains("no readable store now"), "{refused}");
    store.run(["gc", "--keep-runs", "1s", "--now", "2027-06-01T00:00:00Z"]).code(4);
    assert_eq!(transcripts(&store).len(), 7, "no orphan was taken");
    store.write(STORE, text);
    store.run(["restore", &run]).ok();
    assert_eq!(store.sessions("main"), before);
    assert_eq!(store.scan(["--now", NOW])["files"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_file_whose_entry_is_in_the_archive_is_no_orphan() {
    let store = lively();
    let before = store.sessions("main");
    store.run([&BOOT[..], &["--max-resumes", "2"]].concat()).ok();
    let holder = LiveProcess::spawn();
    store.write(format!("{STORE}.lock"), holder.lock());
    // The files come back first; the entries are refused while somebody holds the lock.
    store.run(["restore", "--deferred"]).code(4);
    store.remove(format!("{STORE}.lock"));
    let later = "2026-12-24T00:00:00Z";
    let swept = store.run(["gc", "--json", "--now", later]).ok().json();
    assert_eq!(swept["done"]["archive"], 0, "{swept:#}");
    store.run(["restore", "--deferred"]).ok();
    assert_eq!(store.sessions("main"), before);
    assert!(store.scan(["--now", NOW])["bindings"].as_array().unwrap().iter().all(|one| one["integrity"] == "intact"));
}

#[test]
fn readmission_undoes_nothing_else_and_one_broken_store_does_not_hold_up_the_others() {
    let shared = "node-1";
    let store = StoreBuilder::new()
        .agent("main")
        .binding(shared, |one| one.idle("30m").session_id("here"))
        .binding(&peer("1"), |one| one.idle("1h"))
        .agent("desk")
        .binding("agent:desk:telegram:direct:1", |one| one.idle("2h"))
        .binding(shared, |one| one.idle("9d").session_id("there"))
        .config(r#"{session: {reset: {mode: "idle", idleMinutes: 1000}}}"#)
        .build();
    let done = store.run([&BOOT[..], &["--max-resumes", "0"]].concat()).ok().json();
    assert_eq!((&done["done"]["defer"], &done["done"]["expire"]), (&json!(3), &json!(1)));
    let desk = store.read("agents/desk/sessions/sessions.json");
    store.write("agents/desk/sessions/sessions.json", "{broken");
    let first = store.run(["restore", "--deferred", "--json"]).code(4).json();
    assert_eq!(support::bound(&first), [shared.to_owned(), peer("1")]);
    assert!(first["refused"][0]["what"].as_str().unwrap().contains("desk"), "{first:#}");
    store.write("agents/desk/sessions/sessions.json", desk);
    let second = store.run(["restore", "--deferred", "--json"]).ok().json();
    assert_eq!(support::bound(&second), ["agent:desk:telegram:direct:1"]);
    assert!(store.sessions("desk").get(shared).is_none(), "what expired stays away");
}

#[test]
fn what_cannot_be_printed_or_read_is_no_reason_either() {
    let store = lively();
    let mut full = store.command(["gc", "--boot", "--json", "--state-dir"]);
    full.arg(store.state_dir()).stdout(File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(Output::of_status(&mut full), Some(0));
    let pipe = store.path("claw-sessions.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let told = store.run(["gc", "--boot", "--now", NOW]).ok();
    assert!(told.stderr.contains("not a file"), "{told}");
    store.remove("claw-sessions.toml");
    // A store of a size that no memory holds.
    File::options().write(true).open(store.path(STORE)).unwrap().set_len(1 << 43).unwrap();
    let huge = store.run(["gc", "--boot", "--now", NOW]).ok();
    assert!(huge.stderr.contains("no memory for"), "{huge}");
}
