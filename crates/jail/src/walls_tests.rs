//! Walls that bind a thread, each on a thread that is given away.

use crate::{caps, landlock, namespace, net, process, pty};
use rustix::{
    fd::AsFd as _,
    fs::{Mode, OFlags},
    io::Errno,
    thread::UnshareFlags,
};
use std::{fs, fs::File, io, thread};

#[test]
fn capabilities_are_gone_for_good() {
    thread::spawn(|| {
        let before = caps::current().unwrap();
        caps::drop_all().unwrap();
        assert!(caps::current().unwrap().is_empty());
        for number in 0..40 {
            let cap = caps::Cap::from_bits_retain(1 << number);
            // Who had CAP_SETPCAP has emptied the bounding set as well.
            if before.contains(caps::Cap::SETPCAP) {
                assert_ne!(rustix::thread::capability_is_in_bounding_set(cap), Ok(true), "{number}");
            }
        }
        caps::drop_all().unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn landlock_forbids_writes_elsewhere() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("file"), "old").unwrap();
    fs::write(outside.path().join("single"), "old").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let path =
                |path: &std::path::Path| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let (dir, file) = (path(inside.path()), path(&outside.path().join("single")));
            process::set_no_new_privs().unwrap();
            let abi = landlock::restrict(&[dir.as_fd(), file.as_fd()]).unwrap();
            assert_eq!(abi, landlock::version());
            if abi.is_none() {
                return support::skipped("Landlock", "this kernel has none");
            }
            let denied = |result: io::Result<()>| {
                assert_eq!(result.err().map(|e| e.kind()), Some(io::ErrorKind::PermissionDenied));
            };
            denied(fs::write(outside.path().join("file"), "new"));
            denied(fs::write(outside.path().join("made"), "new"));
            denied(fs::remove_file(outside.path().join("file")));
            assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "old");
            fs::write(outside.path().join("single"), "new").unwrap();
            fs::write(inside.path().join("a"), "new").unwrap();
            fs::create_dir(inside.path().join("d")).unwrap();
            fs::rename(inside.path().join("a"), inside.path().join("d/b")).unwrap();
        });
    });
}

#[test]
fn a_terminal_has_two_sides() {
    match pty::open_pair() {
        Ok(pair) => {
            rustix::io::write(&pair.controller, b"typed\n").unwrap();
            let mut buffer = [0; 16];
            let length = rustix::io::read(&pair.user, &mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"typed\n");
        }
        // Some hosts lock /dev/pts/ptmx (mode 000): then only root can.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
    }
}

#[test]
fn a_process_with_threads_is_not_forked() {
    thread::scope(|scope| {
        let (hold, wait) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || wait.recv());
        assert_eq!(process::fork().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(hold);
    });
}

#[test]
fn only_named_descriptors_outlive_an_exec() {
    let (kept, other) = (File::open("/").unwrap(), File::open("/").unwrap());
    let flags = |file: &File| rustix::io::fcntl_getfd(file).unwrap();
    for file in [&kept, &other] {
        rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
    }
    use std::os::fd::AsRawFd as _;
    process::close_on_exec_from(3, &[kept.as_raw_fd()]).unwrap();
    assert!(!flags(&kept).contains(rustix::io::FdFlags::CLOEXEC));
    assert!(flags(&other).contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
#[expect(deprecated, reason = "what is unsafe about unshare is CLONE_FILES, not a network namespace")]
fn every_address_is_local_in_an_own_network_namespace() {
    let outside = namespace::Identity::own().unwrap();
    assert_eq!(outside.shared(&outside).count(), 7);
    thread::spawn(move || {
        match rustix::thread::unshare(UnshareFlags::NEWNET) {
            Ok(()) => {}
            Err(Errno::PERM) => return support::skipped("an own network namespace", "it needs CAP_SYS_ADMIN"),
            Err(error) => panic!("{error}"),
        }
        let shared: Vec<_> = namespace::Identity::own().unwrap().shared(&outside).collect();
        assert_eq!(shared, ["user", "mnt", "pid", "ipc", "uts", "cgroup"]);
        let connect = || std::net::TcpStream::connect("192.0.2.1:9").unwrap_err().raw_os_error();
        assert_eq!(connect(), Some(libc::ENETUNREACH));
        net::loop_everything().unwrap();
        assert_eq!(connect(), Some(libc::ECONNREFUSED));
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("198.51.100.7", port)).unwrap();
        assert_eq!(listener.accept().unwrap().0.local_addr().unwrap().ip().to_string(), "198.51.100.7");
    })
    .join()
    .unwrap();
}

#[test]
fn one_directory_is_all_that_there_is() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(inside.path().join("old"), "old").unwrap();
    fs::copy("/bin/true", inside.path().join("true")).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let dir = rustix::fs::open(inside.path(), flags, Mode::empty()).unwrap();
            process::set_no_new_privs().unwrap();
            if landlock::only(dir.as_fd()).unwrap().is_none() {
                return support::skipped("Landlock", "this kernel has none");
            }
            let denied = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            denied(File::open("/etc/passwd").unwrap_err());
            denied(fs::write(outside.path().join("made"), "new").unwrap_err());
            denied(fs::hard_link(inside.path().join("old"), outside.path().join("link")).unwrap_err());
            #[allow(clippy::disallowed_methods)] // by any means
            let program = std::process::Command::new(inside.path().join("true")).status();
            denied(program.unwrap_err());
            assert_eq!(fs::read_to_string(inside.path().join("old")).unwrap(), "old");
            fs::write(inside.path().join("new"), "new").unwrap();
            fs::create_dir(inside.path().join("d")).unwrap();
            fs::hard_link(inside.path().join("new"), inside.path().join("d/link")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", inside.path().join("symlink")).unwrap();
            denied(fs::read(inside.path().join("symlink")).unwrap_err());
            // A whiteout.
            let kind = rustix::fs::FileType::CharacterDevice;
            rustix::fs::mknodat(&dir, "gone", kind, Mode::empty(), 0).unwrap();
            fs::remove_file(inside.path().join("gone")).unwrap();
        });
    });
}

#[test]
fn without_the_file_system_only_what_is_open_remains() {
    thread::spawn(|| {
        let open = File::open("/etc/passwd").unwrap();
        crate::process::set_no_new_privs().unwrap();
        if landlock::forbid_files().unwrap().is_none() {
            return support::skipped("Landlock", "this kernel has none");
        }
        assert_eq!(File::open("/etc/passwd").unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::read_dir("/").unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        assert!(rustix::fs::open("/bin/true", OFlags::PATH, Mode::empty()).is_ok(), "what is not opened is no concern");
        assert!(open.metadata().unwrap().len() > 0);
    })
    .join()
    .unwrap();
}
