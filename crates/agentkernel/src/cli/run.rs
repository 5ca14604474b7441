//! `run`, `create`, `start`: from arguments to a sandbox that runs.

use super::{
    Failure, Status, agents,
    args::{SandboxArgs, StdioArgs, input_reaches},
    engine_image,
    failure::{FAILED, OWN},
    image, layers, net, print, print_json, recipe,
    replay::RecordArgs,
    report, shell, undo, usage,
};
use crate::{
    BackendKind, Name, Network, SandboxId, SecretUse, Spec, Workspace,
    client::{self, Client, ClientError, Found, Lendings, Outcome, Session},
    config::{self, FoundImage, HostFacts, Project, UserConfig, WorkspaceMode},
    store::{Entry, Lock, State, Store, StoreError},
};
use clap::Args;
use egress::{Secret, control::SecretGrant};
use std::{ffi::OsString, time::Instant};
use wire::{Exit, Stdio, api};

/// Run an agent, or any command, in a new sandbox of this project.
///
/// 'run AGENT [OPTIONS] [-- ARGUMENTS]' runs an agent, whose name 'agentkernel agents' knows, or whose adapter this file is:
/// './my-agent.toml'. It is installed first if it isn't. 'run -- COMMAND' is a command in any case.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    stdio: StdioArgs,
    /// Ask again what the images of the project's [image] are, and write that to agentkernel.lock
    #[arg(long)]
    update_lock: bool,
    /// Leave it running in the background and print its id (implies --keep)
    #[arg(short, long)]
    detach: bool,
    /// Remove the sandbox when its command ends (the default, unless -d or --keep)
    #[arg(long, conflicts_with = "keep")]
    rm: bool,
    /// Keep the sandbox and its files when its command ends
    #[arg(long)]
    keep: bool,
    /// COMMAND is one line for the sandbox's shell: bash where it has that, else sh. Without a line, that shell
    #[arg(long, conflicts_with = "entrypoint")]
    shell: bool,
    /// End the sandbox when this process ends, in whatever way, also by SIGKILL
    #[arg(long, conflicts_with_all = ["detach", "keep"])]
    die_with_client: bool,
    /// Keep what the project's files are now: 'agentkernel undo' brings that back
    #[arg(long, conflicts_with = "no_checkpoint")]
    checkpoint: bool,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    ask: agents::AskArgs,
    #[arg(skip)]
    agent: Option<Box<agents::Wanted>>,
    /// Print a line of JSON: the id with -d, else the outcome or the failure, last on standard error
    #[arg(long)]
    json: bool,
    /// The name of an agent, or the command and its arguments; without, the image's own
    #[arg(trailing_var_arg = true, value_name = "AGENT|COMMAND")]
    command: Vec<OsString>,
}

/// Make a sandbox without starting it.
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    stdio: StdioArgs,
    /// Ask again what the images of the project's [image] are, and write that to agentkernel.lock
    #[arg(long)]
    update_lock: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    /// What it runs when it is started; without, it idles and serves 'exec'
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Start a sandbox that is stopped.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// Join its main command
    #[arg(short, long)]
    attach: bool,
}

/// What is known of a run when it ends, however it does.
#[derive(Default)]
pub(super) struct Course {
    pub(super) id: Option<SandboxId>,
    name: Option<Name>,
    exit: Option<Exit>,
    agent: Option<agents::Told>,
    /// It goes on in the background, and its id is told.
    detached: bool,
}

impl Course {
    /// Tells of it in one line of JSON.
    fn tell(self, began: Instant, result: Result<u8, &Failure>) {
        let (status, error) = match result {
            Ok(status) => (status, None),
            Err(failure) => (failure.status, Some(&failure.cause)),
        };
        let Self { id, name, exit, agent, .. } = self;
        client::tell(&serde_json::json!({
            "id": id, "name": name, "status": status, "exit": exit, "error": error,
            "agent": agent, "duration_ms": began.elapsed().as_millis() as u64,
        }));
    }
}

