//! Hides the body of a request, whose trailers are headers as any others: a secret is put in there as well, or kept back.

use super::Exchange;
use crate::{Denial, Reason};
use ::http::{HeaderMap, Method, Uri, request::Parts};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    cell::{Cell, RefCell},
    error::Error,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// What a client sends.
pub(super) struct Asked {
    /// None once it is given up.
    body: Option<Incoming>,
    exchange: Rc<Exchange>,
    /// The request's line.
    line: String,
    /// The server says what it got.
    traces: bool,
    end: Rc<End>,
    /// Takes what the server does not want any more.
    rest: Option<Box<dyn FnOnce(Incoming)>>,
}

/// Why the end of a body did not go on, for who answers the request.
#[derive(Default)]
pub(super) struct End {
    denied: RefCell<Option<Denial>>,
    answered: Cell<bool>,
    whole: Cell<bool>,
}

impl End {
    /// Why it did not, if the server's answer has not come before.
    pub(super) fn denied(&self) -> Option<Denial> {
        self.denied.take()
    }

    /// Whether all of the body has gone on.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.get()
    }

    /// The server's answer goes to the client, whatever follows.
    pub(super) fn answered(&self) {
        self.answered.set(true);
    }
}

impl Asked {
    pub(super) fn new(body: Incoming, parts: &Parts, exchange: Rc<Exchange>, line: String) -> (Self, Rc<End>) {
        let end = Rc::<End>::default();
        end.whole.set(body.is_end_stream());
        let traces = parts.method == Method::TRACE;
        (Self { body: Some(body), exchange, line, traces, end: end.clone(), rest: None }, end)
    }

    /// Hands on what is left of it when the server has answered without it.
    pub(super) fn or_else(mut self, rest: impl FnOnce(Incoming) + 'static) -> Self {
        self.rest = Some(Box::new(rest));
        self
    }

    /// Makes trailers what goes to the server.
    fn admit(&self, trailers: &mut HeaderMap) -> Result<(), Denial> {
        let exchange = &self.exchange;
        let (secrets, nowhere) = (&exchange.passage.secrets, Uri::default());
        let host = &exchange.passage.target.host;
        let swapped = match exchange.tls {
            true => secrets.swap(host, &Method::GET, &nowhere, trailers),
            false => secrets.refuse(host, &Method::GET, &nowhere, trailers).map(|()| false),
        };
        match swapped {
            Ok(true) if self.traces => Err(exchange.would_come_back()),
            Ok(_) => Ok(()),
            Err(misplaced) => Err(exchange.misplaced(&misplaced)),
        }
    }

    /// Tells why the rest does not go on, or has whoever answers tell it.
    fn deny(&self, denial: Denial) {
        match self.end.answered.get() {
            true => self.exchange.passage.report.refused(&denial, &self.line),
            false => drop(self.end.denied.replace(Some(denial))),
        }
    }
}

/// What is wrong with a body that cannot be read; `None` if it has only ended too early.
fn flaw(error: &hyper::Error) -> Option<String> {
    let error = error.source()?.downcast_ref::<io::Error>()?;
    let unreadable = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
    // What follows a colon may be the client's own words, of any length.
    let words = || error.to_string().split(':').next().map(|words| format!("its body cannot be read: {words}"));
    unreadable.then(words).flatten()
}

impl Body for Asked {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        self.end.whole.set(frame.is_none() || self.is_end_stream());
        let Some(frame) = frame else { return Poll::Ready(None) };
        let mut frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                if let Some(flaw) = flaw(&error) {
                    // There may be more of it, and of what follows.
                    self.exchange.unread.set(true);
                    self.deny(self.exchange.denial(Reason::BadRequest).because(flaw));
                }
                return Poll::Ready(Some(Err(error.into())));
            }
        };
        if let Some(trailers) = frame.trailers_mut()
            && let Err(denial) = self.admit(trailers)
        {
            let code = denial.reason.code();
            self.deny(denial);
            return Poll::Ready(Some(Err(code.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let (Some(body), Some(rest)) = (self.body.take(), self.rest.take())
            && !body.is_end_stream()
        {
            rest(body);
        }
    }
}
