//! The project: where it is, and what its `agentkernel.toml` says, with the place of every mistake.

use super::{
    ConfigError, HostFacts, WorkspaceMode,
    forms::{self, FormError, TmpfsArg},
    nearest, protect,
    schema::{self, Form, Key},
};
use crate::{Image, Mount, Name};
use rustix::{
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};
use toml_edit::{Document, Item, TableLike, Value};

/// The name of the file.
pub const FILE_NAME: &str = "agentkernel.toml";

/// No project needs more; a file that is larger is something else.
const MAX_LEN: u64 = 256 << 10;

/// The project that the caller stands in.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its directory, absolute: the workspace.
    pub dir: PathBuf,
    /// Its configuration.
    pub file: Option<ProjectFile>,
}

/// A project's configuration: parsed, and not trusted.
#[derive(Clone, Debug)]
pub struct ProjectFile {
    /// Its path.
    pub path: PathBuf,
    /// Its bytes.
    pub(super) text: String,
    pub(super) settings: Settings,
    /// Whether the user has accepted what it asks for. False until
    /// [`Store::is_trusted`](crate::store::Store::is_trusted) has been asked.
    pub trusted: bool,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl<T> Located<T> {
    pub(super) fn with<U>(&self, value: U) -> Located<U> {
        Located { value, line: self.line, column: self.column }
    }
}

/// What a project's file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) name: Option<Name>,
    pub(super) image: Option<Located<Image>>,
    pub(super) workspace: Option<WorkspaceMode>,
    pub(super) user: Option<Located<String>>,
    pub(super) workdir: Option<Located<PathBuf>>,
    pub(super) read_only: Option<bool>,
    pub(super) keep: Option<bool>,
    pub(super) timeout: Option<Duration>,
    pub(super) env: Vec<(String, String)>,
    pub(super) env_file: Option<Located<PathBuf>>,
    pub(super) cpu_milli: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<Located<u64>>,
    pub(super) disk: Option<Located<u64>>,
    pub(super) nofile: Option<Located<u64>>,
    pub(super) fsize: Option<Located<u64>>,
    pub(super) protect: Vec<PathBuf>,
    pub(super) mounts: Vec<Located<Mount>>,
    pub(super) tmpfs: Vec<Located<TmpfsArg>>,
}

impl Project {
    /// Finds the project of the caller's working directory.
    ///
    /// The search goes up to the first directory that has the file or a `.git`. It does not enter the caller's home
    /// directory, the root directory, or a directory of another owner: what lies there is not about this project,
    /// and might be a trap. Where nothing is found the working directory itself is the project.
    ///
    /// # Errors
    /// If the working directory is lost, or a file was found and can't be read or parsed.
    pub fn find(host: &HostFacts) -> Result<Self, ConfigError> {
        if let Some(error) = host.lost() {
            return Err(error);
        }
        let owner = |dir: &Path| fs::stat(dir).ok().map(|stat| stat.st_uid);
        let ours = owner(&host.cwd);
        for dir in host.cwd.ancestors() {
            let top = dir == Path::new("/") || host.homes().any(|home| home == dir);
            if dir != host.cwd && (top || owner(dir) != ours) {
                break;
            }
            let path = dir.join(FILE_NAME);
            if let Some(text) = read(&path)? {
                return Ok(Self { dir: dir.into(), file: Some(ProjectFile::parse(path, text)?) });
            }
            // A file in worktrees and submodules, a directory elsewhere.
            let git = dir.join(".git");
            if !top && fs::lstat(&git).is_ok() && !protect::is_placeholder(&git) {
                return Ok(Self { dir: dir.into(), file: None });
            }
        }
        Ok(Self { dir: host.cwd.clone(), file: None })
    }
}

/// The text of the file at `path`; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    // A link would let a project show us any file of the caller's; a fifo would hang us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        // A socket is a placeholder of a sandbox: nothing can be read from it.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NXIO) => return Ok(None),
        Err(Errno::LOOP) => {
            let cause = format!("{} is a symbolic link", path.display());
            return Err(ConfigError::value(cause, "Put the file itself there"));
        }
        Err(errno) => return Err(ConfigError::io(path, errno)),
    };
    let stat = fs::fstat(&file).map_err(|errno| ConfigError::io(path, errno))?;
    if protect::is_placeholder(path) {
        return Ok(None);
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ConfigError::value(format!("{} is not a file", path.display()), ""));
    }
    let mut bytes = Vec::new();
    (&mut file).take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(|error| ConfigError::io(path, error))?;
    if bytes.len() as u64 > MAX_LEN {
        let cause = format!("{} is longer than {} bytes", path.display(), MAX_LEN);
        return Err(ConfigError::value(cause, ""));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let at = good.len();
            let text = String::from_utf8_lossy(good);
            Err(Mistake::at(at..at, "not UTF-8").locate(path, &text))
        }
    }
}

