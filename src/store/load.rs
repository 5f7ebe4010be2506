//! Load: stores, directories, locks and transcripts into an inventory. Reads only, and each file once.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use chrono::DateTime;
use rayon::prelude::*;

use super::cache::Cache;
use super::dir::{Dir, FileInfo};
use super::discover::StoreLocation;
use super::lock::lock_name;
use super::read::Depth;
use super::{process, read, salvage, sqlite};
use crate::config::environment;
use crate::model::entry::{self, Entry};
use crate::model::inventory::{
    Access, Binding, Content, Gateway, Generation, Inventory, Lock, LooseFile, Side, Sighting, Store, Transcript,
};
use crate::model::key;
use crate::model::line::{self, Line};
use crate::model::names::{self, FileKind, NameKind, is_session_id};
use crate::model::store::{self, Document, StoreState};
use crate::model::transcript::Integrity;

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
    /// What other files say.
    pub side: Side,
    /// What earlier starts found.
    pub sightings: BTreeMap<(PathBuf, String), Sighting>,
    /// What is remembered of transcripts.
    pub cache: &'a Cache,
    /// How closely to look at transcripts.
    pub depth: Depth,
    /// Read archives too.
    pub archives: bool,
    /// Give back what is whole of broken stores; with what only their backups have, if true.
    pub salvage: Option<bool>,
    /// Called once with the number of transcripts and their bytes.
    pub begin: &'a (dyn Fn(usize, u64) + Sync),
    /// Called while transcripts are read, with the bytes since the last call.
    pub advance: &'a (dyn Fn(u64) + Sync),
}

/// Loads everything.
pub fn load(request: Request<'_>) -> Inventory {
    let (gateway, (stores, files)) = rayon::join(request.gateway, || read_all(&request));
    Inventory {
        state_dir: request.state_dir.to_owned(),
        owner: Dir::open(request.state_dir).and_then(|dir| dir.own_info()).ok().map(|info| info.uid),
        openclaw: request.openclaw,
        gateway,
        stores,
        files,
        side: request.side,
        sightings: request.sightings,
    }
}

fn read_all(request: &Request<'_>) -> (Vec<Store>, Vec<LooseFile>) {
    let listings = list_directories(request.stores);
    let mut stores: Vec<Store> =
        request.stores.par_iter().map(|location| load_store(location, request, &listings)).collect();
    let mut files = loose_files(&stores, &listings);
    read_transcripts(&mut stores, &mut files, &listings, request);
    (stores, files)
}

/// One sessions directory, listed once.
struct Listing {
    dir: Dir,
    names: BTreeMap<OsString, FileInfo>,
    locks: HashMap<OsString, Lock>,
}

/// Lists every directory once; one that cannot be listed is left out, and told about where its store is loaded.
fn list_directories(stores: &[StoreLocation]) -> HashMap<PathBuf, Listing> {
    let mut paths: Vec<&Path> = stores.iter().map(|store| store.dir.as_path()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_par_iter().filter_map(|path| Some((path.to_owned(), list(path)?))).collect()
}

fn list(path: &Path) -> Option<Listing> {
    let dir = Dir::open(path).ok()?;
    let mut names = BTreeMap::new();
    for entry in fs_err::read_dir(path).ok()?.filter_map(Result::ok) {
        let name = entry.file_name();
        if let Ok(Some(info)) = dir.info(&name) {
            names.insert(name, info);
        }
    }
    let locks = names
        .iter()
        .filter(|(name, info)| info.regular && name.as_bytes().ends_with(b".lock"))
        .map(|(name, _)| (name.clone(), read_lock(&dir, name)))
        .collect();
    Some(Listing { dir, names, locks })
}

fn read_lock(dir: &Dir, name: &OsStr) -> Lock {
    let mut bytes = Vec::new();
    if let Ok((mut file, _)) = dir.open_file(name) {
        let _ = std::io::Read::read_to_end(&mut file, &mut bytes);
    }
    let (payload, state) = process::judge(&bytes);
    Lock { path: dir.join(name), state, pid: payload.pid, created_at: payload.taken_at() }
}

fn load_store(location: &StoreLocation, request: &Request<'_>, listings: &HashMap<PathBuf, Listing>) -> Store {
    let mut store = Store {
        agent: location.agent.clone(),
        path: location.path.clone(),
        selected: location.selected,
        state: StoreState::Ok,
        problem: None,
        bytes: 0,
        stamp: None,
        access: None,
        text: Vec::new(),
        document: Document::default(),
        bindings: Vec::new(),
        salvage: None,
    };
    let fail = |mut store: Store, state: StoreState, problem: String| {
        store.state = state;
        store.problem = Some(problem);
        store
    };
    let listing = listings.get(&location.dir);
    let name = location.path.file_name().unwrap_or_default();
    if let Some(sign) = sqlite::sign_of_migration(request.state_dir, &location.agent) {
        return fail(store, StoreState::Sqlite, sign);
    }
    let text = match find_store(location, listing, &mut store) {
        Ok(text) => text,
        Err((state, problem)) => return fail(store, state, problem),
    };
    let linked = location.via_symlink || store.state == StoreState::Symlink;
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
                return fail(store, StoreState::RotatedAway, format!("{gone} {problem}"));
            }
            None if store.stamp.is_none() && !linked => {
                return match unlistable(&location.dir) {
                    Some(why) => fail(store, StoreState::Unreadable, why),
                    None => fail(store, StoreState::Missing, "no such file".to_owned()),
                };
            }
            None => return fail(store, StoreState::of(&defect), describe(&defect)),
        },
    };
    store.bindings = bindings(&store, entries, request.main_key, location.shared);
    if is_wrapped(&store) {
        store.bindings.clear();
        let problem = "an object, but its members are no session entries: another layout than OpenClaw's";
        return fail(store, StoreState::Malformed, problem.to_owned());
    }
    if linked {
        store.state = StoreState::Symlink;
        store.problem = Some("reached through a symbolic link: read, never written".to_owned());
    }
    if let Some(listing) = listing {
        let mut same_dir = HashMap::new();
        for binding in &mut store.bindings {
            locate(binding, &location.dir, listing, &mut same_dir);
        }
    }
    store
}

