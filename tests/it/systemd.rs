//! `systemd` writes units that systemd takes and that run, and touches nothing that it did not write; `scan
//! --restart-due` lets one of them restart the gateway. `UPDATE_DOCS=1` writes the examples in `docs/systemd` anew.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use claw_sessions::render::units::{Names, Place, UnitScope, Wiring};
use serde_json::json;
use support::{LiveProcess, NOW, Output, Store, StoreBuilder, sys, tree};

const UNITS: &str = "home/.config/systemd/user";
const FILES: [&str; 6] = [
    "openclaw-gateway.service.d/claw-sessions.conf",
    "claw-sessions-night.service",
    "claw-sessions-night.timer",
    "claw-sessions-restart.service",
    "claw-sessions-readmit.service",
    "claw-sessions-readmit.timer",
];

/// The verb, for the default state directory of this world's home unless it is told otherwise.
fn systemd(store: &Store, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = store.command([&["systemd"], args].concat());
    Output::of(command.env_remove("TMPDIR").envs(env.iter().copied()))
}

/// With what differs from host to host replaced.
fn plain(store: &Store, text: &str) -> String {
    let binary = support::binary().canonicalize().unwrap();
    let text = text.replace(binary.to_str().unwrap(), "/usr/bin/claw-sessions");
    text.replace(store.home().to_str().unwrap(), "/home/openclaw")
}

/// The units of a host where nothing is out of the ordinary.
fn example(scope: UnitScope) -> Vec<(String, String)> {
    let wiring = Wiring {
        names: Names { gateway: "openclaw-gateway.service".to_owned(), profile: None },
        scope,
        binary: "/usr/bin/claw-sessions".to_owned(),
        place: Place::default(),
        writable: vec!["/home/openclaw/.openclaw".to_owned()],
        user: (scope == UnitScope::System).then(|| "openclaw".to_owned()),
    };
    wiring.files()
}

fn examples() -> PathBuf {
    support::repository("docs/systemd")
}

#[test]
fn the_examples_in_docs_are_current() {
    for (scope, dir) in [(UnitScope::User, "user"), (UnitScope::System, "system")] {
        let files = example(scope);
        assert_eq!(files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), FILES);
        for (path, text) in files {
            let at = examples().join(dir).join(path);
            if std::env::var_os("UPDATE_DOCS").is_some() {
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                fs::write(&at, &text).unwrap();
            }
            let written = fs::read_to_string(&at).unwrap_or_default();
            assert!(written == text, "{} is out of date: run UPDATE_DOCS=1 cargo test --test it systemd", at.display());
        }
    }
}

#[test]
fn the_verb_prints_the_examples_with_their_paths() {
    let store = Store::empty();
    let printed = |args: &[&str]| plain(&store, &systemd(&store, args, &[]).ok().stdout);
    let expected = |dir: &str, scope: UnitScope| -> String {
        let files = example(scope).into_iter().map(|(path, text)| format!("# {dir}/{path}\n{text}"));
        files.collect::<Vec<_>>().join("\n") + "\n"
    };
    let user = expected("/home/openclaw/.config/systemd/user", UnitScope::User);
    assert_eq!(printed(&[]), user);
    // Whose home this is, the user database does not know: the place is spelled out.
    let system = printed(&["--system"]).replace(" --state-dir /home/openclaw/.openclaw", "");
    let owner = system.lines().find(|line| line.starts_with("User=")).unwrap();
    assert_eq!(system.replace(owner, "User=openclaw"), expected("/etc/systemd/system", UnitScope::System));
    assert!(!store.home().join(".config").exists(), "printing writes nothing");
}

