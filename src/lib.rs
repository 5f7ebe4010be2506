//! Keeps the session stores of an OpenClaw gateway healthy.
//!
//! Data flows one way, and the modules below stand in that order:
//!
//! ```text
//! discover ─ load ─► Inventory ─ classify ─► Verdicts ─ Plan::from ─► Plan ─┬─ render (a dry run stops here)
//!     disk                     ───────────── pure ─────────────             └─ lock ► re-check ► journal ► apply ► render
//! ```
//!
//! - [`cli`]: what the user typed.
//! - [`commands`]: one short file per verb; the pipeline spelled out.
//! - [`config`]: `openclaw.json`, the policy file and flags become a policy, each limit with its source.
//! - [`model`]: what is on disk, as values. Parsing, no file access.
//! - [`decide`]: classify and plan: pure functions of inventory, policy and time.
//! - [`disk`]: the operating system, and nothing of OpenClaw.
//! - [`openclaw`]: where OpenClaw keeps its things, and how it guards them.
//! - [`load`]: from directories to an inventory. Reads only.
//! - [`change`]: carries plans out and gives back what they took: the only writer.
//! - [`render`]: all text. Never reads a store.

pub mod cli;

pub mod commands {
    //! One file per verb; each spells out the pipeline.
    #![expect(clippy::disallowed_methods, reason = "this floor asks for the time, prints and waits")]

    mod context;
    mod permit;
    mod place;
    mod progress;
    mod session;
    mod threads;

    mod adopt;
    mod boot;
    mod completions;
    mod config;
    mod deferred;
    mod explain;
    mod gc;
    mod interrupt;
    mod near;
    mod quarantine;
    mod report;
    mod rescue;
    mod restore;
    mod runs;
    mod scan;
    mod stuck;
    mod systemd;
    mod validate;

    pub use session::{Exit, Failure, Session};

    use crate::cli::Command;

    /// Runs the verb that was typed.
    pub fn run(session: &Session) -> Result<Exit, Failure> {
        interrupt::watch(session);
        let done = match &session.cli.command {
            Command::Scan(args) => scan::run(session, args),
            Command::Gc(args) => gc::run(session, args),
            Command::Quarantine(args) => quarantine::run(session, args),
            Command::Validate(args) => validate::run(session, args),
            Command::Report(args) => report::run(session, args),
            Command::Restore(args) => restore::run(session, args),
            Command::Adopt(args) => adopt::run(session, args),
            Command::Explain(args) => explain::run(session, args),
            Command::Runs(args) => runs::run(session, args),
            Command::Config(args) => config::run(session, args),
            Command::Systemd(args) => systemd::run(session, args),
            Command::Completions { shell } => completions::run(session, *shell),
            Command::Man { dir } => completions::man(dir),
        };
        done.map_err(Failure::with_way_out)
    }
}

pub mod config {
    //! Everything that can be configured, resolved to one policy.
    pub mod duration;
    pub mod environment;
    pub mod openclaw;
    pub mod policy;
    pub mod policy_file;
}

pub mod model {
    //! What is on disk, as values. No file, clock, environment or process is touched here.
    pub mod database;
    pub mod entry;
    pub mod failure;
    pub mod home;
    pub mod ids;
    pub mod inventory;
    pub mod json;
    pub mod key;
    pub mod leftover;
    pub mod line;
    pub mod lock;
    pub mod mend;
    pub mod names;
    pub mod places;
    pub mod problem;
    pub mod proof;
    pub mod reset;
    pub mod row;
    pub mod salvage;
    #[cfg(test)]
    mod samples;
    pub mod store;
    pub mod transcript;
    pub mod tree;
}

pub mod decide {
    //! From evidence to plan. Pure: the same inventory, policy and time give the same plan.
    pub mod classify;
    pub mod expected;
    pub mod facts;
    pub mod guard;
    pub mod lost;
    pub mod plan;
    pub mod poison;
    pub mod problems;
    pub mod references;
    pub mod rows {
        //! What differs for sessions in SQLite: how a run stands, what goes by default, and what happens to rows.
        pub(crate) mod changes;
        pub mod plan;
        mod rules;
        pub(crate) mod state;
    }
    pub mod restart;
    pub mod rules;
    pub mod run;
    pub mod startup;
    pub mod verdict;
}

pub mod disk {
    //! The operating system: directories held open, atomic writes, moves, processes. Knows nothing of OpenClaw.
    #![expect(clippy::disallowed_methods, reason = "this floor reads, writes and asks the system")]

    pub mod account;
    pub mod atomic;
    mod attributes;
    pub mod carry;
    pub mod deadline;
    pub mod dir;
    pub mod document;
    pub mod memory;
    pub(crate) mod platform;
    pub mod process;
    pub mod signal;
    pub mod units;
    pub(crate) mod whole;
}

pub mod openclaw {
    //! Where OpenClaw keeps its things, and how it guards them: directories, configuration, locks, databases.
    #![expect(clippy::disallowed_methods, reason = "this floor reads what OpenClaw has on disk")]

    pub mod config_file;
    pub mod discover;
    pub mod gateway;
    pub mod home;
    pub mod mentions;

    pub mod files {
        //! Sessions in `sessions.json` and transcripts.
        pub mod lock;
        pub mod salvage;
    }

    pub mod rows {
        //! Sessions in SQLite.
        mod census;
        pub mod copy;
        pub mod open;
        pub mod place;
        pub mod read;
        pub mod shape;
        pub mod signs;
        pub mod state;
    }
}

pub mod load {
    //! From directories to an inventory. Reads only.
    #![expect(clippy::disallowed_methods, reason = "this floor reads")]

    pub mod cache;
    pub mod inventory;
    pub mod read;
}

pub mod change {
    //! The only writer: carries plans out, keeps what it takes, and gives it back.
    #![expect(clippy::disallowed_methods, reason = "this floor writes")]

    pub mod apply;
    mod archive;
    pub mod boots;
    pub mod clock;
    pub mod deferred;
    pub mod history;
    pub mod journal;
    mod locking;
    pub mod manifest;
    pub mod outcome;
    pub mod progress;
    pub mod purge;
    pub mod rescue;
    pub(crate) mod rows {
        //! Changing sessions in SQLite: rows go into the archive as they are, and come back value for value.
        pub(crate) mod back;
        pub(crate) mod compact;
        mod entry;
        mod index;
        pub(crate) mod kept;
        mod mend;
        pub(crate) mod open;
        mod owners;
        pub(crate) mod state;
        mod table;
        pub(crate) mod unit;
    }
    pub mod run;
    pub mod settle;
    pub mod stuck;
    pub mod underway;
    pub mod undo;
}

pub mod render {
    //! All text: for people and for programs.
    pub mod config;
    pub mod escape;
    pub mod interrupted;
    pub mod json;
    pub mod mended;
    pub mod policy;
    pub mod quarantine;
    pub mod refusal;
    pub mod report;
    pub mod row;
    pub mod run;
    pub mod schema;
    pub mod settled;
    pub mod sqlite;
    mod startup;
    pub mod store_state;
    pub mod stuck;
    pub mod table;
    pub mod text;
    pub mod units;
    pub mod validate;
    pub mod view;
    pub mod words;
}
