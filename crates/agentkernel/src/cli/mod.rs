//! The command line: one file per command, each from arguments over client calls to what the user reads.

/// Tells something on standard error, if anybody can be told there.
macro_rules! tell {
    ($($word:tt)*) => {{
        use std::io::Write as _;
        // Who has closed it wants to hear nothing.
        let _ = writeln!(std::io::stderr().lock(), $($word)*);
    }};
}

mod acp;
mod agents;
mod args;
mod attest;
mod build;
mod check;
mod completions;
mod copy;
mod deferred;
mod doctor;
mod engine_build;
mod engine_image;
mod events;
mod exec;
mod failure;
mod gc;
mod image;
mod inspect;
mod layers;
mod lifecycle;
mod logs;
mod mcp;
mod names;
mod net;
mod pages;
mod plugin;
mod policy;
mod progress;
mod ps;
mod recipe;
mod replay;
mod run;
mod secret;
mod shell;
mod stats;
mod summary;
mod table;
mod template;
mod throwaway;
mod undo;
mod usage;

use clap::{
    Parser, Subcommand,
    error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion},
};
use deferred::Deferred;
use failure::{FAILED, Failure, OWN};
use rustix::fs::Mode;
use std::process::ExitCode;

/// What the environment of every command decides.
const ENVIRONMENT: &str = "\
Sandboxes, with their names, and the cache lie in the state directory: $AGENTKERNEL_STATE_DIR if it is set; else \
for root /var/lib/agentkernel; else $XDG_STATE_HOME/agentkernel or ~/.local/state/agentkernel.

Your own limits (config.toml) and secrets lie in $XDG_CONFIG_HOME/agentkernel or ~/.config/agentkernel.

'agentkernel man COMMAND' prints the manual page of a command.";

