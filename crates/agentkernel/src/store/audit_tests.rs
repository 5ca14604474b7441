use super::*;
use std::os::fd::AsFd;

fn place() -> (tempfile::TempDir, OwnedFd) {
    let folder = tempfile::tempdir().unwrap();
    let fd = File::open(folder.path()).unwrap().into();
    (folder, fd)
}

fn writer(dir: &OwnedFd) -> AuditWriter {
    AuditWriter::new(dir.try_clone().unwrap())
}

fn reader(dir: &OwnedFd) -> AuditReader {
    AuditReader::new(dir.try_clone().unwrap(), "state".into()).unwrap()
}

fn record(flow: u64) -> AuditRecord {
    AuditRecord {
        time_ms: 1,
        sandbox: SandboxId::try_from("0123456789ab".to_owned()).unwrap(),
        name: Some("web".into()),
        subject: Subject::Connection { flow, host: "example.org".into(), port: 443 },
        event: AuditEvent::Refused {
            reason: "not-allowed".into(),
            denied: true,
            cause: "no rule allows it".into(),
            request: None,
        },
    }
}

/// Of a connection its number, its host and its port.
fn of(record: &AuditRecord) -> (u64, &str, u16) {
    let Subject::Connection { flow, host, port } = &record.subject else { panic!("{record:?}") };
    (*flow, host, *port)
}

fn numbers(reader: &mut AuditReader) -> Vec<u64> {
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| of(&record).0).collect()
}

#[test]
fn what_is_written_is_read_and_followed() {
    let (_folder, dir) = place();
    let mut reader = reader(&dir);
    assert_eq!(reader.next_record().unwrap(), None);
    let (mut one, mut two) = (writer(&dir), writer(&dir));
    one.append(&record(1));
    two.append(&record(2));
    reader.wait(Duration::from_secs(5)).unwrap();
    assert_eq!(reader.next_record().unwrap(), Some(record(1)));
    assert_eq!(numbers(&mut reader), [2]);
    one.append(&record(3));
    reader.wait(Duration::from_secs(5)).unwrap();
    assert_eq!(numbers(&mut reader), [3]);
}

#[test]
fn a_line_is_one_flat_object() {
    let line = serde_json::to_string(&record(7)).unwrap();
    assert_eq!(
        line,
        r#"{"time_ms":1,"sandbox":"0123456789ab","name":"web","flow":7,"host":"example.org","port":443,"event":"refused","reason":"not-allowed","denied":true,"cause":"no rule allows it"}"#
    );
}

#[test]
fn files_are_rotated_and_the_oldest_are_gone() {
    let (folder, dir) = place();
    let (mut one, mut two) = (writer(&dir).rotate_at(1000), writer(&dir).rotate_at(1000));
    let mut follower = reader(&dir);
    let mut followed = Vec::new();
    for flow in 0..200 {
        if flow % 2 == 0 { &mut one } else { &mut two }.append(&record(flow));
        followed.extend(numbers(&mut follower));
        follower.wait(Duration::from_millis(1)).unwrap();
    }
    followed.extend(numbers(&mut follower));
    assert_eq!(followed, (0..200).collect::<Vec<_>>(), "whoever follows misses nothing");
    let kept = numbers(&mut reader(&dir));
    assert_eq!(kept.last(), Some(&199));
    assert!(kept.windows(2).all(|pair| pair[1] == pair[0] + 1) && kept.len() < 60, "{kept:?}");
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1 + OLDER as usize + 1, "the current one, the older ones and the lock");
}

#[test]
fn whoever_was_away_gets_all_that_is_still_there() {
    let (_folder, dir) = place();
    let mut one = writer(&dir).rotate_at(1000);
    let mut follower = reader(&dir);
    one.append(&record(0));
    follower.wait(Duration::from_secs(5)).unwrap();
    assert_eq!(numbers(&mut follower), [0]);
    (1..20).for_each(|flow| one.append(&record(flow)));
    follower.wait(Duration::from_secs(5)).unwrap();
    assert_eq!(numbers(&mut follower), (1..20).collect::<Vec<_>>());
    // More than is kept: the rest of its own file, and from the oldest on.
    (20..200).for_each(|flow| one.append(&record(flow)));
    let followed = numbers(&mut follower);
    assert!(followed[0] == 20 && followed.ends_with(&numbers(&mut reader(&dir))), "{followed:?}");
}

fn records(dir: &OwnedFd) -> Vec<AuditRecord> {
    let mut reader = reader(dir);
    std::iter::from_fn(|| reader.next_record().unwrap()).collect()
}

fn opened(flow: u64) -> AuditRecord {
    let event = AuditEvent::Opened { rule: "example.org".into(), address: "192.0.2.1:443".into() };
    AuditRecord { event, ..record(flow) }
}

