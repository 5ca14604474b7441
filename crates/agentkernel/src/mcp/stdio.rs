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
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
/// Bytes that are to be said, and that nobody has read: with more, the client is not heard before it listens.
const MOST_UNSENT: usize = 16 << 20;
/// What a line takes that waits, beside itself.
const EACH: usize = 1024;

type Writing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A client's lines, and those that it is told.
pub(super) struct Stdio<R, W> {
    input: R,
    part: Vec<u8>,
    inbox: Inbox,
    output: Arc<Mutex<W>>,
    unsent: Arc<Unsent>,
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
        let (part, unsent) = (Vec::with_capacity(PART), Arc::default());
        Self { input, part, inbox, output, unsent, begun, complaint: None, ended, answers }
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
                    self.unsent.is_little().await;
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
        let (line, output) = (line(&message), self.output.clone());
        let share = Share::of(&self.unsent, EACH + line.as_ref().map_or(0, Vec::len));
        async move {
            let written = write(output, line).await;
            drop(share);
            written
        }
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

/// How many bytes wait to be written.
#[derive(Debug, Default)]
struct Unsent {
    bytes: AtomicUsize,
    less: Notify,
}

impl Unsent {
    async fn is_little(&self) {
        loop {
            let less = self.less.notified();
            if self.bytes.load(Ordering::Acquire) <= MOST_UNSENT {
                return;
            }
            less.await;
        }
    }
}

/// A line's part of them.
struct Share {
    unsent: Arc<Unsent>,
    length: usize,
}

impl Share {
    fn of(unsent: &Arc<Unsent>, length: usize) -> Self {
        unsent.bytes.fetch_add(length, Ordering::AcqRel);
        Self { unsent: unsent.clone(), length }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.unsent.bytes.fetch_sub(self.length, Ordering::AcqRel);
        // One that nobody waits for counts for the next who does.
        self.unsent.less.notify_one();
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
