//! Giving free pages back: a database is as large as it ever was until somebody does.

use rusqlite::Connection;

use super::open::Target;
use crate::change::outcome::Refusal;
use crate::disk::deadline::Deadline;

/// So many pages are given back while the write lock is held.
const PAGES: u32 = 2000;

/// Gives the free pages of a database back until there are none, or the time is over. Returns how many bytes it is smaller.
/// Nothing of it is lost: free pages hold no rows.
pub(crate) fn compact(target: &Target<'_>, deadline: Deadline) -> anyhow::Result<Result<u64, Refusal>> {
    let writable = match target.open(true)? {
        Ok(writable) => writable,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let db = &writable.db;
    // Without room set aside for it when the database was made, only a copy of all of it would do.
    let kind: u32 = db.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if kind != 2 {
        return Ok(Err(Refusal::NotCompactable));
    }
    let before = free(db)?;
    let mut now = before;
    while now > 0 && !deadline.has_passed() {
        match target.begin(&writable)? {
            Ok(_) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        // Each row that it returns is a page given back.
        let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        drop(statement);
        db.execute_batch("COMMIT")?;
        let next = free(db)?;
        if next == now {
            break;
        }
        now = next;
    }
    let page: u64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
    writable.db.close().map_err(|(_, error)| error)?;
    Ok(Ok((before - now) * page))
}

fn free(db: &Connection) -> anyhow::Result<u64> {
    Ok(db.pragma_query_value(None, "freelist_count", |row| row.get(0))?)
}
