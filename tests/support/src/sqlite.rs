//! Databases of OpenClaw's, made from what is known of their tables (`openclaw-format.md` §8, §14).

use std::fs;
use std::path::PathBuf;

use rusqlite::{Connection, params};

use crate::Store;

/// 2026.7.2-beta.1 and -beta.2.
const EARLY: &str = "
    CREATE TABLE sessions (session_id TEXT PRIMARY KEY, session_key TEXT, created_at INTEGER, updated_at INTEGER, status TEXT);
    CREATE TABLE session_entries (session_key TEXT PRIMARY KEY, session_id TEXT REFERENCES sessions(session_id),
        entry_json TEXT, updated_at INTEGER, status TEXT);
    CREATE TABLE transcript_events (session_id TEXT, seq INTEGER, event_json TEXT, created_at INTEGER,
        PRIMARY KEY (session_id, seq));";

/// 2026.7.2-beta.7 and 2026.8.1.
const NODES: &str = "
    CREATE TABLE session_nodes (session_key TEXT NOT NULL PRIMARY KEY, current_session_id TEXT NOT NULL,
        entry_json TEXT NOT NULL, entry_valid INTEGER NOT NULL DEFAULT 1, updated_at INTEGER NOT NULL, status TEXT,
        label TEXT, archived_at INTEGER) STRICT;
    CREATE TABLE session_windows (session_id TEXT NOT NULL PRIMARY KEY, session_key TEXT NOT NULL) STRICT;
    CREATE TABLE transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL, event_json TEXT NOT NULL,
        created_at INTEGER NOT NULL, PRIMARY KEY (session_id, seq)) STRICT;";

/// 2026.9.6.
const PACKED: &str = "
    CREATE TABLE session_nodes (session_key TEXT NOT NULL PRIMARY KEY, current_session_id TEXT NOT NULL,
        entry_json TEXT NOT NULL, entry_valid INTEGER NOT NULL DEFAULT 1, updated_at INTEGER NOT NULL, status TEXT,
        label TEXT, archived_at INTEGER) STRICT;
    CREATE TABLE session_windows (session_id TEXT NOT NULL PRIMARY KEY, session_key TEXT NOT NULL) STRICT;
    CREATE TABLE transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL, event_json TEXT,
        created_at INTEGER NOT NULL, event_zstd BLOB, event_utf8_bytes INTEGER, navigation_json TEXT,
        PRIMARY KEY (session_id, seq)) STRICT;";

const COMMON: &str = "
    CREATE TABLE transcript_event_identities (session_id TEXT NOT NULL, event_id TEXT NOT NULL, seq INTEGER NOT NULL,
        event_type TEXT, parent_id TEXT, created_at INTEGER NOT NULL, PRIMARY KEY (session_id, event_id));
    CREATE TABLE schema_meta (meta_key TEXT NOT NULL PRIMARY KEY, role TEXT NOT NULL, schema_version INTEGER NOT NULL,
        agent_id TEXT, app_version TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);";

/// What marks keys that are checked again: since schema 21, and for the index since 23.
const MARKS: &str = "
    CREATE TABLE session_canonical_validation_pending (session_key TEXT NOT NULL PRIMARY KEY) STRICT;
    CREATE TABLE session_key_contract (id INTEGER PRIMARY KEY, main_key TEXT NOT NULL) STRICT;
    CREATE TABLE session_transcript_fts_rows (id INTEGER PRIMARY KEY, session_id TEXT NOT NULL, message_id TEXT) STRICT;
    CREATE VIRTUAL TABLE session_transcript_fts USING fts5(text, session_id UNINDEXED, message_id UNINDEXED);
    CREATE TRIGGER session_transcript_fts_rows_after_delete AFTER DELETE ON session_transcript_fts_rows BEGIN
        DELETE FROM session_transcript_fts WHERE rowid = OLD.id; END;
    CREATE TRIGGER session_nodes_canonical_pending_after_insert AFTER INSERT ON session_nodes BEGIN
        INSERT OR IGNORE INTO session_canonical_validation_pending VALUES (NEW.session_key); END;
    CREATE TRIGGER session_nodes_canonical_pending_after_update AFTER UPDATE ON session_nodes BEGIN
        INSERT OR IGNORE INTO session_canonical_validation_pending VALUES (NEW.session_key); END;
    CREATE TRIGGER session_nodes_canonical_pending_after_delete AFTER DELETE ON session_nodes BEGIN
        DELETE FROM session_canonical_validation_pending WHERE session_key = OLD.session_key; END;
    CREATE TRIGGER session_windows_canonical_pending_after_insert AFTER INSERT ON session_windows BEGIN SELECT 1; END;
    CREATE TRIGGER session_windows_canonical_pending_after_update AFTER UPDATE ON session_windows BEGIN SELECT 1; END;
    CREATE TRIGGER session_windows_canonical_pending_after_delete AFTER DELETE ON session_windows BEGIN SELECT 1; END;
    CREATE TRIGGER session_key_contract_canonical_pending_after_update AFTER UPDATE ON session_key_contract BEGIN SELECT 1; END;";

