use super::*;
use proptest::prelude::*;
use std::{io::Write, os::fd::OwnedFd};
use tempfile::TempDir;

fn directory() -> (TempDir, impl Fn() -> OwnedFd) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, move || fs::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap())
}

fn reader(dir: OwnedFd, tail: Tail) -> LogReader {
    LogReader::new(dir, "/box".into(), tail).unwrap()
}

/// Everything up to now, as one text per channel, in the order of the records.
fn rest(reader: &mut LogReader) -> Vec<LogData> {
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| record.data).collect()
}

fn out(text: &str) -> LogData {
    LogData::Output(Channel::Stdout, text.into())
}

fn bytes_of(records: &[LogData], wanted: Channel) -> Vec<u8> {
    let of = |data: &LogData| match data {
        LogData::Output(channel, bytes) if *channel == wanted => bytes.clone(),
        _ => Vec::new(),
    };
    records.iter().flat_map(of).collect()
}

#[test]
fn nothing_is_made_before_the_first_byte() {
    let (dir, fd) = directory();
    let mut writer = LogWriter::new(fd());
    writer.append(Channel::Stdout, b"");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let mut reading = reader(fd(), Tail::default());
    assert_eq!(rest(&mut reading), []);
    writer.append(Channel::Stdout, b"x");
    assert_eq!(rest(&mut reading), [out("x")]);
}

#[test]
fn a_record_is_as_documented() {
    let (dir, fd) = directory();
    LogWriter::new(fd()).append(Channel::Stderr, b"ab");
    let bytes = std::fs::read(dir.path().join(CURRENT)).unwrap();
    assert_eq!(bytes[8..], [2, 2, 0, 0, 0, b'a', b'b']);
    let seconds = u64::from_le_bytes(bytes[..8].try_into().unwrap()) / 1_000_000_000;
    assert!(seconds.abs_diff(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()) < 100);
}

#[test]
fn a_notice_is_nobodys_output_and_counts_as_a_line() {
    let (_dir, fd) = directory();
    let mut writer = LogWriter::new(fd());
    writer.append(Channel::Stderr, b"agentkernel: forged\n");
    writer.notice("first");
    writer.append(Channel::Stdout, b"a\nb\n");
    writer.notice("last");
    let notice = |words: &str| LogData::Notice(words.into());
    let forged = LogData::Output(Channel::Stderr, b"agentkernel: forged\n".to_vec());
    let all = [forged, notice("first"), out("a\nb\n"), notice("last")];
    assert_eq!(rest(&mut reader(fd(), Tail::default())), all);
    let tail = |lines| rest(&mut reader(fd(), Tail { since_ns: 0, lines: Some(lines) }));
    assert_eq!(tail(1), [notice("last")]);
    assert_eq!(tail(2), [out("b\n"), notice("last")]);
    assert_eq!(tail(4), all[1..]);
    assert_eq!(tail(5), all);
}

#[test]
fn a_torn_record_is_not_read_and_not_in_the_way() {
    let (dir, fd) = directory();
    let path = dir.path().join(CURRENT);
    let mut writer = LogWriter::new(fd());
    writer.append(Channel::Stdout, b"first");
    let whole = std::fs::read(&path).unwrap();
    writer.append(Channel::Stdout, b"second");
    let both = std::fs::read(&path).unwrap();
    drop(writer);
    for length in whole.len()..both.len() {
        std::fs::write(&path, &both[..length]).unwrap();
        let mut reading = reader(fd(), Tail::default());
        assert_eq!(rest(&mut reading), [out("first")]);
        LogWriter::new(fd()).append(Channel::Stdout, b"third");
        assert_eq!(rest(&mut reading), [out("third")], "the same reader, after the cut at {length}");
        assert_eq!(rest(&mut reader(fd(), Tail::default())), [out("first"), out("third")]);
    }
}

#[test]
fn a_damaged_log_is_told_and_put_aside() {
    let (dir, fd) = directory();
    let mut damaged = vec![0; 8];
    damaged.extend([9, 1, 0, 0, 0, b'x']);
    std::fs::write(dir.path().join(CURRENT), &damaged).unwrap();
    let mut reading = reader(fd(), Tail::default());
    assert!(matches!(reading.next_record(), Err(StoreError::Damaged { .. })));
    LogWriter::new(fd()).append(Channel::Stdout, b"new");
    assert_eq!(std::fs::read(dir.path().join(OLDER)).unwrap(), damaged);
    assert!(std::fs::read(dir.path().join(CURRENT)).unwrap().ends_with(b"new"));
}

#[test]
fn two_files_at_most_and_a_follower_misses_nothing() {
    let (dir, fd) = directory();
    let mut writer = LogWriter::new(fd()).rotate_at(1000);
    let mut reading = reader(fd(), Tail::default());
    let mut seen = Vec::new();
    for round in 0..200 {
        writer.append(Channel::Stdout, format!("line {round}\n").as_bytes());
        if round % 20 == 0 {
            seen.extend(rest(&mut reading));
        }
    }
    seen.extend(rest(&mut reading));
    let expected: String = (0..200).map(|round| format!("line {round}\n")).collect();
    assert_eq!(String::from_utf8(bytes_of(&seen, Channel::Stdout)).unwrap(), expected);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    for file in [CURRENT, OLDER] {
        assert!(std::fs::metadata(dir.path().join(file)).unwrap().len() <= 1000);
    }
    let tail = bytes_of(&rest(&mut reader(fd(), Tail::default())), Channel::Stdout);
    assert!(tail.ends_with(b"line 199\n") && tail.len() > 450, "both files are read: {}", tail.len());
}

