//! The filters against the running kernel. They bind a thread, so each test gives one away.

use super::*;
use crate::{process::set_no_new_privs, sys::seccomp::probe};
use std::{collections::BTreeMap, io::ErrorKind, thread};

const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;

/// What the call answers without the filter, and with it.
fn before_and_after<const N: usize>(number: i64, arguments: [u64; N]) -> (Option<i32>, Option<i32>) {
    with_and_without(Profile::Default, number, arguments)
}

/// The same with another filter.
fn with_and_without<const N: usize>(profile: Profile, number: i64, arguments: [u64; N]) -> (Option<i32>, Option<i32>) {
    let answer = move || probe(number, arguments).err().and_then(|e| e.raw_os_error());
    thread::spawn(move || {
        let before = answer();
        set_no_new_privs().unwrap();
        install(profile).unwrap();
        (before, answer())
    })
    .join()
    .unwrap()
}

fn denied<const N: usize>(number: i64, arguments: [u64; N]) {
    let (before, after) = before_and_after(number, arguments);
    assert_eq!(after, Some(EPERM), "call {number} {arguments:x?} (without the filter: {before:?})");
}

/// With the filter only: some of these are best not made without it. Should one get through, its arguments are none that
/// a kernel accepts.
fn denied_unasked(number: i64) {
    let answer = thread::spawn(move || {
        set_no_new_privs().unwrap();
        install(Profile::Default).unwrap();
        probe(number, [u64::MAX; 3]).err().and_then(|e| e.raw_os_error())
    });
    assert_eq!(answer.join().unwrap(), Some(EPERM), "call {number}");
}

fn allowed<const N: usize>(number: i64, arguments: [u64; N]) {
    let (before, after) = before_and_after(number, arguments);
    assert_eq!(after, before, "call {number} {arguments:x?}");
}

#[test]
fn refuses_without_no_new_privs_for_a_thread_without_capabilities() {
    let error = thread::spawn(|| {
        crate::caps::drop_all().unwrap();
        install(Profile::Default).unwrap_err()
    });
    assert_eq!(error.join().unwrap().source.kind(), ErrorKind::PermissionDenied);
}

#[test]
fn denies_mounts_and_namespaces() {
    for call in [libc::SYS_mount, libc::SYS_fsopen, libc::SYS_open_tree, libc::SYS_setns, libc::SYS_chroot, 467] {
        denied(call, [0; 3]);
    }
    for flag in [0x80, 0x2_0000, 0x1000_0000, 0x4000_0000] {
        denied(libc::SYS_unshare, [flag, 0, 0]);
    }
    // CLONE_NEWUSER | CLONE_THREAD: the kernel would answer EINVAL, so that nothing is cloned if the filter fails.
    denied(libc::SYS_clone, [0x1001_0000, 0, 0]);
    allowed(libc::SYS_clone, [0x0001_0000, 0, 0]);
}

#[test]
fn a_build_may_set_id_bits_and_other_roots_and_nothing_else() {
    for (call, arguments) in [(libc::SYS_fchmod, [u64::MAX, 0o4755, 0]), (libc::SYS_chroot, [0; 3])] {
        denied(call, arguments);
        let (before, after) = with_and_without(Profile::Build, call, arguments);
        assert_eq!(after, before, "call {call}");
    }
    for call in
        [libc::SYS_mount, libc::SYS_fsopen, libc::SYS_setns, libc::SYS_pivot_root, libc::SYS_keyctl, libc::SYS_bpf]
    {
        assert_eq!(with_and_without(Profile::Build, call, [0; 3]).1, Some(EPERM), "call {call}");
    }
    assert_eq!(with_and_without(Profile::Build, libc::SYS_unshare, [0x1000_0000, 0, 0]).1, Some(EPERM));
    // Netlink's audit: as if there were none.
    assert_eq!(with_and_without(Profile::Build, libc::SYS_socket, [16, 3, 9]).1, Some(libc::EAFNOSUPPORT));
}

#[test]
fn hides_calls_whose_flags_it_cannot_see_and_calls_it_does_not_know() {
    for call in [libc::SYS_clone3, 999, 0x4000_0000 + 39] {
        let (_, after) = before_and_after(call, [0; 3]);
        assert_eq!(after, Some(ENOSYS), "call {call}");
    }
}

