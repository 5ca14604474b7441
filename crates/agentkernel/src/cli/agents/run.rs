//! `run AGENT`: hides how what is asked of an agent becomes a sandbox that has the agent, what it needs, and nothing that
//! logs in.

use super::{
    super::{Failure, run},
    brought::Brought,
    find,
    install::{Workshop, reference},
    installed, parts,
};
use crate::{
    Agent, Spec,
    agents::{
        self, Adapter, Adapters, AgentError, Ask, CannotError, Credential, Elsewhere, Given, Libc, Output, Session,
        Way, Wish,
        login::{self, Lent},
        only_tells, preset,
    },
    config::{self, AgentUse, EnvVar, HostFacts, Overrides, Project, WorkspaceMode},
    image::Guard,
    store::Store,
    workspace::AgentHome,
};
use clap::{Args, ValueEnum};
use egress::{Mode, Rule};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// What is asked of an agent.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Of an agent (run AGENT)")]
pub(in crate::cli) struct AskArgs {
    /// Have it do this and end; after the agent's name -p is short for it
    #[arg(long, value_name = "TASK")]
    prompt: Option<String>,
    /// Go on with the last session of this project
    #[arg(long = "continue", conflicts_with = "resume")]
    go_on: bool,
    /// Go on with this session
    #[arg(long, value_name = "SESSION")]
    resume: Option<String>,
    /// How it tells what it did: 'text'; 'json', at its end; 'stream-json', as it happens
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    output_format: Option<Format>,
    /// Have it ask before it acts: without, it asks nobody, for the sandbox is the permission
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
    /// It speaks to an editor.
    #[arg(skip)]
    acp: bool,
}

/// What is asked of an agent in whatever way it runs.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct CommonArgs {
    /// Use this model, as the agent calls it
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Let it tell its makers what it does
    #[arg(long)]
    telemetry: bool,
    /// Let it look for newer versions of itself
    #[arg(long)]
    self_update: bool,
    /// Bring nothing that logs it in
    #[arg(long)]
    no_login: bool,
    /// Take no checkpoint of the project first, to which 'undo' goes back
    #[arg(long)]
    pub(in crate::cli) no_checkpoint: bool,
    /// Tell what it may reach, and what logs it in, also where nobody sits at a terminal
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    StreamJson,
}

impl AskArgs {
    /// What an editor asks: to be asked, unless nobody is to be.
    pub(in crate::cli) fn of_editor(common: CommonArgs, unattended: bool) -> Self {
        Self { ask: !unattended, common, acp: true, ..Self::default() }
    }

    /// In which way it runs.
    fn way(&self) -> Way {
        match (self.acp, self.is_headless()) {
            (true, _) => Way::Acp,
            (false, true) => Way::Headless,
            (false, false) => Way::Interactive,
        }
    }

    /// Whether it is to do one task and end.
    pub(in crate::cli) fn is_headless(&self) -> bool {
        self.prompt.is_some()
    }

    /// What the agent may do of itself.
    fn wishes(&self) -> Vec<Wish> {
        let wishes = [
            (self.common.telemetry, Wish::Telemetry),
            (self.common.self_update, Wish::Updates),
            (self.ask, Wish::Questions),
        ];
        wishes.into_iter().filter(|(said, _)| *said).map(|(_, wish)| wish).collect()
    }

    /// The first that was said, if any was.
    pub(in crate::cli) fn said(&self) -> Option<&'static str> {
        let said = [
            ("--prompt", self.prompt.is_some()),
            ("--continue", self.go_on),
            ("--resume", self.resume.is_some()),
            ("--model", self.common.model.is_some()),
            ("--output-format", self.output_format.is_some()),
            ("--ask", self.ask),
            ("--telemetry", self.common.telemetry),
            ("--self-update", self.common.self_update),
            ("--no-login", self.common.no_login),
            ("--no-checkpoint", self.common.no_checkpoint),
            ("--verbose", self.common.verbose),
        ];
        said.into_iter().find(|(_, said)| *said).map(|(flag, _)| flag)
    }
}

/// An agent that is to run, and what its user has given it beside what we know.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Wanted {
    pub(in crate::cli) adapter: Adapter,
    extra: Vec<String>,
}

