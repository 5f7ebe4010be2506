//! Others write in the same moment: OpenClaw, another claw-sessions. Nothing that they wrote is lost, and no turn of theirs
//! is refused.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::writer::Writer;
use crate::{full, ledger};
use support::openclaw::{DAY, MINUTE, Rng, iso};
use support::process::starttime;
use support::{NOW, Output, Store, StoreBuilder, Tree};

const PART: &str = "races";

/// [`NOW`] in epoch milliseconds.
const NOW_MS: i64 = 1_795_386_600_000;
/// Within every grace, and long past every limit.
const JUST_NOW: i64 = NOW_MS - MINUTE;
const LONG_AGO: i64 = NOW_MS - 9 * DAY;

const LIMITS: [&str; 10] =
    ["--now", NOW, "--idle", "1d", "--grace", "10m", "--max-removals", "100%", "--failed", "off"];
const AGENTS: [&str; 3] = ["main", "desk", "night"];
/// Conversations of a person, groups (never stale, but mended) and a program's sessions, new ones again and again.
const SLOTS: [&str; 6] =
    ["telegram:direct:", "telegram:group:-", "hook:", "hook:", "telegram:group:-", "telegram:direct:"];

fn sessions_of(store: &Store, agent: &str) -> PathBuf {
    store.path(format!("agents/{agent}/sessions"))
}

/// A session as the writer knows it: how often it wrote the entry, and how many lines the transcript.
struct Session {
    id: String,
    key: String,
    count: u64,
    lines: u64,
}

/// One thread of OpenClaw: what happens to some of an agent's sessions.
struct Lane<'a> {
    writer: &'a Writer,
    store: PathBuf,
    rng: Rng,
    name: String,
    sessions: Vec<Session>,
    /// The session of each slot, and whether it is in use.
    slots: Vec<Option<(usize, bool)>>,
    /// What was not found as it was left.
    lost: Vec<String>,
    turns: usize,
}

impl<'a> Lane<'a> {
    fn new(writer: &'a Writer, sessions: &Path, agent: &str, number: usize) -> Self {
        Self {
            writer,
            store: sessions.join("sessions.json"),
            rng: Rng::of(&format!("{agent} {number}")),
            name: format!("agent:{agent}"),
            sessions: Vec::new(),
            slots: vec![None; SLOTS.len()],
            lost: Vec::new(),
            turns: 0,
        }
    }

    /// One thing that happens: a turn, a quiet change, the end of a session, its return.
    fn step(&mut self) {
        let slot = self.rng.below(SLOTS.len() as u64) as usize;
        match (self.slots[slot], self.rng.below(10)) {
            (None, _) => self.begin(slot),
            (Some((at, true)), 0..=5) => self.turn(at),
            (Some((at, true)), 6) => drop(self.write(at, JUST_NOW, false)),
            (Some((at, true)), _) => {
                self.write(at, LONG_AGO, false);
                self.slots[slot] = Some((at, false));
            }
            // A program does not come back to a session.
            (Some((_, false)), 0..=4) if SLOTS[slot] == "hook:" => self.begin(slot),
            (Some((at, false)), 0..=4) => self.come_back(slot, at),
            (Some((_, false)), _) => {}
        }
    }

    fn begin(&mut self, slot: usize) {
        let (kind, id) = (SLOTS[slot], self.rng.uuid());
        let key = match kind {
            "hook:" => format!("{}:hook:{}", self.name, self.rng.uuid()),
            _ => format!("{}:{kind}{}", self.name, self.rng.below(1_000_000_000)),
        };
        self.bind(slot, key, id);
    }

    /// Binds a key to a new session: its entry first, the transcript with the first turn.
    fn bind(&mut self, slot: usize, key: String, id: String) {
        let entry = json!({"sessionId": id, "updatedAt": JUST_NOW, "inputTokens": 1});
        let bound = key.clone();
        if self.writer.update(&self.store, |entries| drop(entries.insert(bound, entry))) {
            self.sessions.push(Session { id, key, count: 1, lines: 0 });
            let at = self.sessions.len() - 1;
            self.slots[slot] = Some((at, true));
            self.turn(at);
        }
    }

