//! What stands at the other end of a sandbox's connections: it judges each, looks its name up, dials only addresses
//! that it has checked, and puts secrets in where they belong.
//!
//! The rooms, from the inside out: [`Host`] and [`address`] are parsed once and never looked at as text again;
//! [`Policy`] is an immutable value that says what may be reached; everything else asks it.
#![forbid(unsafe_code)]

mod account;
pub mod address;
mod answer;
mod authority;
mod bucket;
mod channel;
mod coding;
pub mod control;
mod dial;
pub mod first;
mod flow;
#[doc(hidden)]
pub mod fuzzing;
mod heard;
mod hello;
mod host;
pub mod http;
mod inbound;
mod inside;
mod inspect;
mod later;
mod logins;
mod meter;
mod numbers;
mod opening;
mod policy;
mod process;
mod reason;
mod relay;
mod resolver;
mod room;
mod rule;
mod secret;
mod secrets;
mod server;
mod socket;
pub mod ssh;
mod system;
#[cfg(test)]
mod testing;
pub mod tls;
mod usage;

pub use authority::{Authority, AuthorityError, CERTIFICATE};
pub use host::{Host, HostError, Target, TargetError};
pub use logins::{Logins, expiry as token_expiry};
pub use policy::{CheckedAddr, Grant, HOST_NAME, Mode, Policy, Rules};
pub use process::{RunError, Start, run};
pub use reason::{Denial, Lift, Reason};
pub use resolver::{Names, look_up};
pub use rule::{Pattern, Ports, Requests, Rule, RuleError, WEB};
pub use secret::Secret;
pub use secrets::{Misplaced, Secrets};
pub use system::system_resolver;
pub use usage::Budget;
