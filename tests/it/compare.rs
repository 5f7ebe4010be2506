//! One state directory, with all that can be wrong with a store or a transcript, given to OpenClaw's own cleanup, to the
//! manual recipe and to gc: what each took, kept and changed. `make compare` writes it into `docs/comparison.md`. Needs
//! OpenClaw below `target/peer` (`make peer`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chrono::{TimeDelta, Utc};
use serde_json::{Map, Value, json};
use support::{LiveProcess, Output, Store, StoreBuilder, Tree, expected, fixture, sys};

/// A case is an agent of its own.
struct Case {
    agent: String,
    /// What it is, for the table.
    what: String,
    /// What the next use of a transcript as it stands does, when that is bad.
    harm: &'static str,
}

/// Cases that are no damage: what a rule must not take, and what it may.
const HEALTHY: [(&str, &str); 11] = [
    ("fresh-direct", "a conversation of 20 minutes ago"),
    ("stale-direct", "a conversation that nobody went on with for 40 days"),
    ("stale-main", "the main conversation, 40 days idle"),
    ("stale-group", "a group, 40 days idle"),
    ("stale-settings", "a conversation with a model that its person chose, 40 days idle"),
    ("stale-cron-run", "a cron job and its newest run, which share a session; 40 days idle"),
    ("live-lock", "40 days idle by its entry, and a living process holds the lock of its transcript"),
    ("topic", "a topic of a group, with a `-topic-` transcript; fresh"),
    ("orphan", "a transcript that nothing refers to, 40 days old"),
    ("linked-transcript", "a transcript that is a symbolic link out of the directory; 40 days idle"),
    ("leads-outside", "`sessionFile` names a file outside the state directory; 40 days idle"),
];

fn main_store(now: &str) -> (Store, LiveProcess) {
    let live = LiveProcess::spawn();
    let mut builder = StoreBuilder::at(now);
    for (agent, _) in HEALTHY {
        let key = |rest: &str| format!("agent:{agent}:{rest}");
        let direct = key("telegram:direct:1");
        builder = builder.agent(agent);
        builder = match agent {
            "fresh-direct" => builder.binding(&direct, |one| one.idle("20m")),
            "stale-main" => builder.binding(&key("main"), |one| one.idle("40d")),
            "stale-group" => builder.binding(&key("telegram:group:-1"), |one| one.idle("40d")),
            "stale-settings" => builder.binding(&direct, |one| one.idle("40d").field("modelOverride", "mock-2")),
            "stale-cron-run" => builder.binding(&key("cron:7cfc4032"), |one| one.idle("40d").cron_run()),
            "live-lock" => builder.binding(&direct, |one| one.idle("40d").session_id("held").lock(live.lock())),
            "topic" => builder.binding(&key("telegram:group:-1:topic:42"), |one| one.idle("20m")),
            "orphan" => builder.binding(&direct, |one| one.idle("20m")).orphan("lonely", "40d"),
            "leads-outside" => {
                builder.binding(&direct, |one| one.idle("40d").session_id("away").field("sessionFile", "/etc/hostname"))
            }
            "linked-transcript" => builder.binding(&direct, |one| one.idle("40d").session_id("linked")),
            _ => builder.binding(&direct, |one| one.idle("40d")),
        };
    }
    let store = builder.build();
    let linked = store.path("agents/linked-transcript/sessions/linked.jsonl");
    let outside = store.root().join("outside.jsonl");
    fs::rename(&linked, &outside).unwrap();
    symlink(&outside, &linked).unwrap();
    (store, live)
}

