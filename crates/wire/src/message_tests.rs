use super::*;
use crate::{
    Channel, ExecSpec, Exit, Failure, OsBytes, Rlimit, RlimitKind, Stdio, User, WinSize, api,
    flow::{self, Dial, Flow, Handed},
    frame::MAX_PAYLOAD,
    link::{self, ExecControl, ExecFailure, ExecReport, FilesReport, FromInit, Setup, ToInit},
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

fn wild() -> OsBytes {
    OsBytes(b"/caf\xe9 \xff\xfe\n\"".to_vec())
}

fn user() -> User {
    User { uid: 1000, gid: 100, groups: vec![4, u32::MAX] }
}

fn exec_spec() -> ExecSpec {
    ExecSpec {
        argv: vec!["sh".into(), wild(), "".into()],
        env: vec!["PATH=/bin".into(), OsBytes(b"X=\x80".to_vec())],
        cwd: wild(),
        user: user(),
        stdio: Stdio::Terminal { size: WinSize { rows: 1, cols: u16::MAX } },
        needs: vec!["bash".into()],
    }
}

/// The value comes back whole from postcard and from JSON, and no shortened or lengthened payload passes for it.
#[track_caller]
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = encode(value).unwrap();
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value));
    for cut in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..cut]).is_err(), "{value:?} cut to {cut} bytes");
    }
    let longer = [&bytes[..], &[0, 0]].concat();
    assert_eq!(decode::<T>(&longer), Err(MessageError::Trailing(2)));
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value, "{json}");
}

#[test]
fn link_messages_survive() {
    let wall = link::Wall { name: "seccomp".into(), holds: true, detail: "mount(2) is refused".into() };
    let usage = link::Usage { processes: 3, resident: 1 << 40, cpu_us: u64::MAX };
    survives(&ToInit::Setup(Setup {
        capture: true,
        agent: true,
        ids: vec![(0, 1), (1000, 65536)],
        writable: vec!["/tmp".into(), wild()],
        rlimits: vec![Rlimit { kind: RlimitKind::Core, value: 0 }],
        protected: vec![link::Covered { path: wild(), read_only: true }],
        log_refused: true,
        build: true,
        heartbeat_ms: Some(10_000),
        prepare: Some(Box::new(link::Prepare {
            seen: vec![link::Seen { path: wild(), device: 1 << 40, inode: u64::MAX, read_only: true }],
            hidden: vec!["/proc/keys".into()],
            memory: vec![link::Node { path: "/tmp".into(), mode: 0o1777, owner: None }],
            directories: vec![link::Node { path: "/home/a".into(), mode: 0o755, owner: Some((7, 8)) }],
            maker: Some((7, 8)),
            files: vec![(link::Node { path: wild(), mode: 0o600, owner: None }, vec![0, 255])],
            accounts: vec![account("a:x:7:7::/home/a:/bin/sh", 7)],
            hosts: Some(vec![0, 255]),
            resolver: Some(vec![7]),
        })),
    }));
    survives(&ToInit::Dial(flow::Dial { request: 1, port: 80, v6: true }));
    survives(&FromInit::OomKills(2));
    let refused = link::Refused { path: wild(), change: link::Change::Rename, program: wild() };
    survives(&FromInit::Refused(refused));
    survives(&FromInit::Unheard { cause: "Invalid argument".into() });
    survives(&ToInit::Heartbeat);
    survives(&FromInit::Heartbeat);
    survives(&ToInit::Usage);
    survives(&ToInit::Shutdown { grace_ms: 10_000 });
    survives(&FromInit::Ready { walls: vec![wall.clone(), wall] });
    survives(&FromInit::Failed { wall: "landlock".into(), cause: "not in this kernel".into() });
    survives(&FromInit::Usage(usage));
    survives(&link::Open::Exec(exec_spec()));
    survives(&link::Open::Put(link::Put { path: wild(), user: user() }));
    survives(&link::Open::Get(link::Get { path: wild(), user: user(), follow: true }));
    survives(&ExecControl::Resize(WinSize::default()));
    survives(&ExecControl::Signal(9));
    survives(&ExecReport::Started { pid: 2 });
    for kind in [ExecFailure::NotFound, ExecFailure::NotExecutable, ExecFailure::Other] {
        survives(&ExecReport::Failed { kind, cause: "no such file".into() });
    }
    for exit in [Exit::Code(0), Exit::Code(255), Exit::Signal(9), Exit::Oom, Exit::Deadline, Exit::Lost] {
        survives(&ExecReport::Exited(exit));
    }
    survives(&FilesReport::Done { left_out: "2 sockets".into() });
    survives(&FilesReport::Failed(Failure { cause: "disk full".into(), hint: "make room".into() }));
}

fn account(line: &str, id: u32) -> link::Account {
    link::Account { file: "passwd".into(), line: line.into(), id, otherwise: "root:x:0:0:::\nnobody:x:7:7:::\n".into() }
}

#[test]
fn an_account_is_added_unless_its_id_is_known() {
    let account = account("a:x:7:7:::", 7);
    assert_eq!(account.complete("b:x:8:8:::\nc:x:7:9:::\n"), None);
    assert_eq!(account.complete("b:x:70:7:::").as_deref(), Some("a:x:7:7:::\nb:x:70:7:::\n"));
    assert_eq!(account.complete("").as_deref(), Some("a:x:7:7:::\nroot:x:0:0:::\n"));
}

