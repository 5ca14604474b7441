//! Measures agentkernel beside its peers, side by side in one run: machines differ and drift, ratios less so.

use crate::{ci, run};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

mod agents;
mod changes;
mod docker;
mod egress;
mod image;
mod peers;
mod server;
mod trace;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How often each command is run
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Milliseconds between two runs: tearing down the last sandbox is not part of starting the next
    #[arg(long, default_value_t = 20)]
    pause: u64,
    /// How many sandboxes to keep alive at once
    #[arg(long, default_value_t = 500)]
    sandboxes: usize,
    /// Show where the time of one start goes, and nothing else
    #[arg(long)]
    trace: bool,
}

impl Arguments {
    /// So many rounds.
    fn of(rounds: usize) -> Self {
        Self { part: None, rounds, pause: 20, sandboxes: 0, trace: false }
    }
}

#[derive(clap::Subcommand)]
enum Part {
    /// Measure what goes out of a sandbox beside direct connections and other proxies
    Egress(egress::Arguments),
    /// Measure containers of Docker beside those that its own client makes
    Docker(docker::Arguments),
    /// Measure how long images take to come, and programs to start in them, beside other tools
    Image(image::Arguments),
    /// Measure how long agents take to start beside their start on the host
    Agents(agents::Arguments),
    /// Measure what it costs that refused changes go on record
    Changes(changes::Arguments),
    #[command(hide = true)]
    EgressClient(egress::Client),
}

/// One command to measure.
struct Entry {
    name: &'static str,
    argv: Vec<String>,
    samples: Vec<Duration>,
}

/// The binary under test with a home, a state and a project of its own.
pub struct Bench {
    binary: PathBuf,
    folder: TempDir,
}

/// Where an empty cgroup v2 is in a host with cgroup v1 (systemd's hybrid mode).
const HYBRID: &str = "/sys/fs/cgroup/unified";

pub fn main(arguments: &Arguments) -> Result<()> {
    match &arguments.part {
        Some(Part::Egress(arguments)) => return egress::main(arguments),
        Some(Part::Docker(arguments)) => return docker::main(arguments),
        Some(Part::Agents(arguments)) => return agents::main(arguments),
        Some(Part::Changes(arguments)) => return changes::main(arguments),
        Some(Part::Image(arguments)) => return image::main(arguments),
        Some(Part::EgressClient(client)) => return client.run(),
        None => {}
    }
    if run::is_root() && Path::new(HYBRID).join("cgroup.controllers").exists() {
        return without_hybrid();
    }
    let bench = Bench::new(ci::release()?)?;
    if arguments.trace {
        return trace::main(&bench);
    }
    bench.starts(arguments)?;
    bench.execs(arguments)?;
    bench.crowd(arguments.sandboxes)
}

