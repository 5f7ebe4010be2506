//! What the documentation says is true: the reference is that of the command line, every link leads somewhere, every
//! command parses, every file that is named exists, every code has its row. `UPDATE_DOCS=1` writes the reference anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::{Arg, Args as _, Command, CommandFactory as _, Parser as _};
use claw_sessions::cli::{Cli, EXIT_CODES};
use claw_sessions::config::policy::{Described, PolicyArgs, described};
use claw_sessions::config::policy_file;
use claw_sessions::decide::verdict::Reason;
use walkdir::WalkDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page, by its path from the root of the repository.
struct Page {
    name: String,
    text: String,
}

/// Every page of the documentation.
fn pages() -> Vec<Page> {
    let skip = ["target", ".git", "tests", "node_modules"];
    let entries = WalkDir::new(root()).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(|entry| !skip.contains(&entry.file_name().to_string_lossy().as_ref()));
    let mut pages = Vec::new();
    for entry in entries.map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "md") {
            let name = entry.path().strip_prefix(root()).unwrap().display().to_string();
            pages.push(Page { name, text: fs::read_to_string(entry.path()).unwrap() });
        }
    }
    assert!(pages.len() > 15, "the pages are where they are expected");
    pages
}

impl Page {
    /// The text without fenced blocks, line by line with its number.
    fn prose(&self) -> Vec<(usize, &str)> {
        let mut fenced = false;
        let mut lines = Vec::new();
        for (at, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            if !fenced && !fence {
                lines.push((at + 1, line));
            }
        }
        lines
    }

    /// The lines of fenced blocks that a shell would read, with their numbers.
    fn shell(&self) -> Vec<(usize, &str)> {
        let shells = ["", "sh", "bash", "console", "crontab"];
        let mut language = None;
        let mut lines = Vec::new();
        for (at, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), language) {
                (Some(named), None) => language = Some(named.trim()),
                (Some(_), Some(_)) => language = None,
                (None, Some(language)) if shells.contains(&language) => lines.push((at + 1, line.trim())),
                (None, _) => {}
            }
        }
        lines
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for (_, line) in self.prose() {
            let heading = line.trim_start_matches('#');
            if heading.len() == line.len() || !heading.starts_with(' ') {
                continue;
            }
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let repeated = (1..).map(|number| format!("{slug}-{number}"));
            let free = std::iter::once(slug.clone()).chain(repeated).find(|slug| !anchors.contains(slug));
            anchors.extend(free);
        }
        anchors
    }
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let parts = text.split(open).skip(1);
    parts.filter_map(|part| part.split_once(close).map(|(inside, _)| inside)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in &pages {
        for (line, text) in page.prose() {
            let images = between(text, "src=\"", "\"");
            for target in between(text, "](", ")").into_iter().chain(images) {
                if target.starts_with("http://") || target.starts_with("https://") || target.starts_with("mailto:") {
                    continue;
                }
                seen += 1;
                let (file, anchor) =
                    target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
                let from = Path::new(&page.name).parent().unwrap();
                let path = if file.is_empty() { PathBuf::from(&page.name) } else { flat(&from.join(file)) };
                let there = root().join(&path).exists();
                let anchored = anchor.is_none_or(|anchor| {
                    let target = pages.iter().find(|page| Path::new(&page.name) == path);
                    target.is_some_and(|page| page.anchors().contains(anchor))
                });
                if !there || !anchored {
                    broken.push(format!("{}:{line}: {target}", page.name));
                }
            }
        }
    }
    assert!(seen > 60, "{seen} links");
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

/// Without `.` and `..`.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(flat.pop()),
            Component::CurDir => {}
            other => flat.push(other),
        }
    }
    flat
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    let text = "# One `gc --boot`, two\n## What's new?\n## What's new?\n```\n# no heading\n```\n#none\n".to_owned();
    let page = Page { name: String::new(), text };
    let anchors: Vec<String> = page.anchors().into_iter().collect();
    assert_eq!(anchors, ["one-gc---boot-two", "whats-new", "whats-new-1"]);
}

