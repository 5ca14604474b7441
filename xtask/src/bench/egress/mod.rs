//! What goes out of a sandbox beside direct connections and other proxies: how fast, how soon, in how much memory.
//!
//! All of it happens in a network of its own in which every address is a local one, so that servers can have public
//! addresses, and nothing leaves the machine.

use super::{Bench, find};
use crate::{ci, run};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fmt, fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

mod figures;
mod inspected;
mod talk;

use figures::{in_turn, memory, middle, of_direct, print, resident};
pub use talk::Client;

/// What the servers are called, and where they are.
const NAME: &str = "bench.example.com";
const ADDRESS: &str = "93.184.215.14";
const PORT: u16 = 7000;
const PROXY: &str = "127.0.0.1:7001";

#[derive(clap::Args)]
pub struct Arguments {
    /// How often everything is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// MiB that one transfer has
    #[arg(long, default_value_t = 2048)]
    size: u64,
    /// Connections of one round
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// GiB of the transfer during which memory is watched
    #[arg(long, default_value_t = 10)]
    long: u64,
    /// What to measure; all of it, if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// In the namespaces already: where agentkernel is, and mitmproxy if it is there
    #[arg(long, hide = true, num_args = 1..=2)]
    inside: Option<Vec<PathBuf>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// How fast bytes pass
    Throughput,
    /// How soon the first byte comes
    Latency,
    /// How much memory egress has
    Memory,
    /// TLS whose requests are read
    Inspected,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let Some(programs) = &arguments.inside else { return in_namespaces() };
    let [binary, peers @ ..] = programs.as_slice() else { bail!("No agentkernel") };
    let ground = Ground::new(binary)?;
    let measures = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let parts: [(_, &dyn Fn() -> Result<()>); 4] = [
        (Part::Latency, &|| ground.latency(arguments)),
        (Part::Throughput, &|| ground.throughput(arguments)),
        (Part::Memory, &|| ground.memory(arguments)),
        (Part::Inspected, &|| inspected::main(&ground, peers.first().map(PathBuf::as_path), arguments)),
    ];
    parts.into_iter().filter(|(part, _)| measures(*part)).try_for_each(|(_, measure)| measure())
}

/// The bench once more, where every address is a local one, and a file says which one the servers have.
fn in_namespaces() -> Result<()> {
    let binary = ci::release()?;
    let folder = tempfile::tempdir()?;
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost\n{ADDRESS} {NAME}\n"))?;
    let mut command = run::command("unshare");
    command.args(["--mount", "--net"]);
    if !run::is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    let script = "ip link set lo up && ip route add local default dev lo table local \
                  && mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    command.args(["sh", "-c", script, "sh"]).arg(&hosts).arg(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--inside").arg(&binary);
    match inspected::mitmproxy() {
        Ok(program) => drop(command.arg(program)),
        Err(error) => println!("SKIPPED: mitmproxy: {error:#}"),
    }
    run::run(&mut command)
}

/// A server, a sandbox that may reach it, and whatever stands in between.
struct Ground {
    bench: Bench,
    client: PathBuf,
    /// The server's address as the sandbox sees it.
    inside: String,
}

const SANDBOX: &str = "bench-egress";

impl Ground {
    fn new(binary: &Path) -> Result<Self> {
        let bench = Bench::new(binary.to_owned())?;
        let listener = TcpListener::bind((ADDRESS, PORT))?;
        thread::spawn(move || talk::serve(&listener));
        let client = std::env::current_exe()?;
        let proxy = TcpListener::bind(PROXY)?;
        thread::spawn(move || talk::proxy(&proxy));
        let mut ground = Self { bench, client, inside: String::new() };
        ground.start(SANDBOX)?;
        ground.inside = ground.look_up(SANDBOX)?;
        // Now there is an egress.
        ground.ask(Way::Egress, &["raw", "1"])?;
        Ok(ground)
    }

