//! How the command line looks and answers: help, tables at any width, color, one document for programs, exit statuses.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use serde_json::Value;
use support::{NOW, Output, Store, StoreBuilder};

const COMMANDS: [&str; 12] = [
    "scan",
    "gc",
    "quarantine",
    "validate",
    "report",
    "restore",
    "explain",
    "runs",
    "config",
    "systemd",
    "completions",
    "man",
];
const LIMITS: [&str; 6] = ["--idle", "10m", "--grace", "1m", "--now", "2026-11-22T23:30:00Z"];

fn help(args: &[&str]) -> String {
    let mut command = Store::empty().command(args);
    Output::of(command.env("COLUMNS", "100").current_dir("/")).ok().stdout
}

#[test]
fn help_of_every_command() {
    insta::assert_snapshot!("help", help(&["--help"]));
    for command in COMMANDS {
        insta::assert_snapshot!(format!("help-{command}"), help(&[command, "--help"]));
    }
    insta::assert_snapshot!("help-config-show", help(&["config", "show", "--help"]));
    insta::assert_snapshot!("help-runs-show", help(&["runs", "show", "--help"]));
    insta::assert_snapshot!("help-runs-prune", help(&["runs", "prune", "--help"]));
}

#[test]
fn help_fits_and_begins_with_what_most_people_need() {
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let text = help(&[command, flag]);
            let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
            assert!(wide.is_empty(), "{command} {flag}: {wide:#?}");
        }
    }
    let gc = help(&["gc", "--help"]);
    let first: Vec<&str> = gc.lines().skip(1).take(3).map(str::trim_start).collect();
    for (line, start) in first.iter().zip(["claw-sessions gc -n", "claw-sessions gc ", "claw-sessions restore latest"])
    {
        assert!(line.starts_with(start), "{gc}");
    }
    for heading in ["What goes", "What stays", "Safety", "Plan", "Global options"] {
        assert!(gc.contains(&format!("{heading}:")), "no {heading:?} in {gc}");
    }
}

#[test]
fn without_a_command_help_is_shown_and_nothing_done() {
    let output = Output::of(&mut Store::empty().command([] as [&str; 0])).code(2);
    assert!(output.stderr.contains("Usage:") || output.stdout.contains("Usage:"), "{output}");
    let version = help(&["--version"]);
    assert_eq!(version, format!("claw-sessions {}\n", env!("CARGO_PKG_VERSION")));
}

fn at_width(store: &Store, width: usize, args: &[&str]) -> String {
    store.run_env(args, &[("COLUMNS", &width.to_string())]).ok().stdout
}

/// The lines of the tables: from a line of capitals to the next empty one.
fn table_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let head = ["AGENT ", "KEY ", "FILE ", "RUN ", "COSTS "].iter().any(|head| line.starts_with(head));
        inside = (inside || head) && !line.is_empty();
        if inside {
            lines.push(line);
        }
    }
    lines
}

