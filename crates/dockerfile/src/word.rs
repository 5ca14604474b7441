//! Hides how a word of a Dockerfile is read: quotes, escapes, and variables as a shell has them.

use crate::pattern;

/// Variables by their names.
pub trait Variables {
    /// The value of one; `None` if it is not set.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// A word as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    raw: String,
    escape: char,
}

impl Word {
    pub(crate) fn new(raw: impl Into<String>, escape: char) -> Self {
        Self { raw: raw.into(), escape }
    }

    /// As it is written.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// What it stands for: without quotes, and with the values of variables.
    ///
    /// # Errors
    /// Why it stands for nothing.
    pub fn expand(&self, variables: &dyn Variables) -> Result<String, String> {
        let mut reader = Reader::new(self, variables);
        reader.word(None)
    }

    /// The same for what is in a here-document: quotes mean nothing there.
    ///
    /// # Errors
    /// Why it stands for nothing.
    pub fn expand_document(&self, variables: &dyn Variables) -> Result<String, String> {
        let mut reader = Reader::new(self, variables);
        let mut text = String::new();
        while let Some(c) = reader.rest.next() {
            match c {
                '$' => reader.put(&mut text)?,
                c if c == reader.escape => match reader.rest.peek() {
                    Some(&next) if next == '$' || next == reader.escape => {
                        text.push(next);
                        reader.rest.next();
                    }
                    _ => text.push(c),
                },
                c => text.push(c),
            }
        }
        Ok(text)
    }
}

/// A word without quotes in which nothing is replaced.
pub(crate) fn unquote(text: &str, escape: char) -> Result<String, String> {
    // A dollar is one.
    Word::new(text.replace('$', &format!("{escape}$")), escape).expand(&|_: &str| None)
}

/// Splits at white space outside of quotes; the words keep theirs. `<< NAME` is one, as it is for BuildKit.
pub(crate) fn split(text: &str, escape: char) -> Vec<&str> {
    let (mut words, mut begin, mut quote) = (Vec::new(), None, None);
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        if quote.is_none() && c.is_whitespace() {
            let begun = begin.and_then(|begin: usize| text.get(begin..at)).unwrap_or_default();
            if matches!(begun.trim_start_matches(|c: char| c.is_ascii_digit()).trim_end(), "<<" | "<<-") {
                continue;
            }
            words.extend(begin.take().and_then(|begin: usize| text.get(begin..at)));
            continue;
        }
        begin.get_or_insert(at);
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            // Between single quotes it has no meaning.
            (None | Some('"'), c) if c == escape => drop(characters.next()),
            _ => {}
        }
    }
    words.extend(begin.and_then(|begin| text.get(begin..)));
    words
}

