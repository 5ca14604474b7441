use super::*;
use std::{
    collections::BTreeMap,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
};
use tempfile::TempDir;

#[path = "removal_tests.rs"]
mod removal;

struct World {
    dir: TempDir,
    plugins: Plugins,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::create_dir(dir.path().join("project")).unwrap();
        let plugins = plugins(dir.path());
        Self { dir, plugins }
    }

    fn home(&self, path: &str) -> PathBuf {
        self.dir.path().join("home").join(path)
    }

    fn project(&self) -> Scope {
        Scope::Project(self.dir.path().join("project"))
    }

    fn put(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn install(&self, name: &str, scope: &Scope) -> Result<Outcome, PluginError> {
        self.plugins.install(&Agent::find(name).unwrap(), scope, false)
    }

    fn remove(&self, name: &str, scope: &Scope) -> Outcome {
        self.plugins.remove(&Agent::find(name).unwrap(), scope, false).unwrap()
    }

    fn presence(&self, name: &str, scope: &Scope) -> Presence {
        self.plugins.presence(&Agent::find(name).unwrap(), scope).unwrap()
    }

    /// All that is there, but for our state.
    fn all(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.home(""), self.dir.path().join("project")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                let what = if metadata.is_symlink() {
                    format!("-> {}", fs::read_link(&path).unwrap().display())
                } else if metadata.is_dir() {
                    folders.push(path.clone());
                    String::new()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                all.insert(path, format!("{:o} {what}", metadata.permissions().mode()));
            }
        }
        all
    }
}

fn plugins(dir: &Path) -> Plugins {
    let mut host = HostFacts::read().unwrap();
    host.env = vec![("HOME".into(), dir.join("home").into()), ("PATH".into(), "/nowhere".into())];
    // Hardly any test has others that write.
    Plugins { pause: Duration::ZERO, ..Plugins::open(&Store::at(&dir.join("state")).unwrap(), host).unwrap() }
}

/// Where each agent keeps what is changed, and files as people have them.
const JSON: [&str; 11] = [
    "home/.claude/settings.json",
    "home/.config/opencode/opencode.json",
    "home/.config/zed/settings.json",
    "home/.junie/mcp/mcp.json",
    "home/.jetbrains/acp.json",
    "home/.config/mcphub/servers.json",
    "project/.mcp.json",
    "project/.claude/settings.json",
    "project/.gemini/settings.json",
    "project/opencode.jsonc",
    "project/.zed/settings.json",
];
/// Of those, the ones of which nothing is taken with comments or trailing commas in them.
const STRICT: [&str; 3] = ["home/.claude/settings.json", "project/.mcp.json", "project/.claude/settings.json"];
const TOML: [&str; 2] = ["home/.codex/config.toml", "project/.codex/config.toml"];
const TEXT: [&str; 2] = ["home/.codex/AGENTS.md", "project/AGENTS.md"];

const OF_JSON: [&str; 13] = [
    "",
    "\n",
    "{}",
    "{}\n",
    "// nothing yet\n",
    "\u{feff}{\r\n  \"theme\": \"dark\",\r\n  \"mcpServers\": {}\r\n}\r\n",
    "{\n  // Mine.\n  \"model\": \"opus\", // the best\n  \"permissions\": {\n    \"allow\": [\"Bash(git status)\",],\n  },\n}\n",
    "{\"mcpServers\":{\"x\":{\"command\":\"x\",\"args\":[\"{\",\"//\"]}},\"mcp\":{\"x\":{}},\"context_servers\":{}}",
    "{\n\t\"hooks\": {\n\t\t\"PreToolUse\": [\n\t\t\t{ \"matcher\": \"Bash\", \"hooks\": [] }\n\t\t]\n\t},\n\t\"enabledPlugins\": { \"a@b\": true }\n}",
    "{ \"a\": 1, \"a\": { \"mcpServers\": { \"agentkernel\": 1 } }, \"mcpServers\": { \"y\": {}, \"y\": {} } } // end",
    "/* head */ {\n    \"mcp\": {\n        // \"old\": {}\n    },\n    \"mcpServers\": {\n        \"b\": {} /* last */ // of all\n    }\n    // the end }\n}\n\n\n",
    "{\"extraKnownMarketplaces\": {\"m\": {\"source\": {\"source\": \"github\", \"repo\": \"m/m\"}}}, \"mcp\": {\n}}\n",
    "{\n  \"text\": \"é \\u00e9 \\\" } //\",\n  \"context_servers\": {\n    \"a\": { \"command\": \"a\" }, },\n}\r\n",
];
const OF_TOML: [&str; 9] = [
    "",
    "# mine\n",
    "model = \"gpt-5\"",
    "\u{feff}model = 'x'\r\n\r\n[mcp_servers.x]\r\ncommand = 'x'\r\n",
    "[mcp_servers.x]\ncommand = \"x\" # run\n[mcp_servers.x.env]\nA = \"1\"\n\n[projects.\"/a b\"]\ntrust_level = \"trusted\"\n",
    "mcp_servers = { x = { command = \"x\" } }\n[a]\n",
    "mcp_servers.x.command = \"x\"\n[[profiles]]\na = [\n  1, # one\n  2,\n]\n\n\n",
    "[mcp_servers]\n",
    "mcp_servers = {}\n",
];
const OF_TEXT: [&str; 5] = ["", "# Rules\n", "# Rules\n\n- none", "\u{feff}# Rules\r\n\r\n- none\r\n\r\n", "\n\n\n"];

