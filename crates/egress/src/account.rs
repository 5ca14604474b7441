//! Hides what is told of one flow: that it is connected, what of it was refused, and in the end what it has carried.

use crate::{
    Denial, Grant, Host, Reason, Rule, Target,
    control::{Event, FlowEvent, What},
    meter::Meter,
    server::Shared,
};
use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc};
use wire::flow::Flow;

/// What has no name that could be one; nobody can have this one (RFC 6761, 6.4).
pub(crate) const INVALID: &str = "invalid";
/// The most characters of a text that an event has room for.
const MAX_TEXT: usize = 300;

/// A flow, for all who carry it. It is over when the last of them has let go of this, and its totals are told then.
pub(crate) struct Account {
    pub(crate) shared: Rc<Shared>,
    number: u64,
    pub(crate) target: Target,
    pub(crate) meter: Arc<Meter>,
    /// The supervisor was told that it is connected.
    open: Cell<bool>,
}

impl Account {
    /// Gives a flow its number, and tells where it goes. What is no host is called as such for those who look, and is
    /// nowhere looked up.
    pub(crate) fn new(shared: &Rc<Shared>, flow: &Flow) -> Rc<Self> {
        let host = Host::parse(&flow.host).unwrap_or_else(|_| Host::Name(INVALID.into()));
        Rc::new(Self {
            shared: shared.clone(),
            number: shared.next_number(),
            target: Target { host, port: flow.port },
            meter: Arc::new(Meter::new(shared.bucket())),
            open: Cell::new(false),
        })
    }

    /// Its number, unique in the life of an egress.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// It is allowed: whatever becomes of this process, that it was tried is known from now on.
    pub(crate) fn begun(&self) {
        self.tell(What::Begun);
    }

    /// It is connected, to an address that another rule may have had to name.
    pub(crate) fn opened(&self, grant: &Grant, namer: Option<&Rule>, address: SocketAddr) {
        self.open.set(true);
        let rule = match namer {
            None => grant.rule.clone(),
            Some(namer) => format!("{}, {namer}", grant.rule),
        };
        self.tell(What::Opened { rule, address });
    }

    /// It, or one request of it, is refused.
    pub(crate) fn refused(&self, denial: &Denial, request: Option<&str>) {
        let Denial { reason, detail, .. } = denial;
        self.tell(What::Refused { reason: *reason, detail: cut(detail), request: request.map(cut) });
    }

    /// The sandbox has ended. What was not connected by then is on record all the same: its name may have been asked for.
    pub(crate) fn ended(&self) {
        if self.open.get() {
            return;
        }
        let lost = || Denial::new(Reason::Lost, &self.target).because("the sandbox ended before it was connected");
        self.refused(&self.shared.rules().policy.judge(&self.target).err().unwrap_or_else(lost), None);
    }

    fn tell(&self, what: What) {
        let Self { number, target, .. } = self;
        self.shared.channel.tell(&Event::Flow(FlowEvent { flow: *number, target: target.clone(), what }));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.open.get() {
            self.tell(What::Closed(self.meter.totals()));
        }
        self.shared.ended(self.number);
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
