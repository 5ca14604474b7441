//! Hides which extended attributes travel with a layer, and how archives write them down.

use crate::{LeftOut, pax, reader::Entry, unpack::Reason};
use rustix::{fd::OwnedFd, fs::XattrFlags, io::Errno};

/// Names and values.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Prefixes of what overlayfs keeps for itself. An image must not speak to it.
pub(super) const OVERLAY: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];
pub(super) const CAPABILITY: &[u8] = b"security.capability";
/// What is counted of those that do not travel.
pub(super) const LEFT_OUT: &str = "extended attribute";

/// The attributes that an entry gets: those of users, and capabilities if `kept`. Others are left out.
///
/// # Errors
/// [`Reason::Attribute`] for what overlayfs would obey.
pub(super) fn of(entry: &Entry, path: &[u8], kept: bool, left_out: &mut LeftOut) -> Result<Xattrs, Reason> {
    let mut found = Xattrs::new();
    for (key, value) in &entry.records.xattrs {
        let plain = key.strip_prefix(pax::SCHILY);
        let name = match plain {
            Some(name) => plain_name(name),
            None => key.strip_prefix(pax::LIBARCHIVE).and_then(percent).ok_or(DAMAGED)?,
        };
        if OVERLAY.iter().any(|prefix| name.starts_with(prefix)) {
            return Err(Reason::Attribute(crate::display(&name)));
        }
        if name.contains(&0) {
            return Err(DAMAGED);
        }
        if !(name.starts_with(b"user.") || kept && name == CAPABILITY) {
            left_out.add(LEFT_OUT, path);
            continue;
        }
        let value = if plain.is_some() { value.clone() } else { base64(value).ok_or(DAMAGED)? };
        // libarchive writes each in both ways.
        found.retain(|(other, _)| *other != name);
        found.push((name, value));
        if found.len() > MOST {
            return Err(Reason::Malformed("too many extended attributes"));
        }
    }
    Ok(found)
}

/// Attributes of one entry; all file systems have room for fewer.
const MOST: usize = 256;
const DAMAGED: Reason = Reason::Malformed("extended attribute");

/// Sets those attributes whose name is wanted.
pub(super) fn set_xattrs(file: &OwnedFd, xattrs: &Xattrs, wanted: impl Fn(&[u8]) -> bool) -> Result<(), Reason> {
    for (name, value) in xattrs.iter().filter(|(name, _)| wanted(name)) {
        rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())
            .map_err(|error| Reason::Io("set an extended attribute", error.into()))?;
    }
    Ok(())
}

/// The attributes of a file that is packed.
#[derive(Default)]
pub(super) struct Found {
    /// Those that travel, by name.
    pub xattrs: Xattrs,
    /// How many do not, though somebody may miss them.
    pub left_out: u64,
    /// It is a directory that hides what layers below have there.
    pub opaque: bool,
    /// Its contents are in a layer below, or under another name.
    pub elsewhere: bool,
}

/// Reads the attributes of a file. `root` is who is root in the sandbox, which a capability may be bound to; `chunk` is
/// room for a list or a value, of which the kernel has none longer than 64 KiB.
pub(super) fn from(file: &OwnedFd, root: u32, chunk: &mut [u8]) -> rustix::io::Result<Found> {
    let mut found = Found::default();
    let length = match rustix::fs::flistxattr(file, &mut *chunk) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(found),
        length => length?,
    };
    let mut names: Vec<Vec<u8>> = chunk[..length].split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    for name in names {
        let mut value = || match rustix::fs::fgetxattr(file, name.as_slice(), &mut *chunk) {
            Ok(length) => Ok(Some(chunk[..length].to_vec())),
            // Somebody has removed it.
            Err(Errno::NODATA) => Ok(None),
            Err(error) => Err(error),
        };
        if let Some(own) = OVERLAY.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
            match own {
                b"opaque" => found.opaque |= value()?.is_some_and(|value| value == b"y"),
                b"redirect" | b"metacopy" => found.elsewhere = true,
                // What overlayfs remembers for itself.
                _ => {}
            }
        } else if name.starts_with(b"user.") {
            found.xattrs.extend(value()?.map(|value| (name.clone(), value)));
        } else if name == CAPABILITY {
            match value()?.map(|value| capability(value, root)) {
                Some(Some(value)) => found.xattrs.push((name.clone(), value)),
                Some(None) => found.left_out += 1,
                None => {}
            }
        } else if name.starts_with(b"system.") {
            found.left_out += 1;
        }
        // Labels of the host's, and what only it may see, nobody misses.
    }
    Ok(found)
}

/// A capability as it is for the sandbox (linux/capability.h): of one that is bound to a user namespace, revision 3, what is
/// bound to the sandbox's is revision 2 inside. `None` for one that is bound to another.
fn capability(mut value: Vec<u8>, root: u32) -> Option<Vec<u8>> {
    const REVISION: usize = 3;
    if value.len() != 24 || value[REVISION] != 3 {
        return Some(value);
    }
    if value[20..] != root.to_le_bytes() {
        return None;
    }
    value[REVISION] = 2;
    value.truncate(20);
    Some(value)
}

/// A name as GNU tar reads it: a key of pax ends at the first `=`, so that it is written as `%3D`, and `%` as `%25`.
fn plain_name(text: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&first) = rest.first() {
        let (byte, length) = match rest {
            [b'%', b'3', b'D', ..] => (b'=', 3),
            [b'%', b'2', b'5', ..] => (b'%', 3),
            _ => (first, 1),
        };
        name.push(byte);
        rest = &rest[length..];
    }
    name
}

/// The key of a pax record for an attribute.
pub(super) fn key(name: &[u8]) -> Vec<u8> {
    let mut key = pax::SCHILY.to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            _ => key.push(*byte),
        }
    }
    key
}

/// A name as libarchive writes it: `%` and two digits for what could disturb.
fn percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let mut digit = || char::from(*rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        name.push(u8::try_from(value).ok()?);
    }
    Some(name)
}

/// Base 64 (RFC 4648), with or without the padding at its end.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    if text.len() - end > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(end);
    let (mut bits, mut count) = (0u32, 0);
    for &byte in &text[..end] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (count < 6).then_some(bytes)
}
