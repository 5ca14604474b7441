//! What a sandbox reaches: real clients and real servers, in an internet of the test's own.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod addresses;
mod clients;
mod ground;
mod internet_itself;
mod names;
mod neighbours;
mod requests;
mod tls;
mod tools;
