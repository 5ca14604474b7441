//! User databases: passwd(5) and group(5) files, read strictly and by ourselves (a static program has no NSS).

use std::{collections::BTreeSet, path::PathBuf};

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory, absolute.
    pub home: PathBuf,
}

/// A user as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Uid(u32),
}

/// An id: decimal digits and nothing else, and not the -1 that system calls take for "no id".
#[must_use]
pub fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&id| digits && id != u32::MAX)
}

/// The first entry of that name or id, as getpwnam(3) and getpwuid(3) have it.
///
/// # Errors
/// With the number of the line, if the entry of that name can't be read. A broken line never stands for another
/// user, and never hides one: what follows it is not looked at (CVE-2026-30892).
pub fn find(passwd: &[u8], who: &Who<'_>) -> Result<Option<Account>, usize> {
    for (index, line) in passwd.split(|&byte| byte == b'\n').enumerate() {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let wanted = match who {
            Who::Name(name) => !name.is_empty() && fields[0] == name.as_bytes(),
            Who::Uid(uid) => fields.get(2).is_some_and(|text| id(text) == Some(*uid)),
        };
        if wanted {
            return account(&fields).map(Some).ok_or(index + 1);
        }
    }
    Ok(None)
}

/// The names that stand for a user, in their order.
#[must_use]
pub fn names(passwd: &[u8]) -> Vec<String> {
    let lines = passwd.split(|&byte| byte == b'\n');
    let accounts = lines.filter_map(|line| account(&line.split(|&byte| byte == b':').collect::<Vec<_>>()));
    accounts.map(|account| account.name).filter(|name| parse_id(name).is_none()).collect()
}

/// The groups of a group(5) file that name a user, by number, in order. A broken line names nobody.
#[must_use]
pub fn groups(group: &[u8], name: &str) -> Vec<u32> {
    let lines = group.split(|&byte| byte == b'\n');
    let numbers = lines.filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let &[_, _, gid, members] = &fields[..] else { return None };
        members.split(|&byte| byte == b',').any(|member| member == name.as_bytes()).then(|| id(gid)).flatten()
    });
    numbers.collect::<BTreeSet<u32>>().into_iter().collect()
}

/// The number of the first group of that name in a group(5) file.
///
/// # Errors
/// With the number of the line, if it can't be read: nothing else stands for it, as with [`find`].
pub fn group(group: &[u8], name: &str) -> Result<Option<u32>, usize> {
    for (index, line) in group.split(|&byte| byte == b'\n').enumerate() {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        if !name.is_empty() && fields[0] == name.as_bytes() {
            let &[_, _, gid, _] = &fields[..] else { return Err(index + 1) };
            return id(gid).map(Some).ok_or(index + 1);
        }
    }
    Ok(None)
}

fn id(text: &[u8]) -> Option<u32> {
    parse_id(str::from_utf8(text).ok()?)
}

fn account(fields: &[&[u8]]) -> Option<Account> {
    let &[name, _, uid, gid, _, home, _] = fields else { return None };
    let home = str::from_utf8(home).ok().filter(|home| home.starts_with('/') && !home.chars().any(char::is_control))?;
    let name = str::from_utf8(name).ok().filter(|name| valid_name(name))?;
    Some(Account { name: name.into(), uid: id(uid)?, gid: id(gid)?, home: home.into() })
}

/// Whether a user name can stand in a passwd file and on a command line.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    let good = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, ':' | '/');
    !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.chars().all(good)
}

#[cfg(test)]
#[path = "passwd_tests.rs"]
mod tests;
