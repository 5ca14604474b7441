//! PID 1 in every sandbox: exec, terminals, reaping, files, DNS and TCP capture, spoken over the link.
#![forbid(unsafe_code)]
fn main() {}
