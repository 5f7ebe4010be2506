//! Transcripts made ill by the thousand: judging them never fails, and says of each what OpenClaw's own loader does
//! with it. The second part needs OpenClaw below `target/peer` (`make peer`); `FULL=1` (`make interop`) tries more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use claw_sessions::model::mend::{self, Mender, Proof};
use claw_sessions::model::problem::Code;
use claw_sessions::model::transcript::{Analyzer, Integrity, MAX_FINDINGS, Summary};
use rayon::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use crate::full;
use crate::release::Release;
use support::mutate::{bases, mutated};
use support::{NOW, Store, expected};

fn judge(text: &[u8]) -> Summary {
    let mut analyzer = Analyzer::default();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => analyzer.line(line, true),
            None => analyzer.line(line, false),
        }
    }
    analyzer.finish()
}

fn hurts(integrity: Integrity) -> bool {
    matches!(integrity, Integrity::Freezes | Integrity::Blocks | Integrity::Wiped)
}

fn counted<T: Ord>(all: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    all.into_iter().fold(BTreeMap::new(), |mut counts, one| {
        *counts.entry(one).or_default() += 1;
        counts
    })
}

#[test]
fn mutated_transcripts_are_judged_and_judged_alike() {
    let bases = bases();
    let count = if full() { 100_000 } else { 30_000 };
    let verdicts: Vec<&str> = (0..count)
        .into_par_iter()
        .map(|number| {
            let seed = format!("judge {number}");
            let (text, done) = mutated(&bases, &seed);
            let outcome = std::panic::catch_unwind(|| check(&text));
            outcome.unwrap_or_else(|_| panic!("seed {seed:?}: {done:?}:\n{}", text.escape_ascii()))
        })
        .collect();
    println!("{count} judged: {:?}", counted(verdicts.iter().copied()));
    for verdict in ["freezes", "blocks", "wiped", "empty", "cut", "torn", "intact"] {
        assert!(verdicts.contains(&verdict), "no mutation led to {verdict}");
    }
}

/// What holds of every transcript, however ill; gives its verdict.
fn check(text: &[u8]) -> &'static str {
    let summary = judge(text);
    assert_eq!(judge(text), summary, "judged again");
    assert_eq!(summary.lines, text.split_inclusive(|&byte| byte == b'\n').count() as u64);
    assert!(summary.findings.len() <= MAX_FINDINGS);
    assert!(summary.findings.is_sorted_by_key(|found| (found.line, found.byte)));
    assert!(summary.findings.iter().all(|found| found.byte.is_none_or(|byte| byte <= text.len() as u64)));

    let verdict = summary.integrity;
    assert_eq!(judge(&[b"\n \t\n", text].concat()).integrity, verdict, "blank lines before");
    if !text.ends_with(b"\n") {
        let ended = judge(&[text, b"\n"].concat()).integrity;
        assert!(ended == verdict || (verdict, ended) == (Integrity::Torn, Integrity::Intact), "ended: {ended:?}");
    }
    if verdict == Integrity::Intact {
        let line: &[u8] =
            br#"{"type":"message","id":"healthy0","parentId":null,"message":{"role":"user","content":"Go on."}}"#;
        let grown = judge(&[text, line, b"\n"].concat()).integrity;
        assert!(!hurts(grown), "a healthy line makes it {grown:?}");
    }
    verdict.as_str()
}

/// The mended text, when there is one exact answer.
fn mended(text: &[u8]) -> Option<(Vec<u8>, Summary)> {
    let judge = |text: &[u8]| {
        let mut proof = Proof::default();
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let body = line.strip_suffix(b"\n");
            proof.take(body.unwrap_or(line), body.is_some());
        }
        proof.finish_with_cure()
    };
    let (before, cure) = judge(text);
    let cure = cure?;
    let header = mend::header("made", "2026-11-22T22:00:00.000Z", "/work");
    let (mut mender, mut new) = (Mender::new(&cure, &header), Vec::new());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let body = line.strip_suffix(b"\n");
        let mut emit = |bytes: &[u8], ends: bool| {
            new.extend_from_slice(bytes);
            new.extend(ends.then_some(b'\n'));
            Ok::<(), ()>(())
        };
        mender.line(body.unwrap_or(line), body.is_some(), &mut emit).unwrap();
    }
    let (after, _) = judge(&new);
    cure.is_exact(&before, &after).then_some((new, after))
}

/// The messages that stand in a transcript, each id once: of entries with one id the loader takes the last.
pub(crate) fn messages(text: &[u8]) -> usize {
    let lines = text.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let ids = lines.filter(|line| line["type"] == "message" && line["message"].is_object());
    ids.map(|line| line["id"].to_string()).collect::<BTreeSet<_>>().len()
}

