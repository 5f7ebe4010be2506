//! Stores whose sessions live in SQLite: the rows become bindings like those of a file, and what lies beside them is
//! compared with the rows.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::bind::bindings;
use super::{Listing, Request, Unseen, find_store};
use crate::disk::deadline::{Deadline, Timed};
use crate::disk::dir::Dir;
use crate::load::read::lines;
use crate::model::database::{Database, LIVE_IN, Mixed, MoreInFile, Node, RowCount};
use crate::model::entry::{Clock, Entry};
use crate::model::home::Home;
use crate::model::inventory::{Content, LooseFile, Store};
use crate::model::leftover::{self, Leftover, Tally, ids_of_name};
use crate::model::names::FileKind;
use crate::model::store::{self, Effective};
use crate::openclaw::discover::StoreLocation;
use crate::openclaw::rows::place::{self, InRows};
use crate::openclaw::rows::read::DatabaseRows;

/// Tells where the sessions of a store live.
pub(super) fn home(location: &StoreLocation, request: &Request<'_>, listing: Option<&Listing>) -> place::Found {
    let name = location.path.file_name().unwrap_or_default();
    let mixed = listing.is_some_and(|listing| listing.names.contains_key(name))
        || (location.via_symlink && fs_err::metadata(&location.path).is_ok());
    place::home(request.state_dir, location, mixed, request.rows, request.deadline)
}

/// So often a database is read in place while somebody writes it, before a private copy is made.
const TRIES: usize = 3;

/// The store of such sessions, and the rows that leftovers are compared with.
pub(super) fn load(
    mut store: Store,
    found: InRows,
    location: &StoreLocation,
    request: &Request<'_>,
    listing: Option<&Listing>,
) -> (Store, Option<DatabaseRows>) {
    store.home = Home::Rows(None);
    let InRows { database, sign, mut rows, mixed, located } = found;
    let Some(mut database) = database else {
        store.problem = Some(sign);
        return (store, None);
    };
    let mut keys = Vec::new();
    for attempt in 1..=TRIES {
        let Some(open) = &rows else { break };
        let read = read_rows(&mut store, &mut database, open, location, request);
        if open.is_steady() {
            match read {
                Ok(found) => keys = found,
                Err(error) => {
                    database.unread = Some(format!("{error:#}"));
                    rows = None;
                }
            }
            break;
        }
        let again = located.as_ref().map(|located| located.open(attempt + 1 >= TRIES, request.deadline));
        match again {
            Some(Ok(again)) => rows = again,
            Some(Err(error)) => {
                database.unread = Some(format!("{error:#}"));
                rows = None;
            }
            None => rows = None,
        }
    }
    if mixed {
        database.mixed = Some(compare(location, request, listing, &store, &keys));
    }
    if rows.is_some() && store.selected && request.rows {
        let originals = originals(request.state_dir, location, listing);
        for binding in &mut store.bindings {
            let session = binding.entry.session_id.as_deref().filter(|session| !session.is_empty());
            if let (Some(session), Content::Absent) = (session, &binding.transcript.content) {
                binding.transcript.original = originals.iter().find(|path| is_of(path, session)).cloned();
            }
        }
    }
    store.problem = Some(describe(&database, &store, request));
    store.home = Home::Rows(Some(Box::new(database)));
    let wanted = store.selected && request.rows;
    (store, rows.filter(|_| wanted))
}

/// Reads the nodes and what belongs to them; their keys. Of a store that was not asked for only its bindings matter.
fn read_rows(
    store: &mut Store,
    database: &mut Database,
    rows: &DatabaseRows,
    location: &StoreLocation,
    request: &Request<'_>,
) -> anyhow::Result<Vec<String>> {
    let nodes = rows.nodes()?;
    if request.rows {
        bind(store, &nodes, location, request);
        if store.selected {
            super::rows::fill(store, database, rows, &nodes, request)?;
        }
    }
    Ok(nodes.into_iter().map(|node| node.key).collect())
}

/// The keys of the store file beside the rows.
fn compare(
    location: &StoreLocation,
    request: &Request<'_>,
    listing: Option<&Listing>,
    store: &Store,
    rows: &[String],
) -> Mixed {
    let mut unused = super::unknown(location);
    let read = find_store(location, listing, &mut unused).and_then(|text| {
        let text = text.unwrap_or_default();
        let document = store::read(&text).map_err(|defect| super::defect::describe(&defect))?;
        let (_, entries) = store::read_entries(&text).map_err(|defect| super::defect::describe(&defect))?;
        let places = document.effective(&text).into_iter();
        Ok(places.map(|one| (entries.get(one.member).cloned().unwrap_or_default(), one.key)).collect::<Vec<_>>())
    });
    match read {
        Ok(_) if !request.rows || !store.selected => Mixed::default(),
        Ok(file) => {
            let keys: Vec<String> = file.iter().map(|(_, key)| key.clone()).collect();
            let more = file.iter().filter_map(|(entry, key)| Some((key.clone(), more_in_file(entry, key, store)?)));
            Mixed { more_in_file: more.collect(), ..Mixed::of(&keys, rows) }
        }
        Err(why) => Mixed { only_in_rows: rows.to_vec(), unread: Some(why), ..Mixed::default() },
    }
}

