//! How a tree is written down: a few bytes for each entry, since a transcript may have millions.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
use serde_bytes::ByteBuf;

use super::{Judging, RoleCode};

/// The roles by their number.
const ROLES: [RoleCode; 13] = [
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
    RoleCode::Judges(Judging::Empty),
];

/// Eight bytes each.
pub(super) mod ids {
    use super::{Deserializer, Serializer, pack, unpack};

    pub(in super::super) fn serialize<S: Serializer>(ids: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        pack(ids, |id| id.to_le_bytes(), serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        unpack(deserializer, |bytes: &[u8; 8]| Some(u64::from_le_bytes(*bytes)))
    }
}

/// One byte each.
pub(super) mod roles {
    use super::{Deserializer, ROLES, RoleCode, Serializer, pack, unpack};

    pub(in super::super) fn serialize<S: Serializer>(roles: &[RoleCode], serializer: S) -> Result<S::Ok, S::Error> {
        let number = |role: &RoleCode| ROLES.iter().position(|known| known == role).unwrap_or_default();
        pack(roles, |role| [number(role) as u8], serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RoleCode>, D::Error> {
        unpack(deserializer, |bytes: &[u8; 1]| ROLES.get(usize::from(bytes[0])).copied())
    }
}

/// So many are written down together: in one piece they would be in memory twice.
const TOGETHER: usize = 8192;

fn pack<T, const N: usize, S: Serializer>(
    items: &[T],
    bytes: impl Fn(&T) -> [u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let together = |items: &[T]| ByteBuf::from(items.iter().flat_map(&bytes).collect::<Vec<u8>>());
    serializer.collect_seq(items.chunks(TOGETHER).map(together))
}

fn unpack<'de, T, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
    item: impl Fn(&[u8; N]) -> Option<T>,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Pieces { item, items: PhantomData })
}

/// Reads what [`pack`] wrote.
struct Pieces<F, T, const N: usize> {
    item: F,
    items: PhantomData<[T; N]>,
}

impl<'de, T, F: Fn(&[u8; N]) -> Option<T>, const N: usize> Visitor<'de> for Pieces<F, T, N> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("pieces of bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pieces: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(bytes) = pieces.next_element::<ByteBuf>()? {
            for bytes in bytes.as_chunks().0 {
                items.push((self.item)(bytes).ok_or_else(|| A::Error::custom("unknown"))?);
            }
        }
        Ok(items)
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
        assert_eq!(tree.roles.iter().filter(|role| judges(role)).count(), 9, "all of `Judging`");
    }
}
