//! Transcripts: how fast they are checked, in how much memory, and what is not read again.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Figures, World, drop_page_cache, files, find, heading, measure, mega, ratio, size, under};

const GIGA: u64 = 1_000_000_000;

/// A peer that reads every byte of the transcripts.
fn peer(world: &World, program: &Path, args: &[&str], transcripts: &[PathBuf], runs: usize) -> Figures {
    measure(world.command(program).args(args).args(transcripts), runs, &world.path(""), || ())
}

/// Every line of a gigabyte, beside programs that read or parse the same bytes.
pub fn check() {
    let Some(world) = World::with_room("validate", 2 * GIGA) else { return };
    let state = world.generate("state", &["chat", "200", "5000000", "mixed"]);
    let transcripts = files(&state, ".jsonl");
    let bytes = size(&state, ".jsonl");
    heading(&format!(
        "validate of {} in {} transcripts of chat, lines of 200 B to 200 kB",
        mega(bytes),
        transcripts.len()
    ));
    let validate =
        |jobs: &str, runs: usize| world.run(&state, &["validate", "--jobs", jobs, "--no-cache"], runs, false);
    let cat = peer(&world, Path::new("cat"), &[], &transcripts, 9);
    cat.print_rate("cat, warm", bytes);
    let one = validate("1", 9);
    one.print_rate("claw-sessions validate --jobs 1, warm", bytes);
    let two = validate("2", 9);
    two.print_rate("claw-sessions validate --jobs 2, warm", bytes);
    ratio("one core: its speed, as a part of cat's", cat.millis / one.millis, "0.2");
    ratio("two cores: times faster than one", one.millis / two.millis, "1.7");
    match find("jq") {
        None => println!("{:<66} skipped: not installed", "jq empty"),
        Some(jq) => {
            let jq = peer(&world, &jq, &["empty"], &transcripts, 1);
            jq.print_rate("jq empty", bytes);
            ratio("one core: times faster than jq", jq.millis / one.millis, "12");
        }
    }
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peer/node");
    match Some(node).filter(|node| node.exists()).or_else(|| find("node")) {
        None => println!("{:<66} skipped: not installed (make peer)", "node, JSON.parse of each line"),
        Some(node) => {
            const PARSE: &str = "for (const file of process.argv.slice(1)) \
                for (const line of require('fs').readFileSync(file, 'utf8').split('\\n')) if (line) JSON.parse(line)";
            let node = peer(&world, &node, &["-e", PARSE], &transcripts, 3);
            node.print_rate("node, JSON.parse of each line", bytes);
            ratio("one core: times faster than node", node.millis / one.millis, "10");
        }
    }
    if !drop_page_cache() {
        return println!("{:<66} skipped: /proc/sys/vm/drop_caches cannot be written", "from a cold page cache");
    }
    let cold = |mut command: Command| {
        measure(&mut command, 5, &world.path(""), || {
            drop_page_cache();
        })
    };
    let mut command = world.command("cat");
    command.args(&transcripts);
    let cat = cold(command);
    cat.print_rate("cat, cold", bytes);
    let ours = || world.ours(&state, &["validate", "--no-cache"]);
    let all = cold(ours());
    all.print_rate("claw-sessions validate, every core, cold", bytes);
    ratio("every core, cold: its time, in cats", all.millis / cat.millis, "1");
    match find("taskset") {
        None => println!("{:<66} skipped: not installed", "taskset -c 0 claw-sessions validate"),
        Some(taskset) => {
            let one = cold(under(&taskset, &["-c", "0"], &ours()));
            one.print_rate("taskset -c 0 claw-sessions validate, cold", bytes);
            ratio("one core, cold: its time, in cats", one.millis / cat.millis, "1");
        }
    }
    cold(world.ours(&state, &["validate", "--no-cache", "--jobs", "1"]))
        .print_rate("claw-sessions validate --jobs 1, cold", bytes);
}

/// The same for lines of one size each.
pub fn by_line_size() {
    let Some(world) = World::with_room("validate by size of line", 2 * GIGA) else { return };
    heading("scan of 200 MB of chat, one core, by the size of lines");
    for line in ["200", "1000", "5000", "20000", "100000", "200000"] {
        let state = world.generate(line, &["chat", "20", "10000000", line]);
        let figures = world.run(&state, &["scan", "--jobs", "1", "--no-cache"], 7, false);
        figures.print_rate(&format!("lines of about {line} bytes"), size(&state, ".jsonl"));
        fs::remove_dir_all(state).unwrap();
    }
}

