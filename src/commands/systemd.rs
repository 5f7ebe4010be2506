//! `systemd`: the units that run claw-sessions for one gateway: printed, written, removed. systemd itself is left to the
//! user.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::context::{Context, schema};
use super::{Exit, Failure, Session};
use crate::cli::SystemdArgs;
use crate::config::environment::Environment;
use crate::config::policy::PolicyFlags;
use crate::disk::account;
use crate::disk::units::{self as disk, UnitOnDisk};
use crate::openclaw::discover;
use crate::openclaw::home::{self, Options, StateHome};
use crate::render::units::{self, FileState, MARK, Names, Place, SystemdDocument, UnitDocument, UnitScope, Wiring};

/// The gateway's unit, as OpenClaw names it; the profile's name follows.
const GATEWAY: &str = "openclaw-gateway";
/// Variables besides those of the state directory that lead to a gateway.
const VARIABLES: [&str; 2] = ["OPENCLAW_HOME", "OPENCLAW_GATEWAY_PORT"];

/// Runs the verb.
pub(super) fn run(session: &Session, args: &SystemdArgs) -> Result<Exit, Failure> {
    let global = &session.cli.global;
    if !global.agent.is_empty() || global.store.is_some() {
        let why = "the units are for a whole gateway: --agent and --store do not narrow them";
        return Err(Failure::usage(anyhow::anyhow!(why)));
    }
    let scope = if args.system { UnitScope::System } else { UnitScope::User };
    let dir = directory(session, args, scope)?;
    if args.remove {
        // The names are enough, and the state directory may be gone.
        let options = Options { state_dir: global.state_dir.clone(), profile: global.profile.clone() };
        let home = home::locate(&session.environment, &options).map_err(Failure::usage)?;
        return remove(session, scope, &names(&home)?, &dir);
    }
    let wiring = wiring(session, scope)?;
    if args.install { install(session, &wiring, &dir) } else { print(session, &wiring, &dir) }
}

fn print(session: &Session, wiring: &Wiring, dir: &Path) -> Result<Exit, Failure> {
    let printed = |(name, text): (String, String)| UnitDocument {
        text: Some(text),
        ..UnitDocument::new(&dir.join(name), FileState::Printed)
    };
    let files = wiring.files().into_iter().map(printed).collect();
    show(session, wiring.scope, &wiring.names, ShownUnits { files, ..ShownUnits::default() })
}

fn install(session: &Session, wiring: &Wiring, dir: &Path) -> Result<Exit, Failure> {
    let files: Vec<(PathBuf, String)> = wiring.files().into_iter().map(|(name, text)| (dir.join(name), text)).collect();
    let found = files.iter().map(|(path, _)| disk::look(path, MARK)).collect::<anyhow::Result<Vec<_>>>()?;
    let in_the_way: Vec<String> = std::iter::zip(&files, &found)
        .filter(|(_, found)| **found == UnitOnDisk::Foreign)
        .map(|((path, _), _)| path.display().to_string())
        .collect();
    if !in_the_way.is_empty() {
        let names = in_the_way.join(", ");
        return Err(Failure::refused(anyhow::anyhow!("{names}: not written by claw-sessions; nothing was written"))
            .hint("move it away, or take what you need from `claw-sessions systemd`"));
    }
    let mut done = Vec::new();
    for ((path, text), found) in files.into_iter().zip(found) {
        if found == UnitOnDisk::Ours(text.clone()) {
            done.push(UnitDocument::new(&path, FileState::Unchanged));
            continue;
        }
        disk::write(&path, &text).map_err(|error| {
            let failure = Failure::from(error);
            match wiring.scope {
                UnitScope::System if session.environment.uid != 0 => failure.hint("run it as root"),
                _ => failure,
            }
        })?;
        done.push(UnitDocument::new(&path, FileState::Written));
    }
    let systemctl = wiring.scope.systemctl();
    let timers = wiring.names.timers().join(" ");
    let next = vec![format!("{systemctl} daemon-reload"), format!("{systemctl} enable --now {timers}")];
    let warnings = no_gateway(&wiring.names.gateway, wiring.scope, dir).into_iter().collect();
    show(session, wiring.scope, &wiring.names, ShownUnits { files: done, next, warnings })
}

