//! The packages of Python's of which an agent is made, as its adapter lists them: pip says which, for each kind of machine.

use crate::run;
use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

/// The versions of Python for which there are some.
const PYTHONS: [&str; 2] = ["3.11", "3.12"];
/// The kinds of machine: as images call them, and as wheels do.
const PLATFORMS: [(&str, &str); 2] = [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")];
/// What a C library must be to be taken for one of these: that of every distribution that is still looked after.
const GLIBCS: [&str; 4] = ["2014", "_2_17", "_2_24", "_2_28"];
/// Between these lines of the adapter they stand.
const BEGIN: &str = "# What follows is made by `cargo xtask wheels`.\n";
const END: &str = "# Here it ends.\n";

#[derive(clap::Args)]
pub struct Arguments {
    /// The agent whose adapter is brought up to date
    agent: String,
    /// What pip is to install, with its version: 'aider-chat==0.86.2'
    requirement: String,
}

type Names = BTreeSet<String>;

pub fn main(arguments: &Arguments) -> Result<()> {
    let path = run::root().join(format!("crates/agentkernel/src/agents/data/{}.toml", arguments.agent));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, behind) = parts.with_context(|| format!("{} has no place for them", path.display()))?;
    let folder = run::target().join("wheels");
    let mut found: BTreeMap<(&str, &str), Names> = BTreeMap::new();
    for (platform, machine) in PLATFORMS {
        for python in PYTHONS {
            let dir = folder.join(format!("{machine}-{python}"));
            found.insert((platform, python), download(&arguments.requirement, python, machine, &dir)?);
        }
    }
    let listed = listed(&found, |platform, python, name| {
        let machine = PLATFORMS.iter().find(|(known, _)| *known == platform).map_or("", |(_, machine)| machine);
        line(&folder.join(format!("{machine}-{python}")).join(name))
    })?;
    fs::write(&path, format!("{before}{BEGIN}{listed}{END}{behind}")).with_context(|| path.display().to_string())
}

/// Brings what pip would install there, into an empty directory.
fn download(requirement: &str, python: &str, machine: &str, dir: &Path) -> Result<Names> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    let mut pip = run::command("pip3");
    pip.args(["download", "--quiet", "--only-binary", ":all:", "--implementation", "cp"]);
    pip.args([
        "--python-version",
        python,
        "--abi",
        &format!("cp{}", python.replace('.', "")),
        "--abi",
        "abi3",
        "--abi",
        "none",
    ]);
    for glibc in GLIBCS {
        pip.args(["--platform", &format!("manylinux{glibc}_{machine}")]);
    }
    run::run(pip.arg("--dest").arg(dir).arg(requirement))?;
    let names: std::io::Result<Vec<_>> = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect();
    let names: Names = names?.into_iter().filter_map(|name| name.into_string().ok()).collect();
    match names.iter().find(|name| !name.ends_with(".whl")) {
        Some(other) => bail!("{other} is no wheel"),
        None => Ok(names),
    }
}

/// The tables of the adapter: what is for every machine, for every Python on one, and for one Python on one.
fn listed(found: &BTreeMap<(&str, &str), Names>, line: impl Fn(&str, &str, &str) -> Result<String>) -> Result<String> {
    let mut text = String::new();
    let mut table = |file: &str, platform: Option<&str>, python: &str, names: &Names| -> Result<()> {
        let _ = write!(text, "\n[[packages]]\nfile = \"{file}\"\n");
        if let Some(platform) = platform {
            let _ = write!(text, "platform = \"{platform}\"\nlibc = \"glibc\"\n");
        }
        text.push_str("wheels = [\n");
        for name in names {
            let _ = writeln!(text, "  \"{}\",", line(platform.unwrap_or(PLATFORMS[0].0), python, name)?);
        }
        text.push_str("]\n");
        Ok(())
    };
    let of = |platform: &str, python: &str| {
        found
            .iter()
            .find(|((a, b), _)| (*a, *b) == (platform, python))
            .map(|(_, names)| names.clone())
            .unwrap_or_default()
    };
    let all = |mut sets: Vec<Names>| {
        let first = sets.pop().unwrap_or_default();
        sets.iter().fold(first, |common, other| common.intersection(other).cloned().collect())
    };
    let everywhere = all(found.values().cloned().collect());
    table("modules", None, PYTHONS[0], &everywhere)?;
    for (platform, _) in PLATFORMS {
        let here = all(PYTHONS.map(|python| of(platform, python)).to_vec());
        table("native", Some(platform), PYTHONS[0], &here.difference(&everywhere).cloned().collect())?;
        for python in PYTHONS {
            table(
                &format!("python{python}"),
                Some(platform),
                python,
                &of(platform, python).difference(&here).cloned().collect(),
            )?;
        }
    }
    Ok(text)
}

/// `NAME SIZE HASH`
fn line(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name} {} sha256-{}", bytes.len(), STANDARD.encode(Sha256::digest(&bytes))))
}