/// The line of JSON of a `run` whose arguments were not understood.
pub(super) fn tell_mistake(failure: &Failure) {
    Course::default().tell(Instant::now(), Err(failure));
}

/// `run` and its arguments, to be read once more.
#[derive(clap::Parser)]
#[command(name = "agentkernel run")]
struct Typed {
    #[command(flatten)]
    run: Run,
}

impl Run {
    /// Runs what was typed: `typed` is what came after `run`.
    pub(super) fn typed(self, typed: &[OsString]) -> Status {
        let ours = |failure: Failure| failure.status(OWN);
        let told = |failure: Failure, json: bool| {
            if json {
                report(&failure);
                tell_mistake(&failure);
                return Ok(failure.status);
            }
            Err(failure)
        };
        let (words, wanted) = match agents::meant(typed, &self.command) {
            Ok(Some(found)) => found,
            Ok(None) => {
                return match self.ask.said() {
                    Some(flag) => told(ours(agents::no_agent(flag)), self.json),
                    None => self.run(),
                };
            }
            Err(failure) => return told(ours(failure), self.json),
        };
        let parsed = <Typed as clap::Parser>::try_parse_from([OsString::from("run")].iter().chain(&words));
        match parsed {
            Ok(Typed { run }) => match run.command.first() {
                Some(word) => told(ours(agents::stray(&wanted, word)), run.json),
                None if run.shell => told(ours(agents::no_line(&wanted)), run.json),
                None => Self { agent: Some(Box::new(wanted)), ..run }.run(),
            },
            Err(error) if !error.use_stderr() => {
                print(&error.render().to_string())?;
                Ok(0)
            }
            Err(error) => {
                let json = usage::asks_for_json("run", words.iter().cloned());
                told(usage::failure(&error, Some("run")), json)
            }
        }
    }

    pub(super) fn run(self) -> Status {
        let (json, began) = (self.json, Instant::now());
        let mut course = Course::default();
        let result = self.follow(&mut course);
        if !json || course.detached {
            return result;
        }
        if let Err(failure) = &result {
            report(failure);
        }
        course.tell(began, result.as_ref().map(|status| *status));
        Ok(result.unwrap_or_else(|failure| failure.status))
    }

    /// One that is gone when its command has ended.
    pub(super) fn once(sandbox: SandboxArgs, stdio: StdioArgs, command: Vec<OsString>) -> Self {
        Self {
            sandbox,
            stdio,
            update_lock: false,
            detach: false,
            rm: true,
            keep: false,
            shell: false,
            die_with_client: false,
            checkpoint: false,
            record: RecordArgs::default(),
            ask: agents::AskArgs::default(),
            agent: None,
            json: false,
            command,
        }
    }

    pub(super) fn follow(mut self, course: &mut Course) -> Status {
        let json = self.json;
        let ours = |failure: Failure| failure.status(OWN);
        if self.agent.is_some() && self.ask.is_headless() {
            // What it prints is a program's, and it is not asked to wait for input that never ends.
            self.stdio.no_terminal();
        }
        let (terminal, stdin) = self.stdio.resolve(self.detach)?;
        let agent = self.agent;
        let title = agent.as_ref().map(|agent| [OsString::from(&agent.adapter.title)]);
        let title = title.as_ref().map_or(&self.command[..], |title| title);
        let mut recording = self.record.begin(title, self.detach).map_err(ours)?;
        let command = if self.shell { shell::words(self.command).map_err(ours)? } else { self.command };
        let mut overrides = self.sandbox.overrides(command);
        if self.shell {
            // Whatever the image runs otherwise.
            overrides.entrypoint = Some(OsString::new());
        }
        overrides.keep = (self.keep || (self.detach && !self.rm)).then_some(true).or(self.rm.then_some(false));
        overrides.terminal = terminal;
        overrides.stdin = stdin;
        let agent = agent.as_deref().map(|agent| (agent, self.ask));
        let (mut client, spec) = Beginning { overrides, agent, renew: self.update_lock, checkpoint: self.checkpoint }
            .begin(course)
            .map_err(ours)?;
        if self.die_with_client {
            client.tie().map_err(|error| ours(error.into()))?;
        }
        // In the background the input stays open, for whoever joins later.
        let stdin = stdin && !self.detach;
        let session = Session { stdin, terminal, detach: self.detach, repaint: false, tied: false };
        let open = api::Open::Attach { exec: 0, stdin, output: !self.detach };
        let outcome = session.run_recorded(&mut client, &open, recording.as_mut(), None);
        self.record.end(recording);
        if let (Ok(Outcome::Detached { .. }), true) = (&outcome, self.detach) {
            if json {
                print_json(&serde_json::json!({ "id": spec.id, "name": spec.name }))?;
            } else {
                print(&format!("{}\n", spec.id))?;
            }
            course.detached = true;
            return Ok(0);
        }
        course.exit = match &outcome {
            Ok(Outcome::Exited(exit)) => Some(*exit),
            Ok(Outcome::Lost { .. }) => Some(Exit::Lost),
            _ => None,
        };
        conclude(outcome)
            .map_err(|failure| if failure.status == FAILED { ours(failure) } else { failure })
            .map_err(|failure| kept(&spec, failure))
    }
}