#[test]
fn tables_fit_the_terminal() {
    let store = Store::recorded("real-small");
    for width in [40, 80, 120, 200] {
        let text = at_width(&store, width, &["scan", "--now", NOW]);
        let table = table_lines(&text);
        assert!(table.len() > 34, "{text}");
        for line in table {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        insta::assert_snapshot!(format!("scan-{width}"), store.redact(&text));
        // Three agents have a `main`: a row must say whose it is.
        for agent in ["illarion", "marketer"] {
            assert!(table_lines(&text).iter().any(|line| line.starts_with(agent)), "{width}: {text}");
        }
    }
    let other = Store::recorded("real-gateway");
    for width in [40, 57, 80, 100, 120, 200] {
        for args in [&["scan", "-v"][..], &[&["gc", "-n"], &LIMITS[..]].concat()] {
            let text = at_width(&other, width, args);
            assert!(table_lines(&text).iter().all(|line| line.chars().count() <= width), "{width}: {text}");
        }
    }
}

#[test]
fn every_table_fits_a_terminal_of_40_columns() {
    let store = Store::recorded("real-gateway");
    let first = at_width(&store, 40, &[&["gc"], &LIMITS[..]].concat());
    let key = "agent:main:main";
    let aside = at_width(&store, 40, &["quarantine", key]);
    let mut seen = 0;
    for args in [
        &["scan", "-v"][..],
        &["report", "--now", NOW],
        &["runs"],
        &["quarantine", "list"],
        &["validate", "--severity", "fatal", "-v"],
    ] {
        let text = at_width(&store, 40, args);
        let table = table_lines(&text);
        seen += table.len();
        assert!(table.iter().all(|line| line.chars().count() <= 40), "{args:?}: {text}");
    }
    assert!(seen > 15, "{seen}: {first}{aside}");
    let report = at_width(&store, 40, &["report", "--now", NOW]);
    for head in ["BINDINGS", "STALE", "DAMAGED", "COSTS MOST AT A START", "NEXT GC"] {
        assert!(report.contains(head), "{head}: {report}");
    }
    let runs = at_width(&store, 40, &["runs"]);
    assert!(runs.contains("RESTORABLE") && runs.contains("yes"), "{runs}");
}

/// A home directory without OpenClaw.
fn nobodys(args: &[&str], env: &[(&str, &str)]) -> Output {
    let store = Store::empty();
    store.remove("");
    let output = store.run_bare(args, env);
    assert_eq!(fs::read_dir(store.home()).unwrap().count(), 0, "nothing was made: {output}");
    output
}

#[test]
fn without_openclaw_the_error_says_where_to_look() {
    for args in [&["scan"][..], &["gc"], &["validate"], &["report"], &["runs"], &["config", "check"]] {
        let output = nobodys(args, &[]).code(2);
        for part in ["there is no state directory", ".openclaw", "--state-dir DIR", "runs as another one"] {
            assert!(output.stderr.contains(part), "{part}: {output}");
        }
    }
    let output = nobodys(&["scan"], &[("SUDO_USER", "jan")]).code(2);
    assert!(output.stderr.contains("sudo -u jan claw-sessions"), "{output}");
    let boot = nobodys(&["gc", "--boot"], &[]).ok();
    assert!(boot.stderr.contains("there is no state directory") && boot.stderr.contains("starts as it is"), "{boot}");
    let store = Store::recorded("real-small");
    fs::rename(store.state_dir(), store.home().join(".openclaw-work")).unwrap();
    let output = store.run_bare(["scan"], &[]).code(2);
    assert!(output.stderr.contains("there is") && output.stderr.contains(".openclaw-work"), "{output}");
    store.run_bare(["scan", "--profile", "work"], &[]).ok();
}

#[test]
fn a_directory_that_is_not_openclaws_is_doubted() {
    let store = Store::empty();
    let scan = store.run(["scan"]).ok().stdout;
    assert!(scan.contains("there is nothing of OpenClaw in"), "{scan}");
    let above = store.run_bare(["scan", "--json", "--state-dir", store.home().to_str().unwrap()], &[]).ok().json();
    let warnings = above["warnings"].to_string();
    assert!(warnings.contains(&format!("did you mean --state-dir {}?", store.state_dir().display())), "{warnings}");
    // A gateway that is configured and has no session yet is nothing to doubt.
    store.write("openclaw.json", "{}");
    assert_eq!(store.scan(["--now", NOW])["warnings"], serde_json::json!([]));
    let file = store.path("openclaw.json");
    let output = store.run_bare(["scan", "--state-dir", file.to_str().unwrap()], &[]).code(2);
    assert!(output.stderr.contains("is not a directory"), "{output}");
}

#[test]
fn what_belongs_to_another_user_is_named_with_the_way_out() {
    let store = Store::recorded("real-gateway");
    // The ordinary user whom tests run as is not the owner.
    fs::set_permissions(store.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(store.state_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    if !support::sys::is_root() || store.ordinary(["scan"]).is_none() {
        return support::sys::skip("only root, with setpriv, can be another user");
    }
    let as_other = |args: &[&str]| Output::of(&mut store.ordinary(args).unwrap());
    let scan = as_other(&["scan"]).ok();
    assert!(scan.stdout.contains("belongs to user 0, and this is user 65534"), "{scan}");
    assert!(scan.stdout.contains("openclaw.json cannot be read") && scan.stdout.contains("sudo -u USER"), "{scan}");
    let said = as_other(&["config", "check"]).code(2);
    assert!(said.stdout.contains("Permission denied") && said.stdout.contains("sudo -u USER"), "{said}");
}

#[test]
fn a_word_that_is_not_known_is_answered_with_one_that_is() {
    for (args, meant) in [
        (&["sacn"][..], "'scan'"),
        (&["scan", "--jsn"], "'--json'"),
        (&["gc", "--dryrun"], "'--dry-run'"),
        (&["config", "chek"], "'check'"),
    ] {
        let output = Output::of(&mut Store::empty().command(args)).code(2);
        assert!(output.stderr.contains(meant) && output.stderr.contains("--help"), "{output}");
        assert_eq!(output.stdout, "");
    }
    let none = Store::empty().run(["restore", "latest"]).code(2);
    assert!(
        none.stderr.contains("there are no runs to restore") && none.stderr.contains("`claw-sessions runs`"),
        "{none}"
    );
}

#[test]
fn exit_codes_are_in_the_help() {
    let text = help(&["--help"]);
    for (code, meaning) in claw_sessions::cli::EXIT_CODES {
        assert!(text.contains(&format!("  {code}  {meaning}")), "{code}: {text}");
    }
}

#[test]
fn the_text_of_a_gc_and_what_follows() {
    let store = Store::recorded("real-gateway");
    let gc = store.run([&["gc"], &LIMITS[..]].concat()).ok().stdout;
    let explain = store.run(["explain", "agent:main:main", "--now", NOW]).ok().stdout;
    insta::assert_snapshot!("gc", store.redact(&gc));
    insta::assert_snapshot!("explain", store.redact(&explain));
    let runs = store.run(["runs"]).ok().stdout;
    // The time of the run is that of the test.
    let runs: Vec<String> =
        store.redact(&runs).lines().map(|line| line.replace(|c: char| c.is_ascii_digit(), "0")).collect();
    insta::assert_snapshot!("runs", runs.join("\n"));
}

#[test]
fn color_only_where_it_is_wanted() {
    let store = Store::recorded("real-small");
    let escapes = |args: &[&str], env: &[(&str, &str)]| {
        let output = store.run_env([&["scan"], args].concat(), env).ok();
        output.stdout.contains('\u{1b}')
    };
    assert!(!escapes(&[], &[]), "not into a pipe");
    assert!(escapes(&["--color", "always"], &[]));
    assert!(escapes(&["--color", "always"], &[("NO_COLOR", "1")]), "what was typed counts more");
    assert!(!escapes(&[], &[("NO_COLOR", "1")]));
    assert!(!escapes(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!escapes(&["--color", "always", "--json"], &[]), "a document has no colors");
    let plain = store.run(["scan", "--now", NOW]).ok().stdout;
    let colored = store.run(["scan", "--now", NOW, "--color", "always"]).ok().stdout;
    assert_eq!(anstream::adapter::strip_str(&colored).to_string(), plain);
    let error = store.run_env(["explain", "nobody", "--color", "always"], &[]).code(2);
    assert!(error.stderr.contains('\u{1b}'), "{error}");
}

#[test]
fn quiet_is_the_summary_and_verbose_every_row() {
    let store = Store::recorded("real-small");
    let quiet = store.run(["scan", "-q", "--now", NOW]).ok().stdout;
    assert!(table_lines(&quiet).is_empty() && quiet.contains("34 bindings"), "{quiet}");
    let gc = |flag: &str| store.run([&["gc", "-n", flag], &LIMITS[..]].concat()).ok().stdout;
    assert_eq!(table_lines(&gc("-q")).len(), 0);
    assert!(table_lines(&gc("-v")).len() > 34);
}

#[test]
fn for_programs_there_is_one_document_and_nothing_else() {
    let store = Store::recorded("real-gateway");
    for args in [
        &["scan"][..],
        &["scan", "-v"],
        &["scan", "-q"],
        &["gc", "-n"],
        &["gc"],
        &["runs"],
        &["restore", "latest"],
        &["explain", "agent:main:main"],
    ] {
        let output = store.run([args, &["--json", "--now", NOW]].concat());
        assert!(output.code == Some(0), "{output}");
        let documents: Vec<Value> =
            serde_json::Deserializer::from_str(&output.stdout).into_iter().map(Result::unwrap).collect();
        assert_eq!(documents.len(), 1, "{args:?}");
        assert!(output.stdout.ends_with("}\n"), "{args:?}");
        assert_eq!(output.stderr, "", "{args:?}");
        let name = documents[0]["schema"].as_str().unwrap().to_owned();
        assert_eq!(name, format!("claw-sessions/{}/v1", args[0]));
    }
}

#[test]
fn every_exit_status_means_what_the_manual_says() {
    let store = StoreBuilder::new().agent("main").binding("agent:main:telegram:direct:1", |one| one.idle("9d")).build();
    store.run(["scan", "--now", NOW]).ok();
    store.run(["scan", "--check", "--now", NOW]).code(1);
    store.run(["gc", "--nonsense"]).code(2);
    store.run(["gc", "--max-removals", "0", "--now", NOW]).code(4);
    store.run(["gc", "--now", NOW]).ok();
    store.run(["scan", "--check", "--now", NOW]).ok();
    store.run(["gc", "--now", NOW]).ok();
    for folder in ["truncated", "self-parent"] {
        Store::crafted(folder).run(["scan", "--check", "--now", NOW]).code(1);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let store = Store::recorded("real-gateway");
    let mut scan = store.command(["scan", "-v", "--json", "--state-dir"]);
    let mut child = scan.arg(store.state_dir()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        return support::sys::skip("no /dev/full");
    };
    let store = Store::recorded("real-small");
    let mut scan = store.command(["scan", "--state-dir"]);
    let status = scan.arg(store.state_dir()).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn completions_and_man_pages_are_made() {
    let store = Store::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Output::of(&mut store.command(["completions", shell])).ok().stdout;
        assert!(script.contains("claw-sessions") && script.contains("max-bindings"), "{shell}");
    }
    Output::of(&mut store.command(["completions", "tcsh"])).code(2);
    let dir = store.root().join("man");
    Output::of(&mut store.command(["man", dir.to_str().unwrap()])).ok();
    let mut pages: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    for command in COMMANDS {
        assert!(pages.contains(&format!("claw-sessions-{command}.1")), "{pages:?}");
    }
    for page in &pages {
        let text = fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.contains(".TH claw-sessions"), "{page}");
    }
}

#[test]
fn a_link_in_the_place_of_a_man_page_is_not_followed() {
    let store = Store::empty();
    let (dir, precious) = (store.root().join("man"), store.root().join("precious"));
    fs::create_dir(&dir).unwrap();
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, dir.join("claw-sessions-gc.1")).unwrap();
    let told = Output::of(&mut store.command(["man", dir.to_str().unwrap()])).code(3);
    assert!(told.stderr.contains("claw-sessions-gc.1"), "{told}");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    assert!(fs::symlink_metadata(dir.join("claw-sessions-gc.1")).unwrap().is_symlink());

    // A page that is there is replaced.
    fs::remove_file(dir.join("claw-sessions-gc.1")).unwrap();
    fs::write(dir.join("claw-sessions-gc.1"), "old").unwrap();
    Output::of(&mut store.command(["man", dir.to_str().unwrap()])).ok();
    assert!(fs::read_to_string(dir.join("claw-sessions-gc.1")).unwrap().contains(".TH claw-sessions"));
}

#[test]
fn the_hint_names_a_key_that_was_meant() {
    let store = Store::recorded("real-gateway");
    for (typed, meant) in [
        ("700000401", "agent:main:telegram:direct:700000401"),
        ("AGENT:MAIN:MAIN", "agent:main:main"),
        ("telegram:direct:700000401", "agent:main:telegram:direct:700000401"),
    ] {
        let output = store.run(["explain", typed]).code(2);
        assert!(output.stderr.contains(meant), "{typed}: {output}");
    }
    let output = store.run(["explain", "x"]).code(2);
    assert!(output.stderr.contains("`claw-sessions scan` lists all keys"), "a letter is in many: {output}");
}

#[test]
fn runs_say_what_each_archive_holds_now() {
    let store = Store::recorded("real-small");
    let archive = |run: &Value| {
        let dir = store.path("claw-sessions/runs").join(run["id"].as_str().unwrap()).join("files");
        let agents = std::fs::read_dir(dir).unwrap().map(|agent| agent.unwrap().path());
        let files = agents.flat_map(|agent| std::fs::read_dir(agent).unwrap());
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let first = || store.run(["runs", "--json"]).ok().json()["runs"][0].clone();
    store.gc(["--all", "--now", NOW]).ok();
    let taken = first();
    assert_eq!(taken["archiveBytes"], archive(&taken));
    store.restore_latest().ok();
    let given = first();
    assert_eq!(given["archiveBytes"], archive(&given));
    assert!(given["archiveBytes"].as_u64() < taken["archiveBytes"].as_u64(), "{taken} {given}");
    assert_eq!(given["bytes"], taken["bytes"]);
}
