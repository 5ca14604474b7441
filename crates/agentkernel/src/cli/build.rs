//! `image build`: an image from a Dockerfile, each command of it in a sandbox like those of `run`.

use super::{
    Failure, Status,
    args::{NetworkArgs, env_parser},
    engine_image,
    image::{locked, parse_new_name, parse_platform},
    print, report, run, table,
};
use crate::{
    SandboxId,
    client::{self, ClientError, Found, Interrupts, Withholding},
    config::{self, BuildStep, EnvVar, HostFacts, LockFile, NetworkOverrides, Overrides, Project, UserConfig},
    image::{BuildError, Capture, Event, Executor, ImageError, Images, Record, Request, Room, Task, Work},
    store::{AuditEvent, Entry, Store, StoreError, Verdict},
};
use clap::Args;
use dockerfile::{Dockerfile, DockerfileError, Ignore, Kind};
use oci::{Platform, Reference};
use rustix::fd::OwnedFd;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};
use wire::{Exit, User};

/// The latest time in an image for which SOURCE_DATE_EPOCH says nothing: a day after archives of the kind ZIP begin, so that
/// they can be made in every time zone.
const EPOCH: i64 = 315_619_200;
/// The longest Dockerfile and `.dockerignore`.
const LONGEST: u64 = 1 << 20;
/// How much of a silent command's output is kept for when it fails.
const TAIL: usize = 16 << 10;

/// Who builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Builder {
    Native,
    Docker,
}

/// Build an image from a Dockerfile, without Docker: each RUN in a sandbox that reaches nothing unless it is allowed.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// Who builds: 'native', sandboxes (the default); 'docker', the builder of your engine, which knows what ours doesn't, and
    /// whose commands have the engine's network
    #[arg(
        long,
        value_name = "BUILDER",
        default_value = "native",
        hide_default_value = true,
        hide_possible_values = true
    )]
    builder: Builder,
    /// The Dockerfile, or '-' for one on standard input; without, the context's
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Call it so
    #[arg(short, long, value_name = "NAME", value_parser = parse_new_name)]
    tag: Vec<Reference>,
    /// Stop at this stage
    #[arg(long, value_name = "STAGE")]
    pub(super) target: Option<String>,
    /// Set a variable that an ARG asks for; without a value, take the caller's
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = env_parser())]
    build_arg: Vec<EnvVar>,
    /// Do every step again
    #[arg(long)]
    pub(super) no_cache: bool,
    /// Of images for several platforms, the one for this: OS/ARCHITECTURE
    #[arg(long, value_name = "PLATFORM", value_parser = parse_platform)]
    pub(super) platform: Option<Platform>,
    /// Tell nothing but the digest
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    /// Processors that a command may use, such as 1.5
    #[arg(long, value_name = "N", value_parser = config::parse_cpus, allow_hyphen_values = true)]
    pub(super) cpus: Option<u64>,
    /// Memory that a command may use, such as 512M or 2GiB
    #[arg(short, long, value_name = "SIZE", value_parser = config::parse_size, allow_hyphen_values = true)]
    pub(super) memory: Option<u64>,
    /// Processes and threads that a command may have
    #[arg(long, value_name = "N", visible_alias = "pids-limit", value_parser = config::parse_count, allow_hyphen_values = true)]
    pub(super) pids: Option<u64>,
    /// End a command after this time, such as 90s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration, allow_hyphen_values = true)]
    pub(super) timeout: Option<Duration>,
    /// The directory that COPY takes files from
    #[arg(default_value = ".")]
    pub(super) context: PathBuf,
}

