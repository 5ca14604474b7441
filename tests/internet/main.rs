//! Makes the namespaces of a test's own internet, and brings other programs into them.
//!
//! `test-internet serve` is the first process of new namespaces, which unshare(1) made. Every address is a local one in
//! there. It opens sockets, mounts files and starts servers for the test, which is at the other end of its standard
//! input; when that one ends, in whatever way, this process ends, and all the servers with it.
//!
//! `test-internet enter PID UID PROGRAM ARGUMENT...` becomes the program in the namespaces of process PID.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // a part of tests: these fail by panicking

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process::Signal,
    thread::LinkNameSpaceType,
};
use std::{
    env, fs,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve(),
        ["enter", pid, uid, program, rest @ ..] => enter(pid, uid, program, rest),
        _ => panic!("only a test starts this: {words:?}"),
    }
}

/// Does what the test asks, one request a packet, until it is gone.
fn serve() {
    // Every address is local, and yet none but the loopback addresses is this machine's own: packets go out from those.
    for rule in ["link set lo up", "route add local default dev lo src 127.0.0.1 table local"] {
        ip(rule);
    }
    ip("-6 route add local default dev lo src ::1 table local");
    // IPv4 lets a server have every local address, IPv6 those of a device only.
    fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").unwrap();
    let test = io::stdin();
    let mut packet = vec![0; 1 << 16];
    loop {
        let (length, _) = rustix::net::recv(&test, &mut packet[..], RecvFlags::empty()).unwrap();
        if length == 0 {
            return;
        }
        let request = String::from_utf8(packet[..length].to_vec()).unwrap();
        let words: Vec<&str> = request.split('\0').collect();
        match answer(&words) {
            Ok((text, socket)) => reply(test.as_fd(), &format!("ok{text}"), socket.as_ref()),
            Err(error) => reply(test.as_fd(), &format!("{words:?}: {error}"), None),
        }
    }
}

fn ip(arguments: &str) {
    let status = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

fn answer(words: &[&str]) -> io::Result<(String, Option<OwnedFd>)> {
    let done = |socket: Option<OwnedFd>| Ok((String::new(), socket));
    match words {
        // By the /proc of the test, as the test sees it.
        ["pid"] => Ok((fs::read_link("/proc/self")?.display().to_string(), None)),
        ["tcp", address] => done(Some(TcpListener::bind(address)?.into())),
        ["udp", address] => done(Some(UdpSocket::bind(address)?.into())),
        ["try", address] => done(TcpStream::connect(address).map(|_| None)?),
        ["mount", source, target] => {
            let mount = jail::mount::copy(open(source)?, false)?;
            jail::mount::set(&mount, false, rustix::mount::MountAttrFlags::empty())?;
            jail::mount::attach(mount, open(target)?)?;
            done(None)
        }
        ["start", uid, log, program, arguments @ ..] => {
            let log = fs::File::options().create(true).append(true).open(log)?;
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            if let Ok(uid) = uid.parse::<u32>() {
                command.uid(uid).gid(uid);
            }
            // It is killed when this process, the first of its namespace, ends.
            drop(command.spawn()?);
            done(None)
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn open(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

fn reply(test: BorrowedFd<'_>, text: &str, socket: Option<&OwnedFd>) {
    let sockets: Vec<BorrowedFd<'_>> = socket.iter().map(|socket| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() {
        message.push(SendAncillaryMessage::ScmRights(&sockets));
    }
    let text = [IoSlice::new(text.as_bytes())];
    // A test that is gone is seen by the next read.
    let _ = rustix::net::sendmsg(test, &text, &mut message, SendFlags::NOSIGNAL);
}

fn enter(pid: &str, uid: &str, program: &str, arguments: &[&str]) {
    let place = env::current_dir().unwrap();
    let namespace = |process: &str, name: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).unwrap();
    let kinds =
        [("user", LinkNameSpaceType::User), ("net", LinkNameSpaceType::Network), ("mnt", LinkNameSpaceType::Mount)];
    let entries: Vec<_> = kinds
        .into_iter()
        .filter(|(name, _)| namespace("self", name) != namespace(pid, name))
        .map(|(name, kind)| (fs::File::open(format!("/proc/{pid}/ns/{name}")).unwrap(), kind))
        .collect();
    for (file, kind) in &entries {
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(*kind)).unwrap();
    }
    env::set_current_dir(place).unwrap();
    if let Ok(uid) = uid.parse::<u32>() {
        jail::process::set_ids(uid, uid, &[]).unwrap();
    }
    // Whoever starts it is a thread of the test, and waits for it.
    jail::process::set_parent_death_signal(Signal::KILL).unwrap();
    let error = Command::new(program).args(arguments).exec();
    panic!("{program}: {error}");
}
