//! A plan made of verdicts: what they take out, mend and archive, each with what was found.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{FileItem, Item, MendItem, Mending, Plan, PlannedFile, SCHEMA, StorePlan};
use crate::decide::expected::Expected;
use crate::decide::rows;
use crate::decide::rows::plan::RowsPlan;
use crate::decide::verdict::{Action, Classified, FileAction, Reason, Verdicts};
use crate::model::ids::BindingId;
use crate::model::inventory::{Binding, Content, Inventory, Store};
use crate::model::mend;
use crate::model::names::is_session_id;
use crate::model::problem::Code;
use crate::model::proof::{DirId, sha256};
use crate::model::transcript::Summary;

impl<'a> Plan<'a> {
    /// Makes the plan that carries out `verdicts`. `dirs` gives device and inode of a sessions directory.
    pub fn from(
        inventory: &'a Inventory,
        verdicts: &Verdicts,
        now: DateTime<Utc>,
        dirs: impl Fn(&Path) -> Option<DirId>,
    ) -> Self {
        let mut stores = Vec::new();
        for (at, store) in inventory.stores.iter().enumerate() {
            let Some(dir) = dirs(store.dir()).filter(|_| store.may_write().is_ok()) else { continue };
            let leaving = verdicts.bindings.iter().filter(|one| one.store == at && one.verdict.action.removes());
            let items: Vec<Item<'_>> = leaving.map(|one| Item::of(inventory, store, one)).collect();
            if !items.is_empty() {
                stores.push(StorePlan { agent: store.agent.clone(), path: store.path.clone(), dir, items });
            }
        }
        Self {
            schema: SCHEMA.to_owned(),
            mends: mends(inventory, verdicts, &dirs),
            state_dir: inventory.state_dir.clone(),
            now,
            bindings: verdicts.bindings.len(),
            bytes: inventory.stores.iter().all(|store| store.selected).then(|| inventory.bytes()),
            known_stores: inventory.writable(),
            stores,
            rows: row_plans(inventory, verdicts),
            files: files(inventory, verdicts, &dirs),
        }
    }
}

impl<'a> Item<'a> {
    /// A binding that the verdict takes out of its store.
    fn of(inventory: &'a Inventory, store: &'a Store, one: &Classified) -> Self {
        let binding = one.binding(inventory);
        let transcript = &binding.transcript;
        Self {
            agent: binding.agent.clone(),
            key: binding.key.clone(),
            class: binding.class,
            action: one.verdict.action,
            reasons: one.verdict.reasons.clone(),
            entry: Expected::Bytes(store.entry_bytes(binding)),
            session_id: binding.entry.session_id.clone(),
            entry_bytes: binding.entry_bytes,
            active_at: one.facts.active_at,
            file: one.file.clone().zip(transcript.stamp).map(|(path, stamp)| PlannedFile {
                path,
                stamp,
                frees: !transcript.linked,
            }),
            absent: transcript.path.clone().filter(|_| matches!(transcript.content, Content::Absent)),
        }
    }
}

/// The changes of rows that the verdicts ask for, database by database.
pub(super) fn row_plans<'a>(inventory: &'a Inventory, verdicts: &Verdicts) -> Vec<RowsPlan<'a>> {
    let of = |(at, store): (usize, &'a Store)| {
        let judged: Vec<_> = verdicts.bindings.iter().filter(|one| one.store == at).collect();
        rows::plan::of_store(inventory, store, &judged, verdicts.mends_orphans)
    };
    inventory.stores.iter().enumerate().filter(|(_, store)| store.selected).filter_map(of).collect()
}

/// The loose files that do not stay.
fn files(inventory: &Inventory, verdicts: &Verdicts, dirs: impl Fn(&Path) -> Option<DirId>) -> Vec<FileItem> {
    let going = verdicts.files.iter().filter(|judged| judged.action != FileAction::Keep);
    going
        .filter_map(|judged| {
            let file = &inventory.files[judged.index];
            let dir = file.path.parent().and_then(&dirs)?;
            Some(FileItem {
                agent: file.agent.clone(),
                action: judged.action,
                reason: judged.reason,
                file: PlannedFile { path: file.path.clone(), stamp: file.stamp, frees: !file.linked },
                dir,
            })
        })
        .collect()
}

