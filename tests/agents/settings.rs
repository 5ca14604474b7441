//! What of the user's settings comes along: his MCP servers too, and nothing that logs in.

use super::scene::Scene;
use std::fs;
use support::{Who, World, stdout, told};

/// What logs in somewhere, and stands in the settings.
const TOKEN: &str = "ghp_0123456789abcdefreal";

const ADAPTER: &str = r#"
name = "mine"
title = "Mine"
version = "1.0"
command = ["/bin/sh", "-c", 'printf "%s\n" "$@" > called; for last; do :; done; eval "$last"', "mine"]

[interactive]
unattended = ["--yes"]

[headless]
unattended = ["--yes"]
prompt = ["{}"]

[home]
config = [".mine/settings.json", ".mine/more.toml", ".config/mine.jsonc", ".mine/agents"]
memory = [".mine/NOTES.md"]
imports = true
skills = [".mine-extensions"]
state = [".mine"]

[mcp]
file = ".mine.json"
key = "servers"
local = ["projects", "{workspace}", "servers"]
argument = ["--servers={}"]
reference = "${{}}"
"#;

fn write(world: &World, name: &str, text: &str) {
    let script = "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\"";
    let _ = stdout(world.command("sh").args(["-ec", script, "sh", name, text]));
}

#[test]
fn nothing_in_them_logs_in() {
    for who in Who::all() {
        let world = World::new(who);
        let home = world.home();
        let in_home = |name: &str, text: &str| write(&world, home.join(name).to_str().unwrap(), text);
        in_home(".config/agentkernel/agents/mine.toml", ADAPTER);
        let settings = format!("{{ // mine\n  \"theme\": \"dark\", \"env\": {{ \"FORGE_TOKEN\": \"{TOKEN}\" }} }}\n");
        in_home(".mine/settings.json", &settings);
        in_home(".mine/more.toml", &format!("a = 1 # one\napi_key = \"{TOKEN}\"\n"));
        in_home(".config/mine.jsonc", "{ \"theme\": \"light\" }");
        // What comes along as it is may have such files in it.
        in_home(".mine-extensions/one/.env", &format!("# mine\nLEVEL=2\nexport FORGE_TOKEN='{TOKEN}'\nNAME=x\n"));
        in_home(".mine-extensions/one/mcp.json", &format!(r#"{{"env": {{"A_KEY": "{TOKEN}", "B": "c"}}}}"#));
        in_home(".mine-extensions/one/other.json", "{\"b\": 2}\n");
        in_home(".mine-extensions/two/settings.json", "{\"theme\": \"dark\"}\n");
        let project = world.project();
        let servers = format!(
            r#"{{"servers": {{"a": {{"command": "x", "env": {{"FORGE_TOKEN": "{TOKEN}"}}}}}},
            "projects": {{"{}": {{"servers": {{"b": {{"url": "https://me:{TOKEN}@x.example/"}}}}}}}}}}"#,
            project.display()
        );
        in_home(".mine.json", &servers);
        let run = |more: &[&str], task: &str| {
            let output = world.agentkernel([&["run", "mine"], more, &["-p", task]].concat()).output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
            output
        };
        let output = run(&["--verbose"], "cat ~/.mine/* ~/.config/mine.jsonc; ! echo x >> ~/.mine/settings.json");
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        // Here it knows no variables: one of no value would hide the sandbox's own.
        let (toml, json) = seen.split_once("{ // mine\n").unwrap();
        assert_eq!(toml, "a = 1 # one\n");
        assert!(json.starts_with("  \"theme\": \"dark\"") && json.ends_with("{ \"theme\": \"light\" }"), "{seen}");
        assert!(!seen.contains("FORGE_TOKEN"), "{seen}");
        let within = run(&[], "cd ~/.mine-extensions && cat one/.env one/*.json two/*; ! echo x >> one/.env");
        let within = String::from_utf8(within.stdout).unwrap();
        let expected = "# mine\nLEVEL=2\n\nNAME=x\n{\"env\": {\"B\": \"c\"}}{\"b\": 2}\n{\"theme\": \"dark\"}\n";
        assert_eq!(within, expected, "{who:?}");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        for place in [
            "env.FORGE_TOKEN in ~/.mine-extensions/one/.env",
            "env.A_KEY in ~/.mine-extensions/one/mcp.json",
            "env.FORGE_TOKEN in ~/.mine/settings.json",
            "api_key in ~/.mine/more.toml",
            "servers.a.env.FORGE_TOKEN in ~/.mine.json",
            "servers.b.url in ~/.mine.json",
        ] {
            assert!(words.contains(place), "{place}: {words}");
        }
        let called = fs::read_to_string(project.join("called")).unwrap();
        let expected = r#"--servers={"servers":{"a":{"command":"x","env":{"FORGE_TOKEN":"${FORGE_TOKEN}"}},"b":{"url":"https://x.example/"}}}"#;
        assert_eq!(called.lines().next().unwrap(), expected);
        let output = run(&["--json"], "grep -rs ghp_ ~ /proc/self/environ /proc/*/cmdline; true");
        assert!(!told(&output).contains(TOKEN), "{}", told(&output));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let last: serde_json::Value =
            serde_json::from_str(words.lines().last().unwrap()).unwrap_or_else(|_| panic!("{words}"));
        assert_eq!(last["agent"]["left_out"].as_array().unwrap().len(), 6);
        // His own are as they were; and what changes in them is there at the next run.
        assert_eq!(fs::read_to_string(home.join(".mine/settings.json")).unwrap(), settings);
        in_home(".mine/settings.json", "{ \"theme\": \"grey\" }");
        in_home(".mine/more.toml", "a = ");
        let output = run(&["--verbose"], "cat ~/.mine/settings.json; test ! -s ~/.mine/more.toml");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "{ \"theme\": \"grey\" }");
        assert!(told(&output).contains("~/.mine/more.toml (") && !told(&output).contains("settings.json"));
    }
}

