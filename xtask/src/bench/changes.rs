//! Changes of files where refused ones go on record, beside where they do not.

use super::{Bench, Entry};
use crate::{ci, run};
use anyhow::{Context as _, Result};
use std::fs;

/// Files that one run unpacks and removes again.
const FILES: u32 = 1000;

#[derive(clap::Args)]
pub struct Arguments {
    /// How often each command is run
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let bench = Bench::new(ci::release()?)?;
    let files = bench.folder.path().join("files");
    fs::create_dir(&files)?;
    (0..FILES).try_for_each(|number| fs::write(files.join(number.to_string()), "some words\n").map(drop))?;
    let archive = bench.project().join("files.tar");
    run::capture(run::command("tar").arg("-C").arg(&files).arg("-cf").arg(&archive).arg(".")).context("Cannot pack")?;
    let rounds = super::Arguments::of(arguments.rounds);
    for (what, place) in [("in the project", "new"), ("in memory", "/tmp/new")] {
        println!("{FILES} files made and removed {what}:");
        let script = format!("mkdir {place} && tar -xf files.tar -C {place} && rm -r {place}");
        let of = |log: &str| bench.agentkernel(&["run", log, "--", "sh", "-c", &script]);
        let others = [("log_refused", Ok(of("--log-refused")))];
        bench.compare(Entry::new("agentkernel run", of("--log-refused=false")), others, &rounds)?;
    }
    Ok(())
}
