use super::*;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self as fd_fs, FileType, Mode, OFlags},
};
use std::{fs, os::unix::fs::symlink, path::Path};

fn open(path: &Path) -> OwnedFd {
    fd_fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// What does not fit in the topmost of these.
fn found(stack: &[&Path], topmost: usize) -> Option<(usize, String, bool)> {
    let stack: Vec<OwnedFd> = stack.iter().map(|path| open(path)).collect();
    let stack: Vec<_> = stack.iter().map(|dir| dir.as_fd()).collect();
    let misfit = misfit(&stack, topmost).unwrap()?;
    Some((misfit.layer, misfit.path.display().to_string(), misfit.is_dir))
}

#[test]
fn a_directory_fits_a_directory_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for dir in ["base/usr/bin", "base/a/deep", "layer/usr/bin", "layer/opt/tool", "layer/a"] {
        fs::create_dir_all(path(dir)).unwrap();
    }
    symlink("usr/bin", path("base/bin")).unwrap();
    fs::write(path("base/usr/bin/sh"), "old").unwrap();
    fs::write(path("layer/usr/bin/sh"), "new").unwrap();
    symlink("/usr/bin", path("layer/a/new")).unwrap();
    let stack = [path("layer"), path("base")];
    let stack: Vec<&Path> = stack.iter().map(|path| path.as_path()).collect();
    assert_eq!(found(&stack, 1), None);
    fs::create_dir(path("layer/bin")).unwrap();
    assert_eq!(found(&stack, 1), Some((0, "bin".into(), true)));
    // What was made together is not asked.
    assert_eq!(found(&stack, 0), None);
    fs::remove_dir(path("layer/bin")).unwrap();
    symlink("elsewhere", path("layer/a/deep")).unwrap();
    assert_eq!(found(&stack, 1), Some((0, "a/deep".into(), false)));
    // What hides a directory as a whole, or takes it away by name, is meant so.
    let a = open(&path("layer/a"));
    fd_fs::fsetxattr(&a, "user.overlay.opaque", b"y", fd_fs::XattrFlags::empty()).unwrap();
    assert_eq!(found(&stack, 1), None);
    fd_fs::fremovexattr(&a, "user.overlay.opaque").unwrap();
    fs::remove_file(path("layer/a/deep")).unwrap();
    fd_fs::mknodat(fd_fs::CWD, path("layer/a/deep"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    assert_eq!(found(&stack, 1), None);
}

#[test]
fn every_layer_is_held_against_all_below() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for dir in ["base", "low/lib/x", "high/lib"] {
        fs::create_dir_all(path(dir)).unwrap();
    }
    fs::write(path("high/lib/x"), "").unwrap();
    fs::write(path("base/lib"), "").unwrap();
    let stack = [path("high"), path("low"), path("base")];
    let stack: Vec<&Path> = stack.iter().map(|path| path.as_path()).collect();
    assert_eq!(found(&stack, 2), Some((0, "lib/x".into(), false)));
    assert_eq!(found(&stack[1..], 1), Some((0, "lib".into(), true)));
    fs::remove_file(path("high/lib/x")).unwrap();
    assert_eq!(found(&stack, 2), Some((1, "lib".into(), true)));
}