/// A failure of a sandbox that is kept: its id is told with the failure or never.
fn kept(spec: &Spec, failure: Failure) -> Failure {
    match spec.keep {
        true => failure.also(&format!("Sandbox {id} is kept: 'agentkernel rm {id}' removes it", id = spec.id)),
        false => failure,
    }
}

/// A sandbox that is about to be made for a command, or for an agent of which something is asked.
pub(super) struct Beginning<'a> {
    pub(super) overrides: config::Overrides,
    pub(super) agent: Option<(&'a agents::Wanted, agents::AskArgs)>,
    /// Ask again what images are.
    pub(super) renew: bool,
    /// Keep what the project's files are now.
    pub(super) checkpoint: bool,
}

impl Beginning<'_> {
    /// Makes it and starts it; nobody has joined it then.
    pub(super) fn begin(self, course: &mut Course) -> Result<(Client, Spec), Failure> {
        let Self { mut overrides, agent, renew, checkpoint } = self;
        overrides.must_run = true;
        let store = Store::open()?;
        let terminal = overrides.terminal;
        let told = agent.as_ref().map(|(agent, ask)| agent.prepare(ask, &mut overrides, &store, terminal));
        let mut told = told.transpose()?;
        let (spec, entry, lock) = make(&overrides, agent.as_ref().map(|(agent, ask)| (*agent, ask)), renew, &store)?;
        (course.id, course.name) = (Some(spec.id.clone()), spec.name.clone());
        if let (Some(told), Some(agent)) = (&mut told, &spec.agent) {
            told.settle(agent, &spec);
            told.tell();
        }
        course.agent = told;
        // Whoever acts without asking is given what can be taken back.
        let by_default = agent.is_some_and(|(_, ask)| !ask.common.no_checkpoint)
            && matches!(spec.workspace, Workspace::Direct { .. });
        let without = if checkpoint { "Leave --checkpoint out" } else { "Give --no-checkpoint" };
        if (checkpoint || by_default)
            && let Err(failure) = undo::take(&store, &spec, &undo::words(&spec), without)
        {
            // There is nothing in it yet.
            store.remove(entry, lock)?;
            return Err(failure);
        }
        let client = launch(store, entry, lock, spec.clone()).map_err(|failure| kept(&spec, failure))?;
        Ok((client, spec))
    }
}

impl Create {
    pub(super) fn run(self) -> Status {
        let (terminal, stdin) = (self.stdio.tty, self.stdio.interactive);
        let mut overrides = self.sandbox.overrides(self.command);
        (overrides.terminal, overrides.stdin) = (terminal, stdin);
        overrides.keep = Some(true);
        let store = Store::open()?;
        let (spec, _, lock) = make(&overrides, None, self.update_lock, &store)?;
        drop(lock);
        if self.json {
            print_json(&serde_json::json!({ "id": spec.id, "name": spec.name }))?;
        } else {
            print(&format!("{}\n", spec.id))?;
        }
        Ok(0)
    }
}

