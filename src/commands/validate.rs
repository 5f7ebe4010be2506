//! `validate`: check stores and transcripts line by line; mend what has one exact answer.

use std::path::Path;

use super::context::{Context, schema};
use super::{Exit, Failure, Session};
use crate::cli::ValidateArgs;
use crate::config::openclaw::Version;
use crate::config::policy::PolicyFlags;
use crate::decide::problems::{self, Problem, Problems};
use crate::model::inventory::Content;
use crate::render::json::View;
use crate::render::validate::{self, ValidateDocument, ValidateSummary};
use crate::store::read::{self, Depth};

/// Runs the verb.
pub(super) fn run(session: &Session, args: &ValidateArgs) -> Result<Exit, Failure> {
    if args.list_checks {
        return list_checks(session);
    }
    if !args.files.is_empty() {
        return files(session, args);
    }
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let inventory = context.load_with(Depth::Thorough, args.archives)?;
    let problems = problems::of_inventory(&inventory, context.now);
    let later = context.version.as_ref().is_some_and(|version| *version >= Version::new(2026, 6, 11));
    let same_place = session.layout().same_place;
    let document = ValidateDocument {
        schema: schema("validate"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: context.now,
        state_dir: Some(context.home.state_dir.to_string_lossy().into_owned()),
        openclaw_version: context.config.config.last_touched_version.clone(),
        warnings: context.warnings().to_vec(),
        problems: problems.list.iter().map(|one| validate::problem(one, context.view(), later, &same_place)).collect(),
        summary: ValidateSummary::of(
            &problems,
            inventory.selected().count(),
            inventory.selected().map(|store| store.bindings.len()).sum(),
        ),
        repair: None,
    };
    show(session, args, &document, &problems.list)
}

/// Prints the document, and says how it ends.
fn show(
    session: &Session,
    args: &ValidateArgs,
    document: &ValidateDocument,
    problems: &[Problem],
) -> Result<Exit, Failure> {
    if session.cli.global.wants_json() {
        session.print_document(document)?;
    } else {
        session.print(&validate::text(document, &session.layout()))?;
    }
    if problems.iter().any(Problem::hides) {
        return Ok(Exit::Partial);
    }
    let bad = problems.iter().any(|problem| problem.severity() <= args.fail_on);
    Ok(if bad { Exit::Problems } else { Exit::Done })
}

/// Checks single files, wherever they lie.
fn files(session: &Session, args: &ValidateArgs) -> Result<Exit, Failure> {
    let now = session.cli.global.now.unwrap_or(session.started_at);
    let mut problems = Problems::default();
    let (mut stores, mut bindings) = (0, 0);
    for path in &args.files {
        match read::alone(path).map_err(Failure::usage)? {
            read::Alone::Store(text) => {
                stores += 1;
                bindings += crate::model::store::read(&text).map_or(0, |document| document.effective(&text).len());
                problems.list.extend(problems::of_text(path, &text, now));
            }
            read::Alone::Transcript(Content::Read(summary)) => problems.add(path, &summary),
            read::Alone::Transcript(content) => {
                let why = match content {
                    Content::Unreadable(why) | Content::Outside(why) => why,
                    Content::Absent | Content::Read(_) => String::new(),
                };
                problems.list.push(Problem::unreadable(path, why));
            }
        }
    }
    problems.without_archive();
    let view = View { state_dir: Path::new(""), show_text: session.cli.global.show_text };
    let document = ValidateDocument {
        schema: schema("validate"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now,
        state_dir: None,
        openclaw_version: None,
        warnings: Vec::new(),
        problems: problems.list.iter().map(|one| validate::problem(one, view, false, "")).collect(),
        summary: ValidateSummary::of(&problems, stores, bindings),
        repair: None,
    };
    show(session, args, &document, &problems.list)
}

fn list_checks(session: &Session) -> Result<Exit, Failure> {
    if session.cli.global.wants_json() {
        session.print_document(&validate::checks_document(schema("checks")))?;
    } else {
        session.print(&validate::checks(&session.layout()))?;
    }
    Ok(Exit::Done)
}
