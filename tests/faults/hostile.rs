//! Hostile input: more keys, levels, bytes or files than any gateway has. Nothing crashes or hangs, memory keeps its
//! bound, and what stands beside it is judged, taken and given back as ever.

use std::fs::{self, File};
use std::io::Write as _;

use crate::{full, ledger};
use support::{NOW, Output, Store, StoreBuilder, binding};

const PART: &str = "hostile input";
const SESSIONS: &str = "agents/main/sessions";
const MEGA: u64 = 1 << 20;

/// What takes longer hangs.
fn patience() -> &'static str {
    if full() { "600" } else { "60" }
}

#[derive(Debug)]
enum Hostile {
    /// So many keys in a store.
    Keys(usize),
    /// So many levels in an entry of a store: arrays or objects.
    DeepEntry(usize, &'static str),
    /// The same in a line of a transcript.
    DeepLine(usize, &'static str),
    /// One line of so many bytes, NUL or text.
    Line(u64, u8),
    /// So many files that nobody knows.
    Files(usize),
}

impl Hostile {
    /// A state directory with this in it, and the agent `other` beside it.
    fn make(&self) -> Store {
        let mut builder = StoreBuilder::new()
            .agent("main")
            .binding("agent:main:telegram:direct:1", |one| one.session_id("one"))
            .agent("other")
            .binding(BESIDE, |one| one.idle("9d").session_id("beside"))
            .binding("agent:other:telegram:direct:2", |one| one.session_id("stays"));
        let nested = |levels: &usize, bracket: &str| {
            let (open, close) = if bracket == "[" { ("[", "]") } else { ("{\"a\":", "}") };
            format!("{}1{}", open.repeat(*levels), close.repeat(*levels))
        };
        match self {
            Self::DeepLine(levels, bracket) => {
                let line = format!("{{\"type\":\"custom\",\"id\":\"deep\",\"data\":{}}}\n", nested(levels, bracket));
                let text = format!("{HEADER}{line}");
                builder = builder.file(&format!("{SESSIONS}/one.jsonl"), text);
            }
            Self::DeepEntry(levels, bracket) => {
                let deep = nested(levels, bracket);
                let text = format!(
                    "{{\"agent:main:telegram:direct:1\":{{\"sessionId\":\"one\",\"updatedAt\":1795386540000,\"x\":{deep}}}}}"
                );
                builder = builder.file(&format!("{SESSIONS}/sessions.json"), text);
            }
            Self::Keys(keys) => {
                let entry = |n: usize| {
                    format!("\"agent:main:telegram:direct:{n}\":{{\"sessionId\":\"one\",\"updatedAt\":1795386540000}}")
                };
                let text = format!("{{{}}}", (1..=*keys).map(entry).collect::<Vec<_>>().join(","));
                builder = builder.file(&format!("{SESSIONS}/sessions.json"), text);
            }
            Self::Line(..) | Self::Files(_) => {}
        }
        let store = builder.build_in_memory();
        let sessions = store.path(SESSIONS);
        match self {
            Self::Line(bytes, byte) => {
                let mut file = File::options().append(true).open(sessions.join("one.jsonl")).unwrap();
                if *byte == 0 {
                    // A hole takes no room.
                    file.set_len(*bytes).unwrap();
                } else {
                    let piece = vec![*byte; MEGA as usize];
                    (0..bytes / MEGA).for_each(|_| file.write_all(&piece).unwrap());
                }
            }
            Self::Files(files) => {
                (0..*files).for_each(|n| fs::write(sessions.join(format!("file-{n}.jsonl")), HEADER).unwrap());
            }
            _ => {}
        }
        store
    }

    /// What is said of the binding, and how many the agent has.
    fn expected(&self) -> (&'static str, usize) {
        match self {
            Self::Keys(keys) => ("intact", *keys),
            Self::Line(..) => ("torn", 1),
            _ => ("intact", 1),
        }
    }

    /// The most memory that a command may take, in bytes: in proportion to the longest line and to the stores.
    fn bound(&self, store: &Store) -> u64 {
        let of = |name: &str| fs::metadata(store.path(SESSIONS).join(name)).map_or(0, |meta| meta.len());
        64 * MEGA
            + match self {
                // Per binding there is a verdict, however short its entry is.
                Self::Keys(keys) => of("sessions.json") * 5 / 2 + *keys as u64 * 4096,
                Self::DeepEntry(..) => of("sessions.json") * 5 / 2,
                // What is reserved counts, and a buffer for one line grows to the double of it.
                Self::DeepLine(..) | Self::Line(..) => of("one.jsonl") * 2,
                Self::Files(files) => *files as u64 * 2048,
            }
    }
}

const BESIDE: &str = "agent:other:telegram:direct:1";
const HEADER: &str = "{\"type\":\"session\",\"version\":3,\"id\":\"one\",\"timestamp\":\"2026-11-22T20:00:00.000Z\"}\n";

#[test]
fn hostile_input_crashes_nothing_and_what_is_beside_it_is_judged() {
    let many = if full() { 1_000_000 } else { 10_000 };
    let line = if full() { 1024 } else { 16 } * MEGA;
    let faults = [
        Hostile::Keys(many),
        Hostile::DeepEntry(many, "["),
        Hostile::DeepEntry(many, "{"),
        Hostile::DeepLine(many, "["),
        Hostile::DeepLine(many, "{"),
        Hostile::Line(line, 0),
        Hostile::Line(line, b'a'),
        Hostile::Files(if full() { 100_000 } else { 2000 }),
    ];
    // One after the other: two long lines at once need not fit.
    for fault in faults {
        ledger::each(PART, &format!("{fault:?}"), &[()], |()| meets(&fault));
    }
}

fn meets(fault: &Hostile) {
    let store = fault.make();
    let bound = fault.bound(&store);
    let others = || support::tree(&store.path("agents/other")).contents();
    let before = others();
    let is_bound = || store.sessions("other").get(BESIDE).is_some();
    let scan = within(&store, &["scan", "--json", "--now", NOW], bound, fault).json();
    let (integrity, bindings) = fault.expected();
    let judged = binding(&scan, "agent:main:telegram:direct:1");
    assert_eq!((&judged["action"], &judged["integrity"]), (&"keep".into(), &integrity.into()), "{fault:?}: {judged}");
    let of_main = scan["bindings"].as_array().unwrap().iter().filter(|one| one["agent"] == "main").count();
    assert_eq!(of_main, bindings, "{fault:?}");
    for args in
        [&["validate", "--now", NOW][..], &["gc", "-n", "--now", NOW], &["gc", "--now", NOW], &["restore", "latest"]]
    {
        within(&store, args, bound, fault);
        let taken = args[0] == "gc" && !args.contains(&"-n");
        assert_eq!(is_bound(), !taken, "{fault:?}: {args:?}: what is beside it");
    }
    let diff = before.diff(&others());
    assert!(diff.is_empty(), "{fault:?}: after a restore\n{diff}");
}

/// Runs the command, which may not take longer nor have more memory than this.
fn within(store: &Store, args: &[&str], bound: u64, fault: &Hostile) -> Output {
    // What a process writes to counts, not what it has mapped from a file.
    let shell = format!("ulimit -d {}; exec timeout -s KILL {} \"$@\"", bound / 1024, patience());
    let output = Output::of(&mut store.under("sh", ["-c", &shell, "sh"], [args, &["--no-cache"]].concat()));
    assert!(matches!(output.code, Some(0 | 1)), "{fault:?}: {args:?} in {} MiB: {output}", bound / MEGA);
    output
}