/// Finds a store and reads it; `None` when there is none. Why not, else.
fn find_store(
    location: &StoreLocation,
    listing: Option<&Listing>,
    store: &mut Store,
) -> Result<Option<Vec<u8>>, (StoreState, String)> {
    let name = location.path.file_name().unwrap_or_default();
    let info = match listing.map(|listing| listing.dir.info(name)) {
        // A directory that is a link is not listed, but its store can be read through it.
        None if location.via_symlink => None,
        None | Some(Ok(None)) => return Ok(None),
        Some(Ok(info)) => info,
        Some(Err(error)) => return Err((StoreState::Unreadable, format!("{error:#}"))),
    };
    store.stamp = info.map(|info| info.stamp);
    store.access = info.map(access);
    let linked = location.via_symlink || info.is_some_and(|info| info.symlink);
    if linked {
        store.state = StoreState::Symlink;
    }
    let state = if linked { StoreState::Symlink } else { StoreState::Unreadable };
    read_store(location, listing, linked).map(Some).map_err(|error| (state, format!("{error:#}")))
}

/// Puts what a broken store gives back in its place, when that was asked for.
fn give_back(
    store: &mut Store,
    listing: Option<&Listing>,
    name: &OsStr,
    from_backups: Option<bool>,
) -> Option<Vec<Entry>> {
    let text = store.stamp.is_some().then_some(store.text.as_slice());
    // What cannot be read now stays broken, and is told as such.
    let found = salvage::of(&listing?.dir, name, text, from_backups?).ok().flatten()?;
    let (document, entries) = store::read_entries(&found.text).ok()?;
    store.problem = Some(format!("{}: what is whole is given back", found.salvage.code.describe()));
    store.text = found.text;
    store.document = document;
    store.salvage = Some(found.salvage);
    Some(entries)
}

/// Why a directory that exists, or may exist, cannot be listed.
fn unlistable(dir: &Path) -> Option<String> {
    match fs_err::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(error.to_string()),
        Ok(_) => Dir::open(dir).err().map(|error| format!("{error:#}")),
    }
}

fn read_store(location: &StoreLocation, listing: Option<&Listing>, linked: bool) -> anyhow::Result<Vec<u8>> {
    if linked {
        return Ok(fs_err::read(&location.path)?);
    }
    let name = location.path.file_name().unwrap_or_default();
    let listing = listing.ok_or_else(|| anyhow::anyhow!("cannot open {}", location.dir.display()))?;
    let (mut file, info) = listing.dir.open_file(name)?;
    let mut text = Vec::with_capacity(info.stamp.size as usize + 1);
    std::io::Read::read_to_end(&mut file, &mut text)?;
    Ok(text)
}