impl Wanted {
    /// The one of this name or path, with arguments of its own.
    pub(in crate::cli) fn of(word: &str, extra: Vec<String>) -> Result<Self, Failure> {
        let store = Store::open()?;
        let host = HostFacts::read()?;
        let adapters = Adapters::of(&host, &run::project(&store, &host, false)?);
        Ok(Self { adapter: find(&store, &adapters, word)?, extra })
    }
}

/// What is told of an agent's sandbox.
#[derive(Clone, Debug, serde::Serialize)]
pub(in crate::cli) struct Told {
    name: String,
    title: String,
    version: String,
    /// What it may reach of its own.
    allow: Vec<String>,
    /// What logs it in, in words.
    login: Option<String>,
    /// What of the user's settings does not come along, for it logs in.
    left_out: Vec<String>,
    /// What of them does not, for the agent would not work here with it.
    set_aside: Vec<String>,
    /// Packages and servers that the agent fetches, or has fetched, before it begins.
    fetched: Vec<String>,
    /// Guards in the user's settings that have nothing to run in the sandbox.
    guards_off: Vec<String>,
    /// Where hooks come along.
    #[serde(skip)]
    hooks: Option<PathBuf>,
    /// What earlier runs have left that directs this one: memory, settings, skills.
    of_earlier_runs: Vec<String>,
    /// Where git keeps the project's repository, if the sandbox has nothing of it.
    repository: Option<PathBuf>,
    /// What it needs of memory, in bytes, where the sandbox has less.
    lacks_memory: Option<u64>,
    #[serde(skip)]
    needs_memory: u64,
    #[serde(skip)]
    shown: bool,
}

/// Whether a word is an agent's name, or the path of an adapter.
fn adapter(word: &OsStr) -> Result<Option<Adapter>, Failure> {
    let Some(word) = word.to_str() else { return Ok(None) };
    let is_path = word.contains('/');
    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let (name, version) = parts(word);
    if !is_path && word.ends_with(".toml") && Path::new(word).is_file() {
        let cause = format!("{} is no program", config::quoted(word.as_ref()));
        let hint = format!("`agentkernel run ./{}` runs the agent that it is about", wire::shell_word(word));
        return Err(Failure::new(cause).hint(hint));
    }
    // What is written as programs are seldom called is only one whose name it is.
    let written = name.to_ascii_lowercase();
    if if is_path { !word.ends_with(".toml") } else { !written.bytes().all(named) } {
        return Ok(None);
    }
    let store = Store::open()?;
    let host = HostFacts::read()?;
    if host.lost().is_some() {
        // No agent could work there, which is told soon.
        return Ok(None);
    }
    let adapters = Adapters::of(&host, &run::project(&store, &host, true)?);
    match adapters.find(name) {
        Ok(_) if version.is_some() => Err(Failure::new(format!(
            "'{name}' is run without a version: the one that was installed last"
        ))
        .hint(format!(
            "`agentkernel agents install {0}` installs that; `agentkernel run -- {0}` runs a program of this name",
            wire::shell_word(word)
        ))),
        Err(AgentError::Unknown { .. }) if version.is_some() => Ok(None),
        Ok(_) => find(&store, &adapters, word).map(Some),
        Err(AgentError::Unknown { names, .. }) if written != name && !names.contains(&written) => Ok(None),
        Err(AgentError::Unknown { names, .. }) => match agents::nearest(word, &names) {
            None => Ok(None),
            Some(near) => Err(Failure::new(format!("No agent is called '{word}'")).hint(format!(
                "Did you mean '{near}'? `agentkernel run -- {}` runs a program of this name",
                wire::shell_word(word)
            ))),
        },
        Err(error) => Err(error.into()),
    }
}

/// What `run` is to be given if its first word, which is the first of `command`, is an agent; `typed` is all that came after
/// `run`. What stands behind the agent's name is for us, up to `--`.
pub(in crate::cli) fn meant(
    typed: &[OsString],
    command: &[OsString],
) -> Result<Option<(Vec<OsString>, Wanted)>, Failure> {
    let Some((word, after)) = command.split_first() else { return Ok(None) };
    let before = &typed[..typed.len() - command.len()];
    if before.last().is_some_and(|last| last == "--") {
        return Ok(None);
    }
    let Some(adapter) = adapter(word)? else { return Ok(None) };
    let end = after.iter().position(|word| word == "--").unwrap_or(after.len());
    let text = |word: &OsString| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| Failure::new(format!("{} is no text, which agents take alone", config::quoted(word))))
    };
    let extra = after.iter().skip(end + 1).map(text).collect::<Result<_, _>>()?;
    // Before a command, it is a port.
    let ours = after[..end].iter().map(|word| match word.to_str().and_then(|word| word.strip_prefix("-p")) {
        Some("") => "--prompt".into(),
        Some(task) => format!("--prompt={task}").into(),
        None => word.clone(),
    });
    Ok(Some((before.iter().cloned().chain(ours).collect(), Wanted { adapter, extra })))
}

