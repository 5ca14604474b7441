//! Frames that our init would never send, from somebody who has taken it over: the supervisor ends the machine, and
//! nothing else happens to the host.
//!
//! The tests take init's end of the link with pidfd_getfd(2), which needs root.

use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open},
};
use std::{
    fs::File,
    io::{IoSlice, Write},
    process::Stdio,
};
use support::{Who, World, eventually, inspected, resident, stdout, told};
use wire::{
    Channel,
    flow::{Flow, Handed},
    frame::{self, HEADER, Kind, MAX_PAYLOAD},
    link::{ExecFailure, ExecReport, FromInit},
};

/// Init's own numbers for its ends.
const LINK: i32 = 3;
const FLOWS: i32 = 4;
/// The stream of the main command, the first that the supervisor opens; and of the exec after it.
const MAIN: u32 = 1;
const NEXT: u32 = 3;

/// A running sandbox with the name `box`, and its init's end of the link.
fn taken_over(who: Who) -> Option<(World, File)> {
    if !rustix::process::getuid().is_root() {
        support::skipped("hostile frames from init", "only root can take its link");
        return None;
    }
    let world = World::new(who);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--", "sleep", "600"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    let init = Pid::from_raw(inspected(&world, "box", "init_pid").cast_signed()).unwrap();
    let link: OwnedFd =
        pidfd_getfd(pidfd_open(init, PidfdFlags::empty()).unwrap(), LINK, PidfdGetfdFlags::empty()).unwrap();
    Some((world, File::from(link)))
}

/// Keeps the real init from answering, and from ending the link over answers to what it has not asked.
fn stop_init(world: &World) {
    let init = Pid::from_raw(inspected(world, "box", "init_pid").cast_signed()).unwrap();
    rustix::process::kill_process(init, Signal::STOP).unwrap();
}

/// Sends as much as is taken before so many refusals in a row, and says how much that was: init's end never blocks.
fn send(link: &mut File, bytes: &[u8], patience: u32) -> usize {
    let (mut sent, mut refusals) = (0, 0);
    while sent < bytes.len() && refusals < patience {
        match link.write(&bytes[sent..]) {
            Ok(count) => (sent, refusals) = (sent + count, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                refusals += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            // The supervisor has ended the machine.
            Err(_) => return sent,
        }
    }
    sent
}

fn frame_of(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, kind, flags, stream, payload);
    bytes
}

