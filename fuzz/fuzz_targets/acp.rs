//! Between an editor and an agent that is not trusted: no panic, and whatever the agent writes, the editor reads messages that
//! it may have, one in a line, and is asked for nothing but a human's answer, and for terminals that run
//! our words.
#![no_main]

#[path = "../../crates/agentkernel/src/json.rs"]
mod json;
#[path = "../../crates/agentkernel/src/lines.rs"]
#[allow(dead_code)]
mod lines;
#[path = "../../crates/agentkernel/src/acp/message.rs"]
#[allow(dead_code)]
mod message;
#[path = "../../crates/agentkernel/src/acp/order.rs"]
#[allow(dead_code)]
mod order;
#[path = "../../crates/agentkernel/src/acp/place.rs"]
#[allow(dead_code)]
mod place;
#[path = "../../crates/agentkernel/src/acp/protocol.rs"]
#[allow(dead_code)]
mod protocol;
#[path = "../../crates/agentkernel/src/acp/terminals.rs"]
#[allow(dead_code)]
mod terminals;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// The most bytes of one message.
const LONGEST: usize = 32 << 20;
/// What the editor may be asked.
const ASKED: [&str; 2] = ["session/request_permission", "elicitation/create"];
/// And of terminals that it has given.
const TERMINALS: [&str; 4] = ["terminal/output", "terminal/wait_for_exit", "terminal/kill", "terminal/release"];
/// What an order is taken by.
const TOKEN: &str = "00112233445566778899aabbccddeeff";

fuzz_target!(|input: &[u8]| {
    let mut protocol = protocol::Protocol::new(Some("/srv".as_ref()), &[]).with_terminals(place::Place::of(
        "/bin/agentkernel",
        "/state",
        "0123456789ab",
        "/srv",
    ));
    let mut lines = lines::Lines::new(LONGEST);
    lines.push(input);
    while let Some(Ok(line)) = lines.next() {
        // With this mark it is the editor's.
        match line.strip_prefix(b">") {
            Some(line) => drop(protocol.hear_editor(line)),
            None => protocol.hear_agent(&line),
        }
        while protocol.next_file().is_some() {}
        while let Some(call) = protocol.next_terminal() {
            protocol.ask_for_terminal(call, TOKEN.to_owned());
        }
        drop(protocol.spent_tokens());
        let told: Vec<u8> = protocol.to_editor.drain(..).collect();
        for told in told.split(|&byte| byte == b'\n').filter(|told| !told.is_empty()) {
            let message: Value = serde_json::from_slice(told).expect("a message");
            assert_eq!(message["jsonrpc"], "2.0");
            if let (Some(method), true) = (message["method"].as_str(), message.get("id").is_some()) {
                let params = &message["params"];
                if method == "terminal/create" {
                    let args = json!(["acp-terminal", "/state", "0123456789ab", TOKEN]);
                    let run = json!([params["command"], params["args"], params["env"], params["cwd"]]);
                    assert_eq!(run, json!(["/bin/agentkernel", args, [], "/srv"]));
                    let known = ["sessionId", "command", "args", "env", "cwd", "outputByteLimit"];
                    assert!(params.as_object().expect("an object").keys().all(|key| known.contains(&key.as_str())));
                } else if TERMINALS.contains(&method) {
                    assert_eq!(params.as_object().expect("an object").len(), 2);
                } else {
                    assert!(ASKED.contains(&method), "{method}");
                }
            }
        }
        protocol.to_agent.clear();
    }
});