#[test]
fn compares_the_low_half_of_an_argument() {
    // CVE-2019-10063: the kernel takes the request as 32 bits.
    for high in [0, 1 << 32, 0xffff_ffff << 32] {
        denied(libc::SYS_ioctl, [u64::MAX, high | 0x5412, 0]);
        denied(libc::SYS_ioctl, [u64::MAX, high | 0x541c, 0]);
        denied(libc::SYS_socket, [high | 17, 3, 0]);
    }
    allowed(libc::SYS_ioctl, [u64::MAX, 0x5413, 0]);
}

#[test]
fn allows_four_socket_families() {
    // A bad type, so that nothing is opened: EINVAL comes from beyond the filter.
    for family in [1, 2, 10, 16] {
        allowed(libc::SYS_socket, [family, 99, 0]);
    }
    for family in [0, 3, 17, 38, 40, 44] {
        denied(libc::SYS_socket, [family, 99, 0]);
    }
    denied(libc::SYS_socket, [16, 99, 9]);
    denied(libc::SYS_socketpair, [2, 1, 0]);
    allowed(libc::SYS_socketpair, [1, 99, 0]);
}

#[test]
fn keeps_hands_off_the_limits_of_init() {
    denied(libc::SYS_prlimit64, [1, 99, 0, 0]);
    denied(libc::SYS_prlimit64, [1 << 32 | 1, 99, 0, 0]);
    allowed(libc::SYS_prlimit64, [0, 99, 0, 0]);
    allowed(libc::SYS_prlimit64, [2, 99, 0, 0]);
}

#[test]
fn allows_harmless_personalities_only() {
    allowed(libc::SYS_personality, [0xffff_ffff, 0, 0]);
    denied(libc::SYS_personality, [0x0400_0000, 0, 0]); // READ_IMPLIES_EXEC
}

#[test]
fn denies_the_dangerous_rest() {
    for call in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        467, // open_tree_attr
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_perf_event_open,
        libc::SYS_fanotify_init,
        libc::SYS_fanotify_mark,
        447, // memfd_secret
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kcmp,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_quotactl,
        443, // quotactl_fd
        libc::SYS_acct,
        libc::SYS_syslog,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_vhangup,
    ] {
        denied_unasked(call);
    }
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_sysfs, libc::SYS_ustat] {
        denied_unasked(call);
    }
    allowed(libc::SYS_ptrace, [u64::MAX, 0, 0]);
}

const BAD: u64 = u64::MAX;

/// Bad descriptors and null paths, so that a call that is let through makes nothing.
#[test]
fn denies_set_user_id_and_set_group_id_modes() {
    // The kernel takes a mode as 16 bits of the register.
    for mode in [0o4755, 0o2755, 0o6000, 0o100_4644, 1 << 32 | 0o4000] {
        denied(libc::SYS_fchmod, [BAD, mode]);
        denied(libc::SYS_fchmodat, [BAD, 0, mode]);
        denied(452, [BAD, 0, mode, 0]); // fchmodat2
        denied(libc::SYS_mknodat, [BAD, 0, mode, 0]);
        #[cfg(target_arch = "x86_64")]
        {
            denied(libc::SYS_chmod, [0, mode]);
            denied(libc::SYS_creat, [0, mode]);
            denied(libc::SYS_mknod, [0, mode, 0]);
        }
        // O_CREAT; O_TMPFILE as a program writes it, and the one bit of it that counts.
        for flags in [0o100, 0o101 | 1 << 32, 0o20_200_002, 0o20_000_002] {
            denied(libc::SYS_openat, [BAD, 0, flags, mode]);
            #[cfg(target_arch = "x86_64")]
            denied(libc::SYS_open, [0, flags, mode]);
        }
        // What makes no file has no mode.
        allowed(libc::SYS_openat, [BAD, 0, 0, mode]);
    }
    for mode in [0, 0o755, 0o1777, 0o100_644] {
        allowed(libc::SYS_fchmod, [BAD, mode]);
        allowed(libc::SYS_fchmodat, [BAD, 0, mode]);
        allowed(libc::SYS_mknodat, [BAD, 0, mode, 0]);
        allowed(libc::SYS_openat, [BAD, 0, 0o100, mode]);
        allowed(libc::SYS_openat, [BAD, 0, 0o20_200_002, mode]);
    }
}

