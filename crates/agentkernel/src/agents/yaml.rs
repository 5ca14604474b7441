//! Hides how the settings in YAML are read that stand before a text: each value with the lines that are its own. What is written in
//! a way that is not known here is told as such, and nobody guesses at it.

use std::ops::Range;

/// How deep values are read that stand in others.
const DEPTH: usize = 32;
/// What ends a line for some readers of YAML, and not here.
const OTHER_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// A value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A text with its lines; none, if there is nothing.
    Text(Vec<String>),
    /// What has names.
    Map(Vec<Entry>),
    /// What has none.
    List(Vec<Entry>),
}

impl Node {
    /// All that a text says, in one line.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(lines) => Some(lines.join(" ")),
            _ => None,
        }
    }
}

/// A value where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What it is called; nothing in a list.
    pub(super) key: String,
    pub(super) value: Node,
    /// Where it is with its name; where that is which it stands in, if several are in one line.
    pub(super) place: Range<usize>,
    /// Where the value alone is, if it is a text in one line.
    pub(super) said: Option<Range<usize>>,
}

/// Settings as far as they were understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Yaml {
    pub(super) nodes: Vec<Entry>,
    pub(super) comments: Vec<Range<usize>>,
    /// The outermost keys whose values were not, and all that is theirs.
    pub(super) unknown: Vec<(String, Range<usize>)>,
}

/// Why something is not understood.
enum Unread {
    /// It is written in a way that is not known.
    Unknown,
    /// It has no end, or one among what follows.
    Open,
}

/// A line, or what stands in it behind the dash of a list.
#[derive(Clone)]
struct Line<'a> {
    /// Where it begins, its text, and the next line.
    begin: usize,
    at: usize,
    end: usize,
    indent: usize,
    text: &'a str,
}

impl Line<'_> {
    fn is_nothing(&self) -> bool {
        self.text.is_empty() || self.text.starts_with('#')
    }

    fn is_item(&self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

/// Reads settings with the lines of `---` around them.
pub(super) fn read(front: &str) -> Yaml {
    let mut lines = lines(front);
    let (Some(last), false) = (lines.pop(), lines.is_empty()) else { return Yaml::default() };
    lines.remove(0);
    let (Some(first), end) = (lines.first(), last.begin) else { return Yaml::default() };
    let begin = first.begin;
    let mut yaml = Yaml::default();
    let broken = front.replace("\r\n", "\n").contains('\r') || front.contains(OTHER_ENDS);
    if broken {
        yaml.unknown.push(("settings".to_owned(), begin..end));
        return yaml;
    }
    // Each of the outermost keys by itself.
    let is_next = |line: &Line<'_>| {
        line.indent == 0 && !line.is_nothing() && !line.is_item() && !line.text.starts_with([']', '}', ':', '\t'])
    };
    let mut at = 0;
    while at < lines.len() {
        let length = lines[at + 1..].iter().position(is_next).map_or(lines.len() - at, |next| next + 1);
        let own = lines[at..at + length].to_vec();
        let mut place = own[0].begin..own[length - 1].end;
        let name = || own.iter().find(|line| !line.is_nothing()).map_or("", |line| line.text);
        let name = name().split(':').next().unwrap_or_default().trim_matches(['"', '\'', '?', ' ']).to_owned();
        let mut reader = Reader {
            all: &front[..place.end],
            rest: &front[place.end..end],
            lines: own,
            at: 0,
            done: 0,
            comments: Vec::new(),
        };
        match reader.whole() {
            Ok(entry) => {
                yaml.nodes.push(entry);
                yaml.comments.append(&mut reader.comments);
                at += length;
            }
            Err(Unread::Unknown) => {
                yaml.unknown.push((name, place));
                at += length;
            }
            Err(Unread::Open) => {
                place.end = end;
                yaml.unknown.push((name, place));
                break;
            }
        }
    }
    yaml
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut end = 0;
    let of = |line: &'_ str| (line.len() - line.trim_start_matches(' ').len(), line.len());
    let lines = text.split_inclusive('\n').map(|line| {
        let (begin, (indent, length)) = (end, of(line));
        end = begin + length;
        Line { begin, at: begin + indent, end, indent, text: line[indent..].trim_end_matches([' ', '\t', '\r', '\n']) }
    });
    lines.collect()
}

/// What reads the lines of one of the outermost keys.
struct Reader<'a> {
    /// All up to their end, and what follows.
    all: &'a str,
    rest: &'a str,
    lines: Vec<Line<'a>>,
    at: usize,
    /// Where the last line ends that is something's.
    done: usize,
    comments: Vec<Range<usize>>,
}

