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
    // One suite, one compression, and an extension without an end.
    let begun = [&[0x16, 3, 1, 0x70, 0, 1, 0, 0x60, 0], &[0; 35][..], &[0, 2, 0x13, 1, 1, 0, 0x5f, 0, 0, 21, 0x5e, 0]];
    let begun = begun.concat();
    is_refused(&[&begun.repeat(MOST / 2), &own[..]].concat(), None);
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
        // Wherever a head is cut.
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
    for (more, size) in [(20_000, 1 << 14), (64_000, 1 << 14), (20_000, 0xffff)] {
        let mut long = long.clone();
        let length = u16::from_be_bytes([long[at], long[at + 1]]) + 4 + more;
        long.extend([&[0xfe, 0], &more.to_be_bytes()[..], &vec![0; more.into()]].concat());
        long[at..at + 2].copy_from_slice(&length.to_be_bytes());
        let length = (long.len() as u32 - 4).to_be_bytes();
        long[1..4].copy_from_slice(&length[1..]);
        is_refused(&records(&long, size, b""), None);
        // Its name comes first of all that is in it, or last.
        let at = long.windows(HERE.len()).position(|part| part == HERE.as_bytes()).unwrap();
        long[at..at + HERE.len()].copy_from_slice(b"db.example.net");
        is_refused(&records(&long, size, b""), Some(Reason::SniMismatch));
    }
    long.resize(70_000, 0);
    long[1..4].copy_from_slice(&(70_000_u32 - 4).to_be_bytes()[1..]);
    is_refused(&records(&long, 1 << 14, b""), None);
}

/// Whatever a server makes of it, it is none of the host's.
#[test]
fn a_name_that_no_server_has_goes_no_further() {
    let replaced = |by: &[u8]| {
        let mut said = hello(ELSEWHERE, &[]);
        let at = said.windows(ELSEWHERE.len()).position(|part| part == ELSEWHERE.as_bytes()).unwrap();
        said[at..at + by.len()].copy_from_slice(by);
        said
    };
    for by in [&b"hidden\0"[..], b"*", b"h_-", b"\0", b"\xff", b" "] {
        is_refused(&replaced(by), Some(Reason::SniMismatch));
    }
}

/// A hello in one record, with this extension of names before others.
fn with_names(extension: &[u8]) -> Vec<u8> {
    let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let extensions = [&[0, 43, 0, 3, 2, 3, 3, 0, 0], &counted(extension)[..], &[0, 11, 0, 2, 1, 0]].concat();
    let body = [&[3, 3], &[7; 32][..], &[0, 0, 2, 0x13, 1, 1, 0], &counted(&extensions)].concat();
    let length = (body.len() as u32).to_be_bytes();
    records(&[&[1], &length[1..], &body].concat(), 1 << 14, b"")
}

