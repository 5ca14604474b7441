//! Files of the host and of its people, read or written from inside.

use crate::{
    case::{Case, Class::Files, Control, Outcome, Skip, missing, words, worst},
    context::Context,
    print,
};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "host-file-read",
        Files,
        "a file outside the workspace can be read",
        "mount_namespaces(7)",
        Control::Host,
        |ctx| Ok(read(Path::new(ctx.need("canary")?), ctx.token()?)),
    ),
    Case::new("host-tmp", Files, "the host's /tmp is the sandbox's /tmp", "pam_namespace(8)", Control::Host, |ctx| {
        Ok(read(Path::new(ctx.need("tmp_canary")?), ctx.token()?))
    }),
    Case::new(
        "host-run",
        Files,
        "the host's /run, with its sockets and tickets, is visible",
        "file-hierarchy(7)",
        Control::Host,
        |ctx| planted(ctx, "run_canary"),
    ),
    Case::new(
        "home-read",
        Files,
        "files in the caller's home can be read",
        "design: nothing of the caller's home",
        Control::Host,
        |ctx| planted(ctx, "home_canary"),
    ),
    Case::new(
        "home-listing",
        Files,
        "the names in the caller's home can be listed",
        "readdir(3)",
        Control::Host,
        home_listing,
    ),
    Case::new(
        "home-credentials",
        Files,
        "the caller's ssh, gpg, cloud or agent credentials, or shell history can be opened",
        "CVE-2024-42472",
        Control::Host,
        |ctx| same_files(ctx, "print_home"),
    ),
    Case::new("other-homes", Files, "homes of other people can be listed", "hier(7)", Control::Host, other_homes),
    Case::new(
        "password-hashes",
        Files,
        "/etc/shadow or /etc/gshadow of the host can be read",
        "shadow(5)",
        Control::HostRoot,
        |ctx| same_files(ctx, "print_shadow"),
    ),
    Case::new(
        "host-private-keys",
        Files,
        "ssh host keys or TLS private keys of the host can be read",
        "sshd(8)",
        Control::HostRoot,
        |ctx| same_files(ctx, "print_keys"),
    ),
    Case::new("sudoers", Files, "the host's sudo rules can be read", "sudoers(5)", Control::HostRoot, |ctx| {
        same_files(ctx, "print_sudoers")
    }),
    Case::new(
        "neighbour-project",
        Files,
        "a project beside the workspace can be read",
        "path_resolution(7)",
        Control::Host,
        |ctx| Ok(read(&ctx.workspace()?.join("../neighbour/secret"), ctx.token()?)),
    ),
    Case::new(
        "workspace-parent",
        Files,
        "the directory above the workspace can be listed",
        "path_resolution(7)",
        Control::Host,
        |ctx| Ok(lists(&ctx.workspace()?.join(".."), "neighbour")),
    ),
    Case::new(
        "symlink-out",
        Files,
        "a symbolic link made in the workspace leads out of it",
        "CVE-2024-42472",
        Control::Host,
        symlink_out,
    ),
    Case::new(
        "state-directory",
        Files,
        "the sandboxes' own state, with their records and sockets, can be opened",
        "CVE-2025-52881",
        Control::Host,
        state_directory,
    ),
    Case::new(
        "write-usr",
        Files,
        "a program can be planted in the host's /usr",
        "CVE-2019-5736",
        Control::HostRoot,
        |ctx| plant_in(ctx, &["/usr", "/usr/bin", "/usr/local/bin"]),
    ),
    Case::new("write-etc", Files, "a file can be planted in the host's /etc", "hier(7)", Control::HostRoot, |ctx| {
        plant_in(ctx, &["/etc", "/etc/cron.d", "/etc/profile.d", "/etc/systemd/system"])
    }),
    Case::new(
        "write-root",
        Files,
        "a file can be planted elsewhere in the host's root",
        "hier(7)",
        Control::HostRoot,
        |ctx| plant_in(ctx, &["/", "/var", "/var/lib", "/opt", "/boot", "/root", "/srv", "/home"]),
    ),
];

/// Whether `path` holds the token.
fn read(path: &Path, token: &str) -> Outcome {
    let mut text = String::new();
    match fs::File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text)) {
        Ok(_) if text.contains(token) => Outcome::Escaped(format!("read {}", path.display())),
        Ok(_) => Outcome::Held("another file of that name".to_owned()),
        // The runner has planted it, so a missing file is a wall.
        Err(error) => Outcome::Held(words(&error)),
    }
}

