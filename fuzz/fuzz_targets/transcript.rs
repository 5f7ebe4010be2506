//! A transcript: each line against serde's scanner, the verdict against a plain retelling of the loader.

#![allow(clippy::disallowed_methods, reason = "a fuzz target")]
#![no_main]

use std::collections::{HashMap, HashSet};

use claw_sessions::model::transcript::{Analyzer, Integrity, MAX_FINDINGS, Summary};
use claw_sessions::model::{json, line};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    check(text);
    check(&tree(text));
});

/// A transcript told by a few bytes, three for a line: where bits are flipped in JSON, ids seldom meet.
fn tree(bytes: &[u8]) -> Vec<u8> {
    let of = |words: &[&'static str], byte: u8| words[usize::from(byte) % words.len()];
    let header = of(&["\"version\":3,", "\"version\":3,", "\"version\":2,", "\"version\":1,", ""], bytes.len() as u8);
    let mut text = format!("{{\"type\":\"session\",{header}\"id\":\"s\"}}\n");
    let ids = ["\"a\"", "\"b\"", "\"c\"", "\"d\"", "null", "\"\""];
    for line in bytes.as_chunks::<3>().0.iter().take(12) {
        let (id, parent) = (of(&ids, line[1]), of(&ids, line[2]));
        let more = match line[0] % 16 {
            0 => {
                text += of(&["null\n", "5\n", "[]\n", "junk\n", "\n", "{}\n"], line[1]);
                continue;
            }
            1 => "\"type\":\"message\"".to_owned(),
            2 => "\"type\":\"message\",\"message\":null".to_owned(),
            3 => format!("\"type\":\"compaction\",\"firstKeptEntryId\":{}", of(&ids, line[0] / 16)),
            4..=7 => "\"type\":\"message\",\"message\":{\"role\":\"user\"}".to_owned(),
            _ => "\"type\":\"message\",\"message\":{\"role\":\"assistant\"}".to_owned(),
        };
        text.extend(["{\"id\":", id, ",\"parentId\":", parent, ",", &more, "}\n"]);
    }
    text.into_bytes()
}

fn check(text: &[u8]) {
    for one in text.split(|&byte| byte == b'\n') {
        let checked = json::check(one);
        assert_eq!(checked.is_ok(), serde_json::from_slice::<IgnoredAny>(one).is_ok(), "{}", one.escape_ascii());
        let read = line::read(one);
        assert_eq!(read.as_ref().err(), checked.as_ref().err(), "{}", one.escape_ascii());
        assert!(
            checked.is_ok_and(|value| value.span.end <= one.len()) || checked.is_err_and(|e| e.offset <= one.len())
        );
    }

    let summary = judge(text);
    assert_eq!(judge(text), summary, "judged the same again");
    assert!(summary.findings.len() <= MAX_FINDINGS);
    for found in &summary.findings {
        assert!((1..=summary.lines.max(1)).contains(&found.line), "{found:?} of {} lines", summary.lines);
        assert!(found.byte.is_none_or(|byte| byte <= text.len() as u64));
    }
    let hurts = matches!(summary.integrity, Integrity::Freezes | Integrity::Blocks | Integrity::Wiped);
    if let Some(does) = loader(text) {
        assert_eq!(if hurts { summary.integrity } else { Integrity::Intact }, does, "{}", text.escape_ascii());
    }

    let integrity = |text: &[u8]| judge(text).integrity;
    let blank_first = [b" \t\n\n", text].concat();
    assert_eq!(integrity(&blank_first), summary.integrity, "blank lines before it do no harm");
    if text.ends_with(b"\n") {
        let mut crlf = Vec::with_capacity(text.len() * 2);
        for &byte in text {
            crlf.extend_from_slice(if byte == b'\n' { b"\r\n" } else { std::slice::from_ref(&byte) });
        }
        assert_eq!(integrity(&crlf), summary.integrity, "CRLF does no harm");
        // A new root: from here on the old path is off the way, and only what is looked at before it can hurt.
        let healthy = br#"{"type":"message","id":"fuzz0001","parentId":null,"message":{"role":"user","content":"x"}}"#;
        let grown = integrity(&[text, healthy, b"\n"].concat());
        assert_ne!(grown, Integrity::Freezes);
        match summary.integrity {
            Integrity::Wiped => assert_eq!(grown, Integrity::Wiped),
            Integrity::Freezes | Integrity::Blocks => {}
            // Nothing at all, or a header with nothing: the line is the first or the only one.
            Integrity::Empty => assert_ne!(grown, Integrity::Blocks),
            _ => assert!(!matches!(grown, Integrity::Blocks | Integrity::Wiped), "{grown:?}"),
        }
    } else {
        let ended = integrity(&[text, b"\n"].concat());
        let torn_no_more = summary.integrity == Integrity::Torn && ended == Integrity::Intact;
        assert!(ended == summary.integrity || torn_no_more, "{:?} is {ended:?} with its newline", summary.integrity);
    }
}

fn feed(analyzer: &mut Analyzer, text: &[u8]) {
    for one in text.split_inclusive(|&byte| byte == b'\n') {
        match one.strip_suffix(b"\n") {
            Some(one) => analyzer.line(one, true),
            None => analyzer.line(one, false),
        }
    }
}

fn judge(text: &[u8]) -> Summary {
    let mut analyzer = Analyzer::default();
    feed(&mut analyzer, text);
    analyzer.finish()
}

/// The loader retold with `Value`s, without regard to memory or speed (F§4.5). `None` where `Value` cannot follow
/// JavaScript: lone surrogates, `1e999`, deep nesting, ids that are no strings, a version that is no plain number.
fn loader(text: &[u8]) -> Option<Integrity> {
    let text = String::from_utf8_lossy(text);
    let is_space = |c: char| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}';
    let mut all = Vec::new();
    for one in text.trim_matches(is_space).split('\n').filter(|one| !one.trim_matches(is_space).is_empty()) {
        match serde_json::from_str::<Value>(one) {
            Ok(value) => all.push(value),
            Err(_) if json::check(one.as_bytes()).is_ok() => return None,
            Err(_) => {}
        }
    }
    let Some(first) = all.first() else {
        return Some(if text.trim_matches(is_space).is_empty() { Integrity::Intact } else { Integrity::Wiped });
    };
    if first.is_null() {
        return Some(Integrity::Blocks);
    }
    if first["type"] != "session" || !first["id"].is_string() {
        return Some(Integrity::Wiped);
    }
    let version = match &first["version"] {
        Value::Null => 1.0,
        Value::Number(number) => number.as_f64()?,
        _ => return None,
    };
    let is_scalar = |value: &Value| !value.is_object() && !value.is_array();
    if all.iter().any(Value::is_null) || (version < 2.0 && all.iter().any(is_scalar)) {
        return Some(Integrity::Blocks);
    }
    let entries: Vec<Value> = all.into_iter().filter(|value| value["type"] != "session").collect();
    let odd = |value: &Value| !(value.is_null() || value.is_string());
    if entries.iter().any(|entry| odd(&entry["id"]) || odd(&entry["parentId"])) {
        return None;
    }
    let path = if version < 2.0 { Some((0..entries.len()).collect()) } else { path(&entries) };
    let Some(path) = path else { return Some(Integrity::Freezes) };
    let is_message = |entry: &Value| entry["type"] == "message";
    if path.iter().any(|&at| is_message(&entries[at]) && entries[at]["message"].is_null()) {
        return Some(Integrity::Blocks);
    }
    for entry in entries.iter().filter(|entry| is_message(entry)) {
        if entry["message"].is_null() {
            return Some(Integrity::Blocks);
        }
        if entry["message"]["role"] == "assistant" {
            break;
        }
    }
    Some(Integrity::Intact)
}

/// From the last entry to its root; `None` when there is no end to it.
fn path(entries: &[Value]) -> Option<Vec<usize>> {
    let by_id: HashMap<&str, usize> =
        entries.iter().enumerate().filter_map(|(at, entry)| Some((entry["id"].as_str()?, at))).collect();
    let mut current = entries.len().checked_sub(1).filter(|&last| entries[last].get("id") != Some(&Value::Null));
    let (mut path, mut seen) = (Vec::new(), HashSet::new());
    while let Some(at) = current {
        if !seen.insert(at) {
            return None;
        }
        path.push(at);
        let parent = entries[at]["parentId"].as_str().filter(|parent| !parent.is_empty());
        current = parent.and_then(|parent| by_id.get(parent).copied());
    }
    Some(path)
}
