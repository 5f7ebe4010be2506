//! One run: its directory, its manifest and its archive.
//!
//! The manifest ends with the hash of itself, and its version before the last stays beside it: a run whose manifest was
//! damaged is known by that one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::change::manifest::{Manifest, RunProgress, SCHEMA, StepState, Undone};
use crate::change::underway;
use crate::disk::atomic;
use crate::disk::dir::{Dir, FileInfo, give};
use crate::disk::memory;
use crate::disk::whole;
use crate::model::ids::RunId;
use crate::model::places::{Places, is_below};
use crate::model::proof::sha256;

/// The name of a manifest.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The name of its version before.
const BEFORE: &str = "manifest.before.json";

/// The directory of what a run took, below its own.
pub(crate) const FILES: &str = "files";

/// Bytes of the longest manifest that is read: a million bindings.
const LONGEST: u64 = 1 << 29;

/// A run in progress, or a past one that is being restored from.
#[derive(Debug)]
pub struct Run {
    dir: Dir,
    files: Dir,
    like: FileInfo,
    /// Whether the manifest on disk is whole.
    sound: AtomicBool,
    /// What it did, or is about to do. Nothing of it is durable before `save`.
    pub manifest: Manifest,
}

/// A directory of a run's archive.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// The directory.
    pub(crate) dir: Dir,
    /// Its path below the run's directory.
    pub(crate) below: PathBuf,
}

impl Run {
    /// Makes the directory of a new run. Nothing of the manifest is durable yet.
    pub(crate) fn make(runs: &Dir, like: FileInfo, manifest: Manifest) -> anyhow::Result<Self> {
        let dir = private_subdir(runs, OsStr::new(manifest.id.as_str()), &like)?;
        runs.sync()?;
        let files = private_subdir(&dir, OsStr::new(FILES), &like)?;
        Ok(Self { dir, files, like, sound: AtomicBool::new(false), manifest })
    }

    /// Opens a past run.
    pub(crate) fn open(runs: &Dir, like: FileInfo, id: &RunId, places: &Places) -> anyhow::Result<Self> {
        let dir = runs.existing_subdir(OsStr::new(id.as_str()))?;
        let Read { manifest, damaged } = read(&dir, id, places)?;
        let files = dir.existing_subdir(OsStr::new(FILES))?;
        Ok(Self { dir, files, like, sound: AtomicBool::new(damaged.is_none()), manifest })
    }

    /// Returns the run's id.
    pub fn id(&self) -> &RunId {
        &self.manifest.id
    }

    /// Makes the manifest durable.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let text = seal(&self.manifest)?;
        underway::saving(&self.manifest, || self.write(&text))
    }

    fn write(&self, text: &[u8]) -> anyhow::Result<()> {
        let like = FileInfo { mode: 0o600, ..self.like };
        if self.sound.load(Ordering::Relaxed) {
            // It is for the day on which the other is damaged: that it cannot be kept stops nothing.
            let _ = self.dir.remove(OsStr::new(BEFORE));
            let _ = self.dir.link_to(OsStr::new(MANIFEST), &self.dir, OsStr::new(BEFORE));
        }
        atomic::replace(&self.dir, OsStr::new(MANIFEST), [text], &like, || Ok(()))?;
        self.sound.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Notes that this process works on the run: a lock that it should leave is known by its pid.
    pub(crate) fn take_over(&mut self) -> anyhow::Result<()> {
        let pid = std::process::id();
        if self.manifest.pids.contains(&pid) {
            return Ok(());
        }
        self.manifest.pids.push(pid);
        self.save()
    }

    /// Removes what was being written into the archive when the run was cut off.
    pub(crate) fn sweep(&self) {
        for entry in fs_err::read_dir(self.files.path()).into_iter().flatten().filter_map(Result::ok) {
            if let Ok(dir) = self.files.existing_subdir(&entry.file_name()) {
                atomic::sweep(&dir);
            }
        }
    }

    /// Opens the archive directory of an agent, making it if need be.
    pub(crate) fn shelf(&self, agent: &str) -> anyhow::Result<Shelf> {
        let name = shelf_name(agent);
        let dir = private_subdir(&self.files, OsStr::new(&name), &self.like)?;
        Ok(Shelf { dir, below: Path::new(FILES).join(name) })
    }

    /// Writes and syncs a file of the run's own.
    pub(crate) fn write_new<'a>(
        &self,
        dir: &Dir,
        name: &OsStr,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> anyhow::Result<()> {
        let like = FileInfo { mode: 0o600, ..self.like };
        atomic::replace(dir, name, pieces, &like, || Ok(()))
    }

    /// Opens the directory and gives the name of a file below the run's directory.
    pub(crate) fn locate(&self, below: &Path) -> anyhow::Result<(Dir, OsString)> {
        locate(Dir::open(self.dir.path())?, below)
    }

    /// Gives a file of the run's own the owner of its directory, and nobody else a look at it.
    pub(crate) fn own(&self, file: &File) -> anyhow::Result<()> {
        let made = atomic::own_info(file)?;
        give(file, &made, self.like.uid, self.like.gid)?;
        Ok(file.set_permissions(PermissionsExt::from_mode(0o600))?)
    }

    /// Reads a file below the run's directory.
    pub(crate) fn read(&self, below: &Path) -> anyhow::Result<Vec<u8>> {
        let (dir, name) = self.locate(below)?;
        let (mut file, info) = dir.open_file(&name)?;
        let cannot_read = || format!("cannot read {}", dir.join(&name).display());
        let mut bytes = memory::room(info.stamp.size).with_context(cannot_read)?;
        file.read_to_end(&mut bytes).with_context(cannot_read)?;
        Ok(bytes)
    }
}

