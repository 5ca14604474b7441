//! Running other programs, from the root of the repository, with errors that name the command.

use anyhow::{Context, Result, bail};
use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where builds, caches and downloads go.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us. What it has told us of ourselves is none of its concern: build scripts that look at it would be
/// run anew whenever cargo is called by us and not by hand.
pub fn cargo() -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let ours =
            name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if ours {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// A command with no standard input, at the root of the repository.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs it, its output shown as it comes; an error if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("Cannot start {}", words(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", words(command));
    }
    Ok(())
}

/// Runs it and gives what it printed; an error, with what it said, if it fails.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("Cannot start {}", words(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}\n{}", words(command), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("Output of {} is not text", words(command)))
}

/// An executable that cargo has built.
pub struct Built {
    /// Its target's name.
    pub name: String,
    /// Its target's kind: `bin`, `test`, `example`, or `lib` for a library's unit tests.
    pub kind: String,
    pub path: PathBuf,
}

/// The executables that a cargo command builds.
pub fn built(arguments: &[&str]) -> Result<Vec<Built>> {
    let messages = capture(cargo().args(arguments).args(["--quiet", "--message-format", "json-render-diagnostics"]))?;
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's message is not JSON")?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(path) = message["executable"].as_str() {
            let target = &message["target"];
            found.push(Built { name: text(&target["name"]), kind: text(&target["kind"][0]), path: path.into() });
        }
    }
    Ok(found)
}

/// The path of a program, or of a file by its absolute path, if this machine has it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Installs what lacks, as (program, Debian package), if we are root on a Debian.
///
/// Gives the programs that are still missing.
pub fn need<'a>(programs: &[(&'a str, &str)]) -> Vec<&'a str> {
    let missing = || programs.iter().filter(|(program, _)| find(program).is_none());
    if missing().next().is_some() && is_root() && find("apt-get").is_some() {
        let install = || {
            let mut apt = command("apt-get");
            apt.args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing().map(|(_, package)| package));
            run(apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
        };
        if install().is_err() && run(command("apt-get").args(["update", "-qq"])).is_ok() {
            // A package that cannot be had is told by the caller, who knows what it was for.
            let _ = install();
        }
    }
    missing().map(|(program, _)| *program).collect()
}

/// Whether this process is root.
pub fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&match std::fs::metadata("/proc/self") {
        Ok(metadata) => metadata,
        Err(_) => return false,
    }) == 0
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
