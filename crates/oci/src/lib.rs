//! Images as they travel: what they are called, what they consist of, and how they come from a registry and go to one.
//!
//! Nothing here opens a file, starts a process or a thread, or reads the environment: bytes come in and go out by what
//! the caller gives.
#![forbid(unsafe_code)]

pub mod credentials;
mod digest;
pub mod manifest;
mod platform;
mod reference;
pub mod registry;
mod text;

pub use credentials::{Credentials, Secret};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use platform::{Platform, PlatformError};
pub use reference::{Mistake, Reference, ReferenceError, SHORT_DIGEST};
