//! What a broken store and its backups give back (design §2, `--salvage`; F§2.4, F§6.2). Reads only.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::Read;

use anyhow::Context as _;

use crate::disk::dir::Dir;
use crate::disk::memory;
use crate::model::names::{self, FileKind, NameKind};
use crate::model::problem::Code;
use crate::model::store::{self, Defect, Document};
use crate::model::{inventory, salvage};

/// A store's new text, and how it came about.
pub(crate) struct GivenBack {
    /// The text.
    pub(crate) text: Vec<u8>,
    /// What is told of it.
    pub(crate) salvage: inventory::Salvage,
}

/// What the store `name` gives back; `text` is what is in it, `None` when it is gone. `None` when it is not broken, or
/// nothing can be given back.
pub(crate) fn of(
    dir: &Dir,
    name: &OsStr,
    text: Option<&[u8]>,
    from_backups: bool,
) -> anyhow::Result<Option<GivenBack>> {
    let defect = text.map(|text| store::read(text).err());
    let code = match &defect {
        None | Some(Some(Defect::Empty)) => Code::StoreRotatedAway,
        Some(Some(Defect::Bom)) => Code::StoreBom,
        Some(Some(Defect::Malformed { .. })) => Code::StoreMalformed,
        Some(Some(Defect::NotAnObject(_)) | None) => return Ok(None),
    };
    let backups = backups(dir, name)?;
    let told = |entries, backup, broken| inventory::Salvage {
        code,
        from_backups,
        entries,
        backup,
        broken,
        in_backups: Vec::new(),
    };
    let mut found = if let Some(salvaged) = text.and_then(salvage::salvage) {
        GivenBack { text: salvaged.text, salvage: told(salvaged.entries, None, salvaged.broken) }
    } else {
        // The newest backup comes back as it is.
        let Some(backup) = backups.first().filter(|_| code == Code::StoreRotatedAway) else { return Ok(None) };
        let entries = backup.document.effective(&backup.text).len();
        GivenBack { text: backup.text.clone(), salvage: told(entries, Some(dir.join(&backup.name)), Vec::new()) }
    };
    add_from_backups(&mut found, &backups, dir)?;
    Ok(Some(found))
}

/// A rotation's backup that can be read.
pub(crate) struct Backup {
    name: OsString,
    text: Vec<u8>,
    document: Document,
}

impl Backup {
    /// Its keys, each with its raw entry.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (String, &[u8])> {
        let entry = |member: usize| Some(self.document.members.get(member)?.entry.span.of(&self.text));
        let places = self.document.effective(&self.text).into_iter();
        places.filter_map(move |place| Some((place.key, entry(place.member)?)))
    }
}

/// A binding that only a backup still has.
pub(crate) struct Lost {
    /// The key.
    pub(crate) key: String,
    /// Its raw key and its raw entry.
    pub(crate) member: (Vec<u8>, Vec<u8>),
    /// The name of the newest backup that has it.
    pub(crate) backup: OsString,
}

/// The readable backups of a store, newest first: by the time in their names.
pub(crate) fn backups(dir: &Dir, store: &OsStr) -> anyhow::Result<Vec<Backup>> {
    let Some(store) = store.to_str() else { return Ok(Vec::new()) };
    let mut names: Vec<(i64, OsString)> = Vec::new();
    for entry in fs_err::read_dir(dir.path())? {
        let name = entry?.file_name();
        let Some(text) = name.to_str() else { continue };
        if names::classify(text, store) == NameKind::Artifact(FileKind::StoreBak)
            && let Some(time) = names::archived_at(text, FileKind::StoreBak)
        {
            names.push((time.timestamp_millis(), name));
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    let mut backups = Vec::new();
    for (_, name) in names {
        let (mut file, info) = dir.open_file(&name)?;
        let cannot_read = || format!("cannot read {}", dir.join(&name).display());
        let mut text = memory::room(info.stamp.size).with_context(cannot_read)?;
        file.read_to_end(&mut text).with_context(cannot_read)?;
        if let Ok(document) = store::read(&text) {
            backups.push(Backup { name, text, document });
        }
    }
    Ok(backups)
}

/// The bindings that the store `text` does not have and a backup has: each as its newest backup has it.
pub(crate) fn lost(document: &Document, text: &[u8], backups: &[Backup]) -> Vec<Lost> {
    let mut known: HashSet<String> = document.effective(text).into_iter().map(|place| place.key).collect();
    let mut lost = Vec::new();
    for Backup { name, text, document } in backups {
        for place in document.effective(text) {
            if !known.insert(place.key.clone()) {
                continue;
            }
            let Some(member) = document.members.get(place.member) else { continue };
            let member = (member.key.of(text).to_vec(), member.entry.span.of(text).to_vec());
            lost.push(Lost { key: place.key, member, backup: name.clone() });
        }
    }
    lost
}

/// Lists the keys that only a backup still has, and adds them when that was asked for.
fn add_from_backups(found: &mut GivenBack, backups: &[Backup], dir: &Dir) -> anyhow::Result<()> {
    let Ok(document) = store::read(&found.text) else { anyhow::bail!("what was given back is no store") };
    let lost = lost(&document, &found.text, backups);
    if found.salvage.from_backups {
        found.salvage.entries += lost.len();
        found.salvage.broken.retain(|one| !lost.iter().any(|lost| lost.key == one.key));
        let members: Vec<_> = lost.iter().map(|lost| lost.member.clone()).collect();
        found.text = document.with_members(&found.text, &members);
    }
    found.salvage.in_backups = lost.into_iter().map(|lost| (lost.key, dir.join(lost.backup))).collect();
    Ok(())
}
