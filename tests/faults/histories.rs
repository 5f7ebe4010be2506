//! Random histories: every command that changes something, a gateway that writes in between, days that pass, kills. After
//! each step no byte of any session is out of reach, unless a person had it deleted by name; at the end all of it comes
//! back. The same seed makes the same history.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use support::openclaw::{Rng, pretty};
use support::{NOW, Output, Store, StoreBuilder, sys};

use crate::ledger;

const PART: &str = "random histories";

/// Sequences of the sample, and of all.
const SEQUENCES: [usize; 2] = [100, 2_000];

/// Steps of a sequence.
const STEPS: usize = 14;

/// One of this many commands is killed.
const KILLED: u64 = 4;

#[test]
fn no_history_loses_a_byte() {
    let all = SEQUENCES[usize::from(crate::full())];
    let first = std::env::var("SEED").ok().map(|seed| seed.parse::<usize>().unwrap());
    let seeds: Vec<usize> = first.map_or_else(|| (0..all).collect(), |seed| vec![seed]);
    let kills = sys::has("strace");
    if !kills {
        ledger::skip(PART, "kills", "no strace");
    }
    ledger::each(PART, "sequences of commands, turns, days and kills", &seeds, |seed| {
        let mut history = History::new(*seed, kills);
        for _ in 0..STEPS {
            history.step();
        }
        history.end();
    });
}

/// The check finds what is lost.
#[test]
fn a_lost_byte_is_found() {
    for lost in ["a transcript", "an entry"] {
        let mut history = History::new(7, false);
        history.step();
        if lost == "a transcript" {
            let is_one = |path: &PathBuf| path.extension().is_some_and(|end| end == "jsonl");
            let path = history.files().into_keys().find(is_one);
            history.store.remove(path.unwrap());
        } else {
            let mut sessions = history.store.sessions("main");
            let key = sessions.as_object().unwrap().keys().next().unwrap().clone();
            sessions.as_object_mut().unwrap().remove(&key);
            history.store.write(STORE, pretty(&sessions));
        }
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.check("a control")));
        assert!(broken.is_err(), "{lost} was lost, and nobody saw it");
    }
}

const STORE: &str = "agents/main/sessions/sessions.json";
const AGENTS: [&str; 2] = ["main", "desk"];

/// A state directory, and what must be in it.
struct History {
    store: Store,
    rng: Rng,
    now: DateTime<Utc>,
    kills: bool,
    /// What was done, for messages.
    told: Vec<String>,
    /// The bytes that a transcript had when the gateway wrote it, or when it was damaged.
    transcripts: Vec<Vec<u8>>,
    /// The marks of entries, one for each session.
    entries: BTreeSet<String>,
    next: usize,
}

impl History {
    fn new(seed: usize, kills: bool) -> Self {
        let store = StoreBuilder::new()
            .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
            .build_in(Store::empty_in_memory());
        let mut history = Self {
            store,
            rng: Rng::of(&format!("history {seed}")),
            now: NOW.parse().unwrap(),
            kills,
            told: vec![format!("SEED={seed}")],
            transcripts: Vec::new(),
            entries: BTreeSet::new(),
            next: 0,
        };
        for agent in AGENTS {
            history.store.write(store_of(agent), "{}");
            for _ in 0..4 {
                let idle = [1, 3, 9, 40][history.rng.below(4) as usize];
                history.begin(agent, idle);
            }
        }
        history.check("at first");
        history
    }

    fn step(&mut self) {
        let what = self.rng.below(20);
        match what {
            0..=4 => self.gc(),
            5 => self.command(&["gc", "--boot", "--max-resumes", "2"]),
            6 => {
                let key = self.some_key();
                self.command(&["quarantine", &key]);
            }
            7 => self.command(&["quarantine", "--damaged"]),
            8 => self.command(&["validate", "--repair"]),
            9..=11 => self.restore(),
            12 => self.planned(),
            13 | 14 => self.turn(),
            15 => {
                let agent = AGENTS[self.rng.below(2) as usize];
                self.begin(agent, 0);
            }
            16 => self.bind_anew(),
            17 => self.damage(),
            18 => self.delete_by_name(),
            _ => self.now += TimeDelta::hours(1 + self.rng.below(100) as i64),
        }
        let last = self.told.last().unwrap().clone();
        self.check(&last);
    }

    fn gc(&mut self) {
        let options: [&[&str]; 6] = [
            &[],
            &["--all"],
            &["--idle", "2d", "--no-orphans"],
            &["--max-resumes", "1"],
            &["--only", "*:1*"],
            &["--salvage", "--failed", "any"],
        ];
        let options = options[self.rng.below(6) as usize];
        self.command(&[&["gc"], options].concat());
    }

