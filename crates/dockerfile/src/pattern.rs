//! Hides how patterns fit: those of `COPY`, of `.dockerignore`, and of variables.

/// A pattern of paths, as Go's `path/filepath` has it: `*` and `?` stop at a slash, `[a-z]`, `[^a]`, `\` takes a meaning
/// away; and `**` for any number of directories, where that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Vec<Piece>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    One(char),
    Any,
    Some,
    Of {
        not: bool,
        ranges: Vec<(char, char)>,
    },
    /// A whole part: any number of directories.
    Deep,
}

impl Pattern {
    /// Reads a pattern, relative, its parts separated by slashes. With `deep`, `**` has its meaning.
    ///
    /// # Errors
    /// If a bracket has no end.
    pub fn new(text: &str, deep: bool) -> Result<Self, String> {
        let parts = text.split('/').filter(|part| !part.is_empty());
        let parts = parts.map(|part| match part {
            "**" if deep => Ok(vec![Piece::Deep]),
            part => pieces(part),
        });
        Ok(Self { parts: parts.collect::<Result<_, _>>()? })
    }

    /// How many parts it has; a path that it fits has as many, unless it has `**`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether it has no part: it is the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The name that a part stands for, if it is no pattern.
    #[must_use]
    pub fn plain(&self, index: usize) -> Option<String> {
        self.parts.get(index)?.iter().map(|piece| if let Piece::One(c) = piece { Some(*c) } else { None }).collect()
    }

    /// Whether one of its parts fits a name.
    #[must_use]
    pub fn fits_part(&self, index: usize, name: &str) -> bool {
        self.parts.get(index).is_some_and(|part| fits(part, name))
    }

    /// Whether it fits a whole path.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        fits_parts(&self.parts, &names)
    }
}

fn fits_parts(parts: &[Vec<Piece>], names: &[&str]) -> bool {
    // For every number of parts that were used: whether they fit the names so far.
    let mut states = vec![false; parts.len() + 1];
    states[0] = true;
    let close = |states: &mut Vec<bool>| {
        for (index, part) in parts.iter().enumerate() {
            // At the end it stands for something: `a/**` is all below `a`, and not `a`.
            let stands_for_none = index + 1 < parts.len();
            if states[index] && stands_for_none && part[..] == [Piece::Deep] {
                states[index + 1] = true;
            }
        }
    };
    close(&mut states);
    for name in names {
        let mut next = vec![false; states.len()];
        for (index, part) in parts.iter().enumerate().filter(|(index, _)| states[*index]) {
            if part[..] == [Piece::Deep] {
                next[index] = true;
                next[index + 1] |= index + 1 == parts.len();
            } else if fits(part, name) {
                next[index + 1] = true;
            }
        }
        close(&mut next);
        states = next;
    }
    states.last() == Some(&true)
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        pieces.push(match c {
            '*' => {
                // Several are one.
                if pieces.last() == Some(&Piece::Some) {
                    continue;
                }
                Piece::Some
            }
            '?' => Piece::Any,
            '\\' => Piece::One(characters.next().unwrap_or('\\')),
            '[' => {
                let not = characters.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                let no_end = || format!("'{}' has a bracket without its end", text.escape_debug());
                loop {
                    let mut next = || match characters.next() {
                        Some('\\') => characters.next(),
                        other => other,
                    };
                    let first = next().ok_or_else(no_end)?;
                    if first == ']' && !ranges.is_empty() {
                        break;
                    }
                    let last = match characters.next_if_eq(&'-') {
                        Some(_) => match characters.next() {
                            Some('\\') => characters.next(),
                            other => other,
                        }
                        .ok_or_else(no_end)?,
                        None => first,
                    };
                    ranges.push((first, last));
                }
                Piece::Of { not, ranges }
            }
            c => Piece::One(c),
        });
    }
    Ok(pieces)
}

/// Whether pieces fit a text: by going back to the last `*` only, so that it takes no more than length times length.
fn fits(pieces: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut piece, mut at, mut back) = (0, 0, None);
    while at < text.len() {
        let fits = match pieces.get(piece) {
            Some(Piece::Some) => {
                back = Some((piece, at));
                piece += 1;
                continue;
            }
            Some(Piece::One(c)) => *c == text[at],
            Some(Piece::Any) => true,
            Some(Piece::Of { not, ranges }) => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&text[at])) != *not
            }
            Some(Piece::Deep) | None => false,
        };
        if fits {
            (piece, at) = (piece + 1, at + 1);
            continue;
        }
        let Some((star, began)) = back else { return false };
        back = Some((star, began + 1));
        (piece, at) = (star + 1, began + 1);
    }
    pieces[piece..].iter().all(|piece| *piece == Piece::Some)
}

/// The places in a text where characters begin, and its end.
fn places(text: &str) -> impl DoubleEndedIterator<Item = usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>().into_iter()
}

/// What a shell's pattern of variables means, in which slashes are like others; one that is none fits itself.
fn shell(pattern: &str) -> Vec<Piece> {
    pieces(pattern).unwrap_or_else(|_| pattern.chars().map(Piece::One).collect())
}

/// `${name#pattern}`
pub(crate) fn cut_front<'a>(text: &'a str, pattern: &str, longest: bool) -> &'a str {
    let pieces = shell(pattern);
    let mut places = places(text);
    let fits = |at: &usize| fits(&pieces, &text[..*at]);
    let cut = if longest { places.rfind(fits) } else { places.find(fits) };
    cut.map_or(text, |at| &text[at..])
}

/// `${name%pattern}`
pub(crate) fn cut_back<'a>(text: &'a str, pattern: &str, longest: bool) -> &'a str {
    let pieces = shell(pattern);
    let mut places = places(text);
    let fits = |at: &usize| fits(&pieces, &text[*at..]);
    let cut = if longest { places.find(fits) } else { places.rfind(fits) };
    cut.map_or(text, |at| &text[..at])
}

/// `${name/pattern/other}`, the longest that fits.
pub(crate) fn replace(text: &str, pattern: &str, other: &str, all: bool) -> String {
    let pieces = shell(pattern);
    let (mut made, mut at) = (String::new(), 0);
    while at < text.len() {
        let end = places(&text[at..]).map(|place| at + place).rfind(|end| *end > at && fits(&pieces, &text[at..*end]));
        match end {
            Some(end) => {
                made.push_str(other);
                at = end;
                if !all {
                    break;
                }
            }
            None => {
                let next = text[at..].chars().next().map_or(1, char::len_utf8);
                made.push_str(&text[at..at + next]);
                at += next;
            }
        }
    }
    made.push_str(text.get(at..).unwrap_or_default());
    made
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
