//! A project with what must stay read-only in it, a neighbour beside it, and whether they are still as planted.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

const GIT_CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n";
/// Where a `.git/commondir` of the probe's leads.
pub const ELSEWHERE: &str = "../elsewhere\n";
const SANDBOX_CONFIG: &str = "# A project of `agentkernel attest`.\n";

/// The directory that a sandbox gets as its workspace.
pub fn workspace(dir: &Path) -> PathBuf {
    dir.join("projects/work")
}

/// Makes both.
pub fn plant(dir: &Path, token: &str) -> io::Result<()> {
    let neighbour = dir.join("projects/neighbour");
    fs::create_dir_all(&neighbour)?;
    fs::write(neighbour.join("secret"), token)?;
    fs::create_dir(dir.join("projects/beside"))?;
    fs::create_dir(workspace(dir))?;
    fill(dir)
}

fn fill(dir: &Path) -> io::Result<()> {
    let work = workspace(dir);
    for part in ["objects", "refs/heads", "hooks"] {
        fs::create_dir_all(work.join(".git").join(part))?;
    }
    fs::write(work.join(".git/HEAD"), "ref: refs/heads/main\n")?;
    fs::write(work.join(".git/config"), GIT_CONFIG)?;
    fs::write(work.join("agentkernel.toml"), SANDBOX_CONFIG)?;
    std::os::unix::fs::symlink(dir, work.join("link-out"))
}

/// What was changed; then it is made good. What is still itself stays, since a sandbox may have mounts on it that
/// would go with it.
pub fn disturbed(dir: &Path, token: &str) -> Option<String> {
    let found = changed(dir, token)?;
    let work = workspace(dir);
    for entry in fs::read_dir(&work).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() == ".git" => mend(&path),
            // An empty one may be a placeholder of the sandbox's.
            Ok(kind) if kind.is_dir() && fs::read_dir(&path).is_ok_and(|mut inside| inside.next().is_none()) => Ok(()),
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
            Ok(kind) if kind.is_file() && entry.file_name() == "agentkernel.toml" => Ok(()),
            _ => fs::remove_file(path),
        };
    }
    let _ = fill(dir);
    let _ = fs::write(dir.join("projects/neighbour/secret"), token);
    Some(found)
}

fn mend(git: &Path) -> io::Result<()> {
    if fs::read_to_string(git.join("commondir")).is_ok_and(|text| text == ELSEWHERE) {
        fs::remove_file(git.join("commondir"))?;
    }
    for entry in fs::read_dir(git.join("hooks"))? {
        let path = entry?.path();
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(path));
    }
    Ok(())
}

fn changed(dir: &Path, token: &str) -> Option<String> {
    let work = workspace(dir);
    let is = |path: &str, text: &str| {
        let path = work.join(path);
        path.symlink_metadata().is_ok_and(|meta| meta.is_file())
            && fs::read_to_string(path).is_ok_and(|found| found == text)
    };
    if !work.join(".git").symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Some(".git was replaced".to_owned());
    }
    if !is(".git/config", GIT_CONFIG) {
        return Some(".git/config was changed".to_owned());
    }
    if fs::read_dir(work.join(".git/hooks")).map_or(true, |mut hooks| hooks.next().is_some()) {
        return Some(".git/hooks was changed".to_owned());
    }
    if is(".git/commondir", ELSEWHERE) {
        return Some(".git/commondir leads elsewhere".to_owned());
    }
    if work.join(".envrc").symlink_metadata().is_ok_and(|meta| meta.is_file() || meta.is_symlink()) {
        return Some(".envrc was made".to_owned());
    }
    if !is("agentkernel.toml", SANDBOX_CONFIG) {
        return Some("agentkernel.toml was changed".to_owned());
    }
    if fs::read_to_string(dir.join("projects/neighbour/secret")).map_or(true, |text| text != token) {
        return Some("the neighbour's secret was changed".to_owned());
    }
    let setuid = fs::read_dir(&work).into_iter().flatten().flatten().find(|entry| {
        entry.path().symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o4000 != 0)
    });
    setuid.map(|entry| {
        let owner = entry.metadata().map_or(u32::MAX, |meta| meta.uid());
        format!("a set-user-ID file of user {owner} was left in the workspace")
    })
}
