//! Problems: every kind of damage that is known, how bad it is, what OpenClaw does with it, and what mends it.
//!
//! The table below is the one list of them: `validate --list-checks` prints it, and `docs/checks.md` is made from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a problem is, worst first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The next use loses a whole history or all bindings, fails every run, or hangs the gateway.
    Fatal,
    /// Something is lost, or will be at the next use.
    High,
    /// OpenClaw copes; a person may want to know.
    Low,
    /// Normal, yet worth knowing when something else is looked for.
    Info,
}

impl Severity {
    /// Every severity, worst first.
    pub const ALL: [Self; 4] = [Self::Fatal, Self::High, Self::Low, Self::Info];

    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::High => "high",
            Self::Low => "low",
            Self::Info => "info",
        }
    }
}

/// What can be done about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// `validate --repair` mends it: there is one exact answer.
    Repair,
    /// `validate --repair --salvage` gives back what is whole.
    Salvage,
    /// `quarantine KEY` takes the session aside.
    Quarantine,
    /// `restore --stuck-bak` brings it back.
    StuckBak,
    /// A person can, outside claw-sessions.
    Person(&'static str),
    /// Nothing needs to be done.
    Nothing,
}

/// Which part of what is checked a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A store as a whole.
    Store,
    /// One binding of a store.
    Binding,
    /// A transcript's file.
    File,
    /// A line of a transcript.
    Line,
}

impl About {
    /// The heading of its group.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Store => "Stores",
            Self::Binding => "Bindings",
            Self::File => "Files",
            Self::Line => "Lines of transcripts",
        }
    }
}

macro_rules! codes {
    ($($about:ident { $($name:ident $code:literal $severity:ident $remedy:expr,
        $what:literal, $effect:literal $(, later $later:literal)?;)* })*) => {
        /// The kinds of problems: stable codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[doc = $what] #[serde(rename = $code)] $name,)*)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $($(Self::$name => $code,)*)* }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $($(Self::$name => Severity::$severity,)*)* }
            }

            /// What can be done about it.
            pub const fn remedy(self) -> Remedy {
                use Remedy::{Nothing, Person, Quarantine, Repair, Salvage, StuckBak};
                match self { $($(Self::$name => $remedy,)*)* }
            }

            /// What it is about.
            pub const fn about(self) -> About {
                match self { $($(Self::$name => About::$about,)*)* }
            }

            /// What it is.
            pub const fn describe(self) -> &'static str {
                match self { $($(Self::$name => $what,)*)* }
            }

            /// What OpenClaw 2026.3.11 does with it (F§2.4, F§4.5).
            pub const fn effect(self) -> &'static str {
                match self { $($(Self::$name => $effect,)*)* }
            }

            /// What OpenClaw 2026.6.11 and later does with it, where that differs (F§2.4, F§4.5, F§13.7).
            pub const fn later_effect(self) -> Option<&'static str> {
                match self { $($(Self::$name => codes!(@later $($later)?),)*)* }
            }
        }
    };
    (@later) => { None };
    (@later $text:literal) => { Some($text) };
}

