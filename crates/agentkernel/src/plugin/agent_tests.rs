use super::*;
use crate::config;
use std::collections::BTreeSet;

fn host(home: &str) -> HostFacts {
    let mut host = HostFacts::read().unwrap();
    host.env = vec![("HOME".into(), home.into()), ("PATH".into(), "/nowhere".into())];
    host
}

#[test]
fn every_description_is_one() {
    let (home, project) = ("/home/a 'b\"", Scope::Project("/work".into()));
    for name in names() {
        let agent = Agent::find(name).unwrap();
        for scope in [&Scope::User, &project] {
            if !agent.has(scope) {
                assert_eq!((name, scope), ("vscode", &project));
                continue;
            }
            let parts = agent.parts(&host(home), scope).unwrap();
            assert!(!parts.is_empty(), "{name}");
            for Target { path, edit, .. } in parts {
                let below = if *scope == project { "/work" } else { home };
                assert!(path.starts_with(below), "{name}: {}", path.display());
                let text = serde_json::to_string(&edit).unwrap();
                for word in ["{home}", "{data}", "{project}", "{command}", "{shell command}", "{version}"] {
                    assert!(!text.contains(word), "{name}: {text}");
                }
                if let Edit::File { text } = &edit
                    && path.extension().is_some_and(|extension| extension == "json")
                {
                    serde_json::from_str::<Value>(text).unwrap();
                }
            }
        }
    }
    let error = Agent::find("cluade").unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.hint().as_str()),
        ("There is no plugin for 'cluade'", "Did you mean 'claude'?")
    );
}

#[test]
fn a_project_names_no_path_of_this_computer() {
    for name in names() {
        for Target { edit, .. } in
            Agent::find(name).unwrap().parts(&host("/home/me"), &Scope::Project("/work".into())).unwrap()
        {
            let text = serde_json::to_string(&edit).unwrap();
            assert!(!text.contains("/home/me") && !text.contains("/work"), "{name}: {text}");
        }
    }
}

#[test]
fn what_a_project_gets_no_sandbox_changes() {
    for name in names() {
        let parts = Agent::find(name).unwrap().parts(&host("/home/me"), &Scope::Project("/work".into())).unwrap();
        // A section of a text that people and agents write, and that starts nothing.
        let parts = parts.into_iter().filter(|part| !matches!(part.edit, Edit::Section { .. }));
        for Target { path, .. } in parts {
            let path = path.strip_prefix("/work").unwrap();
            let is_protected = config::protect::BUILT_IN.iter().any(|protected| path.starts_with(protected));
            assert!(is_protected, "{name}: {}", path.display());
        }
    }
}

#[test]
fn variables_say_where_an_agent_keeps_things() {
    let mut host = host("/home/me");
    let paths = |host: &HostFacts, name| -> BTreeSet<PathBuf> {
        let parts = Agent::find(name).unwrap().parts(host, &Scope::User).unwrap();
        parts.into_iter().map(|part| part.path).collect()
    };
    assert!(paths(&host, "codex").contains(Path::new("/home/me/.codex/config.toml")));
    for (variable, value) in [("CODEX_HOME", "/codex"), ("XDG_CONFIG_HOME", "not absolute"), ("GEMINI_CLI_HOME", "/g")]
    {
        host.env.push((variable.into(), value.into()));
    }
    assert!(paths(&host, "codex").contains(Path::new("/codex/config.toml")));
    assert!(paths(&host, "gemini").contains(Path::new("/g/.gemini/extensions/agentkernel/gemini-extension.json")));
    assert!(paths(&host, "opencode").contains(Path::new("/home/me/.config/opencode/opencode.json")));
}

#[test]
fn the_extension_is_whole_and_of_this_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../editors/vscode");
    let manifest: Value = serde_json::from_str(FILES.iter().find(|file| file.0 == "package.json").unwrap().1).unwrap();
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    let listed = manifest["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let mut there = BTreeSet::from(["package.json".to_owned(), "README.md".to_owned()]);
    for name in listed {
        match std::fs::read_dir(root.join(&name)) {
            Err(_) => _ = there.insert(name),
            Ok(files) => {
                there.extend(files.map(|file| format!("{name}/{}", file.unwrap().file_name().to_str().unwrap())))
            }
        }
    }
    assert_eq!(FILES.iter().map(|file| file.0.to_owned()).collect::<BTreeSet<_>>(), there);
}

#[test]
fn each_editor_of_a_family_that_is_there_is_meant() {
    let home = tempfile::TempDir::new().unwrap();
    let host = host(home.path().to_str().unwrap());
    let agent = Agent::find("vscode").unwrap();
    assert_eq!((agent.homes(&host), agent.is_here(&host)), (vec![home.path().join(".vscode/extensions")], false));
    for dir in [".vscode-oss/extensions", ".cursor/extensions"] {
        std::fs::create_dir_all(home.path().join(dir)).unwrap();
    }
    let dirs = [".vscode-oss/extensions", ".cursor/extensions"].map(|dir| home.path().join(dir));
    assert_eq!((agent.homes(&host), agent.is_here(&host)), (dirs.to_vec(), true));
    let parts = agent.parts(&host, &Scope::User).unwrap();
    assert_eq!(parts.len(), 2 * (FILES.len() + 2));
}

#[test]
fn the_skill_has_what_agents_ask_of_one() {
    let text = include_str!("data/skill.md");
    let (head, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let description = head.strip_prefix("name: agentkernel\ndescription: ").unwrap();
    assert!(!description.contains(['\n', '#']) && !description.contains(": ") && description.len() < 1024);
    assert!(body.lines().count() < 60, "it is to be short");
}
