//! The bindings of a database: every window is judged once, and each key gets what its rows say.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};

use super::Request;
use crate::disk::deadline::Deadline;
use crate::load::read::Depth;
use crate::model::database::{Database, Node, RowCensus, RowCount, RowText, Unfit};
use crate::model::entry::Clock;
use crate::model::home::Home;
use crate::model::inventory::{Content, Placement, Side, Store};
use crate::model::row::{RowDamage, RowMarks, SessionRow, Standing, Traces, Window};
use crate::openclaw::rows::read::{DatabaseRows, JudgedEvents};

/// All that stands in a database beside its nodes.
struct Evidence {
    /// Which key owns a session, and its window.
    owners: HashMap<String, String>,
    windows: HashMap<String, Vec<Window>>,
    judged: HashMap<String, JudgedEvents>,
    inputs: HashMap<String, (u64, u64)>,
    cold: HashSet<String>,
    traces: HashMap<String, Traces>,
    behind: HashSet<String>,
    /// Sessions that an entry names, with the keys whose entries do.
    named: HashSet<String>,
}

/// Gives every binding what its rows say, and the database what is wrong with it as a whole.
pub(super) fn fill(
    store: &mut Store,
    database: &mut Database,
    rows: &DatabaseRows,
    nodes: &[Node],
    request: &Request<'_>,
) -> anyhow::Result<()> {
    let mut evidence = Evidence::of(rows, nodes, request)?;
    database.strange = rows.unfit();
    database.orphans = rows.orphans(request.check)?;
    if request.depth == Depth::Thorough {
        let damaged = rows.damaged_pages(request.deadline);
        database.strange = database.strange.take().or(damaged.map(Unfit::Pages));
    }
    let census = rows.census()?;
    let events: u64 = evidence.judged.values().map(|judged| judged.count.bytes).sum();
    database.census = RowCensus {
        bytes: database.bytes,
        sessions: events + nodes.iter().map(|node| node.entry.bytes).sum::<u64>(),
        traces: evidence.traces.values().map(|traces| traces.bytes).sum(),
        ..census
    };
    for binding in &mut store.bindings {
        let Some(node) = nodes.get(binding.place.member) else { continue };
        let (row, current) = evidence.row(node);
        if let Some(JudgedEvents { content, count, .. }) = current {
            binding.transcript.content = content;
            binding.transcript.rows = Some(count);
        } else {
            binding.transcript.rows = Some(RowCount::default());
        }
        binding.row = Some(Box::new(row));
    }
    Ok(())
}

impl Evidence {
    fn of(rows: &DatabaseRows, nodes: &[Node], request: &Request<'_>) -> anyhow::Result<Self> {
        let thorough = request.depth == Depth::Thorough;
        let mut owners = HashMap::new();
        let mut windows: HashMap<String, Vec<Window>> = HashMap::new();
        let mut judged = HashMap::new();
        let (inputs, cold) = (rows.inputs()?, rows.cold()?);
        let currents = nodes.iter().filter_map(|node| node.session_id.clone());
        let others = nodes.iter().flat_map(|node| node.entry.more.names.iter().cloned());
        let named: HashSet<String> = currents.chain(others).collect();
        for (key, mut window) in rows.windows()? {
            let events = judge(rows, &window.session_id, thorough, request.deadline);
            window.events = events.count.events;
            window.bytes = events.count.bytes;
            window.named = named.contains(&window.session_id);
            let waits = inputs.get(&window.session_id).is_some_and(|(queued, stuck)| queued + stuck > 0);
            window.held = waits || cold.contains(&window.session_id);
            judged.insert(window.session_id.clone(), events);
            owners.insert(window.session_id.clone(), key.clone());
            windows.entry(key).or_default().push(window);
        }
        // Without a table of windows, the sessions are those that the nodes name.
        for session in nodes.iter().filter_map(|node| node.session_id.as_ref()) {
            if !judged.contains_key(session) {
                judged.insert(session.clone(), judge(rows, session, thorough, request.deadline));
            }
        }
        Ok(Self {
            owners,
            windows,
            judged,
            inputs,
            cold,
            traces: rows.traces(request.trace_times)?,
            behind: rows.behind()?,
            named,
        })
    }