impl<'a> Reader<'a> {
    fn whole(&mut self) -> Result<Entry, Unread> {
        let begin = self.next().map_or(0, |line| line.begin);
        let value = self.node(None, 0)?;
        self.next().map_or(Ok(self.entry(String::new(), value, begin, None)), |_| Err(Unread::Unknown))
    }

    /// The next line with something in it.
    fn next(&mut self) -> Option<Line<'a>> {
        while let Some(line) = self.lines.get(self.at).cloned() {
            if !line.is_nothing() {
                return Some(line);
            }
            if !line.text.is_empty() {
                self.comment(line.at, line.text);
            }
            self.at += 1;
        }
        None
    }

    fn comment(&mut self, at: usize, text: &str) {
        self.comments.push(at..at + text.len());
    }

    /// The value that stands in the next lines, further in than what it belongs to.
    fn node(&mut self, above: Option<usize>, depth: usize) -> Result<Node, Unread> {
        let Some(line) = self.next().filter(|line| above.is_none_or(|above| line.indent > above)) else {
            return Ok(Node::Text(Vec::new()));
        };
        match () {
            () if depth > DEPTH || line.text.starts_with('\t') => Err(Unread::Unknown),
            () if line.is_item() => self.list(line.indent, depth),
            () if pair(line.text)?.is_some() => self.map(line.indent, depth),
            () => Ok(self.value(line.at, line.text, above, false, depth)?.0),
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Node, Unread> {
        let mut entries = Vec::new();
        while let Some(line) = self.next().filter(|line| line.indent >= indent) {
            if line.indent > indent || line.text.starts_with('\t') {
                return Err(Unread::Unknown);
            }
            if !line.is_item() {
                break;
            }
            let text = line.text[1..].trim_start_matches(' ');
            let inner = line.text.len() - text.len();
            let (value, said) = if text.is_empty() || text.starts_with('#') {
                self.value(line.at + inner, text, Some(indent), false, depth)?
            } else {
                // Keys that belong together stand below the first, not below the dash.
                let own = Line { begin: line.at + 1, at: line.at + inner, indent: indent + inner, text, ..line };
                let is_nested = own.is_item() || pair(text)?.is_some();
                self.lines[self.at] = own;
                match is_nested {
                    true => (self.node(Some(indent), depth + 1)?, None),
                    false => self.value(line.at + inner, text, Some(indent), false, depth)?,
                }
            };
            entries.push(self.entry(String::new(), value, line.begin, said));
        }
        Ok(Node::List(entries))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Node, Unread> {
        let mut entries = Vec::new();
        while let Some(line) = self.next().filter(|line| line.indent >= indent) {
            if line.indent > indent || line.text.starts_with('\t') {
                return Err(Unread::Unknown);
            }
            if line.is_item() {
                break;
            }
            let Some((key, inner)) = pair(line.text)? else { return Err(Unread::Unknown) };
            let (value, said) = self.value(line.at + inner, &line.text[inner..], Some(indent), true, depth)?;
            entries.push(self.entry(key, value, line.begin, said));
        }
        Ok(Node::Map(entries))
    }

    fn entry(&self, key: String, mut value: Node, begin: usize, said: Option<Range<usize>>) -> Entry {
        let place = begin..self.done.max(begin);
        within(&mut value, &place);
        Entry { key, value, place, said }
    }

    /// The value that begins at `at` in this line, as `text`. That of a key may be a list at its own column.
    fn value(
        &mut self,
        at: usize,
        text: &'a str,
        above: Option<usize>,
        of_key: bool,
        depth: usize,
    ) -> Result<(Node, Option<Range<usize>>), Unread> {
        let line = self.lines[self.at].clone();
        let is_in = |line: &Line<'_>| above.is_none_or(|above| line.indent > above);
        match text.chars().next() {
            None | Some('#') => {
                if !text.is_empty() {
                    self.comment(at, text);
                }
                self.pass(line.end);
                let is_list = |line: &Line<'_>| of_key && Some(line.indent) == above && line.is_item();
                let value = match self.next().filter(is_list) {
                    Some(line) => self.list(line.indent, depth + 1)?,
                    None => self.node(above, depth + 1)?,
                };
                Ok((value, None))
            }
            Some('|' | '>') => {
                let (head, comment) = text.split_at(comment_at(text));
                if !head[1..].trim_end().bytes().all(|byte| byte.is_ascii_digit() || b"+-".contains(&byte)) {
                    return Err(Unread::Unknown);
                }
                if !comment.is_empty() {
                    self.comment(at + head.len(), comment);
                }
                self.pass(line.end);
                Ok((Node::Text(self.further(|line| line.text.is_empty() || is_in(line))), None))
            }
            Some(open @ ('[' | '{' | '"' | '\'')) => {
                let mut flow = Flow { text: self.all, at };
                let value = match flow.value(0) {
                    // None of theirs ends it.
                    Err(Unread::Open) if "\"'".contains(open) && !self.rest.contains(open) => {
                        return Ok(self.plain(at, text, is_in));
                    }
                    value => value?,
                };
                let in_line = flow.at <= line.end;
                let end = self.lines.iter().find(|line| line.end >= flow.at).map_or(line.end, |line| line.end);
                let behind = self.all[flow.at..end].trim_matches([' ', '\t', '\r', '\n']);
                if !behind.is_empty() && !behind.starts_with('#') {
                    // `[a] [b]` is a text to those who read it at all.
                    return if in_line { Ok(self.plain(at, text, is_in)) } else { Err(Unread::Unknown) };
                }
                if !behind.is_empty() {
                    self.comment(end - self.all[flow.at..end].trim_start().len(), behind);
                }
                self.pass(end);
                let said = (in_line && matches!(value, Node::Text(_))).then_some(at..flow.at);
                Ok((value, said))
            }
            Some('&' | '!') => Err(Unread::Unknown),
            Some(_) => Ok(self.plain(at, text, is_in)),
        }
    }

    /// A text without quotes.
    fn plain(&mut self, at: usize, text: &str, is_in: impl Fn(&Line<'_>) -> bool) -> (Node, Option<Range<usize>>) {
        let (said, comment) = text.split_at(comment_at(text));
        if !comment.is_empty() {
            self.comment(at + said.len(), comment);
        }
        let said = said.trim_end();
        self.pass(self.lines[self.at].end);
        let further = self.further(|line| line.text.is_empty() || (is_in(line) && !line.text.starts_with('#')));
        let place = further.is_empty().then_some(at..at + said.len());
        (Node::Text([vec![said.to_owned()], further].concat()), place)
    }

    /// The lines that follow and are such, but for empty ones at their end.
    fn further(&mut self, is_one: impl Fn(&Line<'_>) -> bool) -> Vec<String> {
        let lines: Vec<_> = self.lines[self.at..].iter().take_while(|line| is_one(line)).collect();
        let count = lines.iter().rposition(|line| !line.text.is_empty()).map_or(0, |last| last + 1);
        let (texts, end) = (
            lines[..count].iter().map(|line| line.text.to_owned()).collect(),
            lines[..count].last().map(|line| line.end),
        );
        if let Some(end) = end {
            self.pass(end);
        }
        texts
    }

    /// Goes on behind the line that ends there.
    fn pass(&mut self, end: usize) {
        self.done = end;
        self.at = self.lines.iter().position(|line| line.end > end).unwrap_or(self.lines.len());
    }
}

/// A key, and where its value begins; `None` if a line has none.
fn pair(text: &str) -> Result<Option<(String, usize)>, Unread> {
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with([' ', '\t']);
    let (key, colon) = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let Some(end) = quote_end(&text[1..], quote).map(|end| end + 2) else { return Ok(None) };
            let rest = text[end..].trim_start_matches([' ', '\t']);
            match rest.strip_prefix(':') {
                Some(behind) if is_end(behind) => (unquoted(&text[..end])?, text.len() - rest.len()),
                Some(_) => return Err(Unread::Unknown),
                None => return Ok(None),
            }
        }
        Some('[' | '{' | '|' | '>') => return Ok(None),
        Some('&' | '!') => return Err(Unread::Unknown),
        Some('?') if is_end(&text[1..]) => return Err(Unread::Unknown),
        _ => {
            let said = &text[..comment_at(text)];
            let Some(colon) = said.match_indices(':').map(|(at, _)| at).find(|at| is_end(&said[at + 1..])) else {
                return Ok(None);
            };
            (said[..colon].trim_end().to_owned(), colon)
        }
    };
    if colon == 0 {
        return Err(Unread::Unknown);
    }
    let value = text[colon + 1..].trim_start_matches([' ', '\t']);
    Ok(Some((key, text.len() - value.len())))
}

/// Where a comment begins behind a text.
fn comment_at(text: &str) -> usize {
    let found = text.match_indices('#').map(|(at, _)| at);
    found.into_iter().find(|at| *at == 0 || text[..*at].ends_with([' ', '\t'])).unwrap_or(text.len())
}

/// Where a text ends that is in quotes, behind the first. Double ones can have one of theirs in them, behind a `\`, which may have another
/// before itself; simple ones have two for one.
fn quote_end(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if quote == '"' => drop(letters.next()),
            _ if letter != quote => {}
            '\'' if letters.peek().is_some_and(|(_, next)| *next == quote) => drop(letters.next()),
            _ => return Some(at),
        }
    }
    None
}

