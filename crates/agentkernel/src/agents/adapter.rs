//! What is known of an agent. Hides which of its facts depend on a version, a platform and each other.

use crate::{LoginFields, config::HostFacts};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use egress::{Pattern, Rule, Target, control::Encoding};
use oci::{Digest, Platform, Reference};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The registry that images of agents are called by: nobody has it (RFC 2606), so that none is ever asked for one.
const NOBODY: &str = "agents.invalid";
/// The tag of the version that is used.
const USED: &str = "latest";
/// Ends the tags of images for musl, where they are others than those for glibc.
const FOR_MUSL: &str = "-musl";
/// In a package's version or address: the agent's.
pub(super) const VERSION: &str = "{version}";

/// What is known of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapter {
    /// What it is called here: `[a-z0-9-]`.
    pub name: String,
    /// What its makers call it.
    pub title: String,
    /// Which version is installed where none is named.
    pub version: String,
    /// Whether whoever wrote this has run that version in a sandbox.
    pub tested: bool,
    /// The program and what always stands before other arguments, as it lies in the image.
    pub command: Vec<String>,
    /// How its image is made: a Dockerfile, whose `ADD` finds the packages by the names of their files. Empty: the program
    /// is the image's own.
    pub dockerfile: String,
    /// What it is made of.
    pub packages: Vec<Package>,
    /// For which C library; no key.
    pub libc: Libc,
    /// How it talks to a person.
    pub interactive: Option<Mode>,
    /// How it does one task and ends.
    pub headless: Option<Mode>,
    /// How it talks the Agent Client Protocol.
    pub acp: Option<Mode>,
    /// Variables that it always has.
    pub environment: Vec<(String, String)>,
    /// What keeps it from telling its makers.
    pub no_telemetry: Switch,
    /// What keeps it from replacing itself.
    pub no_updates: Switch,
    /// What of a home directory it reads and writes.
    pub home: Home,
    /// Files that it finds where there are none yet.
    pub files: Vec<Template>,
    /// Settings of the user's that it finds beneath its own.
    pub beneath: Vec<Beneath>,
    /// Settings that it finds where the user has not set them.
    pub presets: Vec<Preset>,
    /// Settings of the user's that stay outside.
    pub unset: Vec<Unset>,
    /// What of a home directory is elsewhere on the host.
    pub elsewhere: Vec<Elsewhere>,
    /// What logs in, the one that is taken first before the others.
    pub credentials: Vec<Credential>,
    /// Whether those count as well that come after the first which is there.
    pub every_login: bool,
    /// Which of those are renewed, and how.
    pub renewals: Vec<Renewal>,
    /// What stands beside those in their files and is no secret.
    pub plain: Vec<Plain>,
    /// The agent's own command with which its user logs in on the host; empty: it has none.
    pub login: String,
    /// What it must reach besides the hosts of what logs in.
    pub network: Reached,
    /// Where it reads of MCP servers.
    pub mcp: Option<Mcp>,
    /// What it needs of an image and a machine.
    pub needs: Needs,
}

/// A file that is brought: a package of npm as its registry packs it, or a file of the web; or a directory of what is in
/// packages of Python's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// What it is called in the Dockerfile.
    pub file: String,
    /// For which platform it is; without, for all.
    pub platform: Option<Platform>,
    /// For which C library it is; without, for both.
    pub libc: Option<Libc>,
    /// What npm calls it; empty: it is at `url`.
    pub npm: String,
    /// Its version.
    pub version: String,
    /// Its address; empty: it is npm's.
    pub url: String,
    /// The packages of Python's that are unpacked into it.
    pub wheels: Vec<Wheel>,
    /// How many bytes it has, if that is known.
    pub size: Option<u64>,
    /// What it is; without, its registry is asked.
    pub digest: Option<Digest>,
}

/// A package of Python's, as its index has it for a kind of machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The name of its file, which says what it is.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// What it is.
    pub digest: Digest,
}

/// The C library of an image, to which programs are linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Libc {
    /// That of most distributions.
    #[default]
    Glibc,
    /// Alpine's.
    Musl,
}

impl Libc {
    /// The words for them.
    pub const WORDS: &[&str] = &["glibc", "musl"];

