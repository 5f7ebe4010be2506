//! What an entry must be when its binding leaves.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::proof::sha256;

/// The bytes that an entry must have: those that were seen, or, in a plan from a file, their SHA-256. To calculate that of
/// every entry takes longer than all verdicts together, so it is done when it is asked for.
#[derive(Clone, Debug)]
pub enum Expected<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes with this SHA-256, in hex.
    Sha256(String),
}

impl Expected<'_> {
    /// Returns whether an entry is what it must be.
    pub fn is(&self, entry: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => *bytes == entry,
            Self::Sha256(hash) => sha256(entry) == *hash,
        }
    }

    /// SHA-256 of the bytes, in hex.
    pub fn sha256(&self) -> Cow<'_, str> {
        match self {
            Self::Bytes(bytes) => Cow::Owned(sha256(bytes)),
            Self::Sha256(hash) => Cow::Borrowed(hash),
        }
    }
}

impl Serialize for Expected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.sha256().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Expected<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Sha256)
    }
}

impl JsonSchema for Expected<'_> {
    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_their_hash_expect_the_same() {
        let seen = Expected::Bytes(b"{\"a\":1}");
        let from_file: Expected<'_> = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
        assert!(matches!(from_file, Expected::Sha256(_)));
        assert_eq!(seen.sha256(), from_file.sha256());
        for expected in [seen, from_file] {
            assert!(expected.is(b"{\"a\":1}"));
            assert!(!expected.is(b"{\"a\":2}"));
            assert!(!expected.is(b"{\"a\":1} "));
            assert!(!expected.is(b""));
        }
    }
}