#[test]
fn hides_from_programs_what_has_a_mode_behind_a_pointer() {
    const OPENAT2: i64 = 437;
    allowed(OPENAT2, [BAD, 0, 0, 0]);
    let after = thread::spawn(|| {
        set_no_new_privs().unwrap();
        install(Profile::Default).unwrap();
        install(Profile::Program).unwrap();
        probe(OPENAT2, [BAD, 0, 0, 0]).unwrap_err().raw_os_error()
    });
    assert_eq!(after.join().unwrap(), Some(ENOSYS));
}

#[test]
fn transports_that_nothing_catches_are_denied() {
    for (kind, protocol) in [(1, 132), (5, 0), (5, 132), (6, 33), (2, 136), (1, 256), (10, 0), (4, 0)] {
        denied(libc::SYS_socket, [2, kind, protocol]);
        denied(libc::SYS_socket, [10, kind | 0x80800, protocol]);
    }
    for (family, kind, protocol) in [(2, 1, 0), (2, 1, 6), (10, 2, 17), (2, 2, 1), (10, 2, 58), (2, 1, 262), (2, 3, 1)]
    {
        allowed(libc::SYS_socket, [family, kind, protocol]);
    }
}

/// What a profile that is a list answers to these calls.
fn listed(profile: Profile, calls: Vec<(i64, [u64; 4])>) -> Vec<Option<i32>> {
    thread::spawn(move || {
        // No thread can be joined that may not end: it is given away.
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            set_no_new_privs().unwrap();
            install(profile).unwrap();
            let answer =
                |(number, arguments): &(i64, [u64; 4])| probe(*number, *arguments).err().and_then(|e| e.raw_os_error());
            tell.send(calls.iter().map(answer).collect::<Vec<_>>()).unwrap();
        });
        told.recv().unwrap()
    })
    .join()
    .unwrap()
}

#[test]
fn unpackers_make_files_and_nothing_else() {
    let nowhere = u64::MAX;
    let denied = vec![
        (libc::SYS_execve, [0; 4]),
        (libc::SYS_execveat, [0; 4]),
        (libc::SYS_clone, [0; 4]),
        (libc::SYS_clone3, [0; 4]),
        (libc::SYS_ptrace, [nowhere; 4]),
        (libc::SYS_kill, [nowhere; 4]),
        (libc::SYS_memfd_create, [0; 4]),
        (libc::SYS_io_uring_setup, [0; 4]),
        (libc::SYS_prctl, [nowhere; 4]),
        (libc::SYS_mount, [0; 4]),
        (libc::SYS_ioctl, [nowhere, 0x5412, 0, 0]),
        (libc::SYS_socket, [1, 1, 0, 0]),
        (libc::SYS_socket, [2, 1, 0, 0]),
        (libc::SYS_sendmsg, [nowhere, 0, 0, 0]),
        (libc::SYS_mmap, [0, 4096, 4, 0x22]),
        // Devices, whatever their mode's other bits: /dev/mem, a disk.
        (libc::SYS_mknodat, [nowhere, 0, 0o020_666, 0x101]),
        (libc::SYS_mknodat, [nowhere, 0, 0o060_600, 0x800]),
        // What takes a path, and is judged by nobody else.
        (libc::SYS_fchmodat, [nowhere, 0, 0o777, 0]),
        (452, [nowhere, 0, 0o777, 0]),
        (libc::SYS_setxattr, [0; 4]),
        (libc::SYS_lsetxattr, [0; 4]),
        (libc::SYS_renameat2, [nowhere, 0, nowhere, 0]),
        (libc::SYS_copy_file_range, [nowhere, 0, nowhere, 0]),
        (libc::SYS_fallocate, [nowhere, 0, 0, 1]),
        (libc::SYS_chroot, [0; 4]),
        (4095, [0; 4]),
    ];
    let count = denied.len();
    assert_eq!(listed(Profile::Unpack, denied), vec![Some(EPERM); count]);
    // What would be done is refused by the kernel itself, for the arguments' sake.
    let allowed = vec![
        (libc::SYS_mknodat, [nowhere, 0, 0o020_000, 0]),
        (libc::SYS_mknodat, [nowhere, 0, 0o010_644, 7]),
        (libc::SYS_mkdirat, [nowhere, 0, 0o755, 0]),
        (437, [nowhere, 0, 0, 0]),
        (libc::SYS_fchown, [nowhere, 0, 0, 0]),
        (libc::SYS_fsetxattr, [nowhere, 0, 0, 0]),
    ];
    for (call, answer) in allowed.iter().zip(listed(Profile::Unpack, allowed.clone())) {
        assert!(answer.is_some_and(|errno| errno != EPERM), "{call:?}: {answer:?}");
    }
}