/// What an entry of the store file has that the rows do not have.
fn more_in_file(entry: &Entry, key: &str, store: &Store) -> Option<MoreInFile> {
    if entry.session_id.is_none() {
        return Some(MoreInFile::NoSession);
    }
    let Some(row) = store.bindings.iter().find(|binding| binding.key == key) else { return Some(MoreInFile::Key) };
    match (entry.updated_at, row.entry.updated_at) {
        (Some(Clock::At(file)), Some(Clock::At(row))) if file > row => Some(MoreInFile::Newer),
        _ => None,
    }
}

/// Makes bindings of the nodes.
fn bind(store: &mut Store, nodes: &[Node], location: &StoreLocation, request: &Request<'_>) {
    store.bytes = nodes.iter().map(|node| node.entry.bytes).sum();
    let place = |(member, node): (usize, &Node)| Effective { key: node.key.clone(), member, hidden: Vec::new() };
    let places = nodes.iter().enumerate().map(place).collect();
    let entry = |member: usize| (nodes[member].complete(), nodes[member].entry.bytes);
    store.bindings = bindings(store, places, entry, request.main_key, location.shared);
    for binding in &mut store.bindings {
        binding.transcript.rows = Some(RowCount::default());
    }
}

/// Transcripts in the import's archive and in the sessions directory, relative to the state directory.
fn originals(state_dir: &Path, location: &StoreLocation, listing: Option<&Listing>) -> Vec<String> {
    // What held nothing is not missed.
    let holds = |path: &PathBuf| fs_err::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0);
    let relative = |path: PathBuf| path.strip_prefix(state_dir).unwrap_or(&path).to_string_lossy().into_owned();
    let archive = place::archive(state_dir, location);
    let archived = archive.iter().filter_map(|dir| fs_err::read_dir(dir).ok()).flatten().flatten();
    let archived =
        archived.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains(".jsonl.imported-"));
    let names = listing.into_iter().flat_map(|listing| listing.names.keys().map(|name| listing.dir.join(name)));
    let beside = names.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let mut all: Vec<String> = archived.chain(beside).filter(holds).map(relative).collect();
    all.sort_unstable();
    all
}

/// Whether a transcript, or what the import made of its name (`<key>.<name>.imported-<ms>`), is named after a session.
fn is_of(path: &str, session: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.match_indices(session).any(|(at, _)| {
        let rest = &name[at + session.len()..];
        (at == 0 || name[..at].ends_with('.')) && (rest.starts_with(".jsonl") || rest.starts_with("-topic-"))
    })
}

/// Where its sessions live, in words.
fn describe(database: &Database, store: &Store, request: &Request<'_>) -> String {
    let path = database.path.strip_prefix(request.state_dir).unwrap_or(&database.path).display();
    let mut text = format!("{LIVE_IN}{path} (schema {}", database.schema);
    if let Some(version) = &database.app_version {
        let _ = write!(text, ", OpenClaw {version}");
    }
    text.push(')');
    if !database.is_known() {
        text.push_str(", newer than any that is known: what is known of it was read");
    }
    if let Some(why) = database.unread.as_ref().filter(|_| request.rows) {
        let _ = write!(text, "; its rows were not read: {why}");
    }
    let Some(mixed) = &database.mixed else { return text };
    text.push_str("; mixed: there is a store file too, of an import that failed or was never made");
    if let Some(why) = &mixed.unread {
        let _ = write!(text, ", which {why}");
    } else if request.rows && store.selected && database.unread.is_none() {
        let _ = write!(
            text,
            "; {} of {} keys are only in the file, {} of {} only in the rows",
            mixed.only_in_file.len(),
            mixed.in_file,
            mixed.only_in_rows.len(),
            store.bindings.len()
        );
    }
    text
}

