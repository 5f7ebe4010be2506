//! Owners and modes: root leaves a user's state directory to that user, no umask widens or narrows anything, and what
//! belongs to somebody else stops nothing but itself.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use walkdir::WalkDir;

use crate::{full, ledger, promise, scenario};
use support::{NOW, Output, Store, StoreBuilder, sys};

const PART: &str = "permissions";

/// A group that is nobody's first.
const GROUP: u32 = 100;

/// The command under this umask.
fn under(umask: &str, store: &Store, args: &[&str]) -> Output {
    Output::of(&mut store.under("sh", ["-c", &format!("umask {umask}; exec \"$@\""), "sh"], args))
}

fn is_archived(path: &Path) -> bool {
    path.starts_with("claw-sessions") && path.iter().any(|part| part == "files")
}

#[test]
fn owner_and_modes_stay_whoever_runs_it_under_any_umask() {
    let mut faults = vec![("022", 0o640), ("000", 0o600), ("077", 0o644)];
    if full() {
        faults.extend([("000", 0o640), ("000", 0o700), ("077", 0o600), ("077", 0o700), ("027", 0o644)]);
    }
    scenario::each(|scenario| {
        ledger::each(PART, scenario.name, &faults, |&(umask, mode)| {
            let told = format!("{} under {umask}, files {mode:o}", scenario.name);
            let store = scenario.prepare();
            for path in store.tree().0.iter().filter(|(_, node)| node.kind == "file").map(|(path, _)| path) {
                if path.starts_with("agents") || is_archived(path) {
                    store.set_mode(path, mode);
                }
            }
            if sys::is_root() {
                sys::give(&store.state_dir(), sys::NOBODY);
            }
            let owner = fs::metadata(store.state_dir()).unwrap();
            let check = |when: &str| {
                for (path, node) in &store.tree().0 {
                    let told = format!("{told}, {when}: {}", path.display());
                    assert_eq!((node.uid, node.gid), (owner.uid(), owner.gid()), "{told}");
                    let ours = path.starts_with("claw-sessions");
                    match node.kind {
                        "dir" if ours => assert_eq!(node.mode, 0o700, "{told}"),
                        "file" if is_archived(path) => {
                            assert_eq!(node.mode & !mode, 0, "{told}: {:o} is wider than {mode:o}", node.mode);
                        }
                        "file" if ours => assert_eq!(node.mode, 0o600, "{told}"),
                        "file" if path.starts_with("agents") => assert_eq!(node.mode, mode, "{told}"),
                        _ => {}
                    }
                }
            };
            let output = under(umask, &store, scenario.args);
            assert!(matches!(output.code, Some(0 | 1)), "{told}: {output}");
            check("after it");
            promise::restore_all(&store, &told);
            check("after a restore");
        });
    });
}

/// Two agents with something stale each.
fn stale() -> Store {
    StoreBuilder::new()
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .agent("main")
        .binding("agent:main:telegram:direct:1", |one| one.idle("9d").session_id("one"))
        .binding("agent:main:telegram:direct:2", |one| one.idle("9d").session_id("two"))
        .binding("agent:main:telegram:direct:3", |one| one.session_id("three"))
        .agent("desk")
        .binding("agent:desk:telegram:direct:1", |one| one.idle("9d").session_id("four"))
        .build_in_memory()
}

#[test]
fn a_store_keeps_its_group_in_a_directory_that_gives_its_own() {
    if !sys::is_root() {
        return ledger::skip(PART, "setgid directories", "only root can give a directory to another group");
    }
    ledger::each(PART, "setgid directories", &["022", "000", "077"], |umask| {
        let store = stale();
        sys::give(&store.home(), sys::NOBODY);
        for entry in WalkDir::new(store.state_dir()).into_iter().map(Result::unwrap) {
            if entry.file_type().is_dir() {
                chown(entry.path(), None, Some(GROUP)).unwrap();
                store.set_mode(entry.path(), 0o2770);
            }
        }
        let before = store.tree();
        let output = under(umask, &store, &["gc", "--now", NOW]).ok();
        for (path, node) in &store.tree().0 {
            assert_eq!(node.uid, sys::NOBODY, "{umask}: {}\n{output}", path.display());
            if let Some(old) = before.0.get(path) {
                assert_eq!((node.gid, node.mode), (old.gid, old.mode), "{umask}: {}", path.display());
            }
            if path.starts_with("claw-sessions") && node.kind == "dir" {
                assert_eq!(node.mode & 0o777, 0o700, "{umask}: {}", path.display());
            }
        }
        store.restore_latest().ok();
        promise::assert_same(&before, &store.tree(), umask);
    });
}

