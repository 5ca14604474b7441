//! What a removal takes where the record does not say all.

use super::*;

/// Loses what is on record.
fn lose(world: &World) {
    for entry in fs::read_dir(world.dir.path().join("state/plugins")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

fn records(world: &World) -> usize {
    fs::read_dir(world.dir.path().join("state/plugins")).unwrap().count()
}

#[test]
fn what_is_ours_goes_though_its_record_was_lost() {
    for scope in ["user", "project"] {
        let world = World::new();
        let scope = if scope == "user" { Scope::User } else { world.project() };
        let settings = JSON.map(|path| world.put(path, "{\n  \"theirs\": 1\n}\n"));
        let config = TOML.map(|path| world.put(path, "theirs = 1\n"));
        let before = world.all();
        for name in names().into_iter().filter(|name| Agent::find(name).unwrap().has(&scope)) {
            world.install(name, &scope).unwrap();
            lose(&world);
            let again = world.install(name, &scope).unwrap();
            assert!(again.changes.is_empty() && !again.notes.is_empty(), "{name}: {again:?}");
            assert!(
                again.notes.iter().all(|note| note.contains("was there before; 'remove' takes it out")),
                "{again:?}"
            );
            // A list of an editor's that may come to be is on record.
            assert_eq!(records(&world), usize::from(name == "vscode"), "{name}");
            let outcome = world.remove(name, &scope);
            assert!(!outcome.changes.is_empty() && outcome.notes.is_empty(), "{name}: {outcome:?}");
            assert_eq!(world.presence(name, &scope), Presence::Absent, "{name}");
        }
        let after = world.all();
        for path in settings.iter().chain(&config) {
            assert_eq!(after[path], before[path]);
        }
    }
}

#[test]
fn what_is_put_back_where_a_record_was_lost_goes_as_well() {
    let world = World::new();
    let path = world.put("home/.claude/settings.json", "{\n  \"theirs\": 1\n}\n");
    world.install("claude", &Scope::User).unwrap();
    lose(&world);
    let text = fs::read_to_string(&path).unwrap();
    let mut half: serde_json::Value = serde_json::from_str(&text).unwrap();
    half.as_object_mut().unwrap().remove("enabledPlugins").unwrap();
    fs::write(&path, half.to_string()).unwrap();
    let again = world.install("claude", &Scope::User).unwrap();
    assert_eq!(again.changes.len(), 1, "{again:?}");
    assert_eq!(world.presence("claude", &Scope::User), Presence::Installed);
    let outcome = world.remove("claude", &Scope::User);
    assert!(outcome.notes.is_empty(), "{outcome:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"theirs\":1}");
    assert_eq!(records(&world), 0);
}

#[test]
fn what_an_agent_writes_back_after_a_removal_goes_with_the_next() {
    for (name, path) in [("opencode", "home/.config/opencode/opencode.json"), ("claude", "home/.claude/settings.json")]
    {
        let world = World::new();
        let path = world.put(path, "{\n  \"theirs\": 1\n}\n");
        let before = fs::read_to_string(&path).unwrap();
        world.install(name, &Scope::User).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        world.remove(name, &Scope::User);
        fs::write(&path, text).unwrap();
        world.install(name, &Scope::User).unwrap();
        world.remove(name, &Scope::User);
        assert_eq!(fs::read_to_string(&path).unwrap(), before, "{name}");
    }
}

#[test]
fn what_the_user_wrote_as_we_do_goes_and_what_has_no_name_of_ours_stays() {
    let world = World::new();
    let text =
        "{\"context_servers\": {\"agentkernel\": {\"command\": \"agentkernel\", \"args\": [\"mcp\"], \"env\": {}}}}";
    let path = world.put("project/.zed/settings.json", text);
    let outcome = world.install("zed", &world.project()).unwrap();
    assert!(outcome.changes.is_empty() && outcome.notes[0].contains("was there before"), "{outcome:?}");
    assert!(world.remove("zed", &world.project()).notes.is_empty());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
    let text = "{\"disableSkillShellExecution\": true}";
    let path = world.put("home/.claude/settings.json", text);
    assert_eq!(world.presence("claude", &Scope::User), Presence::Absent);
    let outcome = world.install("claude", &Scope::User).unwrap();
    assert!(outcome.notes.len() == 1 && outcome.notes[0].ends_with("was there before and stays"), "{outcome:?}");
    for _ in 0..2 {
        let notes = world.remove("claude", &Scope::User).notes;
        assert!(notes.len() == 1 && notes[0].contains("was there before and stays"), "{notes:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    // And not any more.
    fs::write(&path, "{}").unwrap();
    assert!(world.remove("claude", &Scope::User).notes.is_empty());
    assert_eq!(records(&world), 0);
}

#[test]
fn a_hook_that_stays_is_told() {
    for command in ["/old/agentkernel plugin hook || exit 2", "'/my tools/agentkernel' plugin hook || exit 2"] {
        for installed in [false, true] {
            let world = World::new();
            let text = serde_json::json!({ "hooks": { "PreToolUse": [
                { "matcher": "*", "hooks": [{ "type": "command", "command": command }] }
            ] } });
            let path = world.put("home/.claude/settings.json", &text.to_string());
            if installed {
                world.install("claude", &Scope::User).unwrap();
            }
            let notes = world.remove("claude", &Scope::User).notes;
            assert!(notes.len() == 1 && notes[0].ends_with("delete the entry by hand"), "{command}: {notes:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text.to_string());
        }
    }
    let world = World::new();
    let other = "{\"hooks\": {\"PreToolUse\": [{\"hooks\": [{\"command\": \"my plugin hook || exit 2\"}]}]}}";
    world.put("home/.claude/settings.json", other);
    world.install("claude", &Scope::User).unwrap();
    assert!(world.remove("claude", &Scope::User).notes.is_empty());
}

#[test]
fn a_directory_that_is_no_workspace_is_no_project() {
    let world = World::new();
    let link = world.dir.path().join("link");
    symlink(world.home(""), &link).unwrap();
    fs::create_dir(world.home(".claude")).unwrap();
    for (path, reason) in [
        (world.home("."), "it is your home directory"),
        (link, "it is your home directory"),
        (world.home(".claude"), "it is in ~/.claude"),
        (world.dir.path().to_owned(), "your home directory is in it"),
        ("/".into(), "it is the root directory"),
    ] {
        let before = world.all();
        let scope = Scope::Project(path.clone());
        let error = world.install("codex", &scope).unwrap_err();
        assert_eq!(error.to_string(), format!("{} can't be a workspace: {reason}", path.display()));
        assert_eq!(error.hint(), "Go to a project's directory, or install with --user");
        assert_eq!(world.all(), before);
    }
    // What is there since another version goes.
    assert!(world.remove("codex", &Scope::Project(world.home("."))).changes.is_empty());
}

#[test]
fn a_record_that_is_damaged_goes_for_none_and_is_told() {
    for text in ["", "{", "null", "{\"format\": 1}"] {
        let world = World::new();
        let path = world.put("home/.config/zed/settings.json", "{\n  \"theirs\": 1\n}\n");
        let before = world.all();
        world.install("zed", &Scope::User).unwrap();
        let dir = world.dir.path().join("state/plugins");
        let records = || fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let record = records().find(|path| path.extension().is_some_and(|end| end == "record")).unwrap();
        fs::write(&record, text).unwrap();
        // Others are not concerned.
        world.install("neovim", &Scope::User).unwrap();
        world.remove("neovim", &Scope::User);
        let aside = record.with_extension("damaged");
        let shown = world.plugins.remove(&Agent::find("zed").unwrap(), &Scope::User, true).unwrap();
        assert!(shown.notes.len() == 1 && record.is_file() && !aside.try_exists().unwrap(), "{shown:?}");
        let again = world.install("zed", &Scope::User).unwrap();
        let is_told = |note: &String| note.contains(record.to_str().unwrap()) && note.contains(aside.to_str().unwrap());
        assert!(again.changes.is_empty() && is_told(&again.notes[0]), "{again:?}");
        assert!(!record.try_exists().unwrap());
        assert_eq!(fs::read_to_string(&aside).unwrap(), text);
        assert!(world.remove("zed", &Scope::User).notes.is_empty());
        assert_eq!(world.all(), before);
        // The copy of what was there is all that tells of it.
        let copies = records().filter(|path| path.extension().is_some_and(|end| end == "json"));
        assert_eq!(
            copies.map(|copy| fs::read_to_string(copy).unwrap()).collect::<Vec<_>>(),
            ["{\n  \"theirs\": 1\n}\n"]
        );
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_copy_that_is_gone_keeps_nothing_in() {
    let before = "{\n  \"theirs\": 1 // kept\n}\n";
    for (from, to) in [("", ""), ("\"theirs\": 1", "\"theirs\": 2")] {
        for again in [false, true] {
            let world = World::new();
            let path = world.put("home/.config/zed/settings.json", before);
            world.install("zed", &Scope::User).unwrap();
            for entry in fs::read_dir(world.dir.path().join("state/plugins")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|end| end == "json") {
                    fs::remove_file(path).unwrap();
                }
            }
            fs::write(&path, fs::read_to_string(&path).unwrap().replacen(from, to, 1)).unwrap();
            if again {
                world.install("zed", &Scope::User).unwrap();
            }
            assert!(world.remove("zed", &Scope::User).notes.is_empty());
            assert_eq!(fs::read_to_string(&path).unwrap(), before.replacen(from, to, 1));
        }
    }
}

#[test]
fn a_file_that_has_become_a_link_since_stays_one() {
    let world = World::new();
    let path = world.put("home/.config/zed/settings.json", "{\n  \"theirs\": 1\n}\n");
    world.install("zed", &Scope::User).unwrap();
    let real = world.home("zed.json");
    fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    let again = world.install("zed", &Scope::User).unwrap();
    assert!(again.changes.is_empty() && again.notes.is_empty(), "{again:?}");
    world.remove("zed", &Scope::User);
    assert!(path.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "{\n  \"theirs\": 1\n}\n");
}