/// The state directory, its cases, and who must live as long as it is used.
fn everything() -> (Store, Vec<Case>, LiveProcess) {
    let now = Utc::now();
    let (store, live) = main_store(&now.to_rfc3339());
    let mut cases: Vec<Case> =
        HEALTHY.map(|(agent, what)| Case { agent: agent.to_owned(), what: what.to_owned(), harm: "" }).into();
    let fresh = now.timestamp_millis() - 20 * 60_000;
    for (number, row) in expected("crafted/expected.tsv").into_iter().enumerate() {
        let (folder, integrity) = (&row["folder"], row["integrity"].as_str());
        let crafted = Store::crafted(folder);
        for (path, node) in &crafted.tree().0 {
            let Ok(path) = path.strip_prefix("agents/main") else { continue };
            // Each folder uses the same ids, and a transcript stays while any binding uses its id.
            let own = |text: &[u8]| {
                IDS.iter()
                    .fold(text.to_vec(), |text, id| text.replace(id.as_bytes(), format!("-{number:04x}-").as_bytes()))
            };
            let name = String::from_utf8(own(path.to_string_lossy().as_bytes())).unwrap();
            let to = store.path(format!("agents/{folder}")).join(name);
            if node.kind == "dir" {
                fs::create_dir_all(to).unwrap();
                continue;
            }
            let mut bytes = own(&node.bytes);
            if path.to_string_lossy().contains("sessions.json") {
                bytes = younger(&bytes.replace(b"agent:main:", format!("agent:{folder}:").as_bytes()), fresh);
            }
            write(&to, &bytes, node.mode);
        }
        let harm = match integrity {
            "freezes" => "freezes the gateway",
            "blocks" => "fails every run",
            "wiped" => "wipes the history",
            _ => "",
        };
        cases.push(Case { agent: folder.clone(), what: row["note"].clone(), harm });
    }
    let agents: Vec<Value> = cases.iter().map(|case| json!({ "id": case.agent })).collect();
    let config = json!({
        "meta": { "lastTouchedVersion": "2026.3.11" },
        "agents": { "list": agents },
        "session": { "reset": { "mode": "idle", "idleMinutes": 1440 } },
    });
    store.write("openclaw.json", config.to_string());
    (store, cases, live)
}

trait Replace {
    fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut new = Vec::new();
        let mut rest = &self[..];
        while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
            new.extend_from_slice(&rest[..at]);
            new.extend_from_slice(to);
            rest = &rest[at + from.len()..];
        }
        new.extend_from_slice(rest);
        new
    }
}

/// Every sound `updatedAt` becomes this time; what is crafted to be none stays.
fn younger(bytes: &[u8], millis: i64) -> Vec<u8> {
    let crafted = b"\"updatedAt\": 17953";
    let mut new = bytes.to_vec();
    let places: Vec<usize> =
        (0..bytes.len().saturating_sub(crafted.len())).filter(|&at| bytes[at..].starts_with(crafted)).collect();
    for at in places {
        let start = at + crafted.len() - 5;
        let is_time = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count() == 13;
        if is_time {
            new[start..start + 13].copy_from_slice(millis.to_string().as_bytes());
        }
    }
    new
}

/// A transcript was written three days ago, as `find -mtime +1` counts.
fn write(to: &Path, bytes: &[u8], mode: u32) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    support::openclaw::write(to, bytes, mode, (Utc::now() - TimeDelta::days(3)).timestamp_millis());
}

