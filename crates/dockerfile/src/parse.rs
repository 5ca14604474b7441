//! From lines to instructions.

use crate::{
    error::{DockerfileError, shown},
    flags::{self, Flags},
    instruction::{Check, Command, Copy, Dockerfile, Healthcheck, Inline, Instruction, Run, Source, Stage, Step},
    lines::{Document, Line, Lines, named_document},
    word::{self, Word},
};

/// Every instruction.
const KNOWN: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "LABEL",
    "EXPOSE",
    "ENV",
    "ADD",
    "COPY",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
    "MAINTAINER",
];
/// The most stages, and the most instructions of one.
const MOST: usize = 1000;

/// Reads a Dockerfile.
///
/// # Errors
/// [`DockerfileError`]: the first one.
pub fn parse(text: &str) -> Result<Dockerfile, DockerfileError> {
    let mut lines = Lines::new(text)?;
    let escape = lines.escape;
    let mut made = Dockerfile { syntax: lines.syntax.take(), arguments: Vec::new(), stages: Vec::new() };
    let mut last = 1;
    while let Some(line) = lines.next() {
        let line = line?;
        last = line.number;
        let (keyword, rest) = keyword(&line)?;
        let parser = Parser { line: &line, keyword, escape };
        if keyword == "FROM" {
            if made.stages.len() == MOST {
                return Err(DockerfileError::mistake(line.number, format!("There are more than {MOST} stages")));
            }
            made.stages.push(parser.stage(rest)?);
            continue;
        }
        let instruction = parser.instruction(rest)?;
        match (made.stages.last_mut(), instruction) {
            (Some(stage), _) if stage.steps.len() == MOST => {
                return Err(DockerfileError::mistake(
                    line.number,
                    format!("A stage has more than {MOST} instructions"),
                ));
            }
            (Some(stage), instruction) => {
                stage.steps.push(Step { line: line.number, text: one_line(&line.text), instruction });
            }
            (None, Instruction::Arg(arguments)) => made.arguments.extend(arguments),
            (None, _) => {
                let cause = format!("{keyword} stands before the first FROM");
                return Err(DockerfileError::mistake(line.number, cause).hint("Only ARG may stand there"));
            }
        }
    }
    if made.stages.is_empty() {
        return Err(
            DockerfileError::mistake(last, "There is no FROM").hint("FROM IMAGE says what the image begins with")
        );
    }
    Ok(made)
}

/// Reads an instruction that an image has for whoever begins with it.
///
/// # Errors
/// [`DockerfileError`], of line 0.
pub fn parse_trigger(text: &str) -> Result<Step, DockerfileError> {
    let line = Line { number: 0, text: text.trim().to_owned(), documents: Vec::new() };
    let (keyword, rest) = keyword(&line)?;
    may_trigger(keyword, 0)?;
    let instruction = Parser { line: &line, keyword, escape: '\\' }.instruction(rest)?;
    Ok(Step { line: 0, text: one_line(&line.text), instruction })
}

/// The instruction of a line, in upper case, and what follows it.
fn keyword(line: &Line) -> Result<(&'static str, &str), DockerfileError> {
    let (word, rest) = line.text.split_once(char::is_whitespace).unwrap_or((&line.text, ""));
    let upper = word.to_ascii_uppercase();
    if let Some(known) = KNOWN.iter().find(|known| **known == upper) {
        return Ok((known, rest.trim()));
    }
    let near = KNOWN.iter().map(|known| (strsim::damerau_levenshtein(known, &upper), known));
    let hint = match near.min() {
        Some((distance, known)) if distance <= 2 => format!("Did you mean {known}?"),
        _ => String::new(),
    };
    Err(DockerfileError::mistake(line.number, format!("No instruction is called {}", shown(word))).hint(hint))
}

