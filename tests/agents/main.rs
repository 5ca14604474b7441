//! Agents: real ones, as their makers publish them, against services of models that say what a test wants; and one of a
//! test's own, for what is asked of any.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod acp;
mod aider;
mod asked;
mod hostile;
mod real;
mod scene;
mod settings;
