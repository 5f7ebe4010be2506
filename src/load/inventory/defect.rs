//! A store that is no store, in words.

use crate::model::store;

/// Returns what is wrong with a store, and what OpenClaw does with it.
pub(super) fn describe(defect: &store::Defect) -> String {
    match defect {
        store::Defect::Empty => "empty: OpenClaw reads no bindings and writes {} at its next save".to_owned(),
        store::Defect::Bom => {
            "starts with a byte order mark: OpenClaw reads no bindings and overwrites it at its next save".to_owned()
        }
        store::Defect::NotAnObject(kind) => {
            format!("is no object but {kind:?}: OpenClaw reads no bindings and overwrites it at its next save")
        }
        store::Defect::Malformed { error, complete } => format!(
            "{} at byte {} ({complete} complete entries before it): OpenClaw reads no bindings and overwrites it at its next save",
            error.kind.describe(),
            error.offset
        ),
    }
}
