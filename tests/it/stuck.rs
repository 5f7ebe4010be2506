//! `restore --stuck-bak` on stores to which the manual recipe of openclaw#44687 was really applied: every file has its
//! name back, every binding that a backup has is back byte for byte, nothing is overwritten, and all of it can be undone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use claw_sessions::model::store;
use insta::assert_snapshot;
use serde_json::{Value, json};
use support::recipe::OLDER;
use support::{LiveProcess, NOW, Store, StoreBuilder};

const BACK: [&str; 3] = ["restore", "--stuck-bak", "--json"];
const MAIN: &str = "agents/main/sessions";
const AGENTS: [&str; 3] = ["main", "illarion", "marketer"];

/// Every binding of every agent, with the bytes of its entry.
fn entries(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let mut entries = BTreeMap::new();
    for agent in AGENTS {
        let text = store.read(format!("agents/{agent}/sessions/sessions.json"));
        let document = store::read(&text).unwrap();
        for place in document.effective(&text) {
            entries.insert(place.key, document.members[place.member].entry.span.of(&text).to_vec());
        }
    }
    entries
}

/// Transcripts by path, under whichever of its two names.
fn transcripts(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let tree = store.tree();
    let files = tree.0.into_iter().map(|(path, node)| (path.display().to_string(), node.bytes));
    let name = |path: String| path.strip_suffix(".stuck-bak").map_or_else(|| path.clone(), str::to_owned);
    files
        .filter(|(path, _)| path.contains(".jsonl") && !path.starts_with("claw-sessions"))
        .map(|(path, bytes)| (name(path), bytes))
        .collect()
}

fn stuck(store: &Store) -> Vec<String> {
    store.tree().files().into_iter().filter(|file| file.ends_with(".stuck-bak")).collect()
}

