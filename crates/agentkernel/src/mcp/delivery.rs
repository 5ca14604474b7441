//! Hides how it is known whether an answer over HTTP reaches its client: what carries it is read to its end, or given up.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};
use rmcp::{RoleServer, service::RequestContext};
use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::sync::watch;

/// The streams that clients go on reading after they have lost the one that a request began, by their sessions.
#[derive(Debug, Default)]
pub(super) struct Resumed(Mutex<HashMap<HeaderValue, usize>>);

impl Resumed {
    fn lock(&self) -> MutexGuard<'_, HashMap<HeaderValue, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of the answer to one request.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    arrived: watch::Receiver<bool>,
    session: Option<HeaderValue>,
    resumed: Arc<Resumed>,
}

impl Delivery {
    /// That of a request, which takes it along to the call that is made by it, and what tells of it.
    pub(super) fn of<B>(request: &mut Request<B>, resumed: &Arc<Resumed>) -> Carrier {
        let (tell, arrived) = watch::channel(false);
        let session = session(request.headers()).cloned();
        let reads_on = request.method() == Method::GET && is_of_a_request(request.headers());
        let reads_on = session.clone().filter(|_| reads_on).map(|session| ReadsOn::new(session, resumed));
        request.extensions_mut().insert(Self { arrived, session, resumed: resumed.clone() });
        Carrier { tell, _reads_on: reads_on }
    }

    /// That of a call.
    pub(super) fn to(context: &RequestContext<RoleServer>) -> Option<Self> {
        context.extensions.get::<http::request::Parts>()?.extensions.get().cloned()
    }

    /// Whether the answer arrives, which is given when this is `over`.
    pub(super) async fn arrives(mut self, over: impl Future<Output = ()>) -> bool {
        if self.arrived.wait_for(|arrived| *arrived).await.is_ok() {
            return true;
        }
        // Until then, a client that has lost its connection can come back for it.
        over.await;
        self.session.is_some_and(|session| self.resumed.lock().contains_key(&session))
    }
}

/// The session that a request is made in.
pub(super) fn session(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get("mcp-session-id")
}

/// Whether it asks for the rest of what a request has begun, and not for what concerns none.
fn is_of_a_request(headers: &HeaderMap) -> bool {
    headers.get("last-event-id").is_some_and(|id| id.as_bytes().contains(&b'/'))
}

/// One that is being read.
#[derive(Debug)]
struct ReadsOn {
    session: HeaderValue,
    resumed: Arc<Resumed>,
}

impl ReadsOn {
    fn new(session: HeaderValue, resumed: &Arc<Resumed>) -> Self {
        *resumed.lock().entry(session.clone()).or_default() += 1;
        Self { session, resumed: resumed.clone() }
    }
}

impl Drop for ReadsOn {
    fn drop(&mut self) {
        let mut all = self.resumed.lock();
        if let Some(count) = all.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.session);
            }
        }
    }
}

/// What tells of a delivery: it has failed if this goes before all of the body was taken.
#[derive(Debug)]
pub(super) struct Carrier {
    tell: watch::Sender<bool>,
    _reads_on: Option<ReadsOn>,
}

impl Carrier {
    /// The body that it goes with.
    pub(super) fn with(self, body: BoxBody<Bytes, Infallible>) -> Carried {
        Carried { body, carrier: self }
    }
}

/// A body that is watched.
#[derive(Debug)]
pub(super) struct Carried {
    body: BoxBody<Bytes, Infallible>,
    carrier: Carrier,
}

impl Body for Carried {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.carrier.tell.send_replace(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
