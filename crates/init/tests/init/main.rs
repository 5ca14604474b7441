//! The built init, driven over its link.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod capture;
mod driver;
mod exec;
mod files;
mod lifecycle;
mod protected;
mod terminal;
