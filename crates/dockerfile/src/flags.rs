//! Hides how flags of an instruction are read: `--name=value`, before anything else.

use crate::{
    error::{DockerfileError, Kind, shown},
    instruction::{Mount, Sharing},
    word::{self, Word},
};

/// A flag as it is written.
pub(crate) struct Flag {
    pub name: String,
    pub value: Option<String>,
}

/// Takes the flags from the front.
pub(crate) fn take(mut text: &str, escape: char) -> (Vec<Flag>, &str) {
    let mut flags = Vec::new();
    loop {
        text = text.trim_start();
        let Some(first) = word::split(text, escape).first().copied().filter(|word| word.starts_with("--")) else {
            return (flags, text);
        };
        text = text.get(first.len()..).unwrap_or_default();
        let bare = first.trim_start_matches("--");
        if bare.is_empty() {
            return (flags, text.trim_start());
        }
        let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value.to_owned())));
        flags.push(Flag { name: name.to_owned(), value });
    }
}

/// What is known of the flags of one instruction.
pub(crate) struct Flags<'a> {
    pub instruction: &'a str,
    pub line: usize,
    pub escape: char,
    flags: Vec<Flag>,
}

impl<'a> Flags<'a> {
    pub fn new(instruction: &'a str, line: usize, escape: char, flags: Vec<Flag>) -> Self {
        Self { instruction, line, escape, flags }
    }

    /// The values of a flag, in their order.
    pub fn all(&mut self, name: &str) -> Result<Vec<String>, DockerfileError> {
        let (found, rest) = std::mem::take(&mut self.flags).into_iter().partition(|flag| flag.name == name);
        self.flags = rest;
        let found: Vec<Flag> = found;
        let value = |flag: Flag| {
            flag.value.filter(|value| !value.is_empty()).ok_or_else(|| self.mistake(format!("--{name} has no value")))
        };
        found.into_iter().map(value).collect()
    }

