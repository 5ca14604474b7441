//! Hides the files of /etc that are made for each sandbox: who it is, and that nothing else is.

use crate::{Identity, Image, Spec};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
};
use wire::link::Account;

/// An image's passwd or group file beyond this is not read.
const MAX: u64 = 4 << 20;

/// What /etc/resolv.conf says: init knows names.
pub const RESOLVER: &str = "nameserver 127.0.0.1\noptions edns0\n";

/// The files that every start makes anew.
pub const MADE: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// Writes them into the directory that is, or will be seen as, /etc. `root` is where an image's own files are read.
///
/// # Errors
/// As open(2) and write(2).
pub fn write(etc: &OwnedFd, root: Option<&OwnedFd>, spec: &Spec) -> io::Result<()> {
    let host = &spec.hostname;
    // Every start writes these anew: a host name may have changed, and the resolver is always init.
    replace(etc, "hostname", &format!("{host}\n"))?;
    replace(etc, "hosts", &hosts(host))?;
    replace(etc, "resolv.conf", RESOLVER)?;
    if let Image::Host = spec.image {
        // The host's own may name services of the host (sssd, systemd, mdns) whose sockets are not here.
        replace(
            etc,
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n",
        )?;
    }
    if spec.build.is_some() {
        // Whom its image knows is the image's to say: what is added here, an installer would take along.
        return Ok(());
    }
    let shell = root.map_or("/bin/sh", |root| shell(root));
    accounts(&spec.identity, shell).iter().try_for_each(|account| complete(etc, root, account))
}

/// The names that a sandbox knows without asking: its own.
pub fn hosts(host: &str) -> String {
    format!("127.0.0.1\tlocalhost\n127.0.1.1\t{host}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}

/// Who must be known in a sandbox.
pub fn accounts(identity: &Identity, shell: &str) -> [Account; 2] {
    let Identity { uid, gid, name, home, .. } = identity;
    [
        Account {
            file: "passwd".into(),
            line: format!("{name}:x:{uid}:{gid}::{}:{shell}", home.display()),
            id: *uid,
            otherwise: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n".into(),
        },
        Account {
            file: "group".into(),
            line: format!("{name}:x:{gid}:"),
            id: *gid,
            otherwise: "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n".into(),
        },
    ]
}

fn shell(root: &OwnedFd) -> &'static str {
    let flags = OFlags::PATH;
    match jail::fd::open_in_root(root, "/bin/bash", flags, Mode::empty()) {
        Ok(_) => "/bin/bash",
        Err(_) => "/bin/sh",
    }
}

/// Makes sure that a passwd(5) or group(5) file has a line for an id. What a kept sandbox or an image has already is
/// not touched if it has one.
fn complete(etc: &OwnedFd, root: Option<&OwnedFd>, account: &Account) -> io::Result<()> {
    let file = account.file.as_str();
    let opened = match root {
        // An image's file may be a link: it is followed, inside of the image.
        Some(root) => {
            jail::fd::open_in_root(root, format!("/etc/{file}"), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())
        }
        None => jail::fd::open_beneath(etc, file, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()),
    };
    let mut text = String::new();
    match opened {
        // What is no file, and has nothing to say, is replaced.
        Ok(fd) if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile => {}
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {}
        Ok(fd) => {
            let mut bytes = Vec::new();
            File::from(fd).take(MAX).read_to_end(&mut bytes)?;
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    account.complete(&text).map_or(Ok(()), |text| replace(etc, file, &text))
}

/// Puts a new file in the place of whatever is there. A symbolic link is removed, never followed.
fn replace(etc: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(etc, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(etc, name, flags, Mode::from_raw_mode(0o644))?;
    File::from(fd).write_all(text.as_bytes())
}
