//! Messages of JSON-RPC 2.0: hides in which ways a line can fail to be one, and in which it can be two to two readers.

use serde_json::{Map, Value, json};

/// What a request is told from others by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Id {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::String(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) data: Option<Value>,
}

impl Fault {
    /// It is no message.
    pub(super) const PARSE: i32 = -32700;
    /// It is none that may be.
    pub(super) const INVALID: i32 = -32600;
    /// Nobody does that here.
    pub(super) const METHOD: i32 = -32601;
    /// It is asked for in a way in which it can't be.
    pub(super) const PARAMS: i32 = -32602;
    /// It went wrong.
    pub(super) const INTERNAL: i32 = -32603;

    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// As it is told.
    pub(super) fn value(&self) -> Value {
        let mut value = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            value["data"] = data.clone();
        }
        value
    }
}

/// What was asked for, or why it was not had, as the other side said it.
pub(super) type Answer = Result<Value, Value>;

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Request {
        id: Id,
        method: String,
        params: Map<String, Value>,
    },
    Notification {
        method: String,
        params: Map<String, Value>,
    },
    Response {
        id: Id,
        answer: Answer,
    },
    /// An answer to what the other side could not make out.
    Complaint(Value),
}

impl Message {
    /// The message of a line. Of what is there twice the last counts, and what is no part of a message is left out: what
    /// is passed on is made anew, so that whoever reads it reads the same.
    ///
    /// # Errors
    /// What is to be told to whoever has sent it.
    pub(super) fn of(line: &[u8]) -> Result<Self, Fault> {
        let parsed = crate::json::parse(line);
        let value: Value = parsed.map_err(|error| Fault::new(Fault::PARSE, format!("That is no JSON: {error}")))?;
        let invalid = |message: &str| Fault::new(Fault::INVALID, message);
        let Value::Object(mut object) = value else { return Err(invalid("A message is an object")) };
        let id = object.get("id");
        let known = id.and_then(Id::of);
        match object.remove("method") {
            Some(Value::String(method)) => {
                let params = match object.remove("params") {
                    None | Some(Value::Null) => Map::new(),
                    Some(Value::Object(params)) => params,
                    Some(_) => return Err(invalid("Parameters are an object")),
                };
                match (object.contains_key("id"), known) {
                    (false, _) => Ok(Self::Notification { method, params }),
                    (true, Some(id)) => Ok(Self::Request { id, method, params }),
                    (true, None) => Err(invalid("An id is a whole number or a text")),
                }
            }
            Some(_) => Err(invalid("A method is a text")),
            None => match (object.remove("result"), object.remove("error"), known) {
                (Some(result), None, Some(id)) => Ok(Self::Response { id, answer: Ok(result) }),
                (None, Some(error), Some(id)) => Ok(Self::Response { id, answer: Err(error) }),
                (None, Some(error), None) => Ok(Self::Complaint(error)),
                _ => Err(invalid("It is neither a request, nor a notification, nor a response")),
            },
        }
    }
}

/// A request as a line.
pub(super) fn request(id: &Id, method: &str, params: &Map<String, Value>) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id.value(), "method": method, "params": params}))
}

/// A notification as a line.
pub(super) fn notification(method: &str, params: &Map<String, Value>) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

/// A response as a line.
pub(super) fn response(id: &Id, answer: &Answer) -> Vec<u8> {
    match answer {
        Ok(result) => line(&json!({"jsonrpc": "2.0", "id": id.value(), "result": result})),
        Err(error) => line(&json!({"jsonrpc": "2.0", "id": id.value(), "error": error})),
    }
}

/// That a request was refused as a line.
pub(super) fn refusal(id: &Id, fault: &Fault) -> Vec<u8> {
    response(id, &Err(fault.value()))
}

/// That something could not be made out, as a line.
pub(super) fn complaint(fault: &Fault) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": null, "error": fault.value()}))
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