impl Start {
    pub(super) fn run(self) -> Status {
        if self.attach {
            let [reference] = self.sandboxes.as_slice() else {
                return Err(Failure::new("Only one sandbox can be joined").status(OWN));
            };
            let store = Store::open()?;
            let entry = store.find(reference)?;
            let spec = entry.spec()?;
            let Some(command) = &spec.command else {
                return Err(Failure::new(format!("Sandbox {reference} has no main command to join"))
                    .hint(format!("Start it, then 'agentkernel exec -it {reference} sh'")));
            };
            let (stdin, terminal) = stdio_of(command.stdio);
            let hint = format!("Start it without -a; 'agentkernel attach --no-stdin {reference}' then only watches");
            input_reaches(terminal, stdin, hint)?;
            let open = api::Open::Attach { exec: 0, stdin, output: true };
            let session = |repaint| Session { stdin, terminal, detach: false, repaint, tied: false };
            return match client::find_settled(&entry)? {
                Found::Running(mut client) => match session(true).run(&mut client, &open) {
                    Err(error) => Err(too_late(error, &entry, reference)),
                    outcome => conclude(outcome),
                },
                Found::Idle(lock) => conclude(session(false).run(&mut launch(store, entry, lock, spec)?, &open)),
            };
        }
        super::for_each(&self.sandboxes, |reference| {
            let store = Store::open()?;
            let entry = store.find(reference)?;
            let spec = entry.spec()?;
            // Docker's way: starting what runs is no failure.
            if let Found::Idle(lock) = client::find_settled(&entry)? {
                start_kept(store, entry, lock, ready(spec)?)?;
            }
            print(&format!("{reference}\n"))
        })
    }
}

/// Whether a command takes input, and whether it has a terminal.
pub(super) fn stdio_of(stdio: Stdio) -> (bool, bool) {
    match stdio {
        Stdio::Pipes { stdin } => (stdin, false),
        Stdio::Terminal { .. } => (true, true),
    }
}

/// There is nothing to tell of it yet.
pub(super) fn never_started(reference: &str) -> Failure {
    Failure::new(format!("Sandbox {reference} was never started"))
        .hint(format!("'agentkernel start {reference}' starts it"))
}

/// What is told of a request that found nobody: that the sandbox has ended, and how, if that is why.
pub(super) fn too_late(error: ClientError, entry: &Entry, reference: &str) -> Failure {
    if !matches!(error, ClientError::Gone | ClientError::Store(StoreError::NotRunning { .. })) {
        return error.into();
    }
    match entry.state() {
        Ok(State::Exited { exit, .. }) => {
            Failure::new(format!("Sandbox {reference} has ended (exit {})", exit.status())).hint(format!(
                "'agentkernel logs {reference}' shows what it wrote; 'agentkernel start {reference}' starts it again"
            ))
        }
        Ok(State::Created) => never_started(reference),
        // One that is not kept leaves nothing behind that could tell.
        _ if entry.spec().map_or(true, |spec| !spec.keep) => Failure::new(format!("Sandbox {reference} has ended")),
        _ => error.into(),
    }
}

/// The project that the caller stands in, with what is known of its trust.
pub(super) fn project(store: &Store, host: &HostFacts, unseen: bool) -> Result<Project, Failure> {
    let mut project = match Project::find(host) {
        // Where nothing of the project is to be seen, there need be none.
        Err(_) if unseen && host.lost().is_some() => Project { dir: host.cwd.clone(), file: None },
        found => found?,
    };
    if let Some(file) = &mut project.file {
        file.trusted = store.is_trusted(file)?;
    }
    Ok(project)
}

