//! Hides which answers go out: one to a call that is cancelled while it is on its way is dropped by the protocol, and what the
//! call has made would be left to nobody.

use super::delivery::Delivery;
use rmcp::{RoleServer, model::RequestId, service::RequestContext};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Who waits for an answer to go out, by the call's id.
#[derive(Debug)]
pub(super) struct Answers {
    /// Whether the transport tells of them. Over HTTP it is what carries each that is asked.
    watched: bool,
    waiting: Mutex<HashMap<RequestId, oneshot::Sender<()>>>,
}

impl Answers {
    pub(super) fn new(watched: bool) -> Self {
        Self { watched, waiting: Mutex::default() }
    }

    /// Whether the answer to a call goes out; to be asked for before it is given.
    pub(super) fn goes_out(
        self: &Arc<Self>,
        context: &RequestContext<RoleServer>,
    ) -> impl Future<Output = bool> + Send + 'static {
        let (tell, told) = oneshot::channel();
        let (answers, id, cancelled) = (self.clone(), context.id.clone(), context.ct.clone());
        let (in_time, delivery) = (!cancelled.is_cancelled(), Delivery::to(context));
        if self.watched {
            answers.lock().insert(id.clone(), tell);
        }
        async move {
            if !answers.watched {
                let Some(delivery) = delivery else { return in_time };
                return in_time && delivery.arrives(cancelled.cancelled()).await;
            }
            tokio::select! {
                // The token is spent by an answer as well, which is told of before anybody else has a turn: there is one thread.
                biased;
                told = told => told.is_ok(),
                () = cancelled.cancelled() => {
                    answers.lock().remove(&id);
                    false
                }
            }
        }
    }

    /// Tells that one goes out.
    pub(super) fn went_out(&self, id: &RequestId) {
        if let Some(tell) = self.lock().remove(id) {
            // Whoever has given up waiting has no use for it.
            let _ = tell.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
