//! What of ours reads bytes of a client of MCP, or of a sandbox for it: no panic; what is no message is answered by a line that
//! is about no other request, what is a notification by nothing; a root is a directory of this host, a resource is of one
//! sandbox, nobody gets in without the token, and what a search finds is in what it wrote.
#![no_main]

#[path = "../../crates/agentkernel/src/mcp/address.rs"]
#[allow(dead_code)]
mod address;
#[path = "../../crates/agentkernel/src/mcp/worker/grep.rs"]
#[allow(dead_code)]
mod grep;
#[path = "../../crates/agentkernel/src/mcp/inbox.rs"]
mod inbox;
#[path = "../../crates/agentkernel/src/json.rs"]
mod json;
#[path = "../../crates/agentkernel/src/lines.rs"]
mod lines;
#[path = "../../crates/agentkernel/src/mcp/roots.rs"]
#[allow(dead_code)]
mod roots;
#[path = "../../crates/agentkernel/src/mcp/token.rs"]
#[allow(dead_code)]
mod token;
#[path = "../../crates/agentkernel/src/mcp/unknown.rs"]
mod unknown;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use inbox::Inbox;
use libfuzzer_sys::fuzz_target;
use rmcp::model::{ClientNotification, ClientRequest, ErrorData, JsonRpcMessage, RequestId};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;

const TOKEN: &str = "0123456789abcdef";
/// The most bytes of one message.
const LONGEST: usize = 1 << 10;

/// What a client is told, which must be one line with a message.
fn told(message: &impl Serialize) -> Value {
    let line = inbox::line(message).expect("a line");
    assert!(line.iter().position(|&byte| byte == b'\n') == Some(line.len() - 1), "{line:?}");
    let message: Value = serde_json::from_slice(&line).expect("a message");
    assert_eq!(message["jsonrpc"], "2.0");
    // To what is told, nothing is said: two of us would not talk for ever.
    let mut inbox = Inbox::new(usize::MAX);
    inbox.push(&line);
    assert!(!matches!(inbox.next(), Some(Err(_))), "{message}");
    message
}

/// The lines of one client, with the ids that wait for an answer.
fn hear(input: &[u8]) {
    let (mut inbox, mut open) = (Inbox::new(LONGEST), HashSet::new());
    // What has no end is no line yet.
    for line in input.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        inbox.push(line);
        let heard = inbox.next();
        assert!(inbox.next().is_none(), "one line, two messages");
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line).trim_ascii();
        let value: Value = json::parse(line).unwrap_or_default();
        let id: Option<RequestId> = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
        let is_notification = value["method"].is_string() && value.get("id").is_none();
        match heard {
            Some(Ok(JsonRpcMessage::Request(request))) => {
                assert!(id.as_ref() == Some(&request.id) && open.insert(request.id.clone()), "{value}");
                let ClientRequest::CustomRequest(custom) = request.request else { continue };
                let answer = JsonRpcMessage::error(unknown::refusal(custom), Some(request.id.clone()));
                assert_eq!(told(&answer)["id"], serde_json::to_value(&request.id).expect("an id"));
                // Some are answered late.
                if matches!(request.id, RequestId::Number(_)) {
                    inbox.answered(&answer);
                    open.remove(&request.id);
                }
            }
            Some(Ok(JsonRpcMessage::Notification(notification))) => {
                assert!(is_notification, "{value}");
                if let ClientNotification::CancelledNotification(cancelled) = notification.notification {
                    cancelled.params.request_id.map(|id| open.remove(&id));
                }
            }
            Some(Ok(_)) => assert!(value.get("method").is_none(), "{value}"),
            Some(Err(complaint)) => {
                assert!(!is_notification || line.len() >= LONGEST, "{value}: {complaint}");
                let complaint = told(&complaint);
                let _: ErrorData = serde_json::from_value(complaint["error"].clone()).expect("an error");
                if !complaint["id"].is_null() {
                    let about = serde_json::from_value(complaint["id"].clone()).ok();
                    assert!(about == id && id.is_some_and(|id| !open.contains(&id)), "{value}: {complaint}");
                }
            }
            // What is a request is answered by somebody.
            None => assert!(!value["method"].is_string() || is_notification, "{value}"),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    hear(input);
    let found: usize = grep::found(input).map(|(path, _, text)| path.len() + text.len()).sum();
    assert!(found <= input.len());
    let ours = token::Token::new(TOKEN).expect("a token");
    let mut head = HeaderMap::new();
    for value in input.split(|&byte| byte == b'\n').filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        head.append(AUTHORIZATION, value);
    }
    let has = input.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
    assert!(!ours.is_in(&head) || has && head.len() == 1, "{head:?}");
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(token) = token::Token::new(text) {
        assert!(HeaderValue::from_str(token.text()).is_ok());
    }
    for uri in [text, &format!("file://{text}")] {
        if let Some(dir) = roots::directory(uri) {
            assert!(dir.is_absolute() && dir.is_dir(), "{dir:?}");
        }
    }
    for uri in [text, &format!("{}{text}", address::SANDBOX)] {
        if let Some((sandbox, resource)) = address::parse(uri) {
            assert!(!sandbox.contains('/'), "{sandbox}");
            if let address::Resource::File(path) = resource {
                assert!(path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0), "{path:?}");
            }
        }
    }
});
