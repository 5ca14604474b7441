use super::{super::protocol::Protocol, *};
use std::path::Path;

fn lines(bytes: &mut VecDeque<u8>) -> Vec<Value> {
    let text: Vec<u8> = bytes.drain(..).collect();
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn agent(protocol: &mut Protocol, message: &Value) {
    protocol.hear_agent(message.to_string().as_bytes());
}

fn editor(protocol: &mut Protocol, message: &Value) {
    assert_eq!(protocol.hear_editor(message.to_string().as_bytes()), None);
}

fn last(bytes: &mut VecDeque<u8>) -> Value {
    lines(bytes).pop().unwrap_or_default()
}

/// An editor that can this, and whose agent has the sessions `s`, in the project, and `t`, below it.
fn between(capabilities: &Value) -> Protocol {
    let place = Place::of("/bin/agentkernel", "/state", "0a", "/srv/project");
    let mut protocol = Protocol::new(Some(Path::new("/srv/project")), &[]).with_terminals(place);
    editor(&mut protocol, &json!({"id": 0, "method": "initialize", "params": {"clientCapabilities": capabilities}}));
    for (id, session, cwd) in [(1, "s", "/srv/project"), (2, "t", "/srv/project/sub")] {
        editor(&mut protocol, &json!({"id": id, "method": "session/new", "params": {"cwd": cwd}}));
        agent(&mut protocol, &json!({"id": id, "result": {"sessionId": session}}));
    }
    let _ = (lines(&mut protocol.to_agent), lines(&mut protocol.to_editor));
    protocol
}

fn offered() -> Protocol {
    between(&json!({"terminal": true}))
}

fn create(id: u32, session: &str) -> Value {
    json!({"id": id, "method": "terminal/create", "params": {"sessionId": session, "command": "make", "args": ["all"]}})
}

/// The agent has a terminal, whose order has this token.
fn given(protocol: &mut Protocol, id: u32, session: &str, terminal: &str, token: &str) {
    agent(protocol, &create(id, session));
    let call = protocol.next_terminal().unwrap();
    protocol.ask_for_terminal(call, token.to_owned());
    editor(protocol, &json!({"id": id, "result": {"terminalId": terminal}}));
    assert_eq!(last(&mut protocol.to_agent)["result"], json!({"terminalId": terminal}));
    let _ = lines(&mut protocol.to_editor);
}

#[test]
fn an_agent_is_told_of_terminals_where_there_are_some() {
    let mut protocol = Protocol::new(None, &[]).with_terminals(Place::of("/p", "/s", "0", "/"));
    let hello = |protocol: &mut Protocol, terminal: Value| {
        editor(
            protocol,
            &json!({"id": terminal.to_string(), "method": "initialize", "params": {"clientCapabilities": {"terminal": terminal}}}),
        );
        last(&mut protocol.to_agent)["params"]["clientCapabilities"]["terminal"].clone()
    };
    for (told, heard) in
        [(json!(true), true), (json!(false), false), (json!(null), false), (json!("true"), false), (json!({}), false)]
    {
        assert_eq!(hello(&mut protocol, told), heard);
    }
    assert!(protocol.notes.is_empty());
    let mut protocol = Protocol::new(None, &[]).with_terminals(Place::of("/a b", "/s", "0", "/"));
    assert_eq!(hello(&mut protocol, json!(false)), false);
    assert!(protocol.notes.is_empty());
    assert_eq!(hello(&mut protocol, json!(true)), false);
    assert!(protocol.notes[0].contains("/a b has signs that shells read"), "{:?}", protocol.notes);
}

#[test]
fn nothing_of_an_order_reaches_the_editor() {
    const HOSTILE: &str = "x; $(touch /tmp/hostile) `id` '\" \n";
    let mut protocol = offered();
    let params = json!({
        "sessionId": "t", "command": HOSTILE, "args": [HOSTILE, HOSTILE], "env": [{"name": HOSTILE.replace('=', ""), "value": HOSTILE}],
        "cwd": format!("/{HOSTILE}"), "outputByteLimit": 9, "_meta": {"x": HOSTILE}, "shell": HOSTILE,
    });
    agent(&mut protocol, &json!({"id": 5, "method": "terminal/create", "params": params}));
    // Nobody is asked, and nobody answers, before the order can be taken.
    assert!(protocol.to_editor.is_empty());
    editor(&mut protocol, &json!({"id": 5, "result": {"terminalId": "forged"}}));
    assert!(protocol.to_agent.is_empty());
    let call = protocol.next_terminal().unwrap();
    assert_eq!((&*call.order.command, call.order.arguments.len(), &*call.order.env[0].1), (HOSTILE, 2, HOSTILE));
    protocol.ask_for_terminal(call, "00ff".into());
    let asked = last(&mut protocol.to_editor);
    assert_eq!(
        asked,
        json!({"jsonrpc": "2.0", "id": 5, "method": "terminal/create", "params": {
            "sessionId": "t", "command": "/bin/agentkernel", "args": ["acp-terminal", "/state", "0a", "00ff"], "env": [],
            "cwd": "/srv/project", "outputByteLimit": 9,
        }})
    );
    // It begins where its session is, if it does not say where.
    agent(&mut protocol, &create(6, "t"));
    assert_eq!(protocol.next_terminal().unwrap().order.cwd, "/srv/project/sub");
    // One that is loaded is there before that is answered.
    editor(
        &mut protocol,
        &json!({"id": 9, "method": "session/load", "params": {"sessionId": "old", "cwd": "/srv/project"}}),
    );
    agent(&mut protocol, &create(7, "old"));
    assert_eq!(protocol.next_terminal().unwrap().order.cwd, "/srv/project");
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let mut protocol = offered();
    given(&mut protocol, 50, "s", "one", "00");
    for (method, params, code) in [
        ("terminal/create", json!({"command": "x"}), -32602),
        ("terminal/create", json!({"sessionId": 7, "command": "x"}), -32602),
        ("terminal/create", json!({"sessionId": "none", "command": "x"}), -32602),
        ("terminal/create", json!({"sessionId": "s"}), -32602),
        ("terminal/create", json!({"sessionId": "s", "command": "x", "outputByteLimit": "7"}), -32602),
        ("terminal/create", json!({"sessionId": "s", "command": "x", "outputByteLimit": -1}), -32602),
        ("terminal/output", json!({"sessionId": "s"}), -32602),
        ("terminal/output", json!({"sessionId": "s", "terminalId": "T"}), -32602),
        ("terminal/kill", json!({"sessionId": "t", "terminalId": "one"}), -32602),
        ("terminal/write", json!({"sessionId": "s", "terminalId": "one"}), -32601),
    ] {
        agent(&mut protocol, &json!({"id": 70, "method": method, "params": params}));
        let told = last(&mut protocol.to_agent);
        assert_eq!(told["error"]["code"], code, "{method} {params}: {told}");
        assert!(protocol.to_editor.is_empty() && protocol.next_terminal().is_none());
    }
    // Nor by whoever was not told of any.
    let mut protocol = between(&json!({"terminal": false}));
    agent(&mut protocol, &create(70, "s"));
    assert_eq!(last(&mut protocol.to_agent)["error"]["code"], -32601);
}

#[test]
fn only_terminals_that_it_was_given_are_an_agents() {
    let mut protocol = offered();
    given(&mut protocol, 10, "s", "one", "aa");
    for (id, method) in ["terminal/output", "terminal/wait_for_exit", "terminal/kill"].into_iter().enumerate() {
        let params = json!({"sessionId": "s", "terminalId": "one", "force": true});
        agent(&mut protocol, &json!({"id": id + 20, "method": method, "params": params}));
        let asked = last(&mut protocol.to_editor);
        assert_eq!(
            (&asked["method"], &asked["params"]),
            (&json!(method), &json!({"sessionId": "s", "terminalId": "one"}))
        );
    }
    // Answers come in any order, each once.
    for id in [22, 20] {
        editor(&mut protocol, &json!({"id": id, "result": {"n": id}}));
        assert_eq!(last(&mut protocol.to_agent), json!({"jsonrpc": "2.0", "id": id, "result": {"n": id}}));
        editor(&mut protocol, &json!({"id": id, "result": {}}));
        assert!(protocol.to_agent.is_empty());
    }
    // What was not begun when it was killed does not begin.
    assert_eq!(protocol.spent_tokens(), ["aa"]);
    // One that could not be released is there still.
    for (id, answer) in [(30, "error"), (31, "result")] {
        agent(
            &mut protocol,
            &json!({"id": id, "method": "terminal/release", "params": {"sessionId": "s", "terminalId": "one"}}),
        );
        assert_eq!(last(&mut protocol.to_editor)["id"], id);
        assert_eq!(protocol.spent_tokens(), Vec::<String>::new());
        editor(&mut protocol, &json!({"id": id, answer: {"x": 1}}));
        assert_eq!(last(&mut protocol.to_agent)[answer], json!({"x": 1}));
    }
    assert_eq!(protocol.spent_tokens(), ["aa"]);
    agent(
        &mut protocol,
        &json!({"id": 32, "method": "terminal/output", "params": {"sessionId": "s", "terminalId": "one"}}),
    );
    assert_eq!(last(&mut protocol.to_agent)["error"]["code"], -32602);
}

#[test]
fn an_order_whose_terminal_is_not_given_is_spent() {
    for answer in [
        json!({"error": {"code": 1}}),
        json!({"result": {}}),
        json!({"result": {"terminalId": 7}}),
        json!({"result": null}),
    ] {
        let mut protocol = offered();
        agent(&mut protocol, &create(10, "s"));
        let call = protocol.next_terminal().unwrap();
        protocol.ask_for_terminal(call, "aa".into());
        let mut message = answer.clone();
        message["id"] = json!(10);
        editor(&mut protocol, &message);
        assert!(last(&mut protocol.to_agent)["error"].is_object(), "{answer}");
        assert_eq!(protocol.spent_tokens(), ["aa"]);
    }
}

#[test]
fn a_session_has_so_many_terminals() {
    let mut protocol = offered();
    let most = u32::try_from(MOST).unwrap();
    for id in 0..most {
        // Those count that are asked for, too.
        agent(&mut protocol, &create(100 + id, "s"));
        if id < 2 * most / 3 {
            let call = protocol.next_terminal().unwrap();
            protocol.ask_for_terminal(call, format!("{id:02x}"));
        }
        if id < most / 3 {
            editor(&mut protocol, &json!({"id": 100 + id, "result": {"terminalId": id.to_string()}}));
        }
    }
    let _ = lines(&mut protocol.to_agent);
    agent(&mut protocol, &create(300, "s"));
    let told = last(&mut protocol.to_agent);
    assert!(told["error"]["message"].as_str().unwrap().contains("has 64 terminals"), "{told}");
    // Another session has others, and a released one makes room.
    agent(&mut protocol, &create(301, "t"));
    assert!(protocol.to_agent.is_empty());
    agent(
        &mut protocol,
        &json!({"id": 302, "method": "terminal/release", "params": {"sessionId": "s", "terminalId": "2"}}),
    );
    editor(&mut protocol, &json!({"id": 302, "result": null}));
    let _ = lines(&mut protocol.to_agent);
    agent(&mut protocol, &create(303, "s"));
    assert!(protocol.to_agent.is_empty());
}

/// An agent that wants much run, and is not waited for yet, is not heard any more.
#[test]
fn what_is_to_be_run_is_held_for_it() {
    let mut protocol = offered();
    let arguments = json!({"sessionId": "s", "command": "x", "args": ["x".repeat(500 << 10)]});
    for id in 0..3 {
        assert!(protocol.has_room());
        agent(&mut protocol, &json!({"id": id, "method": "terminal/create", "params": arguments}));
    }
    assert!(!protocol.has_room());
    assert!(protocol.next_terminal().is_some() && protocol.has_room());
    protocol.forget_agent();
    assert!(protocol.next_terminal().is_none() && protocol.has_room());
}

#[test]
fn an_agent_shows_no_terminals_but_its_own() {
    let update = |session: &str, terminal: Value, meta: Value| {
        let content = json!([{"type": "content", "content": {"type": "text", "text": "x"}}, {"type": "terminal", "terminalId": terminal}]);
        let update = json!({"sessionUpdate": "tool_call", "toolCallId": "call", "content": content, "_meta": meta});
        json!({"method": "session/update", "params": {"sessionId": session, "update": update}})
    };
    let passes = |protocol: &mut Protocol, message: &Value| {
        agent(protocol, message);
        let passed = last(&mut protocol.to_editor);
        let mut without = message["params"].clone();
        without["update"]["content"].as_array_mut().unwrap().pop();
        let is_whole = passed["params"] == message["params"];
        assert!(is_whole || passed["params"] == without, "{passed}");
        is_whole
    };
    let none = || json!(null);
    let mut protocol = offered();
    given(&mut protocol, 10, "s", "one", "aa");
    assert!(passes(&mut protocol, &update("s", json!("one"), none())));
    let announced = json!({"terminal_info": {"terminal_id": "made-up"}});
    for (session, terminal, meta) in [
        ("t", json!("one"), none()),
        ("s", json!("two"), none()),
        ("s", json!("call"), none()),
        ("s", json!(7), none()),
        ("s", none(), none()),
        ("s", json!("made-up"), announced.clone()),
    ] {
        assert!(!passes(&mut protocol, &update(session, terminal, meta)));
        // It is told once.
        assert_eq!(protocol.notes.len(), 1);
    }
    // What it has released is shown on.
    agent(
        &mut protocol,
        &json!({"id": 11, "method": "terminal/release", "params": {"sessionId": "s", "terminalId": "one"}}),
    );
    editor(&mut protocol, &json!({"id": 11, "result": {}}));
    let _ = (lines(&mut protocol.to_agent), lines(&mut protocol.to_editor));
    assert!(passes(&mut protocol, &update("s", json!("one"), none())));
    // A question shows no other ones either.
    let question = |terminal: &str| {
        let call = json!({"toolCallId": "c", "content": [{"type": "terminal", "terminalId": terminal}]});
        json!({"id": terminal, "method": "session/request_permission", "params": {"sessionId": "s", "toolCall": call, "options": []}})
    };
    let mut shown = |terminal: &str| {
        agent(&mut protocol, &question(terminal));
        last(&mut protocol.to_editor)["params"]["toolCall"]["content"].clone()
    };
    assert_eq!(shown("two"), json!([]));
    assert_eq!(shown("one"), json!([{"type": "terminal", "terminalId": "one"}]));
    // One that stands in no list.
    let lone = json!({"sessionId": "s", "update": {"content": {"type": "terminal", "terminalId": "two"}}});
    agent(&mut protocol, &json!({"method": "session/update", "params": lone}));
    assert_eq!(last(&mut protocol.to_editor)["params"]["update"]["content"], json!([]));
    // Where the editor shows those that agents make up, they do.
    let mut protocol = between(&json!({"terminal": true, "_meta": {"terminal_output": true}}));
    assert!(passes(&mut protocol, &update("s", json!("call"), none())));
    assert!(!passes(&mut protocol, &update("s", json!("made-up"), none())));
    assert!(passes(&mut protocol, &update("s", json!("made-up"), announced)));
    assert!(passes(&mut protocol, &update("s", json!("made-up"), none())));
    assert!(!passes(&mut protocol, &update("t", json!("made-up"), none())));
    for at in 0..2 * SHOWN {
        let meta = json!({"terminal_info": {"terminal_id": at.to_string()}});
        assert!(passes(&mut protocol, &update("s", json!(at.to_string()), meta)));
    }
    assert!(!passes(&mut protocol, &update("s", json!("made-up"), none())));
}
