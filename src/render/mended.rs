//! What was mended, or would be: transcripts, and stores that give back what is whole.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::view::View;
use super::words::{BOLD, count, shell};
use crate::decide::plan::{Mending, Plan};
use crate::model::inventory::{Inventory, Salvage};
use crate::model::names::FileKind;
use crate::model::problem::Code;
use crate::model::row::RowChange;
use crate::model::salvage::Broken;

/// A file that was mended, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MendedDocument {
    /// The file.
    pub path: String,
    /// In SQLite: the key whose rows were mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The problems that it had.
    pub codes: Vec<Code>,
    /// Of a store: what came back, and what did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salvage: Option<SalvageDocument>,
}

/// What a broken store gives back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SalvageDocument {
    /// Entries that are back.
    pub entries: usize,
    /// The backup that came back in the store's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Entries that are gone: they were broken.
    pub broken: Vec<BrokenDocument>,
    /// Keys that only a backup has.
    pub in_backups: Vec<InBackup>,
    /// Whether those were added.
    pub from_backups: bool,
    /// Transcripts beside the store that nothing refers to now: some may have lost their binding.
    pub adoptable: Vec<String>,
}

/// An entry that is gone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BrokenDocument {
    /// Its key.
    pub key: String,
    /// The transcript that lost its binding with it, when what is left of the entry tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
}

/// A key that only a backup has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InBackup {
    /// The key.
    pub key: String,
    /// The newest backup that has it.
    pub backup: String,
}

/// The mended files of a plan as documents.
pub fn mended(plan: &Plan<'_>, inventory: &Inventory, view: View<'_>) -> Vec<MendedDocument> {
    let document = |item: &crate::decide::plan::MendItem| {
        let store = inventory.stores.iter().find(|store| store.path == item.path);
        let salvage = store.and_then(|store| Some((store, store.salvage.as_ref()?)));
        let salvage = salvage.filter(|_| matches!(item.how, Mending::Salvage { .. })).map(|(store, salvage)| {
            let beside = inventory.files.iter().filter(|file| file.kind == FileKind::Orphan);
            let beside = beside.filter(|file| file.path.parent() == Some(store.dir()));
            salvaged(salvage, beside.map(|file| view.path(&file.path)).collect(), view)
        });
        MendedDocument { path: view.path(&item.path), key: None, codes: item.codes.clone(), salvage }
    };
    let rows = plan.rows.iter().flat_map(|rows| rows.items.iter().map(move |item| (rows, item)));
    let rows = rows.filter_map(|(rows, item)| match &item.change {
        RowChange::Mend { damage } => Some(MendedDocument {
            path: view.path(&rows.database),
            key: Some(item.key.clone()),
            codes: vec![damage.code()],
            salvage: None,
        }),
        _ => None,
    });
    plan.mends.iter().map(document).chain(rows).collect()
}

fn salvaged(salvage: &Salvage, adoptable: Vec<String>, view: View<'_>) -> SalvageDocument {
    SalvageDocument {
        entries: salvage.entries,
        backup: salvage.backup.as_deref().map(|path| view.path(path)),
        broken: salvage.broken.iter().map(|one| broken(one, &adoptable)).collect(),
        in_backups: salvage
            .in_backups
            .iter()
            .map(|(key, backup)| InBackup { key: key.clone(), backup: view.path(backup) })
            .collect(),
        from_backups: salvage.from_backups,
        adoptable,
    }
}

fn broken(one: &Broken, adoptable: &[String]) -> BrokenDocument {
    let name = one.session_id.as_ref().map(|id| format!("{id}.jsonl"));
    let is_it = |path: &&String| path.rsplit('/').next() == name.as_deref();
    BrokenDocument { key: one.key.clone(), transcript: adoptable.iter().find(is_it).cloned() }
}

/// A line for each, and what a person can do about what did not come back.
pub(super) fn list(text: &mut String, mended: &[MendedDocument], would: bool, same_place: &str) {
    for one in mended {
        let codes: Vec<&str> = one.codes.iter().map(|code| code.as_str()).collect();
        let word = if would { "would mend" } else { "mended" };
        let what = one.key.as_ref().unwrap_or(&one.path);
        let _ = writeln!(text, "{BOLD}{word}{BOLD:#} {}: {}", escape(what), codes.join(", "));
        if let Some(salvage) = &one.salvage {
            tell(text, salvage, same_place);
        }
    }
}

fn tell(text: &mut String, salvage: &SalvageDocument, same_place: &str) {
    let from = salvage.backup.as_ref().map_or_else(String::new, |backup| format!(" from {}", escape(backup)));
    let _ = writeln!(
        text,
        "  {} back{from}",
        if salvage.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", salvage.entries) }
    );
    for BrokenDocument { key, transcript } in &salvage.broken {
        let how = transcript.as_ref().map_or_else(String::new, |path| {
            let (path, key) = (shell(path), shell(key));
            format!("; `claw-sessions restore --adopt {path} --key {key}{same_place}` binds its transcript again")
        });
        let _ = writeln!(text, "  gone for good: {}{}", escape(key), escape(&how));
    }
    for InBackup { key, backup } in &salvage.in_backups {
        let what = if salvage.from_backups { "added from" } else { "only in" };
        let _ = writeln!(text, "  {what} {}: {}", escape(backup), escape(key));
    }
    if !salvage.in_backups.is_empty() && !salvage.from_backups {
        let _ = writeln!(text, "  --from-backups adds {}", count(salvage.in_backups.len(), "key"));
    }
    let told: Vec<&String> = salvage.broken.iter().filter_map(|one| one.transcript.as_ref()).collect();
    for path in salvage.adoptable.iter().filter(|path| !told.contains(path)) {
        let _ = writeln!(text, "  nothing refers to {}: `restore --adopt` binds it again", escape(path));
    }
}