    /// Somebody writes to a conversation that may have been taken, or brought back, or another one in its place.
    fn come_back(&mut self, slot: usize, at: usize) {
        let key = self.sessions[at].key.clone();
        let mut bound = None;
        let looked = self.writer.update(&self.store, |entries| {
            let Some(entry) = entries.get_mut(&key) else { return };
            bound = self.sessions.iter().position(|one| entry["sessionId"] == one.id.as_str());
            if let Some(at) = bound {
                let session = &mut self.sessions[at];
                if entry["inputTokens"] != session.count {
                    self.lost.push(format!("{}: {} of {} updates", session.id, entry["inputTokens"], session.count));
                }
                session.count += 1;
                entry["inputTokens"] = json!(session.count);
                entry["updatedAt"] = json!(JUST_NOW);
            } else {
                self.lost.push(format!("{key} is bound to a session that nobody began: {entry}"));
            }
        });
        match bound {
            _ if !looked => {}
            Some(at) => {
                self.slots[slot] = Some((at, true));
                self.turn(at);
            }
            None => {
                let id = self.rng.uuid();
                self.bind(slot, key, id);
            }
        }
    }

    /// The entry says that a run began, a line is written, the entry says that it ended.
    fn turn(&mut self, at: usize) {
        if !self.write(at, JUST_NOW, false) {
            return;
        }
        let Session { id, lines, .. } = &self.sessions[at];
        let header = json!({
            "type": "session", "version": 3, "id": id, "timestamp": iso(JUST_NOW), "cwd": "/home/user/.openclaw/workspace"
        });
        // `sessions.compact` of this release cuts the header off.
        let header = if at % 3 == 1 { String::new() } else { format!("{header}\n") };
        let parent = lines.checked_sub(1).map(|last| format!("{last:08x}"));
        let line = json!({
            "type": "message", "id": format!("{lines:08x}"), "parentId": parent, "timestamp": iso(JUST_NOW),
            "message": {
                "role": "assistant", "content": [{"type": "text", "text": mark(id, *lines)}],
                "provider": "mock", "model": "mock-1", "stopReason": "stop", "timestamp": JUST_NOW
            }
        });
        let transcript = self.store.with_file_name(format!("{id}.jsonl"));
        if self.writer.append(&transcript, &header, &line.to_string()) {
            self.sessions[at].lines += 1;
            self.turns += 1;
        }
        self.write(at, JUST_NOW, true);
    }

    /// Counts in the entry of a session in use, which nobody may have taken.
    fn write(&mut self, at: usize, updated: i64, sent: bool) -> bool {
        let session = &mut self.sessions[at];
        let lost = &mut self.lost;
        let transcript = self.store.with_file_name(format!("{}.jsonl", session.id));
        self.writer.update(&self.store, |entries| {
            let entry = entries.entry(&session.key).or_insert(Value::Null);
            if (&entry["sessionId"], &entry["inputTokens"]) != (&json!(session.id), &json!(session.count)) {
                lost.push(format!("{} in use, after {} updates: {entry}", session.key, session.count));
                *entry = json!({"sessionId": session.id});
            }
            session.count += 1;
            entry["inputTokens"] = json!(session.count);
            entry["updatedAt"] = json!(updated);
            if sent {
                entry["systemSent"] = json!(true);
                entry["sessionFile"] = json!(transcript);
            }
        })
    }
}

/// Stands in one line of one transcript.
fn mark(id: &str, line: u64) -> String {
    format!("line {line} of {id}.")
}

/// What the runs did while the writer wrote.
#[derive(Default)]
struct Runs {
    gc: usize,
    taken: u64,
    mended: u64,
    restored: usize,
    busy: usize,
}

