//! Hides the lowest layer of image `host`: a small directory in the cache with mount points, links into /usr, and
//! the part of the host's /etc that programs need and everybody may read.
//!
//! It is built once and published by rename under a name that is a hash of what it was built from, so a changed
//! host gives a new one. Sandboxes that run keep the old one; `gc` may remove those that no sandbox uses.
//!
//! To look at every file that was copied takes longer than all else that the parent does in a start. So a start takes
//! the one that the last found to be right, to which a link in the cache leads, and looks while stage works; if the
//! host has changed, it begins again.

use super::cache;
use crate::Image;
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, StatxFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Write as _},
};

/// Raised when the layout of a skeleton changes, so that an older one is not used.
const VERSION: u32 = 3;

/// Everybody may look into a directory.
pub const OPEN: u32 = 0o055;

/// Empty directories, and their modes.
pub const DIRECTORIES: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// What of /etc is copied. A list of what is allowed, because nobody can list everything that administrators keep
/// there: whatever is not named here (shadow, sudoers, ssh, private keys, machine-id, tokens in pip.conf or npmrc,
/// VPN, cloud and container configuration) does not exist inside. Named are: what the C library, the dynamic linker
/// and TLS libraries read (trust anchors, never ssl/private); what shells and terminals read; the defaults of
/// language runtimes and common tools, which Debian, Fedora and others install there with their packages.
/// From directories, only what everybody may read is taken, at any depth.
const ETC: &[&str] = &[
    // Library: linking, names, time, locale.
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "gai.conf",
    "host.conf",
    "protocols",
    "services",
    "networks",
    "ethertypes",
    "rpc",
    "netconfig",
    "localtime",
    "timezone",
    "locale.alias",
    "locale.conf",
    "locale.gen",
    "default/locale",
    "xattr.conf",
    // Trust anchors and cryptographic policy, public by nature.
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    // What this system is.
    "alternatives",
    "alpine-release",
    "arch-release",
    "debian_version",
    "dpkg/origins",
    "fedora-release",
    "issue",
    "lsb-release",
    "os-release",
    "redhat-release",
    "system-release",
    // Shells, terminals, editors.
    "bash.bashrc",
    "bash_completion.d",
    "bashrc",
    "csh.cshrc",
    "csh.login",
    "DIR_COLORS",
    "environment.d",
    "fish",
    "inputrc",
    "nanorc",
    "profile",
    "profile.d",
    "screenrc",
    "shells",
    "skel",
    "terminfo",
    "tmux.conf",
    "vim",
    "vimrc",
    "zsh",
    "zshrc",
    // Languages and tools.
    "emacs",
    "fonts",
    "gdb",
    "gitconfig",
    "glvnd",
    "gprofng.rc",
    "groff",
    "ImageMagick-6",
    "ImageMagick-7",
    "java",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java-25-openjdk",
    "magic",
    "magic.mime",
    "man_db.conf",
    "manpath.config",
    "maven",
    "mime.types",
    "mke2fs.conf",
    "OpenCL",
    "papersize",
    "perl",
    "php",
    "python2.7",
    "python3",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "R",
    "ruby",
    "sgml",
    "texmf",
    "vulkan",
    "xdg",
    "xml",
];

/// Larger files are no configuration.
const MAX_FILE: u64 = 16 << 20;
/// Deeper directories are no configuration either.
const MAX_DEPTH: u32 = 16;

/// The lowest layer, and what lies over it.
#[derive(Debug)]
pub struct Skeleton {
    /// The directory.
    pub dir: OwnedFd,
    /// Directories of the host below `/` that are overlays of their own.
    pub programs: Vec<&'static str>,
    /// What it was built from, if nobody has looked yet whether that is still so.
    pub unproved: Option<Unproved>,
}

/// A skeleton that may be out of date.
#[derive(Debug)]
pub struct Unproved {
    etc: OwnedFd,
    hash: DefaultHasher,
    name: String,
}

impl Unproved {
    /// Whether the host still is what it was built from.
    pub fn prove(self) -> io::Result<bool> {
        Ok(whole(&self.etc, self.hash)? == self.name)
    }
}

