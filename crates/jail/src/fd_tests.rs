//! Files through links, and files that nobody can change.

use super::*;
use rustix::io::Errno;
use std::{io::Read as _, os::unix::fs::symlink};

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    Errno::from_io_error(&result.err()?)
}

#[test]
fn a_sealed_file_cannot_be_changed() {
    let fd = sealed_memfd(c"test", b"contents").unwrap();
    assert_eq!(rustix::io::write(&fd, b"x"), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&fd, 100), Err(Errno::PERM));
    assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::empty()), Err(Errno::PERM));
    let mut text = String::new();
    let mut file = File::from(fd);
    io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "contents");
}

#[test]
fn links_stay_in_the_root_or_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "").unwrap();
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("dir")).unwrap();
    std::fs::write(root.path().join("dir/file"), "").unwrap();
    symlink("/dir/file", root.path().join("inside")).unwrap();
    symlink(outside.path().join("secret"), root.path().join("absolute")).unwrap();
    symlink("../../../../../../../../etc/passwd", root.path().join("up")).unwrap();
    let dir = File::open(root.path()).unwrap();
    let in_root = |path: &str| open_in_root(&dir, path, OFlags::PATH, Mode::empty());
    let beneath = |path: &str| open_beneath(&dir, path, OFlags::PATH, Mode::empty());

    assert_eq!(errno(in_root("/inside")), None);
    assert_eq!(errno(in_root("../dir/file")), None);
    assert_eq!(errno(in_root("absolute")), Some(Errno::NOENT));
    assert_eq!(errno(in_root("up")), Some(Errno::NOENT));

    assert_eq!(errno(beneath("dir/file")), None);
    assert_eq!(errno(beneath("inside")), Some(Errno::LOOP));
    assert_eq!(errno(beneath("dir/../../x")), Some(Errno::XDEV));
    assert_eq!(errno(beneath("/dir/file")), Some(Errno::XDEV));
}

#[test]
fn descriptors_travel_with_their_message() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let file = File::open("/").unwrap();
    assert_eq!(send(&ours, b"one", &[file.as_fd(), file.as_fd()]).unwrap(), 3);
    assert_eq!(send(&ours, b"two", &[]).unwrap(), 3);
    let mut bytes = [0; 8];
    let (length, fds) = receive(&theirs, 2, &mut bytes).unwrap();
    assert_eq!((&bytes[..length], fds.len()), (&b"one"[..], 2));
    assert!(rustix::io::fcntl_getfd(&fds[0]).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let (length, fds) = receive(&theirs, 2, &mut bytes).unwrap();
    assert_eq!((&bytes[..length], fds.len()), (&b"two"[..], 0));
    drop(theirs);
    assert_eq!(send(&ours, b"three", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
