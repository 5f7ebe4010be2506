//! The built binary on stores: what each verb does, says and leaves alone. What may befall it meanwhile is in `tests/faults`,
//! life beside the real OpenClaw in `tests/interop`.

#![allow(clippy::disallowed_methods, reason = "test code")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod architecture;
mod attributes;
mod boot;
mod boots;
mod cli;
mod compare;
mod config;
mod containers;
mod copies;
mod crafted;
mod docs;
mod dry_restore;
mod fixtures;
mod gateway;
mod interrupt;
mod issue_44687;
mod lessons_evidence;
mod lessons_files;
mod lessons_options;
mod lessons_writing;
mod limits;
mod lost;
mod monitoring;
mod places;
mod progress;
mod promises;
mod quarantine;
mod readme;
mod recorded;
mod remembered;
mod repair;
mod report;
mod rows;
mod rows_back;
mod runs;
mod schema;
mod sqlite;
mod stuck;
mod systemd;
mod unfinished;
mod validate;