/// A word that is nobody's.
pub(in crate::cli) fn stray(wanted: &Wanted, word: &OsStr) -> Failure {
    let name = &wanted.adapter.name;
    Failure::new(format!("Unexpected argument {}", config::quoted(word)))
        .hint(format!("'run {name} -p TASK' gives it a task, and what follows '--' is passed on to it"))
}

/// That an agent is no line for a shell.
pub(in crate::cli) fn no_line(wanted: &Wanted) -> Failure {
    let name = &wanted.adapter.name;
    Failure::new(format!("`--shell` is for lines, and '{name}' is an agent"))
        .hint(format!("Leave it out, or put '--' before a line: run --shell -- {name}"))
}

/// That something is asked which only agents can be.
pub(in crate::cli) fn no_agent(flag: &str) -> Failure {
    Failure::new(format!("`{flag}` is for agents, and no agent is named"))
        .hint("Name one first: 'agentkernel run claude'; 'agentkernel agents' lists them")
}

impl Wanted {
    /// Puts what it is, and what it needs, among what the sandbox is to be.
    pub(in crate::cli) fn prepare(
        &self,
        ask: &AskArgs,
        overrides: &mut Overrides,
        store: &Store,
        terminal: bool,
    ) -> Result<Told, Failure> {
        let adapter = &self.adapter;
        let host = HostFacts::read()?;
        let project = run::project(store, &host, overrides.workspace == Some(WorkspaceMode::None))?;
        for elsewhere in &adapter.elsewhere {
            let dir = elsewhere.dir(&host).and_then(|dir| dir.canonicalize().ok());
            if let Some(dir) = dir.filter(|dir| dir.starts_with(&project.dir)) {
                let Elsewhere { variable, .. } = elsewhere;
                let cause =
                    format!("{variable} is {}, in the project, where a sandbox reads what logs in", dir.display());
                let hint = format!("Move it elsewhere, or unset {variable} for what is in your home directory");
                return Err(Failure::new(cause).hint(hint));
            }
        }
        let home = AgentHome::open(store, &project.dir, &adapter.name)?;
        if ask.ask && ask.is_headless() {
            return Err(Failure::new("`--ask`: there is nobody to ask, with a task that it does and ends")
                .hint("Leave out --ask, or the task; what an agent has of its own for that goes behind '--'"));
        }
        // What is in them is looked at soon.
        let keep = |below: &PathBuf| Ok((home.directory(below)?, below.clone()));
        let mut kept = adapter.home.state.iter().map(keep).collect::<Result<Vec<_>, Failure>>()?;
        let logins = if ask.common.no_login { Vec::new() } else { self.logins(overrides, &host, &project)? };
        let (wishes, place) = (ask.wishes(), logins.first().map(login::Login::place));
        let given = Given { wishes: &wishes, login: place.as_deref() };
        let Brought {
            places: brought,
            copies: copied,
            own,
            servers,
            mut left_out,
            set_aside,
            mut fetched,
            guards_off,
            of_earlier_runs,
            ..
        } = Brought::of(adapter, &home, &host, &project.dir, given)?;
        if overrides.network.mode.is_some() || !overrides.network.allow.is_empty() {
            // Its user knows that it reaches others.
            fetched.clear();
        }
        kept.extend(own.iter().map(keep).collect::<Result<Vec<_>, Failure>>()?);
        let session = match (&ask.resume, ask.go_on) {
            (Some(name), _) => Session::Named(name),
            (None, true) => Session::Last,
            (None, false) => Session::New,
        };
        let asked = Ask {
            way: ask.way(),
            session,
            unattended: !ask.ask,
            telemetry: ask.common.telemetry,
            updates: ask.common.self_update,
            model: ask.common.model.as_deref(),
            output: match ask.output_format {
                None | Some(Format::Text) => Output::Text,
                Some(Format::Json) => Output::Json,
                Some(Format::StreamJson) => Output::StreamJson,
            },
            prompt: ask.prompt.as_deref(),
            workspace: &project.dir,
            servers: servers.as_deref(),
            arguments: &self.extra,
        };
        overrides.command = adapter.command_line(&asked)?.into_iter().map(OsString::from).collect();
        // An image's own is for its own commands.
        overrides.entrypoint.get_or_insert_default();

        let lent = Lent::of(&logins, |name| home.placeholder(name))?;
        self.write(&home, &lent, &project)?;
        // Where the user has none of his own; else they are in the copy.
        for file in adapter.presets.iter().map(|preset| &preset.file).collect::<BTreeSet<_>>() {
            let kept = home.read(file);
            if !copied.iter().any(|(_, below)| below == file)
                && let Some(text) = preset(adapter, file, kept.as_deref().filter(|it| !it.is_empty()), given, true)
            {
                home.write(file, &text)?;
            }
        }
        let mut allow = adapter.network.allow.clone();
        let telemetry = adapter.network.telemetry.iter().filter(|_| ask.common.telemetry).cloned();
        for rule in lent.allow().into_iter().chain(telemetry) {
            if !allow.contains(&rule) {
                allow.push(rule);
            }
        }
        if let Some((file, services)) = login::not_lent(adapter, &host).filter(|_| !logins.is_empty()) {
            left_out.extend(services.iter().map(|service| format!("{service} in ~/{}", file.display())));
        }
        let mut environment = adapter.variables(&asked);
        environment.extend(config::git_identity(&project.dir, &host));
        let told = Told {
            name: adapter.name.clone(),
            title: adapter.title.clone(),
            version: adapter.version.clone(),
            allow: named_once(&allow),
            login: in_words(&logins),
            left_out,
            set_aside,
            fetched,
            guards_off,
            hooks: adapter.home.skills.iter().find(|below| below.ends_with("hooks")).cloned(),
            of_earlier_runs,
            repository: config::repository_elsewhere(&project.dir),
            lacks_memory: None,
            needs_memory: adapter.needs.memory,
            shown: ask.common.verbose || (terminal && crate::client::is_terminal().error),
        };
        overrides.agent = Some(AgentUse {
            name: adapter.name.clone(),
            title: adapter.title.clone(),
            version: adapter.version.clone(),
            environment,
            brought,
            copied,
            kept,
            empty: home.empty()?,
            needs: adapter.needs.programs.clone(),
            allow,
            secrets: lent.secrets,
            logins: lent.logins,
        });
        Ok(told)
    }

