//! Ways out of a sandbox, as root and as an ordinary user: the probe's cases, and those that need a hand outside.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod cases;
mod copies;
mod frames;
mod init;
mod interrupted;
mod swaps;
