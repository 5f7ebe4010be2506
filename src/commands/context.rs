//! What every verb begins with: find, configure, load.

use std::path::Path;
use std::sync::OnceLock;

use chrono::{DateTime, Local, Utc};

use super::progress::Progress;
use super::threads;
use super::{Failure, Session, place};
use crate::change::boots;
use crate::change::journal::{self, Past};
use crate::config::openclaw::{ConfigProblem, ConfigState, LoadedConfig, Version};
use crate::config::policy::{self, Policy, PolicyFlags};
use crate::decide::lost::lost_indices;
use crate::decide::plan::{Plan, Totals};
use crate::decide::rules::Judge;
use crate::decide::startup::{self, Startup};
use crate::decide::verdict::{Classified, Verdicts};
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::load::cache::Cache;
use crate::load::inventory::{self, Request};
use crate::load::read::Depth;
use crate::model::home::Condition;
use crate::model::ids::RunId;
use crate::model::inventory::{Gateway, Generation, Inventory};
use crate::model::places::Places;
use crate::model::proof::DirId;
use crate::openclaw::config_file;
use crate::openclaw::discover;
use crate::openclaw::gateway;
use crate::openclaw::home::{self, StateHome};
use crate::openclaw::mentions;
use crate::render::json::{self, Body, Preamble};
use crate::render::refusal;
use crate::render::view::View;

/// A state directory that was found, and what is configured for it.
pub(super) struct Context<'a> {
    pub(super) session: &'a Session,
    pub(super) home: StateHome,
    pub(super) config: LoadedConfig,
    pub(super) policy: Policy,
    pub(super) version: Option<Version>,
    pub(super) now: DateTime<Utc>,
    gateway: OnceLock<Gateway>,
    places: OnceLock<Places>,
    details: Vec<String>,
    warnings: Vec<String>,
    missed: bool,
}

impl<'a> Context<'a> {
    /// Finds the state directory, and reads the configuration and the policy.
    pub(super) fn new(session: &'a Session, flags: &PolicyFlags) -> Result<Self, Failure> {
        let global = &session.cli.global;
        let home = place::home(session)?;
        let config = config_file::read(&home);
        let file = place::policy(&home, global.config.as_deref()).or_fail()?;
        let policy = policy::resolve(flags, file.as_ref(), &config);
        let unread = config.unread;
        let mut warnings: Vec<String> = config.problems.iter().map(|problem| located(&config, problem)).collect();
        if config.state == ConfigState::Invalid {
            let wrong = if unread { "cannot be read" } else { "is invalid" };
            warnings.push(format!(
                "openclaw.json {wrong}: nothing of it is used. OpenClaw's own limits are not known, so nothing is \
                 stale but by an explicit limit"
            ));
        }
        let mut details = home.notes.clone();
        details.extend(config.notes.iter().cloned());
        let version = config.config.version();
        let now = global.now.unwrap_or(session.started_at);
        Ok(Self {
            session,
            home,
            config,
            policy,
            version,
            now,
            gateway: OnceLock::new(),
            places: OnceLock::new(),
            details,
            warnings,
            missed: unread,
        })
    }

    /// What the version of OpenClaw means here.
    pub(super) fn generation(&self) -> Generation {
        let known_before = |limit: Version| self.version.as_ref().is_some_and(|version| *version < limit);
        let evidence_from = || Version::new(2026, 4, 24);
        Generation {
            has_store_lock: known_before(Version::new(2026, 4, 30)),
            locks_are_evidence: !known_before(evidence_from()),
            resumes_interrupted: self.version.as_ref().is_some_and(|version| *version >= evidence_from()),
        }
    }

    /// Returns whether a gateway is alive; looked up once.
    pub(super) fn gateway(&self) -> &Gateway {
        self.gateway.get_or_init(|| {
            gateway::detect(&gateway::Known {
                state_dir: &self.home.real_dir,
                config_path: &self.home.config_path,
                port: self.config.config.gateway_port,
                environment: &self.home.environment,
            })
        })
    }

    /// Returns where sessions may be: what a manifest says of other places is not believed.
    pub(super) fn places(&self) -> &Places {
        self.places.get_or_init(|| {
            let found = discover::stores(&self.home, &self.config.config, &[], None).unwrap_or_default();
            let stores = found.stores.into_iter().map(|store| store.path).collect();
            Places { state_dir: self.home.real_dir.clone(), stores }
        })
    }

    /// Returns the past runs.
    pub(super) fn past(&self) -> Past {
        journal::past(self.places())
    }