    fn restore(&mut self) {
        let runs = self.store.run(["runs", "--json"]).json();
        let ids: Vec<String> =
            runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
        let what = match self.rng.below(4) {
            0 => "latest".to_owned(),
            1 if !ids.is_empty() => ids[self.rng.below(ids.len() as u64) as usize].clone(),
            2 => "--deferred".to_owned(),
            _ => self.some_key(),
        };
        let as_new: &[&str] = if what != "--deferred" && self.rng.below(3) == 0 { &["--as-new"] } else { &[] };
        self.command(&[&["restore", &what], as_new].concat());
    }

    /// A plan that is applied after something else happened.
    fn planned(&mut self) {
        let path = self.store.root().join("plan.json");
        let _ = std::fs::remove_file(&path);
        let path = path.display().to_string();
        self.command(&["gc", "--plan", &path]);
        match self.rng.below(3) {
            0 => self.turn(),
            1 => self.bind_anew(),
            _ => {}
        }
        if Path::new(&path).exists() {
            self.command(&["gc", "--apply", &path]);
        }
    }

    /// What a person has deleted: in quarantine, or with a run.
    fn delete_by_name(&mut self) {
        let before = self.files();
        let args: &[&str] = if self.rng.below(2) == 0 {
            &["quarantine", "purge", "--older-than", "1h", "--yes"]
        } else {
            &["runs", "prune", "--older-than", "1h", "--yes"]
        };
        self.age_runs();
        self.command(args);
        let after = self.files();
        let holders = |files: &BTreeMap<PathBuf, Vec<u8>>, bytes: &[u8]| -> Vec<PathBuf> {
            files.iter().filter(|(_, file)| contains(file, bytes)).map(|(path, _)| path.clone()).collect()
        };
        let own = |paths: Vec<PathBuf>| paths.iter().all(|path| path.starts_with("claw-sessions/runs"));
        self.transcripts.retain(|bytes| !holders(&after, bytes).is_empty() || !own(holders(&before, bytes)));
        // The original of a store that was salvaged is no place from which an entry comes back.
        let original = |path: &PathBuf| path.starts_with("claw-sessions/runs") && path.ends_with("sessions.json");
        self.entries.retain(|mark| {
            let mark = mark.as_bytes();
            let purged = holders(&after, mark).iter().all(original) && !holders(&before, mark).iter().all(original);
            !purged || !own(holders(&before, mark))
        });
    }

    /// All runs that ended did so a day earlier.
    fn age_runs(&self) {
        for run in self.store.run_ids() {
            if !self.store.exists(format!("claw-sessions/runs/{run}/manifest.json")) {
                continue;
            }
            let mut manifest = self.store.manifest(&run);
            for clock in ["finishedAt", "startedAt", "notBefore"] {
                if let Some(time) = manifest[clock].as_str() {
                    manifest[clock] = json!(time.parse::<DateTime<Utc>>().unwrap() - TimeDelta::days(1));
                }
            }
            self.store.set_manifest(&run, manifest);
        }
    }

    /// Runs a command that changes something, and perhaps kills it.
    fn command(&mut self, args: &[&str]) {
        let now = self.now.to_rfc3339_opts(SecondsFormat::Secs, true);
        let args = [args, &["--now", &now, "--jobs", "1"]].concat();
        let killed = self.kills && self.rng.below(KILLED) == 0;
        if killed {
            let calls = ["renameat", "renameat2", "unlinkat", "linkat", "fsync", "write", "openat"];
            let point = (calls[self.rng.below(7) as usize], 1 + self.rng.below(30) as usize);
            let ended = kill_any(&self.store, &args, point);
            self.told.push(format!("{} (SIGKILL at {} {}: {ended})", args.join(" "), point.0, point.1));
        } else {
            let output = self.store.run(&args);
            assert!(matches!(output.code, Some(0..=4)), "{}\n{output}", self.told.join("\n"));
            self.told.push(format!("{}: {:?}", args.join(" "), output.code));
        }
    }

    /// A new session, idle for so many days.
    fn begin(&mut self, agent: &str, idle: i64) {
        self.next += 1;
        let (number, at) = (self.next, self.now - TimeDelta::days(idle));
        let key = match self.rng.below(4) {
            0 => format!("agent:{agent}:hook:{number}"),
            1 => "global".to_owned(),
            _ => format!("agent:{agent}:telegram:direct:{number}"),
        };
        let sessions = self.sessions(agent);
        if sessions.get(&key).is_some() {
            return;
        }
        self.bind(agent, &key, number, at);
    }

