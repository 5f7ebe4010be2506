//! Each defect that has one exact answer, mended; and what has none.

use super::*;
use crate::model::samples::{HEADER, entry, good, text_of};
use crate::model::transcript::Integrity;

fn judge(text: &[u8]) -> (Summary, Option<Cure>) {
    let mut proof = Proof::thorough();
    for piece in text.split_inclusive(|&byte| byte == b'\n') {
        let line = piece.strip_suffix(b"\n");
        proof.take(line.unwrap_or(piece), line.is_some());
    }
    proof.finish_with_cure()
}

fn mended(text: &[u8]) -> Option<Vec<u8>> {
    let (before, cure) = judge(text);
    let cure = cure?;
    let mut new = Vec::new();
    let mut mender = Mender::new(&cure, HEADER.as_bytes());
    for piece in text.split_inclusive(|&byte| byte == b'\n') {
        let line = piece.strip_suffix(b"\n");
        let emitted = mender.line(line.unwrap_or(piece), line.is_some(), &mut |bytes: &[u8], ends| {
            new.extend_from_slice(bytes);
            new.extend(ends.then_some(b'\n'));
            Ok::<(), ()>(())
        });
        emitted.ok()?;
    }
    let (after, _) = judge(&new);
    cure.is_exact(&before, &after).then_some(new)
}

#[track_caller]
fn case(damaged: impl AsRef<[u8]>, whole: &str) {
    let new = mended(damaged.as_ref()).unwrap();
    assert_eq!(String::from_utf8_lossy(&new), whole);
    assert_eq!(mended(&new), None, "nothing is left to mend");
    assert_eq!(judge(&new).0.integrity, Integrity::Intact);
}

#[test]
fn a_missing_header_is_put_back() {
    case(text_of(&good()[1..]), &text_of(&good()));
}

#[test]
fn a_broken_header_makes_room_for_a_good_one() {
    for broken in [r#"{"type":"session","version":3,"id":"s","tim"#, r#"{"type":"session","version":3,"id":7}"#] {
        let mut lines = good();
        lines[0] = broken.to_owned();
        case(text_of(&lines), &text_of(&good()));
    }
}

#[test]
fn a_header_that_stands_too_low_is_copied_to_the_top() {
    let mut lines = good();
    let own = HEADER.replace("\"s\"", "\"own\"");
    lines.remove(0);
    lines.insert(2, own.clone());
    let mut whole = lines.clone();
    whole.insert(0, own);
    case(text_of(&lines), &text_of(&whole));
}

#[test]
fn null_and_other_lines_that_are_no_objects_are_cut_out() {
    for line in ["null", "7", "\"x\"", "[1,{}]", "true"] {
        for at in [0, 1, 3, 5] {
            let mut lines = good();
            lines.insert(at, line.to_owned());
            if line != "null" && at == 0 {
                continue;
            }
            case(text_of(&lines), &text_of(&good()));
        }
    }
}

