use super::*;
use crate::SecretSource;
use oci::Platform;
use std::fs;

/// A caller with a home directory and a project of his own.
pub(super) struct Caller {
    folder: tempfile::TempDir,
    host: HostFacts,
}

impl Caller {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut host = HostFacts::read().unwrap();
        host.home = folder.path().join("home");
        host.cwd = folder.path().join("project");
        host.env = vec![("HOME".into(), host.home.clone().into())];
        fs::create_dir_all(&host.cwd).unwrap();
        Self { folder, host }
    }

    pub(super) fn host(&self) -> &HostFacts {
        &self.host
    }

    pub(super) fn set(&mut self, variable: &str, value: &str) {
        self.host.env.push((variable.into(), value.into()));
    }

    /// Writes a file below the folder that home and project are in.
    pub(super) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn adapters(&self) -> Adapters {
        Adapters::of(&self.host, &Project { dir: self.host.cwd.clone(), file: None })
    }

    fn fails(&self, text: &str) -> (String, String) {
        let error = self.adapters().find(text).unwrap_err();
        (error.to_string(), error.hint())
    }
}

/// One that comes with the program.
pub(super) fn embedded(name: &str) -> Adapter {
    Caller::new().adapters().find(name).unwrap().adapter
}

#[test]
fn every_adapter_that_comes_with_the_program_is_one() {
    let adapters = Caller::new().adapters();
    let names = adapters.names().unwrap();
    assert_eq!(names.len(), EMBEDDED.len());
    let platform: Platform = "linux/amd64".parse().unwrap();
    for name in &names {
        let adapter = adapters.find(name).unwrap().adapter;
        assert_eq!(adapter.name, *name);
        let reference = adapter.reference(&adapter.version).unwrap().to_string();
        assert_eq!(Adapter::of_image(&reference), Some((name.as_str(), Some(adapter.version.as_str()))));
        assert_eq!(Adapter::of_image(&adapter.used().unwrap().to_string()), Some((name.as_str(), None)));
        let own = format!("/opt/agentkernel/agents/{name}/");
        for package in adapter.packages_for(&platform).unwrap() {
            let brought = match package.wheels.is_empty() {
                true => format!("ADD {} /", package.file),
                false => format!("COPY {}/ /", package.file),
            };
            assert!(adapter.dockerfile.contains(&brought), "{name}");
            assert!(adapter.command[0].starts_with(&own), "{name}");
        }
        for line in adapter.dockerfile.lines().filter(|line| line.starts_with("COPY ")) {
            assert!(line.split(' ').next_back().unwrap().starts_with(&own), "{name}: {line}");
        }
        let of_another = name.strip_suffix("-acp").map(|other| adapters.find(other).unwrap().adapter);
        if let Some(other) = of_another {
            let acp = other.acp.unwrap();
            assert_eq!((&acp.layer, &acp.command), (name, &adapter.command));
            continue;
        }
        assert!(adapter.interactive.is_some() && adapter.headless.is_some(), "{name}");
        assert_eq!(adapter.tested, !["amp", "crush"].contains(&name.as_str()), "{name}");
    }
    let arm: Platform = "linux/arm64".parse().unwrap();
    assert_eq!(embedded("gemini").packages_for(&arm).unwrap().len(), 2);
    assert_eq!(embedded("aider").packages_for(&arm).unwrap().len(), 4);
    let error = embedded("opencode").packages_for(&arm).unwrap_err().to_string();
    assert_eq!(error, "OpenCode 1.18.33 has no package for linux/arm64 with glibc");
}

const GOOD: &str = "name = 'mine'\ntitle = 'Mine'\nversion = '1.0'\ncommand = ['/opt/mine']\n";

