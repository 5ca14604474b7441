//! `cp`: files and trees between a sandbox and the host.

use super::{Failure, Status, report};
use crate::{
    client::{self, Client, CopyError, Local},
    store::Store,
};
use clap::Args;
use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf};
use wire::OsBytes;

/// Copy files between a sandbox and the host.
///
/// The sandbox must run. One side is SANDBOX:PATH, the other a path on the host, or '-' for a tar archive on standard input or output.
/// As with docker cp, DIR/. stands for what is in DIR. On the host a link that is named is followed, and a file that is
/// there replaced; a device, fifo or socket is not. In a tree such things are left out, and so is what the kernel shows in
/// /proc, /sys and the like, unless it is named; what was left out is told on standard error.
#[derive(Debug, Args)]
pub(super) struct Cp {
    /// Copy what a symbolic link points to, not the link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// From here
    source: OsString,
    /// To here
    destination: OsString,
}

enum Place {
    Host(PathBuf),
    Archive,
    Sandbox { reference: String, path: OsBytes },
}

fn place(text: &OsString) -> Result<Place, Failure> {
    let bytes = text.as_bytes();
    if bytes == b"-" {
        return Ok(Place::Archive);
    }
    // A path that begins like one is a path, colon or not; so './a:b' names a file on the host.
    if bytes.starts_with(b"/") || bytes.starts_with(b".") {
        return Ok(Place::Host(PathBuf::from(text)));
    }
    match bytes.iter().position(|&byte| byte == b':') {
        Some(colon) if colon > 0 => {
            let reference = std::str::from_utf8(&bytes[..colon])
                .map_err(|_| Failure::new(format!("'{}' does not name a sandbox", text.display())))?;
            let mut path = bytes[colon + 1..].to_vec();
            if !path.starts_with(b"/") {
                // Docker's way: such paths count from the root.
                path.insert(0, b'/');
            }
            Ok(Place::Sandbox { reference: reference.to_owned(), path: OsBytes(path) })
        }
        _ => Ok(Place::Host(PathBuf::from(text))),
    }
}

impl Cp {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let connect = |reference: &str| -> Result<_, Failure> {
            let entry = store.find(reference)?;
            let client = Client::connect(&entry)?;
            let spec = entry.spec()?;
            let user = spec.identity.user();
            Ok((client, user, spec.writable_on_host()))
        };
        let copied = match (place(&self.source)?, place(&self.destination)?) {
            (Place::Sandbox { reference, path }, to @ (Place::Host(_) | Place::Archive)) => {
                let (mut client, user, writable) = connect(&reference)?;
                let to = if let Place::Host(path) = to { Local::Path { path, writable } } else { Local::Archive };
                client::fetch(&mut client, path, user, self.follow_link, to)
            }
            (from @ (Place::Host(_) | Place::Archive), Place::Sandbox { reference, path }) => {
                let (mut client, user, writable) = connect(&reference)?;
                let from = if let Place::Host(path) = from { Local::Path { path, writable } } else { Local::Archive };
                client::send(&mut client, from, self.follow_link, path, user)
            }
            _ => {
                return Err(Failure::new("One side must be in a sandbox, the other on the host")
                    .hint("For example: agentkernel cp box:/tmp/report.txt ."));
            }
        };
        match copied {
            Ok(left_out) if left_out.is_empty() => Ok(0),
            Ok(left_out) => {
                report(&Failure::new(format!("Left out {left_out}")));
                Ok(0)
            }
            Err(CopyError::Unread) => Ok(141),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        let sandbox = |text: &str| match place(&text.into()) {
            Ok(Place::Sandbox { reference, path }) => Some((reference, path.to_string())),
            _ => None,
        };
        assert_eq!(sandbox("box:/tmp/a:b"), Some(("box".into(), "/tmp/a:b".into())));
        assert_eq!(sandbox("box:etc"), Some(("box".into(), "/etc".into())));
        assert_eq!(sandbox("./a:b"), None);
        assert_eq!(sandbox("/a:b"), None);
        assert_eq!(sandbox(":b"), None);
        assert!(matches!(place(&"-".into()), Ok(Place::Archive)));
    }
}