#[test]
fn links_bring_along_what_they_lead_to_or_are_named() {
    for who in Who::all() {
        let world = World::new(who);
        let home = world.home();
        let in_home = |name: &str, text: &str| write(&world, home.join(name).to_str().unwrap(), text);
        in_home(".config/agentkernel/agents/mine.toml", ADAPTER);
        // A link may have any name behind it.
        in_home("store/of-mine", &format!("{{ \"theme\": \"dark\", \"api_key\": \"{TOKEN}\" }}"));
        in_home("store/of-more", &format!("a = 1\napi_key = \"{TOKEN}\"\n"));
        // Whose values are which, nobody knows.
        in_home(
            ".config/mine.jsonc",
            &format!("{{\"env\": {{\"A\": \"x, \"API_TOKEN\": \"{TOKEN}\", \"B\": \"y\"}}}}"),
        );
        in_home(".shared/good/SKILL.md", "a skill");
        in_home(".shared/good/.env", &format!("API_TOKEN={TOKEN}\nLEVEL=1\n"));
        in_home(".shared/notes.md", "notes");
        in_home("elsewhere/far/SKILL.md", "far");
        in_home(".ssh/id_ed25519", TOKEN);
        in_home(".mine-extensions/own/SKILL.md", "own");
        in_home(".mine-extensions/own/prod.env", &format!("API_TOKEN={TOKEN}\nLEVEL=2\n"));
        let origin = format!("[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://me:{TOKEN}@x.example/y\n");
        in_home(".mine-extensions/own/.git/config", &origin);
        in_home(".mine-extensions/own/.git/modules/sub/config", &origin);
        in_home(".mine-extensions/own/.git/config.worktree", &origin);
        in_home(".mine-extensions/own/.git/worktrees/w/config.worktree", &origin);
        // Where a directory is one of settings, each file has some.
        in_home(".mine/agents/one.toml", &format!("b = 1\n[servers.a.env]\nA_TOKEN = \"{TOKEN}\"\n"));
        in_home(".mine/agents/one.sh", "c=2\n");
        for name in ["plugin.json", "marketplace.json"] {
            let text = format!(r#"{{"mcpServers": {{"a": {{"env": {{"API_KEY": "{TOKEN}"}}}}}}}}"#);
            in_home(&format!(".mine-extensions/own/{name}"), &text);
        }
        let link = "mkdir -p ~/.mine && ln -s ../store/of-mine ~/.mine/settings.json && ln -s ../store/of-more ~/.mine/more.toml
            cd ~/.mine-extensions && ln -s prod.env own/.env && ln -s ../.shared/good good && ln -s ../.shared/notes.md notes.md
            ln -s ~/elsewhere/far far && ln -s ../.ssh keys && ln -s ../nothing gone && ln -s own/SKILL.md near.md";
        let _ = stdout(world.command("sh").args(["-ec", link]));
        let mut run = world.agentkernel(["run", "--verbose", "mine", "-p", "cd ~; cat .mine/*.toml .mine/*.json .mine/agents/*; cd .mine-extensions; \
            cat good/* good/.env notes.md own/.env near.md own/.git/config own/.git/modules/sub/config own/.git/config.worktree \
            own/.git/worktrees/w/config.worktree own/plugin.json own/marketplace.json; ls -d keys/ far/; ! echo x >> good/SKILL.md"]);
        let output = run.output().unwrap();
        let (seen, words) = (String::from_utf8_lossy(&output.stdout), told(&output));
        let origin = "[core]\n\tbare = false\n[remote \"origin\"]\n\n".repeat(4);
        let servers = r#"{"mcpServers": {"a": {"env": {}}}}"#.repeat(2);
        let expected = format!(
            "a = 1\n{{ \"theme\": \"dark\" }}c=2\nb = 1\n[servers.a.env]\na skill\nLEVEL=1\nnotes\nLEVEL=2\nown{origin}{servers}"
        );
        assert_eq!(seen, expected, "{who:?}: {words}");
        for place in [
            "api_key in ~/.mine/settings.json",
            "api_key in ~/.mine/more.toml",
            "~/.config/mine.jsonc (it is no JSON)",
            "env.API_TOKEN in ~/.shared/good/.env",
            "env.API_TOKEN in ~/.mine-extensions/own/prod.env",
            "env.url in ~/.mine-extensions/own/.git/config",
            "servers.a.env.A_TOKEN in ~/.mine/agents/one.toml",
            "~/.mine-extensions/far (a link to ",
            "~/.mine-extensions/keys (a link to ",
        ] {
            assert!(words.contains(place), "{place}: {words}");
        }
        assert!(!words.contains("gone (a link") && !words.contains(TOKEN), "{words}");
    }
}

/// Memory comes along with the texts that it names, and agents without what logs in before their texts.
#[test]
fn texts_come_along_with_what_they_name() {
    for who in Who::all() {
        let world = World::new(who);
        let home = world.home();
        let in_home = |name: &str, text: &str| write(&world, home.join(name).to_str().unwrap(), text);
        in_home(".config/agentkernel/agents/mine.toml", ADAPTER);
        in_home(".mine/NOTES.md", "See @rules.md, @~/far/style.md @~/.ssh/id_ed25519 @~/plans/notes.md and @none.md\n");
        in_home(".mine/rules.md", "rules @deep/more.md\n");
        in_home(".mine/deep/more.md", "more\n");
        // Who may have written that?
        in_home("far/style.md", "style @../secret.md\n");
        in_home("secret.md", "secret\n");
        // A link that a sandbox of another project has laid.
        in_home("plans/.git/config", "");
        let _ = stdout(world.command("sh").args([
            "-ec",
            "ln -s ../secret.md ~/plans/notes.md; mkdir ~/elsewhere ~/.mine-extensions; echo x > ~/elsewhere/SKILL.md
            ln -s ../elsewhere ~/plans/skill; ln -s ../plans/skill ~/.mine-extensions/skill",
        ]));
        in_home(".ssh/id_ed25519", TOKEN);
        let front = format!("---\nname: one\nmcpServers:\n  a:\n    env:\n      A_KEY: {TOKEN}\n---\nDo it.\n");
        in_home(".mine-extensions/one.md", &front);
        let task = "cd ~; cat .mine/NOTES.md .mine/rules.md .mine/deep/more.md far/style.md .mine-extensions/one.md
            ls secret.md .ssh plans .mine-extensions/skill/SKILL.md; ! echo x 2> /dev/null >> far/style.md";
        let output = world.agentkernel(["run", "--verbose", "mine", "-p", task]).output().unwrap();
        let (seen, words) = (String::from_utf8_lossy(&output.stdout), told(&output));
        let expected = "See @rules.md, @~/far/style.md @~/.ssh/id_ed25519 @~/plans/notes.md and @none.md\nrules @deep/more.md\nmore\nstyle @../secret.md\n\
            ---\nname: one\nmcpServers:\n  a:\n    env:\n\n---\nDo it.\n";
        assert_eq!(seen, expected, "{who:?}: {words}");
        for place in [
            "env.A_KEY in ~/.mine-extensions/one.md",
            "/.ssh/id_ed25519 (which ~/.mine/NOTES.md names)",
            "/secret.md (which ~/.mine/NOTES.md names)",
            "~/.mine-extensions/skill (a link to ",
        ] {
            assert!(words.contains(place), "{place}: {words}");
        }
        assert!(output.status.success() && !words.contains(TOKEN), "{words}");
    }
}

/// Whatever way a text comes along, nothing in its settings logs in.
#[test]
fn what_links_and_texts_lead_to_is_looked_at_too() {
    for who in Who::all() {
        let world = World::new(who);
        let home = world.home();
        let in_home = |name: &str, text: &str| write(&world, home.join(name).to_str().unwrap(), text);
        in_home(".config/agentkernel/agents/mine.toml", ADAPTER);
        let front = |name: &str| format!("---\nname: {name}\nA_KEY: {TOKEN}\n---\n");
        let toml = |name: &str| format!("name = \"{name}\"\n[a.env]\nA_KEY = \"{TOKEN}\"\n");
        in_home("dot/a.toml", &toml("a"));
        in_home("dot/broken.toml", &format!("a = \"{TOKEN}"));
        in_home("dot/set/SKILL.md", &front("set"));
        in_home("dot/set/b.toml", &toml("b"));
        in_home("dot/c.md", &front("c"));
        in_home("dot/as-toml.md", &toml("no"));
        in_home("team/d.md", &front("d"));
        in_home(".mine/NOTES.md", &format!("{}@~/team/d.md\n", front("notes")));
        let _ = stdout(world.command("sh").args([
            "-ec",
            "mkdir ~/.mine/agents ~/.mine-extensions; cd ~/.mine/agents
            for one in a.toml broken.toml set; do ln -s ../../dot/$one $one; done; ln -s ../../dot/as-toml.md e.toml
            ln -s ../dot/c.md ~/.mine-extensions/c.md",
        ]));
        let task = "cd ~; cat .mine/agents/a.toml .mine/agents/set/* .mine-extensions/c.md team/d.md .mine/NOTES.md
            test ! -s dot/broken.toml; test ! -e dot/as-toml.md; ! echo x 2> /dev/null >> .mine/NOTES.md; ! grep -rs ghp_ .";
        let output = world.agentkernel(["run", "--verbose", "mine", "-p", task]).output().unwrap();
        let (seen, words) = (String::from_utf8_lossy(&output.stdout), told(&output));
        let front = |name: &str| format!("---\nname: {name}\n\n---\n");
        let toml = |name: &str| format!("name = \"{name}\"\n[a.env]\n");
        let all = [toml("a"), front("set"), toml("b"), front("c"), front("d"), front("notes")].concat();
        assert_eq!(seen, format!("{all}@~/team/d.md\n"), "{who:?}: {words}");
        for place in [
            "a.env.A_KEY in ~/dot/a.toml",
            "~/dot/broken.toml (",
            "a.env.A_KEY in ~/dot/set/b.toml",
            "A_KEY in ~/dot/c.md",
            "~/.mine/agents/e.toml (a link to ",
            "A_KEY in ~/team/d.md",
            "A_KEY in ~/.mine/NOTES.md",
        ] {
            assert!(words.contains(place), "{place}: {words}");
        }
        assert!(output.status.success() && !words.contains(TOKEN), "{words}");
    }
}

/// An agent that does not start where a file is not that its settings name.
#[test]
fn texts_that_settings_refer_to_come_along_or_nothing_stands_there() {
    for who in Who::all() {
        let world = World::new(who);
        let home = world.home();
        let in_home = |name: &str, text: &str| write(&world, home.join(name).to_str().unwrap(), text);
        in_home(
            ".config/agentkernel/agents/mine.toml",
            &ADAPTER
                .replace("imports = true", "references = true\nfetched = \"plugin\"")
                .replace("[mcp]", "[[unset]]\nfile = '.mine/settings.json'\nkey = ['own', 'sandbox']\n\n[mcp]"),
        );
        let settings = "{ \"a\": \"{file:./prompts/a.txt}\", \"b\": \"{file:~/.mine/b.md} {file:keys/k.txt}\", // {file:x}\n \
            \"apiKey\": \"{file:~/.secrets/k}\", \"c\": [\"{file:/etc/hostname}\", \"{file:../over.md}\", \"{file:\"],\n \
            \"plugin\": [\"one@1.0\", \"./two\", [\"three\", {}]], \"own\": { \"sandbox\": true, \"other\": 1 } }\n";
        in_home(".mine/settings.json", settings);
        in_home(".mine.json", r#"{ "servers": { "far": { "command": "npx", "args": ["-y", "far"] } } }"#);
        in_home(".mine/prompts/a.txt", "Do it.\n");
        in_home(".mine/b.md", &format!("---\nA_KEY: {TOKEN}\n---\nDo that.\n"));
        for key in [".mine/keys/k.txt", ".secrets/k", "over.md"] {
            in_home(key, TOKEN);
        }
        // What cannot be settings is none.
        let _ = stdout(world.command("sh").args(["-c", "mkdir -p ~/.config/mine.jsonc"]));
        let task = "cd ~; cat .mine/settings.json .mine/prompts/a.txt .mine/b.md; ls -A .config .mine/keys .secrets over.md; ! grep -rs ghp_ .";
        let output = world.agentkernel(["run", "--verbose", "mine", "-p", task]).output().unwrap();
        let (seen, words) = (String::from_utf8_lossy(&output.stdout), told(&output));
        let expected = "{ \"a\": \"{file:./prompts/a.txt}\", \"b\": \"{file:~/.mine/b.md} \", // \n \
            \"apiKey\": \"\", \"c\": [\"\", \"\", \"{file:\"],\n \
            \"plugin\": [\"one@1.0\", \"./two\", [\"three\", {}]], \"own\": { \"other\": 1 } }\nDo it.\n---\n\n---\nDo that.\n";
        assert_eq!(seen, expected, "{who:?}: {words}");
        for place in [
            "/.secrets/k (which ~/.mine/settings.json names)",
            "/.mine/keys/k.txt (which",
            "A_KEY in ~/.mine/b.md",
            "~/.config/mine.jsonc (it is a directory)",
            "fetches what your settings name first: one@1.0, three, servers.far (npx)\n",
            "would not work here with settings of yours: own.sandbox in ~/.mine/settings.json\n",
        ] {
            assert!(words.contains(place), "{place}: {words}");
        }
        assert!(output.status.success() && !words.contains(TOKEN), "{words}");
    }
}

/// Variables of an agent's say where what is his is; a sandbox of the project would read it there.
#[test]
fn what_is_elsewhere_comes_from_there() {
    for who in Who::all() {
        let world = World::new(who);
        let home = world.home();
        let in_home = |name: &str, text: &str| write(&world, home.join(name).to_str().unwrap(), text);
        let elsewhere = "[[elsewhere]]\nvariable = 'MINE_HOME'\nbelow = '.mine'\n\n[[elsewhere]]\nvariable = 'MINE_HOME'\nbelow = '.mine.json'\nplace = '.mine.json'\n\n\
            [[credentials]]\nfile = '.mine/login.json'\nfield = ['key']\nhosts = ['api.example.org']\n\n[mcp]";
        in_home(".config/agentkernel/agents/mine.toml", &ADAPTER.replace("[mcp]", elsewhere));
        for (dir, name) in [(".mine", "home"), ("moved", "moved")] {
            in_home(&format!("{dir}/settings.json"), &format!("{{ \"theme\": \"{name}\" }}\n"));
            in_home(&format!("{dir}/NOTES.md"), &format!("{name} @beside.md\n"));
            in_home(&format!("{dir}/beside.md"), &format!("beside {name}\n"));
            in_home(&format!("{dir}/login.json"), &format!("{{ \"key\": \"{TOKEN}-{name}\" }}"));
        }
        in_home("moved/.mine.json", r#"{ "servers": { "one": { "command": "x" } } }"#);
        let task = "cat ~/.mine/settings.json ~/.mine/NOTES.md ~/.mine/beside.md; cat called; ! grep -rs ghp_ ~";
        let run = |dir: &std::path::Path| {
            world.agentkernel(["run", "mine", "-p", task]).env("MINE_HOME", dir).output().unwrap()
        };
        let output = run(&home.join("moved"));
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(
            seen.starts_with("{ \"theme\": \"moved\" }\nmoved @beside.md\nbeside moved\n"),
            "{who:?}: {}",
            told(&output)
        );
        assert!(
            seen.contains(r#"{"servers":{"one":{"command":"x"}}}"#) && output.status.success(),
            "{}",
            told(&output)
        );
        // What says nothing of use changes nothing.
        for dir in ["", "moved", "/nowhere/at-all"] {
            let output = run(dir.as_ref());
            let expected = if dir.starts_with('/') { "Nothing logs Mine in" } else { "{ \"theme\": \"home\" }\n" };
            assert!(told(&output).contains(expected), "{dir}: {}", told(&output));
        }
        write(&world, world.project().join("own/login.json").to_str().unwrap(), &format!("{{ \"key\": \"{TOKEN}\" }}"));
        let output = run(&world.project().join("own"));
        assert!(told(&output).contains("in the project, where a sandbox reads what logs in"), "{}", told(&output));
        assert_eq!(output.status.code(), Some(125));
    }
}

/// A hook that guards its user and has nothing to run says nothing itself.
#[test]
fn guards_that_are_off_are_told() {
    for who in Who::all() {
        let world = World::new(who);
        let home = world.home();
        let in_home = |name: &str, text: &str| write(&world, home.join(name).to_str().unwrap(), text);
        in_home(".config/agentkernel/agents/mine.toml", ADAPTER);
        for name in [".mine-extensions/in.sh", ".mine/scripts/out.sh", ".mine/scripts/later.sh"] {
            in_home(name, "exit 2\n");
        }
        let own = home.display();
        let hook = |command: &str| format!(r#"{{"hooks": [{{"type": "command", "command": "{command}"}}]}}"#);
        let guards = [
            "~/.mine-extensions/in.sh",
            "sh ~/.mine/scripts/out.sh -x",
            "~/none.sh",
            &format!("{own}/.mine-extensions/in.sh"),
        ];
        let guards: Vec<String> = guards.into_iter().map(hook).collect();
        let settings = format!(
            r#"{{"hooks": {{"PreToolUse": [{}], "Stop": [{}]}}}}"#,
            guards.join(", "),
            hook("~/.mine/scripts/later.sh")
        );
        in_home(".mine/settings.json", &settings);
        let run = || told(&world.agentkernel(["run", "mine", "-p", "true"]).output().unwrap());
        let line = format!(
            "agentkernel: Mine runs without hooks of yours that guard it: ~/.mine/scripts/out.sh (PreToolUse in ~/.mine/settings.json), \
             {own}/.mine-extensions/in.sh (PreToolUse in ~/.mine/settings.json)\n"
        );
        assert!(run().contains(&line), "{who:?}: {}", run());
        in_home(
            ".mine/settings.json",
            &format!(r#"{{"hooks": {{"PreToolUse": [{}]}}}}"#, hook(&format!("x --token {TOKEN}"))),
        );
        assert!(run().contains("guard it: PreToolUse in ~/.mine/settings.json\n"), "{who:?}: {}", run());
        in_home(".mine/settings.json", &format!(r#"{{"hooks": {{"PreToolUse": [{}]}}}}"#, guards[0]));
        assert!(!run().contains("guard it"), "{who:?}: {}", run());
        // By a name that is looked for, and by an address.
        in_home("bin/my-guard", "exit 2\n");
        let http = r#"{"hooks": [{"type": "http", "url": "http://localhost:9999/x"}]}"#;
        let named = hook("env A=b my-guard -x");
        in_home(".mine/settings.json", &format!(r#"{{"hooks": {{"PreToolUse": [{named}, {http}]}}}}"#));
        let path = format!("/usr/bin:/bin:{own}/bin");
        let words = told(&world.agentkernel(["run", "mine", "-p", "true"]).env("PATH", path).output().unwrap());
        let places = [
            format!("guard it: {own}/bin/my-guard (PreToolUse in ~/.mine/settings.json), "),
            "http://localhost:9999/x, unless it may be reached (PreToolUse in".to_owned(),
        ];
        assert!(places.iter().all(|place| words.contains(place)), "{who:?}: {words}");
    }
}

/// With a plugin, OpenCode waits for its registry in each sandbox; ours has nothing to do there.
#[test]
fn our_own_plugin_stays_outside() {
    let world = World::new(Who::Me);
    let in_home = |name: &str, text: &str| write(&world, world.home().join(name).to_str().unwrap(), text);
    in_home(".config/agentkernel/agents/mine.toml", ADAPTER);
    in_home(".mine-extensions/agentkernel.js", "ours");
    let run = |task: &str| stdout(&mut world.agentkernel(["run", "mine", "-p", task]));
    assert_eq!(run("ls ~/.mine-extensions 2> /dev/null; echo over"), "over\n");
    in_home(".mine-extensions/mine.js", "his own");
    assert_eq!(run("ls ~/.mine-extensions"), "agentkernel.js\nmine.js\n");
}

/// An agent that writes its settings has them again, above its user's.
#[test]
fn what_an_agent_has_written_down_is_kept_above_its_users_settings() {
    for who in Who::all() {
        let world = World::new(who);
        let in_home = |name: &str, text: &str| write(&world, world.home().join(name).to_str().unwrap(), text);
        let run = |task: &str| stdout(&mut world.agentkernel(["run", "mine", "-p", task]));
        in_home(".config/agentkernel/agents/mine.toml", ADAPTER);
        in_home(".mine/more.toml", "a = 1\n");
        assert_eq!(run("cat ~/.mine/more.toml"), "a = 1\n");
        let beneath = "[[beneath]]\nfile = '.mine/more.toml'\nplace = '/etc/mine/more.toml'\n";
        in_home(".config/agentkernel/agents/mine.toml", &format!("{ADAPTER}\n{beneath}"));
        let task = "cat /etc/mine/more.toml; test ! -e ~/.mine/more.toml; ! echo x 2> /dev/null >> /etc/mine/more.toml; echo b > ~/.mine/new; mv ~/.mine/new ~/.mine/more.toml";
        assert_eq!(run(task), "a = 1\n", "{who:?}");
        in_home(".mine/more.toml", "a = 2\n");
        assert_eq!(run("cat /etc/mine/more.toml ~/.mine/more.toml"), "a = 2\nb\n", "{who:?}");
        assert_eq!(fs::read_to_string(world.home().join(".mine/more.toml")).unwrap(), "a = 2\n");
    }
}

/// Answers as an MCP server without tools, and notes that it was started, and with what.
const SERVER: &str = r#"
import json, os, sys
with open(sys.argv[1], "a") as file: file.write(os.environ.get("FORGE_TOKEN", "") + "\n")
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    result = {"tools": []} if message["method"] == "tools/list" else {}
    if message["method"] == "initialize":
        version = message["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "forge", "version": "1"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;

/// The user's own MCP server is started in the sandbox, without the token that the user has given it.
pub fn servers_come_along(scene: &Scene<'_>) {
    let (server, note) = (scene.file("server.py"), scene.file("started"));
    scene.write("server.py", SERVER);
    let (server, note) = (server.display(), note.display());
    let stdio =
        format!(r#""command": "python3", "args": ["{server}", "{note}"], "env": {{ "FORGE_TOKEN": "{TOKEN}" }}"#);
    let (file, text) = match scene.agent.name {
        "claude" => (".claude.json", format!(r#"{{ "mcpServers": {{ "forge": {{ "type": "stdio", {stdio} }} }} }}"#)),
        "gemini" => (".gemini/settings.json", format!(r#"{{ "mcpServers": {{ "forge": {{ {stdio} }} }} }}"#)),
        "codex" => (
            ".codex/config.toml",
            format!(
                "[mcp_servers.forge]\ncommand = \"python3\"\nargs = [\"{server}\", \"{note}\"]\nenv = {{ FORGE_TOKEN = \"{TOKEN}\" }}\n"
            ),
        ),
        _ => (
            ".config/opencode/opencode.json",
            format!(
                r#"{{ "mcp": {{ "forge": {{ "type": "local", "command": ["python3", "{server}", "{note}"], "environment": {{ "FORGE_TOKEN": "{TOKEN}" }} }} }} }}"#
            ),
        ),
    };
    let file = scene.world.home().join(file);
    scene.write(file.to_str().unwrap(), &text);
    let _ = scene.task(&[], &["mock:run echo done > with-server"]);
    assert_eq!(scene.read("with-server"), "done\n");
    let started = scene.read("started");
    assert!(!started.is_empty() && !started.contains(TOKEN), "{started}");
    // A secret of that name is its token then.
    scene.write("token", "of-the-forge");
    let set = ["secret", "set", "FORGE_TOKEN", "--stdin", "--host", "forge.example.org"];
    let _ = stdout(scene.agentkernel(&set).stdin(fs::File::open(scene.file("token")).unwrap()));
    let _ = scene.task(&["--secret", "FORGE_TOKEN"], &["mock:run echo again > with-server"]);
    let started = scene.read("started");
    assert!(started.lines().any(|line| line.starts_with("agentkernel-FORGE_TOKEN-")), "{started}");
    let _ = stdout(&mut scene.agentkernel(&["secret", "rm", "FORGE_TOKEN"]));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    scene.sh(&format!("rm {}", file.display()));
}
