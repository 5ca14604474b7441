//! Every type that crosses a process boundary, and the framing that carries it.
//!
//! Two byte streams exist in agentkernel: the *link* between a supervisor and its sandbox's init, and the
//! *control socket* between a client and a supervisor. Both carry the same [frames](frame), multiplexed by the
//! same [`Mux`](mux::Mux); they differ only in their messages ([`link`], [`api`]). Beside the link, connections are handed
//! over as datagrams ([`flow`]). Nothing here does I/O: bytes
//! are handed in, bytes are taken out, so that every rule can be tested and fuzzed without a process.
#![forbid(unsafe_code)]

pub mod api;
mod bytes;
mod cause;
mod exec;
mod failure;
pub mod flow;
pub mod frame;
pub mod link;
mod message;
pub mod mux;
mod printable;
mod shell;
mod time;

pub use bytes::OsBytes;
pub use cause::cause;
pub use exec::{Channel, ExecSpec, Exit, Rlimit, RlimitKind, Stdio, User, WinSize};
pub use failure::Failure;
pub use message::{MessageError, decode, encode, encode_open};
pub use printable::printable;
pub use shell::shell_word;
pub use time::rfc3339;

/// The revision of frames and messages. Both ends of a stream must speak the same one: there is no negotiation,
/// because both ends ship in one binary. A mismatch is told by [`frame::Hello`], before anything else is decoded.
pub const PROTOCOL: u16 = 10;
