//! What the loader does, line by line, and what we say of it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::samples::{HEADER, entry, good, text_of};
use Integrity::{Blocks, Cut, Empty, Freezes, Intact, Torn, Wiped};

fn judge(text: &str) -> Summary {
    let mut analyzer = Analyzer::default();
    let mut rest = text;
    while let Some((line, tail)) = rest.split_once('\n') {
        analyzer.line(line.as_bytes(), true);
        rest = tail;
    }
    if !rest.is_empty() {
        analyzer.line(rest.as_bytes(), false);
    }
    analyzer.finish()
}

#[track_caller]
fn case(change: impl FnOnce(&mut Vec<String>), integrity: Integrity) {
    let mut file = good();
    change(&mut file);
    assert_eq!(judge(&text_of(&file)).integrity, integrity);
}

#[test]
fn a_whole_file_is_intact_and_tells_its_times_and_ending() {
    let summary = judge(&text_of(&good()));
    assert_eq!((summary.integrity, summary.lines), (Intact, 5));
    assert_eq!(summary.ending, Some(Ending::Answered));
    assert_eq!(summary.started_at.unwrap().to_rfc3339(), "2026-11-22T22:00:00+00:00");
    assert_eq!(summary.last_at.unwrap().to_rfc3339(), "2026-11-22T22:00:01+00:00");
    assert!(summary.findings.is_empty());
}

