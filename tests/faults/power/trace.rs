//! What a run did to its state directory, call by call, from a strace of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::strace::traced;
use support::Store;

/// Every call that can change a file or a name, or make it durable. One that is missing here shows when the calls,
/// carried out again, do not give the tree that the run left.
const CALLS: &str = "?open,?creat,openat,?openat2,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,\
                     copy_file_range,sendfile,?chmod,fchmod,fchmodat,?fchmodat2,fsync,fdatasync,?rename,renameat,\
                     renameat2,?link,linkat,?symlink,symlinkat,?unlink,unlinkat,?mkdir,mkdirat,?rmdir";

/// One call that succeeded. Paths are below the state directory.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Makes the file unless it is there.
    Open {
        path: PathBuf,
        mode: u32,
    },
    /// At the end of the file.
    Write {
        path: PathBuf,
        bytes: Vec<u8>,
    },
    Chmod {
        path: PathBuf,
        mode: u32,
    },
    Sync(PathBuf),
    Mkdir {
        path: PathBuf,
        mode: u32,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(f, "create {}", path.display()),
            Self::Write { path, bytes } => write!(f, "write {} bytes to {}", bytes.len(), path.display()),
            Self::Chmod { path, mode } => write!(f, "chmod {mode:o} {}", path.display()),
            Self::Sync(path) => write!(f, "fsync {}", path.display()),
            Self::Mkdir { path, .. } => write!(f, "mkdir {}", path.display()),
            Self::Rename { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Link { from, to } => write!(f, "link {} as {}", from.display(), to.display()),
            Self::Remove(path) => write!(f, "remove {}", path.display()),
        }
    }
}

/// Runs the command and tells what it did.
pub(super) fn of(store: &Store, args: &[&str]) -> Vec<Op> {
    let log = store.root().join("strace");
    let calls = format!("trace={CALLS}");
    // Hexadecimal, so that no quote, comma or bracket stands in a string.
    let log_path = log.to_str().unwrap();
    traced(store, args, &["-y", "-xx", "-s", "16777216", "-e", "signal=none", "-e", &calls, "-o", log_path]);
    let ops = parse(&fs::read_to_string(&log).unwrap(), &store.state_dir());
    fs::remove_file(log).unwrap();
    ops
}

fn parse(log: &str, state_dir: &Path) -> Vec<Op> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut ops = Vec::new();
    for line in log.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        // A call counts when it ends.
        let call = if let Some(call) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, call.to_owned());
            continue;
        } else if let Some((_, rest)) = call.strip_prefix("<... ").and_then(|call| call.split_once(" resumed>")) {
            begun.remove(thread).unwrap() + rest
        } else {
            call.to_owned()
        };
        ops.extend(Call::of(&call).and_then(|call| call.op(state_dir)));
    }
    ops
}

struct Call<'a> {
    name: &'a str,
    args: Vec<&'a str>,
}

impl<'a> Call<'a> {
    /// `None` when it failed or is no call.
    fn of(line: &'a str) -> Option<Self> {
        let (call, result) = line.rsplit_once(" = ")?;
        let (name, args) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        (!result.starts_with('-')).then(|| Self { name, args: args.split(", ").collect() })
    }

    /// `None` for one elsewhere, or one that changes nothing.
    fn op(&self, state_dir: &Path) -> Option<Op> {
        let own = |path: PathBuf| path.strip_prefix(state_dir).map(Path::to_owned).ok();
        let fd = || own(opened(self.args[0]));
        let at = |first: usize| own(opened(self.args[first]).join(quoted(self.args[first + 1])));
        let pair = || match (at(0), at(2)) {
            (Some(from), Some(to)) => Some((from, to)),
            (None, None) => None,
            pair => panic!("{} crosses the border: {pair:?}", self.name),
        };
        match self.name {
            "open" => open(own(quoted(self.args[0]))?, &self.args[1..]),
            "openat" => open(at(0)?, &self.args[2..]),
            "write" => Some(Op::Write { path: fd()?, bytes: quoted_bytes(self.args[1]) }),
            "fchmod" => Some(Op::Chmod { path: fd()?, mode: octal(self.args[1]) }),
            "fsync" | "fdatasync" => Some(Op::Sync(fd()?)),
            "mkdirat" => Some(Op::Mkdir { path: at(0)?, mode: octal(self.args[2]) }),
            "unlinkat" => Some(Op::Remove(at(0)?)),
            "rmdir" | "unlink" => Some(Op::Remove(own(quoted(self.args[0]))?)),
            "renameat" | "renameat2" => pair().map(|(from, to)| Op::Rename { from, to }),
            "linkat" => pair().map(|(from, to)| Op::Link { from, to }),
            name => {
                let path = if self.args[0].starts_with('"') { own(quoted(self.args[0])) } else { fd() };
                assert!(path.is_none(), "the model does not know {name} of {path:?}");
                None
            }
        }
    }
}

fn open(path: PathBuf, args: &[&str]) -> Option<Op> {
    assert!(!args[0].contains("O_TRUNC"), "nothing is overwritten: {}", path.display());
    args[0].contains("O_CREAT").then(|| Op::Open { path, mode: octal(args[1]) })
}

fn octal(arg: &str) -> u32 {
    u32::from_str_radix(arg, 8).unwrap()
}

/// The path of `3<path>` or `AT_FDCWD<path>`.
fn opened(arg: &str) -> PathBuf {
    let path = arg.split_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
    OsString::from_vec(path.map(bytes).unwrap_or_default()).into()
}

fn quoted(arg: &str) -> PathBuf {
    OsString::from_vec(quoted_bytes(arg)).into()
}

fn quoted_bytes(arg: &str) -> Vec<u8> {
    bytes(arg.strip_prefix('"').and_then(|arg| arg.strip_suffix('"')).unwrap_or_else(|| panic!("{arg} is cut off")))
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
