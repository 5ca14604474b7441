//! The native backend: namespaces of this kernel.