fn closed(flow: u64) -> AuditRecord {
    let event = AuditEvent::Closed { sent: 10, received: 20, requests: 2, tokens: 3, duration_ms: 4 };
    AuditRecord { event, ..record(flow) }
}

fn to(host: &str, port: u16, record: AuditRecord) -> AuditRecord {
    let flow = of(&record).0;
    AuditRecord { subject: Subject::Connection { flow, host: host.into(), port }, ..record }
}

/// How many were allowed and refused, how many are over, and what these carried, by all records.
fn sums<'a>(records: impl IntoIterator<Item = &'a AuditRecord>) -> [u64; 7] {
    records.into_iter().fold([0; 7], |sums, record| {
        let more = match record.event {
            AuditEvent::Opened { .. } => [1, 0, 0, 0, 0, 0, 0],
            AuditEvent::Refused { .. } => [0, 1, 0, 0, 0, 0, 0],
            AuditEvent::Closed { sent, received, requests, tokens, .. } => [0, 0, 1, sent, received, requests, tokens],
            AuditEvent::Folded { verdict, count, closed, sent, received, requests, tokens, .. } => {
                let (allowed, refused) = if verdict == Verdict::Allowed { (count, 0) } else { (0, count) };
                [allowed, refused, closed, sent, received, requests, tokens]
            }
        };
        std::array::from_fn(|at| sums[at] + more[at])
    })
}

#[test]
fn one_sandbox_does_not_push_the_others_out() {
    let (_folder, dir) = place();
    let mut writer = writer(&dir);
    let burst = REFUSED.0 as u64;
    for flow in 0..10 * burst {
        writer.append(&record(flow));
    }
    let written = numbers(&mut reader(&dir)).len() as u64;
    assert!((burst..burst + 100).contains(&written), "{written}");
    // What was too much is told when there is room again, before what comes then.
    writer.lanes[1].allow(10.0);
    writer.append(&record(99_999));
    assert!(writer.is_behind());
    writer.tell(false);
    assert!(!writer.is_behind());
    writer.append(&record(100_000));
    let records = records(&dir);
    assert_eq!(sums(&records)[1], 10 * burst + 2);
    let folded = records.iter().filter(|record| matches!(record.event, AuditEvent::Folded { .. })).count();
    assert_eq!((folded, records.len() as u64), (1, written + 2), "one line for all that was too much");
    assert_eq!(of(records.last().unwrap()).0, 100_000);
}

#[test]
fn what_is_refused_does_not_hide_what_is_allowed() {
    let (_folder, dir) = place();
    let mut writer = writer(&dir);
    for flow in 0..10_000 {
        writer.append(&to(&format!("{flow}.example.net"), 443, record(flow)));
    }
    writer.append(&to("exfil.example.com", 443, opened(77_777)));
    writer.append(&to("exfil.example.com", 443, closed(77_777)));
    let records = records(&dir);
    let last: Vec<_> = records.iter().rev().take(2).map(of).collect();
    assert_eq!(last, [(77_777, "exfil.example.com", 443); 2]);
}

#[test]
fn what_comes_too_fast_is_not_lost_in_sum() {
    let (_folder, dir) = place();
    let mut writer = writer(&dir);
    let mut expected = Vec::new();
    for flow in 0..9000 {
        let host = ["a.example.org", "b.example.org"][flow as usize % 2];
        for record in [to(host, 443, opened(flow)), to(host, 80, closed(flow)), to(host, 22, record(flow))] {
            writer.append(&record);
            expected.push(record);
        }
        if flow % 1000 == 0 {
            writer.tell(false);
        }
    }
    drop(writer);
    let records = records(&dir);
    assert!(records.len() < 6000, "{}", records.len());
    for (host, port) in [("a.example.org", 443), ("b.example.org", 80), ("a.example.org", 22)] {
        let to = |record: &&AuditRecord| (of(record).1, of(record).2) == (host, port);
        assert_eq!(sums(records.iter().filter(to)), sums(expected.iter().filter(to)), "{host}:{port}");
    }
    let refused = |record: &&AuditRecord| of(record).2 == 22 && matches!(record.event, AuditEvent::Folded { .. });
    let AuditEvent::Folded { verdict, reason, .. } = &records.iter().find(refused).unwrap().event else { panic!() };
    assert_eq!((*verdict, reason.as_deref()), (Verdict::Denied, Some("not-allowed")));
}