codes! {
    Store {
        StoreMalformed "store-malformed" Fatal Salvage, "the store is not JSON",
            "reads no bindings, and overwrites the file at its next save";
        StoreBom "store-bom" Fatal Salvage, "the store starts with a byte order mark",
            "reads no bindings, and overwrites the file at its next save";
        StoreNotObject "store-not-object" Fatal Person("put a backup of the store in its place: nothing in it is a binding"),
            "the store is an array, a scalar or null",
            "reads no bindings, and overwrites the file at its next save";
        StoreRotatedAway "store-rotated-away" Fatal Salvage, "the store is gone or empty beside its sessions.json.bak.*",
            "reads no bindings, and writes a new store; the backup is lost after three more rotations";
        StoreLayout "store-layout" High Person("put a backup of the store in its place"),
            "an object, but its members are no session entries", "lists members that are no sessions";
        IndexLost "index-lost" High Person("`claw-sessions adopt --all -n` shows how they can be bound again"),
            "the store binds none, or far fewer, of the conversations beside it: the index was lost",
            "lists none of them, and begins each of these conversations anew";
        StoreEmpty "store-empty" High Person("`restore --adopt FILE --key KEY` binds a transcript again"),
            "the store holds 0 bytes or white space", "reads no bindings, and writes {}";
        StoreMissing "store-missing" High Person("`restore --adopt FILE --key KEY` binds a transcript again"),
            "there are transcripts and no store", "reads no bindings, and writes a new store";
        StoreUnreadable "store-unreadable" High Person("mend permissions or disk"), "the store cannot be read",
            "fails, or reads no bindings";
        StoreSymlink "store-symlink" Low Person("put the real file in its place"),
            "the store is reached through a symbolic link",
            "puts a regular file in the place of a linked one; the link's target stays behind, stale";
        StoreMode "store-mode" Low Person("chmod 600"), "others may read or write the store",
            "sets mode 0600 at its next save";
        StoreMixed "store-mixed" High Person("let OpenClaw's `doctor --fix` import the file"),
            "there are session rows in SQLite and a store file beside them",
            "works with the rows; what only the file has is not seen until it is imported";
        StoreSqlite "store-sqlite" Info Nothing, "the sessions live in SQLite", "does not read the files any more";
        SchemaUnknown "schema-unknown" High Person("install the release that wrote it, and look for a newer claw-sessions"),
            "the database has a schema that is not known, or its two marks of it differ",
            "does not start where the schema is newer than its own (exit 78)";
        ShapeUnknown "shape-unknown" High Person("look for a newer claw-sessions"),
            "a table or a trigger of the database is not known: nothing in it is changed", "goes on";
        SchemaIncomplete "schema-incomplete" Fatal Person("`openclaw doctor` tells what is missing; a backup of the database has it"),
            "a trigger that OpenClaw needs is gone from the database", "does not start (exit 78)";
        PagesDamaged "pages-damaged" Fatal Person("put a backup of the database in its place; `.recover` of sqlite3 reads what is left into a copy"),
            "pages of the database are damaged", "does not start (exit 78)";
        RowsOrphaned "rows-orphaned" Fatal Repair,
            "rows whose session or key is gone: somebody deleted it with foreign keys off",
            "does not start at the next start that checks the database (exit 78), and `doctor --fix` refuses";
        KnownElsewhere "known-elsewhere" High Person("look for a copy of the database with its -wal file"),
            "OpenClaw's own state knows the session, and the database does not have it",
            "starts a new session at the next message";
        MixedKey "mixed-key" High Person("let OpenClaw's `doctor --fix` import the file"),
            "the store file has something of this key that the rows do not have", "does not see it until it is imported";
    }
    Binding {
        EntryUnreadable "entry-unreadable" Fatal
            Person("`openclaw doctor --fix` rebuilds it from its columns"),
            "the entry of the row is no JSON object",
            "fails every command that lists this agent, and an ordinary start (exit 1); a start that checks rebuilds it from the columns";
        EntryDiffers "entry-differs" Fatal Repair,
            "the entry and the columns that are copies of it disagree, or the row is not marked as good",
            "fails every command that lists this agent, and an ordinary start (exit 1)";
        AliasPlaceholder "alias-placeholder" Fatal Repair,
            "a row without entry, whose window belongs to another key or is gone",
            "fails every command that lists this agent; `doctor --fix` removes the row";
        TornEvent "torn-event" Fatal Repair, "an event is not JSON, or cannot be unpacked",
            "fails every turn of this session, and does not start at the next start that checks the database (exit 78); `doctor --fix` refuses";
        WindowNoHeader "window-no-header" Fatal Repair, "the first event of the session is no header",
            "fails every turn of this session before it asks the model";
        ProjectionBehind "projection-behind" Low Repair, "what is built from the events is behind them",
            "fails the next turn once, and builds it again";
        StaleRunning "stale-running" Low
            Person("`claw-sessions gc --max-resumes 0` marks it as failed, and the conversation stays"),
            "the row says running, and no gateway is alive",
            "resumes it at its next start, which is a call of a model that nobody asked for";
        StuckInputs "stuck-inputs" Low Nothing, "accepted messages that were interrupted or cancelled",
            "never runs them, and adds them to the context after a compaction";
        InputWaiting "input-waiting" Info Nothing, "an accepted message that has not run",
            "does not run it at a start; shows it as interrupted";
        HistoryInWindow "history-in-window" Low Nothing,
            "the session is empty, and its key has older windows with a history", "lists none of them";
        AliasKey "alias-key" Low Nothing, "the key is not written as OpenClaw writes it",
            "merges it into the row with the right key at a start that checks; older releases fail";
        DuplicateKey "duplicate-key" High Person("keep a copy: the earlier entry goes at the next save"),
            "the key stands in the store more than once; the last one counts", "drops all but the last at its next save";
        CaseCollision "case-collision" High Person("keep a copy: the older entry goes when the key is next used"),
            "another key differs only in case", "keeps the one with the newest updatedAt when either is next written";
        InvalidSessionId "invalid-session-id" High Quarantine, "OpenClaw does not accept this sessionId as a file name",
            "`sessions cleanup --fix-missing` and `doctor` abort",
            later "drops the entry when it loads the store; `:` and `@` are allowed there";
        Missing "missing" High Nothing, "the transcript is expected and absent", "starts empty";
        Outside "outside" High
            Person("with OpenClaw stopped, move the file into the sessions directory as `<sessionId>.jsonl`, and take \
                sessionFile out of the entry"),
            "the transcript leads out of its sessions directory, or is a symbolic link",
            "follows a relative link; rejects a path that leads out, and takes `<sessionId>.jsonl` instead";
        UsedElsewhere "used-elsewhere" High
            Person("nothing, where that is meant; else, with OpenClaw stopped, move the file here and shorten sessionFile to its \
                name, both or none"),
            "sessionFile leads to a file in another sessions directory", "reads and writes that file, and none beside the store";
        Relocated "relocated" High Repair,
            "sessionFile leads to a place that is gone; the file beside the store was read",
            "begins empty at that place, or fails each turn where it may not make the directory";
        NotAnObject "not-an-object" Low Quarantine, "the entry is no object",
            "lists it with empty fields; `doctor` drops it", later "drops the entry when it loads the store";
        NoSessionId "no-session-id" Low Nothing, "the entry has no sessionId",
            "keeps it; `doctor` drops it when it mends keys";
        BadClock "bad-clock" Low Nothing, "a time in the entry is no time, or lies in the future",
            "compares it as it is: too early is stale, too late never",
            later "reads an updatedAt below 0 or of another type as 0, and compares any other as it is";
        NoUpdatedAt "no-updated-at" Low Nothing, "the entry has no updatedAt",
            "never prunes it for its age, and removes it first when there are too many";
        HugeEntry "huge-entry" Low Person("`/new` in that conversation starts a slim entry"),
            "the entry is of absurd size", "reads and writes it at every message";
        MixedFile "mixed-file" Low Person("`/new` in one of the two gives it a file of its own"),
            "another conversation points at the same transcript", "writes both into one file";
        LockUnreadable "lock-unreadable" Low Person("if no OpenClaw runs, remove it"),
            "the transcript's lock names no owner", "waits 10 s and fails the turn, until the lock is 30 min old";
        SharedFile "shared-file" Info Nothing, "a cron job and its newest run point at one transcript",
            "does so itself: it is normal";
    }
    File {
        Unreadable "unreadable" High Person("mend permissions or disk"), "the file cannot be read",
            "fails every run of this session";
        WrongOwner "wrong-owner" High Person("chown"), "the file belongs to another user than the state directory",
            "may be unable to read or write it";
        HardLinked "hard-linked" Low Nothing, "the file has other hard links", "appends to all of them at once";
        FileMode "file-mode" Low Person("chmod go-w"), "others may write the transcript", "does not look at the mode";
        LeftoverOnlyCopy "leftover-only-copy" High Person("keep it, or let OpenClaw's `doctor --session-sqlite recover` import it"),
            "a leftover transcript, and nothing of it is in SQLite", "does not read it";
        LeftoverPartly "leftover-partly" High Person("keep it, or let OpenClaw's `doctor --session-sqlite recover` import it"),
            "a leftover transcript, and some of its lines are not in SQLite", "does not read it";
        LeftoverReminted "leftover-reminted" Info Nothing,
            "a leftover transcript; all of it is in SQLite, under other ids", "does not read it";
        LeftoverInSqlite "leftover-in-sqlite" Info Nothing, "a leftover transcript; every line of it is in SQLite",
            "does not read it";
        TempFile "temp-file" Low Person("remove it when no OpenClaw runs"), "a temporary file that a crash left",
            "never removes it", later "removes it after 5 minutes, if it is a store's";
        RepairBackup "repair-backup" Info Nothing, "a backup that OpenClaw's own repair made", "never removes it";
        StuckBackup "stuck-backup" Info StuckBak, "a transcript set aside by hand", "never looks at it";
    }
    Line {
        NoHeader "no-header" Fatal Repair, "the first readable line is no session header",
            "replaces the whole history by an empty one", later "rebuilds the header, and keeps a copy of the file";
        Compacted "compacted" Fatal Repair, "`sessions.compact` cut the header off; the file before it is beside",
            "replaces the whole history by an empty one", later "rebuilds the header, and keeps a copy of the file";
        NoLines "no-lines" Fatal Quarantine, "not one line can be read", "replaces the file by an empty one",
            later "rebuilds the header, and keeps a copy of the file";
        NullLine "null-line" Fatal Repair, "a line is null", "fails every run of this session",
            later "runs, and leaves the line";
        NoMessage "no-message" Fatal Repair, "a message entry without message, where the loader looks at it",
            "fails every run of this session", later "drops the entry";
        ContentShape "content-shape" Fatal Repair,
            "the content of a message in the context is no list of blocks, or has a null in it",
            "fails every run of this session: it cannot build the request",
            later "makes a list of a text; with the rest it was not tried";
        Cycle "cycle" Fatal Repair, "the parent of this line leads back to a line that hangs on it", "hangs, and the whole gateway with it";
        Empty "empty" High Nothing, "the transcript holds nothing", "starts empty";
        MalformedLine "malformed-line" High Nothing, "a line is not JSON",
            "skips it; what hangs on it loses the history before; its own repair drops the line";
        ControlCharacter "control-character" High Nothing, "a raw control character in a string: the line is not JSON",
            "skips it; what hangs on it loses the history before; its own repair drops the line";
        GluedLines "glued-lines" High Repair, "several objects on one line", "can read none of them: all are lost";
        NoFinalNewline "no-final-newline" High Repair, "no newline at the end",
            "glues the next entry to the last: both are lost";
        UserOnly "user-only" High Nothing, "user messages and no answer", "drops them at the next run";
        DanglingParent "dangling-parent" High Nothing, "the parent does not exist",
            "leaves earlier history out of the context";
        MissingParent "missing-parent" High Nothing, "no parentId", "leaves earlier history out of the context";
        UnknownKept "unknown-kept" High Nothing, "a compaction keeps entries from an unknown one",
            "leaves out what it kept";
        NoIdLast "no-id-last" High Nothing, "the last entry has no usable id",
            "leaves earlier history out of the context";
        VersionAbsent "version-absent" High Repair, "the header of a tree has no version",
            "takes it for version 1 and rewrites the file as one chain: branches are lost";
        VersionOne "version-1-tree" High Nothing, "the header of a tree says version 1",
            "rewrites the file as one chain: branches are lost";
        BlankUser "blank-user" High Nothing, "a user message without text",
            "sends it as it is: many providers answer 400, at every turn", later "sends `(continue)` in its place";
        TruncatedLine "truncated-line" Low Nothing, "the last line is incomplete", "skips it: the last entry is lost";
        NulTail "nul-tail" High Repair, "NUL bytes at the end", "skips them, and what is appended to them, unless its own repair comes first";
        NulLine "nul-line" Low Nothing, "a line of NUL bytes", "skips it";
        ScalarLine "scalar-line" Low Repair, "a line is a number, string, boolean or array",
            "keeps it as an entry without id; as the last line it cuts the context";
        ForeignLine "foreign-line" Low Repair, "another program's line: an object without id, of a type that no release knows",
            "keeps it as an entry without id; as the last line it cuts the context, and the next entry hangs on nothing";
        InvalidUtf8 "invalid-utf8" Low Nothing, "bytes that are not UTF-8", "reads U+FFFD in their place";
        ByteOrderMark "byte-order-mark" Low Nothing, "the transcript starts with a byte order mark",
            "reads it, but its own repair is off for this file";
        JunkBeforeHeader "junk-before-header" Low Nothing, "something unreadable stands before the header",
            "skips it; its own repair drops it";
        EmptyHeaderId "empty-header-id" Low Nothing, "the header's id is an empty string",
            "reads it, but its own repair is off for this file";
        MissingToolResult "missing-tool-result" Low Nothing, "a tool call without result, and the conversation went on",
            "adds a made-up result before it asks some providers; older releases got 400";
        OrphanToolResult "orphan-tool-result" Low Nothing, "a tool result that no call asked for, or the second of one",
            "leaves it out when it asks some providers; older releases got 400";
        EmptyAnswer "empty-answer" Low Nothing, "an answer without content: it says nothing and calls no tool",
            "leaves it out of the request", later "sends it in some releases (2026.6.6): the provider answers 400";
        ThinkingUnsigned "thinking-unsigned" Low Nothing, "an answer with a thinking block that has no signature",
            "sends the block as a text",
            later "sends it as it is up to 2026.7: the provider may answer 400, at every turn";
        RepeatedCallId "repeated-call-id" Low Nothing, "ids of tool calls come again in later turns",
            "takes the later results for second ones and sends a made-up one in their place; some providers answer 400";
        PartialJson "partial-json" Low Nothing, "a tool call keeps its partialJson, with control characters in it",
            "sends it to some providers, which answer 400";
        LoneSurrogate "lone-surrogate" Low Nothing, "half of a surrogate pair in a string",
            "keeps it as it is; a provider may reject the request";
        LongLine "long-line" Low Nothing, "a line of more than 1 MiB", "reads and sends it whole";
        SideDamage "side-damage" Low Nothing, "damage on a side branch, which is not in the context",
            "does not come across it";
        HeaderOnly "header-only" Info Nothing, "a header and no entries",
            "starts empty, and writes the file anew at the first answer";
        OldVersion "old-version" Info Nothing, "an older version", "rewrites the file in version 3";
        NewerVersion "newer-version" Info Nothing, "a newer version than 3", "reads it as it is";
        DuplicateHeader "duplicate-header" Info Nothing, "a second header", "ignores it";
        DuplicateId "duplicate-id" Info Nothing, "an entry written twice", "takes the last one";
        SideBranch "side-branch" Info Nothing, "entries that are not on the active path", "keeps them out of the context";
        Mirror "delivery-mirror" Info Nothing, "lines that OpenClaw wrote itself, as mirrors of what was sent",
            "does not count them as answers";
        HeaderId "header-id" Info Nothing, "the header's id is not the file's name", "reads it like any other";
        UnknownType "unknown-type" Info Nothing, "entries of an unknown type", "keeps them in the chain";
        TimeBackwards "time-backwards" Info Nothing, "an entry is older than the one before it", "goes by the order of the lines, not by times";
        CarriageReturns "carriage-returns" Info Nothing, "lines end with CR LF", "reads them like any other";
    }
}

impl Code {
    /// What OpenClaw does with it; `later`: the installed one is 2026.6.11 or newer.
    pub fn effect_in(self, later: bool) -> &'static str {
        self.later_effect().filter(|_| later).unwrap_or(self.effect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_says_what_it_is() {
        let codes: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(!code.describe().is_empty() && !code.effect().is_empty(), "{code:?}");
            assert_eq!(serde_json::to_value(code).ok(), Some(code.as_str().into()), "{code:?}");
        }
    }
}