    /// Returns the runs that were cut off, and warns of those that cannot be read.
    pub(super) fn unfinished(&mut self) -> Vec<RunId> {
        let past = self.past();
        let told: Vec<String> = past.unread.iter().map(|left| refusal::line(left, self.view())).collect();
        self.warnings.extend(told.into_iter().filter(|text| !self.warnings.contains(text)).collect::<Vec<_>>());
        past.unfinished()
    }

    /// Loads every store that was asked for.
    pub(super) fn load(&mut self) -> Result<Inventory, Failure> {
        self.load_with(Loading::default())
    }

    /// The same, as closely as `look` says.
    pub(super) fn load_with(&mut self, look: Loading) -> Result<Inventory, Failure> {
        let Loading { depth, archives, salvage, boot, changes, deadline } = look;
        let global = &self.session.cli.global;
        threads::start(global.jobs.map(usize::from))?;
        let found = discover::stores(&self.home, &self.config.config, &global.agent, global.store.as_deref())
            .map_err(Failure::usage)?;
        // A verb that changes things looks twice, and says things once.
        let new = |known: &[String], told: Vec<String>| -> Vec<String> {
            told.into_iter().filter(|text| !known.contains(text)).collect()
        };
        let notes = new(&self.details, found.notes);
        self.details.extend(notes);
        let cron_store = self.config.config.cron_store.as_ref().map(|text| self.home.environment.resolve(text));
        let cache = if global.no_cache || depth == Depth::Thorough {
            Cache::off()
        } else {
            Cache::open(&self.home.real_dir, &self.session.environment, self.session.started_at)
        };
        let progress = Progress::new(global);
        let inventory = inventory::load(Request {
            state_dir: &self.home.real_dir,
            main_key: self.config.config.main_key(),
            stores: &found.stores,
            unseen: found.unseen,
            openclaw: self.generation(),
            gateway: &|| self.gateway().clone(),
            side: &|| mentions::read(&self.home.real_dir, cron_store.as_deref()),
            awaited: &|| journal::awaited(self.places()).map_err(|left| refusal::sentence(&left.refusal, self.view())),
            cache: &cache,
            depth,
            archives,
            away: &|| journal::away(self.places()),
            rows: true,
            trace_times: self.policy.limits.trajectories.value.is_some(),
            check: boot || depth == Depth::Thorough || changes,
            salvage,
            boots: boot.then(|| boots::read(&self.home.real_dir)),
            deadline,
            begin: &|files, bytes| progress.reading(files, bytes),
            advance: &|bytes| progress.read(bytes),
        });
        progress.end();
        cache.save();
        self.missed |= !inventory.unseen.is_empty() || !inventory.side.problems.is_empty();
        let unseen = inventory.unseen.iter().map(|(_, why)| why.clone());
        let told = inventory.side.problems.iter().cloned().chain(unseen);
        // A thorough look tells it among the problems.
        let lost = if depth == Depth::Thorough { Vec::new() } else { self.lost(&inventory) };
        let told = told.chain(self.strange(&inventory)).chain(lost);
        let warnings = new(&self.warnings, told.collect());
        self.warnings.extend(warnings);
        Ok(inventory)
    }

    /// Stores that have lost their index.
    fn lost(&self, inventory: &Inventory) -> Vec<String> {
        let lost = lost_indices(inventory).into_iter();
        lost.map(|(dir, lost)| refusal::lost_index(&self.view().path(dir), lost)).collect()
    }

    /// What speaks for a wrong directory, or for a wrong user.
    fn strange(&self, inventory: &Inventory) -> Option<String> {
        let dir = self.home.state_dir.display();
        let user = self.session.environment.uid;
        let unread = self.missed || inventory.stores.iter().any(|store| store.condition == Condition::Unreadable);
        if let Some(owner) = self.home.owner.filter(|owner| unread && user != 0 && *owner != user) {
            return Some(format!("{dir} belongs to user {owner}, and this is user {user}: {}", place::OWNER));
        }
        let nothing = inventory.files.is_empty()
            && inventory.stores.iter().all(|store| store.condition == Condition::Missing && store.bindings.is_empty());
        if self.config.state != ConfigState::Missing || !nothing {
            return None;
        }
        let meant = home::inside(&self.home.state_dir);
        let meant = meant.map_or_else(String::new, |dir| format!("; did you mean --state-dir {}?", dir.display()));
        Some(format!("there is nothing of OpenClaw in {dir}: no openclaw.json, no session store{meant}"))
    }

    /// Judges everything at the time of judgment, in the gateway's time zone.
    pub(super) fn judge<'b>(&'b self, inventory: &'b Inventory) -> Judge<'b, Local> {
        Judge { inventory, policy: &self.policy, now: self.now, zone: &Local }
    }

