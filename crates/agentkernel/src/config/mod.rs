//! Configuration: TOML as written and flags as typed, resolved to a `Spec`.