/// What happened to a case, in words.
fn fate(case: &Case, before: &Tree, after: &Tree) -> Fate {
    let sessions = Path::new("agents").join(&case.agent).join("sessions");
    let store = sessions.join("sessions.json");
    let mut fate = Fate::default();
    let bytes = |tree: &Tree| tree.0.get(&store).map(|node| node.bytes.clone());
    let (old, new) = (bytes(before), bytes(after));
    match (old.as_deref().and_then(parse), new.as_deref().and_then(parse)) {
        (Some(old), Some(new)) => {
            let out = old.keys().filter(|key| !new.contains_key(*key)).count();
            let changed = old.iter().filter(|(key, entry)| new.get(*key).is_some_and(|now| now != *entry)).count();
            fate.bindings = old.len();
            fate.out = out;
            if out > 0 {
                fate.words.push(format!("{out} of {} out", count(old.len(), "binding")));
            }
            if changed > 0 {
                fate.words.push(format!("{} changed", count(changed, "binding")));
            }
        }
        (Some(old), None) => panic!("{}: {} bindings were in a store that is none now", case.agent, old.len()),
        (None, _) if old == new => {}
        (None, new) => {
            fate.overwritten = true;
            let now = new.map_or("nothing".to_owned(), |new| count(new.len(), "binding"));
            fate.words.push(format!("the store overwritten: {now} in it"));
        }
    }
    let mut went: BTreeMap<String, usize> = BTreeMap::new();
    let is_transcript = |path: &Path| path.starts_with(&sessions) && path.to_string_lossy().ends_with(".jsonl");
    for (path, node) in before.0.iter().filter(|(path, node)| is_transcript(path) && node.kind != "dir") {
        let now = after.0.get(path);
        if now.is_some_and(|now| (&now.bytes, &now.target) == (&node.bytes, &node.target)) {
            fate.harmful |= !case.harm.is_empty() && path.to_string_lossy().contains(DAMAGED);
            continue;
        }
        let same = |other: &&PathBuf| {
            let there = &after.0[*other];
            (there.ino, &there.target) == (node.ino, &node.target) && there.bytes == node.bytes
        };
        let copy = after.0.keys().filter(|other| *other != path).find(same);
        let to = copy.map(|other| place(other));
        *went
            .entry(match (now.is_some(), to) {
                (true, Some(to)) => format!("mended, the original in {to}"),
                (true, None) => "changed".to_owned(),
                (false, Some(to)) => format!("to {to}"),
                (false, None) => "gone".to_owned(),
            })
            .or_default() += 1;
        fate.moved += 1;
    }
    fate.words.extend(went.into_iter().map(|(how, times)| format!("{} {how}", count(times, "transcript"))));
    fate
}

#[derive(Default)]
struct Fate {
    words: Vec<String>,
    bindings: usize,
    out: usize,
    moved: usize,
    overwritten: bool,
    /// A transcript that hurts the gateway stands there as it was, and is bound.
    harmful: bool,
}

impl Fate {
    fn told(&self) -> String {
        if self.words.is_empty() { "as it was".to_owned() } else { self.words.join("; ") }
    }
}

/// The members of a store as JavaScript reads them: half a surrogate pair and bytes that are no UTF-8 are no error there.
fn parse(text: &[u8]) -> Option<Map<String, Value>> {
    let text = String::from_utf8_lossy(text).replace("\\ud", "\\u0");
    let members: Map<String, Value> = serde_json::from_str(&text).ok()?;
    (members.is_empty() || members.keys().any(|key| key.starts_with("agent:"))).then_some(members)
}