    /// What logs it in: nothing if the user sees to that himself.
    fn logins(&self, overrides: &Overrides, host: &HostFacts, project: &Project) -> Result<Vec<login::Login>, Failure> {
        let adapter = &self.adapter;
        // What the user has given it himself.
        let is_given = |credential: &Credential| {
            let names = [credential.variable.as_str(), credential.env.as_str()];
            let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
            let is_one = |name: &OsStr| names.iter().any(|one| name == *one);
            let by_flag = overrides.env.iter().any(|variable| match variable {
                EnvVar::Set(name, _) | EnvVar::Inherit(name) => is_one(name),
            });
            let by_secret = overrides.network.secrets.iter().any(|name| is_one(name.as_ref()));
            by_flag || by_secret || config::sets(project, &names)
        };
        let is_any_given = adapter.credentials.iter().any(is_given);
        if adapter.credentials.is_empty() || (is_any_given && !adapter.every_login) {
            return Ok(Vec::new());
        }
        let mut found = login::find(adapter, host)?;
        found.retain(|login| !matches!(login, login::Login::Variable { credential, .. } if is_given(credential)));
        for login in &found {
            if let Some(login::Elsewhere { host: other, address, secret, given }) = login.elsewhere(host) {
                let (place, name) = (login.place(), &adapter.name);
                return Err(Failure::new(format!("{address} says that {place} is for {other}, and it is not lent to another host")).hint(format!(
                    "Record it for that host: 'agentkernel secret set {secret} --host {other}', then `run {name} --secret {secret} --allow {other} {given}`; or unset {address}"
                )));
            }
            // It is the service that decides: it may be known there longer.
            if let Some(over) = super::login::expired(adapter, login)? {
                super::super::report(&over);
            }
        }
        if !found.is_empty() || is_any_given || only_tells(&self.extra) {
            return Ok(found);
        }
        let (title, name) = (&adapter.title, &adapter.name);
        if let Some((file, variable)) = login::in_settings(adapter, host) {
            return Err(Failure::new(format!(
                "Nothing logs {title} in: {variable} in ~/{} stays outside",
                file.display()
            ))
            .hint(format!(
                "Record it for the host that it is for: 'agentkernel secret set {variable} --host HOST', then \
                 'run {name} --secret {variable} --allow HOST'; --no-login runs it without"
            )));
        }
        if let Some((file, services)) = login::not_lent(adapter, host) {
            let (file, services) = (file.display(), services.join(", "));
            return Err(Failure::new(format!("Nothing logs {title} in: {services} in ~/{file} stays outside")).hint(format!(
                "Of that file it is lent what it has for {}; or record a key for its host: 'agentkernel secret set NAME --host HOST', then \
                 'run {name} --secret NAME --allow HOST'; --no-login runs it without",
                login::services(adapter).join(", ")
            )));
        }
        let places = login::accepted(adapter);
        let (last, others) = places.split_last().map_or((String::new(), String::new()), |(last, others)| {
            (last.clone(), others.iter().map(|place| format!("{place}, ")).collect())
        });
        let places = if others.is_empty() { last } else { format!("{}or {last}", others) };
        Err(Failure::new(format!("Nothing logs {title} in: it looks for {places}")).hint(format!(
            "Set the variable, or record it: 'agentkernel secret set'; 'agentkernel agents login {name}' logs in; --no-login runs it without",
        )))
    }

