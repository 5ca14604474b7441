use super::*;
use crate::testing::{hello, passage};

const HERE: &str = "db.example.org";
const ELSEWHERE: &str = "hidden.example.net";
/// PostgreSQL's own word for it, and that of mail.
const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const START_TLS: &[u8] = b"EHLO me\r\nSTARTTLS\r\n";

fn watch() -> Watch {
    let (passage, _) = passage("db.example.org:5432", &[]);
    Watch::of(&passage.target, &passage.grant)
}

/// Why these bytes may not pass, if they come in pieces of this size.
fn refused(said: &[u8], size: usize) -> Option<Reason> {
    let mut watch = watch();
    let passes = said.chunks(size).all(|piece| watch.hear(piece).is_ok());
    let reason = watch.verdict().err().map(|denial| denial.reason);
    assert_eq!(passes, reason.is_none());
    reason
}

/// The same whatever the size is.
#[track_caller]
fn is_refused(said: &[u8], reason: Option<Reason>) {
    for size in [1, 2, 5, 6, 11, 100, 4096, usize::MAX] {
        assert_eq!(refused(said, size), reason, "in pieces of {size}");
    }
}

/// A message in records of this size, with these records before each but the first.
fn records(message: &[u8], size: usize, between: &[u8]) -> Vec<u8> {
    let record = |part: &[u8]| [&[0x16, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    message.chunks(size).map(record).collect::<Vec<_>>().join(between)
}

/// The message of a hello.
fn message(name: &str) -> Vec<u8> {
    hello(name, &[])[5..].to_vec()
}

#[test]
fn a_hello_is_for_the_host_after_whatever_comes_before() {
    for before in [SSL_REQUEST, START_TLS, b"", b"\x16", b"\x16\x03\x01", b"SSH-2.0-x\r\nSTARTTLS\r\n"] {
        for (name, reason) in [(HERE, None), (ELSEWHERE, Some(Reason::SniMismatch)), ("192.0.2.1", None)] {
            is_refused(&[before, &hello(name, &[]), b"and so on"].concat(), reason);
        }
    }
    let denial = {
        let mut watch = watch();
        assert!(watch.hear(&[SSL_REQUEST, &hello(ELSEWHERE, &[])].concat()).is_err());
        watch.verdict().unwrap_err()
    };
    assert_eq!(denial.detail, ELSEWHERE);
}

/// What was heard of a hello changes nothing for another one: it may be no more than a word that the server did not know.
#[test]
fn every_hello_is_looked_at() {
    let (own, other) = (hello(HERE, &[]), hello(ELSEWHERE, &[]));
    is_refused(&[&own, &own, START_TLS].concat(), None);
    is_refused(&[&own, START_TLS, &other].concat(), Some(Reason::SniMismatch));
    // In the midst of what would be one.
    for cut in [3, 5, 9, 100] {
        is_refused(&[START_TLS, &own[..cut], &other].concat(), Some(Reason::SniMismatch));
    }
    let begun = [0x16, 3, 1, 0x40, 0, 1, 0, 0x20, 0, 0];
    is_refused(&[&begun.repeat(MOST - 1), &own[..]].concat(), None);
    is_refused(&begun.repeat(MOST + 1), Some(Reason::BadTls));
}

#[test]
fn a_hello_is_one_in_whatever_records() {
    for between in [&b""[..], &[0x16, 3, 1, 0, 0], &[0x15, 3, 1, 0, 2, 1, 90], &[0x14, 3, 3, 0, 1, 1]] {
        for size in [64, 100, 1 << 14] {
            for (name, reason) in [(HERE, None), (ELSEWHERE, Some(Reason::SniMismatch))] {
                is_refused(&[SSL_REQUEST, &records(&message(name), size, between)].concat(), reason);
            }
        }
        // No client has records of a few bytes: they may be too many messages that begin.
        for size in [1, 3, 4, 7] {
            let said = records(&message(ELSEWHERE), size, between);
            assert!(refused(&said, 1).is_some() && refused(&said, usize::MAX).is_some());
        }
    }
    // Something else in the same record; longer than a record, and than what is read.
    let other = [message(ELSEWHERE), vec![20, 0, 0, 0]].concat();
    is_refused(&records(&other, 1 << 14, b""), Some(Reason::SniMismatch));
    let mut long = message(HERE);
    let session = 38 + 1 + usize::from(long[38]);
    let suites = session + 2 + usize::from(u16::from_be_bytes([long[session], long[session + 1]]));
    let at = suites + 1 + usize::from(long[suites]);
    for (more, reason) in [(20_000, None), (64_000, None)] {
        let mut long = long.clone();
        let length = u16::from_be_bytes([long[at], long[at + 1]]) + 4 + more;
        long.extend([&[0xfe, 0], &more.to_be_bytes()[..], &vec![0; more.into()]].concat());
        long[at..at + 2].copy_from_slice(&length.to_be_bytes());
        let length = (long.len() as u32 - 4).to_be_bytes();
        long[1..4].copy_from_slice(&length[1..]);
        is_refused(&records(&long, 1 << 14, b""), reason);
    }
    long.resize(70_000, 0);
    long[1..4].copy_from_slice(&(70_000_u32 - 4).to_be_bytes()[1..]);
    is_refused(&records(&long, 1 << 14, b""), Some(Reason::BadTls));
}

/// A server may read what is not to be read here.
#[test]
fn a_hello_that_cannot_be_read_goes_no_further() {
    let replaced = |by: &[u8]| {
        let mut said = hello(ELSEWHERE, &[]);
        let at = said.windows(ELSEWHERE.len()).position(|part| part == ELSEWHERE.as_bytes()).unwrap();
        said[at..at + by.len()].copy_from_slice(by);
        said
    };
    is_refused(&replaced(b"hidden\0"), Some(Reason::BadTls));
    is_refused(&replaced(b"*"), Some(Reason::BadTls));
    // A name for rustls, and none of a server.
    is_refused(&replaced(b"h_-"), Some(Reason::SniMismatch));
}

#[test]
fn what_only_looks_alike_passes() {
    let own = hello(ELSEWHERE, &[]);
    let changed = |at: usize, by: u8| {
        let mut said = own.clone();
        said[at] = by;
        said
    };
    for said in [
        // Another type, version, message, length of a name, an id that is too long.
        changed(0, 0x17),
        changed(1, 4),
        changed(5, 2),
        changed(6, 9),
        changed(43, 33),
        // Another length of the message, and of its record.
        changed(8, own[8].wrapping_sub(1)),
        changed(3, 0x60),
        own[..own.len() - 1].to_vec(),
        b"\x16\x03\x01".repeat(100_000),
        vec![0x16; 100_000],
        b"\x16\x03\x01\0\x04\x01\0\0\0".repeat(1000),
        (0..300_000_u32).flat_map(|number| (number.wrapping_mul(0x9e37_79b9)).to_be_bytes()).collect(),
    ] {
        is_refused(&said, None);
    }
    let conversation = [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], &[0, 0, 5, 0xdc, 10, 20], &[0x16; 32], b"rest"].concat();
    is_refused(&conversation, None);
}

#[test]
fn there_is_an_end_to_it() {
    let other = hello(ELSEWHERE, &[]);
    let mut watch = watch();
    watch.hear(&vec![0; WATCHED - 3]).unwrap();
    // One that has begun is heard to its end.
    watch.hear(&other[..100]).unwrap();
    assert!(watch.goes_on());
    assert!(watch.hear(&other[100..]).is_err());
    let mut watch = super::tests::watch();
    watch.hear(&vec![0; WATCHED]).unwrap();
    assert!(!watch.goes_on());
    watch.hear(&other).unwrap();
    assert!(watch.begun.is_empty());
}

/// A service of the host may be asked for TLS by any name, as by what begins with it.
#[test]
fn services_are_not_watched() {
    let (mut passage, _) = passage("db.example.org:5432", &[]);
    passage.grant.service = true;
    let mut watch = Watch::of(&passage.target, &passage.grant);
    assert!(!watch.goes_on());
    watch.hear(&hello(ELSEWHERE, &[])).unwrap();
    watch.verdict().unwrap();
}

#[test]
fn few_beginnings_are_kept() {
    // Each goes on behind a record that is passed over, in which others begin, for as long as anything comes.
    let passed_over = (11 * 1000 + 6_u16).to_be_bytes();
    let one = [&[0x16, 3, 1, 0, 1, 1, 0x15, 3, 1], &passed_over[..]].concat();
    is_refused(&one.repeat(1000), Some(Reason::BadTls));
    is_refused(&one.repeat(MOST_OF_ANY), None);
    let mut watch = watch();
    let _ = one.repeat(1 << 16).chunks(GLANCE).try_for_each(|piece| watch.hear(piece));
    assert!(watch.begun.len() < GLANCE / one.len() + MOST_OF_ANY, "{}", watch.begun.len());
}
