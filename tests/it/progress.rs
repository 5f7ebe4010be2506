//! While files move and are hashed a bar on a terminal says how far that came, once it takes longer than a second; to
//! anything else than a terminal nothing is said.

use std::process::Command;

use support::lessons::{KEY, OTHER};
use support::{NOW, Output, Store, StoreBuilder, sys};

const THIRD: &str = "agent:main:telegram:direct:3";

fn three() -> Store {
    let mut builder = StoreBuilder::new().agent("main");
    for (at, key) in [KEY, OTHER, THIRD].into_iter().enumerate() {
        builder = builder.binding(key, move |one| one.idle("9d").session_id(["one", "two", "three"][at]));
    }
    builder.build()
}

/// Runs a command that renames and reads slowly: on a terminal, or not.
fn slowly(store: &Store, args: &[&str], terminal: bool) -> Output {
    let log = store.root().join("strace.log");
    let inject = "inject=renameat2:delay_enter=600000";
    let options = ["-f", "-e", "trace=renameat2", "-e", inject, "-o", log.to_str().unwrap()];
    let mut slow = store.under("strace", options, args);
    if !terminal {
        return Output::of(&mut slow);
    }
    let words: Vec<String> = std::iter::once(slow.get_program())
        .chain(slow.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]).env_clear().current_dir(store.root());
    script.stdin(std::process::Stdio::null());
    for (name, value) in slow.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    script.env("TERM", "xterm").env("PATH", std::env::var_os("PATH").unwrap());
    Output::of(&mut script)
}

#[test]
fn a_bar_on_a_terminal_says_how_far_files_came() {
    if !sys::has("strace") || !sys::has("script") {
        return sys::skip("no strace, or no script");
    }
    let store = three();
    let taken = slowly(&store, &["gc", "--now", NOW], true).ok();
    assert!(taken.stdout.contains("moving files into the archive"), "{taken}");
    assert!(taken.stdout.contains("3 transcripts moved"), "{taken}");
    let back = slowly(&store, &["restore", "latest"], true).ok();
    assert!(back.stdout.contains("bringing files back"), "{back}");
    assert!(back.stdout.contains("3 bindings and 3 files"), "{back}");
}

#[test]
fn nothing_is_said_where_there_is_no_terminal_or_a_program_asks() {
    if !sys::has("strace") || !sys::has("script") {
        return sys::skip("no strace, or no script");
    }
    let store = three();
    let taken = slowly(&store, &["gc", "--now", NOW], false).ok();
    assert!(taken.stdout.contains("3 transcripts moved"), "{taken}");
    assert_eq!(taken.stderr, "");
    let back = slowly(&store, &["restore", "latest", "--quiet"], true).ok();
    assert!(!back.stdout.contains("bringing files back"), "{back}");
}