#[test]
fn parsers_have_no_path_and_no_socket() {
    let nowhere = u64::MAX;
    let denied = vec![
        (libc::SYS_openat, [nowhere, 0, 0, 0]),
        (437, [nowhere, 0, 0, 0]),
        (libc::SYS_newfstatat, [nowhere, 0, 0, 0]),
        (libc::SYS_statx, [nowhere, 0, 0, 0]),
        (libc::SYS_unlinkat, [nowhere, 0, 0, 0]),
        (libc::SYS_utimensat, [nowhere, 0, 0, 0]),
        (libc::SYS_fchownat, [nowhere, 0, 0, 0]),
        (libc::SYS_fchmod, [nowhere, 0o777, 0, 0]),
        (libc::SYS_socket, [1, 1, 0, 0]),
        (libc::SYS_socket, [2, 1, 0, 0]),
        (libc::SYS_execve, [0; 4]),
        (libc::SYS_clone, [0; 4]),
        (libc::SYS_kill, [nowhere; 4]),
        (libc::SYS_mmap, [0, 4096, 4, 0x22]),
    ];
    let count = denied.len();
    assert_eq!(listed(Profile::Parse, denied), vec![Some(EPERM); count]);
    let allowed = vec![(libc::SYS_getpid, [0; 4]), (libc::SYS_sched_yield, [0; 4])];
    assert_eq!(listed(Profile::Parse, allowed), vec![None; 2]);
}

#[test]
fn egress_has_the_internet_and_nothing_else() {
    let answers = |calls| listed(Profile::Egress, calls);
    let denied = vec![
        (libc::SYS_openat, [u64::MAX, 0, 0, 0]),
        (libc::SYS_execve, [0; 4]),
        (libc::SYS_execveat, [0; 4]),
        (libc::SYS_clone, [0; 4]),
        (libc::SYS_clone3, [0; 4]),
        (libc::SYS_ptrace, [u64::MAX; 4]),
        (libc::SYS_kill, [u64::MAX; 4]),
        (libc::SYS_memfd_create, [0; 4]),
        (libc::SYS_io_uring_setup, [0; 4]),
        (libc::SYS_prctl, [u64::MAX; 4]),
        (libc::SYS_socket, [1, 1, 0, 0]),
        (libc::SYS_socket, [2, 3, 0, 0]),
        (libc::SYS_socket, [2, 3, 255, 0]),
        (libc::SYS_socket, [2, 5, 0, 0]),
        (libc::SYS_socket, [16, 3, 0, 0]),
        (libc::SYS_socket, [17, 3, 0, 0]),
        (libc::SYS_ioctl, [u64::MAX, 0x5412, 0, 0]),
        // An anonymous page of code.
        (libc::SYS_mmap, [0, 4096, 4, 0x22]),
        (libc::SYS_mprotect, [0, 4096, 5, 0]),
        // A call that no kernel has.
        (4095, [0; 4]),
    ];
    let count = denied.len();
    assert_eq!(answers(denied), vec![Some(EPERM); count]);
    let allowed = vec![
        (libc::SYS_socket, [2, 1, 0, 0]),
        (libc::SYS_socket, [10, 0x80801, 0, 0]),
        (libc::SYS_socket, [2, 2, 0, 0]),
        (libc::SYS_getpid, [0; 4]),
        (libc::SYS_eventfd2, [0; 4]),
    ];
    let count = allowed.len();
    assert_eq!(answers(allowed), vec![None; count]);
}

fn table(text: &str) -> BTreeMap<u32, &str> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(number, name)| (number.parse().unwrap(), name))
        .collect()
}

