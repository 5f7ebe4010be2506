//! A disk with no room, no inode or no right to write, and writes that come out short: what could be done is done, the
//! rest is told, and once there is room the next run puts all right.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::errors::assert_told;
use crate::promise::{assert_each_once, assert_old_new_or_between, assert_put_right, assert_same, restore_all, tree};
use crate::scenario::{self, Reference, Scenario};
use crate::{full, ledger};
use support::{Output, Store, sys};

const PART: &str = "full disk";
const PAGE: u64 = 4096;
/// What the disk has at first.
const ROOMY: &str = "size=4m,nr_inodes=4096";
/// More than any command takes beside what it leaves: the new stores, and two manifests.
const SLACK: u64 = 16;

/// What the disk still has.
#[derive(Debug)]
enum Left {
    Pages(u64),
    Inodes(u64),
    /// Everything, but not for writing: the file system, or only this mount of it.
    ReadOnly(MountFlags),
}

#[test]
fn a_disk_without_room_loses_nothing_and_room_puts_all_right() {
    let Some(inside) = in_a_namespace("full_disk::a_disk_without_room_loses_nothing_and_room_puts_all_right") else {
        return ledger::skip(PART, "all", "this user cannot mount, not even in a namespace");
    };
    if !inside {
        return;
    }
    scenario::each(|scenario| {
        let reference = scenario.reference("write");
        let disk = Disk::with(scenario);
        let [pages, inodes] = disk.used();
        drop(disk.store.run(scenario.args));
        let [pages, inodes] = [disk.used()[0].saturating_sub(pages), disk.used()[1].saturating_sub(inodes)];
        let step = |all: u64| if full() { 1 } else { all.div_ceil(2) as usize };
        let faults: Vec<Left> = (0..pages + SLACK)
            .step_by(step(pages + SLACK))
            .map(Left::Pages)
            .chain((0..inodes + SLACK / 2).step_by(step(inodes + SLACK / 2)).map(Left::Inodes))
            .chain([MountFlags::empty(), MountFlags::BIND].into_iter().skip(usize::from(!full())).map(Left::ReadOnly))
            .collect();
        drop(disk);
        ledger::each(PART, scenario.name, &faults, |left| meets(scenario, &reference, left));
    });
}

fn meets(scenario: &Scenario, reference: &Reference, left: &Left) {
    let at = format!("{}: {left:?}", scenario.name);
    let disk = Disk::with(scenario);
    let [pages, inodes] = disk.used();
    match *left {
        Left::Pages(left) => disk.remount(MountFlags::empty(), &format!("size={}", (pages + left) * PAGE)),
        Left::Inodes(left) => disk.remount(MountFlags::empty(), &format!("nr_inodes={}", inodes + left)),
        Left::ReadOnly(how) => disk.remount(how | MountFlags::RDONLY, ""),
    }
    let output = disk.store.run(scenario.args);
    let now = tree(&disk.store);
    match *left {
        Left::ReadOnly(how) => disk.remount(how, ""),
        _ => disk.remount(MountFlags::empty(), ROOMY),
    }
    assert_old_new_or_between(reference, &now, &at);
    assert_each_once(scenario, reference, &now, &at);
    assert_told(scenario, reference, &now, &output, &at);
    assert_put_right(scenario, reference, &disk.store, &at);
}

/// A state directory that is a small file system of its own.
struct Disk {
    store: Store,
}

impl Disk {
    fn with(scenario: &Scenario) -> Self {
        let store = Store::empty_in_memory();
        let mode = fs::metadata(store.state_dir()).unwrap().permissions().mode() & 0o7777;
        let data = CString::new(format!("{ROOMY},mode={mode:o}")).unwrap();
        mount("none", store.state_dir(), "tmpfs", MountFlags::empty(), data.as_c_str()).unwrap();
        Self { store: scenario.prepare_in(store) }
    }

    // Not with mount(8): it repeats the owner, and a namespace knows no other than its root.
    fn remount(&self, flags: MountFlags, data: &str) {
        for _ in 0..100 {
            match mount_remount(self.store.state_dir(), flags, data) {
                Ok(()) => return,
                // A child that another test starts right now has what we wrote open until it is another program.
                Err(rustix::io::Errno::BUSY) => sleep(Duration::from_millis(10)),
                Err(error) => panic!("{flags:?} {data}: {error}"),
            }
        }
        panic!("{flags:?} {data}: busy");
    }

    /// Pages and inodes.
    fn used(&self) -> [u64; 2] {
        let of = rustix::fs::statvfs(self.store.state_dir()).unwrap();
        [of.f_blocks - of.f_bfree, of.f_files - of.f_ffree]
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(self.store.state_dir(), UnmountFlags::DETACH);
    }
}

/// Gives this test once more, in a mount namespace of its own. True there, false when it was tried there; `None` when
/// this user can have none.
fn in_a_namespace(test: &str) -> Option<bool> {
    if std::env::var_os("NAMESPACE").is_some() {
        return Some(true);
    }
    let namespaces = if sys::is_root() { "-m" } else { "-rm" };
    let can = Command::new("unshare").args([namespaces, "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !can.is_ok_and(|can| can.status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.arg(namespaces).arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    // In a namespace everybody is root.
    command.env("NAMESPACE", "1").env("WHO", if sys::is_root() { "root" } else { "user" });
    let output = command.output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
    Some(false)
}

/// In place of libc's `write`: every third call fails with EINTR, the others write at most seven bytes. At the end it
/// says how often it did.
const SHIM: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static _Atomic long calls, cut;
ssize_t write(int fd, const void *from, size_t size) {
    if (++calls % 3 == 0) { errno = EINTR; return -1; }
    if (size > 7) { size = 7; ++cut; }
    return syscall(SYS_write, fd, from, size);
}
__attribute__((destructor)) static void tell(void) {
    FILE *file = fopen(getenv("SHIM_LOG"), "w");
    if (file) { fprintf(file, "%ld", cut); fclose(file); }
}
"#;

#[test]
fn short_and_interrupted_writes_are_gone_on_with() {
    if !sys::has("cc") {
        return ledger::skip(PART, "short and interrupted writes", "no cc");
    }
    let place = Store::empty();
    let [source, shim] = ["shim.c", "shim.so"].map(|name| place.root().join(name));
    fs::write(&source, SHIM).unwrap();
    fs::set_permissions(place.root(), Permissions::from_mode(0o755)).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    scenario::each(|scenario| {
        let reference = scenario.reference("write");
        ledger::each(PART, &format!("{}, short and interrupted writes", scenario.name), &[()], |()| {
            let store = scenario.prepare();
            let log = store.root().join("cut");
            let env = [("LD_PRELOAD", shim.to_str().unwrap()), ("SHIM_LOG", log.to_str().unwrap())];
            let output: Output = store.run_env(scenario.args, &env);
            assert!(matches!(output.code, Some(0 | 1)), "{}: {output}", scenario.name);
            let cut: u32 = fs::read_to_string(&log).unwrap_or_default().parse().unwrap_or(0);
            // To forget a run takes no writing.
            assert!(cut > 20 || scenario.name == "prune", "{}: only {cut} writes came out short", scenario.name);
            assert_same(&reference.last, &tree(&store), scenario.name);
            drop(store.run(scenario.args));
            restore_all(&store, scenario.name);
            assert_same(&reference.restored, &tree(&store), scenario.name);
        });
    });
}
