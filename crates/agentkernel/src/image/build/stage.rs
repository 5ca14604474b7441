//! Hides how the instructions of a stage change an image, one after the other.

use super::{
    Builder, Event, Executor, Task, Work,
    copy::{CopyFailure, Said, Tree},
    error::{BuildError, at},
    graph::From as Begin,
    history,
    layer::Built,
    users::{Account, Users},
};
use crate::{config::parse_signal, image::view::View};
use dockerfile::{Check, Command, DockerfileError, Healthcheck as Written, Instruction, Run, Stage, Step, Word, clean};
use oci::{
    Digest, Platform,
    manifest::{Healthcheck, ImageConfig, Port, Rootfs, RunConfig},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use wire::Exit;

/// What programs are looked for in where nothing is said, as Docker has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Arguments that need no `ARG`: they are for the commands of a build, and stay in no image.
const PREDEFINED: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

pub(super) fn is_predefined(name: &str) -> bool {
    PREDEFINED.contains(&name.to_ascii_uppercase().as_str())
}

/// An image on its way.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub layers: Vec<Built>,
    pub config: ImageConfig,
    /// The values of `ARG`.
    arguments: BTreeMap<String, String>,
    /// This stage has said what its command is.
    own_command: bool,
}

/// What decides what a step makes.
#[derive(Serialize)]
struct Key<'a> {
    /// Another number for another way to make layers.
    version: u32,
    below: Vec<&'a Digest>,
    epoch: i64,
    step: Deciding<'a>,
}

#[derive(Serialize)]
pub(super) enum Deciding<'a> {
    Run { argv: &'a [String], env: &'a [String], workdir: &'a str, user: (u32, u32, &'a [u32]), mounts: &'a [String] },
    Copy { files: Digest, owner: Option<(u32, u32)> },
    Directory { path: &'a str, owner: (u32, u32) },
}

impl State {
    fn scratch(platform: &Platform) -> Self {
        let config = ImageConfig {
            created: None,
            author: None,
            platform: platform.clone(),
            config: RunConfig::default(),
            rootfs: Rootfs { kind: "layers".into(), diff_ids: Vec::new() },
            history: Vec::new(),
        };
        Self::new(Vec::new(), config)
    }

    /// One that begins with these layers. It has a PATH in any case, as Docker has it.
    fn new(layers: Vec<Built>, mut config: ImageConfig) -> Self {
        let env = &mut config.config.env;
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.push(format!("PATH={PATH}"));
        }
        Self { layers, config, arguments: BTreeMap::new(), own_command: false }
    }

    pub fn below(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let set = self.config.config.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        set.map(str::to_owned).or_else(|| self.arguments.get(name).cloned())
    }

    fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let env = &mut self.config.config.env;
        match env.iter_mut().find(|entry| entry.split('=').next() == Some(name)) {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
    }

    /// A path as an instruction means it.
    pub(super) fn absolute(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.config.config.working_dir),
        }
    }

    fn shell(&self) -> Vec<String> {
        match &self.config.config.shell[..] {
            [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell => shell.to_vec(),
        }
    }

    /// The words of a command that an image keeps.
    fn words(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) | Command::Script(line) if line.is_empty() => Vec::new(),
            Command::Shell(line) | Command::Script(line) => {
                let mut words = self.shell();
                words.push(line.clone());
                words
            }
        }
    }
}