#[test]
fn flow_messages_survive_and_fit_a_datagram() {
    let longest = Handed::Flow(Flow { host: "a".repeat(255), port: 65535 });
    assert!(crate::encode(&longest).unwrap().len() <= flow::MAX_DATAGRAM);
    survives(&longest);
    survives(&Handed::Dialled { request: u32::MAX });
    survives(&Handed::NotDialled { request: 1, errno: 111 });
    survives(&Dial { request: 1, port: 3000, v6: true });
}

#[test]
fn api_messages_survive() {
    survives(&api::Open::Exec { spec: exec_spec(), detach: true, tied: false });
    survives(&api::Open::Attach { exec: 7, stdin: true, output: false });
    survives(&api::Open::Put(link::Put { path: wild(), user: user() }));
    survives(&api::Open::Get(link::Get { path: wild(), user: user(), follow: false }));
    for call in [
        api::Call::Stop { grace_ms: 0 },
        api::Call::Signal { exec: 0, signal: 15 },
        api::Call::Status,
        api::Call::Usage,
        api::Call::Wait,
        api::Call::Renamed,
        api::Call::Tie,
        api::Call::Undeny { rule: "localhost".into(), limits: vec![0] },
    ] {
        survives(&api::Open::Call(call));
    }
    survives(&api::Control::Exec(ExecControl::Signal(2)));
    survives(&api::Control::Detach);
    survives(&api::Report::Done);
    survives(&api::Report::Exec { exec: 1, report: ExecReport::Started { pid: 5 } });
    survives(&api::Report::Files(FilesReport::Done { left_out: String::new() }));
    survives(&api::Report::Stopped(Exit::Lost));
    survives(&api::Report::Lost("The engine was lost".into()));
    survives(&api::Report::Usage(link::Usage::default()));
    survives(&api::Report::Failed(Failure { cause: "no such exec".into(), hint: String::new() }));
    survives(&api::Report::Status(api::Status {
        supervisor_pid: 1,
        init_pid: 0,
        uptime: 9,
        walls: Vec::new(),
        execs: vec![api::ExecStatus { exec: 0, pid: 2, command: "sh".into(), clients: 1, terminal: true }],
        refused: vec!["example.com:443".into()],
        ports: vec![(3000, 8080)],
        denied: vec!["example.org:22".into()],
        oom_kills: 2,
    }));
}

#[test]
fn os_bytes_are_text_in_json_when_they_can_be() {
    let json = |bytes: &OsBytes| serde_json::to_string(bytes).unwrap();
    assert_eq!(json(&"/home/müller".into()), "\"/home/müller\"");
    assert_eq!(json(&OsBytes(vec![b'a', 0xff])), "[97,255]");
    assert_eq!(json(&OsBytes::default()), "\"\"");
    assert_eq!(serde_json::from_str::<OsBytes>("[104,105]").unwrap(), "hi".into());
    for bad in ["[256]", "[-1]", "[\"a\"]", "3", "null", "{}"] {
        assert!(serde_json::from_str::<OsBytes>(bad).is_err(), "{bad}");
    }
}

#[test]
fn os_bytes_are_bytes_in_postcard() {
    assert_eq!(encode(&OsBytes(vec![0xff, 0])), Ok(vec![2, 0xff, 0]));
}

#[test]
fn a_message_beyond_one_frame_is_refused() {
    let room = MAX_PAYLOAD - 3;
    assert_eq!(encode(&OsBytes(vec![0; room])).map(|bytes| bytes.len()), Ok(MAX_PAYLOAD));
    assert_eq!(encode(&OsBytes(vec![0; room + 1])), Err(MessageError::TooLarge(MAX_PAYLOAD + 1, MAX_PAYLOAD)));
}

#[test]
fn a_lying_length_costs_nothing() {
    // A list that claims 2^32 - 1 entries and brings none.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(decode::<Vec<OsBytes>>(&claim), Err(MessageError::Malformed(_))));
    assert!(matches!(decode::<OsBytes>(&claim), Err(MessageError::Malformed(_))));
    assert!(matches!(decode::<String>(&claim), Err(MessageError::Malformed(_))));
}

#[test]
fn exit_statuses_are_the_conventional_ones() {
    let cases = [
        (Exit::Code(0), 0),
        (Exit::Code(255), 255),
        (Exit::Signal(9), 137),
        (Exit::Signal(15), 143),
        (Exit::Signal(255), 255),
        (Exit::Oom, 137),
        (Exit::Deadline, 124),
        (Exit::Lost, 125),
    ];
    for (exit, status) in cases {
        assert_eq!(exit.status(), status, "{exit}");
    }
    let failures = [ExecFailure::NotFound, ExecFailure::NotExecutable, ExecFailure::Other];
    assert_eq!(failures.map(ExecFailure::status), [127, 126, 125]);
}

#[test]
fn channels_are_their_numbers() {
    for (number, channel) in (0u8..).zip([Channel::Stdin, Channel::Stdout, Channel::Stderr]) {
        assert_eq!(channel as u8, number);
        assert_eq!(Channel::try_from(number), Ok(channel));
    }
    assert_eq!(Channel::try_from(3), Err(3));
}

proptest! {
    #[test]
    fn any_os_bytes_survive(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&OsBytes(bytes));
    }

    #[test]
    fn random_payloads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode::<ToInit>(&bytes);
        let _ = decode::<FromInit>(&bytes);
        let _ = decode::<link::Open>(&bytes);
        let _ = decode::<api::Open>(&bytes);
        let _ = decode::<api::Report>(&bytes);
        let _ = decode::<Handed>(&bytes);
        let _ = decode::<Dial>(&bytes);
    }
}