impl Build {
    pub(super) fn run(self, images: &Images, store: &Store) -> Status {
        let file = self.file.clone().unwrap_or_else(|| self.context.join("Dockerfile"));
        let text = read_text(&file, self.file.is_none())?;
        let name = file.strip_prefix(".").unwrap_or(&file).display().to_string();
        let ignore = ignore(&file, &self.context)?;
        let host = HostFacts::read()?;
        let mut arguments = BTreeMap::new();
        for argument in &self.build_arg {
            let (name, value) = match argument {
                EnvVar::Set(name, value) => (name, Some(value.as_os_str())),
                EnvVar::Inherit(name) => (name, host.var(name)),
            };
            let utf8 = |text: &std::ffi::OsStr| text.to_str().map(str::to_owned);
            let wrong = || Failure::new(format!("{} is no text", config::quoted(name)));
            if let Some(value) = value {
                arguments.insert(utf8(name).ok_or_else(wrong)?, utf8(value).ok_or_else(wrong)?);
            }
        }
        let record = match self.builder {
            Builder::Native => self.in_sandboxes(images, store, host, &name, &text, &ignore, &arguments)?,
            Builder::Docker => self.in_engine(images, &host, &text, &ignore, &arguments)?,
        };
        for tag in &self.tag {
            images.tag(tag, &record.manifest)?;
        }
        print(&format!("{}\n", record.manifest))?;
        Ok(0)
    }

    /// Has each command run in a sandbox.
    #[allow(clippy::too_many_arguments)] // what was read, each from somewhere else
    fn in_sandboxes(
        &self,
        images: &Images,
        store: &Store,
        host: HostFacts,
        name: &str,
        text: &str,
        ignore: &Ignore,
        arguments: &BTreeMap<String, String>,
    ) -> Result<Record, Failure> {
        let dockerfile: Dockerfile = dockerfile::parse(text).map_err(|error| of_line(name, text, error))?;
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        // A context from elsewhere is not this project's.
        let at = std::fs::canonicalize(&self.context).unwrap_or_else(|_| self.context.clone());
        let whose = Project::find(&HostFacts { cwd: at.clone(), ..host.clone() }).map_or(at, |project| project.dir);
        let request = Request {
            dockerfile: &dockerfile,
            context: &self.context,
            ignore,
            project: &whose,
            target: self.target.as_deref(),
            arguments,
            platform: &platform,
            epoch: epoch(&host)?,
            fresh: self.no_cache,
            forget: false,
            user: None,
        };
        let _building = images.building(|| clear_dead(store).map(drop))?;
        let image = self.tag.first().cloned().map_or_else(|| "build".parse(), Ok);
        let image = image.map_err(|error: oci::ReferenceError| Failure::chain(&error))?;
        let (project, user) = (run::project(store, &host, true)?, UserConfig::read(&host)?);
        let mut steps = Steps::new(images, image, project, user, host);
        steps.overrides = Overrides {
            network: self.network.clone().overrides(),
            cpus: self.cpus,
            memory: self.memory,
            pids: self.pids,
            timeout: self.timeout,
            ..Overrides::default()
        };
        steps.quiet = self.quiet;
        steps.check_flags()?;
        let built = images.build(&request, &mut steps);
        built.map_err(|error| steps.failure(error, name, text))
    }
}

/// What a Dockerfile has wrong, with the line.
pub(super) fn of_line(name: &str, text: &str, error: DockerfileError) -> Failure {
    let DockerfileError { line, cause, hint, kind } = error;
    let failure = at_line(name, text, line, cause).hint(hint);
    match kind {
        Kind::Mistake => failure,
        Kind::Unsupported => failure.also("Or have Docker or Podman build it: `--builder docker`"),
        Kind::BuildKit => failure.also(
            "Or build it with `docker build`, whose BuildKit knows it: `image import` takes what `docker save` writes",
        ),
    }
}

fn at_line(name: &str, text: &str, line: usize, cause: impl std::fmt::Display) -> Failure {
    let failure = Failure::new(format!("{name}:{line}: {cause}"));
    match text.lines().nth(line.saturating_sub(1)) {
        Some(words) => failure.line(line, words),
        None => failure,
    }
}

/// The text of a file, or of standard input.
pub(super) fn read_text(file: &Path, is_default: bool) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        let failure = Failure::new(format!("Can't read {}: {error}", file.display()));
        match is_default && error.kind() == ErrorKind::NotFound {
            true => failure.hint("`-f FILE` names a Dockerfile elsewhere"),
            false => failure,
        }
    };
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes),
        false => File::open(file).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)),
    };
    read.map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::new(format!("{} is longer than {LONGEST} bytes", file.display())));
    }
    String::from_utf8(bytes).map_err(|_| Failure::new(format!("{} is not UTF-8", file.display())))
}