/// What a skeleton is made from.
struct Host {
    etc: OwnedFd,
    programs: Vec<&'static str>,
    links: Vec<(&'static str, CString)>,
    /// Of what is at the top.
    hash: DefaultHasher,
}

impl Host {
    /// The link in the cache that leads to the last skeleton.
    fn pointer(&self) -> String {
        format!("host-{:016x}{LAST}", self.hash.finish())
    }
}

/// At the end of a link's name.
const LAST: &str = ".last";

/// Opens the skeleton of this host, and builds it first if there is none. It is not removed while it is open. With
/// `proved`, it is surely the right one.
///
/// # Errors
/// If the cache cannot be written.
pub fn prepare(cache: &OwnedFd, proved: bool) -> io::Result<Skeleton> {
    let host = examine()?;
    let pointer = host.pointer();
    let last =
        rustix::fs::readlinkat(cache, pointer.as_str(), Vec::new()).ok().and_then(|name| name.into_string().ok());
    if let (false, Some(name)) = (proved, &last)
        && let Some(dir) = cache::hold(cache, name)?
    {
        let unproved = Unproved { etc: host.etc, hash: host.hash, name: name.clone() };
        return Ok(Skeleton { dir, programs: host.programs, unproved: Some(unproved) });
    }
    loop {
        // Before it is copied: what changes meanwhile is seen by the next start.
        let name = whole(&host.etc, host.hash.clone())?;
        let Some(dir) = cache::hold(cache, &name)? else {
            build(cache, &host, &name)?;
            continue;
        };
        if last.as_ref() != Some(&name) {
            cache::point(cache, &pointer, &name)?;
        }
        return Ok(Skeleton { dir, programs: host.programs, unproved: None });
    }
}

/// The names in the cache that belong to this host's skeleton.
///
/// # Errors
/// If the host's directories cannot be examined.
pub fn current() -> io::Result<[String; 2]> {
    let host = examine()?;
    Ok([host.pointer(), whole(&host.etc, host.hash)?])
}

fn examine() -> io::Result<Host> {
    let host = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let etc = rustix::fs::openat(&host, "etc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut hash = DefaultHasher::new();
    VERSION.hash(&mut hash);
    let mut programs = Vec::new();
    let mut links = Vec::new();
    for &name in &Image::PROGRAMS {
        match kind(&host, name)? {
            Some(FileType::Symlink) => {
                let target = rustix::fs::readlinkat(&host, name, Vec::new())?;
                (name, target.as_bytes()).hash(&mut hash);
                links.push((name, target));
            }
            Some(FileType::Directory) if name != "opt" || !is_empty(&host, name) => {
                name.hash(&mut hash);
                programs.push(name);
            }
            _ => {}
        }
    }
    Ok(Host { etc, programs, links, hash })
}

/// The name of a skeleton: of what is at the top, and of everything in /etc that is copied.
fn whole(etc: &OwnedFd, mut hash: DefaultHasher) -> io::Result<String> {
    for &name in ETC {
        identify(etc, &CString::new(name)?, None, MAX_DEPTH, &mut hash);
    }
    Ok(format!("host-{:016x}", hash.finish()))
}

fn kind(dir: &OwnedFd, name: &str) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_empty(dir: &OwnedFd, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return true };
    let Ok(mut entries) = Dir::new(fd) else { return true };
    !entries.any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")))
}

/// Adds what changes when a file, or anything in a directory, changes: its mode and contents change its ctime. A link
/// cannot be changed, only replaced, and that changes its directory: most of /etc is links, and they need no look.
fn identify(dir: &OwnedFd, name: &CStr, known: Option<FileType>, depth: u32, hash: &mut DefaultHasher) {
    if known == Some(FileType::Symlink) {
        return;
    }
    let mask = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::CTIME;
    let Ok(stat) = rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, mask) else { return };
    (name, stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino).hash(hash);
    (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec).hash(hash);
    if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::Directory || depth == 0 {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(below) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return };
    let Ok(entries) = Dir::read_from(&below) else { return };
    for entry in entries.flatten().filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
        identify(&below, entry.file_name(), Some(entry.file_type()), depth - 1, hash);
    }
}