/// Splits at commas outside of double quotes, which go: as a line of CSV.
pub(crate) fn unquoted_commas(text: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

/// How deep words may stand in words: `${a:-${b:-...}}`.
const DEEPEST: usize = 32;
/// The most bytes that variables may add to a word: what one variable of a program can hold (`MAX_ARG_STRLEN`, execve(2)).
/// `ARG A=$A$A` doubles it on each line.
const LONGEST: usize = 128 << 10;
/// The most that a replacement is tried for: so often could its pattern be found, and be so long each time.
const MOST_REPLACED: usize = 64 << 20;

fn too_long() -> String {
    format!("Its variables make it longer than {} KiB, which no program's environment takes", LONGEST >> 10)
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    variables: &'a dyn Variables,
    depth: usize,
    /// The most bytes that come of it.
    most: usize,
}

impl<'a> Reader<'a> {
    fn new(word: &'a Word, variables: &'a dyn Variables) -> Self {
        let most = word.raw.len().saturating_add(LONGEST);
        Self { rest: word.raw.chars().peekable(), escape: word.escape, variables, depth: 0, most }
    }

    /// Adds what follows a dollar.
    fn put(&mut self, text: &mut String) -> Result<(), String> {
        let more = self.dollar()?;
        if text.len().saturating_add(more.len()) > self.most {
            return Err(too_long());
        }
        text.push_str(&more);
        Ok(())
    }

    /// Up to the end, or to one of these characters outside of quotes, which is taken too.
    fn word(&mut self, ends: Option<char>) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let Some(c) = self.rest.next() else {
                return match ends {
                    None => Ok(text),
                    Some(end) => Err(format!("There is no '{end}' that ends it")),
                };
            };
            match c {
                c if Some(c) == ends => return Ok(text),
                '\'' => loop {
                    match self.rest.next() {
                        Some('\'') => break,
                        Some(c) => text.push(c),
                        None => return Err("A single quote has no second one".to_owned()),
                    }
                },
                '"' => self.quoted(&mut text)?,
                '$' => self.put(&mut text)?,
                c if c == self.escape => text.extend(self.rest.next()),
                c => text.push(c),
            }
        }
    }

    fn quoted(&mut self, text: &mut String) -> Result<(), String> {
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('$') => self.put(text)?,
                Some(c) if c == self.escape => match self.rest.next() {
                    Some(next) if next == '"' || next == '$' || next == self.escape => text.push(next),
                    // It means nothing before others.
                    Some(next) => text.extend([c, next]),
                    None => return Err("A double quote has no second one".to_owned()),
                },
                Some(c) => text.push(c),
                None => return Err("A double quote has no second one".to_owned()),
            }
        }
    }

    /// What follows a dollar.
    fn dollar(&mut self) -> Result<String, String> {
        if self.rest.peek() != Some(&'{') {
            let name = self.name();
            // A dollar alone is one.
            return Ok(if name.is_empty() { "$".to_owned() } else { self.variables.get(&name).unwrap_or_default() });
        }
        self.rest.next();
        let name = self.name();
        if name.is_empty() {
            return Err("'${' is followed by no name".to_owned());
        }
        let value = self.variables.get(&name);
        let wrong = |what: &str| Err(format!("'${{{name}{what}' is no substitution that is known"));
        match self.rest.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => match self.rest.next() {
                Some(how @ ('-' | '+' | '?')) => self.otherwise(&name, how, value.filter(|value| !value.is_empty())),
                Some(other) => wrong(&format!(":{other}")),
                None => wrong(":"),
            },
            Some(how @ ('-' | '+' | '?')) => self.otherwise(&name, how, value),
            Some(how @ ('#' | '%')) => {
                let longest = self.rest.next_if_eq(&how).is_some();
                let pattern = self.inner('}')?;
                let value = value.unwrap_or_default();
                let rest = match how {
                    '#' => pattern::cut_front(&value, &pattern, longest),
                    _ => pattern::cut_back(&value, &pattern, longest),
                };
                Ok(rest.to_owned())
            }
            Some('/') => {
                let all = self.rest.next_if_eq(&'/').is_some();
                let pattern = self.inner('/')?;
                let other = self.inner('}')?;
                let value = value.unwrap_or_default();
                if (value.len() + 1).saturating_mul(other.len()) > MOST_REPLACED {
                    return Err(too_long());
                }
                Ok(pattern::replace(&value, &pattern, &other, all))
            }
            Some(other) => wrong(&other.to_string()),
            None => Err("There is no '}' that ends it".to_owned()),
        }
    }

    fn otherwise(&mut self, name: &str, how: char, value: Option<String>) -> Result<String, String> {
        let word = self.inner('}')?;
        match (how, value) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) if word.is_empty() => Err(format!("{name} is not set")),
            (_, None) => Err(format!("{name}: {word}")),
        }
    }

    fn inner(&mut self, end: char) -> Result<String, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("Substitutions are too deep in each other".to_owned());
        }
        let word = self.word(Some(end));
        self.depth -= 1;
        word
    }

    /// A variable's name, or one character of a parameter that only a shell has.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(&c) if c.is_ascii_alphabetic() || c == '_' => {
                while let Some(c) = self.rest.next_if(|&c| c.is_ascii_alphanumeric() || c == '_') {
                    name.push(c);
                }
            }
            Some(&c) if c.is_ascii_digit() => {
                while let Some(c) = self.rest.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some(&c) if "@*#?-$!".contains(c) => name.extend(self.rest.next()),
            _ => {}
        }
        name
    }
}

#[cfg(test)]
#[path = "word_tests.rs"]
mod tests;
