//! `openclaw agent --local` after us, with a model on loopback: a session that was kept goes on, one whose binding went
//! starts anew, and one that was repaired has its history.

use serde_json::Value;

use crate::programs::Model;
use crate::release::{PEER, Release};
use crate::world::{document, recorded, text};
use support::{Store, binding};

const MAIN: &str = "agent:main:main";
const ILLARION: &str = "agent:illarion:main";
/// Its header line was taken away: left alone, OpenClaw would empty it at the next turn.
const HEADERLESS: &str = "agent:main:telegram:group:-100555000802";

/// One turn; the id of the session that it was in.
pub(crate) fn turn(release: &Release, store: &Store, to: [&str; 2], message: &str) -> String {
    let args = ["agent", "--local", to[0], to[1], "--message", message, "--json"];
    let said = document(&release.run(store, &args).ok());
    assert!(text(&said["payloads"][0]["text"]).starts_with("answer"), "{said}");
    text(&said["meta"]["agentMeta"]["sessionId"])
}

fn session_id(scan: &Value, key: &str) -> String {
    text(&binding(scan, key)["sessionId"])
}

#[test]
fn a_kept_session_goes_on_an_expired_one_starts_anew_and_a_repaired_one_has_its_history() {
    let test = "a_kept_session_goes_on_an_expired_one_starts_anew_and_a_repaired_one_has_its_history";
    let Some(release) = Release::of(test, PEER) else { return };
    let model = Model::start(&release);
    let store = recorded("real-small", model.port);
    let before = store.scan([""; 0]);

    // Without us every key goes on: what is seen below is our doing.
    let control = recorded("real-small", model.port);
    assert_eq!(turn(&release, &control, ["--agent", "illarion"], "and now?"), session_id(&before, ILLARION));
    let history = model.last_asked();
    assert!(history.len() > 4 && history.last().unwrap() == "and now?", "{history:?}");

    store.run(["validate", "--repair"]).code(1);
    let limits = ["--idle", "10m", "--grace", "1m", "--unprotect", "main"];
    let done = store.gc([&limits[..], &["--keep", MAIN, "--keep", HEADERLESS]].concat()).ok().json();
    assert_eq!(binding(&done, ILLARION)["action"], "expire");

    assert_eq!(turn(&release, &store, ["--agent", "main"], "what did I say first?"), session_id(&before, MAIN));
    let asked = model.last_asked();
    assert_eq!(asked[0], "Hello, this is the first turn. [m:ok]");
    assert_eq!((asked.len(), &**asked.last().unwrap()), (12, "what did I say first?"));

    let id = session_id(&before, HEADERLESS);
    assert_eq!(turn(&release, &store, ["--session-id", &id], "still there?"), id);
    assert_eq!(model.last_asked().len(), 5, "four messages of the repaired transcript, and this one");

    let fresh = turn(&release, &store, ["--agent", "illarion"], "who are you?");
    assert_ne!(fresh, session_id(&before, ILLARION));
    assert_eq!(model.last_asked(), ["who are you?"]);

    // We read what it wrote.
    let after = store.scan([""; 0]);
    for key in [MAIN, HEADERLESS, ILLARION] {
        let one = binding(&after, key);
        assert_eq!((&*text(&one["run"]), &*text(&one["integrity"])), ("completed", "intact"), "{key}");
    }
    assert_eq!(session_id(&after, ILLARION), fresh);

    // What gc took comes back, but not in the place of what is there now.
    let bound = store.sessions("illarion")[ILLARION].clone();
    let restored = store.restore_latest().code(4).json();
    assert_eq!(restored["refused"][0]["what"], ILLARION);
    assert_eq!(store.sessions("illarion")[ILLARION], bound);
    turn(&release, &store, ["--agent", "marketer"], "back again");
    assert!(model.last_asked().len() > 2, "{:?}", model.last_asked());
    println!("{} turns against a model on loopback", model.asked());
}

#[test]
fn the_session_that_the_reset_rule_ends_is_the_one_that_openclaw_ends() {
    let Some(release) = Release::of("the_session_that_the_reset_rule_ends_is_the_one_that_openclaw_ends", PEER) else {
        return;
    };
    let model = Model::start(&release);
    let daily = r#"{"mode": "daily", "atHour": 4}"#;
    let never = r#"{"mode": "idle", "idleMinutes": 52560000}"#;
    for (rule, action) in [(daily, "expire"), (never, "keep")] {
        let store = recorded("real-small", model.port);
        let mut config: Value = serde_json::from_slice(&store.read("openclaw.json")).unwrap();
        config["session"]["reset"] = serde_json::from_str(rule).unwrap();
        store.write("openclaw.json", config.to_string());
        let planned = store.gc(["-n", "--unprotect", "main", "--grace", "1m"]).ok().json();
        assert_eq!(binding(&planned, MAIN)["action"], action, "{rule}");
        turn(&release, &store, ["--agent", "main"], "and now?");
        // The command line gives the entry a new session id at a rollover, and goes on in the old file.
        let went_on = store.sessions("main")[MAIN]["sessionId"] == binding(&planned, MAIN)["sessionId"];
        assert_eq!(went_on, action == "keep", "{rule}");
    }
}
