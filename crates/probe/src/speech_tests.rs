use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_sign_is_whole_bytes_in_hpack() {
    assert_eq!(sign(TOKEN), "012aceiost012ace");
    // "012aceio": 00000 00001 00010 00011 00100 00101 00110 00111.
    assert_eq!(packed("012aceio012aceio")[..5], [0x00, 0x44, 0x32, 0x14, 0xc7]);
    assert_eq!(packed(&sign(TOKEN)).len(), 10);
    assert!(!welcome(TOKEN).contains(TOKEN) && !contains(welcome(TOKEN).as_bytes(), sign(TOKEN).as_bytes()));
}

#[test]
fn frames_are_read_as_they_are_written() {
    let request = request_in_frames(b"a.test", &[("host", "b.test")]);
    let rest = request.strip_prefix(PREFACE).expect("it comes first");
    assert_eq!(frames(rest).collect::<Vec<_>>(), [(SETTINGS, 0, 0), (HEADERS, END | WHOLE, 1)]);
    assert_eq!(frames(&answer_in_frames(3, "yes")).collect::<Vec<_>>(), [(HEADERS, WHOLE, 3), (DATA, END, 3)]);
    assert_eq!(frames(&rest[..rest.len() - 1]).count(), 1);
    assert_eq!(frames(b"").count(), 0);
}

#[test]
fn a_hello_has_its_lengths() {
    let hello = client_hello(Some(&[b"a.test"]), b"random", 150);
    assert_eq!(u32::from_be_bytes([0, hello[1], hello[2], hello[3]]) as usize, hello.len() - 4);
    assert!(hello.len() > 4096 && contains(&hello, b"\0\0\x06a.test") && contains(&hello, b"random"));
    let pieces = records(&hello, 1000);
    assert_eq!(pieces[..5], [0x16, 3, 1, 3, 0xe8]);
    assert_eq!(pieces.len(), hello.len() + 5 * hello.len().div_ceil(1000));
}

#[test]
fn an_answer_is_read() {
    assert_eq!(question(&[b"a", b"test"], 1)[12..], *b"\x01a\x04test\0\0\x01\0\x01");
    let answer = [b"\x61\x6b\x81\x83\0\0\0\x01\0\0\0\0".as_slice(), &[198, 18, 0, 1]].concat();
    assert_eq!(Reply::parse(&answer), Some(Reply { code: 3, records: 1, last: [198, 18, 0, 1] }));
    assert_eq!(Reply::parse(&answer[..11]), None);
}
