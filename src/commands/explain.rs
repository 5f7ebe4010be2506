//! `explain`: everything known about one binding, and which rule decided.

use super::context::Context;
use super::{Exit, Failure, Session, near};
use crate::cli::ExplainArgs;
use crate::render::json::{self, ExplainDocument, ExplainedDocument};
use crate::render::text;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &ExplainArgs) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &args.policy.flags())?;
    let inventory = context.load()?;
    let judge = context.judge(&inventory);
    let verdicts = judge.classify();
    let asked: Vec<_> = verdicts.bindings.iter().filter(|one| one.binding(&inventory).key == args.key).collect();
    if asked.is_empty() {
        return Err(near::no_such_key(&inventory, &args.key));
    }
    let trails = judge.explain(&args.key);
    let bindings = asked.into_iter().zip(trails).map(|(one, steps)| ExplainedDocument {
        binding: json::binding(&inventory, one, context.view()),
        rules: json::steps(steps),
    });
    let bindings = bindings.collect();
    let unfinished = context.unfinished();
    let document = ExplainDocument { preamble: context.preamble("explain", &inventory.gateway, unfinished), bindings };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::explain(&document, &session.layout()))?;
    }
    Ok(Exit::Done)
}
