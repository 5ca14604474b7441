//! The escape attempts that the escape suite and `agentkernel attest` run inside a sandbox.
fn main() {}