#[test]
fn waiting_ends_when_something_comes() {
    let (_dir, fd) = directory();
    let mut writer = LogWriter::new(fd());
    let mut reading = reader(fd(), Tail::default());
    let long = Duration::from_secs(60);
    reading.wait(long).unwrap();
    assert_eq!(rest(&mut reading), []);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            writer.append(Channel::Stdout, b"now");
        });
        // One event may come for the file and one for its bytes.
        let mut seen = Vec::new();
        while seen.is_empty() {
            reading.wait(long).unwrap();
            seen = rest(&mut reading);
        }
        assert_eq!(seen, [out("now")]);
    });
    reading.wait(Duration::from_millis(1)).unwrap();
}

#[test]
fn since_leaves_out_what_is_older() {
    let (_dir, fd) = directory();
    let mut writer = LogWriter::new(fd());
    writer.append(Channel::Stdout, b"old\n");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let since_ns = now() + 1;
    while now() <= since_ns {}
    writer.append(Channel::Stdout, b"new\nnewer\n");
    assert_eq!(rest(&mut reader(fd(), Tail { since_ns, lines: None })), [out("new\nnewer\n")]);
    assert_eq!(rest(&mut reader(fd(), Tail { since_ns, lines: Some(5) })), [out("new\nnewer\n")]);
    assert_eq!(rest(&mut reader(fd(), Tail { since_ns, lines: Some(1) })), [out("newer\n")]);
}

#[test]
fn no_lines_means_only_what_comes() {
    let (_dir, fd) = directory();
    let mut writer = LogWriter::new(fd());
    writer.append(Channel::Stdout, b"old\n");
    let mut reading = reader(fd(), Tail { since_ns: 0, lines: Some(0) });
    assert_eq!(rest(&mut reading), []);
    writer.append(Channel::Stdout, b"new\n");
    assert_eq!(rest(&mut reading), [out("new\n")]);
}

#[test]
fn lines_belong_to_their_channel() {
    let (_dir, fd) = directory();
    let mut writer = LogWriter::new(fd());
    writer.append(Channel::Stdout, b"a\nb");
    writer.append(Channel::Stderr, b"x\ny\n");
    writer.append(Channel::Stdout, b"c\n");
    // Lines end in the order a, x, y, bc.
    let records = rest(&mut reader(fd(), Tail { since_ns: 0, lines: Some(2) }));
    assert_eq!(bytes_of(&records, Channel::Stdout), b"bc\n");
    assert_eq!(bytes_of(&records, Channel::Stderr), b"y\n");
}

fn writes() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let text = prop::collection::vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n'), 1 => any::<u8>()], 0..40);
    prop::collection::vec((any::<bool>(), text), 0..30)
}

fn channel(error: bool) -> Channel {
    if error { Channel::Stderr } else { Channel::Stdout }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_written_is_read(writes in writes(), rotate_at in 50u64..2000) {
        let (_dir, fd) = directory();
        let mut writer = LogWriter::new(fd()).rotate_at(rotate_at);
        for (error, bytes) in &writes {
            writer.append(channel(*error), bytes);
        }
        let expected: Vec<LogData> = writes
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(error, bytes)| LogData::Output(channel(*error), bytes.clone()))
            .collect();
        // What was rotated away is missing at the beginning, and nowhere else.
        let read = rest(&mut reader(fd(), Tail::default()));
        prop_assert!(expected.ends_with(&read));
        let size: usize = expected.iter().map(|data| match data {
            LogData::Output(_, bytes) => HEADER + bytes.len(),
            LogData::Notice(_) | LogData::Lost(_) => 0,
        }).sum();
        prop_assert!(size as u64 > rotate_at || read == expected);
    }

    #[test]
    fn the_last_lines_are_the_last(writes in writes(), lines in 1u64..12) {
        let (_dir, fd) = directory();
        let mut writer = LogWriter::new(fd());
        // The model: every line with its channel, in the order in which they end.
        let (mut ended, mut open) = (Vec::new(), [Vec::new(), Vec::new()]);
        for (error, bytes) in &writes {
            writer.append(channel(*error), bytes);
            for &byte in bytes {
                open[usize::from(*error)].push(byte);
                if byte == b'\n' {
                    ended.push((*error, std::mem::take(&mut open[usize::from(*error)])));
                }
            }
        }
        let partial = open.iter().filter(|line| !line.is_empty()).count();
        let drop = (ended.len() + partial).saturating_sub(lines as usize).min(ended.len());
        let records = rest(&mut reader(fd(), Tail { since_ns: 0, lines: Some(lines) }));
        for error in [false, true] {
            let mut expected: Vec<u8> =
                ended[drop..].iter().filter(|(of, _)| *of == error).flat_map(|(_, line)| line.clone()).collect();
            expected.extend(&open[usize::from(error)]);
            prop_assert_eq!(bytes_of(&records, channel(error)), expected);
        }
    }

    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..300), headers in any::<bool>()) {
        let (dir, fd) = directory();
        let mut file = std::fs::File::create(dir.path().join(CURRENT)).unwrap();
        if headers {
            file.write_all(&[0; 8]).unwrap();
            file.write_all(&[255, 8, 0, 0, 0]).unwrap();
        }
        file.write_all(&bytes).unwrap();
        for lines in [None, Some(0), Some(3)] {
            let mut reading = reader(fd(), Tail { since_ns: 0, lines });
            while let Ok(Some(_)) = reading.next_record() {}
        }
        // And appended to, in whatever way; what follows is readable.
        LogWriter::new(fd()).append(Channel::Stdout, b"next");
        let mut reading = reader(fd(), Tail { since_ns: 0, lines: Some(0) });
        prop_assert_eq!(rest(&mut reading), []);
        prop_assert!(std::fs::read(dir.path().join(CURRENT)).unwrap().ends_with(b"next"));
    }
}
