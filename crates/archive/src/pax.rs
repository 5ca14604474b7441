//! Hides how pax records are written down: `LENGTH KEY=VALUE` and a newline (pax(1), tar(5)).

use crate::{reader::Time, unpack::Reason};

/// What pax records say about the entry that follows. What not every reader obeys is taken as it stands, and judged
/// by those who do.
#[derive(Default)]
pub(crate) struct Records {
    pub path: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub mtime: Option<Time>,
    pub uid: Option<Vec<u8>>,
    pub gid: Option<Vec<u8>>,
    /// Extended attributes: keys with their prefix, and values as they stand there.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// What is said of holes: keys behind `GNU.sparse.`, in order.
    pub sparse: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Prefixes of extended attributes, as star and libarchive write them.
pub(crate) const SCHILY: &[u8] = b"SCHILY.xattr.";
pub(crate) const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";

/// Takes the records of one pax header. What was there before stays, unless it is said anew.
pub(crate) fn read(mut bytes: &[u8], found: &mut Records) -> Result<(), Reason> {
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or(Reason::Malformed("pax header"))?;
        bytes = rest;
        match key {
            b"path" => found.path = Some(value.to_vec()),
            b"linkpath" => found.target = Some(value.to_vec()),
            b"uid" => found.uid = Some(value.to_vec()),
            b"gid" => found.gid = Some(value.to_vec()),
            b"size" => found.size = Some(number(value).ok_or(Reason::Malformed("pax size"))?),
            b"mtime" => found.mtime = Some(time(value).ok_or(Reason::Malformed("pax mtime"))?),
            key if key.starts_with(SCHILY) || key.starts_with(LIBARCHIVE) => {
                found.xattrs.push((key.to_vec(), value.to_vec()));
            }
            key => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse") {
                    found.sparse.push((key.strip_prefix(b".").unwrap_or(key).to_vec(), value.to_vec()));
                }
            }
        }
    }
    Ok(())
}

/// Key and value of the first record, and what follows it. A value may hold any byte, newlines too.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    /// No record is longer than this many digits tell.
    const DIGITS: usize = 10;
    let space = bytes.iter().take(DIGITS + 1).position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// A decimal number, of digits only.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with a fraction, of which nanoseconds are kept.
fn time(text: &[u8]) -> Option<Time> {
    let text = str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let mut nanoseconds = 0;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).map_or(Some(0), |byte| char::from(*byte).to_digit(10))?;
        nanoseconds = nanoseconds * 10 + digit;
    }
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// Adds a record to those that are to be written.
pub(crate) fn write(key: &[u8], value: &[u8], to: &mut Vec<u8>) {
    // A space, an equals sign and a newline; and the length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    for part in [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"] {
        to.extend_from_slice(part);
    }
}

/// Seconds with the fraction that [`Records::mtime`] gives back.
pub(crate) fn time_text((seconds, nanoseconds): Time) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    // The fraction counts away from zero.
    let (sign, whole, fraction) = if seconds < 0 {
        ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
    } else {
        ("", seconds.unsigned_abs(), nanoseconds)
    };
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}
