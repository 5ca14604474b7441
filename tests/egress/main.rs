//! What a sandbox reaches: real clients and real servers, in an internet of the test's own.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod clients;
mod internet_itself;
