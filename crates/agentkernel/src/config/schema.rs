//! Every key of `agentkernel.toml`, once: the parser, the reference page and the JSON Schema are made of this table.

use super::{
    forms::{self, FormError, WorkspaceMode},
    limits,
    project::{Located, Settings},
};
use crate::Name;
use serde_json::{Map, Value, json};
use std::{fmt::Write, path::Path, time::Duration};

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What may be written, and where it goes.
    pub(super) form: Form,
    /// What holds without it, in words.
    default: &'static str,
    /// What it does, for the reference page.
    doc: &'static str,
    /// A value as it is written in TOML.
    example: &'static str,
}

/// What may be written for a key, with the function that takes it.
pub(super) enum Form {
    Text(fn(&mut Settings, Located<String>) -> Result<(), FormError>),
    Choice(&'static [&'static str], fn(&mut Settings, &str) -> Result<(), FormError>),
    Flag(fn(&mut Settings, bool)),
    Size(fn(&mut Settings, Located<u64>) -> Result<(), FormError>),
    Time(fn(&mut Settings, Duration)),
    Cpus(fn(&mut Settings, u64)),
    Count(fn(&mut Settings, Located<u64>) -> Result<(), FormError>),
    /// Called once for each text in the list.
    List(fn(&mut Settings, Located<String>) -> Result<(), FormError>),
    /// Called once for each variable.
    Variables(fn(&mut Settings, String, String)),
}

/// The tables, with what they are about.
pub(super) const TABLES: [(&str, &str, &[Key]); 3] = [
    ("sandbox", "What the sandbox is.", SANDBOX),
    (
        "resources",
        "What it may use. Sizes are numbers of bytes, or texts such as `\"512M\"`; units are powers of 1024.",
        RESOURCES,
    ),
    ("workspace", "What else of the host it sees.", WORKSPACE),
];

const SANDBOX: &[Key] = &[
    Key {
        name: "name",
        form: Form::Text(|settings, text| {
            settings.name = Some(Name::try_from(text.value).map_err(FormError::new)?);
            Ok(())
        }),
        default: "generated",
        doc: "The name of a kept sandbox. An ephemeral one has none, so that two can run at once.",
        example: "\"web\"",
    },
    Key {
        name: "image",
        form: Form::Text(|settings, text| {
            let image = forms::parse_image(text.value.as_ref())?;
            settings.image = Some(text.with(image));
            Ok(())
        }),
        default: "`host`",
        doc: "Where its programs come from: `host` (the host's own /usr and /opt, read-only) or `dir:PATH` (an unpacked root directory; a relative path begins at the project). A directory outside the project needs trust.",
        example: "\"host\"",
    },
    Key {
        name: "workspace",
        form: Form::Choice(&["direct", "overlay", "none"], |settings, text| {
            settings.workspace = Some(forms::parse_workspace(text)?);
            Ok(())
        }),
        default: "`direct`",
        doc: "How it sees the project, always at the same path: the real directory, a copy on write, or not at all.",
        example: "\"overlay\"",
    },
    Key {
        name: "user",
        form: Form::Text(|settings, text| {
            settings.user = Some(text);
            Ok(())
        }),
        default: "the caller",
        doc: "Who its programs run as: `root`, the caller's name or `nobody`, with a `dir:` image a name in its own /etc/passwd, or a number; a group follows as `:GID`. `root` needs trust, unless the caller is root.",
        example: "\"nobody\"",
    },
    Key {
        name: "workdir",
        form: Form::Text(|settings, text| {
            let workdir = text.value.clone().into();
            settings.workdir = Some(text.with(workdir));
            Ok(())
        }),
        default: "the caller's, if it is in the workspace; else the workspace; else HOME",
        doc: "Where commands start. A relative path begins at the workspace.",
        example: "\"src\"",
    },
    Key {
        name: "read_only",
        form: Form::Flag(|settings, value| settings.read_only = Some(value)),
        default: "`false`",
        doc: "Makes everything read-only but the workspace, mounts, tmpfs, /tmp, /run and HOME.",
        example: "true",
    },
    Key {
        name: "keep",
        form: Form::Flag(|settings, value| settings.keep = Some(value)),
        default: "`false`",
        doc: "Keeps the sandbox and its files after its command has ended.",
        example: "true",
    },
    Key {
        name: "timeout",
        form: Form::Time(|settings, value| settings.timeout = Some(value)),
        default: "none",
        doc: "Ends its command after this time.",
        example: "\"1h30m\"",
    },
    Key {
        name: "env",
        form: Form::Variables(|settings, name, value| settings.env.push((name, value))),
        default: "empty",
        doc: "Variables of its environment. Nothing of the caller's environment but the locale and time zone is in it. `AGENTKERNEL` and `AGENTKERNEL_SANDBOX`, the id, are the sandbox's own.",
        example: "{ CI = \"1\" }",
    },
    Key {
        name: "env_file",
        form: Form::Text(|settings, text| {
            let path = text.value.clone().into();
            settings.env_file = Some(text.with(path));
            Ok(())
        }),
        default: "none",
        doc: "A file of `NAME=value` lines, in the form of Docker's `--env-file`; a relative path begins at the project. A file outside the project needs trust.",
        example: "\".env.sandbox\"",
    },
];

