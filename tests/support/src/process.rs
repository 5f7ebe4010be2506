//! Processes that are really alive, for locks.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::{Store, openclaw};

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