/// The name of an agent's directory in an archive.
pub(crate) fn shelf_name(agent: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    if agent.is_empty() { "main".to_owned() } else { agent.chars().map(plain).collect() }
}

/// Opens or makes a directory that is ours alone.
pub(crate) fn private_subdir(parent: &Dir, name: &OsStr, like: &FileInfo) -> anyhow::Result<Dir> {
    let made = parent.info(name)?.is_none();
    let dir = parent.subdir(name, 0o700)?;
    if made {
        let info = dir.own_info()?;
        let opened = File::open(dir.path()).with_context(|| format!("cannot open {}", dir.path().display()))?;
        give(&opened, &info, like.uid, like.gid)
            .and_then(|()| opened.set_permissions(PermissionsExt::from_mode(0o700)))
            .with_context(|| format!("cannot set the owner of {}", dir.path().display()))?;
        parent.sync()?;
    }
    Ok(dir)
}

/// Opens the directory and gives the name of a file below a run's directory.
pub(crate) fn locate(mut dir: Dir, below: &Path) -> anyhow::Result<(Dir, OsString)> {
    anyhow::ensure!(is_below(below), "{} leads out of the run's directory", below.display());
    for part in below.parent().unwrap_or(Path::new("")).components() {
        if let Component::Normal(name) = part {
            dir = dir.existing_subdir(name)?;
        }
    }
    let name = below.file_name().with_context(|| format!("{} names no file", below.display()))?;
    Ok((dir, name.to_owned()))
}

/// A manifest that was read.
pub(crate) struct Read {
    /// It.
    pub(crate) manifest: Manifest,
    /// Why its version before had to do.
    pub(crate) damaged: Option<String>,
}

/// Reads the manifest of the run `id` in `dir`. Where it is damaged, the version before is read, and the run counts as
/// unfinished: what it did since is found out where it was done.
pub(crate) fn read(dir: &Dir, id: &RunId, places: &Places) -> anyhow::Result<Read> {
    let (mut manifest, damaged) = match read_file(dir, MANIFEST) {
        Ok(manifest) => (manifest, None),
        Err(error) if !is_damage(dir, &error)? => return Err(error),
        Err(error) => match read_file(dir, BEFORE) {
            Ok(before) => (before, Some(format!("{error:#}"))),
            Err(_) => return Err(error),
        },
    };
    let path = dir.join(MANIFEST);
    anyhow::ensure!(
        manifest.id == *id,
        "{} is the manifest of the run {}: its directory was copied or renamed; give it back its name, or remove the copy",
        path.display(),
        manifest.id
    );
    manifest.follow(&places.state_dir);
    if damaged.is_some() {
        note_what_left(dir, &mut manifest)?;
    }
    if let Some(stray) = manifest.stray(places) {
        anyhow::bail!(
            "{} is left alone: it names {}, and this state directory keeps no sessions there",
            path.display(),
            stray.display()
        );
    }
    if damaged.is_some() {
        manifest = unfinished(manifest);
    }
    Ok(Read { manifest, damaged })
}

