//! The plan: what is to be done, item by item, each with what must still be true when it is done (design §5.1).
//!
//! A plan is complete in itself: it can be written to a file, read by a person, and applied later. Applying consumes
//! it, so no plan runs twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expected::Expected;
use super::verdict::{Action, ClassifiedFile, FileAction, Reason, Verdict, Verdicts};
use crate::config::policy::MaxRemovals;
use crate::model::ids::BindingId;
use crate::model::inventory::{Binding, Content, Inventory, LooseFile};
use crate::model::key::Class;
use crate::model::mend;
use crate::model::names::{FileKind, is_session_id};
use crate::model::problem::Code;
use crate::model::proof::Stamp;
use crate::model::proof::{DirId, sha256};
use crate::model::transcript::Summary;

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[must_use = "a plan does nothing until it is applied"]
pub struct Plan<'a> {
    /// `claw-sessions/plan/v1`
    pub schema: String,
    /// The state directory it was made for.
    pub state_dir: PathBuf,
    /// The time at which ages were judged.
    pub now: DateTime<Utc>,
    /// Bindings in all stores.
    pub bindings: usize,
    /// Bytes of stores, transcripts and loose files, when all of them were looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Every store that may refer to a file: looked at again before an orphan goes.
    pub known_stores: Vec<PathBuf>,
    /// Files that are mended, before anything leaves.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mends: Vec<MendItem>,
    /// What leaves each store.
    pub stores: Vec<StorePlan<'a>>,
    /// Loose files.
    pub files: Vec<FileItem>,
}

/// What leaves one store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorePlan<'a> {
    /// The agent of the store.
    pub agent: String,
    /// The store.
    pub path: PathBuf,
    /// The directory's device and inode: a directory that was swapped is not touched.
    pub dir: DirId,
    /// Bindings, in file order.
    pub items: Vec<Item<'a>>,
}

/// A binding that leaves its store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item<'a> {
    /// The agent named in the key, else the store's.
    pub agent: String,
    /// The key.
    pub key: String,
    /// What the key names.
    pub class: Class,
    /// `expire`, `quarantine` or `defer`.
    pub action: Action,
    /// Why; the first decides.
    pub reasons: Vec<Reason>,
    /// SHA-256 of the entry's bytes.
    #[serde(rename = "entrySha256")]
    pub entry: Expected<'a>,
    /// The session it points to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_id: Option<String>,
    /// Bytes of the entry.
    pub entry_bytes: u64,
    /// When it was last active; of deferred ones the youngest are readmitted first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active_at: Option<DateTime<Utc>>,
    /// The transcript that goes with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PlannedFile>,
    /// Where its transcript was looked for in vain: should it be there by now, a first turn was under way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub absent: Option<PathBuf>,
}

/// A file as it was when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its stamp.
    pub stamp: Stamp,
    /// Whether moving it frees its bytes: not while other hard links exist.
    pub frees: bool,
}

/// A loose file that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileItem {
    /// The agent of the store beside it.
    pub agent: String,
    /// What happens.
    pub action: FileAction,
    /// Why.
    pub reason: Reason,
    /// The file.
    pub file: PlannedFile,
    /// The directory's device and inode.
    pub dir: DirId,
}

/// A file that is mended: a new one takes its place, and it goes into the run's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MendItem {
    /// The agent of the store.
    pub agent: String,
    /// The file.
    pub path: PathBuf,
    /// Its stamp; absent when there is no file: a store that is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stamp: Option<Stamp>,
    /// The directory's device and inode.
    pub dir: DirId,
    /// Why.
    pub reason: Reason,
    /// The problems that are mended.
    pub codes: Vec<Code>,
    /// The bindings that point at it.
    pub bindings: Vec<BindingId>,
    /// How.
    pub how: Mending,
}

/// How a file is mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mending {
    /// A transcript; this header goes to its top when one is due and the file has none.
    Transcript {
        /// The header line.
        header: String,
    },
    /// A broken store: every whole entry is given back.
    Salvage {
        /// SHA-256 of what it will be.
        sha256: String,
        /// Keys that only a backup still has are added.
        from_backups: bool,
    },
    /// A store: a transcript that nothing refers to is bound again.
    Adopt {
        /// The key.
        key: String,
        /// The entry.
        entry: String,
    },
}

/// The schema of plan files.
pub const SCHEMA: &str = "claw-sessions/plan/v1";

