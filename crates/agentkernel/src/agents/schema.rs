//! Every key of an adapter's file, once: the parser and the reference page are made of these tables.

mod credentials;
mod mode;
mod presets;

use super::adapter::{
    Adapter, Credential, Home, Libc, Mcp, Needs, Package, Reached, Renewal, Switch, Template, Unset, VERSION, Wheel,
    integrity, is_version,
};
use super::settings::Form as SettingsForm;
use crate::config::{self, ConfigError, Form, FormError, Key, Many, One, document};
use credentials::{CREDENTIAL, PLAIN, RENEWAL, add_credential, add_plain, add_renewal};
use mode::{MODE, asked};
use oci::Platform;
use presets::{BENEATH, ELSEWHERE, PRESET, UNSET, add_beneath, add_elsewhere, add_preset, add_unset};
use std::path::{Path, PathBuf};

impl Adapter {
    /// Parses one. `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::File`] for the first mistake.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let adapter = document(path, text, KEYS)?;
        let is_unset_of_none = |unset: &&Unset| {
            !adapter.home.config.contains(&unset.file)
                || !matches!(SettingsForm::of(&unset.file), Some(SettingsForm::Json | SettingsForm::Toml))
        };
        let missing = [
            ("name", adapter.name.is_empty()),
            ("title", adapter.title.is_empty()),
            ("version", adapter.version.is_empty()),
            ("command", adapter.command.is_empty()),
        ];
        let wrong =
            |cause: String| ConfigError::File { path: path.into(), line: 1, column: 1, cause, hint: String::new() };
        if let Some((key, _)) = missing.iter().find(|(_, missing)| *missing) {
            return Err(wrong(format!("`{key}` is missing")));
        }
        let is_credential = |renewal: &Renewal| {
            let same =
                |credential: &Credential| credential.file == renewal.file && credential.field == renewal.fields.access;
            adapter.credentials.iter().any(same)
        };
        if let Some(unset) = adapter.unset.iter().find(is_unset_of_none) {
            let file = config::quoted(unset.file.as_os_str());
            return Err(wrong(format!("{file} in [[unset]] is none of `config` in [home], in JSON or TOML")));
        }
        if !adapter.renewals.iter().all(is_credential) {
            return Err(wrong("`access` of [[renewals]] is none of the [[credentials]]".to_owned()));
        }
        if adapter.dockerfile.is_empty() != adapter.packages.is_empty() {
            return Err(wrong("`dockerfile` and [[packages]] are of no use without one another".to_owned()));
        }
        let kept = |path: &Path| adapter.home.state.iter().any(|state| path.starts_with(state) && path != state);
        let files = adapter.files.iter().map(|file| &file.path);
        let presets = adapter.presets.iter().map(|preset| &preset.file);
        let logins = adapter.credentials.iter().filter(|it| it.env.is_empty()).map(|credential| &credential.file);
        let mut written = files.chain(presets).chain(logins).filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = written.find(|path| !kept(path)) {
            let path = config::quoted(path.as_os_str());
            return Err(wrong(format!("{path} is written for it, and lies in no directory of `state` in [home]")));
        }
        let set = |file: &PathBuf| adapter.presets.iter().any(|preset| preset.file == *file);
        let mut beneath = adapter.beneath.iter().map(|beneath| &beneath.file);
        if let Some(file) = beneath.find(|file| set(file) || !adapter.home.config.contains(file)) {
            let file = config::quoted(file.as_os_str());
            return Err(wrong(format!("{file} in [[beneath]] is none of `config` in [home], or one of [[presets]]")));
        }
        let accepted = super::login::accepted(&adapter);
        let mut logins = adapter.presets.iter().map(|preset| &preset.login).filter(|login| !login.is_empty());
        if let Some(login) = logins.find(|login| !accepted.contains(login)) {
            let login = config::quoted(login.as_ref());
            return Err(wrong(format!("`login` of [[presets]] is none of the [[credentials]]: {login}")));
        }
        Ok(adapter)
    }
}

