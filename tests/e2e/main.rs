//! The real binary on the real kernel, one module per command or promise.

mod cp;
mod crash;
mod lifecycle;
mod run;
mod support_itself;
mod terminal;
