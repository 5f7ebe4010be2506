//! Load: stores, directories, locks and transcripts into an inventory. Reads only, and each file once.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use rayon::prelude::*;

use crate::disk::deadline::{Deadline, OVER};
use crate::disk::dir::{Dir, FileInfo};
use crate::disk::memory;
use crate::disk::process;
use crate::disk::whole;
use crate::load::cache::Cache;
use crate::load::read::Depth;
use crate::model::entry::Entry;
use crate::model::home::{Condition, Home};
use crate::model::inventory::{Access, Boots, Gateway, Generation, Inventory, Lock, LooseFile, Side, Sighting, Store};
use crate::model::lock;
use crate::model::names::{self, FileKind, NameKind};
use crate::model::store::{self, Document};
use crate::openclaw::discover::StoreLocation;
use crate::openclaw::files::salvage;
use crate::openclaw::gateway;
use crate::openclaw::rows::place;
use crate::openclaw::rows::read::DatabaseRows;

mod bind;
mod defect;
mod locate;
mod loose;
mod migrated;
mod rows;
mod transcripts;

/// What to load, and how much was read so far.
pub struct Request<'a> {
    /// The state directory, links resolved.
    pub state_dir: &'a Path,
    /// `session.mainKey`.
    pub main_key: &'a str,
    /// The stores.
    pub stores: &'a [StoreLocation],
    /// What the version means.
    pub openclaw: Generation,
    /// Looks for the gateway, while the files are read.
    pub gateway: &'a (dyn Fn() -> Gateway + Sync),
    /// What could not be looked into, and why.
    pub unseen: Vec<(PathBuf, String)>,
    /// Reads what other files say, meanwhile too.
    pub side: &'a (dyn Fn() -> Side + Sync),
    /// What earlier starts found, and left unread; `None` when this is no start.
    pub boots: Option<Boots>,
    /// When to stop reading.
    pub deadline: Deadline,
    /// The files that belong to what past runs took; asked for once there are orphans.
    pub awaited: &'a (dyn Fn() -> Result<HashSet<PathBuf>, String> + Sync),
    /// What is remembered of transcripts.
    pub cache: &'a Cache,
    /// How closely to look at transcripts.
    pub depth: Depth,
    /// Read archives too.
    pub archives: bool,
    /// Tells which sessions past runs have in their archives.
    pub away: &'a (dyn Fn() -> HashSet<String> + Sync),
    /// Read the rows of sessions that live in SQLite; else it is only told that they do.
    pub rows: bool,
    /// Read when each trace was written: all pages of the traces are read for it.
    pub trace_times: bool,
    /// Look at every reference between rows, not only at owners.
    pub check: bool,
    /// Give back what is whole of broken stores; with what only their backups have, if true.
    pub salvage: Option<bool>,
    /// Called once with the number of transcripts and their bytes.
    pub begin: &'a (dyn Fn(usize, u64) + Sync),
    /// Called while transcripts are read, with the bytes since the last call.
    pub advance: &'a (dyn Fn(u64) + Sync),
}

/// Loads everything.
pub fn load(request: Request<'_>) -> Inventory {
    let ((gateway, side), (stores, files, mut unseen)) =
        rayon::join(|| ((request.gateway)(), (request.side)()), || read_all(&request));
    unseen.extend(request.unseen);
    let by_binding = |one: Sighting| ((one.store.clone(), one.key.clone()), one);
    let stores = rows::with_absent(stores, &side, request.away);
    let sightings = request.boots.map(|boots| boots.sessions.into_iter().map(by_binding).collect());
    let orphans = files.iter().any(|file| file.kind == FileKind::Orphan);
    let awaited = if orphans { (request.awaited)() } else { Ok(HashSet::new()) };
    let awaited = awaited.map_err(|why| unseen.push((request.state_dir.to_owned(), why))).ok();
    Inventory {
        state_dir: request.state_dir.to_owned(),
        owner: Dir::open(request.state_dir).and_then(|dir| dir.own_info()).ok().map(|info| info.uid),
        openclaw: request.openclaw,
        gateway,
        stores,
        unseen,
        files,
        side,
        awaited,
        sightings,
    }
}

fn read_all(request: &Request<'_>) -> (Vec<Store>, Vec<LooseFile>, Unseen) {
    let (listings, unlisted) = list_directories(request.stores, request.deadline);
    let load = |location: &StoreLocation| match unlisted.get(&location.dir) {
        Some(why) if !location.via_symlink => (unreadable(location, why.clone()), None),
        _ => load_store(location, request, &listings),
    };
    let (mut stores, copies): (Vec<Store>, Vec<Option<DatabaseRows>>) = request.stores.par_iter().map(load).unzip();
    let copies = stores.iter().zip(copies).filter_map(|(store, copy)| Some((store.dir().to_owned(), copy?))).collect();
    let linked = request.stores.iter().filter(|store| store.via_symlink).map(|store| store.dir.as_path()).collect();
    let mut files = loose::loose_files(&stores, &listings, &linked);
    transcripts::read_transcripts(&mut stores, &mut files, &listings, request);
    let mut unread = migrated::judge_leftovers(copies, &mut files, &listings, request);
    let databases = stores.iter().filter(|store| store.selected && request.rows).filter_map(|store| store.database());
    unread.extend(databases.filter_map(|database| {
        let why = database.unread.as_ref()?;
        Some((database.path.clone(), format!("the rows of {} were not read: {why}", database.path.display())))
    }));
    unread.extend(listings.into_values().flat_map(|listing| listing.unread));
    (stores, files, unread)
}

