//! Mistakes in the arguments, told like every other failure: one line with the cause, one with the hint.

use super::{Failure, failure::OWN};
use crate::config::{FormError, nearest, quoted};
use clap::{
    Arg, CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::{error::Error as _, ffi::OsString};

/// The command among what was typed, with its subcommand if it has any: `net check`.
pub(super) fn command(mut arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let name = arguments.next()?.into_string().ok()?;
    let cli = super::Cli::command();
    let Some(command) = cli.find_subcommand(&name) else { return Some(name) };
    let mut command = command.clone();
    // Flags are described only when they are asked for.
    command.build();
    let second = arguments.next().and_then(|second| second.into_string().ok());
    let second = second.filter(|second| command.find_subcommand(second).is_some());
    Some(second.map_or(name.clone(), |second| format!("{name} {second}")))
}

/// A command by the words that it is typed with.
fn find(path: &str) -> Option<clap::Command> {
    let mut cli = super::Cli::command();
    cli.build();
    path.split(' ').try_fold(cli, |command, name| command.find_subcommand(name).cloned())
}

/// What was typed wrong. Help and version are no mistakes, and left to clap.
pub(super) fn failure(error: &clap::Error, command: Option<&str>) -> Failure {
    // An argument as clap shows it, without what its value is called: `--memory <SIZE>`.
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let flag = || text(ContextKind::InvalidArg).unwrap_or_default();
    let short = || {
        let first = flag().split(' ').next().unwrap_or_default().to_owned();
        first.trim_end_matches("...").trim_start_matches('<').trim_end_matches('>').to_owned()
    };
    let help = match command.filter(|path| find(path).is_some()) {
        Some(command) => format!("'agentkernel help {command}' lists what it takes"),
        None => "'agentkernel help' lists the commands".into(),
    };
    let cause = match error.kind() {
        ErrorKind::UnknownArgument => {
            let typed = flag();
            if !typed.starts_with('-') {
                return Failure::new(format!("Unexpected argument {}", quoted(typed.as_ref()))).hint(help).status(OWN);
            }
            // What clap suggests is often far away.
            let options = command.map(options).unwrap_or_default();
            let hint = match nearest(&typed, options.iter().map(String::as_str)) {
                Some(near) => format!("Did you mean '{near}'?"),
                None => format!("{help}; options of the program itself come after '--' and its name"),
            };
            return Failure::new(format!("No option {}", quoted(typed.as_ref()))).hint(hint).status(OWN);
        }
        ErrorKind::InvalidSubcommand => {
            let typed = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            let commands = command.and_then(find).unwrap_or_else(super::Cli::command);
            let near = nearest(&typed, commands.get_subcommands().map(clap::Command::get_name));
            let hint = near.map(|near| format!("Did you mean '{near}'?"));
            return Failure::new(format!("No command {}", quoted(typed.as_ref())))
                .hint(hint.unwrap_or(help))
                .status(OWN);
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = flag().replace(['<', '>'], "").replace("...", "");
            let verb = if missing.contains(", ") { "are" } else { "is" };
            format!("{missing} {verb} missing")
        }
        ErrorKind::ValueValidation => match error.source() {
            Some(source) => {
                let own = source.downcast_ref::<FormError>().map(|error| error.hint).filter(|hint| !hint.is_empty());
                let cause = format!("{}: {}", short(), wire::cause(source));
                return Failure::new(cause).hint(own.map_or(help, str::to_owned)).status(OWN);
            }
            None => format!("{}: this value won't do", short()),
        },
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_some_and(|value| value.is_empty()) => {
            format!("{} needs a value", flag())
        }
        ErrorKind::InvalidValue => {
            let value = quoted(text(ContextKind::InvalidValue).unwrap_or_default().as_ref());
            let valid = text(ContextKind::ValidValue).unwrap_or_default();
            format!("{}: {value} is none of {valid}", short())
        }
        ErrorKind::ArgumentConflict => {
            format!("{} can't be used together with {}", flag(), text(ContextKind::PriorArg).unwrap_or_default())
        }
        // The rest is rare: clap's first line says it.
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    };
    Failure::new(cause).hint(help).status(OWN)
}

/// The long options of a command.
fn options(command: &str) -> Vec<String> {
    let described = described(command);
    let names = described.iter().filter_map(Arg::get_long);
    names.map(|name| format!("--{name}")).collect()
}

/// What a command takes.
fn described(command: &str) -> Vec<Arg> {
    find(command).iter().flat_map(clap::Command::get_arguments).cloned().collect()
}

/// Whether `--json` is among a command's own arguments, not those of the program that it runs, though they have a
/// mistake somewhere. The word after an option that does not exist is taken for its value.
pub(super) fn asks_for_json(command: &str, arguments: impl Iterator<Item = OsString>) -> bool {
    let described = described(command);
    let takes_value = |arg: Option<&Arg>| arg.is_none_or(|arg| arg.get_action().takes_values());
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy();
        let value_follows = match argument.strip_prefix("--") {
            Some("") => return false,
            Some("json") => return true,
            Some(name) => {
                let named = |arg: &&Arg| arg.get_long_and_visible_aliases().is_some_and(|names| names.contains(&name));
                !name.contains('=') && takes_value(described.iter().find(named))
            }
            // Flags in one word; the first that takes a value takes the rest of it.
            None => match argument.strip_prefix('-').filter(|flags| !flags.is_empty()) {
                Some(flags) => {
                    let arg = |flag| described.iter().find(|arg| arg.get_short() == Some(flag));
                    flags
                        .char_indices()
                        .find(|&(_, flag)| takes_value(arg(flag)))
                        .is_some_and(|(at, flag)| at + flag.len_utf8() == flags.len())
                }
                None => return false,
            },
        };
        if value_follows {
            let _ = arguments.next_if(|value| !value.as_encoded_bytes().starts_with(b"-"));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_ours_and_json_of_the_programs() {
        let asks = |line: &str| asks_for_json("run", line.split(' ').map(OsString::from));
        for ours in [
            "--json",
            "--memory 1G --json true",
            "--memory=1G --json",
            "--volume a:b --json true",
            "--nonsense --json true",
            "--memroy 1G --json true",
            "--memroy=1G --json true",
            "-itT --json",
            "-iw /x --json true",
            "-iw/x --json true",
            "-ie A=1 --keep --json",
            "-e --json",
            "--rm -m --json",
        ] {
            assert!(asks(ours), "{ours}");
        }
        for programs in
            ["", "true --json", "-- --json", "--keep -- --json", "-m 1G jq --json", "-dw/x x --json", "- --json"]
        {
            assert!(!asks(programs), "{programs}");
        }
    }
}
