//! Hides what a client's bytes say: its messages, what is told to a line that is none, and that no two of its requests have one
//! id while they are under way.

use super::unknown;
use crate::{
    json::{self, Unique},
    lines::{Lines, TooLong},
};
use rmcp::{
    RoleServer,
    model::{ClientNotification, CustomRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};
use std::{collections::HashSet, io};

/// The most requests that have no answer yet.
pub(super) const MOST_OPEN: usize = 1024;

/// What a client says.
pub(super) type Message = RxJsonRpcMessage<RoleServer>;

/// Bytes of a client as they come, to be taken as messages.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The most bytes of one.
    longest: usize,
    lines: Lines,
    /// Requests that have no answer yet.
    open: HashSet<RequestId>,
}

impl Inbox {
    /// Nothing yet, and no message of more bytes than this.
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, lines: Lines::new(longest), open: HashSet::new() }
    }

    /// Takes in what has come. The messages of what came before have been taken.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The next message, or what is said to a line that is none.
    pub(super) fn next(&mut self) -> Option<Result<Message, Value>> {
        loop {
            let line = self.lines.next()?;
            if let Some(heard) = self.read(line).transpose() {
                return Some(heard);
            }
        }
    }

    /// This goes out, so that the id of what it answers is free again.
    pub(super) fn answered(&mut self, message: &TxJsonRpcMessage<RoleServer>) {
        match message {
            JsonRpcMessage::Response(response) => {
                self.open.remove(&response.id);
            }
            JsonRpcMessage::Error(error) => {
                error.id.as_ref().map(|id| self.open.remove(id));
            }
            _ => {}
        }
    }

    /// The message of a line, if there is one in it, or what is said to that.
    fn read(&mut self, line: Result<Vec<u8>, TooLong>) -> Result<Option<Message>, Value> {
        let Ok(line) = line else {
            let cause = format!("A message has more than {} MiB, and is left out", self.longest >> 20);
            return Err(complaint(None, ErrorCode::INVALID_REQUEST, &cause));
        };
        // Some begin with a mark of Unicode's.
        let text = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            return Ok(None);
        }
        let is_unique = json::parse::<Unique>(text).is_ok();
        let Some(message) = json::parse::<Message>(text).ok().filter(|_| is_unique) else { return self.misfit(text) };
        match &message {
            JsonRpcMessage::Request(request) if self.open.len() >= MOST_OPEN => {
                let cause = format!("{MOST_OPEN} requests have no answer yet, which is as many as there may be");
                let id = Some(request.id.clone()).filter(|id| !self.open.contains(id));
                return Err(complaint(id, ErrorCode::INTERNAL_ERROR, &cause));
            }
            // Of two answers with one id, nobody could tell which is which.
            JsonRpcMessage::Request(request) if !self.open.insert(request.id.clone()) => {
                let cause = format!("Another request that is under way has the id {}", request.id);
                return Err(complaint(None, ErrorCode::INVALID_REQUEST, &cause));
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification {
                    // It has no answer.
                    cancelled.params.request_id.as_ref().map(|id| self.open.remove(id));
                }
            }
            _ => {}
        }
        Ok(Some(message))
    }

    /// What is said to a line that is no message: nothing, if it would be a notification.
    fn misfit(&self, text: &[u8]) -> Result<Option<Message>, Value> {
        let value: Value = json::parse(text)
            .map_err(|error| complaint(None, ErrorCode::PARSE_ERROR, &format!("That is no JSON: {error}")))?;
        let invalid = |id, cause| Err(complaint(id, ErrorCode::INVALID_REQUEST, cause));
        let Some(method) = value.get("method") else {
            let many = "Messages come one by one: batches are not taken";
            return invalid(None, if value.is_array() { many } else { "That is no message of JSON-RPC 2.0" });
        };
        // What has no id, or that of another one, can't be answered by it.
        let id: Option<RequestId> = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
        let id = id.filter(|id| !self.open.contains(id));
        match (method.as_str(), value.get("id")) {
            (Some(_), None) => Ok(None),
            // Of two ids, nobody knows which one is meant.
            _ if let Err(error) = json::parse::<Parts>(text) => {
                invalid(None, &format!("That is no request of JSON-RPC 2.0: {error}"))
            }
            _ if let Err(error) = json::parse::<Unique>(text) => {
                invalid(id, &format!("That is no request of JSON-RPC 2.0: {error}"))
            }
            _ if value.get("result").or(value.get("error")).is_some() => {
                invalid(id, "That is no request of JSON-RPC 2.0: it is an answer as well")
            }
            (Some(method), Some(_)) if id.is_some() && value["jsonrpc"] == "2.0" => {
                let ErrorData { code, message, .. } =
                    unknown::refusal(CustomRequest::new(method, value.get("params").cloned()));
                Err(complaint(id, code, &message))
            }
            _ => invalid(id, "That is no request of JSON-RPC 2.0"),
        }
    }
}

/// What a message may have, each once.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether they are there twice is looked at")]
struct Parts {
    jsonrpc: Option<IgnoredAny>,
    id: Option<IgnoredAny>,
    method: Option<IgnoredAny>,
    params: Option<IgnoredAny>,
    result: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// A message as it goes out.
pub(super) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// The answer to what was no request, or to none that can be told from others.
fn complaint(id: Option<RequestId>, code: ErrorCode, cause: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": ErrorData::new(code, cause.to_owned(), None)})
}
