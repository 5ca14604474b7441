//! The project's own chores: what CI runs, the architecture check, fuzzing, benchmarks, the test machine.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod arrows;
mod bench;
mod ci;
mod documents;
mod editor;
mod fuzz;
mod run;
mod vm;
mod wheels;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must pass before a change is merged
    Ci(ci::Arguments),
    /// Check the arrows between crates and modules, where unsafe code may stand, and the length of files
    Arrows,
    /// Check that links between documents lead somewhere
    Documents,
    /// Run every fuzz target for a while
    Fuzz(fuzz::Arguments),
    /// Measure agentkernel beside bubblewrap, crun and runc
    Bench(bench::Arguments),
    /// Run a command in a virtual machine: a stock Debian 12 cloud kernel with cgroup v2
    Vm(vm::Arguments),
    /// List anew the packages of Python's of which an agent is made, in its adapter, as pip would install them
    Wheels(wheels::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Ci(arguments) => ci::main(&arguments),
        Chore::Arrows => arrows::main().map(|()| ExitCode::SUCCESS),
        Chore::Documents => documents::main().map(|()| ExitCode::SUCCESS),
        Chore::Fuzz(arguments) => fuzz::main(&arguments),
        Chore::Bench(arguments) => bench::main(&arguments).map(|()| ExitCode::SUCCESS),
        Chore::Vm(arguments) => vm::main(&arguments),
        Chore::Wheels(arguments) => wheels::main(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