    /// The one that is meant.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "glibc" => Some(Self::Glibc),
            "musl" => Some(Self::Musl),
            _ => None,
        }
    }
}

/// One way in which an agent runs: the arguments for each thing that may be asked of it. `{}` stands for what is asked.
/// Where there are none, it cannot be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// In place of the agent's own, the program and what always stands before other arguments.
    pub command: Vec<String>,
    /// The adapter of what has that program, if it is not in the agent's own image.
    pub layer: String,
    /// Variables if it is to ask nobody before it acts.
    pub unattended_environment: Vec<(String, String)>,
    /// Variables if it is to ask.
    pub attended_environment: Vec<(String, String)>,
    /// Those that stand first.
    pub arguments: Vec<String>,
    /// To go on with the last session.
    pub continued: Vec<String>,
    /// To go on with a session that is named.
    pub resume: Vec<String>,
    /// To ask nobody before it acts.
    pub unattended: Vec<String>,
    /// In place of those, to ask.
    pub attended: Vec<String>,
    /// To use a model that is named.
    pub model: Vec<String>,
    /// To answer in JSON.
    pub json: Vec<String>,
    /// To tell in JSON what happens, as it happens.
    pub stream_json: Vec<String>,
    /// The task; those that stand last.
    pub prompt: Vec<String>,
}

/// Variables and arguments that turn something off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    /// Variables.
    pub environment: Vec<(String, String)>,
    /// Arguments.
    pub arguments: Vec<String>,
}

/// What of a home directory an agent reads and writes: paths below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// What the user has set; brought in, read-only.
    pub config: Vec<PathBuf>,
    /// What the user has told all his agents; brought in, read-only.
    pub memory: Vec<PathBuf>,
    /// Whether it reads what memory names as `@PATH`, too.
    pub imports: bool,
    /// Whether it reads what its settings name as `{file:PATH}`, and does not start where that is not.
    pub references: bool,
    /// The key of its settings with a list of packages of npm that it fetches before it begins; empty: there is none.
    pub fetched: String,
    /// Skills, commands, and agents below it; brought in, read-only.
    pub skills: Vec<PathBuf>,
    /// What it puts into such places itself.
    pub own: Vec<PathBuf>,
    /// What it writes for its next run; kept for each project.
    pub state: Vec<PathBuf>,
}

/// A file of an agent's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Where, below the home directory.
    pub path: PathBuf,
    /// What stands in it; see [`Adapter::first_files`].
    pub text: String,
    /// The variable without which there is no such file; empty: none.
    pub variable: String,
}

/// Settings of the user's at another place, where the agent reads what holds for all users, beneath its own, which it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beneath {
    /// The file, below the home directory.
    pub file: PathBuf,
    /// The path inside that it has instead.
    pub place: PathBuf,
}

/// What asks an agent to do something of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To tell its makers what it does.
    Telemetry,
    /// To replace itself.
    Updates,
    /// To ask before it does something.
    Questions,
}

/// A setting of the user's that stays outside: with it, the agent would not work here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unset {
    /// The file, below the home directory.
    pub file: PathBuf,
    /// Where in it: keys, the outermost first.
    pub key: Vec<String>,
    /// It comes along if this is wished.
    pub unless: Option<Wish>,
}

/// Where what is below the home directory is on the host if a variable of the user's says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// The variable, with the absolute path of a directory.
    pub variable: String,
    /// What is elsewhere, below the home directory.
    pub below: PathBuf,
    /// Where it is below that directory; empty: it is that.
    pub place: PathBuf,
}

impl Elsewhere {
    /// The directory that the user's variable names.
    #[must_use]
    pub fn dir(&self, host: &HostFacts) -> Option<PathBuf> {
        host.var(&self.variable).map(PathBuf::from).filter(|dir| dir.is_absolute())
    }
}

/// A setting in a file of JSON, where the user has not set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preset {
    /// The file, below the home directory.
    pub file: PathBuf,
    /// Where in it: keys, the outermost first.
    pub key: Vec<String>,
    /// What it is set to.
    pub value: Option<serde_json::Value>,
    /// It is not set if this is wished.
    pub unless: Option<Wish>,
    /// It is set with this login alone, as [`Login::place`](super::login::Login::place) says it, and then whatever the user
    /// has set; empty: with any.
    pub login: String,
}