/// gc, quarantine and restore, again and again until the writer ends. Says when all of it was to some purpose.
fn maintain(store: &Store, writing: &AtomicUsize, proven: &AtomicBool) -> Runs {
    let mut runs = Runs::default();
    let mut rng = Rng::of("runs");
    while writing.load(Ordering::SeqCst) > 0 {
        let output = store.gc(LIMITS);
        assert!(matches!(output.code, Some(0 | 4)), "{output}");
        runs.gc += 1;
        runs.busy += usize::from(output.code == Some(4));
        let done = &output.json()["done"];
        runs.taken += done["expire"].as_u64().unwrap() + done["quarantine"].as_u64().unwrap();
        runs.mended += done["repair"].as_u64().unwrap();
        if rng.below(2) == 0 {
            let sessions = store.sessions(AGENTS[rng.below(3) as usize]);
            let over = |key: &&String| key.contains(":hook:") && sessions[key.as_str()]["updatedAt"] == LONG_AGO;
            if let Some(key) = sessions.as_object().unwrap().keys().find(over) {
                let output = store.run(["quarantine", key, "--now", NOW]);
                assert!(matches!(output.code, Some(0 | 4)), "{output}");
            }
        }
        if runs.taken > 0 && rng.below(3) == 0 {
            let output = store.run(["restore", "latest", "--json"]);
            assert!(matches!(output.code, Some(0 | 4)), "{output}");
            runs.restored += output.json()["bindings"].as_array().unwrap().len();
        }
        proven.store(runs.taken > 0 && runs.mended > 0 && runs.restored > 0, Ordering::Relaxed);
    }
    runs
}

/// Brings back what the runs took, the newest first, also beside what has its place now.
pub(crate) fn restore_all(store: &Store) {
    let runs = store.run(["runs", "--json"]).ok().json();
    for run in runs["runs"].as_array().unwrap().iter().rev() {
        assert_ne!(run["state"], "unfinished", "{run}");
        if run["restorable"] == true {
            let output = store.run(["restore", run["id"].as_str().unwrap(), "--as-new", "--json"]);
            // 4: a mended transcript that was written since stays as it is.
            assert!(matches!(output.code, Some(0 | 4)), "{output}");
        }
    }
}

/// What of these sessions is not there, or not once, in the stores and transcripts of an agent.
fn missing<'s>(store: &Store, agent: &str, sessions: impl Iterator<Item = &'s Session>) -> (Vec<String>, Vec<String>) {
    let mut bound: HashMap<String, Vec<Value>> = HashMap::new();
    for entry in store.sessions(agent).as_object().unwrap().values() {
        bound.entry(entry["sessionId"].as_str().unwrap().to_owned()).or_default().push(entry["inputTokens"].clone());
    }
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in fs::read_dir(sessions_of(store, agent)).unwrap().map(Result::unwrap) {
        let name = found.file_name().into_string().unwrap();
        assert!(name == "sessions.json" || name.ends_with(".jsonl"), "{name} was left behind");
        let text = fs::read_to_string(found.path()).unwrap();
        // What was mended and written since is brought back beside it.
        let counts = name.ends_with(".jsonl") && !name.contains("-restored-");
        for (at, _) in text.match_indices("line ").filter(|_| counts) {
            let end = at + text[at..].find('.').unwrap() + 1;
            lines.entry(text[at..end].to_owned()).or_default().push(name.clone());
        }
    }
    let (mut updates, mut turns) = (Vec::new(), Vec::new());
    for session in sessions {
        if bound.get(&session.id) != Some(&vec![json!(session.count)]) {
            updates.push(format!("{} has {:?}, not {}", session.id, bound.get(&session.id), session.count));
        }
        for line in 0..session.lines {
            let mark = mark(&session.id, line);
            let found = lines.remove(&mark).unwrap_or_default();
            if found != [format!("{}.jsonl", session.id)] {
                turns.push(format!("{mark} is in {found:?}"));
            }
        }
    }
    turns.extend(lines.into_keys().map(|mark| format!("nobody wrote {mark}")));
    (updates, turns)
}

