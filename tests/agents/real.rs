//! The four, from npm: each does a task, goes on with it, and talks to a person, for everybody and on every backend.

use super::{
    hostile::{Elsewhere, LEFT, is_held},
    scene::{Agent, KEY, Scene, install, install_for},
    settings::servers_come_along,
};
use serde_json::Value;
use std::{fs, process::Stdio};
use support::{Who, engine::Kind, internet::Internet, screen::Screen, stdout, told};

pub const CLAUDE: Agent = Agent {
    name: "claude",
    version: "2.1.330 (Claude Code)",
    variable: "ANTHROPIC_API_KEY",
    inside: "ANTHROPIC_API_KEY",
    host: "api.anthropic.com",
    arguments: &[],
    ready: "bypass permissions on",
    leave: &["/quit", "Enter"],
};
pub const CODEX: Agent = Agent {
    name: "codex",
    version: "codex-cli 0.169.0",
    variable: "OPENAI_API_KEY",
    inside: "CODEX_API_KEY",
    host: "api.openai.com",
    arguments: &[],
    ready: "for shortcuts",
    leave: &["/quit", "Enter"],
};
pub const GEMINI: Agent = Agent {
    name: "gemini",
    version: "0.61.0",
    variable: "GEMINI_API_KEY",
    inside: "GEMINI_API_KEY",
    host: "generativelanguage.googleapis.com",
    arguments: &[],
    ready: "Type your message",
    leave: &["/quit", "Enter"],
};
pub const OPENCODE: Agent = Agent {
    name: "opencode",
    version: "1.18.33",
    variable: "ANTHROPIC_API_KEY",
    inside: "ANTHROPIC_API_KEY",
    host: "api.anthropic.com",
    arguments: &["--model", "anthropic/claude-sonnet-4-5"],
    ready: "ctrl+p commands",
    leave: &["C-c"],
};

pub const QWEN: Agent = Agent {
    name: "qwen",
    version: "0.24.4",
    variable: "OPENAI_API_KEY",
    inside: "OPENAI_API_KEY",
    host: "api.openai.com",
    arguments: &["--model", "gpt-5"],
    ready: "Type your message",
    leave: &["/quit", "Enter"],
};

/// With a model of its user's, which is what it needs no GitHub for: its adapter knows neither the service nor the key.
pub const COPILOT: Agent = Agent {
    name: "copilot",
    version: "GitHub Copilot CLI 1.0.102.\nRun 'copilot update' to check for updates.",
    variable: "COPILOT_PROVIDER_API_KEY",
    inside: "COPILOT_PROVIDER_API_KEY",
    host: "api.openai.com",
    arguments: &[
        "--no-login",
        "--model",
        "gpt-5",
        "--secret",
        "COPILOT_PROVIDER_API_KEY",
        "--allow",
        "api.openai.com",
        "-e",
        "COPILOT_PROVIDER_BASE_URL=https://api.openai.com/v1",
        "-e",
        "COPILOT_PROVIDER_TYPE=openai",
        "-e",
        "COPILOT_OFFLINE=true",
    ],
    ready: "? for shortcuts",
    leave: &["/quit", "Enter"],
};

#[test]
fn qwen_code() {
    does_tasks(&QWEN);
}

#[test]
fn copilot_cli() {
    does_tasks(&COPILOT);
}

/// Of those that others are much like: that it does tasks.
fn does_tasks(agent: &Agent) {
    let Some(world) = install(&[agent]) else { return };
    let Some(internet) = Internet::new() else { return };
    if !internet.models(KEY) {
        return;
    }
    let scene = Scene::of(world, agent, &internet);
    answers(&scene);
    works_with_such_settings(&scene);
    does_a_task(&scene);
}

#[test]
fn claude_code() {
    works(&CLAUDE);
}

#[test]
fn codex() {
    works(&CODEX);
}

#[test]
fn gemini_cli() {
    works(&GEMINI);
}

#[test]
fn opencode() {
    works(&OPENCODE);
}

/// Over an image that has no glibc: agents that are made for musl, or linked to nothing.
#[test]
fn over_musl() {
    for agent in [&CLAUDE, &CODEX] {
        let Some(world) = install_for("musl", &[agent]) else { return };
        let Some(internet) = Internet::new() else { return };
        if !internet.models(KEY) {
            return;
        }
        let Some(scene) = Scene::of(world, agent, &internet).over_musl() else { return };
        answers(&scene);
        does_a_task(&scene);
    }
}