impl ProjectFile {
    /// Parses a file's text. `path` is for messages, and where relative paths in it begin.
    ///
    /// # Errors
    /// [`ConfigError::File`] for the first mistake.
    pub fn parse(path: PathBuf, text: String) -> Result<Self, ConfigError> {
        match settings(&text) {
            Ok(settings) => Ok(Self { path, text, settings, trusted: false }),
            Err(mistake) => Err(mistake.locate(&path, &text)),
        }
    }

    /// What stands for this file, with every byte of it and its place: SHA-256 in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.path.as_os_str().as_encoded_bytes());
        // No path has one: the two parts can't be mistaken for another two.
        hash.update([0]);
        hash.update(&self.text);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A mistake that shows only when a value is used.
    pub(super) fn error<T>(&self, at: &Located<T>, cause: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::File {
            path: self.path.clone(),
            line: at.line,
            column: at.column,
            cause: cause.into(),
            hint: hint.into(),
        }
    }
}

/// A mistake, by the bytes of the text that are wrong.
struct Mistake {
    span: Range<usize>,
    cause: String,
    hint: String,
}

impl Mistake {
    fn at(span: Range<usize>, cause: impl Into<String>) -> Self {
        Self { span, cause: cause.into(), hint: String::new() }
    }

    fn locate(self, path: &Path, text: &str) -> ConfigError {
        let (line, column) = position(text, self.span.start);
        ConfigError::File { path: path.into(), line, column, cause: self.cause, hint: self.hint }
    }
}

/// The line and the character in it of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

fn settings(text: &str) -> Result<Settings, Mistake> {
    let document = Document::parse(text).map_err(|error| {
        let cause = error.message().lines().next().unwrap_or_default().to_owned();
        Mistake::at(error.span().unwrap_or(0..0), cause)
    })?;
    let mut settings = Settings::default();
    for (name, item) in document.as_table() {
        let here = key_span(document.as_table(), name, item);
        let Some(keys) = schema::keys(name) else { return Err(unknown_table(name, here)) };
        let Some(table) = item.as_table_like() else {
            return Err(Mistake::at(here, format!("[{name}] must be a table, not {}", kind(item))));
        };
        for (key_name, item) in table.iter() {
            let here = key_span(table, key_name, item);
            let Some(key) = keys.iter().find(|key| key.name == key_name) else {
                return Err(unknown_key(name, keys, key_name, here));
            };
            set(&mut settings, key, item, text, here)?;
        }
    }
    Ok(settings)
}

fn unknown_table(name: &str, span: Range<usize>) -> Mistake {
    let mut mistake = Mistake::at(span, format!("unknown table {}", forms::quoted(name.as_ref())));
    let tables = schema::TABLES.iter().map(|(table, ..)| *table);
    if let Some(near) = nearest(name, tables.clone()) {
        mistake.hint = format!("Did you mean [{near}]?");
    } else if let Some((table, ..)) = schema::TABLES.iter().find(|(_, _, keys)| keys.iter().any(|key| key.name == name))
    {
        mistake.hint = format!("`{name}` belongs into [{table}]");
    } else {
        mistake.hint = format!("There are {}", tables.map(|table| format!("[{table}]")).collect::<Vec<_>>().join(", "));
    }
    mistake
}

fn unknown_key(table: &str, keys: &[Key], name: &str, span: Range<usize>) -> Mistake {
    let mut mistake = Mistake::at(span, format!("unknown key {} in [{table}]", forms::quoted(name.as_ref())));
    let all = || schema::TABLES.iter().flat_map(|(table, _, keys)| keys.iter().map(move |key| (*table, key.name)));
    mistake.hint = if let Some((other, _)) = all().find(|(_, key)| *key == name) {
        format!("`{name}` belongs into [{other}]")
    } else if let Some(near) = nearest(name, keys.iter().map(|key| key.name)) {
        format!("Did you mean `{near}`?")
    } else if let Some(near) = nearest(name, all().map(|(_, key)| key)) {
        let other = all().find(|(_, key)| *key == near).map_or(table, |(other, _)| other);
        format!("Did you mean `{near}` in [{other}]?")
    } else {
        format!("[{table}] has {}", keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", "))
    };
    mistake
}

