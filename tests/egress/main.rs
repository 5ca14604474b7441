//! What a sandbox reaches: real clients and real servers, in an internet of the test's own.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod addresses;
mod clients;
mod crashes;
mod ground;
mod inside;
mod internet_itself;
mod kept;
mod languages;
mod limits;
mod live;
mod load;
mod logins;
mod names;
mod neighbours;
mod ports;
mod requests;
mod secrets;
mod ssh;
mod tls;
mod tools;
mod urgent;
