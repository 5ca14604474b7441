//! The flags that `run` and `create` share, as typed.

use super::{Failure, failure::OWN};
use crate::{
    BackendKind, Mount, Name, client,
    config::{self, EnvVar, FormError, ImageArg, NetworkOverrides, Overrides, TmpfsArg, WorkspaceMode},
};
use clap::{
    Arg, ArgAction, Args, Command,
    builder::{OsStringValueParser, PossibleValue, StringValueParser, TypedValueParser},
};
use egress::{Host, Mode, Pattern, Rule, Target, control::Published};
use oci::Reference;
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

/// What a new sandbox is to be.
#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    /// Call it so
    #[arg(long, value_name = "NAME", value_parser = |text: &str| Name::try_from(text.to_owned()))]
    pub(super) name: Option<Name>,
    /// What makes the machine: 'native', namespaces of this kernel (the default); 'docker', a container of Docker or
    /// Podman
    #[arg(long, value_name = "BACKEND", value_parser = Words { words: config::BACKENDS, parse: config::parse_backend }, hide_possible_values = true)]
    pub(super) backend: Option<BackendKind>,
    /// On backend 'docker', have the engine run the container with this, such as runsc or kata
    #[arg(long, value_name = "NAME", value_parser = config::parse_runtime)]
    pub(super) runtime: Option<String>,
    /// Where its programs come from: 'host', the name of an image such as debian:12, or 'dir:PATH' for an unpacked root
    /// directory
    #[arg(long, value_name = "IMAGE", value_parser = OsStringValueParser::new().try_map(|text| config::parse_image(&text)))]
    pub(super) image: Option<ImageArg>,
    /// Lay the files of this image over those of the sandbox's image, and over those of layers before it
    #[arg(long, value_name = "IMAGE", value_parser = config::parse_layer)]
    pub(super) layer: Vec<Reference>,
    /// Put this program before the command in place of the image's own; '' for none
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<OsString>,
    /// How it sees the project: 'direct', the real directory (the default); 'overlay', a copy-on-write view; 'none'
    #[arg(long, value_name = "MODE", value_parser = Words { words: &["direct", "overlay", "none"], parse: config::parse_workspace }, hide_possible_values = true)]
    pub(super) workspace: Option<WorkspaceMode>,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    /// Set an environment variable; without a value, take the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = env_parser())]
    pub(super) env: Vec<EnvVar>,
    /// Set environment variables from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<PathBuf>,
    /// Run as root, as yourself by name, as nobody, in an image as a user of its own /etc/passwd, or as any number; a
    /// group is a number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Processors it may use, such as 1.5
    #[arg(long, value_name = "N", value_parser = config::parse_cpus, allow_hyphen_values = true)]
    pub(super) cpus: Option<u64>,
    /// Memory it may use, such as 512M or 2GiB
    #[arg(short, long, value_name = "SIZE", value_parser = config::parse_size, allow_hyphen_values = true)]
    pub(super) memory: Option<u64>,
    /// Processes and threads it may have
    #[arg(long, value_name = "N", visible_alias = "pids-limit", value_parser = config::parse_count, allow_hyphen_values = true)]
    pub(super) pids: Option<u64>,
    /// Bytes an ephemeral sandbox may write outside workspace and mounts
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size, allow_hyphen_values = true)]
    pub(super) disk: Option<u64>,
    /// End the command after this time: with SIGTERM, and five seconds later with SIGKILL, such as 90s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration, allow_hyphen_values = true)]
    pub(super) timeout: Option<Duration>,
    /// Show a host directory or file in the sandbox
    #[arg(short = 'v', long, value_name = "SRC:DST[:ro]", visible_alias = "volume", value_parser = OsStringValueParser::new().try_map(|text| config::parse_mount(&text)))]
    pub(super) mount: Vec<Mount>,
    /// Let it change or make this protected path of the project, such as '.git' for 'git init'
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().try_map(|text| config::beneath(text.as_ref())))]
    pub(super) unprotect: Vec<PathBuf>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "DST[:SIZE]", value_parser = OsStringValueParser::new().try_map(|text| config::parse_tmpfs(&text)))]
    pub(super) tmpfs: Vec<TmpfsArg>,
    /// Make everything read-only but the workspace, mounts, /tmp, /run and HOME
    #[arg(long)]
    pub(super) read_only: bool,
    /// Put changes of protected paths that are refused on record, as is done for agents: each change of a file takes
    /// somewhat longer then
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(super) log_refused: Option<bool>,
}

