use super::*;
use proptest::prelude::*;

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(if name.is_empty() { vec![0] } else { encode_name(name) });
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message
}

/// The code, and the record's type and data.
fn parse(query: &[u8], reply: &[u8]) -> (u16, Option<(u16, Vec<u8>)>) {
    let word = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
    assert_eq!(reply[..2], query[..2], "the id comes back");
    assert_eq!(word(2) & (RESPONSE | RECURSION_AVAILABLE), RESPONSE | RECURSION_AVAILABLE);
    assert_eq!((word(8), word(10)), (0, 0));
    let code = word(2) & 15;
    let mut at = HEADER;
    if word(4) == 1 {
        let question = &query[HEADER..HEADER + parse_name(&query[HEADER..]).unwrap().length + 4];
        assert_eq!(&reply[at..at + question.len()], question, "the question comes back as it was");
        at += question.len();
    }
    let record = (word(6) == 1).then(|| {
        assert_eq!(word(at), 0xc00c);
        assert_eq!(word(at + 4), CLASS_IN);
        assert_eq!(&reply[at + 6..at + 10], &TTL.to_be_bytes());
        let length = usize::from(word(at + 10));
        let record = (word(at + 2), reply[at + 12..at + 12 + length].to_vec());
        at += 12 + length;
        record
    });
    assert_eq!(reply.len(), at, "nothing else is in the reply");
    (code, record)
}

fn ask(names: &mut Names, name: &str, kind: u16) -> (u16, Option<(u16, Vec<u8>)>) {
    let query = query(name, kind);
    parse(&query, &answer(&query, names).unwrap())
}

#[test]
fn a_name_has_one_address_whatever_its_case() {
    let mut names = Names::default();
    let (code, record) = ask(&mut names, "Example.COM", TYPE_A);
    assert_eq!((code, record.clone()), (0, Some((TYPE_A, vec![198, 18, 0, 1]))));
    assert_eq!(ask(&mut names, "example.com", TYPE_A).1, record);
    assert_eq!(ask(&mut names, "www.example.com", TYPE_A).1, Some((TYPE_A, vec![198, 18, 0, 2])));
}

#[test]
fn other_types_have_no_data_and_take_no_address() {
    let mut names = Names::default();
    for kind in [TYPE_AAAA, 5, 15, 16, 33, 64, 65, 0] {
        assert_eq!(ask(&mut names, "example.com", kind), (0, None), "{kind}");
    }
    assert_eq!(names.name(Ipv4Addr::new(198, 18, 0, 1)), None);
}

#[test]
fn backwards() {
    let mut names = Names::default();
    ask(&mut names, "example.com", TYPE_A);
    let name = Some((TYPE_PTR, encode_name("example.com")));
    assert_eq!(ask(&mut names, "1.0.18.198.in-addr.arpa", TYPE_PTR), (0, name));
    assert_eq!(ask(&mut names, "1.0.18.198.in-addr.arpa", TYPE_A), (0, None));
    let localhost = Some((TYPE_PTR, encode_name("localhost")));
    assert_eq!(ask(&mut names, "1.0.0.127.in-addr.arpa", TYPE_PTR), (0, localhost));
    for stranger in
        ["2.0.18.198.in-addr.arpa", "8.8.8.8.in-addr.arpa", "01.0.18.198.in-addr.arpa", "18.198.in-addr.arpa", "arpa"]
    {
        assert_eq!(ask(&mut names, stranger, TYPE_PTR), (3, None), "{stranger}");
    }
}

#[test]
fn special_names() {
    let mut names = Names::default();
    for localhost in ["localhost", "db.localhost"] {
        assert_eq!(ask(&mut names, localhost, TYPE_A).1, Some((TYPE_A, vec![127, 0, 0, 1])));
        assert_eq!(ask(&mut names, localhost, TYPE_AAAA).1.unwrap().0, TYPE_AAAA);
    }
    for none in
        ["a.invalid", "127.0.0.1", "0x7f.1", "host.0x7f", "sp ace.example", "", "a\u{e9}.example", "nul\0.example"]
    {
        assert_eq!(ask(&mut names, none, TYPE_A), (3, None), "{none:?}");
    }
    assert_eq!(ask(&mut names, "notlocalhost", TYPE_A).0, 0);
    assert_eq!(ask(&mut names, "_dmarc.xn--bcher-kva.example", TYPE_A).0, 0);
}

#[test]
fn what_is_no_question() {
    let mut names = Names::default();
    let good = query("example.com", TYPE_A);
    let mut code = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        answer(&message, &mut names).map(|reply| parse(&message, &reply).0)
    };
    assert_eq!(code(&|_| {}), Some(0));
    assert_eq!(code(&|m| m[2] |= 0x80), None, "a response");
    assert_eq!(code(&|m| m.truncate(11)), None, "no header");
    assert_eq!(code(&|m| m[2] |= 0x08), Some(4), "another operation");
    assert_eq!(code(&|m| m[2] |= 0x02), Some(1), "truncated");
    assert_eq!(code(&|m| m[5] = 2), Some(1), "two questions");
    assert_eq!(code(&|m| m[5] = 0), Some(1), "no question");
    assert_eq!(code(&|m| m[7] = 1), Some(1), "an answer");
    assert_eq!(code(&|m| m.truncate(20)), Some(1), "cut off in the name");
    assert_eq!(code(&|m| m.truncate(27)), Some(1), "cut off after the name");
    assert_eq!(code(&|m| m.push(0)), Some(1), "more than a question");
    assert_eq!(code(&|m| m[12] = 0xc0), Some(1), "a pointer");
    assert_eq!(code(&|m| m[12] = 64), Some(1), "a label that is too long");
    assert_eq!(code(&|m| *m.last_mut().unwrap() = 3), Some(5), "another class");
    // With EDNS: one additional record.
    let edns = code(&|m| {
        m[11] = 1;
        m.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    });
    assert_eq!(edns, Some(0));
}

#[test]
fn the_longest_name() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert_eq!(encode_name(&longest).len(), MAX_NAME);
    let mut names = Names::default();
    assert_eq!(ask(&mut names, &longest, TYPE_A).0, 0);
    let message = query(&format!("{longest}b"), TYPE_A);
    assert_eq!(answer(&message, &mut names).unwrap()[3] & 15, 1);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = answer(&bytes, &mut Names::default());
    }

    #[test]
    fn a_damaged_question_gets_a_sound_reply_or_none(
        position in 0usize..33, value: u8, cut in 0usize..40, kind: u16,
    ) {
        let mut message = query("some.host.example", kind);
        message.truncate(cut.max(12));
        if let Some(byte) = message.get_mut(position) {
            *byte = value;
        }
        if let Some(reply) = answer(&message, &mut Names::default()) {
            parse(&message, &reply);
        }
    }

    #[test]
    fn names_survive(labels in proptest::collection::vec("[a-z0-9_-]{1,63}", 1..4)) {
        let host = labels.join(".");
        let encoded = encode_name(&host);
        let name = parse_name(&encoded).unwrap();
        prop_assert_eq!(name.host, Some(host));
        prop_assert_eq!(name.length, encoded.len());
    }
}