/// The files that the verdicts mend: broken stores, then transcripts, each once.
fn mends(inventory: &Inventory, verdicts: &Verdicts, dirs: impl Fn(&Path) -> Option<DirId>) -> Vec<MendItem> {
    let mut mends: Vec<MendItem> = Vec::new();
    for store in inventory.selected().filter(|store| store.may_write().is_ok()) {
        let (Some(salvage), Some(dir)) = (&store.salvage, dirs(store.dir())) else { continue };
        mends.push(MendItem {
            agent: store.agent.clone(),
            path: store.path.clone(),
            stamp: store.stamp,
            dir,
            reason: Reason::Salvaged,
            codes: vec![salvage.code],
            bindings: Vec::new(),
            how: Mending::Salvage { sha256: sha256(&store.text), from_backups: salvage.from_backups },
        });
    }
    if verdicts.shortens_paths {
        mends.extend(inventory.selected().filter_map(|store| shortened(store, dirs(store.dir())?)));
    }
    for one in verdicts.bindings.iter().filter(|one| one.verdict.action == Action::Repair) {
        let (store, binding) = (one.store(inventory), one.binding(inventory));
        let transcript = &binding.transcript;
        let (Some(path), Some(stamp), Content::Read(summary)) =
            (&transcript.path, transcript.stamp, &transcript.content)
        else {
            continue;
        };
        if let Some(known) = mends.iter_mut().find(|item| item.path == *path) {
            known.bindings.push(BindingId::new(&store.path, &binding.key));
            continue;
        }
        let dir = path.parent().and_then(&dirs).filter(|_| store.may_write().is_ok());
        let (Some(dir), Some(codes)) = (dir, &summary.mends) else { continue };
        mends.push(MendItem {
            agent: store.agent.clone(),
            path: path.clone(),
            stamp: Some(stamp),
            dir,
            reason: one.verdict.reasons.first().copied().unwrap_or(Reason::Mendable),
            codes: codes
                .iter()
                .map(
                    |&code| {
                        if code == Code::NoHeader && transcript.cut_header.is_some() { Code::Compacted } else { code }
                    },
                )
                .collect(),
            bindings: vec![BindingId::new(&store.path, &binding.key)],
            how: Mending::Transcript { header: header(inventory, binding, summary) },
        });
    }
    mends
}

/// Shortens the paths of a store that lead to places that are gone.
fn shortened(store: &Store, dir: DirId) -> Option<MendItem> {
    let file = |binding: &Binding| {
        let path = binding.transcript.path.as_deref().filter(|path| path.parent() == Some(store.dir()))?;
        let name = path.file_name()?.to_str()?.to_owned();
        binding.transcript.relocated.then(|| (binding.key.clone(), name))
    };
    let files: BTreeMap<String, String> = store.bindings.iter().filter_map(file).collect();
    if files.is_empty() || store.may_write().is_err() || store.salvage.is_some() {
        return None;
    }
    Some(MendItem {
        agent: store.agent.clone(),
        path: store.path.clone(),
        stamp: store.stamp,
        dir,
        reason: Reason::Mendable,
        codes: vec![Code::Relocated],
        // It comes back whole: no key stands for it.
        bindings: Vec::new(),
        how: Mending::Shorten { files },
    })
}

/// The header that a transcript without one gets: that of the copy it was cut from, else one made of what is known.
fn header(inventory: &Inventory, binding: &Binding, summary: &Summary) -> String {
    if let Some(header) = &binding.transcript.cut_header {
        return String::from_utf8_lossy(header).into_owned();
    }
    let of_name = binding.transcript.path.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy());
    let id = binding.entry.session_id.as_deref().map(str::trim).filter(|id| is_session_id(id));
    let id = id.map_or_else(|| of_name.unwrap_or_default().into_owned(), str::to_owned);
    let time = summary.first_at.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true);
    let workspace = || inventory.state_dir.join("workspace").to_string_lossy().into_owned();
    let header = mend::header(&id, &time, &binding.entry.workspace.clone().unwrap_or_else(workspace));
    String::from_utf8_lossy(&header).into_owned()
}