/// Notes of a run that had ended which files are in its archive no more. Its moves were durable, so they came back since,
/// or were deleted for good: none of them is moved again.
fn note_what_left(dir: &Dir, manifest: &mut Manifest) -> anyhow::Result<()> {
    if manifest.state == RunProgress::Unfinished {
        return Ok(());
    }
    for step in manifest.steps.iter_mut().filter(|step| step.is_away()) {
        let Some(kept) = step.kept().filter(|kept| is_below(kept)) else { continue };
        let (shelf, name) = locate(Dir::open(dir.path())?, kept)?;
        if shelf.info(&name)?.is_none() {
            let is_back = fs_err::symlink_metadata(&step.path).is_ok();
            step.undone = Some(if is_back { Undone::Restored } else { Undone::Purged });
        }
    }
    Ok(())
}

/// Whether the manifest itself is damaged or gone. What only cannot be read now, or is somebody else's, is not ours to
/// heal.
fn is_damage(dir: &Dir, error: &anyhow::Error) -> anyhow::Result<bool> {
    let of_system = error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some());
    Ok(match dir.info(OsStr::new(MANIFEST))? {
        None => true,
        Some(info) => info.regular && !of_system,
    })
}

/// The manifest as that of a run that was cut off: of each change is to be found out whether it was made.
fn unfinished(mut manifest: Manifest) -> Manifest {
    manifest.state = RunProgress::Unfinished;
    let batches = manifest.batches.iter_mut().map(|batch| &mut batch.state);
    let steps = manifest.steps.iter_mut().filter(|step| !step.is_move() || step.undone.is_none());
    for state in batches.chain(steps.map(|step| &mut step.state)) {
        if *state == StepState::Done {
            *state = StepState::Planned;
        }
    }
    manifest
}

/// Returns whether a file is one of the user whose directory it is in, of this process's user, or root's.
pub(crate) fn is_trusted(dir: &Dir, info: &FileInfo) -> anyhow::Result<bool> {
    Ok(whole::is_trusted(info.uid) || info.uid == dir.own_info()?.uid)
}

fn read_file(dir: &Dir, name: &str) -> anyhow::Result<Manifest> {
    let path = dir.join(name);
    let (file, info) = dir.open_file(OsStr::new(name))?;
    anyhow::ensure!(is_trusted(dir, &info)?, "{} belongs to another user than its directory", path.display());
    anyhow::ensure!(info.stamp.size <= LONGEST, "{} is longer than any manifest", path.display());
    let text = unsealed(file).with_context(|| path.display().to_string())?;
    let manifest: Manifest =
        serde_json::from_slice(&text).with_context(|| format!("{} is no manifest of this version", path.display()))?;
    anyhow::ensure!(manifest.schema == SCHEMA, "{} has the unknown schema {}", path.display(), manifest.schema);
    Ok(manifest)
}

/// The member that holds the hash of all bytes before it.
const SEAL: &[u8] = b",\"sha256\":\"";

/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;

/// Returns the manifest as text that ends with the hash of itself.
fn seal(manifest: &Manifest) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(manifest).context("cannot write a manifest")?;
    text.pop();
    let hash = sha256(&text);
    text.extend_from_slice(SEAL);
    text.extend_from_slice(hash.as_bytes());
    text.extend_from_slice(b"\"}\n");
    Ok(text)
}

/// Reads a sealed text, and returns it without its seal.
fn unsealed(file: File) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    let sealed = text.trim_ascii_end();
    let end = sealed.len().saturating_sub(SEAL.len() + DIGITS + 2);
    let (body, tail) = sealed.split_at(end);
    let hash = tail.strip_prefix(SEAL).and_then(|tail| tail.strip_suffix(b"\"}"));
    anyhow::ensure!(
        hash.is_some_and(|hash| hash == sha256(body).as_bytes()),
        "it is damaged: it does not end with the hash of itself"
    );
    let length = body.len();
    text.truncate(length);
    text.push(b'}');
    Ok(text)
}
