//! A store's text: what the scanner takes for JSON, which bindings it sees, and that taking members out and putting
//! them back touches nothing else.

#![allow(clippy::disallowed_methods, reason = "a fuzz target")]
#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is what the fuzzer looks for")]

use std::hash::{DefaultHasher, Hash, Hasher};

use claw_sessions::model::entry::Entry;
use claw_sessions::model::json::{self, Span};
use claw_sessions::model::store::{self, Defect, Document};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

fuzz_target!(|text: &[u8]| {
    // The one oracle that accepts what Node accepts: lone surrogates, `1e999`, any depth, bytes that are not UTF-8.
    let valid = serde_json::from_slice::<IgnoredAny>(text).is_ok();
    assert_eq!(json::check(text).is_ok(), valid, "one scanner says yes, the other no");

    let read = store::read(text);
    match store::read_entries(text) {
        Ok((document, entries)) => {
            assert_eq!(read.as_ref(), Ok(&document), "both readings see the same members");
            assert_eq!(entries.len(), document.members.len());
            for (entry, member) in entries.iter().zip(&document.members) {
                if let Ok(value) = serde_json::from_slice(member.entry.span.of(text)) {
                    means(entry, &value);
                }
            }
        }
        Err(defect) => assert_eq!(read.as_ref(), Err(&defect)),
    }
    match read {
        Ok(document) => {
            assert!(valid, "a store is JSON");
            whole(text, &document);
        }
        Err(Defect::NotAnObject(_)) => assert!(valid),
        Err(Defect::Bom | Defect::Empty) => assert!(!valid),
        Err(Defect::Malformed { error, .. }) => {
            assert!(!valid);
            assert!(error.offset <= text.len());
        }
    }
});

fn whole(text: &[u8], document: &Document) {
    let bindings = document.effective(text);
    let shadowed: usize = bindings.iter().map(|binding| binding.hidden.len()).sum();
    assert_eq!(bindings.len() + shadowed, document.members.len(), "each member counts or is hidden");

    // Fails on lone surrogates, on `1e999` and on what is nested deep; there it is no oracle.
    if let Ok(map) = serde_json::from_slice::<Map<String, Value>>(text) {
        let keys: Vec<&str> = bindings.iter().map(|binding| binding.key.as_str()).collect();
        assert_eq!(keys, map.keys().collect::<Vec<_>>());
        for binding in &bindings {
            let entry = document.members[binding.member].entry.span.of(text);
            assert_eq!(serde_json::from_slice::<Value>(entry).unwrap(), map[&binding.key], "{}", binding.key);
        }
    }

    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let mut picks = hasher.finish();
    for _ in 0..4 {
        let remove: Vec<usize> = (0..document.members.len()).filter(|at| picks >> (at % 64) & 1 == 1).collect();
        removed(text, document, &remove);
        picks = picks.rotate_left(17) ^ picks >> 3;
    }
    removed(text, document, &(0..document.members.len()).collect::<Vec<_>>());

    // Cuts as a damaged manifest may name them.
    let at = |n: u32| (picks >> (n * 8)) as u8 as usize % (text.len() + 2);
    let odd = [Span { start: at(0), end: at(1) }, Span { start: at(2), end: at(3) }];
    if let Some(old) = store::uncut(text, &odd, &text[..at(4).min(text.len())]) {
        assert_eq!(store::cut(&old, &odd), text);
    }
}

/// The fields that decide are those of the value.
fn means(entry: &Entry, value: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let origin = &value["origin"];
    assert_eq!(entry.not_an_object, !value.is_object());
    assert_eq!(entry.session_id, text(&value["sessionId"]));
    let file = value["sessionFile"].as_str().map(str::trim).filter(|file| !file.is_empty());
    assert_eq!(entry.session_file.as_deref(), file);
    assert_eq!(entry.status, text(&value["status"]));
    assert_eq!(entry.acp_state, text(&value["acp"]["state"]));
    assert_eq!(entry.system_sent, value["systemSent"].as_bool());
    assert_eq!(entry.aborted_last_run, value["abortedLastRun"].as_bool());
    assert_eq!(entry.chat_type, text(&value["chatType"]).or(text(&origin["chatType"])));
    let channels = [&value["channel"], &value["lastChannel"], &origin["provider"]];
    assert_eq!(entry.channel, channels.into_iter().find_map(text));
    assert_eq!((entry.pinned, entry.archived), (!value["pinnedAt"].is_null(), !value["archivedAt"].is_null()));
    assert_eq!(entry.updated_at.is_some(), !value["updatedAt"].is_null());
    for (at, set) in entry.preferences.iter().enumerate() {
        assert!(!value[set].is_null() && !entry.preferences[..at].contains(set), "{set}");
    }
}

/// The raw key and entry of each member.
fn raw(text: &[u8], document: &Document) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |member: &store::Member| (member.key.of(text).to_vec(), member.entry.span.of(text).to_vec());
    document.members.iter().map(pair).collect()
}

fn removed(text: &[u8], document: &Document, remove: &[usize]) {
    let cuts = document.cuts(remove);
    assert!(cuts.is_sorted_by(|a, b| a.end < b.start), "in order, with something between");
    assert_eq!(cuts.is_empty(), remove.is_empty());
    let new = store::cut(text, &cuts);
    let gone: Vec<u8> = cuts.iter().flat_map(|cut| cut.of(text).to_vec()).collect();
    assert_eq!(store::uncut(&new, &cuts, &gone).as_deref(), Some(text), "uncut undoes cut");

    let all = raw(text, document);
    let left = store::read(&new).expect("what stays is a store");
    let (leave, stay): (Vec<_>, Vec<_>) = (0..all.len()).partition(|at| remove.contains(at));
    let of = |picked: Vec<usize>| picked.into_iter().map(|at| all[at].clone()).collect::<Vec<_>>();
    let (leave, mut stay) = (of(leave), of(stay));
    assert_eq!(raw(&new, &left), stay, "what stays keeps its bytes");

    let grown = left.with_members(&new, &leave);
    let again = store::read(&grown).expect("with members it is a store");
    stay.extend(leave);
    assert_eq!(raw(&grown, &again), stay, "members come back behind the others");
}
