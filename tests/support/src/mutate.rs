//! Healthy transcripts made ill in the ways that disks, crashes and programs do it. The same seed gives the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use walkdir::WalkDir;

use crate::openclaw::Rng;
use crate::{Store, expected, fixture};

/// Larger transcripts only take longer.
const MAX_BASE: u64 = 8 * 1024;

/// The small healthy transcripts of the recorded stores, and those of all crafted folders.
pub fn bases() -> Vec<Vec<u8>> {
    let mut bases = BTreeSet::new();
    for name in ["real-small", "real-gateway"] {
        let store = Store::recorded(name);
        for row in expected(&format!("{name}.expected.tsv")).iter().filter(|row| row["integrity"] == "intact") {
            let path = store.path(format!("agents/{}/sessions/{}", row["agent"], row["transcript"]));
            if path.metadata().is_ok_and(|metadata| metadata.len() <= MAX_BASE) {
                bases.insert(fs::read(path).unwrap());
            }
        }
    }
    let is_transcript = |path: &Path| path.extension().is_some_and(|extension| extension == "jsonl");
    let crafted = WalkDir::new(fixture("crafted")).into_iter().map(|entry| entry.unwrap().into_path());
    bases.extend(crafted.filter(|path| is_transcript(path)).map(|path| fs::read(path).unwrap()));
    bases.into_iter().filter(|base| !base.is_empty()).collect()
}

/// One transcript made of `bases`, and what was done to it.
pub fn mutated(bases: &[Vec<u8>], seed: &str) -> (Vec<u8>, Vec<&'static str>) {
    let mut rng = Rng::of(seed);
    let mut text = pick(&mut rng, bases).clone();
    let times = 1 + rng.below(3);
    let done = (0..times).map(|_| {
        let &(name, mutate) = pick(&mut rng, &MUTATIONS);
        mutate(&mut rng, &mut text, bases);
        name
    });
    let done = done.collect();
    (text, done)
}

type Mutation = fn(&mut Rng, &mut Vec<u8>, &[Vec<u8>]);

const MUTATIONS: [(&str, Mutation); 24] = [
    ("flip bits", |rng, text, _| flip(rng, text)),
    ("flip bits", |rng, text, _| flip(rng, text)),
    ("cut the end", |rng, text, _| text.truncate(at(rng, text))),
    ("cut a piece out", |rng, text, _| drop(text.drain(range(rng, text)))),
    ("splice", splice),
    ("NUL run", nuls),
    ("delete lines", |rng, text, _| on_lines(rng, text, |rng, lines| drop(lines.drain(span(rng, lines.len(), 3))))),
    ("double lines", double_lines),
    ("swap lines", swap_lines),
    ("edit id", |rng, text, _| edit(rng, text, |rng, ids, line| set_link(rng, ids, line, "id"))),
    ("edit parentId", |rng, text, _| edit(rng, text, |rng, ids, line| set_link(rng, ids, line, "parentId"))),
    ("edit parentId", |rng, text, _| edit(rng, text, |rng, ids, line| set_link(rng, ids, line, "parentId"))),
    ("edit the last entry", edit_last),
    ("insert a value", insert_value),
    ("remove a message", remove_message),
    ("remove answers", remove_answers),
    ("edit the type", edit_type),
    ("edit the header", edit_header),
    ("edit the header", edit_header),
    ("double a field", double_field),
    ("glue lines", glue),
    ("white space", white_space),
    ("CRLF", |_, text, _| *text = replace(text, b"\n", b"\r\n")),
    ("compaction", compaction),
];

fn pick<'a, T>(rng: &mut Rng, of: &'a [T]) -> &'a T {
    &of[rng.below(of.len() as u64) as usize]
}

/// A place in the text, its end included.
fn at(rng: &mut Rng, text: &[u8]) -> usize {
    rng.below(text.len() as u64 + 1) as usize
}

fn span(rng: &mut Rng, len: usize, longest: u64) -> std::ops::Range<usize> {
    let start = rng.below(len as u64) as usize;
    start..(start + 1 + rng.below(longest) as usize).min(len)
}

/// A piece of the text: mostly short, sometimes long.
fn range(rng: &mut Rng, text: &[u8]) -> std::ops::Range<usize> {
    let longest = *pick(rng, &[1, 8, 64, 600, 4096]);
    span(rng, text.len(), longest)
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut new = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.windows(from.len()).position(|window| window == from) {
        new.extend_from_slice(&rest[..found]);
        new.extend_from_slice(to);
        rest = &rest[found + from.len()..];
    }
    new.extend_from_slice(rest);
    new
}

fn on_lines(rng: &mut Rng, text: &mut Vec<u8>, change: impl FnOnce(&mut Rng, &mut Vec<Vec<u8>>)) {
    let mut lines: Vec<Vec<u8>> = text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    if !lines.is_empty() {
        change(rng, &mut lines);
        *text = lines.concat();
    }
}

