//! Aider, from the index of Python's packages, over the Python of an image. It changes files by what the model says, without
//! tools, and runs commands that its user types.

use super::scene::{Agent, KEY, Scene, install};
use support::{Who, internet::Internet, told};

const AIDER: Agent = Agent {
    name: "aider",
    version: "aider 0.86.2",
    variable: "OPENAI_API_KEY",
    inside: "OPENAI_API_KEY",
    host: "api.openai.com",
    arguments: &[],
    ready: "Aider v0.86.2",
    leave: &["/exit", "Enter"],
};

/// What the model says to have a file changed. What it says is one line to whoever plays it, and several to Python.
fn changed(file: &str, text: &str) -> String {
    format!("mock:say {file}\u{2028}```\u{2028}{text}\u{2028}```")
}

#[test]
fn aider() {
    let Some(world) = install(&[&AIDER]) else { return };
    let Some(internet) = Internet::new() else { return };
    if !internet.models(KEY) {
        return;
    }
    let first = Scene::of(world, &AIDER, &internet);
    assert_eq!(first.version(), format!("{}\n", AIDER.version));
    let nobody = Who::all().contains(&Who::Nobody).then(|| first.of_nobody());
    for scene in std::iter::once(first).chain(nobody) {
        does_a_task(&scene);
        talks(&scene);
    }
}

fn does_a_task(scene: &Scene<'_>) {
    let maker = scene.maker();
    scene.write("notes.txt", "an old word\n");
    let before = scene.internet.asked().len();
    let whole = ["-p", &changed("notes.txt", "a new word"), "--", "--edit-format", "whole", "notes.txt"];
    let output = scene.run(&whole).output().unwrap();
    assert!(output.status.success(), "{maker}: {}", told(&output));
    assert_eq!(scene.read("notes.txt").trim(), "a new word", "{maker}: {}", told(&output));
    assert!(!told(&output).contains("raw.githubusercontent.com"), "{maker}: {}", told(&output));
    // Nor has it made a repository, or left its history there.
    for name in [".git", ".gitignore", ".aider.chat.history.md"] {
        assert!(!scene.file(name).exists(), "{maker}: {name}");
    }
    let asked = scene.internet.asked();
    let turns: Vec<_> = asked[before..].iter().filter(|entry| entry["api"].is_string()).collect();
    let good = |entry: &&serde_json::Value| entry["auth_value"] == KEY && entry["host"] == AIDER.host;
    assert!(!turns.is_empty() && turns.iter().all(good), "{maker}: {turns:#?}");
    assert!(asked[before..].iter().all(|entry| entry["turn"] == 1), "{maker}: {turns:#?}");

    // In a repository whose configuration says nothing of who commits, and which it may not change.
    scene.sh("git init -q . && git add notes.txt && git -c user.name=x -c user.email=x@example.org commit -qm first");
    let before_repository = scene.read(".git/config");
    let output = scene.run(&["-p", "mock:say in a repository"]).output().unwrap();
    assert!(output.status.success() && told(&output).contains("in a repository"), "{maker}: {}", told(&output));
    assert_eq!(scene.read(".git/config"), before_repository, "{maker}");
    scene.sh("rm -rf .git");
    let asked = scene.internet.asked();

    // It goes on with what was said, and a command that it runs has neither the key nor its modules.
    let before = asked.len();
    let output = scene.run(&["--continue", "-p", "mock:say all is done"]).output().unwrap();
    assert!(output.status.success() && told(&output).contains("all is done"), "{maker}: {}", told(&output));
    let turn = scene.internet.asked()[before..].iter().filter_map(|entry| entry["turn"].as_u64()).max();
    assert!(turn > Some(1), "{maker}: {:#?}", &scene.internet.asked()[before..]);
    let output = scene.run(&["-p", "/run env > environment.txt"]).output().unwrap();
    assert!(output.status.success(), "{maker}: {}", told(&output));
    let environment = scene.read("environment.txt");
    assert!(environment.contains("OPENAI_API_KEY=agentkernel-OPENAI_API_KEY-"), "{maker}: {environment}");
    assert!(!environment.contains(KEY) && !environment.contains("PYTHONPATH"), "{maker}: {environment}");
}

fn talks(scene: &Scene<'_>) {
    let screen = scene.screen();
    screen.line(&scene.typed());
    screen.shows(AIDER.ready);
    let before = scene.internet.asked().len();
    screen.say("mock:say it was typed", || scene.internet.asked().len() > before);
    screen.leave(AIDER.leave);
}
