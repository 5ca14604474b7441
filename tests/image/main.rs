//! Images as they travel: our client beside real registries and an independent client of them.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod mirrors;
mod pull;
mod registry;
mod scene;
mod store;
mod transfer;
