//! What grep found, as it writes it: `NAME`, a NUL, `LINE:TEXT`, and the end of the line. A name may have any other byte.

/// The matches: a file, a line's number, and the line. The last one may be cut.
pub(super) fn found(mut output: &[u8]) -> impl Iterator<Item = (&[u8], u64, &[u8])> {
    std::iter::from_fn(move || {
        let (path, rest) = split(output, 0)?;
        let (number, rest) = split(rest, b':')?;
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        let (text, rest) = split(rest, b'\n').unwrap_or((rest, &[]));
        output = rest;
        Some((path, number, text))
    })
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == at)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn names_may_be_any() {
        let output = b"/a/b.rs\x0012:let x: u8 = 1;\n/a:7:\nb\x003:\n/c\x004:cut";
        let all: Vec<_> = found(output).collect();
        let wanted: [(&[u8], u64, &[u8]); 3] =
            [(b"/a/b.rs", 12, b"let x: u8 = 1;"), (b"/a:7:\nb", 3, b""), (b"/c", 4, b"cut")];
        assert_eq!(all, wanted);
        for none in [&b""[..], b"/a", b"/a\x00", b"/a\x001", b"/a\x00x:y\n"] {
            assert_eq!(found(none).count(), 0, "{none:?}");
        }
    }
}