/// The command of a line of a shell: without prompt, environment and what follows it.
fn command(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    if !line.starts_with("claw-sessions") {
        return None;
    }
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut spaces = 0;
    for c in line.chars() {
        if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '\'' || c == '"') {
            quote = Some(c);
        } else if quote.is_none() && c == ' ' {
            spaces += 1;
            // A comment stands apart.
            if spaces == 2 {
                break;
            }
            words.push(String::new());
            continue;
        } else if quote.is_none() && "|;&>#".contains(c) {
            break;
        } else {
            words.last_mut().unwrap().push(c);
        }
        spaces = 0;
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}

#[test]
fn every_command_that_is_shown_parses() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let fenced = page.shell().into_iter().map(|(line, text)| (line, text.to_owned()));
        let prose = page.prose().into_iter().flat_map(|(line, text)| {
            let spans = text.split('`').skip(1).step_by(2).filter(|span| span.contains(' '));
            spans.map(move |span| (line, span.to_owned())).collect::<Vec<_>>()
        });
        for (line, text) in fenced.chain(prose) {
            // The line of a usage is none that is typed.
            let Some(words) = command(&text).filter(|_| !text.contains("[OPTIONS]")) else { continue };
            if words.len() < 2 || words[1..].iter().any(|word| word == "COMMAND" || word.starts_with('…')) {
                continue;
            }
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&words)
                && error.use_stderr()
            {
                let why = error.to_string().lines().next().unwrap_or_default().to_owned();
                wrong.push(format!("{}:{line}: {text}\n    {why}", page.name));
            }
        }
    }
    assert!(seen > 100, "{seen} commands");
    assert!(wrong.is_empty(), "these commands are refused:\n{}", wrong.join("\n"));
}

/// An example that is refused teaches nothing.
#[test]
fn every_policy_that_is_shown_is_one() {
    let mut seen = 0;
    for page in pages() {
        for block in between(&page.text, "```toml\n", "```") {
            seen += 1;
            let read = policy_file::parse(block);
            assert!(read.is_ok(), "{}: {read:?} in\n{block}", page.name);
        }
    }
    assert!(seen > 2, "{seen} policies");
}

/// Who looks for the place of a line finds every file in the map.
#[test]
fn every_source_file_is_in_the_code_map() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let map = page.split("## Code map").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut missing = Vec::new();
    for entry in WalkDir::new(root().join("src")).sort_by_file_name().into_iter().map(Result::unwrap) {
        let path = entry.path().strip_prefix(root()).unwrap();
        let (Some(stem), Some("rs")) = (path.file_stem(), path.extension().and_then(|it| it.to_str())) else {
            continue;
        };
        let stem = stem.to_str().unwrap();
        // A folder that is named stands for what is in it.
        let inner = path.components().count() > 3;
        let named = [format!("`{stem}`"), format!("{stem}.rs")].iter().any(|name| map.contains(name.as_str()));
        if !inner && !named {
            missing.push(path.display().to_string());
        }
    }
    assert!(missing.is_empty(), "not in the code map of docs/architecture.md:\n{}", missing.join("\n"));
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let exists = |target: &str| makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
    let mut seen = 0;
    for page in pages() {
        for (at, _) in page.text.match_indices("make ") {
            let before = page.text[..at].chars().next_back();
            let assignments = page.text[..at].rsplit('\n').next().unwrap().ends_with("FULL= ");
            if !matches!(before, None | Some('\n' | '`')) && !assignments {
                continue;
            }
            let rest = &page.text[at + "make ".len()..];
            let target: String = rest.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
            if rest.starts_with(|c: char| c.is_ascii_lowercase()) && !rest[target.len()..].starts_with(['.', '/']) {
                seen += 1;
                assert!(exists(&target), "{}: make {target}", page.name);
            }
        }
    }
    assert!(seen > 15, "{seen} targets");
}

/// `cargo test` is content with a name that no test has.
#[test]
fn every_test_that_is_named_exists() {
    let mut seen = 0;
    for page in pages() {
        for (at, _) in page.text.match_indices("cargo test ") {
            let command = page.text[at..].split(['`', '\n']).next().unwrap();
            let Some(named) = command.split(" --test ").nth(1) else { continue };
            let words: Vec<&str> = named.split(' ').take_while(|word| !word.starts_with('-')).collect();
            let dir = root().join("tests").join(words[0]);
            assert!(dir.join("main.rs").is_file(), "{}: {command}", page.name);
            for module in &words[1..] {
                seen += 1;
                assert!(dir.join(format!("{module}.rs")).is_file(), "{}: {command}", page.name);
            }
        }
    }
    assert!(seen > 8, "{seen} tests");
}