fn may_trigger(keyword: &str, line: usize) -> Result<(), DockerfileError> {
    match keyword {
        "ONBUILD" | "FROM" | "MAINTAINER" => {
            Err(DockerfileError::mistake(line, format!("ONBUILD can't have {keyword} behind it")))
        }
        _ => Ok(()),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Parser<'a> {
    line: &'a Line,
    keyword: &'static str,
    escape: char,
}

impl Parser<'_> {
    fn mistake(&self, cause: impl std::fmt::Display) -> DockerfileError {
        DockerfileError::mistake(self.line.number, format!("{}: {cause}", self.keyword))
    }

    fn word(&self, text: &str) -> Word {
        Word::new(text, self.escape)
    }

    /// The flags and what follows them.
    fn flags<'t>(&self, text: &'t str) -> (Flags<'static>, &'t str) {
        let (flags, rest) = flags::take(text, self.escape);
        (Flags::new(self.keyword, self.line.number, self.escape, flags), rest)
    }

    /// What is one word, spaces and all.
    fn whole(&self, rest: &str) -> Result<Word, DockerfileError> {
        if rest.is_empty() {
            return Err(self.mistake("something must follow it"));
        }
        Ok(self.word(rest))
    }

    fn stage(&self, rest: &str) -> Result<Stage, DockerfileError> {
        let (mut flags, rest) = self.flags(rest);
        let platform = flags.word("platform")?;
        flags.end(&[])?;
        let words = word::split(rest, self.escape);
        let (image, name) = match words[..] {
            [image] => (image, None),
            [image, r#as, name] if r#as.eq_ignore_ascii_case("as") => (image, Some(name.to_ascii_lowercase())),
            _ => return Err(self.mistake("IMAGE, or IMAGE AS NAME, must follow it")),
        };
        if let Some(name) = &name {
            let mut bytes = name.bytes();
            let good = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
                && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
            if !good || name == "scratch" {
                let cause = format!("{} can't be the name of a stage", shown(name));
                return Err(self.mistake(cause).hint("Use letters, digits, '-', '_' and '.', beginning with a letter"));
            }
        }
        let text = one_line(&self.line.text);
        Ok(Stage { line: self.line.number, text, image: self.word(image), platform, name, steps: Vec::new() })
    }

    fn instruction(&self, rest: &str) -> Result<Instruction, DockerfileError> {
        Ok(match self.keyword {
            "RUN" => Instruction::Run(self.run(rest)?),
            "COPY" => Instruction::Copy(self.copy(rest, &["parents", "exclude"])?),
            "ADD" => Instruction::Add(self.add(rest)?),
            "ENV" => Instruction::Env(self.pairs(rest)?),
            "LABEL" => Instruction::Label(self.pairs(rest)?),
            "ARG" => Instruction::Arg(self.arguments(rest)?),
            "WORKDIR" => Instruction::Workdir(self.whole(rest)?),
            "USER" => Instruction::User(self.whole(rest)?),
            "STOPSIGNAL" => Instruction::Stopsignal(self.whole(rest)?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command(rest)),
            "CMD" => Instruction::Cmd(self.command(rest)),
            "EXPOSE" => Instruction::Expose(self.words(rest)?),
            "VOLUME" => Instruction::Volume(match json(rest) {
                Some(list) if list.is_empty() => return Err(self.mistake("something must follow it")),
                Some(list) => list.iter().map(|text| self.word(text)).collect(),
                None => self.words(rest)?,
            }),
            "SHELL" => match json(rest).filter(|list| !list.is_empty()) {
                Some(list) => Instruction::Shell(list),
                None => return Err(self.mistake("a list must follow it").hint(r#"Such as ["/bin/sh", "-c"]"#)),
            },
            "HEALTHCHECK" => Instruction::Healthcheck(self.healthcheck(rest)?),
            "ONBUILD" => self.onbuild(rest)?,
            "MAINTAINER" => Instruction::Maintainer(self.whole(rest)?.raw().to_owned()),
            other => return Err(self.mistake(format!("{other} can't stand here"))),
        })
    }

    fn words(&self, rest: &str) -> Result<Vec<Word>, DockerfileError> {
        let words: Vec<Word> = rest.split_whitespace().map(|text| self.word(text)).collect();
        if words.is_empty() { Err(self.mistake("something must follow it")) } else { Ok(words) }
    }

    fn command(&self, rest: &str) -> Command {
        match json(rest) {
            Some(list) => Command::Exec(list),
            None => Command::Shell(rest.to_owned()),
        }
    }

    fn run(&self, rest: &str) -> Result<Run, DockerfileError> {
        let (mut flags, rest) = self.flags(rest);
        let mounts = flags.all("mount")?;
        let mounts = mounts.iter().map(|text| flags.mount(text)).collect::<Result<Vec<_>, _>>()?;
        for name in ["network", "security"] {
            match flags.one(name)?.as_deref() {
                // What is usual.
                None | Some("default" | "sandbox") => {}
                Some(other) => return Err(flags.unsupported(format!("--{name}={other}"))),
            }
        }
        flags.end(&["device"])?;
        let command = match (&self.line.documents[..], self.command(rest)) {
            (_, Command::Exec(list)) if list.first().is_none_or(String::is_empty) => {
                return Err(self.mistake("a program must follow it"));
            }
            (_, Command::Shell(line)) if line.is_empty() => return Err(self.mistake("a command must follow it")),
            ([], command) => command,
            // It alone is the script.
            ([document], Command::Shell(line)) if named_document(&line, self.escape).is_some() => {
                match document.content.starts_with("#!") {
                    true => Command::Script(document.content.clone()),
                    false => Command::Shell(document.content.clone()),
                }
            }
            (documents, Command::Shell(mut line)) => {
                for Document { content, end, .. } in documents {
                    line.push('\n');
                    line.push_str(content);
                    line.push_str(end);
                }
                Command::Shell(line + "\n")
            }
            (_, command) => command,
        };
        Ok(Run { command, mounts })
    }

    fn copy(&self, rest: &str, elsewhere: &[&str]) -> Result<Copy, DockerfileError> {
        let (mut flags, rest) = self.flags(rest);
        let from = if self.keyword == "COPY" { flags.word("from")? } else { None };
        let (chown, chmod) = (flags.word("chown")?, flags.word("chmod")?);
        // It says that the layers below need not be looked at; what is copied is the same.
        flags.switch("link")?;
        flags.end(elsewhere)?;
        let written: Vec<String> = match json(rest) {
            Some(list) => list,
            None => rest.split_whitespace().map(str::to_owned).collect(),
        };
        let Some((to, sources)) = written.split_last().filter(|(_, sources)| !sources.is_empty()) else {
            return Err(self.mistake("SOURCE... and TARGET must follow it"));
        };
        let mut documents = self.line.documents.iter();
        let source = |text: &String| match named_document(text, self.escape).and_then(|_| documents.next()) {
            Some(Document { name, content, expand, .. }) => {
                Source::Inline(Inline { name: name.clone(), content: self.word(content), expand: *expand })
            }
            None => Source::Path(self.word(text)),
        };
        let sources: Vec<Source> = sources.iter().map(source).collect();
        if from.is_some() && sources.iter().any(|source| matches!(source, Source::Inline(_))) {
            return Err(self.mistake("a here-document comes from nowhere else: leave --from out"));
        }
        Ok(Copy { from, chown, chmod, sources, to: self.word(to) })
    }

    fn add(&self, rest: &str) -> Result<Copy, DockerfileError> {
        let copy = self.copy(rest, &["checksum", "keep-git-dir", "unpack", "exclude"])?;
        let remote = |text: &str| {
            let schemes = ["http://", "https://", "ftp://", "git://", "ssh://", "git@"];
            schemes.iter().any(|scheme| text.starts_with(scheme))
        };
        for source in &copy.sources {
            if let Source::Path(word) = source
                && remote(word.raw().trim_start_matches(['"', '\'']))
            {
                return Err(DockerfileError::unsupported(self.line.number, "ADD of an address is not supported")
                    .hint("Fetch it in a RUN, whose network the build's policy decides, or COPY a file"));
            }
        }
        Ok(copy)
    }

    /// `NAME=VALUE...`, or one `NAME VALUE`.
    fn pairs(&self, rest: &str) -> Result<Vec<(Word, Word)>, DockerfileError> {
        let words = word::split(rest, self.escape);
        let Some(first) = words.first() else { return Err(self.mistake("NAME=VALUE must follow it")) };
        if !first.contains('=') {
            let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if value.trim().is_empty() {
                return Err(self.mistake(format!("{} has no value", shown(name))));
            }
            return Ok(vec![(self.word(name), self.word(value.trim()))]);
        }
        let pair = |word: &&str| match word.split_once('=') {
            Some(("", _)) => Err(self.mistake("a value has no name before its '='")),
            Some((name, value)) => Ok((self.word(name), self.word(value))),
            None => Err(self
                .mistake(format!("{} is no NAME=VALUE", shown(word)))
                .hint("Put what has spaces in it into double quotes")),
        };
        words.iter().map(pair).collect()
    }

    fn arguments(&self, rest: &str) -> Result<Vec<(String, Option<Word>)>, DockerfileError> {
        let words = word::split(rest, self.escape);
        if words.is_empty() {
            return Err(self.mistake("NAME or NAME=DEFAULT must follow it"));
        }
        let argument = |word: &&str| {
            let (name, value) = word.split_once('=').map_or((*word, None), |(name, value)| (name, Some(value)));
            let name = word::unquote(name, self.escape).map_err(|cause| self.mistake(cause))?;
            let mut bytes = name.bytes();
            let good = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            match good {
                true => Ok((name, value.map(|value| self.word(value)))),
                false => Err(self.mistake(format!("{} is no name of a variable", shown(&name)))),
            }
        };
        words.iter().map(argument).collect()
    }

    fn healthcheck(&self, rest: &str) -> Result<Healthcheck, DockerfileError> {
        let (mut flags, rest) = self.flags(rest);
        let mut time = |name: &str| match flags.one(name)? {
            None => Ok(0),
            Some(text) => duration(&text).ok_or_else(|| {
                self.mistake(format!("--{name}={} is no time", shown(&text))).hint("Such as 30s or 1m30s")
            }),
        };
        let (interval, timeout) = (time("interval")?, time("timeout")?);
        let (start_period, start_interval) = (time("start-period")?, time("start-interval")?);
        let retries = match flags.one("retries")? {
            None => 0,
            Some(text) => text.parse().map_err(|_| self.mistake(format!("--retries={} is no number", shown(&text))))?,
        };
        flags.end(&[])?;
        let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let check = match kind.to_ascii_uppercase().as_str() {
            "NONE" if rest.is_empty() => Check::None,
            "CMD" if !rest.trim().is_empty() => Check::Cmd(self.command(rest.trim())),
            _ => return Err(self.mistake("NONE, or CMD and a command, must follow it")),
        };
        Ok(Healthcheck { check, interval, timeout, start_period, start_interval, retries })
    }

    fn onbuild(&self, rest: &str) -> Result<Instruction, DockerfileError> {
        let line = Line { number: self.line.number, text: rest.to_owned(), documents: Vec::new() };
        let (keyword, behind) = keyword(&line)?;
        may_trigger(keyword, line.number)?;
        // It is read now, so that what is wrong with it is told to who wrote it.
        Parser { line: &line, keyword, escape: self.escape }.instruction(behind)?;
        Ok(Instruction::Onbuild(rest.to_owned()))
    }
}

/// A list of texts as JSON has it.
fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A time as Go writes it, in nanoseconds: `1h30m`, `1.5s`, `100ms`.
fn duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        rest = &rest[end..];
        sum += number * unit;
    }
    (sum < 9.2e18).then_some(sum as u64)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
