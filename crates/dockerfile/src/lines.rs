//! Hides how lines become instructions: directives at the top, comments, lines that go on, here-documents.

use crate::error::{DockerfileError, shown};

/// An instruction as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its first line.
    pub number: usize,
    /// All of it on one line, without here-documents.
    pub text: String,
    /// The here-documents that it names, in their order.
    pub documents: Vec<Document>,
}

/// A here-document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// The word that ends it.
    pub name: String,
    /// What is in it, whole lines.
    pub content: String,
    /// Its name is not quoted: variables in it are replaced.
    pub expand: bool,
    /// Its own end line, as it stands.
    pub end: String,
}

/// The lines of a Dockerfile.
pub(crate) struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    /// What a line ends with that goes on, and what takes a character's meaning.
    pub escape: char,
    /// The frontend that it was written for.
    pub syntax: Option<String>,
}

impl<'a> Lines<'a> {
    /// Reads the directives.
    pub fn new(text: &'a str) -> Result<Self, DockerfileError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut made = Self { lines: text.lines().enumerate(), escape: '\\', syntax: None };
        let mut seen: Vec<String> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some((key, value)) = directive(line) else { break };
            let number = index + 1;
            if seen.contains(&key) {
                return Err(DockerfileError::mistake(number, format!("The directive '{key}' is there twice")));
            }
            match (key.as_str(), value) {
                ("syntax", value) => made.syntax = Some(value.to_owned()),
                ("escape", "\\") => {}
                ("escape", "`") => made.escape = '`',
                ("escape", value) => {
                    let cause = format!("{} can't be the escape character", shown(value));
                    return Err(DockerfileError::mistake(number, cause).hint("It is \\ or `"));
                }
                // Which lints run: there are none here.
                ("check", _) => {}
                // Any other is a comment, and ends the directives.
                _ => break,
            }
            seen.push(key);
        }
        Ok(made)
    }

    /// The next instruction.
    pub fn next(&mut self) -> Option<Result<Line, DockerfileError>> {
        let (mut number, mut text) = (None, String::new());
        for (index, line) in self.lines.by_ref() {
            let trimmed = line.trim_start();
            // Comments and empty lines stand in the middle of an instruction too.
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let line = if number.is_none() { trimmed } else { line };
            number.get_or_insert(index + 1);
            match continues(line, self.escape) {
                Some(begin) => text.push_str(begin),
                None => {
                    text.push_str(line);
                    break;
                }
            }
        }
        let number = number?;
        let text = text.trim().to_owned();
        if text.is_empty() {
            return self.next();
        }
        let mut documents = Vec::new();
        for (name, expand, tabs) in named_documents(&text, self.escape) {
            match self.document(name, expand, tabs) {
                Ok(document) => documents.push(document),
                Err(name) => {
                    let cause = format!("The here-document {} has no end", shown(&name));
                    let hint = format!("A line {name} of its own ends it");
                    return Some(Err(DockerfileError::mistake(number, cause).hint(hint)));
                }
            }
        }
        Some(Ok(Line { number, text, documents }))
    }

    fn document(&mut self, name: String, expand: bool, tabs: bool) -> Result<Document, String> {
        let mut content = String::new();
        for (_, line) in self.lines.by_ref() {
            let stripped = if tabs { line.trim_start_matches('\t') } else { line };
            if stripped == name {
                return Ok(Document { name, content, expand, end: stripped.to_owned() });
            }
            content.push_str(stripped);
            content.push('\n');
        }
        Err(name)
    }
}

/// `# KEY=VALUE`
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let key = key.trim();
    let good = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| (key.to_ascii_lowercase(), value.trim()))
}

/// What of a line stays if the next one belongs to it.
fn continues(line: &str, escape: char) -> Option<&str> {
    let begin = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    // Two stand for one that has no meaning.
    (!begin.ends_with(escape)).then_some(begin)
}

/// The here-documents that an instruction names: name, whether variables are replaced, whether tabs in front go.
fn named_documents(text: &str, escape: char) -> Vec<(String, bool, bool)> {
    let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let takes = ["run", "copy", "add"].contains(&keyword.to_ascii_lowercase().as_str());
    if !takes || rest.trim_start().starts_with('[') {
        return Vec::new();
    }
    let mut documents = Vec::new();
    let mut arithmetic = false;
    for word in crate::word::split(rest, escape) {
        // Between `$((` and `))` two less-than signs move bits.
        if !word.contains(['"', '\'']) && (word.contains("((") || word.contains("))")) {
            arithmetic = word.rfind("((") > word.rfind("))");
        } else if !arithmetic {
            documents.extend(named_document(word, escape));
        }
    }
    documents
}

/// `<<NAME`, `<<-NAME`, with a digit of a descriptor before it, the name in quotes or not; and nothing else.
pub(crate) fn named_document(text: &str, escape: char) -> Option<(String, bool, bool)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, tabs) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    let words = crate::word::split(rest, escape);
    let [name] = words[..] else { return None };
    if name.contains('<') {
        return None;
    }
    let plain = crate::word::unquote(name, escape).ok()?;
    (!plain.is_empty()).then(|| (plain.clone(), plain == name, tabs))
}
