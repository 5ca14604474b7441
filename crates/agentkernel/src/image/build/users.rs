//! Hides whom the words of `USER` and `--chown` mean: by the image's own /etc/passwd and /etc/group.

use super::super::view::View;
use crate::config::passwd::{self, parse_id};
use rustix::io::Errno;
use wire::User;

/// The longest file that is read.
const LONGEST: u64 = 4 << 20;

/// The users and groups of an image.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub passwd: Vec<u8>,
    group: Vec<u8>,
}

/// A user as the image knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub user: User,
    /// Where its home is, if the image says.
    pub home: Option<String>,
}

impl Users {
    pub fn of(view: &View) -> Result<Self, Errno> {
        let read = |path: &[u8]| Ok(view.read(path, LONGEST)?.unwrap_or_default());
        Ok(Self { passwd: read(b"etc/passwd")?, group: read(b"etc/group")? })
    }

    /// `USER` or `USER:GROUP`, each a name or a number.
    pub fn find(&self, text: &str) -> Result<Account, String> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let known = self.entry(user);
        let number = |text: Option<&&str>| text.and_then(|text| parse_id(text));
        let uid = match (&known, parse_id(user)) {
            (_, Some(uid)) => uid,
            (Some(fields), None) => number(fields.get(2)).ok_or_else(|| format!("/etc/passwd is broken at {user}"))?,
            (None, None) => return Err(format!("the image's /etc/passwd has no user {user}")),
        };
        let gid = match group.filter(|group| !group.is_empty()) {
            Some(group) => self.group(group)?,
            // A number that nobody has: root's group, as Docker has it.
            None => known.as_ref().and_then(|fields| number(fields.get(3))).unwrap_or(0),
        };
        let name = known.as_ref().and_then(|fields| fields.first().copied());
        let mut groups = match (group, name) {
            (None, Some(name)) => passwd::groups(&self.group, name),
            _ => Vec::new(),
        };
        // Its own is one of them, so that giving it up takes nothing away that was forbidden by it (CVE-2022-36109).
        if !groups.contains(&gid) {
            groups.insert(0, gid);
        }
        let home = known.as_ref().and_then(|fields| fields.get(5)).filter(|home| home.starts_with('/'));
        Ok(Account { user: User { uid, gid, groups }, home: home.map(ToString::to_string) })
    }

    /// The same for the owner of files: a number alone is the group's too.
    pub fn owner(&self, text: &str) -> Result<(u32, u32), String> {
        let User { uid, gid, .. } = self.find(text)?.user;
        Ok(if parse_id(text).is_some() { (uid, uid) } else { (uid, gid) })
    }

    fn group(&self, group: &str) -> Result<u32, String> {
        if let Some(gid) = parse_id(group) {
            return Ok(gid);
        }
        let known = passwd::group(&self.group, group);
        let known = known.map_err(|line| format!("line {line} of the image's /etc/group is broken"))?;
        known.ok_or_else(|| format!("the image's /etc/group has no group {group}"))
    }

    /// The first user of a name, or of a number: in the fields of passwd(5).
    fn entry(&self, who: &str) -> Option<Vec<&str>> {
        let lines = self.passwd.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
        lines.map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
            fields.len() == 7
                && match parse_id(who) {
                    Some(number) => fields.get(2).and_then(|text| parse_id(text)) == Some(number),
                    None => !who.is_empty() && fields.first() == Some(&who),
                }
        })
    }
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