fn remove(session: &Session, scope: UnitScope, names: &Names, dir: &Path) -> Result<Exit, Failure> {
    let mut done = Vec::new();
    for path in names.paths().into_iter().map(|name| dir.join(name)) {
        let state = match disk::look(&path, MARK)? {
            UnitOnDisk::Absent => FileState::Absent,
            UnitOnDisk::Foreign => FileState::Foreign,
            UnitOnDisk::Ours(_) => {
                disk::remove(&path)?;
                FileState::Removed
            }
        };
        done.push(UnitDocument::new(&path, state));
    }
    let removed = done.iter().any(|file| file.state == FileState::Removed);
    let systemctl = scope.systemctl();
    let disable = format!("{systemctl} disable --now {}", names.timers().join(" "));
    let next = if removed { vec![disable, format!("{systemctl} daemon-reload")] } else { Vec::new() };
    show(session, scope, names, ShownUnits { files: done, next, ..ShownUnits::default() })
}

/// Without the gateway's unit the drop-in is for nothing: it may have another name.
fn no_gateway(unit: &str, scope: UnitScope, dir: &Path) -> Option<String> {
    let system = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let more: &[&str] =
        if scope == UnitScope::System { &system } else { &["/etc/systemd/user", "/usr/lib/systemd/user"] };
    let mut dirs = more.iter().map(Path::new).chain([dir]);
    let none = !dirs.any(|dir| fs_err::symlink_metadata(dir.join(unit)).is_ok());
    none.then(|| {
        format!("there is no {unit} yet; if the gateway's unit has another name, set OPENCLAW_SYSTEMD_UNIT to it")
    })
}

/// What is told at the end.
#[derive(Default)]
struct ShownUnits {
    files: Vec<UnitDocument>,
    warnings: Vec<String>,
    next: Vec<String>,
}

fn show(session: &Session, scope: UnitScope, names: &Names, shown: ShownUnits) -> Result<Exit, Failure> {
    let document = SystemdDocument {
        schema: schema("systemd"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        scope,
        gateway_unit: names.gateway.clone(),
        warnings: shown.warnings,
        files: shown.files,
        next: shown.next,
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&units::text(&document))?;
    }
    let foreign = document.files.iter().any(|file| file.state == FileState::Foreign);
    Ok(Exit::after(foreign, false))
}

/// Where the units are.
fn directory(session: &Session, args: &SystemdArgs, scope: UnitScope) -> Result<PathBuf, Failure> {
    let environment = &session.environment;
    if let Some(dir) = &args.dir {
        return Ok(environment.absolute(dir));
    }
    if scope == UnitScope::System {
        return Ok("/etc/systemd/system".into());
    }
    let config = environment.base_dir("XDG_CONFIG_HOME", ".config");
    let config =
        config.ok_or_else(|| Failure::usage(anyhow::anyhow!("there is no home directory")).hint("set HOME"))?;
    Ok(config.join("systemd/user"))
}

/// What OpenClaw calls its unit: `OPENCLAW_SYSTEMD_UNIT`, else by the profile.
fn names(home: &StateHome) -> Result<Names, Failure> {
    let profile = home.profile.clone().filter(|name| !name.eq_ignore_ascii_case("default"));
    let by_profile = || profile.as_ref().map_or_else(|| GATEWAY.to_owned(), |name| format!("{GATEWAY}-{name}"));
    let named = home.environment.var("OPENCLAW_SYSTEMD_UNIT").map(str::to_owned);
    let unit = named.unwrap_or_else(by_profile);
    let gateway = format!("{}.service", unit.strip_suffix(".service").unwrap_or(&unit));
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@".contains(c));
    for (variable, name) in [("OPENCLAW_SYSTEMD_UNIT", Some(&gateway)), ("OPENCLAW_PROFILE", profile.as_ref())] {
        if let Some(name) = name.filter(|name| !plain(name)) {
            return Err(Failure::usage(anyhow::anyhow!("{variable} gives no name of a unit: '{name}'")));
        }
    }
    Ok(Names { gateway, profile })
}