/// Compares the leftovers beside these stores with their rows.
pub(super) fn judge_leftovers(
    stores: Vec<(PathBuf, DatabaseRows)>,
    files: &mut [LooseFile],
    listings: &HashMap<PathBuf, Listing>,
    request: &Request<'_>,
) -> Unseen {
    let mut by_dir: HashMap<PathBuf, Vec<&mut LooseFile>> = HashMap::new();
    for file in files.iter_mut().filter(|file| file.kind == FileKind::Leftover && !file.special) {
        by_dir.entry(file.path.parent().unwrap_or(&file.path).to_owned()).or_default().push(file);
    }
    let work: Vec<_> = stores.into_iter().filter_map(|(dir, rows)| Some((by_dir.remove(&dir)?, dir, rows))).collect();
    let judge = |(files, dir, rows): (Vec<&mut LooseFile>, PathBuf, DatabaseRows)| {
        let mut unread = Unseen::new();
        let Some(listing) = listings.get(&dir) else { return unread };
        let archive = dir.parent().map(|agent| agent.join(place::ARCHIVE));
        let archive = archive.and_then(|archive| Dir::open_below(request.state_dir, &archive).ok());
        for file in files {
            match judge_one(file, &listing.dir, &rows, request.deadline) {
                Ok(mut leftover) => {
                    leftover.archived_as = archive.as_ref().and_then(|archive| twin(file, &listing.dir, archive));
                    file.leftover = Some(leftover);
                }
                Err(error) => unread.push((file.path.clone(), format!("{error:#}"))),
            }
        }
        unread
    };
    work.into_par_iter().map(judge).flatten().collect()
}

/// So many ids of a leftover's entries are looked up where its names lead to no rows.
const IDS: usize = 200;

fn judge_one(file: &LooseFile, dir: &Dir, rows: &DatabaseRows, deadline: Deadline) -> anyhow::Result<Leftover> {
    let name = file.path.file_name().unwrap_or_default();
    let (mut sessions, mut events) = (ids_of_name(&name.to_string_lossy()), Vec::new());
    each_line(dir, file, deadline, |line| match leftover::id_of(line) {
        Some((id, true)) => sessions.push(id),
        Some((id, false)) if events.len() < IDS => events.push(id),
        _ => {}
    })?;
    let leftover = against(file, dir, rows, deadline, sessions)?;
    if leftover.state != leftover::LeftoverState::OnlyCopy {
        return Ok(leftover);
    }
    // The import calls a session by its entry, whatever its file and header say.
    let others = rows.sessions_with(&events)?;
    if others.is_empty() { Ok(leftover) } else { against(file, dir, rows, deadline, others) }
}

fn against(
    file: &LooseFile,
    dir: &Dir,
    rows: &DatabaseRows,
    deadline: Deadline,
    mut sessions: Vec<String>,
) -> anyhow::Result<Leftover> {
    sessions.sort_unstable();
    sessions.dedup();
    let mut known = leftover::Rows::default();
    let mut found = Vec::new();
    for session in sessions {
        if rows.fingerprint(&session, &mut known)? > 0 {
            found.push(session);
        }
    }
    let mut tally = Tally::default();
    each_line(dir, file, deadline, |line| tally.line(line, &known))?;
    Ok(tally.into_leftover(found))
}

fn each_line(dir: &Dir, file: &LooseFile, deadline: Deadline, mut each: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let (opened, info) = dir.open_file(file.path.file_name().unwrap_or_default())?;
    let mut reader = BufReader::new(Timed::new(opened.take(info.stamp.size), deadline));
    lines(&mut reader, &|_| (), |line, _| {
        each(line);
        Ok(())
    })?;
    Ok(())
}

/// The archive of the import that has the same bytes.
fn twin(file: &LooseFile, dir: &Dir, archive: &Dir) -> Option<PathBuf> {
    let name = file.path.file_name()?;
    let marker = format!(".{}.imported-", name.to_string_lossy());
    let names = fs_err::read_dir(archive.path()).ok()?.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter(|name| name.to_string_lossy().contains(&marker)).collect();
    names.sort_unstable();
    names.into_iter().find(|other| is_same(dir, name, archive, other)).map(|name| archive.join(name))
}

fn is_same(dir: &Dir, name: &OsStr, other: &Dir, other_name: &OsStr) -> bool {
    let (Ok((one, info)), Ok((two, other))) = (dir.open_file(name), other.open_file(other_name)) else { return false };
    if info.stamp.size != other.stamp.size {
        return false;
    }
    let (mut one, mut two) = (BufReader::new(one), BufReader::new(two));
    loop {
        let same = match (one.fill_buf(), two.fill_buf()) {
            (Ok([]), Ok([])) => return true,
            (Ok(one), Ok(two)) => {
                let both = one.len().min(two.len());
                if both == 0 || one[..both] != two[..both] {
                    return false;
                }
                both
            }
            _ => return false,
        };
        one.consume(same);
        two.consume(same);
    }
}
