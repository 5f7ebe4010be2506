//! A real gateway on loopback: it starts after `gc --boot`, and gc beside it loses neither its updates nor ours.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::programs::{Model, Running};
use crate::release::{PEER, Release};
use crate::world::{TOKEN, configure, recorded, text};
use support::{Store, StoreBuilder};

const TURNS: usize = 500;
/// Sessions that talk at the same time.
const TALKING: usize = 10;
/// Runs of gc meanwhile, and what each takes.
const ROUNDS: usize = 40;
const TAKEN: usize = 8;

/// A gateway that is ready.
pub(crate) fn gateway(release: &Release, store: &Store) -> Running {
    let mut gateway = Running::start(&mut release.command(store, &["gateway", "run"]));
    gateway.until("[gateway]");
    gateway.until("listening");
    gateway
}

/// A client that talks in so many sessions, so many turns in all, and then makes these calls.
pub(crate) fn talker(
    release: &Release,
    store: &Store,
    port: u16,
    [keys, turns]: [usize; 2],
    calls: &[&str],
) -> Running {
    let args = [&port.to_string(), TOKEN, &keys.to_string(), &turns.to_string()];
    let mut talker = Running::start(release.program(store, "talker.mjs").args(args).args(calls));
    talker.until("connected");
    talker
}

fn gateway_port(store: &Store) -> u16 {
    let config: Value = serde_json::from_slice(&store.read("openclaw.json")).unwrap();
    config["gateway"]["port"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn the_gateway_starts_after_gc_boot_and_answers() {
    let Some(release) = Release::of("the_gateway_starts_after_gc_boot_and_answers", PEER) else { return };
    let model = Model::start(&release);
    for name in ["real-small", "real-gateway"] {
        let store = recorded(name, model.port);
        let recorded = store.scan([""; 0])["bindings"].as_array().unwrap().len();
        let boot = store.run(["gc", "--boot", "--idle", "1h", "--unprotect", "group", "--unprotect", "topic"]).ok();
        let kept = store.scan([""; 0])["bindings"].as_array().unwrap().len();
        assert!(kept < recorded / 2, "{name}: {kept} of {recorded} stayed");
        let gateway = gateway(&release, &store);
        assert_eq!(store.scan([""; 0])["gateway"]["alive"], true, "{name}: {}", boot.stderr);
        let mut talker = talker(&release, &store, gateway_port(&store), [1, 2], &[]);
        talker.until("failed 0");
        assert_eq!(model.last_asked().len(), 3, "the second turn knows the first");
        drop(gateway);
        let after = store.scan([""; 0]);
        assert_eq!(after["bindings"].as_array().unwrap().len(), kept + 1, "{name}: those that stayed, and the new one");
        println!("{name}: {kept} bindings after gc --boot, the gateway starts and answers");
    }
}

fn stale(round: usize, number: usize) -> String {
    format!("agent:main:telegram:direct:1{round:02}{number:02}")
}

#[test]
fn gc_beside_a_gateway_loses_neither_its_updates_nor_ours() {
    let Some(release) = Release::of("gc_beside_a_gateway_loses_neither_its_updates_nor_ours", PEER) else { return };
    let model = Model::start(&release);
    let mut builder = StoreBuilder::new().agent("main");
    for round in 0..ROUNDS {
        for number in 0..TAKEN {
            builder = builder.binding(&stale(round, number), |one| one.idle("3d"));
        }
    }
    let store = builder.build();
    let port = configure(&store, PEER, model.port, &json!([{"id": "main", "default": true}]));
    let _gateway = gateway(&release, &store);
    let mut talker = talker(&release, &store, port, [TALKING, TURNS], &[]);
    let started = Instant::now();
    for round in 0..ROUNDS {
        talker.until(&format!("turn {}", (round + 1) * TURNS / (ROUNDS + 1)));
        let only = format!("{}*", stale(round, 0).strip_suffix("00").unwrap());
        let done = store.gc(["--idle", "1d", "--only", &only]).ok().json();
        assert_eq!(done["gateway"]["alive"], true);
        assert_eq!((&done["planned"], &done["skipped"]), (&done["done"], &json!([])), "{done:#}");
        assert_eq!(done["done"]["expire"], TAKEN);
        // Every fourth comes back at once.
        if round % 4 == 0 {
            assert_eq!(store.restore_latest().ok().json()["bindings"].as_array().unwrap().len(), TAKEN);
        }
    }
    talker.until("failed 0");
    let seconds = started.elapsed().as_secs_f32();

    let sessions = store.sessions("main");
    let (mut ours_lost, mut theirs_lost) = (Vec::new(), Vec::new());
    for (round, number) in (0..ROUNDS).flat_map(|round| (0..TAKEN).map(move |number| (round, number))) {
        if sessions.get(stale(round, number)).is_some() != (round % 4 == 0) {
            ours_lost.push(stale(round, number));
        }
    }
    for talked in 0..TALKING {
        let key = format!("agent:main:telegram:direct:9{talked:05}");
        let entry = &sessions[&key];
        let said = said(&store, &text(&entry["sessionId"]));
        let expected: Vec<String> = (0..TURNS / TALKING).map(|turn| format!("message {turn} of {talked}")).collect();
        let whole = said.iter().map(|(message, _)| message).eq(&expected);
        let last = said.last().map_or(i64::MAX, |&(_, at)| at);
        if !whole || entry["updatedAt"].as_i64().unwrap_or_default() < last {
            theirs_lost.push(format!("{key}: {} messages of {}", said.len(), expected.len()));
        }
    }
    assert!(ours_lost.is_empty() && theirs_lost.is_empty(), "ours: {ours_lost:#?}\ntheirs: {theirs_lost:#?}");
    assert_eq!(sessions.as_object().unwrap().len(), TALKING + ROUNDS.div_ceil(4) * TAKEN, "and no other key");
    let left: Vec<_> = store
        .tree()
        .files()
        .into_iter()
        .filter(|name| name.ends_with(".tmp") || name.ends_with("sessions.json.lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    println!(
        "{TURNS} turns in {seconds:.0} s beside {ROUNDS} runs of gc and {} of restore: no update lost on either side",
        ROUNDS.div_ceil(4)
    );
}

/// What a person said in a session, and when, in the order of its transcript.
fn said(store: &Store, id: &str) -> Vec<(String, i64)> {
    let path = store.path(format!("agents/main/sessions/{id}.jsonl"));
    let text_of = |line: &Value| text(&line["message"]["content"][0]["text"]);
    let lines = fs::read_to_string(path).unwrap_or_default();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // A file of several turns may hold its first lines twice: each entry once.
    let entries: BTreeMap<(i64, String), String> = lines
        .filter(|line| line["message"]["role"] == "user")
        .map(|line| ((line["message"]["timestamp"].as_i64().unwrap(), text(&line["id"])), text_of(&line)))
        .collect();
    entries.into_iter().map(|((at, _), said)| (said.rsplit("] ").next().unwrap_or_default().to_owned(), at)).collect()
}
