//! What the tests of layers share: a place for them, and a look at everything that a tree is.
#![allow(clippy::disallowed_methods)] // tests look at files by path

use super::*;
use crate::UnpackError;
use rustix::fd::{AsFd, OwnedFd};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Options that this user may use.
pub fn options() -> LayerOptions {
    LayerOptions { owners: if is_root() { Owners::Kept } else { Owners::Squashed }, ..LayerOptions::default() }
}

/// A directory on a file system that has extended attributes; where there is none, it is said.
pub fn tempdir() -> Option<tempfile::TempDir> {
    for place in [std::env::temp_dir(), PathBuf::from("/var/tmp")] {
        let Ok(dir) = tempfile::tempdir_in(place) else { continue };
        let open = File::open(dir.path()).unwrap();
        if rustix::fs::fsetxattr(&open, "user.test", b"", rustix::fs::XattrFlags::empty()).is_ok() {
            rustix::fs::fremovexattr(&open, "user.test").unwrap();
            return Some(dir);
        }
    }
    println!("SKIPPED: no file system for temporary files has extended attributes of users");
    None
}

/// A directory to unpack into, and beside it a file and a directory that must not change.
pub struct Scene {
    root: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Option<Self> {
        let root = tempdir()?;
        fs::create_dir(root.path().join("dest")).unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/victim"), "untouched").unwrap();
        Some(Self { root })
    }

    pub fn dest(&self) -> PathBuf {
        self.root.path().join("dest")
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dest().join(name)
    }

    pub fn unpack_as(&self, options: &LayerOptions, archive: &[u8]) -> Result<LayerSummary, UnpackError> {
        let result = unpack(File::open(self.dest()).unwrap().as_fd(), options, archive);
        self.check();
        result
    }

    pub fn unpack(&self, archive: &[u8]) -> Result<LayerSummary, UnpackError> {
        self.unpack_as(&options(), archive)
    }

    /// Nothing outside has changed.
    #[track_caller]
    pub fn check(&self) {
        let names = |dir: &Path| {
            let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.root.path()), ["dest", "outside"]);
        assert_eq!(names(&self.root.path().join("outside")), ["victim"]);
        let victim = self.root.path().join("outside/victim");
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
    }
}

/// All that a layer keeps of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Contents or target.
    pub data: Vec<u8>,
    /// Where there is data, by the file system.
    pub pieces: Vec<(u64, u64)>,
    /// All names of the same file.
    pub same_as: Vec<Vec<u8>>,
}

/// A whole tree, by path; its top is `.`.
pub fn look(root: &Path) -> BTreeMap<Vec<u8>, Node> {
    fn one(path: &Path) -> Node {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let (mut xattrs, mut data, mut pieces) = (BTreeMap::new(), Vec::new(), Vec::new());
        let name = match kind {
            kind if kind.is_dir() => "directory",
            kind if kind.is_file() => "file",
            kind if kind.is_symlink() => "link",
            kind if kind.is_fifo() => "fifo",
            kind if kind.is_char_device() && meta.rdev() == 0 => "whiteout",
            _ => "other",
        };
        if kind.is_symlink() {
            data = fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec();
        }
        if kind.is_dir() || kind.is_file() {
            let file: OwnedFd = File::open(path).unwrap().into();
            let mut list = vec![0; 1 << 16];
            let length = rustix::fs::flistxattr(&file, &mut list[..]).unwrap_or(0);
            for name in list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
                let mut value = vec![0; 1 << 16];
                let length = rustix::fs::fgetxattr(&file, name, &mut value[..]).unwrap();
                value.truncate(length);
                xattrs.insert(name.to_vec(), value);
            }
            if kind.is_file() {
                data = fs::read(path).unwrap();
                let mut at = 0;
                while let Ok(begin) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
                    at = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(begin)).unwrap();
                    pieces.push((begin, at - begin));
                }
            }
        }
        Node {
            kind: name,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            xattrs,
            data,
            pieces,
            same_as: vec![],
        }
    }
    let (mut nodes, mut inodes) = (BTreeMap::new(), BTreeMap::<u64, Vec<Vec<u8>>>::new());
    let mut left = vec![(root.to_owned(), b".".to_vec())];
    while let Some((path, name)) = left.pop() {
        let node = one(&path);
        if node.kind == "directory" {
            for entry in fs::read_dir(&path).unwrap() {
                let below = entry.unwrap().file_name();
                let inner = if name == b"." { vec![] } else { [&name, &b"/"[..]].concat() };
                left.push((path.join(&below), [&inner, below.as_bytes()].concat()));
            }
        } else if node.kind != "whiteout" {
            inodes.entry(fs::symlink_metadata(&path).unwrap().ino()).or_default().push(name.clone());
        }
        nodes.insert(name, node);
    }
    for mut names in inodes.into_values() {
        names.sort();
        for name in &names {
            nodes.get_mut(name).unwrap().same_as.clone_from(&names);
        }
    }
    nodes
}
