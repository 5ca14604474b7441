//! The real binary on the real kernel, one module per command or promise.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod bad_input;
mod commands;
mod cp;
mod crash;
mod delegation;
mod doctor;
mod dogfood;
mod events;
mod full_disk;
mod images;
mod keyring;
mod learn;
mod lifecycle;
mod limits;
mod links;
mod logins;
mod network_rules;
mod races;
mod recording;
mod run;
mod secrets;
mod support_itself;
mod terminal;
mod undo;
mod wedged;
mod workspace;
