//! Terminals of the editor's, whose commands run in the sandbox.

use crate::scene::{Scene, does, prompt};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::{Arc, Mutex},
    thread,
};
use support::{eventually, rpc, told};

/// What an editor runs.
struct Terminal {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// An editor's terminals, by what it calls them.
type Terminals = Rc<RefCell<BTreeMap<String, Terminal>>>;

impl Terminal {
    /// As editors do at their worst: a shell of the host gets the words with blanks between them. The variables are those of
    /// whoever started the editor, not of what it has started.
    fn new(scene: &Scene, shell: &str, params: &Value) -> Self {
        let words = [params["command"].as_str().unwrap()].into_iter();
        let line: Vec<&str> =
            words.chain(params["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap())).collect();
        let mut command = scene.world.command(shell);
        command.args(["-c", &line.join(" ")]).current_dir(params["cwd"].as_str().unwrap());
        command.env_remove("AGENTKERNEL_STATE_DIR");
        for variable in params["env"].as_array().unwrap() {
            command.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sources: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let readers = sources.into_iter().map(|mut source| {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = source.read(&mut buffer) {
                    output.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
            })
        });
        Self { readers: readers.collect(), child, output }
    }

    fn end(&mut self) -> Value {
        let status = self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        json!({"exitCode": status.code(), "signal": status.signal()})
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }
}

/// Has an editor run what it is asked to.
fn runs(editor: &rpc::Client, scene: &Rc<Scene>) -> Terminals {
    runs_by(editor, scene, "sh")
}

/// The same, by this shell.
fn runs_by(editor: &rpc::Client, scene: &Rc<Scene>, shell: &'static str) -> Terminals {
    let terminals = Terminals::default();
    let does = |method: &str, act: fn(&mut Terminal) -> Value| {
        let terminals = Rc::clone(&terminals);
        editor.does(method, move |request| {
            Some(act(terminals.borrow_mut().get_mut(request["params"]["terminalId"].as_str().unwrap()).unwrap()))
        });
    };
    does("terminal/wait_for_exit", Terminal::end);
    does("terminal/output", |terminal| json!({"output": terminal.text(), "truncated": false}));
    does("terminal/kill", |terminal| {
        terminal.child.kill().unwrap();
        json!({})
    });
    does("terminal/release", |terminal| {
        let _ = terminal.child.kill();
        json!({})
    });
    let (scene, own) = (Rc::clone(scene), Rc::clone(&terminals));
    editor.does("terminal/create", move |request| {
        let mut own = own.borrow_mut();
        let name = format!("terminal-{}", own.len());
        own.insert(name.clone(), Terminal::new(&scene, shell, &request["params"]));
        Some(json!({"terminalId": name}))
    });
    terminals
}

/// What the editor was asked for terminals.
fn asked(editor: &rpc::Client) -> Vec<Value> {
    let asked = editor.asked().into_iter().filter(|asked| asked["method"] == "terminal/create");
    asked.map(|asked| asked["params"].clone()).collect()
}

/// The orders that wait.
fn orders(scene: &Scene) -> Vec<PathBuf> {
    let files = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = files(scene.world.state().join("sandboxes")).flat_map(files);
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("order-")).collect()
}

fn nothing_is_left(scene: &Scene) {
    eventually("nothing is left", || scene.world.leftovers().is_empty());
}

#[test]
fn what_runs_in_a_terminal_runs_in_the_sandbox() {
    for scene in Scene::all().into_iter().map(Rc::new) {
        scene.sh("mkdir sub 'a $b'", &[]);
        let editor = scene.editor(&[]);
        let _ = runs(&editor, &scene);
        // Its home is not in the sandbox: what is written there was written on the host.
        let mark = scene.world.home().join("hostile");
        let hostile = format!(
            "x'\"; touch {mark} $(touch {mark}) `touch {mark}` | touch {mark} & \n touch {mark} #",
            mark = mark.display()
        );
        let shows = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('A'), os.getcwd()]))";
        let task = format!(
            "hostile, shows = {hostile:?}, {shows:?}
result = [run('/usr/bin/python3', '-c', shows, hostile, '', '$HOME', env=[{{'name': 'A', 'value': hostile}}], cwd=os.getcwd() + '/a $b'),
    run(hostile), run(hostile, hostile), run('true', cwd='/' + hostile), run('true', env=[{{'name': hostile.replace('=', ''), 'value': hostile}}])]"
        );
        let result = does(&editor, &task);
        let seen: Value = serde_json::from_str(result[0][0].as_str().unwrap()).unwrap();
        assert_eq!(seen, json!([[hostile, "", "$HOME"], hostile, scene.path("a $b")]));
        assert_ne!((&result[2][1], &result[3][1]), (&json!(0), &json!(0)), "{result:#}");
        assert!(!mark.exists(), "{result:#}");
        // The editor was asked for our words, in the project.
        let asked = asked(&editor);
        assert_eq!(asked.len(), 5);
        for params in &asked {
            let args: Vec<&str> = params["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
            let [command, state, id, token] = args[..] else { panic!("{params}") };
            assert_eq!((command, state), ("acp-terminal", scene.world.state().to_str().unwrap()));
            let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!((id.len(), token.len()) == (12, 32) && is_hex(id) && is_hex(token), "{params}");
            let rest = json!({"sessionId": "s", "command": scene.world.binary(), "args": args, "env": [], "cwd": scene.path("").trim_end_matches('/')});
            assert_eq!(*params, rest);
        }
        // What else a command is: where its session is, what it writes and how it ends, and a line for the sandbox's shell.
        let task = r#"
result = [run("pwd"), run("sh", "-c", "echo out; sleep 0.2; echo err >&2; exit 7"), run("sh", "-c", "kill -9 $$"), run("no-such-command"),
    run("echo a b | tr a-z A-Z && echo $HOME"), run("id", "-u"), run("touch", "by-it"), run("cat", "/proc/1/root/etc/shadow")[1], os.environ["HOME"], os.getuid()]"#;
        let result = does(&editor, task);
        let project = scene.path("").trim_end_matches('/').to_owned();
        assert_eq!(result[0], json!([format!("{project}\n"), 0]));
        assert_eq!(result[1], json!(["out\nerr\n", 7]));
        assert_eq!((&result[2][1], &result[3][1]), (&json!(137), &json!(127)), "{result:#}");
        assert_eq!(result[4], json!([format!("A B\n{}\n", result[8].as_str().unwrap()), 0]));
        assert_eq!(result[5], json!([format!("{}\n", result[9]), 0]));
        assert!(scene.read("by-it").is_empty());
        assert_ne!(result[7], 0);
        assert_eq!(orders(&scene).len(), 0);
        // Where another session is.
        // This agent says nothing of that.
        let _ = editor.ask("session/load", json!({"sessionId": "sub", "cwd": scene.path("sub"), "mcpServers": []}));
        let task = "got = ask('terminal/create', sessionId='sub', command='pwd')['result']['terminalId']
ask('terminal/wait_for_exit', sessionId='sub', terminalId=got)
result = [ask('terminal/output', sessionId='sub', terminalId=got)['result']['output'], of(got, 'output')]";
        let result = does(&editor, task);
        assert_eq!(result[0], format!("{project}/sub\n"));
        assert!(result[1].as_str().unwrap().starts_with("error: This session has no such terminal"), "{result}");
        editor.leave();
        nothing_is_left(&scene);
    }
}