/// The bench once more, where nobody sees that cgroups are hybrid: crun refuses such a host, though nothing it needs
/// lacks.
fn without_hybrid() -> Result<()> {
    let script = format!("umount {HYBRID} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1));
    Err(command.exec()).context("Cannot start unshare")
}

impl Bench {
    /// In an empty project, which becomes the working directory.
    fn new(binary: PathBuf) -> Result<Self> {
        let bench = Self { binary, folder: tempfile::tempdir()? };
        for name in ["home", "project"] {
            fs::create_dir(bench.folder.path().join(name))?;
        }
        std::env::set_current_dir(bench.project())?;
        Ok(bench)
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn agentkernel(&self, arguments: &[&str]) -> Vec<String> {
        std::iter::once(self.binary.to_string_lossy().into_owned())
            .chain(arguments.iter().map(ToString::to_string))
            .collect()
    }

    /// A command in the bench's own world.
    fn command(&self, argv: &[String]) -> Command {
        // No working directory of its own: with one, std forks where it would use posix_spawn.
        let mut command = Command::new(argv.first().map_or("", String::as_str));
        command.args(&argv[1..]).stdin(Stdio::null());
        command.env("HOME", self.folder.path().join("home"));
        command.env("AGENTKERNEL_STATE_DIR", self.folder.path().join("state"));
        for name in ["XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it to its end; an error with its words if it fails.
    fn check(&self, argv: &[String]) -> Result<String> {
        run::capture(&mut self.command(argv))
    }

    /// Whole commands, from spawn to their exit status.
    fn starts(&self, arguments: &Arguments) -> Result<()> {
        let project = self.project();
        let ours = Entry::new("agentkernel run", self.agentkernel(&["run", "--", "true"]));
        let mounts = self.check(&self.agentkernel(&["run", "--", "cat", "/proc/self/mountinfo"]))?;
        let peers = [
            ("bwrap, same mounts", peers::bwrap(&mounts, &project, self.folder.path())),
            ("crun", peers::oci("crun", self.folder.path(), &project)),
            ("runc", peers::oci("runc", self.folder.path(), &project)),
        ];
        println!("start to exit of `true`:");
        self.compare(ours, peers, arguments)
    }

    /// A command in a sandbox that runs already.
    fn execs(&self, arguments: &Arguments) -> Result<()> {
        let name = "bench-exec";
        self.check(&self.agentkernel(&["create", "--name", name]))?;
        self.check(&self.agentkernel(&["start", name]))?;
        let ours = Entry::new("agentkernel exec", self.agentkernel(&["exec", name, "--", "true"]));
        let keeper = peers::Keeper::start("runc", self.folder.path(), &self.project());
        let peers =
            [("runc exec", keeper.as_ref().map(peers::Keeper::exec).map_err(|error| anyhow::anyhow!("{error:#}")))];
        println!("`true` in a running sandbox:");
        let result = self.compare(ours, peers, arguments);
        self.check(&self.agentkernel(&["rm", "--force", name]))?;
        result
    }

    /// Runs every entry once per round, in turn, so that whatever disturbs the machine disturbs them all.
    fn compare<const N: usize>(
        &self,
        ours: Entry,
        peers: [(&'static str, Result<Vec<String>>); N],
        arguments: &Arguments,
    ) -> Result<()> {
        // Ours must work; a peer that is missing or refuses this host is told.
        self.check(&ours.argv)?;
        let mut entries = vec![ours];
        for (name, argv) in peers {
            match argv.and_then(|argv| self.check(&argv).map(|_| argv)) {
                Ok(argv) => entries.push(Entry::new(name, argv)),
                Err(error) => println!("  SKIPPED: {name}: {}", format!("{error:#}").replace('\n', " ")),
            }
        }
        for round in 0..arguments.rounds {
            for turn in 0..entries.len() {
                let at = (round + turn) % entries.len();
                std::thread::sleep(Duration::from_millis(arguments.pause));
                let sample = self.once(&entries[at].argv)?;
                entries[at].samples.push(sample);
            }
        }
        table(&mut entries);
        Ok(())
    }

    /// One run, from spawn (posix_spawn) to wait, by the monotonic clock.
    fn once(&self, argv: &[String]) -> Result<Duration> {
        let mut command = self.command(argv);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status().with_context(|| format!("Cannot start {}", argv[0]))?;
        let elapsed = start.elapsed();
        if !status.success() {
            bail!("{} failed: {status}", argv.join(" "));
        }
        Ok(elapsed)
    }

    /// Many sandboxes at once: how fast they come, whether they answer, what they weigh.
    fn crowd(&self, count: usize) -> Result<()> {
        let names: Vec<String> = (0..count).map(|number| format!("bench-{number}")).collect();
        let result = self.fill(&names);
        let mut left = 0;
        for name in &names {
            if self.check(&self.agentkernel(&["rm", "--force", name])).is_err() {
                left += 1;
            }
        }
        if left > 0 && result.is_ok() {
            bail!("{left} sandboxes could not be removed");
        }
        result
    }

    fn fill(&self, names: &[String]) -> Result<()> {
        println!("{} sandboxes:", names.len());
        let started = Instant::now();
        self.in_two(names, |name| {
            self.check(&self.agentkernel(&["create", "--name", name]))?;
            self.check(&self.agentkernel(&["start", name])).map(drop)
        })?;
        let took = started.elapsed().as_secs_f64();
        println!("  created and started at {:.0}/s", names.len() as f64 / took);
        let mut weights = Vec::new();
        for name in names {
            let inspect = self.check(&self.agentkernel(&["inspect", name]))?;
            let inspect: serde_json::Value = serde_json::from_str(&inspect).context("inspect is not JSON")?;
            let pid = |key| find(&inspect, key).with_context(|| format!("inspect tells no {key}"));
            weights.push(pss(pid("supervisor_pid")?)? + pss(pid("init_pid")?)?);
        }
        weights.sort_unstable();
        let at = |percent| quantile(&weights, percent).copied().unwrap_or_default();
        println!("  PSS of supervisor + init: p50 {} KiB, p99 {} KiB", at(50), at(99));
        let started = Instant::now();
        self.in_two(names, |name| self.check(&self.agentkernel(&["exec", name, "--", "true"])).map(drop))?;
        println!("  all {} answered, at {:.0}/s", names.len(), names.len() as f64 / started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Does it for every name, two at a time.
    fn in_two(&self, names: &[String], work: impl Fn(&String) -> Result<()> + Sync) -> Result<()> {
        let (left, right) = names.split_at(names.len() / 2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| right.iter().try_for_each(&work));
            let mine = left.iter().try_for_each(&work);
            mine.and(other.join().unwrap_or_else(|_| bail!("A worker died")))
        })
    }
}

impl Entry {
    fn new(name: &'static str, argv: Vec<String>) -> Self {
        Self { name, argv, samples: Vec::new() }
    }
}

/// The value below which so many of a hundred lie; the samples are sorted.
fn quantile<T>(sorted: &[T], percent: usize) -> Option<&T> {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
}

fn table<'a>(entries: impl IntoIterator<Item = &'a mut Entry>) {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let mut base = None;
    println!("  {:<20} {:>5} {:>10} {:>10} {:>10}", "", "runs", "p50", "p99", "ratio p50");
    for entry in entries {
        entry.samples.sort_unstable();
        let at = |percent| quantile(&entry.samples, percent).copied().map_or(f64::NAN, ms);
        let base = *base.get_or_insert(at(50));
        println!(
            "  {:<20} {:>5} {:>7.2} ms {:>7.2} ms {:>9.2}x",
            entry.name,
            entry.samples.len(),
            at(50),
            at(99),
            at(50) / base
        );
    }
}

/// A process's proportional share of memory in KiB (proc(5), smaps_rollup).
fn pss(pid: u64) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("Cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup has no Pss")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("Pss is not a number")
}

/// The number under a key, wherever it stands.
fn find(value: &serde_json::Value, key: &str) -> Option<u64> {
    match value {
        serde_json::Value::Object(map) => {
            map.get(key).and_then(serde_json::Value::as_u64).or_else(|| map.values().find_map(|value| find(value, key)))
        }
        serde_json::Value::Array(list) => list.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

/// Host directories that every contender shows read-only, if they are there.
fn system_folders() -> impl Iterator<Item = &'static Path> {
    ["/usr", "/opt", "/etc"].iter().map(Path::new).filter(|path| path.is_dir())
}