/// The supervisor must take these bytes for the end of trust: it kills the machine, says so, and has nothing left.
#[track_caller]
fn ends(bytes: &[u8]) {
    for who in Who::all() {
        let Some((world, mut link)) = taken_over(who) else { return };
        // Others go on meanwhile.
        let _ = stdout(&mut world.agentkernel(["create", "--name", "other", "--", "sleep", "600"]));
        let _ = stdout(&mut world.agentkernel(["start", "other"]));
        link.write_all(bytes).unwrap();
        drop(link);
        // A supervisor that crashed would have left it "lost".
        eventually("it has ended", || stdout(&mut world.agentkernel(["ps", "-a"])).contains("exited (137)"));
        let _ = stdout(&mut world.agentkernel(["exec", "other", "true"]));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box", "other"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn noise() {
    ends(&[0xff; 256]);
}

#[test]
fn a_frame_larger_than_any() {
    let mut bytes = frame_of(Kind::Data, Channel::Stdout as u8, MAIN, b"");
    bytes[..4].copy_from_slice(&(MAX_PAYLOAD as u32 + 1).to_le_bytes());
    ends(&bytes);
}

#[test]
fn an_unknown_kind() {
    let mut bytes = frame_of(Kind::Close, 0, MAIN, b"");
    bytes[4] = 200;
    ends(&bytes);
}

#[test]
fn reserved_bits() {
    let mut bytes = frame_of(Kind::Close, 0, MAIN, b"");
    bytes[HEADER - 6] = 1;
    ends(&bytes);
}

#[test]
fn an_unknown_channel() {
    ends(&frame_of(Kind::Data, 77, MAIN, b"x"));
}

#[test]
fn a_second_hello() {
    let mut bytes = Vec::new();
    frame::Hello::own().write(&mut bytes);
    ends(&bytes);
}

#[test]
fn a_message_that_is_none() {
    ends(&frame_of(Kind::Message, 0, 0, &[0xff; 40]));
}

#[test]
fn ready_twice() {
    ends(&frame_of(Kind::Message, 0, 0, &wire::encode(&FromInit::Ready { walls: vec![] }).unwrap()));
}

#[test]
fn a_stream_with_the_supervisors_number() {
    ends(&frame_of(Kind::Open, 0, 1001, &[0; 40]));
}

#[test]
fn a_stream_though_init_opens_none() {
    ends(&frame_of(Kind::Open, 0, 1 << 20, &[0; 40]));
}

#[test]
fn a_report_that_is_none() {
    ends(&frame_of(Kind::Control, 0, MAIN, &[0xff; 40]));
}

#[test]
fn credit_without_measure() {
    let credit = frame_of(Kind::Credit, 0, MAIN, &u32::MAX.to_le_bytes());
    ends(&credit.repeat(3));
}

#[test]
fn a_start_twice() {
    let started = wire::encode(&ExecReport::Started { pid: 7 }).unwrap();
    ends(&frame_of(Kind::Control, 0, MAIN, &started));
}

#[test]
fn an_end_twice() {
    let ended = wire::encode(&ExecReport::Exited(wire::Exit::Code(0))).unwrap();
    for who in Who::all() {
        let Some((world, mut link)) = taken_over(who) else { return };
        let mut client = world.agentkernel(["attach", "box"]);
        let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it is attached", || stdout(&mut world.agentkernel(["inspect", "box"])).contains("\"clients\": 1"));
        // A client that takes nothing: what it is owed keeps the exec on record.
        rustix::process::kill_process(Pid::from_child(&client), Signal::STOP).unwrap();
        let output = frame_of(Kind::Data, Channel::Stdout as u8, MAIN, &[b'x'; MAX_PAYLOAD]);
        let four = output.repeat(wire::mux::WINDOW as usize / MAX_PAYLOAD);
        send(&mut link, &four, 100);
        let report = frame_of(Kind::Control, 0, MAIN, &ended);
        send(&mut link, &report.repeat(2), 100);
        eventually("it has ended", || stdout(&mut world.agentkernel(["ps", "-a"])).contains("exited"));
        rustix::process::kill_process(Pid::from_child(&client), Signal::CONT).unwrap();
        let _ = client.wait().unwrap();
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// Init's end of the flow socket.
fn flows_of(world: &World) -> OwnedFd {
    let init = Pid::from_raw(inspected(world, "box", "init_pid").cast_signed()).unwrap();
    pidfd_getfd(pidfd_open(init, PidfdFlags::empty()).unwrap(), FLOWS, PidfdGetfdFlags::empty()).unwrap()
}

/// Hands something over; `false` if nobody takes it any more.
fn hand(flows: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    }
    for _ in 0..500 {
        match rustix::net::sendmsg(flows, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return true,
            Err(Errno::AGAIN | Errno::TOOMANYREFS) => std::thread::sleep(std::time::Duration::from_millis(10)),
            Err(_) => return false,
        }
    }
    false
}

fn flow(host: &str) -> Vec<u8> {
    wire::encode(&Handed::Flow(Flow { host: host.into(), port: 80 })).unwrap()
}