    /// Starts a sandbox that can run the client.
    fn start(&self, name: &str) -> Result<()> {
        let mount = format!("{}:/bench:ro", self.client.display());
        let allow = format!("{NAME}:{PORT}");
        self.agentkernel(&["create", "--name", name, "--mount", &mount, "--allow", &allow])?;
        self.agentkernel(&["start", name]).map(drop)
    }

    fn agentkernel(&self, arguments: &[&str]) -> Result<String> {
        self.bench.check(&self.bench.agentkernel(arguments))
    }

    fn look_up(&self, sandbox: &str) -> Result<String> {
        let answer = self.agentkernel(&["exec", sandbox, "--", "getent", "hosts", NAME])?;
        Ok(answer.split(' ').next().context("The name has no address inside")?.to_owned())
    }

    /// The client's command line, by one way or another.
    fn way(&self, way: Way, ask: &[&str]) -> Vec<String> {
        let client = self.client.to_string_lossy();
        let (mut argv, address) = match way {
            Way::Egress => (self.bench.agentkernel(&["exec", "-i", SANDBOX, "--", "/bench"]), self.inside.as_str()),
            _ => (vec![client.into_owned()], ADDRESS),
        };
        let at = format!("{address}:{PORT}");
        argv.extend(["bench", "egress-client", &at, NAME].map(str::to_owned));
        argv.extend(ask.iter().map(ToString::to_string));
        if way == Way::Connect {
            argv.extend(["--through", PROXY].map(str::to_owned));
        }
        argv
    }

    /// The times of every connection, in seconds: to the first byte, and to the last.
    fn ask(&self, way: Way, ask: &[&str]) -> Result<Vec<(f64, f64)>> {
        times(&self.bench.check(&self.way(way, ask))?)
    }

    fn latency(&self, arguments: &Arguments) -> Result<()> {
        println!("connect to first byte, a connection each:");
        let connections = arguments.connections.to_string();
        for speech in ["raw", "tls", "http"] {
            let ask = [speech, "1", "--times", &connections];
            let measure = |way: Way| {
                let times = self.ask(way, &ask)?;
                Ok(times.into_iter().map(|(first, _)| first * 1e3).collect())
            };
            let rows = in_turn(arguments.rounds, &Way::ALL, self.workers()?, measure)?;
            print(speech, "ms", &rows, |row, base| format!("{:+.3} ms", row - base));
        }
        let mut cold = Vec::new();
        for round in 0..arguments.rounds {
            let name = format!("bench-cold-{round}");
            self.start(&name)?;
            let mut argv = self.bench.agentkernel(&["exec", &name, "--", "/bench", "bench", "egress-client"]);
            let at = format!("{}:{PORT}", self.look_up(&name)?);
            argv.extend([&at, NAME, "raw", "1"].map(str::to_owned));
            cold.extend(times(&self.bench.check(&argv)?)?.into_iter().map(|(first, _)| first * 1e3));
            self.agentkernel(&["rm", "--force", &name])?;
        }
        cold.sort_by(f64::total_cmp);
        println!("  the first of a sandbox, which starts egress: p50 {:.2} ms", middle(&cold));
        Ok(())
    }

    fn throughput(&self, arguments: &Arguments) -> Result<()> {
        println!("throughput, {} MiB each:", arguments.size);
        let bytes = (arguments.size << 20).to_string();
        for speech in ["raw", "tls", "http"] {
            for (direction, flags) in [("down", &[][..]), ("up", &["--up"])] {
                let ask = [&[speech, bytes.as_str()], flags].concat();
                let measure = |way: Way| {
                    let times = self.ask(way, &ask)?;
                    Ok(times.into_iter().map(|(_, last)| arguments.size as f64 / 1024.0 / last).collect())
                };
                let rows = in_turn(arguments.rounds, &Way::ALL, self.workers()?, measure)?;
                print(&format!("{speech} {direction}"), "GiB/s", &rows, of_direct);
            }
        }
        Ok(())
    }

