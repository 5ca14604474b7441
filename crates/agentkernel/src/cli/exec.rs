//! `exec` and `attach`.

use super::{
    Failure, Status,
    args::{StdioArgs, env_parser, input_reaches},
    engine_image,
    failure::OWN,
    image, net, print,
    replay::RecordArgs,
    run::{conclude, stdio_of, too_late},
    shell,
};
use crate::{
    acp::Order,
    client::{self, Client, Outcome, Session},
    config::{self, EnvVar, HostFacts},
    store::Store,
};
use clap::Args;
use rustix::fd::OwnedFd;
use std::{ffi::OsString, path::PathBuf};
use wire::{Stdio, api};

/// Run a command in a running sandbox.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Leave it running in the background and print its number
    #[arg(short, long)]
    detach: bool,
    /// Set an environment variable; without a value, take the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = env_parser())]
    env: Vec<EnvVar>,
    /// Set environment variables from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Run as another user: a name that 'run -u' knows, or a number, for what was added in the sandbox
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    #[command(flatten)]
    stdio: StdioArgs,
    #[command(flatten)]
    record: RecordArgs,
    /// COMMAND is one line for the sandbox's shell: bash where it has that, else sh. Without a line, that shell
    #[arg(long)]
    shell: bool,
    /// It ends with this process
    #[arg(skip)]
    tied: bool,
    /// Name, id or prefix of an id
    sandbox: String,
    /// The command and its arguments
    #[arg(required_unless_present = "shell", trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    pub(super) fn run(self) -> Status {
        let store = Store::open().map_err(|error| Failure::from(error).status(OWN))?;
        self.run_in(&store, None)
    }

    /// What an agent wants in a terminal of an editor's: it ends with that.
    pub(super) fn of_order(sandbox: String, order: Order) -> Result<Self, Failure> {
        let shell = order.is_line();
        let variable = |(name, value): (String, String)| {
            config::parse_env(format!("{name}={value}").as_ref()).map_err(|error| {
                let hint = error.hint;
                Failure::chain(&error).hint(hint).status(OWN)
            })
        };
        Ok(Self {
            detach: false,
            env: order.env.into_iter().map(variable).collect::<Result<_, _>>()?,
            env_file: Vec::new(),
            workdir: Some(order.cwd.into()),
            user: None,
            stdio: StdioArgs::default(),
            record: RecordArgs::default(),
            shell,
            tied: true,
            sandbox,
            command: [order.command].into_iter().chain(order.arguments).map(OsString::from).collect(),
        })
    }

    /// The same, with this state, for this caller.
    pub(super) fn run_in(self, store: &Store, caller: Option<OwnedFd>) -> Status {
        let ours = |failure: Failure| failure.status(OWN);
        let (terminal, stdin) = self.stdio.resolve(self.detach)?;
        let command = if self.shell { shell::words(self.command).map_err(ours)? } else { self.command };
        let mut recording = self.record.begin(&command, self.detach).map_err(ours)?;
        let entry = store.find(&self.sandbox).map_err(|error| ours(error.into()))?;
        let mut client = Client::connect(&entry).map_err(|error| ours(error.into()))?;
        let spec = entry.spec().map_err(|error| ours(error.into()))?;
        let host = HostFacts::read().map_err(|error| ours(error.into()))?;
        let stdio = if terminal { Stdio::Terminal { size: client::window_size() } } else { Stdio::Pipes { stdin } };
        let request = config::ExecOverrides {
            env: self.env,
            env_files: self.env_file,
            workdir: self.workdir,
            user: self.user,
            stdio,
            command,
        };
        let found = match (&spec.image, &spec.engine, &request.user) {
            // Whom a name means, the image's own files tell.
            (crate::Image::Oci(image), _, Some(_)) => Some(image::again(store, image).map_err(ours)?),
            (crate::Image::Engine(image), Some(engine), Some(_)) => {
                Some(engine_image::again(store, engine, image).map_err(ours)?)
            }
            _ => None,
        };
        let exec = config::resolve_exec(request, &spec, found.as_ref(), &host).map_err(|error| ours(error.into()))?;
        // What the sandbox's own environment does was told when it was made.
        if let Some(failure) = net::misled(&spec, &exec.env).filter(|_| net::misled(&spec, &spec.env).is_none()) {
            super::report(&failure);
        }
        let session = Session { stdin, terminal, detach: self.detach, repaint: false, tied: self.tied };
        let open = api::Open::Exec { spec: exec, detach: self.detach, tied: self.tied };
        let outcome = session.run_recorded(&mut client, &open, recording.as_mut(), caller);
        self.record.end(recording);
        if let (Ok(Outcome::Detached { exec }), true) = (&outcome, self.detach) {
            print(&format!("{exec}\n"))?;
            return Ok(0);
        }
        conclude(outcome)
            .map_err(|failure| if failure.status == super::failure::FAILED { ours(failure) } else { failure })
    }
}

/// Join a sandbox's main command.
///
/// With a terminal, ctrl-p ctrl-q leaves it running. A client that is stopped (by ctrl-z, say) takes no output: if no
/// other takes it, the command waits, as it would with a pipe that nobody reads.
#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Only watch: send no input
    #[arg(long)]
    no_stdin: bool,
    /// Join this exec instead of the main command
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    exec: u32,
    /// Name, id or prefix of an id
    sandbox: String,
}

impl Attach {
    pub(super) fn run(self) -> Status {
        let entry = Store::open()?.find(&self.sandbox)?;
        let late = |error| too_late(error, &entry, &self.sandbox);
        let mut client = Client::connect(&entry).map_err(late)?;
        let (stdin, terminal) = if self.exec == 0 {
            entry.spec()?.command.map_or((false, false), |command| stdio_of(command.stdio))
        } else {
            let running = client.status().map_err(late)?.execs.into_iter().find(|exec| exec.exec == self.exec);
            running.map_or((false, false), |exec| (true, exec.terminal))
        };
        let stdin = stdin && !self.no_stdin;
        input_reaches(terminal, stdin, format!("'agentkernel attach --no-stdin {}' only watches", self.sandbox))?;
        let session = Session { stdin, terminal, detach: false, repaint: true, tied: false };
        match session.run(&mut client, &api::Open::Attach { exec: self.exec, stdin, output: true }) {
            Err(error) => Err(late(error)),
            outcome => conclude(outcome),
        }
    }
}
