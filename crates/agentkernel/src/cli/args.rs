//! The flags that `run` and `create` share, as typed.

use super::Failure;
use crate::{client, config::Overrides};
use clap::{Args, ValueEnum};
use std::{ffi::OsString, path::PathBuf};

/// What a new sandbox is to be.
#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    /// Call it so
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Where its programs come from: 'host', or 'dir:PATH' for an unpacked root directory
    #[arg(long, value_name = "IMAGE")]
    pub(super) image: Option<String>,
    /// How it sees the project: the real directory, a copy-on-write view, or not at all
    #[arg(long, value_enum, value_name = "MODE")]
    pub(super) workspace: Option<WorkspaceMode>,
    /// What it may reach
    #[arg(long, value_enum, value_name = "MODE")]
    pub(super) net: Option<NetMode>,
    /// Set an environment variable; without a value, take the caller's
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<OsString>,
    /// Set environment variables from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<PathBuf>,
    /// Run as this user of the sandbox, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Give the command a terminal
    #[arg(short, long, overrides_with = "no_tty")]
    pub(super) tty: bool,
    /// Give the command no terminal, even if this is one
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub(super) no_tty: bool,
    /// Send standard input to the command
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Processors it may use, such as 1.5
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<String>,
    /// Memory it may use, such as 512M or 2GiB
    #[arg(short, long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Processes and threads it may have
    #[arg(long, value_name = "N", visible_alias = "pids-limit")]
    pub(super) pids: Option<u64>,
    /// Bytes an ephemeral sandbox may write outside workspace and mounts
    #[arg(long, value_name = "SIZE")]
    pub(super) disk: Option<String>,
    /// End the command after this time, such as 90s or 1h30m
    #[arg(long, value_name = "DURATION")]
    pub(super) timeout: Option<String>,
    /// Show a host directory or file in the sandbox
    #[arg(short = 'v', long, value_name = "SRC:DST[:ro]", visible_alias = "volume")]
    pub(super) mount: Vec<OsString>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "DST[:SIZE]")]
    pub(super) tmpfs: Vec<OsString>,
    /// Make everything read-only but the workspace, mounts, /tmp, /run and HOME
    #[arg(long)]
    pub(super) read_only: bool,
}

/// See `crate::Workspace`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum WorkspaceMode {
    Direct,
    Overlay,
    None,
}

/// See `crate::Net`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum NetMode {
    None,
    Allow,
    Open,
}

impl SandboxArgs {
    /// Whether the command gets a terminal: as asked, else if the caller sits at one.
    pub(super) fn terminal(&self, detach: bool) -> bool {
        let stdio = client::is_terminal();
        self.tty || (!self.no_tty && !detach && stdio.input && stdio.output)
    }

    /// As `config` wants it.
    pub(super) fn overrides(&self, command: Vec<OsString>) -> Result<Overrides, Failure> {
        let name_of =
            |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| value().map(|v| v.get_name().to_owned());
        Ok(Overrides {
            name: self.name.clone(),
            image: self.image.clone(),
            workspace: self.workspace.and_then(|mode| name_of(&|| mode.to_possible_value())),
            net: self.net.and_then(|mode| name_of(&|| mode.to_possible_value())),
            env: self.env.clone(),
            env_files: self.env_file.clone(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            cpus: self.cpus.clone(),
            memory: self.memory.clone(),
            pids: self.pids,
            disk: self.disk.clone(),
            timeout: self.timeout.clone(),
            mounts: self.mount.clone(),
            tmpfs: self.tmpfs.clone(),
            read_only: self.read_only.then_some(true),
            command,
            ..Overrides::default()
        })
    }
}
