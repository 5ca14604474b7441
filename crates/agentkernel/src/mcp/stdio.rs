//! Hides how messages come and go on standard input and output: what is told to a client whose line is none, and that no two of
//! its requests have one id while they are under way.

use super::{answers::Answers, unknown};
use crate::{
    json,
    lines::{Lines, TooLong},
};
use rmcp::{
    RoleServer,
    model::{ClientNotification, ClientRequest, CustomRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::HashSet, future::pending, io, os::fd::AsFd as _, pin::Pin, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, unix::AsyncFd},
    sync::{Mutex, Notify},
};

/// The longest message of a client.
pub(super) const LONGEST: usize = 16 << 20;
/// Bytes that are read at once.
const PART: usize = 64 << 10;

type Message = RxJsonRpcMessage<RoleServer>;
type Writing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A client's lines, and those that it is told.
pub(super) struct Stdio<R, W> {
    input: R,
    part: Vec<u8>,
    lines: Lines,
    output: Arc<Mutex<W>>,
    /// The client has said what it is.
    begun: bool,
    /// Requests that have no answer yet.
    open: HashSet<RequestId>,
    /// What is being said to a line that was no message; nothing more is read before.
    complaint: Option<Writing>,
    /// Is told when the client has nothing more to say: who answers it may be held up then, and hear of nothing.
    ended: Arc<Notify>,
    answers: Arc<Answers>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send + 'static> Stdio<R, W> {
    pub(super) fn new(input: R, output: W, ended: Arc<Notify>, answers: Arc<Answers>) -> Self {
        let (lines, output, open) = (Lines::new(LONGEST), Arc::new(Mutex::new(output)), HashSet::new());
        let part = Vec::with_capacity(PART);
        Self { input, part, lines, output, begun: false, open, complaint: None, ended, answers }
    }

    /// The next message. Nothing is lost if that is given up.
    async fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(complaint) = &mut self.complaint {
                let told = complaint.await;
                self.complaint = None;
                told?;
            }
            match self.lines.next().map(|line| read(line, &mut self.open)) {
                Some(Ok(Some(message))) => {
                    self.begun |= matches!(&message, JsonRpcMessage::Request(request)
                        if matches!(request.request, ClientRequest::InitializeRequest(_)));
                    // Before that, what is no request tells nobody anything.
                    if self.begun || matches!(message, JsonRpcMessage::Request(_)) {
                        return Ok(message);
                    }
                }
                Some(Ok(None)) => {}
                Some(Err(complaint)) => self.complaint = Some(Box::pin(write(self.output.clone(), line(&complaint)))),
                None => {
                    self.part.clear();
                    if self.input.read_buf(&mut self.part).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.lines.push(&self.part);
                }
            }
        }
    }
}

impl<R, W> Transport<RoleServer> for Stdio<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        match &message {
            JsonRpcMessage::Response(response) => {
                self.open.remove(&response.id);
                self.answers.went_out(&response.id);
            }
            JsonRpcMessage::Error(error) => {
                error.id.as_ref().map(|id| self.open.remove(id));
            }
            _ => {}
        }
        write(self.output.clone(), line(&message))
    }

    async fn receive(&mut self) -> Option<Message> {
        let message = self.next().await.ok();
        if message.is_none() {
            self.ended.notify_one();
        }
        message
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        // Every line is written out at once.
        Ok(())
    }
}

/// Waits until nobody can read standard output any more. Of a file that is not known.
#[expect(deprecated, reason = "what is unsound are descriptors that are closed early, which an OwnedFd is not")]
pub(super) async fn unread() {
    let output = io::stdout().as_fd().try_clone_to_owned();
    let Ok(output) = output.and_then(AsyncFd::new) else { return pending().await };
    while let Ok(mut told) = output.writable().await {
        if told.ready().is_write_closed() {
            return;
        }
        told.clear_ready();
    }
    pending().await
}

async fn write(output: Arc<Mutex<impl AsyncWrite + Unpin>>, line: io::Result<Vec<u8>>) -> io::Result<()> {
    let line = line?;
    let mut output = output.lock().await;
    output.write_all(&line).await?;
    output.flush().await
}

fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// The message of a line, if there is one in it, or what is said to that.
fn read(line: Result<Vec<u8>, TooLong>, open: &mut HashSet<RequestId>) -> Result<Option<Message>, Value> {
    let Ok(line) = line else {
        let cause = format!("A message has more than {} MiB, and is left out", LONGEST >> 20);
        return Err(complaint(None, ErrorCode::INVALID_REQUEST, &cause));
    };
    // Some begin with a mark of Unicode's.
    let text = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line).trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let Ok(message) = json::parse::<Message>(text) else { return misfit(text, open) };
    match &message {
        // Of two answers with one id, nobody could tell which is which.
        JsonRpcMessage::Request(request) if !open.insert(request.id.clone()) => {
            let cause = format!("Another request that is under way has the id {}", request.id);
            return Err(complaint(None, ErrorCode::INVALID_REQUEST, &cause));
        }
        JsonRpcMessage::Notification(notification) => {
            if let ClientNotification::CancelledNotification(cancelled) = &notification.notification {
                // It has no answer.
                cancelled.params.request_id.as_ref().map(|id| open.remove(id));
            }
        }
        _ => {}
    }
    Ok(Some(message))
}

/// What is said to a line that is no message: nothing, if it would be a notification.
fn misfit(text: &[u8], open: &HashSet<RequestId>) -> Result<Option<Message>, Value> {
    let value: Value = json::parse(text)
        .map_err(|error| complaint(None, ErrorCode::PARSE_ERROR, &format!("That is no JSON: {error}")))?;
    let invalid = |id, cause| Err(complaint(id, ErrorCode::INVALID_REQUEST, cause));
    let Some(method) = value.get("method") else {
        let many = "Messages come one by one: batches are not taken";
        return invalid(None, if value.is_array() { many } else { "That is no message of JSON-RPC 2.0" });
    };
    // What has no id, or that of another one, can't be answered by it.
    let id: Option<RequestId> = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
    let id = id.filter(|id| !open.contains(id));
    match (method.as_str(), value.get("id")) {
        (Some(_), None) => Ok(None),
        (Some(method), Some(_)) if id.is_some() && value["jsonrpc"] == "2.0" => {
            let ErrorData { code, message, .. } =
                unknown::refusal(CustomRequest::new(method, value.get("params").cloned()));
            Err(complaint(id, code, &message))
        }
        _ => invalid(id, "That is no request of JSON-RPC 2.0"),
    }
}

/// The answer to what was no request, or to none that can be told from others.
fn complaint(id: Option<RequestId>, code: ErrorCode, cause: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": ErrorData::new(code, cause.to_owned(), None)})
}