const RESOURCES: &[Key] = &[
    Key {
        name: "cpus",
        form: Form::Cpus(|settings, milli| settings.cpu_milli = Some(milli)),
        default: "no limit",
        doc: "Processors.",
        example: "0.5",
    },
    Key {
        name: "memory",
        form: Form::Size(|settings, size| {
            settings.memory = Some(limits::memory(size.value)?);
            Ok(())
        }),
        default: "no limit",
        doc: "Memory. What exceeds it is killed, with status 137.",
        example: "\"2G\"",
    },
    Key {
        name: "pids",
        form: Form::Count(|settings, count| {
            limits::pids(count.value)?;
            settings.pids = Some(count);
            Ok(())
        }),
        default: "no limit but 4096 per user",
        doc: "Processes and threads. More than 4096 need trust.",
        example: "512",
    },
    Key {
        name: "disk",
        form: Form::Size(|settings, size| {
            limits::disk(size.value)?;
            settings.disk = Some(size);
            Ok(())
        }),
        default: "half of the machine's memory; before Linux 6.6, and in a kept one, none, and files on disk",
        doc: "What an ephemeral sandbox may write outside the workspace and mounts; a kept one with this limit is refused, because nothing could hold it to it. More than the default needs trust.",
        example: "\"4G\"",
    },
    Key {
        name: "nofile",
        form: Form::Count(|settings, count| {
            limits::nofile(count.value)?;
            settings.nofile = Some(count);
            Ok(())
        }),
        default: "65536, or the caller's limit if that is lower",
        doc: "Open files of one process. More than the default need trust.",
        example: "4096",
    },
    Key {
        name: "fsize",
        form: Form::Size(|settings, size| {
            settings.fsize = Some(size);
            Ok(())
        }),
        default: "no limit",
        doc: "The largest file that a process can write.",
        example: "\"1G\"",
    },
];

const WORKSPACE: &[Key] = &[
    Key {
        name: "protect",
        form: Form::List(|settings, text| {
            settings.protect.push(forms::beneath(Path::new(&text.value))?);
            Ok(())
        }),
        default: "the built-in list below",
        doc: "Further files and directories of the project that stay read-only in a `direct` workspace.",
        example: "[\"deploy\", \"Makefile\"]",
    },
    Key {
        name: "mounts",
        form: Form::List(|settings, text| {
            let mount = forms::parse_mount(text.value.as_ref())?;
            settings.mounts.push(text.with(mount));
            Ok(())
        }),
        default: "none",
        doc: "Host directories and files, as `SOURCE:TARGET[:ro]`; a relative source begins at the project. A source outside the project needs trust, and so does one that is not `:ro`: it would be a way around protection and copy on write.",
        example: "[\"testdata:/data:ro\"]",
    },
    Key {
        name: "tmpfs",
        form: Form::List(|settings, text| {
            let tmpfs = forms::parse_tmpfs(text.value.as_ref())?;
            settings.tmpfs.push(text.with(tmpfs));
            Ok(())
        }),
        default: "none",
        doc: "Empty file systems in memory, as `TARGET[:SIZE]`; 64M without a size. More than a sandbox's `disk` in all needs trust.",
        example: "[\"/scratch:256M\"]",
    },
];

/// The JSON Schema (draft 2020-12) of `agentkernel.toml`, for editors.
#[must_use]
pub fn schema() -> Value {
    let tables = TABLES.iter().map(|(table, doc, keys)| {
        let keys: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), key.schema())).collect();
        let value = json!({ "type": "object", "description": doc, "additionalProperties": false, "properties": keys });
        ((*table).to_owned(), value)
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": super::project::FILE_NAME,
        "type": "object",
        "additionalProperties": false,
        "properties": tables.collect::<Map<String, Value>>(),
    })
}

impl Key {
    fn schema(&self) -> Value {
        let string = json!({ "type": "string" });
        let integer = json!({ "type": "integer", "minimum": 0 });
        let mut schema = match &self.form {
            Form::Text(_) => string,
            Form::Choice(choices, _) => json!({ "enum": choices }),
            Form::Flag(_) => json!({ "type": "boolean" }),
            Form::Size(_) => {
                let text = json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([KkMmGgTt]([Ii]?[Bb])?|[Bb])?$" });
                json!({ "anyOf": [integer, text] })
            }
            Form::Time(_) => {
                json!({ "type": "string", "minLength": 2, "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$" })
            }
            Form::Cpus(_) => json!({ "type": "number", "minimum": 0.01, "maximum": 4096 }),
            Form::Count(_) => integer,
            Form::List(_) => json!({ "type": "array", "items": string }),
            Form::Variables(_) => json!({ "type": "object", "additionalProperties": string }),
        };
        schema["description"] = self.doc.into();
        schema
    }

