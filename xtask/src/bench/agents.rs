//! Real agents: how long one takes to answer in a sandbox of its own, beside the same files on the host.

use super::{Bench, Entry};
use crate::{ci, run};
use anyhow::{Context, Result};

#[derive(clap::Args)]
pub struct Arguments {
    /// How often each command is run
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Only these, of those that are known
    #[arg(default_values = ["claude", "codex", "gemini", "opencode"])]
    agents: Vec<String>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let bench = Bench::new(ci::release()?)?;
    let rounds = super::Arguments::of(arguments.rounds);
    for agent in &arguments.agents {
        println!("`{agent} --version`:");
        if let Err(error) = bench.check(&bench.agentkernel(&["agents", "install", "-q", agent])) {
            println!("  SKIPPED: {}", format!("{error:#}").replace('\n', " "));
            continue;
        }
        let host = on_the_host(&bench, agent)?;
        let ours = bench.agentkernel(&["run", agent, "--", "--version"]);
        let others = [("on the host", Ok(host)), ("with a login", with_a_login(&bench, agent))];
        bench.compare(Entry::new("agentkernel run", ours), others, &rounds)?;
    }
    Ok(())
}

/// `run AGENT -- --version` with a key that nobody takes.
fn with_a_login(bench: &Bench, agent: &str) -> Result<Vec<String>> {
    let shown = bench.check(&bench.agentkernel(&["agents", "show", agent]))?;
    let variable = shown.lines().find_map(|line| line.strip_prefix("variable = "));
    let variable = variable.context("No variable logs it in")?.trim_matches('"');
    let own = bench.agentkernel(&["run", agent, "--", "--version"]);
    Ok(["env".to_owned(), format!("{variable}=of-the-bench")].into_iter().chain(own).collect())
}

/// The command that runs a copy of the files that the agent's layer has.
fn on_the_host(bench: &Bench, agent: &str) -> Result<Vec<String>> {
    let shown = bench.check(&bench.agentkernel(&["agents", "show", agent]))?;
    let command = shown.lines().find_map(|line| line.strip_prefix("command = ")).context("It has no command")?;
    let command: Vec<String> = serde_json::from_str(command).context("Its command is no list")?;
    let folder = format!("opt/agentkernel/agents/{agent}");
    let place = bench.folder.path().join("host");
    std::fs::create_dir_all(&place)?;
    let pack =
        ["run", "--layer", &format!("agents.invalid/{agent}"), "--", "tar", "-C", "/", "-cf", "agent.tar", &folder];
    bench.check(&bench.agentkernel(&pack))?;
    let archive = bench.project().join("agent.tar");
    run::capture(run::command("tar").arg("-C").arg(&place).arg("-xf").arg(&archive))?;
    std::fs::remove_file(archive)?;
    let there = |word: String| match word.strip_prefix('/') {
        Some(path) if path.starts_with(&folder) => place.join(path).display().to_string(),
        _ => word,
    };
    Ok(command.into_iter().map(there).chain(["--version".to_owned()]).collect())
}