#[test]
fn what_is_somebody_elses_stays_and_stops_nothing_else() {
    const SESSIONS: &str = "agents/main/sessions";
    if !sys::is_root() || !sys::has("setpriv") {
        return ledger::skip(PART, "files of another user", "only root, with setpriv, can make them");
    }
    let at = |name: &str| format!("{SESSIONS}/{name}");
    // What is given to whom with which mode, and how gc ends. Nothing can be moved into the last two.
    let faults = [
        (at("two.jsonl"), 0, 0o600, 3),
        (at("two.jsonl"), 0, 0o000, 3),
        (at("two.jsonl"), sys::NOBODY, 0o000, 3),
        (at("sessions.json"), 0, 0o600, 4),
        (at("sessions.json"), sys::NOBODY, 0o000, 4),
        (SESSIONS.to_owned(), 0, 0o700, 4),
        (SESSIONS.to_owned(), sys::NOBODY, 0o000, 4),
        ("agents/main".to_owned(), 0, 0o700, 4),
        ("claw-sessions".to_owned(), 0, 0o1755, 3),
        ("claw-sessions".to_owned(), sys::NOBODY, 0o500, 3),
    ];
    ledger::each(PART, "files of another user", &faults, |(path, owner, mode, code)| {
        let told = format!("{path} of {owner} with {mode:o}");
        let store = stale();
        fs::create_dir(store.path("claw-sessions")).unwrap();
        sys::give(&store.home(), sys::NOBODY);
        sys::give(&store.root().join("cache"), sys::NOBODY);
        chown(store.path(path), Some(*owner), Some(*owner)).unwrap();
        store.set_mode(path, *mode);
        let before = store.tree();
        let mut command = store.ordinary(["gc", "--now", NOW]).unwrap();
        let output = Output::of(&mut command);
        assert_eq!(output.code, Some(*code), "{told}\n{output}");
        let said = format!("{}{}", output.stdout, output.stderr);
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name), "{told}: not named\n{output}");
        let now = store.tree();
        let archive = path == "claw-sessions";
        for (other, old) in before.0.iter().filter(|(other, _)| other.starts_with(path)) {
            let is = now.0.get(other).unwrap_or_else(|| panic!("{told}: {} is gone", other.display()));
            assert_eq!((is.ino, is.uid, is.mode, &is.bytes), (old.ino, old.uid, old.mode, &old.bytes), "{told}");
        }
        assert_eq!(store.exists("agents/desk/sessions/four.jsonl"), archive, "{told}: the other agent\n{output}");
        let one_stays = *code == 4 || archive;
        assert_eq!(store.exists(at("one.jsonl")), one_stays, "{told}: the other transcript\n{output}");
        assert!(!archive || before.contents().diff(&now.contents()).is_empty(), "{told}: no archive, no change");
    });
}

#[test]
fn what_is_somebody_elses_in_a_sticky_directory_stays() {
    const SESSIONS: &str = "agents/main/sessions";
    let what = "files of another user in a sticky directory";
    if !sys::is_root() || !sys::has("setpriv") {
        return ledger::skip(PART, what, "only root, with setpriv, can make them");
    }
    // A transcript can be read but not moved; a store can be read but not replaced.
    for name in ["two.jsonl", "sessions.json"] {
        ledger::each(PART, what, &[name], |name| {
            let store = stale();
            sys::give(&store.home(), sys::NOBODY);
            sys::give(&store.root().join("cache"), sys::NOBODY);
            for (path, mode) in [(SESSIONS.to_owned(), 0o1777), (format!("{SESSIONS}/{name}"), 0o644)] {
                chown(store.path(&path), Some(0), Some(0)).unwrap();
                store.set_mode(path, mode);
            }
            let before = store.tree();
            let output = Output::of(&mut store.ordinary(["gc", "--now", NOW]).unwrap());
            assert_eq!(output.code, Some(3), "{name}: {output}");
            assert!(format!("{}{}", output.stdout, output.stderr).contains(name), "{name}: not named\n{output}");
            let now = store.tree();
            let path = Path::new(SESSIONS).join(name);
            assert_eq!(now.0[&path].ino, before.0[&path].ino, "{name}");
            assert!(!store.exists("agents/desk/sessions/four.jsonl"), "{name}: the other agent\n{output}");
            let one_stays = *name == "sessions.json";
            assert_eq!(store.exists(format!("{SESSIONS}/one.jsonl")), one_stays, "{name}: {output}");
            assert!(!now.0.keys().any(|path| path.to_string_lossy().ends_with(".tmp")), "{name}");
        });
    }
}