/// An agent's database, held open.
pub struct Database {
    /// The connection.
    pub db: Connection,
    /// Where it is.
    pub path: PathBuf,
    schema: u32,
}

impl Store {
    /// The path of an agent's database.
    pub fn database_path(&self, agent: &str) -> PathBuf {
        self.path(format!("agents/{agent}/agent/openclaw-agent.sqlite"))
    }

    /// A database without a table, and its schema version.
    pub fn bare_database(&self, agent: &str, schema: u32) -> Database {
        let path = self.database_path(agent);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        db.pragma_update(None, "user_version", schema).unwrap();
        Database { db, path, schema }
    }

    /// A database with the tables of this schema version, and nothing in them.
    pub fn database(&self, agent: &str, schema: u32) -> Database {
        let database = self.bare_database(agent, schema);
        let own = match schema {
            ..16 => EARLY,
            16..23 => NODES,
            23.. => PACKED,
        };
        database.db.execute_batch(own).unwrap();
        database.db.execute_batch(COMMON).unwrap();
        if schema >= 21 {
            database.db.execute_batch(MARKS).unwrap();
        }
        let meta = "INSERT INTO schema_meta VALUES ('primary', 'agent', ?1, ?2, '2026.9.6', 0, 0)";
        database.db.execute(meta, params![schema, agent]).unwrap();
        database
    }
}

impl Database {
    /// Binds a key to a session, last active at 22:00 of the day of the recordings.
    pub fn bind(&self, key: &str, session: &str) {
        let entry = format!(r#"{{"sessionId":"{session}","updatedAt":1795384800000,"abortedLastRun":false}}"#);
        self.bind_entry(key, session, &entry);
    }

    /// Binds a key to a session with this entry.
    pub fn bind_entry(&self, key: &str, session: &str, entry: &str) {
        let (window, insert) = if self.schema < 16 {
            (
                "INSERT OR IGNORE INTO sessions VALUES (?1, ?2, 0, 0, NULL)",
                "INSERT INTO session_entries (session_key, session_id, entry_json, updated_at) VALUES (?1, ?2, ?3, ?4)",
            )
        } else {
            (
                "INSERT OR IGNORE INTO session_windows (session_id, session_key) VALUES (?1, ?2)",
                "INSERT INTO session_nodes (session_key, current_session_id, entry_json, updated_at) VALUES (?1, ?2, ?3, ?4)",
            )
        };
        self.db.execute(window, params![session, key]).unwrap();
        self.db.execute(insert, params![key, session, entry, 1_795_384_800_000_i64]).unwrap();
    }

    /// Adds lines to a session, as text.
    pub fn events(&self, session: &str, lines: &[impl AsRef<str>]) {
        for line in lines {
            let insert =
                "INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES (?1, ?2, ?3, 0)";
            let seq = self.next(session);
            self.db.execute(insert, params![session, seq, line.as_ref()]).unwrap();
            self.identify(session, seq, line.as_ref());
        }
    }

    /// Adds a line as a zstd frame.
    pub fn packed(&self, session: &str, line: &str) {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let frame = ruzstd::encoding::compress_to_vec(line.as_bytes(), level);
        self.frame(session, &frame, line.len());
        self.identify(session, self.next(session) - 1, line);
    }

    /// Adds a frame as it is, which unpacks to so many bytes.
    pub fn frame(&self, session: &str, frame: &[u8], bytes: usize) {
        let insert =
            "INSERT INTO transcript_events (session_id, seq, created_at, event_zstd, event_utf8_bytes, navigation_json)
            VALUES (?1, ?2, 0, ?3, ?4, '{}')";
        self.db.execute(insert, params![session, self.next(session), frame, bytes as i64]).unwrap();
    }

    fn next(&self, session: &str) -> i64 {
        let count = "SELECT count(*) FROM transcript_events WHERE session_id = ?1";
        self.db.query_row(count, [session], |row| row.get(0)).unwrap()
    }

    fn identify(&self, session: &str, seq: i64, line: &str) {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return };
        let Some(id) = line["id"].as_str() else { return };
        let insert = "INSERT OR IGNORE INTO transcript_event_identities (session_id, event_id, seq, created_at) VALUES (?1, ?2, ?3, 0)";
        self.db.execute(insert, params![session, id, seq]).unwrap();
    }

    /// Closes it as OpenClaw does at its end: everything is in the file, and the log is gone.
    pub fn close(self) {
        self.db.close().unwrap();
    }
}
