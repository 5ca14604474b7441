//! The programs that run inside sandboxes, as static executables (see `build.rs`).

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Tells it from those of other builds; fit for a file's name.
    pub id: &'static str,
    /// The file.
    pub bytes: &'static [u8],
}

/// PID 1 of every sandbox.
pub static INIT: Program =
    Program { id: env!("AGENTKERNEL_GUEST_INIT_ID"), bytes: include_bytes!(env!("AGENTKERNEL_GUEST_INIT")) };
/// The escape attempts of `attest`.
pub static PROBE: &[u8] = include_bytes!(env!("AGENTKERNEL_GUEST_PROBE"));
