//! Mistakes in the arguments, told like every other failure: one line with the cause, one with the hint.

use super::{Failure, failure::OWN};
use crate::config::{FormError, nearest, quoted};
use clap::{
    CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::error::Error as _;

/// What was typed wrong. Help and version are no mistakes, and left to clap.
pub(super) fn failure(error: &clap::Error, command: Option<&str>) -> Failure {
    // An argument as clap shows it, without what its value is called: `--memory <SIZE>`.
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let flag = || text(ContextKind::InvalidArg).unwrap_or_default();
    let short =
        || flag().split(' ').next().unwrap_or_default().trim_start_matches('<').trim_end_matches('>').to_owned();
    let help = match command.filter(|name| super::Cli::command().find_subcommand(name).is_some()) {
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
            let commands = super::Cli::command();
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
    let mut cli = super::Cli::command();
    // Flags are described only when they are asked for.
    cli.build();
    let names = cli.find_subcommand(command).into_iter().flat_map(clap::Command::get_arguments);
    names.filter_map(clap::Arg::get_long).map(|name| format!("--{name}")).collect()
}