#[test]
fn an_unknown_name_has_the_nearest_as_hint() {
    let caller = Caller::new();
    let (cause, hint) = caller.fails("claud");
    assert_eq!(cause, "No agent is called 'claud'");
    assert_eq!(hint, "Did you mean 'claude'? 'agentkernel agents' lists them");
    assert!(caller.fails("zzzzzzzz").1.starts_with("Known are aider, amp, claude,"));
    assert_eq!(caller.fails("..").0, "No agent is called '..'");
    assert_eq!(caller.fails("").0, "No agent is called ''");
    assert_eq!(caller.fails("./none.toml").0, "Can't read ./none.toml");
}

#[test]
fn those_of_the_project_count_before_the_users_own_and_these_before_the_programs() {
    let caller = Caller::new();
    let titled = |title: &str, name: &str| GOOD.replace("Mine", title).replace("'mine'", &format!("'{name}'"));
    caller.write("home/.config/agentkernel/agents/claude.toml", &titled("Of the user", "claude"));
    caller.write("home/.config/agentkernel/agents/mine.toml", &titled("Of the user", "mine"));
    caller.write("project/.agentkernel/agents/mine.toml", &titled("Of the project", "mine"));
    caller.write("project/.agentkernel/agents/README.md", "not one");
    let adapters = caller.adapters();
    let title = |name: &str| adapters.find(name).unwrap().adapter.title;
    assert_eq!(title("claude"), "Of the user");
    assert_eq!(title("mine"), "Of the project");
    assert_eq!(title("codex"), "Codex");
    assert!(adapters.names().unwrap().contains("mine"));
    let files = adapters.of_project().unwrap();
    assert_eq!(files.len(), 1);
    assert!(files[0].path.ends_with(".agentkernel/agents/mine.toml") && !files[0].trusted);
    assert!(adapters.find("mine").unwrap().of_project.is_some());
    assert!(adapters.find("claude").unwrap().of_project.is_none());
    // By its path, whatever it is called.
    let path = caller.write("project/other.toml", GOOD);
    assert_eq!(adapters.find("./other.toml").unwrap().adapter.name, "mine");
    assert_eq!(adapters.find(path.to_str().unwrap()).unwrap().text, GOOD);
}

#[test]
fn a_file_is_called_as_its_agent() {
    let caller = Caller::new();
    caller.write("home/.config/agentkernel/agents/yours.toml", GOOD);
    let (cause, hint) = caller.fails("yours");
    assert!(cause.ends_with("agents/yours.toml: `name` is 'mine'"), "{cause}");
    assert_eq!(hint, "Call the file 'mine.toml', or the agent 'yours'");
}

#[test]
fn nobody_else_writes_a_users_adapters() {
    use std::os::unix::fs::PermissionsExt as _;
    let caller = Caller::new();
    let path = caller.write("home/.config/agentkernel/agents/mine.toml", GOOD);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(caller.fails("mine").0.contains("everybody can write it"));
    // Nor does a project lead elsewhere.
    let link = caller.write("project/.agentkernel/agents/link.toml", "");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(caller.fails("link").0.contains("is a symbolic link"));
}

#[test]
fn the_address_of_a_package_is_that_of_npm() {
    let at = "https://npm.example.org/";
    let claude = embedded("claude");
    assert_eq!(
        claude.packages[0].address(&claude.version, at),
        "https://npm.example.org/@anthropic-ai/claude-code-linux-x64/-/claude-code-linux-x64-2.1.330.tgz"
    );
    assert_eq!(claude.packages[0].digest.as_ref().unwrap().hex().len(), 128);
    let codex = embedded("codex");
    assert_eq!(codex.packages[0].address("1.2", at), "https://npm.example.org/@openai/codex/-/codex-1.2-linux-x64.tgz");
    let crush = embedded("crush");
    let address = crush.packages[0].address(&crush.version, at);
    assert!(address.starts_with("https://github.com/") && address.ends_with("/crush_0.96.1_Linux_x86_64.tar.gz"));
}

