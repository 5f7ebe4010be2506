//! Stores read, cut and put together again.

use super::*;
use proptest::prelude::*;

fn removing(text: &str, remove: &[usize]) -> String {
    let document = read(text.as_bytes()).unwrap();
    let cuts = document.cuts(remove);
    let new = cut(text.as_bytes(), &cuts);
    let removed: Vec<u8> = cuts.iter().flat_map(|cut| cut.of(text.as_bytes()).to_vec()).collect();
    assert_eq!(uncut(&new, &cuts, &removed).unwrap(), text.as_bytes(), "uncut undoes cut");
    String::from_utf8(new).unwrap()
}

#[test]
fn the_first_the_last_and_all_members_go_cleanly() {
    let text = "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}";
    assert_eq!(removing(text, &[0]), "{\n  \"b\": 2,\n  \"c\": 3\n}");
    assert_eq!(removing(text, &[1]), "{\n  \"a\": 1,\n  \"c\": 3\n}");
    assert_eq!(removing(text, &[2]), "{\n  \"a\": 1,\n  \"b\": 2\n}");
    assert_eq!(removing(text, &[0, 1]), "{\n  \"c\": 3\n}");
    assert_eq!(removing(text, &[0, 2]), "{\n  \"b\": 2\n}");
    assert_eq!(removing(text, &[0, 1, 2]), "{}");
    assert_eq!(removing(text, &[]), text);
}

#[test]
fn a_store_without_an_entry_is_another_layout_whatever_lies_below() {
    let is_other = |text: &str| {
        let (document, entries) = read_entries(text.as_bytes()).unwrap();
        let raw =
            |member: &Member| (json::unescape(member.key.of(text.as_bytes())), member.entry.span.of(text.as_bytes()));
        let members: Vec<_> = document.members.iter().map(raw).collect();
        is_other_layout(members.iter().zip(&entries).map(|((key, raw), entry)| (key.as_str(), entry, *raw)))
    };
    for text in [
        r#"{"sessions":[{"id":"a","key":"agent:main:main"}]}"#,
        r#"{"sessions":[]}"#,
        r#"{"version":2,"entries":{}}"#,
        r#"{"version":1,"sessions":{"agent:main:main":{"sessionId":"a","updatedAt":1}}}"#,
        r#"{"meta":{"updatedAt":1795384800000},"data":{"agent:main:main":"a"}}"#,
        r#"{"version":1,"updatedAt":1795384800000}"#,
        // What a release that reads entries at the top has written to it since.
        r#"{"sessions":[{"id":"a"}],"agent:main:main":{"sessionId":"b","updatedAt":1795384800000}}"#,
    ] {
        assert!(is_other(text), "{text}");
    }
    for text in [
        "{}",
        r#"{"agent:main:main":{}}"#,
        r#"{"agent:main:main":null}"#,
        r#"{"agent:main:main":{"updatedAt":1795384800000}}"#,
        r#"{"+491701234567":{"sessionId":"a"}}"#,
        r#"{"agent:main:main":null,"agent:main:x":{"sessionId":"a","compactionCheckpoints":[{"sessionId":"b"}]}}"#,
        r#"{"agent:main:y":[1],"global":{"updatedAt":1}}"#,
    ] {
        assert!(!is_other(text), "{text}");
    }
}

#[test]
fn an_emptied_store_takes_members_back() {
    let document = read(b"{}").unwrap();
    let members = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"{}".to_vec())];
    assert_eq!(document.with_members(b"{}", &members), b"{\n  \"a\": 1,\n  \"b\": {}\n}");
    let text = b"{\n  \"z\": 0\n}";
    let document = read(text).unwrap();
    assert_eq!(document.with_members(text, &members[..1]), b"{\n  \"z\": 0,\n  \"a\": 1\n}");
}

#[test]
fn cuts_that_do_not_fit_are_refused() {
    for cuts in [&[(2, 1)][..], &[(0, usize::MAX)], &[(usize::MAX, usize::MAX)], &[(0, 1), (0, 1)], &[(0, 1)]] {
        let cuts: Vec<Span> = cuts.iter().map(|&(start, end)| Span { start, end }).collect();
        assert_eq!(uncut(b"text", &cuts, b"xy"), None, "{cuts:?}");
    }
}

#[test]
fn the_last_of_equal_keys_counts_and_hides_the_others() {
    let text = br#"{"a":1,"b":2,"\u0061":3}"#;
    let bindings = read(text).unwrap().effective(text);
    assert_eq!(bindings.len(), 2);
    assert_eq!((bindings[0].member, bindings[0].hidden.as_slice()), (2, &[0][..]));
}

fn store() -> impl Strategy<Value = (String, Vec<(String, serde_json::Value)>)> {
    let space = prop::sample::select(vec!["", " ", "\n  ", "\r\n", "\t"]);
    let entry = prop_oneof![
        Just("null".to_owned()),
        Just(r#"{"sessionId":"x","big":123456789012345678901,"f":1.0}"#.to_owned()),
        Just(r#"{"s":"\ud83d","u":"\u00e9\/"}"#.to_owned()),
        "[a-z{},:\\[\\] ]{0,9}".prop_map(|text| format!("[{text:?}, {{\"a\":[]}}]")),
    ];
    let member = ("[a-z0-9:@ü]{1,8}", entry, space.clone(), space.clone());
    (prop::collection::vec(member, 0..12), space).prop_map(|(members, last)| {
        let mut seen = std::collections::HashSet::new();
        let members: Vec<_> = members.into_iter().filter(|m| seen.insert(m.0.clone())).collect();
        let body: Vec<String> = members.iter().map(|(k, v, a, b)| format!("{a}\"{k}\"{b}:{a}{v}{b}")).collect();
        let values = members.iter().map(|m| (m.0.clone(), lossy(&m.1))).collect();
        (format!("{{{}{last}}}", body.join(",")), values)
    })
}

fn lossy(entry: &str) -> serde_json::Value {
    serde_json::from_str(&entry.replace("\\ud83d", "?")).unwrap()
}

proptest! {
    #[test]
    fn what_stays_keeps_its_bytes_and_its_meaning((text, values) in store(), picks in any::<u16>()) {
        let document = read(text.as_bytes()).unwrap();
        prop_assert_eq!(document.members.len(), values.len());
        let (with_entries, entries) = read_entries(text.as_bytes()).unwrap();
        prop_assert_eq!(&with_entries, &document, "both readings find the same members");
        prop_assert_eq!(entries.len(), values.len());
        let remove: Vec<usize> = (0..values.len()).filter(|i| picks >> i & 1 == 1).collect();
        let new = removing(&text, &remove);
        let parsed: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&new.replace("\\ud83d", "?")).unwrap();
        let expected: serde_json::Map<_, _> =
            values.into_iter().enumerate().filter(|(i, _)| !remove.contains(i)).map(|(_, kv)| kv).collect();
        prop_assert_eq!(parsed, expected);
    }
}
