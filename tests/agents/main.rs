//! Agents: real ones, from npm's registry, against services of models that say what a test wants; and one of a test's own,
//! for what is asked of any.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod asked;
mod hostile;
mod real;
mod scene;
mod settings;
