//! Files that an agent asks its editor for.

use crate::scene::{Scene, does, prompt};
use serde_json::{Value, json};
use std::{fs, io, os::unix::fs::symlink, path::PathBuf};
use support::rpc;

/// Has an editor read what is at the path, as editors do, and say that it was it.
fn reads(editor: &rpc::Client) {
    editor.does("fs/read_text_file", |request| {
        let path = request["params"]["path"].as_str().unwrap();
        Some(match fs::read_to_string(path) {
            Ok(text) => json!({"content": format!("editor: {text}")}),
            Err(error) => json!({"error": {"code": -32603, "message": error.to_string()}}),
        })
    });
}

fn read(editor: &rpc::Client, path: &str) -> String {
    does(editor, &format!("result = read({path:?})")).as_str().unwrap().to_owned()
}

#[test]
fn the_editor_reads_what_is_plainly_in_the_project_and_nothing_else() {
    for scene in Scene::all() {
        scene.write("dir/plain", "one\ntwo\nthree\nfour\n");
        scene.write("../home/secret", "secret");
        scene.sh("ln -s ../../home/secret dir/link; ln -s . dir/itself; ln -s /etc/hostname name; mkdir empty; echo secret > empty/file; mkfifo fifo", &[]);
        let editor = scene.editor(&["--tmpfs", &scene.path("empty")]);
        reads(&editor);
        let (plain, through) = (scene.path("dir/plain"), scene.path("dir/itself/plain"));
        assert_eq!(read(&editor, &plain), "editor: one\ntwo\nthree\nfour\n");
        assert_eq!(editor.asked().len(), 1);
        assert_eq!(editor.asked()[0]["params"]["sessionId"], "s");
        // By links too, but then as the sandbox sees it.
        assert_eq!(read(&editor, &through), "one\ntwo\nthree\nfour\n");
        assert_eq!(read(&editor, &scene.path("dir/../dir/plain")), "one\ntwo\nthree\nfour\n");
        let lines = format!(
            "result = [read({through:?}, line=2, limit=2), read({through:?}, line=4), read({through:?}, limit=1), read({through:?}, line=9)]"
        );
        assert_eq!(does(&editor, &lines), json!(["two\nthree\n", "four\n", "one\n", ""]));
        assert_eq!(does(&editor, "open('/tmp/own', 'w').write('own'); result = read('/tmp/own')"), "own");
        // Of what is not there for the sandbox there is nothing.
        for name in ["dir/link", "../home/secret", "none", "none/none", "empty/file"] {
            assert_eq!(read(&editor, &scene.path(name)), "", "{name}");
        }
        for (path, words) in [
            (scene.path("dir"), "is a directory"),
            (scene.path("fifo"), "is no file"),
            ("relative".to_owned(), "absolute"),
        ] {
            let text = read(&editor, &path);
            assert!(text.starts_with("error: ") && text.contains(words), "{path}: {text}");
        }
        assert_eq!(editor.asked().len(), 1, "{:?}", editor.asked());
        // Nor are files the editor's that it may read and the agent may not.
        let binary =
            "open('binary', 'wb').write(b'\\xff'); os.symlink('binary', 'to'); result = read(os.getcwd() + '/to')";
        assert!(does(&editor, binary).as_str().unwrap().contains("is no text"));
        editor.leave();
        // An editor that can't is not asked; in a copy of the project there is nothing that it could know.
        for (arguments, capability) in [(&[][..], false), (&["--workspace", "overlay"], true)] {
            let editor = rpc::Client::new(&mut scene.command(arguments));
            let capabilities = json!({"fs": {"readTextFile": capability}});
            let _ = editor.request("initialize", json!({"protocolVersion": 1, "clientCapabilities": capabilities}));
            assert_eq!(read(&editor, &plain), "one\ntwo\nthree\nfour\n");
            assert!(editor.asked().is_empty());
        }
    }
}

