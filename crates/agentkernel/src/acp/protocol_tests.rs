use super::*;

fn between() -> Protocol {
    Protocol::new(Some(Path::new("/srv/project")), &["/srv/data".into()])
}

fn lines(bytes: &mut VecDeque<u8>) -> Vec<Value> {
    let text: Vec<u8> = bytes.drain(..).collect();
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// What the agent is told when the editor says this.
fn for_agent(protocol: &mut Protocol, message: &Value) -> Value {
    assert_eq!(protocol.hear_editor(message.to_string().as_bytes()), None);
    lines(&mut protocol.to_agent).pop().unwrap_or_default()
}

/// What the editor is told when the agent says this.
fn for_editor(protocol: &mut Protocol, message: &Value) -> Value {
    protocol.hear_agent(message.to_string().as_bytes());
    lines(&mut protocol.to_editor).pop().unwrap_or_default()
}

fn hello(protocol: &mut Protocol, capabilities: Value) -> Value {
    let params = json!({"protocolVersion": 7, "clientCapabilities": capabilities, "clientInfo": {"name": "x"}});
    for_agent(protocol, &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}))["params"].clone()
}

#[test]
fn an_agent_is_told_what_the_editor_does_for_it_here() {
    let mut protocol = between();
    let told = hello(
        &mut protocol,
        json!({"fs": {"readTextFile": true, "writeTextFile": true, "deleteAll": true}, "terminal": true,
            "auth": {"terminal": true}, "runAnything": {}, "plan": {},
            "_meta": {"terminal-auth": true, "terminal_output": true}}),
    );
    assert_eq!(told["protocolVersion"], 1);
    assert_eq!(told["clientInfo"], json!({"name": "x"}));
    assert_eq!(
        told["clientCapabilities"],
        json!({"fs": {"readTextFile": true, "writeTextFile": true}, "terminal": false, "plan": {},
            "_meta": {"terminal_output": true}})
    );
    assert!(protocol.editor_reads);
    // What logs in by a command that the agent names is not offered.
    let methods = json!([
        {"id": "a", "name": "A", "_meta": {"terminal-auth": {"command": "rm"}}},
        {"id": "b", "name": "B", "type": "terminal", "args": ["--mount", "/:/host"]},
        {"id": "c", "name": "C", "type": "agent"}, {"id": "d", "name": "D", "type": "env_var"},
    ]);
    let told =
        for_editor(&mut protocol, &json!({"id": 0, "result": {"authMethods": methods, "agentCapabilities": {"x": 1}}}));
    assert_eq!(
        told["result"],
        json!({"authMethods": [{"id": "a", "name": "A"}, {"id": "c", "name": "C", "type": "agent"}], "agentCapabilities": {"x": 1}})
    );
    for capabilities in [json!({}), json!(null), json!([]), json!({"fs": 7}), json!({"fs": {"readTextFile": "true"}})] {
        let told = hello(&mut between(), capabilities)["clientCapabilities"].clone();
        assert_eq!(told, json!({"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false}));
    }
}

#[test]
fn a_session_is_in_the_project() {
    let mut protocol = between();
    let mut ask = |id: u32, method: &str, params: Value| {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let told = for_agent(&mut protocol, &message);
        (told["params"].clone(), lines(&mut protocol.to_editor).pop().unwrap_or_default())
    };
    for (at, method) in ["session/new", "session/load", "session/resume", "session/fork"].into_iter().enumerate() {
        let id = u32::try_from(at).unwrap() * 10;
        for (more, cwd) in ["/srv/project", "/srv/project/sub", "/srv/data/set"].into_iter().enumerate() {
            let params = json!({"cwd": cwd, "mcpServers": [{"name": "x", "command": "y"}], "unknown": [1]});
            assert_eq!(ask(id + u32::try_from(more).unwrap(), method, params.clone()), (params, Value::Null));
        }
        for params in [
            json!({"cwd": "/srv"}),
            json!({"cwd": "/srv/projects"}),
            json!({"cwd": "/srv/project", "additionalDirectories": ["/etc"]}),
        ] {
            let (passed, answer) = ask(id + 5, method, params.clone());
            assert_eq!(
                (passed, &answer["id"], &answer["error"]["code"]),
                (Value::Null, &json!(id + 5), &json!(-32602))
            );
            assert!(answer["error"]["message"].as_str().unwrap().contains("in the project's directory"), "{answer}");
        }
    }
}

#[test]
fn what_an_editor_would_do_on_the_host_is_refused() {
    let mut protocol = between();
    for method in
        ["terminal/create", "terminal/output", "terminal/kill", "_zed/run", "mcp/connect", "workspace/open", ""]
    {
        let request = json!({"jsonrpc": "2.0", "id": method, "method": method, "params": {"command": "id"}});
        assert_eq!(for_editor(&mut protocol, &request), Value::Null, "{method}");
        let answer = lines(&mut protocol.to_agent).pop().unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(method), &json!(-32601)), "{answer}");
    }
    for (method, passes) in
        [("_zed/told", true), ("session/update", true), ("terminal/create", false), ("window/show", false)]
    {
        let told =
            for_editor(&mut protocol, &json!({"method": method, "params": {"a": [1.5, "ä"], "b": {"_meta": null}}}));
        assert_eq!(told["params"] == json!({"a": [1.5, "ä"], "b": {"_meta": null}}), passes, "{method}: {told}");
    }
}

#[test]
fn nobody_answers_what_was_not_asked() {
    let mut protocol = between();
    // The agent's.
    assert_eq!(for_editor(&mut protocol, &json!({"id": 1, "result": {}})), Value::Null);
    let _ = for_agent(&mut protocol, &json!({"id": 1, "method": "session/prompt"}));
    assert_eq!(for_editor(&mut protocol, &json!({"id": "1", "result": {}})), Value::Null);
    assert_eq!(for_editor(&mut protocol, &json!({"id": 1, "result": {"n": 1}}))["result"], json!({"n": 1}));
    assert_eq!(for_editor(&mut protocol, &json!({"id": 1, "result": {"n": 2}})), Value::Null);
    // The editor's.
    let ask = json!({"id": 9, "method": "session/request_permission", "params": {"options": []}});
    assert_eq!(for_editor(&mut protocol, &ask)["params"], json!({"options": []}));
    assert_eq!(for_editor(&mut protocol, &ask), Value::Null);
    assert_eq!(lines(&mut protocol.to_agent).pop().unwrap()["id"], Value::Null);
    assert_eq!(for_agent(&mut protocol, &json!({"id": 8, "result": {}})), Value::Null);
    assert_eq!(for_agent(&mut protocol, &json!({"id": 9, "result": {"outcome": 1}}))["result"], json!({"outcome": 1}));
    assert_eq!(for_agent(&mut protocol, &json!({"id": 9, "result": {}})), Value::Null);
    // An id is free again then.
    assert_eq!(for_editor(&mut protocol, &ask)["id"], 9);
    // Without end there is none.
    for id in 100..100 + 2 * MOST {
        let _ = for_editor(&mut protocol, &json!({"id": id, "method": "session/request_permission"}));
    }
    assert_eq!(protocol.agents.len(), MOST);
}

#[test]
fn what_is_wanted_of_files_waits_for_us() {
    let mut protocol = between();
    let read = |id: u32, params: Value| json!({"id": id, "method": "fs/read_text_file", "params": params}).to_string();
    for (id, params) in [
        json!({}),
        json!({"path": "a"}),
        json!({"path": 7}),
        json!({"path": "/a\0b"}),
        json!({"path": "/a", "line": -1}),
        json!({"path": "/a", "limit": "x"}),
    ]
    .into_iter()
    .enumerate()
    {
        protocol.hear_agent(read(u32::try_from(id).unwrap(), params).as_bytes());
        assert_eq!(lines(&mut protocol.to_agent).pop().unwrap()["error"]["code"], -32602);
    }
    protocol
        .hear_agent(json!({"id": 50, "method": "fs/write_text_file", "params": {"path": "/a"}}).to_string().as_bytes());
    assert_eq!(lines(&mut protocol.to_agent).pop().unwrap()["error"]["code"], -32602);
    assert_eq!(protocol.next_file(), None);
    protocol.hear_agent(read(60, json!({"sessionId": "s", "path": "/a", "line": 3, "limit": 4})).as_bytes());
    let call = protocol.next_file().unwrap();
    assert_eq!((&call.path, &call.wish), (&"/a".into(), &Wish::Read { line: 3, limit: 4 }));
    // The editor is told nothing, and answers nothing, before it is asked.
    assert!(protocol.to_editor.is_empty());
    let answer = json!({"id": 60, "result": {"content": "x"}});
    assert_eq!(protocol.hear_editor(answer.to_string().as_bytes()), None);
    protocol.ask_editor(&call);
    assert_eq!(
        lines(&mut protocol.to_editor)[0]["params"],
        json!({"sessionId": "s", "path": "/a", "line": 3, "limit": 4})
    );
    assert_eq!(protocol.hear_editor(answer.to_string().as_bytes()), Some(Ok(json!({"content": "x"}))));
    assert_eq!(protocol.hear_editor(answer.to_string().as_bytes()), None);
    assert!(protocol.to_agent.is_empty());
    // An agent that wants much and takes nothing is not heard any more.
    let write =
        json!({"id": 70, "method": "fs/write_text_file", "params": {"path": "/a", "content": "x".repeat(1 << 20)}});
    assert!(protocol.has_room());
    protocol.hear_agent(write.to_string().as_bytes());
    assert!(!protocol.has_room());
    assert!(protocol.next_file().is_some() && protocol.has_room());
}

/// What an editor says after its time is no answer to another request that has the same id by then.
#[test]
fn an_answer_that_comes_too_late_is_nobodys() {
    let mut protocol = between();
    let read = json!({"id": 5, "method": "fs/read_text_file", "params": {"path": "/a"}}).to_string();
    protocol.hear_agent(read.as_bytes());
    let call = protocol.next_file().unwrap();
    protocol.ask_editor(&call);
    protocol.answer(&call.id, Err(Fault::new(Fault::INTERNAL, "This takes more than 60 seconds")));
    let _ = (lines(&mut protocol.to_agent), lines(&mut protocol.to_editor));
    let permission = json!({"id": 5, "method": "session/request_permission", "params": {}});
    assert_eq!(for_editor(&mut protocol, &permission), Value::Null);
    assert_eq!(lines(&mut protocol.to_agent).pop().unwrap()["error"]["code"], -32600);
    let late = json!({"id": 5, "result": {"content": "of what has been put there since"}});
    assert_eq!(for_agent(&mut protocol, &late), Value::Null);
    // Then it is free again.
    assert_eq!(for_editor(&mut protocol, &permission)["method"], "session/request_permission");
}

#[test]
fn at_the_end_everything_is_answered() {
    let mut protocol = between();
    for id in [json!(1), json!("two")] {
        let _ = for_agent(&mut protocol, &json!({"id": id, "method": "session/prompt"}));
    }
    protocol.farewell("The agent is gone", Some(3));
    let told = lines(&mut protocol.to_editor);
    let error = json!({"code": -32603, "message": "The agent is gone", "data": {"exitStatus": 3}});
    assert_eq!(
        told.iter().map(|it| (&it["id"], &it["error"])).collect::<Vec<_>>(),
        [(&json!(1), &error), (&json!("two"), &error)]
    );
    protocol.farewell("again", None);
    assert!(protocol.to_editor.is_empty());
}
