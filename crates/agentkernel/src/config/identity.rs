//! Who programs run as: the caller, or a user of the image.

use super::{
    ConfigError, HostFacts,
    forms::quoted,
    image::FoundImage,
    nearest,
    passwd::{self, Account, Who, parse_id},
    protect,
};
use crate::{Identity, Image};
use rustix::{
    fd::OwnedFd,
    fs::{self, FileType, Mode, OFlags, ResolveFlags},
    io::{self, Errno},
};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// A passwd or group file that is longer is not one.
const MAX_LEN: u64 = 1 << 20;

/// Resolves `NAME`, `UID` or either with `:GID`; nobody: the caller.
///
/// In an image of the store `found` is what is known of it, and who it says it is for is the default. In a `host` image there are root, the caller and nobody, and every number; in a `dir:` image the users of its own
/// /etc/passwd, which is as untrusted as the rest of it. It must be known before there is a sandbox: its home, its line in
/// /etc/passwd and, for an ordinary user, the only id in there follow from it.
///
/// # Errors
/// If there is no such user.
pub fn identity(
    user: Option<&str>,
    image: &Image,
    found: Option<&FoundImage>,
    host: &HostFacts,
) -> Result<Identity, ConfigError> {
    let wanted = match (user, found) {
        (Some(user), _) => user,
        (None, None) => return Ok(caller(host).into()),
        // As Docker has it.
        (None, Some(found)) if found.user.is_empty() => "0",
        (None, Some(found)) => &found.user,
    };
    let text = wanted;
    let refused =
        |cause: &str, hint: String| ConfigError::value(format!("User {}: {cause}", quoted(text.as_ref())), hint);
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    // Digits are always a number: a user who is called "0" must not become anybody by it, nor the other way round.
    let numeric = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit());
    let who = match numeric {
        true => Who::Uid(parse_id(user).ok_or_else(|| refused("no such id", "Ids are below 4294967295".into()))?),
        false => Who::Name(user),
    };
    // An engine's containers have every id.
    let many_ids = host.many_ids || matches!(image, Image::Engine(_));
    let (known, names, file) = match image {
        Image::Host => {
            let accounts = [root(), caller(host), nobody()];
            let mut names: Vec<_> = accounts.iter().map(|account| account.name.clone()).collect();
            names.dedup();
            let known = accounts.into_iter().find(|account| match who {
                Who::Name(name) => account.name == name,
                Who::Uid(uid) => account.uid == uid,
            });
            (known, names, None)
        }
        Image::Dir(_) | Image::Oci(_) | Image::Engine(_) => {
            let read =
                |path: &Path, name| read_file(path, name).map_err(|errno| ConfigError::io(&path.join(name), errno));
            let (file, groups) = match (image, found) {
                (Image::Dir(path), _) => (read(path, "etc/passwd")?, read(path, "etc/group")?),
                (_, Some(found)) => (found.passwd.clone(), found.group.clone()),
                (_, None) => (Vec::new(), Vec::new()),
            };
            let known = passwd::find(&file, &who).map_err(|line| {
                let cause = format!("line {line} of the image's /etc/passwd is broken");
                refused(&cause, "Mend it, or use a number".into())
            })?;
            (known, passwd::names(&file), Some(groups))
        }
    };
    // As Docker has it: who asks for a group gets no others.
    let name = known.as_ref().filter(|_| group.is_none() && many_ids).map(|account| account.name.as_str());
    let groups = name.zip(file.as_deref()).map(|(name, file)| passwd::groups(file, name)).unwrap_or_default();
    let mut account = match (known, who) {
        (Some(account), _) => account,
        (None, Who::Uid(0)) => root(),
        (None, Who::Uid(uid)) => Account { name: "user".into(), uid, gid: uid, home: "/home/user".into() },
        (None, Who::Name(_)) => return Err(refused("not known", known_names(user, &names))),
    };
    if let Some(group) = group {
        let hint = || format!("Use its number, such as {user}:100");
        account.gid = match (parse_id(group), &file) {
            (Some(gid), _) => gid,
            (None, None) => return Err(refused("a group must be a number", hint())),
            (None, Some(file)) => {
                let broken = |line| refused(&format!("line {line} of the image's /etc/group is broken"), hint());
                let known = passwd::group(file, group).map_err(broken)?;
                known.ok_or_else(|| refused("the image's /etc/group has no such group", hint()))?
            }
        };
    }
    let groups = groups.into_iter().filter(|gid| *gid != account.gid).collect();
    Ok(Identity { groups, ..account.into() })
}

/// Whom one could have meant.
fn known_names(typed: &str, names: &[String]) -> String {
    /// More than these do not fit in a line.
    const SHOWN: usize = 12;
    if let Some(near) = nearest(typed, names.iter().map(String::as_str)) {
        return format!("Did you mean '{near}'?");
    }
    match names {
        [] => "The image's /etc/passwd names nobody: use a number".into(),
        names if names.len() > SHOWN => {
            let more = names.len() - SHOWN;
            format!("There are {} and {more} more; or use a number", names[..SHOWN].join(", "))
        }
        names => format!("There are {}; or use a number", names.join(", ")),
    }
}

fn root() -> Account {
    Account { name: "root".into(), uid: 0, gid: 0, home: "/root".into() }
}

fn nobody() -> Account {
    Account { name: "nobody".into(), uid: 65534, gid: 65534, home: "/home/nobody".into() }
}

fn caller(host: &HostFacts) -> Account {
    match host.uid {
        0 => root(),
        uid => Account { name: host.user.clone(), uid, gid: host.gid, home: host.home.clone() },
    }
}

impl From<Account> for Identity {
    fn from(account: Account) -> Self {
        let Account { name, uid, gid, home } = account;
        // The sandbox gets an empty directory of its own there: never over a part of the system (`bin`, `daemon`).
        let home: PathBuf = home.components().collect();
        let plain = home.components().all(|component| component != std::path::Component::ParentDir);
        let good = home == Path::new("/root") || (plain && protect::refuse(&home, std::iter::empty()).is_none());
        let home = if good { home } else { format!("/home/{name}").into() };
        Self { uid, gid, groups: Vec::new(), name, home }
    }
}

/// A file of the image's; empty if it has none.
fn read_file(image: &Path, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = match open_in(image, name, OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(bytes),
        other => other?,
    };
    if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    File::from(file).take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(|_| Errno::IO)?;
    if bytes.len() as u64 > MAX_LEN { Err(Errno::FBIG) } else { Ok(bytes) }
}

/// Opens a file in an image as a process would whose root is the image: no link leads out of it.
fn open_in(image: &Path, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let root = fs::open(image, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Whether an image has this file.
pub(super) fn image_has(image: &Image, path: &str) -> bool {
    let root = match image {
        Image::Host => Path::new("/"),
        Image::Dir(path) => path,
        // What is in one of those is known otherwise.
        Image::Oci(_) | Image::Engine(_) => return false,
    };
    open_in(root, path, OFlags::PATH).is_ok()
}

#[cfg(test)]
#[path = "identity_tests.rs"]
pub(super) mod tests;
