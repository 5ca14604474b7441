//! The client's roots: the directories that its user works in. They bind it to projects.

use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// A root as it was when it became known: what a sandbox lays in its place later, such as a link to elsewhere, is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    /// Its path, without links.
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
}

impl Root {
    /// The directory at a path.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let (path, meta) = (fs::canonicalize(dir)?, fs::metadata(dir)?);
        Ok(Self { path, device: meta.dev(), inode: meta.ino() })
    }

    /// Whether it is at this path now.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|found| found == *self)
    }
}

/// The directory that a root's address names, if it is one of this host.
pub(super) fn directory(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://")?;
    // The host between is this one.
    let path = path.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(path);
    let path = PathBuf::from(decoded(path)?);
    (path.is_absolute() && Path::is_dir(&path)).then_some(path)
}

/// A path of an address without its escapes (RFC 3986).
pub(super) fn decoded(path: &str) -> Option<OsString> {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            byte => byte,
        });
    }
    (!bytes.contains(&0)).then(|| OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_directories_of_this_host() {
        let dir = tempfile::tempdir().unwrap();
        let strange = dir.path().join("a b%c");
        std::fs::create_dir(&strange).unwrap();
        let base = dir.path().display();
        assert_eq!(directory(&format!("file://{base}/a%20b%25c")), Some(strange.clone()));
        assert_eq!(directory(&format!("file://localhost{base}/a%20b%25c")), Some(strange));
        for wrong in [
            "file://{base}/none",
            "file://else{base}",
            "https://{base}",
            "file://relative",
            "file:///%zz",
            "file:///%0",
        ] {
            assert_eq!(directory(&wrong.replace("{base}", &base.to_string())), None, "{wrong}");
        }
        assert_eq!(decoded("a%00b"), None);
    }

    #[test]
    fn what_takes_a_roots_place_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (place, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&place).unwrap();
        let root = Root::of(&place).unwrap();
        assert!(root.is_at(&place) && root.is_at(&root.path));
        fs::rename(&place, &other).unwrap();
        assert!(!root.is_at(&place) && !root.is_at(&other));
        std::os::unix::fs::symlink(&other, &place).unwrap();
        assert!(!root.is_at(&place));
    }
}
