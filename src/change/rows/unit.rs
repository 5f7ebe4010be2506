//! One unit of change: rows are copied into the archive as they are, changed, and, where they stay, copied again as they
//! became.

use std::collections::HashSet;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _};

use super::entry;
use super::kept::{Image, Keeper, RowScope};
use super::mend;
use crate::change::outcome::{Changed, Refusal};
use crate::decide::rows::plan::RowItem;
use crate::model::row::{OwnedBy, RowChange, RowDamage, RowMarks};
use crate::openclaw::rows::shape::{BY_KEY, BY_SESSION, FTS, FTS_ROWS, PENDING, Shape};

/// A unit of change under way.
pub(crate) struct Unit<'a> {
    /// The database, within its transaction.
    pub(crate) db: &'a Connection,
    /// Its shape.
    pub(crate) shape: &'a Shape,
    /// The archive.
    pub(crate) keeper: &'a mut Keeper,
    /// Its number.
    pub(crate) number: u32,
    /// Sessions that entries name, with the keys that do.
    pub(crate) named: &'a Named,
    /// Keys that leave in this transaction.
    pub(crate) leaving: &'a HashSet<String>,
    /// The time that is written where a time is due.
    pub(crate) now: DateTime<Utc>,
}

/// Which key names which session in its entry.
#[derive(Default)]
pub(crate) struct Named(Vec<(String, String)>);

impl Named {
    /// Reads every entry.
    pub(crate) fn read(db: &Connection) -> anyhow::Result<Self> {
        let mut statement = db.prepare("SELECT session_key, current_session_id, entry_json FROM session_nodes")?;
        let mut rows = statement.query([])?;
        let mut named = Vec::new();
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            named.push((row.get(1)?, key.clone()));
            let text = row.get_ref(2)?.as_bytes().unwrap_or_default();
            let more = crate::model::row::read_entry(text).unwrap_or_default();
            named.extend(more.names.into_iter().map(|session| (session, key.clone())));
        }
        named.sort_unstable();
        Ok(Self(named))
    }

    /// Returns the keys whose entries name a session.
    fn keys(&self, session: &str) -> impl Iterator<Item = &str> {
        let from = self.0.partition_point(|(name, _)| name.as_str() < session);
        self.0[from..].iter().take_while(move |(name, _)| name == session).map(|(_, key)| key.as_str())
    }
}

