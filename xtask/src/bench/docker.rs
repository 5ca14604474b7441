//! Containers of an engine, made by it for us and for its own client: how long one takes to start, and a program in one that runs.

use super::{
    Bench, Entry,
    server::{Server, eventually},
};
use crate::{ci, run};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::Path};

#[derive(clap::Args)]
pub struct Arguments {
    /// How often each command is run
    #[arg(long, default_value_t = 30)]
    rounds: usize,
}

/// What is needed, as (program, Debian package).
const TOOLS: [(&str, &str); 3] = [("busybox", "busybox-static"), ("dockerd", "docker.io"), ("docker", "docker.io")];
const IMAGE: &str = "bench:1";
pub fn main(arguments: &Arguments) -> Result<()> {
    let bench = Bench::new(ci::release()?)?;
    let folder = bench.folder.path().to_owned();
    let (_engine, client) = (engine(&folder)?, client(&folder));
    let docker = |words: &[&str]| -> Vec<String> {
        client.iter().cloned().chain(words.iter().map(ToString::to_string)).collect()
    };
    bench.check(&docker(&["import", &image(&folder)?, IMAGE]))?;
    let host = client.get(2).context("No address of the engine")?;
    // Both are started by env(1), which takes as long for either.
    let env = |argv: Vec<String>| -> Vec<String> {
        ["env".to_owned(), format!("DOCKER_HOST={host}")].into_iter().chain(argv).collect()
    };
    let ours = |words: &[&str]| env(bench.agentkernel(words));
    let theirs = |words: &[&str]| env(docker(words));
    let rounds = super::Arguments::of(arguments.rounds);

    // It stays for as long as is measured, and with it what stands for protected paths that are missing.
    let name = "bench-exec";
    bench.check(&ours(&["create", "--backend", "docker", "--image", IMAGE, "--name", name]))?;
    bench.check(&ours(&["start", name]))?;
    let id = bench.check(&docker(&["ps", "-q", "--filter", "label=agentkernel.id"]))?;
    let told = bench.check(&docker(&["inspect", "--format", "{{json .HostConfig}}", id.trim()]))?;
    let same = same(&serde_json::from_str(&told).context("inspect is not JSON")?)?;
    let same: Vec<&str> = same.iter().map(String::as_str).collect();
    let project = bench.project().display().to_string();

    println!("start to exit of `true`, with the same options:");
    let run = ["run", "--backend", "docker", "--image", IMAGE, "--", "/bin/true"];
    let options = [&["run", "--rm"], &same[..], &["-w", &project, IMAGE, "/bin/true"]].concat();
    bench.compare(Entry::new("agentkernel run", ours(&run)), [("docker run", Ok(theirs(&options)))], &rounds)?;

    println!("`true` in a container that runs:");
    let options = [&["run", "-d", "--name", name], &same[..], &[IMAGE, "/bin/sleep", "3600"]].concat();
    bench.check(&docker(&options))?;
    let result = bench.compare(
        Entry::new("agentkernel exec", ours(&["exec", name, "--", "/bin/true"])),
        [("docker exec", Ok(theirs(&["exec", name, "/bin/true"])))],
        &rounds,
    );
    bench.check(&ours(&["rm", "--force", name]))?;
    bench.check(&docker(&["rm", "--force", name]))?;
    result
}

/// What a container was asked for, in the words of `docker run`. It has none for what is masked: that stays its own.
fn same(host: &Value) -> Result<Vec<String>> {
    let mut words: Vec<String> =
        ["--network=none", "--security-opt=no-new-privileges", "--log-driver=none", "--ipc=private"]
            .map(str::to_owned)
            .to_vec();
    for (flag, key) in [
        ("--cap-drop", "CapDrop"),
        ("--cap-add", "CapAdd"),
        ("--dns", "Dns"),
        ("--dns-option", "DnsOptions"),
        ("--dns-search", "DnsSearch"),
        ("--add-host", "ExtraHosts"),
    ] {
        let list = host[key].as_array().into_iter().flatten();
        words.extend(list.filter_map(Value::as_str).map(|value| format!("{flag}={value}")));
    }
    for (flag, key, between) in [("--sysctl", "Sysctls", "="), ("--tmpfs", "Tmpfs", ":")] {
        let map = host[key].as_object().into_iter().flatten();
        words.extend(map.map(|(name, value)| format!("{flag}={name}{between}{}", value.as_str().unwrap_or_default())));
    }
    for (flag, key) in [("--shm-size", "ShmSize"), ("--pids-limit", "PidsLimit"), ("--memory", "Memory")] {
        words.extend(host[key].as_u64().filter(|value| *value > 0).map(|value| format!("{flag}={value}")));
    }
    let mounts = host["Mounts"].as_array().context("The container has no mounts")?;
    for mount in mounts {
        let text = |key: &str| mount[key].as_str().unwrap_or_default();
        let read_only = if mount["ReadOnly"] == true { ",readonly" } else { "" };
        words.push(format!(
            "--mount=type={},source={},target={}{read_only}",
            text("Type"),
            text("Source"),
            text("Target")
        ));
    }
    println!("  {} mounts, {} other options", mounts.len(), words.len() - mounts.len());
    Ok(words)
}

/// An archive of a root that has busybox.
fn image(folder: &Path) -> Result<String> {
    let busybox = run::find("busybox").context("No busybox")?;
    let (root, archive) = (folder.join("root"), folder.join("root.tar").display().to_string());
    fs::create_dir_all(root.join("bin"))?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    for name in ["true", "sleep", "sh"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
    }
    run::capture(run::command("tar").arg("-C").arg(&root).args(["-cf", &archive, "."]))?;
    Ok(archive)
}

/// How an engine of its own is called.
pub fn client(folder: &Path) -> Vec<String> {
    ["docker".to_owned(), "--host".to_owned(), format!("unix://{}", folder.join("docker.sock").display())].to_vec()
}

/// Starts that engine, whose files lie in `docker`.
pub fn engine(folder: &Path) -> Result<Server> {
    let missing = run::need(&TOOLS);
    ensure!(missing.is_empty(), "{} could not be installed", missing.join(", "));
    ensure!(run::is_root(), "Only root can start an engine");
    let client = client(folder);
    let mut command = run::command("dockerd");
    for (flag, name) in [("--data-root", "docker"), ("--exec-root", "docker-run"), ("--pidfile", "docker.pid")] {
        command.arg(flag).arg(folder.join(name));
    }
    command.args(&client[1..]).args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
    let server = Server::start(&mut command)?;
    let answers =
        || run::capture(run::command(&client[0]).args(&client[1..]).args(["version", "--format", "x"])).is_ok();
    eventually("the engine answers", answers)?;
    Ok(server)
}
