//! The programs that run inside sandboxes, as static executables (see `build.rs`).

/// PID 1 of every sandbox.
pub static INIT: &[u8] = include_bytes!(env!("AGENTKERNEL_GUEST_INIT"));
/// The escape attempts of `attest`.
pub static PROBE: &[u8] = include_bytes!(env!("AGENTKERNEL_GUEST_PROBE"));
