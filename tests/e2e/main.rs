//! The real binary on the real kernel, one module per command or promise.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod cp;
mod crash;
mod delegation;
mod lifecycle;
mod run;
mod support_itself;
mod terminal;
mod workspace;
