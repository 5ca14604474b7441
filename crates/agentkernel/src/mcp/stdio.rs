//! Hides how messages come and go on standard input and output.

use super::{
    answers::Answers,
    inbox::{Inbox, Message, line},
};
use rmcp::{RoleServer, model::JsonRpcMessage, service::TxJsonRpcMessage, transport::Transport};
use std::{
    future::pending,
    io,
    os::fd::AsFd as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, unix::AsyncFd},
    sync::{Mutex, Notify},
};

/// The longest message of a client.
pub(super) const LONGEST: usize = 16 << 20;
/// Bytes that are read at once.
const PART: usize = 64 << 10;

type Writing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A client's lines, and those that it is told.
pub(super) struct Stdio<R, W> {
    input: R,
    part: Vec<u8>,
    inbox: Inbox,
    output: Arc<Mutex<W>>,
    /// The client has said what it is: by a greeting, or, where the protocol has none, by its first request.
    begun: Arc<AtomicBool>,
    /// What is being said to a line that was no message; nothing more is read before.
    complaint: Option<Writing>,
    /// Is told when the client has nothing more to say: who answers it may be held up then, and hear of nothing.
    ended: Arc<Notify>,
    answers: Arc<Answers>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send + 'static> Stdio<R, W> {
    pub(super) fn new(input: R, output: W, begun: Arc<AtomicBool>, ended: Arc<Notify>, answers: Arc<Answers>) -> Self {
        let (inbox, output) = (Inbox::new(LONGEST), Arc::new(Mutex::new(output)));
        Self { input, part: Vec::with_capacity(PART), inbox, output, begun, complaint: None, ended, answers }
    }

    /// The next message. Nothing is lost if that is given up.
    async fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(complaint) = &mut self.complaint {
                let told = complaint.await;
                self.complaint = None;
                told?;
            }
            match self.inbox.next() {
                // Before the protocol has begun, what is no request tells nobody anything, and would end it.
                Some(Ok(message)) => {
                    if self.begun.load(Ordering::Relaxed) || matches!(message, JsonRpcMessage::Request(_)) {
                        return Ok(message);
                    }
                }
                Some(Err(complaint)) => self.complaint = Some(Box::pin(write(self.output.clone(), line(&complaint)))),
                None => {
                    self.part.clear();
                    if self.input.read_buf(&mut self.part).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.inbox.push(&self.part);
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
        self.inbox.answered(&message);
        if let JsonRpcMessage::Response(response) = &message {
            self.answers.went_out(&response.id);
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
