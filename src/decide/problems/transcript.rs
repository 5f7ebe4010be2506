//! Problems of transcripts: in a file, in rows, beside a store.

use std::path::Path;

use super::store::owner;
use super::{Problem, Problems};
use crate::model::inventory::{Beside, Binding, Content, Inventory, LooseFile, Store};
use crate::model::leftover::{Leftover, LeftoverState};
use crate::model::names::FileKind;
use crate::model::problem::{Code, Remedy, Severity};
use crate::model::transcript::Summary;

impl Problems {
    pub(super) fn file(&mut self, inventory: &Inventory, file: &LooseFile, archives: bool) {
        let code = match file.kind {
            FileKind::Temp => Some(Code::TempFile),
            FileKind::RepairBak => Some(Code::RepairBackup),
            FileKind::StuckBak => Some(Code::StuckBackup),
            _ => None,
        };
        self.list.extend(code.map(|code| Problem::of(code, &file.path)));
        self.list.extend(file.leftover.as_ref().map(|found| leftover(&file.path, found)));
        // Where a store cannot be read, any file beside it may be bound.
        if !archives && matches!(file.beside, Beside::Known | Beside::Linked) {
            return;
        }
        match &file.content {
            Content::Read(summary) => self.lines_of(&file.path, summary, None, false),
            Content::Unreadable(why) => {
                self.list.push(Problem::of(Code::Unreadable, &file.path).with(why.clone()));
            }
            Content::Absent | Content::Outside(_) | Content::NotChecked { .. } => return,
        }
        self.list.extend(owner(inventory, &file.path, Some(file.access)));
    }

    pub(super) fn lines_of(&mut self, path: &Path, summary: &Summary, of: Option<(&Store, &Binding)>, compacted: bool) {
        self.transcripts += 1;
        self.lines += summary.lines;
        self.more += summary.more;
        let header_id = summary.header_id.as_deref().filter(|id| !id.is_empty());
        let (line, byte) = summary.header_place.unwrap_or((1, 0));
        let other_name =
            header_id.filter(|id| names_another(path, id)).map(|_| (Code::HeaderId, line, Some(byte), None));
        let found = summary.findings.iter().map(|found| {
            let code = if found.code == Code::NoHeader && compacted { Code::Compacted } else { found.code };
            (code, found.line, found.byte, found.detail.clone())
        });
        self.list.extend(found.chain(other_name).map(|(code, line, byte, detail)| {
            let remedy = match code.remedy() {
                Remedy::Repair if summary.mends.is_none() => match (code.severity(), of) {
                    (Severity::Fatal, Some(_)) => Remedy::Quarantine,
                    _ => Remedy::Nothing,
                },
                // Only what is bound is mended or taken aside.
                Remedy::Quarantine | Remedy::Repair if of.is_none() => Remedy::Nothing,
                remedy => remedy,
            };
            let problem = Problem { at: Some((line, byte)), remedy, ..Problem::of(code, path).with(detail) };
            match of {
                Some((store, binding)) => problem.of_binding(&store.path, binding),
                None => problem,
            }
        }));
    }
}

fn leftover(path: &Path, found: &Leftover) -> Problem {
    let code = match found.state {
        LeftoverState::InSqlite => Code::LeftoverInSqlite,
        LeftoverState::Partly => Code::LeftoverPartly,
        LeftoverState::OnlyCopy => Code::LeftoverOnlyCopy,
        LeftoverState::Reminted => Code::LeftoverReminted,
    };
    let archived = found.archived_as.as_deref().and_then(Path::file_name);
    let archived = archived.map_or_else(String::new, |name| {
        format!("; the import's archive has the same bytes, {}", name.to_string_lossy())
    });
    let missing = match found.missing {
        0 => String::new(),
        missing => format!("{missing} of "),
    };
    let detail =
        format!("{missing}{} lines{}{archived}", found.lines, if found.missing > 0 { " nowhere in it" } else { "" });
    Problem::of(code, path).with(detail)
}

/// `<id>.jsonl` and `<id>-topic-<n>.jsonl` are named after the header; forks and files of pi are not (F§4.1).
fn names_another(path: &Path, id: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.contains(id))
}