/// Something that logs in: a variable, or a field of a file of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// The user's variable; empty: it is in a file.
    pub variable: String,
    /// The variable inside, if that is another, or if nothing of the file is inside; else empty.
    pub env: String,
    /// The user's variable that says where its service is; empty: none.
    pub address: String,
    /// Arguments that say it to the agent, in which `{}` is the address; none, if it looks at that variable itself.
    pub address_arguments: Vec<String>,
    /// The file, below the home directory.
    pub file: PathBuf,
    /// Where in the file it is: keys, the outermost first.
    pub field: Vec<String>,
    /// Whether it is a token of three parts (RFC 7519) of which the agent reads the second.
    pub jwt: bool,
    /// Where it may go.
    pub hosts: Vec<Pattern>,
}

/// A field of a file that logs in, which is no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// The file, below the home directory.
    pub file: PathBuf,
    /// Where in it: keys, the outermost first.
    pub field: Vec<String>,
}

/// How a login is renewed that a file of JSON holds (OAuth 2.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The file, below the home directory.
    pub file: PathBuf,
    /// Where in it the parts are.
    pub fields: LoginFields,
    /// Where in it is what the tokens are for.
    pub scope: Vec<String>,
    /// Whom to ask.
    pub endpoint: Option<(Target, String)>,
    /// How requests are written.
    pub encoding: Encoding,
    /// What a request says besides.
    pub parameters: Vec<(String, String)>,
}

/// Hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Those that are allowed.
    pub allow: Vec<Rule>,
    /// Those that are allowed besides where it tells its makers what it does.
    pub telemetry: Vec<Rule>,
}

/// Where an agent reads of MCP servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mcp {
    /// The file, below the home directory.
    pub file: PathBuf,
    /// The key whose table has a server for each name.
    pub key: String,
    /// Keys to such a table for one project, the outermost first, with `{workspace}` for its directory.
    pub local: Vec<String>,
    /// Arguments that give it servers, with `{}` for an object that has them below the key; none: it finds the file.
    pub argument: Vec<String>,
    /// How a value there refers to a variable, with `{}` for its name; empty: it cannot.
    pub reference: String,
    /// The key of a server for names of variables that it has of the agent's own; empty: there is none.
    pub forward: String,
}

/// What an agent needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Programs of the image, by their names.
    pub programs: Vec<String>,
    /// Bytes of memory.
    pub memory: u64,
}

/// It is not made for this machine.
#[derive(Debug, thiserror::Error)]
#[error("{title} {version} has no package for {platform} with {}", Libc::WORDS[*libc as usize])]
pub struct NotFor {
    title: String,
    version: String,
    platform: String,
    libc: Libc,
}

impl Adapter {
    /// Where on the host that is which is `below` the home directory; `own` is the user's.
    #[must_use]
    pub fn outside(&self, host: &HostFacts, own: &Path, below: &Path) -> PathBuf {
        let moved = self.elsewhere.iter().find_map(|elsewhere| {
            let (rest, dir) = (below.strip_prefix(&elsewhere.below).ok()?, elsewhere.dir(host)?);
            // An empty part would be a slash.
            Some(
                [&elsewhere.place, rest]
                    .into_iter()
                    .filter(|part| !part.as_os_str().is_empty())
                    .fold(dir, |path, part| path.join(part)),
            )
        });
        moved.unwrap_or_else(|| own.join(below))
    }

    /// What its image of this version is called in the store.
    ///
    /// # Errors
    /// If the version can't be a tag.
    pub fn reference(&self, version: &str) -> Result<Reference, oci::ReferenceError> {
        format!("{NOBODY}/{}:{}", self.name, self.tag(version)).parse()
    }

    /// The tag of its image of this version.
    #[must_use]
    pub fn tag(&self, version: &str) -> String {
        let differs = self.packages.iter().any(|package| package.libc.is_some());
        let end = if differs && self.libc == Libc::Musl { FOR_MUSL } else { "" };
        format!("{version}{end}")
    }

