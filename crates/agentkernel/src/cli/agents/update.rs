//! `agents update`: hides that the old version stays until the new one has answered.

use super::super::{
    Failure, Status, for_each,
    throwaway::{MadeOf, Throwaway},
};
use super::install::{LATEST, Workshop, libc, reference};
use super::{find, forget, installed, parts};
use crate::{
    agents::{Adapter, Libc},
    config::{self, NetworkOverrides},
};
use clap::Args;
use std::time::Duration;
use wire::Exit;

/// How long an agent may take to say its version.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much of what it says is kept.
const ANSWER: usize = 4096;

#[derive(Debug, Args)]
pub(super) struct Update {
    /// Tell nothing but mistakes
    #[arg(short, long)]
    quiet: bool,
    /// Those for images with this C library: 'glibc', or 'musl' as Alpine has it
    #[arg(long, value_name = "LIBC", default_value = "glibc", value_parser = libc, hide_default_value = true)]
    libc: Libc,
    #[command(flatten)]
    made: MadeOf,
    /// Names of agents, with '@VERSION' that version; without any, all that are installed
    #[arg(value_name = "AGENT")]
    agents: Vec<String>,
}

impl Update {
    pub(super) fn run(self) -> Status {
        let workshop = Workshop::open(self.quiet)?;
        let mut agents = self.agents;
        if agents.is_empty() {
            let tags = workshop.images.tags()?;
            agents = tags.iter().filter_map(|tag| Some(Adapter::of_image(&tag.reference)?.0.to_owned())).collect();
            agents.dedup();
            // One that was installed by the path of its adapter is known by that alone.
            let known = workshop.adapters.names()?;
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                agents.into_iter().partition(|name| known.contains(name.as_str()));
            agents = here;
            for name in elsewhere {
                workshop.tell(&format!("{name} is left as it is: 'agents update' needs the path of its adapter\n"))?;
            }
        }
        let status = for_each(&agents, |text| {
            let (named, version) = parts(text);
            let adapter = find(&workshop.store, &workshop.adapters, named)?;
            let adapter = Adapter { libc: self.libc, ..adapter };
            let name_of_used = reference(adapter.used())?;
            let (there, used) = installed(&workshop.images.tags()?, &adapter.name, &name_of_used);
            if there.is_empty() {
                let hint = format!("`agentkernel agents install {}` installs it", wire::shell_word(named));
                return Err(Failure::new(format!("{} is not installed", adapter.title)).hint(hint));
            }
            let adapter = workshop.at(&adapter, version.unwrap_or(LATEST))?;
            let (name, tag) = (adapter.name.as_str(), adapter.tag(&adapter.version));
            if used.as_ref() == Some(&tag) {
                return workshop.tell(&format!("{name} {tag} is the newest\n"));
            }
            let (record, new) = workshop.install(&adapter)?;
            if let Err(failure) = answers(&adapter, &self.made) {
                if new {
                    forget(&workshop.images, name, |there| there == tag)?;
                }
                return Err(failure);
            }
            workshop.images.tag(&name_of_used, &record.manifest)?;
            let Some(old) = used else { return workshop.tell(&format!("{name} {tag}\n")) };
            forget(&workshop.images, name, |there| there == old)?;
            workshop.tell(&format!("{name} {tag}, was {old}\n"))
        })?;
        workshop.images.prune(&workshop.store, false, false)?;
        Ok(status)
    }
}

/// Whether an agent says its version, in a sandbox of its own that reaches nothing.
fn answers(adapter: &Adapter, made: &MadeOf) -> Result<(), Failure> {
    let Adapter { title, version, .. } = adapter;
    let layers = vec![reference(adapter.reference(version))?];
    let made = MadeOf { layers, timeout: Some(PATIENCE), ..made.clone() };
    // Not every user may limit memory.
    let mut sandbox = Throwaway::start(&made, None, None, None, None, NetworkOverrides::default())?;
    let argv = [adapter.command.as_slice(), &["--version".to_owned()]].concat();
    let exec = sandbox.exec(&argv);
    let refused = |why: String| {
        Failure::new(format!("{title} {version} does not answer `--version`: {why}"))
            .hint("The version that was there is still used; `--image` names another image to try it in, and `agents install` does not try")
    };
    let captured = sandbox.client.capture(exec, ANSWER, None).map_err(|error| refused(wire::cause(&error)))?;
    if captured.exit != Exit::Code(0) {
        return Err(refused(format!("it ends with status {}", captured.exit.status())));
    }
    let said = String::from_utf8_lossy(&captured.stdout);
    if says(&said, version) {
        return Ok(());
    }
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    Err(refused(line.map_or("it says nothing".to_owned(), |line| format!("it says {}", config::quoted(line.as_ref())))))
}

/// Whether a version is a word of a text, as in `agent v1.0.2 (build 7)`.
fn says(text: &str, version: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '+' | '_');
    let words = text.split(|letter| !is_part(letter)).map(|word| word.trim_end_matches('.'));
    { words }.any(|word| word == version || word.strip_prefix(['v', 'V']) == Some(version))
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn a_version_is_found_as_a_word() {
        for (text, version) in [
            ("2.1.330 (Claude Code)\n", "2.1.330"),
            ("codex-cli 0.169.0\n", "0.169.0"),
            ("crush version v0.19.4\n", "0.19.4"),
            ("GitHub Copilot CLI 0.0.400.\nCommit: 1a2b\n", "0.0.400"),
            ("0.0.1764-g907e30 (released 2d ago)", "0.0.1764-g907e30"),
            ("mine/1.0", "1.0"),
        ] {
            assert!(says(text, version), "{text}");
        }
        for (text, version) in [("", "1.0"), ("1.0.1", "1.0"), ("11.0", "1.0"), ("1.0-beta", "1.0"), ("x1.0", "1.0")] {
            assert!(!says(text, version), "{text}");
        }
    }
}
