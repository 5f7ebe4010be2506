//! Whether a gateway serves this state directory: its lock file, its process, its port (`openclaw-format.md` §5.4).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::environment::Environment;
use crate::disk::dir::Dir;
use crate::disk::platform::{self, Called, Listener};
use crate::disk::process;
use crate::model::inventory::Gateway;
use crate::model::lock::{self, LockPayload, LockState, ProcessState};
use crate::model::proof::{DirId, sha256};
use crate::openclaw::rows::signs;

/// The port of a gateway that names none.
const DEFAULT_PORT: u16 = 18789;

/// What a gateway of this state directory would be known by.
pub struct Known<'a> {
    /// The state directory, links resolved.
    pub state_dir: &'a Path,
    /// The configuration file, as OpenClaw resolves it.
    pub config_path: &'a Path,
    /// `gateway.port`, when configured.
    pub port: Option<u16>,
    /// The environment.
    pub environment: &'a Environment,
}

/// Looks for a live gateway.
pub fn detect(known: &Known<'_>) -> Gateway {
    let mut found = Gateway::default();
    by_lock(known, &mut found);
    let others = by_process(known, &mut found);
    found.evidence.extend(signs::of_owner(known.state_dir));
    if found.evidence.is_empty() {
        by_port(known, &others, &mut found);
    }
    found.alive = !found.evidence.is_empty();
    found
}

/// `gateway.<hash>.lock` in every temporary directory that a service may use, and since 2026.8.1 in the state directory.
fn by_lock(known: &Known<'_>, found: &mut Gateway) {
    let owner = fs_err::metadata(known.state_dir).map(|meta| meta.uid());
    let uids: BTreeSet<u32> = [Some(known.environment.uid), owner.ok()].into_iter().flatten().collect();
    let mut roots: BTreeSet<PathBuf> = ["/tmp", "/var/tmp"].map(PathBuf::from).into();
    roots.extend(known.environment.var("TMPDIR").map(PathBuf::from));
    roots.extend(platform::temporary_dirs(&uids));
    roots.insert(known.state_dir.join("tmp"));
    let hash = &sha256(known.config_path.as_os_str().as_encoded_bytes())[..8];
    for (root, uid) in roots.iter().flat_map(|root| uids.iter().map(move |uid| (root, *uid))) {
        // Whoever comes first can make that directory: it is believed when it is that user's, or root's.
        let Ok(dir) = Dir::open(&root.join(format!("openclaw-{uid}"))) else { continue };
        if !dir.own_info().is_ok_and(|info| [0, uid].contains(&info.uid)) {
            continue;
        }
        for entry in fs_err::read_dir(dir.path()).into_iter().flatten().filter_map(Result::ok) {
            let file_name = entry.file_name();
            let name = file_name.to_string_lossy();
            if !name.starts_with("gateway.") || !name.ends_with(".lock") {
                continue;
            }
            let Some((payload, state)) = read_lock(&dir, &file_name, uid) else { continue };
            let configured = payload.config_path.as_ref().and_then(|path| path.as_str()).map(Path::new);
            let ours = name == format!("gateway.{hash}.lock")
                || dir.path().starts_with(known.state_dir)
                || configured.is_some_and(|path| path == known.config_path || path.starts_with(known.state_dir));
            let Some(pid) = payload.pid.filter(|pid| ours && state.is_held() && may_serve(*pid, known)) else {
                continue;
            };
            found.evidence.push(format!("pid {pid} holds {}", dir.join(&file_name).display()));
            found.apart |= platform::status(pid).is_some_and(|status| status.nested);
        }
    }
}

fn read_lock(dir: &Dir, name: &OsStr, uid: u32) -> Option<(LockPayload, LockState)> {
    let (file, _) = dir.open_file(name).ok().filter(|(_, info)| [0, uid].contains(&info.uid))?;
    let mut bytes = Vec::new();
    file.take(lock::LONGEST).read_to_end(&mut bytes).ok()?;
    Some(process::judge(&bytes))
}

/// Returns whether a process is one of a user who can get into this state directory.
fn may_serve(pid: u32, known: &Known<'_>) -> bool {
    platform::status(pid).is_none_or(|status| platform::may_enter(&status.uids, known.state_dir, !status.nested))
}

/// Processes that call themselves a gateway and serve this state directory, or may do so. Returns those that are known to
/// serve another one.
fn by_process(known: &Known<'_>, found: &mut Gateway) -> Vec<u32> {
    let ours = file_id(known.state_dir);
    let mut others = Vec::new();
    for pid in gateways() {
        let Some(status) = platform::status(pid) else { continue };
        let place = if status.nested { " in a container" } else { "" };
        let more = match serves(pid, Some(known.config_path)) {
            Serves::Unknown if platform::may_enter(&status.uids, known.state_dir, !status.nested) => {
                ", and which state directory it serves cannot be read"
            }
            Serves::Any => "",
            Serves::One(dirs) if ours.is_some_and(|ours| dirs.contains(&ours)) => "",
            Serves::One(dirs) if !dirs.is_empty() && platform::is_beside(pid) => {
                others.push(pid);
                continue;
            }
            Serves::Unknown | Serves::One(_) => continue,
        };
        found.evidence.push(format!("pid {pid} is an OpenClaw gateway{place}{more}"));
        found.apart |= status.nested;
    }
    others
}

/// The processes in sight that call themselves a gateway.
fn gateways() -> impl Iterator<Item = u32> {
    let called = platform::named(may_be_gateway).filter(|process| is_gateway(&process.cmdline));
    called.map(|Called { pid, .. }| pid).filter(|pid| process::state(*pid) != ProcessState::Gone)
}