/// Takes one key's value.
fn set(settings: &mut Settings, key: &Key, item: &Item, text: &str, here: Range<usize>) -> Result<(), Mistake> {
    let span = item.span().unwrap_or(here);
    let name = key.name;
    let expected = |what: &str| Mistake::at(span.clone(), format!("`{name}` must be {what}, not {}", kind(item)));
    let refused = |span: Range<usize>| {
        move |error: FormError| Mistake { span, cause: format!("`{name}`: {error}"), hint: error.hint.into() }
    };
    let number = || match item.as_integer().map(u64::try_from) {
        Some(Err(_)) => Err(Mistake::at(span.clone(), format!("`{name}` {}", forms::NEGATIVE))),
        Some(Ok(number)) => Ok(Some(number)),
        None => Ok(None),
    };
    match &key.form {
        Form::Text(set) => {
            let value = item.as_str().ok_or_else(|| expected("a text"))?;
            set(settings, locate(value.to_owned(), text, &span)).map_err(refused(span))
        }
        Form::Choice(_, set) => {
            let value = item.as_str().ok_or_else(|| expected("a text"))?;
            set(settings, value).map_err(refused(span))
        }
        Form::Flag(set) => {
            set(settings, item.as_bool().ok_or_else(|| expected("true or false"))?);
            Ok(())
        }
        Form::Size(set) => {
            let size = match (item.as_str(), number()?) {
                (Some(size), _) => forms::parse_size(size).map_err(refused(span.clone()))?,
                (_, Some(size)) => size,
                _ => return Err(expected("a size such as \"512M\"")),
            };
            set(settings, locate(size, text, &span)).map_err(refused(span))
        }
        Form::Time(set) => {
            let value = item.as_str().ok_or_else(|| expected("a time such as \"90s\""))?;
            set(settings, forms::parse_duration(value).map_err(refused(span))?);
            Ok(())
        }
        Form::Cpus(set) => {
            // As written: 0.1 has no exact binary form.
            let written = match (item.as_float(), item.as_integer()) {
                (Some(number), _) => number.to_string(),
                (_, Some(number)) => number.to_string(),
                _ => return Err(expected("a number such as 0.5")),
            };
            set(settings, forms::parse_cpus(&written).map_err(refused(span))?);
            Ok(())
        }
        Form::Count(set) => {
            let count = number()?.ok_or_else(|| expected("a whole number"))?;
            set(settings, locate(count, text, &span)).map_err(refused(span))
        }
        Form::List(set) => {
            let list = item.as_array().ok_or_else(|| expected("a list of texts"))?;
            for element in list {
                let span = element.span().unwrap_or_else(|| span.clone());
                let Some(value) = element.as_str() else {
                    let cause = format!("`{name}` must have texts only, not {}", value_kind(element));
                    return Err(Mistake::at(span, cause));
                };
                set(settings, locate(value.to_owned(), text, &span)).map_err(refused(span))?;
            }
            Ok(())
        }
        Form::Variables(set) => {
            let table = item.as_table_like().ok_or_else(|| expected("a table of texts"))?;
            for (variable, item) in table.iter() {
                let here = key_span(table, variable, item);
                let Some(value) = item.as_str() else {
                    let span = item.span().unwrap_or(here);
                    let variable = forms::quoted(variable.as_ref());
                    return Err(Mistake::at(span, format!("`{name}`: {variable} must be a text, not {}", kind(item))));
                };
                let both = format!("{variable}={value}");
                match forms::parse_env(both.as_ref()) {
                    // A name with a "=" would be split in another place than it was written.
                    Ok(forms::EnvVar::Set(parsed, _)) if parsed == variable => {}
                    Ok(_) => return Err(Mistake::at(here, format!("`{name}`: a variable's name can't have a '='"))),
                    Err(error) => return Err(refused(here)(error)),
                }
                set(settings, variable.to_owned(), value.to_owned());
            }
            Ok(())
        }
    }
}

fn locate<T>(value: T, text: &str, span: &Range<usize>) -> Located<T> {
    let (line, column) = position(text, span.start);
    Located { value, line, column }
}

fn key_span(table: &dyn TableLike, name: &str, item: &Item) -> Range<usize> {
    table.key(name).and_then(toml_edit::Key::span).or_else(|| item.span()).unwrap_or(0..0)
}

fn kind(item: &Item) -> &'static str {
    match item {
        Item::Value(value) => value_kind(value),
        Item::ArrayOfTables(_) => "a list of tables",
        Item::Table(_) | Item::None => "a table",
    }
}

fn value_kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