/// One project, four sandboxes: nobody is in another's way, and each has files of its own.
#[test]
fn four_at_once() {
    let agents = [&CLAUDE, &CODEX, &GEMINI, &OPENCODE];
    let Some(world) = install(&agents) else { return };
    let Some(internet) = Internet::new() else { return };
    if !internet.models(KEY) {
        return;
    }
    let started: Vec<_> = agents
        .into_iter()
        .map(|agent| {
            let name = agent.name;
            let task = [
                format!("mock:run echo {name} > /tmp/mine; echo {name} > by-{name}"),
                format!("mock:run cat /tmp/mine > seen-{name}"),
            ]
            .join("\n");
            let words = [&["run", name], agent.arguments, &["--no-checkpoint", "-p", &task]].concat();
            let mut command = internet.agentkernel(&world, &words);
            command.env(agent.variable, KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
            (name, command.spawn().unwrap())
        })
        .collect();
    for (name, child) in started {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", told(&output));
        for file in ["by", "seen"] {
            let seen = fs::read_to_string(world.project().join(format!("{file}-{name}"))).unwrap();
            assert_eq!(seen, format!("{name}\n"), "{file}");
        }
    }
}

fn works(agent: &Agent) {
    let Some(world) = install(&[agent]) else { return };
    let Some(internet) = Internet::new() else { return };
    if !internet.models(KEY) {
        return;
    }
    let mut scenes = vec![Scene::of(world, agent, &internet)];
    answers(&scenes[0]);
    servers_come_along(&scenes[0]);
    works_with_such_settings(&scenes[0]);
    if Who::all().contains(&Who::Nobody) {
        scenes.push(scenes[0].of_nobody());
    }
    let (docker, podman) = (Scene::engine(Kind::Docker), Scene::engine(Kind::Podman));
    let elsewhere = Elsewhere::new(&internet);
    let mut done = None;
    for scene in scenes {
        does_all(&scene, &elsewhere);
        let mut last = scene;
        if let Some(docker) = &docker {
            last = last.in_engine(docker);
            does_all(&last, &elsewhere);
        }
        // Of what Podman does otherwise, agents see little.
        if let (Some(podman), Who::Me) = (&podman, last.world.who()) {
            last = last.in_engine(podman);
            does_a_task(&last);
        }
        // A session that was broken off is complained of by some of them later.
        if last.world.who() == Who::Me {
            is_stopped(&last);
        }
        done = Some(last);
    }
    // What others ask of another service may be heard late.
    if let Some(last) = done.as_ref().filter(|_| agent.name == "opencode") {
        works_with_several_services(last);
    } else if let Some(last) = done.filter(|_| agent.name == "codex") {
        goes_to_a_gateway(&last);
    }
}

fn does_all(scene: &Scene<'_>, elsewhere: &Elsewhere) {
    does_a_task(scene);
    talks(scene);
    is_held(scene, elsewhere);
}

fn answers(scene: &Scene<'_>) {
    assert_eq!(scene.version(), format!("{}\n", scene.agent.version));
}

/// What its user, or the project, has set for the host would keep it from working here: its own sandbox, that it is to ask, and files
/// that are not here.
fn works_with_such_settings(scene: &Scene<'_>) {
    let (file, text, project) = match scene.agent.name {
        "claude" => (
            ".claude/settings.json",
            r#"{ "sandbox": { "enabled": true, "failIfUnavailable": true }, "permissions": { "disableBypassPermissionsMode": "disable" } }"#,
            r#"{ "sandbox": { "enabled": true, "failIfUnavailable": true } }"#,
        ),
        "codex" => {
            (".codex/config.toml", "sandbox_mode = \"read-only\"\nmodel_instructions_file = \"/nowhere.md\"\n", "")
        }
        "gemini" => {
            (".gemini/settings.json", r#"{ "tools": { "sandbox": true } }"#, r#"{ "tools": { "sandbox": true } }"#)
        }
        "opencode" => (
            ".config/opencode/opencode.json",
            r#"{ "username": "{file:~/nowhere}", "agent": { "build": { "prompt": "{file:./none.md}" } } }"#,
            "",
        ),
        "qwen" => (
            ".qwen/settings.json",
            r#"{ "tools": { "sandbox": true, "executionSandbox": { "filesystem": "read-only", "network": "closed" } } }"#,
            r#"{ "tools": { "sandbox": true } }"#,
        ),
        _ => return,
    };
    let own = scene.world.home().join(file);
    scene.write(own.to_str().unwrap(), text);
    if !project.is_empty() {
        scene.write(file, project);
    }
    let _ = scene.task(&[], &["mock:run echo done > with-such"]);
    assert_eq!(scene.read("with-such"), "done\n");
    scene.sh(&format!("rm -f {} {file}", own.display()));
}

/// Each model's own service gets its own key.
fn works_with_several_services(scene: &Scene<'_>) {
    for (model, host) in [("anthropic/claude-sonnet-4-5", "api.anthropic.com"), ("openai/gpt-5", "api.openai.com")] {
        let before = scene.internet.asked().len();
        let words = ["run", scene.agent.name, "--no-checkpoint", "--model", model, "-p", "mock:say all is done"];
        let mut command = scene.agentkernel(&words);
        let output = command.env("OPENAI_API_KEY", KEY).output().unwrap();
        assert!(output.status.success() && told(&output).contains("all is done"), "{model}: {}", told(&output));
        let asked = &scene.internet.asked()[before..];
        let is_right = |entry: &&Value| entry["api"].is_string() && entry["host"] == host && entry["auth_value"] == KEY;
        assert!(asked.iter().any(|entry| is_right(&entry)), "{model}: {asked:#?}");
    }
}

/// What is said of a gateway is what leads there: another's service, in the place of one.
fn goes_to_a_gateway(scene: &Scene<'_>) {
    let gateway = "api.anthropic.com";
    let base = format!("https://{gateway}/v1");
    let task = ["run", scene.agent.name, "--no-checkpoint", "-p", "mock:say all is done"];
    let output = scene.agentkernel(&task).env("OPENAI_BASE_URL", &base).output().unwrap();
    let words = told(&output);
    let (_, line) = words.split_once("then `run codex ").unwrap_or_else(|| panic!("{words}"));
    let given: Vec<&str> = line.split('`').next().unwrap().split(' ').collect();
    assert!(words.contains("'agentkernel secret set CODEX_API_KEY --host api.anthropic.com'"), "{words}");
    let set = ["secret", "set", "CODEX_API_KEY", "--from-env", "OPENAI_API_KEY", "--host", gateway];
    let _ = stdout(&mut scene.agentkernel(&set));
    // Each service has a list of its own.
    let asked = || {
        let (there, elsewhere): (Vec<_>, Vec<_>) =
            scene.internet.asked().into_iter().partition(|entry| entry["host"] == gateway);
        (there, elsewhere.len())
    };
    let (before, elsewhere_before) = asked();
    let output = scene.agentkernel(&[&task[..], &given].concat()).env("OPENAI_BASE_URL", &base).output().unwrap();
    assert!(output.status.success() && told(&output).contains("all is done"), "{}", told(&output));
    let (there, elsewhere) = asked();
    assert!(there[before.len()..].iter().any(|entry| entry["auth_value"] == KEY), "{there:#?}");
    assert_eq!(elsewhere, elsewhere_before);
    let _ = stdout(&mut scene.agentkernel(&["secret", "rm", "CODEX_API_KEY"]));
}

/// What runs away is stopped, and the last line says by what.
fn is_stopped(scene: &Scene<'_>) {
    let task = "mock:run echo x > first.txt\nmock:run tail -f /dev/null; echo x > last.txt";
    for (limit, status, words) in [
        // The first answer uses fifteen.
        (["--max-tokens", "10"], None, "the sandbox has used up its tokens ("),
        (["--timeout", "20s"], Some(124), "Killed: the time limit was reached"),
    ] {
        let output = scene.run(&[&limit[..], &["-p", task]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let own: Vec<&str> = said.lines().filter(|line| line.starts_with("agentkernel: ")).collect();
        assert!(own.last().is_some_and(|line| line.contains(words)), "{}: {}", scene.maker(), told(&output));
        assert!(status.is_none() || output.status.code() == status, "{}: {}", scene.maker(), told(&output));
        assert!(scene.read_if_there("last.txt").is_none(), "{}", scene.maker());
    }
}

/// It reads the project, edits a file, runs a command, ends, and goes on with that later.
fn does_a_task(scene: &Scene<'_>) {
    let maker = scene.maker();
    scene.write("notes.txt", "an old word\n");
    let before = scene.internet.asked().len();
    let written = scene.file("written.txt");
    let output = scene.task(
        &[],
        &[
            "mock:run cat notes.txt",
            // Qwen Code edits the file itself where it reads `sed -i`, and wants to have read it so.
            "mock:run sed s/old/new/ notes.txt > new.txt && mv new.txt notes.txt",
            "mock:run env > environment.txt; id -u > id.txt; pwd > place.txt",
            &format!("mock:write {} written by it", written.display()),
            "mock:say all is done",
        ],
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("all is done"), "{maker}: {}", told(&output));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(quiet(&words), "{maker}: {words}");
    assert_eq!(scene.read("notes.txt"), "an new word\n", "{maker}");
    assert_eq!(scene.read("written.txt").trim(), "written by it", "{maker}");
    assert_eq!(scene.read("place.txt").trim(), scene.world.project().to_str().unwrap(), "{maker}");
    // Where an engine of root's maps no owners, only root can write to what is root's.
    if !maker.contains("docker") {
        assert_ne!(scene.read("id.txt").trim(), "0", "{maker}");
    }
    let environment = scene.read("environment.txt");
    let inside = format!("{}=agentkernel-{}-", scene.agent.inside, scene.agent.variable);
    // Copilot CLI keeps the key of a model of its user's from commands.
    let has_it = environment.contains(&inside) || scene.agent.name == "copilot";
    assert!(has_it && !environment.contains(KEY), "{maker}: {environment}");

    let asked = scene.internet.asked();
    let asked = &asked[before..];
    let turns: Vec<_> = asked.iter().filter(|entry| entry["api"].is_string()).collect();
    assert!(
        turns.iter().all(|entry| entry["auth_value"] == KEY && entry["host"] == scene.agent.host),
        "{maker}: {asked:#?}"
    );
    let told_of = |text: &str| turns.iter().any(|entry| entry["result"].as_str().is_some_and(|it| it.contains(text)));
    assert!(told_of("an old word"), "{maker}: {turns:#?}");

    let last = |from: usize| scene.internet.asked()[from..].iter().filter_map(|entry| entry["turn"].as_u64()).max();
    let (turn, before) = (last(before).unwrap(), before + asked.len());
    let output = scene.task(&["--continue", "--verbose"], &["mock:run echo resumed > resumed.txt"]);
    // Qwen Code writes a version into its settings, and a file beside its extensions: what they say is looked at by nobody.
    let tells = scene.agent.name == "qwen";
    assert!(tells || !String::from_utf8_lossy(&output.stderr).contains(LEFT), "{maker}: {}", told(&output));
    assert_eq!(scene.read("resumed.txt"), "resumed\n", "{maker}: {}", told(&output));
    assert!(last(before).unwrap() > turn, "{maker}: {:#?}", &scene.internet.asked()[before..]);
}

/// A person talks to it, leaves, and comes back.
fn talks(scene: &Scene<'_>) {
    let screen = scene.screen();
    for (arguments, word) in [("", "typed"), (" --continue", "typed again")] {
        screen.line(&format!("{}{arguments}", scene.typed()));
        screen.shows(scene.agent.ready);
        let before = scene.internet.asked().len();
        let done = || scene.read_if_there("typed.txt") == Some(format!("{word}\n"));
        screen.say(&format!("mock:run echo {word} > typed.txt"), done);
        let is_told = |entry: &Value| entry["result"].is_string();
        screen.until("it has told what came of that", || scene.internet.asked()[before..].iter().any(is_told));
        screen.leave(scene.agent.leave);
        screen.line("clear");
    }
    // Codex asks where its model wants to, or its own sandbox refuses, which it has not in ours.
    if scene.engine.is_none() && scene.agent.name != "codex" {
        asks(scene, &screen);
    }
}

/// With `--ask` it asks before it acts.
fn asks(scene: &Scene<'_>, screen: &Screen<'_>) {
    const QUESTIONS: [&str; 4] =
        ["Do you want to proceed?", "Would you like to run", "Allow execution", "Permission required"];
    screen.line(&format!("{} --ask", scene.typed()));
    // That it says of itself that it asks nobody is what it shows otherwise.
    screen.shows(if scene.agent.name == "claude" { "manual mode on" } else { scene.agent.ready });
    let asked = || QUESTIONS.iter().any(|question| screen.shown().contains(question));
    screen.say("mock:run rm typed.txt", asked);
    assert!(scene.read_if_there("typed.txt").is_some(), "{}: {}", scene.maker(), screen.shown());
    screen.keys(&["Escape"]);
    screen.leave(scene.agent.leave);
    assert!(scene.read_if_there("typed.txt").is_some(), "{}", scene.maker());
    screen.line("clear");
}

/// Whether an agent has nothing to complain of, but what it would complain of anywhere.
fn quiet(words: &str) -> bool {
    // There is no terminal, the services of models speak no WebSocket, and the home directory is a temporary one.
    const ANYWHERE: [&str; 3] = ["256-color support", "responses_websocket", "helper binaries under temporary dir"];
    const COMPLAINTS: [&str; 7] = ["warn", "error", "enotdir", "enxio", "erofs", "could not", "did not"];
    words.lines().all(|line| {
        let lower = line.to_lowercase();
        ANYWHERE.iter().any(|text| line.contains(text)) || !COMPLAINTS.iter().any(|text| lower.contains(text))
    })
}
