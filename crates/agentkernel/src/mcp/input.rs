//! What a client says, with an eye on its end: who answers it may be held up then, and hear of nothing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::Notify,
};

/// A source that tells when it has ended.
pub(super) struct Input<R> {
    source: R,
    ended: Arc<Notify>,
}

impl<R> Input<R> {
    pub(super) fn new(source: R) -> (Self, Arc<Notify>) {
        let ended = Arc::new(Notify::new());
        (Self { source, ended: ended.clone() }, ended)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.source).poll_read(context, buffer);
        if let Poll::Ready(result) = &read
            && (result.is_err() || buffer.filled().len() == before && buffer.capacity() > before)
        {
            self.ended.notify_one();
        }
        read
    }
}
