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
        flow,
        host: "example.org".into(),
        port: 443,
        event: AuditEvent::Refused {
            reason: "not-allowed".into(),
            denied: true,
            cause: "no rule allows it".into(),
            request: None,
        },
    }
}

fn numbers(reader: &mut AuditReader) -> Vec<u64> {
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| record.flow).collect()
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
fn one_sandbox_does_not_push_the_others_out() {
    let (_folder, dir) = place();
    let mut writer = writer(&dir);
    for flow in 0..2 * BURST as u64 {
        writer.append(&record(flow));
    }
    let written = numbers(&mut reader(&dir)).len() as u64;
    assert!((BURST as u64..BURST as u64 + 1000).contains(&written), "{written}");
    // What is missing is told when there is room again.
    writer.allowance.0 = 10.0;
    writer.append(&record(99_999));
    let mut reader = reader(&dir);
    let records: Vec<_> = std::iter::from_fn(|| reader.next_record().unwrap()).collect();
    let missing: u64 = records
        .iter()
        .filter_map(|record| match record.event {
            AuditEvent::Missing { count } => Some(count),
            _ => None,
        })
        .sum();
    let kept =
        records.len() as u64 - records.iter().filter(|r| matches!(r.event, AuditEvent::Missing { .. })).count() as u64;
    assert_eq!(missing + kept, 2 * BURST as u64 + 1);
    assert_eq!(records.last().unwrap().flow, 99_999);
}

#[test]
fn what_is_no_file_is_no_log_and_holds_nobody_up() {
    let (folder, dir) = place();
    rustix::fs::mknodat(&dir, CURRENT, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut writer = writer(&dir);
    writer.append(&record(1));
    assert_eq!(writer.lost(), 1);
    std::fs::remove_file(folder.path().join(CURRENT)).unwrap();
    writer.append(&record(2));
    let mut reader = reader(&dir);
    assert_eq!(reader.next_record().unwrap().unwrap().event, AuditEvent::Missing { count: 1 });
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
    assert_eq!(writer.lost(), 1);
    assert!(std::fs::symlink_metadata(folder.path().join("elsewhere")).is_err());
    let _ = dir.as_fd();
}
