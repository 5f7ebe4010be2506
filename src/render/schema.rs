//! The JSON Schemas of all documents, made from their types (`docs/schema/`).

use schemars::JsonSchema;

use super::json::{ErrorReport, ExplainDocument, GcDocument, RestoreDocument, RunsDocument, ScanDocument};
use super::{config, quarantine, report, run, units, validate};
use crate::decide::plan::Plan;

/// The schemas of all documents, by file name.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("scan", schema::<ScanDocument>()),
        ("gc", schema::<GcDocument>()),
        ("validate", schema::<validate::ValidateDocument>()),
        ("checks", schema::<validate::ChecksDocument>()),
        ("quarantine", schema::<quarantine::QuarantineDocument>()),
        ("quarantined", schema::<quarantine::QuarantinedDocument>()),
        ("purge", schema::<quarantine::PurgeDocument>()),
        ("restore", schema::<RestoreDocument>()),
        ("runs", schema::<RunsDocument>()),
        ("run", schema::<run::RunShownDocument>()),
        ("explain", schema::<ExplainDocument>()),
        ("report", schema::<report::ReportDocument>()),
        ("config", schema::<config::ConfigDocument>()),
        ("systemd", schema::<units::SystemdDocument>()),
        ("plan", schema::<Plan<'_>>()),
        ("error", schema::<ErrorReport>()),
    ]
}

/// The schema of what is written, which says more than that of what would be read.
fn schema<T: JsonSchema>() -> schemars::Schema {
    schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}
