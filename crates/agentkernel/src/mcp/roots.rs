//! The client's roots: the directories that its user works in. They bind it to projects.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

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
}
