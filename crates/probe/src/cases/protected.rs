//! What stays read-only in a writable workspace, since it is run or believed outside later on.

use crate::{
    case::{Case, Class::Protected, Control, Outcome, Skip, done, words},
    context::Context,
    syscall,
};
use rustix::fs::{CWD, Mode, OFlags};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::fd::AsRawFd,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

const CONFIGURATION: &str = "configuration escape: what the agent writes is used outside later";

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "git-hook-create",
        Protected,
        "a git hook can be planted, which the caller's next commit runs",
        "githooks(5)",
        Control::Host,
        |ctx| Ok(tried(git_hook(ctx.workspace()?))),
    ),
    Case::new(
        "git-config-append",
        Protected,
        ".git/config can name programs that the caller's git runs",
        "git-config(1)",
        Control::Host,
        |ctx| Ok(tried(append(&ctx.workspace()?.join(".git/config")))),
    ),
    Case::new(
        "git-config-hard-link",
        Protected,
        ".git/config can be written through a hard link",
        "link(2)",
        Control::Host,
        hard_link,
    ),
    Case::new(
        "git-config-lease",
        Protected,
        "a lease on .git/config holds up the caller's git, which opens it",
        "fcntl(2)",
        Control::Host,
        lease,
    ),
    Case::new(
        "git-directory-rename",
        Protected,
        ".git can be moved away and made anew",
        CONFIGURATION,
        Control::Host,
        git_rename,
    ),
    Case::new(
        "git-directory-swap",
        Protected,
        ".git can be replaced by a symbolic link",
        "CVE-2024-42472",
        Control::Host,
        git_swap,
    ),
    Case::new(
        "git-common-directory",
        Protected,
        ".git/commondir can lead the caller's git to another configuration",
        "gitrepository-layout(5)",
        Control::Host,
        |ctx| Ok(tried(fs::write(ctx.workspace()?.join(".git/commondir"), crate::plant::ELSEWHERE))),
    ),
    Case::new(
        "missing-path-create",
        Protected,
        "a file that the caller's shell runs can be made where there is none",
        "direnv(1)",
        Control::Host,
        |ctx| Ok(tried(fs::write(ctx.workspace()?.join(".envrc"), "# probe\n"))),
    ),
    Case::new(
        "git-protection-unmount",
        Protected,
        "the read-only mount over .git can be taken off",
        "umount(2)",
        Control::None("outside a sandbox nothing is mounted there"),
        git_unmount,
    ),
    Case::new(
        "sandbox-config-append",
        Protected,
        "agentkernel.toml can be written from inside",
        CONFIGURATION,
        Control::Host,
        |ctx| Ok(tried(append(&ctx.workspace()?.join("agentkernel.toml")))),
    ),
    Case::new(
        "sandbox-config-replace",
        Protected,
        "agentkernel.toml can be replaced by rename",
        "rename(2)",
        Control::Host,
        config_replace,
    ),
    Case::new(
        "sandbox-config-truncate",
        Protected,
        "agentkernel.toml can be emptied",
        "truncate(2)",
        Control::Host,
        |ctx| {
            Ok(tried(
                rustix::fs::open(
                    ctx.workspace()?.join("agentkernel.toml"),
                    OFlags::WRONLY | OFlags::TRUNC,
                    Mode::empty(),
                )
                .map(drop)
                .map_err(Into::into),
            ))
        },
    ),
    Case::new(
        "setuid-file-outside",
        Protected,
        "a set-user-ID file can be left in the workspace for others on the host",
        "inode(7)",
        Control::Host,
        setuid_file,
    ),
];

fn tried(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Tried("the write went through".to_owned()),
        Err(error) => Outcome::Held(words(&error)),
    }
}

fn append(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).open(path)?.write_all(b"# probe\n")
}

fn git_hook(workspace: &Path) -> io::Result<()> {
    let hooks = workspace.join(".git/hooks");
    fs::create_dir_all(&hooks)?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o755)
        .open(hooks.join("post-checkout"))?
        .write_all(b"#!/bin/sh\n")
}