/// Whatever is handed over in place of a connection, egress goes on: it takes sockets of the internet and nothing else.
#[test]
fn what_is_no_connection_is_not_taken() {
    for who in Who::all() {
        let Some((world, _link)) = taken_over(who) else { return };
        let flows = flows_of(&world);
        stop_init(&world);
        let file = File::open("/etc/passwd").unwrap();
        let (pipe, _write) = rustix::pipe::pipe().unwrap();
        let (local, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let answer = wire::encode(&Handed::Dialled { request: 7 }).unwrap();
        for bytes in [flow("example.org"), answer, b"\xff".repeat(1024), b"\xff".repeat(60_000), vec![0]] {
            assert!(hand(&flows, &bytes, &[]));
            for fd in [file.as_fd(), pipe.as_fd(), local.as_fd(), datagram.as_fd()] {
                assert!(hand(&flows, &bytes, &[fd]));
                assert!(hand(&flows, &bytes, &[fd; 8]));
            }
        }
        // A connection after all that is judged as ever.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(hand(&flows, &flow("last.example.org"), &[server.as_fd()]));
        drop(server);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut words = String::new();
        std::io::Read::read_to_string(&mut client, &mut words).unwrap();
        assert!(words.starts_with("HTTP/1.1 403 ") && words.contains("network-none"), "{words}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// What init says is shown in a terminal, and terminals obey.
#[test]
fn words_that_a_terminal_would_obey() {
    const EVIL: &str = "gone\u{1b}]0;owned\u{7}\u{9b}2J\r\nagentkernel: all is well";
    for who in Who::all() {
        let Some((world, mut link)) = taken_over(who) else { return };
        let mut exec = world.agentkernel(["exec", "box", "sleep", "600"]);
        let exec = exec.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("it runs", || stdout(&mut world.agentkernel(["inspect", "box"])).matches("\"exec\":").count() == 2);
        let failed = ExecReport::Failed { kind: ExecFailure::NotFound, cause: EVIL.into() };
        link.write_all(&frame_of(Kind::Control, 0, NEXT, &wire::encode(&failed).unwrap())).unwrap();
        let output = exec.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(127), "{}", told(&output));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("agentkernel: gone") && text.ends_with('\n'), "{text:?}");
        assert!(!text.trim_end_matches('\n').chars().any(char::is_control), "{text:?}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

/// Names of hosts are the program's choice, and are shown to the user: at the end, and in the log.
#[test]
fn names_that_a_terminal_would_obey() {
    for who in Who::all() {
        let Some((world, mut link)) = taken_over(who) else { return };
        let flows = flows_of(&world);
        stop_init(&world);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for number in 0..500 {
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let host = format!("\u{1b}[2J\u{202e}{number}{}", "\u{10000}".repeat(200));
            let good = format!("n{number}.example.org");
            assert!(hand(&flows, &flow(&host), &[client.as_fd()]));
            assert!(hand(&flows, &flow(&good), &[client.as_fd()]));
            drop(listener.accept().unwrap());
        }
        // All of them still fit an answer.
        eventually("all are known", || {
            stdout(&mut world.agentkernel(["inspect", "--format", "{running.refused}", "box"]))
                .contains("n499.example.org")
        });
        let ended = wire::encode(&ExecReport::Exited(wire::Exit::Code(0))).unwrap();
        link.write_all(&frame_of(Kind::Control, 0, MAIN, &ended)).unwrap();
        eventually("it has ended", || stdout(&mut world.agentkernel(["ps", "-a"])).contains("exited (0)"));
        let output = world.agentkernel(["logs", "box"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("agentkernel: Connections from the sandbox were refused"), "{text:?}");
        assert!(text.ends_with(" and others\n") && text.len() < 2000, "{text:?}");
        assert!(!text.trim_end_matches('\n').chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// Output in the smallest pieces, for viewers that do not look: it costs what it weighs, not what its frames do.
#[test]
fn output_in_frames_of_one_byte() {
    for who in Who::all() {
        let Some((world, mut link)) = taken_over(who) else { return };
        let supervisor = inspected(&world, "box", "supervisor_pid");
        stop_init(&world);
        let mut viewers: Vec<_> = (0..3)
            .map(|_| {
                let mut viewer = world.agentkernel(["attach", "--no-stdin", "box"]);
                viewer.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
            })
            .collect();
        let attached = |world: &World| stdout(&mut world.agentkernel(["inspect", "box"])).contains("\"clients\": 3");
        eventually("they are attached", || attached(&world));
        for viewer in &viewers {
            rustix::process::kill_process(Pid::from_child(viewer), Signal::STOP).unwrap();
        }
        // One window goes on to the viewers, as far as their own windows go; the next one has to wait.
        let piece = frame_of(Kind::Data, Channel::Stdout as u8, MAIN, b"x");
        let windows = piece.repeat(2 * wire::mux::WINDOW as usize);
        assert_eq!(send(&mut link, &windows, 1000), windows.len());
        eventually("it has taken them", || attached(&world));
        let kept = resident(supervisor);
        assert!(kept < 40 << 20, "{kept} bytes");
        for viewer in &mut viewers {
            viewer.kill().unwrap();
            let _ = viewer.wait().unwrap();
        }
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