    /// Writes what it finds in its home directory.
    fn write(&self, home: &AgentHome, lent: &Lent, project: &Project) -> Result<(), Failure> {
        let inside: BTreeMap<&str, &str> = lent
            .secrets
            .iter()
            .filter_map(|secret| Some((secret.env.as_deref()?, secret.placeholder.as_str())))
            .collect();
        // One that doesn't log in now may do so next time, and is the same then.
        let value = |name: &str| Some(inside.get(name).map_or_else(|| home.placeholder(name), |it| (*it).to_owned()));
        let mut written: Vec<PathBuf> = Vec::new();
        for file in self.adapter.first_files(&project.dir, value, |name| inside.contains_key(name)) {
            if file.of_login || !home.has(&file.path) {
                home.write(&file.path, &file.text)?;
                written.push(file.path);
            }
        }
        for (path, text) in &lent.files {
            home.write(path, text)?;
            written.push(path.clone());
        }
        // What logged in before, by another way: the agent would take it first.
        let adapter = &self.adapter;
        let names = adapter.lent_names();
        let templates = adapter.files.iter().filter(|file| !file.variable.is_empty()).map(|file| &file.path);
        let logins = adapter.credentials.iter().filter(|it| it.env.is_empty()).map(|credential| &credential.file);
        let mut before = logins.chain(templates).filter(|path| !path.as_os_str().is_empty() && !written.contains(path));
        Ok(before.try_for_each(|path| home.withdraw(path, &names))?)
    }

    /// Sees to it that it is installed, for the image that is found by now, and lays it over that; and with it what speaks to
    /// an editor for it, if that is another package.
    pub(in crate::cli) fn lay(
        &self,
        ask: &AskArgs,
        overrides: &mut Overrides,
        project: &Project,
    ) -> Result<Vec<Guard>, Failure> {
        let mut guards = Vec::new();
        if let Some((guard, version)) = lay(&self.adapter, overrides, project)? {
            if let (Some(agent), Some(version)) = (&mut overrides.agent, version) {
                agent.version = version;
            }
            guards.push(guard);
        }
        if let Some(mode) = self.adapter.mode(ask.way()).filter(|mode| !mode.layer.is_empty()) {
            let store = Store::open()?;
            let other = find(&store, &Adapters::of(&HostFacts::read()?, project), &mode.layer)?;
            guards.extend(lay(&other, overrides, project)?.map(|(guard, _)| guard));
        }
        Ok(guards)
    }
}