#[test]
fn what_was_installed_and_removed_leaves_every_byte() {
    let world = World::new();
    let strict: Vec<&str> = OF_JSON.into_iter().filter(|text| edit::strict(text).is_ok()).collect();
    assert!(strict.len() >= 7);
    for round in 0..OF_JSON.len() {
        for (paths, texts) in [(&JSON[..], &OF_JSON[..]), (&TOML, &OF_TOML), (&TEXT, &OF_TEXT)] {
            for (at, path) in paths.iter().enumerate() {
                let texts = if STRICT.contains(path) { &strict } else { texts };
                let path = world.put(path, texts[(round + at) % texts.len()]);
                fs::set_permissions(path, fs::Permissions::from_mode([0o600, 0o644, 0o664][round % 3])).unwrap();
            }
        }
        // VS Code has none of these.
        leaves_every_byte(&world, names().into_iter().filter(|name| *name != "vscode"));
    }
}

/// Claude Code would have no hook, and say so nowhere that is looked at.
#[test]
fn a_file_of_which_its_agent_takes_nothing_is_refused() {
    let world = World::new();
    let broken = [
        "{\n  \"a\": 1, // one\n}",
        "{ /* one */ }",
        "{ \"a\": [1, 2,] }",
        "// nothing\n",
        "\u{feff}{\r\n  \"a\": 1,\r\n}",
    ];
    for (file, scope) in STRICT.into_iter().zip([Scope::User, world.project(), world.project()]) {
        for text in OF_JSON.into_iter().filter(|text| edit::strict(text).is_err()).chain(broken) {
            let path = world.put(file, text);
            let before = world.all();
            let error = world.install("claude", &scope).unwrap_err();
            let words = error.to_string();
            assert!(
                words.starts_with(path.to_str().unwrap()) && words.contains("Claude Code takes nothing of it"),
                "{words}"
            );
            assert_eq!((world.all(), error.hint()), (before, "Mend the file first; nothing was changed in it".into()));
        }
        let path = world.put(file, "{\n  \"a\": 1\n}\n");
        world.install("claude", &scope).unwrap();
        assert!(world.plugins.off(&Agent::find("claude").unwrap(), &scope).is_none());
        // One that becomes so.
        fs::write(&path, fs::read_to_string(&path).unwrap().replacen("{\n", "{ // mine\n", 1)).unwrap();
        assert_eq!(world.presence("claude", &scope), Presence::Partly);
        let off = world.plugins.off(&Agent::find("claude").unwrap(), &scope).unwrap();
        assert!(off.cause.contains("takes nothing of it") && !off.managed, "{off:?}");
        world.remove("claude", &scope);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{ // mine\n  \"a\": 1\n}\n");
        fs::write(&path, "{ \"model\": 5 }").unwrap();
        world.install("claude", &scope).unwrap();
        assert_eq!(world.presence("claude", &scope), Presence::Partly);
        world.remove("claude", &scope);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_was_not_there_is_not_there_again() {
    leaves_every_byte(&World::new(), names());
}

fn leaves_every_byte(world: &World, names: impl IntoIterator<Item = &'static str> + Clone) {
    let before = world.all();
    for scope in [Scope::User, world.project()] {
        for name in names.clone().into_iter().filter(|name| Agent::find(name).unwrap().has(&scope)) {
            let shown = world.plugins.install(&Agent::find(name).unwrap(), &scope, true).unwrap();
            assert_eq!(world.all(), before, "{name}: dry");
            let outcome = world.install(name, &scope).unwrap();
            assert_eq!(outcome.notes, [""; 0], "{name}");
            let paths =
                |outcome: &Outcome| outcome.changes.iter().map(|change| change.path.clone()).collect::<Vec<_>>();
            assert_eq!(paths(&outcome), paths(&shown));
            assert_eq!(world.presence(name, &scope), Presence::Installed, "{name}");
            for change in &outcome.changes {
                let backup = change.backup.as_ref().map(|path| fs::read_to_string(path).unwrap());
                assert_eq!(backup, change.before, "{name}");
            }
            let after = world.all();
            let again = world.install(name, &scope).unwrap();
            assert!(again.changes.is_empty() && again.notes.is_empty(), "{name}: {again:?}");
            assert_eq!(world.all(), after, "{name}");
            assert!(!world.remove(name, &scope).changes.is_empty(), "{name}");
            assert_eq!(world.all(), before, "{name}");
            assert!(world.remove(name, &scope).changes.is_empty(), "{name}");
            assert_eq!(world.presence(name, &scope), Presence::Absent, "{name}");
        }
    }
    let left: Vec<_> = fs::read_dir(world.dir.path().join("state/plugins")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_was_changed_since_stays_and_only_ours_goes() {
    let world = World::new();
    for before in OF_JSON.iter().filter(|text| text.contains('"')) {
        let path = world.put("home/.config/opencode/opencode.json", before);
        world.install("opencode", &Scope::User).unwrap();
        let end = |text: &str| {
            let at = text.rfind('}').unwrap();
            format!("{}/* more */}}{}// more", &text[..at], &text[at + 1..])
        };
        let now = end(&fs::read_to_string(&path).unwrap());
        fs::write(&path, &now).unwrap();
        // It is up to date all the same.
        assert!(world.install("opencode", &Scope::User).unwrap().changes.is_empty());
        world.remove("opencode", &Scope::User);
        let rest = fs::read_to_string(&path).unwrap();
        assert_eq!(rest.matches("more").count(), 2, "{rest}");
        assert_eq!(rest.replace(char::is_whitespace, ""), end(before).replace(char::is_whitespace, ""));
    }
    let before = "[a]\nb = 1\n";
    let config = world.put("home/.codex/config.toml", before);
    world.install("codex", &Scope::User).unwrap();
    fs::write(&config, format!("# top\n{}[c]\n", fs::read_to_string(&config).unwrap())).unwrap();
    let skill = world.home(".codex/skills/agentkernel/SKILL.md");
    fs::write(&skill, "mine now").unwrap();
    let outcome = world.install("codex", &Scope::User).unwrap();
    assert!(outcome.changes.is_empty(), "{:?}", outcome.changes);
    assert!(outcome.notes[0].ends_with("SKILL.md: the file is another one and stays"), "{:?}", outcome.notes);
    world.remove("codex", &Scope::User);
    assert_eq!(fs::read_to_string(&config).unwrap(), "# top\n[a]\nb = 1\n[c]\n");
    assert_eq!(fs::read_to_string(&skill).unwrap(), "mine now");
}

#[test]
fn an_entry_within_ours_and_a_file_that_we_made_stay_for_the_user() {
    let world = World::new();
    world.install("claude", &world.project()).unwrap();
    let path = world.dir.path().join("project/.mcp.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"mcpServers\": {", "\"mcpServers\": {\n    \"mine\": {\"command\": \"m\"},"))
        .unwrap();
    world.remove("claude", &world.project());
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\n  \"mcpServers\": {\n    \"mine\": {\"command\": \"m\"}\n  }\n}\n"
    );
    assert!(!world.dir.path().join("project/.claude").try_exists().unwrap());
}

#[test]
fn what_was_there_before_stays_theirs() {
    let world = World::new();
    let text = "{\"mcp\": {\"agentkernel\": {\"type\": \"local\", \"command\": [\"/my/own\"]}}}";
    let path = world.put("home/.config/opencode/opencode.json", text);
    let outcome = world.install("opencode", &Scope::User).unwrap();
    assert!(outcome.notes[0].contains("`mcp.agentkernel` is another one and stays"), "{:?}", outcome.notes);
    assert_eq!(world.presence("opencode", &Scope::User), Presence::Partly);
    let notes = world.remove("opencode", &Scope::User).notes;
    assert!(
        notes.len() == 1 && notes[0].contains("`mcp.agentkernel` is not as it was installed and stays"),
        "{notes:?}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn links_stay_links() {
    let world = World::new();
    let real = world.put("home/dotfiles/settings.json", "{\n  \"a\": 1\n}\n");
    world.put("home/dotfiles/codex/config.toml", "a = 1\n");
    fs::create_dir(world.home(".claude")).unwrap();
    symlink("../dotfiles/settings.json", world.home(".claude/settings.json")).unwrap();
    symlink("dotfiles/codex", world.home(".codex")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let before = world.all();
    for name in ["claude", "codex"] {
        world.install(name, &Scope::User).unwrap();
        assert_eq!(world.presence(name, &Scope::User), Presence::Installed);
    }
    assert!(fs::read_to_string(&real).unwrap().contains("enabledPlugins"));
    assert!(world.home(".claude/settings.json").symlink_metadata().unwrap().is_symlink());
    for name in ["claude", "codex"] {
        world.remove(name, &Scope::User);
    }
    assert_eq!(world.all(), before);
}

#[test]
fn files_that_are_not_understood_are_left_alone() {
    let world = World::new();
    let refused = |name: &str, scope: &Scope| {
        let before = world.all();
        let error = world.install(name, scope).unwrap_err();
        assert_eq!(world.all(), before, "{error}");
        (error.to_string(), error.hint())
    };
    let broken = world.put("home/.claude/settings.json", "{\n  \"a\": 1,,\n}\n");
    let (cause, hint) = refused("claude", &Scope::User);
    assert!(cause.starts_with(&format!("{}:2:10: ", broken.display())), "{cause}");
    assert_eq!(hint, "Mend the file first; nothing was changed in it");
    world.put("home/.codex/config.toml", "a = 1\na = 2\n");
    assert!(refused("codex", &Scope::User).0.contains("config.toml:2:1: "));
    fs::write(world.home(".codex/config.toml"), b"a = '\xff'").unwrap();
    assert!(refused_bytes(&world).contains("is not UTF-8"));
    fs::create_dir_all(world.home(".config/zed")).unwrap();
    symlink("/nowhere/at/all", world.home(".config/zed/settings.json")).unwrap();
    let (cause, hint) = refused_link(&world);
    assert!(cause.ends_with("zed/settings.json is a symbolic link to nothing") && !hint.is_empty(), "{cause}");
    // Nothing of ours is behind it.
    let removed = world.remove("zed", &Scope::User);
    assert!(removed.changes.is_empty(), "{removed:?}");
    // A project may have been made by anybody.
    world.put("home/.bashrc", "");
    symlink(world.home(".bashrc"), world.dir.path().join("project/AGENTS.md")).unwrap();
    let error = world.install("codex", &world.project()).unwrap_err();
    assert!(error.to_string().contains("AGENTS.md leads out of the project"), "{error}");
    assert_eq!(fs::read_to_string(world.home(".bashrc")).unwrap(), "");
}

fn refused_bytes(world: &World) -> String {
    let error = world.install("codex", &Scope::User).unwrap_err();
    assert_eq!(fs::read(world.home(".codex/config.toml")).unwrap(), b"a = '\xff'");
    error.to_string()
}

fn refused_link(world: &World) -> (String, String) {
    let error = world.install("zed", &Scope::User).unwrap_err();
    (error.to_string(), error.hint())
}

#[test]
fn a_file_that_broke_since_is_not_touched_by_a_removal() {
    let world = World::new();
    let path = world.put("home/.config/zed/settings.json", "{}\n");
    world.install("zed", &Scope::User).unwrap();
    fs::write(&path, "{ broken").unwrap();
    let error = world.plugins.remove(&Agent::find("zed").unwrap(), &Scope::User, false).unwrap_err();
    assert!(error.to_string().contains("settings.json:1:"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{ broken");
}

#[test]
fn without_a_record_what_is_ours_is_found() {
    let world = World::new();
    let texts =
        [("project/.mcp.json", "{\n  \"mcpServers\": {\n    \"x\": {}\n  }\n}\n"), ("project/AGENTS.md", "# Rules\n")];
    for (path, text) in texts {
        world.put(path, text);
    }
    for name in names() {
        if Agent::find(name).unwrap().has(&world.project()) {
            world.install(name, &world.project()).unwrap();
        }
        world.install(name, &Scope::User).unwrap();
    }
    let state = world.dir.path().join("state/plugins");
    for entry in fs::read_dir(&state).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for name in names() {
        world.remove(name, &world.project());
        world.remove(name, &Scope::User);
        assert_eq!(world.presence(name, &Scope::User), Presence::Absent, "{name}");
    }
    for (path, text) in texts {
        assert_eq!(fs::read_to_string(world.dir.path().join(path)).unwrap(), text);
    }
    // The others may have been there, with nothing in them.
    let texts = texts.map(|(path, _)| world.dir.path().join(path));
    for (path, text) in world.all().into_iter().filter(|(path, _)| path.is_file() && !texts.contains(path)) {
        let text = text.split_once(' ').unwrap().1;
        assert!(matches!(text, "" | "{}\n") && !path.ends_with("SKILL.md"), "{}: {text}", path.display());
    }
    for dir in [".local/share/agentkernel", ".vscode/extensions/agentkernel.agentkernel-0.1.0"] {
        assert!(!world.home(dir).try_exists().unwrap(), "{dir}");
    }
}

/// The list of extensions, as VS Code writes it.
fn listed(world: &World) -> Vec<serde_json::Value> {
    serde_json::from_str(&fs::read_to_string(world.home(".vscode/extensions/extensions.json")).unwrap()).unwrap()
}

#[test]
fn an_editor_has_our_extension_in_its_list() {
    let world = World::new();
    let other =
        r#"{"identifier":{"id":"a.b","uuid":"1"},"version":"1.0.0","location":{"$mid":1,"path":"/x","scheme":"file"}}"#;
    let older = r#"{"identifier":{"id":"agentkernel.agentkernel"},"version":"0.0.1","location":"/y"}"#;
    for before in
        ["[]".to_owned(), format!("[{other}]"), format!("[{other},\n  {older}\n]\n"), format!("[{older},{other}]")]
    {
        let path = world.put("home/.vscode/extensions/extensions.json", &before);
        let dir = world.home(&format!(".vscode/extensions/agentkernel.agentkernel-{}", env!("CARGO_PKG_VERSION")));
        let others = listed(&world).iter().filter(|entry| entry["identifier"]["id"] == "a.b").count();
        if before.contains("0.0.1") {
            // It is somebody else's, as of a package of theirs.
            let all = world.all();
            let notes = world.install("vscode", &Scope::User).unwrap().notes;
            assert!(notes.len() == 1 && notes[0].ends_with("the entry is another one and stays"), "{notes:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
            assert_eq!(world.presence("vscode", &Scope::User), Presence::Partly);
            world.remove("vscode", &Scope::User);
            assert_eq!(world.all(), all);
            assert!(world.remove("vscode", &Scope::User).changes.is_empty());
            continue;
        }
        leaves_every_byte(&world, ["vscode"]);
        world.install("vscode", &Scope::User).unwrap();
        let mut entries = listed(&world);
        assert_eq!(entries.len(), others + 1, "{entries:?}");
        let ours = entries.iter_mut().find(|entry| entry["identifier"]["id"] == "agentkernel.agentkernel").unwrap();
        assert_eq!(
            (&ours["version"], &ours["location"]["path"]),
            (&env!("CARGO_PKG_VERSION").into(), &dir.to_str().into())
        );
        assert!(dir.join("src/extension.js").is_file());
        assert!(
            fs::read_to_string(dir.join("program.json")).unwrap().contains("\"/"),
            "no program of this name is on the path"
        );
        // As it is when something else has been installed there.
        ours["metadata"] = serde_json::json!({ "installedTimestamp": 1 });
        entries.push(serde_json::json!({ "identifier": { "id": "c.d" }, "version": "1", "location": "/z" }));
        fs::write(&path, serde_json::to_string(&entries).unwrap()).unwrap();
        assert!(world.install("vscode", &Scope::User).unwrap().changes.is_empty());
        world.remove("vscode", &Scope::User);
        let left = listed(&world);
        assert!(
            left.len() == others + 1 && left.iter().all(|entry| entry["identifier"]["id"] != "agentkernel.agentkernel"),
            "{left:?}"
        );
        assert!(!dir.try_exists().unwrap());
    }
}

#[test]
fn an_editor_that_makes_its_list_later_is_rid_of_our_extension_too() {
    for anew in [false, true] {
        let world = World::new();
        fs::create_dir_all(world.home(".vscode/extensions")).unwrap();
        world.install("vscode", &Scope::User).unwrap();
        let dir = world.home(&format!(".vscode/extensions/agentkernel.agentkernel-{}", env!("CARGO_PKG_VERSION")));
        let other = serde_json::json!({ "identifier": { "id": "a.b" }, "version": "1", "location": "/z" });
        let ours = serde_json::json!({
            "identifier": { "id": "agentkernel.agentkernel" },
            "version": env!("CARGO_PKG_VERSION"),
            "location": { "$mid": 1, "path": dir, "scheme": "file" },
            "relativeLocation": dir.file_name().unwrap().to_str(),
            "metadata": { "installedTimestamp": 1 },
        });
        let path = world.put("home/.vscode/extensions/extensions.json", &serde_json::json!([ours, other]).to_string());
        if anew {
            let outcome = world.install("vscode", &Scope::User).unwrap();
            assert!(outcome.changes.is_empty() && outcome.notes.is_empty(), "{outcome:?}");
        }
        world.remove("vscode", &Scope::User);
        assert_eq!(fs::read_to_string(path).unwrap(), serde_json::json!([other]).to_string());
        assert!(!dir.try_exists().unwrap());
    }
}

#[test]
fn what_codex_adds_to_our_entry_is_kept_by_an_installation_and_goes_with_a_removal() {
    let tools = "\n[mcp_servers.agentkernel.tools.run]\napproval_mode = \"approve\"\n";
    let more = "\n[projects.\"/x\"]\ntrust_level = \"trusted\"\n";
    for before in ["model = \"x\"\n", "# only a comment"] {
        let world = World::new();
        let path = world.put("home/.codex/config.toml", before);
        world.install("codex", &Scope::User).unwrap();
        let now = fs::read_to_string(&path).unwrap() + tools + more;
        fs::write(&path, &now).unwrap();
        let outcome = world.install("codex", &Scope::User).unwrap();
        assert!(outcome.changes.is_empty() && outcome.notes.is_empty(), "{outcome:?}");
        assert_eq!(world.presence("codex", &Scope::User), Presence::Installed);
        // The program lies elsewhere since.
        let state = fs::read_dir(world.dir.path().join("state/plugins")).unwrap().map(|entry| entry.unwrap().path());
        let record = state.into_iter().find(|path| path.extension().is_some_and(|end| end == "record")).unwrap();
        let own = std::env::current_exe().unwrap().canonicalize().unwrap();
        for file in [&record, &path] {
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, text.replace(own.to_str().unwrap(), "/old/agentkernel")).unwrap();
        }
        assert_eq!(world.install("codex", &Scope::User).unwrap().changes.len(), 1);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(tools) && text.contains(more) && !text.contains("/old"), "{text}");
        assert!(text.find(own.to_str().unwrap()) < text.find(tools), "{text}");
        world.remove("codex", &Scope::User);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n{more}", before.trim_end()));
    }
}

#[test]
fn comments_before_our_table_stay_where_nothing_is_on_record() {
    let text = "model = \"x\"\n\n# Uncomment for work:\n# [mcp_servers.docs]\n";
    for change in [|text: String| text, |text: String| text.replace('\n', "\r\n")] {
        let (world, other) = (World::new(), World::new());
        let path = world.put("project/.codex/config.toml", text);
        world.install("codex", &world.project()).unwrap();
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        other.plugins.remove(&Agent::find("codex").unwrap(), &world.project(), false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), change(text.to_owned()));
    }
}

#[test]
fn what_of_ours_was_changed_stays_and_is_told() {
    let project = |name: &str, path: &str, from: &str, to: &str| {
        (name.to_owned(), path.to_owned(), from.to_owned(), to.to_owned())
    };
    for (name, path, from, to) in [
        project(
            "claude",
            "project/.claude/settings.json",
            "\"type\": \"command\"",
            "\"type\": \"command\", \"timeout\": 5",
        ),
        project("gemini", "project/.gemini/settings.json", "\"command\"", "\"trust\": true, \"command\""),
        project("codex", "project/.codex/config.toml", "args =", "enabled = false\nargs ="),
        project("codex", "project/AGENTS.md", "## ", "## My "),
    ] {
        for recorded in [true, false] {
            let (world, other) = (World::new(), World::new());
            let scope = world.project();
            world.install(&name, &scope).unwrap();
            let path = world.dir.path().join(&path);
            let text = fs::read_to_string(&path).unwrap();
            let changed = text.replacen(&from, &to, 1);
            assert_ne!(changed, text);
            fs::write(&path, &changed).unwrap();
            let again = world.install(&name, &scope).unwrap();
            assert!(again.changes.is_empty() && again.notes.len() == 1, "{again:?}");
            let plugins = if recorded { &world.plugins } else { &other.plugins };
            let outcome = plugins.remove(&Agent::find(&name).unwrap(), &scope, false).unwrap();
            // What else is ours in that file is as it was, and goes.
            let expected = changed.replace(",\n  \"disableSkillShellExecution\": true", "");
            assert_eq!((fs::read_to_string(&path).unwrap(), name == "claude"), (expected.clone(), expected != changed));
            let [note] = &outcome.notes[..] else { panic!("{:?}", outcome.notes) };
            assert!(note.contains("is not as it was installed and stays"), "{note}");
            assert_eq!(note.contains("refuses every command: delete the entry by hand"), name == "claude", "{note}");
            assert_eq!(world.presence(&name, &scope), Presence::Partly);
        }
    }
}

#[test]
fn a_hook_that_settings_turn_off_is_no_whole_plugin() {
    let world = World::new();
    let claude = Agent::find("claude").unwrap();
    let settings = world.put("home/.claude/settings.json", "{\"disableAllHooks\": true}");
    world.install("claude", &Scope::User).unwrap();
    assert_eq!(world.presence("claude", &Scope::User), Presence::Partly);
    assert_eq!(world.plugins.off(&claude, &Scope::User).unwrap().path, settings);
    assert_eq!(world.presence("claude", &world.project()), Presence::Absent);
    let text =
        fs::read_to_string(&settings).unwrap().replace("\"disableAllHooks\": true", "\"disableAllHooks\": false");
    fs::write(&settings, text).unwrap();
    assert_eq!(world.presence("claude", &Scope::User), Presence::Installed);
    // In a project, those of the project count too.
    world.install("claude", &world.project()).unwrap();
    assert_eq!(world.presence("claude", &world.project()), Presence::Installed);
    world.put("project/.claude/settings.local.json", "{\"disableAllHooks\": true}");
    assert_eq!(world.presence("claude", &world.project()), Presence::Partly);
    assert_eq!(world.presence("claude", &Scope::User), Presence::Installed);
    assert_eq!(world.plugins.off(&Agent::find("codex").unwrap(), &world.project()), None);
}

#[test]
fn what_was_killed_leaves_nothing_for_long() {
    let left = [
        "home/.claude/.settings.json.agentkernel",
        "home/.local/share/agentkernel/plugins/claude/agentkernel/..mcp.json.agentkernel",
    ];
    let world = World::new();
    world.put("home/.claude/settings.json", "{\"a\": 1}");
    let before = world.all();
    for again in [false, true] {
        world.install("claude", &Scope::User).unwrap();
        let state = ["state/plugins/.claude-user-x.agentkernel", "state/plugins/.new-1-0"];
        for path in left.iter().chain(&state) {
            world.put(path, "half");
        }
        let gone = |path: &&str| !world.dir.path().join(path).try_exists().unwrap();
        if again {
            world.install("claude", &Scope::User).unwrap();
            assert!(left.iter().all(gone));
        }
        world.remove("claude", &Scope::User);
        assert!(state.iter().all(gone));
        assert_eq!(world.all(), before);
    }
}

#[test]
fn what_cannot_be_written_whole_is_not_begun() {
    let world = World::new();
    // Nothing can be put in the place of this.
    fs::create_dir_all(world.home(".claude/.settings.json.agentkernel/x")).unwrap();
    let before = world.all();
    world.install("claude", &Scope::User).unwrap_err();
    assert_eq!(world.all(), before);
    let left: Vec<_> = fs::read_dir(world.dir.path().join("state/plugins")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    fs::remove_dir_all(world.home(".claude/.settings.json.agentkernel")).unwrap();
    world.install("claude", &Scope::User).unwrap();
    let after = world.all();
    fs::create_dir_all(world.home(".claude/.settings.json.agentkernel/x")).unwrap();
    world.plugins.remove(&Agent::find("claude").unwrap(), &Scope::User, false).unwrap_err();
    fs::remove_dir_all(world.home(".claude/.settings.json.agentkernel")).unwrap();
    assert_eq!(world.all(), after);
    world.remove("claude", &Scope::User);
    fs::remove_dir(world.home(".claude")).unwrap();
    assert!(world.all().is_empty(), "{:?}", world.all());
}

#[test]
fn a_file_that_says_nothing_stays_where_nothing_is_on_record() {
    for (path, text, name) in [
        ("project/.mcp.json", "{}", "claude"),
        ("project/.gemini/settings.json", "{}\n", "gemini"),
        ("project/.codex/config.toml", "", "codex"),
        ("project/AGENTS.md", "", "codex"),
    ] {
        let (world, other) = (World::new(), World::new());
        let path = world.put(path, text);
        world.install(name, &world.project()).unwrap();
        other.plugins.remove(&Agent::find(name).unwrap(), &world.project(), false).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
}

#[test]
fn what_is_not_named_after_us_is_somebody_elses_where_nothing_is() {
    let world = World::new();
    let text = "{\"disableSkillShellExecution\": true, \"x\": 1}";
    let path = world.put("home/.claude/settings.json", text);
    assert!(world.remove("claude", &Scope::User).changes.is_empty());
    assert_eq!(fs::read_to_string(path).unwrap(), text);
}

#[test]
fn a_project_alone_gets_no_extension() {
    let world = World::new();
    let error = world.install("vscode", &world.project()).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.hint().as_str()),
        ("VS Code has no plugin for a project alone", "Install it with --user")
    );
    assert!(world.remove("vscode", &world.project()).changes.is_empty());
    assert_eq!(world.presence("vscode", &world.project()), Presence::Absent);
}

#[test]
fn an_installation_that_was_killed_halfway_is_completed_or_taken_back() {
    let world = World::new();
    let path = world.put("home/.claude/settings.json", "{\"a\": 1}");
    let before = world.all();
    for complete in [false, true] {
        world.install("claude", &Scope::User).unwrap();
        // The record is written first, the settings last.
        fs::write(&path, "{\"a\": 1}").unwrap();
        fs::remove_file(world.home(".local/share/agentkernel/plugins/claude/agentkernel/.mcp.json")).unwrap();
        if complete {
            world.install("claude", &Scope::User).unwrap();
            assert_eq!(world.presence("claude", &Scope::User), Presence::Installed);
        }
        world.remove("claude", &Scope::User);
        assert_eq!(world.all(), before);
    }
}

#[test]
fn editors_have_the_agents_in_sandboxes() {
    for (name, path) in [("zed", "home/.config/zed/settings.json"), ("jetbrains", "home/.jetbrains/acp.json")] {
        let world = World::new();
        let path = world.put(path, "{\n  \"agent_servers\": { \"Mine\": { \"command\": \"mine\" } }\n}\n");
        let before = world.all();
        world.install(name, &Scope::User).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let servers: serde_json::Value = serde_json::from_str(&text).unwrap();
        let servers = servers["agent_servers"].as_object().unwrap();
        let of =
            |name: &str| servers.values().filter(|server| server["args"] == serde_json::json!(["acp", name])).count();
        assert_eq!((servers.len(), ["claude", "codex", "gemini", "opencode"].map(of)), (5, [1; 4]), "{text}");
        // Zed does not take a server without it.
        let custom = servers.values().filter(|server| server["type"] == "custom").count();
        assert_eq!(custom, if name == "zed" { 4 } else { 0 }, "{text}");
        world.remove(name, &Scope::User);
        assert_eq!(world.all(), before);
    }
}

#[test]
fn another_version_takes_the_place_of_ours() {
    let world = World::new();
    let path = world.put("home/.config/zed/settings.json", "{\n  \"a\": 1\n}\n");
    let before = world.all();
    world.install("zed", &Scope::User).unwrap();
    // As one that lay elsewhere wrote it.
    let kept = fs::read_dir(world.dir.path().join("state/plugins")).unwrap().map(|entry| entry.unwrap().path());
    let record = kept.into_iter().find(|path| path.extension().is_some_and(|end| end == "record")).unwrap();
    let own = std::env::current_exe().unwrap().canonicalize().unwrap();
    for file in [&record, &path] {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(own.to_str().unwrap()), "{text}");
        fs::write(file, text.replace(own.to_str().unwrap(), "/old/agentkernel")).unwrap();
    }
    let outcome = world.install("zed", &Scope::User).unwrap();
    assert_eq!(outcome.changes.len(), 1);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("/old/") && text.matches("agentkernel").count() >= 1, "{text}");
    world.remove("zed", &Scope::User);
    assert_eq!(world.all(), before);
}

#[test]
fn those_at_work_at_once_lose_nothing_of_each_other() {
    let world = World::new();
    let path = world.put("home/shared.json", "");
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..25 {
                    loop {
                        let now = file::read(path).unwrap().unwrap();
                        let after = format!("{now}{worker}-{number}\n");
                        let mut replacer = Replacer::default();
                        let done = replacer.replace(path, Some(&now), Some(&after)).unwrap();
                        if replacer.settle(Duration::ZERO).unwrap().is_none() && done {
                            break;
                        }
                    }
                }
            });
        }
        // Whoever installs has the state of another user's, or the same.
        for name in names() {
            let dir = world.dir.path();
            scope.spawn(move || plugins(dir).install(&Agent::find(name).unwrap(), &Scope::User, false).unwrap());
        }
    });
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 100);
    for name in names() {
        assert_eq!(world.presence(name, &Scope::User), Presence::Installed, "{name}");
        world.remove(name, &Scope::User);
    }
    assert!(!world.home(".claude").try_exists().unwrap() && !world.home(".config").try_exists().unwrap());
}

/// Who empties a file first and then writes, as most programs do.
#[test]
fn what_is_being_written_is_not_lost() {
    let world = World::new();
    for install in [true, false] {
        let path = world.put("home/.junie/mcp/mcp.json", "{\"old\": 1}");
        let mut theirs = fs::File::create(&path).unwrap();
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                std::thread::sleep(PAUSE / 2);
                theirs.write_all(b"{\"theirs\": 1}").unwrap();
            });
            let plugins = Plugins { pause: PAUSE, ..plugins(world.dir.path()) };
            let jetbrains = Agent::find("jetbrains").unwrap();
            match install {
                true => plugins.install(&jetbrains, &Scope::User, false).unwrap(),
                false => plugins.remove(&jetbrains, &Scope::User, false).unwrap(),
            };
            writing.join().unwrap();
        });
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"theirs\": 1") && text.contains("agentkernel") == install, "{text}");
    }
}