/// From what was typed and what the project says to a sandbox on record.
pub(super) fn make(
    overrides: &config::Overrides,
    agent: Option<(&agents::Wanted, &agents::AskArgs)>,
    renew: bool,
    store: &Store,
) -> Result<(Spec, Entry, Lock), Failure> {
    /// There are 4,096 generated names: with half of them taken, nobody ever sees so many misses.
    const TRIES: u32 = 64;
    let host = HostFacts::read()?;
    let project = project(store, &host, overrides.workspace == Some(WorkspaceMode::None))?;
    let user = UserConfig::read(&host)?;
    let mut overrides = overrides.clone();
    // Until the sandbox is on record, nobody removes what it is made of.
    let (found, kept) = find_image(store, &overrides, &project, &user, &host)?.unzip();
    let mut _kept = kept.flatten();
    overrides.found = found;
    let is_native = config::backend(&overrides, &project, &user) == BackendKind::Native;
    match config::recipe(&overrides, &project)? {
        // What a project that is not trusted asks for is not made.
        Some(recipe) if project.file.as_ref().is_some_and(|file| file.trusted) => {
            let (found, guard) = if is_native {
                recipe::image(store, &recipe, &project, &user, renew).map(|(found, guard)| (found, Some(guard)))?
            } else {
                recipe::in_engine(store, &recipe, &project, &user, &host, renew)?
            };
            (overrides.found, _kept) = (Some(found), guard);
        }
        Some(_) => {}
        None if renew && config::own_layers(&overrides, &project).is_empty() => {
            let failure = Failure::new("Nothing is locked: the project has no [image]");
            return Err(failure.hint("Leave --update-lock out"));
        }
        None => {}
    }
    let _kept_agent = agent.map(|(agent, ask)| agent.lay(ask, &mut overrides, &project)).transpose()?;
    // Over whatever that is.
    let _kept_layers = layers::find(store, &mut overrides, &project, renew)?;
    let (mut tries, mut swept) = (0, false);
    loop {
        let spec = config::resolve(overrides.clone(), &project, &user, &host)?;
        match store.create(&spec) {
            Ok((entry, lock)) => {
                let void = config::void_rules(&spec.network.policy.rules).into_iter().map(net::void);
                let needed = overrides.agent.iter().flat_map(|agent| &agent.allow);
                let beyond = overrides.network.allow.iter().chain(needed).filter_map(|rule| net::beyond(rule, &user));
                let narrowed = config::narrowed(&overrides.network, &user).into_iter();
                let narrowed = narrowed.map(|cause| Failure::new(cause).hint(user.place()));
                let misled = net::misled(&spec, &spec.env);
                let idle = config::idle_secrets(&spec.network).into_iter().map(|idle| net::idle(&idle, &user));
                void.chain(beyond).chain(narrowed).chain(idle).chain(misled).for_each(|failure| report(&failure));
                return Ok((spec, entry, lock));
            }
            // A name that nobody chose: another id has another one.
            Err(StoreError::NameTaken { .. })
                if spec.name == Some(config::generated_name(&spec.id)) && tries < TRIES =>
            {
                tries += 1;
            }
            // One that was not to be kept and whose supervisor was killed has it no longer.
            Err(StoreError::NameTaken { .. }) if !swept => {
                swept = true;
                client::sweep(store, false)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The image that is meant, if it is one that is called by a name, and what keeps it until there is a sandbox.
pub(super) fn find_image(
    store: &Store,
    overrides: &config::Overrides,
    project: &Project,
    user: &UserConfig,
    host: &HostFacts,
) -> Result<Option<(FoundImage, Option<crate::image::Guard>)>, Failure> {
    let Some(reference) = config::named_image(overrides, project) else { return Ok(None) };
    // What a project that is not trusted asks for is not even looked for.
    let trusted = overrides.image.is_some() || project.file.as_ref().is_some_and(|file| file.trusted);
    match config::backend(overrides, project, user) {
        BackendKind::Native => {
            let found = image::find(store, reference, trusted)?;
            Ok(found.map(|(found, guard)| (found, Some(guard))))
        }
        // Nor is the engine asked, if the project may not choose it.
        BackendKind::Docker if trusted || overrides.backend.is_some() => {
            let found = engine_image::find(store, host, reference, trusted)?;
            Ok(found.map(|found| (found, None)))
        }
        BackendKind::Docker => Ok(None),
    }
}

/// A kept sandbox, and what it starts with.
pub(super) struct Ready {
    spec: Spec,
    lendings: Lendings,
}

/// Gathers what a kept sandbox starts with, which may not be to be had.
pub(super) fn ready(spec: Spec) -> Result<Ready, Failure> {
    let spec = limited(spec)?;
    let lendings = lendings(&spec)?;
    Ok(Ready { spec, lendings })
}

/// Starts a kept sandbox in the background and waits until it runs.
pub(super) fn start_kept(store: Store, entry: Entry, lock: Lock, ready: Ready) -> Result<(), Failure> {
    let Ready { spec, lendings } = ready;
    Ok(client::start(store, entry, lock, spec, lendings).map_err(|error| Failure::chain(&error))??)
}

/// Splits the supervisor off.
pub(super) fn launch(store: Store, entry: Entry, lock: Lock, spec: Spec) -> Result<Client, Failure> {
    let spec = if spec.keep { limited(spec)? } else { spec };
    // One that is not kept is gone again if one of them is not to be had.
    let lendings = match lendings(&spec) {
        Ok(lendings) => lendings,
        Err(failure) => {
            if !spec.keep {
                let _ = store.remove(entry, lock);
            }
            return Err(failure);
        }
    };
    client::launch(store, entry, lock, spec, lendings).map_err(|error| Failure::chain(&error))
}

/// A kept sandbox within the user's limits as they are now.
fn limited(mut spec: Spec) -> Result<Spec, Failure> {
    let host = HostFacts::read()?;
    config::check_own(&spec, &host)?;
    UserConfig::read(&host)?.limit(&mut spec.network);
    Ok(spec)
}

/// The values that are put in for a sandbox's placeholders, and where the agent is whose keys it may use.
fn lendings(spec: &Spec) -> Result<Lendings, Failure> {
    let Network { secrets, lent_keys, .. } = &spec.network;
    if secrets.is_empty() && lent_keys.is_none() {
        return Ok(Lendings::default());
    }
    let host = HostFacts::read()?;
    let gathered = config::gather(secrets, &config::Seen::of(spec), &host)?;
    let grant = |(used, value): (SecretUse, Secret)| SecretGrant {
        name: used.name,
        placeholder: used.placeholder,
        value,
        hosts: used.hosts,
    };
    let agent = lent_keys.as_ref().map(|lent| config::ssh_agent(&host, lent)).transpose()?;
    Ok(Lendings { secrets: gathered.into_iter().map(grant).collect(), agent })
}

/// The exit status of a session, the reason told where the status alone would leave the user guessing.
pub(super) fn conclude(outcome: Result<Outcome, ClientError>) -> Status {
    match outcome? {
        Outcome::Exited(exit) => {
            let failure = match exit {
                Exit::Oom => Failure::new("Killed: the sandbox's memory limit was reached")
                    .hint("Give it more with --memory, or [resources] memory in agentkernel.toml"),
                Exit::Deadline => Failure::new("Killed: the time limit was reached")
                    .hint("Give it more with --timeout, or [sandbox] timeout in agentkernel.toml"),
                Exit::Lost => Failure::new("The sandbox was lost: its supervisor or its machine died"),
                Exit::Code(_) | Exit::Signal(_) => return Ok(exit.status()),
            };
            report(&failure);
            Ok(exit.status())
        }
        Outcome::Lost { why } => {
            report(&Failure::new(why));
            Ok(Exit::Lost.status())
        }
        Outcome::Failed { kind, cause } => {
            // Init says so, and knows no flags.
            let hint = if cause.starts_with("Cannot enter the working directory") {
                "Name one with -w that is in the sandbox, or make it there first"
            } else if cause.starts_with("The image has no ") {
                "--image names one that has; or make one with `agentkernel image build`"
            } else if cause.contains("too large for the kernel") {
                "Give what is long in a file, or on standard input"
            } else {
                ""
            };
            Err(Failure::new(cause).hint(hint).status(kind.status()))
        }
        Outcome::Detached { .. } => Ok(0),
    }
}
