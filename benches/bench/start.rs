//! What stands between `systemctl start` and the gateway.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::measure::{NOW, World, calls, drop_page_cache, heading, measure, mega, ratio, size};

pub fn issue_44687() {
    let Some(world) = World::with_room("openclaw#44687", 100_000_000) else { return };
    let (state, copy) = (world.generate("ours", &["issue-44687"]), world.generate("theirs", &["issue-44687"]));
    heading(&format!("openclaw#44687: 3 agents, 66 bindings, 56 transcripts, {}", mega(size(&state, ""))));
    let version = measure(world.command(crate::measure::OURS).arg("--version"), 41, &world.path(""), || ());
    version.print("claw-sessions --version: the start of a process");
    world.run(&state, &["scan"], 41, true).print("claw-sessions scan --json, again");
    let first = world.run(&state, &["gc", "-n"], 41, false);
    first.print("claw-sessions gc -n --json, first time");
    let again = world.run(&state, &["gc", "-n"], 41, true);
    again.print("claw-sessions gc -n --json, again");

    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peer");
    if !peer.join(".installed").exists() {
        return println!("{:<66} skipped: peer not installed (make peer)", "openclaw sessions cleanup");
    }
    let mut command = world.command(peer.join("node"));
    command.arg(peer.join("node_modules/openclaw/openclaw.mjs")).env("OPENCLAW_STATE_DIR", &copy);
    command.args(["sessions", "cleanup", "--all-agents", "--dry-run", "--json"]);
    let theirs = measure(&mut command, 7, &world.path(""), || ());
    theirs.print("openclaw sessions cleanup --all-agents --dry-run --json");
    for (when, ours) in [("first time", first), ("again", again)] {
        ratio(&format!("gc -n, {when}: times faster"), theirs.millis / ours.millis, "300");
        ratio(&format!("gc -n, {when}: its memory, in parts of ours"), theirs.bytes as f64 / ours.bytes as f64, "15");
    }
}

pub fn boots() {
    boot(&["issue-44687"], "before a start, openclaw#44687", 15, 100_000_000);
    boot(&["10000", "11000", "375000", "3"], "before a start, 10,000 bindings", 3, 6_000_000_000);
}

/// When much is to be taken: with the transcripts remembered from before and without, from a cold page cache and a warm
/// one. Before each run the last one is undone.
fn boot(what: &[&str], name: &str, runs: usize, room: u64) {
    let Some(world) = World::with_room(name, room) else { return };
    let state = world.generate("state", what);
    let quietly = |args: &[&str]| world.ours(&state, args).stdout(Stdio::null()).status().unwrap();
    let boot = ["gc", "--boot", "--poison-starts=off"];
    let done = world.done(&state, &boot);
    heading(&format!("{name}, {}", mega(size(&state, ""))));
    println!("each takes {} bindings and moves {} transcripts", done["expire"], done["transcripts"]);
    for remembered in [false, true] {
        for cold in [true, false] {
            let row = format!(
                "claw-sessions gc --boot, {}, {}",
                if cold { "cold" } else { "warm" },
                if remembered { "remembered" } else { "nothing remembered" }
            );
            if cold && !drop_page_cache() {
                println!("{row:<66} skipped: /proc/sys/vm/drop_caches cannot be written");
                continue;
            }
            let undo = || {
                assert!(quietly(&["restore", "latest"]).success());
                drop(fs::remove_dir_all(state.join("claw-sessions")));
                world.forget();
                if remembered {
                    // What was touched a moment ago is not remembered.
                    std::thread::sleep(std::time::Duration::from_millis(2500));
                    quietly(&["scan"]);
                }
                if cold {
                    drop_page_cache();
                }
            };
            measure(&mut world.ours(&state, &boot), runs, &world.path(""), undo).print(&row);
        }
    }
}

/// The system calls of a scan: of a process, and what each binding adds.
pub fn calls_of_a_scan() {
    let Some(world) = World::with_room("system calls", 500_000_000) else { return };
    let (few, many) = (1000, 2000);
    let states = [few, many]
        .map(|bindings| world.generate(&format!("of-{bindings}"), &[&bindings.to_string(), "2000", "2000", "1"]));
    let command = |state: &Path, args: &[&str]| {
        let mut command = world.command(crate::measure::OURS);
        command.args(args).args(["--now", NOW, "--jobs", "1", "--state-dir"]).arg(state);
        command
    };
    println!("\nSystem calls of `scan --jobs 1`: what each binding adds, over {few} to {many} of them");
    // What was touched a moment ago is not remembered.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    for state in &states {
        assert!(command(state, &["scan"]).stdout(Stdio::null()).status().unwrap().success());
    }
    for (what, args) in [("every transcript read", &["scan", "--no-cache"][..]), ("all remembered", &["scan"])] {
        let counts = states.each_ref().map(|state| calls(&command(state, args), &world.path("trace")));
        let [Some(of_few), Some(of_many)] = counts else { return println!("skipped: no strace") };
        let of = |counts: &[(String, u64)], name: &str| {
            counts.iter().find(|(call, _)| call == name).map_or(0, |(_, count)| *count)
        };
        let each = |name: &str| (of(&of_many, name) as f64 - of(&of_few, name) as f64) / f64::from(many - few);
        let rows: Vec<String> = of_many
            .iter()
            .map(|(name, _)| (name, each(name)))
            .filter(|(_, each)| *each >= 0.05)
            .map(|(name, each)| format!("{name} {each:.1}"))
            .collect();
        println!("  {what}: {}", if rows.is_empty() { "none".to_owned() } else { rows.join(", ") });
    }
}