#[test]
fn an_order_is_there_once_and_for_its_user() {
    for scene in Scene::all() {
        let editor = scene.editor(&[]);
        // It runs nothing by itself.
        editor.does("terminal/create", |request| Some(json!({"terminalId": request["id"]})));
        editor.say("terminal/create", json!({"error": {"code": -32000, "message": "no more"}}));
        let task = "result = [terminal('echo', 'one'), terminal('echo', 'one'), terminal('echo', 'two')]";
        let result = does(&editor, task);
        assert_eq!(result[0], "error: no more");
        // What the editor refuses is taken back.
        let waiting = orders(&scene);
        assert_eq!(waiting.len(), 2);
        for order in &waiting {
            assert_eq!(order.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
            assert_eq!(order.parent().unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        }
        let words: Vec<Vec<String>> =
            asked(&editor).iter().map(|asked| serde_json::from_value(asked["args"].clone()).unwrap()).collect();
        let take = |words: &[String]| scene.world.agentkernel(words).output().unwrap();
        let output = take(&words[1]);
        assert_eq!(
            (String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()),
            ("one\n", Some(0)),
            "{}",
            told(&output)
        );
        let mut wrong = words[2].clone();
        wrong[3] = "0".repeat(32);
        let mut traversal = words[2].clone();
        traversal[3] = "../spec.json".into();
        let mut elsewhere = words[2].clone();
        elsewhere[1] = "/tmp/none".into();
        for words in [&words[0], &words[1], &wrong, &traversal, &elsewhere] {
            let output = take(words);
            assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{}", told(&output));
            assert!(told(&output).contains("nothing to run in this terminal"), "{}", told(&output));
        }
        // One that is released is taken back.
        assert_eq!(orders(&scene).len(), 1);
        editor.say("terminal/release", json!({}));
        let task = format!("result = [of({0}, 'release'), of({0}, 'release')]", result[2]);
        let result = does(&editor, &task);
        assert!(result[1].as_str().unwrap().starts_with("error: This session has no such terminal"), "{result}");
        assert_eq!(orders(&scene).len(), 0);
        assert_eq!(take(&words[2]).status.code(), Some(125));
        // No command of ours that anybody need know.
        let help = scene.world.agentkernel(["help"]).output().unwrap();
        assert!(!told(&help).contains("acp-terminal"));
        editor.leave();
        assert_eq!(take(&words[2]).status.code(), Some(125));
        nothing_is_left(&scene);
    }
}

#[test]
fn a_command_ends_with_its_terminal() {
    for scene in Scene::all().into_iter().map(Rc::new) {
        // A shell that waits for its child is killed in its place; another has become its command.
        for (shell, signal, ends) in [
            ("sh", "KILL", [9, 9]),
            ("bash", "KILL", [9, 9]),
            ("bash", "TERM", [-137, -143]),
            ("bash", "HUP", [-137, -129]),
        ] {
            let editor = scene.editor(&[]);
            let terminals = runs_by(&editor, &scene, shell);
            let own = Rc::clone(&terminals);
            editor.does("terminal/kill", move |request| {
                let own = own.borrow();
                let pid = own[request["params"]["terminalId"].as_str().unwrap()].child.id().to_string();
                assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
                Some(json!({}))
            });
            // It hears nothing of signals that it can be deaf to, and writes all the time; its child does not. Then one that
            // minds them.
            let line = "trap '' TERM HUP INT PIPE; sleep 12345 & while :; do echo x; done";
            let task = format!(
                "it = terminal('sh', '-c', {line:?})
other = terminal('sleep', '54321')
until(lambda: running('12345') and running('54321'))
of(it, 'kill')
ends = [of(it, 'wait_for_exit')]
until(lambda: not running('12345') and not running({line:?}))
alone = [running('54321'), 'x' in of(it, 'output')['output'], of(it, 'release')]
of(other, 'kill')
ends.append(of(other, 'wait_for_exit'))
until(lambda: not running('54321'))
result = [[end['signal'] or -end['exitCode'] for end in ends], alone]"
            );
            assert_eq!(does(&editor, &task), json!([ends, [1, true, {}]]), "{shell} {signal}");
            editor.leave();
            nothing_is_left(&scene);
        }
    }
}

/// Others go on while one waits.
#[test]
fn who_waits_for_a_terminal_keeps_nobody_waiting() {
    let Some(scene) = Scene::new().map(Rc::new) else { return };
    let editor = scene.editor(&[]);
    let _terminals = runs(&editor, &scene);
    editor.does("terminal/wait_for_exit", |_| None);
    let task = "it = terminal('sleep', '12345')
waits = send('terminal/wait_for_exit', sessionId='s', terminalId=it)
out = run_some()
tell('session/update', sessionId='s', update={'sessionUpdate': 'tool_call', 'content': [{'type': 'terminal', 'terminalId': it}], 'at': out})
result = answer(waits)['result']";
    let some = "def run_some():
    other = terminal('echo', 'other')
    until(lambda: 'other' in of(other, 'output')['output'])
    return of(other, 'output')['output']
";
    let turn = editor.ask("session/prompt", prompt(&format!("{some}\n{task}")));
    let update = editor.notified(|it| it["params"]["update"]["at"].is_string());
    assert_eq!(update["params"]["update"]["at"], "other\n");
    let waits = editor.asked().into_iter().find(|asked| asked["method"] == "terminal/wait_for_exit").unwrap();
    editor.line(json!({"jsonrpc": "2.0", "id": waits["id"], "result": {"exitCode": 3}}).to_string().as_bytes());
    assert_eq!(editor.answer(turn)["result"]["result"], json!({"exitCode": 3}));
    // It shows no terminal that is not its own.
    let task = "for id in ['terminal-0', 'terminal-7']:
    tell('session/update', sessionId='s', update={'sessionUpdate': 'tool_call', 'content': [{'type': 'terminal', 'terminalId': id}], 'seen': id})
tell('session/update', sessionId='s', update={'seen': 'end'})";
    does(&editor, task);
    editor.notified(|it| it["params"]["update"]["seen"] == "end");
    let updates: Vec<Value> = editor.notifications().iter().map(|it| it["params"]["update"].clone()).collect();
    let seen: Vec<_> =
        updates.iter().filter(|it| it["seen"].is_string()).map(|it| (&it["seen"], &it["content"])).collect();
    let block = json!([{"type": "terminal", "terminalId": "terminal-0"}]);
    let (own, other, end) = (json!("terminal-0"), json!("terminal-7"), json!("end"));
    assert_eq!(seen, [(&own, &block), (&other, &json!([])), (&end, &Value::Null)]);
    editor.leave();
    nothing_is_left(&scene);
}

#[test]
fn a_session_has_so_many_terminals() {
    let Some(scene) = Scene::new() else { return };
    let editor = scene.editor(&[]);
    editor.does("terminal/create", |request| Some(json!({"terminalId": request["id"]})));
    editor.does("terminal/release", |_| Some(json!({})));
    let result = does(
        &editor,
        "all = [terminal('true') for _ in range(65)]\nresult = [all[63], all[64], of(all[0], 'release'), terminal('true')]",
    );
    assert!(result[1].as_str().unwrap().contains("This session has 64 terminals"), "{result}");
    assert!(![&result[0], &result[3]].iter().any(|name| name.as_str().unwrap().starts_with("error")), "{result}");
    assert_eq!(orders(&scene).len(), 64);
    editor.leave();
    nothing_is_left(&scene);
}

#[test]
fn nothing_runs_on_without_the_agent() {
    for scene in Scene::all().into_iter().map(Rc::new) {
        for end in ["agent", "KILL", "editor"] {
            let mut editor = scene.editor(&[]);
            let terminals = runs(&editor, &scene);
            let begun = "it = terminal('sh', '-c', \"trap '' TERM HUP; sleep 12345; sleep 12345\")\nuntil(lambda: running('12345'))\nresult = it";
            does(&editor, begun);
            // And one that is not taken.
            editor.say("terminal/create", json!({"terminalId": "never"}));
            assert_eq!(does(&editor, "result = terminal('true')"), "never");
            assert_eq!(orders(&scene).len(), 1);
            match end {
                "agent" => {
                    let turn = editor.ask("session/prompt", prompt("os._exit(3)"));
                    assert_eq!(editor.answer(turn)["error"]["data"]["exitStatus"], 3);
                    assert_eq!(editor.server.wait().unwrap().code(), Some(3));
                }
                "KILL" => {
                    editor.server.kill().unwrap();
                    editor.server.wait().unwrap();
                }
                _ => assert!(editor.close().success()),
            }
            let mut terminals = terminals.borrow_mut();
            let ended = terminals.get_mut("terminal-0").unwrap().end();
            assert_ne!(ended["exitCode"], 0, "{end}");
            nothing_is_left(&scene);
            assert_eq!(orders(&scene).len(), 0);
        }
    }
}

/// What an editor would run is a program that the sandbox can't change, by words that no shell reads otherwise.
#[test]
fn there_are_no_terminals_where_they_would_be_unsafe() {
    let Some(scene) = Scene::new() else { return };
    let binary = scene.world.binary();
    scene.sh("mkdir '../home/a b' bin; ln -s /proc/self/cwd itself", &[]);
    for (place, words) in [
        ("bin/agentkernel", "is where the sandbox can write"),
        ("../home/a b/agentkernel", "has signs that shells read"),
    ] {
        let own = scene.at(place);
        assert!(Command::new("cp").args([&binary, &own]).status().unwrap().success());
        let mut command = scene.world.command(&own);
        command.args(["acp", "mine"]);
        let errors = fs::File::create(scene.world.home().join("errors")).unwrap();
        let editor = rpc::Client::telling(&mut command, errors);
        let hello = |id: bool| {
            editor.request("initialize", json!({"protocolVersion": 1, "clientCapabilities": {"terminal": id}}))
        };
        let heard =
            |hello: Value| hello["result"]["agentCapabilities"]["heard"]["clientCapabilities"]["terminal"].clone();
        assert_eq!(heard(hello(false)), false);
        assert_eq!(fs::read_to_string(scene.world.home().join("errors")).unwrap(), "");
        assert_eq!(heard(hello(true)), false);
        eventually("it is told", || fs::read_to_string(scene.world.home().join("errors")).unwrap().contains(words));
        editor.request("session/new", json!({"cwd": scene.path(""), "mcpServers": []}));
        assert_eq!(
            does(&editor, "result = ask('terminal/create', sessionId='s', command='true')['error']['code']"),
            -32601
        );
        editor.leave();
    }
    // Nor where the editor has none.
    let editor = rpc::Client::new(&mut scene.command(&[]));
    editor.request("initialize", json!({"protocolVersion": 1, "clientCapabilities": {"fs": {}}}));
    editor.request("session/new", json!({"cwd": scene.path(""), "mcpServers": []}));
    assert_eq!(
        does(&editor, "result = ask('terminal/create', sessionId='s', command='true')['error']['code']"),
        -32601
    );
    assert!(editor.asked().is_empty());
    editor.leave();
    nothing_is_left(&scene);
}