/// What could not be looked at, and why.
type Unseen = Vec<(PathBuf, String)>;

/// One sessions directory, listed once.
struct Listing {
    dir: Dir,
    names: BTreeMap<OsString, FileInfo>,
    locks: HashMap<OsString, Lock>,
    /// Locks that could not be read.
    unread: Unseen,
}

/// Lists every directory once; one that cannot be listed, or not in time, is left out, and told about where its store is
/// loaded.
fn list_directories(
    stores: &[StoreLocation],
    deadline: Deadline,
) -> (HashMap<PathBuf, Listing>, HashMap<PathBuf, String>) {
    let mut paths: Vec<&Path> = stores.iter().map(|store| store.dir.as_path()).collect();
    paths.sort_unstable();
    paths.dedup();
    let listed: Vec<_> = paths.into_par_iter().map(|path| (path, list(path, deadline))).collect();
    let (mut listings, mut unlisted) = (HashMap::new(), HashMap::new());
    for (path, listed) in listed {
        match listed {
            Ok(Some(listing)) => drop(listings.insert(path.to_owned(), listing)),
            Ok(None) => {}
            Err(error) => drop(unlisted.insert(path.to_owned(), format!("{error:#}"))),
        }
    }
    (listings, unlisted)
}

/// Lists a directory; `None` when there is none, or the time is over.
fn list(path: &Path, deadline: Deadline) -> anyhow::Result<Option<Listing>> {
    let Some(dir) = found(Dir::open(path))? else { return Ok(None) };
    let mut names = BTreeMap::new();
    for entry in fs_err::read_dir(path)? {
        // Half a directory would make the other half look missing.
        if deadline.has_passed() {
            return Ok(None);
        }
        let name = entry?.file_name();
        if let Some(info) = dir.info(&name)? {
            names.insert(name, info);
        }
    }
    let mut unread = Unseen::new();
    let mut locks = HashMap::new();
    let apart = LazyCell::new(|| gateway::is_apart(path));
    for name in names.keys().filter(|name| name.as_bytes().ends_with(b".lock")) {
        let mut bytes = Vec::new();
        let read = found(dir.open_file(name)).and_then(|found| match found {
            Some((file, _)) => Ok(file.take(lock::LONGEST).read_to_end(&mut bytes).map(drop)?),
            None => Ok(()),
        });
        // One that cannot be read counts as held.
        unread.extend(read.err().map(|error| (dir.join(name), format!("{error:#}"))));
        let (payload, mut state) = process::judge(&bytes);
        if !state.is_held() && *apart {
            state = state.beside_container();
        }
        let lock = Lock { path: dir.join(name), state, pid: payload.pid, created_at: payload.taken_at() };
        locks.insert(name.clone(), lock);
    }
    Ok(Some(Listing { dir, names, locks, unread }))
}

/// What is there; `None` when it is surely not.
fn found<T>(opened: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match opened {
        Ok(found) => Ok(Some(found)),
        Err(error) => {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if kind == Some(std::io::ErrorKind::NotFound) { Ok(None) } else { Err(error) }
        }
    }
}

/// A store of which nothing is known yet.
fn unknown(location: &StoreLocation) -> Store {
    Store {
        agent: location.agent.clone(),
        path: location.path.clone(),
        selected: location.selected,
        home: Home::Files { linked: location.via_symlink },
        condition: Condition::Sound,
        problem: None,
        bytes: 0,
        stamp: None,
        access: None,
        text: Bytes::new(),
        document: Document::default(),
        bindings: Vec::new(),
        salvage: None,
    }
}

fn unreadable(location: &StoreLocation, why: String) -> Store {
    let home = Home::Files { linked: false };
    Store { home, condition: Condition::Unreadable, problem: Some(why), ..unknown(location) }
}

/// Loads a store; and of sessions in SQLite the copy of the database, to compare with what lies beside it.
fn load_store(
    location: &StoreLocation,
    request: &Request<'_>,
    listings: &HashMap<PathBuf, Listing>,
) -> (Store, Option<DatabaseRows>) {
    let listing = listings.get(&location.dir);
    match migrated::home(location, request, listing) {
        place::Found::File => (load_file(location, request, listing), None),
        place::Found::Unknown(why) => (unreadable(location, why), None),
        place::Found::Rows(found) => migrated::load(unknown(location), *found, location, request, listing),
    }
}

