//! What must pass before a change is merged, in one command, with every skipped part counted.

use crate::{
    arrows, documents, editor, fuzz, run,
    vm::{self, suites::Extent},
};
use anyhow::{Context, Result};
use std::{collections::BTreeSet, fs, io, path::PathBuf, process::ExitCode, time::Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds for each fuzz target
    #[arg(long, default_value_t = 5)]
    fuzz_seconds: u64,
    /// Only these steps
    #[arg(value_enum)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// rustfmt has nothing to change
    Format,
    /// clippy has nothing to say
    Lint,
    /// The architecture check
    Arrows,
    /// Licences, advisories, duplicates and sources of dependencies
    Deny,
    /// Documents build and their links lead somewhere
    Documents,
    /// Types, tests and package of the extension of VS Code
    Editor,
    /// Every test on this kernel
    Test,
    /// Every integration test on a Debian 12 cloud kernel with cgroup v2; the escapes only, if no step is named
    Vm,
    /// Every fuzz target for a short while
    Fuzz,
}

const STEPS: [Step; 9] = [
    Step::Format,
    Step::Lint,
    Step::Arrows,
    Step::Deny,
    Step::Documents,
    Step::Editor,
    Step::Vm,
    Step::Fuzz,
    // Last, so that its closing line is the one to be seen.
    Step::Test,
];

/// What tests and fuzz targets call or are built with, as (program or file, Debian package).
const TOOLS: [(&str, &str); 46] = [
    ("bash-static", "bash-static"),
    ("busybox", "busybox-static"),
    ("bwrap", "bubblewrap"),
    ("bzip2", "bzip2"),
    ("c++", "g++"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("dbus-daemon", "dbus-daemon"),
    ("docker-registry", "docker-registry"),
    ("dockerd", "docker.io"),
    ("fish", "fish"),
    ("git", "git"),
    ("gnome-keyring-daemon", "gnome-keyring"),
    ("go", "golang-go"),
    ("htpasswd", "apache2-utils"),
    ("ip", "iproute2"),
    ("javac", "default-jdk-headless"),
    ("less", "less"),
    ("mmdebstrap", "mmdebstrap"),
    ("nginx", "nginx-light"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("pg_ctlcluster", "postgresql"),
    ("pip3", "python3-pip"),
    ("podman", "podman"),
    ("psql", "postgresql-client"),
    ("python3", "python3"),
    ("redis-cli", "redis-tools"),
    ("redis-server", "redis-server"),
    ("secret-tool", "libsecret-tools"),
    ("setfattr", "attr"),
    ("setpriv", "util-linux"),
    ("skopeo", "skopeo"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("tmux", "tmux"),
    ("top", "procps"),
    ("umoci", "umoci"),
    ("vi", "vim-tiny"),
    ("wget", "wget"),
    ("zsh", "zsh"),
    ("zstd", "zstd"),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
    ("/usr/lib/python3/dist-packages/aiohttp/__init__.py", "python3-aiohttp"),
    ("/usr/share/doc/musl/copyright", "musl"),
    ("/usr/lib/python3/dist-packages/requests/__init__.py", "python3-requests"),
];

/// How a step went.
enum Outcome {
    Passed,
    Skipped(String),
}

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let (mut failed, mut skipped, mut passed) = (Vec::new(), Vec::new(), 0);
    let missing = run::need(&TOOLS);
    if !missing.is_empty() {
        skipped.push(format!("tools: {} could not be installed", missing.join(", ")));
    }
    for step in STEPS.iter().filter(|step| arguments.steps.is_empty() || arguments.steps.contains(step)) {
        println!("::: {step:?}");
        let start = Instant::now();
        match take(*step, arguments, &mut skipped) {
            Ok(Outcome::Passed) => passed += 1,
            Ok(Outcome::Skipped(cause)) => {
                println!("SKIPPED: {step:?}: {cause}");
                skipped.push(format!("{step:?}: {cause}"));
            }
            Err(error) => {
                println!("FAILED: {step:?}: {error:#}");
                failed.push(format!("{step:?}: {error:#}"));
            }
        }
        println!("::: {step:?} took {:.0} s", start.elapsed().as_secs_f32());
    }
    println!("ci: {passed} steps passed, {} failed, {} skipped", failed.len(), skipped.len());
    for (what, list) in [("failed", &failed), ("skipped", &skipped)] {
        list.iter().for_each(|line| println!("  {what}: {line}"));
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn take(step: Step, arguments: &Arguments, skipped: &mut Vec<String>) -> Result<Outcome> {
    match step {
        Step::Format if !has("fmt") => return Ok(Outcome::Skipped("there is no rustfmt".into())),
        Step::Format => {
            run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
            run::run(run::cargo().args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))?;
        }
        Step::Lint if !has("clippy") => return Ok(Outcome::Skipped("there is no clippy".into())),
        Step::Lint => {
            let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
            run::run(run::cargo().args(clippy))?;
        }
        Step::Arrows => arrows::main()?,
        Step::Deny if !has("deny") => {
            return Ok(Outcome::Skipped("cargo-deny is not installed (cargo install --locked cargo-deny)".into()));
        }
        Step::Deny => run::run(run::cargo().args(["deny", "check", "bans", "licenses", "sources"]))?,
        Step::Documents => {
            documents::main()?;
            let mut doc = run::cargo();
            doc.args(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
            run::run(&mut doc)?;
        }
        Step::Editor => {
            if let Some(cause) = editor::main()? {
                return Ok(Outcome::Skipped(cause));
            }
        }
        Step::Test => {
            let binary = release()?;
            let mut test = run::cargo();
            if has("nextest") {
                test.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
            } else {
                println!("cargo-nextest is not installed: cargo test runs the same tests");
                test.args(["test", "--workspace", "--no-fail-fast"]);
            }
            let list = run::root().join("target/skipped");
            match fs::remove_file(&list) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            let result = run::run(test.env(BINARY, binary).env(SKIPPED, &list));
            // Tests name what they could not try here, several of them the same.
            let lines: BTreeSet<String> =
                fs::read_to_string(&list).unwrap_or_default().lines().map(str::to_owned).collect();
            skipped.extend(lines.iter().map(|line| format!("Test: {line}")));
            result?;
        }
        Step::Vm => {
            let extent = if arguments.steps.is_empty() { Extent::Escapes } else { Extent::All };
            if let Some(cause) = vm::suites::run(&release()?, extent)? {
                return Ok(Outcome::Skipped(cause));
            }
            if extent != Extent::All {
                skipped.push("Vm: all suites but the escapes: `cargo xtask ci vm` runs them in eight minutes".into());
            }
        }
        Step::Fuzz => {
            if let Some(cause) = fuzz::smoke(arguments.fuzz_seconds, None)? {
                return Ok(Outcome::Skipped(cause));
            }
        }
    }
    Ok(Outcome::Passed)
}

/// Tells the tests which binary they are about.
const BINARY: &str = "AGENTKERNEL_BIN";
/// Tells the tests where to name what they skip.
const SKIPPED: &str = "AGENTKERNEL_SKIPPED";

/// Builds what a user would run, and says where it is.
pub fn release() -> Result<PathBuf> {
    let built = run::built(&["build", "--release", "--package", "agentkernel"])?;
    built
        .into_iter()
        .find(|file| file.name == "agentkernel")
        .map(|file| file.path)
        .context("cargo built no agentkernel")
}

/// Whether cargo has this subcommand.
fn has(subcommand: &str) -> bool {
    run::capture(run::cargo().args([subcommand, "--version"])).is_ok()
}