#[test]
fn another_version_has_other_packages_but_for_those_of_their_own() {
    let gemini = embedded("gemini");
    assert_eq!(gemini.at("0.61.0"), gemini);
    let other = gemini.at("0.62.0");
    for package in &other.packages {
        assert_eq!(package.digest.is_some(), package.file == "node.tgz", "{}", package.npm);
    }
    assert_eq!(other.reference(&other.version).unwrap().to_string(), "agents.invalid/gemini:0.62.0");
    // Which packages of Python's there would be, nobody says.
    assert!(embedded("aider").at("0.87.0").packages.iter().all(|package| package.wheels.is_empty()));
    let codex = &embedded("codex").packages[0];
    assert_eq!(codex.version("1.2"), "1.2-linux-x64");
    assert_eq!(codex.agent_version("1.2-linux-x64"), Some("1.2"));
    assert_eq!(codex.agent_version("1.2"), Some("1.2"));
    assert_eq!(gemini.packages[1].agent_version("22.0.0"), None);
}

#[test]
fn for_musl_an_agent_is_another_image_where_it_has_other_packages() {
    let for_musl = |name: &str| Adapter { libc: Libc::Musl, ..embedded(name) };
    let amd: Platform = "linux/amd64".parse().unwrap();
    let claude = for_musl("claude");
    let packages = claude.packages_for(&amd).unwrap();
    assert_eq!(
        packages.iter().map(|it| it.npm.as_str()).collect::<Vec<_>>(),
        ["@anthropic-ai/claude-code-linux-x64-musl"]
    );
    assert_eq!(embedded("claude").packages_for(&amd).unwrap().len(), 1);
    let names = |adapter: &Adapter| {
        let tagged = adapter.reference(&adapter.version).unwrap().to_string();
        (tagged, adapter.used().unwrap().to_string())
    };
    let (tagged, used) = names(&claude);
    assert_eq!(tagged, "agents.invalid/claude:2.1.330-musl");
    assert_eq!(Adapter::of_image(&tagged), Some(("claude", Some("2.1.330-musl"))));
    assert_eq!(
        (used.as_str(), Adapter::of_image(&used)),
        ("agents.invalid/claude:latest-musl", Some(("claude", None)))
    );
    // What is linked to neither is one for both.
    assert_eq!(names(&for_musl("codex")), names(&embedded("codex")));
    let error = for_musl("gemini").packages_for(&amd).unwrap_err().to_string();
    assert_eq!(error, "Gemini CLI 0.61.0 has no package for linux/amd64 with musl");
}

#[test]
fn a_version_is_a_tag_of_its_own() {
    for good in ["1", "2.1.330", "0.0.1790142911-g7618fb", "1_2"] {
        assert!(is_version(good), "{good}");
    }
    for wrong in ["", "latest", "1-musl", ".1", "-1", "1 2", "1@sha256:0", "1:2", "a/b", "1+2", &"1".repeat(129)] {
        assert!(!is_version(wrong), "{wrong}");
    }
}

#[test]
fn a_hash_is_what_npm_calls_integrity() {
    let of = |text: &str| integrity(text).map(|digest| digest.to_string());
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(of("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").as_deref(), Some(empty));
    for wrong in ["", "sha256", "sha256-", "sha256-eA==", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "sha512-/"] {
        assert_eq!(of(wrong), None, "{wrong}");
    }
}

