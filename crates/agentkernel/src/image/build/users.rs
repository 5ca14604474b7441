//! Hides whom the words of `USER` and `--chown` mean: by the image's own /etc/passwd and /etc/group.

use super::super::view::View;
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
        let known = self.entry(&self.passwd, user, 7);
        let number = |text: Option<&&str>| text.and_then(|text| id(text));
        let uid = match (&known, id(user)) {
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
        let mut groups =
            if group.is_none() { name.map(|name| self.groups(name)).unwrap_or_default() } else { Vec::new() };
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
        Ok(if id(text).is_some() { (uid, uid) } else { (uid, gid) })
    }

    fn group(&self, group: &str) -> Result<u32, String> {
        if let Some(gid) = id(group) {
            return Ok(gid);
        }
        let fields = self.entry(&self.group, group, 4);
        let fields = fields.ok_or_else(|| format!("the image's /etc/group has no group {group}"))?;
        fields.get(2).and_then(|text| id(text)).ok_or_else(|| format!("/etc/group is broken at {group}"))
    }

    /// The groups that name a user.
    fn groups(&self, name: &str) -> Vec<u32> {
        let lines = self.group.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
        let mut groups: Vec<u32> = lines
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                let [_, _, gid, members] = fields[..] else { return None };
                members.split(',').any(|member| member == name).then(|| id(gid)).flatten()
            })
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The first line of a name, or of a number.
    fn entry<'a>(&self, file: &'a [u8], who: &str, count: usize) -> Option<Vec<&'a str>> {
        let lines = file.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
        lines.map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
            fields.len() == count
                && match id(who) {
                    Some(number) => fields.get(2).and_then(|text| id(text)) == Some(number),
                    None => !who.is_empty() && fields.first() == Some(&who),
                }
        })
    }
}

/// Digits are always a number; the largest stands for none.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