    fn kind(&self) -> String {
        match &self.form {
            Form::Text(_) => "text".into(),
            Form::Choice(choices, _) => {
                choices.iter().map(|choice| format!("`\"{choice}\"`")).collect::<Vec<_>>().join(", ")
            }
            Form::Flag(_) => "`true` or `false`".into(),
            Form::Size(_) => "size".into(),
            Form::Time(_) => "time: `90s`, `10m`, `1h30m`, `2d`".into(),
            Form::Cpus(_) => "number".into(),
            Form::Count(_) => "whole number".into(),
            Form::List(_) => "list of texts".into(),
            Form::Variables(_) => "table of texts".into(),
        }
    }
}

/// The reference page, `docs/reference/config.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(concat!(
        "# agentkernel.toml\n\n",
        "<!-- Generated from crates/agentkernel/src/config/schema.rs by its tests: UPDATE_DOCS=1 rewrites it. -->\n\n",
        "The project's configuration. It is looked for in the working directory and upward, up to the first directory\n",
        "that has it or a `.git` (not counting an empty directory or a socket of these names, which a sandbox may have\n",
        "put there); your home directory, the root directory and a change of owner end the search. The\n",
        "directory where it ends is the project. Flags of the command line win over the file.\n\n",
        "The file comes with the project, so it is not trusted: what asks for more than a sandbox has by default needs\n",
        "your consent, given once by `agentkernel trust` for the file as it is. Any change asks again.\n\n",
        "A mistake is an error that names the file, line and column; unknown keys are mistakes.\n",
    ));
    for (table, doc, keys) in TABLES {
        let _ = write!(page, "\n## [{table}]\n\n{doc}\n");
        for key in keys {
            let _ = write!(page, "\n### {}\n\n{}\n\n", key.name, key.doc);
            let _ = write!(
                page,
                "- Value: {}\n- Default: {}\n- Example: `{} = {}`\n",
                key.kind(),
                key.default,
                key.name,
                key.example
            );
        }
    }
    page.push_str(PROTECTED);
    for path in super::protect::BUILT_IN {
        let _ = writeln!(page, "- `{path}`");
    }
    page.push_str(IF_USED);
    for line in super::protect::IF_USED {
        let paths: Vec<String> = line.iter().map(|path| format!("`{path}`")).collect();
        let _ = writeln!(page, "- {}", paths.join(", "));
    }
    page
}

const PROTECTED: &str = "
## Protected paths

Read-only in a `direct` workspace, because a program outside would run or obey them later. One that does not exist
cannot be made inside: as long as a sandbox runs, a socket, which git does not see, lies on the host in its
place, or in that of the first part of it that does not exist. (For `.git/commondir` it is a file that tells git what
holds without it.) It is removed afterwards; what a killed sandbox leaves, `gc` and the project's next sandbox remove.
Where there is no `.git`, `git init` therefore fails inside. Tools that read every file of a project one by one, and do
not look what it is, fail on a socket (Python's `shutil.copytree`, say): `--workspace overlay` has none. A part of a path that is a symbolic link or a file, such
as `.git` in a worktree, is protected itself; what it leads to is not.

So is what git's configuration names in the project when the sandbox is made, the repository's, yours and the system's:
the directory of `core.hooksPath`, the files of `include.path`, and files in commands such as `core.fsmonitor` and
`diff.*.textconv`: those that are there, and those that the repository's own configuration names with a slash, in a directory
that is there. Yours is that of who starts the sandbox, and of the project's owner. What aliases run is not protected.

`--unprotect PATH` of `run` and `create` gives up a path and all below it; the project's own file can only add some.
The list is about the project's directory itself: that of a project in a subdirectory, such as `sub/.git`, is not
protected.

Besides, `commondir` and one of `refs`, `objects` and `HEAD`, the first that is missing, cannot be made: with all three, or
with a `commondir` that leads to them, the directory would be a bare repository to git, with a configuration that nobody
protects. Where it is one already, its `config`, `config.worktree` and `hooks` are read-only. `--unprotect .git` gives all this up.

";

const IF_USED: &str = "
If one of a line exists when the sandbox is made, all of them are protected:

";

/// The keys of a table; `None` if there is no such table.
pub(super) fn keys(table: &str) -> Option<&'static [Key]> {
    TABLES.iter().find(|(name, ..)| *name == table).map(|(_, _, keys)| *keys)
}

impl WorkspaceMode {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Overlay => "overlay",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
