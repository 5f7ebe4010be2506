//! What a line says, in the ways in which JavaScript would read it.
#![allow(clippy::unwrap_used)]

use super::*;

fn entry(text: &str) -> EntryLine {
    match read(text.as_bytes()).unwrap() {
        Line::Entry(entry, _) => entry,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_message_is_judged_by_role_and_stop_reason() {
    let judged = |message: &str| entry(&format!(r#"{{"type":"message","message":{message}}}"#)).role;
    assert_eq!(judged(r#"{"role":"user"}"#), Role::Judges(Judging::User));
    assert_eq!(judged(r#"{"role":"assistant","stopReason":"error"}"#), Role::Judges(Judging::Error));
    assert_eq!(judged(r#"{"role":"assistant","content":"Yes.","stopReason":"length"}"#), Role::Judges(Judging::Stop));
    let answer = |stop: &str, content: &str| {
        judged(&format!(r#"{{"role":"assistant","stopReason":"{stop}","content":{content}}}"#))
    };
    let (said, called) = (r#"[{"type":"text","text":"toolCall"}]"#, r#"[{"type":"toolCall","id":"c","name":"exec"}]"#);
    for stop in ["stop", "length", "toolUse", "end_turn"] {
        assert_eq!(answer(stop, said), Role::Judges(Judging::Stop), "{stop}");
        assert_eq!(answer(stop, called), Role::Judges(Judging::ToolUse), "{stop}");
        assert_eq!(answer(stop, r#"[{"type":"tool\u0043all"}]"#), Role::Judges(Judging::ToolUse), "{stop}");
    }
    for nothing in
        [r#""""#, "null", "[]", "[null]", r#"[{"type":"text","text":" \n"}]"#, r#"[{"type":"thinking","thinking":""}]"#]
    {
        assert_eq!(answer("stop", nothing), Role::Judges(Judging::Empty), "{nothing}");
        assert_eq!(answer("toolUse", nothing), Role::Judges(Judging::Empty), "{nothing}");
        assert_eq!(answer("error", nothing), Role::Judges(Judging::Error), "{nothing}");
    }
    assert_eq!(answer("stop", r#""Yes.""#), Role::Judges(Judging::Stop));
    assert_eq!(answer("stop", r#"[{"type":"image"}]"#), Role::Judges(Judging::Stop));
    assert_eq!(answer("error", called), Role::Judges(Judging::Error), "it was never made");
    assert_eq!(judged(r#"{"role":"assistant","provider":"openclaw","stopReason":"stop"}"#), Role::Plain);
    assert_eq!(judged("null"), Role::NoMessage);
    assert_eq!(judged("7"), Role::Plain);
    assert_eq!(entry(r#"{"type":"message"}"#).role, Role::NoMessage);
}

#[test]
fn ids_follow_javascript_truth() {
    let ids = |text: &str| entry(&format!("{{\"id\":{text}}}")).id;
    assert_eq!(ids("null"), Id::Null);
    assert_eq!(ids("\"\""), Id::Falsy);
    assert_eq!(ids("0.0"), Id::Falsy);
    assert_eq!(ids("\"a\\u0062\""), ids("\"ab\""));
    let damaged = |bytes: &[u8]| {
        read(&[b"{\"id\":\"", bytes, b"\"}"].concat())
            .is_ok_and(|line| matches!(line, Line::Entry(EntryLine { id, .. }, _) if id == ids("\"\u{fffd}\"")))
    };
    assert!(damaged(b"\xff") && damaged(b"\xfe"), "the decoder replaces what is not UTF-8");
    assert_ne!(ids("5"), ids("\"5\""));
    assert_eq!(ids("5"), ids("5.0"));
    assert_eq!((ids("-0"), ids("{}"), ids("[1]")), (Id::Falsy, Id::Falsy, Id::Falsy));
    assert!(matches!(entry(r#"{"parentId":{}}"#).parent, Id::Key(_)), "true, yet it leads nowhere");
    assert_eq!(entry("{}").id, Id::Undefined);
    assert!(matches!(ids("\"12345678\""), Id::Key(_)));
}

#[test]
fn a_version_is_compared_as_javascript_does() {
    let version = |text: &str| match read(format!(r#"{{"type":"session","version":{text}}}"#).as_bytes()) {
        Ok(Line::Header(header, _)) => header.version,
        other => unreachable!("{other:?}"),
    };
    for (text, number) in [
        ("3", 3.0),
        ("\"3\"", 3.0),
        ("\" 2 \"", 2.0),
        ("\"\"", 0.0),
        ("\"Infinity\"", f64::INFINITY),
        ("1e999", f64::INFINITY),
        ("null", 1.0),
        ("true", 1.0),
        ("false", 0.0),
    ] {
        assert_eq!(version(text).to_bits(), number.to_bits(), "{text}");
    }
    for text in ["\"inf\"", "\"nan\"", "\"three\"", "\"3 4\"", "{}"] {
        assert!(version(text).is_nan(), "{text}");
    }
}

#[test]
fn an_escape_makes_no_difference() {
    let plain = r#"{"type":"message","id":"a","parentId":"b","message":{"role":"assistant","stopReason":"error"}}"#;
    let escaped = plain.replace("typ", "t\\u0079p").replace("mess", "m\\u0065ss").replace("Id", "I\\u0064");
    assert_eq!(entry(&escaped.replace("assist", "\\u0061ssist").replace("err", "e\\u0072r")), entry(plain));
    let (escaped, plain) = (br#"{"\u0074ype":"sessio\u006e"}"#, br#"{"type":"session"}"#);
    assert_eq!(read(escaped), read(plain));
}

#[test]
fn a_later_duplicate_field_wins() {
    assert_eq!(
        entry(r#"{"type":"x","type":"message","message":{"role":"user"},"message":null}"#).role,
        Role::NoMessage
    );
}

#[test]
fn what_another_program_wrote_has_no_id_no_message_and_no_known_type() {
    for foreign in
        [r#"{"type":"session_marker","uuid":"u"}"#, "{}", r#"{"type":7,"id":null}"#, r#"{"id":"","type":"x"}"#]
    {
        assert_eq!(entry(foreign).role, Role::Foreign, "{foreign}");
    }
    for known in [
        r#"{"type":"session_marker","id":"a"}"#,
        r#"{"type":"custom"}"#,
        r#"{"type":"user","uuid":"u","message":{"role":"user","content":"words"}}"#,
    ] {
        assert_eq!(entry(known).role, Role::Plain, "{known}");
    }
}

#[test]
fn glued_objects_are_told_from_junk() {
    let glued = |text: &[u8]| read(text).is_err_and(|error| is_glued(text, error));
    assert!(glued(br#"{"a":1}{"b":2}"#));
    assert!(!glued(br#"{"a":1}{"b":"#));
    assert!(!glued(br#"{"a":1} junk"#));
}
