//! What is made of the tables of `schema` for readers: the reference page, and the JSON Schema for editors.

use super::schema::{Form, Key, Keys, PROJECT, REGISTRY, RULE, SECRET, Table, USER};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The JSON Schema (draft 2020-12) of `agentkernel.toml`, for editors.
#[must_use]
pub fn schema() -> Value {
    let tables = PROJECT.iter().map(|table| {
        let mut value = match table.keys {
            Keys::Fixed(keys) => object(keys),
            Keys::Secrets => {
                let hosts = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
                let name = json!({ "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" });
                let either = json!({ "anyOf": [hosts, object(SECRET)] });
                json!({ "type": "object", "propertyNames": name, "additionalProperties": either })
            }
            Keys::Registries => json!({ "type": "object", "additionalProperties": object(REGISTRY) }),
        };
        value["description"] = table.doc.into();
        (table.name.to_owned(), value)
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": super::project::FILE_NAME,
        "type": "object",
        "additionalProperties": false,
        "properties": tables.collect::<Map<String, Value>>(),
    })
}

/// A table of these keys.
pub(super) fn object<T>(keys: &[Key<T>]) -> Value {
    let keys: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), key.schema())).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": keys })
}

impl<T> Key<T> {
    fn schema(&self) -> Value {
        let string = json!({ "type": "string" });
        let integer = json!({ "type": "integer", "minimum": 0 });
        let list = |items: Value| json!({ "type": "array", "items": items });
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
            Form::List(_) | Form::Texts(_) => list(string),
            Form::Filled(_) => json!({ "type": "array", "items": string, "minItems": 1 }),
            Form::Numbers(_) => list(json!({ "anyOf": [integer, string] })),
            Form::Rules(_) => {
                let mut table = object(RULE);
                table["required"] = json!(["host"]);
                list(json!({ "anyOf": [string, table] }))
            }
            Form::Variables(_) => json!({ "type": "object", "additionalProperties": string }),
            Form::Nested(nested) => nested.schema(),
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
            Form::List(_) | Form::Texts(_) => "list of texts".into(),
            Form::Filled(_) => "list of texts, not empty".into(),
            Form::Numbers(_) => "list of whole numbers and texts".into(),
            Form::Rules(_) => "list of texts, and of tables with these keys:".into(),
            Form::Variables(_) => "table of texts".into(),
            Form::Nested(_) => "tables".into(),
        }
    }

    /// Its part of the page.
    pub(crate) fn describe(&self, page: &mut String, heading: &str) {
        let Self { name, doc, default, example, .. } = self;
        if let Form::Nested(nested) = self.form {
            let _ = write!(page, "\n{heading} {}\n\n{doc}\n\n- Default: {default}\n", nested.heading(name));
            return nested.describe(page, &format!("{heading}#"));
        }
        let _ = write!(page, "\n{heading} {name}\n\n{doc}\n\n- Value: {}\n", self.kind());
        if let Form::Rules(_) = self.form {
            for Key { name, doc, default, example, .. } in RULE {
                let _ = writeln!(page, "  - `{name} = {example}`: {doc} Default: {default}.");
            }
        }
        let _ = write!(page, "- Default: {default}\n- Example: `{name} = {example}`\n");
    }
}

impl Table {
    /// Its part of the page.
    fn describe(&self, page: &mut String, whose: &str) {
        let _ = write!(page, "\n## [{}]{whose}\n\n{}\n", self.name, self.doc);
        match self.keys {
            Keys::Fixed(keys) => keys.iter().for_each(|key| key.describe(page, "###")),
            Keys::Secrets => {
                page.push_str(SECRETS);
                SECRET.iter().for_each(|key| key.describe(page, "###"));
            }
            Keys::Registries => {
                page.push_str(REGISTRIES);
                REGISTRY.iter().for_each(|key| key.describe(page, "###"));
            }
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
    for table in PROJECT {
        table.describe(&mut page, "");
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
    page.push_str(LIMITS);
    for table in USER {
        table.describe(&mut page, " of the user");
    }
    page
}

const SECRETS: &str = "
    [secrets]
    EXAMPLE_TOKEN = [\"api.example.org\"]
    DEPLOY_KEY = { hosts = [\"deploy.example.org\"], env = \"KEY\", from = \"file:../deploy.key\" }
";

const REGISTRIES: &str = "
    [registries.\"registry.example.org\"]
    mirrors = [\"mirror.example.org/hub\", \"127.0.0.1:5000\"]
";

const LIMITS: &str = "
# Your own limits

What holds for all your sandboxes, whatever a project or a flag says, stands in `$XDG_CONFIG_HOME/agentkernel/config.toml`
or `~/.config/agentkernel/config.toml`; for root too. It, and what else lies there, may be a symbolic link, as of those who keep
such files under version control: no sandbox gets a workspace or a mount in which one of these links leads, or that it leads through, for it could
lift your limits there. If somebody else could write it, or put another in its place, that is an error.
";

const PROTECTED: &str = "
## Protected paths

Read-only in a `direct` workspace, because a program outside would run or obey them later. One that does not exist
cannot be made inside: as long as a sandbox runs, a socket, which git does not see, lies on the host in its
place, or in that of the first part of it that does not exist. (For `.git/commondir` it is a file that tells git what
holds without it. `.github` is made a directory, in which all else can be written.) It is removed afterwards; what a killed sandbox leaves, `gc` and the
project's next sandbox remove.
Where there is no `.git`, `git init` therefore fails inside. Tools that read every file of a project one by one, and do
not look what it is, fail on a socket (Python's `shutil.copytree`, say): `--workspace overlay` has none. A part of a path that is a symbolic link or a file, such
as `.git` in a worktree, is protected itself; what it leads to is not.

So is what git's configuration names in the project when the sandbox is made, the repository's, yours and the system's:
the directory of `core.hooksPath`, the files of `include.path`, and files in commands such as `core.fsmonitor` and
`diff.*.textconv`: those that are there, and those that the repository's own configuration names with a slash, in a directory
that is there. Yours is that of who starts the sandbox, and of the project's owner. What aliases run is not protected.

`--unprotect PATH` of `run` and `create` gives up a path and all below it; the project's own file can only add some.
The list is about the project's directory itself. What of it is not git's is protected as well in the directory where a
command is started, if that is below it, and in those on the way there, and so is `.git`, which would make it a repository of
its own. Elsewhere in the project, `sub/.git` and `sub/.claude` are not protected.

Of mise, where it is used, what it reads for an environment is protected too (`mise.dev.toml`), if `MISE_ENV`, your own `miserc.toml` or
that of the project names it.

So is what links outside lead to in the project where you have settings, as with dotfiles: what begins with a dot in your home directory, all in
`~/.config`, and in the directories of agents (`~/.claude`, `~/.config/opencode`) and in their `skills`, `commands` and the like. `CLAUDE_CONFIG_DIR`,
`CODEX_HOME`, `COPILOT_HOME`, `GEMINI_CLI_HOME` and `OPENCODE_CONFIG_DIR` are followed; what one of them names is protected where it is in the project. A
project is refused that is such a place of an agent's, or in one. Links elsewhere (`~/bin`) are not looked at.

Besides, `commondir` and one of `refs`, `objects` and `HEAD`, the first that is missing, cannot be made: with all three, or
with a `commondir` that leads to them, the directory would be a bare repository to git, with a configuration that nobody
protects. Where it is one already, its `config`, `config.worktree` and `hooks` are read-only. `--unprotect .git` gives all this up.

";

const IF_USED: &str = "
If one of a line exists when the sandbox is made, all of them are protected:

";