#[test]
fn a_recorded_secret_and_a_variable_log_in_before_a_file() {
    let mut caller = Caller::new();
    let claude = embedded("claude");
    let found = |caller: &Caller| login::find(&claude, caller.host()).unwrap();
    assert!(found(&caller).is_empty());
    caller.write("home/.claude/.credentials.json", r#"{"claudeAiOauth":{"accessToken":"real","expiresAt":1}}"#);
    assert_eq!(found(&caller)[0].to_string(), "~/.claude/.credentials.json");
    caller.set("ANTHROPIC_AUTH_TOKEN", "real");
    assert_eq!(found(&caller)[0].to_string(), "ANTHROPIC_AUTH_TOKEN");
    caller.set("ANTHROPIC_API_KEY", "");
    assert_eq!(found(&caller)[0].to_string(), "ANTHROPIC_AUTH_TOKEN");
    let secrets = config::Secrets::of(caller.host());
    let recorded = config::Recorded {
        name: "ANTHROPIC_API_KEY".into(),
        source: SecretSource::Store,
        hosts: Vec::new(),
        env: None,
    };
    secrets.record(&recorded, Some(&egress::Secret::new(b"real".to_vec()))).unwrap();
    assert_eq!(found(&caller)[0].to_string(), "secret ANTHROPIC_API_KEY");
}

/// What the agent would obey of a project on the host, at its next start there.
#[test]
fn what_an_agent_obeys_of_a_project_is_protected() {
    for (name, _) in EMBEDDED {
        let obeyed: &[&str] = match name {
            "aider" => &[".aider.conf.yml", ".aider.model.settings.yml", ".aider.model.metadata.json"],
            "amp" => &[".amp"],
            "claude" | "claude-acp" => &[
                ".mcp.json",
                ".claude/settings.json",
                ".claude/settings.local.json",
                ".claude/hooks",
                ".claude/routines",
                ".claude/scheduled_tasks.json",
                ".claude/workflows",
                ".claude/launch.json",
                ".claude/loop.md",
            ],
            "codex" | "codex-acp" => &[".codex", ".agents"],
            "copilot" => &[".github/hooks", ".github/copilot", ".github/mcp.json", ".mcp.json"],
            "crush" => &[".crush.json", "crush.json", ".crushrc", "crushrc"],
            "gemini" => &[".gemini"],
            "opencode" => &[".opencode", "opencode.json", "opencode.jsonc", "tui.json", "tui.jsonc"],
            "qwen" => &[".qwen"],
            "shell" => &[],
            other => panic!("What does {other} obey of a project?"),
        };
        for path in obeyed {
            assert!(config::protect::BUILT_IN.contains(path), "{name}: {path}");
        }
    }
}

/// Where an agent's own are, a link or a variable makes no workspace.
#[test]
fn where_agents_keep_what_they_obey_is_known() {
    use config::dotfiles::{AGENTS, VARIABLES};
    for (name, _) in EMBEDDED {
        let adapter = embedded(name);
        let home = &adapter.home;
        for below in home.config.iter().chain(&home.memory).chain(&home.skills) {
            // What lies in these itself is looked at by each of its names.
            let is_alone = below.components().count() == 1 || below == Path::new(".config/AGENTS.md");
            assert!(is_alone || AGENTS.iter().any(|dir| below.starts_with(dir)), "{name}: {}", below.display());
        }
        for elsewhere in &adapter.elsewhere {
            let is_known = VARIABLES.iter().any(|(variable, _)| *variable == elsewhere.variable);
            assert!(is_known || elsewhere.variable.starts_with("XDG_"), "{name}: {}", elsewhere.variable);
        }
    }
}

/// What settings name, and other files with settings: without them an agent would do something else, or nothing.
#[test]
fn what_settings_name_comes_along_too() {
    for (name, cleaned, others) in [
        ("claude", &[][..], &[".claude/hooks", ".claude/agents"][..]),
        ("codex", &[".codex/hooks.json", ".codex/agents"], &[".codex/hooks"]),
        ("gemini", &[".gemini/policies"], &[".gemini/hooks", ".gemini/agents"]),
        ("opencode", &["config.json", "opencode.json", "tui.json", "tui.jsonc"], &[]),
        ("qwen", &[], &[".qwen/hooks", ".qwen/agents"]),
    ] {
        let home = embedded(name).home;
        let has = |list: &[PathBuf], path: &str| list.iter().any(|one| one.ends_with(path));
        for path in cleaned {
            assert!(has(&home.config, path), "{name}: {path}");
        }
        for path in others {
            assert!(has(&home.skills, path), "{name}: {path}");
        }
    }
}
