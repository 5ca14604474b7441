//! agentkernel: AI coding agents in isolated per-project sandboxes.
//!
//! The rooms, and who may call whom (held by `cargo xtask arrows`):
//! `cli -> client -> (unix socket) -> supervisor -> backend -> jail`.
#![forbid(unsafe_code)]
// They end the process where they can't write.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]

pub mod acp;
pub mod agents;
pub mod attest;
pub mod backend;
pub mod cli;
pub mod client;
pub mod config;
mod connection;
pub mod credentials;
pub mod doctor;
mod edit;
pub mod engine;
pub mod event;
pub mod guest;
pub mod image;
mod json;
mod lines;
pub mod mcp;
pub mod plugin;
mod spec;
pub mod store;
pub mod supervisor;
mod walk;
pub mod workspace;

pub use spec::*;
