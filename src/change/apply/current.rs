//! A store as it is under its lock. One that is byte for byte what the plan was made of need not be judged again.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;

use anyhow::Context as _;

use crate::decide::plan::Item;
use crate::decide::references::References;
use crate::disk::dir::{Dir, FileInfo};
use crate::disk::memory::room;
use crate::model::entry::{self, Entry};
use crate::model::inventory::Store;
use crate::model::store::{self, Document, Effective};

/// How much is compared at once.
const CHUNK: usize = 256 * 1024;

/// A store's text, and where its bindings are.
pub(super) struct Current<'a> {
    pub(super) text: Cow<'a, [u8]>,
    pub(super) document: Cow<'a, Document>,
    pub(super) info: FileInfo,
    /// Held open: a file that is removed takes its pages with it only then.
    _file: File,
    /// The plan was made of these very bytes.
    seen: Option<&'a Store>,
}

impl<'a> Current<'a> {
    /// Reads the store `name`; `seen` is what the plan was made of. `None` when it is no store.
    pub(super) fn read(dir: &Dir, name: &OsStr, seen: Option<&'a Store>) -> anyhow::Result<Option<Self>> {
        let (mut file, info) = dir.open_file(name)?;
        let cannot_read = || format!("cannot read {}", dir.join(name).display());
        if let Some(store) = seen.filter(|store| store.text.len() as u64 == info.stamp.size) {
            if holds(&mut file, [&*store.text]).with_context(cannot_read)? {
                let (text, document) = (Cow::Borrowed(&*store.text), Cow::Borrowed(&store.document));
                return Ok(Some(Self { text, document, info, _file: file, seen }));
            }
            file.rewind().with_context(cannot_read)?;
        }
        let mut text = room(info.stamp.size).with_context(cannot_read)?;
        file.read_to_end(&mut text).with_context(cannot_read)?;
        let document = store::read(&text).ok().map(Cow::Owned);
        Ok(document.map(|document| Self { text: Cow::Owned(text), document, info, _file: file, seen: None }))
    }

    /// Returns whether it is byte for byte what the plan was made of.
    pub(super) fn is_seen(&self) -> bool {
        self.seen.is_some()
    }

    /// The bytes of a binding's entry.
    fn entry(&self, place: &Effective) -> &[u8] {
        self.document.members[place.member].entry.span.of(&self.text)
    }

    /// Returns whether the entry at `place` is the one that was planned.
    pub(super) fn has(&self, item: &Item<'_>, place: &Effective) -> bool {
        self.is_seen() || item.entry.is(self.entry(place))
    }

    /// What the entries refer to, those of `members` left out.
    pub(super) fn references(&self, members: &[usize], dir: &Path) -> References {
        let left_out: HashSet<usize> = members.iter().copied().collect();
        if let Some(store) = self.seen {
            let kept = store.bindings.iter().filter(|binding| !left_out.contains(&binding.place.member));
            return References::of_entries(kept.map(|binding| &binding.entry), dir);
        }
        let places = self.document.effective(&self.text).into_iter();
        let kept = places.filter(|place| !left_out.contains(&place.member));
        let entries: Vec<Entry> = kept.filter_map(|place| entry::read(self.entry(&place)).ok()).collect();
        References::of_entries(&entries, dir)
    }
}

/// Returns whether a file has these bytes, piece by piece, and no others.
pub(super) fn holds<'a>(file: &mut impl Read, pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK];
    let mut has_more = |there: &mut [u8]| match file.read_exact(there) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    };
    for expected in pieces.into_iter().flat_map(|piece| piece.chunks(CHUNK)) {
        let there = &mut buffer[..expected.len()];
        if !has_more(there)? || there != expected {
            return Ok(false);
        }
    }
    Ok(!has_more(&mut [0])?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_its_pieces_and_nothing_else() {
        let text: Vec<u8> = (0..CHUNK * 2 + 7).map(|at| (at % 251) as u8).collect();
        let pieces = [&text[..5], &[], &text[5..CHUNK + 9], &text[CHUNK + 9..]];
        let holds = |file: &[u8]| super::holds(&mut &*file, pieces).unwrap();
        assert!(holds(&text));
        assert!(!holds(&text[..text.len() - 1]));
        assert!(!holds(&[&text[..], b"x"].concat()));
        assert!(!holds(b""));
        for at in [0, 4, 5, CHUNK, CHUNK + 9, text.len() - 1] {
            let mut other = text.clone();
            other[at] ^= 1;
            assert!(!holds(&other), "{at}");
        }
        assert!(super::holds(&mut &b""[..], []).unwrap());
    }
}
