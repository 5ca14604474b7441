//! Walls as safe functions: namespaces, mounts, ids, capabilities, seccomp, Landlock, cgroups, pidfds.
//!
//! No policy lives here: callers say what they want, this crate says how Linux is asked for it. `unsafe` is only
//! in `sys/`.
