//! The escape attempts that the escape suite and `agentkernel attest` run inside a sandbox.
//!
//! ```text
//! probe list                        the table, one JSON object per line
//! probe run CASE [KEY=VALUE...]     one attempt; exit 0 held, 10 escaped, 20 skipped, 30 to be judged outside
//! probe control CASE [KEY=VALUE...] the same outside a sandbox, where it should escape
//! probe all [KEY=VALUE...]          every attempt
//! probe plant                       plants canaries on the host, keeps them until standard input ends
//! probe listen KEY=VALUE...         what a sandbox beside has to be attacked, until it is killed
//! ```
//! Everything but `run` and `control` without `--json` prints JSON lines.

mod case;
mod cases;
mod context;
mod json;
mod plant;
mod print;
mod run;
mod speech;
mod sys;
mod way;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

use context::Context;
use run::{line, status, told};
use std::{env, fs, io::Write, process::ExitCode};

const USAGE: &str = "usage: probe list | run CASE | control CASE | all | plant | listen  [--json] [KEY=VALUE...]";

fn main() -> ExitCode {
    // Before anything else is opened.
    let leaked = leaked();
    // UTF-8 or not: a parameter that isn't can't be printed as JSON either.
    let mut args: Vec<String> = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let json = args.iter().any(|arg| arg == "--json");
    args.retain(|arg| arg != "--json");
    let mut args = args.into_iter();
    let command = args.next().unwrap_or_default();
    match command.as_str() {
        "list" => {
            cases::all().for_each(|case| say(&described(case)));
            ExitCode::SUCCESS
        }
        "plant" => plant::serve(),
        "listen" => match Context::parse(args) {
            Ok(ctx) => cases::listen(&ctx),
            Err(arg) => usage(&format!("'{arg}' is not KEY=VALUE")),
        },
        "all" => match Context::parse(args) {
            Ok(ctx) => {
                let ctx = Context { leaked, ..ctx };
                let answers = cases::all().map(|case| (case, run::inside(case, &ctx)));
                let worst = answers.map(|(case, answer)| {
                    say(&line(case, &answer));
                    rank(status(&answer))
                });
                ExitCode::from(unrank(worst.max().unwrap_or(0)))
            }
            Err(arg) => usage(&format!("'{arg}' is not KEY=VALUE")),
        },
        "run" | "control" => {
            let Some(case) = args.next() else { return usage("no case is named") };
            let Some(case) = cases::find(&case) else { return usage(&format!("there is no case '{case}'")) };
            let ctx = match Context::parse(args) {
                Ok(ctx) => Context { leaked, control: command == "control", ..ctx },
                Err(arg) => return usage(&format!("'{arg}' is not KEY=VALUE")),
            };
            let answer = if ctx.control { run::control(case, &ctx) } else { run::inside(case, &ctx) };
            let (word, detail) = told(&answer);
            say(&if json { line(case, &answer) } else { format!("{}: {word}: {detail}", case.name) });
            ExitCode::from(status(&answer))
        }
        _ => usage("no such command"),
    }
}

/// An escape outranks a skip, which outranks what must be judged outside.
fn rank(status: u8) -> u8 {
    [0, 30, 20, 10].iter().position(|known| *known == status).unwrap_or(0) as u8
}

fn unrank(rank: u8) -> u8 {
    [0, 30, 20, 10].get(usize::from(rank)).copied().unwrap_or(0)
}

fn usage(problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "probe: {problem}\n{USAGE}");
    ExitCode::from(2)
}

fn say(line: &str) {
    // Nobody to tell: the run goes on for its exit status.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn described(case: &case::Case) -> String {
    let reason = match case.control {
        case::Control::None(reason) => reason,
        _ => "",
    };
    json::object(&[
        ("name", json::string(case.name)),
        ("class", json::string(case.class.name())),
        ("means", json::string(case.means)),
        ("reference", json::string(case.reference)),
        ("control", json::string(case.control.name())),
        ("reason", json::string(reason)),
        ("may_die", case.may_die.to_string()),
    ])
}

/// Descriptors above 2, without the one that lists them.
fn leaked() -> Vec<i32> {
    let listed = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let fds: Vec<i32> =
        listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
    fds.into_iter().filter(|fd| fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()).collect()
}