fn load_file(location: &StoreLocation, request: &Request<'_>, listing: Option<&Listing>) -> Store {
    let mut store = unknown(location);
    let fail = |mut store: Store, condition: Condition, problem: String| {
        store.condition = condition;
        store.problem = Some(problem);
        store
    };
    let name = location.path.file_name().unwrap_or_default();
    if listing.is_none() && request.deadline.has_passed() {
        return fail(store, Condition::Unreadable, format!("{OVER} before it was read"));
    }
    let text = match find_store(location, listing, &mut store) {
        Ok(text) => text,
        Err(problem) => return fail(store, Condition::Unreadable, problem),
    };
    let linked = store.is_linked();
    store.bytes = text.as_ref().map_or(0, |text| text.len() as u64);
    let read = text.as_deref().map_or(Err(store::Defect::Empty), store::read_entries);
    store.text = text.unwrap_or_default();
    let entries = match read {
        Ok((document, entries)) => {
            store.document = document;
            entries
        }
        Err(defect) => match give_back(&mut store, listing, name, request.salvage.filter(|_| !linked)) {
            Some(entries) => entries,
            None if defect == store::Defect::Empty && listing.is_some_and(|listing| has_backups(listing, name)) => {
                let gone = if store.stamp.is_some() { "empty" } else { "gone" };
                let problem = "beside its backups: a rotation lost it; the newest sessions.json.bak.* has the bindings";
                return fail(store, Condition::RotatedAway, format!("{gone} {problem}"));
            }
            None if store.stamp.is_none() && !linked => {
                return fail(store, Condition::Missing, "no such file".to_owned());
            }
            None => return fail(store, Condition::of(&defect), defect::describe(&defect)),
        },
    };
    store.bindings = bind::of_file(&store, entries, request.main_key, location.shared);
    let members = store.bindings.iter().map(|one| (one.key.as_str(), &one.entry, store.entry_bytes(one)));
    if store::is_other_layout(members) {
        store.bindings.clear();
        let problem = "an object, but its members are no session entries: another layout than OpenClaw's";
        return fail(store, Condition::Malformed, problem.to_owned());
    }
    if linked {
        store.problem = Some("reached through a symbolic link: read, never written".to_owned());
    }
    if let Some(listing) = listing {
        let mut same_dir = HashMap::new();
        for binding in &mut store.bindings {
            locate::locate(binding, &location.dir, listing, &mut same_dir);
        }
    }
    store
}

/// Finds a store and reads it; `None` when there is none. Why not, else.
fn find_store(location: &StoreLocation, listing: Option<&Listing>, store: &mut Store) -> Result<Option<Bytes>, String> {
    let name = location.path.file_name().unwrap_or_default();
    let info = match listing.map(|listing| listing.dir.info(name)) {
        // A directory that is a link is not listed, but its store can be read through it.
        None if location.via_symlink => None,
        None | Some(Ok(None)) => return Ok(None),
        Some(Ok(info)) => info,
        Some(Err(error)) => return Err(format!("{error:#}")),
    };
    store.stamp = info.map(|info| info.stamp);
    store.access = info.filter(|info| info.regular).map(access);
    let linked = location.via_symlink || info.is_some_and(|info| info.symlink);
    store.home = Home::Files { linked };
    read_store(location, listing, linked).map(Some).map_err(|error| format!("{error:#}"))
}

/// Puts what a broken store gives back in its place, when that was asked for.
fn give_back(
    store: &mut Store,
    listing: Option<&Listing>,
    name: &OsStr,
    from_backups: Option<bool>,
) -> Option<Vec<Entry>> {
    let text = store.stamp.is_some().then_some(&*store.text);
    // What cannot be read now stays broken, and is told as such.
    let found = salvage::of(&listing?.dir, name, text, from_backups?).ok().flatten()?;
    let (document, entries) = store::read_entries(&found.text).ok()?;
    store.problem = Some(format!("{}: what is whole is given back", found.salvage.code.describe()));
    store.text = found.text.into();
    store.document = document;
    store.salvage = Some(found.salvage);
    Some(entries)
}

fn read_store(location: &StoreLocation, listing: Option<&Listing>, linked: bool) -> anyhow::Result<Bytes> {
    if linked {
        let cannot_read = || format!("cannot read {}", location.path.display());
        let (mut file, meta) = whole::open(&location.path).with_context(cannot_read)?;
        return memory::whole(&mut file, meta.len()).with_context(cannot_read);
    }
    let name = location.path.file_name().unwrap_or_default();
    let listing = listing.ok_or_else(|| anyhow::anyhow!("cannot open {}", location.dir.display()))?;
    let (mut file, info) = listing.dir.open_file(name)?;
    memory::whole(&mut file, info.stamp.size)
}

fn has_backups(listing: &Listing, store: &OsStr) -> bool {
    let Some(store) = store.to_str() else { return false };
    let is_backup = |name: &OsString| {
        name.to_str().is_some_and(|name| names::classify(name, store) == NameKind::Artifact(FileKind::StoreBak))
    };
    listing.names.keys().any(is_backup)
}

fn access(info: FileInfo) -> Access {
    Access { mode: info.mode, uid: info.uid }
}