impl<'a> Plan<'a> {
    /// A plan that mends one file and does nothing else.
    pub fn mending(state_dir: &Path, now: DateTime<Utc>, item: MendItem) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            state_dir: state_dir.to_owned(),
            now,
            bindings: 0,
            bytes: None,
            known_stores: vec![item.path.clone()],
            mends: vec![item],
            stores: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Makes the plan that carries out `verdicts`. `dirs` gives device and inode of a sessions directory.
    pub fn from(
        inventory: &'a Inventory,
        verdicts: &Verdicts,
        now: DateTime<Utc>,
        dirs: impl Fn(&Path) -> Option<DirId>,
    ) -> Self {
        let mut stores = Vec::new();
        for (at, store) in inventory.stores.iter().enumerate() {
            let Some(dir) = dirs(store.dir()).filter(|_| store.may_change().is_ok()) else { continue };
            let leaving = verdicts.bindings.iter().filter(|one| one.store == at && one.verdict.action.removes());
            let items: Vec<Item<'_>> = leaving
                .map(|one| {
                    let binding = one.binding(inventory);
                    let transcript = &binding.transcript;
                    Item {
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
                })
                .collect();
            if !items.is_empty() {
                stores.push(StorePlan { agent: store.agent.clone(), path: store.path.clone(), dir, items });
            }
        }
        let mut plan = Self {
            schema: SCHEMA.to_owned(),
            mends: mends(inventory, verdicts, &dirs),
            state_dir: inventory.state_dir.clone(),
            now,
            bindings: verdicts.bindings.len(),
            bytes: inventory.stores.iter().all(|store| store.selected).then(|| inventory.bytes()),
            known_stores: inventory.writable(),
            stores,
            files: Vec::new(),
        };
        for judged in verdicts.files.iter().filter(|judged| judged.action != FileAction::Keep) {
            let file = &inventory.files[judged.index];
            let Some(dir) = file.path.parent().and_then(&dirs) else { continue };
            plan.files.push(FileItem {
                agent: file.agent.clone(),
                action: judged.action,
                reason: judged.reason,
                file: PlannedFile { path: file.path.clone(), stamp: file.stamp, frees: !file.linked },
                dir,
            });
        }
        plan
    }

    /// The verdicts as this plan has them: what it takes leaves for its reasons, all else stays.
    pub fn override_verdicts(&self, inventory: &Inventory, verdicts: &mut Verdicts) {
        let key = |store: &Path, key: &str| (store.to_owned(), key.to_owned());
        let planned: HashMap<(PathBuf, String), &Item<'_>> = self
            .stores
            .iter()
            .flat_map(|store| store.items.iter().map(|item| (key(&store.path, &item.key), item)))
            .collect();
        let mended: HashSet<Option<PathBuf>> = self.mends.iter().map(|item| Some(item.path.clone())).collect();
        for one in &mut verdicts.bindings {
            match planned.get(&key(&one.store(inventory).path, &one.binding(inventory).key)) {
                Some(item) => one.verdict = Verdict { action: item.action, reasons: item.reasons.clone() },
                None if mended.contains(&one.binding(inventory).transcript.path) => {
                    let reason = one.verdict.reasons.first().copied().unwrap_or(Reason::Mendable);
                    one.verdict = Verdict::new(Action::Repair, reason);
                }
                None if one.verdict.action != Action::Keep => {
                    one.verdict = Verdict::new(Action::Keep, Reason::NotPlanned);
                }
                None => {}
            }
        }
        let files: HashMap<&Path, &FileItem> = self.files.iter().map(|item| (item.file.path.as_path(), item)).collect();
        for judged in &mut verdicts.files {
            match files.get(inventory.files[judged.index].path.as_path()) {
                Some(item) => (judged.action, judged.reason) = (item.action, item.reason),
                None if judged.action != FileAction::Keep => {
                    (judged.action, judged.reason) = (FileAction::Keep, Reason::NotPlanned);
                }
                None => {}
            }
        }
    }

    /// Checks a plan that came from outside against what is here: it can do no more than planning could do now. `mends`
    /// is the plan that mends all that can be mended. Files that changed since are dropped, and returned; anything else
    /// that does not fit refuses the plan whole.
    pub fn fit(
        &mut self,
        inventory: &Inventory,
        verdicts: &Verdicts,
        mends: &Plan<'_>,
    ) -> Result<Vec<PathBuf>, String> {
        self.stores.iter().try_for_each(|planned| fits_store(planned, inventory))?;
        let mut changed = Vec::new();
        self.mends.retain(|item| {
            let fits = mends.mends.iter().any(|now| now.path == item.path && now.how == item.how);
            changed.extend((!fits).then(|| item.path.clone()));
            fits
        });
        let mut wrong = None;
        self.files.retain(|item| {
            let path = &item.file.path;
            let found = inventory.files.iter().position(|file| file.path == *path);
            let same = found.filter(|&at| inventory.files[at].stamp == item.file.stamp);
            let judged = same.and_then(|at| verdicts.files.iter().find(|judged| judged.index == at));
            match judged {
                Some(judged) if may(item.action, &inventory.files[judged.index], judged) => return true,
                Some(_) => wrong = Some(format!("{} is nothing to {}", path.display(), item.action.as_str())),
                None if inventory.holds(path) => wrong = Some(format!("{} is no loose file", path.display())),
                None => changed.push(path.clone()),
            }
            false
        });
        self.known_stores = inventory.writable();
        wrong.map_or(Ok(changed), Err)
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.mends.is_empty() && self.stores.is_empty() && self.files.is_empty()
    }

    /// Every binding that leaves.
    pub fn items(&self) -> impl Iterator<Item = &Item<'a>> {
        self.stores.iter().flat_map(|store| &store.items)
    }