/// Run AI coding agents, and any command, in isolated per-project sandboxes.
#[derive(Debug, Parser)]
#[command(name = "agentkernel", version, arg_required_else_help = true)]
#[command(max_term_width = 100, disable_help_subcommand = false, after_long_help = ENVIRONMENT)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an agent, or any command, in a new sandbox of this project
    Run(Deferred<run::Run>),
    /// Make a sandbox without starting it
    Create(Deferred<run::Create>),
    /// Start a sandbox that is stopped
    Start(Deferred<run::Start>),
    /// Stop running sandboxes
    Stop(Deferred<lifecycle::Stop>),
    /// Stop and start running sandboxes
    Restart(Deferred<lifecycle::Restart>),
    /// Remove sandboxes and their files
    Rm(Deferred<lifecycle::Rm>),
    /// List sandboxes
    Ps(Deferred<ps::Ps>),
    /// Show everything about sandboxes, as JSON
    Inspect(Deferred<inspect::Inspect>),
    /// Run a command in a running sandbox
    Exec(Deferred<exec::Exec>),
    /// Join a sandbox's main command
    Attach(Deferred<exec::Attach>),
    /// Show a sandbox's output
    Logs(Deferred<logs::Logs>),
    /// Copy files between a sandbox and the host
    Cp(Deferred<copy::Cp>),
    /// Show a recorded session, as it went
    Replay(Deferred<replay::Replay>),
    /// Send a signal to running sandboxes
    Kill(Deferred<lifecycle::Kill>),
    /// Wait until sandboxes end and print their exit statuses
    Wait(Deferred<lifecycle::Wait>),
    /// Show what sandboxes use
    Stats(Deferred<stats::Stats>),
    /// Show what happens to a running sandbox, as it happens
    Events(Deferred<events::Events>),
    /// What sandboxes may reach, and what they reached
    Net(Deferred<net::Net>),
    /// From what a command reaches to a policy that allows just that
    Policy(Deferred<policy::Policy>),
    /// Make ports of a sandbox ports of this host's loopback address, take them back, or list them
    Port(Deferred<net::Port>),
    /// Images of the store: what sandboxes are made of
    Image(Deferred<image::Images>),
    /// Agents that are known, and those that are installed
    Agents(Deferred<agents::Agents>),
    /// Let an editor work with an agent in a sandbox of this project, by the Agent Client Protocol
    Acp(Deferred<acp::Acp>),
    /// Run in the sandbox what its agent wants in a terminal of the editor's
    #[command(name = crate::acp::COMMAND, hide = true)]
    AcpTerminal(Deferred<acp::AcpTerminal>),
    /// Serve agents on this host, by the Model Context Protocol: they run what is risky in sandboxes
    Mcp(Deferred<mcp::Mcp>),
    /// Have agents and editors on this host do what is risky in sandboxes
    Plugin(Deferred<plugin::Plugin>),
    /// Secrets that sandboxes may use and never see
    Secret(Deferred<secret::Secret>),
    /// Give a sandbox another name
    Rename(Deferred<names::Rename>),
    /// Accept this project's agentkernel.toml and agents, as they are now
    Trust(Deferred<names::Trust>),
    /// Make this project's files again what they were before a run with a checkpoint
    Undo(Deferred<undo::Undo>),
    /// Tell what this host can do for sandboxes, and what to do about the rest
    Doctor(Deferred<doctor::Doctor>),
    /// Attack a sandbox with every known escape and tell which walls hold
    Attest(Deferred<attest::Attest>),
    /// Remove what dead sandboxes left behind
    Gc(Deferred<gc::Gc>),
    /// Print a completion script for a shell
    Completions(Deferred<completions::Completions>),
    /// Print the manual page
    Man(Deferred<pages::Man>),
    /// Print the version
    Version(Deferred<pages::Version>),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // A file that may not grow is an error that can be told, here and in the supervisor; a signal would end us halfway.
    // It cannot fail: the number is a signal's.
    let _ = jail::signal::ignore(rustix::process::Signal::XFSZ);
    // With a mask that takes the owner's own rights, nobody could use what we make.
    let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::process::umask(umask & (Mode::RWXG | Mode::RWXO));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) =>
        {
            // Docker's convention: a mistake in the arguments is ours, not the command's.
            let status = if error.use_stderr() { OWN } else { 0 };
            let printed = error.print().and_then(|()| std::io::Write::flush(&mut std::io::stdout()));
            return ExitCode::from(match printed {
                Ok(()) => status,
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 141,
                Err(error) => {
                    report(&error.into());
                    FAILED
                }
            });
        }
        Err(error) => {
            let arguments = || std::env::args_os().skip(1);
            let command = usage::command(arguments());
            let failure = usage::failure(&error, command.as_deref());
            report(&failure);
            if let Some(command @ "run") = command.as_deref()
                && usage::asks_for_json(command, arguments().skip(1))
            {
                run::tell_mistake(&failure);
            }
            return ExitCode::from(OWN);
        }
    };
    crate::client::withhold_descriptors();
    let result = match cli.command {
        Command::Run(command) => command.0.typed(&std::env::args_os().skip(2).collect::<Vec<_>>()),
        Command::Create(command) => command.0.run(),
        Command::Start(command) => command.0.run(),
        Command::Stop(command) => command.0.run(),
        Command::Restart(command) => command.0.run(),
        Command::Rm(command) => command.0.run(),
        Command::Ps(command) => command.0.run(),
        Command::Inspect(command) => command.0.run(),
        Command::Exec(command) => command.0.run(),
        Command::Attach(command) => command.0.run(),
        Command::Logs(command) => command.0.run(),
        Command::Cp(command) => command.0.run(),
        Command::Replay(command) => command.0.run(),
        Command::Kill(command) => command.0.run(),
        Command::Wait(command) => command.0.run(),
        Command::Stats(command) => command.0.run(),
        Command::Events(command) => command.0.run(),
        Command::Net(command) => command.0.run(),
        Command::Policy(command) => command.0.run(),
        Command::Port(command) => command.0.run(),
        Command::Image(command) => command.0.run(),
        Command::Agents(command) => command.0.run(),
        Command::Acp(command) => command.0.run(),
        Command::AcpTerminal(command) => command.0.run(),
        Command::Mcp(command) => command.0.run(),
        Command::Plugin(command) => command.0.run(),
        Command::Secret(command) => command.0.run(),
        Command::Rename(command) => command.0.run(),
        Command::Trust(command) => command.0.run(),
        Command::Undo(command) => command.0.run(),
        Command::Doctor(command) => command.0.run(),
        Command::Attest(command) => command.0.run(),
        Command::Gc(command) => command.0.run(),
        Command::Completions(command) => command.0.run(),
        Command::Man(command) => command.0.run(),
        Command::Version(command) => command.0.run(),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.status)
        }
    }
}

/// What a command gives back: the process's exit status.
type Status = Result<u8, Failure>;

/// Tells the user of a failure on standard error.
fn report(failure: &Failure) {
    crate::client::tell(failure);
}

/// Prints to standard output; a reader that has gone away (`| head`) ends the program quietly.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(141),
        Err(error) => Err(Failure::chain(&error)),
    }
}

/// Prints a value as JSON, on one line.
fn print_json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value).map_err(|error| Failure::chain(&error))?;
    text.push('\n');
    print(&text)
}

/// Does one thing to each of several sandboxes. A failure is told and the others are still done.
fn for_each(references: &[String], mut act: impl FnMut(&str) -> Result<(), Failure>) -> Status {
    let mut status = 0;
    for reference in references {
        if let Err(failure) = act(reference) {
            report(&failure);
            status = failure.status;
        }
    }
    Ok(status)
}