/// The writer writes, the runs run, and in the end all is there.
fn nothing_is_lost(gateway: bool) {
    let beside = if gateway { "beside a gateway" } else { "without a gateway" };
    let mut builder = StoreBuilder::new().config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#);
    for agent in AGENTS {
        builder = builder.agent(agent);
    }
    let store = builder.build();
    if gateway {
        store.gateway_lock(std::process::id(), starttime(std::process::id()));
    }
    let (goal, pause, limit) = if full() { (20_000, 12, 600) } else { (600, 50, 60) };
    let writers = AGENTS.map(|_| Writer::default());
    let written = AtomicUsize::new(0);
    let writing = AtomicUsize::new(2 * AGENTS.len());
    let (proven, enough) = (AtomicBool::new(false), AtomicBool::new(false));
    let met = || writers.iter().map(|writer| writer.met.load(Ordering::Relaxed)).sum::<usize>();
    let started = Instant::now();
    let (lanes, runs) = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..2 * AGENTS.len())
            .map(|number| {
                let (writer, agent) = (&writers[number / 2], AGENTS[number / 2]);
                let mut lane = Lane::new(writer, &sessions_of(&store, agent), agent, number);
                let (written, writing, enough, met) = (&written, &writing, &enough, &met);
                let proven = &proven;
                scope.spawn(move || {
                    let _ends = Countdown(writing);
                    while !enough.load(Ordering::Relaxed) {
                        let before: u64 = lane.sessions.iter().map(|one| one.count).sum();
                        lane.step();
                        let now: u64 = lane.sessions.iter().map(|one| one.count).sum();
                        let written = written.fetch_add((now - before) as usize, Ordering::Relaxed);
                        let tired = started.elapsed() > Duration::from_secs(limit);
                        if tired || written >= goal && met() > 0 && proven.load(Ordering::Relaxed) {
                            enough.store(true, Ordering::Relaxed);
                        }
                        std::thread::sleep(Duration::from_millis(lane.rng.below(pause)));
                    }
                    lane
                })
            })
            .collect();
        let runs = maintain(&store, &writing, &proven);
        (lanes.into_iter().map(|lane| lane.join().unwrap()).collect::<Vec<_>>(), runs)
    });

    restore_all(&store);
    let (mut updates, mut turns): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for (number, agent) in AGENTS.iter().enumerate() {
        let of_agent = &lanes[2 * number..2 * number + 2];
        let (no_update, no_turn) = missing(&store, agent, of_agent.iter().flat_map(|lane| &lane.sessions));
        updates.extend(no_update.into_iter().chain(of_agent.iter().flat_map(|lane| lane.lost.clone())));
        turns.extend(no_turn);
    }
    let sum = |of: fn(&Writer) -> &AtomicUsize| -> usize {
        writers.iter().map(|writer| of(writer).load(Ordering::Relaxed)).sum()
    };
    let (locks, stolen, refused) = (sum(|one| &one.locks), sum(|one| &one.stolen), sum(|one| &one.refused));
    let (written, taken) = (written.into_inner(), lanes.iter().map(|lane| lane.turns).sum());
    ledger::record(PART, &format!("updates of OpenClaw {beside}"), written, updates.len());
    ledger::record(PART, &format!("turns of OpenClaw {beside}"), taken, turns.len() + refused);
    ledger::record(PART, &format!("locks of OpenClaw {beside}"), locks, stolen);
    let told = format!(
        "{written} updates and {taken} turns {beside} in {:?}: {} gc took {} bindings and mended {} transcripts, {} \
         bindings came back, {} times a store was busy; {} times ours was met",
        started.elapsed(),
        runs.gc,
        runs.taken,
        runs.mended,
        runs.restored,
        runs.busy,
        met()
    );
    assert!(updates.is_empty(), "{told}\n{}", updates.join("\n"));
    assert!(turns.is_empty(), "{told}\n{}", turns.join("\n"));
    assert_eq!((stolen, refused), (0, 0), "locks that vanished, locks that were not had in time: {told}");
    assert!(written >= goal && proven.into_inner() && met() > 0, "this proves nothing: {told}");
}

/// Counts down also when its thread panics.
struct Countdown<'a>(&'a AtomicUsize);

