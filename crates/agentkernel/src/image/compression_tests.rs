use super::*;

/// A frame with one raw block for each part (RFC 8878, 3.1.1).
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // A single segment, with a length of one byte, and a checksum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x24, u8::try_from(length).unwrap()];
    for (index, part) in parts.iter().enumerate() {
        let header = u32::from(index + 1 == parts.len()) | u32::try_from(part.len()).unwrap() << 3;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(*part);
    }
    frame.extend([0; 4]);
    frame
}

fn skippable(kind: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![0x50 | kind, 0x2a, 0x4d, 0x18];
    frame.extend(u32::try_from(length).unwrap().to_le_bytes());
    frame.resize(frame.len() + length, b'?');
    frame
}

fn read(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    plain(looks(bytes), bytes).read_to_string(&mut text).map(|_| text)
}

#[test]
fn all_frames_are_read() {
    let (one, two, empty) = (frame(&[b"one ", b"", b"more "]), frame(&[b"two"]), frame(&[b""]));
    let cases: [(&[&[u8]], &str); 6] = [
        (&[&one], "one more "),
        (&[&one, &two], "one more two"),
        (&[&skippable(0, 5), &one, &two], "one more two"),
        (&[&one, &skippable(15, 200_000), &skippable(1, 0), &two, &skippable(3, 7)], "one more two"),
        (&[&empty, &one, &empty, &empty, &two, &empty], "one more two"),
        (&[&skippable(0, 9)], ""),
    ];
    for (frames, text) in cases {
        assert_eq!(read(&frames.concat()).unwrap(), text, "{frames:?}");
    }
}

#[test]
fn what_is_no_whole_frame_is_an_error() {
    let (one, two, skipped) = (frame(&[b"one"]), frame(&[b"two"]), skippable(2, 40));
    for length in 1..two.len() {
        assert!(read(&[&one, &two[..length]].concat()).is_err(), "{length}");
    }
    for length in 1..skipped.len() {
        assert!(read(&[&one, &skipped[..length]].concat()).is_err(), "{length}");
    }
    assert!(read(&[&one[..], b"what is no frame"].concat()).is_err());
    let mut others = two;
    // A dictionary that nobody has.
    others.splice(4..6, [0x25, 7, 3]);
    assert!(read(&[one, others].concat()).is_err());
}

#[test]
fn the_beginning_tells() {
    let cases: [(&[u8], Compression); 6] = [
        (&frame(&[b"x"]), Compression::Zstd),
        (&skippable(0, 1), Compression::Zstd),
        (&skippable(15, 1), Compression::Zstd),
        (b"\x1f\x8b\x08", Compression::Gzip),
        (b"\x60\x2a\x4d\x18", Compression::None),
        (b"", Compression::None),
    ];
    for (begin, compression) in cases {
        assert_eq!(looks(begin), compression, "{begin:?}");
    }
}