/// The page that describes an adapter's file.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(concat!(
        "# Adapters of agents\n\n",
        "<!-- Generated from crates/agentkernel/src/agents/schema.rs by its tests: UPDATE_DOCS=1 rewrites it. -->\n\n",
        "An adapter is what is known of an agent: how it is installed, how it is called, and what of a home directory and of the\n",
        "internet it needs. It is a file of data ([the guide](../guide/agents.md#an-adapter-of-your-own)), and\n",
        "`agentkernel agents show NAME` prints it. A mistake is an error that names the file, line and column; unknown keys are\n",
        "mistakes.\n",
    ));
    KEYS.iter().for_each(|key| key.describe(&mut page, "##"));
    page
}

/// A text that must be there.
fn filled(text: String) -> Result<String, FormError> {
    match text.trim().is_empty() {
        false => Ok(text),
        true => Err(FormError::new("it is empty".to_owned())),
    }
}

/// A part of a name of npm's, or a file's name.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain)
}

fn none<T>(text: &str, what: &str) -> Result<T, FormError> {
    Err(FormError::new(format!("{} is no {what}", config::quoted(text.as_ref()))))
}

/// What an agent is called here.
fn agent_name(text: String) -> Result<String, FormError> {
    let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let edge = text.starts_with('-') || text.ends_with('-');
    match (1..=40).contains(&text.len()) && !edge && text.bytes().all(good) {
        true => Ok(text),
        false => none(&text, "name of an agent: use up to 40 of a-z, 0-9 and '-'"),
    }
}

/// A path below the home directory.
fn below_home(text: &str) -> Result<PathBuf, FormError> {
    match config::beneath(Path::new(text)) {
        Ok(path) => Ok(path),
        Err(_) => none(text, "path below the home directory, like '.config/agent'"),
    }
}