fn place(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    if path.starts_with("claw-sessions") {
        "the archive".to_owned()
    } else if name.ends_with(".stuck-bak") {
        "`.stuck-bak`".to_owned()
    } else if name.contains(".deleted.") {
        "`.deleted`".to_owned()
    } else {
        format!("`{name}`")
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

const CLEANUP: [&str; 4] = ["sessions", "cleanup", "--all-agents", "--enforce"];

fn openclaw(peer: &Path, store: &Store) -> Output {
    let mut command = Command::new(peer.join("node"));
    command.arg(peer.join("node_modules/openclaw/openclaw.mjs")).args(CLEANUP).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", store.home());
    command.env("OPENCLAW_STATE_DIR", store.state_dir()).current_dir(store.root()).stdin(Stdio::null());
    Output::of(&mut command)
}

/// The recipe of openclaw#44687, with every agent in its list.
fn recipe(store: &Store) {
    let script = format!(
        "for dir in {0}/agents/*/sessions; do echo '{{}}' > \"$dir/sessions.json\"; done\n\
         find {0}/agents/*/sessions/ -name '*.jsonl' -mtime +1 -exec mv {{}} {{}}.stuck-bak \\;",
        store.state_dir().display()
    );
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

/// How the id of the session begins in which the damage of a crafted folder is.
const DAMAGED: &str = "7b1d5c0e-";
/// The second part of every id in the crafted folders.
const IDS: [&str; 4] = ["-93a4-", "-58c2-", "-07be-", "-6e0b-"];

struct Treated {
    fates: Vec<Fate>,
    others: String,
}

fn treated(treat: impl FnOnce(&Store) -> String) -> (Vec<Case>, Treated) {
    let (store, cases, _live) = everything();
    let before = store.tree();
    let others = treat(&store);
    let after = store.tree();
    let fates = cases.iter().map(|case| fate(case, &before, &after)).collect();
    (cases, Treated { fates, others })
}

#[test]
fn the_comparison_says_what_each_does() {
    let peer = support::repository("target/peer");
    if !peer.join(".installed").exists() {
        return sys::skip("the comparison: no OpenClaw in target/peer (make peer)");
    }
    let (cases, theirs) = treated(|store| {
        let output = openclaw(&peer, store);
        format!("exit {}", output.code.unwrap_or(-1))
    });
    let (_, by_hand) = treated(|store| {
        recipe(store);
        "no exit status of its own".to_owned()
    });
    let (_, ours) = treated(|store| {
        let before = store.tree();
        let output = store.run(["gc"]);
        let undone = Store::empty();
        copy(&store.state_dir(), &undone.state_dir());
        undone.run(["restore", "latest"]).ok();
        before.contents().assert_same(&undone.tree().contents());
        format!("exit {}", output.code.unwrap_or(-1))
    });
    let held = |treated: &Treated| treated.fates[6].told();
    assert_eq!((HEALTHY[6].0, held(&ours).as_str()), ("live-lock", "as it was"));
    for (case, fate) in cases.iter().zip(&ours.fates) {
        assert!(!fate.harmful && !fate.overwritten, "{}: {}", case.agent, fate.told());
    }
    let text = document(&cases, [&theirs, &by_hand, &ours]);
    let path = support::repository("docs/comparison.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "`make compare` writes it anew");
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").args(["-a", "--"]).arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success());
}

fn document(cases: &[Case], all: [&Treated; 3]) -> String {
    let mut text = INTRODUCTION.replace("{fixtures}", &fixture("crafted").file_name().unwrap().to_string_lossy());
    let sum = |what: fn(&Fate) -> usize| all.map(|treated| treated.fates.iter().map(what).sum::<usize>().to_string());
    let mut row = |what: &str, cells: [String; 3]| writeln!(text, "| {what} | {} |", cells.join(" | ")).unwrap();
    row("bindings in stores that can be read", sum(|fate| fate.bindings));
    row("of them out", sum(|fate| fate.out));
    row("transcripts moved, renamed or changed", sum(|fate| fate.moved));
    row("broken stores overwritten", sum(|fate| usize::from(fate.overwritten)));
    row("transcripts left in place that hurt the gateway at their next use", sum(|fate| usize::from(fate.harmful)));
    row(
        "undone by",
        [
            "nothing: bindings are lost; transcripts can be renamed back",
            "nothing: the same",
            "`claw-sessions restore latest`, byte for byte",
        ]
        .map(str::to_owned),
    );
    row("ended with", all.map(|treated| treated.others.clone()));
    text.push_str(CASES);
    for (at, case) in cases.iter().enumerate() {
        let harm = if case.harm.is_empty() { String::new() } else { format!(" (**{}**)", case.harm) };
        let cells = all.map(|treated| treated.fates[at].told());
        writeln!(text, "| `{}` | {}{harm} | {} |", case.agent, case.what.replace('|', "\\|"), cells.join(" | "))
            .unwrap();
    }
    text
}

const INTRODUCTION: &str = "\
# Side by side

What three ways of cleaning do to the same state directory, made of everything that can be wrong with a store or a
transcript: each case is an agent of its own. The damaged ones are the folders of `fixtures/{fixtures}`, 20 minutes old; the
others are described in the table. `session.reset` is 24 hours idle; all else is OpenClaw's default.

- `openclaw sessions cleanup --all-agents --enforce`, OpenClaw 2026.3.11
- the manual recipe of openclaw#44687 with every agent in its list: `echo '{}' > sessions.json`, then
  `find … -name '*.jsonl' -mtime +1 -exec mv {} {}.stuck-bak \\;` (by their modification time the damaged ones are three days
  old)
- `claw-sessions gc`

`make compare` does it again and writes this page.

| | `sessions cleanup` | recipe | `claw-sessions gc` |
|---|---|---|---|
";

const CASES: &str = "
\"Out\" is a binding that is not in its store any more. `sessions cleanup` and the recipe keep no copy of it, gc keeps its bytes.

| case | what it is | `sessions cleanup` | recipe | `claw-sessions gc` |
|---|---|---|---|---|
";
