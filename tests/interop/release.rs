//! An installed OpenClaw, and the programs it runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::full;
use support::{Output, Store, repository, sys};

const LOADER: &str = "node_modules/@mariozechner/pi-coding-agent/dist/core/session-manager.js";

/// The release whose format is the reference.
pub(crate) const PEER: &str = "2026.3.11";

/// One OpenClaw below `target/`, with the Node.js it runs on.
pub(crate) struct Release {
    dir: PathBuf,
    node: PathBuf,
}

impl Release {
    /// 2026.3.11, unless it is not installed.
    pub(crate) fn peer(test: &str) -> Option<Self> {
        let peer = repository("target/peer");
        if peer.join(".installed").exists() {
            return Some(Self { node: peer.join("node"), dir: peer });
        }
        sys::skip(&format!("{test}: no OpenClaw in target/peer (make peer)"));
        None
    }

    /// This release, unless it is not installed; one that is not 2026.3.11 only where everything is to be tried.
    pub(crate) fn of(test: &str, version: &str) -> Option<Self> {
        if version == PEER {
            return Self::peer(test);
        }
        if !full() {
            sys::skip(&format!("{test}: {version} only with FULL=1 (make interop)"));
            return None;
        }
        let (dir, node) = (repository("target/openclaw").join(version), repository("target/peer/node"));
        if dir.join(".installed").exists() && node.exists() {
            return Some(Self { dir, node });
        }
        sys::skip(&format!("{test}: no OpenClaw in target/openclaw/{version} (make interop)"));
        None
    }

    /// `openclaw …` on this state directory, in a clean environment, with no network but loopback.
    pub(crate) fn command(&self, store: &Store, args: &[&str]) -> Command {
        let mut command = self.script(store, &self.package().join("openclaw.mjs"));
        command.args(args);
        command
    }

    /// The same, run to its end.
    #[must_use = "check the exit status with `ok` or `code`"]
    pub(crate) fn run(&self, store: &Store, args: &[&str]) -> Output {
        Output::of(&mut self.command(store, args))
    }

    /// A program of `tests/interop/`, run as OpenClaw is.
    pub(crate) fn program(&self, store: &Store, name: &str) -> Command {
        self.script(store, &repository("tests/interop").join(name))
    }

    fn script(&self, store: &Store, script: &Path) -> Command {
        let mut command = Command::new(&self.node);
        command.env_clear().stdin(Stdio::null()).current_dir(store.root());
        let ours = store.command([""; 0]);
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // One process for each call, so that killing it kills all of it; compiled once.
        command.env("OPENCLAW_NO_RESPAWN", "1").env("OPENCLAW_PACKAGED_COMPILE_CACHE_RESPAWNED", "1");
        command.env("NODE_COMPILE_CACHE", repository("target/tmp/node"));
        command.env("NO_COLOR", "1").env("OPENCLAW_SKIP_CHANNELS", "1").env("OPENCLAW_DISABLE_BONJOUR", "1");
        command.arg("--import").arg(repository("tests/interop/loopback.mjs")).arg(script);
        command
    }

    /// The package itself.
    pub(crate) fn package(&self) -> PathBuf {
        self.dir.join("node_modules/openclaw")
    }

    /// What OpenClaw's loader says of every transcript in a directory.
    pub(crate) fn load(&self, dir: &Path) -> String {
        let output = Command::new(&self.node)
            .arg(repository("tests/interop/loader.mjs"))
            .args([&self.dir.join(LOADER), dir])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
