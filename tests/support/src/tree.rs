//! A directory tree as values, to show what a command changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `file`, `dir`, `link` or `other`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Inode.
    pub ino: u64,
    /// Content of a regular file. Empty when it cannot be read.
    pub bytes: Vec<u8>,
    /// Target of a symbolic link.
    pub target: Option<PathBuf>,
}

/// Everything below a directory, by relative path. The directory itself is `""`.
#[derive(Clone, Debug)]
pub struct Tree(pub BTreeMap<PathBuf, Node>);

/// Reads everything below a directory.
pub fn tree(dir: &Path) -> Tree {
    let nodes = WalkDir::new(dir).into_iter().map(Result::unwrap).map(|entry| {
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let kind = match meta.file_type() {
            kind if kind.is_dir() => "dir",
            kind if kind.is_file() => "file",
            kind if kind.is_symlink() => "link",
            _ => "other",
        };
        let node = Node {
            kind,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            size: meta.size(),
            mtime_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            ino: meta.ino(),
            bytes: if kind == "file" { fs::read(entry.path()).unwrap_or_default() } else { Vec::new() },
            target: fs::read_link(entry.path()).ok(),
        };
        (entry.path().strip_prefix(dir).unwrap().to_owned(), node)
    });
    Tree(nodes.collect())
}

impl Tree {
    /// Names, kinds, modes, owners, bytes and link targets, `claw-sessions/` left out: what undoing must bring back.
    pub fn contents(&self) -> View {
        let kept = self.0.iter().filter(|(path, _)| !path.starts_with("claw-sessions"));
        View(kept.map(|(path, node)| (path.clone(), Seen { node: node.clone(), exact: false })).collect())
    }

    /// All of that with sizes, modification times and inodes, nothing left out: what a reading command must not touch.
    pub fn exact(&self) -> View {
        View(self.0.iter().map(|(path, node)| (path.clone(), Seen { node: node.clone(), exact: true })).collect())
    }

    /// The relative paths of all regular files.
    pub fn files(&self) -> Vec<String> {
        self.0.iter().filter(|(_, node)| node.kind == "file").map(|(path, _)| path.display().to_string()).collect()
    }
}

/// A tree as one comparison looks at it.
#[derive(Clone, Debug)]
pub struct View(BTreeMap<PathBuf, Seen>);

#[derive(Clone, Debug)]
struct Seen {
    node: Node,
    exact: bool,
}

impl View {
    /// Panics with the list of differences.
    #[track_caller]
    pub fn assert_same(&self, after: &Self) {
        let diff = self.diff(after);
        assert!(diff.is_empty(), "the tree changed:\n{diff}");
    }

    /// One line per difference; empty when there is none.
    pub fn diff(&self, after: &Self) -> String {
        let mut out = String::new();
        for path in self.0.keys().chain(after.0.keys()).collect::<BTreeSet<_>>() {
            let shown = if path.as_os_str().is_empty() { ".".into() } else { path.display().to_string() };
            let mut lone = |sign: &str, Seen { node, .. }: &Seen| {
                writeln!(out, "{sign} {shown} ({} of {} bytes)", node.kind, node.size).unwrap();
            };
            match (self.0.get(path), after.0.get(path)) {
                (Some(before), None) => lone("-", before),
                (None, Some(after)) => lone("+", after),
                (Some(before), Some(after)) => {
                    for change in before.changes(after) {
                        writeln!(out, "  {shown}: {change}").unwrap();
                    }
                }
                (None, None) => {}
            }
        }
        out
    }
}

impl Seen {
    fn changes(&self, other: &Self) -> Vec<String> {
        let (before, after) = (&self.node, &other.node);
        let mut changes = Vec::new();
        let mut compare = |what: &str, before: String, after: String| {
            if before != after {
                changes.push(format!("{what} {before} → {after}"));
            }
        };
        compare("kind", before.kind.into(), after.kind.into());
        compare("mode", format!("{:o}", before.mode), format!("{:o}", after.mode));
        compare("owner", format!("{}:{}", before.uid, before.gid), format!("{}:{}", after.uid, after.gid));
        compare("target", format!("{:?}", before.target), format!("{:?}", after.target));
        if self.exact {
            compare("size", before.size.to_string(), after.size.to_string());
            compare("mtime", before.mtime_ns.to_string(), after.mtime_ns.to_string());
            compare("inode", before.ino.to_string(), after.ino.to_string());
        }
        if before.bytes != after.bytes {
            changes.push(byte_change(&before.bytes, &after.bytes));
        }
        changes
    }
}

/// Where two contents part, with a little of what stands there.
fn byte_change(before: &[u8], after: &[u8]) -> String {
    let at = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let start = at.saturating_sub(20);
        bytes[start..bytes.len().min(at + 40)].escape_ascii().to_string()
    };
    let (a, b) = (before.len(), after.len());
    format!(
        "content differs at byte {at} ({a} → {b} bytes)\n      before …{}…\n      after  …{}…",
        show(before),
        show(after)
    )
}
