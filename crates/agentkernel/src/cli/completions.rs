//! `completions`: clap's scripts, which know commands and flags, taught the names of sandboxes. Those change, so a script
//! asks for them (`ps`) whenever it completes one.

use super::{Cli, Failure, Status, print};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Status {
        // For the name that it was called by: a link `ak` has completions of its own.
        let called = std::env::args_os().next().map(PathBuf::from);
        let called = called.as_deref().and_then(Path::file_name).and_then(OsStr::to_str);
        let program = called.filter(|name| *name == "ak").unwrap_or("agentkernel");
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), program, &mut script);
        let script = String::from_utf8(script).map_err(|error| Failure::chain(&error))?;
        let takers = takers();
        print(&match self.shell {
            Shell::Bash => bash(script, program, &takers),
            Shell::Fish => fish(script, program, &takers),
            Shell::Zsh => zsh(&script, program),
            _ => script,
        })?;
        Ok(0)
    }
}

/// How the arguments of those that name sandboxes are called.
const SANDBOXES: [&str; 2] = ["sandbox", "sandboxes"];

/// The commands that take names of sandboxes, by the words that they are typed with. `cp` takes them with a colon, or
/// files.
fn takers() -> Vec<String> {
    let mut cli = Cli::command();
    cli.build();
    let takes = |command: &&clap::Command| {
        command.get_positionals().any(|argument| SANDBOXES.contains(&argument.get_id().as_str()))
    };
    let mut names = Vec::new();
    for command in cli.get_subcommands() {
        names.extend(takes(&command).then(|| command.get_name().to_owned()));
        let inner = command.get_subcommands().filter(takes);
        names.extend(inner.map(|inner| format!("{} {}", command.get_name(), inner.get_name())));
    }
    names
}

/// Adds the names to the words of each command.
fn bash(mut script: String, program: &str, takers: &[String]) -> String {
    let branch = |command: &str| {
        format!("        {program}__subcmd__{})\n            opts=\"", command.replace(' ', "__subcmd__"))
    };
    for command in takers {
        script = script.replace(&branch(command), &format!("{}$(_{program}_sandboxes) ", branch(command)));
    }
    // What follows the colon is still to be typed.
    let place = format!(
        "        {program}__subcmd__cp)\n            [[ ${{cur}} == -* ]] || compopt -o nospace 2>/dev/null\n            opts=\"$(_{program}_sandboxes :) "
    );
    script = script.replace(&branch("cp"), &place);
    format!("_{program}_sandboxes() {{\n    {program} ps -a --format \"{{name}}$1\" 2>/dev/null\n}}\n\n{script}")
}

/// Names completions for what clap's script says nothing of.
fn fish(mut script: String, program: &str, takers: &[String]) -> String {
    let mut add = |commands: &str, files: &str, format: &str| {
        script.push_str(&format!(
            "complete -c {program} -n \"__fish_{program}_using_subcommand {commands}\" {files}-a \"({program} ps -a --format '{format}' 2>/dev/null)\" -d Sandbox\n"
        ));
    };
    // A command's arguments may be files.
    let (exec, others): (Vec<&str>, Vec<&str>) = takers.iter().map(String::as_str).partition(|name| *name == "exec");
    let (nested, others): (Vec<&str>, Vec<&str>) = others.into_iter().partition(|name| name.contains(' '));
    for (command, inner) in nested.iter().filter_map(|name| name.split_once(' ')) {
        add(&format!("{command}; and __fish_seen_subcommand_from {inner}"), "-f ", "{name}");
    }
    add(&others.join(" "), "-f ", "{name}");
    add(&exec.join(" "), "", "{name}");
    add("cp", "", "{name}:");
    script
}

/// Replaces what completes the arguments that name sandboxes.
fn zsh(script: &str, program: &str) -> String {
    let action = |line: &str| {
        let name = line.trim_start_matches(['\'', '*', ':']).split(" -- ").next().unwrap_or_default();
        match name {
            _ if !line.starts_with([':', '\'']) => None,
            "source" | "destination" => Some("places"),
            name if SANDBOXES.contains(&name) => Some("sandboxes"),
            _ => None,
        }
    };
    let lines = script.lines().map(|line| match (line.strip_suffix(":_default' \\"), action(line)) {
        (Some(rest), Some(action)) => format!("{rest}:_{program}_{action}' \\\n"),
        _ => format!("{line}\n"),
    });
    let (tag, rest) = (format!("#compdef {program}\n"), lines.collect::<String>());
    let functions = format!(
        r#"
_{program}_sandboxes() {{
    local -a names
    names=(${{(f)"$({program} ps -a --format '{{name}}' 2>/dev/null)"}})
    compadd "$@" -a names
}}

_{program}_places() {{
    _{program}_sandboxes -S :
    _files
}}
"#
    );
    rest.replacen(&tag, &format!("{tag}{functions}"), 1)
}