/// What the units have to say for this host.
fn wiring(session: &Session, scope: UnitScope) -> Result<Wiring, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let home = &context.home;
    let owner = fs_err::metadata(&home.real_dir).map_err(anyhow::Error::from)?.uid();
    let account = account::of(owner);
    let user = account.as_ref().map_or_else(|| owner.to_string(), |account| account.name.clone());
    if scope == UnitScope::User && owner != session.environment.uid {
        let dir = home.state_dir.display();
        return Err(Failure::usage(anyhow::anyhow!("{dir} belongs to {user}, and the units would be yours"))
            .hint(format!("run this as {user}, or as root with --system")));
    }
    let (owner_home, cwd) = match scope {
        UnitScope::User => (session.environment.user_home(), session.environment.user_home()),
        UnitScope::System => (account.map(|account| account.home), None),
    };
    let mut inherited = Environment { cwd: cwd.unwrap_or_else(|| "/".into()), uid: owner, ..Environment::default() };
    if let Some(dir) = owner_home {
        inherited.vars.insert("HOME".to_owned(), text(&dir)?);
    }
    let place = place(session, home, scope, inherited)?;
    let binary = std::env::current_exe().and_then(|path| path.canonicalize());
    let binary = binary.map_err(|error| anyhow::anyhow!("claw-sessions does not know its own path: {error}"))?;
    Ok(Wiring {
        names: names(home)?,
        scope,
        binary: text(&binary)?,
        place,
        writable: writable(&context)?,
        user: (scope == UnitScope::System).then_some(user),
    })
}

/// The state directory, and stores that the configuration puts elsewhere.
fn writable(context: &Context<'_>) -> Result<Vec<String>, Failure> {
    let home = &context.home;
    let found = discover::stores(home, &context.config.config, &[], None).map_err(Failure::usage)?;
    let outside = found.stores.iter().filter(|store| !store.dir.starts_with(&home.real_dir) && !store.via_symlink);
    let mut dirs = vec![text(&home.state_dir)?];
    for store in outside {
        dirs.push(text(&store.dir)?);
    }
    dirs.dedup();
    Ok(dirs)
}

/// What leads from the environment that systemd passes on to this state directory and its gateway. What is found
/// without it is left out.
fn place(session: &Session, home: &StateHome, scope: UnitScope, mut inherited: Environment) -> Result<Place, Failure> {
    let global = &session.cli.global;
    let mut options = Options { state_dir: None, profile: global.profile.clone() };
    let mut place = Place::default();
    let mut pass = |to: &mut Environment, name: &str, value: &str| {
        to.vars.insert(name.to_owned(), value.to_owned());
        place.variables.push((name.to_owned(), value.to_owned()));
    };
    let find =
        |environment: &Environment, options: &Options| home::locate(environment, options).map_err(Failure::usage);
    let found = find(&inherited, &options)?;
    // Root's own temporary directory and policy file are not those of the owner of the state directory.
    let own = (scope == UnitScope::User).then_some("TMPDIR");
    for name in VARIABLES.into_iter().chain(own) {
        let value = home.environment.var(name);
        if let Some(value) = value.filter(|_| value != found.environment.var(name)) {
            pass(&mut inherited, name, value);
        }
    }
    if find(&inherited, &options)?.state_dir != home.state_dir {
        options.state_dir = Some(home.state_dir.clone());
    }
    let found = find(&inherited, &options)?;
    if found.config_path != home.config_path {
        pass(&mut inherited, "OPENCLAW_CONFIG_PATH", &text(&home.config_path)?);
    }
    let policy = home::policy_path(home, global.config.as_deref());
    let policy = policy.filter(|_| scope == UnitScope::User || global.config.is_some());
    let policy = policy.filter(|path| home::policy_path(&found, None).as_ref() != Some(path));
    let paths = [("--state-dir", options.state_dir), ("--config", policy)];
    let mut words: Vec<String> = options.profile.into_iter().flat_map(|name| ["--profile".to_owned(), name]).collect();
    for (option, path) in paths.into_iter().filter_map(|(option, path)| Some((option, path?))) {
        words.extend([option.to_owned(), text(&path)?]);
    }
    Ok(Place { options: words, ..place })
}

/// A path as a unit file can hold it.
fn text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        let shown = path.display();
        Failure::usage(anyhow::anyhow!("{shown}: a unit file cannot hold such a name"))
            .hint("reach it through a symbolic link with a plain name")
    })
}
