//! The architecture check: who may use whom, where `unsafe` and child processes may stand, how long a file may be.
//!
//! Sources are scanned as tokens without comments and strings, not parsed: paths that begin with `crate::` or climb
//! with `super::` are what names a room, and nothing else in this code base does.

use crate::run;
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

mod scan;

/// Which of our crates each crate may depend on.
const CRATES: [(&str, &[&str]); 11] = [
    ("agentkernel-wire", &[]),
    ("agentkernel-jail", &[]),
    ("agentkernel-archive", &["agentkernel-jail"]),
    ("agentkernel-dockerfile", &[]),
    ("agentkernel-oci", &[]),
    ("agentkernel-probe", &["agentkernel", "agentkernel-wire"]),
    ("agentkernel-egress", &["agentkernel-jail", "agentkernel-wire"]),
    ("agentkernel-init", &["agentkernel-archive", "agentkernel-jail", "agentkernel-wire"]),
    (
        "agentkernel",
        &[
            "agentkernel-archive",
            "agentkernel-dockerfile",
            "agentkernel-egress",
            "agentkernel-jail",
            "agentkernel-oci",
            "agentkernel-wire",
        ],
    ),
    ("agentkernel-tests", &["agentkernel-jail", "agentkernel-oci", "agentkernel-wire"]),
    ("xtask", &[]),
];