impl<E: Executor> Builder<'_, E> {
    /// Builds a stage.
    pub(super) fn stage(&mut self, index: usize) -> Result<(), BuildError<E::Error>> {
        let stage = self.graph.at(index)?;
        self.begin_step(&stage.text, Work::None);
        let mut state = match self.graph.base(index)? {
            Begin::Scratch => State::scratch(self.request.platform),
            Begin::Stage(before) => {
                let before = self.done.get(&before).cloned();
                let before = before.ok_or_else(|| DockerfileError::mistake(stage.line, "The stage is not built"))?;
                State::new(before.layers, before.config)
            }
            Begin::Image(reference) => {
                let platform = self.platform(stage)?;
                let record = self.executor.base(&reference, &platform);
                let record = record.map_err(|error| BuildError::Executor { line: stage.line, error })?;
                let (layers, config) = self.images.begin_with(&record)?;
                State::new(layers, config)
            }
        };
        // What the image has for those who begin with it comes first, and is done.
        for text in std::mem::take(&mut state.config.config.on_build) {
            let step = dockerfile::parse_trigger(&text).map_err(|error| DockerfileError {
                line: stage.line,
                cause: format!("ONBUILD of the image: {}", error.cause),
                ..error
            })?;
            self.of += 1;
            self.step(index, &mut state, &Step { line: stage.line, ..step })?;
        }
        for step in &stage.steps {
            self.step(index, &mut state, step)?;
        }
        self.done.insert(index, state);
        Ok(())
    }

    fn platform(&self, stage: &Stage) -> Result<Platform, DockerfileError> {
        let Some(word) = &stage.platform else { return Ok(self.request.platform.clone()) };
        let text = self.graph.expand(stage.line, word)?;
        text.parse().map_err(|error: oci::PlatformError| DockerfileError::mistake(stage.line, error.to_string()))
    }

    pub(super) fn begin_step(&mut self, text: &str, work: Work) {
        self.number += 1;
        self.executor.tell(Event::Step { number: self.number, of: self.of, text, work });
    }

    fn step(&mut self, index: usize, state: &mut State, step: &Step) -> Result<(), BuildError<E::Error>> {
        let before = state.layers.len();
        let expand = |state: &State, word: &Word| {
            let expanded = word.expand(&|name: &str| state.variable(name));
            expanded.map_err(|cause| DockerfileError::mistake(step.line, cause))
        };
        match &step.instruction {
            Instruction::Run(run) => self.run(index, state, step, run)?,
            Instruction::Copy(copy) => self.copy(index, state, step, copy, false)?,
            Instruction::Add(copy) => self.copy(index, state, step, copy, true)?,
            Instruction::Workdir(word) => {
                let path = format!("/{}", clean(&state.absolute(&expand(state, word)?)));
                self.workdir(state, step, &path)?;
                state.config.config.working_dir = path;
            }
            instruction => {
                self.begin_step(&step.text, Work::None);
                self.say(state, step.line, instruction, &expand)?;
            }
        }
        let empty = state.layers.len() == before;
        state.config.history.push(history(&step.text, self.request.epoch, empty));
        Ok(())
    }

    /// What changes no file.
    fn say(
        &mut self,
        state: &mut State,
        line: usize,
        instruction: &Instruction,
        expand: &dyn Fn(&State, &Word) -> Result<String, DockerfileError>,
    ) -> Result<(), DockerfileError> {
        let wrong = |cause: String| DockerfileError::mistake(line, cause);
        match instruction {
            Instruction::Env(pairs) => {
                // All values are as they were before the instruction.
                let pairs = pairs.iter().map(|(name, value)| Ok((expand(state, name)?, expand(state, value)?)));
                let pairs: Vec<(String, String)> = pairs.collect::<Result<_, DockerfileError>>()?;
                for (name, value) in pairs {
                    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                        return Err(wrong(format!("'{}' is no name of a variable", name.escape_debug())));
                    }
                    state.set(&name, &value);
                }
            }
            Instruction::Arg(arguments) => {
                for (name, default) in arguments {
                    let value = match (self.request.arguments.get(name), default) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(word)) => Some(expand(state, word)?),
                        (None, None) => self.graph.globals.get(name).cloned(),
                    };
                    self.used.push(name.clone());
                    match value {
                        Some(value) => drop(state.arguments.insert(name.clone(), value)),
                        None => drop(state.arguments.remove(name)),
                    }
                }
            }
            Instruction::User(word) => state.config.config.user = expand(state, word)?,
            Instruction::Entrypoint(command) => {
                state.config.config.entrypoint = state.words(command);
                // The command of the image below belonged to its own.
                if !state.own_command {
                    state.config.config.cmd.clear();
                }
            }
            Instruction::Cmd(command) => {
                state.config.config.cmd = state.words(command);
                state.own_command = true;
            }
            Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let pair = (expand(state, name)?, expand(state, value)?);
                    state.config.config.labels.extend([pair]);
                }
            }
            Instruction::Expose(words) => {
                let mut known: BTreeSet<Port> = state.config.config.exposed_ports.iter().cloned().collect();
                for word in words {
                    // One variable may stand for several.
                    for text in expand(state, word)?.split_whitespace() {
                        let Port { first, last, protocol } = text.parse().map_err(wrong)?;
                        for port in first..=last {
                            let port = Port { first: port, last: port, protocol: protocol.clone() };
                            if known.insert(port.clone()) {
                                state.config.config.exposed_ports.push(port);
                            }
                        }
                    }
                }
            }
            Instruction::Volume(words) => {
                for word in words {
                    // As it is written: no engine's builder heeds WORKDIR here, and all begin at the root.
                    let path = expand(state, word)?;
                    if path.is_empty() {
                        return Err(wrong("VOLUME names no path".into()));
                    }
                    if !state.config.config.volumes.contains(&path) {
                        state.config.config.volumes.push(path);
                    }
                }
            }
            Instruction::Shell(words) => state.config.config.shell = words.clone(),
            Instruction::Stopsignal(word) => {
                let signal = expand(state, word)?;
                parse_signal(&signal).map_err(|cause| wrong(format!("'{}': {cause}", signal.escape_debug())))?;
                state.config.config.stop_signal = signal;
            }
            Instruction::Healthcheck(written) => state.config.config.healthcheck = Some(healthcheck(written)),
            Instruction::Onbuild(text) => state.config.config.on_build.push(text.clone()),
            Instruction::Maintainer(name) => state.config.author = Some(name.clone()),
            Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_) => {}
        }
        Ok(())
    }

    /// The name of a step by what decides it.
    pub(super) fn key(&self, state: &State, step: Deciding<'_>) -> Digest {
        let below = state.layers.iter().map(|layer| &layer.diff_id).collect();
        let key = Key { version: 3, below, epoch: self.request.epoch, step };
        // What is in it can all be written.
        Digest::of(&serde_json::to_vec(&key).unwrap_or_default())
    }

    /// The layer that an earlier build has made.
    pub(super) fn known(&self, key: &Digest) -> Result<Option<Built>, BuildError<E::Error>> {
        if self.request.fresh { Ok(None) } else { Ok(self.images.step(key)?) }
    }

    pub(super) fn remember(
        &mut self,
        key: &Digest,
        state: &mut State,
        built: Built,
    ) -> Result<(), BuildError<E::Error>> {
        if !self.request.forget {
            self.images.put_step(key, &built)?;
        }
        state.layers.push(built);
        Ok(())
    }

    pub(super) fn tell_left_out(&mut self, left_out: &str) {
        if !left_out.is_empty() {
            self.executor.tell(Event::Notice(format!("The layer is without {left_out}")));
        }
    }

    fn account(&self, state: &State, line: usize) -> Result<(Account, Users), BuildError<E::Error>> {
        let view = self.images.view(&state.below())?;
        let users = Users::of(&view).map_err(|errno| self.images.failed("read", "etc/passwd", errno))?;
        let user = self.request.user.unwrap_or(&state.config.config.user);
        let account = users.find(if user.is_empty() { "0" } else { user });
        let account = account.map_err(|cause| DockerfileError::mistake(line, format!("USER {user}: {cause}")))?;
        Ok((account, users))
    }

    fn run(&mut self, index: usize, state: &mut State, step: &Step, run: &Run) -> Result<(), BuildError<E::Error>> {
        if state.layers.is_empty() {
            let failure = CopyFailure::new("There is nothing to run in an empty image".to_owned());
            return Err(at(step.line)(failure)
                .hint("COPY a program into it first, or begin FROM another image")
                .into());
        }
        let (account, users) = self.account(state, step.line)?;
        let mut env = state.config.config.env.clone();
        let has = |env: &[String], name: &str| env.iter().any(|entry| entry.split('=').next() == Some(name));
        let give = |env: &mut Vec<String>, name: &str, value: &str| {
            if !has(env, name) {
                env.push(format!("{name}={value}"));
            }
        };
        for (name, value) in &state.arguments {
            give(&mut env, name, value);
        }
        give(&mut env, "PATH", PATH);
        give(&mut env, "HOME", account.home.as_deref().unwrap_or(if account.user.uid == 0 { "/root" } else { "/" }));
        give(&mut env, "SOURCE_DATE_EPOCH", &self.request.epoch.to_string());
        let (mut argv, script) = match &run.command {
            Command::Exec(words) => (words.clone(), None),
            Command::Script(text) => (Vec::new(), Some(text)),
            Command::Shell(line) => {
                let mut words = state.shell();
                words.push(line.clone());
                (words, None)
            }
        };
        let mut loan = self.loan(index, state, step.line, &run.mounts, script)?;
        argv.extend(loan.script.take());
        let workdir = match &state.config.config.working_dir[..] {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let user = (account.user.uid, account.user.gid, &account.user.groups[..]);
        let key =
            self.key(state, Deciding::Run { argv: &argv, env: &env, workdir: &workdir, user, mounts: &loan.decide });
        let known = self.known(&key)?;
        self.begin_step(&step.text, work(&known));
        if let Some(built) = known {
            state.layers.push(built);
            return Ok(());
        }
        // Those are for the command, and decide nothing.
        for (name, value) in self.request.arguments.iter().filter(|(name, _)| is_predefined(name)) {
            give(&mut env, name, value);
        }
        let mounts = self.lend(&mut loan, step.line)?;
        let task = Task {
            layers: state.below(),
            argv,
            env,
            workdir,
            user: account.user,
            passwd: users.passwd,
            room: self.images.room(&mounts)?,
            mounts,
            tmpfs: loan.tmpfs.clone(),
        };
        let (images, epoch, mut made) = (self.images, self.request.epoch, None);
        let exit = self.executor.run(&task, &mut |upper, base| {
            task.room.as_ref().map_or(Ok(()), |room| room.check(&upper))?;
            made = Some(images.seal(&upper, base, epoch)?);
            Ok(())
        });
        images.take_back(&task.mounts);
        match (exit.map_err(|error| BuildError::Executor { line: step.line, error })?, made) {
            (Exit::Code(0), Some((built, left_out))) => {
                self.tell_left_out(&left_out);
                if self.executor.is_repeatable() {
                    return self.remember(&key, state, built);
                }
                state.layers.push(built);
                Ok(())
            }
            (exit, _) => Err(BuildError::Exit { line: step.line, exit }),
        }
    }

    /// Makes the working directory, if it is not there.
    fn workdir(&mut self, state: &mut State, step: &Step, path: &str) -> Result<(), BuildError<E::Error>> {
        let below = self.images.view(&state.below())?;
        let resolved = below.resolve(path.as_bytes(), true);
        let (real, found) = resolved.map_err(|errno| at(step.line)(CopyFailure::new(format!("{path}: {errno}"))))?;
        match found {
            Some(found) if found.is_dir() => {
                self.begin_step(&step.text, Work::None);
                return Ok(());
            }
            Some(_) => return Err(at(step.line)(CopyFailure::new(format!("{path} is no directory"))).into()),
            None => {}
        }
        // As BuildKit has it, of who would work there.
        let owner = match &state.config.config.user[..] {
            "" => (0, 0),
            _ => self.account(state, step.line).map(|(account, _)| (account.user.uid, account.user.gid))?,
        };
        let key = self.key(state, Deciding::Directory { path, owner });
        let known = self.known(&key)?;
        self.begin_step(&step.text, work(&known));
        if let Some(built) = known {
            state.layers.push(built);
            return Ok(());
        }
        let built =
            self.make(step.line, &below, owner, |tree| tree.directory(&real, Said { mode: 0o755, owner }).map(drop))?;
        self.remember(&key, state, built)
    }

    /// A layer of a tree that is made here.
    pub(super) fn make(
        &mut self,
        line: usize,
        below: &View,
        owner: (u32, u32),
        make: impl FnOnce(&mut Tree<'_>) -> Result<(), CopyFailure>,
    ) -> Result<Built, BuildError<E::Error>> {
        let scratch = self.images.scratch("build")?;
        let made = Tree::new(&scratch.dir, below, owner).and_then(|mut tree| make(&mut tree));
        let made = made.map_err(at(line)).map_err(BuildError::from);
        let base = rustix::process::geteuid().is_root().then_some(0);
        let sealed = made.and_then(|()| Ok(self.images.seal(&scratch.dir, base, self.request.epoch)?));
        drop(scratch.dir);
        // What cannot be removed now, a sweep will.
        let _ = self.images.remove_tree(&self.images.work, "work", &scratch.name);
        let (built, left_out) = sealed?;
        self.tell_left_out(&left_out);
        Ok(built)
    }

    /// Where `--from` leads.
    pub(super) fn view_from(
        &mut self,
        index: usize,
        line: usize,
        from: Option<&Word>,
    ) -> Result<Option<View>, BuildError<E::Error>> {
        let Some(word) = from else { return Ok(None) };
        let layers = match self.graph.from(index, line, word)? {
            Begin::Scratch => return Ok(Some(View::nothing())),
            Begin::Stage(stage) => self.done.get(&stage).map(State::below).unwrap_or_default(),
            Begin::Image(reference) => {
                let record = self.executor.base(&reference, self.request.platform);
                let record = record.map_err(|error| BuildError::Executor { line, error })?;
                record.layers.into_iter().map(|layer| layer.diff_id).collect()
            }
        };
        Ok(Some(self.images.view(&layers)?))
    }
}

/// What there is to do for a step that makes a layer.
pub(super) fn work(known: &Option<Built>) -> Work {
    if known.is_some() { Work::Cached } else { Work::Layer }
}

fn healthcheck(written: &Written) -> Healthcheck {
    let test = match &written.check {
        Check::None => vec!["NONE".to_owned()],
        Check::Cmd(Command::Exec(words)) => ["CMD".to_owned()].into_iter().chain(words.clone()).collect(),
        Check::Cmd(Command::Shell(line) | Command::Script(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
    };
    Healthcheck {
        test,
        interval: written.interval,
        timeout: written.timeout,
        start_period: written.start_period,
        start_interval: written.start_interval,
        retries: written.retries,
    }
}