    /// Who does the work on each way, as far as it is a process that does nothing else.
    fn workers(&self) -> Result<[Option<u64>; 3]> {
        Ok([None, Some(self.egress(SANDBOX)?), None])
    }

    fn memory(&self, arguments: &Arguments) -> Result<()> {
        println!("memory of egress (RSS, and what of it is its own):");
        let egress = self.egress(SANDBOX)?;
        println!("  after one connection: {}", resident(egress)?);
        let holding: Vec<Child> =
            (0..2).map(|_| self.hold(&["raw", "1", "--times", "500", "--hold"])).collect::<Result<_>>()?;
        let until = |enough: fn(usize) -> bool| -> Result<usize> {
            let mut count = 0;
            for _ in 0..300 {
                count = fs::read_dir(format!("/proc/{egress}/fd"))?.count();
                if enough(count) {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
            Ok(count)
        };
        let count = until(|count| count > 2000)?;
        println!("  with 1000 idle connections ({count} descriptors): {}", resident(egress)?);
        for mut child in holding {
            drop(child.stdin.take());
            child.wait()?;
        }
        let count = until(|count| count < 100)?;
        println!("  when they are gone ({count} descriptors): {}", resident(egress)?);
        for speech in ["raw", "http"] {
            let bytes = (arguments.long << 30).to_string();
            let mut transfer = self.hold(&[speech, &bytes])?;
            let mut seen = Vec::new();
            while transfer.try_wait()?.is_none() {
                seen.push(memory(egress, "VmRSS")?);
                thread::sleep(Duration::from_millis(50));
            }
            ensure!(transfer.wait()?.success(), "The transfer failed");
            let (least, most) = (seen.iter().min(), seen.iter().max());
            let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
            println!("  during {} GiB, {speech}: RSS {least} to {most} KiB", arguments.long);
        }
        Ok(())
    }

    /// A client in the sandbox that goes on.
    fn hold(&self, ask: &[&str]) -> Result<Child> {
        let mut command = self.bench.command(&self.way(Way::Egress, ask));
        Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?)
    }

    /// The process of the sandbox's egress: a child of the supervisor that is not the sandbox's init.
    fn egress(&self, sandbox: &str) -> Result<u64> {
        let inspect: serde_json::Value = serde_json::from_str(&self.agentkernel(&["inspect", sandbox])?)?;
        let supervisor = find(&inspect, "supervisor_pid").context("inspect tells no supervisor_pid")?;
        let mut processes =
            fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_egress = |pid: &u64| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.starts_with("Name:\tak-egress\n") && status.contains(&format!("\nPPid:\t{supervisor}\n"))
        };
        processes.find(is_egress).context("The sandbox has no egress")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What is left is told by whoever looks: the bench is over.
        let _ = self.agentkernel(&["rm", "--force", SANDBOX]);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Egress,
    Connect,
}

impl Way {
    const ALL: [Self; 3] = [Self::Direct, Self::Egress, Self::Connect];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Egress => "agentkernel",
            Self::Connect => "CONNECT proxy",
        })
    }
}

/// What the client has printed, in seconds.
fn times(text: &str) -> Result<Vec<(f64, f64)>> {
    let seconds = |nanoseconds: &str| nanoseconds.parse::<u64>().ok().map(|count| count as f64 / 1e9);
    let line = |line: &str| {
        let (first, last) = line.split_once(' ')?;
        seconds(first).zip(seconds(last))
    };
    text.lines().map(|text| line(text).with_context(|| format!("The client said: {text}"))).collect()
}

/// A program that runs as long as it is kept.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, address: &str) -> Result<Self> {
        let server = Self(command.spawn().with_context(|| format!("Cannot start {command:?}"))?);
        let address: SocketAddr = address.parse()?;
        for _ in 0..200 {
            if std::net::TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("{command:?} does not listen at {address}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