/// Which rooms of the binary each room may not touch.
const ROOMS: [(&str, &[&str]); 27] = [
    ("acp", &["backend", "cli", "mcp", "serve", "supervisor"]),
    ("agents", &["acp", "backend", "cli", "client", "mcp", "serve", "store", "supervisor"]),
    ("attest", &["acp", "backend", "cli", "mcp", "serve", "supervisor"]),
    ("connection", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("credentials", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("guest", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("main", &["acp", "backend", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("lib", &[]),
    ("event", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "supervisor"]),
    ("cli", &["backend", "serve", "supervisor"]),
    ("serve", &["backend", "cli", "supervisor"]),
    ("client", &["acp", "backend", "cli", "mcp", "serve"]),
    ("mcp", &["acp", "backend", "cli", "serve", "supervisor"]),
    ("config", &["acp", "backend", "cli", "client", "mcp", "serve", "store", "supervisor"]),
    ("plugin", &["acp", "backend", "cli", "client", "mcp", "serve", "supervisor"]),
    ("doctor", &["acp", "cli", "client", "mcp", "serve", "supervisor"]),
    ("edit", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("engine", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "supervisor"]),
    ("store", &["acp", "backend", "cli", "client", "mcp", "serve", "supervisor"]),
    ("image", &["acp", "backend", "cli", "client", "mcp", "serve", "supervisor"]),
    ("workspace", &["acp", "backend", "cli", "client", "mcp", "serve", "supervisor"]),
    ("supervisor", &["acp", "cli", "client", "config", "mcp", "serve"]),
    ("backend", &["acp", "cli", "client", "config", "egress", "mcp", "serve", "supervisor"]),
    ("spec", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("json", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("lines", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
    ("walk", &["acp", "backend", "cli", "client", "config", "mcp", "serve", "store", "supervisor"]),
];

/// Where `unsafe` may be written. Every other crate forbids it in its root.
const UNSAFE: [&str; 2] = ["crates/jail/src/sys/", "crates/probe/src/sys.rs"];
/// Crates whose root need not forbid unsafe code.
const UNSAFE_CRATES: [&str; 2] = ["crates/jail/", "crates/probe/"];
/// Where programs may be started through `std::process::Command`. The product starts its processes itself.
const COMMANDS: [&str; 5] =
    ["xtask/", "tests/", "crates/agentkernel/build.rs", "crates/agentkernel/src/attest/", "_tests.rs"];
/// Folders of tests and examples inside a crate.
const TEST_FOLDERS: [&str; 2] = ["/tests/", "/examples/"];
/// The length at which a file has become two.
const LONGEST: usize = 800;

pub fn main() -> Result<()> {
    let mut faults = crates()?;
    let mut count = 0;
    for path in sources()? {
        let text = fs::read_to_string(run::root().join(&path)).with_context(|| format!("Cannot read {path}"))?;
        faults.extend(file(&path, &text));
        count += 1;
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} arrows point the wrong way", faults.len());
    }
    println!("arrows: {count} files, all well");
    Ok(())
}

/// Every Rust file of the repository, relative to its root.
fn sources() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> = ["crates", "xtask", "tests", "benches", "fuzz"].map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(run::root().join(&folder)) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}

/// What is wrong between crates.
fn crates() -> Result<Vec<String>> {
    let text = run::capture(run::cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let list = |value: &serde_json::Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata, "packages");
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let mut faults = Vec::new();
    for package in &packages {
        let from = name(package);
        let Some((_, allowed)) = CRATES.iter().find(|(known, _)| *known == from) else {
            faults.push(format!("{from}: a new crate: say in xtask/src/arrows.rs whom it may use"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let to = name(&dependency);
            // What tests share, only tests may use.
            let shared = to == "agentkernel-tests" && dependency["kind"] == "dev";
            if ours.contains(&to) && !shared && !allowed.contains(&to.as_str()) {
                faults.push(format!("{from} may not depend on {to}"));
            }
        }
    }
    Ok(faults)
}

/// What is wrong in one file.
fn file(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST {
        faults.push(format!("{path}: {lines} lines; a file stops at {LONGEST}"));
    }
    let tokens = scan::tokens(text);
    if !UNSAFE.iter().any(|place| path.starts_with(place))
        && let Some(line) = tokens.iter().find(|token| token.text == "unsafe").map(|token| token.line)
    {
        faults.push(format!("{path}:{line}: unsafe is written in {} only", UNSAFE.join(" and ")));
    }
    let is_root = ["src/lib.rs", "src/main.rs"].iter().any(|root| path.ends_with(root));
    if is_root
        && !UNSAFE_CRATES.iter().any(|place| path.starts_with(place))
        && !text.contains("#![forbid(unsafe_code)]")
    {
        faults.push(format!("{path}: a crate's root has #![forbid(unsafe_code)]"));
    }
    let tests = TEST_FOLDERS.iter().any(|folder| path.contains(folder));
    if !tests && !COMMANDS.iter().any(|place| path.starts_with(place) || path.ends_with(place)) {
        for line in scan::paths(&tokens, &["std", "process", "Command"]) {
            faults.push(format!("{path}:{line}: std::process::Command is for tools and tests only"));
        }
    }
    if let Some(inner) = path.strip_prefix("crates/agentkernel/src/") {
        faults.extend(rooms(path, inner, &tokens));
    }
    faults
}

/// What is wrong between rooms of the binary. `inner` is the path below its `src`.
fn rooms(path: &str, inner: &str, tokens: &[scan::Token]) -> Vec<String> {
    let room = inner.split(['/', '.']).next().unwrap_or(inner).trim_end_matches("_tests");
    let Some((_, forbidden)) = ROOMS.iter().find(|(known, _)| *known == room) else {
        return vec![format!("{path}: a new room: say in xtask/src/arrows.rs whom it may not touch")];
    };
    let module = Path::new(inner).with_extension("");
    let is_test = inner.ends_with("_tests.rs");
    let depth =
        module.components().filter(|part| !matches!(part.as_os_str().to_str(), Some("mod" | "lib" | "main"))).count()
            + usize::from(is_test);
    let touched = scan::roots(tokens, depth, if room == "main" { "agentkernel" } else { "crate" });
    touched
        .into_iter()
        .filter(|(name, _)| forbidden.contains(&name.as_str()))
        .map(|(name, line)| format!("{path}:{line}: {room} may not touch {name}"))
        .collect()
}

#[cfg(test)]
#[path = "arrows_tests.rs"]
mod tests;
