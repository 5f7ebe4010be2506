//! What a test needs of the system: an ordinary user, `strace`. Where it is absent, the test says so and ends.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use walkdir::WalkDir;

use crate::Store;

/// `nobody`.
pub const NOBODY: u32 = 65_534;

/// Whether the tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Whether a program can be started and says its version.
pub fn has(program: &str) -> bool {
    let probe = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// Says that a test was skipped, and why.
#[allow(clippy::print_stderr, reason = "for the reader of the test's output")]
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Gives everything below `path` to a user, links themselves and not what they lead to.
pub fn give(path: &Path, uid: u32) {
    for entry in WalkDir::new(path).into_iter().map(Result::unwrap) {
        lchown(entry.path(), Some(uid), Some(uid)).unwrap();
    }
}

/// Writes a program for `sh`, with the directory that holds it.
///
/// A process of its own writes it: a child that another test starts here meanwhile would inherit a file open for writing,
/// and a file that somebody may write cannot be run.
pub fn script(path: &Path, line: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#;
    assert!(Command::new("sh").args(["-c", write]).arg(path).arg(line).status().unwrap().success());
}

impl Store {
    /// The binary on this state directory, run by a user for whom permissions count; `None` when that cannot be had. Where
    /// that can be had too, it sees no process of anybody else: what a gateway of another test serves this user cannot read.
    pub fn ordinary<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Option<Command> {
        const ALONE: [&str; 3] = ["--pid", "--fork", "--mount-proc"];
        static CAN: OnceLock<bool> = OnceLock::new();
        let direct = self.ordinary_among_all(args)?;
        let can = || Command::new("unshare").args(ALONE).arg("true").output().is_ok_and(|can| can.status.success());
        if !is_root() || !CAN.get_or_init(can) {
            return Some(direct);
        }
        let mut command = Command::new("unshare");
        command.args(ALONE).arg(direct.get_program()).args(direct.get_args()).env_clear();
        command.current_dir(self.root()).stdin(Stdio::null());
        for (name, value) in direct.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        Some(command)
    }

    /// The same, and it sees every process.
    pub fn ordinary_among_all<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Option<Command> {
        let mut args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        args.extend(["--state-dir".into(), self.state_dir().into()]);
        let direct = self.command(args);
        if !is_root() {
            return Some(direct);
        }
        if !has("setpriv") {
            return None;
        }
        // The build directory may be closed to that user.
        let binary = self.root().join("claw-sessions");
        if !binary.exists() {
            // Copied by a process of its own, as in `script`.
            let install = Command::new("install").args(["-m", "755"]).arg(crate::binary()).arg(&binary).status();
            assert!(install.unwrap().success());
            fs::set_permissions(self.root(), Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"])
            .arg(&binary)
            .args(direct.get_args())
            .env_clear()
            .current_dir(self.root())
            .stdin(Stdio::null());
        for (name, value) in direct.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        Some(command)
    }

    /// Takes every right to write from the state directory and what is in it; everybody may read.
    pub fn make_read_only(&self) {
        for entry in WalkDir::new(self.home()).contents_first(true).into_iter().map(Result::unwrap) {
            let mode = if entry.file_type().is_dir() { 0o555 } else { 0o444 };
            if !entry.file_type().is_symlink() {
                fs::set_permissions(entry.path(), Permissions::from_mode(mode)).unwrap();
            }
        }
    }

    /// Undoes [`make_read_only`](Self::make_read_only), so that the temporary directory can be removed.
    pub fn make_writable(&self) {
        for entry in WalkDir::new(self.home()).into_iter().map(Result::unwrap) {
            if entry.file_type().is_dir() {
                fs::set_permissions(entry.path(), Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
}