fn describe(defect: &store::Defect) -> String {
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

fn has_backups(listing: &Listing, store: &OsStr) -> bool {
    let Some(store) = store.to_str() else { return false };
    let is_backup = |name: &OsString| {
        name.to_str().is_some_and(|name| names::classify(name, store) == NameKind::Artifact(FileKind::StoreBak))
    };
    listing.names.keys().any(is_backup)
}

fn bindings(store: &Store, entries: Vec<Entry>, main_key: &str, shared: bool) -> Vec<Binding> {
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let effective = store.document.effective(&store.text);
    let mut folded: HashMap<String, usize> = HashMap::with_capacity(effective.len());
    for one in &effective {
        *folded.entry(one.key.to_lowercase()).or_default() += 1;
    }
    effective
        .into_iter()
        .map(|place| {
            let span = store.document.members[place.member].entry.span;
            let entry = entries.get_mut(place.member).and_then(Option::take).unwrap_or_default();
            let parsed = key::parse(&place.key, main_key, entry.chat_type.as_deref());
            let named = parsed.agent.filter(|_| shared).map(key::normalize_agent_id);
            Binding {
                agent: named.unwrap_or_else(|| store.agent.clone()),
                class: parsed.class,
                channel: parsed.channel.map(str::to_owned).or_else(|| entry.channel.clone()),
                cron_job: parsed.cron_job.map(str::to_owned),
                entry_bytes: span.len() as u64,
                case_collision: folded.get(&place.key.to_lowercase()).is_some_and(|&times| times > 1),
                transcript: Transcript::default(),
                lock: None,
                key: place.key.clone(),
                place,
                entry,
            }
        })
        .collect()
}

/// A store of another layout, such as `{"version":1,"sessions":{…}}`: entries stand below its members.
fn is_wrapped(store: &Store) -> bool {
    let is_entry = |binding: &Binding| binding.entry.session_id.is_some() || binding.entry.updated_at.is_some();
    !store.bindings.is_empty()
        && !store.bindings.iter().any(is_entry)
        && store.bindings.iter().any(|binding| entry::holds_entries(store.entry_bytes(binding)))
}

fn access(info: FileInfo) -> Access {
    Access { mode: info.mode, uid: info.uid }
}

/// Where a name of the entry leads.
enum Lead {
    /// To this path in the sessions directory.
    Inside(PathBuf),
    /// Out of it.
    Outside(PathBuf),
}

/// Finds a binding's transcript and its lock (F§4.2).
fn locate(binding: &mut Binding, dir: &Path, listing: &Listing, same_dir: &mut HashMap<PathBuf, bool>) {
    let by_id = binding
        .entry
        .session_id
        .as_deref()
        .filter(|id| is_session_id(id))
        .map(|id| dir.join(format!("{}.jsonl", id.trim())));
    let exists = |path: &Path| path.strip_prefix(dir).ok().and_then(|rest| info(listing, rest)).is_some();
    let lead = binding.entry.session_file.as_deref().map(|file| follow(file, dir, same_dir));
    let transcript = &mut binding.transcript;
    match lead {
        None => transcript.path = by_id,
        Some(Lead::Inside(path)) => transcript.path = Some(path),
        Some(Lead::Outside(target)) => {
            let sibling = target.file_name().map(|name| dir.join(name));
            let absolute = Path::new(binding.entry.session_file.as_deref().unwrap_or_default()).is_absolute();
            let found = sibling
                .clone()
                .filter(|path| absolute && exists(path))
                .or_else(|| by_id.clone().filter(|path| absolute && exists(path)));
            if let Some(found) = found {
                transcript.path = Some(found);
                transcript.relocated = true;
            } else if !absolute || fs_err::symlink_metadata(&target).is_ok() {
                transcript.path = Some(target.clone());
                transcript.content = Content::Outside(format!("leads to {}", target.display()));
                return;
            } else {
                transcript.path = sibling.or(by_id);
            }
        }
    }
    let Some(path) = transcript.path.clone() else { return };
    let Ok(inside) = path.strip_prefix(dir) else { return };
    binding.lock = listing.locks.get(&lock_name(inside.as_os_str())).cloned();
    if let Some(link) = linked_component(dir, inside) {
        transcript.content = Content::Outside(format!("{} is a symbolic link", link.display()));
        return;
    }
    match info(listing, inside) {
        Some(info) if info.symlink => {
            transcript.content = Content::Outside(format!("{} is a symbolic link", path.display()));
        }
        Some(info) if !info.regular => {
            transcript.content = Content::Unreadable(format!("{} is not a regular file", path.display()));
        }
        Some(info) => {
            transcript.stamp = Some(info.stamp);
            transcript.access = Some(access(info));
            transcript.linked = info.links > 1;
        }
        None => {}
    }
}

fn info(listing: &Listing, inside: &Path) -> Option<FileInfo> {
    if inside.components().count() == 1 {
        return listing.names.get(inside.as_os_str()).copied();
    }
    listing.dir.info(inside.as_os_str()).ok().flatten()
}

/// `same_dir` remembers which other directories are this one by another path: a state directory behind a link.
fn follow(file: &str, dir: &Path, same_dir: &mut HashMap<PathBuf, bool>) -> Lead {
    let path = environment::normalize(&dir.join(file));
    if path.starts_with(dir) && path != dir {
        return Lead::Inside(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Lead::Outside(path) };
    let same = *same_dir
        .entry(parent.to_owned())
        .or_insert_with(|| Path::new(file).is_absolute() && fs_err::canonicalize(parent).is_ok_and(|real| real == dir));
    if same { Lead::Inside(dir.join(name)) } else { Lead::Outside(path) }
}

/// A directory between the sessions directory and the file that is a link.
fn linked_component(dir: &Path, inside: &Path) -> Option<PathBuf> {
    let mut path = dir.to_owned();
    let parents = inside.parent()?;
    for component in parents.components().filter(|component| matches!(component, Component::Normal(_))) {
        path.push(component);
        if fs_err::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
            return Some(path);
        }
    }
    None
}

/// Everything in the directories that is neither a store nor a bound transcript.
fn loose_files(stores: &[Store], listings: &HashMap<PathBuf, Listing>) -> Vec<LooseFile> {
    let mut owners: HashMap<&Path, Vec<&Store>> = HashMap::new();
    for store in stores {
        owners.entry(store.dir()).or_default().push(store);
    }
    let mut files = Vec::new();
    let mut dirs: Vec<_> = listings.iter().collect();
    dirs.sort_by_key(|(path, _)| *path);
    for (path, listing) in dirs {
        let Some(owners) = owners.get(path.as_path()) else { continue };
        if !owners.iter().any(|store| store.selected) {
            continue;
        }
        // A store that was not asked for is not read to the end: what its transcripts refer to is not known.
        let known = owners.iter().all(|store| store.is_known() && store.selected);
        let store_names: Vec<&OsStr> = owners.iter().filter_map(|store| store.path.file_name()).collect();
        let bound: std::collections::HashSet<&Path> = owners
            .iter()
            .flat_map(|store| &store.bindings)
            .filter_map(|binding| binding.transcript.path.as_deref())
            .collect();
        for (name, info) in &listing.names {
            let path = listing.dir.join(name);
            if store_names.contains(&name.as_os_str()) || bound.contains(path.as_path()) {
                continue;
            }
            let text = name.to_string_lossy();
            let store = store_names.first().and_then(|name| name.to_str()).unwrap_or("sessions.json");
            let kind = match names::classify(&text, store) {
                _ if !info.regular => FileKind::Other,
                NameKind::Transcript => FileKind::Orphan,
                NameKind::Lock if listing.locks.get(name).is_some_and(|lock| !lock.state.is_held()) => {
                    FileKind::LockDead
                }
                NameKind::Lock => FileKind::LockLive,
                NameKind::Artifact(kind) => kind,
            };
            // Directories below are none of OpenClaw's scans' business, nor of ours.
            if !info.regular && !info.symlink && name.to_str().is_none_or(|name| !name.ends_with(".jsonl")) {
                continue;
            }
            files.push(LooseFile {
                agent: owners[0].agent.clone(),
                kind,
                stamp: info.stamp,
                linked: info.links > 1,
                special: !info.regular || name.to_str().is_none(),
                held: listing.locks.get(&lock_name(name)).is_some_and(|lock| lock.state.is_held()),
                touched_at: DateTime::from_timestamp_nanos(info.stamp.mtime_ns),
                access: access(*info),
                content: Content::Absent,
                archived_at: names::archived_at(&text, kind),
                stores_known: known,
                path,
            });
        }
    }
    files
}

/// Reads every transcript once, on all cores, and hands the results to whoever points at it.
fn read_transcripts(
    stores: &mut [Store],
    files: &mut [LooseFile],
    listings: &HashMap<PathBuf, Listing>,
    request: &Request<'_>,
) {
    let mut wanted: HashMap<PathBuf, u64> = HashMap::new();
    for binding in stores.iter().filter(|store| store.selected).flat_map(|store| &store.bindings) {
        if let (Some(path), Some(stamp)) = (&binding.transcript.path, binding.transcript.stamp) {
            wanted.insert(path.clone(), stamp.size);
        }
    }
    for file in files.iter().filter(|file| is_read(file, request)) {
        wanted.insert(file.path.clone(), file.stamp.size);
    }
    (request.begin)(wanted.len(), wanted.values().sum());
    let contents: HashMap<PathBuf, (Content, Option<FileInfo>)> = wanted
        .into_par_iter()
        .map(|(path, _)| {
            let read = read_one(&path, listings, request);
            (path, read)
        })
        .collect();
    for binding in stores.iter_mut().flat_map(|store| &mut store.bindings) {
        let transcript = &mut binding.transcript;
        let Some(path) = transcript.path.as_ref().filter(|_| transcript.stamp.is_some()) else { continue };
        if let Some((content, info)) = contents.get(path) {
            transcript.content = content.clone();
            if let Some(info) = info {
                transcript.stamp = Some(info.stamp);
            }
            if matches!(content, Content::Read(summary) if summary.integrity == Integrity::Wiped) {
                transcript.cut_header = cut_header(path, listings);
            }
        }
    }
    for file in files.iter_mut().filter(|file| is_read(file, request)) {
        if let Some((content, _)) = contents.get(&file.path) {
            file.content = content.clone();
        }
    }
}

/// Whether a loose file is read: orphans, which may be old enough to go, and archives when they are checked.
fn is_read(file: &LooseFile, request: &Request<'_>) -> bool {
    let archive = matches!(file.kind, FileKind::ArchiveReset | FileKind::ArchiveDeleted | FileKind::ArchiveBak);
    let plain = file.path.extension().is_none_or(|extension| extension != "zst");
    !file.special && (file.kind == FileKind::Orphan || (request.archives && archive && plain))
}

/// More of a copy than this is not searched for the line at which its file was cut.
const LONGEST_COPY: u64 = 256 << 20;

/// The header of the newest `.bak.<TS>` beside a transcript without header, when the first line of what is left stands
/// in it: then `sessions.compact` made both (F§4.5).
fn cut_header(path: &Path, listings: &HashMap<PathBuf, Listing>) -> Option<Vec<u8>> {
    let listing = listings.get(path.parent()?)?;
    let name = path.file_name()?;
    let first_line = |name: &OsStr| -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let (file, _) = listing.dir.open_file(name).ok()?;
        BufReader::new(file).read_until(b'\n', &mut line).ok()?;
        Some(line)
    };
    let rest = first_line(name)?;
    let mut prefix = name.as_bytes().to_vec();
    prefix.extend_from_slice(b".bak.");
    let copies =
        listing.names.iter().rev().filter(|(name, info)| {
            info.regular && info.stamp.size <= LONGEST_COPY && name.as_bytes().starts_with(&prefix)
        });
    copies.map(|(name, _)| name).find_map(|name| {
        let header = first_line(name)?;
        let is_header = matches!(line::read(header.trim_ascii_end()), Ok(Line::Header(found, _)) if found.id.is_some());
        let (file, _) = listing.dir.open_file(name).ok().filter(|_| is_header)?;
        let fits = BufReader::new(file).split(b'\n').map_while(Result::ok).any(|line| line == rest.trim_ascii_end());
        fits.then(|| header.trim_ascii_end().to_vec())
    })
}

fn read_one(path: &Path, listings: &HashMap<PathBuf, Listing>, request: &Request<'_>) -> (Content, Option<FileInfo>) {
    for dir in path.ancestors().skip(1) {
        let (Some(listing), Ok(inside)) = (listings.get(dir), path.strip_prefix(dir)) else { continue };
        let listed = info(listing, inside).filter(|info| info.regular);
        let known = listed.filter(|_| request.depth != Depth::Thorough);
        if let Some((info, summary)) = known.and_then(|info| Some((info, request.cache.get(&info)?))) {
            (request.advance)(info.stamp.size);
            return (Content::Read(summary), Some(info));
        }
        let (content, info) = read::transcript(&listing.dir, inside.as_os_str(), request.depth, request.advance);
        if let (Content::Read(summary), Some(info), Depth::Whole) = (&content, &info, request.depth) {
            request.cache.put(info, summary);
        }
        return (content, info);
    }
    (Content::Absent, None)
}
