//! Images as they travel, and as they are built: our client and builder beside real registries, an independent client, and an
//! engine.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod agents;
mod build;
mod compare;
mod handed;
mod interrupted;
mod layers;
mod layouts;
mod mirrors;
mod pull;
mod recipe;
mod registry;
mod room;
mod scene;
mod store;
mod transfer;
mod witness;
mod workshop;
