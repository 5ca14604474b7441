//! What one flow carries: counted, and held to the sandbox's rate.

use crate::{bucket::Bucket, control::Totals};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the sandbox.
    Out,
    /// To the sandbox.
    In,
}

/// The count of one flow.
pub(crate) struct Meter {
    started: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    requests: AtomicU64,
    tokens: AtomicU64,
    bucket: Option<Arc<Bucket>>,
}

impl Meter {
    pub(crate) fn new(bucket: Option<Arc<Bucket>>) -> Self {
        Self {
            started: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            bucket,
        }
    }

    /// How many bytes may pass now, at most `most`: waits until some may.
    pub(crate) async fn permit(&self, most: usize) -> usize {
        match &self.bucket {
            Some(bucket) => bucket.take(most).await,
            None => most,
        }
    }

    /// Counts what has passed, of what was permitted.
    pub(crate) fn count(&self, direction: Direction, permitted: usize, passed: usize) {
        if let Some(bucket) = &self.bucket
            && permitted > passed
        {
            bucket.give_back(permitted - passed);
        }
        let count = match direction {
            Direction::Out => &self.sent,
            Direction::In => &self.received,
        };
        count.fetch_add(passed as u64, Relaxed);
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn tokens(&self, count: u64) {
        self.tokens.fetch_add(count, Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            requests: self.requests.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            duration_ms: self.started.elapsed().as_millis() as u64,
        }
    }
}

/// Bytes that are permitted at once.
const PIECE: usize = 64 * 1024;

type Permit = Pin<Box<dyn Future<Output = usize> + Send>>;

/// One direction of a metered stream.
#[derive(Default)]
struct Gate {
    waiting: Option<Permit>,
    permitted: usize,
}

impl Gate {
    /// How many bytes may pass now, at most `most`; not 0, unless `most` is.
    fn poll(&mut self, meter: &Arc<Meter>, most: usize, cx: &mut Context<'_>) -> Poll<usize> {
        let Some(bucket) = &meter.bucket else { return Poll::Ready(most) };
        if self.permitted == 0 && most > 0 {
            let waiting = self.waiting.get_or_insert_with(|| {
                let bucket = bucket.clone();
                Box::pin(async move { bucket.take(PIECE).await })
            });
            self.permitted = ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        Poll::Ready(self.permitted.min(most))
    }

    /// Gives back what is permitted and not used: whoever waits for something to pass holds nothing up.
    fn give_back(&mut self, meter: &Meter) {
        if let Some(bucket) = &meter.bucket {
            bucket.give_back(std::mem::take(&mut self.permitted));
        }
    }

    /// Takes off what has passed.
    fn pass(&mut self, meter: &Meter, direction: Direction, count: usize) {
        self.permitted = self.permitted.saturating_sub(count);
        meter.count(direction, 0, count);
    }
}

/// A stream to a server whose bytes are counted, and held to the rate.
pub(crate) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    reading: Gate,
    writing: Gate,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter, reading: Gate::default(), writing: Gate::default() }
    }

    /// The stream itself, past the meter.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let permitted = ready!(this.reading.poll(&this.meter, into.remaining(), cx));
        let before = into.filled().len();
        let polled = if permitted == into.remaining() {
            Pin::new(&mut this.stream).poll_read(cx, into)
        } else {
            let mut part = ReadBuf::new(into.initialize_unfilled_to(permitted));
            let polled = Pin::new(&mut this.stream).poll_read(cx, &mut part);
            let count = part.filled().len();
            into.advance(count);
            polled
        };
        let Poll::Ready(result) = polled else {
            this.reading.give_back(&this.meter);
            return Poll::Pending;
        };
        result?;
        let count = into.filled().len() - before;
        this.reading.pass(&this.meter, Direction::In, count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let permitted = ready!(this.writing.poll(&this.meter, bytes.len(), cx));
        let Poll::Ready(result) = Pin::new(&mut this.stream).poll_write(cx, &bytes[..permitted]) else {
            this.writing.give_back(&this.meter);
            return Poll::Pending;
        };
        let count = result?;
        this.writing.pass(&this.meter, Direction::Out, count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.meter.bucket.is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_write(cx, first);
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.meter.count(Direction::Out, 0, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.writing.give_back(&this.meter);
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> Drop for Metered<S> {
    fn drop(&mut self) {
        self.reading.give_back(&self.meter);
        self.writing.give_back(&self.meter);
    }
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