fn hard_link(ctx: &Context) -> Result<Outcome, Skip> {
    let link = ctx.scratch("hard-link")?;
    let result = fs::hard_link(ctx.workspace()?.join(".git/config"), &link).and_then(|()| append(&link));
    let _ = fs::remove_file(&link);
    Ok(tried(result))
}

/// Taken and given back at once.
fn lease(ctx: &Context) -> Result<Outcome, Skip> {
    let file = fs::File::open(ctx.workspace()?.join(".git/config")).map_err(|error| Skip(words(&error)))?;
    let set = |kind| syscall!(libc::SYS_fcntl, file.as_raw_fd(), libc::F_SETLEASE, kind);
    let taken = set(libc::F_WRLCK).or_else(|_| set(libc::F_RDLCK));
    let _ = set(libc::F_UNLCK);
    Ok(done(taken, "took a lease"))
}

fn git_rename(ctx: &Context) -> Result<Outcome, Skip> {
    let (workspace, away) = (ctx.workspace()?, ctx.scratch("git-away")?);
    Ok(tried(fs::rename(workspace.join(".git"), away).and_then(|()| git_hook(workspace))))
}

fn git_swap(ctx: &Context) -> Result<Outcome, Skip> {
    let (workspace, own, link) = (ctx.workspace()?, ctx.scratch("git-own")?, ctx.scratch("git-link")?);
    let git = workspace.join(".git");
    let result = fs::create_dir(&own).and_then(|()| std::os::unix::fs::symlink(&own, &link)).and_then(|()| {
        rustix::fs::renameat_with(CWD, &link, CWD, &git, rustix::fs::RenameFlags::EXCHANGE).map_err(Into::into)
    });
    if result.is_err() {
        let _ = fs::remove_dir(&own);
        let _ = fs::remove_file(&link);
    }
    Ok(tried(result))
}

fn git_unmount(ctx: &Context) -> Result<Outcome, Skip> {
    let workspace = ctx.workspace()?;
    for path in [".git/hooks", ".git/config", ".git", "agentkernel.toml"] {
        let path = std::ffi::CString::new(workspace.join(path).into_os_string().into_encoded_bytes())
            .map_err(|_| Skip("a path with a NUL".to_owned()))?;
        if syscall!(libc::SYS_umount2, path.as_c_str(), libc::MNT_DETACH).is_ok() {
            return Ok(Outcome::Escaped(format!("unmounted {}", path.to_string_lossy())));
        }
    }
    Ok(Outcome::Held("nothing there can be unmounted".to_owned()))
}

fn config_replace(ctx: &Context) -> Result<Outcome, Skip> {
    let own = ctx.scratch("config")?;
    let result =
        fs::write(&own, "# probe\n").and_then(|()| fs::rename(&own, ctx.workspace()?.join("agentkernel.toml")));
    let _ = fs::remove_file(&own);
    Ok(tried(result))
}

/// By every call that sets a mode. Where the kernel ignores one, the next is tried.
fn setuid_file(ctx: &Context) -> Result<Outcome, Skip> {
    let path = ctx.scratch("setuid")?;
    let set = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o4000 != 0);
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o4755).open(&path);
    if opened.is_ok() && !set(&path) {
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o4755));
    }
    if opened.is_err() {
        let _ = fs::write(&path, "");
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o4755));
    }
    if !set(&path) {
        // fchmodat2(2), Linux 6.6: the same number on every architecture, unknown to older filters.
        const FCHMODAT2: i64 = 452;
        let text = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| Skip("a path with a NUL".to_owned()))?;
        let _ = syscall!(FCHMODAT2, libc::AT_FDCWD, text.as_c_str(), 0o4755, 0);
    }
    if set(&path) {
        return Ok(Outcome::Tried("made a set-user-ID file".to_owned()));
    }
    let _ = fs::remove_file(&path);
    Ok(Outcome::Held("the bit is refused or dropped".to_owned()))
}

impl From<Skip> for io::Error {
    fn from(skip: Skip) -> Self {
        Self::other(skip.0)
    }
}
