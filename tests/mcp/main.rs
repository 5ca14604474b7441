//! The server of MCP: a client of a test's own, for what clients should not do, and clients that others wrote.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod client;
mod hostile;
mod http;
mod plugins;
mod real;
mod sdk;
mod skill;
mod tools;
