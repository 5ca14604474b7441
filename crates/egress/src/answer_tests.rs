use super::*;
use proptest::prelude::*;
use simple_dns::{
    ResourceRecord,
    rdata::{A, AAAA, CNAME, TXT},
};
use std::net::{Ipv4Addr, Ipv6Addr};

fn query(name: &str) -> Query {
    Query { id: 0x1234, name: name.to_owned(), family: Family::V4 }
}

/// An answer to a question about `asked`, with records such as `example.org 60 1.2.3.4` or `a 60 b`.
pub(crate) fn reply(id: u16, asked: &str, family: Family, code: RCODE, records: &[String]) -> Vec<u8> {
    let mut packet = Packet::new_reply(id);
    *packet.rcode_mut() = code;
    packet.questions = Packet::parse(&Query { id, name: asked.to_owned(), family }.to_message().unwrap())
        .unwrap()
        .questions
        .into_iter()
        .map(Question::into_owned)
        .collect();
    for record in records {
        let [owner, ttl, data] = record.split(' ').collect::<Vec<_>>()[..] else { panic!("{record}") };
        let data = match data.parse() {
            Ok(IpAddr::V4(address)) => RData::A(A { address: address.to_bits() }),
            Ok(IpAddr::V6(address)) => RData::AAAA(AAAA { address: address.to_bits() }),
            Err(_) => RData::CNAME(CNAME(Name::new_unchecked(data))),
        };
        packet.answers.push(ResourceRecord::new(Name::new_unchecked(owner), CLASS::IN, ttl.parse().unwrap(), data));
    }
    packet.build_bytes_vec_compressed().unwrap()
}

fn read(asked: &str, records: &[&str]) -> Answer {
    let records: Vec<String> = records.iter().map(ToString::to_string).collect();
    query(asked).read(&reply(0x1234, asked, Family::V4, RCODE::NoError, &records)).unwrap()
}

fn addresses(texts: &[&str], seconds: u32) -> Answer {
    Answer::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect(), seconds)
}

#[test]
fn a_question_is_one_that_servers_know() {
    let message = query("a.example").to_message().unwrap();
    assert_eq!(message, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01");
    let message = Query { family: Family::V6, ..query("_x-1.a") }.to_message().unwrap();
    assert_eq!(message[12..], *b"\x04_x-1\x01a\0\0\x1c\0\x01");
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61));
    assert_eq!(query(&longest).to_message().unwrap().len(), 12 + 255 + 4);
    // Its own question is no answer to it.
    assert_eq!(query("a.example").read(&query("a.example").to_message().unwrap()), None);
}

#[test]
fn addresses_are_those_of_the_name_and_of_what_it_stands_for() {
    assert_eq!(
        read("a.example", &["a.example 60 1.2.3.4", "A.EXAMPLE 30 1.2.3.5"]),
        addresses(&["1.2.3.4", "1.2.3.5"], 30)
    );
    assert_eq!(read("a.example", &[]), addresses(&[], u32::MAX));
    assert_eq!(read("a.example", &["a.example 60 1.2.3.4", "a.example 60 1.2.3.4"]), addresses(&["1.2.3.4"], 60));
    // In any order.
    let chain = ["c.example 90 1.2.3.4", "b.example 20 C.example", "a.example 30 b.example"];
    assert_eq!(read("a.example", &chain), addresses(&["1.2.3.4"], 20));
    // Those of other families, and what is said of other names, before and after, are nothing.
    for others in [
        &["evil.example 60 1.2.3.4"][..],
        &["example 60 1.2.3.4"],
        &["b.a.example 60 1.2.3.4"],
        &["a.example 60 2001:db8::1"],
        &["evil.example 60 a.example", "evil.example 60 1.2.3.4"],
        &["b.example 60 c.example", "c.example 60 1.2.3.4"],
        &["a.example 60 b.example", "c.example 60 1.2.3.4"],
        &["a.example 60 b.example"],
    ] {
        assert!(matches!(read("a.example", others), Answer::Addresses(found, _) if found.is_empty()), "{others:?}");
    }
    let mixed = ["evil.example 1 6.6.6.6", "a.example 60 1.2.3.4", "evil.example 1 b.example"];
    assert_eq!(read("a.example", &mixed), addresses(&["1.2.3.4"], 60));
}