/// The same for a canary that the runner may have been unable to plant.
fn planted(ctx: &Context, key: &str) -> Result<Outcome, Skip> {
    match ctx.get(key) {
        Some(path) => Ok(read(Path::new(path), ctx.token()?)),
        None => Ok(Outcome::Absent("nothing could be planted there".to_owned())),
    }
}

/// Whether the listing of `dir` has `name`.
fn lists(dir: &Path, name: &str) -> Outcome {
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() == name)) {
                Outcome::Escaped(format!("{} lists {name}", dir.display()))
            } else {
                Outcome::Held(format!("{} lists nothing of the host", dir.display()))
            }
        }
        Err(error) => Outcome::Held(words(&error)),
    }
}

fn home_listing(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(canary) = ctx.get("home_canary").map(Path::new) else {
        return Ok(Outcome::Absent("nothing could be planted there".to_owned()));
    };
    match (canary.parent(), canary.file_name().and_then(|name| name.to_str())) {
        (Some(home), Some(name)) => Ok(lists(home, name)),
        _ => Err(Skip("'home_canary' is no path in a directory".to_owned())),
    }
}

/// Whether one of the host's files, known by size and time, can be opened. Contents are never read.
fn same_files(ctx: &Context, key: &str) -> Result<Outcome, Skip> {
    let prints = ctx.get(key).unwrap_or_default();
    Ok(worst(prints.split(' ').filter_map(print::parse).map(|(path, print)| match fs::File::open(&path) {
        Ok(file) if print::of(&file).is_some_and(|found| found == print) => {
            Outcome::Escaped(format!("opened {}", path.display()))
        }
        Ok(_) => Outcome::Held(format!("{} is another file", path.display())),
        Err(error) => Outcome::Held(format!("{}: {}", path.display(), words(&error))),
    })))
}

fn other_homes(ctx: &Context) -> Result<Outcome, Skip> {
    let prints = ctx.get("print_homes").unwrap_or_default();
    Ok(worst(prints.split(' ').filter_map(print::parse).map(|(path, print)| {
        let same = fs::File::open(&path).ok().and_then(|dir| print::of(&dir)).is_some_and(|found| found == print);
        match fs::read_dir(&path) {
            Ok(_) if same => Outcome::Escaped(format!("listed {}", path.display())),
            Ok(_) => Outcome::Held(format!("{} is another directory", path.display())),
            Err(error) => Outcome::Held(words(&error)),
        }
    })))
}

fn symlink_out(ctx: &Context) -> Result<Outcome, Skip> {
    let link = ctx.scratch("symlink")?;
    std::os::unix::fs::symlink(ctx.need("canary")?, &link).map_err(|error| Skip(words(&error)))?;
    let outcome = read(&link, ctx.token()?);
    let _ = fs::remove_file(&link);
    Ok(outcome)
}

fn state_directory(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(state) = ctx.get("state") else {
        return Ok(Outcome::Absent("the runner keeps no state".to_owned()));
    };
    Ok(match fs::read_dir(state) {
        Ok(_) => Outcome::Escaped(format!("listed {state}")),
        Err(error) => Outcome::Held(words(&error)),
    })
}

/// Creates a file in each directory that lets it. In a sandbox with layers of its own that is allowed: the runner
/// looks whether it came to be on the host.
fn plant_in(ctx: &Context, dirs: &[&str]) -> Result<Outcome, Skip> {
    let name = ctx.need("plant_name")?;
    let made: Vec<_> = dirs
        .iter()
        .map(|dir| PathBuf::from(dir).join(name))
        .map(|path| fs::File::create_new(&path).map(|_| path))
        .collect();
    if made.iter().any(Result::is_ok) {
        let paths: Vec<_> = made.iter().flatten().map(|path| path.display().to_string()).collect();
        return Ok(Outcome::Tried(format!("made {}", paths.join(" "))));
    }
    Ok(worst(
        made.into_iter()
            .filter_map(Result::err)
            .map(|error| if missing(&error) { Outcome::Absent(words(&error)) } else { Outcome::Held(words(&error)) }),
    ))
}
