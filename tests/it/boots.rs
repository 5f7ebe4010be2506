//! 200 starts in a row: `gc --boot`, then a gateway that talks, runs jobs, resets and dies, six hours each. No binding
//! and no file is gone that the run did not list and keep, and nothing grows without bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use claw_sessions::model::store;
use serde_json::{Value, json};
use support::Store;
use support::gateway::Gateway;
use support::openclaw::{HOUR, Rng};
use walkdir::WalkDir;

const BOOTS: usize = 200;
/// A start every six hours.
const EVERY: i64 = 6 * HOUR;
/// What a host that starts so often gives: OpenClaw's archives stay for a week, runs for ten days.
const LIMITS: [&str; 6] = ["--purge-archives", "7d", "--purge-resets", "7d", "--keep-runs", "10d"];
/// By then, two weeks on, the first archives and runs were forgotten: from here on nothing may grow.
const SETTLED: usize = 60;
/// Half an hour after the recording ended.
const RECORDED_UNTIL: &str = "2026-11-22T22:30:00Z";

#[test]
fn on_two_hundred_starts_of_real_small_nothing_is_lost_and_nothing_piles_up() {
    boots("real-small");
}

#[test]
fn on_two_hundred_starts_of_real_gateway_nothing_is_lost_and_nothing_piles_up() {
    boots("real-gateway");
}

fn boots(name: &str) {
    let store = Store::recorded_in_memory(name);
    // The recording's configuration does not name the version that made it.
    let mut config: Value = serde_json::from_slice(&store.read("openclaw.json")).unwrap();
    config["meta"] = json!({"lastTouchedVersion": "2026.3.11"});
    store.write("openclaw.json", config.to_string());

    let mut gateway = Gateway::new(&store, name);
    let mut sizes = Vec::new();
    let (mut taken, mut quarantined) = (0, 0);
    for boot in 1..=BOOTS {
        let now = RECORDED_UNTIL.parse::<DateTime<Utc>>().unwrap().timestamp_millis() + boot as i64 * EVERY;
        let at = format!("{name}, start {boot}");
        let (done, lost) = boot_once(&store, now, &at);
        taken += lost;
        quarantined += done["done"]["quarantine"].as_u64().unwrap();
        sizes.push(Size::of(&store, &gateway, &at));
        gateway.run(now);
        if boot % 4 == 0 {
            a_day_goes_by(&store);
        }
        if boot % 40 == 0 {
            // gc never forgets what is in quarantine; people do.
            store.run(["quarantine", "purge", "--older-than", "10d", "--yes"]).ok();
        }
    }
    assert!(taken > 200, "{name}: the rules bit, {taken} times");
    // The conversations of real-small are protected ones, and no start runs them again.
    let poisoned = quarantined > 0 || name == "real-small";
    assert!(poisoned && gateway.deaths > 20, "{name}: {quarantined} quarantined, {} deaths", gateway.deaths);
    Size::assert_bounded(&sizes, name);
    restores_bring_bytes_back(&store, name);
}

/// One start; what was there before is there after it, byte for byte, or in the archive of the run.
fn boot_once(store: &Store, now: i64, at: &str) -> (Value, usize) {
    let (entries, files) = (entries(store), files(store));
    // The system's clock is not that of the story: a store from the future would be a trace of a wrong one.
    for agent in agents(store) {
        let text = fs::File::options().append(true).open(store.path(format!("agents/{agent}/sessions/sessions.json")));
        text.unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    }
    let now = DateTime::from_timestamp_millis(now).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true);
    let output = store.run([&["gc", "--boot", "--json", "--now", &now], &LIMITS[..]].concat());
    assert_eq!(output.code, Some(0), "{at}: {output}");
    let done = output.json();
    for left in ["skipped", "failed", "refused", "recovered"] {
        assert!(done[left].as_array().unwrap().is_empty(), "{at}: {left}: {output}");
    }
    let archive = Archive::of(store, &done["run"]);
    let mut lost = 0;
    let after = self::entries(store);
    for (place, bytes) in &entries {
        if let Some(now) = after.get(place) {
            assert!(now == bytes, "{at}: {place:?} changed");
            continue;
        }
        assert_eq!(archive.entries.get(place), Some(bytes), "{at}: {place:?} is gone and not in the archive");
        let listed = done["bindings"].as_array().unwrap().iter().find(|one| one["key"] == *place.1);
        let action = listed.unwrap()["action"].as_str().unwrap();
        assert!(matches!(action, "expire" | "quarantine"), "{at}: {place:?} was to {action}");
        lost += 1;
    }
    assert!(after.keys().all(|place| entries.contains_key(place)), "{at}: a binding came from nowhere");
    assert_eq!(archive.entries.len(), lost, "{at}: what the run lists is what went");
    let after = self::files(store);
    for (path, bytes) in files.iter().filter(|(path, _)| !path.ends_with(".lock")) {
        let kept = after.get(path) == Some(bytes) || archive.files.get(path) == Some(bytes);
        assert!(kept || archive.purged.contains(path), "{at}: {path} is gone or changed, and not in the archive");
    }
    for path in &archive.purged {
        let archived = [".reset.", ".deleted.", ".bak."].iter().any(|marker| path.contains(marker));
        assert!(archived && files.contains_key(path), "{at}: {path} was purged");
    }
    (done, lost)
}