#[test]
fn every_file_of_the_repository_that_is_named_exists() {
    let places = ["src/", "tests/", "docs/", "fixtures/", "benches/", "fuzz/", "packaging/"];
    let mut missing = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for (line, text) in page.prose() {
            for span in text.split('`').skip(1).step_by(2) {
                let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
                if !places.iter().any(|place| span.starts_with(place)) || !span.chars().all(plain) {
                    continue;
                }
                seen += 1;
                if !root().join(span).exists() {
                    missing.push(format!("{}:{line}: {span}", page.name));
                }
            }
        }
    }
    assert!(seen > 60, "{seen} files");
    assert!(missing.is_empty(), "these files do not exist:\n{}", missing.join("\n"));
}

/// A figure is written as `281<!-- figure: docs/performance.md -->`: where it was measured, the same one stands.
#[test]
fn every_figure_is_that_of_its_measurement() {
    let mut seen = 0;
    for page in pages() {
        for (at, _) in page.text.match_indices("<!-- figure: ") {
            let figure = page.text[..at].rsplit([' ', '\n', '*', '(', '|']).find(|word| !word.is_empty()).unwrap();
            let source = page.text[at + "<!-- figure: ".len()..].split(" -->").next().unwrap();
            let measured = fs::read_to_string(root().join(source)).unwrap_or_else(|error| panic!("{source}: {error}"));
            let plain = |text: &str| text.replace(',', "");
            let words: Vec<String> = plain(&measured)
                .split(|c: char| !(c.is_alphanumeric() || "./".contains(c)))
                .map(|word| word.trim_end_matches('.').to_owned())
                .collect();
            seen += 1;
            assert!(words.contains(&plain(figure)), "{}: {figure} is not in {source}", page.name);
        }
    }
    assert!(seen > 3, "{seen} figures");
}

#[test]
fn every_reason_code_has_its_row_and_every_row_says_what_to_do() {
    let rules = fs::read_to_string(root().join("docs/rules.md")).unwrap();
    let section = rules.split("## Reason codes").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut codes = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert!(cells.iter().all(|cell| cell.len() > 1), "{row}");
        codes.extend(cells[0].split(' ').map(|code| code.trim_matches('`').to_owned()));
    }
    // These two stand in manifests only.
    for reason in Reason::ALL.iter().filter(|reason| !matches!(reason, Reason::Salvaged | Reason::Adopted)) {
        assert!(codes.remove(reason.as_str()), "{} has no row in docs/rules.md", reason.as_str());
    }
    assert!(codes.is_empty(), "no reason has these codes: {codes:?}");
}

#[test]
fn the_reference_is_that_of_the_command_line() {
    let path = root().join("docs/reference.md");
    let now = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "docs/reference.md is out of date: run UPDATE_DOCS=1 cargo test --test it docs");
    for line in now.lines().filter(|line| line.starts_with('|')) {
        let cells = line.replace("\\|", "").matches('|').count();
        assert!([3, 4].contains(&cells), "{line}");
    }
}

/// The part of the page between the two marks is made from the table in `src/config/policy/limits.rs`.
#[test]
fn every_limit_has_its_row_in_the_page_of_the_policy_file() {
    let path = root().join("docs/policy.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- limits -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /limits -->\n").unwrap();
    let now = format!("{before}<!-- limits -->\n{}<!-- /limits -->\n{after}", limits());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == now, "docs/policy.md is out of date: run UPDATE_DOCS=1 cargo test --test it docs");
}

/// Every limit: its value, what holds without it, what it does, and for which classes it can be set apart.
fn limits() -> String {
    let mut text = "| key | value | default | what | in `[class.NAME]` |\n|---|---|---|---|---|\n".to_owned();
    for limit in described() {
        let classes = match limit.classes.as_deref() {
            None => "–".to_owned(),
            Some([]) => "every class".to_owned(),
            Some(some) => some.iter().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(" "),
        };
        let Described { name, placeholder, default, text: what, .. } = limit;
        let value = placeholder.replace('|', "\\|");
        writeln!(text, "| `{name}` | `{value}` | {default} | {what} | {classes} |").unwrap();
    }
    text
}