impl Unit<'_> {
    /// Makes the change.
    pub(crate) fn make(&mut self, item: &RowItem<'_>) -> anyhow::Result<Result<(), Refusal>> {
        match &item.change {
            RowChange::TakeOut => self.take_out(&item.key)?,
            RowChange::TakeWindow { session_id } => self.take_sessions(std::slice::from_ref(session_id))?,
            RowChange::TakeTraces { before } => self.take_traces(&item.key, *before)?,
            RowChange::Settle => self.edit(&item.key, entry::settled)?,
            RowChange::Archive => self.edit(&item.key, entry::archived)?,
            RowChange::Mend { damage } => return mend::mend(self, &item.key, damage),
        }
        Ok(Ok(()))
    }

    /// Returns whether the rows are those that the change was planned on.
    pub(crate) fn fits(&self, item: &RowItem<'_>) -> anyhow::Result<Result<(), Changed>> {
        if let RowChange::Mend { damage: RowDamage::Orphaned { by, name, .. } } = &item.change {
            return Ok(self.is_orphaned(*by, name)?.then_some(()).ok_or(Changed::Bound));
        }
        let Some(now) = marks(self.db, self.shape, &item.key)? else { return Ok(Err(Changed::BindingGone)) };
        // A change that was planned on no marks was planned on no rows.
        let Some(planned) = &item.marks else { return Ok(Err(Changed::Entry)) };
        if now != *planned {
            return Ok(Err(if now.events == planned.events { Changed::Entry } else { Changed::Transcript }));
        }
        if let Some(expected) = &item.entry {
            let query = "SELECT entry_json FROM session_nodes WHERE session_key = ?1";
            let same = self.db.query_row(query, [&item.key], |row| Ok(expected.is(row.get_ref(0)?.as_bytes()?)))?;
            if !same {
                return Ok(Err(Changed::Entry));
            }
        }
        match &item.change {
            RowChange::TakeWindow { session_id } => self.may_go(&item.key, session_id, &now.session_id),
            _ => Ok(Ok(())),
        }
    }

    /// Returns whether the node or the window is gone to which rows belong. Of an event every row is looked at by itself.
    fn is_orphaned(&self, by: OwnedBy, name: &str) -> anyhow::Result<bool> {
        let query = match by {
            OwnedBy::Key => "SELECT 1 FROM session_nodes WHERE session_key = ?1",
            OwnedBy::Session => "SELECT 1 FROM session_windows WHERE session_id = ?1",
            OwnedBy::Event => return Ok(true),
        };
        Ok(!self.db.prepare(query)?.exists([name])?)
    }

    /// Returns whether a window is one of the key's, and one that no entry which stays needs.
    fn may_go(&self, key: &str, session: &str, current: &str) -> anyhow::Result<Result<(), Changed>> {
        let owned = "SELECT 1 FROM session_windows WHERE session_id = ?1 AND session_key = ?2";
        if !self.db.prepare(owned)?.exists((session, key))? {
            return Ok(Err(Changed::Gone));
        }
        let needed = session == current || self.named.keys(session).any(|key| !self.leaving.contains(key));
        Ok(if needed { Err(Changed::Bound) } else { Ok(()) })
    }

    /// Takes out a key: its node, if there is one, its windows, and all that belongs to them. A window that another entry
    /// names, which stays, goes over to that key.
    pub(crate) fn take_out(&mut self, key: &str) -> anyhow::Result<()> {
        // What moves a window marks its keys: the marks as they were come first.
        let node = RowScope::of("session_nodes", "session_key = ?1", key);
        self.keep(Image::Before, &node)?;
        self.keep_mark(Image::Before, key)?;
        let mut leave = Vec::new();
        for session in self.windows(key)? {
            match self.heir(key, &session)? {
                Some(heir) => {
                    let marked = self.keep_mark(Image::Before, &heir)?;
                    let scope = RowScope::of("session_windows", "session_id = ?1", &session);
                    self.keep(Image::Before, &scope)?;
                    let update = "UPDATE session_windows SET session_key = ?1 WHERE session_id = ?2";
                    self.db.execute(update, (&heir, &session))?;
                    self.keep(Image::After, &scope)?;
                    if marked {
                        self.keep_mark(Image::After, &heir)?;
                    }
                }
                None => leave.push(session),
            }
        }
        let of_key: Vec<RowScope> = self.of_key(key).collect();
        for scope in &of_key {
            self.keep(Image::Before, scope)?;
        }
        self.take_sessions(&leave)?;
        for scope in of_key.iter().rev() {
            self.delete(scope)?;
        }
        self.delete(&node)
    }

    /// Returns a key that stays and whose entry names a session.
    fn heir(&self, key: &str, session: &str) -> anyhow::Result<Option<String>> {
        let mut statement = self.db.prepare("SELECT 1 FROM session_nodes WHERE session_key = ?1")?;
        for named in self.named.keys(session).filter(|named| *named != key && !self.leaving.contains(*named)) {
            if statement.exists([named])? {
                return Ok(Some(named.to_owned()));
            }
        }
        Ok(None)
    }

    /// Takes out sessions: their windows, where there are any, and all that belongs to them.
    pub(crate) fn take_sessions(&mut self, sessions: &[String]) -> anyhow::Result<()> {
        for session in sessions {
            let window = RowScope::of("session_windows", "session_id = ?1", session);
            let scopes: Vec<RowScope> = self.of_session(session).collect();
            self.keep(Image::Before, &window)?;
            for scope in &scopes {
                self.keep(Image::Before, scope)?;
            }
            self.keep_conversations(session)?;
            self.keep_found(session)?;
            for scope in scopes.iter().rev() {
                self.delete(scope)?;
            }
            self.delete(&window)?;
        }
        Ok(())
    }

    /// Takes the traces of a key's windows that were written before a time.
    fn take_traces(&mut self, key: &str, before: DateTime<Utc>) -> anyhow::Result<()> {
        const OLD: &str = "session_id = ?1 AND created_at < ?2";
        for session in self.windows(key)? {
            let scope = RowScope::of("trajectory_runtime_events", OLD, &session).and(before.timestamp_millis());
            self.keep(Image::Before, &scope)?;
            self.delete(&scope)?;
        }
        Ok(())
    }

    /// Edits the entry of a key, and the columns that are copies of it.
    pub(crate) fn edit(
        &mut self,
        key: &str,
        edit: impl FnOnce(&[u8], DateTime<Utc>) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<()> {
        let node = RowScope::of("session_nodes", "session_key = ?1", key);
        let query = "SELECT current_session_id FROM session_nodes WHERE session_key = ?1";
        let session: String = self.db.query_row(query, [key], |row| row.get(0))?;
        let window = RowScope::of("session_windows", "session_id = ?1", &session);
        self.keep(Image::Before, &node)?;
        self.keep(Image::Before, &window)?;
        let marked = self.keep_mark(Image::Before, key)?;
        let query = "SELECT entry_json FROM session_nodes WHERE session_key = ?1";
        let old: Vec<u8> = self.db.query_row(query, [key], |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec()))?;
        let new = edit(&old, self.now)?;
        let new = std::str::from_utf8(&new).context("the entry would be no text")?;
        entry::write(self.db, self.shape, key, new)?;
        self.keep(Image::After, &node)?;
        self.keep(Image::After, &window)?;
        if marked {
            self.keep_mark(Image::After, key)?;
        }
        Ok(())
    }

    /// Keeps the mark by which OpenClaw checks a key again; whether there is such a table.
    pub(crate) fn keep_mark(&mut self, image: Image, key: &str) -> anyhow::Result<bool> {
        if self.shape.has(PENDING) {
            self.keep(image, &RowScope::of(PENDING, "session_key = ?1", key))?;
        }
        Ok(self.shape.has(PENDING))
    }

    /// Copies rows into the archive.
    pub(crate) fn keep(&mut self, image: Image, scope: &RowScope) -> anyhow::Result<u64> {
        self.keeper.copy(self.db, self.shape, self.number, image, scope)
    }

    fn delete(&self, scope: &RowScope) -> anyhow::Result<()> {
        let delete = format!("DELETE FROM {} WHERE {}", scope.table, scope.condition);
        self.db.execute(&delete, rusqlite::params_from_iter(&scope.values))?;
        Ok(())
    }

    /// The windows that a key owns.
    fn windows(&self, key: &str) -> anyhow::Result<Vec<String>> {
        let mut statement =
            self.db.prepare("SELECT session_id FROM session_windows WHERE session_key = ?1 ORDER BY 1")?;
        let found = statement.query_map([key], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn of_key<'k>(&'k self, key: &'k str) -> impl Iterator<Item = RowScope> + 'k {
        // Those that name both go with the node, too.
        let both = BY_SESSION.into_iter().filter(|table| self.shape.has_column(table, "session_key"));
        let tables = BY_KEY.into_iter().filter(|table| self.shape.has(table)).chain(both);
        tables.map(move |table| RowScope::of(table, "session_key = ?1", key))
    }

    fn of_session<'s>(&'s self, session: &'s str) -> impl Iterator<Item = RowScope> + 's {
        let tables = BY_SESSION.into_iter().filter(|table| self.shape.has(table));
        tables.map(move |table| RowScope::of(table, "session_id = ?1", session))
    }

    /// Keeps the conversations that a session is linked with: they stay, and may be gone when the session comes back.
    fn keep_conversations(&mut self, session: &str) -> anyhow::Result<()> {
        if !self.shape.has("session_conversations") || !self.shape.has("conversations") {
            return Ok(());
        }
        let linked = "conversation_id IN (SELECT conversation_id FROM session_conversations WHERE session_id = ?1)";
        self.keep(Image::Beside, &RowScope::of("conversations", linked, session)).map(drop)
    }

    /// Takes the rows of the search index. They have no foreign key; the map's trigger deletes them.
    fn keep_found(&mut self, session: &str) -> anyhow::Result<()> {
        if self.shape.has_map() {
            let map = RowScope::of(FTS_ROWS, "session_id = ?1", session);
            let mapped = "rowid IN (SELECT id FROM session_transcript_fts_rows WHERE session_id = ?1)";
            self.keep(Image::Before, &RowScope::of(FTS, mapped, session))?;
            self.keep(Image::Before, &map)?;
            return self.delete(&map);
        }
        if !self.shape.has(FTS) {
            return Ok(());
        }
        let found = "rowid IN (SELECT id FROM session_transcript_fts_content WHERE c1 = ?1)";
        let found = RowScope::of(FTS, found, session);
        self.keep(Image::Before, &found)?;
        self.delete(&found)
    }
}

/// Returns the marks of a key's rows as they are now; `None` when there is no node.
pub(crate) fn marks(db: &Connection, shape: &Shape, key: &str) -> anyhow::Result<Option<RowMarks>> {
    let query = "SELECT current_session_id, updated_at, entry_valid FROM session_nodes WHERE session_key = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(RowMarks { session_id: row.get(0)?, updated_at: row.get(1)?, valid: row.get(2)?, ..RowMarks::default() })
    };
    let Some(mut marks) = db.query_row(query, [key], read).optional()? else { return Ok(None) };
    let of = "SELECT session_id FROM session_windows WHERE session_key = ?1";
    let count = |query: &str| db.query_row(query, [key], |row| row.get::<_, i64>(0));
    marks.windows = count(&format!("SELECT count(*) FROM ({of})"))? as u64;
    marks.events = count(&format!("SELECT count(*) FROM transcript_events WHERE session_id IN ({of})"))? as u64;
    marks.last = count(
        "SELECT coalesce(sum(last), 0) FROM (SELECT (SELECT max(seq) FROM transcript_events AS e \
         WHERE e.session_id = w.session_id) AS last FROM session_windows AS w WHERE w.session_key = ?1)",
    )?;
    if shape.has("trajectory_runtime_events") {
        let query = format!("SELECT count(*) FROM trajectory_runtime_events WHERE session_id IN ({of})");
        marks.traces = count(&query)? as u64;
    }
    Ok(Some(marks))
}
