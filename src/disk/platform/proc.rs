//! Other processes, as `/proc` shows them; where none is mounted, no process is in sight.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Called, Listener, Opener, Status};
use crate::model::lock::{ProcessState, parse_stat};
use crate::model::proof::DirId;

/// More than any environment has.
const LONGEST: u64 = 4 << 20;

/// Returns what the system says of a process that exists.
pub(crate) fn state(pid: u32) -> ProcessState {
    let stat = fs_err::read_to_string(place(pid, "stat")).ok();
    match stat.as_deref().and_then(parse_stat) {
        Some((_, true)) => ProcessState::Gone,
        Some((starttime, false)) => ProcessState::Exists(Some(starttime)),
        None => ProcessState::Exists(None),
    }
}

/// Returns whether the start time of a lock is counted as this system counts: in ticks since the boot, of which there may
/// be any number.
pub(crate) const fn is_comparable(_: u64) -> bool {
    true
}

/// Returns the processes whose kernel name `may_be` accepts: that is much cheaper to ask for than the command line.
pub(crate) fn named(may_be: fn(&[u8]) -> bool) -> impl Iterator<Item = Called> {
    let named = all().filter(move |pid| beginning(*pid, "comm").is_some_and(|name| may_be(&name)));
    named.filter_map(|pid| Some(Called { pid, cmdline: beginning(pid, "cmdline")? }))
}

/// The ids of all processes in sight.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn place(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// The beginning of a file of a process, in one read: a host has hundreds of processes, and this runs before each start.
fn beginning(pid: u32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = std::fs::File::open(place(pid, name)).ok()?.read(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Reads the status of a process; `None` when it is gone.
pub(crate) fn status(pid: u32) -> Option<Status> {
    Some(parse_status(&String::from_utf8_lossy(&beginning(pid, "status")?)))
}

fn parse_status(text: &str) -> Status {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let uids = field("Uid").unwrap_or_default().split_whitespace().filter_map(|uid| uid.parse().ok()).collect();
    let ids = field("NSpid").unwrap_or_default().split_whitespace().count();
    Status { uids, nested: ids > 1 }
}

/// Reads the environment of a process.
pub(crate) fn environ(pid: u32) -> io::Result<Vec<u8>> {
    let mut environ = Vec::new();
    std::fs::File::open(place(pid, "environ"))?.take(LONGEST).read_to_end(&mut environ)?;
    Ok(environ)
}

/// Returns the directory in which a process works, by the name it has there.
pub(crate) fn cwd(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(place(pid, "cwd")).ok()
}

/// Returns whether a process sees the files and the processes that this one sees.
pub(crate) fn is_beside(pid: u32) -> bool {
    ["ns/mnt", "ns/pid"].into_iter().all(|namespace| {
        let of = |place: PathBuf| std::fs::read_link(place).ok();
        let own = of(Path::new("/proc/self").join(namespace));
        own.is_some() && of(place(pid, namespace)) == own
    })
}

/// Returns what a process finds at an absolute path; `None` when it finds nothing.
pub(crate) fn finds(pid: u32, path: &Path) -> io::Result<Option<DirId>> {
    match found(&place(pid, "root"), path) {
        Ok(id) => Ok(Some(id)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn found(root: &Path, path: &Path) -> rustix::io::Result<DirId> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    // A link there leads to a place there.
    let found = match rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        // Linux before 5.6, or a sandbox that does not know the call.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            rustix::fs::openat(&root, path.strip_prefix("/").unwrap_or(path), flags, Mode::empty())?
        }
        found => found?,
    };
    let stat = rustix::fs::fstat(&found)?;
    Ok(DirId { dev: stat.st_dev, ino: stat.st_ino })
}

/// Returns the sockets that may answer to a connection to this port of the loopback address.
pub(crate) fn listeners(port: u16) -> Vec<Listener> {
    let tables =
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|table| fs_err::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(|line| parse_listener(line, port)).collect()
}

/// The loopback address and that of all interfaces, for both families, as the kernel writes them.
const HERE: [&str; 4] =
    ["0100007F", "00000000", "00000000000000000000000000000000", "0000000000000000FFFF00000100007F"];

fn parse_listener(line: &str, port: u16) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, its_port) = fields.get(1)?.split_once(':')?;
    let listens = *fields.get(3)? == "0A" && u16::from_str_radix(its_port, 16) == Ok(port);
    let uid = fields.get(7)?.parse().ok()?;
    let inode = fields.get(9)?.parse().ok()?;
    (listens && (HERE.contains(&address) || cfg!(target_endian = "big"))).then_some(Listener { uid, inode })
}

/// Returns whether a process has one of these sockets open; also false when that cannot be seen.
pub(crate) fn holds(pid: u32, listener: &Listener) -> bool {
    let wanted = PathBuf::from(format!("socket:[{}]", listener.inode));
    let mut entries = std::fs::read_dir(place(pid, "fd")).into_iter().flatten().filter_map(Result::ok);
    entries.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == wanted))
}

/// Returns another process that has a file open; one of another user is not seen.
pub(crate) fn opened(path: &Path) -> Opener {
    let Ok(meta) = fs_err::metadata(path) else { return Opener::Nobody };
    let (own, file) = (std::process::id(), DirId { dev: meta.dev(), ino: meta.ino() });
    // Where not even this process is seen, none is.
    if all().next().is_none() {
        return Opener::Unseen;
    }
    all().find(|pid| *pid != own && has_open(*pid, file)).map_or(Opener::Nobody, Opener::By)
}

fn has_open(pid: u32, file: DirId) -> bool {
    let mut entries = std::fs::read_dir(place(pid, "fd")).into_iter().flatten().filter_map(Result::ok);
    let is_it = |meta: std::fs::Metadata| meta.dev() == file.dev && meta.ino() == file.ino;
    entries.any(|entry| std::fs::metadata(entry.path()).is_ok_and(is_it))
}

/// Returns the signals that this process was started to ignore, a bit each; none where that cannot be seen.
pub(crate) fn ignored_signals() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_a_container_has_two_ids() {
        let of = |text: &str| parse_status(text);
        let status = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nNSpid:\t4711\t7\n";
        assert_eq!(of(status), Status { uids: vec![1000, 1001, 1000, 1000], nested: true });
        assert_eq!(of("NSpid:\t4711\n"), Status { uids: Vec::new(), nested: false });
    }

    #[test]
    fn a_listener_is_known_by_its_port_and_address() {
        let line = |address: &str, state: &str| {
            format!(
                "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0"
            )
        };
        let ours = Some(Listener { uid: 1000, inode: 4242 });
        assert_eq!(parse_listener(&line("0100007F:4965", "0A"), 18789), ours);
        assert_eq!(parse_listener(&line("00000000:4965", "0A"), 18789), ours);
        assert_eq!(parse_listener(&line("00000000000000000000000000000000:4965", "0A"), 18789), ours);
        assert_eq!(parse_listener(&line("0100007F:4965", "01"), 18789), None, "a connection");
        assert_eq!(parse_listener(&line("0100007F:4966", "0A"), 18789), None, "another port");
        assert_eq!(parse_listener(&line("0101A8C0:4965", "0A"), 18789), None, "another address");
        assert_eq!(parse_listener("  sl  local_address rem_address   st", 18789), None);
    }
}