/// Every command, option, default and exit code.
fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = include_str!("reference.md").to_owned();
    text.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in EXIT_CODES {
        writeln!(text, "| {code} | {meaning} |").unwrap();
    }
    text.push_str("\n## Global options\n\nOf every command.\n\n");
    options(&mut text, root.get_arguments().filter(|arg| arg.is_global_set()));
    text.push_str("\n## Limits\n\nOf every command below that says so. They decide what goes and what stays: ");
    text.push_str("[rules.md](rules.md), [policy.md](policy.md).\n");
    let limits = PolicyArgs::augment_args(Command::new("limits"));
    grouped(&mut text, limits.get_arguments());
    let limits: BTreeSet<String> = limits.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        verb(&mut text, command, command.get_name(), 2, &limits);
    }
    text
}

fn verb(text: &mut String, command: &Command, name: &str, level: usize, limits: &BTreeSet<String>) {
    write!(text, "\n{} {name}\n\n", "#".repeat(level)).unwrap();
    let about = command.get_long_about().or(command.get_about()).unwrap_or_default().to_string();
    writeln!(text, "{}.\n", about.trim_end_matches('.')).unwrap();
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage:").lines().map(str::trim).collect();
    writeln!(text, "```\n{}\n```", usage.join("\n")).unwrap();
    let own = || command.get_arguments().filter(|arg| !arg.is_global_set() && !is_help(arg));
    let has_limits = own().any(|arg| limits.contains(arg.get_id().as_str()));
    grouped(text, own().filter(|arg| !has_limits || !limits.contains(arg.get_id().as_str())));
    if has_limits {
        text.push_str("\nAnd the [limits](#limits).\n");
    }
    for help in [command.get_before_help(), command.get_after_help()].into_iter().flatten() {
        let help = help.to_string();
        let (title, examples) = help.split_once('\n').unwrap();
        let examples: Vec<&str> = examples.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        write!(text, "\n{title}\n\n```\n{}\n```\n", examples.join("\n")).unwrap();
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        verb(text, inner, &format!("{name} {}", inner.get_name()), level + 1, limits);
    }
}

fn is_help(arg: &Arg) -> bool {
    ["help", "version"].contains(&arg.get_id().as_str())
}

/// A table for each heading, in the order in which they come first.
fn grouped<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let mut groups: Vec<(Option<&str>, Vec<&Arg>)> = Vec::new();
    for arg in args {
        match groups.iter_mut().find(|(heading, _)| *heading == arg.get_help_heading()) {
            Some((_, group)) => group.push(arg),
            None => groups.push((arg.get_help_heading(), vec![arg])),
        }
    }
    for (heading, group) in groups {
        text.push('\n');
        if let Some(heading) = heading {
            write!(text, "**{heading}**\n\n").unwrap();
        }
        options(text, group.into_iter());
    }
}

fn options<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    text.push_str("| option | what |\n|---|---|\n");
    for arg in args.filter(|arg| !is_help(arg)) {
        let names: Vec<String> =
            arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
        let takes = arg.get_action().takes_values();
        let value = if takes { names.join(" ") } else { String::new() };
        let short = arg.get_short().map(|short| format!("`-{short}`"));
        let long = arg.get_long().map(|long| format!("`{}`", format!("--{long} {value}").trim_end()));
        let spelled: Vec<String> = short.into_iter().chain(long).collect();
        let spelled = if spelled.is_empty() { format!("`{value}`") } else { spelled.join(", ") };
        let help = arg.get_long_help().or(arg.get_help()).unwrap_or_default().to_string();
        let mut what = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let possible: Vec<String> = if arg.is_hide_possible_values_set() || !takes {
            Vec::new()
        } else {
            arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect()
        };
        if !possible.is_empty() {
            write!(what, "; one of {}", possible.join(" ")).unwrap();
        }
        let defaults: Vec<String> =
            arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
        if !defaults.is_empty() && takes {
            write!(what, " [default: {}]", defaults.join(" ")).unwrap();
        }
        if arg.is_required_set() && arg.get_long().is_some() {
            what.push_str(" [needed]");
        }
        writeln!(text, "| {} | {} |", spelled.replace('|', "\\|"), what.replace('|', "\\|")).unwrap();
    }
}
