//! What Node accepts, what it rejects, and where.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn accepts(text: &[u8]) -> bool {
    check(text).is_ok()
}

#[test]
fn accepts_what_node_accepts() {
    for text in [
        r#""\ud800""#,
        r#"{"a":1e999,"a":-0.0,"b":[[],{},[{}]]}"#,
        " [1 , 2,\t3 ]\r\n",
        "123456789012345678901234567890",
        r#""\u00e9\/\b""#,
    ] {
        assert!(accepts(text.as_bytes()), "{text}");
    }
    assert!(accepts(b"\"\xff\xfe\""));
}

#[test]
fn rejects_what_node_rejects_and_names_the_byte() {
    for (text, offset, kind) in [
        (&b"\"\\u12G4\""[..], 5, JsonErrorKind::BadEscape),
        (b"[1,]", 3, JsonErrorKind::Unexpected),
        (b"{\"a\":1,}", 7, JsonErrorKind::Unexpected),
        (b"{,}", 1, JsonErrorKind::Unexpected),
        (b"[", 1, JsonErrorKind::Truncated),
        (b"{\"a\"", 4, JsonErrorKind::Truncated),
        (b"{}{}", 2, JsonErrorKind::Trailing),
        (b"\"a\x00b\"", 2, JsonErrorKind::ControlCharacter),
        (b"01", 1, JsonErrorKind::Trailing),
        (b"nul", 3, JsonErrorKind::Truncated),
        (b"nulL", 3, JsonErrorKind::BadLiteral),
        (b"\xef\xbb\xbf{}", 0, JsonErrorKind::Unexpected),
        (b"[}", 1, JsonErrorKind::Unexpected),
        (b"[[]}", 3, JsonErrorKind::Unexpected),
        (b"1.", 2, JsonErrorKind::Truncated),
        (b"-", 1, JsonErrorKind::Truncated),
        (b"[1 2]", 3, JsonErrorKind::Unexpected),
        (b"[[] []]", 4, JsonErrorKind::Unexpected),
    ] {
        assert_eq!(check(text), Err(JsonError { offset, kind }), "{}", text.escape_ascii());
    }
}

#[test]
fn a_million_levels_are_no_stack_overflow() {
    let deep = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
    assert!(accepts(&deep));
    assert_eq!(check(&deep[..1_500_000]).map_err(|e| e.kind), Err(JsonErrorKind::Truncated));
}

#[test]
fn unescapes_pairs_and_marks_lone_surrogates() {
    assert_eq!(unescape(br"a\ud83d\ude00\n\/"), "a\u{1f600}\n/");
    assert_eq!(unescape(br"x\ud83d"), "x\u{fffd}");
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_mutated_documents(
        mut text in r#"[\[\]{}:,"0-9eE.+\\nrtu a-f-]{0,40}"#.prop_map(String::into_bytes),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for (index, byte) in noise {
            if !text.is_empty() {
                let at = index.index(text.len());
                text[at] = byte & 0x7f;
            }
        }
        let peer = serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(accepts(&text), peer, "{}", text.escape_ascii());
    }

    #[test]
    fn accepts_every_document_that_serde_json_writes(value in json_value()) {
        for text in [serde_json::to_vec(&value), serde_json::to_vec_pretty(&value)] {
            prop_assert!(accepts(&text.unwrap_or_default()));
        }
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((".*", inner), 0..6)
                .prop_map(|members| { serde_json::Value::Object(members.into_iter().collect()) }),
        ]
    })
}