/// Lays an adapter's packages over an image, and gives their version; `None` if it has none.
fn lay(
    adapter: &Adapter,
    overrides: &mut Overrides,
    project: &Project,
) -> Result<Option<(Guard, Option<String>)>, Failure> {
    if adapter.packages.is_empty() {
        return Ok(None);
    }
    let libc = if config::has_musl(overrides, project) { Libc::Musl } else { Libc::Glibc };
    let adapter = Adapter { libc, ..adapter.clone() };
    let used = reference(adapter.used())?;
    let workshop = Workshop::open(true)?;
    let guard = workshop.images.keep()?;
    if workshop.images.find(&used)?.is_none() {
        let workshop = Workshop::open(false)?;
        tell!("agentkernel: {} {} is installed first", adapter.title, adapter.version);
        // What it was made of is pruned by whoever holds nothing here: the next install, or `image prune`.
        let (record, _) = workshop.install(&adapter)?;
        workshop.images.tag(&used, &record.manifest)?;
    }
    let (_, version) = installed(&workshop.images.tags()?, &adapter.name, &used);
    overrides.layers.push(used);
    Ok(Some((guard, version)))
}

impl Told {
    /// As it came to be.
    pub(in crate::cli) fn settle(&mut self, agent: &Agent, spec: &Spec) {
        let Spec { network, limits, .. } = spec;
        self.repository.take_if(|place| spec.is_mounted(place));
        self.lacks_memory = limits.memory.filter(|limit| *limit < self.needs_memory).map(|_| self.needs_memory);
        self.version.clone_from(&agent.version);
        if network.policy.rules.mode == Mode::None {
            self.allow.clear();
        }
        if network.secrets.is_empty() {
            self.login = None;
        }
    }

    /// Tells whoever sits there, in one line.
    pub(in crate::cli) fn tell(&self) {
        let Self { name, title, version, allow, login, left_out, guards_off, of_earlier_runs, repository, .. } = self;
        if !self.fetched.is_empty() {
            tell!("agentkernel: {title} fetches what your settings name first: {}", self.fetched.join(", "));
            tell!("  hint: it may wait for minutes where '--allow HOST' does not let it reach their registry");
        }
        // Nobody would miss a guard that says nothing.
        if !guards_off.is_empty() {
            tell!("agentkernel: {title} runs without hooks of yours that guard it: {}", guards_off.join(", "));
            let place = self.hooks.as_ref().map(|below| format!("in ~/{}, ", below.display())).unwrap_or_default();
            tell!("  hint: what they run comes along if it lies {place}without keys in it, and is named by `~/`");
        }
        if !self.shown {
            return;
        }
        let reach = if allow.is_empty() { "nothing of its own".to_owned() } else { allow.join(", ") };
        let login = login.as_ref().map_or(String::new(), |login| format!("; logged in by {login}"));
        tell!("agentkernel: {title} {version} may reach {reach}{login}");
        if let Some(needed) = self.lacks_memory {
            tell!("agentkernel: {title} needs {} of memory, and the sandbox has less", config::format_size(needed));
        }
        if let Some(place) = repository {
            let place = wire::shell_word(&place.to_string_lossy());
            tell!("agentkernel: Git keeps this project's repository in {place}, which the sandbox has not");
            tell!("  hint: '-v {place}:{place}:ro' lets git read it; commit on the host");
        }
        if !of_earlier_runs.is_empty() {
            tell!("agentkernel: {title} goes by what an earlier run here has left: {}", of_earlier_runs.join(", "));
            tell!("  hint: 'agentkernel agents forget {name}' takes it away, and its sessions");
        }
        if !self.set_aside.is_empty() {
            tell!("agentkernel: {title} would not work here with settings of yours: {}", self.set_aside.join(", "));
        }
        if !left_out.is_empty() {
            tell!("agentkernel: Your settings come along without {}", left_out.join(", "));
            tell!("  hint: what they name can be put in on its way: 'agentkernel secret set', and --secret");
        }
    }
}

/// Logins as they are told, if there are any.
fn in_words(logins: &[login::Login]) -> Option<String> {
    let words: Vec<String> = logins.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Hosts as they are told: several rules for one, with other requests, are one host.
fn named_once(rules: &[Rule]) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    for name in rules.iter().map(ToString::to_string) {
        if !named.contains(&name) {
            named.push(name);
        }
    }
    named
}

impl From<CannotError> for Failure {
    fn from(error: CannotError) -> Self {
        let hint = error.hint.clone();
        Self::chain(&error).hint(hint)
    }
}