/// What a sandbox may reach, and be reached at.
#[derive(Clone, Debug, Args)]
pub(super) struct NetworkArgs {
    /// What it may reach: 'none' (the default); 'allow', what is allowed; 'open', every public address
    #[arg(long, value_name = "MODE", value_parser = Words { words: &["none", "allow", "open"], parse: config::parse_mode }, hide_possible_values = true)]
    net: Option<Mode>,
    /// Let it reach this host, '*.example.org' or 10.0.0.0/8, on ports 80 and 443 or those that are named: PORT,
    /// FIRST-LAST or '*' (implies --net allow)
    #[arg(long, value_name = "HOST[:PORT]", value_parser = config::parse_rule)]
    allow: Vec<Rule>,
    /// Never let it reach this one, whatever is allowed; without a port, on no port at all
    #[arg(long, value_name = "HOST[:PORT]", value_parser = config::parse_rule)]
    deny: Vec<Rule>,
    /// Let it reach this service, also at a private or loopback address; those of 'localhost' are
    /// host.agentkernel.internal inside
    #[arg(long, value_name = "HOST:PORT", value_parser = config::parse_service)]
    open: Vec<Target>,
    /// Show a port of it on the host's loopback address
    #[arg(short, long, value_name = "PORT[:HOSTPORT]", value_parser = config::parse_published)]
    port: Vec<Published>,
    /// Let it use this secret, recorded by 'agentkernel secret set', for the hosts that are recorded with it
    #[arg(long, value_name = "NAME", value_parser = config::parse_secret_name)]
    secret: Vec<String>,
    /// Let it log in to this server by ssh, with keys of your ssh-agent, which stay there; 'known_hosts' must know it
    #[arg(long, value_name = "HOST[:PORT]", value_parser = config::parse_ssh_server)]
    ssh: Vec<Target>,
    /// Let git sign commits with the key of your ssh-agent that it signs with on the host
    #[arg(long)]
    sign: bool,
    /// Bytes per second that it may send and receive, such as 10M
    #[arg(long, value_name = "SIZE", value_parser = config::parse_bandwidth, allow_hyphen_values = true)]
    bandwidth: Option<u64>,
    /// Connections per second that it may begin
    #[arg(long, value_name = "N", value_parser = config::parse_connections, allow_hyphen_values = true)]
    connections: Option<u64>,
    /// Tokens of models that it may use, as far as their answers and WebSockets tell: a stream that was not asked to
    /// tell is not counted, nor is what isn't JSON; all its TLS is read for that
    #[arg(long, value_name = "N", value_parser = config::parse_count, allow_hyphen_values = true)]
    max_tokens: Option<u64>,
    /// The mode is wanted as far as the user's limits go.
    #[arg(skip)]
    within_limits: bool,
}

impl NetworkArgs {
    /// Makes the mode 'open', as far as the user's limits go unless it was asked for, and gives the one that was.
    pub(super) fn open_up(&mut self) -> Option<Mode> {
        self.within_limits = self.net != Some(Mode::Open);
        self.net.replace(Mode::Open)
    }

    /// The rules in it that let addresses be reached.
    pub(super) fn addresses(&self) -> Vec<Rule> {
        let is_one = |rule: &&Rule| matches!(rule.pattern, Pattern::Network(..) | Pattern::Host(Host::Address(_)));
        self.allow.iter().filter(is_one).cloned().collect()
    }