    fn bind(&mut self, agent: &str, key: &str, number: usize, at: DateTime<Utc>) {
        let id = format!("s{number}");
        let mark = format!("mark-{number}-");
        let mut sessions = self.sessions(agent);
        sessions[key] = json!({
            "sessionId": id, "updatedAt": at.timestamp_millis(), "systemSent": true, "label": mark,
        });
        let time = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let header = json!({"type": "session", "version": 3, "id": id, "timestamp": time, "cwd": "/w"});
        let text = format!("{header}\n{}{}", line(number, 1, "user", &time), line(number, 2, "assistant", &time));
        let path = transcript(agent, &id);
        self.store.write(&path, &text);
        self.store.write(store_of(agent), pretty(&sessions));
        self.keep(text.into_bytes());
        self.entries.insert(mark);
        self.told.push(format!("{key} of {agent} begins with {id}"));
    }

    /// The gateway adds a turn to a session that is bound.
    fn turn(&mut self) {
        let Some((agent, key, id)) = self.some_bound() else { return };
        let path = transcript(&agent, &id);
        if !self.store.exists(&path) {
            return;
        }
        let mut text = self.store.read(&path);
        let time = self.now.to_rfc3339_opts(SecondsFormat::Millis, true);
        let number = 1000 + self.told.len();
        text.extend_from_slice(line(number, 1, "user", &time).as_bytes());
        text.extend_from_slice(line(number, 2, "assistant", &time).as_bytes());
        self.store.write(&path, &text);
        let mut sessions = self.sessions(&agent);
        sessions[&key]["updatedAt"] = json!(self.now.timestamp_millis());
        self.store.write(store_of(&agent), pretty(&sessions));
        self.keep(text);
        self.told.push(format!("a turn of {key} of {agent} in {id}"));
    }

    /// The key begins a new session; OpenClaw archives the transcript of the old one under a name of its own.
    fn bind_anew(&mut self) {
        let Some((agent, key, id)) = self.some_bound() else { return };
        let path = transcript(&agent, &id);
        let mark = self.sessions(&agent)[&key]["label"].as_str().unwrap_or_default().to_owned();
        if self.store.exists(&path) {
            let time = self.now.format("%Y-%m-%dT%H-%M-%S.000Z");
            let reset = format!("{path}.reset.{time}");
            if self.store.exists(&reset) {
                return;
            }
            std::fs::rename(self.store.path(&path), self.store.path(&reset)).unwrap();
        }
        self.entries.remove(&mark);
        self.next += 1;
        let (number, now) = (self.next, self.now);
        self.bind(&agent, &key, number, now);
    }

    /// A transcript loses its header, or a store gets a byte order mark.
    fn damage(&mut self) {
        if self.rng.below(3) == 0 {
            let text = self.store.read(STORE);
            if text.starts_with(b"{") {
                self.store.write(STORE, [b"\xef\xbb\xbf", &text[..]].concat());
                self.told.push("a byte order mark".to_owned());
            }
            return;
        }
        let Some((agent, key, id)) = self.some_bound() else { return };
        let path = transcript(&agent, &id);
        if !self.store.exists(&path) {
            return;
        }
        let text = self.store.read(&path);
        let Some(end) =
            text.iter().position(|byte| *byte == b'\n').filter(|_| text.starts_with(b"{\"type\":\"session\""))
        else {
            return;
        };
        let cut = text[end + 1..].to_vec();
        self.store.write(&path, &cut);
        self.transcripts.retain(|known| !text.starts_with(known));
        self.keep(cut);
        self.told.push(format!("{key} of {agent} loses the header of {id}"));
    }

    fn keep(&mut self, text: Vec<u8>) {
        self.transcripts.retain(|known| !text.starts_with(known));
        self.transcripts.push(text);
    }

    /// The parsed store; a gateway reads none that is broken, and then writes nothing here.
    fn sessions(&self, agent: &str) -> Value {
        let text = if self.store.exists(store_of(agent)) { self.store.read(store_of(agent)) } else { Vec::new() };
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        serde_json::from_slice(text).unwrap_or_else(|_| json!({}))
    }

    fn some_key(&mut self) -> String {
        let number = 1 + self.rng.below(self.next as u64);
        match self.rng.below(4) {
            0 => format!("agent:main:hook:{number}"),
            1 => "global".to_owned(),
            _ => format!("agent:main:telegram:direct:{number}"),
        }
    }

    fn some_bound(&mut self) -> Option<(String, String, String)> {
        let mut bound = Vec::new();
        for agent in AGENTS {
            for (key, entry) in self.sessions(agent).as_object().unwrap() {
                let id = entry["sessionId"].as_str().unwrap_or_default().to_owned();
                bound.push((agent.to_owned(), key.clone(), id));
            }
        }
        if bound.is_empty() { None } else { Some(bound.swap_remove(self.rng.below(bound.len() as u64) as usize)) }
    }

