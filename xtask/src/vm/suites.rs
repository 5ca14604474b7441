//! The integration tests of the workspace in the machine: as root, and as an ordinary user with a delegated cgroup, on
//! two machines side by side.
//!
//! Whatever cargo calls a test is taken along, with the programs and examples that tests start, in the layout that they
//! have beside each other below `target`. A new suite needs no line here.

use super::{Arguments, Who, boot, prepare};
use crate::run::{self, Built};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

/// Seconds without a word from a machine until it hangs. The longest tests take a minute.
const TIMEOUT: u64 = 300;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The escapes, which is a minute.
    Escapes,
    /// Every suite.
    All,
}

/// The suite of [`Extent::Escapes`].
const ESCAPES: &str = "escape";

/// Runs them; gives the cause if this host cannot run the machine. `binary` is what end-to-end tests are about.
pub fn run(binary: &Path, extent: Extent) -> Result<Option<String>> {
    let disk = match prepare() {
        Ok(disk) => disk,
        Err(cause) => return Ok(Some(cause)),
    };
    let built = run::built(&["test", "--no-run", "--workspace"])?;
    let test = built.iter().find(|file| file.kind == "test").context("The workspace has no integration tests")?;
    // target/.../debug/deps/test
    let folder = test.path.parent().and_then(Path::parent).context("cargo builds tests at an unknown place")?;
    let stage = tempfile::Builder::new().prefix("suites-").tempdir_in(run::target().join("vm"))?;
    let mut names = Vec::new();
    for file in built.iter().filter(|file| is_wanted(file, extent)) {
        let place = file.path.strip_prefix(folder).context("cargo builds at two places")?;
        copy(&file.path, &stage.path().join(place))?;
        if file.kind == "test" {
            names.push(place.display().to_string());
        }
    }
    if names.is_empty() {
        bail!("There is no suite called {ESCAPES}");
    }
    copy(binary, &stage.path().join("agentkernel"))?;
    names.sort();
    let entries = fs::read_dir(stage.path())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;

    let machine = |who: Who| {
        boot(
            &Arguments {
                copy: entries.clone(),
                r#as: who,
                timeout: TIMEOUT,
                memory: 2048,
                command: vec!["sh".into(), "-c".into(), script(&names)],
                alias: Some(folder.to_owned()),
                prefix: format!("{who:?}| ").to_lowercase(),
            },
            &disk,
        )
    };
    let (root, user) = thread::scope(|scope| {
        let user = scope.spawn(|| machine(Who::User));
        (machine(Who::Root), user.join())
    });
    let user = user.map_err(|_| anyhow!("The thread of the user's machine panicked"))?;
    let failed: Vec<String> = [(Who::Root, root?), (Who::User, user?)]
        .into_iter()
        .filter(|(_, status)| *status != 0)
        .map(|(who, status)| format!("as {who:?} (status {status})").to_lowercase())
        .collect();
    if !failed.is_empty() {
        bail!("Tests failed in the virtual machine {}", failed.join(" and "));
    }
    Ok(None)
}

/// Tests, and what they start. Not the chores, and not the debug build of what comes as a release build.
fn is_wanted(file: &Built, extent: Extent) -> bool {
    match file.kind.as_str() {
        "test" => extent == Extent::All || file.name == ESCAPES,
        "example" => true,
        "bin" => {
            let is_test = file.path.parent().is_some_and(|folder| folder.ends_with("deps"));
            !is_test && !matches!(file.name.as_str(), "agentkernel" | "xtask")
        }
        _ => false,
    }
}

/// Copies a program without its symbols, which are most of it.
fn copy(from: &Path, to: &PathBuf) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    run::run(run::command("strip").arg("-o").arg(to).arg(from))
}

/// Emulation is slow: one test at a time, as one user in each machine, and every escape in one attack instead of an attack
/// for each. Every run tells its time.
fn script(names: &[String]) -> String {
    let tests = names.iter().map(|name| format!("./{name} --color never --test-threads=1 --skip cases::"));
    let attack = "env AGENTKERNEL_STATE_DIR=/tmp/attest ./agentkernel attest".to_owned();
    let runs: Vec<String> = tests
        .chain([attack])
        .map(|run| format!("start=$(date +%s); {run} || status=1; echo \"::: {run} took $(($(date +%s) - start)) s\""))
        .collect();
    format!("export AGENTKERNEL_TEST_SCALE=10 AGENTKERNEL_TEST_ALONE=1; status=0; {}; exit $status", runs.join("; "))
}
