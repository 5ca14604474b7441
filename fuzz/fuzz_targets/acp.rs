//! Between an editor and an agent that is not trusted: no panic, and whatever the agent writes, the editor reads messages that
//! it may have, one in a line, and is asked for nothing but a human's answer.
#![no_main]

#[path = "../../crates/agentkernel/src/json.rs"]
mod json;
#[path = "../../crates/agentkernel/src/lines.rs"]
#[allow(dead_code)]
mod lines;
#[path = "../../crates/agentkernel/src/acp/message.rs"]
#[allow(dead_code)]
mod message;
#[path = "../../crates/agentkernel/src/acp/protocol.rs"]
#[allow(dead_code)]
mod protocol;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The most bytes of one message.
const LONGEST: usize = 32 << 20;
/// What the editor may be asked.
const ASKED: [&str; 2] = ["session/request_permission", "elicitation/create"];

fuzz_target!(|input: &[u8]| {
    let mut protocol = protocol::Protocol::new(Some("/srv".as_ref()), &[]);
    let mut lines = lines::Lines::new(LONGEST);
    lines.push(input);
    while let Some(Ok(line)) = lines.next() {
        // With this mark it is the editor's.
        match line.strip_prefix(b">") {
            Some(line) => drop(protocol.hear_editor(line)),
            None => protocol.hear_agent(&line),
        }
        while protocol.next_file().is_some() {}
        let told: Vec<u8> = protocol.to_editor.drain(..).collect();
        for told in told.split(|&byte| byte == b'\n').filter(|told| !told.is_empty()) {
            let message: Value = serde_json::from_slice(told).expect("a message");
            assert_eq!(message["jsonrpc"], "2.0");
            if let (Some(method), true) = (message["method"].as_str(), message.get("id").is_some()) {
                assert!(ASKED.contains(&method), "{method}");
            }
        }
        protocol.to_agent.clear();
    }
});
