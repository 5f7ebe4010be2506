//! What happens to rows: one change after the other, each with what must still be true when it is made.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decide::expected::Expected;
use crate::decide::verdict::{Action, Classified, Reason};
use crate::model::inventory::{Binding, Inventory, Store};
use crate::model::key::{self, Class};
use crate::model::proof::DirId;
use crate::model::row::{OwnedBy, RowChange, RowDamage, RowMarks};

/// What is changed in one database.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RowsPlan<'a> {
    /// The agent.
    pub agent: String,
    /// The store whose sessions live there.
    pub store: PathBuf,
    /// The database.
    pub database: PathBuf,
    /// The directory's device and inode.
    pub dir: DirId,
    /// Its schema version.
    pub schema: u32,
    /// The changes, in the order in which they are made; those of one key stand together.
    pub items: Vec<RowItem<'a>>,
}

/// One change of the rows of a key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RowItem<'a> {
    /// The agent named in the key, else the database's.
    pub agent: String,
    /// The key; of rows without an owner the key or the session that they name.
    pub key: String,
    /// What the key names.
    pub class: Class,
    /// What it is, as a verdict.
    pub action: Action,
    /// Why; the first decides.
    pub reasons: Vec<Reason>,
    /// What is changed.
    pub change: RowChange,
    /// SHA-256 of the entry's bytes, of a key that has a node.
    #[serde(rename = "entrySha256", skip_serializing_if = "Option::is_none", default)]
    pub entry: Option<Expected<'a>>,
    /// The marks of its rows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub marks: Option<RowMarks>,
    /// The session it points to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_id: Option<String>,
    /// Bytes that leave the database, as far as they are known.
    pub bytes: u64,
    /// When it was last active.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active_at: Option<DateTime<Utc>>,
}

impl RowsPlan<'_> {
    /// Returns how many keys leave the database.
    pub fn removals(&self) -> usize {
        self.items.iter().filter(|item| item.action.removes()).count()
    }
}

/// Makes the plan for one database: what the verdicts say, and what is wrong with rows that nobody owns.
pub(crate) fn of_store<'a>(
    inventory: &'a Inventory,
    store: &'a Store,
    judged: &[&Classified],
    mends_orphans: bool,
) -> Option<RowsPlan<'a>> {
    let database = store.database().filter(|_| store.may_change().is_ok())?;
    let mut items: Vec<RowItem<'a>> = Vec::new();
    // What keeps the gateway down comes first: a deadline leaves the end of it.
    if mends_orphans {
        items.extend(database.orphans.iter().map(|damage| orphan(store, damage)));
    }
    let mut judged = judged.to_vec();
    judged.sort_by_key(|one| !one.rows.iter().any(|change| matches!(change, RowChange::Mend { .. })));
    let changes = judged.into_iter().flat_map(|one| one.rows.iter().map(move |change| (one, change)));
    items.extend(changes.map(|(one, change)| item(one, one.binding(inventory), change)));
    if items.is_empty() {
        return None;
    }
    Some(RowsPlan {
        agent: store.agent.clone(),
        store: store.path.clone(),
        database: database.path.clone(),
        dir: database.dir?,
        schema: database.schema,
        items,
    })
}

fn item<'a>(one: &Classified, binding: &Binding, change: &RowChange) -> RowItem<'a> {
    let row = binding.row.as_deref();
    let (action, reasons, bytes) = match change {
        RowChange::TakeOut => {
            let windows = row.map_or(0, |row| row.windows.iter().map(|window| window.bytes).sum());
            let traces = row.map_or(0, |row| row.traces.bytes);
            let bytes = binding.entry_bytes + binding.transcript.bytes() + windows + traces;
            (one.verdict.action, one.verdict.reasons.clone(), bytes)
        }
        RowChange::TakeWindow { session_id } => {
            let window = row.and_then(|row| row.windows.iter().find(|window| window.session_id == *session_id));
            (Action::Trim, vec![Reason::UnnamedWindow], window.map_or(0, |window| window.bytes))
        }
        RowChange::TakeTraces { before } => {
            (Action::Trim, vec![Reason::OldTraces], row.map_or(0, |row| row.traces.before(*before).1))
        }
        RowChange::Settle | RowChange::Archive => (one.verdict.action, one.verdict.reasons.clone(), 0),
        RowChange::Mend { .. } => (Action::Repair, vec![Reason::RowDamage], 0),
    };
    RowItem {
        agent: binding.agent.clone(),
        key: binding.key.clone(),
        class: binding.class,
        action,
        reasons,
        change: change.clone(),
        entry: row.map(|row| Expected::Sha256(row.entry_sha256.clone())),
        marks: row.map(|row| row.marks.clone()),
        session_id: binding.entry.session_id.clone(),
        bytes,
        active_at: one.facts.active_at,
    }
}

fn orphan<'a>(store: &Store, damage: &RowDamage) -> RowItem<'a> {
    let (by, name) = match damage {
        RowDamage::Orphaned { by, name, .. } => (*by, name.clone()),
        _ => (OwnedBy::Key, String::new()),
    };
    let class = if by == OwnedBy::Key { key::parse(&name, "main", None).class } else { Class::Other };
    RowItem {
        agent: store.agent.clone(),
        session_id: (by != OwnedBy::Key).then(|| name.clone()),
        key: name,
        class,
        action: Action::Repair,
        reasons: vec![Reason::RowDamage],
        change: RowChange::Mend { damage: damage.clone() },
        entry: None,
        marks: None,
        bytes: 0,
        active_at: None,
    }
}
