//! Processes that are really alive, for locks.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};

use crate::{Store, openclaw, sys};

/// A process that lives until it is dropped.
pub struct LiveProcess(Child);

impl LiveProcess {
    /// Starts a process that only sleeps.
    pub fn spawn() -> Self {
        let quiet = || Stdio::null();
        Self(Command::new("sleep").arg("600").stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().unwrap())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// When it started, in clock ticks since boot: what OpenClaw writes into its locks.
    pub fn starttime(&self) -> u64 {
        starttime(self.pid())
    }

    /// The content of a lock that this process holds.
    pub fn lock(&self) -> String {
        lock_payload(self.pid(), self.starttime())
    }
}

impl Drop for LiveProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Store {
    /// Writes the lock of a gateway that serves this state directory.
    pub fn gateway_lock(&self, pid: u32, start_time: u64) -> PathBuf {
        let config = self.path("openclaw.json");
        let hash = Sha256::digest(config.as_os_str().as_encoded_bytes());
        let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let uid = fs::metadata("/proc/self").unwrap().uid();
        let path = self.root().join(format!("tmp/openclaw-{uid}/gateway.{hash:08x}.lock"));
        let payload = serde_json::json!({
            "pid": pid, "createdAt": "2026-11-22T21:47:00.000Z", "configPath": config, "startTime": start_time
        });
        openclaw::write(&path, payload.to_string().as_bytes(), 0o644, 1_795_384_740_000);
        path
    }
}

/// Field 22 of `/proc/<pid>/stat`. The second field may hold spaces and parentheses, so we count from its end.
pub fn starttime(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().nth(19).unwrap().parse().unwrap()
}

/// The content of a lock, taken just before the recorded conversations end.
pub fn lock_payload(pid: u32, starttime: u64) -> String {
    openclaw::lock_payload(pid, starttime, 1_795_384_740_000)
}

/// Where a process lives that calls itself a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside the test.
    Here,
    /// Beside the test, as another user.
    Of(u32),
    /// In mount and process namespaces of its own, as in a container.
    Container,
    /// The same, with the state directory at `/home/node/.openclaw`.
    ContainerWithState,
}

/// A process that calls itself a gateway and lives until it is dropped.
pub struct FakeGateway {
    child: Child,
    pid: u32,
}

/// What a container mounts before its gateway starts.
const IN_CONTAINER: &str = r#"
set -e
mount -t tmpfs none /home
if [ -n "$STATE" ]; then
  mkdir -p /home/node/.openclaw
  mount --bind "$STATE" /home/node/.openclaw
fi
unset STATE
exec "$@"
"#;

impl FakeGateway {
    /// Starts one with this environment, and with `listener` as its own; `None` where this user cannot.
    pub fn spawn(
        store: &Store,
        place: Place,
        environment: &[(&str, &Path)],
        listener: Option<TcpListener>,
    ) -> Option<Self> {
        let program = store.root().join("openclaw-gateway");
        // Copied by a process of its own, as in `sys::script`.
        let install = Command::new("install").args(["-m", "755", "/bin/sleep"]).arg(&program).status();
        assert!(install.unwrap().success());
        let uid = if let Place::Of(uid) = place { uid } else { sys::NOBODY };
        let mut words: Vec<OsString> = Vec::new();
        if matches!(place, Place::Container | Place::ContainerWithState) {
            let namespaces = ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", IN_CONTAINER, "sh"];
            let user = if sys::is_root() { None } else { Some("--map-root-user") };
            words.extend(["unshare"].into_iter().chain(user).chain(namespaces).map(OsString::from));
        }
        if sys::is_root() && sys::has("setpriv") {
            // Whose gateway is root's cannot be read by the ordinary users of tests that run meanwhile.
            fs::set_permissions(store.root(), fs::Permissions::from_mode(0o755)).unwrap();
            let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
            words.extend(["setpriv".into(), "--clear-groups".into()].into_iter().chain(ids.map(OsString::from)));
        }
        words.extend([program.clone().into_os_string(), "600".into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let state = if place == Place::ContainerWithState { store.state_dir() } else { PathBuf::new() };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("STATE", state);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        command.stdin(listener.map_or_else(Stdio::null, |listener| OwnedFd::from(listener).into()));
        let mut child = command.spawn().ok()?;
        let expected = [program.as_os_str().as_encoded_bytes(), b"\x00600\0"].concat();
        for _ in 0..500 {
            let found = fs::read_dir("/proc")
                .unwrap()
                .filter_map(Result::ok)
                .find(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|cmdline| cmdline == expected));
            if let Some(pid) = found.and_then(|entry| entry.file_name().to_str()?.parse().ok()) {
                return Some(Self { child, pid });
            }
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("no gateway came up");
    }

    /// Its process id, as seen from here.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        // In a container it is a grandchild, and its end is the end of all there.
        if let Some(pid) = Pid::from_raw(self.pid.cast_signed()) {
            let _ = kill_process(pid, Signal::KILL);
        }
        drop(self.child.wait());
    }
}
