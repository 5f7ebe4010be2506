//! The floors of `src/lib.rs` hold, and only one file renames and removes. That pure code touches no disk, clock or
//! environment is what clippy says: `clippy.toml`.

use std::collections::BTreeMap;
use std::fs;

use walkdir::WalkDir;

/// Each source file by its path below `src/`, without comments and without what is compiled for tests only.
fn sources() -> Vec<(String, String)> {
    let root = support::repository("src");
    let mut sources = Vec::new();
    for entry in WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap) {
        let path = entry.path();
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests.rs") {
            sources.push((name, code(&fs::read_to_string(path).unwrap())));
        }
    }
    assert!(sources.len() > 30, "the sources are where they are expected");
    sources
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn layer(name: &str) -> &str {
    name.split(['/', '.']).next().unwrap()
}

/// Every `crate::<layer>` that a file names, in `use` or in a path, `use crate::{a, b}` included.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let words: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap().split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for word in words {
            let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
            found.push(word[..end].to_owned());
        }
    }
    found
}

/// Panics when a file of this layer names one of these.
fn forbid(of: &str, forbidden: &[&str]) {
    let mut wrong = Vec::new();
    for (name, code) in sources().iter().filter(|(name, _)| layer(name) == of) {
        wrong.extend(
            uses(code)
                .into_iter()
                .filter(|used| forbidden.contains(&used.as_str()))
                .map(|used| format!("{name}: {used}")),
        );
    }
    assert!(wrong.is_empty(), "{of} must not use\n{}", wrong.join("\n"));
}

#[test]
fn data_flows_one_way() {
    let floors = ["model", "config", "decide", "disk", "openclaw", "load", "change", "render", "commands", "cli"];
    for (at, floor) in floors.iter().enumerate().filter(|(_, floor)| !["commands", "cli"].contains(floor)) {
        forbid(floor, &floors[at + 1..]);
    }
    // Where OpenClaw keeps its things has nothing to do with what is decided about them.
    for floor in ["disk", "openclaw", "load"] {
        forbid(floor, &["decide"]);
    }
    forbid("disk", &["openclaw"]);
}

#[test]
fn render_reads_no_store() {
    for (name, code) in sources().iter().filter(|(name, _)| layer(name) == "render") {
        for reads in ["crate::disk", "crate::load", "openclaw::rows", "change::journal", "change::apply"] {
            assert!(!code.contains(reads), "{name}: {reads}");
        }
    }
}

#[test]
fn one_file_renames_links_and_removes() {
    let calls = [
        "renameat",
        "rename(",
        "unlinkat",
        "unlink(",
        "linkat",
        "hard_link",
        "remove_file",
        "symlink(",
        "fs::write",
        "File::create",
        "set_len(",
        "truncate(true)",
    ];
    // What is remembered between runs lies in the user's cache directory, where nothing of OpenClaw's is.
    let may = ["disk/dir.rs", "disk/platform.rs", "load/cache.rs", "load/cache/beginning.rs"];
    for (name, code) in sources().iter().filter(|(name, _)| !may.contains(&name.as_str())) {
        for call in calls {
            assert!(!calls_it(code, call), "{name}: {call}");
        }
    }
    // A run's own directory is forgotten as a whole, there and nowhere else.
    for (name, code) in sources() {
        assert!(!code.contains("remove_dir_all") || name == "change/journal/forget.rs", "{name}");
    }
}

/// Whether the code has this word, and not as the end of a longer one.
fn calls_it(code: &str, word: &str) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(part_of_a_name))
}

#[test]
fn systems_differ_in_one_place() {
    // Memory has a wish that only Linux knows, and with musl the program takes another allocator.
    let may = |name: &str| name.starts_with("disk/platform") || ["disk/memory.rs", "main.rs"].contains(&name);
    for (name, code) in sources().iter().filter(|(name, _)| !may(name)) {
        for word in ["target_os", "target_vendor", "target_family", "portable", "cfg!(", "\"/proc"] {
            assert!(!code.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn the_environment_is_read_in_one_place() {
    for (name, code) in sources() {
        assert!(!code.contains("env::var") || name == "main.rs", "{name}");
    }
}

/// Lines of a file that a reader can hold in mind.
const LONGEST: usize = 400;

#[test]
fn files_are_short_and_say_what_they_promise() {
    for (name, _) in sources() {
        let text = fs::read_to_string(support::repository("src").join(&name)).unwrap();
        assert!(text.starts_with("//! "), "{name} does not begin with a line on what it promises");
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{name} has {lines} lines: split it by subject");
    }
}

/// Lines of a function, from `fn` to its closing brace, that a reader sees at once.
const SCREEN: usize = 60;

/// The functions of a formatted file, each with the number of its lines. One ends where a line of its own depth does.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.trim_start().split_once("fn ") else { continue };
        // What `pub` is limited to may be a path: `pub(in crate::model)`.
        let may_stand = |word: &str| word.starts_with("pub") || word.ends_with(')') || word == "const";
        if !before.split_whitespace().all(may_stand) {
            continue;
        }
        let ends = |one: &&str| depth(one) == depth(line) && one.ends_with(['}', ';']);
        let length = lines[at..].iter().position(ends).map_or(lines.len() - at, |end| end + 1);
        found.push((rest.split(['(', '<']).next().unwrap(), length));
    }
    found
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let (mut seen, mut long) = (0, Vec::new());
    for (file, _) in sources() {
        let text = fs::read_to_string(support::repository("src").join(&file)).unwrap();
        let functions = functions(text.split("\n#[cfg(test)]\n").next().unwrap());
        seen += functions.len();
        let long_ones = functions.into_iter().filter(|(_, lines)| *lines > SCREEN);
        long.extend(long_ones.map(|(name, lines)| format!("{file}: {name} ({lines} lines)")));
    }
    assert!(seen > 1000, "the functions are found");
    assert!(long.is_empty(), "split these by what they do:\n{}", long.join("\n"));
}

/// One word for one thing: a reader who meets a type by its name knows which one it is.
#[test]
fn no_two_types_have_one_name() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        for line in code.lines() {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let names = words.windows(2).filter(|pair| ["struct", "enum", "trait"].contains(&pair[0]));
            for name in names.map(|pair| pair[1]).filter(|name| name.starts_with(char::is_uppercase)) {
                if let Some(other) = seen.insert(name.to_owned(), file.clone()) {
                    wrong.push(format!("{name}: {other} and {file}"));
                }
            }
        }
    }
    assert!(seen.len() > 100, "the types are found");
    assert!(wrong.is_empty(), "types of one name: {wrong:#?}");
}

/// A file that no module names is not compiled, and its tests do not run.
#[test]
fn every_file_of_the_tests_is_a_module() {
    let mut seen = 0;
    for crate_dir in ["tests/it", "tests/faults", "tests/interop"].map(support::repository) {
        for entry in WalkDir::new(&crate_dir).into_iter().map(Result::unwrap) {
            let (path, dir) = (entry.path(), entry.path().parent().unwrap());
            let is_root = path == crate_dir.join("main.rs");
            if is_root || path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            seen += 1;
            let parent = if dir == crate_dir { crate_dir.join("main.rs") } else { dir.with_extension("rs") };
            let line = format!("mod {};", path.file_stem().unwrap().display());
            let named = fs::read_to_string(&parent).unwrap().lines().any(|one| one == line);
            assert!(named, "{} is not compiled: {} has no `{line}`", path.display(), parent.display());
        }
    }
    assert!(seen > 50, "{seen} files");
}
