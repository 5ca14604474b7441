use super::*;
use flate2::{Compress, Compression, FlushCompress};

/// Compressed, flushed after each piece.
fn coded(mut stream: Compress, pieces: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let flush = if number + 1 == pieces.len() { FlushCompress::Finish } else { FlushCompress::Sync };
        let end = stream.total_in() + piece.len() as u64;
        loop {
            all.reserve(64 * 1024);
            let rest = &piece[piece.len() - (end - stream.total_in()) as usize..];
            let status = stream.compress_vec(rest, &mut all, flush).unwrap();
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => stream.total_in() == end && all.len() < all.capacity(),
            };
            if done {
                break;
            }
        }
    }
    all
}

fn gzip() -> Compress {
    Compress::new_gzip(Compression::default(), 15)
}

fn read(coding: &str, bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut decoder, mut all) = (Decoder::new(coding).unwrap(), Vec::new());
    bytes.chunks(piece).for_each(|piece| decoder.read(piece, |plain| all.extend_from_slice(plain)));
    all
}

#[test]
fn each_coding_is_read_in_whatever_pieces() {
    let text = "some words, again and again; ".repeat(5000);
    for (name, stream) in [
        ("gzip", gzip()),
        ("X-GZIP", gzip()),
        ("deflate", Compress::new(Compression::default(), true)),
        ("Deflate", Compress::new(Compression::default(), false)),
    ] {
        let coded = coded(stream, &[text.as_bytes()]);
        for piece in [1, 100, 1 << 20] {
            assert_eq!(read(name, &coded, piece), text.as_bytes(), "{name} {piece}");
        }
    }
    let twice = [coded(gzip(), &[b"one "]), coded(gzip(), &[b"two"])].concat();
    assert_eq!(read("gzip", &twice, 3), b"one two");
    for coding in ["br", "zstd", "compress", "gzip, gzip", ""] {
        assert!(Decoder::new(coding).is_none() && !is_known(coding), "{coding}");
    }
    assert!(["GZIP", "x-gzip", "deflate", "Identity"].into_iter().all(is_known));
}

#[test]
fn what_was_flushed_comes_at_once() {
    let first = coded(gzip(), &[b"data: 1\n\n", b""]);
    let whole = coded(gzip(), &[b"data: 1\n\n", b"data: 2\n\n"]);
    let flushed = first.iter().zip(&whole).take_while(|(one, other)| one == other).count();
    let (mut decoder, mut all) = (Decoder::new("gzip").unwrap(), Vec::new());
    decoder.read(&whole[..flushed], |plain| all.extend_from_slice(plain));
    assert_eq!(all, b"data: 1\n\n");
}

#[test]
fn a_bomb_is_not_read_on() {
    let zeros = vec![0; 64 * 1024 * 1024];
    let bomb = coded(gzip(), &[&zeros]);
    assert!(bomb.len() < 100_000);
    let mut most = 0;
    let (mut decoder, mut all) = (Decoder::new("gzip").unwrap(), 0);
    decoder.read(&bomb, |plain| {
        most = most.max(plain.len());
        all += plain.len() as u64;
    });
    // All of the input may be in the stream's own buffer.
    assert!(all <= FREE + RATIO * bomb.len() as u64 + PIECE as u64 && most <= PIECE, "{all} {most}");
    assert!(all < zeros.len() as u64 && matches!(decoder.state, State::Over));
    decoder.read(&coded(gzip(), &[b"more"]), |_| panic!("it reads on"));
}

proptest::proptest! {
    #[test]
    fn nonsense_does_no_harm(bytes: Vec<u8>, name in proptest::sample::select(vec!["gzip", "deflate"]), cut: usize) {
        let mut mixed = coded(gzip(), &[b"words"]);
        let cut = cut % mixed.len();
        mixed.splice(cut.., bytes);
        read(name, &mixed, 7);
    }
}