    /// The value of a flag that is there once.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, DockerfileError> {
        let mut all = self.all(name)?;
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(self.mistake(format!("--{name} is there twice"))),
        }
    }

    pub fn word(&mut self, name: &str) -> Result<Option<Word>, DockerfileError> {
        Ok(self.one(name)?.map(|value| Word::new(value, self.escape)))
    }

    /// A flag that is true or false.
    pub fn switch(&mut self, name: &str) -> Result<bool, DockerfileError> {
        let (found, rest) = std::mem::take(&mut self.flags).into_iter().partition(|flag| flag.name == name);
        self.flags = rest;
        let found: Vec<Flag> = found;
        match found.last() {
            None => Ok(false),
            Some(flag) => {
                boolean(flag.value.as_deref()).ok_or_else(|| self.mistake(format!("--{name} is either true or false")))
            }
        }
    }

    /// No other flag may be there. `elsewhere` are those that BuildKit knows.
    pub fn end(self, elsewhere: &[&str]) -> Result<(), DockerfileError> {
        match self.flags.first() {
            None => Ok(()),
            Some(Flag { name, .. }) if elsewhere.contains(&name.as_str()) => Err(self.unsupported(format!("--{name}"))),
            Some(Flag { name, .. }) => {
                let cause = format!("{} has no flag {}", self.instruction, shown(&format!("--{name}")));
                Err(DockerfileError::mistake(self.line, cause))
            }
        }
    }

    pub fn mistake(&self, cause: String) -> DockerfileError {
        DockerfileError::mistake(self.line, format!("{}: {cause}", self.instruction))
    }

    pub fn unsupported(&self, what: String) -> DockerfileError {
        let cause = format!("{} {what} is not supported", self.instruction);
        DockerfileError { kind: Kind::BuildKit, ..DockerfileError::unsupported(self.line, cause) }
    }

    /// `--mount`
    pub fn mount(&self, text: &str) -> Result<Mount, DockerfileError> {
        let text = word::unquoted_commas(text);
        let mut fields: Vec<(String, Option<String>)> = Vec::new();
        for field in text {
            let (key, value) =
                field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value.to_owned())));
            fields.push((key.trim().to_ascii_lowercase(), value));
        }
        let mut take = |names: &[&str]| {
            let found = fields.iter().rposition(|(key, _)| names.contains(&key.as_str()));
            found.map(|index| fields.swap_remove(index).1)
        };
        let word = |value: Option<Option<String>>| value.flatten().map(|value| Word::new(value, self.escape));
        let kind = take(&["type"]).flatten().unwrap_or_else(|| "bind".to_owned());
        let target = word(take(&["target", "dst", "destination"]));
        let no_target = || self.mistake(format!("a mount of type {} has no target", shown(&kind)));
        let number = |name: &str, value: Option<Option<String>>, radix: u32, otherwise: u32| match value.flatten() {
            None => Ok(otherwise),
            Some(text) => u32::from_str_radix(&text, radix)
                .map_err(|_| self.mistake(format!("{name}={} is no number", shown(&text)))),
        };
        let mount = match kind.as_str() {
            "cache" => {
                for other in ["from", "source"] {
                    if take(&[other]).is_some() {
                        return Err(self.unsupported(format!("--mount=type=cache,{other}")));
                    }
                }
                let sharing = match take(&["sharing"]).flatten().as_deref() {
                    None | Some("shared") => Sharing::Shared,
                    Some("locked") => Sharing::Locked,
                    Some("private") => return Err(self.unsupported("--mount=type=cache,sharing=private".into())),
                    Some(other) => return Err(self.mistake(format!("{} is no way to share", shown(other)))),
                };
                let read_only = match take(&["ro", "readonly"]) {
                    None => false,
                    Some(value) => boolean(value.as_deref())
                        .ok_or_else(|| self.mistake("ro is either true or false".to_owned()))?,
                };
                let owner = (number("uid", take(&["uid"]), 10, 0)?, number("gid", take(&["gid"]), 10, 0)?);
                let mode = number("mode", take(&["mode"]), 8, 0o755)?;
                Mount::Cache {
                    id: word(take(&["id"])),
                    target: target.ok_or_else(no_target)?,
                    read_only,
                    sharing,
                    mode,
                    owner,
                }
            }
            "bind" => {
                let writable = take(&["rw", "readwrite"]).is_some_and(|value| boolean(value.as_deref()) != Some(false))
                    || take(&["ro", "readonly"]).is_some_and(|value| boolean(value.as_deref()) == Some(false));
                if writable {
                    return Err(self.unsupported("--mount=type=bind,rw".into()));
                }
                Mount::Bind {
                    from: word(take(&["from"])),
                    source: word(take(&["source", "src"])).unwrap_or_else(|| Word::new("/", self.escape)),
                    target: target.ok_or_else(no_target)?,
                }
            }
            "tmpfs" => {
                let size = match take(&["size"]).flatten() {
                    None => None,
                    Some(text) => match bytes(&text) {
                        Some(bytes) => Some(bytes),
                        None => {
                            return Err(self
                                .mistake(format!("size={} is no size", shown(&text)))
                                .hint("Such as 64m or 1g"));
                        }
                    },
                };
                Mount::Tmpfs { target: target.ok_or_else(no_target)?, size }
            }
            "secret" | "ssh" => return Err(self.unsupported(format!("--mount=type={kind}"))),
            other => return Err(self.mistake(format!("{} is no type of mount", shown(other)))),
        };
        match fields.first() {
            None => Ok(mount),
            Some((key, _)) => Err(self.mistake(format!("a mount of type {kind} has no {}", shown(key)))),
        }
    }
}

/// A size as Docker has it: `64m`, `1.5GB`, `32KiB`; units are powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let power = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * 1024f64.powi(power);
    (1.0..9.2e18).contains(&bytes).then_some(bytes as u64)
}

fn boolean(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(_) => None,
    }
}
