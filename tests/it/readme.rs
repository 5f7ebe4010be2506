//! README.md is what happens: every command in it is run on a recorded gateway, and every sample is what is printed.
//! `UPDATE_DOCS=1` draws its picture anew.

mod picture;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use support::{Output, Store, sys};

use self::picture::Terminal;

/// The time of `make demo`.
const NOW: &str = "2026-11-23T12:00:00Z";

/// The recorded gateway, and a `claw-sessions` in the path for which it is always the same time.
fn world() -> Store {
    let store = Store::recorded("real-gateway");
    let ours = format!("exec '{}' \"$@\" --now {NOW}", support::binary().display());
    sys::script(&store.root().join("bin/claw-sessions"), &ours);
    store
}

/// Runs a line as a person does, in the home directory.
fn run(store: &Store, line: &str, columns: usize) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut direct = store.command([] as [&str; 0]);
    direct.env("PATH", format!("{}:{path}", store.root().join("bin").display()));
    direct.env("COLUMNS", columns.to_string());
    // A gateway that runs on this machine is none of our business: port 1 has no listener.
    direct.env("OPENCLAW_GATEWAY_PORT", "1");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", line]).env_clear().current_dir(store.home()).stdin(std::process::Stdio::null());
    for (name, value) in direct.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    Output::of(&mut shell)
}

/// The same for every run: where it was, and ids of runs.
fn same(store: &Store, text: &str) -> String {
    let text = text.replace(&store.home().display().to_string(), "/home/user");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("202") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        // 20261123T160219Z-2436
        let shape = |(i, c): (usize, char)| match i {
            8 => c == 'T',
            15 => c == 'Z',
            16 => c == '-',
            17.. => c.is_ascii_hexdigit(),
            _ => c.is_ascii_digit(),
        };
        let is_id = from.len() >= 21 && from.chars().take(21).enumerate().all(shape);
        let (taken, shown) = if is_id { (21, "20261123T120000Z-0000") } else { (3, "202") };
        out.push_str(shown);
        rest = &from[taken..];
    }
    out + rest
}

/// What a fenced block says: commands, each with the sample below it when it has a prompt.
struct Shown {
    line: usize,
    command: String,
    sample: Option<Vec<String>>,
}

fn shown(page: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut fenced = false;
    let mut sampling = false;
    for (at, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            (fenced, sampling) = (!fenced, false);
        } else if fenced && let Some(command) = line.strip_prefix("$ ") {
            all.push(Shown { line: at + 1, command: command.to_owned(), sample: Some(Vec::new()) });
            sampling = true;
        } else if sampling {
            all.last_mut().unwrap().sample.as_mut().unwrap().push(line.to_owned());
        } else if fenced && line.starts_with("claw-sessions") {
            // What stands apart is a comment.
            let command = line.split_once("  ").map_or(line, |(command, _)| command);
            all.push(Shown { line: at + 1, command: command.to_owned(), sample: None });
        }
    }
    all.retain(|shown| shown.command.starts_with("claw-sessions"));
    all
}

/// Whether a line is this sample, in which `…` stands for anything.
fn is_line(sample: &str, line: &str) -> bool {
    let mut parts = sample.split('…');
    let first = parts.next().unwrap();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (at, part) in parts.iter().enumerate() {
        if at + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.is_empty()
}

/// Whether the lines are this sample, in which a line `…` stands for any number of lines.
fn is_sample(sample: &[String], lines: &[&str]) -> bool {
    match sample.split_first() {
        None => lines.is_empty(),
        Some((first, others)) if first == "…" => (0..=lines.len()).any(|skip| is_sample(others, &lines[skip..])),
        Some((first, others)) => {
            lines.split_first().is_some_and(|(line, lines)| is_line(first, line) && is_sample(others, lines))
        }
    }
}

#[test]
fn a_sample_stands_for_what_it_leaves_out() {
    assert!(is_line("a…c", "abc") && is_line("a…", "a") && is_line("…", "x") && is_line("plain", "plain"));
    assert!(!is_line("a…c", "abd") && !is_line("plain", "plain x") && !is_line("a…a", "a"));
    let sample = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(is_sample(&sample("a\n…\nd"), &["a", "b", "c", "d"]) && is_sample(&sample("a\n…"), &["a"]));
    assert!(!is_sample(&sample("a\n…\nd"), &["a", "d", "e"]) && !is_sample(&sample("a"), &["a", "b"]));
}

#[test]
fn every_command_of_the_readme_is_run_and_prints_what_is_shown() {
    let page = fs::read_to_string(support::repository("README.md")).unwrap();
    let commands = shown(&page);
    assert!(commands.len() > 8 && commands.iter().filter(|one| one.sample.is_some()).count() > 3);
    let store = world();
    for Shown { line, command, sample } in commands {
        // Checks: the recorded gateway has something to find.
        let finds = ["validate", "report --check", "scan --check"];
        let code = i32::from(finds.iter().any(|verb| command.starts_with(&format!("claw-sessions {verb}"))));
        let output = run(&store, &command, 80).code(code);
        let Some(sample) = sample else { continue };
        let printed = same(&store, &format!("{}{}", output.stdout, output.stderr));
        let sample: Vec<String> = sample.iter().map(|line| same(&store, line)).collect();
        let lines: Vec<&str> = printed.trim_end().lines().collect();
        assert!(
            is_sample(&sample, &lines),
            "README.md:{line}: `{command}` prints something else:\n{printed}\nshown is:\n{}",
            sample.join("\n")
        );
    }
}

/// A newcomer's first minute. Into a file it prints plain text.
#[test]
fn the_demo_says_what_it_shows_and_no_table_twice() {
    let mut demo = Command::new(support::repository("fixtures/demo.sh"));
    let output = Output::of(demo.arg(support::binary().parent().unwrap())).ok();
    assert!(output.stdout.ends_with("\nNow yours: claw-sessions scan\n"), "{output}");
    assert!(output.stdout.contains("No difference") && !output.stdout.contains('\u{1b}'), "{output}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("$ ")) {
        let sentence = at.checked_sub(1).map_or("", |before| lines[before]);
        assert!(sentence.ends_with(['.', '?']), "nothing is said of {line}: {output}");
    }
    let rows: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("main ")).collect();
    assert_eq!(rows.len(), rows.iter().collect::<BTreeSet<_>>().len(), "{output}");
}

#[test]
fn the_picture_is_what_is_printed() {
    let store = world();
    let mut terminal = Terminal::default();
    let mut show = |command: &str, kept: &[&str]| {
        let output = run(&store, &format!("{command} --color always"), Terminal::columns()).ok();
        terminal.show(command, &same(&store, &output.stdout), kept);
    };
    show(
        "claw-sessions scan",
        &[
            "gateway not running",
            "51 bindings",
            "That is",
            "AGENT ",
            "direct:700000001  ",
            "…1002000000001",
            "0004:topic:42",
            "0004:topic:1",
            "direct:700000401  ",
            "direct:700000035  ",
            "slash:700000035  ",
            "direct:700000036 ",
            "…1002000000009",
            "1438cdd847cf",
            "direct:700000040  ",
            "direct:700000042  ",
            "797bd896b5bc",
            "Start-up",
        ],
    );
    show("claw-sessions gc -q", &["Done", "Next"]);
    show("claw-sessions restore latest", &["Restored"]);
    let now = terminal.svg();
    let path = support::repository("docs/picture.svg");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let drawn = fs::read_to_string(&path).unwrap_or_default();
    assert!(drawn == now, "docs/picture.svg is out of date: run UPDATE_DOCS=1 cargo test --test it readme");
}
