//! Hides how the names are found that the first message of TLS asks for, as it comes. No server is more lenient: versions,
//! and what is behind the extensions, are not held against it; only that it has no suites, or that less is there than it
//! says, since no server goes on then.
//!
//! What only looks alike has no name in it. Of random bytes, less than one place of 2^60 has one: there must be the heads
//! of a record and of a message (22 bits, see `later`), and of a name's extension where an extension can begin (24 bits;
//! messages that random bytes make have some six such places), in which the lengths agree (32 bits), or what stands there
//! can be the name of a server (20 bits).

use std::mem::take;

/// How much is kept of a name: more than any server has.
const MAX_NAME: usize = 256;

/// What is read next (RFC 5246, 7.4.1.2, and RFC 6066, 3).
#[derive(Clone, Copy, Debug)]
enum Part {
    /// The length of the session's id.
    Id,
    /// That of the suites.
    Suites,
    /// That of the compressions.
    Compressions,
    /// That of all extensions.
    Extensions,
    /// The type and the length of one of them.
    Extension,
    /// The length of a list of names.
    Names,
    /// The type and the length of one of them.
    Entry,
    /// A name, whether all lengths agree with its own, and how much of it is not kept.
    Name(bool, usize),
}

/// A hello, as far as it has come.
#[derive(Debug)]
pub(crate) struct Hello {
    part: Part,
    /// How many bytes are passed over before the next part, and how many that has.
    skip: usize,
    wanted: usize,
    had: Vec<u8>,
    /// What is left of a list of names, and what is behind it in its extension.
    list: usize,
    behind: usize,
}

impl Default for Hello {
    fn default() -> Self {
        // Behind a version and random bytes.
        Self { part: Part::Id, skip: 2 + 32, wanted: 1, had: Vec::new(), list: 0, behind: 0 }
    }
}

impl Hello {
    /// Hears what comes next, behind which so many bytes are to come, and tells of each name. False: it is no hello.
    pub(crate) fn hear(&mut self, mut said: &[u8], to_come: usize, tell: &mut impl FnMut(&[u8])) -> bool {
        loop {
            let passed = said.len().min(self.skip);
            self.skip -= passed;
            let (part, rest) = said[passed..].split_at((said.len() - passed).min(self.wanted - self.had.len()));
            self.had.extend(part);
            said = rest;
            if self.had.len() < self.wanted {
                return true;
            }
            let had = take(&mut self.had);
            if matches!(self.part, Part::Name(exact, _) if exact || is_plausible(&had)) {
                tell(&had);
            }
            let Some((part, skip, wanted)) = self.next(&had) else { return false };
            (self.part, self.skip, self.wanted) = (part, skip, wanted);
            if skip + self.list + self.behind > said.len() + to_come {
                return false;
            }
        }
    }

    /// What is read behind this: after how many bytes, and how many.
    fn next(&mut self, had: &[u8]) -> Option<(Part, usize, usize)> {
        Some(match (self.part, had) {
            (Part::Id, length) => (Part::Suites, number(length), 2),
            // Each has two bytes.
            (Part::Suites, length) if number(length) == 0 || !number(length).is_multiple_of(2) => return None,
            (Part::Suites, length) => (Part::Compressions, number(length), 1),
            (Part::Compressions, length) => (Part::Extensions, number(length), 2),
            // Some servers don't mind where they end.
            (Part::Extensions, _) => (Part::Extension, 0, 4),
            (Part::Extension, [0, 0, length @ ..]) if number(length) > 1 => {
                self.behind = number(length) - 2;
                (Part::Names, 0, 2)
            }
            (Part::Extension, had) => (Part::Extension, number(had.get(2..)?), 4),
            (Part::Names, length) => {
                // One that is longer than its extension is none.
                self.list = Some(number(length)).filter(|list| *list <= self.behind).unwrap_or_default();
                self.behind -= self.list;
                self.entry(0)
            }
            (Part::Entry, had) => {
                let (kind, length) = had.split_first()?;
                let length = number(length);
                self.list -= 3;
                if length > self.list {
                    return Some(self.extension(0));
                }
                self.list -= length;
                match kind {
                    0 if length > 0 => {
                        let kept = length.min(MAX_NAME);
                        (Part::Name(self.list + self.behind == 0, length - kept), 0, kept)
                    }
                    _ => self.entry(length),
                }
            }
            (Part::Name(_, more), _) => self.entry(more),
        })
    }

    /// One more name after so many bytes, if the list goes on.
    fn entry(&mut self, skip: usize) -> (Part, usize, usize) {
        if self.list < 3 { self.extension(skip) } else { (Part::Entry, skip, 3) }
    }

    /// One more extension, behind what is left of this one after so many bytes.
    fn extension(&mut self, skip: usize) -> (Part, usize, usize) {
        (Part::Extension, skip + take(&mut self.list) + take(&mut self.behind), 4)
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// Whether a server can have this name.
fn is_plausible(name: &[u8]) -> bool {
    name.contains(&b'.') && name.iter().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii())
}
