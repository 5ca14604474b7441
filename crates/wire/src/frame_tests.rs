use super::*;
use proptest::prelude::*;

fn frame(kind: u8, flags: u8, reserved: u16, stream: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&reserved.to_le_bytes());
    bytes.extend_from_slice(&stream.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

type Owned = (Kind, u8, u32, Vec<u8>);

fn decode(bytes: &[u8]) -> Result<Option<Owned>, FrameError> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    Ok(decoder.next()?.map(|frame| (frame.kind, frame.flags, frame.stream, frame.payload.to_vec())))
}

#[test]
fn layout_is_the_documented_one() {
    let mut out = Vec::new();
    write(&mut out, Kind::Data, Channel::Stderr as u8, 0x0102_0304, b"hi");
    assert_eq!(out, [2, 0, 0, 0, 3, 2, 0, 0, 4, 3, 2, 1, b'h', b'i']);
    assert_eq!(decode(&out), Ok(Some((Kind::Data, 2, 0x0102_0304, b"hi".to_vec()))));
}

#[test]
fn every_kind_survives_a_round_trip() {
    let kinds =
        [Kind::Hello, Kind::Message, Kind::Open, Kind::Data, Kind::Credit, Kind::Eof, Kind::Control, Kind::Close];
    for (number, kind) in (0u8..).zip(kinds) {
        assert_eq!(kind as u8, number);
        let stream = if matches!(kind, Kind::Hello | Kind::Message) { 0 } else { 9 };
        let mut out = Vec::new();
        write(&mut out, kind, 0, stream, b"x");
        assert_eq!(decode(&out), Ok(Some((kind, 0, stream, b"x".to_vec()))));
    }
}

#[test]
fn a_partial_frame_is_no_frame_yet() {
    let whole = frame(6, 0, 0, 1, 3, b"abc");
    for cut in 0..whole.len() {
        let mut decoder = Decoder::default();
        decoder.push(&whole[..cut]);
        assert_eq!(decoder.next(), Ok(None), "cut at {cut}");
        assert_eq!(decoder.is_mid_frame(), cut != 0);
        decoder.push(&whole[cut..]);
        assert_eq!(decoder.next().map(|frame| frame.map(|frame| frame.payload)), Ok(Some(&b"abc"[..])));
        assert!(!decoder.is_mid_frame());
    }
}

#[test]
fn broken_headers_are_refused_before_their_payload_arrives() {
    let max = MAX_PAYLOAD as u32;
    let cases = [
        (frame(9, 0, 0, 1, 0, b""), FrameError::Kind(9)),
        (frame(255, 0, 0, 1, 0, b""), FrameError::Kind(255)),
        (frame(3, 0, 0, 1, max + 1, b""), FrameError::TooLarge(max + 1)),
        (frame(3, 0, 0, 1, u32::MAX, b""), FrameError::TooLarge(u32::MAX)),
        (frame(6, 0, 1, 1, 0, b""), FrameError::Reserved),
        (frame(6, 0, 0x8000, 1, 0, b""), FrameError::Reserved),
        (frame(6, 1, 0, 1, 0, b""), FrameError::Reserved),
        (frame(4, 2, 0, 1, 4, b""), FrameError::Reserved),
        (frame(3, 3, 0, 1, 1, b""), FrameError::Channel(3)),
        (frame(5, 255, 0, 1, 0, b""), FrameError::Channel(255)),
        (frame(0, 0, 0, 1, 0, b""), FrameError::Stream(Kind::Hello, 1)),
        (frame(1, 0, 0, 7, 0, b""), FrameError::Stream(Kind::Message, 7)),
        (frame(2, 0, 0, 0, 0, b""), FrameError::Stream(Kind::Open, 0)),
        (frame(3, 0, 0, 0, 1, b""), FrameError::Stream(Kind::Data, 0)),
        (frame(7, 0, 0, 0, 0, b""), FrameError::Stream(Kind::Close, 0)),
    ];
    for (bytes, error) in cases {
        assert_eq!(decode(&bytes), Err(error));
    }
}

#[test]
fn the_largest_payload_passes() {
    let payload = vec![7; MAX_PAYLOAD];
    let bytes = frame(3, 0, 0, 1, MAX_PAYLOAD as u32, &payload);
    assert_eq!(decode(&bytes), Ok(Some((Kind::Data, 0, 1, payload))));
}

#[test]
fn a_decoder_that_failed_keeps_failing() {
    let mut decoder = Decoder::default();
    decoder.push(&frame(9, 0, 0, 1, 0, b""));
    assert_eq!(decoder.next(), Err(FrameError::Kind(9)));
    decoder.push(&frame(6, 0, 0, 1, 0, b""));
    assert_eq!(decoder.next(), Err(FrameError::Kind(9)));
}