#[test]
fn targets_beyond_number_are_one() {
    let (_folder, dir) = place();
    let mut writer = writer(&dir);
    writer.lanes.iter_mut().for_each(|lane| lane.allow(0.0));
    for flow in 0..5000 {
        writer.append(&to(&format!("{flow}.example.org"), 443, opened(flow)));
        writer.append(&to(&format!("{flow}.example.org"), 443, closed(flow)));
        writer.append(&to(&format!("{flow}.example.net"), 443, record(flow)));
    }
    drop(writer);
    let records = records(&dir);
    assert_eq!(sums(&records), [5000, 5000, 5000, 50_000, 100_000, 10_000, 15_000]);
    let others: Vec<_> = records.iter().filter(|record| record.subject.is_others()).collect();
    assert_eq!((others.len(), records.len()), (2, 2 * crate::store::fold::TARGETS + 2));
    let rest = 5000 - crate::store::fold::TARGETS as u64;
    assert_eq!(sums(others)[..3], [rest; 3]);
}

#[test]
fn a_sum_is_one_flat_object() {
    let (_folder, dir) = place();
    let mut writer = writer(&dir);
    writer.lanes[0].allow(0.0);
    writer.append(&opened(1));
    writer.append(&AuditRecord { time_ms: 5, ..closed(1) });
    drop(writer);
    let line = serde_json::to_string(&records(&dir)[0]).unwrap();
    assert_eq!(
        line,
        r#"{"time_ms":5,"sandbox":"0123456789ab","name":"web","flow":0,"host":"example.org","port":443,"event":"folded","verdict":"allowed","count":1,"closed":1,"sent":10,"received":20,"requests":2,"tokens":3,"since_ms":1}"#
    );
}

/// As while the disk is full.
#[test]
fn what_cannot_be_written_is_added_up() {
    let (folder, dir) = place();
    let file = folder.path().join(CURRENT);
    std::fs::create_dir(&file).unwrap();
    let mut writer = writer(&dir);
    writer.append(&opened(1));
    writer.append(&closed(1));
    writer.append(&opened(2));
    writer.tell(true);
    assert!(writer.is_behind());
    std::fs::remove_dir(&file).unwrap();
    writer.tell(false);
    assert!(!writer.is_behind());
    let events: Vec<_> = records(&dir).into_iter().map(|record| record.event).collect();
    assert!(
        matches!(&events[..], [AuditEvent::Folded { verdict: Verdict::Allowed, count: 2, closed: 1, .. }]),
        "{events:?}"
    );
}

/// A record that a full disk has cut the end off is written, and not added up once more.
#[test]
fn a_line_without_its_end_alone_is_whole() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let (folder, dir) = place();
    let mut writer = writer(&dir);
    writer.append(&record(1));
    let size = || std::fs::metadata(folder.path().join(CURRENT)).unwrap().len();
    let before = getrlimit(Resource::Fsize);
    let short = Rlimit { current: Some(2 * size() - 1), maximum: before.maximum };
    setrlimit(Resource::Fsize, short).unwrap();
    writer.append(&record(2));
    setrlimit(Resource::Fsize, before).unwrap();
    assert!(!writer.is_behind() && size() % 2 == 1);
    writer.append(&record(3));
    assert_eq!(numbers(&mut reader(&dir)), [1, 2, 3]);
}

#[test]
fn what_is_no_file_is_no_log_and_holds_nobody_up() {
    let (folder, dir) = place();
    rustix::fs::mknodat(&dir, CURRENT, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut writer = writer(&dir);
    writer.append(&record(1));
    assert!(writer.is_behind());
    std::fs::remove_file(folder.path().join(CURRENT)).unwrap();
    writer.tell(false);
    writer.append(&record(2));
    let mut reader = reader(&dir);
    assert!(matches!(reader.next_record().unwrap().unwrap().event, AuditEvent::Folded { count: 1, .. }));
    assert_eq!(numbers(&mut reader), [2]);
}

#[test]
fn a_line_after_a_torn_one_is_whole() {
    let (folder, dir) = place();
    std::fs::write(folder.path().join(CURRENT), "{\"time_ms\":17").unwrap();
    writer(&dir).append(&record(5));
    assert_eq!(numbers(&mut reader(&dir)), [5]);
}

#[test]
fn torn_lines_are_left_out() {
    let (folder, dir) = place();
    std::fs::write(folder.path().join(CURRENT), "{\"time_ms\":1,\"sand\nnot json\n\n").unwrap();
    writer(&dir).append(&record(1));
    assert_eq!(numbers(&mut reader(&dir)), [1]);
}

#[test]
fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, dir) = place();
    writer(&dir).append(&record(1));
    assert_eq!(std::fs::metadata(folder.path().join(CURRENT)).unwrap().permissions().mode() & 0o777, 0o600);
    // A link is no log.
    std::fs::remove_file(folder.path().join(CURRENT)).unwrap();
    std::os::unix::fs::symlink("elsewhere", folder.path().join(CURRENT)).unwrap();
    let mut writer = writer(&dir);
    writer.append(&record(2));
    assert!(writer.is_behind());
    assert!(std::fs::symlink_metadata(folder.path().join("elsewhere")).is_err());
    let _ = dir.as_fd();
}
