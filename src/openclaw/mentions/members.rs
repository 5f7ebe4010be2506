//! JSON of which only a few members are wanted.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The members to keep: one list of names for each level of objects and arrays, from the outside in; an empty list keeps
/// all. What lies deeper, or has another name, is skipped: it only has to be JSON.
#[derive(Clone, Copy)]
pub(super) struct Members<'a>(pub(super) &'a [&'a [&'a str]]);

/// Reads a text; null stands for what lies deeper than the members to keep.
pub(super) fn read(text: &str, members: Members<'_>) -> serde_json::Result<Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = members.deserialize(&mut json)?;
    json.end().map(|()| value)
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Some((_, deeper)) = self.0.split_first() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        };
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(Members(deeper))? {
            kept.push(item);
        }
        Ok(kept.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let Some((names, deeper)) = self.0.split_first() else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        };
        let mut kept = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.is_empty() || names.contains(&name.as_str()) {
                let value = members.next_value_seed(Members(deeper))?;
                kept.insert(name, value);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(kept.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const JOBS: Members<'_> = Members(&[&["jobs"], &[], &["id", "key"]]);

    #[test]
    fn only_the_members_that_were_named_are_kept_and_of_two_the_last() {
        let text = r#"{"jobs": [{"id": "a", "text": "\ud800", "n": 1e999, "key": 7}, null, {"id": "b", "id": "c"}], "x": {"id": 1}}"#;
        assert_eq!(read(text, JOBS).unwrap(), json!({"jobs": [{"id": "a", "key": 7}, null, {"id": "c"}]}));
        let all = Members(&[&["runs"], &[], &["at"], &["status"]]);
        let text = r#"{"runs": {"one": {"at": {"status": "ok", "error": [1]}}, "two": {"at": [[2], {"deep": 1}]}}}"#;
        let kept = json!({"runs": {"one": {"at": {"status": "ok"}}, "two": {"at": [null, null]}}});
        assert_eq!(read(text, all).unwrap(), kept);
    }

    #[test]
    fn what_is_skipped_has_to_be_json_all_the_same() {
        for text in ["", "{", r#"{"x": tru}"#, r#"{"x": [1,]}"#, r#"{"jobs": []} 1"#, r#"{"jobs": [{"id": "a"}"#] {
            assert!(read(text, JOBS).is_err(), "{text}");
        }
    }
}