#[test]
fn a_command_that_openclaw_answered_itself_is_no_unanswered_message() {
    let line = |id: &str, parent: &str, message: &str| {
        format!(r#"{{"type":"message","id":"{id}","parentId":"{parent}","message":{message}}}"#)
    };
    let user = line("eeeeeeee", "dddddddd", r#"{"role":"user","content":"/compact"}"#);
    let note = |id: &str, parent: &str, more: &str| {
        line(id, parent, &format!(r#"{{"role":"assistant","provider":"openclaw","stopReason":"stop",{more}}}"#))
    };
    let (injected, mirror) = (r#""model":"gateway-injected""#, r#""model":"delivery-mirror""#);
    let ending = |lines: &[String]| judge(&text_of(&[&good()[..], lines].concat())).ending;
    assert_eq!(ending(std::slice::from_ref(&user)), Some(Ending::Unanswered));
    assert_eq!(ending(&[user.clone(), note("ffffffff", "eeeeeeee", injected)]), Some(Ending::Answered));
    assert_eq!(ending(&[user.clone(), note("ffffffff", "eeeeeeee", mirror)]), Some(Ending::Unanswered));
    let twice = [note("ffffffff", "eeeeeeee", mirror), note("99999999", "ffffffff", injected)];
    assert_eq!(ending(&[&[user], &twice[..]].concat()), Some(Ending::Unanswered), "a note, and no answer");
    // A note after an answer says nothing of it.
    assert_eq!(ending(&[note("eeeeeeee", "dddddddd", injected)]), Some(Ending::Answered));
}

#[test]
fn what_happens_at_open_comes_before_what_happens_in_the_context() {
    case(|file| drop(file.remove(0)), Wiped);
    case(|file| file[0] = HEADER.replace("\"s\"", "7"), Wiped);
    case(|file| file.insert(2, "null".into()), Blocks);
    case(|file| file.insert(0, "null".into()), Blocks);
    case(
        |file| {
            file.remove(0);
            file.insert(2, "null".into());
        },
        Wiped,
    );
    case(|file| file.insert(0, "junk".into()), Intact);
    case(|file| file.truncate(1), Empty);
}

#[test]
fn only_the_active_path_freezes_or_blocks() {
    case(|file| file[3] = entry("cccccccc", "\"dddddddd\"", "user"), Freezes);
    case(|file| file[4] = entry("dddddddd", "\"dddddddd\"", "user"), Freezes);
    case(|file| file[3] = r#"{"type":"message","id":"cccccccc","parentId":"bbbbbbbb"}"#.into(), Blocks);
    // A side branch with the same defects is never walked.
    case(|file| file.insert(2, entry("xxxxxxxx", "\"xxxxxxxx\"", "user")), Intact);
    case(|file| file.insert(3, r#"{"type":"message","id":"x","parentId":null}"#.into()), Intact);
    // Before the first answer, though, every append stumbles over it.
    case(|file| file.insert(2, r#"{"type":"message","id":"x","parentId":null}"#.into()), Blocks);
}

#[test]
fn of_equal_ids_the_last_counts() {
    // The first entry's id again, below its own child: aaaaaaaa → bbbbbbbb → aaaaaaaa.
    case(|file| file.push(entry("aaaaaaaa", "\"dddddddd\"", "user")), Freezes);
    case(|file| file.push(entry("dddddddd", "\"cccccccc\"", "user")), Intact);
}

#[test]
fn a_lost_link_cuts_the_history_before_it() {
    case(|file| file[3] = "{broken".into(), Cut);
    case(|file| file.insert(3, "{broken".into()), Intact);
    case(|file| file[3] = entry("cccccccc", "\"zzzzzzzz\"", "user"), Cut);
    case(|file| file[3] = file[3].replace(r#""parentId":"bbbbbbbb","#, ""), Cut);
    case(|file| file[3] = entry("cccccccc", "null", "user"), Intact);
}

#[test]
fn a_null_id_at_the_end_stands_before_the_first_entry() {
    let last = |id: &str, parent: &str| {
        let line = entry("dddddddd", parent, "assistant").replace("\"dddddddd\"", id);
        move |file: &mut Vec<String>| {
            file[3] = entry("cccccccc", "\"cccccccc\"", "user");
            file[4] = line;
        }
    };
    case(last("\"dddddddd\"", "\"cccccccc\""), Freezes);
    case(last("null", "\"cccccccc\""), Cut);
    case(last("\"\"", "\"cccccccc\""), Freezes);
    case(|file| file.push(r#"{"type":"message","id":null,"parentId":"dddddddd"}"#.into()), Cut);
    case(
        |file| drop(file.splice(1.., [r#"{"type":"message","message":{"role":"assistant","content":[]}}"#.to_owned()])),
        Cut,
    );
    case(|file| file.push(r#"{"type":"message","id":"","parentId":"dddddddd"}"#.into()), Blocks);
}

#[test]
fn a_version_one_file_is_made_one_chain_first() {
    let old = HEADER.replace("\"version\":3,", "");
    case(|file| file[0] = old.clone(), Cut);
    case(
        |file| {
            file[0] = old.clone();
            file[3] = entry("cccccccc", "\"dddddddd\"", "user");
        },
        Cut,
    );
    case(
        |file| {
            file[0] = old.clone();
            file.insert(2, "5".into());
        },
        Blocks,
    );
    case(
        |file| {
            file[0] = old.clone();
            file.insert(2, "[5]".into());
        },
        Cut,
    );
    let flat = |line: &str| format!(r#"{{"type":"message","message":{{"role":"{line}","content":[]}}}}"#);
    assert_eq!(judge(&text_of(&[old.clone(), flat("user"), flat("assistant")])).integrity, Intact);
    assert_eq!(judge(&text_of(&[old.clone(), flat("user"), "[]".into(), flat("assistant")])).integrity, Cut);
    case(|file| file[0] = HEADER.replace('3', "2"), Intact);
    case(|file| file[0] = HEADER.replace(":3,", ":9,"), Intact);
}

#[test]
fn a_compaction_must_find_what_it_keeps() {
    let compaction = |kept: &str| {
        format!(r#"{{"type":"compaction","id":"eeeeeeee","parentId":"dddddddd","firstKeptEntryId":"{kept}"}}"#)
    };
    case(|file| file.push(compaction("cccccccc")), Intact);
    case(|file| file.push(compaction("zzzzzzzz")), Cut);
}

#[test]
fn a_content_that_cannot_be_sent_blocks_in_the_context_only() {
    let odd = |id: &str, parent: &str, message: &str| {
        format!(r#"{{"type":"message","id":"{id}","parentId":{parent},"message":{message}}}"#)
    };
    let answer = r#"{"role":"assistant","content":"Yes."}"#;
    for message in [
        answer,
        r#"{"role":"assistant","content":null}"#,
        r#"{"content":7,"role":"assistant"}"#,
        r#"{"role":"assistant","provider":"openclaw"}"#,
        r#"{"role":"assistant","content":[],"content":"Yes."}"#,
        r#"{"role":"assistant","content":[{"type":"text","text":"a"},null],"stopReason":"error"}"#,
        r#"{"role":"user"}"#,
        r#"{"role":"user","content":null}"#,
        r#"{"role":"user","content":[null]}"#,
        r#"{"role":"toolResult","content":[null]}"#,
    ] {
        case(|file| file[3] = odd("cccccccc", "\"bbbbbbbb\"", message), Blocks);
        // A side branch.
        case(|file| file.insert(3, odd("eeeeeeee", "\"bbbbbbbb\"", message)), Intact);
    }
    for message in [
        r#"{"role":"user","content":"Yes."}"#,
        r#"{"role":"assistant","content":[]}"#,
        r#"{"role":"toolResult","content":"Yes."}"#,
        r#"{"role":"bashExecution"}"#,
    ] {
        case(|file| file[3] = odd("cccccccc", "\"bbbbbbbb\"", message), Intact);
    }
    let compacted = |kept: &str| {
        let line =
            format!(r#"{{"type":"compaction","id":"eeeeeeee","parentId":"dddddddd","firstKeptEntryId":"{kept}"}}"#);
        move |file: &mut Vec<String>| {
            file[2] = odd("bbbbbbbb", "\"aaaaaaaa\"", answer);
            file.push(line);
            file.push(entry("ffffffff", "\"eeeeeeee\"", "user"));
        }
    };
    case(compacted("aaaaaaaa"), Blocks);
    case(compacted("bbbbbbbb"), Blocks);
    case(compacted("cccccccc"), Intact);
}

#[test]
fn the_end_of_the_file_can_be_torn() {
    let text = text_of(&good());
    assert_eq!(judge(&text[..text.len() - 1]).integrity, Torn);
    assert_eq!(judge(&text[..text.len() - 20]).integrity, Torn);
    let glued = text.trim_end().to_owned() + &entry("eeeeeeee", "\"dddddddd\"", "user") + "\n";
    assert_eq!(judge(&glued).integrity, Torn);
    let torn = judge(&text[..text.len() - 20]);
    assert_eq!(torn.ending, Some(Ending::Unanswered));
    assert_eq!(torn.findings[0].line, 5);
}

#[test]
fn nothing_readable_is_wiped_and_nothing_at_all_is_empty() {
    assert_eq!(judge("").integrity, Empty);
    assert_eq!(judge(" \n\t\n\u{feff}").integrity, Empty);
    assert_eq!(judge("\0\0\0").integrity, Wiped);
    assert_eq!(judge("junk\n").integrity, Wiped);
    assert_eq!(judge(&format!("\u{feff}{}", text_of(&good()))).integrity, Intact);
    assert_eq!(judge(&text_of(&good()).replace('\n', "\r\n")).integrity, Intact);
}

#[test]
fn white_space_that_is_none_in_json_is_trimmed_at_both_ends_of_the_file_only() {
    for space in ["\u{b}", "\u{a0}", "\u{2028} ", "\u{feff}\r"] {
        case(|file| file[0].insert_str(0, space), Intact);
        case(|file| file[4].push_str(space), Torn);
        case(|file| file[3].push_str(space), Cut);
        case(|file| file[0].push_str(space), Wiped);
        case(|file| drop(file.splice(.., [HEADER.to_owned() + space, space.to_owned()])), Empty);
        case(|file| file.push("null".to_owned() + space), Blocks);
        case(|file| file.extend(["null".to_owned() + space, "5".into()]), Cut);
    }
    case(|file| file[4].push('\u{85}'), Torn);
    case(|file| drop(file.splice(.., [HEADER.to_owned() + "\u{85}"])), Wiped);
}

#[test]
fn a_file_without_header_still_tells_how_its_run_ended() {
    let summary = judge(&text_of(&good()[1..]));
    assert_eq!((summary.integrity, summary.ending), (Wiped, Some(Ending::Answered)));
    assert_eq!(summary.findings[0], LineFinding { code: Code::NoHeader, line: 1, byte: Some(0), detail: None });
}

#[test]
fn an_error_keeps_its_message_and_later_notes_do_not_hide_it() {
    let mut file = good();
    file.push(
        r#"{"type":"message","id":"e","parentId":"dddddddd","message":{"role":"assistant","stopReason":"error","errorMessage":"401 no"}}"#
            .into(),
    );
    file.push(r#"{"type":"custom","id":"f","parentId":"e"}"#.into());
    file.push(
        r#"{"type":"message","id":"g","parentId":"f","message":{"role":"assistant","provider":"openclaw","stopReason":"stop"}}"#
            .into(),
    );
    assert_eq!(judge(&text_of(&file)).ending, Some(Ending::Error(Some("401 no".into()))));
}

#[test]
fn findings_name_the_line() {
    let mut file = good();
    file.insert(2, String::new());
    file[4] = entry("cccccccc", "\"dddddddd\"", "user");
    let summary = judge(&text_of(&file));
    assert_eq!(summary.findings, [LineFinding { code: Code::Cycle, line: 5, byte: None, detail: None }]);
}

/// Code, line and byte of all that a check finds.
fn check(text: &[u8]) -> Vec<(Code, u64, Option<u64>)> {
    let mut analyzer = Analyzer::thorough();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let terminated = line.ends_with(b"\n");
        analyzer.line(&line[..line.len() - usize::from(terminated)], terminated);
    }
    let found = analyzer.finish().findings.into_iter();
    found.map(|found| (found.code, found.line, found.byte)).collect()
}

#[test]
fn what_is_told_of_the_header_stands_where_the_header_stands() {
    let file = format!("\n{}", text_of(&good()).replace(":3,", ":9,"));
    assert_eq!(check(file.as_bytes()), [(Code::NewerVersion, 2, Some(1))]);
    let file = format!("\n{}", text_of(&good()).replace("\"version\":3,", ""));
    assert_eq!(check(file.as_bytes()), [(Code::VersionAbsent, 2, Some(1))]);
}

#[test]
fn bytes_count_from_the_start_of_the_file_whatever_the_loader_trims() {
    let file = format!("\u{feff} junk\n{}", text_of(&good()));
    let found = [(Code::ByteOrderMark, 1, Some(0)), (Code::JunkBeforeHeader, 1, Some(4))];
    assert_eq!(check(file.as_bytes()), found);
    let lone = format!("\u{feff}{{\"type\":\"custom\",\"x\":\"\\ud83d\"}}\n{}", text_of(&good()));
    assert!(check(lone.as_bytes()).contains(&(Code::LoneSurrogate, 1, Some(25))));
}

#[test]
fn a_byte_that_is_no_utf8_is_named_itself() {
    let mut file = text_of(&good()).into_bytes();
    let at = HEADER.len() + 1 + r#"{"type":"mes"#.len();
    file.splice(at..at, *b"\xff");
    let found = check(&file);
    assert!(found.contains(&(Code::InvalidUtf8, 2, Some(at as u64))), "{found:?}");
}

#[test]
fn an_entry_written_twice_is_no_side_branch() {
    let mut file = good();
    file.insert(3, file[2].clone());
    let twice = (Code::DuplicateId, 3, Some((HEADER.len() + 1 + file[1].len() + 1) as u64));
    assert_eq!(check(text_of(&file).as_bytes()), [twice]);
}