/// The keys whose transcript is there: those that can be bound again.
fn with_transcript(store: &Store) -> BTreeSet<String> {
    let scan = store.scan(["--now", NOW]);
    let bindings = scan["bindings"].as_array().unwrap();
    let there = bindings.iter().filter(|one| one["transcript"].as_str().is_some_and(|path| store.exists(path)));
    there.map(|one| one["key"].as_str().unwrap().to_owned()).collect()
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn without_backups_every_file_has_its_name_back_and_is_listed_without_a_binding() {
    let store = Store::recorded("real-small");
    let before = transcripts(&store);
    store.run_recipe(&[]);
    let after_recipe = store.tree().contents();
    let moved = stuck(&store).len();
    assert!(moved > 30 && entries(&store).is_empty());

    let done = store.run(BACK).ok().json();
    assert_eq!((&done["files"], &done["bindings"]), (&json!(moved), &json!([])));
    assert_eq!(transcripts(&store), before);
    assert!(stuck(&store).is_empty());
    let unbound = done["unbound"].as_array().unwrap();
    assert_eq!(unbound.len(), moved);
    let named = unbound.iter().find(|one| one["path"] == format!("{MAIN}/my-named-session.jsonl")).unwrap();
    assert!(named["lastAt"].is_string() && named["firstAt"].is_string() && named["sessionId"].is_string(), "{named}");
    assert_eq!((&named["agent"], &named["key"]), (&json!("main"), &Value::Null));

    // Each of them can be bound by hand.
    for (at, one) in unbound.iter().enumerate() {
        let (agent, path) = (one["agent"].as_str().unwrap(), one["path"].as_str().unwrap());
        let key = format!("agent:{agent}:telegram:direct:{at}");
        let adopted = store.run(["restore", "--adopt", path, "--key", &key]);
        assert!(adopted.code == Some(0) || adopted.stderr.contains("at its next use"), "{path}: {adopted}");
    }
    assert!(entries(&store).len() >= moved - 2);
    for _ in 0..entries(&store).len() {
        store.run(["restore", "latest"]).ok();
    }
    assert!(entries(&store).is_empty());
    store.run(["restore", done["run"].as_str().unwrap()]).ok();
    let diff = after_recipe.diff(&store.tree().contents());
    assert!(diff.is_empty(), "undone, all is as the recipe left it:\n{diff}");

    // And back once more.
    assert_eq!(store.run(BACK).ok().json()["files"], moved);
    assert_eq!(transcripts(&store), before);
}

#[test]
fn with_backups_every_binding_that_has_a_transcript_is_back_byte_for_byte() {
    let store = Store::recorded("real-small");
    store.back_up_stores(OLDER);
    let (before, files) = (entries(&store), transcripts(&store));
    let bindable = with_transcript(&store);
    let verdicts = |store: &Store| {
        let scan = store.scan(["--now", NOW]);
        let one = |one: &Value| {
            (one["key"].as_str().unwrap().to_owned(), json!([one["action"], one["reasons"], one["integrity"]]))
        };
        let all = scan["bindings"].as_array().unwrap().iter().map(one);
        all.filter(|(key, _)| bindable.contains(key)).collect::<BTreeMap<_, _>>()
    };
    let judged = verdicts(&store);
    // What was younger than a day lost its binding too, and stayed in its place.
    store.run_recipe(&["my-named-session.jsonl"]);
    let after_recipe = store.tree().contents();
    assert!(store.exists(format!("{MAIN}/my-named-session.jsonl")));

    let done = store.run(BACK).ok().json();
    assert_eq!(strings(&done["bindings"]), bindable);
    let expected: BTreeMap<_, _> = before.into_iter().filter(|(key, _)| bindable.contains(key)).collect();
    assert_eq!(entries(&store), expected);
    assert_eq!(transcripts(&store), files);
    assert_eq!(verdicts(&store), judged, "each is judged as it was before the recipe");

    store.run(["restore", "latest"]).ok();
    let diff = after_recipe.diff(&store.tree().contents());
    assert!(diff.is_empty(), "undone, all is as the recipe left it:\n{diff}");
}

fn key(peer: u32) -> String {
    format!("agent:main:telegram:direct:{peer}")
}

/// Three conversations, each with a transcript.
fn three() -> Store {
    let store = StoreBuilder::new().agent("main");
    let bind =
        |store: StoreBuilder, peer: u32, id: &str| store.binding(&key(peer), |one| one.idle("9d").session_id(id));
    bind(bind(bind(store, 1, "one"), 2, "two"), 3, "three").build()
}

const STORE: &str = "agents/main/sessions/sessions.json";
const BOUND_ANEW: &str =
    r#"{"agent:main:telegram:direct:2":{"sessionId":"new","updatedAt":1795384800000,"systemSent":true}}"#;

#[test]
fn what_is_said_to_people() {
    let store = three();
    store.back_up_stores(OLDER);
    store.run_recipe(&[]);
    store.write(STORE, BOUND_ANEW);
    store.write(format!("{MAIN}/three.jsonl"), "in the way\n");
    store.run(["restore", "--stuck-bak", "latest"]).code(2);
    let mut said = String::new();
    let mut say = |args: &[&str], code| {
        let output = store.run(args).code(code);
        writeln!(said, "$ claw-sessions {}\n{}", args.join(" "), store.redact(&output.to_string())).unwrap();
    };
    say(&["restore", "--stuck-bak"], 4);
    say(&["restore", "latest"], 0);
    assert_eq!(store.read(STORE), BOUND_ANEW.as_bytes());
    store.remove(format!("{MAIN}/three.jsonl"));
    say(&["restore", "--stuck-bak"], 0);
    say(&["restore", "--stuck-bak"], 0);
    assert_snapshot!("stuck-bak", said);
}

#[test]
fn the_newest_backup_that_has_a_key_says_whose_it_is() {
    let store = three();
    let text = String::from_utf8(store.read(STORE)).unwrap();
    store.back_up_stores(OLDER);
    // Later the first two had changed places, and the third was gone.
    let swapped = text
        .replace("direct:1\"", "direct:x\"")
        .replace("direct:2\"", "direct:1\"")
        .replace("direct:x\"", "direct:2\"");
    store.write(STORE, swapped.replace("direct:3\"", "direct:33\"").replace("three", "gone"));
    store.back_up_stores(OLDER + 1);
    store.run_recipe(&[]);
    let done = store.run(BACK).ok().json();
    assert_eq!(strings(&done["bindings"]), [key(1), key(2), key(3)].into());
    let now = store.sessions("main");
    assert_eq!((&now[key(1)]["sessionId"], &now[key(2)]["sessionId"]), (&json!("two"), &json!("one")));
    assert_eq!(now[key(3)]["sessionId"], "three", "only the older one has it");
}

#[test]
fn what_is_taken_held_or_no_file_is_left_alone_and_said() {
    let store = three();
    store.back_up_stores(OLDER);
    store.run_recipe(&[]);
    let sessions = store.path(MAIN);
    let live = LiveProcess::spawn();
    store.write(format!("{MAIN}/one.jsonl.lock"), live.lock());
    store.write(format!("{MAIN}/two.jsonl"), "another\n");
    std::fs::rename(sessions.join("three.jsonl.stuck-bak"), sessions.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", sessions.join("three.jsonl.stuck-bak")).unwrap();
    store.write(format!("{MAIN}/notes.stuck-bak"), "none of the recipe's");
    let before = store.tree().contents();
    let done = store.run(BACK).code(4).json();
    let refused = done["refused"].as_array().unwrap();
    let why = |name: &str| {
        let one = refused.iter().find(|one| one["what"].as_str().unwrap().ends_with(name));
        one.unwrap_or_else(|| panic!("{name}: {done:#}"))["why"].as_str().unwrap()
    };
    assert!(why("one.jsonl.stuck-bak").contains("held by pid"));
    assert!(why("two.jsonl.stuck-bak").contains("exists"));
    assert_eq!((refused.len(), &done["run"], &done["files"]), (2, &Value::Null, &json!(0)));
    assert!(before.diff(&store.tree().contents()).is_empty());

    // What failed once is asked for again.
    drop(live);
    store.remove(format!("{MAIN}/two.jsonl"));
    let done = store.run(BACK).ok().json();
    assert_eq!(strings(&done["bindings"]), [key(1), key(2)].into());
}

#[test]
fn an_undo_takes_no_name_from_what_is_used_again() {
    let store = three();
    store.back_up_stores(OLDER);
    store.run_recipe(&[]);
    store.run(BACK).ok();
    let mut now = store.sessions("main");
    now[key(1)]["updatedAt"] = json!(1_795_384_800_000_i64);
    store.write(STORE, support::openclaw::pretty(&now));
    let before = store.tree().contents();
    let refused = store.run(["restore", "latest", "--json"]).code(4).json();
    assert_eq!(refused["refused"].as_array().unwrap().len(), 4, "{refused}");
    assert!(before.diff(&store.tree().contents()).is_empty(), "the store was written since, and all three are bound");

    store.write(STORE, "{}");
    store.write(format!("{MAIN}/two.jsonl"), "written since\n");
    let refused = store.run(["restore", "latest", "--json"]).code(4).json();
    assert_eq!((&refused["files"], refused["refused"].as_array().unwrap().len()), (&json!(2), 2), "{refused}");
    assert_eq!(stuck(&store), [format!("{MAIN}/one.jsonl.stuck-bak"), format!("{MAIN}/three.jsonl.stuck-bak")]);
}

#[test]
fn an_agent_or_a_store_narrows_it() {
    let store = Store::recorded("real-small");
    store.back_up_stores(OLDER);
    store.run_recipe(&[]);
    let of = |agent: &str| stuck(&store).iter().filter(|file| file.contains(&format!("/{agent}/"))).count();
    let (main, illarion, marketer) = (of("main"), of("illarion"), of("marketer"));
    let done = store.run([&BACK[..], &["--agent", "illarion"]].concat()).ok().json();
    assert_eq!((&done["files"], of("main"), of("illarion"), of("marketer")), (&json!(illarion), main, 0, marketer));
    let path = store.path("agents/marketer/sessions/sessions.json");
    store.run([&BACK[..], &["--store", path.to_str().unwrap()]].concat()).ok();
    assert_eq!((of("main"), of("marketer")), (main, 0));
    assert!(store.sessions("main").as_object().unwrap().is_empty());
    store.run([&BACK[..], &["--agent", "nobody"]].concat()).code(2);
}

#[test]
fn beside_a_live_gateway_or_a_broken_store_nothing_is_touched() {
    let store = three();
    store.run_recipe(&[]);
    let live = LiveProcess::spawn();
    let lock = store.gateway_lock(live.pid(), live.starttime());
    let before = store.tree().exact();
    let refused = store.run(BACK).code(4).json();
    assert!(refused["error"].as_str().unwrap().contains("is alive"), "{refused}");
    before.assert_same(&store.tree().exact());
    std::fs::remove_file(lock).unwrap();

    store.write(STORE, "{\"cut");
    let before = store.tree().exact();
    let refused = store.run(BACK).code(4).json();
    assert!(refused["refused"][0]["why"].as_str().unwrap().starts_with("malformed: "), "{refused}");
    before.assert_same(&store.tree().exact());
}

#[test]
fn in_a_copy_of_the_state_directory_the_copy_is_undone() {
    let store = three();
    store.back_up_stores(OLDER);
    store.run_recipe(&[]);
    let after_recipe = store.tree().contents();
    store.run(BACK).ok();
    let copy = Store::empty();
    std::fs::remove_dir(copy.state_dir()).unwrap();
    let copied = Command::new("cp").arg("-a").args([store.state_dir(), copy.state_dir()]).status();
    assert!(copied.unwrap().success());
    let original = store.tree().exact();
    copy.run(["restore", "latest"]).ok();
    let diff = after_recipe.diff(&copy.tree().contents());
    assert!(diff.is_empty(), "{diff}");
    original.assert_same(&store.tree().exact());
}

/// The commands of a page, section by section, as they stand in its blocks.
fn commands(page: &str) -> Vec<(&str, Vec<&str>)> {
    page.split("\n## ")
        .skip(1)
        .map(|section| {
            let blocks = section.split("```\n").skip(1).step_by(2);
            let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("claw-sessions "));
            (section.lines().next().unwrap(), lines.collect())
        })
        .collect()
}

#[test]
fn every_command_of_the_migration_page_does_what_it_says() {
    let page = include_str!("../../docs/migrating-from-the-manual-recipe.md");
    // A gateway that was emptied, and has bound one session since.
    let emptied = |backups: bool| {
        let store = Store::recorded("real-gateway");
        let main = store.sessions("main")["agent:main:main"].clone();
        if backups {
            store.back_up_stores(OLDER);
        }
        store.run_recipe(&[]);
        store.write(STORE, json!({"agent:main:main": main}).to_string());
        store
    };
    let run = |store: &Store, line: &str| {
        let line =
            line.replace("claw-sessions ", &format!("{} --now 2026-11-23T12:00:00Z ", support::binary().display()));
        let clean = store.command([""; 0]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env_clear().current_dir(store.root());
        shell.envs(clean.get_envs().filter_map(|(name, value)| Some((name, value?))));
        support::Output::of(&mut shell)
    };
    let mut tried = 0;
    let (step_by_step, at_the_end): (Vec<_>, Vec<_>) =
        commands(page).into_iter().partition(|(heading, _)| heading.starts_with(|c: char| c.is_ascii_digit()));
    let store = emptied(true);
    for line in step_by_step.iter().flat_map(|(_, lines)| lines).filter(|line| !line.contains("systemd")) {
        let output = run(&store, line);
        assert_eq!(output.code, Some(0), "{line}: {output}");
        tried += 1;
    }
    assert!(stuck(&store).is_empty() && entries(&store).len() > 30, "brought back, taken, and brought back");

    let store = emptied(false);
    for line in at_the_end.iter().flat_map(|(_, lines)| lines) {
        let orphan = store.tree().files().into_iter().find(|file| file.starts_with(MAIN) && file.ends_with(".jsonl"));
        let orphan = orphan.unwrap_or_default();
        let line = line.replace("agents/main/sessions/0d5b….jsonl", &orphan);
        let output = run(&store, &line);
        assert_eq!(output.code, Some(0), "{line}: {output}");
        tried += 1;
    }
    assert!(stuck(&store).is_empty() && entries(&store).contains_key(&key(42)));
    assert_eq!(tried, 13, "none was missed");
}