#[test]
fn chains_end() {
    let chain = |length: usize| {
        let mut records: Vec<String> = (0..length).map(|at| format!("n{at}.example 60 n{}.example", at + 1)).collect();
        records.push(format!("n{length}.example 60 1.2.3.4"));
        query("n0.example").read(&reply(0x1234, "n0.example", Family::V4, RCODE::NoError, &records)).unwrap()
    };
    assert_eq!(chain(16), addresses(&["1.2.3.4"], 60));
    assert_eq!(chain(17), Answer::Failed);
    assert_eq!(read("a.example", &["a.example 60 a.example"]), Answer::Failed);
    assert_eq!(read("a.example", &["a.example 60 b.example", "b.example 60 a.example"]), Answer::Failed);
}

#[test]
fn at_most_64_addresses_are_taken() {
    let records: Vec<String> = (0..200).map(|last| format!("a.example 60 1.2.3.{last}")).collect();
    let answer = query("a.example").read(&reply(0x1234, "a.example", Family::V4, RCODE::NoError, &records)).unwrap();
    assert!(matches!(answer, Answer::Addresses(found, 60) if found.len() == 64));
}

#[test]
fn the_code_of_an_answer_decides() {
    let read = |code, records: &[&str]| {
        let records: Vec<String> = records.iter().map(ToString::to_string).collect();
        query("a.example").read(&reply(0x1234, "a.example", Family::V4, code, &records)).unwrap()
    };
    assert_eq!(read(RCODE::NameError, &[]), Answer::NoSuchName);
    assert_eq!(read(RCODE::NameError, &["a.example 60 b.example"]), Answer::NoSuchName);
    for code in [RCODE::ServerFailure, RCODE::Refused, RCODE::FormatError, RCODE::NotImplemented] {
        assert_eq!(read(code, &["a.example 60 1.2.3.4"]), Answer::Failed);
    }
}