#[test]
fn a_message_without_message_goes_and_its_children_hang_on_its_parent() {
    let empty = |id: &str, parent: &str| format!(r#"{{"type":"message","id":"{id}","parentId":"{parent}"}}"#);
    let mut lines = good();
    lines.insert(3, empty("eeeeeeee", "bbbbbbbb"));
    lines.insert(4, empty("ffffffff", "eeeeeeee"));
    lines[5] = entry("cccccccc", "\"ffffffff\"", "user");
    case(text_of(&lines), &text_of(&good()));
}

#[test]
fn a_final_newline_is_added_and_glued_objects_are_split() {
    let whole = text_of(&good());
    case(whole.trim_end(), &whole);
    let glued =
        whole.replacen("}\n{\"type\":\"message\",\"id\":\"cccccccc\"", "}{\"type\":\"message\",\"id\":\"cccccccc\"", 1);
    assert_ne!(glued, whole);
    case(&glued, &whole);
    let all = whole.replace("}\n{\"type\":\"message\"", "}{\"type\":\"message\"");
    case(&all, &whole);
}

#[test]
fn a_tail_of_nuls_is_cut() {
    let whole = text_of(&good());
    case([whole.as_bytes(), &[0; 700]].concat(), &whole);
    case([whole.trim_end().as_bytes(), &[0; 7]].concat(), &whole);
    let torn = [&whole.as_bytes()[..whole.len() - 20], &[0; 20]].concat();
    let new = mended(&torn).unwrap();
    assert_eq!(new, [&whole.as_bytes()[..whole.len() - 20], b"\n"].concat(), "what is left of the line stays");
}

#[test]
fn the_edge_that_closes_a_cycle_is_cut_and_nothing_leaves_the_context() {
    let mut lines = good();
    lines[3] = entry("cccccccc", "\"cccccccc\"", "user");
    case(text_of(&lines), &text_of(&good()));
    lines[3] = entry("cccccccc", "\"dddddddd\"", "user");
    case(text_of(&lines), &text_of(&good()));
    lines = good();
    lines[1] = entry("aaaaaaaa", "\"dddddddd\"", "user");
    case(text_of(&lines), &text_of(&good()));
}

#[test]
fn a_cycle_by_an_id_used_twice_keeps_what_can_still_be_reached() {
    let mut lines = good();
    lines.insert(1, entry("99999999", "null", "user"));
    lines[2] = entry("aaaaaaaa", "\"99999999\"", "user");
    lines[5] = entry("aaaaaaaa", "\"cccccccc\"", "assistant");
    let mut whole = lines.clone();
    whole[3] = entry("bbbbbbbb", "\"99999999\"", "assistant");
    case(text_of(&lines), &text_of(&whole));
}

#[test]
fn a_tree_without_version_gets_the_version_that_has_trees() {
    for without in [HEADER.replace("\"version\":3,", ""), HEADER.replace("\"version\":3", "\"version\":null")] {
        let mut lines = good();
        lines[0] = without;
        case(text_of(&lines), &text_of(&good()));
    }
}

#[test]
fn what_has_no_exact_answer_is_left_alone() {
    let mut lines = good();
    lines[3] = "{\"type\":\"mess".to_owned();
    assert_eq!(mended(text_of(&lines).as_bytes()), None, "a lost line");
    assert_eq!(mended(b"\0\0\0\0"), None);
    assert_eq!(mended(b"junk\n"), None);
    let mut lines = good();
    lines.insert(2, r#"{"type":"message","id":"bbbbbbbb","parentId":"aaaaaaaa"}"#.to_owned());
    assert_eq!(mended(text_of(&lines).as_bytes()), None, "whose children they are is not known");
}

#[test]
fn a_content_that_is_no_list_becomes_one_and_no_byte_besides_changes() {
    let line = |content: &str, role: &str| {
        let more = r#""provider":"p","stopReason":"stop""#;
        format!(
            r#"{{"type":"message","id":"bbbbbbbb","parentId":"aaaaaaaa","message":{{"role":"{role}"{content},{more}}}}}"#
        )
    };
    let changes = |role: &str, content: &str, mended_content: &str| {
        let (mut lines, mut whole) = (good(), good());
        lines[2] = line(content, role);
        whole[2] = line(mended_content, role);
        case(text_of(&lines), &text_of(&whole));
    };
    changes(
        "assistant",
        r#", "content" : "a \"plain\" \u0041 string""#,
        r#", "content" : [{"type":"text","text":"a \"plain\" \u0041 string"}]"#,
    );
    for role in ["assistant", "user"] {
        changes(role, r#","content": null "#, r#","content": [] "#);
        changes(role, "", r#","content":[]"#);
        changes(role, r#","content":[null]"#, r#","content":[]"#);
        let (a, b) = (r#"{"type":"text","text":"a, null"}"#, r#"{"type":"image","data":null}"#);
        changes(role, &format!(r#","content":[ null, {a} ,null,null , {b}]"#), &format!(r#","content":[ {a} , {b}]"#));
        changes(role, &format!(r#","content":[null,null,{a}, {b}, null ]"#), &format!(r#","content":[{a}, {b} ]"#));
    }
    // A user's text is a content of its own right; what is neither text nor list has no one answer.
    let mut lines = good();
    lines[2] = line(r#","content":{"type":"text","text":"a"}"#, "assistant");
    assert_eq!(judge(text_of(&lines).as_bytes()).0.integrity, Integrity::Blocks);
    assert_eq!(mended(text_of(&lines).as_bytes()), None);
}

#[test]
fn a_content_that_is_no_list_is_mended_together_with_a_parent() {
    let mut lines = good();
    lines.insert(3, r#"{"type":"message","id":"eeeeeeee","parentId":"bbbbbbbb"}"#.to_owned());
    lines[4] =
        r#"{"message":{"content":"Hm.","role":"assistant"},"parentId":"eeeeeeee","id":"cccccccc","type":"message"}"#
            .to_owned();
    let mut whole = good();
    whole[3] = r#"{"message":{"content":[{"type":"text","text":"Hm."}],"role":"assistant"},"parentId":"bbbbbbbb","id":"cccccccc","type":"message"}"#.to_owned();
    case(text_of(&lines), &text_of(&whole));
}

#[test]
fn a_line_of_another_program_is_cut_out_and_the_next_entry_hangs_on_the_nearest_before() {
    let marker = r#"{"type":"session_marker","uuid":"u","agent":"pi"}"#;
    for odd in [marker, "{}", "7"] {
        for at in [1, 2, 3, 5] {
            let mut lines = good();
            lines.insert(at, odd.to_owned());
            case(text_of(&lines), &text_of(&good()));
            lines.insert(at, odd.to_owned());
            case(text_of(&lines), &text_of(&good()));
        }
        let mut lines = good();
        lines[3] = lines[3].replace(r#","parentId":"bbbbbbbb""#, "");
        lines.splice(3..3, [odd.to_owned(), odd.to_owned()]);
        case(text_of(&lines), &text_of(&good()));
    }
    // Nothing was cut out before it: what it hung on nobody knows.
    let mut lines = good();
    lines[3] = lines[3].replace(r#","parentId":"bbbbbbbb""#, "");
    let whole = text_of(&lines);
    lines.insert(2, marker.to_owned());
    let new = mended(text_of(&lines).as_bytes()).unwrap();
    assert_eq!(String::from_utf8_lossy(&new), whole);
    // What has a message may be somebody's words, and lines of version 1 have no ids.
    let words = r#"{"type":"user","uuid":"u","message":{"role":"user","content":"words"}}"#;
    for (line, version) in [(words, ":3,"), (marker, ":1,")] {
        let mut lines = good();
        lines[0] = HEADER.replace(":3,", version);
        lines.insert(3, line.to_owned());
        assert_eq!(mended(text_of(&lines).as_bytes()), None, "{line}");
    }
}

#[test]
fn several_defects_are_mended_at_once() {
    let mut lines = good();
    lines.remove(0);
    lines.insert(2, "null".to_owned());
    case(text_of(&lines).trim_end(), &text_of(&good()));
}