/// Whether a gateway in a container may have a lock below this directory: by its process id there, which nobody knows
/// here, its lock looks as if its owner were gone.
pub(crate) fn is_apart(dir: &Path) -> bool {
    let above: Vec<DirId> = dir.ancestors().filter_map(file_id).collect();
    gateways().any(|pid| {
        let Some(status) = platform::status(pid).filter(|status| status.nested) else { return false };
        match serves(pid, None) {
            Serves::Unknown => platform::may_enter(&status.uids, dir, false),
            Serves::Any => true,
            Serves::One(dirs) => dirs.iter().any(|id| above.contains(id)),
        }
    })
}

fn file_id(path: &Path) -> Option<DirId> {
    let meta = fs_err::metadata(path).ok()?;
    Some(DirId { dev: meta.dev(), ino: meta.ino() })
}

/// Whether a process of this name may be a gateway: its own name, or that of a JavaScript runtime's main thread.
fn may_be_gateway(name: &[u8]) -> bool {
    let name = name.trim_ascii_end();
    name.starts_with(b"openclaw") || [&b"node"[..], b"nodejs", b"MainThread", b"bun", b"deno"].contains(&name)
}

/// `openclaw-gateway`, padded with spaces, as a gateway renames itself; or `node …/openclaw… gateway`.
fn is_gateway(cmdline: &[u8]) -> bool {
    let words: Vec<String> = cmdline
        .split(|&byte| byte == 0 || byte == b' ')
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let Some(first) = words.first() else { return false };
    if first == "openclaw-gateway" || first.ends_with("/openclaw-gateway") {
        return true;
    }
    let program = words.iter().take(3).any(|word| {
        word == "openclaw"
            || word.ends_with("/openclaw")
            || word.ends_with("/openclaw.mjs")
            || word.contains("/openclaw/dist/")
    });
    program && words.iter().skip(1).any(|word| word == "gateway")
}

/// Which state directory a process serves.
enum Serves {
    /// That cannot be read.
    Unknown,
    /// It says nothing, so it may be any.
    Any,
    /// One of these; none, when what it names is not there.
    One(Vec<DirId>),
}

/// The environment of a process; `None` when it cannot be read.
fn variables(pid: u32) -> Option<Environment> {
    let environ = platform::environ(pid).ok()?;
    let pairs = environ.split(|&byte| byte == 0).filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let cwd = platform::cwd(pid).unwrap_or_else(|| "/".into());
    Some(Environment { vars: pairs.collect(), cwd, uid: 0, os_home: None })
}

/// What the environment of a process says of it; one with the configuration file `config` may serve any state directory.
fn serves(pid: u32, config: Option<&Path>) -> Serves {
    let Some(vars) = variables(pid) else { return Serves::Unknown };
    let one_of = |paths: Vec<PathBuf>| {
        let found: io::Result<Vec<_>> = paths.iter().map(|path| platform::finds(pid, path)).collect();
        found.map_or(Serves::Unknown, |found| Serves::One(found.into_iter().flatten().collect()))
    };
    if let Some(dir) = vars.var("OPENCLAW_STATE_DIR").or_else(|| vars.var("CLAWDBOT_STATE_DIR")) {
        return one_of(vec![vars.resolve(dir)]);
    }
    if let (Some(ours), Some(path)) = (config, vars.var("OPENCLAW_CONFIG_PATH")) {
        let path = vars.resolve(path);
        let same_file =
            file_id(ours).is_some_and(|id| platform::finds(pid, &path).is_ok_and(|found| found == Some(id)));
        if same_file || (path == ours && platform::is_beside(pid)) {
            return Serves::Any;
        }
    }
    if vars.var("OPENCLAW_HOME").or_else(|| vars.var("HOME")).is_none() {
        return Serves::Any;
    }
    let home = vars.home_dir();
    let mut names: Vec<String> = [".openclaw", ".clawdbot", ".moldbot", ".moltbot"].map(str::to_owned).into();
    names.extend(vars.var("OPENCLAW_PROFILE").map(|profile| format!(".openclaw-{profile}")));
    one_of(names.into_iter().map(|name| home.join(name)).collect())
}

/// Something answers on the gateway's port, and it is not known to be somebody else: a gateway in another container, say.
fn by_port(known: &Known<'_>, others: &[u32], found: &mut Gateway) {
    let named = known.environment.var("OPENCLAW_GATEWAY_PORT").and_then(|port| port.parse().ok());
    let port = named.or(known.port).unwrap_or(DEFAULT_PORT);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        return;
    }
    let listeners = platform::listeners(port);
    let is_others = |listener: &Listener| {
        others.iter().any(|pid| platform::holds(*pid, listener))
            || !platform::may_enter(&[listener.uid], known.state_dir, false)
    };
    if !listeners.is_empty() && listeners.iter().all(is_others) {
        return;
    }
    found.evidence.push(format!("port {port} answers on this host"));
    // What listens is out of sight, or in a container: there it knows no process of here.
    let is_here = |pid: u32| platform::status(pid).is_some_and(|status| !status.nested);
    let is_held_here = |listener: &Listener| platform::all().any(|pid| platform::holds(pid, listener) && is_here(pid));
    found.apart = listeners.is_empty() || !listeners.iter().all(is_held_here);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_known_by_its_command_line() {
        assert!(is_gateway(b"openclaw-gateway                 \0"));
        assert!(is_gateway(b"node\0/usr/lib/node_modules/openclaw/openclaw.mjs\0gateway\0run\0"));
        assert!(is_gateway(b"/usr/bin/node\0/usr/lib/node_modules/openclaw/dist/index.js\0gateway\0--port\x001\0"));
        assert!(!is_gateway(b"vim\0openclaw-gateway.service\0"));
        assert!(!is_gateway(b"openclaw\0sessions\0cleanup\0"));
        assert!(!is_gateway(b""));
    }
}