#[test]
fn the_loader_of_openclaw_finds_the_whole_history_in_what_was_mended() {
    let Some(peer) = Release::peer("the_loader_of_openclaw_finds_the_whole_history_in_what_was_mended") else { return };
    let dir = TempDir::new().unwrap();
    // The crafted folders, mended by the built binary.
    let mut crafted = BTreeMap::new();
    for row in expected("crafted/expected.tsv").iter().filter(|row| row["store"] == "ok") {
        let store = Store::crafted(&row["folder"]);
        let output = store.run(["validate", "--repair", "--json", "--now", NOW]);
        let mended = output.json()["repair"]["mended"].clone();
        let paths = mended.as_array().unwrap().iter().map(|one| &one["path"]);
        // Of a store only paths are mended.
        for path in paths.filter(|path| path.as_str().unwrap().ends_with(".jsonl")) {
            let text = store.read(path.as_str().unwrap());
            fs::write(dir.path().join(format!("{}.jsonl", row["folder"])), &text).unwrap();
            // The one tree with a side branch, whose message is in no context.
            let aside = usize::from(row["folder"] == "version-absent");
            crafted.insert(row["folder"].clone(), messages(&text) - aside);
        }
    }
    assert!(crafted.len() >= 20, "{crafted:?}");
    // And whatever of the mutated ones has an exact answer.
    let bases = bases();
    let count = if full() { 20_000 } else { 5_000 };
    let made: BTreeMap<String, Integrity> = (0..count)
        .into_par_iter()
        .filter_map(|number| {
            let name = format!("mended-{number:05}");
            let (new, after) = mended(&mutated(&bases, &name).0)?;
            fs::write(dir.path().join(format!("{name}.jsonl")), new).unwrap();
            Some((name, after.integrity))
        })
        .collect();
    assert!(made.len() > count / 10, "{} of {count} can be mended", made.len());

    let said = peer.load(dir.path());
    let mut wrong = Vec::new();
    for line in said.lines().filter(|line| !line.starts_with("clock ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, loads, lost) = (words[0].strip_suffix(".jsonl").unwrap(), words[1] == "loads", words[3] == "0");
        let right = match (crafted.get(name), made.get(name)) {
            (Some(&held), _) => loads && lost && words[4] == held.to_string(),
            (None, Some(Integrity::Intact)) => loads && lost,
            (None, Some(Integrity::Empty)) => loads || words[1] == "empty",
            (None, _) => loads,
        };
        if !right {
            let kept = keep(words[0], &mutated(&bases, name).0);
            wrong.push(format!("{line}: {:?} {:?} from {}", crafted.get(name), made.get(name), kept.display()));
        }
    }
    println!(
        "{} crafted and {} of {count} mutated transcripts mended: {:?}",
        crafted.len(),
        made.len(),
        counted(made.values().map(|one| one.as_str()))
    );
    assert!(wrong.is_empty(), "{} mended files are not what they should be:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_loader_of_openclaw_agrees() {
    let Some(peer) = Release::peer("the_loader_of_openclaw_agrees") else { return };
    let count = if full() { 20_000 } else { 5_000 };
    let bases = bases();
    let dir = TempDir::new().unwrap();
    let name = |number: usize| format!("{number:05}.jsonl");
    let ours: Vec<Summary> = (0..count)
        .into_par_iter()
        .map(|number| {
            let (text, _) = mutated(&bases, &name(number));
            fs::write(dir.path().join(name(number)), &text).unwrap();
            judge(&text)
        })
        .collect();

    let said = peer.load(dir.path());
    let (clocks, theirs): (Vec<_>, Vec<_>) = said.lines().partition(|line| line.starts_with("clock "));
    assert_eq!(theirs.len(), count, "one verdict for each");

    let mut wrong = Vec::new();
    for (number, (ours, line)) in ours.iter().zip(&theirs).enumerate() {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(&*name(number)));
        let (theirs, stage, lost) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        if !agree(ours, theirs, stage, lost.parse().unwrap()) {
            let (text, done) = mutated(&bases, &name(number));
            let kept = keep(&name(number), &text);
            let ours = ours.integrity.as_str();
            wrong.push(format!("{}: {ours} here, {theirs} at {stage}, {lost} lost: {done:?}", kept.display()));
        }
    }
    println!("{count} loaded: {:?}", counted(theirs.iter().map(|line| line.split(' ').nth(1).unwrap())));
    assert!(wrong.is_empty(), "{} of {count} disagree:\n{}", wrong.len(), wrong.join("\n"));

    // The marker that stands for an endless loop is true to it.
    assert!(clocks.len() >= 6, "{clocks:?}");
    for clock in clocks {
        assert!(clock.ends_with("freezes runs on") || clock.ends_with("loads ends"), "{clock}");
    }
}

/// Whether the loader does what the verdict says. `cut` and `torn` are about what is in the context, not about whether
/// there is one; but where neither is said, nothing is lost at the next turn.
fn agree(ours: &Summary, theirs: &str, stage: &str, lost: i64) -> bool {
    match ours.integrity {
        // The loader takes any content; it is the request that cannot be built of it.
        Integrity::Blocks if theirs == "loads" => ours.findings.iter().any(|found| found.code == Code::ContentShape),
        Integrity::Freezes | Integrity::Blocks | Integrity::Wiped => theirs == ours.integrity.as_str(),
        // A header without its newline, and nothing else: the next one is glued to it, and the one after finds neither.
        // A run does not append to such a file, it writes it anew.
        Integrity::Empty if theirs == "wiped" => stage == "reopen",
        Integrity::Empty => matches!(theirs, "loads" | "empty"),
        Integrity::Intact => theirs == "loads" && lost == 0,
        _ => theirs == "loads",
    }
}

/// Writes a transcript to where it can be looked at.
fn keep(name: &str, text: &[u8]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
    dir.join(name)
}