#[test]
fn installing_is_idempotent_and_removing_takes_away_what_was_written() {
    let store = Store::empty();
    insta::assert_snapshot!(plain(&store, &systemd(&store, &["--install"], &[]).ok().stdout), @r"
    written /home/openclaw/.config/systemd/user/openclaw-gateway.service.d/claw-sessions.conf
    written /home/openclaw/.config/systemd/user/claw-sessions-night.service
    written /home/openclaw/.config/systemd/user/claw-sessions-night.timer
    written /home/openclaw/.config/systemd/user/claw-sessions-restart.service
    written /home/openclaw/.config/systemd/user/claw-sessions-readmit.service
    written /home/openclaw/.config/systemd/user/claw-sessions-readmit.timer
    warning: there is no openclaw-gateway.service yet; if the gateway's unit has another name, set OPENCLAW_SYSTEMD_UNIT to it
    Next: systemctl --user daemon-reload
    Next: systemctl --user enable --now claw-sessions-night.timer claw-sessions-readmit.timer
    ");
    let installed = tree(&store.root().join(UNITS));
    let again = systemd(&store, &["--install"], &[]).ok().stdout;
    assert_eq!(again.lines().filter(|line| line.starts_with("unchanged ")).count(), FILES.len(), "{again}");
    installed.exact().assert_same(&tree(&store.root().join(UNITS)).exact());
    // What was written by an older version, or for another place, is brought up to date.
    fs::write(store.root().join(UNITS).join(FILES[1]), "# Written by claw-sessions 0.0.1\n").unwrap();
    let third = systemd(&store, &["--install"], &[]).ok().stdout;
    assert_eq!(third.lines().filter(|line| line.starts_with("written ")).count(), 1, "{third}");
    installed.contents().assert_same(&tree(&store.root().join(UNITS)).contents());
    insta::assert_snapshot!(plain(&store, &systemd(&store, &["--remove"], &[]).ok().stdout), @r"
    removed /home/openclaw/.config/systemd/user/openclaw-gateway.service.d/claw-sessions.conf
    removed /home/openclaw/.config/systemd/user/claw-sessions-night.service
    removed /home/openclaw/.config/systemd/user/claw-sessions-night.timer
    removed /home/openclaw/.config/systemd/user/claw-sessions-restart.service
    removed /home/openclaw/.config/systemd/user/claw-sessions-readmit.service
    removed /home/openclaw/.config/systemd/user/claw-sessions-readmit.timer
    Next: systemctl --user disable --now claw-sessions-night.timer claw-sessions-readmit.timer
    Next: systemctl --user daemon-reload
    ");
    assert_eq!(fs::read_dir(store.root().join(UNITS)).unwrap().count(), 0, "the drop-in directory is gone too");
    assert_eq!(systemd(&store, &["--remove"], &[]).ok().stdout, "");
}

#[test]
fn nothing_is_written_when_a_file_of_somebody_else_is_in_the_way() {
    for (name, is_masked) in [(FILES[0], false), (FILES[2], true)] {
        let store = Store::empty();
        let path = store.root().join(UNITS).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if is_masked {
            symlink("/dev/null", &path).unwrap();
        } else {
            fs::write(&path, "[Service]\nExecStartPre=/bin/true\n").unwrap();
        }
        let before = tree(&store.root().join(UNITS));
        let output = systemd(&store, &["--install"], &[]).code(4);
        assert!(
            output.stderr.contains(path.to_str().unwrap()) && output.stderr.contains("nothing was written"),
            "{output}"
        );
        before.exact().assert_same(&tree(&store.root().join(UNITS)).exact());
        let output = systemd(&store, &["--remove"], &[]).code(4);
        assert!(output.stdout.starts_with("left alone"), "{output}");
        before.exact().assert_same(&tree(&store.root().join(UNITS)).exact());
    }
}

#[test]
fn other_drop_ins_and_unit_files_stay() {
    let store = Store::empty();
    let dir = store.root().join(UNITS);
    let own = [dir.join("openclaw-gateway.service"), dir.join("openclaw-gateway.service.d/override.conf")];
    fs::create_dir_all(own[1].parent().unwrap()).unwrap();
    for path in &own {
        fs::write(path, "[Service]\n").unwrap();
    }
    let before = tree(&dir);
    let installed = systemd(&store, &["--install"], &[]).ok();
    assert!(!installed.stdout.contains("warning"), "{installed}");
    systemd(&store, &["--remove"], &[]).ok();
    before.contents().assert_same(&tree(&dir).contents());
}

#[test]
fn units_are_named_and_placed_as_openclaws() {
    let store = Store::empty();
    fs::create_dir(store.home().join(".openclaw-work")).unwrap();
    let paths = |args: &[&str], env: &[(&str, &str)]| -> Vec<String> {
        let document = systemd(&store, &[args, &["--json"]].concat(), env).ok().json();
        let files = document["files"].as_array().unwrap().clone();
        files.iter().map(|file| plain(&store, file["path"].as_str().unwrap())).collect()
    };
    let work = paths(&["--profile", "work"], &[]);
    let home = "/home/openclaw/.config/systemd/user";
    assert_eq!(work[0], format!("{home}/openclaw-gateway-work.service.d/claw-sessions.conf"));
    assert_eq!(work[1], format!("{home}/claw-sessions-night-work.service"));
    for name in ["my-gateway", "my-gateway.service"] {
        let named = paths(&[], &[("OPENCLAW_SYSTEMD_UNIT", name)]);
        assert_eq!(named[0], format!("{home}/my-gateway.service.d/claw-sessions.conf"));
        assert_eq!(named[1], format!("{home}/claw-sessions-night.service"));
    }
    assert_eq!(paths(&["--profile", "default"], &[])[0], paths(&[], &[])[0]);
    assert!(paths(&[], &[("XDG_CONFIG_HOME", "/xdg")])[0].starts_with("/xdg/systemd/user/"));
    assert!(paths(&["--dir", "/units"], &[])[0].starts_with("/units/"));
    systemd(&store, &[], &[("OPENCLAW_SYSTEMD_UNIT", "../x")]).code(2);
}

/// The command lines of the printed units, without what stands before the verb.
fn night(store: &Store, args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let text = plain(store, &systemd(store, args, env).ok().stdout);
    let is_night =
        |file: &&str| file.lines().next().is_some_and(|path| path.contains("-night") && path.ends_with(".service"));
    let night = text.split("\n# /").find(is_night).unwrap().to_owned();
    let lines = night.lines().filter(|line| line.starts_with("ExecStart=") || line.starts_with("Environment="));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_the_environment_of_the_unit_would_not_give_is_spelled_out() {
    let store = Store::empty();
    let [elsewhere, work] = ["elsewhere", ".openclaw-work"].map(|name| store.home().join(name));
    for dir in [&elsewhere, &work] {
        fs::create_dir(dir).unwrap();
    }
    let default = store.state_dir();
    let [elsewhere, default] = [&elsewhere, &default].map(|dir| dir.to_str().unwrap());
    let gc = |options: &str| format!("ExecStart=/usr/bin/claw-sessions {options}gc -q");
    assert_eq!(night(&store, &["--state-dir", default], &[]), [gc("")]);
    assert_eq!(night(&store, &["--profile", "work"], &[]), [gc("--profile work ")]);
    let spelled = [gc("--state-dir /home/openclaw/elsewhere ")];
    assert_eq!(night(&store, &["--state-dir", elsewhere], &[]), spelled);
    assert_eq!(night(&store, &[], &[("OPENCLAW_STATE_DIR", elsewhere)]), spelled);
    let both = [gc("--profile work --state-dir /home/openclaw/elsewhere ")];
    assert_eq!(night(&store, &["--profile", "work", "--state-dir", elsewhere], &[]), both);
    assert_eq!(
        night(&store, &[], &[("OPENCLAW_CONFIG_PATH", "/etc/openclaw 5%.json"), ("TMPDIR", "/run/tmp")]),
        [
            "Environment=TMPDIR=/run/tmp",
            "Environment=\"OPENCLAW_CONFIG_PATH=/etc/openclaw 5%%.json\"",
            "ExecStart=/usr/bin/claw-sessions gc -q"
        ]
    );
    fs::write(store.home().join("policy.toml"), "").unwrap();
    let config = gc("--config /home/openclaw/policy.toml ");
    assert_eq!(night(&store, &["--config", "home/policy.toml"], &[]), [config]);
}

#[test]
fn stores_outside_the_state_directory_may_be_written_too() {
    let store = Store::empty();
    store.write("openclaw.json", json!({"session": {"store": "/srv/stores/{agentId}/sessions.json"}}).to_string());
    let text = plain(&store, &systemd(&store, &[], &[]).ok().stdout);
    assert!(text.contains("\nReadWritePaths=-/home/openclaw/.openclaw -/srv/stores/main\n"), "{text}");
}

#[test]
fn without_a_state_directory_it_says_so_and_still_removes() {
    let store = Store::empty();
    systemd(&store, &["--install"], &[]).ok();
    fs::remove_dir_all(store.state_dir()).unwrap();
    insta::assert_snapshot!(plain(&store, &systemd(&store, &[], &[]).code(2).to_string()), @r"
    --- stderr
    error: there is no state directory /home/openclaw/.openclaw
    hint: OpenClaw has not run as this user yet, or runs as another one; name OpenClaw's state directory with --state-dir DIR or --profile NAME
    --- exit status 2
    ");
    systemd(&store, &["--remove"], &[]).ok();
    systemd(&store, &["--agent", "main"], &[]).code(2);
    systemd(&store, &["--install", "--remove"], &[]).code(2);
}

#[test]
fn units_of_a_user_are_for_the_users_own_state_directory() {
    if !sys::is_root() {
        return sys::skip("only root can give a directory away");
    }
    let store = Store::empty();
    lchown(store.state_dir(), Some(sys::NOBODY), None).unwrap();
    let output = systemd(&store, &[], &[]).code(2);
    assert!(output.stderr.contains("belongs to nobody") && output.stderr.contains("--system"), "{output}");
    let system = systemd(&store, &["--system"], &[]).ok().stdout;
    assert_eq!(system.matches("\nUser=nobody\n").count(), 3, "{system}");
    lchown(store.state_dir(), Some(4242), None).unwrap();
    assert!(systemd(&store, &["--system"], &[]).ok().stdout.contains("\nUser=4242\n"), "systemd takes a number too");
}

/// A world whose state directory has a name that unit files do not take as it is.
fn awkward() -> (Store, String) {
    let store = Store::recorded("real-small");
    let dir = store.home().join("100% $HOME \"open\" claw");
    fs::rename(store.state_dir(), &dir).unwrap();
    (store, dir.to_str().unwrap().to_owned())
}

#[test]
fn systemd_takes_the_units() {
    if !sys::has("systemd-analyze") {
        return sys::skip("no systemd-analyze: systemd's view of the units");
    }
    let (store, dir) = awkward();
    for (flag, to, asked) in [("--user", "user", &[][..]), ("--system", "system", &["--system"])] {
        let units = store.root().join(to);
        systemd(&store, &[asked, &["--install", "--dir", to, "--state-dir", &dir]].concat(), &[]).ok();
        // A drop-in is looked at with its unit.
        fs::write(units.join("openclaw-gateway.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
        for file in FILES[1..].iter().chain(&["openclaw-gateway.service"]) {
            let verified = analyze(&store, &[flag, "verify", "--man=no"], &units.join(file)).ok();
            // Whose the state directory is here is the tester's affair, and so are other units of this host.
            let ours = |line: &&str| line.contains("claw-sessions") && !line.contains("Special user");
            assert_eq!(verified.stderr.lines().find(ours), None, "{file}");
        }
    }
    for file in FILES.iter().filter(|file| file.ends_with(".service")) {
        // A user's systemd has no capabilities to drop, and the score takes its services for some of root.
        analyze(&store, &["security", "--offline=true", "--threshold=20"], &examples().join("system").join(file)).ok();
    }
}

fn analyze(store: &Store, args: &[&str], file: &Path) -> Output {
    // A user's systemd has a directory of its own there, and a build may have none.
    Output::of(Command::new("systemd-analyze").args(args).arg(file).env("XDG_RUNTIME_DIR", store.root()))
}

/// Runs a command line of a unit as systemd would: without a shell, with hardly any environment, output to the journal.
fn run_line(store: &Store, line: &str) -> Output {
    let words: Vec<&str> = line.split_once('=').unwrap().1.trim_start_matches('-').split(' ').collect();
    let mut command = Command::new(words[0]);
    // Judged when the recording ended, whenever the test runs.
    command
        .args(&words[1..])
        .args(["--now", NOW])
        .env_clear()
        .env("HOME", store.home())
        .env("JOURNAL_STREAM", "1:2")
        .current_dir("/");
    Output::of(&mut command)
}

#[test]
fn the_lines_of_the_units_run() {
    let store = Store::recorded("real-small");
    let text = systemd(&store, &[], &[]).ok().stdout;
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let boot = run_line(&store, &line("ExecStartPre=")).ok();
    assert_eq!(boot.stdout, "");
    assert!(boot.stderr.starts_with("<6>claw-sessions: 1 mended of 34 bindings; "), "{boot}");
    let due = run_line(&store, &line("ExecCondition=")).code(1);
    assert_eq!(due.stdout, "No restart: no gateway is alive: gc needs no restart.\n");
    assert!(run_line(&store, &line("ExecStart=")).ok().stdout.contains("Nothing to do."));
    let readmit = text.lines().find(|line| line.starts_with("ExecStart=") && line.contains("--deferred")).unwrap();
    assert!(run_line(&store, readmit).ok().stdout.contains("Nothing is deferred."));
}

/// The commands of the crontabs in `docs/cron.md`.
fn crontab_commands() -> Vec<String> {
    let page = fs::read_to_string(support::repository("docs/cron.md")).unwrap();
    let lines = page.lines().filter(|line| line.starts_with("30 4 * * *"));
    lines.map(|line| line.rsplit_once("  ").unwrap().1.replace("/usr/local/bin/", "")).collect()
}

#[test]
fn cron_mails_only_when_something_happened() {
    let commands = crontab_commands();
    assert_eq!(commands.len(), 3);
    for command in commands {
        let (store, gateway) = beside_gateway(|store| store);
        let restarts = command.contains("--restart-due");
        let gateway = restarts.then_some(gateway);
        let bin = store.root().join("bin");
        let ours = format!("exec {} \"$@\" --now {NOW}", support::binary().display());
        sys::script(&bin.join("claw-sessions"), &ours);
        // It has stopped when it is gone, be it only as a zombie: this test is its parent.
        let stop = gateway.as_ref().map(|gateway| {
            let pid = gateway.pid();
            let gone = format!("[ ! -d /proc/{pid} ] || grep -q '^State:.Z' /proc/{pid}/status");
            format!("kill {pid}; until {gone}; do sleep 0.01; done")
        });
        let stop = stop.unwrap_or_default();
        sys::script(&bin.join("openclaw"), &format!("echo \"$*\"; if [ \"$2\" = stop ]; then {stop}; fi"));
        let cron = || {
            let path = format!("{}:/usr/bin:/bin", bin.display());
            let mut cron = Command::new("/bin/sh");
            cron.args(["-c", &command]).env_clear().env("PATH", path).env("HOME", store.home());
            cron.env("TMPDIR", store.root().join("tmp"));
            Output::of(cron.stdin(std::process::Stdio::null()))
        };
        let first = cron().ok();
        assert!(first.stdout.contains("Done: 1 expired"), "{command}: {first}");
        assert_eq!(first.stdout.contains("gateway stop"), restarts, "{command}: {first}");
        let second = cron();
        assert_eq!((second.stdout, second.stderr), (String::new(), String::new()), "{command}");
    }
}

const KEY: &str = "agent:main:telegram:direct:1";

/// A store with something for gc to do, beside a gateway that offers no lock.
fn beside_gateway(build: impl FnOnce(StoreBuilder) -> StoreBuilder) -> (Store, LiveProcess) {
    let stale = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("9d"));
    let store = build(stale).build();
    let process = LiveProcess::spawn();
    store.gateway_lock(process.pid(), process.starttime());
    (store, process)
}

fn due(store: &Store) -> (Option<i32>, String) {
    let output = store.run(["scan", "--restart-due", "30m", "--now", NOW]);
    assert_eq!(output.stderr, "");
    (output.code, output.stdout)
}

#[test]
fn a_restart_is_due_when_gc_has_something_to_do_and_all_is_quiet() {
    let (store, _gateway) =
        beside_gateway(|store| store.binding("agent:main:telegram:direct:2", |one| one.idle("31m")));
    let before = store.tree().exact();
    let (code, text) = due(&store);
    assert_eq!(text, "Restart due: gc has something to do, and nothing was active for 30m.\n");
    assert_eq!(code, Some(0));
    before.assert_same(&store.tree().exact());
    let document = store.scan(["--restart-due", "30m", "--now", NOW]);
    assert_eq!(document["restart"]["due"], true);
    store.run(["scan", "--restart-due", "30m", "--check"]).code(2);
    store.run(["scan", "--restart-due", "30"]).code(2);
}

#[test]
fn a_restart_is_not_due_otherwise() {
    #[track_caller]
    fn not(store: &Store, why: &str) {
        assert_eq!(due(store), (Some(1), format!("No restart: {why}.\n")));
    }
    let other = "agent:main:telegram:direct:2";
    let (store, gateway) = beside_gateway(|store| store);
    drop(gateway);
    not(&store, "no gateway is alive: gc needs no restart");
    let (store, _gateway) = beside_gateway(|store| store.config(r#"{"meta": {"lastTouchedVersion": "2026.4.29"}}"#));
    not(&store, "the gateway honors the store lock: gc works beside it");
    let (store, _gateway) = beside_gateway(|store| store.binding(other, |one| one.idle("29m")));
    not(&store, &format!("{other} was active 29m ago; it must be quiet for 30m"));
    let run = LiveProcess::spawn();
    let (store, _gateway) = beside_gateway(|store| store.binding(other, |one| one.idle("5h").lock(run.lock())));
    not(&store, &format!("a run of {other} is live"));
    // A long run answers an old message.
    let long = |one: support::build::Binding| {
        one.idle("5m").field("status", "running").field("lastInteractionAt", 1_795_384_800_000_i64 - 7_200_000)
    };
    let (store, _gateway) = beside_gateway(|store| store.binding(other, long));
    not(&store, &format!("a run of {other} is live"));
    let (store, _gateway) = beside_gateway(|store| store.config("{}"));
    store.run(["gc", "--online", "--now", NOW]).ok();
    not(&store, "gc has nothing to do");
}