    /// The plan that carries out the verdicts.
    pub(super) fn plan<'b>(&self, inventory: &'b Inventory, verdicts: &Verdicts) -> Plan<'b> {
        Plan::from(inventory, verdicts, self.now, directory_id)
    }

    /// The startup estimate without the bindings that leave.
    pub(super) fn startup(
        &self,
        inventory: &Inventory,
        verdicts: &Verdicts,
        leaves: impl Fn(&Classified) -> bool,
    ) -> Startup {
        startup::estimate(inventory, &verdicts.bindings, &self.policy, leaves)
    }

    /// The startup estimate if the verdicts are carried out.
    pub(super) fn planned_startup(&self, inventory: &Inventory, verdicts: &Verdicts) -> Startup {
        self.startup(inventory, verdicts, |one| one.verdict.action.removes())
    }

    /// Returns whether something that could have mattered was not read: a warning names it.
    pub(super) fn missed(&self) -> bool {
        self.missed
    }

    /// What a person should know about how all this was found.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns whether the installed OpenClaw is 2026.6.11 or newer, which treats much damage otherwise (F§0, F§13.7).
    pub(super) fn is_late(&self) -> bool {
        self.version.as_ref().is_some_and(|version| *version >= Version::new(2026, 6, 11))
    }

    /// How paths and texts are shown.
    pub(super) fn view(&self) -> View<'_> {
        View { state_dir: &self.home.real_dir, show_text: self.session.cli.global.show_text }
    }

    /// The head of a document.
    pub(super) fn preamble(&self, command: &str, gateway: &Gateway, unfinished: Vec<RunId>) -> Preamble {
        Preamble {
            schema: schema(command),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: self.now,
            state_dir: self.home.state_dir.to_string_lossy().into_owned(),
            config_file: (self.config.state != ConfigState::Missing)
                .then(|| self.config.path.to_string_lossy().into_owned()),
            openclaw_version: self.config.config.last_touched_version.clone(),
            gateway: gateway.clone(),
            warnings: self.warnings.clone(),
            unfinished: unfinished.into_iter().map(String::from).collect(),
        }
    }

    /// The body of a document.
    pub(super) fn body(&self, inventory: &Inventory, verdicts: &Verdicts, planned: Totals, startup: Startup) -> Body {
        let bindings = json::bindings(inventory, verdicts, self.view());
        json::body(inventory, verdicts, bindings, planned, startup, self.view())
    }

    /// How everything was found, and every limit with its source.
    pub(super) fn details(&self, gateway: &Gateway) -> Vec<String> {
        let mut details = vec![
            format!("state directory {}", self.home.state_dir.display()),
            format!(
                "configuration {} ({})",
                self.home.config_path.display(),
                match self.config.state {
                    ConfigState::Missing => "missing",
                    ConfigState::Valid => "valid",
                    ConfigState::Invalid => "invalid",
                }
            ),
            format!("user {}", self.home.environment.uid),
            format!("time zone {} (daily resets are judged in it)", Local::now().format("UTC%:z")),
        ];
        details.extend(self.details.iter().cloned());
        details.extend(gateway.evidence.iter().map(|evidence| format!("gateway: {evidence}")));
        details.extend(crate::render::policy::lines(&self.policy));
        details
    }
}

/// How to look at stores and transcripts.
#[derive(Clone, Copy)]
pub(super) struct Loading {
    /// How closely.
    pub(super) depth: Depth,
    /// At OpenClaw's archives too.
    pub(super) archives: bool,
    /// Give back what is whole of broken stores; with what only their backups have, if true.
    pub(super) salvage: Option<bool>,
    /// As a start does: knowing what earlier starts left.
    pub(super) boot: bool,
    /// Something may be changed afterwards.
    pub(super) changes: bool,
    /// Until when.
    pub(super) deadline: Deadline,
}

impl Default for Loading {
    fn default() -> Self {
        Self {
            depth: Depth::Whole,
            archives: false,
            salvage: None,
            boot: false,
            changes: false,
            deadline: Deadline::default(),
        }
    }
}

/// A problem of the configuration with its file, named once.
pub(super) fn located(config: &LoadedConfig, problem: &ConfigProblem) -> String {
    let (path, text) = (config.path.display().to_string(), problem.to_string());
    if text.contains(&path) { text } else { format!("{path}: {text}") }
}

/// The name of a document type.
pub(super) fn schema(command: &str) -> String {
    format!("claw-sessions/{command}/v1")
}

/// Device and inode of a directory that was listed a moment ago. Looked at twice: without it nothing in it is planned.
pub(super) fn directory_id(path: &Path) -> Option<DirId> {
    let look = || Dir::open(path).and_then(|dir| dir.id());
    look().or_else(|_| look()).ok()
}
