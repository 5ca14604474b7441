//! What a sandboxed program inherits: descriptors, its directory, its environment.

use crate::{
    case::{Case, Class::Descriptors, Control, Outcome, Skip, words, worst},
    cases::mounts::from_top,
    context::Context,
    plant,
};
use std::{env, fs};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "descriptors-leaked",
        Descriptors,
        "descriptors of the runner are open in the program",
        "CVE-2024-21626",
        Control::Leak,
        |ctx| Ok(leaked(ctx)),
    ),
    Case::new(
        "descriptors-to-host",
        Descriptors,
        "an open directory leads to the host",
        "CVE-2024-21626",
        Control::Leak,
        to_host,
    ),
    Case::new(
        "descriptors-standard",
        Descriptors,
        "standard input, output or error is a directory or a device of the host",
        "CVE-2016-9962",
        Control::None("the runner gives the control pipes too"),
        |_| Ok(standard()),
    ),
    Case::new(
        "working-directory",
        Descriptors,
        "the working directory lies outside the root",
        "CVE-2024-21626",
        Control::None("outside a sandbox there is no other root"),
        |_| working_directory(),
    ),
    Case::new(
        "working-directory-climb",
        Descriptors,
        "the host can be reached by .. from the working directory",
        "CVE-2024-21626",
        Control::Host,
        |ctx| from_top(ctx, libc::AT_FDCWD),
    ),
    Case::new(
        "environment-leak",
        Descriptors,
        "variables of the caller's environment are passed on",
        "environ(7)",
        Control::Host,
        environment,
    ),
];

fn leaked(ctx: &Context) -> Outcome {
    if ctx.leaked.is_empty() {
        return Outcome::Held("only 0, 1 and 2 are open".to_owned());
    }
    let named: Vec<_> = ctx
        .leaked
        .iter()
        .map(|fd| match fs::read_link(format!("/proc/self/fd/{fd}")) {
            Ok(target) => format!("{fd} ({})", target.display()),
            Err(_) => fd.to_string(),
        })
        .collect();
    Outcome::Escaped(format!("open: {}", named.join(", ")))
}

fn to_host(ctx: &Context) -> Result<Outcome, Skip> {
    let fds = [0, 1, 2].iter().chain(&ctx.leaked);
    Ok(worst(fds.map(|fd| from_top(ctx, *fd)).collect::<Result<Vec<_>, _>>()?))
}

fn standard() -> Outcome {
    worst([0, 1, 2].map(|fd| match fs::metadata(format!("/proc/self/fd/{fd}")) {
        Ok(meta) if meta.is_dir() => Outcome::Escaped(format!("{fd} is a directory")),
        Ok(meta) if std::os::unix::fs::FileTypeExt::is_block_device(&meta.file_type()) => {
            Outcome::Escaped(format!("{fd} is a block device"))
        }
        _ => Outcome::Held("pipes, a terminal or a null device".to_owned()),
    }))
}

/// The kernel marks a directory outside the root as "(unreachable)".
fn working_directory() -> Result<Outcome, Skip> {
    let cwd = fs::read_link("/proc/self/cwd").map_err(|error| Skip(words(&error)))?;
    let reached = fs::metadata(&cwd).and_then(|there| fs::metadata(".").map(|here| (there, here)));
    use std::os::unix::fs::MetadataExt;
    Ok(match reached {
        Ok((there, here)) if (there.dev(), there.ino()) == (here.dev(), here.ino()) => {
            Outcome::Held(format!("{} is what it says", cwd.display()))
        }
        _ => Outcome::Escaped(format!("{} can't be reached from the root", cwd.display())),
    })
}

/// The runner tells hashes, not values.
fn environment(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(hashes) = ctx.get("environment") else {
        return Ok(Outcome::Absent("the caller has no variables of its own".to_owned()));
    };
    let leaked: Vec<_> = env::vars_os()
        .filter(|(name, value)| hashes.split(',').any(|hash| hash == plant::hash(name, value)))
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    Ok(if leaked.is_empty() {
        Outcome::Held("none of the caller's variables".to_owned())
    } else {
        Outcome::Escaped(format!("has the caller's {}", leaked.join(" ")))
    })
}