#[test]
fn writes_are_the_sandboxs() {
    for scene in Scene::all() {
        scene.write("agentkernel.toml", "");
        scene.sh("ln -s ../outside link; mkdir .git; echo x > .git/config", &[]);
        let editor = scene.editor(&[]);
        let write = |path: String, text: &str| does(&editor, &format!("result = write({path:?}, {text:?})"));
        assert_eq!(write(scene.path("new/dir/file"), "ä\n\"x\""), "written");
        assert_eq!(scene.read("new/dir/file"), "ä\n\"x\"");
        assert_eq!(write(scene.path("new/dir/file"), ""), "written");
        assert_eq!(scene.read("new/dir/file"), "");
        for name in ["agentkernel.toml", ".git/config", ".git/hooks/pre-commit", "../outside", "link"] {
            let told = write(scene.path(name), "x");
            let there = fs::read_to_string(scene.at(name)).unwrap_or_default();
            // Where it would be outside, it is so in the sandbox alone.
            assert!(there.trim().is_empty() || there == "x\n", "{name}: {there} {told}");
        }
        let long = does(&editor, &format!("result = write({:?}, 'x' * (5 << 20))", scene.path("long")));
        assert_eq!((long, scene.read("long").len()), (json!("written"), 5 << 20));
        // Many at once are done one after the other.
        let many = format!(
            "ids = [send('fs/write_text_file', sessionId='s', path={:?} + str(at % 3), content=str(at)) for at in range(30)]
ids += [send('fs/read_text_file', sessionId='s', path='/etc/hostname') for _ in range(3)]
result = ['result' in answer(id) for id in ids]",
            scene.path("many")
        );
        assert_eq!(does(&editor, &many), json!(vec![true; 33]));
        assert_eq!([scene.read("many0"), scene.read("many1"), scene.read("many2")], ["27", "28", "29"]);
        assert!(editor.asked().is_empty(), "{:?}", editor.asked());
        assert!(!scene.at("../outside").exists());
        editor.leave();
    }
}

/// Whatever an editor says while a file is written leaves that alone.
#[test]
fn a_file_is_written_while_the_editor_says_something_else() {
    for scene in Scene::all() {
        scene.sh("mkfifo slow", &[]);
        let editor = scene.editor(&[]);
        let task = format!("result = write({:?}, 'x' * (5 << 20))", scene.path("slow"));
        let asked = editor.ask("session/prompt", prompt(&task));
        // There is who writes, and nobody who reads on.
        let mut slow = fs::File::open(scene.at("slow")).unwrap();
        let refused = editor.request("session/new", json!({"cwd": "/nowhere", "mcpServers": []}));
        assert!(refused["error"]["message"].as_str().unwrap().contains("not in the sandbox"), "{refused}");
        assert_eq!(io::copy(&mut slow, &mut io::sink()).unwrap(), 5 << 20);
        assert_eq!(editor.answer(asked)["result"]["result"], "written");
        editor.leave();
    }
}

/// The agent puts a link in the place of a file, or of a directory, while the editor reads.
#[test]
fn what_is_swapped_while_it_is_read_is_not_told() {
    let Some(scene) = Scene::new() else { return };
    scene.write("dir/file", "open");
    scene.write("../secret/file", "secret");
    let (file, secret) = (scene.at("dir/file"), fs::canonicalize(scene.world.home().join("../secret")).unwrap());
    let swap = |what: PathBuf, target: PathBuf, times: usize| {
        let mut left = times;
        move |request: &Value| {
            let kept = what.with_extension("kept");
            let swaps = left > 0;
            left = left.saturating_sub(1);
            if swaps {
                fs::rename(&what, &kept).unwrap();
                symlink(&target, &what).unwrap();
            }
            let text = fs::read_to_string(request["params"]["path"].as_str().unwrap()).unwrap();
            if swaps {
                fs::remove_file(&what).unwrap();
                fs::rename(&kept, &what).unwrap();
            }
            Some(json!({"content": text}))
        }
    };
    let editor = scene.editor(&[]);
    for (what, target) in [(file.clone(), secret.join("file")), (scene.at("dir"), secret)] {
        editor.does("fs/read_text_file", swap(what.clone(), target.clone(), 0));
        assert_eq!(read(&editor, file.to_str().unwrap()), "open");
        let before = editor.asked().len();
        editor.does("fs/read_text_file", swap(what.clone(), target.clone(), 2));
        assert_eq!(read(&editor, file.to_str().unwrap()), "open");
        assert_eq!(editor.asked().len() - before, 3);
        editor.does("fs/read_text_file", swap(what, target, 9));
        let told = read(&editor, file.to_str().unwrap());
        assert!(told.ends_with("was changed while it was read"), "{told}");
        assert_eq!(editor.asked().len() - before, 6);
    }
    // As fast as it can, and as often.
    reads(&editor);
    let race = r#"
import subprocess
script = "cd dir; while :; do mv -T file kept; ln -s ../../secret/file file; mv -T kept file; done"
racer = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
result = sorted({read(os.getcwd() + "/dir/file").split("/")[-1] for _ in range(200)})
racer.kill()
"#;
    let told = does(&editor, race);
    assert!(!told.to_string().contains("secret"), "{told}");
}
