//! The real binary on the real kernel, one module per command or promise.

mod support_itself;