/// Every binding by agent and key, with the bytes of its entry.
fn entries(store: &Store) -> BTreeMap<(String, String), Vec<u8>> {
    let mut entries = BTreeMap::new();
    for agent in agents(store) {
        let text = store.read(format!("agents/{agent}/sessions/sessions.json"));
        let document = store::read(&text).unwrap();
        for place in document.effective(&text) {
            let entry = document.members[place.member].entry.span.of(&text).to_vec();
            entries.insert((agent.clone(), place.key), entry);
        }
    }
    entries
}

fn agents(store: &Store) -> Vec<String> {
    let dirs = fs::read_dir(store.path("agents")).unwrap().map(|dir| dir.unwrap().file_name().into_string().unwrap());
    dirs.filter(|agent| store.exists(format!("agents/{agent}/sessions/sessions.json"))).collect()
}

/// Every file of the sessions directories but the stores, by its path below the state directory.
fn files(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for agent in agents(store) {
        let dir = format!("agents/{agent}/sessions");
        for name in fs::read_dir(store.path(&dir)).unwrap().map(|file| file.unwrap().file_name()) {
            let path = format!("{dir}/{}", name.to_str().unwrap());
            if name != "sessions.json" {
                files.insert(path.clone(), store.read(&path));
            }
        }
    }
    files
}

/// What a run says it took, with the bytes that it kept.
#[derive(Default)]
struct Archive {
    entries: BTreeMap<(String, String), Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    purged: BTreeSet<String>,
}

impl Archive {
    fn of(store: &Store, run: &Value) -> Self {
        let mut archive = Self::default();
        let Some(run) = run.as_str() else { return archive };
        let dir = PathBuf::from("claw-sessions/runs").join(run);
        let manifest = store.manifest(run);
        let state_dir = store.state_dir();
        let below = |path: &Value| {
            let path = Path::new(path.as_str().unwrap()).strip_prefix(&state_dir);
            path.unwrap().to_str().unwrap().to_owned()
        };
        let there = |record: &&Value| record["state"] != "skipped" && record["undone"] != "purged";
        for batch in manifest["batches"].as_array().unwrap().iter().filter(there) {
            let removed = store.read(dir.join(batch["from"]["file"]["removed"].as_str().unwrap()));
            for entry in batch["entries"].as_array().unwrap().iter().filter(there) {
                let at = |end: usize| entry["part"]["cut"]["entryAt"][end].as_u64().unwrap() as usize;
                let place = (batch["agent"].as_str().unwrap().to_owned(), entry["key"].as_str().unwrap().to_owned());
                archive.entries.insert(place, removed[at(0)..at(1)].to_vec());
            }
        }
        for step in manifest["steps"].as_array().unwrap().iter().filter(there) {
            let change = &step["change"];
            let kept = ["archive", "clear-lock", "replace"].iter().find_map(|kind| change[kind]["to"].as_str());
            match kept {
                Some(kept) => drop(archive.files.insert(below(&step["path"]), store.read(dir.join(kept)))),
                None => drop(archive.purged.insert(below(&step["path"]))),
            }
        }
        archive
    }
}

/// The clock of past runs is the system's, whatever `--now` says: a day goes by when each ended a day earlier, and so
/// does every other trace of time.
fn a_day_goes_by(store: &Store) {
    for run in store.run_ids() {
        let mut manifest = store.manifest(&run);
        for clock in ["startedAt", "finishedAt", "notBefore"] {
            let time = manifest[clock].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
            manifest[clock] = json!(time - TimeDelta::days(1));
        }
        store.set_manifest(&run, manifest);
    }
    let path = "claw-sessions/history.jsonl";
    let history = String::from_utf8(store.read(path)).unwrap();
    let aged = history.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for clock in ["startedAt", "finishedAt"] {
            let time = line[clock].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
            line[clock] = json!(time - TimeDelta::days(1));
        }
        format!("{line}\n")
    });
    let aged: String = aged.collect();
    store.write(path, aged);
}

/// How much there is after a start.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bindings: usize,
    files: usize,
    bytes: usize,
    own_files: usize,
    own_bytes: usize,
}