    /// As `config` wants it.
    pub(super) fn overrides(self) -> NetworkOverrides {
        let Self { net, allow, deny, open, port, secret, ssh, sign, bandwidth, connections, max_tokens, within_limits } =
            self;
        NetworkOverrides {
            mode: net,
            within_limits,
            allow,
            deny,
            services: open,
            ports: port,
            bandwidth,
            connections,
            max_tokens,
            secrets: secret,
            ssh,
            sign,
        }
    }
}

/// What the command reads from and writes to.
#[derive(Debug, Default, Args)]
pub(super) struct StdioArgs {
    /// Give the command a terminal
    #[arg(short, long, overrides_with = "no_tty")]
    pub(super) tty: bool,
    /// Give the command no terminal, even if this is one
    #[arg(short = 'T', long, overrides_with = "tty")]
    no_tty: bool,
    /// Send standard input to the command
    #[arg(short, long)]
    pub(super) interactive: bool,
}

impl StdioArgs {
    /// No terminal, unless it was asked for.
    pub(super) fn no_terminal(&mut self) {
        self.no_tty |= !self.tty;
    }

    /// Whether the command gets a terminal: as asked, else if the caller sits at one. And whether it takes input.
    pub(super) fn resolve(&self, detach: bool) -> Result<(bool, bool), Failure> {
        let ours = client::is_terminal();
        let terminal = self.tty || (!self.no_tty && !detach && ours.input && ours.output);
        let stdin = self.interactive || (terminal && !detach && ours.input);
        if !detach {
            input_reaches(terminal, stdin, "Leave out -t, and the command gets a pipe, whose end it sees")?;
        }
        Ok((terminal, stdin))
    }
}

/// Refuses to send what is not typed to a terminal, as Docker does: its end would never get there, for a terminal knows
/// no end of input. And what nobody can read: a directory.
pub(super) fn input_reaches(terminal: bool, stdin: bool, hint: impl Into<String>) -> Result<(), Failure> {
    let failure = match stdin {
        true if client::input_is_directory() => Failure::new("Standard input is a directory")
            .hint("Name a file after '<', or send the directory through a pipe: 'tar -c DIR | ...'"),
        true if terminal && !client::is_terminal().input => Failure::new("Standard input is not a terminal").hint(hint),
        _ => return Ok(()),
    };
    Err(failure.status(OWN))
}

/// Reads one of a few words, which completions offer; `parse` tells what is wrong with another.
#[derive(Clone)]
struct Words<T> {
    words: &'static [&'static str],
    parse: fn(&str) -> Result<T, FormError>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Words<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parse = self.parse;
        StringValueParser::new().try_map(move |text| parse(&text)).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().copied().map(PossibleValue::new)))
    }
}

/// Reads `NAME=VALUE` or `NAME`, of any bytes.
pub(super) fn env_parser() -> impl TypedValueParser<Value = EnvVar> {
    OsStringValueParser::new().try_map(|text| config::parse_env(&text))
}

impl SandboxArgs {
    /// As `config` wants it.
    pub(super) fn overrides(self, command: Vec<OsString>) -> Overrides {
        Overrides {
            name: self.name,
            backend: self.backend,
            runtime: self.runtime,
            image: self.image,
            layers: self.layer,
            entrypoint: self.entrypoint,
            workspace: self.workspace,
            network: self.network.overrides(),
            env: self.env,
            env_files: self.env_file,
            workdir: self.workdir,
            user: self.user,
            cpus: self.cpus,
            memory: self.memory,
            pids: self.pids,
            disk: self.disk,
            timeout: self.timeout,
            mounts: self.mount,
            unprotect: self.unprotect,
            tmpfs: self.tmpfs,
            read_only: self.read_only,
            log_refused: self.log_refused,
            command,
            ..Overrides::default()
        }
    }
}
