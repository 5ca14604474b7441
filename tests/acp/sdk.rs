//! An editor that others wrote: the official client for TypeScript.

use crate::scene::Scene;
use serde_json::{Value, json};
use std::fs;
use support::{acp_client, eventually, told};

/// Prompts an agent by it, and gives what it answered, and the lines that were run on the host.
fn prompts(scene: &Scene, pty: bool, prompts: &[&str]) -> Option<(Vec<Value>, Vec<String>)> {
    let folder = acp_client(env!("CARGO_TARGET_TMPDIR"))?;
    fs::write(folder.join("scripted.mjs"), include_str!("editor.mjs")).unwrap();
    let command = format!("exec {} acp mine", scene.world.binary().display());
    let mut node = scene.world.command("node");
    node.arg(folder.join("scripted.mjs"));
    let output =
        node.args([&command, &scene.path(""), &json!({"pty": pty, "prompts": prompts}).to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let told: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (lines, answers) = told.split_last().unwrap();
    Some((answers.to_vec(), serde_json::from_value(lines.clone()).unwrap()))
}

#[test]
fn an_editor_by_the_official_client_runs_what_its_agent_wants() {
    let Some(scene) = Scene::new() else { return };
    for pty in [false, true] {
        let mark = scene.world.home().join("hostile");
        let hostile = format!("'; touch {0}; $(touch {0})", mark.display());
        let first = format!(
            "meta = {{'result': [run('echo', {hostile:?}), run('sh', '-c', 'exit 7'), run('test -t 0 && test -t 1 && stty size | wc -l; echo done'), run('echo x', outputByteLimit=1)]}}"
        );
        let second = "it = terminal('sh', '-c', 'echo begun; sleep 12345')
waits = send('terminal/wait_for_exit', sessionId='s', terminalId=it)
until(lambda: 'begun' in of(it, 'output')['output'])
of(it, 'kill')
ended = answer(waits)['result']
until(lambda: not running('12345'))
meta = {'result': [ended['exitCode'] == 0, of(it, 'output')['output'].strip(), of(it, 'release'), of(it, 'output')]}";
        let Some((answers, lines)) = prompts(&scene, pty, &[&first, second]) else { return };
        let text = |value: &Value| value.as_str().unwrap().replace('\r', "");
        assert_eq!((text(&answers[0][0][0]), &answers[0][0][1]), (format!("{hostile}\n"), &json!(0)), "{answers:#?}");
        assert_eq!(answers[0][1][1], 7);
        assert_eq!(text(&answers[0][2][0]), if pty { "1\ndone\n" } else { "done\n" });
        assert_eq!(text(&answers[0][3][0]), "\n");
        assert_eq!((&answers[1][0], &answers[1][1]), (&json!(false), &json!("begun")), "{answers:#?}");
        assert!(text(&answers[1][3]).starts_with("error: This session has no such terminal"), "{answers:#?}");
        assert!(!mark.exists());
        assert_eq!(lines.len(), 5);
        for line in lines {
            assert!(line.starts_with(&format!("{} acp-terminal ", scene.world.binary().display())), "{line}");
            assert!(line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" /._-".contains(&byte)), "{line}");
        }
        eventually("nothing is left", || scene.world.leftovers().is_empty());
    }
}