type Measure = fn(&Size) -> usize;

impl Size {
    fn of(store: &Store, gateway: &Gateway<'_>, at: &str) -> Self {
        let mut size = Self { bindings: entries(store).len(), ..Self::default() };
        let mut crumbs = 0;
        for (path, bytes) in files(store) {
            assert!(!path.ends_with(".lock"), "{at}: {path} is left");
            assert!(!path.contains("claw-sessions"), "{at}: {path} is left");
            // What OpenClaw leaves when it dies, or copies before it repairs, nobody ever clears away: neither it nor gc.
            if path.ends_with(".tmp") || path.contains(".jsonl.bak-") {
                crumbs += 1;
                continue;
            }
            size.files += 1;
            size.bytes += bytes.len();
        }
        assert_eq!(crumbs, gateway.crumbs, "{at}: files that only OpenClaw makes");
        for (path, bytes) in lengths(&store.path("claw-sessions")) {
            assert!(!path.ends_with(".tmp"), "{at}: {path} is left");
            if !path.ends_with("history.jsonl") {
                size.own_files += 1;
                size.own_bytes += bytes;
            }
        }
        // How much is remembered hangs on how fast the test runs; that it forgets what is gone does not.
        let remembered: usize = lengths(&store.root().join("cache")).into_iter().map(|(_, bytes)| bytes).sum();
        assert!(
            remembered <= 4096 * (size.files + 1),
            "{at}: {remembered} bytes of {} files are remembered",
            size.files
        );
        size
    }

    /// The most there was at the end is not more than the most there was in the middle, give or take a fifth.
    fn assert_bounded(sizes: &[Self], name: &str) {
        let measures: [(&str, Measure); 5] = [
            ("bindings", |size| size.bindings),
            ("files", |size| size.files),
            ("bytes", |size| size.bytes),
            ("own files", |size| size.own_files),
            ("own bytes", |size| size.own_bytes),
        ];
        let (middle, end) = sizes[SETTLED..].split_at((sizes.len() - SETTLED) / 2);
        for (what, measure) in measures {
            let most = |sizes: &[Self]| sizes.iter().map(measure).max().unwrap();
            let (middle, end) = (most(middle), most(end));
            assert!(end * 5 <= middle * 6, "{name}: {what} grew from {middle} to {end}: {sizes:#?}");
        }
    }
}

/// The files below a directory and how long they are.
fn lengths(dir: &Path) -> Vec<(String, usize)> {
    let files = WalkDir::new(dir).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files.map(|entry| (entry.path().display().to_string(), entry.metadata().unwrap().len() as usize)).collect()
}

/// Of some of the runs that are left, all that is not in anybody's way comes back as it was.
fn restores_bring_bytes_back(store: &Store, name: &str) {
    let runs = store.run(["runs", "--json"]).ok().json()["runs"].as_array().unwrap().clone();
    let mut restorable: Vec<&Value> = runs.iter().filter(|run| run["restorable"] == true).collect();
    let mut rng = Rng::of(name);
    let (mut bindings, mut files) = (0, 0);
    for _ in 0..8 {
        let run = restorable.swap_remove(rng.below(restorable.len() as u64) as usize);
        let archive = Archive::of(store, &run["id"]);
        let output = store.run(["restore", run["id"].as_str().unwrap(), "--json"]);
        assert!(matches!(output.code, Some(0 | 4)), "{output}");
        let done = output.json();
        let refused: Vec<&str> =
            done["refused"].as_array().unwrap().iter().map(|left| left["what"].as_str().unwrap()).collect();
        let now = entries(store);
        for (place, bytes) in archive.entries.iter().filter(|(place, _)| !refused.contains(&place.1.as_str())) {
            assert_eq!(now.get(place), Some(bytes), "{name}: {place:?} of {}\n{output}", run["id"]);
            bindings += 1;
        }
        // A transcript comes back with its binding, or stays with it.
        let kept = |path: &str| {
            let name = Path::new(path).file_name().unwrap();
            let files = WalkDir::new(store.path("claw-sessions/runs").join(run["id"].as_str().unwrap())).into_iter();
            !refused.is_empty() && files.filter_map(Result::ok).any(|entry| entry.file_name() == name)
        };
        for (path, bytes) in archive.files.iter().filter(|(path, _)| store.exists(path) || !kept(path)) {
            if refused.contains(&path.as_str()) {
                continue;
            }
            assert!(store.read(path) == *bytes, "{name}: {path} of {}\n{output}", run["id"]);
            files += 1;
        }
    }
    assert!(bindings > 8 && files > 8, "{name}: {bindings} bindings and {files} files came back");
}