/// Changes one line that is an object. `ids` are those of all lines.
fn edit(rng: &mut Rng, text: &mut Vec<u8>, change: impl FnOnce(&mut Rng, &[Value], &mut Map<String, Value>)) {
    on_lines(rng, text, |rng, lines| {
        let parsed: Vec<Option<Value>> = lines.iter().map(|line| serde_json::from_slice(line).ok()).collect();
        let ids: Vec<Value> = parsed.iter().flatten().filter_map(|line| line.get("id").cloned()).collect();
        let chosen = rng.below(lines.len() as u64) as usize;
        if let Some(Value::Object(mut line)) = parsed[chosen].clone() {
            change(rng, &ids, &mut line);
            lines[chosen] = (Value::Object(line).to_string() + "\n").into_bytes();
        }
    });
}

fn flip(rng: &mut Rng, text: &mut [u8]) {
    for _ in 0..=rng.below(3) {
        let place = rng.below(text.len() as u64) as usize;
        if let Some(byte) = text.get_mut(place) {
            *byte ^= 1 << rng.below(8);
        }
    }
}

fn splice(rng: &mut Rng, text: &mut Vec<u8>, bases: &[Vec<u8>]) {
    let other = pick(rng, bases);
    let piece = other[range(rng, other)].to_vec();
    let place = if text.is_empty() { 0..0 } else { range(rng, text) };
    text.splice(place, piece);
}

fn nuls(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    if text.is_empty() {
        return;
    }
    let place = range(rng, text);
    match rng.below(3) {
        0 => text[place].fill(0),
        1 => drop(text.splice(place.start..place.start, vec![0; place.len()])),
        _ => {
            let from = text.len() - place.len();
            text[from..].fill(0);
        }
    }
}

fn double_lines(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    on_lines(rng, text, |rng, lines| {
        let copies = lines[span(rng, lines.len(), 4)].to_vec();
        let to = rng.below(lines.len() as u64 + 1) as usize;
        lines.splice(to..to, copies);
    });
}

fn swap_lines(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    on_lines(rng, text, |rng, lines| {
        let (a, b) = (rng.below(lines.len() as u64) as usize, rng.below(lines.len() as u64) as usize);
        lines.swap(a, b);
    });
}

fn set_link(rng: &mut Rng, ids: &[Value], line: &mut Map<String, Value>, field: &str) {
    let odd = [
        json!(null),
        json!(""),
        json!(0),
        json!(7),
        json!(7.0),
        json!(false),
        json!(true),
        json!("unknown"),
        json!("\u{fffd}"),
        json!({"a": 1}),
        json!([]),
    ];
    let new = match rng.below(10) {
        0 => return drop(line.remove(field)),
        1 | 2 => line.get("id").cloned().unwrap_or_default(),
        3 | 4 => pick(rng, &odd).clone(),
        _ if ids.is_empty() => json!(null),
        _ => pick(rng, ids).clone(),
    };
    line.insert(field.to_owned(), new);
}

fn edit_last(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    on_lines(rng, text, |rng, lines| {
        let last = lines.pop().unwrap();
        let Ok(Value::Object(mut line)) = serde_json::from_slice(&last) else { return lines.push(last) };
        let ids: Vec<Value> =
            lines.iter().filter_map(|line| serde_json::from_slice::<Value>(line).ok()?.get("id").cloned()).collect();
        for field in ["id", "parentId"] {
            if rng.below(2) == 0 {
                set_link(rng, &ids, &mut line, field);
            }
        }
        lines.push((Value::Object(line).to_string() + "\n").into_bytes());
    });
}

/// Not `1e999`: the loader writes that back as `null`, where it writes anything back.
fn insert_value(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    let values: [&[u8]; 20] = [
        b"null",
        b"null",
        b"5",
        b"0",
        b"-0.0",
        b"true",
        b"false",
        b"\"text\"",
        b"\"\"",
        b"[]",
        b"[1,{}]",
        b"{}",
        b"{\"type\":\"session\"}",
        b"{\"type\":\"message\"}",
        b"{\"type\":\"message\",\"message\":{\"role\":\"assistant\"}}",
        b" null \r",
        b"nul",
        b"{\"id\":null}",
        b"1e-999",
        b"{\"a\":\"\\ud83d\"}",
    ];
    let value = [*pick(rng, &values), b"\n"].concat();
    on_lines(rng, text, |rng, lines| {
        let to = rng.below(lines.len() as u64 + 1) as usize;
        lines.insert(to, value);
    });
}

fn remove_message(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    edit(rng, text, |rng, _, line| match rng.below(4) {
        0 => drop(line.remove("message")),
        1 => drop(line.insert("message".to_owned(), json!(null))),
        2 => drop(line.insert("message".to_owned(), pick(rng, &[json!(0), json!("x"), json!([]), json!({})]).clone())),
        _ => {
            line.remove("message");
            line.insert("type".to_owned(), json!("message"));
        }
    });
}