fn names(names: &[(u8, &str)], behind: &[u8]) -> Vec<u8> {
    let entry =
        |(kind, name): &(u8, &str)| [&[*kind], &(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat();
    let list = names.iter().flat_map(entry).collect::<Vec<_>>();
    [&(list.len() as u16).to_be_bytes(), &list[..], behind].concat()
}

#[test]
fn every_name_in_a_hello_is_looked_at() {
    let other = Some(Reason::SniMismatch);
    for (list, behind, reason) in [
        (&[(0, HERE)][..], &b""[..], None),
        (&[(0, ELSEWHERE)], b"", other),
        (&[(0, HERE), (0, ELSEWHERE)], b"", other),
        (&[(0, ELSEWHERE), (0, HERE)], b"", other),
        (&[(9, "a"), (0, ELSEWHERE)], b"", other),
        (&[(9, ELSEWHERE), (0, HERE)], b"", None),
        (&[(0, HERE)], b"\0", None),
        (&[(0, ELSEWHERE)], b"\0", other),
        (&[(0, "intranet")], b"", other),
        (&[(0, "")], b"", None),
        (&[], b"", None),
        (&[], b"\0\0\0", None),
    ] {
        is_refused(&[START_TLS, &with_names(&names(list, behind))].concat(), reason);
    }
    for long in ["a".repeat(60_000), format!("{HERE}{}", "a".repeat(300))] {
        is_refused(&with_names(&names(&[(0, &long)], b"")), other);
    }
    // What is no list of names, and what is another extension in one.
    for none in [&b""[..], b"\0", b"\0\0", b"\xff\xff\0\0\x02ab", b"\0\x06\0\0\xffabc"] {
        is_refused(&with_names(none), None);
    }
}

/// Some servers take what others, and the standards, don't: any version, lengths that no record has, and what is behind it.
#[test]
fn a_hello_is_one_for_any_server() {
    let changed = |said: &[u8], changes: &[(usize, u8)]| {
        let mut said = said.to_vec();
        changes.iter().for_each(|&(at, by)| said[at] = by);
        said
    };
    for (name, reason) in [(HERE, None), (ELSEWHERE, Some(Reason::SniMismatch))] {
        let own = hello(name, &[]);
        for version in [[0, 0], [0, 2], [2, 0], [3, 0xff], [4, 1], [0x0f, 0xff], [0xff, 1]] {
            let [major, minor] = version;
            is_refused(&[START_TLS, &changed(&own, &[(1, major), (2, minor)])].concat(), reason);
            is_refused(&changed(&own, &[(9, major), (10, minor)]), reason);
            let between = [0x16, major, minor, 0, 0];
            is_refused(&records(&message(name), 100, &between), reason);
            let mut others = records(&message(name), 100, b"");
            for at in (0..others.len()).step_by(105) {
                others[at + 1..at + 3].copy_from_slice(&version);
            }
            is_refused(&others, reason);
        }
        // What comes behind the extensions, or the message; where they end elsewhere than it is said.
        for more in [&b"\0"[..], b"\0\0\0", b"abcdef"] {
            let mut long = message(name);
            long.extend(more);
            is_refused(&records(&long, 1 << 14, b""), reason);
            let length = (long.len() as u32 - 4).to_be_bytes();
            long[1..4].copy_from_slice(&length[1..]);
            is_refused(&records(&long, 1 << 14, b""), reason);
            is_refused(&records(&long, 60, b""), reason);
        }
        is_refused(&changed(&own, &[(3, 0x60)]), reason);
        // Behind other messages in the same record, whatever those are.
        for first in [
            message(HERE),
            [message(HERE), vec![14, 0, 0, 0]].concat(),
            [message(HERE), vec![20, 0, 0, 3, 1, 1, 1]].concat(),
        ] {
            for size in [50, 100, 1 << 14] {
                is_refused(&records(&[&first[..], &message(name)].concat(), size, b""), reason);
            }
        }
    }
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
        // Another type, message, length of a message, and an id that is too long.
        changed(0, 0x17),
        changed(5, 2),
        changed(6, 9),
        changed(43, 33),
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

/// Bytes that repeat after no time that matters.
fn random(mut state: u64, size: usize) -> Vec<u8> {
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(size / 8).flatten().collect()
}

/// Of hundreds of conversations in other languages, none is taken for TLS: what is packed or encrypted (gzip, a git pack, SSH),
/// images in which few values are frequent, programs, and text in archives.
#[test]
fn other_languages_pass() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let packed = (1..=40).map(|seed| random(seed, WATCHED));
    let dark = (1..=18_u8).map(|seed| {
        let mut image = random(seed.into(), WATCHED);
        image.iter_mut().for_each(|byte| *byte = if *byte > 0x80 { 0 } else { *byte & (0xff >> (seed % 6)) });
        image
    });
    let programs = program.chunks(WATCHED).step_by(program.len() / WATCHED / 40).map(<[u8]>::to_vec);
    let mut most = 0;
    for (at, said) in packed.chain(dark).chain(programs).enumerate() {
        let mut watch = watch();
        for piece in said.chunks(GLANCE) {
            assert!(watch.hear(piece).is_ok(), "{at}: {:?}", watch.verdict());
            // Nor is much kept of what could still be one.
            most = most.max(watch.begun.len());
        }
    }
    assert!(most < MOST / 2, "{most}");
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
    is_refused(&one.repeat(MOST), None);
    let mut watch = watch();
    let _ = one.repeat(1 << 16).chunks(GLANCE).try_for_each(|piece| watch.hear(piece));
    assert!(watch.begun.len() < GLANCE / one.len() + MOST, "{}", watch.begun.len());
}