/// What of the context does not count: the Dockerfile's own list, or the context's.
pub(super) fn ignore(file: &Path, context: &Path) -> Result<Ignore, Failure> {
    let mut own = file.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), context.join(".dockerignore")] {
        // What can't be read may have left something out.
        let failed = |cause: &str| Failure::new(format!("Can't read {}: {cause}", path.display()));
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Err(failed("it is no file")),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(failed(&error.to_string())),
        }
        let text = read_text(&path, false)?;
        return Ignore::parse(&text).map_err(|error| of_line(&path.display().to_string(), &text, error));
    }
    Ok(Ignore::default())
}

/// The latest time in the image.
pub(super) fn epoch(host: &HostFacts) -> Result<i64, Failure> {
    let Some(text) = host.var("SOURCE_DATE_EPOCH") else { return Ok(EPOCH) };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| (0..1 << 40).contains(seconds));
    seconds.ok_or_else(|| {
        let text = config::quoted(text);
        Failure::new(format!("SOURCE_DATE_EPOCH is {text}, which is no number of seconds since 1970"))
    })
}

/// Ends and removes the sandboxes of builds that were killed.
pub(super) fn clear_dead(store: &Store) -> Result<Vec<SandboxId>, Failure> {
    let mut cleared = Vec::new();
    for listed in store.list()? {
        if listed.spec.is_ok_and(|spec| spec.build.is_some())
            && let Some(entry) = store.get(&listed.id)?
        {
            discard(store, entry)?;
            cleared.push(listed.id);
        }
    }
    Ok(cleared)
}

/// Ends and removes a sandbox.
fn discard(store: &Store, entry: Entry) -> Result<(), Failure> {
    let lock = match client::find_settled(&entry)? {
        Found::Idle(lock) => lock,
        Found::Running(mut client) => {
            client.stop(Duration::ZERO)?;
            match client::find_settled(&entry)? {
                Found::Idle(lock) => lock,
                Found::Running(_) => return Err(ClientError::Late.into()),
            }
        }
    };
    Ok(client::remove(store, entry, lock)?)
}

