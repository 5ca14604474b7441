//! `mcp`: sandboxes for a model that works on this host, by the Model Context Protocol.

use super::{Failure, Status, print, run, undo};
use crate::{
    Spec,
    client::Client,
    config::{HostFacts, Overrides, Project},
    mcp::{self, Starter},
    store::{Entry, Lock, Store},
    workspace::Restored,
};
use clap::Args;
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

/// Serve agents on this host, by the Model Context Protocol: they run what is risky in sandboxes.
///
/// An agent or editor starts this and speaks to it on standard input and output. It sees sandboxes of the client's roots
/// only, or of the directory that it is started in.
///
/// With --http, clients on this machine come to it by HTTP instead (streamable HTTP), each request with a token: that in
/// AGENTKERNEL_MCP_TOKEN, or one that is made and printed. They all see sandboxes of the directory that it is started in, and
/// what one leaves running the others can read and end.
#[derive(Debug, Args)]
pub(super) struct Mcp {
    /// Serve on this loopback address, at /mcp; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:8808", value_parser = parse_local)]
    http: Option<SocketAddr>,
}

/// What the token may be set by.
const TOKEN: &str = "AGENTKERNEL_MCP_TOKEN";

impl Mcp {
    pub(super) fn run(self) -> Status {
        match self.http {
            None => mcp::serve(&Ours)?,
            Some(address) => serve_http(address)?,
        }
        Ok(0)
    }
}

fn parse_local(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write it as 127.0.0.1:8808".to_owned())?;
    if !mcp::is_local(&address) {
        return Err(
            "it is open to other machines; take a loopback address, to which `ssh -L` leads from elsewhere".into()
        );
    }
    Ok(address)
}

fn serve_http(address: SocketAddr) -> Result<(), Failure> {
    let (token, is_new) = match std::env::var(TOKEN) {
        Ok(text) => {
            let hint =
                "Take 16 or more letters and digits, such as `openssl rand -hex 32` prints; without, one is made";
            let unfit = || Failure::new(format!("{TOKEN} is no token")).hint(hint);
            (mcp::Token::new(&text).ok_or_else(unfit)?, false)
        }
        Err(_) => (mcp::Token::random()?, true),
    };
    let listener = TcpListener::bind(address).map_err(|error| {
        let hint = "Another port may be free: `--http 127.0.0.1:0` takes any";
        Failure::new(format!("Can't listen on {address}: {error}")).hint(hint)
    })?;
    print(&format!("http://{}{}\n", listener.local_addr()?, mcp::PATH))?;
    if is_new {
        print(&format!("Authorization: Bearer {}\n", token.text()))?;
    }
    Ok(mcp::serve_http(&Ours, listener, token)?)
}

/// Sandboxes as the commands make them.
struct Ours;

impl Starter for Ours {
    fn project(&self, store: &Store, host: &HostFacts) -> Result<Project, wire::Failure> {
        Ok(run::project(store, host, false)?)
    }

    fn make(&self, store: &Store, overrides: &Overrides) -> Result<(Spec, Entry, Lock), wire::Failure> {
        Ok(run::make(overrides, None, false, store)?)
    }

    fn launch(&self, store: Store, entry: Entry, lock: Lock, spec: Spec) -> Result<Client, wire::Failure> {
        Ok(run::launch(store, entry, lock, spec)?)
    }

    fn start(&self, store: Store, entry: Entry, lock: Lock, spec: Spec) -> Result<(), wire::Failure> {
        Ok(run::start_kept(store, entry, lock, run::ready(spec)?)?)
    }

    fn checkpoint(&self, store: &Store, spec: &Spec, before: &str) -> Result<(), wire::Failure> {
        Ok(undo::take(store, spec, before, "Leave `checkpoint` out")?)
    }

    fn undo(
        &self,
        store: &Store,
        project: &Path,
        number: Option<u32>,
        dry_run: bool,
    ) -> Result<Restored, wire::Failure> {
        Ok(undo::go_back(store, project, number, dry_run, true, stop)?)
    }

    fn may_undo(&self, store: &Store, project: &Path) -> Result<(), wire::Failure> {
        Ok(undo::is_still(store, project, stop)?)
    }
}

fn stop(id: &str) -> String {
    format!("Stop it first: 'stop' with 'sandbox' \"{id}\"")
}
