//! Documents made of evidence and verdicts.

use crate::model::row::Standing;
use crate::render::row::RowDocument;
use rayon::prelude::*;

use super::{
    BindingDocument, Body, ErrorDocument, FileDocument, LockDocument, ScanSummary, StepDocument, StoreDocument,
};
use crate::decide::plan::Totals;
use crate::decide::rules::RuleStep;
use crate::decide::startup::Startup;
use crate::decide::verdict::Action;
use crate::decide::verdict::{Classified, Verdicts};
use crate::model::inventory::Inventory;
use crate::model::names::FileKind;
use crate::render::sqlite::{DatabaseDocument, LeftoverDocument};
use crate::render::store_state::StoreState;
use crate::render::view::View;

/// Evidence and verdicts as a document, with what [`bindings`] made.
pub fn body(
    inventory: &Inventory,
    verdicts: &Verdicts,
    bindings: Vec<BindingDocument>,
    planned: Totals,
    startup: Startup,
    view: View<'_>,
) -> Body {
    let stores = inventory.selected().map(|store| StoreDocument {
        agent: store.agent.clone(),
        path: view.path(&store.path),
        state: StoreState::of(store),
        problem: store.problem.clone(),
        bindings: store.bindings.len(),
        bytes: store.bytes,
        database: store.database().map(|found| DatabaseDocument::of(found, view)),
    });
    let files = verdicts.files.iter().map(|judged| {
        let file = &inventory.files[judged.index];
        FileDocument {
            agent: file.agent.clone(),
            path: view.path(&file.path),
            kind: file.kind,
            bytes: file.stamp.size,
            action: judged.action,
            reasons: vec![judged.reason],
            leftover: file.leftover.as_ref().map(|found| LeftoverDocument::of(found, view)),
        }
    });
    Body {
        stores: stores.collect(),
        bindings,
        files: files.collect(),
        startup,
        summary: summary(inventory, verdicts, planned),
    }
}

/// Every binding as a document.
pub fn bindings(inventory: &Inventory, verdicts: &Verdicts, view: View<'_>) -> Vec<BindingDocument> {
    verdicts.bindings.par_iter().map(|one| binding(inventory, one, view)).collect()
}

/// A binding as a document.
pub fn binding(inventory: &Inventory, one: &Classified, view: View<'_>) -> BindingDocument {
    let binding = one.binding(inventory);
    let facts = &one.facts;
    BindingDocument {
        agent: binding.agent.clone(),
        key: binding.key.clone(),
        class: binding.class,
        session_id: binding.entry.session_id.clone(),
        transcript: binding.transcript.path.as_deref().map(|path| view.path(path)),
        bytes: binding.bytes(),
        row: binding.row.as_deref().map(RowDocument::of),
        rows: binding.transcript.rows.map(|rows| rows.events),
        entry_bytes: binding.entry_bytes,
        age: facts.age,
        idle: facts.idle,
        run: facts.run,
        error: facts.failure.as_ref().map(|failure| ErrorDocument {
            kind: failure.kind,
            message: failure.message.as_deref().map(|message| view.message(message)),
        }),
        integrity: facts.integrity,
        lock: binding.lock.as_ref().map(|lock| LockDocument {
            state: lock.state,
            pid: lock.pid,
            created_at: lock.created_at,
        }),
        findings: facts.findings.clone(),
        action: one.verdict.action,
        reasons: one.verdict.reasons.clone(),
    }
}

/// Totals over everything.
fn summary(inventory: &Inventory, verdicts: &Verdicts, planned: Totals) -> ScanSummary {
    let count = |action| verdicts.bindings.iter().filter(|one| one.verdict.action == action).count();
    let is_placeholder =
        |one: &&Classified| one.binding(inventory).row.as_ref().is_some_and(|row| row.standing != Standing::Session);
    let placeholders = verdicts.bindings.iter().filter(is_placeholder).count();
    ScanSummary {
        bindings: verdicts.bindings.len() - placeholders,
        placeholders,
        keep: count(Action::Keep),
        expire: count(Action::Expire),
        quarantine: count(Action::Quarantine),
        repair: count(Action::Repair),
        defer: count(Action::Defer),
        settle: count(Action::Settle),
        archive: count(Action::Archive),
        trim: count(Action::Trim),
        orphans: inventory.files.iter().filter(|file| file.kind == FileKind::Orphan).count(),
        bytes: inventory.bytes(),
        freed_bytes: planned.freed_bytes,
    }
}

/// The rules that were tried as a document.
pub fn steps(steps: Vec<RuleStep>) -> Vec<StepDocument> {
    let document = |step: RuleStep| StepDocument {
        rule: step.rule.to_owned(),
        reason: step.reason,
        applies: step.applies,
        values: step.values,
    };
    steps.into_iter().map(document).collect()
}
