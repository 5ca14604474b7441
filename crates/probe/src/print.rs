//! Recognises a file of the host from inside by size and time, so that nothing of its contents need be known.

use std::{
    fs::{self, File, Metadata},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// A file's size, and its time of change in seconds and nanoseconds. Inode and device numbers are left out: an
/// overlay file system changes them.
pub type Print = (u64, i64, i64);

/// The print of an open file.
pub fn of(file: &File) -> Option<Print> {
    file.metadata().ok().map(|meta| print(&meta))
}

fn print(meta: &Metadata) -> Print {
    (if meta.is_dir() { 0 } else { meta.size() }, meta.mtime(), meta.mtime_nsec())
}

/// `path:size:seconds:nanoseconds`, if the file is there and its name is plain.
#[must_use]
pub fn format(path: &Path) -> Option<String> {
    let (size, seconds, nanos) = print(&fs::metadata(path).ok()?);
    let plain = path.as_os_str().as_bytes().iter().all(|b| b.is_ascii_graphic() && *b != b':');
    plain.then(|| format!("{}:{size}:{seconds}:{nanos}", path.display()))
}

/// Reads what [`format()`] wrote.
#[must_use]
pub fn parse(text: &str) -> Option<(PathBuf, Print)> {
    let mut parts = text.split(':');
    let path = PathBuf::from(parts.next().filter(|path| !path.is_empty())?);
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (size, seconds, nanos) = (number()?, number()?, number()?);
    Some((path, (u64::try_from(size).ok()?, seconds, nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_is_read_back_and_tells_files_apart() {
        let exe = std::env::current_exe().expect("the test has a path");
        let (path, print) = parse(&format(&exe).expect("a plain path")).expect("well formed");
        assert_eq!(path, exe);
        assert_eq!(Some(print), File::open(&exe).ok().as_ref().and_then(of));
        assert_ne!(Some(print), File::open("/proc/self/stat").ok().as_ref().and_then(of));
        assert_eq!(parse(""), None);
        assert_eq!(parse("/x:1:2"), None);
    }
}
