//! Walls as safe functions: namespaces, mounts, ids, capabilities, seccomp, Landlock, cgroups, pidfds.
//!
//! No policy lives here: callers say what they want, this crate says how Linux is asked for it. `unsafe` is only
//! in `sys/`.
#![deny(unsafe_code)]

pub mod attempt;
pub mod caps;
pub mod cgroup;
pub mod fd;
pub mod landlock;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod nft;
pub mod pid1;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod signal;
#[allow(unsafe_code)]
mod sys;

#[cfg(test)]
mod walls_tests;
