//! Whether a gateway serves this state directory: its lock file, its process, its port (`openclaw-format.md` §5.4).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::environment::Environment;
use crate::disk::process;
use crate::model::inventory::Gateway;
use crate::model::proof::sha256;

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
    let mut evidence = Vec::new();
    by_lock(known, &mut evidence);
    let processes = by_process(known, &mut evidence);
    if evidence.is_empty() && !processes {
        by_port(known, &mut evidence);
    }
    Gateway { alive: !evidence.is_empty(), evidence }
}

/// `gateway.<hash>.lock` in every temporary directory that a service may use, and since 2026.8.1 in the state directory.
fn by_lock(known: &Known<'_>, evidence: &mut Vec<String>) {
    let owner = fs_err::metadata(known.state_dir).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta));
    let uids: BTreeSet<u32> = [Some(known.environment.uid), owner.ok()].into_iter().flatten().collect();
    let mut roots: BTreeSet<PathBuf> = ["/tmp", "/var/tmp"].map(PathBuf::from).into();
    roots.extend(known.environment.var("TMPDIR").map(PathBuf::from));
    roots.insert(known.state_dir.join("tmp"));
    let hash = &sha256(known.config_path.as_os_str().as_encoded_bytes())[..8];
    for dir in roots.iter().flat_map(|root| uids.iter().map(move |uid| root.join(format!("openclaw-{uid}")))) {
        let Ok(entries) = fs_err::read_dir(&dir) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with("gateway.") || !name.ends_with(".lock") {
                continue;
            }
            // Asked before opening: to open a pipe would wait for its writer.
            if !path.is_file() {
                continue;
            }
            let Ok(bytes) = fs_err::read(&path) else { continue };
            let (payload, state) = process::judge(&bytes);
            let configured = payload.config_path.as_ref().and_then(|path| path.as_str()).map(Path::new);
            let ours = name == format!("gateway.{hash}.lock")
                || dir.starts_with(known.state_dir)
                || configured.is_some_and(|path| path == known.config_path || path.starts_with(known.state_dir));
            if ours && state.is_held() && payload.pid.is_some() {
                let pid = payload.pid.unwrap_or_default();
                evidence.push(format!("pid {pid} holds {}", path.display()));
            }
        }
    }
}

/// A process that calls itself a gateway and serves this state directory, or may do so. Returns whether there are
/// gateways at all.
fn by_process(known: &Known<'_>, evidence: &mut Vec<String>) -> bool {
    let Ok(entries) = fs_err::read_dir("/proc") else { return false };
    let mut found = false;
    for entry in entries.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let dir = entry.path();
        if !beginning(&dir.join("comm")).is_some_and(|name| may_be_gateway(&name)) {
            continue;
        }
        let Some(cmdline) = beginning(&dir.join("cmdline")) else { continue };
        if !is_gateway(&cmdline) || process::state(pid) == crate::model::lock::ProcessState::Gone {
            continue;
        }
        found = true;
        match fs_err::read(dir.join("environ")) {
            Ok(environ) if !may_serve(&environ, known) => {}
            Ok(_) => evidence.push(format!("pid {pid} is an OpenClaw gateway")),
            Err(_) => evidence
                .push(format!("pid {pid} is an OpenClaw gateway, and which state directory it serves cannot be read")),
        }
    }
    found
}

/// The beginning of a file of `/proc`, in one read: a host has hundreds of processes, and this runs before each start.
fn beginning(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = std::fs::File::open(path).ok()?.read(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Whether a process of this name may be a gateway: its own name, or that of a JavaScript runtime's main thread. The
/// name is much cheaper to ask for than the command line.
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

/// Whether a process with this environment serves our state directory.
fn may_serve(environ: &[u8], known: &Known<'_>) -> bool {
    let var = |name: &str| {
        environ.split(|&byte| byte == 0).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            (!value.is_empty()).then(|| PathBuf::from(String::from_utf8_lossy(value).into_owned()))
        })
    };
    let same = |path: &Path| fs_err::canonicalize(path).is_ok_and(|real| real == known.state_dir);
    if let Some(dir) = var("OPENCLAW_STATE_DIR").or_else(|| var("CLAWDBOT_STATE_DIR")) {
        return same(&dir);
    }
    if var("OPENCLAW_CONFIG_PATH").is_some_and(|path| path == known.config_path) {
        return true;
    }
    let Some(home) = var("OPENCLAW_HOME").or_else(|| var("HOME")) else { return true };
    let mut names: Vec<OsString> = [".openclaw", ".clawdbot", ".moldbot", ".moltbot"].map(OsString::from).into();
    if let Some(profile) = var("OPENCLAW_PROFILE") {
        let mut name = OsString::from(".openclaw-");
        name.push(profile);
        names.push(name);
    }
    names.iter().any(|name| same(&home.join(name)))
}

/// Something answers on the gateway's port. Counts only when no gateway process is in sight: in another container, say.
fn by_port(known: &Known<'_>, evidence: &mut Vec<String>) {
    let named = known.environment.var("OPENCLAW_GATEWAY_PORT").and_then(|port| port.parse().ok());
    let port = named.or(known.port).unwrap_or(DEFAULT_PORT);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
        evidence.push(format!("port {port} answers on this host"));
    }
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