/// One large transcript, and one long line.
pub fn memory() {
    let Some(world) = World::with_room("large transcripts", 4 * GIGA) else { return };
    heading("one transcript of 2 GB in 2 million lines, and one line of 300 MB");
    let state = world.generate("long", &["chat", "1", "2000000000", "1000"]);
    let lines = crate::measure::files(&state, ".jsonl");
    println!("2 GB: {}", mega(size(&state, ".jsonl")));
    for (jobs, verb) in [("1", "scan"), ("2", "scan"), ("1", "validate"), ("2", "validate")] {
        let figures = world.run(&state, &[verb, "--jobs", jobs, "--no-cache"], 3, false);
        figures.print_rate(&format!("2 GB: claw-sessions {verb} --jobs {jobs}"), size(&state, ".jsonl"));
        ratio("peak memory, in MB", figures.bytes as f64 / 1e6, "64 (67.1)");
    }
    // One more line with the first one's id, which hangs on the last: the chain leads back into itself.
    let (id, last) = (id_in(&lines[0], SeekFrom::Start(0)), id_in(&lines[0], SeekFrom::End(-4000)));
    let line = format!("{{\"type\":\"custom\",\"id\":\"{id}\",\"parentId\":\"{last}\"}}\n");
    File::options().append(true).open(&lines[0]).unwrap().write_all(line.as_bytes()).unwrap();
    let figures = world.run(&state, &["scan", "--jobs", "2", "--no-cache", "--quiet"], 3, false);
    figures.print("2 GB, with a cycle through all of it: scan --jobs 2");
    ratio("peak memory, in MB", figures.bytes as f64 / 1e6, "64 (67.1)");
    fs::remove_dir_all(state).unwrap();
    let state = world.generate("line", &["chat", "1", "1000000", "300000000"]);
    for jobs in ["1", "2"] {
        let figures = world.run(&state, &["validate", "--jobs", jobs, "--no-cache"], 3, false);
        figures.print_rate(&format!("300 MB line: claw-sessions validate --jobs {jobs}"), size(&state, ".jsonl"));
        ratio("peak memory less the line, in MB", figures.bytes as f64 / 1e6 - 300.0, "64 (67.1)");
    }
}

/// The id of the last line that begins in the four thousand bytes from there on, or, at the start, of the first entry.
fn id_in(transcript: &Path, from: SeekFrom) -> String {
    let mut file = File::open(transcript).unwrap();
    file.seek(from).unwrap();
    let mut text = Vec::new();
    file.take(4000).read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    let mut ids = text.split("{\"type\":\"message\",\"id\":\"").skip(1).map(|rest| rest[..8].to_owned());
    if matches!(from, SeekFrom::Start(_)) { ids.next() } else { ids.last() }.unwrap()
}

/// Ten gigabytes of transcripts that were seen before: none changed, or a hundred grew.
pub fn remembered() {
    let Some(world) = World::with_room("ten gigabytes of transcripts", 14 * GIGA) else { return };
    let state = world.generate("state", &["chat", "5000", "2000000", "mixed"]);
    let bytes = size(&state, ".jsonl");
    heading(&format!("scan of 5,000 transcripts, {}", mega(bytes)));
    for jobs in ["1", "2"] {
        let figures = world.run(&state, &["scan", "--jobs", jobs], 1, false);
        figures.print_rate(&format!("first time, warm as far as memory goes, --jobs {jobs}"), bytes);
    }
    if drop_page_cache() {
        let mut command = world.command("sh");
        command.args(["-c", "cat \"$0\"/*.jsonl"]).arg(state.join("agents/main/sessions"));
        let cat = measure(&mut command, 1, &world.path(""), || {
            drop_page_cache();
        });
        cat.print_rate("cat, cold", bytes);
        let mut command = world.ours(&state, &["scan"]);
        let cold = measure(&mut command, 1, &world.path(""), || {
            world.forget();
            drop_page_cache();
        });
        cold.print_rate("first time, cold", bytes);
    }
    std::thread::sleep(std::time::Duration::from_millis(2500));
    world.run(&state, &["scan"], 1, true);
    world.run(&state, &["scan"], 9, true).print("again, none changed");
    let some: Vec<PathBuf> = files(&state, ".jsonl").into_iter().step_by(50).collect();
    let grow = || {
        for path in &some {
            let line = b"{\"type\":\"custom\",\"id\":\"ffffffff\",\"parentId\":null}\n";
            File::options().append(true).open(path).unwrap().write_all(line).unwrap();
        }
    };
    let grown = measure(&mut world.ours(&state, &["scan"]), 9, &world.path(""), grow);
    grown.print("again, 100 of them grew by a line");
}