const KEYS: &[Key<Adapter>] = &[
    Key {
        name: "name",
        form: Form::Text(|adapter, text| {
            adapter.name = agent_name(text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "What the agent is called here: a-z, 0-9 and `-`. In a folder of adapters the file is called `NAME.toml`.",
        example: "\"mine\"",
    },
    Key {
        name: "title",
        form: Form::Text(|adapter, text| {
            if text.value.chars().any(char::is_control) {
                return none(&text.value, "title for one line");
            }
            adapter.title = filled(text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "What its makers call it.",
        example: "\"My Agent\"",
    },
    Key {
        name: "version",
        form: Form::Text(|adapter, text| {
            adapter.version = version(text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "Which version is installed where none is named. It becomes the tag of an image.",
        example: "\"1.2.3\"",
    },
    Key {
        name: "tested",
        form: Form::Flag(|adapter, value| adapter.tested = value),
        default: "`false`",
        doc: "Whether this version was run in a sandbox by whoever wrote the adapter. It is shown, and decides nothing.",
        example: "true",
    },
    Key {
        name: "command",
        form: Form::Filled(|adapter, text| {
            if adapter.command.is_empty() && !text.value.starts_with('/') {
                return none(&text.value, "absolute path of a program in the image");
            }
            adapter.command.push(text.value);
            Ok(())
        }),
        default: "required",
        doc: "The program, by its absolute path in the image, and what always stands before other arguments.",
        example: "[\"/opt/agentkernel/agents/mine/bin/agent\"]",
    },
    Key {
        name: "dockerfile",
        form: Form::Text(|adapter, text| {
            let text = filled(text.value)?;
            dockerfile::parse(&text).map_err(|error| FormError::new(error.to_string()))?;
            adapter.dockerfile = text;
            Ok(())
        }),
        default: "none: the program is the image's own",
        doc: "How its image is made: a Dockerfile whose `ADD` finds the packages by the names of their files. It begins with `FROM scratch`, to be a layer over any image, and puts everything below `/opt/agentkernel/agents/NAME`.",
        example: "\"FROM scratch AS agent\\nADD agent.tgz /\\nFROM scratch\\nCOPY --from=agent /package/ /opt/agentkernel/agents/mine/\\n\"",
    },
    Key {
        name: "packages",
        form: Form::Nested(&Many { keys: PACKAGE, add: add_package }),
        default: "none",
        doc: "What it is made of: packages of npm, from the registry that npm would use, of Python, from the index that pip would use, and files of the web. Each is checked against its hash as it comes.",
        example: "",
    },
    Key {
        name: "interactive",
        form: Form::Nested(&One {
            keys: MODE,
            place: |adapter: &mut Adapter| adapter.interactive.get_or_insert_default(),
        }),
        default: "it does not talk to a person",
        doc: "How it talks to a person: the arguments for each thing that may be asked of it, in the order in which they stand in the command line. `{}` stands for what is asked, `{workspace}` for the project's directory as it stands within a string of JSON or TOML.",
        example: "",
    },
    Key {
        name: "headless",
        form: Form::Nested(&One {
            keys: MODE,
            place: |adapter: &mut Adapter| adapter.headless.get_or_insert_default(),
        }),
        default: "it does no tasks by itself",
        doc: "How it does one task and ends, in the same way.",
        example: "",
    },
    Key {
        name: "acp",
        form: Form::Nested(&One { keys: MODE, place: |adapter: &mut Adapter| adapter.acp.get_or_insert_default() }),
        default: "it does not speak it",
        doc: "How it speaks the Agent Client Protocol on its standard input and output, in the same way.",
        example: "",
    },
    Key {
        name: "environment",
        form: Form::Variables(|adapter, name, value| adapter.environment.push((name, value))),
        default: "none",
        doc: "Variables that it always has. `{home}` in them is the home directory inside.",
        example: "{ AGENT_HOME = \"{home}/.agent\" }",
    },
    Key {
        name: "no_telemetry",
        form: Form::Nested(&One { keys: SWITCH, place: |adapter: &mut Adapter| &mut adapter.no_telemetry }),
        default: "nothing is known that does",
        doc: "What keeps it from telling its makers what it does. It stands before what `[interactive]` and the like say.",
        example: "",
    },
    Key {
        name: "no_updates",
        form: Form::Nested(&One { keys: SWITCH, place: |adapter: &mut Adapter| &mut adapter.no_updates }),
        default: "nothing is known that does",
        doc: "What keeps it from replacing itself, in the same way.",
        example: "",
    },
    Key {
        name: "home",
        form: Form::Nested(&One { keys: HOME, place: |adapter: &mut Adapter| &mut adapter.home }),
        default: "nothing",
        doc: "What of a home directory it reads and writes: paths below it.",
        example: "",
    },
    Key {
        name: "files",
        form: Form::Nested(&Many { keys: TEMPLATE, add: add_file }),
        default: "none",
        doc: "Files that it finds in its home directory where there are none yet. Those that depend on a variable are written anew each time.",
        example: "",
    },
    Key {
        name: "beneath",
        form: Form::Nested(&Many { keys: BENEATH, add: add_beneath }),
        default: "they are at their own place, where the agent cannot write them",
        doc: "Settings among `config` of `[home]` that come along at another place: where the agent reads what holds for all users, beneath its own settings, in which it can write down then what it is answered.",
        example: "",
    },
    Key {
        name: "presets",
        form: Form::Nested(&Many { keys: PRESET, add: add_preset }),
        default: "none",
        doc: "Settings in files of JSON that it finds, with all else that is in them, unless the user has set them himself.",
        example: "",
    },
    Key {
        name: "unset",
        form: Form::Nested(&Many { keys: UNSET, add: add_unset }),
        default: "none",
        doc: "Settings of the user's that stay outside, since with them it would not work in a sandbox: its own sandbox, say.",
        example: "",
    },
    Key {
        name: "elsewhere",
        form: Form::Nested(&Many { keys: ELSEWHERE, add: add_elsewhere }),
        default: "all is below the home directory",
        doc: "Variables of the user's that say where on the host that is which is else below his home directory. In the sandbox it is below that.",
        example: "",
    },
    Key {
        name: "credentials",
        form: Form::Nested(&Many { keys: CREDENTIAL, add: add_credential }),
        default: "it needs none",
        doc: "What logs in: variables of the user, and fields of files of his. The first that is there is taken, with all others of the same file; all that are there if `every_login` is set. None enters the sandbox, which has a placeholder in its place, and whose hosts are allowed. What else such a file holds stays outside, except for `[[plain]]`.",
        example: "",
    },
    Key {
        name: "every_login",
        form: Form::Flag(|adapter, value| adapter.every_login = value),
        default: "`false`",
        doc: "Whether all `[[credentials]]` that are there come along, and not the first alone: the agent works with several services.",
        example: "true",
    },
    Key {
        name: "renewals",
        form: Form::Nested(&Many { keys: RENEWAL, add: add_renewal }),
        default: "none",
        doc: "Which logins that files hold are renewed (OAuth 2.0, RFC 6749), and how: outside of the sandbox, with the file brought up to date. An access token that is renewed is one of the credentials; the refresh token is none.",
        example: "",
    },
    Key {
        name: "plain",
        form: Form::Nested(&Many { keys: PLAIN, add: add_plain }),
        default: "nothing",
        doc: "What stands in files of `[[credentials]]` and is no secret, and what the agent needs of it. The file inside holds these, where a placeholder stands beside them or below them, what `[[renewals]]` names, and nothing else of the user's.",
        example: "",
    },
    Key {
        name: "login",
        form: Form::Text(|adapter, text| {
            adapter.login = filled(text.value)?;
            Ok(())
        }),
        default: "it has none",
        doc: "The agent's own command with which its user logs in, on the host, as it is typed.",
        example: "\"agent login\"",
    },
    Key {
        name: "network",
        form: Form::Nested(&One { keys: REACHED, place: |adapter: &mut Adapter| &mut adapter.network }),
        default: "nothing",
        doc: "What it must reach besides the hosts of what logs in.",
        example: "",
    },
    Key {
        name: "mcp",
        form: Form::Nested(&One { keys: MCP, place: |adapter: &mut Adapter| adapter.mcp.get_or_insert_default() }),
        default: "nothing is known of that",
        doc: "Where it reads of MCP servers.",
        example: "",
    },
    Key {
        name: "needs",
        form: Form::Nested(&One { keys: NEEDS, place: |adapter: &mut Adapter| &mut adapter.needs }),
        default: "nothing",
        doc: "What it needs of the image and the machine.",
        example: "",
    },
];

fn version(text: String) -> Result<String, FormError> {
    match is_version(&text) {
        true => Ok(text),
        false => none(&text, "version that can be the tag of an image"),
    }
}

const PACKAGE: &[Key<Package>] = &[
    Key {
        name: "file",
        form: Form::Text(|package, text| {
            if !is_plain(&text.value) {
                return none(&text.value, "plain name of a file");
            }
            package.file = text.value;
            Ok(())
        }),
        default: "required",
        doc: "What it is called in the Dockerfile: a file, or of `wheels` a directory.",
        example: "\"agent.tgz\"",
    },
    Key {
        name: "platform",
        form: Form::Text(|package, text| {
            let platform = text.value.parse::<Platform>();
            package.platform = Some(platform.map_err(|error| FormError::new(error.to_string()))?);
            Ok(())
        }),
        default: "every one",
        doc: "For which platform it is. What a Dockerfile names must be there for one's own.",
        example: "\"linux/amd64\"",
    },
    Key {
        name: "libc",
        form: Form::Choice(Libc::WORDS, |package, text| match Libc::parse(&text.value) {
            Some(libc) => {
                package.libc = Some(libc);
                Ok(())
            }
            None => none(&text.value, "C library that is known: use 'glibc' or 'musl'"),
        }),
        default: "both",
        doc: "For which C library of images it is: `musl` is Alpine's.",
        example: "\"musl\"",
    },
    Key {
        name: "npm",
        form: Form::Text(|package, text| {
            let name =
                text.value.strip_prefix('@').map_or(Some(("a", text.value.as_str())), |rest| rest.split_once('/'));
            if !name.is_some_and(|(scope, name)| is_plain(scope) && is_plain(name)) {
                return none(&text.value, "name of a package of npm's");
            }
            package.npm = text.value;
            Ok(())
        }),
        default: "it is at `url`",
        doc: "What npm calls it.",
        example: "\"@example/agent-linux-x64\"",
    },
    Key {
        name: "version",
        form: Form::Text(|package, text| {
            version(text.value.replace(VERSION, "0"))?;
            package.version = text.value;
            Ok(())
        }),
        default: "`{version}`, which is the agent's",
        doc: "Its version at npm. One with `{version}` in it is another one in every version of the agent.",
        example: "\"{version}-linux-x64\"",
    },
    Key {
        name: "url",
        form: Form::Text(|package, text| {
            if !text.value.starts_with("https://") && !text.value.starts_with("http://") {
                return none(&text.value, "address that begins with https://");
            }
            package.url = text.value;
            Ok(())
        }),
        default: "it is npm's",
        doc: "Its address, in which `{version}` is the agent's version. Without TLS only on this machine.",
        example: "\"https://example.org/agent-{version}.tar.gz\"",
    },
    Key {
        name: "wheels",
        form: Form::List(|package, text| {
            package.wheels.push(wheel(&text.value)?);
            Ok(())
        }),
        default: "it is no directory",
        doc: "Packages of Python's, from the index that pip would use, which are unpacked into a directory that the Dockerfile finds by the name of `file`: of each the name of its wheel, its size and its hash.",
        example: "[\"attrs-25.4.0-py3-none-any.whl 67615 sha256-rc9+Kh+zs2rEjZeDW7bYreFbjcziarqL8dFIR7V6M3M=\"]",
    },
    Key {
        name: "size",
        form: Form::Count(|package, count| {
            package.size = Some(count.value);
            Ok(())
        }),
        default: "its server is asked",
        doc: "How many bytes it has.",
        example: "20772697",
    },
    Key {
        name: "integrity",
        form: Form::Text(|package, text| match integrity(&text.value) {
            Some(digest) => {
                package.digest = Some(digest);
                Ok(())
            }
            None => none(&text.value, "'sha512-' or 'sha256-' and a hash in base64"),
        }),
        default: "required",
        doc: "What it is: `sha512-` or `sha256-` and the hash in base64, as `npm view NAME@VERSION dist.integrity` tells it.",
        example: "\"sha512-dbQ9A0qBtFJNi6XBkHvfZ6Azpn6PNgH/P8h2MZ67RLlX8hSAVjup39CRWqdRxZv7YXIuhrFaytr8y0jKnkoxnQ==\"",
    },
];

/// `NAME.whl SIZE HASH`
fn wheel(text: &str) -> Result<Wheel, FormError> {
    let words: Vec<&str> = text.split(' ').collect();
    let plain = |name: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
        name.ends_with(".whl") && name.contains('-') && !name.starts_with(['.', '-']) && name.bytes().all(good)
    };
    if let [name, size, hash] = words[..]
        && plain(name)
        && let (Ok(size), Some(digest)) = (size.parse(), integrity(hash))
    {
        return Ok(Wheel { name: name.to_owned(), size, digest });
    }
    none(text, "wheel: use its name, its size and its hash, like 'attrs-25.4.0-py3-none-any.whl 67615 sha256-...'")
}

fn add_package(adapter: &mut Adapter, mut package: Package) -> Result<(), FormError> {
    let wrong = |cause: &str| Err(FormError::new(cause.to_owned()));
    if package.file.is_empty() {
        return wrong("`file` is missing");
    }
    let sources = [!package.npm.is_empty(), !package.url.is_empty(), !package.wheels.is_empty()];
    if sources.iter().filter(|source| **source).count() != 1 {
        return wrong("it has either `npm`, `url` or `wheels`");
    }
    if package.npm.is_empty() && !package.version.is_empty() {
        return wrong("`version` is of packages of npm's only");
    }
    if !package.npm.is_empty() && package.version.is_empty() {
        package.version = VERSION.to_owned();
    }
    match (package.wheels.is_empty(), package.digest.is_some() || package.size.is_some()) {
        (true, _) if package.digest.is_none() => return wrong("`integrity` is missing"),
        (false, true) => return wrong("each of `wheels` has a size and a hash of its own"),
        _ => {}
    }
    if adapter
        .packages
        .iter()
        .any(|other| (&other.file, &other.platform, other.libc) == (&package.file, &package.platform, package.libc))
    {
        return wrong(&format!("'{}' is there twice", package.file));
    }
    adapter.packages.push(package);
    Ok(())
}

const SWITCH: &[Key<Switch>] = &[
    Key {
        name: "environment",
        form: Form::Variables(|switch, name, value| switch.environment.push((name, value))),
        default: "none",
        doc: "Variables.",
        example: "{ AGENT_TELEMETRY = \"0\" }",
    },
    Key {
        name: "arguments",
        form: Form::Texts(|switch, texts| {
            switch.arguments = asked(0, texts)?;
            Ok(())
        }),
        default: "none",
        doc: "Arguments.",
        example: "[\"--no-telemetry\"]",
    },
];

/// A key of [`HOME`].
macro_rules! paths {
    ($name:literal, $field:ident, $doc:literal, $example:literal) => {
        Key {
            name: $name,
            form: Form::List(|home, text| {
                home.$field.push(below_home(&text.value)?);
                Ok(())
            }),
            default: "none",
            doc: $doc,
            example: $example,
        }
    };
}

const HOME: &[Key<Home>] = &[
    paths!("config", config, "What the user has set; it comes along, read-only.", "[\".agent/settings.json\"]"),
    paths!(
        "memory",
        memory,
        "What the user has told all his agents; it comes along, read-only.",
        "[\".agent/AGENTS.md\"]"
    ),
    Key {
        name: "imports",
        form: Form::Flag(|home, value| home.imports = value),
        default: "false",
        doc: "Whether it reads texts that `memory` names as `@PATH`: those in the home directory come along too, read-only.",
        example: "true",
    },
    Key {
        name: "references",
        form: Form::Flag(|home, value| home.references = value),
        default: "false",
        doc: "Whether it reads what `config` names as `{file:PATH}`: texts (`.md`, `.txt`) that lie beside it or below come along too, read-only; nothing is said in the place of others.",
        example: "true",
    },
    Key {
        name: "fetched",
        form: Form::Text(|home, text| {
            home.fetched = filled(text.value)?;
            Ok(())
        }),
        default: "there is none",
        doc: "The key in files of JSON of `config` whose list names packages of npm that it fetches before it begins, for which it may wait long. Those are told of.",
        example: "\"plugin\"",
    },
    paths!("skills", skills, "Skills, commands and the like; they come along, read-only.", "[\".agent/skills\"]"),
    paths!(
        "own",
        own,
        "What it puts into directories of `skills` itself, in every run. Nobody is told of that as of what an earlier run has left.",
        "[\".agent/skills/built-in\"]"
    ),
    paths!(
        "state",
        state,
        "Directories that it writes for its next run; kept for each project. Files that it finds, and those with what logs in, lie in them.",
        "[\".agent\"]"
    ),
];

const TEMPLATE: &[Key<Template>] = &[
    Key {
        name: "path",
        form: Form::Text(|file, text| {
            file.path = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "Where it is, below the home directory.",
        example: "\".agent/state.json\"",
    },
    Key {
        name: "text",
        form: Form::Text(|file, text| {
            file.text = text.value;
            Ok(())
        }),
        default: "required",
        doc: "What stands in it. `{workspace}` is the project's directory, as it stands within a string of JSON; `{value VARIABLE}` that variable, as the sandbox has it; `{last20 VARIABLE}` its last twenty characters.",
        example: "'{ \"trusted\": [\"{workspace}\"] }'",
    },
    Key {
        name: "variable",
        form: Form::Text(|file, text| {
            file.variable = config::parse_variable(&text.value)?;
            Ok(())
        }),
        default: "it is always there",
        doc: "The variable without which there is no such file.",
        example: "\"AGENT_API_KEY\"",
    },
];

fn add_file(adapter: &mut Adapter, file: Template) -> Result<(), FormError> {
    if file.path.as_os_str().is_empty() || file.text.is_empty() {
        return Err(FormError::new("it has both `path` and `text`".to_owned()));
    }
    adapter.files.push(file);
    Ok(())
}

const REACHED: &[Key<Reached>] = &[
    Key {
        name: "allow",
        form: Form::List(|reached, text| {
            reached.allow.push(config::parse_rule(&text.value)?);
            Ok(())
        }),
        default: "nothing",
        doc: "What is allowed, as a project writes it.",
        example: "[\"api.example.org\"]",
    },
    Key {
        name: "telemetry",
        form: Form::List(|reached, text| {
            reached.telemetry.push(config::parse_rule(&text.value)?);
            Ok(())
        }),
        default: "nothing",
        doc: "What is allowed besides with `--telemetry`: where it tells its makers what it does.",
        example: "[\"telemetry.example.org:443\"]",
    },
];

const MCP: &[Key<Mcp>] = &[
    Key {
        name: "file",
        form: Form::Text(|mcp, text| {
            mcp.file = below_home(&text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The file, below the home directory.",
        example: "\".agent/settings.json\"",
    },
    Key {
        name: "key",
        form: Form::Text(|mcp, text| {
            mcp.key = filled(text.value)?;
            Ok(())
        }),
        default: "required",
        doc: "The key of the file whose table has a server for each name.",
        example: "\"mcpServers\"",
    },
    Key {
        name: "local",
        form: Form::List(|mcp, text| {
            mcp.local.push(filled(text.value)?);
            Ok(())
        }),
        default: "none",
        doc: "Keys of the file to such a table for one project, the outermost first, with `{workspace}` for its directory.",
        example: "[\"projects\", \"{workspace}\", \"mcpServers\"]",
    },
    Key {
        name: "argument",
        form: Form::List(|mcp, text| {
            mcp.argument.push(text.value);
            Ok(())
        }),
        default: "none: the file comes along",
        doc: "Arguments that give it servers where the file does not come along: `{}` stands for an object of JSON that has them below the key.",
        example: "[\"--mcp-config={}\"]",
    },
    Key {
        name: "reference",
        form: Form::Text(|mcp, text| {
            mcp.reference = filled(text.value)?;
            Ok(())
        }),
        default: "it cannot",
        doc: "How a value there refers to a variable, with `{}` for its name. It stands in the place of what logs a server in, which does not come along.",
        example: "\"${{}}\"",
    },
    Key {
        name: "forward",
        form: Form::Text(|mcp, text| {
            mcp.forward = filled(text.value)?;
            Ok(())
        }),
        default: "none",
        doc: "The key of a server, in TOML, with names of variables that it has of the agent's own: there stands the name in place of a value that does not come along.",
        example: "\"env_vars\"",
    },
];

const NEEDS: &[Key<Needs>] = &[
    Key {
        name: "programs",
        form: Form::List(|needs, text| {
            if !is_plain(&text.value) {
                return none(&text.value, "name of a program");
            }
            needs.programs.push(text.value);
            Ok(())
        }),
        default: "none",
        doc: "Programs of the image, by their names. Without one of them it is not begun, and told which.",
        example: "[\"bash\"]",
    },
    Key {
        name: "memory",
        form: Form::Size(|needs, size| {
            needs.memory = size.value;
            Ok(())
        }),
        default: "nothing is known of that",
        doc: "Memory.",
        example: "\"1G\"",
    },
];

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
