//! `validate`: check stores and transcripts line by line; mend what has one exact answer.

use std::path::Path;

use super::context::{Context, Loading, schema};
use super::permit::{Lists, Mutation, Patience, barred, beside_gateway, is_unreadable, lists, unreadable};
use super::{Exit, Failure, Session};
use crate::change::manifest::RunKind;
use crate::change::outcome::{Left, Outcome, Refusal, Subject};
use crate::cli::ValidateArgs;
use crate::config::policy::PolicyFlags;
use crate::decide::problems::{self, Problem, Problems};
use crate::load::read::{self, Depth};
use crate::model::home::{Bar, Condition};
use crate::model::inventory::Content;
use crate::model::problem::Code;
use crate::render::mended::mended;
use crate::render::validate::{self, RepairDocument, ValidateDocument, ValidateSummary};
use crate::render::view::View;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &ValidateArgs) -> Result<Exit, Failure> {
    if args.list_checks {
        return list_checks(session);
    }
    if !args.files.is_empty() {
        return files(session, args);
    }
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let repair = if args.repair { Some(repair(&mut context, args)?) } else { None };
    let inventory =
        context.load_with(Loading { depth: Depth::Thorough, archives: args.archives, ..Loading::default() })?;
    let problems = problems::of_inventory(&inventory, context.now, args.archives);
    let later = context.is_late();
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
        repair,
    };
    let exit = show(session, args, &document, &problems.list)?;
    let partial = context.missed() && matches!(exit, Exit::Done | Exit::Problems);
    Ok(if partial { Exit::Partial } else { exit })
}

/// Mends what has one exact answer, or says what that would be.
fn repair(context: &mut Context<'_>, args: &ValidateArgs) -> Result<RepairDocument, Failure> {
    let mut work =
        if args.dry_run { Mutation::dry(context) } else { Mutation::begin(context, args.online, Patience::default())? };
    let salvage = args.salvage.salvage.then_some(args.salvage.from_backups);
    let inventory = context.load_with(Loading { depth: Depth::Thorough, salvage, ..Loading::default() })?;
    let verdicts = context.judge(&inventory).mend();
    let plan = context.plan(&inventory, &verdicts);
    let mut mended = mended(&plan, &inventory, context.view());
    let mut outcome = Outcome::default();
    if args.dry_run {
        outcome.left.extend(beside_gateway(context, args.online).map(|why| Left::new(Subject::Repair, why)));
    } else if !plan.is_empty() {
        let view = context.view();
        let homes: Vec<_> = plan.rows.iter().map(|rows| (view.path(&rows.store), view.path(&rows.database))).collect();
        outcome = work.carry_out(context, plan, None, RunKind::Repair)?;
        let lists = lists(context, &outcome.left);
        let mut undone: Vec<&String> =
            lists.all().flat_map(|left| [Some(&left.what), left.key.as_ref()]).flatten().collect();
        let refused = homes.iter().filter(|(store, _)| undone.contains(&store)).map(|(_, database)| database);
        let refused: Vec<&String> = refused.collect();
        undone.extend(refused);
        mended.retain(|one| !undone.contains(&&one.path) && one.key.as_ref().is_none_or(|key| !undone.contains(&key)));
    }
    if args.salvage.salvage {
        let hopeless = inventory.selected().filter(|store| store.condition == Condition::NotAnObject);
        outcome.left.extend(hopeless.map(|store| {
            let problem = format!("{}: put a backup of it in its place", Code::StoreNotObject.describe());
            let state = store.condition.as_str().to_owned();
            Left::new(Subject::Path(store.path.clone()), Refusal::Store { state, problem })
        }));
    }
    outcome.left.extend(barred(&inventory, |bar| is_unreadable(bar) || bar == Bar::Migrated));
    outcome.left.extend(unreadable(&inventory));
    outcome.left.append(&mut work.settled.left);
    let Lists { skipped, failed, refused, late } = lists(context, &outcome.left);
    Ok(RepairDocument {
        run: outcome.run.map(String::from),
        dry_run: args.dry_run,
        mended,
        skipped: skipped.into_iter().chain(late).collect(),
        failed,
        refused,
        recovered: work.recovered(),
    })
}

/// Prints the document, and says how it ends.
fn show(
    session: &Session,
    args: &ValidateArgs,
    document: &ValidateDocument,
    problems: &[Problem],
) -> Result<Exit, Failure> {
    if session.cli.global.json {
        session.print_document(document)?;
    } else {
        session.print(&validate::text(document, &session.layout()))?;
    }
    if let Some(repair) = &document.repair {
        let (refused, failed) = (!repair.refused.is_empty(), !repair.failed.is_empty());
        if refused || failed {
            return Ok(Exit::after(refused, failed));
        }
    }
    if problems.iter().any(Problem::hides) {
        return Ok(Exit::Partial);
    }
    let bad = problems.iter().any(|problem| problem.severity() <= args.severity);
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
                    Content::Absent | Content::Read(_) | Content::NotChecked { .. } => String::new(),
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
    if session.cli.global.json {
        session.print_document(&validate::checks_document(schema("checks")))?;
    } else {
        session.print(&validate::checks(&session.layout()))?;
    }
    Ok(Exit::Done)
}
