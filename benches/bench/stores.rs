//! Stores: taking half of a large one out, and how the time grows with the number of bindings.

use std::fs::{self, File};
use std::process::Stdio;

use crate::measure::{World, files, heading, measure, mega, ratio, size};

/// 10,000 bindings of 11 kB in three stores; half of them go.
pub fn half_of_a_large_one() {
    let Some(world) = World::with_room("a large store", 1_000_000_000) else { return };
    for (what, transcripts) in [("without transcripts", false), ("with transcripts of 2 kB", true)] {
        let state = world.generate("state", &["10000", "11000", "2000", "3"]);
        if !transcripts {
            files(&state, ".jsonl")
                .iter()
                .chain(&files(&state, ".lock"))
                .for_each(|path| fs::remove_file(path).unwrap());
        }
        let stores = files(&state, "sessions.json");
        let bytes = size(&state, "sessions.json");
        let gc = ["gc", "--max-age", "5d12h"];
        let undo = || {
            assert!(world.ours(&state, &["restore", "latest"]).stdout(Stdio::null()).status().unwrap().success());
            drop(fs::remove_dir_all(state.join("claw-sessions")));
            rustix::fs::sync();
        };
        let done = world.done(&state, &gc);
        undo();
        heading(&format!("gc of {} of 10,000 bindings, {} of stores, {what}", done["expire"], mega(bytes)));
        let copy = measure(
            world
                .command("sh")
                .args(["-c", "for s in \"$@\"; do cp \"$s\" copy && sync copy && rm copy; done", "sh"])
                .args(&stores),
            9,
            &world.path(""),
            rustix::fs::sync,
        );
        copy.print("cp and fsync of the stores");
        world.run(&state, &["gc", "-n", "--max-age", "5d12h"], 9, true).print("claw-sessions gc -n");
        let gc = measure(&mut world.ours(&state, &gc), 9, &world.path(""), || {
            if state.join("claw-sessions").exists() {
                undo();
            }
        });
        gc.print("claw-sessions gc");
        ratio("its time, in copies", gc.millis / copy.millis, "3");
        ratio("its memory, in stores", gc.bytes as f64 / bytes as f64, "2.5");
        fs::remove_dir_all(state).unwrap();
    }
}

/// The time of each binding, as their number grows.
pub fn growth() {
    let Some(world) = World::with_room("growth", 2_000_000_000) else { return };
    heading("scan, as the number of bindings grows: entries of 2 kB, transcripts of 1 kB");
    let mut first = None;
    for (bindings, runs) in [("1000", 21), ("10000", 9), ("100000", 3)] {
        let state = world.generate(bindings, &[bindings, "2000", "1000", "3"]);
        for remembered in [false, true] {
            if remembered {
                std::thread::sleep(std::time::Duration::from_millis(2500));
                drop(world.ours(&state, &["scan"]).stdout(File::create(world.path("stdout")).unwrap()).status());
            }
            let args: &[&str] = if remembered { &["scan"] } else { &["scan", "--no-cache"] };
            let figures = world.run(&state, args, runs, true);
            let what = if remembered { "all remembered" } else { "every transcript read" };
            figures.print(&format!("{bindings} bindings, {what}"));
            let each = figures.millis * 1e3 / bindings.parse::<f64>().unwrap();
            println!("  {:<64} {each:>9.2} µs", "of each binding");
            if !remembered && bindings == "1000" {
                first = Some(each);
            } else if let Some(first) = first.filter(|_| !remembered && bindings == "100000") {
                ratio("times that of each of 1,000", each / first, "1.2");
            }
        }
        fs::remove_dir_all(state).unwrap();
    }
}