impl Drop for Countdown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn nothing_that_a_gateway_writes_while_runs_run_is_lost() {
    nothing_is_lost(true);
}

#[test]
fn nothing_that_openclaw_writes_without_a_gateway_while_runs_run_is_lost() {
    nothing_is_lost(false);
}

/// Runs these commands one after the other, until it is time.
fn again_and_again(store: &Store, until: Instant, commands: &[&[&str]]) -> Vec<Output> {
    let mut outputs = Vec::new();
    while Instant::now() < until {
        outputs.push(store.run(commands[outputs.len() % commands.len()]));
    }
    outputs
}

#[test]
fn two_claw_sessions_at_once_do_one_thing_after_the_other() {
    let span = Duration::from_secs(if full() { 30 } else { 2 });
    let gc: &[&str] = &[&["gc", "--json"][..], &LIMITS].concat();
    let restore: &[&str] = &["restore", "latest", "--json"];
    let damaged: &[&str] = &["quarantine", "--damaged", "--json", "--now", NOW];
    let named: &[&str] = &["quarantine", "agent:main:telegram:group:-1", "--json", "--now", NOW];
    let pairs = [
        ("gc and gc", vec![gc], vec![gc, restore]),
        ("gc and restore", vec![gc], vec![restore]),
        ("quarantine and gc", vec![named, restore], vec![gc]),
        ("quarantine of damage and gc", vec![damaged, restore], vec![gc, gc, restore]),
    ];
    ledger::each(PART, "two claw-sessions at once", &pairs, |(what, one, other)| {
        let mut builder = StoreBuilder::new();
        for agent in ["main", "desk"] {
            builder = builder.agent(agent);
            for number in 0..6 {
                builder = builder.binding(&format!("agent:{agent}:telegram:direct:{number}"), |one| one.idle("9d"));
            }
            builder = builder
                .binding(&format!("agent:{agent}:telegram:group:-1"), |one| one.idle("2h"))
                .binding(&format!("agent:{agent}:telegram:group:-2"), |one| one.idle("2h").transcript("null\n"))
                .orphan(&format!("{agent}-orphan"), "9d");
        }
        let store = builder.build();
        let (values, before) = (|| ["main", "desk"].map(|agent| store.sessions(agent)), store.tree());
        let first = values();
        // There is a run to restore from the beginning.
        store.run(gc).ok();
        let until = Instant::now() + span;
        let outputs = std::thread::scope(|scope| {
            let other = scope.spawn(|| again_and_again(&store, until, other));
            let mut outputs = again_and_again(&store, until, one);
            outputs.extend(other.join().unwrap());
            outputs
        });
        let mut ids: Vec<Value> = Vec::new();
        for output in &outputs {
            let gone = output.code == Some(2)
                && output.stderr.is_empty()
                && output.stdout.contains("agent:main:telegram:group:-1");
            assert!(matches!(output.code, Some(0 | 4)) || gone, "{what}: {}\n{output}", output.command);
            if output.code == Some(0) {
                ids.push(output.json()["run"].clone());
            }
        }
        ids.retain(Value::is_string);
        assert!(ids.len() > 2, "{what}: {ids:?} did something");
        for line in String::from_utf8(store.read("claw-sessions/history.jsonl")).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
            let at = ids.iter().position(|id| *id == line["run"]);
            at.map(|at| ids.swap_remove(at));
        }
        assert!(ids.is_empty(), "{what}: history lacks {ids:?}");
        restore_all(&store);
        assert_eq!(values(), first, "{what}");
        let files = |tree: &Tree| {
            let mut contents = tree.0.clone();
            contents.retain(|path, node| {
                node.kind == "file" && path.starts_with("agents") && !path.ends_with("sessions.json")
            });
            contents.into_iter().map(|(path, node)| (path, node.bytes)).collect::<BTreeMap<_, _>>()
        };
        assert!(
            files(&before) == files(&store.tree()),
            "{what}:\n{}",
            before.contents().diff(&store.tree().contents())
        );
    });
}
