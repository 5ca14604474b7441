//! Frames that our init would never send, from somebody who has taken it over: the supervisor ends the machine, and
//! nothing else happens to the host.
//!
//! The tests take init's end of the link with pidfd_getfd(2), which needs root.

use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open},
};
use std::{fs::File, io::Write, process::Stdio};
use support::{Who, World, eventually, inspected, resident, stdout, told};
use wire::{
    Channel,
    frame::{self, HEADER, Kind, MAX_PAYLOAD},
    link::{ExecFailure, ExecReport, Flow, FromInit},
};

/// Init's own number for its end.
const LINK: i32 = 3;
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
    let flow = wire::encode(&Flow { host: "example.org".into(), port: 80 }).unwrap();
    ends(&frame_of(Kind::Open, 0, 1001, &flow));
}

#[test]
fn a_flow_that_is_none() {
    ends(&frame_of(Kind::Open, 0, 1 << 20, &[0xff; 40]));
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

/// Connections asked for without end, by one who never reads the answers: the supervisor must not keep them all.
#[test]
fn questions_without_end() {
    for who in Who::all() {
        let Some((world, mut link)) = taken_over(who) else { return };
        let supervisor = inspected(&world, "box", "supervisor_pid");
        stop_init(&world);
        let flow = wire::encode(&Flow { host: "example.org".into(), port: 80 }).unwrap();
        let mut questions = Vec::new();
        for stream in (2..).step_by(2).take(1 << 20) {
            questions.extend(frame_of(Kind::Open, 0, stream, &flow));
            questions.extend(frame_of(Kind::Close, 0, stream, b""));
        }
        // Once the supervisor listens no more, nothing is taken any more.
        let sent = send(&mut link, &questions, 100);
        let kept = resident(supervisor);
        assert!(kept < 32 << 20, "{kept} bytes after {sent} of {}", questions.len());
        // It listens to its user as before.
        assert!(stdout(&mut world.agentkernel(["ps"])).contains("box"));
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
        stop_init(&world);
        let mut flows = Vec::new();
        for (number, stream) in (2..).step_by(2).take(500).enumerate() {
            let host = format!("\u{1b}[2J\u{202e}{number}{}", "\u{10000}".repeat(10_000));
            let flow = wire::encode(&Flow { host, port: 80 }).unwrap();
            flows.extend(frame_of(Kind::Open, 0, stream, &flow));
            flows.extend(frame_of(Kind::Close, 0, stream, b""));
        }
        send(&mut link, &flows, 100);
        // All of them still fit an answer.
        eventually("all are known", || {
            stdout(&mut world.agentkernel(["inspect", "--format", "{running.refused}", "box"])).contains("499")
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
