//! Short runs of every fuzz target.

use crate::run;
use anyhow::{Context, Result};
use std::{fs, process::ExitCode};

#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Only this target
    target: Option<String>,
}

/// Runs the targets. The status says whether they were run at all.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    match smoke(arguments.seconds, arguments.target.as_deref())? {
        Some(cause) => {
            eprintln!("SKIPPED: fuzzing: {cause}");
            Ok(ExitCode::from(crate::vm::SKIPPED))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Runs each target for so many seconds over its seeds; gives the cause if this machine cannot.
pub fn smoke(seconds: u64, only: Option<&str>) -> Result<Option<String>> {
    if run::capture(
        run::command("cargo")
            .args(["+nightly", "--version"])
            .env_remove("RUSTUP_TOOLCHAIN")
            // It is asked for, and not fetched.
            .env("RUSTUP_AUTO_INSTALL", "0"),
    )
    .is_err()
    {
        return Ok(Some("there is no nightly toolchain (rustup toolchain install nightly --profile minimal)".into()));
    }
    let fuzz = || {
        let mut command = run::command("cargo");
        command.current_dir(run::root().join("fuzz")).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command.args(["+nightly", "fuzz"]);
        command
    };
    if run::find("cargo-fuzz").is_none() {
        let mut install = run::command("cargo");
        install.args(["install", "--quiet", "--locked", "cargo-fuzz"]);
        if let Err(error) = run::run(&mut install) {
            return Ok(Some(format!("{error:#}")));
        }
    }
    let list = run::capture(fuzz().arg("list"))?;
    if only.is_none() {
        // All at once: one after the other, each would wait for the linker alone.
        run::run(fuzz().args(["build", "--target", TARGET]))?;
    }
    for target in list.lines().filter(|target| only.is_none_or(|only| only == *target)) {
        let folder = run::root().join("fuzz");
        let corpus = folder.join("corpus").join(target);
        fs::create_dir_all(&corpus).context("Cannot make the corpus")?;
        let mut command = fuzz();
        command.args(["run", "--target", TARGET, target]).arg(&corpus);
        let seeds = folder.join("seeds").join(target);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        // What the sanitizer keeps of freed memory would count as ours.
        command.env("ASAN_OPTIONS", "quarantine_size_mb=16");
        let limit = format!("-max_total_time={seconds}");
        run::run(command.args([
            "--",
            &limit,
            "-rss_limit_mb=1024",
            "-timeout=10",
            "-verbosity=0",
            "-print_final_stats=1",
        ]))?;
    }
    Ok(None)
}

/// The sanitizers need a shared C library, whatever the project ships.
#[cfg(target_arch = "x86_64")]
const TARGET: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-gnu";
