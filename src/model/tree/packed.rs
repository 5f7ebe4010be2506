//! How a tree is written down: a few bytes for each entry, since a transcript may have millions.

use serde::de::{Error as _, Visitor};
use serde::{Deserializer, Serializer};

use super::{Judging, RoleCode};

/// The roles by their number.
const ROLES: [RoleCode; 12] = [
    RoleCode::Plain,
    RoleCode::NoMessage,
    RoleCode::Compaction,
    RoleCode::Scalar,
    RoleCode::Judges(Judging::User),
    RoleCode::Judges(Judging::ToolResult),
    RoleCode::Judges(Judging::Stop),
    RoleCode::Judges(Judging::StopByCli),
    RoleCode::Judges(Judging::ToolUse),
    RoleCode::Judges(Judging::Error),
    RoleCode::Judges(Judging::Aborted),
    RoleCode::Judges(Judging::Reply),
];

/// Eight bytes each.
pub(super) mod ids {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(ids: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let bytes = deserializer.deserialize_byte_buf(Bytes)?;
        let (ids, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(D::Error::custom("half an id"));
        }
        Ok(ids.iter().map(|id| u64::from_le_bytes(*id)).collect())
    }
}

/// One byte each.
pub(super) mod roles {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(roles: &[RoleCode], serializer: S) -> Result<S::Ok, S::Error> {
        let number = |role| ROLES.iter().position(|known| known == role).unwrap_or_default() as u8;
        serializer.serialize_bytes(&roles.iter().map(number).collect::<Vec<u8>>())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RoleCode>, D::Error> {
        let bytes = deserializer.deserialize_byte_buf(Bytes)?;
        let role = |number: &u8| ROLES.get(usize::from(*number)).copied();
        bytes.iter().map(role).collect::<Option<_>>().ok_or_else(|| D::Error::custom("an unknown role"))
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::*;

    #[test]
    fn every_role_comes_back() {
        let mut tree = Tree::default();
        tree.roles.extend_from_slice(&super::ROLES);
        tree.ids.extend(0..super::ROLES.len() as u64);
        let again: Tree = rmp_serde::from_slice(&rmp_serde::to_vec_named(&tree).unwrap()).unwrap();
        assert!(again.roles == tree.roles && again.ids == tree.ids);
        let judges = |role: &RoleCode| matches!(role, RoleCode::Judges(_));
        assert_eq!(tree.roles.iter().filter(|role| judges(role)).count(), 8, "all of `Judging`");
    }
}
