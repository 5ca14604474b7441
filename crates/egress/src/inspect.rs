//! Hides what is read of a conversation: nothing of most, every request of those in clear or to hosts with a secret.

use crate::{
    Denial, Grant, Host, Target,
    control::Config,
    meter::Meter,
    relay,
    server::{Rules, Shared},
};
use std::rc::Rc;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// What it takes to read conversations.
pub(crate) struct Inspector;

impl Inspector {
    pub(crate) fn new(_config: &Config, _old: Option<&Self>) -> Self {
        Self
    }

    /// Whether TLS to this host is read.
    pub(crate) fn intercepts(&self, _host: &Host) -> bool {
        false
    }
}

/// One conversation.
pub(crate) struct Passage {
    pub(crate) shared: Rc<Shared>,
    pub(crate) rules: Rc<Rules>,
    pub(crate) number: u64,
    pub(crate) target: Target,
    pub(crate) grant: Grant,
    pub(crate) meter: Rc<Meter>,
}

/// Serves it to its end.
pub(crate) async fn serve(
    passage: Passage,
    client: &mut TcpStream,
    first: Vec<u8>,
    mut server: TcpStream,
    _tls: bool,
) -> Result<(), Denial> {
    let _ = (passage.rules, passage.number, passage.target, passage.grant);
    let _ = server.write_all(&first).await;
    let _ = relay::relay(client, &server, &passage.meter, &passage.shared.pipes).await;
    Ok(())
}