    /// What the rows of a node say, and the events of the session that it points to.
    fn row(&mut self, node: &Node) -> (SessionRow, Option<JudgedEvents>) {
        let own = self.windows.remove(&node.key).unwrap_or_default();
        let current = node.session_id.clone().unwrap_or_default();
        let standing = self.standing(node, &current);
        let mut damage = match &standing {
            Standing::Alias(of) => vec![RowDamage::Alias { of: of.clone() }],
            _ => differs(node, &standing).into_iter().collect(),
        };
        let mut row = SessionRow {
            standing,
            status: node.status.clone(),
            more: node.entry.more.clone(),
            entry_sha256: node.entry.sha256.clone(),
            largest: node.entry.largest.clone(),
            ..SessionRow::default()
        };
        row.marks = RowMarks {
            session_id: current.clone(),
            updated_at: node.updated_at,
            valid: node.valid,
            windows: own.len() as u64,
            ..RowMarks::default()
        };
        for window in &own {
            let session = &window.session_id;
            if let Some(judged) = self.judged.get(session) {
                row.marks.events += judged.count.events;
                row.marks.last += judged.last;
                let torn = |&seq: &i64| RowDamage::TornEvent { session_id: session.clone(), seq };
                damage.extend(judged.torn.iter().map(torn));
                if *session == current && judged.count.events > 0 && !judged.has_header {
                    damage.push(RowDamage::NoHeader { session_id: session.clone() });
                }
            }
            if self.behind.contains(session) {
                damage.push(RowDamage::Behind { session_id: session.clone() });
            }
            let (queued, stuck) = self.inputs.get(session).copied().unwrap_or_default();
            (row.queued, row.stuck) = (row.queued + queued, row.stuck + stuck);
            row.cold |= self.cold.contains(session);
            if let Some(mut traces) = self.traces.remove(session) {
                row.traces.rows += traces.rows;
                row.traces.bytes += traces.bytes;
                row.traces.times.append(&mut traces.times);
            }
        }
        row.traces.times.sort_unstable();
        row.marks.traces = row.traces.rows;
        row.damage = damage;
        let judged =
            (!matches!(row.standing, Standing::Alias(_))).then(|| self.judged.get(&current).cloned()).flatten();
        row.reset_since = judged.as_ref().is_some_and(|judged| judged.reset_since);
        row.windows = own.into_iter().filter(|window| window.session_id != current).collect();
        debug_assert!(row.windows.iter().all(|window| window.named == self.named.contains(&window.session_id)));
        (row, judged)
    }

    fn standing(&self, node: &Node, current: &str) -> Standing {
        if !node.entry.is_empty {
            return Standing::Session;
        }
        match self.owners.get(current) {
            Some(owner) if *owner == node.key => Standing::Placeholder,
            owner => Standing::Alias(owner.cloned()),
        }
    }
}

fn judge(rows: &DatabaseRows, session: &str, thorough: bool, deadline: Deadline) -> JudgedEvents {
    if deadline.has_passed() {
        return JudgedEvents {
            content: Content::NotChecked { begun: false },
            has_header: true,
            ..JudgedEvents::default()
        };
    }
    rows.judge(session, thorough, deadline)
}

/// What every reader of OpenClaw checks of a node: the entry is an object, marked as good, and its columns are copies of it.
fn differs(node: &Node, standing: &Standing) -> Option<RowDamage> {
    let RowText { entry, more, .. } = &node.entry;
    if *standing == Standing::Placeholder {
        return (node.valid != -1).then(|| RowDamage::EntryDiffers { columns: Vec::new() });
    }
    if entry.not_an_object {
        return Some(RowDamage::EntryUnreadable);
    }
    let updated = match entry.updated_at {
        Some(Clock::At(time)) => Some(time.timestamp_millis()),
        _ => None,
    };
    let pairs = [
        ("current_session_id", entry.session_id == node.session_id),
        ("updated_at", updated == node.updated_at),
        ("parent_session_key", more.parent == node.parent),
        ("spawned_by", more.spawned_by == node.spawned_by),
    ];
    let columns: Vec<String> = pairs.iter().filter(|(_, same)| !same).map(|(name, _)| (*name).to_owned()).collect();
    (node.valid != 1 || !columns.is_empty()).then_some(RowDamage::EntryDiffers { columns })
}

/// Tells every database which sessions OpenClaw's own state knows that it does not have, and that none of our runs took.
pub(super) fn with_absent(
    mut stores: Vec<Store>,
    side: &Side,
    away: &(dyn Fn() -> HashSet<String> + Sync),
) -> Vec<Store> {
    let taken = LazyCell::new(away);
    for store in stores.iter_mut().filter(|store| store.selected) {
        let Some(database) = store.database().filter(|database| database.unread.is_none()) else { continue };
        let mut known: HashSet<&str> = HashSet::new();
        for binding in &store.bindings {
            known.extend(binding.entry.session_id.as_deref());
            known.insert(&binding.key);
            let windows = binding.row.iter().flat_map(|row| &row.windows);
            known.extend(windows.map(|window| window.session_id.as_str()));
        }
        known.extend(database.orphans.iter().filter_map(|damage| match damage {
            RowDamage::Orphaned { name, .. } => Some(name.as_str()),
            _ => None,
        }));
        let of_agent = side.placements.iter().filter(|one| one.agent == store.agent);
        let absent = of_agent.filter(|one| !known.contains(&*one.session_id) && !known.contains(&*one.key));
        let ours = |one: &&Placement| taken.contains(&one.session_id) || taken.contains(&one.key);
        let absent: Vec<_> = absent.filter(|one| !ours(one)).cloned().collect();
        if let Home::Rows(Some(database)) = &mut store.home {
            database.elsewhere = absent.into_iter().map(|one| (one.key, one.session_id)).collect();
        }
    }
    stores
}