/// Executes the steps of one build.
pub(super) struct Steps<'a> {
    images: &'a Images,
    /// What it is to be called.
    image: Reference,
    pub(super) project: Project,
    user: UserConfig,
    /// What flags say of limits and the network.
    pub(super) overrides: Overrides,
    pub(super) host: HostFacts,
    pub(super) quiet: bool,
    /// Only what takes its time is told.
    pub(super) terse: bool,
    /// What names of images mean, if that is to be kept.
    pub(super) lock: Option<LockFile>,
    /// The engine that is to get what is made: what it alone has may be begun with.
    pub(super) engine: Option<&'a engine_image::Images>,
    /// An image that a name means for now.
    pub(super) made: Option<(Reference, Record)>,
    /// The end of what the last command wrote, if nobody saw it.
    tail: Vec<u8>,
    /// The network refused something to the last command.
    refused: bool,
    /// What was told of the last command's end: refused connections, processes killed for lack of memory.
    notices: Vec<String>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        images: &'a Images,
        image: Reference,
        project: Project,
        user: UserConfig,
        host: HostFacts,
    ) -> Self {
        let overrides = Overrides::default();
        Self {
            images,
            image,
            project,
            user,
            overrides,
            host,
            quiet: false,
            terse: false,
            lock: None,
            engine: None,
            made: None,
            tail: Vec::new(),
            refused: false,
            notices: Vec::new(),
        }
    }

    /// Refuses flags that no step could be executed with, also where none is: there is none, or all are known.
    fn check_flags(&self) -> Result<(), Failure> {
        if self.overrides.network == NetworkOverrides::default() {
            return Ok(());
        }
        let step = BuildStep {
            image: self.image.clone(),
            layers: Vec::new(),
            argv: Vec::new(),
            env: Vec::new(),
            workdir: "/".to_owned(),
            user: User { uid: 0, gid: 0, groups: Vec::new() },
            passwd: Vec::new(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
        };
        Ok(config::resolve_build(self.overrides.clone(), step, &self.project, &self.user, &self.host).map(drop)?)
    }

    pub(super) fn failure(&self, error: BuildError<Failure>, name: &str, text: &str) -> Failure {
        match error {
            BuildError::Dockerfile(error) => of_line(name, text, error),
            BuildError::Image(error) => error.into(),
            BuildError::Executor { error, .. } if error.status == INTERRUPTED => error,
            BuildError::Executor { line, error } => {
                let Failure { status, cause, hint, .. } = error;
                let failure = at_line(name, text, line, cause).hint(hint).status(status);
                match self.engine {
                    Some(_) => failure.also("Or have Docker or Podman build an image, and name it with `from`"),
                    None => failure,
                }
            }
            BuildError::Exit { line, exit } => {
                if !self.tail.is_empty() {
                    let _ = std::io::stderr().write_all(&self.tail);
                }
                let hint = match exit {
                    Exit::Oom => "Give it more with --memory, or [resources] memory in agentkernel.toml",
                    Exit::Deadline => "Give it more with --timeout, or [sandbox] timeout in agentkernel.toml",
                    _ if self.refused && self.reaches_nothing() => {
                        "It reached nothing of the network: `--allow HOST` or `[network]` in agentkernel.toml lets it"
                    }
                    _ => "",
                };
                let how = match exit {
                    Exit::Signal(signal) => format!("The command was killed by signal {signal}"),
                    Exit::Oom => "The command was killed: the memory limit was reached".to_owned(),
                    Exit::Deadline => "The command was killed: the time limit was reached".to_owned(),
                    exit => format!("The command {exit}"),
                };
                at_line(name, text, line, how).hint(hint)
            }
        }
    }

    fn reaches_nothing(&self) -> bool {
        let network = &self.overrides.network;
        network.mode.is_none() && network.allow.is_empty() && network.services.is_empty() && self.project.file.is_none()
    }

    /// What it writes is shown as it comes.
    pub(super) fn show(quiet: bool, tail: &mut Vec<u8>, bytes: &[u8]) {
        if !quiet {
            // Nobody reads it any more, and the build goes on.
            let _ = std::io::stderr().write_all(bytes);
            return;
        }
        tail.extend_from_slice(bytes);
        let old = tail.len().saturating_sub(TAIL);
        tail.drain(..old);
    }
}

/// Between two looks at how much a command has written.
const LOOK: Duration = Duration::from_secs(1);

/// The status of a build that was told to end, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

