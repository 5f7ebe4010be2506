//! `explain`: everything known about one binding, and which rule decided.

use super::context::Context;
use super::{Exit, Failure, Session};
use crate::cli::ExplainArgs;
use crate::model::inventory::Inventory;
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
        let failure = Failure::usage(anyhow::anyhow!("no store has the key {}", args.key));
        return Err(match nearest(&inventory, &args.key) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint("`claw-sessions scan` lists all keys"),
        });
    }
    let trails = judge.explain(&args.key);
    let bindings = asked.into_iter().zip(trails).map(|(one, steps)| ExplainedDocument {
        binding: json::binding(&inventory, one, context.view()),
        rules: json::steps(steps),
    });
    let document =
        ExplainDocument { preamble: context.preamble("explain", &inventory.gateway), bindings: bindings.collect() };
    if session.cli.global.wants_json() {
        session.print_document(&document)?;
    } else {
        session.print(&text::explain(&document))?;
    }
    Ok(Exit::Done)
}

/// A key that ends like the one asked for, or contains it.
fn nearest<'a>(inventory: &'a Inventory, asked: &str) -> Option<&'a str> {
    let keys = || inventory.stores.iter().flat_map(|store| &store.bindings).map(|binding| binding.key.as_str());
    let folded = asked.to_lowercase();
    keys()
        .find(|key| key.to_lowercase() == folded)
        .or_else(|| keys().find(|key| key.ends_with(asked)))
        .or_else(|| keys().find(|key| key.to_lowercase().contains(&folded)))
}