    /// What placeholders are made for, whatever logs it in.
    #[must_use]
    pub fn lent_names(&self) -> Vec<String> {
        let of_credential = |it: &Credential| [it.variable.clone(), it.env.clone(), it.field.join("_")];
        let of_renewal = |it: &Renewal| [it.fields.refresh.join("_"), it.fields.id.join("_")];
        let names = self.credentials.iter().flat_map(of_credential).chain(self.renewals.iter().flat_map(of_renewal));
        names.filter(|name| !name.is_empty()).collect()
    }

    /// What the image of the version that is used is called.
    ///
    /// # Errors
    /// Never, since names are parts of references.
    pub fn used(&self) -> Result<Reference, oci::ReferenceError> {
        self.reference(USED)
    }

    /// The agent's name and the tag that an image of the store has, if it is one of an agent; no tag: the one of a version
    /// that is used.
    #[must_use]
    pub fn of_image(reference: &str) -> Option<(&str, Option<&str>)> {
        let (name, tag) = reference.strip_prefix(NOBODY)?.strip_prefix('/')?.split_once(':')?;
        Some((name, Some(tag).filter(|tag| tag.strip_suffix(FOR_MUSL).unwrap_or(tag) != USED)))
    }

    /// Its packages for a platform.
    ///
    /// # Errors
    /// If there is none of a file for it.
    pub fn packages_for(&self, platform: &Platform) -> Result<Vec<&Package>, NotFor> {
        let runs = |package: &&Package| {
            package.platform.as_ref().is_none_or(|own| platform.runs(own).is_some())
                && package.libc.is_none_or(|libc| libc == self.libc)
        };
        let chosen: Vec<&Package> = self.packages.iter().filter(runs).collect();
        let files: BTreeSet<&str> = self.packages.iter().map(|package| package.file.as_str()).collect();
        if files.iter().all(|file| chosen.iter().any(|package| package.file == *file)) {
            return Ok(chosen);
        }
        let (title, version) = (self.title.clone(), self.version.clone());
        Err(NotFor { title, version, platform: platform.to_string(), libc: self.libc })
    }

    /// The same agent in another version. What its packages are then is not known.
    #[must_use]
    pub fn at(&self, version: &str) -> Self {
        let mut other = self.clone();
        if version != self.version {
            other.version = version.to_owned();
            for package in other.packages.iter_mut().filter(|package| package.is_of_version()) {
                (package.size, package.digest) = (None, None);
                package.wheels.clear();
            }
        }
        other
    }
}

impl Package {
    /// Whether it is another one in another version of the agent.
    #[must_use]
    pub fn is_of_version(&self) -> bool {
        self.version.contains(VERSION) || self.url.contains(VERSION) || !self.wheels.is_empty()
    }

    /// Its version in this version of the agent.
    #[must_use]
    pub fn version(&self, agent: &str) -> String {
        self.version.replace(VERSION, agent)
    }

    /// The version of the agent in which it has this one; `None` if in none.
    #[must_use]
    pub fn agent_version<'a>(&self, version: &'a str) -> Option<&'a str> {
        let (before, behind) = self.version.split_once(VERSION)?;
        // Whoever calls a build for one platform by another version may call the newest of all without that.
        let own = version.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
        Some(own.unwrap_or(version)).filter(|version| !version.is_empty())
    }

    /// Its address: at a registry of npm's, which ends with a slash, or elsewhere.
    #[must_use]
    pub fn address(&self, agent: &str, registry: &str) -> String {
        if self.npm.is_empty() {
            return self.url.replace(VERSION, agent);
        }
        let name = self.npm.rsplit('/').next().unwrap_or(&self.npm);
        format!("{registry}{}/-/{name}-{}.tgz", self.npm, self.version(agent))
    }
}

/// Whether an image of this version can be told by its tag from the one that is used.
#[must_use]
pub fn is_version(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text != USED
        && !text.ends_with(FOR_MUSL)
        && (1..=120).contains(&text.len())
        && !text.starts_with(['-', '.'])
        && text.bytes().all(plain)
}

/// What a text of npm's kind says of contents: `sha512-` and the hash in base64 (Subresource Integrity).
#[must_use]
pub fn integrity(text: &str) -> Option<Digest> {
    // Of several the first is the one that npm writes.
    let (algorithm, hash) = text.split_whitespace().next()?.split_once('-')?;
    let hex: String = STANDARD.decode(hash).ok()?.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{algorithm}:{hex}").parse().ok()
}