#[test]
fn what_answers_another_question_is_no_answer() {
    let good = reply(0x1234, "a.example", Family::V4, RCODE::NoError, &["a.example 60 1.2.3.4".to_owned()]);
    assert!(query("a.example").read(&good).is_some());
    assert!(query("A.Example").read(&good).is_some());
    assert_eq!(Query { id: 0x1235, ..query("a.example") }.read(&good), None);
    assert_eq!(Query { family: Family::V6, ..query("a.example") }.read(&good), None);
    for name in ["b.example", "example", "b.a.example", "a.example.org", "a"] {
        assert_eq!(query(name).read(&good), None, "{name}");
    }
    let with = |at: usize, byte: u8| {
        let mut changed = good.clone();
        changed[at] = byte;
        query("a.example").read(&changed)
    };
    assert_eq!(with(2, 0x01), None, "a question");
    assert_eq!(with(2, 0xa9), Some(Answer::Failed), "another operation");
    assert_eq!(with(2, 0x83), Some(Answer::Truncated));
    assert_eq!(with(26, 3), None, "another class");
    // A label with a dot in it is not two labels.
    let mut dotted = good.clone();
    dotted[12..23].copy_from_slice(b"\x09a.example\0");
    assert_ne!(query("a.example").read(&dotted), query("a.example").read(&good));
    // Whoever does not understand it may say so without repeating it; nobody may answer so.
    let bare = |code: u8| query("a.example").read(&[0x12, 0x34, 0x80, code, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((bare(1), bare(2), bare(5)), (Some(Answer::Failed), Some(Answer::Failed), Some(Answer::Failed)));
    assert_eq!((bare(0), bare(3)), (None, None));
}

#[test]
fn broken_messages_are_failures_and_nothing_worse() {
    let records: Vec<String> = (0..9).map(|last| format!("a.example 60 1.2.3.{last}")).collect();
    let good = reply(0x1234, "a.example", Family::V4, RCODE::NoError, &records);
    for length in 0..good.len() {
        let cut = query("a.example").read(&good[..length]);
        assert!(matches!(cut, None | Some(Answer::Failed)), "{length}: {cut:?}");
    }
    let with = |counts: [u8; 8], rest: &[u8]| {
        let message = [&[0x12, 0x34, 0x80, 0][..], &counts, rest].concat();
        query("a.example").read(&message)
    };
    // More records than there are, pointers to themselves, forward and in circles, labels of the reserved kinds.
    assert_eq!(with([0xff; 8], b""), Some(Answer::Failed));
    for name in
        [&b"\xc0\x0c"[..], b"\xc0\xff", b"\xff\xff", b"\x01a\xc0\x0c", b"\x40a", b"\x80a", b"\x3f", b"\xc0", b""]
    {
        assert_eq!(with([0, 1, 0, 0, 0, 0, 0, 0], &[name, b"\0\x01\0\x01"].concat()), Some(Answer::Failed), "{name:?}");
        let question = b"\x01a\x07example\0\0\x01\0\x01";
        let message = [question, name, b"\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04"].concat();
        let answer = with([0, 1, 0, 1, 0, 0, 0, 0], &message);
        if name == b"\xc0\x0c" {
            assert_eq!(answer, Some(addresses(&["1.2.3.4"], 60)));
        } else {
            assert!(
                matches!(&answer, Some(Answer::Failed))
                    || matches!(&answer, Some(Answer::Addresses(found, _)) if found.is_empty()),
                "{name:?} {answer:?}"
            );
        }
    }
    // An address of another length.
    for length in [0, 3, 5] {
        let rest = [
            b"\x01a\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0",
            &[length][..],
            &[1; 5][..length.into()],
        ]
        .concat();
        let answer = with([0, 1, 0, 1, 0, 0, 0, 0], &rest);
        assert!(
            !matches!(&answer, Some(Answer::Addresses(found, _)) if length < 4 && !found.is_empty()),
            "{length}: {answer:?}"
        );
    }
}

#[test]
fn records_of_other_kinds_do_not_matter() {
    let mut packet = Packet::new_reply(0x1234);
    packet.questions.push(Question::new(
        Name::new_unchecked("a.example"),
        QTYPE::TYPE(TYPE::A),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    let name = || Name::new_unchecked("a.example");
    packet.answers.push(ResourceRecord::new(name(), CLASS::IN, 1, RData::TXT(TXT::new().with_string("x").unwrap())));
    packet.answers.push(ResourceRecord::new(name(), CLASS::CH, 1, RData::A(A { address: 1 })));
    packet.answers.push(ResourceRecord::new(
        name(),
        CLASS::IN,
        60,
        RData::A(A { address: Ipv4Addr::LOCALHOST.to_bits() }),
    ));
    packet.answers.push(ResourceRecord::new(
        name(),
        CLASS::IN,
        1,
        RData::AAAA(AAAA { address: Ipv6Addr::LOCALHOST.to_bits() }),
    ));
    packet.additional_records.push(ResourceRecord::new(name(), CLASS::IN, 1, RData::A(A { address: 2 })));
    let message = packet.build_bytes_vec().unwrap();
    assert_eq!(query("a.example").read(&message), Some(addresses(&["127.0.0.1"], 60)));
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(mut message in proptest::collection::vec(any::<u8>(), 0..200), ours: bool) {
        if ours && message.len() > 4 {
            message[..4].copy_from_slice(&[0x12, 0x34, 0x80, 0]);
        }
        let _ = query("a.example").read(&message);
    }

    #[test]
    fn a_damaged_message_gives_nothing_of_others(at: prop::sample::Index, byte: u8) {
        let records = ["a.example 60 b.example", "b.example 60 1.2.3.4"].map(str::to_owned);
        let mut message = reply(0x1234, "a.example", Family::V4, RCODE::NoError, &records);
        let at = at.index(message.len());
        message[at] = byte;
        if let Some(Answer::Addresses(found, _)) = query("a.example").read(&message) {
            prop_assert!(found.len() <= 1);
        }
    }
}