impl Executor for Steps<'_> {
    type Error = Failure;

    fn base(&mut self, reference: &Reference, platform: &Platform) -> Result<Record, Failure> {
        if let Some((_, record)) = self.made.as_ref().filter(|(name, _)| name == reference) {
            return Ok(record.clone());
        }
        match (self.engine, self.lock.as_mut()) {
            (Some(engine), Some(lock)) => engine.base(self.images, lock, reference, platform),
            (_, lock) => locked(self.images, lock, reference, platform, self.quiet),
        }
    }

    fn run(&mut self, task: &Task, capture: &mut Capture<'_>) -> Result<Exit, Failure> {
        let step = BuildStep {
            image: self.image.clone(),
            layers: task.layers.clone(),
            argv: task.argv.clone(),
            env: task.env.clone(),
            workdir: task.workdir.clone(),
            user: task.user.clone(),
            passwd: task.passwd.clone(),
            mounts: task.mounts.clone(),
            tmpfs: task.tmpfs.clone(),
        };
        let spec = config::resolve_build(self.overrides.clone(), step, &self.project, &self.user, &self.host)?;
        let id = spec.id.clone();
        // A supervisor that outlives this build must not look like it.
        let _withholding = Withholding::begin();
        let store = Store::open()?;
        let (entry, lock) = store.create(&spec)?;
        self.tail.clear();
        let (quiet, tail, notices) = (self.quiet, &mut self.tail, &mut self.notices);
        notices.clear();
        let interrupts = Interrupts::hold()?;
        let ended = run::launch(store, entry, lock, spec).and_then(|mut client| {
            let mut sink = |_, bytes: &[u8]| Self::show(quiet, tail, bytes);
            within_room(task.room.as_ref(), &id, || client.follow(&mut sink, notices, Some(&interrupts)))
        });
        let store = Store::open()?;
        let Some(entry) = store.get(&id)? else { return ended };
        let captured = match &ended {
            Ok(Exit::Code(0)) => settle(&store, &entry).and_then(|(upper, base)| Ok(capture(upper, base)?)),
            _ => Ok(()),
        };
        let discarded = discard(&store, entry);
        self.refused = !matches!(ended, Ok(Exit::Code(0))) && was_refused(&store, &id).unwrap_or_default();
        for notice in &self.notices {
            report(&Failure::new(notice.clone()));
        }
        captured.and(discarded).and(ended)
    }

    fn is_repeatable(&self) -> bool {
        self.notices.is_empty()
    }

    fn tell(&mut self, event: Event<'_>) {
        if self.quiet {
            return;
        }
        match event {
            Event::Step { work, .. } if self.terse && work != Work::Layer => {}
            Event::Step { number, of, text, work } => {
                let how = if work == Work::Cached { "CACHED " } else { "" };
                client::tell(&format_args!("[{number}/{of}] {how}{}", table::printable(text)));
            }
            Event::Notice(notice) => report(&Failure::new(notice)),
        }
    }
}

/// Whether the network has refused something to a sandbox.
fn was_refused(store: &Store, id: &SandboxId) -> Result<bool, StoreError> {
    let mut reader = store.audit_reader()?;
    while let Some(record) = reader.next_record()? {
        let refused = match &record.event {
            AuditEvent::Refused { denied, .. } => *denied,
            AuditEvent::Folded { verdict, .. } => *verdict == Verdict::Denied,
            AuditEvent::Opened { .. } | AuditEvent::Closed { .. } => false,
        };
        if refused && record.sandbox == *id {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Follows a sandbox to its end, and ends it when it writes more than there is room for.
fn within_room(
    room: Option<&Room>,
    id: &SandboxId,
    follow: impl FnOnce() -> Result<Exit, ClientError>,
) -> Result<Exit, Failure> {
    let told = |error| match error {
        ClientError::Interrupted => Failure::new("Interrupted").status(INTERRUPTED),
        error => error.into(),
    };
    let store = Store::open()?;
    let (Some(room), Some(entry)) = (room, store.get(id)?) else { return follow().map_err(told) };
    std::thread::scope(|scope| {
        let (going, ended) = mpsc::channel::<()>();
        let watch = scope.spawn(move || watch(room, &store, &entry, ended));
        let exit = follow().map_err(told);
        drop(going);
        match watch.join() {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) | Err(_) => exit,
        }
    })
}

/// Looks again and again how much a sandbox has written, and ends it if it is too much.
fn watch(room: &Room, store: &Store, entry: &Entry, ended: mpsc::Receiver<()>) -> Result<(), ImageError> {
    let mut pause = LOOK;
    while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(pause) {
        let began = Instant::now();
        // It may be about to start, or have ended, and have written nothing.
        let Ok((written, _)) = client::written(store, entry) else { continue };
        if let Err(error) = room.check(&written) {
            if let Ok(Found::Running(mut client)) = client::find(entry) {
                // Whoever follows it hears of its end; it is discarded whatever comes of this.
                let _ = client.stop(Duration::ZERO);
            }
            return Err(error);
        }
        // Of many files, it takes its time.
        pause = LOOK.max(began.elapsed() * 10);
    }
    Ok(())
}

/// What a sandbox has written, once it has ended.
fn settle(store: &Store, entry: &Entry) -> Result<(OwnedFd, Option<u32>), Failure> {
    match client::find_settled(entry)? {
        Found::Idle(_) => Ok(client::written(store, entry)?),
        Found::Running(_) => Err(ClientError::Late.into()),
    }
}