/// Numbers that no architecture of ours lacks: a call that the table has forgotten would be hidden from programs.
#[test]
fn the_tables_have_no_holes() {
    let x86 = table(include_str!("../syscalls/x86_64"));
    let arm = table(include_str!("../syscalls/aarch64"));
    // Gone for good: see the head of the tables.
    let gone_on_x86 = [134, 156, 174, 177, 178, 180, 181, 182, 183, 184, 185, 212, 214, 215, 236];
    // 335 and on are reserved: the number was moved to 424 to be the same on all architectures.
    for number in (0..=334).chain(424..=469) {
        assert!(x86.contains_key(&number) || gone_on_x86.contains(&number), "x86_64 lacks {number}");
    }
    let gone_on_arm = [18, 42];
    // 244 to 259 belong to architectures; 295 and on are reserved.
    for number in (0..=243).chain(260..=294).chain(424..=469) {
        assert!(arm.contains_key(&number) || gone_on_arm.contains(&number), "aarch64 lacks {number}");
    }
    for (number, name) in arm.range(424..) {
        if *number != 447 {
            assert_eq!(x86.get(number), Some(name));
        }
    }
}

#[test]
fn who_listens_hears_each_change_by_path_before_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().to_owned();
    let (send, listeners) = std::sync::mpsc::channel();
    let caller = thread::spawn(move || {
        set_no_new_privs().unwrap();
        send.send(install_watched().unwrap()).unwrap();
        // None of these is heard.
        std::fs::read_dir(&base).unwrap();
        assert!(std::fs::File::open(base.join("nothing")).is_err());
        let dir = std::fs::File::open(&base).unwrap();
        // These are.
        rustix::fs::mkdirat(&dir, "made", rustix::fs::Mode::RWXU).unwrap();
        std::fs::write(base.join("written"), "x").unwrap();
        rustix::fs::renameat(&dir, "written", &dir, "named").unwrap();
        std::os::unix::fs::symlink("anywhere", base.join("link")).unwrap();
        std::fs::remove_file(base.join("named")).unwrap();
        rustix::fs::openat2(
            &dir,
            "x",
            rustix::fs::OFlags::CREATE,
            rustix::fs::Mode::RWXU,
            rustix::fs::ResolveFlags::empty(),
        )
        .unwrap_err()
    });
    let listener = listeners.recv().unwrap();
    let mut heard = Vec::new();
    loop {
        let mut poll = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, None).unwrap();
        if !poll[0].revents().contains(rustix::event::PollFlags::IN) {
            break;
        }
        let Some(notice) = listener.next().unwrap() else { continue };
        let memory = notice.memory().unwrap();
        let path = |place: &listener::Place| String::from_utf8(place.path(&memory)).unwrap();
        let paths: Vec<_> = notice.paths.iter().map(path).collect();
        for place in &notice.paths {
            let begins = std::fs::read_link(place.begins(notice.caller)).unwrap();
            let wanted = if place.dir.is_some() { folder.path().to_owned() } else { std::env::current_dir().unwrap() };
            assert_eq!(begins, wanted);
        }
        // It is not made before it is let go.
        let last = paths.last().unwrap();
        let made = folder.path().join(last);
        assert_eq!(made.symlink_metadata().is_ok(), notice.call.starts_with("unlink"), "{} {paths:?}", notice.call);
        let writes = notice.flags.map(|flags| flags.contains(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE));
        assert_eq!(writes, notice.call.starts_with("open").then_some(true));
        assert!(listener.waits(&notice));
        heard.push((notice.call, last.rsplit('/').next().unwrap().to_owned()));
        listener.let_go(&notice).unwrap();
    }
    assert_eq!(caller.join().unwrap(), rustix::io::Errno::NOSYS);
    let heard: Vec<_> = heard.iter().map(|(call, name)| (call.trim_end_matches("at"), name.as_str())).collect();
    let expected =
        [("mkdir", "made"), ("open", "written"), ("rename", "named"), ("symlink", "link"), ("unlink", "named")];
    assert_eq!(heard, expected);
}

#[test]
fn who_has_a_listener_gets_no_other() {
    let kind = thread::spawn(|| {
        set_no_new_privs().unwrap();
        let first = install_watched().unwrap();
        let second = install_watched().unwrap_err();
        drop(first);
        second.source.kind()
    });
    assert_eq!(kind.join().unwrap(), ErrorKind::ResourceBusy);
}
