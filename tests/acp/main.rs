//! Editors and agents by the Agent Client Protocol: agents that do what a test says, and real ones with a client that others
//! wrote.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod asked;
mod ends;
mod files;
mod hostile;
mod scene;
mod sdk;
mod terminals;