fn build(cache: &OwnedFd, host: &Host, name: &str) -> io::Result<()> {
    let temporary = cache::temporary(name)?;
    let root = make_directory(cache, &temporary, 0o755)?;
    let rename = || {
        rustix::fs::renameat_with(cache, temporary.as_str(), cache, name, RenameFlags::NOREPLACE)
            .map_err(io::Error::from)
    };
    let published = cache::hold_new(&root)
        .and_then(|()| fill(&root, &host.etc, &host.programs, &host.links))
        .and_then(|()| rename());
    match published {
        Ok(()) => Ok(()),
        // Somebody else was faster: theirs is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => cache::remove_tree(cache, temporary.as_str()),
        Err(error) => {
            // The first error counts. Half of it would only take more of what there is too little of.
            let _ = cache::remove_tree(cache, temporary.as_str());
            Err(error)
        }
    }
}

fn fill(root: &OwnedFd, etc: &OwnedFd, programs: &[&str], links: &[(&str, CString)]) -> io::Result<()> {
    for &(name, mode) in DIRECTORIES {
        // Open to all, because where owners cannot be mapped an overlay looks into them as somebody else. They are empty,
        // and what a sandbox sees has the mode that it should.
        make_directory(root, name, mode | OPEN)?;
    }
    for name in programs.iter().chain(&["usr", "opt"]) {
        match make_directory(root, name, 0o755) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => drop(result?),
        }
    }
    for (name, target) in links {
        rustix::fs::symlinkat(target.as_c_str(), root, *name)?;
    }
    let copy = rustix::fs::openat(root, "etc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in ETC {
        if let Some((parents, _)) = name.rsplit_once('/') {
            if kind(etc, name)?.is_none() {
                continue;
            }
            let mut path = String::new();
            for part in parents.split('/') {
                path.push_str(part);
                match make_directory(&copy, &path, 0o755) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    result => drop(result?),
                }
                path.push('/');
            }
        }
        copy_entry(etc, &copy, &CString::new(*name)?, &CString::new(*name)?, MAX_DEPTH)?;
    }
    Ok(())
}

fn make_directory(dir: &OwnedFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(dir, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    Ok(fd)
}

/// Copies a regular file or directory that everybody may read, or a link, and skips all else: also what disappears
/// or cannot be read, because a host's /etc is no promise.
fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, as_name: &CStr, depth: u32) -> io::Result<()> {
    let Ok(stat) = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    let mode = Mode::from_raw_mode(stat.st_mode);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target.as_c_str(), to, as_name)?;
        }
        FileType::RegularFile if mode.contains(Mode::ROTH) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let Ok(source) = rustix::fs::openat(from, name, flags, Mode::empty()) else { return Ok(()) };
            let stat = rustix::fs::fstat(&source)?;
            // What was opened must be what was examined: readable by others, and a plain file.
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
                || !Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH)
                || stat.st_size as u64 > MAX_FILE
            {
                return Ok(());
            }
            let mut contents = Vec::with_capacity(stat.st_size as usize);
            File::from(source).take(MAX_FILE).read_to_end(&mut contents)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, as_name, flags, Mode::RUSR | Mode::WUSR)?;
            let executable = mode & (Mode::XUSR | Mode::XGRP | Mode::XOTH);
            rustix::fs::fchmod(&target, Mode::from_raw_mode(0o644) | executable)?;
            File::from(target).write_all(&contents)?;
        }
        FileType::Directory if mode.contains(Mode::ROTH | Mode::XOTH) && depth > 0 => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(source) = rustix::fs::openat(from, name, flags, Mode::empty()) else { return Ok(()) };
            rustix::fs::mkdirat(to, as_name, Mode::from_raw_mode(0o755))?;
            let target = rustix::fs::openat(to, as_name, flags, Mode::empty())?;
            for entry in Dir::read_from(&source)? {
                let entry = entry?;
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    copy_entry(&source, &target, entry.file_name(), entry.file_name(), depth - 1)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}