    /// The transcripts that go, each once: a cron key and its run share one.
    pub fn transcripts(&self) -> BTreeMap<&Path, &PlannedFile> {
        self.items().filter_map(|item| item.file.as_ref()).map(|file| (file.path.as_path(), file)).collect()
    }

    /// How much there is to do.
    pub fn totals(&self) -> Totals {
        let count = |action| self.items().filter(|item| item.action == action).count();
        let counted = |action| self.files.iter().filter(|item| item.action == action).count();
        let transcripts = self.transcripts();
        let freed = |file: &PlannedFile| if file.frees { file.stamp.size } else { 0 };
        Totals {
            expire: count(Action::Expire),
            quarantine: count(Action::Quarantine),
            defer: count(Action::Defer),
            repair: self.mends.iter().filter(|item| matches!(item.how, Mending::Transcript { .. })).count(),
            salvage: self.mends.iter().filter(|item| matches!(item.how, Mending::Salvage { .. })).count(),
            transcripts: transcripts.len(),
            archive: counted(FileAction::Archive),
            remove: counted(FileAction::Remove),
            purge: counted(FileAction::Purge),
            freed_bytes: self
                .items()
                .map(|item| item.entry_bytes)
                .chain(transcripts.values().map(|file| freed(file)))
                .chain(self.files.iter().map(|item| freed(&item.file)))
                .sum(),
        }
    }

    /// The share of all bindings that leaves, in per cent.
    pub fn share(&self) -> f64 {
        if self.bindings == 0 { 0.0 } else { self.items().count() as f64 * 100.0 / self.bindings as f64 }
    }

    /// Returns whether the plan takes more than allowed.
    pub fn exceeds(&self, limit: MaxRemovals) -> bool {
        match limit {
            MaxRemovals::Count(count) => self.items().count() > count,
            MaxRemovals::Percent(percent) => self.share() > percent,
        }
    }
}

/// Whether what is to leave a store is led to by its bindings as they are now. One that changed since is found out when
/// it is to leave.
fn fits_store(planned: &StorePlan<'_>, inventory: &Inventory) -> Result<(), String> {
    let store = inventory.stores.iter().find(|store| store.path == planned.path && store.may_change().is_ok());
    let Some(store) = store else {
        return Err(format!("{} is no store of this state directory that can be written", planned.path.display()));
    };
    for item in &planned.items {
        let binding = store.bindings.iter().find(|binding| binding.key == item.key);
        let binding = binding.filter(|binding| item.entry.is(store.entry_bytes(binding)));
        let path = binding.and_then(|binding| binding.transcript.path.as_ref());
        if let (Some(file), Some(path)) = (&item.file, path)
            && file.path != *path
        {
            return Err(format!("{} is not the transcript of {}", file.path.display(), item.key));
        }
    }
    Ok(())
}

/// Returns whether planning could do this with a loose file now, under some limits.
fn may(action: FileAction, file: &LooseFile, judged: &ClassifiedFile) -> bool {
    let is_archive = matches!(
        file.kind,
        FileKind::ArchiveDeleted | FileKind::ArchiveBak | FileKind::ArchiveReset | FileKind::StoreBak
    );
    let by_choice = matches!(judged.reason, Reason::NotSelected | Reason::OrphansOff | Reason::Left);
    match action {
        _ if judged.action == action => true,
        FileAction::Purge => by_choice && is_archive,
        FileAction::Archive => by_choice && file.kind == FileKind::Orphan,
        FileAction::Remove => by_choice && file.kind == FileKind::LockDead,
        FileAction::Keep => false,
    }
}

/// The files that the verdicts mend: broken stores, then transcripts, each once.
fn mends(inventory: &Inventory, verdicts: &Verdicts, dirs: impl Fn(&Path) -> Option<DirId>) -> Vec<MendItem> {
    let mut mends: Vec<MendItem> = Vec::new();
    for store in inventory.selected().filter(|store| store.may_change().is_ok()) {
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
        let dir = path.parent().and_then(&dirs).filter(|_| store.may_change().is_ok());
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

/// How much there is to do, or was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Bindings that expire.
    pub expire: usize,
    /// Bindings that go into quarantine.
    pub quarantine: usize,
    /// Bindings that the startup budget takes out, to be readmitted.
    #[serde(default)]
    pub defer: usize,
    /// Transcripts that are mended.
    #[serde(default)]
    pub repair: usize,
    /// Broken stores that get their whole entries back.
    #[serde(default)]
    pub salvage: usize,
    /// Transcripts that go with their bindings.
    pub transcripts: usize,
    /// Orphans that are archived.
    pub archive: usize,
    /// Dead locks that are removed.
    pub remove: usize,
    /// Archives of OpenClaw that are deleted.
    pub purge: usize,
    /// Bytes that leave the stores and the sessions directories.
    pub freed_bytes: u64,
}

impl Totals {
    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        self.expire += other.expire;
        self.quarantine += other.quarantine;
        self.defer += other.defer;
        self.repair += other.repair;
        self.salvage += other.salvage;
        self.transcripts += other.transcripts;
        self.archive += other.archive;
        self.remove += other.remove;
        self.purge += other.purge;
        self.freed_bytes += other.freed_bytes;
    }
}