#[test]
fn an_idle_decoder_gives_a_burst_back() {
    let mut decoder = Decoder::default();
    decoder.push(&frame(3, 0, 0, 1, MAX_PAYLOAD as u32, &vec![0; MAX_PAYLOAD]));
    assert!(matches!(decoder.next(), Ok(Some(_))));
    assert!(decoder.space().len() < MAX_PAYLOAD);
}

#[test]
#[should_panic(expected = "more bytes than there was space")]
fn filling_more_than_the_space_is_a_bug() {
    let mut decoder = Decoder::default();
    let count = decoder.space().len() + 1;
    decoder.filled(count);
}

fn hello(payload: &[u8]) -> Result<Hello, HelloError> {
    Hello::check(payload)
}

#[test]
fn own_hello_is_accepted() {
    let mut out = Vec::new();
    Hello::own().write(&mut out);
    let (kind, _, stream, payload) = decode(&out).unwrap().unwrap();
    assert_eq!((kind, stream), (Kind::Hello, 0));
    assert_eq!(hello(&payload), Ok(Hello::own()));
    let layout = [b"AKWIRE".as_slice(), &crate::PROTOCOL.to_le_bytes()].concat();
    assert!(payload.starts_with(&layout), "the layout never changes");
}

#[test]
fn another_revision_is_told_apart() {
    let error = hello(b"AKWIRE\x02\x019.9.9").unwrap_err();
    assert_eq!(error, HelloError::Version { protocol: 0x0102, version: "9.9.9".to_owned() });
    assert!(error.to_string().contains("9.9.9") && error.to_string().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn strangers_are_told_apart() {
    for payload in [&b""[..], b"AKWIRE", b"AKWIRE\x01", b"akwire\x01\x00", b"SSH-2.0-OpenSSH"] {
        assert_eq!(hello(payload), Err(HelloError::NotOurs));
    }
}

#[test]
fn a_version_cannot_write_to_the_terminal() {
    let mut payload = b"AKWIRE\xff\x00".to_vec();
    payload.extend_from_slice("\x1b]0;owned\x07\u{202e}\u{9b}31m\r\n1.0".as_bytes());
    payload.extend_from_slice(&[b'x'; 1000]);
    let Err(HelloError::Version { version, .. }) = hello(&payload) else { panic!("it is another version") };
    assert!(version.bytes().all(|byte| byte.is_ascii_graphic()), "{version:?}");
    assert_eq!(version.len(), 64);
}

fn any_frame() -> impl Strategy<Value = Owned> {
    let payload = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (0..=MAX_PAYLOAD).prop_map(|length| vec![0xa5; length]),
    ];
    (0u8..8, 0u8..3, 1u32.., payload).prop_map(|(kind, flags, stream, payload)| {
        let kind = Kind::try_from(kind).unwrap();
        let flags = if matches!(kind, Kind::Data | Kind::Eof) { flags } else { 0 };
        let stream = if matches!(kind, Kind::Hello | Kind::Message) { 0 } else { stream };
        (kind, flags, stream, payload)
    })
}

/// The most that the decoder may hold while its user drains it between reads.
const BOUND: usize = HEADER + MAX_PAYLOAD + 16 * 1024;

proptest! {
    #[test]
    fn frames_survive_any_cuts(
        frames in proptest::collection::vec(any_frame(), 1..12),
        reads in proptest::collection::vec(1usize..30_000, 1..200),
    ) {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in &frames {
            write(&mut bytes, *kind, *flags, *stream, payload);
        }
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        let mut left = &bytes[..];
        for read in reads.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let space = decoder.space();
            prop_assert!(!space.is_empty());
            let count = space.len().min(*read).min(left.len());
            space[..count].copy_from_slice(&left[..count]);
            decoder.filled(count);
            left = &left[count..];
            while let Some(frame) = decoder.next().unwrap() {
                got.push((frame.kind, frame.flags, frame.stream, frame.payload.to_vec()));
            }
            prop_assert!(decoder.buffer.capacity() <= BOUND, "{} bytes held", decoder.buffer.capacity());
        }
        prop_assert!(!decoder.is_mid_frame());
        prop_assert_eq!(got, frames);
    }

    #[test]
    fn random_bytes_neither_panic_nor_pile_up(reads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..50)) {
        let mut decoder = Decoder::default();
        'connection: for read in reads {
            decoder.push(&read);
            loop {
                match decoder.next() {
                    Ok(Some(frame)) => prop_assert!(frame.payload.len() <= MAX_PAYLOAD),
                    Ok(None) => break,
                    Err(_) => break 'connection,
                }
            }
            prop_assert!(decoder.buffer.capacity() <= BOUND);
        }
    }
}