/// Most or all lines of assistants go: before the first answer an append looks at every line.
fn remove_answers(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    let keep = rng.below(3) == 0;
    on_lines(rng, text, |rng, lines| {
        let needle = b"\"role\":\"assistant\"";
        lines.retain(|line| {
            let is_answer = line.windows(needle.len()).any(|window| window == needle);
            !is_answer || (keep && rng.below(2) == 0)
        });
    });
}

fn edit_type(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    let escaped: [(&[u8], &[u8]); 5] = [
        (b"\"type\":\"message\"", b"\"type\":\"mess\\u0061ge\""),
        (b"\"type\":\"session\"", b"\"type\":\"\\u0073ession\""),
        (b"\"parentId\":\"", b"\"parent\\u0049d\":\""),
        (b"\"role\":\"assistant\"", b"\"role\":\"assist\\u0061nt\""),
        (b"\"message\":{", b"\"m\\u0065ssage\":{"),
    ];
    if rng.below(3) == 0 {
        let (from, to) = *pick(rng, &escaped);
        *text = replace(text, from, to);
        return;
    }
    let kinds = ["session", "message", "compaction", "custom", "label", "custom_message", "branch_summary", "leaf"];
    edit(rng, text, |rng, _, line| {
        line.insert("type".to_owned(), json!(pick(rng, &kinds)));
    });
}

fn edit_header(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    let versions = [
        json!(null),
        json!(0),
        json!(1),
        json!(1.5),
        json!(2),
        json!(4),
        json!("1"),
        json!("3"),
        json!(""),
        json!("inf"),
        json!("three"),
        json!(true),
        json!(false),
        json!({}),
    ];
    let ids = [json!(null), json!(""), json!(7), json!(["s"])];
    on_lines(rng, text, |rng, lines| {
        let Ok(Value::Object(mut header)) = serde_json::from_slice(&lines[0]) else { return };
        match rng.below(8) {
            0 => header.insert("id".to_owned(), pick(rng, &ids).clone()),
            1 => header.remove("id"),
            2 => header.insert("type".to_owned(), json!("Session")),
            3 | 4 => header.remove("version"),
            _ => header.insert("version".to_owned(), pick(rng, &versions).clone()),
        };
        lines[0] = (Value::Object(header).to_string() + "\n").into_bytes();
    });
}

/// A second field of the same name, at the end of a line, where it counts.
fn double_field(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    let fields: [&[u8]; 6] = [
        b",\"message\":null}",
        b",\"message\":{\"role\":\"user\"}}",
        b",\"id\":\"double00\"}",
        b",\"parentId\":null}",
        b",\"type\":\"message\"}",
        b",\"type\":\"custom\"}",
    ];
    let field = *pick(rng, &fields);
    on_lines(rng, text, |rng, lines| {
        let chosen = rng.below(lines.len() as u64) as usize;
        if let Some(end) = lines[chosen].iter().rposition(|&byte| byte == b'}') {
            lines[chosen].splice(end..=end, field.iter().copied());
        }
    });
}

fn glue(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    on_lines(rng, text, |rng, lines| {
        let chosen = if rng.below(2) == 0 { lines.len() - 1 } else { rng.below(lines.len() as u64) as usize };
        if lines[chosen].last() == Some(&b'\n') {
            lines[chosen].pop();
        }
    });
}

/// What JavaScript trims and JSON does not allow, and the reverse, around a line.
fn white_space(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    let spaces =
        ["\u{b}", "\u{c}", "\u{a0}", "\u{85}", "\u{2028}", "\u{3000}", "\u{feff}", " ", "\r", "\t", "\n", " \n\t\n"];
    let space = pick(rng, &spaces).as_bytes();
    on_lines(rng, text, |rng, lines| {
        let any = rng.below(lines.len() as u64) as usize;
        let chosen = *pick(rng, &[0, lines.len() - 1, any]);
        let line = &mut lines[chosen];
        let end = line.len() - usize::from(line.last() == Some(&b'\n'));
        let to = *pick(rng, &[0, end, line.len()]);
        line.splice(to..to, space.iter().copied());
    });
}

fn compaction(rng: &mut Rng, text: &mut Vec<u8>, _: &[Vec<u8>]) {
    edit(rng, text, |rng, ids, line| {
        line.insert("type".to_owned(), json!("compaction"));
        let kept = if ids.is_empty() || rng.below(2) == 0 { json!("unknown") } else { pick(rng, ids).clone() };
        line.insert("firstKeptEntryId".to_owned(), kept);
        line.insert("firstKeptEntryIndex".to_owned(), json!(rng.below(9)));
    });
}
