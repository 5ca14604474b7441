//! Messages of the flow socket, between a sandbox's init and its egress: datagrams, each with at most one descriptor.
//!
//! A connection is handed over as the open socket that it is, so that what it carries passes neither init nor the
//! supervisor. The supervisor holds the socket that egress reads from while there is no egress, and starts one when
//! something comes.

use serde::{Deserialize, Serialize};

/// The largest datagram, in bytes.
pub const MAX_DATAGRAM: usize = 1024;

/// Where programs find the user's ssh-agent, or what of it they may use.
pub const AGENT: &str = "/run/agentkernel/ssh-agent";

/// Init to egress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handed {
    /// A program has connected to the outside; its socket comes along.
    Flow(Flow),
    /// A program has connected to [`AGENT`]; its socket comes along.
    Agent,
    /// The answer to a [`Dial`]: a socket that is connecting, or connected, comes along.
    Dialled {
        /// The number of the request.
        request: u32,
    },
    /// The answer to a [`Dial`]: there is no socket.
    NotDialled {
        /// The number of the request.
        request: u32,
        /// Why, as an error number of Linux.
        errno: i32,
    },
}

/// One outgoing connection of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The name that the program looked up, or the literal address that it dialled, as text.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Egress to init: connect to a port on the sandbox's loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// Comes back with the answer.
    pub request: u32,
    /// The TCP port.
    pub port: u16,
    /// On `::1` and not on 127.0.0.1: some servers listen on one of them only.
    pub v6: bool,
}