    /// Every file of the state directory with its bytes, locks and what only describes others left out.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (path, node) in self.store.tree().0 {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let told = name.starts_with("manifest")
                || ["lock", "boots.json", "history.jsonl"].iter().any(|end| name.ends_with(end));
            // What is forgotten is out of reach before the last of it is deleted.
            let gone = path.to_string_lossy().contains(".forgotten/");
            if node.kind == "file" && !told && !gone && !name.ends_with(".claw-sessions.tmp") {
                files.insert(path, node.bytes);
            }
        }
        files
    }

    /// Nothing is out of reach.
    fn check(&self, at: &str) {
        self.check_in(&self.files(), at);
    }

    fn check_in(&self, files: &BTreeMap<PathBuf, Vec<u8>>, at: &str) {
        let told = || self.told.join("\n");
        for bytes in &self.transcripts {
            let there = files.values().any(|file| contains(file, bytes));
            let first = String::from_utf8_lossy(&bytes[..bytes.len().min(90)]).into_owned();
            assert!(there, "{at}: a transcript is lost: {first}\n{}", told());
        }
        for mark in &self.entries {
            assert!(files.values().any(|file| contains(file, mark.as_bytes())), "{at}: {mark} is lost\n{}", told());
        }
    }

    /// Somebody takes the byte order mark away.
    fn mend_stores(&self) {
        for agent in AGENTS {
            let text = self.store.read(store_of(agent));
            if let Some(text) = text.strip_prefix(b"\xef\xbb\xbf") {
                self.store.write(store_of(agent), text);
            }
        }
    }

    /// Everything that is away comes back.
    fn end(&mut self) {
        // What was cut off is finished, and nothing else is taken.
        self.mend_stores();
        let now = self.now.to_rfc3339_opts(SecondsFormat::Secs, true);
        let settle = ["gc", "--salvage", "--keep", "*", "--no-orphans", "--now", &now];
        let output = self.store.run(settle);
        assert!(matches!(output.code, Some(0 | 3 | 4)), "{}\n{output}", self.told.join("\n"));
        let runs = self.store.run(["runs", "--json"]).ok().json();
        let unfinished = runs["runs"].as_array().unwrap().iter().filter(|run| run["state"] == "unfinished").count();
        assert_eq!(unfinished, 0, "{}\n{runs:#}", self.told.join("\n"));
        let mut outputs: Vec<Output> = Vec::new();
        for run in runs["runs"].as_array().unwrap().iter().rev().filter(|run| run["restorable"] == true) {
            let output = self.store.run(["restore", run["id"].as_str().unwrap(), "--as-new"]);
            assert!(matches!(output.code, Some(0 | 4)), "{}\n{output}", self.told.join("\n"));
            outputs.push(output);
            // A store that was salvaged is broken again, as it was.
            self.mend_stores();
        }
        let mut files = self.files();
        files.retain(|path, _| path.starts_with("agents"));
        let told: Vec<String> = outputs.iter().map(ToString::to_string).collect();
        self.check_in(&files, &format!("after every restore\n{}", told.join("\n")));
        let own = |path: &&PathBuf| path.to_string_lossy().ends_with(".claw-sessions.tmp");
        let tree = self.store.tree();
        let left: Vec<_> = tree.0.keys().filter(own).collect();
        assert!(left.is_empty(), "{left:?} lie about\n{}", self.told.join("\n"));
    }
}

fn kill_any(store: &Store, args: &[&str], point: (&'static str, usize)) -> bool {
    let output = crate::strace::inject(store, args, point, "signal=SIGKILL");
    assert!(output.code.is_none_or(|code| matches!(code, 0..=4 | 137)), "{point:?}: {output}");
    output.code.is_none_or(|code| code == 137)
}

fn store_of(agent: &str) -> String {
    format!("agents/{agent}/sessions/sessions.json")
}

fn transcript(agent: &str, id: &str) -> String {
    format!("agents/{agent}/sessions/{id}.jsonl")
}

fn line(number: usize, at: usize, role: &str, time: &str) -> String {
    let id = format!("{:08x}", number * 16 + at);
    let parent = if at == 1 { Value::Null } else { json!(format!("{:08x}", number * 16 + at - 1)) };
    let stop = if role == "assistant" { json!("stop") } else { Value::Null };
    let message = json!({
        "role": role, "content": [{"type": "text", "text": format!("turn {number} {at}")}], "stopReason": stop,
    });
    format!("{}\n", json!({"type": "message", "id": id, "parentId": parent, "timestamp": time, "message": message}))
}

fn contains(file: &[u8], bytes: &[u8]) -> bool {
    memchr::memmem::find(file, bytes).is_some()
}