/// What a text in quotes says. Of what stands behind a `\`, what JSON has as well is known.
fn unquoted(text: &str) -> Result<String, Unread> {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    match text.starts_with('"') {
        true if inner.contains('\\') => serde_json::from_str(text).map_err(|_| Unread::Unknown),
        true => Ok(inner.to_owned()),
        false => Ok(inner.replace("''", "'")),
    }
}

/// Notes where what is in one line is.
fn within(value: &mut Node, place: &Range<usize>) {
    if let Node::Map(entries) | Node::List(entries) = value {
        for entry in entries.iter_mut().filter(|entry| entry.place.is_empty()) {
            entry.place = place.clone();
            within(&mut entry.value, place);
        }
    }
}

/// What reads values in brackets, and texts in quotes.
struct Flow<'a> {
    text: &'a str,
    at: usize,
}

impl Flow<'_> {
    fn next(&mut self) -> Result<char, Unread> {
        let rest = &self.text[self.at..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.at += blank;
        match self.text[self.at..].chars().next() {
            Some('#') if blank > 0 => Err(Unread::Unknown),
            next => next.ok_or(Unread::Open),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Unread> {
        let begin = self.at;
        match self.next()? {
            _ if depth > DEPTH => Err(Unread::Unknown),
            '{' => Ok(Node::Map(self.entries('}', depth)?)),
            '[' => Ok(Node::List(self.entries(']', depth)?)),
            quote @ ('"' | '\'') => {
                let begin = self.at;
                let end = quote_end(&self.text[begin + 1..], quote).ok_or(Unread::Open)?;
                self.at = begin + end + 2;
                let lines: Vec<&str> = self.text[begin..self.at].lines().map(str::trim).collect();
                Ok(Node::Text(unquoted(&lines.join(" "))?.lines().map(str::to_owned).collect()))
            }
            '&' | '!' | '?' | '|' | '>' => Err(Unread::Unknown),
            _ => {
                let rest = &self.text[self.at..];
                let is_end = |(at, letter): (usize, char)| {
                    let behind = &rest[at + letter.len_utf8()..];
                    ",[]{}".contains(letter)
                        || (letter == ':'
                            && (behind.is_empty()
                                || behind.starts_with([' ', '\t', '\r', '\n', ',', '[', ']', '{', '}'])))
                };
                let length = rest.char_indices().find(|one| is_end(*one)).map(|(at, _)| at).ok_or(Unread::Open)?;
                let said = &rest[..length];
                if length == 0 || comment_at(said) < length || said.contains("\n#") || self.at < begin {
                    return Err(Unread::Unknown);
                }
                self.at += length;
                Ok(Node::Text(vec![said.split_whitespace().collect::<Vec<_>>().join(" ")]))
            }
        }
    }

    /// What stands in brackets, up to the one that closes them.
    fn entries(&mut self, close: char, depth: usize) -> Result<Vec<Entry>, Unread> {
        let mut entries = Vec::new();
        self.at += 1;
        loop {
            if self.next()? == close {
                self.at += 1;
                return Ok(entries);
            }
            let first = self.value(depth + 1)?;
            let is_pair = self.next()? == ':';
            let value = if is_pair {
                self.at += 1;
                match self.next()? {
                    ',' | '}' | ']' => Node::Text(Vec::new()),
                    _ => self.value(depth + 1)?,
                }
            } else {
                Node::Text(Vec::new())
            };
            let of = |key: String, value: Node| Entry { key, value, place: 0..0, said: None };
            let key = |node: &Node| match node {
                Node::Text(lines) => Ok(lines.first().cloned().unwrap_or_default()),
                _ => Err(Unread::Unknown),
            };
            entries.push(match (close, is_pair) {
                ('}', _) => of(key(&first)?, value),
                (_, true) => of(String::new(), Node::Map(vec![of(key(&first)?, value)])),
                (_, false) => of(String::new(), first),
            });
            match self.next()? {
                ',' => self.at += 1,
                next if next == close => {}
                _ => return Err(Unread::Unknown),
            }
        }
    }
}
