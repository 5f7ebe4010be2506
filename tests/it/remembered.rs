//! What is remembered of transcripts: the night's run reads what is new, and says what it would say without memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use chrono::{TimeDelta, Utc};
use support::chat::{self, Lines};
use support::{NOW, Output, Store, StoreBuilder, sys};

const LONG: &str = "agents/main/sessions/long.jsonl";
const KEY: &str = "agent:main:telegram:direct:1";
const BYTES: u64 = 3_000_000;
const NEW: &str = concat!(
    r#"{"type":"message","id":"eeeeeeee","parentId":null,"message":{"role":"assistant","content":[],"stopReason":"error"}}"#,
    "\n"
);

/// A store with one long transcript that was seen before.
fn seen() -> Store {
    let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.session_id("long")).build_in_memory();
    let mut text = Vec::new();
    chat::write(&mut text, "long", BYTES, Lines::Of(2000)).unwrap();
    store.write(LONG, text);
    store.set_mtime(LONG, Utc::now() - TimeDelta::hours(1));
    scan(&store, &[]);
    store
}

fn scan(store: &Store, more: &[&str]) -> serde_json::Value {
    let args = [&["scan", "--json", "--now", NOW, "--jobs", "1"], more].concat();
    let mut document = store.run(args).ok().json();
    document["bindings"][0].take()
}

fn append(store: &Store, text: &str) {
    File::options().append(true).open(store.path(LONG)).unwrap().write_all(text.as_bytes()).unwrap();
}

/// How many bytes of the transcript a scan reads, and what it says of it.
fn read_by_scan(store: &Store) -> u64 {
    let trace = store.root().join("trace");
    let options = ["-f", "-y", "-e", "trace=read,pread64", "-o", trace.to_str().unwrap()];
    Output::of(&mut store.under("strace", options, ["scan", "--json", "--now", NOW, "--jobs", "1"])).ok();
    let trace = fs::read_to_string(trace).unwrap();
    let of_transcript = trace.lines().filter(|line| line.contains("/long.jsonl>"));
    of_transcript.filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok()).sum()
}

#[test]
fn of_a_transcript_that_grew_only_what_was_appended_is_read() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let store = seen();
    // What was touched just now is not remembered.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    scan(&store, &[]);
    assert_eq!(read_by_scan(&store), 0, "an unchanged one is not opened");
    for turn in 1..4 {
        append(&store, &NEW.repeat(100));
        let read = read_by_scan(&store);
        let (new, probes) = (NEW.len() as u64 * 100, 4 * 4096);
        assert!((new..=new + probes).contains(&read), "turn {turn}: {read} bytes for {new} new ones");
    }
    assert_eq!(scan(&store, &[]), scan(&store, &["--no-cache"]));
}

#[test]
fn a_last_line_without_newline_is_read_again_when_it_is_whole() {
    let store = seen();
    let whole = scan(&store, &[]);
    append(&store, &NEW[..40]);
    assert_eq!(scan(&store, &[])["integrity"], "torn");
    append(&store, &NEW[40..]);
    let mended = scan(&store, &[]);
    assert_eq!((&mended["integrity"], &mended["run"]), (&whole["integrity"], &"errored".into()));
    assert_eq!(mended, scan(&store, &["--no-cache"]));
}

#[test]
fn what_was_changed_before_the_old_end_is_seen() {
    let at = |store: &Store, offset: u64, bytes: &[u8]| {
        let file = File::options().write(true).open(store.path(LONG)).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    };
    for (offset, found) in [(0, "no-header"), (BYTES - 500, "malformed-line")] {
        let store = seen();
        at(&store, offset, b"xxxx\n");
        append(&store, NEW);
        let told = scan(&store, &[]);
        assert!(told["findings"].to_string().contains(found), "changed at {offset}: {told}");
        assert_eq!(told, scan(&store, &["--no-cache"]));
    }
}

#[test]
fn a_memory_that_is_damaged_or_of_another_file_is_none() {
    let damages: [fn(&mut Vec<u8>); 3] = [|bytes| bytes.truncate(1000), |bytes| bytes[900] ^= 1, Vec::clear];
    for damage in damages {
        let store = seen();
        let cache = store.root().join("cache/claw-sessions");
        let mut damaged = 0;
        for file in support::tree(&cache).files().into_iter().filter(|file| file.contains('/')) {
            let mut bytes = fs::read(cache.join(&file)).unwrap();
            damage(&mut bytes);
            fs::write(cache.join(&file), bytes).unwrap();
            damaged += 1;
        }
        assert_eq!(damaged, 1, "the long one");
        append(&store, NEW);
        assert_eq!(scan(&store, &[]), scan(&store, &["--no-cache"]));
    }
    let store = seen();
    let text = store.read(LONG);
    store.remove(LONG);
    store.write(LONG, [&text[..text.len() / 2], NEW.as_bytes(), &text].concat());
    assert_eq!(scan(&store, &[]), scan(&store, &["--no-cache"]));
}

#[test]
fn a_flipped_bit_of_what_is_remembered_is_noticed() {
    let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.session_id("one")).build_in_memory();
    store.set_mtime("agents/main/sessions/one.jsonl", Utc::now() - TimeDelta::hours(1));
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let expected = scan(&store, &["--no-cache"]);
    assert_eq!(scan(&store, &[]), expected);
    let cache = store.root().join("cache/claw-sessions");
    let name = support::tree(&cache).files().remove(0);
    let whole = fs::read(cache.join(&name)).unwrap();
    for (index, bit) in (0..whole.len()).zip((0..8).cycle()) {
        let mut flipped = whole.clone();
        flipped[index] ^= 1 << bit;
        fs::write(cache.join(&name), flipped).unwrap();
        assert_eq!(scan(&store, &[]), expected, "bit {bit} of byte {index}");
    }
}
