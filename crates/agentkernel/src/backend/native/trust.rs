//! Hides how the programs of a sandbox come to trust its own certificate authority: it is added to what the image trusts,
//! in files that are mounted over the image's own. Nothing of it stays in a kept sandbox.

use super::{super::LaunchError, failure::Context as _, root::Root, stage::make_directory};
use crate::trust::{BUNDLE, CERTIFICATE, JAVA, SYSTEM};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jail::{
    fd::open_in_root,
    mount::{self, Attr},
};
use rustix::{
    fd::OwnedFd,
    fs::{FileType, Mode, OFlags},
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

const WALL: &str = "certificates";
/// An image's file beyond this is not read.
pub const MAX: u64 = 8 << 20;

/// Adds an authority's certificate (PEM) to what the programs below `root` trust. `scratch` is where files are made.
pub fn plant(root: &Root, scratch: &OwnedFd, authority: &str) -> Result<(), LaunchError> {
    let tried = "Cannot add the sandbox's authority to what it trusts";
    let made = make_directory(scratch, "trust")?;
    let mut first = None;
    for (index, path) in SYSTEM.iter().enumerate() {
        let Some(own) = read(root, path) else { continue };
        let bundle = format!("{}\n{authority}", own.trim_end());
        let file = write(&made, &format!("system-{index}"), bundle.as_bytes(), 0o644).wall(WALL, tried, "")?;
        cover(root, path, &file)?;
        first = first.or(Some(bundle));
    }
    let bundle = first.unwrap_or_else(|| authority.to_owned());
    let java = java_store(&bundle);
    let place = Path::new(CERTIFICATE).parent().unwrap_or(Path::new("/"));
    let directory = make_directory(&made, "own")?;
    for (path, bytes) in [(CERTIFICATE, authority.as_bytes()), (BUNDLE, bundle.as_bytes()), (JAVA, &java)] {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        write(&directory, name, bytes, 0o644).wall(WALL, tried, "")?;
    }
    let copy = read_only(&directory)?;
    mount::attach(&copy, root.directory(place, 0o755)?).wall(WALL, tried, "")
}

/// An image's file; `None` if it has none that could be read as text.
fn read(root: &Root, path: &str) -> Option<String> {
    let fd = open_in_root(&root.fd, path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(fd).take(MAX).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

/// A new file, open for mounting.
pub fn write(dir: &OwnedFd, name: &str, bytes: &[u8], mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?;
    File::from(fd).write_all(bytes)?;
    Ok(rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// What is open, as a mount of its own that nobody writes to.
pub fn read_only(fd: &OwnedFd) -> Result<OwnedFd, LaunchError> {
    let tried = "Cannot mount what the sandbox trusts";
    let copy = mount::copy(fd, false).wall(WALL, tried, "")?;
    let attrs = Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV;
    mount::set(&copy, false, attrs).wall(WALL, tried, "")?;
    Ok(copy)
}

/// Lays a file over the image's own.
fn cover(root: &Root, path: &str, file: &OwnedFd) -> Result<(), LaunchError> {
    let tried = format_args!("Cannot cover {path}");
    let target = open_in_root(&root.fd, path, OFlags::PATH, Mode::empty()).wall(WALL, tried, "")?;
    mount::attach(&read_only(file)?, target).wall(WALL, tried, "")
}

/// Certificates as Java's key store "JKS" has them (version 2). Its digest is zeros: Java looks at it only for a password,
/// and nobody gives one for what is public.
pub fn java_store(pem: &str) -> Vec<u8> {
    const MAGIC: u32 = 0xfeed_feed;
    const VERSION: u32 = 2;
    const TRUSTED: u32 = 2;
    let certificates: Vec<Vec<u8>> = certificates(pem).collect();
    let mut store = Vec::new();
    let text = |store: &mut Vec<u8>, text: &str| {
        store.extend((text.len() as u16).to_be_bytes());
        store.extend(text.as_bytes());
    };
    for number in [MAGIC, VERSION, certificates.len() as u32] {
        store.extend(number.to_be_bytes());
    }
    for (index, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED.to_be_bytes());
        text(&mut store, &index.to_string());
        store.extend(0u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend((certificate.len() as u32).to_be_bytes());
        store.extend(certificate);
    }
    store.extend([0; 20]);
    store
}

/// The certificates in a text, DER.
fn certificates(pem: &str) -> impl Iterator<Item = Vec<u8>> {
    pem.split("-----BEGIN CERTIFICATE-----").skip(1).filter_map(|part| {
        let (inside, _) = part.split_once("-----END CERTIFICATE-----")?;
        let text: String = inside.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        STANDARD.decode(text).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_store_has_every_certificate() {
        let pem = "# one\n-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\njunk\n-----BEGIN CERTIFICATE-----\nAw==\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(pem).collect::<Vec<_>>(), [vec![0, 1, 2], vec![3]]);
        let store = java_store(pem);
        assert_eq!(store[..12], [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2]);
        assert_eq!(store[12..34], *b"\0\0\0\x02\0\x010\0\0\0\0\0\0\0\0\0\x05X.509");
        assert_eq!(store.len(), 12 + 2 * 22 + 2 * 4 + 4 + 20);
    }
}
