//! Hides who uses what lies in the cache. Who builds an entry, or runs on one, holds a lock on it (flock(2)); what nobody
//! holds and no start would take can go.

use super::ids;
use crate::SandboxId;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

/// What is being built has this at its end.
const TEMPORARY: &str = ".tmp";
/// Seconds for which it is left alone: its builder has no lock yet.
const YOUNG: i64 = 60;

/// A name under which an entry is built.
pub fn temporary(name: &str) -> io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{name}.{:016x}{TEMPORARY}", u64::from_ne_bytes(random)))
}

/// Keeps what is being built from being removed, for as long as the descriptor lives.
pub fn hold_new(entry: &OwnedFd) -> io::Result<()> {
    match rustix::fs::flock(entry, FlockOperation::NonBlockingLockExclusive) {
        // A file system without locks: then nothing is ever removed.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOLCK | Errno::BADF | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens an entry, and keeps it from being removed for as long as the descriptor lives. `None` if there is none.
pub fn hold(cache: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    loop {
        let entry = match open(cache, name) {
            Err(Errno::NOENT) => return Ok(None),
            result => result?,
        };
        // Waits for a sweep that looks at it, which takes no time, or removes it.
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&entry, FlockOperation::LockShared)) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOLCK | Errno::BADF | Errno::NOSYS) => return Ok(Some(entry)),
            Err(error) => return Err(error.into()),
        }
        if is_there(cache, name, &entry) {
            return Ok(Some(entry));
        }
    }
}

/// Makes a link to an entry, or leads one to another.
pub fn point(cache: &OwnedFd, link: &str, entry: &str) -> io::Result<()> {
    let temporary = temporary(link)?;
    rustix::fs::symlinkat(entry, cache, temporary.as_str())?;
    let renamed = rustix::fs::renameat(cache, temporary.as_str(), cache, link);
    if renamed.is_err() {
        // The first error is the one to report.
        let _ = rustix::fs::unlinkat(cache, temporary.as_str(), AtFlags::empty());
    }
    Ok(renamed?)
}

/// What no start would take and nobody holds: older images and programs, what was built when its builder died, and the
/// id ranges of sandboxes that do not exist. It is removed, or with `dry_run` only named.
pub fn sweep(
    cache: &OwnedFd,
    current: &[String],
    exists: &dyn Fn(&SandboxId) -> bool,
    dry_run: bool,
) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    for entry in Dir::read_from(cache)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let building = name.ends_with(TEMPORARY);
        let ours = name.starts_with("host-") || name.starts_with("init-");
        if !ours || current.iter().any(|current| current == name) {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(cache, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if building && now - stat.st_mtime < YOUNG {
            continue;
        }
        // Who runs on a program needs no name of it; it cannot be opened for a lock, either.
        let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if !link && (building || name.starts_with("host-")) {
            match open(cache, name) {
                Ok(entry) if rustix::fs::flock(&entry, FlockOperation::NonBlockingLockExclusive).is_ok() => {
                    if !dry_run {
                        remove_tree(cache, name)?;
                    }
                }
                // A program that was not finished, of which nobody may read a byte.
                Err(Errno::ACCESS) if !dry_run => remove_tree(cache, name)?,
                Err(Errno::ACCESS) => {}
                Ok(_) | Err(_) => continue,
            }
        } else if !dry_run {
            remove_tree(cache, name)?;
        }
        swept.push(name.to_owned());
    }
    for (slot, owner) in ids::claims(cache)? {
        // A sandbox exists before it claims, and no id comes twice: what does not exist now never will.
        if owner.is_none_or(|owner| !exists(&owner)) {
            if !dry_run {
                ids::unclaim(cache, slot)?;
            }
            swept.push(format!("id range {slot}"));
        }
    }
    Ok(swept)
}

fn open(cache: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(cache, name, flags, Mode::empty())
}

fn is_there(cache: &OwnedFd, name: &str, entry: &OwnedFd) -> bool {
    let (there, entry) = (rustix::fs::statat(cache, name, AtFlags::SYMLINK_NOFOLLOW), rustix::fs::fstat(entry));
    matches!((there, entry), (Ok(there), Ok(entry)) if (there.st_dev, there.st_ino) == (entry.st_dev, entry.st_ino))
}

/// Removes a file, or a directory with everything in it.
pub fn remove_tree(dir: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<()> {
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        result => return Ok(result?),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            remove_tree(&fd, entry.file_name())?;
        }
    }
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink, time::Duration};

    #[test]
    fn what_nobody_uses_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = OwnedFd::from(fs::File::open(folder.path()).unwrap());
        for name in
            ["host-new", "host-used", "host-old", "host-x.1.tmp", "host-y.2.tmp", "host-z.3.tmp", "other", "ids"]
        {
            fs::create_dir_all(folder.path().join(name).join("etc")).unwrap();
        }
        for name in ["init-new", "init-old", "init-x.4.tmp"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let ago = SystemTime::now() - Duration::from_secs(3600);
        for name in ["host-x.1.tmp", "host-y.2.tmp", "init-x.4.tmp"] {
            fs::File::open(folder.path().join(name)).unwrap().set_modified(ago).unwrap();
        }
        fs::remove_dir(folder.path().join("ids/etc")).unwrap();
        for (slot, id) in [("7", "0123456789ab"), ("8", "ffffffffffff")] {
            symlink(id, folder.path().join("ids").join(slot)).unwrap();
        }
        point(&cache, "host-new.last", "host-old").unwrap();
        point(&cache, "host-new.last", "host-new").unwrap();
        point(&cache, "host-old.last", "host-used").unwrap();
        let used = hold(&cache, "host-used").unwrap().unwrap();
        let building = open(&cache, "host-y.2.tmp").unwrap();
        hold_new(&building).unwrap();
        let names = || {
            let mut names: Vec<_> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };

        let current = ["host-new".to_owned(), "host-new.last".to_owned(), "init-new".to_owned()];
        let exists = |id: &SandboxId| id.as_str() == "0123456789ab";
        let all = names();
        let mut told = sweep(&cache, &current, &exists, true).unwrap();
        told.sort();
        assert_eq!(told, ["host-old", "host-old.last", "host-x.1.tmp", "id range 8", "init-old", "init-x.4.tmp"]);
        assert_eq!(names(), all);
        assert_eq!(sweep(&cache, &current, &exists, false).unwrap().len(), told.len());
        assert_eq!(
            names(),
            ["host-new", "host-new.last", "host-used", "host-y.2.tmp", "host-z.3.tmp", "ids", "init-new", "other"]
        );
        assert!(folder.path().join("ids/7").symlink_metadata().is_ok());
        assert!(folder.path().join("ids/8").symlink_metadata().is_err());

        drop((used, building));
        assert_eq!(sweep(&cache, &current, &exists, false).unwrap().len(), 2);
        assert!(hold(&cache, "host-used").unwrap().is_none());
    }
}
